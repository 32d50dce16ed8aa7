import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import { parseCidr } from './cidr-set.ts';
import type { Protocol } from './edge.ts';
import type { NetworkPeer, NetworkPolicy, NetworkPort, NetworkRule } from './network-policy.ts';
import type { KubeManifest } from './object.ts';
import { formatRef, namespaceOf, refOf } from './object.ts';
import { parseSelector } from './selector.ts';
import type { Selector } from './selector.ts';

/** Entities whose meaning is plain here (Cilium documentation, "Entities Based"). */
const ENTITIES = ['host', 'remote-node', 'kube-apiserver', 'world', 'cluster', 'all'] as const;
/** `any-node` stands for `host` and `remote-node` in one rule: which of the two it is does not matter then. */
export type CiliumEntity = (typeof ENTITIES)[number] | 'any-node';

const NAMESPACE_KEY = 'io.kubernetes.pod.namespace';

/**
 * A CiliumNetworkPolicy in the part of the language whose meaning is plain: labels selected by `matchLabels`, egress to endpoints,
 * entities, names or CIDRs on numeric ports, and a DNS rule that takes every name. Undefined for everything else (ingress, deny rules,
 * HTTP rules, services, node selectors, several specs): that stays unknown.
 */
export function parseCiliumPolicy(manifest: KubeManifest): NetworkPolicy | undefined {
  if (manifest.kind !== 'CiliumNetworkPolicy' || !manifest.apiVersion.startsWith('cilium.io/')) return undefined;
  const namespace = namespaceOf(manifest);
  const spec = manifest['spec'];
  if (namespace === undefined || !isJsonObject(spec) || manifest['specs'] !== undefined) return undefined;
  if (!hasOnly(spec, ['endpointSelector', 'egress', 'description']) || !Array.isArray(spec['egress'])) return undefined;
  const selected = parsePods(spec['endpointSelector']);
  // A selector that names a namespace selects in its own one alone; that needs no reading here.
  if (selected === undefined || selected.namespace !== undefined) return undefined;
  const egress: NetworkRule[] = [];
  for (const [index, item] of asArray(spec['egress']).entries()) {
    const rule = parseRule(item, index);
    if (rule === undefined) return undefined;
    egress.push(rule);
  }
  const ref = refOf(manifest);
  return {
    ref,
    name: formatRef(ref),
    namespace,
    selector: selected.pods,
    egress,
    broken: false,
    selectorBroken: false,
    cilium: true,
  };
}

function hasOnly(value: JsonObject, fields: readonly string[]): boolean {
  return Object.keys(value).every((key) => fields.includes(key));
}

function parsePods(value: Json | undefined): { readonly pods: Selector; readonly namespace?: string } | undefined {
  if (!isJsonObject(value) || !hasOnly(value, ['matchLabels'])) return undefined;
  const labels: Record<string, Json> = {};
  let namespace: string | undefined;
  for (const [key, item] of Object.entries(asObject(value['matchLabels']))) {
    const plain = key.startsWith('k8s:') || key.startsWith('any:') ? key.slice(4) : key;
    if (
      plain.includes(':') ||
      plain.startsWith('io.cilium.') ||
      plain.startsWith('k8s.') ||
      plain.startsWith('reserved.')
    )
      return undefined;
    if (plain === NAMESPACE_KEY) namespace = asString(item);
    else labels[plain] = item;
  }
  const { selector, problems } = parseSelector({ matchLabels: labels }, 'matchLabels');
  if (problems.length > 0) return undefined;
  return { pods: selector, ...(namespace === undefined ? {} : { namespace }) };
}

const PEERS = ['toEndpoints', 'toEntities', 'toFQDNs', 'toCIDR'] as const;

function parseRule(value: Json, index: number): NetworkRule | undefined {
  if (!isJsonObject(value) || !hasOnly(value, [...PEERS, 'toPorts'])) return undefined;
  const fields = PEERS.filter((field) => value[field] !== undefined);
  // Without a peer a rule admits every one; with two, which of them must hold differs by version.
  if (fields.length !== 1) return undefined;
  const peers: NetworkPeer[] = [];
  for (const field of fields) {
    for (const item of asArray(value[field])) {
      const peer = parsePeer(field, item);
      if (peer === undefined) return undefined;
      peers.push(peer);
    }
  }
  const names = asArray(value['toEntities']);
  if (names.includes('host') && names.includes('remote-node')) peers.push({ kind: 'entity', entity: 'any-node' });
  const ports = value['toPorts'] === undefined ? 'all' : parsePorts(asArray(value['toPorts']));
  return ports === undefined ? undefined : { index, peers, ports };
}

function parsePeer(field: (typeof PEERS)[number], item: Json): NetworkPeer | undefined {
  switch (field) {
    case 'toEndpoints': {
      const pods = parsePods(item);
      if (pods === undefined) return undefined;
      if (pods.namespace === undefined) return { kind: 'pods', namespaces: 'own', pods: pods.pods };
      const { selector } = parseSelector(
        { matchLabels: { 'kubernetes.io/metadata.name': pods.namespace } },
        'namespaceSelector',
      );
      return { kind: 'pods', namespaces: selector, pods: pods.pods };
    }
    case 'toEntities': {
      const entity = ENTITIES.find((one) => one === item);
      return entity === undefined ? undefined : { kind: 'entity', entity };
    }
    case 'toFQDNs': {
      if (!isJsonObject(item) || !hasOnly(item, ['matchName', 'matchPattern'])) return undefined;
      const pattern = asString(item['matchName']) ?? asString(item['matchPattern']);
      return pattern === undefined ? undefined : { kind: 'name', pattern };
    }
    case 'toCIDR': {
      const parsed = typeof item === 'string' ? parseCidr(item) : undefined;
      return parsed === undefined ? undefined : { kind: 'ip-block', block: { range: parsed.range, except: [] } };
    }
  }
}

function parsePorts(list: readonly Json[]): readonly NetworkPort[] | undefined {
  const out: NetworkPort[] = [];
  for (const item of list) {
    if (!isJsonObject(item) || !hasOnly(item, ['ports', 'rules']) || !takesEveryName(item['rules'])) return undefined;
    for (const entry of asArray(item['ports'])) {
      const { port, endPort, protocol } = asObject(entry);
      const first = Number(asString(port));
      if (!Number.isInteger(first) || first < 1 || first > 65_535) return undefined;
      const last = asNumber(endPort) ?? first;
      const protocols = protocolsOf(asString(protocol));
      if (protocols === undefined) return undefined;
      for (const one of protocols) out.push({ kind: 'range', protocol: one, first, last });
    }
  }
  return out;
}

function protocolsOf(name: string | undefined): readonly Protocol[] | undefined {
  switch (name ?? 'ANY') {
    case 'TCP':
      return ['TCP'];
    case 'UDP':
      return ['UDP'];
    case 'SCTP':
      return ['SCTP'];
    case 'ANY':
      return ['TCP', 'UDP', 'SCTP'];
    default:
      return undefined;
  }
}

/** No rules, or a DNS rule that takes every name: it only makes the proxy look. */
function takesEveryName(rules: Json | undefined): boolean {
  if (rules === undefined) return true;
  if (!isJsonObject(rules) || !hasOnly(rules, ['dns'])) return false;
  return asArray(rules['dns']).some((item) => asObject(item)['matchPattern'] === '*');
}

import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { AddressRange } from './cidr-set.ts';
import { parseAddressOrCidr } from './cidr-set.ts';
import type { Protocol } from './edge.ts';
import type { NetworkPeer, NetworkPolicy, NetworkPort, NetworkRule } from './network-policy.ts';
import type { KubeManifest } from './object.ts';
import { formatRef, namespaceOf, refOf } from './object.ts';
import type { OrderedPolicy, OrderedRule } from './ordered-policy.ts';
import { ACCOUNT_KEY, EVERYTHING, parseSelector } from './selector.ts';
import type { Requirement, Selector } from './selector.ts';

/** Entities of a rule (Cilium documentation, "Entities Based"). */
const ENTITIES = [
  'host',
  'remote-node',
  'kube-apiserver',
  'world',
  'cluster',
  'all',
  'health',
  'ingress',
  'init',
  'unmanaged',
  'none',
] as const;
/** `any-node` stands for `host` and `remote-node` in one rule: which of the two it is does not matter then. */
export type CiliumEntity = (typeof ENTITIES)[number] | 'any-node';

const NAMESPACE_KEY = 'io.kubernetes.pod.namespace';
const NAMESPACE_LABELS = 'io.cilium.k8s.namespace.labels.';
/**
 * The service account of a pod, as a label of its endpoint (cilium/cilium pkg/k8s/apis/cilium.io, PolicyLabelServiceAccount; a
 * pod's own label of that key is dropped: pkg/k8s/utils, SanitizePodLabels).
 */
const ACCOUNT_LABEL = 'io.cilium.k8s.policy.serviceaccount';
/** Keys that Cilium leaves out of identities by default ("Limiting Identity-Relevant Labels"): a selector on them is not plain. */
const NOT_IDENTITY =
  /^(?:io\.kubernetes|kubernetes\.io|.*beta\.kubernetes\.io|k8s\.io|pod-template-|controller-revision-hash|annotation\.|etcd_node)/u;
export const CILIUM_DENY_TIER = 'deny rules';

/** What a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy says, taken apart. */
export interface CiliumPolicy {
  /** What it admits, and which directions it isolates: one for each of its specs that has rules. */
  readonly admits: readonly NetworkPolicy[];
  /** What it denies whatever is admitted. */
  readonly denies: readonly OrderedPolicy[];
}

/**
 * Reads a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy for pods (docs.cilium.io, "Network Policy"). A rule whose peers are
 * plain and which asks for more (HTTP, names in DNS, groups, Services, authentication) stays, and only may match. Undefined for every
 * other object, for policies of nodes, and where a selector, a port or the shape of a rule is not plain: nothing may be concluded then.
 */
export function parseCiliumPolicy(manifest: KubeManifest): CiliumPolicy | undefined {
  const { kind } = manifest;
  if (!manifest.apiVersion.startsWith('cilium.io/')) return undefined;
  const namespace = kind === 'CiliumNetworkPolicy' ? namespaceOf(manifest) : '';
  if (namespace === undefined || (kind !== 'CiliumNetworkPolicy' && kind !== 'CiliumClusterwideNetworkPolicy')) {
    return undefined;
  }
  const { spec, specs } = manifest;
  const list: { readonly field: string; readonly spec: Json }[] = [];
  if (spec !== undefined && spec !== null) list.push({ field: 'spec', spec });
  if (specs !== undefined && specs !== null) {
    if (!Array.isArray(specs)) return undefined;
    (specs as readonly Json[]).forEach((one, index) => list.push({ field: `specs[${index}]`, spec: one }));
  }
  if (list.length === 0) return undefined;
  const admits: NetworkPolicy[] = [];
  const denies: OrderedPolicy[] = [];
  for (const one of list) {
    const parsed = parseSpec(manifest, namespace, one.field, one.spec);
    if (parsed === undefined) return undefined;
    admits.push(...parsed.admits);
    denies.push(...parsed.denies);
  }
  return { admits, denies };
}

function hasOnly(value: JsonObject, fields: readonly string[]): boolean {
  return Object.keys(value).every((key) => fields.includes(key));
}

function isSet(value: Json | undefined): boolean {
  return value !== undefined && value !== null;
}

const SPEC_FIELDS = [
  'endpointSelector',
  'ingress',
  'ingressDeny',
  'egress',
  'egressDeny',
  'enableDefaultDeny',
  'description',
  'labels',
];

function parseSpec(manifest: KubeManifest, namespace: string, field: string, spec: Json): CiliumPolicy | undefined {
  if (!isJsonObject(spec) || !hasOnly(spec, SPEC_FIELDS)) return undefined;
  const selected = parsePods(spec['endpointSelector']);
  if (selected === undefined) return undefined;
  // A policy of a namespace selects there alone; one that names another is not plain.
  if (namespace !== '' && selected.byNamespace) return undefined;
  const ref = refOf(manifest);
  const base = { name: formatRef(ref), namespace };
  const directions: { ingress?: Section; egress?: Section } = {};
  for (const direction of ['ingress', 'egress'] as const) {
    const section = parseSection(spec, field, direction, namespace === '');
    if (section === undefined) return undefined;
    if (section.allow.length + section.deny.length > 0) directions[direction] = section;
  }
  const { ingress, egress } = directions;
  if (ingress === undefined && egress === undefined) return { admits: [], denies: [] };
  const opens = { ingress: ingress?.isolates === false, egress: egress?.isolates === false };
  const denies = { ingress: ingress?.deny ?? [], egress: egress?.deny ?? [] };
  return {
    admits: [
      {
        ref,
        ...base,
        selector: selected.pods,
        ...(namespace === '' ? { subjectNamespaces: selected.namespaces } : {}),
        ...(ingress === undefined ? {} : { ingress: ingress.allow }),
        ...(egress === undefined ? {} : { egress: egress.allow }),
        broken: false,
        selectorBroken: false,
        cilium: true,
        ...(opens.ingress || opens.egress ? { opens } : {}),
        ...(field === 'spec' ? {} : { specField: field }),
      },
    ],
    denies:
      denies.ingress.length + denies.egress.length === 0
        ? []
        : [
            {
              engine: 'cilium',
              ref,
              ...base,
              tier: CILIUM_DENY_TIER,
              order: 0,
              subject: {
                ...(namespace === '' ? { namespaces: selected.namespaces } : { namespace }),
                pods: selected.pods,
              },
              ...(denies.ingress.length > 0 ? { ingress: denies.ingress } : {}),
              ...(denies.egress.length > 0 ? { egress: denies.egress } : {}),
            },
          ],
  };
}

interface Section {
  readonly allow: readonly NetworkRule[];
  readonly deny: readonly OrderedRule[];
  readonly isolates: boolean;
}

// "If omitted or empty, this rule does not apply": an empty list is no section, an empty rule is one that admits nothing.
function parseSection(
  spec: JsonObject,
  field: string,
  direction: 'ingress' | 'egress',
  cluster: boolean,
): Section | undefined {
  const allow: NetworkRule[] = [];
  const deny: OrderedRule[] = [];
  for (const name of [direction, `${direction}Deny`] as const) {
    const list = spec[name];
    if (!isSet(list)) continue;
    if (!Array.isArray(list)) return undefined;
    for (const [index, item] of (list as readonly Json[]).entries()) {
      const rules = parseRule(item, index, direction, name !== direction, cluster);
      if (rules === undefined) return undefined;
      if (name === direction) allow.push(...rules);
      else {
        for (const { doubt, peers, ports } of rules) {
          deny.push({
            index,
            field: `${field}.${name}[${index}]`,
            action: 'deny',
            match: { kind: 'peers', peers, ports },
            ...(doubt === undefined ? {} : { doubt }),
          });
        }
      }
    }
  }
  const stated = spec['enableDefaultDeny'];
  if (isSet(stated) && (!isJsonObject(stated) || !hasOnly(stated, ['ingress', 'egress']))) return undefined;
  const own = asObject(stated)[direction];
  if (isSet(own) && typeof own !== 'boolean') return undefined;
  // Versions differ on a direction that is isolated by this field and has no rules.
  if (own === true && allow.length + deny.length === 0) return undefined;
  return { allow, deny, isolates: own !== false };
}

interface Pods {
  readonly pods: Selector;
  readonly namespaces: Selector;
  /** True where it asks for a namespace by name or label. */
  readonly byNamespace: boolean;
}

/** Cilium's selector: the prefix of a label's source taken off, labels of the namespace told apart. */
function parsePods(value: Json | undefined): Pods | undefined {
  if (!isJsonObject(value)) return undefined;
  const { selector, problems } = parseSelector(withoutSources(value), 'selector');
  if (problems.length > 0) return undefined;
  const pods: Requirement[] = [];
  const namespaces: Requirement[] = [];
  for (const requirement of selector.requirements) {
    const { key } = requirement;
    if (key === NAMESPACE_KEY) namespaces.push({ ...requirement, key: 'kubernetes.io/metadata.name' });
    else if (key.startsWith(NAMESPACE_LABELS)) {
      namespaces.push({ ...requirement, key: key.slice(NAMESPACE_LABELS.length) });
    } else if (key === ACCOUNT_LABEL) {
      // "Include all io.cilium.k8s.policy labels": always part of an identity, whatever a pod's own labels are.
      pods.push({ ...requirement, key: ACCOUNT_KEY });
    } else if (/^(?:io\.cilium\.|k8s\.|reserved\.)/u.test(key) || NOT_IDENTITY.test(key)) return undefined;
    else pods.push(requirement);
  }
  return {
    pods: pods.length === 0 ? EVERYTHING : { requirements: pods },
    namespaces: namespaces.length === 0 ? EVERYTHING : { requirements: namespaces },
    byNamespace: namespaces.length > 0,
  };
}

function withoutSource(key: string): string {
  return key.startsWith('k8s:') || key.startsWith('any:') ? key.slice(4) : key;
}

function withoutSources(value: JsonObject): JsonObject {
  const { matchLabels, matchExpressions, ...rest } = value;
  const expressions = isSet(matchLabels)
    ? Object.entries(asObject(matchLabels)).map(([key, item]): Json => ({
        key: withoutSource(key),
        operator: 'In',
        values: [item],
      }))
    : [];
  for (const item of asArray(matchExpressions)) {
    const expression = asObject(item);
    expressions.push({ ...expression, key: withoutSource(asString(expression['key']) ?? '') });
  }
  return { ...rest, matchExpressions: expressions };
}

const PLAIN_PEERS = {
  ingress: { fromEndpoints: 'endpoints', fromEntities: 'entities', fromCIDR: 'cidr', fromCIDRSet: 'cidr-set' },
  egress: {
    toEndpoints: 'endpoints',
    toEntities: 'entities',
    toCIDR: 'cidr',
    toCIDRSet: 'cidr-set',
    toFQDNs: 'names',
  },
} as const;
type PeerKind = 'endpoints' | 'entities' | 'cidr' | 'cidr-set' | 'names';
const DOUBTFUL_PEERS = { ingress: ['fromNodes', 'fromGroups'], egress: ['toNodes', 'toGroups', 'toServices'] } as const;

/** One rule; two where only some of its ports are plain. */
function parseRule(
  value: Json,
  index: number,
  direction: 'ingress' | 'egress',
  deny: boolean,
  cluster: boolean,
): readonly NetworkRule[] | undefined {
  if (!isJsonObject(value)) return undefined;
  const kinds: Readonly<Record<string, PeerKind>> = PLAIN_PEERS[direction];
  const doubtful: readonly string[] = DOUBTFUL_PEERS[direction];
  if (!hasOnly(value, [...Object.keys(kinds), ...doubtful, 'toPorts', 'icmps', 'authentication'])) return undefined;
  const given = [...Object.keys(kinds), ...doubtful].filter((field) => isSet(value[field]));
  // The agent refuses a rule with two kinds of peers.
  if (given.length > 1) return undefined;
  const [field] = given;
  const doubts: string[] = [];
  if (isSet(value['authentication']) && asObject(value['authentication'])['mode'] !== 'disabled') {
    doubts.push('authentication');
  }
  const ports = parsePorts(value['toPorts'], deny);
  if (ports === undefined) return undefined;
  if (asArray(value['icmps']).length > 0) {
    // It speaks of ICMP alone.
    return ports === 'all' ? [{ index, peers: [], ports: [] }] : undefined;
  }
  let peers: NetworkRule['peers'];
  if (field === undefined) {
    // Ports without a peer are ports of everyone. A rule that says nothing at all selects nothing: it only isolates.
    if (ports === 'all') {
      return deny
        ? [{ index, peers: 'all', ports: 'all', doubt: 'versions differ on what a deny rule without a peer denies' }]
        : [{ index, peers: [], ports: 'all' }];
    }
    peers = 'all';
  } else if (doubtful.includes(field)) {
    doubts.push(field);
    peers = 'all';
  } else {
    const parsed = parsePeers(kinds[field] ?? 'endpoints', value[field], cluster);
    if (parsed === undefined || (deny && field === 'toFQDNs')) return undefined;
    peers = parsed.peers;
    if (parsed.groups) doubts.push(field);
  }
  const say = (more: readonly string[]): { doubt?: string } => {
    const all = [...doubts, ...more];
    return all.length === 0 ? {} : { doubt: `what it says in ${all.join(', ')} is not evaluated` };
  };
  if (ports === 'all') return [{ index, peers, ports, ...say([]) }];
  return [
    ...(ports.plain.length > 0 ? [{ index, peers, ports: ports.plain, ...say([]) }] : []),
    ...(ports.filtered.length > 0 ? [{ index, peers, ports: ports.filtered, ...say(ports.filters) }] : []),
  ];
}

function parsePeers(
  kind: PeerKind,
  value: Json | undefined,
  cluster: boolean,
): { readonly peers: readonly NetworkPeer[]; readonly groups: boolean } | undefined {
  if (!Array.isArray(value)) return undefined;
  const list = value as readonly Json[];
  const peers: NetworkPeer[] = [];
  for (const item of list) {
    if (
      kind === 'cidr-set' &&
      isJsonObject(item) &&
      (isSet(item['cidrGroupRef']) || isSet(item['cidrGroupSelector']))
    ) {
      return { peers: [{ kind: 'entity', entity: 'all' }], groups: true };
    }
    const peer = parsePeer(kind, item, cluster);
    if (peer === undefined) return undefined;
    peers.push(peer);
  }
  if (kind === 'entities' && list.includes('host') && list.includes('remote-node')) {
    peers.push({ kind: 'entity', entity: 'any-node' });
  }
  return { peers, groups: false };
}

function parsePeer(kind: PeerKind, item: Json, cluster: boolean): NetworkPeer | undefined {
  switch (kind) {
    case 'endpoints': {
      const found = parsePods(item);
      if (found === undefined) return undefined;
      // Kept to the namespace of the policy unless it speaks of namespaces; a policy of the cluster has none.
      return { kind: 'pods', namespaces: found.byNamespace || cluster ? found.namespaces : 'own', pods: found.pods };
    }
    case 'entities': {
      const entity = ENTITIES.find((one) => one === item);
      return entity === undefined ? undefined : { kind: 'entity', entity };
    }
    case 'names': {
      if (!isJsonObject(item) || !hasOnly(item, ['matchName', 'matchPattern'])) return undefined;
      const pattern = asString(item['matchName']) ?? asString(item['matchPattern']);
      return pattern === undefined ? undefined : { kind: 'name', pattern };
    }
    case 'cidr': {
      const range = rangeOf(item);
      return range === undefined ? undefined : { kind: 'ip-block', block: { range, except: [] } };
    }
    case 'cidr-set': {
      if (!isJsonObject(item) || !hasOnly(item, ['cidr', 'except'])) return undefined;
      const range = rangeOf(item['cidr'] ?? null);
      const except = asArray(item['except']).map(rangeOf);
      const known = except.filter((one) => one !== undefined);
      if (range === undefined || known.length < except.length) return undefined;
      return { kind: 'ip-block', block: { range, except: known } };
    }
  }
}

function rangeOf(value: Json): AddressRange | undefined {
  return typeof value === 'string' ? parseAddressOrCidr(value) : undefined;
}

interface Ports {
  readonly plain: readonly NetworkPort[];
  /** Ports on which more is asked for than the port. */
  readonly filtered: readonly NetworkPort[];
  readonly filters: readonly string[];
}

function parsePorts(value: Json | undefined, deny: boolean): 'all' | Ports | undefined {
  if (!isSet(value)) return 'all';
  if (!Array.isArray(value)) return undefined;
  const list = value as readonly Json[];
  if (list.length === 0) return 'all';
  const plain: NetworkPort[] = [];
  const filtered: NetworkPort[] = [];
  const filters = new Set<string>();
  for (const item of list) {
    if (!isJsonObject(item) || !Array.isArray(item['ports']) || item['ports'].length === 0) return undefined;
    const more = Object.keys(item).filter((key) => key !== 'ports' && isSet(item[key]));
    const asks = more.filter((key) => key !== 'rules' || !takesEveryName(item['rules']));
    if (deny && more.length > 0) return undefined;
    for (const key of asks) filters.add(`toPorts.${key}`);
    for (const entry of item['ports'] as readonly Json[]) {
      const ports = parsePort(entry);
      if (ports === undefined) return undefined;
      (asks.length > 0 ? filtered : plain).push(...ports);
    }
  }
  return { plain, filtered, filters: [...filters] };
}

function parsePort(entry: Json): readonly NetworkPort[] | undefined {
  if (!isJsonObject(entry) || !hasOnly(entry, ['port', 'endPort', 'protocol'])) return undefined;
  const text = asString(entry['port']) ?? '';
  const protocols = protocolsOf(asString(entry['protocol'] ?? 'ANY'));
  if (protocols === undefined) return undefined;
  if (!/^\d+$/u.test(text)) {
    const isName = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/u.test(text) && !isSet(entry['endPort']);
    return isName ? protocols.map((protocol) => ({ kind: 'named', protocol, name: text })) : undefined;
  }
  const first = Number(text);
  const last = entry['endPort'] ?? first;
  if (first < 1 || first > 65_535) return undefined;
  // 0 is the same as none.
  const end = last === 0 ? first : last;
  if (typeof end !== 'number' || !Number.isInteger(end) || end < first || end > 65_535) return undefined;
  return protocols.map((protocol) => ({ kind: 'range', protocol, first, last: end }));
}

function protocolsOf(name: string | undefined): readonly Protocol[] | undefined {
  switch (name) {
    case 'TCP':
      return ['TCP'];
    case 'UDP':
      return ['UDP'];
    case 'SCTP':
      return ['SCTP'];
    case 'ANY':
      return ['TCP', 'UDP', 'SCTP'];
    case undefined:
    default:
      return undefined;
  }
}

/** No rules, or a DNS rule that takes every name: it only makes the proxy look. */
function takesEveryName(rules: Json | undefined): boolean {
  if (!isJsonObject(rules)) return !isSet(rules);
  if (!hasOnly(rules, ['dns'])) return Object.keys(rules).length === 0;
  return asArray(rules['dns']).some((item) => asObject(item)['matchPattern'] === '*');
}

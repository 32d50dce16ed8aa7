import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asString, isJsonObject } from '../shared/pure/json.ts';
import { parseCidr } from './cidr-set.ts';
import type { Protocol } from './edge.ts';
import type { NetworkPeer, NetworkPort } from './network-policy.ts';
import type { KubeManifest } from './object.ts';
import { formatRef, groupOf, refOf } from './object.ts';
import type { NodePeer, OrderedPolicy, OrderedRule, OrderedSubject, RuleAction } from './ordered-policy.ts';
import { ALL_PORTS } from './port-set.ts';
import type { Selector } from './selector.ts';
import { EVERYTHING, parseSelector } from './selector.ts';

/** The tiers around NetworkPolicy, in the words of ClusterNetworkPolicy. */
export const ADMIN_TIER = 'Admin';
export const BASELINE_TIER = 'Baseline';

const ACTIONS: Readonly<Record<string, Readonly<Record<string, RuleAction>>>> = {
  AdminNetworkPolicy: { Allow: 'allow', Deny: 'deny', Pass: 'pass' },
  BaselineAdminNetworkPolicy: { Allow: 'allow', Deny: 'deny' },
  ClusterNetworkPolicy: { Accept: 'allow', Deny: 'deny', Pass: 'pass' },
};
const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

/**
 * Reads an AdminNetworkPolicy or BaselineAdminNetworkPolicy (`policy.networking.k8s.io/v1alpha1`) or a ClusterNetworkPolicy
 * (`v1alpha2`), whose types are documented at network-policy-api.sigs.k8s.io. Undefined for every other object, and where anything in
 * it is not as that version has it: then nothing may be concluded from it.
 */
export function parseAdminPolicy(manifest: KubeManifest): OrderedPolicy | undefined {
  if (groupOf(manifest.apiVersion) !== 'policy.networking.k8s.io') return undefined;
  const { kind } = manifest;
  const isCluster = kind === 'ClusterNetworkPolicy';
  if (manifest.apiVersion !== `policy.networking.k8s.io/${isCluster ? 'v1alpha2' : 'v1alpha1'}`) return undefined;
  const actions = Object.hasOwn(ACTIONS, kind) ? ACTIONS[kind] : undefined;
  const spec = manifest['spec'];
  if (actions === undefined || !isJsonObject(spec)) return undefined;
  if (!hasOnly(spec, ['subject', 'ingress', 'egress', 'priority', 'tier'])) return undefined;
  const place = placeOf(manifest, spec);
  const subject = parseSubject(spec['subject']);
  const ingress = parseRules(spec['ingress'], 'ingress', actions, isCluster);
  const egress = parseRules(spec['egress'], 'egress', actions, isCluster);
  if (place === undefined || subject === undefined || ingress === undefined || egress === undefined) return undefined;
  return {
    engine: 'admin',
    ref: refOf(manifest),
    name: formatRef(refOf(manifest)),
    namespace: '',
    ...place,
    subject,
    ...(ingress.length > 0 ? { ingress } : {}),
    ...(egress.length > 0 ? { egress } : {}),
  };
}

function hasOnly(value: JsonObject, fields: readonly string[]): boolean {
  return Object.keys(value).every((key) => fields.includes(key));
}

function placeOf({ kind, metadata }: KubeManifest, spec: JsonObject): { tier: string; order: number } | undefined {
  const { priority, tier } = spec;
  if (kind === 'BaselineAdminNetworkPolicy') {
    // The one of that name is the only one that acts.
    return metadata.name === 'default' && priority === undefined && tier === undefined
      ? { tier: BASELINE_TIER, order: 0 }
      : undefined;
  }
  if (typeof priority !== 'number' || !Number.isInteger(priority) || priority < 0 || priority > 1000) return undefined;
  if (kind === 'AdminNetworkPolicy') return tier === undefined ? { tier: ADMIN_TIER, order: priority } : undefined;
  return tier === ADMIN_TIER || tier === BASELINE_TIER ? { tier, order: priority } : undefined;
}

function parseLabels(value: Json | undefined): Selector | undefined {
  const { selector, problems } = parseSelector(value, 'selector');
  return problems.length > 0 ? undefined : selector;
}

interface Pods {
  readonly namespaces: Selector;
  readonly pods: Selector;
}

/** `namespaces: {...}` or `pods: {namespaceSelector, podSelector}`; undefined where it is neither. */
function parsePods(field: string, value: Json | undefined): Pods | undefined {
  if (!isJsonObject(value)) return undefined;
  if (field === 'namespaces') {
    const namespaces = parseLabels(value);
    return namespaces === undefined ? undefined : { namespaces, pods: EVERYTHING };
  }
  if (!hasOnly(value, ['namespaceSelector', 'podSelector']) || !isJsonObject(value['podSelector'])) return undefined;
  const namespaces = parseLabels(value['namespaceSelector']);
  const pods = parseLabels(value['podSelector']);
  return namespaces === undefined || pods === undefined ? undefined : { namespaces, pods };
}

function parseSubject(value: Json | undefined): OrderedSubject | undefined {
  if (!isJsonObject(value)) return undefined;
  const [field, ...more] = Object.keys(value);
  if (field === undefined || more.length > 0 || (field !== 'namespaces' && field !== 'pods')) return undefined;
  return parsePods(field, value[field]);
}

function parseRules(
  value: Json | undefined,
  direction: 'ingress' | 'egress',
  actions: Readonly<Record<string, RuleAction>>,
  isCluster: boolean,
): readonly OrderedRule[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return undefined;
  const out: OrderedRule[] = [];
  for (const [index, item] of (value as readonly Json[]).entries()) {
    const rules = parseRule(item, index, direction, actions, isCluster);
    if (rules === undefined) return undefined;
    out.push(...rules);
  }
  return out;
}

/** Peers that are plain in one rule; names in a second one of the same action, because they may match only. */
function parseRule(
  value: Json,
  index: number,
  direction: 'ingress' | 'egress',
  actions: Readonly<Record<string, RuleAction>>,
  isCluster: boolean,
): readonly OrderedRule[] | undefined {
  const peerField = direction === 'ingress' ? 'from' : 'to';
  const portField = isCluster ? 'protocols' : 'ports';
  if (!isJsonObject(value) || !hasOnly(value, ['name', 'action', peerField, portField])) return undefined;
  const name = asString(value['action']) ?? '';
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
  const list = value[peerField];
  if (action === undefined || !Array.isArray(list) || list.length === 0) return undefined;
  const peers: (NetworkPeer | NodePeer)[] = [];
  const names: NetworkPeer[] = [];
  for (const item of list as readonly Json[]) {
    const parsed = parsePeer(item, direction);
    if (parsed === undefined) return undefined;
    for (const peer of parsed) {
      if (peer.kind === 'name') names.push(peer);
      else peers.push(peer);
    }
  }
  const ports = parsePorts(value[portField], isCluster);
  if (ports === undefined) return undefined;
  const base = { index, field: `spec.${direction}[${index}]`, action };
  return [
    ...(peers.length > 0 ? [{ ...base, match: { kind: 'peers' as const, peers, ports } }] : []),
    ...(names.length > 0
      ? [
          {
            ...base,
            match: { kind: 'peers' as const, peers: names, ports },
            doubt: 'which addresses its domainNames stand for is not known',
          },
        ]
      : []),
  ];
}

function parsePeer(value: Json, direction: 'ingress' | 'egress'): readonly (NetworkPeer | NodePeer)[] | undefined {
  if (!isJsonObject(value)) return undefined;
  const [field, ...more] = Object.keys(value);
  if (field === undefined || more.length > 0) return undefined;
  const item = value[field];
  if (field === 'namespaces' || field === 'pods') {
    const pods = parsePods(field, item);
    return pods === undefined ? undefined : [{ kind: 'pods', ...pods }];
  }
  if (direction === 'ingress') return undefined;
  if (field === 'nodes') {
    const nodes = isJsonObject(item) ? parseLabels(item) : undefined;
    return nodes === undefined ? undefined : [{ kind: 'nodes', nodes }];
  }
  if ((field !== 'networks' && field !== 'domainNames') || !Array.isArray(item) || item.length === 0) return undefined;
  const out: NetworkPeer[] = [];
  for (const text of item as readonly Json[]) {
    if (typeof text !== 'string') return undefined;
    if (field === 'domainNames') {
      out.push({ kind: 'name', pattern: text.replace(/\.$/u, '') });
      continue;
    }
    const parsed = parseCidr(text);
    if (parsed === undefined) return undefined;
    out.push({ kind: 'ip-block', block: { range: parsed.range, except: [] } });
  }
  return out;
}

function isPort(value: Json | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
}

function parsePorts(value: Json | undefined, isCluster: boolean): 'all' | readonly NetworkPort[] | undefined {
  if (value === undefined || value === null) return 'all';
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const out: NetworkPort[] = [];
  for (const item of value as readonly Json[]) {
    if (!isJsonObject(item)) return undefined;
    const [field, ...more] = Object.keys(item);
    if (field === undefined || more.length > 0) return undefined;
    const ports = isCluster ? parseProtocol(field, item[field]) : parsePort(field, item[field]);
    if (ports === undefined) return undefined;
    out.push(...ports);
  }
  return out;
}

function named(name: Json | undefined): readonly NetworkPort[] | undefined {
  if (typeof name !== 'string' || name === '') return undefined;
  return PROTOCOLS.map((protocol) => ({ kind: 'named', protocol, name }));
}

function range(
  protocol: Protocol | undefined,
  first: Json | undefined,
  last: Json | undefined,
): NetworkPort[] | undefined {
  if (protocol === undefined || !isPort(first) || !isPort(last) || last < first) return undefined;
  return [{ kind: 'range', protocol, first, last }];
}

// v1alpha1: portNumber {protocol, port}, portRange {protocol, start, end}, namedPort.
function parsePort(field: string, value: Json | undefined): readonly NetworkPort[] | undefined {
  if (field === 'namedPort') return named(value);
  if (!isJsonObject(value)) return undefined;
  const protocol = PROTOCOLS.find((one) => one === (value['protocol'] ?? 'TCP'));
  if (field === 'portNumber' && hasOnly(value, ['protocol', 'port']))
    return range(protocol, value['port'], value['port']);
  if (field === 'portRange' && hasOnly(value, ['protocol', 'start', 'end'])) {
    return range(protocol, value['start'], value['end']);
  }
  return undefined;
}

// v1alpha2: tcp, udp or sctp {destinationPort: {number} or {range: {start, end}}}, destinationNamedPort.
function parseProtocol(field: string, value: Json | undefined): readonly NetworkPort[] | undefined {
  if (field === 'destinationNamedPort') return named(value);
  const protocol = PROTOCOLS.find((one) => one.toLowerCase() === field);
  if (protocol === undefined || !isJsonObject(value) || !hasOnly(value, ['destinationPort'])) return undefined;
  const port = value['destinationPort'];
  if (port === undefined || port === null) return [{ kind: 'range', protocol, ...ALL_PORTS }];
  if (!isJsonObject(port)) return undefined;
  const [only, ...more] = Object.keys(port);
  if (more.length > 0) return undefined;
  if (only === 'number') return range(protocol, port['number'], port['number']);
  const bounds = only === 'range' ? port['range'] : undefined;
  return isJsonObject(bounds) && hasOnly(bounds, ['start', 'end'])
    ? range(protocol, bounds['start'], bounds['end'])
    : undefined;
}

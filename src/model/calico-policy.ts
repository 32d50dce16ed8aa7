import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asString, isJsonObject } from '../shared/pure/json.ts';
import type { CalicoSelector } from './calico-selector.ts';
import { readCalicoSelector } from './calico-selector.ts';
import type { AddressRange } from './cidr-set.ts';
import { parseAddressOrCidr } from './cidr-set.ts';
import type { Protocol } from './edge.ts';
import type { KubeManifest } from './object.ts';
import { formatRef, groupOf, labelsOf, namespaceOf, refOf } from './object.ts';
import type {
  CalicoEntity,
  CalicoNetworkSet,
  CalicoPort,
  CalicoTier,
  OrderedPolicy,
  OrderedRule,
  OrderedSubject,
  RuleAction,
} from './ordered-policy.ts';

const GROUPS: readonly string[] = ['projectcalico.org', 'crd.projectcalico.org'];
const DEFAULT_TIER = 'default';
/** The order of a NetworkPolicy of Kubernetes among the policies of the default tier (Calico's reference, "Tier"). */
export const KUBERNETES_ORDER = 1000;

const DEFAULT: CalicoTier = { name: DEFAULT_TIER, order: 1_000_000, end: 'deny' };
/** Where Calico puts the tiers of the admin policies, whose end is to pass. Policies of its own kinds in them are not evaluated. */
export const CALICO_ADMIN_TIERS = {
  Admin: { name: 'kube-admin', order: 1000 },
  Baseline: { name: 'kube-baseline', order: 10_000_000 },
} as const;
const RESERVED_TIERS: readonly string[] = [
  'adminnetworkpolicy',
  'baselineadminnetworkpolicy',
  'kube-admin',
  'kube-baseline',
];

export function isCalicoObject(manifest: KubeManifest): boolean {
  return GROUPS.includes(groupOf(manifest.apiVersion));
}

/** Tiers by name: those of objects over those that are always there. A Tier that cannot be read is left out, so its policies are not evaluated. */
export function parseCalicoTiers(manifests: readonly KubeManifest[]): ReadonlyMap<string, CalicoTier> {
  const tiers = new Map([[DEFAULT_TIER, DEFAULT]]);
  for (const manifest of manifests) {
    const { name } = manifest.metadata;
    if (RESERVED_TIERS.includes(name)) continue;
    const spec = manifest['spec'] ?? {};
    const { order, defaultAction } = isJsonObject(spec) ? spec : { order: '', defaultAction: '' };
    const end = defaultAction ?? 'Deny';
    const at = order ?? (name === DEFAULT_TIER ? DEFAULT.order : Number.POSITIVE_INFINITY);
    if (typeof at !== 'number' || (end !== 'Deny' && end !== 'Pass')) tiers.delete(name);
    else tiers.set(name, { name, order: at, end: end === 'Deny' ? 'deny' : 'pass' });
  }
  return tiers;
}

/** A NetworkSet or GlobalNetworkSet. */
export function parseCalicoNetworkSet(manifest: KubeManifest): CalicoNetworkSet {
  const spec = manifest['spec'];
  const nets = isJsonObject(spec) ? parseNets(spec['nets']) : [];
  const hasNames = isJsonObject(spec) && present(spec['allowedEgressDomains']);
  const namespace = namespaceOf(manifest);
  return {
    name: formatRef(refOf(manifest)),
    ...(namespace === undefined ? {} : { namespace }),
    labels: labelsOf(manifest),
    ...(nets === undefined || hasNames ? {} : { nets }),
  };
}

/**
 * Reads a NetworkPolicy or GlobalNetworkPolicy of Calico for pods. Undefined for every other object, for policies of host endpoints
 * (`preDNAT`, `doNotTrack`, `applyOnForward`), and where a part of it is not plain: then nothing may be concluded from it. A field of
 * one rule that is not evaluated leaves the rule, which then only may match.
 */
export function parseCalicoPolicy(manifest: KubeManifest): OrderedPolicy | undefined {
  const { kind } = manifest;
  if (!isCalicoObject(manifest) || (kind !== 'NetworkPolicy' && kind !== 'GlobalNetworkPolicy')) return undefined;
  const spec = manifest['spec'] ?? {};
  if (!isJsonObject(spec) || !hasOnly(spec, [...SPEC_FIELDS])) return undefined;
  if (['preDNAT', 'doNotTrack', 'applyOnForward'].some((field) => spec[field] === true)) return undefined;
  const global = kind === 'GlobalNetworkPolicy';
  const namespace = global ? '' : (namespaceOf(manifest) ?? 'default');
  const types = typesOf(manifest, spec);
  const order = spec['order'] ?? Number.POSITIVE_INFINITY;
  const tier = asString(spec['tier'] ?? '') ?? '';
  const subject = parseSubject(spec, namespace);
  const ingress = parseRules(spec['ingress'], 'ingress', namespace);
  const egress = parseRules(spec['egress'], 'egress', namespace);
  if (types === undefined || typeof order !== 'number' || subject === undefined) return undefined;
  if (ingress === undefined || egress === undefined) return undefined;
  const tierName = tier === '' ? DEFAULT_TIER : tier;
  const { name } = manifest.metadata;
  return {
    engine: 'calico',
    ref: refOf(manifest),
    name: formatRef(refOf(manifest)),
    namespace,
    tier: tierName,
    order,
    // Names order equals; a prefix of the tier's name is Calico's own writing of it.
    tieBreak: `${global ? 'global' : namespace}/${name.startsWith(`${tierName}.`) ? name.slice(tierName.length + 1) : name}`,
    subject,
    ...(types.includes('Ingress') ? { ingress } : {}),
    ...(types.includes('Egress') ? { egress } : {}),
  };
}

const SPEC_FIELDS = [
  'order',
  'tier',
  'selector',
  'namespaceSelector',
  'serviceAccountSelector',
  'types',
  'ingress',
  'egress',
  'preDNAT',
  'doNotTrack',
  'applyOnForward',
  'performanceHints',
];

function hasOnly(value: JsonObject, fields: readonly string[]): boolean {
  return Object.keys(value).every((key) => fields.includes(key));
}

function present(value: Json | undefined): boolean {
  return value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0);
}

function typesOf(manifest: KubeManifest, spec: JsonObject): readonly string[] | undefined {
  const { types } = spec;
  if (types !== undefined && types !== null) {
    if (!Array.isArray(types)) return undefined;
    const list = types as readonly Json[];
    if (!list.every((one) => one === 'Ingress' || one === 'Egress')) return undefined;
    if (list.length > 0) return list.filter((one) => typeof one === 'string');
  }
  // The API server of Calico fills them in; an object written straight to its storage without them acts on both directions.
  if (groupOf(manifest.apiVersion) === 'crd.projectcalico.org') return ['Ingress', 'Egress'];
  const [hasIngress, hasEgress] = [present(spec['ingress']), present(spec['egress'])];
  return [...(hasIngress || !hasEgress ? ['Ingress'] : []), ...(hasEgress ? ['Egress'] : [])];
}

/** The selector in a field; undefined where it is left out, `unreadable` where it cannot be read. */
function selectorAt(value: Json | undefined): CalicoSelector | 'unreadable' | undefined {
  if (!present(value)) return undefined;
  if (typeof value !== 'string') return 'unreadable';
  return readCalicoSelector(value) ?? 'unreadable';
}

function parseSubject(spec: JsonObject, namespace: string): OrderedSubject | undefined {
  const pods = selectorAt(spec['selector']);
  const namespaces = selectorAt(spec['namespaceSelector']);
  if (pods === 'unreadable' || namespaces === 'unreadable') return undefined;
  if (namespaces !== undefined && (namespace !== '' || mentionsGlobal(namespaces))) return undefined;
  return {
    ...(namespace === '' ? {} : { namespace }),
    calico: { ...(pods === undefined ? {} : { pods }), ...(namespaces === undefined ? {} : { namespaces }) },
    ...(present(spec['serviceAccountSelector'])
      ? { doubt: 'labels of service accounts, which its serviceAccountSelector asks for, are not known' }
      : {}),
  };
}

function mentionsGlobal(selector: CalicoSelector): boolean {
  switch (selector.kind) {
    case 'global':
      return true;
    case 'not':
      return mentionsGlobal(selector.of);
    case 'and':
    case 'or':
      return selector.of.some(mentionsGlobal);
    case 'all':
    case 'has':
    case 'compare':
    case 'in':
      return false;
  }
}

const ACTIONS: Readonly<Record<string, RuleAction>> = { Allow: 'allow', Deny: 'deny', Pass: 'pass' };

function parseRules(
  value: Json | undefined,
  direction: 'ingress' | 'egress',
  namespace: string,
): readonly OrderedRule[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return undefined;
  const out: OrderedRule[] = [];
  for (const [index, item] of (value as readonly Json[]).entries()) {
    if (!isJsonObject(item)) return undefined;
    const name = asString(item['action']) ?? '';
    // A rule that only logs decides nothing.
    if (name === 'Log') continue;
    const action = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
    if (action === undefined) return undefined;
    out.push({ index, field: `spec.${direction}[${index}]`, action, ...parseMatch(item, namespace) });
  }
  return out;
}

const RULE_FIELDS = ['action', 'protocol', 'notProtocol', 'source', 'destination', 'metadata'];
/** Numbers of protocols (IANA) that have ports here. */
const NUMBERED: Readonly<Record<number, Protocol>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };
const PORTLESS: readonly string[] = ['ICMP', 'ICMPv6', 'UDPLite'];

function protocolOf(value: Json | undefined): Protocol | 'any' | 'none' | undefined {
  if (!present(value)) return 'any';
  const number = typeof value === 'number' ? value : Number(asString(value));
  if (Number.isInteger(number)) return NUMBERED[number] ?? 'none';
  const known = (['TCP', 'UDP', 'SCTP'] as const).find((one) => one === value);
  return known ?? (PORTLESS.some((one) => one === value) ? 'none' : undefined);
}

function parseMatch(rule: JsonObject, namespace: string): Pick<OrderedRule, 'match' | 'doubt'> {
  const doubts = Object.keys(rule).filter((key) => present(rule[key]) && !RULE_FIELDS.includes(key));
  const protocol = protocolOf(rule['protocol']);
  const notProtocol = protocolOf(rule['notProtocol']);
  if (protocol === undefined) doubts.push('protocol');
  if (notProtocol === undefined) doubts.push('notProtocol');
  // A rule about ICMP messages says so by its protocol; without it its meaning is not plain.
  const source = parseEntity(rule['source'], 'source', namespace);
  const destination = parseEntity(rule['destination'], 'destination', namespace);
  doubts.push(...source.doubts, ...destination.doubts);
  const plainNot =
    notProtocol === undefined || notProtocol === 'any' || notProtocol === 'none' ? undefined : notProtocol;
  return {
    match: {
      kind: 'calico',
      protocol: protocol ?? 'any',
      ...(plainNot === undefined ? {} : { notProtocol: plainNot }),
      source: source.entity,
      destination: destination.entity,
    },
    ...(doubts.length > 0 ? { doubt: `what it says in ${doubts.join(', ')} is not evaluated` } : {}),
  };
}

interface ReadEntity {
  readonly entity: CalicoEntity;
  /** Fields that are not evaluated. */
  readonly doubts: readonly string[];
}

function parseEntity(value: Json | undefined, field: string, namespace: string): ReadEntity {
  if (!present(value)) return { entity: {}, doubts: [] };
  if (!isJsonObject(value)) return { entity: {}, doubts: [field] };
  const doubts: string[] = [];
  const read = <Value>(
    name: string,
    parse: (item: Json | undefined) => Value | 'unreadable' | undefined,
  ): Value | undefined => {
    if (!present(value[name])) return undefined;
    const parsed = parse(value[name]);
    if (parsed === 'unreadable' || parsed === undefined) {
      doubts.push(`${field}.${name}`);
      return undefined;
    }
    return parsed;
  };
  const known = [
    'selector',
    'notSelector',
    'namespaceSelector',
    'serviceAccounts',
    'nets',
    'notNets',
    'ports',
    'notPorts',
  ];
  for (const name of Object.keys(value))
    if (present(value[name]) && !known.includes(name)) doubts.push(`${field}.${name}`);
  const selector = read('selector', selectorAt);
  const notSelector = read('notSelector', selectorAt);
  const namespaces = read('namespaceSelector', (item) => {
    const parsed = selectorAt(item);
    if (parsed === undefined || parsed === 'unreadable') return parsed;
    if (parsed.kind === 'global') return 'global' as const;
    return mentionsGlobal(parsed) ? 'unreadable' : parsed;
  });
  const accounts = read('serviceAccounts', parseAccounts);
  const nets = read('nets', parseNets);
  const notNets = read('notNets', parseNets);
  const ports = read('ports', parsePorts);
  const notPorts = read('notPorts', parsePorts);
  return {
    doubts,
    entity: {
      ...(selector === undefined ? {} : { selector }),
      ...(notSelector === undefined ? {} : { notSelector }),
      ...(namespaces === undefined ? {} : { namespaces }),
      ...(namespace === '' ? {} : { ownNamespace: namespace }),
      ...(accounts === undefined ? {} : { accounts }),
      ...(nets === undefined ? {} : { nets }),
      ...(notNets === undefined ? {} : { notNets }),
      ...(ports === undefined ? {} : { ports }),
      ...(notPorts === undefined ? {} : { notPorts }),
    },
  };
}

function parseAccounts(value: Json | undefined): readonly string[] | undefined {
  if (!isJsonObject(value) || present(value['selector']) || !hasOnly(value, ['names', 'selector'])) return undefined;
  const { names } = value;
  if (!Array.isArray(names) || names.length === 0) return undefined;
  const texts = (names as readonly Json[]).filter((one): one is string => typeof one === 'string');
  return texts.length === names.length ? texts : undefined;
}

function parseNets(value: Json | undefined): readonly AddressRange[] | undefined {
  if (!present(value)) return [];
  if (!Array.isArray(value)) return undefined;
  const ranges = (value as readonly Json[]).map((one) =>
    typeof one === 'string' ? parseAddressOrCidr(one) : undefined,
  );
  const known = ranges.filter((one) => one !== undefined);
  return known.length === ranges.length ? known : undefined;
}

function parsePorts(value: Json | undefined): readonly CalicoPort[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const out: CalicoPort[] = [];
  for (const item of value as readonly Json[]) {
    const text = typeof item === 'number' ? String(item) : (asString(item) ?? '');
    const match = /^(\d{1,5})(?::(\d{1,5}))?$/u.exec(text);
    if (match === null) {
      if (!/^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/u.test(text)) return undefined;
      out.push({ kind: 'named', name: text });
      continue;
    }
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (first > last || last > 65_535) return undefined;
    out.push({ kind: 'range', first, last });
  }
  return out;
}

import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { KubeManifest, ObjectRef } from './object.ts';
import { formatRef, groupOf, namespaceOf, refOf } from './object.ts';
import { parseSelector } from './selector.ts';
import type { Selector } from './selector.ts';

/**
 * A selector as another policy engine writes it, read as far as its meaning is plain. `unreadable` may select anything in
 * its namespaces.
 */
export type ForeignSelector =
  { readonly kind: 'labels'; readonly selector: Selector } | { readonly kind: 'unreadable' };

/** Pods that one section of such a policy acts on. */
export interface ForeignSubject {
  /** Its own namespace, namespaces by label, or all. */
  readonly namespaces:
    | { readonly kind: 'one'; readonly name: string }
    | { readonly kind: 'all' }
    | { readonly kind: 'labels'; readonly selector: Selector }
    | { readonly kind: 'unreadable' };
  readonly pods: ForeignSelector;
  readonly ingress: boolean;
  readonly egress: boolean;
}

/** A policy that is not evaluated. Where it may select an endpoint, the answer is unknown and the object is named. */
export interface ForeignPolicy {
  readonly ref: ObjectRef;
  readonly name: string;
  readonly subjects: readonly ForeignSubject[];
  /** True where it acts on nodes and host-network processes too. */
  readonly nodes: boolean;
  readonly manifest: KubeManifest;
}

const STAGED = new Set(['StagedNetworkPolicy', 'StagedGlobalNetworkPolicy', 'StagedKubernetesNetworkPolicy']);

/** Kinds of policy groups that decide nothing by themselves: `group/Kind`. */
const PASSIVE = new Set([
  // Written by the controller of the CNI from NetworkPolicies, which are read themselves.
  'networking.k8s.aws/PolicyEndpoint',
  ...['projectcalico.org', 'crd.projectcalico.org'].flatMap((group) =>
    [
      ...STAGED,
      ...['Tier', 'NetworkSet', 'GlobalNetworkSet', 'IPPool', 'IPReservation', 'BlockAffinity', 'IPAMBlock'],
      ...['IPAMHandle', 'IPAMConfig', 'IPAMConfiguration', 'ClusterInformation', 'FelixConfiguration', 'BGPPeer'],
      ...[
        'BGPConfiguration',
        'BGPFilter',
        'KubeControllersConfiguration',
        'CalicoNodeStatus',
        'Node',
        'WorkloadEndpoint',
      ],
    ].map((kind) => `${group}/${kind}`),
  ),
  ...[
    ...['CiliumEndpoint', 'CiliumEndpointSlice', 'CiliumIdentity', 'CiliumNode', 'CiliumCIDRGroup', 'CiliumNodeConfig'],
    ...['CiliumLoadBalancerIPPool', 'CiliumL2AnnouncementPolicy', 'CiliumPodIPPool', 'CiliumExternalWorkload'],
    ...['CiliumBGPPeeringPolicy', 'CiliumBGPClusterConfig', 'CiliumBGPPeerConfig', 'CiliumBGPAdvertisement'],
  ].map((kind) => `cilium.io/${kind}`),
]);

/** Groups whose kinds are read elsewhere, or configure routing rather than permission. */
const MESH_GROUPS = new Set([
  'security.istio.io',
  'networking.istio.io',
  'extensions.istio.io',
  'telemetry.istio.io',
  'install.istio.io',
  'authentication.istio.io',
  'gateway.networking.k8s.io',
]);

const EVERYWHERE: ForeignSubject = {
  namespaces: { kind: 'all' },
  pods: { kind: 'unreadable' },
  ingress: true,
  egress: true,
};

/** The policy, where the object is one that may act on connections and that nothing here evaluates; else undefined. */
export function parseForeignPolicy(manifest: KubeManifest): ForeignPolicy | undefined {
  const group = groupOf(manifest.apiVersion);
  if (PASSIVE.has(`${group}/${manifest.kind}`) || MESH_GROUPS.has(group)) return undefined;
  const ref = refOf(manifest);
  const base = { ref, name: formatRef(ref), manifest };
  const namespace = namespaceOf(manifest);
  if (group === 'cilium.io') return { ...base, ...parseCilium(manifest, namespace) };
  if (group === 'projectcalico.org' || group === 'crd.projectcalico.org') {
    return { ...base, ...parseCalico(manifest, namespace) };
  }
  if (group === 'policy.networking.k8s.io') return { ...base, subjects: [parseAdmin(manifest)], nodes: false };
  return { ...base, subjects: [inNamespace(namespace)], nodes: namespace === undefined };
}

function inNamespace(namespace: string | undefined): ForeignSubject {
  return namespace === undefined ? EVERYWHERE : { ...EVERYWHERE, namespaces: { kind: 'one', name: namespace } };
}

function readable(value: Json | undefined): ForeignSelector {
  const { selector, problems } = parseSelector(value, 'selector');
  return problems.length > 0 ? { kind: 'unreadable' } : { kind: 'labels', selector };
}

function readableNamespaces(value: Json | undefined): ForeignSubject['namespaces'] {
  const { selector, problems } = parseSelector(value, 'selector');
  if (problems.length > 0) return { kind: 'unreadable' };
  return selector.requirements.length === 0 ? { kind: 'all' } : { kind: 'labels', selector };
}

function hasItems(value: Json | undefined): boolean {
  return value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);
}

// AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy: a subject of namespaces, or of pods in namespaces.
function parseAdmin(manifest: KubeManifest): ForeignSubject {
  const spec = asObject(manifest['spec']);
  const subject = asObject(spec['subject']);
  const direction = { ingress: hasItems(spec['ingress']), egress: hasItems(spec['egress']) };
  const { namespaces, pods } = subject;
  if (isJsonObject(namespaces)) {
    const everyPod = parseSelector(undefined, 'pods').selector;
    return { namespaces: readableNamespaces(namespaces), pods: { kind: 'labels', selector: everyPod }, ...direction };
  }
  if (isJsonObject(pods)) {
    return {
      namespaces: readableNamespaces(pods['namespaceSelector']),
      pods: readable(pods['podSelector']),
      ...direction,
    };
  }
  return { ...EVERYWHERE, ...direction };
}

/** Cilium's selector, its source prefixes taken off; the namespace key becomes the namespace it names. */
function parseCiliumSelector(value: Json | undefined): { readonly pods: ForeignSelector; readonly namespace?: string } {
  if (!isJsonObject(value)) return { pods: { kind: 'unreadable' } };
  const labels: Record<string, Json> = {};
  let namespace: string | undefined;
  for (const [key, item] of Object.entries(asObject(value['matchLabels']))) {
    const plain = plainCiliumKey(key);
    if (plain === 'io.kubernetes.pod.namespace') namespace = asString(item);
    else if (plain === undefined) return { pods: { kind: 'unreadable' } };
    else labels[plain] = item;
  }
  const expressions: Json[] = [];
  for (const item of asArray(value['matchExpressions'])) {
    const expression = asObject(item);
    const key = plainCiliumKey(asString(expression['key']) ?? 'reserved:');
    if (key === undefined || key === 'io.kubernetes.pod.namespace') return { pods: { kind: 'unreadable' } };
    expressions.push({ ...expression, key });
  }
  const pods = readable({ matchLabels: labels, matchExpressions: expressions });
  return namespace === undefined ? { pods } : { pods, namespace };
}

function plainCiliumKey(key: string): string | undefined {
  const plain = key.startsWith('k8s:') || key.startsWith('any:') ? key.slice(4) : key;
  if (plain.includes(':') || plain.startsWith('io.cilium.')) return undefined;
  // Cilium also takes the source with a dot in place of the colon.
  if (plain.startsWith('k8s.io.') || plain.startsWith('reserved.')) return undefined;
  return plain;
}

function parseCilium(manifest: KubeManifest, namespace: string | undefined): Pick<ForeignPolicy, 'subjects' | 'nodes'> {
  if (manifest.kind !== 'CiliumNetworkPolicy' && manifest.kind !== 'CiliumClusterwideNetworkPolicy') {
    return { subjects: [inNamespace(namespace)], nodes: namespace === undefined };
  }
  const specs = [manifest['spec'], ...asArray(manifest['specs'])].filter(isJsonObject);
  const subjects: ForeignSubject[] = [];
  let nodes = false;
  for (const spec of specs) {
    if (hasItems(spec['nodeSelector'])) {
      nodes = true;
      continue;
    }
    const selected = parseCiliumSelector(spec['endpointSelector']);
    // A section that is present, empty or not, may isolate its direction; one that is absent leaves it alone.
    const has = (field: string): boolean => spec[field] !== undefined && spec[field] !== null;
    subjects.push({
      namespaces:
        namespace !== undefined
          ? { kind: 'one', name: namespace }
          : selected.namespace !== undefined
            ? { kind: 'one', name: selected.namespace }
            : { kind: 'all' },
      pods: selected.pods,
      ingress: has('ingress') || has('ingressDeny'),
      egress: has('egress') || has('egressDeny'),
    });
  }
  return specs.length === 0 ? { subjects: [inNamespace(namespace)], nodes } : { subjects, nodes };
}

function parseCalico(manifest: KubeManifest, namespace: string | undefined): Pick<ForeignPolicy, 'subjects' | 'nodes'> {
  if (manifest.kind === 'HostEndpoint') return { subjects: [], nodes: true };
  if (manifest.kind !== 'NetworkPolicy' && manifest.kind !== 'GlobalNetworkPolicy') {
    return { subjects: [inNamespace(namespace)], nodes: namespace === undefined };
  }
  const spec = asObject(manifest['spec']);
  const global = manifest.kind === 'GlobalNetworkPolicy';
  const namespaces = global ? calicoNamespaces(spec) : ({ kind: 'one', name: namespace ?? 'default' } as const);
  const accounts = asString(spec['serviceAccountSelector']);
  const pods: ForeignSelector =
    accounts === undefined || accounts.trim() === '' ? parseCalicoSelector(spec['selector']) : { kind: 'unreadable' };
  const types = asArray(spec['types']);
  const isRead =
    types.every((one) => one === 'Ingress' || one === 'Egress') && hasItems(spec['types']) === types.length > 0;
  // Left out: ingress, unless there are only egress rules; egress where there are egress rules.
  const [hasIngress, hasEgress] = [hasItems(spec['ingress']), hasItems(spec['egress'])];
  const ingress = !isRead || (types.length > 0 ? types.includes('Ingress') : hasIngress || !hasEgress);
  const egress = !isRead || (types.length > 0 ? types.includes('Egress') : hasEgress);
  const onHosts = ['preDNAT', 'doNotTrack', 'applyOnForward'].some((field) => spec[field] === true);
  return { subjects: [{ namespaces, pods, ingress, egress }], nodes: onHosts };
}

function calicoNamespaces(spec: JsonObject): ForeignSubject['namespaces'] {
  const parsed = parseCalicoSelector(spec['namespaceSelector']);
  if (parsed.kind === 'unreadable') return parsed;
  return parsed.selector.requirements.length === 0 ? { kind: 'all' } : parsed;
}

/**
 * The part of Calico's selector language that has a plain meaning: nothing or `all()`, and `==`, `in`, `not in`, `has()`,
 * `!has()` joined by `&&`. Everything else is unreadable. `!=` and `not in` hold where the label is absent.
 */
export function parseCalicoSelector(value: Json | undefined): ForeignSelector {
  const text = value === undefined || value === null ? '' : asString(value);
  if (text === undefined) return { kind: 'unreadable' };
  const terms = splitConjunction(text);
  if (terms === undefined) return { kind: 'unreadable' };
  const expressions: Json[] = [];
  for (const term of terms) {
    if (term === '' || term === 'all()') continue;
    const expression = parseCalicoTerm(term);
    if (expression === undefined) return { kind: 'unreadable' };
    expressions.push(expression);
  }
  return readable({ matchExpressions: expressions });
}

// `&&` inside quotes does not join; a parenthesis other than of all() and has() is left to the caller to refuse.
function splitConjunction(text: string): readonly string[] | undefined {
  const terms: string[] = [];
  let quote: string | undefined;
  let start = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (quote !== undefined) {
      if (char === quote) quote = undefined;
    } else if (char === '"' || char === "'") quote = char;
    else if (char === '&' && text[at + 1] === '&') {
      terms.push(text.slice(start, at).trim());
      at += 1;
      start = at + 1;
    }
  }
  terms.push(text.slice(start).trim());
  return quote === undefined ? terms : undefined;
}

const KEY = '([A-Za-z0-9._/-]+)';
const QUOTED = `(?:"([^"]*)"|'([^']*)')`;
const COMPARISON = new RegExp(`^${KEY}\\s*(==|!=)\\s*${QUOTED}$`, 'u');
const MEMBERSHIP = new RegExp(`^${KEY}\\s+(in|not\\s+in)\\s*\\{([^{}]*)\\}$`, 'u');
const PRESENCE = new RegExp(`^(!?)\\s*has\\(\\s*${KEY}\\s*\\)$`, 'u');

function parseCalicoTerm(term: string): JsonObject | undefined {
  const presence = PRESENCE.exec(term);
  if (presence !== null) {
    return plainCalico(presence[2], presence[1] === '!' ? 'DoesNotExist' : 'Exists', []);
  }
  const comparison = COMPARISON.exec(term);
  if (comparison !== null) {
    const value = comparison[3] ?? comparison[4] ?? '';
    return plainCalico(comparison[1], comparison[2] === '==' ? 'In' : 'NotIn', [value]);
  }
  const membership = MEMBERSHIP.exec(term);
  if (membership === null) return undefined;
  const values: string[] = [];
  for (const part of (membership[3] ?? '').split(',')) {
    const item = new RegExp(`^\\s*${QUOTED}\\s*$`, 'u').exec(part);
    if (item === null) return undefined;
    values.push(item[1] ?? item[2] ?? '');
  }
  return plainCalico(membership[1], membership[2] === 'in' ? 'In' : 'NotIn', values);
}

// Calico's own keys (namespace, service account, orchestrator) are not labels of the pod.
function plainCalico(key: string | undefined, operator: string, values: readonly string[]): JsonObject | undefined {
  if (key === undefined || key.startsWith('projectcalico.org/') || key.startsWith('pcns.') || key.startsWith('pcsa.')) {
    return undefined;
  }
  return { key, operator, ...(values.length > 0 ? { values } : {}) };
}

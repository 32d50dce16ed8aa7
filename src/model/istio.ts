import { uniqueSorted } from '../shared/pure/order.ts';
import { matchBlock } from './cidr-set.ts';
import { endpointKey } from './edge.ts';
import type { Endpoint, Protocol } from './edge.ts';
import type { MeshMembership } from './inventory.ts';
import type {
  AuthorizationPolicy,
  AuthorizationRule,
  Condition,
  DestinationRule,
  MtlsMode,
  OperationField,
  PeerAuthentication,
  SidecarResource,
  SourceField,
  TextMatch,
} from './istio-objects.ts';
import { isHttpField } from './istio-objects.ts';
import type { Tri } from './tri.ts';
import { agreed, and, not, or } from './tri.ts';
import type { Reason } from './verdict.ts';
import type { Exposure, IstioNamespace, Party, Pod, World } from './world.ts';
import { addressesOfPod, cached, exposuresOf, partiesOf, podsOfWorkload, selectsPod } from './world.ts';

/** What is asked of the mesh about one pair of parties. */
export interface MeshQuery {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
  /** `METHOD /path` */
  readonly l7?: string;
}

export interface MeshAnswer {
  readonly answer: Tri;
  readonly reasons: readonly Reason[];
}

/** How a client's proxy, or the client itself, speaks: auto mTLS adapts to each server. */
type ClientTls = 'auto' | 'plaintext' | 'mutual' | 'other';
type Server = 'sidecar' | 'none';

interface ClientChoice {
  readonly kinds: ReadonlySet<ClientTls>;
  readonly because: string;
}

interface ModeChoice {
  readonly mode: MtlsMode | 'unknown';
  readonly by: string;
}

/** Ports that the agent and the proxy serve themselves: never redirected into the proxy. */
export const UNREDIRECTED_PORTS: ReadonlySet<number> = new Set([15_020, 15_021, 15_090]);
const NOTHING: IstioNamespace = { peers: [], rules: [], authorization: [], sidecars: [], extensions: [] };
const FINE: MeshAnswer = { answer: 'yes', reasons: [] };

function istioOf(world: World, namespace: string): IstioNamespace {
  return world.istio.get(namespace) ?? NOTHING;
}

/** Membership of a party. A host-network pod never has a sidecar; a party that cannot be told may be anything. */
function membershipOf(party: Party): MeshMembership {
  if (party.kind === 'unknown') return 'unknown';
  if (party.pod === undefined || party.pod.hostNetwork) return 'none';
  return party.pod.podSet?.mesh ?? 'unknown';
}

function serversOf(party: Party): readonly Server[] {
  const mesh = membershipOf(party);
  if (mesh === 'sidecar') return ['sidecar'];
  return mesh === 'none' ? ['none'] : ['sidecar', 'none'];
}

function isAmbient(world: World, ...parties: readonly Party[]): boolean {
  const members = parties.map(membershipOf);
  if (members.includes('ambient')) return true;
  return world.inventory.facts.mesh.mode === 'ambient' && members.some((mesh) => mesh !== 'none');
}

function textOf(party: Party): string {
  const role = party.pod?.role ?? '';
  return role === '' ? endpointKey(party.endpoint) : `${endpointKey(party.endpoint)} (${role})`;
}

function formatPorts({ first, last }: MeshQuery): string {
  return first === last ? `port ${first}` : `ports ${first}-${last}`;
}

// ---------------------------------------------------------------- PeerAuthentication

/** For each policy that may be the one of the workload: itself, over the one of its namespace, over the mesh's. */
interface PeerChain {
  readonly policies: readonly PeerAuthentication[];
}

/**
 * The policies that may speak for a pod set, weakest first: of the mesh (root namespace, no selector), of the namespace, of
 * the workload. Of several at one level the oldest wins. A selector in the root namespace selects nothing.
 */
function peerChains(world: World, pod: Pod): readonly PeerChain[] {
  return cached(world, 'peer-authentication', pod, () => {
    const root = world.inventory.facts.mesh.rootNamespace;
    const general = ({ selector }: PeerAuthentication): boolean => selector === undefined;
    const mesh = istioOf(world, root).peers.find(general);
    const own = pod.namespace.name === root ? undefined : istioOf(world, pod.namespace.name).peers;
    const base = [mesh, own?.find(general)].filter((policy) => policy !== undefined);
    const chains: PeerChain[] = [];
    for (const policy of own ?? []) {
      const selected = policy.selector === undefined ? 'no' : selectsPod(policy.selector, pod);
      if (selected === 'no') continue;
      chains.push({ policies: [...base, policy] });
      if (selected === 'yes') return chains;
    }
    return [...chains, { policies: base }];
  });
}

function modeOfChain({ policies }: PeerChain, port: number): ModeChoice {
  let choice: ModeChoice = { mode: 'PERMISSIVE', by: 'the default, as no PeerAuthentication says otherwise' };
  for (const policy of policies) {
    if (policy.problems.length > 0) {
      choice = { mode: 'unknown', by: policy.name };
      continue;
    }
    // UNSET inherits from the level above.
    if (policy.mode !== 'UNSET') choice = { mode: policy.mode, by: policy.name };
    // Port settings count only where a selector names the workload.
    const onPort = policy.selector === undefined ? undefined : policy.ports.get(port);
    if (onPort !== undefined && onPort !== 'UNSET') choice = { mode: onPort, by: `${policy.name}, port ${port}` };
  }
  return choice;
}

function modesOf(world: World, pod: Pod, port: number): readonly ModeChoice[] {
  return peerChains(world, pod).map((chain) => modeOfChain(chain, port));
}

/** Ports of a query that may have a mode of their own, and one that stands for the others. */
function portsToAsk(world: World, pod: Pod, { first, last }: MeshQuery): readonly number[] {
  if (first === last) return [first];
  const special = new Set<number>();
  for (const { policies } of peerChains(world, pod)) {
    for (const { ports } of policies)
      for (const port of ports.keys()) if (port >= first && port <= last) special.add(port);
  }
  for (let port = first; port <= last; port += 1) {
    if (!special.has(port)) {
      special.add(port);
      break;
    }
  }
  return [...special];
}

/**
 * The mTLS mode that PeerAuthentication sets for a port of a workload: mesh, namespace, workload, port; UNSET inherits; of
 * several at one level the oldest wins, then the first by name; PERMISSIVE where nothing says. Whether the workload has a
 * sidecar that acts on it is another question. `by` names the object. Rule: Istio's PeerAuthentication reference.
 */
export function mtlsModeOf(
  world: World,
  workloadId: string,
  port: number,
): { readonly mode: MtlsMode | 'unknown'; readonly by: string } {
  const { mesh } = world.inventory.facts;
  if (mesh.kind === 'none') return { mode: 'DISABLE', by: 'there is no service mesh' };
  if (mesh.mode === 'ambient') return { mode: 'unknown', by: 'ambient mode is not evaluated' };
  const choices = podsOfWorkload(world, workloadId).flatMap((pod) => modesOf(world, pod, port));
  const [first] = choices;
  if (first !== undefined && choices.every(({ mode }) => mode === first.mode)) return first;
  return { mode: 'unknown', by: uniqueSorted(choices.map(({ mode, by }) => `${mode} by ${by}`)).join('; ') };
}

// ---------------------------------------------------------------- DestinationRule and Sidecar

interface Target {
  readonly host: string;
  readonly namespace: string;
  readonly port: number;
}

function targetOf({ service, namespace, servicePort }: Exposure): Target {
  return { host: `${service}.${namespace}.svc.cluster.local`, namespace, port: servicePort };
}

/** The Services by which a client may name the destination; empty where it can only use an address. */
function targetsOf(world: World, dst: Party, query: MeshQuery): readonly Target[] {
  if (dst.pod !== undefined) {
    return exposuresOf(world, dst.pod)
      .filter(({ targetPort }) => targetPort >= query.first && targetPort <= query.last)
      .map(targetOf);
  }
  if (dst.kind === 'api-server')
    return [{ host: 'kubernetes.default.svc.cluster.local', namespace: 'default', port: 443 }];
  if (dst.kind === 'external' && dst.endpoint.kind === 'external' && dst.endpoint.name !== undefined) {
    return [{ host: dst.endpoint.name, namespace: '', port: query.first }];
  }
  return [];
}

/** How exactly a host of a rule fits: its length, plus one where it has no wildcard; undefined where it does not fit. */
function hostFit(pattern: string, host: string): number | undefined {
  if (pattern === host) return host.length + 1;
  if (!pattern.startsWith('*')) return undefined;
  return host.endsWith(pattern.slice(1)) ? pattern.length - 1 : undefined;
}

function isVisible(rule: DestinationRule, client: string): Tri {
  if (rule.exportTo === 'all') return 'yes';
  if (rule.exportTo === 'unknown') return 'unknown';
  if (rule.exportTo === 'own') return rule.namespace === client ? 'yes' : 'no';
  return rule.exportTo.has(client) ? 'yes' : 'no';
}

/** The rule in one namespace that fits best, or `unknown` where more than one may be it. */
function bestRule(
  rules: readonly DestinationRule[],
  client: string,
  target: Target,
): DestinationRule | 'unknown' | undefined {
  let best: DestinationRule | undefined;
  let bestFit = -1;
  let twins: DestinationRule[] = [];
  for (const rule of rules) {
    const fit = hostFit(rule.host, target.host);
    const visible = isVisible(rule, client);
    if (fit === undefined || visible === 'no' || fit < bestFit) continue;
    if (visible === 'unknown') return 'unknown';
    if (fit > bestFit) [best, bestFit, twins] = [rule, fit, []];
    else twins.push(rule);
  }
  if (best === undefined) return undefined;
  // Rules for one host are merged: the same client TLS in all is plain, else it depends on which came first.
  const tls = clientTlsOf(best, target.port);
  return twins.every((twin) => clientTlsOf(twin, target.port) === tls) ? best : 'unknown';
}

function clientTlsOf(rule: DestinationRule, port: number): DestinationRule['tls'] {
  if (rule.partial || rule.problems.length > 0) return 'unknown';
  return rule.ports.has(port) ? rule.ports.get(port) : rule.tls;
}

/** Istio's order: the client's namespace, the Service's, the root namespace; the first with a rule for the host decides. */
function ruleFor(world: World, client: string, target: Target): DestinationRule | 'unknown' | undefined {
  const root = world.inventory.facts.mesh.rootNamespace;
  const local = istioOf(world, client).rules;
  // In the root namespace only rules meant for it alone come first.
  const first = client === root ? local.filter(({ exportTo }) => exportTo === 'own') : local;
  return (
    bestRule(first, client, target) ??
    bestRule(istioOf(world, target.namespace).rules, client, target) ??
    bestRule(istioOf(world, root).rules, client, target)
  );
}

/** The Sidecar resource of a pod set: by selector, of the namespace, of the root. More than one where that is not known. */
function sidecarsOf(world: World, pod: Pod): readonly (SidecarResource | undefined)[] {
  return cached(world, 'sidecar', pod, () => {
    const own = istioOf(world, pod.namespace.name).sidecars;
    const root = istioOf(world, world.inventory.facts.mesh.rootNamespace).sidecars;
    const out: (SidecarResource | undefined)[] = [];
    for (const resource of own) {
      const selected = resource.selector === undefined ? 'no' : selectsPod(resource.selector, pod);
      if (selected !== 'no') out.push(resource);
      if (selected === 'yes') return out;
    }
    const general = ({ selector }: SidecarResource): boolean => selector === undefined;
    return [...out, own.find(general) ?? root.find(general)];
  });
}

function showsHost(resource: SidecarResource, client: string, target: Target): boolean {
  if (resource.egressHosts === undefined) return true;
  return resource.egressHosts.some((entry) => {
    const slash = entry.indexOf('/');
    const [namespace, host] = [entry.slice(0, slash), entry.slice(slash + 1)];
    const inNamespace =
      namespace === '*' || namespace === target.namespace || (namespace === '.' && client === target.namespace);
    return slash > 0 && inNamespace && (host === '*' || hostFit(host, target.host) !== undefined);
  });
}

const OUTBOUND_SWITCHES = [
  'traffic.sidecar.istio.io/excludeOutboundPorts',
  'traffic.sidecar.istio.io/excludeOutboundIPRanges',
  'traffic.sidecar.istio.io/includeOutboundIPRanges',
  'traffic.sidecar.istio.io/includeOutboundPorts',
];

function annotationOf(pod: Pod, key: string): string | undefined {
  const annotations = pod.podSet?.annotations ?? {};
  const value = Object.hasOwn(annotations, key) ? annotations[key] : undefined;
  return value === undefined || value.trim() === '' || value.trim() === '*' ? undefined : value;
}

/** All the ways in which a client may speak to a destination, as far as membership and DestinationRules say. */
function clientTls(world: World, src: Party, dst: Party, query: MeshQuery): ClientChoice {
  const name = textOf(src);
  if (src.kind === 'unknown') {
    return { kinds: new Set(['auto', 'plaintext']), because: `Whether ${name} has a sidecar is not known.` };
  }
  const mesh = membershipOf(src);
  if (src.pod === undefined || mesh === 'none') {
    return { kinds: new Set(['plaintext']), because: `${name} has no sidecar, so it sends plaintext.` };
  }
  const client = src.pod.namespace.name;
  const kinds = new Set<ClientTls>();
  const notes: string[] = [];
  if (mesh !== 'sidecar') {
    kinds.add('plaintext');
    notes.push(`Whether all pods of ${name} have a sidecar is not known.`);
  }
  const targets = targetsOf(world, dst, query);
  for (const target of targets) {
    const rule = ruleFor(world, client, target);
    const tls = rule === undefined ? undefined : rule === 'unknown' ? 'unknown' : clientTlsOf(rule, target.port);
    const by = rule === undefined || rule === 'unknown' ? 'a DestinationRule' : rule.name;
    if (tls === undefined) {
      kinds.add('auto');
      notes.push(`${name} has a sidecar and automatic mTLS.`);
    } else if (tls === 'DISABLE') {
      kinds.add('plaintext');
      notes.push(`${by} switches client TLS off for ${target.host}.`);
    } else if (tls === 'ISTIO_MUTUAL') {
      kinds.add('mutual');
      // Outside the cluster it is followed only where the mesh has an entry for the name.
      if (dst.kind === 'external') kinds.add('auto');
      notes.push(`${by} sets mTLS for ${target.host}.`);
    } else if (tls === 'unknown') {
      for (const kind of ['auto', 'plaintext', 'mutual', 'other'] as const) kinds.add(kind);
      notes.push(`Which client TLS ${by} sets for ${target.host} cannot be told.`);
    } else {
      kinds.add('other');
      notes.push(`${by} sets client TLS ${tls} for ${target.host}.`);
    }
  }
  if (targets.length === 0 || query.first !== query.last) {
    // The proxy passes a connection to an address that no Service stands for through as it is.
    if (dst.pod === undefined && dst.kind !== 'unknown') kinds.add('plaintext');
    else {
      kinds.add('auto');
      kinds.add('plaintext');
      notes.push(
        `No Service leads to ${formatPorts(query)} of ${textOf(dst)}; a client that dials the pod sends plaintext.`,
      );
    }
  }
  const hidden = sidecarsOf(world, src.pod).find(
    (resource) => resource !== undefined && targets.some((target) => !showsHost(resource, client, target)),
  );
  if (hidden !== undefined) {
    kinds.add('plaintext');
    notes.push(`${hidden.name} may hide the destination from the proxy of ${name}.`);
  }
  const { pod } = src;
  const excluded = OUTBOUND_SWITCHES.find((key) => annotationOf(pod, key) !== undefined);
  if (excluded !== undefined) {
    kinds.add('plaintext');
    notes.push(`${name} takes some traffic past its proxy (${excluded}).`);
  }
  return { kinds, because: [...new Set(notes)].join(' ') };
}

/**
 * How a connection travels: membership of the client, the DestinationRule in force for it, and automatic mTLS towards what
 * the server's PeerAuthentication takes. Automatic mTLS is taken to be on, as it is by default.
 */
export function transportOf(
  world: World,
  src: Endpoint,
  dst: Endpoint,
  port: number,
): { readonly kind: 'mtls' | 'plaintext' | 'unknown'; readonly because: string } {
  if (world.inventory.facts.mesh.kind === 'none') return { kind: 'plaintext', because: 'There is no service mesh.' };
  const query: MeshQuery = { protocol: 'TCP', first: port, last: port };
  const kinds = new Set<'mtls' | 'plaintext' | 'unknown'>();
  const notes: string[] = [];
  for (const from of partiesOf(world, src)) {
    for (const to of partiesOf(world, dst)) {
      if (isAmbient(world, from, to)) {
        kinds.add('unknown');
        notes.push('Ambient mode is not evaluated.');
        continue;
      }
      const choice = clientTls(world, from, to, query);
      notes.push(choice.because);
      for (const kind of choice.kinds) kinds.add(transportWith(world, kind, to, port));
    }
  }
  const [only] = kinds;
  const kind = kinds.size === 1 && only !== undefined ? only : 'unknown';
  const toNone = partiesOf(world, dst).every((party) => membershipOf(party) === 'none');
  if (kind === 'plaintext' && toNone) notes.push(`${endpointKey(dst)} has no sidecar.`);
  return { kind, because: uniqueSorted(notes.filter((note) => note !== '')).join(' ') };
}

function transportWith(world: World, kind: ClientTls, dst: Party, port: number): 'mtls' | 'plaintext' | 'unknown' {
  if (kind === 'plaintext') return 'plaintext';
  if (kind === 'mutual') return 'mtls';
  if (kind === 'other') return 'unknown';
  const servers = serversOf(dst);
  if (servers.length > 1) return 'unknown';
  if (servers[0] === 'none' || dst.pod === undefined) return 'plaintext';
  const modes = modesOf(world, dst.pod, port).map(({ mode }) => mode);
  if (modes.includes('unknown')) return 'unknown';
  if (modes.every((mode) => mode === 'DISABLE')) return 'plaintext';
  return modes.includes('DISABLE') ? 'unknown' : 'mtls';
}

// ---------------------------------------------------------------- AuthorizationPolicy

interface Acting {
  readonly policy: AuthorizationPolicy;
  readonly selected: Tri;
}

/** The policies that act, or may act, on a pod set: of its namespace and of the root namespace. */
function authorizationOf(world: World, pod: Pod): readonly Acting[] {
  return cached(world, 'authorization', pod, () => {
    const root = world.inventory.facts.mesh.rootNamespace;
    const own = istioOf(world, pod.namespace.name).authorization;
    const all = pod.namespace.name === root ? own : [...own, ...istioOf(world, root).authorization];
    return all.flatMap((policy) => {
      const selected = policy.targeted ? 'unknown' : selectsPod(policy.selector, pod);
      return selected === 'no' ? [] : [{ policy, selected }];
    });
  });
}

/** One way in which the connection may look to the server's proxy. */
interface Appearance {
  readonly src: Party;
  /** The client's certificate was checked. */
  readonly identity: boolean;
  /** The port speaks HTTP. */
  readonly http: boolean;
  readonly method?: string;
  readonly path?: string;
  readonly query: MeshQuery;
}

function matchText(match: TextMatch, text: string): Tri {
  switch (match.kind) {
    case 'exact':
      return match.text === text ? 'yes' : 'no';
    case 'prefix':
      return text.startsWith(match.text) ? 'yes' : 'no';
    case 'suffix':
      return text.endsWith(match.text) ? 'yes' : 'no';
    case 'present':
      return text === '' ? 'no' : 'yes';
    case 'unknown':
      return 'unknown';
  }
}

function matchAny(matches: readonly TextMatch[], texts: readonly string[]): Tri {
  let answer: Tri = 'no';
  for (const match of matches) for (const text of texts) answer = or(answer, matchText(match, text));
  return answer;
}

function presentOr(matches: readonly TextMatch[], otherwise: Tri): Tri {
  return matches.some(({ kind }) => kind === 'present') ? 'yes' : otherwise;
}

function principalText(trustDomain: string, pod: Pod): string {
  const account = pod.podSet?.serviceAccount ?? '';
  return `${trustDomain}/ns/${pod.namespace.name}/sa/${account === '' ? 'default' : account}`;
}

function matchIdentity(
  world: World,
  policy: AuthorizationPolicy,
  { field, values }: Condition<SourceField | OperationField>,
  { src, identity }: Appearance,
): Tri {
  // Without mTLS there is no principal, so no namespace and no account either.
  if (!identity) return 'no';
  const { pod } = src;
  if (pod === undefined) return presentOr(values, 'unknown');
  if (field === 'namespaces') return matchAny(values, [pod.namespace.name]);
  if (pod.podSet === undefined) return presentOr(values, 'unknown');
  if (field === 'principals') {
    // `cluster.local` in a policy stands for the mesh's own trust domain.
    const names = cached(world, 'principals', pod, () =>
      uniqueSorted(
        [world.inventory.facts.mesh.trustDomain, 'cluster.local'].map((domain) => principalText(domain, pod)),
      ),
    );
    return matchAny(values, names);
  }
  const account = pod.podSet.serviceAccount === '' ? 'default' : pod.podSet.serviceAccount;
  const names = [`${pod.namespace.name}/${account}`];
  if (pod.namespace.name === policy.namespace) names.push(account);
  return matchAny(values, names);
}

function matchAddresses(world: World, { ranges }: Condition<SourceField | OperationField>, { src }: Appearance): Tri {
  if (src.kind === 'unknown' || src.ownNode) return 'unknown';
  const addresses = src.kind === 'pod' && src.pod !== undefined ? addressesOfPod(world, src.pod) : src.addresses;
  return agreed(
    addresses.flat().map((address) => {
      let answer: Tri = 'no';
      for (const range of ranges) {
        answer = or(answer, range === undefined ? 'unknown' : matchBlock({ range, except: [] }, address));
      }
      return answer;
    }),
  );
}

function matchPorts({ numbers }: Condition<SourceField | OperationField>, { query }: Appearance): Tri {
  if (numbers.some(Number.isNaN)) return 'unknown';
  const inside = new Set(numbers.filter((port) => port >= query.first && port <= query.last)).size;
  if (inside === 0) return 'no';
  return inside === query.last - query.first + 1 ? 'yes' : 'unknown';
}

function matchCondition(
  world: World,
  policy: AuthorizationPolicy,
  condition: Condition<SourceField | OperationField>,
  seen: Appearance,
): Tri {
  // A DENY rule on a TCP port loses its HTTP part; an ALLOW rule never gets here.
  if (!seen.http && isHttpField(condition.field)) return 'yes';
  const plain = matchPlain(world, policy, condition, seen);
  return condition.negated ? not(plain) : plain;
}

function matchPlain(
  world: World,
  policy: AuthorizationPolicy,
  condition: Condition<SourceField | OperationField>,
  seen: Appearance,
): Tri {
  switch (condition.field) {
    case 'principals':
    case 'namespaces':
    case 'serviceAccounts':
      return matchIdentity(world, policy, condition, seen);
    case 'ipBlocks':
      return matchAddresses(world, condition, seen);
    case 'ports':
      return matchPorts(condition, seen);
    case 'methods':
      return seen.method === undefined
        ? presentOr(condition.values, 'unknown')
        : matchAny(condition.values, [seen.method]);
    case 'paths':
      return matchPath(condition.values, seen.path);
    case 'hosts':
      return presentOr(condition.values, 'unknown');
    case 'requestPrincipals':
    case 'remoteIpBlocks':
      return 'unknown';
  }
}

function matchPath(values: readonly TextMatch[], path: string | undefined): Tri {
  if (path === undefined) return presentOr(values, 'unknown');
  // A folded path stands for several.
  if (path.includes('*') || path.includes('{')) return presentOr(values, 'unknown');
  return matchAny(values, [path]);
}

function matchAll(
  world: World,
  policy: AuthorizationPolicy,
  conditions: readonly Condition<SourceField | OperationField>[],
  seen: Appearance,
): Tri {
  let answer: Tri = 'yes';
  for (const condition of conditions) answer = and(answer, matchCondition(world, policy, condition, seen));
  return answer;
}

function matchRule(world: World, policy: AuthorizationPolicy, rule: AuthorizationRule, seen: Appearance): Tri {
  if (!seen.http && rule.http && policy.action === 'ALLOW') return 'no';
  let answer: Tri = 'yes';
  for (const alternatives of [rule.from, rule.to]) {
    if (alternatives.length === 0) continue;
    let some: Tri = 'no';
    for (const conditions of alternatives) some = or(some, matchAll(world, policy, conditions, seen));
    answer = and(answer, some);
  }
  for (const condition of rule.when) {
    if (condition.field !== 'unknown') answer = and(answer, matchCondition(world, policy, condition, seen));
    else if (seen.http || !('http' in condition) || !condition.http) answer = and(answer, 'unknown');
  }
  return answer;
}

interface PolicyMatch {
  readonly match: Tri;
  /** The rule that decides; undefined where none does. */
  readonly rule?: number;
}

function matchPolicy(world: World, policy: AuthorizationPolicy, seen: Appearance): PolicyMatch {
  if (policy.problems.length > 0) return { match: 'unknown' };
  let possible: number | undefined;
  for (const rule of policy.rules) {
    const match = matchRule(world, policy, rule, seen);
    if (match === 'yes') return { match, rule: rule.index };
    if (match === 'unknown') possible ??= rule.index;
  }
  return possible === undefined ? { match: 'no' } : { match: 'unknown', rule: possible };
}

function reasonOf(
  decision: Reason['decision'],
  text: string,
  policy?: AuthorizationPolicy,
  rule?: number,
  layer: Reason['layer'] = 'authorization',
): Reason {
  return {
    layer,
    decision,
    ...(policy === undefined ? {} : { object: policy.name }),
    ...(rule === undefined ? {} : { rule }),
    text,
  };
}

/** CUSTOM, then DENY, then ALLOW, for one appearance of the connection. */
function authorizeAs(world: World, dst: Party, acting: readonly Acting[], seen: Appearance): MeshAnswer {
  const unknown: Reason[] = [];
  const [from, to] = [textOf(seen.src), textOf(dst)];
  const sees = seen.identity ? '' : ' (which has no identity here, as it sends plaintext)';
  let allow: Tri = 'no';
  let selectedByAllow = false;
  let admittedBy: Reason | undefined;
  const possible: Acting[] = [];
  for (const { policy, selected } of acting) {
    const { match, rule } = matchPolicy(world, policy, seen);
    const act = and(selected, match);
    const at = rule === undefined ? policy.name : `spec.rules[${rule}] of ${policy.name}`;
    if (policy.action === 'CUSTOM') {
      if (match !== 'no') {
        const text = `${policy.name} hands the decision on ${to} to an external authorizer.`;
        unknown.push(reasonOf('unknown', text, policy, rule));
      }
    } else if (policy.action === 'DENY') {
      if (act === 'yes') {
        const text = `${at} denies ${from}${sees} to ${to} on ${formatPorts(seen.query)}.`;
        return { answer: 'no', reasons: [reasonOf('denies', text, policy, rule)] };
      }
      if (act === 'unknown') {
        unknown.push(
          reasonOf(
            'unknown',
            `Whether ${at} denies ${from} to ${to} cannot be told: ${whyUnknown(policy, rule, selected)}.`,
            policy,
            rule,
          ),
        );
      }
    } else {
      if (selected === 'yes') selectedByAllow = true;
      else possible.push({ policy, selected: match });
      if (act === 'yes') admittedBy ??= reasonOf('allows', `${at} admits ${from} to ${to}.`, policy, rule);
      allow = or(allow, act);
    }
  }
  if (!selectedByAllow) {
    if (possible.every(({ selected }) => selected === 'yes')) {
      if (unknown.length > 0) return { answer: 'unknown', reasons: unknown };
      const text =
        possible.length > 0 ? 'only policies that admit it may select' : 'no ALLOW AuthorizationPolicy selects';
      return { answer: 'yes', reasons: [reasonOf('allows', `Nothing denies ${from}: ${text} ${to}.`)] };
    }
    allow = 'unknown';
  }
  if (allow === 'no') {
    const policies = acting.filter(({ policy, selected }) => policy.action === 'ALLOW' && selected === 'yes');
    const names = policies.map(({ policy }) => policy.name).join(', ');
    const text = `${names} ${policies.length === 1 ? 'selects' : 'select'} ${to}, and no rule admits ${from}${sees} on ${formatPorts(seen.query)}${seen.query.l7 === undefined ? '' : ` ${seen.query.l7}`}.`;
    return { answer: 'no', reasons: [reasonOf('denies', text, policies[0]?.policy)] };
  }
  if (allow === 'unknown') {
    for (const { policy, selected } of acting) {
      if (policy.action !== 'ALLOW') continue;
      const { match, rule } = matchPolicy(world, policy, seen);
      if (match === 'no' && selected === 'yes') continue;
      const text = `Whether ${policy.name} admits ${from} to ${to} cannot be told: ${whyUnknown(policy, rule, selected)}.`;
      unknown.push(reasonOf('unknown', text, policy, rule));
    }
  }
  if (unknown.length > 0) return { answer: 'unknown', reasons: unknown };
  return { answer: 'yes', reasons: admittedBy === undefined ? [] : [admittedBy] };
}

function whyUnknown(policy: AuthorizationPolicy, rule: number | undefined, selected: Tri): string {
  const [problem] = policy.problems;
  if (problem !== undefined) return `its ${problem.field} ${problem.message}`;
  if (policy.targeted) return 'targetRefs are not evaluated';
  if (selected === 'unknown') return 'the labels of the pods that it selects are not all known';
  const found = policy.rules.find(({ index }) => index === rule);
  if (found === undefined) return 'its rules are not decided';
  const fields = [...found.from.flat(), ...found.to.flat(), ...found.when].map(({ field }) =>
    field === 'unknown' ? 'conditions that are not evaluated' : field,
  );
  return `its rule looks at ${uniqueSorted(fields).join(', ')}, which is not all known of this connection`;
}

const L7 = /^([A-Z]+) (\/\S*)$/u;
const HTTP_NAMES: ReadonlySet<string> = new Set([
  'http',
  'http2',
  'grpc',
  'grpc-web',
  'kubernetes.io/h2c',
  'kubernetes.io/ws',
]);
const TCP_NAMES: ReadonlySet<string> = new Set([
  'tcp',
  'tls',
  'https',
  'mongo',
  'mysql',
  'redis',
  'udp',
  'kubernetes.io/wss',
]);

/** What the Services declare of a port: appProtocol first, then the name up to its first dash. */
function protocolsOf(world: World, pod: Pod, query: MeshQuery): readonly boolean[] {
  const declared = exposuresOf(world, pod)
    .filter(({ targetPort }) => targetPort >= query.first && targetPort <= query.last)
    .map(({ portName, appProtocol }): boolean | undefined => {
      const name = appProtocol?.toLowerCase() ?? prefixOf(portName ?? '');
      if (HTTP_NAMES.has(name)) return true;
      return TCP_NAMES.has(name) ? false : undefined;
    });
  const [first] = declared;
  if (first !== undefined && declared.every((one) => one === first)) return [first];
  // Detected from the bytes; an operation on record shows what was detected.
  return query.l7 !== undefined && L7.test(query.l7) ? [true] : [true, false];
}

function prefixOf(portName: string): string {
  const name = portName.toLowerCase();
  if (name === 'grpc-web' || name.startsWith('grpc-web-')) return 'grpc-web';
  const dash = name.indexOf('-');
  return dash < 0 ? name : name.slice(0, dash);
}

// ---------------------------------------------------------------- The mesh as a whole

/** Does a pair (client, server, mode) get a connection at all? */
function handshake(client: ClientTls, server: Server, mode: MtlsMode | 'unknown'): Tri {
  // A server outside the mesh cannot take mTLS; other TLS is between the client and the server itself.
  if (server === 'none') return client === 'mutual' ? 'no' : 'yes';
  if (client === 'other') return 'unknown';
  if (client === 'auto') return 'yes';
  if (mode === 'unknown') return 'unknown';
  if (mode === 'PERMISSIVE') return 'yes';
  return (client === 'mutual') === (mode === 'STRICT') ? 'yes' : 'no';
}

function hasIdentity(client: ClientTls, mode: MtlsMode | 'unknown'): readonly boolean[] {
  if (client === 'mutual') return [true];
  if (client === 'plaintext') return [false];
  if (client === 'other' || mode === 'unknown') return [true, false];
  return [mode !== 'DISABLE'];
}

/**
 * May this connection happen as far as Istio is concerned: mTLS between the two sides, then the AuthorizationPolicies of the
 * server's sidecar. Sidecar mode only; ambient is unknown. Istio acts on TCP alone.
 */
export function judgeMesh(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  const { mesh } = world.inventory.facts;
  if (mesh.kind === 'none' || query.protocol !== 'TCP') return FINE;
  const [srcMesh, dstMesh] = [membershipOf(src), membershipOf(dst)];
  if (srcMesh === 'none' && dstMesh === 'none') return FINE;
  if (isAmbient(world, src, dst)) {
    const text = `${textOf(src)} or ${textOf(dst)} is in an ambient mesh, which is not evaluated.`;
    return { answer: 'unknown', reasons: [reasonOf('unknown', text, undefined, undefined, 'mtls')] };
  }
  if (dst.kind === 'unknown') return judgeUnknownServer(world, src);
  const extension = extensionOn(world, src, dst);
  if (extension !== undefined) return extension;
  const server = dst.pod;
  if (server !== undefined && dstMesh !== 'none') {
    const past = pastTheProxy(world, src, dst, server, query);
    if (past !== undefined) return past;
  }
  const outbound = registryOnly(world, src, dst, query);
  if (outbound !== undefined) return outbound;
  return judgeServer(world, src, dst, query);
}

function judgeServer(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer {
  const choice = clientTls(world, src, dst, query);
  const servers = serversOf(dst);
  const ports = dst.pod === undefined ? [query.first] : portsToAsk(world, dst.pod, query);
  let mtls: Tri = 'yes';
  const modes: ModeChoice[] = [];
  const identities = new Set<boolean>();
  for (const port of ports) {
    const here: readonly ModeChoice[] =
      dst.pod === undefined || !servers.includes('sidecar')
        ? [{ mode: 'PERMISSIVE', by: '' }]
        : modesOf(world, dst.pod, port);
    const answers: Tri[] = [];
    for (const client of choice.kinds) {
      for (const server of servers) {
        for (const { mode } of here) {
          const answer = handshake(client, server, mode);
          answers.push(answer);
          if (server === 'sidecar' && answer !== 'no') for (const one of hasIdentity(client, mode)) identities.add(one);
        }
      }
    }
    mtls = and(mtls, agreed(answers));
    modes.push(...here);
  }
  const reasons = [mtlsReason(mtls, src, dst, servers, modes, choice)].filter((reason) => reason !== undefined);
  if (mtls === 'no' || dst.pod === undefined || !servers.includes('sidecar')) return { answer: mtls, reasons };
  const authorized = authorize(world, src, dst, dst.pod, query, [...identities], servers.includes('none'));
  return { answer: and(mtls, authorized.answer), reasons: [...reasons, ...authorized.reasons] };
}

function mtlsReason(
  mtls: Tri,
  src: Party,
  dst: Party,
  servers: readonly Server[],
  modes: readonly ModeChoice[],
  { because }: ClientChoice,
): Reason | undefined {
  const strictest = modes.find(({ mode }) => mode === 'STRICT') ?? modes[0];
  const by = strictest === undefined || strictest.by === '' ? undefined : strictest;
  const takes = by === undefined ? '' : `${textOf(dst)} is ${by.mode} (${by.by}). `;
  const object = by?.by.startsWith('PeerAuthentication') === true ? by.by.split(',')[0] : undefined;
  const base = { layer: 'mtls', ...(object === undefined ? {} : { object }) } as const;
  const out = servers.includes('sidecar') ? '' : `${textOf(dst)} has no sidecar. `;
  switch (mtls) {
    case 'no':
      return { ...base, decision: 'denies', text: `${takes}${out}${because} The connection fails.` };
    case 'unknown': {
      const doubt = servers.length > 1 ? `Whether all pods of ${textOf(dst)} have a sidecar is not known. ` : '';
      return {
        ...base,
        decision: 'unknown',
        text: `${takes}${doubt}${because} Whether they can connect cannot be told.`,
      };
    }
    case 'yes':
      return by === undefined ? undefined : { ...base, decision: 'allows', text: `${takes}${because}` };
  }
}

function authorize(
  world: World,
  src: Party,
  dst: Party,
  pod: Pod,
  query: MeshQuery,
  identities: readonly boolean[],
  maybeNoSidecar: boolean,
): MeshAnswer {
  const acting = authorizationOf(world, pod);
  if (acting.length === 0) return FINE;
  const operation = query.l7 === undefined ? null : L7.exec(query.l7);
  const path = operation?.[2]?.split(/[?#]/u)[0];
  const answers: MeshAnswer[] = [];
  for (const identity of identities.length === 0 ? [false] : identities) {
    for (const http of protocolsOf(world, pod, query)) {
      const seen: Appearance = {
        src,
        identity,
        http,
        query,
        ...(operation?.[1] === undefined ? {} : { method: operation[1] }),
        ...(path === undefined ? {} : { path }),
      };
      answers.push(authorizeAs(world, dst, acting, seen));
    }
  }
  const answer = agreed(answers.map((one) => one.answer));
  if (maybeNoSidecar && answer !== 'yes') {
    const text = `Whether all pods of ${textOf(dst)} have a sidecar that applies its AuthorizationPolicies is not known.`;
    return { answer: 'unknown', reasons: [reasonOf('unknown', text, acting[0]?.policy)] };
  }
  if (answer !== 'unknown') return { answer, reasons: answers[0]?.reasons ?? [] };
  const unsure = answers.filter((one) => one.answer === 'unknown').flatMap(({ reasons }) => reasons);
  if (unsure.length > 0) return { answer, reasons: uniqueReasons(unsure) };
  const denied = answers.find((one) => one.answer === 'no')?.reasons[0];
  const what = identities.length > 1 ? 'the client presents an identity' : 'the port speaks HTTP';
  const text = `It depends on whether ${what}, which is not known: ${denied?.text ?? ''}`;
  return {
    answer,
    reasons: [
      {
        layer: 'authorization',
        decision: 'unknown',
        ...(denied?.object === undefined ? {} : { object: denied.object }),
        text,
      },
    ],
  };
}

function uniqueReasons(reasons: readonly Reason[]): readonly Reason[] {
  return [...new Map(reasons.map((reason) => [reason.text, reason])).values()];
}

/** Traffic that reaches a pod without its proxy's decision. */
function pastTheProxy(world: World, src: Party, dst: Party, pod: Pod, query: MeshQuery): MeshAnswer | undefined {
  if (query.first !== query.last) return undefined;
  const port = query.first;
  if (UNREDIRECTED_PORTS.has(port)) {
    const text = `Port ${port} is served by the proxy or its agent and is not subject to the mesh's policies.`;
    return { answer: 'yes', reasons: [reasonOf('allows', text, undefined, undefined, 'mtls')] };
  }
  const isKubelet = src.kind === 'node' && src.pod === undefined;
  const rewritten = annotationOf(pod, 'sidecar.istio.io/rewriteAppHTTPProbers') !== 'false';
  const probes = pod.podSet?.containers.some(({ probePorts }) => probePorts.includes(port)) === true;
  if (isKubelet && probes && rewritten) {
    // A named node is the kubelet of some pods here, or forwards other traffic: the probe itself is answered.
    const text = `Probes of ${textOf(dst)} from a node are answered by the agent beside the proxy.`;
    return { answer: 'yes', reasons: [reasonOf('allows', text, undefined, undefined, 'mtls')] };
  }
  if (!isExcluded(pod, port)) return undefined;
  const { kinds, because } = clientTls(world, src, dst, query);
  const what = `Port ${port} of ${textOf(dst)} is left out of its proxy.`;
  if (!kinds.has('auto') && !kinds.has('mutual') && !kinds.has('other')) {
    return { answer: 'yes', reasons: [reasonOf('allows', `${what} ${because}`, undefined, undefined, 'mtls')] };
  }
  const text = `${what} ${because} A client that sends mTLS there is not understood.`;
  return { answer: 'unknown', reasons: [reasonOf('unknown', text, undefined, undefined, 'mtls')] };
}

function isExcluded(pod: Pod, port: number): boolean {
  const excluded = annotationOf(pod, 'traffic.sidecar.istio.io/excludeInboundPorts');
  if (excluded?.split(',').some((text) => Number(text.trim()) === port) === true) return true;
  const included = annotationOf(pod, 'traffic.sidecar.istio.io/includeInboundPorts');
  return included !== undefined && !included.split(',').some((text) => Number(text.trim()) === port);
}

function registryOnly(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer | undefined {
  if (src.kind !== 'pod' || src.pod === undefined || membershipOf(src) === 'none') return undefined;
  const client = src.pod.namespace.name;
  const targets = dst.kind === 'external' ? [] : targetsOf(world, dst, query);
  for (const resource of sidecarsOf(world, src.pod)) {
    if (resource?.registryOnly !== true) continue;
    if (targets.length > 0 && targets.every((target) => showsHost(resource, client, target))) continue;
    const text = `${resource.name} lets ${textOf(src)} out only to what the mesh knows; whether it knows ${textOf(dst)} is not evaluated.`;
    return { answer: 'unknown', reasons: [{ layer: 'mtls', decision: 'unknown', object: resource.name, text }] };
  }
  return undefined;
}

/** EnvoyFilter and WasmPlugin may do anything; so may listeners of a Sidecar's own. */
function extensionOn(world: World, src: Party, dst: Party): MeshAnswer | undefined {
  for (const [party, inbound] of [
    [src, false],
    [dst, true],
  ] as const) {
    const { pod } = party;
    if (pod === undefined || membershipOf(party) === 'none') continue;
    const name = cached(world, inbound ? 'extension-inbound' : 'extension-outbound', pod, () =>
      extensionOf(world, pod, inbound),
    );
    if (name === undefined) continue;
    const text = `${name} changes the proxy of ${textOf(party)} in a way that is not evaluated.`;
    return { answer: 'unknown', reasons: [{ layer: 'authorization', decision: 'unknown', object: name, text }] };
  }
  return undefined;
}

function extensionOf(world: World, pod: Pod, inbound: boolean): string | undefined {
  const root = world.inventory.facts.mesh.rootNamespace;
  const namespaces = pod.namespace.name === root ? [root] : [pod.namespace.name, root];
  for (const namespace of namespaces) {
    for (const extension of istioOf(world, namespace).extensions) {
      if (extension.targeted || selectsPod(extension.selector, pod) !== 'no') return extension.name;
    }
  }
  return inbound ? sidecarsOf(world, pod).find((resource) => resource?.ingress === true)?.name : undefined;
}

/** Where the server is not known, nothing is, unless no policy of the mesh could be in the way. */
function judgeUnknownServer(world: World, src: Party): MeshAnswer {
  for (const { peers, authorization } of world.istio.values()) {
    const object = peers.find(({ mode, ports }) => mode !== 'PERMISSIVE' || ports.size > 0) ?? authorization[0];
    if (object === undefined) continue;
    const text = `The destination of ${textOf(src)} is not known, and ${object.name} may apply to it.`;
    return { answer: 'unknown', reasons: [{ layer: 'mtls', decision: 'unknown', object: object.name, text }] };
  }
  return FINE;
}

/**
 * The principals of an endpoint in the mesh, one for each pod set: `cluster.local/ns/NAMESPACE/sa/ACCOUNT` with the mesh's
 * trust domain. Empty for what is not in the mesh.
 */
export function principalOf(world: World, src: Endpoint): readonly string[] {
  const { trustDomain } = world.inventory.facts.mesh;
  const members: readonly MeshMembership[] = ['sidecar', 'ambient', 'mixed'];
  return uniqueSorted(
    partiesOf(world, src).flatMap((party) =>
      party.pod?.podSet !== undefined && members.includes(membershipOf(party))
        ? [principalText(trustDomain, party.pod)]
        : [],
    ),
  );
}

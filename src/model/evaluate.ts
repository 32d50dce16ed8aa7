import type { Json } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { CiliumEntity } from './cilium-policy.ts';
import { matchText } from './glob.ts';
import type { AddressRange } from './cidr-set.ts';
import { matchBlock } from './cidr-set.ts';
import { endpointKey, formatPort, REMOTE_NODE } from './edge.ts';
import type { Finding } from './finding.ts';
import type { ForeignPolicy } from './foreign-policy.ts';
import type { Inventory, IpBlockTarget } from './inventory.ts';
import { routesOf } from './istio-routes.ts';
import { judgeMesh } from './istio.ts';
import type { Acting, Additive, Asked, Tools, Walked } from './ordered-evaluate.ts';
import { orderedSelects, portCuts, speaksOfAddresses, tiersOf, walkTiers } from './ordered-evaluate.ts';
import { whyNotEvaluated } from './not-evaluated.ts';
import type { NetworkPeer, NetworkPolicy, NetworkPort, NetworkRule } from './network-policy.ts';
import type { PortRange } from './port-set.ts';
import { coversPorts, portSet } from './port-set.ts';
import { parseSelector } from './selector.ts';
import type { Tri } from './tri.ts';
import { agreed, and, or, triOf } from './tri.ts';
import type { ConnectionQuery, ConnectionVerdict, Reason } from './verdict.ts';
import type { Party, Pod, World } from './world.ts';
import {
  addressesOfPod,
  cached,
  isNetworkPolicy,
  nodesOfPod,
  partiesOf,
  podsOfWorkload,
  readCiliumPolicy,
  readForeignPolicy,
  readIstioObject,
  readNetworkPolicy,
  readOrderedPolicy,
  readCalicoTiers,
  selectsNamespace,
  selectsPod,
  subjectSelects,
} from './world.ts';

export { NOT_PROVEN } from './istio-party.ts';
export { mtlsModeOf, principalOf, transportOf, UNREDIRECTED_PORTS } from './istio.ts';
export type { ConnectionQuery, ConnectionVerdict, Reason } from './verdict.ts';
export { compileWorld, worldOf } from './world.ts';
export type { World } from './world.ts';

export type Direction = 'ingress' | 'egress';

interface Answer {
  readonly answer: Tri;
  readonly reasons: readonly Reason[];
}

/** A NetworkPolicy that isolates a pod set in a direction, surely or perhaps. */
export interface Isolating {
  readonly policy: NetworkPolicy;
  readonly selected: Tri;
  readonly rules: readonly NetworkRule[];
}

export interface Isolation {
  readonly policies: readonly Isolating[];
  /** Policies that may act here and are not evaluated. */
  readonly foreign: readonly ForeignPolicy[];
  /** True where some rule speaks of addresses. */
  readonly hasBlocks: boolean;
  /** Set where `policies` do not simply add up: judgeDirection has the answer, and whoever adds them up must answer unknown. */
  readonly ordered?: { readonly acting: readonly Acting[] };
}

const ANSWER = { yes: 'allowed', no: 'denied', unknown: 'unknown' } as const satisfies Record<
  Tri,
  ConnectionVerdict['answer']
>;
const DECISION = { yes: 'allows', no: 'denies', unknown: 'unknown' } as const satisfies Record<Tri, Reason['decision']>;

/**
 * May this connection happen, and what says so. A workload stands for all its pods: the answer is `allowed` only if every
 * pair may connect, `denied` if some pair surely may not. Both directions of NetworkPolicy, then the mesh; `layers` leaves
 * one of the two out. What cannot be judged is `unknown`, with the object or fact that is missing.
 */
export function evaluateConnection(
  world: World,
  query: ConnectionQuery,
  layers: { readonly networkPolicy?: boolean; readonly mesh?: boolean } = {},
): ConnectionVerdict {
  const [sources, destinations] = [partiesOf(world, query.src), whoListens(partiesOf(world, query.dst), query)];
  let answer: Tri = 'yes';
  const reasons: Reason[] = [];
  for (const src of sources) {
    for (const dst of destinations) {
      if (layers.networkPolicy !== false) {
        const judged = judgeNetwork(world, src, dst, query, layers.mesh !== false);
        answer = and(answer, judged.answer);
        reasons.push(...judged.reasons);
      }
      if (layers.mesh !== false) {
        const { protocol, port, endPort, l7, request } = query;
        const asked = {
          protocol,
          first: port,
          last: endPort ?? port,
          ...(l7 === undefined ? {} : { l7 }),
          ...(request === undefined ? {} : { request }),
        };
        const judged = judgeMesh(world, src, dst, asked);
        answer = and(answer, judged.answer);
        reasons.push(...judged.reasons);
      }
    }
  }
  return { answer: ANSWER[answer], reasons: orderReasons(reasons, sources.length * destinations.length > 1) };
}

/** Both directions of NetworkPolicy, for the connection as it is, or for the hops over which a mesh in ambient mode carries it. */
function judgeNetwork(world: World, src: Party, dst: Party, query: ConnectionQuery, mesh: boolean): Answer {
  const { src: client, dst: server, protocol, port, endPort } = query;
  const ends = { src: client, dst: server, protocol };
  const routes = mesh ? routesOf(world, src, dst, { protocol, first: port, last: endPort ?? port }) : undefined;
  if (routes === undefined) return judgeHop(world, src, dst, query);
  const answers = routes.map(({ hops, note, unknown }): Answer => {
    if (unknown !== undefined)
      return { answer: 'unknown', reasons: [{ layer: 'network-policy', decision: 'unknown', text: unknown }] };
    const judged = hops.map(({ src: from, dst: to, first, last }) =>
      judgeHop(world, from, to, { ...ends, port: first, ...(last === first ? {} : { endPort: last }) }),
    );
    const reasons = judged.flatMap((one) => one.reasons);
    return {
      answer: judged.reduce<Tri>((answer, one) => and(answer, one.answer), 'yes'),
      reasons: note === undefined ? reasons : reasons.map((one) => ({ ...one, text: `${one.text} (${note})` })),
    };
  });
  const answer = agreed(answers.map((one) => one.answer));
  if (answer !== 'unknown') return { answer, reasons: answers.flatMap(({ reasons }) => reasons) };
  const open = answers.flatMap(({ reasons }) => reasons).filter(({ decision }) => decision !== 'allows');
  return { answer, reasons: open.map((one) => ({ ...one, decision: 'unknown' })) };
}

function judgeHop(world: World, src: Party, dst: Party, query: ConnectionQuery): Answer {
  const egress = judgeDirection(world, 'egress', src, dst, query);
  const ingress = judgeDirection(world, 'ingress', dst, src, query);
  return { answer: and(egress.answer, ingress.answer), reasons: [...egress.reasons, ...ingress.reasons] };
}

const WEIGHT = { denies: 0, unknown: 1, allows: 2 } as const;

function orderReasons(reasons: readonly Reason[], mayRepeat: boolean): readonly Reason[] {
  const distinct = mayRepeat ? [...new Map(reasons.map((reason) => [reason.text, reason])).values()] : reasons;
  return distinct.toSorted((a, b) => WEIGHT[a.decision] - WEIGHT[b.decision]);
}

/** The pod sets that declare the port, where some do; else all of them. */
function whoListens(parties: readonly Party[], { protocol, port, endPort }: ConnectionQuery): readonly Party[] {
  if (parties.length < 2) return parties;
  const last = endPort ?? port;
  const declaring = parties.filter((party) =>
    party.pod?.ports.some((one) => one.protocol === protocol && one.port >= port && one.port <= last),
  );
  return declaring.length > 0 ? declaring : parties;
}

/** The policies that isolate a pod set in a direction, and those that are not evaluated and may act there. */
export function isolationOf(world: World, pod: Pod, direction: Direction): Isolation {
  return cached(world, direction, pod, () => {
    const policies: Isolating[] = [];
    const inNamespace = world.networkPolicies.get(pod.namespace.name) ?? [];
    for (const policy of world.clusterPolicies.length === 0
      ? inNamespace
      : [...inNamespace, ...world.clusterPolicies]) {
      const rules = policy[direction];
      if (rules === undefined) continue;
      const { subjectNamespaces } = policy;
      const within = subjectNamespaces === undefined ? 'yes' : selectsNamespace(subjectNamespaces, pod.namespace);
      const selected = policy.selectorBroken ? 'unknown' : and(within, selectsPod(policy.selector, pod));
      if (selected === 'no') continue;
      policies.push({ policy, rules, selected: policy.broken ? 'unknown' : selected });
    }
    const foreign = world.foreign.filter((policy) =>
      policy.subjects.some((subject) => subject[direction] && subjectSelects(subject, pod) !== 'no'),
    );
    const blocks = ({ peers }: NetworkRule): boolean =>
      peers !== 'all' && peers.some(({ kind }) => kind === 'ip-block');
    const hasBlocks = policies.some(({ rules }) => rules.some(blocks));
    const acting = actingOn(world, pod, direction);
    const addUp = policies.every(
      ({ policy, rules }) => policy.opens?.[direction] !== true && rules.every(({ doubt }) => doubt === undefined),
    );
    if (acting.length === 0 && addUp) return { policies, foreign, hasBlocks };
    return {
      policies,
      foreign,
      hasBlocks: hasBlocks || acting.some(({ rules }) => rules.some(speaksOfAddresses)),
      ordered: { acting },
    };
  });
}

function actingOn(world: World, pod: Pod, direction: Direction): readonly Acting[] {
  const out: Acting[] = [];
  for (const policy of world.ordered) {
    // Where the CNI enforces nothing, neither does it enforce its own kinds.
    if (policy.engine !== 'admin' && world.inventory.facts.cni.enforces === 'no') continue;
    const rules = policy[direction];
    if (rules === undefined) continue;
    const selected = orderedSelects(policy, pod);
    if (selected !== 'no') out.push({ policy, rules, selected });
  }
  return out;
}

/** What policies of the network say of one side of the pair. */
export function judgeDirection(
  world: World,
  direction: Direction,
  self: Party,
  other: Party,
  query: ConnectionQuery,
): Answer {
  const { pod } = self;
  if (self.kind === 'unknown') return judgeUnknownSide(world, direction, self);
  if (self.kind === 'node') {
    const policy = world.foreign.find(({ nodes }) => nodes);
    if (policy !== undefined)
      return unknownBecause(
        direction,
        policy.name,
        `${policy.name} may act on ${nameOf(self)}, and it is not evaluated${whyForeign(world, policy)}.`,
      );
    if (pod === undefined) return { answer: 'yes', reasons: [] };
    const text = `${nameOf(self)} uses the host network: NetworkPolicy does not act on it.`;
    return { answer: 'yes', reasons: [reason(direction, 'yes', text)] };
  }
  if (pod === undefined) return { answer: 'yes', reasons: [] };
  const isolation = isolationOf(world, pod, direction);
  const { policies, foreign, hasBlocks } = isolation;
  const [first] = foreign;
  if (first !== undefined) {
    const reasons = foreign.map((policy) => {
      const text = `${policy.name} may act on ${direction} of ${nameOf(self)}, and it is not evaluated${whyForeign(world, policy)}.`;
      return reason(direction, 'unknown', text, policy.name);
    });
    return { answer: 'unknown', reasons };
  }
  if (isolation.ordered !== undefined) {
    return judgeInOrder(world, direction, policies, isolation.ordered.acting, hasBlocks, self, pod, other, query);
  }
  const { cni } = world.inventory.facts;
  if (policies.length === 0) {
    const text = `No NetworkPolicy isolates ${nameOf(self)} for ${direction}.`;
    return { answer: 'yes', reasons: [reason(direction, 'yes', text)] };
  }
  if (cni.enforces === 'no') {
    const text = `${cni.name} does not enforce NetworkPolicy (${cni.because}), so none acts on ${nameOf(self)}.`;
    return { answer: 'yes', reasons: [reason(direction, 'yes', text)] };
  }
  // Cilium lets an isolated pod reach its own node only where a policy names the host.
  const viaCilium = direction === 'egress' && policies.some(({ policy }) => policy.cilium === true);
  const own = viaCilium ? 'no' : onOwnNode(world, direction, pod, other, query);
  if (own === 'yes') {
    const text = `Traffic between ${nameOf(self)} and its own node is always allowed.`;
    return { answer: 'yes', reasons: [reason(direction, 'yes', text)] };
  }
  const admitted = admit(world, direction, policies, hasBlocks, self, other, query);
  if (admitted.answer !== 'no') return admitted;
  if (other.kind === 'unknown') {
    const text = `${nameOf(self)} is isolated for ${direction} by ${namesOf(policies)}, and what ${nameOf(other)} is, is not known.`;
    return { answer: 'unknown', reasons: [reason(direction, 'unknown', text, policies[0]?.policy.name)] };
  }
  if (own === 'unknown') {
    const text = `${namesOf(policies)} does not admit ${nameOf(other)} on ${formatPort(query)}, but traffic with a pod's own node is always allowed, and which node this is about is not known.`;
    return { answer: 'unknown', reasons: [reason(direction, 'unknown', text, policies[0]?.policy.name)] };
  }
  return admitted;
}

const foreignReasons = new WeakMap<ForeignPolicy, Map<string, string>>();

/** `: spec.ingress[0].fromRequires is not plain` */
export function whyForeign({ inventory, calico }: World, policy: ForeignPolicy): string {
  const tiers = calico === undefined ? '' : [...calico.tiers.keys()].join(' ');
  const key = `${inventory.facts.cni.name} ${tiers}`;
  const known = foreignReasons.get(policy) ?? new Map<string, string>();
  foreignReasons.set(policy, known);
  const text =
    known.get(key) ?? `: ${whyNotEvaluated(policy.manifest, inventory.facts.cni.name, tiersOfWorld(calico))}`;
  known.set(key, text);
  return text;
}

function tiersOfWorld(calico: World['calico']): ReadonlySet<string> | undefined {
  return calico === undefined ? undefined : new Set(calico.tiers.keys());
}

/** CNIs that enforce the admin policies of Kubernetes; of any other it is not known. */
const ENFORCE_ADMIN: readonly string[] = ['calico', 'ovn-kubernetes'];

/** The same where some policies allow, deny and pass in an order, or admit without isolating. */
function judgeInOrder(
  world: World,
  direction: Direction,
  policies: readonly Isolating[],
  acting: readonly Acting[],
  hasBlocks: boolean,
  self: Party,
  pod: Pod,
  other: Party,
  query: ConnectionQuery,
): Answer {
  const viaCilium = direction === 'egress' && policies.some(({ policy }) => policy.cilium === true);
  const own = viaCilium ? 'no' : onOwnNode(world, direction, pod, other, query);
  const walk = (list: readonly Acting[]): Walked =>
    walkAll(world, direction, policies, list, hasBlocks, self, other, own, query);
  const walked = walk(acting);
  const { cni } = world.inventory.facts;
  const firstAdmin = acting.find(({ policy }) => policy.engine === 'admin');
  if (firstAdmin !== undefined && !ENFORCE_ADMIN.includes(cni.name)) {
    const without = walk(acting.filter(({ policy }) => policy.engine !== 'admin'));
    if (without.answer !== walked.answer) {
      const { name, ref } = firstAdmin.policy;
      const text = `Whether ${cni.name} enforces ${ref.kind} is not known, and ${name} makes a difference to ${direction} of ${nameOf(self)}.`;
      return unknownBecause(direction, name, text);
    }
  }
  const byOwn = walked.answer === 'yes' ? undefined : judgeOwnNode(direction, acting, own, self, other);
  if (byOwn !== undefined) return byOwn;
  return { answer: walked.answer, reasons: [explainWalk(direction, policies, acting, self, other, query, walked)] };
}

/** What stands against a denial where the other side is, or may be, the pod's own node. */
function judgeOwnNode(
  direction: Direction,
  acting: readonly Acting[],
  own: Tri,
  self: Party,
  other: Party,
): Answer | undefined {
  const policy = acting.find(({ policy: one }) => one.engine !== 'admin')?.policy;
  if (own === 'no' || policy === undefined) return undefined;
  if (policy.engine === 'calico' && direction === 'ingress' && own === 'yes') {
    const text = `Traffic from its own node to ${nameOf(self)} is always allowed.`;
    return { answer: 'yes', reasons: [reason(direction, 'yes', text)] };
  }
  const text = `${policy.name} acts on ${direction} of ${nameOf(self)}, but ${nameOf(other)} is or may be its own node, and whether policies hold there is not known.`;
  return unknownBecause(direction, policy.name, text);
}

/** The answer for every address that must be admitted and every port asked about. */
function walkAll(
  world: World,
  direction: Direction,
  policies: readonly Isolating[],
  acting: readonly Acting[],
  hasBlocks: boolean,
  self: Party,
  other: Party,
  own: Tri,
  query: ConnectionQuery,
): Walked {
  const tools: Tools = {
    additive: (asked) => additiveOf(world, direction, policies, own, query, asked),
    isPeer: (namespace, peers, asked) => {
      if (asked.other.kind === 'unknown') return 'unknown';
      return peers.reduce<Tri>(
        (answer, peer) => or(answer, matchPeer(world, namespace, peer, asked.other, asked.address)),
        'no',
      );
    },
    resolveName: (port, destination, { first, last }) =>
      resolveName(port, destination, { ...query, port: first, endPort: last }),
  };
  const tiers = tiersOf(world, acting);
  const segments = segmentsOf(direction, policies, acting, self, other, query, tools);
  // Calico compares addresses whatever an ipBlock of Kubernetes matches.
  const compares = acting.some(({ policy }) => policy.engine === 'calico');
  const entries = compares && hasBlocks ? addressesOf(world, other) : addressesToAsk(world, other, hasBlocks);
  let answer: Tri = 'yes';
  let decisive: Walked | undefined;
  for (const alternatives of entries) {
    for (const ports of segments) {
      const walked = alternatives.map((address) =>
        walkTiers(world, tiers, { direction, self, other, address, protocol: query.protocol, ports }, tools),
      );
      const here = agreed(walked.map((one) => one.answer));
      if (decisive === undefined || here !== 'yes') {
        decisive = walked.find((one) => one.answer === here) ?? walked.find((one) => one.answer !== 'yes');
      }
      answer = and(answer, here);
      if (answer === 'no') return { ...(decisive ?? { cause: {} }), answer };
    }
  }
  return { ...(decisive ?? { cause: {} }), answer };
}

function addressesOf(world: World, other: Party): readonly (readonly AddressRange[])[] {
  return other.kind === 'pod' && other.pod !== undefined ? addressesOfPod(world, other.pod) : other.addresses;
}

/** The ports asked about, cut where some rule begins or ends. */
function segmentsOf(
  direction: Direction,
  policies: readonly Isolating[],
  acting: readonly Acting[],
  self: Party,
  other: Party,
  query: ConnectionQuery,
  tools: Tools,
): readonly PortRange[] {
  const wanted = { first: query.port, last: query.endPort ?? query.port };
  if (wanted.first === wanted.last) return [wanted];
  const destination = direction === 'ingress' ? self : other;
  const cuts = new Set<number>();
  const rules = acting.flatMap((one) => one.rules);
  for (const cut of portCuts(rules, destination, wanted, query.protocol, tools)) cuts.add(cut);
  for (const { rules: own } of policies) {
    for (const { ports } of own) {
      for (const { range } of admittedPorts(ports, destination, query)) cuts.add(range.first).add(range.last + 1);
    }
  }
  const inside = [...cuts].filter((cut) => cut > wanted.first && cut <= wanted.last).sort((a, b) => a - b);
  const starts = [wanted.first, ...inside];
  return starts.map((first, index) => ({ first, last: (starts[index + 1] ?? wanted.last + 1) - 1 }));
}

function additiveOf(
  world: World,
  direction: Direction,
  policies: readonly Isolating[],
  own: Tri,
  query: ConnectionQuery,
  { self, other, address, ports }: Asked,
): Additive {
  if (world.inventory.facts.cni.enforces === 'no' || own === 'yes') return { isolates: 'no', admits: 'yes' };
  const isolating = isolatingIn(direction, policies);
  const isolates = isolating.reduce<Tri>((answer, { selected }) => or(answer, selected), 'no');
  if (isolates === 'no') return { isolates, admits: 'yes' };
  const asked = { ...query, port: ports.first, endPort: ports.last };
  const admission = admitFrom(world, direction, policies, self, other, address, asked);
  const { policy, rule, why } = admission;
  const answer = admission.noRule === true ? 'no' : admission.answer;
  const by = policy ?? isolating.find(({ selected }) => selected === 'yes')?.policy;
  const doubt = policy?.broken === true ? NOT_VALID : why;
  return {
    // The pod's own node is admitted whatever the rules say; an endpoint that is not known may be it.
    isolates: answer === 'no' && (own === 'unknown' || other.kind === 'unknown') ? 'unknown' : isolates,
    admits: answer,
    ...(by === undefined ? {} : { name: by.name }),
    ...(policy === undefined || rule === undefined
      ? {}
      : { rule: { index: rule, field: fieldOf(policy, direction, rule) } }),
    ...(doubt === undefined ? {} : { doubt }),
  };
}

/** `spec.ingress[0]` */
function fieldOf({ specField }: NetworkPolicy, direction: Direction, rule: number): string {
  return `${specField ?? 'spec'}.${direction}[${rule}]`;
}

function explainWalk(
  direction: Direction,
  policies: readonly Isolating[],
  acting: readonly Acting[],
  self: Party,
  other: Party,
  query: ConnectionQuery,
  { answer, cause, doubt }: Walked,
): Reason {
  const way =
    direction === 'ingress' ? `from ${nameOf(other)} to ${nameOf(self)}` : `from ${nameOf(self)} to ${nameOf(other)}`;
  const what = `${formatPort(query)} ${way}`;
  const why = doubt ?? 'it depends on the address';
  const { name, tierEnd } = cause;
  const { index, field: path } = cause.rule ?? {};
  const object = name === undefined ? undefined : `${path === undefined ? '' : `${path} of `}${name}`;
  if (tierEnd !== undefined) {
    const inTier = acting.filter(({ policy }) => policy.tier === tierEnd).map(({ policy }) => policy.name);
    const isolating = tierEnd === 'default' ? isolatingIn(direction, policies) : [];
    const sure = isolating.filter(({ selected }) => selected === 'yes');
    const names = uniqueSorted([...inTier, ...sure.map(({ policy }) => policy.name)]);
    const verb = names.length === 1 ? 'isolates' : 'isolate';
    const text = `${names.join(', ')} ${verb} ${nameOf(self)} for ${direction}, and no rule decides on ${what}.`;
    return reason(direction, answer, answer === 'no' ? text : `${text} That is not sure: ${why}.`, names[0]);
  }
  if (answer === 'yes') {
    const text = object === undefined ? `No policy denies ${what}.` : `${object} admits ${what}.`;
    return reason(direction, answer, text, name, index, path);
  }
  if (answer === 'no') return reason(direction, answer, `${object ?? 'A policy'} denies ${what}.`, name, index, path);
  const text = `Whether ${object ?? namesOf(policies)} decides on ${what} cannot be told: ${why}.`;
  return reason(direction, answer, text, name, index, path);
}

function judgeUnknownSide(world: World, direction: Direction, self: Party): Answer {
  const { cni } = world.inventory.facts;
  if (!world.anyIsolation[direction] || (cni.enforces === 'no' && world.foreign.length + world.ordered.length === 0)) {
    return { answer: 'yes', reasons: [] };
  }
  const text = `What ${nameOf(self)} is, is not known, so which policies isolate its ${direction} is not either.`;
  return { answer: 'unknown', reasons: [reason(direction, 'unknown', text)] };
}

function reason(
  direction: Direction,
  answer: Tri,
  text: string,
  object?: string,
  rule?: number,
  field?: string,
): Reason {
  return {
    layer: 'network-policy',
    direction,
    decision: DECISION[answer],
    ...(object === undefined ? {} : { object }),
    ...(rule === undefined ? {} : { rule }),
    ...(field === undefined ? {} : { field }),
    text,
  };
}

function unknownBecause(direction: Direction, object: string, text: string): Answer {
  return { answer: 'unknown', reasons: [reason(direction, 'unknown', text, object)] };
}

function nameOf(party: Party): string {
  const role = party.pod?.role ?? '';
  const key = endpointKey(party.endpoint);
  return role === '' ? key : `${key} (${role})`;
}

/** Without those that admit and do not isolate. */
function isolatingIn(direction: Direction, policies: readonly Isolating[]): readonly Isolating[] {
  return policies.filter(({ policy }) => policy.opens?.[direction] !== true);
}

function namesOf(policies: readonly Isolating[]): string {
  return policies.map(({ policy }) => policy.name).join(', ');
}

function isRemoteNode({ endpoint }: Party): boolean {
  return endpoint.kind === 'node' && endpoint.name === REMOTE_NODE;
}

/**
 * Is the other side the node of the pod? The NetworkPolicy API always allows traffic between a pod and its node, whatever its
 * address. Unknown where it may be for some pods, or where nodes are not known.
 */
export function onOwnNode(world: World, direction: Direction, pod: Pod, other: Party, query: ConnectionQuery): Tri {
  const onNodes = other.kind === 'node' || (other.kind === 'api-server' && other.nodes.length > 0);
  if (!onNodes) return 'no';
  if (isRemoteNode(other)) return 'no';
  if (other.ownNode || world.inventory.nodes.length === 1) return 'yes';
  const here = nodesOfPod(pod);
  if (here.length === 0 || other.nodes.length === 0) return 'unknown';
  if (!here.some((node) => other.nodes.includes(node))) return 'no';
  if (here.length === 1 && other.nodes.length === 1) return 'yes';
  // A kubelet probes the pods of its own node only.
  const probed = pod.podSet?.containers.some(({ probePorts }) => probePorts.includes(query.port)) === true;
  const isProbe =
    direction === 'ingress' &&
    other.kind === 'node' &&
    other.pod === undefined &&
    query.endPort === undefined &&
    probed;
  return isProbe ? 'yes' : 'unknown';
}

/** Which addresses the other side may have, where a rule may ask: every entry must be admitted, by any of its addresses. */
export function addressesToAsk(
  world: World,
  other: Party,
  hasBlocks: boolean,
): readonly (readonly (AddressRange | undefined)[])[] {
  if (!hasBlocks || !blockMayMatch(world, other)) return [[undefined]];
  return addressesOf(world, other);
}

function blockTargetOf({ kind }: Party): IpBlockTarget | undefined {
  if (kind === 'pod') return 'pods';
  if (kind === 'node') return 'nodes';
  return kind === 'api-server' ? kind : undefined;
}

/** CNIs that resolve who a peer is before they compare its address. */
const BY_IDENTITY: readonly string[] = ['cilium', 'gke-dataplane-v2'];

/** False where the CNI surely does not match an ipBlock against this kind of peer. */
export function blockMayMatch(world: World, other: Party): boolean {
  const target = blockTargetOf(other);
  if (target === undefined || world.blockTargets.has(target)) return true;
  const { cni } = world.inventory.facts;
  // Some versions give an API server outside the cluster the labels of its address as well.
  if (target === 'api-server' && other.nodes.length === 0 && BY_IDENTITY.includes(cni.name)) return true;
  return cni.enforces === 'unknown';
}

function admit(
  world: World,
  direction: Direction,
  policies: readonly Isolating[],
  hasBlocks: boolean,
  self: Party,
  other: Party,
  query: ConnectionQuery,
): Answer {
  let answer: Tri = 'yes';
  let decisive: Admission | undefined;
  for (const alternatives of addressesToAsk(world, other, hasBlocks)) {
    const admissions = alternatives.map((address) =>
      admitFrom(world, direction, policies, self, other, address, query),
    );
    const here = agreed(admissions.map((one) => one.answer));
    if (decisive === undefined || here !== 'yes') {
      decisive = admissions.find((one) => one.answer === here) ?? admissions.find((one) => one.answer !== 'yes');
    }
    answer = and(answer, here);
    if (answer === 'no') break;
  }
  return { answer, reasons: [explain(direction, answer, policies, self, other, query, decisive)] };
}

function explain(
  direction: Direction,
  answer: Tri,
  policies: readonly Isolating[],
  self: Party,
  other: Party,
  query: ConnectionQuery,
  decisive: Admission | undefined,
): Reason {
  const way =
    direction === 'ingress' ? `from ${nameOf(other)} to ${nameOf(self)}` : `from ${nameOf(self)} to ${nameOf(other)}`;
  const ports = formatPort(query);
  const by = decisive?.policy;
  const path = by === undefined || decisive?.rule === undefined ? undefined : fieldOf(by, direction, decisive.rule);
  const field = path === undefined ? '' : `${path} of `;
  if (answer === 'yes') {
    const text =
      by === undefined
        ? `The policies that isolate ${nameOf(self)} for ${direction} admit ${ports} ${way} together.`
        : `${field}${by.name} admits ${ports} ${way}.`;
    return reason(direction, 'yes', text, by?.name, decisive?.rule, path);
  }
  if (answer === 'no') {
    const sure = policies.filter(({ selected }) => selected === 'yes');
    const verb = sure.length === 1 ? 'isolates' : 'isolate';
    const text = `${namesOf(sure)} ${verb} ${nameOf(self)} for ${direction}, and no rule admits ${ports} ${way}.`;
    return reason(direction, 'no', text, sure[0]?.policy.name);
  }
  const why =
    by?.broken === true ? NOT_VALID : (decisive?.why ?? 'labels, names or addresses that it asks for are not known');
  const subject = by === undefined ? namesOf(policies) : `${field}${by.name}`;
  return reason(
    direction,
    'unknown',
    `Whether ${subject} admits ${ports} ${way} cannot be told: ${why}.`,
    by?.name,
    decisive?.rule,
    path,
  );
}

interface Admission {
  readonly answer: Tri;
  readonly policy?: NetworkPolicy;
  readonly rule?: number;
  /** For unknown: what is missing. */
  readonly why?: string;
  /** For unknown: set where no rule may admit it, so that it depends on who isolates alone. */
  readonly noRule?: true;
}

const NOT_VALID = 'it is not a valid policy';
const SELECTION_UNKNOWN = 'whether it selects the pods is not known';

/** What is missing to tell whether a rule names the other side, or admits a port. */
function missingFor(world: World, rule: NetworkRule, peer: Tri, other: Party): string {
  if (rule.doubt !== undefined) return rule.doubt;
  if (peer === 'yes') return 'which port a name of it stands for is not known';
  const { pod } = other;
  if (other.kind === 'unknown') return 'what is at the other end is not known';
  if (other.kind === 'pod' && pod?.podSet === undefined) return `the labels of ${nameOf(other)} are not known`;
  if (pod?.namespace.complete === false) return `the labels of namespace ${pod.namespace.name} are not known`;
  if (rule.peers === 'all' || !rule.peers.some(({ kind }) => kind === 'ip-block')) {
    return `it asks for what only some of ${nameOf(other)} may have`;
  }
  const target = blockTargetOf(other);
  return target === undefined || world.blockTargets.has(target)
    ? `the address of ${nameOf(other)} is not known, or not the same for all of it`
    : `whether an ipBlock matches ${target} under this CNI (${world.inventory.facts.cni.name}) is not known`;
}

/**
 * NetworkPolicies add up: a pod that none selects takes everything, one that some select takes what any of those admits. A
 * policy that only may select can then neither deny alone what it admits itself, nor take away what another admits.
 */
function admitFrom(
  world: World,
  direction: Direction,
  policies: readonly Isolating[],
  self: Party,
  other: Party,
  address: AddressRange | undefined,
  query: ConnectionQuery,
): Admission {
  const named = direction === 'ingress' ? self : other;
  const sure: PortRange[] = [];
  const possible: PortRange[] = [];
  const wanted = { first: query.port, last: query.endPort ?? query.port };
  let isolated = false;
  let everyMaybeAdmits = true;
  let maybe: Admission | undefined;
  for (const { policy, selected, rules } of policies) {
    const opens = policy.opens?.[direction] === true;
    if (selected === 'yes' && !opens) isolated = true;
    const alone: PortRange[] = [];
    for (const rule of policy.broken ? [] : rules) {
      const peer = matchPeers(world, policy, rule, other, address);
      if (peer === 'no') continue;
      for (const { range, sure: surely } of admittedPorts(rule.ports, named, query)) {
        if (range.last < wanted.first || range.first > wanted.last) continue;
        const whole = range.first <= wanted.first && wanted.last <= range.last;
        if (peer === 'yes' && surely && rule.doubt === undefined) {
          if (whole && selected === 'yes') return { answer: 'yes', policy, rule: rule.index };
          alone.push(range);
        } else {
          possible.push(range);
          maybe ??= { answer: 'unknown', policy, rule: rule.index, why: missingFor(world, rule, peer, other) };
        }
      }
    }
    if (selected === 'yes') sure.push(...alone);
    else {
      possible.push(...alone);
      if (!opens && (policy.broken || !coversPorts(portSet(alone), wanted))) everyMaybeAdmits = false;
      if (policy.broken) possible.push(wanted);
      maybe ??= { answer: 'unknown', policy, why: SELECTION_UNKNOWN };
    }
  }
  if (!isolated && everyMaybeAdmits) return { answer: 'yes' };
  if (isolated && coversPorts(portSet(sure), wanted)) return { answer: 'yes' };
  const mayAdmit = coversPorts(portSet([...sure, ...possible]), wanted);
  if (isolated && !mayAdmit) return { answer: 'no' };
  return { ...(maybe ?? { answer: 'unknown' }), ...(mayAdmit ? {} : { noRule: true }) };
}

export interface AdmittedPorts {
  readonly range: PortRange;
  readonly sure: boolean;
}

const WHOLE: readonly AdmittedPorts[] = [{ range: { first: 0, last: 65_535 }, sure: true }];

function admittedPorts(ports: NetworkRule['ports'], named: Party, query: ConnectionQuery): readonly AdmittedPorts[] {
  if (ports === 'all') return WHOLE;
  const out: AdmittedPorts[] = [];
  for (const port of ports) {
    if (port.protocol !== query.protocol) continue;
    if (port.kind === 'range') out.push({ range: port, sure: true });
    else out.push(...resolveName(port, named, query));
  }
  return out;
}

/** A port name stands for what the destination pod declares under it; for anything but a pod it stands for nothing. */
export function resolveName(
  { name, protocol }: Extract<NetworkPort, { kind: 'named' }>,
  { kind, pod }: Party,
  query: ConnectionQuery,
): readonly AdmittedPorts[] {
  const anyPort = { range: { first: query.port, last: query.endPort ?? query.port }, sure: false };
  if (kind === 'unknown') return [anyPort];
  if (pod === undefined) return [];
  if (pod.podSet === undefined || pod.podSet.containers.length === 0) return [anyPort];
  const isIt = (port: { readonly name?: string; readonly protocol: string }): boolean =>
    port.name === name && port.protocol === protocol;
  const found = pod.ports.filter(isIt).map(({ port }) => ({
    range: { first: port, last: port },
    // Implementations differ on names of host-network pods.
    sure: !pod.hostNetwork,
  }));
  if (found.length > 0) return found;
  // An init container may be a sidecar that runs along; which it is, is not recorded.
  const early = pod.podSet.containers.flatMap((container) => (container.init ? container.ports : []));
  return early.filter(isIt).map(({ port }) => ({ range: { first: port, last: port }, sure: false }));
}

/** Is the other side, at this address, a peer of the rule? */
export function matchPeers(
  world: World,
  policy: NetworkPolicy,
  { peers }: NetworkRule,
  other: Party,
  address: AddressRange | undefined,
): Tri {
  if (peers === 'all') return 'yes';
  if (other.kind === 'unknown') return 'unknown';
  let answer: Tri = 'no';
  for (const peer of peers) {
    answer = or(answer, matchPeer(world, policy.namespace, peer, other, address));
    if (answer === 'yes') return answer;
  }
  return answer;
}

/**
 * Cilium gives the identity `kube-apiserver` to the addresses behind the Service default/kubernetes, on top of host or remote-node where they
 * are a node's: a node that runs an API server is one for any port (docs.cilium.io, Entities; pkg/identity, reserved labels are merged).
 */
function runsApiServer({ cluster }: World, { nodes, ownNode }: Party): Tri {
  if (cluster.apiServer.length === 0) return 'unknown';
  const named = ownNode || nodes.length === 0 || nodes.includes(REMOTE_NODE) ? [...cluster.nodes.keys()] : nodes;
  const answers = named.map((name): Tri => {
    const own = cluster.nodes.get(name) ?? [];
    if (own.length === 0) return 'unknown';
    return triOf(own.some((one) => cluster.apiServer.some((range) => contains(range, one))));
  });
  return answers.length === 0 ? 'no' : agreed(answers);
}

function contains(range: AddressRange, one: AddressRange): boolean {
  return range.family === one.family && range.first <= one.first && one.last <= range.last;
}

function matchEntity(world: World, entity: CiliumEntity, party: Party): Tri {
  const { kind, ownNode, nodes, pod } = party;
  // An API server on nodes of the cluster is those nodes too.
  const onNode = kind === 'node' || (kind === 'api-server' && nodes.length > 0);
  switch (entity) {
    case 'all':
      return 'yes';
    case 'cluster':
      return triOf(kind !== 'external');
    case 'world':
      // An API server outside the cluster has an address of the world.
      return kind === 'api-server' && !onNode ? 'unknown' : triOf(kind === 'external');
    case 'kube-apiserver':
      return kind === 'node' ? runsApiServer(world, party) : triOf(kind === 'api-server');
    case 'any-node':
      return triOf(onNode);
    case 'host':
      return onNode ? (ownNode ? 'yes' : 'unknown') : 'no';
    case 'remote-node':
      return onNode && !ownNode ? 'unknown' : 'no';
    case 'none':
      return 'no';
    case 'health':
    case 'ingress':
      return kind === 'node' && pod === undefined ? 'unknown' : 'no';
    case 'init':
    case 'unmanaged':
      return kind === 'pod' && pod?.podSet === undefined ? 'unknown' : 'no';
  }
}

function matchPeer(
  world: World,
  ownNamespace: string,
  peer: NetworkPeer,
  other: Party,
  address: AddressRange | undefined,
): Tri {
  const { kind, pod } = other;
  if (peer.kind === 'ip-block') {
    if (address === undefined) return blockMayMatch(world, other) ? 'unknown' : 'no';
    const match = matchBlock(peer.block, address);
    const target = blockTargetOf(other);
    if (target === undefined || world.blockTargets.has(target) || match === 'no') return match;
    // Where the CNI is not known, neither is what its ipBlock matches.
    return 'unknown';
  }
  if (peer.kind === 'entity') return matchEntity(world, peer.entity, other);
  if (peer.kind === 'name') {
    if (other.endpoint.kind !== 'external') return 'no';
    const { name } = other.endpoint;
    return name === undefined ? 'unknown' : triOf(matchText(peer.pattern, name));
  }
  // Selectors pick pods of the pod network only.
  if (kind !== 'pod' || pod === undefined) return 'no';
  const inNamespace: Tri =
    peer.namespaces === 'own'
      ? pod.namespace.name === ownNamespace
        ? 'yes'
        : 'no'
      : selectsNamespace(peer.namespaces, pod.namespace);
  return inNamespace === 'no' ? 'no' : and(inNamespace, selectsPod(peer.pods, pod));
}

/**
 * Is a workload isolated in a direction: does some NetworkPolicy in force select its pods? `unknown` where that is true of
 * some of its pod sets only, and where a policy that cannot be judged may select it. `by` names the policies.
 */
export function isIsolated(
  world: World,
  workloadId: string,
  direction: Direction,
): { readonly isolated: Tri; readonly by: readonly string[] } {
  const by: string[] = [];
  const answers = podsOfWorkload(world, workloadId).map((pod): Tri => {
    if (pod.hostNetwork) return 'no';
    const { policies, foreign, ordered } = isolationOf(world, pod, direction);
    const acting = world.inventory.facts.cni.enforces === 'no' ? [] : isolatingIn(direction, policies);
    // Whether what decides in an order isolates is a matter of the connection.
    const others = [...foreign, ...(ordered?.acting ?? []).map(({ policy }) => policy)];
    by.push(...acting.map(({ policy }) => policy.name), ...others.map(({ name }) => name));
    if (acting.some(({ selected }) => selected === 'yes')) return 'yes';
    return acting.length + others.length > 0 ? 'unknown' : 'no';
  });
  return { isolated: agreed(answers), by: uniqueSorted(by) };
}

/** Pod sets of a namespace that a label selector (meta/v1) surely picks. Empty where the selector is not valid. */
export function podSetsSelected(
  world: World,
  selector: Json | undefined,
  namespace: string,
): readonly { readonly workload: string; readonly role: string }[] {
  const parsed = parseSelector(selector, 'selector');
  if (parsed.problems.length > 0) return [];
  return (world.cluster.podsOfNamespace.get(namespace) ?? [])
    .filter((pod) => pod.podSet !== undefined && selectsPod(parsed.selector, pod) === 'yes')
    .map(({ workload, role }) => ({ workload, role }));
}

/** Ids of the workloads of a namespace of which a label selector (meta/v1) surely picks some pod set, host network or not. */
export function workloadsSelected(world: World, selector: Json | undefined, namespace: string): readonly string[] {
  return uniqueSorted(podSetsSelected(world, selector, namespace).map(({ workload }) => workload));
}

/**
 * What is wrong with the policies of an inventory: SP340 to SP342 for NetworkPolicies (see parseNetworkPolicy), SP343 for
 * Istio objects with a field or value that cannot be judged, SP344 for policies of kinds that are not evaluated.
 */
export function checkPolicies({ policies, facts }: Pick<Inventory, 'policies' | 'facts'>): readonly Finding[] {
  const tiers = readCalicoTiers({ policies, facts });
  return policies.flatMap((manifest): readonly Finding[] => {
    if (isNetworkPolicy(manifest)) return readNetworkPolicy(manifest).findings;
    if (readCiliumPolicy(manifest, facts.cni.name) !== undefined) return [];
    if (readOrderedPolicy(manifest, tiers) !== undefined) return [];
    const istio = readIstioObject(manifest);
    if (istio !== undefined && istio.kind !== 'extension') {
      return istio.problems.map(({ field, message }) => ({
        code: 'SP343',
        severity: 'warning',
        subject: istio.name,
        message: `${field} ${message}: what depends on it is unknown`,
        where: field,
      }));
    }
    const foreign = istio === undefined ? readForeignPolicy(manifest) : undefined;
    const name = istio?.name ?? foreign?.name;
    if (name === undefined) return [];
    const why =
      foreign === undefined
        ? ''
        : ` (${whyNotEvaluated(manifest, facts.cni.name, tiers === undefined ? undefined : new Set(tiers.keys()))})`;
    const message = `${manifest.kind} is not evaluated${why}: where it may act, answers are unknown`;
    return [{ code: 'SP344', severity: 'info', subject: name, message }];
  });
}

/** The verdict on an endpoint pair in one line, for messages: the first reason, which is what stands against it where something does. */
export function mainReason({ reasons }: ConnectionVerdict): string {
  return reasons[0]?.text ?? '';
}

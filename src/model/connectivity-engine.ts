import { compareText } from '../shared/pure/order.ts';
import type { SideTable, UnknownRange } from './connectivity-side.ts';
import {
  EVERY_PORT,
  intersectPorts,
  makeSideTable,
  NO_PORT,
  perProtocol,
  PROTOCOLS,
  subtractPorts,
  tidyUnknown,
  unitePorts,
} from './connectivity-side.ts';
import type { PerProtocol, Side } from './connectivity-side.ts';
import type { Protocol } from './edge.ts';
import type { Direction, Isolation } from './evaluate.ts';
import {
  addressesToAsk,
  blockMayMatch,
  isolationOf,
  judgeDirection,
  matchPeers,
  onOwnNode,
  resolveName,
  whyForeign,
} from './evaluate.ts';
import type { NetworkPeer, NetworkPolicy, NetworkRule } from './network-policy.ts';
import type { PortRange, PortSet } from './port-set.ts';
import { ALL_PORTS, portSet } from './port-set.ts';
import type { Requirement, Selector } from './selector.ts';
import { ACCOUNT_KEY } from './selector.ts';
import type { Tri } from './tri.ts';
import type { ConnectionQuery } from './verdict.ts';
import type { Party, Pod, World } from './world.ts';
import { partiesOf, selectsNamespace, selectsPod } from './world.ts';

/*
 * NetworkPolicy over all ports at once. Pods of one direction that the same policies select are one class; what a class says of a
 * peer depends only on which of its rules name that peer, so that it is worked out once for each such set of rules. Every answer is
 * that of evaluateConnection at each single port.
 */

/** A rule of a policy in force, its ports resolved where they don't depend on the peer. */
interface Grant {
  readonly policy: NetworkPolicy;
  readonly rule: NetworkRule;
  /** Undefined where port names must be looked up at the peer. */
  readonly ports: ResolvedPorts | undefined;
}

interface ResolvedPorts {
  readonly sure: PerProtocol<PortSet>;
  readonly possible: PerProtocol<PortSet>;
}

interface Acting {
  readonly policy: NetworkPolicy;
  readonly selected: Tri;
  readonly grants: readonly Grant[];
}

/** Pods of which a direction is judged alike. */
export interface SideClass {
  readonly id: number;
  /** Set where the peer does not matter. */
  readonly fixed: Side | undefined;
  readonly acting: readonly Acting[];
  readonly isolation: Isolation;
  readonly viaCilium: boolean;
  /** The rules of all policies in one list. */
  readonly grants: readonly Grant[];
  /** True where port names must be looked up at the peer. */
  readonly asksNames: boolean;
  /** By which rules name the peer. */
  readonly sides: Map<string | number, Side>;
  /** Filled on demand: pods that some rule may name, as indexes; what is said of every other pod, at most. */
  reach: { readonly listed: readonly number[]; readonly bound: Side } | undefined;
}

/** What holds whatever the policies. */
interface Layout {
  /** Workload ids, sorted: a workload's rank is its place here. */
  readonly ids: readonly string[];
  readonly rankOf: ReadonlyMap<string, number>;
  readonly parties: readonly (readonly Party[])[];
  /** Rank by pod index. */
  readonly rankOfPod: readonly number[];
  readonly hostRanks: readonly number[];
  readonly sides: SideTable;
  readonly policyIds: WeakMap<NetworkPolicy, number>;
  nextId: number;
  /** Filled on demand. */
  readonly peerPods: Map<string, readonly number[]>;
  labels: LabelIndex | undefined;
}

interface LabelIndex {
  readonly byLabel: ReadonlyMap<string, ReadonlyMap<string, readonly Pod[]>>;
  readonly byKind: ReadonlyMap<string, readonly Pod[]>;
  /** Pods whose labels are not known. */
  readonly dark: readonly Pod[];
}

export interface Engine {
  readonly world: World;
  readonly layout: Layout;
  readonly classes: Readonly<Record<Direction, (SideClass | undefined)[]>>;
  readonly classByKey: Map<string, SideClass>;
  /** Filled on demand. */
  readonly indexes: Partial<Record<Direction, PeerIndex>>;
  /** Where it was made from another one: the engine whose index of peers is looked at, and the namespaces in which that does not hold. */
  readonly base?: Engine;
  readonly unlike?: ReadonlySet<string>;
}

/** One direction of all pods, by the pods that it names. */
interface PeerIndex {
  /** By pod index: classes that may name it. */
  readonly naming: readonly (readonly number[] | undefined)[];
  /** Ranks of the workloads of each class. */
  readonly ranksOfClass: ReadonlyMap<number, readonly number[]>;
  /** Workloads by what they admit of pods that they do not name, where that is anything. */
  readonly byBound: readonly { readonly bound: Side; readonly ranks: readonly number[] }[];
  /** 1 by rank for those workloads. */
  readonly isOpen: Uint8Array;
}

/** Namespaces of which the pods are looked at one by one, rather than in an index made anew. */
const MOST_UNLIKE = 32;

const layouts = new WeakMap<World['cluster'], Layout>();
const engines = new WeakMap<World, Engine>();

/** Any query: for what does not depend on the port. */
const ANY_QUERY: ConnectionQuery = {
  src: { kind: 'unknown', why: '' },
  dst: { kind: 'unknown', why: '' },
  protocol: 'TCP',
  port: ALL_PORTS.first,
  endPort: ALL_PORTS.last,
};

function layoutOf(world: World): Layout {
  const known = layouts.get(world.cluster);
  if (known !== undefined) return known;
  const ids = [...world.cluster.podsOfWorkload.keys()].sort(compareText);
  const parties = ids.map((id) => partiesOf(world, { kind: 'workload', id }));
  const rankOfPod: number[] = new Array<number>(world.cluster.pods.length).fill(0);
  const hostRanks: number[] = [];
  parties.forEach((own, rank) => {
    for (const { pod } of own) if (pod !== undefined) rankOfPod[pod.index] = rank;
    if (own.some(({ kind }) => kind === 'node')) hostRanks.push(rank);
  });
  const layout: Layout = {
    ids,
    rankOf: new Map(ids.map((id, rank) => [id, rank])),
    parties,
    rankOfPod,
    hostRanks,
    sides: makeSideTable(),
    policyIds: new WeakMap(),
    nextId: 0,
    peerPods: new Map(),
    labels: undefined,
  };
  layouts.set(world.cluster, layout);
  return layout;
}

/** The engine of a world, made once. */
export function engineOf(world: World): Engine {
  const known = engines.get(world);
  if (known !== undefined) return known;
  const engine: Engine = {
    world,
    layout: layoutOf(world),
    classes: { ingress: [], egress: [] },
    classByKey: new Map(),
    indexes: {},
  };
  engines.set(world, engine);
  return engine;
}

/**
 * The engine of a world that differs from another by NetworkPolicies of these namespaces alone: what is known of pods elsewhere is
 * taken over.
 */
export function engineLike(world: World, base: Engine, changed: ReadonlySet<string>): Engine {
  if (engines.has(world) || world.cluster !== base.world.cluster) return engineOf(world);
  const unlike = new Set([...(base.unlike ?? []), ...changed]);
  const isNear = unlike.size <= MOST_UNLIKE;
  const engine: Engine = {
    world,
    layout: base.layout,
    classes: { ingress: [], egress: [] },
    classByKey: new Map(),
    indexes: {},
    // A row of changes has one index of peers among them, until they have touched too much of it.
    ...(isNear ? { base: base.base ?? base, unlike } : {}),
  };
  engines.set(world, engine);
  for (const direction of ['ingress', 'egress'] as const) {
    const own = engine.classes[direction];
    base.classes[direction].forEach((known, index) => (own[index] = known));
    for (const namespace of changed) {
      for (const pod of world.cluster.podsOfNamespace.get(namespace) ?? []) own[pod.index] = undefined;
    }
  }
  return engine;
}

function nextId(layout: Layout): number {
  layout.nextId += 1;
  return layout.nextId;
}

function policyId(layout: Layout, policy: NetworkPolicy): number {
  const known = layout.policyIds.get(policy);
  if (known !== undefined) return known;
  const id = nextId(layout);
  layout.policyIds.set(policy, id);
  return id;
}

const SELECTED = { yes: '+', unknown: '?', no: '-' } as const satisfies Record<Tri, string>;

/** What a direction of a pod says, shared with every pod of which it says the same. */
export function classOf(engine: Engine, direction: Direction, pod: Pod): SideClass {
  const known = engine.classes[direction][pod.index];
  if (known !== undefined) return known;
  const { world, layout } = engine;
  const isolation = isolationOf(world, pod, direction);
  const { policies, foreign } = isolation;
  let key: string = direction;
  for (const { policy, selected } of policies) key += `${policyId(layout, policy)}${SELECTED[selected]}`;
  for (const { name } of foreign) key += `\n${name}`;
  if (isolation.ordered !== undefined) key += '\nin order';
  const named = policies.some(({ rules }) => rules.some(hasNames));
  if (direction === 'ingress' && named) key += `\n\n${namedPortsOf(pod)}`;
  let found = engine.classByKey.get(key);
  if (found === undefined) {
    found = buildClass(engine, direction, pod, isolation);
    engine.classByKey.set(key, found);
  }
  engine.classes[direction][pod.index] = found;
  return found;
}

function hasNames({ ports }: NetworkRule): boolean {
  return ports !== 'all' && ports.some(({ kind }) => kind === 'named');
}

const namedPorts = new WeakMap<Pod, string>();

/** All that resolving a port name looks at. */
function namedPortsOf(pod: Pod): string {
  const known = namedPorts.get(pod);
  if (known !== undefined) return known;
  const containers = pod.podSet?.containers ?? [];
  const all = containers.flatMap(({ init, ports }) =>
    ports.flatMap(({ name, port, protocol }) => (name === undefined ? [] : [[init, name, port, protocol]])),
  );
  const text = containers.length === 0 ? '?' : JSON.stringify([pod.hostNetwork, all]);
  namedPorts.set(pod, text);
  return text;
}

function buildClass(engine: Engine, direction: Direction, pod: Pod, isolation: Isolation): SideClass {
  const { world, layout } = engine;
  const { policies, foreign } = isolation;
  const { sides } = layout;
  const [first] = foreign;
  let fixed: Side | undefined;
  if (first !== undefined) {
    const names = foreign
      .slice(0, 3)
      .map((policy) => `${policy.name}${whyForeign(world, policy).replace(/^: (.*)$/u, ' ($1)')}`);
    const more = foreign.length > 3 ? ` and ${foreign.length - 3} more` : '';
    const verb = foreign.length === 1 ? 'is' : 'are';
    fixed = sides.unknown(`${direction}: ${names.join(', ')}${more} may act here and ${verb} not evaluated`);
  } else if (isolation.ordered === undefined) {
    if (policies.length === 0 || world.inventory.facts.cni.enforces === 'no') fixed = sides.everything;
  }
  const self: Party = { kind: 'pod', endpoint: ANY_QUERY.dst, pod, nodes: [], ownNode: false, addresses: [] };
  const acting = policies.map(({ policy, selected, rules }): Acting => ({
    policy,
    selected,
    grants: policy.broken
      ? []
      : rules.map((rule) => ({
          policy,
          rule,
          ports: direction === 'egress' && hasNames(rule) ? undefined : resolvePorts(rule, self),
        })),
  }));
  const grants = acting.flatMap((one) => one.grants);
  return {
    id: nextId(layout),
    fixed,
    acting,
    grants,
    asksNames: grants.some(({ ports }) => ports === undefined),
    isolation,
    viaCilium: direction === 'egress' && policies.some(({ policy }) => policy.cilium === true),
    sides: new Map(),
    reach: undefined,
  };
}

const ALL_SURE: ResolvedPorts = {
  sure: perProtocol(() => EVERY_PORT),
  possible: perProtocol(() => NO_PORT),
};

function resolvePorts({ ports }: NetworkRule, named: Party): ResolvedPorts {
  if (ports === 'all') return ALL_SURE;
  const sure: Record<Protocol, PortRange[]> = { TCP: [], UDP: [], SCTP: [] };
  const possible: Record<Protocol, PortRange[]> = { TCP: [], UDP: [], SCTP: [] };
  for (const port of ports) {
    if (port.kind === 'range') sure[port.protocol].push({ first: port.first, last: port.last });
    else {
      for (const { range, sure: surely } of resolveName(port, named, { ...ANY_QUERY, protocol: port.protocol }))
        (surely ? sure : possible)[port.protocol].push(range);
    }
  }
  return {
    sure: perProtocol((protocol) => portSet(sure[protocol])),
    possible: perProtocol((protocol) => portSet(possible[protocol])),
  };
}

/** What one side of a pair of workloads says of it: `self` receives for ingress and sends for egress. */
export function sideOf(engine: Engine, direction: Direction, self: Party, other: Party): Side {
  const { world, layout } = engine;
  const { sides } = layout;
  const { pod } = self;
  if (self.kind !== 'pod' || pod === undefined) {
    const onNodes = world.foreign.find(({ nodes }) => nodes);
    return onNodes === undefined
      ? sides.everything
      : sides.unknown(
          `${direction}: ${onNodes.name} may act on host-network pods and is not evaluated${whyForeign(world, onNodes)}`,
        );
  }
  const own = classOf(engine, direction, pod);
  if (own.fixed !== undefined) return own.fixed;
  if (own.isolation.ordered !== undefined) return judgeInOrder(engine, direction, pod, self, other);
  const onNode = own.viaCilium || other.kind === 'pod' ? 'no' : onOwnNode(world, direction, pod, other, ANY_QUERY);
  if (onNode === 'yes') return sides.everything;
  const entries = addressesToAsk(world, other, own.isolation.hasBlocks);
  const key = keyOfPeer(world, own, other, entries, onNode);
  const known = own.sides.get(key);
  if (known !== undefined) return known;
  const side = judge(engine, direction, own, other, entries, onNode);
  own.sides.set(key, side);
  return side;
}

const cuts = new WeakMap<object, readonly number[]>();

/** Where ranges of ports begin, and just after they end, anywhere in a rule. */
function cutsOf(rule: object): readonly number[] {
  const known = cuts.get(rule);
  if (known !== undefined) return known;
  const found = new Set<number>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, item] of Object.entries(value)) {
      if (typeof item === 'object') visit(item);
      else if (typeof item === 'number' && (key === 'first' || key === 'last'))
        found.add(item + Number(key === 'last'));
    }
  };
  visit(rule);
  const out = [...found];
  cuts.set(rule, out);
  return out;
}

/**
 * Where policies act in an order, what a peer is counts beyond which rules name it: each pair is asked about by itself, once for each
 * run of ports that no rule and no pod cuts.
 */
function judgeInOrder(engine: Engine, direction: Direction, pod: Pod, self: Party, other: Party): Side {
  const { world, layout } = engine;
  const { policies, ordered } = isolationOf(world, pod, direction);
  const starts = new Set<number>([ALL_PORTS.first]);
  for (const { rules } of [...policies, ...(ordered?.acting ?? [])])
    for (const rule of rules) for (const cut of cutsOf(rule)) starts.add(cut);
  for (const { podSet } of [pod, ...(other.pod === undefined ? [] : [other.pod])]) {
    for (const { ports } of podSet?.containers ?? []) for (const { port } of ports) starts.add(port).add(port + 1);
  }
  const sorted = [...starts].filter((port) => port >= ALL_PORTS.first && port <= ALL_PORTS.last).sort((a, b) => a - b);
  const [src, dst] = direction === 'egress' ? [self, other] : [other, self];
  const yes: Record<Protocol, PortRange[]> = { TCP: [], UDP: [], SCTP: [] };
  const unknown: Record<Protocol, UnknownRange[]> = { TCP: [], UDP: [], SCTP: [] };
  for (const protocol of PROTOCOLS) {
    sorted.forEach((first, index) => {
      const range = { first, last: (sorted[index + 1] ?? ALL_PORTS.last + 1) - 1 };
      const query = { src: src.endpoint, dst: dst.endpoint, protocol, port: first };
      const { answer, reasons } = judgeDirection(world, direction, self, other, query);
      if (answer === 'yes') yes[protocol].push(range);
      if (answer !== 'unknown') return;
      const name = reasons.find(({ decision }) => decision === 'unknown')?.object ?? 'a policy';
      unknown[protocol].push({ ...range, reason: `${direction}: what ${name} does here is not known` });
    });
  }
  return layout.sides.of(
    perProtocol((protocol) => portSet(yes[protocol])),
    perProtocol((protocol) => tidyUnknown(unknown[protocol])),
  );
}

const DIGIT = { no: 0, yes: 1, unknown: 2 } as const satisfies Record<Tri, number>;
/** So many answers of three kinds fit into a number without loss. */
const MAX_DIGITS = 32;

/** Peers of the same key are judged alike by the class. A number where one address and no name is asked for: the usual case. */
function keyOfPeer(
  world: World,
  own: SideClass,
  other: Party,
  entries: ReturnType<typeof addressesToAsk>,
  onNode: Tri,
): string | number {
  const { grants } = own;
  const [alternatives = []] = entries;
  if (
    entries.length === 1 &&
    alternatives.length === 1 &&
    grants.length <= MAX_DIGITS &&
    onNode === 'no' &&
    !own.asksNames
  ) {
    let code = 0;
    for (const { policy, rule } of grants)
      code = code * 3 + DIGIT[matchPeers(world, policy, rule, other, alternatives[0])];
    return code;
  }
  let key = onNode === 'unknown' ? 'n' : '';
  for (const one of entries) {
    key += '|';
    for (const address of one) {
      key += '/';
      for (const { policy, rule } of grants) key += String(DIGIT[matchPeers(world, policy, rule, other, address)]);
    }
  }
  return own.asksNames && other.pod !== undefined ? key + namedPortsOf(other.pod) : key;
}

function judge(
  engine: Engine,
  direction: Direction,
  own: SideClass,
  other: Party,
  entries: ReturnType<typeof addressesToAsk>,
  onNode: Tri,
): Side {
  const { world, layout } = engine;
  let sure: PerProtocol<PortSet> = perProtocol(() => EVERY_PORT);
  let notDenied: PerProtocol<PortSet> = sure;
  const doubts: string[] = [];
  for (const alternatives of entries) {
    // Any of the addresses may be the one used: sure is what holds for all, denied what none admits.
    let sureHere: PerProtocol<PortSet> | undefined;
    let notDeniedHere: PerProtocol<PortSet> | undefined;
    for (const address of alternatives) {
      const one = admitted(own, (grant) => ({
        match: matchPeers(world, grant.policy, grant.rule, other, address),
        ports: grant.ports ?? resolvePorts(grant.rule, other),
      }));
      doubts.push(...one.doubts);
      sureHere = sureHere === undefined ? one.sure : zip(sureHere, one.sure, intersectPorts);
      notDeniedHere = notDeniedHere === undefined ? one.notDenied : zip(notDeniedHere, one.notDenied, unitePorts);
    }
    sure = zip(sure, sureHere ?? perProtocol(() => NO_PORT), intersectPorts);
    notDenied = zip(notDenied, notDeniedHere ?? perProtocol(() => EVERY_PORT), intersectPorts);
  }
  const reason = reasonOf(direction, doubts);
  const unknown = zip(notDenied, sure, (open, known) =>
    subtractPorts(open, known).map((range): UnknownRange => ({ ...range, reason })),
  );
  if (onNode !== 'unknown') return layout.sides.of(sure, unknown);
  const nodeReason = `${direction}: a pod's own node is always admitted, and whether it is the same node is not known`;
  const rest = notDenied.map((open) =>
    subtractPorts(EVERY_PORT, open).map((range): UnknownRange => ({ ...range, reason: nodeReason })),
  );
  const merged = perProtocolIndexed((index) =>
    [...unknown[index], ...(rest[index] ?? [])].sort((a, b) => a.first - b.first),
  );
  return layout.sides.of(sure, merged);
}

function reasonOf(direction: Direction, doubts: readonly string[]): string {
  const distinct = [...new Set(doubts)];
  const shown = distinct.slice(0, 3).join(', ');
  const more = distinct.length > 3 ? ` and ${distinct.length - 3} more` : '';
  return `${direction}: whether ${shown}${more} admits it is not known`;
}

function perProtocolIndexed<Value>(make: (index: 0 | 1 | 2) => Value): PerProtocol<Value> {
  return [make(0), make(1), make(2)];
}

function zip<Value, Out>(
  a: PerProtocol<Value>,
  b: PerProtocol<Value>,
  join: (a: Value, b: Value) => Out,
): PerProtocol<Out> {
  return perProtocolIndexed((index) => join(a[index], b[index]));
}

interface Admitted {
  readonly sure: PerProtocol<PortSet>;
  /** Holds `sure`. */
  readonly notDenied: PerProtocol<PortSet>;
  /** Rules and policies on which it hangs. */
  readonly doubts: readonly string[];
}

/** NetworkPolicies add up: see admitFrom of evaluate.ts, of which this is the reading over all ports. */
function admitted(
  own: SideClass,
  judgeGrant: (grant: Grant) => { readonly match: Tri; readonly ports: ResolvedPorts },
): Admitted {
  let sure: PerProtocol<PortSet> = perProtocol(() => NO_PORT);
  let possible: PerProtocol<PortSet> = sure;
  let everyMaybe: PerProtocol<PortSet> = perProtocol(() => EVERY_PORT);
  let isolated = false;
  const doubts: string[] = [];
  for (const { policy, selected, grants } of own.acting) {
    if (selected === 'yes') isolated = true;
    let alone: PerProtocol<PortSet> = perProtocol(() => NO_PORT);
    for (const grant of grants) {
      const { match, ports } = judgeGrant(grant);
      if (match === 'no') continue;
      if (match === 'yes') alone = zip(alone, ports.sure, unitePorts);
      else possible = zip(possible, ports.sure, unitePorts);
      possible = zip(possible, ports.possible, unitePorts);
      if (match === 'unknown' || ports.possible.some(({ length }) => length > 0))
        doubts.push(`rule ${grant.rule.index + 1} of ${policy.name}`);
    }
    if (selected === 'yes') sure = zip(sure, alone, unitePorts);
    else {
      possible = zip(possible, policy.broken ? perProtocol(() => EVERY_PORT) : alone, unitePorts);
      everyMaybe = zip(everyMaybe, policy.broken ? perProtocol(() => NO_PORT) : alone, intersectPorts);
      doubts.push(policy.broken ? `${policy.name} (not valid)` : policy.name);
    }
  }
  if (!isolated) return { sure: everyMaybe, notDenied: perProtocol(() => EVERY_PORT), doubts };
  return { sure, notDenied: zip(sure, possible, unitePorts), doubts };
}

function selectsEveryPod(peer: NetworkPeer): boolean {
  if (peer.kind === 'entity') return peer.entity === 'all' || peer.entity === 'cluster';
  return (
    peer.kind === 'pods' &&
    peer.namespaces !== 'own' &&
    peer.namespaces.requirements.length === 0 &&
    peer.pods.requirements.length === 0
  );
}

/** Pods that some rule of the class may name, and what it says of all others at most. Pods of the pod network alone. */
export function reachOf(engine: Engine, own: SideClass): NonNullable<SideClass['reach']> {
  if (own.reach !== undefined) return own.reach;
  own.reach = findReach(engine, own);
  return own.reach;
}

const SOME_POD: Party = { kind: 'pod', endpoint: ANY_QUERY.src, nodes: [], ownNode: false, addresses: [] };

function findReach(engine: Engine, own: SideClass): NonNullable<SideClass['reach']> {
  const { world, layout } = engine;
  const { sides } = layout;
  if (own.fixed !== undefined) return { listed: [], bound: own.fixed };
  const open = { listed: [], bound: sides.everything };
  if (own.isolation.ordered !== undefined || !own.acting.some(({ selected }) => selected === 'yes')) return open;
  const listed = new Set<number>();
  const universal = new Set<NetworkRule>();
  for (const { policy, grants } of own.acting) {
    if (policy.broken) return open;
    for (const { rule, ports } of grants) {
      if (rule.peers === 'all' || rule.peers.some(selectsEveryPod)) {
        if (ports === undefined) return open;
        universal.add(rule);
        continue;
      }
      for (const peer of rule.peers) {
        if (peer.kind === 'pods') for (const index of podsOfPeer(engine, policy, peer)) listed.add(index);
        else if (peer.kind === 'ip-block' && blockMayMatch(world, SOME_POD)) return open;
      }
    }
  }
  const { sure, notDenied } = admitted(own, ({ rule, ports }) => ({
    match: universal.has(rule) ? 'yes' : 'no',
    ports: ports ?? ALL_SURE,
  }));
  const bound = sides.of(unitedBounds(sure, notDenied), [[], [], []]);
  return { listed: [...listed], bound };
}

// As a bound, what may be admitted counts as admitted.
function unitedBounds(sure: PerProtocol<PortSet>, notDenied: PerProtocol<PortSet>): PerProtocol<PortSet> {
  return zip(sure, notDenied, unitePorts);
}

function selectorKey({ requirements }: Selector): string {
  return JSON.stringify(requirements.map(({ key, operator, values }) => [key, operator, values]));
}

/** Pods that a peer picks or may pick. */
function podsOfPeer(
  engine: Engine,
  policy: NetworkPolicy,
  peer: Extract<NetworkPeer, { kind: 'pods' }>,
): readonly number[] {
  const { layout, world } = engine;
  const where = peer.namespaces === 'own' ? `own ${policy.namespace}` : selectorKey(peer.namespaces);
  const key = `${where}\n${selectorKey(peer.pods)}`;
  const known = layout.peerPods.get(key);
  if (known !== undefined) return known;
  const out: number[] = [];
  for (const pod of podsToAsk(world, layout, policy, peer)) {
    if (pod.hostNetwork) continue;
    const inNamespace =
      peer.namespaces === 'own'
        ? pod.namespace.name === policy.namespace
        : selectsNamespace(peer.namespaces, pod.namespace) !== 'no';
    if (inNamespace && selectsPod(peer.pods, pod) !== 'no') out.push(pod.index);
  }
  layout.peerPods.set(key, out);
  return out;
}

const NAME_KEY = 'kubernetes.io/metadata.name';

/** At least the pods that the peer may pick, by an index where there is one. */
function podsToAsk(
  world: World,
  layout: Layout,
  policy: NetworkPolicy,
  { namespaces, pods }: Extract<NetworkPeer, { kind: 'pods' }>,
): readonly Pod[] {
  const { podsOfNamespace } = world.cluster;
  if (namespaces === 'own') return podsOfNamespace.get(policy.namespace) ?? [];
  const byName = namespaces.requirements.find(({ key, operator }) => key === NAME_KEY && operator === 'In');
  if (byName !== undefined) return [...new Set(byName.values)].flatMap((name) => podsOfNamespace.get(name) ?? []);
  const byLabel = pods.requirements.find(({ operator, key }) => operator === 'In' && key !== ACCOUNT_KEY);
  if (byLabel !== undefined) return podsLabelled(world, layout, byLabel);
  if (namespaces.requirements.length === 0) return world.cluster.pods;
  const out: Pod[] = [];
  for (const own of podsOfNamespace.values()) {
    const [first] = own;
    if (first !== undefined && selectsNamespace(namespaces, first.namespace) !== 'no') out.push(...own);
  }
  return out;
}

function podsLabelled(world: World, layout: Layout, requirement: Requirement): readonly Pod[] {
  layout.labels ??= indexLabels(world);
  const { byLabel, byKind, dark } = layout.labels;
  const out = new Set<Pod>(dark);
  const values = byLabel.get(requirement.key);
  for (const value of requirement.values) for (const pod of values?.get(value) ?? []) out.add(pod);
  for (const own of byKind.values()) {
    const [first] = own;
    // A label that a pod set of this kind leaves out though its pods may carry it.
    const bare = first === undefined ? undefined : { ...first, labels: {} };
    if (bare !== undefined && selectsPod({ requirements: [requirement] }, bare) !== 'no')
      for (const pod of own) out.add(pod);
  }
  return [...out];
}

function indexLabels(world: World): LabelIndex {
  const byLabel = new Map<string, Map<string, Pod[]>>();
  const byKind = new Map<string, Pod[]>();
  const dark: Pod[] = [];
  for (const pod of world.cluster.pods) {
    if (pod.podSet === undefined) {
      dark.push(pod);
      continue;
    }
    push(byKind, pod.kind, pod);
    for (const [key, value] of Object.entries(pod.labels)) {
      let values = byLabel.get(key);
      if (values === undefined) {
        values = new Map();
        byLabel.set(key, values);
      }
      push(values, value, pod);
    }
  }
  return { byLabel, byKind, dark };
}

function push<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** Who may be named by a direction of whom, and who is open to those not named. Made once for a world. */
function indexOf(engine: Engine, direction: Direction): PeerIndex {
  const known = engine.indexes[direction];
  if (known !== undefined) return known;
  const { layout } = engine;
  const naming: number[][] = [];
  const ranksOfClass = new Map<number, number[]>();
  const groups = new Map<Side, number[]>();
  const isOpen = new Uint8Array(layout.ids.length);
  layout.parties.forEach((own, rank) => {
    for (const { kind, pod } of own) {
      if (kind !== 'pod' || pod === undefined) continue;
      const acting = classOf(engine, direction, pod);
      const { listed, bound } = reachOf(engine, acting);
      if (!layout.sides.isNothing(bound)) {
        push(groups, bound, rank);
        isOpen[rank] = 1;
      }
      const ranks = ranksOfClass.get(acting.id);
      if (ranks !== undefined) {
        ranks.push(rank);
        continue;
      }
      ranksOfClass.set(acting.id, [rank]);
      for (const index of listed) (naming[index] ??= []).push(acting.id);
    }
  });
  const byBound = [...groups].map(([bound, ranks]) => ({ bound, ranks }));
  const index: PeerIndex = { naming, ranksOfClass, byBound, isOpen };
  engine.indexes[direction] = index;
  return index;
}

/**
 * Ranks of the workloads with which one may connect, as source for egress and as destination for ingress; every other is surely out
 * of reach. `all` where no list is shorter. With `likely`, the other side is looked up in that engine: right for all pods whose
 * policies are the same there.
 */
export function peersOf(
  engine: Engine,
  direction: Direction,
  rank: number,
  likely: Engine = engine,
): ReadonlySet<number> | 'all' {
  const { layout } = engine;
  const { sides, rankOfPod } = layout;
  const out = new Set<number>(layout.hostRanks);
  const { naming, ranksOfClass, byBound, isOpen } = indexOf(likely, direction === 'egress' ? 'ingress' : 'egress');
  for (const { kind, pod } of layout.parties[rank] ?? []) {
    if (kind !== 'pod' || pod === undefined) return 'all';
    const { listed, bound } = reachOf(engine, classOf(engine, direction, pod));
    // Both sides must admit: each by naming the other, or by being open to those it does not name.
    const names = new Set<number>();
    for (const id of naming[pod.index] ?? []) for (const one of ranksOfClass.get(id) ?? []) names.add(one);
    for (const index of listed) {
      const one = rankOfPod[index] ?? 0;
      if (isOpen[one] === 1 || names.has(one)) out.add(one);
    }
    if (sides.isNothing(bound)) continue;
    for (const one of names) out.add(one);
    for (const group of byBound) {
      if (!sides.isNothing(sides.both(bound, group.bound))) for (const one of group.ranks) out.add(one);
    }
  }
  return out;
}

/** What NetworkPolicy says of a pair of workloads: every pod set that sends against every one that listens. */
export function pairSide(engine: Engine, src: number, dst: number): Side {
  const { layout } = engine;
  const [sources, receivers] = [layout.parties[src] ?? [], layout.parties[dst] ?? []];
  const all = foldPairs(engine, sources, receivers);
  if (receivers.length < 2) return all;
  let side = all;
  // Of several pod sets, those that declare a port are the ones that listen there.
  const declared = new Map<string, { readonly protocol: Protocol; readonly port: number; readonly by: Set<Party> }>();
  for (const party of receivers) {
    for (const { protocol, port } of party.pod?.ports ?? []) {
      const key = `${port}/${protocol}`;
      const entry = declared.get(key) ?? { protocol, port, by: new Set() };
      entry.by.add(party);
      declared.set(key, entry);
    }
  }
  for (const { protocol, port, by } of declared.values()) {
    if (by.size === receivers.length) continue;
    const only = [{ first: port, last: port }];
    const others = subtractPorts(EVERY_PORT, only);
    const here = layout.sides.clip(foldPairs(engine, sources, [...by]), only, protocol);
    const rest = side;
    const index = ({ TCP: 0, UDP: 1, SCTP: 2 } as const)[protocol];
    const cut = layout.sides.clip(rest, others, protocol);
    const yes = perProtocolIndexed((at) => (at === index ? unitePorts(cut.yes[at], here.yes[at]) : rest.yes[at]));
    const unknown = perProtocolIndexed((at) =>
      at === index ? [...cut.unknown[at], ...here.unknown[at]].sort((a, b) => a.first - b.first) : rest.unknown[at],
    );
    side = layout.sides.of(yes, unknown);
  }
  return side;
}

function foldPairs(engine: Engine, sources: readonly Party[], receivers: readonly Party[]): Side {
  const { sides } = engine.layout;
  let side = sides.everything;
  for (const src of sources) {
    for (const dst of receivers) {
      side = sides.both(side, sideOf(engine, 'egress', src, dst));
      if (sides.isNothing(side)) return side;
      side = sides.both(side, sideOf(engine, 'ingress', dst, src));
      if (sides.isNothing(side)) return side;
    }
  }
  return side;
}

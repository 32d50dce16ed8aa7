import type { Engine } from './connectivity-engine.ts';
import { engineLike, engineOf, pairSide, peersOf } from './connectivity-engine.ts';
import { meshSide } from './connectivity-mesh.ts';
import type { Side } from './connectivity-side.ts';
import { perProtocol, PROTOCOLS, subtractPorts } from './connectivity-side.ts';
import type { Protocol } from './edge.ts';
import type { Direction } from './evaluate.ts';
import type { NetworkPolicy } from './network-policy.ts';
import type { PortRange } from './port-set.ts';
import { portSet } from './port-set.ts';
import type { World } from './world.ts';
import { selectsPod } from './world.ts';

export interface AllowedPorts {
  readonly protocol: Protocol;
  readonly from: number;
  readonly to: number;
}

export interface UnknownPorts extends AllowedPorts {
  readonly reason: string;
}

/** What one workload may open to another, on every port from 1 to 65535. Ports in neither list are denied. */
export interface Connection {
  readonly src: string;
  readonly dst: string;
  readonly allowed: readonly AllowedPorts[];
  readonly unknown: readonly UnknownPorts[];
}

export interface ConnectivityOptions {
  /** Workload ids taken as source; all without it. */
  readonly from?: (id: string) => boolean;
  readonly to?: (id: string) => boolean;
  /** Only these ports, of one protocol where it is named. */
  readonly port?: PortRange & { readonly protocol?: Protocol };
  /** With the mesh: its policies and mTLS are asked for every pair that NetworkPolicy leaves. */
  readonly mesh?: boolean;
}

/** A pair whose ports differ between two worlds. A side without a connection has empty lists. */
export interface ConnectionChange {
  readonly src: string;
  readonly dst: string;
  readonly before: Pick<Connection, 'allowed' | 'unknown'>;
  readonly after: Pick<Connection, 'allowed' | 'unknown'>;
}

const NEITHER: Pick<Connection, 'allowed' | 'unknown'> = { allowed: [], unknown: [] };

interface Lens {
  readonly engine: Engine;
  readonly options: ConnectivityOptions;
  readonly shown: Map<Side, Pick<Connection, 'allowed' | 'unknown'>>;
}

/**
 * Who can connect to whom: every pair of different workloads of which some port is not surely denied, sorted by source and
 * destination. Each answer is that of `evaluateConnection` at that port, without the mesh unless `mesh` is set.
 */
export function* connectivity(world: World, options: ConnectivityOptions = {}): Generator<Connection, void> {
  const lens = lensOn(engineOf(world), options);
  const { ids } = lens.engine.layout;
  const wanted = ranksWhere(ids, options.to);
  for (const src of ranksWhere(ids, options.from) ?? ids.keys()) {
    const source = ids[src] ?? '';
    for (const dst of destinations(lens.engine, src, wanted)) {
      if (dst === src) continue;
      const found = connectionOf(lens, src, dst);
      if (found !== NEITHER) yield { src: source, dst: ids[dst] ?? '', ...found };
    }
  }
}

function lensOn(engine: Engine, options: ConnectivityOptions): Lens {
  return { engine, options, shown: new Map() };
}

function ranksWhere(
  ids: readonly string[],
  wanted: ((id: string) => boolean) | undefined,
): readonly number[] | undefined {
  if (wanted === undefined) return undefined;
  return ids.flatMap((id, rank) => (wanted(id) ? [rank] : []));
}

/** Below this many wanted destinations it costs less to ask each than to find those that may be reached. */
const FEW = 64;

function destinations(engine: Engine, src: number, wanted: readonly number[] | undefined): Iterable<number> {
  if (wanted !== undefined && wanted.length <= FEW) return wanted;
  const reachable = peersOf(engine, 'egress', src);
  if (reachable === 'all') return wanted ?? engine.layout.ids.keys();
  if (wanted !== undefined && wanted.length < reachable.size) return wanted.filter((rank) => reachable.has(rank));
  const taken = wanted === undefined ? undefined : new Set(wanted);
  const out = Int32Array.from(reachable).sort();
  return taken === undefined ? out : out.filter((rank) => taken.has(rank));
}

function connectionOf(
  { engine, options, shown }: Lens,
  src: number,
  dst: number,
): Pick<Connection, 'allowed' | 'unknown'> {
  const { sides, ids } = engine.layout;
  let side = pairSide(engine, src, dst);
  if (sides.isNothing(side)) return NEITHER;
  const { port } = options;
  if (port !== undefined) side = sides.clip(side, [{ first: port.first, last: port.last }], port.protocol);
  if (options.mesh === true) side = meshSide(engine.world, sides, ids[src] ?? '', ids[dst] ?? '', side);
  if (sides.isNothing(side)) return NEITHER;
  const known = shown.get(side);
  if (known !== undefined) return known;
  const out = { allowed: allowedOf(side), unknown: unknownOf(side) };
  shown.set(side, out);
  return out;
}

function allowedOf({ yes }: Side): readonly AllowedPorts[] {
  return PROTOCOLS.flatMap((protocol, index) =>
    (yes[index] ?? []).map(({ first, last }) => ({ protocol, from: first, to: last })),
  );
}

function unknownOf({ unknown }: Side): readonly UnknownPorts[] {
  return PROTOCOLS.flatMap((protocol, index) =>
    (unknown[index] ?? []).map(({ first, last, reason }) => ({ protocol, from: first, to: last, reason })),
  );
}

/**
 * The pairs whose ports differ between two worlds, sorted. Where the worlds share their workloads and differ by NetworkPolicies
 * alone, only pairs of pods that a changed policy selects are looked at, and what is known of all others is taken over.
 */
export function changedConnections(
  before: World,
  after: World,
  options: ConnectivityOptions = {},
): Iterable<ConnectionChange> {
  const changed = changedPolicies(before, after);
  return changed === undefined || options.mesh === true
    ? mergeConnections(connectivity(before, options), connectivity(after, options))
    : affectedConnections(before, after, changed, options);
}

/** NetworkPolicies in one of the worlds only, by namespace; undefined where the worlds differ by more. */
function changedPolicies(before: World, after: World): ReadonlyMap<string, readonly NetworkPolicy[]> | undefined {
  if (before.cluster !== after.cluster) return undefined;
  const same = before.foreign.length === after.foreign.length;
  if (!same || before.foreign.some((policy, index) => after.foreign[index] !== policy)) return undefined;
  if (!isSameList(before.ordered, after.ordered) || !isSameList(before.clusterPolicies, after.clusterPolicies)) {
    return undefined;
  }
  // Tiers and sets of networks change what policies of Calico mean.
  if (before.ordered.some(({ engine }) => engine === 'calico')) return undefined;
  const out = new Map<string, readonly NetworkPolicy[]>();
  for (const namespace of new Set([...before.networkPolicies.keys(), ...after.networkPolicies.keys()])) {
    const [old, now] = [before.networkPolicies.get(namespace) ?? [], after.networkPolicies.get(namespace) ?? []];
    if (old.length === now.length && old.every((policy, index) => now[index] === policy)) continue;
    const [had, has] = [new Set(old), new Set(now)];
    const differing = [...old.filter((one) => !has.has(one)), ...now.filter((one) => !had.has(one))];
    if (differing.length > 0) out.set(namespace, differing);
  }
  return out;
}

function isSameList<Item>(a: readonly Item[], b: readonly Item[]): boolean {
  return a.length === b.length && a.every((one, index) => b[index] === one);
}

function* affectedConnections(
  before: World,
  after: World,
  changed: ReadonlyMap<string, readonly NetworkPolicy[]>,
  options: ConnectivityOptions,
): Generator<ConnectionChange, void> {
  const old = engineOf(before);
  const now = engineLike(after, old, new Set(changed.keys()));
  const { ids, rankOfPod } = now.layout;
  const affected = (direction: Direction): ReadonlySet<number> => {
    const out = new Set<number>();
    for (const [namespace, policies] of changed) {
      for (const pod of after.cluster.podsOfNamespace.get(namespace) ?? []) {
        const acts = policies.some(
          (policy) =>
            policy[direction] !== undefined && (policy.selectorBroken || selectsPod(policy.selector, pod) !== 'no'),
        );
        if (acts) out.add(rankOfPod[pod.index] ?? 0);
      }
    }
    return out;
  };
  const [senders, receivers] = [affected('egress'), affected('ingress')];
  const pairs = new Set<number>();
  const add = (src: number, dst: number): void => {
    const isWanted = (id: string | undefined, wanted: ConnectivityOptions['from']): boolean =>
      id !== undefined && (wanted === undefined || wanted(id));
    if (src !== dst && isWanted(ids[src], options.from) && isWanted(ids[dst], options.to))
      pairs.add(src * ids.length + dst);
  };
  const likely = old.base ?? old;
  // Their policies changed, so that what that world knows of them as peers does not hold.
  const uncertain = [...new Set([...changed.keys(), ...(old.unlike ?? [])])].flatMap((namespace) =>
    (after.cluster.podsOfNamespace.get(namespace) ?? []).map((pod) => rankOfPod[pod.index] ?? 0),
  );
  const peers = (direction: Direction, rank: number): Iterable<number> => {
    const [had, has] = [peersOf(old, direction, rank, likely), peersOf(now, direction, rank, likely)];
    return had === 'all' || has === 'all' ? ids.keys() : new Set([...had, ...has, ...uncertain]);
  };
  for (const src of senders) for (const dst of peers('egress', src)) add(src, dst);
  for (const dst of receivers) for (const src of peers('ingress', dst)) add(src, dst);
  const lenses = [lensOn(old, options), lensOn(now, options)] as const;
  for (const pair of Float64Array.from(pairs).sort()) {
    const [src, dst] = [Math.floor(pair / ids.length), pair % ids.length];
    const [had, has] = [connectionOf(lenses[0], src, dst), connectionOf(lenses[1], src, dst)];
    // Both engines share one table of sides, but each lens lists them anew.
    if (had === has || isSame(had, has)) continue;
    yield { src: ids[src] ?? '', dst: ids[dst] ?? '', before: had, after: has };
  }
}

type Ports = Pick<Connection, 'allowed' | 'unknown'>;

function isSame(a: Ports, b: Ports): boolean {
  if (a.allowed.length !== b.allowed.length || a.unknown.length !== b.unknown.length) return false;
  const samePorts = (x: AllowedPorts, y: AllowedPorts | undefined): boolean =>
    x.protocol === y?.protocol && x.from === y.from && x.to === y.to;
  return (
    a.allowed.every((one, index) => samePorts(one, b.allowed[index])) &&
    a.unknown.every((one, index) => samePorts(one, b.unknown[index]) && one.reason === b.unknown[index]?.reason)
  );
}

function* mergeConnections(
  before: Iterator<Connection>,
  after: Iterator<Connection>,
): Generator<ConnectionChange, void> {
  let [old, now] = [before.next(), after.next()];
  while (old.done !== true || now.done !== true) {
    const order = compareEnds(old.done === true ? undefined : old.value, now.done === true ? undefined : now.value);
    const had = order <= 0 && old.done !== true ? old.value : undefined;
    const has = order >= 0 && now.done !== true ? now.value : undefined;
    const ends = had ?? has;
    if (ends !== undefined && !isSame(had ?? NEITHER, has ?? NEITHER))
      yield { src: ends.src, dst: ends.dst, before: portsOf(had), after: portsOf(has) };
    if (had !== undefined) old = before.next();
    if (has !== undefined) now = after.next();
  }
}

function portsOf(connection: Connection | undefined): Ports {
  return connection === undefined ? NEITHER : { allowed: connection.allowed, unknown: connection.unknown };
}

function compareEnds(a: Connection | undefined, b: Connection | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  if (a.src !== b.src) return a.src < b.src ? -1 : 1;
  return a.dst === b.dst ? 0 : a.dst < b.dst ? -1 : 1;
}

/** Ports of `a` that are not in `b`. */
export function portsWithout(a: readonly AllowedPorts[], b: readonly AllowedPorts[]): readonly AllowedPorts[] {
  const of = (list: readonly AllowedPorts[], protocol: Protocol): readonly PortRange[] =>
    portSet(list.flatMap((one) => (one.protocol === protocol ? [{ first: one.from, last: one.to }] : [])));
  const left = perProtocol((protocol) => subtractPorts(of(a, protocol), of(b, protocol)));
  return PROTOCOLS.flatMap((protocol, index) =>
    (left[index] ?? []).map(({ first, last }) => ({ protocol, from: first, to: last })),
  );
}

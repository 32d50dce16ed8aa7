import { connectivity } from '../model/connectivity.ts';
import type { Engine } from '../model/connectivity-engine.ts';
import { classOf, engineOf, pairSide, sideOf } from '../model/connectivity-engine.ts';
import { meshSide } from '../model/connectivity-mesh.ts';
import type { Side } from '../model/connectivity-side.ts';
import { namespaceOfWorkload } from '../model/edge.ts';
import type { Direction, World } from '../model/evaluate.ts';
import { compileWorld } from '../model/evaluate.ts';
import type { Inventory } from '../model/inventory.ts';
import { groupOf } from '../model/object.ts';
import { compareText } from '../shared/pure/order.ts';

/** Above this many pairs that the mesh must be asked about one by one, the count is left out rather than waited for. */
const MOST_MESH_PAIRS = 300_000;

export interface Reach {
  readonly kind: 'counted';
  readonly reachable: number;
  readonly unknown: number;
  /** The reason that keeps most of them unknown. */
  readonly doubt: string | undefined;
  /** Workloads that some other one can reach, the most reached first. */
  readonly exposed: readonly { readonly workload: string; readonly from: number; readonly fromNamespaces: number }[];
}

export interface NotCounted {
  readonly kind: 'not-counted';
  readonly because: string;
}

/**
 * How many ordered pairs of different workloads can connect on some port, by NetworkPolicy and its kin and by the mesh; and of how many
 * that can't be told. Workloads that no policy touches on a side are counted as one group, the others one by one.
 */
export function countReach(inventory: Inventory): Reach | NotCounted {
  const world = compileWorld(inventory);
  const engine = engineOf(world);
  const { ids, parties, sides } = engine.layout;
  const mesh = asksMesh(world);
  const plain = parties.map((own) =>
    own.every(({ pod }) => pod === undefined || pod.hostNetwork || pod.podSet?.mesh === 'none'),
  );
  const fixedOf = (direction: Direction): readonly (Side | undefined)[] =>
    ids.map((_, rank) => (mesh && plain[rank] !== true ? undefined : fixedSide(engine, direction, rank)));
  const [egress, ingress] = [fixedOf('egress'), fixedOf('ingress')];
  const namespaces = ids.map(namespaceOfWorkload);
  const inbound = new Float64Array(ids.length);
  const from = ids.map(() => new Set<string>());
  let reachable = 0;
  let unknown = 0;

  const [senders, receivers] = [groupRanks(egress), groupRanks(ingress)];
  for (const [sent, sources] of senders) {
    const sourceSet = new Set(sources);
    const spaces = new Set(sources.map((rank) => namespaces[rank] ?? ''));
    for (const [taken, targets] of receivers) {
      const kind = kindOf(sides.both(sent, taken));
      if (kind === 'closed') continue;
      const self = targets.filter((rank) => sourceSet.has(rank)).length;
      const pairs = sources.length * targets.length - self;
      if (kind === 'unknown') {
        unknown += pairs;
        continue;
      }
      reachable += pairs;
      for (const rank of targets) {
        inbound[rank] = (inbound[rank] ?? 0) + sources.length - (sourceSet.has(rank) ? 1 : 0);
        for (const space of spaces) from[rank]?.add(space);
      }
    }
  }

  const isFixedSource = new Set(ids.filter((_, rank) => egress[rank] !== undefined));
  const isFixedTarget = new Set(ids.filter((_, rank) => ingress[rank] !== undefined));
  const passes = [
    { from: (id: string) => !isFixedSource.has(id) },
    { from: (id: string) => isFixedSource.has(id), to: (id: string) => !isFixedTarget.has(id) },
  ];
  const doubts = new Map<string, number>();
  const doubt = (reason: string | undefined, pairs: number): void => {
    if (reason !== undefined) doubts.set(reason, (doubts.get(reason) ?? 0) + pairs);
  };
  let asked = 0;
  for (const pass of passes)
    for (const { src, dst, allowed, unknown: open } of connectivity(world, pass)) {
      const [source, target] = [engine.layout.rankOf.get(src) ?? -1, engine.layout.rankOf.get(dst) ?? -1];
      let kind: 'open' | 'unknown' | 'closed' = allowed.length > 0 ? 'open' : 'unknown';
      let reason = open[0]?.reason;
      if (mesh && !(plain[source] === true && plain[target] === true)) {
        asked += 1;
        if (asked > MOST_MESH_PAIRS)
          return {
            kind: 'not-counted',
            because: `more than ${MOST_MESH_PAIRS} pairs would have to be asked of the mesh one by one; sallyport reach --mesh --from W answers for one`,
          };
        const side = meshSide(world, sides, src, dst, pairSide(engine, source, target));
        kind = kindOf(side);
        reason = side.unknown.flat()[0]?.reason;
      }
      if (kind === 'closed') continue;
      if (kind === 'unknown') {
        unknown += 1;
        doubt(reason, 1);
        continue;
      }
      reachable += 1;
      inbound[target] = (inbound[target] ?? 0) + 1;
      from[target]?.add(namespaces[source] ?? '');
    }
  const order = [...ids.keys()]
    .filter((rank) => (inbound[rank] ?? 0) > 0)
    .sort((a, b) => (inbound[b] ?? 0) - (inbound[a] ?? 0) || compareText(ids[a] ?? '', ids[b] ?? ''));
  return {
    kind: 'counted',
    reachable,
    unknown,
    doubt: [...doubts].sort((a, b) => b[1] - a[1] || compareText(a[0], b[0]))[0]?.[0],
    exposed: order.map((rank) => ({
      workload: ids[rank] ?? '',
      from: inbound[rank] ?? 0,
      fromNamespaces: from[rank]?.size ?? 0,
    })),
  };
}

/** Is there anything of the mesh that could shut a connection? */
function asksMesh({ inventory }: World): boolean {
  return (
    inventory.facts.mesh.kind !== 'none' &&
    inventory.policies.some((policy) => groupOf(policy.apiVersion).endsWith('istio.io'))
  );
}

/** What a side says whatever the peer; undefined where that depends on it. */
function fixedSide(engine: Engine, direction: Direction, rank: number): Side | undefined {
  const { parties, sides } = engine.layout;
  const own = parties[rank] ?? [];
  let all: Side | undefined;
  for (const party of own) {
    const side =
      party.kind === 'pod' && party.pod !== undefined
        ? classOf(engine, direction, party.pod).fixed
        : // Host-network pods are judged alike whoever the peer is.
          sideOf(engine, direction, party, party);
    if (side === undefined) return undefined;
    // Which of several pod sets listens depends on the port: only where all say the same it does not matter.
    if (direction === 'ingress' && all !== undefined && all !== side) return undefined;
    all = all === undefined ? side : sides.both(all, side);
  }
  return all;
}

function groupRanks(list: readonly (Side | undefined)[]): ReadonlyMap<Side, readonly number[]> {
  const out = new Map<Side, number[]>();
  list.forEach((side, rank) => {
    if (side === undefined) return;
    const known = out.get(side);
    if (known === undefined) out.set(side, [rank]);
    else known.push(rank);
  });
  return out;
}

function kindOf({ yes, unknown }: Side): 'open' | 'unknown' | 'closed' {
  if (yes.some((ports) => ports.length > 0)) return 'open';
  return unknown.some((ports) => ports.length > 0) ? 'unknown' : 'closed';
}

/** Above this many pairs of workloads they are not looked at one by one. */
const MOST_PAIRS = 1_000_000;

/**
 * Pairs of workloads that can connect by NetworkPolicy and its kin, the mesh not asked, by the groups of both ends (`from\nto`);
 * undefined in a cluster too large for that.
 */
export function countBetween(
  world: World,
  groupOfWorkload: (id: string) => string | undefined,
): ReadonlyMap<string, number> | undefined {
  if (world.inventory.workloads.length ** 2 > MOST_PAIRS) return undefined;
  const out = new Map<string, number>();
  const isGrouped = (id: string): boolean => groupOfWorkload(id) !== undefined;
  for (const { src, dst, allowed } of connectivity(world, { from: isGrouped, to: isGrouped })) {
    const [from, to] = [groupOfWorkload(src), groupOfWorkload(dst)];
    if (from === to || allowed.length === 0) continue;
    const key = `${from ?? ''}\n${to ?? ''}`;
    out.set(key, (out.get(key) ?? 0) + 1);
  }
  return out;
}

import type { Edge, Endpoint } from '../model/edge.ts';
import { endpointKey, formatPort, hasPassed } from '../model/edge.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import { groupBy } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';
import { declaredPorts } from './attribute.ts';
import { ENOUGH_RUNS, findDoubtful } from './review.ts';
import type { Doubtful } from './review.ts';
import { sidecarTraffic } from './sidecar.ts';

const DAY_MS = 86_400_000;
/** Records shorter than this say nothing about what is new. */
const SETTLED_DAYS = 4;
/** The newest part of a record: what begins in it is new. */
const NEWEST_PART = 0.25;
/**
 * Distinct destinations and ports of one workload that become rules without a person. Gateways and crawlers have more, by trade, and are
 * adopted once; a pod that somebody else steers has as many as he likes.
 */
export const MAX_UNREVIEWED_TARGETS = 64;

/** What a workload may hold without being worth an attack. */
const PLAIN: ReadonlySet<string> = new Set(['unknown', 'telemetry']);

function worthOf(workload: Workload | undefined): readonly string[] {
  return workload?.classification.sensitivity.filter((sort) => !PLAIN.has(sort)) ?? [];
}

/** Does it hold data or rights that somebody would break in for? */
export function isSensitive(workload: Workload | undefined): boolean {
  return worthOf(workload).length > 0;
}

/** One source that reaches more than anybody has looked at. */
export interface FanOut {
  readonly source: string;
  readonly targets: number;
  readonly edges: readonly Edge[];
}

export interface Corroboration {
  /** Unreviewed edges that one more witness, a longer record or a person must vouch for. Those of `findDoubtful` are not repeated. */
  readonly waiting: readonly Doubtful[];
  readonly fanOuts: readonly FanOut[];
}

/**
 * What the record alone does not carry, because whoever holds a single pod can write it there: a rule into a workload that holds something
 * of worth, or out of one to the outside, and any number of rules for one source. Such an edge is carried by `days` days on record (or as
 * many runs of its schedule) and by a first sighting before the newest part of the record; or by configuration that names the same
 * connection, which no pod can write; or by a person. A range of ports, and an undeclared port of which nobody saw who opened it, always
 * wait for one of the latter two. `span`: the times of the whole record, where the edges are a part of it.
 */
export function findUncorroborated(
  edges: readonly Edge[],
  inventory: Inventory,
  days: number,
  span: Span = spanOf(edges),
): Corroboration {
  const workloads = new Map(inventory.workloads.map((one) => [one.id, one]));
  const isSidecars = sidecarTraffic(inventory);
  const stated = new Set(inventory.declared.map((one) => connectionKey(one.src, one.dst, one.protocol, one.port)));
  const open = edges.filter(
    (edge) =>
      edge.review === 'unreviewed' &&
      edge.origin.kind === 'observed' &&
      hasPassed(edge) &&
      !isSidecars(edge) &&
      // Whoever is in a workload already needs no rule to reach it.
      endpointKey(edge.src) !== endpointKey(edge.dst) &&
      !stated.has(connectionKey(edge.src, edge.dst, edge.protocol, edge.port)),
  );

  const fanOuts: FanOut[] = [];
  const fanned = new Set<string>();
  for (const [source, own] of groupBy(open, (edge) => endpointKey(edge.src))) {
    if (own[0]?.src.kind === 'node' || own[0]?.src.kind === 'api-server') continue;
    const targets = new Set(own.map((edge) => `${endpointKey(edge.dst)} ${formatPort(edge)}`)).size;
    if (targets <= MAX_UNREVIEWED_TARGETS) continue;
    fanOuts.push({ source, targets, edges: own });
    fanned.add(source);
  }

  const doubtful = new Set(findDoubtful(edges, inventory).map(({ edge }) => edge.id));
  const newSince = newestPartOf(span);
  const firstSeen = new Map<string, number>();
  for (const edge of edges)
    if (edge.origin.kind === 'observed' && edge.count > 0)
      for (const end of [edge.src, edge.dst]) {
        const key = endpointKey(end);
        firstSeen.set(key, Math.min(firstSeen.get(key) ?? Infinity, edge.first));
      }
  const ports = new Map<string, ReadonlySet<string>>();
  const declares = (id: string, port: string): boolean => {
    let declared = ports.get(id);
    if (declared === undefined) ports.set(id, (declared = declaredPorts(workloads.get(id), inventory.services)));
    return declared.has(port);
  };
  const known = (end: Endpoint): Workload | undefined => (end.kind === 'workload' ? workloads.get(end.id) : undefined);

  const waiting: Doubtful[] = [];
  for (const edge of open) {
    if (doubtful.has(edge.id) || fanned.has(endpointKey(edge.src))) continue;
    const [src, dst] = [known(edge.src), known(edge.dst)];
    const into = isSensitive(dst);
    const outOf = isSensitive(src) && edge.dst.kind === 'external';
    if (!into && !outOf) continue;
    const whose = into ? `into ${describe(dst)}` : `to the outside from ${describe(src)}`;
    const why = doubtOf(edge, whose);
    if (why !== undefined) waiting.push({ edge, why });
  }
  return { waiting, fanOuts };

  function doubtOf(edge: Edge, whose: string): string | undefined {
    if (edge.endPort !== undefined) return `it would open a range of ports ${whose}`;
    if (edge.guessedDirection === true && edge.dst.kind === 'workload' && !declares(edge.dst.id, formatPort(edge)))
      return `nobody declares that port and the record does not show who opened the connection: a rule ${whose}`;
    const scheduled = [edge.src, edge.dst].some((end) => known(end)?.schedule !== undefined);
    const seen = scheduled ? Math.max(edge.days.length, edge.runs.length) : edge.days.length;
    const wanted = scheduled ? Math.min(days, ENOUGH_RUNS) : days;
    if (seen < wanted)
      return `seen on ${plural(edge.days.length, 'day')}, and a rule ${whose} wants ${plural(wanted, scheduled ? 'run or day' : 'day', scheduled ? 'runs or days' : 'days')}`;
    if (newSince === undefined || edge.first < newSince) return undefined;
    // Whatever reaches a workload that is itself new is new with it; what is new to one that was there before is somebody new.
    const older = firstSeen.get(
      endpointKey(edge.dst.kind === 'workload' && isSensitive(known(edge.dst)) ? edge.dst : edge.src),
    );
    return older !== undefined && older < newSince
      ? `new: first seen ${new Date(edge.first).toISOString().slice(0, 10)}, in the newest part of the record, and a rule ${whose}`
      : undefined;
  }
}

/** When the newest part of the record begins (ms since the epoch); undefined where the record is too short to have one. */
export function newestPart(edges: readonly Edge[]): number | undefined {
  return newestPartOf(spanOf(edges));
}

/** When edges of a record were first and last seen (ms since the epoch). */
export interface Span {
  readonly first: number;
  readonly last: number;
}

function spanOf(edges: readonly Edge[]): Span {
  let first = Infinity;
  let last = -Infinity;
  for (const edge of edges) {
    if (edge.origin.kind !== 'observed' || edge.count === 0) continue;
    first = Math.min(first, edge.first);
    last = Math.max(last, edge.last);
  }
  return { first, last };
}

/** The same of a record whose edges were first and last seen then. */
export function newestPartOf({ first, last }: Span): number | undefined {
  if (last - first < SETTLED_DAYS * DAY_MS) return undefined;
  return last - Math.max(DAY_MS, (last - first) * NEWEST_PART);
}

function describe(workload: Workload | undefined): string {
  if (workload === undefined) return 'it';
  return `${workload.id}, which holds ${worthOf(workload).join(', ')}`;
}

function connectionKey(src: Endpoint, dst: Endpoint, protocol: string, port: number): string {
  return `${endpointKey(src)}\n${endpointKey(dst)}\n${protocol}\n${port}`;
}

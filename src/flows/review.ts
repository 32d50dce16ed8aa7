import type { Edge } from '../model/edge.ts';
import { endpointKey, hasPassed } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { groupBy } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';
import { sidecarTraffic } from './sidecar.ts';

const HOUR_MS = 3_600_000;
/** Distinct destinations and ports that a source reaches within one hour and never again: a scan and not a service. */
export const SCAN_TARGETS_IN_HOUR = 10;
/** Distinct destinations and ports that a source reaches on one day each. */
export const SCAN_TARGETS_ONE_DAY = 15;
/** Fewer suffice where some of its attempts were denied: somebody tries doors. */
const TARGETS_BESIDE_DENIALS = 5;
const DENIALS = 3;
/** A schedule that showed the edge in so many runs has shown it often enough, be it on one day. */
export const ENOUGH_RUNS = 3;

/** A source of which fewer edges (by target) were seen on fewer days and in fewer runs is no scan, whatever else it reaches. */
export const LEAST_SCAN = { rare: TARGETS_BESIDE_DENIALS, days: 2, runs: ENOUGH_RUNS } as const;

export interface Doubtful {
  readonly edge: Edge;
  readonly why: string;
}

/**
 * Unreviewed edges that wait for a person: seen on one day only, or from a source that fans out like a scan. Declared edges are
 * vouched for by configuration, and edges never seen to pass are no evidence in the first place.
 */
export function findDoubtful(edges: readonly Edge[], inventory: Inventory): readonly Doubtful[] {
  const scheduled = new Set(inventory.workloads.filter((one) => one.schedule !== undefined).map((one) => one.id));
  // A sidecar's connection to its control plane: joining made it, so nobody needs to vouch for it.
  const isSidecars = sidecarTraffic(inventory);
  const scans = new Map<string, string>();
  for (const [source, own] of groupBy(edges, (edge) => endpointKey(edge.src))) {
    const why = scanReason(own);
    if (why !== undefined) scans.set(source, why);
  }
  const doubtful: Doubtful[] = [];
  for (const edge of edges) {
    if (edge.review !== 'unreviewed' || edge.origin.kind !== 'observed' || !hasPassed(edge) || isSidecars(edge))
      continue;
    const scan = scans.get(endpointKey(edge.src));
    if (scan !== undefined) doubtful.push({ edge, why: scan });
    else if (edge.days.length < 2) {
      const ends = [edge.src, edge.dst].some((end) => end.kind === 'workload' && scheduled.has(end.id));
      if (ends && edge.runs.length >= ENOUGH_RUNS) continue;
      doubtful.push({
        edge,
        why: `seen on one day only (${edge.days[0] ?? new Date(edge.first).toISOString().slice(0, 10)})`,
      });
    }
  }
  return doubtful;
}

function isRare(edge: Edge): boolean {
  return edge.days.length < LEAST_SCAN.days && edge.runs.length < LEAST_SCAN.runs;
}

/** Why the edges of one source look like a scan. Nodes and the API server reach every pod by trade. */
function scanReason(edges: readonly Edge[]): string | undefined {
  const [first] = edges;
  if (first === undefined || first.src.kind === 'node' || first.src.kind === 'api-server') return undefined;
  const targets = (some: readonly Edge[]): number =>
    new Set(some.map((edge) => `${endpointKey(edge.dst)} ${edge.port}/${edge.protocol}`)).size;
  const observed = edges.filter((edge) => edge.count > 0 && edge.review !== 'legitimate');
  // A source known for weeks that meets its usual peers is no scanner, so only passing contacts count.
  const fleeting = observed.filter((edge) => isRare(edge) && edge.last - edge.first <= HOUR_MS);
  const byStart = [...fleeting].sort((a, b) => a.first - b.first);
  let begin = 0;
  for (let end = 0; end < byStart.length; end += 1) {
    while ((byStart[end]?.first ?? 0) - (byStart[begin]?.first ?? 0) > HOUR_MS) begin += 1;
    if (end - begin + 1 < SCAN_TARGETS_IN_HOUR) continue;
    const count = targets(byStart.slice(begin, end + 1));
    if (count >= SCAN_TARGETS_IN_HOUR)
      return `its source reached ${plural(count, 'destination and port', 'destinations and ports')} within one hour, each of them only then: like a scan`;
  }
  const oneDay = observed.filter(isRare);
  const single = targets(oneDay);
  if (single >= SCAN_TARGETS_ONE_DAY)
    return `its source reached ${single} destinations and ports on one day each: like a scan`;
  const denied = targets(observed.filter((edge) => !hasPassed(edge)));
  if (denied >= DENIALS && single >= TARGETS_BESIDE_DENIALS)
    return `its source reached ${single} destinations and ports on one day each, and was denied at ${denied}: like a scan`;
  return undefined;
}

import type { Edge } from '../model/edge.ts';
import { endpointNamespace, hasPassed } from '../model/edge.ts';
import type { Evidence } from '../model/evidence.ts';
import type { Inventory, Workload } from '../model/inventory.ts';

/** Fewer sampling units than this say nothing about what recurs. */
export const MIN_UNITS = 3;
const Z_95 = 1.96;

export interface Estimate {
  readonly observed: number;
  /** Edges that exist and were not seen: Chao2, bias-corrected. A lower bound of the mean, by its construction. */
  readonly unseen: number;
  /** Upper bound; how often it holds is measured (docs/evidence.md). */
  readonly unseenUpper: number;
  /** Upper bound of the unseen share of all edges; undefined when nothing was observed. */
  readonly shareUpper: number | undefined;
  /** New edges that one more unit would show, at most: Good-Turing. Undefined without units. */
  readonly freshUpper: number | undefined;
}

/**
 * How many edges are still unseen, from the number of sampling units (days, or runs of a schedule) in which each was seen.
 * Chao2 in its bias-corrected form, which needs no edge seen twice (A. Chao, Biometrics 43, 1987, 783-791; A. Chao in
 * Encyclopedia of Statistical Sciences, 2005), with the variance of R. K. Colwell's EstimateS 9 manual, appendix B, and the
 * interval that is log-normal in the unseen number (Chao 1987). Where the estimate is zero the interval of the same
 * appendix for that case is used. Incidences of zero are passed over.
 *
 * That interval alone is too narrow where few edges were seen once, which is the usual case here: beside them many recur daily. Where any
 * was seen once the upper bound is therefore the largest of three: the interval, the interval had one edge more been seen once, and the
 * exact upper limit of the number seen once, as many new ones a record as long again shows at most.
 */
export function estimateUnseen(incidences: readonly number[], units: number): Estimate {
  const seen = incidences.filter((count) => count > 0);
  const observed = seen.length;
  const once = seen.filter((count) => count === 1).length;
  const twice = seen.filter((count) => count === 2).length;
  const freshUpper = units > 0 ? poissonUpper(once) / units : undefined;
  if (observed === 0) return { observed, unseen: 0, unseenUpper: 0, shareUpper: undefined, freshUpper };
  const shrink = units > 1 ? (units - 1) / units : 1;
  const plain = chao2(once, twice, observed, shrink);
  let unseenUpper = plain.upper;
  if (unseenUpper === undefined) {
    const total = seen.reduce((sum, count) => sum + count, 0);
    const missed = Math.exp(-total / observed);
    unseenUpper = observed / (1 - missed) + (Z_95 * Math.sqrt(observed * missed)) / (1 - missed) - observed;
  }
  if (once > 0)
    unseenUpper = Math.max(unseenUpper, chao2(once + 1, twice, observed + 1, shrink).upper ?? 0, poissonUpper(once));
  return {
    observed,
    unseen: plain.unseen,
    unseenUpper,
    shareUpper: unseenUpper / (observed + unseenUpper),
    freshUpper,
  };
}

/** The estimate, and the upper end of its interval where it is not zero. */
function chao2(
  once: number,
  twice: number,
  observed: number,
  shrink: number,
): { readonly unseen: number; readonly upper: number | undefined } {
  const unseen = (shrink * once * (once - 1)) / (2 * (twice + 1));
  if (unseen === 0) return { unseen, upper: undefined };
  const variance =
    twice > 0
      ? unseen +
        (shrink ** 2 * once * (2 * once - 1) ** 2) / (4 * (twice + 1) ** 2) +
        (shrink ** 2 * once ** 2 * twice * (once - 1) ** 2) / (4 * (twice + 1) ** 4)
      : (shrink * once * (once - 1)) / 2 +
        (shrink ** 2 * once * (2 * once - 1) ** 2) / 4 -
        (shrink ** 2 * once ** 4) / (4 * (observed + unseen));
  return {
    unseen,
    upper: unseen * Math.exp(Z_95 * Math.sqrt(Math.log(1 + Math.max(0, variance) / unseen ** 2))),
  };
}

/** The mean of a Poisson number that would be `count` or less in one case of forty: the upper 97.5% limit. */
export function poissonUpper(count: number): number {
  // Above a hundred the normal approximation of Wilson and Hilferty is exact to four digits.
  if (count > 100) {
    const ninth = 1 / (9 * (count + 1));
    return (count + 1) * (1 - ninth + Z_95 * Math.sqrt(ninth)) ** 3;
  }
  let low = count;
  let high = count + 10 + 5 * Math.sqrt(count + 1);
  for (let round = 0; round < 50; round += 1) {
    const mean = (low + high) / 2;
    let term = Math.exp(-mean);
    let below = term;
    for (let one = 1; one <= count; one += 1) {
      term *= mean / one;
      below += term;
    }
    if (below > 0.025) low = mean;
    else high = mean;
  }
  return (low + high) / 2;
}

export type Direction = 'ingress' | 'egress';

export interface WorkloadCoverage {
  readonly id: string;
  /** What it is sampled by. */
  readonly unit: 'day' | 'run';
  /** Days since it was first seen, or runs seen. */
  readonly units: number;
  readonly observed: number;
  /** Undefined with fewer than three units, and where no edge of this direction was seen. */
  readonly shareUpper: number | undefined;
  readonly answer: 'ok' | 'too-few';
}

export interface Coverage {
  readonly namespace: string;
  readonly direction: Direction;
  /** Days on record; schedules count by their runs. */
  readonly units: number;
  readonly observed: number;
  readonly unseenUpper: number;
  /** Undefined when no workload has enough days or runs; 0 when those that have show no edge in this direction. */
  readonly shareUpper: number | undefined;
  /** New edges that one more day or run would show, at most (Good-Turing); undefined where the share is. */
  readonly freshUpper: number | undefined;
  /** Workloads of the inventory that have been seen at all, in either direction, sorted by id. */
  readonly workloads: readonly WorkloadCoverage[];
}

/**
 * The unseen share of a namespace in one direction. Incidences are pooled over its workloads: edge by UTC day, and edge by run
 * where an end in the namespace runs by a schedule. Edges to be cut and edges never seen to pass are left out, and so is a
 * workload with fewer than three days or runs, which is reported by itself. Workloads that the inventory no longer has, or
 * that were never seen, are the matter of other gates.
 */
export function coverageOf(
  namespace: string,
  direction: Direction,
  edges: readonly Edge[],
  evidence: Evidence,
  inventory: Inventory,
): Coverage {
  const kept = edges.filter((edge) => edge.count > 0 && edge.review !== 'to-be-cut' && passedBySight(edge));
  const firstDays = new Map<string, string>();
  for (const edge of kept)
    for (const end of [edge.src, edge.dst]) {
      const [day] = edge.days;
      if (end.kind !== 'workload' || day === undefined) continue;
      const known = firstDays.get(end.id);
      if (known === undefined || day < known) firstDays.set(end.id, day);
    }

  const byWorkload = new Map<string, Edge[]>();
  for (const edge of kept) {
    const own = direction === 'ingress' ? edge.dst : edge.src;
    if (own.kind !== 'workload' || endpointNamespace(own) !== namespace) continue;
    const list = byWorkload.get(own.id);
    if (list === undefined) byWorkload.set(own.id, [edge]);
    else list.push(edge);
  }

  const pool: number[] = [];
  const workloads: WorkloadCoverage[] = [];
  const scheduled = new Set(inventory.workloads.filter((one) => one.schedule !== undefined).map((one) => one.id));
  let mostUnits = 0;
  let answered = false;
  const members = inventory.workloads.filter((one) => one.namespace === namespace && firstDays.has(one.id));
  for (const workload of [...members].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const own = byWorkload.get(workload.id) ?? [];
    const unit = workload.schedule === undefined ? 'day' : 'run';
    const units = unitsOf(workload, evidence, firstDays.get(workload.id));
    // An edge to a scheduled workload of the same namespace recurs with that one's runs.
    const byRun = (edge: Edge): boolean =>
      [edge.src, edge.dst].some(
        (end) => end.kind === 'workload' && endpointNamespace(end) === namespace && scheduled.has(end.id),
      );
    const incidences = own.map((edge) => (byRun(edge) ? edge.runs.length : edge.days.length));
    const enough = units >= MIN_UNITS;
    workloads.push({
      id: workload.id,
      unit,
      units,
      observed: own.length,
      shareUpper: enough ? estimateUnseen(incidences, units).shareUpper : undefined,
      answer: enough ? 'ok' : 'too-few',
    });
    if (!enough) continue;
    answered = true;
    mostUnits = Math.max(mostUnits, units);
    pool.push(...incidences);
  }
  const estimate = estimateUnseen(pool, mostUnits);
  return {
    namespace,
    direction,
    units: evidence.days.length,
    observed: estimate.observed,
    unseenUpper: estimate.unseenUpper,
    shareUpper: answered ? (estimate.shareUpper ?? 0) : undefined,
    freshUpper: answered ? estimate.freshUpper : undefined,
    workloads,
  };
}

/** A declared edge passes by declaration; here only what was seen counts. */
function passedBySight(edge: Edge): boolean {
  return hasPassed({ verdicts: edge.verdicts, origin: { kind: 'observed' } });
}

function unitsOf(workload: Workload, evidence: Evidence, firstDay: string | undefined): number {
  if (workload.schedule !== undefined) return evidence.runs[workload.id]?.length ?? 0;
  if (firstDay === undefined) return 0;
  return evidence.days.filter((day) => day >= firstDay).length;
}

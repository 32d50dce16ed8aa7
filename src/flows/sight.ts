import type { Edge, EdgeKey, Endpoint, Mtls, Verdict3 } from '../model/edge.ts';
import { edgeId } from '../model/edge.ts';
import type { Flow } from '../model/flow.ts';
import type { Inventory } from '../model/inventory.ts';
import { createAttributor } from './attribute.ts';
import { orient } from './aggregate.ts';
import { dueTimes } from './schedules.ts';

/** A flow with its ends resolved at once, as a watch needs it; folding would lose when it was. */
export interface Sighted {
  readonly key: EdgeKey;
  readonly id: string;
  readonly at: number;
  readonly verdict: Verdict3;
  readonly view: Flow['view'];
  readonly opens: boolean;
  readonly count: number;
  readonly mtls: Mtls;
  readonly source: string;
  /** An end is a pod or an address inside the cluster that the inventory does not know: it may be newer than the inventory. */
  readonly stale: boolean;
}

export interface Sighter {
  /** Undefined for a flow that is no connection of anybody, or whose opener cannot be told. */
  sight(flow: Flow): Sighted | undefined;
  /** A DNS answer. */
  addName(ip: string, name: string): void;
}

/** Resolves flows one by one against an inventory. Pure but for what it remembers of addresses. */
export function createSighter(inventory: Inventory): Sighter {
  const attributor = createAttributor(inventory);
  const known = new Set(inventory.workloads.map((workload) => workload.id));
  return {
    sight(record) {
      const flow = record.initiatorKnown ? record : orient(record, attributor);
      if (flow === undefined) return undefined;
      const src = attributor.attribute(flow.src, flow.first, flow.protocol);
      const dst = attributor.attribute(flow.dst, flow.first, flow.protocol, flow.port);
      if (src.unroutable === true || dst.unroutable === true) return undefined;
      const port = dst.port ?? flow.port;
      // Which edge it was is not known; that somebody was denied is.
      if (port === 0 && flow.verdict !== 'denied') return undefined;
      const key: EdgeKey = {
        src: attributor.settle(src.party, flow.first, flow.last),
        dst: attributor.settle(dst.party, flow.first, flow.last),
        protocol: flow.protocol,
        port,
        ...(flow.l7 === undefined ? {} : { l7: flow.l7 }),
      };
      return {
        key,
        id: edgeId(key),
        at: flow.first,
        verdict: flow.verdict,
        view: flow.view,
        opens: flow.stage === 'open',
        count: flow.count,
        mtls: flow.mtls,
        source: flow.source,
        stale: isStale(key.src, known) || isStale(key.dst, known),
      };
    },
    addName: (ip, name) => attributor.learnName(ip, name),
  };
}

function isStale(end: Endpoint, known: ReadonlySet<string>): boolean {
  // A workload that is not there is the name of a pod, which is all that a record says of a new one.
  return end.kind === 'unknown' || (end.kind === 'workload' && !known.has(end.id));
}

const DAY_MS = 86_400_000;

/** How often an edge connects, as its schedule or its record shows. */
export interface Rhythm {
  /** The longest time between two connections; undefined where the record is too small to tell. */
  readonly cadenceMs?: number;
  /** When a schedule next makes it connect, after a moment. */
  readonly due?: (after: number) => number | undefined;
}

/**
 * The rhythm of an edge. An end that runs by a schedule gives its own. Otherwise the longest run of days without it, where it is not of
 * every day; and on its days, twice the mean time between its connections, as they come in bursts.
 */
export function rhythmOf(edge: Edge, inventory: Inventory): Rhythm {
  for (const end of [edge.src, edge.dst]) {
    if (end.kind !== 'workload') continue;
    const schedule = inventory.workloads.find((workload) => workload.id === end.id)?.schedule;
    if (schedule === undefined) continue;
    const due = dueTimes(schedule, edge.last);
    if (due === undefined) return {};
    return { cadenceMs: due.cadenceMs, due: (after) => dueTimes(schedule, after)?.next };
  }
  if (edge.count < 2 || edge.last <= edge.first) return {};
  const days = edge.days.map((day) => Date.parse(`${day}T00:00:00Z`));
  const gaps = days.slice(1).map((day, index) => day - (days[index] ?? day));
  const longest = Math.max(0, ...gaps);
  if (longest > DAY_MS) return { cadenceMs: longest };
  return { cadenceMs: Math.min(DAY_MS, (2 * (edge.last - edge.first)) / (edge.count - 1)) };
}

import type { Edge, EdgeKey, Mtls, Verdict3 } from '../model/edge.ts';
import { endpointKey, endpointNamespace, formatEdge, formatPort, hasPassed } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import { groupOf } from '../model/object.ts';
import { changeRef, changesNothing } from './change.ts';
import type { Change } from './change.ts';
import type { Step } from './plan.ts';

/** One record of a signal with both ends resolved. Times are milliseconds since the epoch. */
export interface Sighting {
  readonly key: EdgeKey;
  /** edgeId of the key. */
  readonly id: string;
  readonly at: number;
  readonly verdict: Verdict3;
  /** At whose policy it was recorded. */
  readonly view: 'egress' | 'ingress' | 'unknown';
  /** Does it stand for a new connection or request, rather than for one that was there already? */
  readonly opens: boolean;
  readonly count: number;
  readonly mtls: Mtls;
  readonly source: string;
  /** File and byte, or what else finds the record again. */
  readonly where: string;
}

/** A step that was begun or done: what it touches is watched from then on. */
export interface WatchedStep {
  readonly step: Step;
  /** When it was done; while it is under way, when the run began. */
  readonly at: number;
}

/** An edge on record and what is known of its rhythm. */
export interface KnownEdge {
  readonly edge: Edge;
  /** The longest time between two of its connections; undefined where the record is too small to tell. */
  readonly cadenceMs?: number;
  /** When its schedule next makes it connect, after a moment. */
  readonly due?: (after: number) => number | undefined;
  /** Its connection is made once and kept: a new one need not come, though a denied one counts as any other's. */
  readonly kept?: boolean;
}

/** Times of the newest records of an edge since the run began; 0 stands for none. */
interface Seen {
  /** A new connection allowed, as the destination or a neutral observer saw it. */
  readonly in: number;
  /** A new connection let out by the opener's side: proof only while the other side denies none. */
  readonly out: number;
  readonly denied: number;
}

/** An edge that nobody had seen before the run. */
export interface NewCaller extends Seen {
  readonly id: string;
  readonly key: EdgeKey;
  readonly text: string;
  /** Query that selects it, for accept and adopt. */
  readonly query: string;
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly deniedCount: number;
  readonly source: string;
  readonly where: string;
}

/** A record of an edge on record that was denied while the run was on. */
export interface Denial {
  readonly edge: string;
  readonly text: string;
  readonly query: string;
  readonly at: number;
  readonly source: string;
  readonly where: string;
  /** The newest step that touches the edge; absent where no step of the run does. */
  readonly step?: string;
  /** Why it does not pull the run back; absent where it does. */
  readonly spared?: string;
}

/** What the signals have shown so far. Plain JSON, kept with the run. */
export interface SoakMemory {
  /** Edges that the cluster denied before the run already: what is denied of them is not the run's doing. */
  readonly deniedBefore: readonly string[];
  readonly seen: Readonly<Record<string, Seen>>;
  readonly callers: readonly NewCaller[];
  readonly denials: readonly Denial[];
  /** Denied records with an end that could not be told, of pods that the run touches. */
  readonly unattributed: number;
}

export const NO_MEMORY: SoakMemory = { deniedBefore: [], seen: {}, callers: [], denials: [], unattributed: 0 };

/** New callers and denials kept by name: beyond it a scan is under way, and more lines say no more. */
const MAX_LISTED = 200;

/** Does writing this change anything for a connection? Accounts, rights and annotations of a namespace do not. */
export function bearsOnTraffic(change: Change): boolean {
  if (changesNothing(change)) return false;
  const { apiVersion, kind } = changeRef(change);
  if (kind === 'ServiceAccount' || groupOf(apiVersion) === 'rbac.authorization.k8s.io') return false;
  if (kind !== 'Namespace') return true;
  if (change.kind !== 'edit') return false;
  return change.fields.some((field) => field.path[0] !== 'metadata' || field.path[1] !== 'annotations');
}

const OWN_NODE = endpointKey({ kind: 'node' });

/** Can the step change what becomes of this edge? A step of one workload and direction touches that side alone. */
export function touchesEdge(step: Step, edge: Pick<Edge, 'src' | 'dst'>): boolean {
  if (!bearsOnTraffic(step.change)) return false;
  const { apiVersion, namespace, kind } = changeRef(step.change);
  const [src, dst] = [endpointKey(edge.src), endpointKey(edge.dst)];
  // "Traffic to and from the node where a Pod is running is always allowed" (kubernetes.io, Network Policies): no engine tells of probes.
  if (src === OWN_NODE && kind === 'NetworkPolicy' && groupOf(apiVersion) === 'networking.k8s.io') return false;
  if (step.workload !== undefined) {
    if (step.direction === 'ingress') return dst === step.workload;
    if (step.direction === 'egress') return src === step.workload;
    return src === step.workload || dst === step.workload;
  }
  // Cluster-scoped objects act on all namespaces.
  if (namespace === undefined && kind !== 'Namespace') return true;
  const near = new Set([step.namespace, ...(namespace === undefined ? [] : [namespace])]);
  const [from, to] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
  const isNear = (name: string | undefined): boolean => name !== undefined && near.has(name);
  if (step.direction === 'ingress') return isNear(to);
  if (step.direction === 'egress') return isNear(from);
  return isNear(from) || isNear(to);
}

const touches = new WeakMap<readonly WatchedStep[], Map<string, WatchedStep | undefined>>();

/** The newest of the steps that touch the edge. Remembered for one list of steps: it is asked for each record. */
export function lastTouch(steps: readonly WatchedStep[], edge: Pick<Edge, 'src' | 'dst'>): WatchedStep | undefined {
  let known = touches.get(steps);
  if (known === undefined) touches.set(steps, (known = new Map<string, WatchedStep | undefined>()));
  const key = `${endpointKey(edge.src)}\n${endpointKey(edge.dst)}`;
  if (known.has(key)) return known.get(key);
  const found = steps.findLast(({ step }) => touchesEdge(step, edge));
  known.set(key, found);
  return found;
}

function pairOf(key: EdgeKey): string {
  return `${endpointKey(key.src)}\n${endpointKey(key.dst)}\n${key.protocol}`;
}

/** Edges on record by what a sighting can be looked up with. */
export interface KnownEdges {
  readonly all: readonly KnownEdge[];
  readonly byPair: ReadonlyMap<string, readonly KnownEdge[]>;
  /** Destination, protocol and port to which callers outside the cluster are on record. */
  readonly outside: ReadonlySet<string>;
}

export function indexKnown(all: readonly KnownEdge[]): KnownEdges {
  const byPair = new Map<string, KnownEdge[]>();
  const outside = new Set<string>();
  const add = (pair: string, known: KnownEdge): void => {
    const list = byPair.get(pair);
    if (list === undefined) byPair.set(pair, [known]);
    else list.push(known);
  };
  for (const known of all) {
    const { edge } = known;
    add(pairOf(edge), known);
    // A record without the name that an address was asked for by is of that name all the same.
    if (edge.dst.kind === 'external' && edge.dst.name !== undefined && edge.dst.ip !== undefined)
      add(pairOf({ ...edge, dst: { kind: 'external', ip: edge.dst.ip } }), known);
    if (edge.src.kind === 'external') outside.add(`${endpointKey(edge.dst)}\n${edge.protocol}\n${edge.port}`);
  }
  return { all, byPair, outside };
}

function holdsPort(edge: Edge, port: number): boolean {
  return edge.endPort === undefined ? edge.port === port : edge.port <= port && port <= edge.endPort;
}

/**
 * Edges on record that a record is about. A denied request is about the edge of that request; where no request of the pair is on record,
 * about the connection. A denied connection is about everything that goes over it. An allowed connection proves an edge of requests
 * only while no step of the run judges requests.
 */
export function edgesMeant(known: KnownEdges, sighting: Sighting, requestsJudged: boolean): readonly KnownEdge[] {
  const { key } = sighting;
  const all = known.byPair.get(pairOf(key)) ?? [];
  // A record without a port means the only one that the two are known to use.
  const one = new Set(all.map(({ edge }) => edge.port)).size === 1;
  const pair = key.port === 0 ? (one ? all : []) : all.filter(({ edge }) => holdsPort(edge, key.port));
  if (sighting.verdict === 'denied') {
    if (key.l7 === undefined) return pair;
    const same = pair.filter(({ edge }) => edge.l7 === key.l7);
    if (same.length > 0) return same;
    return pair.some(({ edge }) => edge.l7 !== undefined) ? [] : pair;
  }
  return pair.filter(
    ({ edge }) => edge.l7 === undefined || edge.l7 === key.l7 || (key.l7 === undefined && !requestsJudged),
  );
}

/** Rules on requests are written by authorization policies. */
export function judgesRequests(steps: readonly WatchedStep[]): boolean {
  return steps.some(({ step }) => changeRef(step.change).kind === 'AuthorizationPolicy');
}

/** Must this edge keep working: seen to pass or adopted, and not accepted to be cut? */
function mustWork({ edge }: KnownEdge): boolean {
  if (edge.review === 'to-be-cut') return false;
  if (edge.review === 'legitimate') return true;
  return hasPassed(edge) && (edge.origin.kind === 'observed' || edge.origin.strength === 'strong');
}

const ACCEPTED = 'accepted to be cut';

/** Why a denial of an edge on record is none that the run must answer for; undefined where it is. */
function spares(
  known: KnownEdge,
  touch: WatchedStep | undefined,
  deniedBefore: ReadonlySet<string>,
): string | undefined {
  if (known.edge.review === 'to-be-cut') return ACCEPTED;
  if (!mustWork(known)) return 'never seen to pass';
  if (deniedBefore.has(known.edge.id)) return 'denied before this run already';
  return touch === undefined ? 'no step of this run touches it' : undefined;
}

export function edgeQuery(key: EdgeKey): string {
  return `src=${endpointKey(key.src)},dst=${endpointKey(key.dst)},port=${formatPort(key)}`;
}

const merged = (seen: Seen | undefined, sighting: Sighting): Seen => {
  const { in: inside, out, denied } = seen ?? { in: 0, out: 0, denied: 0 };
  if (sighting.verdict === 'denied') return { in: inside, out, denied: Math.max(denied, sighting.at) };
  if (!sighting.opens || sighting.verdict === 'unknown') return { in: inside, out, denied };
  return sighting.view === 'egress'
    ? { in: inside, out: Math.max(out, sighting.at), denied }
    : { in: Math.max(inside, sighting.at), out, denied };
};

/**
 * Adds records to what is known. `since` is when the run began: older records say nothing of it. Order does not matter, and the same
 * records twice change nothing but counts.
 */
export function addSightings(
  memory: SoakMemory,
  sightings: readonly Sighting[],
  known: KnownEdges,
  steps: readonly WatchedStep[],
  since: number,
): SoakMemory {
  if (sightings.length === 0) return memory;
  const seen: Record<string, Seen> = { ...memory.seen };
  const callers = new Map(memory.callers.map((caller) => [caller.id, caller]));
  const denials = new Map(memory.denials.map((denial) => [denial.edge, denial]));
  const deniedBefore = new Set(memory.deniedBefore);
  let { unattributed } = memory;
  const requestsJudged = judgesRequests(steps);
  for (const sighting of sightings) {
    if (sighting.at < since) continue;
    const { key } = sighting;
    const touch = lastTouch(steps, key);
    // Taken down since as a new caller: it becomes an edge that must work when a person says so.
    const meant = edgesMeant(known, sighting, requestsJudged).filter(
      ({ edge }) => edge.review !== 'unreviewed' || !callers.has(edge.id),
    );
    for (const one of meant) {
      const { edge } = one;
      seen[edge.id] = merged(seen[edge.id], sighting);
      if (sighting.verdict !== 'denied') continue;
      const spared = spares(one, touch, deniedBefore);
      // The first denial that counts is the one to be told of.
      const told = denials.get(edge.id);
      if (told !== undefined && (told.spared === undefined || spared !== undefined)) continue;
      if (told === undefined && denials.size >= MAX_LISTED && spared !== undefined) continue;
      denials.set(edge.id, {
        edge: edge.id,
        text: formatEdge(edge),
        query: edgeQuery(edge),
        at: sighting.at,
        source: sighting.source,
        where: sighting.where,
        ...(touch === undefined ? {} : { step: touch.step.id }),
        ...(spared === undefined ? {} : { spared }),
      });
    }
    if (meant.length > 0 || touch === undefined) continue;
    if (key.src.kind === 'unknown' || key.dst.kind === 'unknown' || key.port === 0) {
      if (sighting.verdict === 'denied') unattributed += sighting.count;
      continue;
    }
    // Anybody outside may come to a door that is open to the outside.
    const open = known.outside.has(`${endpointKey(key.dst)}\n${key.protocol}\n${key.port}`);
    if (key.src.kind === 'external' && open && sighting.verdict !== 'denied') continue;
    if (sighting.verdict === 'unknown' || (sighting.verdict !== 'denied' && !sighting.opens)) continue;
    const before = callers.get(sighting.id);
    if (before === undefined && callers.size >= MAX_LISTED) continue;
    callers.set(sighting.id, {
      id: sighting.id,
      key,
      text: formatEdge(key),
      query: edgeQuery(key),
      first: Math.min(before?.first ?? Infinity, sighting.at),
      last: Math.max(before?.last ?? 0, sighting.at),
      count: (before?.count ?? 0) + sighting.count,
      deniedCount: (before?.deniedCount ?? 0) + (sighting.verdict === 'denied' ? sighting.count : 0),
      source: sighting.source,
      where: before?.where ?? sighting.where,
      ...merged(before, sighting),
    });
  }
  return {
    deniedBefore: memory.deniedBefore,
    seen,
    callers: [...callers.values()],
    denials: [...denials.values()],
    unattributed,
  };
}

/** Was a new connection allowed after `since`? */
function passedSince(seen: Seen | undefined, since: number): number | undefined {
  if (seen === undefined) return undefined;
  if (seen.in > since) return seen.in;
  return seen.out > since && seen.denied <= since ? seen.out : undefined;
}

export interface Awaited {
  readonly edge: string;
  readonly text: string;
  /** The moment after which a new connection of it counts. */
  readonly since: number;
  /** When one is to be expected, where its rhythm is known. */
  readonly due?: number;
}

export interface SeenEdge {
  readonly edge: string;
  readonly text: string;
  readonly at: number;
}

export interface SoakView {
  /** Edges that the run touched and that were seen anew. */
  readonly seen: readonly SeenEdge[];
  /** Those that were not. */
  readonly awaited: readonly Awaited[];
  readonly denied: readonly Denial[];
  /** New callers that nobody has decided on. */
  readonly callers: readonly (NewCaller & { readonly state: 'denied' | 'passes' | 'passed-before' })[];
  readonly unattributed: number;
}

/**
 * What the record amounts to. `restart` is the start of the watch that counts where a gap in the signals began it anew: connections
 * before it prove nothing.
 */
export function viewSoak(
  memory: SoakMemory,
  known: KnownEdges,
  steps: readonly WatchedStep[],
  restart: number,
): SoakView {
  const deniedBefore = new Set(memory.deniedBefore);
  const strangers = new Set(memory.callers.map(({ id }) => id));
  const seen: SeenEdge[] = [];
  const awaited: Awaited[] = [];
  for (const one of known.all) {
    const { edge } = one;
    // What configuration declares and nobody has ever seen can't be waited for.
    const observed = edge.origin.kind === 'observed' && (edge.review !== 'unreviewed' || !strangers.has(edge.id));
    const touch = observed && mustWork(one) && !deniedBefore.has(edge.id) ? lastTouch(steps, edge) : undefined;
    if (touch === undefined) continue;
    const since = Math.max(touch.at, restart);
    const at = passedSince(memory.seen[edge.id], since);
    const text = formatEdge(edge);
    if (at !== undefined) {
      seen.push({ edge: edge.id, text, at });
      continue;
    }
    if (one.kept === true) continue;
    const due = one.due?.(since) ?? (one.cadenceMs === undefined ? undefined : since + one.cadenceMs);
    awaited.push({ edge: edge.id, text, since, ...(due === undefined ? {} : { due }) });
  }
  const decided = new Map(known.all.map(({ edge }) => [edge.id, edge.review]));
  const callers = memory.callers
    .filter((caller) => (decided.get(caller.id) ?? 'unreviewed') === 'unreviewed')
    .map((caller) => {
      const touch = Math.max(restart, lastTouch(steps, caller.key)?.at ?? 0);
      const passes = passedSince(caller, touch) !== undefined && caller.denied <= touch;
      const state = passes ? ('passes' as const) : caller.denied > 0 ? ('denied' as const) : ('passed-before' as const);
      return { ...caller, state };
    });
  const denied = memory.denials.map((denial) =>
    decided.get(denial.edge) === 'to-be-cut' ? { ...denial, spared: ACCEPTED } : denial,
  );
  return { seen, awaited, denied, callers, unattributed: memory.unattributed };
}

/** The denial that pulls the run back; the earliest of them. */
export function pullsBack(view: SoakView): Denial | undefined {
  return view.denied
    .filter((denial) => denial.spared === undefined)
    .toSorted((a, b) => a.at - b.at)
    .at(0);
}

/** The `soak` gate at the end of a watch: yes, or one unknown for each thing that keeps it from it. */
export function soakGates(namespace: string, view: SoakView): readonly Gate[] {
  const iso = (time: number): string => new Date(time).toISOString();
  const gates: Gate[] = [];
  for (const { edge, text, since, due } of view.awaited)
    gates.push({
      id: 'soak',
      answer: 'unknown',
      subject: edge,
      facts: [
        text,
        `no new connection of it was seen since ${iso(since)}`,
        ...(due === undefined ? [] : [`to be expected by ${iso(due)}`]),
      ],
      fix: `let it connect, then sallyport resume; or sallyport waive gate=soak,subject=${edge} --reason "..."`,
    });
  for (const caller of view.callers) {
    if (caller.state === 'passes') continue;
    gates.push({
      id: 'soak',
      answer: 'unknown',
      subject: caller.id,
      facts: [
        caller.text,
        caller.state === 'denied'
          ? `a new caller, not on record before this run, is denied (${caller.where})`
          : `a new caller, not on record before this run: seen to pass before the last step, and not since`,
      ],
      fix: `sallyport accept ${caller.query} --reason "..." where it may be cut; otherwise sallyport rollback ${namespace}, observe it, adopt it, advance again`,
    });
  }
  if (view.unattributed > 0)
    gates.push({
      id: 'soak',
      answer: 'unknown',
      subject: `${namespace}/unattributed`,
      facts: [`${view.unattributed} denied records to or from its workloads have an end that could not be told`],
      fix: `find out who it is (the records are in the signals), or sallyport waive gate=soak,subject=${namespace}/unattributed --reason "..."`,
    });
  if (gates.length > 0) return gates;
  return [
    {
      id: 'soak',
      answer: 'yes',
      subject: namespace,
      facts: [`${view.seen.length} edges seen anew after the last step that touches them, none denied`],
      fix: '',
    },
  ];
}

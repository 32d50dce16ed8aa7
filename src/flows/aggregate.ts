import type { AddressHistory, AddressHold } from '../model/address-hold.ts';
import type { Edge, EdgeKey, EdgeView, Mtls, Protocol, Verdict3 } from '../model/edge.ts';
import { edgeId, endpointKey, endpointNamespace } from '../model/edge.ts';
import { mergeDaysSeen } from '../model/edge-merge.ts';
import type { DaySeen, Evidence } from '../model/evidence.ts';
import type { Flow, InputReport } from '../model/flow.ts';
import { isPlausibleTime } from '../model/flow.ts';
import type { Inventory } from '../model/inventory.ts';
import { addCounts } from '../shared/pure/count.ts';
import { compareText, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Attributor, Contradictions, Party } from './attribute.ts';
import { createAttributor } from './attribute.ts';
import { buildEvidence } from './evidence.ts';
import { EPHEMERAL_FIRST, EPHEMERAL_LAST, foldEphemeralPorts } from './fold.ts';
import type { Counts, Tally } from './tally.ts';
import { addToTally, countTally, createTally, createTapNumbers, mergeTally } from './tally.ts';

const DAY_MS = 86_400_000;
/** Distinct operations kept for one port between two parties. Beyond it paths carry identifiers and name no operation. */
export const MAX_OPERATIONS = 64;
/** Principals kept for an edge. */
const MAX_PRINCIPALS = 16;
/** Runs kept for an edge or workload: a run every minute of three weeks. */
const MAX_RUNS = 32_768;

/**
 * Destinations and ports that one source is followed to, beside those that the inventory declares. A pod that somebody else steers can
 * call, or claim to call, anything: beyond this its calls are counted together, as calls to nobody, whatever the order of the records.
 */
export const MAX_TARGETS = 4096;
const TOO_MANY: Party = {
  endpoint: { kind: 'unknown', why: `its source reached more than ${MAX_TARGETS} destinations and ports` },
};
const API_SERVER_PORTS: ReadonlySet<number> = new Set([443, 6443]);

/** What a source reached beside what is declared: each, until there are too many; then all of them together, by protocol. */
interface Reach {
  targets: Set<string> | undefined;
  readonly together: Map<Protocol, Fold>;
}

/** Everything folded for one edge before its parties are settled. */
interface Fold {
  first: number;
  last: number;
  records: number;
  firm: boolean;
  plain: boolean;
  encrypted: boolean;
  /** Recorded at its opener: 1; at the other end: 2. */
  views: number;
  lastPlaintext: number;
  readonly days: Map<number, Tally>;
  readonly runs: Map<string, Tally>;
  readonly principals: Set<string>;
  readonly sources: Set<string>;
  lastDay: number;
  lastTally: Tally | undefined;
}

interface PortFold {
  /** The connections as such. */
  bare: Fold | undefined;
  operations: Map<string, Fold> | undefined;
  /** Too many operations: they all count as the connections themselves. */
  overflowed: boolean;
}

export interface Aggregate {
  readonly edges: readonly Edge[];
  readonly evidence: Evidence;
  /** Who was seen at which address. */
  readonly addresses: readonly AddressHold[];
  readonly contradictions: Contradictions;
}

export interface Aggregator {
  /** Folds one flow. Memory grows with edges, days and runs, never with flows. */
  add(flow: Flow): void;
  /** A DNS answer: names for addresses outside. */
  addName(ip: string, name: string): void;
  /** Settles what was open. `reports` of the inputs that the flows came from. Call once. */
  finish(reports: readonly InputReport[]): Aggregate;
}

/** Folds flows into edges and evidence. The result does not depend on the order of the flows. */
export function createAggregator(inventory: Inventory, history?: AddressHistory): Aggregator {
  const attributor = createAttributor(inventory, history);
  const pairs = new Map<Party, Map<Party, Map<number, PortFold>>>();
  const tapNumber = createTapNumbers();
  const daysSeen = new Set<number>();
  const runsSeen = new Map<string, Set<string>>();
  const dropped = new Map<string, number>();
  let seenDay = -1;

  const noteRun = (party: Party, run: string | undefined): void => {
    if (run === undefined || party.endpoint?.kind !== 'workload') return;
    const { id } = party.endpoint;
    const runs = runsSeen.get(id);
    if (runs === undefined) runsSeen.set(id, new Set([run]));
    else if (runs.size < MAX_RUNS) runs.add(run);
  };

  const reached = new Map<Party, Reach>();
  const isExpected = ({ endpoint }: Party, protocol: Protocol, port: number): boolean =>
    (endpoint?.kind === 'workload' && attributor.declaresPort(endpoint.id, protocol, port)) ||
    (endpoint?.kind === 'api-server' && API_SERVER_PORTS.has(port));
  const togetherOf = ({ together }: Reach, protocol: Protocol): Fold => {
    const known = together.get(protocol);
    if (known !== undefined) return known;
    const made = createFold();
    together.set(protocol, made);
    return made;
  };
  /** The fold of all that a source reached beyond what is kept apart; undefined where this target is kept apart. */
  const beyondReach = (src: Party, dst: Party, protocol: Protocol, port: number): Fold | undefined => {
    if (isExpected(dst, protocol, port)) return undefined;
    let reach = reached.get(src);
    if (reach === undefined) reached.set(src, (reach = { targets: new Set(), together: new Map() }));
    if (reach.targets !== undefined) {
      const { endpoint } = dst;
      // Ports that the kernel chose on one workload are one target: they become one edge.
      const text = endpoint?.kind === 'workload' && isEphemeral(port) ? 'range' : String(port);
      reach.targets.add(`${endpoint === undefined ? (dst.ip ?? '') : endpointKey(endpoint)} ${text}/${protocol}`);
      if (reach.targets.size <= MAX_TARGETS) return undefined;
      reach.targets = undefined;
      for (const [other, byPort] of pairs.get(src) ?? [])
        for (const [key, ports] of byPort) {
          const otherProtocol = PROTOCOLS[key % 4] ?? 'TCP';
          if (isExpected(other, otherProtocol, Math.floor(key / 4))) continue;
          const together = togetherOf(reach, otherProtocol);
          if (ports.bare !== undefined) mergeFold(together, ports.bare);
          for (const operation of ports.operations?.values() ?? []) mergeFold(together, operation);
          byPort.delete(key);
        }
    }
    return togetherOf(reach, protocol);
  };

  const foldOf = (src: Party, dst: Party, protocol: Protocol, port: number, l7: string | undefined): Fold => {
    let bySrc = pairs.get(src);
    if (bySrc === undefined) pairs.set(src, (bySrc = new Map<Party, Map<number, PortFold>>()));
    const portKey = port * 4 + PROTOCOLS.indexOf(protocol);
    let byDst = bySrc.get(dst);
    let ports = byDst?.get(portKey);
    if (ports === undefined) {
      const together = beyondReach(src, dst, protocol, port);
      if (together !== undefined) return together;
      if (byDst === undefined) bySrc.set(dst, (byDst = new Map<number, PortFold>()));
      byDst.set(portKey, (ports = { bare: undefined, operations: undefined, overflowed: false }));
    }
    if (l7 === undefined || ports.overflowed) return (ports.bare ??= createFold());
    ports.operations ??= new Map();
    const known = ports.operations.get(l7);
    if (known !== undefined) return known;
    if (ports.operations.size < MAX_OPERATIONS) {
      const made = createFold();
      ports.operations.set(l7, made);
      return made;
    }
    ports.overflowed = true;
    const bare = (ports.bare ??= createFold());
    for (const operation of ports.operations.values()) mergeFold(bare, operation);
    ports.operations = undefined;
    return bare;
  };

  return {
    add(record) {
      if (!isPlausibleTime(record.first) || !isPlausibleTime(record.last)) {
        dropped.set(UNTIMELY, (dropped.get(UNTIMELY) ?? 0) + (record.records ?? 1));
        return;
      }
      const flow = record.initiatorKnown ? record : orient(record, attributor);
      if (flow === undefined) {
        dropped.set(UNORIENTED, (dropped.get(UNORIENTED) ?? 0) + (record.records ?? 1));
        return;
      }
      const caller = attributor.attribute(flow.src, flow.first, flow.protocol, undefined, flow.last);
      const own = caller.party.endpoint?.kind === 'api-server' ? attributor.fromOwnNode(flow.src, flow.dst) : undefined;
      const src = own === undefined ? caller : { party: own };
      const dst = attributor.attribute(flow.dst, flow.first, flow.protocol, flow.port, flow.last);
      if (src.unroutable === true || dst.unroutable === true) {
        dropped.set(UNROUTABLE, (dropped.get(UNROUTABLE) ?? 0) + (flow.records ?? 1));
        return;
      }
      if (flow.last > flow.first) {
        attributor.sightAgain(flow.src, flow.last);
        attributor.sightAgain(flow.dst, flow.last);
      }
      const port = dst.port ?? flow.port;
      // Zero says that the record names none; whatever else is no port is none either.
      if (!Number.isInteger(port) || port < 1 || port > 65_535) {
        dropped.set(UNPORTED, (dropped.get(UNPORTED) ?? 0) + (flow.records ?? 1));
        return;
      }
      const fold = foldOf(src.party, dst.party, flow.protocol, port, flow.l7);
      const tap = tapNumber(flow.tap);
      const day = Math.floor(flow.last / DAY_MS);
      if (day !== seenDay) {
        daysSeen.add(day);
        seenDay = day;
      }
      fold.records = addCounts(fold.records, flow.records ?? 1);
      if (flow.first < fold.first) fold.first = flow.first;
      if (flow.last > fold.last) fold.last = flow.last;
      if (flow.initiatorKnown) fold.firm = true;
      if (flow.view !== 'unknown') fold.views |= flow.view === 'egress' ? 1 : 2;
      if (flow.mtls === 'no' || flow.mtls === 'mixed') {
        fold.plain = true;
        if (flow.last > fold.lastPlaintext) fold.lastPlaintext = flow.last;
      }
      if (flow.mtls === 'yes' || flow.mtls === 'mixed') fold.encrypted = true;
      if (flow.principal !== undefined) addBounded(fold.principals, flow.principal);
      fold.sources.add(flow.source);

      let tally = fold.lastDay === day ? fold.lastTally : undefined;
      if (tally === undefined) {
        tally = tallyAt(fold.days, day);
        fold.lastDay = day;
        fold.lastTally = tally;
      }
      const firstDay = Math.floor(flow.first / DAY_MS);
      if (firstDay === day || flow.count < 2) addToTally(tally, flow, tap);
      else {
        // A record of several days is sure of its first connection and its last; the others are counted with the last.
        daysSeen.add(firstDay);
        addToTally(tallyAt(fold.days, firstDay), { ...flow, count: 1 }, tap);
        addToTally(tally, { ...flow, count: flow.count - 1 }, tap);
      }
      if (src.run !== undefined) {
        noteRun(src.party, src.run);
        if (fold.runs.size < MAX_RUNS || fold.runs.has(src.run)) addToTally(tallyAt(fold.runs, src.run), flow, tap);
      }
      if (dst.run !== undefined && dst.run !== src.run) {
        noteRun(dst.party, dst.run);
        if (fold.runs.size < MAX_RUNS || fold.runs.has(dst.run)) addToTally(tallyAt(fold.runs, dst.run), flow, tap);
      }
    },
    addName(ip, name) {
      attributor.learnName(ip, name);
    },
    finish(reports) {
      const settled = new Map<string, { key: EdgeKey; readonly fold: Fold }>();
      const settle = (
        src: Party,
        dst: Party,
        protocol: Protocol,
        port: number,
        l7: string | undefined,
        fold: Fold,
        endPort?: number,
      ): void => {
        const key: EdgeKey = {
          src: attributor.settle(src, fold.first, fold.last),
          dst: attributor.settle(dst, fold.first, fold.last),
          protocol,
          port,
          ...(endPort === undefined ? {} : { endPort }),
          ...(l7 === undefined ? {} : { l7 }),
        };
        const id = edgeId(key);
        const known = settled.get(id);
        if (known === undefined) settled.set(id, { key, fold });
        else {
          // One address may be unknown for several reasons: the choice must not hang on the order of the records.
          if (compareText(reasonOf(key), reasonOf(known.key)) < 0) known.key = key;
          mergeFold(known.fold, fold);
        }
      };
      for (const [src, bySrc] of pairs)
        for (const [dst, byDst] of bySrc)
          for (const [portKey, ports] of byDst) {
            const port = Math.floor(portKey / 4);
            const protocol = PROTOCOLS[portKey % 4] ?? 'TCP';
            if (ports.bare !== undefined) settle(src, dst, protocol, port, undefined, ports.bare);
            for (const [l7, fold] of ports.operations ?? []) settle(src, dst, protocol, port, l7, fold);
          }
      pairs.clear();
      for (const [src, { together }] of reached)
        for (const [protocol, fold] of together) settle(src, TOO_MANY, protocol, 1, undefined, fold, 65_535);

      const unattributed = new Map<string, number>(dropped);
      const edges: Edge[] = [];
      const seen: DaySeen[] = [];
      for (const [id, { key, fold }] of settled) {
        noteDays(seen, key, fold);
        for (const end of [key.src, key.dst])
          if (end.kind === 'unknown') unattributed.set(end.why, (unattributed.get(end.why) ?? 0) + fold.records);
        edges.push(buildEdge(id, key, fold));
      }
      const folded = foldEphemeralPorts(edges, (id, protocol, port) => attributor.declaresPort(id, protocol, port));
      return {
        addresses: attributor.sighted(),
        contradictions: attributor.contradictions,
        edges: sortBy(folded, (edge) => edge.id),
        evidence: buildEvidence(reports, {
          days: uniqueSorted([...daysSeen].map(dayText)),
          unattributed: Object.fromEntries([...unattributed].sort(([a], [b]) => compareText(a, b))),
          seen: mergeDaysSeen(seen),
          runs: Object.fromEntries(
            [...runsSeen].sort(([a], [b]) => compareText(a, b)).map(([id, runs]) => [id, uniqueSorted(runs)]),
          ),
        }),
      };
    },
  };
}

const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];
const UNTIMELY = 'its time is before 2000 or after 2100';
const UNROUTABLE = 'a multicast, broadcast or loopback address';
const UNPORTED = 'the record names no port, and the inventory leaves several open';
const UNORIENTED = 'the record does not say which side opened the connection';

/**
 * The record turned so that `src` opened the connection, by its ports: a port that a workload declares, else one below 1024,
 * else the lower one belongs to the server. Undefined where the ports do not tell either.
 */
export function orient(flow: Flow, attributor: Attributor): Flow | undefined {
  const { srcPort, port } = flow;
  if (srcPort === undefined) return flow;
  const declares = (end: Flow['src'], number: number): boolean => {
    const { endpoint } = attributor.attribute(end, flow.first, flow.protocol, number).party;
    return endpoint?.kind === 'workload' && attributor.declaresPort(endpoint.id, flow.protocol, number);
  };
  const here = declares(flow.dst, port);
  const there = declares(flow.src, srcPort);
  if (here !== there) return here ? flow : turn(flow, srcPort);
  if (port < 1024 !== srcPort < 1024) return port < 1024 ? flow : turn(flow, srcPort);
  if (port === srcPort) return undefined;
  return port < srcPort ? flow : turn(flow, srcPort);
}

function turn(flow: Flow, srcPort: number): Flow {
  return { ...flow, src: flow.dst, dst: flow.src, port: srcPort, srcPort: flow.port, reply: true, stage: 'ongoing' };
}

/** Denied and unknown records show as well as any that the source was there to record. */
function noteDays(into: DaySeen[], key: EdgeKey, fold: Fold): void {
  const namespaces = new Set(['']);
  for (const end of [key.src, key.dst]) {
    const namespace = endpointNamespace(end);
    if (namespace !== undefined) namespaces.add(namespace);
  }
  for (const number of fold.days.keys()) {
    const day = dayText(number);
    const first = Math.max(fold.first, number * DAY_MS);
    const last = Math.min(fold.last, (number + 1) * DAY_MS - 1);
    for (const source of fold.sources)
      for (const namespace of namespaces) into.push({ source, namespace, day, first, last });
  }
}

function reasonOf(key: EdgeKey): string {
  return [key.src, key.dst].map((end) => (end.kind === 'unknown' ? end.why : '')).join('\n');
}

function createFold(): Fold {
  return {
    first: Infinity,
    last: -Infinity,
    records: 0,
    firm: false,
    plain: false,
    encrypted: false,
    views: 0,
    lastPlaintext: -Infinity,
    days: new Map(),
    runs: new Map(),
    principals: new Set(),
    sources: new Set(),
    lastDay: -1,
    lastTally: undefined,
  };
}

function mergeFold(into: Fold, from: Fold): void {
  into.first = Math.min(into.first, from.first);
  into.last = Math.max(into.last, from.last);
  into.records = addCounts(into.records, from.records);
  into.firm ||= from.firm;
  into.plain ||= from.plain;
  into.encrypted ||= from.encrypted;
  into.views |= from.views;
  into.lastPlaintext = Math.max(into.lastPlaintext, from.lastPlaintext);
  for (const [day, tally] of from.days) mergeTally(tallyAt(into.days, day), tally);
  for (const [run, tally] of from.runs) mergeTally(tallyAt(into.runs, run), tally);
  for (const principal of from.principals) addBounded(into.principals, principal);
  for (const source of from.sources) into.sources.add(source);
}

/** The alphabetically first few, so that the order of arrival does not show. */
function addBounded(set: Set<string>, item: string): void {
  set.add(item);
  if (set.size <= MAX_PRINCIPALS) return;
  let last = item;
  for (const one of set) if (compareText(one, last) > 0) last = one;
  set.delete(last);
}

function tallyAt<K>(map: Map<K, Tally>, key: K): Tally {
  let tally = map.get(key);
  if (tally === undefined) map.set(key, (tally = createTally()));
  return tally;
}

function dayText(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

function passes(counts: Counts): boolean {
  return counts.allowed + counts.audit + counts.unknown > 0;
}

function buildEdge(id: string, key: EdgeKey, fold: Fold): Edge {
  const total: Record<Verdict3, number> = { allowed: 0, denied: 0, audit: 0, unknown: 0 };
  const days: string[] = [];
  for (const [day, tally] of fold.days) {
    const counts = countTally(tally);
    for (const verdict of VERDICTS) total[verdict] = addCounts(total[verdict], counts[verdict]);
    if (passes(counts)) days.push(dayText(day));
  }
  const runs: string[] = [];
  for (const [run, tally] of fold.runs) if (passes(countTally(tally))) runs.push(run);
  const verdicts = Object.fromEntries(VERDICTS.flatMap((one) => (total[one] > 0 ? [[one, total[one]]] : [])));
  const mtls: Mtls = fold.plain ? (fold.encrypted ? 'mixed' : 'no') : fold.encrypted ? 'yes' : 'unknown';
  return {
    ...key,
    id,
    count: VERDICTS.reduce((sum, verdict) => addCounts(sum, total[verdict]), 0),
    first: fold.first,
    last: fold.last,
    verdicts,
    days: uniqueSorted(days),
    runs: uniqueSorted(runs),
    sources: uniqueSorted(fold.sources),
    principals: uniqueSorted(fold.principals),
    mtls,
    ...(fold.lastPlaintext === -Infinity ? {} : { lastPlaintext: fold.lastPlaintext }),
    ...(fold.firm ? {} : { guessedDirection: true }),
    ...(fold.views === 0 ? {} : { views: VIEWS.filter((_, bit) => (fold.views & (1 << bit)) !== 0) }),
    origin: { kind: 'observed' },
    review: 'unreviewed',
  };
}

function isEphemeral(port: number): boolean {
  return port >= EPHEMERAL_FIRST && port <= EPHEMERAL_LAST;
}

const VERDICTS: readonly Verdict3[] = ['allowed', 'denied', 'audit', 'unknown'];
const VIEWS: readonly EdgeView[] = ['egress', 'ingress'];

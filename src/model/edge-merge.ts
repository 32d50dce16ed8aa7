import { canonicalJson } from '../shared/pure/json.ts';
import { addCounts } from '../shared/pure/count.ts';
import { compareText, sortBy } from '../shared/pure/order.ts';
import type { Edge, EdgeOrigin, Endpoint, Mtls, Review, Verdict3 } from './edge.ts';
import { endpointKey, formatEdge } from './edge.ts';
import type { DaySeen, Evidence, Gap, SourceRecord } from './evidence.ts';

/**
 * Two records of one edge as one. Commutative and associative, so that the order of imports never shows. Counts and verdicts
 * are summed: the caller makes sure that the same records are not given twice.
 * Throws when the two are not the same edge.
 */
export function mergeEdge(a: Edge, b: Edge): Edge {
  if (a.id !== b.id || keyText(a) !== keyText(b))
    throw new Error(`two edges cannot be merged: ${a.id} ${formatEdge(a)} and ${b.id} ${formatEdge(b)}`);
  const verdicts = mergeVerdicts(a.verdicts, b.verdicts);
  const lastPlaintext = later(a.lastPlaintext, b.lastPlaintext);
  return {
    id: a.id,
    src: mergeEndpoint(a.src, b.src),
    dst: mergeEndpoint(a.dst, b.dst),
    protocol: a.protocol,
    port: a.port,
    ...(a.endPort === undefined ? {} : { endPort: a.endPort }),
    ...(a.l7 === undefined ? {} : { l7: a.l7 }),
    count: addCounts(a.count, b.count),
    first: Math.min(a.first, b.first),
    last: Math.max(a.last, b.last),
    verdicts,
    days: union(a.days, b.days),
    runs: union(a.runs, b.runs),
    sources: union(a.sources, b.sources),
    principals: union(a.principals, b.principals),
    mtls: mergeMtls(a.mtls, b.mtls),
    ...(lastPlaintext === undefined ? {} : { lastPlaintext }),
    // One record that shows the direction settles it for the edge.
    ...(a.guessedDirection === true && b.guessedDirection === true ? { guessedDirection: true } : {}),
    ...(a.views === undefined && b.views === undefined ? {} : { views: union(a.views ?? [], b.views ?? []) }),
    origin: mergeOrigin(a.origin, b.origin, verdicts),
    review: mergeReview(a.review, b.review),
  };
}

/** What backs two sets of records as one. Commutative and associative; counts are summed. */
export function mergeEvidence(a: Evidence, b: Evidence): Evidence {
  const first = earlier(a.first, b.first);
  const last = later(a.last, b.last);
  return {
    sources: mergeSources([...a.sources, ...b.sources]),
    days: union(a.days, b.days),
    ...(first === undefined ? {} : { first }),
    ...(last === undefined ? {} : { last }),
    unattributed: mergeEntries(a.unattributed, b.unattributed, addCounts),
    runs: mergeEntries(a.runs, b.runs, union),
    ...(a.seen === undefined && b.seen === undefined
      ? {}
      : { seen: mergeDaysSeen([...(a.seen ?? []), ...(b.seen ?? [])]) }),
    ...(a.gaps === undefined && b.gaps === undefined ? {} : { gaps: sortGaps([...(a.gaps ?? []), ...(b.gaps ?? [])]) }),
  };
}

/** By source, time and reason; each once. */
export function sortGaps(gaps: Iterable<Gap>): readonly Gap[] {
  const byKey = new Map<string, Gap>();
  for (const gap of gaps) {
    const time = (value: number): string => String(value).padStart(16, '0');
    byKey.set(`${gap.source}\n${time(gap.from)}\n${time(gap.to)}\n${gap.why}`, gap);
  }
  return sortBy(byKey, ([key]) => key).map(([, gap]) => gap);
}

/** One entry for each source, namespace and day, sorted. */
export function mergeDaysSeen(entries: Iterable<DaySeen>): readonly DaySeen[] {
  const byKey = new Map<string, DaySeen>();
  for (const entry of entries) {
    const key = `${entry.source}\n${entry.namespace}\n${entry.day}`;
    const known = byKey.get(key);
    byKey.set(
      key,
      known === undefined
        ? entry
        : { ...known, first: Math.min(known.first, entry.first), last: Math.max(known.last, entry.last) },
    );
  }
  return sortBy(byKey, ([key]) => key).map(([, entry]) => entry);
}

/** One record per source, sorted by name. Sampling is the coarsest of them: the figure that claims least. */
export function mergeSources(records: Iterable<SourceRecord>): readonly SourceRecord[] {
  const bySource = new Map<string, SourceRecord>();
  for (const record of records) {
    const known = bySource.get(record.source);
    bySource.set(
      record.source,
      known === undefined
        ? record
        : {
            source: record.source,
            first: Math.min(known.first, record.first),
            last: Math.max(known.last, record.last),
            records: addCounts(known.records, record.records),
            lost: addCounts(known.lost, record.lost),
            bad: addCounts(known.bad, record.bad),
            ignored: addCounts(known.ignored, record.ignored),
            sampledOneIn: Math.max(known.sampledOneIn, record.sampledOneIn),
          },
    );
  }
  return sortBy(bySource.values(), (record) => record.source);
}

function keyText(edge: Edge): string {
  return JSON.stringify([
    endpointKey(edge.src),
    endpointKey(edge.dst),
    edge.protocol,
    edge.port,
    edge.endPort ?? null,
    edge.l7 ?? null,
  ]);
}

/** Endpoints of one key may differ in detail (the address behind a DNS name): an address is kept, the lowest of several. */
function mergeEndpoint(a: Endpoint, b: Endpoint): Endpoint {
  if (a.kind === 'workload' && b.kind === 'workload') return a;
  const rank = (endpoint: Endpoint): string => `${'ip' in endpoint ? 0 : 1}${canonicalJson({ ...endpoint })}`;
  return compareText(rank(a), rank(b)) <= 0 ? a : b;
}

function mergeVerdicts(a: Edge['verdicts'], b: Edge['verdicts']): Edge['verdicts'] {
  const out: Partial<Record<Verdict3, number>> = {};
  for (const verdict of ['allowed', 'denied', 'audit', 'unknown'] as const) {
    const count = addCounts(a[verdict] ?? 0, b[verdict] ?? 0);
    if (count > 0) out[verdict] = count;
  }
  return out;
}

/** What was seen: `unknown` adds nothing, and yes beside no is mixed. */
function mergeMtls(a: Mtls, b: Mtls): Mtls {
  if (a === b || b === 'unknown') return a;
  return a === 'unknown' ? b : 'mixed';
}

const REVIEW_ORDER: readonly Review[] = ['unreviewed', 'legitimate', 'to-be-cut'];

function mergeReview(a: Review, b: Review): Review {
  return REVIEW_ORDER.indexOf(a) >= REVIEW_ORDER.indexOf(b) ? a : b;
}

/**
 * Once a connection has passed the edge is an observed one. Until then a declaration keeps it standing: denied records beside
 * a declared edge take nothing from it. Of two declarations the stronger holds.
 */
function mergeOrigin(a: EdgeOrigin, b: EdgeOrigin, verdicts: Edge['verdicts']): EdgeOrigin {
  const passed = (verdicts.allowed ?? 0) + (verdicts.audit ?? 0) + (verdicts.unknown ?? 0);
  if (passed > 0) return { kind: 'observed' };
  if (a.kind === 'observed') return b;
  if (b.kind === 'observed') return a;
  const rank = (origin: { strength: string; by: string }): string =>
    `${origin.strength === 'strong' ? 0 : 1}${origin.by}`;
  return compareText(rank(a), rank(b)) <= 0 ? a : b;
}

function union<T extends string>(a: readonly T[], b: readonly T[]): readonly T[] {
  return [...new Set([...a, ...b])].sort(compareText);
}

function mergeEntries<T>(
  a: Readonly<Record<string, T>>,
  b: Readonly<Record<string, T>>,
  merge: (x: T, y: T) => T,
): Readonly<Record<string, T>> {
  const out = new Map(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const known = out.get(key);
    out.set(key, known === undefined ? value : merge(known, value));
  }
  return Object.fromEntries(sortBy(out, ([key]) => key));
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b);
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.max(a, b);
}

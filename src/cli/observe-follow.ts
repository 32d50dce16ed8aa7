import { createHash } from 'node:crypto';
import { openState } from '../../state/open.ts';
import type { WritableState } from '../../state/open.ts';
import type { ImportResult } from '../../state/writer.ts';
import type { Aggregator } from '../flows/aggregate.ts';
import { createAggregator } from '../flows/aggregate.ts';
import type { Contradictions } from '../flows/attribute.ts';
import type { Clock } from '../engine/contract.ts';
import type { Gap } from '../model/evidence.ts';
import type { Flow, InputReport } from '../model/flow.ts';
import type { Inventory } from '../model/inventory.ts';
import { EXIT, isFailure } from '../shared/pure/errors.ts';
import type { Json } from '../shared/pure/json.ts';
import { asNumber, asObject } from '../shared/pure/json.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Feed, FeedEvent } from '../sources/feed.ts';
import { CONNECTION_LOST } from '../sources/feed.ts';
import type { FlowSource } from '../sources/flow-source.ts';
import { CLOCK_OFF_MS, sayContradictions } from './commands/observe.ts';
import type { App } from './context.ts';
import { loadAll } from './load.ts';

/** How long records are folded before their edges are put on record. */
const BATCH_MS = 30_000;
/** How long a batch may wait while another process writes to the state, and how much may be read meanwhile. */
const LATE_MS = 600_000;
const BATCH_BYTES = 256 * 1024 * 1024;
/** How soon the state is tried again. */
const RETRY_MS = 1_000;
/** Pieces below this are read by the plain reader: threads and their memory are for more. */
const LARGE_BYTES = 1 << 20;
/** How often a cluster may be read again for pods that are newer: at most, and by the time that it takes. */
const REREAD_MS = 300_000;
const REREAD_SHARE = 20;
/** Names of addresses that are remembered from one batch to the next. */
const MAX_NAMES = 100_000;

const END_OF_FEED = 'the end of what was followed';
const TIME_IS_UP = 'the time given';
const INTERRUPTED = 'Ctrl-C';

export interface FollowRequest {
  readonly source: FlowSource;
  /** What is followed, for the record: the source and its inputs. The position is kept under it. */
  readonly key: string;
  /** What is followed, from the position where an earlier following ended. */
  readonly open: (position: Json | undefined, signal: AbortSignal) => Feed;
  readonly badRecords: 'abort' | 'skip';
  /** Milliseconds after which to end; undefined: until Ctrl-C, or until what is followed ends. */
  readonly forMs?: number;
  readonly clock: Clock;
  /** Hears of every record as it is read, and where it stood. */
  readonly onFlow?: (flow: Flow, where: string) => void;
}

interface Batch {
  readonly aggregator: Aggregator;
  readonly since: number;
  readonly hash: ReturnType<typeof createHash>;
  report: InputReport;
}

/**
 * Reads what comes until it ends, Ctrl-C or `forMs`, and puts edges on record batch by batch, each with the position up to which it was
 * read: what is on record is never read again, and what is not is. Memory grows with the edges of a batch. Another process may write to
 * the state in between. Returns the exit code.
 */
export async function followFlows(app: App, request: FollowRequest): Promise<number> {
  return app.interrupt.during(() => follow(app, request));
}

async function follow(app: App, request: FollowRequest): Promise<number> {
  const { source, key, clock } = request;
  const { output } = app;
  const { reader } = await app.state();
  const stored = reader.follow(key)?.position;
  let before = stored;
  let newest = asNumber(asObject(stored)['newest']);
  let feedPosition: Json | undefined = stored === undefined ? undefined : asObject(stored)['feed'];

  const startedAt = clock.now();
  const stop = new AbortController();
  let ended: string = END_OF_FEED;
  const onInterrupt = (): void => {
    ended = INTERRUPTED;
    stop.abort(new Error('stopped'));
  };
  if (app.interrupt.signal.aborted) onInterrupt();
  else app.interrupt.signal.addEventListener('abort', onInterrupt, { once: true });
  if (request.forMs !== undefined)
    clock.sleep(request.forMs, stop.signal).then(
      () => {
        ended = TIME_IS_UP;
        stop.abort(new Error('stopped'));
      },
      () => undefined,
    );

  const inventories = await openInventories(app, clock);
  const isCluster = (await app.target()).kind === 'cluster';
  const { path, target } = await app.stateFile();
  const names = new Map<string, string>();
  const edgeIds = new Set<string>();
  const unattributed = new Map<string, number>();
  let contradictions: Contradictions = { pods: 0, skew: new Map() };
  const gaps: Gap[] = [];
  let openGaps: { readonly from: number; readonly why: string }[] = [];
  let closed: Gap[] = [];
  let total: InputReport | undefined;
  let batch: Batch | undefined;
  let batches = 0;
  let added = 0;
  let again = 0;
  let isTold = false;

  const close = (gap: Gap): void => {
    closed.push(gap);
    gaps.push(gap);
    output.note(
      `a gap: nothing of ${source.name} from ${isoTime(gap.from)} to ${isoTime(gap.to)}: ${safeText(gap.why)}`,
    );
  };

  const openBatch = async (): Promise<Batch> => {
    const aggregator = createAggregator(await inventories.current(), reader.addresses());
    for (const [ip, name] of names) aggregator.addName(ip, name);
    return { aggregator, since: clock.now(), hash: createHash('sha256'), report: emptyReport(source.name, key) };
  };

  const take = async (event: FeedEvent): Promise<void> => {
    switch (event.kind) {
      case 'note':
        output.note(safeText(event.text));
        return;
      case 'again':
        again += event.count;
        return;
      case 'gap': {
        const from = event.from ?? newest ?? startedAt;
        if (event.to !== undefined) close({ source: source.name, from, to: Math.max(from, event.to), why: event.why });
        else openGaps.push({ from, why: event.why });
        return;
      }
      case 'lines': {
        batch ??= await openBatch();
        const { aggregator } = batch;
        batch.hash.update(event.bytes);
        const report = await readLines(source, event, request, aggregator, names, {
          isFirst: total === undefined && stored === undefined,
          // A line that carries no time of its own came now, unless it stood in a file.
          ...(event.name === '-' ? { now: clock.now() } : {}),
          // A directory of manifests has a clock of its own: its records may be of any time.
          ...(isCluster ? { latest: clock.now() + CLOCK_OFF_MS } : {}),
        });
        batch.report = mergeReports(batch.report, report);
        total = mergeReports(total ?? emptyReport(source.name, key), report);
        feedPosition = event.position;
        if (report.last !== undefined) newest = Math.max(newest ?? -Infinity, Math.min(report.last, clock.now()));
        if (report.first !== undefined) {
          for (const gap of openGaps) close({ source: source.name, ...gap, to: Math.max(gap.from, report.first) });
          openGaps = [];
        }
      }
    }
  };

  /** True where the batch is on record. `patient`: waits for another process that writes to the state. */
  const commit = async (patient: boolean): Promise<boolean> => {
    if (batch === undefined && closed.length === 0) return true;
    let state: WritableState;
    for (;;) {
      try {
        state = openState(path, { target, mode: 'write', create: true });
        break;
      } catch (error) {
        if (!isFailure(error) || error.detail.code !== 'SP508') throw error;
        if (!patient) return false;
        if (!isTold)
          output.note(
            `another sallyport writes to the state: waiting for it with ${plural(batch?.report.records ?? 0, 'record')}${stop.signal.aborted ? '; Ctrl-C again leaves them for the next time' : ''}`,
          );
        isTold = true;
        await clock.sleep(RETRY_MS);
      }
    }
    isTold = false;
    try {
      const done = batch;
      const folded = done?.aggregator.finish([done.report]);
      const position: Json = { newest: newest ?? null, feed: feedPosition ?? null };
      const at = clock.now();
      const result: ImportResult = state.writer.importEdges({
        inputs:
          done === undefined
            ? []
            : [{ ...importOf(done.report), sha256: digestOf(key, position, done.hash), name: key, at }],
        edges: folded?.edges ?? [],
        ...(folded === undefined ? {} : { addresses: folded.addresses }),
        evidence: {
          ...(folded?.evidence ?? { days: [], unattributed: {}, runs: {} }),
          ...(closed.length === 0 ? {} : { gaps: closed }),
        },
        follow: { key, source: source.name, at, position, before },
      });
      before = position;
      batch = undefined;
      closed = [];
      batches += 1;
      added += result.added;
      for (const edge of folded?.edges ?? []) edgeIds.add(edge.id);
      if (folded !== undefined) contradictions = addContradictions(contradictions, folded.contradictions);
      for (const [why, count] of Object.entries(folded?.evidence.unattributed ?? {}))
        unattributed.set(why, (unattributed.get(why) ?? 0) + count);
      return true;
    } finally {
      state.close();
    }
  };

  output.note(
    `following ${safeText(key)}${stored === undefined ? '' : `, from where the last time ended${newest === undefined ? '' : ` (${isoTime(newest)})`}`}; Ctrl-C ends it, and what was read is kept`,
  );
  const iterator = request.open(feedPosition, stop.signal)[Symbol.asyncIterator]();
  let fault: unknown;
  try {
    let pending = iterator.next();
    const stopped = new Promise<'stopped'>((resolve) => {
      if (stop.signal.aborted) resolve('stopped');
      stop.signal.addEventListener('abort', () => resolve('stopped'), { once: true });
    });
    for (;;) {
      const wait: number | undefined =
        batch === undefined && closed.length === 0
          ? undefined
          : Math.max(0, (batch?.since ?? 0) + BATCH_MS - clock.now());
      const next = await firstOf(clock, wait, [pending, stopped]);
      if (next === 'stopped') break;
      if (next !== 'due') {
        if (next.done === true) break;
        await take(next.value);
      }
      const size = batch?.report.bytes ?? 0;
      const age = clock.now() - (batch?.since ?? clock.now());
      if (size >= BATCH_BYTES || age >= BATCH_MS || (batch === undefined && closed.length > 0)) {
        if (!(await commit(size >= BATCH_BYTES || age >= LATE_MS))) await pause(clock, stop.signal);
        else
          output.progress(
            `${plural(total?.records ?? 0, 'record')} so far, ${plural(edgeIds.size, 'edge')}${gaps.length === 0 ? '' : `, ${plural(gaps.length, 'gap')}`}, until ${isoTime(newest ?? startedAt)}`,
          );
      }
      if (next !== 'due') pending = iterator.next();
    }
  } catch (error) {
    fault = error;
  } finally {
    app.interrupt.signal.removeEventListener('abort', onInterrupt);
    if (!stop.signal.aborted) stop.abort(new Error('over'));
    // Not awaited: it may wait for input that never comes.
    void iterator.return?.().catch(() => undefined);
  }
  // A line that was refused takes its batch with it, which cannot be told apart from it; a connection that is lost takes nothing.
  if (fault === undefined || isConnectionLost(fault)) {
    for (const gap of openGaps) close({ source: source.name, ...gap, to: Math.max(gap.from, clock.now()) });
    await commit(true);
  }
  if (fault !== undefined) {
    if (batches > 0) output.note(`what was put on record before stays there: ${plural(edgeIds.size, 'edge')}`);
    throw fault as Error;
  }
  report(app, request, {
    total: total ?? emptyReport(source.name, key),
    ended,
    batches,
    added,
    edges: edgeIds.size,
    again,
    gaps,
    unattributed: Object.fromEntries([...unattributed].sort(([a], [b]) => (a < b ? -1 : 1))),
  });
  sayContradictions(app, contradictions);
  return ended === INTERRUPTED && request.forMs !== undefined ? EXIT.cancelled : EXIT.done;
}

function addContradictions(a: Contradictions, b: Contradictions): Contradictions {
  const skew = new Map(a.skew);
  for (const [node, ms] of b.skew) skew.set(node, Math.max(skew.get(node) ?? 0, ms));
  const example = a.example ?? b.example;
  return { pods: a.pods + b.pods, ...(example === undefined ? {} : { example }), skew };
}

interface Outcome {
  readonly total: InputReport;
  readonly ended: string;
  readonly batches: number;
  readonly added: number;
  readonly edges: number;
  readonly again: number;
  readonly gaps: readonly Gap[];
  readonly unattributed: Readonly<Record<string, number>>;
}

function report(app: App, request: FollowRequest, outcome: Outcome): void {
  const { output } = app;
  const { source } = request;
  const { total, gaps } = outcome;
  output.document('Observation', {
    source: source.name,
    inputs: [total],
    records: total.records,
    lost: total.lost,
    bad: total.bad,
    edges: { added: outcome.added, updated: outcome.edges - outcome.added },
    alreadyImported: [],
    unattributed: outcome.unattributed,
    follow: {
      ended: outcome.ended,
      batches: outcome.batches,
      again: outcome.again,
      gaps: gaps.map((gap) => ({ from: isoTime(gap.from), to: isoTime(gap.to), why: gap.why })),
    },
  });
  output.line(
    `${plural(total.records, 'record')} of ${source.name} folded into ${plural(outcome.edges, 'edge')}: ${outcome.added} new, ${outcome.edges - outcome.added} seen again; ended by ${outcome.ended}`,
  );
  if (outcome.again > 0) output.line(`on record already, so not counted again: ${plural(outcome.again, 'record')}`);
  for (const [why, count] of Object.entries(total.ignored))
    output.line(`not a connection: ${plural(count, 'record')}, ${safeText(why)}`);
  if (total.lost > 0) output.line(`${total.lost} records lost by the source itself`);
  if (total.bad > 0)
    output.line(`${total.bad} malformed records skipped; the first: ${safeText(total.firstBad ?? '?')}`);
  for (const gap of gaps) output.line(`a gap from ${isoTime(gap.from)} to ${isoTime(gap.to)}: ${safeText(gap.why)}`);
  for (const [why, count] of Object.entries(outcome.unattributed))
    output.line(`unattributed: ${plural(count, 'record')}, ${safeText(why)}`);
}

/** Who holds which address, read again now and then where it is a cluster that is asked. */
async function openInventories(app: App, clock: Clock): Promise<{ readonly current: () => Promise<Inventory> }> {
  const loaded = await loadAll(app, { kind: 'none' });
  const target = await app.target();
  let { inventory } = loaded;
  let readAt = clock.now();
  let took = 0;
  return {
    async current() {
      const age = clock.now() - readAt;
      if (target.kind !== 'cluster' || age < Math.max(REREAD_MS, REREAD_SHARE * took)) return inventory;
      const begun = clock.now();
      try {
        inventory = loaded.rebuild(await target.readSnapshot(() => undefined));
      } catch (error) {
        if (!isFailure(error)) throw error;
        // The record goes on with what is known; addresses that are newer stay unattributed, and are counted.
        app.output.note(`the cluster could not be read again: ${error.message}`);
      }
      readAt = clock.now();
      took = readAt - begun;
      return inventory;
    },
  };
}

/** Whole lines through the source's own reader. Lines none of which is a record are so many bad ones, once others have been read. */
async function readLines(
  source: FlowSource,
  event: Extract<FeedEvent, { kind: 'lines' }>,
  request: FollowRequest,
  aggregator: Aggregator,
  names: Map<string, string>,
  more: { readonly isFirst: boolean; readonly now?: number; readonly latest?: number },
): Promise<InputReport> {
  const { columns, bytes, name } = event;
  try {
    return await source.read(
      {
        name,
        async *open() {
          if (columns !== undefined) yield await Promise.resolve(columns);
          yield await Promise.resolve(bytes);
        },
      },
      {
        flow: (flow) => {
          aggregator.add(flow);
          request.onFlow?.(flow, name);
        },
        name: (ip, known) => {
          aggregator.addName(ip, known);
          if (names.size < MAX_NAMES) names.set(ip, known);
        },
      },
      {
        badRecords: request.badRecords,
        // Folding in bulk leaves nobody single records to hear of.
        fold: bytes.byteLength >= LARGE_BYTES && request.onFlow === undefined,
        ...(more.now === undefined ? {} : { now: more.now }),
        ...(more.latest === undefined ? {} : { latest: more.latest }),
      },
    );
  } catch (error) {
    if (!isFailure(error) || error.detail.code !== 'SP244' || request.badRecords === 'abort' || more.isFirst)
      throw error;
    const bad = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      .toString('latin1')
      .split('\n')
      .filter((line) => line.trim() !== '').length;
    return { ...emptyReport(source.name, name), bytes: bytes.byteLength, lines: bad, bad, firstBad: error.message };
  }
}

function emptyReport(source: string, input: string): InputReport {
  return { source, input, sha256: '', bytes: 0, lines: 0, records: 0, lost: 0, bad: 0, ignored: {} };
}

function mergeReports(a: InputReport, b: InputReport): InputReport {
  const ignored = new Map(Object.entries(a.ignored));
  for (const [why, count] of Object.entries(b.ignored)) ignored.set(why, (ignored.get(why) ?? 0) + count);
  const first = Math.min(a.first ?? Infinity, b.first ?? Infinity);
  const last = Math.max(a.last ?? -Infinity, b.last ?? -Infinity);
  const sampled = Math.max(a.sampledOneIn ?? 1, b.sampledOneIn ?? 1);
  const firstBad = a.firstBad ?? b.firstBad;
  return {
    source: a.source,
    input: a.input,
    sha256: '',
    bytes: a.bytes + b.bytes,
    lines: a.lines + b.lines,
    records: a.records + b.records,
    lost: a.lost + b.lost,
    bad: a.bad + b.bad,
    ...(sampled === 1 ? {} : { sampledOneIn: sampled }),
    ignored: Object.fromEntries([...ignored].sort(([x], [y]) => (x < y ? -1 : 1))),
    ...(first === Infinity ? {} : { first, last }),
    ...(firstBad === undefined ? {} : { firstBad }),
  };
}

function importOf(
  one: InputReport,
): Omit<Parameters<WritableState['writer']['importEdges']>[0]['inputs'][number], 'sha256' | 'name' | 'at'> {
  return {
    source: one.source,
    ...(one.first === undefined ? {} : { first: one.first }),
    ...(one.last === undefined ? {} : { last: one.last }),
    records: one.records,
    lost: one.lost,
    bad: one.bad,
    ignored: Object.values(one.ignored).reduce((sum, count) => sum + count, 0),
    sampledOneIn: one.sampledOneIn ?? 1,
  };
}

/** Of a batch: of the same bytes at another place of what is followed it is another one. */
function digestOf(key: string, position: Json, hash: ReturnType<typeof createHash>): string {
  return createHash('sha256')
    .update(`${key}\n${JSON.stringify(position)}\n`)
    .update(hash.digest())
    .digest('hex');
}

/** The first of the promises, or `due` after so many milliseconds. */
async function firstOf<A, B>(
  clock: Clock,
  milliseconds: number | undefined,
  promises: readonly [Promise<A>, Promise<B>],
): Promise<A | B | 'due'> {
  if (milliseconds === undefined) return Promise.race<A | B>(promises);
  const timer = new AbortController();
  try {
    return await Promise.race<A | B | 'due'>([
      ...promises,
      clock.sleep(milliseconds, timer.signal).then(
        () => 'due' as const,
        () => 'due' as const,
      ),
    ]);
  } finally {
    timer.abort(new Error('in time'));
  }
}

function isConnectionLost(fault: unknown): boolean {
  return isFailure(fault) && fault.detail.code === CONNECTION_LOST;
}

function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  return clock.sleep(RETRY_MS, signal).catch(() => undefined);
}

function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

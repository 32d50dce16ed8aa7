import { isUtf8 } from 'node:buffer';
import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Flow, InputReport, RawEnd } from '../../model/flow.ts';
import type { FlowInput, FlowSink, ReadOptions } from '../flow-source.ts';
import type { LinesRead } from '../lines.ts';
import { MAX_LINE_BYTES, NOT_UTF8, brokenOff, longLine, readChunks, withoutMark } from '../lines.ts';
import type { BadRecord, RecordCounter } from '../records.ts';
import { createReading, isBlank } from '../records.ts';
import type { Memory } from './batches.ts';
import { BATCH_BYTES, createBatcher, memoryOf } from './batches.ts';
import type { ReadAhead } from './read-ahead.ts';
import { readAhead } from './read-ahead.ts';
import { MAX_ROWS, readRows, rowCount } from './rows.ts';
import type { Folded, Meaning } from './scan.ts';
import { createScanner } from './scan.ts';
import { threadFile } from './thread-file.ts';
import type { FromWorker, ToWorker, WorkerData } from './worker.ts';

/** What is read before threads are worth their start, in batches; of a file whose size is known, in bytes. */
const ALONE_BATCHES = 2;
const ALONE_BYTES = ALONE_BATCHES * BATCH_BYTES;
const MAX_WORKERS = 4;
/** Batches at a time for each thread: one it works on, and others that wait for it. */
const DEPTH = 3;
/** Batches that are read and not yet asked for: while this thread is held up for a moment, by the collector say, reading goes on. */
const AHEAD = 10;

/**
 * Reads as readRecords does, but folds plain records where the bytes are: in this thread to begin with, and in threads of its own once an
 * input shows to be large and there are `cores` for them. Lines that the scanner leaves go to `onRecord`, in their order. The memory it needs
 * grows with what is folded, not with the input.
 */
export async function readFolded(
  input: FlowInput,
  sink: FlowSink,
  options: ReadOptions,
  onRecord: (text: string, counter: RecordCounter) => BadRecord | undefined,
  cores = availableParallelism(),
): Promise<InputReport> {
  const reading = createReading('hubble', input, options);
  let line = 0;

  const onRest = (bytes: Buffer, rest: Int32Array): void => {
    for (let at = 0; at < rest.length; at += 3) {
      const start = rest[at] ?? 0;
      let end = rest[at + 1] ?? 0;
      if (end > start && bytes[end - 1] === 13) end -= 1;
      const number = line + (rest[at + 2] ?? 0);
      const part = bytes.subarray(start, end);
      if (part.length > MAX_LINE_BYTES) {
        reading.bad(longLine(MAX_LINE_BYTES), part.toString('utf8', 0, 200), number);
        continue;
      }
      if (!isUtf8(part)) {
        reading.bad(NOT_UTF8, part.toString('utf8', 0, 200), number);
        continue;
      }
      const text = part.toString('utf8');
      if (text === '' || isBlank(text)) continue;
      reading.at(text, number);
      const fault = onRecord(text, reading.counter);
      if (fault !== undefined) reading.bad(fault, text, number);
    }
  };

  const createTaker = (): ((folded: Folded) => Attribution) => {
    let ends: RawEnd[] = [];
    const meanings: Meaning[] = [];
    return (folded) => {
      if (folded.afresh) ends = [];
      for (const end of folded.ends) ends.push(end);
      meanings.push(...folded.meanings);
      if (folded.records > 0) reading.seenMany(folded.records, folded.first, folded.last);
      for (const [reason, count] of folded.ignored) reading.counter.ignored(reason, count);
      const known = ends;
      let done = 0;
      return (most) => {
        done = readRows(folded.rows, done, most, (from, to, port, number, first, last, records) => {
          const [src, dst, meaning] = [known[from], known[to], meanings[number]];
          if (src === undefined || dst === undefined || meaning === undefined)
            throw new Error('a row without its ends');
          // Spelled out: there are hundreds of thousands of them.
          const flow: Flow = {
            first,
            last,
            src,
            dst,
            protocol: meaning.protocol,
            port,
            verdict: meaning.verdict,
            view: meaning.view,
            tap: meaning.tap,
            initiatorKnown: meaning.initiatorKnown,
            reply: meaning.reply,
            stage: meaning.stage,
            count: meaning.count * records,
            records,
            proxied: meaning.proxied,
            mtls: meaning.mtls,
            source: meaning.source,
          };
          sink.flow(meaning.l7 === undefined ? flow : { ...flow, l7: meaning.l7 });
        });
        return done < rowCount(folded.rows);
      };
    };
  };

  const scanner = createScanner(options.latest);
  const takeOwn = createTaker();
  let own: Attribution | undefined;
  const scanHere = (bytes: Buffer): void => {
    const { lines, rest } = scanner.scan(bytes);
    onRest(bytes, rest);
    line += lines;
    if (own?.(ROWS_AT_ONCE) === false) own = undefined;
    if (scanner.rows < MAX_ROWS) return;
    own?.(Infinity);
    own = takeOwn(scanner.take());
  };

  const file = await largeFile(input);
  // A thread that reads and hashes a file takes a core, and to scan and attribute here takes another: a third thread on two cores would be in
  // their way. What comes piece by piece is read and hashed here, which leaves scanning to others; what two fold apart counts twice here.
  const workers = Math.min(MAX_WORKERS, file === undefined ? Math.max(1, cores - 1) : Math.max(0, cores - 2));
  const batchesAtOnce = Math.max(1, workers) * DEPTH + AHEAD;
  const ahead = file === undefined ? undefined : readAhead(input, file, batchesAtOnce);
  const unused: Memory[] = [];
  let memories = 0;
  let freed: (() => void) | undefined;
  const free = (memory: Memory): void => {
    if (ahead !== undefined) {
      ahead.free(memory);
      return;
    }
    unused.push(memory.length === BATCH_BYTES ? memory : memoryOf(BATCH_BYTES));
    freed?.();
  };
  const pool =
    workers > 0
      ? createPool(
          workers,
          (batch, lines, rest) => {
            onRest(Buffer.from(batch.buffer), rest);
            line += lines;
            free(batch);
          },
          () => {
            const take = createTaker();
            return (folded) => void take(folded)(Infinity);
          },
          options.latest,
          ahead !== undefined,
        )
      : undefined;
  let batches = 0;
  const onBatch = async (memory: Memory, length: number): Promise<void> => {
    batches += 1;
    const isAlone = pool === undefined || (ahead === undefined && batches <= ALONE_BATCHES);
    if (!isAlone && memory.length === BATCH_BYTES) {
      await pool.send(memory, length);
      return;
    }
    // Lines are numbered in their order: what is on its way comes before.
    await pool?.settle();
    scanHere(Buffer.from(memory.buffer, 0, length));
    free(memory);
  };
  const tooLong = async (head: string): Promise<void> => {
    await pool?.settle();
    line += 1;
    reading.bad(longLine(MAX_LINE_BYTES), head, line);
  };
  /** What follows the last line break is a line as well, but where a stream broke off: half a record then. */
  const onEnd = async (rest: Uint8Array, broken: boolean): Promise<void> => {
    await pool?.settle();
    if (rest.byteLength === 0 || broken) return;
    const whole = Buffer.concat([rest, Buffer.from('\n')]);
    if (rest.byteLength > MAX_LINE_BYTES) {
      line += 1;
      reading.bad(longLine(MAX_LINE_BYTES), whole.toString('utf8', 0, 200), line);
    } else scanHere(whole);
  };

  /** The file, which a thread reads. */
  const readFile = async ({ read }: ReadAhead): Promise<Omit<LinesRead, 'lines'>> => {
    for await (const part of input.untilStopped?.(read) ?? read) {
      if (part.kind === 'batch') await onBatch(part.memory, part.length);
      else if (part.kind === 'long') await tooLong(part.head);
      else {
        const { rest, sha256, bytes, marks, damage } = part;
        await onEnd(rest, damage !== undefined);
        if (marks !== undefined) input.marker?.adopt(marks);
        return { sha256, bytes, ...(damage === undefined ? {} : { broken: brokenOff(input, damage, line) }) };
      }
    }
    throw new Error('a file without an end');
  };
  /** What comes piece by piece. */
  const readStream = async (): Promise<Omit<LinesRead, 'lines'>> => {
    const next = async (): Promise<Memory> => {
      for (;;) {
        const memory = unused.pop();
        if (memory !== undefined) return memory;
        if (memories < batchesAtOnce) {
          memories += 1;
          return memoryOf(BATCH_BYTES);
        }
        await Promise.race([new Promise<void>((resolve) => (freed = resolve)), pool?.failed]);
      }
    };
    const batcher = createBatcher(await next(), { next, give: onBatch, tooLong });
    let begun = false;
    const read = await readChunks(
      input,
      (chunk) => {
        const first = begun ? chunk : withoutMark(chunk);
        begun = true;
        return batcher.push(first);
      },
      () => line,
    );
    await onEnd(await batcher.finish(), read.broken !== undefined);
    return read;
  };

  try {
    const read = await (ahead === undefined ? readStream() : readFile(ahead));
    if (pool !== undefined) await pool.end();
    own?.(Infinity);
    takeOwn(scanner.take())(Infinity);
    return reading.finish({ ...read, lines: line });
  } finally {
    await Promise.all([pool?.close(), ahead?.close()]);
  }
}

/** The path of an input that is large enough for a thread to read it. */
async function largeFile({ path }: FlowInput): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    const found = await stat(path);
    return found.isFile() && found.size > ALONE_BYTES ? path : undefined;
  } catch {
    // Whoever opens it says what is wrong with it.
    return undefined;
  }
}

/** Hands `most` more rows of what was folded to the sink, and says whether any are left. */
type Attribution = (most: number) => boolean;

/** Rows handed over beside each batch: whoever reads ahead would wait for all of them at once. */
const ROWS_AT_ONCE = 2048;

interface Pool {
  /** Gives a batch to the thread that has least to do; waits while all have enough. */
  send(memory: Memory, length: number): Promise<void>;
  /** Waits until every batch sent is done. */
  settle(): Promise<void>;
  /** Takes what the threads have folded, and ends them. */
  end(): Promise<void>;
  /** Never fulfilled; rejected once a thread has failed. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

interface Thread {
  readonly worker: Worker;
  readonly take: (folded: Folded) => void;
  busy: number;
  ended: boolean;
}

/** `onDone` is called for each batch in the order in which they were sent. */
function createPool(
  size: number,
  onDone: (memory: Memory, lines: number, rest: Int32Array) => void,
  createTaker: () => (folded: Folded) => void,
  latest: number | undefined,
  atOnce: boolean,
): Pool {
  const threads: Thread[] = [];
  const waiting = new Map<number, Memory>();
  const done = new Map<number, Extract<FromWorker, { kind: 'batch' }>>();
  let sent = 0;
  let finished = 0;
  let failure: unknown;
  let wake: (() => void) | undefined;
  let reject: ((error: unknown) => void) | undefined;
  const failed = new Promise<never>((_, no) => (reject = no));
  // Whoever waits for it hears of it; nobody may.
  failed.catch(() => undefined);

  const fail = (error: unknown): void => {
    failure ??= error;
    reject?.(error);
  };
  const woken = (): void => {
    const call = wake;
    wake = undefined;
    call?.();
  };
  const until = async (isSo: () => boolean): Promise<void> => {
    for (;;) {
      if (failure !== undefined) throw failure as Error;
      if (isSo()) return;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  const onMessage = (thread: Thread, message: FromWorker): void => {
    try {
      if (message.kind === 'end') {
        thread.ended = true;
        thread.take(message.folded);
      } else {
        thread.busy -= 1;
        if (message.folded !== undefined) thread.take(message.folded);
        done.set(message.number, message);
        for (let next = done.get(finished); next !== undefined; next = done.get(finished)) {
          done.delete(finished);
          finished += 1;
          const memory = waiting.get(next.number);
          if (memory === undefined) throw new Error('a batch that nobody sent');
          waiting.delete(next.number);
          onDone(memory, next.lines, next.rest);
        }
      }
    } catch (error) {
      fail(error);
    }
    woken();
  };
  const start = (): Thread => {
    const worker = new Worker(threadFile('worker'), { workerData: { latest } satisfies WorkerData });
    const thread: Thread = { worker, take: createTaker(), busy: 0, ended: false };
    worker.on('message', (message: FromWorker) => onMessage(thread, message));
    worker.on('error', (error) => {
      fail(error);
      woken();
    });
    threads.push(thread);
    return thread;
  };
  // Of a file that is large for certain they are ready by the time the first batch is.
  if (atOnce) while (threads.length < size) start();
  const idlest = (): Thread | undefined => {
    let best: Thread | undefined;
    for (const thread of threads) if (best === undefined || thread.busy < best.busy) best = thread;
    return best;
  };

  return {
    async send(memory, length) {
      if (threads.length < size) start();
      await until(() => (idlest()?.busy ?? 0) < DEPTH);
      const thread = idlest() ?? start();
      thread.busy += 1;
      const message: ToWorker = { kind: 'batch', number: sent, bytes: memory, length };
      sent += 1;
      waiting.set(message.number, memory);
      thread.worker.postMessage(message);
    },
    settle: () => until(() => finished === sent),
    async end() {
      await until(() => finished === sent);
      for (const thread of threads) thread.worker.postMessage({ kind: 'end' } satisfies ToWorker);
      await until(() => threads.every((thread) => thread.ended));
    },
    failed,
    async close() {
      await Promise.all(threads.map((thread) => thread.worker.terminate()));
    },
  };
}

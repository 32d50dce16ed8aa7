import { isUtf8 } from 'node:buffer';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { FlowInput, FlowSink, ReadOptions } from '../flow-source.ts';
import { MAX_LINE_BYTES, NOT_UTF8, longLine, readChunks } from '../lines.ts';
import type { BadRecord, RecordCounter } from '../records.ts';
import { createReading, isBlank } from '../records.ts';
import type { Folded, Meaning } from './scan.ts';
import { MAX_ROWS, ROW, createScanner } from './scan.ts';
import type { FromWorker, ToWorker, WorkerData } from './worker.ts';

const BATCH_BYTES = 4 * 1024 * 1024;
/** What is read before threads are worth their start. */
const ALONE_BATCHES = 2;
const MAX_WORKERS = 4;
/** Sources run as TypeScript in a checkout and as JavaScript when installed. */
const WORKER = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

/**
 * Reads as readRecords does, but folds plain records where the bytes are: in this thread to begin with, and in threads of its own once an
 * input shows to be large. Lines that the scanner leaves go to `onRecord`, in their order. The memory it needs grows with what is
 * folded, not with the input.
 */
export async function readFolded(
  input: FlowInput,
  sink: FlowSink,
  options: ReadOptions,
  onRecord: (text: string, counter: RecordCounter) => BadRecord | undefined,
  // This thread reads, hashes and attributes, which is more work than scanning is; and what two threads fold apart counts twice here.
  workers = Math.max(1, Math.min(MAX_WORKERS, availableParallelism() - 1)),
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

  const createTaker = (): ((folded: Folded) => void) => {
    let ends: RawEnd[] = [];
    const meanings: Meaning[] = [];
    return (folded) => {
      if (folded.afresh) ends = [];
      for (const end of folded.ends) ends.push(end);
      meanings.push(...folded.meanings);
      if (folded.records > 0) reading.seenMany(folded.records, folded.first, folded.last);
      for (const [reason, count] of folded.ignored) reading.counter.ignored(reason, count);
      const { rows } = folded;
      for (let at = 0; at < rows.length; at += ROW) {
        const [src, dst, meaning] = [ends[rows[at] ?? 0], ends[rows[at + 1] ?? 0], meanings[rows[at + 3] ?? 0]];
        if (src === undefined || dst === undefined || meaning === undefined) throw new Error('a row without its ends');
        const records = rows[at + 6] ?? 1;
        // Spelled out: there are hundreds of thousands of them.
        sink.flow({
          first: rows[at + 4] ?? 0,
          last: rows[at + 5] ?? 0,
          src,
          dst,
          protocol: meaning.protocol,
          port: rows[at + 2] ?? 0,
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
        });
      }
    };
  };

  const scanner = createScanner(options.latest);
  const takeOwn = createTaker();
  const scanHere = (bytes: Buffer): void => {
    const { lines, rest } = scanner.scan(bytes);
    onRest(bytes, rest);
    line += lines;
    if (scanner.rows >= MAX_ROWS) takeOwn(scanner.take());
  };

  const pool =
    workers > 0 ? createPool(workers, onRest, (lines) => (line += lines), createTaker, options.latest) : undefined;
  let batches = 0;
  let spare: Uint8Array<SharedArrayBuffer> | undefined;
  let batch = memoryOf(BATCH_BYTES);
  let filled = 0;
  /** Inside of a line that is too long. */
  let passing = false;

  /** Hands over `length` bytes, which end with a line break; what is behind them begins the next batch. */
  const handOver = async (length: number): Promise<void> => {
    const done = batch;
    const left = filled - length;
    batches += 1;
    if (pool === undefined || batches <= ALONE_BATCHES || done.length > BATCH_BYTES) {
      // Lines are numbered in their order: what is on its way comes before.
      if (pool !== undefined) await pool.settle();
      scanHere(Buffer.from(done.buffer, 0, length));
      if (done.length > BATCH_BYTES) {
        batch = memoryOf(BATCH_BYTES);
        batch.set(done.subarray(length, filled));
      } else done.copyWithin(0, length, filled);
    } else {
      const next = spare ?? (await pool.memory()) ?? memoryOf(BATCH_BYTES);
      spare = undefined;
      next.set(done.subarray(length, filled));
      batch = next;
      await pool.send(done, length);
    }
    filled = left;
  };

  const onChunk = async (given: Uint8Array): Promise<void> => {
    let chunk = given;
    while (chunk.byteLength > 0) {
      if (passing) {
        const end = chunk.indexOf(10);
        if (end < 0) return;
        passing = false;
        chunk = chunk.subarray(end + 1);
        continue;
      }
      const room = Math.min(batch.length - filled, chunk.byteLength);
      batch.set(chunk.subarray(0, room), filled);
      filled += room;
      chunk = chunk.subarray(room);
      if (filled < batch.length) return;
      const cut = batch.lastIndexOf(10) + 1;
      if (cut > 0) {
        await handOver(cut);
        continue;
      }
      if (batch.length <= MAX_LINE_BYTES) {
        const larger = memoryOf(batch.length * 2);
        larger.set(batch);
        batch = larger;
        continue;
      }
      if (pool !== undefined) await pool.settle();
      line += 1;
      reading.bad(longLine(MAX_LINE_BYTES), Buffer.from(batch.buffer).toString('utf8', 0, 200), line);
      batch = memoryOf(BATCH_BYTES);
      filled = 0;
      passing = true;
    }
  };

  try {
    let begun = false;
    const read = await readChunks(
      input,
      (chunk) => {
        const isMarked = !begun && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf;
        begun = true;
        return onChunk(isMarked ? chunk.subarray(3) : chunk);
      },
      () => line,
    );
    const cut = batch.subarray(0, filled).lastIndexOf(10) + 1;
    if (cut > 0) await handOver(cut);
    if (pool !== undefined) await pool.settle();
    // What follows the last line break of a broken stream is half a record, and no line.
    if (filled > 0 && read.broken === undefined) {
      const rest = Buffer.concat([batch.subarray(0, filled), Buffer.from('\n')]);
      if (filled > MAX_LINE_BYTES) {
        line += 1;
        reading.bad(longLine(MAX_LINE_BYTES), rest.toString('utf8', 0, 200), line);
      } else scanHere(rest);
    }
    if (pool !== undefined) await pool.end();
    takeOwn(scanner.take());
    return reading.finish({ ...read, lines: line });
  } finally {
    await pool?.close();
  }
}

function memoryOf(bytes: number): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(new SharedArrayBuffer(bytes));
}

interface Pool {
  /** Gives a batch to the thread that has least to do; waits while all have enough. */
  send(bytes: Uint8Array<SharedArrayBuffer>, length: number): Promise<void>;
  /** Memory of a batch that is done, where there is any. */
  memory(): Promise<Uint8Array<SharedArrayBuffer> | undefined>;
  /** Waits until every batch sent is done. */
  settle(): Promise<void>;
  /** Takes what the threads have folded, and ends them. */
  end(): Promise<void>;
  close(): Promise<void>;
}

interface Thread {
  readonly worker: Worker;
  readonly take: (folded: Folded) => void;
  busy: number;
  ended: boolean;
}

/** Batches at a time for each thread: one it works on, and one that waits for it. */
const DEPTH = 2;

function createPool(
  size: number,
  onRest: (bytes: Buffer, rest: Int32Array) => void,
  onLines: (lines: number) => void,
  createTaker: () => (folded: Folded) => void,
  latest: number | undefined,
): Pool {
  const threads: Thread[] = [];
  const free: Uint8Array<SharedArrayBuffer>[] = [];
  const waiting = new Map<number, Uint8Array<SharedArrayBuffer>>();
  const done = new Map<number, Extract<FromWorker, { kind: 'batch' }>>();
  let sent = 0;
  let finished = 0;
  let failure: unknown;
  let wake: (() => void) | undefined;

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
          const bytes = waiting.get(next.number);
          if (bytes === undefined) throw new Error('a batch that nobody sent');
          waiting.delete(next.number);
          onRest(Buffer.from(bytes.buffer), next.rest);
          onLines(next.lines);
          free.push(bytes);
        }
      }
    } catch (error) {
      failure ??= error;
    }
    woken();
  };
  const start = (): Thread => {
    const worker = new Worker(WORKER, { workerData: { latest } satisfies WorkerData });
    const thread: Thread = { worker, take: createTaker(), busy: 0, ended: false };
    worker.on('message', (message: FromWorker) => onMessage(thread, message));
    worker.on('error', (error) => {
      failure ??= error;
      woken();
    });
    threads.push(thread);
    return thread;
  };
  const idlest = (): Thread | undefined => {
    let best: Thread | undefined;
    for (const thread of threads) if (best === undefined || thread.busy < best.busy) best = thread;
    return best;
  };

  return {
    async send(bytes, length) {
      if (threads.length < size) start();
      await until(() => (idlest()?.busy ?? 0) < DEPTH && sent - finished < size * DEPTH + DEPTH);
      const thread = idlest() ?? start();
      thread.busy += 1;
      const message: ToWorker = { kind: 'batch', number: sent, bytes, length };
      sent += 1;
      waiting.set(message.number, bytes);
      thread.worker.postMessage(message);
    },
    async memory() {
      if (free.length === 0) await until(() => free.length > 0 || sent - finished < size * DEPTH);
      return free.pop();
    },
    settle: () => until(() => finished === sent),
    async end() {
      await until(() => finished === sent);
      for (const thread of threads) thread.worker.postMessage({ kind: 'end' } satisfies ToWorker);
      await until(() => threads.every((thread) => thread.ended));
    },
    async close() {
      await Promise.all(threads.map((thread) => thread.worker.terminate()));
    },
  };
}

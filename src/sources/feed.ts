import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Json } from '../shared/pure/json.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { plural } from '../shared/pure/text.ts';
import type { FlowInput, FlowSource } from './flow-source.ts';
import { expand, openFollow, parseFollowPosition } from './follow.ts';
import type { FilePosition } from './follow.ts';
import { MAX_LINE_BYTES } from './lines.ts';

/** Code of the failure of a feed whose other side is lost for good: what came before it is whole. */
export const CONNECTION_LOST = 'SP294';

/** How often growing files are looked at. */
const LOOK_MS = 1000;
/** Lines of a pipe that are remembered, so that what it repeats after a new start is not counted twice. */
const REMEMBERED_LINES = 4096;

/** What comes of something that is followed. Nothing is read on before the next one is asked for: that is the back-pressure. */
export type FeedEvent =
  /** Whole lines in the source's own format, and the position behind them. */
  | {
      readonly kind: 'lines';
      readonly name: string;
      readonly bytes: Uint8Array;
      /** Lines that name the columns, read earlier. */
      readonly columns?: Uint8Array;
      readonly position: Json;
    }
  /**
   * Something was not recorded: from `from`, or the newest record before, to `to`, or the next record after. Milliseconds since the epoch.
   */
  | { readonly kind: 'gap'; readonly why: string; readonly from?: number; readonly to?: number }
  /** Records that were handed over before and came again. */
  | { readonly kind: 'again'; readonly count: number }
  /** For the user: connected, lost, how many files. */
  | { readonly kind: 'note'; readonly text: string };

export type Feed = AsyncIterable<FeedEvent>;

export interface FeedOptions {
  readonly source: FlowSource;
  /** Where an earlier following ended; undefined for the first. */
  readonly position: Json | undefined;
  readonly signal: AbortSignal;
  readonly sleep: (milliseconds: number, signal?: AbortSignal) => Promise<void>;
}

interface Offer<T> {
  readonly event: T;
  readonly taken: () => void;
  readonly left: (reason: Error) => void;
}

/**
 * Events of `work` one by one: what it emits waits until the next is asked for. Ends when `work` ends, and throws what it throws. Leaving
 * the loop early makes the next `emit` reject.
 */
export async function* channel<T>(work: (emit: (event: T) => Promise<void>) => Promise<void>): AsyncGenerator<T> {
  let offered: Offer<T> | undefined;
  let wake: (() => void) | undefined;
  let left = false;
  const state: { over: boolean; fault: unknown } = { over: false, fault: undefined };
  const woken = (): void => {
    const call = wake;
    wake = undefined;
    call?.();
  };
  const end = (fault: unknown): void => {
    state.over = true;
    state.fault = fault;
    woken();
  };
  work(
    (event) =>
      new Promise<void>((resolve, reject) => {
        if (left) {
          reject(new Error('nobody listens'));
          return;
        }
        offered = { event, taken: resolve, left: reject };
        woken();
      }),
  ).then(() => end(undefined), end);
  try {
    for (;;) {
      const next: Offer<T> | undefined = offered;
      if (next === undefined) {
        if (state.over) break;
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      yield next.event;
      offered = undefined;
      next.taken();
    }
    if (state.fault !== undefined) throw state.fault as Error;
  } finally {
    left = true;
    offered?.left(new Error('nobody listens'));
  }
}

/** The lines at the head of a file that name its columns, where the source has such. */
function columnsOf(source: FlowSource, head: Uint8Array): Uint8Array | undefined {
  if (source.isColumns === undefined) return undefined;
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  let end = 0;
  for (;;) {
    const next = text.indexOf('\n', end);
    if (next < 0 || !source.isColumns(text.slice(end, next).trimEnd())) break;
    end = next + 1;
  }
  return end === 0 ? undefined : head.subarray(0, end);
}

/**
 * Growing files, rotation included, from their beginning or from where an earlier following ended. `imported` says how much of a file that
 * was never followed was imported as a whole: that part is passed over.
 */
export function followFiles(
  patterns: readonly string[],
  imported: (path: string) => Promise<FilePosition | undefined>,
  options: FeedOptions,
): Feed {
  return channel(async (emit) => {
    let from = options.position === undefined ? undefined : parseFollowPosition(options.position);
    if (from === undefined) {
      const known: FilePosition[] = [];
      for (const path of await expand(patterns)) {
        const position = await imported(path);
        if (position !== undefined) known.push(position);
      }
      from = { files: known };
    }
    const follow = await openFollow(patterns, from);
    try {
      let files = -1;
      for (;;) {
        const look = await follow.look(async (lines) => {
          const end = lines.offset + lines.bytes.byteLength;
          const columns = lines.offset === 0 ? undefined : columnsOf(options.source, await lines.head());
          const position = {
            files: follow.position().files.map((one) => (one.file === lines.file ? { ...one, offset: end } : one)),
          };
          await emit({
            kind: 'lines',
            name: lines.path,
            bytes: lines.bytes,
            ...(columns === undefined ? {} : { columns }),
            position: position as unknown as Json,
          });
        });
        for (const why of look.gaps) await emit({ kind: 'gap', why });
        if (look.files !== files) {
          files = look.files;
          await emit({
            kind: 'note',
            text: files === 0 ? 'no such file yet: waiting' : `following ${plural(files, 'file')}`,
          });
        }
        if (options.signal.aborted) return;
        if (!look.more) await options.sleep(LOOK_MS, options.signal);
      }
    } finally {
      await follow.close();
    }
  });
}

/**
 * Standard input that never ends. A pipe has no place to go on from: what passed while nobody listened is a gap, unless the new one begins
 * with lines that the last one ended with, which are passed over.
 */
export function followPipe(input: FlowInput, options: FeedOptions): Feed {
  return channel(async (emit) => {
    const before = new Set(asArray(asObject(options.position)['lines']).map((one) => asString(one) ?? ''));
    let recent = [...before];
    /** Lines that came before are passed over until the first that did not. */
    let settled = before.size === 0;
    let columns: Buffer | undefined;
    let carried: Buffer[] = [];
    let carriedBytes = 0;
    const take = async (bytes: Buffer): Promise<void> => {
      const fresh: Buffer[] = [];
      let again = 0;
      let gap = false;
      for (let start = 0; start < bytes.length;) {
        const end = bytes.indexOf(10, start) + 1 || bytes.length;
        const line = bytes.subarray(start, end);
        start = end;
        if (line.length <= 1) continue;
        if (options.source.isColumns?.(line.toString('latin1').trimEnd()) === true) {
          columns = columns === undefined ? Buffer.from(line) : Buffer.concat([columns, line]);
          fresh.push(line);
          continue;
        }
        const digest = createHash('sha1').update(line).digest('base64').slice(0, 12);
        if (!settled && before.has(digest)) {
          again += 1;
          overlaps = true;
          continue;
        }
        if (!settled) gap = !overlaps;
        settled = true;
        fresh.push(line);
        recent.push(digest);
      }
      if (recent.length > REMEMBERED_LINES) recent = recent.slice(-REMEMBERED_LINES);
      if (again > 0) await emit({ kind: 'again', count: again });
      if (gap) await emit({ kind: 'gap', why: 'nobody read the pipe between two runs' });
      if (fresh.length === 0) return;
      await emit({
        kind: 'lines',
        name: '-',
        bytes: Buffer.concat(fresh),
        ...(columns === undefined ? {} : { columns: Buffer.from(columns) }),
        position: { lines: [...recent] },
      });
    };
    let overlaps = false;
    const iterator = input.open()[Symbol.asyncIterator]();
    const stopped = options.signal.aborted ? Promise.resolve([]) : once(options.signal, 'abort');
    try {
      for (;;) {
        const next = await Promise.race([iterator.next(), stopped.then(() => 'stopped' as const)]);
        if (next === 'stopped' || next.done === true) break;
        const chunk = Buffer.from(next.value);
        const cut = chunk.lastIndexOf(10) + 1;
        if (cut === 0) {
          carried.push(chunk);
          carriedBytes += chunk.length;
          // No record is that long: the reader says so of it.
          if (carriedBytes <= MAX_LINE_BYTES) continue;
          const long = Buffer.concat([...carried, Buffer.from('\n')]);
          carried = [];
          carriedBytes = 0;
          await take(long);
          continue;
        }
        const whole = Buffer.concat([...carried, chunk.subarray(0, cut)]);
        carried = cut < chunk.length ? [chunk.subarray(cut)] : [];
        carriedBytes = chunk.length - cut;
        await take(whole);
      }
      if (carriedBytes > 0 && !options.signal.aborted) await take(Buffer.concat([...carried, Buffer.from('\n')]));
    } finally {
      // Not awaited: an iterator that waits for input answers only when input comes.
      iterator.return?.().catch(() => undefined);
    }
  });
}

import { MAX_LINE_BYTES } from '../lines.ts';

/** Memory that threads share. */
export type Memory = Uint8Array<SharedArrayBuffer>;

/** Smaller ones cost more messages between threads, larger ones more memory. */
export const BATCH_BYTES = 4 * 1024 * 1024;

export function memoryOf(bytes: number): Memory {
  return new Uint8Array(new SharedArrayBuffer(bytes));
}

/** Cuts bytes into batches of whole lines. */
export interface Batcher {
  /** Where the next bytes may be put, for `push` to take them there without a copy; never empty. */
  room(): Memory;
  /** Takes the next bytes. */
  push(chunk: Uint8Array): Promise<void>;
  /** Hands over the whole lines that are left; what follows the last line break is given back. */
  finish(): Promise<Uint8Array>;
}

export interface BatcherUse {
  /** Memory of BATCH_BYTES that nobody uses. */
  readonly next: () => Promise<Memory> | Memory;
  /** Takes a batch: `length` bytes of `memory`, which end with a line break. The memory is larger than BATCH_BYTES where a line is. */
  readonly give: (memory: Memory, length: number) => Promise<void> | void;
  /** A line beyond MAX_LINE_BYTES, by its beginning. */
  readonly tooLong: (head: string) => Promise<void> | void;
}

export function createBatcher(first: Memory, { next, give, tooLong }: BatcherUse): Batcher {
  let batch = first;
  let filled = 0;
  /** Inside of a line that is too long. */
  let passing = false;

  /** Gives `length` bytes, which end with a line break; what is behind them begins the next batch. */
  const handOver = async (length: number): Promise<void> => {
    const rest = batch.slice(length, filled);
    await give(batch, length);
    // Lines as long as that come in company.
    batch = rest.byteLength > BATCH_BYTES ? memoryOf(batch.length) : await next();
    batch.set(rest);
    filled = rest.byteLength;
  };

  return {
    room: () => batch.subarray(filled),
    async push(given) {
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
        const isThere = chunk.buffer === batch.buffer && chunk.byteOffset === filled;
        if (!isThere) batch.set(chunk.subarray(0, room), filled);
        filled += room;
        chunk = chunk.subarray(room);
        if (filled < batch.length) return;
        const cut = batch.lastIndexOf(10) + 1;
        if (cut > 0) await handOver(cut);
        else if (batch.length <= MAX_LINE_BYTES) {
          const larger = memoryOf(batch.length * 2);
          larger.set(batch);
          batch = larger;
        } else {
          const head = Buffer.from(batch.buffer).toString('utf8', 0, 200);
          batch = memoryOf(BATCH_BYTES);
          filled = 0;
          passing = true;
          await tooLong(head);
        }
      }
    },
    async finish() {
      const cut = batch.subarray(0, filled).lastIndexOf(10) + 1;
      if (cut > 0) await handOver(cut);
      return batch.slice(0, filled);
    },
  };
}

import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { FailureDetail } from '../../shared/pure/errors.ts';
import { isFailure, messageOf } from '../../shared/pure/errors.ts';
import type { FlowInput } from '../flow-source.ts';
import { KnownBeginning } from '../flow-source.ts';
import { unreadable } from '../input.ts';
import type { LineMarks } from '../line-marks.ts';
import { createLineMarker } from '../line-marks.ts';
import type { Damage } from '../lines.ts';
import { isGzip, readBytes, withoutMark } from '../lines.ts';
import type { Memory } from './batches.ts';
import { createBatcher } from './batches.ts';

/** What the thread is started with: of a FlowInput what can be sent, and memory to begin with. */
export interface ReadThreadData extends Pick<FlowInput, 'name' | 'skip' | 'known' | 'cut'> {
  readonly path: string;
  readonly isMarked: boolean;
  readonly memories: readonly Memory[];
}

/** Memory to read into. */
export type ToReadThread = Memory;

export type FromReadThread =
  | { readonly kind: 'batch'; readonly memory: Memory; readonly length: number }
  | { readonly kind: 'long'; readonly head: string }
  /** All of it: what follows the last line break, and what is known of the bytes. */
  | {
      readonly kind: 'end';
      readonly rest: Uint8Array;
      readonly sha256: string;
      readonly bytes: number;
      readonly marks: LineMarks | undefined;
      readonly damage: Damage | undefined;
    }
  | { readonly kind: 'known'; readonly bytes: number }
  | { readonly kind: 'failed'; readonly detail: FailureDetail }
  | { readonly kind: 'bug'; readonly message: string };

const { name, path, skip, known, cut, isMarked, memories } = workerData as ReadThreadData;
/** Hashed and marked while it is in the core's own cache. */
const PIECE_BYTES = 1 << 18;
const free: Memory[] = [...memories];
let wake: (() => void) | undefined;
parentPort?.on('message', (memory: ToReadThread) => {
  free.push(memory);
  wake?.();
});

const post = (message: FromReadThread): void => parentPort?.postMessage(message);

async function next(): Promise<Memory> {
  for (;;) {
    const memory = free.pop();
    if (memory !== undefined) return memory;
    await new Promise<void>((resolve) => (wake = resolve));
  }
}

async function main(): Promise<void> {
  const batcher = createBatcher(await next(), {
    next,
    give: (memory, length) => post({ kind: 'batch', memory, length }),
    tooLong: (head) => post({ kind: 'long', head }),
  });
  // eslint-disable-next-line @typescript-eslint/require-await -- An input is read as a stream; this thread has nothing else to do meanwhile.
  async function* open(): AsyncIterable<Uint8Array> {
    let file: number | undefined;
    try {
      file = openSync(path, 'r');
      const head = Buffer.alloc(2);
      readSync(file, head, 0, 2, 0);
      // What comes out of a compression is put where plain bytes are read to.
      const own = isGzip(head) ? Buffer.allocUnsafeSlow(PIECE_BYTES) : undefined;
      for (;;) {
        const room = own ?? batcher.room();
        const count = readSync(file, room, 0, Math.min(room.byteLength, PIECE_BYTES), null);
        if (count === 0) return;
        yield room.subarray(0, count);
      }
    } catch (error) {
      throw unreadable(path, error);
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }
  const marker = isMarked ? createLineMarker() : undefined;
  const input: FlowInput = {
    name,
    open,
    ...(skip === undefined ? {} : { skip }),
    ...(known === undefined ? {} : { known }),
    ...(cut === undefined ? {} : { cut }),
    ...(marker === undefined ? {} : { marker }),
  };
  let begun = false;
  const { sha256, bytes, damage } = await readBytes(input, (chunk) => {
    const first = begun ? chunk : withoutMark(chunk);
    begun = true;
    return batcher.push(first);
  });
  const rest = await batcher.finish();
  post({ kind: 'end', rest: Uint8Array.from(rest), sha256, bytes, marks: marker?.finish(), damage });
}

try {
  await main();
} catch (error) {
  if (error instanceof KnownBeginning) post({ kind: 'known', bytes: error.bytes });
  else if (isFailure(error)) {
    const { cause, ...detail } = error.detail;
    post({ kind: 'failed', detail: cause === undefined ? detail : { ...detail, cause: messageOf(cause) } });
  } else post({ kind: 'bug', message: error instanceof Error ? (error.stack ?? error.message) : messageOf(error) });
}
parentPort?.close();

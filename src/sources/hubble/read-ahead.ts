import { Worker } from 'node:worker_threads';
import { Failure } from '../../shared/pure/errors.ts';
import type { FlowInput } from '../flow-source.ts';
import { KnownBeginning } from '../flow-source.ts';
import type { Memory } from './batches.ts';
import { BATCH_BYTES, memoryOf } from './batches.ts';
import type { FromReadThread, ReadThreadData, ToReadThread } from './read-thread.ts';
import { threadFile } from './thread-file.ts';

/** What a thread makes of a file: batches of whole lines, and at last what is known of all of it. */
export type FromFile = Exclude<FromReadThread, { kind: 'known' | 'failed' | 'bug' }>;

export interface ReadAhead {
  /** In their order. Throws what reading the input throws. */
  readonly read: AsyncIterable<FromFile>;
  /** Gives the memory of a batch back. */
  free(memory: Memory): void;
  close(): Promise<void>;
}

/** Reads, hashes and marks the file at `path` in a thread of its own, as far ahead as `count` batches. */
export function readAhead(input: FlowInput, path: string, count: number): ReadAhead {
  const { name, skip, known, cut, marker } = input;
  const worker = new Worker(threadFile('read-thread'), {
    workerData: {
      name,
      path,
      isMarked: marker !== undefined,
      memories: Array.from({ length: count }, () => memoryOf(BATCH_BYTES)),
      ...(skip === undefined ? {} : { skip }),
      ...(known === undefined ? {} : { known }),
      ...(cut === undefined ? {} : { cut }),
    } satisfies ReadThreadData,
  });
  const come: FromReadThread[] = [];
  let wake: (() => void) | undefined;
  const take = (message: FromReadThread): void => {
    come.push(message);
    wake?.();
  };
  worker.on('message', take);
  worker.on('error', (error) => take({ kind: 'bug', message: error instanceof Error ? (error.stack ?? '') : '' }));

  async function* read(): AsyncIterable<FromFile> {
    for (;;) {
      const message = come.shift();
      if (message === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      switch (message.kind) {
        case 'known':
          throw new KnownBeginning(input, message.bytes);
        case 'failed':
          throw new Failure(message.detail);
        case 'bug':
          throw new Error(message.message);
        default:
          yield message;
          if (message.kind === 'end') return;
      }
    }
  }
  return {
    read: read(),
    free(memory) {
      // One that was larger is not kept.
      worker.postMessage((memory.length === BATCH_BYTES ? memory : memoryOf(BATCH_BYTES)) satisfies ToReadThread);
    },
    async close() {
      await worker.terminate();
    },
  };
}

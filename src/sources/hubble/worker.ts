import { parentPort, workerData } from 'node:worker_threads';
import { MAX_ROWS } from './rows.ts';
import type { Folded } from './scan.ts';
import { createScanner } from './scan.ts';

/** A batch of whole lines, or the end of them. */
export type ToWorker =
  | {
      readonly kind: 'batch';
      readonly number: number;
      readonly bytes: Uint8Array<SharedArrayBuffer>;
      readonly length: number;
    }
  | { readonly kind: 'end' };

/** What a thread is started with: see createScanner. */
export interface WorkerData {
  readonly latest: number | undefined;
}

/** A batch done; or the last of what was folded. */
export type FromWorker =
  | {
      readonly kind: 'batch';
      readonly number: number;
      readonly lines: number;
      readonly rest: Int32Array;
      readonly folded?: Folded;
    }
  | { readonly kind: 'end'; readonly folded: Folded };

const scanner = createScanner((workerData as WorkerData).latest);
const post = (message: FromWorker): void =>
  parentPort?.postMessage(message, message.folded === undefined ? [] : [message.folded.rows]);
parentPort?.on('message', (message: ToWorker) => {
  if (message.kind === 'end') {
    post({ kind: 'end', folded: scanner.take() });
    parentPort?.close();
    return;
  }
  const { number, bytes, length } = message;
  const { lines, rest } = scanner.scan(bytes.subarray(0, length));
  const folded = scanner.rows < MAX_ROWS ? {} : { folded: scanner.take() };
  post({ kind: 'batch', number, lines, rest, ...folded });
});

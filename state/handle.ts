import { statSync } from 'node:fs';
import type { Database } from 'better-sqlite3';
import { guarded, STATE_CODE, stateFailure } from './failure.ts';

/** An open file. Never leaves state/: what others hold is a Reader or a Writer. */
export interface Handle {
  readonly db: Database;
  readonly file: string;
  /** Device and inode at opening; see `write`. */
  readonly inode: string;
}

/** Where a Writer keeps its handle, out of reach of those who do not import this. */
export const HANDLE: unique symbol = Symbol('handle');

/** A read; what the file does wrong becomes a Failure with exit 5. */
export function read<T>(handle: Handle, attempt: string, work: () => T): T {
  return guarded(handle.file, attempt, work);
}

/**
 * One write transaction, on disk when it returns; nothing of it stays when it throws. `work` is synchronous by type and by
 * better-sqlite3, which refuses a promise: a transaction that waits for the network would hold the file and could commit half.
 */
export function write<T>(handle: Handle, attempt: string, work: () => T): T {
  return guarded(handle.file, attempt, () => {
    // SQLite in WAL mode writes on happily into a file that was deleted or replaced under it; such a record would be lost.
    if (inodeOf(handle.file) !== handle.inode)
      throw stateFailure(
        STATE_CODE.access,
        handle.file,
        `${attempt}: the state file was moved, replaced or deleted while it was open; nothing of this was recorded`,
        'put the file back where it was, then run `sallyport resume`',
      );
    return handle.db.transaction(work).immediate();
  });
}

export function inodeOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? 'none' : `${stat.dev}:${stat.ino}`;
}

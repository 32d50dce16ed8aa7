import { chmodSync, closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import { guarded } from './failure.ts';

export interface WriterLock {
  release(): void;
}

/**
 * The lock of the one writer: a write transaction left open on an empty database beside the state (`FILE.lock`). SQLite holds
 * it with the file locks of the operating system, so a process that dies, however it dies, frees it, and no stale lock file
 * can keep anyone out. It is a file of its own because the state is written in many short transactions, between which anybody could
 * write; and readers of the state never meet it. The empty file stays behind: removing it would race with the next writer.
 *
 * Returns undefined when another holds it; throws a Failure when the file cannot be made.
 */
export function takeWriterLock(file: string): WriterLock | undefined {
  const path = `${file}.lock`;
  return guarded(path, 'taking the writer lock', () => {
    createPrivate(path);
    const db = new Database(path, { timeout: 0, fileMustExist: true });
    try {
      db.exec('BEGIN IMMEDIATE');
    } catch (error) {
      db.close();
      if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) return undefined;
      throw error;
    }
    return { release: () => db.close() };
  });
}

/**
 * Makes an empty file with mode 0600 whatever the umask, unless there is one. An existing one is not even opened: closing any
 * descriptor of a file drops all POSIX locks this process holds on it. Returns whether it was made.
 */
export function createPrivate(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
  chmodSync(path, 0o600);
  return true;
}

import Database from 'better-sqlite3';
import { EXIT, Failure, messageOf } from '../src/shared/pure/errors.ts';
import { safeText } from '../src/shared/pure/text.ts';

/** Codes of failures of the state file; all exit 5. */
export const STATE_CODE = {
  missing: 'SP501',
  notAState: 'SP502',
  corrupt: 'SP503',
  newer: 'SP504',
  otherCluster: 'SP505',
  access: 'SP506',
  writeFailed: 'SP507',
  locked: 'SP508',
  badRow: 'SP509',
  older: 'SP510',
  importedAlready: 'SP511',
  lacking: 'SP512',
  exists: 'SP513',
  followedTwice: 'SP514',
} as const;

export function stateFailure(
  code: (typeof STATE_CODE)[keyof typeof STATE_CODE],
  file: string,
  message: string,
  hint: string,
  cause?: unknown,
): Failure {
  return new Failure({ code, exit: EXIT.state, message, where: file, hint, ...(cause === undefined ? {} : { cause }) });
}

/**
 * What SQLite or the file system threw, as a Failure with the next thing to do. Anything that is not about the file (a broken
 * constraint, an error in SQL) is our bug and comes back as it is.
 */
export function describeStateError(error: unknown, file: string, attempt: string): unknown {
  const code = errorCode(error);
  if (code === undefined) return error;
  // The message may quote a name from the file.
  const said = `${attempt}: ${safeText(messageOf(error))} (${code})`;
  // A header of SQLite's that this library cannot read comes with the code of an error in SQL.
  if (code === 'SQLITE_NOTADB' || (code === 'SQLITE_ERROR' && messageOf(error) === 'unsupported file format'))
    return stateFailure(
      STATE_CODE.notAState,
      file,
      `${said}: not a state file of Sallyport`,
      'name another file with --state, or move this one away',
      error,
    );
  if (code.startsWith('SQLITE_CORRUPT'))
    return stateFailure(
      STATE_CODE.corrupt,
      file,
      `${said}: the file is damaged or cut off`,
      'keep the file as it is and put a copy made before the damage in its place; nothing was written',
      error,
    );
  if (code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT')
    return stateFailure(
      STATE_CODE.writeFailed,
      file,
      `${said}: no space left; nothing of this was recorded`,
      'free space where the file lies, then run `sallyport resume`',
      error,
    );
  if (code.startsWith('SQLITE_IOERR') || code === 'EIO' || code === 'EFBIG')
    return stateFailure(
      STATE_CODE.writeFailed,
      file,
      `${said}: the disk did not take or give the data; nothing of this was recorded`,
      'check the disk, its space and limits on file size, then run `sallyport resume`',
      error,
    );
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED'))
    return stateFailure(
      STATE_CODE.locked,
      file,
      `${said}: another process is using the file`,
      'wait for the other process, then try again',
      error,
    );
  if (ACCESS.some((prefix) => code.startsWith(prefix)))
    return stateFailure(
      STATE_CODE.access,
      file,
      said,
      'the file and its directory must belong to you and be writable (SQLite keeps FILE-wal and FILE-shm beside it); or name another file with --state',
      error,
    );
  return error;
}

const ACCESS = [
  'SQLITE_READONLY',
  'SQLITE_CANTOPEN',
  'SQLITE_PERM',
  'SQLITE_AUTH',
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOTDIR',
  'EISDIR',
  'EEXIST',
  'ELOOP',
  'ENAMETOOLONG',
];

/** Runs `work` and turns what the file did wrong into a Failure. `attempt` says what was being done: "recording a step". */
export function guarded<T>(file: string, attempt: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw describeStateError(error, file, attempt);
  }
}

function errorCode(error: unknown): string | undefined {
  if (error instanceof Database.SqliteError) return error.code;
  if (error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string')
    return error.code;
  return undefined;
}

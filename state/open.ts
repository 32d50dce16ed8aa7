import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { isFailure } from '../src/shared/pure/errors.ts';
import { safeText } from '../src/shared/pure/text.ts';
import type { Place } from './checks.ts';
import { number, object, oneOf, jsonColumn, text } from './checks.ts';
import { guarded, STATE_CODE, stateFailure } from './failure.ts';
import type { Handle } from './handle.ts';
import { inodeOf, write } from './handle.ts';
import type { WriterLock } from './lock.ts';
import { createPrivate, takeWriterLock } from './lock.ts';
import type { Migration } from './migrate.ts';
import { migrate, MIGRATIONS, newestVersion, schemaVersion } from './migrate.ts';
import type { Reader } from './reader.ts';
import { openReader } from './reader.ts';
import type { Writer } from './writer.ts';
import { openWriter } from './writer.ts';

/** Whose state it is. */
export interface StateTarget {
  /** UID of kube-system, or the hash of a directory's real path. */
  readonly id: string;
  readonly kind: 'cluster' | 'directory';
  readonly description: string;
}

export interface OpenOptions {
  /** The cluster at hand; the file must belong to it. Undefined where the state alone is read or written. */
  readonly target: StateTarget | undefined;
  readonly mode: 'read' | 'write';
  /** In write mode, make the file where there is none. Needs a target. */
  readonly create?: boolean;
}

/** An open state file. Close it; a process that ends without closing loses nothing. */
export interface State {
  /** The real path of the file. */
  readonly file: string;
  /** The cluster it belongs to, as the file says. */
  readonly target: StateTarget;
  readonly reader: Reader;
  readonly close: () => void;
}

/** The one writer of a state file; nobody else gets to write until it is closed or the process ends. */
export interface WritableState extends State {
  readonly writer: Writer;
}

/** "SALY": in the header of every file of ours. */
const APPLICATION_ID = 0x53414c59;
const BUSY_TIMEOUT_MS = 5_000;
const SIDE_FILES = ['-wal', '-shm', '-journal'] as const;

/**
 * Opens a state file, brings its schema up to date, and checks that it is one of ours and of this cluster.
 *
 * Failures, all exit 5: SP501 no such file, SP502 not a state file, SP503 damaged, SP504 of a newer version, SP505 of another
 * cluster, SP506 not readable or writable, SP507 the disk did not take it, SP508 another process writes, SP509 a row that does not
 * parse, SP510 of an older version that could not be brought up to date. Of these SP503, SP506, SP507 and SP509 may also come from
 * any later read or write.
 */
export function openState(file: string, options: OpenOptions & { readonly mode: 'write' }): WritableState;
export function openState(file: string, options: OpenOptions): State;
export function openState(file: string, options: OpenOptions): State | WritableState {
  return openStateWith(MIGRATIONS, file, options);
}

/** As `openState`, with the migrations given. */
export function openStateWith(
  migrations: readonly Migration[],
  file: string,
  options: OpenOptions,
): State | WritableState {
  const path = locate(resolve(file), options);
  return options.mode === 'write' ? openWritable(migrations, path, options) : openReadable(migrations, path, options);
}

/** The real path, so that two names of one file share one lock. Makes the directory, private, where the file may be made. */
function locate(file: string, options: OpenOptions): string {
  return guarded(file, 'opening the state', () => {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat === undefined) {
      if (options.mode === 'read' || options.create !== true)
        throw stateFailure(
          STATE_CODE.missing,
          file,
          'there is no state here yet',
          'import traffic first: `sallyport observe SOURCE INPUT`; or name the right file with --state',
        );
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      return join(realpathSync(dirname(file)), basename(file));
    }
    if (!stat.isFile())
      throw stateFailure(STATE_CODE.notAState, file, 'this is not a file', 'name a file with --state');
    return realpathSync(file);
  });
}

function openReadable(migrations: readonly Migration[], file: string, options: OpenOptions): State {
  const opened = connect(migrations, file, 'read');
  let db = opened.db;
  if (opened.version < newestVersion(migrations)) {
    db.close();
    upgrade(migrations, file);
    db = connect(migrations, file, 'read').db;
  }
  return closingOnFailure(db, () => {
    const handle: Handle = { db, file, inode: inodeOf(file) };
    const target = checkTarget(handle, options.target);
    return { file, target, reader: openReader(handle), close: () => void db.close() };
  });
}

/** A reader cannot write, so the schema is brought up to date as the writer, if this process may be that. */
function upgrade(migrations: readonly Migration[], file: string): void {
  try {
    openWritable(migrations, file, { target: undefined, mode: 'write' }).close();
  } catch (error) {
    if (!isFailure(error)) throw error;
    throw stateFailure(
      STATE_CODE.older,
      file,
      `the state is of an older version and must be brought up to date first: ${error.detail.message}`,
      error.detail.hint ?? 'run the command again where the file is writable',
      error,
    );
  }
}

function openWritable(migrations: readonly Migration[], file: string, options: OpenOptions): WritableState {
  const lock = takeWriterLock(file);
  if (lock === undefined)
    throw stateFailure(
      STATE_CODE.locked,
      file,
      `another sallyport is writing to this state (${readHolder(file)})`,
      'wait for it to end; commands that only read, such as `sallyport status`, work meanwhile',
    );
  try {
    if (statSync(file, { throwIfNoEntry: false }) === undefined) {
      if (options.target === undefined) throw new Error('a new state needs a target');
      createFile(migrations, file, options.target);
    }
    return openLocked(migrations, file, options, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

function openLocked(
  migrations: readonly Migration[],
  file: string,
  options: OpenOptions,
  lock: WriterLock,
): WritableState {
  guarded(file, 'making the state private', () => makePrivate(file));
  const { db, version } = connect(migrations, file, 'write');
  return closingOnFailure(db, () => {
    const handle: Handle = { db, file, inode: inodeOf(file) };
    // Before anything is written: a file of another cluster is left as it is. `meta` is the same in every version.
    const target = checkTarget(handle, options.target);
    if (version < newestVersion(migrations))
      guarded(file, 'bringing the state up to date', () => migrate(db, migrations));
    write(handle, 'opening the state for writing', () => {
      setMeta(handle, 'writer', JSON.stringify({ pid: process.pid, host: hostname() } satisfies Holder));
      if (options.target !== undefined) setMeta(handle, 'target_description', options.target.description);
    });
    const writer = openWriter(handle);
    const close = (): void => {
      db.close();
      lock.release();
    };
    return { file, target: options.target ?? target, reader: openReader(handle), writer, close };
  });
}

/** Opens the file and refuses what is not ours, before anything is written to it. */
function connect(
  migrations: readonly Migration[],
  file: string,
  mode: OpenOptions['mode'],
): { readonly db: Database.Database; readonly version: number } {
  return guarded(file, 'opening the state', () => {
    if (statSync(file).size === 0)
      throw stateFailure(
        STATE_CODE.notAState,
        file,
        'the file is empty: not a state file, or one that was cut off',
        'put a copy of the state in its place; if there never was one, delete the empty file and try again',
      );
    const db = new Database(file, { readonly: mode === 'read', fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    return closingOnFailure(db, () => {
      if (db.pragma('application_id', { simple: true }) !== APPLICATION_ID)
        throw stateFailure(
          STATE_CODE.notAState,
          file,
          'this SQLite file is not a state file of Sallyport',
          'name another file with --state; this one was left as it is',
        );
      const version = schemaVersion(db);
      const newest = newestVersion(migrations);
      if (version > newest)
        throw stateFailure(
          STATE_CODE.newer,
          file,
          `the state is of version ${version}; this sallyport knows versions up to ${newest}`,
          'install the newer sallyport that wrote it; the file was left as it is',
        );
      setPragmas(db, file, mode);
      return { db, version };
    });
  });
}

function setPragmas(db: Database.Database, file: string, mode: OpenOptions['mode']): void {
  // Rows of other tables that a step or an audit line names must exist.
  db.pragma('foreign_keys = ON');
  // Functions and views of a file made by somebody else get no more rights than its data.
  db.pragma('trusted_schema = OFF');
  if (mode === 'read') {
    db.pragma('query_only = ON');
    return;
  }
  // WAL: readers see the last committed state while a run writes, and neither waits for the other. A crash leaves the log beside
  // the file, and the next one to open it takes in every transaction that was committed.
  const journal = db.pragma('journal_mode = WAL', { simple: true });
  if (journal !== 'wal')
    throw stateFailure(
      STATE_CODE.access,
      file,
      `the file system does not carry the write-ahead log of SQLite (journal mode is ${String(journal)})`,
      'keep the state on a local file system: --state FILE',
    );
  // FULL: the log is flushed to the disk at each commit. With NORMAL a loss of power could take back the last commits, among them the
  // before-image of a write that the cluster did get. fullfsync asks the same of macOS, where a plain fsync does not flush the disk.
  db.pragma('synchronous = FULL');
  db.pragma('fullfsync = ON');
  db.pragma('checkpoint_fullfsync = ON');
}

/**
 * Builds the file under another name and renames it when it is whole, so that under its own name an empty or half-made file is
 * never ours. The caller holds the writer lock, so what is left under the other name is from a crash.
 */
function createFile(migrations: readonly Migration[], file: string, target: StateTarget): void {
  guarded(file, 'making a new state', () => {
    const fresh = `${file}.new`;
    for (const suffix of ['', ...SIDE_FILES]) rmSync(fresh + suffix, { force: true });
    createPrivate(fresh);
    const db = new Database(fresh, { fileMustExist: true });
    closingOnFailure(db, () => {
      db.pragma('synchronous = FULL');
      db.pragma('fullfsync = ON');
      db.pragma(`application_id = ${APPLICATION_ID}`);
      migrate(db, migrations);
      const handle: Handle = { db, file: fresh, inode: inodeOf(fresh) };
      write(handle, 'making a new state', () => {
        setMeta(handle, 'target_id', target.id);
        setMeta(handle, 'target_kind', target.kind);
        setMeta(handle, 'target_description', target.description);
      });
    });
    db.close();
    // Side files of a state that is gone must not be taken for the new one's.
    for (const suffix of SIDE_FILES) rmSync(file + suffix, { force: true });
    renameSync(fresh, file);
    flushDirectory(dirname(file));
  });
}

/** Makes a rename durable. */
function flushDirectory(directory: string): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** 0600 on the file and on what SQLite keeps beside it (which takes its mode from the file when it makes them). */
function makePrivate(file: string): void {
  for (const suffix of ['', ...SIDE_FILES]) {
    const stat = statSync(file + suffix, { throwIfNoEntry: false });
    if (stat !== undefined && (stat.mode & 0o077) !== 0) chmodSync(file + suffix, 0o600);
  }
}

function checkTarget(handle: Handle, wanted: StateTarget | undefined): StateTarget {
  return guarded(handle.file, 'reading whose state it is', () => {
    const place: Place = { file: handle.file, table: 'meta', row: 'target_id' };
    const own: StateTarget = {
      id: text(getMeta(handle, 'target_id'), place, 'value'),
      kind: oneOf(['cluster', 'directory'])(getMeta(handle, 'target_kind'), { ...place, row: 'target_kind' }, 'value'),
      description: text(getMeta(handle, 'target_description'), { ...place, row: 'target_description' }, 'value'),
    };
    if (wanted !== undefined && wanted.id !== own.id)
      throw stateFailure(
        STATE_CODE.otherCluster,
        handle.file,
        `the state belongs to ${nameTarget(own)}, not to ${nameTarget(wanted)}`,
        'choose the cluster with --context or --manifests, or the state of this cluster with --state; the file was left as it is',
      );
    return own;
  });
}

function nameTarget(target: StateTarget): string {
  return `${target.kind} ${safeText(target.description)} (${safeText(target.id)})`;
}

interface Holder {
  readonly pid: number;
  readonly host: string;
}

/**
 * The process that took the state for writing last, if it runs here still: `pid 4711 on laptop`. Where another machine wrote nothing can be
 * said, nor of a number that has gone to another process.
 */
export function findLiveWriter(file: string): string | undefined {
  const holder = holderOf(file);
  return holder === undefined || holder.host !== hostname() || isGone(holder)
    ? undefined
    : `pid ${holder.pid} on ${safeText(holder.host)}`;
}

/** Who writes, for a message. The row stays when a writer ends, and one that is just starting has not written it yet. */
function readHolder(file: string): string {
  const holder = holderOf(file);
  if (holder === undefined) return 'its pid is not known';
  return isGone(holder) ? 'its pid is not known yet' : `pid ${holder.pid} on ${safeText(holder.host)}`;
}

function holderOf(file: string): Holder | undefined {
  let db: Database.Database | undefined;
  try {
    db = new Database(file, { readonly: true, fileMustExist: true, timeout: 0 });
    const handle: Handle = { db, file, inode: '' };
    const check = jsonColumn(object<Holder>({ pid: number, host: text }, {}));
    return check(getMeta(handle, 'writer'), { file, table: 'meta', row: 'writer' }, 'value');
  } catch {
    // Only words beside what is certain already; what is wrong with the file is said when it can be opened.
    return undefined;
  } finally {
    db?.close();
  }
}

function isGone(holder: Holder): boolean {
  if (holder.host !== hostname()) return false;
  try {
    process.kill(holder.pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

function getMeta({ db }: Handle, key: string): unknown {
  return db.prepare('SELECT value FROM meta WHERE key = ?').pluck().get(key);
}

function setMeta({ db }: Handle, key: string, value: string): void {
  db.prepare('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(
    key,
    value,
  );
}

function closingOnFailure<T>(db: Database.Database, work: () => T): T {
  try {
    return work();
  } catch (error) {
    db.close();
    throw error;
  }
}

// Leases of a directory: one lock file for each namespace.
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock, LeaseHold } from '../engine/contract.ts';
import { errorCodeOf, removeEmptyFolders } from '../shared/io/files.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import type { Json } from '../shared/pure/json.ts';
import { asNumber, asString, isJsonObject } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';

export interface Lock {
  readonly holder: string;
  readonly host: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Tells one hold from the next by the same holder. */
  readonly token: string;
}

const FOLDER = '.lock';
const ATTEMPTS = 20;

/** The lock file of a namespace, in the folder of ours. */
export function lockPath(folder: string, fileName: string): string {
  return join(folder, FOLDER, fileName);
}

export function renderLock(lock: Lock): string {
  return `${JSON.stringify(lock)}\n`;
}

/**
 * Takes the locks in name order, all or none. A lock is taken over when its process is gone from this host, or is this very
 * process under the same holder: what a run left that never ended. Any other is a Failure with exit 3 (SP471), and so is a file in the
 * place of the folder (SP477); SP476 (exit 4) where nothing can be written.
 */
export async function acquireLocks(
  folder: string,
  namespaces: readonly string[],
  fileNameOf: (namespace: string) => string,
  holder: string,
  clock: Clock,
): Promise<LeaseHold> {
  const token = randomUUID();
  const held: { readonly namespace: string; readonly path: string }[] = [];
  const release = async (): Promise<void> => {
    for (const { path } of held.splice(0)) if ((await readLock(path))?.token === token) await rm(path, { force: true });
    await removeEmptyFolders(join(folder, FOLDER), folder);
  };
  try {
    for (const namespace of uniqueSorted(namespaces)) {
      const path = lockPath(folder, fileNameOf(namespace));
      await takeLock(path, namespace, { holder, host: hostname(), pid: process.pid, since: clock.now(), token });
      held.push({ namespace, path });
    }
    await removeAbandoned(folder);
  } catch (error) {
    await release();
    throw error;
  }
  return {
    assertHeld: async () => {
      for (const { namespace, path } of held) {
        const lock = await readLock(path);
        if (lock?.token === token) continue;
        throw new Failure({
          code: 'SP472',
          exit: EXIT.refused,
          nature: 'hold-lost',
          message: `The hold on ${describeNamespace(namespace)} was lost${lock === undefined ? '' : ` to ${safeText(lock.holder)}`}`,
          where: path,
          hint: 'Nothing more is written. Once the other run has ended: sallyport resume',
        });
      }
    },
    release,
  };
}

/** Lock files that are not among the given ones: holds of other runs. */
export async function otherLocks(folder: string, fileNames: readonly string[]): Promise<readonly string[]> {
  try {
    const names = await readdir(join(folder, FOLDER));
    return names.filter((name) => !name.endsWith('.draft') && !fileNames.includes(name));
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

async function takeLock(path: string, namespace: string, lock: Lock): Promise<void> {
  // Written aside and linked into place: a lock is there whole or not at all, whatever happens in between.
  const draft = `${path}.${lock.token}.draft`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    await makeFolderOf(path);
    try {
      await writeDraft(draft, renderLock(lock));
      await publish(draft, path, renderLock(lock));
      return;
    } catch (error) {
      // The folder goes when another run releases its last lock: make it again.
      if (errorCodeOf(error) === 'ENOENT') continue;
      if (errorCodeOf(error) !== 'EEXIST') throw unwritable(path, error);
    } finally {
      await rm(draft, { force: true });
    }
    const other = await readLock(path);
    if (other === undefined) continue;
    if (!isAbandoned(other, lock)) throw heldByAnother(path, namespace, other);
    await removeIfStill(path, other, lock.token);
  }
  throw heldByAnother(path, namespace, await readLock(path));
}

async function makeFolderOf(path: string): Promise<void> {
  const folder = dirname(path);
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    // ENOENT: a link that leads nowhere stands there. The other two: a file.
    if (!['ENOTDIR', 'EEXIST', 'ENOENT'].includes(errorCodeOf(error) ?? '')) throw unwritable(path, error);
    throw new Failure({
      code: 'SP477',
      exit: EXIT.refused,
      message: safeText(`a link or a file stands where the folder ${folder} is needed`),
      where: safeText(path),
      hint: 'Nothing was written. Move it away, then plan again.',
      cause: error,
    });
  }
}

function unwritable(path: string, error: unknown): Failure {
  return new Failure({
    code: 'SP476',
    exit: EXIT.cluster,
    message: safeText(`the lock of a run cannot be written: ${messageOf(error)}`),
    where: safeText(path),
    hint: 'Nothing was written. Check the permissions and the space of the directory, then do the same again.',
    cause: error,
  });
}

async function publish(draft: string, path: string, text: string): Promise<void> {
  try {
    await link(draft, path);
  } catch (error) {
    // Some mounts have no hard links.
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errorCodeOf(error) ?? '')) throw error;
    await writeDraft(path, text);
  }
}

async function writeDraft(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx', 0o644);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Moves the lock aside first: of two that found it abandoned only one gets it, and a fresh lock is put back. */
async function removeIfStill(path: string, abandoned: Lock, token: string): Promise<void> {
  const aside = `${path}.${token}.draft`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return;
    throw error;
  }
  const moved = await readLock(aside);
  if (moved !== undefined && moved.token !== abandoned.token) await link(aside, path).catch(ignoreExisting);
  await rm(aside, { force: true });
}

function ignoreExisting(error: unknown): void {
  if (errorCodeOf(error) !== 'EEXIST') throw error;
}

function isAbandoned(other: Lock, mine: Lock): boolean {
  if (other.host !== mine.host) return false;
  return other.pid === mine.pid ? other.holder === mine.holder : !isAlive(other.pid);
}

function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: the process is there and belongs to somebody else.
    return errorCodeOf(error) !== 'ESRCH';
  }
}

function heldByAnother(path: string, namespace: string, lock: Lock | undefined): Failure {
  const who =
    lock === undefined
      ? 'another run'
      : `${safeText(lock.holder)} since ${new Date(lock.since).toISOString()} (process ${lock.pid} on ${safeText(lock.host)})`;
  return new Failure({
    code: 'SP471',
    exit: EXIT.refused,
    message: `${describeNamespace(namespace)} is held by ${who}`,
    where: path,
    hint: 'Wait until that run has ended. If it is known to be gone, delete this file.',
  });
}

function describeNamespace(namespace: string): string {
  return namespace === '' ? 'Everything outside namespaces' : `Namespace ${safeText(namespace)}`;
}

/** The lock at a path; undefined when there is none. One that cannot be read names nobody and is never abandoned. */
async function readLock(path: string): Promise<Lock | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  return parseLock(text) ?? { holder: 'an unknown holder', host: '', pid: 0, since: 0, token: '' };
}

function parseLock(text: string): Lock | undefined {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
  if (!isJsonObject(value)) return undefined;
  const holder = asString(value['holder']);
  const host = asString(value['host']);
  const pid = asNumber(value['pid']);
  const since = asNumber(value['since']);
  const token = asString(value['token']);
  if (holder === undefined || host === undefined || pid === undefined || since === undefined || token === undefined)
    return undefined;
  return Math.abs(since) <= 8.64e15 ? { holder, host, pid, since, token } : undefined;
}

/** Drafts of processes that were killed while they took a lock: no hold of theirs is in doubt, since a draft is not a lock. */
async function removeAbandoned(folder: string): Promise<void> {
  const path = join(folder, FOLDER);
  for (const name of await readdir(path)) {
    if (!name.endsWith('.draft')) continue;
    const lock = await readLock(join(path, name));
    if (lock !== undefined && lock.host === hostname() && lock.pid !== process.pid && !isAlive(lock.pid))
      await rm(join(path, name), { force: true });
  }
}

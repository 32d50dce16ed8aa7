import { chmod, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { KeptUndo, UndoStore } from '../engine/contract.ts';
import { errorCodeOf, isTemporaryFile, syncFolder, writeFileAtomic } from '../shared/io/files.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { Json } from '../shared/pure/json.ts';
import { asString, isJsonObject } from '../shared/pure/json.ts';

const RECORD = 'record.json';
const SCRIPT = 'undo.sh';

/**
 * Ways back in a folder of the operator's own (0700, files 0600): one folder per namespace with the bundle and the record. The script is
 * replaced after the files that it names are on disk and before the ones that it no longer names go, so that it is whole at any moment.
 * Errors: SP622 (exit 5), the folder cannot be read or written.
 */
export function openUndoFolder(folder: string): UndoStore {
  const at = (namespace: string): string => join(folder, folderName(namespace));
  return {
    place: folder,
    exposed: false,
    // The way back is whole from the start, and flushing files after each step would slow every run down.
    stepwise: false,
    read: (namespace) => guarded(at(namespace), 'read', () => readRecord(at(namespace))),
    list: () =>
      guarded(folder, 'read', async () => {
        const found: { namespace: string; record: Json }[] = [];
        for (const name of (await readNames(folder)).sort()) {
          const record = await readRecord(join(folder, name));
          const namespace = isJsonObject(record) ? asString(record['namespace']) : undefined;
          if (record !== undefined && namespace !== undefined) found.push({ namespace, record });
        }
        return found;
      }),
    write: (kept) => guarded(at(kept.namespace), 'written', () => writeKept(at(kept.namespace), kept)),
    remove: (namespace) =>
      guarded(at(namespace), 'removed', async () => {
        if ((await readNames(at(namespace))).length === 0) return;
        // The script first: half of a way back must not look like one.
        await rm(join(at(namespace), SCRIPT), { force: true });
        await rm(at(namespace), { recursive: true, force: true });
        await syncFolder(folder);
      }),
  };
}

/** A namespace as the API server takes it is its own folder; any other text is known by its hash, and leads nowhere. */
function folderName(namespace: string): string {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/u.test(namespace)
    ? namespace
    : `other-${sha256(namespace).slice(0, 24)}`;
}

async function writeKept(folder: string, kept: KeptUndo): Promise<void> {
  if ((await mkdir(folder, { recursive: true, mode: 0o700 })) !== undefined) {
    await syncFolder(dirname(folder));
    await syncFolder(dirname(dirname(folder)));
  }
  await chmod(folder, 0o700);
  const script = kept.files.filter(({ name }) => name === SCRIPT);
  const others = kept.files.filter(({ name }) => name !== SCRIPT);
  for (const { name, text } of [...others, ...script]) await writeIfOther(join(folder, name), text);
  await writeIfOther(join(folder, RECORD), `${JSON.stringify(kept.record)}\n`);
  const wanted = new Set([RECORD, ...kept.files.map(({ name }) => name)]);
  const stale = (await readNames(folder)).filter((name) => !wanted.has(name));
  // Only what bears a name that a bundle gives: what else somebody put there is theirs.
  for (const name of stale)
    if (/^\d{4,}-[a-z0-9-]*\.json$/u.test(name) || isTemporaryFile(name)) await rm(join(folder, name), { force: true });
}

async function writeIfOther(path: string, text: string): Promise<void> {
  if ((await readText(path)) === text) return;
  await writeFileAtomic(path, text, 0o600);
}

async function readRecord(folder: string): Promise<Json | undefined> {
  const text = await readText(join(folder, RECORD));
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new Failure({
      code: 'SP623',
      exit: EXIT.state,
      message: `the record is not JSON: ${messageOf(error)}`,
      where: join(folder, RECORD),
      hint: 'it was damaged or written by another program: put a copy in its place, or move it away where the state is whole',
      cause: error,
    });
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCodeOf(error) ?? '')) return undefined;
    throw error;
  }
}

async function readNames(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

async function guarded<T>(path: string, done: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (errorCodeOf(error) === undefined) throw error;
    throw new Failure({
      code: 'SP622',
      exit: EXIT.state,
      message: `the way back cannot be ${done}: ${messageOf(error)}`,
      where: path,
      hint: 'the folder must be yours and have room; undo.path in the configuration names another',
      cause: error,
    });
  }
}

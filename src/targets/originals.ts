// What splices did to files of others, kept beside them until it is undone, so that another process can undo it to the byte.
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCodeOf, removeEmptyFolders, writeFileAtomic } from '../shared/io/files.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { FieldPath, Json } from '../shared/pure/json.ts';
import { asArray, asNumber, asString, isJsonObject } from '../shared/pure/json.ts';
import type { SpliceRecord } from './splice.ts';

/** One field of one object in one file, with what was done to it, oldest first. */
export interface Original {
  /** Relative to the directory of manifests. */
  readonly file: string;
  /** refKey of the object. */
  readonly object: string;
  readonly path: FieldPath;
  readonly records: readonly SpliceRecord[];
}

export type OriginalKey = Pick<Original, 'file' | 'object' | 'path'>;

// No ending that kubectl takes for a manifest: `kubectl apply -R -f DIR` looks into hidden folders too.
const FOLDER = '.original';

function pathOf(folder: string, { file, object, path }: OriginalKey): string {
  return join(folder, FOLDER, `${sha256(JSON.stringify([file, object, path])).slice(0, 32)}.record`);
}

/** The records of a field; none when it was not touched. */
export async function readOriginal(folder: string, key: OriginalKey): Promise<readonly SpliceRecord[]> {
  return (await readOriginalFile(pathOf(folder, key)))?.records ?? [];
}

/** Every field that has records. */
export async function readOriginals(folder: string): Promise<readonly Original[]> {
  let names: readonly string[];
  try {
    names = await readdir(join(folder, FOLDER));
  } catch (error) {
    if (isNothingThere(error)) return [];
    throw error;
  }
  const all = await Promise.all(
    names
      .filter((name) => /^[0-9a-f]{32}\.record$/u.test(name))
      .map((name) => readOriginalFile(join(folder, FOLDER, name))),
  );
  return all.filter((one) => one !== undefined);
}

/** Makes the records durable, or removes the file, and the folder with the last one, when there are none. */
export async function writeOriginal(folder: string, original: Original): Promise<void> {
  const path = pathOf(folder, original);
  if (original.records.length > 0) {
    await mkdir(join(folder, FOLDER), { recursive: true });
    await writeFileAtomic(path, `${JSON.stringify(original)}\n`, 0o600);
    return;
  }
  await rm(path, { force: true });
  await removeEmptyFolders(join(folder, FOLDER), folder);
}

/** Also where a file stands in place of a folder: no record of ours is below it. */
function isNothingThere(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(errorCodeOf(error) ?? '');
}

async function readOriginalFile(path: string): Promise<Original | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (isNothingThere(error)) return undefined;
    throw error;
  }
  return parseOriginal(text);
}

/** A record that does not have the right form is none: values are still restored, only not their old formatting. */
function parseOriginal(text: string): Original | undefined {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
  if (!isJsonObject(value)) return undefined;
  const file = asString(value['file']);
  const object = asString(value['object']);
  if (file === undefined || object === undefined) return undefined;
  const records = asArray(value['records']).map(parseRecord);
  return {
    file,
    object,
    path: texts(value['path']),
    records: records.filter((record) => record !== undefined),
  };
}

function texts(value: Json | undefined): readonly string[] {
  return asArray(value).filter((item) => typeof item === 'string');
}

function parseRecord(value: Json): SpliceRecord | undefined {
  if (!isJsonObject(value)) return undefined;
  const original = asString(value['original']);
  const written = asString(value['written']);
  const offset = asNumber(value['offset']);
  const context = asString(value['context']);
  if (original === undefined || written === undefined || offset === undefined || context === undefined)
    return undefined;
  const { before, after } = value;
  return {
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
    original,
    written,
    offset,
    context,
    anchor: texts(value['anchor']),
  };
}

import { lstat, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Applied, ApplyOutcome, Clock, LeaseHold, Target } from '../engine/contract.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, groupOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import type { Change, FieldChange } from '../plan/change.ts';
import { changeRef, checkChange, editObject } from '../plan/change.ts';
import { errorCodeOf, removeEmptyFolders, syncFolder, writeFileAtomic } from '../shared/io/files.ts';
import { renderYaml, splitYaml } from '../shared/io/yaml.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import { sha256 } from '../shared/pure/hash.ts';
import { equalJson, getPath } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';
import type { ManifestDirectory, ManifestEntry } from '../sources/manifests/index.ts';
import { decodeManifest, readManifestIndex, resolveManifestRoot, settleNamespace } from '../sources/manifests/index.ts';
import { parseManifestChunk, parseManifestText } from '../sources/manifests/schema.ts';
import { acquireLocks, lockPath, otherLocks } from './locks.ts';
import type { Original } from './originals.ts';
import { readOriginal, readOriginals, writeOriginal } from './originals.ts';
import type { SpliceRecord } from './splice.ts';
import { spliceField } from './splice.ts';

export interface DirectoryOptions {
  readonly dir: string;
  readonly defaultNamespace?: string | undefined;
  readonly clock: Clock;
}

const OWN_FOLDER = 'sallyport';
const WRITE_ATTEMPTS = 5;

/**
 * The offline cluster: a directory of manifests. New objects become `DIR/sallyport/<namespace>/<kind>-<name>.yaml`; an edit to
 * somebody's file changes only that field's bytes, and taking it back restores them. Throws a Failure (exit 2) when there is no
 * such directory. Its own failures are SP470 to SP478.
 */
export async function openDirectoryTarget(options: DirectoryOptions): Promise<Target> {
  const { clock, defaultNamespace } = options;
  const root = await resolveManifestRoot(options.dir);
  const own = join(root, OWN_FOLDER);
  const readIndex = () => readManifestIndex(root, { defaultNamespace });
  const planWrite = async (change: Change) => planChange(await readIndex(), own, change, defaultNamespace ?? 'default');

  return {
    kind: 'directory',
    id: sha256(root).slice(0, 16),
    description: `manifests in ${root}`,
    readSnapshot: async (onProgress) => {
      const { snapshot } = await readIndex();
      onProgress?.(`${snapshot.objects.length} objects`);
      return snapshot;
    },
    readObject: async (ref) => {
      const index = await readIndex();
      return index.entries.get(keyIn(index, ref, defaultNamespace ?? 'default'))?.object;
    },
    readKinds: async (lists) => {
      const wanted = new Map(lists.map(({ group, kind, namespaces }) => [`${group}/${kind}`, new Set(namespaces)]));
      const { snapshot } = await readIndex();
      return snapshot.objects.filter((object) => {
        const namespaces = wanted.get(groupKind(object));
        const namespace = namespaceOf(object);
        return namespaces !== undefined && (namespace === undefined || namespaces.has(namespace));
      });
    },
    rehearse: async (change) => {
      await planWrite(change);
    },
    apply: async (change) => {
      for (let attempt = 1; ; attempt += 1) {
        const planned = await planWrite(change);
        const written = await performing(change, planned.perform);
        if (written === 'written')
          return { outcome: planned.outcome, ...(planned.live === undefined ? {} : { live: planned.live }) };
        if (attempt === WRITE_ATTEMPTS)
          throw conflict(change, 'its file is being changed by somebody else all the time', 'SP470');
      }
    },
    acquire: async (namespaces, holder) => {
      const hold = await acquireLocks(own, namespaces, lockName, holder, clock);
      await tidy(await readIndex(), own, namespaces);
      return {
        assertHeld: () => hold.assertHeld(),
        release: async () => {
          if (await isHeld(hold)) await tidy(await readIndex(), own, namespaces);
          await hold.release();
        },
      };
    },
    awaitRollout: (workload) =>
      Promise.resolve({
        workload: workload.id,
        outcome: 'simulated',
        message: 'no pods run in a directory of manifests: readiness is simulated',
      }),
    close: () => Promise.resolve(),
  };
}

/** The lock file of a namespace in a directory of manifests. */
export function directoryLockPath(root: string, namespace: string): string {
  return lockPath(join(root, OWN_FOLDER), lockName(namespace));
}

type Performed = 'written' | 'changed-meanwhile';

interface PlannedWrite extends Applied {
  readonly outcome: ApplyOutcome;
  /** Writes. Answers `changed-meanwhile`, having written nothing, when the file is not as it was read. */
  readonly perform: () => Promise<Performed>;
}

const NOTHING_TO_WRITE = (): Promise<Performed> => Promise.resolve('written');

async function planChange(
  index: ManifestDirectory,
  own: string,
  given: Change,
  defaultNamespace: string,
): Promise<PlannedWrite> {
  const change = settleChange(index, given, defaultNamespace);
  const key = keyIn(index, changeRef(change), defaultNamespace);
  const entry = index.entries.get(key);
  const live = entry?.object;
  if (change.kind === 'delete' && live === undefined) return { outcome: 'unchanged', perform: NOTHING_TO_WRITE };
  const sameObject = checkChange(change.kind === 'edit' ? { ...change, fields: [] } : change, live);
  if (sameObject === undefined && change.kind === 'edit' && live !== undefined && isWanted(live, change.fields))
    return { outcome: 'unchanged', live, perform: NOTHING_TO_WRITE };
  const difference = sameObject ?? checkChange(change, live);
  if (difference !== undefined) throw conflict(change, difference.message, 'SP470', entry);

  if (change.kind === 'create') return planCreate(own, change.object, key);
  if (entry === undefined) throw new Error(`${key} was checked and is not there`);
  if (change.kind === 'delete') return planDelete(own, change, entry);
  if (index.broken.has(entry.origin.file))
    throw conflict(
      change,
      'its file holds something that does not parse, and is not edited',
      'SP474',
      entry,
      'Correct the file, then plan again.',
    );
  return isOwnFile(entry) && groupKind(entry.object) !== '/Secret'
    ? planRewrite(change, entry)
    : planSplice(index, own, change, entry, key, defaultNamespace);
}

function settleChange(index: ManifestDirectory, change: Change, defaultNamespace: string): Change {
  if (change.kind !== 'create') return change;
  return { kind: 'create', object: settleNamespace(change.object, index.scopeOf, defaultNamespace) };
}

function keyIn(index: ManifestDirectory, ref: ObjectRef, defaultNamespace: string): string {
  const { apiVersion, kind, name, namespace } = ref;
  if (index.scopeOf(apiVersion, kind) === 'Cluster') return refKey({ apiVersion, kind, name });
  return refKey({ ...ref, namespace: namespace ?? defaultNamespace });
}

function isWanted(live: KubeManifest, fields: readonly FieldChange[]): boolean {
  return fields.every(({ path, after }) => equalJson(getPath(live, path), after));
}

function groupKind(object: KubeManifest): string {
  return `${groupOf(object.apiVersion)}/${object.kind}`;
}

function isOwnFile({ origin, text, parsed }: ManifestEntry): boolean {
  if (!origin.file.startsWith(`${OWN_FOLDER}/`) || parsed.itemPath.length > 0) return false;
  return parseManifestText(text).chunks.reduce((count, chunk) => count + chunk.parsed.documents, 0) === 1;
}

// ---- objects of our own

async function planCreate(own: string, object: KubeManifest, key: string): Promise<PlannedWrite> {
  const change: Change = { kind: 'create', object };
  const text = renderYaml(object);
  const [read, ...more] = parseManifestText(text).chunks.flatMap(({ parsed }) => parsed.objects);
  if (read === undefined || more.length > 0 || !equalJson(read.object, object))
    throw groupKind(object) === '/Secret'
      ? conflict(change, 'Secrets are not written to a directory of manifests', 'SP473')
      : bug(change, 'what would be written does not read back as the object');
  const folder = join(own, folderName(refOf(object).namespace));
  await refuseLinks(change, own, folder);
  const path = await freePath(change, folder, object, key);
  return {
    outcome: 'created',
    live: object,
    perform: async () => {
      await mkdir(folder, { recursive: true });
      if (await exists(path)) return 'changed-meanwhile';
      await writeFileAtomic(path, text, 0o644);
      await syncFolder(own);
      return 'written';
    },
  };
}

function planRewrite(change: Change & { kind: 'edit' }, entry: ManifestEntry): PlannedWrite {
  const object = editObject(entry.object, change.fields);
  const text = renderYaml(object);
  const [read] = parseManifestText(text).chunks.flatMap(({ parsed }) => parsed.objects);
  if (!equalJson(read?.object, object)) throw bug(change, 'what would be written does not read back as the object');
  return {
    outcome: 'configured',
    live: object,
    perform: () => writeIfUnchanged(entry, text),
  };
}

function planDelete(own: string, change: Change & { kind: 'delete' }, entry: ManifestEntry): PlannedWrite {
  if (!isOwnFile(entry))
    throw conflict(
      change,
      'its file was not written by Sallyport alone, so it is not deleted',
      'SP475',
      entry,
      'Delete it by hand if it is to go.',
    );
  return {
    outcome: 'deleted',
    perform: async () => {
      if (!(await isUnchanged(entry))) return 'changed-meanwhile';
      await rm(entry.path);
      await syncFolder(dirname(entry.path));
      await removeEmptyFolders(dirname(entry.path), own);
      return 'written';
    },
  };
}

/** Where a namespace's new objects go. Names of Kubernetes are file names as they are; any other text is made one. */
function folderName(namespace: string | undefined): string {
  return namespace === undefined ? '_cluster' : fileNameOf(namespace);
}

function lockName(namespace: string): string {
  return folderName(namespace === '' ? undefined : namespace);
}

const MAX_NAME = 100;

function fileNameOf(text: string): string {
  const safe = text.replace(/[^a-z0-9.-]/gu, '_').replace(/^\./u, '_');
  return safe === text && text.length <= MAX_NAME && text !== ''
    ? text
    : `${safe.slice(0, MAX_NAME)}-${sha256(text).slice(0, 8)}`;
}

async function freePath(change: Change, folder: string, object: KubeManifest, key: string): Promise<string> {
  const base = join(folder, `${fileNameOf(object.kind.toLowerCase())}-${fileNameOf(object.metadata.name)}`);
  // Kinds of two groups may share their name.
  for (const path of [`${base}.yaml`, `${base}-${sha256(key).slice(0, 8)}.yaml`])
    if (!(await exists(path))) return path;
  throw conflict(change, `its file ${base}.yaml is there already and holds something else`, 'SP477');
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** A link in place of a folder of ours would take writes out of the directory. */
async function refuseLinks(change: Change, ...folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    if (!(await exists(folder)) || (await lstat(folder)).isDirectory()) continue;
    throw conflict(change, `${folder} is a link or a file, and a folder is needed there`, 'SP477');
  }
}

// ---- files of others

async function planSplice(
  index: ManifestDirectory,
  own: string,
  change: Change & { kind: 'edit' },
  entry: ManifestEntry,
  key: string,
  defaultNamespace: string,
): Promise<PlannedWrite> {
  const { chunk, parsed, origin, text } = entry;
  const place = { index: parsed.index, itemPath: parsed.itemPath };
  const readObjects = (source: string) => parseManifestChunk(source).objects;
  let spliced = text.slice(chunk.start, chunk.end);
  const before: Original[] = [];
  const after: Original[] = [];
  for (const field of change.fields) {
    if (equalJson(field.before, field.after)) continue;
    const originalKey = { file: origin.file, object: key, path: field.path };
    const records = await readOriginal(own, originalKey);
    const result = spliceField(spliced, place, field, records, readObjects);
    if (result.kind === 'refused')
      throw conflict(
        change,
        `${field.path.join('.')} cannot be written without touching more: ${result.reason}`,
        'SP473',
        entry,
        'Change this field by hand, then plan again.',
      );
    spliced = result.text;
    if (result.record === undefined) after.push({ ...originalKey, records: result.remaining });
    // A run that was killed before it wrote the file has left the same record.
    else if (!isSameRecord(records.at(-1), result.record))
      before.push({ ...originalKey, records: [...result.remaining, result.record] });
  }
  const edited = text.slice(0, chunk.start) + spliced + text.slice(chunk.end);
  if (splitYaml(edited).length !== splitYaml(text).length)
    throw bug(change, 'the edit would split its document', entry);
  const now = parseManifestChunk(spliced).objects.find(
    (one) => one.index === place.index && one.itemPath.join('/') === place.itemPath.join('/'),
  );
  if (now === undefined || !isWanted(now.object, change.fields))
    throw bug(change, 'the edit does not read back', entry);
  return {
    outcome: 'configured',
    live: settleNamespace(now.object, index.scopeOf, defaultNamespace),
    perform: async () => {
      if (!(await isUnchanged(entry))) return 'changed-meanwhile';
      if (before.length > 0) await refuseLinks(change, own);
      for (const original of before) await writeOriginal(own, original);
      const performed = await writeIfUnchanged(entry, edited);
      if (performed === 'written') for (const original of after) await writeOriginal(own, original);
      return performed;
    },
  };
}

function isSameRecord(a: SpliceRecord | undefined, b: SpliceRecord): boolean {
  return a !== undefined && equalJson({ ...a }, { ...b });
}

async function isUnchanged(entry: ManifestEntry): Promise<boolean> {
  try {
    return decodeManifest(await readFile(entry.path)) === entry.text;
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function writeIfUnchanged(entry: ManifestEntry, text: string): Promise<Performed> {
  if (!(await isUnchanged(entry))) return 'changed-meanwhile';
  await writeFileAtomic(entry.path, text, (await stat(entry.path)).mode & 0o777);
  return 'written';
}

// ---- holds

/**
 * Removes what killed runs left: records of splices that are not in force, in the namespaces held, and half-written files when
 * nobody else is writing.
 */
async function tidy(index: ManifestDirectory, own: string, namespaces: readonly string[]): Promise<void> {
  for (const original of await readOriginals(own)) {
    const [, , namespace = ''] = original.object.split('/');
    if (!namespaces.includes(namespace)) continue;
    const live = index.entries.get(original.object);
    const records = [...original.records];
    if (live === undefined || live.origin.file !== original.file) records.length = 0;
    else {
      const value = getPath(live.object, original.path);
      while (equalJson(records.at(-1)?.before, value) && !equalJson(records.at(-1)?.after, value) && records.length > 0)
        records.pop();
    }
    if (records.length < original.records.length) await writeOriginal(own, { ...original, records });
  }
  if (index.leftovers.length === 0 || (await otherLocks(own, namespaces.map(lockName))).length > 0) return;
  for (const path of index.leftovers) await rm(path, { force: true });
}

async function isHeld(hold: LeaseHold): Promise<boolean> {
  try {
    await hold.assertHeld();
    return true;
  } catch (error) {
    if (isFailure(error)) return false;
    throw error;
  }
}

// ---- failures

const DOING = { create: 'creating', edit: 'editing', delete: 'deleting' } as const;

function whereOf(entry: ManifestEntry | undefined): { readonly where?: string } {
  if (entry === undefined) return {};
  const { file, line, document } = entry.origin;
  return { where: safeText(`${file}:${line}, document ${document}`) };
}

function conflict(change: Change, message: string, code: string, entry?: ManifestEntry, hint?: string): Failure {
  return new Failure({
    code,
    exit: EXIT.refused,
    message: safeText(`${DOING[change.kind]} ${formatRef(changeRef(change))}: ${message}`),
    ...whereOf(entry),
    hint: hint ?? 'Nothing was written. Plan again: the files have changed since.',
  });
}

function bug(change: Change, message: string, entry?: ManifestEntry): Failure {
  return new Failure({
    code: 'SP478',
    exit: EXIT.bug,
    message: safeText(`${DOING[change.kind]} ${formatRef(changeRef(change))}: ${message}`),
    ...whereOf(entry),
    hint: 'Nothing was written. This is a fault of Sallyport: please report it with the file.',
  });
}

async function performing(change: Change, perform: () => Promise<Performed>): Promise<Performed> {
  try {
    return await perform();
  } catch (error) {
    if (isFailure(error)) throw error;
    throw new Failure({
      code: 'SP476',
      exit: EXIT.cluster,
      message: safeText(`${DOING[change.kind]} ${formatRef(changeRef(change))}: ${messageOf(error)}`),
      hint: 'Check the permissions and the space of the directory, then: sallyport resume',
      cause: error,
    });
  }
}

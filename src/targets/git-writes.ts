import { readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, groupOf, refKey, refOf } from '../model/object.ts';
import type { Change } from '../plan/change.ts';
import { changeRef, checkChange, editObject } from '../plan/change.ts';
import { parseYaml, renderYaml, splitYaml } from '../shared/io/yaml.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, equalJson, isJsonObject } from '../shared/pure/json.ts';
import { compareText, uniqueSorted } from '../shared/pure/order.ts';
import type { ScopeOf } from '../sources/manifests/index.ts';
import { buildScopes, decodeManifest, readManifestFiles, settleNamespace } from '../sources/manifests/index.ts';
import type { ParsedObject } from '../sources/manifests/schema.ts';
import { parseManifestChunk, parseManifestText } from '../sources/manifests/schema.ts';
import { spliceField } from './splice.ts';

/** How new objects are written into a tree. Edits go where the object is declared, in every layout but `helm`. */
export type TreeLayout =
  | { readonly kind: 'plain' }
  /** Plain files, each listed in a kustomization.yaml of its folder, up to that of the tree. */
  | { readonly kind: 'kustomize' }
  /** A list of manifests under a key of a values file, as charts take it (extraObjects, extraDeploy, extraManifests). */
  | { readonly kind: 'helm'; readonly file: string; readonly key: string };

/** The manifests of a working tree as texts, and who includes whom. Paths are relative to the folder that was named. */
export interface Tree {
  readonly root: string;
  readonly texts: ReadonlyMap<string, string>;
  readonly defaultNamespace: string;
}

export interface TreeWrite {
  readonly file: string;
  /** Undefined: the file goes. */
  readonly text: string | undefined;
}

/** What cannot be written into the tree, and what a person does instead. */
export interface TreeRefusal {
  readonly ref: ObjectRef;
  readonly reason: string;
  readonly fix: string;
}

export interface TreePlan {
  /** Sorted by file. */
  readonly writes: readonly TreeWrite[];
  readonly refused: readonly TreeRefusal[];
}

/** A change and the phase that it belongs to: the folder of what it creates. */
export interface TreeStep {
  readonly phase: string;
  readonly change: Change;
}

/** The folder of the tree that is Sallyport's own. */
export const TREE_FOLDER = 'sallyport';
const KUSTOMIZATIONS = ['kustomization.yaml', 'kustomization.yml', 'Kustomization'];
const KUSTOMIZE_API = 'kustomize.config.k8s.io/v1beta1';

/** Reads the YAML and JSON of a folder. A file that is no text is left out. */
export async function readTree(root: string, defaultNamespace = 'default'): Promise<Tree> {
  const texts = new Map<string, string>();
  for (const { file, path } of (await readManifestFiles(root)).files) {
    const text = decodeManifest(await readFile(path));
    if (text !== undefined) texts.set(file, text);
  }
  return { root, texts, defaultNamespace };
}

/** `kustomize` where the folder has a kustomization, else `plain`. */
export function layoutOf(tree: Tree): TreeLayout {
  return KUSTOMIZATIONS.some((name) => tree.texts.has(name)) ? { kind: 'kustomize' } : { kind: 'plain' };
}

interface Place {
  readonly file: string;
  readonly object: KubeManifest;
  readonly parsed: ParsedObject;
  readonly start: number;
  readonly end: number;
}

/** What kustomizations make of the files that they include. */
interface Includes {
  /** Namespaces that transformers set, by file; absent: as written. */
  readonly namespaces: ReadonlyMap<string, ReadonlySet<string>>;
  /** Files whose objects get other names. */
  readonly renamed: ReadonlySet<string>;
  /** Files that hold patches, not objects. */
  readonly patches: ReadonlySet<string>;
}

/**
 * The files of a tree after steps, in order: the same input gives the same bytes. An edit changes its field's bytes alone. What cannot be
 * written is refused by object, and nothing of it is in `writes`. Pure.
 */
export function planTreeWrites(tree: Tree, steps: readonly TreeStep[], layout: TreeLayout): TreePlan {
  const texts = new Map(tree.texts);
  const refused: TreeRefusal[] = [];
  const includes = readIncludes(texts);
  const scopeOf = scopesOf(texts);
  for (const { phase, change } of steps) {
    const ref = changeRef(change);
    const problem =
      layout.kind === 'helm'
        ? writeValues(texts, change, layout)
        : writeManifest(texts, tree, includes, scopeOf, phase, change, layout);
    if (problem !== undefined) refused.push({ ref, ...problem });
  }
  if (layout.kind === 'kustomize') {
    const problem = keepKustomizations(texts);
    const [first] = steps;
    if (problem !== undefined && first !== undefined) refused.push({ ref: changeRef(first.change), ...problem });
  }
  const files = uniqueSorted([...tree.texts.keys(), ...texts.keys()]);
  return {
    writes: files.flatMap((file): readonly TreeWrite[] => {
      const [before, after] = [tree.texts.get(file), texts.get(file)];
      return before === after ? [] : [{ file, text: after }];
    }),
    refused,
  };
}

/** Whether the tree declares what a change leaves, in files or in the values. */
export function treeHolds(tree: Tree, change: Change, layout: TreeLayout): boolean {
  const ref = changeRef(change);
  const object =
    layout.kind === 'helm'
      ? readValues(tree.texts.get(layout.file), layout.key)?.find((one) => refKey(refOf(one)) === refKey(ref))
      : placesOf(tree.texts, tree, readIncludes(tree.texts), scopesOf(tree.texts), ref).at(0)?.object;
  switch (change.kind) {
    case 'delete':
      return object === undefined;
    case 'create':
      return object !== undefined && equalJson(object, change.object);
    case 'edit':
      return (
        object !== undefined &&
        checkChange(
          { ...change, fields: change.fields.map(({ path, after }) => ({ path, before: after, after })) },
          object,
        ) === undefined
      );
  }
}

type Problem = Pick<TreeRefusal, 'reason' | 'fix'>;

// ---- plain files

function scopesOf(texts: ReadonlyMap<string, string>): ScopeOf {
  return buildScopes(
    [...texts.values()].flatMap((text) =>
      parseManifestText(text).chunks.flatMap(({ parsed }) => parsed.objects.map(({ object }) => object)),
    ),
  );
}

function placesOf(
  texts: ReadonlyMap<string, string>,
  tree: Tree,
  includes: Includes,
  scopeOf: ScopeOf,
  ref: ObjectRef,
): readonly Place[] {
  const key = refKey(ref);
  const found: Place[] = [];
  for (const [file, text] of texts) {
    if (includes.patches.has(file) || !text.includes(ref.name)) continue;
    for (const { chunk, parsed } of parseManifestText(text).chunks)
      for (const one of parsed.objects) {
        if (groupOf(one.object.apiVersion).startsWith('kustomize.config.k8s.io')) continue;
        const set =
          scopeOf(one.object.apiVersion, one.object.kind) === 'Cluster' ? undefined : includes.namespaces.get(file);
        const objects =
          set === undefined
            ? [settleNamespace(one.object, scopeOf, tree.defaultNamespace)]
            : [...set].map((namespace) => ({ ...one.object, metadata: { ...one.object.metadata, namespace } }));
        for (const object of objects)
          if (refKey(refOf(object)) === key)
            found.push({ file, object, parsed: one, start: chunk.start, end: chunk.end });
      }
  }
  return found;
}

function writeManifest(
  texts: Map<string, string>,
  tree: Tree,
  includes: Includes,
  scopeOf: ScopeOf,
  phase: string,
  change: Change,
  layout: TreeLayout,
): Problem | undefined {
  const ref = changeRef(change);
  const places = placesOf(texts, tree, includes, scopeOf, ref);
  const [place, second] = places;
  if (change.kind === 'create') {
    if (place !== undefined)
      return equalJson(place.object, change.object)
        ? undefined
        : {
            reason: `${place.file} declares it already, and otherwise`,
            fix: `take it out of ${place.file}, or rename it there`,
          };
    const ruling = layout.kind === 'kustomize' ? transformersOf(texts, '') : undefined;
    if (ruling?.renames === true)
      return {
        reason: 'the kustomization of the tree renames what it includes',
        fix: 'name with --git a folder whose kustomization has no namePrefix and no nameSuffix',
      };
    if (ruling?.namespace !== undefined && ref.namespace !== undefined && ruling.namespace !== ref.namespace)
      return {
        reason: `the kustomization of the tree puts everything into namespace ${ruling.namespace}`,
        fix: `name with --git a folder that declares ${ref.namespace}`,
      };
    if (groupKind(change.object) === '/Secret')
      return { reason: 'Secrets are not written into Git', fix: 'make it by hand' };
    texts.set(freeFile(texts, ref, phase), renderYaml(change.object));
    return undefined;
  }
  if (place === undefined) {
    if (change.kind === 'delete') return undefined;
    const renamed = [...includes.renamed].some((file) => texts.get(file)?.includes(ref.kind) === true);
    return {
      reason: `the tree does not declare it${renamed ? ' under this name: a namePrefix or nameSuffix is set' : ''}`,
      fix: `commit the manifest of ${formatRef(ref)} to the tree, name the folder that has it with --git, or make the edit without --git`,
    };
  }
  if (second !== undefined)
    return {
      reason: `it is declared in ${uniqueSorted(places.map(({ file }) => file)).join(' and ')}`,
      fix: 'name with --git the folder of one environment',
    };
  if ((includes.namespaces.get(place.file)?.size ?? 0) > 1)
    return {
      reason: `${place.file} is shared by several overlays`,
      fix: `patch it in the overlay of ${ref.namespace ?? 'this cluster'}`,
    };
  const text = texts.get(place.file) ?? '';
  if (change.kind === 'delete') {
    if (!isOwnFile(place.file, text))
      return {
        reason: `${place.file} was not written by Sallyport alone`,
        fix: `take ${formatRef(ref)} out of ${place.file}`,
      };
    texts.delete(place.file);
    return undefined;
  }
  const wanted = change.fields.every(({ path, after }) => equalJson(valueAt(place.object, path), after));
  if (wanted) return undefined;
  const difference = checkChange(withoutUid(change), place.object);
  if (difference !== undefined)
    return {
      reason: `in ${place.file} it is not as in the cluster: ${difference.message}`,
      fix: 'let the cluster and the tree agree first',
    };
  if (isOwnFile(place.file, text)) {
    texts.set(place.file, renderYaml(editObject(place.parsed.object, change.fields)));
    return undefined;
  }
  let spliced = text.slice(place.start, place.end);
  const at = { index: place.parsed.index, itemPath: place.parsed.itemPath };
  for (const field of change.fields) {
    const result = spliceField(spliced, at, field, [], (source) => parseManifestChunk(source).objects);
    if (result.kind === 'refused')
      return {
        reason: `${field.path.join('.')} in ${place.file} cannot be written without touching more: ${result.reason}`,
        fix: 'change that field by hand',
      };
    spliced = result.text;
  }
  const edited = text.slice(0, place.start) + spliced + text.slice(place.end);
  if (splitYaml(edited).length !== splitYaml(text).length)
    return { reason: `the edit would split a document of ${place.file}`, fix: 'change that field by hand' };
  texts.set(place.file, edited);
  return undefined;
}

function valueAt(object: KubeManifest, path: readonly string[]): Json | undefined {
  let value: Json | undefined = object;
  for (const key of path) value = isJsonObject(value) ? value[key] : undefined;
  return value;
}

/** A tree has no uids, and what a cluster fills in is not in it. */
function withoutUid(change: Extract<Change, { kind: 'edit' }>): Change {
  const { kind, ref, fields, owner } = change;
  return { kind, ref, fields, owner };
}

function groupKind(object: KubeManifest): string {
  return `${groupOf(object.apiVersion)}/${object.kind}`;
}

function isOwnFile(file: string, text: string): boolean {
  if (!file.startsWith(`${TREE_FOLDER}/`)) return false;
  const { chunks } = parseManifestText(text);
  return (
    chunks.reduce((count, { parsed }) => count + parsed.documents, 0) === 1 &&
    chunks.every(({ parsed }) => parsed.objects.every(({ itemPath }) => itemPath.length === 0))
  );
}

const MAX_NAME = 100;

function fileName(text: string): string {
  const safe = text.replace(/[^a-z0-9.-]/gu, '_').replace(/^\./u, '_');
  return safe === text && text.length <= MAX_NAME && text !== ''
    ? text
    : `${safe.slice(0, MAX_NAME)}-${sha256(text).slice(0, 8)}`;
}

function freeFile(texts: ReadonlyMap<string, string>, ref: ObjectRef, phase: string): string {
  const base = `${TREE_FOLDER}/${ref.namespace === undefined ? '_cluster' : fileName(ref.namespace)}/${phase}/${fileName(ref.kind.toLowerCase())}-${fileName(ref.name)}`;
  return texts.has(`${base}.yaml`) ? `${base}-${sha256(refKey(ref)).slice(0, 8)}.yaml` : `${base}.yaml`;
}

// ---- kustomize

interface Kustomization {
  readonly folder: string;
  readonly file: string;
  readonly value: JsonObject;
}

function kustomizationIn(texts: ReadonlyMap<string, string>, folder: string): Kustomization | undefined {
  for (const name of KUSTOMIZATIONS) {
    const file = folder === '' ? name : `${folder}/${name}`;
    const text = texts.get(file);
    if (text === undefined) continue;
    const read = parseYaml(text);
    if ('value' in read && isJsonObject(read.value)) return { folder, file, value: read.value };
  }
  return undefined;
}

function transformersOf(
  texts: ReadonlyMap<string, string>,
  folder: string,
): { readonly namespace: string | undefined; readonly renames: boolean } | undefined {
  const found = kustomizationIn(texts, folder);
  if (found === undefined) return undefined;
  return { namespace: asString(found.value['namespace']), renames: renames(found.value) };
}

function renames(value: JsonObject): boolean {
  return (asString(value['namePrefix']) ?? '') !== '' || (asString(value['nameSuffix']) ?? '') !== '';
}

/** The namespace that the outermost kustomization sets wins: its transformers run last. Source: kubectl.docs.kubernetes.io, kustomization namespace. */
function readIncludes(texts: ReadonlyMap<string, string>): Includes {
  const namespaces = new Map<string, Set<string>>();
  const renamed = new Set<string>();
  const patches = new Set<string>();
  const all = new Map<string, Kustomization>();
  for (const file of texts.keys())
    if (KUSTOMIZATIONS.includes(posix.basename(file))) {
      const folder = posix.dirname(file) === '.' ? '' : posix.dirname(file);
      const found = kustomizationIn(texts, folder);
      if (found !== undefined) all.set(folder, found);
    }
  const resourcesOf = ({ folder, value }: Kustomization): readonly string[] =>
    ['resources', 'bases', 'components'].flatMap((key) =>
      asArray(value[key]).flatMap((one) => {
        const path = asString(one);
        return path === undefined || path.includes('://') ? [] : [joined(folder, path)];
      }),
    );
  const included = new Set([...all.values()].flatMap(resourcesOf));
  const visit = (one: Kustomization, outer: string | undefined, renaming: boolean, depth: number): void => {
    if (depth > 32) return;
    const namespace = outer ?? asString(one.value['namespace']);
    const renamesHere = renaming || renames(one.value);
    for (const path of resourcesOf(one)) {
      const nested = all.get(path);
      if (nested !== undefined) {
        visit(nested, namespace, renamesHere, depth + 1);
        continue;
      }
      if (namespace !== undefined) namespaces.set(path, (namespaces.get(path) ?? new Set()).add(namespace));
      if (renamesHere) renamed.add(path);
    }
    for (const patch of asArray(one.value['patches'])) {
      const path = asString(asObject(patch)['path']);
      if (path !== undefined) patches.add(joined(one.folder, path));
    }
    for (const key of ['patchesStrategicMerge', 'patchesJson6902'])
      for (const patch of asArray(one.value[key])) {
        const path = asString(patch) ?? asString(asObject(patch)['path']);
        if (path !== undefined && !path.includes('\n')) patches.add(joined(one.folder, path));
      }
  };
  for (const [folder, one] of all) if (!included.has(folder)) visit(one, undefined, false, 0);
  return { namespaces, renamed, patches };
}

function joined(folder: string, path: string): string {
  const full = posix.normalize(posix.join(folder, path)).replace(/\/$/u, '');
  return full === '.' ? '' : full;
}

/** Every folder of ours lists what is in it; the tree's own kustomization lists our folder. */
function keepKustomizations(texts: Map<string, string>): Problem | undefined {
  const own = [...texts.keys()].filter((file) => file.startsWith(`${TREE_FOLDER}/`));
  for (const file of own) if (posix.basename(file) === 'kustomization.yaml') texts.delete(file);
  const children = new Map<string, Set<string>>();
  for (const file of own) {
    if (posix.basename(file) === 'kustomization.yaml') continue;
    let [folder, child] = [posix.dirname(file), posix.basename(file)];
    for (;;) {
      children.set(folder, (children.get(folder) ?? new Set()).add(child));
      if (folder === TREE_FOLDER) break;
      [folder, child] = [posix.dirname(folder), posix.basename(folder)];
    }
  }
  for (const [folder, names] of children)
    texts.set(
      `${folder}/kustomization.yaml`,
      renderYaml({ apiVersion: KUSTOMIZE_API, kind: 'Kustomization', resources: [...names].sort(compareText) }),
    );
  const top = kustomizationIn(texts, '');
  if (top === undefined) return undefined;
  const listed = asArray(top.value['resources']).some((one) => joined('', asString(one) ?? '') === TREE_FOLDER);
  if (listed === children.size > 0) return undefined;
  const text = texts.get(top.file) ?? '';
  const edited = children.size > 0 ? withItem(text, top.value) : withoutItem(text, top.value);
  if (edited === undefined)
    return {
      reason: `${top.file} cannot be written without touching more`,
      fix: `${children.size > 0 ? 'add' : 'take'} ${TREE_FOLDER} ${children.size > 0 ? 'to' : 'from'} the resources of ${top.file} by hand`,
    };
  texts.set(top.file, edited);
  return undefined;
}

/** `- sallyport` after the last item of a block list, or a list of its own; every other byte stays. Undefined where it does not read back. */
function withItem(text: string, value: JsonObject): string | undefined {
  const lines = text.split('\n');
  const key = lines.findIndex((line) => /^resources:\s*(?:#.*)?$/u.test(line));
  let edited: string;
  if (key < 0) edited = `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}resources:\n- ${TREE_FOLDER}\n`;
  else {
    let [last, indent] = [-1, ''];
    for (let at = key + 1; at < lines.length; at += 1) {
      const line = lines[at] ?? '';
      const item = /^(\s*)- /u.exec(line);
      if (item !== null) [last, indent] = [at, item[1] ?? ''];
      else if (!/^\s*(?:#.*)?$/u.test(line)) break;
    }
    if (last < 0) return undefined;
    const end = (lines[last] ?? '').endsWith('\r') ? '\r' : '';
    edited = [...lines.slice(0, last + 1), `${indent}- ${TREE_FOLDER}${end}`, ...lines.slice(last + 1)].join('\n');
  }
  return readsAs(edited, { ...value, resources: [...asArray(value['resources']), TREE_FOLDER] });
}

function withoutItem(text: string, value: JsonObject): string | undefined {
  const kept = asArray(value['resources']).filter((one) => joined('', asString(one) ?? '') !== TREE_FOLDER);
  const lines = text.split('\n');
  const at = lines.findLastIndex((line) => line.trim() === `- ${TREE_FOLDER}`);
  if (at < 0) return undefined;
  const rest = [...lines.slice(0, at), ...lines.slice(at + 1)];
  const whole = { ...value, resources: kept };
  if (kept.length > 0) return readsAs(rest.join('\n'), whole);
  const key = rest.findIndex((line) => /^resources:\s*$/u.test(line));
  const without = Object.fromEntries(Object.entries(value).filter(([name]) => name !== 'resources'));
  return key < 0 ? undefined : readsAs([...rest.slice(0, key), ...rest.slice(key + 1)].join('\n'), without);
}

function readsAs(text: string, value: JsonObject): string | undefined {
  const read = parseYaml(text);
  return 'value' in read && equalJson(read.value, value) ? text : undefined;
}

// ---- Helm values

function readValues(text: string | undefined, key: string): readonly KubeManifest[] | undefined {
  if (text === undefined) return [];
  const read = parseYaml(text);
  if (!('value' in read)) return undefined;
  const value = read.value === null ? {} : read.value;
  if (!isJsonObject(value)) return undefined;
  return asArray(value[key]) as unknown as readonly KubeManifest[];
}

function writeValues(
  texts: Map<string, string>,
  change: Change,
  { file, key }: Extract<TreeLayout, { kind: 'helm' }>,
): Problem | undefined {
  const ref = changeRef(change);
  const objects = readValues(texts.get(file), key);
  if (objects === undefined) return { reason: `${file} is no YAML of values`, fix: `mend ${file}` };
  const at = objects.findIndex((one) => refKey(refOf(one)) === refKey(ref));
  const now = objects[at];
  let next: readonly KubeManifest[];
  switch (change.kind) {
    case 'create':
      if (now !== undefined && equalJson(now, change.object)) return undefined;
      if (now !== undefined)
        return { reason: `${file} declares it already, and otherwise`, fix: `take it out of ${file}` };
      // Charts pass such lists through `tpl`.
      if (JSON.stringify(change.object).includes('{{'))
        return { reason: 'it holds `{{`, which a chart would evaluate', fix: 'write it by hand' };
      next = [...objects, change.object].sort((a, b) => compareText(refKey(refOf(a)), refKey(refOf(b))));
      break;
    case 'delete':
      if (now === undefined) return undefined;
      next = objects.filter((_, index) => index !== at);
      break;
    case 'edit':
      if (now === undefined)
        return {
          reason: `${file} does not list it under ${key}: what a chart makes is changed by the values that the chart has for it`,
          fix: `set ${change.fields.map(({ path, after }) => `${path.join('.')}=${JSON.stringify(after ?? null)}`).join(', ')} through the values of its release`,
        };
      next = objects.map((one, index) => (index === at ? editObject(one, change.fields) : one));
  }
  const text = texts.get(file);
  if (text === undefined || text.trim() === '') {
    if (next.length > 0) texts.set(file, renderYaml({ [key]: next as unknown as Json }));
    return undefined;
  }
  const readWhole = (
    source: string,
  ): readonly { object: KubeManifest; index: number; itemPath: readonly string[] }[] => {
    const read = parseYaml(source);
    return 'value' in read && isJsonObject(read.value)
      ? [{ object: read.value as KubeManifest, index: 0, itemPath: [] }]
      : [];
  };
  const before = asObject(readWhole(text)[0]?.object)[key];
  const after = next.length === 0 ? undefined : (next as unknown as Json);
  const result = spliceField(text, { index: 0, itemPath: [] }, { path: [key], before, after }, [], readWhole);
  if (result.kind === 'refused')
    return {
      reason: `${key} of ${file} cannot be written without touching more: ${result.reason}`,
      fix: 'change it by hand',
    };
  // The values held nothing but ours.
  if (isEmpty(result.text)) texts.delete(file);
  else texts.set(file, result.text);
  return undefined;
}

function isEmpty(text: string): boolean {
  const read = parseYaml(text);
  if (!('value' in read)) return false;
  return /^\s*(?:\{\}\s*)?$/u.test(text);
}

/** Where a file of the tree is on disk. */
export function treePath(tree: Tree, file: string): string {
  return join(tree.root, ...file.split('/'));
}

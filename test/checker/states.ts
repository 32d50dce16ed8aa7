import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { doc, docs, isDoc, labelMap, text } from './json.ts';
import type { Doc } from './json.ts';

export interface KubeObject {
  /** group/Kind/namespace/name: what an object is the same by, from state to state. */
  readonly key: string;
  /** For people: Kind namespace/name. */
  readonly ref: string;
  readonly group: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: Doc;
  readonly raw: Doc;
}

/** The cluster after a step. */
export interface State {
  readonly name: string;
  readonly objects: ReadonlyMap<string, KubeObject>;
}

const CLUSTER_SCOPED = new Set([
  'Namespace',
  'Node',
  'ClusterRole',
  'ClusterRoleBinding',
  'CustomResourceDefinition',
  'MutatingWebhookConfiguration',
  'ValidatingWebhookConfiguration',
  'IngressClass',
  'StorageClass',
  'PriorityClass',
  'PersistentVolume',
]);

export function toObject(raw: Doc, defaultNamespace: string): KubeObject {
  const metadata = doc(raw['metadata']);
  const apiVersion = text(raw['apiVersion']) ?? '';
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
  const kind = text(raw['kind']) ?? '';
  const name = text(metadata['name']) ?? '';
  const namespace = CLUSTER_SCOPED.has(kind) ? '' : (text(metadata['namespace']) ?? defaultNamespace);
  return {
    key: `${group}/${kind}/${namespace}/${name}`,
    ref: namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`,
    group,
    kind,
    namespace,
    name,
    labels: labelMap(metadata['labels']),
    annotations: labelMap(metadata['annotations']),
    spec: doc(raw['spec']),
    raw,
  };
}

function manifestFiles(dir: string): readonly string[] {
  return readdirSync(dir)
    .sort()
    .flatMap((entry) => {
      const path = join(dir, entry);
      if (statSync(path).isDirectory()) return manifestFiles(path);
      return /\.(ya?ml|json)$/.test(entry) ? [path] : [];
    });
}

function unpack(value: unknown): readonly Doc[] {
  if (!isDoc(value)) return [];
  const kind = text(value['kind']) ?? '';
  return kind.endsWith('List') && Array.isArray(value['items']) ? docs(value['items']).flatMap(unpack) : [value];
}

// Most files are the same in most states.
const parsed = new Map<string, readonly Doc[]>();

function parseManifests(content: string, path: string): readonly Doc[] {
  const known = parsed.get(content);
  if (known !== undefined) return known;
  const found = parseAllDocuments(content).flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw new Error(`${path}: ${error.message}`);
    return unpack(document.toJS());
  });
  parsed.set(content, found);
  return found;
}

/** All manifests under a directory, nested ones too. Two objects with one key are an error: nobody could say which holds. */
export function readState(dir: string, name: string, defaultNamespace = 'default'): State {
  const objects = new Map<string, KubeObject>();
  for (const path of manifestFiles(dir))
    for (const raw of parseManifests(readFileSync(path, 'utf8'), path)) {
      const object = toObject(raw, defaultNamespace);
      if (objects.has(object.key)) throw new Error(`${path}: ${object.ref} is there twice in state ${name}`);
      objects.set(object.key, object);
    }
  return { name, objects };
}

/** The states of a directory in the order of their numbers: 000-..., 001-..., */
export function readStates(statesDir: string, defaultNamespace = 'default'): readonly State[] {
  return readdirSync(statesDir)
    .filter((entry) => /^\d+-/.test(entry) && statSync(join(statesDir, entry)).isDirectory())
    .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
    .map((entry) => readState(join(statesDir, entry), entry, defaultNamespace));
}

/** What one step does to whole objects: the object afterwards, or undefined where the step deletes it. */
export interface StateStep {
  readonly name: string;
  readonly changes: ReadonlyMap<string, KubeObject | undefined>;
}

export function stepsBetween(states: readonly State[]): readonly StateStep[] {
  return states.slice(1).map((after, index) => {
    const before = states[index]?.objects ?? new Map<string, KubeObject>();
    const changes = new Map<string, KubeObject | undefined>();
    for (const key of before.keys()) if (!after.objects.has(key)) changes.set(key, undefined);
    for (const [key, object] of after.objects)
      if (!isDeepStrictEqual(object.raw, before.get(key)?.raw)) changes.set(key, object);
    return { name: after.name.replace(/^\d+-/, ''), changes };
  });
}

/** Writes states as directories 000-..., 001-..., one JSON List each. */
export function writeStates(outDir: string, states: readonly State[]): void {
  states.forEach((state, index) => {
    const dir = join(outDir, `${String(index).padStart(3, '0')}-${state.name.replace(/^\d+-/, '')}`);
    mkdirSync(dir, { recursive: true });
    const items = [...state.objects.values()].map((object) => object.raw);
    writeFileSync(join(dir, 'objects.json'), JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  });
}

/**
 * The same steps in another order, or some left out, as states of their own: how a test proves that the checker would notice.
 * The first state must be the start (000-...), or be given; a step's changes replace whole objects.
 */
export function reorder(
  statesDir: string,
  outDir: string,
  arrange: (steps: readonly StateStep[]) => readonly StateStep[],
  startDir?: string,
): void {
  const states = [...readStates(statesDir)];
  if (startDir !== undefined) states.unshift(readState(startDir, '000-start'));
  const [start] = states;
  if (start === undefined) throw new Error(`${statesDir} holds no states`);
  if (!start.name.startsWith('000')) throw new Error(`${statesDir} has no state 000-..., and no start was given`);
  const out: State[] = [start];
  let objects = start.objects;
  for (const step of arrange(stepsBetween(states))) {
    const next = new Map(objects);
    for (const [key, object] of step.changes)
      if (object === undefined) next.delete(key);
      else next.set(key, object);
    objects = next;
    out.push({ name: step.name, objects });
  }
  writeStates(outDir, out);
}

function find(steps: readonly StateStep[], pattern: RegExp): StateStep {
  const found = steps.find((step) => pattern.test(step.name));
  if (found === undefined)
    throw new Error(`no step is called ${pattern}; there are ${steps.map((step) => step.name).join(', ')}`);
  return found;
}

/** Takes the first step that matches to the front. */
export function first(pattern: RegExp): (steps: readonly StateStep[]) => readonly StateStep[] {
  return (steps) => {
    const moved = find(steps, pattern);
    return [moved, ...steps.filter((step) => step !== moved)];
  };
}

/** Swaps the first step that matches one pattern with the first that matches the other. */
export function swap(one: RegExp, other: RegExp): (steps: readonly StateStep[]) => readonly StateStep[] {
  return (steps) => {
    const [a, b] = [find(steps, one), find(steps, other)];
    return steps.map((step) => (step === a ? b : step === b ? a : step));
  };
}

/** Leaves every step out that matches; at least one must. */
export function without(pattern: RegExp): (steps: readonly StateStep[]) => readonly StateStep[] {
  return (steps) => {
    find(steps, pattern);
    return steps.filter((step) => !pattern.test(step.name));
  };
}

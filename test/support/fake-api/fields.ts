// Who owns which field: as much of managed fields as is needed to test conflicts, removal and migration. Lists are one field each.
import type { Json, JsonObject } from '../../../src/shared/pure/json.ts';
import {
  asArray,
  asObject,
  asString,
  equalJson,
  getPath,
  isJsonObject,
  setPath,
} from '../../../src/shared/pure/json.ts';

export interface ManagerEntry {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  /** Paths as JSON texts of string arrays. */
  readonly fields: ReadonlySet<string>;
}

const UNOWNED_METADATA = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'managedFields',
]);

/** Leaves of what can be owned: everything but identity and status. */
export function leavesOf(object: JsonObject): ReadonlyMap<string, Json> {
  const leaves = new Map<string, Json>();
  const walk = (value: Json, path: readonly string[]): void => {
    if (isJsonObject(value) && Object.keys(value).length > 0)
      for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key]);
    else leaves.set(JSON.stringify(path), value);
  };
  for (const [key, value] of Object.entries(object)) {
    if (key === 'apiVersion' || key === 'kind' || key === 'status') continue;
    if (key !== 'metadata') walk(value, [key]);
    else
      for (const [name, inner] of Object.entries(asObject(value)))
        if (!UNOWNED_METADATA.has(name)) walk(inner, ['metadata', name]);
  }
  return leaves;
}

export function parseManagers(managedFields: Json | undefined): readonly ManagerEntry[] {
  return asArray(managedFields).map((entry) => {
    const { manager, operation, apiVersion, fieldsV1 } = asObject(entry);
    const fields = new Set<string>();
    const walk = (set: JsonObject, path: readonly string[]): void => {
      const keys = Object.keys(set);
      if (keys.length === 0) fields.add(JSON.stringify(path));
      for (const key of keys) walk(asObject(set[key]), [...path, key.slice(2)]);
    };
    walk(asObject(fieldsV1), []);
    fields.delete('[]');
    return {
      manager: asString(manager) ?? '',
      operation: operation === 'Apply' ? 'Apply' : 'Update',
      apiVersion: asString(apiVersion) ?? '',
      fields,
    };
  });
}

export function renderManagers(entries: readonly ManagerEntry[], time: string): readonly Json[] {
  return entries
    .filter(({ fields }) => fields.size > 0)
    .map(({ manager, operation, apiVersion, fields }) => {
      let fieldsV1: JsonObject = {};
      for (const field of [...fields].sort())
        fieldsV1 = setPath(
          fieldsV1,
          (JSON.parse(field) as string[]).map((key) => `f:${key}`),
          {},
        );
      return { manager, operation, apiVersion, time, fieldsType: 'FieldsV1', fieldsV1 };
    });
}

/** Entries after a plain write: what changed is the writer's, what is gone is nobody's. */
export function ownChanged(
  entries: readonly ManagerEntry[],
  before: JsonObject,
  after: JsonObject,
  manager: string,
): readonly ManagerEntry[] {
  const old = leavesOf(before);
  const now = leavesOf(after);
  const changed = [...now].filter(([path, value]) => !equalJson(old.get(path), value)).map(([path]) => path);
  const apiVersion = asString(after['apiVersion']) ?? '';
  const kept = entries.map((entry) => {
    const mine = entry.manager === manager && entry.operation === 'Update';
    return {
      ...entry,
      fields: new Set([...entry.fields].filter((path) => now.has(path) && (mine || !changed.includes(path)))),
    };
  });
  const own = kept.find((entry) => entry.manager === manager && entry.operation === 'Update');
  const fields = new Set([...(own?.fields ?? []), ...changed]);
  return [...kept.filter((entry) => entry !== own), { manager, operation: 'Update', apiVersion, fields }];
}

export interface ApplyConflict {
  readonly manager: string;
  readonly path: readonly string[];
}

/** Server-side apply: conflicts, or the object and its entries afterwards. */
export function applyFields(
  live: JsonObject,
  applied: JsonObject,
  entries: readonly ManagerEntry[],
  manager: string,
):
  | { readonly conflicts: readonly ApplyConflict[] }
  | { readonly object: JsonObject; readonly entries: readonly ManagerEntry[] } {
  const wanted = leavesOf(applied);
  const isOwn = (entry: ManagerEntry): boolean => entry.manager === manager && entry.operation === 'Apply';
  const conflicts = [...wanted].flatMap(([field, value]) => {
    const path = JSON.parse(field) as string[];
    if (equalJson(getPath(live, path), value)) return [];
    return entries
      .filter(
        (entry) => !isOwn(entry) && [...entry.fields].some((other) => overlaps(JSON.parse(other) as string[], path)),
      )
      .map((entry) => ({ manager: `${entry.manager}" using "${entry.operation}`, path }));
  });
  if (conflicts.length > 0) return { conflicts };
  let object = live;
  const others = entries.filter((entry) => !isOwn(entry));
  for (const field of entries.find(isOwn)?.fields ?? []) {
    if (wanted.has(field) || others.some((entry) => entry.fields.has(field))) continue;
    object = removeWithEmptyParents(object, JSON.parse(field) as string[]);
  }
  for (const [field, value] of wanted) object = setPath(object, JSON.parse(field) as string[], value);
  const apiVersion = asString(applied['apiVersion']) ?? '';
  return { object, entries: [...others, { manager, operation: 'Apply', apiVersion, fields: new Set(wanted.keys()) }] };
}

function removeWithEmptyParents(object: JsonObject, path: readonly string[]): JsonObject {
  const removed = setPath(object, path, undefined);
  const parent = path.slice(0, -1);
  const left = parent.length > 1 ? getPath(removed, parent) : undefined;
  return isJsonObject(left) && Object.keys(left).length === 0 ? removeWithEmptyParents(removed, parent) : removed;
}

function overlaps(a: readonly string[], b: readonly string[]): boolean {
  return a.slice(0, b.length).every((key, index) => key === b[index]);
}

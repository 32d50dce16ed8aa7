import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { equalJson, getPath, setPath } from '../shared/pure/json.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, objectKey, refKey, refOf } from '../model/object.ts';
import { maskField, maskManifest } from '../shared/pure/mask.ts';
import { sortBy } from '../shared/pure/order.ts';

/** One field of an object, before and after. Undefined means absent. */
export interface FieldChange {
  readonly path: FieldPath;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

/** One write to one object. */
export type Change =
  | { readonly kind: 'create'; readonly object: KubeManifest }
  | {
      readonly kind: 'edit';
      readonly ref: ObjectRef;
      /** Tested before writing where the object has one. */
      readonly uid?: string;
      readonly fields: readonly FieldChange[];
      /** Own objects are edited by server-side apply, those of others by JSON Patch with `test`. */
      readonly owner: 'sallyport' | 'other';
    }
  | {
      readonly kind: 'delete';
      readonly ref: ObjectRef;
      readonly uid?: string;
      /** The object as it was, so that a deletion of our own object can be undone. */
      readonly before: KubeManifest;
      /** A pod, by the eviction API: a PodDisruptionBudget may refuse it. Where the target is a directory, a deletion like any. */
      readonly evicts?: true;
      /** Seconds that a pod's processes get after SIGTERM, whatever its terminationGracePeriodSeconds says. */
      readonly graceSeconds?: number;
    };

export function changeRef(change: Change): ObjectRef {
  return change.kind === 'create' ? refOf(change.object) : change.ref;
}

/** The change as it may be shown: what looks like a credential is not. */
export function maskChange(change: Change): Change {
  switch (change.kind) {
    case 'create':
      return { ...change, object: maskManifest(change.object) };
    case 'delete':
      return { ...change, before: maskManifest(change.before) };
    case 'edit':
      return {
        ...change,
        fields: change.fields.map(({ path, before, after }) => ({
          path,
          before: before === undefined ? undefined : maskField(path, before),
          after: after === undefined ? undefined : maskField(path, after),
        })),
      };
  }
}

/** True of an edit without fields: a step of the way back that finds nothing left to take back. */
export function changesNothing(change: Change): boolean {
  return change.kind === 'edit' && change.fields.length === 0;
}

/** The change that takes an effect back, given that nothing else touched it. */
export function invertChange(change: Change): Change {
  switch (change.kind) {
    case 'create':
      return { kind: 'delete', ref: refOf(change.object), before: change.object };
    case 'delete':
      return { kind: 'create', object: change.before };
    case 'edit':
      return {
        ...change,
        fields: [...change.fields].reverse().map(({ path, before, after }) => ({ path, before: after, after: before })),
      };
  }
}

/** The object after an edit, in memory. */
export function editObject(object: KubeManifest, fields: readonly FieldChange[]): KubeManifest {
  let edited: JsonObject = object;
  for (const field of fields) edited = setPath(edited, field.path, field.after);
  return edited as KubeManifest;
}

/**
 * Builds the fields of an edit that sets `path` to `after`, with each missing parent object as part of the before-image:
 * the change is made at the highest absent ancestor, so that undoing it removes the parents it made.
 */
export function fieldChange(object: JsonObject, path: FieldPath, after: Json | undefined): FieldChange | undefined {
  const before = getPath(object, path);
  if (equalJson(before, after)) return undefined;
  if (after === undefined) return { path, before, after };
  for (let depth = 1; depth < path.length; depth += 1) {
    const parent = path.slice(0, depth);
    if (getPath(object, parent) === undefined) {
      let value: Json = after;
      for (const key of path.slice(depth).reverse()) value = { [key]: value };
      return { path: parent, before: undefined, after: value };
    }
  }
  return { path, before, after };
}

/** What stops a change from being applied to a snapshot: the object exists, is missing, or a field is not as recorded. */
export interface ChangeConflict {
  readonly ref: ObjectRef;
  readonly message: string;
  readonly path?: FieldPath;
}

export function checkChange(change: Change, live: KubeManifest | undefined): ChangeConflict | undefined {
  const ref = changeRef(change);
  if (change.kind === 'create')
    return live === undefined ? undefined : { ref, message: `${formatRef(ref)} exists already` };
  if (live === undefined) return { ref, message: `${formatRef(ref)} does not exist` };
  if (change.uid !== undefined && live.metadata['uid'] !== undefined && live.metadata['uid'] !== change.uid)
    return { ref, message: `${formatRef(ref)} was deleted and made anew` };
  if (change.kind === 'delete') return undefined;
  for (const field of change.fields) {
    if (!equalJson(getPath(live, field.path), field.before))
      return { ref, path: field.path, message: `${formatRef(ref)} ${field.path.join('.')} is not as recorded` };
  }
  return undefined;
}

/** Lists that are known to be in the order of refKey. */
const ordered = new WeakSet<readonly KubeManifest[]>();

function isOrdered(objects: readonly KubeManifest[]): boolean {
  if (ordered.has(objects)) return true;
  let last = '';
  for (const object of objects) {
    const key = objectKey(object);
    if (key < last) return false;
    last = key;
  }
  ordered.add(objects);
  return true;
}

/** The objects after a change. The caller has checked that it applies. Keeps the order by refKey. */
export function applyToObjects(objects: readonly KubeManifest[], change: Change): readonly KubeManifest[] {
  const key = refKey(changeRef(change));
  const inOrder = isOrdered(objects);
  const after = changedObjects(objects, change, key, inOrder);
  if (inOrder) ordered.add(after);
  return after;
}

function changedObjects(
  objects: readonly KubeManifest[],
  change: Change,
  key: string,
  inOrder: boolean,
): readonly KubeManifest[] {
  switch (change.kind) {
    case 'create': {
      const others = objects.filter((object) => objectKey(object) !== key);
      if (!inOrder) return sortBy([...others, change.object], objectKey);
      const at = others.findIndex((object) => objectKey(object) > key);
      return at < 0 ? [...others, change.object] : others.toSpliced(at, 0, change.object);
    }
    case 'delete':
      return objects.filter((object) => objectKey(object) !== key);
    case 'edit':
      return objects.map((object) => (objectKey(object) === key ? editObject(object, change.fields) : object));
  }
}

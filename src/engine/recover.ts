import { isKeptField } from '../model/managed-fields.ts';
import type { KubeManifest } from '../model/object.ts';
import { refKey } from '../model/object.ts';
import { asArray, asObject, equalJson, getPath, isJsonObject } from '../shared/pure/json.ts';
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import type { Change, FieldChange } from '../plan/change.ts';
import { changeRef, changesNothing } from '../plan/change.ts';
import type { JournalStep } from './contract.ts';

export type StepVerdict =
  | { readonly kind: 'not-applied'; readonly step: JournalStep }
  | { readonly kind: 'applied'; readonly step: JournalStep }
  | { readonly kind: 'foreign-change'; readonly step: JournalStep; readonly message: string };

/** What became of each step that was begun and not recorded as done, judged by its object as it is now. Pure. */
export function planRecovery(
  steps: readonly JournalStep[],
  live: ReadonlyMap<number, KubeManifest | undefined>,
): readonly StepVerdict[] {
  return steps
    .filter((step) => step.state === 'started')
    .map((step) => {
      const change = step.change ?? step.step.change;
      const verdict = classifyChange(change, live.get(step.index));
      return verdict.kind === 'foreign-change' ? { ...verdict, step } : { kind: verdict.kind, step };
    });
}

export type ChangeVerdict =
  | { readonly kind: 'not-applied' }
  | { readonly kind: 'applied' }
  | { readonly kind: 'foreign-change'; readonly message: string };

/** Is the change in the object? Writes are atomic in both targets, so an edit is there whole or not at all. */
export function classifyChange(change: Change, live: KubeManifest | undefined): ChangeVerdict {
  switch (change.kind) {
    case 'create':
      if (live === undefined) return { kind: 'not-applied' };
      return holds(live, withoutServer(change.object))
        ? { kind: 'applied' }
        : { kind: 'foreign-change', message: 'an object of that name exists and is not the one to be created' };
    case 'delete':
      if (live === undefined) return { kind: 'applied' };
      return change.uid === undefined || live.metadata['uid'] === undefined || live.metadata['uid'] === change.uid
        ? { kind: 'not-applied' }
        : { kind: 'applied' };
    case 'edit': {
      if (changesNothing(change)) return { kind: 'applied' };
      if (live === undefined) return { kind: 'foreign-change', message: 'the object is gone' };
      if (change.uid !== undefined && live.metadata['uid'] !== undefined && live.metadata['uid'] !== change.uid)
        return { kind: 'foreign-change', message: 'the object was deleted and made anew' };
      const now = change.fields.map((field) => getPath(live, field.path));
      if (change.fields.every((field, index) => isWritten(now[index], field))) return { kind: 'applied' };
      if (change.fields.every((field, index) => isUnwritten(now[index], field))) return { kind: 'not-applied' };
      const field = change.fields.find((one, index) => !isWritten(now[index], one) && !isUnwritten(now[index], one));
      return {
        kind: 'foreign-change',
        message: `field ${(field ?? change.fields[0])?.path.join('.') ?? ''} has another value`,
      };
    }
  }
}

/**
 * Is anything of a write by our hand in the object, by what the object itself says? For steps of which no record says what became of them: a
 * state that is a copy does not know what the other one wrote after it. An object made by us stays ours when others edit it. An equal edit of
 * somebody else is not ours: the object names who wrote its fields. One that names nobody (in a directory) speaks for a step that is known
 * to have been `begun`, and for no other.
 */
export function leavesTrace(change: Change, live: KubeManifest | undefined, begun: Begun | undefined): boolean {
  if (changesNothing(change)) return false;
  switch (change.kind) {
    case 'create': {
      if (live === undefined) return false;
      const made = live.metadata['uid'];
      if (begun?.uid !== undefined && typeof made === 'string' && made !== begun.uid) return false;
      return isMarked(change.object)
        ? isMarked(live)
        : writtenByUs(live, [], begun) && classifyChange(change, live).kind === 'applied';
    }
    case 'delete':
      return classifyChange(change, live).kind === 'applied';
    case 'edit':
      if (live === undefined || (change.uid !== undefined && (live.metadata['uid'] ?? change.uid) !== change.uid))
        return false;
      return change.fields.some((field) => {
        const now = getPath(live, field.path);
        if (!isWritten(now, field) || isUnwritten(now, field)) return false;
        // Of what was taken away no entry says by whom.
        return field.after === undefined ? begun !== undefined : writtenByUs(live, field.path, begun);
      });
  }
}

/** A step that is known to have been begun; `uid`: of the object that it made. */
export interface Begun {
  readonly uid?: string;
}

function isMarked({ metadata }: KubeManifest): boolean {
  return asObject(metadata['labels'])['app.kubernetes.io/managed-by'] === 'sallyport';
}

/**
 * Does the object name us as who wrote the field? Of each entry at least the manager is read, of kinds that phases edit some fields as well;
 * of the others (containers, limits) it says that we wrote to the object, and no more.
 * Rule: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
function writtenByUs(live: KubeManifest, path: FieldPath, begun: Begun | undefined): boolean {
  const entries = asArray(live.metadata['managedFields']).map((entry) => asObject(entry));
  if (entries.length === 0) return begun !== undefined;
  const ours = entries.filter(({ manager }) => manager === 'sallyport');
  // Where no entry has fields, none were read.
  if (!isKeptField(path) || entries.every(({ fieldsV1 }) => fieldsV1 === undefined)) return ours.length > 0;
  return ours.some((entry) => {
    let at: Json | undefined = entry['fieldsV1'];
    for (const part of path) at = asObject(at)[`f:${part}`];
    return at !== undefined;
  });
}

/** A step on record that was begun, and may be in force though another record does not have it. */
export interface DoubtfulStep extends Begun {
  readonly key: string;
  readonly change: Change;
}

/**
 * Which of these steps, oldest first, are still in the cluster, and not by the doing of others that are known to be in force? Pure: `live` has
 * the objects by `refKey`.
 */
export function stillStanding(
  doubtful: readonly DoubtfulStep[],
  known: readonly Change[],
  live: ReadonlyMap<string, KubeManifest | undefined>,
): ReadonlySet<string> {
  const standing = new Map<string, Change>();
  for (const step of [...doubtful].reverse()) {
    const { key, change } = step;
    const ref = refKey(changeRef(change));
    const onIt = known.filter((other) => refKey(changeRef(other)) === ref);
    // What stands on it stands only with it.
    if ([...standing.values()].some((later) => standsOn(later, change))) standing.set(key, change);
    // What is gone was ours to take away only where it is known to have been made.
    else if (change.kind === 'delete' && !onIt.some(({ kind }) => kind === 'create')) continue;
    else if (!onIt.some((other) => explains(other, change)) && leavesTrace(change, live.get(ref), step))
      standing.set(key, change);
  }
  return new Set(standing.keys());
}

/** Another step that is in force left the object so. */
function explains(other: Change, change: Change): boolean {
  if (other.kind !== 'edit' || change.kind !== 'edit') return other.kind === change.kind;
  return other.fields.some((a) => change.fields.some((b) => overlaps(a.path, b.path)));
}

function standsOn(later: Change, earlier: Change): boolean {
  if (later.kind !== 'edit' || refKey(changeRef(later)) !== refKey(changeRef(earlier))) return false;
  return earlier.kind === 'create' || (earlier.kind === 'edit' && explains(earlier, later));
}

function overlaps(a: FieldPath, b: FieldPath): boolean {
  const shorter = Math.min(a.length, b.length);
  return a.slice(0, shorter).every((part, index) => part === b[index]);
}

/** What the API server gives every object: one that was deleted and is made again from what was read of it has others. */
const SERVER_METADATA: ReadonlySet<string> = new Set([
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'managedFields',
  'selfLink',
]);

function withoutServer({ metadata, ...object }: KubeManifest): JsonObject {
  const own = Object.entries(metadata).filter(([key]) => !SERVER_METADATA.has(key));
  const rest = Object.entries(object).filter(([key]) => key !== 'status');
  return { ...Object.fromEntries(rest), metadata: Object.fromEntries(own) };
}

/** A parent that the step makes may have been filled further by others since. */
function isWritten(now: Json | undefined, { before, after }: FieldChange): boolean {
  if (equalJson(now, after)) return true;
  return before === undefined && isJsonObject(after) && Object.keys(after).length > 0 && holds(now, after);
}

/** Or made by others, without anything of ours. */
function isUnwritten(now: Json | undefined, { before, after }: FieldChange): boolean {
  if (equalJson(now, before)) return true;
  return before === undefined && isJsonObject(after) && isJsonObject(now) && sharesNothing(now, after);
}

function sharesNothing(now: Json | undefined, ours: Json): boolean {
  if (isJsonObject(ours) && isJsonObject(now))
    return Object.entries(ours).every(([key, value]) => !Object.hasOwn(now, key) || sharesNothing(now[key], value));
  return false;
}

/** Everything of `ours` is in `live`; what the API server adds is not a difference. */
function holds(live: Json | undefined, ours: Json): boolean {
  if (isJsonObject(ours))
    return isJsonObject(live) && Object.entries(ours).every(([key, value]) => holds(live[key], value));
  if (Array.isArray(ours))
    return (
      Array.isArray(live) &&
      live.length === ours.length &&
      (ours as readonly Json[]).every((item, index) => holds((live as readonly Json[])[index], item))
    );
  return equalJson(live, ours);
}

import type { KubeManifest } from '../model/object.ts';
import { equalJson, getPath, isJsonObject } from '../shared/pure/json.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import type { Change, FieldChange } from '../plan/change.ts';
import { changesNothing } from '../plan/change.ts';
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

import type { AppliedStep } from '../engine/contract.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { phaseIndex } from '../model/phase.ts';
import type { FieldPath, Json } from '../shared/pure/json.ts';
import { equalJson, getPath, isJsonObject } from '../shared/pure/json.ts';
import { applyToObjects, changeRef, changesNothing, editObject } from './change.ts';
import type { Change, FieldChange } from './change.ts';
import type { Effect, Step } from './plan.ts';

/** A field of ours that somebody changed meanwhile: the three versions between which a person chooses. */
export interface Divergence {
  readonly object: string;
  readonly path: FieldPath;
  readonly before: Json | undefined;
  readonly ours: Json | undefined;
  readonly theirs: Json | undefined;
  /** The recorded step, newest first. */
  readonly seq: number;
}

export interface Undo {
  readonly steps: readonly Step[];
  readonly divergences: readonly Divergence[];
}

/** A decision on a divergence: what to leave in the field. */
export type Resolution = 'ours' | 'theirs' | 'before';

/** A decision on record about one field, and about that value of theirs alone. What was decided as `ours` is written at once. */
export interface Resolved {
  readonly object: string;
  readonly path: FieldPath;
  /** Absent where they took the field away. */
  readonly theirs?: Json;
  readonly keep: 'theirs' | 'before';
  readonly by: string;
  readonly at: number;
}

/** What was decided last of a field as it is now. */
export function findResolved(
  resolved: readonly Resolved[],
  object: string,
  path: FieldPath,
  theirs: Json | undefined,
): Resolved | undefined {
  return resolved.findLast(
    (one) => one.object === object && one.path.join('\n') === path.join('\n') && equalJson(one.theirs, theirs),
  );
}

/** Objects of which every divergence is decided, and all of them alike. */
export function resolutionsOf(
  divergences: readonly Divergence[],
  resolved: readonly Resolved[],
): ReadonlyMap<string, Resolution> {
  const found = new Map<string, Set<Resolution | 'open'>>();
  for (const { object, path, theirs } of divergences) {
    const keeps = found.get(object) ?? new Set();
    found.set(object, keeps.add(findResolved(resolved, object, path, theirs)?.keep ?? 'open'));
  }
  return new Map(
    [...found].flatMap(([object, keeps]): readonly (readonly [string, Resolution])[] => {
      const [keep] = keeps;
      return keeps.size === 1 && keep !== undefined && keep !== 'open' ? [[object, keep]] : [];
    }),
  );
}

/** Steps of the record that a rollback takes back: those of the namespace above the phase, newest first. */
export function stepsToUndo(applied: readonly AppliedStep[], namespace: string, to: PhaseName): readonly AppliedStep[] {
  return applied
    .filter((step) => step.namespace === namespace && phaseIndex(step.phase) > phaseIndex(to))
    .toSorted((a, b) => b.seq - a.seq);
}

/**
 * The inverse of recorded steps against the objects as they are: what was created goes, what was edited gets back the recorded
 * value or absence. A field that holds neither what we wrote nor what was there before is a divergence, never overwritten. What is back at
 * its earlier value already leaves a step that writes nothing, so that the record knows. A field that a later step of ours, still in
 * force for another namespace, holds counts as ours. `deferred` are edits that loosened something: they go together with the next
 * older step on the same object, so that the way back passes through no tighter state.
 */
export function deriveUndo(
  undo: readonly AppliedStep[],
  inForce: readonly AppliedStep[],
  objects: readonly KubeManifest[],
  resolutions: ReadonlyMap<string, Resolution> = new Map(),
  deferred: ReadonlySet<number> = new Set(),
): Undo {
  const steps: Step[] = [];
  const divergences: Divergence[] = [];
  const waiting = new Map<string, readonly AppliedStep[]>();
  const ids = new Map<string, number>();
  let now = objects;
  for (const [index, applied] of undo.entries()) {
    const key = refKey(changeRef(applied.change));
    const together = [...(waiting.get(key) ?? []), applied];
    if (deferred.has(applied.seq) && olderOnSameObject(applied, undo.slice(index + 1)) !== undefined) {
      waiting.set(key, together);
      continue;
    }
    waiting.delete(key);
    const before = now;
    const inverses: Change[] = [];
    for (const one of together) {
      const live = now.find((object) => refKey(refOf(object)) === key);
      const inverse = invert(one, live, inForce, resolutions, divergences);
      if (inverse === undefined) continue;
      inverses.push(inverse);
      now = applyToObjects(now, inverse);
    }
    const live = before.find((object) => refKey(refOf(object)) === key);
    const change = joinChanges(applied.change, live, inverses);
    const nothing = changesNothing(change);
    const effects = nothing ? [] : applied.step.effects.map(backwards);
    // The same peer may have been opened more than once.
    const times = (ids.get(applied.step.id) ?? 0) + 1;
    ids.set(applied.step.id, times);
    steps.push({
      id: `undo/${applied.step.id}${times === 1 ? '' : `-${times}`}`,
      namespace: applied.namespace,
      phase: applied.phase,
      operation: change.kind,
      title: nothing
        ? `nothing left to undo: ${applied.step.title}`
        : `undo: ${together.map((one) => one.step.title).join('; ')}`,
      ...(applied.step.workload === undefined ? {} : { workload: applied.step.workload }),
      ...(applied.step.direction === undefined ? {} : { direction: applied.step.direction }),
      change,
      effects,
      risks: effects.some((effect) => effect.kind === 'rollout') ? ['its pods are replaced one after another'] : [],
      undoes: together.map((one) => one.seq),
    });
  }
  return { steps, divergences };
}

/** Pods are waited for on the way back as well: they return to the account that they came from. */
function backwards(effect: Effect): Effect {
  if (effect.kind !== 'rollout' || effect.accounts === undefined) return effect;
  const { from, to } = effect.accounts;
  return { ...effect, accounts: { from: to, to: from } };
}

/** The next older of the steps given that wrote the same object. */
export function olderOnSameObject(applied: AppliedStep, older: readonly AppliedStep[]): AppliedStep | undefined {
  const key = refKey(changeRef(applied.change));
  return older.find((other) => refKey(changeRef(other.change)) === key);
}

/** Several inverses of steps on one object as one change against the object as it is. */
function joinChanges(change: Change, live: KubeManifest | undefined, inverses: readonly Change[]): Change {
  const [first, ...more] = inverses;
  const nothing: Change = { kind: 'edit', ref: changeRef(change), fields: [], owner: 'sallyport' };
  if (first === undefined) return nothing;
  const last = more.at(-1) ?? first;
  if (more.length === 0 || live === undefined || first.kind !== 'edit' || last.kind !== 'edit')
    return last.kind === 'delete' && live !== undefined ? { ...last, before: live } : last;
  let end = live;
  const paths: FieldPath[] = [];
  for (const inverse of inverses) {
    if (inverse.kind !== 'edit') continue;
    end = editObject(end, inverse.fields);
    paths.push(...inverse.fields.map((field) => field.path));
  }
  const fields = paths
    .filter(
      (path, index) => !paths.some((other, at) => covers(other, path) && (other.length < path.length || at < index)),
    )
    .map((path) => ({ path, before: getPath(live, path), after: getPath(end, path) }))
    .filter((field) => !equalJson(field.before, field.after));
  return fields.length === 0 ? nothing : { ...first, fields };
}

function covers(outer: FieldPath, inner: FieldPath): boolean {
  return outer.length <= inner.length && outer.every((key, index) => inner[index] === key);
}

function invert(
  applied: AppliedStep,
  live: KubeManifest | undefined,
  inForce: readonly AppliedStep[],
  resolutions: ReadonlyMap<string, Resolution>,
  divergences: Divergence[],
): Change | undefined {
  const { change } = applied;
  switch (change.kind) {
    case 'create': {
      // Gone already: somebody, or an undo before this one, removed it.
      if (live === undefined) return undefined;
      const changed = differsFrom(change.object, live, ownWrites(applied, inForce));
      if (changed !== undefined) {
        const choice = resolutions.get(formatRef(refOf(live)));
        if (choice === 'theirs') return undefined;
        if (choice === undefined) {
          divergences.push({
            object: formatRef(refOf(live)),
            path: changed,
            before: undefined,
            ours: getPath(change.object, changed),
            theirs: getPath(live, changed),
            seq: applied.seq,
          });
          return undefined;
        }
      }
      const uid = live.metadata['uid'];
      return { kind: 'delete', ref: refOf(live), ...(typeof uid === 'string' ? { uid } : {}), before: live };
    }
    case 'delete':
      // A pod comes from its controller: what was kept of it is not all of it, and another one would not be that one.
      if (change.ref.kind === 'Pod' && change.ref.apiVersion === 'v1') return undefined;
      // What is made again is another object to the API server: a step that is taken back after this one must not ask for the old one.
      return live === undefined ? { kind: 'create', object: withoutUid(change.before) } : undefined;
    case 'edit': {
      if (live === undefined) return undefined;
      const fields: FieldChange[] = [];
      for (const field of [...change.fields].reverse()) {
        const theirs = getPath(live, field.path);
        if (equalJson(theirs, field.before)) continue;
        const ours = ownWrites(applied, inForce)
          .flatMap((other) => (other.change.kind === 'edit' ? other.change.fields : []))
          .filter((other) => equalJson([...other.path], [...field.path]))
          .map((other) => other.after);
        const isOurs = equalJson(theirs, field.after) || ours.some((value) => equalJson(theirs, value));
        if (!isOurs && isJsonObject(field.after ?? null) && isJsonObject(theirs ?? null)) {
          // A parent that we made and others have filled since: only what we put in is taken out again.
          const inner = innerFields(field, theirs);
          if (inner !== undefined) {
            fields.push(...inner);
            continue;
          }
        }
        if (!isOurs) {
          const choice = resolutions.get(formatRef(refOf(live)));
          if (choice === 'theirs') continue;
          if (choice === undefined || choice === 'ours') {
            divergences.push({
              object: formatRef(refOf(live)),
              path: field.path,
              before: field.before,
              ours: field.after,
              theirs,
              seq: applied.seq,
            });
            continue;
          }
        }
        fields.push({ path: field.path, before: theirs, after: field.before });
      }
      if (fields.length === 0) return undefined;
      const uid = live.metadata['uid'];
      return {
        kind: 'edit',
        ref: refOf(live),
        ...(typeof uid === 'string' ? { uid } : {}),
        fields,
        owner: change.owner,
      };
    }
  }
}

function withoutUid(object: KubeManifest): KubeManifest {
  const fields = Object.entries(object.metadata).filter(([key]) => key !== 'uid');
  return { ...object, metadata: { ...Object.fromEntries(fields), name: object.metadata.name } };
}

/** Later steps of ours on the same object that are still in force. */
function ownWrites(applied: AppliedStep, inForce: readonly AppliedStep[]): readonly AppliedStep[] {
  const key = refKey(changeRef(applied.change));
  return inForce.filter((other) => other.seq > applied.seq && refKey(changeRef(other.change)) === key);
}

/** Where a parent object was absent before: the leaves that we put in and that still hold our value. Undefined if one was changed. */
function innerFields(field: FieldChange, theirs: Json | undefined): readonly FieldChange[] | undefined {
  if (field.before !== undefined) return undefined;
  const out: FieldChange[] = [];
  const walk = (ours: Json, live: Json | undefined, path: FieldPath): boolean => {
    if (isJsonObject(ours) && isJsonObject(live)) {
      return Object.entries(ours).every(([key, value]) =>
        Object.hasOwn(live, key) ? walk(value, live[key], [...path, key]) : true,
      );
    }
    if (!equalJson(ours, live)) return false;
    out.push({ path, before: live, after: undefined });
    return true;
  };
  return walk(field.after ?? null, theirs, field.path) ? out : undefined;
}

/** Fields that the API server and controllers write into any object. */
const SERVER_METADATA = new Set([
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'managedFields',
  'selfLink',
  'namespace',
]);

/** The first field in which a created object no longer is what we made it, later writes of ours apart; undefined if it is. */
function differsFrom(ours: KubeManifest, live: KubeManifest, later: readonly AppliedStep[]): FieldPath | undefined {
  let expected = ours;
  for (const applied of later) {
    if (applied.change.kind !== 'edit') continue;
    for (const field of applied.change.fields)
      if (equalJson(getPath(live, field.path), field.after)) expected = withField(expected, field);
  }
  for (const key of Object.keys(live)) {
    if (key === 'status' || key === 'apiVersion' || key === 'kind') continue;
    if (key === 'metadata') {
      for (const [name, value] of Object.entries(live.metadata)) {
        if (SERVER_METADATA.has(name)) continue;
        if (!equalJson(value, expected.metadata[name])) return ['metadata', name];
      }
      continue;
    }
    if (!contains(live[key], expected[key])) return [key];
  }
  return undefined;
}

function withField(object: KubeManifest, field: FieldChange): KubeManifest {
  return applyToObjects([object], {
    kind: 'edit',
    ref: refOf(object),
    fields: [field],
    owner: 'sallyport',
  })[0] as KubeManifest;
}

/** Does `live` hold everything of `ours`, with no other items in lists? Keys that the API server fills in are not a difference. */
function contains(live: Json | undefined, ours: Json | undefined): boolean {
  if (ours === undefined) return live === undefined || equalJson(live, {}) || equalJson(live, []);
  if (isJsonObject(ours)) {
    return (
      isJsonObject(live) &&
      Object.entries(ours).every(([key, value]) => contains(live[key], value)) &&
      noRules(live, ours)
    );
  }
  if (Array.isArray(ours))
    return (
      Array.isArray(live) &&
      live.length === ours.length &&
      (ours as readonly Json[]).every((item, index) => contains((live as readonly Json[])[index], item))
    );
  return equalJson(live, ours);
}

/** Lists that somebody added beside ours (an `ingress` in a policy of ours that had none) are a change; scalars are defaults. */
function noRules(live: Json, ours: Json): boolean {
  if (!isJsonObject(live) || !isJsonObject(ours)) return true;
  return Object.entries(live).every(
    ([key, value]) => Object.hasOwn(ours, key) || !Array.isArray(value) || value.length === 0,
  );
}

import type { AppliedStep } from '../engine/contract.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, groupOf, refKey, refOf } from '../model/object.ts';
import { equalJson, getPath, isJsonObject } from '../shared/pure/json.ts';
import { groupBy } from '../shared/pure/order.ts';
import type { FieldPath, Json } from '../shared/pure/json.ts';
import { changeRef } from './change.ts';
import type { FieldChange } from './change.ts';
import { firstDifference, isExact } from './meaning.ts';
import { findResolved } from './rollback.ts';
import type { Resolved } from './rollback.ts';

/** A place where the cluster is not what the record says Sallyport left there. */
export interface Drift {
  readonly object: string;
  readonly path: string;
  readonly field: FieldPath;
  readonly ours: Json;
  readonly now: Json;
  readonly step: string;
}

/** A field of ours as its newest step in force left it. */
export interface ExpectedField {
  readonly path: FieldPath;
  readonly ours: Json | undefined;
  readonly step: AppliedStep;
  /** Of an object that a grant lent: what it changed there, and what is expected of the object without it. */
  readonly lent?: { readonly fields: readonly FieldChange[]; readonly others: readonly ExpectedField[] };
}

/**
 * Compares every field that Sallyport wrote, as its newest step in force left it, with the cluster as it is. A value of theirs that a person
 * decided to keep is no drift.
 */
export function checkDrift(
  applied: readonly AppliedStep[],
  objects: readonly KubeManifest[],
  resolved: readonly Resolved[] = [],
): readonly Drift[] {
  const live = new Map(objects.map((object) => [refKey(refOf(object)), object]));
  return [...expectedFields(applied)].flatMap(([key, fields]) => driftOf(fields, live.get(key), resolved));
}

/** Every field that Sallyport wrote, by the `refKey` of its object: for those who ask of one object at a time. */
export function expectedFields(applied: readonly AppliedStep[]): ReadonlyMap<string, readonly ExpectedField[]> {
  const expected: Expected = new Map();
  for (const step of applied.toSorted((a, b) => a.seq - b.seq)) {
    // What an experiment takes away or loosens is not how it should be.
    if (step.step.id.startsWith('chaos/')) continue;
    const key = refKey(changeRef(step.change));
    switch (step.change.kind) {
      case 'create':
        for (const field of Object.keys(step.change.object)) {
          if (field === 'apiVersion' || field === 'kind' || field === 'metadata') continue;
          expected.set(`${key}\n${field}`, { path: [field], ours: step.change.object[field], step });
        }
        for (const field of ['labels', 'annotations'])
          if (step.change.object.metadata[field] !== undefined)
            expected.set(`${key}\nmetadata\n${field}`, {
              path: ['metadata', field],
              ours: step.change.object.metadata[field],
              step,
            });
        break;
      case 'edit':
        for (const field of step.change.fields) {
          const name = `${key}\n${field.path.join('\n')}`;
          // A write above or below an earlier one takes its place.
          for (const other of expected.keys())
            if (other.startsWith(`${name}\n`) || name.startsWith(`${other}\n`))
              supersede(expected, other, field.path, field.after, step);
          expected.set(name, { path: field.path, ours: field.after, step });
        }
        break;
      case 'delete':
        // What we took away ourselves is not missed.
        for (const other of [...expected.keys()]) if (other.startsWith(`${key}\n`)) expected.delete(other);
        break;
    }
  }
  const byObject = groupBy(expected.values(), ({ step }) => refKey(changeRef(step.change)));
  return new Map([...byObject].map(([key, fields]) => [key, withLent(key, fields, applied)]));
}

/** Fields that a grant changed know what they were without it. */
function withLent(
  key: string,
  fields: readonly ExpectedField[],
  applied: readonly AppliedStep[],
): readonly ExpectedField[] {
  const isLent = ({ change, step }: AppliedStep): boolean => change.kind === 'edit' && step.grant !== undefined;
  if (!fields.some(({ step }) => isLent(step))) return fields;
  const onIt = applied.filter(({ change }) => refKey(changeRef(change)) === key);
  const others = expectedFields(onIt.filter((step) => !isLent(step))).get(key) ?? [];
  const lent = onIt.filter(isLent).flatMap(({ change }) => (change.kind === 'edit' ? change.fields : []));
  return fields.map((field) => (isLent(field.step) ? { ...field, lent: { fields: lent, others } } : field));
}

/** What of one object is not as it was left. `object` is undefined where it is not there. */
export function driftOf(
  fields: readonly ExpectedField[],
  object: KubeManifest | undefined,
  resolved: readonly Resolved[] = [],
): readonly Drift[] {
  return fields.flatMap(({ path, ours, step, lent }) => {
    const now = object === undefined ? undefined : getPath(object, path);
    if (isAsLeft(step, path, ours, now)) return [];
    if (step.step.grant !== undefined && endedByItself(lent, object)) return [];
    const name = formatRef(changeRef(step.change));
    if (findResolved(resolved, name, path, now)?.keep === 'theirs') return [];
    return [
      { object: name, path: path.join('.'), field: path, ours: ours ?? null, now: now ?? null, step: step.step.id },
    ];
  });
}

/**
 * Access that ends by itself is ended in the cluster by whoever runs the expirer, without this record: an object of it that is gone, or a
 * lent one that is as it was before the grant, is what was wanted.
 */
function endedByItself(lent: ExpectedField['lent'], object: KubeManifest | undefined): boolean {
  if (lent === undefined || object === undefined) return lent === undefined && object === undefined;
  return (
    lent.fields.every((field) => equalJson(getPath(object, field.path), field.before)) &&
    driftOf(lent.others, object).length === 0
  );
}

type Expected = Map<string, ExpectedField>;

function supersede(
  expected: Expected,
  key: string,
  path: readonly string[],
  after: Json | undefined,
  step: AppliedStep,
): void {
  const known = expected.get(key);
  if (known === undefined) return;
  if (path.length <= known.path.length) {
    expected.delete(key);
    return;
  }
  // A field inside one that we wrote whole: the expectation of the whole follows it.
  const inner = path.slice(known.path.length);
  expected.set(key, { path: known.path, ours: withInner(known.ours, inner, after), step });
}

function withInner(value: Json | undefined, path: readonly string[], after: Json | undefined): Json | undefined {
  const [key, ...rest] = path;
  if (key === undefined) return after;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const object = value as Readonly<Record<string, Json>>;
  const inner = withInner(object[key], rest, after);
  const others = Object.fromEntries(Object.entries(object).filter(([name]) => name !== key));
  return inner === undefined ? others : { ...others, [key]: inner };
}

/** The spec of a policy says something else with a field more: a rule that names a port besides admits less. */
function isAsLeft(
  { change, step }: AppliedStep,
  path: FieldPath,
  ours: Json | undefined,
  now: Json | undefined,
): boolean {
  const { apiVersion, kind } = changeRef(change);
  const group = groupOf(apiVersion);
  if (path.join('.') !== 'spec' || step.grant !== undefined || !isExact(group, kind) || !isJsonObject(ours))
    return covers(now, ours);
  return firstDifference(group, ours, now, ['spec']) === undefined;
}

/** What we wrote is all there; what the API server or others added beside it is not ours to judge. */
function covers(now: Json | undefined, ours: Json | undefined): boolean {
  if (ours === undefined) return now === undefined;
  if (typeof ours === 'object' && ours !== null && !Array.isArray(ours)) {
    if (typeof now !== 'object' || now === null || Array.isArray(now)) return Object.keys(ours).length === 0;
    return Object.entries(ours).every(([key, value]) => covers((now as Readonly<Record<string, Json>>)[key], value));
  }
  if (Array.isArray(ours))
    return (
      Array.isArray(now) &&
      now.length === ours.length &&
      (ours as readonly Json[]).every((item, index) => covers((now as readonly Json[])[index], item))
    );
  return equalJson(now, ours);
}

import type { AppliedStep } from '../engine/contract.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import { equalJson, getPath } from '../shared/pure/json.ts';
import type { FieldPath, Json } from '../shared/pure/json.ts';
import { changeRef } from './change.ts';
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
  const expected = new Map<
    string,
    { readonly path: readonly string[]; readonly ours: Json | undefined; readonly step: AppliedStep }
  >();
  for (const step of applied.toSorted((a, b) => a.seq - b.seq)) {
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
        break;
    }
  }
  const drift: Drift[] = [];
  for (const { path, ours, step } of expected.values()) {
    const object = live.get(refKey(changeRef(step.change)));
    const now = object === undefined ? undefined : getPath(object, path);
    if (covers(now, ours)) continue;
    const name = formatRef(changeRef(step.change));
    if (findResolved(resolved, name, path, now)?.keep === 'theirs') continue;
    drift.push({
      object: name,
      path: path.join('.'),
      field: path,
      ours: ours ?? null,
      now: now ?? null,
      step: step.step.id,
    });
  }
  return drift;
}

type Expected = Map<
  string,
  { readonly path: readonly string[]; readonly ours: Json | undefined; readonly step: AppliedStep }
>;

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

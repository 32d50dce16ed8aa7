import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asObject, equalJson, getPath, isJsonObject, setPath } from '../shared/pure/json.ts';
import type { KubeManifest } from '../model/object.ts';
import type { FieldChange } from '../plan/change.ts';

export type PatchOperation =
  | { readonly op: 'test' | 'add' | 'replace'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string };

/** RFC 6901. */
export function jsonPointer(path: FieldPath): string {
  return path.map((key) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/**
 * A JSON Patch (RFC 6902) that makes the edit of the live object and nothing else: all tests come first, on the uid and on each
 * old value. Where that cannot be tested, the whole object must still be the version read; also where `exact` is wanted, since fields beside
 * those of the edit may turn what it means (a rule more of an ALLOW that has become a DENY).
 */
export function buildEditPatch(
  live: KubeManifest,
  fields: readonly FieldChange[],
  exact = false,
): readonly PatchOperation[] {
  const tests: PatchOperation[] = [];
  const writes: PatchOperation[] = [];
  const uid = live.metadata['uid'];
  if (uid !== undefined) tests.push({ op: 'test', path: '/metadata/uid', value: uid });
  const version = live.metadata['resourceVersion'];
  if ((exact || fields.some(({ before }) => !isTestable(before))) && version !== undefined)
    tests.push({ op: 'test', path: '/metadata/resourceVersion', value: version });
  let edited: JsonObject = live;
  for (const { path, before, after } of fields) {
    if (before !== undefined && isTestable(before)) tests.push({ op: 'test', path: jsonPointer(path), value: before });
    const now = getPath(edited, path);
    if (after === undefined) {
      if (now !== undefined) writes.push({ op: 'remove', path: jsonPointer(path) });
    } else if (now !== undefined) {
      writes.push({ op: 'replace', path: jsonPointer(path), value: after });
    } else {
      writes.push(addWithParents(edited, path, after));
    }
    edited = setPath(edited, path, after);
  }
  return [...tests, ...writes];
}

/**
 * Absence cannot be tested. Nor can text with rare control characters: the test compares encoded bytes, and how these are escaped
 * depends on the server's version.
 */
function isTestable(before: Json | undefined): boolean {
  return before !== undefined && !/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/u.test(allText(before));
}

function allText(value: Json): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return (value as readonly Json[]).map(allText).join('');
  return isJsonObject(value) ? Object.values(value).map(allText).join('') : '';
}

/** `add` needs the parent to be there, so the highest one that is missing is added with what is to be in it. */
function addWithParents(object: JsonObject, path: FieldPath, value: Json): PatchOperation {
  let depth = 1;
  while (depth < path.length && getPath(object, path.slice(0, depth)) !== undefined) depth += 1;
  let nested = value;
  for (const key of path.slice(depth).reverse()) nested = { [key]: nested };
  return { op: 'add', path: jsonPointer(path.slice(0, depth)), value: nested };
}

const SERVER_METADATA = [
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'managedFields',
  'selfLink',
];

/** The object without what only a server writes, so that it can be created (again). */
export function withoutServerFields(object: KubeManifest): KubeManifest {
  const metadata = Object.fromEntries(
    Object.entries(object.metadata).filter(([key]) => !SERVER_METADATA.includes(key)),
  );
  const rest = Object.entries(object).filter(([key]) => key !== 'status');
  return { ...Object.fromEntries(rest), metadata } as KubeManifest;
}

/** Does the value hold all that is wanted? A server adds defaults to maps, never items to lists. */
export function holds(live: Json | undefined, wanted: Json): boolean {
  if (isJsonObject(wanted)) {
    if (!isJsonObject(live)) return false;
    return Object.entries(wanted).every(([key, value]) =>
      holds(Object.hasOwn(live, key) ? live[key] : undefined, value),
    );
  }
  if (Array.isArray(wanted)) {
    const items = wanted as readonly Json[];
    return (
      Array.isArray(live) &&
      live.length === items.length &&
      items.every((item, index) => holds((live as readonly Json[])[index], item))
    );
  }
  return equalJson(live, wanted);
}

/** Is every field of the edit at its new value? */
export function isEdited(live: JsonObject, fields: readonly FieldChange[]): boolean {
  return fields.every(({ path, after }) => equalJson(getPath(live, path), after));
}

/** As isEdited, but for what a server adds to a value by itself. */
export function tookEdit(live: JsonObject, fields: readonly FieldChange[]): boolean {
  return fields.every(({ path, after }) => {
    const now = getPath(live, path);
    return after === undefined ? now === undefined : holds(now, after);
  });
}

/** For messages: text and numbers as they are, larger values by their size; nothing that looks like a credential. */
export function describeValue(path: FieldPath, value: Json | undefined): string {
  if (value === undefined) return 'absent';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isJsonObject(value)) return `a map of ${Object.keys(asObject(value)).length}`;
  if (/pass|secret|token|key|cred|auth/iu.test(path.at(-1) ?? '')) return 'a value not shown';
  const text = JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}

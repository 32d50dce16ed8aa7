/** A JSON value as the API server and YAML files give it. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Object keys from the root to a field. Arrays are replaced whole, so a segment is never an index. */
export type FieldPath = readonly string[];

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object at `value`, or an empty one when it is absent or something else. */
export function asObject(value: Json | undefined): JsonObject {
  return isJsonObject(value) ? value : {};
}

/** The array at `value`, or an empty one when it is absent or something else. */
export function asArray(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? (value as readonly Json[]) : [];
}

export function asString(value: Json | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function asNumber(value: Json | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

export function asBoolean(value: Json | undefined): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined;
}

/** String values of a map such as labels; other values are left out. */
export function asStringMap(value: Json | undefined): Readonly<Record<string, string>> {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, item] of Object.entries(asObject(value))) if (typeof item === 'string') out[key] = item;
  return out;
}

/** The value at `path`, or undefined where any part of the way is absent. Own keys only. */
export function getPath(value: Json | undefined, path: FieldPath): Json | undefined {
  let current = value;
  for (const key of path) {
    if (!isJsonObject(current) || !Object.hasOwn(current, key)) return undefined;
    current = current[key];
  }
  return current;
}

/**
 * A copy of `root` with the field at `path` set, or removed when `value` is undefined. Parents that are missing are made;
 * parents are kept when they become empty (the caller states which parents it created as changes of their own).
 */
export function setPath(root: JsonObject, path: FieldPath, value: Json | undefined): JsonObject {
  const [key, ...rest] = path;
  if (key === undefined) throw new Error('setPath needs a path');
  const copy: Record<string, Json> = { ...root };
  if (rest.length > 0) {
    const child = Object.hasOwn(root, key) ? root[key] : undefined;
    if (value === undefined && !isJsonObject(child)) return root;
    copy[key] = setPath(asObject(child), rest, value);
    return copy;
  }
  // Built without the key rather than deleted from the copy, which keeps the result's key order stable.
  if (value === undefined) return Object.fromEntries(Object.entries(root).filter(([name]) => name !== key));
  copy[key] = value;
  return copy;
}

/** Equality of JSON values; the order of keys does not count, the order of items does. */
export function equalJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return canonicalJson(a) === canonicalJson(b);
}

/** JSON text with sorted keys: equal values have equal text. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(canonicalJson).join(',')}]`;
  if (isJsonObject(value)) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

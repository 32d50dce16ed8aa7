import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, equalJson, isJsonObject } from '../shared/pure/json.ts';
import type { KubeManifest } from '../model/object.ts';

/** The field manager of everything that Sallyport writes. */
export const FIELD_MANAGER = 'sallyport';

/** Who owns which fields of an object, with regard to Sallyport. */
export interface Ownership {
  /**
   * managedFields in which the fields that Sallyport owns through creates and patches are its applied fields as well;
   * undefined where they are already. Until then a server-side apply would conflict with Sallyport itself.
   */
  readonly migrated?: readonly Json[];
  /** The object as far as Sallyport owns it: what an apply must repeat so that nothing is dropped. */
  readonly applied: JsonObject;
}

/**
 * Reads `metadata.managedFields`. Undefined where Sallyport owns nothing, and where its entries are of another version than the object was
 * read in, since field names may differ between versions.
 * Rule: https://kubernetes.io/docs/reference/using-api/server-side-apply/ (field management, migrating between client-side and
 * server-side apply).
 */
export function deriveOwnership(live: KubeManifest): Ownership | undefined {
  const entries = asArray(live.metadata['managedFields']);
  const ours = entries.filter((entry) => isOurs(asObject(entry)));
  // Made anew by somebody else, from a copy of ours say: there is nothing of ours that an apply could go on from.
  if (ours.length === 0) return undefined;
  if (ours.some((entry) => asString(asObject(entry)['apiVersion']) !== live.apiVersion)) return undefined;
  let fields: JsonObject = {};
  for (const entry of ours) fields = unionFields(fields, asObject(asObject(entry)['fieldsV1']));
  const applied = asObject(extractFields(live, fields));
  if (!ours.some((entry) => asObject(entry)['operation'] === 'Update')) return { applied };
  const { time } = asObject(ours.at(-1));
  const merged: Json = {
    manager: FIELD_MANAGER,
    operation: 'Apply',
    apiVersion: live.apiVersion,
    ...(time === undefined ? {} : { time }),
    fieldsType: 'FieldsV1',
    fieldsV1: fields,
  };
  return { applied, migrated: [...entries.filter((entry) => !isOurs(asObject(entry))), merged] };
}

/** Has Sallyport written any of the object? */
export function isManagedByUs(live: KubeManifest): boolean {
  return asArray(live.metadata['managedFields']).some((entry) => isOurs(asObject(entry)));
}

function isOurs(entry: JsonObject): boolean {
  // Status and the like are written by controllers through a subresource, never by Sallyport.
  return entry['manager'] === FIELD_MANAGER && (asString(entry['subresource']) ?? '') === '';
}

function unionFields(a: JsonObject, b: JsonObject): JsonObject {
  const out: Record<string, Json> = { ...a };
  for (const [key, value] of Object.entries(b)) out[key] = unionFields(asObject(out[key]), asObject(value));
  return out;
}

/** The part of a value that a FieldsV1 set names. */
function extractFields(value: Json, fields: JsonObject): Json | undefined {
  const inner = Object.entries(fields).filter(([key]) => key !== '.');
  // A leaf, or something that is owned as one: all of it.
  if (inner.length === 0) return Object.hasOwn(fields, '.') && isJsonObject(value) ? {} : value;
  if (Array.isArray(value)) return extractItems(asArray(value), inner);
  if (!isJsonObject(value)) return value;
  const out: Record<string, Json> = {};
  for (const [key, sub] of inner) {
    if (!key.startsWith('f:')) continue;
    const name = key.slice(2);
    if (!Object.hasOwn(value, name)) continue;
    const part = extractFields(value[name] ?? null, asObject(sub));
    if (part !== undefined) out[name] = part;
  }
  return out;
}

function extractItems(items: readonly Json[], inner: readonly (readonly [string, Json])[]): Json {
  return items.flatMap((item, index) => {
    for (const [key, sub] of inner) {
      if (key === `i:${index}`) return [extractFields(item, asObject(sub)) ?? item];
      if (key.startsWith('v:') && equalJson(parseKey(key), item)) return [item];
      if (!key.startsWith('k:') || !isJsonObject(item)) continue;
      const keys = asObject(parseKey(key));
      if (!Object.entries(keys).every(([name, expected]) => equalJson(item[name], expected))) continue;
      // The keys name the item, so they are stated even where another manager owns them.
      return [{ ...asObject(extractFields(item, asObject(sub))), ...keys }];
    }
    return [];
  });
}

function parseKey(key: string): Json | undefined {
  try {
    return JSON.parse(key.slice(2)) as Json;
  } catch {
    return undefined;
  }
}

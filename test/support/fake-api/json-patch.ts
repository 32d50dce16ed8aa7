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

/** RFC 6902 on object members: test, add, replace and remove. Returns the object, or what the API server says of the fault. */
export function applyJsonPatch(object: JsonObject, patch: Json): JsonObject | string {
  if (!Array.isArray(patch)) return 'a JSON patch is a list';
  let current = object;
  for (const operation of asArray(patch).map(asObject)) {
    const pointer = asString(operation['path']) ?? '';
    if (!pointer.startsWith('/')) return `bad pointer ${pointer}`;
    const path = pointer
      .slice(1)
      .split('/')
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const parent = path.length === 1 ? current : getPath(current, path.slice(0, -1));
    const value = getPath(current, path);
    switch (operation['op']) {
      case 'test':
        if (!equalJson(value ?? null, operation['value'] ?? null)) return `testing path ${pointer} failed: test failed`;
        break;
      case 'add':
        if (!isJsonObject(parent))
          return `add operation does not apply: doc is missing path: "${pointer}": missing value`;
        current = setPath(current, path, operation['value'] ?? null);
        break;
      case 'replace':
        if (value === undefined)
          return `replace operation does not apply: doc is missing key: ${pointer}: missing value`;
        current = setPath(current, path, operation['value'] ?? null);
        break;
      case 'remove':
        if (value === undefined) return `remove operation does not apply: doc is missing path: "${pointer}"`;
        current = setPath(current, path, undefined);
        break;
      default:
        return `unexpected kind: ${asString(operation['op']) ?? ''}`;
    }
  }
  return current;
}

/** RFC 7386. */
export function applyMergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const out = new Map(Object.entries(isJsonObject(target) ? target : {}));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) out.delete(key);
    else out.set(key, applyMergePatch(out.get(key), value));
  }
  return Object.fromEntries(out);
}

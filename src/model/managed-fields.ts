// Of `metadata.managedFields` what is kept of kinds that steps edit, and what that can be asked about.
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asObject } from '../shared/pure/json.ts';

const KEPT_MAPS = new Set(['f:labels', 'f:annotations']);
const KEPT_LEAVES = new Set(['f:serviceAccountName', 'f:serviceAccount', 'f:mode']);
const KEPT_WAYS = new Set(['f:metadata', 'f:spec', 'f:template', 'f:jobTemplate', 'f:mtls']);

/** Of a tree of owned fields what phases write: labels, annotations, accounts and modes of mTLS. The rest is large. */
export function keepFields(fields: JsonObject, before: JsonObject = {}): JsonObject {
  const out: Record<string, Json> = { ...before };
  for (const [key, value] of Object.entries(fields)) {
    if (KEPT_LEAVES.has(key)) out[key] = {};
    else if (KEPT_MAPS.has(key)) out[key] = { ...asObject(out[key]), ...withoutItself(asObject(value)) };
    else if (KEPT_WAYS.has(key)) {
      const inner = keepFields(asObject(value), asObject(out[key]));
      if (Object.keys(inner).length > 0) out[key] = inner;
    }
  }
  return out;
}

/** Does what is kept say who owns this field, whoever it is? Of others (containers, a whole spec) an owner's entry may be cut away. */
export function isKeptField(path: FieldPath): boolean {
  for (const [index, part] of path.entries()) {
    const key = `f:${part}`;
    if (KEPT_LEAVES.has(key)) return index === path.length - 1;
    if (KEPT_MAPS.has(key)) return index >= path.length - 2;
    if (!KEPT_WAYS.has(key)) return false;
  }
  return false;
}

/** The entry `.` stands for the map itself. */
function withoutItself(fields: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([key]) => key !== '.'));
}

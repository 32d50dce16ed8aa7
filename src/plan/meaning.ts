// Do two texts of an object mean the same? Unlike a comparison of what we wrote with what is there, a field more can be a rule less.
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, equalJson, isJsonObject } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';

export interface Meaning {
  /** API group of the object. */
  readonly group: string;
  /** The first text is as we wrote it, and the server may have filled in the second. */
  readonly filled: boolean;
}

/** Groups of which it is known what a server fills in: of Istio's nothing (their definitions have no defaults), of NetworkPolicy see `isDefault`. */
const KNOWN_DEFAULTS = new Set(['networking.k8s.io', 'security.istio.io', 'networking.istio.io', '', 'apps', 'batch']);

/**
 * The shallowest field in which two objects differ in meaning; undefined where they mean the same. Lists are compared whole. A key that only
 * one side has is shown by the map around it. Of kinds whose defaults are not known (Calico's server fills in tier and types) fields beside ours
 * are taken for such.
 */
export function firstDifference(
  meaning: Meaning,
  expected: Json | undefined,
  now: Json | undefined,
  path: FieldPath = [],
): FieldPath | undefined {
  const { group, filled } = meaning;
  if (isJsonObject(expected) && isJsonObject(now)) {
    for (const key of uniqueSorted([...Object.keys(expected), ...Object.keys(now)])) {
      const [a, b] = [expected[key], now[key]];
      if (a === undefined && (isDefault(group, key, b, expected) || (filled && !KNOWN_DEFAULTS.has(group)))) continue;
      if (b === undefined && isDefault(group, key, a, now)) continue;
      if (path.length > 1 && (a === undefined) !== (b === undefined)) return path;
      const found = firstDifference(meaning, a, b, [...path, key]);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (Array.isArray(expected) && Array.isArray(now)) {
    const [a, b] = [expected as readonly Json[], now as readonly Json[]];
    const same =
      a.length === b.length && a.every((one, index) => firstDifference(meaning, one, b[index]) === undefined);
    return same ? undefined : path;
  }
  return equalJson(expected, now) ? undefined : path;
}

/**
 * Does a field that is not there mean this value? Of a NetworkPolicy alone: `protocol` is TCP, an empty list is none, and `policyTypes` are
 * Ingress, with Egress where there are such rules (SetDefaults_NetworkPolicy in pkg/apis/networking/v1/defaults.go).
 */
function isDefault(group: string, key: string, value: Json | undefined, beside: JsonObject): boolean {
  if (group !== 'networking.k8s.io') return false;
  if (key === 'protocol') return value === 'TCP';
  if (key === 'policyTypes')
    return equalJson(value, ['Ingress', ...(asArray(beside['egress']).length > 0 ? ['Egress'] : [])]);
  return Array.isArray(value) && value.length === 0 && ['ingress', 'egress', 'from', 'to', 'ports'].includes(key);
}

/** Kinds of ours of which a field beside ours may turn the meaning, and whose defaults are known. */
const EXACT = new Set([
  'networking.k8s.io/NetworkPolicy',
  'security.istio.io/AuthorizationPolicy',
  'security.istio.io/PeerAuthentication',
]);

export function isExact(group: string, kind: string): boolean {
  return EXACT.has(`${group}/${kind}`);
}

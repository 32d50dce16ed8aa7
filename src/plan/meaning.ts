// Do two texts of an object mean the same? Unlike a comparison of what we wrote with what is there, a field more can be a rule less.
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, equalJson, isJsonObject } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';

/**
 * The shallowest field in which two objects differ in meaning; undefined where they mean the same. Lists are compared whole. A key that only
 * one side has is shown by the map around it. `group` is the API group of the object.
 */
export function firstDifference(
  group: string,
  expected: Json | undefined,
  now: Json | undefined,
  path: FieldPath = [],
): FieldPath | undefined {
  if (isJsonObject(expected) && isJsonObject(now)) {
    for (const key of uniqueSorted([...Object.keys(expected), ...Object.keys(now)])) {
      const [a, b] = [expected[key], now[key]];
      if (a === undefined && isDefault(group, key, b, expected)) continue;
      if (b === undefined && isDefault(group, key, a, now)) continue;
      if (path.length > 1 && (a === undefined) !== (b === undefined)) return path;
      const found = firstDifference(group, a, b, [...path, key]);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (Array.isArray(expected) && Array.isArray(now)) {
    const [a, b] = [expected as readonly Json[], now as readonly Json[]];
    const same = a.length === b.length && a.every((one, index) => firstDifference(group, one, b[index]) === undefined);
    return same ? undefined : path;
  }
  return equalJson(expected, now) ? undefined : path;
}

/**
 * Does a field that is not there mean this value? Of a NetworkPolicy `protocol` is TCP, an empty list is none, and `policyTypes` are Ingress,
 * with Egress where there are such rules (SetDefaults_NetworkPolicy in pkg/apis/networking/v1/defaults.go). Of Calico's policies `tier` is
 * default, and `types` are Egress where there are rules of egress alone, and else Ingress, with Egress where there are such rules (Calico's
 * reference of NetworkPolicy, "types"). Of Istio's, Cilium's, Antrea's and the admin policies a server fills in nothing.
 */
function isDefault(group: string, key: string, value: Json | undefined, beside: JsonObject): boolean {
  const has = (rules: string): boolean => asArray(beside[rules]).length > 0;
  switch (group) {
    case 'networking.k8s.io':
      if (key === 'protocol') return value === 'TCP';
      if (key === 'policyTypes') return equalJson(value, ['Ingress', ...(has('egress') ? ['Egress'] : [])]);
      return Array.isArray(value) && value.length === 0 && ['ingress', 'egress', 'from', 'to', 'ports'].includes(key);
    case 'projectcalico.org':
    case 'crd.projectcalico.org':
      if (key === 'tier') return value === 'default';
      if (key !== 'types') return false;
      return equalJson(value, [
        ...(has('egress') && !has('ingress') ? [] : ['Ingress']),
        ...(has('egress') ? ['Egress'] : []),
      ]);
    default:
      return false;
  }
}

/** Kinds of ours of which a field beside ours may turn the meaning, and whose defaults are known. */
const EXACT = new Set([
  'networking.k8s.io/NetworkPolicy',
  'cilium.io/CiliumNetworkPolicy',
  'cilium.io/CiliumClusterwideNetworkPolicy',
  'projectcalico.org/NetworkPolicy',
  'projectcalico.org/GlobalNetworkPolicy',
  'policy.networking.k8s.io/AdminNetworkPolicy',
  'policy.networking.k8s.io/BaselineAdminNetworkPolicy',
  'policy.networking.k8s.io/ClusterNetworkPolicy',
  'security.istio.io/AuthorizationPolicy',
  'security.istio.io/PeerAuthentication',
]);

export function isExact(group: string, kind: string): boolean {
  return EXACT.has(`${group}/${kind}`);
}

import type { KubeManifest } from '../model/object.ts';
import { groupOf, isObject, labelsOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import { isNetworkPolicy } from '../model/world.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, equalJson, getPath } from '../shared/pure/json.ts';
import type { Objects } from './state.ts';

/** `v1 Pod`: how the watch names a kind of object. */
export function kindName(object: Pick<KubeManifest, 'apiVersion' | 'kind'>): string {
  return `${object.apiVersion} ${object.kind}`;
}

export function findObject(objects: Objects, object: KubeManifest): KubeManifest | undefined {
  return objects.get(namespaceOf(object) ?? '')?.get(refKey(refOf(object)));
}

export function withObject(objects: Objects, object: KubeManifest): Objects {
  const namespace = namespaceOf(object) ?? '';
  return new Map(objects).set(
    namespace,
    new Map<string, KubeManifest>(objects.get(namespace) ?? []).set(refKey(refOf(object)), object),
  );
}

export function withoutObject(objects: Objects, object: KubeManifest): Objects {
  const namespace = namespaceOf(object) ?? '';
  const own = new Map(objects.get(namespace));
  own.delete(refKey(refOf(object)));
  const out = new Map(objects);
  if (own.size === 0) out.delete(namespace);
  else out.set(namespace, own);
  return out;
}

/** All of a kind in place of what was there of it. */
export function withAllOf(objects: Objects, of: string, listed: readonly KubeManifest[]): Objects {
  const out = new Map<string, Map<string, KubeManifest>>();
  for (const [namespace, own] of objects) {
    const rest = new Map([...own].filter(([, object]) => kindName(object) !== of));
    if (rest.size > 0) out.set(namespace, rest);
  }
  for (const object of listed) {
    const namespace = namespaceOf(object) ?? '';
    let own = out.get(namespace);
    if (own === undefined) out.set(namespace, (own = new Map<string, KubeManifest>()));
    own.set(refKey(refOf(object)), object);
  }
  return out;
}

export function* allOf(objects: Objects, of: string): Generator<KubeManifest, void> {
  for (const own of objects.values()) for (const object of own.values()) if (kindName(object) === of) yield object;
}

export function networkPoliciesOf(objects: Objects, namespace: string): readonly KubeManifest[] {
  return [...(objects.get(namespace)?.values() ?? [])].filter(isNetworkPolicy);
}

/** Groups of which an object may act on connections without being a NetworkPolicy. */
const POLICY_GROUPS: ReadonlySet<string> = new Set([
  'policy.networking.k8s.io',
  'security.istio.io',
  'networking.istio.io',
  'cilium.io',
  'projectcalico.org',
  'crd.projectcalico.org',
  'crd.antrea.io',
  'k8s.ovn.org',
  'policy.linkerd.io',
]);

export function isOtherPolicy(object: KubeManifest): boolean {
  return POLICY_GROUPS.has(groupOf(object.apiVersion));
}

/** What a change of an object bears on. */
export type Bearing =
  /** A NetworkPolicy says something else. */
  | 'network-policy'
  /** Another kind of policy does. */
  | 'policy'
  /** Who there is, and under which labels and ports. */
  | 'cluster'
  /** Nothing that decides a connection: status, counters, a pod like the others. */
  | 'nothing';

/** Kinds of which no field says who there is or what acts on connections. */
const BESIDE: ReadonlySet<string> = new Set([
  'rbac.authorization.k8s.io/Role',
  'rbac.authorization.k8s.io/RoleBinding',
  'rbac.authorization.k8s.io/ClusterRoleBinding',
  'policy/PodDisruptionBudget',
  'discovery.k8s.io/EndpointSlice',
]);

/**
 * What becoming `after` changes. `siblings` are the objects of the namespace: a pod that is like another one there changes nothing but who
 * holds an address.
 */
export function bearingOf(
  before: KubeManifest | undefined,
  after: KubeManifest | undefined,
  siblings: Iterable<KubeManifest>,
): Bearing {
  const object = after ?? before;
  if (object === undefined || BESIDE.has(`${groupOf(object.apiVersion)}/${object.kind}`)) return 'nothing';
  if (isNetworkPolicy(object)) return isSame(before, after, ['spec']) ? 'nothing' : 'network-policy';
  if (isOtherPolicy(object)) return isSame(before, after, ['spec']) ? 'nothing' : 'policy';
  if (isObject(object, '', 'Pod')) {
    const [was, is] = [before === undefined ? '' : podShape(before), after === undefined ? '' : podShape(after)];
    if (was === is) return 'nothing';
    const stays = TEMPLATED.has(asString(ownerOf(object)?.['kind']) ?? '');
    for (const wanted of [was, is]) {
      if (wanted === '' || (wanted === was && stays)) continue;
      let found = false;
      for (const one of siblings) {
        if (one === before || one === after || one.metadata.name === object.metadata.name) continue;
        if (isObject(one, '', 'Pod') && podShape(one) === wanted) {
          found = true;
          break;
        }
      }
      if (!found) return 'cluster';
    }
    return 'nothing';
  }
  // A revision or a run of something whose own object says what it is.
  if (OWNED.has(`${groupOf(object.apiVersion)}/${object.kind}`) && ownerOf(object) !== undefined) return 'nothing';
  const heads = object.kind === 'Namespace' ? [] : ['spec'];
  return isSame(before, after, heads) && isSameHead(before, after) ? 'nothing' : 'cluster';
}

const OWNED: ReadonlySet<string> = new Set(['apps/ReplicaSet', 'batch/Job']);
/** Owners whose pods are known by the template, whether or not one is running. */
const TEMPLATED: ReadonlySet<string> = new Set(['ReplicaSet', 'StatefulSet', 'DaemonSet', 'Job']);

function ownerOf(object: KubeManifest): JsonObject | undefined {
  return asArray(object.metadata['ownerReferences'])
    .map(asObject)
    .find((one) => one['controller'] === true);
}

function isSame(before: KubeManifest | undefined, after: KubeManifest | undefined, path: readonly string[]): boolean {
  if (before === undefined || after === undefined) return false;
  if (path.length === 0) return true;
  // How many there are says nothing of whom they may call.
  const of = (object: KubeManifest): Json | undefined => {
    const spec = getPath(object, path);
    if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) return spec;
    return { ...(spec as JsonObject), replicas: null };
  };
  return equalJson(of(before), of(after));
}

function isSameHead(before: KubeManifest | undefined, after: KubeManifest | undefined): boolean {
  const head = (object: KubeManifest | undefined): Json => [
    object?.metadata['labels'] ?? null,
    object?.metadata['annotations'] ?? null,
  ];
  return equalJson(head(before), head(after));
}

/** Labels that a controller gives each pod or each of its revisions. */
const OWN_LABELS = [
  'pod-template-hash',
  'controller-revision-hash',
  'controller-uid',
  'batch.kubernetes.io/controller-uid',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'pod-template-generation',
  'job-name',
  'batch.kubernetes.io/job-name',
];

const shapes = new WeakMap<KubeManifest, string>();

/** What selectors, ports and the mesh see of a pod, and whose it is; empty for one that has ended. Two pods of one shape are one to them. */
function podShape(pod: KubeManifest): string {
  const known = shapes.get(pod);
  if (known !== undefined) return known;
  const phase = asString(getPath(pod, ['status', 'phase'])) ?? '';
  const spec = asObject(pod['spec']);
  const labels = Object.entries(labelsOf(pod)).filter(([key]) => !OWN_LABELS.includes(key));
  const owner = ownerOf(pod);
  const hash = labelsOf(pod)['pod-template-hash'];
  const ownerName = asString(owner?.['name']) ?? pod.metadata.name;
  const shape =
    phase === 'Succeeded' || phase === 'Failed'
      ? ''
      : JSON.stringify([
          labels.sort(([a], [b]) => (a < b ? -1 : 1)),
          asString(owner?.['kind']) ?? 'Pod',
          // The ReplicaSet of a revision, the Job of a CronJob's run (its minute since 1970): the name before.
          hash !== undefined && ownerName.endsWith(`-${hash}`)
            ? ownerName.slice(0, -hash.length - 1)
            : ownerName.replace(/-\d{8,}$/u, ''),
          spec['serviceAccountName'] ?? null,
          spec['hostNetwork'] ?? false,
          asArray(spec['containers']).map((one) => [asObject(one)['name'] ?? null, asObject(one)['ports'] ?? null]),
          asArray(spec['initContainers']).map((one) => asObject(one)['name'] ?? null),
        ]);
  shapes.set(pod, shape);
  return shape;
}

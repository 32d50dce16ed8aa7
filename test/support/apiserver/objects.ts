// Kubernetes objects as they travel, and the few generic operations that the played controllers need on them.
import type {
  V1Container,
  V1CronJob,
  V1DaemonSet,
  V1Deployment,
  V1EndpointSlice,
  V1Job,
  V1LabelSelector,
  V1Namespace,
  V1Node,
  V1ObjectMeta,
  V1PersistentVolumeClaim,
  V1Pod,
  V1PodDisruptionBudget,
  V1PodTemplateSpec,
  V1ReplicaSet,
  V1Service,
  V1StatefulSet,
} from '@kubernetes/client-node';
import { createHash } from 'node:crypto';
import type { ApiClient } from './client.ts';

/** The library's type with dates as the strings that JSON has. */
export type Wire<T> = T extends Date ? string : T extends object ? { [K in keyof T]: Wire<T[K]> } : T;

export type Meta = Wire<V1ObjectMeta>;
export type Container = Wire<V1Container>;
export type CronJob = Wire<V1CronJob>;
export type DaemonSet = Wire<V1DaemonSet>;
export type Deployment = Wire<V1Deployment>;
export type EndpointSlice = Wire<V1EndpointSlice>;
export type Job = Wire<V1Job>;
export type Namespace = Wire<V1Namespace>;
export type Node = Wire<V1Node>;
export type PersistentVolumeClaim = Wire<V1PersistentVolumeClaim>;
export type Pod = Wire<V1Pod>;
export type PodDisruptionBudget = Wire<V1PodDisruptionBudget>;
export type PodTemplate = Wire<V1PodTemplateSpec>;
export type ReplicaSet = Wire<V1ReplicaSet>;
export type Service = Wire<V1Service>;
export type StatefulSet = Wire<V1StatefulSet>;

export interface PyTorchJob {
  apiVersion?: string;
  kind?: string;
  metadata?: Meta;
  spec?: {
    pytorchReplicaSpecs?: Record<string, { replicas?: number; template: PodTemplate }>;
    runPolicy?: { suspend?: boolean };
  };
  status?: unknown;
}

/** What every object has. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: Meta;
}

/** An object to be written, of a kind that has no type here. */
export interface Draft extends KubeObject {
  [field: string]: unknown;
}

/** Collections that the harness reads and writes: where they are, and what their objects are called. */
export const resources = {
  namespaces: { root: '/api/v1', plural: 'namespaces', apiVersion: 'v1', kind: 'Namespace' },
  nodes: { root: '/api/v1', plural: 'nodes', apiVersion: 'v1', kind: 'Node' },
  pods: { root: '/api/v1', plural: 'pods', apiVersion: 'v1', kind: 'Pod' },
  services: { root: '/api/v1', plural: 'services', apiVersion: 'v1', kind: 'Service' },
  serviceAccounts: { root: '/api/v1', plural: 'serviceaccounts', apiVersion: 'v1', kind: 'ServiceAccount' },
  configMaps: { root: '/api/v1', plural: 'configmaps', apiVersion: 'v1', kind: 'ConfigMap' },
  claims: { root: '/api/v1', plural: 'persistentvolumeclaims', apiVersion: 'v1', kind: 'PersistentVolumeClaim' },
  deployments: { root: '/apis/apps/v1', plural: 'deployments', apiVersion: 'apps/v1', kind: 'Deployment' },
  replicaSets: { root: '/apis/apps/v1', plural: 'replicasets', apiVersion: 'apps/v1', kind: 'ReplicaSet' },
  statefulSets: { root: '/apis/apps/v1', plural: 'statefulsets', apiVersion: 'apps/v1', kind: 'StatefulSet' },
  daemonSets: { root: '/apis/apps/v1', plural: 'daemonsets', apiVersion: 'apps/v1', kind: 'DaemonSet' },
  jobs: { root: '/apis/batch/v1', plural: 'jobs', apiVersion: 'batch/v1', kind: 'Job' },
  cronJobs: { root: '/apis/batch/v1', plural: 'cronjobs', apiVersion: 'batch/v1', kind: 'CronJob' },
  endpointSlices: {
    root: '/apis/discovery.k8s.io/v1',
    plural: 'endpointslices',
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
  },
  disruptionBudgets: {
    root: '/apis/policy/v1',
    plural: 'poddisruptionbudgets',
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
  },
  pyTorchJobs: {
    root: '/apis/kubeflow.org/v1',
    plural: 'pytorchjobs',
    apiVersion: 'kubeflow.org/v1',
    kind: 'PyTorchJob',
  },
} as const;

export interface Resource {
  readonly root: string;
  readonly plural: string;
  readonly apiVersion: string;
  readonly kind: string;
}

/** The path of a collection, or of one object in it. */
export function pathOf(resource: Resource, namespace?: string, name?: string): string {
  const scope = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${resource.root}${scope}/${resource.plural}${name === undefined ? '' : `/${encodeURIComponent(name)}`}`;
}

/** Every object of a collection in the cluster; none if the collection does not exist. */
export async function listAll<T extends KubeObject>(client: ApiClient, resource: Resource): Promise<T[]> {
  const response = await client.request('GET', pathOf(resource));
  if (response.status === 404) return [];
  if (response.status !== 200)
    throw new Error(`GET ${pathOf(resource)}: ${response.status} ${response.text.slice(0, 500)}`);
  return (response.body as { items: T[] }).items;
}

/** The fields that say what an object is. */
export function header({ apiVersion, kind }: Resource): { apiVersion: string; kind: string } {
  return { apiVersion, kind };
}

export function nameOf(object: KubeObject): string {
  return object.metadata?.name ?? '';
}

export function namespaceOf(object: KubeObject): string {
  return object.metadata?.namespace ?? '';
}

export function uidOf(object: KubeObject): string {
  return object.metadata?.uid ?? '';
}

export function isDeleting(object: KubeObject): boolean {
  return object.metadata?.deletionTimestamp !== undefined;
}

export function controllerUidOf(object: KubeObject): string | undefined {
  return object.metadata?.ownerReferences?.find((reference) => reference.controller === true)?.uid;
}

export function ownerReferenceTo(owner: KubeObject, resource: Resource): NonNullable<Meta['ownerReferences']>[number] {
  const { apiVersion, kind } = resource;
  return { apiVersion, kind, name: nameOf(owner), uid: uidOf(owner), controller: true, blockOwnerDeletion: true };
}

const hashAlphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** A short name-safe hash of any JSON value, independent of the order of its keys. */
export function hashOf(value: unknown, length: number): string {
  const digest = digestOf(value);
  return Array.from(digest.subarray(0, length), (byte) => hashAlphabet[byte % hashAlphabet.length] ?? 'x').join('');
}

/** The SHA-256 of any JSON value, independent of the order of its keys. */
export function digestOf(value: unknown): Buffer {
  return createHash('sha256').update(stableJson(value)).digest();
}

export function stableJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/**
 * Does current already hold everything that wanted states? Absent and zero, false or empty are the same, as the API server
 * leaves them out; lists must agree in length.
 */
export function holds(current: unknown, wanted: unknown): boolean {
  if (isEmpty(wanted)) return isEmpty(current);
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(current) &&
      current.length === wanted.length &&
      wanted.every((item, index) => holds(current[index], item))
    );
  }
  if (typeof wanted === 'object' && wanted !== null) {
    if (typeof current !== 'object' || current === null) return false;
    const values = current as Record<string, unknown>;
    return Object.entries(wanted).every(([key, value]) => holds(values[key], value));
  }
  return current === wanted;
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === 0 || value === false || value === '') return true;
  return Array.isArray(value) && value.length === 0;
}

/** A condition of a status, without its times. */
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

/** The conditions with times: a condition that did not change keeps the time it has. */
export function stampConditions(
  current: readonly { type: string; status: string; lastTransitionTime?: string }[] | undefined,
  wanted: readonly Condition[],
  now: string,
): (Condition & { lastTransitionTime: string })[] {
  return wanted.map((condition) => {
    const before = current?.find(({ type, status }) => type === condition.type && status === condition.status);
    return { ...condition, lastTransitionTime: before?.lastTransitionTime ?? now };
  });
}

export type Labels = Readonly<Record<string, string>>;

export function matchesLabels(labels: Labels | undefined, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => labels?.[key] === value);
}

/** Does a label selector select these labels? An empty selector selects everything. */
export function matchesSelector(labels: Labels | undefined, selector: Wire<V1LabelSelector>): boolean {
  return (
    matchesLabels(labels, selector.matchLabels ?? {}) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
      const value = labels?.[key];
      const listed = value !== undefined && values?.includes(value) === true;
      return operator === 'In'
        ? listed
        : operator === 'NotIn'
          ? !listed
          : (operator === 'Exists') === (value !== undefined);
    })
  );
}

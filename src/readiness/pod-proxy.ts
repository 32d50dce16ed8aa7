import type { View } from '../engine/contract.ts';
import type { Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, labelsOf, namespaceOf } from '../model/object.ts';
import type { RecordedPod } from '../plan/plan.ts';
import { asArray, asNumber, asObject, asString } from '../shared/pure/json.ts';

/** The container that Istio's injection names so, in every version (istio.io, Sidecar injection). */
export const PROXY_CONTAINER = 'istio-proxy';

/** A pod with a proxy beside its workload. */
export interface ProxiedPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
  /** Does the kubelet start the proxy anew when it ends? */
  readonly returns: boolean;
}

/**
 * Undefined where the pod has none. A sidecar is a container, or an init container that goes on running (kubernetes.io, "Sidecar Containers":
 * restartPolicy Always). A container that ends is started anew by the pod's policy (kubernetes.io, "Pod Lifecycle": Always where none is stated).
 */
export function proxiedPod(pod: KubeManifest): ProxiedPod | undefined {
  const namespace = namespaceOf(pod);
  const spec = asObject(pod['spec']);
  const named = (list: unknown): Readonly<Record<string, unknown>> | undefined =>
    asArray(list as never)
      .map((one) => asObject(one))
      .find(({ name }) => name === PROXY_CONTAINER);
  const native = named(spec['initContainers']);
  const beside = named(spec['containers']);
  const proxy = native ?? beside;
  if (namespace === undefined || proxy === undefined) return undefined;
  const policy = proxy['restartPolicy'] ?? (native === undefined ? (asString(spec['restartPolicy']) ?? 'Always') : '');
  const { uid } = pod.metadata;
  return {
    namespace,
    name: pod.metadata.name,
    ...(typeof uid === 'string' ? { uid } : {}),
    returns: policy === 'Always',
  };
}

/** Pods that run, with a proxy and without. */
export interface HeldPods {
  readonly proxied: readonly ProxiedPod[];
  readonly others: readonly string[];
  readonly all: readonly RecordedPod[];
}

/** The pods of a workload that have not finished (kubernetes.io, "Pod Lifecycle": of Succeeded and Failed every container has ended). */
export function podsOf(view: Pick<View, 'snapshot'>, workload: Pick<Workload, 'namespace' | 'podSets'>): HeldPods {
  const names = namesOf(workload);
  return sorted(running(view, workload.namespace).filter(({ metadata }) => names.has(metadata.name)));
}

/**
 * The pods of a quarantine: those on its record, by name and identity, and those that its workload has now, where it holds these too. Its label says
 * nothing: whoever may label pods would have others' proxies ended. Who bears it and is not on record is named in `strangers`.
 */
export function podsOfQuarantine(
  view: Pick<View, 'snapshot'>,
  of: {
    readonly namespace: string;
    readonly recorded: readonly RecordedPod[];
    readonly workload?: Pick<Workload, 'namespace' | 'podSets'>;
    readonly label: { readonly key: string; readonly value: string };
  },
): HeldPods & { readonly strangers: readonly string[] } {
  const names = of.workload === undefined ? new Set<string>() : namesOf(of.workload);
  const uids = new Map(of.recorded.map(({ name, uid }) => [name, uid]));
  const all = running(view, of.namespace);
  const isHeld = ({ metadata }: KubeManifest): boolean => {
    const uid = uids.get(metadata.name);
    return names.has(metadata.name) || (uids.has(metadata.name) && (uid === undefined || uid === metadata['uid']));
  };
  return {
    ...sorted(all.filter(isHeld)),
    strangers: all
      .filter((pod) => !isHeld(pod) && labelsOf(pod)[of.label.key] === of.label.value)
      .map(({ metadata }) => metadata.name),
  };
}

const FINISHED: ReadonlySet<unknown> = new Set(['Succeeded', 'Failed']);

function running({ snapshot }: Pick<View, 'snapshot'>, namespace: string): readonly KubeManifest[] {
  return snapshot.objects.filter(
    (object) =>
      isObject(object, '', 'Pod') &&
      namespaceOf(object) === namespace &&
      !FINISHED.has(asObject(object['status'])['phase']),
  );
}

function namesOf(workload: Pick<Workload, 'podSets'>): ReadonlySet<string> {
  return new Set(workload.podSets.flatMap(({ pods }) => pods.map(({ name }) => name)));
}

function sorted(pods: readonly KubeManifest[]): HeldPods {
  return {
    proxied: pods.flatMap((pod) => proxiedPod(pod) ?? []),
    others: pods.filter((pod) => proxiedPod(pod) === undefined).map(({ metadata }) => metadata.name),
    all: pods.map(({ metadata: { name, uid } }) => ({ name, ...(typeof uid === 'string' ? { uid } : {}) })),
  };
}

/** How the kubelet says that the proxy's container stands. Undefined where it does not say. */
export function proxyStatus(
  pod: KubeManifest,
): { readonly restarts: number; readonly runs: boolean; readonly terminated: boolean } | undefined {
  const { containerStatuses, initContainerStatuses } = asObject(pod['status']);
  const status = [...asArray(containerStatuses), ...asArray(initContainerStatuses)]
    .map((one) => asObject(one))
    .find(({ name }) => name === PROXY_CONTAINER);
  const restarts = asNumber(status?.['restartCount']);
  if (status === undefined || restarts === undefined) return undefined;
  const state = asObject(status['state']);
  return { restarts, runs: state['running'] !== undefined, terminated: state['terminated'] !== undefined };
}

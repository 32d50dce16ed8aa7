import type { View } from '../engine/contract.ts';
import type { Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, labelsOf, namespaceOf } from '../model/object.ts';
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

/** The pods of a workload, with a proxy and without; `quarantine` adds those that a quarantine of that id took out of their owner. */
export function podsOf(
  view: Pick<View, 'snapshot'>,
  workload: Pick<Workload, 'namespace' | 'podSets'>,
  quarantine?: { readonly label: string; readonly id: string },
): { readonly proxied: readonly ProxiedPod[]; readonly others: readonly string[] } {
  const names = new Set(workload.podSets.flatMap(({ pods }) => pods.map(({ name }) => name)));
  const own = view.snapshot.objects.filter(
    (object) =>
      isObject(object, '', 'Pod') &&
      namespaceOf(object) === workload.namespace &&
      (names.has(object.metadata.name) ||
        (quarantine !== undefined && labelsOf(object)[quarantine.label] === quarantine.id)),
  );
  return {
    proxied: own.flatMap((pod) => proxiedPod(pod) ?? []),
    others: own.filter((pod) => proxiedPod(pod) === undefined).map(({ metadata }) => metadata.name),
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

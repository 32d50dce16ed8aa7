// What a cluster still has to do before it is as its objects say.
import type { ApiClient } from '../../support/apiserver/client.ts';

interface Workload {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly generation?: number };
  readonly spec: { readonly replicas?: number; readonly updateStrategy?: { readonly type?: string } };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly desiredNumberScheduled?: number;
    readonly updatedNumberScheduled?: number;
    readonly numberAvailable?: number;
  };
}

interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly deletionTimestamp?: string;
    readonly ownerReferences?: readonly { readonly kind: string }[];
  };
}

/** One line for each workload that is not rolled out and each of their pods that still ends; empty if all is done. */
export async function lackOf(client: ApiClient, namespaces?: readonly string[]): Promise<readonly string[]> {
  const inScope = (namespace: string): boolean => namespaces?.includes(namespace) ?? true;
  const list = async <T>(path: string): Promise<readonly T[]> =>
    ((await client.must('GET', path)).body as { items: readonly T[] }).items;
  const [deployments, sets, daemons, pods] = await Promise.all([
    list<Workload>('/apis/apps/v1/deployments'),
    list<Workload>('/apis/apps/v1/statefulsets'),
    list<Workload>('/apis/apps/v1/daemonsets'),
    list<Pod>('/api/v1/pods'),
  ]);
  const lack: string[] = [];
  const check = (kind: string, items: readonly Workload[], done: (item: Workload) => boolean): void => {
    for (const item of items) {
      if (!inScope(item.metadata.namespace)) continue;
      const seen = (item.status?.observedGeneration ?? 0) >= (item.metadata.generation ?? 0);
      if (!seen || !done(item))
        lack.push(`${kind} ${item.metadata.namespace}/${item.metadata.name}: ${JSON.stringify(item.status)}`);
    }
  };
  const all =
    (field: 'availableReplicas' | 'readyReplicas') =>
    ({ spec, status = {} }: Workload): boolean => {
      const wanted = spec.replicas ?? 1;
      const replaced = spec.updateStrategy?.type === 'OnDelete' || (status.updatedReplicas ?? 0) === wanted;
      return replaced && (status.replicas ?? 0) === wanted && (status[field] ?? 0) === wanted;
    };
  check('Deployment', deployments, all('availableReplicas'));
  check('StatefulSet', sets, all('readyReplicas'));
  check('DaemonSet', daemons, ({ status = {} }) => {
    const wanted = status.desiredNumberScheduled ?? 0;
    return (status.updatedNumberScheduled ?? 0) === wanted && (status.numberAvailable ?? 0) === wanted;
  });
  for (const { metadata } of pods) {
    const owned = (metadata.ownerReferences ?? []).some(({ kind }) => kind !== 'Job');
    if (metadata.deletionTimestamp !== undefined && owned && inScope(metadata.namespace))
      lack.push(`Pod ${metadata.namespace}/${metadata.name} is ending`);
  }
  return lack;
}

export function isRolledOut(lack: readonly string[]): boolean {
  return lack.length === 0;
}

import type { Inventory, Workload } from './inventory.ts';
import { groupBy } from '../shared/pure/order.ts';

interface WorkloadIndex {
  readonly byId: ReadonlyMap<string, Workload>;
  readonly byNamespace: ReadonlyMap<string, readonly Workload[]>;
}

const indexes = new WeakMap<Inventory['workloads'], WorkloadIndex>();

function indexOf({ workloads }: Pick<Inventory, 'workloads'>): WorkloadIndex {
  const known = indexes.get(workloads);
  if (known !== undefined) return known;
  const index = {
    byId: new Map(workloads.map((workload) => [workload.id, workload])),
    byNamespace: groupBy(workloads, (workload) => workload.namespace),
  };
  indexes.set(workloads, index);
  return index;
}

/** The workload of an id. The list is read once, however many ask. */
export function workloadById(inventory: Pick<Inventory, 'workloads'>, id: string): Workload | undefined {
  return indexOf(inventory).byId.get(id);
}

/** The workloads of a namespace, in the order of the list. */
export function workloadsIn(inventory: Pick<Inventory, 'workloads'>, namespace: string): readonly Workload[] {
  return indexOf(inventory).byNamespace.get(namespace) ?? [];
}

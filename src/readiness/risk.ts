import type { View } from '../engine/contract.ts';
import { endpointKey } from '../model/edge.ts';
import type { Workload } from '../model/inventory.ts';
import { compareText } from '../shared/pure/order.ts';
import { keptEdges } from './view.ts';

/** Workloads in the order of least risk: fewest peers first, then by name. */
export function byRisk(view: View, workloads: readonly Workload[]): readonly Workload[] {
  const peers = new Map<string, Set<string>>();
  const add = (id: string, peer: string): void => {
    const set = peers.get(id) ?? new Set();
    set.add(peer);
    peers.set(id, set);
  };
  for (const edge of keptEdges(view.edges)) {
    const [src, dst] = [endpointKey(edge.src), endpointKey(edge.dst)];
    add(src, dst);
    add(dst, src);
  }
  return workloads.toSorted(
    (a, b) => (peers.get(a.id)?.size ?? 0) - (peers.get(b.id)?.size ?? 0) || compareText(a.id, b.id),
  );
}

import type { View } from '../engine/contract.ts';
import { endpointKey } from '../model/edge.ts';
import { edgesAt } from '../model/edge-index.ts';
import type { Workload } from '../model/inventory.ts';
import { compareText } from '../shared/pure/order.ts';
import { keptEdges } from './view.ts';

/** Workloads in the order of least risk: fewest peers first, then by name. */
export function byRisk(view: View, workloads: readonly Workload[]): readonly Workload[] {
  const edges = keptEdges(view.edges);
  const peers = new Map(
    workloads.map(({ id }) => [
      id,
      new Set([
        ...edgesAt(edges, 'src', id).map(({ dst }) => endpointKey(dst)),
        ...edgesAt(edges, 'dst', id).map(({ src }) => endpointKey(src)),
      ]).size,
    ]),
  );
  return workloads.toSorted((a, b) => (peers.get(a.id) ?? 0) - (peers.get(b.id) ?? 0) || compareText(a.id, b.id));
}

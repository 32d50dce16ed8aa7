import type { View } from '../engine/contract.ts';
import type { Wave } from '../plan/waves.ts';
import { computeWaves } from '../plan/waves.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { keptEdges, plaintextSubject, waiverFor } from './view.ts';

/** The order of all namespaces that run something, from what must keep working; a plaintext edge that a person exempted holds nobody up. */
export function proposeWaves(view: View): readonly Wave[] {
  return computeWaves({
    namespaces: uniqueSorted(view.inventory.workloads.map((workload) => workload.namespace)),
    edges: keptEdges(view.edges),
    inventory: view.inventory,
    phases: view.phases,
    exempt: (edge) =>
      edge.dst.kind === 'workload' &&
      waiverFor(view, 'plaintext', plaintextSubject(edge.dst.id, edge.port)) !== undefined,
  });
}

import type { Declared, Workload } from '../../model/inventory.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { workloadEndpoint } from './context.ts';

/** Where istiod gives certificates and configuration to proxies, over TLS (Istio, "Ports used by Istio"). */
const XDS_PORT = 15012;

/**
 * Every sidecar, there already or expected by the rules of injection, connects to istiod: strong edges. To each istiod where there
 * are several revisions, because an upgrade moves pods from one to the next.
 */
export function analyzeMesh(context: AnalyzerContext): Analysis {
  const servers = context.workloads.filter(isIstiod);
  const declared = context.workloads.flatMap((workload): readonly Declared[] => {
    if (isIstiod(workload) || !workload.podSets.some((set) => set.mesh === 'sidecar' || set.mesh === 'mixed'))
      return [];
    return servers.map((server) => ({
      src: workloadEndpoint(workload.id),
      dst: workloadEndpoint(server.id),
      protocol: 'TCP',
      port: XDS_PORT,
      strength: 'strong',
      by: 'sidecar',
    }));
  });
  return { declared, findings: [] };
}

function isIstiod(workload: Workload): boolean {
  return workload.classification.component === 'istiod';
}

import type { Declared } from '../../model/inventory.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { NODE, workloadEndpoint } from './context.ts';

/** Where Istio's agent answers for the application's probes, and its own readiness (istio.io, "Application Requirements"). */
const REWRITTEN_PROBES = 15020;
const PROXY_READINESS = 15021;

/** The kubelet of each pod's node connects to every port that it probes: strong edges. */
export function analyzeProbes(context: AnalyzerContext): Analysis {
  const declared: Declared[] = [];
  for (const workload of context.workloads) {
    const ports = new Map<number, string>();
    for (const set of workload.podSets) {
      // The node itself is no peer that a policy could shut out.
      if (set.hostNetwork) continue;
      const probed = set.containers.flatMap((container) => container.probePorts);
      for (const port of probed) ports.set(port, 'probe of the kubelet');
      if (set.mesh !== 'sidecar' && set.mesh !== 'mixed') continue;
      ports.set(PROXY_READINESS, "readiness probe of Istio's proxy");
      if (probed.length > 0) ports.set(REWRITTEN_PROBES, "probe of the kubelet, answered by Istio's agent");
    }
    for (const [port, by] of ports) {
      declared.push({ src: NODE, dst: workloadEndpoint(workload.id), protocol: 'TCP', port, strength: 'strong', by });
    }
  }
  return { declared, findings: [] };
}

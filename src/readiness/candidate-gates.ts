import { deriveNetworkCandidate, deriveTunnelAccess } from '../candidates/network.ts';
import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { candidateContext, gate, workloadsOf } from './view.ts';

/** What the candidates of the namespace cannot say exactly. Silent where all of them can. */
export function candidateGates(view: View): readonly Gate[] {
  const context = candidateContext(view);
  const gates = new Map<string, Gate>();
  for (const workload of workloadsOf(view)) {
    if (workload.podSets.every((podSet) => podSet.hostNetwork)) continue;
    const problems = [
      ...(['ingress', 'egress'] as const).flatMap(
        (direction) => deriveNetworkCandidate(context, workload, direction).problems,
      ),
      ...deriveTunnelAccess(context, workload).problems,
    ];
    for (const problem of problems)
      gates.set(
        `${problem.gate} ${problem.subject} ${problem.text}`,
        gate(problem.gate, 'no', problem.subject, [problem.text], problem.fix),
      );
  }
  return [...gates.values()];
}

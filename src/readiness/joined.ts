import type { AppliedStep, View } from '../engine/contract.ts';
import { predictMembership } from '../inventory/mesh.ts';
import type { Gate } from '../model/finding.ts';
import { gate, workloadsOf } from './view.ts';

/**
 * Pods that run without a sidecar although the next ones of their workload will have one: runs under way, custom owners, bare Pods. What is
 * hardened now is hardened for both, and only one of the two was judged.
 */
export function notJoinedGates(view: View): readonly Gate[] {
  const namespace = view.inventory.namespaces.find((one) => one.name === view.namespace);
  const { mesh } = view.inventory.facts;
  return workloadsOf(view)
    .filter((workload) =>
      workload.podSets.some(
        (podSet) =>
          podSet.mesh === 'none' &&
          podSet.pods.some((pod) => pod.phase === 'Running') &&
          predictMembership(
            namespace?.labels ?? {},
            podSet.labels,
            podSet.annotations,
            podSet.hostNetwork,
            view.namespace,
            mesh,
          ) === 'sidecar',
      ),
    )
    .map((workload) =>
      gate(
        'mesh',
        'no',
        workload.id,
        ['its running pods have no sidecar, and its next ones will'],
        `wait until they end or restart them, or sallyport waive gate=mesh,subject=${workload.id} --reason "..."`,
      ),
    );
}

/**
 * When each workload began to take its sidecar (ms), by the newest step on record that replaced its pods for that. A step is on record by its
 * end, and its sidecars speak before that: it began when the one before it in the run was done.
 */
export function joinTimes(applied: readonly AppliedStep[]): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  const ends = new Map<string, number>();
  for (const { phase, step, at, run } of applied.toSorted((a, b) => a.seq - b.seq)) {
    if (phase === 'permissive-mtls' && step.workload !== undefined && step.effects.length > 0)
      times.set(step.workload, ends.get(run) ?? at);
    ends.set(run, at);
  }
  return times;
}

import type { Phase, View } from '../../src/engine/contract.ts';
import { stagedOf } from '../../src/candidates/dialect.ts';
import { deriveNetworkCandidate } from '../../src/candidates/network.ts';
import { MONITOR_ANNOTATION, buildNamespace } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import type { Draft } from '../../src/plan/steps.ts';
import { candidateContext, workloadsOf } from '../../src/readiness/view.ts';

/** Telemetry without blocking: the namespace is marked, by annotation because labels feed selectors. */
export const monitor: Phase = {
  name: 'monitor',
  requires: () => [],
  up(view: View) {
    const draft = draftSteps(view.snapshot.objects);
    const live = draft.byKey(`/Namespace//${view.namespace}`);
    const step = {
      namespace: view.namespace,
      phase: 'monitor' as const,
      id: 'mark',
      title: `mark namespace ${view.namespace} as monitored; nothing is blocked`,
    };
    // Only a directory can lack the Namespace object of a namespace that has workloads.
    if (live === undefined)
      draft.ensure(buildNamespace({ name: view.namespace, annotations: { [MONITOR_ANNOTATION]: 'true' } }), step);
    else draft.edit(live, [{ path: ['metadata', 'annotations', MONITOR_ANNOTATION], after: 'true' }], step);
    rehearse(view, draft);
    return draft.steps;
  },
  verify: () => [],
  down: () => [],
};

/** Where the dialect has policies that are only rehearsed, what the evidence so far gives: Calico logs what they would deny. */
function rehearse(view: View, draft: Draft): void {
  if (view.config.dialect !== 'calico') return;
  const context = candidateContext(view);
  for (const workload of workloadsOf(view))
    for (const direction of ['ingress', 'egress'] as const) {
      const { object } = deriveNetworkCandidate(context, workload, direction);
      const staged = object === undefined ? undefined : stagedOf(object);
      if (staged?.kind !== 'StagedNetworkPolicy') continue;
      draft.ensure(staged, {
        namespace: view.namespace,
        phase: 'monitor',
        id: `rehearse-${workload.kind.toLowerCase()}-${workload.name}-${direction}`,
        title: `rehearse ${direction} of ${workload.id}; nothing is refused`,
        workload: workload.id,
        direction,
      });
    }
}

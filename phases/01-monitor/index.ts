import type { Phase, View } from '../../src/engine/contract.ts';
import { MONITOR_ANNOTATION, buildNamespace } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import { rehearsePolicies } from '../../src/readiness/staged.ts';

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
    rehearsePolicies(view, draft);
    return draft.steps;
  },
  verify: () => [],
  down: () => [],
};

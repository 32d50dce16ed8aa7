import { policyName } from '../../src/candidates/network.ts';
import { chooseSelector } from '../../src/candidates/selector.ts';
import type { Phase, View } from '../../src/engine/contract.ts';
import { worldOf } from '../../src/model/evaluate.ts';
import { buildPeerAuthentication } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import { exemptPorts, joinedGates, plaintextGates, withSidecars } from '../../src/readiness/mesh-gates.ts';
import { notJoinedGates } from '../../src/readiness/joined.ts';
import { byRisk } from '../../src/readiness/risk.ts';
import { waiverFor } from '../../src/readiness/view.ts';
import { namespaceWide } from '../03-permissive-mtls/index.ts';

const DRAIN =
  'connections opened before stay as they are until the proxies have drained them (45 s by default); a request that is under way at that moment is cut';

/** STRICT workload by workload, then the namespace. Exempted ports stay PERMISSIVE, each named in the waiver that asked for it. */
export const strictMtls: Phase = {
  name: 'strict-mtls',
  requires: (view) => [...joinedGates(view), ...notJoinedGates(view), ...plaintextGates(view, worldOf(view.inventory))],
  up(view) {
    const draft = draftSteps(view.snapshot.objects);
    for (const workload of byRisk(view, withSidecars(view))) {
      const choice = chooseSelector(workload, view.inventory);
      if (choice.kind === 'none') continue;
      if (choice.kind === 'shared' && waiverFor(view, 'selector', workload.id) === undefined) continue;
      const exempt = exemptPorts(view, workload);
      draft.ensure(
        buildPeerAuthentication(
          { name: policyName(workload, view.inventory, ''), namespace: view.namespace, workload: workload.id },
          'STRICT',
          choice.labels,
          exempt,
        ),
        {
          namespace: view.namespace,
          phase: 'strict-mtls',
          id: `${workload.kind.toLowerCase()}-${workload.name}`,
          title: `${workload.id} takes mTLS alone${exempt.length === 0 ? '' : `, but for ${exempt.length === 1 ? 'port' : 'ports'} ${exempt.join(', ')}`}`,
          workload: workload.id,
          risks: [DRAIN],
        },
      );
    }
    const [decides] = namespaceWide(view);
    const step = {
      namespace: view.namespace,
      phase: 'strict-mtls' as const,
      id: 'namespace',
      title: `every other workload of ${view.namespace} takes mTLS alone`,
      risks: [DRAIN],
    };
    if (decides === undefined)
      draft.ensure(buildPeerAuthentication({ name: 'sallyport-default', namespace: view.namespace }, 'STRICT'), step);
    else draft.edit(decides, [{ path: ['spec', 'mtls', 'mode'], after: 'STRICT' }], step);
    return draft.steps;
  },
  verify: (view: View) => plaintextGates(view, worldOf(view.inventory)),
  down: () => [],
};

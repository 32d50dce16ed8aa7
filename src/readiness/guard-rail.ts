import { guardRail, railName } from '../candidates/dialect.ts';
import { deriveMeshEgress, deriveNetworkCandidate } from '../candidates/network.ts';
import type { View } from '../engine/contract.ts';
import type { Workload } from '../model/inventory.ts';
import type { PhaseName } from '../model/phase.ts';
import { isOwn } from '../objects/build.ts';
import type { Draft } from '../plan/steps.ts';
import { candidateContext } from './view.ts';

export interface GuardRailStep {
  readonly phase: PhaseName;
  readonly risks?: readonly string[];
  /** Workloads whose proxies are about to start: what they need is passed on too. */
  readonly joining?: ReadonlySet<string>;
  /** Only where one stands already. */
  readonly standing?: boolean;
}

/**
 * The step that writes the guard rail of a namespace in the dialect `admin`, or brings it up to date: what no NetworkPolicy of a team opens. It
 * denies nothing that the policies of the namespace allow; see candidates/dialect.ts. Filed under the namespace that it is about. Nothing in
 * another dialect.
 */
export function ensureGuardRail(view: View, draft: Draft, namespace: string, of: GuardRailStep): void {
  if (view.config.dialect !== 'admin') return;
  const context = candidateContext(view, of.joining);
  const policies = view.inventory.workloads
    .filter((workload) => workload.namespace === namespace && canBeSelected(workload))
    .flatMap((workload) => {
      const inward = deriveNetworkCandidate(context, workload, 'ingress').object;
      const outward =
        deriveNetworkCandidate(context, workload, 'egress').object ??
        // Without egress on record its proxy reaches istiod all the same (phase 3).
        (context.meshed.has(workload.id) ? deriveMeshEgress(context, workload) : undefined);
      return [inward ?? [], outward ?? []].flat();
    });
  const rail = guardRail(namespace, policies, context.kinds);
  // Where there is nothing left to deny, or the newer kind is served by now, what stands would deny what the policies allow.
  for (const kind of ['AdminNetworkPolicy', 'ClusterNetworkPolicy']) {
    const old = draft.byKey(`policy.networking.k8s.io/${kind}//${railName(namespace)}`);
    if (old === undefined || !isOwn(old) || old.kind === rail?.kind) continue;
    draft.remove(old, {
      namespace,
      phase: of.phase,
      id: `no-guard-rail-${namespace}`,
      title: `end the guard rail ${kind} ${old.metadata.name}: ${rail === undefined ? `policies of ${namespace} admit everybody, or addresses` : `it is written as ${rail.kind}`}`,
    });
  }
  if (rail === undefined || (of.standing === true && draft.get(rail) === undefined)) return;
  draft.ensure(rail, {
    namespace,
    phase: of.phase,
    id: `guard-rail-${namespace}`,
    title: `pods of namespaces that no policy of ${namespace} names are denied, whatever a NetworkPolicy says`,
    ...(of.risks === undefined ? {} : { risks: of.risks }),
  });
}

/** Has it pods that a policy selects? Those on the host network are their node's. */
export function canBeSelected(workload: Workload): boolean {
  return workload.podSets.some((podSet) => !podSet.hostNetwork);
}

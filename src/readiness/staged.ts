import { servesCalico, stagedOf } from '../candidates/dialect.ts';
import { deriveNetworkCandidate } from '../candidates/network.ts';
import type { View } from '../engine/contract.ts';
import type { Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, namespaceOf, refKey, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import type { Direction } from '../objects/build.ts';
import { isOwn } from '../objects/build.ts';
import type { Draft } from '../plan/steps.ts';
import { candidateContext, servedKinds, workloadsOf } from './view.ts';

interface Rehearsed {
  readonly object: KubeManifest;
  readonly workload: Workload;
  readonly direction: Direction;
}

/** What the evidence so far gives as policies that are only rehearsed. */
function rehearsedNow(view: View): readonly Rehearsed[] {
  const context = candidateContext(view);
  return workloadsOf(view).flatMap((workload) =>
    (['ingress', 'egress'] as const).flatMap((direction) => {
      const { object } = deriveNetworkCandidate(context, workload, direction);
      const staged = object === undefined ? undefined : stagedOf(object);
      return staged?.kind === 'StagedNetworkPolicy' ? [{ object: staged, workload, direction }] : [];
    }),
  );
}

/** Rehearsed policies of ours that stand in the namespace. */
function standing(view: View): readonly KubeManifest[] {
  return view.snapshot.objects.filter(
    (object) =>
      isObject(object, 'projectcalico.org', 'StagedNetworkPolicy') &&
      namespaceOf(object) === view.namespace &&
      isOwn(object),
  );
}

/**
 * Steps that bring the rehearsed policies of a namespace to what the evidence gives now: those that lack, those that say something else, and
 * the end of those for which there is no candidate any more. Calico logs what each would deny and denies nothing ("Staged network policy").
 */
export function rehearsePolicies(view: View, draft: Draft): void {
  if (view.config.dialect !== 'calico') return;
  // Calico before 3.30 has no such kind: there the simulation on the record is the rehearsal.
  if (servesCalico(servedKinds(view), 'stagednetworkpolicies') === false) return;
  const wanted = rehearsedNow(view);
  for (const { object, workload, direction } of wanted)
    draft.ensure(object, {
      namespace: view.namespace,
      phase: 'monitor',
      id: `rehearse-${workload.kind.toLowerCase()}-${workload.name}-${direction}`,
      title: `rehearse ${direction} of ${workload.id}; nothing is refused`,
      workload: workload.id,
      direction,
    });
  const kept = new Set(wanted.map(({ object }) => refKey(refOf(object))));
  const over = standing(view).filter((object) => !kept.has(refKey(refOf(object))));
  for (const object of over) end(view, draft, object, 'monitor', 'the record gives no such policy any more');
}

/** Steps that end every rehearsal of the namespace: the enforced policies stand. Their undoing brings the rehearsal back as it was. */
export function endRehearsals(view: View, draft: Draft, phase: PhaseName): void {
  for (const object of standing(view)) end(view, draft, object, phase, 'the policy itself is enforced');
}

function end(view: View, draft: Draft, object: KubeManifest, phase: PhaseName, why: string): void {
  draft.remove(object, {
    namespace: view.namespace,
    phase,
    id: `rehearsed-${object.metadata.name}`,
    title: `end the rehearsal ${object.metadata.name}: ${why}`,
  });
}

/** How many rehearsed policies that stand are not what the evidence gives now, or lack; 0 where none stand. */
export function staleRehearsals(view: View, draft: Draft): number {
  if (standing(view).length === 0) return 0;
  rehearsePolicies(view, draft);
  return draft.steps.length;
}

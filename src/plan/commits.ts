import { groupOf } from '../model/object.ts';
import { applyToObjects, changeRef } from './change.ts';
import type { Plan, Step } from './plan.ts';
import type { Simulated, State, Verdicts } from './simulate.ts';
import { judgeEdges, stateAfter } from './simulate.ts';

/** Steps that a commit may hold at most: each is judged twice more. */
const MOST_STEPS = 64;
/** So few are tried one shorter each time. */
const FEW = 16;

/**
 * Kinds whose objects add up: an object of them isolates what it selects and allows what it names, and takes nothing from another object.
 * An account alone does nothing.
 */
const ADDITIVE = new Set([
  'networking.k8s.io/NetworkPolicy',
  'cilium.io/CiliumNetworkPolicy',
  'security.istio.io/AuthorizationPolicy',
  '/ServiceAccount',
  '/Namespace',
]);

function addsUp({ change, effects }: Step): boolean {
  const { apiVersion, kind } = changeRef(change);
  return effects.length === 0 && ADDITIVE.has(`${groupOf(apiVersion)}/${kind}`);
}

/**
 * Splits the steps of a plan into commits. What applies a commit knows no order, so all that a commit holds must be fit to be applied in any
 * one: of objects that add up, an order that denies an edge shows in one step alone, or in all but one, on top of what was before. Both are
 * judged. Every other step, and one that replaces pods, is a commit of its own; and no commit is of two phases. The order of the steps stays.
 */
export function commitsOf(plan: Pick<Plan, 'steps'>, start: State, world: Simulated): readonly (readonly Step[])[] {
  const before = judgeEdges(start.inventory, world.edgesIn(start.inventory));
  const commits: (readonly Step[])[] = [];
  let state = start;
  let at = 0;
  while (at < plan.steps.length) {
    const first = plan.steps[at];
    if (first === undefined) break;
    let end = at + 1;
    if (addsUp(first))
      while (end < plan.steps.length && end - at < MOST_STEPS) {
        const step = plan.steps[end];
        if (step === undefined || step.phase !== first.phase || !addsUp(step)) break;
        end += 1;
      }
    // The last one is the most likely to need the others: the default of a namespace.
    while (end - at > 1 && !isAnyOrder(state, plan.steps.slice(at, end), world, before))
      end = end - at > FEW ? at + ((end - at) >> 1) : end - 1;
    const commit = plan.steps.slice(at, end);
    for (const step of commit) state = stateAfter(state, step, world.rebuild);
    commits.push(commit);
    at = end;
  }
  return commits;
}

function isAnyOrder(state: State, steps: readonly Step[], world: Simulated, before: Verdicts): boolean {
  // Two steps on one object have an order.
  const objects = new Set(steps.map(({ change }) => JSON.stringify(changeRef(change))));
  if (objects.size < steps.length) return false;
  return steps.every((step) =>
    [[step], steps.filter((one) => one !== step)].every((some) => {
      let objects = state.snapshot.objects;
      for (const { change } of some) objects = applyToObjects(objects, change);
      const inventory = world.rebuild({ ...state.snapshot, objects }, state.snapshot);
      const edges = world.edgesIn(inventory);
      const now = judgeEdges(inventory, edges);
      return edges.every(({ id }) => now.get(id)?.answer !== 'denied' || before.get(id)?.answer === 'denied');
    }),
  );
}

import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { GRANT_BY_ANNOTATION, LASTS_ANNOTATION } from '../model/grant.ts';
import { assembleGrant, driftGate } from '../plan/assemble.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Change } from '../plan/change.ts';
import { planHash } from '../plan/hash.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { isJsonObject, setPath } from '../shared/pure/json.ts';

/** Who carries a grant out, and how long it is from then to its end: another person at another second asks for the same. */
const VARYING: readonly string[] = [GRANT_BY_ANNOTATION, LASTS_ANNOTATION];

/** What is the same for the same request, whoever makes it and when: what is approved, and what `--plan-hash` means. */
function withoutAuthor(change: Change): Change {
  if (change.kind === 'create')
    return {
      ...change,
      object: VARYING.reduce(
        (object, key) => setPath(object, ['metadata', 'annotations', key], undefined) as typeof object,
        change.object,
      ),
    };
  if (change.kind === 'delete') return change;
  return {
    ...change,
    fields: change.fields
      .filter(({ path }) => path.length !== 3 || path[1] !== 'annotations' || !VARYING.includes(path[2] ?? ''))
      .map((field) =>
        field.path.join('.') === 'metadata.annotations' && isJsonObject(field.after)
          ? { ...field, after: VARYING.reduce((all, key) => setPath(all, [key], undefined), field.after) }
          : field,
      ),
  };
}

function withGates(
  view: View,
  steps: readonly Step[],
  gates: (plan: { readonly to: Plan['to']; readonly hash: string }) => readonly Gate[],
): Plan {
  const plan = assembleGrant(view, 'up', steps, []);
  const stable = steps.map((step) => ({ ...step, change: withoutAuthor(step.change) }));
  const hash = planHash(plan.namespace, plan.from, plan.to, stable, [], []);
  return { ...plan, hash, gates: gates({ to: plan.to, hash }) };
}

/**
 * The plan of a grant with what may hold it up: somebody else's objects, Git, windows without changes, a ticket, approvals, drift. The watch of a
 * phase does not: a grant takes nothing from anybody.
 */
export function grantPlan(view: View, steps: readonly Step[], planner: Planner): Plan {
  return withGates(view, steps, (plan) =>
    [...driftGate(view, steps), ...planner.common(view, steps, plan).filter(({ id }) => id !== 'soak')].map((gate) =>
      planner.settle(view, worded(gate, plan.hash)),
    ),
  );
}

/** Of break-glass people's word alone is asked for: it is for the moments in which everything else says no. */
export function breakGlassPlan(view: View, steps: readonly Step[], planner: Planner): Plan {
  return withGates(view, steps, (plan) =>
    planner
      .common(view, steps, plan)
      .filter(({ id }) => id === 'ticket' || id === 'approval')
      .map((gate) => planner.settle(view, worded(gate, plan.hash))),
  );
}

/** These gates are shared with runs, which are approved and ticketed by other commands. */
function worded(one: Gate, hash: string): Gate {
  if (one.answer === 'yes') return one;
  if (one.id === 'ticket') return { ...one, fix: 'the same again with --ticket ID' };
  if (one.id === 'approval' && one.answer === 'no')
    return {
      ...one,
      fix: `somebody else: the same with --approve --plan-hash ${hash.slice(0, 12)}, and with one --until TIME in both`,
    };
  return one;
}

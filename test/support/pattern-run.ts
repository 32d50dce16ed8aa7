// A pattern from its folder to a target and back, as the command does it, without the command line.
import { resolveParameters } from '../../src/candidates/patterns/parameters.ts';
import type { Pattern } from '../../src/candidates/patterns/pattern.ts';
import type { View } from '../../src/engine/contract.ts';
import { executePlan } from '../../src/engine/run.ts';
import type { RunResult } from '../../src/engine/run.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { fillPattern, planPattern, stepsOfPattern, unwritable } from '../../src/readiness/pattern-plan.ts';
import type { PatternPlan } from '../../src/readiness/pattern-plan.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import type { Rig } from './rig.ts';
import { plannerFor } from './rig.ts';

/** The plan, or what is wrong with the parameters. */
export function planOf(
  view: View,
  pattern: Pattern,
  given: Readonly<Record<string, string>>,
  kind: 'cluster' | 'directory' = 'directory',
): PatternPlan | readonly string[] {
  const { values, problems, missing } = resolveParameters(pattern, new Map(Object.entries(given)), {
    inventory: view.inventory,
    namespace: view.namespace,
    tenants: [],
  });
  if (problems.length + missing.length > 0) return [...problems, ...missing.map((name) => `${name} is missing`)];
  const filled = fillPattern(pattern, values);
  const wrong = [...unwritable(values), ...filled.problems];
  return wrong.length > 0 ? wrong : planPattern(view, pattern, filled, plannerFor(kind));
}

export async function applyPattern(
  rig: Rig,
  namespace: string,
  pattern: Pattern,
  given: Readonly<Record<string, string>>,
): Promise<{ readonly planned: PatternPlan; readonly run: RunResult }> {
  const planned = planOf(await rig.view(namespace), pattern, given, rig.target.kind);
  if (!('plan' in planned)) throw new Error(planned.join('; '));
  return { planned, run: await executePlan(planned.plan, 'advance', rig.engine) };
}

export async function removePattern(
  rig: Rig,
  namespace: string,
  pattern: Pattern,
): Promise<{ plan: Plan; run: RunResult }> {
  const view = await rig.view(namespace);
  const undo = stepsOfPattern(view.applied, namespace, pattern.name);
  const now = view.phases.get(namespace) ?? 'none';
  const { plan, divergences } = planRollback(view, now, plannerFor(rig.target.kind), undefined, undo);
  if (divergences.length > 0) throw new Error(JSON.stringify(divergences));
  return { plan, run: await executePlan(plan, 'rollback', rig.engine) };
}

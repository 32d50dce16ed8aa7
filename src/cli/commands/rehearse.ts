import type { Gate } from '../../model/finding.ts';
import { assembleSteps } from '../../plan/assemble.ts';
import type { Plan } from '../../plan/plan.ts';
import { notJoinedGates } from '../../readiness/joined.ts';
import { rehearsableGates, rehearsalSteps } from '../../readiness/rehearsal.ts';
import { EXIT } from '../../shared/pure/errors.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, planWhole, requireNamespace, requireReadable } from '../load.ts';
import type { Prompts } from '../prompts.ts';
import { renderPlan } from '../render-plan.ts';
import { soakWorld } from '../soak.ts';
import { planDocument } from './plan.ts';
import { carryOut, refuseOpenRun } from './run.ts';

export interface RehearseOptions {
  /** True unless `--no-dry-run` is given. */
  readonly dryRun?: boolean;
}

/** The rehearsals that the record gives for a namespace, as a plan. */
export function rehearsalPlan(loaded: Loaded, namespace: string): Plan {
  const view = loaded.view(namespace);
  const gates = (): readonly Gate[] => [...notJoinedGates(view), ...rehearsableGates(view)];
  return assembleSteps(view, rehearsalSteps(view), gates, loaded.planner);
}

/**
 * Puts the AuthorizationPolicies of the phase identity there as rehearsals, a run of its own that leaves the namespace in its phase: what the
 * proxies then count is evidence for the gate `rehearsal`.
 */
export async function rehearse(
  app: App,
  namespace: string,
  options: RehearseOptions,
  prompts?: Prompts,
): Promise<number> {
  const dryRun = options.dryRun !== false;
  if (!dryRun) await refuseOpenRun(app, namespace);
  const begun = await loadAll(app, { kind: 'planning', namespace });
  requireNamespace(begun, namespace);
  requireReadable(begun, await app.decisions());
  const {
    loaded,
    made: { plan },
  } = planWhole(begun, (now) => ({ plan: rehearsalPlan(now, namespace) }));
  const view = loaded.view(namespace);
  const words = `sallyport rehearse ${namespace}`;
  if (dryRun || plan.steps.length === 0) {
    app.output.document('Plan', planDocument(plan));
    app.output.line(
      plan.steps.length === 0
        ? `Nothing to rehearse: every policy that the record gives for ${safeText(namespace)} is there.`
        : renderPlan(plan, app.output, true, `${words} --no-dry-run`),
    );
    return EXIT.done;
  }
  return carryOut(app, plan, loaded, view, 'advance', prompts, await soakWorld(app, loaded, namespace, false), words);
}

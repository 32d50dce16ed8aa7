import type { AppliedStep } from '../engine/contract.ts';
import type { RunResult } from '../engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../engine/run.ts';
import type { ChaosMark, Plan } from '../plan/plan.ts';
import { resolutionsOf } from '../plan/rollback.ts';
import { CHAOS_STEP } from '../model/chaos.ts';
import { planRollback } from '../readiness/rollback.ts';
import { groupBy } from '../shared/pure/order.ts';
import type { App } from './context.ts';
import { loadAll } from './load.ts';
import { foreignChange, withEngine } from './commands/run.ts';

/** An experiment that was ended. */
export interface ChaosEnded {
  readonly namespace: string;
  readonly mark: ChaosMark;
  readonly result: RunResult;
}

/**
 * Puts back whatever experiments took away, wherever they were killed: a run that was interrupted is closed where it stands, one that was putting
 * back is finished, and what is in force is taken back from the record, to the field. Nothing where none is left. Errors: SP606 where somebody changed the object
 * meanwhile. `only`: of the runs that took something away, these.
 */
export async function endChaos(app: App, only: (run: string) => boolean = () => true): Promise<readonly ChaosEnded[]> {
  const { reader } = await app.state();
  const isChaos = ({ step, run }: AppliedStep): boolean => step.id.startsWith(CHAOS_STEP) && only(run);
  const open = reader.openHeads().filter((head) => {
    const mark = reader.run(head.id)?.plan.chaos;
    return mark !== undefined && only(mark.undoes ?? head.id);
  });
  if (open.length === 0 && !reader.applied().some(isChaos)) return [];
  const { reader: now } = await app.writableState();
  const ended: ChaosEnded[] = [];
  for (const head of open) {
    const plan = now.run(head.id)?.plan;
    if (plan?.chaos === undefined) continue;
    const { chaos } = plan;
    if (chaos.undoes === undefined) await withEngine(app, [], (engine) => settleOpenRun(head.id, engine));
    else {
      const result = await withEngine(app, plan.steps, (engine) => resumeRun(head.id, engine));
      ended.push({ namespace: head.namespace, mark: chaos, result });
    }
  }
  for (const [run, steps] of groupBy(now.applied().filter(isChaos), (one) => one.run)) {
    const namespace = steps[0]?.namespace ?? '';
    const mark = now.run(run)?.plan.chaos;
    if (mark === undefined) continue;
    const loaded = await loadAll(app);
    const view = loaded.view(namespace);
    const mine = view.applied.filter((one) => one.run === run).toSorted((a, b) => b.seq - a.seq);
    const phase = view.phases.get(namespace) ?? 'none';
    const first = planRollback(view, phase, loaded.planner, new Map(), mine);
    const decided = resolutionsOf(first.divergences, view.resolved ?? []);
    const made = decided.size === 0 ? first : planRollback(view, phase, loaded.planner, decided, mine);
    if (made.divergences.length > 0) throw foreignChange(made.divergences);
    const plan: Plan = { ...made.plan, gates: [], findings: [], chaos: { ...mark, undoes: run } };
    const result = await withEngine(app, plan.steps, (engine) => executePlan(plan, 'rollback', engine));
    ended.push({ namespace, mark, result });
  }
  return ended;
}

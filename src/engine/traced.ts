import { formatRef } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Plan, Step } from '../plan/plan.ts';
import type { Denial } from '../plan/soak.ts';
import { traced } from '../shared/io/trace.ts';
import type { RunRecord } from './contract.ts';
import type { RunResult } from './run.ts';

/** A run as a span. What its failure says stays out: only the code goes to a collector. */
export function tracedRun(run: string, kind: string, plan: Plan, work: () => Promise<RunResult>): Promise<RunResult> {
  return traced(
    `run ${kind}`,
    () => ({
      'sallyport.run': run,
      'sallyport.kind': kind,
      'sallyport.namespace': plan.namespace,
      'sallyport.phase.from': plan.from,
      'sallyport.phase.to': plan.to,
      'sallyport.plan': plan.hash,
      'sallyport.steps': plan.steps.length,
    }),
    async (span) => {
      const result = await work();
      span.set({
        'sallyport.outcome': result.outcome,
        'sallyport.phase': result.phase,
        'sallyport.steps.done': result.done.length,
        'sallyport.exit_code': result.exit,
        'sallyport.pulled_back_by': result.pulledBack?.by,
      });
      if (result.exit !== 0) span.fail(result.failure?.detail.code ?? `exit ${result.exit}`);
      return result;
    },
  );
}

/** One step, until what it changes is in force: undefined where the operator left meanwhile. */
export function tracedStep(
  run: string,
  step: Step,
  work: () => Promise<string | undefined>,
): Promise<string | undefined> {
  return traced(
    `step ${step.operation}`,
    () => ({
      'sallyport.run': run,
      'sallyport.step': step.id,
      'sallyport.namespace': step.namespace,
      'sallyport.phase': step.phase,
      'sallyport.operation': step.operation,
      'sallyport.object': formatRef(changeRef(step.change)),
    }),
    async (span) => {
      const outcome = await work();
      span.set({ 'sallyport.outcome': outcome ?? 'left' });
      return outcome;
    },
  );
}

/** The watch over what was done, while a run waits for it. */
export function tracedSoak<T extends Denial | 'cancelled' | undefined>(
  { id, namespace }: RunRecord,
  work: () => Promise<T>,
): Promise<T> {
  return traced(
    'soak',
    () => ({ 'sallyport.run': id, 'sallyport.namespace': namespace }),
    async (span) => {
      const ended = await work();
      span.set({ 'sallyport.outcome': ended === undefined ? 'held' : ended === 'cancelled' ? 'cancelled' : 'denied' });
      return ended;
    },
  );
}

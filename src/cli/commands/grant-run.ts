import type { App } from '../context.ts';
import type { RunResult } from '../../engine/run.ts';
import { executePlan } from '../../engine/run.ts';
import type { Plan } from '../../plan/plan.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { errorDocument, renderFailure, wrap } from '../output.ts';
import { withEngine } from './run.ts';

/** Of a run, as documents about grants have it. */
export function runFields(result: RunResult): object {
  const { run: id, done, failed, notRun } = result;
  return {
    run: id,
    done,
    failed,
    notRun,
    ...(result.failure === undefined ? {} : { error: errorDocument(result.failure) }),
  };
}

export function renderResult(app: App, result: RunResult, text: string): void {
  const { output } = app;
  if (result.outcome === 'done') output.line(wrap(safeText(text), output.width, 2));
  else
    output.line(
      `Run ${safeText(result.run)}: ${result.outcome}; ${plural(result.done.length, 'step')} done, ${result.notRun.length} not run. Next: sallyport resume`,
    );
  for (const { step, error } of result.failed) output.line(wrap(safeText(`${step}: ${error}`), output.width, 4, 2));
  if (result.failure !== undefined) output.note(renderFailure(result.failure.detail, output.width).trimEnd());
}

/** One grant, or the end of one, as a run, with its line on the trail. */
export async function run(
  app: App,
  plan: Plan,
  kind: 'grant' | 'expire',
  object: string,
  reason: string,
): Promise<RunResult> {
  const { writer } = await app.writableState();
  writer.appendAudit({
    at: Date.now(),
    who: app.by,
    what: kind === 'grant' ? 'access granted for a while' : 'access ended',
    object,
    namespace: plan.namespace,
    reason,
  });
  return withEngine(app, plan.steps, (engine) => executePlan(plan, kind, engine));
}

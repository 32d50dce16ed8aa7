import { resumeRun } from '../engine/run.ts';
import { EXIT, isFailure } from '../shared/pure/errors.ts';
import { plural } from '../shared/pure/text.ts';
import { withEngine } from './commands/run.ts';
import type { App } from './context.ts';
import { loadAll } from './load.ts';
import type { Output } from './output.ts';
import { importOfCaller, soakWorld } from './soak.ts';
import type { SoakEnd } from './watcher.ts';

/** Nothing of it reaches a terminal or a document: the watch tells what came of it. */
export function quietOutput(output: Output, note: (text: string) => void): Output {
  return {
    ...output,
    json: false,
    interactive: false,
    line: () => undefined,
    document: () => undefined,
    names: () => undefined,
    raw: () => undefined,
    note,
    progress: () => undefined,
    event: () => true,
  };
}

/**
 * Asks of one run that soaks whether its watch is over, as `resume` does: done, soaking on, or pulled back as a run of its own. `app` is closed
 * by whoever opened it: it holds the state for writing meanwhile. Where another process writes, the run is asked later.
 */
export async function endSoak(app: App, run: string): Promise<SoakEnd> {
  try {
    const state = await app.writableState();
    const head = state.reader.headOf(run);
    // Somebody was faster.
    if (head === undefined || head.outcome !== undefined || state.reader.soakOf(run)?.left !== true)
      return { outcome: 'soaking', phase: 'none', text: '' };
    const { namespace } = head;
    const soak = await soakWorld(app, await loadAll(app), namespace, false);
    if (soak === undefined)
      return {
        outcome: 'failed',
        phase: head.from,
        text: `run ${run} of ${namespace} soaks, and the configuration of this watch has no signals to end it by`,
      };
    const steps = state.reader.run(run)?.plan.steps ?? [];
    const result = await withEngine(app, steps, (engine) => resumeRun(run, engine), soak);
    for (const caller of result.soak?.view.callers ?? [])
      state.writer.importEdges(importOfCaller(result.run, caller, Date.now()));
    const { phase } = result;
    if (result.pulledBack !== undefined)
      return {
        outcome: 'pulled-back',
        phase,
        text: `run ${run} of ${namespace} was pulled back by run ${result.pulledBack.by}: ${plural(result.pulledBack.undone.length, 'step')} undone`,
      };
    if (result.exit === EXIT.done)
      return { outcome: 'held', phase, text: `run ${run} of ${namespace} held: ${phase} is reached` };
    if (result.outcome === 'soaking') return { outcome: 'soaking', phase, text: '' };
    return {
      outcome: 'failed',
      phase,
      text: `run ${run} of ${namespace} could not be ended: ${result.failure?.message ?? result.outcome}`,
    };
  } catch (error) {
    if (!isFailure(error)) throw error;
    // Held by another process or another machine, or the cluster is away: later.
    const { code, nature } = error.detail;
    if (code === 'SP508' || code === 'SP652' || code === 'SP653' || nature === 'passes')
      return { outcome: 'soaking', phase: 'none', text: '' };
    return { outcome: 'failed', phase: 'none', text: `run ${run} could not be ended: ${error.message}` };
  }
}

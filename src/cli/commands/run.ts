import { randomBytes } from 'node:crypto';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, requireNamespace } from '../load.ts';
import type { Engine, RunResult } from '../../engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../engine/run.ts';
import type { View } from '../../engine/contract.ts';
import { matchedBy } from '../../flows/decide.ts';
import type { Gate } from '../../model/finding.ts';
import { openGates } from '../../plan/assemble.ts';
import { phaseIndex } from '../../model/phase.ts';
import type { Plan, Step } from '../../plan/plan.ts';
import type { Divergence } from '../../plan/rollback.ts';
import { planRollback } from '../../readiness/rollback.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { countGates, renderGates } from '../render-gates.ts';
import { renderPlan } from '../render-plan.ts';
import type { Output } from '../output.ts';
import { errorDocument, renderFailure, wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import { openJournal } from '../../../state/journal.ts';
import type { Writer } from '../../../state/writer.ts';
import { planUp, stalePlan, targetPhase } from './plan.ts';

/**
 * Does `work` as a run: with the journal, the clock and a list of its steps on standard error. Ctrl-C meanwhile ends it between two
 * steps, not in the middle of one.
 */
export async function withEngine<T>(
  app: App,
  steps: readonly Step[],
  work: (engine: Engine) => Promise<T>,
): Promise<T> {
  const state = await app.writableState();
  const target = await app.target();
  const { openTasks } = await import('../tasks.ts');
  const { signal } = app.interrupt;
  return app.interrupt.during(async () => {
    const tasks = openTasks(app.output, steps, signal);
    try {
      return await work({
        target,
        journal: openJournal(state.writer),
        clock: { now: () => Date.now(), sleep: (ms, stop) => app.clock().sleep(ms, stop) },
        by: app.by,
        signal,
        emit: tasks.emit,
        newRunId: () =>
          `${new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}-${randomBytes(3).toString('hex')}`,
      });
    } finally {
      await tasks.close();
    }
  });
}

/** plan, confirm, apply, verify. */
export async function advance(
  app: App,
  namespace: string,
  options: { readonly to?: string },
  prompts?: Prompts,
): Promise<number> {
  await refuseOpenRun(app);
  const planned = await planUp(app, namespace, options.to);
  return carryOut(app, planned.plan, planned.loaded, planned.view, 'advance', prompts);
}

/** The same, backwards, from the record. */
export async function rollback(
  app: App,
  namespace: string,
  options: { readonly to?: string },
  prompts?: Prompts,
): Promise<number> {
  // Closing what was interrupted comes first: what it wrote is part of what goes back.
  const open = (await app.state()).reader
    .runs()
    .filter((run) => run.outcome === undefined && run.namespace === namespace);
  if (open.length > 0) {
    await withEngine(app, [], async (engine) => {
      for (const run of open) await settleOpenRun(run.id, engine);
    });
  }
  const loaded = await loadAll(app);
  const view = loaded.view(namespace);
  const now = view.phases.get(namespace) ?? 'none';
  const begun = view.applied.some((step) => step.namespace === namespace);
  if (!begun && now === 'none') requireNamespace(loaded, namespace);
  // A stopped run leaves steps of the phase it was entering: going to the present phase takes just those back.
  const unfinished = view.applied.some(
    (step) => step.namespace === namespace && phaseIndex(step.phase) > phaseIndex(now),
  );
  const to =
    options.to === undefined && unfinished
      ? now
      : options.to === now && unfinished
        ? now
        : targetPhase(namespace, options.to, now, 'down');
  const { plan, divergences } = planRollback(view, to, loaded.planner);
  if (divergences.length > 0) throw foreignChange(divergences);
  return carryOut(app, plan, loaded, view, 'rollback', prompts);
}

function foreignChange(divergences: readonly Divergence[]): Failure {
  const show = (value: unknown): string => (value === undefined ? '(absent)' : JSON.stringify(value));
  const [first] = divergences;
  return new Failure({
    code: 'SP606',
    exit: EXIT.refused,
    message: `${plural(divergences.length, 'field')} that Sallyport wrote ${divergences.length === 1 ? 'was' : 'were'} changed by somebody else since, so nothing is taken back`,
    where: divergences
      .map(
        (one) =>
          `${one.object} ${one.path.join('.')}: before ${show(one.before)}, ours ${show(one.ours)}, now ${show(one.theirs)}`,
      )
      .join('; '),
    hint: `put ${first?.object ?? 'the object'} back to what Sallyport wrote (ours) or to what was there before, with kubectl, then roll back again`,
  });
}

async function refuseOpenRun(app: App): Promise<void> {
  const { reader } = await app.state();
  const [open] = reader.runs().filter((run) => run.outcome === undefined);
  if (open === undefined) return;
  throw new Failure({
    code: 'SP607',
    exit: EXIT.refused,
    message: `run ${open.id} of ${open.namespace} was interrupted and is not finished`,
    hint: `sallyport resume finishes it; sallyport rollback ${open.namespace} takes it back`,
  });
}

async function carryOut(
  app: App,
  plan: Plan,
  loaded: Loaded,
  view: View,
  kind: 'advance' | 'rollback',
  prompts: Prompts | undefined,
): Promise<number> {
  const { output } = app;
  const state = await app.writableState();
  state.writer.saveGates(plan.namespace, plan.gates, Date.now());
  const open = openGates(plan);
  if (open.length > 0) {
    output.line(renderGates(plan.gates, output));
    throw notBegun(
      output,
      plan,
      'refused',
      new Failure({
        code: 'SP600',
        exit: EXIT.refused,
        message: `${plan.namespace} cannot go from ${plan.from} to ${plan.to}: ${plural(open.length, 'gate')} ${open.length === 1 ? 'is' : 'are'} not answered with yes: ${countGates(open)}`,
        where: `namespace ${plan.namespace}`,
        hint: `sallyport plan ${plan.namespace} --to ${plan.to} shows each with its fix`,
      }),
    );
  }
  const stale = stalePlan(app, plan);
  if (stale !== undefined) throw notBegun(output, plan, 'refused', stale);
  if (app.options.yes !== true) {
    if (prompts === undefined && !output.interactive)
      throw notBegun(
        output,
        plan,
        'refused',
        new Failure({
          code: 'SP225',
          exit: EXIT.usage,
          message: 'this writes, and nobody is there to confirm it',
          where: `${kind} ${plan.namespace}`,
          hint: `look at sallyport plan ${plan.namespace} --to ${plan.to}, then add --yes --plan-hash ${plan.hash.slice(0, 12)}`,
        }),
      );
    output.line(renderPlan(plan, output, false));
    const ask = prompts ?? (await import('../prompts.ts')).terminalPrompts;
    if (
      !(await ask.confirm(
        `Write ${plan.steps.length === 1 ? 'this step' : `these ${plan.steps.length} steps`} to ${safeText((await app.target()).description)}?`,
      ))
    )
      throw notBegun(
        output,
        plan,
        'cancelled',
        new Failure({ code: 'SP131', exit: EXIT.cancelled, message: 'not confirmed; nothing was written' }),
      );
  }
  recordSettings(loaded, view, state.writer, app.by, plan);
  const result = await withEngine(app, plan.steps, (engine) => executePlan(plan, kind, engine));
  return report(app, plan.namespace, result, plan.gates);
}

/** A run that did not begin has a document all the same: a script needs its gates with their facts and fixes. */
function notBegun(output: Output, plan: Plan, outcome: 'refused' | 'cancelled', failure: Failure): Failure {
  output.document('Run', {
    run: null,
    outcome,
    phase: plan.from,
    done: [],
    failed: [],
    notRun: plan.steps.map((step) => step.id),
    gates: plan.gates,
    error: errorDocument(failure),
  });
  return failure;
}

/** Gates that were switched off or waived for this run stand on the audit trail beside it. */
function recordSettings(loaded: Loaded, view: View, writer: Writer, by: string, plan: Plan): void {
  const journal = openJournal(writer);
  const at = Date.now();
  for (const [id, value] of Object.entries(loaded.config.gates))
    if (value === 'off')
      journal.audit({
        at,
        who: by,
        what: 'gate switched off',
        object: id,
        namespace: view.namespace,
        reason: 'the configuration says off',
      });
  for (const gate of plan.gates)
    if (gate.waived !== undefined)
      journal.audit({
        at,
        who: by,
        what: 'gate waived',
        object: `${gate.id} ${gate.subject}`,
        namespace: view.namespace,
        reason: gate.waived,
      });
  // A decision from a file is taken down with the list it matched, so that it means the same later.
  for (const decision of view.decisions)
    writer.addDecision({ ...decision, matched: decision.action === 'waive' ? [] : matchedBy(decision, view.edges) });
}

/** Finishes what a crash or Ctrl-C left. */
export async function resume(app: App): Promise<number> {
  const state = await app.writableState();
  const open = state.reader.runs().filter((run) => run.outcome === undefined);
  const [run] = open;
  if (run === undefined) {
    app.output.document('Run', {
      run: null,
      outcome: 'done',
      phase: null,
      done: [],
      failed: [],
      notRun: [],
      gates: [],
    });
    app.output.line('No run is open: nothing to resume.');
    return EXIT.done;
  }
  const steps = state.reader.run(run.id)?.plan.steps ?? [];
  return report(app, run.namespace, await withEngine(app, steps, (engine) => resumeRun(run.id, engine)), []);
}

function report(app: App, namespace: string, result: RunResult, gates: readonly Gate[]): number {
  const { output } = app;
  output.document('Run', {
    run: result.run,
    outcome: result.outcome,
    phase: result.phase,
    done: result.done,
    failed: result.failed,
    notRun: result.notRun,
    gates,
    ...(result.failure === undefined ? {} : { error: errorDocument(result.failure) }),
  });
  output.line(
    wrap(
      `Run ${result.run}: ${result.outcome}; ${plural(result.done.length, 'step')} done, ${result.failed.length} failed, ${result.notRun.length} not run. Phase: ${result.phase}.`,
      output.width,
      2,
    ),
  );
  for (const { step, error } of result.failed) output.line(wrap(safeText(`${step}: ${error}`), output.width, 4, 2));
  if (result.failure !== undefined) output.note(renderFailure(result.failure.detail, output.width).trimEnd());
  if (result.outcome === 'cancelled')
    output.note(
      wrap(
        `Stopped between two steps; nothing is lost. Next: sallyport resume, or sallyport rollback ${safeText(namespace)}`,
        output.width,
        2,
      ),
    );
  return result.exit;
}

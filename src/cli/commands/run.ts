import { randomBytes } from 'node:crypto';
import type { App, Loaded } from '../context.ts';
import { loadAll, requireNamespace, requireReadable } from '../context.ts';
import type { Engine, RunResult } from '../../engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../engine/run.ts';
import type { View } from '../../engine/contract.ts';
import { matchedBy } from '../../flows/decide.ts';
import type { Gate } from '../../model/finding.ts';
import { openGates } from '../../plan/assemble.ts';
import type { Plan } from '../../plan/plan.ts';
import type { Divergence } from '../../plan/rollback.ts';
import { planRollback } from '../../readiness/rollback.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { renderGates, renderPlan } from '../render-plan.ts';
import { renderFailure, wrap } from '../output.ts';
import { openJournal } from '../../../state/journal.ts';
import type { Writer } from '../../../state/writer.ts';
import { checkPlanHash, planUp, targetPhase } from './plan.ts';

export async function openEngine(app: App): Promise<Engine & { close: () => void }> {
  const state = await app.writableState();
  const { openTasks } = await import('../tasks.ts');
  const tasks = openTasks(app.output);
  return {
    target: await app.target(),
    journal: openJournal(state.writer),
    clock: { now: () => Date.now(), sleep: (ms, signal) => app.clock().sleep(ms, signal) },
    by: app.by,
    signal: app.signal,
    emit: tasks.emit,
    newRunId: () =>
      `${new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}-${randomBytes(3).toString('hex')}`,
    close: tasks.close,
  };
}

/** plan, confirm, apply, verify. */
export async function advance(app: App, namespace: string, options: { readonly to?: string }): Promise<number> {
  await refuseOpenRun(app);
  const planned = await planUp(app, namespace, options.to);
  return carryOut(app, planned.plan, planned.loaded, planned.view, 'advance');
}

/** The same, backwards, from the record. */
export async function rollback(app: App, namespace: string, options: { readonly to?: string }): Promise<number> {
  // Closing what was interrupted comes first: what it wrote is part of what goes back.
  const open = (await app.state()).reader
    .runs()
    .filter((run) => run.outcome === undefined && run.namespace === namespace);
  if (open.length > 0) {
    const engine = await openEngine(app);
    for (const run of open) await settleOpenRun(run.id, engine);
    engine.close();
  }
  const loaded = await loadAll(app);
  requireReadable(loaded, await app.decisions());
  const view = loaded.view(namespace);
  const now = view.phases.get(namespace) ?? 'none';
  const begun = view.applied.some((step) => step.namespace === namespace);
  if (!begun && now === 'none') requireNamespace(loaded, namespace);
  // A stopped run leaves steps of the phase it was entering: going to the present phase takes just those back.
  const unfinished = view.applied.some((step) => step.namespace === namespace && aboveNow(step.phase, now));
  const to =
    options.to === undefined && unfinished
      ? now
      : options.to === now && unfinished
        ? now
        : targetPhase(options.to, now, 'down');
  const { plan, divergences } = planRollback(view, to, loaded.planner);
  if (divergences.length > 0) throw foreignChange(divergences);
  return carryOut(app, plan, loaded, view, 'rollback');
}

function aboveNow(phase: string, now: string): boolean {
  const order = ['none', 'monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'];
  return order.indexOf(phase) > order.indexOf(now);
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
): Promise<number> {
  const { output } = app;
  const state = await app.writableState();
  state.writer.saveGates(plan.namespace, plan.gates, Date.now());
  const open = openGates(plan);
  if (open.length > 0) {
    const refusal = new Failure({
      code: 'SP600',
      exit: EXIT.refused,
      message: `${plan.namespace} cannot go from ${plan.from} to ${plan.to}: ${plural(open.length, 'gate')} ${open.length === 1 ? 'is' : 'are'} not answered with yes: ${gateNames(open)}`,
      hint: `sallyport plan ${plan.namespace} --to ${plan.to} shows each with its fix`,
    });
    output.line(renderGates(plan.gates, output));
    if (!output.json) throw refusal;
    // A script needs the gates, with facts and fixes, and gets one document alone.
    output.document('Run', {
      run: null,
      outcome: 'refused',
      phase: plan.from,
      done: [],
      failed: [],
      notRun: plan.steps.map((step) => step.id),
      gates: plan.gates,
      error: errorBody(refusal),
    });
    output.note(renderFailure(refusal.detail, output.width).trimEnd());
    return EXIT.refused;
  }
  checkPlanHash(app, plan);
  if (app.options.yes !== true) {
    if (!output.interactive)
      throw new Failure({
        code: 'SP225',
        exit: EXIT.usage,
        message: 'this writes, and nobody is there to confirm it',
        hint: `look at sallyport plan ${plan.namespace}, then add --yes --plan-hash ${plan.hash.slice(0, 12)}`,
      });
    output.line(renderPlan(plan, output, false));
    const { askConfirm } = await import('../prompts.ts');
    const agreed = await askConfirm(
      `Write these ${plural(plan.steps.length, 'step')} to ${safeText((await app.target()).description)}?`,
      app.signal,
    );
    if (!agreed)
      throw new Failure({ code: 'SP130', exit: EXIT.cancelled, message: 'not confirmed; nothing was written' });
  }
  recordSettings(loaded, view, state.writer, app.by, plan);
  const engine = await openEngine(app);
  try {
    const result = await executePlan(plan, kind, engine);
    return report(app, result, plan.gates);
  } finally {
    engine.close();
  }
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

function gateNames(gates: readonly Gate[]): string {
  const counts = new Map<string, number>();
  for (const gate of gates) counts.set(gate.id, (counts.get(gate.id) ?? 0) + 1);
  return [...counts].map(([id, count]) => (count === 1 ? id : `${id} (${count})`)).join(', ');
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
  const engine = await openEngine(app);
  try {
    return report(app, await resumeRun(run.id, engine), []);
  } finally {
    engine.close();
  }
}

function report(app: App, result: RunResult, gates: readonly Gate[]): number {
  const { output } = app;
  output.document('Run', {
    run: result.run,
    outcome: result.outcome,
    phase: result.phase,
    done: result.done,
    failed: result.failed,
    notRun: result.notRun,
    gates,
    ...(result.failure === undefined ? {} : { error: errorBody(result.failure) }),
  });
  output.line(
    `Run ${result.run}: ${result.outcome}; ${plural(result.done.length, 'step')} done, ${result.failed.length} failed, ${result.notRun.length} not run. Phase: ${result.phase}.`,
  );
  for (const { step, error } of result.failed) output.line(wrap(safeText(`${step}: ${error}`), output.width, 4, 2));
  if (result.failure !== undefined) {
    output.line(wrap(`${safeText(result.failure.message)} (${result.failure.detail.code})`, output.width, 2));
    if (result.failure.detail.hint !== undefined)
      output.line(wrap(`next: ${safeText(result.failure.detail.hint)}`, output.width, 8, 2));
  }
  if (result.outcome === 'cancelled')
    output.line('Stopped between two steps. Next: sallyport resume, or sallyport rollback.');
  return result.exit;
}

export function errorBody(failure: Failure): object {
  const { code, message, where, hint } = failure.detail;
  return { code, message, where: where ?? null, hint: hint ?? null };
}

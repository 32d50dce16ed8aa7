import { randomBytes } from 'node:crypto';
import type { App } from '../context.ts';
import type { Loaded } from '../load.ts';
import { loadAll, planWhole, requireNamespace } from '../load.ts';
import type { Engine, RunResult } from '../../engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../engine/run.ts';
import type { SoakReport } from '../../engine/soak.ts';
import type { SoakWorld, View } from '../../engine/contract.ts';
import { matchedBy } from '../../flows/decide.ts';
import { formatActor } from '../../model/approval.ts';
import { countingApprovals } from '../../readiness/approval-gate.ts';
import type { Finding, Gate } from '../../model/finding.ts';
import { openGates } from '../../plan/assemble.ts';
import { phaseIndex } from '../../model/phase.ts';
import type { PhaseName } from '../../model/phase.ts';
import type { Plan, Step } from '../../plan/plan.ts';
import { resolutionsOf } from '../../plan/rollback.ts';
import type { Divergence } from '../../plan/rollback.ts';
import { planRollback } from '../../readiness/rollback.ts';
import type { ExitCode } from '../../shared/pure/errors.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { showValue } from '../../shared/pure/mask.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { countGates, renderGates } from '../render-gates.ts';
import { renderPlan } from '../render-plan.ts';
import type { Output } from '../output.ts';
import { errorDocument, few, renderFailure, wrap } from '../output.ts';
import type { Prompts } from '../prompts.ts';
import { importOfCaller, soakDocument, soakWorld } from '../soak.ts';
import { judgeAfterWayBack, tellAfterWayBack } from '../after-way-back.ts';
import { undoStores } from '../undo.ts';
import { openJournal } from '../../../state/journal.ts';
import type { Writer } from '../../../state/writer.ts';
import type { Reader } from '../../../state/reader.ts';
import { gitFolder, openGitPlace } from '../git-tree.ts';
import { refuseSuspended } from './grant.ts';
import { endOverdue, isOver } from './grant-end.ts';
import { endChaos } from '../chaos-end.ts';
import { endedText } from '../render-chaos.ts';
import type { Answered } from '../fired.ts';
import { readOwed } from '../fired.ts';
import { connectionsDocument } from '../render-incident.ts';
import { planUp, stalePlan, targetPhase } from './plan.ts';

/**
 * Does `work` as a run: with the journal, the clock and a list of its steps on standard error. Ctrl-C meanwhile ends it between two
 * steps, not in the middle of one.
 */
export async function withEngine<T>(
  app: App,
  steps: readonly Step[],
  work: (engine: Engine) => Promise<T>,
  soak?: SoakWorld,
): Promise<T> {
  const state = await app.writableState();
  const target = await app.target();
  const undo = await undoStores(app, state.file);
  const notKept = new Map<string, string>();
  const { openTasks } = await import('../tasks.ts');
  const { signal } = app.interrupt;
  return app.interrupt.during(async () => {
    const tasks = openTasks(app.output, steps, signal, soak !== undefined);
    try {
      return await work({
        target,
        journal: openJournal(state.writer),
        clock: { now: () => Date.now(), sleep: (ms, stop) => app.clock().sleep(ms, stop) },
        by: app.by,
        signal,
        emit: (event) => {
          if (event.kind === 'undo-not-kept') notKept.set(event.place, event.error);
          else tasks.emit(event);
        },
        undo,
        ...(soak === undefined ? {} : { soak }),
        newRunId: () =>
          `${new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}-${randomBytes(3).toString('hex')}`,
      });
    } finally {
      await tasks.close();
      for (const [place, error] of notKept)
        app.output.note(
          wrap(
            safeText(
              `${place}: the way back is kept there as it was before, which is whole but not up to date: ${error}`,
            ),
            app.output.width,
            2,
          ),
        );
    }
  });
}

/** plan, confirm, apply, soak, verify. */
export async function advance(
  app: App,
  namespace: string,
  options: { readonly to?: string; readonly detach?: boolean },
  prompts?: Prompts,
): Promise<number> {
  await endChaos(app);
  await refuseOpenRun(app, namespace);
  await endOverdue(app);
  await refuseSuspended(app, namespace);
  const planned = await planUp(app, namespace, options.to);
  const soak = await soakWorld(app, planned.loaded, namespace, options.detach === true);
  return carryOut(app, planned.plan, planned.loaded, planned.view, 'advance', prompts, soak);
}

/** The same, backwards, from the record. */
export async function rollback(
  app: App,
  namespace: string,
  options: { readonly to?: string },
  prompts?: Prompts,
): Promise<number> {
  await endChaos(app);
  // Closing what was interrupted comes first: what it wrote is part of what goes back.
  const open = (await app.state()).reader
    .runs()
    .filter((run) => run.outcome === undefined && run.namespace === namespace);
  for (const { id } of open) {
    const ended = await withdraw(app, id);
    if (ended !== undefined) return ended;
  }
  // One that was in force is on record now, and closed or in its soak.
  const { reader } = await app.state();
  const left = open.filter(({ id }) => reader.runs().some((run) => run.id === id && run.outcome === undefined));
  if (left.length > 0) {
    await withEngine(app, [], async (engine) => {
      for (const run of left) await settleOpenRun(run.id, engine);
    });
  }
  await endOverdue(app);
  const begunWith = await loadAll(app, { kind: 'planning', namespace });
  const view = begunWith.view(namespace);
  const now = view.phases.get(namespace) ?? 'none';
  const begun = view.applied.some((step) => step.namespace === namespace);
  if (!begun && now === 'none') requireNamespace(begunWith, namespace);
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
  const { loaded, made } = planWhole(begunWith, (read) => planBack(read, namespace, to));
  if (made.divergences.length > 0) throw foreignChange(made.divergences);
  return carryOut(app, made.plan, loaded, loaded.view(namespace), 'rollback', prompts);
}

/** The way back as people have decided of what others changed. */
function planBack(loaded: Loaded, namespace: string, to: PhaseName): ReturnType<typeof planRollback> {
  const view = loaded.view(namespace);
  const first = planRollback(view, to, loaded.planner);
  const decided = resolutionsOf(first.divergences, view.resolved ?? []);
  return decided.size === 0 ? first : planRollback(view, to, loaded.planner, decided);
}

/** Takes a commit back that is not in force yet; undefined for a run that is of another kind, or in force in part. */
async function withdraw(app: App, run: string): Promise<number | undefined> {
  const record = (await app.state()).reader.run(run);
  if (record?.plan.git === undefined) return undefined;
  const { withdrawProposal } = await import('./git-run.ts');
  const commit = await withdrawProposal(app, record);
  if (commit === undefined) return undefined;
  app.output.document('Run', {
    run,
    outcome: 'undone',
    phase: record.plan.from,
    done: [],
    failed: [],
    notRun: record.plan.steps.map((step) => step.id),
    gates: [],
    commits: commit === '' ? [] : [{ run, commit }],
  });
  app.output.line(
    `Run ${run} was not in force: ${commit === '' ? 'it was never committed' : `commit ${commit.slice(0, 12)} takes it back`}.`,
  );
  return EXIT.done;
}

export function foreignChange(divergences: readonly Divergence[]): Failure {
  const [first] = divergences;
  return new Failure({
    code: 'SP606',
    exit: EXIT.refused,
    message: `${plural(divergences.length, 'field')} that Sallyport wrote ${divergences.length === 1 ? 'was' : 'were'} changed by somebody else since, so nothing is taken back`,
    where: divergences
      .map(
        (one) =>
          `${one.object} ${one.path.join('.')}: before ${showValue(one.path, one.before)}, ours ${showValue(one.path, one.ours)}, now ${showValue(one.path, one.theirs)}`,
      )
      .join('; '),
    hint: `sallyport resolve "${first?.object ?? 'OBJECT'}" --keep theirs leaves it as it is now, --keep before puts back what was there before Sallyport, --keep ours what Sallyport wrote; then roll back again`,
  });
}

/** An open run whose commit nobody has applied yet, as far as this state knows. */
function isProposal(reader: Reader, run: string): boolean {
  return (
    reader.run(run)?.plan.git !== undefined &&
    reader.soakOf(run)?.left !== true &&
    reader.stepsOf(run).every(({ state }) => state === 'pending')
  );
}

export async function refuseOpenRun(app: App, namespace: string): Promise<void> {
  const { reader } = await app.state();
  const all = reader.runs().filter((run) => run.outcome === undefined);
  // A run that soaks has done its steps: other namespaces may move meanwhile.
  // So may they while a commit waits to be merged.
  const proposals = all.filter((run) => isProposal(reader, run.id));
  const proposed = proposals.find((run) => run.namespace === namespace);
  if (proposed !== undefined)
    throw new Failure({
      code: 'SP649',
      exit: EXIT.refused,
      message: `run ${proposed.id} of ${namespace} is committed to Git, and is not in force yet`,
      hint: `sallyport resume looks whether it is (--wait TIME waits); sallyport rollback ${namespace} takes the commit back`,
    });
  const soaking = all.filter((run) => reader.soakOf(run.id)?.left === true || proposals.includes(run));
  const [mine] = soaking.filter((run) => run.namespace === namespace);
  if (mine !== undefined)
    throw new Failure({
      code: 'SP615',
      exit: EXIT.refused,
      message: `${namespace} soaks after run ${mine.id}, and takes its next steps when that is over`,
      hint: `sallyport resume looks whether it is; sallyport status shows what is awaited; sallyport rollback ${namespace} takes it back`,
    });
  const [open] = all.filter((run) => !soaking.includes(run));
  if (open === undefined) return;
  throw new Failure({
    code: 'SP607',
    exit: EXIT.refused,
    message: `run ${open.id} of ${open.namespace} was interrupted and is not finished`,
    hint: `sallyport resume finishes it; sallyport rollback ${open.namespace} takes it back`,
  });
}

export async function carryOut(
  app: App,
  plan: Plan,
  loaded: Loaded,
  view: View,
  kind: 'advance' | 'rollback',
  prompts: Prompts | undefined,
  soak?: SoakWorld,
  show = `sallyport plan ${plan.namespace} --to ${plan.to}`,
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
        message: `${plan.from === plan.to && plan.direction === 'up' ? `${plan.namespace} cannot be changed so` : `${plan.namespace} cannot go from ${plan.from} to ${plan.to}`}: ${plural(open.length, 'gate')} ${open.length === 1 ? 'is' : 'are'} not answered with yes: ${countGates(open)}`,
        where: `namespace ${plan.namespace}`,
        hint: `${show} shows each with its fix`,
      }),
    );
  }
  const stale = stalePlan(app.options.planHash, plan);
  if (stale !== undefined) throw notBegun(output, plan, 'refused', stale);
  if (app.options.yes !== true) {
    if (prompts === undefined && !output.interactive)
      throw notBegun(
        output,
        plan,
        'refused',
        nobodyConfirms(
          `${kind} ${plan.namespace}`,
          `look at ${show}, then add --yes --plan-hash ${plan.hash.slice(0, 12)}`,
        ),
      );
    output.line(renderPlan(plan, output, false));
    const ask = prompts ?? (await import('../prompts.ts')).terminalPrompts;
    if (
      !(await ask.confirm(
        `Write ${plan.steps.length === 1 ? 'this step' : `these ${plan.steps.length} steps`} to ${(await gitFolder(app)) === undefined ? '' : 'Git, for '}${safeText((await app.target()).description)}?`,
      ))
    )
      throw notBegun(output, plan, 'cancelled', notConfirmed());
  }
  recordSettings(loaded, view, state.writer, app, plan);
  const folder = await gitFolder(app);
  if (folder !== undefined) {
    const { carryOutInGit } = await import('./git-run.ts');
    const place = await openGitPlace(app, folder);
    const { result, commits, left } = await carryOutInGit(app, plan, loaded, view, kind, place);
    const after = await afterWayBack(app, plan.namespace, plan.steps, plan.direction === 'down' ? result : undefined);
    return report(app, plan.namespace, result, plan.gates, [], { commits, commitsLeft: left, ...after });
  }
  const result = await withEngine(app, plan.steps, (engine) => executePlan(plan, kind, engine), soak);
  takeDown(state.writer, result);
  const over = plan.direction === 'down' || result.pulledBack !== undefined ? result : undefined;
  return report(app, plan.namespace, result, plan.gates, [], await afterWayBack(app, plan.namespace, plan.steps, over));
}

/** What a way back that is over left denied, told at once, and as the document has it. */
async function afterWayBack(
  app: App,
  namespace: string,
  steps: readonly Step[],
  over: Reported | undefined,
): Promise<{ readonly findings?: readonly Finding[] }> {
  if (over === undefined || !['done', 'undone'].includes(over.outcome)) return {};
  const findings = await judgeAfterWayBack(app, namespace, steps);
  await tellAfterWayBack(app, over.run, namespace, findings);
  return { findings };
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
function recordSettings(
  loaded: Loaded,
  view: View,
  writer: Writer,
  { by, options: { ticket } }: App,
  plan: Plan,
): void {
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
  if (loaded.config.undo.cluster === 'off')
    journal.audit({
      at,
      who: by,
      what: 'way back not kept in the cluster',
      object: `namespace ${view.namespace}`,
      namespace: view.namespace,
      reason: `the configuration says off; it is kept in ${loaded.config.undo.path ?? ''}`,
    });
  recordTicket({ by, options: { ticket } }, view.namespace, writer);
  recordApprovals(loaded, view, writer, by, plan);
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

/** The change request that something is done under stands on the trail. */
export function recordTicket(
  { by, options: { ticket } }: { readonly by: string; readonly options: { readonly ticket?: string | undefined } },
  namespace: string,
  writer: Writer,
): void {
  if (ticket === undefined || ticket.trim() === '') return;
  const [who, at, object] = [by, Date.now(), `namespace ${namespace}`];
  openJournal(writer).audit({ at, who, what: 'ticket', object, namespace, reason: ticket.trim() });
}

/** Whose word the run rests on, and who took it: approvals from a file become part of the state first. */
export function recordApprovals({ approvals }: Loaded, view: View, writer: Writer, by: string, plan: Plan): void {
  if (approvals === undefined || plan.direction === 'down') return;
  const counting = countingApprovals(view, plan, approvals);
  if (counting.length === 0) return;
  for (const one of counting) {
    const file = approvals.files.get(one);
    if (file !== undefined) writer.addApproval(one, { who: by, file, at: Date.now() });
  }
  writer.appendAudit({
    at: Date.now(),
    who: by,
    what: 'carry out approved plan',
    object: `namespace ${plan.namespace}, plan ${plan.hash}`,
    namespace: plan.namespace,
    reason: `approved by ${counting.map((one) => formatActor(one.by)).join(', ')}; carried out by ${approvals.actor === undefined ? 'somebody the cluster does not name' : formatActor(approvals.actor)}`,
  });
}

/**
 * Finishes what a crash or Ctrl-C left, and asks of every run that soaks whether its watch is over. An interrupted run goes first, and
 * alone: while it is not finished nothing else is sure.
 */
export async function resume(app: App): Promise<number> {
  const back = await endChaos(app);
  for (const one of back) app.output.note(`${endedText(one, app.clock().now())}, and is back.`);
  const state = await app.writableState();
  const open = state.reader.runs().filter((run) => run.outcome === undefined);
  const [interrupted] = open.filter(
    (run) => state.reader.soakOf(run.id)?.left !== true && !isProposal(state.reader, run.id),
  );
  const turn = interrupted === undefined ? open : [interrupted];
  // First what is not in force yet; and with it the end of what was open.
  if (turn.length === 0) {
    const owed = readOwed(state.reader);
    if (owed.length > 0) {
      const { exit, drains } = await drainOwed(app, owed);
      app.output.document('Run', {
        run: null,
        outcome: exit === EXIT.done ? 'done' : 'partial',
        phase: null,
        done: [],
        failed: [],
        notRun: [],
        gates: [],
        drains,
      });
      return exit;
    }
  }
  if (turn.length === 0 && back.length > 0) return reportAll(app, back);
  if (turn.length === 0) {
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
  const ended: { readonly namespace: string; readonly result: RunResult }[] = [];
  const left: Finding[] = [];
  for (const { id, namespace, kind } of turn) {
    const steps = state.reader.run(id)?.plan.steps ?? [];
    if (kind === 'grant' && isOver(app, steps)) {
      // What was opened of it is ended below, and the rest is not opened any more.
      await withEngine(app, steps, (engine) => settleOpenRun(id, engine));
      continue;
    }
    if (state.reader.run(id)?.plan.git !== undefined) {
      const { resumeInGit } = await import('./git-run.ts');
      const result = await resumeInGit(app, id);
      takeDown(state.writer, result);
      ended.push({ namespace, result });
      continue;
    }
    const soak =
      kind === 'advance' ? await soakWorld(app, await loadForSoak(app, namespace, steps), namespace, false) : undefined;
    const result = await withEngine(app, steps, (engine) => resumeRun(id, engine), soak);
    takeDown(state.writer, result);
    const over = kind === 'rollback' || result.pulledBack !== undefined ? result : undefined;
    const { findings = [] } = await afterWayBack(app, namespace, steps, over);
    left.push(...findings);
    ended.push({ namespace, result });
  }
  const over = await endOverdue(app);
  const owed = readOwed(state.reader).filter(({ run }) => ended.some(({ result }) => result.run === run.id));
  if (owed.length > 0) {
    const { exit, drains } = await drainOwed(app, owed);
    const told = reportAll(app, ended, left, { drains });
    return told === EXIT.done ? exit : told;
  }
  if (ended.length > 0) return reportAll(app, ended, left);
  app.output.document('GrantsEnded', { ended: over.map(({ document }) => document), beside: [] });
  app.output.line('A grant that was interrupted is over: what was opened of it is closed.');
  return over.find(({ exit }) => exit !== EXIT.done)?.exit ?? EXIT.done;
}

/** Connections that were to be ended once a quarantine is in force, where a crash came before. Exit 7 where some may still be open. */
async function drainOwed(
  app: App,
  owed: readonly Answered[],
): Promise<{ readonly exit: ExitCode; readonly drains: readonly object[] }> {
  const { drainHeld } = await import('./incident-connections.ts');
  const drains: object[] = [];
  let exit: ExitCode = EXIT.done;
  for (const { run, mark } of owed) {
    const { open, isOver } = await drainHeld(app, run.id);
    if (!isOver) exit = EXIT.partial;
    drains.push({
      incident: mark.id,
      outcome: isOver ? 'done' : 'partial',
      connections: open.map(connectionsDocument),
    });
  }
  return { exit, drains };
}

/** The record as a watch over these steps needs it. */
async function loadForSoak(app: App, namespace: string, steps: readonly Step[]): Promise<Loaded> {
  const loaded = await loadAll(app, { kind: 'planning', namespace });
  return loaded.beyond({ steps }) ?? loaded;
}

/** New callers that a watch has shown are put on record, so that a person can accept or adopt them. */
function takeDown(writer: Writer, result: RunResult): void {
  for (const caller of result.soak?.view.callers ?? [])
    writer.importEdges(importOfCaller(result.run, caller, Date.now()));
}

/** One document: the run that matters most, with the others beside it. */
function reportAll(
  app: App,
  ended: readonly { readonly namespace: string; readonly result: RunResult }[],
  findings: readonly Finding[] = [],
  more: object = {},
): number {
  const weight = ({ exit }: RunResult): number =>
    [EXIT.done, EXIT.refused, EXIT.drift].findIndex((one) => one === exit);
  const rank = (result: RunResult): number => (weight(result) < 0 ? Infinity : weight(result));
  const sorted = ended.toSorted((a, b) => rank(b.result) - rank(a.result));
  const [first, ...others] = sorted;
  if (first === undefined) return EXIT.done;
  for (const { namespace, result } of others) renderRun(app, namespace, result);
  const beside = others.map(({ namespace, result }) => ({ namespace, run: result.run, outcome: result.outcome }));
  return report(app, first.namespace, first.result, [], beside, {
    ...(findings.length === 0 ? {} : { findings }),
    ...more,
  });
}

/** Of a run that goes through Git: committed, and not known to be in force. */
type Reported = Omit<RunResult, 'outcome'> & { readonly outcome: RunResult['outcome'] | 'proposed' };

function report(
  app: App,
  namespace: string,
  result: Reported,
  gates: readonly Gate[],
  others: readonly object[] = [],
  more: object = {},
): number {
  const { output } = app;
  const { soak } = result;
  output.document('Run', {
    run: result.run,
    outcome: result.outcome,
    phase: result.phase,
    done: result.done,
    failed: result.failed,
    notRun: result.notRun,
    // What the watch found takes the place of what was promised of it.
    gates: soak === undefined ? gates : [...gates.filter((gate) => gate.id !== 'soak'), ...soak.gates],
    ...(soak === undefined ? {} : { soak: soakDocument(soak) }),
    ...(result.pulledBack === undefined
      ? {}
      : { undone: result.pulledBack.undone, pulledBackBy: result.pulledBack.by }),
    ...(others.length === 0 ? {} : { others }),
    ...more,
    ...(result.failure === undefined ? {} : { error: errorDocument(result.failure) }),
  });
  renderRun(app, namespace, result);
  return result.exit;
}

function renderRun(app: App, namespace: string, result: Reported): void {
  const { output } = app;
  const say = (text: string, first = 2): void => output.line(wrap(safeText(text), output.width, first + 2, first));
  output.line(
    wrap(
      `Run ${result.run}: ${result.outcome}; ${plural(result.done.length, 'step')} done, ${result.failed.length} failed, ${result.notRun.length} not run. Phase: ${result.phase}.`,
      output.width,
      2,
    ),
  );
  for (const { step, error } of result.failed) say(`${step}: ${error}`);
  if (result.pulledBack !== undefined)
    say(`${plural(result.pulledBack.undone.length, 'step')} undone by run ${result.pulledBack.by}`);
  if (result.soak !== undefined) renderSoak(app, result.soak);
  if (result.failure !== undefined) output.note(renderFailure(result.failure.detail, output.width).trimEnd());
  if (result.outcome === 'soaking' && result.failure === undefined)
    say(
      `${namespace} soaks until ${new Date(result.soak?.until ?? 0).toISOString()}. Next: sallyport resume, then or later`,
    );
  if (result.outcome === 'proposed')
    say('Next: push and merge the commit; sallyport resume then finds it in the cluster, and ends the run');
  if (result.outcome === 'cancelled')
    output.note(
      wrap(
        `Stopped between two steps; nothing is lost. Next: sallyport resume, or sallyport rollback ${safeText(namespace)}`,
        output.width,
        2,
      ),
    );
}

/** Edges of one kind that are shown on a terminal; --json has all. */
const MOST_EDGES = 6;

function renderSoak(app: App, soak: SoakReport): void {
  const { output } = app;
  const { view } = soak;
  const say = (text: string, first = 2): void => output.line(wrap(safeText(text), output.width, first + 2, first));
  say(
    `Soak: ${plural(view.seen.length, 'edge')} seen anew, ${view.awaited.length} not seen since, ${plural(view.callers.length, 'new caller')}, ${view.denied.length} denied`,
  );
  const list = (head: string, lines: readonly string[]): void => {
    if (lines.length === 0) return;
    say(head, 4);
    const { shown, more } = few(lines, MOST_EDGES);
    for (const line of shown) say(line, 6);
    if (more !== '') say(more, 6);
  };
  list(
    'not seen since:',
    view.awaited.map(
      ({ text, edge, due }) =>
        `${text} (${edge})${due === undefined ? '' : `, expected by ${new Date(due).toISOString()}`}`,
    ),
  );
  list(
    'new callers:',
    view.callers.map(
      ({ text, id, state }) => `${text} (${id}): ${state === 'passed-before' ? 'passed before the last step' : state}`,
    ),
  );
  list(
    'denied:',
    view.denied.map(
      ({ text, edge, spared, where }) => `${text} (${edge})${spared === undefined ? '' : `, ${spared}`}: ${where}`,
    ),
  );
  for (const signal of soak.signals.filter(({ lost }) => lost > 0))
    say(`${signal.source}: ${plural(signal.lost, 'record')} lost by the source itself`, 4);
  const bad = soak.signals.filter((signal) => signal.bad > 0);
  for (const signal of bad)
    say(`${signal.source}: ${plural(signal.bad, 'line')} that are no record; ${signal.firstBad ?? ''}`, 4);
  for (const gap of soak.gaps) say(`gap: ${gap}; the watch began anew`, 4);
}

/** A write that nobody is there to say yes to. */
export function nobodyConfirms(where: string, hint: string): Failure {
  return new Failure({
    code: 'SP225',
    exit: EXIT.usage,
    message: 'this writes, and nobody is there to confirm it',
    where,
    hint,
  });
}

export function notConfirmed(): Failure {
  return new Failure({ code: 'SP131', exit: EXIT.cancelled, message: 'not confirmed; nothing was written' });
}

import type { KubeManifest } from '../model/object.ts';
import { formatRef } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { phaseIndex } from '../model/phase.ts';
import { changeRef, checkChange, invertChange } from '../plan/change.ts';
import type { Change } from '../plan/change.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import type { ExitCode } from '../shared/pure/errors.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { AuditEntry, Clock, Journal, JournalStep, LeaseHold, RunKind, RunOutcome, Target } from './contract.ts';
import type { Emit } from './events.ts';
import { planRecovery } from './recover.ts';

/** The world a run acts on and reports to. */
export interface Engine {
  readonly target: Target;
  readonly journal: Journal;
  readonly clock: Clock;
  /** Who: for the audit trail and the Lease. */
  readonly by: string;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly newRunId: () => string;
}

export interface RunResult {
  readonly run: string;
  readonly outcome: RunOutcome;
  readonly phase: PhaseName;
  readonly done: readonly string[];
  readonly failed: readonly { readonly step: string; readonly error: string }[];
  readonly notRun: readonly string[];
  readonly exit: ExitCode;
  readonly failure?: Failure;
}

/** Namespaces of the objects that steps write; the empty text stands for cluster-scoped ones. A Namespace object counts as itself. */
export function namespacesWritten(steps: readonly Step[]): readonly string[] {
  return uniqueSorted(
    steps.map((step) => {
      const ref = changeRef(step.change);
      return ref.namespace ?? (ref.kind === 'Namespace' ? ref.name : '');
    }),
  );
}

/** Runs a plan that has passed its gates: records it whole, then performs one step after the other. */
export async function executePlan(plan: Plan, kind: RunKind, engine: Engine): Promise<RunResult> {
  const run = engine.newRunId();
  const hold = await engine.target.acquire(namespacesWritten(plan.steps), `${engine.by} run ${run}`);
  try {
    engine.journal.openRun({
      id: run,
      kind,
      namespace: plan.namespace,
      from: plan.from,
      to: plan.to,
      planHash: plan.hash,
      startedAt: engine.clock.now(),
      by: engine.by,
      plan,
    });
    return await perform(run, plan, hold, engine);
  } finally {
    await hold.release();
  }
}

/**
 * Takes up a run that a crash or Ctrl-C left open: each step that was begun is found to be written or not, by the object itself; then
 * the rest is performed. A step whose object is neither as before nor as wanted stops with exit 3.
 */
export async function resumeRun(run: string, engine: Engine): Promise<RunResult> {
  const record = engine.journal.openRuns().find((one) => one.id === run);
  if (record === undefined)
    throw new Failure({ code: 'SP604', exit: EXIT.usage, message: `run ${run} is not open`, hint: 'sallyport status' });
  const { plan } = record;
  const hold = await engine.target.acquire(namespacesWritten(plan.steps), `${engine.by} run ${run}`);
  try {
    await recoverSteps(run, engine);
    return await perform(run, plan, hold, engine);
  } finally {
    await hold.release();
  }
}

/** Closes an open run where it stands, so that what it did can be rolled back: nothing more is written. */
export async function settleOpenRun(run: string, engine: Engine): Promise<void> {
  await recoverSteps(run, engine);
  const record = engine.journal.openRuns().find((one) => one.id === run);
  if (record === undefined) return;
  for (const step of engine.journal.stepsOf(run))
    if (step.state === 'pending')
      engine.journal.stepSkipped(run, step.index, 'the run was given up', engine.clock.now());
  const phase = engine.journal.phases().get(record.namespace) ?? 'none';
  engine.journal.closeRun(run, 'partial', phaseAfterStop(record.plan, phase), engine.clock.now());
}

/** The phase that a partly done run leaves: steps of the phase being entered are in force, so rollback must reach them. */
function phaseAfterStop(_plan: Plan, phase: PhaseName): PhaseName {
  return phase;
}

async function recoverSteps(run: string, engine: Engine): Promise<void> {
  const steps = engine.journal.stepsOf(run);
  const live = new Map<number, KubeManifest | undefined>();
  for (const step of steps)
    if (step.state === 'started' && step.change !== undefined)
      live.set(step.index, await engine.target.readObject(changeRef(step.change)));
  for (const verdict of planRecovery(steps, live)) {
    const { step } = verdict;
    const ref = formatRef(changeRef(step.change ?? step.step.change));
    switch (verdict.kind) {
      case 'not-applied':
        engine.journal.stepReset(run, step.index);
        break;
      case 'applied': {
        const uid = live.get(step.index)?.metadata['uid'];
        engine.journal.stepDone(run, step.index, {
          at: engine.clock.now(),
          ...(typeof uid === 'string' ? { uid } : {}),
          audit: auditOf(engine, run, step.step, 'found written after an interruption'),
        });
        break;
      }
      case 'foreign-change':
        throw new Failure({
          code: 'SP603',
          exit: EXIT.refused,
          message: `${ref} is neither as it was before the interruption nor as the step would leave it`,
          where: `run ${run}, step ${step.step.id}: ${verdict.message}`,
          hint: 'look at the object, put it to one of the two states, then: sallyport resume',
        });
    }
  }
}

async function perform(run: string, plan: Plan, hold: LeaseHold, engine: Engine): Promise<RunResult> {
  const { journal, clock, emit } = engine;
  const total = plan.steps.length;
  let stopped: { readonly failure: Failure; readonly outcome: RunOutcome; readonly index?: number } | undefined;
  for (const item of journal.stepsOf(run)) {
    if (item.state === 'done' || item.state === 'skipped' || item.state === 'undone') {
      reachPhase(plan, item.index, engine);
      continue;
    }
    if (engine.signal.aborted) return result(run, plan, 'cancelled', EXIT.cancelled, engine);
    emit({ kind: 'step-started', step: item.step, index: item.index, total });
    try {
      await hold.assertHeld();
      const outcome = await performStep(run, item, engine);
      emit({ kind: 'step-done', step: item.step, index: item.index, outcome });
      reachPhase(plan, item.index, engine);
    } catch (error) {
      if (!isFailure(error)) throw error;
      emit({ kind: 'step-failed', step: item.step, index: item.index, error: error.message });
      stopped = { failure: error, outcome: 'partial', index: item.index };
      break;
    }
  }
  if (stopped === undefined) {
    reachPhase(plan, total - 1, engine);
    journal.closeRun(run, 'done', plan.to, clock.now());
    return result(run, plan, 'done', EXIT.done, engine);
  }
  const state = journal.stepsOf(run).find((item) => item.index === stopped.index)?.state;
  if (state === 'started') {
    // Whether the write took effect is not known: the run stays open, and resume finds out from the object.
    return { ...result(run, plan, 'partial', stopped.failure.detail.exit, engine), failure: stopped.failure };
  }
  const phase = journal.phases().get(plan.namespace) ?? 'none';
  for (const item of journal.stepsOf(run))
    if (item.state === 'pending') journal.stepSkipped(run, item.index, 'an earlier step stopped the run', clock.now());
  journal.closeRun(run, 'partial', phase, clock.now());
  const done = journal.stepsOf(run).some((item) => item.state === 'done');
  const exit = stopped.failure.detail.exit === EXIT.refused || !done ? stopped.failure.detail.exit : EXIT.partial;
  return { ...result(run, plan, 'partial', exit, engine), failure: stopped.failure };
}

/** After the last step of a phase the namespace is in it: a later stop loses nothing of that. */
function reachPhase(plan: Plan, index: number, engine: Engine): void {
  if (plan.direction === 'down') return;
  const step = plan.steps[index];
  if (step === undefined) return;
  const next = plan.steps[index + 1];
  if (next?.phase === step.phase) return;
  const now = engine.journal.phases().get(plan.namespace) ?? 'none';
  if (phaseIndex(step.phase) <= phaseIndex(now)) return;
  engine.journal.setPhase(plan.namespace, step.phase, engine.clock.now());
  engine.emit({ kind: 'phase-reached', namespace: plan.namespace, phase: step.phase });
}

async function performStep(run: string, item: JournalStep, engine: Engine): Promise<string> {
  const { target, journal, clock } = engine;
  const { step } = item;
  const ref = changeRef(step.change);
  const live = await target.readObject(ref);
  const conflict = checkChange(step.change, live);
  if (conflict !== undefined) {
    journal.stepFailed(run, item.index, conflict.message, clock.now());
    throw new Failure({
      code: 'SP601',
      exit: EXIT.refused,
      message: `${formatRef(ref)} changed since the plan was made: ${conflict.message}`,
      where: `step ${step.id}${conflict.path === undefined ? '' : `, field ${conflict.path.join('.')}`}`,
      hint: 'look at the change, then plan again; what was done so far stays on record',
    });
  }
  const change = withLive(step.change, live);
  journal.stepStarted(run, item.index, change, clock.now());
  try {
    await target.rehearse(change);
  } catch (error) {
    journal.stepFailed(run, item.index, messageOf(error), clock.now());
    throw error;
  }
  let applied;
  try {
    applied = await target.apply(change);
  } catch (error) {
    // A refusal is certain to have written nothing; of any other failure the object alone can tell.
    if (isFailure(error) && error.detail.exit === EXIT.refused)
      journal.stepFailed(run, item.index, error.message, clock.now());
    throw error;
  }
  for (const effect of step.effects) {
    if (effect.kind !== 'rollout') continue;
    engine.emit({ kind: 'step-waiting', step, text: `waiting for the pods of ${effect.workload}` });
    const rollout = await target.awaitRollout({ id: effect.workload, ref }, engine.signal);
    if (rollout.outcome === 'failed' || rollout.outcome === 'timed-out') {
      await target.apply(invertChange(change));
      journal.stepFailed(run, item.index, rollout.message, clock.now());
      engine.emit({ kind: 'step-undone', step, index: item.index });
      throw new Failure({
        code: 'SP602',
        exit: EXIT.partial,
        message: `${effect.workload} did not become ready, so the step was taken back: ${rollout.message}`,
        where: `step ${step.id}`,
        hint: `look at its pods (kubectl describe), then advance again`,
      });
    }
  }
  const uid = applied.live?.metadata['uid'];
  journal.stepDone(run, item.index, {
    at: clock.now(),
    ...(typeof uid === 'string' ? { uid } : {}),
    audit: auditOf(engine, run, step, applied.outcome),
  });
  return applied.outcome;
}

/** The change with the before-image read just now: what a delete takes away is recorded as it is, not as it was planned. */
function withLive(change: Change, live: KubeManifest | undefined): Change {
  if (change.kind === 'delete' && live !== undefined) return { ...change, before: live };
  return change;
}

function auditOf(engine: Engine, run: string, step: Step, outcome: string): AuditEntry {
  return {
    at: engine.clock.now(),
    who: engine.by,
    what: `${step.operation}: ${outcome}`,
    object: formatRef(changeRef(step.change)),
    reason: `${step.title}${step.confirm === undefined ? '' : ` [confirmed: ${step.confirm}]`}`,
    run,
  };
}

function result(run: string, plan: Plan, outcome: RunOutcome, exit: ExitCode, engine: Engine): RunResult {
  const steps = engine.journal.stepsOf(run);
  const ids = (state: JournalStep['state'][]): readonly string[] =>
    steps.filter((item) => state.includes(item.state)).map((item) => item.step.id);
  return {
    run,
    outcome,
    phase: engine.journal.phases().get(plan.namespace) ?? 'none',
    done: ids(['done', 'undone']),
    failed: steps
      .filter((item) => item.state === 'failed' || item.state === 'started')
      .map((item) => ({ step: item.step.id, error: item.error ?? 'its outcome is not known yet' })),
    notRun: ids(['pending', 'skipped']),
    exit,
  };
}

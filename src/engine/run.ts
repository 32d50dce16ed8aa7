import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { PHASES, phaseIndex } from '../model/phase.ts';
import { changeRef, changesNothing, checkChange, invertChange } from '../plan/change.ts';
import type { Change } from '../plan/change.ts';
import { checkDrift } from '../plan/drift.ts';
import type { Effect, Plan, Step } from '../plan/plan.ts';
import type { Denial } from '../plan/soak.ts';
import { bearsOnTraffic } from '../plan/soak.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import type { ExitCode } from '../shared/pure/errors.ts';
import { equalJson, getPath } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';
import type {
  Applied,
  AppliedStep,
  AuditEntry,
  Clock,
  Journal,
  JournalStep,
  LeaseHold,
  PullBack,
  RolloutResult,
  RunKind,
  RunOutcome,
  RunRecord,
  SoakWorld,
  Target,
  UndoStore,
} from './contract.ts';
import type { Emit } from './events.ts';
import type { Judged } from './ground.ts';
import { assertGround, lookAgain, versionOf } from './ground.ts';
import { classifyChange, leavesTrace, planRecovery } from './recover.ts';
import { assertRights } from './rights.ts';
import type { SoakReport, Watch } from './soak.ts';
import { firstSoak, formatSpan, needsWatch, openWatch } from './soak.ts';
import { tracedRun, tracedSoak, tracedStep } from './traced.ts';
import {
  assertLatest,
  keepUndo,
  namespacesKept,
  notKept,
  placeNotKept,
  refreshBetweenSteps,
  refreshUndo,
} from './undo.ts';

/** How long pods may take to be replaced where their controller names no limit of its own: a large StatefulSet goes one by one. */
const ROLLOUT_LIMIT_MS = 30 * 60_000;
/** A Lease lasts a minute; it is renewed while pods are waited for. */
const RENEW_MS = 15_000;
/** How often an object that others write all the time is looked at before it is written, and the pauses between, which grow: 16 s in all. */
const JUDGE_ATTEMPTS = 8;
const JUDGE_PAUSE_MS = { first: 250, most: 4000 };
/** Subjects of open gates that a message names; the document has all. */
const MOST_NAMED = 3;
/** Between two looks at the signals while pods are waited for. */
const WATCH_MS = 1_000;

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
  /** Set where runs are watched: without it the last step of a run ends it. */
  readonly soak?: SoakWorld;
  /** Where ways back are kept outside the state. */
  readonly undo?: readonly UndoStore[];
}

export interface RunResult {
  readonly run: string;
  /** `soaking`: every step is done, and the run stays open until the watch over it has ended. */
  readonly outcome: RunOutcome | 'soaking';
  readonly phase: PhaseName;
  readonly done: readonly string[];
  readonly failed: readonly { readonly step: string; readonly error: string }[];
  readonly notRun: readonly string[];
  readonly exit: ExitCode;
  readonly failure?: Failure;
  /** What the watch saw, where there was one. */
  readonly soak?: SoakReport;
  /** Where it was pulled back: by which run, for which denial, and the steps that were undone. */
  readonly pulledBack?: { readonly by: string; readonly cause: PullBack; readonly undone: readonly string[] };
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

/** Runs a plan that has passed its gates: records it whole, then performs one step after the other, under watch where there is one. */
export async function executePlan(plan: Plan, kind: RunKind, engine: Engine): Promise<RunResult> {
  const run = engine.newRunId();
  return tracedRun(run, kind, plan, () => execute(run, plan, kind, engine));
}

async function execute(run: string, plan: Plan, kind: RunKind, engine: Engine): Promise<RunResult> {
  const { clock, journal, soak } = engine;
  return holding(run, plan, engine, async (hold) => {
    await assertLatest(namespacesKept(plan), engine);
    // Before anything is on record: a signal that cannot be read must not leave a run behind.
    const signals =
      kind === 'advance' && soak !== undefined && needsWatch(plan) ? await soak.open(undefined) : undefined;
    const record: RunRecord = {
      id: run,
      kind,
      namespace: plan.namespace,
      from: plan.from,
      to: plan.to,
      planHash: plan.hash,
      startedAt: clock.now(),
      by: engine.by,
      plan,
    };
    if (signals === undefined || soak === undefined) {
      journal.openRun(record);
      await keepFirst(record, engine);
      return keeping(record, engine, perform(record, hold, engine, new Map(), undefined));
    }
    try {
      const deniedBefore = await soak.deniedBefore(plan);
      journal.openRun(record);
      await keepFirst(record, engine);
      const first = firstSoak(run, record.startedAt, signals, deniedBefore);
      journal.saveSoak(first);
      const watch = await openWatch(plan, record.startedAt, first, signals, soak, engine);
      return await keeping(record, engine, perform(record, hold, engine, new Map(), watch));
    } finally {
      await signals.close();
    }
  });
}

/**
 * The way back is outside the state before the first write. Where it cannot be, the run ends having done nothing; a run that only takes back
 * goes on, since what was kept before undoes all of it already.
 */
async function keepFirst(record: RunRecord, engine: Engine): Promise<void> {
  const { journal, clock } = engine;
  const { id: run, plan } = record;
  try {
    await keepUndo(run, namespacesKept(plan), engine);
  } catch (error) {
    if (!isFailure(error)) throw error;
    if (takesBackOnly(plan)) return;
    if (journal.stepsOf(run).every((step) => step.state === 'pending')) {
      for (const step of journal.stepsOf(run))
        journal.stepSkipped(run, step.index, 'its way back could not be kept', clock.now());
      journal.closeRun(run, 'failed', journal.phases().get(plan.namespace) ?? 'none', clock.now());
    }
    throw notKept(error);
  }
}

/** The Lease or lock under which the run writes is somebody else's by now. */
function isHoldLost(error: unknown): boolean {
  return isFailure(error) && error.detail.nature === 'hold-lost';
}

/** Need only be tried again; planning anew half-way is more than that, and may come to something else. */
function passes({ detail }: Failure): boolean {
  return detail.nature === 'passes' || detail.exit === EXIT.state;
}

function withResume(failure: Failure): Failure {
  const { hint } = failure.detail;
  if (hint?.includes('sallyport resume') === true) return failure;
  return new Failure({
    ...failure.detail,
    hint: `${hint === undefined ? '' : `${hint}; `}then sallyport resume goes on, and sallyport rollback takes back`,
    cause: failure.detail.cause ?? failure,
  });
}

function takesBackOnly(plan: Plan): boolean {
  return plan.steps.every((step) => step.undoes !== undefined || changesNothing(step.change));
}

function stepwise(engine: Engine): Engine {
  return engine.undo === undefined ? engine : { ...engine, undo: engine.undo.filter((store) => store.stepwise) };
}

/** However a run ends, what is kept outside the state then says so; unless somebody else may be at work there, who keeps it now. */
async function keeping(record: RunRecord, engine: Engine, ending: Promise<RunResult>): Promise<RunResult> {
  const ended = await ending;
  if (ended.failure !== undefined && isHoldLost(ended.failure)) return ended;
  await refreshUndo(ended.pulledBack?.by ?? record.id, namespacesKept(record.plan), engine);
  return ended;
}

/**
 * Takes up a run that a crash or Ctrl-C left open, or that soaks: each step that was begun is found to be written or not, by the object
 * itself; then the rest is performed, and the watch goes on where it stopped. A step whose object is neither as before nor as wanted
 * stops with exit 3.
 */
export async function resumeRun(run: string, engine: Engine): Promise<RunResult> {
  const record = engine.journal.openRuns().find((one) => one.id === run);
  if (record === undefined)
    throw new Failure({ code: 'SP604', exit: EXIT.usage, message: `run ${run} is not open`, hint: 'sallyport status' });
  return tracedRun(run, 'resume', record.plan, () => takeUp(record, engine));
}

async function takeUp(record: RunRecord, engine: Engine): Promise<RunResult> {
  const run = record.id;
  return holding(run, record.plan, engine, async (hold) => {
    const { journal, soak } = engine;
    await assertLatest(namespacesKept(record.plan), engine);
    await assertKept(record, engine);
    const written = await recoverSteps(run, engine);
    await assertStanding(record, written, engine);
    // Interrupted between its stop and its close: what failed or was passed over is tried anew.
    for (const step of journal.stepsOf(run))
      if (step.state === 'failed' || step.state === 'skipped') journal.stepReset(run, step.index);
    await keepFirst(record, engine);
    const kept = journal.soakOf(run) ?? (await lateStart(record, engine));
    if (kept === undefined) return keeping(record, engine, perform(record, hold, engine, written, undefined));
    if (soak === undefined)
      throw new Failure({
        code: 'SP612',
        exit: EXIT.usage,
        message: `run ${run} of ${record.namespace} is under watch, and the configuration names no signals to watch`,
        where: 'soak.signals',
        hint: `give the configuration that it was started with (--config), or take it back: sallyport rollback ${record.namespace}`,
      });
    const signals = await soak.open(kept.position);
    try {
      const watch = await openWatch(record.plan, record.startedAt, kept, signals, soak, engine);
      // What was denied meanwhile comes first: no further step is written over it. A step that was found written is finished before.
      const denial = written.size === 0 ? await watch.look() : undefined;
      if (denial !== undefined) return await keeping(record, engine, pullBack(record, denial, hold, engine, watch));
      return await keeping(record, engine, perform(record, hold, engine, written, watch));
    } finally {
      await signals.close();
    }
  });
}

/**
 * What is to come was judged on top of what was written before. Where somebody has taken that away meanwhile (another operator who took the
 * run back, with a copy of this state), going on could cut what must work: a default deny without the policies that allow.
 */
async function assertStanding(
  { id: run, plan }: RunRecord,
  written: ReadonlyMap<number, KubeManifest | undefined>,
  engine: Engine,
): Promise<void> {
  const { journal, target } = engine;
  const steps = journal.stepsOf(run);
  const more = steps.some((step) => ['pending', 'failed', 'skipped'].includes(step.state));
  if (plan.direction !== 'up' || !more) return;
  const kept = new Set(namespacesKept(plan));
  const found = steps
    .filter((step) => written.has(step.index))
    .map(({ seq, step, change }): AppliedStep => {
      const { namespace, phase } = step;
      return { seq, run, namespace, phase, step, change: change ?? step.change, at: 0 };
    });
  const standing = [...journal.applied().filter((step) => kept.has(step.namespace)), ...found];
  const [first, ...others] = checkDrift(standing, await readAll(standing, target), journal.resolutions());
  const undone = steps.find((step) => step.state === 'undone');
  if (first === undefined && undone === undefined) return;
  const what =
    first === undefined
      ? `step ${undone?.step.id ?? ''} was taken back elsewhere`
      : `${first.object} ${first.path} is not as Sallyport left it${others.length === 0 ? '' : `, nor are ${plural(others.length, 'more field')}`}`;
  throw new Failure({
    code: 'SP617',
    exit: EXIT.refused,
    message: `${what}, and the rest of run ${run} stands on it; nothing was written`,
    where: `run ${run}${first === undefined ? '' : `, step ${first.step}`}`,
    hint: `sallyport rollback ${plan.namespace} takes the run back; sallyport verify ${plan.namespace} shows what changed`,
  });
}

/** The objects that steps wrote, as they are. */
async function readAll(steps: readonly AppliedStep[], target: Target): Promise<readonly KubeManifest[]> {
  const objects = new Map<string, KubeManifest>();
  const seen = new Set<string>();
  for (const { change } of steps) {
    const ref = changeRef(change);
    const key = refKey(ref);
    if (seen.has(key)) continue;
    seen.add(key);
    const live = await target.readObject(ref);
    if (live !== undefined) objects.set(key, live);
  }
  return [...objects.values()];
}

/** A run that was killed between its record and that of its watch has written nothing yet: its watch begins now. */
async function lateStart(record: RunRecord, engine: Engine): Promise<ReturnType<typeof firstSoak> | undefined> {
  const { journal, soak } = engine;
  const begun = journal.stepsOf(record.id).some((step) => step.state !== 'pending');
  // An incident is answered, not tried out.
  if (record.plan.incident !== undefined) return undefined;
  if (record.kind !== 'advance' || soak === undefined || begun || !needsWatch(record.plan)) return undefined;
  const signals = await soak.open(undefined);
  try {
    const first = firstSoak(record.id, record.startedAt, signals, await soak.deniedBefore(record.plan));
    journal.saveSoak(first);
    return first;
  } finally {
    await signals.close();
  }
}

/** The namespace being moved is held too, whatever is written: two runs of one namespace never go on at once. */
async function holding<T extends { readonly failure?: Failure }>(
  run: string,
  plan: Plan,
  engine: Engine,
  work: (hold: LeaseHold) => Promise<T>,
): Promise<T> {
  const namespaces = uniqueSorted([plan.namespace, ...namespacesWritten(plan.steps)]);
  const hold = await engine.target.acquire(namespaces, `${engine.by} run ${run}`);
  let result: T;
  try {
    result = await work(hold);
  } catch (error) {
    // What went wrong first is what the operator must hear; a Lease that is not given back ends by itself.
    await hold.release().catch(() => undefined);
    throw error;
  }
  if (result.failure === undefined) await hold.release();
  else await hold.release().catch(() => undefined);
  return result;
}

/**
 * Closes an open run where it stands, so that what it did can be rolled back: nothing more is written. An undecided step whose field somebody has
 * edited counts as done, though it may never have been: its way back then finds the field in dispute (SP606), and a person decides (`resolve`).
 */
export async function settleOpenRun(run: string, engine: Engine): Promise<void> {
  const { journal, clock } = engine;
  const record = journal.openRuns().find((one) => one.id === run);
  if (record === undefined) return;
  // Held while it is judged: nobody else may be performing it, and what it left of its hold goes with this one.
  await holding(run, record.plan, engine, async () => {
    await assertLatest(namespacesKept(record.plan), engine);
    const disputed = new Map<number, KubeManifest>();
    for (const [index, live] of await recoverSteps(run, engine, disputed)) {
      const item = journal.stepsOf(run).find((one) => one.index === index);
      if (item !== undefined) recordDone(run, item, live, FOUND_WRITTEN, engine);
    }
    for (const step of journal.stepsOf(run)) {
      const theirs = disputed.get(step.index);
      if (theirs !== undefined) recordDone(run, step, theirs, FOUND_EDITED, engine);
      if (step.state === 'done') reachPhase(record.plan, step.index, engine);
      if (step.state === 'pending') journal.stepSkipped(run, step.index, 'the run was given up', clock.now());
    }
    journal.closeRun(run, 'partial', journal.phases().get(record.namespace) ?? 'none', clock.now());
    await refreshUndo(run, namespacesKept(record.plan), engine);
    return {};
  });
}

/** A run that goes on must still be the one that was interrupted. */
async function assertKept(record: RunRecord, engine: Engine): Promise<void> {
  const place = await placeNotKept(record, engine);
  if (place === undefined) return;
  throw new Failure({
    code: 'SP617',
    exit: EXIT.refused,
    message: `the way back of run ${record.id} is not kept any more: it was taken back elsewhere, and the rest of it stands on what it did; nothing was written`,
    where: `the record of ${record.namespace} in ${place}`,
    hint: `sallyport rollback ${record.namespace} closes the run and takes back what is left of it; then plan again`,
  });
}

/**
 * Settles the steps that were begun. What was not written is pending again; what was is returned with its object. A step that counts as not
 * begun may have been written all the same: by whoever went on with the run on another copy of this state, and got no further than the write.
 * `disputed`: given where the run is closed; takes the steps whose field others have edited, which stop a run that is to go on (SP603).
 */
async function recoverSteps(
  run: string,
  engine: Engine,
  disputed?: Map<number, KubeManifest>,
): Promise<ReadonlyMap<number, KubeManifest | undefined>> {
  const record = engine.journal.openRuns().find(({ id }) => id === run);
  // What goes through Git is written by others, and its steps are followed.
  const isGit = record?.plan.git !== undefined;
  const steps = engine.journal.stepsOf(run);
  const live = new Map<number, KubeManifest | undefined>();
  for (const step of steps)
    if (step.state === 'started' && step.change !== undefined)
      live.set(step.index, await engine.target.readObject(changeRef(step.change)));
  const written = new Map<number, KubeManifest | undefined>();
  for (const verdict of planRecovery(steps, live)) {
    const { step } = verdict;
    const ref = formatRef(changeRef(step.change ?? step.step.change));
    switch (verdict.kind) {
      case 'not-applied':
        engine.journal.stepReset(run, step.index);
        break;
      case 'applied':
        written.set(step.index, live.get(step.index));
        break;
      case 'foreign-change': {
        const object = live.get(step.index);
        const change = step.change ?? step.step.change;
        // Nothing of it is left where the object is gone: a way back of its own namespace may have taken it away; nor in another one of that name.
        if (object === undefined || isAnother(change, object)) {
          engine.journal.stepReset(run, step.index);
          break;
        }
        if (disputed !== undefined && !isGit) {
          // Of a way back the step that it undoes is on record, and in dispute itself.
          if (step.step.undoes !== undefined) {
            engine.journal.stepReset(run, step.index);
            break;
          }
          if (change.kind === 'edit' || leavesTrace(change, object, undefined)) {
            disputed.set(step.index, object);
            break;
          }
        }
        throw new Failure({
          code: 'SP603',
          exit: EXIT.refused,
          message: `${ref} is neither as it was before the interruption nor as the step would leave it`,
          where: `run ${run}, step ${step.step.id}: ${verdict.message}`,
          hint: `look at the object, put it to one of the two states, then: sallyport resume; or sallyport rollback ${record?.namespace ?? 'NS'}, and decide which version stays`,
        });
      }
    }
  }
  const touched = new Set<string>();
  for (const { index, step, state } of engine.journal.stepsOf(run)) {
    const { change } = step;
    const key = refKey(changeRef(change));
    // An object that an earlier step takes away is there because that step is to come.
    const isFirst = !touched.has(key);
    if (state !== 'done') touched.add(key);
    if (isGit || state !== 'pending' || live.has(index) || changesNothing(change)) continue;
    if (change.kind === 'create' && !isFirst) continue;
    // What is gone may have been taken away by anybody; only of a way back it makes no difference.
    if (change.kind === 'delete' && step.undoes === undefined) continue;
    const now = await engine.target.readObject(changeRef(change));
    if (
      step.undoes === undefined ? !leavesTrace(change, now, undefined) : classifyChange(change, now).kind !== 'applied'
    )
      continue;
    engine.journal.stepStarted(run, index, change, engine.clock.now());
    written.set(index, now);
  }
  return written;
}

const FOUND_WRITTEN = 'found written after an interruption';
const FOUND_EDITED = 'found edited by others after an interruption';

/** An edit that was begun on an object of another uid: the one of that name now was made by others, whole. */
function isAnother(change: Change, object: KubeManifest): boolean {
  const uid = object.metadata['uid'];
  return change.kind === 'edit' && change.uid !== undefined && typeof uid === 'string' && uid !== change.uid;
}

async function perform(
  record: RunRecord,
  hold: LeaseHold,
  engine: Engine,
  written: ReadonlyMap<number, KubeManifest | undefined>,
  watch: Watch | undefined,
): Promise<RunResult> {
  const { id: run, plan } = record;
  const { journal, clock, emit } = engine;
  const total = plan.steps.length;
  let stopped: { readonly failure: Failure; readonly index: number } | undefined;
  for (const item of journal.stepsOf(run)) {
    if (item.state === 'done' || item.state === 'undone') {
      reachPhase(plan, item.index, engine);
      // Interrupted in the watch between two phases.
      if (watch !== undefined && isNextUnbegun(run, item, journal)) {
        const ended = await watchPhase(record, item, hold, engine, watch);
        if (ended !== undefined) return ended;
      }
      continue;
    }
    if (engine.signal.aborted) return cancelled(record, engine, watch);
    emit({ kind: 'step-started', step: item.step, index: item.index, total });
    try {
      const outcome = await tracedStep(run, item.step, async () => {
        await hold.assertHeld();
        return written.has(item.index)
          ? finishStep(run, item, written.get(item.index), FOUND_WRITTEN, hold, engine, watch)
          : performStep(record, item, hold, engine, watch);
      });
      if (outcome === undefined) return await cancelled(record, engine, watch);
      emit({ kind: 'step-done', step: item.step, index: item.index, outcome });
      reachPhase(plan, item.index, engine);
      await refreshBetweenSteps(run, namespacesKept(plan), stepwise(engine));
    } catch (error) {
      if (!isFailure(error)) throw error;
      emit({ kind: 'step-failed', step: item.step, index: item.index, error: error.message });
      stopped = { failure: error, index: item.index };
      break;
    }
    if (watch === undefined || !bearsOnTraffic(item.step.change)) continue;
    const ended = await watchStep(record, item, hold, engine, watch);
    if (ended !== undefined) return ended;
  }
  if (stopped === undefined) return watch === undefined ? close(record, engine) : soakOut(record, hold, engine, watch);
  watch?.save();
  const state = journal.stepsOf(run).find((item) => item.index === stopped.index)?.state;
  if (state === 'started' || isHoldLost(stopped.failure) || passes(stopped.failure)) {
    // Whether the write took effect is not known, or somebody else may be at work, or it need only be tried again: the run stays open, and
    // resume finds out from the objects.
    return {
      ...result(run, plan, 'partial', stopped.failure.detail.exit, engine),
      failure: withResume(stopped.failure),
    };
  }
  const phase = journal.phases().get(plan.namespace) ?? 'none';
  for (const item of journal.stepsOf(run))
    if (item.state === 'pending') journal.stepSkipped(run, item.index, 'an earlier step stopped the run', clock.now());
  journal.closeRun(run, 'partial', phase, clock.now());
  const done = journal.stepsOf(run).some((item) => item.state === 'done');
  const exit = stopped.failure.detail.exit === EXIT.refused || !done ? stopped.failure.detail.exit : EXIT.partial;
  return { ...result(run, plan, 'partial', exit, engine), failure: stopped.failure };
}

/** Every step is done, and nothing is watched any more. */
async function close(record: RunRecord, engine: Engine, soak?: SoakReport): Promise<RunResult> {
  const { id: run, plan } = record;
  const failure = await verifyRun(run, engine);
  if (soak !== undefined)
    engine.journal.audit({
      at: engine.clock.now(),
      who: engine.by,
      what: 'soak passed',
      object: `namespace ${plan.namespace}`,
      reason: `${plural(soak.view.seen.length, 'edge')} seen anew, none denied; since ${new Date(soak.since).toISOString()}`,
      run,
    });
  engine.journal.closeRun(run, 'done', plan.to, engine.clock.now());
  const ended: RunResult = {
    ...result(run, plan, 'done', failure === undefined ? EXIT.done : EXIT.drift, engine),
    ...(soak === undefined ? {} : { soak }),
    ...(failure === undefined ? {} : { failure }),
  };
  return record.pullsBack === undefined ? ended : pulledBack(record, record.pullsBack, ended, engine);
}

async function cancelled(record: RunRecord, engine: Engine, watch: Watch | undefined): Promise<RunResult> {
  watch?.save();
  const soak = await watch?.report();
  return {
    ...result(record.id, record.plan, 'cancelled', EXIT.cancelled, engine),
    ...(soak === undefined ? {} : { soak }),
  };
}

/** The short look after a step, and the watch after the last one of a phase that another phase follows. */
async function watchStep(
  record: RunRecord,
  item: JournalStep,
  hold: LeaseHold,
  engine: Engine,
  watch: Watch,
): Promise<RunResult | undefined> {
  if (item.step.effects.some((effect) => effect.kind === 'rollout')) watch.refresh();
  const denial = await watch.afterStep();
  if (denial !== undefined) return pullBack(record, denial, hold, engine, watch);
  return watchPhase(record, item, hold, engine, watch);
}

function isNextUnbegun(run: string, item: JournalStep, journal: Journal): boolean {
  return journal.stepsOf(run).find(({ index }) => index === item.index + 1)?.state === 'pending';
}

async function watchPhase(
  record: RunRecord,
  item: JournalStep,
  hold: LeaseHold,
  engine: Engine,
  watch: Watch,
): Promise<RunResult | undefined> {
  const next = record.plan.steps[item.index + 1];
  if (next === undefined || next.phase === item.step.phase) return undefined;
  watch.settle();
  const ended = await tracedSoak(record, () => watch.wait(hold));
  if (ended === 'cancelled') return cancelled(record, engine, watch);
  if (ended !== undefined) return pullBack(record, ended, hold, engine, watch);
  watch.next();
  return undefined;
}

/** The watch after the last step. What was not seen when it ends keeps the run open, and `resume` asks again. */
async function soakOut(record: RunRecord, hold: LeaseHold, engine: Engine, watch: Watch): Promise<RunResult> {
  const { id: run, plan, namespace } = record;
  const resumed = watch.isLeft();
  watch.settle();
  if (resumed || engine.soak?.detach === true) {
    const denial = await watch.look();
    if (denial !== undefined) return pullBack(record, denial, hold, engine, watch);
  } else {
    const ended = await tracedSoak(record, () => watch.wait(hold));
    if (ended === 'cancelled') return cancelled(record, engine, watch);
    if (ended !== undefined) return pullBack(record, ended, hold, engine, watch);
  }
  const report = await watch.report();
  const open = report.gates.filter((gate) => gate.answer !== 'yes');
  if (watch.isOver() && open.length === 0) return close(record, engine, report);
  watch.leave();
  const soaking: RunResult = {
    ...result(run, plan, 'soaking', EXIT.done, engine),
    soak: { ...report, left: true },
  };
  if (!resumed && engine.soak?.detach === true) return soaking;
  const left = Math.max(0, (report.until ?? 0) - engine.clock.now());
  const failure = new Failure({
    code: 'SP610',
    exit: EXIT.refused,
    message: `${namespace} soaks on: ${[
      ...(left > 0 ? [`${formatSpan(left)} of the watch are left`] : []),
      ...(open.length > 0
        ? [
            `the gate soak is unknown for ${open
              .slice(0, MOST_NAMED)
              .map((gate) => `${gate.subject} (${gate.facts[0] ?? ''})`)
              .join(', ')}${open.length > MOST_NAMED ? ` and ${open.length - MOST_NAMED} more` : ''}`,
          ]
        : []),
    ].join(', and ')}`,
    where: `run ${run}`,
    hint: `sallyport resume, once they have connected; sallyport waive gate=soak,subject=EDGE --reason "..." for what need not be seen; sallyport rollback ${namespace} takes the run back`,
  });
  return { ...soaking, exit: EXIT.refused, failure };
}

/**
 * Takes a run back, newest step first, because an edge that must work was denied. The way back is a run of its own, recorded in the same
 * transaction that closes the first: whatever happens then, one of the two is open, and `resume` goes on with it.
 */
async function pullBack(
  record: RunRecord,
  denial: Denial,
  hold: LeaseHold,
  engine: Engine,
  watch: Watch,
): Promise<RunResult> {
  const { journal, clock, soak } = engine;
  const report = await watch.report();
  if (soak === undefined) throw new Error('a run without a watch cannot be pulled back');
  let plan: Plan;
  try {
    plan = await soak.planBack(record.id);
  } catch (error) {
    if (!isFailure(error)) throw error;
    // The denial stands on the trail even where nothing can be done about it.
    journal.audit(denialAudit(engine, record.id, denial, 'denied in soak, and cannot be pulled back'));
    return {
      ...result(record.id, record.plan, 'partial', error.detail.exit, engine),
      soak: report,
      failure: new Failure({
        ...error.detail,
        message: `${denial.text} is denied, and the run cannot be pulled back: ${error.detail.message}`,
      }),
    };
  }
  engine.emit({ kind: 'pulling-back', text: denialText(denial), steps: plan.steps.length });
  const back: RunRecord = {
    id: engine.newRunId(),
    kind: 'rollback',
    namespace: record.namespace,
    from: plan.from,
    to: plan.to,
    planHash: plan.hash,
    startedAt: clock.now(),
    by: engine.by,
    plan,
    pullsBack: { run: record.id, denial },
  };
  const held = new Set([record.namespace, ...namespacesWritten(record.plan.steps)]);
  const missing = namespacesWritten(plan.steps).filter((namespace) => !held.has(namespace));
  const more = missing.length === 0 ? undefined : await engine.target.acquire(missing, `${engine.by} run ${record.id}`);
  try {
    journal.pullBack(back, denialAudit(engine, record.id, denial, 'pulled back in soak'));
    // What is broken is mended first: a way back that loosens nothing is kept whole already.
    await refreshUndo(back.id, namespacesKept(back.plan), engine);
    const both: LeaseHold =
      more === undefined
        ? hold
        : {
            assertHeld: async () => {
              await hold.assertHeld();
              await more.assertHeld();
            },
            release: () => more.release(),
          };
    // What is broken is mended: Ctrl-C does not stop that half-way, a second one does.
    const unstopped = { ...engine, signal: new AbortController().signal };
    const ended = await tracedRun(back.id, 'rollback', plan, () =>
      perform(back, both, unstopped, new Map(), undefined),
    );
    return { ...ended, soak: report };
  } finally {
    await more?.release().catch(() => undefined);
  }
}

function denialText(denial: Denial): string {
  return `${denial.text} is denied (${denial.source}: ${denial.where})`;
}

function denialAudit(engine: Engine, run: string, denial: Denial, what: string): AuditEntry {
  return {
    at: engine.clock.now(),
    who: engine.by,
    what,
    object: `edge ${denial.edge}`,
    reason: `${denialText(denial)} at ${new Date(denial.at).toISOString()}, after step ${denial.step ?? 'unknown'}`,
    run,
  };
}

/** The end of a way back, told as the end of the run that it took back. */
function pulledBack(back: RunRecord, cause: PullBack, ended: RunResult, engine: Engine): RunResult {
  const { denial, run } = cause;
  const first = engine.journal.stepsOf(run);
  return {
    ...ended,
    run,
    outcome: 'undone',
    done: [],
    failed: [],
    notRun: first.filter((item) => item.state === 'skipped').map((item) => item.step.id),
    exit: ended.failure === undefined ? EXIT.pulledBack : ended.exit,
    pulledBack: {
      by: back.id,
      cause,
      undone: first.filter((item) => item.state === 'undone').map((item) => item.step.id),
    },
    failure:
      ended.failure ??
      new Failure({
        code: 'SP611',
        exit: EXIT.pulledBack,
        message: `${denial.text} was denied, so the run was pulled back: ${back.namespace} is as it was before`,
        where: `${denial.source} ${denial.where}, ${new Date(denial.at).toISOString()}${denial.step === undefined ? '' : `, after step ${denial.step}`}`,
        hint: `sallyport adopt ${denial.query} --reason "..." and sallyport plan ${back.namespace} if it must work; sallyport accept ${denial.query} --reason "..." if it may be cut`,
      }),
  };
}

/** Reads back what the run wrote: an automation that takes our edits back does so within moments. */
async function verifyRun(run: string, engine: Engine): Promise<Failure | undefined> {
  const mine = engine.journal.applied().filter((step) => step.run === run);
  const [first, ...more] = checkDrift(mine, await readAll(mine, engine.target));
  if (first === undefined) return undefined;
  return new Failure({
    code: 'SP608',
    exit: EXIT.drift,
    message: `${first.object} ${first.path} is not as this run left it any more${more.length === 0 ? '' : `, nor are ${more.length} more fields`}: somebody else writes it too`,
    where: `run ${run}, step ${first.step}`,
    hint: 'sallyport verify shows each; find out who writes the object before going on',
  });
}

/**
 * After the last step of a phase the namespace is in it, and with the first step of a phase undone it no longer is: a later stop loses
 * nothing of the one and claims nothing of the other.
 */
function reachPhase(plan: Plan, index: number, engine: Engine): void {
  const step = plan.steps[index];
  if (step === undefined) return;
  const now = engine.journal.phases().get(plan.namespace) ?? 'none';
  if (plan.direction === 'down') {
    const below = PHASES[phaseIndex(step.phase) - 1];
    if (step.undoes === undefined || below === undefined || phaseIndex(below) >= phaseIndex(now)) return;
    // A refresh that is taken back leaves the phase as it was, and what was opened for a peer is of the peer's phase.
    if (step.namespace !== plan.namespace || phaseIndex(below) < phaseIndex(plan.to)) return;
    engine.journal.setPhase(plan.namespace, below, engine.clock.now());
    return;
  }
  // A refresh, and access that is opened for a while, leave the namespace in the phase it is in; the latter has steps of others' phases.
  if (plan.from === plan.to) return;
  const next = plan.steps[index + 1];
  if (next?.phase === step.phase) return;
  if (phaseIndex(step.phase) <= phaseIndex(now)) return;
  engine.journal.setPhase(plan.namespace, step.phase, engine.clock.now());
  engine.emit({ kind: 'phase-reached', namespace: plan.namespace, phase: step.phase });
}

/** What was done, or undefined when the operator left while pods were being replaced: the run then stays open. */
async function performStep(
  record: RunRecord,
  item: JournalStep,
  hold: LeaseHold,
  engine: Engine,
  watch: Watch | undefined,
): Promise<string | undefined> {
  const { target, journal, clock } = engine;
  const { step } = item;
  const { id: run } = record;
  const ref = changeRef(step.change);
  if (changesNothing(step.change)) {
    journal.stepStarted(run, item.index, step.change, clock.now());
    return recordDone(run, item, undefined, 'unchanged', engine);
  }
  const live = await target.readObject(ref);
  const conflict = checkChange(step.change, live);
  // What ends by itself may have been ended in the cluster a moment ago: that is what the step is for.
  if (conflict !== undefined && step.grant !== undefined && step.undoes !== undefined && isEnded(step.change, live)) {
    journal.stepStarted(run, item.index, step.change, clock.now());
    return recordDone(run, item, live, 'ended by itself', engine);
  }
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
  await assertRights(step, engine).catch((error: unknown) => {
    journal.stepFailed(run, item.index, messageOf(error), clock.now());
    throw error;
  });
  const change = withLive(step.change, live);
  try {
    await target.rehearse(change);
  } catch (error) {
    journal.stepFailed(run, item.index, messageOf(error), clock.now());
    throw error;
  }
  const applied = await applyJudged(record, { ...item, change }, engine);
  if (applied === undefined) return undefined;
  return finishStep(run, { ...item, change }, applied.live, applied.outcome, hold, engine, watch);
}

/**
 * Looks as late as can be whether what the step rests on is there, and writes the very version of the object that was looked at. Where that
 * one moved in between (a status, say) it is looked at again after a while, and all the rest only where it says something else by now. The step
 * counts as begun from right before the write; whatever stops the looking leaves it as not begun. Undefined where the operator left meanwhile.
 */
async function applyJudged(record: RunRecord, item: JournalStep, engine: Engine): Promise<Applied | undefined> {
  const { target, journal, clock, signal } = engine;
  const { id: run } = record;
  const { step, index } = item;
  const change = item.change ?? step.change;
  let judged: Judged | undefined;
  for (let attempt = 1; ; attempt += 1) {
    try {
      judged = await judgeStep(record, item, change, judged, engine);
    } catch (error) {
      // The write before this look was refused for certain: nothing of the step is there.
      if (attempt > 1) journal.stepReset(run, index);
      throw error;
    }
    if (attempt === 1) await begin(run, item, change, engine);
    try {
      return await target.apply(change, judged.version);
    } catch (error) {
      if (isFailure(error) && error.detail.nature === 'moved') {
        if (attempt === JUDGE_ATTEMPTS) {
          journal.stepReset(run, index);
          throw neverStill(error, record, step);
        }
        // A rejected sleep is the operator leaving.
        const pause = Math.min(JUDGE_PAUSE_MS.most, JUDGE_PAUSE_MS.first * 2 ** (attempt - 1));
        await clock.sleep(pause, signal).catch(() => undefined);
        if (!signal.aborted) continue;
        journal.stepReset(run, index);
        return undefined;
      }
      // A refusal is certain to have written nothing; of any other failure the object alone can tell.
      if (isFailure(error) && error.detail.exit === EXIT.refused && !isHoldLost(error))
        journal.stepFailed(run, index, error.message, clock.now());
      throw error;
    }
  }
}

/** Nothing of it is uncertain, and whoever writes the object may never stop: the run ends here, and holds nobody else up. */
function neverStill(failure: Failure, { namespace, id: run }: RunRecord, step: Step): Failure {
  return new Failure({
    ...failure.detail,
    message: `${failure.message}, each of ${JUDGE_ATTEMPTS} times; the step was not taken`,
    where: `run ${run}, step ${step.id}`,
    hint: `see who writes it: kubectl get --show-managed-fields -o yaml; once it is still, sallyport advance ${namespace} goes on from there; sallyport rollback ${namespace} takes back what was done`,
    cause: failure,
  });
}

async function judgeStep(
  record: RunRecord,
  item: JournalStep,
  change: Change,
  before: Judged | undefined,
  engine: Engine,
): Promise<Judged> {
  const first = before === undefined ? await assertGround(record, item, engine) : before.object;
  const again = await lookAgain(first, change, engine);
  if (again !== undefined) return again;
  const object = await assertGround(record, item, engine);
  return { object, version: versionOf(object) };
}

async function begin(run: string, { index, step }: JournalStep, change: Change, engine: Engine): Promise<void> {
  const { journal, clock } = engine;
  journal.stepStarted(run, index, change, clock.now());
  // The object that goes is kept as it is, not as it was planned.
  if (change === step.change || step.undoes !== undefined) return;
  try {
    await keepUndo(run, [step.namespace], engine);
  } catch (error) {
    journal.stepFailed(run, index, messageOf(error), clock.now());
    throw error;
  }
}

/** Is what a step would take away gone, or what it would give back in its place, already? */
function isEnded(change: Change, live: KubeManifest | undefined): boolean {
  if (change.kind === 'delete') return live === undefined;
  return (
    change.kind === 'edit' &&
    live !== undefined &&
    change.fields.every((field) => equalJson(getPath(live, field.path), field.after))
  );
}

/** What follows a write: pods are waited for, and where they do not become ready the write is taken back. */
async function finishStep(
  run: string,
  item: JournalStep,
  live: KubeManifest | undefined,
  outcome: string,
  hold: LeaseHold,
  engine: Engine,
  watch: Watch | undefined,
): Promise<string | undefined> {
  const { target, journal, clock } = engine;
  const { step } = item;
  const change = item.change ?? step.change;
  const untold: string[] = [];
  for (const effect of step.effects) {
    if (effect.kind !== 'rollout') continue;
    const rollout = await waitForPods(item, effect, hold, engine, watch);
    if (rollout === undefined) return undefined;
    // It goes back at once, with the whole run.
    if (rollout === 'denied')
      return recordDone(run, item, live, 'an edge was denied before its pods were ready', engine);
    if (rollout.outcome === 'ready' || rollout.outcome === 'simulated') continue;
    // Its operator takes its own time: whoever is admitted stays admitted until a later plan finds the old pods gone.
    if (rollout.outcome === 'unknown') {
      untold.push(rollout.message);
      continue;
    }
    await hold.assertHeld();
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
  return recordDone(run, item, live, [outcome, ...untold].join('; '), engine);
}

/**
 * Waits for the pods of a workload, with the Leases renewed and the signals looked at meanwhile. Undefined when the operator left. Throws when a Lease was lost:
 * somebody else may be at work, so nothing is taken back.
 */
async function waitForPods(
  item: JournalStep,
  { workload, accounts }: Extract<Effect, { kind: 'rollout' }>,
  hold: LeaseHold,
  engine: Engine,
  watch: Watch | undefined,
): Promise<RolloutResult | 'denied' | undefined> {
  const { target, clock, signal } = engine;
  engine.emit({ kind: 'step-waiting', step: item.step, text: `waiting for the pods of ${workload}` });
  const ended = new AbortController();
  const givenUp = new AbortController();
  let lost: Error | undefined;
  const found = { denied: false };
  const renewing = async (): Promise<void> => {
    const pause = watch === undefined ? RENEW_MS : WATCH_MS;
    for (let waited = pause; waited <= ROLLOUT_LIMIT_MS; waited += pause) {
      await clock.sleep(pause, ended.signal);
      if (ended.signal.aborted) return;
      if (waited % RENEW_MS === 0) await hold.assertHeld();
      if (watch === undefined || (await watch.look()) === undefined) continue;
      found.denied = true;
      givenUp.abort(new Error('an edge was denied'));
      return;
    }
    givenUp.abort(new Error('the pods took too long'));
  };
  const renewal = renewing().catch((error: unknown) => {
    // The sleep is rejected when the wait has ended: that is no failure.
    if (ended.signal.aborted) return;
    lost = error instanceof Error ? error : new Error(messageOf(error));
    givenUp.abort(lost);
  });
  try {
    const rollout = await target.awaitRollout(
      { id: workload, ref: changeRef(item.step.change), ...(accounts === undefined ? {} : { accounts }) },
      AbortSignal.any([signal, givenUp.signal]),
    );
    if (rollout.outcome === 'timed-out' && lost !== undefined) throw lost;
    if (rollout.outcome === 'timed-out' && found.denied) return 'denied';
    return rollout.outcome === 'timed-out' && signal.aborted ? undefined : rollout;
  } finally {
    ended.abort();
    await renewal;
  }
}

function recordDone(
  run: string,
  item: JournalStep,
  live: KubeManifest | undefined,
  outcome: string,
  engine: Engine,
): string {
  const uid = live?.metadata['uid'];
  engine.journal.stepDone(run, item.index, {
    at: engine.clock.now(),
    ...(typeof uid === 'string' ? { uid } : {}),
    audit: auditOf(engine, run, item.step, outcome),
  });
  return outcome;
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

function result(run: string, plan: Plan, outcome: RunResult['outcome'], exit: ExitCode, engine: Engine): RunResult {
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

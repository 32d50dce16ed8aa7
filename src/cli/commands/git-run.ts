import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { AppliedStep, JournalStep, RunRecord, View } from '../../engine/contract.ts';
import type { RunResult } from '../../engine/run.ts';
import { assertGroundOf } from '../../engine/ground.ts';
import { resumeRun, settleOpenRun } from '../../engine/run.ts';
import { formatRef, refOf } from '../../model/object.ts';
import type { KubeManifest } from '../../model/object.ts';
import { PHASES, phaseIndex } from '../../model/phase.ts';
import type { PhaseName } from '../../model/phase.ts';
import type { Change } from '../../plan/change.ts';
import { changeRef } from '../../plan/change.ts';
import { commitsOf } from '../../plan/commits.ts';
import { checkDrift } from '../../plan/drift.ts';
import type { Plan, Step } from '../../plan/plan.ts';
import type { Applied } from '../../readiness/gitops-applied.ts';
import { appliedRevision, deployersOf, isDeployer, judgeApplied } from '../../readiness/gitops-applied.ts';
import { removeEmptyFolders, writeFileAtomic } from '../../shared/io/files.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { maskText } from '../../shared/pure/mask.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import type { Arrival } from '../../targets/follow.ts';
import { awaitCommit, followTarget } from '../../targets/follow.ts';
import { planTreeWrites, treeHolds, treePath } from '../../targets/git-writes.ts';
import type { TreeWrite } from '../../targets/git-writes.ts';
import { openJournal } from '../../../state/journal.ts';
import type { App } from '../context.ts';
import type { GitPlace } from '../git-tree.ts';
import { layoutName, openGitPlace, readTreeOf } from '../git-tree.ts';
import type { Loaded } from '../load.ts';
import { loadAll } from '../load.ts';
import { parseDuration } from '../observe-followed.ts';
import { wrap } from '../output.ts';
import type { Proposal } from '../render-commit.ts';
import { renderCommitMessage, renderPullRequest } from '../render-commit.ts';
import { soakWorld } from '../soak.ts';
import { keptEdges } from '../../readiness/view.ts';
import { withEngine } from './run.ts';

/** What came of a plan that goes through Git. */
export interface GitOutcome {
  /** `proposed`: committed, and not in force yet as far as anybody looked. */
  readonly result: Omit<RunResult, 'outcome'> & { readonly outcome: RunResult['outcome'] | 'proposed' };
  readonly commits: readonly { readonly run: string; readonly commit: string; readonly pullRequest: string }[];
  /** Commits of the plan that are still to be made. */
  readonly left: number;
}

/** How long to wait for Flux or Argo CD; undefined where nobody asked for it. */
export function waitMs(app: App): number | undefined {
  const { wait } = app.options;
  return wait === undefined ? undefined : parseDuration(wait, '--wait');
}

/**
 * Carries a confirmed plan out through Git: one commit of steps that may be applied in any order, the text of its pull request, and, where
 * asked, the wait for it to be in force, then the next. Each commit is a run of its own, on record before the first file is written.
 */
export async function carryOutInGit(
  app: App,
  plan: Plan,
  loaded: Loaded,
  view: View,
  kind: 'advance' | 'rollback',
  place: GitPlace,
): Promise<GitOutcome> {
  await place.repository.assertClean();
  const world = { rebuild: view.rebuild, edgesIn: (of: Loaded['inventory']) => keptEdges(view.edgesIn(of)) };
  const parts = commitsOf(plan, { snapshot: view.snapshot, inventory: view.inventory }, world);
  const wait = waitMs(app);
  const commits: GitOutcome['commits'][number][] = [];
  let result: GitOutcome['result'] | undefined;
  for (const [index, steps] of parts.entries()) {
    const record = recordOf(app, plan, steps, parts.slice(index + 1).flat(), kind, place, loaded);
    const state = await app.writableState();
    // The first commit was judged when the plan was made, a moment ago.
    if (commits.length > 0) await assertGroundOfCommit(app, plan, record, commits);
    openJournal(state.writer).openRun(record);
    const made = await propose(app, record, view, place, [index + 1, parts.length], plan);
    commits.push(made);
    say(app, `Commit ${made.commit.slice(0, 12)} on ${place.repository.branch}; pull request: ${made.pullRequest}`);
    if (wait === undefined) {
      result = proposed(record);
      break;
    }
    result = await awaitRun(app, record, place, wait);
    if (result.exit !== EXIT.done) break;
  }
  return {
    result: result ?? { ...NOTHING, phase: plan.to },
    commits,
    left: parts.length - commits.length,
  };
}

/** The wait for the commit before may have been long: is what this one was judged on still there? Throws SP654 with nothing written. */
async function assertGroundOfCommit(
  app: App,
  plan: Plan,
  record: RunRecord,
  before: GitOutcome['commits'],
): Promise<void> {
  const state = await app.writableState();
  const journal = openJournal(state.writer);
  const done = { ...journal, stepsOf: () => before.flatMap(({ run }) => journal.stepsOf(run)) };
  const target = await app.target();
  try {
    await assertGroundOf({ ...record, plan }, record.plan.steps, { target, journal: done });
  } catch (error) {
    if (!isFailure(error)) throw error;
    const { hint } = error.detail;
    const stays = 'what was committed before stays';
    throw new Failure({
      ...error.detail,
      where: `namespace ${plan.namespace}, before commit ${before.length + 1}`,
      // Of a run in Git nothing is resolved or taken back in the cluster; of a failing API server its own hint is the one to follow.
      hint:
        error.detail.code === 'SP654'
          ? `sallyport plan ${plan.namespace} judges what is there now; ${stays}`
          : `${hint === undefined ? '' : `${hint}; `}sallyport advance ${plan.namespace} then goes on from there; ${stays}`,
      cause: error.detail.cause ?? error,
    });
  }
}

const NOTHING = { run: '', outcome: 'done' as const, done: [], failed: [], notRun: [], exit: EXIT.done };

function proposed({ id, plan }: RunRecord): GitOutcome['result'] {
  return {
    run: id,
    outcome: 'proposed',
    phase: plan.from,
    done: [],
    failed: [],
    notRun: plan.steps.map((step) => step.id),
    exit: EXIT.done,
  };
}

/** Looked at before the commit: when its steps are found in the cluster, others have taken them already. */
function withoutGround(plan: Plan): Plan {
  return Object.fromEntries(Object.entries(plan).filter(([key]) => key !== 'ground')) as unknown as Plan;
}

/** The run of one commit. It ends in the phase that its last step completes, and otherwise where the namespace is. */
function recordOf(
  app: App,
  plan: Plan,
  steps: readonly Step[],
  later: readonly Step[],
  kind: 'advance' | 'rollback',
  place: GitPlace,
  loaded: Loaded,
): RunRecord {
  const phase = steps[0]?.phase ?? plan.to;
  const whole = later.every((step) => step.phase !== phase);
  const below = PHASES[Math.max(phaseIndex(phase) - 1, phaseIndex(plan.to))] ?? 'none';
  const before = PHASES[Math.max(0, phaseIndex(phase) - 1)] ?? 'none';
  let from: PhaseName = plan.from;
  let to: PhaseName = plan.to;
  if (plan.direction === 'up') {
    from = phaseIndex(before) > phaseIndex(plan.from) ? before : plan.from;
    to = later.length === 0 ? plan.to : whole && phaseIndex(phase) > phaseIndex(plan.from) ? phase : from;
  } else to = later.length === 0 ? plan.to : below;
  const deployers = app.options.deployer ?? loaded.config.git?.deployers;
  const push = app.options.push ?? loaded.config.git?.push ?? false;
  return {
    id: `${new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}-${randomBytes(3).toString('hex')}`,
    kind,
    namespace: plan.namespace,
    from,
    to,
    planHash: plan.hash,
    startedAt: Date.now(),
    by: app.by,
    plan: {
      ...withoutGround(plan),
      from,
      to,
      steps,
      git: {
        dir: place.dir,
        layout: layoutName(place.layout),
        deployers: deployers ?? [],
        ...(push ? { push } : {}),
      },
    },
  };
}

/** Writes and commits one run's steps, where no commit of it is there yet. */
async function propose(
  app: App,
  record: RunRecord,
  view: View,
  place: GitPlace,
  [part, parts]: readonly [number, number],
  whole: Plan,
): Promise<GitOutcome['commits'][number]> {
  const { repository } = place;
  const { plan, id: run } = record;
  const tree = await readTreeOf(app, place.dir);
  const { writes, refused } = planTreeWrites(tree, plan.steps, place.layout);
  const [first] = refused;
  if (first !== undefined)
    throw new Failure({
      code: 'SP648',
      exit: EXIT.refused,
      message: `${formatRef(first.ref)} cannot be written into the tree: ${safeText(first.reason)}`,
      where: `run ${run}`,
      hint: first.fix,
    });
  const reverts = plan.direction === 'down' ? await revertible(app, plan, place) : [];
  const proposal: Proposal = {
    run,
    plan: { ...whole, from: plan.from, to: plan.to },
    steps: plan.steps,
    part,
    parts,
    evidence: view.evidence,
    files: writes.map(({ file }) => inRepository(place, file)),
    reverts,
  };
  const message = renderCommitMessage(proposal);
  const known = await repository.commitOf(run);
  const commit = known ?? (await commitWrites(app, place, plan.steps, writes, reverts, message));
  const pullRequest = await writePullRequest(app, renderPullRequest(proposal, commit), run);
  if (known === undefined) {
    const state = await app.writableState();
    openJournal(state.writer).audit({
      at: Date.now(),
      who: app.by,
      what: reverts.length > 0 ? 'revert commit' : 'commit',
      object: `namespace ${plan.namespace}`,
      namespace: plan.namespace,
      reason: `${commit} on ${repository.branch} of ${repository.root}: ${plural(plan.steps.length, 'step')}`,
      run,
    });
  }
  await pushAsAsked(app, plan, place);
  return { run, commit, pullRequest };
}

/** Pushes where the run was begun so, or this call says so: after a crash the commit may be here alone. */
async function pushAsAsked(app: App, plan: Plan, { repository }: GitPlace): Promise<void> {
  if (app.options.push ?? plan.git?.push ?? (await app.config()).git?.push === true) await repository.push();
}

function inRepository(place: GitPlace, file: string): string {
  return place.folder === '' ? file : `${place.folder}/${file}`;
}

async function commitWrites(
  app: App,
  place: GitPlace,
  steps: readonly Step[],
  writes: readonly TreeWrite[],
  reverts: Proposal['reverts'],
  message: string,
): Promise<string> {
  const { repository } = place;
  await repository.assertClean();
  if (writes.length === 0) {
    // Git holds it all already, from somebody else's hands: the run still wants a commit to wait for.
    return repository.head();
  }
  const paths = writes.map(({ file }) => inRepository(place, file));
  // A revert puts back the bytes themselves; where others built on them, or it leaves something else, the files are written anew.
  if (reverts.length > 0 && (await repository.revert(reverts.map(({ commit }) => commit)))) {
    const tree = await readTreeOf(app, place.dir);
    if (steps.every(({ change }) => treeHolds(tree, change, place.layout)))
      return repository.commit(uniqueSorted([...paths, ...(await repository.staged())]), message);
    await repository.restore(await repository.staged());
  }
  const tree = await readTreeOf(app, place.dir);
  try {
    for (const write of writes) {
      const path = treePath(tree, write.file);
      if (write.text === undefined) {
        await rm(path);
        await removeEmptyFolders(dirname(path), join(place.dir, 'sallyport'));
        continue;
      }
      await mkdir(dirname(path), { recursive: true });
      await writeFileAtomic(path, write.text, 0o644);
    }
  } catch (error) {
    await repository.restore(paths);
    throw error;
  }
  return repository.commit(paths, message);
}

/** Commits that hold nothing but what these steps take back, newest first; none where a commit would go only in part. */
async function revertible(app: App, plan: Plan, place: GitPlace): Promise<Proposal['reverts']> {
  const undone = new Set(plan.steps.flatMap((step) => step.undoes ?? []));
  if (plan.steps.some((step) => step.undoes === undefined)) return [];
  const { reader } = await app.state();
  const applied = reader.applied();
  const runs = [
    ...new Set(
      applied
        .filter(({ seq }) => undone.has(seq))
        .toSorted((a, b) => b.seq - a.seq)
        .map(({ run }) => run),
    ),
  ];
  const found: { readonly run: string; readonly commit: string }[] = [];
  for (const run of runs) {
    if (applied.some((step) => step.run === run && !undone.has(step.seq))) return [];
    const commit = await place.repository.commitOf(run);
    if (commit === undefined) return [];
    found.push({ run, commit });
  }
  return found;
}

async function writePullRequest(app: App, text: string, run: string): Promise<string> {
  const { pr } = app.options;
  const state = await app.writableState();
  const path = pr === undefined ? join(`${state.file}.proposals`, `${run}.md`) : resolve(pr);
  await mkdir(dirname(path), { recursive: true, ...(pr === undefined ? { mode: 0o700 } : {}) });
  await writeFileAtomic(path, text, pr === undefined ? 0o600 : 0o644);
  return path;
}

/**
 * Goes on with an open run of Git: waits, and finds the objects in the cluster. `adopt`: what is in force is put on record for a way back, so
 * that neither health nor a soak is waited for.
 */
export async function awaitRun(
  app: App,
  record: RunRecord,
  place: GitPlace,
  wait: number,
  adopt = false,
): Promise<RunResult> {
  const target = await app.target();
  const loaded = await loadAll(app);
  const { reader } = await app.state();
  const steps = reader.stepsOf(record.id);
  const commit =
    (await place.repository.commitOf(record.id)) ??
    // Git held everything before: there was nothing to commit.
    ((await holdsAll(app, record, place)) ? await place.repository.head() : undefined);
  const clock = app.clock();
  const names = record.plan.git?.deployers ?? [];
  const deployers =
    names.length > 0
      ? named(names, loaded.snapshot.objects)
      : deployersOf(loaded.snapshot.objects, place.folder, await place.repository.remotes());
  const healthCounts = !adopt && loaded.config.git?.health !== 'ignore';
  const soak = record.kind === 'advance' ? await soakWorld(app, loaded, record.namespace, adopt) : undefined;
  const { signal } = app.interrupt;
  const pending = steps
    .filter(({ state }) => state === 'pending' || state === 'skipped')
    .map(({ step }) => step.change);
  const follow = {
    target,
    clock,
    signal,
    waitMs: wait,
    arrived: async () =>
      arrivalOf(
        healthCounts,
        await judge(
          await Promise.all(deployers.map(async (one) => (await target.readObject(refOf(one))) ?? one)),
          (revision) =>
            commit === undefined ? Promise.resolve('no') : place.repository.holds(revision, commit, record.id),
        ),
      ),
    shows,
    onWait: (text: string) => app.output.progress(text),
  };
  // No step is begun before others have applied it: until then the run keeps nobody else from going on.
  try {
    await awaitCommit(follow, pending);
  } catch (error) {
    if (!isFailure(error)) throw error;
    return {
      ...NOTHING,
      run: record.id,
      outcome: 'partial',
      phase: reader.phases().get(record.namespace) ?? 'none',
      notRun: record.plan.steps.map((step) => step.id),
      exit: error.detail.exit,
      failure: error,
    };
  }
  return withEngine(
    app,
    record.plan.steps,
    (engine) =>
      resumeRun(record.id, {
        ...engine,
        undo: (engine.undo ?? []).filter(({ exposed }) => !exposed),
        target: followTarget({ ...follow, pending, commit: (change) => commitBack(app, place, record, change) }),
      }),
    soak,
  );
}

async function holdsAll(app: App, { plan }: RunRecord, place: GitPlace): Promise<boolean> {
  const tree = await readTreeOf(app, place.dir);
  return plan.steps.every(({ change }) => treeHolds(tree, change, place.layout));
}

async function judge(
  objects: readonly KubeManifest[],
  holds: (revision: string) => Promise<'yes' | 'no' | 'unknown'>,
): Promise<Applied> {
  const states = objects.map(appliedRevision);
  const revisions = uniqueSorted(
    states.flatMap(({ revisions: all, failure, unhealthy }) => [
      ...all,
      ...[failure, unhealthy].flatMap((one) => (one === undefined ? [] : [one.revision])),
    ]),
  );
  const answers = new Map<string, 'yes' | 'no' | 'unknown'>();
  for (const revision of revisions) answers.set(revision, await holds(revision));
  return judgeApplied(states, (revision) => answers.get(revision) ?? 'unknown');
}

function arrivalOf(healthCounts: boolean, applied: Applied): Arrival {
  switch (applied.kind) {
    case 'unhealthy':
      return healthCounts
        ? { kind: 'unhealthy', message: safeText(maskText(`${applied.object}: ${applied.message}`)) }
        : { kind: 'arrived' };
    case 'applied':
      return { kind: 'arrived' };
    case 'failed':
      return { kind: 'failed', message: safeText(maskText(`${applied.object}: ${applied.message}`)) };
    case 'waiting':
    case 'unknown':
      return { kind: applied.kind, facts: applied.facts.map((fact) => safeText(maskText(fact))) };
  }
}

function named(names: readonly string[], objects: readonly KubeManifest[]): readonly KubeManifest[] {
  return names.map((name) => {
    const found = objects.find(
      (object) =>
        isDeployer(object) && [formatRef(refOf(object)), formatRef(refOf(object)).replace(' ', '/')].includes(name),
    );
    if (found !== undefined) return found;
    const known = objects.filter(isDeployer).map((object) => formatRef(refOf(object)).replace(' ', '/'));
    throw new Failure({
      code: 'SP208',
      exit: EXIT.usage,
      message: `there is no ${safeText(name)} that applies a commit`,
      where: '--deployer',
      hint:
        known.length === 0
          ? 'name a Kustomization, HelmRelease or Application of the cluster'
          : `one of: ${known.slice(0, 10).join(', ')}`,
    });
  });
}

/** Everything that was written is there; what the API server and others added beside it is not judged. */
function shows(change: Change, live: KubeManifest | undefined): boolean {
  if (change.kind === 'delete') return live === undefined;
  if (live === undefined) return false;
  const step = {
    id: '',
    namespace: '',
    phase: 'none' as const,
    operation: change.kind,
    title: '',
    change,
    effects: [],
    risks: [],
  };
  const applied: AppliedStep = { seq: 0, run: '', namespace: '', phase: 'none', step, change, at: 0 };
  return checkDrift([applied], [live]).length === 0;
}

/** One step of a way back that a watch asks for: in Git too, at once. */
async function commitBack(app: App, place: GitPlace, record: RunRecord, change: Change): Promise<void> {
  await place.repository.assertClean();
  const tree = await readTreeOf(app, place.dir);
  const { writes, refused } = planTreeWrites(tree, [{ phase: record.plan.to, change }], place.layout);
  const [first] = refused;
  if (first !== undefined)
    throw new Failure({
      code: 'SP648',
      exit: EXIT.refused,
      message: `${formatRef(first.ref)} cannot be taken back in the tree: ${safeText(first.reason)}`,
      hint: first.fix,
    });
  await commitWrites(
    app,
    place,
    [],
    writes,
    [],
    `${record.namespace}: ${change.kind === 'delete' ? 'take back' : 'put back'} ${writes.map(({ file }) => file).join(', ')}\n\nDenied in the watch after run ${record.id}.\n`,
  );
  await pushAsAsked(app, record.plan, place);
}

/** Resumes a run of Git: commits what a crash left uncommitted, then looks or waits. */
export async function resumeInGit(app: App, run: string): Promise<RunResult> {
  const state = await app.writableState();
  const record = state.reader.run(run);
  if (record?.plan.git === undefined) throw new Error(`run ${run} does not go through Git`);
  const place = await openGitPlace(app, app.options.git ?? record.plan.git.dir, record.plan.git.layout);
  if (isUntouched(state.reader.stepsOf(run))) {
    if ((await place.repository.commitOf(run)) === undefined) {
      const loaded = await loadAll(app);
      await propose(app, record, loaded.view(record.namespace), place, [1, 1], record.plan);
    } else await pushAsAsked(app, record.plan, place);
  }
  return awaitRun(app, record, place, waitMs(app) ?? 0);
}

/** True while nothing of it was seen in the cluster: others may go on meanwhile. */
export function isUntouched(steps: readonly JournalStep[]): boolean {
  return steps.every(({ state }) => state === 'pending');
}

/**
 * Takes a proposal back that is not in force: its commit is reverted, where it is on the branch, and the run is closed having done nothing. So is
 * one of which a part is in force: its steps need no order, neither there nor back. Undefined where all of it is in force: its steps are then on
 * record as done, whatever the deployer says of health, and the ordinary way back, which is simulated, is the way.
 */
export async function withdrawProposal(app: App, record: RunRecord): Promise<string | undefined> {
  const { git } = record.plan;
  if (git === undefined) return undefined;
  const state = await app.writableState();
  if (!isUntouched(state.reader.stepsOf(record.id))) return undefined;
  const target = await app.target();
  const shown: boolean[] = [];
  for (const { change } of record.plan.steps) shown.push(shows(change, await target.readObject(changeRef(change))));
  if (shown.every((one) => one)) {
    const adopted = await awaitRun(
      app,
      record,
      await openGitPlace(app, app.options.git ?? git.dir, git.layout),
      0,
      true,
    );
    if (adopted.failure !== undefined) throw adopted.failure;
    return undefined;
  }
  const place = await openGitPlace(app, app.options.git ?? git.dir, git.layout);
  const commit = await place.repository.commitOf(record.id);
  let reverted = '';
  if (commit !== undefined) {
    await place.repository.assertClean();
    if (!(await place.repository.revert([commit])))
      throw new Failure({
        code: 'SP648',
        exit: EXIT.refused,
        message: `commit ${commit.slice(0, 12)} cannot be reverted: somebody has built on it`,
        where: `run ${record.id}`,
        hint: `revert it by hand, then: sallyport rollback ${record.namespace}`,
      });
    reverted = await place.repository.commit(
      await place.repository.staged(),
      `${safeText(record.namespace)}: withdraw ${record.id}\n\nThis reverts commit ${commit}.\n\nSallyport-Reverts: ${record.id}\n`,
    );
    await pushAsAsked(app, record.plan, place);
    const parts = record.plan.steps.filter((_, index) => shown[index] === true).map(({ change }) => changeRef(change));
    // What failed half-way may not be on the deployer's own list, and then nobody prunes it.
    if (parts.length > 0)
      app.output.note(
        wrap(
          safeText(
            `In force in part: ${parts.map(formatRef).join(', ')}. The commit that takes it back is made; if the deployer does not take it out of the cluster, do: sallyport verify ${record.namespace} looks`,
          ),
          app.output.width,
          2,
        ),
      );
  }
  await withEngine(app, [], (engine) =>
    settleOpenRun(record.id, {
      ...engine,
      undo: (engine.undo ?? []).filter(({ exposed }) => !exposed),
      target: {
        ...target,
        acquire: () => Promise.resolve({ assertHeld: () => Promise.resolve(), release: () => Promise.resolve() }),
      },
    }),
  );
  return reverted;
}

function say(app: App, text: string): void {
  app.output.line(wrap(safeText(text), app.output.width, 4, 2));
}

// Every point of a run, and everything that can go wrong there, each followed by `resume` and separately by `rollback`.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { Plan } from '../../src/plan/plan.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { bearsOnTraffic } from '../../src/plan/soak.ts';
import { withoutServerFields } from '../../src/targets/patch.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { PHASES, phaseIndex } from '../../src/model/phase.ts';
import type { AppliedStep } from '../../src/engine/contract.ts';
import type { FaultKind, MovedNamespace, Point, SavedWorld, Session, World } from './fault-driver.ts';
import {
  DISK_FAULTS,
  FAULT_KINDS,
  Killed,
  auditProblems,
  makeWorld,
  messageFor,
  objectsOf,
  openSession,
  sameObjects,
  stateProblems,
  statesJudged,
  undoneByBundles,
} from './fault-driver.ts';

export type Move = readonly ['up' | 'down', MovedNamespace, PhaseName];
export const RECOVERIES = ['resume', 'rollback'] as const;
export type Recovery = (typeof RECOVERIES)[number];

export interface Scenario {
  readonly name: string;
  readonly before: readonly Move[];
  readonly run: Move;
  /** Where a rollback leads instead of finishing. */
  readonly back: PhaseName;
  /** A long run has so many points that a smaller share of them is taken: one of so many. */
  readonly oneIn?: number;
}

export interface Prepared {
  readonly scenario: Scenario;
  readonly start: SavedWorld;
  readonly plan: Plan;
  readonly points: readonly Point[];
  readonly begun: Outcome;
  readonly ended: Outcome;
}

/** What a run leaves, but for moments and numbers of its own. */
export interface Outcome {
  readonly objects: unknown;
  readonly phases: unknown;
  readonly inForce: unknown;
  readonly open: number;
  readonly kept: { readonly folder: readonly string[]; readonly cluster: readonly string[] };
}

export interface Tally {
  readonly scenario: string;
  readonly points: number;
  /** Histories that there are. */
  all: number;
  histories: number;
  /** Of them edits of others. */
  foreign: number;
  /** Faults that struck; the rest of the histories went past their point. */
  faults: number;
  /** Processes that it took after the fault until all was as wanted; the most of any history. */
  mostTries: number;
}

export const OPERATOR = 'ann';

async function go(session: Session, [direction, namespace, to]: Move): Promise<void> {
  const result = await (direction === 'up' ? session.advance(namespace, to) : session.rollback(namespace, to));
  if (result.exit !== 0) throw new Error(`${direction} ${namespace} ${to}: ${result.failure?.message ?? ''}`);
}

/** What moves lead to, made once for all scenarios that begin with them. */
const reached = new Map<string, SavedWorld>();

async function reach(world: World, pristine: SavedWorld, moves: readonly Move[]): Promise<void> {
  let done = moves.length;
  while (done > 0 && !reached.has(JSON.stringify(moves.slice(0, done)))) done -= 1;
  world.restore(reached.get(JSON.stringify(moves.slice(0, done))) ?? pristine);
  for (const [index, move] of moves.entries()) {
    if (index < done) continue;
    const session = await openSession(world, OPERATOR);
    await go(session, move);
    await session.close();
    reached.set(JSON.stringify(moves.slice(0, index + 1)), world.save());
  }
}

/** Brings the world to where the scenario begins, and runs it once without a fault. */
export async function prepare(world: World, pristine: SavedWorld, scenario: Scenario): Promise<Prepared> {
  await reach(world, pristine, scenario.before);
  let session = await openSession(world, OPERATOR);
  const begun = outcomeOf(world, session);
  await session.close();
  const start = world.save();
  session = await openSession(world, OPERATOR);
  const plan = await planOf(session, scenario.run);
  await session.close();
  // As the histories do it: without what a session learns of the API server while it plans.
  session = await openSession(world, OPERATOR);
  session.arm();
  const result = await session.execute(plan);
  expect(result, scenario.name).toMatchObject({ outcome: 'done', exit: 0 });
  const ended = outcomeOf(world, session);
  await session.close();
  expect(world.broken, scenario.name).toEqual([]);
  return { scenario, start, plan, points: session.points, begun, ended };
}

function planOf(session: Session, [direction, namespace, to]: Move): ReturnType<Session['planUp']> {
  return direction === 'up' ? session.planUp(namespace, to) : session.planDown(namespace, to).then(({ plan }) => plan);
}

export function outcomeOf(world: World, { rig: { journal } }: Session): Outcome {
  const config = world.cluster.objects().filter((object) => object.metadata.name.startsWith('sallyport-undo-'));
  return {
    objects: objectsOf(world.cluster),
    phases: Object.fromEntries(journal.phases()),
    inForce: journal.applied().map(essence),
    open: journal.openRuns().length,
    kept: {
      folder: [...world.disk(OPERATOR).kept.keys()].toSorted(),
      cluster: config.flatMap((object) => Object.keys((object['data'] ?? {}) as object)).toSorted(),
    },
  };
}

/** A step in force without what differs from one history to the next: versions, and the order among equals. */
function essence({ namespace, phase, step, change }: AppliedStep): unknown {
  const text = JSON.stringify({ namespace, phase, step: step.id, change }, (key, value: unknown) =>
    ['resourceVersion', 'uid', 'generation', 'creationTimestamp'].includes(key) ? undefined : value,
  );
  return JSON.parse(text);
}

const LISTED =
  /^GET \S*\/(?:networkpolicies|authorizationpolicies|peerauthentications|requestauthentications|destinationrules|sidecars|serviceentries|deployments|statefulsets|daemonsets|cronjobs|services|serviceaccounts|rolebindings|namespaces)$/u;
/** One of the lists in which a run looks again at what its next step rests on. */
export function isLookedAgain({ what, name }: Point): boolean {
  return what === 'call' && LISTED.test(name);
}

/** Points between the first of these lists and the write that follows: what others change there may go unseen (docs/faults.md). */
export function isUnseen(points: readonly Point[]): (point: Point) => boolean {
  const unseen = new Set<Point>();
  let first: number | undefined;
  for (const [index, point] of points.entries()) {
    if (point.what === 'state' && point.name !== 'stepStarted') first = undefined;
    else if (isLookedAgain(point)) first ??= index;
    else if (point.writes && first !== undefined) for (const one of points.slice(first + 1, index + 1)) unseen.add(one);
  }
  return (point) => unseen.has(point);
}

/** What others do to the cluster while the run is at a point. */
export const FOREIGN_KINDS = ['a policy of ours deleted by others', 'a policy that denies made by others'] as const;
export type ForeignKind = (typeof FOREIGN_KINDS)[number];
export type Strike = FaultKind | ForeignKind;

export const THEIRS: KubeManifest = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'theirs', namespace: 'front' },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
};

/** Does it, and answers with the object of ours that is gone now. */
export function meddle(world: World, { rig: { journal } }: Session, kind: ForeignKind): KubeManifest | undefined {
  if (kind === 'a policy that denies made by others') {
    world.cluster.put(THEIRS, 'people');
    return undefined;
  }
  const there = new Map(world.cluster.objects().map((object) => [refKey(refOf(object)), object]));
  const mine = journal
    .applied()
    .filter(({ change }) => change.kind === 'create' && bearsOnTraffic(change))
    .map(({ change }) => there.get(refKey(changeRef(change))))
    .findLast((object) => object !== undefined);
  if (mine !== undefined) world.cluster.remove(mine);
  return mine;
}

function isForeign(kind: Strike): kind is ForeignKind {
  return FOREIGN_KINDS.some((one) => one === kind);
}

/** What may happen at a point: a disk fails in fewer ways than a network. */
export function faultsAt(point: Point): readonly FaultKind[] {
  if (point.what !== 'call') return DISK_FAULTS;
  // Of what changes nothing it makes no difference whether it was done.
  return point.writes
    ? FAULT_KINDS
    : FAULT_KINDS.filter((kind) => !['killed after', 'time-out, done', '500, done'].includes(kind));
}

const OURS = /^(?:networkpolicies|authorizationpolicies|peerauthentications|rolebindings|serviceaccounts)$/u;
const WORKLOADS = /^(?:deployments|statefulsets|daemonsets|cronjobs)$/u;

/** What a point is of, whatever the objects are called; kinds of objects that are written in one way count as one. */
export function pointKind(point: Point): string {
  const { what, name } = point;
  if (what === 'state') return `state ${name}`;
  if (what === 'kept') return `kept ${name.split(' ')[0] ?? ''}`;
  if (isLookedAgain(point)) return 'GET lists of what the next step rests on';
  const at = name.lastIndexOf(' ');
  const [, root, ...parts] = name.slice(at + 1).split('/');
  const path = parts.slice(root === 'api' ? 1 : 2);
  const [resource = 'what is served'] = path[0] === 'namespaces' && path.length > 2 ? path.slice(2) : path;
  return `${name.slice(0, at)} ${OURS.test(resource) ? 'policies and accounts' : WORKLOADS.test(resource) ? 'workloads' : resource}`;
}

/** One history. Throws what is against a promise. */
export async function runHistory(
  world: World,
  prepared: Prepared,
  point: number,
  kind: Strike,
  recovery: Recovery,
  tally: Tally,
): Promise<void> {
  const { scenario, start, ended, begun } = prepared;
  const [direction, namespace, to] = scenario.run;
  world.restore(start);
  let gone: KubeManifest | undefined;
  let struck = false;
  let session: Session = await openSession(world, OPERATOR, {
    mischief: (at) => {
      if (at.number !== point || isForeign(kind)) return undefined;
      tally.faults += 1;
      return kind;
    },
    pause: (at) => {
      if (at.number !== point || !isForeign(kind) || struck) return undefined;
      struck = true;
      tally.faults += 1;
      tally.foreign += 1;
      gone = meddle(world, session, kind);
      return undefined;
    },
  });
  const putBack = (): void => {
    if (world.cluster.get(THEIRS) !== undefined) world.cluster.remove(THEIRS);
    if (gone !== undefined && world.cluster.get(gone) === undefined)
      world.cluster.put(withoutServerFields(gone), 'people');
  };
  const notTheirs = (keys: readonly string[]): readonly string[] => keys.filter((key) => key !== refKey(refOf(THEIRS)));
  session.arm();
  await attempt(() => session.execute(prepared.plan));
  await session.close();
  tally.histories += 1;

  // As it is now, whatever happened: the file is whole, and what is kept beside it takes everything back.
  expect(stateProblems(world.stateFile(OPERATOR))).toEqual([]);
  expect(notTheirs(sameObjects(undoneByBundles(world, OPERATOR), world.pristineObjects))).toEqual([]);
  // Whoever wants to go on puts it back first; whoever takes back need not.
  if (recovery === 'resume') putBack();

  const goal = recovery === 'resume' || direction === 'down' ? to : scenario.back;
  const said: string[] = [];
  let tries = 0;
  for (;;) {
    tries += 1;
    if (tries > 6) throw new Error(`it does not converge: ${said.join('; ')}`);
    session = await openSession(world, OPERATOR);
    const { journal } = session.rig;
    session.arm();
    const failure = await attempt(async () => {
      if (recovery === 'resume') {
        if ((await session.resume()) === undefined && (journal.phases().get(namespace) ?? 'none') !== goal)
          await go(session, scenario.run);
      } else await session.rollback(namespace, goal);
    });
    if (failure !== undefined) said.push(messageFor(failure));
    // A way back that their policy would make deny something is refused as long as it stands.
    if (isForeign(kind) && isFailure(failure) && failure.detail.code === 'SP600') putBack();
    const there =
      journal.openRuns().length === 0 &&
      (journal.phases().get(namespace) ?? 'none') === goal &&
      !journal.applied().some((step) => step.namespace === namespace && phaseIndex(step.phase) > phaseIndex(goal));
    if (there) break;
    await session.close();
    // A Lease that could not be given back is over in a minute.
    world.clock.advance(66_000);
  }
  tally.mostTries = Math.max(tally.mostTries, tries);
  const key = gone === undefined ? '' : refKey(refOf(gone));
  if (!Object.hasOwn((goal === to ? ended : begun).objects as object, key)) gone = undefined;
  putBack();
  const outcome = outcomeOf(world, session);
  await session.close();
  const { kept, ...wanted } = goal === to ? ended : begun;
  expect(outcome).toEqual({ ...wanted, kept: expect.anything() as unknown });
  // What is kept may be more than is in force, where the last keeping was lost: each part of it passes over what is not there. Never less.
  expect(outcome.kept).toMatchObject({
    folder: expect.arrayContaining([...kept.folder]) as unknown,
    cluster: expect.arrayContaining([...kept.cluster]) as unknown,
  });
  // A way back is judged when it is planned, and is not held up then: what a policy of others denies on it is theirs (docs/faults.md).
  const isTheirs = direction === 'down' && kind === 'a policy that denies made by others';
  expect(world.broken.filter((one) => !isTheirs || !one.includes(' denied: '))).toEqual([]);
  expect(stateProblems(world.stateFile(OPERATOR))).toEqual([]);
  expect(auditProblems(world.stateFile(OPERATOR))).toEqual([]);
  // Nothing is done twice with effect.
  const moves = world.written.map(({ object, before, after }) => `${object}\n${before}\n${after}`);
  expect(new Set(moves).size).toBe(moves.length);
  expect(sameObjects(undoneByBundles(world, OPERATOR), world.pristineObjects)).toEqual([]);
}

/** A failure that a person would read is an answer; a kill is the end of a process; all else is a bug. */
export async function attempt(work: () => Promise<unknown>): Promise<Error | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof Killed || isFailure(error)) return error;
    throw error;
  }
}

/** What goes wrong where, and what is done then. */
export interface Pick {
  readonly point: Point;
  readonly kind: Strike;
  readonly recovery: Recovery;
}

/** Every history that there is of a scenario. */
export function historiesOf({ points }: Prepared): readonly Pick[] {
  const unseen = isUnseen(points);
  return points.flatMap((point) =>
    [...faultsAt(point), ...(point.what === 'call' && !unseen(point) ? FOREIGN_KINDS : [])].flatMap((kind) =>
      RECOVERIES.map((recovery) => ({ point, kind, recovery })),
    ),
  );
}

/**
 * A share of them: of each kind of point, each fault once in all scenarios that share `covered`, at a place and with a recovery that the seed
 * picks, and of the rest what the picker picks.
 */
export function shareOf(
  all: readonly Pick[],
  covered: Set<string>,
  random: (below: number) => number,
  picks: (one: Pick) => boolean,
): readonly Pick[] {
  const strata = Map.groupBy(all, ({ point, kind }) => `${pointKind(point)}: ${kind}`);
  const first = new Set<Pick>();
  for (const [stratum, of] of strata) {
    const one = of[random(of.length)];
    if (covered.has(stratum) || one === undefined) continue;
    covered.add(stratum);
    first.add(one);
  }
  return all.filter((one) => {
    // Asked of each, so that the same seed picks the same whatever was covered before.
    const isPicked = picks(one);
    return isPicked || first.has(one);
  });
}

/** The histories that were picked of a scenario. Failures are collected and named. */
export async function runMatrix(world: World, prepared: Prepared, chosen: readonly Pick[]): Promise<Tally> {
  const tally: Tally = {
    scenario: prepared.scenario.name,
    points: prepared.points.length,
    all: 0,
    histories: 0,
    foreign: 0,
    faults: 0,
    mostTries: 0,
  };
  const failures: string[] = [];
  tally.all = historiesOf(prepared).length;
  for (const { point, kind, recovery } of chosen)
    try {
      await runHistory(world, prepared, point.number, kind, recovery, tally);
    } catch (error) {
      failures.push(`${point.number} ${point.what} ${point.name}: ${kind}, then ${recovery}: ${messageFor(error)}`);
      if (failures.length >= 12) throw new Error(failures.join('\n\n'), { cause: error });
    }
  if (failures.length > 0) throw new Error(failures.join('\n\n'));
  return tally;
}

const UP: readonly Move[] = [
  ['up', 'back', 'permissive-mtls'],
  ['up', 'front', 'identity'],
  ['up', 'back', 'identity'],
];
/** Each step of the way down begins where the one before ended. */
const downTo = (phase: PhaseName): readonly Move[] =>
  PHASES.slice(1)
    .reverse()
    .filter((to) => to !== 'identity' && phaseIndex(to) >= phaseIndex(phase))
    .map((to): Move => ['down', 'front', to]);
const between = (low: PhaseName, high: PhaseName): string => `${low} - ${high}`;

/** One phase at a time; the server `back` is in the mesh before its caller, and behind identity after it. */
export const UPWARDS: readonly Scenario[] = [
  ...PHASES.slice(1).map((to, index): Scenario => {
    const from = PHASES[index] ?? 'none';
    const before: readonly Move[] = from === 'none' ? UP.slice(0, 1) : [...UP.slice(0, 1), ['up', 'front', from]];
    return { name: `up: ${between(from, to)}`, before, run: ['up', 'front', to], back: from };
  }),
  {
    name: 'up: a server after its caller',
    before: [...UP.slice(0, 2), ['up', 'back', 'strict-mtls']],
    run: ['up', 'back', 'identity'],
    back: 'strict-mtls',
  },
];

export const DOWNWARDS: readonly Scenario[] = [
  ...PHASES.slice(1).map((from, index): Scenario => {
    const to = PHASES[index] ?? 'none';
    const before: readonly Move[] = [...UP, ...downTo(from)];
    return { name: `down: ${between(to, from)}`, before, run: ['down', 'front', to], back: to };
  }),
  {
    name: 'down: all at once, the peer loosened first',
    before: UP,
    run: ['down', 'front', 'none'],
    back: 'none',
    oneIn: 4,
  },
];

/** The same picks for the same seed: one of `every`; of all of them the part that FAULTS_PART names. */
export function picker(seed: number, every: number): () => boolean {
  const next = randomOf(seed);
  const [part = 1, parts = 1] = (process.env['FAULTS_PART'] ?? '1/1').split('/').map(Number);
  let asked = 0;
  return () => (every <= 1 ? (asked += 1) % parts === part % parts : next(every) === 0);
}

/** A small generator (mulberry32): numbers from 0 to below. The same seed gives the same numbers. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/**
 * `FAULTS_SEED` names another share of the histories, `FAULTS_EVERY=1` takes all of them, and `FAULTS_PART=3/40` with it the third of forty parts,
 * which together are all.
 */
export function settings(usual = 12): { readonly seed: number; readonly every: number } {
  const of = (name: string, otherwise: number): number => {
    const value = Number(process.env[name] ?? otherwise);
    return Number.isFinite(value) ? value : otherwise;
  };
  return { seed: of('FAULTS_SEED', 1), every: of('FAULTS_EVERY', usual) };
}

export function renderTallies(title: string, tallies: readonly Tally[]): string {
  const sum = (pick: (tally: Tally) => number): number => tallies.reduce((all, tally) => all + pick(tally), 0);
  const row = (name: string, points: number, histories: number, faults: number, tries: number): string =>
    `${name.padEnd(46)} ${String(points).padStart(7)} ${String(histories).padStart(10)} ${String(faults).padStart(7)} ${String(tries).padStart(6)}`;
  return [
    `${title.padEnd(46)}  points  histories  faults  tries`,
    ...tallies.map((one) => row(one.scenario, one.points, one.histories, one.faults, one.mostTries)),
    row(
      'together',
      sum((one) => one.points),
      sum((one) => one.histories),
      sum((one) => one.faults),
      Math.max(...tallies.map((one) => one.mostTries)),
    ),
  ].join('\n');
}

/** One of so many by default, beside each fault at each kind of point: minutes. */
const MATRIX_SHARE = 120;

/** The test file of some scenarios: prepares each, runs its share, prints the table at the end. */
export function describeMatrix(title: string, scenarios: readonly Scenario[]): void {
  const { seed, every } = settings(MATRIX_SHARE);
  describe(`${title} (seed ${seed}, one of ${every})`, () => {
    let world: World;
    let pristine: SavedWorld;
    const tallies: Tally[] = [];
    const covered = new Set<string>();
    beforeAll(() => {
      world = makeWorld();
      pristine = world.save();
    });
    afterAll(() => {
      world.dispose();
      process.stdout.write(
        `\n${renderTallies(title, tallies)}\nof ${tallies.reduce((sum, one) => sum + one.all, 0)} histories that there are; ${tallies.reduce((sum, one) => sum + one.foreign, 0)} of the faults are edits of others; ${statesJudged()} states of the cluster judged edge by edge; ${covered.size} pairs of a kind of point and a fault, each at least once\n`,
      );
    });
    it.each(scenarios.map((scenario, index) => ({ ...scenario, index })))(
      'whatever goes wrong at any point, resume and rollback converge: $name',
      async (scenario) => {
        const prepared = await prepare(world, pristine, scenario);
        const all = historiesOf(prepared);
        const picks = picker(seed * 1000 + scenario.index, every * (every > 1 ? (scenario.oneIn ?? 1) : 1));
        // The lists before a step are many and alike: of a share a part of them is enough.
        const looks = every > 1 ? picker(seed * 1000 + scenario.index + 500, 4) : () => true;
        const looked = new Map(prepared.points.map((point) => [point, !isLookedAgain(point) || looks()]));
        const chosen =
          every > 1
            ? shareOf(all, covered, randomOf(seed * 1000 + scenario.index + 700), (one) => {
                const isPicked = picks();
                return isPicked && looked.get(one.point) === true;
              })
            : all.filter(picks);
        const tally = await runMatrix(world, prepared, chosen);
        tallies.push(tally);
        expect(tally.faults).toBe(tally.histories);
      },
    );
  });
}

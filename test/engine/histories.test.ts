// Long histories at random: two operators on two machines, phases up and down, edits of others, decisions, crashes and failures at any point,
// states copied, lost and rebuilt. A seed names a history; one that fails is printed as a list, with the seed that plays it again.
//
//   FAULTS_SECONDS=600 npx vitest run --project faults test/engine/histories.test.ts     for ten minutes, seeds at random
//   FAULTS_HISTORY=4711 npx vitest run --project faults test/engine/histories.test.ts    one seed again
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, namespaceOf, refKey, refOf } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { PHASES, phaseIndex } from '../../src/model/phase.ts';
import { changeRef } from '../../src/plan/change.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import { asArray, asObject, getPath, setPath } from '../../src/shared/pure/json.ts';
import type { Mischief, MovedNamespace, Point, SavedWorld, Session, World } from './fault-driver.ts';
import {
  DISK_FAULTS,
  FAULT_KINDS,
  Killed,
  NAMESPACES,
  auditProblems,
  makeWorld,
  messageFor,
  objectsOf,
  openSession,
  stateProblems,
} from './fault-driver.ts';
import { FOREIGN_KINDS, THEIRS, isLookedAgain, meddle, randomOf } from './matrix.ts';

const OPERATORS = ['ann', 'bob'] as const;
type Operator = (typeof OPERATORS)[number];
const OPERATIONS = 30;
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const SECONDS = Number(process.env['FAULTS_SECONDS'] ?? 0);
const MOST_FAILURES = 5;

interface Counts {
  histories: number;
  operations: number;
  faults: number;
  kills: number;
  foreign: number;
  /** Of them while a run went on. */
  inRuns: number;
  refused: number;
  codes: Map<string, number>;
}
const counts: Counts = {
  histories: 0,
  operations: 0,
  faults: 0,
  kills: 0,
  foreign: 0,
  inRuns: 0,
  refused: 0,
  codes: new Map(),
};

let world: World;
let pristine: SavedWorld;
beforeAll(() => {
  world = makeWorld();
  for (const name of OPERATORS) world.disk(name);
  pristine = world.save();
});
afterAll(() => {
  world.dispose();
  const { histories, operations, faults, kills, foreign, inRuns, refused, codes } = counts;
  process.stdout.write(
    `\nrandom histories: ${histories}, operations ${operations}, faults ${faults} (of them kills ${kills}), edits of others ${foreign} (of them in a run ${inRuns}), refusals ${refused}\n` +
      `failures met: ${[...codes]
        .sort()
        .map(([code, count]) => `${code} ${count}`)
        .join(', ')}\n`,
  );
});

/** Edits of people and controllers: beside our fields, and in them. */
interface Foreign {
  readonly object: string;
  readonly path: readonly string[];
}

interface History {
  readonly random: (below: number) => number;
  readonly lines: string[];
  /** Beside our fields: these must outlast everything. */
  readonly beside: Foreign[];
  /** In our fields: put right by a decision at the end. */
  readonly inside: Foreign[];
  /** Objects in which a person decided to leave what others wrote: they stay as they are. */
  readonly left: Set<string>;
}

function pick<T>(history: History, of: readonly T[]): T {
  const one = of[history.random(of.length)];
  if (one === undefined) throw new Error('nothing to pick from');
  return one;
}

/** Strikes each point with a chance of one in so many, once. */
function mischief(history: History, oneIn: number): Mischief {
  let struck = false;
  return (point) => {
    if (struck || history.random(oneIn) !== 0) return undefined;
    struck = true;
    const kinds = point.what === 'call' ? FAULT_KINDS : DISK_FAULTS;
    const kind = pick(history, kinds);
    counts.faults += 1;
    if (kind.startsWith('killed')) counts.kills += 1;
    history.lines.push(`      at ${point.what} ${point.name}: ${kind}`);
    return kind;
  };
}

async function saying(history: History, what: string, work: () => Promise<unknown>): Promise<void> {
  history.lines.push(`  ${what}`);
  try {
    const result = await work();
    const ended = result as { readonly outcome?: string; readonly failure?: Error } | undefined;
    if (ended?.outcome !== undefined)
      history.lines.push(
        `      ${ended.outcome}${ended.failure === undefined ? '' : `: ${messageFor(ended.failure).slice(0, 160)}`}`,
      );
    if (ended?.failure !== undefined && isFailure(ended.failure)) count(ended.failure.detail.code);
  } catch (error) {
    if (!(error instanceof Killed) && !isFailure(error)) throw error;
    history.lines.push(`      ${error instanceof Killed ? 'killed' : messageFor(error).slice(0, 160)}`);
    if (isFailure(error)) {
      counts.refused += 1;
      count(error.detail.code);
    }
  }
}

function count(code: string): void {
  counts.codes.set(code, (counts.codes.get(code) ?? 0) + 1);
}

/**
 * Others delete or make a policy while a run goes on, at any call but between the first list of what the next step rests on and the write that
 * follows, where nobody can see it.
 */
function meddling(
  history: History,
  oneIn: number,
  session: () => Session,
  plansBack: boolean,
): (point: Point) => undefined {
  let struck = false;
  let looked = false;
  let wrote = false;
  return (point) => {
    if (wrote) looked = false;
    // A run that was taken over from a record has nothing to compare with (docs/faults.md).
    const isBlind = (): boolean =>
      session()
        .rig.journal.openRuns()
        .some(({ plan }) => plan.ground === undefined);
    const isBack = (): boolean =>
      plansBack ||
      session()
        .rig.journal.openRuns()
        .some(({ plan }) => plan.direction === 'down');
    if (!struck && !looked && history.random(oneIn) === 0 && !isBlind()) {
      struck = true;
      // Nor is a way back held up by a policy of theirs that would deny something on it (docs/faults.md).
      const kind = isBack() ? FOREIGN_KINDS[0] : pick(history, FOREIGN_KINDS);
      const gone = meddle(world, session(), kind);
      counts.foreign += 1;
      counts.inRuns += 1;
      history.lines.push(`      at ${point.name}: ${kind}${gone === undefined ? '' : ` (${formatRef(refOf(gone))})`}`);
    }
    looked ||= isLookedAgain(point);
    wrote = point.writes && !/leases|configmaps/u.test(point.name);
    return undefined;
  };
}

async function withSession(
  name: Operator,
  history: History | undefined,
  oneIn: number,
  work: (session: Session) => Promise<void>,
  plansBack = false,
): Promise<void> {
  const session: Session = await openSession(
    world,
    name,
    history === undefined
      ? {}
      : {
          mischief: mischief(history, oneIn),
          pause: meddling(history, oneIn * 4, () => session, plansBack),
          armLate: true,
        },
  );
  try {
    await work(session);
  } finally {
    await session.close();
  }
}

function editBeside(history: History): void {
  const objects = world.cluster
    .objects()
    .filter((object) => NAMESPACES.some((namespace) => (namespaceOf(object) ?? object.metadata.name) === namespace))
    .filter((object) => object.kind !== 'Lease' && refKey(refOf(object)) !== refKey(refOf(THEIRS)));
  const live = pick(history, objects);
  // Objects of ours go as a whole when they are taken back; an annotation on one of them is a matter for `resolve`.
  const ours = asObject(live.metadata['labels'])['app.kubernetes.io/managed-by'] === 'sallyport';
  const path = ['metadata', 'annotations', `people.example/${history.lines.length}`];
  world.cluster.put(setPath(live, path, 'x') as KubeManifest, 'people');
  (ours ? history.inside : history.beside).push({ object: formatRef(refOf(live)), path });
  history.lines.push(`  somebody annotates ${formatRef(refOf(live))}${ours ? ' (ours)' : ''}`);
  counts.foreign += 1;
}

/** A field that is ours somewhere gets another value. */
async function editInside(history: History): Promise<void> {
  await withSession(pick(history, OPERATORS), undefined, 0, async (session) => {
    const edits = session.rig.journal
      .applied()
      .flatMap((step) => (step.change.kind === 'edit' ? step.change.fields.map((field) => ({ step, field })) : []))
      .filter(({ field }) => typeof field.after === 'string');
    if (edits.length === 0) return;
    const { step, field } = pick(history, edits);
    const ref = changeRef(step.change);
    const live = world.cluster.objects().find((object) => formatRef(refOf(object)) === formatRef(ref));
    // Where a crash left the record behind, this state alone knows that the field is ours, and another one would leave it to whoever wrote it last.
    const steps = session.rig.journal.stepsOf(step.run);
    const { index } = steps.find(({ seq }) => seq === step.seq) ?? {};
    const kept = session.rig.engine.undo?.find(({ exposed }) => exposed);
    const record = asObject(await kept?.read(step.namespace));
    const known = asArray(record['steps']).map((one) => asObject(one));
    if (!known.some((one) => one['run'] === step.run && one['index'] === index && one['state'] === 'done')) return;
    // What is no longer ours is just an edit beside, and this history does not keep book of its value.
    if (live === undefined || getPath(live, field.path) !== field.after) return;
    world.cluster.put(setPath(live, field.path, 'theirs') as KubeManifest, 'people');
    history.inside.push({ object: formatRef(ref), path: field.path });
    history.lines.push(`  somebody sets ${formatRef(ref)} ${field.path.join('.')}`);
    counts.foreign += 1;
  });
}

async function decide(
  history: History,
  session: Session,
  namespace: MovedNamespace,
  keep: 'theirs' | 'before',
): Promise<number> {
  const divergences = await session.disputes(namespace);
  if (keep === 'theirs') for (const { object } of divergences) history.left.add(object);
  if (divergences.length === 0) return 0;
  const { writer } = session.rig.state;
  writer.addResolutions(
    divergences.map(({ object, path, theirs }) => ({
      object,
      path,
      ...(theirs === undefined ? {} : { theirs }),
      keep,
      by: 'tester',
      at: world.clock.now(),
    })),
    'the history says so',
    namespace,
  );
  return divergences.length;
}

async function operate(history: History): Promise<void> {
  const name = pick(history, OPERATORS);
  const namespace = pick(history, NAMESPACES);
  const at = world.stateFile(name);
  switch (history.random(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: {
      await withSession(name, history, 80, (session) => {
        const now = phaseIndex(session.rig.journal.phases().get(namespace) ?? 'none');
        const to = PHASES[Math.min(now + 1 + history.random(2), PHASES.length - 1)] ?? 'monitor';
        return saying(history, `${name}: advance ${namespace} --to ${to}`, () => session.advance(namespace, to));
      });
      return;
    }
    case 5:
    case 6: {
      const work = (session: Session): Promise<void> => {
        const now = phaseIndex(session.rig.journal.phases().get(namespace) ?? 'none');
        const to = PHASES[Math.max(0, now - history.random(3))] ?? 'none';
        return saying(history, `${name}: rollback ${namespace} --to ${to}`, () => session.rollback(namespace, to));
      };
      await withSession(name, history, 80, work, true);
      return;
    }
    case 7:
    case 8:
    case 9:
      await withSession(name, history, 60, (session) => saying(history, `${name}: resume`, () => session.resume()));
      return;
    case 10:
      editBeside(history);
      return;
    case 11:
      await editInside(history);
      return;
    case 12: {
      const keep = pick(history, ['theirs', 'before'] as const);
      await withSession(name, undefined, 0, async (session) => {
        await saying(history, `${name}: resolve ${namespace} --keep ${keep}`, () =>
          decide(history, session, namespace, keep),
        );
      });
      return;
    }
    case 13:
      await withSession(name, undefined, 0, (session) =>
        saying(history, `${name}: state rebuild`, () => session.rebuild()),
      );
      return;
    case 14:
      if (existsSync(at)) {
        const other = name === 'ann' ? 'bob' : 'ann';
        history.lines.push(`  the state of ${name} is copied over that of ${other}`);
        copyFileSync(at, world.stateFile(other));
      }
      return;
    default:
      history.lines.push(`  the state of ${name} is lost`);
      for (const suffix of ['', '-wal', '-shm']) rmSync(at + suffix, { force: true });
      world.disk(name).kept.clear();
      // A minute later whatever it held is over.
      world.clock.advance(66_000);
  }
}

function checkAlways(history: History): void {
  expect(world.broken, history.lines.slice(-6).join('\n')).toEqual([]);
  for (const name of OPERATORS) {
    const file = world.stateFile(name);
    if (!existsSync(file)) continue;
    expect(stateProblems(file), name).toEqual([]);
    expect(auditProblems(file), name).toEqual([]);
  }
}

/** Whoever is left takes everything back, with every dispute decided. */
async function home(history: History): Promise<void> {
  history.lines.push('  home:');
  // What denies what must work has to go first: no way back is taken over a denial.
  if (world.cluster.get(THEIRS) !== undefined) world.cluster.remove(THEIRS);
  for (let round = 0; round < 14; round += 1) {
    world.clock.advance(66_000);
    await withSession('ann', undefined, 0, async (session) => {
      await saying(history, 'ann: state rebuild', () => session.rebuild());
    });
    for (const namespace of NAMESPACES)
      await withSession('ann', undefined, 0, async (session) => {
        const { journal } = session.rig;
        const inForce = journal.applied().some((step) => step.namespace === namespace);
        const open = journal.openRuns().some((run) => run.namespace === namespace);
        const phase: PhaseName = journal.phases().get(namespace) ?? 'none';
        if (!inForce && !open && phase === 'none') return;
        await saying(history, `ann: resolve ${namespace} --keep before`, () =>
          decide(history, session, namespace, 'before'),
        );
        await saying(history, `ann: rollback ${namespace} --to none`, () => session.rollback(namespace, 'none'));
      });
    const settled = await restsAt(history);
    if (settled) return;
  }
  throw new Error('it does not come home');
}

async function restsAt(history: History): Promise<boolean> {
  let rests = false;
  await withSession('ann', undefined, 0, async (session) => {
    const { journal } = session.rig;
    rests = journal.openRuns().length === 0 && journal.applied().length === 0 && journal.phases().size === 0;
    if (rests) expect(checkDrift(journal.applied(), world.cluster.objects()), history.lines.at(-1)).toEqual([]);
    await Promise.resolve();
  });
  return rests;
}

/** The cluster as it was, but for what people put beside our fields. */
function expectHome(history: History): void {
  const now = objectsOf(world.cluster) as Record<string, { annotations?: Record<string, unknown> }>;
  const cleaned = Object.fromEntries(
    Object.entries(now).map(([key, object]) => {
      const annotations = Object.entries(object.annotations ?? {}).filter(
        ([name]) => !name.startsWith('people.example/'),
      );
      return [key, { ...object, annotations: annotations.length === 0 ? undefined : Object.fromEntries(annotations) }];
    }),
  );
  const keys = new Map(world.cluster.objects().map((object) => [formatRef(refOf(object)), refKey(refOf(object))]));
  const left = new Set([...history.left].map((object) => keys.get(object)));
  const others = (all: Readonly<Record<string, unknown>>): unknown =>
    Object.fromEntries(Object.entries(all).filter(([key]) => !left.has(key)));
  expect(others(cleaned)).toEqual(others(world.pristine));
  for (const { object, path } of history.beside) {
    const live = world.cluster.objects().find((one) => formatRef(refOf(one)) === object);
    expect(asObject(live?.metadata['annotations'])[path.at(-1) ?? ''], `${object} ${path.join('.')}`).toBe('x');
  }
}

async function play(seed: number): Promise<void> {
  world.restore(pristine);
  const history: History = { random: randomOf(seed), lines: [], beside: [], inside: [], left: new Set() };
  try {
    for (let done = 0; done < OPERATIONS; done += 1) {
      await operate(history);
      checkAlways(history);
      counts.operations += 1;
      // Sometimes time passes, and Leases that were left behind with it.
      if (history.random(3) === 0) world.clock.advance(66_000);
    }
    await home(history);
    checkAlways(history);
    expectHome(history);
    counts.histories += 1;
  } catch (error) {
    throw new Error(
      `FAULTS_HISTORY=${seed}\n${history.lines.join('\n')}\n${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

describe('a long history', () => {
  const again = process.env['FAULTS_HISTORY'];
  if (again !== undefined) it(`of seed ${again}`, () => play(Number(again)));
  else if (SECONDS > 0)
    it(
      `after the other, for ${SECONDS} s`,
      async () => {
        const end = Date.now() + SECONDS * 1000;
        const failures: string[] = [];
        // One that fails does not end the search: the next may fail of something else.
        while (Date.now() < end && failures.length < MOST_FAILURES)
          await play(randomInt(2 ** 31)).catch((error: unknown) => failures.push(messageFor(error)));
        expect(failures).toEqual([]);
      },
      SECONDS * 1000 + 600_000,
    );
  else it.each(SEEDS)('keeps every promise and comes home: seed %i', (seed) => play(seed));
});

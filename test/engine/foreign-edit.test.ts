// Somebody deletes, edits or makes objects while a run goes on: between a write and the step that rests on it. The run stops before that step,
// nothing that must work is cut by it, and it goes on once the object is put back, or is taken back.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunResult } from '../../src/engine/run.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { phaseIndex } from '../../src/model/phase.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, namespaceOf, refKey, refOf } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { asObject, getPath, setPath } from '../../src/shared/pure/json.ts';
import { withoutServerFields } from '../../src/targets/patch.ts';
import type { MovedNamespace, Point, SavedWorld, Session, World } from './fault-driver.ts';
import { makeWorld, messageFor, objectsOf, openSession } from './fault-driver.ts';
import type { Move } from './matrix.ts';
import { isUnseen, picker, settings } from './matrix.ts';

interface Scenario {
  readonly name: string;
  readonly before: readonly Move[];
  readonly run: Move;
}

const UP: readonly Move[] = [
  ['up', 'back', 'permissive-mtls'],
  ['up', 'front', 'identity'],
];
const SCENARIOS: readonly Scenario[] = [
  { name: 'up to allow-list', before: [], run: ['up', 'front', 'allow-list'] },
  {
    name: 'up through the mesh',
    before: [UP[0] as Move, ['up', 'front', 'allow-list']],
    run: ['up', 'front', 'strict-mtls'],
  },
  { name: 'up to identity', before: [UP[0] as Move, ['up', 'front', 'strict-mtls']], run: ['up', 'front', 'identity'] },
  { name: 'down from identity', before: UP, run: ['down', 'front', 'strict-mtls'] },
  {
    name: 'down from the mesh',
    before: [UP[0] as Move, ['up', 'front', 'permissive-mtls']],
    run: ['down', 'front', 'allow-list'],
  },
  {
    name: 'down from allow-list',
    before: [UP[0] as Move, ['up', 'front', 'allow-list']],
    run: ['down', 'front', 'none'],
  },
];

/** Makes the edit where there is something to edit, and answers with how to put it back. */
type Edit = (session: Session) => (() => void) | undefined;

const POLICIES = new Set(['NetworkPolicy', 'AuthorizationPolicy', 'PeerAuthentication']);

/** The policy that Sallyport wrote last of those that are there. */
function newestOurs(session: Session, namespace: MovedNamespace = 'front'): KubeManifest | undefined {
  const keys = session.rig.journal
    .applied()
    .map(({ change }) => refKey(changeRef(change)))
    .reverse();
  const there = new Map(
    world.cluster
      .objects()
      .filter((object) => POLICIES.has(object.kind) && namespaceOf(object) === namespace)
      .map((object) => [refKey(refOf(object)), object]),
  );
  const key = keys.find((one) => there.has(one));
  return key === undefined ? undefined : there.get(key);
}

const put = (object: KubeManifest): void => void world.cluster.put(object, 'people');

function replace(live: KubeManifest | undefined, path: readonly string[], value: Parameters<typeof setPath>[2]) {
  if (live === undefined) return undefined;
  put(setPath(live, path, value) as KubeManifest);
  return () => {
    const now = world.cluster.get(live);
    // What the run has taken away meanwhile stays away.
    // As `resolve --keep ours` writes it.
    if (now !== undefined) world.cluster.put(setPath(now, path, getPath(live, path)) as KubeManifest, 'sallyport');
  };
}

function added(object: KubeManifest): () => void {
  put(object);
  return () => world.cluster.remove(object);
}

const DENY: KubeManifest = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'theirs', namespace: 'front' },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
};
const RULE: KubeManifest = {
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'theirs', namespace: 'front' },
  spec: {},
};

const EDITS: readonly { readonly name: string; readonly edit: Edit }[] = [
  {
    name: 'deletes a policy of Sallyport',
    edit: (session) => {
      const live = newestOurs(session);
      if (live === undefined) return undefined;
      world.cluster.remove(live);
      return () => put(withoutServerFields(live));
    },
  },
  {
    name: 'empties a policy of Sallyport',
    edit: (session) => {
      const live = newestOurs(session);
      const spec = asObject(live?.['spec']);
      return replace(
        live,
        ['spec'],
        live?.kind === 'PeerAuthentication'
          ? { ...spec, mtls: { mode: 'STRICT' } }
          : live?.kind === 'AuthorizationPolicy'
            ? { ...spec, rules: [] }
            : { podSelector: spec['podSelector'] ?? {}, policyTypes: spec['policyTypes'] ?? ['Ingress'] },
      );
    },
  },
  { name: 'adds a policy that denies packets', edit: () => added(DENY) },
  { name: 'adds a policy that denies callers', edit: () => added(RULE) },
  {
    name: 'gives pods of a peer a label that no selector names',
    edit: () => {
      const api = world.cluster.objects().find((one) => one.kind === 'Deployment' && one.metadata.name === 'api');
      return replace(api, ['spec', 'template', 'metadata', 'labels', 'tier'], 'x');
    },
  },
];

let world: World;
let pristine: SavedWorld;
let histories = 0;
let stopped = 0;
beforeAll(() => {
  world = makeWorld();
  pristine = world.save();
});
afterAll(() => {
  world.dispose();
  process.stdout.write(
    `\nedits of others inside a run: ${histories} histories, ${stopped} stopped by what the next step rests on\n`,
  );
});

async function withSession<T>(
  work: (session: Session) => Promise<T>,
  at?: (point: Point, session: Session) => void,
): Promise<T> {
  const session: Session = await openSession(
    world,
    'ann',
    at === undefined
      ? {}
      : {
          pause: (point) => {
            at(point, session);
            return undefined;
          },
        },
  );
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

function move(session: Session, [direction, namespace, to]: Move): Promise<RunResult> {
  return direction === 'up' ? session.advance(namespace, to) : session.rollback(namespace, to);
}

async function planOf(session: Session, [direction, namespace, to]: Move) {
  return direction === 'up' ? session.planUp(namespace, to) : (await session.planDown(namespace, to)).plan;
}

/** What a person reads of it. */
async function said(work: () => Promise<RunResult | undefined>): Promise<string> {
  try {
    const ended = await work();
    return ended?.failure === undefined ? (ended?.outcome ?? 'nothing') : messageFor(ended.failure);
  } catch (error) {
    if (isFailure(error)) return messageFor(error);
    throw error;
  }
}

async function codeOf(work: () => Promise<RunResult | undefined>): Promise<string> {
  return (await said(work)).split(' ')[0] ?? '';
}

/** Resumes, or moves anew where the run was closed, until it is where it was to go. */
async function settle(run: Move, what: string): Promise<void> {
  const texts: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    const rests = await withSession(async (session) => {
      const { journal } = session.rig;
      if (journal.openRuns().length > 0) texts.push(await said(() => session.resume()));
      if (journal.openRuns().length === 0) {
        const above = journal
          .applied()
          .some(({ namespace, phase }) => namespace === 'front' && phaseIndex(phase) > phaseIndex(run[2]));
        if ((journal.phases().get('front') ?? 'none') === run[2] && !above) return true;
        texts.push(await said(() => move(session, run)));
      }
      return false;
    });
    if (rests) return;
    world.clock.advance(66_000);
  }
  throw new Error(`${what}: it does not come to rest: ${texts.join('; ')}`);
}

/** Decides whatever is disputed for what was there before, as a person would who takes all back. */
async function takeBack(session: Session, to: PhaseName, putBack: () => void): Promise<void> {
  const disputes = await session.disputes('front');
  if (disputes.length > 0)
    session.rig.state.writer.addResolutions(
      disputes.map(({ object, path, theirs }) => ({
        object,
        path,
        ...(theirs === undefined ? {} : { theirs }),
        keep: 'before',
        by: 'tester',
        at: world.clock.now(),
      })),
      'the test says so',
      'front',
    );
  let code = await codeOf(() => session.rollback('front', to));
  if (code === 'SP600') {
    // Their policy would deny what ours allows, once ours is gone: theirs has to go first.
    putBack();
    code = await codeOf(() => session.rollback('front', to));
  }
  // A run that had written nothing is only closed.
  expect(['done', 'SP224']).toContain(code);
}

const { seed, every } = settings();

describe.each(SCENARIOS)('$name, while somebody', ({ before, run }) => {
  let start: SavedWorld;
  let begun: Readonly<Record<string, unknown>>;
  let ended: Readonly<Record<string, unknown>>;
  let points: readonly Point[];
  const back: PhaseName = before.filter(([, namespace]) => namespace === 'front').at(-1)?.[2] ?? 'none';
  beforeAll(async () => {
    world.restore(pristine);
    for (const one of before) expect(await withSession((session) => move(session, one))).toMatchObject({ exit: 0 });
    start = world.save();
    begun = objectsOf(world.cluster);
    points = await withSession(async (session) => {
      const plan = await planOf(session, run);
      session.arm();
      expect(await session.execute(plan)).toMatchObject({ outcome: 'done' });
      return session.points;
    });
    ended = objectsOf(world.cluster);
  });

  it.each(EDITS)('$name: nothing is cut, it says so, and goes on or back', async ({ name, edit }) => {
    const pick = picker(seed, every);
    const unseen = isUnseen(points);
    const isCall = ({ what }: Point): boolean => what === 'call';
    // By default right after each write of an object; all points of the run where everything is asked for.
    const chosen = points.filter((point, index) => {
      if (!isCall(point) || unseen(point)) return false;
      if (every === 1) return true;
      const before_ = points.slice(0, index).filter(isCall).at(-1);
      return before_?.writes === true && !/leases|configmaps/u.test(before_.name) && (every <= 12 || pick());
    });
    expect(chosen.length).toBeGreaterThan(0);
    let stops = 0;
    for (const point of chosen)
      for (const then of ['put back', 'taken back'] as const) {
        world.restore(start);
        let restore: (() => void) | undefined;
        const result = await withSession(
          async (session) => {
            const plan = await planOf(session, run);
            session.arm();
            return session.execute(plan);
          },
          (at, session) => {
            if (at.number === point.number) restore = edit(session);
          },
        );
        const what = `${name} at ${point.number} ${point.name}, ${then}: ${result.failure === undefined ? result.outcome : messageFor(result.failure)}`;
        histories += 1;
        // A way back is judged when it is planned, and then not held up: their policy may deny what it was not asked about.
        if (run[0] === 'up') expect(world.broken, what).toEqual([]);
        else expect(result.failure?.detail.code, what).not.toBe('SP654');
        const broken = [...world.broken];
        expect(
          broken.filter((one) => !one.includes(' denied: ')),
          what,
        ).toEqual([]);
        if (result.failure !== undefined)
          expect(['SP654', 'SP601', 'SP650', 'SP608', 'SP606'], what).toContain(result.failure.detail.code);
        if (result.failure?.detail.code === 'SP654') {
          stopped += 1;
          stops += 1;
          expect(result, what).toMatchObject({ outcome: 'partial', exit: 3 });
          expect(result.failure.message, what).toContain('when the plan was made, should be');
          expect(result.failure.detail.hint, what).toContain('sallyport rollback front');
          expect(result.failure.detail.hint, what).toContain('sallyport plan front');
          await withSession(async (session) => {
            expect(session.rig.journal.openRuns(), what).toEqual([]);
            expect(new Set(session.rig.journal.stepsOf(result.run).map(({ state }) => state)), what).toEqual(
              new Set(['done', 'skipped']),
            );
            await Promise.resolve();
          });
          expect(world.broken, what).toEqual([]);
        }
        world.clock.advance(66_000);
        if (then === 'put back') {
          const there = new Set(Object.keys(objectsOf(world.cluster)));
          restore?.();
          // What a way back would have taken away by now is not put back.
          if (run[0] === 'down' && result.failure === undefined) {
            const now = Object.keys(objectsOf(world.cluster));
            const extra = new Set(now.filter((key) => !there.has(key) && !Object.hasOwn(ended, key)));
            for (const one of world.cluster.objects()) if (extra.has(refKey(refOf(one)))) world.cluster.remove(one);
          }
          await settle(run, what);
          expect(world.broken, what).toEqual(broken);
          expect(objectsOf(world.cluster), what).toEqual(ended);
        } else {
          const to = run[0] === 'down' ? run[2] : back;
          await withSession((session) => takeBack(session, to, () => restore?.()));
          expect(world.broken, what).toEqual(broken);
          // Theirs goes. One of ours from before the run is not made again by a way back of the run: it stays with whoever deleted it.
          if (!name.startsWith('deletes') && !name.startsWith('empties')) restore?.();
          const wanted = run[0] === 'down' ? ended : begun;
          const now = objectsOf(world.cluster);
          const gone = name.startsWith('deletes') ? Object.keys(wanted).filter((key) => !Object.hasOwn(now, key)) : [];
          expect(gone.length, what).toBeLessThan(2);
          expect(now, what).toEqual(Object.fromEntries(Object.entries(wanted).filter(([key]) => !gone.includes(key))));
        }
      }
    // Edits that the run rests on are found, wherever they come in, and no others.
    if (name.includes('no selector')) expect(stops, name).toBe(0);
    else if (run[0] === 'up' && !(run[2] === 'allow-list' && name.includes('callers')))
      expect(stops, name).toBeGreaterThan(0);
  });
});

it('names what is not as it was in three versions', async () => {
  world.restore(pristine);
  let edited = '';
  const result = await withSession(
    async (session) => {
      const plan = await session.planUp('front', 'allow-list');
      session.arm();
      return session.execute(plan);
    },
    (_, session) => {
      const live = edited === '' ? newestOurs(session) : undefined;
      if (live === undefined) return;
      edited = formatRef(refOf(live));
      put(setPath(live, ['spec', 'podSelector'], { matchLabels: { nobody: 'x' } }) as KubeManifest);
    },
  );
  expect(result.failure?.detail).toMatchObject({ code: 'SP654', exit: 3 });
  expect(result.failure?.message).toContain(edited);
  expect(result.failure?.message).toContain('was (absent) when the plan was made');
  expect(result.failure?.message).toContain('"nobody":"x"');
  expect(result.failure?.detail.hint).toContain('--keep ours');
  expect(result.failure?.detail.hint).toContain('sallyport plan front');
});

it.each(['right before the write', 'between the last look and the write'])(
  'sees a field beside its own that turns what it writes, %s',
  async (when) => {
    world.restore(pristine);
    for (const one of [['up', 'back', 'permissive-mtls'] as const, ['up', 'front', 'allow-list'] as const])
      expect(await withSession((session) => move(session, one))).toMatchObject({ exit: 0 });
    let edited = false;
    let looked = false;
    const result = await withSession(
      async (session) => {
        const plan = await session.planUp('front', 'permissive-mtls');
        session.arm();
        return session.execute(plan);
      },
      ({ name, writes }) => {
        const own = name.endsWith('/namespaces/front/deployments/web');
        if (!edited && own && looked && (writes || when.startsWith('between'))) {
          edited = true;
          const live = world.cluster.objects().find((one) => formatRef(refOf(one)) === 'Deployment front/web');
          put(setPath(live ?? RULE, ['spec', 'template', 'metadata', 'labels', 'app'], 'other') as KubeManifest);
        }
        looked ||= name.endsWith('/cronjobs') && name.startsWith('GET');
      },
    );
    expect(edited).toBe(true);
    expect(result.failure?.detail).toMatchObject({ code: 'SP654' });
    expect(result.failure?.message).toContain('Deployment front/web');
    expect(world.written.filter(({ object }) => object === 'Deployment front/web')).toEqual([]);
    expect(world.broken).toEqual([]);
  },
);

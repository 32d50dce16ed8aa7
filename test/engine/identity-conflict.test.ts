// Somebody edits what an advance to identity has just written, while the advance goes on: in a field of ours, or beside one. Whichever
// version a person then keeps, nothing is cut, the run is finished, planned anew, and taken back to where it began.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { repairSteps } from '../../src/cli/commands/resolve.ts';
import type { AppliedStep } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, refKey, refOf } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { getPath, setPath } from '../../src/shared/pure/json.ts';
import type { FieldPath } from '../../src/shared/pure/json.ts';
import type { SavedWorld, Session, World } from './fault-driver.ts';
import { makeWorld, messageFor, objectsOf, openSession } from './fault-driver.ts';

const NS = 'front';
type Keep = 'theirs' | 'ours' | 'before';

let world: World;
let before: SavedWorld;
let start: Readonly<Record<string, unknown>>;
beforeAll(async () => {
  world = makeWorld();
  for (const [namespace, to] of [
    ['back', 'permissive-mtls'],
    [NS, 'strict-mtls'],
  ] as const)
    await withSession(async (session) => {
      expect(await session.advance(namespace, to)).toMatchObject({ outcome: 'done' });
    });
  before = world.save();
  start = objectsOf(world.cluster);
});
afterAll(() => world.dispose());

async function withSession<T>(work: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(world, 'ann');
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

/** A failure that a person would read is an answer; everything else is a bug. */
async function saying(work: () => Promise<unknown>): Promise<string> {
  try {
    const ended = (await work()) as { readonly outcome?: string; readonly failure?: Error } | undefined;
    return `${ended?.outcome ?? 'nothing'}${ended?.failure === undefined ? '' : `: ${messageFor(ended.failure)}`}`;
  } catch (error) {
    if (isFailure(error)) return messageFor(error);
    throw error;
  }
}

interface Edit {
  readonly name: string;
  /** Of which written object the first is edited, once it is there. */
  readonly kind: string;
  readonly path: FieldPath;
  readonly value: string;
}

const POD = ['spec', 'template', 'spec', 'serviceAccountName'];
const EDITS: readonly Edit[] = [
  { name: 'the account of a workload that has just moved', kind: 'Deployment', path: POD, value: 'theirs' },
  {
    name: 'a label on a new account',
    kind: 'ServiceAccount',
    path: ['metadata', 'labels', 'app.kubernetes.io/managed-by'],
    value: 'people',
  },
  {
    name: 'an annotation on a new account',
    kind: 'ServiceAccount',
    path: ['metadata', 'annotations', 'people.example/x'],
    value: 'x',
  },
  {
    name: 'an annotation on a workload that has just moved',
    kind: 'Deployment',
    path: ['metadata', 'annotations', 'people.example/x'],
    value: 'x',
  },
  {
    name: 'the action of a policy that is being rehearsed',
    kind: 'AuthorizationPolicy',
    path: ['spec', 'action'],
    value: 'AUDIT',
  },
];

/** Runs the advance; the edit is made at the first call after the object was written by it. */
async function advanceWith(edit: Edit): Promise<string | undefined> {
  let edited: string | undefined;
  const session: Session = await openSession(world, 'ann', {
    pause: () => {
      if (edited !== undefined) return undefined;
      const mine = session.rig.journal
        .applied()
        .find(({ phase, change }) => phase === 'identity' && changeRef(change).kind === edit.kind);
      const live = mine === undefined ? undefined : liveOf(mine);
      if (live === undefined) return undefined;
      edited = formatRef(refOf(live));
      world.cluster.put(setPath(live, edit.path, edit.value) as KubeManifest, 'people');
      return undefined;
    },
  });
  const plan = await session.planUp(NS, 'identity');
  session.arm();
  await saying(() => session.execute(plan));
  await session.close();
  // Nothing was cut on top of it; from here on a person decides.
  expect(world.broken).toEqual([]);
  return edited;
}

function liveOf({ change }: AppliedStep): KubeManifest | undefined {
  const key = refKey(changeRef(change));
  return world.cluster.objects().find((object) => refKey(refOf(object)) === key);
}

/** What `resolve OBJECT --keep` does. */
async function resolve(object: string, keep: Keep): Promise<void> {
  await withSession(async (session) => {
    const { journal, state } = session.rig;
    const mine = journal.applied().filter(({ change }) => formatRef(changeRef(change)) === object);
    const newest = mine.at(-1);
    const live = newest === undefined ? undefined : liveOf(newest);
    if (newest === undefined || live === undefined) return;
    const drift = checkDrift(mine, world.cluster.objects());
    if (keep === 'ours') {
      for (const { field } of drift) {
        const [step] = repairSteps(object, newest, mine, drift, live);
        expect(step, field.join('.')).toBeDefined();
      }
      const plan = await session.planRepair(repairSteps(object, newest, mine, drift, live), NS);
      if (plan.steps.length > 0) expect(await saying(() => session.execute(plan))).toBe('done');
      return;
    }
    const disputed = new Map<string, FieldPath>();
    for (const one of [...(await session.disputes(NS)), ...drift.map((of) => ({ object: of.object, path: of.field }))])
      if (one.object === object) disputed.set(one.path.join('\n'), one.path);
    state.writer.addResolutions(
      [...disputed.values()].map((path) => {
        const theirs = getPath(live, path);
        return { object, path, ...(theirs === undefined ? {} : { theirs }), keep, by: 'tester', at: world.clock.now() };
      }),
      'the test says so',
      NS,
    );
  });
}

/** Resumes, advances and asks again until it rests, as a person would; what was said on the way. */
async function settle(
  object: string,
  keep: Keep,
  done: (session: Session) => boolean,
  step: (session: Session) => Promise<unknown>,
): Promise<readonly string[]> {
  const said: string[] = [];
  for (let round = 0; round < 6; round += 1) {
    world.clock.advance(66_000);
    const rests = await withSession(async (session) => {
      if (session.rig.journal.openRuns().length > 0) said.push(`resume: ${await saying(() => session.resume())}`);
      // The rest of the run was judged without what a person keeps of theirs: it is taken back, and planned anew.
      if (/^resume: .*SP6(?:17|54) /u.test(said.at(-1) ?? '') && keep !== 'ours')
        said.push(`rollback: ${await saying(() => session.rollback(NS, 'strict-mtls'))}`);
      if (session.rig.journal.openRuns().length > 0) return false;
      if (done(session)) return true;
      said.push(await saying(() => step(session)));
      // What they own by now and a person has left to them stands in the way of a policy of that name: what the run did is taken back, and it goes.
      if (said.at(-1)?.includes('SP651') === true) {
        said.push(`rollback: ${await saying(() => session.rollback(NS, 'strict-mtls'))}`);
        const live = world.cluster.objects().find((one) => formatRef(refOf(one)) === object);
        if (live !== undefined) world.cluster.remove(live);
      }
      return session.rig.journal.openRuns().length === 0 && done(session);
    });
    if (rests) return said;
    await resolve(object, keep);
  }
  throw new Error(`it does not come to rest: ${said.join(' | ')}`);
}

describe.each(EDITS)('somebody changes $name, half-way through identity', (edit) => {
  it.each<Keep>(['theirs', 'ours', 'before'])(
    'and a person keeps %s: nothing is cut, and it goes on and back',
    async (keep) => {
      world.restore(before);
      const object = await advanceWith(edit);
      if (object === undefined) throw new Error('nothing was edited');
      await resolve(object, keep);
      // What is to be put back as it was before goes by the way back; the rest goes on first.
      if (keep !== 'before') {
        await settle(
          object,
          keep,
          ({ rig }) => rig.journal.phases().get(NS) === 'identity',
          (session) => session.advance(NS, 'identity'),
        );
        // Planned anew there is nothing that contradicts what was decided.
        await withSession(async (session) => {
          const { plan } = await session.planDown(NS, 'strict-mtls');
          expect(plan.denied).toEqual([]);
        });
      }
      await settle(
        object,
        keep === 'ours' ? 'before' : keep,
        ({ rig }) =>
          rig.journal.phases().get(NS) === 'strict-mtls' &&
          !rig.journal.applied().some(({ namespace, phase }) => namespace === NS && phase === 'identity'),
        (session) => session.rollback(NS, 'strict-mtls'),
      );
      expect(world.broken).toEqual([]);
      const now = new Map(Object.entries(objectsOf(world.cluster)));
      const key = refKey(
        refOf(world.cluster.objects().find((one) => formatRef(refOf(one)) === object) ?? gone(object)),
      );
      const left = now.get(key);
      now.delete(key);
      const { [key]: first, ...rest } = start;
      expect(Object.fromEntries(now)).toEqual(rest);
      // The object itself: as it was, but for what they wrote where that was to stay, or stood beside ours.
      if (left !== undefined && first !== undefined) {
        const beside = edit.path.includes('people.example/x');
        const wanted =
          keep === 'theirs' || beside
            ? setPath(first as KubeManifest, edit.path.slice(edit.path[0] === 'metadata' ? 1 : 0), edit.value)
            : first;
        expect(left).toEqual(wanted);
      }
    },
  );
});

function gone(object: string): KubeManifest {
  const [kind = '', name = ''] = object.split(' ');
  const [namespace = '', own = ''] = name.split('/');
  const apiVersion = kind === 'AuthorizationPolicy' ? 'security.istio.io/v1' : kind === 'Deployment' ? 'apps/v1' : 'v1';
  return { apiVersion, kind, metadata: { name: own, namespace } };
}

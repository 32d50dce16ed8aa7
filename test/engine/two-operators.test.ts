// Two operators on two machines: what the histories at random have found, and that a plan is refused once the cluster has moved.
import { copyFileSync, rmSync } from 'node:fs';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, refOf } from '../../src/model/object.ts';
import { repairSteps } from '../../src/cli/commands/resolve.ts';
import { changeRef } from '../../src/plan/change.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import { getPath, isJsonObject, setPath } from '../../src/shared/pure/json.ts';
import { withoutServerFields } from '../../src/targets/patch.ts';
import type { FaultKind, Point, SavedWorld, Session, SessionOptions, World } from './fault-driver.ts';
import { Killed, auditProblems, makeWorld, objectsOf, openSession, stateProblems } from './fault-driver.ts';

const world: World = makeWorld();
for (const name of ['ann', 'bob']) world.disk(name);
const pristine: SavedWorld = world.save();
beforeEach(() => world.restore(pristine));
afterAll(() => world.dispose());

async function as<T>(name: string, work: (session: Session) => Promise<T>, options: SessionOptions = {}): Promise<T> {
  const session = await openSession(world, name, { ...options, armLate: true });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

const done = { outcome: 'done', exit: 0 };
const killedBefore =
  (isIt: (point: Point) => boolean): NonNullable<SessionOptions['mischief']> =>
  (point) =>
    isIt(point) ? 'killed before' : undefined;
const isDefaultDeny = ({ name, writes }: Point): boolean => writes && name.startsWith('POST /apis/networking');

describe('a state that has the newest run of a namespace but lacks what came before it', () => {
  it('writes nothing until it has taken that over, and then takes all of it back in order', async () => {
    expect(await as('ann', (ann) => ann.advance('front', 'monitor'))).toMatchObject(done);
    await as('bob', (bob) => bob.rebuild());
    expect(await as('bob', (bob) => bob.advance('front', 'permissive-mtls'))).toMatchObject(done);
    // Opens policies of front as well, so that it is the newest run of both.
    expect(await as('bob', (bob) => bob.advance('back', 'allow-list'))).toMatchObject(done);
    await expect(as('ann', (ann) => ann.rollback('front', 'none'))).rejects.toMatchObject({
      detail: { code: 'SP620' },
    });
    await as('ann', async (ann) => {
      await ann.rebuild();
      expect(ann.rig.journal.phases().get('front')).toBe('permissive-mtls');
    });
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(await as('ann', (ann) => ann.rollback('back', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });

  it('may take over a run that had nothing to do', async () => {
    expect(await as('ann', (ann) => ann.advance('front', 'monitor'))).toMatchObject(done);
    const plan = await as('ann', (ann) => ann.planUp('front', 'monitor'));
    expect(plan.steps).toEqual([]);
    expect(await as('ann', (ann) => ann.execute(plan))).toMatchObject(done);
    await as('bob', (bob) => bob.rebuild());
    expect(await as('bob', (bob) => bob.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
  });
});

describe('a copy of a state with a run that lies interrupted', () => {
  it('does not go on with it where the other one has taken it back', async () => {
    let writes = 0;
    const late = killedBefore((point) => isDefaultDeny(point) && (writes += 1) === 6);
    await expect(as('ann', (ann) => ann.advance('front', 'allow-list'), { mischief: late })).rejects.toThrow(Killed);
    copyFileSync(world.stateFile('ann'), world.stateFile('bob'));
    world.clock.advance(66_000);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    await expect(as('bob', (bob) => bob.resume())).rejects.toMatchObject({ detail: { code: 'SP617', exit: 3 } });
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });

  it('has it open again where the other one went on with it after it was given up here, and takes all of it back', async () => {
    let writes = 0;
    const late = killedBefore((point) => isDefaultDeny(point) && (writes += 1) === 2);
    await expect(as('ann', (ann) => ann.advance('front', 'allow-list'), { mischief: late })).rejects.toThrow(Killed);
    copyFileSync(world.stateFile('ann'), world.stateFile('bob'));
    world.clock.advance(66_000);
    // Gives the run up, cannot say so in the cluster, and is killed before its first step back.
    await expect(
      as('ann', (ann) => ann.rollback('front', 'none'), {
        mischief: ({ what, name, writes: isWrite }) =>
          what === 'state' && name === 'openRun'
            ? 'killed before'
            : what === 'call' && isWrite && name.includes('/configmaps')
              ? '500'
              : undefined,
      }),
    ).rejects.toThrow(Killed);
    let more = 0;
    const later = killedBefore((point) => isDefaultDeny(point) && (more += 1) === 3);
    world.clock.advance(66_000);
    await expect(as('bob', (bob) => bob.resume(), { mischief: later })).rejects.toThrow(Killed);
    world.clock.advance(66_000);
    await as('ann', async (ann) => {
      expect(ann.rig.journal.openRuns()).toEqual([]);
      await ann.rebuild();
      expect(ann.rig.journal.openRuns()).toHaveLength(1);
    });
    expect(stateProblems(world.stateFile('ann'))).toEqual([]);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(stateProblems(world.stateFile('ann'))).toEqual([]);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });

  const isRehearsal = ({ name }: Point): boolean =>
    name.startsWith('POST (dry run)') && name.includes('networkpolicies');
  const nth = (
    n: number,
    isIt: (point: Point) => boolean,
    kind: FaultKind,
  ): NonNullable<SessionOptions['mischief']> => {
    let seen = 0;
    return (point) => (isIt(point) && (seen += 1) === n ? kind : undefined);
  };
  /** Both have the run open, two steps done and the third not begun; then `ann` writes that one, and nothing that is kept says so. */
  const apart = async (): Promise<void> => {
    await expect(
      as('ann', (ann) => ann.advance('front', 'allow-list'), { mischief: nth(3, isRehearsal, 'killed before') }),
    ).rejects.toThrow(Killed);
    copyFileSync(world.stateFile('ann'), world.stateFile('bob'));
    world.clock.advance(66_000);
    await expect(as('ann', (ann) => ann.resume(), { mischief: nth(1, isDefaultDeny, 'killed after') })).rejects.toThrow(
      Killed,
    );
    world.clock.advance(66_000);
  };

  it.each(['resume', 'rollback'] as const)(
    'sees what the other one wrote after it was made, of which no record says anything: %s',
    async (next) => {
      await apart();
      if (next === 'resume')
        expect(await as('bob', (bob) => bob.resume())).toMatchObject({ ...done, failed: [], notRun: [] });
      expect(await as('bob', (bob) => bob.rollback('front', 'none'))).toMatchObject(done);
      expect(objectsOf(world.cluster)).toEqual(world.pristine);
      expect(stateProblems(world.stateFile('bob'))).toEqual([]);
      expect(world.broken).toEqual([]);
    },
  );

  it('finds that even where somebody has edited it since', async () => {
    await apart();
    const mine = world.cluster
      .objects()
      .filter(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name.startsWith('sallyport-'));
    expect(mine).toHaveLength(3);
    for (const object of mine)
      world.cluster.put(setPath(object, ['spec', 'policyTypes'], ['Ingress', 'Egress']) as KubeManifest, 'people');
    await as('bob', async (bob) => {
      // Three of which a person decides, and none forgotten.
      await expect(bob.rollback('front', 'none')).rejects.toMatchObject({ detail: { code: 'SP606' } });
      expect(bob.rig.journal.applied().filter(({ phase }) => phase === 'allow-list')).toHaveLength(3);
    });
  });

  it('keeps what it wrote and the other one never knew of, when it takes over the record of that one', async () => {
    expect(await as('ann', (ann) => ann.advance('front', 'monitor'))).toMatchObject(done);
    await expect(
      as('ann', (ann) => ann.advance('front', 'allow-list'), { mischief: nth(3, isRehearsal, 'killed before') }),
    ).rejects.toThrow(Killed);
    copyFileSync(world.stateFile('ann'), world.stateFile('bob'));
    world.clock.advance(66_000);
    // Gives the run up and cannot say so in the cluster.
    await expect(
      as('bob', (bob) => bob.rollback('front', 'monitor'), {
        mischief: ({ what, name, writes: isWrite }) =>
          what === 'state' && name === 'openRun'
            ? 'killed before'
            : what === 'call' && isWrite && name.includes('/configmaps')
              ? '500'
              : undefined,
      }),
    ).rejects.toThrow(Killed);
    world.clock.advance(66_000);
    // Two more are written meanwhile, one known to be done and one begun; the record stays behind.
    let posts = 0;
    await expect(
      as('ann', (ann) => ann.resume(), {
        mischief: (point) =>
          isDefaultDeny(point) && (posts += 1) === 2
            ? 'killed after'
            : point.what === 'call' && point.writes && point.name.includes('/configmaps') && posts > 0
              ? '500'
              : undefined,
      }),
    ).rejects.toThrow(Killed);
    world.clock.advance(66_000);
    expect(await as('bob', (bob) => bob.rollback('front', 'monitor'))).toMatchObject({ outcome: 'done' });
    await expect(as('ann', (ann) => ann.resume())).rejects.toMatchObject({ detail: { code: 'SP620' } });
    world.clock.advance(66_000);
    await as('ann', async (ann) => {
      await ann.rebuild();
      expect(ann.rig.journal.openRuns()).toEqual([]);
      expect(ann.rig.journal.applied().filter(({ phase }) => phase === 'allow-list')).toHaveLength(2);
    });
    expect(stateProblems(world.stateFile('ann'))).toEqual([]);
    // What is kept says so now, and the one who never knew of it hears of it.
    await expect(as('bob', (bob) => bob.rollback('front', 'none'))).rejects.toMatchObject({
      detail: { code: 'SP620' },
    });
    await as('bob', (bob) => bob.rebuild());
    expect(await as('bob', (bob) => bob.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });

  it.each(['finished', 'given up'])(
    'refuses to write once the run was %s elsewhere, though no step is missing',
    async (how) => {
      const isClose = ({ what, name }: Point): boolean => what === 'state' && name === 'closeRun';
      await expect(
        as('ann', (ann) => ann.advance('front', 'allow-list'), {
          mischief: how === 'finished' ? nth(1, isClose, 'killed before') : nth(3, isRehearsal, 'killed before'),
        }),
      ).rejects.toThrow(Killed);
      copyFileSync(world.stateFile('ann'), world.stateFile('bob'));
      world.clock.advance(66_000);
      if (how === 'finished') expect(await as('bob', (bob) => bob.resume())).toMatchObject(done);
      else
        await expect(
          as('bob', (bob) => bob.rollback('front', 'none'), {
            mischief: ({ what, name }) => (what === 'state' && name === 'openRun' ? 'killed before' : undefined),
          }),
        ).rejects.toThrow(Killed);
      world.clock.advance(66_000);
      const before = objectsOf(world.cluster);
      await expect(as('ann', (ann) => ann.resume())).rejects.toMatchObject({
        detail: { code: 'SP620', exit: 5, message: expect.stringContaining('was ended elsewhere') as unknown },
      });
      expect(objectsOf(world.cluster)).toEqual(before);
      await as('ann', async (ann) => {
        await ann.rebuild();
        expect(ann.rig.journal.openRuns()).toEqual([]);
      });
      expect(stateProblems(world.stateFile('ann'))).toEqual([]);
      expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
      expect(objectsOf(world.cluster)).toEqual(world.pristine);
      expect(world.broken).toEqual([]);
    },
  );

  it('does not begin it anew where all of it was taken back elsewhere', async () => {
    const isDone = ({ what, name }: Point): boolean => what === 'state' && name === 'stepDone';
    await expect(
      as('bob', (bob) => bob.advance('front', 'allow-list'), { mischief: nth(1, isDone, 'killed before') }),
    ).rejects.toThrow(Killed);
    copyFileSync(world.stateFile('bob'), world.stateFile('ann'));
    world.clock.advance(66_000);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    // The one who still has it open neither begins it anew...
    await expect(as('bob', (bob) => bob.resume())).rejects.toMatchObject({ detail: { code: 'SP617', exit: 3 } });
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    await expect(as('bob', (bob) => bob.rollback('front', 'none'))).rejects.toMatchObject({
      detail: { code: 'SP224' },
    });
    expect(await as('bob', (bob) => bob.advance('front', 'monitor'))).toMatchObject(done);
    expect(world.broken).toEqual([]);
  });

  it('hears that the run was done again after it was taken back here', async () => {
    await expect(
      as('bob', (bob) => bob.advance('front', 'allow-list'), {
        mischief: ({ what, name }) => (what === 'state' && name === 'stepStarted' ? 'killed before' : undefined),
      }),
    ).rejects.toThrow(Killed);
    copyFileSync(world.stateFile('bob'), world.stateFile('ann'));
    world.clock.advance(66_000);
    expect(await as('ann', (ann) => ann.resume())).toMatchObject(done);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    // Nothing was begun when the copy was made, so nothing tells that it is over.
    expect(await as('bob', (bob) => bob.resume())).toMatchObject(done);
    await expect(as('ann', (ann) => ann.advance('front', 'monitor'))).rejects.toMatchObject({
      detail: { code: 'SP620' },
    });
    await as('ann', (ann) => ann.rebuild());
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });

  it('takes back what it has, though its folder has a record from before somebody else began anew', async () => {
    expect(await as('ann', (ann) => ann.advance('front', 'monitor'))).toMatchObject(done);
    copyFileSync(world.stateFile('ann'), world.stateFile('bob'));
    expect(await as('bob', (bob) => bob.rollback('front', 'none'))).toMatchObject(done);
    rmSync(world.stateFile('bob'));
    expect(await as('bob', (bob) => bob.advance('front', 'allow-list'))).toMatchObject(done);
    copyFileSync(world.stateFile('bob'), world.stateFile('ann'));
    await expect(as('ann', (ann) => ann.rollback('front', 'none'))).rejects.toMatchObject({
      detail: { code: 'SP620' },
    });
    await as('ann', (ann) => ann.rebuild());
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });

  it('keeps what it knows to be done when it takes over an older record', async () => {
    const late = killedBefore(({ what, name }) => what === 'call' && name.startsWith('PUT /api/v1'));
    await expect(as('ann', (ann) => ann.advance('front', 'allow-list'), { mischief: late })).rejects.toThrow(Killed);
    world.clock.advance(66_000);
    await as('ann', async (ann) => {
      const before = ann.rig.journal.stepsOf(ann.rig.journal.openRuns()[0]?.id ?? '').map(({ state }) => state);
      expect(before).toContain('done');
      await ann.rebuild();
      expect(ann.rig.journal.stepsOf(ann.rig.journal.openRuns()[0]?.id ?? '').map(({ state }) => state)).toEqual(
        before,
      );
      expect(await ann.resume()).toMatchObject(done);
    });
  });
});

describe('an undecided step whose very field somebody has edited', () => {
  const isEdit = ({ what, name, writes }: Point): boolean =>
    what === 'call' && writes && name.startsWith('PATCH') && name.endsWith('/deployments/web');
  const find = (kind: string, name: string): KubeManifest => {
    const found = world.cluster.objects().find((one) => one.kind === kind && one.metadata.name === name);
    if (found === undefined) throw new Error(`${kind} ${name} is not there`);
    return found;
  };

  /** Killed at the edit of a workload; then somebody writes another value into the field of ours. */
  async function edited(kind: FaultKind): Promise<KubeManifest> {
    await expect(
      as('ann', (ann) => ann.advance('front', 'permissive-mtls'), {
        mischief: (point) => (isEdit(point) ? kind : undefined),
      }),
    ).rejects.toThrow(Killed);
    world.clock.advance(66_000);
    const [field] = await as('ann', (ann) => {
      const begun = ann.rig.journal.stepsOf(ann.rig.journal.openRuns()[0]?.id ?? '');
      const change = begun.find(({ state }) => state === 'started')?.change;
      return Promise.resolve(change?.kind === 'edit' ? change.fields : []);
    });
    if (field === undefined) throw new Error('no edit was begun');
    const theirs = setPath(find('Deployment', 'web'), field.path, 'theirs') as KubeManifest;
    world.cluster.put(theirs, 'people');
    return theirs;
  }

  const decide = (keep: 'theirs' | 'before'): Promise<void> =>
    as('ann', async (ann) => {
      ann.rig.state.writer.addResolutions(
        (await ann.disputes('front')).map(({ object, path, theirs }) => ({
          object,
          path,
          ...(theirs === undefined ? {} : { theirs }),
          keep,
          by: 'ann',
          at: world.clock.now(),
        })),
        'a test',
        'front',
      );
    });

  it.each(
    (['killed before', 'killed after'] as const).flatMap((kind) =>
      (['ours', 'theirs', 'before'] as const).map((keep) => ({ kind, keep })),
    ),
  )('is not gone over, and a way back asks which version stays: $kind, keep $keep', async ({ kind, keep }) => {
    const theirs = await edited(kind);
    await expect(as('ann', (ann) => ann.resume())).rejects.toMatchObject({ detail: { code: 'SP603' } });
    await expect(as('ann', (ann) => ann.rollback('front', 'none'))).rejects.toMatchObject({
      detail: { code: 'SP606' },
    });
    // Nothing is written before a person has decided, and the phase that the step was to end is not reached.
    expect(find('Deployment', 'web')['spec']).toEqual(theirs['spec']);
    expect(await as('ann', ({ rig }) => Promise.resolve(rig.journal.phases().get('front')))).toBe('allow-list');
    if (keep === 'ours')
      await as('ann', async (ann) => {
        const name = 'Deployment front/web';
        const live = find('Deployment', 'web');
        const mine = ann.rig.journal.applied().filter(({ change }) => formatRef(changeRef(change)) === name);
        const newest = mine.at(-1);
        if (newest === undefined) throw new Error('not on record');
        const steps = repairSteps(name, newest, mine, checkDrift(mine, [live]), live);
        expect(await ann.execute(await ann.planRepair(steps, 'front'))).toMatchObject(done);
      });
    else await decide(keep);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    const { 'apps/Deployment/front/web': web, ...rest } = objectsOf(world.cluster);
    const { 'apps/Deployment/front/web': before, ...others } = world.pristine;
    expect(rest).toEqual(others);
    if (keep === 'theirs') expect(web).toMatchObject({ spec: theirs['spec'] });
    else expect(web).toEqual(before);
    expect(stateProblems(world.stateFile('ann'))).toEqual([]);
    expect(auditProblems(world.stateFile('ann'))).toEqual([]);
  });

  it('of a way back stays on record, and is asked about when it is planned anew', async () => {
    expect(await as('ann', (ann) => ann.advance('front', 'permissive-mtls'))).toMatchObject(done);
    const path = ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'];
    await expect(as('ann', (ann) => ann.rollback('front', 'none'), { mischief: killedBefore(isEdit) })).rejects.toThrow(
      Killed,
    );
    world.clock.advance(66_000);
    world.cluster.put(setPath(find('Deployment', 'web'), path, 'theirs') as KubeManifest, 'people');
    await expect(as('ann', (ann) => ann.resume())).rejects.toMatchObject({ detail: { code: 'SP603' } });
    await expect(as('ann', (ann) => ann.rollback('front', 'none'))).rejects.toMatchObject({
      detail: { code: 'SP606' },
    });
    await decide('before');
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
  });

  it('on an object that was made anew since is nothing of ours, and holds up neither', async () => {
    const theirs = await edited('killed before');
    world.cluster.remove(theirs);
    world.cluster.put(withoutServerFields(theirs), 'people');
    expect(await as('ann', (ann) => ann.resume())).toMatchObject({
      outcome: 'partial',
      failure: { detail: { code: 'SP601' } },
    });
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(find('Deployment', 'web')['spec']).toEqual(theirs['spec']);
  });

  it('is nobody’s to decide where the object is not ours: it stops both until it is gone', async () => {
    const isCreate = ({ name, writes }: Point): boolean => writes && name.startsWith('POST /apis/security');
    await expect(
      as('ann', (ann) => ann.advance('front', 'permissive-mtls'), { mischief: killedBefore(isCreate) }),
    ).rejects.toThrow(Killed);
    world.clock.advance(66_000);
    const begun = await as('ann', ({ rig: { journal } }) =>
      Promise.resolve(journal.stepsOf(journal.openRuns()[0]?.id ?? '').find(({ state }) => state === 'started')),
    );
    if (begun?.change?.kind !== 'create') throw new Error('no creation was begun');
    const { object } = begun.change;
    world.cluster.put(
      { ...object, metadata: { name: object.metadata.name, namespace: 'front' }, spec: { mtls: { mode: 'DISABLE' } } },
      'people',
    );
    for (const go of [(ann: Session) => ann.resume(), (ann: Session) => ann.rollback('front', 'none')])
      await expect(as<unknown>('ann', go)).rejects.toMatchObject({ detail: { code: 'SP603' } });
    world.cluster.remove(object);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
  });
});

describe('an undecided step on an object that is gone by now', () => {
  it('is closed with its run: nothing of it is left', async () => {
    const isEdit = ({ what, name, writes }: Point): boolean =>
      what === 'call' && writes && name.startsWith('PATCH') && name.endsWith('/deployments/web');
    await expect(
      as('ann', (ann) => ann.advance('front', 'permissive-mtls'), { mischief: killedBefore(isEdit) }),
    ).rejects.toThrow(Killed);
    const web = world.cluster.objects().find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'web');
    if (web === undefined) throw new Error('web is not there');
    world.cluster.remove(web);
    world.clock.advance(66_000);
    expect(await as('ann', (ann) => ann.rollback('front', 'none'))).toMatchObject(done);
    expect(stateProblems(world.stateFile('ann'))).toEqual([]);
  });
});

describe('a run that the cluster failed', () => {
  it('stays open, says what to do, and resume goes on with its own plan', async () => {
    const result = await as('ann', (ann) => ann.advance('front', 'allow-list'), {
      mischief: ({ name }) => (name.includes('(dry run)') && name.includes('networkpolicies') ? '500' : undefined),
    });
    expect(result).toMatchObject({ outcome: 'partial', exit: 4, failure: { detail: { code: 'SP450' } } });
    expect(result.failure?.detail.hint).toContain('sallyport resume');
    world.clock.advance(66_000);
    expect(await as('ann', (ann) => ann.resume())).toMatchObject({ ...done, run: result.run, failed: [], notRun: [] });
  });
});

describe('a cluster that moved since the plan was made', () => {
  it('refuses each step whose object is not as it was, writes nothing of it, and all comes back', async () => {
    const plan = await as('ann', (ann) => ann.planUp('front', 'permissive-mtls'));
    const all = world.cluster.objects();
    for (const step of plan.steps) {
      world.restore(pristine);
      const ref = formatRef(changeRef(step.change));
      const { change } = step;
      const live = all.find((object) => formatRef(refOf(object)) === ref);
      // Objects that an earlier step of the plan makes cannot be anybody else's yet.
      if (change.kind === 'edit' && live === undefined) continue;
      const theirs =
        change.kind === 'create'
          ? { ...change.object, metadata: { ...change.object.metadata, labels: { theirs: 'yes' } } }
          : change.kind === 'edit' && live !== undefined
            ? (setPath(
                live,
                change.fields[0]?.path ?? [],
                isJsonObject(change.fields[0]?.after) ? { theirs: 'yes' } : 'theirs',
              ) as KubeManifest)
            : undefined;
      if (theirs === undefined) continue;
      world.cluster.put(theirs, 'somebody');
      // Another step may write elsewhere in the same object.
      const path = change.kind === 'edit' ? (change.fields[0]?.path ?? []) : ['metadata', 'labels'];
      const valueNow = (): unknown => getPath(world.cluster.get(theirs) ?? {}, path);
      const before = valueNow();
      const result = await as('ann', (ann) => ann.execute(plan));
      // At its own step, or before an earlier one that rests on it.
      expect(result, step.id).toMatchObject({ outcome: 'partial', exit: 3 });
      expect(['SP601', 'SP654'], step.id).toContain(result.failure?.detail.code);
      expect(result.failure?.message, step.id).toContain(ref);
      expect(valueNow(), step.id).toEqual(before);
      expect(world.broken, step.id).toEqual([]);
    }
  });
});

describe('a state that is lost', () => {
  it('is rebuilt from the cluster in the middle of a run, and the run goes on', async () => {
    let writes = 0;
    const late = killedBefore((point) => isDefaultDeny(point) && (writes += 1) === 4);
    await expect(as('ann', (ann) => ann.advance('front', 'allow-list'), { mischief: late })).rejects.toThrow(Killed);
    rmSync(world.stateFile('ann'));
    world.disk('ann').kept.clear();
    world.clock.advance(66_000);
    await as('bob', (bob) => bob.rebuild());
    expect(await as('bob', (bob) => bob.resume())).toMatchObject({ outcome: 'done', phase: 'allow-list' });
    expect(await as('bob', (bob) => bob.rollback('front', 'none'))).toMatchObject(done);
    expect(objectsOf(world.cluster)).toEqual(world.pristine);
    expect(world.broken).toEqual([]);
  });
});

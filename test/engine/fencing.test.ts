// One pair of hands, whatever the clocks say and however long a process stands still: an operator that is stopped at any point of a run, while
// somebody else takes over, writes nothing more when it goes on.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Point, SavedWorld, Session, SessionOptions, World } from './fault-driver.ts';
import { auditProblems, makeWorld, objectsOf, openSession, stateProblems } from './fault-driver.ts';
import { picker, settings } from './matrix.ts';

const HOUR = 3_600_000;
const FIVE_MINUTES = 300_000;

type TakeOver = 'takes it back' | 'finishes it' | 'only holds it';

interface Clocks {
  readonly name: string;
  readonly ann: () => number;
  readonly bob: () => number;
}

let world: World;
let pristine: SavedWorld;
let plainPoints: readonly Point[];
let stopped = false;

/** `stopped`: the clock of the machine was set back while the process stood still. */
const CLOCKS: readonly Clocks[] = [
  { name: 'clocks that agree', ann: () => 0, bob: () => 0 },
  { name: 'an hour behind, the other one ahead', ann: () => -HOUR, bob: () => HOUR },
  { name: 'an hour ahead, the other one behind', ann: () => HOUR, bob: () => -HOUR },
  { name: 'a clock set back by an hour meanwhile', ann: () => (stopped ? -HOUR : 0), bob: () => 0 },
];

const MOVE: readonly [string, PhaseName] = ['front', 'allow-list'];

/** All of it back; a run that had written nothing is only closed. */
async function home(session: Session): Promise<void> {
  try {
    await session.rollback('front', 'none');
  } catch (error) {
    if (!isFailure(error) || error.detail.code !== 'SP224') throw error;
  }
}

/** The other operator, on another machine, without any state: from what is kept in the cluster. */
async function takeOver(how: TakeOver, clocks: Clocks): Promise<void> {
  const bob = await openSession(world, 'bob', { skewMs: clocks.bob });
  if (how === 'only holds it') {
    const hold = await bob.rig.target.acquire(['front', 'back'], 'bob run elsewhere');
    // Bob's process lasts for as long as ann's goes on.
    await hold.assertHeld();
  } else {
    await bob.rebuild();
    const begun = bob.rig.journal.openRuns().length > 0 || bob.rig.journal.applied().length > 0;
    if (how === 'finishes it') {
      if ((await bob.resume()) === undefined && bob.rig.journal.phases().get('front') !== MOVE[1])
        await bob.advance(...MOVE);
    } else {
      // Nothing is kept yet: the other one goes the whole way there and back.
      if (!begun) await bob.advance(...MOVE);
      await home(bob);
    }
  }
  await bob.close();
}

const configs = (): unknown =>
  world.cluster.objects().filter((object) => object.metadata.name.startsWith('sallyport-undo-'));

async function startRun(options: SessionOptions): Promise<Session> {
  world.restore(pristine);
  return openSession(world, 'ann', options);
}

beforeAll(async () => {
  world = makeWorld();
  world.disk('ann');
  world.disk('bob');
  pristine = world.save();
  const ann = await startRun({});
  const plan = await ann.planUp(...MOVE);
  ann.arm();
  expect(await ann.execute(plan)).toMatchObject({ outcome: 'done', exit: 0 });
  plainPoints = ann.points;
  await ann.close();
});
afterAll(() => world.dispose());

describe('an operator that is stopped for longer than its Leases last', () => {
  const { seed, every } = settings();
  const cases = CLOCKS.flatMap((clocks) =>
    (['takes it back', 'finishes it', 'only holds it'] as const).map((how) => ({ clocks, how })),
  );
  it.each(cases)('$clocks.name: another $how, and nothing is written by two', async ({ clocks, how }) => {
    let histories = 0;
    const picks = picker(
      seed * 31 + cases.findIndex((one) => one.clocks === clocks && one.how === how),
      Math.min(every, 6),
    );
    const calls = plainPoints.filter((point) => point.what === 'call');
    // The last ones give the Leases back: there nothing is left to write.
    for (const { number, name } of calls) {
      if (!picks()) continue;
      histories += 1;
      stopped = false;
      let left: { readonly objects: unknown; readonly kept: unknown; readonly writes: number } | undefined;
      const ann = await startRun({
        skewMs: clocks.ann,
        pause: (point) => {
          if (point.number !== number || left !== undefined) return undefined;
          stopped = true;
          world.clock.advance(FIVE_MINUTES);
          return takeOver(how, clocks).then(() => {
            left = { objects: objectsOf(world.cluster), kept: configs(), writes: world.written.length };
          });
        },
      });
      const where = `stopped at ${number}: ${name}`;
      const plan = await ann.planUp(...MOVE);
      ann.arm();
      const result = await ann.execute(plan).catch((error: unknown) => {
        if (!isFailure(error)) throw error;
        return { outcome: error.message };
      });
      await ann.close();
      expect(left, where).toBeDefined();
      expect(world.broken, where).toEqual([]);
      // Whoever is stopped before it takes the Lease just waits for its turn, unless the other one still holds it.
      const begun = number > plainPoints.findIndex((point) => point.name.startsWith('POST') && point.writes) + 1;
      if (begun) {
        expect(world.written.slice(left?.writes), where).toEqual([]);
        expect(objectsOf(world.cluster), where).toEqual(left?.objects);
        expect(configs(), where).toEqual(left?.kept);
      }
      expect(stateProblems(world.stateFile('ann')), where).toEqual([]);
      if (how === 'only holds it') world.clock.advance(66_000);

      // What the stopped one has on record is behind now: it refuses, until it has taken over what the other did.
      const again = await openSession(world, 'ann', { skewMs: clocks.ann });
      await again.rebuild();
      for (let tries = 0; tries < 3; tries += 1) {
        if (again.rig.journal.phases().get('front') === undefined && again.rig.journal.openRuns().length === 0) break;
        await home(again);
      }
      expect(objectsOf(world.cluster), `${where}: ${result.outcome}`).toEqual(world.pristine);
      expect(again.rig.journal.applied(), where).toEqual([]);
      await again.close();
      expect(world.broken, where).toEqual([]);
      expect(auditProblems(world.stateFile('ann')), where).toEqual([]);
    }
    expect(histories).toBeGreaterThan(0);
  });
});

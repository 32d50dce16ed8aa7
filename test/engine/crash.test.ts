import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { PHASES } from '../../src/model/phase.ts';
import { EXIT } from '../../src/shared/pure/errors.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { Rig } from '../support/rig.ts';
import { NOW, twoTeamsEdges } from '../support/rig.ts';
import type { Image, Place } from './images.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import {
  imaging,
  keptBeside,
  makePlace,
  openPlace,
  outcomeOf,
  readObjects,
  restore,
  undoneByBundles,
} from './images.ts';
import { deniedBy, soaking } from './soaking.ts';

type Move = readonly ['up' | 'down', namespace: string, to: PhaseName];

const UP: readonly Move[] = [
  ['up', 'back', 'permissive-mtls'],
  ['up', 'front', 'identity'],
  ['up', 'back', 'identity'],
];
const between = (low: PhaseName, high: PhaseName): string => `front between ${low} and ${high}`;

interface Scenario {
  readonly name: string;
  readonly before: readonly Move[];
  readonly run: Move;
  /** Where a rollback leads instead of finishing. */
  readonly back: PhaseName;
}

/** One phase at a time, up and down; the server `back` is first in the mesh, later behind identity and loosened on the way down. */
const SCENARIOS: readonly Scenario[] = [
  ...PHASES.slice(1).map((to, index): Scenario => {
    const from = PHASES[index] ?? 'none';
    const before: readonly Move[] = from === 'none' ? UP.slice(0, 1) : [...UP.slice(0, 1), ['up', 'front', from]];
    return { name: `up, ${between(from, to)}`, before, run: ['up', 'front', to], back: from };
  }),
  {
    name: 'up, a server after its callers',
    before: [...UP.slice(0, 2), ['up', 'back', 'strict-mtls']],
    run: ['up', 'back', 'identity'],
    back: 'strict-mtls',
  },
  ...PHASES.slice(1).map((from, index): Scenario => {
    const to = PHASES[index] ?? 'none';
    const before: readonly Move[] = from === 'identity' ? UP : [...UP, ['down', 'front', from]];
    return { name: `down, ${between(to, from)}`, before, run: ['down', 'front', to], back: to };
  }),
];

async function go(rig: Rig, [direction, namespace, to]: Move): Promise<void> {
  const result = direction === 'up' ? await rig.advance(namespace, to) : await rig.rollback(namespace, to);
  expect(result).toMatchObject({ outcome: 'done', phase: to, exit: 0 });
}

describe.each(SCENARIOS)('killed at any point: $name', ({ before, run, back }) => {
  let place: Place;
  const images: Image[] = [];
  let start: Awaited<ReturnType<typeof outcomeOf>>;
  let end: Awaited<ReturnType<typeof outcomeOf>>;
  let pristine: readonly KubeManifest[];

  beforeAll(async () => {
    place = makePlace();
    pristine = await readObjects(place);
    const rig = await openPlace(place, keptBeside(place));
    for (const move of before) await go(rig, move);
    start = await outcomeOf(place, rig);
    await rig.close();
    const watched = await openPlace(place, { ...keptBeside(place), wrap: imaging(place, images) });
    await go(watched, run);
    end = await outcomeOf(place, watched);
    await watched.close();
  });
  afterAll(() => place.dispose());

  it('has a crash image before and after each write and each record of it', () => {
    expect(images.length).toBeGreaterThan(3);
    expect(end.tree).not.toEqual(start.tree);
  });

  it('what lies beside the state takes all of it back without Sallyport, and does no harm twice', async () => {
    for (const image of images) {
      restore(place, image);
      const once = undoneByBundles(place, await readObjects(place));
      expect(once, image.name).toEqual(pristine);
      expect(undoneByBundles(place, once), image.name).toEqual(pristine);
    }
  });

  it('resume ends where the uninterrupted run ends', async () => {
    for (const image of images) {
      restore(place, image);
      const rig = await openPlace(place);
      const [open] = rig.journal.openRuns();
      expect(open, image.name).toBeDefined();
      const result = await resumeRun(open?.id ?? '', rig.engine);
      expect(result, image.name).toMatchObject({ outcome: 'done', phase: run[2], failed: [], notRun: [], exit: 0 });
      expect(await outcomeOf(place, rig), image.name).toEqual(end);
      await rig.close();
    }
  });

  it(`rollback to ${back} restores the start, to the byte`, async () => {
    for (const image of images) {
      restore(place, image);
      const rig = await openPlace(place);
      for (const open of rig.journal.openRuns()) await settleOpenRun(open.id, rig.engine);
      const namespace = run[1];
      const result = await rig.rollback(namespace, back).catch((error: unknown) => {
        throw new Error(`${image.name}: ${String(error)}`, { cause: error });
      });
      expect(result, image.name).toMatchObject({ outcome: 'done', phase: back });
      expect(await outcomeOf(place, rig), image.name).toEqual(run[0] === 'up' ? start : end);
      await rig.close();
    }
  });
});

const WATCHED = [
  { name: 'a run that passes', options: {}, outcome: 'done', exit: EXIT.done },
  {
    name: 'a run that is pulled back in its middle',
    options: { verdict: deniedBy('front/Deployment/web -> back/Deployment/api 8080', 'web-egress') },
    outcome: 'undone',
    exit: EXIT.pulledBack,
  },
  {
    name: 'a run that is pulled back after its last step',
    options: { verdict: deniedBy('back/Deployment/api -> front/Deployment/web 8080', 'default') },
    outcome: 'undone',
    exit: EXIT.pulledBack,
  },
] as const;

describe.each(WATCHED)('killed at any point of a watch: $name', ({ options, outcome, exit }) => {
  let place: Place;
  let run: string;
  const clock = simulatedClock(NOW);
  const images: Image[] = [];
  let start: Awaited<ReturnType<typeof outcomeOf>>;
  let end: Awaited<ReturnType<typeof outcomeOf>>;
  const watched = (rig: Rig): Engine => soaking(rig, twoTeamsEdges(), options)(rig.engine);

  beforeAll(async () => {
    place = makePlace();
    const rig = await openPlace(place, { clock });
    start = await outcomeOf(place, rig);
    const plan = await rig.planUp('front', 'allow-list');
    const result = await executePlan(plan, 'advance', imaging(place, images)(watched(rig)));
    expect(result).toMatchObject({ outcome, exit });
    ({ run } = result);
    end = await outcomeOf(place, rig);
    await rig.close();
  });
  afterAll(() => place.dispose());

  it('has images of the watch, and of the pull-back where there is one', () => {
    expect(images.some(({ name }) => name.includes('the watch'))).toBe(true);
    expect(images.some(({ name }) => name.includes('is pulled back'))).toBe(outcome === 'undone');
  });

  it('resume ends where the uninterrupted run ends', async () => {
    for (const image of images) {
      restore(place, image);
      const rig = await openPlace(place, { clock });
      const open = rig.journal.openRuns();
      expect(open, image.name).toHaveLength(1);
      const result = await resumeRun(open[0]?.id ?? '', watched(rig));
      expect(result, image.name).toMatchObject({ outcome, exit });
      expect(result.run, image.name).toBe(run);
      expect(await outcomeOf(place, rig), image.name).toEqual(end);
      await rig.close();
    }
  });

  it('rollback restores the start, to the byte', async () => {
    for (const image of images) {
      restore(place, image);
      const rig = await openPlace(place, { clock });
      for (const open of rig.journal.openRuns()) await settleOpenRun(open.id, rig.engine);
      expect(await rig.rollback('front', 'none'), image.name).toMatchObject({ outcome: 'done', phase: 'none' });
      expect(await outcomeOf(place, rig), image.name).toEqual(start);
      await rig.close();
    }
  });
});

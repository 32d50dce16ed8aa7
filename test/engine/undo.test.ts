// What a run does with the places where its way back is kept: first of all, and where they fail.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeptUndo, UndoStore } from '../../src/engine/contract.ts';
import { executePlan, resumeRun } from '../../src/engine/run.ts';
import { refreshBetweenSteps } from '../../src/engine/undo.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { readTree } from '../support/folder.ts';
import type { Rig } from '../support/rig.ts';
import type { Place } from './images.ts';
import { makePlace, openPlace } from './images.ts';

interface Memory extends UndoStore {
  readonly kept: Map<string, KeptUndo>;
  /** Set to have every write and removal fail. */
  broken: boolean;
  writes: number;
}

function memory(): Memory {
  const store: Memory = {
    kept: new Map(),
    broken: false,
    writes: 0,
    place: 'the memory of a test',
    exposed: false,
    stepwise: true,
    read: (namespace) => Promise.resolve(store.kept.get(namespace)?.record as unknown as Json | undefined),
    list: () => Promise.resolve([]),
    write: (kept) => {
      if (store.broken) return Promise.reject(failure());
      store.writes += 1;
      store.kept.set(kept.namespace, kept);
      return Promise.resolve();
    },
    remove: (namespace) => {
      if (store.broken) return Promise.reject(failure());
      store.kept.delete(namespace);
      return Promise.resolve();
    },
  };
  return store;
}

const failure = (): Failure => new Failure({ code: 'SP403', exit: EXIT.cluster, message: 'you may not', hint: 'ask' });

let place: Place;
let store: Memory;
let rig: Rig;
beforeEach(async () => {
  place = makePlace();
  store = memory();
  rig = await openPlace(place, { undo: [store] });
});
afterEach(async () => {
  await rig.close();
  place.dispose();
});

describe('a way back that cannot be kept', () => {
  it('keeps a run from its first write, leaves none open, and the next one is free to begin', async () => {
    const start = await readTree(place.cluster);
    store.broken = true;
    const plan = await rig.planUp('front', 'allow-list');
    await expect(executePlan(plan, 'advance', rig.engine)).rejects.toMatchObject({
      detail: { code: 'SP403', exit: EXIT.cluster, message: expect.stringContaining('nothing was written') as string },
    });
    expect(await readTree(place.cluster)).toEqual(start);
    expect(rig.journal.openRuns()).toEqual([]);
    expect(rig.journal.applied()).toEqual([]);
    store.broken = false;
    expect(await rig.advance('front', 'allow-list')).toMatchObject({ outcome: 'done', exit: 0 });
  });

  it('does not keep anybody from taking back: what was kept before undoes all of it', async () => {
    const start = await readTree(place.cluster);
    await rig.advance('front', 'allow-list');
    store.broken = true;
    expect(await rig.rollback('front', 'none')).toMatchObject({ outcome: 'done', phase: 'none', exit: 0 });
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('in the middle of a run is said, and stops nothing', async () => {
    const said: string[] = [];
    const engine = {
      ...rig.engine,
      emit: (event: { readonly kind: string }): void => {
        said.push(event.kind);
        if (event.kind === 'step-started') store.broken = true;
      },
    };
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', engine);
    expect(result).toMatchObject({ outcome: 'done', phase: 'allow-list' });
    expect(said).toContain('undo-not-kept');
  });
});

describe('what is kept', () => {
  it('is there before the first write, with every step that may follow, and follows the run to its end', async () => {
    const plan = await rig.planUp('front', 'allow-list');
    let first: KeptUndo | undefined;
    const engine = {
      ...rig.engine,
      target: {
        ...rig.target,
        apply: (change: Parameters<typeof rig.target.apply>[0]) => {
          first ??= store.kept.get('front');
          return rig.target.apply(change);
        },
      },
    };
    await executePlan(plan, 'advance', engine);
    expect(first?.record.steps.map(({ step }) => step.id)).toEqual(plan.steps.map(({ id }) => id));
    expect(first?.script.match(/^run kubectl|^try kubectl/gmu)).toHaveLength(plan.steps.length);
    expect(first?.record.settled).toBe(0);
    const last = store.kept.get('front')?.record;
    expect(last).toMatchObject({ phase: 'allow-list', settled: plan.steps.length, runs: [{ outcome: 'done' }] });
    await rig.rollback('front', 'none');
    expect(store.kept.size).toBe(0);
  });
});

describe('what keeping between steps costs', () => {
  /** Steps written over a run of so many, as a journal tells them. */
  const costOf = async (length: number): Promise<number> => {
    let steps = 0;
    const counting = memory();
    const store: UndoStore = {
      ...counting,
      write: (kept) => {
        steps += kept.record.steps.length;
        return Promise.resolve();
      },
    };
    const plan = await rig.planUp('front', 'allow-list');
    const [step] = plan.steps;
    if (step === undefined) throw new Error('no step');
    let settled = 0;
    const journal = {
      ...rig.journal,
      applied: () => [],
      headOf: (id: string) => ({
        id,
        kind: 'advance' as const,
        namespace: 'front',
        from: plan.from,
        to: plan.to,
        planHash: plan.hash,
        startedAt: 0,
        by: 'x',
      }),
      stepsOf: (run: string) =>
        Array.from({ length }, (_, index) => ({
          seq: index + 1,
          run,
          index,
          step,
          state: index < settled ? ('done' as const) : ('pending' as const),
        })),
    };
    for (settled = 1; settled <= length; settled += 1)
      await refreshBetweenSteps('r', ['front'], { ...rig.engine, journal, undo: [store] });
    return steps;
  };

  it('grows with the steps of a run, not with their square', async () => {
    expect(await costOf(20)).toBe(20 * 20);
    // Where each step cost all of them it would be 40,000 and 640,000.
    expect(await costOf(200)).toBeLessThanOrEqual(32 * 200);
    expect(await costOf(800)).toBeLessThanOrEqual(32 * 800);
  });
});

describe('a state that is behind the record', () => {
  const pretend = (change: Partial<KeptUndo['record']>): void => {
    const kept = store.kept.get('front');
    if (kept !== undefined) store.kept.set('front', { ...kept, record: { ...kept.record, ...change } });
  };

  it.each([
    ['lacks the newest run', { run: 'somebody-elses', by: 'bob@laptop' }, /run somebody-elses, by bob@laptop/],
    ['lacks the end of steps of it', { settled: 1_000 }, /with \d+ steps ended, and 1000 have/],
  ])('%s: it writes nothing, forwards or backwards', async (_, change, message) => {
    await rig.advance('front', 'monitor');
    pretend(change);
    const before = await readTree(place.cluster);
    for (const work of [
      async () => executePlan(await rig.planUp('front', 'allow-list'), 'advance', rig.engine),
      () => rig.rollback('front', 'none'),
    ])
      await expect(work()).rejects.toMatchObject({
        detail: { code: 'SP620', exit: EXIT.state, message: expect.stringMatching(message) as string },
      });
    expect(await readTree(place.cluster)).toEqual(before);
    expect(rig.journal.openRuns()).toEqual([]);
  });

  it('does not go on with a run that somebody else has ended', async () => {
    const stopped = new AbortController();
    const engine = { ...rig.engine, signal: stopped.signal, emit: () => stopped.abort() };
    const { run } = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', engine);
    expect(rig.journal.openRuns()).toHaveLength(1);
    pretend({ settled: 1_000 });
    await expect(resumeRun(run, rig.engine)).rejects.toMatchObject({ detail: { code: 'SP620' } });
  });

  it('takes no notice of the record of another cluster', async () => {
    await rig.advance('front', 'monitor');
    pretend({ target: 'another', run: 'somebody-elses' });
    expect(await rig.advance('front', 'allow-list')).toMatchObject({ outcome: 'done' });
  });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine } from '../../src/engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import type { Edge, EdgeKey } from '../../src/model/edge.ts';
import { endpointKey, formatEdge } from '../../src/model/edge.ts';
import { lastTouch } from '../../src/plan/soak.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { SimulatedClock } from '../support/fake-api/clock.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import { readTree } from '../support/folder.ts';
import type { Rig } from '../support/rig.ts';
import { NOW, edgeOf, twoTeamsEdges } from '../support/rig.ts';
import type { Place } from './images.ts';
import { makePlace, openPlace, outcomeOf } from './images.ts';
import type { Soaking } from './soaking.ts';
import { deniedBy, is, soaking } from './soaking.ts';

const EDGES = twoTeamsEdges();
const WEB = 'front/Deployment/web -> back/Deployment/api 8080';
/** No request is on record for it, so that nothing else can prove it. */
const BARE = 'front/Deployment/web -> front/Deployment/worker 9000';
const INGRESS_OF_WEB = 'back/Deployment/api -> front/Deployment/web 8080';

let place: Place;
let clock: SimulatedClock;
const opened: Rig[] = [];
beforeEach(() => {
  place = makePlace();
  clock = simulatedClock(NOW);
});
afterEach(async () => {
  for (const rig of opened.splice(0)) await rig.close();
  place.dispose();
});

async function open(wrap?: (engine: Engine) => Engine): Promise<Rig> {
  for (const rig of opened.splice(0)) await rig.close();
  const rig = await openPlace(place, { clock, ...(wrap === undefined ? {} : { wrap }) });
  opened.push(rig);
  return rig;
}

const under = (rig: Rig, options: Soaking = {}, edges: readonly Edge[] = EDGES): Engine =>
  soaking(rig, edges, options)(rig.engine);

describe('a run under watch', () => {
  it('ends when every edge that it touched was seen anew, and not before its time', async () => {
    const rig = await open();
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, { minutes: 2 }));
    expect(result).toMatchObject({ outcome: 'done', exit: EXIT.done, phase: 'allow-list' });
    expect(result.soak?.view.awaited).toEqual([]);
    const touching = EDGES.filter((edge) => [edge.src, edge.dst].some((end) => endpointKey(end).startsWith('front/')));
    expect(result.soak?.view.seen.map(({ edge }) => edge).sort()).toEqual(touching.map(({ id }) => id).sort());
    const last = Math.max(...rig.journal.applied().map(({ at }) => at));
    expect(clock.now() - last).toBeGreaterThanOrEqual(120_000);
    expect(rig.journal.openRuns()).toEqual([]);
  });

  it('lasts longer than the proxies drain, however short it is set', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'allow-list');
    await executePlan(plan, 'advance', under(rig, { minutes: 0.001 }));
    const last = Math.max(...rig.journal.applied().map(({ at }) => at));
    expect(clock.now() - last).toBeGreaterThan(5_000);
  });

  it('watches each phase of several', async () => {
    const rig = await open();
    await executePlan(await rig.planUp('front', 'permissive-mtls'), 'advance', under(rig, { minutes: 3 }));
    const ends = ['allow-list', 'permissive-mtls'].map((phase) => {
      const at = rig.journal
        .applied()
        .filter((applied) => applied.phase === phase)
        .map((applied) => applied.at);
      return { first: Math.min(...at), last: Math.max(...at) };
    });
    expect((ends[1]?.first ?? 0) - (ends[0]?.last ?? 0)).toBeGreaterThanOrEqual(180_000);
  });

  it('needs none where no step bears on a connection', async () => {
    const rig = await open();
    const result = await executePlan(await rig.planUp('front', 'monitor'), 'advance', under(rig));
    expect(result).toMatchObject({ outcome: 'done', exit: EXIT.done });
    expect(result.soak).toBeUndefined();
    expect(clock.slept).toEqual([]);
  });

  it('keeps its Leases', async () => {
    const rig = await open();
    let asserted = 0;
    const engine = under(rig, { minutes: 5 });
    const counting: Engine = {
      ...engine,
      target: {
        ...engine.target,
        acquire: async (namespaces, holder) => {
          const hold = await engine.target.acquire(namespaces, holder);
          return {
            ...hold,
            assertHeld: () => {
              asserted += 1;
              return hold.assertHeld();
            },
          };
        },
      },
    };
    const plan = await rig.planUp('front', 'allow-list');
    await executePlan(plan, 'advance', counting);
    expect(asserted).toBeGreaterThanOrEqual(plan.steps.length + 300 / 16);
  });
});

describe('an edge that was not seen anew', () => {
  const silent =
    (until = Infinity) =>
    (key: EdgeKey, _: ReadonlySet<string>, at: number): 'allowed' | 'silent' =>
      is(key, BARE) && at < until ? 'silent' : 'allowed';

  it('keeps the run soaking with exit 3, by name, and resume asks again', async () => {
    const rig = await open();
    const engine = under(rig, { verdict: silent() });
    const left = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', engine);
    expect(left).toMatchObject({ outcome: 'soaking', exit: EXIT.refused, phase: 'allow-list', notRun: [] });
    expect(left.failure?.detail.code).toBe('SP610');
    expect(left.soak?.view.awaited.map(({ text }) => text)).toEqual([`${BARE}/TCP`]);
    expect(left.soak?.gates).toMatchObject([{ id: 'soak', answer: 'unknown' }]);
    const waited = clock.slept.length;
    expect(await resumeRun(left.run, engine)).toMatchObject({ outcome: 'soaking', exit: EXIT.refused });
    // Asked once: nobody is kept waiting.
    expect(clock.slept).toHaveLength(waited);
    clock.advance(1000);
    const over = await resumeRun(left.run, under(rig, { verdict: silent(clock.now()) }));
    expect(over).toMatchObject({ outcome: 'done', exit: EXIT.done });
    expect(rig.journal.openRuns()).toEqual([]);
  });

  it('need not be seen when a person says so, or says that it may be cut', async () => {
    for (const way of ['waive', 'accept'] as const) {
      const rig = await open();
      const engine = under(rig, { verdict: silent() });
      const left = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', engine);
      const edges = EDGES.map((edge) =>
        way === 'accept' && is(edge, BARE) ? { ...edge, review: 'to-be-cut' as const } : edge,
      );
      const next = under(rig, { verdict: silent() }, edges);
      const settled: Engine =
        next.soak === undefined || way === 'accept'
          ? next
          : { ...next, soak: { ...next.soak, settle: (gate) => ({ ...gate, answer: 'yes', waived: 'monthly' }) } };
      expect(await resumeRun(left.run, settled), way).toMatchObject({ outcome: 'done', exit: EXIT.done });
      await rig.rollback('front', 'none');
    }
  });

  it('with --detach is left to resume at once, with exit 0', async () => {
    const rig = await open();
    const engine = under(rig, { detach: true, verdict: silent() });
    const begun = clock.now();
    const left = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', engine);
    expect(left).toMatchObject({ outcome: 'soaking', exit: EXIT.done });
    expect(left.failure).toBeUndefined();
    expect(left.soak?.until).toBeGreaterThan(clock.now());
    expect(clock.now() - begun).toBeLessThan(60_000);
    const early = await resumeRun(left.run, under(rig));
    expect(early).toMatchObject({ outcome: 'soaking', exit: EXIT.refused });
    expect(early.failure?.detail.message).toMatch(/are left/);
    clock.advance(60_000);
    expect(await resumeRun(left.run, under(rig))).toMatchObject({ outcome: 'done', exit: EXIT.done });
  });

  it('once seen counts as seen only after the last step that touches it', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'allow-list');
    const last = plan.steps.findLast((step) => step.workload === 'front/Deployment/web')?.id ?? '';
    const quietAfter = (key: EdgeKey, done: ReadonlySet<string>): 'allowed' | 'silent' =>
      is(key, BARE) && done.has(last) ? 'silent' : 'allowed';
    const left = await executePlan(plan, 'advance', under(rig, { verdict: quietAfter }));
    expect(left.outcome).toBe('soaking');
    expect(left.soak?.view.awaited.map(({ text }) => text)).toEqual([`${BARE}/TCP`]);
  });
});

describe('an edge that is denied', () => {
  it.each([
    ['at a step in the middle', WEB, 'web-egress'],
    ['at the last step', INGRESS_OF_WEB, 'default'],
  ])('%s takes the whole run back, newest step first, to the byte', async (_, text, step) => {
    const rig = await open();
    const start = await readTree(place.cluster);
    const plan = await rig.planUp('front', 'allow-list');
    const named = plan.steps.findIndex(({ id }) => id.includes(step));
    expect(named).toBeGreaterThanOrEqual(0);
    const result = await executePlan(plan, 'advance', under(rig, { verdict: deniedBy(text, step) }));
    expect(result).toMatchObject({ outcome: 'undone', exit: EXIT.pulledBack, phase: 'none', done: [], failed: [] });
    expect(result.failure?.detail).toMatchObject({ code: 'SP611' });
    expect(result.failure?.detail.message).toContain(text);
    expect(result.failure?.detail.hint).toContain('sallyport adopt src=');
    // Pulled back at the short look: the steps behind it were never begun.
    expect(result.notRun).toEqual(plan.steps.slice(named + 1).map(({ id }) => id));
    expect(result.pulledBack?.undone).toEqual(plan.steps.slice(0, named + 1).map(({ id }) => id));
    expect(await readTree(place.cluster)).toEqual(start);
    expect(rig.journal.applied()).toEqual([]);
    expect(rig.journal.openRuns()).toEqual([]);
    const undone = rig.journal.stepsOf(result.pulledBack?.by ?? '').flatMap(({ step: one }) => one.undoes ?? []);
    expect(undone).toEqual([...undone].sort((a, b) => b - a));
    const trail = rig.state.reader.audit({ namespace: 'front' }).find(({ what }) => what === 'pulled back in soak');
    expect(trail?.reason).toContain(`${text}/TCP is denied (played: tick`);
    expect(trail?.reason).toContain(plan.steps[named]?.id);
    expect(trail?.run).toBe(result.run);
  });

  it('after any step of any phase takes it back, to the byte', async () => {
    const rig = await open();
    const start = await readTree(place.cluster);
    const { steps } = await rig.planUp('front', 'strict-mtls');
    let pulled = 0;
    for (const [index, step] of steps.entries()) {
      const plan = await rig.planUp('front', 'strict-mtls');
      // Whoever the step touches first is denied by it.
      const edge = EDGES.find((one) => lastTouch([{ step, at: 0 }], one) !== undefined);
      if (edge === undefined) continue;
      const verdict = (key: EdgeKey, done: ReadonlySet<string>): 'allowed' | 'denied' =>
        is(key, formatEdge(edge).replace('/TCP', '')) && done.has(step.id) ? 'denied' : 'allowed';
      const result = await executePlan(plan, 'advance', under(rig, { verdict, minutes: 0.01 }));
      expect(result, step.id).toMatchObject({ outcome: 'undone', exit: EXIT.pulledBack, phase: 'none' });
      expect(result.notRun, step.id).toEqual(plan.steps.slice(index + 1).map(({ id }) => id));
      expect(await readTree(place.cluster), step.id).toEqual(start);
      expect(rig.journal.applied(), step.id).toEqual([]);
      pulled += 1;
    }
    expect(pulled).toBeGreaterThan(10);
  }, 240_000);

  it('where somebody else’s change forbids the way back stays open, with the denial on the trail', async () => {
    const rig = await open();
    const engine = under(rig, { verdict: deniedBy(WEB, 'web-egress') });
    const refused = new Failure({ code: 'SP613', exit: EXIT.refused, message: 'somebody changed it' });
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', {
      ...engine,
      ...(engine.soak === undefined ? {} : { soak: { ...engine.soak, planBack: () => Promise.reject(refused) } }),
    });
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused });
    expect(result.failure?.detail).toMatchObject({ code: 'SP613' });
    expect(result.failure?.detail.message).toContain(`${WEB}/TCP is denied`);
    expect(rig.journal.openRuns().map(({ id }) => id)).toEqual([result.run]);
    expect(rig.state.reader.audit().at(-1)?.what).toBe('denied in soak, and cannot be pulled back');
    // Mended meanwhile: resume finds the denial on record, and takes the run back.
    const done = rig.journal.applied().map(({ step }) => step.id);
    const mended = await resumeRun(result.run, engine);
    expect(mended).toMatchObject({ outcome: 'undone', exit: EXIT.pulledBack });
    // No further step was written first.
    expect(mended.pulledBack?.undone).toEqual(done);
  });

  it('late in the watch takes it back as well', async () => {
    const rig = await open();
    const start = await readTree(place.cluster);
    const begun = clock.now();
    const late = (key: EdgeKey, __: ReadonlySet<string>, at: number): 'allowed' | 'denied' =>
      is(key, WEB) && at > begun + 50_000 ? 'denied' : 'allowed';
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, { verdict: late }));
    expect(result).toMatchObject({ outcome: 'undone', exit: EXIT.pulledBack });
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('found by resume takes it back too', async () => {
    const rig = await open();
    const start = await readTree(place.cluster);
    const left = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, { detach: true }));
    clock.advance(3_600_000);
    const result = await resumeRun(left.run, under(rig, { verdict: deniedBy(WEB, 'web-egress') }));
    expect(result).toMatchObject({ run: left.run, outcome: 'undone', exit: EXIT.pulledBack });
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('takes back the phases of one run together, and leaves those of earlier runs', async () => {
    const rig = await open();
    await rig.advance('front', 'allow-list');
    const start = await outcomeOf(place, rig);
    const verdict = deniedBy(WEB, 'strict-mtls');
    const result = await executePlan(await rig.planUp('front', 'strict-mtls'), 'advance', under(rig, { verdict }));
    // The client's side alone is hardened here, so the server's edge is what a strict server would refuse.
    if (result.outcome === 'undone') expect(result.phase).toBe('allow-list');
    else throw new Error(JSON.stringify(result.failure?.detail));
    expect((await outcomeOf(place, rig)).tree).toEqual(start.tree);
    expect((await outcomeOf(place, rig)).inForce).toEqual(start.inForce);
  });

  it.each([
    ['accepted to be cut', { review: 'to-be-cut' as const }],
    ['never seen to pass', { verdicts: { denied: 5 } }],
  ])('and was %s pulls nothing back', async (why, more) => {
    const rig = await open();
    const odd = edgeOf('front/Deployment/worker -> back/StatefulSet/db 5432', more);
    const verdict = (key: EdgeKey): 'allowed' | 'denied' =>
      is(key, 'front/Deployment/worker -> back/StatefulSet/db 5432') ? 'denied' : 'allowed';
    const result = await executePlan(
      await rig.planUp('front', 'allow-list'),
      'advance',
      under(rig, { verdict }, [...EDGES, odd]),
    );
    expect(result).toMatchObject({ outcome: 'done', exit: EXIT.done });
    expect(result.soak?.view.denied).toMatchObject([{ edge: odd.id, spared: why }]);
  });

  it('but not by a step of the run pulls nothing back', async () => {
    const rig = await open();
    const verdict = (key: EdgeKey): 'allowed' | 'denied' =>
      is(key, 'back/Deployment/api -> back/StatefulSet/db 5432') ? 'denied' : 'allowed';
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, { verdict }));
    expect(result).toMatchObject({ outcome: 'done', exit: EXIT.done });
  });
});

describe('a new caller', () => {
  const STRANGER = 'back/Job/import -> front/Deployment/web 8080';

  it('that is denied is told at once, pulls nothing back, and leaves the gate unknown until it is decided on', async () => {
    const rig = await open();
    const told: { readonly text: string; readonly at: number }[] = [];
    const engine = under(rig, {
      strangers: [STRANGER],
      verdict: (key, done) =>
        is(key, STRANGER) ? ([...done].some((id) => id.includes('web-ingress')) ? 'denied' : 'silent') : 'allowed',
    });
    let enforced = 0;
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', {
      ...engine,
      emit: (event) => {
        if (event.kind === 'step-done' && event.step.id.includes('web-ingress')) enforced = clock.now();
        if (event.kind === 'new-caller' && event.denied) told.push({ text: event.text, at: clock.now() });
      },
    });
    expect(told.map(({ text }) => text)).toEqual([`${STRANGER}/TCP`]);
    expect((told[0]?.at ?? Infinity) - enforced).toBeLessThan(3_000);
    expect(result).toMatchObject({ outcome: 'soaking', exit: EXIT.refused });
    expect(result.soak?.view.callers).toMatchObject([{ text: `${STRANGER}/TCP`, state: 'denied' }]);
    const [caller] = result.soak?.view.callers ?? [];
    // On record since, and nobody has decided: it is a new caller still, and its denial pulls nothing back.
    const undecided = edgeOf(STRANGER, { verdicts: { allowed: 1, denied: 4 } });
    expect(undecided.id).toBe(caller?.id);
    const options: Soaking = { strangers: [STRANGER], verdict: deniedBy(STRANGER, 'web-ingress') };
    clock.advance(1000);
    expect(await resumeRun(result.run, under(rig, options, [...EDGES, undecided]))).toMatchObject({
      outcome: 'soaking',
    });
    clock.advance(1000);
    const cut: Edge = { ...undecided, review: 'to-be-cut' };
    expect(await resumeRun(result.run, under(rig, options, [...EDGES, cut]))).toMatchObject({ outcome: 'done' });
  });

  it('that was adopted and is denied again takes the run back', async () => {
    const rig = await open();
    const options: Soaking = { strangers: [STRANGER], verdict: deniedBy(STRANGER, 'web-ingress') };
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, options));
    expect(result.outcome).toBe('soaking');
    clock.advance(1000);
    const adopted = edgeOf(STRANGER, { verdicts: { allowed: 3 }, review: 'legitimate' });
    const next = await resumeRun(result.run, under(rig, options, [...EDGES, adopted]));
    expect(next).toMatchObject({ outcome: 'undone', exit: EXIT.pulledBack });
  });

  it('that passes as things are is shown and keeps nothing up', async () => {
    const rig = await open();
    const result = await executePlan(
      await rig.planUp('front', 'allow-list'),
      'advance',
      under(rig, { strangers: [STRANGER] }),
    );
    expect(result).toMatchObject({ outcome: 'done', exit: EXIT.done });
    expect(result.soak?.view.callers).toMatchObject([{ state: 'passes' }]);
  });
});

describe('a gap in the signals', () => {
  it('makes the watch begin anew: what passed before it proves nothing', async () => {
    const rig = await open();
    const cut = NOW + 40_000;
    const result = await executePlan(
      await rig.planUp('front', 'allow-list'),
      'advance',
      under(rig, {
        gap: (at) => at >= cut,
        verdict: (key, _, at) => (is(key, BARE) && at >= cut ? 'silent' : 'allowed'),
      }),
    );
    expect(result.outcome).toBe('soaking');
    expect(result.soak?.gaps).toEqual(['the file was cut short']);
    expect(result.soak?.view.awaited.map(({ text }) => text)).toEqual([`${BARE}/TCP`]);
    expect(result.soak?.until).toBeGreaterThanOrEqual(cut + 60_000);
  });
});

describe('Ctrl-C in the watch', () => {
  it('ends it with 130 and loses nothing: resume watches the rest', async () => {
    const rig = await open();
    const stop = new AbortController();
    const begun = clock.now();
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', {
      ...under(rig),
      signal: stop.signal,
      emit: (event) => {
        if (event.kind === 'soak' && clock.now() > begun + 40_000) stop.abort(new Error('cancelled'));
      },
    });
    expect(result).toMatchObject({ outcome: 'cancelled', exit: EXIT.cancelled, notRun: [] });
    const left = rig.journal.soakOf(result.run);
    expect(left).toMatchObject({ left: false });
    const over = await resumeRun(result.run, under(rig));
    expect(over).toMatchObject({ outcome: 'done', exit: EXIT.done });
    expect(clock.now()).toBeGreaterThanOrEqual(left?.until ?? Infinity);
  });

  it('or a run that soaks can be rolled back as any other', async () => {
    const rig = await open();
    const start = await readTree(place.cluster);
    const left = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, { detach: true }));
    await settleOpenRun(left.run, rig.engine);
    expect(await rig.rollback('front', 'none')).toMatchObject({ outcome: 'done', exit: EXIT.done });
    expect(await readTree(place.cluster)).toEqual(start);
  });
});

describe('a resume without the signals of the run', () => {
  it('is refused: nobody would see what was cut', async () => {
    const rig = await open();
    const left = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', under(rig, { detach: true }));
    await expect(resumeRun(left.run, rig.engine)).rejects.toMatchObject({
      detail: { code: 'SP612', exit: EXIT.usage },
    });
    expect(rig.journal.openRuns()).toHaveLength(1);
  });
});

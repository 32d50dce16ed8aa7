// Access that ends by itself, killed at any point of its opening and of its end: nothing stays open past its time, and nothing is lost.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import type { Change } from '../../src/plan/change.ts';
import { invertChange } from '../../src/plan/change.ts';
import { expiredGrants } from '../../src/model/grant.ts';
import { planBreakGlass } from '../../src/readiness/break-glass.ts';
import { planConnection } from '../../src/readiness/grant-connection.ts';
import { planEnd } from '../../src/readiness/grant-end.ts';
import type { Granted, GrantTerms } from '../../src/readiness/grant-terms.ts';
import { recordedGrants } from '../../src/readiness/recorded-grants.ts';
import { endOf } from '../../src/targets/grants.ts';
import { NOW, plannerFor } from '../support/rig.ts';
import type { Rig } from '../support/rig.ts';
import type { Image, Place } from './images.ts';
import { imaging, keptBeside, makePlace, openPlace, outcomeOf, readObjects, restore } from './images.ts';

const TERMS: GrantTerms = { reason: 'incident 17', by: 'tester', since: NOW, until: NOW + 1_800_000 };
const WORKER = {
  kind: 'connection',
  from: 'front/Deployment/worker',
  to: 'back/StatefulSet/db',
  protocol: 'TCP',
  port: 5432,
} as const;

const connectionOf = async (rig: Rig): Promise<Granted> =>
  planConnection(await rig.view('back'), WORKER, TERMS, plannerFor('directory'));
const breakGlassOf = async (rig: Rig): Promise<Granted> =>
  planBreakGlass(await rig.view('back'), TERMS, plannerFor('directory'));

async function end(rig: Rig): Promise<void> {
  for (const grant of recordedGrants(rig.journal.applied(), (run) => rig.journal.headOf(run))) {
    const plan = planEnd(await rig.view(grant.namespace), grant);
    expect(await executePlan(plan, 'expire', rig.engine)).toMatchObject({ outcome: 'done', exit: 0, failed: [] });
  }
}

/** What the expirer of the cluster does to the objects, without any record. */
async function expireByObjects(place: Place, rig: Rig): Promise<void> {
  const hold = await rig.target.acquire(['front', 'back'], 'expirer');
  for (const one of expiredGrants(await readObjects(place), TERMS.until)) await rig.target.apply(endOf(one));
  await hold.release();
}

describe.each([
  ['a connection through every layer of identity', connectionOf],
  ['break-glass of a namespace behind identity', breakGlassOf],
] as const)('killed at any point: %s', (_, plan) => {
  let place: Place;
  let start: Awaited<ReturnType<typeof outcomeOf>>;
  let open: Awaited<ReturnType<typeof outcomeOf>>;
  const opening: Image[] = [];
  const ending: Image[] = [];
  let granted: Granted;

  beforeAll(async () => {
    place = makePlace();
    const rig = await openPlace(place, keptBeside(place));
    for (const [namespace, to] of [
      ['back', 'permissive-mtls'],
      ['front', 'identity'],
      ['back', 'identity'],
    ] as const)
      expect(await rig.advance(namespace, to)).toMatchObject({ outcome: 'done', exit: 0 });
    start = await outcomeOf(place, rig);
    granted = await plan(rig);
    await rig.close();
    if (granted.kind !== 'plan') throw new Error(JSON.stringify(granted));
    const opened = await openPlace(place, { ...keptBeside(place), wrap: imaging(place, opening) });
    expect(await executePlan(granted.plan, 'grant', opened.engine)).toMatchObject({ outcome: 'done', exit: 0 });
    open = await outcomeOf(place, opened);
    await opened.close();
    const closing = await openPlace(place, {
      ...keptBeside(place),
      wrap: imaging({ ...place, images: join(place.root, 'ending') }, ending),
    });
    await end(closing);
    expect(await outcomeOf(place, closing)).toEqual(start);
    await closing.close();
  });
  afterAll(() => place.dispose());

  it('writes something in several steps, and leaves the phases as they were', () => {
    expect(granted.kind === 'plan' ? granted.plan.steps.length : 0).toBeGreaterThan(1);
    expect(open.tree).not.toEqual(start.tree);
    expect(open.phases).toEqual(start.phases);
    expect(opening.length).toBeGreaterThan(5);
    expect(ending.length).toBeGreaterThan(5);
  });

  it('resume finishes the opening', async () => {
    for (const image of opening) {
      restore(place, image);
      const rig = await openPlace(place);
      const [run] = rig.journal.openRuns();
      expect(await resumeRun(run?.id ?? '', rig.engine), image.name).toMatchObject({ outcome: 'done', exit: 0 });
      expect(await outcomeOf(place, rig), image.name).toEqual(open);
      await rig.close();
    }
  });

  it('an opening that was interrupted past its time is closed, and ends at the start to the byte', async () => {
    for (const image of opening) {
      restore(place, image);
      const rig = await openPlace(place);
      for (const run of rig.journal.openRuns()) await settleOpenRun(run.id, rig.engine);
      await end(rig);
      expect(await outcomeOf(place, rig), image.name).toEqual(start);
      await rig.close();
    }
  });

  it('resume finishes the end', async () => {
    for (const image of ending) {
      restore(place, image);
      const rig = await openPlace(place);
      const [run] = rig.journal.openRuns();
      expect(await resumeRun(run?.id ?? '', rig.engine), image.name).toMatchObject({ outcome: 'done', exit: 0 });
      expect(await outcomeOf(place, rig), image.name).toEqual(start);
      await rig.close();
    }
  });

  it('what the expirer of the cluster ended at any point is no drift, and the record follows', async () => {
    for (const image of [...opening, ...ending]) {
      restore(place, image);
      const rig = await openPlace(place);
      await expireByObjects(place, rig);
      expect(checkDrift(rig.journal.applied(), await readObjects(place)), image.name).toEqual([]);
      for (const run of rig.journal.openRuns())
        if (run.kind === 'expire')
          expect(await resumeRun(run.id, rig.engine), image.name).toMatchObject({ outcome: 'done', exit: 0 });
        else await settleOpenRun(run.id, rig.engine);
      await end(rig);
      expect(await outcomeOf(place, rig), image.name).toEqual(start);
      await rig.close();
    }
  });

  it('an end that meets what the expirer has ended a moment before is an end', async () => {
    const image = opening.at(-1);
    if (image === undefined) throw new Error('no image');
    restore(place, image);
    const rig = await openPlace(place);
    for (const run of rig.journal.openRuns()) await resumeRun(run.id, rig.engine);
    const [grant] = recordedGrants(rig.journal.applied(), (run) => rig.journal.headOf(run));
    if (grant === undefined) throw new Error('no grant');
    const late = planEnd(await rig.view(grant.namespace), grant);
    await expireByObjects(place, rig);
    expect(await executePlan(late, 'expire', rig.engine)).toMatchObject({ outcome: 'done', exit: 0 });
    expect(await outcomeOf(place, rig)).toEqual(start);
    await rig.close();
  });

  it('what somebody made of it meanwhile does not keep it open', async () => {
    const image = ending[0];
    if (image === undefined || granted.kind !== 'plan') throw new Error('no image');
    restore(place, image);
    const rig = await openPlace(place);
    for (const run of rig.journal.openRuns()) await settleOpenRun(run.id, rig.engine);
    const made = granted.plan.steps.flatMap(({ change }): Change[] => (change.kind === 'create' ? [change] : []));
    const [first] = made;
    if (first?.kind !== 'create') throw new Error('nothing was made');
    const hold = await rig.target.acquire(['front', 'back'], 'somebody');
    await rig.target.apply(invertChange(first));
    await rig.target.apply({
      kind: 'create',
      object: { ...first.object, spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{}] } },
    });
    await hold.release();
    await end(rig);
    const after = await outcomeOf(place, rig);
    expect(after.inForce).toEqual(start.inForce);
    expect(expiredGrants(await readObjects(place), TERMS.until)).toEqual([]);
    await rig.close();
  });
});

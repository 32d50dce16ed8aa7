import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { View } from '../../src/engine/contract.ts';
import { PHASES, phaseIndex } from '../../src/model/phase.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { openGates } from '../../src/plan/assemble.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { judgeEdges, stateAfter } from '../../src/plan/simulate.ts';
import { keptEdges } from '../../src/readiness/view.ts';
import { readTree } from '../support/folder.ts';
import type { Rig } from '../support/rig.ts';
import { edgeOf, twoTeamsEdges } from '../support/rig.ts';
import type { Image, Place } from './images.ts';
import { keepImage, makePlace, openPlace, restore } from './images.ts';

/** Both namespaces all the way up, made once and put in place again for each test. */
let place: Place;
let start: unknown;
const up: Image[] = [];
beforeAll(async () => {
  place = makePlace();
  start = await readTree(place.cluster);
  const rig = await openPlace(place);
  await rig.advance('back', 'permissive-mtls');
  await rig.advance('front', 'identity');
  await rig.advance('back', 'identity');
  await rig.close();
  keepImage(place, up, 'both up');
});
afterAll(() => place.dispose());

async function bothUp(): Promise<Rig> {
  const [image] = up;
  if (image !== undefined) restore(place, image);
  return openPlace(place);
}

/** Edges that some state of the plan denies, judged here once more, in every state and not only near the step. */
function deniedOnTheWay(view: View, plan: Plan): readonly string[] {
  const denied = new Set<string>();
  let state = { snapshot: view.snapshot, inventory: view.inventory };
  for (const step of plan.steps) {
    state = stateAfter(state, step, view.rebuild);
    const edges = keptEdges(view.edgesIn(state.inventory));
    const verdicts = judgeEdges(state.inventory, edges);
    for (const edge of edges)
      if (verdicts.get(edge.id)?.answer === 'denied') denied.add(`${step.id}: ${edge.id} ${JSON.stringify(edge.src)}`);
  }
  return [...denied];
}

async function back(rig: Rig, namespace: string, to: PhaseName): Promise<Plan> {
  const view = await rig.view(namespace);
  const { plan, divergences } = await rig.planDown(namespace, to);
  expect(divergences).toEqual([]);
  expect(openGates(plan)).toEqual([]);
  expect(deniedOnTheWay(view, plan)).toEqual([]);
  expect(new Set(plan.steps.map((step) => step.id)).size).toBe(plan.steps.length);
  const result = await rig.rollback(namespace, to);
  expect(result).toMatchObject({ outcome: 'done', phase: to, failed: [], exit: 0 });
  expect(checkDrift(rig.journal.applied(), (await rig.target.readSnapshot()).objects)).toEqual([]);
  return plan;
}

const GOALS = PHASES.filter((phase) => phase !== 'identity');

describe('a caller and its server, both behind identity', () => {
  it.each(GOALS)('go back to %s, the caller first, and no state denies an edge', async (to) => {
    const rig = await bothUp();
    const plan = await back(rig, 'front', to);
    if (phaseIndex(to) < phaseIndex('permissive-mtls'))
      expect(plan.steps.slice(0, 4).map((step) => step.id)).toEqual([
        'strict-mtls/loosen-back-sallyport-api',
        'identity/loosen-back-api-callers',
        'strict-mtls/loosen-back-sallyport-db',
        'identity/loosen-back-db-callers',
      ]);
    await back(rig, 'back', to);
    if (to === 'none') expect(await readTree(place.cluster)).toEqual(start);
    await rig.close();
  });

  it.each(GOALS)('go back to %s, the server first, and no state denies an edge', async (to) => {
    const rig = await bothUp();
    await back(rig, 'back', to);
    await back(rig, 'front', to);
    if (to === 'none') {
      expect(await readTree(place.cluster)).toEqual(start);
      expect(rig.journal.applied()).toEqual([]);
    }
    await rig.close();
  });

  it('go back one phase each by turns, and the directory is as it was', async () => {
    const rig = await bothUp();
    for (const to of [...GOALS].reverse()) {
      await back(rig, 'front', to);
      await back(rig, 'back', to);
    }
    expect(await readTree(place.cluster)).toEqual(start);
    expect(rig.journal.applied()).toEqual([]);
    expect([...rig.journal.phases()]).toEqual([]);
    await rig.close();
  });

  it('opens an enforced peer for an edge seen since, and takes that back without a tighter state between', async () => {
    const other = makePlace();
    const first = await openPlace(other);
    await first.advance('back', 'allow-list');
    await first.close();
    const edges = [...twoTeamsEdges(), edgeOf('front/Deployment/worker -> back/StatefulSet/db 5432')];
    const later = await openPlace(other, { facts: { edges } });
    const plan = await later.planUp('front', 'allow-list');
    expect(plan.steps.map((step) => step.id)).toContain('allow-list/open-back-db-ingress');
    expect((await later.advance('front', 'allow-list')).exit).toBe(0);
    await back(later, 'back', 'none');
    await back(later, 'front', 'none');
    expect(await readTree(other.cluster)).toEqual(start);
    expect(later.journal.applied()).toEqual([]);
    await later.close();
    other.dispose();
  });

  it('comes up again after its caller has been down and up', async () => {
    const rig = await bothUp();
    await back(rig, 'front', 'none');
    expect((await rig.advance('front', 'identity')).exit).toBe(0);
    await back(rig, 'front', 'none');
    await back(rig, 'back', 'none');
    expect(await readTree(place.cluster)).toEqual(start);
    await rig.close();
  });
});

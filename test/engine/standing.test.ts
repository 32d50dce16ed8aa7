import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openGates } from '../../src/plan/assemble.ts';
import type { Plan } from '../../src/plan/plan.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { Rig } from '../support/rig.ts';
import { edgeOf, twoTeamsEdges } from '../support/rig.ts';
import type { Place } from './images.ts';
import { makePlace, openPlace } from './images.ts';

let place: Place;
const opened: Rig[] = [];
beforeEach(() => {
  place = makePlace();
});
afterEach(async () => {
  for (const rig of opened.splice(0)) await rig.close();
  place.dispose();
});

async function open(edges?: readonly Edge[]): Promise<Rig> {
  for (const rig of opened.splice(0)) await rig.close();
  const rig = await openPlace(place, edges === undefined ? {} : { facts: { edges } });
  opened.push(rig);
  return rig;
}

const red = (plan: Plan): readonly string[] => [...new Set(openGates(plan).map(({ id }) => id))].sort();

const OPENED = 'front/Deployment/worker -> back/Deployment/api 8080';
const cut = (edges: readonly Edge[]): readonly Edge[] =>
  edges.map((edge) => (edge.id === edgeOf(OPENED).id ? { ...edge, review: 'to-be-cut' as const } : edge));

describe('what a plan finds standing', () => {
  it('is not overwritten where somebody changed an object of ours', async () => {
    const rig = await open();
    await rig.advance('front', 'allow-list');
    const file = join(place.cluster, 'sallyport/front/networkpolicy-sallyport-web-egress.yaml');
    await writeFile(file, (await readFile(file, 'utf8')).replace('port: 8080', 'port: 8081'));
    const plan = await rig.planUp('front', 'permissive-mtls');
    expect(red(plan)).toContain('drift');
    expect(
      openGates(plan)
        .find(({ id }) => id === 'drift')
        ?.facts.join(),
    ).toContain('8081');
  });

  it('blocks where a policy of ours denies an edge that must work, until a plan opens it', async () => {
    const narrow = await open(cut(twoTeamsEdges()));
    await narrow.advance('back', 'allow-list');
    const wide = await open(twoTeamsEdges());
    const refresh = await wide.planUp('back', 'allow-list');
    expect(red(refresh)).toEqual([]);
    expect(refresh.steps.map(({ id }) => id)).toContain('allow-list/deployment-api-ingress');
    await wide.advance('back', 'allow-list');
    expect((await wide.planUp('back', 'allow-list')).steps).toEqual([]);
  });

  it('is brought up to date without a looser state on the way, whichever phase it is in', async () => {
    const rig = await open();
    await rig.advance('front', 'permissive-mtls');
    await rig.advance('back', 'identity');
    const plan = await rig.planUp('back', 'identity');
    expect(plan.steps).toEqual([]);
    expect((await rig.planUp('back', 'identity')).hash).toBe(plan.hash);
  });
});

describe('the namespace that others stand on', () => {
  it('is red until a person says so outright, and its mesh-wide objects are judged against every edge', async () => {
    const rig = await open();
    const plan = await rig.planUp('istio-system', 'strict-mtls');
    expect(red(plan)).toContain('system-namespace');
  });
});

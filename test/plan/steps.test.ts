import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { draftSteps } from '../../src/plan/steps.ts';

const thing = (name: string): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'Thing',
  metadata: { name, namespace: 'shop' },
  spec: {},
});
const STEP = { namespace: 'shop', phase: 'monitor', id: 'open-shop-web', title: 'open' } as const;

describe('steps in the making', () => {
  it('have ids of their own, though two workloads share a name', () => {
    const draft = draftSteps([]);
    draft.ensure(thing('a'), STEP);
    draft.ensure(thing('b'), STEP);
    expect(draft.steps.map((step) => step.id)).toEqual(['monitor/open-shop-web', 'monitor/open-shop-web-2']);
  });

  it('are not made for what is there already', () => {
    const draft = draftSteps([thing('a')]);
    draft.ensure(thing('a'), STEP);
    draft.edit(thing('a'), [{ path: ['spec'], after: {} }], STEP);
    expect(draft.steps).toEqual([]);
  });
});

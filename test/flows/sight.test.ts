import { describe, expect, it } from 'vitest';
import type { Edge } from '../../src/model/edge.ts';
import { createSighter, rhythmOf } from '../../src/flows/sight.ts';
import { edgeOf } from '../support/rig.ts';
import { inventoryOf } from '../support/world.ts';
import type { Flow, RawEnd } from '../../src/model/flow.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const T0 = Date.UTC(2026, 2, 2);

const day = (number: number): string => new Date(T0 + number * DAY).toISOString().slice(0, 10);

describe('the rhythm of an edge', () => {
  const inventory = inventoryOf({ workloads: { 'shop/CronJob/report': {}, 'shop/Deployment/web': {} } });
  const scheduled = {
    ...inventory,
    workloads: inventory.workloads.map((workload) =>
      workload.kind === 'CronJob'
        ? { ...workload, schedule: { by: 'CronJob', cron: '0 3 1 * *', suspended: false } }
        : workload,
    ),
  };
  const of = (more: Partial<Edge>): number | undefined =>
    rhythmOf(edgeOf('shop/Deployment/web -> shop/Deployment/db 5432', more), scheduled).cadenceMs;

  it('is that of the schedule of either end, with its next due time', () => {
    const edge = edgeOf('shop/CronJob/report -> shop/Deployment/db 5432', { last: T0 });
    const { cadenceMs, due } = rhythmOf(edge, scheduled);
    expect(cadenceMs).toBe(31 * DAY);
    expect(due?.(Date.UTC(2026, 2, 15))).toBe(Date.UTC(2026, 3, 1, 3));
  });

  it.each([
    ['of every few minutes', { first: T0, last: T0 + 10 * HOUR, count: 61, days: [day(0)] }, 20 * 60_000],
    [
      'at most a day where it is seen daily',
      { first: T0, last: T0 + 9 * DAY, count: 3, days: [day(0), day(1), day(2)] },
      DAY,
    ],
    [
      'of the longest pause in days',
      { first: T0, last: T0 + 8 * DAY, count: 90, days: [day(0), day(1), day(8)] },
      7 * DAY,
    ],
    ['unknown of one connection', { first: T0, last: T0, count: 1, days: [day(0)] }, undefined],
  ])('is %s', (_, more, expected) => {
    expect(of(more)).toBe(expected);
  });
});

describe('one record', () => {
  const inventory = inventoryOf({
    workloads: {
      'shop/Deployment/web': { pods: ['10.1.0.1'] },
      'shop/Deployment/db': { pods: ['10.1.0.2'], ports: [5432] },
    },
  });
  const end = (more: Partial<RawEnd>): RawEnd => ({ labels: {}, reserved: [], names: [], ...more });
  const flow = (more: Partial<Flow> = {}): Flow => ({
    first: T0,
    last: T0,
    src: end({ namespace: 'shop', workload: { kind: 'Deployment', name: 'web' } }),
    dst: end({ namespace: 'shop', workload: { kind: 'Deployment', name: 'db' } }),
    protocol: 'TCP',
    port: 5432,
    verdict: 'allowed',
    view: 'ingress',
    tap: 'x',
    initiatorKnown: true,
    reply: false,
    stage: 'open',
    count: 1,
    proxied: false,
    mtls: 'unknown',
    source: 'edges',
    ...more,
  });
  const sight = (more: Partial<Flow> = {}) => createSighter(inventory).sight(flow(more));

  it('is resolved to its edge at once', () => {
    expect(sight()).toMatchObject({
      id: edgeOf('shop/Deployment/web -> shop/Deployment/db 5432').id,
      at: T0,
      opens: true,
      stale: false,
    });
  });

  it('is turned round where its ports say who serves', () => {
    const turned = sight({
      src: flow().dst,
      dst: flow().src,
      srcPort: 5432,
      port: 40_000,
      initiatorKnown: false,
    });
    expect(turned?.id).toBe(sight()?.id);
    expect(turned?.opens).toBe(false);
  });

  it('of an address of nobody may be of a pod that is newer than what is known', () => {
    expect(sight({ src: end({ ip: '10.1.0.77' }) })).toMatchObject({ stale: true, key: { src: { kind: 'unknown' } } });
  });

  it('of a pod whose name is all that is known of it may be of a workload that is newer than what is known', () => {
    const seen = sight({ src: end({ namespace: 'shop', pod: 'notebook-5dfdd8b64c-26qjl' }) });
    expect(seen).toMatchObject({
      stale: true,
      key: { src: { kind: 'workload', id: 'shop/Pod/notebook-5dfdd8b64c-26qjl' } },
    });
  });

  it('without a port counts where somebody was denied, and is none otherwise', () => {
    // Web declares no port that could be meant.
    const back = { src: flow().dst, dst: flow().src, port: 0 };
    expect(sight(back)).toBeUndefined();
    expect(sight({ ...back, verdict: 'denied' })).toMatchObject({ verdict: 'denied' });
  });

  it('of nobody in particular is none', () => {
    expect(sight({ dst: end({ ip: '224.0.0.1' }) })).toBeUndefined();
  });
});

import { describe, expect, it } from 'vitest';
import { findDoubtful } from '../../src/flows/review.ts';
import type { Edge } from '../../src/model/edge.ts';
import { formatEdge } from '../../src/model/edge.ts';
import type { EdgeParts } from './build.ts';
import { DAY, HOUR, MONDAY, days, edge, emptyInventory, workload } from './build.ts';

const inventory = emptyInventory({
  workloads: [workload('batch/CronJob/hourly', { schedule: { cron: '0 * * * *', suspended: false, by: 'CronJob' } })],
});
const doubts = (edges: readonly Edge[]): readonly string[] =>
  findDoubtful(edges, inventory).map(({ edge: one, why }) => `${formatEdge(one)}: ${why}`);

const fan = (count: number, parts: (index: number) => EdgeParts, src = 'shop/Pod/debug'): readonly Edge[] =>
  Array.from({ length: count }, (_, index) => edge(src, `data/Deployment/d${index}`, parts(index)));

describe('an unreviewed edge', () => {
  it('seen on one day only waits for a person', () => {
    expect(doubts([edge('a/Deployment/x', 'b/Deployment/y')])).toEqual([
      'a/Deployment/x -> b/Deployment/y 8080/TCP: seen on one day only (2026-10-05)',
    ]);
  });

  it.each<[string, Edge]>([
    ['seen on two days', edge('a/Deployment/x', 'b/Deployment/y', { days: days(2) })],
    ['that a person has judged', edge('a/Deployment/x', 'b/Deployment/y', { review: 'legitimate' })],
    ['accepted to be cut', edge('a/Deployment/x', 'b/Deployment/y', { review: 'to-be-cut' })],
    ['never seen to pass', edge('a/Deployment/x', 'b/Deployment/y', { verdicts: { denied: 3 }, days: [] })],
    [
      'that configuration states',
      edge('a/Deployment/x', 'b/Deployment/y', { origin: { kind: 'declared', strength: 'weak', by: 'env' } }),
    ],
    [
      'of a schedule in three runs of one day',
      edge('batch/CronJob/hourly', 'b/Deployment/y', { runs: ['1', '2', '3'] }),
    ],
  ])('does not wait when it is one %s', (_, one) => {
    expect(doubts([one])).toEqual([]);
  });

  it('of a schedule in two runs of one day waits', () => {
    expect(doubts([edge('batch/CronJob/hourly', 'b/Deployment/y', { runs: ['1', '2'] })])).toHaveLength(1);
  });
});

describe('the connection of a sidecar to istiod', () => {
  const joined = workload('a/Deployment/joined');
  const istiod = workload('istio-system/Deployment/istiod');
  const meshed = emptyInventory({
    workloads: [
      { ...joined, podSets: joined.podSets.map((set) => ({ ...set, mesh: 'sidecar' })) },
      workload('a/Deployment/outside'),
      { ...istiod, classification: { ...istiod.classification, component: 'istiod' } },
    ],
  });
  const doubtful = (src: string, port: number): number =>
    findDoubtful([edge(src, 'istio-system/Deployment/istiod', { port })], meshed).length;

  it('waits for nobody: the join made it', () => {
    expect(doubtful('a/Deployment/joined', 15012)).toBe(0);
  });

  it('waits where its source has no sidecar, and on any other port', () => {
    expect(doubtful('a/Deployment/outside', 15012)).toBe(1);
    expect(doubtful('a/Deployment/joined', 8080)).toBe(1);
  });
});

describe('a source that fans out like a scan', () => {
  const minutes = (index: number): EdgeParts => ({ first: MONDAY + index * 60_000, last: MONDAY + index * 60_000 });

  it('makes all of its unreviewed edges wait, the recurring ones too', () => {
    const edges = [
      ...fan(10, minutes),
      edge('shop/Pod/debug', 'z/Deployment/regular', { days: days(9), last: MONDAY + 9 * DAY }),
    ];
    const found = doubts(edges);
    expect(found).toHaveLength(11);
    expect(
      found.every((why) =>
        why.endsWith('10 destinations and ports within one hour, each of them only then: like a scan'),
      ),
    ).toBe(true);
  });

  it('is told by distinct ports as well as destinations', () => {
    const ports = Array.from({ length: 10 }, (_, index) =>
      edge('shop/Pod/debug', 'data/Deployment/d', { port: 1000 + index }),
    );
    expect(doubts(ports)[0]).toContain('like a scan');
  });

  it.each<[string, readonly Edge[]]>([
    ['with nine targets in an hour', fan(9, minutes)],
    [
      'with ten targets over a day',
      fan(10, (index) => ({ first: MONDAY + index * 2 * HOUR, last: MONDAY + index * 2 * HOUR })),
    ],
    ['when it is the node', fan(20, minutes, 'node')],
    ['when it is the API server', fan(20, minutes, 'api-server')],
    ['when a person adopted the edges', fan(20, (index) => ({ ...minutes(index), review: 'legitimate' }))],
  ])('is not one %s', (_, edges) => {
    expect(doubts(edges).some((why) => why.includes('scan'))).toBe(false);
  });

  it('is not a scraper that comes back every day', () => {
    expect(doubts(fan(40, (index) => ({ ...minutes(index), last: MONDAY + 8 * DAY, days: days(9) })))).toEqual([]);
  });

  it('is slow: fifteen targets on one day each', () => {
    const slow = (index: number): EdgeParts => ({ first: MONDAY + index * 5 * HOUR, last: MONDAY + index * 5 * HOUR });
    expect(doubts(fan(14, slow)).some((why) => why.includes('scan'))).toBe(false);
    expect(doubts(fan(15, slow))[0]).toContain('15 destinations and ports on one day each: like a scan');
  });

  it('tries doors: fewer targets beside denied ones', () => {
    const slow = (index: number): EdgeParts => ({
      first: MONDAY + index * 5 * HOUR,
      last: MONDAY + index * 5 * HOUR,
      ...(index < 3 ? { verdicts: { denied: 1 }, days: [] } : {}),
    });
    expect(doubts(fan(6, slow))[0]).toContain('was denied at 3');
  });
});

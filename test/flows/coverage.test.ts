import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { coverageOf, estimateUnseen, poissonUpper } from '../../src/flows/coverage.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import { NO_EVIDENCE } from '../../src/model/evidence.ts';
import { days, edge, emptyInventory, workload } from './build.ts';

const incidences = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 60 });

describe('the estimate of unseen edges', () => {
  it('is the bias-corrected Chao2 of a case worked by hand', () => {
    // 6 edges on 9 days: three seen once, one twice. 8/9 * 3*2 / (2*2) = 1.3333
    const { unseen, unseenUpper, shareUpper } = estimateUnseen([1, 1, 1, 2, 9, 9], 9);
    expect(unseen).toBeCloseTo(4 / 3, 10);
    // The upper bound had one more been seen once: 8/9 * 4*3 / (2*2) = 2.6667, variance
    // 2.6667 + (64/81)*4*49/16 + (64/81)*16*1*9/64 = 14.1235; K = exp(1.96 sqrt(ln(1 + 14.1235/7.1111))) = 7.7681
    expect(unseenUpper).toBeCloseTo(2.6666667 * 7.7681, 1);
    expect(shareUpper).toBeCloseTo(unseenUpper / (6 + unseenUpper), 10);
  });

  it('is never less than what another record as long would show: an edge seen once speaks for others', () => {
    const daily = Array<number>(20).fill(9);
    // The exact limits of Poisson counts of 0, 1 and 5 (E. S. Pearson, H. O. Hartley, Biometrika Tables, table 40).
    expect([0, 1, 5].map(poissonUpper).map((one) => one.toFixed(2))).toEqual(['3.69', '5.57', '11.67']);
    expect(poissonUpper(101)).toBeCloseTo(122.7, 0);
    expect(estimateUnseen([...daily, 1], 9).unseenUpper).toBeGreaterThanOrEqual(5.57);
    expect(estimateUnseen([...daily, 1], 9).freshUpper).toBeCloseTo(5.57 / 9, 2);
    expect(estimateUnseen(daily, 9).freshUpper).toBeCloseTo(3.69 / 9, 2);
  });

  it('is small when every edge recurs every day, and says nothing of nothing', () => {
    expect(estimateUnseen(Array<number>(20).fill(9), 9).shareUpper).toBeLessThan(0.01);
    expect(estimateUnseen([], 9).shareUpper).toBeUndefined();
  });

  it('is large when every edge was seen once', () => {
    expect(estimateUnseen(Array<number>(20).fill(1), 9).shareUpper).toBeGreaterThan(0.9);
  });

  it('stays within its bounds, whatever the order of the edges', () => {
    fc.assert(
      fc.property(
        incidences.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        ([list, shuffled]) => {
          const estimate = estimateUnseen(list, 9);
          expect(estimate.unseen).toBeGreaterThanOrEqual(0);
          expect(estimate.unseenUpper).toBeGreaterThanOrEqual(estimate.unseen);
          expect(estimate.shareUpper).toBeGreaterThanOrEqual(0);
          expect(estimate.shareUpper).toBeLessThan(1);
          expect(estimateUnseen(shuffled, 9)).toEqual(estimate);
        },
      ),
    );
  });

  it('grows with each further edge seen once', () => {
    fc.assert(
      fc.property(incidences, (list) => {
        expect(estimateUnseen([...list, 1, 1], 9).unseen).toBeGreaterThan(estimateUnseen(list, 9).unseen);
      }),
    );
  });
});

describe('the coverage of a namespace', () => {
  const inventory = emptyInventory({
    workloads: [
      workload('shop/Deployment/web'),
      workload('shop/Deployment/new'),
      workload('shop/CronJob/nightly', {
        batch: true,
        schedule: { cron: '0 1 * * *', suspended: false, by: 'CronJob' },
      }),
      workload('shop/Deployment/silent'),
      workload('data/StatefulSet/db'),
    ],
  });
  const runs = Array.from({ length: 9 }, (_, index) => `nightly-${29852700 + index * 1440}`);
  const evidence: Evidence = { ...NO_EVIDENCE, days: days(9), runs: { 'shop/CronJob/nightly': runs } };
  const steady = (src: string, dst: string, parts = {}): Edge => edge(src, dst, { count: 9, days: days(9), ...parts });
  const cover = (edges: readonly Edge[], direction: 'ingress' | 'egress' = 'egress', from = evidence) =>
    coverageOf('shop', direction, edges, from, inventory);

  it('pools edges by day and by run, and shows each workload', () => {
    const coverage = cover([
      steady('shop/Deployment/web', 'data/StatefulSet/db'),
      edge('shop/CronJob/nightly', 'data/StatefulSet/db', { days: days(9), runs }),
    ]);
    expect(coverage).toMatchObject({
      namespace: 'shop',
      direction: 'egress',
      units: 9,
      observed: 2,
      workloads: [
        { id: 'shop/CronJob/nightly', unit: 'run', units: 9, observed: 1, answer: 'ok' },
        { id: 'shop/Deployment/web', unit: 'day', units: 9, observed: 1, answer: 'ok' },
      ],
    });
    expect(coverage.shareUpper).toBeLessThan(0.05);
  });

  it('counts an edge of a schedule by its runs though they fell on one day', () => {
    const hourly = edge('shop/CronJob/nightly', 'data/StatefulSet/db', { days: days(1), runs });
    expect(cover([hourly]).shareUpper).toBeLessThan(0.05);
    expect(cover([edge('shop/CronJob/nightly', 'data/StatefulSet/db', { days: days(9), runs: [] })]).observed).toBe(0);
  });

  it('leaves a workload of fewer than three days or runs out of the pool and reports it', () => {
    const young = edge('shop/Deployment/new', 'data/StatefulSet/db', { days: days(2, 7) });
    const coverage = cover([steady('shop/Deployment/web', 'data/StatefulSet/db'), young]);
    expect(coverage.observed).toBe(1);
    expect(coverage.workloads).toMatchObject([
      { id: 'shop/Deployment/new', units: 2, observed: 1, answer: 'too-few', shareUpper: undefined },
      { id: 'shop/Deployment/web', answer: 'ok' },
    ]);
    expect(cover([young]).shareUpper).toBeUndefined();
  });

  it('counts days without traffic since the first sight of a workload', () => {
    const coverage = cover([edge('shop/Deployment/web', 'data/StatefulSet/db', { days: days(1) })]);
    expect(coverage.workloads).toMatchObject([{ units: 9, answer: 'ok' }]);
    expect(coverage.shareUpper).toBeGreaterThan(0.5);
  });

  it('leaves out edges to be cut, denied and merely declared', () => {
    const coverage = cover([
      steady('shop/Deployment/web', 'data/StatefulSet/db'),
      edge('shop/Deployment/web', 'data/Pod/a', { review: 'to-be-cut' }),
      edge('shop/Deployment/web', 'data/Pod/b', { verdicts: { denied: 4 }, days: [] }),
      edge('shop/Deployment/web', 'data/Pod/c', {
        count: 0,
        verdicts: {},
        days: [],
        origin: { kind: 'declared', strength: 'strong', by: 'a test' },
      }),
    ]);
    expect(coverage.observed).toBe(1);
  });

  it('knows no share without any workload seen, and none unseen in a direction that stays silent', () => {
    expect(cover([])).toMatchObject({ shareUpper: undefined, workloads: [] });
    expect(cover([steady('shop/Deployment/web', 'data/StatefulSet/db')], 'ingress')).toMatchObject({
      observed: 0,
      shareUpper: 0,
    });
  });

  it('leaves other namespaces and workloads that are gone out', () => {
    const edges = [
      steady('data/StatefulSet/db', 'shop/Deployment/web'),
      steady('shop/Pod/debug', 'data/StatefulSet/db'),
    ];
    expect(cover(edges).observed).toBe(0);
    expect(cover(edges, 'ingress').observed).toBe(1);
  });
});

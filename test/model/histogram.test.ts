// Quantiles of histograms as Prometheus makes them.
import { describe, expect, it } from 'vitest';
import type { Bucket } from '../../src/model/histogram.ts';
import { histogramQuantile } from '../../src/model/histogram.ts';
import fc from '../support/fast-check.ts';

const INF = Number.POSITIVE_INFINITY;
const of = (...pairs: readonly (readonly [number, number])[]): readonly Bucket[] =>
  pairs.map(([le, count]) => ({ le, count }));

describe('a quantile', () => {
  it.each<readonly [string, number, readonly Bucket[], number | undefined]>([
    ['lies within its bucket by its rank', 0.5, of([10, 0], [20, 10], [INF, 10]), 15],
    ['begins at zero in the first bucket', 0.5, of([10, 10], [INF, 10]), 5],
    ['is the highest finite bound where it lies beyond', 0.99, of([10, 5], [INF, 10]), 10],
    ['takes the bucket that is reached exactly', 0.5, of([1, 5], [2, 10], [INF, 10]), 1],
    ['lifts buckets that fall back', 0.5, of([1, 6], [2, 4], [INF, 10]), 5 / 6],
    ['adds up buckets of one bound', 0.5, of([1, 2], [1, 3], [INF, 5], [INF, 5]), 1],
    ['does not depend on the order', 0.5, of([INF, 10], [20, 10], [10, 0]), 15],
    ['is not known without the infinite bucket', 0.5, of([10, 5], [20, 10]), undefined],
    ['is not known of one bucket', 0.5, of([INF, 10]), undefined],
    ['is not known of nothing', 0.5, of([10, 0], [INF, 0]), undefined],
  ])('%s', (_, q, buckets, wanted) => {
    expect(histogramQuantile(q, buckets)).toEqual(wanted);
  });

  it('never falls as q rises, and stays within the bounds', () => {
    const buckets = fc
      .array(fc.nat({ max: 50 }), { minLength: 2, maxLength: 8 })
      .map((steps) => steps.map((step, index) => ({ le: index === steps.length - 1 ? INF : (index + 1) * 5, step })))
      .map((list) => {
        let sum = 0;
        return list.map(({ le, step }) => ({ le, count: (sum += step) }));
      });
    fc.assert(
      fc.property(
        buckets,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (list, a, b) => {
          const [low, high] = [histogramQuantile(Math.min(a, b), list), histogramQuantile(Math.max(a, b), list)];
          if (low === undefined || high === undefined) return;
          expect(low).toBeLessThanOrEqual(high + 1e-9);
          expect(high).toBeLessThanOrEqual(list.at(-2)?.le ?? 0);
        },
      ),
    );
  });
});

/** A bucket of a Prometheus histogram: how many observations, or how many a second, were at most `le`. Counts are cumulative. */
export interface Bucket {
  /** Upper bound; infinite for the last bucket. */
  readonly le: number;
  readonly count: number;
}

/**
 * The quantile of a classic histogram, interpolated as Prometheus does it (`histogram_quantile`, prometheus.io/docs/prometheus/latest/querying/functions):
 * linearly within the bucket that holds the rank, from zero in the first one, and the highest finite bound where the rank lies beyond it. Buckets
 * that fall back (scraped at two moments) are lifted to the one before. Undefined without an infinite bucket, with fewer than two buckets, or
 * without observations. `q` lies between 0 and 1.
 */
export function histogramQuantile(q: number, buckets: readonly Bucket[]): number | undefined {
  const sorted = sumByBound(buckets);
  const last = sorted.at(-1);
  if (sorted.length < 2 || last?.le !== Number.POSITIVE_INFINITY || !(last.count > 0)) return undefined;
  let rank = q * last.count;
  const index = sorted.slice(0, -1).findIndex(({ count }) => count >= rank);
  if (index < 0) return sorted.at(-2)?.le;
  const found = sorted[index];
  if (found === undefined) return undefined;
  if (index === 0 && found.le <= 0) return found.le;
  const before = sorted[index - 1];
  const start = before?.le ?? 0;
  const within = found.count - (before?.count ?? 0);
  rank -= before?.count ?? 0;
  return within === 0 ? start : start + (found.le - start) * (rank / within);
}

/** One bucket a bound, in order of bounds, counts never falling. */
function sumByBound(buckets: readonly Bucket[]): readonly Bucket[] {
  const counts = new Map<number, number>();
  for (const { le, count } of buckets)
    if (!Number.isNaN(le) && !Number.isNaN(count)) counts.set(le, (counts.get(le) ?? 0) + count);
  let most = 0;
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([le, count]) => ({ le, count: (most = Math.max(most, count)) }));
}

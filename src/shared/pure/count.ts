/** The sum of two counts; one beyond what a number counts exactly stays at that bound, so that sums do not hang on their order. */
export function addCounts(a: number, b: number): number {
  return Math.min(a + b, Number.MAX_SAFE_INTEGER);
}

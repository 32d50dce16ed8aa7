import type { Clock } from '../../src/engine/contract.ts';

/** A clock that stands at `now`, milliseconds since the epoch, and waits for nothing. */
export function stoppedClock(now: number): Clock {
  return { now: () => now, sleep: () => Promise.resolve() };
}

import type { Clock } from '../../../src/engine/contract.ts';

export interface SimulatedClock extends Clock {
  /** Moves time on by itself. */
  advance(milliseconds: number): void;
  /** What was waited for, in order. */
  readonly slept: readonly number[];
  /** Called after each wait: the world may have moved on meanwhile. */
  onSleep(observer: (now: number) => void): void;
}

/** Time that moves only when waited for. */
export function simulatedClock(start = Date.UTC(2026, 0, 1)): SimulatedClock {
  let now = start;
  const slept: number[] = [];
  const observers: ((now: number) => void)[] = [];
  return {
    now: () => now,
    sleep: (milliseconds, signal) => {
      if (isAborted(signal)) return Promise.reject(signal?.reason as Error);
      now += milliseconds;
      slept.push(milliseconds);
      for (const observer of observers) observer(now);
      return isAborted(signal) ? Promise.reject(signal?.reason as Error) : Promise.resolve();
    },
    advance: (milliseconds) => {
      now += milliseconds;
    },
    slept,
    onSleep: (observer) => {
      observers.push(observer);
    },
  };
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

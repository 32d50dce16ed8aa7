import type { Clock } from '../../../src/engine/contract.ts';

export interface EventClock extends Clock {
  /** Moves time on by itself; whoever waits for a moment passed by then is woken next. */
  advance(milliseconds: number): void;
}

/** Time that moves on to the next moment that somebody waits for, when nobody has anything else to do. */
export function eventClock(start: number): EventClock {
  let now = start;
  let ticking = false;
  const waiting: { readonly at: number; readonly wake: () => void }[] = [];
  const tick = (): void => {
    ticking = false;
    waiting.sort((a, b) => a.at - b.at);
    const next = waiting.shift();
    if (next === undefined) return;
    now = Math.max(now, next.at);
    next.wake();
    if (waiting.length > 0) schedule();
  };
  const schedule = (): void => {
    if (ticking) return;
    ticking = true;
    setImmediate(tick);
  };
  return {
    now: () => now,
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        const stop = (): void => {
          const at = waiting.indexOf(entry);
          if (at >= 0) waiting.splice(at, 1);
          reject(signal?.reason as Error);
        };
        const entry = {
          at: now + milliseconds,
          wake: () => {
            signal?.removeEventListener('abort', stop);
            resolve();
          },
        };
        if (signal?.aborted === true) {
          reject(signal.reason as Error);
          return;
        }
        signal?.addEventListener('abort', stop, { once: true });
        waiting.push(entry);
        schedule();
      }),
    advance: (milliseconds) => {
      now += milliseconds;
    },
  };
}

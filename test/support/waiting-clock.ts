import type { Clock } from '../../src/engine/contract.ts';

export interface WaitingClock extends Clock {
  /** Moves time on, and lets those go on whose wait is over; they have gone on when this resolves. */
  pass(milliseconds: number): Promise<void>;
}

/** Time that moves when the test says so: whoever waits, waits until then. */
export function waitingClock(start = Date.UTC(2026, 0, 1)): WaitingClock {
  let now = start;
  const waiting = new Set<{ readonly due: number; readonly go: () => void }>();
  return {
    now: () => now,
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        const fail = (): void => reject(signal?.reason as Error);
        if (signal?.aborted === true) {
          fail();
          return;
        }
        const entry = {
          due: now + milliseconds,
          go: () => {
            signal?.removeEventListener('abort', stop);
            resolve();
          },
        };
        const stop = (): void => {
          waiting.delete(entry);
          fail();
        };
        signal?.addEventListener('abort', stop, { once: true });
        waiting.add(entry);
      }),
    pass: async (milliseconds) => {
      now += milliseconds;
      for (const entry of [...waiting])
        if (entry.due <= now) {
          waiting.delete(entry);
          entry.go();
        }
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

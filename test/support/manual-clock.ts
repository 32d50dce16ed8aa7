import type { Clock } from '../../src/engine/contract.ts';

export interface ManualClock extends Clock {
  /** Time passes: whoever waited for it is woken, in order. */
  pass(milliseconds: number): Promise<void>;
}

/** Time that moves only when the test says so. */
export function manualClock(start: number): ManualClock {
  let now = start;
  const waiting = new Set<{ readonly due: number; readonly wake: () => void }>();
  return {
    now: () => now,
    sleep: (milliseconds, signal) =>
      new Promise((resolve, reject) => {
        const stop = (): void => {
          waiting.delete(one);
          reject(signal?.reason instanceof Error ? signal.reason : new Error('stopped'));
        };
        const one = {
          due: now + milliseconds,
          wake: () => {
            signal?.removeEventListener('abort', stop);
            resolve();
          },
        };
        if (signal?.aborted === true) {
          stop();
          return;
        }
        waiting.add(one);
        signal?.addEventListener('abort', stop, { once: true });
      }),
    async pass(milliseconds) {
      now += milliseconds;
      for (const one of [...waiting].sort((a, b) => a.due - b.due))
        if (one.due <= now && waiting.delete(one)) one.wake();
      await settle();
    },
  };
}

/** Lets everything that is ready run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

import { EXIT, Failure } from '../shared/pure/errors.ts';

/** What Ctrl-C does: a run stops between two steps, anything else is left at once. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** Does a run write just now? */
  readonly running: boolean;
  /** Was something told to stop, and has not ended yet? Whoever asks again means now. */
  readonly stopping: boolean;
  /** Marks `work` as a run: it watches the signal itself and is not left in the middle of a step. */
  during<T>(work: () => Promise<T>): Promise<T>;
  /**
   * One command of a session, with an interrupt of its own: while a run of it writes, `stop` ends that run alone. Everything else
   * is ended together with what is around it.
   */
  command<T>(work: (interrupt: Interrupt) => Promise<T>): Promise<T>;
  /** `all`: whatever is around it as well. */
  stop(all?: boolean): void;
}

/** Asked anew after a wait: a look from before it is old. */
export function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

export function openInterrupt(): Interrupt {
  const controller = new AbortController();
  let runs = 0;
  let inner: Interrupt | undefined;
  const stop = (all = false): void => {
    const only = !all && inner?.running === true && !inner.stopping;
    inner?.stop(all);
    if (!only) controller.abort(cancelled());
  };
  return {
    signal: controller.signal,
    get running() {
      return runs > 0 || inner?.running === true;
    },
    get stopping() {
      return controller.signal.aborted || inner?.stopping === true;
    },
    async during(work) {
      runs += 1;
      try {
        return await work();
      } finally {
        runs -= 1;
      }
    },
    async command(work) {
      const own = openInterrupt();
      if (controller.signal.aborted) own.stop(true);
      inner = own;
      try {
        return await work(own);
      } finally {
        inner = undefined;
      }
    },
    stop,
  };
}

/** Ctrl-C outside a run, or at a prompt: exit 130. */
export function cancelled(message = 'cancelled; nothing was written by this command'): Failure {
  return new Failure({
    code: 'SP130',
    exit: EXIT.cancelled,
    message,
    hint: 'sallyport status shows where each namespace stands',
  });
}

/** What an input gives until the signal; then SP130, also where the input itself would never end. */
export async function* untilStopped<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
  message: string,
): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  let stop: (() => void) | undefined;
  const stopped = new Promise<'stopped'>((resolve) => {
    stop = () => resolve('stopped');
    signal.addEventListener('abort', stop);
  });
  let over = false;
  try {
    for (;;) {
      const next = signal.aborted ? ('stopped' as const) : await Promise.race([iterator.next(), stopped]);
      if (next === 'stopped') throw cancelled(message);
      if (next.done === true) {
        over = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
    // Not awaited: an iterator that waits for input answers only when input comes.
    if (!over) iterator.return?.().catch(() => undefined);
  }
}

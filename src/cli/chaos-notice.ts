import type { Clock } from '../engine/contract.ts';
import { systemClock } from '../shared/io/clock.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import { connectKube, openDiscovery } from '../sources/kube/index.ts';
import type { Notice } from '../watch/notice.ts';
import type { App } from './context.ts';
import { kubeOptions } from './context.ts';
import { followCluster } from './watch-cluster.ts';

/** Who looks, from before something is taken away until it is back. */
export interface Lookout {
  readonly by: string;
  /** When it was noticed, ms since the epoch, and as what; undefined: not until the signal. */
  noticed(signal: AbortSignal): Promise<{ readonly at: number; readonly as: string } | undefined>;
  close(): Promise<void>;
}

const TURN_MS = 200;
const POLL_MS = 500;
const READY_MS = 10 * 60_000;

/** A watch of this process, as `sallyport watch` is: it has listed and judged everything when this returns. Errors: SP666 where it does not come so far. */
export async function lookByWatch(app: App, object: string): Promise<Lookout> {
  const { openWorld } = await import('./commands/watch.ts');
  const clock = systemClock;
  const stop = new AbortController();
  const api = await connectKube({ ...kubeOptions(app.options, app.env), clock });
  const heard: Notice[] = [];
  let failure: unknown;
  const watcher = await openWorld(
    { app, api, discovery: openDiscovery(api), clock, stop },
    undefined,
    (notice) => heard.push(notice),
    () => undefined,
    false,
  );
  const following = followCluster({
    api,
    clock,
    signal: stop.signal,
    emit: (event) => watcher.take(event),
    note: () => undefined,
  }).catch((error: unknown) => {
    if (!stop.signal.aborted) failure = error;
    stop.abort(error);
  });
  const turning = (async () => {
    while (!stop.signal.aborted) {
      await watcher.turn();
      await clock.sleep(TURN_MS, stop.signal).catch(() => undefined);
    }
  })().catch((error: unknown) => {
    failure ??= error;
    stop.abort(error);
  });
  const close = async (): Promise<void> => {
    if (!stop.signal.aborted) stop.abort(new Error('over'));
    await Promise.all([following, turning]);
    api.close();
  };
  const until = clock.now() + READY_MS;
  while (!watcher.health().ready && !stop.signal.aborted && clock.now() < until && !app.interrupt.signal.aborted)
    await clock.sleep(TURN_MS, stop.signal).catch(() => undefined);
  if (!watcher.health().ready) {
    await close();
    throw blind(failure === undefined ? 'it did not read the cluster in time' : messageOf(failure), 'sallyport watch');
  }
  return {
    by: 'watch',
    noticed: async (signal) => {
      const from = heard.length;
      for (;;) {
        const found = heard
          .slice(from)
          .find((notice) => notice.kind === 'drift' && notice.state !== 'cleared' && notice.object === object);
        if (found !== undefined) return { at: found.at, as: found.text };
        if (signal.aborted || failure !== undefined) return undefined;
        await clock.sleep(20, signal).catch(() => undefined);
      }
    },
    close,
  };
}

/** A watch that runs elsewhere, by what its /metrics say of drift in the namespace. Errors: SP666 where it does not answer, or is not ready. */
export async function lookByMetrics(url: string, namespace: string, clock: Clock): Promise<Lookout> {
  const before = await readDrift(url, namespace);
  if (typeof before === 'string') throw blind(before, url);
  return {
    by: url,
    noticed: async (signal) => {
      for (;;) {
        const now = await readDrift(url, namespace);
        if (typeof now === 'number' && now > before)
          return { at: clock.now(), as: `sallyport_drift of ${namespace} went from ${before} to ${now}` };
        if (signal.aborted) return undefined;
        await clock.sleep(POLL_MS, signal).catch(() => undefined);
      }
    },
    close: () => Promise.resolve(),
  };
}

/** How many fields and objects a watch says to be otherwise; a text where it does not say. */
async function readDrift(url: string, namespace: string): Promise<number | string> {
  try {
    const answer = await fetch(new URL('/metrics', url), { signal: AbortSignal.timeout(5_000), redirect: 'error' });
    const text = await answer.text();
    if (!answer.ok) return `it answered ${answer.status}`;
    if (!text.split('\n').includes('sallyport_ready 1')) return 'it is no watch that is ready';
    const line = text.split('\n').find((one) => one.startsWith(`sallyport_drift{namespace="${namespace}"} `));
    return line === undefined ? `it knows nothing of ${namespace}` : Number(line.slice(line.lastIndexOf(' ') + 1));
  } catch {
    return 'it could not be reached';
  }
}

function blind(message: string, where: string): Failure {
  return new Failure({
    code: 'SP666',
    exit: EXIT.refused,
    message: `nobody looks, so nothing was taken away: ${message}`,
    where,
    hint: 'start the watch first: sallyport watch --listen :9464; without --watch-url a watch of its own looks',
  });
}

/** A directory does not change by itself: what `verify` says of it is all there is. */
export function lookByVerify(read: () => Promise<string | undefined>, clock: Clock): Lookout {
  return {
    by: 'verify',
    noticed: async () => {
      const as = await read().catch((error: unknown) => {
        if (!isFailure(error)) throw error;
        return undefined;
      });
      return as === undefined ? undefined : { at: clock.now(), as };
    },
    close: () => Promise.resolve(),
  };
}

import type { Clock, Proxies, Target } from '../engine/contract.ts';
import type { ProxyConnections } from '../readiness/open-connections.ts';
import { countOpen, parseAccepted, parseClusters } from '../readiness/open-connections.ts';
import type { ProxiedPod } from '../readiness/pod-proxy.ts';
import { proxyStatus } from '../readiness/pod-proxy.ts';
import { isOver } from './interrupt.ts';
import type { RecordedPod } from '../plan/plan.ts';
import { isFailure } from '../shared/pure/errors.ts';
import { plural } from '../shared/pure/text.ts';

/** What a proxy says it has open; unknown where it, or the way to it, does not say. */
export type Reading =
  ({ readonly kind: 'known' } & ProxyConnections) | { readonly kind: 'unknown'; readonly why: string };

export interface PodConnections {
  readonly pod: string;
  readonly read: Reading;
  readonly drained?: Drained;
}

/** `ended`: the kubelet says that the process is over, and with it every connection through it. */
export interface Drained {
  readonly outcome: 'ended' | 'unknown' | 'failed';
  readonly text: string;
}

/** What ending needs of the world. */
export interface ConnectionPorts {
  readonly proxies: Proxies;
  readonly target: Pick<Target, 'readObject'>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** On the trail, durable when it returns: before a proxy is told, and when it is known what came of it. */
  readonly note: (pod: ProxiedPod, what: string, reason: string) => Promise<void>;
}

/** What requests under way get to end by themselves: what Istio's own agent gives a proxy that ends (istio.io, ProxyConfig terminationDrainDuration: 5s). */
export const GRACE_MS = 5_000;
/** The kubelet looks at its containers every second, and tells the API server within some more. */
const SEEN_MS = 60_000;
const LOOK_MS = 1_000;
const PARALLEL = 4;
/** Whoever holds a pod can have its proxy answer as slowly as it likes: all pods together get as long as one answer may take, and nobody holds the others up for long. */
const READING_MS = 15_000;
const READ_AT_ONCE = 8;
const CLUSTERS = '/clusters?format=json';
const ACCEPTED = `/stats?format=json&filter=${encodeURIComponent('^listener\\..*downstream_cx_active$')}`;
/** Gracefully, so that requests end; without stopping to listen, which is the policies' matter (envoyproxy.io, Administration interface). */
const DRAIN = '/drain_listeners?graceful&skip_exit';
const QUIT = '/quitquitquit';

/** Asks the proxies, for `limitMs` over all of them: what has not answered by then is unknown. Nothing is written. */
export async function readConnections(
  { proxies, signal }: Pick<ConnectionPorts, 'proxies' | 'signal'>,
  pods: readonly ProxiedPod[],
  limitMs = READING_MS,
): Promise<readonly PodConnections[]> {
  const limit = AbortSignal.timeout(limitMs);
  return inParallel(pods, READ_AT_ONCE, async (pod) => ({
    pod: pod.name,
    read: await readOne(proxies, pod, signal, limit),
  }));
}

/**
 * Ends what the proxies have open, in both directions: requests under way get a few seconds, then the proxy's process ends, and what is left with it. Envoy
 * has no request that closes connections alone: a drain asks clients of HTTP to leave, and leaves raw TCP and what is idle as they are (measured, src/README.md).
 * Pod, files, memory and every other container stay. Where the signal comes, no further proxy is told, and what came of those that were is on the trail before
 * its reason is thrown.
 */
export async function endConnections(
  ports: ConnectionPorts,
  pods: readonly ProxiedPod[],
): Promise<readonly PodConnections[]> {
  const { proxies, signal, note } = ports;
  return inParallel(pods, PARALLEL, async (pod) => {
    signal.throwIfAborted();
    // First of all: what the proxy answers may be the end of this process.
    await note(pod, 'incident drain begins', 'the proxy is told to drain, then to end');
    const read = await readUnlessStopped(proxies, pod, signal, GRACE_MS);
    const drained = await endOne(ports, pod);
    await note(pod, `incident drain: ${drained.outcome}`, `${drained.text} (before: ${said(read)})`);
    signal.throwIfAborted();
    return { pod: pod.name, read, drained };
  });
}

const GONE: Drained = {
  outcome: 'unknown',
  text: 'there is no pod of that name and identity any more: that its processes have ended nobody has said',
};

/** Never throws for want of an answer: what is not known of a proxy that was told is `unknown`, and `failed` is what was not told. */
async function endOne(ports: ConnectionPorts, pod: ProxiedPod): Promise<Drained> {
  const { proxies, target, clock, signal } = ports;
  const ref = { apiVersion: 'v1', kind: 'Pod', namespace: pod.namespace, name: pod.name };
  let restarts: number | undefined;
  let left: Reading;
  try {
    signal.throwIfAborted();
    const before = await target.readObject(ref);
    if (before === undefined || (pod.uid !== undefined && before.metadata['uid'] !== pod.uid)) return GONE;
    const status = proxyStatus(before);
    if (status?.terminated === true)
      return { outcome: 'ended', text: 'the kubelet says that its proxy has ended already: nothing passes it' };
    restarts = status?.restarts;
    // A drain is a courtesy to requests: what does not answer it is told to end all the same.
    await unlessNoAnswer(proxies.ask(pod, 'POST', DRAIN, signal));
    const until = clock.now() + GRACE_MS;
    left = await readOne(proxies, pod, signal, AbortSignal.timeout(GRACE_MS));
    while (clock.now() < until && !(left.kind === 'known' && countOpen(left) === 0)) {
      await clock.sleep(LOOK_MS, signal);
      signal.throwIfAborted();
      left = await readOne(proxies, pod, signal, AbortSignal.timeout(Math.max(LOOK_MS, until - clock.now())));
    }
    signal.throwIfAborted();
  } catch (error) {
    return { outcome: 'failed', text: `it was not told to end: ${whyOf(error, signal)}` };
  }
  let unanswered: string | undefined;
  try {
    // It may be gone before it has answered: what the kubelet says counts.
    unanswered = await unlessNoAnswer(proxies.ask(pod, 'POST', QUIT, signal));
  } catch (error) {
    return signal.aborted
      ? { outcome: 'unknown', text: `whether it was told to end is not known: ${whyOf(error, signal)}` }
      : { outcome: 'failed', text: `it was not told to end: ${whyOf(error, signal)}` };
  }
  const rest = `${left.kind === 'known' ? plural(countOpen(left), 'connection') : 'an unknown number of connections'} had not ended in ${GRACE_MS / 1000} s, and ended with it`;
  const limit = clock.now() + SEEN_MS;
  let unread: string | undefined;
  for (;;) {
    try {
      signal.throwIfAborted();
      const now = await target.readObject(ref);
      unread = undefined;
      if (now === undefined || (pod.uid !== undefined && now.metadata['uid'] !== pod.uid)) return GONE;
      const status = proxyStatus(now);
      if (status !== undefined && restarts !== undefined && status.restarts > restarts && status.runs)
        return { outcome: 'ended', text: `${rest}; the kubelet started it anew` };
      if (status !== undefined && !status.runs && (!pod.returns || clock.now() >= limit))
        return {
          outcome: 'ended',
          text: `${rest}; it is not running again${pod.returns ? ' yet' : ', and will not: the pod has no network through it any more'}`,
        };
    } catch (error) {
      if (signal.aborted)
        return {
          outcome: 'unknown',
          text: `it was told to end, and nobody waited for the kubelet to say that it has: ${whyOf(error, signal)}`,
        };
      // One look that fails says nothing of the proxy: the next may not.
      unread = whyOf(error, signal);
    }
    if (clock.now() >= limit)
      return {
        outcome: 'unknown',
        text: `it was told to end${unanswered === undefined ? '' : ` and gave no answer (${unanswered})`}, and within ${SEEN_MS / 1000} s the kubelet did not say that it has${unread === undefined ? '' : ` (${unread})`}: its connections may be open`,
      };
    try {
      await clock.sleep(LOOK_MS, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

/** Undefined for an answer, and why there is none, which leaves open whether the request came. Errors: where it was surely not sent. */
async function unlessNoAnswer(answer: Promise<string>): Promise<string | undefined> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    if (!isFailure(error) || error.detail.code !== 'SP431') throw error;
    return `${error.detail.code} ${error.message}`;
  }
}

/** Errors: what is no failure of the world is thrown on. */
function whyOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return 'it was cancelled';
  if (!isFailure(error)) throw error;
  return `${error.detail.code} ${error.message}`;
}

async function readUnlessStopped(
  proxies: Proxies,
  pod: ProxiedPod,
  signal: AbortSignal,
  limitMs: number,
): Promise<Reading> {
  try {
    return await readOne(proxies, pod, signal, AbortSignal.timeout(limitMs));
  } catch (error) {
    return { kind: 'unknown', why: whyOf(error, signal) };
  }
}

/** Errors: the reason of `signal`; `limit` makes it unknown. */
async function readOne(proxies: Proxies, pod: ProxiedPod, signal: AbortSignal, limit: AbortSignal): Promise<Reading> {
  const either = AbortSignal.any([signal, limit]);
  try {
    either.throwIfAborted();
    const open = parseClusters(await proxies.ask(pod, 'GET', CLUSTERS, either));
    if (open === undefined) return { kind: 'unknown', why: 'its answer is not that of a proxy' };
    return { kind: 'known', accepted: parseAccepted(await proxies.ask(pod, 'GET', ACCEPTED, either)), open };
  } catch (error) {
    signal.throwIfAborted();
    if (limit.aborted) return { kind: 'unknown', why: 'it did not answer in the time there is' };
    if (!isFailure(error)) throw error;
    return { kind: 'unknown', why: `${error.detail.code} ${error.message}` };
  }
}

/** A reading in one line. */
export function said(read: Reading): string {
  if (read.kind === 'unknown') return `what it has open is not known: ${read.why}`;
  const of = (way: 'in' | 'out'): number => read.open.reduce((sum, one) => sum + (one.way === way ? one.count : 0), 0);
  const accepted = read.accepted === undefined ? 'how many it accepted it does not count' : `${read.accepted} accepted`;
  return `${of('in')} open to its container, ${of('out')} out of the pod; ${accepted}`;
}

/** Where one fails, what others have begun is over before it is thrown. */
async function inParallel<T, R>(
  items: readonly T[],
  most: number,
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(most, items.length) }, worker));
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
  return results;
}

/** Seconds that a pod gets, and what the kubelet takes to end it and to say so. */
const POD_GONE_MS = 40_000;

/**
 * Waits until pods that were told to end are gone, by identity: an object that is only marked as ending may have processes that talk. Gives the names of
 * those that are there when the time is over, or of which nobody could say.
 */
export async function awaitGone(
  { target, clock, signal }: Pick<ConnectionPorts, 'target' | 'clock' | 'signal'>,
  namespace: string,
  pods: readonly RecordedPod[],
): Promise<readonly string[]> {
  const limit = clock.now() + POD_GONE_MS;
  let left = pods;
  for (;;) {
    const still: RecordedPod[] = [];
    for (const pod of left) {
      try {
        signal.throwIfAborted();
        const now = await target.readObject({ apiVersion: 'v1', kind: 'Pod', namespace, name: pod.name });
        if (now !== undefined && (pod.uid === undefined || now.metadata['uid'] === pod.uid)) still.push(pod);
      } catch (error) {
        if (!signal.aborted && !isFailure(error)) throw error;
        still.push(pod);
      }
    }
    left = still;
    if (left.length === 0 || signal.aborted || clock.now() >= limit) return left.map(({ name }) => name);
    try {
      await clock.sleep(LOOK_MS, signal);
    } catch (error) {
      if (!isOver(signal)) throw error;
    }
  }
}

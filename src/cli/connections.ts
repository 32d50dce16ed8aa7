import type { Clock, Proxies, Target } from '../engine/contract.ts';
import type { ProxyConnections } from '../readiness/open-connections.ts';
import { countOpen, parseAccepted, parseClusters } from '../readiness/open-connections.ts';
import type { ProxiedPod } from '../readiness/pod-proxy.ts';
import { proxyStatus } from '../readiness/pod-proxy.ts';
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
const CLUSTERS = '/clusters?format=json';
const ACCEPTED = `/stats?format=json&filter=${encodeURIComponent('^listener\\..*downstream_cx_active$')}`;
/** Gracefully, so that requests end; without stopping to listen, which is the policies' matter (envoyproxy.io, Administration interface). */
const DRAIN = '/drain_listeners?graceful&skip_exit';
const QUIT = '/quitquitquit';

/** Asks the proxies. Nothing is written. */
export async function readConnections(
  { proxies, signal }: Pick<ConnectionPorts, 'proxies' | 'signal'>,
  pods: readonly ProxiedPod[],
): Promise<readonly PodConnections[]> {
  return inParallel(pods, async (pod) => ({ pod: pod.name, read: await readOne(proxies, pod, signal) }));
}

/**
 * Ends what the proxies have open, in both directions: requests under way get a few seconds, then the proxy's process ends, and what is left with it. Envoy
 * has no request that closes connections alone: a drain asks clients of HTTP to leave, and leaves raw TCP and what is idle as they are (measured, src/README.md).
 * Pod, files, memory and every other container stay.
 */
export async function endConnections(
  ports: ConnectionPorts,
  pods: readonly ProxiedPod[],
): Promise<readonly PodConnections[]> {
  return inParallel(pods, async (pod) => {
    const read = await readOne(ports.proxies, pod, ports.signal);
    await ports.note(pod, 'incident drain begins', said(read));
    let drained: Drained;
    try {
      drained = await endOne(ports, pod);
    } catch (error) {
      if (!isFailure(error)) throw error;
      drained = { outcome: 'failed', text: `${error.detail.code} ${error.message}` };
    }
    await ports.note(pod, `incident drain: ${drained.outcome}`, drained.text);
    return { pod: pod.name, read, drained };
  });
}

async function endOne(ports: ConnectionPorts, pod: ProxiedPod): Promise<Drained> {
  const { proxies, target, clock, signal } = ports;
  const ref = { apiVersion: 'v1', kind: 'Pod', namespace: pod.namespace, name: pod.name };
  const before = await target.readObject(ref);
  if (before === undefined || (pod.uid !== undefined && before.metadata['uid'] !== pod.uid))
    return { outcome: 'ended', text: 'the pod is gone, and its connections with it' };
  const restarts = proxyStatus(before)?.restarts;
  await proxies.ask(pod, 'POST', DRAIN, signal);
  const until = clock.now() + GRACE_MS;
  let left = await readOne(proxies, pod, signal);
  while (clock.now() < until && !(left.kind === 'known' && countOpen(left) === 0)) {
    await clock.sleep(LOOK_MS, signal);
    left = await readOne(proxies, pod, signal);
  }
  try {
    await proxies.ask(pod, 'POST', QUIT, signal);
  } catch (error) {
    // It may be gone before it has answered: what the kubelet says counts.
    if (!isFailure(error) || error.detail.code !== 'SP431') throw error;
  }
  const rest = `${left.kind === 'known' ? plural(countOpen(left), 'connection') : 'an unknown number of connections'} had not ended in ${GRACE_MS / 1000} s, and ended with it`;
  const limit = clock.now() + SEEN_MS;
  for (;;) {
    const now = await target.readObject(ref);
    if (now === undefined || now.metadata['uid'] !== before.metadata['uid'])
      return { outcome: 'ended', text: 'the pod is gone, and its connections with it' };
    const status = proxyStatus(now);
    if (status !== undefined && restarts !== undefined && status.restarts > restarts && status.runs)
      return { outcome: 'ended', text: `${rest}; the kubelet started it anew` };
    if (status !== undefined && !status.runs && (!pod.returns || clock.now() >= limit))
      return {
        outcome: 'ended',
        text: `${rest}; it is not running again${pod.returns ? ' yet' : ', and will not: the pod has no network through it any more'}`,
      };
    if (clock.now() >= limit)
      return {
        outcome: 'unknown',
        text: `it was told to end, and within ${SEEN_MS / 1000} s the kubelet did not say that it has: its connections may be open`,
      };
    await clock.sleep(LOOK_MS, signal);
  }
}

async function readOne(proxies: Proxies, pod: ProxiedPod, signal: AbortSignal): Promise<Reading> {
  try {
    const open = parseClusters(await proxies.ask(pod, 'GET', CLUSTERS, signal));
    if (open === undefined) return { kind: 'unknown', why: 'its answer is not that of a proxy' };
    return { kind: 'known', accepted: parseAccepted(await proxies.ask(pod, 'GET', ACCEPTED, signal)), open };
  } catch (error) {
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

async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker));
  return results;
}

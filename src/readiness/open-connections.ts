import { compareText } from '../shared/pure/order.ts';
import type { Json } from '../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, isJsonObject } from '../shared/pure/json.ts';

/** Connections that a proxy has open to one address, as the proxy says. */
export interface OpenConnections {
  /** `in`: to the container that it stands before; `out`: away from the pod. */
  readonly way: 'in' | 'out';
  /** `10.1.0.3:5432`, or a path. */
  readonly address: string;
  readonly cluster: string;
  readonly count: number;
}

/** What one pod's proxy has open. */
export interface ProxyConnections {
  /** Connections that it accepted, from outside and from its own pod; undefined where it does not count them. */
  readonly accepted: number | undefined;
  /** Most first. */
  readonly open: readonly OpenConnections[];
}

/** What the proxy keeps for itself: its control plane, its certificates, its own agent and metrics (istio/istio, tools/packaging bootstrap). */
const OWN_CLUSTERS = new Set([
  'xds-grpc',
  'sds-grpc',
  'agent',
  'prometheus_stats',
  'zipkin',
  'opentelemetry_collector',
]);

/** Values in an answer: of some thousands of endpoints with a score of gauges each. More is no proxy's answer, and would fill the memory before it is read. */
const MOST_VALUES = 1_000_000;
/** Addresses that are told one by one; the rest in a sum for each way. */
const MOST_ADDRESSES = 200;
const LONGEST_NAME = 200;

/**
 * Reads `GET /clusters?format=json` (envoyproxy.io, Administration interface: the proto `Clusters`). The gauge `cx_active` of each
 * host counts whatever the proxy's own filter of statistics leaves out. A value of zero is left out by proto3's JSON, and numbers of 64 bits are texts. Undefined where it
 * is no such answer. Whoever holds the pod may have written it: what comes out is small, whatever goes in.
 */
export function parseClusters(text: string): readonly OpenConnections[] | undefined {
  const body = parse(text);
  if (!isJsonObject(body)) return undefined;
  const clusters = body['cluster_statuses'];
  // A list that is empty is left out as well.
  if (clusters === undefined ? Object.keys(body).length > 0 : !Array.isArray(clusters)) return undefined;
  const found: OpenConnections[] = [];
  for (const one of asArray(clusters)) {
    const cluster = asString(asObject(one)['name']);
    if (cluster === undefined || OWN_CLUSTERS.has(cluster)) continue;
    for (const host of asArray(asObject(one)['host_statuses']).map((each) => asObject(each))) {
      const gauge = asArray(host['stats']).find((stat) => asObject(stat)['name'] === 'cx_active');
      const count = gauge === undefined ? 0 : countOf(asObject(gauge)['value']);
      if (count === undefined) return undefined;
      if (count > 0)
        found.push({
          way: cluster.startsWith('inbound') || cluster === 'InboundPassthroughCluster' ? 'in' : 'out',
          address: addressOf(host['address']).slice(0, LONGEST_NAME),
          cluster: cluster.slice(0, LONGEST_NAME),
          count,
        });
    }
  }
  found.sort((a, b) => b.count - a.count || compareText(`${a.cluster} ${a.address}`, `${b.cluster} ${b.address}`));
  return [...found.slice(0, MOST_ADDRESSES), ...summed(found.slice(MOST_ADDRESSES))];
}

function summed(rest: readonly OpenConnections[]): readonly OpenConnections[] {
  return (['in', 'out'] as const).flatMap((way) => {
    const of = rest.filter((one) => one.way === way);
    const count = of.reduce((sum, one) => sum + one.count, 0);
    return of.length === 0 ? [] : [{ way, address: `${of.length} more addresses`, cluster: 'several', count }];
  });
}

/**
 * Reads `GET /stats?format=json`: the sum of `listener.ADDRESS.downstream_cx_active`. Undefined where there is none: Istio's
 * proxies leave these out unless proxyStatsMatcher asks for them (istio.io, Envoy Statistics).
 */
export function parseAccepted(text: string): number | undefined {
  const stats = asArray(asObject(parse(text))['stats']);
  const counts = stats.flatMap((one) => {
    const { name, value } = asObject(one);
    const listener = /^listener\.(?!admin\.)(.+)\.downstream_cx_active$/u.exec(asString(name) ?? '')?.[1];
    // Each listener is counted for itself and once more by worker.
    return listener === undefined || /\.(?:worker_\d+|main_thread)$/u.test(listener) ? [] : [countOf(value)];
  });
  if (counts.length === 0 || counts.includes(undefined)) return undefined;
  return counts.reduce<number>((sum, one) => sum + (one ?? 0), 0);
}

/** How many it has open, towards its container and away from it. */
export function countOpen({ open }: ProxyConnections): number {
  return open.reduce((sum, { count }) => sum + count, 0);
}

function parse(text: string): Json | undefined {
  if (countValues(text) > MOST_VALUES) return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

/** At least as many as it has: brackets and commas, in texts too. */
function countValues(text: string): number {
  let count = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    // { [ ,
    if (code === 0x7b || code === 0x5b || code === 0x2c) count += 1;
  }
  return count;
}

function countOf(value: Json | undefined): number | undefined {
  if (value === undefined) return 0;
  const count = typeof value === 'string' && /^\d{1,15}$/u.test(value) ? Number(value) : asNumber(value);
  return count !== undefined && Number.isSafeInteger(count) && count >= 0 ? count : undefined;
}

function addressOf(address: Json | undefined): string {
  const { socket_address: socket, pipe, envoy_internal_address: inner } = asObject(address);
  const host = asString(asObject(socket)['address']);
  if (host !== undefined) {
    const port = asNumber(asObject(socket)['port_value']);
    return `${host.includes(':') ? `[${host}]` : host}${port === undefined ? '' : `:${port}`}`;
  }
  return (
    asString(asObject(pipe)['path']) ??
    asString(asObject(inner)['server_listener_name']) ??
    'an address that is not told'
  );
}

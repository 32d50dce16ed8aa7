import type { Flow, InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { countAt, createEnds, isRaw, parsePrincipal, parseServiceName, plainNumber, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';

/** Envoy's and ztunnel's flags of calls that were not carried out. */
const FAILED = /^(?:UF|UH|UO|NR|NC|UC|URX|LH|DF|CONNECT|TLS_FAILURE|H2_HANDSHAKE_FAILURE)$/;
const DENIED = /^(?:DENY|NETWORK_POLICY|UAEX)$/;

interface Node {
  readonly type: string;
  readonly end: RawEnd;
  /** Services that are called to reach it. */
  readonly services: readonly { readonly namespace: string; readonly name: string }[];
}

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('kiali', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: "not Kiali's graph" };
    const elements = value['elements'];
    const seconds = countAt(value, 'timestamp');
    const duration = countAt(value, 'duration');
    if (!isRaw(elements) || !Array.isArray(elements['nodes']) || !Array.isArray(elements['edges']))
      return { message: 'no "elements" with nodes and edges: not Kiali\'s graph' };
    if (seconds === undefined || duration === undefined) return { message: 'no "timestamp" and "duration"' };
    const nodes = new Map<string, Node>();
    for (const one of elements['nodes'] as readonly unknown[]) {
      const data = isRaw(one) && isRaw(one['data']) ? one['data'] : undefined;
      const id = data === undefined ? undefined : textAt(data, 'id');
      if (data === undefined || id === undefined) return { message: 'a node without "id"' };
      nodes.set(id, nodeOf(data, ends));
    }
    const last = seconds * 1000;
    const window = { first: last - duration * 1000, last, seconds: duration };
    for (const one of elements['edges'] as readonly unknown[]) {
      const data = isRaw(one) && isRaw(one['data']) ? one['data'] : undefined;
      if (data === undefined) return { message: 'an edge without "data"' };
      const src = nodes.get(textAt(data, 'source') ?? '');
      const dst = nodes.get(textAt(data, 'target') ?? '');
      if (src === undefined || dst === undefined) return { message: 'an edge between nodes that are not there' };
      counter.seen(window.first, window.last);
      if (src.type === 'service') {
        counter.ignored('the second half of a call, through the node of a Service');
        continue;
      }
      const flows = flowsOf(data, src, dst, window);
      if (flows.length === 0) counter.ignored('calls that were not carried out, or none');
      for (const flow of flows) sink.flow(flow);
    }
    return undefined;
  });
}

function nodeOf(data: Raw, ends: Ends): Node {
  const type = textAt(data, 'nodeType') ?? 'unknown';
  const namespace = textAt(data, 'namespace');
  const given = data['destServices'];
  const services = Array.isArray(given)
    ? given.flatMap((one: unknown) => {
        const [inside, name] = isRaw(one) ? [textAt(one, 'namespace'), textAt(one, 'name')] : [];
        return inside === undefined || name === undefined ? [] : [{ namespace: inside, name }];
      })
    : [];
  const [workload, app, service] = ['workload', 'app', 'service'].map((key) => known(textAt(data, key)));
  if (type === 'service' && service !== undefined && namespace !== undefined) {
    const outside = isRaw(data['isServiceEntry']) || service.includes('.');
    return {
      type: outside ? 'outside' : type,
      services: [],
      end: outside
        ? ends({ reserved: ['world'], names: [service.toLowerCase()] })
        : ends({ service: { namespace, name: service } }),
    };
  }
  if (namespace === undefined || namespace === 'unknown' || (workload === undefined && app === undefined))
    return { type: 'unknown', services, end: ends({}) };
  return {
    type,
    services,
    end: ends({
      namespace,
      ...(workload === undefined ? {} : { workload: { kind: '', name: workload } }),
      ...(app === undefined ? {} : { labels: { app } }),
    }),
  };
}

function known(text: string | undefined): string | undefined {
  return text === 'unknown' ? undefined : text;
}

function flowsOf(
  data: Raw,
  src: Node,
  dst: Node,
  window: { readonly first: number; readonly last: number; readonly seconds: number },
): readonly Flow[] {
  const traffic = isRaw(data['traffic']) ? data['traffic'] : {};
  const protocol = textAt(traffic, 'protocol') ?? '';
  const rates = isRaw(traffic['rates']) ? traffic['rates'] : {};
  const rate = plainNumber(rates[protocol]);
  if (!(rate > 0)) return [];
  const share = sharesOf(traffic['responses']);
  // Bytes per second for TCP; requests per second for everything else.
  const requests = protocol === 'tcp' ? undefined : rate * window.seconds;
  const called = share.hosts.map((host) => calledBy(host, dst)).filter((one) => one !== undefined);
  const targets: readonly (readonly [RawEnd, number])[] =
    called.length > 0
      ? called.map(({ service, port }) => [service === undefined ? dst.end : { ...dst.end, service }, port] as const)
      : [[dst.services[0] === undefined ? dst.end : { ...dst.end, service: dst.services[0] }, 0]];
  const encrypted = Number(textAt(data, 'isMTLS') ?? NaN);
  const principal = parsePrincipal(textAt(data, 'sourcePrincipal'))?.principal;
  const counts = [
    ['allowed', share.allowed],
    ['denied', share.denied],
  ] as const;
  return targets.flatMap(([end, port], index) =>
    counts.flatMap(([verdict, part]) => {
      if (part <= 0) return [];
      const count = requests === undefined ? 1 : Math.max(1, Math.round((requests * part) / 100 / targets.length));
      return [
        flowOf({
          first: window.first,
          last: window.last,
          src: src.end,
          dst: end,
          port,
          verdict,
          stage: requests === undefined ? 'ongoing' : 'open',
          count,
          // Several hosts of one edge are several calls.
          tap: `graph ${index}`,
          mtls: Number.isNaN(encrypted) ? 'unknown' : encrypted >= 100 ? 'yes' : encrypted > 0 ? 'mixed' : 'no',
          ...(principal === undefined ? {} : { principal }),
          source: 'kiali',
        }),
      ];
    }),
  );
}

/** Which part of the traffic, in percent, was carried out, and which was denied; the hosts that were asked for. */
function sharesOf(responses: unknown): {
  readonly allowed: number;
  readonly denied: number;
  readonly hosts: readonly string[];
} {
  if (!isRaw(responses) || Object.keys(responses).length === 0) return { allowed: 100, denied: 0, hosts: [] };
  let allowed = 0;
  let denied = 0;
  const hosts = new Set<string>();
  for (const [code, one] of Object.entries(responses)) {
    if (!isRaw(one)) continue;
    for (const [flag, percent] of Object.entries(isRaw(one['flags']) ? one['flags'] : {})) {
      const part = plainNumber(percent);
      if (!(part > 0) || FAILED.test(flag) || (code === '0' && flag !== '-')) continue;
      // A 403 may be the application's own; it is no evidence for an allow either way.
      if (DENIED.test(flag) || code === '403') denied += part;
      else allowed += part;
    }
    for (const host of Object.keys(isRaw(one['hosts']) ? one['hosts'] : {})) hosts.add(host);
  }
  return { allowed, denied, hosts: [...hosts].sort() };
}

/** `reviews:9080`, `reviews.bookinfo.svc.cluster.local`: the Service that was called, where it is one of the destination's. */
function calledBy(
  host: string,
  dst: Node,
):
  | { readonly service: { readonly namespace: string; readonly name: string } | undefined; readonly port: number }
  | undefined {
  const match = /^([a-z0-9.-]+?)(?::(\d{1,5}))?$/i.exec(host);
  if (match?.[1] === undefined) return undefined;
  const port = Math.min(65_535, Number(match[2] ?? 0));
  const full = parseServiceName(match[1]);
  const name = full?.name ?? match[1].split('.')[0];
  const service = dst.services.find(
    (one) => one.name === name && (full === undefined || one.namespace === full.namespace),
  );
  if (service !== undefined) return { service, port };
  if (dst.type === 'service') return { service: undefined, port };
  return dst.type === 'outside' && port > 0 ? { service: undefined, port } : undefined;
}

/** Kiali's graph. */
export const kialiSource: FlowSource = {
  name: 'kiali',
  summary: "Kiali's graph as JSON (/api/namespaces/graph, graphType=workload, with the securityPolicy appender)",
  example: 'sallyport observe kiali graph.json',
  read,
};

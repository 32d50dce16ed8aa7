import type { Bucket } from '../model/histogram.ts';
import { histogramQuantile } from '../model/histogram.ts';
import type {
  AuthorizerFigures,
  ControlFigures,
  Percentiles,
  ProxyFigures,
  ServiceFigures,
  TuningMetrics,
} from '../model/tuning.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { compareText } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import { isRaw, plainText } from './ends.ts';
import type { RemoteOptions } from './remote.ts';
import { createAsker } from './remote.ts';
import { parseJson } from './unwrap.ts';

export interface TuningQuestion extends Pick<RemoteOptions, 'tokenFile' | 'caFile' | 'signal' | 'sleep'> {
  readonly namespaces: readonly string[];
  /** Milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
  /** The Services of external authorizers: their latency is what a check waits for. */
  readonly authorizers: readonly { readonly namespace: string; readonly service: string }[];
  /** The workload of a pod; undefined where none is known. */
  readonly workloadOf: (namespace: string, pod: string) => string | undefined;
  /** The workload by its name, which is all that Istio's metrics have. */
  readonly workloadNamed: (namespace: string, name: string) => string | undefined;
  /** Hears before each question how many were answered, of how many. */
  readonly asked?: (count: number, of: number) => void;
}

type Labels = Readonly<Record<string, string>>;
interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

const PROXY = 'container="istio-proxy"';
const SERVICE = 'destination_service_namespace, destination_service_name';

/** What is asked, by name. `rate` takes restarts of counters into account (Prometheus, "rate"); gauges are taken at their highest. */
export function tuningQueries(
  namespaces: readonly string[],
  seconds: number,
  authorizers: TuningQuestion['authorizers'],
): Readonly<Record<string, string>> {
  const any = namespaces.map(escape).join('|');
  const wide = [...new Set([...namespaces, ...authorizers.map(({ namespace }) => namespace)])].map(escape).join('|');
  const w = `[${seconds}s]`;
  const to = `destination_service_namespace=~"${wide}"`;
  const pods = `namespace=~"${any}"`;
  // In a string of PromQL a backslash is written twice.
  const cluster = `cluster_name=~"outbound\\\\|[0-9]+\\\\|.*\\\\|[^.]+\\\\.(?:${any})\\\\.svc\\\\..*"`;
  const envoy = (metric: string): string => `sum by (cluster_name) (rate(envoy_cluster_${metric}{${cluster}}${w}))`;
  const peak = (metric: string): string =>
    `max by (cluster_name) (max_over_time(envoy_cluster_${metric}{${cluster}}${w}))`;
  const resource = (what: string, unit: string): string =>
    `max by (namespace, pod) (kube_pod_container_resource_${what}{${PROXY},resource="${unit}",${pods}})`;
  return {
    duration: `sum by (le, reporter, ${SERVICE}) (rate(istio_request_duration_milliseconds_bucket{${to}}${w}))`,
    durationSum: `sum by (reporter, ${SERVICE}) (rate(istio_request_duration_milliseconds_sum{${to}}${w}))`,
    durationCount: `sum by (reporter, ${SERVICE}) (rate(istio_request_duration_milliseconds_count{${to}}${w}))`,
    requests: `sum by (reporter, ${SERVICE}) (rate(istio_requests_total{${to}}${w}))`,
    bytesSum: `sum by (reporter, ${SERVICE}) (rate(istio_request_bytes_sum{${to}}${w}))`,
    bytesCount: `sum by (reporter, ${SERVICE}) (rate(istio_request_bytes_count{${to}}${w}))`,
    opened: `sum by (reporter, ${SERVICE}) (rate(istio_tcp_connections_opened_total{${to}}${w}))`,
    carriedIn: `sum by (destination_workload_namespace, destination_workload) (rate(istio_requests_total{reporter="destination",destination_workload_namespace=~"${any}"}${w}))`,
    carriedOut: `sum by (source_workload_namespace, source_workload) (rate(istio_requests_total{reporter="source",source_workload_namespace=~"${any}"}${w}))`,
    viaGateway: `sum by (source_workload, source_workload_namespace, le) (rate(istio_request_duration_milliseconds_bucket{reporter="source",destination_service_name=~".*egress.*",source_workload_namespace=~"${any}"}${w}))`,
    connections: envoy('upstream_cx_total'),
    upstreamRequests: envoy('upstream_rq_total'),
    http1: envoy('upstream_cx_http1_total'),
    http2: envoy('upstream_cx_http2_total'),
    handshakes: envoy('ssl_handshake'),
    resumed: envoy('ssl_session_reused'),
    connect: `sum by (le, cluster_name) (rate(envoy_cluster_upstream_cx_connect_ms_bucket{${cluster}}${w}))`,
    active: peak('upstream_cx_active'),
    underWay: peak('upstream_rq_active'),
    clients: `count by (cluster_name) (max_over_time(envoy_cluster_upstream_cx_active{${cluster}}${w}) > 0)`,
    cpu: `sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{${PROXY},${pods}}${w}))`,
    cpuPeak: `max by (namespace, pod) (max_over_time(rate(container_cpu_usage_seconds_total{${PROXY},${pods}}[5m])[${seconds}s:5m]))`,
    memory: `max by (namespace, pod) (max_over_time(container_memory_working_set_bytes{${PROXY},${pods}}${w}))`,
    throttled: `sum by (namespace, pod) (rate(container_cpu_cfs_throttled_periods_total{${PROXY},${pods}}${w}))`,
    periods: `sum by (namespace, pod) (rate(container_cpu_cfs_periods_total{${PROXY},${pods}}${w}))`,
    cpuRequest: resource('requests', 'cpu'),
    cpuLimit: resource('limits', 'cpu'),
    memoryRequest: resource('requests', 'memory'),
    memoryLimit: resource('limits', 'memory'),
    clusters: `max by (namespace, pod) (max_over_time(envoy_cluster_manager_active_clusters{${pods}}${w}))`,
    checksOk: `sum by (namespace, pod) (rate(envoy_cluster_ext_authz_ok{${pods}}${w}))`,
    checksDenied: `sum by (namespace, pod) (rate(envoy_cluster_ext_authz_denied{${pods}}${w}))`,
    checksError: `sum by (namespace, pod) (rate(envoy_cluster_ext_authz_error{${pods}}${w}))`,
  };
}

function escape(name: string): string {
  return name.replaceAll(/[^a-z0-9-]/gu, '');
}

/** What brings a figure that is not there. */
const REMEDIES: readonly (readonly [readonly string[], string])[] = [
  [
    ['requests', 'duration'],
    "istio_requests_total and istio_request_duration_milliseconds: Istio's standard metrics are not scraped",
  ],
  [
    ['connections', 'active', 'handshakes'],
    'envoy_cluster_*: proxies show the statistics of their upstreams where proxyStatsMatcher asks for them (meshConfig.defaultConfig or the annotation proxy.istio.io/config: inclusionRegexps ["cluster\\\\.outbound.*(cx_|rq_|ssl).*"])',
  ],
  [
    ['cpu', 'memory'],
    'container_cpu_usage_seconds_total and container_memory_working_set_bytes of istio-proxy: cAdvisor is not scraped',
  ],
  [['cpuRequest', 'cpuLimit'], 'kube_pod_container_resource_requests and _limits: kube-state-metrics is not scraped'],
  [['clusters'], 'envoy_cluster_manager_active_clusters: the proxies are not scraped (port 15020)'],
];

type Answers = Readonly<Record<string, readonly Sample[]>>;

/**
 * Asks a Prometheus (or what speaks its API) what proxies and their containers did in a window. Rates are per second over the whole window. A series that is absent is
 * absent from the figures, and named in `missing` with what would bring it; it is never taken as zero. A failure of the engine: SP258, exit 2.
 */
export async function askTuning(address: string, question: TuningQuestion): Promise<TuningMetrics> {
  const ask = createAsker(address, question);
  const seconds = Math.max(60, Math.round((question.to - question.from) / 1000));
  const queries = tuningQueries(question.namespaces, seconds, question.authorizers);
  const answers: Record<string, readonly Sample[]> = {};
  const all = Object.entries(queries);
  for (const [index, [name, query]] of all.entries()) {
    question.asked?.(index, all.length);
    question.signal.throwIfAborted();
    const bytes = await ask('/api/v1/query', { query, time: String(question.to / 1000) });
    answers[name] = parseAnswer(bytes.toString('utf8'), name, address);
  }
  const missing = REMEDIES.flatMap(([names, text]) =>
    names.every((name) => answers[name]?.length === 0) ? [text] : [],
  );
  const services = servicesOf(answers, question);
  return {
    window: { from: question.from, to: question.to },
    source: safeText(new URL(address).origin),
    controls: controlsOf(answers, question, services),
    services,
    proxies: proxiesOf(answers, question),
    authorizers: authorizersOf(answers, question),
    missing,
  };
}

function parseAnswer(text: string, query: string, address: string): readonly Sample[] {
  const refuse = (message: string): Failure =>
    new Failure({
      code: 'SP113',
      exit: EXIT.usage,
      message: `the answer to ${query} is none of Prometheus: ${safeText(message)}`,
      where: safeText(new URL(address).origin),
      hint: 'name the address up to the path of its API, without /api/v1',
    });
  const value = parseJson(text);
  if (!isRaw(value) || value['status'] !== 'success') throw refuse(text.slice(0, 200));
  const { warnings } = value;
  // Half an answer would be a wrong figure.
  if (Array.isArray(warnings) && warnings.length > 0) throw refuse(`it is not whole: ${plainText(warnings[0])}`);
  const data = value['data'];
  if (!isRaw(data) || data['resultType'] !== 'vector' || !Array.isArray(data['result'])) throw refuse('no vector');
  return (data['result'] as readonly unknown[]).flatMap((one): readonly Sample[] => {
    if (!isRaw(one) || !isRaw(one['metric']) || !Array.isArray(one['value']))
      throw refuse('a sample without metric and value');
    const labels = Object.create(null) as Record<string, string>;
    for (const [key, label] of Object.entries(one['metric'])) if (typeof label === 'string') labels[key] = label;
    const number = Number(one['value'][1]);
    // Nothing divided by nothing is NaN; an overflow is infinite.
    return Number.isFinite(number) ? [{ labels, value: number }] : [];
  });
}

interface Key {
  readonly namespace: string;
  readonly service: string;
  readonly port?: number;
}

/** `outbound|8080|subset|web.shop.svc.cluster.local`, with or without a semicolon at its end. */
function parseCluster(name: string | undefined): Key | undefined {
  const match = /^outbound\|(\d{1,5})\|[^|]*\|([^.]+)\.([^.]+)\.svc\.[^;]*;?$/u.exec(name ?? '');
  const [, port, service, namespace] = match ?? [];
  return service === undefined || namespace === undefined ? undefined : { namespace, service, port: Number(port) };
}

function bucketsOf(samples: readonly Sample[]): readonly Bucket[] {
  return samples.map(({ labels, value }) => ({
    le: labels['le'] === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels['le'] ?? Number.NaN),
    count: value,
  }));
}

function percentilesOf(samples: readonly Sample[], sum?: number, count?: number): Percentiles | undefined {
  const buckets = bucketsOf(samples);
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) => histogramQuantile(q, buckets));
  const mean = sum === undefined || count === undefined || count === 0 ? undefined : sum / count;
  const found = defined({ mean, p50, p95, p99 });
  return Object.keys(found).length === 0 ? undefined : found;
}

function defined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** The figure of one reporter: the server's where there is one, since it sees callers outside the mesh as well. */
function reported(
  samples: readonly Sample[] | undefined,
  { namespace, service }: Key,
  reporter?: string,
): readonly Sample[] {
  const mine = (samples ?? []).filter(
    ({ labels }) =>
      labels['destination_service_namespace'] === namespace && labels['destination_service_name'] === service,
  );
  const by = (name: string): readonly Sample[] => mine.filter(({ labels }) => labels['reporter'] === name);
  if (reporter !== undefined) return by(reporter);
  const server = by('destination');
  return server.length > 0 ? server : by('source');
}

const total = (samples: readonly Sample[]): number | undefined =>
  samples.length === 0 ? undefined : samples.reduce((sum, { value }) => sum + value, 0);

function servicesOf(answers: Answers, { namespaces }: TuningQuestion): readonly ServiceFigures[] {
  const keys = new Map<string, Key>();
  const note = (key: Key | undefined): void => {
    if (key !== undefined && namespaces.includes(key.namespace))
      keys.set(`${key.namespace}/${key.service}:${key.port ?? ''}`, key);
  };
  for (const name of ['requests', 'duration', 'opened'])
    for (const { labels } of answers[name] ?? [])
      note({
        namespace: labels['destination_service_namespace'] ?? '',
        service: labels['destination_service_name'] ?? '',
      });
  for (const name of ['connections', 'active', 'handshakes', 'upstreamRequests'])
    for (const { labels } of answers[name] ?? []) note(parseCluster(labels['cluster_name']));
  return [...keys]
    .sort(([a], [b]) => compareText(a, b))
    .map(([, key]) => (key.port === undefined ? wholeService(answers, key) : onePort(answers, key, key.port)));
}

function wholeService(answers: Answers, key: Key): ServiceFigures {
  const of = (name: string): number | undefined => total(reported(answers[name], key));
  const bytes = [of('bytesSum'), of('bytesCount')] as const;
  const latency = percentilesOf(reported(answers['duration'], key), of('durationSum'), of('durationCount'));
  return {
    namespace: key.namespace,
    service: key.service,
    ...defined({
      requestsPerSec: of('requests'),
      connectionsPerSec: of('opened'),
      latency,
      requestBytes:
        bytes[0] === undefined || bytes[1] === undefined || bytes[1] === 0 ? undefined : bytes[0] / bytes[1],
    }),
  };
}

function onePort(answers: Answers, key: Key, port: number): ServiceFigures {
  const mine = (name: string): readonly Sample[] =>
    (answers[name] ?? []).filter(({ labels }) => {
      const found = parseCluster(labels['cluster_name']);
      return found?.namespace === key.namespace && found.service === key.service && found.port === port;
    });
  const [first, second] = [total(mine('http1')), total(mine('http2'))];
  const opened = (first ?? 0) + (second ?? 0);
  return {
    namespace: key.namespace,
    service: key.service,
    port,
    ...defined({
      requestsPerSec: total(mine('upstreamRequests')),
      connectionsPerSec: total(mine('connections')),
      handshakesPerSec: total(mine('handshakes')),
      resumedPerSec: total(mine('resumed')),
      http1Share: opened === 0 ? undefined : (first ?? 0) / opened,
      peakConnections: total(mine('active')),
      peakRequests: total(mine('underWay')),
      clients: total(mine('clients')),
      connect: percentilesOf(mine('connect')),
    }),
  };
}

function controlsOf(
  answers: Answers,
  question: TuningQuestion,
  services: readonly ServiceFigures[],
): readonly ControlFigures[] {
  const out: ControlFigures[] = [];
  for (const namespace of question.namespaces) {
    const connect = services.flatMap((one) =>
      one.namespace === namespace && one.connect !== undefined ? [one.connect] : [],
    );
    const [slowest] = connect.toSorted((a, b) => (b.p99 ?? 0) - (a.p99 ?? 0));
    const hop = hopOf(
      answers,
      services.filter((one) => one.namespace === namespace),
    );
    if (slowest !== undefined)
      out.push({
        control: 'mtls',
        namespace,
        added: slowest,
        perConnection: true,
        metric: 'envoy_cluster_upstream_cx_connect_ms of the slowest Service, with TCP itself',
      });
    else if (hop !== undefined)
      out.push({
        control: 'mtls',
        namespace,
        added: { mean: hop },
        metric:
          "mean of istio_request_duration_milliseconds at the caller's proxy less that at the server's: the network and the proxies are in it",
      });
    const through = (answers['viaGateway'] ?? []).filter(
      ({ labels }) => labels['source_workload_namespace'] === namespace,
    );
    const gateway = percentilesOf(through);
    if (gateway !== undefined)
      out.push({
        control: 'egress-gateway',
        namespace,
        with: gateway,
        metric:
          'istio_request_duration_milliseconds to a Service with egress in its name; without the gateway was not measured',
      });
    const asked = question.authorizers.flatMap((key) => {
      const found = percentilesOf(reported(answers['duration'], key));
      return found === undefined ? [] : [found];
    });
    const [worst] = asked.toSorted((a, b) => (b.p99 ?? 0) - (a.p99 ?? 0));
    if (worst !== undefined && checksIn(answers, namespace) > 0)
      out.push({
        control: 'ext-authz',
        namespace,
        added: worst,
        metric: "istio_request_duration_milliseconds at the authorizer's proxy; the way there is not in it",
      });
  }
  return out;
}

/** Means subtract, percentiles do not: mean at the caller less mean at the server, by how many requests both saw. */
function hopOf(answers: Answers, services: readonly ServiceFigures[]): number | undefined {
  let weight = 0;
  let sum = 0;
  for (const key of services.filter((one) => one.port === undefined)) {
    const mean = (reporter: string): number | undefined => {
      const [a, b] = ['durationSum', 'durationCount'].map((name) => total(reported(answers[name], key, reporter)));
      return a === undefined || b === undefined || b === 0 ? undefined : a / b;
    };
    const [caller, server] = [mean('source'), mean('destination')];
    if (caller === undefined || server === undefined) continue;
    const rate = total(reported(answers['durationCount'], key, 'source')) ?? 0;
    weight += rate;
    sum += rate * Math.max(0, caller - server);
  }
  return weight === 0 ? undefined : sum / weight;
}

const CHECKS = ['checksOk', 'checksDenied', 'checksError'] as const;

function checksIn(answers: Answers, namespace: string): number {
  return CHECKS.flatMap((name) => answers[name] ?? []).reduce(
    (sum, { labels, value }) => sum + (labels['namespace'] === namespace ? value : 0),
    0,
  );
}

function authorizersOf(answers: Answers, { workloadOf }: TuningQuestion): readonly AuthorizerFigures[] {
  const rates = new Map<string, number>();
  for (const { labels, value } of CHECKS.flatMap((name) => answers[name] ?? [])) {
    const id = workloadOf(labels['namespace'] ?? '', labels['pod'] ?? '');
    if (id !== undefined) rates.set(id, (rates.get(id) ?? 0) + value);
  }
  return [...rates]
    .sort(([a], [b]) => compareText(a, b))
    .map(([workload, checksPerSec]) => ({ workload, checksPerSec }));
}

function proxiesOf(answers: Answers, { workloadOf, workloadNamed }: TuningQuestion): readonly ProxyFigures[] {
  const byWorkload = (name: string): ReadonlyMap<string, readonly number[]> => {
    const out = new Map<string, number[]>();
    for (const { labels, value } of answers[name] ?? []) {
      const id = workloadOf(labels['namespace'] ?? '', labels['pod'] ?? '');
      if (id === undefined) continue;
      const list = out.get(id) ?? [];
      list.push(value);
      out.set(id, list);
    }
    return out;
  };
  const named = (name: string, side: 'source' | 'destination'): ReadonlyMap<string, number> => {
    const out = new Map<string, number>();
    for (const { labels, value } of answers[name] ?? []) {
      const id = workloadNamed(labels[`${side}_workload_namespace`] ?? '', labels[`${side}_workload`] ?? '');
      if (id !== undefined) out.set(id, (out.get(id) ?? 0) + value);
    }
    return out;
  };
  const lists = Object.fromEntries(
    [
      'cpu',
      'cpuPeak',
      'memory',
      'throttled',
      'periods',
      'cpuRequest',
      'cpuLimit',
      'memoryRequest',
      'memoryLimit',
      'clusters',
    ].map((name) => [name, byWorkload(name)]),
  );
  const [carriedIn, carriedOut] = [named('carriedIn', 'destination'), named('carriedOut', 'source')];
  const ids = new Set(['cpu', 'memory', 'clusters'].flatMap((name) => [...(lists[name]?.keys() ?? [])]));
  return [...ids].sort(compareText).map((workload): ProxyFigures => {
    const all = (name: string): readonly number[] | undefined => lists[name]?.get(workload);
    const most = (name: string): number | undefined => {
      const list = all(name);
      return list === undefined ? undefined : Math.max(...list);
    };
    const sum = (name: string): number | undefined => all(name)?.reduce((a, b) => a + b, 0);
    const [inbound, outbound] = [carriedIn.get(workload), carriedOut.get(workload)];
    const [throttled, periods] = [sum('throttled'), sum('periods')];
    return {
      workload,
      ...defined({
        proxies: (all('cpu') ?? all('memory'))?.length,
        requestsPerSec: inbound === undefined && outbound === undefined ? undefined : (inbound ?? 0) + (outbound ?? 0),
        cpuCores: sum('cpu'),
        cpuPeakCores: most('cpuPeak'),
        cpuRequest: most('cpuRequest'),
        cpuLimit: most('cpuLimit'),
        memoryBytes: most('memory'),
        memoryRequest: most('memoryRequest'),
        memoryLimit: most('memoryLimit'),
        throttledShare:
          throttled === undefined || periods === undefined || periods === 0
            ? undefined
            : Math.min(1, throttled / periods),
        clusters: most('clusters'),
      }),
    };
  });
}

import type { Mtls, Verdict3 } from '../../model/edge.ts';
import type { Flow, InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { createEnds, parsePrincipal, parseServiceName } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { Labels } from '../prometheus.ts';
import { readSeries, seenSeries } from '../prometheus.ts';
import { grownByHour, presentInHour } from '../remote.ts';

/** Metrics of the same connections, which say that there was one, not how many. */
const BESIDE =
  /^istio_(?:tcp_connections_closed_total|tcp_(?:sent|received)_bytes_total|request_(?:duration|bytes).*|response_bytes.*)$/;
const COUNTED = /^istio_(?:requests_total|tcp_connections_opened_total|tcp_connections_failed_total)$/;
/** The call was not carried out, for a reason that is no policy (Envoy's flags; the last three are ztunnel's). */
const FAILED = new Set([
  'UF',
  'UH',
  'UO',
  'NR',
  'NC',
  'UC',
  'URX',
  'LH',
  'DF',
  'CONNECT',
  'TLS_FAILURE',
  'H2_HANDSHAKE_FAILURE',
]);
const DENIED = new Set(['DENY', 'NETWORK_POLICY', 'UAEX']);

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readSeries(
    'istio',
    input,
    options,
    (name) => COUNTED.test(name) || BESIDE.test(name),
    (series, counter) => {
      const { name, labels } = series;
      if (labels['source_workload'] === undefined || labels['destination_service_name'] === undefined)
        return {
          message:
            'a series without "source_workload" and "destination_service_name": ask for the metric itself, or keep these labels in the sum',
        };
      seenSeries(series, counter);
      const described = describe(labels, ends);
      if (typeof described === 'string') {
        counter.ignored(described);
        return undefined;
      }
      for (const amount of series.amounts)
        sink.flow(
          flowOf({
            ...described,
            first: amount.time,
            last: amount.time,
            ...(amount.ongoing || BESIDE.test(name) ? { stage: 'ongoing', count: 1 } : { count: amount.count }),
            tap: labels['request_protocol'] === 'tcp' ? 'connections' : 'requests',
            source: 'istio',
          }),
        );
      return undefined;
    },
  );
}

type Described = Pick<Flow, 'src' | 'dst' | 'port' | 'verdict' | 'view' | 'mtls'> & { readonly principal?: string };

/** What the labels of a standard metric say (istio.io/latest/docs/reference/config/metrics); a text is why it is no connection. */
function describe(labels: Labels, ends: Ends): Described | string {
  const reporter = labels['reporter'];
  const flags = (labels['response_flags'] ?? '').split(',');
  const serviceName = known(labels['destination_service_name']);
  const host = known(labels['destination_service']);
  if (flags.some((flag) => FAILED.has(flag)) || labels['response_code'] === '0')
    return 'calls that were not carried out';
  const denied =
    flags.some((flag) => DENIED.has(flag)) ||
    serviceName === 'BlackHoleCluster' ||
    // What the destination answers with 403 may be its own application's refusal. It is no evidence for an allow either way.
    (labels['response_code'] === '403' && reporter !== 'source');
  const verdict: Verdict3 = denied ? 'denied' : 'allowed';
  const src = parsePrincipal(labels['source_principal']);
  const policy = reporter === 'source' ? undefined : labels['connection_security_policy'];
  const mtls: Mtls = policy === 'mutual_tls' ? 'yes' : policy === 'none' ? 'no' : 'unknown';
  return {
    src: workloadEnd(labels, 'source', ends),
    dst: destination(labels, serviceName, host, ends),
    port: portOf(host),
    verdict,
    view: reporter === 'destination' ? 'ingress' : reporter === 'source' ? 'egress' : 'unknown',
    mtls,
    ...(src === undefined ? {} : { principal: src.principal }),
  };
}

function workloadEnd(labels: Labels, side: 'source' | 'destination', ends: Ends): RawEnd {
  const name = known(labels[`${side}_workload`]);
  const namespace = known(labels[`${side}_workload_namespace`]);
  if (name === undefined || namespace === undefined) return ends({});
  const identity = parsePrincipal(labels[`${side}_principal`]);
  const app = known(labels[`${side}_app`]);
  return ends({
    namespace,
    workload: { kind: '', name },
    ...(identity === undefined ? {} : { serviceAccount: identity.serviceAccount }),
    ...(app === undefined ? {} : { labels: { app } }),
  });
}

function destination(labels: Labels, name: string | undefined, host: string | undefined, ends: Ends): RawEnd {
  const namespace = known(labels['destination_service_namespace']);
  const stated = host === undefined ? undefined : parseServiceName(host.replace(/:\d+$/, ''));
  const service =
    stated ??
    (name !== undefined && namespace !== undefined && /^[a-z0-9-]+$/.test(name) ? { name, namespace } : undefined);
  const workload = workloadEnd(labels, 'destination', ends);
  if (workload.workload !== undefined) return service === undefined ? workload : ends({ ...workload, service });
  if (service !== undefined) return ends({ service });
  const outside = host?.replace(/:\d+$/, '').toLowerCase();
  return ends({ reserved: ['world'], ...(outside?.includes('.') === true ? { names: [outside] } : {}) });
}

/** The metrics have no label for the port; hosts of calls that no Service answers for keep it. */
function portOf(host: string | undefined): number {
  const port = Number(/:(\d{1,5})$/.exec(host ?? '')?.[1] ?? 0);
  return port <= 65_535 ? port : 0;
}

function known(text: string | undefined): string | undefined {
  return text === undefined || text === '' || text === 'unknown' ? undefined : text;
}

/** Every label that is looked at: what differs in others is one edge. */
const METRICS = ['istio_requests_total', 'istio_tcp_connections_opened_total'];
const LABELS = [
  'reporter',
  ...['source', 'destination'].flatMap((side) => [
    `${side}_workload`,
    `${side}_workload_namespace`,
    `${side}_principal`,
    `${side}_app`,
  ]),
  'destination_service',
  'destination_service_name',
  'destination_service_namespace',
  'request_protocol',
  'response_code',
  'response_flags',
  'connection_security_policy',
];

/** Istio's standard metrics, by the Prometheus HTTP API or a scrape. */
export const istioSource: FlowSource = {
  name: 'istio',
  summary: "Istio's standard metrics: a Prometheus by its address, answers of its HTTP API, or a scrape with --now",
  example: 'sallyport observe istio http://prometheus.istio-system:9090 --since 7d',
  remote: {
    kind: 'prometheus',
    queries: METRICS.map((name) => grownByHour(name, LABELS)),
    present: presentInHour(...METRICS),
  },
  read,
};

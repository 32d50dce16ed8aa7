import type { Verdict3 } from '../../model/edge.ts';
import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { createEnds } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { Labels } from '../prometheus.ts';
import { readSeries, seenSeries } from '../prometheus.ts';
import { grownByHour, presentInHour } from '../remote.ts';
import type { BadRecord } from '../records.ts';

/** Connections and requests, and what authorisation said of them. Every other metric of the proxy is about the same ones. */
const COUNTED = /^(?:tcp_open_total|request_total|(?:inbound|outbound)_(?:http|tcp)_authz_(?:allow|deny)_total)$/;
/** Ports of the proxy itself: its metrics, and the two it listens on for others. */
const OWN_PORTS: ReadonlySet<string> = new Set(['4190', '4191', '4140', '4143']);
const OWNERS: readonly (readonly [label: string, kind: string])[] = [
  ['deployment', 'Deployment'],
  ['statefulset', 'StatefulSet'],
  ['daemonset', 'DaemonSet'],
  ['cronjob', 'CronJob'],
  ['k8s_job', 'Job'],
  ['job', 'Job'],
  ['replicaset', 'ReplicaSet'],
  ['replicationcontroller', 'ReplicationController'],
];

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readSeries(
    'linkerd',
    input,
    options,
    (name) => COUNTED.test(name),
    (series, counter) => {
      const { name, labels } = series;
      if (name === '' && labels['direction'] === undefined)
        return {
          message:
            'a series without its name and "direction": ask for the metric itself, or keep this label in the sum',
        };
      seenSeries(series, counter);
      const ignored = (reason: string): BadRecord | undefined => {
        counter.ignored(reason);
        return undefined;
      };
      const direction = labels['direction'] ?? (name.startsWith('inbound') ? 'inbound' : 'outbound');
      // The proxy counts each connection on both of its sides: the far one is meant.
      if (labels['peer'] !== undefined && labels['peer'] !== (direction === 'inbound' ? 'src' : 'dst'))
        return ignored("the near side of the proxy's own connection");
      const port = Number(labels['target_port'] ?? /:(\d+)$/.exec(labels['target_addr'] ?? '')?.[1] ?? 0);
      if (!Number.isInteger(port) || port < 1 || port > 65_535) return ignored('no port of the destination');
      if (OWN_PORTS.has(String(port))) return ignored('traffic of the proxy itself');
      const verdict: Verdict3 = name.includes('_deny_') ? 'denied' : 'allowed';
      const isInbound = direction === 'inbound';
      const client = clientOf(labels['client_id']);
      const tls = labels['tls'];
      for (const amount of series.amounts)
        sink.flow(
          flowOf({
            first: amount.time,
            src: isInbound ? (client === undefined ? ends({}) : ends(client.end)) : reporterEnd(labels, ends),
            dst: isInbound ? reporterEnd(labels, ends) : destinationEnd(labels, ends),
            port,
            verdict,
            view: isInbound ? 'ingress' : 'egress',
            tap: name,
            ...(amount.ongoing ? { stage: 'ongoing', count: 1 } : { count: amount.count }),
            mtls:
              tls === 'true'
                ? 'yes'
                : tls === 'loopback' || labels['no_tls_reason'] === 'loopback'
                  ? 'unknown'
                  : tls === undefined
                    ? 'unknown'
                    : 'no',
            ...(client === undefined || !isInbound ? {} : { principal: client.principal }),
            source: 'linkerd',
          }),
        );
      return undefined;
    },
  );
}

/** `web.shop.serviceaccount.identity.linkerd.cluster.local`. */
function clientOf(id: string | undefined): { readonly principal: string; readonly end: Partial<RawEnd> } | undefined {
  const match = /^([a-z0-9-]+)\.([a-z0-9-]+)\.serviceaccount\./.exec(id ?? '');
  if (match?.[1] === undefined || match[2] === undefined || id === undefined) return undefined;
  return { principal: id, end: { namespace: match[2], serviceAccount: match[1] } };
}

/** Whose proxy it is: labels that the scrape adds. */
function reporterEnd(labels: Labels, ends: Ends): RawEnd {
  const { namespace, pod } = labels;
  if (namespace === undefined) return ends({});
  const owner = OWNERS.find(
    ([label, kind]) => labels[label] !== undefined && !(label === 'job' && kind === 'Job' && /\//.test(labels[label])),
  );
  const name = owner === undefined ? undefined : labels[owner[0]];
  return ends({
    namespace,
    ...(pod === undefined ? {} : { pod }),
    // `job` may as well be the name of the scrape.
    ...(owner === undefined || name === undefined || owner[0] === 'job' ? {} : { workload: { kind: owner[1], name } }),
  });
}

function destinationEnd(labels: Labels, ends: Ends): RawEnd {
  const namespace = labels['dst_namespace'];
  // Older proxies name the address and its port together: `10.42.0.15:5432`, `[fd00::5]:5432`.
  const address = /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(labels['target_addr'] ?? '');
  const ip = labels['target_ip'] ?? address?.[1] ?? address?.[2];
  const at = ip === undefined || ip === '0.0.0.0' ? {} : { ip };
  if (namespace === undefined) return ends(at);
  const owner = OWNERS.find(([label]) => labels[`dst_${label}`] !== undefined);
  const name = owner === undefined ? undefined : labels[`dst_${owner[0]}`];
  const pod = labels['dst_pod'];
  const account = labels['dst_serviceaccount'];
  return ends({
    ...at,
    namespace,
    ...(pod === undefined ? {} : { pod }),
    ...(owner === undefined || name === undefined ? {} : { workload: { kind: owner[1], name } }),
    ...(account === undefined ? {} : { serviceAccount: account }),
  });
}

const LABELS = [
  'direction',
  'peer',
  'target_addr',
  'target_ip',
  'target_port',
  'client_id',
  'tls',
  'no_tls_reason',
  'namespace',
  'pod',
  'dst_namespace',
  'dst_pod',
  'dst_serviceaccount',
  ...OWNERS.flatMap(([label]) => (label === 'job' ? [`dst_${label}`] : [label, `dst_${label}`])),
];

/** Metrics of Linkerd's proxies. */
export const linkerdSource: FlowSource = {
  name: 'linkerd',
  summary: "metrics of Linkerd's proxies: a Prometheus by its address, answers of its HTTP API, or a scrape with --now",
  example: 'sallyport observe linkerd http://prometheus.linkerd-viz:9090 --since 7d',
  remote: {
    kind: 'prometheus',
    queries: [grownByHour('tcp_open_total', LABELS)],
    present: presentInHour('tcp_open_total'),
  },
  read,
};

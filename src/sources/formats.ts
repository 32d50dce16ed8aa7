import type { Raw } from './ends.ts';
import { isRaw } from './ends.ts';
import { unwrap } from './unwrap.ts';

/** What a record looks like, and which of our sources reads it, if one does. */
export interface Format {
  readonly name: string;
  readonly source?: string;
}

type JsonTest = (value: Raw) => boolean;

const has =
  (...keys: readonly string[]): JsonTest =>
  (value) =>
    keys.every((key) => key in value);
const any =
  (...keys: readonly string[]): JsonTest =>
  (value) =>
    keys.some((key) => key in value);

function inside(value: Raw, key: string): Raw {
  const inner = value[key];
  return isRaw(inner) ? inner : {};
}

/** The names of the metrics in an answer of the Prometheus HTTP API, or in one line of VictoriaMetrics' export. */
function metricLabels(value: Raw): Raw {
  const data = value['data'];
  const result = isRaw(data) ? data['result'] : data;
  const first: unknown = Array.isArray(result) ? result[0] : undefined;
  if (isRaw(first)) return isRaw(first['metric']) ? first['metric'] : first;
  return inside(value, 'metric');
}

const METRIC_SOURCES: readonly (readonly [prefix: RegExp, source: string, name: string])[] = [
  [/^istio_/, 'istio', "Istio's metrics"],
  [/^caretta_/, 'caretta', "Caretta's metrics"],
  [/^container_net_/, 'coroot', "Coroot's metrics"],
  [
    /^(?:(?:inbound|outbound)_(?:http|tcp|grpc)_|request_total|response_total|tcp_open_)/,
    'linkerd',
    "Linkerd's metrics",
  ],
];

function metricFormat(name: unknown): Format {
  const known = typeof name === 'string' ? METRIC_SOURCES.find(([prefix]) => prefix.test(name)) : undefined;
  return known === undefined
    ? { name: 'Prometheus metrics of some other program' }
    : { name: known[2], source: known[1] };
}

const JSON_FORMATS: readonly (readonly [test: JsonTest, format: Format | ((value: Raw) => Format)])[] = [
  [has('Key'), { name: 'flows of Calico (Goldmane)', source: 'calico' }],
  [(value) => 'Key' in inside(value, 'flow'), { name: 'flows of Calico (Goldmane)', source: 'calico' }],
  [
    (value) => isRaw(value['flow']) || any('lost_events', 'node_status')(value),
    { name: "Hubble's JSON", source: 'hubble' },
  ],
  [
    (value) => any('l4', 'IP')(value) && any('verdict', 'source', 'destination')(value),
    { name: "Hubble's JSON", source: 'hubble' },
  ],
  [
    any('downstream_remote_address', 'downstream_direct_remote_address', 'upstream_cluster'),
    { name: 'an Envoy access log', source: 'envoy' },
  ],
  [any('source_name_aggr', 'dest_name_aggr'), { name: "Calico's flow log", source: 'calico' }],
  [has('source_name', 'dest_name', 'reporter'), { name: "Calico's flow log", source: 'calico' }],
  [has('elements', 'graphType'), { name: "Kiali's graph", source: 'kiali' }],
  [
    (value) => any('SrcAddr', 'SrcK8S_Name', 'SrcK8S_Namespace', 'DstK8S_Namespace')(value),
    { name: 'flows of NetObserv', source: 'netobserv' },
  ],
  [
    (value) => any('SrcK8S_Namespace', 'DstK8S_Namespace', 'SrcK8S_OwnerName', 'DstK8S_OwnerName')(metricLabels(value)),
    { name: 'metrics of NetObserv, which have no ports (its flow records have)', source: 'netobserv' },
  ],
  [
    // Sums lose the name of the metric.
    (value) => ['reporter', 'source_workload'].every((label) => label in metricLabels(value)),
    { name: "Istio's metrics", source: 'istio' },
  ],
  [
    (value) =>
      'resultType' in inside(value, 'data') || ('status' in value && 'data' in value) || has('metric', 'values')(value),
    (value) => metricFormat(metricLabels(value)['__name__']),
  ],
  [has('scope', 'src.addr'), { name: "ztunnel's access log", source: 'ztunnel' }],
  [has('src.addr', 'dst.addr'), { name: "ztunnel's access log", source: 'ztunnel' }],
  [
    (value) => 'netns_id' in value || ('k8s' in value && any('src', 'dst', 'runtime', 'proc')(value)),
    { name: 'events of Inspektor Gadget', source: 'inspektor-gadget' },
  ],
  [
    (value) => 'disposition' in value || 'disposition' in inside(value, 'jsonPayload'),
    { name: "GKE's network policy log", source: 'gcp' },
  ],
  [
    (value) => 'src_ip' in inside(value, 'connection') || 'connection' in inside(value, 'jsonPayload'),
    { name: 'VPC flow logs of Google Cloud', source: 'gcp' },
  ],
  [
    (value) => {
      const records: unknown = value['records'];
      const first: unknown = Array.isArray(records) ? records[0] : undefined;
      return (
        'flowRecords' in value || (isRaw(first) && ('flowRecords' in first || 'flows' in inside(first, 'properties')))
      );
    },
    { name: 'flow logs of Azure', source: 'azure' },
  ],
  [
    (value) => typeof value['msg'] === 'string' && value['msg'].startsWith('Flow Info'),
    { name: 'the log of the AWS network policy agent', source: 'aws-network-policy' },
  ],
  [has('Src IP', 'Dest IP'), { name: 'the log of the AWS network policy agent', source: 'aws-network-policy' }],
  [any('id.orig_h'), { name: "Zeek's conn.log", source: 'zeek' }],
  [(value) => value['kind'] === 'ClientIntents', { name: "Otterize's intents", source: 'otterize' }],
  [
    (value) => value['kind'] === 'NetworkNeighborhood' || value['kind'] === 'NetworkNeighborhoodList',
    { name: "Kubescape's network neighbourhoods", source: 'kubescape' },
  ],
  [
    any('process_connect', 'process_kprobe', 'process_exec', 'process_close', 'process_listen'),
    { name: "Tetragon's events" },
  ],
  [has('output_fields', 'rule'), { name: "Falco's alerts" }],
  [
    (value) => isRaw(value['src']) && isRaw(value['dst']) && 'protocol' in value,
    { name: 'neutral edges', source: 'edges' },
  ],
  [has('apiVersion', 'kind'), { name: 'a Kubernetes object' }],
];

const TEXT_FORMATS: readonly (readonly [test: RegExp, format: Format])[] = [
  [/^(?:\[\s*\d+\.\d+\s*\]\s*)?<\?xml.*<conntrack>|^<conntrack>/s, { name: "conntrack's XML (leave out -o xml)" }],
  [/^</, { name: 'HTML or XML' }],
  [/^(?:apiVersion|kind|metadata|items|---)\b|^---/, { name: 'YAML' }],
  [/^\[\d{4}-\d\d-\d\dT[\d:.]+Z\] "/, { name: 'an Envoy access log', source: 'envoy' }],
  [/^#(?:separator|fields|### BTest)|^### BTest/, { name: 'a Zeek log', source: 'zeek' }],
  [
    /^(?:version )?(?:[a-z][a-z0-9-]* )*(?:account-id|srcaddr|pkt-srcaddr)(?: |$)|^\d{1,2} \d{12} (?:eni-|-)|^\d{1,2} unknown eni-/,
    { name: 'an AWS VPC flow log', source: 'aws-vpc' },
  ],
  [
    /^(?:\[[\d.\s]+\]\s*)?(?:\[(?:NEW|UPDATE|DESTROY)\]\s+)?(?:ipv[46]\s+\d+\s+)?[a-z0-9]+\s+\d+ .*\bsrc=\S+ dst=/,
    { name: 'conntrack output', source: 'conntrack' },
  ],
  [/^conntrack v\d/, { name: 'conntrack output', source: 'conntrack' }],
  [
    /^[A-Z][a-z]{2} +\d+ [\d:.]+: ?.* -> .* (?:FORWARDED|DROPPED|REDIRECTED|AUDIT)/,
    { name: 'hubble observe in its compact form (add -o json)' },
  ],
  [/\taccess\t|\bsrc\.addr=\S+/, { name: "ztunnel's access log", source: 'ztunnel' }],
  [/\|acl_log\(/, { name: "OVN's ACL audit log", source: 'ovn' }],
  [/\bFlow Info: |^Node: .*;SIP: /, { name: 'the log of the AWS network policy agent', source: 'aws-network-policy' }],
  [/^\d{9,10} \d{9,10} (?:wep|hep|ns|net) /, { name: "Calico's flow log", source: 'calico' }],
  [/^\d{9,10},\d{9,10},[^,]+,[^,]+,\d*,\d*,/, { name: "Antrea's flow log", source: 'antrea' }],
  [/^[\w. "/-]+(?:,[\w. ":/-]*){3,}$/, { name: 'CSV' }],
  [/^\u0000|\ufffd/, { name: 'binary data or text that is not UTF-8' }],
];

/** Names the format of a record, by one line or one JSON value of it; undefined when it is none that is known. */
export function identify(text: string): Format | undefined {
  const line = text.trim();
  const [first] = unwrap(line);
  if (first === undefined) return undefined;
  if (isRaw(first.value)) return identifyJson(first.value);
  if (Array.isArray(first.value)) {
    const element = (first.value as readonly unknown[])[0];
    return isRaw(element) ? identifyJson(element) : undefined;
  }
  if (first.value !== undefined) return undefined;
  const bare = first.text.trimStart();
  if (/^[[{]\s*$/.test(bare)) return { name: 'JSON spread over several lines (jq -c . makes one line of each record)' };
  const prometheus = /^([a-z_][a-z0-9_]*)\{[a-z_]\w*="/.exec(bare) ?? /^# (?:HELP|TYPE) ([a-z_]\w*)/.exec(bare);
  if (prometheus !== null) {
    const format = metricFormat(prometheus[1]);
    return format.source === undefined ? { name: 'Prometheus text' } : format;
  }
  return TEXT_FORMATS.find(([test]) => test.test(bare))?.[1];
}

export function identifyJson(value: Raw): Format | undefined {
  // What kubectl prints for several objects.
  const items: unknown = value['items'];
  const item: unknown = value['kind'] === 'List' && Array.isArray(items) ? items[0] : undefined;
  if (isRaw(item)) return identifyJson(item);
  const found = JSON_FORMATS.find(([test]) => test(value))?.[1];
  return typeof found === 'function' ? found(value) : found;
}

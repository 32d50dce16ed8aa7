import type { Flow, InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { countAt, createEnds, isRaw, parseProtocol, portAt, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';
import { parseTime } from '../time.ts';

/** About one packet in thirty reaches the flow log before its own sampling (cloud.google.com/vpc/docs/flow-logs, "Sampling"). */
const PRIMARY_SAMPLING = 30;

type Parsed = { readonly flow: Flow } | { readonly ignored: string; readonly time: number } | { readonly bad: string };

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('gcp', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: 'not a JSON object' };
    const record = isRaw(value['jsonPayload']) ? value['jsonPayload'] : value;
    if (!isRaw(record['connection'])) return { message: 'no "connection": not a flow log of Google Cloud' };
    const isPolicy = 'disposition' in record;
    if (!isPolicy) counter.sampled(PRIMARY_SAMPLING);
    const parsed = isPolicy ? policyRecord(record, value, ends) : flowRecord(record, value, ends);
    if ('bad' in parsed) return { message: parsed.bad };
    if ('ignored' in parsed) {
      counter.seen(parsed.time);
      counter.ignored(parsed.ignored);
    } else {
      counter.seen(parsed.flow.first, parsed.flow.last);
      sink.flow(parsed.flow);
    }
    return undefined;
  });
}

function timeAt(record: Raw, key: string): number | undefined {
  const text = record[key];
  return typeof text === 'string' ? parseTime(text) : undefined;
}

interface Tuple {
  readonly protocol: ReturnType<typeof parseProtocol>;
  readonly srcIp: string;
  readonly dstIp: string;
  readonly srcPort: number | undefined;
  readonly port: number | undefined;
}

function tupleOf(connection: unknown): Tuple | undefined {
  if (!isRaw(connection)) return undefined;
  const srcIp = textAt(connection, 'src_ip');
  const dstIp = textAt(connection, 'dest_ip');
  if (srcIp === undefined || dstIp === undefined) return undefined;
  return {
    protocol: parseProtocol(connection['protocol']),
    srcIp,
    dstIp,
    srcPort: portAt(connection, 'src_port'),
    port: portAt(connection, 'dest_port'),
  };
}

/**
 * A VPC flow log: sampled packets in one direction, without flags, so nothing says who opened the connection. The sender's view
 * is from before the firewall, the receiver's from behind it.
 */
function flowRecord(record: Raw, entry: Raw, ends: Ends): Parsed {
  const last = timeAt(record, 'end_time') ?? timeAt(entry, 'timestamp');
  const first = timeAt(record, 'start_time') ?? last;
  if (first === undefined || last === undefined) return { bad: 'no "start_time" and "end_time"' };
  const tuple = tupleOf(record['connection']);
  if (tuple === undefined) return { bad: 'no "src_ip" and "dest_ip"' };
  const { protocol, srcPort, port } = tuple;
  if (protocol === undefined || srcPort === undefined || port === undefined)
    return { ignored: 'a protocol without ports', time: last };
  const reporter = textAt(record, 'reporter') ?? '';
  return {
    flow: flowOf({
      first: Math.min(first, last),
      last,
      src: podEnd(tuple.srcIp, record['src_gke_details'], ends),
      dst: podEnd(tuple.dstIp, record['dest_gke_details'], ends),
      protocol,
      srcPort,
      port,
      verdict: reporter.startsWith('DEST') ? 'allowed' : 'unknown',
      // Both ends report the same packets.
      tap: `flow log ${reporter}`,
      initiatorKnown: false,
      stage: protocol === 'TCP' ? 'ongoing' : 'open',
      source: 'gcp',
    }),
  };
}

function podEnd(ip: string, details: unknown, ends: Ends): RawEnd {
  const pod = isRaw(details) && isRaw(details['pod']) ? details['pod'] : {};
  const name = textAt(pod, 'pod_name');
  const namespace = textAt(pod, 'pod_namespace');
  if (name === undefined || namespace === undefined) return ends({ ip });
  const owner = isRaw(pod['pod_workload']) ? pod['pod_workload'] : {};
  return ends({
    ip,
    pod: name,
    namespace,
    ...workload(textAt(owner, 'workload_type'), textAt(owner, 'workload_name')),
  });
}

function workload(kind: string | undefined, name: string | undefined): Pick<RawEnd, 'workload'> | undefined {
  const kinds: Readonly<Record<string, string>> = {
    DEPLOYMENT: 'Deployment',
    REPLICA_SET: 'ReplicaSet',
    STATEFUL_SET: 'StatefulSet',
    DAEMON_SET: 'DaemonSet',
    JOB: 'Job',
    CRON_JOB: 'CronJob',
    REPLICATION_CONTROLLER: 'ReplicationController',
  };
  if (kind === undefined || name === undefined) return undefined;
  return { workload: { kind: kinds[kind] ?? kind, name } };
}

/** A line of GKE's network policy log: oriented, and the word of the policies themselves. */
function policyRecord(record: Raw, entry: Raw, ends: Ends): Parsed {
  const time = timeAt(record, 'timestamp') ?? timeAt(entry, 'timestamp');
  if (time === undefined) return { bad: 'no "timestamp"' };
  const tuple = tupleOf(record['connection']);
  if (tuple === undefined) return { bad: 'no "src_ip" and "dest_ip"' };
  const disposition = record['disposition'];
  if (disposition !== 'allow' && disposition !== 'deny') return { bad: '"disposition" is neither allow nor deny' };
  if (tuple.protocol === undefined || tuple.port === undefined) return { ignored: 'a protocol without ports', time };
  const direction = isRaw(record['connection']) ? record['connection']['direction'] : undefined;
  return {
    flow: flowOf({
      first: time,
      src: policyEnd(tuple.srcIp, record['src'], ends),
      dst: policyEnd(tuple.dstIp, record['dest'], ends),
      protocol: tuple.protocol,
      ...(tuple.srcPort === undefined ? {} : { srcPort: tuple.srcPort }),
      port: tuple.port,
      verdict: disposition === 'allow' ? 'allowed' : 'denied',
      view: direction === 'ingress' || direction === 'egress' ? direction : 'unknown',
      count: Math.max(1, countAt(record, 'count') ?? 1),
      source: 'gcp',
    }),
  };
}

function policyEnd(ip: string, value: unknown, ends: Ends): RawEnd {
  const end = isRaw(value) ? value : {};
  const pod = textAt(end, 'pod_name');
  const namespace = textAt(end, 'pod_namespace') ?? textAt(end, 'namespace');
  if (pod === undefined || namespace === undefined) return ends({ ip });
  return ends({ ip, pod, namespace, ...workload(textAt(end, 'workload_kind'), textAt(end, 'workload_name')) });
}

/** VPC flow logs of Google Cloud, and GKE's network policy log. */
export const gcpSource: FlowSource = {
  name: 'gcp',
  summary: "VPC flow logs of Google Cloud and GKE's network policy log: log entries or their payloads, as JSON",
  example: "gcloud logging read 'logName:vpc_flows' --format json | sallyport observe gcp -",
  grows: true,
  read,
};

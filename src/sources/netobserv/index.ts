import type { Verdict3 } from '../../model/edge.ts';
import type { Flow, InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { countAt, createEnds, isRaw, parseProtocol, plainNumber, portAt, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';

const SYN = 0x02;
const ACK = 0x10;
/** Set by the agent for SYN and ACK in one packet; agents that know it leave SYN and ACK to packets that have one of them. */
const SYN_ACK = 0x100;

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('netobserv', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: 'not a JSON object' };
    const metric = metricOf(value);
    if (metric) return { message: 'metrics of NetObserv have no ports: import its flow records' };
    const first = countAt(value, 'TimeFlowStartMs') ?? seconds(value, 'TimeReceived');
    const last = countAt(value, 'TimeFlowEndMs') ?? first;
    if (first === undefined || last === undefined) return { message: 'no "TimeFlowStartMs"' };
    counter.seen(Math.min(first, last), last);
    const oneIn = countAt(value, 'Sampling');
    if (oneIn !== undefined && oneIn > 1) counter.sampled(oneIn);
    const flow = parseFlow(value, Math.min(first, last), last, ends);
    if (typeof flow === 'string') counter.ignored(flow);
    else sink.flow(flow);
    return undefined;
  });
}

function metricOf(value: Raw): boolean {
  const data = value['data'];
  return isRaw(data) && (data['resultType'] === 'matrix' || data['resultType'] === 'vector');
}

function seconds(value: Raw, key: string): number | undefined {
  const time = countAt(value, key);
  return time === undefined ? undefined : time * 1000;
}

/** One direction of a connection, as an interface saw it within a few seconds; a text is why it is none. */
function parseFlow(value: Raw, first: number, last: number, ends: Ends): Flow | string {
  const protocol = parseProtocol(value['Proto']);
  if (protocol === undefined)
    return value['Proto'] === 1 || value['Proto'] === 58 ? 'ICMP' : 'a protocol without ports';
  const srcPort = portAt(value, 'SrcPort');
  const port = portAt(value, 'DstPort');
  if (srcPort === undefined || port === undefined) return 'no ports';
  const side = flagsOf(value['Flags'], protocol === 'TCP');
  const translated = textAt(value, 'XlatDstAddr');
  const translatedPort = portAt(value, 'XlatDstPort');
  const src = endOf(value, 'Src', undefined, ends);
  const dst = endOf(value, 'Dst', side === 'answers' ? undefined : translated, ends);
  const direction = plainNumber(value['FlowDirection']);
  const dropped = isDropped(value);
  const verdict: Verdict3 = dropped ? 'denied' : side === 'answers' || isAllowed(value) ? 'allowed' : 'unknown';
  // The record to the Service's address and the one to the pod's are of one connection.
  const tap = [textAt(value, 'DstK8S_Type'), textAt(value, 'SrcK8S_Type')].includes('Service') ? 'service' : 'packet';
  const common = { first, last, protocol, tap, source: 'netobserv', verdict } as const;
  if (side === 'answers')
    return flowOf({
      ...common,
      src: dst,
      dst: src,
      srcPort: port,
      port: srcPort,
      // What leaves the answering side's node comes from the destination.
      view: direction === 1 ? 'ingress' : direction === 0 ? 'egress' : 'unknown',
      // An answer to a SYN comes once a connection.
      tap: `answer ${tap}`,
      reply: true,
    });
  return flowOf({
    ...common,
    src,
    dst,
    srcPort,
    port: translated !== undefined && translatedPort !== undefined ? translatedPort : port,
    view: side === undefined ? 'unknown' : direction === 1 ? 'egress' : direction === 0 ? 'ingress' : 'unknown',
    initiatorKnown: side === 'opens',
    stage: side === 'opens' || protocol !== 'TCP' || dropped ? 'open' : 'ongoing',
  });
}

/** Which side sent it, by the TCP flags seen within the record; undefined where they leave it open. */
function flagsOf(flags: unknown, isTcp: boolean): 'opens' | 'answers' | undefined {
  if (!isTcp) return undefined;
  if (Array.isArray(flags)) {
    if (flags.includes('SYN_ACK')) return 'answers';
    return flags.includes('SYN') ? 'opens' : undefined;
  }
  const bits = plainNumber(flags);
  if (!Number.isInteger(bits)) return undefined;
  if ((bits & SYN_ACK) !== 0) return 'answers';
  // An older agent ORs SYN and the ACKs after it: then both sides look alike.
  return (bits & SYN) !== 0 && ((bits & ACK) === 0 || bits > 0xff) ? 'opens' : undefined;
}

function endOf(value: Raw, side: 'Src' | 'Dst', translated: string | undefined, ends: Ends): RawEnd {
  const ip = translated ?? textAt(value, `${side}Addr`);
  const at = ip === undefined ? {} : { ip };
  const type = textAt(value, `${side}K8S_Type`);
  if (type === 'Node') return ends({ ...at, reserved: ['host'] });
  const namespace = textAt(value, `${side}K8S_Namespace`);
  if (translated !== undefined || type === 'Service' || namespace === undefined) return ends(at);
  const pod = textAt(value, `${side}K8S_Name`);
  const kind = textAt(value, `${side}K8S_OwnerType`);
  const name = textAt(value, `${side}K8S_OwnerName`);
  return ends({
    ...at,
    namespace,
    ...(pod === undefined ? {} : { pod }),
    ...(kind === undefined || name === undefined || kind === 'Pod' ? {} : { workload: { kind, name } }),
  });
}

function events(value: Raw): readonly Raw[] {
  const given = value['NetworkEvents'];
  return Array.isArray(given) ? (given as readonly unknown[]).filter(isRaw) : [];
}

function isAllowed(value: Raw): boolean {
  return events(value).some((event) => event['Action'] === 'allow');
}

/** Denied by a policy of OVN, or dropped by the packet filter; other drops have nothing to do with policy. */
function isDropped(value: Raw): boolean {
  if (events(value).some((event) => event['Action'] === 'drop' || event['Action'] === 'reject')) return true;
  const cause = textAt(value, 'PktDropLatestDropCause');
  return cause !== undefined && /NETFILTER_DROP|OVS_DROP_EXPLICIT|BPF_CGROUP_EGRESS/.test(cause);
}

/** NetObserv's flow records. */
export const netobservSource: FlowSource = {
  name: 'netobserv',
  summary: "NetObserv's flow records: JSON Lines, or Loki's answer to query_range",
  example: `logcli query '{app="netobserv-flowcollector"}' --output=jsonl | sallyport observe netobserv -`,
  remote: { kind: 'loki', queries: ['{app="netobserv-flowcollector"}'], lines: false },
  grows: true,
  read,
};

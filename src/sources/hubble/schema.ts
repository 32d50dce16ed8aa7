import type { Verdict3, Protocol } from '../../model/edge.ts';
import type { Flow, RawEnd, Reserved } from '../../model/flow.ts';
import { addCounts } from '../../shared/pure/count.ts';
import { plainNumber, plainText } from '../ends.ts';
import { createTimeParser } from '../time.ts';

/**
 * Hubble's protobuf as JSON (cilium api/v1/flow/flow.proto, observer.proto). Every field may be missing: zero values are
 * left out, and exporters drop fields by mask. 64-bit integers are texts; enums are names, or numbers.
 */

/** What one JSON value turned out to be. */
export type HubbleRecord =
  | { readonly kind: 'flow'; readonly flow: Flow }
  /** A flow that carries no connection; the reason is one of a fixed few. */
  | { readonly kind: 'ignored'; readonly reason: string; readonly time?: number }
  | {
      readonly kind: 'names';
      readonly names: readonly (readonly [ip: string, name: string])[];
      readonly flow?: Flow;
      readonly time: number;
    }
  | { readonly kind: 'lost'; readonly count: number; readonly time?: number }
  | { readonly kind: 'bad'; readonly message: string };

/** Fields are unknown until looked at; nothing is validated that is not used, which is what makes it fast. */
type Raw = Readonly<Record<string, unknown>>;

function isRaw(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const EVENT = {
  drop: 1,
  debug: 2,
  capture: 3,
  trace: 4,
  policyVerdict: 5,
  traceSock: 7,
  accessLog: 129,
  agent: 130,
} as const;

const VERDICTS = ['', 'FORWARDED', 'DROPPED', 'ERROR', 'AUDIT', 'REDIRECTED', 'TRACED', 'TRANSLATED'] as const;
/** 133: no rule allows it; 181: a rule denies it. Every other reason has nothing to do with policy. */
const POLICY_DROPS: ReadonlySet<unknown> = new Set(['POLICY_DENIED', 'POLICY_DENY', 133, 181]);
/** Points that see a packet on its way between nodes, beside the record of an endpoint. */
const TRANSIT = /^(?:FROM_|TO_OVERLAY|TO_NETWORK|TO_CRYPTO|TO_HOST)/;
const RESERVED: ReadonlySet<string> = new Set([
  'host',
  'remote-node',
  'health',
  'ingress',
  'kube-apiserver',
  'world',
  'unmanaged',
  'init',
]);
/** Reserved numeric identities, for records whose labels were masked away. */
const RESERVED_IDS: Readonly<Record<number, Reserved>> = {
  1: 'host',
  2: 'world',
  3: 'unmanaged',
  4: 'health',
  5: 'init',
  6: 'remote-node',
  7: 'kube-apiserver',
  8: 'ingress',
  9: 'world',
  10: 'world',
};
const NO_LABELS: RawEnd['labels'] = Object.freeze(Object.create(null) as Record<string, string>);
/** Ends are remembered by what identifies them; the memory starts afresh when it is full. */
const MAX_ENDS = 100_000;
const FLOW_FIELDS = [
  'verdict',
  'IP',
  'l4',
  'source',
  'destination',
  'event_type',
  'Type',
  'Summary',
  'traffic_direction',
];

/** A parser of Hubble records that remembers the ends it has seen: one per input. */
export function createHubbleParser(): (value: unknown) => HubbleRecord {
  const parseTime = createTimeParser();
  const ends = new Map<string, RawEnd>();

  const timeOf = (flow: Raw, envelope: Raw | undefined): number | undefined => {
    const time = flow['time'] ?? envelope?.['time'];
    return typeof time === 'string' ? parseTime(time) : undefined;
  };

  const endOf = (value: unknown, ip: string | undefined, names: unknown): RawEnd => {
    const end = isRaw(value) ? value : {};
    const pod = end['pod_name'];
    const namespace = end['namespace'];
    const identity = end['identity'];
    const hasNames = Array.isArray(names) && names.length > 0;
    // An identity stands for one set of labels as long as its pod lives, so pod, identity and address tell ends apart.
    // Without a pod the identity may be allotted anew within months of records: then the labels themselves are the key.
    const key =
      typeof pod === 'string' && !hasNames
        ? `${plainText(namespace)}/${pod}/${plainText(identity)}/${ip ?? ''}`
        : `${plainText(namespace)}/${typeof pod === 'string' ? pod : ''}/${plainText(identity)}/${ip ?? ''}/${textsOf(end['labels'])}/${hasNames ? textsOf(names) : ''}`;
    const known = ends.get(key);
    if (known !== undefined) return known;
    const made = makeEnd(end, ip, hasNames ? (names as readonly unknown[]) : []);
    if (ends.size >= MAX_ENDS) ends.clear();
    ends.set(key, made);
    return made;
  };

  return (value) => {
    if (!isRaw(value)) return { kind: 'bad', message: 'not a JSON object' };
    let raw: Raw;
    let envelope: Raw | undefined;
    const inner = value['flow'];
    if (isRaw(inner)) {
      raw = inner;
      envelope = value;
    } else if (inner !== undefined) {
      return { kind: 'bad', message: '"flow" is not an object' };
    } else {
      const special = parseSpecial(value, parseTime);
      if (special !== undefined) return special;
      if (!FLOW_FIELDS.some((field) => field in value))
        return { kind: 'bad', message: 'not a Hubble flow: it has neither "flow" nor a field of one' };
      raw = value;
    }

    const time = timeOf(raw, envelope);
    if (time === undefined) return { kind: 'bad', message: 'no "time" that reads as RFC 3339' };
    const ignore = (reason: string): HubbleRecord => ({ kind: 'ignored', reason, time });

    const eventType = raw['event_type'];
    const event = isRaw(eventType) ? eventType['type'] : typeof eventType === 'number' ? eventType : undefined;
    const type = raw['Type'];
    if (type === 'SOCK' || type === 3 || event === EVENT.traceSock) return ignore('socket translation');
    if (event === EVENT.debug || event === EVENT.capture || event === EVENT.agent)
      return ignore('debug or agent event');

    const l4 = raw['l4'];
    if (!isRaw(l4)) return ignore('no ports');
    let protocol: Protocol = 'TCP';
    let ports = l4['TCP'];
    if (ports === undefined) {
      protocol = 'UDP';
      ports = l4['UDP'];
    }
    if (ports === undefined) {
      protocol = 'SCTP';
      ports = l4['SCTP'];
    }
    if (ports === undefined)
      return ignore(l4['ICMPv4'] !== undefined || l4['ICMPv6'] !== undefined ? 'ICMP' : 'a protocol without ports');
    if (!isRaw(ports)) return { kind: 'bad', message: `"l4.${protocol}" is not an object` };
    const sourcePort = ports['source_port'];
    const destinationPort = ports['destination_port'];
    if (!isPort(sourcePort) || !isPort(destinationPort))
      return { kind: 'bad', message: 'a port is not a number from 0 to 65535' };

    const verdict = verdictOf(raw, event);
    if (typeof verdict === 'object') return ignore(verdict.ignore);

    const ip = raw['IP'];
    const sourceIp = isRaw(ip) && typeof ip['source'] === 'string' ? ip['source'] : undefined;
    const destinationIp = isRaw(ip) && typeof ip['destination'] === 'string' ? ip['destination'] : undefined;

    const direction = raw['traffic_direction'];
    const view =
      direction === 'EGRESS' || direction === 2
        ? 'egress'
        : direction === 'INGRESS' || direction === 1
          ? 'ingress'
          : 'unknown';
    const point = raw['trace_observation_point'];
    const flags = ports['flags'];
    const syn = isRaw(flags) && flags['SYN'] === true;
    const ack = isRaw(flags) && flags['ACK'] === true;
    const opens = protocol === 'TCP' && syn && !ack;

    const stated = raw['is_reply'];
    let reply: boolean | undefined;
    if (typeof stated === 'boolean') reply = stated;
    // Old records have reply:true and leave false out, so its absence says nothing.
    else if (raw['reply'] === true) reply = true;
    else if (opens || event === EVENT.policyVerdict) reply = false;
    else if (syn && ack) reply = true;
    if (view === 'unknown' && typeof point === 'string' && TRANSIT.test(point) && typeof stated !== 'boolean' && !opens)
      return ignore('seen in transit between nodes');

    const l7 = raw['l7'];
    const isL7 = isRaw(l7);
    let operation: string | undefined;
    let plaintext = false;
    let names: (readonly [string, string])[] | undefined;
    if (isL7) {
      const dns = l7['dns'];
      const http = l7['http'];
      const l7Type = l7['type'];
      if (reply === undefined)
        reply = l7Type === 'RESPONSE' || l7Type === 2 ? true : l7Type === 'REQUEST' || l7Type === 1 ? false : undefined;
      if (isRaw(dns)) names = namesOf(dns);
      else if (isRaw(http)) {
        operation = operationOf(http);
        // A proxy that reads the request of an http:// address was handed plaintext.
        plaintext = typeof http['url'] === 'string' && http['url'].startsWith('http://');
      }
    }

    const turned = reply === true;
    const source = endOf(raw['source'], sourceIp, raw['source_names']);
    const destination = endOf(raw['destination'], destinationIp, raw['destination_names']);
    const port = turned ? (sourcePort ?? 0) : (destinationPort ?? 0);
    const srcPort = turned ? (destinationPort ?? 0) : (sourcePort ?? 0);
    if (port === 0) return names === undefined ? ignore('no ports') : { kind: 'names', names, time };

    const aggregate = raw['aggregate'];
    const isVerdict = event === EVENT.policyVerdict;
    const starts =
      !turned &&
      (opens ||
        isVerdict ||
        (isL7 ? operation !== undefined : protocol !== 'TCP' || (flags === undefined && verdict !== 'allowed')));
    const flow: Flow = {
      first: time,
      last: time,
      src: turned ? destination : source,
      dst: turned ? source : destination,
      protocol,
      ...(srcPort === 0 ? undefined : { srcPort }),
      port,
      verdict,
      view,
      tap: isVerdict
        ? 'verdict'
        : isL7
          ? 'L7'
          : event === EVENT.drop
            ? 'drop'
            : typeof point === 'string'
              ? point
              : 'packet',
      initiatorKnown: reply !== undefined,
      reply: turned,
      stage: starts ? 'open' : 'ongoing',
      count: isRaw(aggregate) ? aggregated(aggregate) : 1,
      proxied: isL7 || point === 'TO_PROXY' || raw['verdict'] === 'REDIRECTED' || raw['verdict'] === 5,
      ...(operation === undefined ? undefined : { l7: operation }),
      mtls: plaintext ? 'no' : 'unknown',
      source: 'hubble',
    };
    return names === undefined ? { kind: 'flow', flow } : { kind: 'names', names, flow, time };
  };
}

/** Envelopes that hold no flow. */
function parseSpecial(value: Raw, parseTime: (text: string) => number | undefined): HubbleRecord | undefined {
  const text = value['time'];
  const time = typeof text === 'string' ? parseTime(text) : undefined;
  const at = time === undefined ? {} : { time };
  const lost = value['lost_events'];
  if (isRaw(lost)) {
    const count = lost['num_events_lost'] === undefined ? 0 : plainNumber(lost['num_events_lost']);
    if (!Number.isSafeInteger(count) || count < 0)
      return { kind: 'bad', message: '"lost_events.num_events_lost" is not a count' };
    return { kind: 'lost', count, ...at };
  }
  if (isRaw(value['node_status'])) return { kind: 'ignored', reason: 'node status', ...at };
  if (isRaw(value['agent_event']) || isRaw(value['debug_event']))
    return { kind: 'ignored', reason: 'debug or agent event', ...at };
  return undefined;
}

function isPort(value: unknown): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65535);
}

function verdictOf(raw: Raw, event: unknown): Verdict3 | { readonly ignore: string } {
  const stated = raw['verdict'];
  const name = typeof stated === 'number' ? VERDICTS[stated] : stated;
  switch (name) {
    case 'FORWARDED':
    case 'REDIRECTED':
    case 'TRACED':
      return 'allowed';
    case 'AUDIT':
      return 'audit';
    case 'ERROR':
      return { ignore: 'error of the datapath' };
    case 'TRANSLATED':
      return { ignore: 'socket translation' };
    case 'DROPPED': {
      const reason = raw['drop_reason_desc'] ?? raw['drop_reason'];
      if (reason === undefined || reason === 'DROP_REASON_UNKNOWN' || reason === 0)
        return event === EVENT.accessLog || event === EVENT.policyVerdict || isRaw(raw['l7'])
          ? 'denied'
          : { ignore: 'dropped for no stated reason' };
      return POLICY_DROPS.has(reason) ? 'denied' : { ignore: 'dropped, but not by policy' };
    }
    default:
      return 'unknown';
  }
}

function operationOf(http: Raw): string | undefined {
  const method = http['method'];
  const url = http['url'];
  if (typeof method !== 'string' || typeof url !== 'string' || method === '') return undefined;
  const scheme = url.indexOf('://');
  const start = scheme < 0 ? (url.startsWith('/') ? 0 : -1) : url.indexOf('/', scheme + 3);
  if (start < 0) return `${method} /`;
  // Query strings carry tokens and personal data; they are never kept.
  const end = url.slice(start).search(/[?#]/);
  return `${method} ${end < 0 ? url.slice(start) : url.slice(start, start + end)}`;
}

function namesOf(dns: Raw): (readonly [string, string])[] {
  const query = dns['query'];
  const ips = dns['ips'];
  if (typeof query !== 'string' || !Array.isArray(ips)) return [];
  const name = query.replace(/\.$/, '').toLowerCase();
  if (name === '') return [];
  return ips.flatMap((ip: unknown) => (typeof ip === 'string' ? [[ip, name] as const] : []));
}

function aggregated(aggregate: Raw): number {
  let count = 0;
  for (const field of ['ingress_flow_count', 'egress_flow_count', 'unknown_direction_flow_count']) {
    const value = aggregate[field] === undefined ? 0 : plainNumber(aggregate[field]);
    if (Number.isSafeInteger(value) && value > 0) count = addCounts(count, value);
  }
  return Math.max(1, count);
}

/** One side of a record, which its source knew no DNS name for. */
export function parseEnd(value: unknown, ip: string | undefined): RawEnd {
  return makeEnd(isRaw(value) ? value : {}, ip, []);
}

function textsOf(value: unknown): string {
  return Array.isArray(value) ? (value as readonly unknown[]).map(plainText).join('\n') : '';
}

const NAMESPACE_LABEL = 'io.kubernetes.pod.namespace';
const ACCOUNT_LABEL = 'io.cilium.k8s.policy.serviceaccount';

function makeEnd(end: Raw, ip: string | undefined, names: readonly unknown[]): RawEnd {
  const labels = Object.create(null) as Record<string, string>;
  const reserved: Reserved[] = [];
  let labelCount = 0;
  let labelled: string | undefined;
  let serviceAccount: string | undefined;
  for (const label of Array.isArray(end['labels']) ? (end['labels'] as readonly unknown[]) : []) {
    if (typeof label !== 'string') continue;
    if (label.startsWith('reserved:')) {
      const name = label
        .slice(9)
        .replace(/^world-ipv[46]$/, 'world')
        .replace(/=.*$/s, '');
      if (RESERVED.has(name)) reserved.push(name as Reserved);
      continue;
    }
    if (!label.startsWith('k8s:')) continue;
    const equals = label.indexOf('=');
    const key = label.slice(4, equals < 0 ? undefined : equals);
    const value = equals < 0 ? '' : label.slice(equals + 1);
    if (key === NAMESPACE_LABEL) labelled = value;
    else if (key === ACCOUNT_LABEL) serviceAccount = value;
    else if (!key.startsWith('io.cilium.k8s.')) {
      labels[key] = value;
      labelCount += 1;
    }
  }
  const identity = end['identity'];
  if (reserved.length === 0 && typeof identity === 'number') {
    const name = RESERVED_IDS[identity];
    if (name !== undefined) reserved.push(name);
  }
  const namespace = text(end['namespace']) ?? labelled;
  const pod = text(end['pod_name']);
  const workload = workloadOf(end['workloads']);
  const known = names.filter((name) => typeof name === 'string').map((name) => name.replace(/\.$/, '').toLowerCase());
  return {
    ...(ip === undefined ? {} : { ip }),
    ...(pod === undefined ? {} : { pod }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(workload === undefined ? {} : { workload }),
    labels: labelCount === 0 ? NO_LABELS : labels,
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
    reserved,
    names: known,
  };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** The first owner with kind and name. Hubble lists several only where it could not decide. */
function workloadOf(value: unknown): RawEnd['workload'] {
  if (!Array.isArray(value)) return undefined;
  for (const item of value as readonly unknown[]) {
    if (!isRaw(item)) continue;
    const kind = text(item['kind']);
    const name = text(item['name']);
    if (kind !== undefined && name !== undefined) return { kind, name };
  }
  return undefined;
}

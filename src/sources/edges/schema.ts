import { normaliseIp } from '../../model/address.ts';
import type { Mtls, Protocol, Verdict3 } from '../../model/edge.ts';
import type { Flow, RawEnd } from '../../model/flow.ts';
import { safeText } from '../../shared/pure/text.ts';
import { parseTime } from '../time.ts';

/** What is wrong with a line, and with which field of it. */
export interface EdgeFault {
  readonly fault: string;
  readonly unknownKey?: boolean;
}

const KEYS = [
  'first',
  'last',
  'src',
  'dst',
  'protocol',
  'port',
  'count',
  'verdict',
  'l7',
  'mtls',
  'principal',
  'source',
];
const END_KEYS = ['workload', 'pod', 'ip', 'name', 'namespace'];
const PROTOCOLS: readonly string[] = ['TCP', 'UDP', 'SCTP'] satisfies Protocol[];
const VERDICTS: readonly string[] = ['allowed', 'denied', 'audit', 'unknown'] satisfies Verdict3[];
const MTLS: readonly string[] = ['yes', 'no', 'mixed', 'unknown'] satisfies Mtls[];
const OPERATION = /^[A-Z]+ \/[^\s?#]*$/;

type Raw = Readonly<Record<string, unknown>>;

function isRaw(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isFault(value: object): value is EdgeFault {
  return 'fault' in value;
}

/** A neutral edge, strictly: an unknown key, a missing one or a value out of its range is a fault. */
export function parseNeutralEdge(value: unknown): Flow | EdgeFault {
  if (!isRaw(value)) return { fault: 'not a JSON object' };
  const extra = Object.keys(value).find((key) => !KEYS.includes(key));
  if (extra !== undefined) return unknownKey(extra, KEYS);
  const first = timeAt(value, 'first');
  if (first === undefined) return { fault: '"first" is not an RFC 3339 time' };
  const last = timeAt(value, 'last');
  if (last === undefined) return { fault: '"last" is not an RFC 3339 time' };
  if (last < first) return { fault: '"last" is before "first"' };
  const src = parseEnd(value['src'], 'src');
  if (isFault(src)) return src;
  const dst = parseEnd(value['dst'], 'dst');
  if (isFault(dst)) return dst;
  const { protocol, port, count, verdict, l7, mtls = 'unknown', principal, source = 'edges' } = value;
  if (typeof protocol !== 'string' || !PROTOCOLS.includes(protocol))
    return { fault: '"protocol" is not TCP, UDP or SCTP' };
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65535)
    return { fault: '"port" is not a number from 1 to 65535' };
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 1)
    return { fault: '"count" is not a whole number from 1' };
  if (typeof verdict !== 'string' || !VERDICTS.includes(verdict))
    return { fault: '"verdict" is not allowed, denied, audit or unknown' };
  if (l7 !== undefined && (typeof l7 !== 'string' || !OPERATION.test(l7)))
    return { fault: '"l7" is not a method and a path without a query, as in "POST /v1/score"' };
  if (typeof mtls !== 'string' || !MTLS.includes(mtls)) return { fault: '"mtls" is not yes, no, mixed or unknown' };
  if (principal !== undefined && (typeof principal !== 'string' || principal === ''))
    return { fault: '"principal" is not a text' };
  if (typeof source !== 'string' || source === '') return { fault: '"source" is not a text' };
  return {
    first,
    last,
    src,
    dst,
    protocol: protocol as Protocol,
    port,
    verdict: verdict as Verdict3,
    view: 'unknown',
    tap: 'edge',
    initiatorKnown: true,
    reply: false,
    stage: 'open',
    count,
    proxied: false,
    ...(l7 === undefined ? {} : { l7 }),
    mtls: mtls as Mtls,
    ...(principal === undefined ? {} : { principal }),
    source,
  };
}

function timeAt(value: Raw, key: string): number | undefined {
  const text = value[key];
  return typeof text === 'string' ? parseTime(text) : undefined;
}

function unknownKey(key: string, known: readonly string[], at = ''): EdgeFault {
  return {
    fault: `unknown key "${at}${safeText(key.slice(0, 60))}" (known: ${known.map((one) => at + one).join(', ')})`,
    unknownKey: true,
  };
}

/**
 * `{workload: "ns/Kind/name" | "Kind/name" with namespace}`, `{pod, namespace}`, `{ip}`, or `{name}`: a DNS name outside the
 * cluster, a Service (`x.ns.svc`, or `x` with namespace), or one of the words `node` and `api-server`.
 */
function parseEnd(value: unknown, at: 'src' | 'dst'): RawEnd | EdgeFault {
  if (!isRaw(value)) return { fault: `"${at}" is not an object` };
  const extra = Object.keys(value).find((key) => !END_KEYS.includes(key));
  if (extra !== undefined) return unknownKey(extra, END_KEYS, `${at}.`);
  for (const key of END_KEYS) {
    const text = value[key];
    if (text !== undefined && (typeof text !== 'string' || text === ''))
      return { fault: `"${at}.${key}" is not a text` };
  }
  const { workload, pod, ip, name, namespace } = value as Readonly<Record<string, string | undefined>>;
  const given = [workload, pod, ip, name].filter((one) => one !== undefined).length;
  if (given !== 1) return { fault: `"${at}" needs exactly one of workload, pod, ip and name` };
  const none = { labels: {}, reserved: [], names: [] } as const;
  if (workload !== undefined) {
    const parts = workload.split('/');
    const inside = parts.length === 3 ? parts[0] : namespace;
    const [kind, own] = parts.slice(-2);
    if (!inside || !kind || !own || parts.length > 3 || parts.length < 2)
      return { fault: `"${at}.workload" is not namespace/Kind/name` };
    if (namespace !== undefined && namespace !== inside)
      return { fault: `"${at}.workload" names another namespace than "${at}.namespace"` };
    return { ...none, namespace: inside, workload: { kind, name: own } };
  }
  if (pod !== undefined) {
    if (namespace === undefined) return { fault: `"${at}.pod" needs "${at}.namespace"` };
    return { ...none, namespace, pod };
  }
  if (ip !== undefined) {
    if (normaliseIp(ip) === undefined) return { fault: `"${at}.ip" is not an address` };
    return { ...none, ip, ...(namespace === undefined ? {} : { namespace }) };
  }
  const host = (name ?? '').replace(/\.$/, '').toLowerCase();
  if (host === 'node') return { ...none, reserved: ['host'] };
  if (host === 'api-server') return { ...none, reserved: ['kube-apiserver'] };
  if (namespace !== undefined) return { ...none, service: { namespace, name: host } };
  const service = /^([^.]+)\.([^.]+)\.svc(?:\..+)?$/.exec(host);
  if (service?.[1] !== undefined && service[2] !== undefined)
    return { ...none, service: { name: service[1], namespace: service[2] } };
  return { ...none, reserved: ['world'], names: [host] };
}

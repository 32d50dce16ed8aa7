import type { Verdict3 } from '../../model/edge.ts';
import type { Flow } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { parseProtocol } from '../ends.ts';
import { flowOf } from '../flow.ts';

export type VpcRecord =
  | { readonly kind: 'flow'; readonly flow: Flow }
  | { readonly kind: 'ignored'; readonly reason: string; readonly first: number; readonly last: number }
  | { readonly kind: 'lost'; readonly first: number; readonly last: number }
  | { readonly kind: 'bad'; readonly message: string };

/** The default format, version 2 (docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html). */
export const DEFAULT_FIELDS =
  'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status'.split(
    ' ',
  );
const NAMES: ReadonlySet<string> = new Set([
  ...DEFAULT_FIELDS,
  ...'vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id'.split(
    ' ',
  ),
  ...'pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path reject-reason resource-id encryption-status'.split(
    ' ',
  ),
]);
const NEEDED = ['srcport', 'dstport', 'protocol', 'start', 'end'];
const SYN = 2;
const FIN = 1;
const SYN_ACK = 18;

/** The fields that a header names, or undefined for a line that is none. Fields of newer versions are passed over. */
export function parseHeader(line: string): readonly string[] | undefined {
  const words = line
    .trim()
    .replaceAll(/\$\{([a-z-]+)\}/g, '$1')
    .split(/\s+/);
  return words.length > 4 &&
    words.every((word) => /^[a-z][a-z0-9-]*$/.test(word)) &&
    words.some((word) => NAMES.has(word))
    ? words
    : undefined;
}

export function missingFields(fields: readonly string[]): readonly string[] {
  const addresses = [
    ['srcaddr', 'pkt-srcaddr'],
    ['dstaddr', 'pkt-dstaddr'],
  ].flatMap((either) => (either.some((one) => fields.includes(one)) ? [] : [either.join(' or ')]));
  return [...NEEDED.filter((name) => !fields.includes(name)), ...addresses];
}

/**
 * One record: packets in one direction at one network interface within a window. Without the SYN flag among the fields, nothing
 * says who opened the connection. ACCEPT is the word of security groups and network ACLs; a NetworkPolicy may still have denied it.
 */
export function parseVpcRecord(line: string, fields: readonly string[], ends: Ends): VpcRecord {
  const words = line.trim().split(/\s+/);
  if (words.length !== fields.length)
    return { kind: 'bad', message: `${words.length} fields instead of ${fields.length}` };
  const at = (name: string): string | undefined => {
    const index = fields.indexOf(name);
    const word = index < 0 ? undefined : words[index];
    return word === '-' ? undefined : word;
  };
  const first = Number(at('start')) * 1000;
  const last = Number(at('end')) * 1000;
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last))
    return { kind: 'bad', message: '"start" or "end" is no time' };
  const ignored = (reason: string): VpcRecord => ({ kind: 'ignored', reason, first, last });
  const status = at('log-status');
  if (status === 'SKIPDATA') return { kind: 'lost', first, last };
  if (status === 'NODATA') return ignored('an interface without traffic');
  const number = at('protocol');
  const protocol = parseProtocol(number);
  if (protocol === undefined) return ignored(number === '1' || number === '58' ? 'ICMP' : 'a protocol without ports');
  // The packet's own addresses: those of the pods, where the others are the interface's.
  const srcIp = at('pkt-srcaddr') ?? at('srcaddr');
  const dstIp = at('pkt-dstaddr') ?? at('dstaddr');
  const srcPort = Number(at('srcport'));
  const dstPort = Number(at('dstport'));
  if (srcIp === undefined || dstIp === undefined) return { kind: 'bad', message: 'no addresses' };
  if (![srcPort, dstPort].every((port) => Number.isInteger(port) && port >= 0 && port <= 65_535))
    return { kind: 'bad', message: '"srcport" or "dstport" is no port' };
  if (srcPort === 0 || dstPort === 0) return ignored('no ports');
  const flags = Number(at('tcp-flags') ?? 0);
  const answers = (flags & SYN_ACK) === SYN_ACK;
  const opens = !answers && (flags & SYN) !== 0;
  const rejected = at('action') === 'REJECT';
  const direction = at('flow-direction');
  const src = ends({ ip: srcIp });
  const dst = ends({ ip: dstIp });
  const verdict: Verdict3 = rejected ? 'denied' : answers || (opens && (flags & FIN) !== 0) ? 'allowed' : 'unknown';
  const common = { first, last: Math.max(first, last), protocol, verdict, source: 'aws-vpc' } as const;
  if (answers)
    return {
      kind: 'flow',
      flow: flowOf({
        ...common,
        src: dst,
        dst: src,
        srcPort: dstPort,
        port: srcPort,
        view: direction === 'egress' ? 'ingress' : direction === 'ingress' ? 'egress' : 'unknown',
        // The answer to a SYN falls into one window.
        tap: 'answer',
        reply: true,
      }),
    };
  return {
    kind: 'flow',
    flow: flowOf({
      ...common,
      src,
      dst,
      srcPort,
      port: dstPort,
      view: opens && (direction === 'egress' || direction === 'ingress') ? direction : 'unknown',
      initiatorKnown: opens,
      stage: opens || rejected ? 'open' : 'ongoing',
    }),
  };
}

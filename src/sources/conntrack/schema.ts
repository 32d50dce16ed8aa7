import type { Protocol } from '../../model/edge.ts';
import type { Flow } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { parseProtocol } from '../ends.ts';

export type ConntrackRecord =
  /** Without a time of its own, `first` and `last` are NaN. */
  | { readonly kind: 'flow'; readonly flow: Flow }
  | { readonly kind: 'ignored'; readonly reason: string; readonly time: number }
  /** Not a record; nothing to say about it. */
  | { readonly kind: 'remark' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'bad'; readonly message: string };

interface Tuple {
  readonly src: string;
  readonly dst: string;
  readonly sport: number;
  readonly dport: number;
}

const STAMP = /^\s*\[\s*(\d{9,11})\.(\d{1,6})\s*\]\s*/;
const EVENT = /^\s*\[(NEW|UPDATE|DESTROY)\]\s*/;
const STATES: ReadonlySet<string> = new Set([
  'NONE',
  'SYN_SENT',
  'SYN_SENT2',
  'SYN_RECV',
  'ESTABLISHED',
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE',
  'LISTEN',
  'CLOSED',
  'COOKIE_WAIT',
  'COOKIE_ECHOED',
  'SHUTDOWN_SENT',
  'SHUTDOWN_RECD',
  'SHUTDOWN_ACK_SENT',
  'HEARTBEAT_SENT',
  'HEARTBEAT_ACKED',
]);
/** Well-known link-local addresses; every other one is a step of the node's own translation (OVN-Kubernetes, among others). */
const KNOWN_LINK_LOCAL: ReadonlySet<string> = new Set(['169.254.169.254', '169.254.20.10']);

/**
 * One line of `conntrack -E` or `-L`, with or without `-o timestamp,extended,id`, or of /proc/net/nf_conntrack. The first tuple
 * is the opener's, as it dialled; the second is what the answer looks like, so its source is the real server and port, after NAT
 * (conntrack(8); net/netfilter/nf_conntrack_standalone.c). A connection that policy denied on this node is never confirmed and
 * shows up nowhere; one that nobody answered is UNREPLIED, which may be a denial elsewhere or a server that is down.
 *
 * The events of one connection are told apart by `tap`, so that each counts once, whichever of them were recorded and in whichever
 * order: its first answer, its end, its entry in a listing. `zone`: one connection has an entry in each zone it passes.
 */
export function parseConntrackLine(line: string, ends: Ends): ConntrackRecord {
  let rest = line;
  let time = NaN;
  const stamp = STAMP.exec(rest);
  if (stamp !== null) {
    // Microseconds, which some versions print without leading zeros.
    time = Number(stamp[1]) * 1000 + Math.floor(Number(stamp[2]) / 1000);
    rest = rest.slice(stamp[0].length);
  }
  const event = EVENT.exec(rest);
  if (event !== null) rest = rest.slice(event[0].length);
  if (/^(?:WARNING: .*(?:ENOBUFS|losing events)|.*We have hit ENOBUFS)/.test(rest)) return { kind: 'lost' };
  if (/^conntrack v\d/.test(rest)) return { kind: 'remark' };
  const words = rest.trim().split(/\s+/);
  let at = 0;
  if (/^ipv[46]$/.test(words[0] ?? '') && /^\d+$/.test(words[1] ?? '')) at = 2;
  const name = words[at];
  const number = words[at + 1];
  if (name === undefined || number === undefined || !/^[a-z0-9-]{1,16}$/.test(name) || !/^\d{1,3}$/.test(number))
    return { kind: 'bad', message: 'not a line of conntrack' };
  const tuples: Partial<Record<keyof Tuple, string>>[] = [];
  const flags = new Set<string>();
  let state: string | undefined;
  let zone = '';
  for (const word of words.slice(at + 2)) {
    const equals = word.indexOf('=');
    if (equals < 0) {
      if (word.startsWith('[') && word.endsWith(']')) flags.add(word.slice(1, -1));
      else if (STATES.has(word)) state ??= word;
      continue;
    }
    const key = word.slice(0, equals);
    const value = word.slice(equals + 1);
    // Each tuple begins with its source.
    if (key === 'src') tuples.push({ src: value });
    else if (key === 'dst' || key === 'sport' || key === 'dport') {
      const tuple = tuples.at(-1);
      if (tuple !== undefined) tuple[key] ??= value;
    } else if (key === 'zone' || key === 'zone-orig') zone ||= value;
  }
  if (tuples.length !== 2) return { kind: 'bad', message: `${tuples.length} addresses of a source instead of two` };
  const protocol = parseProtocol(number);
  const ignored = (reason: string): ConntrackRecord => ({ kind: 'ignored', reason, time });
  if (protocol === undefined)
    return ignored(/^icmp/.test(name) || number === '1' || number === '58' ? 'ICMP' : 'a protocol without ports');
  const [original, reply] = tuples.map(tupleOf);
  if (original === undefined || reply === undefined)
    return { kind: 'bad', message: 'src, dst, sport or dport is missing, or no address or port' };

  const isEvent = event?.[1];
  const replied = !flags.has('UNREPLIED');
  const assured = flags.has('ASSURED') || flags.has('OFFLOAD') || flags.has('HW_OFFLOAD');
  // An entry made in the middle of a connection begins as established; who opened it was not seen.
  const midStream = isEvent === 'NEW' && state === 'ESTABLISHED';
  if (isTranslationStep(original.src) || isTranslationStep(reply.src))
    return ignored("a step of the node's own address translation");
  const judged = midStream ? MID_STREAM : judge(protocol, isEvent, state, replied, assured);
  if (typeof judged === 'string') return ignored(judged);
  return {
    kind: 'flow',
    flow: {
      first: time,
      last: time,
      src: ends({ ip: original.src }),
      dst: ends({ ip: reply.src }),
      protocol,
      ...(original.sport === 0 ? {} : { srcPort: original.sport }),
      port: reply.sport,
      view: 'unknown',
      tap: `conntrack ${judged.tap}${zone === '' || zone === '0' ? '' : ` zone ${zone}`}`,
      initiatorKnown: !midStream,
      verdict: judged.verdict,
      stage: judged.stage,
      reply: judged.stage === 'ongoing' && replied,
      count: 1,
      proxied: false,
      mtls: 'unknown',
      source: 'conntrack',
    },
  };
}

type Judged = Pick<Flow, 'verdict' | 'stage' | 'tap'>;

const MID_STREAM: Judged = { verdict: 'unknown', stage: 'ongoing', tap: 'taken up' };
const ONGOING: Judged = { verdict: 'allowed', stage: 'ongoing', tap: 'update' };
const NEVER_ANSWERED = 'an attempt that nobody answered, or that was refused';

/** What one entry or event proves about its connection; a text is the reason why it proves nothing. */
function judge(
  protocol: Protocol,
  event: string | undefined,
  state: string | undefined,
  replied: boolean,
  assured: boolean,
): Judged | string {
  const open = (tap: string): Judged => ({ verdict: 'allowed', stage: 'open', tap });
  switch (event) {
    case 'NEW':
      return 'a first packet, whose answer another event tells of';
    case 'UPDATE':
      if (!replied) return 'a packet sent again';
      if (protocol === 'UDP') return assured ? ONGOING : open('answered');
      if (protocol === 'SCTP')
        return state === 'ESTABLISHED' ? open('answered') : assured ? ONGOING : 'a packet of the handshake';
      // The answer to a SYN comes once a connection.
      if (state === 'SYN_RECV') return open('answered');
      if (state === 'CLOSE' && !assured) return NEVER_ANSWERED;
      return ONGOING;
    default: {
      const tap = event === 'DESTROY' ? 'ended' : 'listed';
      if (protocol === 'UDP')
        // Some protocols never answer (syslog, statsd), so silence is neither a denial nor a proof.
        return replied ? open(tap) : { verdict: 'unknown', stage: 'open', tap };
      if (!replied) return NEVER_ANSWERED;
      if (assured) return open(tap);
      if (event === 'DESTROY') return NEVER_ANSWERED;
      return state === 'CLOSE' || state === 'CLOSED' || state === 'SYN_SENT' ? NEVER_ANSWERED : open(tap);
    }
  }
}

function tupleOf(parts: Partial<Record<keyof Tuple, string>>): Tuple | undefined {
  const { src = '', dst = '' } = parts;
  const sport = portOf(parts.sport);
  const dport = portOf(parts.dport);
  if (!isAddress(src) || !isAddress(dst) || sport === undefined || dport === undefined) return undefined;
  return { src, dst, sport, dport };
}

function isAddress(text: string): boolean {
  return /^(?:\d{1,3}\.){3}\d{1,3}$/.test(text) || (text.includes(':') && /^[0-9a-f:.]+$/i.test(text));
}

function portOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}

function isTranslationStep(ip: string): boolean {
  return ip.startsWith('169.254.') && !KNOWN_LINK_LOCAL.has(ip);
}

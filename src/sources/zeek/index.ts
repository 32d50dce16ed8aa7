import type { Verdict3 } from '../../model/edge.ts';
import type { InputReport } from '../../model/flow.ts';
import type { Raw } from '../ends.ts';
import { createEnds, isRaw, parseProtocol, plainNumber, plainText, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { BadRecord } from '../records.ts';
import { readPayloads } from '../records.ts';
import { parseTime } from '../time.ts';

/** docs.zeek.org, conn.log, conn_state: an attempt that nobody answered, or that was rejected. */
const FAILED: ReadonlySet<string> = new Set(['S0', 'REJ', 'RSTOS0', 'RSTRH', 'SH', 'SHR']);

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  let separator = '\t';
  let fields: readonly string[] | undefined;
  return readPayloads('zeek', input, options, ({ text, value }, counter) => {
    let raw: unknown = value;
    if (raw === undefined) {
      if (text.startsWith('#')) {
        const stated = /^#separator\s+(\S+)/.exec(text)?.[1];
        if (stated !== undefined)
          separator = stated.replace(/^\\x([0-9a-f]{2})$/i, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
        if (text.startsWith('#fields')) fields = text.split(separator).slice(1);
        const path = text.startsWith('#path') ? text.split(separator)[1] : undefined;
        return path === undefined || path === 'conn'
          ? undefined
          : { message: `this is Zeek's ${path}.log, not its conn.log` };
      }
      if (fields === undefined) return { message: 'a line before "#fields": not a log of Zeek' };
      const words = text.split(separator);
      if (words.length !== fields.length) return { message: `${words.length} fields instead of ${fields.length}` };
      raw = Object.fromEntries(fields.map((field, index) => [field, words[index]]));
    }
    if (!isRaw(raw)) return { message: 'not a JSON object' };
    const record = raw;
    const srcIp = textAt(record, 'id.orig_h');
    const dstIp = textAt(record, 'id.resp_h');
    if (srcIp === undefined || dstIp === undefined)
      return { message: 'no "id.orig_h" and "id.resp_h": not Zeek\'s conn.log' };
    const time = timeOf(record);
    if (time === undefined) return { message: '"ts" is no time' };
    const duration = plainNumber(textAt(record, 'duration') ?? record['duration'] ?? 0);
    const last = time + (duration > 0 ? Math.floor(duration * 1000) : 0);
    counter.seen(time, last);
    const ignored = (reason: string): BadRecord | undefined => {
      counter.ignored(reason);
      return undefined;
    };
    const protocol = parseProtocol(record['proto']);
    if (protocol === undefined)
      return ignored(/^icmp/i.test(plainText(record['proto'])) ? 'ICMP' : 'a protocol without ports');
    const srcPort = plainNumber(record['id.orig_p']);
    const port = plainNumber(record['id.resp_p']);
    if (!isPort(srcPort) || !isPort(port)) return { message: '"id.orig_p" or "id.resp_p" is no port' };
    if (port === 0) return ignored('no ports');
    const state = textAt(record, 'conn_state') ?? '';
    const history = textAt(record, 'history') ?? '';
    // One datagram without an answer is how some protocols work.
    const silent = protocol === 'UDP' && state === 'S0';
    if (FAILED.has(state) && !silent) return ignored('an attempt that nobody answered, or that was refused');
    const midStream = state === 'OTH' || (protocol === 'TCP' && history.startsWith('^'));
    sink.flow(
      flowOf({
        first: time,
        last,
        src: ends({ ip: srcIp }),
        dst: ends({ ip: dstIp }),
        protocol,
        ...(srcPort === 0 ? {} : { srcPort }),
        port,
        verdict: (silent || midStream ? 'unknown' : 'allowed') satisfies Verdict3,
        initiatorKnown: !midStream,
        stage: midStream ? 'ongoing' : 'open',
        source: 'zeek',
      }),
    );
    return undefined;
  });
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 0 && port <= 65_535;
}

/** Seconds with a fraction, as text or number, or ISO 8601. */
function timeOf(record: Raw): number | undefined {
  const ts = record['ts'];
  if (typeof ts === 'string' && ts.includes('T')) return parseTime(ts);
  const seconds = plainNumber(ts);
  return ts === undefined || ts === '' || !Number.isFinite(seconds) || seconds < 0
    ? undefined
    : Math.floor(seconds * 1000);
}

/** Zeek's connection log. */
export const zeekSource: FlowSource = {
  name: 'zeek',
  summary: "Zeek's conn.log, tab-separated or JSON",
  example: 'sallyport observe zeek conn.log',
  grows: true,
  isColumns: (line) => line.startsWith('#'),
  read,
};

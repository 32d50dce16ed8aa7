import { safeText } from '../../shared/pure/text.ts';
import type { InputReport } from '../../model/flow.ts';
import type { Flow } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { createEnds, isRaw, parseProtocol, plainText } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';

const NOT_AZURE = 'no "flowRecords" and no "properties.flows": not a flow log of Azure';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('azure', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: 'not a JSON object' };
    const records = Array.isArray(value['records']) ? (value['records'] as readonly unknown[]) : [value];
    for (const record of records) {
      const tuples = isRaw(record) ? tuplesOf(record) : undefined;
      if (tuples === undefined) return { message: NOT_AZURE };
      for (const tuple of tuples) {
        const flow = typeof tuple === 'string' ? parseTuple(tuple, ends) : undefined;
        if (flow === undefined)
          return { message: `a flow tuple that does not read: ${safeText(plainText(tuple).slice(0, 80))}` };
        if (typeof flow === 'object') {
          counter.seen(flow.first);
          sink.flow(flow);
        } else {
          counter.seen(undefined);
          counter.ignored(flow);
        }
      }
    }
    return undefined;
  });
}

function list(value: unknown): readonly Raw[] {
  return Array.isArray(value) ? (value as readonly unknown[]).filter(isRaw) : [];
}

/** Of a VNet flow log, or of the older one of network security groups. */
function tuplesOf(record: Raw): readonly unknown[] | undefined {
  const { flowRecords, properties } = record;
  const groups = isRaw(flowRecords)
    ? list(flowRecords['flows']).flatMap((flow) => list(flow['flowGroups']))
    : isRaw(properties) && Array.isArray(properties['flows'])
      ? list(properties['flows']).flatMap((rule) => list(rule['flows']))
      : undefined;
  return groups?.flatMap((group) =>
    Array.isArray(group['flowTuples']) ? (group['flowTuples'] as readonly unknown[]) : [],
  );
}

/**
 * `time,src,dst,sport,dport,protocol,I|O,state,...` (learn.microsoft.com/azure/network-watcher/vnet-flow-logs-overview): the opener
 * stands first. VNet logs count milliseconds and name protocols by number; those of security groups seconds, and T or U. `B` begins,
 * `C` goes on, `E` ends, `D` is denied; the oldest format has A or D alone. A NetworkPolicy may have denied what Azure let through.
 */
function parseTuple(text: string, ends: Ends): Flow | string | undefined {
  const parts = text.split(',');
  const [stamp = '', srcIp = '', dstIp = '', sport = '', dport = '', protocol = '', direction, state] = parts;
  if (!/^\d{9,13}$/.test(stamp) || srcIp === '' || dstIp === '') return undefined;
  if (direction !== 'I' && direction !== 'O') return undefined;
  const isGroup = protocol === 'T' || protocol === 'U';
  // In the second version for security groups A or D stands before the state.
  const decision = state;
  const phase = isGroup ? (parts[8] ?? (decision === 'D' ? 'D' : 'B')) : state;
  const denied = decision === 'D' || phase === 'D';
  if (!denied && phase !== 'B' && phase !== 'C' && phase !== 'E') return undefined;
  const known = parseProtocol(protocol === 'T' ? 6 : protocol === 'U' ? 17 : protocol);
  if (known === undefined) return protocol === '1' || protocol === '58' ? 'ICMP' : 'a protocol without ports';
  const port = Number(dport);
  const srcPort = Number(sport);
  if (![port, srcPort].every((one) => Number.isInteger(one) && one >= 0 && one <= 65_535)) return undefined;
  if (port === 0) return 'no ports';
  const time = stamp.length > 10 ? Number(stamp) : Number(stamp) * 1000;
  // Packets from the destination to the source: it answered.
  const answered = Number(parts[11] ?? 0) > 0;
  return flowOf({
    first: time,
    src: ends({ ip: srcIp }),
    dst: ends({ ip: dstIp }),
    protocol: known,
    ...(srcPort > 0 && srcPort <= 65_535 ? { srcPort } : {}),
    port,
    verdict: denied ? 'denied' : answered ? 'allowed' : 'unknown',
    view: direction === 'I' ? 'ingress' : 'egress',
    // A connection begins once and ends once.
    stage: phase === 'C' && !denied ? 'ongoing' : 'open',
    tap: phase === 'E' ? 'end' : 'begin',
    reply: !denied && phase !== 'B' && answered,
    source: 'azure',
  });
}

/** Flow logs of Azure Network Watcher. */
export const azureSource: FlowSource = {
  name: 'azure',
  summary: 'flow logs of Azure: PT1H.json of virtual networks, and of network security groups',
  example: 'sallyport observe azure PT1H.json',
  read,
};

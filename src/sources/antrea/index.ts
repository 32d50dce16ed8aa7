import type { Verdict3 } from '../../model/edge.ts';
import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { createEnds, parseProtocol } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { BadRecord } from '../records.ts';
import { readPayloads } from '../records.ts';

/** antrea pkg/flowaggregator/flowlogger: the columns that every release has; those after them are not needed here. */
const COLUMN = {
  start: 0,
  end: 1,
  srcIp: 2,
  dstIp: 3,
  srcPort: 4,
  dstPort: 5,
  protocol: 6,
  srcPod: 7,
  srcNamespace: 8,
  dstPod: 10,
  dstNamespace: 11,
  ingressAction: 20,
  egressAction: 25,
} as const;
const MIN_COLUMNS = 27;

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('antrea', input, options, ({ text, value }, counter) => {
    if (value !== undefined) return { message: "JSON, not Antrea's CSV" };
    const columns = text.trim().split(',');
    if (columns.length < MIN_COLUMNS) return { message: `${columns.length} columns instead of ${MIN_COLUMNS} or more` };
    const at = (column: keyof typeof COLUMN): string => columns[COLUMN[column]] ?? '';
    // A header, where somebody put one.
    if (at('start') === 'FlowStartSeconds') return undefined;
    const [first, last] = [Number(at('start')) * 1000, Number(at('end')) * 1000];
    if (!/^\d{1,11}$/.test(at('start')) || !/^\d{1,11}$/.test(at('end')) || last < first)
      return { message: 'its first two columns are no seconds' };
    counter.seen(first, last);
    const ignored = (reason: string): BadRecord | undefined => {
      counter.ignored(reason);
      return undefined;
    };
    const protocol = parseProtocol(at('protocol'));
    if (protocol === undefined)
      return ignored(/^(?:1|58|ICMP.*)$/i.test(at('protocol')) ? 'ICMP' : 'a protocol without ports');
    const port = Number(at('dstPort'));
    const srcPort = Number(at('srcPort'));
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return ignored('no port of the destination');
    const actions = [at('egressAction'), at('ingressAction')];
    const denied = actions.map((action) => /^(?:Drop|Reject|2|3)$/i.test(action));
    sink.flow(
      flowOf({
        first,
        last,
        src: endOf(at('srcNamespace'), at('srcPod'), at('srcIp'), ends),
        dst: endOf(at('dstNamespace'), at('dstPod'), at('dstIp'), ends),
        protocol,
        ...(srcPort > 0 && srcPort <= 65_535 ? { srcPort } : {}),
        port,
        verdict: (denied.includes(true) ? 'denied' : 'allowed') satisfies Verdict3,
        view: denied[1] === true ? 'ingress' : denied[0] === true ? 'egress' : 'unknown',
        source: 'antrea',
      }),
    );
    return undefined;
  });
}

function endOf(namespace: string, pod: string, ip: string, ends: Ends): RawEnd {
  const at = ip === '' ? {} : { ip };
  return namespace === '' || pod === '' ? ends(at) : ends({ ...at, namespace, pod });
}

/** The flow log of Antrea's Flow Aggregator. */
export const antreaSource: FlowSource = {
  name: 'antrea',
  summary: "the flow log of Antrea's Flow Aggregator (FlowLogger, CSV)",
  example: 'sallyport observe antrea /tmp/antrea-flows.log',
  grows: true,
  read,
};

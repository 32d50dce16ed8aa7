import type { InputReport } from '../../model/flow.ts';
import type { Flow } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { countAt, createEnds, isRaw, parseProtocol, plainText, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { missingTime, readPayloads } from '../records.ts';
import { parseTime } from '../time.ts';

/** aws-network-policy-agent, pkg/ebpf/events: IPv6 lines have colons where those of IPv4 have none. */
const AGENT =
  /Src IP: (\S+) Src Port: (\d+) Dest IP: (\S+) Dest Port: (\d+) Proto:? (\S+?) Verdict:? (\S+?)(?: Direction:? (egress|ingress))?(?:[,\s].*)?$/;
/** What the agent sends to CloudWatch. */
const CLOUDWATCH =
  /SIP: ([^;]{1,64});SPORT: (\d{1,5});DIP: ([^;]{1,64});DPORT: (\d{1,5});PROTOCOL: ([^;]{1,20});PolicyVerdict: ([^;]{1,40})/;

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('aws-network-policy', input, options, ({ text, value }, counter) => {
    const raw = isRaw(value) ? value : undefined;
    if (value !== undefined && raw === undefined) return { message: 'not a JSON object' };
    const message = raw === undefined ? text : (textAt(raw, 'msg') ?? '');
    const words = AGENT.exec(message) ?? CLOUDWATCH.exec(message) ?? (raw === undefined ? null : structured(raw));
    const stamp = raw === undefined ? /^\{?"?(\d{4}-\d\d-\d\dT\S+?)["\s]/.exec(text)?.[1] : textAt(raw, 'ts');
    const epoch = raw === undefined ? undefined : countAt(raw, 'timestamp');
    const own = stamp === undefined ? epoch : parseTime(stamp.replace(/([+-]\d\d)(\d\d)$/, '$1:$2'));
    if (words === null) {
      if (raw !== undefined ? 'level' in raw && 'msg' in raw : /^(?:\d{4}-|Node: )/.test(text)) {
        counter.aside('a log message', text, own);
        return undefined;
      }
      return { message: "not a line of the agent's log" };
    }
    const time = own ?? options.now;
    if (time === undefined)
      throw missingTime(
        input,
        'its lines carry no time, and nothing says when they were written',
        'export the log with its times, or say when: --now 2026-10-14T08:00:00Z',
      );
    const flow = parseWords(words, time, ends);
    if (flow === undefined) return { message: 'addresses, ports or verdict do not read' };
    counter.seen(time);
    if (typeof flow === 'string') counter.ignored(flow);
    else sink.flow(flow);
    return undefined;
  });
}

/** Older agents wrote the fields one by one. */
function structured(raw: Readonly<Record<string, unknown>>): readonly (string | undefined)[] | null {
  const keys = ['Src IP', 'Src Port', 'Dest IP', 'Dest Port', 'Proto', 'Verdict'];
  if (!keys.every((key) => key in raw)) return null;
  return ['', ...keys.map((key) => plainText(raw[key])), textAt(raw, 'Direction')];
}

function parseWords(words: readonly (string | undefined)[], time: number, ends: Ends): Flow | string | undefined {
  const [, srcIp = '', sport, dstIp = '', dport, proto, verdict, direction] = words;
  const port = Number(dport);
  const srcPort = Number(sport);
  if (!/^[0-9a-f.:]+$/i.test(srcIp) || !/^[0-9a-f.:]+$/i.test(dstIp)) return undefined;
  if (![port, srcPort].every((one) => Number.isInteger(one) && one >= 0 && one <= 65_535)) return undefined;
  const protocol = parseProtocol(proto);
  if (protocol === undefined || port === 0) return 'a protocol without ports';
  const word = (verdict ?? '').toUpperCase();
  if (word.startsWith('EXPIRED')) return 'the end of a connection';
  if (word !== 'ACCEPT' && word !== 'DENY') return undefined;
  return flowOf({
    first: time,
    src: ends({ ip: srcIp }),
    dst: ends({ ip: dstIp }),
    protocol,
    ...(srcPort === 0 ? {} : { srcPort }),
    port,
    verdict: word === 'DENY' ? 'denied' : 'allowed',
    view: direction === 'egress' || direction === 'ingress' ? direction : 'unknown',
    source: 'aws-network-policy',
  });
}

/** The log of the network policy agent of the AWS VPC CNI. */
export const awsNetworkPolicySource: FlowSource = {
  name: 'aws-network-policy',
  summary: "the log of the AWS VPC CNI's network policy agent, from the node or from CloudWatch",
  example: 'sallyport observe aws-network-policy /var/log/aws-routed-eni/network-policy-agent.log',
  grows: true,
  read,
};

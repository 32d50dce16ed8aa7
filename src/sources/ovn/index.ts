import type { Verdict3 } from '../../model/edge.ts';
import type { InputReport } from '../../model/flow.ts';
import { createEnds, parseProtocol } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { BadRecord } from '../records.ts';
import { readPayloads } from '../records.ts';
import { parseTime } from '../time.ts';

const LINE =
  /^(\S+)\|\d+\|acl_log\([^)]*\)\|\w+\|name="([^"]*)", verdict=(\w+), severity=\w+, direction=(from|to)-lport: (\w+),(.*)$/;
/** Rules of the network itself, which say nothing about anybody's policy. */
const OWN_RULE = /ARPallowPolicy/;

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('ovn', input, options, ({ text, value }, counter) => {
    const match = value === undefined ? LINE.exec(text.trim()) : null;
    if (match === null) return { message: "not a line of OVN's ACL log" };
    const [, stamp = '', name = '', verdict = '', side, protocolName = '', rest = ''] = match;
    const time = parseTime(stamp);
    if (time === undefined) return { message: 'its time does not read' };
    counter.seen(time);
    const ignored = (reason: string): BadRecord | undefined => {
      counter.ignored(reason);
      return undefined;
    };
    if (OWN_RULE.test(name)) return ignored("a rule of the network's own");
    const protocol = parseProtocol(protocolName.replace(/6$/, ''));
    if (protocol === undefined) return ignored(protocolName.startsWith('icmp') ? 'ICMP' : 'a protocol without ports');
    const fields = new Map(
      rest.split(',').map((pair): [string, string] => {
        const equals = pair.indexOf('=');
        return [pair.slice(0, equals), pair.slice(equals + 1)];
      }),
    );
    const srcIp = fields.get('nw_src') ?? fields.get('ipv6_src');
    const dstIp = fields.get('nw_dst') ?? fields.get('ipv6_dst');
    const srcPort = Number(fields.get('tp_src'));
    const port = Number(fields.get('tp_dst'));
    if (srcIp === undefined || dstIp === undefined || !isPort(srcPort) || !isPort(port))
      return { message: 'no addresses or ports' };
    const flags = fields.get('tcp_flags')?.split('|');
    // Rules are asked anew for packets within a connection; only its first one says who opened it.
    const opens = protocol === 'TCP' ? flags?.includes('syn') === true && !flags.includes('ack') : false;
    const known = verdict === 'drop' || verdict === 'reject' || verdict === 'allow' || verdict === 'pass';
    if (!known) return { message: `a verdict that is not known: ${verdict}` };
    // What an admin policy passes on is decided by another rule.
    if (verdict === 'pass') return ignored('passed on to another rule');
    const denied = verdict === 'drop' || verdict === 'reject';
    const answers = protocol === 'TCP' && flags?.includes('syn') === true && flags.includes('ack');
    const view = side === 'from' ? 'egress' : 'ingress';
    const common = {
      first: time,
      protocol,
      verdict: (denied ? 'denied' : 'allowed') satisfies Verdict3,
      source: 'ovn',
    } as const;
    if (answers)
      sink.flow(
        flowOf({
          ...common,
          src: ends({ ip: dstIp }),
          dst: ends({ ip: srcIp }),
          srcPort: port,
          port: srcPort,
          stage: 'ongoing',
          reply: true,
        }),
      );
    else
      sink.flow(
        flowOf({
          ...common,
          src: ends({ ip: srcIp }),
          dst: ends({ ip: dstIp }),
          srcPort,
          port,
          view: opens ? view : 'unknown',
          initiatorKnown: opens || (denied && protocol === 'TCP' && flags === undefined),
          stage: opens || protocol !== 'TCP' ? 'open' : 'ongoing',
        }),
      );
    return undefined;
  });
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/** The ACL audit log of OVN-Kubernetes. */
export const ovnSource: FlowSource = {
  name: 'ovn',
  summary: 'the ACL audit log of OVN-Kubernetes and OpenShift',
  example: 'sallyport observe ovn /var/log/ovn/acl-audit-log.log',
  grows: true,
  read,
};

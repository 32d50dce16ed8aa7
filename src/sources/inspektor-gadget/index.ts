import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { createEnds, isRaw, labelsOf, parseProtocol, portAt, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { BadRecord } from '../records.ts';
import { readPayloads } from '../records.ts';
import { parseTime } from '../time.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('inspektor-gadget', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: 'not a JSON object' };
    const { k8s, src, dst } = value;
    if (!isRaw(k8s) || !isRaw(src) || !isRaw(dst))
      return { message: 'no "k8s", "src" and "dst": not an event of trace_tcp' };
    const time = timeOf(value);
    if (time === undefined) return { message: 'no "timestamp"' };
    counter.seen(time);
    const ignored = (reason: string): BadRecord | undefined => {
      counter.ignored(reason);
      return undefined;
    };
    const type = textAt(value, 'type');
    if (type !== 'connect' && type !== 'accept') return ignored('the end of a connection');
    // A connection that was refused or timed out proves nothing about policy, and nobody relies on it.
    if (textAt(value, 'error') !== undefined) return ignored('a connection that failed');
    const protocol = parseProtocol(dst['proto'] ?? src['proto']);
    // The event of an acceptor is told from its side: the other one opened the connection.
    const [from, to] = type === 'connect' ? [src, dst] : [dst, src];
    const port = portAt(to, 'port');
    if (protocol === undefined || port === undefined) return ignored('no port of the destination');
    const srcPort = portAt(from, 'port');
    const own = ownEnd(k8s, type === 'connect' ? from : to, ends);
    const peer = peerEnd(type === 'connect' ? to : from, ends);
    sink.flow(
      flowOf({
        first: time,
        src: type === 'connect' ? own : peer,
        dst: type === 'connect' ? peer : own,
        protocol,
        ...(srcPort === undefined ? {} : { srcPort }),
        port,
        view: type === 'connect' ? 'egress' : 'ingress',
        source: 'inspektor-gadget',
      }),
    );
    return undefined;
  });
}

function timeOf(value: Raw): number | undefined {
  const raw = value['timestamp_raw'];
  if (typeof raw === 'number' && raw > 1e15) return Math.floor(raw / 1e6);
  if (typeof raw === 'string' && /^\d{16,20}$/.test(raw)) return Number(raw.slice(0, -6));
  const text = textAt(value, 'timestamp');
  return text === undefined ? undefined : parseTime(text);
}

/** The pod in which the event was seen. */
function ownEnd(k8s: Raw, address: Raw, ends: Ends): RawEnd {
  const ip = textAt(address, 'addr');
  const at = ip === undefined ? {} : { ip };
  if (k8s['hostnetwork'] === true || k8s['hostnetwork'] === 'true') return ends({ ...at, reserved: ['host'] });
  const namespace = textAt(k8s, 'namespace');
  const pod = textAt(k8s, 'podName');
  if (namespace === undefined || pod === undefined) return ends({ ...at, reserved: ['host'] });
  const owner = isRaw(k8s['owner']) ? k8s['owner'] : {};
  const [kind, name] = [textAt(owner, 'kind'), textAt(owner, 'name')];
  const labels = textAt(k8s, 'podLabels');
  return ends({
    ...at,
    namespace,
    pod,
    ...(kind === undefined || name === undefined ? {} : { workload: { kind, name } }),
    ...(labels === undefined ? {} : { labels: labelsOf(labels.split(',')) }),
  });
}

/** The other side, as the gadget's cache knew its address. */
function peerEnd(address: Raw, ends: Ends): RawEnd {
  const ip = textAt(address, 'addr');
  const at = ip === undefined ? {} : { ip };
  const k8s = isRaw(address['k8s']) ? address['k8s'] : {};
  const namespace = textAt(k8s, 'namespace');
  const name = textAt(k8s, 'name');
  const kind = textAt(k8s, 'kind');
  if (namespace === undefined || name === undefined) return ends(at);
  if (kind === 'svc') return ends({ service: { namespace, name } });
  return kind === 'pod' ? ends({ ...at, namespace, pod: name }) : ends(at);
}

/** Events of Inspektor Gadget's trace_tcp. */
export const inspektorGadgetSource: FlowSource = {
  name: 'inspektor-gadget',
  summary: "connects and accepts of Inspektor Gadget's trace_tcp, as JSON",
  example: 'kubectl gadget run trace_tcp -A -o json | sallyport observe inspektor-gadget -',
  grows: true,
  read,
};

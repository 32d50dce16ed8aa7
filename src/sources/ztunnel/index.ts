import type { InputReport } from '../../model/flow.ts';
import { createEnds } from '../ends.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';
import { parseConnection, parseTextLine } from './schema.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('ztunnel', input, options, ({ text, value }, counter) => {
    const raw = value ?? parseTextLine(text);
    if (raw === undefined) return { message: "not a line of ztunnel's log" };
    if (raw === 'other') {
      counter.aside('a log message', text);
      return undefined;
    }
    const record = parseConnection(raw, ends);
    switch (record.kind) {
      case 'flow':
        counter.seen(record.flow.first);
        sink.flow(record.flow);
        return undefined;
      case 'ignored':
        counter.seen(record.time);
        counter.ignored(record.reason);
        return undefined;
      case 'message':
        counter.aside('a log message', text, record.time);
        return undefined;
      case 'bad':
        return { message: record.message };
    }
  });
}

/** Access logs of Istio's ambient node proxy. */
export const ztunnelSource: FlowSource = {
  name: 'ztunnel',
  summary: "access logs of Istio's ambient mode: ztunnel's log, text or JSON",
  example: 'kubectl logs -n istio-system ds/ztunnel | sallyport observe ztunnel -',
  remote: { kind: 'loki', queries: [], lines: false },
  grows: true,
  read,
};

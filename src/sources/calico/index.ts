import type { InputReport } from '../../model/flow.ts';
import { createEnds } from '../ends.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';
import { goldmane } from './goldmane.ts';
import { parseCalicoFlow, parseColumns } from './schema.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('calico', input, options, ({ text, value }, counter) => {
    const raw = value ?? parseColumns(text);
    if (raw === undefined) return { message: "neither JSON nor a line of Calico's flow log" };
    const record = parseCalicoFlow(raw, ends);
    switch (record.kind) {
      case 'flow':
        counter.seen(record.flow.first, record.flow.last);
        sink.flow(record.flow);
        return undefined;
      case 'ignored':
        counter.seen(record.first, record.last);
        counter.ignored(record.reason);
        return undefined;
      case 'bad':
        return { message: record.message };
    }
  });
}

/** Calico's flow logs, and Goldmane's flows as JSON. */
export const calicoSource: FlowSource = {
  name: 'calico',
  summary: "Calico: Goldmane by grpcs:// or its flows as JSON, flow logs (JSON or columns), Whisker's answers",
  example: 'sallyport observe calico /var/log/calico/flowlogs/flows.log',
  grpc: goldmane,
  grows: true,
  read,
};

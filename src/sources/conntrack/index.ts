import type { Flow, InputReport } from '../../model/flow.ts';
import { createEnds } from '../ends.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { missingTime, readPayloads } from '../records.ts';
import { parseConntrackLine } from './schema.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  const timeOf = (own: number): number => {
    const time = Number.isNaN(own) ? options.now : own;
    if (time !== undefined) return time;
    throw missingTime(
      input,
      'its records carry no time, and nothing says when they were taken',
      'record with conntrack -E -o timestamp,extended, or say when: --now 2026-10-14T08:00:00Z',
    );
  };
  return readPayloads('conntrack', input, options, ({ text, value }, counter) => {
    if (value !== undefined) return { message: 'JSON, not a line of conntrack' };
    const record = parseConntrackLine(text, ends);
    switch (record.kind) {
      case 'flow': {
        const time = timeOf(record.flow.first);
        if (record.flow.port === 0) {
          counter.ignored('no ports');
          return undefined;
        }
        const flow: Flow = { ...record.flow, first: time, last: time };
        counter.seen(time);
        sink.flow(flow);
        return undefined;
      }
      case 'ignored':
        counter.seen(timeOf(record.time));
        counter.ignored(record.reason);
        return undefined;
      case 'lost':
        counter.lost(1);
        return undefined;
      case 'remark':
        return undefined;
      case 'bad':
        return { message: record.message };
    }
  });
}

/** The kernel's connection table, as the conntrack program prints it. */
export const conntrackSource: FlowSource = {
  name: 'conntrack',
  summary: "the kernel's connections on one node: conntrack -E -o timestamp,extended; -L too, with --now",
  example: 'conntrack -E -o timestamp,extended | sallyport observe conntrack -',
  grows: true,
  read,
};

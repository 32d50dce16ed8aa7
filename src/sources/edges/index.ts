import type { InputReport } from '../../model/flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { BadRecord } from '../records.ts';
import { nameForeignFormat, readRecords } from '../records.ts';
import { isFault, parseNeutralEdge } from './schema.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  return readRecords('edges', input, options, (line, counter): BadRecord | undefined => {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      const format = nameForeignFormat(line);
      return { message: format === undefined ? 'not a JSON record' : `this is ${format}, not JSON Lines of edges` };
    }
    const parsed = parseNeutralEdge(value);
    if (isFault(parsed))
      return {
        message: parsed.fault,
        ...(parsed.unknownKey === true ? { code: 'SP245', hint: UNKNOWN_KEY_HINT } : {}),
      };
    counter.seen(parsed.first, parsed.last);
    sink.flow(parsed);
    return undefined;
  });
}

const UNKNOWN_KEY_HINT = 'remove or correct the key; nothing is guessed from keys that are not in the contract';

/** Neutral edges, one JSON object a line: for sources that Sallyport does not read itself. */
export const edgesSource: FlowSource = {
  name: 'edges',
  summary:
    'neutral edges as JSON Lines, or by a query from a ClickHouse or an archive: {first,last,src,dst,protocol,port,count,verdict,l7?,mtls?,principal?,source?}',
  example: 'sallyport observe edges edges.jsonl',
  remote: { kind: 'clickhouse' },
  grows: true,
  read,
};

import type { InputReport } from '../../model/flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { MAX_LINE_BYTES } from '../lines.ts';
import type { BadRecord, RecordCounter } from '../records.ts';
import { nameForeignFormat, readRecords } from '../records.ts';
import { readFolded } from './fold.ts';
import { hubbleRelay } from './relay.ts';
import { createHubbleParser } from './schema.ts';

/** What a container runtime writes before a line: `2026-10-05T00:00:00.0Z stdout F `. `P` marks a part of a longer line. */
const CRI = /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) ([FP])[^ ]* /;

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const parse = createHubbleParser();
  let part = '';
  const onRecord = (line: string, counter: RecordCounter): BadRecord | undefined => {
    let text = line;
    if (text.charCodeAt(0) !== 123) {
      const wrapper = CRI.exec(text);
      if (wrapper !== null) {
        text = part + text.slice(wrapper[0].length);
        part = '';
        if (text.length > MAX_LINE_BYTES) return { message: 'a line put together from its parts is too long' };
        if (wrapper[1] === 'P') {
          part = text;
          return undefined;
        }
        // The agent's own messages share the stream with its flows.
        if (!text.trimStart().startsWith('{')) {
          counter.ignored('a log message');
          return undefined;
        }
      }
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
      value = unwrap(value);
    } catch {
      return foreign(text, 'not a JSON record');
    }
    if (Array.isArray(value)) return foreign(text, 'not a JSON object');
    const record = parse(value);
    switch (record.kind) {
      case 'flow':
        counter.seen(record.flow.last);
        sink.flow(record.flow);
        return undefined;
      case 'names':
        counter.seen(record.time);
        for (const [ip, name] of record.names) sink.name(ip, name);
        if (record.flow === undefined) counter.ignored('no ports');
        else sink.flow(record.flow);
        return undefined;
      case 'ignored':
        counter.seen(record.time);
        counter.ignored(record.reason);
        return undefined;
      case 'lost':
        counter.lost(record.count);
        counter.ignored('a report of losses');
        return undefined;
      case 'bad':
        return { message: record.message };
    }
  };
  return options.fold === true
    ? readFolded(input, sink, options, onRecord)
    : readRecords('hubble', input, options, onRecord);
}

function foreign(text: string, otherwise: string): BadRecord {
  const format = nameForeignFormat(text);
  return { message: format === undefined ? otherwise : `this is ${format}, not Hubble's JSON Lines` };
}

/** Docker's and Fluent Bit's `{"log":"<the line>"}`. */
function unwrap(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('log' in value) || 'flow' in value) return value;
  const { log } = value;
  return typeof log === 'string' ? JSON.parse(log) : log;
}

/** Cilium Hubble: `hubble observe -o json`, the exporter's files, and either as a container's log. */
export const hubbleSource: FlowSource = {
  name: 'hubble',
  summary: 'Cilium Hubble: Relay by grpc:// or grpcs://, hubble observe -o json, files of the exporter, lines in Loki',
  example: 'hubble observe -t policy-verdict -o json | sallyport observe hubble -',
  remote: { kind: 'loki', queries: [], lines: true },
  grpc: hubbleRelay,
  grows: true,
  read,
};

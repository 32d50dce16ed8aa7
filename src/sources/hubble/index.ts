import type { InputReport } from '../../model/flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { MAX_LINE_BYTES } from '../lines.ts';
import type { BadRecord, RecordCounter } from '../records.ts';
import { nameForeignFormat, readRecords } from '../records.ts';
import type { Payload } from '../unwrap.ts';
import { unwrap } from '../unwrap.ts';
import { readFolded } from './fold.ts';
import { hubbleRelay } from './relay.ts';
import { createHubbleParser } from './schema.ts';

/** What a container runtime writes before a line: `2026-10-05T00:00:00.0Z stdout F `. `P` marks a part of a longer line. */
const CRI = /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) ([FP])[^ ]* /;

/** A shipper in front of a shipper; nobody has more of them. */
const MAX_WRAPPERS = 4;

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
    } catch {
      return foreign(text, 'not a JSON record');
    }
    return onValue(value, text, counter);
  };
  let depth = 0;
  const onValue = (value: unknown, text: string, counter: RecordCounter): BadRecord | undefined => {
    if (Array.isArray(value)) return foreign(text, 'not a JSON object');
    if (depth < MAX_WRAPPERS && typeof value === 'object' && value !== null && !('flow' in value)) {
      const inner = unwrap(text, value);
      const [only] = inner;
      if (inner.length !== 1 || (only !== undefined && only.value !== value)) {
        depth += 1;
        const wrong = onWrapped(inner, counter);
        depth -= 1;
        return wrong;
      }
    }
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
  /** What a shipper of logs wrapped: the first that is wrong is what is wrong with the line. */
  const onWrapped = (inner: readonly Payload[], counter: RecordCounter): BadRecord | undefined => {
    let wrong: BadRecord | undefined;
    for (const one of inner) {
      // The agent's own messages share the stream with its flows.
      if (one.value === undefined && one.text.charCodeAt(0) !== 123 && !CRI.test(one.text)) {
        if (nameForeignFormat(one.text) !== undefined) wrong ??= foreign(one.text, 'not a JSON record');
        else if (one.text.trim() !== '') counter.ignored('a log message');
        continue;
      }
      const fault = one.value === undefined ? onRecord(one.text, counter) : onValue(one.value, one.text, counter);
      wrong ??= fault;
    }
    return wrong;
  };
  return options.fold === true
    ? readFolded(input, sink, options, onRecord)
    : readRecords('hubble', input, options, onRecord);
}

function foreign(text: string, otherwise: string): BadRecord {
  const format = nameForeignFormat(text);
  return { message: format === undefined ? otherwise : `this is ${format}, not Hubble's JSON Lines` };
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

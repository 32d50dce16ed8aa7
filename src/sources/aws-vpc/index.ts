import type { InputReport } from '../../model/flow.ts';
import { createEnds, isRaw } from '../ends.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';
import { isParquet, readParquet } from './parquet.ts';
import { DEFAULT_FIELDS, missingFields, parseHeader, parseVpcRecord } from './schema.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  if (input.path !== undefined && (await isParquet(input.path).catch(() => false)))
    return readParquet(input.path, input, sink, options);
  const ends = createEnds();
  let fields: readonly string[] = DEFAULT_FIELDS;
  return readPayloads('aws-vpc', input, options, ({ text, value }, counter) => {
    // OpenSearch keeps the line under "body".
    const line =
      isRaw(value) && typeof value['body'] === 'string' ? value['body'] : value === undefined ? text : undefined;
    if (line === undefined) return { message: 'JSON without a flow log line in it' };
    const header = parseHeader(line);
    if (header !== undefined) {
      const missing = missingFields(header);
      if (missing.length > 0) return { message: `a format without ${missing.join(', ')}` };
      fields = header;
      return undefined;
    }
    const record = parseVpcRecord(line, fields, ends);
    switch (record.kind) {
      case 'flow':
        counter.seen(record.flow.first, record.flow.last);
        sink.flow(record.flow);
        return undefined;
      case 'ignored':
        counter.seen(record.first, record.last);
        counter.ignored(record.reason);
        return undefined;
      case 'lost':
        counter.seen(record.first, record.last);
        counter.ignored('a window that AWS skipped');
        counter.lost(1);
        return undefined;
      case 'bad':
        return {
          message: record.message,
          ...(fields === DEFAULT_FIELDS
            ? {
                hint: 'a format of your own needs its header as the first line: the names of its fields, with spaces between',
              }
            : {}),
        };
    }
  });
}

/** VPC flow logs of AWS as text. */
export const awsVpcSource: FlowSource = {
  name: 'aws-vpc',
  summary:
    'VPC flow logs of AWS as text, with their header or in the default format, or as Parquet; CloudWatch events too',
  example: 'aws s3 cp s3://BUCKET/KEY.log.gz - | sallyport observe aws-vpc -',
  grows: true,
  isColumns: (line) => parseHeader(line) !== undefined,
  read,
};

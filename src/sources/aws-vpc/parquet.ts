import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import type { InputReport } from '../../model/flow.ts';
import { openArchive, quoted, quotedName } from '../duckdb.ts';
import { createEnds } from '../ends.ts';
import type { FlowInput, FlowSink, ReadOptions } from '../flow-source.ts';
import { createReading } from '../records.ts';
import { missingFields, parseVpcRecord } from './schema.ts';

/** What the parser looks at; the other columns do not keep two records apart. */
const USED: readonly string[] =
  'srcaddr dstaddr srcport dstport protocol start end action log-status tcp-flags pkt-srcaddr pkt-dstaddr flow-direction'.split(
    ' ',
  );
/** Ports that Linux hands out: beside a port below them, which one it was says nothing. */
const EPHEMERAL = [32_768, 60_999] as const;

export async function isParquet(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return bytesRead === 4 && buffer.toString('latin1') === 'PAR1';
  } finally {
    await handle.close();
  }
}

/**
 * Flow logs as Parquet, folded where they lie: records of one window that differ in the opener's own port alone come as one. The window
 * stays, since whose address it was may change from one to the next.
 */
export async function readParquet(
  path: string,
  input: FlowInput,
  sink: FlowSink,
  options: ReadOptions,
): Promise<InputReport> {
  const reading = createReading('aws-vpc', input, options);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  const ends = createEnds();
  const archive = await openArchive(input.name);
  let lines = 0;
  try {
    const table = `read_parquet(${quoted(path)}, hive_partitioning = false)`;
    const columns = new Map<string, string>();
    for await (const row of archive.rows(`DESCRIBE SELECT * FROM ${table}`)) {
      const name = String(row['column_name']);
      columns.set(name.toLowerCase().replaceAll('_', '-'), name);
    }
    const fields = USED.filter((field) => columns.has(field));
    const missing = missingFields(fields);
    if (missing.length > 0)
      reading.bad(
        { message: `Parquet without ${missing.join(', ')}: no VPC flow log` },
        [...columns.values()].join(' '),
        1,
      );
    else {
      const column = (field: string): string => quotedName(columns.get(field) ?? field);
      const between = (field: string): string => `${column(field)} BETWEEN ${EPHEMERAL[0]} AND ${EPHEMERAL[1]}`;
      const folded = (field: string, other: string): string =>
        `CASE WHEN ${between(field)} AND ${column(other)} < ${EPHEMERAL[0]} THEN ${EPHEMERAL[1]} ELSE ${column(field)} END`;
      const expression = (field: string): string => {
        if (field === 'srcport') return folded('srcport', 'dstport');
        if (field === 'dstport') return folded('dstport', 'srcport');
        return column(field);
      };
      const selected = fields.map((field, index) => `${expression(field)} AS f${index}`).join(', ');
      for await (const row of archive.rows(`SELECT ${selected}, count(*) AS n FROM ${table} GROUP BY ALL`)) {
        const line = fields
          .map((_, index) => {
            const value = row[`f${index}`];
            return typeof value === 'number' || (typeof value === 'string' && value !== '') ? String(value) : '-';
          })
          .join(' ');
        const count = Number(row['n']);
        lines += count;
        const record = parseVpcRecord(line, fields, ends);
        if (record.kind === 'bad') {
          reading.bad({ message: record.message }, line, lines);
          continue;
        }
        if (record.kind === 'flow') {
          const { flow } = record;
          reading.seenMany(count, flow.first, flow.last);
          sink.flow({ ...flow, count: flow.count * count, records: count });
          continue;
        }
        reading.seenMany(count, record.first, record.last);
        reading.counter.ignored(record.kind === 'lost' ? 'a window that AWS skipped' : record.reason, count);
        if (record.kind === 'lost') reading.counter.lost(count);
      }
    }
  } finally {
    archive.close();
  }
  return reading.finish({ sha256: hash.digest('hex'), bytes, lines });
}

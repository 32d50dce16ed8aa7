import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { compareText } from '../../shared/pure/order.ts';
import { safeText } from '../../shared/pure/text.ts';
import { openArchive, quoted } from '../duckdb.ts';
import type { FlowInput } from '../flow-source.ts';
import { neutralEdge } from './rows.ts';

const READERS: readonly (readonly [RegExp, (files: string) => string])[] = [
  [/\.parquet$/i, (files) => `read_parquet(${files}, union_by_name = true)`],
  [/\.(?:json|jsonl|ndjson)(?:\.gz|\.zst)?$/i, (files) => `read_json_auto(${files}, union_by_name = true)`],
  [/\.(?:csv|tsv)(?:\.gz|\.zst)?$/i, (files) => `read_csv_auto(${files}, union_by_name = true)`],
];

/**
 * Files of an archive, folded by a query of the user's over the table `archive` in an embedded DuckDB: only edges come back. `{from}` and
 * `{to}` in the query are the times asked for. Rows are sorted, so that the same archive gives the same bytes.
 */
export function archiveInput(
  paths: readonly string[],
  query: string,
  times: { readonly from: number | undefined; readonly to: number | undefined },
): FlowInput {
  const name = paths.join(', ');
  const [first = ''] = paths;
  const reader = READERS.find(([pattern]) => pattern.test(first));
  if (reader === undefined || !paths.every((path) => reader[0].test(path)))
    throw new Failure({
      code: 'SP298',
      exit: EXIT.usage,
      message: `${safeText(name)}: a query reads files of one kind: .parquet, .json, .jsonl, .csv, these packed or not`,
      where: name,
      hint: 'name files of one kind, or leave --query out for what is neutral edges already',
    });
  const asked = [...query.matchAll(/\{(from|to)\}/g)].map((match) => match[1]);
  if ((times.from !== undefined && !asked.includes('from')) || (times.to !== undefined && !asked.includes('to')))
    throw new Failure({
      code: 'SP298',
      exit: EXIT.usage,
      message: '--since and --until reach a query where it says {from} and {to}',
      where: '--query',
      hint: 'write: WHERE time >= {from} AND time < {to}',
    });
  const sql = query
    .trim()
    .replace(/;$/, '')
    .replaceAll('{from}', `TIMESTAMPTZ ${quoted(new Date(times.from ?? 0).toISOString())}`)
    .replaceAll('{to}', `TIMESTAMPTZ ${quoted(new Date(times.to ?? Date.UTC(9999, 0)).toISOString())}`);
  return {
    name,
    async *open() {
      const archive = await openArchive(name);
      try {
        await archive.run("SET TimeZone = 'UTC'");
        await archive.run(`CREATE VIEW archive AS SELECT * FROM ${reader[1](`[${paths.map(quoted).join(', ')}]`)}`);
        const lines: string[] = [];
        for await (const row of archive.rows(sql)) lines.push(`${JSON.stringify(neutralEdge(row))}\n`);
        for (const line of lines.sort(compareText)) yield Buffer.from(line);
      } finally {
        archive.close();
      }
    },
  };
}

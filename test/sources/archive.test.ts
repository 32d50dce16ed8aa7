import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findSource } from '../../src/sources/registry.ts';
import type { FlowSource } from '../../src/sources/flow-source.ts';
import { archiveInput } from '../../src/sources/edges/archive.ts';
import { neutralEdge } from '../../src/sources/edges/rows.ts';
import { openInput } from '../../src/sources/input.ts';
import { MONDAY } from '../flows/build.ts';
import { makeFolder } from '../support/folder.ts';
import { describeEdges, fold } from './cluster.ts';
import { failureOf, input } from './flow-input.ts';

function source(name: string): FlowSource {
  const found = findSource(name);
  if (found === undefined) throw new Error(`no source ${name}`);
  return found;
}

/** Writes rows as Parquet, with DuckDB's own hands. */
async function writeParquet(file: string, select: string): Promise<void> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  await connection.run(`COPY (${select}) TO '${file}' (FORMAT parquet)`);
  connection.closeSync();
  instance.closeSync();
}

const stdin = (): never => {
  throw new Error('nobody asked for it');
};
const START = MONDAY / 1000 + 3600;

describe('VPC flow logs as Parquet', () => {
  const COLUMNS =
    'version account_id interface_id srcaddr dstaddr srcport dstport protocol packets bytes start end action log_status pkt_srcaddr pkt_dstaddr flow_direction tcp_flags'.split(
      ' ',
    );
  const WEB = '10.244.1.10';
  const API = '10.244.1.11';
  /** Two windows of web calling api from many ports, its answers, a rejected attempt, ICMP, and windows without data or lost. */
  const rows = [
    ...Array.from({ length: 40 }, (_, index) => [
      WEB,
      API,
      33_000 + index,
      8080,
      6,
      'ACCEPT',
      'OK',
      'egress',
      index % 2 === 0 ? 2 : 3,
    ]),
    ...Array.from({ length: 40 }, (_, index) => [API, WEB, 8080, 33_000 + index, 6, 'ACCEPT', 'OK', 'ingress', 18]),
    [WEB, '10.244.2.20', 40_000, 5432, 6, 'REJECT', 'OK', 'egress', 2],
    [WEB, API, 35_000, 36_000, 6, 'ACCEPT', 'OK', 'egress', 2],
    [WEB, API, 0, 0, 1, 'ACCEPT', 'OK', 'egress', 0],
    [null, null, null, null, null, null, 'NODATA', null, null],
    [null, null, null, null, null, null, 'SKIPDATA', null, null],
  ].flatMap((row, index) => {
    const [src, dst, srcport, dstport, protocol, action, status, direction, flags] = row;
    const start = START + (index % 2) * 60;
    return [
      [
        2,
        123456789012,
        'eni-1',
        src,
        dst,
        srcport,
        dstport,
        protocol,
        5,
        420,
        start,
        start + 59,
        action,
        status,
        src,
        dst,
        direction,
        flags,
      ],
    ];
  });

  it('give the edges that the same records give as text, and are read once', async () => {
    const folder = await makeFolder();
    const file = join(folder, 'flows.parquet');
    const sql = (value: string | number | null | undefined): string =>
      value === null || value === undefined ? 'NULL' : typeof value === 'string' ? `'${value}'` : String(value);
    await writeParquet(
      file,
      `SELECT * FROM (VALUES ${rows.map((row) => `(${row.map(sql).join(', ')})`).join(', ')}) t(${COLUMNS.map((one) => `"${one}"`).join(', ')})`,
    );
    const text = [
      COLUMNS.map((one) => one.replaceAll('_', '-')),
      ...rows.map((row) => row.map((value) => value ?? '-')),
    ]
      .map((row) => row.join(' '))
      .join('\n');
    const [parquet, lines] = [
      await fold(source('aws-vpc'), [openInput(file, stdin)]),
      await fold(source('aws-vpc'), [input(`${text}\n`)]),
    ];
    expect(parquet.edges).toEqual(lines.edges);
    expect(describeEdges(parquet.edges)).toContain('shop/Deployment/web -> shop/Deployment/api 8080/TCP');
    const { records, lost, bad, ignored } = lines.report;
    expect(parquet.report).toMatchObject({ records, lost, bad, ignored, lines: rows.length });
    expect((await fold(source('aws-vpc'), [openInput(file, stdin)])).report.sha256).toBe(parquet.report.sha256);
  });

  it('of something else are refused', async () => {
    const folder = await makeFolder();
    const file = join(folder, 'other.parquet');
    await writeParquet(file, "SELECT 1 AS id, 'x' AS name");
    expect(await failureOf(fold(source('aws-vpc'), [openInput(file, stdin)]))).toMatchObject({
      code: 'SP241',
      message: expect.stringContaining('Parquet without') as unknown,
    });
    await writeFile(file, 'PAR1 and then nothing');
    expect(await failureOf(fold(source('aws-vpc'), [openInput(file, stdin)]))).toMatchObject({ code: 'SP297' });
  });
});

describe('an archive with a query', () => {
  const QUERY = `SELECT min(time) AS first, max(time) AS last, src_pod, src_namespace, dst_pod, dst_namespace, proto AS protocol, port,
    count(*) AS count, verdict FROM archive WHERE time >= {from} AND time < {to} GROUP BY ALL`;

  it('is folded where it lies: Parquet, or JSON over several files, within the times asked for', async () => {
    const folder = await makeFolder();
    const select = `SELECT TIMESTAMPTZ '2026-10-05 08:00:00+00' + INTERVAL (i) SECOND AS time, 'web-6d4cf56db6-x2x90' AS src_pod,
      'shop' AS src_namespace, CASE WHEN i % 2 = 0 THEN 'api-6d4cf56db6-x2x90' ELSE 'db-0' END AS dst_pod,
      CASE WHEN i % 2 = 0 THEN 'shop' ELSE 'data' END AS dst_namespace, 6 AS proto, CASE WHEN i % 2 = 0 THEN 8080 ELSE 5432 END AS port,
      'allowed' AS verdict FROM range(1000) t(i)`;
    await writeParquet(join(folder, 'a.parquet'), select);
    const from = Date.UTC(2026, 9, 5, 8);
    const read = (names: readonly string[], until?: number): Promise<string> =>
      fold(source('edges'), [
        archiveInput(
          names.map((name) => join(folder, name)),
          QUERY,
          { from, to: until },
        ),
      ]).then(({ edges }) => describeEdges(edges));
    const whole =
      'shop/Deployment/web -> data/StatefulSet/db 5432/TCP | allowed 500\nshop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 500\n';
    expect(await read(['a.parquet'])).toBe(whole);
    expect(await read(['a.parquet'], from + 100_000)).toBe(whole.replaceAll('500', '50'));
    const row = (second: number): string =>
      `${JSON.stringify({ time: new Date(from + second * 1000).toISOString(), src_pod: 'web-6d4cf56db6-x2x90', src_namespace: 'shop', dst_pod: 'api-6d4cf56db6-x2x90', dst_namespace: 'shop', proto: 'tcp', port: 8080, verdict: 'allowed' })}\n`;
    await writeFile(join(folder, '1.jsonl'), row(1) + row(2));
    await writeFile(join(folder, '2.jsonl'), row(3));
    expect(await read(['1.jsonl', '2.jsonl'])).toBe(
      'shop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 3\n',
    );
  });

  it('is refused where the query is wrong, and says of a column that it is none', async () => {
    const folder = await makeFolder({ 'a.jsonl': '{"time":"2026-10-05T08:00:00Z","port":1}\n' });
    const file = join(folder, 'a.jsonl');
    const none = { from: undefined, to: undefined };
    const run = (query: string): Promise<unknown> => fold(source('edges'), [archiveInput([file], query, none)]);
    expect(await failureOf(run('SELECT nothing FROM archive'))).toMatchObject({ code: 'SP297' });
    expect(await failureOf(run('SELECT time AS first, port AS wrong FROM archive'))).toMatchObject({
      message: expect.stringContaining('wrong') as unknown,
    });
    expect(() => archiveInput([file], 'SELECT 1', { from: 0, to: undefined })).toThrow(/\{from\}/);
    expect(() => archiveInput([file, 'b.parquet'], 'SELECT 1', none)).toThrow(/one kind/);
  });
});

describe('a row of a database', () => {
  it.each([
    [
      { first: '2026-10-05 08:00:00', last: 1_791_190_800 },
      { first: '2026-10-05T08:00:00Z', last: '2026-10-05T09:00:00.000Z' },
    ],
    [
      { first: '1791187200', last: '2026-10-05 08:00:00.5+00' },
      { first: '2026-10-05T08:00:00.000Z', last: '2026-10-05T08:00:00.5Z' },
    ],
    [
      { port: '8080', count: '12', protocol: 17 },
      { port: 8080, count: 12, protocol: 'UDP' },
    ],
    [{ protocol: 'tcp', l7: '', principal: null }, { protocol: 'TCP' }],
    [
      { src_pod: 'a', src_namespace: 'n', src_ip: '', dst_name: 'x.example.com', other: 1 },
      { src: { pod: 'a', namespace: 'n' }, dst: { name: 'x.example.com' }, other: 1 },
    ],
  ])('%j', (row, edge) => {
    expect(neutralEdge(row)).toEqual(edge);
  });
});

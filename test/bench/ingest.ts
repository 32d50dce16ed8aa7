/**
 * One generated file of Hubble records into connections by workload, three ways: `observe hubble`'s own reading and folding, DuckDB's
 * read_json with the same grouping, alone and beside a hash of the file, and JSON.parse line by line in Node. Each is a process of its own; the rounds take turns, so that
 * what else the machine does falls on all of them alike. Then the resident size of ours for files of growing length.
 *
 *     npm run bench -- ingest [LINES] [ROUNDS] [FOLDER]
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { openInput } from '../../src/sources/input.ts';
import { createLineMarker } from '../../src/sources/line-marks.ts';
import { emptyInventory } from '../flows/build.ts';
import { writeHubbleFile } from './hubble-file.ts';

interface Figures {
  readonly groups: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly mebibytes: number;
}

async function groupInDuckDb(path: string): Promise<number> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const instance = await DuckDBInstance.create(':memory:', { threads: '2' });
  const connection = await instance.connect();
  const end = 'STRUCT(namespace VARCHAR, workloads STRUCT(name VARCHAR, kind VARCHAR)[])';
  const ports = 'STRUCT(source_port INTEGER, destination_port INTEGER)';
  const result = await connection.runAndReadAll(`
    SELECT src.namespace, src.workloads[1].name, dst.namespace, dst.workloads[1].name, udp, port, verdict, day,
           count(*), min(time), max(time)
    FROM (SELECT if(flow.is_reply, flow.destination, flow.source) AS src, if(flow.is_reply, flow.source, flow.destination) AS dst,
                 flow.l4.TCP IS NULL AS udp, flow.verdict AS verdict, flow.time[1:10] AS day, flow.time AS time,
                 if(flow.is_reply, coalesce(flow.l4.TCP.source_port, flow.l4.UDP.source_port),
                    coalesce(flow.l4.TCP.destination_port, flow.l4.UDP.destination_port)) AS port
          FROM read_json('${path.replaceAll("'", "''")}', format = 'newline_delimited', columns = {flow: 'STRUCT(time VARCHAR,
            verdict VARCHAR, is_reply BOOLEAN, l4 STRUCT(TCP ${ports}, UDP ${ports}), source ${end}, destination ${end})'})
          WHERE flow IS NOT NULL)
    GROUP BY ALL`);
  return result.currentRowCount;
}

/** In a thread of its own, in pieces of 1 MiB. */
async function sha256Of(path: string): Promise<void> {
  const worker = new Worker(
    `const { createHash } = require('node:crypto');
    const { openSync, readSync } = require('node:fs');
    const file = openSync(require('node:worker_threads').workerData);
    const hash = createHash('sha256');
    const piece = Buffer.alloc(1 << 20);
    for (let count = readSync(file, piece); count > 0; count = readSync(file, piece)) hash.update(piece.subarray(0, count));
    hash.digest('hex');`,
    { eval: true, workerData: path },
  );
  await once(worker, 'exit');
}

const WAYS: Readonly<Record<string, (path: string) => Promise<number>>> = {
  sallyport: async (path) => {
    const aggregator = createAggregator(emptyInventory());
    const report = await hubbleSource.read(
      // Lines are marked as an import marks them.
      { ...openInput(path, () => process.stdin), marker: createLineMarker() },
      { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
      { badRecords: 'abort', fold: true },
    );
    return aggregator.finish([report]).edges.length;
  },
  duckdb: groupInDuckDb,
  'duckdb + SHA-256': async (path) => {
    // By which an import knows a file again: what ours does as well, and DuckDB alone does not.
    const [groups] = await Promise.all([groupInDuckDb(path), sha256Of(path)]);
    return groups;
  },
  'JSON.parse': async (path) => {
    interface End {
      readonly namespace?: string;
      readonly workloads?: readonly { readonly name: string }[];
    }
    interface Ports {
      readonly source_port: number;
      readonly destination_port: number;
    }
    interface Line {
      readonly flow?: {
        readonly time: string;
        readonly verdict: string;
        readonly is_reply?: boolean;
        readonly l4: { readonly TCP?: Ports; readonly UDP?: Ports };
        readonly source: End;
        readonly destination: End;
      };
    }
    const groups = new Map<string, { count: number; first: string; last: string }>();
    for await (const text of createInterface({ input: createReadStream(path, { highWaterMark: 1 << 20 }) })) {
      const { flow } = JSON.parse(text) as Line;
      if (flow === undefined) continue;
      const reply = flow.is_reply === true;
      const [src, dst] = reply ? [flow.destination, flow.source] : [flow.source, flow.destination];
      const ports = flow.l4.TCP ?? flow.l4.UDP;
      const port = reply ? ports?.source_port : ports?.destination_port;
      const key = `${src.namespace ?? ''}/${src.workloads?.[0]?.name ?? ''} ${dst.namespace ?? ''}/${dst.workloads?.[0]?.name ?? ''} ${port ?? 0}${flow.l4.TCP === undefined ? 'u' : 't'} ${flow.verdict} ${flow.time.slice(0, 10)}`;
      const known = groups.get(key);
      if (known === undefined) groups.set(key, { count: 1, first: flow.time, last: flow.time });
      else {
        known.count += 1;
        if (flow.time < known.first) known.first = flow.time;
        if (flow.time > known.last) known.last = flow.time;
      }
    }
    return groups.size;
  },
};

async function measure(way: string, path: string): Promise<Figures> {
  const work = WAYS[way];
  if (work === undefined) throw new Error(`there is no way called ${way}`);
  const started = performance.now();
  const before = process.cpuUsage();
  const groups = await work(path);
  const { user, system } = process.cpuUsage(before);
  return {
    groups,
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: (user + system) / 1e6,
    mebibytes: process.resourceUsage().maxRSS / 1024,
  };
}

function measureApart(way: string, path: string): Figures {
  const { stdout, status, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--way', way, path], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Figures;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

function fileOf(folder: string, lines: number): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `hubble-${lines}.jsonl`);
  if (!existsSync(path)) writeHubbleFile(path, lines);
  return path;
}

function main(lines: number, rounds: number, folder: string, keep: boolean): void {
  const path = fileOf(folder, lines);
  const size = (statSync(path).size / 1e6).toFixed(0);
  process.stdout.write(`${lines} lines, ${size} MB, ${rounds} rounds in turn, medians\n\n`);
  const found = new Map<string, Figures[]>(Object.keys(WAYS).map((way) => [way, []]));
  for (let round = 0; round < rounds; round += 1) for (const [way, list] of found) list.push(measureApart(way, path));
  process.stdout.write('| way | wall, s | lines/s | CPU, s | resident, MiB |\n|---|--:|--:|--:|--:|\n');
  for (const [way, list] of found) {
    const seconds = median(list.map((one) => one.seconds));
    process.stdout.write(
      `| ${way} | ${seconds.toFixed(1)} | ${Math.round(lines / seconds / 1000)} k | ${median(list.map((one) => one.cpuSeconds)).toFixed(1)} | ${median(list.map((one) => one.mebibytes)).toFixed(0)} |\n`,
    );
  }
  process.stdout.write('\n| lines | resident of sallyport, MiB |\n|--:|--:|\n');
  for (const part of [0.25, 0.5, 1, 2]) {
    const count = Math.round(lines * part);
    const figures = measureApart('sallyport', fileOf(folder, count));
    process.stdout.write(`| ${count / 1e6} M | ${figures.mebibytes.toFixed(0)} |\n`);
  }
  if (!keep) rmSync(folder, { recursive: true, force: true });
}

const [first, second, third] = process.argv.slice(2);
if (first === '--way') process.stdout.write(JSON.stringify(await measure(second ?? '', third ?? '')));
else
  main(
    Number(first ?? 2_000_000),
    Number(second ?? 3),
    third ?? join(tmpdir(), `sallyport-ingest-${process.pid}`),
    third !== undefined,
  );

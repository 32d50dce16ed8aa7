// ClickHouse itself: Debian's 18.16, of the year 2018, whose HTTP interface and JSONEachRow are those of today.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askRemote } from '../../src/sources/remote.ts';
import type { RemoteInputs } from '../../src/sources/remote.ts';
import { edgesSource } from '../../src/sources/edges/index.ts';
import { HOUR, MONDAY } from '../flows/build.ts';
import { describeEdges, fold } from '../sources/cluster.ts';

let folder = '';
let address = '';
let engine: ChildProcess | undefined;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** As an owner: what the tests write. */
async function run(sql: string): Promise<string> {
  const answer = await fetch(`${address}/`, { method: 'POST', body: sql });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return text;
}

/** One hour and a half of web calling api each second, and db each tenth, as a collector of OpenTelemetry keeps lines of Hubble. */
function rows(): string {
  const lines: string[] = [];
  for (let second = 0; second < 5400; second += 1) {
    const [pod, namespace, port] = second % 10 === 0 ? ['db-0', 'data', 5432] : ['api-6d4cf56db6-x2x90', 'shop', 8080];
    lines.push(
      JSON.stringify({
        Timestamp: MONDAY / 1000 + second,
        src_namespace: 'shop',
        src_pod: 'web-6d4cf56db6-x2x90',
        dst_namespace: namespace,
        dst_pod: pod,
        port,
        verdict: 'FORWARDED',
      }),
    );
  }
  return lines.join('\n');
}

beforeAll(async () => {
  if (spawnSync('clickhouse-server', ['--version']).error !== undefined)
    throw new Error('CANNOT RUN: clickhouse-server is not on the PATH (as root, on Debian: scripts/tools.sh engines)');
  folder = await mkdtemp(join(tmpdir(), 'sallyport-clickhouse-'));
  for (const part of ['data', 'tmp', 'files']) await mkdir(join(folder, part));
  const [http, tcp] = [await freePort(), await freePort()];
  await writeFile(
    join(folder, 'config.xml'),
    `<yandex><logger><level>error</level><log>${folder}/log</log><errorlog>${folder}/errors</errorlog></logger>
     <http_port>${http}</http_port><tcp_port>${tcp}</tcp_port><listen_host>127.0.0.1</listen_host><path>${folder}/data/</path>
     <tmp_path>${folder}/tmp/</tmp_path><user_files_path>${folder}/files/</user_files_path><users_config>users.xml</users_config>
     <default_profile>default</default_profile><default_database>default</default_database><mark_cache_size>5368709</mark_cache_size></yandex>`,
  );
  const user = (name: string, password: string): string =>
    `<${name}><password>${password}</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></${name}>`;
  await writeFile(
    join(folder, 'users.xml'),
    `<yandex><profiles><default/></profiles><users>${user('default', '')}${user('reader', 's3cret')}</users><quotas><default/></quotas></yandex>`,
  );
  address = `http://127.0.0.1:${http}`;
  engine = spawn('clickhouse-server', [`--config-file=${join(folder, 'config.xml')}`], {
    stdio: 'ignore',
    cwd: folder,
  });
  const limit = Date.now() + 60_000;
  while (!(await run('SELECT 1').catch(() => '')).startsWith('1')) {
    if (Date.now() > limit) throw new Error('ClickHouse did not start within a minute');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await run(
    'CREATE TABLE flows (Timestamp DateTime, src_namespace String, src_pod String, dst_namespace String, dst_pod String, port UInt16, verdict String) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY Timestamp',
  );
  await run(`INSERT INTO flows FORMAT JSONEachRow ${rows()}`);
});

afterAll(async () => {
  const ended = new Promise((resolve) => engine?.once('close', resolve));
  if (engine?.kill('SIGKILL') === true) await ended;
  await rm(folder, { recursive: true, force: true });
});

const QUERY = `SELECT toUnixTimestamp(min(Timestamp)) AS first, toUnixTimestamp(max(Timestamp)) AS last, src_namespace, src_pod, dst_namespace,
  dst_pod, 'TCP' AS protocol, port, count() AS count, if(verdict = 'DROPPED', 'denied', 'allowed') AS verdict
  FROM flows WHERE Timestamp >= toDateTime({from}) AND Timestamp < toDateTime({to})
  GROUP BY src_namespace, src_pod, dst_namespace, dst_pod, port, verdict`;

async function ask(query = QUERY, more: { readonly tokenFile?: string } = {}): Promise<RemoteInputs> {
  return askRemote(edgesSource, address, {
    from: MONDAY,
    to: MONDAY + 3 * HOUR,
    query,
    signal: new AbortController().signal,
    sleep: () => Promise.resolve(),
    known: () => false,
    ...more,
  });
}

describe('a real ClickHouse', () => {
  it('folds the hours itself: rows of edges come back, and hours without any are none', async () => {
    const asked = await ask();
    expect(asked).toMatchObject({ hours: 3, known: 0, silent: [] });
    expect(asked.inputs).toHaveLength(2);
    const { edges, reports } = await fold(edgesSource, asked.inputs);
    expect(reports.map(({ records }) => records)).toEqual([2, 2]);
    expect(describeEdges(edges)).toBe(
      'shop/Deployment/web -> data/StatefulSet/db 5432/TCP | allowed 540\nshop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 4860\n',
    );
  });

  it('is asked as the user in a file, and refuses another', async () => {
    const [right, wrong] = [join(folder, 'right'), join(folder, 'wrong')];
    await writeFile(right, 'reader:s3cret\n');
    await writeFile(wrong, 'reader:guess\n');
    expect((await ask(QUERY, { tokenFile: right })).inputs).toHaveLength(2);
    await expect(ask(QUERY, { tokenFile: wrong })).rejects.toMatchObject({ detail: { code: 'SP258' } });
  });

  it('may be read and not written, whatever the query says', async () => {
    const drop = 'DROP TABLE flows /* {from} {to} */';
    await expect(ask(drop)).rejects.toMatchObject({ detail: { code: 'SP258' } });
    expect(await run('SELECT count() FROM flows')).toBe('5400\n');
  });

  it('says what is wrong with a query', async () => {
    await expect(ask('SELECT nothing FROM flows WHERE {from} < {to}')).rejects.toMatchObject({
      detail: { code: 'SP258', message: expect.stringContaining('nothing') as unknown },
    });
  });
});

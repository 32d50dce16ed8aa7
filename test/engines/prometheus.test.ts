// Prometheus itself, with a history of some hours made by its own tool, and a target of ours that it scrapes.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askRemote } from '../../src/sources/remote.ts';
import { askTuning, tuningQueries } from '../../src/sources/tuning-prometheus.ts';
import type { RemoteInputs } from '../../src/sources/remote.ts';
import { findSource } from '../../src/sources/registry.ts';
import type { FlowSource } from '../../src/sources/flow-source.ts';
import { input } from '../sources/flow-input.ts';
import { describeEdges, fold } from '../sources/cluster.ts';
import { CLUSTER, makeHome, sallyport } from '../cli/shop.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** Six whole hours, long over: no test runs so long that this moves. */
const BASE = Math.floor(Date.now() / HOUR) * HOUR - 8 * HOUR;

let folder = '';
let address = '';
let engine: ChildProcess | undefined;
let target: Server | undefined;
let scraped = '';

const sample = (name: string, labels: Readonly<Record<string, string>>, value: number, at?: number): string =>
  `${name}{${Object.entries(labels)
    .map(([key, one]) => `${key}=${JSON.stringify(one)}`)
    .join(',')}} ${value}${at === undefined ? '' : ` ${at / 1000}`}\n`;

const call = (more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> => ({
  reporter: 'destination',
  source_workload: 'web',
  source_workload_namespace: 'shop',
  source_principal: 'spiffe://cluster.local/ns/shop/sa/web',
  source_app: 'web',
  destination_workload: 'api',
  destination_workload_namespace: 'shop',
  destination_principal: 'spiffe://cluster.local/ns/shop/sa/api',
  destination_app: 'api',
  destination_service: 'api.shop.svc.cluster.local',
  destination_service_name: 'api',
  destination_service_namespace: 'shop',
  request_protocol: 'http',
  response_code: '200',
  response_flags: '-',
  connection_security_policy: 'mutual_tls',
  pod: 'api-1',
  ...more,
});
const BY_CALLER = { reporter: 'source', connection_security_policy: 'unknown', pod: 'web-1' };
const PLAIN = {
  connection_security_policy: 'none',
  source_principal: 'unknown',
  source_workload: 'gateway',
  source_workload_namespace: 'istio-system',
};

/** Samples each half minute, from one minute of the six hours to another. */
function series(
  name: string,
  labels: Readonly<Record<string, string>>,
  from: number,
  to: number,
  value: (minute: number) => number,
): string[] {
  const lines: string[] = [];
  for (let at = from; at < to; at += 0.5) lines.push(sample(name, labels, value(at), BASE + at * MINUTE));
  return lines;
}

/**
 * Web calls api once a minute: two hours, nothing recorded in the third, two more; its counter begins anew in the second and misses the
 * scrapes around the end of the first. In the second a caller without mTLS appears, with all of its calls before its first scrape.
 */
function history(): string {
  const minutes = (minute: number): number => (minute < 90 ? 1000 + minute : minute - 90);
  const present = (labels: Readonly<Record<string, string>>): string[] => [
    ...series('istio_requests_total', labels, 0, 56, minutes),
    ...series('istio_requests_total', labels, 63, 118, minutes),
    ...series('istio_requests_total', labels, 181, 300, minutes),
  ];
  return [
    ...present(call()),
    ...present(call(BY_CALLER)),
    ...series('istio_requests_total', call(PLAIN), 80, 118, () => 7),
    ...series(
      'tcp_open_total',
      {
        direction: 'outbound',
        peer: 'dst',
        target_addr: '10.244.2.20:5432',
        target_ip: '10.244.2.20',
        target_port: '5432',
        tls: 'true',
        namespace: 'shop',
        pod: 'api-6d4cf56db6-x2x90',
        deployment: 'api',
        dst_namespace: 'data',
        dst_statefulset: 'db',
        dst_pod: 'db-0',
      },
      0,
      118,
      (minute) => 10 + Math.floor(minute / 10),
    ),
    ...series(
      'caretta_links_observed',
      {
        client_kind: 'Deployment',
        client_name: 'web',
        client_namespace: 'shop',
        role: '1',
        server_kind: 'Service',
        server_name: 'api',
        server_namespace: 'shop',
        server_port: '80',
      },
      0,
      60,
      () => 4711,
    ),
    ...figures(),
    '# EOF\n',
  ].join('');
}

/** What proxies of one Service counted, twenty requests a minute; a proxy is restarted in the middle of the second hour. */
function figures(): string[] {
  const grown = (minute: number): number => (minute < 90 ? 1000 + minute : minute - 90);
  const web = { destination_service_namespace: 'shop', destination_service_name: 'web', reporter: 'destination' };
  const bucket = (le: string, perMinute: number): string[] =>
    series(
      'istio_request_duration_milliseconds_bucket',
      { ...web, le, pod: 'web-1' },
      0,
      118,
      (minute) => perMinute * grown(minute),
    );
  const cluster = { cluster_name: 'outbound|8080||web.shop.svc.cluster.local', pod: 'app-1', namespace: 'desk' };
  return [
    ...bucket('5', 4),
    ...bucket('10', 14),
    ...bucket('25', 19),
    ...bucket('+Inf', 20),
    ...series('istio_request_duration_milliseconds_count', web, 0, 118, (minute) => 20 * grown(minute)),
    ...series('istio_request_duration_milliseconds_sum', web, 0, 118, (minute) => 180 * grown(minute)),
    ...series('envoy_cluster_upstream_cx_total', cluster, 0, 118, (minute) => 6 * grown(minute)),
    ...series('envoy_cluster_upstream_cx_active', cluster, 0, 118, (minute) => (minute === 80 ? 44 : 7)),
    ...series(
      'container_cpu_usage_seconds_total',
      { namespace: 'shop', pod: 'web-1', container: 'istio-proxy' },
      0,
      118,
      (minute) => 6 * grown(minute),
    ),
  ];
}

/** A port that nobody has; Prometheus does not say which one it took. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function until(is: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 60_000;
  while (!(await is().catch(() => false))) {
    if (Date.now() > limit) throw new Error('Prometheus did not come to it within a minute');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function query(text: string): Promise<string> {
  return (await fetch(`${address}/api/v1/query?${new URLSearchParams({ query: text }).toString()}`)).text();
}

beforeAll(async () => {
  if (spawnSync('prometheus', ['--version']).error !== undefined)
    throw new Error('CANNOT RUN: prometheus is not on the PATH (as root, on Debian: scripts/tools.sh engines)');
  folder = await mkdtemp(join(tmpdir(), 'sallyport-prometheus-'));
  await writeFile(join(folder, 'history.txt'), history());
  const made = spawnSync(
    'promtool',
    ['tsdb', 'create-blocks-from', 'openmetrics', join(folder, 'history.txt'), join(folder, 'data')],
    { encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`promtool: ${made.stderr}`);
  target = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
    response.end(scraped);
  });
  await new Promise<void>((resolve) => target?.listen(0, '127.0.0.1', resolve));
  const scrape = (target.address() as AddressInfo).port;
  await writeFile(
    join(folder, 'prometheus.yml'),
    `scrape_configs: [{job_name: mesh, scrape_interval: 1s, honor_labels: true, static_configs: [{targets: ["127.0.0.1:${scrape}"]}]}]\n`,
  );
  const port = await freePort();
  address = `http://127.0.0.1:${port}`;
  engine = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  );
  await until(async () => (await fetch(`${address}/-/ready`)).ok);
});

afterAll(async () => {
  const ended = new Promise((resolve) => engine?.once('close', resolve));
  if (engine?.kill('SIGTERM') === true) await ended;
  await new Promise((resolve) => (target === undefined ? resolve(undefined) : target.close(resolve)));
  await rm(folder, { recursive: true, force: true });
});

function source(name: string): FlowSource {
  const found = findSource(name);
  if (found === undefined) throw new Error(`there is no source ${name}`);
  return found;
}

function ask(name: string, from: number, to: number): Promise<RemoteInputs> {
  return askRemote(source(name), address, {
    from: BASE + from * HOUR,
    to: BASE + to * HOUR,
    signal: new AbortController().signal,
    sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
    known: () => false,
  });
}

describe('a real Prometheus', () => {
  it('gives each hour what it saw: a counter that began anew, one that was not scraped where the hours meet, one that is new', async () => {
    const counts: Record<string, number>[] = [];
    for (const hour of [0, 1, 2, 3, 4]) {
      const { inputs } = await ask('istio', hour, hour + 1);
      const { edges } = inputs.length === 0 ? { edges: [] } : await fold(source('istio'), inputs);
      counts.push(
        Object.fromEntries(edges.map((edge) => [edge.src.kind === 'workload' ? edge.src.id : '?', edge.count])),
      );
    }
    const [first, second, silent, fourth, fifth] = counts;
    // Nothing was there before the first hour: what the counter had then counts with it.
    expect(first?.['shop/Deployment/web']).toBeGreaterThan(1000);
    // Extrapolated to the hour by Prometheus: fifty-five minutes of it were scraped.
    expect(second?.['shop/Deployment/web']).toBeGreaterThanOrEqual(50);
    expect(second?.['shop/Deployment/web']).toBeLessThanOrEqual(62);
    expect(second?.['istio-system/Deployment/gateway']).toBe(7);
    expect(silent).toEqual({});
    expect(fourth?.['istio-system/Deployment/gateway']).toBeUndefined();
    expect(fourth?.['shop/Deployment/web']).toBeGreaterThan(100);
    expect(fifth?.['shop/Deployment/web']).toBeGreaterThanOrEqual(58);
    expect(fifth?.['shop/Deployment/web']).toBeLessThanOrEqual(62);
  });

  it('names the hours of which it has nothing, and knows mTLS from the called side alone', async () => {
    const asked = await ask('istio', 0, 5);
    expect(asked.silent).toEqual([new Date(BASE + 2 * HOUR).toISOString()]);
    const { edges } = await fold(source('istio'), asked.inputs);
    const lines = describeEdges(edges).trimEnd().split('\n');
    expect(lines.map((line) => line.replace(/allowed \d+/, 'allowed N'))).toEqual([
      'istio-system/Deployment/gateway -> shop/Deployment/api 8080/TCP | allowed N | mtls no',
      expect.stringMatching(
        /^shop\/Deployment\/web -> shop\/Deployment\/api 8080\/TCP \| allowed N \| mtls yes \| .*sa\/web/,
      ) as unknown,
    ]);
    // One connection that both ends report is one.
    const web = edges.find((edge) => edge.src.kind === 'workload' && edge.src.id === 'shop/Deployment/web');
    expect(web?.count).toBeLessThan(1060 + 62 + 300 + 62);
  });

  it('is asked for whole hours between --since and --until, each once, by the program itself', async () => {
    const home = await makeHome(CLUSTER);
    const args = [
      'observe',
      'istio',
      address,
      '--manifests',
      'cluster',
      '--json',
      '--since',
      new Date(BASE).toISOString(),
    ];
    const until2 = await sallyport([...args, '--until', new Date(BASE + 2 * HOUR + 5 * MINUTE).toISOString()], {
      home,
    });
    expect(until2.stderr).toContain('2 hours asked for, 2 answers new');
    expect(until2.code).toBe(0);
    const until5 = await sallyport([...args, '--until', new Date(BASE + 5 * HOUR).toISOString()], { home });
    expect(until5.stderr).toContain('5 hours asked for, 2 answers new, 2 answers on record already');
    expect(until5.stderr).toContain('a gap: it has nothing of 1 hour');
    // Two hours of the caller's view and of the called one's.
    expect(JSON.parse(until5.stdout)).toMatchObject({ records: 4, lost: 0, bad: 0 });
    const again = await sallyport([...args, '--until', new Date(BASE + 5 * HOUR).toISOString()], { home });
    expect(again.stderr).toContain('0 answers new');
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ records: 0 });
  });

  it('answers for Linkerd and Caretta too', async () => {
    const linkerd = await fold(source('linkerd'), (await ask('linkerd', 0, 2)).inputs);
    expect(describeEdges(linkerd.edges)).toMatch(
      /^shop\/Deployment\/api -> data\/StatefulSet\/db 5432\/TCP \| allowed \d+ \| mtls yes/,
    );
    const caretta = await fold(source('caretta'), (await ask('caretta', 0, 1)).inputs);
    expect(describeEdges(caretta.edges)).toContain('shop/Deployment/web -> shop/Deployment/api 8080/TCP');
  });

  it('scrapes a target of ours, and what it then answers can be saved and imported', async () => {
    scraped =
      sample('istio_requests_total', call(), 3) +
      sample(
        'istio_tcp_connections_opened_total',
        call({
          request_protocol: 'tcp',
          destination_service: 'db.data.svc.cluster.local',
          destination_service_name: 'db',
          destination_service_namespace: 'data',
          destination_workload: 'db',
          destination_workload_namespace: 'data',
          destination_app: 'db',
        }),
        2,
      );
    await until(async () => (await query('istio_tcp_connections_opened_total')).includes('"db"'));
    const answers = [await query('istio_requests_total'), await query('istio_tcp_connections_opened_total')];
    const { edges } = await fold(
      source('istio'),
      answers.map((text, index) => input(text, `${index}.json`)),
    );
    expect(describeEdges(edges)).toContain(
      'shop/Deployment/web -> data/StatefulSet/db 5432/TCP | allowed 2 | mtls yes',
    );
  });

  it('that refuses a query says what is wrong with it', async () => {
    await expect(
      askRemote(source('istio'), address, {
        from: BASE,
        to: BASE + HOUR,
        query: 'sum by (',
        signal: new AbortController().signal,
        sleep: () => Promise.resolve(),
        known: () => false,
      }),
    ).rejects.toMatchObject({ detail: { code: 'SP258', message: expect.stringContaining('parse error') as unknown } });
  });
});

describe('figures of proxies, asked of a real Prometheus', () => {
  const [from, to] = [BASE + HOUR, BASE + HOUR + 57 * MINUTE];
  const ask = () =>
    askTuning(address, {
      namespaces: ['shop'],
      from,
      to,
      authorizers: [],
      workloadOf: (namespace, pod) => (pod === 'web-1' ? `${namespace}/Deployment/web` : undefined),
      workloadNamed: () => undefined,
      signal: new AbortController().signal,
      sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
    });

  it('are rates over the window, whatever restarted in it, gauges at their highest, and nothing where there is nothing', async () => {
    const { services, proxies, missing, authorizers } = await ask();
    const web = services.find((one) => one.service === 'web' && one.port === undefined);
    expect(web).toMatchObject({ namespace: 'shop', service: 'web' });
    expect(web?.latency?.mean).toBeCloseTo(9, 6);
    const port = services.find((one) => one.port === 8080);
    expect(port?.connectionsPerSec).toBeGreaterThan(0.09);
    expect(port?.connectionsPerSec).toBeLessThan(0.11);
    expect(port?.peakConnections).toBe(44);
    expect(port?.handshakesPerSec).toBeUndefined();
    expect(proxies).toMatchObject([{ workload: 'shop/Deployment/web', proxies: 1 }]);
    expect(proxies[0]?.cpuCores).toBeGreaterThan(0.09);
    expect(proxies[0]?.memoryBytes).toBeUndefined();
    expect(authorizers).toEqual([]);
    expect(missing.join()).toContain('kube-state-metrics');
  });

  it.each([
    [0.5, 'p50'],
    [0.95, 'p95'],
    [0.99, 'p99'],
  ] as const)('have the quantile %d as Prometheus itself makes it', async (q, name) => {
    const duration = tuningQueries(['shop'], (to - from) / 1000, [])['duration'] ?? '';
    const text = `histogram_quantile(${q}, ${duration})`;
    const said = (await (
      await fetch(`${address}/api/v1/query?${new URLSearchParams({ query: text, time: String(to / 1000) }).toString()}`)
    ).json()) as { data: { result: readonly { value: readonly [number, string] }[] } };
    const wanted = Number(said.data.result[0]?.value[1]);
    const mine = (await ask()).services.find((one) => one.service === 'web' && one.port === undefined)?.latency?.[name];
    expect(wanted).toBeGreaterThan(0);
    expect(mine).toBeCloseTo(wanted, 9);
  });

  it('is a language that it takes, every query of it', async () => {
    for (const [name, text] of Object.entries(
      tuningQueries(['shop', 'team-a'], 3600, [{ namespace: 'authz', service: 'opa' }]),
    ))
      expect(await query(text), name).toContain('"status":"success"');
  });
});

// What the watch answers at /metrics, the alert rules and the dashboard, beside a real Prometheus and its own checker.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openTelemetry } from '../../src/cli/telemetry.ts';
import { serveWatch } from '../../src/cli/watch-serve.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import { startWatch } from '../../src/watch/state.ts';
import { CONFIG } from '../support/rig.ts';
import { ROOT } from '../support/imports.ts';
import { START, byKind, generate, idOf, sightingOf } from '../watch/world.ts';

const RULES = join(ROOT, 'templates/telemetry/rules.yaml');
let folder = '';
let address = '';
let engine: ChildProcess | undefined;
let served: { readonly port: number; close(): Promise<void> } | undefined;
let metrics = '';

async function until(is: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 90_000;
  while (!(await is().catch(() => false))) {
    if (Date.now() > limit) throw new Error('Prometheus did not come to it within a minute and a half');
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

interface Answer {
  readonly status: string;
  readonly data: {
    readonly result: readonly { readonly metric: Readonly<Record<string, string>>; readonly value: [number, string] }[];
  };
}

async function query(text: string): Promise<Answer> {
  const answer = await fetch(`${address}/api/v1/query?${new URLSearchParams({ query: text }).toString()}`);
  return (await answer.json()) as Answer;
}

beforeAll(async () => {
  if (spawnSync('prometheus', ['--version']).error !== undefined)
    throw new Error('CANNOT RUN: prometheus is not on the PATH (as root, on Debian: scripts/tools.sh engines)');
  const telemetry = openTelemetry();
  let state = startWatch(CONFIG);
  const { objects, record } = generate(1);
  const kinds = byKind(objects);
  const send = (event: Parameters<typeof reduceWatch>[1]): void => {
    const reduced = reduceWatch(state, event, START);
    state = reduced.state;
    for (const notice of reduced.notices) telemetry.told(notice);
  };
  send({ kind: 'expect', kinds: [...kinds.keys()] });
  send({ kind: 'record', record });
  for (const [of, list] of kinds) send({ kind: 'listed', of, objects: list });
  const scan = Array.from({ length: 12 }, (_, index) =>
    sightingOf(idOf(0, 3), `elsewhere/Deployment/t${index}`, 22, START, { verdict: 'denied' }),
  );
  const hostile = {
    ...scan[0],
    key: {
      src: { kind: 'external', name: 'x"}\n\\ 1' },
      dst: { kind: 'workload', id: 'é\u0000' },
      protocol: 'TCP',
      port: 1,
    },
  };
  telemetry.sighted([...scan, hostile as never]);
  send({ kind: 'sightings', sightings: scan });
  telemetry.leads(true);
  telemetry.attach({
    state: () => state,
    health: () => ({ ready: true, lastTurn: Date.now(), loadMs: 1, loads: 1, events: 1 }),
    gates: () => [],
    latency: [{ control: 'mesh-hop', unit: 'ms', p50: 1, p99: 4, n: 10, source: 'fortio', measuredAt: START }],
    clock: { now: () => START },
    process: true,
  });
  served = await serveWatch('127.0.0.1:0', {
    health: () => undefined,
    ready: () => undefined,
    metrics: () => telemetry.render(),
    metricsType: telemetry.contentType,
  });
  metrics = await telemetry.render();
  folder = await mkdtemp(join(tmpdir(), 'sallyport-telemetry-'));
  await writeFile(
    join(folder, 'prometheus.yml'),
    `global: {evaluation_interval: 1s}\nrule_files: [${JSON.stringify(RULES)}]\nscrape_configs: [{job_name: sallyport, scrape_interval: 1s, static_configs: [{targets: ["127.0.0.1:${served.port}"]}]}]\n`,
  );
  const free = createServer();
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
  const { port } = free.address() as AddressInfo;
  await new Promise((resolve) => free.close(resolve));
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
  await until(async () => (await query('sallyport_ready')).data.result.length > 0);
});

afterAll(async () => {
  const ended = new Promise((resolve) => engine?.once('close', resolve));
  if (engine?.kill('SIGTERM') === true) await ended;
  await served?.close();
  await rm(folder, { recursive: true, force: true });
});

it('the text and the rules pass the checker of Prometheus', () => {
  const rules = spawnSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' });
  expect(rules.stdout + rules.stderr).toContain('SUCCESS');
  const text = spawnSync('promtool', ['check', 'metrics'], { input: metrics, encoding: 'utf8' });
  // The names of the process's own metrics are prom-client's.
  expect(text.stderr.split('\n').filter((line) => line !== '' && !/^(?:nodejs|process)_/u.test(line))).toEqual([]);
});

it('hostile names are one series with their text, and nothing else', async () => {
  const { data } = await query('ml_network_violations_total{source=~"external.*"}');
  expect(data.result.map(({ metric, value }) => [metric['source'], metric['destination'], value[1]])).toEqual([
    ['external:x"}\ufffd\\ 1', 'é\ufffd', '1'],
  ]);
});

it('a scan fires its alert', async () => {
  await until(
    async () => (await query('ALERTS{alertname="SallyportScan",alertstate="firing"}')).data.result.length === 1,
  );
  expect((await query('ALERTS{alertname="SallyportWatchDown"}')).data.result).toEqual([]);
});

it('every question of the dashboard is one that Prometheus answers', async () => {
  const { panels } = JSON.parse(readFileSync(join(ROOT, 'templates/telemetry/dashboard.json'), 'utf8')) as {
    readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
  };
  for (const { title, targets } of panels)
    for (const { expr } of targets) {
      // As Grafana fills its variables in.
      const filled = expr
        .replaceAll(/\$(?:job|instance)\b/gu, '.+')
        .replaceAll('$__rate_interval', '1m')
        .replaceAll('$__range', '6h');
      expect((await query(filled)).status, `${title}: ${filled}`).toBe('success');
    }
  for (const expr of [
    'sallyport_phase',
    'sum(sallyport_drift)',
    'ml_auth_latency_seconds',
    'nodejs_heap_size_used_bytes',
  ])
    expect((await query(expr)).data.result.length, expr).toBeGreaterThan(0);
});

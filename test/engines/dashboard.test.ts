// A day of the watch in a real Prometheus: every panel of the dashboard and every alert is asked over that day. And the dashboard's own fields, as
// Grafana documents them (grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model and the panels' own pages).
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { openTelemetry } from '../../src/cli/telemetry.ts';
import { ROOT } from '../support/imports.ts';
import { runDay } from '../watch/day.ts';
import { START, idOf, sightingOf } from '../watch/world.ts';

const SAMPLE_MS = 5 * 60_000;
const DAY_SEC = 86_400;

const text = readFileSync(join(ROOT, 'templates/telemetry/dashboard.json'), 'utf8');
const datasource = z.strictObject({ type: z.literal('prometheus'), uid: z.literal('${datasource}') });
const thresholds = z.strictObject({
  mode: z.enum(['absolute', 'percentage']),
  steps: z
    .array(z.strictObject({ color: z.string(), value: z.number().nullable() }))
    // The first step is the base, and has no value; the rest rise.
    .refine(([base, ...rest]) => base?.value === null && rest.every(({ value }) => value !== null)),
});
const options = {
  stat: z.looseObject({
    reduceOptions: z.strictObject({
      calcs: z.array(z.enum(['lastNotNull', 'last', 'mean', 'max', 'min', 'sum'])),
      fields: z.string(),
      values: z.boolean(),
    }),
    colorMode: z.enum(['none', 'value', 'background', 'background_solid']),
  }),
  timeseries: z.looseObject({
    legend: z
      .looseObject({
        displayMode: z.enum(['list', 'table', 'hidden']),
        placement: z.enum(['bottom', 'right']),
      })
      .optional(),
  }),
  table: z.looseObject({}),
};
const panelBase = {
  id: z.int().positive(),
  title: z.string().min(1),
  description: z.string().optional(),
  datasource,
  gridPos: z.strictObject({
    x: z.int().min(0).max(23),
    y: z.int().min(0),
    w: z.int().min(1).max(24),
    h: z.int().min(1),
  }),
  targets: z
    .array(
      z.looseObject({
        refId: z.string().regex(/^[A-Z]+$/u),
        expr: z.string().min(1),
        datasource,
        legendFormat: z.string().optional(),
        instant: z.boolean().optional(),
        range: z.boolean().optional(),
        format: z.enum(['time_series', 'table', 'heatmap']).optional(),
      }),
    )
    .min(1),
  fieldConfig: z.strictObject({
    defaults: z.looseObject({
      unit: z.string().optional(),
      min: z.number().optional(),
      max: z.number().optional(),
      thresholds: thresholds.optional(),
      mappings: z.array(z.looseObject({ type: z.enum(['value', 'range', 'regex', 'special']) })).optional(),
    }),
    overrides: z.array(
      z.strictObject({
        matcher: z.strictObject({ id: z.string(), options: z.unknown() }),
        properties: z.array(z.strictObject({ id: z.string(), value: z.unknown() })),
      }),
    ),
  }),
  transformations: z.array(z.looseObject({ id: z.string(), options: z.looseObject({}) })).optional(),
};
const panel = z.discriminatedUnion('type', [
  z.strictObject({ ...panelBase, type: z.literal('stat'), options: options.stat }),
  z.strictObject({ ...panelBase, type: z.literal('timeseries'), options: options.timeseries }),
  z.strictObject({ ...panelBase, type: z.literal('table'), options: options.table }),
]);
const schema = z.strictObject({
  title: z.string().min(1),
  uid: z.string().regex(/^[a-zA-Z0-9_-]{1,40}$/u),
  schemaVersion: z.int().min(36),
  version: z.int(),
  editable: z.boolean(),
  tags: z.array(z.string()),
  timezone: z.enum(['utc', 'browser', '']),
  time: z.strictObject({ from: z.string().startsWith('now'), to: z.literal('now') }),
  refresh: z.string().regex(/^\d+[smh]$/u),
  annotations: z.strictObject({ list: z.array(z.unknown()) }),
  templating: z.strictObject({
    list: z.array(
      z.looseObject({ name: z.string(), type: z.enum(['datasource', 'query', 'custom']), query: z.string() }),
    ),
  }),
  panels: z.array(panel).min(1),
});

describe('the dashboard', () => {
  const dashboard = schema.parse(JSON.parse(text));

  it('names its panels apart, and asks the one source that its variable chooses', () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(dashboard.templating.list).toContainEqual(
      expect.objectContaining({ name: 'datasource', type: 'datasource' }),
    );
    const variables = new Set(dashboard.templating.list.map(({ name }) => name));
    for (const [, name] of text.matchAll(/\$\{?([a-z_]+)\}?/giu))
      expect(variables.has(name ?? '') || (name ?? '').startsWith('__'), name).toBe(true);
  });

  it('lays its panels out on 24 columns without a gap or an overlap', () => {
    const rows = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
    const cells = Array.from({ length: rows * 24 }, () => 0);
    for (const { gridPos } of dashboard.panels)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1)
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) cells[y * 24 + x] = (cells[y * 24 + x] ?? 0) + 1;
    expect(new Set(cells)).toEqual(new Set([1]));
  });

  // The rules of github.com/grafana/dashboard-linter.
  it('is as the linter of Grafana asks', () => {
    expect(dashboard.editable).toBe(false);
    expect(dashboard.templating.list).toMatchObject([
      { name: 'datasource', label: 'Data source' },
      { name: 'job', label: 'Job', type: 'query', datasource: { uid: '${datasource}' }, multi: true, allValue: '.+' },
      { name: 'instance', label: 'Instance', type: 'query', multi: true, allValue: '.+', refresh: 2 },
    ]);
    for (const { title, description, fieldConfig, targets } of dashboard.panels) {
      expect(description, title).toMatch(/\.$/u);
      expect(fieldConfig.defaults.unit, title).toMatch(/^[a-z]+$/u);
      for (const { expr } of targets) {
        const names = expr.match(/\b(?:ml|sallyport|nodejs)_[a-z_]+/gu) ?? [];
        expect(names.length, expr).toBeGreaterThan(0);
        expect(expr.split('{job=~"$job", instance=~"$instance"'), expr).toHaveLength(names.length + 1);
        for (const [, range] of expr.matchAll(/\brate\([^[]*\[([^\]]*)\]/gu)) expect(range).toBe('$__rate_interval');
        for (const name of names.filter((one) => one.endsWith('_total')))
          expect(expr, title).toMatch(new RegExp(`(?:rate|increase)\\(${name}`, 'u'));
      }
    }
  });
});

describe('what was seen when the panels were drawn', () => {
  const dashboard = schema.parse(JSON.parse(text));
  const stats = dashboard.panels.filter(({ type }) => type === 'stat');

  it('an answer without series is told in words, and a figure that is away is not in the colour of a good one', () => {
    for (const { title, fieldConfig } of dashboard.panels)
      expect(fieldConfig.defaults['noValue'], title).toMatch(/\bwatch away$/u);
    for (const { title, fieldConfig } of stats)
      expect(fieldConfig.defaults.mappings, title).toEqual([
        { type: 'special', options: { match: 'null', result: { text: 'watch away', color: 'orange', index: 0 } } },
      ]);
  });

  // 16 characters at 14 px, with the sign of the description, fit into four columns of a page 1280 px wide.
  it('titles of figures are not cut', () => {
    for (const { title } of stats) expect(title.length, title).toBeLessThanOrEqual(16);
  });

  it('lines are named in a table with their figures, so that colour is not the only thing that tells them apart', () => {
    for (const one of dashboard.panels)
      if (one.type === 'timeseries')
        expect(one.options.legend, one.title).toMatchObject({
          displayMode: 'table',
          sortBy: expect.any(String) as string,
        });
  });

  it('the ten with the most are ten over the whole time that is shown', () => {
    for (const { expr } of dashboard.panels.flatMap(({ targets }) => targets))
      if (expr.includes('topk(')) expect(expr).toMatch(/ and on \([a-z, ]+\) topk\(10, .*\[\$__range\] @ end\(\)/u);
  });
});

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, string])[];
}

let folder = '';
let address = '';
let engine: ChildProcess | undefined;

async function overTheDay(query: string, stepSec = 60): Promise<readonly Series[]> {
  const from = START / 1000;
  const asked = { query, start: String(from), end: String(from + DAY_SEC), step: String(stepSec) };
  const answer = await fetch(`${address}/api/v1/query_range?${new URLSearchParams(asked).toString()}`);
  const body = (await answer.json()) as {
    readonly status: string;
    readonly error?: string;
    readonly data: { readonly result: readonly Series[] };
  };
  expect(body.status, `${query}: ${body.error ?? ''}`).toBe('success');
  return body.data.result;
}

/** As Prometheus keeps it: with the job and the instance that it was scraped from. */
function scraped(line: string): string {
  const at = 'job="sallyport-watch",instance="10.0.0.9:9464"';
  return line.includes('{') ? line.replace('{', `{${at},`) : line.replace(' ', `{${at}} `);
}

/** A query with its variables as Grafana fills them in: all jobs and instances, a rate over four samples at least, and the day that is shown. */
function filled(expr: string): string {
  return expr
    .replaceAll(/\$(?:job|instance)\b/gu, '.+')
    .replaceAll('$__rate_interval', '20m')
    .replaceAll('$__range', '24h')
    .replaceAll('[10m]', '[15m]');
}

/** The text format with times, as promtool takes it: samples of one metric stand together. */
function openMetrics(samples: ReadonlyMap<string, readonly string[]>, types: ReadonlyMap<string, string>): string {
  const parts: string[] = [];
  for (const [name, lines] of samples) {
    // In OpenMetrics the family of a counter is its name without `_total`.
    const family = name.endsWith('_total') ? name.slice(0, -'_total'.length) : name;
    const type = types.get(name) ?? 'unknown';
    parts.push(
      `# TYPE ${family} ${type === 'counter' && !name.endsWith('_total') ? 'unknown' : type === 'histogram' ? 'unknown' : type}`,
    );
    parts.push(...lines);
  }
  return `${parts.join('\n')}\n# EOF\n`;
}

beforeAll(async () => {
  if (spawnSync('prometheus', ['--version']).error !== undefined)
    throw new Error('CANNOT RUN: prometheus is not on the PATH (as root, on Debian: scripts/tools.sh engines)');
  const telemetry = openTelemetry();
  const samples = new Map<string, string[]>();
  const types = new Map<string, string>();
  let sampledAt = -Infinity;
  let attached = false;
  await runDay({
    namespaces: 6,
    days: 1,
    stepSec: 60,
    siege: (stage) => {
      // What a proxy refused, which nothing else of that day is.
      stage.later(12 * 3_600_000, () =>
        stage.push([sightingOf(idOf(0, 1), idOf(0, 5), 8080, stage.now(), { verdict: 'denied', mtls: 'no' })]),
      );
      return {
        notice: (notice) => telemetry.told(notice),
        sighted: (sightings) => telemetry.sighted(sightings),
        turn: async () => {
          const now = stage.now();
          if (!attached)
            telemetry.attach({
              state: () => stage.watcher().state(),
              health: () => stage.watcher().health(),
              gates: () => stage.watcher().gates(),
              latency: [
                { control: 'mesh-hop', unit: 'ms', p50: 1, p99: 4, n: 10, source: 'fortio', measuredAt: START },
              ],
              clock: { now: stage.now },
              process: true,
            });
          attached = true;
          telemetry.leads(true);
          if (now - sampledAt < SAMPLE_MS) return;
          sampledAt = now;
          for (const line of (await telemetry.render()).split('\n')) {
            const [, name = '', type = ''] = /^# TYPE (\S+) (\S+)$/u.exec(line) ?? [];
            if (name !== '') types.set(name, type);
            if (line === '' || line.startsWith('#')) continue;
            const metric = /^[a-zA-Z_:][a-zA-Z0-9_:]*/u.exec(line)?.[0] ?? '';
            // Summaries of the process are nobody's question.
            if (!/^(?:ml|sallyport)_|^nodejs_heap_size_used_bytes$/u.test(metric)) continue;
            samples.set(metric, [...(samples.get(metric) ?? []), `${scraped(line)} ${now / 1000}`]);
          }
        },
      };
    },
  });
  folder = await mkdtemp(join(tmpdir(), 'sallyport-dashboard-'));
  await writeFile(join(folder, 'day.txt'), openMetrics(samples, types));
  const made = spawnSync(
    'promtool',
    ['tsdb', 'create-blocks-from', 'openmetrics', join(folder, 'day.txt'), join(folder, 'data')],
    { encoding: 'utf8' },
  );
  expect(made.status, made.stdout + made.stderr).toBe(0);
  await writeFile(join(folder, 'prometheus.yml'), 'global: {}\n');
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
      // The day is in the past: nothing of it is too old.
      '--storage.tsdb.retention.time=100y',
      // A look each five minutes has no gap.
      '--query.lookback-delta=10m',
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  );
  const limit = Date.now() + 90_000;
  while (
    !(await fetch(`${address}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (Date.now() > limit) throw new Error('Prometheus did not come to it within a minute and a half');
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
});

afterAll(async () => {
  const ended = new Promise((resolve) => engine?.once('close', resolve));
  if (engine?.kill('SIGTERM') === true) await ended;
  if (folder !== '') await rm(folder, { recursive: true, force: true });
});

/** What has no series on this day, and why that is right. */
const QUIET: Readonly<Record<string, string>> = {
  'Series folded': 'no metric came to its bound',
};

describe('over a day of drift, attacks and outages', () => {
  const { panels } = schema.parse(JSON.parse(text));

  it.each(panels.map(({ title, targets }) => [title, targets.map(({ expr }) => expr)] as const))(
    'the panel %s has something to show',
    async (title, exprs) => {
      for (const expr of exprs) {
        const series = await overTheDay(filled(expr));
        if (title in QUIET)
          expect(series.filter(({ values }) => values.some(([, value]) => Number(value) > 0))).toEqual([]);
        else expect(series.length, `${title}: ${expr}`).toBeGreaterThan(0);
      }
    },
  );

  it('a figure is 0 while the watch is there, and is not known where it is away', async () => {
    for (const { title, targets } of panels.filter(({ type }) => type === 'stat')) {
      const [{ expr } = { expr: '' }] = targets;
      const day = await overTheDay(filled(expr));
      expect(day, title).toHaveLength(1);
      // Without a series of its own, from the watch alone.
      const bare = filled(expr).replace(/^sum\(\w+/u, 'sum(sallyport_nothing');
      expect((await overTheDay(bare)).flatMap(({ values }) => values.map(([, value]) => value))).toContain('0');
      expect(await overTheDay(filled(expr).replaceAll('.+', 'elsewhere')), title).toEqual([]);
    }
  });

  it('never shows more than ten of the most', async () => {
    const tops = panels.flatMap(({ targets }) => targets).filter(({ expr }) => expr.includes('topk(10'));
    expect(tops).toHaveLength(3);
    for (const { expr } of tops) expect((await overTheDay(filled(expr))).length, expr).toBeLessThanOrEqual(10);
  });

  it('namespaces are told apart where the scrape kept their label as exported_namespace', async () => {
    const [{ expr } = { expr: '' }] = panels.find(({ title }) => title === 'Isolated workloads')?.targets ?? [];
    const own = await overTheDay(filled(expr));
    // As the scrape leaves them without honor_labels: the pod's own namespace in the place of what the sample says.
    const kept = filled(expr).replace(
      /sallyport_isolated_ratio\{[^}]*\}/u,
      (metric) =>
        `label_replace(label_replace(${metric}, "exported_namespace", "$1", "namespace", "(.+)"), "namespace", "sallyport", "", "")`,
    );
    expect(kept).toContain('"sallyport"');
    expect(own.length).toBeGreaterThan(1);
    expect((await overTheDay(kept)).map(({ metric }) => metric['namespace'])).toEqual(
      own.map(({ metric }) => metric['namespace']),
    );
  });

  it('shows the first notice of a kind', async () => {
    const [{ expr } = { expr: '' }] = panels.find(({ title }) => title === 'Notices')?.targets ?? [];
    const risen = (await overTheDay(filled(expr)))
      .filter(({ values }) => values.some(([, value]) => Number(value) > 0))
      .map(({ metric }) => metric['kind']);
    for (const kind of ['drift', 'unprotected', 'denied', 'gate', 'proxy', 'blind'])
      expect(risen, risen.join(', ')).toContain(kind);
  });

  it('figures that rise on that day rise on the dashboard, and fall again', async () => {
    for (const expr of [
      'sum(sallyport_drift)',
      'sum(sallyport_open_notices{kind="unprotected"})',
      'sallyport_denied_sources{class="attack-like"}',
    ]) {
      const values = (await overTheDay(expr)).flatMap((one) => one.values.map(([, value]) => Number(value)));
      expect(Math.max(...values), expr).toBeGreaterThan(0);
      expect(Math.min(...values), expr).toBe(0);
    }
  });

  it('the alerts about what happened would have fired, and those about what did not would not', async () => {
    const { groups } = parse(readFileSync(join(ROOT, 'templates/telemetry/rules.yaml'), 'utf8')) as {
      readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
    };
    const held = new Set<string>();
    for (const { alert, expr } of groups.flatMap(({ rules }) => rules))
      if ((await overTheDay(expr)).length > 0) held.add(alert);
    for (const alert of [
      'SallyportDrift',
      'SallyportUnprotectedWorkload',
      'SallyportScan',
      'SallyportDeniesLegitimate',
    ])
      expect(held, [...held].join(', ')).toContain(alert);
    expect(held).not.toContain('SallyportWatchDown');
  });
});

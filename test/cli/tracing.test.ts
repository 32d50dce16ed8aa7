// Traces to a collector: what is in them, that they nest, and that a collector which is away costs a line and no more.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTracing } from '../../src/cli/tracing.ts';
import { traceSettings } from '../../src/cli/trace-settings.ts';
import { traced } from '../../src/shared/io/trace.ts';
import { startCollector } from '../support/collector.ts';
import type { Collector, TakenSpan } from '../support/collector.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { generate } from '../watch/world.ts';
import { CLUSTER, CONFIG, EDGES, makeHome, sallyport } from './shop.ts';
import type { Ended, Start } from './shop.ts';

let home = '';
const collectors: Collector[] = [];
const collector = async (answer?: number | 'never'): Promise<Collector> => {
  const one = await startCollector(answer);
  collectors.push(one);
  return one;
};
afterAll(async () => {
  for (const one of collectors) await one.close();
});

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const JOB = 'b7ad6b7169203331';
const at = (state: string): readonly string[] => [
  '--manifests',
  'cluster',
  '--state',
  `${state}.sqlite`,
  '--config',
  'config.yaml',
  '--decisions',
  'decisions.yaml',
];
const run = (args: readonly string[], to: Collector, more: Partial<Start> = {}): Promise<Ended> =>
  sallyport(args, { home, ...more, env: { OTEL_EXPORTER_OTLP_ENDPOINT: to.url, ...more.env } });
const named = ({ spans }: Collector, name: string): readonly TakenSpan[] => spans.filter((one) => one.name === name);
const only = (to: Collector, name: string): TakenSpan => {
  const [one, ...more] = named(to, name);
  expect(more).toEqual([]);
  if (one === undefined) throw new Error(`no span ${name} among ${to.spans.map((span) => span.name).join(', ')}`);
  return one;
};
const lines = (text: string, word: RegExp): readonly string[] => text.split('\n').filter((line) => word.test(line));

beforeAll(async () => {
  home = await makeHome({
    ...CLUSTER,
    'config.yaml': CONFIG,
    'edges.jsonl': EDGES,
    'decisions.yaml': `decisions:
  - {action: accept, query: "src=desk/*", reason: sesame-reason, by: me, at: "2026-10-10T00:00:00Z"}
  - {action: waive, query: "gate=unseen-workloads,subject=shop/*", reason: sesame-reason, by: me, at: "2026-10-10T00:00:00Z"}
  - {action: waive, query: "gate=unknown,subject=shop", reason: sesame-reason, by: me, at: "2026-10-10T00:00:00Z"}
`,
  });
  for (const state of ['forward', 'stopped'])
    expect((await sallyport(['observe', 'edges', 'edges.jsonl', ...at(state)], { home })).code).toBe(0);
});

describe('a run', () => {
  it('is spans inside of the span of whoever called: command, run, steps', async () => {
    const to = await collector();
    const ended = await run(
      ['advance', 'shop', '--to', 'allow-list', '--yes', '--ticket', 'sesame-ticket', ...at('forward')],
      to,
      {
        env: {
          TRACEPARENT: `00-${TRACE}-${JOB}-01`,
          OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20sesame-token',
          OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=ci',
        },
      },
    );
    expect(ended).toMatchObject({ code: 0 });
    expect(ended.stderr).not.toMatch(/traces/);
    expect(to.wrong).toEqual([]);
    expect(to.headers.map((one) => one['authorization'])).toContain('Bearer sesame-token');
    expect(to.resource).toMatchObject({ 'service.name': 'sallyport', 'deployment.environment.name': 'ci' });
    const command = only(to, 'sallyport advance');
    expect(command).toMatchObject({ traceId: TRACE, parentSpanId: JOB, is: { 'sallyport.exit_code': 0 } });
    const whole = only(to, 'run advance');
    expect(whole).toMatchObject({
      traceId: TRACE,
      parentSpanId: command.spanId,
      is: { 'sallyport.namespace': 'shop', 'sallyport.outcome': 'done', 'sallyport.phase': 'allow-list' },
    });
    const steps = to.spans.filter(({ name }) => name.startsWith('step '));
    expect(steps).toHaveLength(Number(whole.is['sallyport.steps']));
    for (const step of steps) {
      expect(step).toMatchObject({
        traceId: TRACE,
        parentSpanId: whole.spanId,
        is: { 'sallyport.run': whole.is['sallyport.run'], 'sallyport.namespace': 'shop' },
      });
      expect(BigInt(step.startTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(whole.startTimeUnixNano));
      expect(BigInt(step.endTimeUnixNano)).toBeLessThanOrEqual(BigInt(whole.endTimeUnixNano));
    }
    expect(new Set(steps.map(({ is }) => is['sallyport.phase']))).toEqual(new Set(['monitor', 'allow-list']));
    // What a person typed goes to nobody.
    expect(to.text).not.toMatch(/sesame/);
  });

  it('that Ctrl-C ends says so, with the exit code', async () => {
    const to = await collector();
    let sent = false;
    const ended = await run(['advance', 'shop', '--to', 'identity', '--yes', ...at('stopped')], to, {
      onStderr: (all, child) => {
        if (sent || !all.includes('[1/')) return;
        sent = true;
        child.kill('SIGINT');
      },
    });
    expect(ended.code).toBe(130);
    expect(to.wrong).toEqual([]);
    expect(only(to, 'run advance')).toMatchObject({
      status: { code: 2 },
      is: { 'sallyport.outcome': 'cancelled', 'sallyport.exit_code': 130 },
    });
    expect(only(to, 'sallyport advance')).toMatchObject({ status: { code: 2 }, is: { 'sallyport.exit_code': 130 } });
  });

  it('with a step that fails says which, and with which code', async () => {
    const to = await collector();
    const other = await makeHome({
      ...CLUSTER,
      // Where the folder of the new objects would be.
      'cluster/sallyport/shop': 'a file',
      'config.yaml': CONFIG,
      'edges.jsonl': EDGES,
      'decisions.yaml': await readFile(join(home, 'decisions.yaml'), 'utf8'),
    });
    expect((await sallyport(['observe', 'edges', 'edges.jsonl', ...at('one')], { home: other })).code).toBe(0);
    const ended = await run(['advance', 'shop', '--to', 'allow-list', '--yes', ...at('one')], to, { home: other });
    const [, code] = /\((SP4\d\d)\)/.exec(ended.stderr) ?? [];
    const failed = to.spans.filter(({ name, status }) => name.startsWith('step ') && status.code === 2);
    expect(failed, ended.stderr).toMatchObject([{ is: { 'error.type': code, 'sallyport.phase': 'allow-list' } }]);
    for (const name of ['run advance', 'sallyport advance'])
      expect(only(to, name)).toMatchObject({ status: { code: 2 }, is: { 'sallyport.exit_code': ended.code } });
    expect(only(to, 'run advance').is).toMatchObject({ 'sallyport.outcome': 'partial', 'error.type': code });
  });

  it('that is refused names the code, and not the message', async () => {
    const to = await collector();
    const ended = await run(['plan', 'nowhere', ...at('forward')], to);
    expect(ended.code).toBe(2);
    const [, code] = /\((SP\d+)\)/.exec(ended.stderr) ?? [];
    expect(only(to, 'sallyport plan')).toMatchObject({
      status: { code: 2 },
      is: { 'sallyport.exit_code': 2, 'error.type': code },
    });
    expect(to.text).not.toMatch(/nowhere/);
  });
});

describe('calls of the API server', () => {
  it('are spans of a client inside of the command, without selectors and without credentials', async () => {
    const to = await collector();
    const server = await startFakeApi({ objects: generate(1).objects });
    server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
    try {
      const ended = await run(['inventory', '--kubeconfig', server.kubeconfig], to);
      expect(ended).toMatchObject({ code: 0 });
    } finally {
      await server.close();
    }
    expect(to.wrong).toEqual([]);
    const command = only(to, 'sallyport inventory');
    const calls = to.spans.filter(({ kind }) => kind === 3);
    expect(calls.length).toBeGreaterThan(5);
    for (const call of calls)
      expect(call).toMatchObject({ traceId: command.traceId, is: { 'server.address': '127.0.0.1' } });
    expect(named(to, 'GET pods')[0]).toMatchObject({
      parentSpanId: command.spanId,
      is: { 'http.request.method': 'GET', 'url.path': '/api/v1/pods', 'http.response.status_code': 200 },
    });
    expect(to.text).not.toMatch(/Bearer|labelSelector|limit=/);
  });

  it('and rounds of a watch are a trace each, with a link to the watch', async () => {
    const to = await collector();
    const server = await startFakeApi({ objects: generate(1).objects });
    server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
    try {
      const ended = await run(['watch', '--for', '4s', '--kubeconfig', server.kubeconfig], to);
      expect(ended).toMatchObject({ code: 0 });
    } finally {
      await server.close();
    }
    expect(to.wrong).toEqual([]);
    const command = only(to, 'sallyport watch');
    for (const name of ['watch load', 'watch judge']) {
      const [round] = named(to, name);
      expect(round?.parentSpanId, name).toBeUndefined();
      expect(round?.links).toMatchObject([{ traceId: command.traceId, spanId: command.spanId }]);
    }
    expect(new Set(to.spans.map(({ traceId }) => traceId)).size).toBeGreaterThan(3);
  });
});

describe('a collector', () => {
  const closedPort = async (): Promise<number> => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    return port;
  };

  it.each([
    ['that is down', async () => `http://127.0.0.1:${await closedPort()}`, /ECONNREFUSED/],
    ['that takes the request and never answers', async () => (await collector('never')).url, /.*/],
    ['that refuses', async () => (await collector(403)).url, /403/],
  ])('%s costs one line, and fails nothing', async (_, open, why) => {
    const url = await open();
    const ended = await sallyport(['status', '--json', '--otlp', url, ...at('forward')], { home });
    expect(ended).toMatchObject({ code: 0 });
    expect(JSON.parse(ended.stdout)).toMatchObject({ kind: 'Status' });
    const said = lines(ended.stderr, /traces/);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^sallyport: traces: 1 span not sent to http:\/\/127\.0\.0\.1:\d+\/v1\/traces: /);
    expect(said[0]).toMatch(why);
  });

  it('gets nothing where the caller says that it is not recorded', async () => {
    const to = await collector();
    await run(['status', ...at('forward')], to, { env: { TRACEPARENT: `00-${TRACE}-${JOB}-00` } });
    expect(to.text).toBe('');
  });

  it('gets a trace of its own where TRACEPARENT is none', async () => {
    const to = await collector();
    await run(['status', ...at('forward')], to, { env: { TRACEPARENT: `00-${'0'.repeat(32)}-x-01` } });
    expect(only(to, 'sallyport status').parentSpanId).toBeUndefined();
  });

  it('is told names with nothing in them that a terminal obeys', async () => {
    const to = await collector();
    const tracing = openTracing({
      url: `${to.url}/v1/traces`,
      command: 'status',
      isLong: false,
      version: '1.2.3',
      env: {},
      warn: () => undefined,
      warnAtOnce: true,
    });
    await tracing.command(() =>
      traced(
        'GET \u001b[31mpods\u202e',
        () => ({ 'url.path': `/api/${'x'.repeat(5_000)}`, 'sallyport.namespace': 'a\nb\ud800' }),
        () => Promise.resolve(),
      ),
    );
    expect(await tracing.end(0, undefined)).toBe(true);
    expect(to.wrong).toEqual([]);
    const [call] = to.spans.filter(({ name }) => name.includes('pods'));
    expect(call?.name).toBe('GET \ufffd[31mpods\ufffd');
    expect(call?.is['sallyport.namespace']).toBe('a\ufffdb\ufffd');
    expect(String(call?.is['url.path'])).toHaveLength(301);
  });

  it('that is away for a while in a long command is told of at once, and once', async () => {
    const said: string[] = [];
    const tracing = openTracing({
      url: `http://127.0.0.1:${await closedPort()}/v1/traces?token=sesame`,
      command: 'watch',
      isLong: true,
      version: '1.2.3',
      env: { OTEL_EXPORTER_OTLP_TIMEOUT: '200' },
      warn: (text) => said.push(text),
      warnAtOnce: true,
    });
    await tracing.command(() =>
      traced(
        'watch load',
        () => ({}),
        () => Promise.resolve(),
      ),
    );
    await tracing.end(0, undefined);
    expect(said).toHaveLength(1);
    expect(said[0]).not.toMatch(/sesame/);
  });
});

describe('where traces go', () => {
  it.each([
    ['nothing is set', undefined, {}, 'off'],
    ['a variable is empty', undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: ' ' }, 'off'],
    [
      'one endpoint for all signals',
      undefined,
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318/' },
      'http://c:4318/v1/traces',
    ],
    ['below a path', undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c/otlp' }, 'https://c/otlp/v1/traces'],
    [
      'one for traces, as it is',
      undefined,
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://t/x', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' },
      'http://t/x',
    ],
    ['the flag', 'http://f:1', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' }, 'http://f:1/v1/traces'],
    ['switched off', undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c', OTEL_SDK_DISABLED: 'TRUE' }, 'off'],
    ['no exporter', undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c', OTEL_TRACES_EXPORTER: 'none' }, 'off'],
    [
      'gRPC',
      undefined,
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4317', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
      /gRPC.*--otlp/,
    ],
    ['no address', undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'c:4317x' }, /neither http/],
    ['a password', undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://u:sesame@c' }, /holds a password/],
  ] as const)('%s', (_, flag, env, expected) => {
    const settings = traceSettings(flag, env);
    const text = settings.kind === 'on' ? settings.url : settings.kind === 'wrong' ? settings.why : settings.kind;
    if (typeof expected === 'string') expect(text).toBe(expected);
    else {
      expect(settings.kind).toBe('wrong');
      expect(text).toMatch(expected);
      expect(text).not.toMatch(/sesame/);
    }
  });

  it('a flag that is no address is refused before anything is done: SP135', async () => {
    const ended = await sallyport(['status', '--otlp', 'ftp://sesame', '--state', join(home, 'none.sqlite')], { home });
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(/SP135/);
  });

  it('a variable that is none is told, and fails nothing', async () => {
    const ended = await sallyport(['status', ...at('forward')], {
      home,
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'nonsense' },
    });
    expect(ended.code).toBe(0);
    expect(lines(ended.stderr, /no traces are sent/)).toHaveLength(1);
  });
});

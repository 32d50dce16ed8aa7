// Figures of proxies from what a Prometheus answers, recorded, and from a file.
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { TuningMetrics } from '../../src/model/tuning.ts';
import { readTuningFile, tuningDocument } from '../../src/sources/tuning-file.ts';
import { askTuning, tuningQueries } from '../../src/sources/tuning-prometheus.ts';
import { makeFolder } from '../support/folder.ts';
import { failureOf } from './flow-input.ts';

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: string;
}
type Recorded = Readonly<Record<string, readonly Sample[]>>;

let close: (() => Promise<void>) | undefined;
afterEach(async () => {
  await close?.();
  close = undefined;
});

const HOUR = 3_600_000;
const TO = Date.UTC(2026, 9, 10);

/** A Prometheus that answers queries by what they begin to ask for, and nothing to the others. */
async function start(
  recorded: Recorded,
  body?: string,
): Promise<{ readonly address: string; readonly asked: URLSearchParams[] }> {
  const asked: URLSearchParams[] = [];
  const texts = tuningQueries(['shop'], 3600, [{ namespace: 'authz', service: 'opa' }]);
  const server = createServer((request, response) => {
    const { searchParams, pathname } = new URL(request.url ?? '/', 'http://engine');
    expect(pathname).toBe('/api/v1/query');
    asked.push(searchParams);
    const name = Object.keys(texts).find((key) => texts[key] === searchParams.get('query'));
    const result = (recorded[name ?? ''] ?? []).map(({ metric, value }) => ({ metric, value: [TO / 1000, value] }));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(body ?? JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close = () => new Promise((resolve) => server.close(() => resolve()));
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const ask = (address: string): Promise<TuningMetrics> =>
  askTuning(address, {
    namespaces: ['shop'],
    from: TO - HOUR,
    to: TO,
    authorizers: [{ namespace: 'authz', service: 'opa' }],
    workloadOf: (namespace, pod) => (pod.startsWith('web-') ? `${namespace}/Deployment/web` : undefined),
    workloadNamed: (namespace, name) => (name === 'web' ? `${namespace}/Deployment/web` : undefined),
    signal: new AbortController().signal,
    sleep: () => Promise.resolve(),
  });

const WEB = { destination_service_namespace: 'shop', destination_service_name: 'web' };
const OPA = { destination_service_namespace: 'authz', destination_service_name: 'opa', reporter: 'destination' };
const CLUSTER = { cluster_name: 'outbound|8080||web.shop.svc.cluster.local' };
const POD = (name: string) => ({ namespace: 'shop', pod: name });
const at = (metric: Readonly<Record<string, string>>, value: number | string): Sample => ({
  metric,
  value: String(value),
});
const buckets = (
  metric: Readonly<Record<string, string>>,
  counts: Readonly<Record<string, number>>,
): readonly Sample[] => Object.entries(counts).map(([le, count]) => at({ ...metric, le }, count));

const RECORDED: Recorded = {
  requests: [at({ ...WEB, reporter: 'destination' }, 100), at({ ...WEB, reporter: 'source' }, 90)],
  duration: [
    ...buckets({ ...WEB, reporter: 'destination' }, { '10': 50, '20': 100, '+Inf': 100 }),
    ...buckets({ ...WEB, reporter: 'source' }, { '10': 10, '20': 90, '+Inf': 90 }),
    ...buckets(OPA, { '5': 90, '10': 100, '+Inf': 100 }),
  ],
  durationSum: [at({ ...WEB, reporter: 'destination' }, 1000), at({ ...WEB, reporter: 'source' }, 1080)],
  durationCount: [at({ ...WEB, reporter: 'destination' }, 100), at({ ...WEB, reporter: 'source' }, 90)],
  bytesSum: [at({ ...WEB, reporter: 'destination' }, 80_000)],
  bytesCount: [at({ ...WEB, reporter: 'destination' }, 100)],
  connections: [at(CLUSTER, 30), at({ cluster_name: 'outbound|8080|v1|web.shop.svc.cluster.local;' }, 10)],
  upstreamRequests: [at(CLUSTER, 95)],
  http1: [at(CLUSTER, 30)],
  http2: [at(CLUSTER, 10)],
  active: [at(CLUSTER, 12)],
  cpu: [at(POD('web-1'), 0.1), at(POD('web-2'), 0.2), at(POD('stranger'), 9)],
  memory: [at(POD('web-1'), 1000), at(POD('web-2'), 2000)],
  throttled: [at(POD('web-1'), 1)],
  periods: [at(POD('web-1'), 10)],
  cpuLimit: [at(POD('web-1'), 2)],
  carriedIn: [at({ destination_workload_namespace: 'shop', destination_workload: 'web' }, 100)],
  carriedOut: [
    at({ source_workload_namespace: 'shop', source_workload: 'web' }, 50),
    at({ source_workload_namespace: 'shop', source_workload: 'unknown' }, 7),
  ],
  checksOk: [at(POD('web-1'), 30), at(POD('web-2'), 20)],
  checksDenied: [at(POD('web-1'), 5)],
};

describe('a Prometheus', () => {
  it('is asked once for each figure at the end of the window, and its answers become figures', async () => {
    const { address, asked } = await start(RECORDED);
    const metrics = await ask(address);
    expect(new Set(asked.map((one) => one.get('time')))).toEqual(new Set([String(TO / 1000)]));
    expect(
      asked.every(
        (one) =>
          one.get('query')?.includes('[3600s') === true ||
          one.get('query')?.includes('kube_pod_container_resource') === true,
      ),
    ).toBe(true);
    expect(metrics.services).toEqual([
      {
        namespace: 'shop',
        service: 'web',
        requestsPerSec: 100,
        latency: { mean: 10, p50: 10, p95: 19, p99: 19.8 },
        requestBytes: 800,
      },
      {
        namespace: 'shop',
        service: 'web',
        port: 8080,
        requestsPerSec: 95,
        connectionsPerSec: 40,
        http1Share: 0.75,
        peakConnections: 12,
      },
    ]);
    expect(metrics.proxies).toMatchObject([
      {
        workload: 'shop/Deployment/web',
        proxies: 2,
        requestsPerSec: 150,
        memoryBytes: 2000,
        throttledShare: 0.1,
        cpuLimit: 2,
      },
    ]);
    expect(metrics.proxies[0]?.cpuCores).toBeCloseTo(0.3, 9);
    expect(metrics.authorizers).toEqual([{ workload: 'shop/Deployment/web', checksPerSec: 55 }]);
    // The caller's mean is 12 ms and the server's 10: two lie between.
    expect(metrics.controls.find(({ control }) => control === 'mtls')).toMatchObject({ added: { mean: 2 } });
    expect(metrics.controls.find(({ control }) => control === 'ext-authz')?.added?.p50).toBeCloseTo(2.78, 2);
  });

  it('that has nothing gives nothing: no figure is taken as zero, and what would bring it is named', async () => {
    const { address } = await start({});
    const metrics = await ask(address);
    expect(metrics).toMatchObject({ services: [], proxies: [], authorizers: [], controls: [] });
    expect(metrics.missing.join('\n')).toMatch(/proxyStatsMatcher/u);
    expect(metrics.missing.join('\n')).toMatch(/cAdvisor/u);
  });

  it('that divides nothing by nothing is passed over', async () => {
    const { address } = await start({
      requests: [at({ ...WEB, reporter: 'destination' }, 'NaN')],
      cpu: [at(POD('web-1'), '+Inf')],
    });
    expect(await ask(address)).toMatchObject({ services: [], proxies: [] });
  });

  it('takes no more of a name into a query than the letters of a name', () => {
    const queries = Object.values(tuningQueries(['shop"} or vector(1) #'], 60, []));
    for (const query of queries) expect(query).not.toContain('vector(1)');
  });

  it.each([
    ['something else', '<html>', 'SP113'],
    ['an error', JSON.stringify({ status: 'error', error: 'no' }), 'SP113'],
    [
      'half an answer',
      JSON.stringify({
        status: 'success',
        warnings: ['one store is away'],
        data: { resultType: 'vector', result: [] },
      }),
      'SP113',
    ],
    ['a matrix', JSON.stringify({ status: 'success', data: { resultType: 'matrix', result: [] } }), 'SP113'],
    [
      'a sample without a value',
      JSON.stringify({ status: 'success', data: { resultType: 'vector', result: [{ metric: {} }] } }),
      'SP113',
    ],
  ])('that answers %s is refused', async (_, body, code) => {
    const { address } = await start({}, body);
    expect((await failureOf(ask(address))).code).toBe(code);
  });
});

describe('a file of figures', () => {
  const METRICS: TuningMetrics = {
    window: { from: TO - HOUR, to: TO },
    source: 'test',
    controls: [{ control: 'mtls', namespace: 'shop', added: { p99: 3 }, metric: 'm' }],
    services: [{ namespace: 'shop', service: 'web', port: 8080, requestsPerSec: 3 }],
    proxies: [{ workload: 'shop/Deployment/web', cpuCores: 1 }],
    authorizers: [],
    missing: ['x'],
  };

  const write = async (value: unknown): Promise<string> => {
    const file = join(await makeFolder(), 'figures.json');
    await writeFile(file, typeof value === 'string' ? value : JSON.stringify(value));
    return file;
  };

  it('is read back as it was written', async () => {
    expect(await readTuningFile(await write(tuningDocument(METRICS)))).toEqual(METRICS);
  });

  it.each<readonly [string, unknown, RegExp]>([
    ['a field that there is not', { ...tuningDocument(METRICS), more: 1 }, /more/u],
    [
      'a window that ends before it begins',
      { ...tuningDocument(METRICS), window: { from: '2026-01-02T00:00:00Z', to: '2026-01-01T00:00:00Z' } },
      /ends after/u,
    ],
    [
      'a negative figure',
      { ...tuningDocument(METRICS), services: [{ namespace: 'shop', service: 'web', requestsPerSec: -1 }] },
      /requestsPerSec/u,
    ],
    [
      'a share over one',
      { ...tuningDocument(METRICS), services: [{ namespace: 'shop', service: 'web', http1Share: 30 }] },
      /http1Share/u,
    ],
    [
      'a workload that is none',
      { ...tuningDocument(METRICS), proxies: [{ workload: 'web' }] },
      /namespace\/Kind\/name/u,
    ],
    ['no JSON', '{', /JSON/u],
    ['another kind', { kind: 'List' }, /kind/u],
  ])('with %s is refused', async (_, value, message) => {
    const file = await write(value);
    const failure = await failureOf(readTuningFile(file));
    expect(failure.code).toBe('SP112');
    expect(failure.message).toMatch(message);
  });
});

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { askRemote, grownByHour } from '../../src/sources/remote.ts';
import type { RemoteInputs, RemoteOptions } from '../../src/sources/remote.ts';
import { FLOW_SOURCES, findSource } from '../../src/sources/registry.ts';
import type { FlowSource } from '../../src/sources/flow-source.ts';
import { HOUR, MONDAY } from '../flows/build.ts';
import { describeEdges, fold } from './cluster.ts';
import { failureOf } from './flow-input.ts';

type Answer = (
  path: string,
  query: URLSearchParams,
  call: number,
) => { readonly status?: number; readonly body: string };

let close: (() => Promise<void>) | undefined;
afterEach(async () => {
  await close?.();
  close = undefined;
});

/** An engine on this machine's own address; every call is kept. */
async function start(answer: Answer): Promise<{ readonly address: string; readonly calls: URLSearchParams[] }> {
  const calls: URLSearchParams[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://engine');
    calls.push(url.searchParams);
    const { status = 200, body } = answer(url.pathname, url.searchParams, calls.length);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close = () => new Promise((resolve) => server.close(() => resolve()));
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls };
}

function source(name: string): FlowSource {
  const found = findSource(name);
  if (found === undefined) throw new Error(`there is no source ${name}`);
  return found;
}

function ask(name: string, address: string, more: Partial<RemoteOptions> = {}): Promise<RemoteInputs> {
  return askRemote(source(name), address, {
    from: MONDAY,
    to: MONDAY + 2 * HOUR,
    signal: new AbortController().signal,
    sleep: () => Promise.resolve(),
    known: () => false,
    ...more,
  });
}

const vector = (time: string, ...metrics: readonly object[]): string =>
  JSON.stringify({
    status: 'success',
    data: { resultType: 'vector', result: metrics.map((metric) => ({ metric, value: [Number(time), '3'] })) },
  });

const CALL = {
  reporter: 'destination',
  source_workload: 'web',
  source_workload_namespace: 'shop',
  source_principal: 'spiffe://cluster.local/ns/shop/sa/web',
  destination_workload: 'api',
  destination_workload_namespace: 'shop',
  destination_service: 'api.shop.svc.cluster.local',
  destination_service_name: 'api',
  destination_service_namespace: 'shop',
  connection_security_policy: 'mutual_tls',
  response_code: '200',
};

describe('a Prometheus', () => {
  it('is asked for each whole hour, at its last second, and its sums become edges', async () => {
    const { address, calls } = await start((path, query) => {
      expect(path).toBe('/prom/api/v1/query');
      const isRequests = query.get('query')?.includes('istio_requests_total') === true;
      return { body: vector(query.get('time') ?? '', ...(isRequests ? [CALL] : [])) };
    });
    const asked = await ask('istio', `${address}/prom/`, { from: MONDAY + 40_000, to: MONDAY + 2 * HOUR + 5 });
    expect(asked).toMatchObject({ hours: 2, known: 0, silent: [] });
    expect(calls.map((call) => Number(call.get('time')) * 1000 - MONDAY)).toEqual([
      HOUR - 1000,
      HOUR - 1000,
      2 * HOUR - 1000,
      2 * HOUR - 1000,
    ]);
    const { edges } = await fold(source('istio'), asked.inputs);
    expect(describeEdges(edges)).toContain('shop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 6');
    expect(edges[0]).toMatchObject({ mtls: 'yes', days: ['2026-10-05'] });
  });

  it('counts a series that began within the hour from nothing', () => {
    expect(grownByHour('m', ['a', 'b'])).toBe(
      'sum by (a, b) ((increase(m[1h]) and last_over_time(m[1h] offset 1h)) or (last_over_time(m[1h]) unless last_over_time(m[1h] offset 1h))) > 0',
    );
  });

  it('is asked again where it stumbles, and given up with what it said', async () => {
    let failures = 2;
    const { address, calls } = await start((_, query) =>
      failures-- > 0 ? { status: 503, body: 'loading' } : { body: vector(query.get('time') ?? '', CALL) },
    );
    expect((await ask('istio', address)).inputs).toHaveLength(4);
    expect(calls).toHaveLength(6);
    await close?.();
    const broken = await start(() => ({
      status: 400,
      body: '{"status":"error","error":"parse error: no such thing"}',
    }));
    expect(await failureOf(ask('istio', broken.address))).toMatchObject({
      code: 'SP258',
      exit: 2,
      message: expect.stringContaining('it answered 400: parse error') as unknown,
    });
    expect(broken.calls).toHaveLength(1);
  });

  it('that is not there is said to be not there', async () => {
    const { address } = await start(() => ({ body: '' }));
    await close?.();
    close = undefined;
    expect(await failureOf(ask('istio', address))).toMatchObject({
      code: 'SP258',
      hint: expect.stringContaining('port-forward') as unknown,
    });
  });

  it('with a hole in what it holds is told of, and with answers on record already not imported again', async () => {
    const { address } = await start((_, query) => {
      const hour = (Number(query.get('time')) * 1000 - MONDAY + 1000) / HOUR;
      return { body: vector(query.get('time') ?? '', ...(hour === 3 ? [] : [CALL])) };
    });
    const asked = await ask('caretta', address, { to: MONDAY + 5 * HOUR });
    expect(asked.silent).toEqual(['2026-10-05T02:00:00.000Z']);
    expect(asked.gaps).toMatchObject([{ source: 'caretta', from: MONDAY + 2 * HOUR, to: MONDAY + 3 * HOUR }]);
    expect(asked.inputs).toHaveLength(4);
    expect(await ask('caretta', address, { to: MONDAY + 4 * HOUR, known: () => true })).toMatchObject({
      inputs: [],
      known: 3,
    });
  });

  it('is not told to have gaps before the first that is known of it, nor in hours that may still come', async () => {
    const { address } = await start((_, query) => ({ body: vector(query.get('time') ?? '') }));
    expect((await ask('caretta', address, { to: MONDAY + 6 * HOUR })).gaps).toEqual([]);
    const asked = await ask('caretta', address, { to: MONDAY + 6 * HOUR, recordedSince: MONDAY - 5 * HOUR });
    expect(asked.silent).toEqual([0, 1, 2, 3].map((hour) => new Date(MONDAY + hour * HOUR).toISOString()));
    const since = await ask('caretta', address, { to: MONDAY + 6 * HOUR, recordedSince: MONDAY + 2.5 * HOUR });
    expect(since.silent).toEqual([2, 3].map((hour) => new Date(MONDAY + hour * HOUR).toISOString()));
  });

  it('that had read counters which did not grow has no gap: nobody called, and that is known', async () => {
    const { address } = await start((_, query) => {
      const hour = (Number(query.get('time')) * 1000 - MONDAY + 1000) / HOUR;
      if (hour === 1) return { body: vector(query.get('time') ?? '', CALL) };
      const isPresent = (query.get('query') ?? '').startsWith('count(last_over_time({__name__=~"istio_requests_total|');
      return { body: vector(query.get('time') ?? '', ...(isPresent && hour === 2 ? [{}] : [])) };
    });
    const asked = await ask('istio', address, { to: MONDAY + 5 * HOUR });
    expect(asked.silent).toEqual(['2026-10-05T02:00:00.000Z']);
    // Of a query of the user's own nobody knows what says that it was recorded.
    const own = await ask('istio', address, { to: MONDAY + 5 * HOUR, query: 'istio_requests_total' });
    expect(own.silent).toHaveLength(2);
  });

  it('that answers in part is refused', async () => {
    const { address } = await start((_, query) => ({
      body: vector(query.get('time') ?? '', CALL).replace('{', '{"warnings":["one store is down"],'),
    }));
    const { inputs } = await ask('istio', address);
    expect(await failureOf(fold(source('istio'), inputs))).toMatchObject({
      message: expect.stringContaining('not whole: one store is down') as unknown,
    });
  });
});

describe('a Loki', () => {
  it('is read page by page, with nothing lost or doubled where a page ends within a nanosecond', async () => {
    const start0 = BigInt(MONDAY) * 1_000_000n;
    // 12,000 lines, three on each nanosecond.
    const lines = Array.from({ length: 12_000 }, (_, index) => [
      String(start0 + BigInt(Math.floor(index / 3))),
      `line ${index}`,
    ]);
    const { address, calls } = await start((path, query) => {
      expect(path).toBe('/loki/api/v1/query_range');
      const from = BigInt(query.get('start') ?? 0);
      const to = BigInt(query.get('end') ?? 0);
      const values = lines.filter(([time = '0']) => BigInt(time) >= from && BigInt(time) < to).slice(0, 5000);
      return {
        body: JSON.stringify({
          status: 'success',
          data: { resultType: 'streams', result: values.length === 0 ? [] : [{ stream: { app: 'x' }, values }] },
        }),
      };
    });
    const { inputs } = await ask('hubble', address, { query: '{app="x"}', to: MONDAY + HOUR });
    expect(inputs).toHaveLength(1);
    const chunks: Uint8Array[] = [];
    for await (const chunk of inputs[0]?.open() ?? []) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString('utf8')).toBe(lines.map(([, line]) => `${line ?? ''}\n`).join(''));
    expect(calls.length).toBe(3);
  });

  it('needs to be told which lines to give, where the source cannot know', async () => {
    const { address } = await start(() => ({ body: '' }));
    expect(await failureOf(ask('hubble', address))).toMatchObject({
      code: 'SP259',
      hint: expect.stringContaining('--query') as unknown,
    });
    expect(await failureOf(ask('zeek', address))).toMatchObject({
      code: 'SP259',
      message: expect.stringContaining('from files') as unknown,
    });
    expect(await failureOf(ask('istio', address, { to: MONDAY + 1000 }))).toMatchObject({ code: 'SP259' });
    expect(await failureOf(ask('istio', address.replace('//', '//maria:secret@')))).toMatchObject({
      code: 'SP259',
      message: expect.not.stringContaining('secret') as unknown,
    });
  });
});

describe('a ClickHouse', () => {
  const SQL = 'SELECT src, dst FROM flows WHERE t >= {from} AND t < {to}';

  it('is asked hour by hour with the query, its rows are neutral edges, and their order does not show', async () => {
    const row = (port: number): string =>
      JSON.stringify({
        first: MONDAY / 1000,
        last: String(MONDAY / 1000 + 9),
        src_workload: 'shop/Deployment/web',
        dst_workload: 'shop/Deployment/api',
        protocol: 6,
        port,
        count: '3',
        verdict: 'allowed',
      });
    let turn = 0;
    const asked: string[] = [];
    const { address } = await start((path, query) => {
      expect(path).toBe('/db/');
      asked.push(query.get('query') ?? '');
      return {
        body: asked.length > 2 && turn++ === 0 ? `${row(9090)}\n${row(8080)}\n` : `${row(8080)}\n${row(9090)}\n`,
      };
    });
    const first = await ask('edges', `${address}/db`, { query: `${SQL};` });
    expect(asked[1]).toBe(
      `SELECT src, dst FROM flows WHERE t >= ${MONDAY / 1000 + 3600} AND t < ${MONDAY / 1000 + 7200} FORMAT JSONEachRow`,
    );
    const { edges } = await fold(source('edges'), first.inputs.slice(0, 1));
    expect(describeEdges(edges)).toBe(
      'shop/Deployment/web -> shop/Deployment/api 8080/TCP | allowed 3\nshop/Deployment/web -> shop/Deployment/api 9090/TCP | allowed 3\n',
    );
    const bytes = async ({ inputs }: RemoteInputs): Promise<string> => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of inputs[0]?.open() ?? []) chunks.push(chunk);
      return Buffer.concat(chunks).toString('utf8');
    };
    expect(await bytes(await ask('edges', `${address}/db`, { query: SQL }))).toBe(await bytes(first));
  });

  it('that breaks off in the middle of an answer, or a query that names no hour, is refused', async () => {
    const { address } = await start(() => ({
      body: '{"first":1}\nCode: 241, e.displayText() = DB::Exception: Memory limit',
    }));
    expect(await failureOf(ask('edges', address, { query: SQL }))).toMatchObject({
      code: 'SP258',
      message: expect.stringContaining('Memory limit') as unknown,
    });
    for (const query of ['SELECT 1', `${SQL} FORMAT CSV`])
      expect(await failureOf(ask('edges', address, { query }))).toMatchObject({ code: 'SP259' });
    expect(await failureOf(ask('edges', address))).toMatchObject({ code: 'SP259' });
  });
});

describe('sources with engines', () => {
  it('are these', () => {
    expect(
      FLOW_SOURCES.filter((one) => one.remote !== undefined)
        .map((one) => one.name)
        .sort(),
    ).toEqual(['caretta', 'coroot', 'edges', 'envoy', 'hubble', 'istio', 'linkerd', 'netobserv', 'ztunnel']);
  });
});

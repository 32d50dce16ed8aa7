// tune on the command line: figures against the budget, a plan, a run, the way back, and what is refused.
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import type { Ended } from './shop.ts';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';

const FIGURES = {
  apiVersion: 'sallyport.dev/v1',
  kind: 'TuningMetrics',
  window: { from: '2026-10-08T00:00:00Z', to: '2026-10-09T00:00:00Z' },
  source: 'a recording',
  controls: [{ control: 'mtls', namespace: 'shop', added: { p50: 1, p99: 4.5 }, metric: 'with and without' }],
  services: [
    {
      namespace: 'shop',
      service: 'web',
      port: 8080,
      requestsPerSec: 200,
      connectionsPerSec: 60,
      peakConnections: 40,
      http1Share: 1,
    },
    { namespace: 'shop', service: 'db', port: 5432, connectionsPerSec: 12 },
  ],
};

let home = '';
beforeAll(async () => {
  const web = (CLUSTER['cluster/shop.yaml'] ?? '').replace(
    'ports: [{name: tcp, port: 8080',
    'ports: [{name: http, port: 8080',
  );
  home = await makeHome({
    ...CLUSTER,
    'cluster/shop.yaml': web,
    'cluster/injection.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unrelated, namespace: shop}\n',
    'config.yaml': `${CONFIG}budget: {latency: {mtls: 3}, memoryPerProxy: 128Mi}\n`,
    'edges.jsonl': EDGES,
    'figures.json': JSON.stringify(FIGURES),
  });
  const imported = await run('observe', 'edges', 'edges.jsonl');
  expect(imported.code, imported.stderr).toBe(0);
});

const run = (...args: readonly string[]): Promise<Ended> =>
  sallyport(['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', ...args], { home });
const POOL = 'connection-pool:shop/web:8080';

interface Told {
  readonly error: { readonly code: string; readonly message: string };
}

describe('tune', () => {
  it('shows what was measured against the budget of the configuration, and what is proposed', async () => {
    const ended = await run('tune', 'shop', '--metrics', 'figures.json');
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toMatch(/mtls, p99: over, 4\.5 ms of 3 ms/u);
    expect(ended.stdout).toMatch(/network-policy, p99: unknown, not measured/u);
    expect(ended.stdout).toContain(`${POOL}: can be applied`);
    expect(ended.stdout).toContain('connection-pool:shop/db:5432: by hand');
    const named = await run('tune', 'shop', '--metrics', 'figures.json', '-o', 'name');
    expect(named.stdout.trim().split('\n')).toEqual([POOL]);
  });

  it('says what is missing in words: a file, what to write', async () => {
    const absent = await run('tune', 'shop', '--metrics', 'nope.json');
    expect([absent.code, absent.stderr]).toEqual([2, expect.stringContaining('it does not exist (SP112)')]);
    const nothing = await run('tune', 'shop', '--metrics', 'figures.json', '--no-dry-run');
    expect([nothing.code, nothing.stdout]).toEqual([2, '']);
    expect(nothing.stderr).toContain('SP110');
  });

  it('answers with one document', async () => {
    const ended = await run(
      'tune',
      'shop',
      '--metrics',
      'figures.json',
      '--budget',
      'mtls=5',
      '--budget',
      'cpu=0.5',
      '--json',
    );
    const document = documentOf(ended) as unknown as {
      kind: string;
      budget: object;
      namespaces: readonly {
        controls: readonly { control: string; answer: string }[];
        proposals: readonly { id: string; writes: readonly object[] }[];
      }[];
    };
    expect(document).toMatchObject({
      kind: 'Tuning',
      budget: { latency: { mtls: 5 }, cpuPer1000Rps: 0.5, memoryPerProxy: 134_217_728 },
    });
    expect(document.namespaces[0]?.controls.find(({ control }) => control === 'mtls')?.answer).toBe('within');
    expect(document.namespaces[0]?.proposals.find(({ id }) => id === POOL)?.writes[0]).toMatchObject({
      object: { kind: 'DestinationRule', spec: { host: 'web.shop.svc.cluster.local' } },
    });
  });

  it('plans, writes after confirmation, says that it is in force, and a rollback takes it back to the byte', async () => {
    const before = await readTree(join(home, 'cluster'));
    const words = ['tune', 'shop', '--metrics', 'figures.json', '--apply', POOL];
    const planned = await run(...words, '--json');
    expect(planned.code, planned.stdout).toBe(0);
    const { hash } = documentOf(planned) as unknown as { hash: string };
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    const done = await run(...words, '--no-dry-run', '--yes', '--plan-hash', hash, '--json');
    expect(done.code, done.stdout + done.stderr).toBe(0);
    expect(await readTree(join(home, 'cluster'))).not.toEqual(before);
    const again = await run('tune', 'shop', '--metrics', 'figures.json');
    expect(again.stdout.replaceAll(/\s+/gu, ' ')).toMatch(
      /In force: connection-pool:shop\/web:8080: new connections per request: expected 0-97 % less/u,
    );
    const status = documentOf(await run('status', '--json'));
    expect(status['tuning']).toMatchObject([
      {
        namespace: 'shop',
        id: POOL,
        run: (documentOf(done) as unknown as { readonly run: string }).run,
        expected: { metric: 'new connections per request', highPercent: 97 },
      },
    ]);
    expect((await run('status')).stdout.replaceAll(/\s+/gu, ' ')).toMatch(
      /Tuning; sallyport tune says what it came to shop: connection-pool:shop\/web:8080, since \S+Z; new connections per request: expected 0-97 % less/u,
    );
    const report = await run('assess', '--json');
    expect((documentOf(report)['progress'] as { readonly tuning: unknown }).tuning).toMatchObject([
      { namespace: 'shop', proposal: POOL, expected: { lowPercent: 0, highPercent: 97 } },
    ]);
    const back = await run('rollback', 'shop', '--yes');
    expect(back.code, back.stdout + back.stderr).toBe(0);
    expect(documentOf(await run('status', '--json'))['tuning']).toEqual([]);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });

  it.each<readonly [string, readonly string[], number, string, RegExp]>([
    ['no source of figures', [], 2, 'SP114', /not said/u],
    ['two of them', ['--metrics', 'figures.json', '--prometheus', 'http://127.0.0.1:9'], 2, 'SP114', /one place/u],
    ['a window without a unit', ['--prometheus', 'http://127.0.0.1:9', '--window', '24'], 2, 'SP114', /24/u],
    [
      'a control that there is not',
      ['--metrics', 'figures.json', '--budget', 'tls=3', '--budget', 'cpu=x'],
      2,
      'SP111',
      /tls.*cpu=x|cpu=x.*tls/su,
    ],
    ['a file that is not there', ['--metrics', 'none.json'], 2, 'SP112', /none|does not exist/iu],
    [
      'a place to save that there is not',
      ['--metrics', 'figures.json', '--save', 'none/figures.json'],
      2,
      'SP115',
      /cannot be written/u,
    ],
    ['an id that there is not', ['--metrics', 'figures.json', '--apply', 'http3:shop/web:8080'], 2, 'SP110', /http3/u],
    [
      'what is done by hand',
      ['--metrics', 'figures.json', '--apply', 'connection-pool:shop/db:5432'],
      3,
      'SP670',
      /no object/u,
    ],
    ['what is refused', ['--metrics', 'figures.json', '--apply', 'http2:shop/web:8080'], 3, 'SP670', /sidecar/u],
  ])('refuses %s', async (_, more, code, failure, message) => {
    const before = await readTree(join(home, 'cluster'));
    const ended = await run('tune', 'shop', ...more, '--json');
    expect(ended.code, ended.stdout + ended.stderr).toBe(code);
    const { error } = documentOf(ended) as unknown as Told;
    expect(error.code).toBe(failure);
    expect(error.message).toMatch(message);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });

  it('asks a Prometheus, says what it does not have, and keeps what it said for the next time', async () => {
    let asked = 0;
    const server = createServer((request, response) => {
      asked += 1;
      const { searchParams } = new URL(request.url ?? '/', 'http://engine');
      const isPeak = searchParams.get('query')?.includes('envoy_cluster_upstream_cx_active') === true;
      const result = isPeak
        ? [{ metric: { cluster_name: 'outbound|8080||web.shop.svc.cluster.local' }, value: [0, '40'] }]
        : [];
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const words = ['--prometheus', `http://127.0.0.1:${port}`, '--window', '1h', '--save', 'saved.json'];
      const ended = await run('tune', 'shop', ...words, '--json');
      expect(ended.code, ended.stdout + ended.stderr).toBe(0);
      expect(asked).toBeGreaterThan(20);
      // One line in a log, not one a question.
      expect(ended.stderr.match(/questions answered/gu)).toHaveLength(1);
      expect(ended.stderr).toContain(`asking http://127.0.0.1:${port}: 0 of ${asked} questions answered`);
      const { missing } = documentOf(ended) as unknown as { missing: readonly string[] };
      expect(missing.join('\n')).toContain('istio_requests_total');
      const again = await run('tune', 'shop', '--metrics', 'saved.json', '--json');
      expect(again.code, again.stdout).toBe(0);
      expect(documentOf(again)).toEqual(documentOf(ended));
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('prints hostile names as text', async () => {
    await writeFile(join(home, 'hostile.json'), JSON.stringify({ ...FIGURES, source: '\u001b[2Jgone' }));
    const ended = await run('tune', 'shop', '--metrics', 'hostile.json');
    expect(ended.stdout).not.toContain('\u001b[2J');
  });
});

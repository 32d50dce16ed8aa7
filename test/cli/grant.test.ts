// Access that ends by itself, on a directory of manifests: opened exactly, seen in status, ended by time, by hand, and after a crash.
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, documentOf, EDGES, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const NOW = Date.UTC(2026, 9, 20, 12);
const at = (minutes: number): string => new Date(NOW + minutes * 60_000).toISOString();
let home: string;

const run = (minutes: number, ...args: readonly string[]): Promise<Ended> =>
  sallyport(
    [...args, '--manifests', join(home, 'cluster'), '--config', join(home, 'config.yaml'), '--now', at(minutes)],
    { home },
  );

async function must(minutes: number, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const ended = await run(minutes, ...args, '--json');
  expect(ended.code, `${args.join(' ')}: ${ended.stderr}${ended.stdout}`).toBe(0);
  return documentOf(ended);
}

async function refused(
  ...args: readonly string[]
): Promise<{ code: string; message: string; hint: string; exit: number }> {
  const ended = await run(0, ...args, '--json');
  const error = documentOf(ended)['error'] as { code: string; message: string; hint: string };
  return { ...error, exit: ended.code ?? -1 };
}

const reach = async (minutes: number, ...more: readonly string[]): Promise<readonly string[]> =>
  (
    (await must(minutes, 'reach', ...more))['connections'] as {
      src: string;
      dst: string;
      allowed: { from: number; to: number; protocol: string }[];
    }[]
  )
    .filter(({ allowed }) => allowed.length > 0)
    .map(
      ({ src, dst, allowed }) =>
        `${src} -> ${dst} ${allowed.map((one) => `${one.from}-${one.to}/${one.protocol}`).join()}`,
    );

const TOOLBOX = ['--from', 'desk/Deployment/toolbox', '--to', 'shop/Deployment/db', '--port', '5432'] as const;
const WHY = ['--reason', 'incident 17'] as const;

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'edges.jsonl': EDGES, 'config.yaml': `${CONFIG}grants: {maxMinutes: 120}\n` });
  await must(0, 'observe', 'edges', join(home, 'edges.jsonl'));
  await must(0, 'accept', 'src=desk/Deployment/toolbox', '--reason', 'a forgotten toolbox');
  await must(0, 'advance', 'shop', '--to', 'allow-list', '--yes');
});

describe('a grant of a connection', () => {
  it('opens that port of that pair and nothing else, and leaves no trace when it is revoked', async () => {
    const before = await readTree(join(home, 'cluster'));
    const closed = await reach(0);
    const opened = await must(0, 'grant', ...TOOLBOX, '--for', '30m', ...WHY, '--yes');
    expect(opened).toMatchObject({
      kind: 'Grant',
      outcome: 'opened',
      grant: { kind: 'connection', until: at(30), reason: 'incident 17', state: 'open' },
      opens: [
        {
          src: 'desk/Deployment/toolbox',
          dst: 'shop/Deployment/db',
          opened: [{ protocol: 'TCP', from: 5432, to: 5432 }],
          closed: [],
        },
      ],
    });
    const open = await reach(0);
    expect(open.filter((one) => !closed.includes(one))).toEqual([
      'desk/Deployment/toolbox -> shop/Deployment/db 5432-5432/TCP',
    ]);
    expect(closed.filter((one) => !open.includes(one))).toEqual([]);
    const { id } = opened['grant'] as { id: string };
    const list = await must(0, 'grant', 'list');
    expect(list['grants']).toMatchObject([{ id, state: 'open', by: expect.stringContaining('tester') as string }]);
    expect((await must(0, 'status'))['grants']).toMatchObject([{ id }]);
    expect((await run(0, 'status')).stdout).toContain(`${id} connection`);
    expect((await must(0, 'verify', 'shop'))['drift']).toEqual([]);
    await must(5, 'grant', 'revoke', id);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    expect((await must(5, 'grant', 'list'))['grants']).toEqual([]);
    const trail = (await must(5, 'audit', '--namespace', 'shop'))['entries'] as { what: string; reason: string }[];
    expect(trail.filter(({ what }) => /access/.test(what)).map(({ what, reason }) => [what, reason])).toEqual([
      ['access granted for a while', 'incident 17'],
      ['access ended', expect.stringContaining('incident 17')],
    ]);
  });

  it('is ended by the next run when its time is over, and named until then', async () => {
    const before = await readTree(join(home, 'cluster'));
    await must(0, 'grant', ...TOOLBOX, '--for', '30m', '--reason', 'incident 18', '--yes');
    expect((await run(29, 'grant', 'list')).stdout).not.toContain('SP380');
    expect((await run(30, 'grant', 'list')).stdout).toContain('SP380');
    expect((await run(31, 'status')).stdout).toContain('(SP380)');
    const ended = await must(31, 'grant', 'expire');
    expect(ended['ended']).toMatchObject([{ what: 'desk/Deployment/toolbox -> shop/Deployment/db 5432/TCP' }]);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    expect((await must(31, 'grant', 'expire'))['ended']).toEqual([]);
  });

  it('is named where it is over and on another record (SP381)', async () => {
    const file = join(home, 'cluster', 'foreign.yaml');
    await writeFile(
      file,
      `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: elsewhere
  namespace: desk
  labels: {sallyport.dev/grant: gffffffff, app.kubernetes.io/managed-by: sallyport}
  annotations: {sallyport.dev/expires-at: "2026-01-01T00:00:00.000Z"}
spec: {podSelector: {matchLabels: {app: none}}, policyTypes: [Ingress]}
`,
    );
    const { beside } = await must(31, 'grant', 'expire');
    expect(beside).toMatchObject([{ grant: 'gffffffff', outcome: expect.stringContaining('SP381') as string }]);
    await rm(file);
  });

  it('is no drift when somebody else has ended it, and is then taken down as ended', async () => {
    const opened = await must(0, 'grant', ...TOOLBOX, '--for', '30m', '--reason', 'incident 19', '--yes');
    const { id } = opened['grant'] as { id: string };
    await rm(join(home, 'cluster', 'sallyport', 'shop', `networkpolicy-sallyport-grant-${id}-ingress.yaml`));
    expect((await must(31, 'verify', 'shop'))['drift']).toEqual([]);
    expect((await must(31, 'grant', 'expire'))['ended']).toHaveLength(1);
    expect((await must(31, 'grant', 'list'))['grants']).toEqual([]);
  });

  it('goes with the phase that it stands beside', async () => {
    await must(0, 'grant', ...TOOLBOX, '--for', '30m', '--reason', 'incident 20', '--yes');
    await must(1, 'rollback', 'shop', '--to', 'monitor', '--yes');
    expect((await must(1, 'grant', 'list'))['grants']).toEqual([]);
    expect((await must(1, 'status'))['namespaces']).toMatchObject([{ namespace: 'shop', phase: 'monitor' }]);
    await must(1, 'advance', 'shop', '--to', 'allow-list', '--yes');
  });

  it('has the same plan each time it is asked for until a moment', async () => {
    const ask = [...TOOLBOX, '--until', at(20), ...WHY];
    const first = await run(0, 'grant', ...ask, '--json');
    expect(first.code).toBe(2);
    const { hash } = (documentOf(first) as unknown as { plan: { hash: string } }).plan;
    const second = await run(0, 'grant', ...ask, '--yes', '--plan-hash', '0'.repeat(64), '--json');
    expect(second.code).toBe(3);
    const opened = await must(0, 'grant', ...ask, '--yes', '--plan-hash', hash);
    await must(0, 'grant', 'revoke', (opened['grant'] as { id: string }).id);
  });

  it('is no evidence: what passed under it may be cut, and no later plan makes it last', async () => {
    const opened = await must(
      0,
      'grant',
      '--from',
      'desk/Deployment/toolbox',
      '--to',
      'shop/Deployment/web',
      '--port',
      '8080',
      '--for',
      '30m',
      ...WHY,
      '--yes',
    );
    const seen = at(10);
    await writeFile(
      join(home, 'granted.jsonl'),
      JSON.stringify({
        first: seen,
        last: seen,
        src: { workload: 'desk/Deployment/toolbox' },
        dst: { workload: 'shop/Deployment/web' },
        protocol: 'TCP',
        port: 8080,
        count: 3,
        verdict: 'allowed',
      }),
    );
    await must(11, 'observe', 'edges', join(home, 'granted.jsonl'));
    await must(12, 'grant', 'revoke', (opened['grant'] as { id: string }).id);
    const plan = await must(13, 'plan', 'shop', '--to', 'allow-list');
    expect(plan['denied']).toEqual([]);
    expect(JSON.stringify(plan['steps'])).not.toContain('toolbox');
    expect((await must(13, 'verify', 'shop'))['gates']).not.toContainEqual(expect.objectContaining({ answer: 'no' }));
  });
});

describe('a grant to a person', () => {
  it('names the pods in which a session outlives it: while it stands, and when it ends', async () => {
    const file = join(home, 'cluster', 'bare.yaml');
    await writeFile(
      file,
      'apiVersion: v1\nkind: Pod\nmetadata: {name: bare, namespace: shop, labels: {app: bare}}\nspec: {containers: [{name: main, image: x}]}\n',
    );
    await must(0, 'grant', '--user', 'jane', '--exec', 'shop/bare', '--for', '30m', ...WHY, '--yes');
    expect((await must(1, 'grant', 'list'))['grants']).toMatchObject([{ kind: 'person', pods: ['shop/bare'] }]);
    for (const command of [['grant', 'list'], ['status']])
      expect((await run(1, ...command)).stdout.replace(/\s+/gu, ' ')).toContain(
        '(SP384) its end closes no session: one that is open in shop/bare goes on',
      );
    const { ended } = (await must(31, 'grant', 'expire')) as { ended: readonly { leftOpen: readonly string[] }[] };
    expect(ended.flatMap(({ leftOpen }) => leftOpen)).toEqual([
      '(SP384) a session in shop/bare that is open goes on until its client leaves: kubectl delete pod -n shop bare ends it',
    ]);
    expect((await must(32, 'grant', 'list'))['grants']).toEqual([]);
    await rm(file);
  });
});

describe('a grant that cannot be as it was asked for', () => {
  it.each([
    [
      ['--from', 'shop/Deployment/web', '--to', 'shop/Deployment/db', '--port', '5432', '--for', '5m', ...WHY],
      'SP632',
      3,
      'let through already',
    ],
    [[...TOOLBOX, '--for', '3h', ...WHY], 'SP266', 2, '3 h is longer than allowed'],
    [[...TOOLBOX, ...WHY], 'SP266', 2, 'without an end'],
    [[...TOOLBOX, '--until', at(-5), ...WHY], 'SP266', 2, 'over already'],
    [[...TOOLBOX, '--for', '5m'], 'SP237', 2, '--reason is missing'],
    [
      ['--from', 'shop/Deployment/ghost', '--to', 'shop/Deployment/db', '--port', '99999', '--for', '5m', ...WHY],
      'SP267',
      2,
      'no workload shop/Deployment/ghost; --port 99999 is no port',
    ],
    [[...TOOLBOX, '--user', 'jane', '--for', '5m', ...WHY], 'SP267', 2, 'two grants'],
    [['--user', 'jane', '--exec', 'shop/none', '--for', '5m', ...WHY], 'SP267', 2, 'no pod shop/none'],
    [['--group', 'system:authenticated', '--exec', 'shop/none', '--for', '5m', ...WHY], 'SP267', 2, 'is everybody'],
    [['revoke', 'g00000000'], 'SP634', 2, 'no grant g00000000'],
  ])('%j', async (args, code, exit, message) => {
    const before = await readTree(join(home, 'cluster'));
    const error = await refused('grant', ...args, '--yes');
    expect(error).toMatchObject({ code, exit });
    expect(error.message).toContain(message);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });
});

describe('break-glass', () => {
  it('suspends what the phase enforces, keeps the phase, and comes back as it was', async () => {
    const before = await readTree(join(home, 'cluster'));
    const closed = await reach(0);
    const opened = await must(0, 'break-glass', 'shop', '--for', '15m', ...WHY, '--yes');
    const { id } = opened['grant'] as { id: string };
    const open = await reach(0);
    expect(open.length).toBeGreaterThan(closed.length);
    expect((await must(0, 'status'))['namespaces']).toMatchObject([{ namespace: 'shop', phase: 'allow-list' }]);
    expect(await refused('advance', 'shop', '--yes')).toMatchObject({ code: 'SP636', exit: 3 });
    expect(await refused('break-glass', 'shop', '--for', '5m', ...WHY, '--yes')).toMatchObject({ code: 'SP636' });
    expect(await refused('break-glass', 'desk', '--for', '5m', ...WHY, '--yes')).toMatchObject({ code: 'SP635' });
    const ended = await must(16, 'grant', 'expire');
    expect(ended['ended']).toMatchObject([{ id }]);
    expect(await reach(16)).toEqual(closed);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    expect(await readFile(join(home, 'cluster', 'shop.yaml'), 'utf8')).toContain('Deployment');
  });
});

// Incidents from end to end: shown, carried out, interrupted, listed, told, undone.
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { escalationBody, sendEscalation } from '../../src/cli/escalations.ts';
import type { Message } from '../../src/cli/escalations.ts';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';

let home = '';

async function expected(code: number, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const ended = await sallyport(
    ['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', ...args, '--json'],
    { home },
  );
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return documentOf(ended);
}

async function bytes(): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(join(home, 'cluster'), { recursive: true, withFileTypes: true })).filter((one) =>
    one.isFile(),
  );
  const texts: Record<string, string> = {};
  for (const one of names) texts[one.name] = await readFile(join(one.parentPath, one.name), 'utf8');
  return texts;
}

describe('an incident', () => {
  beforeEach(async () => {
    home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
    await expected(0, 'observe', 'edges', 'edges.jsonl');
  });

  it('is shown, carried out with a reason, listed, told and undone, to the byte', async () => {
    const before = await bytes();
    const shown = await expected(0, 'incident', 'quarantine', 'shop/Deployment/db');
    expect(shown).toMatchObject({ outcome: 'dry-run', reversible: true });
    expect((shown['effect'] as { readonly cut: readonly unknown[] }).cut).toHaveLength(2);
    expect(await bytes()).toEqual(before);
    const write = ['incident', 'quarantine', 'shop/Deployment/db', '--no-dry-run'];
    expect(await expected(2, ...write, '--yes')).toMatchObject({ error: { code: 'SP209' } });
    expect(await expected(2, ...write, '--reason', 'calls home')).toMatchObject({ error: { code: 'SP496' } });
    expect(await expected(3, ...write, '--reason', 'calls home', '--yes', '--cap', '1')).toMatchObject({
      error: { code: 'SP495' },
    });
    expect(await bytes()).toEqual(before);
    const done = await expected(0, ...write, '--reason', 'calls home', '--yes');
    const { id } = done['incident'] as { readonly id: string };
    expect(done).toMatchObject({ outcome: 'done' });
    expect(Object.values(await bytes()).join('')).toContain('ingressDeny');
    expect(await expected(0, 'incident', 'list')).toMatchObject({
      incidents: [{ id, playbook: 'quarantine', state: 'in force' }],
    });
    const told = await sallyport(
      ['--manifests', 'cluster', '--state', 'state.sqlite', 'incident', 'show', id, '-o', 'md'],
      { home },
    );
    expect(told.stdout).toMatch(/^# Incident `inc-[0-9a-f]{8}`: quarantine shop\/Deployment\/db/u);
    expect(told.stdout).toContain('calls home');
    expect(await expected(0, 'incident', 'undo', id, '--no-dry-run', '--yes')).toMatchObject({ outcome: 'done' });
    expect(await bytes()).toEqual(before);
    expect(await expected(0, 'incident', 'list')).toMatchObject({ incidents: [{ id, state: 'undone' }] });
  });

  it('of what is not there, or of a rotation that nobody confirmed as final, is refused', async () => {
    expect(await expected(2, 'incident', 'quarantine', 'shop/Deployment/nobody')).toMatchObject({
      error: { code: 'SP209' },
    });
    expect(await expected(2, 'incident', 'undo', 'inc-00000000')).toMatchObject({ error: { code: 'SP209' } });
    expect(await expected(3, 'incident', 'rotate', 'shop/nobody')).toMatchObject({
      error: {
        code: 'SP494',
        where: 'ServiceAccount shop/nobody',
        message: expect.stringMatching(/^SP39\d: /u) as string,
      },
    });
    expect(await expected(2, 'incident', 'block', '203.0.113.9')).toMatchObject({ error: { code: 'SP209' } });
    expect(await expected(2, 'incident', 'stop', 'inc-00000000', '--reason', 'x')).toMatchObject({
      error: { code: 'SP209' },
    });
  });
});

describe('telling people', () => {
  const message: Message = {
    key: 'k',
    summary: 'web calls home with token=abcdef and https://u:p@example.com <!channel> @here',
    severity: 'error',
    at: 0,
    subject: 'shop/Deployment/web',
  };
  const servers: { close(): void }[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  async function receiver(
    answers: readonly number[],
  ): Promise<{ readonly url: string; readonly got: { readonly path: string; readonly body: unknown }[] }> {
    const got: { path: string; body: unknown }[] = [];
    const server = createServer((request, response) => {
      let text = '';
      request.setEncoding('utf8').on('data', (part: string) => (text += part));
      request.on('end', () => {
        got.push({ path: request.url ?? '', body: JSON.parse(text) as unknown });
        response.writeHead(answers[got.length - 1] ?? 200).end();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, got };
  }

  it.each(['alertmanager', 'slack', 'pagerduty'] as const)(
    'by %s carries no credential, no mention and one line',
    (kind) => {
      const text = JSON.stringify(escalationBody(kind, message, 'routing'));
      expect(text).toContain('web calls home');
      expect(text).not.toMatch(/abcdef|u:p@|<!|@here/u);
      expect(text.includes('routing')).toBe(kind === 'pagerduty');
    },
  );

  it('tries again where the receiver is busy, with growing pauses, and says how often', async () => {
    const { url, got } = await receiver([503, 429, 200]);
    const slept: number[] = [];
    const network = { fetch, sleep: (ms: number) => Promise.resolve(void slept.push(ms)) };
    expect(await sendEscalation({ kind: 'alertmanager', url }, message, network)).toEqual({
      to: 'alertmanager',
      outcome: 'sent',
      attempts: 3,
    });
    expect(got.map(({ path }) => path)).toEqual(['/api/v2/alerts', '/api/v2/alerts', '/api/v2/alerts']);
    expect(slept).toEqual([500, 1000]);
  });

  it('gives up on a refusal at once, and after five times on silence, without showing the address', async () => {
    const network = { fetch, sleep: () => Promise.resolve() };
    const { url } = await receiver([400]);
    expect(await sendEscalation({ kind: 'slack', url }, message, network)).toMatchObject({
      outcome: 'failed',
      attempts: 1,
    });
    const gone = await sendEscalation({ kind: 'slack', url: 'http://127.0.0.1:1/T00/B00/secret' }, message, network);
    expect(gone).toMatchObject({ outcome: 'failed', attempts: 5 });
    expect(JSON.stringify(gone)).not.toContain('secret');
  });
});

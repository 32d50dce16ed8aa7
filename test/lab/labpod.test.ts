// The pods' program by itself, on loopback: what it writes down is what happened.
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseAttempts } from './ledger.ts';
import type { Attempt } from './ledger.ts';
import { buildLabPod } from './pod/build.ts';

let program = '';
let dir = '';
const running: ChildProcess[] = [];

beforeAll(() => {
  program = buildLabPod();
  dir = mkdtempSync(join(tmpdir(), 'sallyport-labpod-'));
});
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly attempts: readonly Attempt[];
  readonly stderr: string;
}

function play(
  config: object,
  env: Readonly<Record<string, string>> = {},
): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(program, ['--config', JSON.stringify(config)], {
    env: { POD_NAME: 'me', LABPOD_DIR: dir, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve) =>
    child.once('close', (code) => resolve({ code, stderr, attempts: [...parseAttempts(stdout)] })),
  );
  return { child, ended };
}

/** A port that nobody listens on right now. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

const client = (more: object): object => ({
  clients: [{ everyMs: 20, count: 3, ...more }],
  exit: true,
  startAfterMs: 0,
});
async function serving(server: object): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort();
  const { child } = play({ servers: [{ port, ...server }], drainMs: 0 });
  await expect
    .poll(
      async () =>
        (
          await play(
            client({ to: '127.0.0.1', port, count: 1, kind: 'kind' in server ? clientKind(server.kind) : 'http' }),
          ).ended
        ).code,
    )
    .toBe(0);
  return { port, child };
}
const clientKind = (kind: unknown): string => (typeof kind === 'string' ? kind : 'http');

describe('servers and clients of the lab', () => {
  it.each(['http', 'h2c', 'tcp', 'udp'])('speak %s, every attempt a line of its own', async (kind) => {
    const { port } = await serving({ kind });
    const { code, attempts } = await play(client({ name: 'a', to: '127.0.0.1', port, kind })).ended;
    expect(code).toBe(0);
    expect(attempts).toHaveLength(3);
    for (const attempt of attempts) {
      expect(attempt).toMatchObject({
        client: 'a',
        kind,
        port,
        ok: true,
        by: 'me',
        expect: 'pass',
        newConnection: true,
      });
      expect(attempt.latencyUs).toBeGreaterThan(0);
      expect(attempt.retransmits).toBe(0);
    }
  });

  it('class what fails, and try nothing twice', async () => {
    const port = await freePort();
    const refused = await play(client({ to: '127.0.0.1', port, kind: 'http' })).ended;
    expect(refused.code).toBe(1);
    expect(refused.attempts.map((one) => [one.ok, one.err])).toEqual([1, 2, 3].map(() => [false, 'refused']));
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port: deaf } = silent.address() as AddressInfo;
    const late = await play(client({ to: '127.0.0.1', port: deaf, kind: 'tcp', timeoutMs: 60, count: 1 })).ended;
    expect(late.attempts).toMatchObject([{ ok: false, err: 'timeout' }]);
    silent.close();
  });

  it('say which part of a chain failed', async () => {
    const gone = await freePort();
    const { port } = await serving({
      kind: 'http',
      forward: [],
    });
    const middle = await freePort();
    play({ servers: [{ kind: 'http', port: middle, forward: [{ name: 'next', to: '127.0.0.1', port: gone }] }] });
    await expect
      .poll(async () => (await play(client({ to: '127.0.0.1', port: middle, path: '/healthz', count: 1 })).ended).code)
      .toBe(0);
    const { attempts } = await play(client({ to: '127.0.0.1', port: middle, count: 1 })).ended;
    expect(attempts).toMatchObject([{ ok: false, err: 'status', status: 502 }]);
    expect(attempts[0]?.text).toContain(`127.0.0.1:${gone} refused`);
    expect((await play(client({ to: '127.0.0.1', port, count: 1 })).ended).code).toBe(0);
  });

  it('go on serving after SIGTERM until the pod is out of the endpoints', async () => {
    const port = await freePort();
    const { child, ended } = play({ servers: [{ kind: 'http', port }], drainMs: 400 });
    const ask = async (): Promise<number | null> =>
      (await play(client({ to: '127.0.0.1', port, count: 1 })).ended).code;
    await expect.poll(ask).toBe(0);
    child.kill('SIGTERM');
    expect(await ask()).toBe(0);
    expect((await ended).code).toBe(0);
    expect(await ask()).toBe(1);
  });

  it('wait for the file that arms them', async () => {
    const { port } = await serving({ kind: 'tcp' });
    const { ended } = play(client({ to: '127.0.0.1', port, kind: 'tcp', when: 'armed', count: 2 }));
    const begun = new Date().toISOString();
    writeFileSync(join(dir, 'armed'), '');
    const { attempts } = await ended;
    expect(attempts).toHaveLength(2);
    expect(attempts.every((one) => one.t >= begun)).toBe(true);
  });
});

describe('the name server of the lab', () => {
  it('answers from its file, and what it does not know with no', async () => {
    writeFileSync(join(dir, 'dns.json'), JSON.stringify({ 'web.shop': ['127.0.0.1'], 'none.shop': [] }));
    const dns = await freePort();
    play({ servers: [{ kind: 'dns', port: dns }] });
    const { port } = await serving({ kind: 'http' });
    const env = { DNS_SERVER: `127.0.0.1:${dns}` };
    await expect.poll(async () => (await play(client({ to: 'web.shop', port, count: 1 }), env).ended).code).toBe(0);
    const full = await play(client({ to: 'web.shop.svc.cluster.local', port, count: 1 }), env).ended;
    expect(full.attempts).toMatchObject([
      { client: 'dns', kind: 'dns', ok: true },
      { dst: 'web.shop.svc.cluster.local', ip: '127.0.0.1', ok: true },
    ]);
    for (const to of ['other.shop', 'none.shop']) {
      const { attempts } = await play(client({ to, port, count: 1 }), env).ended;
      // The question was answered; the connection has nowhere to go.
      expect(attempts).toMatchObject([
        { client: 'dns', ok: true },
        { ok: false, err: 'resolve' },
      ]);
    }
  });
});

describe('training workers', () => {
  it('find each other at the rendezvous and talk on ports that the kernel chose', async () => {
    writeFileSync(join(dir, 'dns.json'), JSON.stringify({ 'gnn.train': ['127.0.0.11', '127.0.0.12', '127.0.0.13'] }));
    const [dns, port] = [await freePort(), await freePort()];
    play({ servers: [{ kind: 'dns', port: dns }] });
    const workers = ['127.0.0.11', '127.0.0.12', '127.0.0.13'].map((own) =>
      play(
        { peers: { rendezvous: 'gnn.train', port, own, listeners: 3, everyMs: 50, reopenMs: 300 }, startAfterMs: 100 },
        { DNS_SERVER: `127.0.0.1:${dns}` },
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 2000));
    // They end one after the other, and who is left calls somebody who is gone.
    const last = new Date().toISOString();
    for (const { child } of workers) child.kill('SIGTERM');
    const attempts = (await Promise.all(workers.map(({ ended }) => ended)))
      .flatMap((one) => one.attempts)
      .filter((one) => one.t < last);
    const ring = attempts.filter((one) => one.client === 'ring');
    expect(ring.filter((one) => !one.ok)).toEqual([]);
    expect(new Set(ring.map((one) => one.port)).size).toBeGreaterThan(5);
    expect(ring.every((one) => one.port > 1024)).toBe(true);
    expect(attempts.filter((one) => one.client === 'rendezvous').every((one) => one.port === port)).toBe(true);
  });
});

describe('a configuration that is wrong', () => {
  it.each([
    ['{', /does not read/],
    ['{"cleints": []}', /unknown field "cleints"/],
    ['{"clients": [{"to": "a", "port": 0}]}', /is not name:port/],
    ['{"clients": [{"to": "a", "port": 1, "kind": "ftp"}]}', /no kind "ftp"/],
    ['{"clients": [{"to": "a", "port": 1, "expect": "maybe"}]}', /pass or blocked/],
  ])('%s ends with exit 2 and says why', async (text, message) => {
    const child = spawn(program, ['--config', text]);
    running.push(child);
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part));
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(2);
    expect(stderr).toMatch(message);
  });
});

// The watch as a person or a Deployment starts it, on a fake API server: what it prints, what it answers over HTTP, who leads, how it ends.
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { watch } from '../../src/cli/commands/watch.ts';
import type { WatchOptions } from '../../src/cli/commands/watch.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App } from '../../src/cli/context.ts';
import type { Interrupt } from '../../src/cli/interrupt.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import type { Output } from '../../src/cli/output.ts';
import { parseListen } from '../../src/cli/watch-serve.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { generate, idOf } from '../watch/world.ts';

interface Running {
  readonly interrupt: Interrupt;
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly notes: readonly string[];
  readonly ended: Promise<number>;
  /** Waits for a line. */
  until(is: (line: Readonly<Record<string, unknown>>) => boolean): Promise<Readonly<Record<string, unknown>>>;
}

let dir = '';
let server: FakeApi;
let running: { readonly one: Running; readonly app: App }[] = [];

function start(options: WatchOptions, source?: string, inputs: readonly string[] = [], own = 'one'): Running {
  const interrupt = openInterrupt();
  const lines: Readonly<Record<string, unknown>>[] = [];
  const notes: string[] = [];
  let heard: (() => void)[] = [];
  const output: Output = {
    json: false,
    color: false,
    width: 80,
    interactive: false,
    documented: false,
    line: () => undefined,
    document: () => undefined,
    names: () => undefined,
    raw: (text) => {
      for (const line of text.split('\n')) if (line !== '') lines.push(JSON.parse(line) as Record<string, unknown>);
      for (const one of heard) one();
    },
    note: (text) => {
      notes.push(text);
      for (const one of heard) one();
    },
    progress: () => undefined,
    event: () => false,
  };
  const app = openApp(
    { kubeconfig: server.kubeconfig, state: join(dir, `${own}.sqlite`) },
    output,
    { XDG_STATE_HOME: dir },
    interrupt,
  );
  const ended = watch(app, source, inputs, { output: 'jsonl', ...options });
  // What fails is seen where it is awaited.
  ended.catch(() => undefined);
  const one: Running = {
    interrupt,
    lines,
    notes,
    ended,
    until: (is) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          const found = lines.find(is);
          if (found === undefined) return;
          heard = heard.filter((other) => other !== check);
          resolve(found);
        };
        heard.push(check);
        ended.catch(reject);
        check();
      }),
  };
  running.push({ one, app });
  return one;
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-watch-'));
  server = await startFakeApi({ objects: generate(1).objects });
  server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
  server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'ops' } });
});
afterEach(async () => {
  for (const { one } of running) one.interrupt.stop();
  for (const { one, app } of running) {
    await one.ended.catch(() => undefined);
    await app.close();
  }
  running = [];
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

const edge = (src: string, dst: string, port: number): string =>
  `${JSON.stringify({
    first: '2026-01-01T00:00:00Z',
    last: '2026-01-01T00:00:00Z',
    src: { workload: src },
    dst: { workload: dst },
    protocol: 'TCP',
    port,
    count: 1,
    verdict: 'allowed',
  })}\n`;

describe('sallyport watch', () => {
  it('follows cluster and flows, answers over HTTP, and ends when it is told to', async () => {
    const file = join(dir, 'flows.jsonl');
    writeFileSync(file, edge(idOf(0, 0), idOf(0, 1), 8080));
    const port = 20_000 + (process.pid % 20_000);
    const one = start({ listen: `127.0.0.1:${port}` }, 'edges', [file]);
    const ask = async (path: string): Promise<{ status: number; text: string }> => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: answer.status, text: await answer.text() };
    };
    await one.until(({ event }) => event === 'watching');
    // Nothing is on record at first, so that the first caller is one.
    expect(await one.until(({ kind }) => kind === 'new-caller')).toMatchObject({
      apiVersion: 'sallyport.dev/v1',
      event: 'notice',
      state: 'raised',
      source: idOf(0, 0),
      destination: idOf(0, 1),
      port: '8080/TCP',
    });
    await expect.poll(async () => (await ask('/readyz')).status, { timeout: 50_000, interval: 200 }).toBe(200);
    expect(await ask('/healthz')).toMatchObject({ status: 200 });
    const metrics = await ask('/metrics');
    expect(metrics.text).toContain('sallyport_ready 1');
    expect(metrics.text).toContain('sallyport_notices_total{kind="new-caller",severity="warning",state="raised"} 1');
    expect((await ask('/anything')).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${port}/metrics`, { method: 'POST' })).status).toBe(405);
    appendFileSync(file, edge(idOf(0, 2), idOf(0, 1), 8080));
    await one.until(({ kind, source }) => kind === 'new-caller' && source === idOf(0, 2));
    one.interrupt.stop();
    await expect(one.ended).resolves.toBe(0);
    expect(one.lines.at(-1)).toMatchObject({ event: 'ended' });
    await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
  });

  it('of two one leads, the other waits, and takes over when the first has ended', async () => {
    const first = start({ lead: 'ops' });
    await first.until(({ event }) => event === 'watching');
    const second = start({ lead: 'ops' }, undefined, [], 'two');
    const wait = new Promise<void>((resolve) => {
      const look = (): void => (second.notes.length > 0 ? resolve() : void setTimeout(look, 50));
      look();
    });
    await wait;
    expect(second.notes[0]).toContain('waiting for the lead: the lead among watches: held by');
    expect(second.lines).toEqual([]);
    first.interrupt.stop();
    await expect(first.ended).resolves.toBe(0);
    // Given back, not left to run out.
    expect(server.objects().filter(({ kind }) => kind === 'Lease')).toEqual([]);
    await second.until(({ event }) => event === 'watching');
  });

  it('tells what somebody’s change of policies opens', async () => {
    const port = 20_000 + ((process.pid + 1) % 20_000);
    const one = start({ listen: `127.0.0.1:${port}` });
    await one.until(({ event }) => event === 'watching');
    const ready = async (): Promise<number> => (await fetch(`http://127.0.0.1:${port}/readyz`)).status;
    await expect.poll(ready, { timeout: 50_000, interval: 200 }).toBe(200);
    for (const [name, field] of [
      ['sallyport-app-5-egress', 'egress'],
      ['sallyport-app-1-ingress', 'ingress'],
    ] as const) {
      const policy = server.objects().find(({ metadata }) => metadata.name === name);
      if (policy === undefined) throw new Error(`${name} is not there`);
      server.put({ ...policy, spec: { ...(policy['spec'] as object), [field]: [{}] } });
    }
    expect(await one.until(({ kind }) => kind === 'policy-changed')).toMatchObject({
      event: 'notice',
      severity: 'info',
      opened: 1,
      closed: 0,
      examples: [`${idOf(0, 5)} -> ${idOf(0, 1)} 1-65535/TCP, ...`],
    });
  });

  it.each([
    [{ listen: '9464' }, 'SP249'],
    [{ listen: 'host:99999' }, 'SP249'],
    [{ for: 'long' }, 'SP296'],
  ] as const)('refuses %j', async (options, code) => {
    await expect(start(options).ended).rejects.toMatchObject({ detail: { code } });
  });

  it('refuses a source that is none, or one without its input', async () => {
    await expect(start({}, 'nonsense', ['x']).ended).rejects.toMatchObject({ detail: { code: 'SP249' } });
    await expect(start({}, 'edges', []).ended).rejects.toMatchObject({ detail: { code: 'SP249' } });
  });
});

it.each([
  [':9464', { host: undefined, port: 9464 }],
  ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
  ['[::1]:80', { host: '::1', port: 80 }],
])('an address to listen at: %s', (text, expected) => {
  expect(parseListen(text)).toEqual(expected);
});

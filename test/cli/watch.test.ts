// The watch as a person or a Deployment starts it, on a fake API server: what it prints, what it answers over HTTP, who leads, how it ends.
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseListen } from '../../src/cli/watch-serve.ts';
import { idOf } from '../watch/world.ts';
import type { Place } from './watching.ts';
import { openPlace } from './watching.ts';

let place: Place;
const start: Place['start'] = (...all) => place.start(...all);

beforeEach(async () => {
  place = await openPlace();
});
afterEach(() => place.close());

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
    const file = join(place.dir, 'flows.jsonl');
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
    expect(place.server.objects().filter(({ kind }) => kind === 'Lease')).toEqual([]);
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
      const policy = place.server.objects().find(({ metadata }) => metadata.name === name);
      if (policy === undefined) throw new Error(`${name} is not there`);
      place.server.put({ ...policy, spec: { ...(policy['spec'] as object), [field]: [{}] } });
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

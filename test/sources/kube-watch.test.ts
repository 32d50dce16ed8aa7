// The watch on pods against the fake API server: what is told, what is not missed, and what is said where something was.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectKube, openDiscovery, watchObjects } from '../../src/sources/kube/index.ts';
import type { KubeApi } from '../../src/sources/kube/index.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi, statusBody } from '../support/fake-api/server.ts';
import type { WaitingClock } from '../support/waiting-clock.ts';
import { waitingClock } from '../support/waiting-clock.ts';

let server: FakeApi;
let api: KubeApi;
let clock: WaitingClock;
let stop: AbortController;
let told: string[];
let watching: Promise<void>;
let heard: (() => void)[] = [];

const pod = (name: string, parts: Record<string, string> = {}): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', labels: parts },
});

function start(): void {
  const tell = (text: string): void => {
    told.push(text);
    for (const one of heard) one();
  };
  watching = watchObjects({
    api,
    discovery: openDiscovery(api),
    apiVersion: 'v1',
    kind: 'Pod',
    read: (object) => object.metadata.name,
    clock,
    signal: stop.signal,
    sink: {
      listed: (names) => tell(`listed ${names.join(' ')}`),
      changed: (name) => tell(`changed ${name}`),
      gone: (name) => tell(`gone ${name}`),
      alive: () => tell('alive'),
      away: (why, waitMs) => tell(`away ${waitMs}: ${why}`),
    },
  });
}

/** Waits until so much was told. */
function until(count: number): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (told.length < count) return;
      heard = heard.filter((one) => one !== check);
      resolve();
    };
    heard.push(check);
    check();
  });
}

const watches = (): readonly string[] =>
  server.calls.filter((call) => call.query['watch'] === 'true').map((call) => call.query['resourceVersion'] ?? '');

beforeEach(async () => {
  clock = waitingClock();
  server = await startFakeApi({ now: () => clock.now() });
  api = await connectKube({ kubeconfig: server.kubeconfig, clock });
  stop = new AbortController();
  told = [];
  heard = [];
});
afterEach(async () => {
  stop.abort(new Error('stopped'));
  await watching.catch(() => undefined);
  api.close();
  await server.close();
});

describe('a watch', () => {
  it('lists what there is, and then tells what comes, changes and goes', async () => {
    server.put(pod('a'));
    start();
    await server.watches.opened(1);
    server.put(pod('b'));
    server.put(pod('a', { app: 'x' }));
    server.remove(pod('b'));
    await until(4);
    expect(told).toEqual(['listed a', 'changed b', 'changed a', 'gone b']);
    // Other kinds are none of its business.
    server.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'shop' } });
    server.watches.bookmark();
    await until(5);
    expect(told.at(-1)).toBe('alive');
    stop.abort(new Error('stopped'));
    await expect(watching).resolves.toBeUndefined();
  });

  it('reads long lists page by page', async () => {
    for (let index = 0; index < 1001; index += 1) server.put(pod(`p${index}`));
    start();
    await until(1);
    expect(told[0]?.split(' ')).toHaveLength(1002);
    expect(server.calls.filter((call) => call.query['limit'] === '500')).toHaveLength(3);
  });

  it('goes on where it was when the server ends it, or the connection breaks', async () => {
    start();
    await server.watches.opened(1);
    server.put(pod('a'));
    await until(2);
    server.watches.end();
    server.put(pod('b'));
    await until(3);
    server.watches.cut();
    server.put(pod('c'));
    await until(4);
    expect(told[3]).toMatch(/^away 1000: watching Pod objects: the connection broke/);
    await clock.pass(1000);
    await until(5);
    expect(told.filter((one) => !one.startsWith('away'))).toEqual(['listed ', 'changed a', 'changed b', 'changed c']);
    expect(new Set(watches()).size).toBe(3);
  });

  it('takes up from the last bookmark, which the server still knows when it knows no older version', async () => {
    start();
    await server.watches.opened(1);
    server.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'shop' } });
    server.watches.bookmark();
    await until(2);
    server.watches.compact();
    server.watches.end();
    await server.watches.opened(1);
    server.put(pod('a'));
    await until(3);
    expect(told).toEqual(['listed ', 'alive', 'changed a']);
  });

  it('lists everything anew where the server has forgotten the place', async () => {
    server.put(pod('a'));
    start();
    await server.watches.opened(1);
    server.watches.cut();
    await until(2);
    server.remove(pod('a'));
    server.put(pod('b'));
    server.watches.compact();
    await clock.pass(1000);
    await until(3);
    expect([told[0], told[2]]).toEqual(['listed a', 'listed b']);
  });

  it('waits longer and longer for a server that is away, and at most half a minute', async () => {
    start();
    await server.watches.opened(1);
    server.failNext({ path: '/pods', fault: { kind: 'status', status: 503 }, times: 7 });
    server.watches.cut();
    const waits: string[] = [];
    for (let times = 0; times < 8; times += 1) {
      await until(2 + times);
      const wait = /^away (\d+)/.exec(told.at(-1) ?? '')?.[1] ?? '';
      waits.push(wait);
      await clock.pass(Number(wait));
    }
    expect(waits.map(Number)).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    await server.watches.opened(1);
    server.put(pod('a'));
    await until(10);
    expect(told.at(-1)).toBe('changed a');
  });

  it('ends where the first list is refused, and where rights end', async () => {
    const refused = statusBody(403, 'Forbidden', 'pods is forbidden: User "jane" cannot watch resource "pods"');
    server.failNext({ path: '/pods', fault: { kind: 'status', status: 403, body: refused } });
    start();
    const first = await watching.catch((error: unknown) => error);
    expect(isFailure(first) && first.detail).toMatchObject({ code: 'SP403', exit: 4 });
    told = [];
    start();
    await server.watches.opened(1);
    server.put(pod('a'));
    await until(2);
    server.failNext({ path: '/pods', fault: { kind: 'status', status: 403, body: refused } });
    server.watches.end();
    const later = await watching.catch((error: unknown) => error);
    expect(isFailure(later) && later.detail).toMatchObject({
      code: 'SP403',
      message: expect.stringContaining('you may not watch pods in the whole cluster') as string,
    });
  });

  it('ends at the signal, also while it waits', async () => {
    start();
    await server.watches.opened(1);
    server.put(pod('a'));
    await until(2);
    server.failNext({ path: '/pods', fault: { kind: 'status', status: 503 } });
    server.watches.end();
    await until(3);
    stop.abort(new Error('stopped'));
    await expect(watching).resolves.toBeUndefined();
  });
});

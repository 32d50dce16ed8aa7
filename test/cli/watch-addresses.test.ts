// Who holds which address, from the API server's watch into the state, and from there to what a record of an address means.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openState } from '../../state/open.ts';
import type { WritableState } from '../../state/open.ts';
import { watchAddresses } from '../../src/cli/watch-addresses.ts';
import type { AddressesSeen } from '../../src/cli/watch-addresses.ts';
import { createAttributor } from '../../src/flows/attribute.ts';
import { endpointKey } from '../../src/model/edge.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { connectKube, openDiscovery } from '../../src/sources/kube/index.ts';
import type { KubeApi } from '../../src/sources/kube/index.ts';
import { emptyInventory, end, workload } from '../flows/build.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import type { WaitingClock } from '../support/waiting-clock.ts';
import { waitingClock } from '../support/waiting-clock.ts';

const START = Date.UTC(2026, 9, 5);
const MINUTE = 60_000;
const minute = (count: number): number => START + count * MINUTE;

let dir: string;
let state: WritableState;
let server: FakeApi;
let api: KubeApi;
let clock: WaitingClock;
let stop: AbortController;
let notes: string[];
let busy: boolean;
let records: number;
let watching: Promise<AddressesSeen>;
let heard: (() => void)[];

function pod(name: string, ip: string, started: number, finished?: number): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'shop',
      labels: { app: name.split('-')[0] ?? '' },
      ownerReferences: [{ controller: true, kind: 'ReplicaSet', name: name.replace(/-[^-]+$/, '') }],
    },
    spec: { nodeName: 'n1' },
    status: {
      phase: 'Running',
      podIPs: [{ ip }],
      startTime: new Date(started).toISOString(),
      containerStatuses: [
        {
          state:
            finished === undefined ? { running: {} } : { terminated: { finishedAt: new Date(finished).toISOString() } },
        },
      ],
    },
  };
}

const WEB = 'web-6d4cf56db6-x2x9k';
const API = 'api-7c5ddbdf54-b7k2p';
const IP = '10.0.3.3';

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-addresses-'));
  state = openState(join(dir, 'state.sqlite'), {
    target: { id: 'cluster', kind: 'cluster', description: 'a test' },
    mode: 'write',
    create: true,
  });
  clock = waitingClock(START);
  server = await startFakeApi({ now: () => clock.now() });
  api = await connectKube({ kubeconfig: server.kubeconfig, clock });
  stop = new AbortController();
  notes = [];
  heard = [];
  busy = false;
  records = 0;
});
afterEach(async () => {
  stop.abort(new Error('stopped'));
  await watching.catch(() => undefined);
  api.close();
  state.close();
  rmSync(dir, { recursive: true, force: true });
  await server.close();
});

function start(once = false): void {
  watching = watchAddresses({
    api,
    discovery: openDiscovery(api),
    clock,
    signal: stop.signal,
    once,
    note: (text) => {
      notes.push(text);
      for (const one of heard) one();
    },
    record: ({ holds, watched }, last) => {
      if (busy && !last) return Promise.resolve(false);
      state.writer.recordAddresses(holds, watched);
      records += 1;
      return Promise.resolve(true);
    },
  });
}

function noted(count: number): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (notes.length < count) return;
      heard = heard.filter((one) => one !== check);
      resolve();
    };
    heard.push(check);
    check();
  });
}

async function stopWatching(): Promise<AddressesSeen> {
  stop.abort(new Error('stopped'));
  return watching;
}

/** Lets what was sent arrive: a later answer on another connection has come by then. */
async function arrive(): Promise<void> {
  for (let times = 0; times < 5; times += 1) {
    await api.send({ method: 'GET', path: '/api/v1', subject: { doing: 'asking', verb: 'get', resource: '' } });
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const inventory = emptyInventory({
  workloads: [workload('shop/Deployment/web'), workload('shop/Deployment/api')],
  nodes: [{ name: 'n1', addresses: [], podCIDRs: ['10.0.0.0/16'] }],
});

function whose(time: number, ip = IP): string {
  const attributor = createAttributor(inventory, state.reader.addresses());
  const { party } = attributor.attribute(end({ ip }), time, 'TCP', 80);
  const endpoint = attributor.settle(party, time, time);
  return endpoint.kind === 'unknown' ? endpoint.why : endpointKey(endpoint);
}

const NOBODY = 'address was held by nobody known at that time';
const UNWATCHED = 'address may have changed hands while nobody watched the pods';

describe('a reused address', () => {
  it('is whose it was at the time of the record', async () => {
    server.put(pod(WEB, IP, minute(-60)));
    start();
    await server.watches.opened(1);
    await clock.pass(10 * MINUTE);
    server.remove(server.put(pod(WEB, IP, minute(-60), minute(10))));
    await clock.pass(MINUTE);
    server.put(pod(API, IP, minute(11)));
    await arrive();
    await clock.pass(10 * MINUTE);
    server.watches.bookmark();
    await arrive();
    const seen = await stopWatching();
    expect(seen).toEqual({ present: 1, gaps: [], watched: { from: START, to: minute(21) } });
    expect([-61, -30, 9, 10.5, 12, 21, 30].map((count) => whose(minute(count)))).toEqual([
      NOBODY,
      'shop/Deployment/web',
      'shop/Deployment/web',
      NOBODY,
      'shop/Deployment/api',
      'shop/Deployment/api',
      UNWATCHED,
    ]);
  });

  it('is nobody’s in a gap of the watch', async () => {
    server.put(pod(WEB, IP, minute(-60)));
    server.put(pod(API, '10.0.3.4', minute(-60)));
    start();
    await server.watches.opened(1);
    await clock.pass(10 * MINUTE);
    server.watches.bookmark();
    await arrive();
    server.watches.cut();
    await noted(2);
    server.remove(pod(WEB, IP, minute(-60)));
    server.put(pod('api-7c5ddbdf54-zzzzz', '10.0.3.5', minute(15)));
    server.watches.compact();
    await clock.pass(20 * MINUTE);
    await server.watches.opened(1);
    await arrive();
    const seen = await stopWatching();
    expect(seen.gaps).toEqual([{ from: minute(10), to: minute(30) }]);
    expect(notes.join('\n')).toContain('a gap from 2026-10-05T00:10:00.000Z to 2026-10-05T00:30:00.000Z');
    expect([5, 20].map((count) => whose(minute(count)))).toEqual(['shop/Deployment/web', UNWATCHED]);
    // Still there afterwards, so it was there all the time; and who came in the gap says since when.
    expect(whose(minute(20), '10.0.3.4')).toBe('shop/Deployment/api');
    expect([14, 16].map((count) => whose(minute(count), '10.0.3.5'))).toEqual([NOBODY, 'shop/Deployment/api']);
  });
});

describe('what was seen', () => {
  it('is on record every half minute, and waits where somebody else writes', async () => {
    server.put(pod(WEB, IP, minute(-60)));
    start();
    await server.watches.opened(1);
    await arrive();
    busy = true;
    await clock.pass(30_000);
    expect([records, whose(START)]).toEqual([0, NOBODY]);
    busy = false;
    await clock.pass(30_000);
    expect([records, whose(START)]).toEqual([1, 'shop/Deployment/web']);
    // Nothing new: nothing is written.
    await clock.pass(30_000);
    expect(records).toBe(1);
    busy = true;
    server.put(pod(API, '10.0.3.4', minute(1)));
    await arrive();
    await stopWatching();
    expect(whose(minute(1.5), '10.0.3.4')).toBe('shop/Deployment/api');
  });

  it('survives what goes wrong afterwards', async () => {
    server.put(pod(WEB, IP, minute(-60)));
    start();
    await server.watches.opened(1);
    server.put(pod(API, '10.0.3.4', minute(0)));
    await arrive();
    server.failNext({ path: '/pods', fault: { kind: 'status', status: 403 } });
    server.watches.end();
    await expect(watching).rejects.toThrow(/may not watch pods/);
    expect(whose(START, '10.0.3.4')).toBe('shop/Deployment/api');
  });

  it('once is one list, with EndpointSlices beside it', async () => {
    server.put(pod(WEB, IP, minute(-60)));
    server.put({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'api-1', namespace: 'shop' },
      endpoints: [{ addresses: ['10.0.3.7'], targetRef: { kind: 'Pod', namespace: 'shop', name: API, uid: 'u' } }],
    });
    start(true);
    expect(await watching).toEqual({ present: 1, gaps: [] });
    expect([whose(minute(-30)), whose(START, '10.0.3.7')]).toEqual(['shop/Deployment/web', 'shop/Deployment/api']);
    expect(server.calls.some((call) => call.query['watch'] === 'true')).toBe(false);
    expect(state.reader.addresses().holdsOf(IP)).toMatchObject([{ by: ['snapshot'], ended: false }]);
  });

  it('does without EndpointSlices where they may not be listed, and says so', async () => {
    server.put(pod(WEB, IP, minute(-60)));
    server.failNext({ path: '/endpointslices', fault: { kind: 'status', status: 403 } });
    start(true);
    await watching;
    expect(notes.join('\n')).toMatch(/EndpointSlices were left out: .*may not list endpointslices/);
    expect(whose(minute(-30))).toBe('shop/Deployment/web');
  });
});

// Whoever plans has read all pods: who holds which address goes on record by the way, and is let go when it is old.
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openApp } from '../../src/cli/context.ts';
import type { App } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import { loadAll } from '../../src/cli/load.ts';
import type { Output } from '../../src/cli/output.ts';
import type { AddressHold } from '../../src/model/address-hold.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { makeFolder } from '../support/folder.ts';
import { makeState } from '../state/samples.ts';

const DAY = 86_400_000;
const IP = '10.0.3.3';

function pod(name: string, ip: string): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', uid: `uid-${name}`, labels: { app: 'web' } },
    spec: { nodeName: 'n1' },
    status: { phase: 'Running', podIPs: [{ ip }], startTime: new Date(Date.now() - DAY).toISOString() },
  };
}

let server: FakeApi;
let file: string;
let home: string;
const notes: string[] = [];
let apps: App[] = [];

function open(config?: string): App {
  const output: Output = {
    json: true,
    color: false,
    width: 80,
    interactive: false,
    documented: false,
    line: () => undefined,
    document: () => undefined,
    names: () => undefined,
    raw: () => undefined,
    note: (text) => notes.push(text),
    progress: () => undefined,
    event: () => false,
  };
  const app = openApp(
    { kubeconfig: server.kubeconfig, state: file, ...(config === undefined ? {} : { config: join(home, config) }) },
    output,
    { XDG_STATE_HOME: home },
    openInterrupt(),
  );
  apps.push(app);
  return app;
}

async function held(ip: string): Promise<readonly AddressHold[]> {
  return (await open().state()).reader.addresses().holdsOf(ip);
}

beforeEach(async () => {
  home = await makeFolder({ 'short.yaml': 'addresses: {days: 30}\n', 'off.yaml': 'addresses: {days: off}\n' });
  file = join(home, 'state.sqlite');
  server = await startFakeApi({ now: () => Date.now() });
  server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  server.put(pod('web-1', IP));
  notes.length = 0;
  apps = [];
});
afterEach(async () => {
  for (const app of apps) await app.close();
  await server.close();
});

describe('a plan', () => {
  it('puts on record who holds which address, and asks the cluster nothing more for it', async () => {
    await loadAll(open(), { kind: 'all' });
    expect(await held(IP)).toEqual([]);
    const calls = server.calls.length;
    await loadAll(open(), { kind: 'all' });
    const once = server.calls.length - calls;
    await loadAll(open(), { kind: 'planning', namespace: 'shop' });
    expect(server.calls.length - calls).toBe(2 * once);
    expect(await held(IP)).toMatchObject([
      { holder: { namespace: 'shop', pod: 'web-1' }, by: ['snapshot'], ended: false },
    ]);
    // The next one reaches further.
    const [before] = await held(IP);
    await loadAll(open(), { kind: 'planning', namespace: 'shop' });
    const [after] = await held(IP);
    expect(after?.from).toBe(before?.from);
    expect(after?.to).toBeGreaterThanOrEqual(before?.to ?? Infinity);
  });

  it('goes on where somebody else writes to the state, and does not wait', async () => {
    const app = open();
    await app.writableState();
    await loadAll(open(), { kind: 'planning', namespace: 'shop' });
    expect(notes).toEqual([]);
    expect((await app.state()).reader.addresses().holdsOf(IP)).toEqual([]);
    // A run has the state open for writing itself.
    await loadAll(app, { kind: 'planning', namespace: 'shop' });
    expect((await app.state()).reader.addresses().holdsOf(IP)).toHaveLength(1);
  });

  it.each([
    ['100 days where nothing is said', undefined, ['90', '99']],
    ['as many as the configuration says', 'short.yaml', []],
    ['for ever where that is asked for', 'off.yaml', ['101', '90', '99']],
  ])('keeps who held an address for %s', async (_, config, kept) => {
    const { writer } = await open().writableState();
    const ended = (days: number): AddressHold => ({
      ip: `10.1.0.${days}`,
      holder: { namespace: 'shop', pod: `old-${days}`, uid: `u${days}`, labels: {} },
      from: Date.now() - (days + 1) * DAY,
      to: Date.now() - days * DAY,
      ended: true,
      by: ['watch'],
    });
    writer.recordAddresses([ended(101), ended(90), ended(99)], []);
    for (const app of apps) await app.close();
    await loadAll(open(config), { kind: 'planning', namespace: 'shop' });
    const left = [];
    for (const days of ['101', '90', '99']) if ((await held(`10.1.0.${days}`)).length > 0) left.push(days);
    expect(left).toEqual(kept);
  });
});

describe('an address that is let go', () => {
  it('is none of a pod that was not seen to go while pods were watched', () => {
    const { writer, reader } = makeState();
    const hold = (uid: string, to: number, more: Partial<AddressHold> = {}): AddressHold => ({
      ip: IP,
      holder: { namespace: 'shop', pod: uid, uid, labels: {} },
      from: 0,
      to,
      ended: false,
      by: ['watch'],
      ...more,
    });
    writer.recordAddresses(
      [hold('stays', 15), hold('ended', 15, { ended: true }), hold('lost', 15, { lost: true }), hold('unwatched', 7)],
      [
        { from: 10, to: 100 },
        { from: 1, to: 5 },
      ],
    );
    expect(writer.forgetAddresses(50)).toBe(3);
    expect(
      reader
        .addresses()
        .holdsOf(IP)
        .map(({ holder }) => holder.pod),
    ).toEqual(['stays']);
    expect(reader.addresses().watched).toEqual([{ from: 10, to: 100 }]);
    expect(writer.forgetAddresses(101)).toBe(1);
    expect(reader.addresses().holdsOf(IP)).toEqual([]);
  });
});

import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openSignals } from '../../src/cli/signals.ts';
import type { Signals } from '../../src/engine/contract.ts';
import { buildInventory } from '../../src/inventory/build.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import { makeFolder } from '../support/folder.ts';
import { CONFIG, NOW, signatures } from '../support/rig.ts';

function pod(name: string, ip: string, startedAt: number): KubeManifest {
  const metadata = { namespace: 'shop', name, labels: { app: name } };
  const status = { phase: 'Running', podIP: ip, podIPs: [{ ip }], startTime: new Date(startedAt).toISOString() };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [{ name: 'c', image: 'i' }] }, status };
}

function inventoryWith(...pods: readonly KubeManifest[]): Inventory {
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
  return buildInventory({ source: 'cluster', objects: [namespace, ...pods], findings: [], unread: [] } as never, {
    config: CONFIG,
    signatures: signatures(),
    now: NOW,
  });
}

const WEB = pod('web', '10.1.0.1', NOW - 1_000);
const DB = pod('db', '10.1.0.2', NOW - 1_000);

function line(src: string, dst: string, verdict: string, at: number): string {
  const time = new Date(at).toISOString();
  return `${JSON.stringify({ first: time, last: time, src: { ip: src }, dst: { ip: dst }, protocol: 'TCP', port: 5432, count: 1, verdict })}\n`;
}

async function opened(
  before: Inventory,
  after: Inventory = before,
): Promise<{
  readonly signals: Signals;
  readonly file: string;
  readonly clock: ReturnType<typeof simulatedClock>;
  rereads: () => number;
}> {
  const file = join(await makeFolder({ 'a.jsonl': '' }), 'a.jsonl');
  const clock = simulatedClock(NOW);
  let rereads = 0;
  const signals = await openSignals({
    configs: [{ source: 'edges', inputs: [file] }],
    position: undefined,
    inventory: before,
    reread: () => {
      rereads += 1;
      return Promise.resolve(after);
    },
    clock,
  });
  return { signals, file, clock, rereads: () => rereads };
}

describe('signals', () => {
  it('resolve records to edges, and count lines that are none', async () => {
    const { signals, file } = await opened(inventoryWith(WEB, DB));
    await appendFile(file, `nonsense\n${line('10.1.0.1', '10.1.0.2', 'allowed', NOW)}{"half": \n`);
    const look = await signals.look();
    expect(look.sightings).toMatchObject([{ verdict: 'allowed', at: NOW, source: 'edges' }]);
    expect(look.sightings[0]?.where).toContain('a.jsonl');
    expect(look.signals).toMatchObject([{ files: 1, records: 1, bad: 2, newest: NOW }]);
    await appendFile(file, 'only nonsense\nand more\n');
    expect((await signals.look()).signals).toMatchObject([{ records: 1, bad: 4 }]);
    await signals.close();
  });

  it('wait with a record of a pod that is newer than what is known, and read the cluster again for it', async () => {
    const late = pod('late', '10.1.0.3', NOW);
    const { signals, file, clock, rereads } = await opened(inventoryWith(WEB, DB), inventoryWith(WEB, DB, late));
    await appendFile(file, line('10.1.0.3', '10.1.0.2', 'allowed', NOW));
    const { sightings } = await signals.look();
    expect(rereads()).toBe(1);
    expect(sightings.map(({ key }) => key.src)).toEqual([{ kind: 'workload', id: 'shop/Pod/late' }]);
    // An address of nobody: waited for, then told as it is, and the cluster is not read at each look.
    await appendFile(file, line('10.1.0.9', '10.1.0.2', 'denied', clock.now() + 1));
    clock.advance(1_000);
    expect((await signals.look()).sightings).toEqual([]);
    expect(rereads()).toBe(1);
    clock.advance(16_000);
    expect((await signals.look()).sightings).toMatchObject([{ key: { src: { kind: 'unknown' } } }]);
    await signals.close();
  });

  it('are read again by another process from before the oldest record that still waits', async () => {
    const { signals, file, clock } = await opened(inventoryWith(WEB, DB));
    await signals.look();
    clock.advance(6_000);
    await appendFile(file, line('10.1.0.9', '10.1.0.2', 'denied', clock.now()));
    expect((await signals.look()).sightings).toEqual([]);
    const position = JSON.parse(JSON.stringify(signals.position())) as never;
    await signals.close();
    const next = await openSignals({
      configs: [{ source: 'edges', inputs: [file] }],
      position,
      inventory: inventoryWith(WEB, DB),
      reread: () => Promise.resolve(inventoryWith(WEB, DB)),
      clock,
      patient: false,
    });
    expect((await next.look()).sightings).toHaveLength(1);
    await next.close();
  });

  it('ask the cluster again before a denial is blamed on whoever held the address earlier', async () => {
    const gone = { ...WEB, status: { ...(WEB['status'] as object), phase: 'Succeeded' } } as KubeManifest;
    const heir = pod('heir', '10.1.0.1', NOW + 500);
    const { signals, file, clock } = await opened(inventoryWith(WEB, DB), inventoryWith(gone, DB, heir));
    clock.advance(1_000);
    await appendFile(file, line('10.1.0.1', '10.1.0.2', 'denied', clock.now()));
    expect((await signals.look()).sightings.map(({ key }) => key.src)).toEqual([
      { kind: 'workload', id: 'shop/Pod/heir' },
    ]);
    await signals.close();
  });

  it('take no record for one of the future: a recorder whose clock is ahead proves nothing early', async () => {
    const { signals, file, clock } = await opened(inventoryWith(WEB, DB));
    await appendFile(file, line('10.1.0.1', '10.1.0.2', 'allowed', NOW + 60_000));
    expect((await signals.look()).sightings).toMatchObject([{ at: NOW }]);
    clock.advance(10_000);
    await appendFile(file, line('10.1.0.1', '10.1.0.2', 'allowed', NOW + 65_000));
    expect((await signals.look()).sightings).toMatchObject([{ at: NOW + 5_000 }]);
    // One that is off by years is a bad line, and must not move the others into the past.
    await appendFile(file, line('10.1.0.1', '10.1.0.2', 'allowed', NOW + 1e12));
    expect(await signals.look()).toMatchObject({ sightings: [], signals: [{ bad: 1 }] });
    await appendFile(file, line('10.1.0.1', '10.1.0.2', 'allowed', NOW + 66_000));
    expect((await signals.look()).sightings).toMatchObject([{ at: NOW + 6_000 }]);
    await signals.close();
  });

  it('of a source that does not exist are refused with the names there are', async () => {
    const wrong = openSignals({
      configs: [{ source: 'tcpdump', inputs: ['/x'] }],
      position: undefined,
      inventory: inventoryWith(),
      reread: () => Promise.resolve(inventoryWith()),
      clock: simulatedClock(NOW),
    });
    await expect(wrong).rejects.toMatchObject({
      detail: { code: 'SP233', hint: expect.stringContaining('hubble') as string },
    });
  });
});

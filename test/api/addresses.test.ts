// Who holds which address, watched on a real API server: its events, its bookmarks, and what it says where it has forgotten the place.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { watchAddresses } from '../../src/cli/watch-addresses.ts';
import type { AddressRecord } from '../../src/flows/address-history.ts';
import type { AddressHold } from '../../src/model/address-hold.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { connectKube, openDiscovery } from '../../src/sources/kube/index.ts';
import type { ApiCall, KubeApi } from '../../src/sources/kube/index.ts';
import { connect } from '../support/apiserver/client.ts';
import type { ApiClient } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { pathOf, resources } from '../support/apiserver/objects.ts';
import { adminName, startApiServer } from '../support/apiserver/server.ts';
import { sallyport } from '../support/sallyport.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const namespace = `addresses-${randomBytes(4).toString('hex')}`;
const IP = '10.77.3.3';

beforeAll(async () => {
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: namespace } });
});
afterAll(async () => {
  await deleteNamespace(admin, namespace);
  admin.close();
});

async function makePod(client: ApiClient, name: string, ip: string): Promise<void> {
  await client.must('POST', pathOf(resources.pods, namespace), {
    metadata: { name, labels: { app: 'web' } },
    spec: { nodeName: 'nowhere', containers: [{ name: 'main', image: 'example/main:1' }] },
  });
  await client.must('PATCH', `${pathOf(resources.pods, namespace, name)}/status`, {
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      startTime: new Date(Math.floor(Date.now() / 1000) * 1000).toISOString().replace('.000', ''),
    },
  });
}

async function dropPod(client: ApiClient, name: string): Promise<void> {
  await client.must('DELETE', `${pathOf(resources.pods, namespace, name)}?gracePeriodSeconds=0`);
}

describe('addresses on a real API server', () => {
  it('are followed as pods come and go, through a watch that ends and a server that has forgotten the place', async () => {
    const server = await startApiServer();
    const stop = new AbortController();
    const notes: string[] = [];
    const recorded: AddressRecord[] = [];
    let watches = 0;
    let open = 0;
    let gate = Promise.resolve();
    const own = await connectKube({ kubeconfig: server.kubeconfigFile(adminName), clock: systemClock });
    // Watches of two seconds, so that one ends; and none while the test holds them back.
    const wrapped: KubeApi = {
      ...own,
      send: async (call: ApiCall) => {
        if (call.query?.['watch'] !== 'true') return own.send(call);
        await gate;
        watches += 1;
        open += 1;
        try {
          return await own.send({ ...call, query: { ...call.query, timeoutSeconds: '2' } });
        } finally {
          open -= 1;
        }
      },
    };
    try {
      await server.must('POST', pathOf(resources.namespaces), { metadata: { name: namespace } });
      const watching = watchAddresses({
        api: wrapped,
        discovery: openDiscovery(wrapped),
        clock: systemClock,
        signal: stop.signal,
        once: false,
        note: (text) => notes.push(text),
        record: (seen) => {
          recorded.push(seen);
          return Promise.resolve(true);
        },
      });
      await expect.poll(() => watches, { timeout: 20_000 }).toBe(1);
      await makePod(server, 'first', IP);
      await makePod(server, 'stays', '10.77.3.4');
      await expect.poll(() => watches, { timeout: 20_000 }).toBeGreaterThan(2);

      let release: () => void = () => undefined;
      gate = new Promise((resolve) => (release = resolve));
      await expect.poll(() => open, { timeout: 20_000 }).toBe(0);
      await dropPod(server, 'first');
      await makePod(server, 'second', IP);
      // A server that was started anew knows what happened since then alone.
      await server.restart();
      release();
      await expect.poll(() => notes.some((text) => text.startsWith('a gap from')), { timeout: 40_000 }).toBe(true);
      const after = watches;
      await makePod(server, 'third', '10.77.3.5');
      await expect.poll(() => watches, { timeout: 20_000 }).toBeGreaterThan(after + 1);
      stop.abort(new Error('enough'));
      const seen = await watching;
      expect(seen.gaps).toHaveLength(1);
      const holds = recorded.flatMap((one) => one.holds).filter((hold) => hold.ip.startsWith('10.77.3.'));
      const newest = new Map<string, AddressHold>(holds.map((hold) => [hold.holder.pod, hold]));
      expect([...newest.keys()].sort()).toEqual(['first', 'second', 'stays', 'third']);
      // Nobody saw it end: it may have held its address for any time inside the gap.
      expect(newest.get('first')).toMatchObject({ ip: IP, ended: false, lost: true, to: seen.gaps[0]?.from });
      expect(newest.get('second')).toMatchObject({ ip: IP, ended: false, by: ['watch'] });
      expect(newest.get('stays')).not.toHaveProperty('lost');
      expect(newest.get('stays')?.to).toBeGreaterThanOrEqual(seen.gaps[0]?.to ?? Infinity);
    } finally {
      stop.abort(new Error('over'));
      own.close();
      await server.stop();
    }
  });

  it('are put on record by the command, until its time is over', async () => {
    const home = await mkdtemp(join(tmpdir(), 'sallyport-addresses-'));
    await makePod(admin, 'one', IP);
    await makePod(admin, 'two', '10.77.3.4');
    try {
      const ended = await sallyport(
        ['observe', 'addresses', '--follow', '--for', '2s', '--json', '--kubeconfig', shared.kubeconfig],
        { home },
      );
      expect(ended.code, ended.stderr).toBe(0);
      const document = JSON.parse(ended.stdout) as { kind: string; present: number; added: number };
      expect(document).toMatchObject({ kind: 'Addresses', gaps: [] });
      expect(document.present).toBeGreaterThanOrEqual(2);
      expect(document.added).toBeGreaterThanOrEqual(2);
      const again = await sallyport(['observe', 'addresses', '--kubeconfig', shared.kubeconfig], { home });
      expect(again.code, again.stderr).toBe(0);
      expect(again.stdout).toMatch(/^\d+ pods with an address; \d+ pods? new/);
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });
});

// Ending what proxies have open, against proxies that do not answer, answer late, or answer too much.
import { expect, it } from 'vitest';
import type { ConnectionPorts } from '../../src/cli/connections.ts';
import { endConnections, readConnections } from '../../src/cli/connections.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { parseClusters } from '../../src/readiness/open-connections.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';

const noAnswer = (): Failure => new Failure({ code: 'SP431', exit: EXIT.cluster, message: 'no answer' });
const POD = { namespace: 'shop', name: 'db-1', uid: 'u1', returns: true };

function live(state: object, restartCount = 0, uid = 'u1'): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'db-1', namespace: 'shop', uid },
    status: { containerStatuses: [{ name: 'istio-proxy', restartCount, state }] },
  } as KubeManifest;
}

interface Given {
  readonly ask?: (path: string, asked: readonly string[]) => string;
  readonly look?: (looks: number, asked: readonly string[]) => KubeManifest | undefined;
}

async function end({ ask = () => '{}', look = () => live({ running: {} }) }: Given) {
  const asked: string[] = [];
  const trail: string[] = [];
  let now = 0;
  let looks = 0;
  const ports: ConnectionPorts = {
    proxies: {
      ask: (_, __, path) => {
        asked.push(path.split('?')[0] ?? '');
        return Promise.resolve().then(() => ask(path, asked));
      },
    },
    target: { readObject: () => Promise.resolve().then(() => look((looks += 1), asked)) },
    clock: {
      now: () => now,
      sleep: (ms) => {
        now += ms;
        return Promise.resolve();
      },
    },
    signal: new AbortController().signal,
    note: (_, what) => {
      trail.push(`${what} after ${asked.length} requests`);
      return Promise.resolve();
    },
  };
  const [found] = await endConnections(ports, [POD]);
  return { drained: found?.drained, asked, trail, now };
}
const restarted = (_: number, asked: readonly string[]): KubeManifest =>
  asked.includes('/quitquitquit') ? live({ running: {} }, 1) : live({ running: {} });

it('writes to the trail before the first request', async () => {
  expect((await end({ look: restarted })).trail[0]).toBe('incident drain begins after 0 requests');
});

it('tells a proxy to end that did not answer the drain', async () => {
  const { drained, asked } = await end({
    ask: (path) => {
      if (path.startsWith('/drain')) throw noAnswer();
      return '{}';
    },
    look: restarted,
  });
  expect(asked).toContain('/quitquitquit');
  expect(drained?.outcome).toBe('ended');
});

it('outlives a look at the kubelet that fails once, and one that always fails is unknown', async () => {
  const unread = (): never => {
    throw new Failure({ code: 'SP420', exit: EXIT.cluster, message: 'not now' });
  };
  const once = await end({ look: (looks, asked) => (looks === 2 ? unread() : restarted(looks, asked)) });
  expect(once.drained?.outcome).toBe('ended');
  const always = await end({ look: (looks) => (looks === 1 ? live({ running: {} }) : unread()) });
  expect(always.drained).toMatchObject({ outcome: 'unknown', text: expect.stringContaining('SP420') as string });
});

it.each([
  ['is not there', undefined],
  ['is another of that name', live({ running: {} }, 0, 'u2')],
])('claims no ended connections of a pod that %s', async (_, now) => {
  expect(await end({ look: () => now })).toMatchObject({
    drained: { outcome: 'unknown' },
    asked: ['/clusters', '/stats'],
  });
});

it('leaves a proxy that has ended already, by the kubelet’s word', async () => {
  const { drained, asked } = await end({ look: () => live({ terminated: { exitCode: 0 } }) });
  expect(drained?.outcome).toBe('ended');
  expect(asked).not.toContain('/quitquitquit');
});

it('waits for all readings together no longer than for one', async () => {
  let open = 0;
  const signal = new AbortController().signal;
  const pods = Array.from({ length: 40 }, (_, index) => ({ ...POD, name: `db-${index}` }));
  const found = await readConnections(
    {
      signal,
      proxies: {
        // As the real one: it ends when the signal says so, and not before.
        ask: (_, __, ___, until) => {
          open += 1;
          return new Promise((_resolve, reject) => {
            until?.addEventListener('abort', () => reject(until.reason as Error));
          });
        },
      },
    },
    pods,
    20,
  );
  expect(found).toHaveLength(40);
  expect(found.every(({ read }) => read.kind === 'unknown')).toBe(true);
  expect(open).toBeLessThan(40);
});

it('keeps little of an answer, whatever its size', () => {
  const of = (hosts: readonly object[], name = 'outbound|1||a'): string =>
    JSON.stringify({ cluster_statuses: [{ name, host_statuses: hosts }] });
  const host = (address: string, value: unknown = '1'): object => ({
    address: { socket_address: { address, port_value: 1 } },
    stats: [{ name: 'cx_active', value }],
  });
  const many = parseClusters(
    of(Array.from({ length: 5_000 }, (_, index) => host(`10.0.${index >> 8}.${index & 255}`))),
  );
  expect(many?.length).toBe(201);
  expect(many?.reduce((sum, { count }) => sum + count, 0)).toBe(5_000);
  const [long] = parseClusters(of([host('x'.repeat(100_000))], 'y'.repeat(100_000))) ?? [];
  expect((long?.address.length ?? 0) + (long?.cluster.length ?? 0)).toBe(400);
  expect(parseClusters(of([host('a', 1e300)]))).toBeUndefined();
  // Two million objects are not even read.
  expect(
    parseClusters(`{"cluster_statuses":[{"name":"a","host_statuses":[${'{},'.repeat(2_000_000)}{}]}]}`),
  ).toBeUndefined();
});

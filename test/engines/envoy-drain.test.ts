// The real Envoy, with a TCP connection through it that ends, and an HTTP one that a drain alone leaves open.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { endConnections, readConnections } from '../../src/cli/connections.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { proxiedPod } from '../../src/readiness/pod-proxy.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { unpackEnvoy } from '../lab/stage/build.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import type { FakeApi } from '../support/fake-api/server.ts';

let folder = '';
let envoy: ChildProcess | undefined;
let api: FakeApi | undefined;
let app: Server | undefined;
const ports = { admin: 0, tcp: 0, http: 0, app: 0 };

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const listener = (name: string, port: number, filter: object): object => ({
  name,
  traffic_direction: 'INBOUND',
  address: { socket_address: { address: '127.0.0.1', port_value: port } },
  filter_chains: [{ filters: [filter] }],
});
const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`;

const POD: KubeManifest = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'db-1', namespace: 'shop' },
  spec: { containers: [{ name: 'main' }, { name: 'istio-proxy' }] },
  status: { containerStatuses: [{ name: 'istio-proxy', restartCount: 0, state: { running: {} } }] },
};

beforeAll(async () => {
  const binary = await unpackEnvoy(() => undefined);
  folder = await mkdtemp(join(tmpdir(), 'sallyport-envoy-'));
  app = createServer((socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(app, 'listening');
  ports.app = (app.address() as AddressInfo).port;
  for (const name of ['admin', 'tcp', 'http'] as const) ports[name] = await freePort();
  const cluster = 'inbound|5432||';
  await writeFile(
    join(folder, 'envoy.json'),
    JSON.stringify({
      admin: { address: { socket_address: { address: '127.0.0.1', port_value: ports.admin } } },
      static_resources: {
        listeners: [
          listener('tcp', ports.tcp, {
            name: 'tcp',
            typed_config: { '@type': type('network.tcp_proxy.v3.TcpProxy'), stat_prefix: 'tcp', cluster },
          }),
          listener('http', ports.http, {
            name: 'http',
            typed_config: {
              '@type': type('network.http_connection_manager.v3.HttpConnectionManager'),
              stat_prefix: 'http',
              route_config: {
                virtual_hosts: [
                  {
                    name: 'all',
                    domains: ['*'],
                    routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
                  },
                ],
              },
              http_filters: [{ name: 'router', typed_config: { '@type': type('http.router.v3.Router') } }],
            },
          }),
        ],
        clusters: [
          {
            name: cluster,
            type: 'STATIC',
            load_assignment: {
              cluster_name: cluster,
              endpoints: [
                {
                  lb_endpoints: [
                    { endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: ports.app } } } },
                  ],
                },
              ],
            },
          },
        ],
      },
    }),
  );
  envoy = spawn(
    binary,
    ['-c', join(folder, 'envoy.json'), '--concurrency', '1', '--disable-hot-restart', '-l', 'error'],
    {
      stdio: 'ignore',
    },
  );
  envoy.on('exit', () => {
    // As the kubelet does.
    api?.put({
      ...POD,
      status: { containerStatuses: [{ name: 'istio-proxy', restartCount: 1, state: { running: {} } }] },
    });
  });
  const own = await startFakeApi({
    objects: [POD],
    now: () => Date.now(),
    reach: (_, port) => (port === 15000 ? { port: ports.admin } : undefined),
  });
  api = own;
});

afterAll(async () => {
  envoy?.kill('SIGKILL');
  app?.close();
  await api?.close();
  if (folder !== '') await rm(folder, { recursive: true, force: true });
});

async function open(port: number, text: string): Promise<Socket> {
  for (let tries = 0; ; tries += 1) {
    const socket = connect(port, '127.0.0.1');
    const up = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (up) {
      socket.on('error', () => undefined);
      socket.write(text);
      await once(socket, 'data');
      return socket;
    }
    if (tries > 200) throw new Error('Envoy does not listen');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

it('tells what it has open, and ends it, where a drain by itself ends nothing', async () => {
  const raw = await open(ports.tcp, 'x');
  const idle = await open(ports.http, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  const ended = Promise.all([raw, idle].map((socket) => once(socket, 'close')));
  const target = await openClusterTarget({ kubeconfig: api?.kubeconfig ?? '', clock: systemClock });
  const { proxies } = target;
  const live = await target.readObject({ apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'db-1' });
  const pod = live === undefined ? undefined : proxiedPod(live);
  if (proxies === undefined || pod === undefined) throw new Error('no proxy');
  const { signal } = new AbortController();
  const trail: string[] = [];
  try {
    expect(await readConnections({ proxies, signal }, [pod])).toMatchObject([
      {
        pod: 'db-1',
        read: { kind: 'known', accepted: 2, open: [{ way: 'in', address: `127.0.0.1:${ports.app}`, count: 1 }] },
      },
    ]);
    // Why the process is ended, and not only drained.
    await proxies.ask(pod, 'POST', '/drain_listeners?graceful&skip_exit');
    raw.write('y');
    await once(raw, 'data');
    expect([raw.destroyed, idle.destroyed]).toEqual([false, false]);

    const note = (_: unknown, what: string): Promise<void> => {
      trail.push(what);
      return Promise.resolve();
    };
    expect(await endConnections({ proxies, target, clock: systemClock, signal, note }, [pod])).toMatchObject([
      { pod: 'db-1', drained: { outcome: 'ended' } },
    ]);
    await ended;
    expect(trail).toEqual(['incident drain begins', 'incident drain: ended']);
  } finally {
    await target.close();
  }
});

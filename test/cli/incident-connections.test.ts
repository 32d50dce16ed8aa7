// What proxies have open, on an API server: told, unknown where it is, ended at the proxy, and pods that a budget keeps.
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { connect, createServer as createEcho } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { IncidentOptions } from '../../src/cli/commands/incident.ts';
import { incident } from '../../src/cli/commands/incident.ts';
import { resume } from '../../src/cli/commands/run.ts';
import { observe } from '../../src/cli/commands/observe.ts';
import type { App } from '../../src/cli/context.ts';
import { isKubeManifest } from '../../src/model/object.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { RESPONDER_RULES, buildClusterRole, buildSideRole } from '../../src/sources/kube/rights.ts';
import type { Done } from '../support/command.ts';
import { runCommand } from '../support/command.ts';
import { CILIUM_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeApi, FakeApiOptions } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { CLUSTER, EDGES, makeHome } from './shop.ts';

const CONFIG = `gates: {window: off, coverage: off}
cluster:
  cni: {name: cilium, ipBlockMatches: []}
  apiServer: [10.0.0.1/32]
`;

function pod(name: string, proxy: 'beside' | 'native' | 'none' = 'beside', more: object = {}): KubeManifest {
  const sidecar = { name: 'istio-proxy', image: 'proxy:1' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'shop',
      labels: { app: 'db', 'pod-template-hash': '1' },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'db-1', uid: 'rs', controller: true }],
    },
    spec: {
      serviceAccountName: 'db',
      nodeName: 'n1',
      ...(proxy === 'native' ? { initContainers: [{ ...sidecar, restartPolicy: 'Always' }] } : {}),
      containers: [{ name: 'main', image: 'example.com/db:1' }, ...(proxy === 'beside' ? [sidecar] : [])],
      ...more,
    },
    status: {
      phase: 'Running',
      podIP: '10.1.0.1',
      [proxy === 'native' ? 'initContainerStatuses' : 'containerStatuses']: [
        { name: 'istio-proxy', restartCount: 0, state: { running: {} } },
      ],
    },
  };
}
const REPLICAS: KubeManifest = {
  apiVersion: 'apps/v1',
  kind: 'ReplicaSet',
  metadata: {
    name: 'db-1',
    namespace: 'shop',
    uid: 'rs',
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'db', uid: 'x', controller: true }],
  },
  spec: {
    selector: { matchLabels: { app: 'db', 'pod-template-hash': '1' } },
    template: { metadata: { labels: { app: 'db', 'pod-template-hash': '1' } }, spec: { containers: [] } },
  },
};

/** The shipped roles of those who answer incidents. */
function held(
  more: ReturnType<typeof buildSideRole>['rules'] = buildSideRole('drainer').rules,
): readonly KubeManifest[] {
  const name = 'answers';
  return [
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name },
      rules: [...buildClusterRole('operator').rules, ...RESPONDER_RULES, ...more],
    } as unknown as KubeManifest,
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { kind: 'ClusterRole', name },
      subjects: [{ kind: 'User', name: 'tester' }],
    },
  ];
}

let grants = held();
let api: FakeApi;
let home = '';
const open: { close(): unknown }[] = [];
afterEach(async () => {
  grants = held();
  for (const one of open.splice(0)) one.close();
  await api.close();
});

async function start(pods: readonly KubeManifest[], reach?: FakeApiOptions['reach'], ...more: readonly KubeManifest[]) {
  const objects = Object.values(CLUSTER)
    .flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
    .filter(isKubeManifest)
    .filter(({ kind, metadata }: KubeManifest) => kind !== 'Namespace' || metadata.name !== 'kube-system');
  api = await startFakeApi({
    objects: [...objects, REPLICAS, ...pods, ...more],
    kinds: CILIUM_KINDS,
    now: () => Date.now(),
    grants,
    ...(reach === undefined ? {} : { reach }),
  });
  home = await makeHome({ 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
  expect(await run((app) => observe(app, 'edges', [join(home, 'edges.jsonl')], {}))).toMatchObject({ code: 0 });
}
function run(work: (app: App) => Promise<number>, onSleep?: () => unknown): Promise<Done> {
  return runCommand(work, {
    options: {
      kubeconfig: api.kubeconfig,
      state: join(home, 'state.sqlite'),
      config: join(home, 'config.yaml'),
      yes: true,
    },
    env: { HOME: home, XDG_STATE_HOME: join(home, 'xdg'), SALLYPORT_USER: 'ada' },
    ...(onSleep === undefined ? {} : { onSleep }),
  });
}
const quarantine = (more: IncidentOptions, onSleep?: () => unknown): Promise<Done> =>
  run(
    (app) => incident(app, 'quarantine', 'shop/Deployment/db', { reason: 'calls home', dryRun: false, ...more }),
    onSleep,
  );
const find = (kind: string): readonly KubeManifest[] => api.objects().filter((one) => one.kind === kind);

/** A proxy: its administration, a listener that carries bytes on to an echo, and the end of both. */
interface Proxy {
  readonly admin: number;
  readonly listener: number;
  readonly asked: string[];
}

async function listen(server: Server | ReturnType<typeof createEcho>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({ close: () => server.close() });
  return (server.address() as AddressInfo).port;
}

/** Behaves as Envoy 1.40 was seen to: a drain closes no connection, the end of the process every one. */
async function proxy(onQuit: () => void): Promise<Proxy> {
  const carried = new Set<{ destroy(): unknown }>();
  const listener = createEcho((socket) => {
    carried.add(socket);
    socket.on('data', (data) => socket.write(data));
    socket.on('error', () => undefined);
    socket.on('close', () => carried.delete(socket));
  });
  const asked: string[] = [];
  const admin = createServer((request, response) => {
    const { method = '', url = '' } = request;
    asked.push(`${method} ${url}`);
    if (url.startsWith('/clusters'))
      response.end(
        JSON.stringify({
          cluster_statuses: [
            host('inbound|5432||', '10.1.0.1', 5432, carried.size),
            host('outbound|443||evil.example', '203.0.113.9', 443, carried.size === 0 ? 0 : 2),
            host('xds-grpc', '10.0.0.9', 15012, 1),
          ],
        }),
      );
    else if (url.startsWith('/stats'))
      response.end(
        JSON.stringify({
          stats: [
            { name: 'listener.0.0.0.0_15006.downstream_cx_active', value: carried.size },
            { name: 'listener.0.0.0.0_15006.worker_0.downstream_cx_active', value: carried.size },
            { name: 'listener.admin.downstream_cx_active', value: 1 },
          ],
        }),
      );
    else if (method !== 'POST') response.writeHead(405).end('Method GET not allowed, POST required.');
    else {
      response.end('OK\n');
      if (url !== '/quitquitquit') return;
      for (const socket of carried) socket.destroy();
      onQuit();
    }
  });
  return { admin: await listen(admin), listener: await listen(listener), asked };
}

/** Of a host without connections the gauge has no value, as proto3's JSON has it. */
function host(name: string, address: string, port: number, active: number): object {
  return {
    name,
    host_statuses: [
      {
        address: { socket_address: { address, port_value: port } },
        stats: [
          { name: 'cx_total', value: '7' },
          { type: 'GAUGE', name: 'cx_active', ...(active === 0 ? {} : { value: String(active) }) },
        ],
      },
    ],
  };
}

/** The kubelet starts the proxy of a pod anew. */
function restart(
  name: string,
  list: 'containerStatuses' | 'initContainerStatuses' = 'containerStatuses',
  runs = true,
): void {
  const now = find('Pod').find(({ metadata }) => metadata.name === name);
  if (now === undefined) throw new Error('no pod');
  const state = runs ? { running: {} } : { terminated: { exitCode: 0 } };
  api.put({
    ...now,
    status: { phase: 'Running', [list]: [{ name: 'istio-proxy', restartCount: runs ? 1 : 0, state }] },
  });
}

function remove(kind: string, name: string): void {
  for (const one of find(kind)) if (one.metadata.name === name) api.remove(one);
}

/** As the kubelet tells of a restart, each time one more. */
function startedAnew(name: string): void {
  const now = find('Pod').find(({ metadata }) => metadata.name === name);
  if (now === undefined) return;
  const { containerStatuses } = now['status'] as unknown as { readonly containerStatuses: [{ restartCount: number }] };
  const restartCount = containerStatuses[0].restartCount + 1;
  api.put({
    ...now,
    status: { phase: 'Running', containerStatuses: [{ name: 'istio-proxy', restartCount, state: { running: {} } }] },
  });
}

async function caller(port: number): Promise<{ readonly ended: Promise<unknown> }> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  open.push({ close: () => socket.destroy() });
  socket.write('x');
  await once(socket, 'data');
  return { ended: once(socket, 'close') };
}

describe('connections at the proxy of a pod', () => {
  it.each([['beside', 'containerStatuses'] as const, ['native', 'initContainerStatuses'] as const])(
    'are told before, and ended with a proxy that runs %s; the pod stays, and the trail says it',
    async (kind, list) => {
      const envoy = await proxy(() => restart('db-1-1', list));
      await start([pod('db-1-1', kind)], (_, port) => (port === 15000 ? { port: envoy.admin } : undefined));
      const { ended } = await caller(envoy.listener);
      const shown = await quarantine({ dryRun: true, connections: 'drain' });
      expect(shown).toMatchObject({
        code: 0,
        document: {
          outcome: 'dry-run',
          connections: [
            {
              pod: 'db-1-1',
              accepted: 1,
              open: [
                { way: 'out', address: '203.0.113.9:443', count: 2 },
                { way: 'in', address: '10.1.0.1:5432', count: 1 },
              ],
              drained: null,
            },
          ],
        },
      });
      expect(JSON.stringify(shown.document['remarks'])).toContain('cannot be taken back');
      expect(envoy.asked.filter((one) => one.startsWith('POST'))).toEqual([]);

      const done = await quarantine({ connections: 'drain' });
      expect(done, done.said.join('\n')).toMatchObject({
        code: 0,
        document: { outcome: 'done', connections: [{ pod: 'db-1-1', drained: { outcome: 'ended' } }] },
      });
      await ended;
      expect(envoy.asked.filter((one) => one.startsWith('POST'))).toEqual([
        'POST /drain_listeners?graceful&skip_exit',
        'POST /quitquitquit',
      ]);
      expect(find('Pod')).toHaveLength(1);
      expect(find('CiliumNetworkPolicy')).toHaveLength(1);

      const { id } = done.document['incident'] as { readonly id: string };
      const timeline = (await run((app) => incident(app, 'show', id, {}))).document['entries'] as readonly {
        readonly what: string;
        readonly reason: string;
      }[];
      expect(timeline.map(({ what }) => what)).toEqual(
        expect.arrayContaining(['incident drain begins', 'incident drain: ended']),
      );
      const back = await run((app) => incident(app, 'undo', id, { dryRun: false }));
      expect(back).toMatchObject({ code: 0 });
      expect(JSON.stringify(back.document['remarks'])).toContain('were ended, and stay so');
    },
  );

  it('get no grace where nothing is open, and are not believed ended before the kubelet says so', async () => {
    const envoy = await proxy(() => undefined);
    await start([pod('db-1-1')], () => ({ port: envoy.admin }));
    let slept = 0;
    const done = await quarantine({ connections: 'drain' }, () => (slept += 1));
    expect(done).toMatchObject({ code: 7, document: { connections: [{ drained: { outcome: 'unknown' } }] } });
    // A minute of looking at the kubelet, and no second of grace.
    expect(slept).toBeGreaterThanOrEqual(59);
    expect(slept).toBeLessThan(63);
  });

  it('of a Job’s classic proxy say before that it will not come back, and that it has not', async () => {
    const envoy = await proxy(() => restart('db-1-1', 'containerStatuses', false));
    await start([pod('db-1-1', 'beside', { restartPolicy: 'Never' })], () => ({ port: envoy.admin }));
    expect(JSON.stringify((await quarantine({ dryRun: true, connections: 'drain' })).document['remarks'])).toContain(
      'will not start again',
    );
    const done = await quarantine({ connections: 'drain' });
    expect(done).toMatchObject({ code: 0, document: { connections: [{ drained: { outcome: 'ended' } }] } });
    expect(JSON.stringify(done.document['connections'])).toContain('no network through it any more');
  });

  it.each<readonly [string, FakeApiOptions['reach'], string, string]>([
    ['without the right to forward ports', () => ({ status: 403 }), 'SP403', 'failed'],
    // Whether a request without an answer came, nobody knows.
    ['where nothing listens in the pod', () => undefined, 'SP431', 'unknown'],
    ['where the pod is gone', () => ({ status: 404 }), 'SP404', 'failed'],
  ])('%s are unknown, which holds no quarantine up', async (_, reach, code, outcome) => {
    await start([pod('db-1-1')], reach);
    const done = await quarantine({});
    expect(done, done.said.join('\n')).toMatchObject({
      code: 0,
      document: { outcome: 'done', connections: [{ open: null, unknown: expect.stringContaining(code) as string }] },
    });
    const drained = await run((app) =>
      incident(app, 'connections', 'shop/Deployment/db', { connections: 'drain', dryRun: false, reason: 'x' }),
    );
    expect(drained).toMatchObject({ code: 7, document: { connections: [{ drained: { outcome } }] } });
    expect(find('CiliumNetworkPolicy')).toHaveLength(1);
  });

  it('are not asked about before the pod is cut off: what is in it may answer as slowly as it likes', async () => {
    let before = 0;
    const port = await listen(
      createServer((_, response) => {
        before += find('CiliumNetworkPolicy').length === 0 ? 1 : 0;
        response.end('{}');
      }),
    );
    await start([pod('db-1-1')], () => ({ port }));
    expect(await quarantine({})).toMatchObject({ code: 0, document: { connections: [{ open: [] }] } });
    expect(before).toBe(0);
  });

  it('that are cancelled half-way end no further proxy, and the trail says what was told', async () => {
    let stop: (() => void) | undefined;
    const envoy = await proxy(() => stop?.());
    const names = ['db-1-1', 'db-1-2', 'db-1-3', 'db-1-4', 'db-1-5', 'db-1-6'];
    await start(
      names.map((name) => pod(name)),
      () => ({ port: envoy.admin }),
    );
    const done = await run((app) => {
      stop = () => app.interrupt.stop();
      return incident(app, 'quarantine', 'shop/Deployment/db', {
        reason: 'calls home',
        dryRun: false,
        connections: 'drain',
      });
    });
    expect(done).toMatchObject({ code: 130, error: 'SP130' });
    expect(done.said.join('\n')).not.toContain('nothing was written');
    expect(find('CiliumNetworkPolicy')).toHaveLength(1);
    const [{ id } = { id: '' }] = (await run((app) => incident(app, 'list', undefined, {}))).document[
      'incidents'
    ] as readonly { readonly id: string }[];
    const trail = (await run((app) => incident(app, 'show', id, {}))).document['entries'] as readonly {
      readonly what: string;
      readonly reason: string;
      readonly object: string;
    }[];
    const told = trail.filter(({ what }) => what === 'incident drain: unknown');
    expect(told.length).toBeGreaterThan(0);
    expect(told[0]?.reason).toContain('told to end');
    expect(JSON.stringify(trail)).not.toContain('nothing was written');
    // No worker took another pod.
    expect(trail.filter(({ what }) => what === 'incident drain begins').length).toBeLessThanOrEqual(4);
    const back = await run((app) => incident(app, 'undo', id, {}));
    expect(JSON.stringify(back.document['remarks'])).toContain('may have been ended');
    expect(JSON.stringify(back.document['remarks'])).not.toContain('were ended');
    // The rest was asked for, and is not forgotten.
    expect((await run((app) => incident(app, 'show', id, {}))).document).toMatchObject({ drainOwed: true });
    stop = () => names.forEach(startedAnew);
    const resumed = await run((app) => resume(app));
    expect(resumed, resumed.said.join('\n')).toMatchObject({ document: { drains: [{ incident: id }] } });
    expect((await run((app) => incident(app, 'show', id, {}))).document).toMatchObject({ drainOwed: false });
    expect((await run((app) => resume(app))).document).not.toHaveProperty('drains');
  });

  it('are ended by resume where the run stopped before it came to that', async () => {
    const envoy = await proxy(() => startedAnew('db-1-1'));
    await start([pod('db-1-1')], () => ({ port: envoy.admin }));
    const stopped = await run((app) => {
      api.afterCall(({ method, path, query }) => {
        if (method === 'POST' && path.endsWith('/networkpolicies') && query['dryRun'] === undefined)
          app.interrupt.stop();
      });
      return incident(app, 'quarantine', 'shop/Deployment/db', {
        reason: 'calls home',
        dryRun: false,
        connections: 'drain',
        with: 'labels',
      });
    });
    expect(stopped, stopped.said.join('\n')).toMatchObject({ code: 130 });
    expect(envoy.asked).toEqual([]);
    const resumed = await run((app) => resume(app));
    expect(resumed, resumed.said.join('\n')).toMatchObject({
      code: 0,
      document: { outcome: 'done', drains: [{ outcome: 'done', connections: [{ pod: 'db-1-1' }] }] },
    });
    expect(envoy.asked).toContain('POST /quitquitquit');
  });

  it('are those of the pods that there are when the quarantine is in force', async () => {
    const envoy = await proxy(() => startedAnew('db-1-9'));
    await start([pod('db-1-1')], () => ({ port: envoy.admin }));
    api.afterCall(({ method, path, query }) => {
      if (method !== 'POST' || !path.endsWith('/ciliumnetworkpolicies') || query['dryRun'] !== undefined) return;
      remove('Pod', 'db-1-1');
      api.put(pod('db-1-9'));
    });
    const done = await quarantine({ connections: 'drain' });
    expect(done, done.said.join('\n')).toMatchObject({
      code: 0,
      document: { connections: [{ pod: 'db-1-9', drained: { outcome: 'ended' } }] },
    });
  });

  it('of others are left alone whatever labels they bear, and those on record found without their workload', async () => {
    const told: string[] = [];
    const envoy = await proxy(() => startedAnew('db-1-1'));
    await start([pod('db-1-1')], ({ name }) => {
      told.push(name);
      return { port: envoy.admin };
    });
    const { id } = (await quarantine({})).document['incident'] as { readonly id: string };
    const victim = pod('victim');
    const labels = { app: 'other', 'sallyport.dev/quarantine': id };
    api.put({ ...victim, metadata: { name: 'victim', namespace: 'shop', labels } });
    remove('Deployment', 'db');
    remove('ReplicaSet', 'db-1');
    told.length = 0;
    const done = await run((app) =>
      incident(app, 'connections', id, { connections: 'drain', dryRun: false, reason: 'still talks' }),
    );
    expect(done, done.said.join('\n')).toMatchObject({
      code: 0,
      document: { connections: [{ pod: 'db-1-1', drained: { outcome: 'ended' } }], strangers: ['victim'] },
    });
    expect(told).not.toContain('victim');
  });

  it('without a proxy are not said to be ended, and those of finished pods are none', async () => {
    await start([pod('db-1-1', 'none')], () => undefined);
    expect(await quarantine({ connections: 'drain' })).toMatchObject({ code: 7, document: { connections: [] } });
    expect(find('CiliumNetworkPolicy')).toHaveLength(1);
    const drain = (): Promise<Done> =>
      run((app) =>
        incident(app, 'connections', 'shop/Deployment/db', { connections: 'drain', dryRun: false, reason: 'x' }),
      );
    expect(await drain()).toMatchObject({ code: 3, error: 'SP434' });
    const envoy = await proxy(() => startedAnew('db-1-2'));
    await api.close();
    await start([pod('db-1-1', 'none'), pod('db-1-2'), { ...pod('db-1-3'), status: { phase: 'Failed' } }], () => ({
      port: envoy.admin,
    }));
    expect(await drain()).toMatchObject({
      code: 7,
      document: {
        outcome: 'partial',
        connections: [{ pod: 'db-1-2', drained: { outcome: 'ended' } }],
        withoutProxy: ['db-1-1'],
      },
    });
  });

  it('are not promised to be ended by who may not reach proxies', async () => {
    grants = held([]);
    await start([pod('db-1-1')], () => ({ status: 403 }));
    const shown = await quarantine({ dryRun: true, connections: 'drain' });
    expect(JSON.stringify(shown.document['remarks'])).toContain('pods/portforward');
    const done = await quarantine({ connections: 'drain' });
    expect(done).toMatchObject({ code: 4, error: 'SP485' });
    expect(done.said.join('\n')).toContain('sallyport-drainer');
    expect(find('CiliumNetworkPolicy')).toEqual([]);
  });

  it('are unknown where what answers is no proxy, whatever it says', async () => {
    for (const text of [
      'hello',
      '{"cluster_statuses": 7}',
      '[]',
      '{"cluster_statuses":[{"name":"a","host_statuses":[{"stats":[{"name":"cx_active","value":"-1"}]}]}]}',
    ]) {
      const port = await listen(createServer((_, response) => response.end(text)));
      await start([pod('db-1-1')], () => ({ port }));
      expect((await run((app) => incident(app, 'connections', 'shop/Deployment/db', {}))).document).toMatchObject({
        connections: [{ open: null, unknown: 'its answer is not that of a proxy' }],
      });
      await api.close();
    }
    await start([pod('db-1-1')]);
  });

  it('of a quarantine in force are ended later by its id, with a reason, and are asked about', async () => {
    const envoy = await proxy(() => restart('db-1-1'));
    await start([pod('db-1-1'), pod('db-1-2', 'none')], () => ({ port: envoy.admin }));
    const { id } = (await quarantine({})).document['incident'] as { readonly id: string };
    const later = (more: IncidentOptions): Promise<Done> =>
      run((app) => incident(app, 'connections', id, { connections: 'drain', dryRun: false, ...more }));
    expect(await later({})).toMatchObject({ code: 2, error: 'SP209' });
    expect(await later({ dryRun: true })).toMatchObject({ code: 0, document: { withoutProxy: ['db-1-2'] } });
    expect(envoy.asked.some((one) => one.startsWith('POST'))).toBe(false);
    expect(await later({ reason: 'still calls home' })).toMatchObject({
      code: 7,
      document: { incident: id, connections: [{ pod: 'db-1-1', drained: { outcome: 'ended' } }] },
    });
  });
});

describe('pods that go', () => {
  const budget = (allowed: number): KubeManifest => ({
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: 'db', namespace: 'shop' },
    spec: { minAvailable: 2, selector: { matchLabels: { app: 'db' } } },
    status: { disruptionsAllowed: allowed },
  });

  it('are evicted where budgets let them, and are not made again by the undo', async () => {
    await start([pod('db-1-1', 'none')], undefined, budget(1));
    const done = await quarantine({ connections: 'delete' });
    expect(done, done.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done' } });
    expect(find('Pod')).toEqual([]);
    expect(api.calls.some(({ method, path }) => method === 'DELETE' && path.includes('/pods/'))).toBe(false);
    // Whoever ignores SIGTERM has no longer than that.
    const evictions = api.calls
      .filter(({ path }) => path.endsWith('/eviction'))
      .map(({ body }) => JSON.stringify(body));
    expect(evictions.length).toBeGreaterThan(1);
    expect(evictions.filter((body) => !body.includes('"gracePeriodSeconds":5'))).toEqual([]);
    const { id } = done.document['incident'] as { readonly id: string };
    const back = await run((app) => incident(app, 'undo', id, { dryRun: false }));
    expect(back, back.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done' } });
    expect(find('Pod')).toEqual([]);
    expect(find('CiliumNetworkPolicy')).toEqual([]);
    expect(JSON.stringify(back.document['remarks'])).toContain('gone for good');
  });

  it('and do not go are not said to have gone', async () => {
    const one = pod('db-1-1', 'none');
    await start([{ ...one, metadata: { ...one.metadata, finalizers: ['example.com/hold'] } }]);
    const done = await quarantine({ connections: 'delete', pastBudgets: true });
    expect(done, done.said.join('\n')).toMatchObject({ code: 7, document: { outcome: 'partial' } });
    expect(done.said.join('\n')).toContain('db-1-1 was told to end and is there still');
  });

  it('that is told to end with a long grace gets a short one', async () => {
    const one = pod('db-1-1', 'none');
    const deletionTimestamp = new Date().toISOString();
    await start([{ ...one, metadata: { ...one.metadata, deletionTimestamp, deletionGracePeriodSeconds: 86_400 } }]);
    expect(await quarantine({ connections: 'delete' })).toMatchObject({ code: 0 });
    expect(find('Pod')).toEqual([]);
  });

  it('of two budgets are not evicted, and the refusal names what does', async () => {
    const [one, two] = [budget(1), budget(1)];
    await start([pod('db-1-1', 'none')], undefined, one, { ...two, metadata: { ...two.metadata, name: 'also' } });
    const shown = await quarantine({ dryRun: true, connections: 'delete' });
    expect(JSON.stringify(shown.document['remarks'])).toContain('two PodDisruptionBudgets');
    // As pkg/registry/core/pod/storage/eviction.go has it.
    const message =
      'Internal error occurred: This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.';
    for (let times = 0; times < 8; times += 1)
      api.failNext({
        path: '/eviction',
        fault: {
          kind: 'status',
          status: 500,
          body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'InternalError', code: 500, message },
        },
      });
    const done = await quarantine({ connections: 'delete' });
    expect(done, done.said.join('\n')).toMatchObject({ code: 3, error: 'SP432' });
    expect(find('CiliumNetworkPolicy')).toEqual([]);
  });

  it('are more than a budget allows is told before', async () => {
    await start([pod('db-1-1', 'none'), pod('db-1-2', 'none')], undefined, budget(1));
    const shown = await quarantine({ dryRun: true, connections: 'delete' });
    expect(JSON.stringify(shown.document['remarks'])).toContain('db allows 1 of the 2 evictions now');
  });

  it('are kept by a budget before anything is written, unless it is passed by', async () => {
    await start([pod('db-1-1', 'none')], undefined, budget(0));
    const shown = await quarantine({ dryRun: true, connections: 'delete' });
    expect(shown.code).toBe(0);
    expect(shown.said.join('\n')).toContain('SP432');
    const kept = await quarantine({ connections: 'delete' });
    expect(kept).toMatchObject({ code: 3, error: 'SP432' });
    expect(kept.said.join('\n')).toContain('The disruption budget db needs 2 healthy pods');
    expect(find('CiliumNetworkPolicy')).toEqual([]);
    expect(find('Pod')).toHaveLength(1);
    expect(await quarantine({ connections: 'delete', pastBudgets: true })).toMatchObject({ code: 0 });
    expect(find('Pod')).toEqual([]);
  });

  it('that a budget keeps only when their turn comes leave the quarantine in force, and say so', async () => {
    await start([pod('db-1-1', 'none'), pod('db-1-2', 'none')], undefined, budget(1));
    api.afterCall(({ method, path, query }) => {
      if (method === 'POST' && path.endsWith('/db-1-1/eviction') && query['dryRun'] === undefined) api.put(budget(0));
    });
    const done = await quarantine({ connections: 'delete' });
    expect(done, done.said.join('\n')).toMatchObject({
      code: 3,
      document: { outcome: 'partial', error: { code: 'SP432' } },
    });
    expect(find('Pod').map(({ metadata }) => metadata.name)).toEqual(['db-1-2']);
    expect(find('CiliumNetworkPolicy')).toHaveLength(1);
  });
});

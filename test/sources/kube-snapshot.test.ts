import { afterEach, describe, expect, it } from 'vitest';
import type { Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import { asArray, asObject } from '../../src/shared/pure/json.ts';
import { connectKube, openDiscovery, readKubeKinds, readKubeSnapshot } from '../../src/sources/kube/index.ts';
import type { KubeApi } from '../../src/sources/kube/index.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import { ISTIO_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeApi, FakeApiOptions } from '../support/fake-api/server.ts';
import { startFakeApi, statusBody } from '../support/fake-api/server.ts';

let server: FakeApi | undefined;
let api: KubeApi | undefined;

afterEach(async () => {
  api?.close();
  await server?.close();
  api = undefined;
  server = undefined;
});

async function start(options: FakeApiOptions = {}): Promise<FakeApi> {
  server = await startFakeApi(options);
  api = await connectKube({ kubeconfig: server.kubeconfig, clock: simulatedClock() });
  return server;
}

async function read(onProgress?: (text: string) => void): Promise<Snapshot> {
  if (api === undefined) throw new Error('not started');
  return readKubeSnapshot({
    api,
    discovery: openDiscovery(api),
    concurrency: 1,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
}

const keysOf = (snapshot: Snapshot, prefix: string): readonly string[] =>
  snapshot.objects.map((object) => refKey(refOf(object))).filter((key) => key.startsWith(prefix));

function object(apiVersion: string, kind: string, name: string, more: object = {}): KubeManifest {
  const namespaced = !['Namespace', 'Node', 'CustomResourceDefinition'].includes(kind);
  const { metadata, ...rest } = more as { readonly metadata?: object };
  return {
    apiVersion,
    kind,
    ...rest,
    metadata: { name, ...(namespaced ? { namespace: 'shop' } : {}), ...metadata },
  };
}

const SHOP = object('v1', 'Namespace', 'shop');
const accounts = (count: number): readonly KubeManifest[] =>
  Array.from({ length: count }, (_, index) => object('v1', 'ServiceAccount', `a-${String(index).padStart(4, '0')}`));

describe('readKubeSnapshot', () => {
  it('reads kinds of every group that is served, and never Secrets', async () => {
    const fake = await start({
      kinds: ISTIO_KINDS,
      objects: [SHOP, object('v1', 'Secret', 'db'), object('security.istio.io/v1', 'PeerAuthentication', 'default')],
    });
    const snapshot = await read();
    expect(keysOf(snapshot, '')).toEqual([
      '/Namespace//kube-system',
      '/Namespace//shop',
      'security.istio.io/PeerAuthentication/shop/default',
    ]);
    expect(fake.calls.filter(({ path }) => path.includes('secrets'))).toEqual([]);
    expect(snapshot.unread).toEqual([]);
  });

  it('reads only', async () => {
    const fake = await start();
    await read();
    expect(fake.calls.every(({ method }) => method === 'GET')).toBe(true);
  });

  it('follows the pages of a long list', async () => {
    const fake = await start({ objects: [SHOP, ...accounts(1201)] });
    expect(keysOf(await read(), '/ServiceAccount/')).toHaveLength(1201);
    const pages = fake.calls.filter(({ path }) => path === '/api/v1/serviceaccounts');
    expect(pages.map(({ query }) => [query['limit'], query['continue']])).toEqual([
      ['500', undefined],
      ['500', 'token-1'],
      ['500', 'token-2'],
    ]);
  });

  it('reads the list whole when its pages have expired', async () => {
    const fake = await start({ objects: [SHOP, ...accounts(1201)] });
    fake.afterCall(({ path, query }) => {
      if (path !== '/api/v1/serviceaccounts' || query['continue'] !== 'token-1') return;
      fake.expireContinueTokens();
      // Was on the first page; the whole list no longer has it.
      fake.remove(object('v1', 'ServiceAccount', 'a-0000'));
    });
    const keys = keysOf(await read(), '/ServiceAccount/');
    expect(keys).toHaveLength(1200);
    expect(keys).not.toContain('/ServiceAccount/shop/a-0000');
    expect(new Set(keys).size).toBe(1200);
    const last = fake.calls.filter(({ path }) => path === '/api/v1/serviceaccounts').at(-1);
    expect(last?.query).toEqual({});
  });

  it('says so when the whole list has expired as well', async () => {
    const fake = await start();
    fake.failNext({
      path: '/serviceaccounts',
      times: 2,
      fault: { kind: 'status', status: 410, body: statusBody(410, 'Expired', 'too old') },
    });
    await expect(read()).rejects.toMatchObject({ detail: { code: 'SP410', exit: EXIT.cluster } });
  });

  it('fails when a kind that everything rests on may not be listed', async () => {
    const fake = await start();
    fake.failNext({
      path: '/apis/apps/v1/deployments',
      fault: {
        kind: 'status',
        status: 403,
        body: statusBody(
          403,
          'Forbidden',
          'deployments.apps is forbidden: User "jane" cannot list resource "deployments"',
        ),
      },
    });
    const error: unknown = await read().catch((reason: unknown) => reason);
    if (!(error instanceof Failure)) throw new Error(`not a Failure: ${String(error)}`);
    expect(error.detail).toMatchObject({ code: 'SP403', exit: EXIT.cluster });
    expect(error.message).toContain('you may not list deployments.apps in the whole cluster');
    expect(error.detail.hint).toContain('kubectl auth can-i list deployments.apps --all-namespaces');
  });

  it.each([403, 500])('names another kind that answers %i as unread, with a finding', async (status) => {
    const fake = await start({ kinds: ISTIO_KINDS });
    fake.failNext({ path: 'peerauthentications', times: 4, fault: { kind: 'status', status } });
    const snapshot = await read();
    expect(snapshot.unread).toEqual(['security.istio.io/PeerAuthentication']);
    expect(snapshot.findings).toMatchObject([
      { code: 'SP301', severity: 'warning', subject: 'security.istio.io/PeerAuthentication' },
    ]);
  });

  it('names all kinds of a group as unread whose own server is down', async () => {
    const fake = await start({ kinds: ISTIO_KINDS });
    fake.failNext({ path: '/apis/security.istio.io/v1', times: 4, fault: { kind: 'status', status: 503 } });
    expect((await read()).unread).toEqual(['security.istio.io/*']);
  });

  it('does not take kinds for absent, when they are read again, whose own server is down', async () => {
    const fake = await start({ kinds: ISTIO_KINDS });
    if (api === undefined) throw new Error('not started');
    const wanted = [{ group: 'security.istio.io', kind: 'PeerAuthentication', namespaces: ['shop'] }];
    fake.failNext({ path: '/apis/security.istio.io/v1', times: 4, fault: { kind: 'status', status: 503 } });
    await expect(readKubeKinds({ api, discovery: openDiscovery(api) }, wanted)).rejects.toMatchObject({
      detail: { code: 'SP440', exit: EXIT.cluster, nature: 'passes' },
    });
    expect(await readKubeKinds({ api, discovery: openDiscovery(api) }, wanted)).toEqual([]);
  });

  it('fails when credentials run out in the middle, also for a kind that may be missing', async () => {
    const fake = await start({ kinds: ISTIO_KINDS });
    fake.failNext({ path: 'peerauthentications', fault: { kind: 'status', status: 401 } });
    await expect(read()).rejects.toMatchObject({ detail: { code: 'SP401' } });
  });

  it('keeps who manages an object, and nothing else of managed fields', async () => {
    const fake = await start({ objects: [SHOP] });
    fake.put(object('apps/v1', 'Deployment', 'web', { spec: { replicas: 1 } }), 'argocd-controller');
    const web = (await read()).objects.find(({ kind }) => kind === 'Deployment');
    expect(web?.metadata['managedFields']).toEqual([{ manager: 'argocd-controller', operation: 'Update' }]);
  });

  it('leaves out of pods what nobody asks for, and keeps environment names', async () => {
    await start({
      objects: [
        SHOP,
        object('v1', 'Pod', 'web-1', {
          spec: {
            tolerations: [{ operator: 'Exists' }],
            containers: [{ name: 'main', image: 'i', env: [{ name: 'A', value: 'b' }], volumeMounts: [{ name: 'v' }] }],
          },
          status: { podIP: '10.0.0.1', containerStatuses: [{ name: 'main', ready: true, imageID: 'sha256:…' }] },
        }),
      ],
    });
    const pod = (await read()).objects.find(({ kind }) => kind === 'Pod');
    expect(pod?.['spec']).toEqual({ containers: [{ name: 'main', image: 'i', env: [{ name: 'A', value: 'b' }] }] });
    expect(pod?.['status']).toEqual({ podIP: '10.0.0.1', containerStatuses: [{ name: 'main', ready: true }] });
  });

  it('reads only the metadata of ReplicaSets, but for those that nothing owns', async () => {
    const owned = { metadata: { ownerReferences: [{ kind: 'Deployment', name: 'web', controller: true }] } };
    await start({
      objects: [
        SHOP,
        object('apps/v1', 'ReplicaSet', 'web-1', { ...owned, spec: { replicas: 1 } }),
        object('apps/v1', 'ReplicaSet', 'alone', { spec: { replicas: 2 } }),
      ],
    });
    const sets = (await read()).objects.filter(({ kind }) => kind === 'ReplicaSet');
    expect(sets.map((set) => [set.metadata.name, set['spec']])).toEqual([
      ['alone', { replicas: 2 }],
      ['web-1', undefined],
    ]);
    expect(asArray(sets[1]?.metadata['ownerReferences']).map((owner) => asObject(owner)['name'])).toEqual(['web']);
  });

  it('says of a definition what it defines', async () => {
    await start({ objects: [object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'rayclusters.ray.io')] });
    const found = (await read()).objects.find(({ kind }) => kind === 'CustomResourceDefinition');
    expect(found?.['spec']).toEqual({ group: 'ray.io', names: { plural: 'rayclusters' } });
  });

  it('reads ConfigMaps by name only, and the mesh configuration beside istiod', async () => {
    const mesh = { metadata: { namespace: 'mesh-root' } };
    const fake = await start({
      objects: [
        SHOP,
        object('v1', 'Namespace', 'mesh-root'),
        object('apps/v1', 'Deployment', 'istiod', {
          metadata: { namespace: 'mesh-root', labels: { app: 'istiod', 'istio.io/rev': 'v2' } },
        }),
        object('v1', 'ConfigMap', 'istio-v2', { ...mesh, data: { mesh: 'trustDomain: x' } }),
        object('v1', 'ConfigMap', 'passwords', { ...mesh, data: { a: 'b' } }),
        object('v1', 'ConfigMap', 'cilium-config', { metadata: { namespace: 'kube-system' }, data: {} }),
      ],
    });
    expect(keysOf(await read(), '/ConfigMap/')).toEqual([
      '/ConfigMap/kube-system/cilium-config',
      '/ConfigMap/mesh-root/istio-v2',
    ]);
    expect(fake.calls.filter(({ path }) => path.endsWith('/configmaps'))).toEqual([]);
  });

  it('goes on without a ConfigMap that may not be read', async () => {
    const fake = await start();
    fake.failNext({ path: '/configmaps/cilium-config', fault: { kind: 'status', status: 403 } });
    const snapshot = await read();
    expect(snapshot.unread).toEqual(['/ConfigMap']);
    expect(snapshot.findings).toMatchObject([{ code: 'SP301', subject: 'ConfigMap kube-system/cilium-config' }]);
  });

  it('tells how far it is', async () => {
    await start({ objects: [SHOP] });
    const said: string[] = [];
    await read((text) => said.push(text));
    expect(said[0]).toMatch(/^Namespace: 2 objects \(1 of \d+ kinds\)$/);
  });
});

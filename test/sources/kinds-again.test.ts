// What is read again before a step: the same as a whole reading gives, by fewer and smaller answers.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { setPath } from '../../src/shared/pure/json.ts';
import { connectKube, openDiscovery, readKubeKinds } from '../../src/sources/kube/index.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import fc from '../support/fast-check.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { FakeApi, LoggedCall } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';

const NAMESPACES = ['a', 'b'];
const workload = (kind: string, namespace: string, name: string, image: string): KubeManifest => ({
  apiVersion: 'apps/v1',
  kind,
  metadata: { name, namespace },
  spec: { template: { metadata: { labels: { app: name } }, spec: { containers: [{ name, image }] } } },
});
const policy = (namespace: string, name: string, app: string): KubeManifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec: { podSelector: { matchLabels: { app } } },
});
const pod = (namespace: string, name: string, app: string): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, labels: { app } },
  spec: { containers: [{ name, image: 'i' }] },
  status: { phase: 'Running' },
});
const LISTS = [
  { group: 'apps', kind: 'Deployment', namespaces: NAMESPACES },
  { group: 'apps', kind: 'ReplicaSet', namespaces: NAMESPACES },
  { group: '', kind: 'Pod', namespaces: ['a'] },
  { group: 'networking.k8s.io', kind: 'NetworkPolicy', namespaces: NAMESPACES },
];

let server: FakeApi;
let target: Target;

beforeEach(async () => {
  server = await startFakeApi({
    objects: NAMESPACES.map((name): KubeManifest => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
  });
  target = await openClusterTarget({ kubeconfig: server.kubeconfig, clock: simulatedClock(), concurrency: 1 });
});
afterEach(async () => {
  await target.close();
  await server.close();
});

async function callsOf(work: () => Promise<unknown>): Promise<readonly LoggedCall[]> {
  const before = server.calls.length;
  await work();
  return server.calls
    .slice(before)
    .filter(({ path }) => /\/(?:deployments|replicasets|pods|networkpolicies)/u.test(path));
}
const isMetadata = ({ headers }: LoggedCall): boolean =>
  headers['accept']?.includes('PartialObjectMetadataList') === true;

async function wholly(): Promise<readonly KubeManifest[]> {
  const api = await connectKube({ kubeconfig: server.kubeconfig, clock: simulatedClock() });
  try {
    return await readKubeKinds({ api, discovery: openDiscovery(api) }, LISTS);
  } finally {
    api.close();
  }
}

describe('reading kinds again', () => {
  it('gives what a whole reading gives, whatever others write in between', async () => {
    const name = fc.constantFrom('x', 'y', 'z');
    const act = fc.record({
      namespace: fc.constantFrom(...NAMESPACES),
      name,
      what: fc.constantFrom('Deployment', 'ReplicaSet', 'NetworkPolicy', 'Pod'),
      how: fc.constantFrom('put', 'remove', 'anew', 'touch'),
      value: name,
    });
    const step = fc.record({ acts: fc.array(act, { maxLength: 6 }), snapshot: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
        for (const { acts, snapshot } of steps) {
          for (const { namespace, name: of, what, how, value } of acts) {
            const made =
              what === 'Pod'
                ? pod(namespace, of, value)
                : what === 'NetworkPolicy'
                  ? policy(namespace, of, value)
                  : workload(what, namespace, of, value);
            const live = server.get(made);
            if (how === 'remove' || how === 'anew') server.remove(made);
            if (how === 'touch' && live !== undefined)
              server.put(setPath(live, ['status'], { seen: value }) as KubeManifest);
            if (how === 'put' || how === 'anew') server.put(made);
          }
          if (snapshot) await target.readSnapshot();
          expect(await target.readKinds(LISTS)).toEqual(await wholly());
        }
      }),
      { numRuns: 25 },
    );
  });

  it('asks for the metadata of what it knows, and for what changed', async () => {
    for (const one of ['x', 'y', 'z']) server.put(workload('Deployment', 'a', one, 'i:1'));
    server.put(policy('a', 'p', 'x'));
    const lists = [
      { group: 'apps', kind: 'Deployment', namespaces: ['a'] },
      { group: 'networking.k8s.io', kind: 'NetworkPolicy', namespaces: ['a'] },
    ];
    const first = await callsOf(() => target.readKinds(lists));
    expect(first.map((call) => `${call.path} ${isMetadata(call)}`)).toEqual([
      '/apis/apps/v1/namespaces/a/deployments false',
      '/apis/networking.k8s.io/v1/namespaces/a/networkpolicies false',
    ]);
    expect((await callsOf(() => target.readKinds(lists))).map((call) => isMetadata(call))).toEqual([true, false]);
    server.put(workload('Deployment', 'a', 'y', 'i:2'));
    let read: readonly KubeManifest[] = [];
    const third = await callsOf(async () => (read = await target.readKinds(lists)));
    expect(third.map(({ path }) => path)).toContain('/apis/apps/v1/namespaces/a/deployments/y');
    expect(third).toHaveLength(3);
    expect(JSON.stringify(read.find(({ metadata }) => metadata.name === 'y'))).toContain('i:2');
  });

  it('knows what the inventory read, and what it wrote itself', async () => {
    server.put(workload('Deployment', 'a', 'x', 'i:1'));
    await target.readSnapshot();
    const lists = [{ group: 'apps', kind: 'Deployment', namespaces: ['a'] }];
    expect((await callsOf(() => target.readKinds(lists))).map((call) => isMetadata(call))).toEqual([true]);
    const path = ['spec', 'template', 'metadata', 'labels', 'app'];
    const ref = { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'a', name: 'x' };
    const edit = { kind: 'edit', ref, owner: 'other', fields: [{ path, before: 'x', after: 'ours' }] } as const;
    await target.apply(edit);
    let read: readonly KubeManifest[] = [];
    expect(await callsOf(async () => (read = await target.readKinds(lists)))).toHaveLength(1);
    expect(JSON.stringify(read)).toContain('ours');
  });

  it('reads a list where much changed, and one that an old API server gives whole', async () => {
    const put = (image: string): void => {
      for (let index = 0; index < 25; index += 1) server.put(workload('Deployment', 'a', `d${index}`, image));
    };
    put('i:1');
    const lists = [{ group: 'apps', kind: 'Deployment', namespaces: ['a'] }];
    await target.readKinds(lists);
    put('i:2');
    expect(await callsOf(() => target.readKinds(lists))).toHaveLength(2);
    expect(JSON.stringify(await target.readKinds(lists))).not.toContain('i:1');
  });

  it('reads many namespaces one by one where they are little of the cluster', async () => {
    const names = Array.from({ length: 10 }, (_, index) => `n${index}`);
    for (const name of [...names, 'crowd']) server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    for (const name of names) server.put(policy(name, 'p', 'x'));
    const lists = [{ group: 'networking.k8s.io', kind: 'NetworkPolicy', namespaces: names }];
    expect(await callsOf(() => target.readKinds(lists))).toHaveLength(1);
    await target.readSnapshot();
    expect(await callsOf(() => target.readKinds(lists))).toHaveLength(1);
    for (let index = 0; index < 600; index += 1) server.put(policy('crowd', `p${index}`, 'x'));
    await target.readSnapshot();
    const calls = await callsOf(() => target.readKinds(lists));
    expect(calls.map(({ path }) => path)).toEqual(
      names.map((name) => `/apis/networking.k8s.io/v1/namespaces/${name}/networkpolicies`),
    );
  });

  it('does not take an object of the same name for the one that it knows', async () => {
    server.put(workload('Deployment', 'a', 'x', 'i:1'));
    const lists = [{ group: 'apps', kind: 'Deployment', namespaces: ['a'] }];
    await target.readKinds(lists);
    server.remove(workload('Deployment', 'a', 'x', 'i:1'));
    server.put(workload('Deployment', 'a', 'x', 'i:9'));
    const image = (objects: readonly KubeManifest[]): Json => JSON.stringify(objects).includes('i:9');
    expect(image(await target.readKinds(lists))).toBe(true);
  });
});

it('asks a cluster for what extends proxies, where that is served', async () => {
  const kind = {
    apiVersion: 'extensions.istio.io/v1alpha1',
    kind: 'WasmPlugin',
    plural: 'wasmplugins',
    namespaced: true,
  };
  const fake = await startFakeApi({ kinds: [kind] });
  const meshed = await openClusterTarget({ kubeconfig: fake.kubeconfig, clock: simulatedClock() });
  try {
    fake.put({
      apiVersion: 'extensions.istio.io/v1alpha1',
      kind: 'WasmPlugin',
      metadata: { name: 'filter', namespace: 'istio-system' },
      spec: { url: 'oci://example.com/filter' },
    });
    expect((await meshed.readSnapshot()).objects.filter((one) => one.kind === 'WasmPlugin')).toHaveLength(1);
    const lists = [{ group: 'extensions.istio.io', kind: 'WasmPlugin', namespaces: ['istio-system'] }];
    expect(await meshed.readKinds(lists)).toHaveLength(1);
    expect(await target.readKinds(lists)).toEqual([]);
  } finally {
    await meshed.close();
    await fake.close();
  }
});

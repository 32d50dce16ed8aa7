// A probe on a real API server: its pod is taken under Pod Security "restricted", by the shipped role alone, and nothing of it stays.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { runProbes } from '../../src/cli/probe.ts';
import { PROBE_LABEL } from '../../src/model/probe.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { connectKube } from '../../src/sources/kube/index.ts';
import type { KubeApi } from '../../src/sources/kube/index.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { pathOf, resources } from '../support/apiserver/objects.ts';
import { inventoryOf } from '../support/world.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const alice = shared.users['alice'];
const suffix = randomBytes(4).toString('hex');
const namespace = `probe-${suffix}`;
const roles = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const bindings = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
const name = `sallyport-prober-${suffix}`;
const IMAGE = `registry.example/sallyport@sha256:${'b'.repeat(64)}`;
const pods = pathOf(resources.pods, namespace);
let api: KubeApi;

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  }[];
}
const list = async (): Promise<PodList['items']> => ((await admin.must('GET', pods)).body as PodList).items;

beforeAll(async () => {
  await admin.must('POST', pathOf(resources.namespaces), {
    metadata: { name: namespace, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  await admin.must('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name: 'web' } });
  const role = parse(readFileSync(new URL('../../templates/rbac/prober.yaml', import.meta.url), 'utf8')) as object;
  await admin.must('POST', roles, { ...role, metadata: { name } });
  await admin.must('POST', bindings, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
  });
  api = await connectKube({ kubeconfig: alice?.kubeconfig ?? '', clock: systemClock });
});

afterAll(async () => {
  api.close();
  await admin.request('DELETE', `${bindings}/${name}`);
  await admin.request('DELETE', `${roles}/${name}`);
  await deleteNamespace(admin, namespace);
  admin.close();
});

it('is admitted, answers, and is gone', async () => {
  // The authorizer hears of a binding a moment after it is made.
  const asked = { method: 'GET', path: pods, subject: { doing: 'asking', verb: 'list', resource: 'pods' } } as const;
  await expect.poll(async () => (await api.send(asked)).ok, { timeout: 20_000 }).toBe(true);
  const web = `${namespace}/Deployment/web`;
  const db = `${namespace}/Deployment/db`;
  const inventory = inventoryOf({
    workloads: {
      [web]: { labels: { app: 'web', 'pod-template-hash': 'abc' }, account: 'web', pods: ['10.0.0.1@n1'] },
      [db]: { labels: { app: 'db' }, pods: ['10.0.0.2@n1'] },
    },
  });
  const running = runProbes(
    [
      { must: 'pass', from: web, to: db, port: 5432 },
      { must: 'fail', from: web, to: db, port: 22 },
    ],
    inventory,
    () => undefined,
    {
      api,
      clock: systemClock,
      image: IMAGE,
      run: `p${suffix}`,
      signal: new AbortController().signal,
      note: (text) => expect.fail(text),
      journal: () => undefined,
    },
  );
  // The kubelet of this cluster.
  await expect.poll(async () => (await list()).length, { timeout: 20_000 }).toBe(1);
  const [pod] = await list();
  const seen: unknown = pod;
  await admin.must('PATCH', `${pods}/${pod?.metadata.name ?? ''}/status`, {
    status: {
      phase: 'Succeeded',
      containerStatuses: [
        {
          name: 'probe',
          image: IMAGE,
          imageID: '',
          ready: false,
          restartCount: 0,
          state: { terminated: { exitCode: 0, reason: 'Completed', message: 'oo' } },
        },
      ],
    },
  });
  const [found] = await running;
  expect(found?.gates.map(({ answer }) => answer)).toEqual(['yes', 'no']);
  expect(seen).toMatchObject({
    metadata: {
      labels: { app: 'web', [PROBE_LABEL]: `p${suffix}` },
      ownerReferences: [{ kind: 'Namespace', name: namespace, controller: true }],
    },
    spec: { serviceAccountName: 'web', automountServiceAccountToken: false },
  });
  expect((seen as { metadata: { labels: object } }).metadata.labels).not.toHaveProperty('pod-template-hash');
  await expect.poll(async () => (await list()).length, { timeout: 20_000 }).toBe(0);
});

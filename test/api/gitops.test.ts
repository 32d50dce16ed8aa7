// Who owns which field, as a real API server keeps it; and whose credentials these are.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { ownerOfField, readDeployers } from '../../src/readiness/gitops.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import type { ApiClient } from '../support/apiserver/client.ts';
import { connect } from '../support/apiserver/client.ts';

const APPLY = 'application/apply-patch+yaml';
const ACCOUNT = ['spec', 'template', 'spec', 'serviceAccountName'];
const MARK = ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'];
const namespace = `gitops-${randomBytes(5).toString('hex')}`;
const path = `/apis/apps/v1/namespaces/${namespace}/deployments/web`;
const ref = { apiVersion: 'apps/v1', kind: 'Deployment', namespace, name: 'web' };
let client: ApiClient;
let target: Target;

/** As it would stand in Git. */
const declared = (account: string): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: {
    name: 'web',
    namespace,
    annotations: { 'argocd.argoproj.io/tracking-id': `shop:apps/Deployment:${namespace}/web` },
  },
  spec: {
    replicas: 0,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: { serviceAccountName: account, containers: [{ name: 'main', image: 'example.com/web:1' }] },
    },
  },
});
const live = async (): Promise<KubeManifest> => {
  const found = await target.readObject(ref);
  if (found === undefined) throw new Error('not there');
  return found;
};

beforeAll(async () => {
  const server = inject('apiServer');
  client = connect(server.admin);
  await client.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  await client.must('PATCH', `${path}?fieldManager=argocd-controller`, declared('web'), APPLY);
  target = await openClusterTarget({ kubeconfig: server.kubeconfig, clock: systemClock });
});
afterAll(async () => {
  await target.close();
  await client.request('DELETE', `/api/v1/namespaces/${namespace}`);
  client.close();
});

it('tells the fields that Argo CD owns from those that it does not', async () => {
  const web = await live();
  expect(ownerOfField(web, ACCOUNT, 'argo-cd')).toEqual({ manager: 'argocd-controller' });
  expect(ownerOfField(web, MARK, 'argo-cd')).toBe('nobody');
  expect(JSON.stringify(web.metadata['managedFields'])).not.toContain('f:containers');
});

it('does what the gate says: a sync takes back the field that Git declares, and leaves the one that it does not', async () => {
  await target.apply({
    kind: 'edit',
    ref,
    owner: 'other',
    fields: [
      { path: ACCOUNT, before: 'web', after: 'web-own' },
      { path: MARK, before: undefined, after: 'true' },
    ],
  });
  // Ours is a patch with tests: nothing was forced, and the deployer still finds its field in other hands.
  const asked = await client.request('PATCH', `${path}?fieldManager=argocd-controller`, declared('web'), APPLY);
  expect(asked.status).toBe(409);
  expect(asked.text).toContain('.spec.template.spec.serviceAccountName');
  await client.must('PATCH', `${path}?fieldManager=argocd-controller&force=true`, declared('web'), APPLY);
  const { spec } = (await live()) as unknown as { spec: { template: { metadata: object; spec: object } } };
  expect(spec.template.spec).toMatchObject({ serviceAccountName: 'web' });
  expect(spec.template.metadata).toMatchObject({ labels: { 'sidecar.istio.io/inject': 'true' } });
});

it('reads the lists of Argo CD, and nothing of its charts', async () => {
  await client.must('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    metadata: { name: 'applications.argoproj.io' },
    spec: {
      group: 'argoproj.io',
      scope: 'Namespaced',
      names: { plural: 'applications', singular: 'application', kind: 'Application' },
      versions: [
        {
          name: 'v1alpha1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    },
  });
  try {
    const applications = `/apis/argoproj.io/v1alpha1/namespaces/${namespace}/applications`;
    const application = {
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'Application',
      metadata: { name: 'shop' },
      spec: { source: { helm: { values: 'password: hunter2' } }, syncPolicy: { automated: { selfHeal: true } } },
      status: { resources: [{ group: 'apps', version: 'v1', kind: 'Deployment', namespace, name: 'web' }] },
    };
    await expect
      .poll(async () => (await client.request('POST', applications, application)).status, { timeout: 20_000 })
      .toBe(201);
    const fresh = await openClusterTarget({ kubeconfig: inject('apiServer').kubeconfig, clock: systemClock });
    try {
      const { objects } = await fresh.readSnapshot();
      expect(JSON.stringify(objects)).not.toContain('hunter2');
      expect([...readDeployers(objects).values()]).toContainEqual({
        kind: 'argo-cd',
        object: `Application ${namespace}/shop`,
        name: 'shop',
        manner: 'selfHeal is on: an edit is taken back within seconds',
      });
    } finally {
      await fresh.close();
    }
  } finally {
    await client.request('DELETE', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/applications.argoproj.io');
  }
});

it('knows whose credentials these are, whomever they impersonate', async () => {
  const poser = `poser-${namespace}`;
  const bindings = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
  await client.must('POST', bindings, {
    metadata: { name: poser },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: poser }],
  });
  try {
    const { kubeconfig } = inject('apiServer');
    const open = (): Promise<Target> => openClusterTarget({ kubeconfig, as: poser, clock: systemClock });
    await expect
      .poll(
        () =>
          open().then(
            (one) => one.close().then(() => true),
            () => false,
          ),
        { timeout: 20_000 },
      )
      .toBe(true);
    const posing = await open();
    const [own, other] = [await target.user?.(), await posing.user?.()];
    await posing.close();
    expect(own).toBeTruthy();
    expect(other).toBe(own);
    expect(other).not.toBe(poser);
  } finally {
    await client.request('DELETE', `${bindings}/${poser}`);
  }
});

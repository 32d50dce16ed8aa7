// What the CronJob in the cluster ends, and what it says of sessions that outlive a right.
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { endInCluster } from '../../src/targets/grants.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { stoppedClock } from '../support/stopped-clock.ts';

const RBAC = 'rbac.authorization.k8s.io/v1';
const NOW = Date.UTC(2026, 9, 20, 12);
const metadata = (name: string, until: number): KubeManifest['metadata'] => ({
  name,
  namespace: 'shop',
  labels: { 'sallyport.dev/grant': name, 'app.kubernetes.io/managed-by': 'sallyport' },
  annotations: { 'sallyport.dev/expires-at': new Date(until).toISOString() },
});
const role = (name: string, until: number, pods: readonly string[]): KubeManifest => ({
  apiVersion: RBAC,
  kind: 'Role',
  metadata: metadata(name, until),
  rules: [
    { apiGroups: [''], resources: ['pods'], resourceNames: ['only-read'], verbs: ['get'] },
    { apiGroups: [''], resources: ['pods/exec'], resourceNames: [...pods], verbs: ['create', 'get'] },
  ],
});
const binding = (name: string, until: number): KubeManifest => ({
  apiVersion: RBAC,
  kind: 'RoleBinding',
  metadata: metadata(name, until),
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
  subjects: [],
});

let server: FakeApi;
beforeEach(async () => {
  server = await startFakeApi({
    objects: [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } },
      role('over', NOW - 1, ['web-0', 'db-0', '$(reboot)']),
      binding('over', NOW - 1),
      role('open', NOW + 60_000, ['web-1']),
      binding('open', NOW + 60_000),
    ],
  });
});
afterEach(() => server.close());

it('names the pods of a right that it has taken away, and of no other', async () => {
  const ended = await endInCluster({
    kubeconfig: server.kubeconfig,
    clock: stoppedClock(NOW),
    signal: new AbortController().signal,
    now: NOW,
  });
  expect(ended).toEqual([
    {
      grant: 'over',
      object: 'Role shop/over',
      namespace: 'shop',
      outcome: 'deleted',
      sessions: ['shop/db-0', 'shop/web-0'],
    },
    { grant: 'over', object: 'RoleBinding shop/over', namespace: 'shop', outcome: 'deleted' },
  ]);
  const left = server.objects().filter(({ kind }) => kind.startsWith('Role'));
  expect(left.map(({ kind, metadata: { name } }) => `${kind} ${name}`).toSorted()).toEqual([
    'Role open',
    'RoleBinding open',
  ]);
});

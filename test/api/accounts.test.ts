// Accounts on a real API server: its own authorizer is asked what the account that a workload moves to may do.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { Right } from '../../src/model/rbac.ts';
import { grantsOf, readRbac, rightAllows, rightsOf } from '../../src/model/rbac.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import type { ApiClient } from '../support/apiserver/client.ts';
import { connect } from '../support/apiserver/client.ts';

let client: ApiClient;
let target: Target;
const suffix = randomBytes(4).toString('hex');
const namespace = `accounts-${suffix}`;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

const ask = async (account: string, right: Right): Promise<boolean | undefined> =>
  target.mayAccount?.(namespace, account, right);

beforeAll(async () => {
  const server = inject('apiServer');
  client = connect(server.admin);
  await client.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  await client.must('POST', `${RBAC}/namespaces/${namespace}/roles`, {
    metadata: { name: 'runs' },
    rules: [
      { apiGroups: [''], resources: ['pods/log'], verbs: ['get'] },
      { apiGroups: [''], resources: ['configmaps'], resourceNames: ['one'], verbs: ['get', 'update'] },
      { apiGroups: ['apps'], resources: ['*'], verbs: ['list'] },
    ],
  });
  await client.must('POST', `${RBAC}/namespaces/${namespace}/rolebindings`, {
    metadata: { name: 'runs' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'runs' },
    subjects: [
      { kind: 'ServiceAccount', name: 'old', namespace },
      { kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: `system:serviceaccount:${namespace}:by-name` },
    ],
  });
  await client.must('POST', `${RBAC}/clusterroles`, {
    metadata: { name: `sum-${suffix}` },
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [`sum-${suffix}`]: 'yes' } }] },
    rules: [],
  });
  await client.must('POST', `${RBAC}/clusterroles`, {
    metadata: { name: `part-${suffix}`, labels: { [`sum-${suffix}`]: 'yes' } },
    rules: [{ apiGroups: [''], resources: ['services'], verbs: ['watch'] }],
  });
  await client.must('POST', `${RBAC}/clusterrolebindings`, {
    metadata: { name: `part-${suffix}` },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: `part-${suffix}` },
    subjects: [{ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: `system:serviceaccounts:${namespace}` }],
  });
  target = await openClusterTarget({ kubeconfig: server.kubeconfig, clock: systemClock });
});

afterAll(async () => {
  await target.close();
  for (const path of [
    `clusterrolebindings/part-${suffix}`,
    `clusterroles/part-${suffix}`,
    `clusterroles/sum-${suffix}`,
  ])
    await client.request('DELETE', `${RBAC}/${path}`);
  await client.request('DELETE', `/api/v1/namespaces/${namespace}`);
  client.close();
});

const QUESTIONS: readonly Right[] = [
  { verb: 'get', group: '', resource: 'pods/log', namespace },
  { verb: 'get', group: '', resource: 'pods', namespace },
  { verb: 'get', group: '', resource: 'configmaps', name: 'one', namespace },
  { verb: 'get', group: '', resource: 'configmaps', name: 'two', namespace },
  { verb: 'delete', group: '', resource: 'configmaps', name: 'one', namespace },
  { verb: 'list', group: 'apps', resource: 'deployments', namespace },
  { verb: 'list', group: 'apps', resource: 'deployments', namespace: 'default' },
  { verb: 'watch', group: '', resource: 'services', namespace: 'default' },
];

describe('rights as resolved from a snapshot', () => {
  it.each(['old', 'by-name', 'other'])('are what the authorizer says, for %s', async (account) => {
    // The authorizer learns of bindings by a watch.
    const ready: Right = { verb: 'watch', group: '', resource: 'services' };
    await expect.poll(() => ask('other', ready), { timeout: 20_000 }).toBe(true);
    const snapshot = await target.readSnapshot();
    const rights = rightsOf(grantsOf(readRbac(snapshot), namespace, account));
    for (const question of QUESTIONS) {
      const { verb, group, resource, name, namespace: where } = question;
      const call = {
        verb,
        group,
        resource,
        ...(name === undefined ? {} : { name }),
        ...(where === undefined ? {} : { namespace: where }),
      };
      expect(
        rights.some((right) => rightAllows(right, call)),
        JSON.stringify(question),
      ).toBe(await ask(account, question));
    }
  });

  it('become those of a new account when its binding is written', async () => {
    const right: Right = { verb: 'get', group: '', resource: 'pods/log', namespace };
    expect(await ask('web', right)).toBe(false);
    await client.must('POST', `${RBAC}/namespaces/${namespace}/rolebindings`, {
      metadata: { name: 'sallyport-runs-web' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'runs' },
      subjects: [{ kind: 'ServiceAccount', name: 'web', namespace }],
    });
    await expect.poll(() => ask('web', right), { timeout: 20_000 }).toBe(true);
  });
});

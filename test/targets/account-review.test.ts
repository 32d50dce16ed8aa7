// What an account may do, as the API server says it: asked with the groups of its tokens, and never answered by guesswork.
import { afterEach, describe, expect, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi, statusBody } from '../support/fake-api/server.ts';
import { objectsOf } from '../phases/worlds.ts';

let server: FakeApi | undefined;
let target: Target | undefined;
afterEach(async () => {
  await target?.close();
  await server?.close();
  server = undefined;
  target = undefined;
});

const RBAC = `apiVersion: v1
kind: Namespace
metadata: {name: ml}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: logs, namespace: ml}
rules: [{apiGroups: [""], resources: [pods/log], resourceNames: [a], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: all, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: logs}
subjects: [{kind: Group, name: "system:serviceaccounts:ml"}]
`;

async function open(): Promise<{ readonly fake: FakeApi; readonly ask: NonNullable<Target['mayAccount']> }> {
  const fake = await startFakeApi({ objects: objectsOf(RBAC) });
  server = fake;
  target = await openClusterTarget({ kubeconfig: fake.kubeconfig, clock: simulatedClock() });
  const { mayAccount } = target;
  if (mayAccount === undefined) throw new Error('a cluster can be asked');
  return { fake, ask: mayAccount };
}

describe('mayAccount', () => {
  it('asks for the subresource, the name and the groups', async () => {
    const { fake, ask } = await open();
    const right = { verb: 'get', group: '', resource: 'pods/log', name: 'a', namespace: 'ml' };
    expect(await ask('ml', 'web', right)).toBe(true);
    expect(await ask('ml', 'web', { ...right, name: 'b' })).toBe(false);
    expect(await ask('other', 'web', right)).toBe(false);
    expect(fake.calls.findLast(({ method }) => method === 'POST')?.body).toMatchObject({
      spec: {
        user: 'system:serviceaccount:other:web',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:other', 'system:authenticated'],
        resourceAttributes: { resource: 'pods', subresource: 'log', name: 'a' },
      },
    });
  });

  it('says who must be given which right where it may not be asked', async () => {
    const { fake, ask } = await open();
    fake.failNext({
      path: /subjectaccessreviews/,
      fault: { kind: 'status', status: 403, body: statusBody(403, 'Forbidden', 'no') },
    });
    await expect(ask('ml', 'web', { verb: 'get', group: '', resource: 'pods' })).rejects.toMatchObject({
      detail: { code: 'SP480', exit: 4, nature: 'passes' },
    });
  });

  it('is no answer where the server has none', async () => {
    const { fake, ask } = await open();
    fake.failNext({ path: /subjectaccessreviews/, fault: { kind: 'status', status: 500 }, times: 50 });
    await expect(ask('ml', 'web', { verb: 'get', group: '', resource: 'pods' })).rejects.toMatchObject({
      detail: { exit: 4 },
    });
  });
});

import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refOf } from '../../src/model/object.ts';
import type { Change, FieldChange } from '../../src/plan/change.ts';
import { fieldChange } from '../../src/plan/change.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { FieldPath, Json } from '../../src/shared/pure/json.ts';
import { asObject, getPath } from '../../src/shared/pure/json.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import type { ApiClient } from '../support/apiserver/client.ts';
import { connect } from '../support/apiserver/client.ts';

let client: ApiClient;
let target: Target;
let namespace: string;

beforeEach(async () => {
  const server = inject('apiServer');
  client = connect(server.admin);
  namespace = `writes-${randomBytes(5).toString('hex')}`;
  await client.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  target = await openClusterTarget({ kubeconfig: server.kubeconfig, clock: systemClock });
});
afterEach(async () => {
  await target.close();
  await client.request('DELETE', `/api/v1/namespaces/${namespace}`);
  client.close();
});

const policy = (): KubeManifest => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'own', namespace, labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  spec: {
    action: 'ALLOW',
    selector: { matchLabels: { app: 'web' } },
    rules: [{ to: [{ operation: { ports: ['80'] } }] }],
  },
});
const networkPolicy = (): KubeManifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'own', namespace, labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  spec: { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 80, protocol: 'TCP' }] }] },
});
const account = (): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name: 'own', namespace, labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  imagePullSecrets: [{ name: 'a' }, { name: 'b' }],
});
const PATHS: Readonly<Record<string, string>> = {
  AuthorizationPolicy: '/apis/security.istio.io/v1/namespaces/NS/authorizationpolicies/own',
  NetworkPolicy: '/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies/own',
  ServiceAccount: '/api/v1/namespaces/NS/serviceaccounts/own',
};
const pathOf = (object: KubeManifest): string => (PATHS[object.kind] ?? '').replace('NS', namespace);

async function edit(
  object: KubeManifest,
  fields: readonly (readonly [FieldPath, Json | undefined])[],
): Promise<Change> {
  const live = await target.readObject(refOf(object));
  if (live === undefined) throw new Error('not there');
  const changes = fields.map(([path, after]) => fieldChange(live, path, after));
  return {
    kind: 'edit',
    ref: refOf(object),
    owner: 'sallyport',
    fields: changes.filter((change): change is FieldChange => change !== undefined),
  };
}

async function managers(object: KubeManifest): Promise<readonly Json[]> {
  const live = await target.readObject(refOf(object));
  return (live?.metadata['managedFields'] ?? []) as readonly Json[];
}

async function failure(attempt: Promise<unknown>): Promise<Failure['detail']> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Failure)) throw new Error(`not a Failure: ${String(error)}`);
  return error.detail;
}

describe('own objects on a real API server', () => {
  const cases: readonly (readonly [string, () => KubeManifest, FieldPath, Json])[] = [
    ['a custom object', policy, ['spec', 'rules'], [{ to: [{ operation: { ports: ['81'] } }] }, {}]],
    ['a policy', networkPolicy, ['spec', 'ingress'], [{ from: [{ podSelector: { matchLabels: { app: 'x' } } }] }]],
    [
      'a list keyed by name, which gets longer',
      account,
      ['imagePullSecrets'],
      [{ name: 'a' }, { name: 'b' }, { name: 'c' }],
    ],
    ['a list keyed by name, which gets shorter', account, ['imagePullSecrets'], [{ name: 'b' }]],
  ];

  it.each(cases)('edits %s by apply, twice, and takes both back', async (_title, build, path, after) => {
    const object = build();
    await target.apply({ kind: 'create', object });
    const first = await edit(object, [[path, after]]);
    await target.rehearse(first);
    expect((await target.apply(first)).outcome).toBe('configured');
    expect(getPath(await target.readObject(refOf(object)), path)).toEqual(after);
    expect(await managers(object)).toEqual([{ manager: 'sallyport', operation: 'Apply' }]);
    const second = await edit(object, [[['metadata', 'labels', 'more'], 'yes']]);
    await target.rehearse(second);
    await target.apply(second);
    expect(getPath(await target.readObject(refOf(object)), path)).toEqual(after);
    await target.apply(await edit(object, [[['metadata', 'labels', 'more'], undefined]]));
    await target.apply(await edit(object, [[path, getPath(object, path)]]));
    expect(await target.readObject(refOf(object))).toMatchObject(object);
    expect(getPath(await target.readObject(refOf(object)), ['metadata', 'labels'])).toEqual(object.metadata['labels']);
  });

  it('refuses a field that another manager has taken, and writes nothing', async () => {
    const object = policy();
    await target.apply({ kind: 'create', object });
    await target.apply(await edit(object, [[['spec', 'action'], 'DENY']]));
    const rules = [{ to: [{ operation: { methods: ['GET'] } }] }];
    await client.must('PATCH', `${pathOf(object)}?fieldManager=kubectl-edit`, { spec: { rules } });
    const change = await edit(object, [[['spec', 'rules'], [{}]]]);
    const before = (await client.must('GET', pathOf(object))).body;
    const detail = await failure(target.apply(change));
    expect(detail).toMatchObject({ code: 'SP651', exit: EXIT.refused });
    expect(detail.message).toMatch(/\.spec\.rules: conflict with "kubectl-edit"/);
    expect((await client.must('GET', pathOf(object))).body).toEqual(before);
  });

  it('keeps what another manager added', async () => {
    const object = networkPolicy();
    await target.apply({ kind: 'create', object });
    await client.must('PATCH', `${pathOf(object)}?fieldManager=other`, { metadata: { labels: { theirs: '1' } } });
    await target.apply(await edit(object, [[['spec', 'ingress'], []]]));
    expect(getPath(await target.readObject(refOf(object)), ['metadata', 'labels', 'theirs'])).toBe('1');
  });

  it('says what is invalid, field by field', async () => {
    const spec = { ...asObject(networkPolicy()['spec']), ingress: [{ ports: [{ port: 70000, protocol: 'TCP' }] }] };
    const detail = await failure(target.rehearse({ kind: 'create', object: { ...networkPolicy(), spec } }));
    expect(detail).toMatchObject({ code: 'SP422', exit: EXIT.cluster });
    expect(detail.message).toContain('spec.ingress[0].ports[0].port');
  });

  it('refuses a field that the kind does not have', async () => {
    const spec = { ...asObject(networkPolicy()['spec']), ingres: [] };
    const detail = await failure(target.rehearse({ kind: 'create', object: { ...networkPolicy(), spec } }));
    expect(detail.message).toMatch(/unknown field "spec\.ingres"/);
  });

  it('deletes nothing when it rehearses a deletion', async () => {
    const object = networkPolicy();
    await target.apply({ kind: 'create', object });
    const before = await target.readObject(refOf(object));
    if (before === undefined) throw new Error('not there');
    await target.rehearse({ kind: 'delete', ref: refOf(object), before });
    expect(await target.readObject(refOf(object))).toEqual(before);
  });

  it.each(['\u0001\u0008\u000c', '\u007f', '\ufeff&<>'])('tests and replaces the text %j of others', async (text) => {
    const object = { ...account(), metadata: { ...account().metadata, annotations: { note: text } } };
    await client.must('POST', pathOf(object).replace('/own', ''), object);
    const change = await edit(object, [[['metadata', 'annotations', 'note'], 'plain']]);
    expect((await target.apply({ ...change, owner: 'other' } as Change)).outcome).toBe('configured');
  });
});

describe('a user without rights', () => {
  it('is told which right is missing, and how to check it', async () => {
    const { alice } = inject('apiServer').users;
    if (alice === undefined) throw new Error('no user alice');
    const detail = await failure(openClusterTarget({ kubeconfig: alice.kubeconfig, clock: systemClock }));
    expect(detail).toMatchObject({ code: 'SP403', exit: EXIT.cluster });
    expect(detail.message).toMatch(
      /you may not get namespaces in the whole cluster \(403\): .*User "alice" cannot get/,
    );
    expect(detail.hint).toContain('kubectl auth can-i get namespaces --all-namespaces');
  });

  it('is who --as says', async () => {
    const { kubeconfig } = inject('apiServer');
    const detail = await failure(openClusterTarget({ kubeconfig, as: 'zoë', clock: systemClock }));
    expect(detail).toMatchObject({ code: 'SP403' });
    expect(detail.message).toContain('User "zoë" cannot get');
  });

  it('may not impersonate', async () => {
    const { alice } = inject('apiServer').users;
    if (alice === undefined) throw new Error('no user alice');
    const detail = await failure(openClusterTarget({ kubeconfig: alice.kubeconfig, as: 'admin', clock: systemClock }));
    expect(detail).toMatchObject({ code: 'SP403' });
    expect(detail.message).toContain('you may not impersonate admin');
  });
});

describe('a snapshot of a real API server', () => {
  it('reads every kind without a finding, and pages long lists', async () => {
    for (let index = 0; index < 501; index += 1)
      await client.must('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, {
        metadata: { name: `a-${index}` },
      });
    const snapshot = await target.readSnapshot();
    expect(snapshot.findings).toEqual([]);
    expect(snapshot.unread).toEqual([]);
    const accounts = snapshot.objects.filter(
      ({ kind, metadata }) =>
        kind === 'ServiceAccount' && metadata['namespace'] === namespace && metadata.name !== 'default',
    );
    expect(accounts).toHaveLength(501);
    expect(snapshot.objects.some(({ kind }) => kind === 'Secret')).toBe(false);
  });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RolloutResult, Target } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refOf } from '../../src/model/object.ts';
import type { Change, FieldChange } from '../../src/plan/change.ts';
import { fieldChange } from '../../src/plan/change.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { FieldPath, Json, JsonObject } from '../../src/shared/pure/json.ts';
import { asObject, getPath } from '../../src/shared/pure/json.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { podSelector } from '../../src/targets/rollout.ts';
import type { SimulatedClock } from '../support/fake-api/clock.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { FakeApi, Fault, LoggedCall } from '../support/fake-api/server.ts';
import { startFakeApi, statusBody } from '../support/fake-api/server.ts';

let clock: SimulatedClock;
let server: FakeApi;
let target: Target;

beforeEach(async () => {
  clock = simulatedClock();
  server = await startFakeApi({ objects: [SHOP, WEB], now: () => clock.now() });
  target = await openClusterTarget({ kubeconfig: server.kubeconfig, clock, timeoutMs: 300 });
});
afterEach(async () => {
  await target.close();
  await server.close();
});

const SHOP: KubeManifest = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
const WEB: KubeManifest = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'shop', labels: { app: 'web' } },
  spec: { replicas: 2, template: { metadata: { labels: { app: 'web' } } } },
};
const POLICY: KubeManifest = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'allow', namespace: 'shop', labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  spec: {
    podSelector: { matchLabels: { app: 'web' } },
    policyTypes: ['Ingress'],
    ingress: [{ ports: [{ port: 80 }] }],
  },
};
const CREATE: Change = { kind: 'create', object: POLICY };

async function edit(
  object: KubeManifest,
  owner: 'sallyport' | 'other',
  fields: readonly (readonly [FieldPath, Json | undefined])[],
): Promise<Extract<Change, { kind: 'edit' }>> {
  const live = await target.readObject(refOf(object));
  if (live === undefined) throw new Error('not there');
  const changes = fields.map(([path, after]) => fieldChange(live, path, after));
  return {
    kind: 'edit',
    ref: refOf(object),
    uid: uidOf(live),
    owner,
    fields: changes.filter((change): change is FieldChange => change !== undefined),
  };
}

async function deletion(object: KubeManifest): Promise<Change> {
  const before = await target.readObject(refOf(object));
  if (before === undefined) throw new Error('not there');
  return { kind: 'delete', ref: refOf(object), uid: uidOf(before), before };
}

function uidOf(object: KubeManifest): string {
  const uid = object.metadata['uid'];
  if (typeof uid !== 'string') throw new Error('no uid');
  return uid;
}

async function failure(attempt: Promise<unknown>): Promise<Failure['detail']> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Failure)) throw new Error(`not a Failure: ${String(error)}`);
  return error.detail;
}

const writes = (): readonly LoggedCall[] => server.calls.filter(({ method }) => method !== 'GET');
const real = (): readonly LoggedCall[] =>
  writes().filter(({ query, body }) => query['dryRun'] === undefined && asObject(body)['dryRun'] === undefined);

describe('opening', () => {
  it('is named by the UID of kube-system', () => {
    const system = server.get({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
    expect(target.id).toBe(system?.metadata['uid']);
    expect(target.kind).toBe('cluster');
    expect(target.description).toBe(`context fake (${server.url})`);
  });

  it('answers undefined for an object of a kind that is not installed', async () => {
    const ref = { apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', namespace: 'shop', name: 'default' };
    expect(await target.readObject(ref)).toBeUndefined();
    const create = target.apply({
      kind: 'create',
      object: { apiVersion: ref.apiVersion, kind: ref.kind, metadata: { name: 'default', namespace: 'shop' } },
    });
    expect(await failure(create)).toMatchObject({ code: 'SP413', exit: EXIT.cluster });
  });

  it.each(['..', '.', 'a/b', 'a%2fb', ''])('asks for no object named %j', async (name) => {
    const before = server.calls.length;
    const detail = await failure(target.readObject({ ...refOf(WEB), name }));
    expect(detail).toMatchObject({ code: 'SP276', exit: EXIT.usage });
    expect(server.calls.slice(before).filter(({ path }) => path.includes('deployments'))).toEqual([]);
  });
});

describe('how changes are sent', () => {
  it('creates by POST with the field manager, strictly validated, without what only a server writes', async () => {
    await target.apply({
      kind: 'create',
      object: {
        ...POLICY,
        metadata: { ...POLICY.metadata, uid: 'u', resourceVersion: '7', managedFields: [] },
        status: {},
      },
    });
    expect(real()).toMatchObject([
      { method: 'POST', query: { fieldManager: 'sallyport', fieldValidation: 'Strict', timeout: '1s' }, body: POLICY },
    ]);
  });

  it('deletes with uid and version as preconditions', async () => {
    await target.apply(CREATE);
    const live = await target.readObject(refOf(POLICY));
    await target.apply(await deletion(POLICY));
    const uid = live?.metadata['uid'];
    const resourceVersion = live?.metadata['resourceVersion'];
    expect(real().at(-1)).toMatchObject({
      method: 'DELETE',
      body: { propagationPolicy: 'Background', preconditions: { uid, resourceVersion } },
    });
  });

  it('tests uid and old values when it edits objects of others, and the version where a field is added', async () => {
    await target.apply(await edit(WEB, 'other', [[['spec', 'replicas'], 5]]));
    await target.apply(await edit(WEB, 'other', [[['metadata', 'annotations', 'a~b/c'], 'x']]));
    const [first, second] = real();
    expect(first?.headers['content-type']).toBe('application/json-patch+json');
    expect(first?.body).toEqual([
      { op: 'test', path: '/metadata/uid', value: expect.any(String) as string },
      { op: 'test', path: '/spec/replicas', value: 2 },
      { op: 'replace', path: '/spec/replicas', value: 5 },
    ]);
    expect(second?.body).toEqual([
      { op: 'test', path: '/metadata/uid', value: expect.any(String) as string },
      { op: 'test', path: '/metadata/resourceVersion', value: expect.any(String) as string },
      { op: 'add', path: '/metadata/annotations', value: { 'a~b/c': 'x' } },
    ]);
    await target.apply(await edit(WEB, 'other', [[['metadata', 'annotations', 'a~b/c'], undefined]]));
    expect(JSON.stringify(real().at(-1)?.body)).toContain('/metadata/annotations/a~0b~1c');
  });

  it('edits own objects by apply, rehearsed first, never forced, with all that it owns', async () => {
    await target.apply(CREATE);
    server.put(
      {
        ...(server.get(POLICY) ?? POLICY),
        metadata: {
          ...(server.get(POLICY) ?? POLICY).metadata,
          labels: { ...asObject(POLICY.metadata['labels']), theirs: '1' },
        },
      },
      'somebody',
    );
    const ingress: Json = [{ ports: [{ port: 81 }] }];
    expect((await target.apply(await edit(POLICY, 'sallyport', [[['spec', 'ingress'], ingress]]))).outcome).toBe(
      'configured',
    );
    const applies = writes().filter(({ headers }) => headers['content-type'] === 'application/apply-patch+yaml');
    expect(applies.map(({ query }) => [query['dryRun'], query['force'], query['fieldManager']])).toEqual([
      ['All', undefined, 'sallyport'],
      [undefined, undefined, 'sallyport'],
    ]);
    const body = asObject(applies[1]?.body);
    expect(body['spec']).toEqual({ ...asObject(POLICY['spec']), ingress });
    // What another manager added is not taken over.
    expect(getPath(body, ['metadata', 'labels'])).toEqual({ 'app.kubernetes.io/managed-by': 'sallyport' });
    const edited = await target.readObject(refOf(POLICY));
    expect(getPath(edited, ['metadata', 'labels', 'theirs'])).toBe('1');
    expect(edited?.metadata['managedFields']).toEqual(
      expect.arrayContaining([
        { manager: 'somebody', operation: 'Update' },
        { manager: 'sallyport', operation: 'Apply' },
      ]),
    );
  });

  it('edits an own object again without another change of ownership', async () => {
    await target.apply(CREATE);
    await target.apply(await edit(POLICY, 'sallyport', [[['spec', 'ingress'], []]]));
    const before = writes().length;
    await target.apply(await edit(POLICY, 'sallyport', [[['spec', 'ingress'], [{ ports: [{ port: 443 }] }]]]));
    expect(
      writes()
        .slice(before)
        .map(({ headers }) => headers['content-type']),
    ).toEqual(['application/apply-patch+yaml', 'application/apply-patch+yaml']);
  });

  it('refuses an own field that another manager has taken, naming both', async () => {
    await target.apply(CREATE);
    await target.apply(
      await edit(POLICY, 'sallyport', [
        [
          ['spec', 'policyTypes'],
          ['Ingress', 'Egress'],
        ],
      ]),
    );
    const live = server.get(POLICY) ?? POLICY;
    server.put({ ...live, spec: { ...asObject(live['spec']), ingress: [] } }, 'kubectl-edit');
    const change = await edit(POLICY, 'sallyport', [[['spec', 'ingress'], [{}]]]);
    const before = server.objects();
    const detail = await failure(target.apply(change));
    expect(detail).toMatchObject({ code: 'SP651', exit: EXIT.refused });
    expect(detail.message).toMatch(/\.spec\.ingress: conflict with "kubectl-edit"/);
    expect(server.objects()).toEqual(before);
  });

  it('rehearses every kind of change with dry runs alone', async () => {
    await target.apply(CREATE);
    const before = server.objects();
    const since = writes().length;
    await target.rehearse({ kind: 'create', object: { ...POLICY, metadata: { ...POLICY.metadata, name: 'other' } } });
    await target.rehearse(await edit(WEB, 'other', [[['spec', 'replicas'], 5]]));
    await target.rehearse(await edit(POLICY, 'sallyport', [[['spec', 'ingress'], []]]));
    await target.rehearse(await deletion(POLICY));
    expect(writes().length - since).toBe(4);
    expect(server.objects()).toEqual(before);
  });

  it('refuses a rehearsal in which something else would be stored', async () => {
    server.failNext({
      method: 'POST',
      fault: { kind: 'status', status: 201, body: { ...POLICY, spec: { podSelector: {} } } },
    });
    expect(await failure(target.rehearse(CREATE))).toMatchObject({ code: 'SP458', exit: EXIT.cluster });
  });
});

describe('conflicts', () => {
  it('names the field with what was recorded, what is and what was wanted', async () => {
    const change = await edit(WEB, 'other', [[['spec', 'replicas'], 5]]);
    server.put({ ...WEB, spec: { ...asObject(WEB['spec']), replicas: 3 } });
    const detail = await failure(target.apply(change));
    expect(detail).toMatchObject({
      code: 'SP650',
      exit: EXIT.refused,
      where: 'Deployment shop/web, field spec.replicas',
    });
    expect(detail.message).toBe('Deployment shop/web spec.replicas is not as recorded: recorded 2, now 3, wanted 5');
    expect(real()).toEqual([]);
  });

  it('shows no value of a field that may be a credential', async () => {
    const path = ['metadata', 'annotations', 'api-token'];
    server.put({ ...WEB, metadata: { ...WEB.metadata, annotations: { 'api-token': 'hunter2' } } });
    const detail = await failure(
      target.apply({ kind: 'edit', ref: refOf(WEB), owner: 'other', fields: [{ path, before: 'abc', after: 'x' }] }),
    );
    expect(detail.message).not.toMatch(/hunter2|abc/);
  });

  it.each(['the value', 'another field'])('looks again when %s changes between reading and writing', async (what) => {
    const change = await edit(WEB, 'other', [[['metadata', 'annotations', 'ours'], 'yes']]);
    let once = true;
    server.afterCall(({ method, path }) => {
      if (!once || method !== 'GET' || !path.endsWith('/web')) return;
      once = false;
      const annotations = what === 'the value' ? { ours: 'no' } : undefined;
      server.put({
        ...WEB,
        metadata: {
          ...WEB.metadata,
          ...(annotations === undefined ? { labels: { app: 'web', more: '1' } } : { annotations }),
        },
      });
    });
    if (what === 'the value') {
      expect(await failure(target.apply(change))).toMatchObject({ code: 'SP650', exit: EXIT.refused });
      expect(getPath(server.get(WEB), ['metadata', 'annotations'])).toEqual({ ours: 'no' });
    } else {
      expect((await target.apply(change)).outcome).toBe('configured');
      expect(getPath(server.get(WEB), ['metadata'])).toMatchObject({
        labels: { more: '1' },
        annotations: { ours: 'yes' },
      });
    }
  });

  it('gives up on an object that changes all the time', async () => {
    const change = await edit(WEB, 'other', [[['metadata', 'annotations', 'ours'], 'yes']]);
    let count = 0;
    server.afterCall(({ method, path }) => {
      if (method !== 'GET' || !path.endsWith('/web')) return;
      count += 1;
      server.put({ ...WEB, metadata: { ...WEB.metadata, labels: { app: 'web', count: String(count) } } });
    });
    expect(await failure(target.apply(change))).toMatchObject({ code: 'SP650', exit: EXIT.refused });
    expect(getPath(server.get(WEB), ['metadata', 'annotations'])).toBeUndefined();
  });

  it('keeps a value that is invalid apart from a conflict', async () => {
    server.failNext({
      method: 'PATCH',
      fault: {
        kind: 'status',
        status: 422,
        body: statusBody(422, 'Invalid', 'Deployment "web" is invalid: spec.replicas'),
      },
    });
    expect(await failure(target.apply(await edit(WEB, 'other', [[['spec', 'replicas'], 5]])))).toMatchObject({
      code: 'SP422',
      exit: EXIT.cluster,
    });
  });

  it('does not take an equal object of somebody else for its own', async () => {
    server.put(POLICY);
    expect(await failure(target.apply(CREATE))).toMatchObject({ code: 'SP650', exit: EXIT.refused });
  });

  it('finds its own create already done', async () => {
    await target.apply(CREATE);
    expect((await target.apply(CREATE)).outcome).toBe('unchanged');
    expect(real()).toHaveLength(1);
  });
});

describe('writes without an answer', () => {
  const silences: readonly (readonly [string, Fault['fault']])[] = [
    ['no answer', { kind: 'timeout' }],
    ['a cut answer', { kind: 'cut' }],
    ['500', { kind: 'status', status: 500 }],
    ['503', { kind: 'status', status: 503 }],
    ['504', { kind: 'status', status: 504 }],
  ];
  const kinds: readonly {
    readonly what: string;
    readonly method: string;
    readonly build: () => Promise<Change>;
    readonly outcome: string;
  }[] = [
    { what: 'a create', method: 'POST', build: () => Promise.resolve(CREATE), outcome: 'created' },
    {
      what: 'an edit',
      method: 'PATCH',
      build: () => edit(WEB, 'other', [[['spec', 'replicas'], 5]]),
      outcome: 'configured',
    },
    { what: 'a deletion', method: 'DELETE', build: () => deletion(WEB), outcome: 'deleted' },
  ];
  const cases = silences.flatMap(([title, fault]) => kinds.map((kind) => ({ title, fault, ...kind })));

  it.each(cases)(
    '$what with $title after the effect is found to be done',
    async ({ fault, method, build, outcome }) => {
      const change = await build();
      server.failNext({ method, when: 'after', fault });
      expect((await target.apply(change)).outcome).toBe(outcome);
      expect(real()).toHaveLength(1);
    },
  );

  it.each(cases)('$what with $title before the effect is not repeated, and said', async ({ fault, method, build }) => {
    const change = await build();
    const before = server.objects();
    server.failNext({ method, when: 'before', fault });
    const detail = await failure(target.apply(change));
    expect(detail).toMatchObject({
      code: 'SP456',
      exit: EXIT.cluster,
      hint: expect.stringContaining('sallyport resume') as string,
    });
    expect(detail.message).toContain('read again, the object is without the change');
    expect(real()).toHaveLength(1);
    expect(server.objects()).toEqual(before);
  });

  it('says that the outcome is not known when the object cannot be read either', async () => {
    server.failNext({ method: 'POST', when: 'after', fault: { kind: 'cut' } });
    server.afterCall(({ method }) => {
      if (method === 'POST') server.failNext({ method: 'GET', times: 4, fault: { kind: 'status', status: 503 } });
    });
    const detail = await failure(target.apply(CREATE));
    expect(detail).toMatchObject({ code: 'SP456', exit: EXIT.cluster });
    expect(detail.message).toContain('whether it was written is not known');
  });

  it('asks the server to give up before the client does', async () => {
    await target.apply(CREATE);
    expect(real()[0]?.query['timeout']).toBe('1s');
    const patient = await openClusterTarget({ kubeconfig: server.kubeconfig, clock });
    await patient.apply(await edit(WEB, 'other', [[['spec', 'replicas'], 5]]));
    await patient.close();
    expect(real().at(-1)?.query['timeout']).toBe('24s');
  });
});

describe('leases', () => {
  const lease = (namespace: string, name: string): KubeManifest | undefined =>
    server.get({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace } });

  it('are taken in name order, cluster-scoped objects first, and marked', async () => {
    server.put({ ...SHOP, metadata: { name: 'bank' } });
    const hold = await target.acquire(['shop', '', 'bank'], 'me');
    expect(real().map(({ path }) => path.split('/')[5])).toEqual(['kube-system', 'bank', 'shop']);
    expect(lease('shop', 'sallyport')).toMatchObject({
      metadata: { labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
      spec: { holderIdentity: 'me', leaseDurationSeconds: 60, renewTime: '2026-01-01T00:00:00.000000Z' },
    });
    await hold.release();
    expect([lease('shop', 'sallyport'), lease('bank', 'sallyport'), lease('kube-system', 'sallyport-cluster')]).toEqual(
      [undefined, undefined, undefined],
    );
  });

  it('say who holds one, since when, and until when at most', async () => {
    await target.acquire(['shop'], 'alice@laptop');
    clock.advance(25_000);
    const detail = await failure(target.acquire(['shop'], 'bob@desk'));
    expect(detail).toMatchObject({ code: 'SP652', exit: EXIT.refused, where: 'Lease shop/sallyport' });
    expect(detail.message).toBe(
      'namespace shop: held by alice@laptop since 2026-01-01T00:00:00.000Z, last renewed 25 s ago',
    );
    expect(detail.hint).toContain('over in 40 s');
  });

  it('are renewed when a third of their time has passed, and not before', async () => {
    const hold = await target.acquire(['shop'], 'me');
    clock.advance(19_000);
    await hold.assertHeld();
    expect(real()).toHaveLength(1);
    clock.advance(1_000);
    await hold.assertHeld();
    expect(real()).toHaveLength(2);
    expect(lease('shop', 'sallyport')?.['spec']).toMatchObject({
      renewTime: '2026-01-01T00:00:20.000000Z',
      acquireTime: '2026-01-01T00:00:00.000000Z',
    });
  });

  it('can be taken over when surely over, and the sleeper finds out', async () => {
    const sleeper = await target.acquire(['shop'], 'sleeper');
    clock.advance(64_000);
    expect(await failure(target.acquire(['shop'], 'next'))).toMatchObject({ code: 'SP652' });
    clock.advance(2_000);
    const next = await target.acquire(['shop'], 'next');
    expect(await failure(sleeper.assertHeld())).toMatchObject({ code: 'SP653', exit: EXIT.refused });
    await sleeper.release();
    await next.assertHeld();
    expect(lease('shop', 'sallyport')?.['spec']).toMatchObject({ holderIdentity: 'next', leaseTransitions: 1 });
  });

  it('do not depend on the clock of the machine', async () => {
    const hold = await target.acquire(['shop'], 'me');
    const ahead = simulatedClock(clock.now() + 3_600_000);
    const other = await openClusterTarget({ kubeconfig: server.kubeconfig, clock: ahead });
    expect(await failure(other.acquire(['shop'], 'hasty'))).toMatchObject({ code: 'SP652' });
    await other.close();
    await hold.assertHeld();
  });

  it('are given to one of two that find them over', async () => {
    server.put({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'sallyport', namespace: 'shop' },
      spec: { holderIdentity: 'dead', leaseDurationSeconds: 60, renewTime: '2025-12-31T00:00:00.000000Z' },
    });
    const results = await Promise.allSettled([target.acquire(['shop'], 'one'), target.acquire(['shop'], 'two')]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it.each(['timeout', 'cut'] as const)('are ours when the answer to taking one was lost (%s)', async (kind) => {
    server.failNext({ method: 'POST', path: '/leases', when: 'after', fault: { kind } });
    const hold = await target.acquire(['shop'], 'me');
    await hold.assertHeld();
    await hold.release();
    expect(lease('shop', 'sallyport')).toBeUndefined();
  });

  it('pass over namespaces that are gone or going', async () => {
    server.put({ ...SHOP, metadata: { name: 'going', deletionTimestamp: '2026-01-01T00:00:00Z' } });
    const hold = await target.acquire(['absent', 'going', 'shop'], 'me');
    server.remove(SHOP);
    await hold.assertHeld();
    await hold.release();
    expect(real().filter(({ method }) => method === 'DELETE')).toEqual([]);
  });

  it('are lost when somebody deletes one', async () => {
    const hold = await target.acquire(['shop'], 'me');
    const found = lease('shop', 'sallyport');
    if (found !== undefined) server.remove(found);
    expect(await failure(hold.assertHeld())).toMatchObject({ code: 'SP653', exit: EXIT.refused });
  });

  it('say which right is missing', async () => {
    server.failNext({
      path: '/leases',
      fault: {
        kind: 'status',
        status: 403,
        body: statusBody(403, 'Forbidden', 'User "u" cannot get resource "leases"'),
      },
    });
    const detail = await failure(target.acquire(['shop'], 'me'));
    expect(detail).toMatchObject({ code: 'SP403', exit: EXIT.cluster });
    expect(detail.hint).toContain('kubectl auth can-i get leases.coordination.k8s.io -n shop');
  });
});

describe('rollouts', () => {
  const roll = (object: KubeManifest, signal = new AbortController().signal): Promise<RolloutResult> =>
    target.awaitRollout({ id: `shop/${object.kind}/${object.metadata.name}`, ref: refOf(object) }, signal);
  const state = (kind: string, spec: JsonObject, status: JsonObject): KubeManifest => ({
    apiVersion: 'apps/v1',
    kind,
    metadata: { name: 'x', namespace: 'shop' },
    spec,
    status: { observedGeneration: 1, ...status },
  });
  const onDelete = { updateStrategy: { type: 'OnDelete' } };

  const judged: readonly (readonly [string, KubeManifest, 'ready' | 'failed', RegExp])[] = [
    [
      'a Deployment all of whose pods are new',
      state('Deployment', { replicas: 2 }, { replicas: 2, updatedReplicas: 2, availableReplicas: 2 }),
      'ready',
      /2 of 2/,
    ],
    ['a Deployment scaled to nothing', state('Deployment', { replicas: 0 }, {}), 'ready', /0 of 0/],
    [
      'a Deployment past its deadline',
      state(
        'Deployment',
        { replicas: 2 },
        {
          replicas: 3,
          updatedReplicas: 1,
          availableReplicas: 2,
          conditions: [
            {
              type: 'Progressing',
              status: 'False',
              reason: 'ProgressDeadlineExceeded',
              message: 'timed out progressing',
            },
          ],
        },
      ),
      'failed',
      /timed out progressing/,
    ],
    [
      'a paused Deployment',
      state('Deployment', { replicas: 2, paused: true }, { replicas: 2, updatedReplicas: 0, availableReplicas: 2 }),
      'failed',
      /paused/,
    ],
    [
      'a StatefulSet',
      state('StatefulSet', { replicas: 3 }, { updatedReplicas: 3, readyReplicas: 3 }),
      'ready',
      /3 of 3/,
    ],
    [
      'a StatefulSet that waits for deletions',
      state('StatefulSet', { replicas: 3, ...onDelete }, { updatedReplicas: 1, readyReplicas: 3 }),
      'failed',
      /OnDelete: 2 of 3/,
    ],
    [
      'a StatefulSet with a partition',
      state(
        'StatefulSet',
        { replicas: 3, updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 2 } } },
        { updatedReplicas: 1, readyReplicas: 3 },
      ),
      'failed',
      /partition of 2 holds 2 of 3/,
    ],
    [
      'a DaemonSet',
      state('DaemonSet', {}, { desiredNumberScheduled: 4, updatedNumberScheduled: 4, numberAvailable: 4 }),
      'ready',
      /4 of 4/,
    ],
    [
      'a DaemonSet that waits for deletions',
      state('DaemonSet', onDelete, { desiredNumberScheduled: 4, updatedNumberScheduled: 0, numberAvailable: 4 }),
      'failed',
      /OnDelete/,
    ],
  ];
  it.each(judged)('judges %s', async (_title, object, outcome, message) => {
    server.put(object);
    const result = await roll(object);
    expect(result).toMatchObject({ workload: `shop/${object.kind}/x`, outcome });
    expect(result.message).toMatch(message);
    expect(clock.slept).toEqual([]);
  });

  const pending: readonly (readonly [string, KubeManifest])[] = [
    [
      'a controller that has not seen the change',
      {
        ...state(
          'Deployment',
          { replicas: 1 },
          { replicas: 1, updatedReplicas: 1, availableReplicas: 1, observedGeneration: 0 },
        ),
      },
    ],
    [
      'old pods that are still there',
      state('Deployment', { replicas: 1 }, { replicas: 2, updatedReplicas: 1, availableReplicas: 2 }),
    ],
    [
      'new pods that are not available',
      state('Deployment', { replicas: 1 }, { replicas: 1, updatedReplicas: 1, availableReplicas: 0 }),
    ],
    [
      'a StatefulSet that is not ready',
      state('StatefulSet', { replicas: 2 }, { updatedReplicas: 2, readyReplicas: 1 }),
    ],
    [
      'a DaemonSet that is not available',
      state('DaemonSet', {}, { desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 1 }),
    ],
  ];
  it.each(pending)('waits for %s, no longer than it may', async (_title, object) => {
    server.put(object);
    const controller = new AbortController();
    clock.onSleep((now) => {
      if (now >= Date.UTC(2026, 0, 1, 0, 1)) controller.abort(new Error('a minute is over'));
    });
    const result = await roll(object, controller.signal);
    expect(result.outcome).toBe('timed-out');
    expect(result.message).toMatch(/^not ready in time: ./);
    // Soon at first, then seldom: the API server is not asked more than four times a second, nor left for more than four.
    expect(Math.min(...clock.slept)).toBe(250);
    expect(Math.max(...clock.slept)).toBe(4000);
  });

  it('sees it become ready', async () => {
    const waiting = state('Deployment', { replicas: 2 }, { replicas: 3, updatedReplicas: 1, availableReplicas: 2 });
    server.put(waiting);
    clock.onSleep(() => {
      if (clock.slept.length === 3)
        server.put({
          ...waiting,
          status: { observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2 },
        });
    });
    expect((await roll(waiting)).outcome).toBe('ready');
    expect(clock.slept).toHaveLength(3);
  });

  it('is over when the old pods have ended, not when the new ones are ready', async () => {
    const pod = (name: string, app: string, more: JsonObject = {}): KubeManifest => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'shop', labels: { app, tier: 'front' }, ...more },
    });
    const ending = { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 30 };
    const old = pod('x-old', 'x', ending);
    for (const one of [old, pod('x-new', 'x'), pod('y-old', 'y', ending)]) server.put(one);
    const selector = { matchLabels: { app: 'x', tier: 'front' } };
    const rolled = state(
      'Deployment',
      { replicas: 1, selector },
      { replicas: 1, updatedReplicas: 1, availableReplicas: 1 },
    );
    server.put(rolled);
    clock.onSleep(() => {
      if (clock.slept.length === 2) server.remove(old);
    });
    expect(await roll(rolled)).toMatchObject({ outcome: 'ready' });
    expect(clock.slept).toHaveLength(2);
  });

  it('that waits for old pods to end says so when its time is over', async () => {
    const selector = { matchLabels: { app: 'x' } };
    const metadata = {
      name: 'x-old',
      namespace: 'shop',
      labels: { app: 'x' },
      deletionTimestamp: '2026-01-01T00:00:00Z',
    };
    server.put({ apiVersion: 'v1', kind: 'Pod', metadata });
    const rolled = state(
      'Deployment',
      { replicas: 1, selector },
      { replicas: 1, updatedReplicas: 1, availableReplicas: 1 },
    );
    server.put(rolled);
    const controller = new AbortController();
    clock.onSleep(() => controller.abort(new Error('over')));
    const result = await roll(rolled, controller.signal);
    expect(result).toMatchObject({ outcome: 'timed-out' });
    expect(result.message).toContain('1 old pod still ending');
  });

  it.each([
    [{ matchLabels: { app: 'x' } }, 'app=x'],
    [
      {
        matchLabels: { app: 'x' },
        matchExpressions: [
          { key: 'tier', operator: 'In', values: ['a', 'b'] },
          { key: 'old', operator: 'DoesNotExist' },
          { key: 'zone', operator: 'NotIn', values: ['z'] },
          { key: 'owner', operator: 'Exists' },
        ],
      },
      'app=x,tier in (a,b),!old,zone notin (z),owner',
    ],
    [{ matchExpressions: [{ key: 'a', operator: 'Gt', values: ['1'] }] }, undefined],
    [{}, undefined],
  ])('asks for the pods of %j', (selector, text) => {
    expect(podSelector(state('Deployment', { selector }, {}))).toBe(text);
  });

  it('fails when the workload is gone or of a kind that does not tell', async () => {
    expect(await roll(state('Deployment', {}, {}))).toMatchObject({ outcome: 'failed', message: 'it is gone' });
    expect(await roll(SHOP)).toMatchObject({ outcome: 'failed' });
  });
});

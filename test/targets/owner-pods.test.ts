// Pods that an operator replaces: which are a custom owner's, when they run as the new account, and what is said where nobody can tell.
import { afterEach, describe, expect, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import { refOf } from '../../src/model/object.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { deriveUndo } from '../../src/plan/rollback.ts';
import type { Step } from '../../src/plan/plan.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { checkAccounts, operatorPods } from '../../src/targets/owner-pods.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { FakeKind } from '../support/fake-api/kinds.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { objectsOf } from '../phases/worlds.ts';

const pod = (name: string, account: string, more: { phase?: string; ready?: boolean } = {}): KubeManifest => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'ml', labels: { 'serving.kserve.io/inferenceservice': 'fraud' } },
  spec: { serviceAccountName: account },
  status: {
    phase: more.phase ?? 'Running',
    conditions: [{ type: 'Ready', status: more.ready === false ? 'False' : 'True' }],
  },
});

describe('the pods of a custom owner', () => {
  it.each([
    [[pod('a', 'team'), pod('b', 'fraud')], 'waiting', /1 pod still run as team/],
    [[pod('b', 'fraud', { ready: false })], 'waiting', /0 of 1 pod as fraud are ready/],
    [[pod('b', 'fraud'), pod('t', 'transformer')], 'ready', /1 pod run as fraud/],
    // Finished runs are nobody's concern, and nothing at all is scaled to nothing.
    [[pod('a', 'team', { phase: 'Succeeded' }), pod('b', 'fraud')], 'ready', /1 pod/],
    [[], 'ready', /no pod of it runs now/],
  ] as const)('%#: are judged by the account that they run as', (items, state, message) => {
    const found = checkAccounts({ items }, 'team', 'fraud');
    expect(found.state).toBe(state);
    expect(found.message).toMatch(message);
  });

  it.each([
    ['serving.kserve.io/v1beta1', 'InferenceService', 'serving.kserve.io/inferenceservice=fraud'],
    ['ray.io/v1', 'RayService', 'ray.io/originated-from-cr-name=fraud,ray.io/originated-from-crd=RayService'],
    ['kubeflow.org/v1', 'Notebook', 'notebook-name=fraud'],
    ['example.com/v1', 'Model', undefined],
  ])('of %s %s are found by the labels of its operator', (apiVersion, kind, selector) => {
    expect(operatorPods({ apiVersion, kind, metadata: { name: 'fraud', namespace: 'ml' } })).toBe(selector);
  });
});

const KINDS: readonly FakeKind[] = [
  { apiVersion: 'serving.kserve.io/v1beta1', kind: 'InferenceService', plural: 'inferenceservices', namespaced: true },
  { apiVersion: 'serving.kserve.io/v1alpha1', kind: 'LocalModel', plural: 'localmodels', namespaced: true },
];
const WORLD = `apiVersion: v1
kind: Namespace
metadata: {name: ml}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: fraud, namespace: ml}
spec: {predictor: {serviceAccountName: fraud}}
---
apiVersion: serving.kserve.io/v1alpha1
kind: LocalModel
metadata: {name: other, namespace: ml}
spec: {}
`;

describe('a live cluster', () => {
  let fake: FakeApi | undefined;
  let target: Target | undefined;
  afterEach(async () => {
    await target?.close();
    await fake?.close();
  });
  const open = async (): Promise<{ readonly api: FakeApi; readonly cluster: Target }> => {
    const api = await startFakeApi({ objects: objectsOf(WORLD), kinds: KINDS });
    const cluster = await openClusterTarget({ kubeconfig: api.kubeconfig, clock: simulatedClock() });
    [fake, target] = [api, cluster];
    return { api, cluster };
  };
  const awaited = (cluster: Target, kind: string, name: string): ReturnType<Target['awaitRollout']> => {
    const object = objectsOf(WORLD).find((one) => one.kind === kind && one.metadata.name === name);
    if (object === undefined) throw new Error(`no ${kind} ${name}`);
    return cluster.awaitRollout(
      { id: `ml/${kind}/${name}`, ref: refOf(object), accounts: { from: 'team', to: 'fraud' } },
      new AbortController().signal,
    );
  };

  it('is waited for until the operator has replaced the pods', async () => {
    const { api, cluster } = await open();
    api.put(pod('old', 'team'));
    let looks = 0;
    api.afterCall(({ method, path }) => {
      if (method !== 'GET' || !path.endsWith('/pods')) return;
      looks += 1;
      if (looks === 2) api.put(pod('new', 'fraud'));
      if (looks === 3) api.remove(pod('old', 'team'));
    });
    expect(await awaited(cluster, 'InferenceService', 'fraud')).toMatchObject({ outcome: 'ready' });
    expect(looks).toBeGreaterThan(3);
  });

  it('is not waited for without end: what the operator does is unknown, and is said', async () => {
    const { api, cluster } = await open();
    api.put(pod('old', 'team'));
    expect(await awaited(cluster, 'InferenceService', 'fraud')).toMatchObject({
      outcome: 'unknown',
      message: expect.stringContaining('1 pod still run as team') as string,
    });
  });

  it('whose operator is not known is unknown at once', async () => {
    const { cluster } = await open();
    expect(await awaited(cluster, 'LocalModel', 'other')).toMatchObject({ outcome: 'unknown' });
  });
});

it('the way back waits for the account that the pods came from', () => {
  const [object] = objectsOf(WORLD.split('---\n')[1] ?? '');
  if (object === undefined) throw new Error('no object');
  const step: Step = {
    id: 'identity/x-migrate',
    namespace: 'ml',
    phase: 'identity',
    operation: 'edit',
    title: 'x',
    change: {
      kind: 'edit',
      ref: refOf(object),
      fields: [{ path: ['spec', 'predictor', 'serviceAccountName'], before: 'team', after: 'fraud' }],
      owner: 'other',
    },
    effects: [{ kind: 'rollout', workload: 'ml/InferenceService/fraud', accounts: { from: 'team', to: 'fraud' } }],
    risks: [],
  };
  const applied = { seq: 1, run: 'r', namespace: 'ml', phase: 'identity' as const, step, change: step.change, at: 0 };
  const { steps } = deriveUndo([applied], [applied], [object]);
  expect(steps[0]?.effects).toEqual([
    { kind: 'rollout', workload: 'ml/InferenceService/fraud', accounts: { from: 'fraud', to: 'team' } },
  ]);
});

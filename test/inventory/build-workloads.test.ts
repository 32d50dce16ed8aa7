import { describe, expect, it } from 'vitest';
import { isDurableLabel } from '../../src/model/durable-labels.ts';
import { findingLines, inventoryOf, readFixture, workload, withObjects } from './snapshots.ts';

const live = await readFixture('live');
const inventory = inventoryOf(live);

describe('workloads of a live cluster', () => {
  it('are named by their top owner, children and runs are not workloads of their own', () => {
    expect(inventory.workloads.map((item) => item.id)).toEqual([
      'kube-system/Pod/etcd-n1',
      'ml/CronWorkflow/retrain',
      'ml/InferenceService/fraud',
      'ml/NovelThing/thing',
      'ml/Pod/daily.score',
      'ml/PyTorchJob/train',
      'ml/RayService/llm',
      'shop/CronJob/nightly',
      'shop/Deployment/web',
      'shop/StatefulSet/db',
    ]);
  });

  it.each([
    ['shop/Deployment/web', 'web-7d9-aaaaa', 'web-7d9'],
    ['shop/CronJob/nightly', 'nightly-100-xyz', 'nightly-100'],
    ['ml/CronWorkflow/retrain', 'retrain-1700-step-9', 'retrain-1700'],
    ['ml/RayService/llm', 'llm-x7k2q-head', 'llm-x7k2q'],
    ['ml/PyTorchJob/train', 'train-worker-0', 'train'],
  ])('%s has the pod %s, whose run or owner is %s', (id, pod, owner) => {
    const pods = workload(inventory, id).podSets.flatMap((set) => set.pods);
    expect(pods.find((item) => item.name === pod)?.owner).toBe(owner);
  });

  it('keep no label of a single pod, run or revision', () => {
    for (const item of inventory.workloads) {
      for (const set of item.podSets) {
        for (const key of ['pod-template-hash', 'controller-uid', 'job-name', 'training.kubeflow.org/replica-index']) {
          expect(Object.keys(set.labels), item.id).not.toContain(key);
        }
      }
    }
    // KubeRay makes a cluster of a new name at every upgrade of a RayService.
    expect(workload(inventory, 'ml/RayService/llm').podSets[0]?.labels).not.toHaveProperty('ray.io/cluster');
    // Knative names the revision in a label that looks like an application's own.
    expect(workload(inventory, 'ml/InferenceService/fraud').podSets[0]?.labels).toEqual({
      component: 'predictor',
      'serving.kserve.io/inferenceservice': 'fraud',
      'serving.knative.dev/service': 'fraud-predictor',
      'serving.knative.dev/configuration': 'fraud-predictor',
    });
  });

  it('tells replica types apart, and keeps those without pods from the template', () => {
    const sets = workload(inventory, 'ml/PyTorchJob/train').podSets;
    expect(sets.map((set) => [set.role, set.pods.length, set.serviceAccount, set.templatePath])).toEqual([
      ['Master', 0, 'trainer', ['spec', 'pytorchReplicaSpecs', 'Master', 'template']],
      ['Worker', 2, 'trainer', ['spec', 'pytorchReplicaSpecs', 'Worker', 'template']],
    ]);
    expect(sets[1]?.labels).toEqual({
      'training.kubeflow.org/job-name': 'train',
      'training.kubeflow.org/operator-name': 'pytorchjob-controller',
      'training.kubeflow.org/replica-type': 'worker',
    });
  });

  it('count running pods for the mesh and leave finished ones out', () => {
    expect(workload(inventory, 'shop/Deployment/web').podSets[0]?.mesh).toBe('mixed');
    const nightly = workload(inventory, 'shop/CronJob/nightly').podSets[0];
    expect(nightly?.pods[0]).toMatchObject({ phase: 'Succeeded', finishedAt: Date.parse('2026-10-02T02:09:00Z') });
    // Its last pod had no sidecar, but it is over: what the next one will be, nobody can say without the control plane.
    expect(nightly?.mesh).toBe('unknown');
  });

  it('know their schedule and the last run that succeeded', () => {
    expect(workload(inventory, 'shop/CronJob/nightly').schedule).toEqual({
      cron: '0 2 * * *',
      timeZone: 'Europe/Berlin',
      suspended: false,
      lastSuccess: Date.parse('2026-10-02T02:10:00Z'),
      lastSchedule: Date.parse('2026-10-02T02:00:00Z'),
      by: 'CronJob',
    });
    expect(workload(inventory, 'ml/CronWorkflow/retrain').schedule).toMatchObject({
      cron: '0 3 * * *',
      lastSuccess: Date.parse('2026-10-03T03:30:00Z'),
    });
  });

  it('know who else writes them', () => {
    expect(workload(inventory, 'shop/Deployment/web').manager).toMatchObject({ kind: 'helm', name: 'shop' });
    expect(workload(inventory, 'shop/StatefulSet/db').manager).toBeUndefined();
  });

  it('say which owners of pods could not be read', () => {
    expect(findingLines(inventory, 'SP306')).toEqual(['ml/NovelThing/thing owns pods and was not read']);
    expect(workload(inventory, 'ml/NovelThing/thing').custom).toBe(true);
  });

  it('are found through the name of a ReplicaSet that was not read, when its Deployment was', () => {
    const unread = {
      ...live,
      objects: live.objects.filter((object) => object.kind !== 'ReplicaSet'),
      unread: ['apps/ReplicaSet'],
    };
    const pods = workload(inventoryOf(unread), 'shop/Deployment/web').podSets[0]?.pods;
    expect(pods?.map((pod) => pod.name)).toEqual(['web-7d9-aaaaa', 'web-7d9-bbbbb']);
  });

  it('keep probe and container ports and the names of variables, never a value', () => {
    const [container] = workload(inventory, 'shop/Deployment/web').podSets[0]?.containers ?? [];
    expect(container).toMatchObject({ probePorts: [8080, 9000], envNames: ['DB_URL', 'API_TOKEN'] });
    const text = JSON.stringify(inventory.workloads) + JSON.stringify([inventory.declared, inventory.findings]);
    expect(text).not.toContain('hunter2');
    expect(text).not.toContain('admin:');
    expect(text).not.toContain('tok-3f9a');
  });
});

describe('Services', () => {
  it.each([
    ['db', ['shop/StatefulSet/db']],
    ['db-first', ['shop/StatefulSet/db']],
    ['web', ['shop/Deployment/web']],
    ['manual', ['shop/Deployment/web']],
  ])('%s leads to %j', (name, workloads) => {
    expect(inventory.services.find((service) => service.name === name)?.workloads).toEqual(workloads);
  });

  it('that select nothing are a finding', () => {
    const lost = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'lost', namespace: 'shop' },
      spec: { selector: { app: 'gone' }, ports: [{ port: 80 }] },
    };
    expect(findingLines(inventoryOf(withObjects(live, lost)), 'SP310')).toEqual(['Service shop/lost selects nothing']);
  });
});

describe('rebuilding', () => {
  it('gives the same workload objects for what did not change', () => {
    const relabelled = {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'shop', labels: {} },
    };
    const again = inventoryOf(withObjects(live, relabelled));
    expect(workload(again, 'ml/PyTorchJob/train')).toBe(workload(inventory, 'ml/PyTorchJob/train'));
  });

  it('answers anew for a template that changed', () => {
    const web = live.objects.find((object) => object.kind === 'Deployment' && object.metadata.name === 'web');
    const text = JSON.stringify(web).replace('"serviceAccountName":"web"', '"serviceAccountName":"web-own"');
    const again = inventoryOf(withObjects(live, JSON.parse(text) as unknown));
    expect(workload(again, 'shop/Deployment/web').podSets[0]?.serviceAccount).toBe('web-own');
    expect(workload(inventory, 'shop/Deployment/web').podSets[0]?.serviceAccount).toBe('web');
  });
});

describe('a workload that moved to another account', () => {
  const run = (name: string, account: string | undefined, phase: string): unknown => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'shop',
      labels: { 'job-name': 'nightly-100' },
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name: 'nightly-100', uid: 'u', controller: true }],
    },
    spec: {
      ...(account === undefined ? {} : { serviceAccountName: account }),
      containers: [{ name: 'main', image: 'i' }],
    },
    status: { phase },
  });
  const accounts = (...pods: readonly unknown[]): readonly unknown[] => {
    const [set] = workload(inventoryOf(withObjects(live, ...pods)), 'shop/CronJob/nightly').podSets;
    return [set?.serviceAccount, set?.otherAccounts];
  };
  const [now] = accounts() as [string];

  it.each([
    ['keeps the account of a run under way', [run('r1', 'old', 'Running')], ['old']],
    ['and of one that waits for a node', [run('r1', 'old', 'Pending')], ['old']],
    ['forgets it when the run has ended', [run('r1', 'old', 'Succeeded')], undefined],
    ['has one account where they are the same', [run('r1', now, 'Running')], undefined],
    ['takes nothing from a pod that names none', [run('r1', undefined, 'Running')], undefined],
    ['and from one of which nobody says that it runs', [run('r1', 'old', 'Unknown')], undefined],
    ['has as many as there are', [run('r1', 'old', 'Running'), run('r2', 'older', 'Running')], ['old', 'older']],
  ])('%s', (_, pods, others) => {
    expect(accounts(...pods)).toEqual([now, others]);
  });

  it('has the one that its owner names by now beside that of its pods, where an operator makes them', () => {
    const job = live.objects.find(({ kind, metadata }) => kind === 'PyTorchJob' && metadata.name === 'train');
    const text = JSON.stringify(job).replaceAll('"serviceAccountName":"trainer"', '"serviceAccountName":"train-own"');
    const sets = workload(inventoryOf(withObjects(live, JSON.parse(text) as unknown)), 'ml/PyTorchJob/train').podSets;
    expect(sets.map(({ role, serviceAccount, otherAccounts }) => [role, serviceAccount, otherAccounts])).toEqual([
      ['Master', 'train-own', undefined],
      ['Worker', 'trainer', ['train-own']],
    ]);
  });
});

describe('labels on which a selector may rest', () => {
  it.each([
    ['app', undefined, true],
    ['version', undefined, true],
    ['pod-template-hash', undefined, false],
    ['batch.kubernetes.io/controller-uid', undefined, false],
    ['workflows.argoproj.io/workflow', undefined, false],
    ['ray.io/cluster', 'RayCluster', true],
    ['ray.io/cluster', 'RayJob', false],
    ['spark-app-name', 'SparkApplication', true],
    ['spark-app-name', 'ScheduledSparkApplication', false],
    ['helm.sh/chart', undefined, false],
    ['sidecar.istio.io/inject', undefined, false],
    ['topology.kubernetes.io/zone', undefined, false],
  ])('%s under %s: %s', (key, kind, durable) => {
    expect(isDurableLabel(key, kind)).toBe(durable);
  });
});

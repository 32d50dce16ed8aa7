import { describe, expect, it } from 'vitest';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { inventoryOf, snapshotOf, workload } from './snapshots.ts';

const POD = { spec: { serviceAccountName: 'runner', containers: [{ name: 'c', image: 'c' }] } };

interface Case {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: JsonObject;
  /** Role, account, and labels of which all must be there. */
  readonly pods: readonly (readonly [string, string, Readonly<Record<string, string>>])[];
  readonly batch: boolean;
  readonly schedule?: string;
}

function training(kind: string, field: string, operator: string): Case {
  return {
    apiVersion: 'kubeflow.org/v1',
    kind,
    spec: { [field]: { Worker: { template: POD } } },
    pods: [
      [
        'Worker',
        'runner',
        {
          'training.kubeflow.org/job-name': 'x',
          'training.kubeflow.org/replica-type': 'worker',
          'training.kubeflow.org/operator-name': operator,
        },
      ],
    ],
    batch: true,
  };
}

const RAY: JsonObject = {
  headGroupSpec: { template: POD },
  workerGroupSpecs: [{ groupName: 'gpu', template: POD }],
};
const SPARK: JsonObject = {
  image: 'spark',
  driver: { serviceAccount: 'driver', labels: { team: 'risk' } },
  executor: {},
};

const CASES: readonly Case[] = [
  training('PyTorchJob', 'pytorchReplicaSpecs', 'pytorchjob-controller'),
  training('TFJob', 'tfReplicaSpecs', 'tfjob-controller'),
  training('XGBoostJob', 'xgbReplicaSpecs', 'xgboostjob-controller'),
  training('PaddleJob', 'paddleReplicaSpecs', 'paddlejob-controller'),
  training('JAXJob', 'jaxReplicaSpecs', 'jaxjob-controller'),
  {
    apiVersion: 'kubeflow.org/v2beta1',
    kind: 'MPIJob',
    spec: { mpiReplicaSpecs: { Launcher: { template: POD }, Worker: { template: POD } } },
    pods: [
      ['Launcher', 'runner', { 'training.kubeflow.org/job-role': 'launcher' }],
      ['Worker', 'runner', { 'training.kubeflow.org/job-role': 'worker', 'training.kubeflow.org/job-name': 'x' }],
    ],
    batch: true,
  },
  {
    apiVersion: 'jobset.x-k8s.io/v1alpha2',
    kind: 'JobSet',
    spec: { replicatedJobs: [{ name: 'workers', template: { spec: { template: POD } } }] },
    pods: [
      [
        'workers',
        'runner',
        { 'jobset.sigs.k8s.io/jobset-name': 'x', 'jobset.sigs.k8s.io/replicatedjob-name': 'workers' },
      ],
    ],
    batch: true,
  },
  {
    apiVersion: 'leaderworkerset.x-k8s.io/v1',
    kind: 'LeaderWorkerSet',
    spec: { leaderWorkerTemplate: { leaderTemplate: POD, workerTemplate: POD } },
    pods: [
      ['leader', 'runner', { 'leaderworkerset.sigs.k8s.io/name': 'x' }],
      ['worker', 'runner', { 'leaderworkerset.sigs.k8s.io/name': 'x' }],
    ],
    batch: false,
  },
  {
    apiVersion: 'batch.volcano.sh/v1alpha1',
    kind: 'Job',
    spec: { tasks: [{ name: 'ps', template: POD }] },
    pods: [['ps', 'runner', { 'volcano.sh/job-name': 'x', 'volcano.sh/task-spec': 'ps' }]],
    batch: true,
  },
  {
    apiVersion: 'ray.io/v1',
    kind: 'RayCluster',
    spec: RAY,
    pods: [
      ['head', 'runner', { 'ray.io/cluster': 'x', 'ray.io/node-type': 'head' }],
      ['gpu', 'runner', { 'ray.io/cluster': 'x', 'ray.io/group': 'gpu' }],
    ],
    batch: false,
  },
  {
    apiVersion: 'ray.io/v1',
    kind: 'RayCronJob',
    spec: { schedule: '0 1 * * *', jobTemplate: { rayClusterSpec: RAY } },
    pods: [
      ['head', 'runner', { 'ray.io/node-type': 'head' }],
      ['gpu', 'runner', { 'ray.io/group': 'gpu' }],
      ['submitter', 'default', { 'ray.io/originated-from-crd': 'RayJob' }],
    ],
    batch: true,
    schedule: '0 1 * * *',
  },
  {
    apiVersion: 'sparkoperator.k8s.io/v1beta2',
    kind: 'SparkApplication',
    spec: SPARK,
    pods: [
      ['driver', 'driver', { 'spark-role': 'driver', 'spark-app-name': 'x', team: 'risk' }],
      ['executor', 'driver', { 'spark-role': 'executor', 'sparkoperator.k8s.io/app-name': 'x' }],
    ],
    batch: true,
  },
  {
    apiVersion: 'sparkoperator.k8s.io/v1beta2',
    kind: 'ScheduledSparkApplication',
    spec: { schedule: '@every 1h', template: SPARK },
    pods: [
      ['driver', 'driver', { 'spark-role': 'driver', team: 'risk' }],
      ['executor', 'driver', { 'spark-role': 'executor' }],
    ],
    batch: true,
    schedule: '@every 1h',
  },
  {
    apiVersion: 'serving.kserve.io/v1beta1',
    kind: 'InferenceService',
    spec: {
      predictor: { serviceAccountName: 'models', model: { modelFormat: { name: 'sklearn' } } },
      transformer: { containers: [{ name: 't', image: 't' }] },
    },
    pods: [
      ['predictor', 'models', { 'serving.kserve.io/inferenceservice': 'x', component: 'predictor' }],
      ['transformer', 'default', { 'serving.kserve.io/inferenceservice': 'x', component: 'transformer' }],
    ],
    batch: false,
  },
  {
    apiVersion: 'serving.knative.dev/v1',
    kind: 'Service',
    spec: { template: POD },
    pods: [['', 'runner', { 'serving.knative.dev/service': 'x' }]],
    batch: false,
  },
  {
    apiVersion: 'argoproj.io/v1alpha1',
    kind: 'CronWorkflow',
    spec: {
      schedule: '0 4 * * *',
      workflowSpec: {
        serviceAccountName: 'flow',
        podMetadata: { labels: { team: 'risk' } },
        templates: [
          { name: 'dag', dag: { tasks: [] } },
          { name: 'step', script: { image: 's', source: '' } },
        ],
      },
    },
    pods: [['step', 'flow', { team: 'risk' }]],
    batch: true,
    schedule: '0 4 * * *',
  },
  {
    apiVersion: 'kubeflow.org/v1beta1',
    kind: 'ScheduledWorkflow',
    spec: {
      enabled: true,
      trigger: { cronSchedule: { cron: '0 0 5 * * *' } },
      workflow: { spec: { templates: [{ name: 'step', container: { image: 's' } }] } },
    },
    pods: [['step', 'default', {}]],
    batch: true,
    schedule: '0 0 5 * * *',
  },
  {
    apiVersion: 'kubernetes.dask.org/v1',
    kind: 'DaskCluster',
    spec: { scheduler: { spec: POD.spec }, worker: { spec: POD.spec } },
    pods: [
      ['scheduler', 'runner', { 'dask.org/cluster-name': 'x', 'dask.org/component': 'scheduler' }],
      ['worker', 'runner', { 'dask.org/cluster-name': 'x', 'dask.org/component': 'worker' }],
    ],
    batch: false,
  },
  {
    apiVersion: 'kubeflow.org/v1',
    kind: 'Notebook',
    spec: { template: POD },
    pods: [['', 'runner', { 'notebook-name': 'x' }]],
    batch: false,
  },
  {
    apiVersion: 'kafka.strimzi.io/v1beta2',
    kind: 'Kafka',
    spec: { kafka: { listeners: [{ name: 'tls', port: 9093 }] }, entityOperator: {} },
    pods: [
      ['kafka', 'x-kafka', { 'strimzi.io/cluster': 'x', 'strimzi.io/name': 'x-kafka' }],
      ['entity-operator', 'x-entity-operator', { 'strimzi.io/name': 'x-entity-operator' }],
    ],
    batch: false,
  },
  {
    apiVersion: 'feast.dev/v1',
    kind: 'FeatureStore',
    spec: {},
    pods: [['', 'feast-x', { 'feast.dev/name': 'x' }]],
    batch: false,
  },
];

function objectOf(item: Case, more: Json = {}): JsonObject {
  return {
    apiVersion: item.apiVersion,
    kind: item.kind,
    metadata: { name: 'x', namespace: 'ml' },
    spec: item.spec,
    more,
  };
}

describe('pods that a custom resource will make', () => {
  it.each(CASES)('of $apiVersion $kind carry the labels of its operator', (item) => {
    const found = workload(inventoryOf(snapshotOf([objectOf(item)], 'directory')), `ml/${item.kind}/x`);
    expect(found.podSets.map((set) => [set.role, set.serviceAccount])).toEqual(
      item.pods.map(([role, account]) => [role, account]),
    );
    for (const [index, [, , labels]] of item.pods.entries()) {
      expect(found.podSets[index]?.labels).toMatchObject(labels);
    }
    expect({ custom: found.custom, batch: found.batch, cron: found.schedule?.cron }).toEqual({
      custom: true,
      batch: item.batch,
      cron: item.schedule,
    });
  });

  it('of two kinds of one name are two workloads', () => {
    const volcano = CASES.find((item) => item.apiVersion.startsWith('batch.volcano.sh'));
    if (volcano === undefined) throw new Error('the case is missing');
    const job = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'x', namespace: 'ml' },
      spec: { template: POD },
    };
    const ids = inventoryOf(snapshotOf([objectOf(volcano), job])).workloads.map((item) => item.id);
    expect(ids).toEqual(['ml/Job.batch.volcano.sh/x', 'ml/Job/x']);
  });

  it('are not made up where only the operator knows them', () => {
    const milvus = {
      apiVersion: 'milvus.io/v1beta1',
      kind: 'Milvus',
      metadata: { name: 'x', namespace: 'ml' },
      spec: {},
    };
    const inventory = inventoryOf(snapshotOf([milvus], 'directory'));
    expect(workload(inventory, 'ml/Milvus/x').podSets).toEqual([]);
    expect(inventory.findings.map((finding) => finding.code)).toContain('SP324');
  });
});

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Inventory } from '../../src/model/inventory.ts';
import { edgeLine, inventoryOf } from '../inventory/snapshots.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';

const SETS = join(import.meta.dirname, '../../../shared/data/manifests');
if (!existsSync(SETS)) {
  throw new Error(`the real manifest sets are not at ${SETS}; these tests read them and have no substitute`);
}

async function readSet(name: string): Promise<Inventory> {
  const dir = join(SETS, name);
  const source = readFileSync(join(dir, 'SOURCE.txt'), 'utf8');
  const defaultNamespace = /default-namespace: (\S+)/.exec(source)?.[1];
  if (defaultNamespace === undefined) throw new Error(`${dir}/SOURCE.txt names no default namespace`);
  return inventoryOf(await readManifestDirectory(dir, { defaultNamespace }));
}

interface Expected {
  /** Workloads, and those of them that no signature knows: the rest is recognised. */
  readonly workloads: number;
  readonly unrecognised: readonly string[];
  /** Component of each of these workloads. */
  readonly components: Readonly<Record<string, string>>;
  readonly edges?: readonly string[];
}

const EXPECTED: Readonly<Record<string, Expected>> = {
  'airflow-bitnami': {
    workloads: 9,
    unrecognised: [],
    components: {
      'airflow/Deployment/airflow-scheduler': 'airflow-scheduler',
      'airflow/Deployment/airflow-web': 'airflow-web',
      'airflow/StatefulSet/airflow-worker': 'airflow-worker',
      'airflow/StatefulSet/airflow-postgresql': 'postgres',
      'airflow/StatefulSet/airflow-redis-master': 'redis',
    },
    edges: [
      'airflow/StatefulSet/airflow-worker -> airflow/StatefulSet/airflow-postgresql 5432/TCP weak',
      'airflow/Deployment/airflow-scheduler -> airflow/StatefulSet/airflow-redis-master 6379/TCP weak',
    ],
  },
  'argo-workflows': {
    workloads: 3,
    unrecognised: [],
    components: {
      'argo/CronWorkflow/hello-world': 'kfp-step',
      'argo/Deployment/argo-server': 'argo-workflows',
      'argo/Deployment/workflow-controller': 'argo-workflows',
    },
  },
  'bank-of-anthos': {
    workloads: 9,
    unrecognised: [
      'default/Deployment/balancereader',
      'default/Deployment/contacts',
      'default/Deployment/frontend',
      'default/Deployment/ledgerwriter',
      'default/Deployment/loadgenerator',
      'default/Deployment/transactionhistory',
      'default/Deployment/userservice',
      'default/StatefulSet/accounts-db',
    ],
    components: {},
    edges: [
      'default/Deployment/frontend -> default/Deployment/userservice 8080/TCP weak',
      'default/Deployment/userservice -> default/StatefulSet/accounts-db 5432/TCP weak',
      'default/Deployment/ledgerwriter -> default/StatefulSet/ledger-db 5432/TCP weak',
      'node -> default/Deployment/frontend 8080/TCP strong',
    ],
  },
  'batch-schedulers': {
    workloads: 9,
    unrecognised: [],
    components: {
      'batch-schedulers/RayJob/rayjob-sample': 'ray-cluster',
      'jobset-system/Deployment/jobset-controller-manager': 'jobset',
      'kueue-system/Deployment/kueue-controller-manager': 'kueue',
      'lws-system/Deployment/lws-controller-manager': 'lws',
      'volcano-system/Deployment/volcano-admission': 'volcano',
    },
    edges: [
      'api-server -> kueue-system/Deployment/kueue-controller-manager 9443/TCP strong',
      'api-server -> kueue-system/Deployment/kueue-controller-manager 8082/TCP strong',
      'api-server -> volcano-system/Deployment/volcano-admission 8443/TCP strong',
    ],
  },
  bookinfo: {
    workloads: 10,
    unrecognised: [
      'default/Deployment/details-v1',
      'default/Deployment/mysqldb-v1',
      'default/Deployment/productpage-v1',
      'default/Deployment/ratings-v1',
      'default/Deployment/ratings-v2',
      'default/Deployment/ratings-v2-mysql',
      'default/Deployment/reviews-v1',
      'default/Deployment/reviews-v2',
      'default/Deployment/reviews-v3',
    ],
    components: { 'default/Deployment/mongodb-v1': 'mongodb' },
    edges: ['default/Deployment/ratings-v2 -> default/Deployment/mongodb-v1 27017/TCP weak'],
  },
  dask: {
    workloads: 4,
    unrecognised: [],
    components: { 'dask/DaskCluster/simple': 'dask-cluster', 'dask/DaskWorkerGroup/simple-additional': 'dask-worker' },
    edges: ['node -> dask/DaskCluster/simple 8787/TCP strong'],
  },
  feast: {
    workloads: 26,
    unrecognised: [],
    components: {
      'feast-operator-system/Deployment/feast-operator-controller-manager': 'feast-operator',
      'feast/FeatureStore/sample': 'feast-server',
    },
  },
  'knative-serving': {
    workloads: 6,
    unrecognised: [],
    components: {
      'knative-serving/Deployment/activator': 'knative-activator',
      'knative-serving/Deployment/autoscaler': 'knative-autoscaler',
    },
    edges: ['api-server -> knative-serving/Deployment/webhook 8443/TCP strong'],
  },
  kserve: {
    workloads: 28,
    unrecognised: [],
    components: {
      'kserve/Deployment/kserve-controller-manager': 'kserve-controller',
      'kubeflow/InferenceService/sklearn-iris': 'kserve-predictor',
    },
    edges: ['api-server -> kserve/Deployment/kserve-controller-manager 9443/TCP strong'],
  },
  'kube-prometheus': {
    workloads: 8,
    unrecognised: [],
    components: { 'monitoring/Prometheus/k8s': 'prometheus', 'monitoring/Alertmanager/main': 'alertmanager' },
    edges: [
      'monitoring/Prometheus/k8s -> monitoring/Deployment/grafana 3000/TCP strong',
      'monitoring/Prometheus/k8s -> monitoring/Alertmanager/main 9093/TCP strong',
      'api-server -> monitoring/Deployment/prometheus-adapter 6443/TCP strong',
    ],
  },
  kuberay: {
    workloads: 13,
    unrecognised: [],
    components: {
      'kuberay/Deployment/kuberay-operator': 'kuberay-operator',
      'default/RayCluster/raycluster-complete': 'ray-cluster',
      'default/RayCronJob/raycronjob-sample': 'ray-cluster',
    },
  },
  'mlflow-bitnami': {
    workloads: 5,
    unrecognised: [],
    components: { 'mlflow/Deployment/mlflow-tracking': 'mlflow', 'mlflow/Deployment/mlflow-minio': 'minio' },
    edges: [
      'mlflow/Deployment/mlflow-tracking -> mlflow/StatefulSet/mlflow-postgresql 5432/TCP weak',
      'mlflow/Deployment/mlflow-run -> mlflow/Deployment/mlflow-tracking 5000/TCP weak',
    ],
  },
  'model-registry': {
    workloads: 4,
    unrecognised: [],
    components: { 'kubeflow/Deployment/model-registry-deployment': 'model-registry' },
  },
  'spark-operator': {
    workloads: 8,
    unrecognised: [],
    components: { 'spark-operator/Deployment/spark-operator-webhook': 'spark-operator' },
    edges: ['api-server -> spark-operator/Deployment/spark-operator-webhook 9443/TCP strong'],
  },
  'training-jobs': {
    workloads: 13,
    unrecognised: [],
    components: {
      'default/PyTorchJob/pytorch-simple': 'pytorchjob',
      'default/MPIJob/pi': 'mpijob',
      'default/TrainJob/multi-node-example': 'trainjob',
    },
    edges: ['api-server -> kubeflow/Deployment/training-operator 9443/TCP strong'],
  },
  triton: {
    workloads: 1,
    unrecognised: [],
    components: { 'triton/Deployment/triton-triton-inference-server': 'triton' },
    edges: ['node -> triton/Deployment/triton-triton-inference-server 8000/TCP strong'],
  },
  'vector-dbs': {
    workloads: 3,
    unrecognised: [],
    components: { 'vectordb/StatefulSet/qdrant': 'qdrant', 'vectordb/StatefulSet/weaviate': 'weaviate' },
  },
};

it('every real manifest set has its expectations', () => {
  expect(Object.keys(EXPECTED).sort()).toEqual(readdirSync(SETS).sort());
});

describe.each(Object.entries(EXPECTED))('%s', (name, expected) => {
  it('inventories, recognises its components and lists what it does not recognise', async () => {
    const inventory = await readSet(name);
    expect(inventory.workloads).toHaveLength(expected.workloads);
    const components = Object.fromEntries(inventory.workloads.map((item) => [item.id, item.classification.component]));
    expect(components).toMatchObject(expected.components);
    const listed = inventory.findings.filter((finding) => finding.code === 'SP305').map((finding) => finding.subject);
    expect(listed).toEqual(expected.unrecognised);
    expect(inventory.declared.map(edgeLine)).toEqual(expect.arrayContaining([...(expected.edges ?? [])]));
  });

  it('foresees the pods of every workload, and every Service inside the set leads somewhere', async () => {
    const inventory = await readSet(name);
    expect(inventory.findings.filter((finding) => finding.code === 'SP324')).toEqual([]);
    // The only exception selects a gateway that the set leaves to the mesh's own installation.
    const lost = inventory.findings.filter((finding) => finding.code === 'SP310').map((finding) => finding.subject);
    expect(lost).toEqual(name === 'knative-serving' ? ['istio-system/Service/knative-local-gateway'] : []);
  });
});

it('a value of an environment variable that looks like a credential is nowhere in an inventory', async () => {
  for (const name of ['airflow-bitnami', 'mlflow-bitnami', 'bank-of-anthos']) {
    const inventory = await readSet(name);
    const text = JSON.stringify([inventory.workloads, inventory.declared, inventory.findings]);
    expect(text, name).not.toContain('bankofanthos');
    expect(text, name).not.toContain('accounts-pwd');
    expect(text, name).not.toMatch(/:\/\/[^\s"/]*:[^\s"/]*@/);
  }
});

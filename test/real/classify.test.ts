import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { classifyWorkload, compileSignatures } from '../../src/inventory/classify.ts';
import type { ClassifyFacts } from '../../src/inventory/classify.ts';
import { mergeSignatures, parseSignatures } from '../../src/inventory/signatures.ts';
import { asArray, asNumber, asObject, asString, asStringMap, getPath } from '../../src/shared/pure/json.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';

const MANIFESTS = join(import.meta.dirname, '../../../shared/data/manifests');
const TEMPLATES = join(import.meta.dirname, '../../templates/signatures');
const compiled = compileSignatures(
  mergeSignatures(
    readdirSync(TEMPLATES).map((name) =>
      parseSignatures(JSON.parse(readFileSync(join(TEMPLATES, name), 'utf8')), name),
    ),
  ),
);

/** Where each kind keeps its pod template, if it has exactly one. */
const TEMPLATE: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  Deployment: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
};

function objectsOf(set: string): readonly JsonObject[] {
  const directory = join(MANIFESTS, set);
  return readdirSync(directory)
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .flatMap((name) => parseAllDocuments(readFileSync(join(directory, name), 'utf8')))
    .map((document) => document.toJS() as Json)
    .flatMap((object) => (Array.isArray(getPath(object, ['items'])) ? asArray(getPath(object, ['items'])) : [object]))
    .map((object) => asObject(object))
    .filter((object) => typeof object.kind === 'string');
}

function factsOf(object: JsonObject, services: readonly JsonObject[]): ClassifyFacts {
  const kind = asString(object.kind) ?? '';
  const version = asString(object.apiVersion) ?? '';
  const group = version.includes('/') ? version.slice(0, version.indexOf('/')) : '';
  const path = TEMPLATE[kind];
  const template = path === undefined ? {} : asObject(getPath(object, path));
  const labels = asStringMap(getPath(template, ['metadata', 'labels']));
  const spec = asObject(template.spec);
  const containers = asArray(spec.containers).map((container) => asObject(container));
  const ports = containers
    .flatMap((container) => asArray(container.ports))
    .map((port) => {
      const name = asString(getPath(port, ['name']));
      return { port: asNumber(getPath(port, ['containerPort'])) ?? 0, ...(name === undefined ? {} : { name }) };
    });
  const selecting = services.filter((service) => {
    const selector = Object.entries(asStringMap(getPath(service, ['spec', 'selector'])));
    return selector.length > 0 && selector.every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
  });
  return {
    namespace: asString(getPath(object, ['metadata', 'namespace'])) ?? 'default',
    name:
      asString(getPath(object, ['metadata', 'name'])) ?? asString(getPath(object, ['metadata', 'generateName'])) ?? '',
    kind,
    group,
    ownerKinds: [{ group, kind }],
    labels,
    images: containers.flatMap(({ image }) => (typeof image === 'string' ? [image] : [])),
    containerNames: containers.flatMap(({ name }) => (typeof name === 'string' ? [name] : [])),
    envNames: containers.flatMap(({ env }) => asArray(env).flatMap((item) => asString(getPath(item, ['name'])) ?? [])),
    serviceAccount: asString(spec.serviceAccountName) ?? 'default',
    serviceNames: selecting.map((service) => asString(getPath(service, ['metadata', 'name'])) ?? ''),
    ports,
  };
}

interface Seen {
  readonly component: string;
  readonly confidence: string;
}

/** `Kind/name` of each object that owns pods, and what it was taken for. */
function classifySet(set: string): ReadonlyMap<string, Seen> {
  const objects = objectsOf(set);
  const services = objects.filter(({ kind }) => kind === 'Service');
  const owners = new Set(
    compiled.signatures.components
      .flatMap(({ detect }) => detect.owners ?? [])
      .map(({ group, kind }) => `${group}/${kind}`),
  );
  const seen = new Map<string, Seen>();
  for (const object of objects) {
    const facts = factsOf(object, services);
    if (TEMPLATE[facts.kind] === undefined && !owners.has(`${facts.group}/${facts.kind}`)) continue;
    const { component, confidence } = classifyWorkload(facts, compiled);
    seen.set(`${facts.kind}/${facts.name}`, { component, confidence });
  }
  return seen;
}

// Each line: workload component, or workload ?component where the evidence is only weak.
const EXPECTED: Readonly<Record<string, string>> = {
  'airflow-bitnami': `Deployment/airflow-dag-processor airflow-scheduler
    Deployment/airflow-scheduler airflow-scheduler
    Deployment/airflow-statsd-metrics airflow-statsd
    Deployment/airflow-web airflow-web
    Job/airflow-setup-db airflow-scheduler
    StatefulSet/airflow-postgresql postgres
    StatefulSet/airflow-redis-master redis
    StatefulSet/airflow-triggerer airflow-scheduler
    StatefulSet/airflow-worker airflow-worker`,
  'argo-workflows': `Deployment/argo-server argo-workflows
    Deployment/workflow-controller argo-workflows
    Workflow/artifact-passing- kfp-step
    CronWorkflow/hello-world kfp-step`,
  'bank-of-anthos': `StatefulSet/ledger-db ?postgres
    Deployment/frontend ?unknown`,
  'batch-schedulers': `Deployment/jobset-controller-manager jobset
    Deployment/kueue-controller-manager kueue
    Deployment/lws-controller-manager lws
    Deployment/volcano-admission volcano
    Deployment/volcano-controllers volcano
    Deployment/volcano-scheduler volcano
    Job/volcano-admission-init volcano
    CronJob/sample-cronjob ?batch-job
    RayJob/rayjob-sample ray-cluster`,
  bookinfo: `Deployment/mysqldb-v1 ?unknown
    Deployment/mongodb-v1 mongodb
    Deployment/productpage-v1 ?unknown
    Deployment/reviews-v1 ?unknown`,
  dask: `Deployment/dask-dask-kubernetes-operator dask-operator
    DaskCluster/simple dask-cluster
    DaskJob/simple-job dask-cluster`,
  feast: `Deployment/feast-feast-feature-server feast-server
    Deployment/feast-operator-controller-manager feast-operator
    FeatureStore/sample feast-server`,
  'knative-serving': `Deployment/activator knative-activator
    Deployment/autoscaler knative-autoscaler
    Deployment/controller knative-control
    Deployment/webhook knative-control
    Deployment/net-istio-controller knative-control
    Deployment/net-istio-webhook knative-control`,
  kserve: `Deployment/kserve-controller-manager kserve-controller
    Deployment/kserve-localmodel-controller-manager kserve-controller
    Deployment/llmisvc-controller-manager kserve-controller
    DaemonSet/kserve-localmodelnode-agent kserve-controller
    InferenceService/german-credit kserve-predictor
    InferenceGraph/ensemble-model kserve-predictor`,
  'kube-prometheus': `Prometheus/k8s prometheus
    Alertmanager/main alertmanager
    Deployment/prometheus-operator prometheus
    Deployment/prometheus-adapter exporters
    Deployment/blackbox-exporter exporters
    Deployment/kube-state-metrics exporters
    DaemonSet/node-exporter exporters
    Deployment/grafana grafana`,
  kuberay: `Deployment/kuberay-operator kuberay-operator
    Deployment/redis redis
    RayCluster/raycluster-complete ray-cluster
    RayService/rayservice-sample ray-cluster
    RayCronJob/raycronjob-sample ray-cluster`,
  'mlflow-bitnami': `Deployment/mlflow-tracking mlflow
    Deployment/mlflow-run mlflow
    Deployment/mlflow-minio minio
    Job/mlflow-minio-provisioning minio
    StatefulSet/mlflow-postgresql postgres`,
  'model-registry': `Deployment/model-registry-deployment model-registry
    Deployment/model-registry-db mysql
    Deployment/model-catalog-server model-registry
    StatefulSet/model-catalog-postgres postgres`,
  'spark-operator': `Deployment/spark-operator-controller spark-operator
    Deployment/spark-operator-webhook spark-operator
    SparkApplication/spark-pi spark-application
    ScheduledSparkApplication/spark-pi-scheduled spark-application
    SparkConnect/spark-connect spark-application`,
  'training-jobs': `Deployment/training-operator training-operator-v1
    Deployment/mpi-operator mpi-operator
    PyTorchJob/pytorch-simple pytorchjob
    TFJob/tensorflow-dist-mnist tfjob
    MPIJob/tensorflow-mnist mpijob
    XGBoostJob/xgboost-dist-iris-test-train xgboost-paddle-jax
    JAXJob/jax-simple xgboost-paddle-jax
    TrainJob/multi-node-example trainjob`,
  triton: 'Deployment/triton-triton-inference-server triton',
  'vector-dbs': `StatefulSet/qdrant qdrant
    StatefulSet/weaviate weaviate`,
};

describe('the real manifest sets', () => {
  beforeAll(() => {
    if (!existsSync(MANIFESTS)) {
      throw new Error(
        `the real manifests are missing: ${MANIFESTS}. Run npm test for the tests that need no such data.`,
      );
    }
  });

  it.each(Object.entries(EXPECTED))('%s: its components are recognised', (set, lines) => {
    const seen = classifySet(set);
    const expected = lines.split('\n').map((line) => {
      const [workload = '', component = ''] = line.trim().split(' ');
      return [workload, component] as const;
    });
    const found = expected.map(([workload]) => {
      const result = seen.get(workload);
      return [
        workload,
        result === undefined ? 'absent' : `${result.confidence === 'weak' ? '?' : ''}${result.component}`,
      ];
    });
    expect(found).toEqual(expected);
  });

  it('leaves nothing but applications without a signature unknown', () => {
    const unknown = readdirSync(MANIFESTS).flatMap((set) =>
      [...classifySet(set)]
        .filter(([, { component }]) => component === 'unknown')
        .map(([workload]) => `${set} ${workload}`),
    );
    const applications = new Set(['bank-of-anthos', 'bookinfo']);
    expect(unknown.filter((line) => !applications.has(line.slice(0, line.indexOf(' '))))).toEqual([]);
    expect(unknown.length).toBeGreaterThan(10);
  });
});

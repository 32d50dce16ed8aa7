import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { classifyWorkload, compileSignatures } from '../../src/inventory/classify.ts';
import type { ClassifyFacts } from '../../src/inventory/classify.ts';
import { SENSITIVITIES, mergeSignatures, parseSignatures } from '../../src/inventory/signatures.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';

const DIRECTORY = join(import.meta.dirname, '../../templates/signatures');
const documents = readdirSync(DIRECTORY)
  .sort()
  .map((name) => parseSignatures(JSON.parse(readFileSync(join(DIRECTORY, name), 'utf8')) as unknown, name));
const signatures = mergeSignatures(documents);
const compiled = compileSignatures(signatures);

type Given = Partial<Omit<ClassifyFacts, 'ownerKinds' | 'labels'>> & {
  /** `group/Kind`, nearest to the pod first. */
  readonly owners?: readonly string[];
  /** `key=value`, comma-joined. */
  readonly l?: string;
  readonly i?: string;
};

function facts({ owners = ['apps/Deployment'], l = '', i, ...rest }: Given): ClassifyFacts {
  return {
    namespace: 'team-a',
    name: 'w',
    kind: 'Deployment',
    group: 'apps',
    ownerKinds: owners.map((owner) => {
      const slash = owner.lastIndexOf('/');
      return { group: owner.slice(0, slash), kind: owner.slice(slash + 1) };
    }),
    labels: Object.fromEntries(
      l
        .split(',')
        .filter((pair) => pair !== '')
        .map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
    ),
    images: i === undefined ? [] : i.split(' '),
    containerNames: [],
    envNames: [],
    serviceAccount: 'default',
    serviceNames: [],
    ports: [],
    ...rest,
  };
}

const classify = (given: Given) => classifyWorkload(facts(given), compiled);

const FACT_IDS = `kfp-api kfp-ui kfp-agents kfp-metadata kfp-cache kfp-step argo-workflows airflow-scheduler airflow-web
airflow-worker airflow-pgbouncer airflow-statsd flyte prefect dagster mlflow model-registry clearml lakefs tensorboard
training-operator-v1 pytorchjob tfjob mpijob mpi-operator xgboost-paddle-jax trainer-v2 trainjob jobset lws kueue volcano
katib katib-suggestion katib-trial batch-job kuberay-operator ray-head ray-worker ray-submitter spark-operator
spark-driver spark-executor dask-scheduler dask-operator dask-worker flink trino notebook notebook-controller
kubeflow-dashboard jupyterhub jupyter-singleuser feast-server feast-operator data-validation evidently kserve-controller
kserve-predictor knative-activator knative-autoscaler knative-control triton vllm torchserve tf-serving mlserver bentoml
milvus qdrant weaviate postgres mysql mongodb redis minio seaweedfs kafka-strimzi kafka-connect kafka-bitnami
strimzi-operator pulsar etcd elasticsearch clickhouse hive-metastore prometheus alertmanager grafana exporters
dcgm-exporter otel-collector jaeger-loki istiod istio-gateway istio-data-ports dex-oauth2 cert-manager metacontroller
vault-eso dns kube-apiserver`.split(/\s+/u);

const FURTHER_IDS = `airflow argocd calico cassandra chroma cilium cni-other dask-cluster flux git-server ingress-nginx
ingress-other istio-node jobset-workload keda kiali knative-eventing knative-service kube-control-plane kube-proxy
label-studio linkerd log-shipper lws-workload message-broker metrics-server node-local-dns ollama policy-engine
ray-cluster seldon-controller spark-application spark-history storage-provisioner superset tgi thanos-mimir training-job
velero volcano-job wandb zenml zookeeper`.split(/\s+/u);

describe('the bundled signatures', () => {
  const ids = signatures.components.map(({ id }) => id);

  it('hold every component of the reference facts, and those a cluster has besides', () => {
    expect(FACT_IDS).toHaveLength(102);
    expect([...ids].sort()).toEqual([...FACT_IDS, ...FURTHER_IDS].sort());
    expect(documents.flatMap(({ components }) => components)).toHaveLength(ids.length);
  });

  it('give each component a detector that can match by itself', () => {
    for (const { id, detect } of signatures.components) {
      const { supporting, ...own } = detect;
      expect(Object.values(own).flat().length, id).toBeGreaterThan(0);
      expect(supporting, id).not.toEqual({});
    }
  });

  it('name only known components, sensitivities and numbered ports', () => {
    for (const component of signatures.components) {
      for (const refined of component.refines ?? []) expect(ids, component.id).toContain(refined);
      for (const item of component.sensitivity) expect(SENSITIVITIES, component.id).toContain(item);
      const keys = component.ports.map(({ port, protocol, name, use }) => [port, protocol, name, use].join(' '));
      expect(new Set(keys).size, component.id).toBe(keys.length);
    }
  });

  it('state a source for every component, or say that it is unverified', () => {
    for (const { id, sources, basis } of signatures.components)
      expect(sources.length > 0 || basis === 'unverified', id).toBe(true);
  });

  it('list the keys whose pods talk on any port among themselves', () => {
    const keys = new Set(signatures.common.groupLabels);
    expect(keys).toContain('ray.io/cluster');
    expect(keys).toContain('training.kubeflow.org/job-name');
    expect(keys).toContain('spark-app-selector');
  });
});

// Written as a person meets them: [what is seen, component, confidence].
const KNOWN: readonly (readonly [Given, string, 'strong' | 'weak'])[] = [
  // Kubeflow Pipelines, Argo
  [{ l: 'app=ml-pipeline', i: 'ghcr.io/kubeflow/kfp-api-server:2.14.0' }, 'kfp-api', 'strong'],
  [{ i: 'gcr.io/ml-pipeline/api-server:2.0.5' }, 'kfp-api', 'strong'],
  [{ l: 'app=ml-pipeline-ui', ports: [{ port: 3000 }] }, 'kfp-ui', 'strong'],
  [
    { l: 'app=ml-pipeline-persistenceagent', i: 'ghcr.io/kubeflow/kfp-persistence-agent:2.14.0' },
    'kfp-agents',
    'strong',
  ],
  [
    { l: 'component=metadata-grpc-server', i: 'gcr.io/tfx-oss-public/ml_metadata_store_server:1.14.0' },
    'kfp-metadata',
    'strong',
  ],
  [{ l: 'app=cache-server', i: 'ghcr.io/kubeflow/kfp-cache-server:2.14.0' }, 'kfp-cache', 'strong'],
  [
    {
      owners: ['argoproj.io/Workflow'],
      l: 'workflows.argoproj.io/workflow=fraud-x7',
      i: 'quay.io/argoproj/argoexec:v3.6 python:3.12',
    },
    'kfp-step',
    'strong',
  ],
  [{ l: 'app=workflow-controller', i: 'quay.io/argoproj/workflow-controller:v3.6.2' }, 'argo-workflows', 'strong'],
  // Airflow: official, Bitnami and community charts
  [{ l: 'tier=airflow,component=scheduler,release=af', i: 'apache/airflow:2.10.3' }, 'airflow-scheduler', 'strong'],
  [{ l: 'tier=airflow,component=api-server', i: 'apache/airflow:3.0.2' }, 'airflow-web', 'strong'],
  [{ l: 'tier=airflow,component=worker', i: 'registry.corp:5000/ml/airflow-custom:1' }, 'airflow-worker', 'strong'],
  [
    {
      l: 'app.kubernetes.io/name=airflow,app.kubernetes.io/component=dag-processor',
      i: 'docker.io/bitnami/airflow:3.0.5',
    },
    'airflow-scheduler',
    'strong',
  ],
  [{ l: 'app=airflow,component=web', i: 'apache/airflow:2.8.4' }, 'airflow-web', 'strong'],
  [
    { l: 'dag_id=score,task_id=run,kubernetes_executor=True', owners: ['/Pod'], i: 'corp/score:4' },
    'airflow-worker',
    'strong',
  ],
  [
    { l: 'tier=airflow,component=pgbouncer', i: 'apache/airflow:airflow-pgbouncer-2025' },
    'airflow-pgbouncer',
    'strong',
  ],
  [{ l: 'tier=airflow,component=statsd', i: 'quay.io/prometheus/statsd-exporter:v0.28.0' }, 'airflow-statsd', 'strong'],
  [{ i: 'apache/airflow:2.10.3' }, 'airflow', 'strong'],
  [{ i: 'apache/airflow:2.10.3', serviceAccount: 'prod-airflow-scheduler' }, 'airflow-scheduler', 'weak'],
  // Other orchestration and registries
  [{ i: 'cr.flyte.org/flyteorg/flyte-binary-release:v1.13' }, 'flyte', 'strong'],
  [{ i: 'prefecthq/prefect:3-latest', l: 'app.kubernetes.io/name=prefect-worker' }, 'prefect', 'strong'],
  [
    { l: 'app.kubernetes.io/name=dagster,component=dagster-daemon', i: 'docker.io/dagster/dagster-k8s:1.9' },
    'dagster',
    'strong',
  ],
  [{ i: 'ghcr.io/mlflow/mlflow:v2.19.0' }, 'mlflow', 'strong'],
  [{ i: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/ghcr.io/mlflow/mlflow@sha256:00' }, 'mlflow', 'strong'],
  [{ l: 'app=mlflow', i: 'registry.corp/ml/tracking:7', ports: [{ port: 5000, name: 'http' }] }, 'mlflow', 'strong'],
  [{ l: 'app=mlflow', i: 'registry.corp/ml/tracking:7' }, 'mlflow', 'weak'],
  [{ i: 'registry.corp/ml/mlflow:7' }, 'mlflow', 'weak'],
  [{ l: 'component=model-registry-server', i: 'ghcr.io/kubeflow/hub/server:latest' }, 'model-registry', 'strong'],
  [{ i: 'treeverse/lakefs:1.48' }, 'lakefs', 'strong'],
  [{ l: 'app.kubernetes.io/name=clearml-apiserver', i: 'allegroai/clearml:1.17' }, 'clearml', 'strong'],
  // Training
  [{ l: 'control-plane=kubeflow-training-operator' }, 'training-operator-v1', 'strong'],
  [
    { owners: ['kubeflow.org/PyTorchJob'], i: 'corp/fraud-train:12', containerNames: ['pytorch'] },
    'pytorchjob',
    'strong',
  ],
  [
    {
      owners: ['/Pod'],
      l: 'training.kubeflow.org/job-name=f,training.kubeflow.org/operator-name=pytorchjob-controller',
    },
    'pytorchjob',
    'strong',
  ],
  [{ owners: ['/Pod'], l: 'training.kubeflow.org/job-name=f' }, 'training-job', 'weak'],
  [{ owners: ['kubeflow.org/TFJob'] }, 'tfjob', 'strong'],
  [{ owners: ['batch/Job', 'kubeflow.org/MPIJob'], i: 'mpioperator/mpi-pi:openmpi' }, 'mpijob', 'strong'],
  [{ i: 'mpioperator/mpi-operator:0.6.0' }, 'mpi-operator', 'strong'],
  [{ owners: ['kubeflow.org/XGBoostJob'] }, 'xgboost-paddle-jax', 'strong'],
  [{ owners: ['batch/Job', 'jobset.x-k8s.io/JobSet', 'trainer.kubeflow.org/TrainJob'] }, 'trainjob', 'strong'],
  [{ owners: ['batch/Job', 'jobset.x-k8s.io/JobSet'] }, 'jobset-workload', 'weak'],
  [{ i: 'registry.k8s.io/jobset/jobset:v0.8.0' }, 'jobset', 'strong'],
  [{ i: 'registry.k8s.io/kueue/kueue:v0.11.0' }, 'kueue', 'strong'],
  [{ l: 'app=volcano-scheduler', i: 'volcanosh/vc-scheduler:v1.11' }, 'volcano', 'strong'],
  [
    { owners: ['batch/Job', 'kubeflow.org/Trial', 'kubeflow.org/Experiment'], i: 'corp/train:1' },
    'katib-trial',
    'strong',
  ],
  [{ owners: ['kubeflow.org/PyTorchJob', 'kubeflow.org/Trial'], i: 'corp/train:1' }, 'katib-trial', 'strong'],
  [{ l: 'katib.kubeflow.org/component=mysql', i: 'mysql:8.0.29' }, 'katib', 'strong'],
  [{ i: 'ghcr.io/kubeflow/katib/suggestion-hyperopt:v0.18' }, 'katib-suggestion', 'strong'],
  // Ray, Spark, Dask, Flink, Trino
  [{ i: 'quay.io/kuberay/operator:v1.3.0' }, 'kuberay-operator', 'strong'],
  [{ owners: ['ray.io/RayCluster'], i: 'rayproject/ray:2.41.0' }, 'ray-cluster', 'strong'],
  [
    { owners: ['/Pod', 'ray.io/RayCluster'], l: 'ray.io/cluster=c,ray.io/node-type=head', i: 'rayproject/ray:2.41.0' },
    'ray-head',
    'strong',
  ],
  [
    { owners: ['/Pod', 'ray.io/RayCluster'], l: 'ray.io/cluster=c,ray.io/node-type=worker', i: 'corp/ray:3' },
    'ray-worker',
    'strong',
  ],
  [{ i: 'ghcr.io/kubeflow/spark-operator/controller:2.1.0' }, 'spark-operator', 'strong'],
  [{ owners: ['sparkoperator.k8s.io/SparkApplication'], i: 'corp/features:1' }, 'spark-application', 'strong'],
  [
    { owners: ['/Pod'], l: 'spark-role=driver,spark-app-selector=s1', i: 'apache/spark:3.5.3' },
    'spark-driver',
    'strong',
  ],
  [
    { owners: ['/Pod'], l: 'spark-role=executor,spark-exec-id=1,spark-app-selector=s1', i: 'corp/spark-py:3' },
    'spark-executor',
    'strong',
  ],
  [
    { l: 'dask.org/cluster-name=c,dask.org/component=scheduler', i: 'ghcr.io/dask/dask:2025.1' },
    'dask-scheduler',
    'strong',
  ],
  [{ l: 'app=dask,component=worker', i: 'ghcr.io/dask/dask:2025.1' }, 'dask-worker', 'strong'],
  [{ i: 'flink:1.20' }, 'flink', 'strong'],
  [{ l: 'app.kubernetes.io/name=trino,app.kubernetes.io/component=worker', i: 'trinodb/trino:468' }, 'trino', 'strong'],
  // Experimentation
  [
    {
      owners: ['kubeflow.org/Notebook'],
      l: 'notebook-name=n',
      i: 'ghcr.io/kubeflow/kubeflow/notebook-servers/jupyter-scipy:v1',
    },
    'notebook',
    'strong',
  ],
  [{ i: 'ghcr.io/kubeflow/kubeflow/notebook-servers/jupyter-scipy:v1' }, 'notebook', 'strong'],
  [
    {
      l: 'app=jupyterhub,component=singleuser-server,hub.jupyter.org/username=ada',
      i: 'quay.io/jupyter/scipy-notebook',
    },
    'jupyter-singleuser',
    'strong',
  ],
  [{ l: 'app=jupyterhub,component=hub', i: 'quay.io/jupyterhub/k8s-hub:4.1' }, 'jupyterhub', 'strong'],
  [
    { l: 'app=centraldashboard', i: 'ghcr.io/kubeflow/kubeflow/central-dashboard:v1.10' },
    'kubeflow-dashboard',
    'strong',
  ],
  // Features, validation, drift
  [{ owners: ['feast.dev/FeatureStore'] }, 'feast-server', 'strong'],
  [
    { l: 'app.kubernetes.io/name=feast-feature-server', i: 'quay.io/feastdev/feature-server:0.47.0' },
    'feast-server',
    'strong',
  ],
  [{ i: 'quay.io/feastdev/feast-operator:0.47.0' }, 'feast-operator', 'strong'],
  [{ owners: ['batch/Job', 'batch/CronJob'], i: 'corp/great-expectations:0.18' }, 'data-validation', 'weak'],
  [{ i: 'evidently/evidently-service:0.6' }, 'evidently', 'strong'],
  // Serving
  [
    {
      l: 'control-plane=kserve-controller-manager',
      i: 'kserve/kserve-controller:v0.15.0 quay.io/brancz/kube-rbac-proxy:v0.18.0',
    },
    'kserve-controller',
    'strong',
  ],
  [
    {
      owners: [
        'apps/Deployment',
        'serving.knative.dev/Revision',
        'serving.knative.dev/Service',
        'serving.kserve.io/InferenceService',
      ],
      l: 'serving.kserve.io/inferenceservice=fraud,component=predictor',
      i: 'nvcr.io/nvidia/tritonserver:24.12-py3 gcr.io/knative-releases/knative.dev/serving/cmd/queue@sha256:11',
    },
    'kserve-predictor',
    'strong',
  ],
  [
    { owners: ['apps/Deployment', 'serving.knative.dev/Revision', 'serving.knative.dev/Service'], i: 'corp/hello:1' },
    'knative-service',
    'weak',
  ],
  [
    {
      l: 'app=activator,app.kubernetes.io/name=knative-serving',
      i: 'gcr.io/knative-releases/knative.dev/serving/cmd/activator@sha256:22',
    },
    'knative-activator',
    'strong',
  ],
  [
    { i: 'gcr.io/knative-releases/knative.dev/serving/cmd/webhook@sha256:22', serviceNames: ['webhook'] },
    'knative-control',
    'strong',
  ],
  [{ i: 'nvcr.io/nvidia/tritonserver:24.12-py3', l: 'app=fraud-model' }, 'triton', 'strong'],
  [{ i: 'vllm/vllm-openai:v0.7.3' }, 'vllm', 'strong'],
  [{ i: 'pytorch/torchserve:0.12.0-gpu' }, 'torchserve', 'strong'],
  [{ i: 'tensorflow/serving:2.18.0' }, 'tf-serving', 'strong'],
  [{ l: 'seldon-deployment-id=m,seldon-app=m-default', i: 'seldonio/mlserver:1.6' }, 'mlserver', 'strong'],
  [{ l: 'app.kubernetes.io/name=milvus,component=querynode', i: 'milvusdb/milvus:v2.5' }, 'milvus', 'strong'],
  [{ i: 'cr.weaviate.io/semitechnologies/weaviate:1.28.2' }, 'weaviate', 'strong'],
  // Storage and streams
  [{ i: 'postgres:17' }, 'postgres', 'strong'],
  [{ i: 'docker.io/library/postgres:17@sha256:33' }, 'postgres', 'strong'],
  [{ i: 'public.ecr.aws/docker/library/mysql:8.3' }, 'mysql', 'strong'],
  [{ i: 'team/postgres:17' }, 'postgres', 'weak'],
  [{ owners: ['postgresql.cnpg.io/Cluster'], l: 'cnpg.io/cluster=db' }, 'postgres', 'strong'],
  [{ i: 'valkey/valkey:8' }, 'redis', 'strong'],
  [{ i: 'quay.io/minio/minio:RELEASE.2025-01-20' }, 'minio', 'strong'],
  [{ owners: ['minio.min.io/Tenant'] }, 'minio', 'strong'],
  [
    {
      owners: ['core.strimzi.io/StrimziPodSet', 'kafka.strimzi.io/Kafka'],
      l: 'strimzi.io/cluster=c,strimzi.io/kind=Kafka',
      i: 'quay.io/strimzi/kafka:0.45.0-kafka-3.9.0',
    },
    'kafka-strimzi',
    'strong',
  ],
  [
    {
      owners: ['core.strimzi.io/StrimziPodSet', 'kafka.strimzi.io/KafkaConnect'],
      l: 'strimzi.io/cluster=c,strimzi.io/kind=KafkaConnect',
      i: 'quay.io/strimzi/kafka:0.45.0',
    },
    'kafka-connect',
    'strong',
  ],
  [{ l: 'app.kubernetes.io/name=kafka', i: 'docker.io/bitnami/kafka:3.9' }, 'kafka-bitnami', 'strong'],
  // Monitoring and platform
  [{ owners: ['apps/StatefulSet', 'monitoring.coreos.com/Prometheus'] }, 'prometheus', 'strong'],
  [{ i: 'prom/prometheus:v3.1.0' }, 'prometheus', 'strong'],
  [
    {
      l: 'app.kubernetes.io/name=kube-state-metrics',
      i: 'registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.14',
    },
    'exporters',
    'strong',
  ],
  [{ i: 'grafana/grafana:11.4.0' }, 'grafana', 'strong'],
  [{ i: 'nvcr.io/nvidia/k8s/dcgm-exporter:4.0' }, 'dcgm-exporter', 'strong'],
  [{ l: 'app=istiod,istio=pilot', i: 'docker.io/istio/pilot:1.29.0', namespace: 'istio-system' }, 'istiod', 'strong'],
  [
    { l: 'istio=ingressgateway', i: 'docker.io/istio/proxyv2:1.29.0', containerNames: ['istio-proxy'] },
    'istio-gateway',
    'strong',
  ],
  [{ l: 'k8s-app=kube-dns', i: 'registry.k8s.io/coredns/coredns:v1.12.0' }, 'dns', 'strong'],
  [{ l: 'k8s-app=node-local-dns', i: 'registry.k8s.io/dns/k8s-dns-node-cache:1.24' }, 'node-local-dns', 'strong'],
  [{ l: 'k8s-app=cilium', i: 'quay.io/cilium/cilium:v1.17.1@sha256:44' }, 'cilium', 'strong'],
  [{ l: 'k8s-app=calico-node', i: 'docker.io/calico/node:v3.29.1' }, 'calico', 'strong'],
  [{ i: 'registry.k8s.io/ingress-nginx/controller:v1.12.0' }, 'ingress-nginx', 'strong'],
  [{ i: 'quay.io/jetstack/cert-manager-webhook:v1.17.0' }, 'cert-manager', 'strong'],
  [{ l: 'app.kubernetes.io/name=argocd-redis,app.kubernetes.io/part-of=argocd', i: 'redis:7.4' }, 'argocd', 'strong'],
  [{ i: 'ghcr.io/fluxcd/kustomize-controller:v1.4' }, 'flux', 'strong'],
  [
    { l: 'k8s-app=metrics-server', i: 'registry.k8s.io/metrics-server/metrics-server:v0.7.2' },
    'metrics-server',
    'strong',
  ],
  [
    { owners: ['/Pod'], l: 'component=kube-apiserver,tier=control-plane', i: 'registry.k8s.io/kube-apiserver:v1.35.0' },
    'kube-apiserver',
    'strong',
  ],
];

describe('classifyWorkload', () => {
  it.each(
    KNOWN.map(([given, component, confidence]) => ({ given, component, confidence, seen: JSON.stringify(given) })),
  )('$component, $confidence, from $seen', ({ given, component, confidence }) => {
    const result = classify(given);
    expect(result).toMatchObject({ component, confidence });
    expect(result.why.length).toBeGreaterThan(0);
  });

  it('says why, in words a person can check', () => {
    const result = classify({ l: 'app=mlflow', i: 'ghcr.io/mlflow/mlflow:v2', serviceNames: ['mlflow'] });
    expect(result).toMatchObject({
      stage: 'registry',
      plane: 'control',
      sensitivity: ['models', 'experiments', 'credentials'],
    });
    expect(result.why).toEqual(['label app=mlflow', 'image ghcr.io/mlflow/mlflow:v2', 'Service mlflow']);
  });

  it('takes the stage of a Ray cluster from the kind that owns it', () => {
    expect(classify({ owners: ['ray.io/RayCluster'] }).stage).toBe('training|serving');
    expect(classify({ owners: ['ray.io/RayCluster', 'ray.io/RayService'] }).stage).toBe('serving');
  });

  describe('when evidence disagrees', () => {
    it('follows the image rather than a lone app label, and names the label as the alternative', () => {
      const result = classify({ l: 'app=mlflow', i: 'redis:7.4' });
      expect(result).toMatchObject({ component: 'redis', alternatives: ['mlflow'] });
    });

    it('follows a chart label that an image contradicts, but only weakly', () => {
      const result = classify({ l: 'app.kubernetes.io/name=mlflow', i: 'postgres:17' });
      expect(result).toMatchObject({ component: 'mlflow', confidence: 'weak', alternatives: ['postgres'] });
      expect(result.why).toContain('image postgres:17 points to postgres instead');
    });

    it('takes the first of two known images, weakly', () => {
      const result = classify({ i: 'ghcr.io/mlflow/mlflow:v2 redis:7.4' });
      expect(result).toMatchObject({ component: 'mlflow', confidence: 'weak', alternatives: ['redis'] });
    });

    it('does not take a sidecar image for the workload', () => {
      expect(classify({ i: 'docker.io/istio/proxyv2:1.29.0 ghcr.io/mlflow/mlflow:v2' })).toMatchObject({
        component: 'mlflow',
        confidence: 'strong',
        alternatives: [],
      });
      expect(
        classify({ i: 'docker.io/istio/proxyv2:1.29.0 corp/api:1', containerNames: ['api', 'istio-proxy'] }).component,
      ).toBe('unknown');
    });

    it('lets an owner kind outweigh labels and images', () => {
      expect(classify({ owners: ['argoproj.io/Workflow'], l: 'app=redis', i: 'redis:7.4' }).component).toBe('kfp-step');
    });

    it('does not take the operator for the jobs it runs, nor the jobs for the operator', () => {
      expect(classify({ owners: ['kubeflow.org/PyTorchJob'] }).component).toBe('pytorchjob');
      expect(classify({ i: 'kubeflow/training-operator:v1-abc' }).component).toBe('training-operator-v1');
    });

    it('answers unknown where the best evidence fits two components equally', () => {
      const two = (id: string) => ({
        id,
        name: id,
        plane: 'data',
        stage: id === 'one' ? 'training' : 'serving',
        sensitivity: ['models'],
        detect: { labels: [[{ key: 'corp.example/part' }]] },
        ports: [{ port: id === 'one' ? 7001 : 7002, protocol: 'TCP' }],
        caveats: [],
        basis: 'unverified',
        sources: [],
      });
      const custom = compileSignatures(parseSignatures({ version: 1, components: [two('one'), two('two')] }));
      const given = facts({ l: 'corp.example/part=x' });
      expect(classifyWorkload(given, custom)).toMatchObject({
        component: 'unknown',
        plane: 'data',
        stage: 'unknown',
        sensitivity: ['models'],
        alternatives: ['one', 'two'],
      });
      expect(classifyWorkload({ ...given, ports: [{ port: 7002 }] }, custom).component).toBe('two');
    });
  });

  describe('when nothing is known', () => {
    it.each<Given>([
      {},
      {
        l: 'app=productpage,version=v1',
        i: 'registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3',
        ports: [{ port: 9080 }],
      },
      { l: 'app=transaction-api', i: 'corp/train-station-api:3' },
      { ports: [{ port: 9000 }, { port: 5432, name: 'tcp-postgresql' }, { port: 8265, name: 'dashboard' }] },
      { envNames: ['MLFLOW_TRACKING_URI', 'MASTER_ADDR', 'WORLD_SIZE'] },
      { serviceAccount: 'default-editor', serviceNames: ['webhook', 'controller', 'hub'] },
      { l: 'component=predictor' },
      { i: 'corp/library-app:1' },
      { i: 'corp/etcd-backup:1' },
    ])('says unknown of %j', (given) => {
      expect(classify(given)).toMatchObject({
        component: 'unknown',
        stage: 'unknown',
        plane: 'unknown',
        sensitivity: ['unknown'],
        confidence: 'weak',
        alternatives: [],
      });
    });

    it('gives the plane where a controller label or a system namespace tells it, and nothing more', () => {
      expect(classify({ l: 'control-plane=controller-manager' })).toMatchObject({
        component: 'unknown',
        stage: 'unknown',
        plane: 'control',
      });
      expect(classify({ namespace: 'kube-system' })).toMatchObject({ component: 'unknown', plane: 'platform' });
    });

    it('calls a Job a batch job and takes its stage only from a plain word of its name', () => {
      const job = { owners: ['batch/Job', 'batch/CronJob'], i: 'corp/app:1' };
      expect(classify({ ...job, name: 'nightly' })).toMatchObject({
        component: 'batch-job',
        stage: 'unknown',
        sensitivity: ['unknown'],
        confidence: 'weak',
      });
      expect(classify({ ...job, name: 'weekly-train' })).toMatchObject({
        component: 'batch-job',
        stage: 'training',
        confidence: 'weak',
      });
      expect(classify({ ...job, name: 'trainstation' }).stage).toBe('unknown');
      expect(classify({ ...job, name: 'train-and-score' }).stage).toBe('unknown');
    });
  });

  describe('with hostile text', () => {
    it('is not led by names of object members', () => {
      const labels = JSON.parse('{"__proto__":"x","constructor":"y","toString":"z"}') as Record<string, string>;
      const result = classifyWorkload(
        { ...facts({ i: '__proto__ constructor' }), labels, serviceAccount: '__proto__' },
        compiled,
      );
      expect(result.component).toBe('unknown');
    });

    it('keeps control characters and long text out of what it prints', () => {
      const result = classify({ l: `app.kubernetes.io/name=mlflow,strimzi.io/cluster=\u001b[2J${'a'.repeat(900)}` });
      const other = classify({ l: `strimzi.io/cluster=\u001b[2J${'a'.repeat(900)}` });
      for (const line of [...result.why, ...other.why]) {
        expect(line).not.toContain('\u001b');
        expect(line.length).toBeLessThan(200);
      }
      expect(other.component).toBe('kafka-strimzi');
    });

    it('does not match text longer than Kubernetes admits', () => {
      expect(classify({ i: `${'a/'.repeat(5000)}mlflow/mlflow` }).component).toBe('unknown');
    });

    it('treats everything but the star as itself', () => {
      const custom = compileSignatures(
        parseSignatures({
          version: 1,
          components: [
            {
              id: 'odd',
              name: 'Odd',
              plane: 'data',
              stage: 'serving',
              sensitivity: [],
              detect: { services: ['a.c(*)+*z'] },
              ports: [],
              caveats: [],
              basis: 'unverified',
              sources: [],
            },
          ],
        }),
      );
      const match = (name: string) => classifyWorkload(facts({ serviceNames: [name] }), custom).component;
      expect(match('a.c(x)+z')).toBe('odd');
      expect(match('a.c()+yyz')).toBe('odd');
      expect(match('abc(x)+z')).toBe('unknown');
      expect(match('a.c(x)z')).toBe('unknown');
      expect(match('a.c(+z')).toBe('unknown');
    });
  });
});

describe('parseSignatures', () => {
  const own = {
    id: 'risk-engine',
    name: 'Risk engine',
    plane: 'data',
    stage: 'serving',
    sensitivity: ['models'],
    detect: { images: ['corp/risk-engine'] },
    ports: [{ port: 8080, protocol: 'TCP' }],
    caveats: [],
    basis: 'unverified',
    sources: [],
  };

  function messageFor(input: unknown): string {
    try {
      parseSignatures(input, 'mine.json');
    } catch (error) {
      if (isFailure(error)) return `${error.detail.where ?? ''}: ${error.detail.message} (${error.detail.exit})`;
      throw error;
    }
    return 'accepted';
  }

  it.each<readonly [string, unknown, RegExp]>([
    ['not an object', [], /mine\.json: .*document/u],
    ['another version', { version: 2, components: [] }, /version/u],
    ['an unknown key', { version: 1, components: [{ ...own, stages: [] }] }, /component risk-engine.*stages/u],
    [
      'a bad port',
      { version: 1, components: [{ ...own, ports: [{ port: 70_000, protocol: 'TCP' }] }] },
      /component risk-engine, ports\.0\.port/u,
    ],
    [
      'a range that ends early',
      { version: 1, components: [{ ...own, ports: [{ port: 20, endPort: 10, protocol: 'TCP' }] }] },
      /20-10/u,
    ],
    [
      'no detector',
      { version: 1, components: [{ ...own, detect: { supporting: { env: ['X'] } } }] },
      /nothing to detect it by/u,
    ],
    ['the same id twice', { version: 1, components: [own, own] }, /risk-engine is given twice/u],
    ['an unknown plane', { version: 1, components: [{ ...own, plane: 'side' }] }, /component risk-engine, plane/u],
  ])('refuses %s and says where', (_, input, expected) => {
    expect(messageFor(input)).toMatch(expected);
    expect(messageFor(input)).toContain('(2)');
  });

  it("lets a user's own file add a component and replace a bundled one", () => {
    const mine = parseSignatures({
      version: 1,
      components: [own, { ...own, id: 'triton', name: 'Our Triton', detect: { images: ['corp/our-triton'] } }],
    });
    const merged = compileSignatures(mergeSignatures([signatures, mine]));
    const by = (image: string) => classifyWorkload(facts({ i: image }), merged);
    expect(by('registry.corp/corp/risk-engine:9')).toMatchObject({ component: 'risk-engine', confidence: 'strong' });
    expect(by('corp/our-triton:1').component).toBe('triton');
    expect(by('nvcr.io/nvidia/tritonserver:24.12-py3').component).toBe('unknown');
    expect(by('ghcr.io/mlflow/mlflow:v2').component).toBe('mlflow');
  });
});

import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import {
  asArray,
  asBoolean,
  asNumber,
  asObject,
  asString,
  asStringMap,
  getPath,
  isJsonObject,
} from '../shared/pure/json.ts';
import type { ContainerInfo, Labels, Schedule } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, groupOf, labelsOf } from '../model/object.ts';
import { lastingLabels } from '../model/durable-labels.ts';
import { memoByObject } from './memo.ts';
import type { PodFacts } from './pod-template.ts';
import { parsePodFacts, parsePodSpec } from './pod-template.ts';

/** The pods that an owner's own text foretells: one for each replica type. */
export interface ExpectedPods {
  readonly role: string;
  readonly facts: PodFacts;
  /** Absent where the template stands inside a list or in fields of its own. */
  readonly templatePath?: FieldPath;
}

/** How a kind makes pods. The labels its operator sets are facts from the operators' sources, named at each entry. */
export interface OwnerKind {
  readonly group: string;
  readonly kind: string;
  /** Plain kinds are changed in their pod template. */
  readonly custom: boolean;
  readonly batch: boolean;
  /** Empty: the pods of this kind are seen only when they are there. */
  readonly expected: (manifest: KubeManifest) => readonly ExpectedPods[];
  readonly schedule?: (manifest: KubeManifest) => Schedule | undefined;
  /** Labels by which running pods of one role are told from those of another. */
  readonly roleKeys: readonly string[];
}

function at(manifest: KubeManifest, ...path: readonly string[]): Json | undefined {
  return getPath(manifest, path);
}

function withLabels(facts: PodFacts, labels: Labels): PodFacts {
  return { ...facts, labels: { ...facts.labels, ...labels } };
}

/** One role whose template stands at a path; nothing where there is none. */
function atPath(
  manifest: KubeManifest,
  path: FieldPath,
  role: string,
  labels: Labels = {},
  writable = true,
): readonly ExpectedPods[] {
  const template = getPath(manifest, path);
  if (!isJsonObject(template)) return [];
  const facts = withLabels(parsePodFacts(template), labels);
  return [{ role, facts, ...(writable ? { templatePath: path } : {}) }];
}

function inList(template: Json | undefined, role: string, labels: Labels): readonly ExpectedPods[] {
  return isJsonObject(template) ? [{ role, facts: withLabels(parsePodFacts(template), labels) }] : [];
}

function fromSpec(
  spec: Json | undefined,
  role: string,
  labels: Labels,
  annotations: Labels = {},
): readonly ExpectedPods[] {
  return isJsonObject(spec) ? [{ role, facts: parsePodSpec(spec, labels, annotations) }] : [];
}

/** Pods that an operator builds itself from settings of its own. */
function made(
  role: string,
  labels: Labels,
  serviceAccount: string,
  containers: readonly MadeContainer[],
  more: Partial<Pick<PodFacts, 'annotations' | 'hostNetwork'>> = {},
): ExpectedPods {
  return {
    role,
    facts: {
      labels,
      annotations: more.annotations ?? {},
      serviceAccount,
      hostNetwork: more.hostNetwork ?? false,
      privileged: false,
      hasProxy: false,
      containers: containers.map(({ name, image, ports }) => ({
        name,
        image: image ?? '',
        init: false,
        ports: ports.map(([port, portName]) => ({ name: portName, port, protocol: 'TCP' })),
        probePorts: [],
        envNames: [],
      })),
      mentions: [],
      configMaps: [],
    },
  };
}

interface MadeContainer {
  readonly name: string;
  readonly image?: string | undefined;
  readonly ports: readonly (readonly [number, string])[];
}

function nameOf(manifest: KubeManifest): string {
  return manifest.metadata.name;
}

// ---- plain kinds

function plain(group: string, kind: string, path: FieldPath, batch = false): OwnerKind {
  return { group, kind, custom: false, batch, roleKeys: [], expected: (manifest) => atPath(manifest, path, '') };
}

const TEMPLATE: FieldPath = ['spec', 'template'];

function cronJobSchedule(manifest: KubeManifest): Schedule | undefined {
  return scheduleOf(manifest, {
    cron: asString(at(manifest, 'spec', 'schedule')),
    timeZone: asString(at(manifest, 'spec', 'timeZone')),
    suspended: asBoolean(at(manifest, 'spec', 'suspend')) ?? false,
    lastSuccess: at(manifest, 'status', 'lastSuccessfulTime'),
    lastSchedule: at(manifest, 'status', 'lastScheduleTime'),
  });
}

function scheduleOf(
  manifest: KubeManifest,
  parts: {
    readonly cron: string | undefined;
    readonly timeZone?: string | undefined;
    readonly suspended: boolean;
    readonly lastSuccess?: Json | undefined;
    readonly lastSchedule?: Json | undefined;
  },
): Schedule | undefined {
  if (parts.cron === undefined || parts.cron === '') return undefined;
  const lastSuccess = parseTime(parts.lastSuccess);
  const lastSchedule = parseTime(parts.lastSchedule);
  return {
    cron: parts.cron,
    ...(parts.timeZone === undefined ? {} : { timeZone: parts.timeZone }),
    suspended: parts.suspended,
    ...(lastSuccess === undefined ? {} : { lastSuccess }),
    ...(lastSchedule === undefined ? {} : { lastSchedule }),
    by: manifest.kind,
  };
}

/** Milliseconds since the epoch of an RFC 3339 text. */
export function parseTime(value: Json | undefined): number | undefined {
  if (typeof value !== 'string') return undefined;
  const time = Date.parse(value);
  return Number.isNaN(time) ? undefined : time;
}

// ---- training

/** kubeflow/training-operator v1, pkg/controller.v1: labels of every replica. */
function trainingJob(kind: string, field: string, operator: string, masters: readonly string[]): OwnerKind {
  return {
    group: 'kubeflow.org',
    kind,
    custom: true,
    batch: true,
    roleKeys: ['training.kubeflow.org/replica-type', 'training.kubeflow.org/job-role'],
    expected: (manifest) => {
      const v2 = kind === 'MPIJob' && manifest.apiVersion.startsWith('kubeflow.org/v2');
      return Object.keys(asObject(at(manifest, 'spec', field))).flatMap((role) =>
        atPath(manifest, ['spec', field, role, 'template'], role, {
          'training.kubeflow.org/job-name': nameOf(manifest),
          // kubeflow/mpi-operator v2 labels roles and not replica types.
          ...(v2
            ? {
                'training.kubeflow.org/operator-name': 'mpi-operator',
                'training.kubeflow.org/job-role': role.toLowerCase(),
              }
            : {
                'training.kubeflow.org/operator-name': operator,
                'training.kubeflow.org/replica-type': role.toLowerCase(),
                ...(masters.includes(role) ? { 'training.kubeflow.org/job-role': 'master' } : {}),
              }),
        }),
      );
    },
  };
}

/** kubernetes-sigs/jobset: labels of every pod. */
function jobSetLabels(name: string, role: string): Labels {
  return { 'jobset.sigs.k8s.io/jobset-name': name, 'jobset.sigs.k8s.io/replicatedjob-name': role };
}

function trainJobPods(manifest: KubeManifest): readonly ExpectedPods[] {
  const trainer = asObject(at(manifest, 'spec', 'trainer'));
  const initializer = asObject(at(manifest, 'spec', 'initializer'));
  const step = (role: string, ancestor: string, image: string | undefined): ExpectedPods =>
    made(
      role,
      { ...jobSetLabels(nameOf(manifest), role), 'trainer.kubeflow.org/trainjob-ancestor-step': ancestor },
      'default',
      [{ name: role, image, ports: [] }],
    );
  return [
    ...(isJsonObject(initializer['dataset']) ? [step('dataset-initializer', 'dataset-initializer', undefined)] : []),
    ...(isJsonObject(initializer['model']) ? [step('model-initializer', 'model-initializer', undefined)] : []),
    step('node', 'trainer', asString(trainer['image'])),
  ];
}

// ---- Ray

/** ray-project/kuberay ray-operator/controllers/ray/common/pod.go: labels of head and workers. */
function rayPods(cluster: JsonObject, path: FieldPath, clusterName: string | undefined): readonly ExpectedPods[] {
  const base = {
    'ray.io/is-ray-node': 'yes',
    'app.kubernetes.io/name': 'kuberay',
    'app.kubernetes.io/created-by': 'kuberay-operator',
    ...(clusterName === undefined ? {} : { 'ray.io/cluster': clusterName }),
  };
  const identifier = (type: string): Labels =>
    clusterName === undefined ? {} : { 'ray.io/identifier': `${clusterName}-${type}` };
  const headTemplate = asObject(cluster['headGroupSpec'])['template'];
  const head: readonly ExpectedPods[] = isJsonObject(headTemplate)
    ? [
        {
          role: 'head',
          facts: rayHeadAccount(
            withLabels(parsePodFacts(headTemplate), {
              ...base,
              ...identifier('head'),
              'ray.io/node-type': 'head',
              'ray.io/group': 'headgroup',
            }),
            cluster,
            clusterName,
          ),
          templatePath: [...path, 'headGroupSpec', 'template'],
        },
      ]
    : [];
  const workers = asArray(cluster['workerGroupSpecs']).flatMap((item) => {
    const group = asString(asObject(item)['groupName']) ?? 'worker';
    return inList(asObject(item)['template'], group, {
      ...base,
      ...identifier('worker'),
      'ray.io/node-type': 'worker',
      'ray.io/group': group,
    });
  });
  return [...head, ...workers];
}

/** With the autoscaler on and no account named, KubeRay makes one of the cluster's name for the head. */
function rayHeadAccount(facts: PodFacts, cluster: JsonObject, clusterName: string | undefined): PodFacts {
  const automatic = asBoolean(cluster['enableInTreeAutoscaling']) === true && facts.serviceAccount === 'default';
  return automatic && clusterName !== undefined ? { ...facts, serviceAccount: clusterName } : facts;
}

function rayJobPods(manifest: KubeManifest, spec: JsonObject, path: FieldPath): readonly ExpectedPods[] {
  const cluster = spec['rayClusterSpec'];
  const pods = isJsonObject(cluster) ? rayPods(cluster, [...path, 'rayClusterSpec'], undefined) : [];
  const mode = asString(spec['submissionMode']) ?? 'K8sJobMode';
  if (mode !== 'K8sJobMode') return pods;
  const labels = {
    'ray.io/originated-from-crd': 'RayJob',
    'app.kubernetes.io/created-by': 'kuberay-operator',
    // A RayCronJob makes a RayJob of a new name for each run.
    ...(manifest.kind === 'RayJob' ? { 'ray.io/originated-from-cr-name': nameOf(manifest) } : {}),
  };
  const template = spec['submitterPodTemplate'];
  const image = pods[0]?.facts.containers[0]?.image;
  const submitter = isJsonObject(template)
    ? inList(template, 'submitter', labels)
    : [made('submitter', labels, 'default', [{ name: 'ray-job-submitter', image, ports: [] }])];
  return [...pods, ...submitter];
}

// ---- Spark

/** kubeflow/spark-operator pkg/common/spark.go, and Spark's own pod labels. */
function sparkPods(manifest: KubeManifest, spec: JsonObject, appName: string | undefined): readonly ExpectedPods[] {
  const driver = asObject(spec['driver']);
  const account = sparkAccount(driver) ?? 'default';
  const pod = (role: 'driver' | 'executor', ports: MadeContainer['ports']): ExpectedPods => {
    const own = asObject(spec[role]);
    const template = asObject(own['template']);
    const facts = parsePodFacts(template);
    const image = asString(own['image']) ?? asString(spec['image']);
    return made(
      role,
      {
        ...facts.labels,
        ...asStringMap(own['labels']),
        'spark-role': role,
        'sparkoperator.k8s.io/launched-by-spark-operator': 'true',
        ...(appName === undefined ? {} : { 'spark-app-name': appName, 'sparkoperator.k8s.io/app-name': appName }),
      },
      // Spark gives executors the driver's account where they name none.
      sparkAccount(own) ?? account,
      [{ name: `spark-kubernetes-${role}`, image, ports }],
      {
        annotations: { ...facts.annotations, ...asStringMap(own['annotations']) },
        hostNetwork: asBoolean(own['hostNetwork']) === true || facts.hostNetwork,
      },
    );
  };
  return [
    pod('driver', [
      [7078, 'driver-rpc-port'],
      [7079, 'blockmanager'],
      [4040, 'spark-ui'],
    ]),
    pod('executor', [[7079, 'blockmanager']]),
  ];
}

function sparkAccount(part: JsonObject): string | undefined {
  const template = getPath(part, ['template', 'spec', 'serviceAccountName']);
  return asString(part['serviceAccount']) ?? asString(part['serviceAccountName']) ?? asString(template);
}

// ---- serving

const KSERVE_PORTS: MadeContainer['ports'] = [[8080, 'http1']];
const KSERVE_COMPONENTS = ['predictor', 'transformer', 'explainer'] as const;

/** kserve/kserve pkg/controller/v1beta1/inferenceservice/components. */
function inferencePods(manifest: KubeManifest): readonly ExpectedPods[] {
  const annotations = annotationsOf(manifest);
  const mode = annotations['serving.kserve.io/deploymentMode'];
  const raw = mode === 'RawDeployment' || mode === 'Standard';
  return KSERVE_COMPONENTS.flatMap((component): readonly ExpectedPods[] => {
    const spec = at(manifest, 'spec', component);
    if (!isJsonObject(spec)) return [];
    const labels = {
      ...labelsOf(manifest),
      ...asStringMap(spec['labels']),
      'serving.kserve.io/inferenceservice': nameOf(manifest),
      component,
      ...(raw ? { app: `isvc.${nameOf(manifest)}-${component}` } : {}),
    };
    const merged = { ...annotations, ...asStringMap(spec['annotations']) };
    const facts = parsePodSpec(spec, labels, merged);
    return [{ role: component, facts: { ...facts, containers: servingContainers(spec, facts.containers) } }];
  });
}

function servingContainers(spec: JsonObject, given: readonly ContainerInfo[]): readonly ContainerInfo[] {
  if (given.some((container) => !container.init)) {
    return given.map((container) =>
      container.init || container.ports.length > 0
        ? container
        : { ...container, ports: [{ name: 'http1', port: 8080, protocol: 'TCP' as const }] },
    );
  }
  // A model format: the runtime gives the container, which is named by convention.
  const framework = Object.entries(spec).find(
    ([, value]) =>
      isJsonObject(value) && ('storageUri' in value || 'modelFormat' in value || 'runtimeVersion' in value),
  );
  const model = framework === undefined ? {} : asObject(framework[1]);
  const ports = asArray(model['ports']).flatMap((item): MadeContainer['ports'] => {
    const port = asNumber(asObject(item)['containerPort']);
    return port === undefined ? [] : [[port, asString(asObject(item)['name']) ?? '']];
  });
  return made('', {}, '', [
    {
      name: 'kserve-container',
      image: asString(model['image']),
      ports: ports.length > 0 ? ports : KSERVE_PORTS,
    },
  ]).facts.containers;
}

/** kserve/kserve pkg/controller/v1alpha1/llmisvc: names of components. */
function llmPods(manifest: KubeManifest): readonly ExpectedPods[] {
  const labels = (component: string): Labels => ({
    ...asStringMap(at(manifest, 'spec', 'labels')),
    'app.kubernetes.io/name': nameOf(manifest),
    'app.kubernetes.io/part-of': 'llminferenceservice',
    'app.kubernetes.io/component': component,
  });
  const ports: MadeContainer['ports'] = [[8000, 'https']];
  const workload = at(manifest, 'spec', 'template');
  const main = isJsonObject(workload)
    ? fromSpec(workload, 'workload', labels('llminferenceservice-workload'))
    : [made('workload', labels('llminferenceservice-workload'), 'default', [{ name: 'main', ports }])];
  return [
    ...main,
    ...fromSpec(at(manifest, 'spec', 'worker'), 'worker', labels('llminferenceservice-workload-worker')),
    ...fromSpec(at(manifest, 'spec', 'prefill', 'template'), 'prefill', labels('llminferenceservice-workload-prefill')),
  ];
}

/** Knative's own proxy beside the user's container: the ports on which a revision is reached and scraped. */
const QUEUE_PROXY = made('', {}, '', [
  {
    name: 'queue-proxy',
    ports: [
      [8012, 'queue-port'],
      [8112, 'https-port'],
      [8022, 'http-queueadm'],
      [9090, 'http-autometric'],
      [9091, 'http-usermetric'],
    ],
  },
]).facts.containers;

function knativePods(manifest: KubeManifest): readonly ExpectedPods[] {
  return atPath(manifest, TEMPLATE, '', {
    'serving.knative.dev/service': nameOf(manifest),
    'serving.knative.dev/configuration': nameOf(manifest),
  }).map((expected) => ({
    ...expected,
    facts: { ...expected.facts, containers: [...expected.facts.containers, ...QUEUE_PROXY] },
  }));
}

// ---- workflows

const POD_TEMPLATES = ['container', 'script', 'containerSet', 'resource', 'data'] as const;

function workflowPods(spec: JsonObject): readonly ExpectedPods[] {
  const shared = asObject(spec['podMetadata']);
  const account = asString(spec['serviceAccountName']) ?? 'default';
  return asArray(spec['templates']).flatMap((item): readonly ExpectedPods[] => {
    const template = asObject(item);
    const kind = POD_TEMPLATES.find((name) => isJsonObject(template[name]));
    if (kind === undefined) return [];
    const metadata = asObject(template['metadata']);
    const main =
      kind === 'containerSet'
        ? asArray(asObject(template['containerSet'])['containers'])
        : kind === 'container' || kind === 'script'
          ? [{ name: 'main', ...asObject(template[kind]) }]
          : [{ name: 'main', image: 'argoexec' }];
    const facts = parsePodSpec(
      {
        containers: [...main, ...asArray(template['sidecars'])],
        initContainers: asArray(template['initContainers']),
        hostNetwork: template['hostNetwork'] ?? spec['hostNetwork'] ?? false,
        serviceAccountName: asString(template['serviceAccountName']) ?? account,
      },
      { ...asStringMap(shared['labels']), ...asStringMap(metadata['labels']) },
      { ...asStringMap(shared['annotations']), ...asStringMap(metadata['annotations']) },
    );
    return [{ role: asString(template['name']) ?? '', facts }];
  });
}

// ---- the rest

/** dask/dask-kubernetes operator/controller: labels; the operator keeps the sidecar out itself. */
function daskPods(cluster: JsonObject, name: string): readonly ExpectedPods[] {
  const labels = (component: string): Labels => ({
    'dask.org/cluster-name': name,
    'dask.org/component': component,
    'sidecar.istio.io/inject': 'false',
  });
  return [
    ...daskPart(asObject(cluster['scheduler']), 'scheduler', labels('scheduler')),
    ...daskPart(asObject(cluster['worker']), 'worker', {
      ...labels('worker'),
      'dask.org/workergroup-name': `${name}-default`,
    }),
  ];
}

function daskPart(part: JsonObject, role: string, labels: Labels): readonly ExpectedPods[] {
  const metadata = asObject(part['metadata']);
  return fromSpec(
    part['spec'],
    role,
    { ...asStringMap(metadata['labels']), ...labels },
    asStringMap(metadata['annotations']),
  );
}

/** feast-dev/feast infra/feast-operator: one Deployment with a container for each server. */
function feastPods(manifest: KubeManifest): readonly ExpectedPods[] {
  const services = asObject(at(manifest, 'spec', 'services'));
  const servers: readonly (readonly [string, boolean, readonly [number, string]])[] = [
    ['online', true, [6566, 'online']],
    ['offline', isJsonObject(getPath(services, ['offlineStore', 'server'])), [8815, 'offline']],
    ['registry', isJsonObject(getPath(services, ['registry', 'local', 'server'])), [6570, 'registry']],
    ['ui', isJsonObject(services['ui']), [8888, 'ui']],
  ];
  const containers = servers.flatMap(([name, on, port]): readonly MadeContainer[] => {
    if (!on) return [];
    const server = asObject(getPath(services, [`${name}Store`, 'server']));
    return [{ name, image: asString(server['image']), ports: [port] }];
  });
  return [made('', { 'feast.dev/name': nameOf(manifest) }, `feast-${nameOf(manifest)}`, containers)];
}

/** strimzi/strimzi-kafka-operator cluster-operator model/Labels. */
function strimziPods(
  manifest: KubeManifest,
  suffix: string,
  role: string,
  app: string,
  container: MadeContainer,
): ExpectedPods {
  const name = nameOf(manifest);
  return made(
    role,
    {
      'strimzi.io/cluster': name,
      'strimzi.io/kind': manifest.kind,
      'strimzi.io/name': `${name}-${suffix}`,
      'app.kubernetes.io/name': app,
      'app.kubernetes.io/instance': name,
      'app.kubernetes.io/part-of': `strimzi-${name}`,
      'app.kubernetes.io/managed-by': 'strimzi-cluster-operator',
    },
    `${name}-${suffix}`,
    [container],
  );
}

function kafkaPods(manifest: KubeManifest): readonly ExpectedPods[] {
  const listeners = asArray(at(manifest, 'spec', 'kafka', 'listeners')).flatMap((item): MadeContainer['ports'] => {
    const port = asNumber(asObject(item)['port']);
    return port === undefined ? [] : [[port, `tcp-${asString(asObject(item)['name']) ?? String(port)}`]];
  });
  const kafka = strimziPods(manifest, 'kafka', 'kafka', 'kafka', {
    name: 'kafka',
    image: asString(at(manifest, 'spec', 'kafka', 'image')),
    ports: [[9090, 'tcp-ctrlplane'], [9091, 'tcp-replication'], ...listeners],
  });
  const hasOperators = isJsonObject(at(manifest, 'spec', 'entityOperator'));
  const entity = strimziPods(manifest, 'entity-operator', 'entity-operator', 'entity-operator', {
    name: 'topic-operator',
    ports: [],
  });
  return hasOperators ? [kafka, entity] : [kafka];
}

/** prometheus-operator/prometheus-operator pkg/{prometheus,alertmanager,thanos}: labels of the StatefulSet's pods. */
function monitoringPods(
  app: string,
  port: number,
  container: string,
): (manifest: KubeManifest) => readonly ExpectedPods[] {
  return (manifest) => {
    const name = nameOf(manifest);
    const metadata = asObject(at(manifest, 'spec', 'podMetadata'));
    return [
      made(
        '',
        {
          ...asStringMap(metadata['labels']),
          [app]: name,
          'app.kubernetes.io/name': app,
          'app.kubernetes.io/instance': name,
          'app.kubernetes.io/managed-by': 'prometheus-operator',
          ...(app === 'prometheus' ? { 'operator.prometheus.io/name': name, 'operator.prometheus.io/shard': '0' } : {}),
        },
        asString(at(manifest, 'spec', 'serviceAccountName')) ?? 'default',
        [
          {
            name: container,
            image: asString(at(manifest, 'spec', 'image')),
            ports: [[port, asString(at(manifest, 'spec', 'portName')) ?? 'web']],
          },
          { name: 'config-reloader', ports: [[8080, 'reloader-web']] },
        ],
        {
          annotations: asStringMap(metadata['annotations']),
          hostNetwork: asBoolean(at(manifest, 'spec', 'hostNetwork')) === true,
        },
      ),
    ];
  };
}

function custom(
  group: string,
  kind: string,
  expected: OwnerKind['expected'],
  more: Partial<Pick<OwnerKind, 'batch' | 'schedule' | 'roleKeys'>> = {},
): OwnerKind {
  return {
    group,
    kind,
    custom: true,
    batch: more.batch ?? false,
    expected,
    roleKeys: more.roleKeys ?? [],
    ...(more.schedule === undefined ? {} : { schedule: more.schedule }),
  };
}

const NOTHING: OwnerKind['expected'] = () => [];
const RAY_ROLES = ['ray.io/group'];
const SPARK_ROLES = ['spark-role'];
const STRIMZI_ROLES = ['strimzi.io/name'];
const JOBSET_ROLES = ['jobset.sigs.k8s.io/replicatedjob-name'];
const BATCH = { batch: true } as const;

function many(groups: readonly string[], make: (group: string) => OwnerKind): readonly OwnerKind[] {
  return groups.map(make);
}

/** Every kind known to own pods. */
export const OWNER_KINDS: readonly OwnerKind[] = [
  plain('apps', 'Deployment', TEMPLATE),
  plain('apps', 'StatefulSet', TEMPLATE),
  plain('apps', 'DaemonSet', TEMPLATE),
  plain('apps', 'ReplicaSet', TEMPLATE),
  plain('', 'ReplicationController', TEMPLATE),
  plain('batch', 'Job', TEMPLATE, true),
  { ...plain('batch', 'CronJob', ['spec', 'jobTemplate', 'spec', 'template'], true), schedule: cronJobSchedule },
  plain('', 'Pod', []),

  custom('apps.openshift.io', 'DeploymentConfig', (manifest) => atPath(manifest, TEMPLATE, '')),
  custom('argoproj.io', 'Rollout', (manifest) => atPath(manifest, TEMPLATE, '')),

  trainingJob('PyTorchJob', 'pytorchReplicaSpecs', 'pytorchjob-controller', ['Master']),
  trainingJob('TFJob', 'tfReplicaSpecs', 'tfjob-controller', ['Chief', 'Master']),
  trainingJob('MPIJob', 'mpiReplicaSpecs', 'mpijob-controller', []),
  trainingJob('XGBoostJob', 'xgbReplicaSpecs', 'xgboostjob-controller', ['Master']),
  trainingJob('PaddleJob', 'paddleReplicaSpecs', 'paddlejob-controller', ['Master']),
  trainingJob('JAXJob', 'jaxReplicaSpecs', 'jaxjob-controller', []),
  trainingJob('MXJob', 'mxReplicaSpecs', 'mxjob-controller', ['Scheduler']),
  custom('trainer.kubeflow.org', 'TrainJob', trainJobPods, { batch: true, roleKeys: JOBSET_ROLES }),
  custom(
    'jobset.x-k8s.io',
    'JobSet',
    (manifest) =>
      asArray(at(manifest, 'spec', 'replicatedJobs')).flatMap((item) => {
        const role = asString(asObject(item)['name']) ?? '';
        return inList(getPath(item, ['template', 'spec', 'template']), role, jobSetLabels(nameOf(manifest), role));
      }),
    { batch: true, roleKeys: JOBSET_ROLES },
  ),
  custom('leaderworkerset.x-k8s.io', 'LeaderWorkerSet', (manifest) => {
    const path: FieldPath = ['spec', 'leaderWorkerTemplate'];
    const labels = { 'leaderworkerset.sigs.k8s.io/name': nameOf(manifest) };
    const leader = atPath(manifest, [...path, 'leaderTemplate'], 'leader', labels);
    return [...leader, ...atPath(manifest, [...path, 'workerTemplate'], leader.length > 0 ? 'worker' : '', labels)];
  }),
  custom(
    'batch.volcano.sh',
    'Job',
    (manifest) =>
      asArray(at(manifest, 'spec', 'tasks')).flatMap((item) => {
        const role = asString(asObject(item)['name']) ?? '';
        return inList(asObject(item)['template'], role, {
          'volcano.sh/job-name': nameOf(manifest),
          'volcano.sh/task-spec': role,
        });
      }),
    { batch: true, roleKeys: ['volcano.sh/task-spec'] },
  ),
  custom('kubeflow.org', 'Experiment', NOTHING, BATCH),
  custom('kubeflow.org', 'Trial', NOTHING, BATCH),
  custom('kubeflow.org', 'Suggestion', NOTHING),

  ...many(['ray.io'], (group) =>
    custom(group, 'RayCluster', (manifest) => rayPods(asObject(at(manifest, 'spec')), ['spec'], nameOf(manifest)), {
      roleKeys: RAY_ROLES,
    }),
  ),
  custom('ray.io', 'RayJob', (manifest) => rayJobPods(manifest, asObject(at(manifest, 'spec')), ['spec']), {
    batch: true,
    roleKeys: RAY_ROLES,
  }),
  custom(
    'ray.io',
    'RayCronJob',
    (manifest) => rayJobPods(manifest, asObject(at(manifest, 'spec', 'jobTemplate')), ['spec', 'jobTemplate']),
    {
      batch: true,
      roleKeys: RAY_ROLES,
      schedule: (manifest) =>
        scheduleOf(manifest, {
          cron: asString(at(manifest, 'spec', 'schedule')),
          timeZone: asString(at(manifest, 'spec', 'timeZone')),
          suspended: asBoolean(at(manifest, 'spec', 'suspend')) ?? false,
          lastSchedule: at(manifest, 'status', 'lastScheduleTime'),
        }),
    },
  ),
  custom(
    'ray.io',
    'RayService',
    (manifest) => rayPods(asObject(at(manifest, 'spec', 'rayClusterConfig')), ['spec', 'rayClusterConfig'], undefined),
    { roleKeys: RAY_ROLES },
  ),

  custom(
    'sparkoperator.k8s.io',
    'SparkApplication',
    (manifest) => sparkPods(manifest, asObject(at(manifest, 'spec')), nameOf(manifest)),
    { batch: true, roleKeys: SPARK_ROLES },
  ),
  custom(
    'sparkoperator.k8s.io',
    'ScheduledSparkApplication',
    // Each run is an application of a new name.
    (manifest) => sparkPods(manifest, asObject(at(manifest, 'spec', 'template')), undefined),
    {
      batch: true,
      roleKeys: SPARK_ROLES,
      schedule: (manifest) =>
        scheduleOf(manifest, {
          cron: asString(at(manifest, 'spec', 'schedule')),
          timeZone: asString(at(manifest, 'spec', 'timeZone')),
          suspended: asBoolean(at(manifest, 'spec', 'suspend')) ?? false,
          lastSchedule: at(manifest, 'status', 'lastRun'),
        }),
    },
  ),
  custom(
    'sparkoperator.k8s.io',
    'SparkConnect',
    (manifest) => {
      const labels = (role: string): Labels => ({
        'spark-role': role,
        'sparkoperator.k8s.io/connect-name': nameOf(manifest),
        'sparkoperator.k8s.io/launched-by-spark-operator': 'true',
      });
      return [
        ...atPath(manifest, ['spec', 'server', 'template'], 'server', labels('connect-server')),
        ...atPath(manifest, ['spec', 'executor', 'template'], 'executor', labels('executor')),
      ];
    },
    { roleKeys: SPARK_ROLES },
  ),

  custom('serving.kserve.io', 'InferenceService', inferencePods, { roleKeys: ['component'] }),
  custom('serving.kserve.io', 'InferenceGraph', (manifest) => [
    made(
      '',
      { ...labelsOf(manifest), 'serving.kserve.io/inferencegraph': nameOf(manifest) },
      asString(at(manifest, 'spec', 'serviceAccountName')) ?? 'default',
      [{ name: nameOf(manifest), image: 'kserve/router', ports: [[8080, 'http1']] }],
      { annotations: annotationsOf(manifest) },
    ),
  ]),
  custom('serving.kserve.io', 'LLMInferenceService', llmPods, { roleKeys: ['app.kubernetes.io/component'] }),
  custom('serving.knative.dev', 'Service', knativePods),
  custom('serving.knative.dev', 'Configuration', (manifest) =>
    atPath(manifest, TEMPLATE, '', { 'serving.knative.dev/configuration': nameOf(manifest) }),
  ),
  custom('serving.knative.dev', 'Revision', NOTHING),
  custom(
    'machinelearning.seldon.io',
    'SeldonDeployment',
    (manifest) =>
      asArray(at(manifest, 'spec', 'predictors')).flatMap((item) => {
        const role = asString(asObject(item)['name']) ?? '';
        const labels = { ...asStringMap(asObject(item)['labels']), 'seldon-deployment-id': nameOf(manifest) };
        return asArray(asObject(item)['componentSpecs']).flatMap((part) => inList(part, role, labels));
      }),
    { roleKeys: ['seldon-app'] },
  ),
  custom('serving.yatai.ai', 'BentoDeployment', (manifest) => [
    made('', { 'yatai.ai/bento-deployment': nameOf(manifest) }, 'default', [{ name: 'main', ports: [[3000, 'http']] }]),
  ]),

  custom('argoproj.io', 'Workflow', (manifest) => workflowPods(asObject(at(manifest, 'spec'))), BATCH),
  custom('argoproj.io', 'WorkflowTemplate', (manifest) => workflowPods(asObject(at(manifest, 'spec'))), BATCH),
  custom('argoproj.io', 'CronWorkflow', (manifest) => workflowPods(asObject(at(manifest, 'spec', 'workflowSpec'))), {
    batch: true,
    schedule: (manifest) => {
      const list = asArray(at(manifest, 'spec', 'schedules')).flatMap((item) => asString(item) ?? []);
      const single = asString(at(manifest, 'spec', 'schedule'));
      return scheduleOf(manifest, {
        cron: [...new Set([...list, ...(single === undefined || single === '' ? [] : [single])])].join(' || '),
        timeZone: asString(at(manifest, 'spec', 'timezone')),
        suspended: asBoolean(at(manifest, 'spec', 'suspend')) ?? false,
        lastSchedule: at(manifest, 'status', 'lastScheduledTime'),
      });
    },
  }),
  custom(
    'kubeflow.org',
    'ScheduledWorkflow',
    (manifest) => workflowPods(asObject(at(manifest, 'spec', 'workflow', 'spec'))),
    {
      batch: true,
      schedule: (manifest) => {
        const seconds = asNumber(at(manifest, 'spec', 'trigger', 'periodicSchedule', 'intervalSecond'));
        const cron = asString(at(manifest, 'spec', 'trigger', 'cronSchedule', 'cron'));
        return scheduleOf(manifest, {
          cron: cron ?? (seconds === undefined ? undefined : `@every ${seconds}s`),
          suspended: asBoolean(at(manifest, 'spec', 'enabled')) === false,
          lastSchedule: at(manifest, 'status', 'trigger', 'lastTriggeredTime'),
        });
      },
    },
  ),
  custom('tekton.dev', 'PipelineRun', NOTHING, BATCH),
  custom('tekton.dev', 'TaskRun', NOTHING, BATCH),

  custom(
    'kubernetes.dask.org',
    'DaskCluster',
    (manifest) => daskPods(asObject(at(manifest, 'spec')), nameOf(manifest)),
    { roleKeys: ['dask.org/component'] },
  ),
  custom(
    'kubernetes.dask.org',
    'DaskJob',
    (manifest) => [
      ...daskPods(asObject(at(manifest, 'spec', 'cluster', 'spec')), nameOf(manifest)),
      ...daskPart(asObject(at(manifest, 'spec', 'job')), 'job', {
        'dask.org/cluster-name': nameOf(manifest),
        'dask.org/component': 'job',
        'sidecar.istio.io/inject': 'false',
      }),
    ],
    { batch: true, roleKeys: ['dask.org/component'] },
  ),
  custom(
    'kubernetes.dask.org',
    'DaskWorkerGroup',
    (manifest) =>
      daskPart(asObject(at(manifest, 'spec', 'worker')), 'worker', {
        'dask.org/cluster-name': asString(at(manifest, 'spec', 'cluster')) ?? '',
        'dask.org/workergroup-name': nameOf(manifest),
        'dask.org/component': 'worker',
        'sidecar.istio.io/inject': 'false',
      }),
    { roleKeys: ['dask.org/component'] },
  ),

  custom('feast.dev', 'FeatureStore', feastPods),
  custom('kubeflow.org', 'Notebook', (manifest) =>
    atPath(manifest, TEMPLATE, '', {
      ...labelsOf(manifest),
      'notebook-name': nameOf(manifest),
      statefulset: nameOf(manifest),
    }),
  ),
  custom('tensorboard.kubeflow.org', 'Tensorboard', (manifest) => [
    made('', { app: nameOf(manifest) }, 'default', [{ name: 'tensorboard', ports: [[6006, 'http']] }]),
  ]),

  custom('kafka.strimzi.io', 'Kafka', kafkaPods, { roleKeys: STRIMZI_ROLES }),
  custom('kafka.strimzi.io', 'KafkaConnect', (manifest) => [
    strimziPods(manifest, 'connect', '', 'kafka-connect', {
      name: `${nameOf(manifest)}-connect`,
      image: asString(at(manifest, 'spec', 'image')),
      ports: [[8083, 'rest-api']],
    }),
  ]),
  custom('kafka.strimzi.io', 'KafkaMirrorMaker2', (manifest) => [
    strimziPods(manifest, 'mirrormaker2', '', 'kafka-mirror-maker-2', {
      name: `${nameOf(manifest)}-mirrormaker2`,
      ports: [[8083, 'rest-api']],
    }),
  ]),
  custom('kafka.strimzi.io', 'KafkaBridge', (manifest) => [
    strimziPods(manifest, 'bridge', '', 'kafka-bridge', {
      name: `${nameOf(manifest)}-bridge`,
      ports: [[asNumber(at(manifest, 'spec', 'http', 'port')) ?? 8080, 'rest-api']],
    }),
  ]),
  custom('core.strimzi.io', 'StrimziPodSet', NOTHING),
  custom('postgresql.cnpg.io', 'Cluster', (manifest) => [
    made('', { 'cnpg.io/cluster': nameOf(manifest), 'cnpg.io/podRole': 'instance' }, nameOf(manifest), [
      {
        name: 'postgres',
        image: asString(at(manifest, 'spec', 'imageName')) ?? 'ghcr.io/cloudnative-pg/postgresql',
        ports: [
          [5432, 'postgresql'],
          [9187, 'metrics'],
          [8000, 'status'],
        ],
      },
    ]),
  ]),
  custom('acid.zalan.do', 'postgresql', (manifest) => [
    made('', { application: 'spilo', 'cluster-name': nameOf(manifest) }, 'postgres-pod', [
      {
        name: 'postgres',
        image: asString(at(manifest, 'spec', 'dockerImage')),
        ports: [
          [8008, 'patroni'],
          [5432, 'postgres'],
        ],
      },
    ]),
  ]),
  custom('minio.min.io', 'Tenant', (manifest) => [
    made(
      '',
      { 'v1.min.io/tenant': nameOf(manifest) },
      asString(at(manifest, 'spec', 'serviceAccountName')) ?? `${nameOf(manifest)}-sa`,
      [
        {
          name: 'minio',
          image: asString(at(manifest, 'spec', 'image')) ?? 'minio/minio',
          ports: [
            [9000, 'api'],
            [9443, 'console'],
          ],
        },
      ],
    ),
  ]),
  custom('elasticsearch.k8s.elastic.co', 'Elasticsearch', (manifest) => [
    made(
      '',
      {
        'elasticsearch.k8s.elastic.co/cluster-name': nameOf(manifest),
        'common.k8s.elastic.co/type': 'elasticsearch',
      },
      asString(at(manifest, 'spec', 'serviceAccountName')) ?? 'default',
      [
        {
          name: 'elasticsearch',
          ports: [
            [9200, 'https'],
            [9300, 'transport'],
          ],
        },
      ],
    ),
  ]),
  custom('monitoring.coreos.com', 'Prometheus', monitoringPods('prometheus', 9090, 'prometheus')),
  custom('monitoring.coreos.com', 'Alertmanager', monitoringPods('alertmanager', 9093, 'alertmanager')),
  custom('monitoring.coreos.com', 'ThanosRuler', monitoringPods('thanos-ruler', 10902, 'thanos-ruler')),
  custom('opentelemetry.io', 'OpenTelemetryCollector', (manifest) =>
    asString(at(manifest, 'spec', 'mode')) === 'sidecar'
      ? []
      : [
          made(
            '',
            {
              'app.kubernetes.io/name': `${nameOf(manifest)}-collector`,
              'app.kubernetes.io/component': 'opentelemetry-collector',
              'app.kubernetes.io/managed-by': 'opentelemetry-operator',
            },
            asString(at(manifest, 'spec', 'serviceAccount')) ?? `${nameOf(manifest)}-collector`,
            [
              {
                name: 'otc-container',
                image: asString(at(manifest, 'spec', 'image')),
                ports: [
                  [4317, 'otlp-grpc'],
                  [4318, 'otlp-http'],
                ],
              },
            ],
          ),
        ],
  ),
  custom(
    'flink.apache.org',
    'FlinkDeployment',
    (manifest) =>
      ['jobmanager', 'taskmanager'].map((component) =>
        made(
          component,
          { app: nameOf(manifest), component, type: 'flink-native-kubernetes' },
          asString(at(manifest, 'spec', 'serviceAccount')) ?? 'default',
          [
            {
              name: 'flink-main-container',
              image: asString(at(manifest, 'spec', 'image')),
              ports:
                component === 'jobmanager'
                  ? [
                      [8081, 'rest'],
                      [6123, 'jobmanager-rpc'],
                      [6124, 'blobserver'],
                    ]
                  : [[6122, 'taskmanager-rpc']],
            },
          ],
        ),
      ),
    { roleKeys: ['component'] },
  ),
  custom('milvus.io', 'Milvus', NOTHING),
];

const BY_KEY: ReadonlyMap<string, OwnerKind> = new Map(
  OWNER_KINDS.map((owner) => [`${owner.group}/${owner.kind}`, owner]),
);

/** Kinds that make an object of another kind, which owns the pods. */
const MAKES: Readonly<Record<string, readonly [string, string]>> = {
  'batch/CronJob': ['batch', 'Job'],
  'ray.io/RayJob': ['ray.io', 'RayCluster'],
  'ray.io/RayService': ['ray.io', 'RayCluster'],
  'ray.io/RayCronJob': ['ray.io', 'RayJob'],
  'trainer.kubeflow.org/TrainJob': ['jobset.x-k8s.io', 'JobSet'],
  'sparkoperator.k8s.io/ScheduledSparkApplication': ['sparkoperator.k8s.io', 'SparkApplication'],
  'argoproj.io/CronWorkflow': ['argoproj.io', 'Workflow'],
  'argoproj.io/WorkflowTemplate': ['argoproj.io', 'Workflow'],
  'kubeflow.org/ScheduledWorkflow': ['argoproj.io', 'Workflow'],
  'kubernetes.dask.org/DaskJob': ['kubernetes.dask.org', 'DaskCluster'],
};

/** Kinds from what will own the pods up to the object itself, for an object whose pods are yet to come. */
export function expectedOwners(
  group: string,
  kind: string,
): readonly { readonly group: string; readonly kind: string }[] {
  const chain = [{ group, kind }];
  for (let made = MAKES[`${group}/${kind}`]; made !== undefined; made = MAKES[made.join('/')]) {
    chain.unshift({ group: made[0], kind: made[1] });
  }
  return chain;
}

/** How a kind makes pods; undefined where that is not known. */
export function ownerKind(group: string, kind: string): OwnerKind | undefined {
  return BY_KEY.get(`${group}/${kind}`);
}

export function ownerKindOf(manifest: KubeManifest): OwnerKind | undefined {
  return ownerKind(groupOf(manifest.apiVersion), manifest.kind);
}

/** Pods that the object's own text foretells, labels of single runs and revisions left out. Parsed once for each object. */
export const expectedPods: (manifest: KubeManifest) => readonly ExpectedPods[] = memoByObject((manifest) => {
  const expected = ownerKindOf(manifest)?.expected(manifest) ?? [];
  return expected.map((item) => ({
    ...item,
    facts: { ...item.facts, labels: lastingLabels(item.facts.labels, manifest.kind) },
  }));
});

/** The schedule of an object as its own text and status give it. */
export const scheduleOfOwner: (manifest: KubeManifest) => Schedule | undefined = memoByObject((manifest) =>
  ownerKindOf(manifest)?.schedule?.(manifest),
);

/** When one run of a schedule (a Job, a Workflow, an application) succeeded; undefined when it did not, or not yet. */
export function runSucceededAt(run: KubeManifest): number | undefined {
  switch (run.kind) {
    case 'Job': {
      const complete = asArray(at(run, 'status', 'conditions'))
        .map(asObject)
        .find((condition) => condition['type'] === 'Complete' && condition['status'] === 'True');
      if (complete === undefined) return undefined;
      return parseTime(at(run, 'status', 'completionTime')) ?? parseTime(complete['lastTransitionTime']);
    }
    case 'Workflow':
      return at(run, 'status', 'phase') === 'Succeeded' ? parseTime(at(run, 'status', 'finishedAt')) : undefined;
    case 'SparkApplication':
      return at(run, 'status', 'applicationState', 'state') === 'COMPLETED'
        ? parseTime(at(run, 'status', 'terminationTime'))
        : undefined;
    case 'RayJob':
      return at(run, 'status', 'jobStatus') === 'SUCCEEDED' ? parseTime(at(run, 'status', 'endTime')) : undefined;
    default:
      return undefined;
  }
}

import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { asObject, asString, equalJson, getPath, isJsonObject } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { KubeManifest } from './object.ts';
import { groupOf } from './object.ts';

/**
 * What a change of the account does to the pods there are.
 * `rolls`: they are replaced, by Kubernetes or the operator. `stays`: only pods made from now on have it. `next-run`: a schedule or a
 * template, whose next run has it. `once`: the object is itself one run, which is not touched once it has begun. `fixed`: the API server
 * or the controller takes no change.
 */
export type Takes = 'rolls' | 'stays' | 'next-run' | 'once' | 'fixed';

/** One place of an owner's text that names an account. In a path `*` is every item of a list, and `%` every key of a map. */
export interface AccountPlace {
  readonly holder: FieldPath;
  readonly field: 'serviceAccountName' | 'serviceAccount';
  /** What stands in the holder is a pod spec: volumes, containers, and the deprecated `serviceAccount` beside the field. */
  readonly podSpec: boolean;
  /** Absent means that an account named elsewhere holds, so nothing is written where nothing stands. */
  readonly onlyWhereSet?: true;
}

export interface AccountKind {
  readonly group: string;
  readonly kind: string;
  readonly takes: Takes;
  readonly places: readonly AccountPlace[];
  /** Where this is written down. */
  readonly source: string;
  /** Fields that make it impossible to say who the pods run as, and what to do there. */
  readonly barredBy?: readonly { readonly path: FieldPath; readonly why: string }[];
}

function inPod(...holder: readonly string[]): AccountPlace {
  return { holder, field: 'serviceAccountName', podSpec: true };
}

function override(place: AccountPlace): AccountPlace {
  return { ...place, onlyWhereSet: true };
}

function named(field: AccountPlace['field'], ...holder: readonly string[]): AccountPlace {
  return { holder, field, podSpec: false };
}

const CORE = 'k8s.io/api core/v1 PodSpec.serviceAccountName';
const TEMPLATE = inPod('spec', 'template', 'spec');

function training(kind: string, field: string): AccountKind {
  return {
    group: 'kubeflow.org',
    kind,
    takes: 'once',
    places: [inPod('spec', field, '%', 'template', 'spec')],
    source: 'kubeflow/training-operator pkg/apis/kubeflow.org/v1 ReplicaSpec.template',
  };
}

/** ray-project/kuberay apis/ray/v1 RayClusterSpec. */
function rayGroups(...path: readonly string[]): readonly AccountPlace[] {
  return [
    inPod(...path, 'headGroupSpec', 'template', 'spec'),
    inPod(...path, 'workerGroupSpecs', '*', 'template', 'spec'),
  ];
}

/** argoproj/argo-workflows pkg/apis/workflow/v1alpha1 WorkflowSpec: a template's own account comes before that of the workflow. */
function workflow(...path: readonly string[]): readonly AccountPlace[] {
  return [
    named('serviceAccountName', ...path),
    override(named('serviceAccountName', ...path, 'executor')),
    override(named('serviceAccountName', ...path, 'templates', '*')),
    override(named('serviceAccountName', ...path, 'templates', '*', 'executor')),
  ];
}

function patched(...path: readonly string[]): NonNullable<AccountKind['barredBy']> {
  return [
    { path: [...path, 'podSpecPatch'], why: 'it may set the account in a text that is filled in at run time' },
    {
      path: [...path, 'templates', '*', 'podSpecPatch'],
      why: 'it may set the account in a text that is filled in then',
    },
  ];
}

/** kubeflow/spark-operator api/v1beta2 SparkPodSpec.serviceAccount; executors take the driver's where they name none. */
function spark(...path: readonly string[]): readonly AccountPlace[] {
  return [
    named('serviceAccount', ...path, 'driver'),
    override(named('serviceAccount', ...path, 'executor')),
    override(inPod(...path, 'driver', 'template', 'spec')),
    override(inPod(...path, 'executor', 'template', 'spec')),
  ];
}

/** Every kind of owner that names the account of its pods in a place that is known. Kinds that are not here are not edited. */
export const ACCOUNT_KINDS: readonly AccountKind[] = [
  { group: 'apps', kind: 'Deployment', takes: 'rolls', places: [TEMPLATE], source: CORE },
  { group: 'apps', kind: 'StatefulSet', takes: 'rolls', places: [TEMPLATE], source: CORE },
  { group: 'apps', kind: 'DaemonSet', takes: 'rolls', places: [TEMPLATE], source: CORE },
  { group: 'apps', kind: 'ReplicaSet', takes: 'fixed', places: [TEMPLATE], source: CORE },
  { group: '', kind: 'ReplicationController', takes: 'fixed', places: [TEMPLATE], source: CORE },
  { group: 'batch', kind: 'Job', takes: 'fixed', places: [TEMPLATE], source: CORE },
  { group: '', kind: 'Pod', takes: 'fixed', places: [inPod('spec')], source: CORE },
  {
    group: 'batch',
    kind: 'CronJob',
    takes: 'next-run',
    places: [inPod('spec', 'jobTemplate', 'spec', 'template', 'spec')],
    source: CORE,
  },
  { group: 'apps.openshift.io', kind: 'DeploymentConfig', takes: 'rolls', places: [TEMPLATE], source: CORE },
  {
    group: 'argoproj.io',
    kind: 'Rollout',
    takes: 'rolls',
    places: [TEMPLATE],
    source: 'argoproj/argo-rollouts pkg/apis/rollouts/v1alpha1',
    barredBy: [{ path: ['spec', 'workloadRef'], why: 'its template is that of the object named there' }],
  },

  training('PyTorchJob', 'pytorchReplicaSpecs'),
  training('TFJob', 'tfReplicaSpecs'),
  training('MPIJob', 'mpiReplicaSpecs'),
  training('XGBoostJob', 'xgbReplicaSpecs'),
  training('PaddleJob', 'paddleReplicaSpecs'),
  training('JAXJob', 'jaxReplicaSpecs'),
  {
    group: 'trainer.kubeflow.org',
    kind: 'TrainJob',
    takes: 'once',
    places: [
      override(inPod('spec', 'podTemplateOverrides', '*', 'spec')),
      override(inPod('spec', 'podSpecOverrides', '*')),
    ],
    source: 'kubeflow/trainer pkg/apis/trainer/v1alpha1: the account is the runtime’s but for overrides',
  },
  {
    group: 'jobset.x-k8s.io',
    kind: 'JobSet',
    takes: 'once',
    places: [inPod('spec', 'replicatedJobs', '*', 'template', 'spec', 'template', 'spec')],
    source: 'kubernetes-sigs/jobset api/jobset/v1alpha2',
  },
  {
    group: 'leaderworkerset.x-k8s.io',
    kind: 'LeaderWorkerSet',
    takes: 'rolls',
    places: [
      inPod('spec', 'leaderWorkerTemplate', 'leaderTemplate', 'spec'),
      inPod('spec', 'leaderWorkerTemplate', 'workerTemplate', 'spec'),
    ],
    source: 'kubernetes-sigs/lws api/leaderworkerset/v1',
  },
  {
    group: 'batch.volcano.sh',
    kind: 'Job',
    takes: 'once',
    places: [inPod('spec', 'tasks', '*', 'template', 'spec')],
    source: 'volcano-sh/apis batch/v1alpha1',
  },

  {
    group: 'ray.io',
    kind: 'RayCluster',
    takes: 'stays',
    places: rayGroups('spec'),
    source: 'ray-project/kuberay apis/ray/v1: pods that are there are not replaced for a new template',
  },
  {
    group: 'ray.io',
    kind: 'RayJob',
    takes: 'once',
    places: [...rayGroups('spec', 'rayClusterSpec'), inPod('spec', 'submitterPodTemplate', 'spec')],
    source: 'ray-project/kuberay apis/ray/v1',
  },
  {
    group: 'ray.io',
    kind: 'RayCronJob',
    takes: 'next-run',
    places: [
      ...rayGroups('spec', 'jobTemplate', 'rayClusterSpec'),
      inPod('spec', 'jobTemplate', 'submitterPodTemplate', 'spec'),
    ],
    source: 'ray-project/kuberay apis/ray/v1',
  },
  {
    group: 'ray.io',
    kind: 'RayService',
    takes: 'rolls',
    places: rayGroups('spec', 'rayClusterConfig'),
    source: 'ray-project/kuberay apis/ray/v1: a new cluster is made beside the old one',
  },

  {
    group: 'sparkoperator.k8s.io',
    kind: 'SparkApplication',
    takes: 'once',
    places: spark('spec'),
    source: 'kubeflow/spark-operator api/v1beta2: a change of the spec runs the application again',
  },
  {
    group: 'sparkoperator.k8s.io',
    kind: 'ScheduledSparkApplication',
    takes: 'next-run',
    places: spark('spec', 'template'),
    source: 'kubeflow/spark-operator api/v1beta2',
  },
  {
    group: 'sparkoperator.k8s.io',
    kind: 'SparkConnect',
    takes: 'rolls',
    places: [inPod('spec', 'server', 'template', 'spec'), inPod('spec', 'executor', 'template', 'spec')],
    source: 'kubeflow/spark-operator api/v1alpha1',
  },

  {
    group: 'serving.kserve.io',
    kind: 'InferenceService',
    takes: 'rolls',
    places: [
      inPod('spec', 'predictor'),
      override(inPod('spec', 'predictor', 'workerSpec')),
      inPod('spec', 'transformer'),
      inPod('spec', 'explainer'),
    ],
    source: 'kserve/kserve pkg/apis/serving/v1beta1: each component is a pod spec',
  },
  {
    group: 'serving.kserve.io',
    kind: 'InferenceGraph',
    takes: 'rolls',
    places: [named('serviceAccountName', 'spec')],
    source: 'kserve/kserve pkg/apis/serving/v1alpha1',
  },
  {
    group: 'serving.knative.dev',
    kind: 'Service',
    takes: 'rolls',
    places: [TEMPLATE],
    source: 'knative/serving pkg/apis/serving/v1 RevisionSpec',
    barredBy: [
      {
        path: ['spec', 'template', 'metadata', 'name'],
        why: 'a revision that is named there cannot be changed without a new name',
      },
    ],
  },
  {
    group: 'machinelearning.seldon.io',
    kind: 'SeldonDeployment',
    takes: 'rolls',
    places: [inPod('spec', 'predictors', '*', 'componentSpecs', '*', 'spec')],
    source: 'SeldonIO/seldon-core operator/apis/machinelearning.seldon.io/v1',
  },

  {
    group: 'argoproj.io',
    kind: 'Workflow',
    takes: 'once',
    places: workflow('spec'),
    source: 'argoproj/argo-workflows pkg/apis/workflow/v1alpha1',
    barredBy: patched('spec'),
  },
  {
    group: 'argoproj.io',
    kind: 'WorkflowTemplate',
    takes: 'next-run',
    places: workflow('spec'),
    source: 'argoproj/argo-workflows pkg/apis/workflow/v1alpha1',
    barredBy: patched('spec'),
  },
  {
    group: 'argoproj.io',
    kind: 'CronWorkflow',
    takes: 'next-run',
    places: workflow('spec', 'workflowSpec'),
    source: 'argoproj/argo-workflows pkg/apis/workflow/v1alpha1',
    barredBy: patched('spec', 'workflowSpec'),
  },

  {
    group: 'kubeflow.org',
    kind: 'Notebook',
    takes: 'rolls',
    places: [TEMPLATE],
    source: 'kubeflow/kubeflow components/notebook-controller/api/v1',
  },
  {
    group: 'kubernetes.dask.org',
    kind: 'DaskCluster',
    takes: 'stays',
    places: [inPod('spec', 'scheduler', 'spec'), inPod('spec', 'worker', 'spec')],
    source: 'dask/dask-kubernetes operator: pods that are there are not replaced for a new spec',
  },
  {
    group: 'monitoring.coreos.com',
    kind: 'Prometheus',
    takes: 'rolls',
    places: [named('serviceAccountName', 'spec')],
    source: 'prometheus-operator pkg/apis/monitoring/v1 CommonPrometheusFields',
  },
  {
    group: 'opentelemetry.io',
    kind: 'OpenTelemetryCollector',
    takes: 'rolls',
    places: [named('serviceAccount', 'spec')],
    source: 'open-telemetry/opentelemetry-operator apis/v1beta1',
  },
];

const BY_KIND: ReadonlyMap<string, AccountKind> = new Map(
  ACCOUNT_KINDS.map((one) => [`${one.group}/${one.kind}`, one]),
);

/** Where a kind names its account; undefined for kinds of which that is not known. */
export function accountKindOf(manifest: KubeManifest): AccountKind | undefined {
  return BY_KIND.get(`${groupOf(manifest.apiVersion)}/${manifest.kind}`);
}

/** A place as it stands in one object. */
export interface NamedAccount {
  /** For people: `spec.workerGroupSpecs[1].template.spec.serviceAccountName`. */
  readonly place: string;
  /** Absent where the text names none. */
  readonly account?: string;
  readonly holder: JsonObject;
  readonly podSpec: boolean;
}

/** Every place of the object that names an account, or could. */
export function namedAccounts(manifest: KubeManifest): readonly NamedAccount[] {
  const kind = accountKindOf(manifest);
  return (kind?.places ?? []).flatMap((place) =>
    holdersAt(manifest, place.holder).map(({ holder, text }): NamedAccount => {
      const account = nameIn(holder, place);
      return {
        place: [text, place.field].filter((part) => part !== '').join('.'),
        holder,
        podSpec: place.podSpec,
        ...(account === undefined ? {} : { account }),
      };
    }),
  );
}

/** The pod specs that stand in an object, each with where. */
export function podSpecsOf(manifest: KubeManifest): readonly { readonly place: string; readonly spec: JsonObject }[] {
  return namedAccounts(manifest)
    .filter((one) => one.podSpec)
    .map(({ place, holder }) => ({ place: place.slice(0, place.lastIndexOf('.')), spec: holder }));
}

export interface FieldEdit {
  readonly path: FieldPath;
  /** Undefined: the field goes. */
  readonly after: Json | undefined;
}

/** The fields that turn every pod spec of the object into what `change` makes of it. Lists are written whole. */
export function podSpecEdit(manifest: KubeManifest, change: (spec: JsonObject) => JsonObject): readonly FieldEdit[] {
  const places = (accountKindOf(manifest)?.places ?? []).filter((place) => place.podSpec);
  return holderEdit(
    manifest,
    places.map(({ holder }) => holder),
    change,
  );
}

/** The same of pod templates (`metadata` and `spec`); undefined where a pod spec of the kind stands in no template. */
export function podTemplateEdit(
  manifest: KubeManifest,
  change: (template: JsonObject) => JsonObject,
): readonly FieldEdit[] | undefined {
  const places = (accountKindOf(manifest)?.places ?? []).filter((place) => place.podSpec);
  if (places.length === 0 || places.some(({ holder }) => holder.at(-1) !== 'spec' || holder.at(-2) !== 'template'))
    return undefined;
  return holderEdit(
    manifest,
    places.map(({ holder }) => holder.slice(0, -1)),
    change,
  );
}

function holderEdit(
  manifest: KubeManifest,
  holders: readonly FieldPath[],
  change: (holder: JsonObject) => JsonObject,
): readonly FieldEdit[] {
  const edits = new Map<string, { readonly path: FieldPath; after: Json }>();
  for (const holder of holders)
    for (const [path, value] of roots(manifest, holder)) {
      const key = path.join('\n');
      const after = rewrite(edits.get(key)?.after ?? value, holder.slice(path.length), change);
      edits.set(key, { path, after });
    }
  return [...edits.values()].flatMap(({ path, after }) => differences(getPath(manifest, path), after, path));
}

/** Where two values differ: field by field, and lists whole. */
function differences(before: Json | undefined, after: Json | undefined, path: FieldPath): readonly FieldEdit[] {
  if (equalJson(before, after)) return [];
  if (!isJsonObject(before) || !isJsonObject(after)) return [{ path, after }];
  const keys = uniqueSorted([...Object.keys(before), ...Object.keys(after)]);
  return keys.flatMap((key) => differences(before[key], after[key], [...path, key]));
}

function nameIn(holder: JsonObject, place: AccountPlace): string | undefined {
  const own = asString(holder[place.field]);
  if (own !== undefined && own !== '') return own;
  const deprecated = place.podSpec ? asString(holder['serviceAccount']) : undefined;
  return deprecated === '' ? undefined : deprecated;
}

interface Holder {
  readonly holder: JsonObject;
  readonly text: string;
}

function holdersAt(value: Json | undefined, path: FieldPath, text = ''): readonly Holder[] {
  const [step, ...rest] = path;
  if (step === undefined) return isJsonObject(value) ? [{ holder: value, text }] : [];
  if (step === '*')
    return Array.isArray(value)
      ? (value as readonly Json[]).flatMap((item, index) => holdersAt(item, rest, `${text}[${index}]`))
      : [];
  const keys = step === '%' ? Object.keys(asObject(value)) : [step];
  return keys.flatMap((key) => holdersAt(getPath(value, [key]), rest, text === '' ? key : `${text}.${key}`));
}

export type AccountEdit =
  | {
      readonly kind: 'fields';
      readonly fields: readonly { readonly path: FieldPath; readonly after: Json }[];
      readonly places: readonly string[];
    }
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * The fields that make every pod of the object that runs as `from` run as `to`. Lists are replaced whole, so that the path of an edit
 * never holds an index. `mirror`: the deprecated `serviceAccount` of built-in kinds is written too, since an API server keeps it equal and
 * falls back to it (k8s.io/kubernetes pkg/apis/core/v1/conversion.go, PodSpec).
 */
export function accountEdit(manifest: KubeManifest, from: string, to: string, mirror: boolean): AccountEdit {
  const kind = accountKindOf(manifest);
  if (kind === undefined)
    return { kind: 'refused', reason: `where a ${manifest.kind} names the account of its pods is not known` };
  const bar = kind.barredBy?.find(({ path }) => barred(manifest, path));
  if (bar !== undefined)
    return { kind: 'refused', reason: `${bar.path.join('.').replaceAll('.*', '[*]')}: ${bar.why}` };
  const edits = new Map<string, { readonly path: FieldPath; after: Json }>();
  const places: string[] = [];
  for (const place of kind.places) {
    for (const [path, value] of roots(manifest, place.holder)) {
      const key = path.join('\n');
      const before = edits.get(key)?.after ?? value;
      const rest = place.holder.slice(path.length);
      const after = rewrite(before, rest, (holder) => renamed(holder, place, from, to, mirror));
      if (!equalJson(before, after)) edits.set(key, { path, after });
    }
    for (const { holder, text } of holdersAt(manifest, place.holder))
      if (renamed(holder, place, from, to, mirror) !== holder) places.push(`${text}.${place.field}`);
  }
  if (edits.size === 0)
    return {
      kind: 'refused',
      reason: `nothing in the ${manifest.kind} names ${from}: its operator, or what it is made from, decides (${kind.source})`,
    };
  return {
    kind: 'fields',
    fields: [...edits.values()].flatMap((edit) => leaves(manifest, edit)),
    places: uniqueSorted(places),
  };
}

function barred(manifest: KubeManifest, path: FieldPath): boolean {
  const star = path.indexOf('*');
  if (star < 0) return getPath(manifest, path) !== undefined;
  const last = path.at(-1) ?? '';
  return holdersAt(manifest, path.slice(0, -1)).some(({ holder }) => holder[last] !== undefined);
}

/** Where edits may begin: at the holder itself, or at the first list on the way to it. */
function roots(manifest: KubeManifest, path: FieldPath): readonly (readonly [FieldPath, Json])[] {
  const star = path.indexOf('*');
  const upTo = star < 0 ? path : path.slice(0, star);
  let found: readonly FieldPath[] = [[]];
  for (const step of upTo)
    found = found.flatMap((base) =>
      step === '%' ? Object.keys(asObject(getPath(manifest, base))).map((key) => [...base, key]) : [[...base, step]],
    );
  return found.flatMap((base) => {
    const value = getPath(manifest, base);
    return value === undefined ? [] : [[base, value] as const];
  });
}

function rewrite(value: Json, path: FieldPath, change: (holder: JsonObject) => JsonObject): Json {
  const [step, ...rest] = path;
  if (step === undefined) return isJsonObject(value) ? change(value) : value;
  if (step === '*')
    return Array.isArray(value) ? (value as readonly Json[]).map((item) => rewrite(item, rest, change)) : value;
  if (!isJsonObject(value)) return value;
  const keys = step === '%' ? Object.keys(value) : [step];
  let out: JsonObject = value;
  for (const key of keys) {
    const inner = Object.hasOwn(value, key) ? value[key] : undefined;
    if (inner !== undefined) out = { ...out, [key]: rewrite(inner, rest, change) };
  }
  return out;
}

/** The holder with the other account, or the same holder where it does not name the first. */
function renamed(holder: JsonObject, place: AccountPlace, from: string, to: string, mirror: boolean): JsonObject {
  const now = nameIn(holder, place);
  const meant = now ?? (place.onlyWhereSet === true ? undefined : 'default');
  if (meant !== from) return holder;
  const twin = place.podSpec && (mirror || holder['serviceAccount'] !== undefined);
  return { ...holder, [place.field]: to, ...(twin ? { serviceAccount: to } : {}) };
}

/** A list is written whole; of a holder the account's fields alone. */
function leaves(
  manifest: KubeManifest,
  edit: { readonly path: FieldPath; readonly after: Json },
): readonly { readonly path: FieldPath; readonly after: Json }[] {
  const before = getPath(manifest, edit.path);
  if (!isJsonObject(before) || !isJsonObject(edit.after)) return [edit];
  return Object.entries(edit.after).flatMap(([key, after]) =>
    equalJson(before[key], after) ? [] : [{ path: [...edit.path, key], after }],
  );
}

import type { RawEnd } from '../model/flow.ts';
import type { Inventory, Labels, Workload } from '../model/inventory.ts';

/** A record's own word on who a pod belongs to. */
export interface Owner {
  /** `namespace/Kind/name`. */
  readonly id: string;
  /** The schedule run it was part of, where the workload has a schedule. */
  readonly run?: string;
}

/**
 * Labels by which operators name the custom owner on its pods (each operator's API documentation). The first kind that the
 * inventory has is meant; `stated` is the kind where the inventory has none, for labels that leave no doubt.
 */
const OWNER_LABELS: readonly { readonly label: string; readonly kinds: readonly string[]; readonly stated?: string }[] =
  [
    {
      label: 'sparkoperator.k8s.io/scheduled-app-name',
      kinds: ['ScheduledSparkApplication'],
      stated: 'ScheduledSparkApplication',
    },
    { label: 'sparkoperator.k8s.io/app-name', kinds: ['SparkApplication', 'SparkConnect'], stated: 'SparkApplication' },
    {
      label: 'scheduledworkflows.kubeflow.org/scheduledWorkflowName',
      kinds: ['ScheduledWorkflow'],
      stated: 'ScheduledWorkflow',
    },
    { label: 'workflows.argoproj.io/cron-workflow', kinds: ['CronWorkflow'], stated: 'CronWorkflow' },
    { label: 'workflows.argoproj.io/workflow', kinds: ['Workflow'], stated: 'Workflow' },
    { label: 'ray.io/originated-from-cr-name', kinds: ['RayCronJob', 'RayJob', 'RayService', 'RayCluster'] },
    { label: 'ray.io/cluster', kinds: ['RayCluster'], stated: 'RayCluster' },
    { label: 'serving.kserve.io/inferenceservice', kinds: ['InferenceService'], stated: 'InferenceService' },
    { label: 'serving.kserve.io/inferencegraph', kinds: ['InferenceGraph'], stated: 'InferenceGraph' },
    { label: 'trainer.kubeflow.org/trainjob-name', kinds: ['TrainJob'], stated: 'TrainJob' },
    {
      label: 'training.kubeflow.org/job-name',
      kinds: ['PyTorchJob', 'TFJob', 'MPIJob', 'XGBoostJob', 'PaddleJob', 'JAXJob'],
    },
    { label: 'jobset.sigs.k8s.io/jobset-name', kinds: ['TrainJob', 'JobSet'], stated: 'JobSet' },
    { label: 'leaderworkerset.sigs.k8s.io/name', kinds: ['LeaderWorkerSet'], stated: 'LeaderWorkerSet' },
    { label: 'dask.org/cluster-name', kinds: ['DaskCluster', 'DaskJob'], stated: 'DaskCluster' },
    { label: 'volcano.sh/job-name', kinds: ['Job'] },
    { label: 'seldon-deployment-id', kinds: ['SeldonDeployment'] },
    { label: 'serving.knative.dev/service', kinds: ['Service'] },
    { label: 'cnpg.io/cluster', kinds: ['Cluster'] },
    {
      label: 'strimzi.io/cluster',
      kinds: ['Kafka', 'KafkaConnect', 'KafkaMirrorMaker2', 'KafkaBridge', 'StrimziPodSet'],
    },
  ];

/** The training operator names itself on the pods: that decides the kind where the inventory does not know the job. */
const TRAINING_OPERATORS: Readonly<Record<string, string>> = {
  'pytorchjob-controller': 'PyTorchJob',
  'tfjob-controller': 'TFJob',
  'mpi-operator': 'MPIJob',
  'mpijob-controller': 'MPIJob',
  'xgboostjob-controller': 'XGBoostJob',
  'paddlejob-controller': 'PaddleJob',
  'jaxjob-controller': 'JAXJob',
};

function trainingKind(operator: string): string | undefined {
  return Object.hasOwn(TRAINING_OPERATORS, operator) ? TRAINING_OPERATORS[operator] : undefined;
}

/** The characters that Kubernetes draws its name suffixes from (k8s.io/apimachinery util/rand). */
const HASH = /^(.+)-([bcdfghjklmnpqrstvwxz2456789]{5,10})$/;
/** A Job of a CronJob ends in its time in minutes; before Kubernetes 1.21, in seconds. */
const CRON_RUN = /^(.+)-(\d{8}|\d{10})$/;
const POD_SUFFIX = /-[a-z0-9]{5}$/;
const POD_INDEX = /-\d+$/;
/** Names that a controller generates for pods are cut at this length before the five random characters. */
const MAX_BASE = 58;
const OWN_KINDS: ReadonlySet<string> = new Set([
  'Deployment',
  'ReplicaSet',
  'StatefulSet',
  'DaemonSet',
  'Job',
  'CronJob',
  'ReplicationController',
  'Pod',
]);

/**
 * Who owns a pod, by the record alone and the inventory's workloads. Undefined where neither says; a string is the reason why
 * several answers were possible. Time plays no part: the record was stamped when the pod ran.
 */
export type FindOwner = (end: RawEnd) => Owner | string | undefined;

export function createOwnerFinder(inventory: Inventory): FindOwner {
  const byId = new Map<string, Workload>();
  const byPod = new Map<string, { readonly id: string; readonly owner: string | undefined }>();
  const byNamespace = new Map<string, Workload[]>();
  for (const workload of inventory.workloads) {
    byId.set(workload.id, workload);
    const list = byNamespace.get(workload.namespace);
    if (list === undefined) byNamespace.set(workload.namespace, [workload]);
    else list.push(workload);
    for (const set of workload.podSets)
      for (const pod of set.pods) byPod.set(`${workload.namespace}/${pod.name}`, { id: workload.id, owner: pod.owner });
  }

  const withRun = (id: string, end: RawEnd): Owner => {
    const workload = byId.get(id);
    if (workload === undefined ? !id.split('/')[1]?.includes('Cron') : workload.schedule === undefined) return { id };
    const run = runOf(id.slice(id.lastIndexOf('/') + 1), id.split('/')[1] ?? '', end, byPod);
    return run === undefined ? { id } : { id, run };
  };

  /** The workloads that a record means which names them without their kind. */
  const byBareName = (namespace: string, name: string, account: string | undefined): readonly Workload[] => {
    const found = (byNamespace.get(namespace) ?? []).filter((one) => one.name === name);
    if (found.length < 2 || account === undefined) return found;
    const fitting = found.filter((one) => one.podSets.some((set) => set.serviceAccount === account));
    return fitting.length > 0 ? fitting : found;
  };

  const find: FindOwner = (end) => {
    const { namespace, pod, workload: stamp, labels } = end;
    if (namespace === undefined) return undefined;
    if (stamp?.kind === '') {
      const found = byBareName(namespace, stamp.name, end.serviceAccount);
      const [only, ...others] = found;
      if (only !== undefined && others.length === 0) return withRun(only.id, end);
      if (only !== undefined) return 'several workloads have its name';
      // Not a workload's own name, then: that of something which one of them made. Labels, account and pod may still tell.
      const owner = find({
        namespace,
        labels,
        reserved: [],
        names: [],
        ...(pod === undefined ? {} : { pod }),
        ...(end.serviceAccount === undefined ? {} : { serviceAccount: end.serviceAccount }),
      });
      return owner ?? 'no workload of the inventory has its name';
    }
    const idOf = (kind: string, name: string): string => `${namespace}/${kind}/${name}`;
    const known = (kind: string, name: string): string | undefined => {
      const id = idOf(kind, name);
      return byId.has(id) ? id : undefined;
    };

    if (stamp !== undefined) {
      const id = known(stamp.kind, stamp.name);
      // A Job that carries the CronJob's name cannot be: a known id is what it says.
      if (id !== undefined) return withRun(id, end);
    }
    if (pod !== undefined) {
      const found = byPod.get(`${namespace}/${pod}`);
      if (found !== undefined) return withRun(found.id, end);
    }

    let stated: string | undefined;
    for (const row of OWNER_LABELS) {
      const name = Object.hasOwn(labels, row.label) ? labels[row.label] : undefined;
      if (name === undefined || name === '') continue;
      for (const kind of row.kinds) {
        const id = known(kind, name);
        if (id !== undefined) return withRun(id, end);
      }
      const kind =
        row.stated ??
        (row.label === 'training.kubeflow.org/job-name'
          ? trainingKind(labels['training.kubeflow.org/operator-name'] ?? '')
          : undefined);
      if (stated === undefined && kind !== undefined) stated = idOf(kind, name);
    }

    const top = stamp === undefined ? undefined : topOf(stamp.kind, stamp.name, known);
    if (top !== undefined && byId.has(idOf(top.kind, top.name))) return withRun(idOf(top.kind, top.name), end);

    const candidates = byNamespace.get(namespace) ?? [];
    // The record names an owner that is gone, unless that owner is one that a custom workload keeps for itself.
    const eligible =
      stamp === undefined ? candidates : candidates.filter((one) => one.custom && one.kind !== stamp.kind);
    const byLabels = matchLabels(eligible, end);
    if (byLabels.length === 1 && byLabels[0] !== undefined) return withRun(byLabels[0].id, end);
    if (pod !== undefined && stamp === undefined) {
      const byName = matchPodName(byLabels.length > 1 ? byLabels : candidates, pod);
      if (byName !== undefined && !contradicts(byName, end)) return withRun(byName.id, end);
    }

    if (stated !== undefined) return withRun(stated, end);
    if (top !== undefined) return withRun(idOf(top.kind, top.name), end);
    if (byLabels.length > 1) return 'its labels fit several workloads';
    if (pod !== undefined) return { id: idOf('Pod', pod) };
    const account = end.serviceAccount;
    if (
      account !== undefined &&
      end.ip === undefined &&
      end.service === undefined &&
      Object.keys(labels).length === 0
    ) {
      // A certificate names the account alone: that is a workload where one alone runs under it.
      const [only, ...others] = candidates.filter((one) => one.podSets.some((set) => set.serviceAccount === account));
      if (only !== undefined && others.length === 0) return withRun(only.id, end);
      return only === undefined
        ? 'no workload of the inventory runs under its account'
        : 'several workloads run under its account';
    }
    return Object.keys(labels).length > 0 ? 'its labels fit no workload in the inventory' : undefined;
  };
  return find;
}

/** The owner that a person would name: the Deployment of a ReplicaSet, the CronJob of a Job. */
function topOf(
  kind: string,
  name: string,
  known: (kind: string, name: string) => string | undefined,
): { readonly kind: string; readonly name: string } {
  if (kind === 'ReplicaSet') {
    const base = HASH.exec(name)?.[1];
    if (base !== undefined)
      return { kind: known('Rollout', base) === undefined ? 'Deployment' : 'Rollout', name: base };
  }
  if (kind === 'Job') {
    const base = CRON_RUN.exec(name)?.[1];
    if (base !== undefined) return { kind: 'CronJob', name: base };
  }
  if (kind === 'ReplicationController') {
    const base = /^(.+)-\d+$/.exec(name)?.[1];
    if (base !== undefined && known('DeploymentConfig', base) !== undefined)
      return { kind: 'DeploymentConfig', name: base };
  }
  return { kind, name };
}

/**
 * Workloads whose pods would carry the labels of the record. All of the template's labels must be there; the account must
 * not differ; and a pod of a plain workload must be named as its controller names pods, so that a pod started by hand with
 * copied labels is not taken for one of them.
 */
function matchLabels(candidates: readonly Workload[], end: RawEnd): readonly Workload[] {
  const { labels, pod } = end;
  let best = 0;
  let found: Workload[] = [];
  for (const workload of candidates) {
    let score = 0;
    for (const set of workload.podSets) {
      if (end.serviceAccount !== undefined && set.serviceAccount !== '' && set.serviceAccount !== end.serviceAccount)
        continue;
      score = Math.max(score, containedLabels(set.labels, labels));
    }
    if (score === 0 || score < best) continue;
    if (pod !== undefined && OWN_KINDS.has(workload.kind) && !fitsPodName(workload, pod)) continue;
    if (score > best) found = [];
    best = score;
    found.push(workload);
  }
  return found;
}

function containedLabels(wanted: Labels, labels: Labels): number {
  let count = 0;
  for (const key of Object.keys(wanted)) {
    if (!Object.hasOwn(labels, key) || labels[key] !== wanted[key]) return 0;
    count += 1;
  }
  return count;
}

/** Does the record carry a label, or an account, that no pod of the workload has? */
function contradicts(workload: Workload, end: RawEnd): boolean {
  if (workload.podSets.length === 0) return false;
  return workload.podSets.every(
    (set) =>
      (end.serviceAccount !== undefined && set.serviceAccount !== '' && set.serviceAccount !== end.serviceAccount) ||
      Object.keys(set.labels).some((key) => Object.hasOwn(end.labels, key) && end.labels[key] !== set.labels[key]),
  );
}

function matchPodName(candidates: readonly Workload[], pod: string): Workload | undefined {
  const found = candidates.filter((one) => OWN_KINDS.has(one.kind) && fitsPodName(one, pod));
  if (found.length < 2) return found[0];
  const longest = Math.max(...found.map((one) => one.name.length));
  const best = found.filter((one) => one.name.length === longest);
  return best.length === 1 ? best[0] : undefined;
}

/** Is `pod` named as the workload's controller names its pods? */
export function fitsPodName(workload: Pick<Workload, 'kind' | 'name'>, pod: string): boolean {
  const { kind, name } = workload;
  if (kind === 'Pod') return pod === name;
  const base = `${name}-`;
  if (!pod.startsWith(base)) return pod.length >= MAX_BASE + 5 && pod.startsWith(name.slice(0, MAX_BASE - 12));
  const rest = pod.slice(base.length);
  switch (kind) {
    case 'Deployment':
    case 'Rollout':
      return /^[a-z0-9]{1,10}-[a-z0-9]{5}$/.test(rest);
    case 'StatefulSet':
      return /^\d+$/.test(rest);
    case 'Job':
      return /^(?:\d+-)?[a-z0-9]{5}$/.test(rest);
    case 'CronJob':
      return /^(?:\d{8}|\d{10})-(?:\d+-)?[a-z0-9]{5}$/.test(rest);
    case 'DaemonSet':
    case 'ReplicaSet':
    case 'ReplicationController':
      return /^[a-z0-9]{5}$/.test(rest);
    default:
      return true;
  }
}

/** The name of the run a pod belongs to: the Job, Workflow or application that the schedule made. */
function runOf(
  name: string,
  kind: string,
  end: RawEnd,
  byPod: ReadonlyMap<string, { readonly owner: string | undefined }>,
): string | undefined {
  const { labels, workload: stamp, pod } = end;
  if (stamp !== undefined && stamp.name !== name && stamp.kind !== kind) return stamp.name;
  for (const key of [
    'batch.kubernetes.io/job-name',
    'job-name',
    'workflows.argoproj.io/workflow',
    'sparkoperator.k8s.io/app-name',
    'ray.io/originated-from-cr-name',
    'ray.io/cluster',
  ]) {
    const run = Object.hasOwn(labels, key) ? labels[key] : undefined;
    if (run !== undefined && run !== '' && run !== name) return run;
  }
  if (pod === undefined) return undefined;
  const owner = byPod.get(`${end.namespace ?? ''}/${pod}`)?.owner;
  if (owner !== undefined && owner !== name) return owner;
  // `<cron>-<time>-<random>`, with the completion index before the random part where Jobs are indexed.
  const job = pod.replace(POD_SUFFIX, '');
  return [job, job.replace(POD_INDEX, '')].find((one) => CRON_RUN.exec(one)?.[1] === name);
}

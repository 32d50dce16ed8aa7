import type { Labels } from './inventory.ts';

/**
 * Labels whose value belongs to one pod, one run or one revision. A selector with one of these dies with that pod, run or
 * revision, so it never appears in a PodSet's labels, nor in a policy of ours.
 */
const PASSING_KEYS: ReadonlySet<string> = new Set([
  // Kubernetes' own controllers.
  'pod-template-hash',
  'pod-template-generation',
  'controller-revision-hash',
  'controller-uid',
  'job-name',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-name',
  'batch.kubernetes.io/job-completion-index',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'deploymentconfig-hash',
  'rollouts-pod-template-hash',
  // Where a pod happens to run.
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'kubernetes.io/hostname',
  // JobSet, LeaderWorkerSet and the training operators.
  'jobset.sigs.k8s.io/job-index',
  'jobset.sigs.k8s.io/job-key',
  'jobset.sigs.k8s.io/job-global-index',
  'jobset.sigs.k8s.io/job-group-index',
  'jobset.sigs.k8s.io/jobset-uid',
  'jobset.sigs.k8s.io/restart-attempt',
  'jobset.sigs.k8s.io/global-replicas',
  'jobset.sigs.k8s.io/replicatedjob-replicas',
  'leaderworkerset.sigs.k8s.io/group-index',
  'leaderworkerset.sigs.k8s.io/group-key',
  'leaderworkerset.sigs.k8s.io/worker-index',
  'leaderworkerset.sigs.k8s.io/template-revision-hash',
  'training.kubeflow.org/replica-index',
  'replica-index',
  'volcano.sh/task-index',
  'volcano.sh/job-version',
  'kueue.x-k8s.io/podset',
  // Workflow engines.
  'workflows.argoproj.io/workflow',
  'workflows.argoproj.io/completed',
  'workflows.argoproj.io/creator',
  'pipeline/runid',
  'pipelines.kubeflow.org/run-id',
  'scheduledworkflows.kubeflow.org/workflowEpoch',
  'scheduledworkflows.kubeflow.org/workflowIndex',
  'scheduledworkflows.kubeflow.org/isOwnedByScheduledWorkflow',
  'tekton.dev/pipelineRun',
  'tekton.dev/pipelineRunUID',
  'tekton.dev/taskRun',
  'tekton.dev/taskRunUID',
  // Airflow's pod operators: one value for each task instance.
  'run_id',
  'try_number',
  'map_index',
  'airflow-worker',
  'already_checked',
  // Spark.
  'spark-app-selector',
  'spark-exec-id',
  'spark-exec-resourceprofile-id',
  'sparkoperator.k8s.io/submission-id',
  'sparkoperator.k8s.io/mutated-by-spark-operator',
  // Ray, Dask, Katib, Strimzi: names of one pod or one trial.
  'ray.io/hash-without-replicas-and-workers-to-delete',
  'ray.io/serve',
  'dask.org/worker-name',
  'katib.kubeflow.org/trial',
  'strimzi.io/pod-name',
  'strimzi.io/revision',
  // CloudNativePG, Patroni: follow a failover.
  'cnpg.io/instanceName',
  'cnpg.io/instanceRole',
  'spilo-role',
  // Knative.
  'serving.knative.dev/revision',
  'serving.knative.dev/revisionUID',
  'serving.knative.dev/configurationGeneration',
  'serving.knative.dev/configurationUID',
  'serving.knative.dev/serviceUID',
  'serving.knative.dev/routingState',
  // Written by Istio's injector, from the revision label of the template.
  'security.istio.io/tlsMode',
  'service.istio.io/canonical-revision',
]);

/** Labels that pods keep but that an upgrade rewrites, or that switch the mesh: no selector of ours rests on one. */
const CHANGING_KEYS: ReadonlySet<string> = new Set([
  'helm.sh/chart',
  'chart',
  'app.kubernetes.io/version',
  'sidecar.istio.io/inject',
  'istio.io/rev',
  'istio.io/dataplane-mode',
  'istio.io/use-waypoint',
  'service.istio.io/canonical-name',
]);

/** Keys that name a run only under these top owners, which make a new child for each run or upgrade. */
const PASSING_UNDER: Readonly<Record<string, ReadonlySet<string>>> = {
  'ray.io/cluster': new Set(['RayJob', 'RayService', 'RayCronJob']),
  'ray.io/identifier': new Set(['RayJob', 'RayService', 'RayCronJob']),
  'ray.io/originated-from-cr-name': new Set(['RayCronJob']),
  'spark-app-name': new Set(['ScheduledSparkApplication']),
  'sparkoperator.k8s.io/app-name': new Set(['ScheduledSparkApplication']),
  // Patroni moves it with the primary; DeploymentConfig counts its rollouts in it.
  role: new Set(['Cluster', 'postgresql']),
  deployment: new Set(['DeploymentConfig']),
};

function isPassing(key: string, ownerKind: string | undefined): boolean {
  if (PASSING_KEYS.has(key)) return true;
  if (key.startsWith('topology.') || key.startsWith('failure-domain.')) return true;
  const under = Object.hasOwn(PASSING_UNDER, key) ? PASSING_UNDER[key] : undefined;
  return under !== undefined && ownerKind !== undefined && under.has(ownerKind);
}

/**
 * True when a selector may rest on this label key: its value survives a rollout, a restart and the next run.
 * `ownerKind` is the kind of the workload (its top owner); some keys are per-run only under certain owners.
 */
export function isDurableLabel(key: string, ownerKind?: string): boolean {
  return !CHANGING_KEYS.has(key) && !isPassing(key, ownerKind);
}

/**
 * Labels without those of one pod, run or revision; switches such as `sidecar.istio.io/inject` stay. A value that repeats
 * the name of a Knative revision goes too (Knative's `app`).
 */
export function lastingLabels(labels: Labels, ownerKind?: string): Labels {
  const revision = labels['serving.knative.dev/revision'];
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of Object.entries(labels)) {
    if (isPassing(key, ownerKind)) continue;
    if (revision !== undefined && value === revision) continue;
    out[key] = value;
  }
  return out;
}

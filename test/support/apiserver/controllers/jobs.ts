// Jobs, CronJobs (started by a test, never by the clock) and PyTorchJobs.
import {
  controllerUidOf,
  nameOf,
  namespaceOf,
  ownerReferenceTo,
  resources,
  stampConditions,
  uidOf,
  header,
} from '../objects.ts';
import type { CronJob, Job, Pod, PyTorchJob } from '../objects.ts';
import { isReady } from '../pods.ts';
import { livePodsOf, takenPodNames, createPodFor, freshNames, report } from './owned-pods.ts';
import type { Pass } from '../world.ts';

function isFinished(job: Job): boolean {
  return (
    job.status?.conditions?.some(
      ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
    ) === true
  );
}

export async function reconcileJob(pass: Pass, job: Job): Promise<void> {
  const template = job.spec?.template;
  if (template === undefined || isFinished(job)) return;
  const pods = livePodsOf(pass.world, job);
  const startTime = job.status?.startTime ?? pass.now();
  if (job.spec?.suspend === true) {
    for (const pod of pods) await pass.writer.remove(resources.pods, pod);
    const suspended = stampConditions(
      job.status?.conditions,
      [{ type: 'Suspended', status: 'True', reason: 'JobSuspended' }],
      startTime,
    );
    await report(pass, resources.jobs, job, { active: pods.length, conditions: suspended });
    return;
  }
  const completions = job.spec?.completions ?? 1;
  const wanted = Math.min(job.spec?.parallelism ?? 1, completions);
  const all = pass.world.podsByController.get(uidOf(job)) ?? [];
  const succeeded = all.filter((pod) => pod.status?.phase === 'Succeeded').length;
  if (pass.isComplete(`${namespaceOf(job)}/${nameOf(job)}`) && succeeded > 0 && pods.length === 0) {
    const now = pass.now();
    const conditions = stampConditions(
      undefined,
      [
        { type: 'SuccessCriteriaMet', status: 'True', reason: 'CompletionsReached' },
        { type: 'Complete', status: 'True', reason: 'CompletionsReached' },
      ],
      now,
    );
    await report(pass, resources.jobs, job, {
      active: 0,
      ready: 0,
      succeeded: completions,
      startTime,
      completionTime: now,
      conditions,
    });
    return;
  }
  const indexed = job.spec?.completionMode === 'Indexed';
  const indexKey = 'batch.kubernetes.io/job-completion-index';
  const held = new Set(pods.map((pod) => pod.metadata?.labels?.[indexKey]));
  const indexes = Array.from({ length: wanted }, (_, index) => String(index)).filter((index) => !held.has(index));
  const missing = succeeded > 0 ? 0 : Math.max(0, wanted - pods.length);
  for (const [position, name] of freshNames(pass, job, missing).entries()) {
    const index = indexes[position] ?? '0';
    const { metadata, spec = { containers: [] } } = template;
    await createPodFor(pass, {
      owner: job,
      resource: resources.jobs,
      template: indexed
        ? {
            metadata: { ...metadata, annotations: { ...metadata?.annotations, [indexKey]: index } },
            spec: { ...spec, hostname: `${nameOf(job)}-${index}` },
          }
        : template,
      name,
      ...(indexed ? { labels: { [indexKey]: index } } : {}),
    });
  }
  await report(pass, resources.jobs, job, { active: pods.length, ready: pods.filter(isReady).length, startTime });
}

export async function reconcileCronJob(pass: Pass, cronJob: CronJob): Promise<void> {
  const jobs = pass.world.jobs.filter((job) => controllerUidOf(job) === uidOf(cronJob));
  const active = jobs
    .filter((job) => !isFinished(job))
    .map((job) => ({ ...header(resources.jobs), name: nameOf(job), namespace: namespaceOf(job), uid: uidOf(job) }));
  const scheduled = jobs.flatMap((job) => job.metadata?.annotations?.[scheduledAnnotation] ?? []).sort();
  const successes = jobs
    .filter(isFinished)
    .flatMap((job) => job.status?.completionTime ?? [])
    .sort();
  const lastScheduleTime = scheduled.at(-1);
  const lastSuccessfulTime = successes.at(-1);
  await report(pass, resources.cronJobs, cronJob, {
    active,
    ...(lastScheduleTime === undefined ? {} : { lastScheduleTime }),
    ...(lastSuccessfulTime === undefined ? {} : { lastSuccessfulTime }),
  });
}

export const scheduledAnnotation = 'batch.kubernetes.io/cronjob-scheduled-timestamp';

/** The Job that a CronJob would start at the given time. */
export function buildScheduledJob(cronJob: CronJob, at: string): Job & { metadata: { name: string } } {
  const template = cronJob.spec.jobTemplate;
  return {
    ...header(resources.jobs),
    metadata: {
      ...template.metadata,
      name: `${nameOf(cronJob).slice(0, 52)}-${Math.floor(Date.parse(at) / 60_000)}`,
      namespace: namespaceOf(cronJob),
      annotations: { ...template.metadata?.annotations, [scheduledAnnotation]: at },
      ownerReferences: [ownerReferenceTo(cronJob, resources.cronJobs)],
    },
    ...(template.spec === undefined ? {} : { spec: template.spec }),
  };
}

export async function reconcilePyTorchJob(pass: Pass, job: PyTorchJob): Promise<void> {
  const specs = Object.entries(job.spec?.pytorchReplicaSpecs ?? {});
  const taken = takenPodNames(pass.world, job);
  const pods = livePodsOf(pass.world, job);
  const replicaStatuses: Record<string, object> = {};
  for (const [replicaType, { replicas = 1, template }] of specs) {
    const role = replicaType.toLowerCase();
    const isOfType = (pod: Pod): boolean => pod.metadata?.labels?.['training.kubeflow.org/replica-type'] === role;
    replicaStatuses[replicaType] = { active: pods.filter(isOfType).length };
    for (let index = 0; index < replicas; index += 1) {
      const name = `${nameOf(job)}-${role}-${index}`;
      const labels = {
        'training.kubeflow.org/job-name': nameOf(job),
        'training.kubeflow.org/operator-name': 'pytorchjob-controller',
        'training.kubeflow.org/replica-type': role,
        'training.kubeflow.org/replica-index': String(index),
        ...(role === 'master' ? { 'training.kubeflow.org/job-role': 'master' } : {}),
      };
      if (!taken.has(name))
        await createPodFor(pass, { owner: job, resource: resources.pyTorchJobs, template, name, labels });
      const hasService = pass.world.services.some(
        (item) => namespaceOf(item) === namespaceOf(job) && nameOf(item) === name,
      );
      if (hasService) continue;
      const service = {
        ...header(resources.services),
        metadata: {
          name,
          namespace: namespaceOf(job),
          labels,
          ownerReferences: [ownerReferenceTo(job, resources.pyTorchJobs)],
        },
        spec: {
          clusterIP: 'None',
          selector: labels,
          ports: [{ name: 'pytorchjob-port', port: 23456, targetPort: 23456 }],
        },
      };
      await pass.writer.create(resources.services, service);
    }
  }
  const running = pods.length > 0 && pods.every(isReady);
  const before = (job.status ?? {}) as {
    startTime?: string;
    conditions?: { type: string; status: string; lastTransitionTime?: string }[];
  };
  const now = pass.now();
  const conditions = stampConditions(
    before.conditions,
    [
      { type: 'Created', status: 'True', reason: 'PyTorchJobCreated' },
      ...(running ? [{ type: 'Running', status: 'True', reason: 'PyTorchJobRunning' }] : []),
    ],
    now,
  );
  await report(pass, resources.pyTorchJobs, job, { startTime: before.startTime ?? now, replicaStatuses, conditions });
}

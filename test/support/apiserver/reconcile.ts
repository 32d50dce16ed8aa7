// One pass of the played controllers: what the controller manager, the scheduler and the kubelets of a cluster would do next.
import type { ApiClient } from './client.ts';
import { finalizeNamespace } from './namespaces.ts';
import {
  controllerUidOf,
  digestOf,
  hashOf,
  holds,
  isDeleting,
  matchesLabels,
  matchesSelector,
  nameOf,
  namespaceOf,
  ownerReferenceTo,
  pathOf,
  resources,
  stableJson,
  stampConditions,
  uidOf,
} from './objects.ts';
import type {
  Condition,
  Container,
  CronJob,
  DaemonSet,
  Deployment,
  EndpointSlice,
  Job,
  KubeObject,
  Node,
  Pod,
  PodTemplate,
  PyTorchJob,
  ReplicaSet,
  Resource,
  Service,
  StatefulSet,
} from './objects.ts';
import { buildPod, buildPodStatus, choosePodIp, injectSidecar, internalIpOf, isInjected, isReady } from './pods.ts';
import { createWriter, readWorld } from './world.ts';
import type { World, Writer } from './world.ts';

/** What a test may decide about the played cluster. */
export interface Rules {
  /** Namespaces that these controllers look after. */
  readonly looksAfter: (namespace: string) => boolean;
  readonly revisions: readonly string[];
  /** Do pods of this workload (`namespace/Kind/name`) and template never become ready? */
  readonly isFailing: (workload: string, templateHash: string) => boolean;
  /** Has this Job (`namespace/name`) done its work? */
  readonly isComplete: (job: string) => boolean;
  readonly now: () => string;
}

interface Pass extends Rules {
  readonly client: ApiClient;
  readonly world: World;
  readonly writer: Writer;
}

/** Lists the cluster, makes one step towards what its objects ask for, and returns the writes that took. */
export async function reconcileOnce(client: ApiClient, rules: Rules): Promise<readonly string[]> {
  const world = await readWorld(client, rules.looksAfter);
  const pass: Pass = { ...rules, client, world, writer: createWriter(client) };
  for (const namespace of world.namespaces.values()) {
    if (isDeleting(namespace)) await finalizeNamespace(client, nameOf(namespace));
  }
  await settleAll(alive(world.namespaces.values()), (namespace) => furnishNamespace(pass, namespace));
  await collectGarbage(pass);
  await settleAll(alive(world.deployments), (item) => reconcileDeployment(pass, item));
  await settleAll(alive(world.replicaSets), (item) => reconcileReplicaSet(pass, item));
  await settleAll(alive(world.statefulSets), (item) => reconcileStatefulSet(pass, item));
  await settleAll(alive(world.daemonSets), (item) => reconcileDaemonSet(pass, item));
  await settleAll(alive(world.jobs), (item) => reconcileJob(pass, item));
  await settleAll(alive(world.cronJobs), (item) => reconcileCronJob(pass, item));
  await settleAll(alive(world.pyTorchJobs), (item) => reconcilePyTorchJob(pass, item));
  await settleAll(world.pods, (item) => playKubelet(pass, item));
  await settleAll(alive(world.services), (item) => reconcileService(pass, item));
  await settleAll(alive(world.disruptionBudgets), (item) => reconcileDisruptionBudget(pass, item));
  return pass.writer.sent;
}

/** Lets every item have its turn before the first error counts. */
async function settleAll<T>(items: Iterable<T>, reconcile: (item: T) => Promise<void>): Promise<void> {
  const results = await Promise.allSettled(Array.from(items, reconcile));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

function alive<T extends KubeObject>(items: Iterable<T>): T[] {
  return Array.from(items).filter((item) => !isDeleting(item));
}

async function furnishNamespace({ world, writer, client }: Pass, namespace: KubeObject): Promise<void> {
  const name = nameOf(namespace);
  const has = (objects: readonly KubeObject[], wanted: string): boolean =>
    objects.some((object) => namespaceOf(object) === name && nameOf(object) === wanted);
  if (!has(world.serviceAccounts, 'default')) {
    await writer.create(resources.serviceAccounts, {
      ...header(resources.serviceAccounts),
      metadata: { name: 'default', namespace: name },
    });
  }
  if (!has(world.configMaps, 'kube-root-ca.crt')) {
    const rootCa = {
      ...header(resources.configMaps),
      metadata: { name: 'kube-root-ca.crt', namespace: name },
      data: { 'ca.crt': client.caPem },
    };
    await writer.create(resources.configMaps, rootCa);
  }
}

function header({ apiVersion, kind }: Resource): { apiVersion: string; kind: string } {
  return { apiVersion, kind };
}

// --- garbage -----------------------------------------------------------------------------------------------------------

async function collectGarbage({ world, writer }: Pass): Promise<void> {
  const owners: readonly (readonly [Resource, readonly KubeObject[]])[] = [
    [resources.pods, world.pods],
    [resources.replicaSets, world.replicaSets],
    [resources.jobs, world.jobs],
    [resources.services, world.services],
    [resources.deployments, world.deployments],
    [resources.statefulSets, world.statefulSets],
    [resources.daemonSets, world.daemonSets],
    [resources.cronJobs, world.cronJobs],
    [resources.pyTorchJobs, world.pyTorchJobs],
  ];
  const dependents = [
    ...owners.slice(0, 4),
    [resources.endpointSlices, world.endpointSlices] as const,
    [resources.claims, world.claims] as const,
  ];
  const known = new Map<string, KubeObject>();
  for (const [, objects] of owners) for (const object of objects) known.set(uidOf(object), object);
  const knownKinds = new Set(owners.map(([{ kind }]) => kind));

  for (const [resource, objects] of dependents) {
    for (const object of objects) {
      const references = object.metadata?.ownerReferences ?? [];
      const lost = references.filter(({ kind, uid }) => knownKinds.has(kind) && !known.has(uid));
      const goingFirst = references.some(({ uid }) => hasFinalizer(known.get(uid), 'foregroundDeletion'));
      const orphaning = references.filter(({ uid }) => hasFinalizer(known.get(uid), 'orphan'));
      if (orphaning.length > 0) {
        const ownerReferences = references.filter((reference) => !orphaning.includes(reference));
        await writer.patch(resource, object, { metadata: { ownerReferences } });
      } else if (!isDeleting(object) && references.length > 0 && (lost.length === references.length || goingFirst)) {
        await writer.remove(resource, object);
      }
    }
  }
  const allDependents = dependents.flatMap(([, objects]) => objects);
  for (const [resource, objects] of owners) {
    for (const object of objects.filter(isDeleting)) {
      const held = allDependents.some((dependent) =>
        dependent.metadata?.ownerReferences?.some(({ uid }) => uid === uidOf(object)),
      );
      const finalizers = object.metadata?.finalizers ?? [];
      const kept = finalizers.filter((finalizer) => finalizer !== 'foregroundDeletion' && finalizer !== 'orphan');
      if (!held && kept.length < finalizers.length)
        await writer.patch(resource, object, { metadata: { finalizers: kept } });
    }
  }
}

function hasFinalizer(object: KubeObject | undefined, finalizer: string): boolean {
  return object !== undefined && isDeleting(object) && object.metadata?.finalizers?.includes(finalizer) === true;
}

// --- pods of an owner --------------------------------------------------------------------------------------------------

function livePodsOf(world: World, owner: KubeObject): readonly Pod[] {
  return (world.podsByController.get(uidOf(owner)) ?? []).filter(
    (pod) => !isDeleting(pod) && pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed',
  );
}

function takenPodNames(world: World, owner: KubeObject): Set<string> {
  return new Set((world.podsByController.get(uidOf(owner)) ?? []).map(nameOf));
}

interface PodRequest {
  readonly owner: KubeObject;
  readonly resource: Resource;
  readonly template: PodTemplate;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly node?: Node;
}

async function createPodFor(pass: Pass, request: PodRequest): Promise<void> {
  const { world, writer } = pass;
  const namespace = world.namespaces.get(namespaceOf(request.owner));
  const node = request.node ?? chooseNode(world, request.name);
  // Without a node a pod would be pending: no step until there is one.
  if (namespace === undefined || node === undefined) return;
  const pod = buildPod(request.template, {
    name: request.name,
    namespace: nameOf(namespace),
    nodeName: nameOf(node),
    labels: request.labels ?? {},
    owner: ownerReferenceTo(request.owner, request.resource),
  });
  await writer.create(resources.pods, isInjected(pod, namespace, pass.revisions) ? injectSidecar(pod) : pod);
}

function chooseNode(world: World, name: string): Node | undefined {
  return world.nodes[digestOf(name).readUInt32BE() % Math.max(1, world.nodes.length)];
}

/** Names that these controllers never gave before: a pod that was replaced is told from its successor. */
function freshNames(pass: Pass, owner: KubeObject, count: number): readonly string[] {
  const taken = takenPodNames(pass.world, owner);
  const names: string[] = [];
  const prefix = nameOf(owner);
  const key = `${namespaceOf(owner)}/${prefix}`;
  let serial = usedSerials.get(key) ?? 0;
  while (names.length < count) {
    const name = `${prefix.slice(0, 57)}-${hashOf([key, serial], 5)}`;
    serial += 1;
    if (!taken.has(name)) names.push(name);
  }
  usedSerials.set(key, serial);
  return names;
}

const usedSerials = new Map<string, number>();

/** The template without the label that tells the ReplicaSets of one Deployment apart. */
function bareTemplate(template: PodTemplate | undefined): PodTemplate {
  const labels = Object.entries(template?.metadata?.labels ?? {}).filter(([key]) => key !== 'pod-template-hash');
  return { ...template, metadata: { ...template?.metadata, labels: Object.fromEntries(labels) } };
}

/** The hash by which a template is known to isFailing. */
export function templateHashOf(template: PodTemplate | undefined): string {
  return hashOf(bareTemplate(template), 10);
}

function workloadId(kind: string, object: KubeObject): string {
  return `${namespaceOf(object)}/${kind}/${nameOf(object)}`;
}

function countOf(value: number | string | undefined, total: number, round: (value: number) => number): number {
  if (typeof value === 'number') return value;
  if (value?.endsWith('%') === true) return round((Number.parseInt(value, 10) * total) / 100);
  return Number(value ?? 0);
}

async function report(
  pass: Pass,
  resource: Resource,
  object: KubeObject & { status?: unknown },
  status: object,
): Promise<void> {
  if (!holds(object.status, status)) await pass.writer.patchStatus(resource, object, status);
}

// --- Deployments and ReplicaSets ---------------------------------------------------------------------------------------

const revisionAnnotation = 'deployment.kubernetes.io/revision';

function revisionOf(object: KubeObject): number {
  return Number(object.metadata?.annotations?.[revisionAnnotation] ?? 0);
}

async function reconcileDeployment(pass: Pass, deployment: Deployment): Promise<void> {
  const { world, writer } = pass;
  const template = deployment.spec?.template;
  const desired = deployment.spec?.replicas ?? 1;
  const owned = world.replicaSets.filter((set) => controllerUidOf(set) === uidOf(deployment) && !isDeleting(set));
  const hash = templateHashOf(template);
  const wanted = stableJson(bareTemplate(template));
  const current = owned.find((set) => stableJson(bareTemplate(set.spec?.template)) === wanted);
  const others = owned.filter((set) => set !== current);
  const paused = deployment.spec?.paused === true;
  const failing = pass.isFailing(workloadId('Deployment', deployment), hash);
  const recreate = deployment.spec?.strategy?.type === 'Recreate';
  const rolling = deployment.spec?.strategy?.rollingUpdate;
  const unavailable = recreate ? desired : countOf(rolling?.maxUnavailable, desired, Math.floor);
  const surge = recreate ? 0 : countOf(rolling?.maxSurge, desired, Math.ceil);
  const nextRevision = Math.max(0, ...others.map(revisionOf)) + 1;

  if (current === undefined) {
    if (!paused) await createReplicaSet(pass, deployment, hash, nextRevision);
  } else if (!paused || others.every((set) => set.spec?.replicas === 0)) {
    const podsOfOthers = others.flatMap((set) => livePodsOf(world, set));
    const ready = livePodsOf(world, current).filter(isReady).length;
    const targets = new Map<ReplicaSet, number>();
    if (recreate) {
      for (const set of others) targets.set(set, 0);
      if (podsOfOthers.length === 0) targets.set(current, desired);
    } else if (failing && podsOfOthers.length > 0) {
      targets.set(current, Math.min(desired, Math.max(1, surge + unavailable)));
      let room = Math.max(0, desired - unavailable);
      for (const set of [...others].sort((a, b) => revisionOf(b) - revisionOf(a))) {
        targets.set(set, Math.min(room, set.spec?.replicas ?? 0));
        room -= targets.get(set) ?? 0;
      }
    } else {
      targets.set(current, desired);
      if (ready >= desired) for (const set of others) targets.set(set, 0);
    }
    for (const [set, replicas] of targets) {
      if (set.spec?.replicas !== replicas) await writer.patch(resources.replicaSets, set, { spec: { replicas } });
    }
    const revision = Math.max(revisionOf(current), others.length === 0 ? 1 : nextRevision);
    await annotateRevision(pass, resources.replicaSets, current, revision);
    await annotateRevision(pass, resources.deployments, deployment, revision);
    const surplus = others
      .filter((set) => set.spec?.replicas === 0 && livePodsOf(world, set).length === 0)
      .sort((a, b) => revisionOf(a) - revisionOf(b));
    const limit = deployment.spec?.revisionHistoryLimit ?? 10;
    for (const set of surplus.slice(0, Math.max(0, surplus.length - limit)))
      await writer.remove(resources.replicaSets, set);
  }

  const allPods = owned.flatMap((set) => livePodsOf(world, set));
  const available = allPods.filter(isReady).length;
  const updated = current === undefined ? 0 : livePodsOf(world, current).length;
  const complete = updated === desired && allPods.length === desired && available === desired;
  const enough = available >= desired - unavailable;
  const conditions: readonly Condition[] = [
    enough
      ? { type: 'Available', status: 'True', reason: 'MinimumReplicasAvailable' }
      : { type: 'Available', status: 'False', reason: 'MinimumReplicasUnavailable' },
    complete
      ? { type: 'Progressing', status: 'True', reason: 'NewReplicaSetAvailable' }
      : failing
        ? {
            type: 'Progressing',
            status: 'False',
            reason: 'ProgressDeadlineExceeded',
            message: `ReplicaSet "${current === undefined ? '' : nameOf(current)}" has timed out progressing.`,
          }
        : paused
          ? { type: 'Progressing', status: 'Unknown', reason: 'DeploymentPaused' }
          : { type: 'Progressing', status: 'True', reason: 'ReplicaSetUpdated' },
  ];
  await report(pass, resources.deployments, deployment, {
    observedGeneration: deployment.metadata?.generation ?? 0,
    replicas: allPods.length,
    updatedReplicas: updated,
    readyReplicas: available,
    availableReplicas: available,
    unavailableReplicas: Math.max(0, Math.max(desired, allPods.length) - available),
    conditions: stampConditions(deployment.status?.conditions, conditions, pass.now()),
  });
}

async function createReplicaSet(pass: Pass, deployment: Deployment, hash: string, revision: number): Promise<void> {
  const template = bareTemplate(deployment.spec?.template);
  const labels = { ...template.metadata?.labels, 'pod-template-hash': hash };
  const replicaSet = {
    ...header(resources.replicaSets),
    metadata: {
      name: `${nameOf(deployment)}-${hash}`,
      namespace: namespaceOf(deployment),
      labels,
      annotations: { [revisionAnnotation]: String(revision) },
      ownerReferences: [ownerReferenceTo(deployment, resources.deployments)],
    },
    spec: {
      replicas: 0,
      selector: {
        ...deployment.spec?.selector,
        matchLabels: { ...deployment.spec?.selector.matchLabels, 'pod-template-hash': hash },
      },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
  await pass.writer.create(resources.replicaSets, replicaSet);
}

async function annotateRevision(
  { writer }: Pass,
  resource: Resource,
  object: KubeObject,
  revision: number,
): Promise<void> {
  if (revisionOf(object) === revision) return;
  await writer.patch(resource, object, { metadata: { annotations: { [revisionAnnotation]: String(revision) } } });
}

async function reconcileReplicaSet(pass: Pass, set: ReplicaSet): Promise<void> {
  const pods = livePodsOf(pass.world, set);
  const desired = set.spec?.replicas ?? 1;
  const template = set.spec?.template;
  if (template !== undefined) {
    for (const name of freshNames(pass, set, Math.max(0, desired - pods.length))) {
      await createPodFor(pass, { owner: set, resource: resources.replicaSets, template, name });
    }
  }
  // Pods that do not serve go first, as with the real controller.
  const dispensable = [...pods].sort(
    (a, b) => Number(isReady(a)) - Number(isReady(b)) || (nameOf(a) < nameOf(b) ? 1 : -1),
  );
  for (const pod of dispensable.slice(0, Math.max(0, pods.length - desired)))
    await pass.writer.remove(resources.pods, pod);
  const ready = pods.filter(isReady).length;
  await report(pass, resources.replicaSets, set, {
    observedGeneration: set.metadata?.generation ?? 0,
    replicas: pods.length,
    fullyLabeledReplicas: pods.length,
    readyReplicas: ready,
    availableReplicas: ready,
  });
}

// --- StatefulSets and DaemonSets ---------------------------------------------------------------------------------------

const revisionLabel = 'controller-revision-hash';

async function reconcileStatefulSet(pass: Pass, set: StatefulSet): Promise<void> {
  const template = set.spec?.template;
  if (template === undefined) return;
  const desired = set.spec?.replicas ?? 1;
  const first = set.spec?.ordinals?.start ?? 0;
  const revision = `${nameOf(set)}-${templateHashOf(template)}`;
  const pods = livePodsOf(pass.world, set);
  const taken = takenPodNames(pass.world, set);
  const ordinalOf = (pod: Pod): number => Number(nameOf(pod).slice(nameOf(set).length + 1));
  for (let ordinal = first; ordinal < first + desired; ordinal += 1) {
    const name = `${nameOf(set)}-${ordinal}`;
    if (taken.has(name)) continue;
    const claims = set.spec?.volumeClaimTemplates ?? [];
    for (const claim of claims) {
      const claimName = `${nameOf(claim)}-${name}`;
      if (pass.world.claims.some((held) => namespaceOf(held) === namespaceOf(set) && nameOf(held) === claimName))
        continue;
      await pass.writer.create(resources.claims, {
        ...claim,
        ...header(resources.claims),
        metadata: { ...claim.metadata, name: claimName, namespace: namespaceOf(set) },
      });
    }
    const volumes = claims.map((claim) => ({
      name: nameOf(claim),
      persistentVolumeClaim: { claimName: `${nameOf(claim)}-${name}` },
    }));
    const spec = template.spec ?? { containers: [] };
    const subdomain = set.spec?.serviceName;
    await createPodFor(pass, {
      owner: set,
      resource: resources.statefulSets,
      template: {
        ...template,
        spec: {
          ...spec,
          hostname: name,
          ...(subdomain === undefined || subdomain === '' ? {} : { subdomain }),
          volumes: [...(spec.volumes ?? []), ...volumes],
        },
      },
      name,
      labels: {
        'statefulset.kubernetes.io/pod-name': name,
        'apps.kubernetes.io/pod-index': String(ordinal),
        [revisionLabel]: revision,
      },
    });
  }
  for (const pod of pods) {
    if (ordinalOf(pod) < first || ordinalOf(pod) >= first + desired) await pass.writer.remove(resources.pods, pod);
  }

  const isUpdated = (pod: Pod): boolean => pod.metadata?.labels?.[revisionLabel] === revision;
  const partition = set.spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
  const outdated = pods
    .filter((pod) => !isUpdated(pod) && ordinalOf(pod) >= first + partition)
    .sort((a, b) => ordinalOf(b) - ordinalOf(a));
  const ready = pods.filter(isReady).length;
  // A set that is ordered waits for its broken pod, even if a newer template would cure it: somebody must delete that pod.
  const stuck = set.spec?.podManagementPolicy !== 'Parallel' && ready < desired;
  const next = outdated.find((pod) => !isReady(pod)) ?? outdated[0];
  const allPresent = pods.length === desired;
  if (next !== undefined && set.spec?.updateStrategy?.type !== 'OnDelete' && allPresent && !stuck) {
    if (!isReady(next) || ready === desired) await pass.writer.remove(resources.pods, next);
  }
  const updated = pods.filter(isUpdated).length;
  await report(pass, resources.statefulSets, set, {
    observedGeneration: set.metadata?.generation ?? 0,
    replicas: pods.length,
    readyReplicas: ready,
    availableReplicas: ready,
    updatedReplicas: updated,
    currentReplicas: updated === desired ? updated : pods.length - updated,
    updateRevision: revision,
    currentRevision: updated === desired ? revision : (set.status?.currentRevision ?? revision),
  });
}

async function reconcileDaemonSet(pass: Pass, set: DaemonSet): Promise<void> {
  const template = set.spec?.template;
  if (template === undefined) return;
  const revision = templateHashOf(template);
  const generation = set.metadata?.generation ?? 0;
  const pods = livePodsOf(pass.world, set);
  const nodes = pass.world.nodes.filter((node) =>
    matchesLabels(node.metadata?.labels, template.spec?.nodeSelector ?? {}),
  );
  const bare = nodes.filter((node) => !pods.some((pod) => pod.spec?.nodeName === nameOf(node)));
  const names = freshNames(pass, set, bare.length);
  for (const [index, node] of bare.entries()) {
    await createPodFor(pass, {
      owner: set,
      resource: resources.daemonSets,
      template,
      name: names[index] ?? '',
      labels: { [revisionLabel]: revision, 'pod-template-generation': String(generation) },
      node,
    });
  }
  const isUpdated = (pod: Pod): boolean => pod.metadata?.labels?.[revisionLabel] === revision;
  const outdated = pods.filter((pod) => !isUpdated(pod));
  const ready = pods.filter(isReady).length;
  if (set.spec?.updateStrategy?.type !== 'OnDelete' && bare.length === 0) {
    const broken = outdated.filter((pod) => !isReady(pod));
    const turn = ready === nodes.length ? outdated.filter(isReady).slice(0, 1) : [];
    for (const pod of [...broken, ...turn]) await pass.writer.remove(resources.pods, pod);
  }
  await report(pass, resources.daemonSets, set, {
    observedGeneration: generation,
    desiredNumberScheduled: nodes.length,
    currentNumberScheduled: pods.length,
    numberMisscheduled: 0,
    numberReady: ready,
    numberAvailable: ready,
    numberUnavailable: nodes.length - ready,
    updatedNumberScheduled: pods.filter(isUpdated).length,
  });
}

// --- Jobs --------------------------------------------------------------------------------------------------------------

function isFinished(job: Job): boolean {
  return (
    job.status?.conditions?.some(
      ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
    ) === true
  );
}

async function reconcileJob(pass: Pass, job: Job): Promise<void> {
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

async function reconcileCronJob(pass: Pass, cronJob: CronJob): Promise<void> {
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

async function reconcilePyTorchJob(pass: Pass, job: PyTorchJob): Promise<void> {
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

// --- kubelet -----------------------------------------------------------------------------------------------------------

async function playKubelet(pass: Pass, pod: Pod): Promise<void> {
  if (isDeleting(pod)) return pass.writer.remove(resources.pods, pod);
  const { world } = pass;
  if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return;
  const nodeName = pod.spec?.nodeName;
  if (nodeName === undefined) {
    const node = chooseNode(world, nameOf(pod));
    if (node === undefined) return;
    const target = { apiVersion: 'v1', kind: 'Node', name: nameOf(node) };
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name: nameOf(pod) }, target };
    return pass.writer.post(`${pathOf(resources.pods, namespaceOf(pod), nameOf(pod))}/binding`, binding);
  }
  const node = world.nodes.find((candidate) => nameOf(candidate) === nodeName);
  // A pod on a node that does not exist stays pending, as it would without that node's kubelet.
  if (node === undefined) return;
  const hostIp = internalIpOf(node);
  const podIp =
    pod.spec?.hostNetwork === true
      ? hostIp
      : (pod.status?.podIP ?? choosePodIp(`${namespaceOf(pod)}/${nameOf(pod)}`, node, world.takenIps));
  world.takenIps.add(podIp);
  const status = buildPodStatus(pod, phaseOf(pass, pod), hostIp, podIp, pass.now());
  if (!holds(pod.status, status)) await pass.writer.patchStatus(resources.pods, pod, status, 'kubelet');
}

function phaseOf(pass: Pass, pod: Pod): 'ready' | 'not-ready' | 'succeeded' {
  const { world } = pass;
  const uid = controllerUidOf(pod);
  const by = <T extends KubeObject>(objects: readonly T[]): T | undefined =>
    objects.find((object) => uidOf(object) === uid);
  const owner = pod.metadata?.ownerReferences?.find(({ controller }) => controller === true);
  if (owner === undefined) return 'ready';
  const workloadOf = (kind: string, name: string): string => `${namespaceOf(pod)}/${kind}/${name}`;
  const label = pod.metadata?.labels?.[revisionLabel] ?? '';
  const verdict = (kind: string, name: string, hash: string): 'ready' | 'not-ready' =>
    pass.isFailing(workloadOf(kind, name), hash) ? 'not-ready' : 'ready';
  switch (owner.kind) {
    case 'ReplicaSet': {
      const set = by(world.replicaSets);
      const deployment = set?.metadata?.ownerReferences?.find(({ kind }) => kind === 'Deployment');
      return verdict(
        deployment?.kind ?? owner.kind,
        deployment?.name ?? owner.name,
        templateHashOf(set?.spec?.template),
      );
    }
    case 'Job':
      if (pass.isComplete(`${namespaceOf(pod)}/${owner.name}`)) return 'succeeded';
      return verdict(owner.kind, owner.name, templateHashOf(by(world.jobs)?.spec?.template));
    case 'StatefulSet':
      return verdict(owner.kind, owner.name, label.slice(owner.name.length + 1));
    default:
      return verdict(owner.kind, owner.name, label);
  }
}

// --- Services and budgets ----------------------------------------------------------------------------------------------

const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
const sliceController = 'endpointslice-controller.k8s.io';

type SlicePort = NonNullable<EndpointSlice['ports']>[number];

async function reconcileService(pass: Pass, service: Service): Promise<void> {
  const selector = service.spec?.selector;
  if (service.spec?.type === 'ExternalName' || selector === undefined || Object.keys(selector).length === 0) return;
  const namespace = namespaceOf(service);
  const pods = pass.world.pods.filter(
    (pod) =>
      namespaceOf(pod) === namespace &&
      !isDeleting(pod) &&
      pod.status?.podIP !== undefined &&
      pod.status.phase === 'Running' &&
      matchesLabels(pod.metadata?.labels, selector),
  );
  // One slice for each way in which the pods resolve named ports.
  const groups = new Map<string, { ports: readonly SlicePort[]; pods: Pod[] }>();
  for (const pod of pods) {
    const ports = resolvePorts(service, pod);
    const key = stableJson(ports);
    const group = groups.get(key) ?? { ports, pods: [] };
    group.pods.push(pod);
    groups.set(key, group);
  }
  if (groups.size === 0) groups.set('', { ports: [], pods: [] });

  const headless = service.spec?.clusterIP === 'None';
  const existing = pass.world.endpointSlices.filter((slice) => controllerUidOf(slice) === uidOf(service));
  const kept = new Set<string>();
  for (const [key, group] of groups) {
    const name = `${nameOf(service).slice(0, 57)}-${hashOf([uidOf(service), key], 5)}`;
    kept.add(name);
    const body = { endpoints: group.pods.map((pod) => endpointOf(service, pod)).sort(byAddress), ports: group.ports };
    const before = existing.find((slice) => nameOf(slice) === name);
    if (before !== undefined) {
      if (!holds(before, body)) await pass.writer.patch(resources.endpointSlices, before, body);
      continue;
    }
    const slice = {
      ...header(resources.endpointSlices),
      metadata: {
        name,
        namespace,
        labels: {
          ...service.metadata?.labels,
          'kubernetes.io/service-name': nameOf(service),
          [managedByLabel]: sliceController,
          ...(headless ? { 'service.kubernetes.io/headless': '' } : {}),
        },
        ownerReferences: [ownerReferenceTo(service, resources.services)],
      },
      addressType: 'IPv4',
      ...body,
    };
    await pass.writer.create(resources.endpointSlices, slice);
  }
  for (const slice of existing) {
    if (!kept.has(nameOf(slice)) && slice.metadata?.labels?.[managedByLabel] === sliceController) {
      await pass.writer.remove(resources.endpointSlices, slice);
    }
  }
}

function byAddress(a: { addresses: readonly string[] }, b: { addresses: readonly string[] }): number {
  return (a.addresses[0] ?? '') < (b.addresses[0] ?? '') ? -1 : 1;
}

function endpointOf(service: Service, pod: Pod): { addresses: readonly string[]; [field: string]: unknown } {
  const ready = isReady(pod);
  return {
    addresses: [pod.status?.podIP ?? ''],
    conditions: { ready: ready || service.spec?.publishNotReadyAddresses === true, serving: ready, terminating: false },
    nodeName: pod.spec?.nodeName,
    targetRef: { kind: 'Pod', namespace: namespaceOf(pod), name: nameOf(pod), uid: uidOf(pod) },
    ...(pod.spec?.subdomain !== undefined && pod.spec.subdomain === nameOf(service)
      ? { hostname: pod.spec.hostname }
      : {}),
  };
}

function resolvePorts(service: Service, pod: Pod): readonly SlicePort[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const containers: readonly Container[] = [...(pod.spec?.containers ?? []), ...sidecars];
  return (service.spec?.ports ?? []).flatMap(({ name, port, protocol = 'TCP', targetPort = port, appProtocol }) => {
    const number =
      typeof targetPort === 'number'
        ? targetPort
        : containers
            .flatMap((container) => container.ports ?? [])
            .find((candidate) => candidate.name === targetPort && (candidate.protocol ?? 'TCP') === protocol)
            ?.containerPort;
    if (number === undefined) return [];
    return [{ name: name ?? '', port: number, protocol, ...(appProtocol === undefined ? {} : { appProtocol }) }];
  });
}

async function reconcileDisruptionBudget(pass: Pass, budget: World['disruptionBudgets'][number]): Promise<void> {
  const selector = budget.spec?.selector;
  const pods =
    selector === undefined
      ? []
      : pass.world.pods.filter(
          (pod) =>
            namespaceOf(pod) === namespaceOf(budget) &&
            !isDeleting(pod) &&
            matchesSelector(pod.metadata?.labels, selector),
        );
  const expected = pods.length;
  const healthy = pods.filter(isReady).length;
  const { minAvailable, maxUnavailable } = budget.spec ?? {};
  const desired =
    minAvailable !== undefined
      ? countOf(minAvailable, expected, Math.ceil)
      : Math.max(0, expected - countOf(maxUnavailable ?? 1, expected, Math.ceil));
  const allowed = Math.max(0, healthy - desired);
  const reason = allowed > 0 ? 'SufficientPods' : 'InsufficientPods';
  const condition = { type: 'DisruptionAllowed', status: allowed > 0 ? 'True' : 'False', reason, message: '' };
  await report(pass, resources.disruptionBudgets, budget, {
    observedGeneration: budget.metadata?.generation ?? 0,
    expectedPods: expected,
    currentHealthy: healthy,
    desiredHealthy: desired,
    disruptionsAllowed: allowed,
    conditions: stampConditions(budget.status?.conditions, [condition], pass.now()),
  });
}

// Deployments and ReplicaSets. A rollout that works is one step; one that fails stops at the surge, as the real one does.
import {
  controllerUidOf,
  isDeleting,
  nameOf,
  namespaceOf,
  ownerReferenceTo,
  resources,
  stableJson,
  stampConditions,
  uidOf,
  header,
} from '../objects.ts';
import type { Condition, Deployment, KubeObject, ReplicaSet, Resource } from '../objects.ts';
import { isReady } from '../pods.ts';
import {
  livePodsOf,
  createPodFor,
  freshNames,
  bareTemplate,
  templateHashOf,
  workloadId,
  countOf,
  report,
} from './owned-pods.ts';
import type { Pass } from '../world.ts';

const revisionAnnotation = 'deployment.kubernetes.io/revision';

function revisionOf(object: KubeObject): number {
  return Number(object.metadata?.annotations?.[revisionAnnotation] ?? 0);
}

export async function reconcileDeployment(pass: Pass, deployment: Deployment): Promise<void> {
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

export async function reconcileReplicaSet(pass: Pass, set: ReplicaSet): Promise<void> {
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

// StatefulSets and DaemonSets.
import { matchesLabels, nameOf, namespaceOf, resources, header } from '../objects.ts';
import type { DaemonSet, Pod, StatefulSet } from '../objects.ts';
import { isReady } from '../pods.ts';
import {
  livePodsOf,
  takenPodNames,
  createPodFor,
  freshNames,
  templateHashOf,
  report,
  revisionLabel,
} from './owned-pods.ts';
import type { Pass } from '../world.ts';

export async function reconcileStatefulSet(pass: Pass, set: StatefulSet): Promise<void> {
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

export async function reconcileDaemonSet(pass: Pass, set: DaemonSet): Promise<void> {
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

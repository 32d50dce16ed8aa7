// The scheduler and the kubelets: every pod runs at once, on a node, with an address.
import { controllerUidOf, holds, isDeleting, nameOf, namespaceOf, pathOf, resources, uidOf } from '../objects.ts';
import type { KubeObject, Pod } from '../objects.ts';
import { buildPodStatus, choosePodIp, internalIpOf } from '../pods.ts';
import { chooseNode, templateHashOf, revisionLabel } from './owned-pods.ts';
import type { Pass } from '../world.ts';

export async function playKubelet(pass: Pass, pod: Pod): Promise<void> {
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

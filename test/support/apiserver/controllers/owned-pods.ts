// What all controllers that own pods share: names, templates, creation, status reports.
import {
  digestOf,
  hashOf,
  holds,
  isDeleting,
  nameOf,
  namespaceOf,
  ownerReferenceTo,
  resources,
  uidOf,
} from '../objects.ts';
import type { KubeObject, Node, Pod, PodTemplate, Resource } from '../objects.ts';
import { buildPod, injectSidecar, isInjected } from '../pods.ts';
import type { Pass, World } from '../world.ts';

export function livePodsOf(world: World, owner: KubeObject): readonly Pod[] {
  return (world.podsByController.get(uidOf(owner)) ?? []).filter(
    (pod) => !isDeleting(pod) && pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed',
  );
}

export function takenPodNames(world: World, owner: KubeObject): Set<string> {
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

export async function createPodFor(pass: Pass, request: PodRequest): Promise<void> {
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

export function chooseNode(world: World, name: string): Node | undefined {
  return world.nodes[digestOf(name).readUInt32BE() % Math.max(1, world.nodes.length)];
}

/** Names that these controllers never gave before: a pod that was replaced is told from its successor. */
export function freshNames(pass: Pass, owner: KubeObject, count: number): readonly string[] {
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
export function bareTemplate(template: PodTemplate | undefined): PodTemplate {
  const labels = Object.entries(template?.metadata?.labels ?? {}).filter(([key]) => key !== 'pod-template-hash');
  return { ...template, metadata: { ...template?.metadata, labels: Object.fromEntries(labels) } };
}

/** The hash by which a template is known to isFailing. */
export function templateHashOf(template: PodTemplate | undefined): string {
  return hashOf(bareTemplate(template), 10);
}

export function workloadId(kind: string, object: KubeObject): string {
  return `${namespaceOf(object)}/${kind}/${nameOf(object)}`;
}

export function countOf(value: number | string | undefined, total: number, round: (value: number) => number): number {
  if (typeof value === 'number') return value;
  if (value?.endsWith('%') === true) return round((Number.parseInt(value, 10) * total) / 100);
  return Number(value ?? 0);
}

export async function report(
  pass: Pass,
  resource: Resource,
  object: KubeObject & { status?: unknown },
  status: object,
): Promise<void> {
  if (!holds(object.status, status)) await pass.writer.patchStatus(resource, object, status);
}

/** Where pods of a StatefulSet or DaemonSet carry the hash of their template. */
export const revisionLabel = 'controller-revision-hash';

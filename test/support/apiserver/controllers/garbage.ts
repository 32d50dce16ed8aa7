// The garbage collector: what goes when its owner goes, in the foreground, in the background, or not at all.
import { isDeleting, resources, uidOf } from '../objects.ts';
import type { KubeObject, Resource } from '../objects.ts';
import type { Pass } from '../world.ts';

export async function collectGarbage({ world, writer }: Pass): Promise<void> {
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

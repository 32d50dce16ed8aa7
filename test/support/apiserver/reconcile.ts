// One pass of the played controllers: what the controller manager, the scheduler and the kubelets of a cluster would do next.
import type { ApiClient } from './client.ts';
import { reconcileDeployment, reconcileReplicaSet } from './controllers/deployments.ts';
import { collectGarbage } from './controllers/garbage.ts';
import { reconcileJob, reconcileCronJob, reconcilePyTorchJob } from './controllers/jobs.ts';
import { playKubelet } from './controllers/kubelet.ts';
import { reconcileService, reconcileDisruptionBudget } from './controllers/services.ts';
import { reconcileStatefulSet, reconcileDaemonSet } from './controllers/sets.ts';
import { finalizeNamespace } from './namespaces.ts';
import { isDeleting, nameOf, namespaceOf, resources, header } from './objects.ts';
import type { KubeObject } from './objects.ts';
import { createWriter, readWorld } from './world.ts';
import type { Pass, Rules } from './world.ts';

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

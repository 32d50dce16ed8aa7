// Deleting a namespace the way the namespace controller does, which no cluster without controllers would finish.
import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient } from './client.ts';
import { isDeleting, nameOf, pathOf, resources } from './objects.ts';
import type { KubeObject, Namespace } from './objects.ts';

interface ResourceList {
  readonly resources: readonly {
    readonly name: string;
    readonly namespaced: boolean;
    readonly verbs: readonly string[];
  }[];
}

interface GroupList {
  readonly groups: readonly { readonly preferredVersion: { readonly groupVersion: string } }[];
}

// Finalizers of controllers that a cluster of only an API server does not have.
const playedFinalizers = new Set(['kubernetes.io/pvc-protection', 'foregroundDeletion', 'orphan']);

/** Deletes the namespace with all it holds and waits until it is gone; it is no error if there is none. */
export async function deleteNamespace(client: ApiClient, name: string): Promise<void> {
  const path = pathOf(resources.namespaces, undefined, name);
  const response = await client.request('DELETE', path);
  if (response.status >= 400 && response.status !== 404 && response.status !== 409) {
    throw new Error(`DELETE ${path}: ${response.status} ${response.text}`);
  }
  await finalizeNamespace(client, name);
}

/**
 * Empties a namespace that is being deleted and lifts its finalizer. Errors: an object that still has the finalizer of a
 * controller which nobody plays after ten seconds.
 */
export async function finalizeNamespace(client: ApiClient, name: string): Promise<void> {
  const path = pathOf(resources.namespaces, undefined, name);
  const response = await client.request('GET', path);
  if (response.status === 404) return;
  const namespace = response.body as Namespace;
  if (!isDeleting(namespace)) throw new Error(`namespace ${name} is not being deleted`);
  const collections = await readNamespacedCollections(client);
  const deadline = Date.now() + 10_000;
  for (;;) {
    const remaining = (await Promise.all(collections.map((make) => emptyCollection(client, make(name))))).flat();
    if (remaining.length === 0) break;
    if (Date.now() > deadline) throw new Error(`namespace ${name} cannot be deleted: ${remaining.join(', ')}`);
    await delay(20);
  }
  const finalized = await client.request('PUT', `${path}/finalize`, {
    ...namespace,
    spec: { ...namespace.spec, finalizers: [] },
  });
  // A conflict means that somebody else is finalizing it as well.
  if (finalized.status >= 400 && finalized.status !== 404 && finalized.status !== 409) {
    throw new Error(`PUT ${path}/finalize: ${finalized.status} ${finalized.text}`);
  }
  while ((await client.request('GET', path)).status !== 404) {
    if (Date.now() > deadline) throw new Error(`namespace ${name} is finalized but still there`);
    await delay(20);
  }
}

type CollectionPath = (namespace: string) => string;

async function readNamespacedCollections(client: ApiClient): Promise<readonly CollectionPath[]> {
  const { groups } = (await client.must('GET', '/apis')).body as GroupList;
  const roots = ['/api/v1', ...groups.map((group) => `/apis/${group.preferredVersion.groupVersion}`)];
  const lists = await Promise.all(
    roots.map(async (root) => {
      const list = (await client.must('GET', root)).body as ResourceList;
      return list.resources
        .filter(({ namespaced, verbs }) => namespaced && verbs.includes('deletecollection') && verbs.includes('list'))
        .map(
          ({ name }) =>
            (namespace: string) =>
              `${root}/namespaces/${namespace}/${name}`,
        );
    }),
  );
  return lists.flat();
}

/** Deletes what the collection holds; returns what is still there and why. */
async function emptyCollection(client: ApiClient, path: string): Promise<readonly string[]> {
  const { items } = (await client.must('GET', path)).body as { readonly items: readonly KubeObject[] };
  if (items.length === 0) return [];
  await client.must('DELETE', `${path}?gracePeriodSeconds=0&propagationPolicy=Background`);
  for (const item of items) {
    const finalizers = item.metadata?.finalizers ?? [];
    const others = finalizers.filter((finalizer) => !playedFinalizers.has(finalizer));
    if (others.length < finalizers.length) {
      await client.request('PATCH', `${path}/${nameOf(item)}`, { metadata: { finalizers: others } });
    }
  }
  return items.map((item) => `${path}/${nameOf(item)} (finalizers: ${item.metadata?.finalizers?.join(' ') ?? 'none'})`);
}

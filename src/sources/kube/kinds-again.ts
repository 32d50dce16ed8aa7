// Some kinds read anew: whole, or only what changed since they were read last.
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import type { JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject } from '../../shared/pure/json.ts';
import { sortBy } from '../../shared/pure/order.ts';
import type { KubeManifest } from '../../model/object.ts';
import { isObject, namespaceOf, objectKey, refKey, refOf } from '../../model/object.ts';
import { resourceName } from './discovery.ts';
import type { ApiProblem } from './problem.ts';
import { failureOf } from './problem.ts';
import { parseListItem } from './schema.ts';
import type { ListPlan, ReadSnapshotOptions, Reading } from './snapshot.ts';
import { emptyReading, keep, planLists, pool, readManifest, readPages, withPartialSpec } from './snapshot.ts';

/** Objects of one kind of `SNAPSHOT_GROUPS`, in some namespaces. */
export interface KindList {
  readonly group: string;
  readonly kind: string;
  readonly namespaces: readonly string[];
}

/** What was read of a cluster before. */
export interface KnownObjects {
  /** A snapshot was read: what is small is counted, what is large kept. */
  noteSnapshot(objects: readonly KubeManifest[]): void;
  /** An object as it was read or written, trimmed. */
  note(object: KubeManifest): void;
  find(key: string): KubeManifest | undefined;
  /** Are objects of the kind kept there, or anywhere? */
  keeps(group: string, kind: string, namespace: string | undefined): boolean;
  /** How many objects of a kind there were in these namespaces, and in all; undefined before the first snapshot. */
  count(
    group: string,
    kind: string,
    namespaces: readonly string[],
  ): { readonly inside: number; readonly all: number } | undefined;
}

/**
 * Kinds whose objects are large beside their metadata, and that kube-apiserver itself stores: there an object of the same uid and
 * resourceVersion is the same object ("resourceVersion ... can be used by clients to determine when objects have changed",
 * k8s.io/apimachinery meta/v1 ObjectMeta). Not so of custom kinds, whose definition may bring other defaults to what is stored already, and
 * of aggregated APIs, whose versions are their own affair.
 */
const KEPT_KINDS = new Set([
  'apps/Deployment',
  'apps/StatefulSet',
  'apps/DaemonSet',
  'apps/ReplicaSet',
  'batch/Job',
  'batch/CronJob',
  '/Pod',
]);

export function knownObjects(): KnownObjects {
  const kept = new Map<string, KubeManifest>();
  const places = new Set<string>();
  let counts: Map<string, Map<string, number>> | undefined;
  const kindOf = (object: KubeManifest): string => {
    const slash = object.apiVersion.indexOf('/');
    return `${slash < 0 ? '' : object.apiVersion.slice(0, slash)}/${object.kind}`;
  };
  const note = (object: KubeManifest): void => {
    const kind = kindOf(object);
    if (!KEPT_KINDS.has(kind) || object['spec'] === undefined) return;
    kept.set(objectKey(object), object);
    places.add(kind).add(`${kind} ${namespaceOf(object) ?? ''}`);
  };
  return {
    noteSnapshot: (objects) => {
      kept.clear();
      places.clear();
      counts = new Map();
      for (const object of objects) {
        const kind = kindOf(object);
        const of = counts.get(kind) ?? new Map<string, number>();
        counts.set(kind, of);
        const namespace = namespaceOf(object) ?? '';
        of.set(namespace, (of.get(namespace) ?? 0) + 1);
        // Pods are most of a cluster, and few of them are ever asked for again.
        if (kind !== '/Pod') note(object);
      }
    },
    note,
    find: (key) => kept.get(key),
    keeps: (group, kind, namespace) => places.has(`${group}/${kind}${namespace === undefined ? '' : ` ${namespace}`}`),
    count: (group, kind, namespaces) => {
      if (counts === undefined) return undefined;
      const of = counts.get(`${group}/${kind}`);
      const sum = (numbers: Iterable<number>): number => [...numbers].reduce((all, one) => all + one, 0);
      return { inside: sum(namespaces.map((one) => of?.get(one) ?? 0)), all: sum(of?.values() ?? []) };
    },
  };
}

/** Above this many namespaces a kind is read whole, by one list, unless that is known to be much more to read. */
const MOST_NAMESPACE_LISTS = 8;
const MOST_KNOWN_LISTS = 64;
/** A list costs about as much as so many objects on it. */
const LIST_WORTH = 50;
/** Objects that are read one by one where they changed; more are read by a list. */
const MOST_CHANGED = 20;

function isReadWhole({ group, kind, namespaces }: KindList, known: KnownObjects | undefined): boolean {
  if (namespaces.length <= MOST_NAMESPACE_LISTS) return false;
  const count = known?.count(group, kind, namespaces);
  if (count === undefined || namespaces.length > MOST_KNOWN_LISTS) return true;
  return count.all <= count.inside + LIST_WORTH * namespaces.length;
}

/**
 * Reads some kinds anew, in the versions in which a snapshot reads them: a list for each kind and namespace, page by page. Of large kinds
 * that are `known` only the metadata is listed, and what is of another version than before is read. A kind that is not served has no objects;
 * one that may not be listed, or whose API server does not say what it serves, is a Failure.
 */
export async function readKubeKinds(
  { api, discovery, concurrency }: Omit<ReadSnapshotOptions, 'onProgress'>,
  wanted: readonly KindList[],
  known?: KnownObjects,
): Promise<readonly KubeManifest[]> {
  const reading = emptyReading();
  const served = await planLists(discovery, reading);
  // Not known to be served is not the same as having no objects.
  const silent = wanted.find(({ group, kind }) =>
    [`${group}/${kind}`, `${group}/*`].some((one) => reading.unread.has(one)),
  );
  if (silent !== undefined)
    throw new Failure({
      code: 'SP440',
      exit: EXIT.cluster,
      message: `whether there are ${silent.kind} objects of ${silent.group} is not known: ${reading.findings[0]?.message ?? 'it could not be read'}`,
      hint: 'look at the API service: kubectl get apiservices',
      nature: 'passes',
    });
  const places = wanted.flatMap((one): readonly Place[] => {
    const list = served.find(({ resource }) => resource.group === one.group && resource.kind === one.kind);
    if (list === undefined) return [];
    const whole = !list.resource.namespaced || isReadWhole(one, known);
    return whole ? [{ list }] : one.namespaces.map((namespace) => ({ list, namespace }));
  });
  await pool(places, concurrency ?? 6, async (place) => {
    if (!(await readChanged({ api, discovery }, place, reading, known))) await readPlace(api, place, reading);
  });
  for (const object of reading.objects.values()) known?.note(object);
  return sortBy(reading.objects.values(), (object) => refKey(refOf(object)));
}

interface Place {
  readonly list: ListPlan;
  readonly namespace?: string;
}

async function readPlace(api: ReadSnapshotOptions['api'], place: Place, reading: Reading): Promise<void> {
  const { resource, spec } = place.list;
  for (const item of await itemsOf(api, place)) {
    const manifest = parseListItem(item, resource.apiVersion, resource.kind);
    if (manifest !== undefined) keep(reading, withPartialSpec(manifest, spec));
  }
}

async function itemsOf(api: ReadSnapshotOptions['api'], { list, namespace }: Place): Promise<readonly JsonObject[]> {
  const { resource } = list;
  const subject = {
    doing: `listing ${resource.kind} objects${namespace === undefined ? '' : ` of ${namespace}`}`,
    verb: 'list',
    resource: resourceName(resource),
    ...(namespace === undefined ? {} : { namespace }),
  };
  const pages = await readPages(api, list, subject, namespace);
  if (!Array.isArray(pages)) throw failureOf(pages as ApiProblem, subject, api);
  return pages as readonly JsonObject[];
}

/** By metadata, and what changed one by one; false, with nothing kept, where a list of it all is cheaper. */
async function readChanged(
  { api, discovery }: Omit<ReadSnapshotOptions, 'onProgress' | 'concurrency'>,
  place: Place,
  reading: Reading,
  known: KnownObjects | undefined,
): Promise<boolean> {
  const { resource, spec } = place.list;
  // Of ReplicaSets a list has metadata alone, and those that something owns need no more.
  const sets = resource.group === 'apps' && resource.kind === 'ReplicaSet';
  if (!sets && known?.keeps(resource.group, resource.kind, place.namespace) !== true) return false;
  const items = (await itemsOf(api, { ...place, list: { resource, spec: { ...spec, metadataOnly: true } } })).flatMap(
    (item) => parseListItem(item, resource.apiVersion, resource.kind) ?? [],
  );
  const same: KubeManifest[] = [];
  const changed: KubeManifest[] = [];
  for (const item of items) {
    const before = known?.find(objectKey(item));
    if (before !== undefined && isSame(before, item)) same.push(before);
    // An API server that knows no lists of metadata answers with whole objects.
    else if (item['spec'] !== undefined || (sets && isOwned(item))) same.push(item);
    else changed.push(item);
  }
  if (!sets && changed.length > MOST_CHANGED) return false;
  for (const object of same) keep(reading, object);
  for (const object of changed) {
    const now = await readManifest(api, discovery, refOf(object));
    if (now !== undefined) keep(reading, now);
  }
  return true;
}

/** Whole, of the same API version, and not written since. */
function isSame(before: KubeManifest, now: KubeManifest): boolean {
  const { uid, resourceVersion } = now.metadata;
  return (
    before.apiVersion === now.apiVersion &&
    before['spec'] !== undefined &&
    typeof uid === 'string' &&
    typeof resourceVersion === 'string' &&
    resourceVersion !== '' &&
    before.metadata['uid'] === uid &&
    before.metadata['resourceVersion'] === resourceVersion
  );
}

function isOwned(object: KubeManifest): boolean {
  return (
    isObject(object, 'apps', 'ReplicaSet') &&
    asArray(object.metadata['ownerReferences']).some((owner) => asObject(owner)['controller'] === true)
  );
}

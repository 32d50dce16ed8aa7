import type { Change, FieldChange } from '../plan/change.ts';
import type { Clock } from '../engine/contract.ts';
import type { GrantObject } from '../model/grant.ts';
import { expiredGrants, GRANT_LABEL, LENT_ANNOTATIONS, podsOfRole } from '../model/grant.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef } from '../model/object.ts';
import { isFailure } from '../shared/pure/errors.ts';
import { asObject, getPath } from '../shared/pure/json.ts';
import type { KubeApi, KubeOptions } from '../sources/kube/index.ts';
import {
  collectionPath,
  connectKube,
  failureOf,
  GRANT_WRITES,
  openDiscovery,
  parseListItem,
  parseListPage,
  resourceName,
} from '../sources/kube/index.ts';
import { clusterTargetOf } from './cluster.ts';

/** What became of one object whose grant was over. */
export interface EndedObject {
  readonly grant: string;
  readonly object: string;
  readonly namespace?: string;
  /** `deleted`, `given back`, or `failed: why`. */
  readonly outcome: string;
  /** Pods, `namespace/name`, in which sessions may go on though the right is gone. Whether they are there still is not asked. */
  readonly sessions?: readonly string[];
}

export interface EndOptions extends KubeOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The moment, ms since the epoch; without it the API server's own clock. */
  readonly now?: number;
}

/**
 * Ends what is over by what the objects themselves say, without any record: made objects are deleted at the version that was read, lent ones
 * get back their mode of mTLS. No Lease is taken: a write carries uid and version, and what is over is over whoever else is at work. Kinds
 * that the cluster does not serve are passed over. Errors: exit 4 where a list is refused; an object that cannot be ended is in the answer.
 */
export async function endInCluster(options: EndOptions): Promise<readonly EndedObject[]> {
  const api = await connectKube(options);
  try {
    const listed = await listGranted(api);
    const now = options.now ?? listed.serverTime ?? options.clock.now();
    const over = expiredGrants(listed.objects, now);
    if (over.length === 0) return [];
    const target = await clusterTargetOf(api, { clock: options.clock });
    const ended: EndedObject[] = [];
    for (const one of over) {
      const { namespace } = one.ref;
      const named = { grant: one.id, object: formatRef(one.ref), ...(namespace === undefined ? {} : { namespace }) };
      try {
        await target.apply(endOf(one));
        const sessions = podsOfRole(one.object);
        ended.push({
          ...named,
          outcome: one.gives.kind === 'delete' ? 'deleted' : 'given back',
          ...(sessions.length === 0 ? {} : { sessions }),
        });
      } catch (error) {
        // Each for itself: one that somebody else holds on to keeps no other open.
        if (!isFailure(error)) throw error;
        ended.push({ ...named, outcome: `failed: ${error.message}` });
      }
    }
    return ended;
  } finally {
    api.close();
  }
}

/** Keys of a map taken away, and the map with them where nothing else is in it. */
function without(object: KubeManifest, map: 'annotations' | 'labels', keys: readonly string[]): readonly FieldChange[] {
  const before = asObject(object.metadata[map]);
  const gone = Object.keys(before).filter((key) => keys.includes(key));
  if (gone.length > 0 && gone.length === Object.keys(before).length)
    return [{ path: ['metadata', map], before, after: undefined }];
  return gone.map((key) => ({ path: ['metadata', map, key], before: before[key], after: undefined }));
}

/** The write that ends a grant's object. */
export function endOf({ object, ref, gives }: GrantObject): Change {
  const uid = object.metadata['uid'];
  const same = typeof uid === 'string' ? { uid } : {};
  if (gives.kind === 'delete') return { kind: 'delete', ref, ...same, before: object };
  const fields = [
    { path: ['spec', 'mtls', 'mode'], before: getPath(object, ['spec', 'mtls', 'mode']), after: gives.mtls },
    ...without(object, 'annotations', LENT_ANNOTATIONS),
    ...without(object, 'labels', [GRANT_LABEL]),
  ];
  return { kind: 'edit', ref, ...same, fields, owner: 'other' };
}

async function listGranted(
  api: KubeApi,
): Promise<{ readonly objects: readonly KubeManifest[]; readonly serverTime?: number }> {
  const discovery = openDiscovery(api);
  const objects: KubeManifest[] = [];
  let serverTime: number | undefined;
  for (const { apiVersion, kind } of GRANT_WRITES) {
    const resource = await discovery.find(apiVersion, kind);
    if (resource === undefined) continue;
    const subject = { doing: `listing ${kind} objects of grants`, verb: 'list', resource: resourceName(resource) };
    for (let next: string | undefined = ''; next !== undefined;) {
      const answer = await api.send({
        method: 'GET',
        path: collectionPath(resource),
        query: { labelSelector: GRANT_LABEL, limit: '500', ...(next === '' ? {} : { continue: next }) },
        subject,
      });
      if (!answer.ok) throw failureOf(answer.problem, subject, api);
      serverTime = answer.serverTime ?? serverTime;
      const page = parseListPage(answer.body);
      for (const item of page?.items ?? []) {
        const object = parseListItem(item, apiVersion, kind);
        if (object !== undefined) objects.push(object);
      }
      next = page?.next === undefined || page.next === '' ? undefined : page.next;
    }
  }
  return { objects, ...(serverTime === undefined ? {} : { serverTime }) };
}

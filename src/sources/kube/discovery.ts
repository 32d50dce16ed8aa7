import { EXIT, Failure } from '../../shared/pure/errors.ts';
import type { ObjectRef } from '../../model/object.ts';
import { formatRef, groupOf } from '../../model/object.ts';
import { safeText } from '../../shared/pure/text.ts';
import type { KubeApi } from './connect.ts';
import { failureOf } from './problem.ts';
import type { ApiResource } from './schema.ts';
import { parseGroupList, parseResourceList } from './schema.ts';

/** What an API server serves, asked once per version and kept. */
export interface Discovery {
  /** Group -> its apiVersions, the preferred one first; the core group is the empty text. */
  groups(): Promise<ReadonlyMap<string, readonly string[]>>;
  /** Resources of one apiVersion; none if it is not served. */
  resources(apiVersion: string): Promise<readonly ApiResource[]>;
  /** The resource of a kind; undefined if it is not installed, which is asked anew each time. */
  find(apiVersion: string, kind: string): Promise<ApiResource | undefined>;
}

export function openDiscovery(api: KubeApi): Discovery {
  let groups: ReadonlyMap<string, readonly string[]> | undefined;
  const known = new Map<string, readonly ApiResource[]>();
  const resources = async (apiVersion: string): Promise<readonly ApiResource[]> => {
    const kept = known.get(apiVersion);
    if (kept !== undefined) return kept;
    const subject = { doing: `asking what ${apiVersion} serves`, verb: 'get', resource: '' };
    const answer = await api.send({ method: 'GET', path: rootOf(apiVersion), subject });
    if (!answer.ok) {
      if (answer.problem.kind === 'refused' && answer.problem.status === 404) return [];
      throw failureOf(answer.problem, subject, api);
    }
    const found = parseResourceList(answer.body, apiVersion);
    known.set(apiVersion, found);
    return found;
  };
  return {
    groups: async () => {
      if (groups !== undefined) return groups;
      const subject = { doing: 'asking what the API server serves', verb: 'get', resource: '' };
      const body = await api.must({ method: 'GET', path: '/apis', subject });
      groups = new Map([['', ['v1']], ...parseGroupList(body)]);
      return groups;
    },
    resources,
    find: async (apiVersion, kind) => {
      const found = (await resources(apiVersion)).find((resource) => resource.kind === kind);
      if (found !== undefined) return found;
      known.delete(apiVersion);
      return (await resources(apiVersion)).find((resource) => resource.kind === kind);
    },
  };
}

function rootOf(apiVersion: string): string {
  return groupOf(apiVersion) === ''
    ? `/api/${segment(apiVersion)}`
    : `/apis/${apiVersion.split('/').map(segment).join('/')}`;
}

/** The path of a collection; all namespaces without one. */
export function collectionPath(resource: ApiResource, namespace?: string): string {
  const within = resource.namespaced && namespace !== undefined ? `/namespaces/${segment(namespace)}` : '';
  return `${rootOf(resource.apiVersion)}${within}/${segment(resource.plural)}`;
}

/** The path of one object. Errors: SP276 for a name that no object can have, or a namespace too many or too few. */
export function objectPath(resource: ApiResource, ref: ObjectRef): string {
  if (resource.namespaced !== (ref.namespace !== undefined)) {
    throw new Failure({
      code: 'SP276',
      exit: EXIT.usage,
      message: `${safeText(formatRef(ref))}: objects of this kind ${resource.namespaced ? 'stand in a namespace, and none is given' : 'stand in no namespace'}`,
    });
  }
  return `${collectionPath(resource, ref.namespace)}/${segment(ref.name)}`;
}

/** `networkpolicies.networking.k8s.io`, as rights are written. */
export function resourceName(resource: ApiResource): string {
  return resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
}

/** Names come from clusters and files: one must not lead to another path. The rule is that of the API server's own paths. */
function segment(name: string): string {
  if (name === '' || name === '.' || name === '..' || /[/%]/u.test(name)) {
    throw new Failure({
      code: 'SP276',
      exit: EXIT.usage,
      message: `"${safeText(name).slice(0, 100)}" cannot be the name of an object`,
    });
  }
  return encodeURIComponent(name);
}

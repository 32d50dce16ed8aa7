// Every object of the scenario's namespaces, for a comparison of the start with the end.
import type { ApiClient } from '../support/apiserver/client.ts';

interface Kind {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly controller?: boolean }[];
    readonly finalizers?: readonly string[];
  };
  readonly [field: string]: unknown;
}

/**
 * What may differ after the way back: objects and fields that controllers write, with who writes them. Everything else must be as it was.
 */
export const ALLOWANCE = {
  /** Made by controllers from what a person wrote, or records of events. */
  kinds: ['Pod', 'ReplicaSet', 'EndpointSlice', 'Endpoints', 'Event', 'ControllerRevision', 'ReplicationController'],
  /** The Deployment controller counts rollouts. */
  annotations: ['deployment.kubernetes.io/revision'],
} as const;

export type Objects = Readonly<Partial<Record<string, unknown>>>;

async function kindsOf(client: ApiClient): Promise<readonly (Kind & { readonly root: string })[]> {
  const { groups } = (await client.must('GET', '/apis')).body as {
    groups: readonly { readonly preferredVersion: { readonly groupVersion: string } }[];
  };
  const roots = ['/api/v1', ...groups.map((group) => `/apis/${group.preferredVersion.groupVersion}`)];
  const lists = await Promise.all(
    roots.map(async (root) => {
      const { resources } = (await client.must('GET', root)).body as { resources: readonly Kind[] };
      return resources
        .filter((one) => one.verbs.includes('list') && !one.name.includes('/'))
        .map((one) => ({ ...one, root }));
    }),
  );
  return lists.flat();
}

async function list(client: ApiClient, path: string): Promise<readonly KubeObject[]> {
  return ((await client.must('GET', path)).body as { items: readonly KubeObject[] }).items;
}

/**
 * The namespaced objects of these namespaces, the Namespaces themselves and cluster roles with their bindings; `Secret`s by name alone. Keys
 * are `Kind/namespace/name`; values hold everything but status, server-side metadata and the allowance.
 */
export async function readObjects(client: ApiClient, namespaces: readonly string[]): Promise<Objects> {
  const all: Record<string, unknown> = {};
  const keep = (kind: string, object: KubeObject): void => {
    const { metadata, ...rest } = object;
    // What a controller makes of another object goes with that one.
    if (metadata.ownerReferences?.some((owner) => owner.controller === true) === true) return;
    const allowed: readonly string[] = ALLOWANCE.annotations;
    const annotations = Object.entries(metadata.annotations ?? {}).filter(([key]) => !allowed.includes(key));
    const fields: Record<string, unknown> = { ...rest };
    delete fields['status'];
    if (kind === 'Secret') delete fields['data'];
    all[`${kind}/${metadata.namespace ?? ''}/${metadata.name}`] = {
      ...fields,
      labels: metadata.labels ?? {},
      annotations: Object.fromEntries(annotations),
      finalizers: metadata.finalizers ?? [],
    };
  };
  const skipped: readonly string[] = ALLOWANCE.kinds;
  for (const { root, name, kind, namespaced } of await kindsOf(client)) {
    if (skipped.includes(kind)) continue;
    if (namespaced) {
      const wanted = new Set(namespaces);
      for (const object of await list(client, `${root}/${name}`))
        if (wanted.has(object.metadata.namespace ?? '')) keep(kind, object);
    } else if (['ClusterRole', 'ClusterRoleBinding'].includes(kind)) {
      for (const object of await list(client, `${root}/${name}`)) keep(kind, object);
    } else if (kind === 'Namespace') {
      for (const object of await list(client, `${root}/${name}`))
        if (namespaces.includes(object.metadata.name)) keep(kind, object);
    }
  }
  return all;
}

const show = (value: unknown): string => (value === undefined ? '(absent)' : JSON.stringify(value));

/** Every leaf that is not the same, as `object path: before -> after`. */
export function differences(before: Objects, after: Objects): readonly string[] {
  const out: string[] = [];
  const visit = (at: string, one: unknown, other: unknown): void => {
    if (Object.is(one, other) || out.length > 500) return;
    const both = [one, other].every((value) => typeof value === 'object' && value !== null);
    if (!both || Array.isArray(one) !== Array.isArray(other)) {
      out.push(`${at}: ${show(one)} -> ${show(other)}`);
      return;
    }
    const [left, right] = [one as Partial<Record<string, unknown>>, other as Partial<Record<string, unknown>>];
    for (const key of new Set([...Object.keys(left), ...Object.keys(right)]))
      visit(`${at}.${key}`, left[key], right[key]);
  };
  for (const key of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort())
    if (before[key] === undefined) out.push(`${key}: is there, and was not`);
    else if (after[key] === undefined) out.push(`${key}: is gone`);
    else visit(key, before[key], after[key]);
  return out;
}

/** All objects of the namespaces as a v1 List, for a fixture; Secrets left out, managedFields and status too. */
export async function exportObjects(client: ApiClient, namespaces: readonly string[]): Promise<object> {
  const wanted = new Set(namespaces);
  const items: object[] = [];
  for (const { root, name, kind, namespaced } of await kindsOf(client)) {
    if (['Secret', 'Event', 'Lease'].includes(kind)) continue;
    if (!namespaced && !['Namespace', 'Node'].includes(kind)) continue;
    for (const object of await list(client, `${root}/${name}`)) {
      const place = namespaced ? object.metadata.namespace : object.metadata.name;
      if (kind !== 'Node' && !wanted.has(place ?? '')) continue;
      const metadata: Record<string, unknown> = { ...object.metadata };
      delete metadata['managedFields'];
      items.push({ apiVersion: root.replace(/^\/apis?\//, ''), kind, ...object, metadata });
    }
  }
  return { apiVersion: 'v1', kind: 'List', items };
}

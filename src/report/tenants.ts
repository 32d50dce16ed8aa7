import type { Config } from '../model/config.ts';
import type { Inventory, NamespaceInfo } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject } from '../model/object.ts';
import { asString, getPath } from '../shared/pure/json.ts';
import { compareText, groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Tenant } from './model.ts';

/** Labels by which platforms say whose a namespace is, the surest first. */
const TENANT_LABELS = [
  'capsule.clastix.io/tenant',
  'tenant',
  'hnc.x-k8s.io/included-namespace-tenant',
  'team',
  'app.kubernetes.io/part-of-tenant',
  'owner',
];

export interface Tenancy {
  readonly tenants: readonly Tenant[];
  /** Namespace -> tenant. */
  readonly of: ReadonlyMap<string, string>;
  readonly unassigned: readonly string[];
  /** Platform namespaces that serve every tenant. */
  readonly shared: readonly string[];
  readonly because: string;
}

interface Found {
  readonly tenant: string;
  readonly basis: Tenant['basis'];
  readonly because: string;
}

/** A stage of which the workloads of several tenants make use. */
const SHARED_PLANES = new Set(['platform', 'monitoring']);

/**
 * Whose a namespace is: what a person declared, else a Kubeflow Profile of that name, else a label of the namespace, else one label that
 * all of its workloads carry. Nothing is made of names. A namespace of the platform and of monitoring is shared.
 */
export function findTenants(inventory: Inventory, objects: readonly KubeManifest[], config: Config): Tenancy {
  const profiles = new Map(
    objects
      .filter((object) => isObject(object, 'kubeflow.org', 'Profile'))
      .map((profile) => [profile.metadata.name, asString(getPath(profile, ['spec', 'owner', 'name']))]),
  );
  const byNamespace = groupBy(inventory.workloads, (workload) => workload.namespace);
  const found = new Map<string, Found>();
  for (const namespace of inventory.namespaces) {
    const one =
      declared(namespace, config) ??
      (profiles.has(namespace.name)
        ? { tenant: namespace.name, basis: 'computed' as const, because: `Kubeflow Profile ${namespace.name}` }
        : undefined) ??
      labelled(namespace) ??
      ofWorkloads(byNamespace.get(namespace.name)?.map((workload) => workload.podSets.map((set) => set.labels)) ?? []);
    if (one !== undefined) found.set(namespace.name, one);
  }
  const names = inventory.namespaces.map((one) => one.name).filter((name) => byNamespace.has(name));
  const rest = names.filter((name) => !found.has(name));
  const isShared = (name: string): boolean =>
    inventory.namespaces.find((one) => one.name === name)?.system !== undefined ||
    (byNamespace.get(name) ?? []).every(({ classification }) =>
      classification.plane.split('|').every((plane) => SHARED_PLANES.has(plane)),
    );
  const tenants = sortBy(
    groupBy(found.entries(), ([, one]) => one.tenant),
    ([name]) => name,
  ).map(([name, members]): Tenant => ({
    name,
    namespaces: members.map(([namespace]) => namespace).sort(compareText),
    workloads: members.reduce((sum, [namespace]) => sum + (byNamespace.get(namespace)?.length ?? 0), 0),
    basis: members.some(([, one]) => one.basis === 'declared') ? 'declared' : 'computed',
    because: uniqueSorted(members.map(([namespace, one]) => `${namespace}: ${one.because}`)),
  }));
  return {
    tenants,
    of: new Map([...found].map(([namespace, one]) => [namespace, one.tenant])),
    unassigned: rest.filter((name) => !isShared(name)).sort(compareText),
    shared: rest.filter(isShared).sort(compareText),
    because:
      tenants.length === 0
        ? 'no tenant is declared in the configuration, and no Profile or label says whose a namespace is'
        : 'declared in the configuration, else a Kubeflow Profile, else a label of the namespace or of all its workloads',
  };
}

function declared({ name, labels }: NamespaceInfo, config: Config): Found | undefined {
  for (const tenant of config.tenants ?? []) {
    const named = tenant.namespaces?.includes(name) === true;
    const entries = Object.entries(tenant.labels ?? {});
    const byLabel = entries.length > 0 && entries.every(([key, value]) => labels[key] === value);
    if (named || byLabel) return { tenant: tenant.name, basis: 'declared', because: 'declared in the configuration' };
  }
  return undefined;
}

function labelled({ labels }: NamespaceInfo): Found | undefined {
  for (const key of TENANT_LABELS) {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    if (value !== undefined && value !== '')
      return { tenant: value, basis: 'computed', because: `label ${key}: ${value} of the namespace` };
  }
  return undefined;
}

function ofWorkloads(sets: readonly (readonly Readonly<Record<string, string>>[])[]): Found | undefined {
  const all = sets.flat();
  if (all.length === 0) return undefined;
  for (const key of TENANT_LABELS) {
    const values = new Set(all.map((labels) => (Object.hasOwn(labels, key) ? labels[key] : undefined)));
    const [only] = values;
    if (values.size === 1 && only !== undefined && only !== '')
      return { tenant: only, basis: 'computed', because: `label ${key}: ${only} of every workload in it` };
  }
  return undefined;
}

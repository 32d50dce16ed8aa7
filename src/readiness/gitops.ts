import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { formatRef, groupOf, isObject } from '../model/object.ts';
import type { Manager } from '../model/inventory.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import type { FieldPath, JsonObject } from '../shared/pure/json.ts';

/** An object of Argo CD or Flux that says what it manages and how. */
export interface Deployer {
  readonly kind: 'argo-cd' | 'flux';
  /** `Application argocd/shop`. */
  readonly object: string;
  readonly name: string;
  /** How soon an edit is taken back, in words. */
  readonly manner: string;
}

/** Group, kind, namespace and name: what the lists of both have; versions differ. */
function key(group: string, kind: string, namespace: string, name: string): string {
  return [group, kind, namespace, name].join('\n');
}

/** Of what a deployer lists: see `readDeployers`. */
export function keyOfRef(ref: ObjectRef): string {
  return key(groupOf(ref.apiVersion), ref.kind, ref.namespace ?? '', ref.name);
}

/**
 * What Argo CD's Applications (`status.resources`) and Flux's Kustomizations (`status.inventory`) list as theirs. Sources:
 * https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml and
 * https://fluxcd.io/flux/components/kustomize/kustomizations/#inventory (ids are `namespace_name_group_kind`).
 */
export function readDeployers(objects: readonly KubeManifest[]): ReadonlyMap<string, Deployer> {
  const listed = new Map<string, Deployer>();
  for (const object of objects) {
    if (isObject(object, 'argoproj.io', 'Application')) {
      const deployer = argoApplication(object);
      for (const entry of asArray(asObject(object['status'])['resources'])) {
        const { group, kind, namespace, name } = asObject(entry);
        if (typeof kind === 'string' && typeof name === 'string')
          listed.set(key(asString(group) ?? '', kind, asString(namespace) ?? '', name), deployer);
      }
    } else if (isObject(object, 'kustomize.toolkit.fluxcd.io', 'Kustomization')) {
      const deployer = fluxKustomization(object);
      for (const entry of asArray(asObject(asObject(object['status'])['inventory'])['entries'])) {
        // Names hold no underscore; those of RBAC, which may hold colons, have them as two underscores.
        const parts = (asString(asObject(entry)['id']) ?? '').replaceAll('__', ':').split('_');
        const [namespace, name, group, kind] = parts;
        if (parts.length === 4 && kind !== undefined && name !== undefined)
          listed.set(key(group ?? '', kind, namespace ?? '', name), deployer);
      }
    }
  }
  return listed;
}

function nameOf(object: KubeManifest): string {
  const { namespace, name } = object.metadata;
  return formatRef({
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    ...(typeof namespace === 'string' ? { namespace } : {}),
  });
}

function argoApplication(object: KubeManifest): Deployer {
  const policy = asObject(asObject(object['spec'])['syncPolicy']);
  const automated = policy['automated'];
  const options = asArray(policy['syncOptions']).flatMap((one) => asString(one) ?? []);
  const { selfHeal, enabled } = asObject(automated);
  const auto = automated !== undefined && automated !== null && enabled !== false;
  const manner = !auto
    ? 'it syncs by hand: the next sync takes it back'
    : selfHeal === true
      ? 'selfHeal is on: an edit is taken back within seconds'
      : 'it syncs by itself, and heals nothing in between: the next commit takes an edit back';
  const replaces = options.includes('Replace=true') ? '; Replace=true puts whole objects back' : '';
  return { kind: 'argo-cd', object: nameOf(object), name: object.metadata.name, manner: `${manner}${replaces}` };
}

function fluxKustomization(object: KubeManifest): Deployer {
  const { suspend, interval } = asObject(object['spec']);
  return {
    kind: 'flux',
    object: nameOf(object),
    name: object.metadata.name,
    manner:
      suspend === true
        ? 'it is suspended: an edit is taken back when it is resumed'
        : `an edit of a field that Git declares is taken back at its next reconciliation (interval ${asString(interval) ?? 'not given'})`,
  };
}

/** Field managers under which the deployers write, by kind. */
const FIELD_MANAGERS: Readonly<Record<Manager['kind'], RegExp>> = {
  'argo-cd': /^argocd-(?:application-)?controller$/i,
  flux: /^(?:kustomize|helm)-controller$/i,
  helm: /^helm$/i,
  operator: /./,
  other: /^(?:configsync|fleet-?agent|kapp-controller|pulumi|terraform)/i,
};

/**
 * Who of the managers' entries of an object (`metadata.managedFields`) owns a field: the deployer's own name, undefined where it does not,
 * and `unknown` where the object does not say. Rule: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
export function ownerOfField(
  object: KubeManifest,
  path: FieldPath,
  kind: Manager['kind'],
): { readonly manager: string } | 'nobody' | 'unknown' {
  const entries = asArray(object.metadata['managedFields']).map((entry) => asObject(entry));
  if (!entries.some((entry) => entry['fieldsV1'] !== undefined)) return 'unknown';
  const found = entries.find((entry) => {
    const manager = asString(entry['manager']) ?? '';
    // kubectl and Sallyport itself are no deployers.
    return (
      FIELD_MANAGERS[kind].test(manager) &&
      !/^(?:sallyport|kubectl|kube-)/.test(manager) &&
      holdsField(asObject(entry['fieldsV1']), path)
    );
  });
  return found === undefined ? 'nobody' : { manager: asString(found['manager']) ?? '' };
}

function holdsField(fields: JsonObject, path: FieldPath): boolean {
  let at = fields;
  for (const part of path) {
    const next = at[`f:${part}`];
    if (next === undefined) return false;
    at = asObject(next);
  }
  return true;
}

/** RFC 6901. */
function pointer(path: FieldPath): string {
  return path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** What to do so that a deployer leaves an edit alone, in its own words. */
export function adviceOf(manager: Manager, ref: ObjectRef, paths: readonly FieldPath[]): string {
  const pointers = paths.map((path) => pointer(path)).join(', ');
  const group = groupOf(ref.apiVersion);
  switch (manager.kind) {
    case 'argo-cd':
      return `commit it to Git; or give the Application ${manager.name} spec.ignoreDifferences [{${group === '' ? '' : `group: ${group}, `}kind: ${ref.kind}, name: ${ref.name}${ref.namespace === undefined ? '' : `, namespace: ${ref.namespace}`}, jsonPointers: [${pointers}]}] and syncPolicy.syncOptions [RespectIgnoreDifferences=true]`;
    case 'flux':
      return manager.because.includes('helm')
        ? `put it into the values of HelmRelease ${manager.name}; or, where spec.driftDetection is on, add ignore [{paths: [${pointers}], target: {kind: ${ref.kind}, name: ${ref.name}}}]`
        : `commit it to Git; for a field that Git does not declare, annotate the object in Git with kustomize.toolkit.fluxcd.io/ssa: Merge; for one that it does, flux suspend kustomization ${manager.name} (IfNotPresent would leave the whole object alone)`;
    case 'helm':
      return `put it into the values or the chart of release ${manager.name}: the next helm upgrade writes what the chart declares`;
    case 'operator':
      return `change it in ${manager.name}, from which it is written`;
    case 'other':
      if (manager.name === 'Config Sync')
        return 'commit it to the source of truth; or annotate the object there with client.lifecycle.config.k8s.io/mutation: ignore';
      if (manager.name.startsWith('Fleet'))
        return `commit it to the repository of the bundle; with correctDrift on, name ${pointers} under diff.comparePatches in fleet.yaml`;
      return `put it into the source that ${manager.name} applies`;
  }
}

import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asBoolean, asObject, asString } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { Labels, Snapshot } from '../model/inventory.ts';
import type { KubeManifest, ObjectRef } from '../model/object.ts';
import { isKindName, isObjectName } from '../model/names.ts';
import { annotationsOf, groupOf, labelsOf, namespaceOf, objectKey } from '../model/object.ts';
import { memoByObject } from './memo.ts';

/** Texts by which an object is looked up, made once: one table for both, because snapshots are large. */
export const identityOf: (manifest: KubeManifest) => { readonly key: string; readonly kind: string } = memoByObject(
  (manifest) => ({ key: objectKey(manifest), kind: `${groupOf(manifest.apiVersion)}/${manifest.kind}` }),
);
/** Labels of an object's own metadata, made once. */
export const metaLabels: (manifest: KubeManifest) => Labels = memoByObject(labelsOf);
/** Annotations of an object's own metadata, made once. */
export const metaAnnotations: (manifest: KubeManifest) => Labels = memoByObject(annotationsOf);

/** The objects of a snapshot by key and by kind. */
export interface ObjectIndex {
  readonly snapshot: Snapshot;
  readonly byKey: ReadonlyMap<string, KubeManifest>;
  readonly byKind: ReadonlyMap<string, readonly KubeManifest[]>;
}

export function buildIndex(snapshot: Snapshot): ObjectIndex {
  const byKey = new Map<string, KubeManifest>();
  const byKind = new Map<string, KubeManifest[]>();
  for (const manifest of snapshot.objects) {
    const { key, kind } = identityOf(manifest);
    byKey.set(key, manifest);
    const list = byKind.get(kind);
    if (list === undefined) byKind.set(kind, [manifest]);
    else list.push(manifest);
  }
  return { snapshot, byKey, byKind };
}

/** Objects of one kind in snapshot order. */
export function objectsOf(index: ObjectIndex, group: string, kind: string): readonly KubeManifest[] {
  return index.byKind.get(`${group}/${kind}`) ?? [];
}

export function findObject(
  index: ObjectIndex,
  group: string,
  kind: string,
  namespace: string | undefined,
  name: string,
): KubeManifest | undefined {
  return index.byKey.get(`${group}/${kind}/${namespace ?? ''}/${name}`);
}

/** True when objects of this kind were read: their absence means that there are none. */
export function wasRead(index: ObjectIndex, group: string, kind: string): boolean {
  return index.snapshot.source === 'cluster' && !index.snapshot.unread.includes(`${group}/${kind}`);
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly controller: boolean;
}

/** The owners that an object names, in its order. */
export function ownersOf(manifest: KubeManifest): readonly OwnerReference[] {
  return asArray(manifest.metadata['ownerReferences']).flatMap((item) => {
    const owner = asObject(item);
    const apiVersion = asString(owner['apiVersion']);
    const kind = asString(owner['kind']);
    const name = asString(owner['name']);
    if (apiVersion === undefined || kind === undefined || name === undefined) return [];
    // The API server takes any text here, from whoever may create a pod.
    if (!isKindName(kind) || !isObjectName(name)) return [];
    return [{ apiVersion, kind, name, controller: asBoolean(owner['controller']) === true }];
  });
}

/** A reference to an object that may not have been read. */
export function ownerRef(owner: OwnerReference, namespace: string): ObjectRef {
  return { apiVersion: owner.apiVersion, kind: owner.kind, namespace, name: owner.name };
}

/** Namespaces that objects stand in or declare, sorted. */
export function namesOfNamespaces(index: ObjectIndex): readonly string[] {
  const names = new Set<string>();
  for (const manifest of index.snapshot.objects) {
    const namespace = manifest.kind === 'Namespace' ? manifest.metadata.name : namespaceOf(manifest);
    if (namespace !== undefined) names.add(namespace);
  }
  return uniqueSorted(names);
}

/** A Kubernetes label selector (`matchLabels`, `matchExpressions`). An unknown operator matches nothing. */
export function matchesSelector(selector: JsonObject, labels: Labels): boolean {
  for (const [key, value] of Object.entries(asObject(selector['matchLabels']))) if (labels[key] !== value) return false;
  return asArray(selector['matchExpressions']).every((item) => matchesExpression(asObject(item), labels));
}

function matchesExpression(expression: JsonObject, labels: Labels): boolean {
  const key = asString(expression['key']) ?? '';
  const values: readonly Json[] = asArray(expression['values']);
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (expression['operator']) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    default:
      return false;
  }
}

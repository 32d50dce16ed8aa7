import type { JsonObject } from '../shared/pure/json.ts';
import { asStringMap, isJsonObject } from '../shared/pure/json.ts';

/** Names one object. Group and kind identify it; the version says how it was read. */
export interface ObjectRef {
  readonly apiVersion: string;
  readonly kind: string;
  /** Absent for cluster-scoped objects. */
  readonly namespace?: string;
  readonly name: string;
}

/** A raw Kubernetes object. `metadata.name` is known to be there; everything else is looked up with care. */
export interface KubeManifest extends JsonObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: JsonObject & { readonly name: string };
}

export function isKubeManifest(value: unknown): value is KubeManifest {
  const object = value as JsonObject | null | undefined;
  if (typeof object !== 'object' || object === null || Array.isArray(object)) return false;
  const metadata = object['metadata'];
  return (
    typeof object['apiVersion'] === 'string' &&
    typeof object['kind'] === 'string' &&
    isJsonObject(metadata) &&
    typeof metadata['name'] === 'string'
  );
}

/** The API group of an apiVersion; the core group is the empty text. */
export function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}

export function refOf(manifest: KubeManifest): ObjectRef {
  const namespace = namespaceOf(manifest);
  return {
    apiVersion: manifest.apiVersion,
    kind: manifest.kind,
    ...(namespace === undefined ? {} : { namespace }),
    name: manifest.metadata.name,
  };
}

export function namespaceOf(manifest: KubeManifest): string | undefined {
  const namespace = manifest.metadata['namespace'];
  return typeof namespace === 'string' && namespace !== '' ? namespace : undefined;
}

/** Identity without the version: `group/Kind/namespace/name`. */
export function refKey(ref: ObjectRef): string {
  return `${groupOf(ref.apiVersion)}/${ref.kind}/${ref.namespace ?? ''}/${ref.name}`;
}

const keys = new WeakMap<KubeManifest, string>();

/** The refKey of an object; made once, since states of a cluster share nearly all of their objects. */
export function objectKey(manifest: KubeManifest): string {
  const known = keys.get(manifest);
  if (known !== undefined) return known;
  const key = refKey(refOf(manifest));
  keys.set(manifest, key);
  return key;
}

/** For people: `NetworkPolicy shop/allow-web`. */
export function formatRef(ref: ObjectRef): string {
  return `${ref.kind} ${ref.namespace === undefined ? '' : `${ref.namespace}/`}${ref.name}`;
}

export function labelsOf(manifest: KubeManifest): Readonly<Record<string, string>> {
  return asStringMap(manifest.metadata['labels']);
}

export function annotationsOf(manifest: KubeManifest): Readonly<Record<string, string>> {
  return asStringMap(manifest.metadata['annotations']);
}

export function isObject(manifest: KubeManifest, group: string, kind: string): boolean {
  return manifest.kind === kind && groupOf(manifest.apiVersion) === group;
}

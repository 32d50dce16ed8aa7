import type { Json } from '../shared/pure/json.ts';
import { isJsonObject } from '../shared/pure/json.ts';
import { parseAdminPolicy } from './admin-policy.ts';
import { isCalicoObject, parseCalicoPolicy } from './calico-policy.ts';
import { parseCiliumPolicy } from './cilium-policy.ts';
import type { KubeManifest } from './object.ts';
import { groupOf } from './object.ts';

type Path = readonly (string | number)[];

/** Objects with more parts than this are not searched for the one that stands in the way. */
const MOST_PARTS = 400;

/**
 * Why a policy that may act on connections is not evaluated, as the end of a sentence: its kind, the CNI, or the field without which it
 * would be. `calicoTiers` are those whose policies are evaluated.
 */
export function whyNotEvaluated(manifest: KubeManifest, cni: string, calicoTiers?: ReadonlySet<string>): string {
  const group = groupOf(manifest.apiVersion);
  if (group === 'cilium.io' && /^Cilium(?:Clusterwide)?NetworkPolicy$/u.test(manifest.kind)) {
    if (cni !== 'cilium') return `it is of Cilium, and the CNI is ${cni}`;
    return because(manifest, (one) => parseCiliumPolicy(one) !== undefined);
  }
  if (isCalicoObject(manifest) && /^(?:Global)?NetworkPolicy$/u.test(manifest.kind)) {
    if (cni !== 'calico') return `it is of Calico, and the CNI is ${cni}`;
    const policy = parseCalicoPolicy(manifest);
    if (policy !== undefined) return `its tier ${policy.tier} is not known`;
    return because(manifest, (one) => {
      const parsed = parseCalicoPolicy(one);
      return parsed !== undefined && calicoTiers?.has(parsed.tier) !== false;
    });
  }
  if (group === 'policy.networking.k8s.io') return because(manifest, (one) => parseAdminPolicy(one) !== undefined);
  return `nothing of kind ${manifest.kind} is`;
}

function because(manifest: KubeManifest, isPlain: (manifest: KubeManifest) => boolean): string {
  const path = partInTheWay(manifest, isPlain);
  return path === undefined ? 'more than one part of it is not plain' : `${formatPath(path)} is not plain`;
}

/** The smallest part without which the object would be evaluated. */
function partInTheWay(manifest: KubeManifest, isPlain: (manifest: KubeManifest) => boolean): Path | undefined {
  const paths = [...partsOf(manifest['spec'], ['spec']), ...partsOf(manifest['specs'], ['specs'])];
  if (paths.length > MOST_PARTS) return undefined;
  const deepestFirst = paths.toSorted((a, b) => b.length - a.length);
  return deepestFirst.find((path) => {
    const left = without(manifest, path);
    return isJsonObject(left) && isPlain({ ...manifest, spec: left['spec'] ?? null, specs: left['specs'] ?? null });
  });
}

function partsOf(value: Json | undefined, at: Path): readonly Path[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) {
    return [at, ...(value as readonly Json[]).flatMap((item, index) => partsOf(item, [...at, index]))];
  }
  if (!isJsonObject(value)) return [at];
  return [at, ...Object.entries(value).flatMap(([key, item]) => partsOf(item, [...at, key]))];
}

function without(value: Json, [key, ...rest]: Path): Json {
  if (Array.isArray(value)) {
    const list = value as readonly Json[];
    return list.flatMap((item, index) => (index !== key ? [item] : rest.length === 0 ? [] : [without(item, rest)]));
  }
  if (!isJsonObject(value) || key === undefined) return value;
  const out: Record<string, Json> = {};
  for (const [name, item] of Object.entries(value)) {
    if (name !== key) out[name] = item ?? null;
    else if (rest.length > 0) out[name] = without(item ?? null, rest);
  }
  return out;
}

function formatPath(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? part : `${text}.${part}`;
  }, '');
}

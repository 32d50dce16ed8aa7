import { checkPolicies } from '../../model/evaluate.ts';
import type { Finding } from '../../model/finding.ts';
import type { ClusterFacts, Snapshot } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, refKey, refOf } from '../../model/object.ts';
import { safeText } from '../../shared/pure/text.ts';

/** What is wrong with the policies, each with the file and line of its object, or the object's resourceVersion. */
export function analyzePolicies(
  policies: readonly KubeManifest[],
  facts: ClusterFacts,
  { origins }: Pick<Snapshot, 'origins'>,
): readonly Finding[] {
  const found = checkPolicies({ policies, facts });
  if (found.length === 0) return found;
  const byName = new Map(policies.map((manifest) => [formatRef(refOf(manifest)), manifest]));
  return found.map((one) => {
    const manifest = byName.get(one.subject);
    const place = manifest === undefined ? undefined : placeOf(manifest, origins);
    // The message names the field already.
    return place === undefined ? one : { ...one, where: place };
  });
}

/** `cluster/policies.yaml:12` or `resourceVersion 4711`; undefined for an object that has neither. */
export function placeOf(manifest: KubeManifest, origins: Snapshot['origins']): string | undefined {
  const origin = origins.get(refKey(refOf(manifest)));
  if (origin !== undefined) return safeText(`${origin.file}:${origin.line}`);
  const version = manifest.metadata['resourceVersion'];
  return typeof version === 'string' ? safeText(`resourceVersion ${version}`) : undefined;
}

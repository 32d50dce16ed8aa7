import type { View } from '../engine/contract.ts';
import type { KubeManifest } from '../model/object.ts';
import { unservedKinds } from '../readiness/pattern-plan.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';

/** SP484 where the cluster has no definition of a kind that `what` would write. `dialects`: other kinds would do as well. */
export function refuseUnserved(view: View, objects: readonly KubeManifest[], what: string, dialects: boolean): void {
  const unserved = unservedKinds(view, objects);
  if (unserved.length === 0) return;
  throw new Failure({
    code: 'SP484',
    exit: EXIT.cluster,
    message: `the cluster does not serve ${[...new Set(unserved)].join(', ')}, which ${what} would write; nothing is applied`,
    where: what,
    hint: dialects ? 'choose another dialect: --set dialect=...' : 'install what defines them first',
  });
}

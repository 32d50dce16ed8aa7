import type { Json } from '../shared/pure/json.ts';
import { canonicalJson } from '../shared/pure/json.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { EdgeVerdict, Step } from './plan.ts';

/** Identity of a plan: what it writes, in which order, and what that does to edges. No time, no row ids, no versions of objects. */
export function planHash(
  namespace: string,
  from: string,
  to: string,
  steps: readonly Step[],
  denied: readonly EdgeVerdict[],
  unknown: readonly EdgeVerdict[],
): string {
  const value = {
    namespace,
    from,
    to,
    steps: steps.map(({ id, change, effects, confirm }) => ({ id, change, effects, confirm: confirm ?? null })),
    denied: denied.map(({ step, edge }) => [step, edge]),
    unknown: unknown.map(({ step, edge }) => [step, edge]),
  };
  // Through JSON text, which leaves out fields that are undefined, as a state read back from disk has them.
  return sha256(canonicalJson(JSON.parse(JSON.stringify(value)) as Json));
}

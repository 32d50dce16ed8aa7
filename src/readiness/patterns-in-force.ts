import type { AppliedStep } from '../engine/contract.ts';
import type { AppliedPattern } from '../model/applied-pattern.ts';
import { groupBy, sortBy } from '../shared/pure/order.ts';

/** The patterns in force, each with the parameters of its newest application, by namespace and name. */
export function appliedPatterns(applied: readonly AppliedStep[]): readonly AppliedPattern[] {
  const found = new Map<string, AppliedPattern & { readonly seq: number }>();
  for (const { seq, namespace, phase, step } of applied) {
    const rest = step.id.startsWith(`${phase}/pattern/`) ? step.id.slice(`${phase}/pattern/`.length) : '';
    const name = rest.slice(0, Math.max(0, rest.indexOf('/')));
    if (name === '') continue;
    const key = `${namespace}/${name}`;
    const before = found.get(key);
    if (before === undefined || before.mark === undefined || (step.pattern !== undefined && before.seq < seq))
      found.set(key, { namespace, name, mark: step.pattern ?? before?.mark, seq });
  }
  return sortBy(found.values(), ({ namespace, name }) => `${namespace}/${name}`).map(({ namespace, name, mark }) => ({
    namespace,
    name,
    mark,
  }));
}

/** Names of the patterns in force, by namespace. */
export function patternsInForce(applied: readonly AppliedStep[]): ReadonlyMap<string, readonly string[]> {
  return new Map(
    [...groupBy(appliedPatterns(applied), ({ namespace }) => namespace)].map(([namespace, all]) => [
      namespace,
      all.map(({ name }) => name),
    ]),
  );
}

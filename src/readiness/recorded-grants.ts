import type { AppliedStep } from '../engine/contract.ts';
import type { GrantMark } from '../model/grant.ts';
import { formatRef } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import { uniqueSorted } from '../shared/pure/order.ts';

/** A grant as the record has it. */
export interface RecordedGrant extends GrantMark {
  readonly by: string;
  readonly run: string;
  readonly namespace: string;
  /** Objects that it holds now, by the record; none where it is over. */
  readonly objects: readonly string[];
  readonly steps: readonly AppliedStep[];
}

/** Grants of which a step is in force, oldest first. */
export function recordedGrants(
  applied: readonly AppliedStep[],
  headOf: (run: string) => { readonly by: string; readonly namespace: string } | undefined,
): readonly RecordedGrant[] {
  const byId = new Map<string, AppliedStep[]>();
  for (const step of applied) {
    const { grant } = step.step;
    if (grant === undefined) continue;
    const known = byId.get(grant.id);
    if (known === undefined) byId.set(grant.id, [step]);
    else known.push(step);
  }
  return [...byId.values()].flatMap((steps): readonly RecordedGrant[] => {
    const [first] = steps;
    const mark = first?.step.grant;
    if (first === undefined || mark === undefined) return [];
    const head = headOf(first.run);
    return [
      {
        ...mark,
        by: head?.by ?? 'unknown',
        run: first.run,
        namespace: head?.namespace ?? first.namespace,
        objects: uniqueSorted(steps.map(({ change }) => formatRef(changeRef(change)))),
        steps,
      },
    ];
  });
}

/** Grants of the record that are over at `now`, ms since the epoch. */
export function overdue<T extends Pick<GrantMark, 'until'>>(grants: readonly T[], now: number): readonly T[] {
  return grants.filter(({ until }) => until <= now);
}

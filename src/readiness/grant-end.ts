import type { AppliedStep, View } from '../engine/contract.ts';
import type { GrantMark } from '../model/grant.ts';
import { assembleGrant } from '../plan/assemble.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { deriveUndo } from '../plan/rollback.ts';
import type { Resolution } from '../plan/rollback.ts';
import type { RecordedGrant } from './recorded-grants.ts';

/**
 * The end of a grant: its objects go, what it lent is given back, newest first, whatever somebody made of them meanwhile. Nothing holds it
 * up. What is gone already is taken down as ended.
 */
export function planEnd(view: View, grant: RecordedGrant): Plan {
  const undo = grant.steps.toSorted((a, b) => b.seq - a.seq);
  const resolutions = new Map<string, Resolution>(grant.objects.map((object) => [object, 'before']));
  const { steps } = deriveUndo(undo, view.applied, view.snapshot.objects, resolutions);
  const { namespace } = grant;
  const [mark] = grant.steps.flatMap(({ step }) => step.grant ?? []);
  return assembleGrant(
    { ...view, namespace },
    'down',
    steps.map((step): Step => (mark === undefined ? step : { ...step, grant: mark })),
    [],
  );
}

/** The newest break-glass of a namespace that is not over. */
export function suspension(applied: readonly AppliedStep[], namespace: string, now: number): GrantMark | undefined {
  return applied.findLast(
    ({ namespace: of, step }) => of === namespace && step.grant?.kind === 'break-glass' && step.grant.until > now,
  )?.step.grant;
}

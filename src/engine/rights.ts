import type { Step } from '../plan/plan.ts';
import { accountUser, formatRight } from '../model/rbac.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { plural } from '../shared/pure/text.ts';
import type { Clock, Target } from './contract.ts';

/** An API server learns of a new binding through a watch of its own: a moment later than it was written. */
const ATTEMPTS = 10;
const PAUSE_MS = 1_000;
/** Rights that a message names. */
const MOST_NAMED = 3;

/**
 * Asks the authorizer itself whether the account that a workload is about to run as may do what the one before it may. Nothing is asked of a
 * directory, nor on the way back. Errors: SP625 (exit 3) where it may not; SP480 (exit 4) where the API server cannot be asked.
 */
export async function assertRights(
  step: Step,
  { target, clock, signal }: { readonly target: Target; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const { rights: wanted } = step;
  if (wanted === undefined || target.mayAccount === undefined || step.undoes !== undefined) return;
  const { namespace, account, rights } = wanted;
  let refused = [...rights];
  for (let attempt = 1; ; attempt += 1) {
    const still: typeof refused = [];
    for (const right of refused) if (!(await target.mayAccount(namespace, account, right))) still.push(right);
    refused = still;
    if (refused.length === 0) return;
    if (attempt === ATTEMPTS || signal.aborted) break;
    await clock.sleep(PAUSE_MS, signal);
  }
  throw new Failure({
    code: 'SP625',
    exit: EXIT.refused,
    message: `${accountUser(namespace, account)} may not yet do what the account before it may: ${refused.slice(0, MOST_NAMED).map(formatRight).join(', ')}${refused.length > MOST_NAMED ? ` and ${plural(refused.length - MOST_NAMED, 'more right')}` : ''}; ${step.workload ?? 'the workload'} was not moved`,
    where: `step ${step.id}`,
    hint: `kubectl auth can-i --list --as ${accountUser(namespace, account)} --namespace ${namespace}, then plan again`,
  });
}

// Before a step that may take a connection away: is what it was judged on still there?
import { formatRef, refKey, refOf } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import { compareGround, listsFor, tightens } from '../plan/ground.ts';
import type { DoneStep, GroundDifference } from '../plan/ground.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { asString } from '../shared/pure/json.ts';
import { showValue } from '../shared/pure/mask.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Journal, JournalStep, RunRecord, Target } from './contract.ts';

/** Differences that a message shows; a value longer than this is cut. */
const MOST_SHOWN = 3;
const MOST_TEXT = 300;

/**
 * Reads again what a step rests on that may take a connection away: policies, mesh objects, labels and accounts of pods in the namespaces of
 * the plan, and what the run wrote itself. Throws SP654 (exit 3) where it is not as the plan and the steps so far have it, and nothing is
 * written. Nothing is read for other steps; nor where the run mends a denial or contains an incident, which must not wait for anybody.
 * Answers with the version of the step's own object that was looked at, where it is one of these.
 */
export async function assertGround(
  { id: run, plan, pullsBack }: RunRecord,
  { step }: JournalStep,
  { target, journal }: { readonly target: Pick<Target, 'readKinds'>; readonly journal: Journal },
): Promise<string | undefined> {
  const { ground } = plan;
  if (ground === undefined || pullsBack !== undefined || plan.incident !== undefined || !tightens(step))
    return undefined;
  const steps = journal.stepsOf(run);
  const done = steps.flatMap((item): readonly DoneStep[] => {
    if (item.state !== 'done') return [];
    const { seq, step: of, change, uid } = item;
    const { namespace, phase } = of;
    return [
      {
        seq,
        run,
        namespace,
        phase,
        step: of,
        change: change ?? of.change,
        ...(uid === undefined ? {} : { uid }),
        at: 0,
      },
    ];
  });
  const lists = listsFor(ground, step);
  const live = await target.readKinds(lists);
  const found = compareGround(ground, lists, done, live, journal.resolutions());
  if (found.length === 0) {
    const key = refKey(changeRef(step.change));
    return asString(live.find((object) => refKey(refOf(object)) === key)?.metadata['resourceVersion']);
  }
  const more = found.length - MOST_SHOWN;
  const begun = done.length > 0;
  const ours = found.find((one) => one.ours);
  const resolve =
    ours === undefined
      ? ''
      : ` (sallyport resolve "${safeText(formatRef(ours.ref))}" --keep ours where it is Sallyport's)`;
  throw new Failure({
    code: 'SP654',
    exit: EXIT.refused,
    // With nothing done there is nothing to go on with: a new plan sees what is there now.
    ...(begun ? { nature: 'passes' } : {}),
    message: `somebody changed what step ${step.id} rests on: ${found.slice(0, MOST_SHOWN).map(describe).join('; ')}${
      more > 0 ? `; and ${plural(more, 'more field')}` : ''
    }; the step was not taken`,
    where: `run ${run}, step ${step.id}`,
    hint: begun
      ? `put it back${resolve}, and sallyport resume goes on; or sallyport rollback ${plan.namespace} takes the run back, and sallyport plan ${plan.namespace} judges what is there now`
      : `sallyport plan ${plan.namespace} judges what is there now`,
  });
}

function describe({ object, path, planned, expected, now }: GroundDifference): string {
  const show = (value: typeof now): string => safeText(cut(showValue(path.length === 0 ? ['spec'] : path, value)));
  const field = path.length === 0 ? '' : ` ${path.join('.')}`;
  return `${safeText(object + field)} was ${show(planned)} when the plan was made, should be ${show(expected)} by now, and is ${show(now)}`;
}

function cut(text: string): string {
  return text.length <= MOST_TEXT ? text : `${text.slice(0, MOST_TEXT)}...`;
}

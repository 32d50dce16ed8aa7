// Before a step that may take a connection away: is what it was judged on still there?
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import type { Change } from '../plan/change.ts';
import { changeRef } from '../plan/change.ts';
import { checkDrift } from '../plan/drift.ts';
import { groundPart } from '../plan/ground-part.ts';
import { compareGround, listsFor, listsForAll, tightens } from '../plan/ground.ts';
import type { DoneStep, GroundDifference } from '../plan/ground.ts';
import type { Step } from '../plan/plan.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { asString, equalJson, getPath } from '../shared/pure/json.ts';
import { showValue } from '../shared/pure/mask.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Journal, JournalStep, RunRecord, Target } from './contract.ts';

/** Differences that a message shows; a value longer than this is cut. */
const MOST_SHOWN = 3;
const MOST_TEXT = 300;

/**
 * Reads again what a step rests on that may take a connection away: policies, mesh objects, labels and accounts of pods in the namespaces of
 * the plan, and what the run wrote itself. Throws SP654 (exit 3) where it is not as the plan and the steps so far have it, and nothing is
 * written. Nothing is read for other steps; nor where the run takes back, mends a denial or contains an incident, which must not wait for
 * anybody. Answers with the step's own object as it was looked at, where it is one of these.
 */
export async function assertGround(
  record: RunRecord,
  { step }: JournalStep,
  world: { readonly target: Pick<Target, 'readKinds'>; readonly journal: Journal },
): Promise<KubeManifest | undefined> {
  const live = await assertGroundOf(record, [step], world);
  const key = refKey(changeRef(step.change));
  return live.find((object) => refKey(refOf(object)) === key);
}

/**
 * The same of several steps that are taken together, by one reading of what any of them rests on. Answers with what was read; nothing, where
 * none of them needs it.
 */
export async function assertGroundOf(
  { id: run, plan, pullsBack }: RunRecord,
  steps: readonly Step[],
  { target, journal }: { readonly target: Pick<Target, 'readKinds'>; readonly journal: Journal },
): Promise<readonly KubeManifest[]> {
  const { ground } = plan;
  if (ground === undefined || plan.direction === 'down' || pullsBack !== undefined || plan.incident !== undefined)
    return [];
  const tightening = steps.filter((step) => tightens(step));
  if (tightening.length === 0) return [];
  const done = doneOf(run, journal);
  const live = await target.readKinds(listsForAll(ground, tightening));
  for (const step of tightening) {
    const found = compareGround(ground, listsFor(ground, step), done, live, journal.resolutions(), plan.steps);
    if (found.length > 0) throw groundMoved(run, plan.namespace, step, found, done.length > 0, live, journal);
  }
  return live;
}

function doneOf(run: string, journal: Journal): readonly DoneStep[] {
  return journal.stepsOf(run).flatMap((item): readonly DoneStep[] => {
    if (item.state !== 'done') return [];
    const { seq, step, change, uid } = item;
    const { namespace, phase } = step;
    return [
      {
        seq,
        run,
        namespace,
        phase,
        step,
        change: change ?? step.change,
        ...(uid === undefined ? {} : { uid }),
        at: 0,
      },
    ];
  });
}

function groundMoved(
  run: string,
  of: string,
  step: Step,
  found: readonly GroundDifference[],
  begun: boolean,
  live: readonly KubeManifest[],
  journal: Journal,
): Failure {
  const more = found.length - MOST_SHOWN;
  // As `resolve` sees it: a field or an object that this state's record applied.
  const keys = new Set(found.map((one) => refKey(one.ref)));
  const applied = journal.applied().filter(({ change }) => keys.has(refKey(changeRef(change))));
  const disputed = new Set(checkDrift(applied, live, journal.resolutions()).map(({ object }) => object));
  const ours = found.find((one) => disputed.has(one.object));
  const namespace = safeText(of);
  return new Failure({
    code: 'SP654',
    exit: EXIT.refused,
    message: `somebody changed what step ${step.id} rests on: ${found.slice(0, MOST_SHOWN).map(describe).join('; ')}${
      more > 0 ? `; and ${plural(more, 'more field')}` : ''
    }; the step was not taken`,
    where: `run ${run}, step ${step.id}`,
    hint: [
      ...(ours === undefined
        ? []
        : [`sallyport resolve "${safeText(formatRef(ours.ref))}" --keep ours puts back what Sallyport wrote`]),
      `sallyport plan ${namespace} judges what is there now${!begun ? '' : ', and sallyport advance goes on from there'}`,
      ...(!begun ? [] : [`sallyport rollback ${namespace} takes back what was done`]),
    ].join('; '),
  });
}

/** What the next write of a step rests on. */
export interface Judged {
  /** The step's own object as it was judged; undefined where it is not one of those that are. */
  readonly object: KubeManifest | undefined;
  /** The version of it that the write must find. */
  readonly version: string | undefined;
}

/**
 * The step's own object read once more, since the lists take their time and others write its status meanwhile. Where it says the same as what
 * was judged, its version now is the one to write; where it does not, undefined: it is to be judged anew.
 */
export async function lookAgain(
  object: KubeManifest | undefined,
  change: Change,
  { target }: { readonly target: Pick<Target, 'readObject'> },
): Promise<Judged | undefined> {
  if (object === undefined || versionOf(object) === undefined) return { object, version: undefined };
  const live = await target.readObject(changeRef(change));
  if (live === undefined || live.metadata['uid'] !== object.metadata['uid']) return undefined;
  const written = change.kind === 'edit' ? change.fields.map(({ path }) => path) : [];
  const same =
    equalJson(groundPart(live), groundPart(object)) &&
    written.every((path) => equalJson(getPath(live, path), getPath(object, path)));
  return same ? { object, version: versionOf(live) } : undefined;
}

export function versionOf(object: KubeManifest | undefined): string | undefined {
  return asString(object?.metadata['resourceVersion']);
}

function describe({ object, path, planned, expected, now }: GroundDifference): string {
  const show = (value: typeof now): string => safeText(cut(showValue(path.length === 0 ? ['spec'] : path, value)));
  const field = path.length === 0 ? '' : ` ${path.join('.')}`;
  return `${safeText(object + field)} was ${show(planned)} when the plan was made, should be ${show(expected)} by now, and is ${show(now)}`;
}

function cut(text: string): string {
  return text.length <= MOST_TEXT ? text : `${text.slice(0, MOST_TEXT)}...`;
}

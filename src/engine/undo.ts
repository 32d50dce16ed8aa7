// The way back of a namespace, and what a state must know to take it over, kept outside the state file.
import type { Change } from '../plan/change.ts';
import { changeRef, changesNothing } from '../plan/change.ts';
import { formatRef } from '../model/object.ts';
import type { Plan } from '../plan/plan.ts';
import type { BundleStep } from '../plan/undo-bundle.ts';
import { buildUndoBundle, buildUndoScript, isSensitive } from '../plan/undo-bundle.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import { asArray, asObject, equalJson, isJsonObject } from '../shared/pure/json.ts';
import type { Json } from '../shared/pure/json.ts';
import { maskManifest } from '../shared/pure/mask.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import type {
  Journal,
  JournalStep,
  KeptUndo,
  NamespaceRecord,
  RecordedStep,
  RunRecord,
  UndoStore,
} from './contract.ts';
import type { Emit } from './events.ts';

/** What keeping needs of an engine. */
export interface Keeping {
  readonly target: { readonly kind: 'cluster' | 'directory'; readonly id: string; readonly description: string };
  readonly journal: Journal;
  readonly clock: { now(): number };
  readonly by: string;
  readonly emit: Emit;
  readonly undo?: readonly UndoStore[];
}

/** Namespaces whose way back a plan changes: the one that moves, and peers whose steps are recorded under their own. */
export function namespacesKept(plan: Plan): readonly string[] {
  return uniqueSorted([plan.namespace, ...plan.steps.map((step) => step.namespace)]);
}

/**
 * Brings what is kept outside the state up to what the journal says. `run`: the newest that touches these namespaces. While it is open its
 * steps are part of the way back before they are written. Throws what the store throws.
 */
export async function keepUndo(run: string, namespaces: readonly string[], keeping: Keeping): Promise<void> {
  for (const store of keeping.undo ?? [])
    for (const namespace of namespaces) {
      const kept = buildKept(run, namespace, keeping, store.exposed);
      if (kept === undefined) await store.remove(namespace);
      else await store.write(kept);
    }
}

/**
 * A record holds every step, so that keeping it after each of n steps would write n times n of them: a run of a thousand steps a gigabyte.
 * What is kept before the first write is a whole way back already, and a rebuild finds by the objects how far a run came.
 */
const MOST_BETWEEN_STEPS = 32;

/** After a step of a run: the same as `refreshUndo`, but for a long run after every so many steps alone. */
export async function refreshBetweenSteps(run: string, namespaces: readonly string[], keeping: Keeping): Promise<void> {
  const steps = keeping.journal.stepsOf(run);
  const every = Math.ceil(steps.length / MOST_BETWEEN_STEPS);
  if (steps.filter(isSettled).length % every === 0) await refreshUndo(run, namespaces, keeping);
}

/** The same where the way back is whole without it: what cannot be kept is said and stops nothing. */
export async function refreshUndo(run: string, namespaces: readonly string[], keeping: Keeping): Promise<void> {
  for (const store of keeping.undo ?? [])
    try {
      await keepUndo(run, namespaces, { ...keeping, undo: [store] });
    } catch (error) {
      if (!isFailure(error)) throw error;
      keeping.emit({ kind: 'undo-not-kept', place: store.place, error: error.message });
    }
}

/**
 * Refuses to write with a state that lacks what another one has written since: the newest run of a namespace, or steps of it. Exit 5.
 */
export async function assertLatest(namespaces: readonly string[], keeping: Keeping): Promise<void> {
  for (const store of keeping.undo ?? [])
    for (const namespace of namespaces) {
      const head = parseRecordHead(await store.read(namespace));
      if (head === undefined || head.target !== keeping.target.id) continue;
      const missing = missingFrom(head, keeping.journal);
      if (missing === undefined) continue;
      throw new Failure({
        code: 'SP620',
        exit: EXIT.state,
        message: `this state lacks the newest run of ${safeText(namespace)}: ${missing}, by ${safeText(head.by)} at ${new Date(head.at).toISOString()}; nothing was written`,
        where: `the record of ${safeText(namespace)} in ${store.place}`,
        hint: 'take over the state of whoever ran it: sallyport state export there, sallyport state import FILE here; or sallyport state rebuild from the record',
      });
    }
}

/**
 * Where the way back of an interrupted run is not kept any more. What it had begun was kept outside the state before, so whoever has a copy of
 * this state has taken all of it back. Undefined where it is kept, and where nothing was begun that would have to be.
 */
export async function placeNotKept({ id, namespace, plan }: RunRecord, keeping: Keeping): Promise<string | undefined> {
  const begun = keeping.journal.stepsOf(id).some((step) => step.change !== undefined && step.state !== 'pending');
  const isBack = plan.steps.every((step) => step.undoes !== undefined || changesNothing(step.change));
  if (plan.direction !== 'up' || isBack || !begun) return undefined;
  for (const store of keeping.undo ?? [])
    if (store.exposed && (await store.read(namespace)) === undefined) return store.place;
  return undefined;
}

export interface RecordHead extends Pick<NamespaceRecord, 'target' | 'namespace' | 'run' | 'settled' | 'by' | 'at'> {
  /** What is known of its runs: which of them are over. */
  readonly runs: readonly { readonly id: string; readonly outcome?: string }[];
  readonly steps: readonly Pick<RecordedStep, 'run' | 'index' | 'state' | 'at'>[];
}

/** What of a record says how new it is; undefined where there is none or it is not one. */
export function parseRecordHead(record: Json | undefined): RecordHead | undefined {
  if (!isJsonObject(record)) return undefined;
  const { target, namespace, run, settled, by, at } = record;
  if (typeof target !== 'string' || typeof namespace !== 'string' || typeof run !== 'string') return undefined;
  if (typeof settled !== 'number' || typeof by !== 'string' || typeof at !== 'number') return undefined;
  const steps = asArray(record['steps']).flatMap((one): RecordHead['steps'] => {
    const { run: of, index, state, at: done } = asObject(one);
    return typeof of === 'string' && typeof index === 'number' && (state === 'done' || state === 'undone')
      ? [{ run: of, index, state, ...(typeof done === 'number' ? { at: done } : {}) }]
      : [];
  });
  const runs = asArray(record['runs']).flatMap((one): RecordHead['runs'] => {
    const { id, outcome } = asObject(one);
    return typeof id === 'string' ? [{ id, ...(typeof outcome === 'string' ? { outcome } : {}) }] : [];
  });
  return { target, namespace, run, settled, by, at, runs, steps };
}

/**
 * What the journal lacks of a record, in words; undefined when it has it all. The newest run alone does not tell: a run of another namespace
 * that touches this one comes along with the record of that other one, and what was done here before it does not.
 */
export function missingFrom(
  head: RecordHead,
  journal: Pick<Journal, 'headOf' | 'stepsOf' | 'applied'>,
): string | undefined {
  if (journal.headOf(head.run) === undefined) return `run ${safeText(head.run)}`;
  // Each run is closed here before its record says so: one that is over there and open here was ended with another copy of this state.
  const over = head.runs.find(({ id, outcome }) => {
    const here = outcome === undefined ? undefined : journal.headOf(id);
    return here !== undefined && here.outcome === undefined;
  });
  if (over !== undefined) return `that run ${safeText(over.id)}, which is open here, was ended elsewhere`;
  const newest = stepsFiled(head.run, head.namespace, journal);
  const settled = newest.filter(isSettled).length;
  if (settled < head.settled)
    return `run ${safeText(head.run)} is on record here with ${settled} steps ended, and ${head.settled} have`;
  const ended = head.steps.filter(isSettled);
  const runs = new Map(uniqueSorted(ended.map(({ run }) => run)).map((run) => [run, journal.stepsOf(run)]));
  for (const { run, index, state, at } of ended) {
    const here = runs.get(run)?.find((step) => step.index === index);
    if (here === undefined || !isSettled(here)) return `what run ${safeText(run)} did before it`;
    // Taken back here, and done again by whoever went on with the run on a copy. The moment names the deed; it orders nothing.
    if (state === 'done' && here.state === 'undone' && at !== undefined && here.at !== undefined && at !== here.at)
      return `what run ${safeText(run)} did once more, after it was taken back here`;
  }
  // What is in force here from before that run and is not in the record was taken back elsewhere. A run without steps does not tell what was
  // before it, and who has it on record has what led to it.
  const first = newest.length === 0 ? -Infinity : Math.min(...newest.map(({ seq }) => seq));
  const kept = new Set(ended.map(({ run, index }) => `${run} ${index}`));
  const gone = journal
    .applied()
    .filter((step) => step.namespace === head.namespace && step.seq < first)
    .find((step) => {
      const of = journal.stepsOf(step.run).find(({ seq }) => seq === step.seq);
      return of !== undefined && !kept.has(`${of.run} ${of.index}`);
    });
  return gone === undefined ? undefined : `what run ${safeText(gone.run)} did is taken back by now`;
}

/** Steps of a run that the record of a namespace carries: all of its own run, and of another's those that are filed under it. */
function stepsFiled(
  run: string,
  namespace: string,
  journal: Pick<Journal, 'headOf' | 'stepsOf'>,
): readonly JournalStep[] {
  const own = journal.headOf(run)?.namespace === namespace;
  return journal.stepsOf(run).filter((step) => own || step.step.namespace === namespace);
}

/** Of the others nothing was written: they may yet be tried anew. */
function isSettled(step: Pick<JournalStep, 'state'>): boolean {
  return step.state === 'done' || step.state === 'undone';
}

/** Undefined where nothing is in force and nothing is about to be. */
function buildKept(run: string, namespace: string, keeping: Keeping, exposed: boolean): KeptUndo | undefined {
  const { journal, target } = keeping;
  const head = journal.headOf(run);
  if (head === undefined) throw new Error(`run ${run} is not on record`);
  const inForce = journal.applied().filter((step) => step.namespace === namespace);
  const open = head.outcome === undefined;
  const current = stepsFiled(run, namespace, journal);
  if (inForce.length === 0 && (!open || current.length === 0)) return undefined;
  const forced = inForce.flatMap((applied) =>
    applied.run === run ? [] : journal.stepsOf(applied.run).filter((step) => step.seq === applied.seq),
  );
  const steps = [...forced, ...current].toSorted((a, b) => a.seq - b.seq);
  const phase = journal.phases().get(namespace) ?? 'none';
  const at = keeping.clock.now();
  const bundled = steps.filter(
    (step) =>
      step.step.namespace === namespace &&
      step.step.undoes === undefined &&
      (step.state === 'done' || (open && step.run === run && step.state !== 'skipped' && step.state !== 'undone')),
  );
  const of = {
    namespace,
    phase,
    run,
    by: head.by,
    target: target.description,
    ...(target.kind === 'directory' ? { offline: true } : {}),
    at: new Date(head.startedAt).toISOString(),
    steps: bundled.map(({ step, change, seq }): BundleStep => ({
      step: { ...step, change: change ?? step.change },
      number: seq,
    })),
    exposed,
  };
  const leftOut: string[] = [];
  const recorded = steps.map((step): RecordedStep => {
    const change = step.change === undefined ? undefined : shown(step.change, exposed, leftOut);
    return {
      ...step,
      step: { ...step.step, change: shown(step.step.change, exposed, []) },
      ...(change === undefined ? {} : { change }),
    };
  });
  // A run that had nothing to do has no steps, and is the newest all the same.
  const runs = uniqueSorted([run, ...steps.map((step) => step.run)]).flatMap((id) => journal.headOf(id) ?? []);
  return {
    namespace,
    files: buildUndoBundle(of),
    script: buildUndoScript(of),
    record: {
      apiVersion: 'sallyport.dev/v1',
      kind: 'Record',
      target: target.id,
      namespace,
      phase,
      run,
      settled: current.filter(isSettled).length,
      by: head.by,
      at,
      runs: runs.toSorted((a, b) => a.startedAt - b.startedAt),
      steps: recorded,
      leftOut,
    },
  };
}

/** A change as others may read it. */
function shown(change: Change, exposed: boolean, leftOut: string[]): Change {
  if (!exposed || changesNothing(change)) return change;
  const name = formatRef(changeRef(change));
  switch (change.kind) {
    case 'create': {
      const object = maskManifest(change.object);
      if (!equalJson(object, change.object)) leftOut.push(name);
      return { ...change, object };
    }
    case 'delete': {
      const before = maskManifest(change.before);
      if (!equalJson(before, change.before)) leftOut.push(name);
      return { ...change, before };
    }
    case 'edit': {
      const hidden = change.fields.filter(isSensitive);
      if (hidden.length === 0) return change;
      leftOut.push(...hidden.map((field) => `${name} ${field.path.join('.')}`));
      return { ...change, fields: change.fields.filter((field) => !hidden.includes(field)) };
    }
  }
}

/** What is thrown when the first keeping failed: nothing was written. */
export function notKept(error: unknown): Failure {
  const detail = isFailure(error) ? error.detail : undefined;
  return new Failure({
    code: detail?.code ?? 'SP621',
    exit: detail?.exit ?? EXIT.state,
    message: `the way back cannot be kept outside the state, so nothing was written: ${messageOf(error)}`,
    ...(detail?.where === undefined ? {} : { where: detail.where }),
    hint: `${detail?.hint === undefined ? '' : `${detail.hint}; `}or keep it in a folder: undo.path and undo.cluster in the configuration`,
    cause: error,
  });
}

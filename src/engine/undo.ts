// The way back of a namespace, and what a state must know to take it over, kept outside the state file.
import type { Change } from '../plan/change.ts';
import { changeRef, changesNothing } from '../plan/change.ts';
import { formatRef } from '../model/object.ts';
import type { Plan } from '../plan/plan.ts';
import type { BundleStep } from '../plan/undo-bundle.ts';
import { buildUndoBundle, buildUndoScript, isSensitive } from '../plan/undo-bundle.ts';
import { EXIT, Failure, isFailure, messageOf } from '../shared/pure/errors.ts';
import { equalJson, isJsonObject } from '../shared/pure/json.ts';
import type { Json } from '../shared/pure/json.ts';
import { maskManifest } from '../shared/pure/mask.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import type { Journal, JournalStep, KeptUndo, NamespaceRecord, RecordedStep, UndoStore } from './contract.ts';
import type { Emit } from './events.ts';

/** What keeping needs of an engine. */
export interface Keeping {
  readonly target: { readonly id: string; readonly description: string };
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

export type RecordHead = Pick<NamespaceRecord, 'target' | 'namespace' | 'run' | 'settled' | 'by' | 'at'>;

/** What of a record says how new it is; undefined where there is none or it is not one. */
export function parseRecordHead(record: Json | undefined): RecordHead | undefined {
  if (!isJsonObject(record)) return undefined;
  const { target, namespace, run, settled, by, at } = record;
  if (typeof target !== 'string' || typeof namespace !== 'string' || typeof run !== 'string') return undefined;
  if (typeof settled !== 'number' || typeof by !== 'string' || typeof at !== 'number') return undefined;
  return { target, namespace, run, settled, by, at };
}

/** What the journal lacks of a record, in words; undefined when it has it all. */
export function missingFrom(head: RecordHead, journal: Pick<Journal, 'headOf' | 'stepsOf'>): string | undefined {
  if (journal.headOf(head.run) === undefined) return `run ${safeText(head.run)}`;
  const settled = journal.stepsOf(head.run).filter(isSettled).length;
  return settled < head.settled
    ? `run ${safeText(head.run)} is on record here with ${settled} steps ended, and ${head.settled} have`
    : undefined;
}

function isSettled(step: JournalStep): boolean {
  return step.state !== 'pending' && step.state !== 'started';
}

/** Undefined where nothing is in force and nothing is about to be. */
function buildKept(run: string, namespace: string, keeping: Keeping, exposed: boolean): KeptUndo | undefined {
  const { journal, target } = keeping;
  const head = journal.headOf(run);
  if (head === undefined) throw new Error(`run ${run} is not on record`);
  const inForce = journal.applied().filter((step) => step.namespace === namespace);
  const open = head.outcome === undefined;
  const current = journal
    .stepsOf(run)
    .filter((step) => head.namespace === namespace || step.step.namespace === namespace);
  if (inForce.length === 0 && (!open || current.length === 0)) return undefined;
  const times = new Map(inForce.map((step) => [step.seq, step.at]));
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
    at: new Date(head.startedAt).toISOString(),
    steps: bundled.map(({ step, change, seq }): BundleStep => ({
      step: { ...step, change: change ?? step.change },
      number: seq,
    })),
    exposed,
  };
  const leftOut: string[] = [];
  const recorded = steps.map((step): RecordedStep => {
    const done = times.get(step.seq);
    const change = step.change === undefined ? undefined : shown(step.change, exposed, leftOut);
    return {
      ...step,
      step: { ...step.step, change: shown(step.step.change, exposed, []) },
      ...(change === undefined ? {} : { change }),
      ...(done === undefined ? {} : { at: done }),
    };
  });
  const runs = uniqueSorted(steps.map((step) => step.run)).flatMap((id) => journal.headOf(id) ?? []);
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
      settled: journal.stepsOf(run).filter(isSettled).length,
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

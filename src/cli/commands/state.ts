import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { NamespaceRecord, RecordedStep, Target, UndoStore } from '../../engine/contract.ts';
import { classifyChange, leavesTrace, stillStanding } from '../../engine/recover.ts';
import type { DoubtfulStep } from '../../engine/recover.ts';
import { missingFrom, parseRecordHead, refreshUndo } from '../../engine/undo.ts';
import type { KubeManifest, ObjectRef } from '../../model/object.ts';
import { refKey } from '../../model/object.ts';
import { changeRef, changesNothing } from '../../plan/change.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import type { Json } from '../../shared/pure/json.ts';
import { equalJson } from '../../shared/pure/json.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { copyState, importState } from '../../../state/copy.ts';
import { parseNamespaceRecord } from '../../../state/rows.ts';
import type { WritableState } from '../../../state/open.ts';
import { openJournal } from '../../../state/journal.ts';
import { stepKey, takeOver } from '../../../state/takeover.ts';
import type { Found } from '../../../state/takeover.ts';
import type { App } from '../context.ts';
import { wrap } from '../output.ts';
import { undoStores } from '../undo.ts';

/** `state export FILE`, `state import FILE`, `state rebuild`. */
export async function stateCommand(app: App, action: string, file: string | undefined): Promise<unknown> {
  const wrong = (message: string): Failure =>
    new Failure({
      code: 'SP236',
      exit: EXIT.usage,
      message,
      where: `sallyport state ${[action, file].filter((word) => word !== undefined).join(' ')}`,
      hint: 'sallyport state --help',
    });
  switch (action) {
    case 'export':
    case 'import':
      if (file === undefined)
        throw wrong(`${action} needs a file; - is standard ${action === 'export' ? 'output' : 'input'}`);
      return action === 'export' ? exportState(app, file) : importExported(app, file);
    case 'rebuild':
      if (file !== undefined)
        throw wrong('rebuild takes no file: it reads what is kept in the cluster and in the folder of ways back');
      return rebuildState(app);
    default:
      throw wrong(`there is no action ${action}: export, import or rebuild`);
  }
}

/** The state as one file, for another machine or for keeping. */
async function exportState(app: App, file: string): Promise<void> {
  const { output } = app;
  const state = await app.state();
  const summary = {
    target: state.target.description,
    runs: state.reader.runs().length,
    decisions: state.reader.decisions().length,
  };
  if (file !== '-') {
    copyState(state.file, file);
    output.document('State', { action: 'export', file, ...summary });
    output.line(
      wrap(
        `exported to ${safeText(file)}: ${plural(summary.runs, 'run')}, ${plural(summary.decisions, 'decision')}. It says how the network is built: keep it like the state.`,
        output.width,
        2,
      ),
    );
    return;
  }
  if (output.json || process.stdout.isTTY)
    throw new Failure({
      code: 'SP234',
      exit: EXIT.usage,
      message: output.json
        ? 'standard output holds one JSON document with --json, and no state'
        : 'the export is not text, and standard output is a terminal',
      where: 'sallyport state export -',
      hint: 'name a file: sallyport state export FILE; or redirect standard output',
    });
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-export-'));
  try {
    const copy = join(folder, 'state');
    copyState(state.file, copy);
    await pipeline(createReadStream(copy), process.stdout, { end: false });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** An exported state in place of the one here. */
async function importExported(app: App, file: string): Promise<void> {
  const { output } = app;
  const { path, target } = await app.stateFile();
  const folder = file === '-' ? mkdtempSync(join(tmpdir(), 'sallyport-import-')) : undefined;
  try {
    let from = file;
    if (folder !== undefined) {
      from = join(folder, 'state');
      await pipeline(process.stdin, createWriteStream(from, { mode: 0o600 }));
    }
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, '');
    const { runs, kept } = importState(path, target, from, stamp);
    output.document('State', { action: 'import', file: path, runs, kept: kept ?? null });
    output.line(`imported to ${safeText(path)}: ${plural(runs, 'run')}`);
    if (kept !== undefined) output.line(wrap(`what was there before is kept: ${safeText(kept)}`, output.width, 2));
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new Failure({
      code: 'SP235',
      exit: EXIT.usage,
      message: `the export cannot be read: ${error.message}`,
      where: file,
      hint: 'name a file that sallyport state export wrote',
      cause: error,
    });
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

function isSystemError(error: unknown): error is Error {
  return error instanceof Error && !isFailure(error) && 'syscall' in error;
}

interface Kept {
  readonly record: NamespaceRecord;
  readonly place: string;
  readonly store: UndoStore;
}

/** Runs, steps and phases from what is kept outside the state: in the cluster, or in the folder of ways back. */
async function rebuildState(app: App): Promise<number> {
  const { output } = app;
  const target = await app.target();
  const state = await app.writableState();
  const stores = await undoStores(app, state.file);
  const { rebuilt, known, notKept } = await takeOverRecords(stores, target, state, app.by, Date.now());
  const open = state.reader.openRuns().map((run) => run.id);
  output.document('State', { action: 'rebuild', file: state.file, namespaces: rebuilt, known, openRuns: open });
  if (rebuilt.length === 0)
    output.line(
      known.length === 0
        ? `no record is kept in ${stores.map((store) => safeText(store.place)).join(' or ')}`
        : `nothing to rebuild: the newest run of ${known.map(safeText).join(', ')} is on record here`,
    );
  for (const { namespace, phase, run, steps, leftOut, standing } of rebuilt) {
    output.line(`${safeText(namespace)}: ${phase}, ${plural(steps, 'step')} in force, newest run ${safeText(run)}`);
    if (standing > 0)
      output.line(
        wrap(
          `  ${standing} of them ${standing === 1 ? 'is' : 'are'} not in the record, and in the cluster all the same: see sallyport verify ${safeText(namespace)}; sallyport rollback takes them back with the rest`,
          output.width,
          4,
        ),
      );
    for (const field of leftOut)
      output.line(wrap(`  not in the record, as it looked like a credential: ${safeText(field)}`, output.width, 4));
  }
  if (rebuilt.length > 0)
    output.line(
      wrap(
        'Traffic, decisions, the watch of a run that soaked and the older trail are not in the record: observe again, and see sallyport verify. An interrupted run: sallyport resume, or rollback.',
        output.width,
        2,
      ),
    );
  for (const text of notKept) output.note(wrap(safeText(text), output.width, 2));
  return EXIT.done;
}

export interface Rebuilt {
  readonly namespace: string;
  readonly phase: string;
  readonly run: string;
  readonly steps: number;
  readonly leftOut: readonly string[];
  /** Steps of this state that the record does not have, and that the objects show to be in force. */
  readonly standing: number;
}

/**
 * Takes over every record that is newer than what the state has; `known` are those that are not. What is kept of a namespace says the same
 * afterwards, wherever it is kept; `notKept` says where it could not be brought up to that.
 */
export async function takeOverRecords(
  stores: readonly UndoStore[],
  target: Target,
  state: Pick<WritableState, 'reader' | 'writer'>,
  by: string,
  at: number,
): Promise<{
  readonly rebuilt: readonly Rebuilt[];
  readonly known: readonly string[];
  readonly notKept: readonly string[];
}> {
  const rebuilt: Rebuilt[] = [];
  const known: string[] = [];
  const notKept: string[] = [];
  const { reader, writer } = state;
  for (const [namespace, records] of await recordsOf(stores, target.id)) {
    const first = records.findIndex(({ record }) => missingFrom(record, reader) !== undefined);
    if (first === -1) {
      known.push(namespace);
      continue;
    }
    // Whoever is at work there now writes its own record; what it wrote until the hold was given counts.
    const hold = await target.acquire([namespace], `${by} state rebuild`);
    try {
      const taken: NamespaceRecord[] = [];
      let standing: ReadonlySet<string> = new Set();
      let after = 0;
      // An older record may know of steps that the newer one tells no more of, as they were taken back: it comes first.
      for (const { place, store } of records.slice(first)) {
        const now = await store.read(namespace);
        if (now === undefined) continue;
        const record = parseKept(now, place);
        const found = await findWritten(record, target);
        standing = await findStanding(record, found, reader, target);
        after = takeOver(writer, { record, found, standing, after, by, at, place });
        taken.push(record);
      }
      const last = taken.at(-1);
      if (last === undefined) {
        known.push(namespace);
        continue;
      }
      // Else a record that is behind, or that lacks what stands, would be held against this state for ever.
      if (standing.size > 0 || records.some(({ record }) => !isSameState(record, last)))
        await refreshUndo(last.run, [namespace], {
          target,
          journal: openJournal(writer),
          clock: { now: () => at },
          by,
          undo: stores,
          emit: (event) => {
            if (event.kind === 'undo-not-kept')
              notKept.push(`the way back of ${namespace} in ${event.place} is as it was before: ${event.error}`);
          },
        });
      const inForce = reader.applied().filter((step) => step.namespace === namespace).length;
      const { phase, run, leftOut } = last;
      rebuilt.push({ namespace, phase, run, steps: inForce, leftOut, standing: standing.size });
    } finally {
      await hold.release();
    }
  }
  return { rebuilt, known, notKept };
}

function isSameState(a: NamespaceRecord, b: NamespaceRecord): boolean {
  const told = ({ run, phase, steps }: NamespaceRecord): Json => [
    run,
    phase,
    ...steps.map((step) => `${stepKey(step)} ${step.state}`),
  ];
  return equalJson(told(a), told(b));
}

/**
 * Steps here that were begun, and of which the record knows nothing: whoever kept it may have had a copy of this state from before they were
 * written. Then the objects tell whether they are in force.
 */
async function findStanding(
  record: NamespaceRecord,
  found: Found,
  reader: WritableState['reader'],
  target: Target,
): Promise<ReadonlySet<string>> {
  const { namespace } = record;
  const isOver = new Set(record.runs.filter(({ outcome }) => outcome !== undefined).map(({ id }) => id));
  const ending = reader.openRuns().filter((run) => isOver.has(run.id) || run.namespace === namespace);
  const recorded = new Map(record.steps.map((step) => [stepKey(step), step]));
  const isWritten = (step: RecordedStep | undefined): boolean =>
    step !== undefined && (step.state === 'done' || step.state === 'undone' || found.has(step.seq));
  const inForce = new Set(reader.applied().map(({ seq }) => seq));
  const runs = new Set([...ending.map(({ id }) => id), ...reader.applied().map(({ run }) => run)]);
  const all = [...runs].flatMap((run) => reader.stepsOf(run)).toSorted((a, b) => a.seq - b.seq);
  const isDoubtful = (step: RecordedStep): boolean => {
    if (step.step.undoes !== undefined || isWritten(recorded.get(stepKey(step)))) return false;
    if (inForce.has(step.seq)) return step.step.namespace === namespace && !recorded.has(stepKey(step));
    // The record's own newest run goes on, and `resume` or `rollback` asks the object.
    const isEnding = isOver.has(step.run) || step.run !== record.run;
    return step.state === 'started' && isEnding && ending.some(({ id }) => id === step.run);
  };
  const doubtful = all.filter(isDoubtful);
  if (doubtful.length === 0) return new Set();
  const known = [
    ...record.steps.filter((step) => isWritten(step) && step.state !== 'undone' && step.step.undoes === undefined),
    ...all.filter((step) => inForce.has(step.seq) && step.step.namespace !== namespace),
  ].map(({ step, change }) => change ?? step.change);
  const live = new Map<string, KubeManifest | undefined>();
  const read = async (ref: ObjectRef): Promise<void> => {
    if (!live.has(refKey(ref))) live.set(refKey(ref), await target.readObject(ref));
  };
  const steps = doubtful.map((step): DoubtfulStep => ({
    key: stepKey(step),
    change: step.change ?? step.step.change,
    ...(step.uid === undefined ? {} : { uid: step.uid }),
  }));
  for (const { change } of steps) await read(changeRef(change));
  return stillStanding(steps, known, live);
}

/** The records of each namespace, oldest first, in the order of names. */
async function recordsOf(
  stores: readonly UndoStore[],
  target: string,
): Promise<readonly (readonly [string, readonly Kept[]])[]> {
  const found = new Map<string, Kept[]>();
  for (const store of stores)
    for (const { namespace, record } of await store.list()) {
      const head = parseRecordHead(record);
      if (head !== undefined && head.target !== target)
        throw new Failure({
          code: 'SP624',
          exit: EXIT.state,
          message: `the record of ${safeText(namespace)} is of another cluster or directory (${safeText(head.target)}), not of ${safeText(target)}`,
          where: store.place,
          hint: 'choose the cluster with --context or --manifests, or another folder with undo.path',
        });
      const parsed = parseKept(record, store.place);
      const kept = found.get(parsed.namespace) ?? [];
      kept.push({ record: parsed, place: store.place, store });
      found.set(parsed.namespace, kept);
    }
  return [...found]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([namespace, kept]) => [namespace, kept.toSorted((a, b) => (isNewer(a, b) ? 1 : -1))] as const);
}

/** Of two records of a namespace. Clocks of operators differ, so they decide only where nothing else does. */
function isNewer(a: Kept, b: Kept): boolean {
  const has = (one: Kept, other: Kept): boolean => one.record.runs.some((run) => run.id === other.record.run);
  if (has(a, b) !== has(b, a)) return has(a, b);
  if (a.record.run === b.record.run)
    return a.record.settled === b.record.settled ? a.record.at > b.record.at : a.record.settled > b.record.settled;
  // The cluster is written by everybody, a folder by one operator.
  return a.store.exposed === b.store.exposed ? a.record.at > b.record.at : a.store.exposed;
}

function parseKept(record: Json, place: string): NamespaceRecord {
  return parseNamespaceRecord(record, place);
}

/**
 * Steps of an open run whose end the record does not know: how far it came is seen by the objects. Steps are written in order, so
 * everything before the last one that is to be seen was written too; that one is left to `resume` or `rollback` to judge.
 */
async function findWritten(record: NamespaceRecord, target: Target): Promise<Found> {
  const open = record.runs.find((run) => run.id === record.run)?.outcome === undefined;
  const unsure = record.steps.filter(
    (step) => open && step.run === record.run && (step.state === 'pending' || step.state === 'started'),
  );
  let last = -1;
  let isEdited = false;
  for (const [index, step] of unsure.entries()) {
    const change = step.change ?? step.step.change;
    if (changesNothing(change)) continue;
    const live = await target.readObject(changeRef(change));
    const { kind } = classifyChange(change, live);
    // What others have edited since was written all the same: it is in force, and drifted.
    const edited = kind === 'foreign-change' && leavesTrace(change, live, undefined);
    if (kind !== 'applied' && !edited) continue;
    last = index;
    isEdited = edited;
  }
  return new Map(
    unsure
      .slice(0, last + 1)
      .map((step, index) => [step.seq, index === last && !isEdited ? ('last' as const) : ('written' as const)]),
  );
}

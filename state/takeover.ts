// What another state has written, taken over from the record that it kept outside.
import type { NamespaceRecord, RecordedStep, RunHead } from '../src/engine/contract.ts';
import type { Change } from '../src/plan/change.ts';
import type { Plan } from '../src/plan/plan.ts';
import { appendAudit } from './audit.ts';
import type { Handle } from './handle.ts';
import { HANDLE, write } from './handle.ts';
import type { Row } from './rows.ts';
import { parseStepRow, planColumn } from './rows.ts';
import type { Writer } from './writer.ts';

/** What the objects say of steps that the record knows nothing of: written, and whether anything came after it. */
export type Found = ReadonlyMap<number, 'written' | 'last'>;

export interface TakeOver {
  readonly record: NamespaceRecord;
  /** By sequence number of the record. */
  readonly found: Found;
  readonly by: string;
  readonly at: number;
  /** Where the record was kept. */
  readonly place: string;
}

/**
 * Puts the record of a namespace into the state, in one transaction: runs and steps that are missing, outcomes of those that are there, the
 * phase, and a line on the trail. Steps of the namespace that are in force here and not in the record were taken back elsewhere.
 */
export function takeOver(writer: Writer, { record, found, by, at, place }: TakeOver): void {
  const handle = writer[HANDLE];
  const { db } = handle;
  write(handle, `taking over the record of ${record.namespace}`, () => {
    for (const run of record.runs) takeRun(handle, run);
    if (wentOn(handle, record, found))
      db.prepare('UPDATE runs SET outcome = NULL, ended_at = NULL WHERE id = ?').run(record.run);
    const inForce = writer.applied().filter((step) => step.namespace === record.namespace);
    const known = new Map<number, number>();
    // The order in the record is the order in which they were written, and the way back follows it.
    const pinned = undoneByOpenRuns(handle);
    let last = 0;
    for (const step of record.steps) {
      const seq = inOrder(handle, takeStep(handle, step, known, found.get(step.seq), record.at), last, pinned);
      known.set(step.seq, seq);
      last = Math.max(last, seq);
    }
    // What a run that is over left undecided here was decided elsewhere: it is in the record, or nothing of it stands.
    const ended = db.prepare(
      "UPDATE steps SET state = 'skipped', error = 'the run was ended elsewhere', ended_at = ? WHERE run = ? AND state IN ('pending', 'started')",
    );
    for (const run of record.runs) if (run.outcome !== undefined) ended.run(run.endedAt ?? record.at, run.id);
    // One run of a namespace is open at a time: any other than the record's newest was given up by whoever took it over.
    for (const run of writer.openRuns()) {
      if (run.namespace !== record.namespace || run.id === record.run) continue;
      ended.run(record.at, run.id);
      db.prepare("UPDATE runs SET outcome = 'partial', ended_at = ? WHERE id = ?").run(record.at, run.id);
    }
    const kept = new Set(known.values());
    for (const gone of inForce)
      if (!kept.has(gone.seq)) db.prepare("UPDATE steps SET state = 'undone' WHERE seq = ?").run(gone.seq);
    db.prepare(
      `INSERT INTO namespaces (name, phase, since) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET phase = excluded.phase, since = excluded.since`,
    ).run(record.namespace, record.phase, at);
    const line = `from ${place}: run ${record.run} by ${record.by}, ${new Date(record.at).toISOString()}`;
    appendAudit(handle, {
      at,
      who: by,
      what: 'record taken over',
      object: `namespace ${record.namespace}`,
      reason: line,
      namespace: record.namespace,
    });
  });
}

/**
 * The record's newest run was given up here and went on elsewhere, with a copy of this state: a step of it is written that here is not. Then it
 * is open again, so that `resume` or `rollback` finds out about each step that the record leaves undecided.
 */
function wentOn({ db, file }: Handle, record: NamespaceRecord, found: Found): boolean {
  const run = record.runs.find(({ id }) => id === record.run);
  if (run === undefined || run.outcome !== undefined) return false;
  const here = db.prepare<[string], Row>('SELECT * FROM steps WHERE run = ?').all(run.id);
  const settled = new Set(
    here.map((row) => parseStepRow(row, file)).flatMap((step) => (isWritten(step.state) ? step.index : [])),
  );
  return record.steps.some(
    (step) => step.run === run.id && (isWritten(step.state) || found.has(step.seq)) && !settled.has(step.index),
  );
}

function isWritten(state: RecordedStep['state']): boolean {
  return state === 'done' || state === 'undone';
}

function isEnd(state: RecordedStep['state']): boolean {
  return state !== 'pending' && state !== 'started';
}

/** Numbers that open runs name as what they undo: these stay. */
function undoneByOpenRuns({ db, file }: Handle): ReadonlySet<number> {
  const rows = db
    .prepare<[], Row>('SELECT steps.* FROM steps JOIN runs ON runs.id = steps.run WHERE runs.outcome IS NULL')
    .all();
  return new Set(rows.flatMap((row) => parseStepRow(row, file).step.undoes ?? []));
}

/** A step that came here with the record of another namespace, before older ones of this, moves behind them. */
function inOrder({ db }: Handle, seq: number, last: number, pinned: ReadonlySet<number>): number {
  if (seq > last || pinned.has(seq)) return seq;
  const moved = Number(db.prepare('SELECT max(seq) FROM steps').pluck().get()) + 1;
  db.prepare('UPDATE steps SET seq = ? WHERE seq = ?').run(moved, seq);
  return moved;
}

function takeRun({ db }: Handle, run: RunHead): void {
  const here = db.prepare<[string], Row>('SELECT outcome FROM runs WHERE id = ?').get(run.id);
  if (here !== undefined) {
    if (here['outcome'] === null && run.outcome !== undefined)
      db.prepare('UPDATE runs SET outcome = ?, ended_at = ? WHERE id = ?').run(
        run.outcome,
        run.endedAt ?? run.startedAt,
        run.id,
      );
    return;
  }
  // What was judged before the run is not in the record; its steps are.
  const plan: Plan = {
    namespace: run.namespace,
    from: run.from,
    to: run.to,
    direction: run.kind === 'advance' || run.kind === 'grant' ? 'up' : 'down',
    steps: [],
    gates: [],
    denied: [],
    unknown: [],
    findings: [],
    simulated: { edges: 0, states: 0 },
    hash: run.planHash,
  };
  db.prepare(
    `INSERT INTO runs (id, kind, namespace, from_phase, to_phase, plan_hash, started_at, started_by, plan, pulls_back, outcome, ended_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(
    run.id,
    run.kind,
    run.namespace,
    run.from,
    run.to,
    run.planHash,
    run.startedAt,
    run.by,
    planColumn(plan),
    run.pullsBack === undefined ? null : JSON.stringify(run.pullsBack),
    run.outcome ?? null,
    run.outcome === undefined ? null : (run.endedAt ?? run.startedAt),
  );
}

/** The sequence number that the step has here. */
function takeStep(
  { db, file }: Handle,
  step: RecordedStep,
  known: ReadonlyMap<number, number>,
  found: 'written' | 'last' | undefined,
  recordedAt: number,
): number {
  const state = found === undefined ? step.state : found === 'written' ? 'done' : 'started';
  const begun = state !== 'pending' && state !== 'skipped';
  const change: Change | undefined = step.change ?? (begun ? step.step.change : undefined);
  const at = step.at ?? recordedAt;
  const ended = state === 'done' || state === 'failed' || state === 'undone' ? at : null;
  const row = db
    .prepare<[string, number], Row>(
      `SELECT steps.*, runs.outcome IS NOT NULL AS over FROM steps JOIN runs ON runs.id = steps.run
       WHERE steps.run = ? AND steps.position = ?`,
    )
    .get(step.run, step.index);
  if (row !== undefined) {
    const here = parseStepRow(row, file);
    // A before-image on record stays: it was read before the write.
    const image = here.change === undefined && change !== undefined ? JSON.stringify(change) : undefined;
    if (image !== undefined) db.prepare('UPDATE steps SET change = ? WHERE seq = ?').run(image, here.seq);
    // What is done is known to be: a record that was kept before it must not take that back.
    if (isWritten(here.state) && !isWritten(state)) return here.seq;
    // Of a run that is over here every step has an end: a record that was kept before it must not take that back either.
    if (row['over'] === 1 && (state === 'pending' || state === 'started') && isEnd(here.state)) return here.seq;
    db.prepare(
      'UPDATE steps SET state = ?, uid = coalesce(?, uid), error = ?, ended_at = coalesce(?, ended_at) WHERE seq = ?',
    ).run(state, step.uid ?? null, step.error ?? null, ended, here.seq);
    return here.seq;
  }
  const newest = db.prepare('SELECT max(seq) FROM steps').pluck().get();
  const seq = typeof newest === 'number' ? newest + 1 : 1;
  // What it undid and is not in the record has long been undone.
  const undoes = step.step.undoes?.flatMap((undone) => known.get(undone) ?? []);
  db.prepare(
    `INSERT INTO steps (run, position, seq, step, state, change, uid, error, started_at, ended_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(
    step.run,
    step.index,
    seq,
    JSON.stringify(undoes === undefined ? step.step : { ...step.step, undoes }),
    state,
    change === undefined ? null : JSON.stringify(change),
    step.uid ?? null,
    step.error ?? null,
    begun ? at : null,
    ended,
  );
  return seq;
}

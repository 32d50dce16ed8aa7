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
  /** Steps here, by `stepKey`, that the record does not have and the objects show to be in force all the same. */
  readonly standing?: ReadonlySet<string>;
  /** Steps that come before those of the record: the highest number of an older record that was taken over just before. */
  readonly after?: number;
  readonly by: string;
  readonly at: number;
  /** Where the record was kept. */
  readonly place: string;
}

/** Names a step whatever number it has. */
export function stepKey({ run, index }: Pick<RecordedStep, 'run' | 'index'>): string {
  return `${run} ${index}`;
}

/**
 * Puts the record of a namespace into the state, in one transaction: runs and steps that are missing, outcomes of those that are there, the
 * phase, and a line on the trail. Steps of the namespace that are in force here and not in the record were taken back elsewhere, unless the
 * objects say otherwise (`standing`): whoever kept the record had a copy of this state from before they were written.
 * Returns the highest number of the record's steps here.
 */
export function takeOver(writer: Writer, taken: TakeOver): number {
  const { record, found, by, at, place, standing = new Set<string>(), after = 0 } = taken;
  const handle = writer[HANDLE];
  const { db } = handle;
  return write(handle, `taking over the record of ${record.namespace}`, () => {
    for (const run of record.runs) takeRun(handle, run);
    if (wentOn(handle, record, found))
      db.prepare('UPDATE runs SET outcome = NULL, ended_at = NULL WHERE id = ?').run(record.run);
    const inForce = writer
      .applied()
      .filter((step) => step.namespace === record.namespace)
      .map(({ seq }) => seq);
    const known = new Map<number, number>();
    // The order in the record is the order in which they were written, and the way back follows it.
    const pinned = undoneByOpenRuns(handle);
    let last = after;
    for (const step of record.steps) {
      const seq = inOrder(
        handle,
        takeStep(handle, step, { known, found: found.get(step.seq), at: record.at, standing }),
        last,
        pinned,
      );
      known.set(step.seq, seq);
      last = Math.max(last, seq);
    }
    // What a run that is over left undecided here was decided elsewhere: it is in the record, or stands in the cluster, or is not there.
    for (const run of record.runs)
      if (run.outcome !== undefined) settleEnded(handle, run.id, run.endedAt ?? record.at, standing);
    // One run of a namespace is open at a time: any other than the record's newest was given up by whoever took it over.
    for (const run of writer.openRuns()) {
      if (run.namespace !== record.namespace || run.id === record.run) continue;
      settleEnded(handle, run.id, record.at, standing);
      db.prepare("UPDATE runs SET outcome = 'partial', ended_at = ? WHERE id = ?").run(record.at, run.id);
    }
    const kept = new Set(known.values());
    const isStanding = (seq: number): boolean => {
      const row = db.prepare<[number], Row>('SELECT * FROM steps WHERE seq = ?').get(seq);
      return row !== undefined && standing.has(stepKey(parseStepRow(row, handle.file)));
    };
    for (const seq of inForce)
      if (!kept.has(seq) && !isStanding(seq)) db.prepare("UPDATE steps SET state = 'undone' WHERE seq = ?").run(seq);
    db.prepare(
      `INSERT INTO namespaces (name, phase, since) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET phase = excluded.phase, since = excluded.since`,
    ).run(record.namespace, record.phase, at);
    const more = standing.size === 0 ? '' : `; ${standing.size} more found in the cluster, which it does not have`;
    const line = `from ${place}: run ${record.run} by ${record.by}, ${new Date(record.at).toISOString()}${more}`;
    appendAudit(handle, {
      at,
      who: by,
      what: 'record taken over',
      object: `namespace ${record.namespace}`,
      reason: line,
      namespace: record.namespace,
    });
    return last;
  });
}

/** Every step of a run that is over has an end: what was begun and stands is done, the rest was not written or is gone again. */
function settleEnded({ db, file }: Handle, run: string, at: number, standing: ReadonlySet<string>): void {
  const rows = db
    .prepare<[string], Row>("SELECT * FROM steps WHERE run = ? AND state IN ('pending', 'started')")
    .all(run);
  for (const step of rows.map((row) => parseStepRow(row, file)))
    if (standing.has(stepKey(step)))
      db.prepare("UPDATE steps SET state = 'done', ended_at = ?, error = NULL WHERE seq = ?").run(at, step.seq);
    else
      db.prepare(
        "UPDATE steps SET state = 'skipped', error = 'the run was ended elsewhere', ended_at = ? WHERE seq = ?",
      ).run(at, step.seq);
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
  of: {
    readonly known: ReadonlyMap<number, number>;
    readonly found: 'written' | 'last' | undefined;
    /** When the record was kept. */
    readonly at: number;
    readonly standing: ReadonlySet<string>;
  },
): number {
  const { known, found, standing } = of;
  const isFound = found === 'written' || (standing.has(stepKey(step)) && !isWritten(step.state));
  const state = isFound ? 'done' : found === 'last' ? 'started' : step.state;
  const begun = state !== 'pending' && state !== 'skipped';
  const change: Change | undefined = step.change ?? (begun ? step.step.change : undefined);
  const at = step.at ?? of.at;
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

import type {
  AuditEntry,
  Journal,
  JournalStep,
  RunOutcome,
  RunRecord,
  SoakRecord,
  StepState,
} from '../src/engine/contract.ts';
import { refOf } from '../src/model/object.ts';
import type { PhaseName } from '../src/model/phase.ts';
import type { Change } from '../src/plan/change.ts';
import { appendAudit } from './audit.ts';
import type { Handle } from './handle.ts';
import { HANDLE, write } from './handle.ts';
import type { Row } from './rows.ts';
import { parseStepRow, planColumn, soakColumns } from './rows.ts';
import type { Writer } from './writer.ts';

/**
 * The durable record of runs. Each call is one transaction, on disk when it returns.
 *
 * A step goes pending -> started -> done, failed or skipped, and a done one to undone by the step that undoes it. A step whose
 * outcome was not known (started, or failed half-way) may turn out done; or not written, and then goes back to pending, the only way
 * to start it again: a before-image on record is never overwritten by a later reading, which might be of our own write.
 * Anything else, and any call on a run that is closed or not on record, throws an Error: it is our bug.
 */
export function openJournal(writer: Writer): Journal {
  const handle = writer[HANDLE];
  const { db } = handle;

  const openRun = (run: RunRecord): void => {
    db.prepare(
      `INSERT INTO runs (id, kind, namespace, from_phase, to_phase, plan_hash, started_at, started_by, plan, pulls_back)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      run.id,
      run.kind,
      run.namespace,
      run.from,
      run.to,
      run.planHash,
      run.startedAt,
      run.by,
      planColumn(run.plan),
      run.pullsBack === undefined ? null : JSON.stringify(run.pullsBack),
    );
    const add = db.prepare("INSERT INTO steps (run, position, seq, step, state) VALUES (?, ?, ?, ?, 'pending')");
    let seq = nextSeq(handle);
    run.plan.steps.forEach((step, index) => {
      // Said now, before anything is written to the cluster, rather than when the step is done.
      for (const undone of step.undoes ?? []) {
        const found = db.prepare("SELECT 1 FROM steps WHERE seq = ? AND state = 'done'").get(undone);
        if (found === undefined) throw new Error(`step ${step.id} undoes step ${undone}, which is not done`);
      }
      add.run(run.id, index, seq, JSON.stringify(step));
      seq += 1;
    });
  };

  const move = (run: string, index: number, from: readonly StepState[], to: StepState): JournalStep => {
    assertOpen(handle, run);
    const row = db.prepare<[string, number], Row>('SELECT * FROM steps WHERE run = ? AND position = ?').get(run, index);
    if (row === undefined) throw new Error(`run ${run} has no step ${index}`);
    const step = parseStepRow(row, handle.file);
    if (!from.includes(step.state))
      throw new Error(`step ${index} (${step.step.id}) of run ${run} is ${step.state} and cannot become ${to}`);
    return step;
  };

  const stepStarted = (run: string, index: number, change: Change, at: number): void => {
    const step = move(run, index, ['pending'], 'started');
    const newest = db.prepare('SELECT max(seq) FROM steps WHERE run <> ?').pluck().get(run);
    const seq = typeof newest === 'number' && newest > step.seq ? nextSeq(handle) : step.seq;
    db.prepare(
      "UPDATE steps SET state = 'started', seq = ?, change = ?, started_at = ?, error = NULL WHERE run = ? AND position = ?",
    ).run(seq, JSON.stringify(change), at, run, index);
  };

  const stepDone = (
    run: string,
    index: number,
    result: { readonly uid?: string; readonly at: number; readonly audit: AuditEntry },
  ): void => {
    const { step, change } = move(run, index, ['started', 'failed'], 'done');
    if (change === undefined) throw new Error(`step ${index} (${step.id}) of run ${run} is done but was never started`);
    db.prepare(
      "UPDATE steps SET state = 'done', uid = ?, ended_at = ?, error = NULL WHERE run = ? AND position = ?",
    ).run(result.uid ?? null, result.at, run, index);
    const undo = db.prepare("UPDATE steps SET state = 'undone' WHERE seq = ? AND state IN ('done', 'undone')");
    for (const undone of step.undoes ?? [])
      if (undo.run(undone).changes !== 1) throw new Error(`step ${step.id} undoes step ${undone}, which is not done`);
    const { namespace } = change.kind === 'create' ? refOf(change.object) : change.ref;
    appendAudit(handle, result.audit, [step.namespace, ...(namespace === undefined ? [] : [namespace])]);
  };

  const end = (
    run: string,
    index: number,
    from: readonly StepState[],
    to: StepState,
    error: string,
    at: number,
  ): void => {
    move(run, index, from, to);
    db.prepare('UPDATE steps SET state = ?, error = ?, ended_at = ? WHERE run = ? AND position = ?').run(
      to,
      error,
      at,
      run,
      index,
    );
  };

  const stepReset = (run: string, index: number): void => {
    move(run, index, ['started', 'failed', 'skipped'], 'pending');
    db.prepare(
      `UPDATE steps SET state = 'pending', change = NULL, uid = NULL, error = NULL, started_at = NULL, ended_at = NULL
       WHERE run = ? AND position = ?`,
    ).run(run, index);
  };

  const setPhase = (namespace: string, phase: PhaseName, at: number): void => {
    db.prepare(
      `INSERT INTO namespaces (name, phase, since) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET phase = excluded.phase, since = excluded.since WHERE phase <> excluded.phase`,
    ).run(namespace, phase, at);
  };

  const closeRun = (run: string, outcome: RunOutcome, phase: PhaseName, at: number): void => {
    const namespace = assertOpen(handle, run);
    db.prepare('UPDATE runs SET outcome = ?, ended_at = ? WHERE id = ?').run(outcome, at, run);
    setPhase(namespace, phase, at);
  };

  const saveSoak = (soak: SoakRecord): void => {
    assertOpen(handle, soak.run);
    db.prepare(
      `INSERT INTO soaks (run, since, until, left_to_resume, looked_at, position, memory, awaited)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (run) DO UPDATE SET since = excluded.since, until = excluded.until,
         left_to_resume = excluded.left_to_resume, looked_at = excluded.looked_at, position = excluded.position,
         memory = excluded.memory, awaited = excluded.awaited`,
    ).run(...soakColumns(soak));
  };

  const pullBack = (run: RunRecord, audit: AuditEntry): void => {
    if (run.pullsBack === undefined) throw new Error(`run ${run.id} pulls no run back`);
    const pulled = run.pullsBack.run;
    assertOpen(handle, pulled);
    db.prepare("UPDATE steps SET state = 'skipped', error = ?, ended_at = ? WHERE run = ? AND state = 'pending'").run(
      'the run was pulled back',
      run.startedAt,
      pulled,
    );
    const unsettled = db.prepare("SELECT 1 FROM steps WHERE run = ? AND state = 'started'").get(pulled);
    if (unsettled !== undefined) throw new Error(`run ${pulled} has a step whose outcome is not known`);
    db.prepare("UPDATE runs SET outcome = 'undone', ended_at = ? WHERE id = ?").run(run.startedAt, pulled);
    openRun(run);
    appendAudit(handle, audit);
  };

  const nameStep = (run: string, index: number): string => `step ${index} of run ${run}`;
  return {
    openRun: (run) => write(handle, `recording run ${run.id}`, () => openRun(run)),
    stepStarted: (run, index, change, at) =>
      write(handle, `recording the start of ${nameStep(run, index)}`, () => stepStarted(run, index, change, at)),
    stepDone: (run, index, result) =>
      write(handle, `recording the end of ${nameStep(run, index)}`, () => stepDone(run, index, result)),
    stepFailed: (run, index, error, at) =>
      write(handle, `recording the failure of ${nameStep(run, index)}`, () =>
        end(run, index, ['pending', 'started'], 'failed', error, at),
      ),
    stepSkipped: (run, index, reason, at) =>
      write(handle, `recording that ${nameStep(run, index)} was skipped`, () =>
        end(run, index, ['pending', 'started', 'failed'], 'skipped', reason, at),
      ),
    stepReset: (run, index) =>
      write(handle, `recording that ${nameStep(run, index)} was not written`, () => stepReset(run, index)),
    closeRun: (run, outcome, phase, at) => write(handle, `closing run ${run}`, () => closeRun(run, outcome, phase, at)),
    saveSoak: (soak) => write(handle, `recording the watch of run ${soak.run}`, () => saveSoak(soak)),
    soakOf: (run) => writer.soakOf(run),
    pullBack: (run, audit) =>
      write(handle, `recording that run ${run.pullsBack?.run ?? ''} is pulled back`, () => pullBack(run, audit)),
    setPhase: (namespace, phase, at) =>
      write(handle, `recording the phase of ${namespace}`, () => setPhase(namespace, phase, at)),
    openRuns: () => writer.openRuns(),
    headOf: (run) => writer.headOf(run),
    stepsOf: (run) => writer.stepsOf(run),
    applied: () => writer.applied(),
    phases: () => writer.phases(),
    resolutions: () => writer.resolutions(),
    audit: (entry) => writer.appendAudit(entry),
  };
}

function nextSeq({ db }: Handle): number {
  const newest = db.prepare('SELECT max(seq) FROM steps').pluck().get();
  return typeof newest === 'number' ? newest + 1 : 1;
}

/** The namespace of a run that is on record and open. */
function assertOpen({ db }: Handle, run: string): string {
  const row = db.prepare<[string], Row>('SELECT namespace, outcome FROM runs WHERE id = ?').get(run);
  if (row === undefined) throw new Error(`run ${run} is not on record`);
  if (row['outcome'] !== null) throw new Error(`run ${run} is closed`);
  return String(row['namespace']);
}

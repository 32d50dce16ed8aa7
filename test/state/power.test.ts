// What a loss of power can leave of a state: the file as it was flushed last, and the log beside it, cut off anywhere. What a disk does that
// says it has written and has not is beyond a test.
import { chmodSync, copyFileSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { HANDLE } from '../../state/handle.ts';
import { openJournal } from '../../state/journal.ts';
import { openState } from '../../state/open.ts';
import { failureOf, makeAudit, makeCreate, makeDirectory, makeRun, makeState, makeStep, TARGET } from './samples.ts';
import './clean-up.ts';

const STEPS = 6;

/** A run as it goes; `after` is called after each record of it. */
function record(journal: ReturnType<typeof openJournal>, after: () => void): void {
  const steps = Array.from({ length: STEPS }, (_, index) => makeStep(`s${index}`, makeCreate(`s${index}`)));
  journal.openRun(makeRun('r1', steps));
  after();
  for (let index = 0; index < STEPS; index += 1) {
    journal.stepStarted('r1', index, makeCreate(`s${index}`), 7_000);
    after();
    journal.stepDone('r1', index, { at: 7_001, audit: makeAudit('created', { run: 'r1' }) });
    after();
  }
  journal.closeRun('r1', 'done', 'monitor', 8_000);
  after();
}

/** What is on record, in the order in which it came there. */
function progressOf(file: string): number {
  const { reader, close } = openState(file, { target: TARGET, mode: 'read' });
  try {
    if (reader.runs().length === 0) return 0;
    const weight = { pending: 0, started: 1, done: 2, failed: 2, skipped: 2, undone: 2 } as const;
    const steps = reader.stepsOf('r1').reduce((sum, step) => sum + weight[step.state], 0);
    const done = reader.stepsOf('r1').filter((step) => step.state === 'done').length;
    expect(reader.audit()).toHaveLength(done);
    return 1 + steps + (reader.runs()[0]?.outcome === 'done' ? 1 : 0);
  } finally {
    close();
  }
}

describe('power that goes', () => {
  it('leaves what was committed before, wherever the log is cut off, and never half of a record', () => {
    const { file, writer, close } = makeState();
    const log = `${file}-wal`;
    const sizes: number[] = [];
    record(openJournal(writer), () => sizes.push(statSync(log).size));
    const base = readFileSync(file);
    const whole = readFileSync(log);
    close();
    // Each commit makes the log longer: so it is flushed before the next write to the cluster.
    expect(new Set(sizes).size).toBe(sizes.length);
    const cuts = new Set([0, 1, 31, 32, 33]);
    for (const size of sizes) for (const at of [size - 4097, size - 1, size, size + 1]) cuts.add(at);
    for (let at = 0; at < whole.length; at += 9973) cuts.add(at);
    const copy = join(makeDirectory(), 'state.sqlite');
    for (const cut of [...cuts].filter((at) => at >= 0 && at <= whole.length)) {
      writeFileSync(copy, base);
      writeFileSync(`${copy}-wal`, whole.subarray(0, cut));
      if (existsSync(`${copy}-shm`)) truncateSync(`${copy}-shm`, 0);
      const committed = sizes.filter((size) => size <= cut).length;
      expect(progressOf(copy), `the log cut off at ${cut} of ${whole.length}`).toBe(committed);
      // It is taken up from there, by a writer.
      const again = openState(copy, { target: TARGET, mode: 'write' });
      if (committed < sizes.length) expect(again.reader.openRuns().length).toBe(committed === 0 ? 0 : 1);
      again.close();
    }
  });

  it('leaves the last whole record where the end of the log was written as noise', () => {
    const { file, writer, close } = makeState();
    const sizes: number[] = [];
    record(openJournal(writer), () => sizes.push(statSync(`${file}-wal`).size));
    const base = readFileSync(file);
    const whole = readFileSync(`${file}-wal`);
    close();
    const copy = join(makeDirectory(), 'state.sqlite');
    for (const [index, size] of sizes.entries()) {
      const torn = Buffer.from(whole);
      torn.fill(0xa5, size);
      writeFileSync(copy, base);
      writeFileSync(`${copy}-wal`, torn);
      if (existsSync(`${copy}-shm`)) truncateSync(`${copy}-shm`, 0);
      expect(progressOf(copy)).toBe(index + 1);
    }
  });

  it('finds every commit flushed: the log in full, on Macs through the drive', () => {
    const { writer, close } = makeState();
    const { db } = writer[HANDLE];
    const pragma = (name: string): unknown => db.pragma(name, { simple: true });
    expect(pragma('journal_mode')).toBe('wal');
    // 2 is FULL.
    expect(pragma('synchronous')).toBe(2);
    expect(pragma('fullfsync')).toBe(1);
    expect(pragma('checkpoint_fullfsync')).toBe(1);
    close();
  });
});

describe('a disk that is full', () => {
  it.each(['openRun', 'stepStarted', 'stepDone'])(
    'records nothing of %s, says so, and goes on when there is room',
    (which) => {
      const { file, writer, close } = makeState();
      const journal = openJournal(writer);
      const { db } = writer[HANDLE];
      const big = 'x'.repeat(200_000);
      const step = makeStep('a', makeCreate('a'));
      const run = makeRun('r1', [{ ...step, title: which === 'openRun' ? big : step.title }]);
      const calls: readonly (readonly [string, () => void])[] = [
        ['openRun', () => journal.openRun(run)],
        ['stepStarted', () => journal.stepStarted('r1', 0, makeCreate(which === 'stepStarted' ? big : 'a'), 1)],
        [
          'stepDone',
          () =>
            journal.stepDone('r1', 0, {
              at: 2,
              audit: { ...makeAudit('created', { run: 'r1' }), object: which === 'stepDone' ? big : 'a' },
            }),
        ],
        ['closeRun', () => journal.closeRun('r1', 'done', 'monitor', 3)],
      ];
      for (const [name, call] of calls) {
        if (name !== which) {
          call();
          continue;
        }
        const before = JSON.stringify([journal.stepsOf('r1'), writer.audit(), writer.runs()]);
        const pages = Number(db.pragma('page_count', { simple: true }));
        db.pragma(`max_page_count = ${pages}`);
        expect(failureOf(call)).toMatchObject({ code: 'SP507', exit: 5, where: file });
        expect(JSON.stringify([journal.stepsOf('r1'), writer.audit(), writer.runs()])).toBe(before);
        db.pragma('max_page_count = 1000000');
        call();
      }
      expect(writer.runs()).toMatchObject([{ id: 'r1', outcome: 'done' }]);
      close();
    },
  );
});

describe('a copy of a state', () => {
  it('is a state of its own: each of two writes to its own file, and the lock of one is not the other', () => {
    const first = makeState();
    openJournal(first.writer).openRun(makeRun('r1', [makeStep('a', makeCreate('a'))]));
    const db = new Database(first.file);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.close();
    const copy = join(makeDirectory(), 'state.sqlite');
    copyFileSync(first.file, copy);
    const second = openState(copy, { target: TARGET, mode: 'write' });
    openJournal(second.writer).stepStarted('r1', 0, makeCreate('a'), 1);
    expect(first.reader.stepsOf('r1')[0]?.state).toBe('pending');
    expect(second.reader.stepsOf('r1')[0]?.state).toBe('started');
    first.close();
    second.close();
  });

  it('without the log beside it has what was flushed into the file, whole', () => {
    const { file, writer, close } = makeState();
    record(openJournal(writer), () => undefined);
    const copy = join(makeDirectory(), 'state.sqlite');
    copyFileSync(file, copy);
    expect(progressOf(copy)).toBe(0);
    close();
  });
});

it('says so when the folder of a state may not be written, and leaves all as it is', () => {
  const { file, close } = makeState();
  close();
  const folder = join(file, '..');
  chmodSync(file, 0o666);
  chmodSync(folder, 0o555);
  const bytes = readFileSync(file);
  const child = join(import.meta.dirname, 'child.ts');
  const ran = spawnSync(process.execPath, [child, 'write-without-rights', file], { encoding: 'utf8' });
  chmodSync(folder, 0o700);
  expect(JSON.parse(ran.stdout)).toMatchObject({ code: 'SP506', exit: 5 });
  expect(readFileSync(file).equals(bytes)).toBe(true);
});

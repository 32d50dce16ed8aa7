import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NamespaceRecord } from '../../src/engine/contract.ts';
import { compareReports } from '../../src/report/compare.ts';
import { renderJson, reportFault } from '../../src/report/json.ts';
import { renderMarkdown } from '../../src/report/markdown.ts';
import type { AssessmentReport } from '../../src/report/model.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { openUndoFolder } from '../../src/targets/undo-folder.ts';
import { importState } from '../../state/copy.ts';
import { openJournal } from '../../state/journal.ts';
import { openState } from '../../state/open.ts';
import { parseNamespaceRecord } from '../../state/rows.ts';
import { sampleReport } from '../report/sample.ts';
import { NO_MORE, TARGET, makeEdge, makeEdit, makeInput, makeRun, makeState, makeStep } from '../state/samples.ts';
import '../state/clean-up.ts';
import fc from '../support/fast-check.ts';
import { HOSTILE_TEXTS, deepJson, jsonMutation, mutate, mutateJson, mutation, runs } from './mutate.ts';
import { outcomeOf } from './outcome.ts';

// What this program wrote and reads again: a state from another machine, the record beside a way back, a report to compare with. Whoever
// hands one over may have written anything into it.

let dir = '';
let good = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-kept-'));
  good = join(dir, 'good.sqlite');
  const state = makeState(good);
  const { writer } = state;
  writer.importEdges({
    inputs: [makeInput('a'.repeat(64))],
    edges: [makeEdge(), makeEdge({ port: 443 })],
    evidence: NO_MORE,
  });
  writer.addDecision({
    action: 'adopt',
    query: { ns: 'shop' },
    text: 'ns=shop',
    reason: 'r',
    by: 'me',
    at: 1,
    matched: ['x'],
  });
  openJournal(writer).openRun(makeRun('r1', [makeStep('one', makeEdit('a', 'b'))]));
  state.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let count = 0;
const place = (): string => join(dir, `${(count += 1)}.sqlite`);

/** Everything that commands read of a state. */
function readAll(file: string): string {
  const state = openState(file, { target: TARGET, mode: 'read' });
  try {
    const { reader } = state;
    return JSON.stringify([
      reader.edges(),
      reader.evidence(),
      reader.decisions(),
      reader.runs(),
      reader.openRuns(),
      reader.audit(),
      reader.gates('shop'),
      reader.applied(),
    ]);
  } finally {
    state.close();
  }
}

describe('a state file of somebody else', () => {
  it('is read whole as it is', async () => {
    expect((await outcomeOf(() => readAll(good))).kind).toBe('result');
  });

  it('with damaged bytes is read or refused as a state file', async () => {
    const bytes = readFileSync(good);
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (by) => {
        const file = place();
        writeFileSync(file, by.reduce(mutate, bytes));
        const outcome = await outcomeOf(() => readAll(file));
        if (outcome.kind === 'failure') expect(outcome.detail.exit).toBe(5);
        const here = place();
        const imported = await outcomeOf(() => importState(here, TARGET, file, 'x'));
        if (imported.kind === 'failure') expect(imported.detail.exit).toBe(5);
        for (const one of [file, here])
          for (const end of ['', '-wal', '-shm', '.lock']) rmSync(one + end, { force: true });
      }),
      { numRuns: runs(40) },
    );
  });

  it('with any value in any column is read or refused with the row', async () => {
    const tables = new Database(good, { readonly: true });
    const columns = tables
      .prepare<[], { name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
      .all()
      .flatMap(({ name }) =>
        tables
          .prepare<[], { name: string }>(`PRAGMA table_info(${name})`)
          .all()
          .map((column) => [name, column.name] as const),
      );
    const textOf = (table: string, column: string): unknown =>
      tables.prepare(`SELECT ${column} FROM ${table} LIMIT 1`).pluck().get();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...columns), jsonMutation, fc.boolean(), async ([table, column], by, wild) => {
        const before = textOf(table, column);
        let value: unknown;
        try {
          value = JSON.stringify(mutateJson(JSON.parse(String(before)), by));
        } catch {
          value = by.key;
        }
        if (wild) value = HOSTILE_TEXTS[by.steps[0] ?? 0] ?? Number.MAX_VALUE;
        const file = place();
        copyFileSync(good, file);
        const db = new Database(file);
        db.pragma('foreign_keys = off');
        try {
          db.prepare(`UPDATE ${table} SET ${column} = ?`).run(value);
        } catch {
          // A constraint of the table: no such file can be made this way.
        } finally {
          db.close();
        }
        const outcome = await outcomeOf(() => readAll(file));
        if (outcome.kind === 'failure') expect(outcome.detail.exit).toBe(5);
        for (const end of ['', '-wal', '-shm', '.lock']) rmSync(file + end, { force: true });
      }),
      { numRuns: runs(80) },
    );
    tables.close();
  });
});

describe('the record beside a way back', () => {
  const record = {
    target: TARGET.id,
    namespace: 'shop',
    phase: 'monitor',
    at: 1,
    by: 'me',
    run: 'r1',
    runs: [],
    steps: [],
    leftOut: [],
  };
  it('of any shape is taken or refused, from a folder with any name', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(jsonMutation, { minLength: 0, maxLength: 3 }), async (by) => {
        await outcomeOf(() => parseNamespaceRecord(by.reduce<unknown>(mutateJson, record), 'here'));
      }),
      { numRuns: runs(200) },
    );
    for (const text of [...HOSTILE_TEXTS, deepJson(100_000), deepJson(100_000, 'object'), '{"namespace":"../../x"}']) {
      const folder = mkdtempSync(join(dir, 'undo-'));
      const store = openUndoFolder(folder);
      await store.write({ namespace: '../../x', files: [], script: '', record: record as unknown as NamespaceRecord });
      writeFileSync(join(folder, 'record.json'), text);
      await outcomeOf(() => store.list());
      await outcomeOf(async () => {
        const read = await store.read('../../x');
        if (read !== undefined) parseNamespaceRecord(read, folder);
      });
      await store.remove('../../x');
    }
  });
});

describe('a report to compare with', () => {
  it('of any shape is compared or refused, and what is made of it can be printed', () => {
    const now = sampleReport();
    const text = JSON.stringify(now);
    fc.assert(
      fc.property(fc.array(jsonMutation, { minLength: 1, maxLength: 3 }), (by) => {
        const value = by.reduce(mutateJson, JSON.parse(text));
        // As `assess --compare` does: what has no fault is compared.
        const fault = reportFault(value);
        if (fault !== undefined) {
          expect(fault).not.toBe('');
          return;
        }
        const made = { ...now, comparison: compareReports(value as AssessmentReport, now) };
        expect(JSON.parse(renderJson(made)) as Json).toBeDefined();
        expect(renderMarkdown(made).length).toBeLessThan(5_000_000);
      }),
      { numRuns: runs(120) },
    );
    for (const value of [
      null,
      [],
      1,
      'x',
      {},
      JSON.parse(deepJson(100_000)) as unknown,
      JSON.parse('{"__proto__":{"polluted":1}}') as unknown,
    ])
      expect(reportFault(value)).toMatch(/./);
  });
});

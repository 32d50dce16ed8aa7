import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { Migration } from '../../state/migrate.ts';
import { migrate, MIGRATIONS, schemaVersion } from '../../state/migrate.ts';
import { openJournal } from '../../state/journal.ts';
import { openState, openStateWith } from '../../state/open.ts';
import { failureOf, makeAudit, makeDirectory, makeState, TARGET } from './samples.ts';
import './clean-up.ts';

/** A file of schema version 1 with something in every table, from the dump that is kept of it. */
function makeVersion1(): string {
  const file = join(makeDirectory(), 'state.sqlite');
  const db = new Database(file);
  db.exec(readFileSync(join(import.meta.dirname, 'fixtures', 'v1.sql'), 'utf8'));
  db.close();
  chmodSync(file, 0o600);
  return file;
}

function tablesOf(file: string): Readonly<Record<string, unknown>> {
  const db = new Database(file, { readonly: true });
  const names = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .pluck()
    .all() as string[];
  const tables = Object.fromEntries(names.map((name) => [name, db.prepare(`SELECT * FROM "${name}"`).all()]));
  db.close();
  return tables;
}

const LATER: readonly Migration[] = [
  ...MIGRATIONS,
  {
    version: MIGRATIONS.length + 1,
    name: 'later',
    sql: "ALTER TABLE edges ADD COLUMN zone TEXT NOT NULL DEFAULT 'here'; CREATE TABLE later (id INTEGER PRIMARY KEY) STRICT;",
  },
];

describe('a populated file of version 1', () => {
  it('has something in every table', () => {
    for (const [table, rows] of Object.entries(tablesOf(makeVersion1()))) expect(rows, table).not.toEqual([]);
  });

  it('opens with all that was on record', () => {
    const state = openState(makeVersion1(), { target: TARGET, mode: 'read' });
    const { reader } = state;
    expect(reader.edges().map(({ id, count, mtls }) => [id, count, mtls])).toEqual([
      ['8580fbdce781', 7, 'mixed'],
      ['a3193d84f894', 3, 'unknown'],
    ]);
    expect(reader.evidence()).toMatchObject({
      days: ['2026-10-05'],
      unattributed: { 'no such pod': 2 },
      runs: { 'shop/CronJob/nightly': ['nightly-1'] },
      sources: [{ source: 'hubble', records: 10 }],
    });
    expect(reader.decisions().map(({ action }) => action)).toEqual(['accept']);
    expect(reader.phases()).toEqual(new Map([['shop', 'allow-list']]));
    expect(reader.gates('shop').map(({ id, answer }) => [id, answer])).toEqual([['window', 'no']]);
    expect(reader.openRuns().map(({ id }) => id)).toEqual(['r2']);
    expect(reader.soakOf('r2')).toMatchObject({ since: 8000, left: false, awaited: [{ due: 9000 }] });
    expect(reader.runs()[1]?.pullsBack?.denial.step).toBe('allow-list/a');
    expect(reader.stepsOf('r2').map(({ state: one }) => one)).toEqual(['started', 'pending']);
    expect(reader.applied().map(({ seq, change }) => [seq, change.kind])).toEqual([[2, 'edit']]);
    expect(reader.stepsOf('r1').map(({ state: one }) => one)).toEqual(['undone', 'done']);
    expect(reader.audit().map(({ what }) => what)).toEqual(['accept', 'created', 'edited', 'deleted']);
    state.close();
  });

  it('is written on', () => {
    const state = openState(makeVersion1(), { target: TARGET, mode: 'write' });
    const journal = openJournal(state.writer);
    journal.stepDone('r2', 0, { at: 9_999, audit: makeAudit('created', { run: 'r2' }) });
    expect(journal.applied()).toHaveLength(2);
    state.close();
  });
});

describe('migrations', () => {
  it('keep every row of an older file', () => {
    const file = makeVersion1();
    const before = tablesOf(file);
    const state = openStateWith(LATER, file, { target: TARGET, mode: 'write' });
    state.close();
    const after = tablesOf(file);
    expect(after['edges']).toEqual((before['edges'] as object[]).map((row) => ({ ...row, zone: 'here' })));
    for (const table of ['runs', 'steps', 'audit', 'decisions', 'imports', 'namespaces'])
      expect(after[table]).toEqual(before[table]);
    expect(after).toHaveProperty('later');
  });

  it('are run for a reader too, who then reads', () => {
    const file = makeVersion1();
    const state = openStateWith(LATER, file, { target: TARGET, mode: 'read' });
    expect(state.reader.runs()).toHaveLength(3);
    expect(state).not.toHaveProperty('writer');
    state.close();
  });

  it('wait for the writer: a reader of an older file is told so', () => {
    const { file, close } = makeState();
    expect(failureOf(() => openStateWith(LATER, file, { target: TARGET, mode: 'read' }))).toMatchObject({
      code: 'SP510',
      exit: 5,
      where: file,
    });
    close();
  });

  it('leave a file of another cluster as it is', () => {
    const file = makeVersion1();
    const before = tablesOf(file);
    const target = { ...TARGET, id: 'other' };
    expect(failureOf(() => openStateWith(LATER, file, { target, mode: 'write' })).code).toBe('SP505');
    expect(tablesOf(file)).toEqual(before);
  });

  it('that fail leave the version before, whole', () => {
    const file = makeVersion1();
    const before = tablesOf(file);
    const broken: Migration = {
      version: MIGRATIONS.length + 1,
      name: 'broken',
      sql: 'DROP TABLE meta; SELECT nonsense;',
    };
    expect(() => openStateWith([...MIGRATIONS, broken], file, { target: TARGET, mode: 'write' })).toThrow(/nonsense/);
    // The migrations before it have their tables.
    const later = [
      'resolutions',
      'days_seen',
      'import_sizes',
      'addresses',
      'address_watches',
      'approvals',
      'follows',
      'gaps',
      'line_marks',
      'triggered',
    ];
    expect(tablesOf(file)).toEqual({ ...before, ...Object.fromEntries(later.map((table) => [table, []])) });
    openState(file, { target: TARGET, mode: 'write' }).close();
  });

  it('give an older file the very schema of a new one', () => {
    const schemaOf = (file: string): unknown => {
      const db = new Database(file, { readonly: true });
      const found = db
        .prepare("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
        .all();
      db.close();
      return found;
    };
    const old = makeVersion1();
    openState(old, { target: TARGET, mode: 'write' }).close();
    const fresh = makeState();
    fresh.close();
    expect(schemaOf(old)).toEqual(schemaOf(fresh.file));
  });

  it('stand in order without gaps', () => {
    const db = new Database(':memory:');
    expect(() => migrate(db, [...MIGRATIONS, { version: MIGRATIONS.length + 2, name: 'gap', sql: '' }])).toThrow(
      /migration \d+ stands at/,
    );
    expect(schemaVersion(db)).toBe(0);
    db.close();
  });
});

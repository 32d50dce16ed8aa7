import type { Check, Place } from './checks.ts';
import { badRow, number, text } from './checks.ts';
import type { Handle } from './handle.ts';
import { read } from './handle.ts';
import type { Row } from './rows.ts';
import { column } from './rows.ts';

/** The marks of the lines of one input: four bytes each, in the order of the lines. See src/sources/line-marks.ts. */
export interface LineMarksRecord {
  readonly source: string;
  readonly sha256: string;
  readonly marks: Int32Array;
  readonly dropped: number;
  readonly first: string;
  readonly last: string;
}

/** Lines remembered for each source: 16 MiB. What is beyond them goes, the oldest input first. */
export const MAX_LINES = 1 << 22;

const blob: Check<Int32Array> = (value, place, path) => {
  if (!(value instanceof Uint8Array) || value.byteLength % 4 !== 0)
    throw badRow(place, path, 'words of four bytes expected');
  return new Int32Array(value.slice().buffer);
};

/** One after the other, since each may have megabytes. */
export function* readLineMarks(handle: Handle, source: string): Generator<LineMarksRecord> {
  const { db, file } = handle;
  const attempt = 'reading which lines are on record';
  const ids = read(handle, attempt, () =>
    db.prepare<[string], Row>('SELECT id FROM line_marks WHERE source = ? ORDER BY id').all(source),
  );
  for (const { id } of ids) {
    const row = read(handle, attempt, () =>
      db.prepare<[unknown], Row>('SELECT * FROM line_marks WHERE id = ?').get(id),
    );
    if (row === undefined) continue;
    const place: Place = { file, table: 'line_marks', row: String(id) };
    yield {
      source,
      sha256: column(row, 'sha256', text, place),
      marks: column(row, 'marks', blob, place),
      dropped: column(row, 'dropped', number, place),
      first: column(row, 'first', text, place),
      last: column(row, 'last', text, place),
    };
  }
}

/** Inside a transaction of the caller's. */
export function recordLineMarks({ db }: Handle, records: Iterable<LineMarksRecord>, most = MAX_LINES): void {
  const add = db.prepare(
    'INSERT INTO line_marks (source, sha256, dropped, first, last, lines, marks) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  const sources = new Set<string>();
  for (const { source, sha256, marks, dropped, first, last } of records) {
    if (marks.length === 0) continue;
    const bytes = Buffer.from(marks.buffer, marks.byteOffset, marks.byteLength);
    add.run(source, sha256, dropped, first, last, marks.length, bytes);
    sources.add(source);
  }
  const drop = db.prepare('DELETE FROM line_marks WHERE id = ?');
  for (const source of sources) {
    let held = 0;
    const rows = db
      .prepare<[string], { readonly id: number; readonly lines: number }>(
        'SELECT id, lines FROM line_marks WHERE source = ? ORDER BY id DESC',
      )
      .all(source);
    for (const { id, lines } of rows) {
      held += lines;
      if (held > most) drop.run(id);
    }
  }
}

/**
 * Inputs of a source with records of the time from `first` to `last` whose lines are not remembered: they were too many, or were imported before
 * this was kept.
 */
export function countForgotten(handle: Handle, source: string, first: number, last: number): number {
  return read(handle, 'looking up imports', () => {
    const row = handle.db
      .prepare<[string, number, number], { readonly count: number }>(
        `SELECT count(*) AS count FROM imports i WHERE i.source = ? AND i.first <= ? AND i.last >= ? AND i.records > 0
         AND NOT EXISTS (SELECT 1 FROM line_marks m WHERE m.source = i.source AND m.sha256 = i.sha256)`,
      )
      .get(source, last, first);
    return row?.count ?? 0;
  });
}

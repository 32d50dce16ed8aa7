// Figures of the lab as tables for people and as JSON for programs.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Row } from './ledger.ts';

/** Where the figures of a run are written: `$LAB_FIGURES`, else in the machine's temporary folder. Kept when the stage is gone. */
export const FIGURES = process.env['LAB_FIGURES'] ?? join(tmpdir(), 'sallyport-lab', 'figures.json');

export type Cell = string | number;

/** A table with columns as wide as their widest cell, numbers to the right. */
export function renderTable(title: string, head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const text = (cell: Cell): string => (typeof cell === 'number' ? formatNumber(cell) : cell);
  const widths = head.map((name, index) => Math.max(name.length, ...rows.map((row) => text(row[index] ?? '').length)));
  const line = (cells: readonly Cell[]): string =>
    cells
      .map((cell, index) => {
        const width = widths[index] ?? 0;
        return typeof cell === 'number' ? text(cell).padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return [title, line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line), ''].join('\n');
}

function formatNumber(value: number): string {
  if (Number.isNaN(value)) return '-';
  return Number.isInteger(value) ? String(value).replaceAll(/\B(?=(\d{3})+$)/g, ' ') : value.toFixed(2);
}

/** Connections by phase: who tried and who failed. */
export function renderPhases(title: string, rows: readonly Row[]): string {
  return renderTable(
    title,
    ['phase', 'legitimate', 'failed', 'late', 'single replica', 'failed', 'forbidden', 'where held', 'passed'],
    rows.map((row) => [
      row.phase,
      row.legitimate.tried,
      row.legitimate.failed,
      row.late,
      row.single.tried,
      row.single.failed,
      row.forbidden.tried,
      row.held.tried,
      row.held.tried - row.held.failed,
    ]),
  );
}

/** Adds a part to the file of figures. */
export function writeFigures(name: string, part: unknown, file: string = FIGURES): void {
  mkdirSync(dirname(file), { recursive: true });
  let all: Record<string, unknown> = {};
  try {
    all = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  } catch {
    // The first part makes the file.
  }
  writeFileSync(file, `${JSON.stringify({ ...all, [name]: part }, undefined, 2)}\n`);
}

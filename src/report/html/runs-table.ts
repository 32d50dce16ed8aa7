import type { ProgressRun } from '../model.ts';
import type { Html } from './html.ts';
import { formatInstant } from './page.ts';
import type { Page } from './page.ts';
import type { Cell } from './table.ts';
import { dataTable } from './table.ts';

/** Runs, one a row, in the order given. */
export function runsTable(page: Page, id: string, caption: string, runs: readonly ProgressRun[]): Html {
  return dataTable(page, {
    id,
    caption,
    columns: [
      { title: 'Began', width: 11 },
      { title: 'Namespace', width: 11 },
      { title: 'What', width: 8 },
      { title: 'From', width: 9 },
      { title: 'To', width: 9 },
      { title: 'Outcome', width: 9 },
      { title: 'Changes', width: 6, number: true },
      { title: 'By', width: 11 },
    ],
    rows: runs.map((run): readonly Cell[] => [
      formatInstant(run.startedAt),
      run.namespace,
      run.kind,
      run.from,
      run.to,
      run.outcome === 'done' ? { t: 'good', s: 'done' } : { t: 'warn', s: run.outcome },
      run.changes,
      run.by,
    ]),
  });
}

import { html } from './html.ts';
import type { Html, HtmlValue } from './html.ts';
import { flowsLink, formatNumber, name, tag, workloadLink } from './page.ts';
import type { Page, Tone } from './page.ts';

/** One cell as data: drawn here for the first rows and for paper, and by the page's script in the same way. */
export type Cell =
  | string
  | number
  | null
  /** A state: its tone and its word. */
  | { readonly t: Tone; readonly s: string }
  /** A node of the map by its index. */
  | { readonly n: number }
  /** The same, without a link: its row leads elsewhere. */
  | { readonly m: number }
  /** Edges by their indexes. */
  | { readonly e: readonly number[] }
  /** Names. */
  | { readonly l: readonly string[] }
  /** A share from 0 to 1 with its text. */
  | { readonly b: number; readonly s: string };

export interface Column {
  readonly title: string;
  /** Width in rem. The first column's is shared with the script too. */
  readonly width: number;
  readonly number?: true;
}

export interface DataTable {
  readonly id: string;
  readonly caption: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
  /** What a press on a row opens: `n:12`, `c:3`; the same length as `rows`, or none. */
  readonly opens?: readonly string[];
}

/** Rows that stand in the file itself: what is read without the script, and the least that is printed. */
const STATIC_ROWS = 40;

export function drawCell(page: Page, cell: Cell): Html {
  if (cell === null) return html`<span class="soft">not known</span>`;
  if (typeof cell === 'string') return name(cell);
  if (typeof cell === 'number') return html`${formatNumber(cell)}`;
  if ('t' in cell) return tag(cell.t, cell.s);
  if ('n' in cell) return workloadLink(page, cell.n);
  if ('m' in cell) return name(page.report.map.nodes[cell.m]?.id ?? 'not known');
  if ('e' in cell) return flowsLink(cell.e);
  if ('l' in cell) {
    if (cell.l.length === 0) return html`<span class="soft">none</span>`;
    const more = cell.l.length - 3;
    return html`${cell.l.slice(0, 3).map((one, index) => html`${index > 0 ? ', ' : ''}${name(one)}`)}${more > 0 ? ` and ${formatNumber(more)} more` : ''}`;
  }
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect class="c-sunk" width="100" height="10" />
      <rect class="c-mark" width="${Math.round(Math.min(1, Math.max(0, cell.b)) * 100)}" height="10" />
    </svg>
    ${cell.s}`;
}

function drawRow(page: Page, table: DataTable, row: readonly Cell[], index: number): Html {
  const open = table.opens?.[index];
  return html`<tr>
    ${row.map((cell, column) => {
      const drawn =
        column === 0 && open !== undefined && !(typeof cell === 'object' && cell !== null && 'n' in cell)
          ? html`<button type="button" class="link" data-open="${open}">${drawCell(page, cell)}</button>`
          : drawCell(page, cell);
      if (column === 0) return html`<th scope="row">${drawn}</th>`;
      return table.columns[column]?.number === true ? html`<td class="n">${drawn}</td>` : html`<td>${drawn}</td>`;
    })}
  </tr>`;
}

/**
 * A table that may be long. The first rows stand in the file; the page's script takes the rest from the page's data, sorts and filters them and
 * keeps only the rows in view in the document.
 */
export function dataTable(page: Page, table: DataTable): Html {
  if (table.rows.some((row) => row.length !== table.columns.length))
    throw new Error(`the table ${table.id} has rows that do not fit its head`);
  page.tables.push(table);
  const shown = table.rows.slice(0, STATIC_ROWS);
  const rest = table.rows.length - shown.length;
  return html`<div class="data" data-table="${table.id}">
    <div class="filters table-tools" hidden></div>
    <div class="scroll tall" role="group" aria-labelledby="t-${table.id}" tabindex="0">
      <table>
        <caption id="t-${table.id}">
          ${table.caption}
        </caption>
        <thead>
          <tr>
            ${table.columns.map((column) => html`<th scope="col" class="${column.number === true ? 'n' : ''}">${column.title}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${shown.map((row, index) => drawRow(page, table, row, index))}
        </tbody>
      </table>
    </div>
    ${rest > 0 ? html`<p class="small soft only-static">${page.say('table.rest', { shown: formatNumber(shown.length), all: formatNumber(table.rows.length) })}</p>` : undefined}
  </div>`;
}

/** The head of a column of a short table. */
export type Head = string | Html | { readonly title: HtmlValue; readonly number: true };

function numbered(head: Head | undefined): head is { readonly title: HtmlValue; readonly number: true } {
  return typeof head === 'object' && 'number' in head;
}

/** A short table whose cells are markup. */
export function plainTable(
  id: string,
  caption: HtmlValue,
  heads: readonly Head[],
  rows: readonly (readonly HtmlValue[])[],
  className = '',
): Html {
  const isNumber = (index: number): boolean => numbered(heads[index]);
  return html`<div class="scroll ${className}" role="group" aria-labelledby="t-${id}" tabindex="0">
    <table class="${className}">
      <caption id="t-${id}">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${heads.map((head) => (numbered(head) ? html`<th scope="col" class="n">${head.title}</th>` : html`<th scope="col">${head}</th>`))}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              ${row.map((cell, index) => (index === 0 ? html`<th scope="row">${cell}</th>` : isNumber(index) ? html`<td class="n">${cell}</td>` : html`<td>${cell}</td>`))}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

// A page as a list on a terminal: which keys do what, and the lines that are drawn. Pure: no terminal is needed to try it.
import { cut, wrap } from '../output.ts';
import type { Page, Row, Shown, Tone } from './page.ts';

export interface ListState {
  /** Position of the cursor and of the first line, among the rows that are shown. */
  readonly cursor: number;
  readonly top: number;
  readonly filter: string;
  /** The rows that the filter leaves; undefined for all. */
  readonly shown: Int32Array | undefined;
  /** Positions in the page's rows, whatever is shown. */
  readonly marked: ReadonlySet<number>;
  readonly mode: 'list' | 'filter' | 'help';
  /** A remark, until the next key. */
  readonly remark: string;
}

export const START: ListState = {
  cursor: 0,
  top: 0,
  filter: '',
  shown: undefined,
  marked: new Set(),
  mode: 'list',
  remark: '',
};

/** One key as readline tells it; `text` is what it types, '' where it types nothing. A whole paste is one key. */
export interface Press {
  readonly name: string;
  readonly text: string;
  readonly ctrl?: boolean;
  readonly paste?: boolean;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export type Pressed<A> =
  | { readonly kind: 'on'; readonly state: ListState }
  | { readonly kind: 'done'; readonly state: ListState; readonly shown: Shown<A> };

export function countShown<A>(page: Page<A>, state: ListState): number {
  return state.shown?.length ?? page.rows.length;
}

/** The position in the page's rows of what stands at `at` among those shown. */
function position(state: ListState, at: number): number {
  return state.shown === undefined ? at : (state.shown[at] ?? -1);
}

function rowAt<A>(page: Page<A>, state: ListState, at: number): Row<A> | undefined {
  const index = position(state, at);
  return index < 0 || index >= page.rows.length ? undefined : page.rows.at(index);
}

/** The state for a page that was made anew: the filter is applied again, and the cursor stays where it may. */
export function settle<A>(page: Page<A>, state: ListState, height: number): ListState {
  const filtered = state.filter === '' ? undefined : page.filter?.(state.filter);
  const shown = filtered?.kind === 'rows' ? filtered.shown : undefined;
  const next = { ...state, shown, filter: page.filter === undefined ? '' : state.filter };
  const count = countShown(page, next);
  const marked = [...next.marked].every((index) => index < page.rows.length) ? next.marked : new Set<number>();
  return follow(page, { ...next, marked, cursor: Math.max(0, Math.min(next.cursor, count - 1)) }, height, true);
}

/** Brings the cursor onto a row that can be picked where one is in sight, and the window around the cursor. */
function follow<A>(page: Page<A>, state: ListState, height: number, seek: boolean): ListState {
  const count = countShown(page, state);
  let { cursor, top } = state;
  if (seek && page.marks !== true && rowAt(page, state, cursor)?.pick === undefined) {
    for (let at = cursor; at < Math.min(count, Math.max(cursor, top) + height); at += 1)
      if (rowAt(page, state, at)?.pick !== undefined) {
        cursor = at;
        break;
      }
  }
  if (cursor < top) top = cursor;
  if (cursor >= top + height) top = cursor - height + 1;
  // The heading above the first choice stays in sight.
  if (top > 0 && top < height && cursor < height) top = 0;
  top = Math.max(0, Math.min(top, count - height));
  return { ...state, cursor, top };
}

/** One line down or up: to the next row that can be picked if it is in sight, otherwise the window moves and what stands there can be read. */
function step<A>(page: Page<A>, state: ListState, by: 1 | -1, height: number): ListState {
  const count = countShown(page, state);
  if (page.marks === true) return follow(page, { ...state, cursor: clamp(state.cursor + by, count) }, height, false);
  const [first, last] = [state.top, Math.min(count, state.top + height) - 1];
  const inSight = (at: number): boolean => at >= first - (by < 0 ? 1 : 0) && at <= last + (by > 0 ? 1 : 0);
  for (let at = state.cursor + by; at >= 0 && at < count && inSight(at); at += by)
    if (rowAt(page, state, at)?.pick !== undefined) return follow(page, { ...state, cursor: at }, height, false);
  const top = Math.max(0, Math.min(state.top + by, count - height));
  if (top === state.top) return state;
  const cursor = Math.max(top, Math.min(state.cursor, top + height - 1));
  return { ...state, top, cursor };
}

const clamp = (at: number, count: number): number => Math.max(0, Math.min(at, count - 1));

export function press<A>(page: Page<A>, given: ListState, key: Press, size: Size): Pressed<A> {
  const state = { ...given, remark: '' };
  const on = (next: ListState): Pressed<A> => ({ kind: 'on', state: next });
  const height = bodyHeight(page, state, size);
  if (state.mode === 'filter') return on(typed(page, state, key, size));
  // Whatever was pasted was meant for a question: no part of it is a command.
  if (key.paste === true) return on({ ...state, remark: 'what was pasted is not taken as keys; / takes text' });
  if (state.mode === 'help') return on({ ...state, mode: 'list' });
  const count = countShown(page, state);
  const done = (shown: Shown<A>): Pressed<A> => ({ kind: 'done', state, shown });
  switch (key.name) {
    case 'up':
      return on(step(page, state, -1, height));
    case 'down':
      return on(step(page, state, 1, height));
    case 'pageup':
    case 'pagedown': {
      const by = key.name === 'pageup' ? -height : height;
      const top = Math.max(0, Math.min(state.top + by, count - height));
      return on(follow(page, { ...state, top, cursor: clamp(state.cursor + by, count) }, height, true));
    }
    case 'home':
      return on(follow(page, { ...state, cursor: 0, top: 0 }, height, true));
    case 'end':
      return on(follow(page, { ...state, cursor: Math.max(0, count - 1) }, height, false));
    case 'return':
    case 'enter':
    case 'right': {
      const pick = rowAt(page, state, state.cursor)?.pick;
      return pick === undefined ? on(state) : done({ kind: 'act', value: pick, marked: [], filter: state.filter });
    }
    case 'escape':
      if (state.filter !== '') return on(filtered(page, state, '', size));
      return done({ kind: 'back' });
    case 'left':
    case 'backspace':
      return done({ kind: 'back' });
    default:
      break;
  }
  if (key.ctrl === true) return on(state);
  switch (key.text) {
    case '?':
      return on({ ...state, mode: 'help' });
    case '/':
      return page.filter === undefined
        ? done({ kind: 'search' })
        : on({ ...filtered(page, state, '', size), mode: 'filter' });
    case 'b':
      return done({ kind: 'back' });
    case 's':
      return done({ kind: 'search' });
    case 'r':
      return done({ kind: 'reload' });
    case 'q':
      return done({ kind: 'leave' });
    default:
      break;
  }
  if (page.marks === true && count > 0) {
    const here = position(state, state.cursor);
    if (key.text === ' ') {
      const marked = new Set(state.marked);
      if (!marked.delete(here)) marked.add(here);
      return on(follow(page, { ...state, marked, cursor: clamp(state.cursor + 1, count) }, height, false));
    }
    if (key.text === '*') return on({ ...state, marked: new Set([...state.marked, ...allShown(page, state)]) });
    if (key.text === '-') return on({ ...state, marked: new Set() });
  }
  const found = page.keys.find((one) => one.key === key.text);
  if (found === undefined)
    return on(
      key.text.trim() === '' ? state : { ...state, remark: 'that key does nothing here; ? shows those that do' },
    );
  return done({ kind: 'act', value: found.value, marked: concerned(page, state), filter: state.filter });
}

function allShown<A>(page: Page<A>, state: ListState): Iterable<number> {
  return state.shown ?? Array.from({ length: page.rows.length }, (_, index) => index);
}

/** The rows that a key acts on. */
function concerned<A>(page: Page<A>, state: ListState): readonly number[] {
  if (page.marks !== true) return [];
  if (state.marked.size > 0) return [...state.marked].sort((a, b) => a - b);
  const here = position(state, state.cursor);
  return here < 0 || here >= page.rows.length ? [] : [here];
}

function typed<A>(page: Page<A>, state: ListState, key: Press, size: Size): ListState {
  if (key.paste !== true) {
    if (key.name === 'return' || key.name === 'enter' || key.name === 'down') return { ...state, mode: 'list' };
    if (key.name === 'escape') return { ...filtered(page, state, '', size), mode: 'list' };
    if (key.name === 'backspace') return filtered(page, state, state.filter.slice(0, -1), size);
    if (key.ctrl === true) return key.name === 'u' ? filtered(page, state, '', size) : state;
  }
  // Who searches anew, though the line is open already, means the key.
  const text = state.filter === '' && key.text === '/' ? '' : oneLine(key.text);
  return text === '' ? state : filtered(page, state, state.filter + text, size);
}

/** Typed or pasted text as one line: breaks become spaces, and whatever a terminal would obey goes. */
export function oneLine(text: string): string {
  return text
    .replaceAll(/[\r\n\t]+/g, ' ')
    .replaceAll(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu, '');
}

function filtered<A>(page: Page<A>, state: ListState, filter: string, size: Size): ListState {
  const before = state.shown === undefined ? undefined : { text: state.filter, shown: state.shown };
  const result = page.filter?.(filter, before);
  if (result === undefined) return state;
  if (result.kind === 'fault') return { ...state, filter, remark: result.message };
  const next = { ...state, filter, shown: result.shown, cursor: 0, top: 0, remark: '' };
  return follow(page, next, bodyHeight(page, next, size), true);
}

// ---- drawing

export type Paint = (tone: Tone | 'cursor', text: string) => string;
export const UNPAINTED: Paint = (_, text) => text;

const LIST_KEYS = 'arrows move, Enter opens, Esc back';

/** The keys of a page in one or two lines, and the command line that does what the row under the cursor would. */
function footer<A>(page: Page<A>, state: ListState, columns: number, low: boolean): readonly string[] {
  const count = countShown(page, state);
  const parts = [
    ...page.keys.map(({ key, label }) => `${key} ${label}`),
    ...(page.marks === true ? ['space mark', '* all'] : []),
    page.filter === undefined ? '/ search' : '/ filter',
    '? help',
    'q leave',
  ];
  const keys = wrap(parts.join(' | '), columns)
    .split('\n')
    .slice(0, low ? 1 : 2);
  const row = count === 0 ? undefined : rowAt(page, state, state.cursor);
  return [...(low ? [] : detail(page, row, columns)), ...keys, cut(`$ ${row?.command ?? page.command}`, columns)];
}

/** The row under the cursor in full; as many lines whatever stands there, so that nothing jumps. */
function detail<A>(page: Page<A>, row: Row<A> | undefined, columns: number): readonly string[] {
  if (page.detail !== true) return [];
  const lines =
    row === undefined
      ? []
      : wrap(`${(row.full ?? row.text).trim()}${row.remark === undefined ? '' : `; ${row.remark}`}`, columns - 2).split(
          '\n',
        );
  const shown = lines.length > 2 ? [lines[0] ?? '', cut(lines.slice(1).join(' '), columns - 2)] : lines;
  return [0, 1].map((index) => `  ${shown[index] ?? ''}`);
}

function statusLine<A>(page: Page<A>, state: ListState, height: number): string {
  if (state.mode === 'filter') return `/${state.filter}_${state.remark === '' ? '' : `   ${state.remark}`}`;
  const count = countShown(page, state);
  const parts: string[] = [];
  if (state.remark !== '') return `! ${state.remark}`;
  if (count > height || state.filter !== '')
    parts.push(count === 0 ? 'nothing matches' : `${state.top + 1}-${Math.min(count, state.top + height)} of ${count}`);
  if (state.filter !== '') parts.push(`filter: ${state.filter}`);
  if (state.marked.size > 0) parts.push(`${state.marked.size} marked`);
  if (parts.length === 0) return LIST_KEYS;
  return parts.join('; ');
}

/** Lines that are left for rows. */
export function bodyHeight<A>(page: Page<A>, state: ListState, size: Size): number {
  const columns = Math.max(20, size.columns - 1);
  const around = 1 + aboveOf(page, size).length + 1 + 1 + footer(page, state, columns, isLow(size)).length;
  return Math.max(isLow(size) ? 2 : 3, size.rows - 1 - around);
}

/** On a low terminal what stands above gives way before the list does. */
function aboveOf<A>(page: Page<A>, size: Size): readonly string[] {
  return page.above.slice(0, Math.max(0, size.rows - LOW_ROWS));
}

/** So few lines that the list comes before everything around it. */
const LOW_ROWS = 12;

function isLow(size: Size): boolean {
  return size.rows < LOW_ROWS;
}

/** The page as lines: never wider than the terminal less one column, nor higher than it less one line. */
export function drawPage<A>(page: Page<A>, state: ListState, size: Size, paint: Paint = UNPAINTED): readonly string[] {
  const columns = Math.max(20, size.columns - 1);
  if (state.mode === 'help') return drawHelp(page, size, paint);
  const height = bodyHeight(page, state, size);
  const count = countShown(page, state);
  const body: string[] = [];
  for (let at = state.top; at < Math.min(count, state.top + height); at += 1) {
    const row = rowAt(page, state, at);
    if (row === undefined) continue;
    const here = at === state.cursor && (row.pick !== undefined || page.marks === true);
    const mark = page.marks === true ? (state.marked.has(position(state, at)) ? '[x] ' : '[ ] ') : '';
    const text = cut(`${here ? '> ' : '  '}${mark}${row.text}`, columns);
    body.push(here ? paint('cursor', text) : row.tone === undefined ? text : paint(row.tone, text));
  }
  if (count === 0 && state.filter === '') body.push('  (nothing)');
  // As high whatever is in it, so that the keys stay in one place.
  const full = count > height || page.filter !== undefined;
  while (full && body.length < Math.min(height, page.rows.length)) body.push('');
  const foot = footer(page, state, columns, isLow(size));
  return [
    paint('head', cut(page.title, columns)),
    ...aboveOf(page, size).map((line) => cut(line, columns)),
    '',
    ...body,
    paint(state.remark === '' ? 'dim' : 'doubt', cut(statusLine(page, state, height), columns)),
    ...foot.map((line) => paint('dim', cut(line, columns))),
  ];
}

/** Everything that keys do here. */
export function helpLines<A>(page: Page<A>, columns: number): readonly string[] {
  const line = (key: string, text: string): readonly string[] =>
    wrap(text, columns - 14)
      .split('\n')
      .map((part, index) => `  ${(index === 0 ? key : '').padEnd(12)}${part}`);
  return [
    ...page.help.flatMap((text) => wrap(text, columns).split('\n')),
    ...page.keys.flatMap(({ key, label, command }) =>
      line(key, command === undefined ? label : `${label}: ${command}`),
    ),
    ...(page.marks === true
      ? [...line('space', 'mark, or take the mark away'), ...line('* and -', 'mark all that is shown; no marks')]
      : []),
    ...(page.filter === undefined ? [] : line('/', 'show only what matches; Esc shows all again')),
    ...line('arrows', 'move; PgUp, PgDn, Home, End'),
    ...line('Enter', 'open the row'),
    ...line('Esc, b', 'back; s search everything; r read again; q leave'),
    ...line('Ctrl-C', 'leave at once; while a run writes: end it after this step'),
  ];
}

function drawHelp<A>(page: Page<A>, size: Size, paint: Paint): readonly string[] {
  const columns = Math.max(20, size.columns - 1);
  const lines = helpLines(page, columns).slice(0, Math.max(3, size.rows - 5));
  return [
    paint('head', cut(`Help: ${page.title}`, columns)),
    '',
    ...lines.map((line) => cut(line, columns)),
    '',
    paint('dim', 'any key goes back'),
  ];
}

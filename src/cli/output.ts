import type { Failure, FailureDetail } from '../shared/pure/errors.ts';
import { escapeJson, safeText } from '../shared/pure/text.ts';

export const API_VERSION = 'sallyport.dev/v1';

/** How results are printed: for people, cut to no width, the names alone, or as the one document. */
export type Format = 'text' | 'wide' | 'name' | 'json' | 'yaml';
export const FORMATS: readonly Format[] = ['wide', 'name', 'json', 'yaml'];

export interface Output {
  /** Is the result one document, in JSON or YAML? */
  readonly json: boolean;
  readonly color: boolean;
  /** Columns of the terminal; 80 where there is none. */
  readonly width: number;
  /** Is a person at the keyboard? */
  readonly interactive: boolean;
  /** Has the one document been printed? */
  readonly documented: boolean;
  /** Data, for people. Nothing where a document or names are wanted. */
  line(text?: string): void;
  /** The one document of a --json run. */
  document(kind: string, body: object): void;
  /** What the result is about, a line each, where names alone are wanted. */
  names(ids: Iterable<string>): void;
  /** Text for standard output as it is: a manifest to pipe on. */
  raw(text: string): void;
  /** Remarks: standard error. */
  note(text: string): void;
  /** How far a long reading is: standard error; on a terminal one line that the next output replaces. */
  progress(text: string): void;
  /** With --progress json, what happened as one line of JSON on standard error; true where it was written. */
  event(kind: string, body: object): boolean;
}

export interface Streams {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly stdin: NodeJS.ReadStream;
}

const CLEAR_LINE = '\r\u001b[2K';
/** Columns of a line that is never broken. */
const UNCUT = 100_000;

export interface OutputOptions {
  readonly format: Format;
  readonly color: boolean;
  /** What happens, as lines of JSON on standard error, for programs. */
  readonly events: boolean;
  /** A document as YAML; needed for that format alone. */
  readonly renderYaml?: (document: string) => string;
}

export function openOutput({ format, color, events, renderYaml }: OutputOptions, streams: Streams): Output {
  const { stdout, stderr, stdin } = streams;
  const terminal = stdout.isTTY;
  const json = format === 'json' || format === 'yaml';
  let documented = false;
  let showing = false;
  const clear = (): void => {
    if (showing) stderr.write(CLEAR_LINE);
    showing = false;
  };
  const event = (kind: string, body: object): boolean => {
    if (events) stderr.write(`${escapeJson(JSON.stringify({ at: new Date().toISOString(), event: kind, ...body }))}\n`);
    return events;
  };
  const columns = Math.max(40, Math.min(stdout.columns || 80, 120));
  return {
    json,
    color: color && terminal && (format === 'text' || format === 'wide'),
    width: format === 'wide' ? UNCUT : columns,
    interactive: terminal && stdin.isTTY && (format === 'text' || format === 'wide') && !events,
    get documented() {
      return documented;
    },
    line: (text = '') => {
      clear();
      if (!json && format !== 'name') stdout.write(`${text}\n`);
    },
    document: (kind, body) => {
      if (!json) return;
      if (documented) throw new Error(`a second document, ${kind}, in one run`);
      documented = true;
      clear();
      const whole = { apiVersion: API_VERSION, kind, ...body };
      if (format === 'yaml' && renderYaml !== undefined) stdout.write(renderYaml(JSON.stringify(whole, undefined, 2)));
      else for (const piece of documentPieces(whole)) stdout.write(escapeJson(piece));
    },
    names: (ids) => {
      if (format === 'name') for (const id of ids) stdout.write(`${safeText(id)}\n`);
    },
    raw: (text) => {
      clear();
      stdout.write(text);
    },
    note: (text) => {
      if (event('note', { text })) return;
      clear();
      stderr.write(`${text}\n`);
    },
    progress: (text) => {
      if (event('progress', { text })) return;
      const safe = safeText(text);
      if (!stderr.isTTY) stderr.write(`${safe}\n`);
      else {
        stderr.write(`${CLEAR_LINE}${safe.slice(0, columns - 1)}`);
        showing = true;
      }
    },
    event,
  };
}

/** Items of a list that are put into one piece of text. */
const ITEMS_A_PIECE = 2_000;

/**
 * A document as `JSON.stringify` with an indent of 2 gives it, with a line feed, in pieces: a text of a million edges is longer than a text can be
 * (512 MiB), so long lists at the top are written bit by bit.
 */
export function* documentPieces(document: object): Generator<string> {
  const entries = Object.entries(document).filter(([, value]) => value !== undefined);
  let head = '{';
  for (const [index, [key, value]] of entries.entries()) {
    const start = `${head}${index === 0 ? '' : ','}\n  ${JSON.stringify(key)}: `;
    head = '';
    if (!Array.isArray(value) || value.length <= ITEMS_A_PIECE) {
      yield start + indented(value, '  ');
      continue;
    }
    const list: readonly unknown[] = value;
    yield `${start}[`;
    for (let from = 0; from < list.length; from += ITEMS_A_PIECE)
      yield `${from === 0 ? '' : ','}\n    ${list
        .slice(from, from + ITEMS_A_PIECE)
        .map((item) => indented(item ?? null, '    '))
        .join(',\n    ')}`;
    yield '\n  ]';
  }
  yield entries.length === 0 ? '{}\n' : '\n}\n';
}

/** Line feeds inside of texts are escaped, so every one there is begins a line. */
function indented(value: unknown, by: string): string {
  return JSON.stringify(value, undefined, 2).replaceAll('\n', `\n${by}`);
}

/** The `error` of a document. */
export function errorDocument(failure: Failure): object {
  const { code, message, where, hint } = failure.detail;
  return { code, message, where: where ?? null, hint: hint ?? null };
}

const COLORS = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const;

const PAINT = /\u001b\[\d+m/g;

/** Colour as a second signal only: the words say the same without it. */
export function paint(output: Output, color: keyof typeof COLORS, text: string): string {
  return output.color ? `\u001b[${COLORS[color]}m${text}\u001b[0m` : text;
}

/** Colours take no room. */
function columns(text: string): number {
  return text.includes('\u001b') ? text.replace(PAINT, '').length : text.length;
}

/**
 * Breaks text at spaces so that no line is longer than `width`; continuation lines are indented. A longer word is broken behind
 * `/` and `,`, as ids have them; with `whole` it stays in one piece, to be copied.
 */
export function wrap(text: string, width: number, indent = 0, first = 0, whole = false): string {
  const pad = ' '.repeat(indent);
  const lines: string[] = [];
  let line = ' '.repeat(first);
  let empty = true;
  const put = (piece: string, glue: string): void => {
    if (!empty && columns(line) + glue.length + columns(piece) > width) {
      lines.push(line);
      line = pad;
      empty = true;
    }
    line += empty ? piece : glue + piece;
    empty = false;
  };
  for (const word of text.split(' ')) {
    if (whole || word.length <= width - indent) put(word, ' ');
    else for (const [index, piece] of word.split(/(?<=[/,])/).entries()) put(piece, index === 0 ? ' ' : '');
  }
  lines.push(line);
  return lines.join('\n');
}

/** Cuts to `width` columns, saying so. */
export function cut(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text;
}

/** Rows in columns; the last cell is as long as it is. Text from the cluster is made safe. */
export function table(rows: readonly (readonly string[])[]): readonly string[] {
  const safe = rows.map((row) => row.map(safeText));
  const widths = (safe[0] ?? []).map((_, index) => Math.max(...safe.map((row) => row[index]?.length ?? 0)));
  return safe.map((row) =>
    row.map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0))).join('  '),
  );
}

/** What is left and right of a gutter; the right side wraps under itself. A left side beyond the gutter stands alone. */
export function beside(left: string, right: string, gutter: number, width: number): readonly string[] {
  const lines = wrap(right, width - gutter).split('\n');
  const pad = ' '.repeat(gutter);
  if (left.length + 1 > gutter) return [left, ...lines.map((line) => pad + line)];
  return lines.map((line, index) => (index === 0 ? left.padEnd(gutter) : pad) + line);
}

/** The first few of a list, and how many more there are. */
export function few<T>(items: readonly T[], most: number): { readonly shown: readonly T[]; readonly more: string } {
  // One line to say "and 1 more" is no shorter than the one left out.
  if (items.length <= most + 1) return { shown: items, more: '' };
  return { shown: items.slice(0, most), more: `and ${items.length - most} more (--json shows all)` };
}

/** A failure for people: what, where, what next. */
export function renderFailure(detail: FailureDetail, width: number): string {
  const lines = [wrap(`sallyport: ${safeText(detail.message)} (${detail.code})`, width, 2)];
  if (detail.where !== undefined) lines.push(wrap(`where: ${safeText(detail.where)}`, width, 9, 2, true));
  if (detail.hint !== undefined) lines.push(wrap(`next: ${safeText(detail.hint)}`, width, 8, 2, true));
  return `${lines.join('\n')}\n`;
}

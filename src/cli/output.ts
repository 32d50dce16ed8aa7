import type { FailureDetail } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';

export const API_VERSION = 'sallyport.dev/v1';

export interface Output {
  readonly json: boolean;
  readonly color: boolean;
  /** Columns of the terminal; 80 where there is none. */
  readonly width: number;
  /** Is a person at the keyboard? */
  readonly interactive: boolean;
  /** Data, for people. Nothing with --json. */
  line(text?: string): void;
  /** The one document of a --json run. */
  document(kind: string, body: object): void;
  /** Text for standard output as it is: a manifest to pipe on. */
  raw(text: string): void;
  /** Progress and remarks: standard error. */
  note(text: string): void;
}

export interface Streams {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly stdin: NodeJS.ReadStream;
}

export function openOutput(options: { json: boolean; color: boolean }, streams: Streams): Output {
  const { stdout, stderr, stdin } = streams;
  const terminal = stdout.isTTY;
  return {
    json: options.json,
    color: options.color && terminal && !options.json,
    width: Math.max(40, Math.min(stdout.columns || 80, 120)),
    interactive: terminal && stdin.isTTY && !options.json,
    line: (text = '') => {
      if (!options.json) stdout.write(`${text}\n`);
    },
    document: (kind, body) => {
      if (options.json) stdout.write(`${JSON.stringify({ apiVersion: API_VERSION, kind, ...body }, undefined, 2)}\n`);
    },
    raw: (text) => {
      stdout.write(text);
    },
    note: (text) => {
      stderr.write(`${text}\n`);
    },
  };
}

const COLORS = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const;

/** Colour as a second signal only: the words say the same without it. */
export function paint(output: Output, color: keyof typeof COLORS, text: string): string {
  return output.color ? `\u001b[${COLORS[color]}m${text}\u001b[0m` : text;
}

/** Breaks text at spaces so that no line is longer than `width`; continuation lines are indented. A longer word stays whole. */
export function wrap(text: string, width: number, indent = 0, first = 0): string {
  const pad = ' '.repeat(indent);
  const lines: string[] = [];
  let line = ' '.repeat(first);
  let empty = true;
  for (const word of text.split(' ')) {
    if (!empty && line.length + 1 + word.length > width) {
      lines.push(line);
      line = pad;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  lines.push(line);
  return lines.join('\n');
}

/** Rows in columns, the last one cut to fit. Text from the cluster is made safe. */
export function table(rows: readonly (readonly string[])[], width: number): readonly string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const safe = rows.map((row) => row.map(safeText));
  const widths = Array.from({ length: columns }, (_, index) => Math.max(...safe.map((row) => row[index]?.length ?? 0)));
  return safe.map((row) => {
    const line = row
      .map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0)))
      .join('  ');
    return line.length > width ? `${line.slice(0, width - 1)}…` : line;
  });
}

/** A failure for people: what, where, what next. */
export function renderFailure(detail: FailureDetail, width: number): string {
  const lines = [wrap(`sallyport: ${safeText(detail.message)} (${detail.code})`, width, 2)];
  if (detail.where !== undefined) lines.push(wrap(`where: ${safeText(detail.where)}`, width, 9, 2));
  if (detail.hint !== undefined) lines.push(wrap(`next: ${safeText(detail.hint)}`, width, 8, 2));
  return `${lines.join('\n')}\n`;
}

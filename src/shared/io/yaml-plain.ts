// The YAML that most manifests are written in: block maps and lists of plain one-line scalars. Whatever is not surely of that kind is
// left to the library, so that a text means the same by either way; it is read about twenty times faster by this one.
import type { Json } from '../pure/json.ts';

/** One document: its value, the line where it starts and those of the entries of a top-level `items`. Lines count from 1. */
export interface PlainDocument {
  readonly value: Json;
  readonly line: number;
  readonly itemLines: readonly number[];
}

/** Deeper nesting is left to the library, which says where it stops. */
const MAX_DEPTH = 60;

// Beyond these a text may mean what only the library knows: tabs, carriage returns, other alphabets, control characters.
const UNUSUAL = /[^\n\x20-\x7e]/u;
const KEY = /^[A-Za-z_][A-Za-z0-9_./-]{0,200}$/u;
const INTEGER = /^(?:0|[1-9]\d{0,14})$/u;
const QUANTITY = /^\d{1,15}(?:[mkMGTP]|[KMGTP]i|[sh]|ms|\.\d{1,9}(?:[KMGTP]i|[smhMGTP]))$/u;
const ADDRESS = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?:\/\d{1,2})?$/u;
const WORD = /^[A-Za-z/][^:#]*$/u;
// Words that some version of YAML takes for a truth value or nothing.
const RESERVED = /^(?:y|n|yes|no|on|off|true|false|null)$/iu;

/** Thrown where the text is not of the plain kind; never leaves this file. */
const UNPLAIN = Symbol('not plain YAML');

interface Reader {
  readonly lines: readonly string[];
  /** The line to read next, from 0: never blank, never a comment. */
  at: number;
  /** Its leading spaces; -1 at the end. */
  indent: number;
  itemLines: number[];
}

/** The value of a text that is one plain document; undefined for every text that is not surely that. */
export function readPlainYaml(text: string): PlainDocument | undefined {
  if (UNUSUAL.test(text)) return undefined;
  const lines = text.split('\n');
  const reader: Reader = { lines, at: -1, indent: -1, itemLines: [] };
  try {
    advance(reader);
    if (reader.indent === 0 && lines[reader.at] === '---') advance(reader);
    if (reader.indent !== 0) return undefined;
    const line = reader.at + 1;
    const value = readMap(reader, 0, 0, true);
    return isAtEnd(reader) ? { value, line, itemLines: reader.itemLines } : undefined;
  } catch (problem) {
    if (problem === UNPLAIN) return undefined;
    throw problem;
  }
}

function isAtEnd({ at, lines }: Reader): boolean {
  return at >= lines.length;
}

function unplain(): never {
  // eslint-disable-next-line @typescript-eslint/only-throw-error -- a signal without a trace: it is raised for every tenth text
  throw UNPLAIN;
}

function indentOf(line: string): number {
  let count = 0;
  while (line.charCodeAt(count) === 32) count += 1;
  return count;
}

/** To the next line that is neither blank nor a comment. */
function advance(reader: Reader): void {
  for (reader.at += 1; reader.at < reader.lines.length; reader.at += 1) {
    const line = reader.lines[reader.at] ?? '';
    const indent = indentOf(line);
    if (indent === line.length || line.charCodeAt(indent) === 35) continue;
    reader.indent = indent;
    return;
  }
  reader.indent = -1;
}

/**
 * A map whose keys stand at `indent`. The reader is at its first key, which may follow the dash of a list: then `indent` is further in
 * than the line.
 */
function readMap(reader: Reader, indent: number, depth: number, isRoot: boolean): Json {
  if (depth > MAX_DEPTH) unplain();
  const out: Record<string, Json> = {};
  let start = indent;
  for (;;) {
    const line = reader.lines[reader.at] ?? '';
    const colon = line.indexOf(':', start);
    const key = colon < 0 ? '' : line.slice(start, colon);
    if (!KEY.test(key) || key === '__proto__' || Object.hasOwn(out, key)) unplain();
    const rest = line.slice(colon + 1).trimEnd();
    if (rest === '') {
      advance(reader);
      out[key] = readNested(reader, indent, depth, isRoot && key === 'items');
    } else {
      // The entries of a top-level list need their lines.
      if (rest.charCodeAt(0) !== 32 || (isRoot && key === 'items' && rest.includes('['))) unplain();
      out[key] = readScalar(rest.trimStart());
      advance(reader);
      // A line further in would go on with the scalar.
      if (reader.indent > indent) unplain();
    }
    if (reader.indent < indent) return out;
    if (reader.indent > indent) unplain();
    start = indent;
    // A list at the indent of a key that has its value already, or a document marker.
    if ((reader.lines[reader.at] ?? '').charCodeAt(indent) === 45) {
      if (isListItem(reader)) return out;
      unplain();
    }
  }
}

function isListItem({ lines, at, indent }: Reader): boolean {
  const line = lines[at] ?? '';
  return line.charCodeAt(indent) === 45 && line.charCodeAt(indent + 1) === 32;
}

/** What follows a key without a value on its line. */
function readNested(reader: Reader, indent: number, depth: number, keepLines: boolean): Json {
  if (reader.indent > indent)
    return isListItem(reader)
      ? readList(reader, reader.indent, depth + 1, keepLines)
      : readMap(reader, reader.indent, depth + 1, false);
  // A list may stand at the indent of its key.
  if (reader.indent === indent && isListItem(reader)) return readList(reader, indent, depth + 1, keepLines);
  return null;
}

function readList(reader: Reader, indent: number, depth: number, keepLines: boolean): Json {
  if (depth > MAX_DEPTH) unplain();
  const out: Json[] = [];
  while (reader.indent === indent && isListItem(reader)) {
    const line = reader.lines[reader.at] ?? '';
    const start = indent + 1 + indentOf(line.slice(indent + 1));
    if (start >= line.length) unplain();
    if (keepLines) reader.itemLines.push(reader.at + 1);
    const colon = line.indexOf(':', start);
    const isMap =
      colon >= 0 &&
      (colon === line.length - 1 || line.charCodeAt(colon + 1) === 32) &&
      KEY.test(line.slice(start, colon));
    if (isMap) {
      out.push(readMap(reader, start, depth + 1, false));
      // The keys of the item end where the next item or an outer key starts.
      if (reader.indent > indent) unplain();
      continue;
    }
    out.push(readScalar(line.slice(start).trimEnd()));
    advance(reader);
    if (reader.indent > indent) unplain();
  }
  return out;
}

function readScalar(text: string): Json {
  const first = text.charCodeAt(0);
  // Double and single quotes.
  if (first === 34 || first === 39) return readQuoted(text);
  if (first === 91) return readFlowList(text);
  if (text === '{}') return {};
  return readPlain(text);
}

function readQuoted(text: string): string {
  const quote = text.charAt(0);
  const end = text.indexOf(quote, 1);
  if (end !== text.length - 1 || end < 1 || (quote === '"' && text.includes('\\'))) unplain();
  return text.slice(1, -1);
}

/** `[a, "b", 3]`, of scalars that hold nothing with a meaning there. */
function readFlowList(text: string): Json {
  if (!text.endsWith(']')) unplain();
  const inner = text.slice(1, -1).trim();
  if (inner === '') return [];
  if (/[[\]{}:#?|&*!%@`\\]/u.test(inner)) unplain();
  return inner.split(',').map((part) => {
    const item = part.trim();
    if (item === '') unplain();
    const isQuoted = item.startsWith('"') || item.startsWith("'");
    // A comma between quotes has cut the text, so that no part of it is quoted whole.
    if (!isQuoted && /["']/u.test(item)) unplain();
    return isQuoted ? readQuoted(item) : readPlain(item);
  });
}

function readPlain(text: string): Json {
  if (WORD.test(text)) {
    if (!RESERVED.test(text)) return text;
    if (text === 'true') return true;
    if (text === 'false') return false;
    if (text === 'null') return null;
    return unplain();
  }
  if (INTEGER.test(text)) return Number(text);
  if (QUANTITY.test(text) || ADDRESS.test(text)) return text;
  // A colon or a mark within a word, as in an image or a URL.
  if (/^[A-Za-z/]/u.test(text) && !/:(?: |$)| #/u.test(text)) return text;
  return unplain();
}

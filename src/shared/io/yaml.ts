// The one place that knows the YAML library. Text is read as kubectl reads it: YAML 1.1 booleans and octals, merge keys, dates
// as text (sigs.k8s.io/yaml, which decodes with go-yaml v2).
import type { Document, Node, Pair, ParsedNode, Scalar, YAMLMap } from 'yaml';
import { isAlias, isMap, isScalar, isSeq, parseAllDocuments, Schema } from 'yaml';
import type { Json, JsonObject } from '../pure/json.ts';
import { isJsonObject } from '../pure/json.ts';
import { readPlainYaml } from './yaml-plain.ts';

/** What is wrong in a text, and where: lines and columns count from 1. Never quotes the text, which may hold secrets. */
export interface YamlProblem {
  readonly message: string;
  readonly line: number;
  readonly column: number;
}

/** One document of a text. */
export interface YamlDocument {
  /** Undefined when there is a problem. */
  readonly value: Json | undefined;
  readonly problem?: YamlProblem;
  /** The line where its content starts, from 1. */
  readonly line: number;
  /** The lines of the entries of a top-level `items`, for lists of objects; empty for JSON. */
  readonly itemLines: readonly number[];
}

/** A part of a text between document markers, or all of it where directives stand in the way. Offsets in UTF-16 units. */
export interface YamlChunk {
  readonly start: number;
  readonly end: number;
  /** The line of the text where it starts, from 1. */
  readonly line: number;
}

export type YamlNode =
  | {
      readonly kind: 'map';
      readonly flow: boolean;
      readonly start: number;
      readonly end: number;
      readonly anchored: boolean;
      readonly pairs: readonly YamlPair[];
    }
  | {
      readonly kind: 'seq';
      readonly flow: boolean;
      readonly start: number;
      readonly end: number;
      readonly anchored: boolean;
      readonly items: readonly YamlNode[];
    }
  | {
      readonly kind: 'scalar';
      readonly style: 'plain' | 'quoted' | 'block';
      readonly isNull: boolean;
      readonly start: number;
      readonly end: number;
      readonly anchored: boolean;
    }
  | { readonly kind: 'alias'; readonly start: number; readonly end: number; readonly anchored: false };

/** A key and its value with their places, offsets in UTF-16 units. */
export interface YamlPair {
  readonly key: string;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly quoted: boolean;
  /** Just after the colon; undefined where there is none (`{a}`). */
  readonly colonEnd: number | undefined;
  /** Where the anchor or tag before the value starts. */
  readonly propsStart: number | undefined;
  readonly merge: boolean;
  /** Written with `?`. */
  readonly explicit: boolean;
  readonly value: YamlNode;
}

/** Deeper nesting than this is refused: no real object comes near, and recursion stays bounded. */
const MAX_DEPTH = 200;
/** Values that aliases may stand for in one document, against texts that grow without bound. */
const MAX_ALIASED_VALUES = 100_000;

const UNWANTED_TAGS = new Set(
  ['timestamp', 'binary', 'omap', 'pairs', 'set'].map((name) => `tag:yaml.org,2002:${name}`),
);
// Built once: a schema for each document costs more than reading a small one.
const SCHEMA = new Schema({
  schema: 'yaml-1.1',
  merge: false,
  resolveKnownTags: false,
  customTags: (tags) =>
    tags.filter(
      (tag) => typeof tag === 'string' || !(UNWANTED_TAGS.has(tag.tag) || ('format' in tag && tag.format === 'TIME')),
    ),
});

function composeAll(text: string, keepSourceTokens: boolean): readonly Document.Parsed[] {
  const documents = parseAllDocuments(text, {
    schema: SCHEMA,
    prettyErrors: false,
    // Compared with every earlier key of the map otherwise; toJson finds repeats at once.
    uniqueKeys: false,
    stringKeys: true,
    logLevel: 'silent',
    keepSourceTokens,
  });
  return 'empty' in documents ? [] : documents;
}

/** Splits a text at its `---` lines, as kubectl does. Every character belongs to exactly one chunk. */
export function splitYaml(text: string): readonly YamlChunk[] {
  if (/^(?:%|\.\.\.(?:\s|$))/mu.test(text)) return [{ start: 0, end: text.length, line: 1 }];
  const starts = [0, ...[...text.matchAll(/^---(?=\s|$)/gmu)].map((match) => match.index).filter((index) => index > 0)];
  let line = 1;
  return starts.map((start, index) => {
    const end = starts[index + 1] ?? text.length;
    const chunk = { start, end, line };
    line += countLines(text, start, end);
    return chunk;
  });
}

/**
 * The documents of a text, comments and empty documents left out. A document that cannot be read has a problem instead of a
 * value. JSON is read as JSON.
 */
export function parseYamlDocuments(text: string): readonly YamlDocument[] {
  const json = parseJsonText(text);
  if (json !== undefined) return [json];
  const plain = readPlainYaml(text);
  return plain === undefined ? parseYamlInFull(text) : [plain];
}

/** As `parseYamlDocuments`, by the library alone: what the faster ways must agree with. */
export function parseYamlInFull(text: string): readonly YamlDocument[] {
  try {
    const lines = lineIndexOf(text);
    return composeAll(text, false)
      .filter((document) => document.contents !== null || document.errors.length > 0)
      .filter((document) => !isEmptyDocument(document))
      .map((document) => readDocument(document, lines));
  } catch (error) {
    // The library recurses into nested values.
    if (error instanceof RangeError)
      return [
        { value: undefined, problem: { message: 'nested too deeply', line: 1, column: 1 }, line: 1, itemLines: [] },
      ];
    throw error;
  }
}

/** The value of a text that is one document. Throws nothing: a text of several documents or none is a problem too. */
export function parseYaml(text: string): { readonly value: Json } | { readonly problem: YamlProblem } {
  const documents = splitYaml(text).flatMap((chunk) =>
    parseYamlDocuments(text.slice(chunk.start, chunk.end)).map((document) => ({ document, chunk })),
  );
  const bad = documents.find(({ document }) => document.problem !== undefined);
  if (bad?.document.problem !== undefined) {
    const { problem } = bad.document;
    return { problem: { ...problem, line: problem.line + bad.chunk.line - 1 } };
  }
  const [first, second] = documents;
  if (second !== undefined)
    return {
      problem: { message: 'one document is expected', line: second.chunk.line + second.document.line - 1, column: 1 },
    };
  return { value: first?.document.value ?? null };
}

/** The value of a text of one document: null where it is empty, undefined where it does not parse. */
export function yamlValue(text: string): Json | undefined {
  if (text.trim() === '') return null;
  const read = parseYaml(text);
  return 'problem' in read ? undefined : read.value;
}

/**
 * The documents of a text with the place of every node, in the order of `parseYamlDocuments`. Undefined where the text has
 * errors.
 */
export function parseYamlTrees(text: string): readonly YamlNode[] | undefined {
  const documents = composeAll(text, true).filter((document) => !isEmptyDocument(document));
  if (documents.some((document) => document.errors.length > 0 || document.contents === null)) return undefined;
  return documents.map((document) => treeOf(document.contents, false));
}

function isEmptyDocument(document: Document.Parsed): boolean {
  const { contents, errors } = document;
  if (errors.length > 0) return false;
  return contents === null || (isScalar(contents) && contents.value === null && contents.source === '');
}

function parseJsonText(text: string): YamlDocument | undefined {
  const first = /[^\s\ufeff]/u.exec(text);
  if (first === null || (first[0] !== '{' && first[0] !== '[')) return undefined;
  let value: Json;
  try {
    value = JSON.parse(text.startsWith('\ufeff') ? text.slice(1) : text) as Json;
  } catch {
    // Not JSON; it may be a YAML flow map, and if not, that reading says what is wrong.
    return undefined;
  }
  const line = 1 + countLines(text, 0, first.index);
  if (depthExceeds(value, MAX_DEPTH))
    return { value: undefined, problem: { message: 'nested too deeply', line, column: 1 }, line, itemLines: [] };
  return { value, line, itemLines: [] };
}

function depthExceeds(value: Json, depth: number): boolean {
  if (depth < 0) return true;
  if (typeof value !== 'object' || value === null) return false;
  return Object.values(value).some((item) => depthExceeds(item, depth - 1));
}

function readDocument(document: Document.Parsed, lines: LineIndex): YamlDocument {
  const { contents } = document;
  const start = contents === null ? 0 : contents.range[0];
  const { line } = placeOf(lines, start);
  const fail = (message: string, offset: number): YamlDocument => ({
    value: undefined,
    problem: { message, ...placeOf(lines, offset) },
    line,
    itemLines: [],
  });
  const [error] = document.errors;
  if (error !== undefined) return fail(error.message, error.pos[0]);
  try {
    const value = contents === null ? null : toJson(contents, { anchors: new Map(), aliased: 0 }, 0).value;
    return { value, line, itemLines: itemLinesOf(contents, value, lines) };
  } catch (problem) {
    if (problem instanceof ValueProblem) return fail(problem.message, problem.offset);
    throw problem;
  }
}

function itemLinesOf(contents: ParsedNode | null, value: Json, lines: LineIndex): readonly number[] {
  if (!isMap(contents) || !isJsonObject(value) || !Array.isArray(value['items'])) return [];
  const items = contents.get('items', true) as unknown;
  return isSeq(items) ? items.items.map((item) => placeOf(lines, startOf(item as Node)).line) : [];
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

class ValueProblem extends Error {
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

interface Sized {
  readonly value: Json;
  /** Values in it, aliases expanded; each 64 characters of a text are one. */
  readonly size: number;
}
interface Reading {
  readonly anchors: Map<string, Sized>;
  aliased: number;
}

function toJson(node: Node | null, reading: Reading, depth: number): Sized {
  if (node === null) return { value: null, size: 1 };
  if (depth > MAX_DEPTH) throw new ValueProblem('nested too deeply', startOf(node));
  if (isAlias(node)) {
    const target = reading.anchors.get(node.source);
    if (target === undefined) throw new ValueProblem('an alias without its anchor', startOf(node));
    reading.aliased += target.size;
    if (reading.aliased > MAX_ALIASED_VALUES)
      throw new ValueProblem(`aliases stand for more than ${MAX_ALIASED_VALUES} values`, startOf(node));
    return target;
  }
  let result: Sized;
  if (isMap(node)) {
    result = mapToJson(node as YAMLMap<Node, Node | null>, reading, depth);
  } else if (isSeq(node)) {
    const items = node.items.map((item) => toJson(item as Node | null, reading, depth + 1));
    result = { value: items.map(({ value }) => value), size: 1 + sum(items) };
  } else {
    const value = scalarToJson(node);
    // A long text counts for what it is: standing behind many aliases it fills a memory as well as many values do.
    result = { value, size: 1 + (typeof value === 'string' ? value.length >> 6 : 0) };
  }
  if (node.anchor !== undefined) reading.anchors.set(node.anchor, result);
  return result;
}

function sum(items: readonly Sized[]): number {
  return items.reduce((total, { size }) => total + size, 0);
}

function scalarToJson(node: Scalar): Json {
  const { value } = node;
  if (typeof value === 'number' && !Number.isFinite(value)) {
    // A number out of range is text to kubectl: a commit such as 59e9123 looks like one.
    if (/\d/u.test(node.source ?? '')) return node.source ?? '';
    throw new ValueProblem('a number that JSON does not have', startOf(node));
  }
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value;
  return node.source ?? null;
}

function mapToJson(map: YAMLMap<Node, Node | null>, reading: Reading, depth: number): Sized {
  const own = new Map<string, Json>();
  const merged = new Map<string, Json>();
  let size = 1;
  for (const { key, value } of map.items) {
    if (!isScalar(key)) throw new ValueProblem('a key that is not text', startOf(key));
    const item = toJson(value, reading, depth + 1);
    size += item.size;
    if (isMergeKey(key)) {
      const sources = Array.isArray(item.value) ? (item.value as readonly Json[]) : [item.value];
      for (const source of sources) {
        if (!isJsonObject(source)) throw new ValueProblem('a merge key whose value is not a map', startOf(key));
        for (const [name, inherited] of Object.entries(source)) if (!merged.has(name)) merged.set(name, inherited);
      }
      continue;
    }
    const name = keyText(key);
    if (key.anchor !== undefined) reading.anchors.set(key.anchor, { value: name, size: 1 });
    if (own.has(name)) throw new ValueProblem('a key that is there already', startOf(key));
    own.set(name, item.value);
  }
  for (const [name, value] of merged) if (!own.has(name)) own.set(name, value);
  // fromEntries defines a key named __proto__ as a key; an assignment would set the prototype.
  return { value: Object.fromEntries(own), size };
}

function keyText(key: Scalar): string {
  return typeof key.value === 'string' ? key.value : (key.source ?? '');
}

function isMergeKey(key: Scalar): boolean {
  return key.value === '<<' && key.type === 'PLAIN';
}

interface SourceToken {
  readonly type: string;
  readonly offset: number;
  readonly source: string;
}
interface SourceItem {
  readonly start?: readonly SourceToken[];
  readonly sep?: readonly SourceToken[];
}

function treeOf(node: Node | null, anchoredBefore: boolean, fallback = 0): YamlNode {
  if (node === null)
    return { kind: 'scalar', style: 'plain', isNull: true, start: fallback, end: fallback, anchored: anchoredBefore };
  const [start, end] = node.range ?? [fallback, fallback];
  if (isAlias(node)) return { kind: 'alias', start, end, anchored: false };
  const anchored = anchoredBefore || node.anchor !== undefined;
  if (isMap(node)) {
    const pairs = (node as YAMLMap<Node, Node | null>).items.map(pairOf);
    return { kind: 'map', flow: node.flow === true, start, end, anchored, pairs };
  }
  if (isSeq(node)) {
    const items = node.items.map((item) => treeOf(item as Node | null, false, start));
    return { kind: 'seq', flow: node.flow === true, start, end, anchored, items };
  }
  const scalar = node;
  const style = scalar.type?.startsWith('BLOCK') === true ? 'block' : scalar.type === 'PLAIN' ? 'plain' : 'quoted';
  return { kind: 'scalar', style, isNull: scalar.value === null, start, end, anchored };
}

function pairOf(pair: Pair<Node, Node | null>): YamlPair {
  const { key, value } = pair;
  const item = (pair.srcToken ?? {}) as SourceItem;
  const colon = item.sep?.find((token) => token.type === 'map-value-ind');
  const props = item.sep?.find((token) => token.type === 'anchor' || token.type === 'tag');
  const [keyStart, keyEnd] = key.range ?? [0, 0];
  const colonEnd = colon === undefined ? undefined : colon.offset + 1;
  return {
    key: isScalar(key) ? keyText(key) : '',
    keyStart,
    keyEnd,
    quoted: isScalar(key) && key.type !== 'PLAIN',
    colonEnd,
    propsStart: props?.offset,
    merge: isScalar(key) && isMergeKey(key),
    explicit: item.start?.some((token) => token.type === 'explicit-key-ind') === true,
    value: treeOf(value, props?.type === 'anchor', colonEnd ?? keyEnd),
  };
}

function countLines(text: string, start: number, end: number): number {
  let count = 0;
  for (let at = text.indexOf('\n', start); at >= 0 && at < end; at = text.indexOf('\n', at + 1)) count += 1;
  return count;
}

/** Offsets at which lines start. */
type LineIndex = readonly number[];

function lineIndexOf(text: string): LineIndex {
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return starts;
}

function placeOf(lines: LineIndex, offset: number): { readonly line: number; readonly column: number } {
  let low = 0;
  let high = lines.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((lines[middle] ?? 0) <= offset) low = middle;
    else high = middle;
  }
  return { line: low + 1, column: offset - (lines[low] ?? 0) + 1 };
}

/** How values are written into a text. */
export interface YamlStyle {
  /** Spaces that a nested map is further in. */
  readonly step: number;
  /** Whether the dash of a list stands further in than its key. */
  readonly indentLists: boolean;
}

const DEFAULT_STYLE: YamlStyle = { step: 2, indentLists: false };

/**
 * A value as block YAML with a final line break. Texts are plain only where every YAML version reads them as text; control
 * characters and line separators are always escaped, so that no text can end its line.
 */
export function renderYaml(value: Json, style: YamlStyle = DEFAULT_STYLE): string {
  return `${renderYamlLines(value, style).join('\n')}\n`;
}

/** The lines of `renderYaml`, without breaks, for writing into a text at any depth. */
export function renderYamlLines(value: Json, style: YamlStyle = DEFAULT_STYLE): readonly string[] {
  if (Array.isArray(value) && value.length > 0)
    return (value as readonly Json[]).flatMap((item) => {
      const [first = '', ...rest] = renderYamlLines(item, style);
      return [`- ${first}`, ...rest.map((line) => `  ${line}`)];
    });
  if (isJsonObject(value) && Object.keys(value).length > 0)
    return Object.entries(value).flatMap(([key, item]) => renderYamlPair(key, item, style));
  return [renderYamlFlow(value)];
}

/** The lines of one key and its value. */
export function renderYamlPair(key: string, value: Json, style: YamlStyle = DEFAULT_STYLE): readonly string[] {
  const name = renderYamlText(key);
  const nested = typeof value === 'object' && value !== null && Object.keys(value).length > 0;
  if (!nested) return [`${name}: ${renderYamlFlow(value)}`];
  const indent = ' '.repeat(Array.isArray(value) && !style.indentLists ? 0 : style.step);
  return [`${name}:`, ...renderYamlLines(value, style).map((line) => indent + line)];
}

/** A value on one line. `json` quotes every text, `compact` leaves out spaces. */
export function renderYamlFlow(value: Json, json = false, compact = false): string {
  const space = compact ? '' : ' ';
  if (Array.isArray(value))
    return `[${(value as readonly Json[]).map((item) => renderYamlFlow(item, json, compact)).join(`,${space}`)}]`;
  if (isJsonObject(value)) return `{${entriesOf(value, json, compact).join(`,${space}`)}}`;
  return typeof value === 'string' ? renderYamlText(value, json) : JSON.stringify(value);
}

function entriesOf(value: JsonObject, json: boolean, compact: boolean): readonly string[] {
  return Object.entries(value).map(
    ([key, item]) => `${renderYamlText(key, json)}:${compact ? '' : ' '}${renderYamlFlow(item, json, compact)}`,
  );
}

const PLAIN = /^[A-Za-z/][\w./@-]*(?::[\w./@-]+)*$/u;
const RESERVED = new Set(['y', 'n', 'yes', 'no', 'on', 'off', 'true', 'false', 'null']);
// What JSON leaves as it is but some reader of YAML takes for a line break, a mark or nothing at all.
const TO_ESCAPE = /[\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufffe\uffff]/gu;

/** A text as a YAML scalar, in double quotes where it must be or where `quoted` asks for it. */
export function renderYamlText(text: string, quoted = false): string {
  if (!quoted && PLAIN.test(text) && !RESERVED.has(text.toLowerCase())) return text;
  return JSON.stringify(text).replace(
    TO_ESCAPE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

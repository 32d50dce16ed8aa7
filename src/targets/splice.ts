// Edits of somebody else's YAML or JSON text that touch one field's bytes and can be taken back to the byte. Pure.
import type { KubeManifest } from '../model/object.ts';
import type { FieldChange } from '../plan/change.ts';
import { editObject } from '../plan/change.ts';
import type { YamlNode, YamlPair, YamlStyle } from '../shared/io/yaml.ts';
import { parseYamlTrees, renderYamlFlow, renderYamlPair, renderYamlText } from '../shared/io/yaml.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { FieldPath, Json, JsonObject } from '../shared/pure/json.ts';
import { equalJson, getPath, setPath } from '../shared/pure/json.ts';

/** Where an object stands in a text of YAML documents or JSON. */
export interface ObjectPlace {
  /** Which document, from 0, empty ones not counted. */
  readonly index: number;
  /** From the document's root to the object: `['items', 2]` in a list. */
  readonly itemPath: readonly (string | number)[];
}

/** What a splice did to the bytes, so that it can be undone exactly. Kept until it is. */
export interface SpliceRecord {
  readonly before?: Json;
  readonly after?: Json;
  /** The bytes that were there. */
  readonly original: string;
  /** The bytes that stand there now. */
  readonly written: string;
  /** A field that is present now, from whose key the place is measured. */
  readonly anchor: FieldPath;
  readonly offset: number;
  /** Hash of what surrounded the place: the only sign of it where nothing was written. */
  readonly context: string;
}

export type Spliced =
  | {
      readonly kind: 'spliced';
      readonly text: string;
      /** Set by an edit, absent when a record was restored. */
      readonly record?: SpliceRecord;
      /** The records that remain: those up to the one restored, or all. */
      readonly remaining: readonly SpliceRecord[];
    }
  /** The text is such that this field cannot be written by itself: why. */
  | { readonly kind: 'refused'; readonly reason: string };

/** Reads the objects of a text again, to compare what a splice made with what it should have made. */
export type ReadObjects = (text: string) => readonly {
  readonly object: KubeManifest;
  readonly index: number;
  readonly itemPath: readonly (string | number)[];
}[];

interface Region {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * Sets one field of one object in `text`, or removes it where `after` is undefined. Where the newest fitting record says that
 * this takes an earlier splice back, the earlier bytes are put back. The result is read again: exactly this field of this
 * object differs, or nothing is done.
 */
export function spliceField(
  text: string,
  place: ObjectPlace,
  field: FieldChange,
  records: readonly SpliceRecord[],
  readObjects: ReadObjects,
): Spliced {
  const root = rootOf(text, place);
  if (root === undefined) return refused('the place of the object in the file is not found');
  if (getIn(root, field.path) === 'through-alias')
    return refused('the field stands in an alias or comes from a merge key');
  const check = (edited: string): string | undefined => whatDiffers(text, edited, place, field, readObjects);

  for (let at = records.length - 1; at >= 0; at -= 1) {
    const record = records[at];
    if (record === undefined || !undoes(field, record)) continue;
    const region = regionOfRecord(text, root, record);
    const edited = region === undefined ? undefined : replaceRegion(text, region);
    if (edited !== undefined && check(edited) === undefined)
      return { kind: 'spliced', text: edited, remaining: records.slice(0, at) };
  }

  let reason = 'it cannot be written';
  // A block text at the end of a file would take in what is written after it: the front of the map is the second choice.
  for (const side of ['last', 'first'] as const) {
    const region = regionOfField(text, root, field.path, field.after, side);
    if (typeof region === 'string') return refused(region);
    const edited = replaceRegion(text, region);
    const difference = check(edited);
    if (difference === undefined) {
      const undone = records.findLastIndex((record) => undoes(field, record));
      return undone >= 0
        ? { kind: 'spliced', text: edited, remaining: records.slice(0, undone) }
        : {
            kind: 'spliced',
            text: edited,
            record: recordOf(text, edited, place, root, region, field),
            remaining: records,
          };
    }
    reason = difference;
  }
  return refused(reason);
}

function refused(reason: string): Spliced {
  return { kind: 'refused', reason };
}

function undoes(field: FieldChange, record: SpliceRecord): boolean {
  return equalJson(field.before, record.after) && equalJson(field.after, record.before);
}

function replaceRegion(text: string, { start, end, text: replacement }: Region): string {
  return text.slice(0, start) + replacement + text.slice(end);
}

/** Says what is wrong with an edit; undefined when it did what it should and nothing else. */
function whatDiffers(
  text: string,
  edited: string,
  place: ObjectPlace,
  field: FieldChange,
  readObjects: ReadObjects,
): string | undefined {
  const old = readObjects(text);
  const fresh = readObjects(edited);
  const samePlace = (one: ObjectPlace) =>
    one.index === place.index && one.itemPath.join('/') === place.itemPath.join('/');
  const same =
    old.length === fresh.length &&
    old.every((one, at) => {
      const now = fresh[at];
      if (now === undefined) return false;
      if (!samePlace(one)) return equalJson(one.object, now.object);
      return (
        equalJson(getPath(now.object, field.path), field.after) &&
        equalJson(relax(editObject(one.object, [field]), field.path), relax(now.object, field.path))
      );
    });
  if (same) return undefined;
  return /[&*]/u.test(text)
    ? 'the field shares its text with others through an anchor, an alias or a merge key'
    : 'the file is written in a way that does not let this field be changed by itself';
}

/** A parent that is empty and one that is null are written differently and mean the same. */
function relax(object: JsonObject, path: FieldPath): JsonObject {
  let relaxed = object;
  for (let depth = 1; depth < path.length; depth += 1) {
    const parent = path.slice(0, depth);
    if (getPath(relaxed, parent) === null) relaxed = setPath(relaxed, parent, {});
  }
  return relaxed;
}

// ---- finding the place

function rootOf(text: string, place: ObjectPlace): YamlNode | undefined {
  let node = parseYamlTrees(text)?.[place.index];
  for (const step of place.itemPath) {
    if (node === undefined) return undefined;
    if (typeof step === 'number') node = node.kind === 'seq' ? node.items[step] : undefined;
    else node = node.kind === 'map' ? findPair(node.pairs, step)?.value : undefined;
  }
  return node;
}

function findPair(pairs: readonly YamlPair[], key: string): YamlPair | undefined {
  return pairs.find((pair) => pair.key === key && !pair.merge);
}

/** The pair of a field as it is written; undefined when it is not there. */
function getIn(root: YamlNode, path: FieldPath): YamlPair | 'through-alias' | undefined {
  let node = root;
  let pair: YamlPair | undefined;
  for (const key of path) {
    if (node.kind === 'alias') return 'through-alias';
    if (node.kind !== 'map') return undefined;
    pair = findPair(node.pairs, key);
    if (pair === undefined) return undefined;
    node = pair.value;
  }
  return pair;
}

function regionOfRecord(text: string, root: YamlNode, record: SpliceRecord): Region | undefined {
  const anchor = getIn(root, record.anchor);
  if (anchor === undefined || anchor === 'through-alias') return undefined;
  const start = anchor.keyStart + record.offset;
  const end = start + record.written.length;
  if (start < 0 || text.slice(start, end) !== record.written) return undefined;
  if (record.written.trim() === '' && contextOf(text, start, end) !== record.context) return undefined;
  return { start, end, text: record.original };
}

function recordOf(
  text: string,
  edited: string,
  place: ObjectPlace,
  before: YamlNode,
  region: Region,
  field: FieldChange,
): SpliceRecord {
  const anchor = anchorOf(before, field);
  const root = rootOf(edited, place);
  const pair = root === undefined ? undefined : getIn(root, anchor);
  if (pair === undefined || pair === 'through-alias')
    throw new Error(`no place to measure from at ${anchor.join('.')}`);
  return {
    ...(field.before === undefined ? {} : { before: field.before }),
    ...(field.after === undefined ? {} : { after: field.after }),
    original: text.slice(region.start, region.end),
    written: region.text,
    anchor,
    offset: region.start - pair.keyStart,
    context: contextOf(edited, region.start, region.start + region.text.length),
  };
}

/** The field itself where it is present afterwards, else the key before or after it, else its parent. */
function anchorOf(root: YamlNode, { path, after }: FieldChange): FieldPath {
  if (after !== undefined) return path;
  const parent = path.slice(0, -1);
  const holder = parent.length === 0 ? root : getIn(root, parent);
  const map = holder === undefined || holder === 'through-alias' ? undefined : 'kind' in holder ? holder : holder.value;
  if (map?.kind !== 'map') return parent;
  const at = map.pairs.findIndex(({ key }) => key === path.at(-1));
  const neighbour = map.pairs.find((pair, index) => (index === at - 1 || index === at + 1) && !pair.merge);
  return neighbour === undefined ? parent : [...parent, neighbour.key];
}

const CONTEXT_LENGTH = 48;

function contextOf(text: string, start: number, end: number): string {
  return sha256(`${text.slice(Math.max(0, start - CONTEXT_LENGTH), start)}\0${text.slice(end, end + CONTEXT_LENGTH)}`);
}

// ---- what to write where

/** The bytes to change for a field; a text says why it cannot be done. */
function regionOfField(
  text: string,
  root: YamlNode,
  path: FieldPath,
  after: Json | undefined,
  side: 'first' | 'last',
): Region | string {
  let node = root;
  let holder: YamlPair | undefined;
  for (const [depth, key] of path.entries()) {
    if (node.kind === 'alias') return 'the field stands in an alias';
    if (node.kind === 'scalar' && node.isNull && holder !== undefined && after !== undefined)
      return fillRegion(text, root, holder, path.slice(depth), after);
    if (node.kind !== 'map') return `${path.slice(0, depth).join('.')} is not a map`;
    const pair = findPair(node.pairs, key);
    if (pair === undefined) {
      if (after === undefined) return `${path.slice(0, depth + 1).join('.')} comes from a merge key`;
      const value = nestValue(path.slice(depth + 1), after);
      if (node.pairs.length === 0) return fillRegion(text, root, holder, path.slice(depth), after);
      return node.flow ? insertInFlow(text, node, key, value) : insertInBlock(text, root, node, key, value, side);
    }
    if (pair.explicit) return `${path.slice(0, depth + 1).join('.')} is written with an explicit key`;
    if (depth === path.length - 1)
      return after === undefined
        ? removeRegion(text, node, pair, holder)
        : replaceValueRegion(text, root, node.flow, pair, after);
    holder = pair;
    node = pair.value;
  }
  return 'the path is empty';
}

function nestValue(path: FieldPath, value: Json): Json {
  return [...path].reverse().reduce<Json>((inner, key) => ({ [key]: inner }), value);
}

/** Writes the first field of a parent that is empty or null. */
function fillRegion(
  text: string,
  root: YamlNode,
  holder: YamlPair | undefined,
  path: FieldPath,
  after: Json,
): Region | string {
  if (holder === undefined) return 'the object is empty';
  return replaceValueRegion(text, root, inFlow(root, holder), holder, nestValue(path, after));
}

function inFlow(root: YamlNode, pair: YamlPair): boolean {
  const search = (node: YamlNode, flow: boolean): boolean | undefined => {
    if (node.kind !== 'map') return undefined;
    for (const one of node.pairs) {
      if (one.keyStart === pair.keyStart) return flow || node.flow;
      const found = search(one.value, flow || node.flow);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return search(root, false) ?? false;
}

function insertInFlow(text: string, map: YamlNode & { kind: 'map' }, key: string, value: Json): Region {
  const last = map.pairs.at(-1);
  const position = last === undefined ? map.start + 1 : endOfPair(last);
  const json = last?.quoted === true;
  const compact = last?.colonEnd !== undefined && last.colonEnd === last.value.start && text[last.colonEnd] !== ' ';
  const ownLine = last !== undefined && isFirstOnLine(text, last.keyStart);
  const gap = ownLine ? eolOf(text) + lineIndentOf(text, last.keyStart) : compact ? '' : ' ';
  const comma = trailingComma(text, position, map.end - 1);
  const pair = `${renderYamlText(key, json)}:${compact ? '' : ' '}${renderYamlFlow(value, json, compact)}`;
  return comma === undefined
    ? { start: position, end: position, text: `,${gap}${pair}` }
    : { start: comma + 1, end: comma + 1, text: gap + pair };
}

/** The offset of a comma that nothing follows; comments are passed over. */
function trailingComma(text: string, start: number, end: number): number | undefined {
  for (let at = start; at < end; at += 1) {
    if (text[at] === ',') return at;
    if (text[at] === '#') {
      const lineEnd = text.indexOf('\n', at);
      if (lineEnd < 0) return undefined;
      at = lineEnd;
    }
  }
  return undefined;
}

function insertInBlock(
  text: string,
  root: YamlNode,
  map: YamlNode & { kind: 'map' },
  key: string,
  value: Json,
  side: 'first' | 'last',
): Region | string {
  const [first] = map.pairs;
  const last = map.pairs.at(-1);
  if (first === undefined || last === undefined) return 'the map is empty';
  const indent = ' '.repeat(columnOf(text, first.keyStart));
  const eol = eolOf(text);
  const lines = renderYamlPair(key, value, styleOf(text, root)).map((line) => indent + line);
  if (side === 'first')
    return { start: first.keyStart, end: first.keyStart, text: `${lines.join(eol).trimStart()}${eol}${indent}` };
  const position = endOfPair(last);
  // After a block scalar the position is at the start of a line already.
  if (position > 0 && text[position - 1] === '\n')
    return { start: position, end: position, text: lines.map((line) => line + eol).join('') };
  const lineBreak = text.indexOf('\n', position);
  if (lineBreak < 0) return { start: text.length, end: text.length, text: lines.map((line) => eol + line).join('') };
  return { start: lineBreak + 1, end: lineBreak + 1, text: lines.map((line) => line + eol).join('') };
}

function replaceValueRegion(text: string, root: YamlNode, flow: boolean, pair: YamlPair, after: Json): Region | string {
  const { value, colonEnd } = pair;
  if (value.kind === 'alias') return 'the value is an alias';
  if (value.anchored) return 'the value has an anchor';
  const start = pair.propsStart ?? value.start;
  const end = withoutLineBreak(text, endOfNode(value, colonEnd ?? pair.keyEnd));
  const json = flow && pair.quoted;
  if (colonEnd === undefined) return { start: pair.keyEnd, end: pair.keyEnd, text: `: ${renderYamlFlow(after, json)}` };
  const written = start < end;
  if (flow) {
    const compact = json && colonEnd === start;
    return written
      ? { start, end, text: renderYamlFlow(after, json, compact) }
      : { start: colonEnd, end: colonEnd, text: ` ${renderYamlFlow(after, json)}` };
  }
  const oneLine = value.kind !== 'map' && value.kind !== 'seq' ? value.style !== 'block' : value.flow;
  // `{}` becomes `{a: b}`, and `[]` `[a]`: they stay on their line.
  const stays = oneLine && (value.kind === 'map' || value.kind === 'seq') && !spansLines(text, value);
  if (!isNested(after) || stays) {
    const scalar = renderYamlFlow(after);
    return written && oneLine
      ? { start, end, text: scalar }
      : { start: colonEnd, end: written ? end : colonEnd, text: ` ${scalar}` };
  }
  const [, ...lines] = renderYamlPair(pair.key, after, styleOf(text, root));
  const indent = ' '.repeat(columnOf(text, pair.keyStart));
  const eol = eolOf(text);
  return { start: colonEnd, end: written ? end : colonEnd, text: lines.map((line) => eol + indent + line).join('') };
}

function isNested(value: Json): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

function spansLines(text: string, node: YamlNode): boolean {
  return text.slice(node.start, node.end).includes('\n');
}

function removeRegion(
  text: string,
  map: YamlNode & { kind: 'map' },
  pair: YamlPair,
  holder: YamlPair | undefined,
): Region | string {
  const at = map.pairs.indexOf(pair);
  const previous = map.pairs[at - 1];
  const next = map.pairs[at + 1];
  if (map.flow) {
    if (previous !== undefined) return { start: endOfPair(previous), end: endOfPair(pair), text: '' };
    if (next !== undefined) return { start: pair.keyStart, end: next.keyStart, text: '' };
    return { start: pair.keyStart, end: endOfPair(pair), text: '' };
  }
  if (previous === undefined && next === undefined) {
    if (holder?.colonEnd === undefined) return 'nothing would be left of the object';
    return { start: holder.colonEnd, end: withoutLineBreak(text, endOfPair(pair)), text: ' {}' };
  }
  // The first key of an item of a list shares its line with the dash.
  if (!isFirstOnLine(text, pair.keyStart))
    return next === undefined
      ? 'it shares its line with others'
      : { start: pair.keyStart, end: next.keyStart, text: '' };
  const start = lineStartOf(text, pair.keyStart);
  const contentEnd = endOfPair(pair);
  const lineBreak = text[contentEnd - 1] === '\n' ? contentEnd - 1 : text.indexOf('\n', contentEnd);
  if (lineBreak >= 0) return { start, end: lineBreak + 1, text: '' };
  return { start: withoutLineBreak(text, start), end: text.length, text: '' };
}

// ---- places in the text

function endOfPair(pair: YamlPair): number {
  return endOfNode(pair.value, pair.colonEnd ?? pair.keyEnd);
}

/** Where a node's last character is, comments and blank lines after it left out. `least` is the end of what comes before it. */
function endOfNode(node: YamlNode, least: number): number {
  if (node.kind === 'map' && !node.flow) return node.pairs.reduce((end, pair) => Math.max(end, endOfPair(pair)), least);
  if (node.kind === 'seq' && !node.flow)
    return node.items.reduce((end, item) => endOfNode(item, Math.max(end, item.start)), least);
  if (node.kind === 'scalar' && node.start === node.end) return least;
  return Math.max(node.end, least);
}

function withoutLineBreak(text: string, end: number): number {
  if (text[end - 1] !== '\n') return end;
  return text[end - 2] === '\r' ? end - 2 : end - 1;
}

function lineStartOf(text: string, offset: number): number {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  return start === 0 && text.startsWith('\ufeff') ? 1 : start;
}

function columnOf(text: string, offset: number): number {
  return offset - lineStartOf(text, offset);
}

function isFirstOnLine(text: string, offset: number): boolean {
  return text.slice(lineStartOf(text, offset), offset).trim() === '';
}

function lineIndentOf(text: string, offset: number): string {
  return text.slice(lineStartOf(text, offset), offset);
}

function eolOf(text: string): string {
  const lineBreak = text.indexOf('\n');
  return lineBreak > 0 && text[lineBreak - 1] === '\r' ? '\r\n' : '\n';
}

/** The indentation that the text uses already. */
function styleOf(text: string, root: YamlNode): YamlStyle {
  let step: number | undefined;
  let indentLists: boolean | undefined;
  const visit = (node: YamlNode): void => {
    if (node.kind === 'seq' && !node.flow) node.items.forEach(visit);
    if (node.kind !== 'map' || node.flow) return;
    for (const { keyStart, value } of node.pairs) {
      const [first] = value.kind === 'map' && !value.flow ? value.pairs : [];
      if (first !== undefined) step ??= columnOf(text, first.keyStart) - columnOf(text, keyStart);
      if (value.kind === 'seq' && !value.flow) indentLists ??= columnOf(text, value.start) > columnOf(text, keyStart);
      visit(value);
    }
  };
  visit(root);
  return { step: Math.max(1, step ?? 2), indentLists: indentLists ?? false };
}

import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import type { FieldChange } from '../../src/plan/change.ts';
import { editObject, fieldChange } from '../../src/plan/change.ts';
import type { FieldPath, Json, JsonObject } from '../../src/shared/pure/json.ts';
import { equalJson, isJsonObject } from '../../src/shared/pure/json.ts';
import { parseManifestChunk } from '../../src/sources/manifests/schema.ts';
import type { SpliceRecord } from '../../src/targets/splice.ts';
import { spliceField } from '../../src/targets/splice.ts';

const readObjects = (text: string) => parseManifestChunk(text).objects;

const invert = ({ path, before, after }: FieldChange): FieldChange => ({ path, before: after, after: before });

function objectIn(text: string, at = 0): KubeManifest {
  const object = readObjects(text)[at]?.object;
  if (object === undefined) throw new Error(`no object in ${JSON.stringify(parseManifestChunk(text))}`);
  return object;
}

function placeIn(text: string, at = 0) {
  const found = readObjects(text)[at];
  if (found === undefined) throw new Error('no object');
  return { index: found.index, itemPath: found.itemPath };
}

function change(text: string, path: FieldPath, after: Json | undefined, at = 0): FieldChange {
  const made = fieldChange(objectIn(text, at), path, after);
  if (made === undefined) throw new Error('no change');
  return made;
}

function spliced(text: string, field: FieldChange, records: readonly SpliceRecord[] = [], at = 0) {
  const result = spliceField(text, placeIn(text, at), field, records, readObjects);
  if (result.kind === 'refused') throw new Error(`${result.reason}\n${text}`);
  return {
    text: result.text,
    records: result.record === undefined ? result.remaining : [...result.remaining, result.record],
  };
}

const HEAD = 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n';
const LABEL = ['metadata', 'labels', 'tier'];

describe('a splice writes only the field', () => {
  it.each<readonly [string, string, FieldPath, Json | undefined, string]>([
    [
      'after the last label, before a comment further out',
      `${HEAD}  labels: # all of them\n    app: web # ours\n\n  # about the data\ndata: {}\n`,
      LABEL,
      'x',
      `${HEAD}  labels: # all of them\n    app: web # ours\n    tier: x\n\n  # about the data\ndata: {}\n`,
    ],
    [
      'with missing parents, in the indentation of the file',
      'apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\ndata:\n    k: v\n',
      LABEL,
      'x',
      'apiVersion: v1\nkind: ConfigMap\nmetadata:\n    name: a\n    labels:\n        tier: x\ndata:\n    k: v\n',
    ],
    ['into an empty flow map', `${HEAD}  labels: {} # none\n`, LABEL, 'x', `${HEAD}  labels: {tier: x} # none\n`],
    ['into a null parent', `${HEAD}  labels:\ndata: {}\n`, LABEL, 'x', `${HEAD}  labels:\n    tier: x\ndata: {}\n`],
    ['into a null word', `${HEAD}  labels: null\ndata: {}\n`, LABEL, 'x', `${HEAD}  labels:\n    tier: x\ndata: {}\n`],
    ['into a flow map', `${HEAD}  labels: {app: web}\n`, LABEL, 'true', `${HEAD}  labels: {app: web, tier: "true"}\n`],
    [
      'into a flow map with a final comma',
      `${HEAD}  labels: {\n    app: web, # last\n  }\n`,
      LABEL,
      'x',
      `${HEAD}  labels: {\n    app: web,\n    tier: x # last\n  }\n`,
    ],
    [
      'at the end of a file without a line break',
      `${HEAD}  labels:\n    app: web`,
      LABEL,
      'x',
      `${HEAD}  labels:\n    app: web\n    tier: x`,
    ],
    [
      'with the line breaks of Windows',
      `${HEAD}  labels:\n    app: web\n`.replaceAll('\n', '\r\n'),
      LABEL,
      'x',
      `${HEAD}  labels:\n    app: web\n    tier: x\n`.replaceAll('\n', '\r\n'),
    ],
    [
      'after a block text',
      `${HEAD}  annotations:\n    note: |\n      one\n      two\n\ndata: {}\n`,
      ['metadata', 'annotations', 'more'],
      'x',
      `${HEAD}  annotations:\n    note: |\n      one\n      two\n    more: x\n\ndata: {}\n`,
    ],
    [
      'over a quoted text',
      `${HEAD}  labels:\n    tier: 'old' # why\n`,
      LABEL,
      'new',
      `${HEAD}  labels:\n    tier: new # why\n`,
    ],
    [
      'over a map with comments',
      `${HEAD}data:\n  # first\n  a: b # c\n  d: e\nkind2: x\n`,
      ['data'],
      { f: 'g' },
      `${HEAD}data:\n  f: g\nkind2: x\n`,
    ],
    [
      'by taking a line out',
      `${HEAD}  labels:\n    tier: x # bye\n    app: web\n`,
      LABEL,
      undefined,
      `${HEAD}  labels:\n    app: web\n`,
    ],
    [
      'by taking the only label out',
      `${HEAD}  labels:\n    tier: x\ndata: {}\n`,
      LABEL,
      undefined,
      `${HEAD}  labels: {}\ndata: {}\n`,
    ],
    [
      'into pretty JSON',
      '{\n\t"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"metadata": {\n\t\t"name": "a"\n\t}\n}',
      LABEL,
      'x',
      '{\n\t"apiVersion": "v1",\n\t"kind": "ConfigMap",\n\t"metadata": {\n\t\t"name": "a",\n\t\t"labels": {"tier": "x"}\n\t}\n}',
    ],
    [
      'into compact JSON',
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{}}}',
      LABEL,
      'x',
      '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"tier":"x"}}}',
    ],
    [
      'into the first key of a list item',
      'kind: List\nitems:\n- kind: ConfigMap\n  apiVersion: v1\n  metadata: {name: a}\n',
      ['data'],
      { k: ['v', { w: 1 }] },
      'kind: List\nitems:\n- kind: ConfigMap\n  apiVersion: v1\n  metadata: {name: a}\n  data:\n    k:\n    - v\n    - w: 1\n',
    ],
    [
      'with a list indented as others are',
      `${HEAD}data:\n  a:\n    - b\n`,
      ['data', 'c'],
      ['d'],
      `${HEAD}data:\n  a:\n    - b\n  c:\n    - d\n`,
    ],
    ['after a byte order mark', `\ufeff${HEAD}data: {}\n`, ['data', 'k'], 'v', `\ufeff${HEAD}data: {k: v}\n`],
    [
      'under a quoted key with a slash',
      `${HEAD}  annotations:\n    "a.b/c": "1"\n`,
      ['metadata', 'annotations', 'a.b/c'],
      '2',
      `${HEAD}  annotations:\n    "a.b/c": "2"\n`,
    ],
  ])('%s', (_title, text, path, after, expected) => {
    const field = change(text, path, after);
    const edit = spliced(text, field);
    expect(edit.text).toBe(expected);
    expect(spliced(edit.text, invert(field), edit.records)).toEqual({ text, records: [] });
  });

  it.each<readonly [string, string, FieldPath, Json | undefined, RegExp]>([
    [
      'stands in an alias',
      `${HEAD}  labels: &l {app: web}\nspec:\n  selector: *l\n`,
      ['spec', 'selector', 'app'],
      'x',
      /alias/,
    ],
    [
      'is shared through an anchor',
      `${HEAD}  labels: &l\n    app: web\nspec: *l\n`,
      ['metadata', 'labels', 'b'],
      'x',
      /anchor/,
    ],
    ['comes from a merge key', `x: &d {a: b}\n${HEAD}data:\n  <<: *d\n`, ['data', 'a'], undefined, /merge/],
    ['is the anchor itself', `${HEAD}data:\n  a: &v b\n  c: *v\n`, ['data', 'a'], 'x', /anchor/],
    ['is an alias', `${HEAD}data:\n  a: &v b\n  c: *v\n`, ['data', 'c'], 'x', /alias/],
    ['has an explicit key', `${HEAD}data:\n  ? a\n  : b\n`, ['data', 'a'], 'x', /explicit/],
  ])('refuses a field that %s', (_title, text, path, after, reason) => {
    const result = spliceField(text, placeIn(text), change(text, path, after), [], readObjects);
    expect(result).toEqual({ kind: 'refused', reason: expect.stringMatching(reason) as string });
  });

  it('puts a merge key into force over what it inherits, and back', () => {
    const text = `x: &d {a: b}\n${HEAD}data:\n  <<: *d\n  k: v\n`;
    const field = change(text, ['data', 'c'], 'own');
    const edit = spliced(text, field);
    expect(edit.text).toBe(`x: &d {a: b}\n${HEAD}data:\n  <<: *d\n  k: v\n  c: own\n`);
    expect(spliced(edit.text, invert(field), edit.records).text).toBe(text);
  });

  it('restores the bytes after somebody changed another line above', () => {
    const text = `${HEAD}  labels:\n    'tier':   'old'   # why\n`;
    const field = change(text, LABEL, 'new');
    const edit = spliced(text, field);
    const touched = edit.text.replace('apiVersion', '# by hand\napiVersion');
    expect(spliced(touched, invert(field), edit.records).text).toBe(
      text.replace('apiVersion', '# by hand\napiVersion'),
    );
  });

  it('restores the value, if not its form, where the written bytes were changed', () => {
    const text = `${HEAD}  labels:\n    app: web\n`;
    const field = change(text, LABEL, 'new');
    const edit = spliced(text, field);
    const touched = edit.text.replace('tier: new', 'tier: "new" # mine');
    const back = spliced(touched, invert(field), edit.records);
    expect(back.text).toBe(text);
    expect(back.records).toEqual([]);
  });

  it('takes two neighbours back in either order', () => {
    const text = `${HEAD}  labels:\n    app: web`;
    const [one, two] = [
      change(text, ['metadata', 'labels', 'one'], '1'),
      change(text, ['metadata', 'labels', 'two'], '2'),
    ];
    const first = spliced(text, one);
    const second = spliced(first.text, two);
    const withoutOne = spliced(second.text, invert(one), first.records);
    expect(spliced(withoutOne.text, invert(two), second.records).text).toBe(text);
    const withoutTwo = spliced(second.text, invert(two), second.records);
    expect(spliced(withoutTwo.text, invert(one), first.records).text).toBe(text);
  });
});

// ---- property: whatever the style of the text, an edit is exact and its inverse restores every byte

interface Style {
  readonly step: number;
  readonly indentLists: boolean;
  readonly comments: boolean;
  readonly crlf: boolean;
  readonly finalBreak: boolean;
  readonly bom: boolean;
  readonly blank: boolean;
}

type Shape = 'block' | 'flow' | 'json' | 'single' | 'double' | 'empty';

/** Writes a value as people might: every map and text in a form that `pick` chooses. */
function write(
  value: Json,
  style: Style,
  pick: (of: readonly Shape[]) => Shape,
  indent = '',
  flow = false,
  inner = indent + ' '.repeat(style.step),
): string {
  if (isJsonObject(value)) {
    const entries = Object.entries(value);
    const key = (text: string) => (pick(['block', 'double']) === 'double' ? JSON.stringify(text) : text);
    if (flow || entries.length === 0 || pick(['block', 'block', 'flow', 'json']) !== 'block')
      return ` {${entries.map(([name, item]) => `${JSON.stringify(name)}:${write(item, style, pick, indent, true)}`).join(', ')}}`;
    const lines = entries.map(([name, item]) => {
      const comment = style.comments && pick(['block', 'empty']) === 'empty' ? `${inner}# on ${name}\n` : '';
      const blank = style.blank && pick(['block', 'empty']) === 'empty' ? '\n' : '';
      return `${blank}${comment}${inner}${key(name)}:${write(item, style, pick, inner)}`;
    });
    return `\n${lines.join('\n')}`;
  }
  if (Array.isArray(value)) {
    const items = value as readonly Json[];
    if (flow || items.length === 0 || pick(['block', 'flow']) === 'flow')
      return ` [${items.map((item) => write(item, style, pick, indent, true).trimStart()).join(', ')}]`;
    const at = style.indentLists ? inner : indent;
    return `\n${items.map((item) => `${at}- ${write(item, style, pick, at, Array.isArray(item), `${at}  `).trimStart()}`).join('\n')}`;
  }
  if (value === null) return flow || pick(['block', 'empty']) === 'block' ? ' null' : '';
  if (typeof value !== 'string') return ` ${JSON.stringify(value)}`;
  const tail = !flow && style.comments && pick(['block', 'empty']) === 'empty' ? '   # why' : '';
  if (/[\n'\\]/u.test(value)) {
    const block = !flow && /^[a-z][a-z\n]*\n$/u.test(value) && pick(['block', 'double']) === 'block';
    if (block)
      return ` |\n${value
        .trimEnd()
        .split('\n')
        .map((line) => (line === '' ? '' : inner + line))
        .join('\n')}`;
    return ` ${JSON.stringify(value)}${tail}`;
  }
  return pick(['single', 'double']) === 'single' ? ` '${value}'${tail}` : ` ${JSON.stringify(value)}${tail}`;
}

const KEY = fc.constantFrom('app', 'tier', 'a.b/c', 'x~y', 'on', '1', '__proto__', 'k-1', 'ünï');
const TEXT = fc.oneof(
  fc.constantFrom(
    '',
    'true',
    'null',
    '007',
    ' pad ',
    'a: b',
    'a #b',
    "it's",
    '{{ x }}',
    'one\ntwo\n',
    '---',
    '\u2028',
    '🚪',
  ),
  fc.string({ maxLength: 8 }),
);
const VALUE = fc.letrec<{ value: Json; map: JsonObject }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    TEXT,
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('map'),
  ),
  map: fc
    .uniqueArray(fc.tuple(KEY, tie('value')), { maxLength: 3, selector: ([key]) => key })
    .map((entries) => Object.fromEntries(entries)),
}));
const STYLE: fc.Arbitrary<Style> = fc.record({
  step: fc.constantFrom(1, 2, 4),
  indentLists: fc.boolean(),
  comments: fc.boolean(),
  crlf: fc.boolean(),
  finalBreak: fc.boolean(),
  bom: fc.boolean(),
  blank: fc.boolean(),
});

const OBJECT = fc
  .record({ spec: VALUE.map, labels: fc.option(VALUE.map), annotations: VALUE.map })
  .map(({ spec, labels, annotations }): KubeManifest => ({
    apiVersion: 'example.com/v1',
    kind: 'Thing',
    metadata: { name: 'a', ...(labels === null ? {} : { labels }), annotations },
    spec,
  }));

/** A path to something in the object, or to something new in one of its maps. */
function choosePath(object: JsonObject, path: FieldPath, tape: () => number, fresh: string): FieldPath {
  const keys = Object.keys(object).filter((key) => key !== '__proto__');
  const key = keys[tape() % (keys.length + 1)];
  if (key === undefined) return tape() % 3 === 0 ? [...path, fresh, 'deep'] : [...path, fresh];
  const value = object[key];
  return isJsonObject(value) && tape() % 3 > 0 ? choosePath(value, [...path, key], tape, fresh) : [...path, key];
}

describe('for any text that people may write', () => {
  it('edits give the wanted object, and taking them back newest first gives the same bytes', () => {
    let edits = 0;
    fc.assert(
      fc.property(
        fc.array(OBJECT, { minLength: 1, maxLength: 3 }),
        STYLE,
        fc.boolean(),
        fc.array(fc.nat({ max: 1000 }), { minLength: 20, maxLength: 60 }),
        fc.array(fc.record({ key: KEY, value: fc.option(VALUE.value, { nil: undefined }) }), {
          minLength: 1,
          maxLength: 4,
        }),
        (objects, style, asList, choices, wishes) => {
          let turn = 0;
          const tape = () => choices[(turn += 1) % choices.length] ?? 0;
          const pick = (of: readonly Shape[]): Shape => of[tape() % of.length] ?? 'block';
          const root: JsonObject = asList ? { apiVersion: 'v1', kind: 'List', items: objects } : (objects[0] ?? {});
          const body = write(root, style, pick).replace(/^\n/u, '');
          const dedented = body.replace(new RegExp(`^ {${style.step}}`, 'gmu'), '').trimStart();
          const text =
            (style.bom ? '\ufeff' : '') +
            (dedented + (style.finalBreak ? '\n' : '')).replaceAll('\n', style.crlf ? '\r\n' : '\n');
          const at = asList ? tape() % objects.length : 0;
          expect(readObjects(text).map(({ object }) => object)).toEqual(asList ? objects : objects.slice(0, 1));

          const done: { field: FieldChange; before: string; records: readonly SpliceRecord[] }[] = [];
          let now = text;
          for (const { key, value } of wishes) {
            const object = objectIn(now, at);
            const inside = ['spec', 'metadata'][tape() % 2] ?? 'spec';
            const start =
              inside === 'spec' ? (object['spec'] ?? {}) : { annotations: object.metadata['annotations'] ?? {} };
            const name = key === '__proto__' ? 'proto' : key;
            const path = choosePath(isJsonObject(start) ? start : {}, [inside], tape, name);
            const field = fieldChange(object, path, value);
            if (field === undefined || (path.length < 2 && value === undefined)) continue;
            const result = spliceField(now, placeIn(now, at), field, [], readObjects);
            if (result.kind === 'refused') {
              // The path was chosen through something that is no map: nothing else may be refused.
              expect(result.reason).toMatch(/is not a map$/);
              continue;
            }
            edits += 1;
            done.push({ field, before: now, records: result.record === undefined ? [] : [result.record] });
            const relaxNull = (one: Json): Json =>
              JSON.parse(JSON.stringify(one).replaceAll(/:null([,}])/gu, ':{}$1')) as Json;
            expect(equalJson(relaxNull(objectIn(result.text, at)), relaxNull(editObject(object, [field])))).toBe(true);
            now = result.text;
          }
          for (const { field, before, records } of done.reverse()) {
            now = spliced(now, invert(field), records, at).text;
            expect(now).toBe(before);
          }
        },
      ),
      { numRuns: 400 },
    );
    expect(edits).toBeGreaterThan(500);
  });
});

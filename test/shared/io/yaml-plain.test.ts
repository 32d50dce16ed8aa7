import fc from '../../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseYamlInFull, renderYaml, splitYaml } from '../../../src/shared/io/yaml.ts';
import { readPlainYaml } from '../../../src/shared/io/yaml-plain.ts';
import type { Json } from '../../../src/shared/pure/json.ts';
import { namespaceText } from '../../bench/generate-cluster.ts';

/** What is read plainly must be what the library reads; nothing is said of the rest. */
function agrees(text: string): boolean {
  const plain = readPlainYaml(text);
  if (plain === undefined) return false;
  expect(parseYamlInFull(text), text).toEqual([plain]);
  return true;
}

const KEYS = ['a', 'b', 'items', 'on', 'y', 'null', 'true', '__proto__', 'x.y/z-1', '"q"', "'q'", '1', '<<', 'k ', '?'];
const VALUES = [
  ...['', 'word', 'two words', 'yes', 'No', 'ON', 'true', 'True', 'null', 'Null', '~', 'y', 'n', 'e', 'E3', '=', '<<'],
  ...[
    '0',
    '1',
    '-1',
    '+1',
    '007',
    '08',
    '0x1f',
    '0b1',
    '0o7',
    '1_000',
    '1e3',
    '1.5',
    '.5',
    '5.',
    '1:30',
    '12345678901234567',
  ],
  ...['100m', '1.5Gi', '30s', '1h', '2M', '1k', '5E', '1Ei', '10.0.0.0/8', '10.0.0.1', '1.2.3', '2024-01-01', '1-2'],
  ...['.inf', '-.Inf', '.nan', 'inf', 'nan', 'Infinity', 'NaN'],
  ...[
    'a: b',
    'a:',
    'a:b',
    'a #c',
    'a#c',
    '#c',
    '# c',
    'http://x:80/y?z#w',
    'x@y',
    'a, b',
    'a]',
    'a}',
    'a"b',
    "it's",
    'a & b',
    'a*',
  ],
  ...['"q"', '"q', '"q" x', '"a\\n"', '"a: b # c"', "'q'", "'it''s'", "'q' # c", '""', "''", '"a"b"'],
  ...[
    '[]',
    '{}',
    '[a, b]',
    '[a, "b, c"]',
    "['a', 1, true]",
    '[a, [b]]',
    '[a: b]',
    '[,]',
    '[a,]',
    '[y]',
    '[1:30]',
    '{a: 1}',
    '[a',
    '[a] # c',
  ],
  ...[
    '|',
    '>-',
    '|2',
    '&x a',
    '*x',
    '!!str 1',
    '!t a',
    '%x',
    '@x',
    '`x',
    '- x',
    '? x',
    '---',
    '...',
    'a\tb',
    '\u00e9',
    'a  ',
  ],
];
const INDENTS = ['', '  ', '    ', ' ', '      '];
const line: fc.Arbitrary<string> = fc
  .record({
    indent: fc.constantFrom(...INDENTS),
    dash: fc.constantFrom('', '', '- ', '-  ', '- - ', '-'),
    key: fc.constantFrom(...KEYS),
    glue: fc.constantFrom(': ', ': ', ': ', ':', ':  ', ' : '),
    value: fc.constantFrom(...VALUES),
    kind: fc.constantFrom('pair', 'pair', 'pair', 'open', 'open', 'value', 'other'),
    other: fc.constantFrom('', '# c', '   # c', '---', '...', '\t', '  ', '%YAML 1.1', '\r', '\ufeff'),
  })
  .map(({ indent, dash, key, glue, value, kind, other }) =>
    kind === 'other'
      ? other
      : `${indent}${dash}${kind === 'value' ? value : kind === 'open' ? `${key}:` : `${key}${glue}${value}`}`,
  );

/** Lines that mostly go together, so that many a text is taken. */
const tame: fc.Arbitrary<string> = fc
  .record({
    indent: fc.constantFrom('', '', '  ', '  ', '    '),
    dash: fc.constantFrom('', '', '- '),
    key: fc.constantFrom('a', 'b', 'c', 'd', 'items', 'on', 'true'),
    value: fc.constantFrom('', '', ' word', ' 8080', ' "q"', ' [a, 1]', ' a:b', ' 100m', ' {}', ' null'),
    isPair: fc.boolean(),
  })
  .map(({ indent, dash, key, value, isPair }) =>
    dash === '- ' && !isPair && value !== '' ? `${indent}-${value}` : `${indent}${dash}${key}:${value}`,
  );
const text = fc.oneof(
  fc.array(line, { minLength: 1, maxLength: 5 }),
  fc.array(tame, { minLength: 1, maxLength: 7 }),
  fc.array(fc.oneof({ weight: 6, arbitrary: tame }, { weight: 1, arbitrary: line }), { minLength: 1, maxLength: 6 }),
);

const numRuns = Number(process.env['FC_RUNS'] ?? 20_000);
const seeded = process.env['FC_RUNS'] === undefined ? { seed: 20_260_301 } : {};

describe('the plain reading of YAML', () => {
  it('is that of the library for every scalar that it takes', () => {
    const taken = VALUES.filter((value) => agrees(`a: ${value}\nb:\n  - ${value}\n  - c: ${value}\n`));
    expect(taken).toContain('http://x:80/y?z#w');
    expect(taken).toContain('100m');
    for (const value of ['yes', '~', '1.5', '007', '1e3', '1:30', '"a\\n"', 'a: b', '&x a', '|'])
      expect(taken).not.toContain(value);
  });

  it('is that of the library for every text that it takes, however lines are put together', () => {
    let taken = 0;
    fc.assert(
      fc.property(text, (lines) => {
        if (agrees(lines.join('\n'))) taken += 1;
      }),
      { numRuns, ...seeded },
    );
    expect(taken).toBeGreaterThan(numRuns / 25);
  }, 120_000);

  it('is that of the library for what is rendered here', () => {
    let taken = 0;
    const { value } = fc.letrec<{ value: Json }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('web', '100m', 'yes', 'a b', '', 'x: y', '10.0.0.1', '8080'),
        fc.integer(),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom('a', 'b', 'items', 'on'), tie('value'), { maxKeys: 3 }),
      ),
    }));
    fc.assert(
      fc.property(value, fc.constantFrom(1, 2, 4), fc.boolean(), (one, step, indentLists) => {
        if (agrees(renderYaml({ kind: one }, { step, indentLists }))) taken += 1;
      }),
      { numRuns: numRuns / 10, ...seeded },
    );
    expect(taken).toBeGreaterThan(numRuns / 50);
  });

  it('takes every document of a generated cluster, and agrees on it', () => {
    const cluster = namespaceText(3, 50);
    const chunks = splitYaml(cluster).map(({ start, end }) => cluster.slice(start, end));
    expect(chunks).toHaveLength(47);
    for (const chunk of chunks) expect(agrees(chunk)).toBe(true);
  });

  it('agrees on every document of the examples and fixtures that it takes', () => {
    let taken = 0;
    for (const root of ['examples', 'test/fixtures'].map((name) => join(import.meta.dirname, '../../..', name))) {
      for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.ya?ml$/u.test(entry.name)) continue;
        const file = readFileSync(join(entry.parentPath, entry.name), 'utf8');
        for (const { start, end } of splitYaml(file)) if (agrees(file.slice(start, end))) taken += 1;
      }
    }
    expect(taken).toBeGreaterThan(10);
  });
});

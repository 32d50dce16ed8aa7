import fc from '../../support/fast-check.ts';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { parseYaml, renderYaml, renderYamlText, splitYaml } from '../../../src/shared/io/yaml.ts';
import type { Json } from '../../../src/shared/pure/json.ts';

// Keys are words here: other readers give numbers and booleans as keys their own meaning.
const JSON_VALUE = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      'yes',
      'N',
      'off',
      '~',
      '0o7',
      '1_000',
      '1:30',
      '.5',
      '2024-01-01',
      '<<',
      '=',
      '- a',
      'a: b',
      '%x',
      '---',
    ),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.constantFrom('on', 'a/b', '1', ' '), fc.string({ minLength: 1 })), tie('value'), {
      maxKeys: 4,
    }),
  ),
})).value;

describe('rendered YAML', () => {
  it('reads back as the value, here and by readers of YAML 1.1 and 1.2', () => {
    fc.assert(
      fc.property(JSON_VALUE, fc.constantFrom(1, 2, 4), fc.boolean(), (value, step, indentLists) => {
        const text = renderYaml(value, { step, indentLists });
        const plain = JSON.parse(JSON.stringify(value)) as Json;
        expect(parseYaml(text)).toEqual({ value: plain });
        expect(parse(text, { version: '1.1', stringKeys: true, logLevel: 'silent' })).toEqual(plain);
        expect(parse(text, { version: '1.2', stringKeys: true, logLevel: 'silent' })).toEqual(plain);
        expect(splitYaml(text)).toHaveLength(1);
      }),
      { numRuns: 500 },
    );
  });

  it('holds no character that ends a line or hides text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(renderYamlText(text)).not.toMatch(
          /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u,
        );
      }),
    );
  });
});

describe('a text that is one document', () => {
  it.each<readonly [string, string, object]>([
    ['gives its value', '# head\na: on\n', { value: { a: true } }],
    ['may be empty', '# head\n', { value: null }],
    [
      'is refused with a second one',
      'a: 1\n---\nb: 2\n',
      { problem: { message: 'one document is expected', line: 3, column: 1 } },
    ],
    [
      'says where a key is given twice',
      'a:\n  b: 1\n  b: 2\n',
      { problem: { message: 'a key that is there already', line: 3, column: 3 } },
    ],
  ])('%s', (_title, text, expected) => {
    expect(parseYaml(text)).toEqual(expected);
  });
});

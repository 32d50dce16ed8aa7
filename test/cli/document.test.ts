import { expect, it } from 'vitest';
import { documentPieces } from '../../src/cli/output.ts';
import fc from '../support/fast-check.ts';

const join = (document: object): string => [...documentPieces(document)].join('');

it('gives in pieces the document that JSON.stringify gives whole', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (document) => {
      expect(join(document)).toBe(`${JSON.stringify(document, undefined, 2)}\n`);
    }),
  );
});

it.each([1_999, 2_000, 2_001, 4_000, 4_001])('breaks a list of %i items nowhere that a reader would see', (length) => {
  const items = Array.from({ length }, (_, index) => ({
    id: index,
    text: 'two\nlines',
    none: undefined,
    list: [1, {}],
  }));
  const document = { kind: 'Flows', edges: items, left: undefined, losses: [] };
  const pieces = [...documentPieces(document)];
  expect(pieces.join('')).toBe(`${JSON.stringify(document, undefined, 2)}\n`);
  expect(pieces.length > 4).toBe(length > 2_000);
});

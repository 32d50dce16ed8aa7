// The fast reader of edges takes a row as the full parser does, or leaves it to it.
import { describe, expect, it } from 'vitest';
import { edgeReader } from '../../state/edge-rows.ts';
import type { Row } from '../../state/rows.ts';
import { edgeColumns, parseEdgeRow } from '../../state/rows.ts';
import fc from '../support/fast-check.ts';
import { failureOf, makeEdge } from './samples.ts';

const NAMES =
  'id src dst src_ns dst_ns protocol port end_port l7 count first last mtls last_plaintext guessed_direction data'.split(
    ' ',
  );
const rowOf = (values: readonly unknown[]): Row =>
  Object.fromEntries(NAMES.map((name, index) => [name, values[index]]));

const word = fc.constantFrom('a', 'b', '2026-10-05', '', '__proto__', 'workload');
const end = fc.oneof(
  fc.record({ kind: fc.constant('workload'), id: word }),
  fc.record({ kind: fc.constant('external'), name: word, ip: word }, { requiredKeys: ['kind'] }),
  fc.record({ kind: fc.constant('node'), name: word }, { requiredKeys: ['kind'] }),
  fc.record({ kind: fc.constant('unknown'), ip: word, why: word }, { requiredKeys: ['kind', 'why'] }),
  fc.constant({ kind: 'api-server' }),
);
const texts = fc.array(word, { maxLength: 3 });
const data = fc.record(
  {
    src: end,
    dst: end,
    verdicts: fc.dictionary(fc.constantFrom('allowed', 'denied', 'audit', 'unknown'), fc.nat(9)),
    days: texts,
    runs: texts,
    sources: texts,
    principals: texts,
    origin: fc.constantFrom<object>(
      { kind: 'observed' },
      { kind: 'observed' },
      { kind: 'declared', strength: 'weak', by: 'env' },
    ),
    views: fc.constantFrom(['egress'], ['egress', 'ingress']),
  },
  { requiredKeys: ['src', 'dst', 'verdicts', 'days', 'runs', 'sources', 'principals', 'origin'] },
);
const values = fc
  .tuple(
    word,
    fc.constantFrom('TCP', 'UDP', 'SCTP'),
    fc.option(fc.nat(9)),
    fc.option(word),
    fc.constantFrom('yes', 'no', 'mixed', 'unknown'),
    fc.option(fc.nat(9)),
    fc.constantFrom(0, 0, 1),
    data,
  )
  .map(([id, protocol, endPort, l7, mtls, lastPlaintext, guessed, of]): unknown[] => [
    id,
    'x',
    'y',
    null,
    null,
    protocol,
    80,
    endPort,
    l7,
    3,
    1,
    2,
    mtls,
    lastPlaintext,
    guessed,
    JSON.stringify(of),
  ]);

type Damage = (row: unknown[], at: number) => unknown[];
const damages: readonly Damage[] = [
  (row, at) => row.with(at % row.length, 'odd'),
  (row, at) => row.with(at % row.length, null),
  (row, at) => row.with(at % row.length, Infinity),
  (row) => row.with(15, '{'),
  (row) => row.with(15, '[]'),
  ...['src', 'verdicts', 'days', 'principals', 'origin', 'more'].flatMap((name) =>
    [null, 1, 'x', [1], { kind: 'workload', id: 'a', more: 1 }, { kind: 'external', name: 1 }, { kind: 'odd' }].map(
      (value): Damage =>
        (row) =>
          row.with(15, JSON.stringify({ ...(JSON.parse(row[15] as string) as object), [name]: value })),
    ),
  ),
];

describe('a row of edges', () => {
  it('is read as the full parser reads it', () => {
    fc.assert(
      fc.property(fc.array(values, { minLength: 1, maxLength: 5 }), (rows) => {
        const read = edgeReader('file');
        for (const row of rows) expect(read(row)).toStrictEqual(parseEdgeRow(rowOf(row), 'file'));
      }),
    );
  });

  it('that is damaged fails as the full parser fails, or is read as it reads it', () => {
    fc.assert(
      fc.property(values, fc.constantFrom(...damages), fc.nat(15), (row, damage, at) => {
        const given = damage(row, at);
        let full: unknown;
        try {
          full = parseEdgeRow(rowOf(given), 'file');
        } catch {
          expect(failureOf(() => edgeReader('file')(given))).toEqual(
            failureOf(() => parseEdgeRow(rowOf(given), 'file')),
          );
          return;
        }
        expect(edgeReader('file')(given)).toStrictEqual(full);
      }),
      { numRuns: 500 },
    );
  });

  it('stands in the order of the columns that are written', () => {
    const edge = makeEdge({ endPort: 8090, l7: 'GET /' }, { lastPlaintext: 5, guessedDirection: true });
    expect(edgeReader('file')(edgeColumns(edge))).toStrictEqual(edge);
  });
});

import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId, hasPassed } from '../../src/model/edge.ts';
import { mergeEdge, mergeEvidence } from '../../src/model/edge-merge.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import { NO_EVIDENCE } from '../../src/model/evidence.ts';
import { makeEdge } from '../state/samples.ts';

const names = (...all: string[]) =>
  fc.uniqueArray(fc.constantFrom(...all)).map((list) => [...list].sort((a, b) => (a < b ? -1 : 1)));
const count = fc.integer({ min: 1, max: 50 });

/** Records of one and the same edge: what varies is what was seen of it. */
const edge: fc.Arbitrary<Edge> = fc
  .record(
    {
      ip: fc.constantFrom('192.0.2.1', '192.0.2.2'),
      origin: fc.constantFrom<Edge['origin']>(
        { kind: 'observed' },
        { kind: 'declared', strength: 'strong', by: 'webhook' },
        { kind: 'declared', strength: 'weak', by: 'env' },
        { kind: 'declared', strength: 'weak', by: 'args' },
      ),
      verdicts: fc.record({ allowed: count, denied: count, audit: count, unknown: count }, { requiredKeys: [] }),
      count,
      first: fc.integer({ min: 0, max: 99 }),
      last: fc.integer({ min: 100, max: 200 }),
      days: names('2026-10-05', '2026-10-06', '2026-10-07'),
      runs: names('nightly-1', 'nightly-2'),
      sources: names('hubble', 'edges'),
      principals: names('a', 'b'),
      mtls: fc.constantFrom('yes', 'no', 'mixed', 'unknown'),
      review: fc.constantFrom('unreviewed', 'legitimate', 'to-be-cut'),
      lastPlaintext: fc.integer({ min: 0, max: 200 }),
      guessedDirection: fc.constant(true),
      views: fc.subarray(['egress', 'ingress'] as const, { minLength: 1 }),
    },
    {
      requiredKeys: [
        'origin',
        'verdicts',
        'count',
        'first',
        'last',
        'days',
        'runs',
        'sources',
        'principals',
        'mtls',
        'review',
      ],
    },
  )
  .map(({ ip, ...rest }) => {
    const key = {
      src: { kind: 'workload', id: 'shop/CronJob/nightly' },
      dst: { kind: 'external', name: 'pypi.org', ...(ip === undefined ? {} : { ip }) },
      protocol: 'TCP',
      port: 443,
    } as const;
    return { ...key, ...rest, id: edgeId(key) };
  });

const sourceRecord = fc.record({
  source: fc.constantFrom('hubble', 'edges'),
  first: fc.integer({ min: 0, max: 99 }),
  last: fc.integer({ min: 100, max: 200 }),
  records: count,
  lost: count,
  bad: count,
  ignored: count,
  sampledOneIn: count,
});

const evidence: fc.Arbitrary<Evidence> = fc.record(
  {
    sources: fc.uniqueArray(sourceRecord, { selector: ({ source }) => source }),
    days: names('2026-10-05', '2026-10-06'),
    first: fc.integer({ min: 0, max: 99 }),
    last: fc.integer({ min: 100, max: 200 }),
    unattributed: fc.dictionary(fc.constantFrom('no such pod', '__proto__', 'toString'), count, {
      noNullPrototype: true,
    }),
    runs: fc.dictionary(fc.constantFrom('shop/CronJob/a', 'shop/CronJob/b'), names('r1', 'r2'), {
      noNullPrototype: true,
    }),
  },
  { requiredKeys: ['sources', 'days', 'unattributed', 'runs'] },
);

const ONE = makeEdge();

describe('two records of one edge', () => {
  it('merge to the same in any order', () => {
    fc.assert(
      fc.property(edge, edge, (a, b) => {
        expect(mergeEdge(a, b)).toStrictEqual(mergeEdge(b, a));
      }),
    );
  });

  it('merge to the same in any grouping', () => {
    fc.assert(
      fc.property(edge, edge, edge, (a, b, c) => {
        expect(mergeEdge(mergeEdge(a, b), c)).toStrictEqual(mergeEdge(a, mergeEdge(b, c)));
      }),
    );
  });

  it('count as passed exactly when one of them did or was declared', () => {
    fc.assert(
      fc.property(edge, edge, (a, b) => {
        expect(hasPassed(mergeEdge(a, b))).toBe(hasPassed(a) || hasPassed(b));
      }),
    );
  });

  it.each([
    ['yes', 'no', 'mixed'],
    ['yes', 'yes', 'yes'],
    ['unknown', 'no', 'no'],
    ['unknown', 'unknown', 'unknown'],
    ['mixed', 'yes', 'mixed'],
  ] as const)('mTLS %s beside %s is %s', (a, b, expected) => {
    expect(mergeEdge({ ...ONE, mtls: a }, { ...ONE, mtls: b }).mtls).toBe(expected);
  });

  it('add up counts and verdicts and span both windows', () => {
    const a: Edge = {
      ...ONE,
      count: 2,
      first: 5,
      last: 9,
      verdicts: { denied: 1, allowed: 1 },
      guessedDirection: true,
    };
    const b: Edge = { ...ONE, count: 3, first: 1, last: 7, verdicts: { denied: 3 } };
    const merged = mergeEdge(a, b);
    expect(merged).toMatchObject({ count: 5, first: 1, last: 9, verdicts: { denied: 4, allowed: 1 } });
    expect(merged).not.toHaveProperty('guessedDirection');
  });

  it('refuses two different edges under one id', () => {
    expect(() => mergeEdge(ONE, { ...ONE, port: 22 })).toThrow(/cannot be merged/);
  });
});

describe('evidence', () => {
  it('merges to the same in any order and grouping', () => {
    fc.assert(
      fc.property(evidence, evidence, evidence, (a, b, c) => {
        expect(mergeEvidence(a, b)).toEqual(mergeEvidence(b, a));
        expect(mergeEvidence(mergeEvidence(a, b), c)).toEqual(mergeEvidence(a, mergeEvidence(b, c)));
      }),
    );
  });

  it('is unchanged by evidence of nothing, whatever the reasons are called', () => {
    const some: Evidence = { ...NO_EVIDENCE, unattributed: Object.fromEntries([['__proto__', 4]]) };
    expect(Object.entries(mergeEvidence(some, NO_EVIDENCE).unattributed)).toEqual([['__proto__', 4]]);
  });
});

// What denied traffic looks like: the table of docs/telemetry.md.
import { describe, expect, it } from 'vitest';
import fc from '../support/fast-check.ts';
import type { DeniedAttempt, DeniedSource } from '../../src/watch/denied.ts';
import { SCAN_PORTS, SCAN_TARGETS, classifyDenied } from '../../src/watch/denied.ts';

const attempt = (more: Partial<DeniedAttempt> = {}): DeniedAttempt => ({
  target: 'shop/Deployment/db',
  targetKind: 'workload',
  protocol: 'TCP',
  port: 5432,
  count: 5,
  first: 0,
  last: 120_000,
  onRecord: false,
  declared: 'yes',
  otherPortOnRecord: false,
  samePortElsewhere: 0,
  ...more,
});
const many = (count: number, make: (index: number) => Partial<DeniedAttempt>): readonly DeniedAttempt[] =>
  Array.from({ length: count }, (_, index) => attempt(make(index)));
const from = (attempts: readonly DeniedAttempt[], more: Partial<DeniedSource> = {}): DeniedSource => ({
  kind: 'workload',
  attempts,
  more: 0,
  ...more,
});
const toTargets = (count: number): readonly DeniedAttempt[] =>
  many(count, (index) => ({ target: `shop/Deployment/t${index}` }));
const toPorts = (count: number): readonly DeniedAttempt[] => many(count, (index) => ({ port: 1000 + index }));

describe('denied traffic', () => {
  it.each([
    ['a new dependency that asks steadily', from([attempt()]), 'new-legitimate'],
    ['one try', from([attempt({ count: 1, last: 0 })]), 'unclear'],
    ['a port that nothing declares', from([attempt({ declared: 'no' })]), 'unclear'],
    ['a target outside', from([attempt({ targetKind: 'external', declared: 'unknown' })]), 'unclear'],
    ['from outside', from([attempt()], { kind: 'external' }), 'unclear'],
    ['from nobody known', from([attempt()], { kind: 'unknown' }), 'unclear'],
    ['an edge on record', from([attempt({ onRecord: true })]), 'misconfigured'],
    ['an edge on record among others', from([attempt({ onRecord: true }), attempt({ port: 1 })]), 'misconfigured'],
    ['a scraper with one target missing', from([attempt({ samePortElsewhere: 12 })]), 'misconfigured'],
    [
      'a scraper with many targets missing',
      from(many(40, (index) => ({ target: `ns/Deployment/t${index}`, port: 9090, samePortElsewhere: 3 }))),
      'misconfigured',
    ],
    ['a common port that it uses at one other target', from([attempt({ samePortElsewhere: 1 })]), 'new-legitimate'],
    ['the wrong port of its own peer', from([attempt({ otherPortOnRecord: true, declared: 'no' })]), 'misconfigured'],
    ['one target too few for a scan', from(toTargets(SCAN_TARGETS - 1)), 'unclear'],
    ['many targets', from(toTargets(SCAN_TARGETS)), 'attack-like'],
    ['one port too few for a scan', from(toPorts(SCAN_PORTS - 1)), 'new-legitimate'],
    ['many ports of one target', from(toPorts(SCAN_PORTS)), 'attack-like'],
    ['many targets from outside', from(toTargets(SCAN_TARGETS), { kind: 'external' }), 'attack-like'],
    [
      'a scan that hides among calls that are on record',
      from([
        ...toTargets(SCAN_TARGETS),
        ...many(50, (index) => ({ target: `a/Deployment/k${index}`, onRecord: true })),
      ]),
      'attack-like',
    ],
    ['nothing at all', from([]), 'unclear'],
  ] as const)('%s', (_, source, expected) => {
    const judged = classifyDenied(source);
    expect(judged.class).toBe(expected);
    if (source.attempts.length > 0 && expected !== 'unclear') expect(judged.reasons.length).toBeGreaterThan(0);
  });

  it('is never called legitimate once it looks like a scan, whatever is added to it', () => {
    const any = fc.record({
      target: fc.constantFrom('a/Deployment/x', 'a/Deployment/y'),
      onRecord: fc.boolean(),
      samePortElsewhere: fc.nat(3),
      otherPortOnRecord: fc.boolean(),
      declared: fc.constantFrom('yes' as const, 'no' as const, 'unknown' as const),
      port: fc.integer({ min: 1, max: 5 }),
      count: fc.nat(10),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 20 }), fc.nat(100), (added, more) => {
        expect(classifyDenied(from([...toTargets(SCAN_TARGETS), ...added.map(attempt)], { more })).class).toBe(
          'attack-like',
        );
      }),
    );
  });
});

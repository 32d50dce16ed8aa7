import { describe, expect, it } from 'vitest';
import {
  ANY_V4,
  ANY_V6,
  coversAddresses,
  matchBlock,
  overlapsAddresses,
  parseAddress,
  parseAddressOrCidr,
  parseCidr,
  parseSloppyCidr,
} from '../../src/model/cidr-set.ts';
import { ALL_PORTS, coversPorts, formatPortRange, formatPortSet, portSet } from '../../src/model/port-set.ts';
import {
  isDnsSubdomain,
  isLabelKey,
  isLabelValue,
  matchSelector,
  matchSelectorPartly,
  parseSelector,
} from '../../src/model/selector.ts';
import type { Json } from '../../src/shared/pure/json.ts';

describe('addresses', () => {
  it.each(['', 'x', '1.2.3', '1.2.3.4.5', '01.2.3.4', '0x1.2.3.4', '256.1.1.1', '1.2.3.4/8', 'fe80::1%eth0', '::g'])(
    'takes %s for no address',
    (text) => {
      expect(parseAddress(text)).toBeUndefined();
    },
  );
  it.each(['1.2.3.4', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/08', '::/129', 'x/8', '10.0.0.0/8/8'])(
    'takes %s for no CIDR',
    (text) => {
      expect(parseCidr(text)).toBeUndefined();
    },
  );
  it('reads IPv4 mapped into IPv6 as IPv4', () => {
    expect(parseAddress('::ffff:1.2.3.4')).toEqual(parseAddress('1.2.3.4'));
    expect(parseCidr('::ffff:10.0.0.0/104')?.range).toEqual(parseCidr('10.0.0.0/8')?.range);
    expect(parseAddress('::fffe:1.2.3.4')?.family).toBe(6);
    expect(parseAddress('::1:ffff:1.2.3.4')?.family).toBe(6);
  });
  it.each([
    ['10.0.0.0/8', false],
    ['10.0.0.1/8', true],
    ['0.0.0.0/0', false],
    ['2001:db8::/32', false],
    ['2001:db8::1/32', true],
  ])('%s has bits beyond its prefix: %s', (text, expected) => {
    expect(parseCidr(text)?.hostBits).toBe(expected);
  });
  it.each([
    ['10.0.0.0/8', [], '10.1.0.0/16', 'yes'],
    ['10.0.0.0/8', [], '11.0.0.0/8', 'no'],
    ['10.0.0.0/8', [], '0.0.0.0/0', 'unknown'],
    ['10.0.0.0/8', ['10.1.0.0/16'], '10.1.2.0/24', 'no'],
    ['10.0.0.0/8', ['10.1.0.0/16'], '10.0.0.0/15', 'unknown'],
    ['10.0.0.0/8', ['10.1.0.0/16'], '10.2.0.0/15', 'yes'],
    ['::/0', [], '10.0.0.1', 'no'],
  ] as const)('a block %s without %s has %s: %s', (cidr, except, text, expected) => {
    const read = (one: string): NonNullable<ReturnType<typeof parseAddressOrCidr>> => {
      const range = parseAddressOrCidr(one);
      if (range === undefined) throw new Error(one);
      return range;
    };
    expect(matchBlock({ range: read(cidr), except: except.map(read) }, read(text))).toBe(expected);
  });
});

describe('ranges of addresses', () => {
  const v4 = (first: bigint, last: bigint): NonNullable<ReturnType<typeof parseAddress>> => ({
    family: 4,
    first,
    last,
  });
  const TOP = 2n ** 128n - 1n;
  it.each([
    ['0.0.0.0', v4(0n, 0n)],
    ['1.2.3.4', v4(0x01020304n, 0x01020304n)],
    ['255.255.255.255', v4(0xffffffffn, 0xffffffffn)],
    ['0.0.0.0/0', ANY_V4],
    ['1.2.3.4/32', v4(0x01020304n, 0x01020304n)],
    ['1.2.3.4/24', v4(0x01020300n, 0x010203ffn)],
    ['128.0.0.0/1', v4(0x80000000n, 0xffffffffn)],
    ['::', { family: 6, first: 0n, last: 0n }],
    ['::/0', ANY_V6],
    ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128', { family: 6, first: TOP, last: TOP }],
    ['1::2:0/112', { family: 6, first: (1n << 112n) + 0x20000n, last: (1n << 112n) + 0x2ffffn }],
    ['::ffff:1.2.3.4', v4(0x01020304n, 0x01020304n)],
    ['::ffff:0:0/96', ANY_V4],
    ['::ffff:1.2.3.4/128', v4(0x01020304n, 0x01020304n)],
    ['::ffff:0:0/95', undefined],
    ['1::ffff:1.2.3.4', { family: 6, first: (1n << 112n) + 0xffff01020304n, last: (1n << 112n) + 0xffff01020304n }],
    ['::1.2.3.4', { family: 6, first: 0x01020304n, last: 0x01020304n }],
    ['::ff00:1.2.3.4', { family: 6, first: 0xff0001020304n, last: 0xff0001020304n }],
    ['::ff:1.2.3.4', { family: 6, first: 0xff01020304n, last: 0xff01020304n }],
    ['fe80::1%eth0', undefined],
    ['fe80::1%eth0/64', undefined],
    ['10.0.0.0/', undefined],
    ['10.0.0.0/ 8', undefined],
    ['10.0.0.0/8 ', undefined],
    ['10.0.0.0/1x', undefined],
    ['10.0.0.0/x1', undefined],
    ['10.0.0.0/1000', undefined],
    ['/8', undefined],
    ['8', undefined],
    ['example.org', undefined],
  ])('%s', (text, expected) => {
    expect(parseAddressOrCidr(text)).toEqual(expected);
  });

  it.each([
    ['10.0.0.0/8', '10.0.0.0/8', false, undefined],
    ['10.0.0.1/8', '10.0.0.0/8', true, undefined],
    ['2001:db8::/32', '2001:db8::/32', false, undefined],
    ['2001:DB8::/32', '2001:db8::/32', false, 'spelling'],
    ['2001:0db8::1/32', '2001:db8::/32', true, 'spelling'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8', false, 'ambiguous'],
    ['::ffff:10.0.0.1/104', '10.0.0.0/8', true, 'ambiguous'],
    ['010.0.0.0/8', '10.0.0.0/8', false, 'ambiguous'],
    ['10.00.000.0/8', '10.0.0.0/8', false, 'ambiguous'],
    ['0000000010.0.0.0/0000000008', '10.0.0.0/8', false, 'ambiguous'],
    ['10.0.0.09/8', '10.0.0.0/8', true, 'ambiguous'],
    ['10.0.0.0/08', '10.0.0.0/8', false, 'ambiguous'],
    ['2001:db8::/032', '2001:db8::/32', false, 'ambiguous'],
    ['::/00', '::/0', false, 'ambiguous'],
    ['::1.2.3.0/120', '::102:300/120', false, 'spelling'],
    ['::12.2.3.0/120', '::c02:300/120', false, 'spelling'],
    ['2001:db8::1234/0128', '2001:db8::1234/128', false, 'ambiguous'],
  ])('%s is %s, has bits beyond its prefix: %s, and is written as %s', (text, plain, hostBits, form) => {
    expect(parseSloppyCidr(text)).toEqual({
      range: parseCidr(plain)?.range,
      hostBits,
      ...(form === undefined ? {} : { form }),
    });
  });

  it.each([
    '010.0.0/8',
    '010.0.0.0',
    '010.0.0.0/8/8',
    '010.0.0.0/33',
    '0256.0.0.0/8',
    '00000000010.0.0.0/8',
    '10.0.0.0/00000000008',
    'x010.0.0.0/8',
    '010.0.0.0/8x',
    '2001:db8::/0129',
    '2001:db8::/0x',
    'x:/01',
  ])('%s is no CIDR, not even to those who read with indulgence', (text) => {
    expect(parseSloppyCidr(text)).toBeUndefined();
  });

  const TEN = v4(10n, 20n);
  it.each([
    [v4(10n, 20n), true, true],
    [v4(10n, 10n), true, true],
    [v4(20n, 20n), true, true],
    [v4(9n, 20n), false, true],
    [v4(10n, 21n), false, true],
    [v4(9n, 10n), false, true],
    [v4(20n, 21n), false, true],
    [v4(8n, 9n), false, false],
    [v4(21n, 22n), false, false],
    [{ family: 6, first: 10n, last: 20n } as const, false, false],
  ])('10 to 20 covers %o: %s, overlaps it: %s', (range, covers, overlaps) => {
    expect(coversAddresses(TEN, range)).toBe(covers);
    expect(overlapsAddresses(TEN, range)).toBe(overlaps);
    expect(overlapsAddresses(range, TEN)).toBe(overlaps);
  });

  it.each([
    [v4(15n, 15n), 'no'],
    [v4(14n, 16n), 'no'],
    [v4(13n, 16n), 'unknown'],
    [v4(18n, 18n), 'no'],
    [v4(16n, 18n), 'unknown'],
    [v4(10n, 13n), 'yes'],
    [v4(9n, 13n), 'unknown'],
    [v4(9n, 9n), 'no'],
  ] as const)('10 to 20 without 14 to 16 and 18 has %o: %s', (range, expected) => {
    expect(matchBlock({ range: TEN, except: [v4(14n, 16n), v4(18n, 18n)] }, range)).toBe(expected);
  });
});

describe('port sets', () => {
  it.each([
    ['', [], []],
    ['5-4', [[5, 4]], []],
    ['5-5', [[5, 5]], [[5, 5]]],
    ['those that only touch', [[1, 2], [3, 4]], [[1, 4]]], // prettier-ignore
    ['those that leave one out', [[1, 2], [4, 5]], [[1, 2], [4, 5]]], // prettier-ignore
    ['one inside another', [[1, 9], [3, 4]], [[1, 9]]], // prettier-ignore
    ['the last first', [[7, 8], [1, 2]], [[1, 2], [7, 8]]], // prettier-ignore
    ['three in one', [[1, 2], [2, 3], [4, 9]], [[1, 9]]], // prettier-ignore
  ] as const)('joins %s', (_, ranges, expected) => {
    const read = (list: readonly (readonly [number, number])[]): { readonly first: number; readonly last: number }[] =>
      list.map(([first, last]) => ({ first, last }));
    expect(portSet(read(ranges))).toEqual(read(expected));
  });

  it.each([
    [1, 8, true],
    [20, 40, true],
    [21, 39, true],
    [0, 8, false],
    [1, 9, false],
    [19, 40, false],
    [20, 41, false],
    [8, 20, false],
    [50, 60, false],
  ])('1-8, 20-40 covers %i-%i: %s', (first, last, expected) => {
    const set = [
      { first: 1, last: 8 },
      { first: 20, last: 40 },
    ];
    expect(coversPorts(set, { first, last })).toBe(expected);
  });

  it('writes a range in short, and knows all ports', () => {
    expect(formatPortRange({ first: 80, last: 80 })).toBe('80');
    expect(formatPortRange(ALL_PORTS)).toBe('1-65535');
    expect(formatPortSet([ALL_PORTS])).toBe('1-65535');
  });

  it('joins ranges that overlap or touch, and sorts them', () => {
    const set = portSet([
      { first: 20, last: 30 },
      { first: 1, last: 5 },
      { first: 6, last: 8 },
      { first: 25, last: 40 },
      { first: 9, last: 7 },
    ]);
    expect(set).toEqual([
      { first: 1, last: 8 },
      { first: 20, last: 40 },
    ]);
    expect(formatPortSet(set)).toBe('1-8, 20-40');
    expect(formatPortSet(portSet([{ first: 80, last: 80 }]))).toBe('80');
    expect(formatPortSet([])).toBe('none');
    expect(coversPorts(set, { first: 20, last: 40 })).toBe(true);
    expect(coversPorts(set, { first: 8, last: 20 })).toBe(false);
  });
});

describe('label selectors', () => {
  const longest = 'a'.repeat(63);
  it.each([
    [{ matchLabels: { [longest]: longest } }, 0],
    [{ matchLabels: { [`${longest}a`]: 'b' } }, 1],
    [{ matchLabels: { a: `${longest}a` } }, 1],
    [{ matchLabels: { 'example.org/a': '' } }, 0],
    [{ matchLabels: { 'Example.org/a': 'b' } }, 1],
    [{ matchLabels: { 'a/b/c': 'b' } }, 1],
    [{ matchLabels: { a: '-b' } }, 1],
    [{ matchLabels: null, matchExpressions: null }, 0],
    [{ matchLabels: { a: null } }, 0],
    [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['b c'] }] }, 1],
    [{ matchExpressions: [{ operator: 'Exists' }] }, 1],
    [{ matchExpressions: {} }, 1],
    [{ matchExpressions: ['a'] }, 1],
    [{ matchLabel: {} }, 1],
    ['a=b', 1],
  ])('%j has %i problems', (value, problems) => {
    expect(parseSelector(value, 'selector').problems).toHaveLength(problems);
  });

  it.each([
    ['a', true],
    ['1', true],
    ['a-b', true],
    ['a--b', true],
    ['a.b', true],
    ['a-b.c-d.e', true],
    ['', false],
    ['-a', false],
    ['a-', false],
    ['.a', false],
    ['a.', false],
    ['a..b', false],
    ['a.-b', false],
    ['a.b-', false],
    ['a-.b', false],
    ['A', false],
    ['a.B', false],
    ['a_b', false],
    ['a b', false],
    ['a\n', false],
    [`${'a'.repeat(126)}.${'b'.repeat(126)}`, true],
    [`${'a'.repeat(126)}.${'b'.repeat(127)}`, false],
  ])('%j is a DNS name: %s', (text, expected) => {
    expect(isDnsSubdomain(text)).toBe(expected);
  });

  it.each([
    ['a', true, true],
    ['A', true, true],
    ['1', true, true],
    ['a-B_c.1', true, true],
    ['', false, true],
    ['-a', false, false],
    ['a-', false, false],
    ['_a', false, false],
    ['a.', false, false],
    ['a b', false, false],
    ['a\n', false, false],
    [longest, true, true],
    [`${longest}a`, false, false],
    ['b.c/a', true, false],
    [`b.c/${longest}`, true, false],
    [`b.c/${longest}a`, false, false],
    ['b_c/a', false, false],
    ['B/a', false, false],
    ['/a', false, false],
    ['b/', false, false],
    ['b/c/a', false, false],
    [`${'b'.repeat(253)}/a`, true, false],
    [`${'b'.repeat(254)}/a`, false, false],
  ])('%j is a label key: %s, a label value: %s', (text, isKey, isValue) => {
    expect(isLabelKey(text)).toBe(isKey);
    expect(isLabelValue(text)).toBe(isValue);
  });

  const NONE: readonly string[] = [];
  const KEY = 'at.matchExpressions[0]';
  it.each<[Json | undefined, readonly string[], readonly string[]]>([
    [undefined, NONE, NONE],
    [null, NONE, NONE],
    [{}, NONE, NONE],
    ['a=b', NONE, ['refused at is not an object']],
    [[], NONE, ['refused at is not an object']],
    [{ matchlabels: {} }, NONE, ['unknown-field at.matchlabels is not a field of a label selector']],
    [{ matchLabels: 'a' }, NONE, ['refused at.matchLabels is not a map of labels']],
    [{ matchLabels: { a: 'b', c: '' } }, ['a In b', 'c In '], NONE],
    [{ matchLabels: { a: null } }, ['a In '], NONE],
    [{ matchLabels: { 'a?': 'b' } }, ['a? In b'], ['refused at.matchLabels "a?" is not a label key']],
    [{ matchLabels: { a: 'b?' } }, NONE, ['refused at.matchLabels.a "b?" is not a label value']],
    [{ matchLabels: { a: 1 } }, NONE, ['refused at.matchLabels.a 1 is not a label value']],
    [{ matchLabels: { a: ['b'] } }, NONE, ['refused at.matchLabels.a ["b"] is not a label value']],
    [{ matchExpressions: {} }, NONE, ['refused at.matchExpressions is not a list']],
    [{ matchExpressions: ['a'] }, NONE, [`refused ${KEY} is not an object`]],
    [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 'c'] }] }, ['a In b,c'], NONE],
    [{ matchExpressions: [{ key: 'a', operator: 'NotIn', values: [null] }] }, ['a NotIn '], NONE],
    [{ matchExpressions: [{ key: 'a', operator: 'Exists' }] }, ['a Exists '], NONE],
    [{ matchExpressions: [{ key: 'a', operator: 'Exists', values: null }] }, ['a Exists '], NONE],
    [{ matchExpressions: [{ key: 'a', operator: 'DoesNotExist', values: [] }] }, ['a DoesNotExist '], NONE],
    [{ matchLabels: { a: 'b' }, matchExpressions: [{ key: 'c', operator: 'Exists' }] }, ['a In b', 'c Exists '], NONE],
    [
      { matchExpressions: [{ key: 'a', operator: 'Exists', value: 'b' }] },
      ['a Exists '],
      [`unknown-field ${KEY}.value is not a field of an expression`],
    ],
    [{ matchExpressions: [{ operator: 'Exists' }] }, NONE, [`refused ${KEY}.key null is not a label key`]],
    [{ matchExpressions: [{ key: 1, operator: 'Exists' }] }, NONE, [`refused ${KEY}.key 1 is not a label key`]],
    [{ matchExpressions: [{ key: 'a?', operator: 'Exists' }] }, NONE, [`refused ${KEY}.key "a?" is not a label key`]],
    [
      { matchExpressions: [{ key: 'a' }] },
      NONE,
      [`refused ${KEY}.operator null is none of In, NotIn, Exists, DoesNotExist`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'exists' }] },
      NONE,
      [`refused ${KEY}.operator "exists" is none of In, NotIn, Exists, DoesNotExist`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: ['In'] }] },
      NONE,
      [`refused ${KEY}.operator ["In"] is none of In, NotIn, Exists, DoesNotExist`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'In', values: 'b' }] },
      ['a In '],
      [`refused ${KEY}.values is not a list`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 1] }] },
      ['a In b'],
      [`refused ${KEY}.values has an item that is not a label value`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 'c?'] }] },
      ['a In b,c?'],
      [`refused ${KEY}.values has an item that is not a label value`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'In' }] },
      ['a In '],
      [`refused ${KEY}.values must not be empty for In`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'NotIn', values: [] }] },
      ['a NotIn '],
      [`refused ${KEY}.values must not be empty for NotIn`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] },
      ['a Exists b'],
      [`refused ${KEY}.values must be empty for Exists`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'DoesNotExist', values: ['b'] }] },
      ['a DoesNotExist b'],
      [`refused ${KEY}.values must be empty for DoesNotExist`],
    ],
    [
      { matchExpressions: [{ key: 'a', operator: 'Exists' }, 'b'] },
      ['a Exists '],
      ['refused at.matchExpressions[1] is not an object'],
    ],
  ])('%j', (value, requirements, problems) => {
    const parsed = parseSelector(value, 'at');
    const read = parsed.selector.requirements.map(
      ({ key, operator, values }) => `${key} ${operator} ${values.join(',')}`,
    );
    expect(read).toEqual(requirements);
    expect(parsed.problems.map(({ kind, field, message }) => `${kind} ${field} ${message}`)).toEqual(problems);
  });

  const selector = (key: string, operator: string, ...values: readonly string[]): Json => ({
    matchExpressions: [{ key, operator, values }],
  });
  it.each<[Json, boolean, 'yes' | 'no' | 'unknown', 'yes' | 'no' | 'unknown']>([
    // The labels are a: b; then where every other key is open, and where x alone is.
    [{}, true, 'yes', 'yes'],
    [selector('a', 'In', 'b', 'c'), true, 'yes', 'yes'],
    [selector('a', 'In', 'c'), false, 'no', 'no'],
    [selector('a', 'NotIn', 'b'), false, 'no', 'no'],
    [selector('a', 'NotIn', 'c'), true, 'yes', 'yes'],
    [selector('a', 'Exists'), true, 'yes', 'yes'],
    [selector('a', 'DoesNotExist'), false, 'no', 'no'],
    [selector('x', 'In', 'b'), false, 'unknown', 'unknown'],
    [selector('x', 'NotIn', 'b'), true, 'unknown', 'unknown'],
    [selector('x', 'Exists'), false, 'unknown', 'unknown'],
    [selector('x', 'DoesNotExist'), true, 'unknown', 'unknown'],
    [selector('y', 'In', 'b'), false, 'unknown', 'no'],
    [selector('y', 'NotIn', 'b'), true, 'unknown', 'yes'],
    [selector('y', 'Exists'), false, 'unknown', 'no'],
    [selector('y', 'DoesNotExist'), true, 'unknown', 'yes'],
    [selector('toString', 'Exists'), false, 'unknown', 'no'],
    [{ matchLabels: { x: 'b', a: 'c' } }, false, 'no', 'no'],
    [{ matchLabels: { a: 'b', x: 'b' } }, false, 'unknown', 'unknown'],
    [{ matchLabels: { y: 'b', x: 'b' } }, false, 'unknown', 'no'],
  ])('%j picks a pod with a: b: %s, with labels that are not known: %s, with one such: %s', (value, all, none, one) => {
    const { selector: parsed } = parseSelector(value, 'at');
    const labels = { a: 'b' };
    expect(matchSelector(parsed, labels)).toBe(all);
    expect(matchSelectorPartly(parsed, labels, () => true)).toBe(all ? 'yes' : 'no');
    expect(matchSelectorPartly(parsed, labels, () => false)).toBe(none);
    expect(matchSelectorPartly(parsed, labels, (key) => key !== 'x')).toBe(one);
  });
});

import { describe, expect, it } from 'vitest';
import { matchBlock, parseAddress, parseAddressOrCidr, parseCidr } from '../../src/model/cidr-set.ts';
import { coversPorts, formatPortSet, portSet } from '../../src/model/port-set.ts';
import { parseSelector } from '../../src/model/selector.ts';

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

describe('port sets', () => {
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
});

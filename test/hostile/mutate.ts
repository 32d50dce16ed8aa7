import fc from '../support/fast-check.ts';

/** How often a property runs; FC_RUNS multiplies it for long runs. */
export function runs(usual: number): number {
  return Math.max(1, Math.round(usual * Number(process.env['FC_RUNS'] ?? 1)));
}

/** Texts that somebody chose who wants a parser, a terminal, a shell or a page to stumble. */
export const HOSTILE_TEXTS: readonly string[] = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\r',
  '\r\n',
  'a\rb',
  '\u001b[31mred',
  '\u001b]0;title\u0007',
  '\u001b]8;;https://evil.example\u001b\\link',
  '\u009b2J',
  '\u202egnp.exe',
  '\u2066\u2069',
  '\ufeff',
  '\ud800',
  'x\udc00y',
  '\ud83d\ude80',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '$(:>PWNED)',
  '`:>PWNED`',
  ';:>PWNED;',
  "';:>PWNED;'",
  '|| :>PWNED',
  '../../../etc/passwd',
  '..',
  '.',
  '/',
  '%2e%2e%2f',
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  '=HYPERLINK("https://evil.example")',
  '@SUM(1)',
  '[x](javascript:alert(1))',
  '{{7*7}}',
  '${7*7}',
  '&a [*a]',
  '*a',
  '!!js/function x',
  '<<',
  '- - - -',
  '*',
  'a,b',
  'NaN',
  'Infinity',
  '-1',
  '0x10',
  '1e400',
  '9007199254740993',
  '99999999999999999999999999',
  '256.256.256.256',
  '::ffff:1.2.3.4',
  'fe80::1%eth0',
  '0.0.0.0/0',
  '10.0.0.1/33',
  '0000-00-00T00:00:00Z',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:60Z',
  '9999-12-31T23:59:59-23:59',
  '+275760-09-13T00:00:00Z',
  '-271821-04-20T00:00:00Z',
  '2026-02-31T00:00:00Z',
  '1969-12-31T23:59:59Z',
  'a'.repeat(70_000),
  'é'.repeat(300),
  '.'.repeat(5_000),
  'a='.repeat(2_000),
  '('.repeat(3_000),
  ' '.repeat(5_000),
];

/** Values that JSON can carry and nobody's exporter writes. */
export const HOSTILE_VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  1.5,
  65_536,
  2 ** 31,
  2 ** 53,
  2 ** 53 + 2,
  -(2 ** 53),
  1e21,
  1e308,
  5e-324,
  8.64e15,
  8.64e15 + 1,
  8.64e18,
  -8.64e15,
  [],
  {},
  [[]],
  [null],
  [{}],
  { toString: 'x', valueOf: 1, toJSON: 'y', length: -1 },
  { '': '' },
  ['__proto__'],
  JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}') as unknown,
];

const RAW: readonly string[] = [
  '{"__proto__":{"polluted":true}}',
  '{"a":1,"a":2}',
  '{',
  '[',
  ']',
  '}',
  '"',
  '\\',
  '\\u0000',
  '\\ud800',
  ':',
  ',',
  '\n',
  '\r',
  '\t',
  '1e999',
  '-',
  '123456789012345678901234567890',
  '-1',
  '#',
  '&x',
  '*x',
  '<<: *x',
  '!!binary ',
  '%YAML 9.9\n',
  '---\n',
  '...\n',
  '? ',
  '| ',
];

export type Mutation =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'truncate'; readonly at: number }
  | { readonly kind: 'remove'; readonly at: number; readonly length: number }
  | { readonly kind: 'insert'; readonly at: number; readonly text: string }
  | { readonly kind: 'repeat'; readonly at: number; readonly length: number; readonly times: number }
  | { readonly kind: 'move'; readonly at: number; readonly length: number; readonly to: number }
  /** The word (digits, letters, dots, colons, dashes) at or after `at` becomes another. */
  | { readonly kind: 'word'; readonly at: number; readonly text: string };

const place = fc.double({ min: 0, max: 1, noNaN: true });
const hostile = fc.constantFrom(...HOSTILE_TEXTS.filter((text) => text.length < 10_000));

/** One damage to a text. Places are shares of its length, so that one arbitrary does for every text. */
export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, bit: fc.nat(7) }),
  { arbitrary: fc.record({ kind: fc.constant('truncate' as const), at: place }), weight: 1 },
  fc.record({ kind: fc.constant('remove' as const), at: place, length: fc.integer({ min: 1, max: 40 }) }),
  fc.record({
    kind: fc.constant('insert' as const),
    at: place,
    text: fc.oneof(hostile, fc.constantFrom(...RAW)),
  }),
  fc.record({
    kind: fc.constant('repeat' as const),
    at: place,
    length: fc.integer({ min: 1, max: 60 }),
    times: fc.constantFrom(2, 3, 50),
  }),
  fc.record({ kind: fc.constant('move' as const), at: place, length: fc.integer({ min: 1, max: 200 }), to: place }),
  {
    arbitrary: fc.record({
      kind: fc.constant('word' as const),
      at: place,
      text: fc.oneof(
        fc.constantFrom('NaN', '-1', '0', '65536', '9007199254740993', '1e400', '18446744073709551616', '4102444800'),
        hostile,
      ),
    }),
    weight: 4,
  },
);

const WORD = /[\w.:-]+/g;

/** The bytes of a text after one damage. Bytes, because damage need not leave UTF-8. */
export function mutate(bytes: Buffer, by: Mutation): Buffer {
  const at = Math.min(bytes.length, Math.floor(by.at * bytes.length));
  const join = (...parts: readonly (Buffer | string)[]): Buffer =>
    Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  switch (by.kind) {
    case 'flip': {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ (1 << by.bit);
      return copy;
    }
    case 'truncate':
      return bytes.subarray(0, at);
    case 'remove':
      return join(bytes.subarray(0, at), bytes.subarray(at + by.length));
    case 'insert':
      return join(bytes.subarray(0, at), by.text, bytes.subarray(at));
    case 'repeat': {
      const part = bytes.subarray(at, at + by.length);
      return join(
        bytes.subarray(0, at),
        ...Array.from({ length: by.times }, () => part),
        bytes.subarray(at + by.length),
      );
    }
    case 'move': {
      const part = bytes.subarray(at, at + by.length);
      const rest = join(bytes.subarray(0, at), bytes.subarray(at + by.length));
      const to = Math.floor(by.to * rest.length);
      return join(rest.subarray(0, to), part, rest.subarray(to));
    }
    case 'word': {
      const text = bytes.toString('latin1');
      WORD.lastIndex = at;
      const found = WORD.exec(text);
      if (found === null) return bytes;
      return join(bytes.subarray(0, found.index), by.text, bytes.subarray(found.index + found[0].length));
    }
  }
}

/** One change inside a JSON value: the node found by walking `steps` becomes `value`, goes, or gains a key. */
export interface JsonMutation {
  readonly steps: readonly number[];
  readonly change: 'replace' | 'remove' | 'key' | 'wrap';
  readonly value: unknown;
  readonly key: string;
}

const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...HOSTILE_VALUES),
  fc.constantFrom(...HOSTILE_TEXTS),
  fc.jsonValue(),
);

export const jsonMutation: fc.Arbitrary<JsonMutation> = fc.record({
  steps: fc.array(fc.nat(1000), { minLength: 0, maxLength: 9 }),
  change: fc.constantFrom('replace', 'replace', 'replace', 'remove', 'key', 'wrap'),
  value: hostileValue,
  key: fc.constantFrom('__proto__', 'constructor', 'toString', 'length', '', 'a'.repeat(3000), '\u001b[2J', 'x y', '*'),
});

/** A copy of a JSON value with one change. Keys are set by definition, so that `__proto__` is a key like any other. */
export function mutateJson(value: unknown, { steps, change, value: other, key }: JsonMutation): unknown {
  const [step, ...rest] = steps;
  if (Array.isArray(value)) {
    const items: readonly unknown[] = value;
    if (step === undefined || items.length === 0) return apply(value);
    const index = step % items.length;
    if (rest.length === 0 && change === 'remove') return items.filter((_, at) => at !== index);
    return items.map((item, at) =>
      at === index ? mutateJson(item, { steps: rest, change, value: other, key }) : item,
    );
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    if (step === undefined || entries.length === 0) return apply(value);
    const index = step % entries.length;
    if (rest.length === 0 && change === 'remove') return Object.fromEntries(entries.filter((_, at) => at !== index));
    return Object.fromEntries(
      entries.map(([name, item], at) => [
        name,
        at === index ? mutateJson(item, { steps: rest, change, value: other, key }) : item,
      ]),
    );
  }
  return apply(value);

  function apply(node: unknown): unknown {
    switch (change) {
      case 'key':
        return typeof node === 'object' && node !== null && !Array.isArray(node)
          ? Object.fromEntries([...Object.entries(node), [key, other]])
          : other;
      case 'wrap':
        return [node, { [key]: node }];
      default:
        return other;
    }
  }
}

/** JSON text of `depth` arrays or objects, one inside the other, made without recursion. */
export function deepJson(depth: number, kind: 'array' | 'object' = 'array'): string {
  return kind === 'array'
    ? `${'['.repeat(depth)}${']'.repeat(depth)}`
    : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
}

const OBJECT_KEYS = Object.getOwnPropertyNames(Object.prototype).sort().join();
const ARRAY_KEYS = Object.getOwnPropertyNames(Array.prototype).sort().join();

/** Throws where something has been added to what every object inherits. */
export function assertUnpolluted(): void {
  if (Object.getOwnPropertyNames(Object.prototype).sort().join() !== OBJECT_KEYS)
    throw new Error('Object.prototype was changed');
  if (Object.getOwnPropertyNames(Array.prototype).sort().join() !== ARRAY_KEYS)
    throw new Error('Array.prototype was changed');
  for (const inherited of [{}, [], 'text', () => 0] as readonly object[])
    if ('polluted' in Object(inherited)) throw new Error('a prototype was changed');
}

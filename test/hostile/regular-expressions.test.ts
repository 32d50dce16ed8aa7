import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../support/imports.ts';

// Every regular expression of the program against inputs made to make it go back and forth. What counts is growth: twice the input may
// cost about twice, never four times. Times are compared with each other alone.

interface Found {
  readonly where: string;
  readonly source: string;
  readonly flags: string;
}

function files(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

const literals: Found[] = [];
/** `new RegExp(...)` and `RegExp(...)`: made while the program runs. */
const made: string[] = [];
for (const file of ['src', 'state', 'phases'].flatMap(files)) {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const visit = (node: ts.Node): void => {
    const line = (): string =>
      `${relative(ROOT, file)}:${source.getLineAndCharacterOfPosition(node.getStart()).line + 1}`;
    if (ts.isRegularExpressionLiteral(node)) {
      const end = node.text.lastIndexOf('/');
      literals.push({ where: line(), source: node.text.slice(1, end), flags: node.text.slice(end + 1) });
    }
    if ((ts.isNewExpression(node) || ts.isCallExpression(node)) && node.expression.getText() === 'RegExp')
      made.push(relative(ROOT, file));
    ts.forEachChild(node, visit);
  };
  visit(source);
}

interface Atom {
  /** Characters that it takes, a few of them. */
  readonly samples: readonly string[];
  readonly repeats: boolean;
}

const CANDIDATES = Array.from('aZ09_-./:=, \t\n"\'\\<>()[]{}|*?+%@#&;~^$!é\u0000\u202e');

/** The atoms of an expression in their order, groups and alternatives laid flat: enough to make inputs that reach each repetition. */
function atomsOf({ source, flags }: Found): readonly Atom[] {
  const atoms: Atom[] = [];
  for (let at = 0; at < source.length;) {
    const start = at;
    if (source[at] === '[') {
      at += 1;
      while (at < source.length && source[at] !== ']') at += source[at] === '\\' ? 2 : 1;
      at += 1;
    } else if (source[at] === '\\') {
      const braced = /^\\[upPk]\{[^}]*\}|^\\u[0-9a-fA-F]{4}|^\\x[0-9a-fA-F]{2}/.exec(source.slice(at));
      at += braced === null ? 2 : braced[0].length;
    } else if (/[()|^$?*+]/.test(source[at] ?? '')) {
      // What a group repeats is tried as a whole below.
      at += 1;
      if (source[start] === '(' && source[at] === '?')
        at += /^\?(?:<?[=!]|:|<[A-Za-z]\w*>)/.exec(source.slice(at))?.[0].length ?? 0;
      continue;
    } else at += 1;
    const text = source.slice(start, at);
    const quantifier = /^(?:[*+]|\{\d+,\d*\})/.exec(source.slice(at))?.[0] ?? '';
    let samples: readonly string[] = [];
    try {
      const one = new RegExp(`^(?:${text})$`, flags.replace(/[gy]/g, ''));
      samples = [...CANDIDATES, ...Array.from(text.replace(/[[\]\\^]/g, ''))].filter((char) => one.test(char));
    } catch {
      // A back reference or a name that stands for no character.
    }
    at += quantifier.length;
    atoms.push({ samples: [...new Set(samples)], repeats: quantifier !== '' });
  }
  return atoms;
}

/** Beginnings that lead up to a repetition, and what to repeat there. */
function attacksOn(found: Found): readonly (readonly [prefix: string, pump: string])[] {
  const atoms = atomsOf(found);
  const attacks = new Map<string, readonly [string, string]>();
  const add = (prefix: string, pump: string): void => {
    if (pump !== '') attacks.set(`${prefix}\n${pump}`, [prefix, pump]);
  };
  let prefix = '';
  let whole = '';
  for (const [index, atom] of atoms.entries()) {
    const [first = ''] = atom.samples;
    if (atom.repeats) {
      const next = atoms[index + 1]?.samples ?? [];
      for (const start of new Set([prefix, ''])) {
        add(start, first);
        // What this one and the next one both take is what they can quarrel about.
        for (const both of atom.samples.filter((sample) => next.includes(sample)).slice(0, 2)) add(start, both);
        if (next[0] !== undefined) add(start, first + next[0]);
        add(start, atom.samples.at(-1) ?? '');
      }
    }
    prefix += first;
    whole += first;
    add('', whole.slice(-8));
  }
  return [...attacks.values()].slice(0, 60);
}

function nanoseconds(work: () => void, rounds: number): number {
  let least = Infinity;
  for (let round = 0; round < rounds; round += 1) {
    const begun = process.hrtime.bigint();
    work();
    least = Math.min(least, Number(process.hrtime.bigint() - begun));
  }
  return least;
}

/** Growth below is not told from noise. */
const MEASURABLE = 2_000_000;
const ENDS = ['', '\u0001!', '\n'];

/** How its cost grows on its worst input; undefined where it never costs enough to be measured. */
function growthOf(found: Found): { readonly growth: number; readonly input: string } | undefined {
  const expression = new RegExp(found.source, found.flags);
  const cost = (text: string, rounds = 1): number =>
    nanoseconds(() => {
      expression.lastIndex = 0;
      // What the program does with them: a test, all matches, a replacement.
      if (expression.global) text.replace(expression, '');
      else expression.test(text);
    }, rounds);
  let worst: { readonly growth: number; readonly input: string } | undefined;
  for (const [prefix, pump] of attacksOn(found))
    for (const end of ENDS) {
      const input = (length: number): string => prefix + pump.repeat(Math.ceil(length / pump.length)) + end;
      // Short ones first: an exponential one would never come back from a long one.
      for (let length = 12; length <= 16_384; length *= length < 40 ? 1.25 : 2) {
        const size = Math.ceil(length);
        if (cost(input(size)) < MEASURABLE) continue;
        // The least of several: what else the machine does only adds.
        const now = cost(input(size), 4);
        if (now < MEASURABLE) continue;
        const half = cost(input(Math.ceil(size / 2)), 4);
        const growth = now / Math.max(1, half);
        if (growth > (worst?.growth ?? 2.8))
          worst = {
            growth,
            input: `${JSON.stringify(prefix)} + ${JSON.stringify(pump)} x ${size} + ${JSON.stringify(end)}`,
          };
        break;
      }
    }
  return worst;
}

/** More than in proportion, on what nobody but the operator, or we, write. */
const OWN_TEXT = new Map([
  ['/<(.*)>/', 'our own usage texts'],
  ['/\\/+$/u', 'the address in a kubeconfig'],
  ['/\\/+$/', 'the address of an engine on the command line'],
  ['/\\B(?=(?:\\d{3})+$)/g', 'the digits of a number'],
  ['/\\S*\\s*$/', 'a line that somebody types'],
  ['/\\bFORMAT\\s+\\w+\\s*;?\\s*$/i', 'a query on the command line'],
  ['/<(script|style)\\b[^>]*>(?![\\s\\S]*<\\/\\1)/i', "a template of the operator's"],
]);

describe('regular expressions', () => {
  it('are found', () => {
    expect(literals.length).toBeGreaterThan(150);
  });

  it('that are made while the program runs are made of constants', () => {
    // Names of fields of istiod's configuration, the parts of a DNS name, the terms of Calico's selectors: anchored, and read by eye.
    expect([...new Set(made)].sort()).toEqual([
      'src/inventory/facts.ts',
      'src/inventory/host-names.ts',
      'src/model/foreign-policy.ts',
    ]);
  });

  it('cost at most in proportion to what they read', () => {
    const distinct = new Map(literals.map((found) => [`/${found.source}/${found.flags}`, found]));
    const slow: string[] = [];
    for (const [text, found] of distinct) {
      if (OWN_TEXT.has(text)) continue;
      const growth = growthOf(found);
      // Once more: a busy machine grows too.
      if (growth !== undefined && growthOf(found) !== undefined)
        slow.push(`${found.where} ${text}: ${growth.growth.toFixed(1)}x for twice ${growth.input}`);
    }
    expect(slow).toEqual([]);
  });
});

describe('the measure itself', () => {
  it.each([
    ['(a+)+$', '', true],
    ['^(?:[a-z]+\\.?)+@', '', true],
    ['\\s+$', 'g', true],
    ['^[a-z]+$', '', false],
    ['"[^"]*"', 'g', false],
  ])('tells /%s/%s as one that explodes: %s', (source, flags, explodes) => {
    expect(growthOf({ where: '', source, flags }) !== undefined).toBe(explodes);
  });
});

// Hostile text in Markdown, against a reader that does what CommonMark and GitHub's tables say, and nothing else.
import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { codeBlock, codeSpan, escapeMarkdown, renderMarkdown } from '../../src/report/markdown.ts';
import { safeText } from '../../src/shared/pure/text.ts';
import { sampleReport } from './sample.ts';

const HOSTILE = [
  '<script>alert(1)</script>',
  '[x](javascript:alert(1))',
  '![x](https://evil.example/p.png)',
  '| a | b |\n| --- | --- |',
  '```\n# heading\n```',
  '`` ` ``',
  '\n\n# heading',
  '1. item',
  '- item',
  '&lt;b&gt;',
  'https://evil.example www.evil.example someone@evil.example @team',
  '*bold* _it_ ~~gone~~ $x$ {: onclick}',
  '\u001b[31mred\u001b[0m\u202egnp',
  '--- | ---',
  '\\',
  'ends with \\',
  '    code',
];
const text = fc.oneof(
  fc.constantFrom(...HOSTILE),
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: fc.constantFrom(...Array.from('`|\\*_[]()<>#-+!&@:/.1 \n\t{}~$=w')) }),
);

const SPECIAL = new Set('`*_[]<>|~$');

/** Reads escaped text back; throws where a mark would be more than itself. */
function readProse(markdown: string): string {
  expect(markdown).not.toMatch(/[\r\n]/);
  let out = '';
  for (let at = 0; at < markdown.length; at += 1) {
    const mark = markdown[at] ?? '';
    const next = markdown[at + 1] ?? '';
    if (mark === '\\' && /[!-/:-@[-`{-~]/.test(next)) {
      out += next;
      at += 1;
      continue;
    }
    if (mark === '&') {
      expect(markdown.slice(at, at + 5)).toBe('&#64;');
      out += '@';
      at += 4;
      continue;
    }
    expect(SPECIAL.has(mark), `a bare ${mark} in ${markdown}`).toBe(false);
    out += mark;
  }
  return out;
}

/** Cells of a row of a table: split at pipes without a backslash, whatever stands around them. */
function cellsOf(row: string): readonly string[] {
  return row
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.replaceAll('\\|', '|'));
}

/** A code span that is all there is; undefined where it ends before that. */
function readSpan(markdown: string): string | undefined {
  const fence = /^`+/.exec(markdown)?.[0] ?? '';
  const rest = markdown.slice(fence.length);
  const ends = [...rest.matchAll(/`+/g)].find(([run]) => run.length === fence.length);
  if (ends === undefined || ends.index + fence.length !== rest.length) return undefined;
  const inside = rest.slice(0, ends.index);
  return inside.startsWith(' ') && inside.endsWith(' ') && inside.trim() !== '' ? inside.slice(1, -1) : inside;
}

describe('hostile text', () => {
  it('in prose reads as itself, and begins nothing', () => {
    fc.assert(
      fc.property(text, (one) => {
        const made = escapeMarkdown(one);
        expect(readProse(made)).toBe(safeText(one).replace(/^\s+/, ' '));
        expect(made).not.toMatch(/(?<!\\):\/\//);
        expect(made).not.toMatch(/(?<![\w\\])www\./i);
        expect(made).not.toMatch(/^ {0,3}(?:[#>+=-]|\d+[.)](?:\s|$))/);
      }),
      { numRuns: 500 },
    );
  });

  it('in a code span stays in it, in a table too', () => {
    fc.assert(
      fc.property(text, (one) => {
        const span = codeSpan(one);
        const safe = safeText(one);
        if (safe.trim() === '') return;
        const cells = cellsOf(`| ${span} | next |`);
        expect(cells.length).toBe(2);
        expect(readSpan((cells[0] ?? '').trim())?.trim()).toBe(safe.trim());
      }),
      { numRuns: 500 },
    );
  });

  it('in a block cannot end it', () => {
    fc.assert(
      fc.property(text, (one) => {
        const lines = codeBlock(one, 'yaml').trimEnd().split('\n');
        const fence = (lines[0] ?? '').replace('yaml', '');
        expect(lines.at(-1)).toBe(fence);
        for (const line of lines.slice(1, -1))
          expect(/^ {0,3}(`+)\s*$/.exec(line)?.[1]?.length ?? 0).toBeLessThan(fence.length);
      }),
      { numRuns: 500 },
    );
  });

  it('in every text of a report leaves its tables in shape, and no HTML, link or control character', () => {
    fc.assert(
      fc.property(fc.constantFrom(...HOSTILE), (hostile) => {
        const made = renderMarkdown(poisoned(sampleReport(), hostile));
        expect(made).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
        let width: number | undefined;
        let fence: string | undefined;
        for (const line of made.split('\n')) {
          const run = /^(`{3,})/.exec(line)?.[1];
          if (fence !== undefined) {
            if (line === fence) fence = undefined;
            continue;
          }
          if (run !== undefined) {
            fence = run;
            continue;
          }
          if (!line.startsWith('|')) {
            width = undefined;
            expect(outsideCode(line)).not.toMatch(/(?<!\\)<[a-z!/]|(?<!\\)\]\(|(?<!\\)!\[/i);
            continue;
          }
          const cells = cellsOf(line);
          width ??= cells.length;
          expect(cells.length, line).toBe(width);
          expect(outsideCode(line)).not.toMatch(/(?<!\\)<[a-z!/]|(?<!\\)\]\(|(?<!\\)!\[/i);
        }
      }),
    );
  });
});

function outsideCode(line: string): string {
  return line.replaceAll(/(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)/g, '');
}

/** Every name, label and remark of a report replaced; words that the program itself chooses from stay. */
function poisoned<T>(value: T, hostile: string, key = ''): T {
  if (typeof value === 'string') return (KEPT.has(key) ? value : `${value}${hostile}`) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => poisoned(item, hostile, key)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, poisoned(item, hostile, name)])) as T;
}

const KEPT = new Set(
  'kind apiVersion at from to first last startedAt endedAt measuredAt tone basis unit measure answer state phase next severity direction mesh enforces source mode confidence how sort tls authentication required now afterJoin purpose operation provider better action outcome automount judged id factor code'.split(
    ' ',
  ),
);

// A page on a terminal, without one: what keys do, and the lines that are drawn.
import { describe, expect, it } from 'vitest';
import { editLine, emptyLine } from '../../src/cli/session/line.ts';
import { START, drawPage, press, settle } from '../../src/cli/session/list.ts';
import type { ListState, Press, Pressed } from '../../src/cli/session/list.ts';
import { rowsOf, textFilter } from '../../src/cli/session/page.ts';
import type { Page, Row } from '../../src/cli/session/page.ts';
import fc from '../support/fast-check.ts';

const SIZE = { columns: 80, rows: 24 };
const key = (name: string): Press => ({ name, text: name.length === 1 ? name : '' });

function pageOf(rows: readonly Row<string>[], more: Partial<Page<string>> = {}): Page<string> {
  const list = rowsOf(rows);
  return {
    title: 'A page',
    above: ['above it'],
    rows: list,
    keys: [{ key: 'x', label: 'strike', value: 'struck', command: 'sallyport strike' }],
    help: ['What it is.'],
    command: 'sallyport page',
    filter: textFilter(list),
    ...more,
  };
}

const numbered = (count: number): readonly Row<string>[] =>
  Array.from({ length: count }, (_, index) => ({ text: `row ${index}`, pick: `picked ${index}` }));

function type(page: Page<string>, keys: readonly Press[], state: ListState = START): Pressed<string> {
  let last: Pressed<string> = { kind: 'on', state: settle(page, state, 15) };
  for (const one of keys) {
    if (last.kind === 'done') throw new Error('the page was left already');
    last = press(page, last.state, one, SIZE);
  }
  return last;
}

const under = (page: Page<string>, state: ListState): string | undefined =>
  drawPage(page, state, SIZE).find((line) => line.startsWith('> '));

describe('a page', () => {
  it.each([8, 9, 11, 12, 24])('is never higher than a terminal of %i lines less one', (rows) => {
    const keys = Array.from('abcdefghi', (one) => ({ key: one, label: `a longer label of ${one}`, value: one }));
    const page = pageOf(numbered(40), { keys, above: ['one', 'two', 'three'], detail: true });
    const drawn = drawPage(page, settle(page, START, 3), { columns: 40, rows });
    expect(drawn.length).toBeLessThan(rows);
    expect(drawn.filter((line) => line.includes('row ')).length).toBeGreaterThan(1);
    expect(drawn.at(-1)).toMatch(/^\$ sallyport/);
  });

  it('opens the row under the cursor, and says which command does the same', () => {
    const page = pageOf([
      { text: 'Heading', tone: 'head' },
      { text: 'first', pick: 'one', command: 'sallyport one' },
      { text: 'read only' },
      { text: 'second', pick: 'two', command: 'sallyport two' },
    ]);
    const { state } = type(page, [key('down')]);
    expect(drawPage(page, state, SIZE)).toEqual([
      'A page',
      'above it',
      '',
      '  Heading',
      '  first',
      '  read only',
      '> second',
      'arrows move, Enter opens, Esc back',
      'x strike | / filter | ? help | q leave',
      '$ sallyport two',
    ]);
    expect(type(page, [key('down'), key('return')])).toMatchObject({
      kind: 'done',
      shown: { kind: 'act', value: 'two' },
    });
  });

  it('scrolls text that cannot be picked', () => {
    const page = pageOf(Array.from({ length: 40 }, (_, index) => ({ text: `line ${index}` })));
    expect(drawPage(page, type(page, [key('down'), key('down')]).state, SIZE)[3]).toBe('  line 2');
    expect(drawPage(page, type(page, [key('end')]).state, SIZE).join('\n')).toContain('line 39');
  });

  it.each([
    ['escape', 'back'],
    ['left', 'back'],
    ['b', 'back'],
    ['q', 'leave'],
    ['r', 'reload'],
    ['s', 'search'],
  ])('is left by %s: %s', (name, kind) => {
    expect(type(pageOf(numbered(3)), [key(name)])).toMatchObject({ kind: 'done', shown: { kind } });
  });

  it('shows its keys with their command lines on ?, and goes back on any key', () => {
    const page = pageOf(numbered(3));
    const { state } = type(page, [key('?')]);
    const help = drawPage(page, state, SIZE).join('\n');
    expect(help).toMatch(/What it is\.\n +x +strike: sallyport strike/);
    expect(help).toMatch(/Ctrl-C +leave at once/);
    expect(press(page, state, key('q'), SIZE)).toMatchObject({ kind: 'on', state: { mode: 'list' } });
  });

  it('filters by words, and Esc shows all again', () => {
    const page = pageOf(numbered(100));
    const typed = type(page, ['/', 'r', 'o', 'w', ' ', '7', '7'].map(key));
    expect(under(page, typed.state)).toBe('> row 77');
    const picked = press(page, press(page, typed.state, key('return'), SIZE).state, key('return'), SIZE);
    expect(picked).toMatchObject({ kind: 'done', shown: { value: 'picked 77', filter: 'row 77' } });
    const all = press(page, { ...typed.state, mode: 'list' }, key('escape'), SIZE);
    expect(all).toMatchObject({ kind: 'on', state: { filter: '', shown: undefined } });
  });

  it('takes no pasted text for keys', () => {
    const page = pageOf(numbered(3), { marks: true });
    const pasted: Press = { name: 'paste', text: 'x\nq\n', paste: true };
    const { kind, state } = type(page, [pasted]);
    expect({ kind, marked: state.marked.size }).toEqual({ kind: 'on', marked: 0 });
    expect(drawPage(page, state, SIZE).join('\n')).toContain('pasted is not taken as keys');
  });

  it('takes pasted text into a filter as one line', () => {
    const page = pageOf(numbered(30));
    const { state } = type(page, [key('/'), { name: 'paste', text: 'row\r\n2\u001b[2J9', paste: true }]);
    expect(state.filter).toBe('row 2[2J9');
    expect(state.mode).toBe('filter');
  });

  it('acts on the marked rows, also those that a filter hides, and on the row under the cursor where none is marked', () => {
    const page = pageOf(numbered(10), { marks: true });
    expect(type(page, [key('down'), key('x')])).toMatchObject({ shown: { marked: [1] } });
    const space: Press = { name: 'space', text: ' ' };
    const hidden = type(page, [space, key('down'), space, key('/'), key('9'), key('return'), key('x')]);
    expect(hidden).toMatchObject({ shown: { marked: [0, 2], filter: '9' } });
    expect(drawPage(page, hidden.state, SIZE).join('\n')).toContain('2 marked');
    expect(type(page, [key('*'), key('-'), key('x')])).toMatchObject({ shown: { marked: [0] } });
    expect(type(page, [key('/'), key('5'), key('return'), key('*'), key('x')])).toMatchObject({
      shown: { marked: [5] },
    });
  });

  it('fits any terminal, whatever was pressed, and asks only for rows in sight', () => {
    const names = [
      'up',
      'down',
      'pageup',
      'pagedown',
      'home',
      'end',
      '/',
      '7',
      '*',
      ' ',
      '?',
      'return',
      'escape',
      'left',
    ];
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...names), { maxLength: 40 }),
        fc.integer({ min: 20, max: 130 }),
        fc.integer({ min: 8, max: 50 }),
        fc.boolean(),
        fc.boolean(),
        (pressed, columns, rows, marks, detail) => {
          const size = { columns, rows };
          let asked = 0;
          const base = pageOf(numbered(0), {
            marks,
            detail,
            above: ['x'.repeat(200), 'y'],
            filter: (text) => ({ kind: 'rows', shown: text === '' ? undefined : Int32Array.of(7, 77, 777) }),
            rows: {
              length: 50_000,
              at: (index) => {
                asked += 1;
                return { text: `${'long '.repeat(30)}${index}`, pick: `picked ${index}` };
              },
            },
          });
          let state = settle(base, START, 5);
          for (const name of pressed) {
            asked = 0;
            const result = press(base, state, key(name), size);
            state = result.state;
            const lines = drawPage(base, state, size);
            expect(lines.length).toBeLessThanOrEqual(Math.max(rows - 1, 14));
            expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(Math.max(columns, 21));
            expect(asked).toBeLessThan(400);
            const count = state.shown?.length ?? 50_000;
            expect(state.cursor >= 0 && state.cursor < count && state.top <= state.cursor).toBe(true);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('a line that is typed', () => {
  const typed = (...keys: readonly Press[]): string =>
    keys.reduce((line, one) => editLine(line, one), emptyLine()).text;

  it('is edited in place', () => {
    expect(typed(key('a'), key('c'), key('left'), key('b'))).toBe('abc');
    expect(typed(key('a'), key('b'), { name: 'a', text: '', ctrl: true }, key('delete'))).toBe('b');
    expect(typed(key('a'), key(' '), key('b'), { name: 'w', text: '', ctrl: true })).toBe('a ');
  });

  it('takes a paste as text, its line breaks as spaces and nothing that a terminal obeys', () => {
    expect(typed({ name: 'paste', text: 'a\r\nb\u001b]0;x\u0007\u202ec', paste: true })).toBe('a b]0;xc');
  });
});

// The session without cursor movement: pages as text, answers as lines.
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { answerPlain, plainFront, plainPage } from '../../src/cli/session/plain.ts';
import { START, settle } from '../../src/cli/session/list.ts';
import { rowsOf, textFilter } from '../../src/cli/session/page.ts';
import type { Page } from '../../src/cli/session/page.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';

const list = rowsOf([
  { text: 'Heading', tone: 'head' },
  { text: '  first      column', pick: 'one' },
  { text: '  only read' },
  { text: '  second', pick: 'two' },
]);
const page: Page<string> = {
  title: 'A page',
  above: [],
  rows: list,
  keys: [{ key: 'x', label: 'strike', value: 'struck', command: 'sallyport strike' }],
  help: ['What it is.'],
  command: 'sallyport page',
  filter: textFilter(list),
};
const many = rowsOf(Array.from({ length: 45 }, (_, index) => ({ text: `row ${index}`, pick: `picked ${index}` })));
const marks: Page<string> = { ...page, rows: many, marks: true, filter: textFilter(many) };

describe('a page in plain words', () => {
  it('numbers what can be chosen, once, without columns or a cursor', () => {
    expect(plainPage(page, START, 80)).toEqual([
      '',
      'A page',
      'Heading',
      '1. first column',
      '  only read',
      '2. second',
      'x: strike ($ sallyport strike)',
      'Same as: sallyport page',
    ]);
  });

  it.each([
    ['2', { kind: 'done', shown: { kind: 'act', value: 'two' } }],
    ['x', { kind: 'done', shown: { kind: 'act', value: 'struck' } }],
    ['b', { kind: 'done', shown: { kind: 'back' } }],
    ['q', { kind: 'done', shown: { kind: 'leave' } }],
    ['/sec', { kind: 'on', state: { filter: 'sec' } }],
    ['3', { kind: 'say', lines: ['There is no number 3 here.'] }],
    ['yes', { kind: 'say' }],
    ['', { kind: 'say' }],
  ])('answers "%s"', (typed, answer) => {
    expect(answerPlain(page, START, typed, 80)).toMatchObject(answer);
  });

  it('is read in parts, and its rows are marked by their numbers', () => {
    const first = plainPage(marks, START, 80);
    expect(first).toContain('20. row 19');
    expect(first).toContain('Rows 1 to 20 of 45; n shows the next.');
    const next = answerPlain(marks, START, 'n', 80);
    if (next.kind !== 'on') throw new Error('n shows the next rows');
    expect(plainPage(marks, settle(marks, next.state, 20), 80)).toContain('21. row 20');
    const marked = answerPlain(marks, START, 'm 2-3,40', 80);
    if (marked.kind !== 'on') throw new Error('m marks rows');
    expect(plainPage(marks, marked.state, 80)).toContain('2. marked: row 1');
    expect(answerPlain(marks, marked.state, 'x', 80)).toMatchObject({ shown: { marked: [1, 2, 39] } });
    expect(answerPlain(marks, START, 'x 5', 80)).toMatchObject({ shown: { marked: [4] } });
    expect(answerPlain(marks, START, 'x', 80)).toMatchObject({
      kind: 'say',
      lines: [expect.stringContaining('Which rows?')],
    });
    expect(answerPlain(marks, START, 'm 44-46', 80)).toMatchObject({ kind: 'say' });
  });
});

describe('questions in plain words', () => {
  const open = (): {
    readonly front: ReturnType<typeof plainFront>;
    readonly input: PassThrough;
    readonly stop: AbortController;
    readonly said: () => string;
    readonly asked: (text: string) => Promise<void>;
  } => {
    const input = new PassThrough();
    const stop = new AbortController();
    let said = '';
    let waiting: { readonly text: string; readonly seen: () => void } | undefined;
    const front = plainFront({
      input,
      width: 80,
      signal: stop.signal,
      write: (text) => {
        said += text;
        if (waiting !== undefined && said.includes(waiting.text)) setImmediate(waiting.seen);
      },
    });
    return {
      front,
      input,
      stop,
      said: () => said,
      asked: (text) => new Promise((seen) => (waiting = { text, seen: () => seen() })),
    };
  };

  it('take no line that came before they were asked', async () => {
    const { front, input, asked } = open();
    input.write('yes\nyes\n');
    const question = asked('Type yes or no');
    const answer = front.confirm('Write?');
    await question;
    input.write('no\n');
    expect(await answer).toBe(false);
    front.close();
  });

  it('print no escape sequence', async () => {
    const { front, input, asked, said } = open();
    const question = asked('A number or a letter');
    const shown = front.show(() => page, START);
    await question;
    input.write('2\n');
    expect(await shown).toMatchObject({ shown: { kind: 'act', value: 'two' } });
    expect(said()).not.toContain('\u001b');
    front.close();
  });

  it('end with 130 at Ctrl-C and at the end of the input', async () => {
    for (const end of [
      (one: ReturnType<typeof open>) => one.stop.abort(),
      (one: ReturnType<typeof open>) => one.input.end(),
    ]) {
      const one = open();
      const question = one.asked('Why?');
      const answer = one.front.text('Why?').catch((error: unknown) => error);
      await question;
      end(one);
      const error = await answer;
      expect(isFailure(error) && error.detail.exit).toBe(130);
      one.front.close();
    }
  });
});

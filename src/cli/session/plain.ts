// The session without a moving cursor: every page is printed once, from top to bottom, and answered by a typed line. For screen readers, dumb
// terminals and slow links.
import { createInterface } from 'node:readline';
import { cancelled } from '../interrupt.ts';
import { wrap } from '../output.ts';
import type { Choice, Front } from '../prompts.ts';
import { countShown, oneLine, settle } from './list.ts';
import type { ListState, Pressed } from './list.ts';
import type { Page, Row, Shown } from './page.ts';

const SOON_MS = 1500;
/** Rows that are read out at once. */
const PART = 20;

function rowAt<A>(page: Page<A>, state: ListState, at: number): { readonly index: number; readonly row: Row<A> } {
  const index = state.shown === undefined ? at : (state.shown[at] ?? -1);
  return { index, row: page.rows.at(index) };
}

/** Of the rows shown, those that have a number: all of a list with marks, otherwise those that can be picked. */
function numbered<A>(page: Page<A>, state: ListState, from: number, to: number): ReadonlyMap<number, number> {
  const numbers = new Map<number, number>();
  if (page.marks === true) {
    for (let at = from; at < to; at += 1) numbers.set(at, at + 1);
    return numbers;
  }
  let count = 0;
  for (let at = 0; at < to; at += 1)
    if (rowAt(page, state, at).row.pick !== undefined) {
      count += 1;
      if (at >= from) numbers.set(at, count);
    }
  return numbers;
}

/** The page as lines to be read in their order. */
export function plainPage<A>(page: Page<A>, state: ListState, width: number): readonly string[] {
  const count = countShown(page, state);
  const to = Math.min(count, state.top + PART);
  const numbers = numbered(page, state, state.top, to);
  const lines = ['', page.title, ...page.above];
  if (state.filter !== '') lines.push(`Filter: ${state.filter}. ${count} of ${page.rows.length} rows.`);
  for (let at = state.top; at < to; at += 1) {
    const { index, row } = rowAt(page, state, at);
    const number = numbers.get(at);
    const mark = page.marks === true && state.marked.has(index) ? 'marked: ' : '';
    // Columns are for the eye; a diff keeps its indents.
    const given = row.full ?? row.text;
    const text = row.pick === undefined ? given.trimEnd() : given.trim().replaceAll(/ {2,}/g, ' ');
    if (number === undefined) lines.push(wrap(text, width, 4));
    else lines.push(wrap(`${number}. ${mark}${text}`, width, 4, 0));
  }
  if (count === 0) lines.push('Nothing here.');
  if (to < count) lines.push(`Rows ${state.top + 1} to ${to} of ${count}; n shows the next.`);
  if (state.marked.size > 0) lines.push(`${state.marked.size} marked.`);
  for (const { key, label, command } of page.keys)
    lines.push(wrap(`${key}: ${label}${command === undefined ? '' : ` ($ ${command})`}`, width, 4));
  lines.push(wrap(`Same as: ${page.command}`, width, 4));
  return lines;
}

const ASK = 'A number or a letter; ? for help:';

export function plainHelp<A>(page: Page<A>, width: number): readonly string[] {
  return [
    ...page.help,
    'A number opens that row. A letter does what the list says.',
    ...(page.marks === true
      ? [
          'm 2-5,9 marks rows, m * all that the filter leaves, m - none. A letter acts on what is marked; with numbers, as in a 2-5, on those rows.',
        ]
      : []),
    ...(page.filter === undefined ? [] : ['/text shows only what matches; / alone shows all again.']),
    'n and p: the next and the previous rows. b: back. s TEXT: search everything. r: read again. q: leave.',
    'Ctrl-C leaves at once; while a run writes it stops after the step.',
  ].flatMap((line) => wrap(line, width).split('\n'));
}

export type PlainAnswer<A> = Pressed<A> | { readonly kind: 'say'; readonly lines: readonly string[] };

/** What a typed line does to a page. */
export function answerPlain<A>(page: Page<A>, state: ListState, typed: string, width: number): PlainAnswer<A> {
  const text = oneLine(typed).trim();
  const count = countShown(page, state);
  const say = (...lines: readonly string[]): PlainAnswer<A> => ({ kind: 'say', lines });
  const on = (next: ListState): PlainAnswer<A> => ({ kind: 'on', state: next });
  const done = (shown: Shown<A>): PlainAnswer<A> => ({ kind: 'done', state, shown });
  const part = (top: number): PlainAnswer<A> =>
    top < 0 || top >= count ? say('There are no more rows that way.') : on({ ...state, top, cursor: top });
  if (text === '') return say(ASK);
  if (text === '?') return say(...plainHelp(page, width));
  if (text === 'n') return part(state.top + PART);
  if (text === 'p') return part(state.top === 0 ? -1 : Math.max(0, state.top - PART));
  if (text === 'b') return done({ kind: 'back' });
  if (text === 'q') return done({ kind: 'leave' });
  if (text === 'r') return done({ kind: 'reload' });
  if (text === 's' || text.startsWith('s ')) return done({ kind: 'search' });
  if (text.startsWith('/')) {
    const filter = text.slice(1).trim();
    const result = page.filter?.(filter);
    if (result === undefined) return say('This page has no filter.');
    if (result.kind === 'fault') return say(result.message);
    return on({ ...state, filter, shown: result.shown, top: 0, cursor: 0 });
  }
  if (/^\d+$/.test(text)) {
    const at = rowOf(page, state, Number(text));
    const row = at === undefined ? undefined : rowAt(page, state, at).row;
    if (at === undefined || row?.pick === undefined) return say(`There is no number ${text} here.`);
    return {
      kind: 'done',
      state: { ...state, cursor: at },
      shown: { kind: 'act', value: row.pick, marked: [], filter: state.filter },
    };
  }
  const [key = '', ...rest] = text.split(' ');
  const list = rest.join('').trim();
  if (key === 'm' && page.marks === true) {
    if (list === '-') return on({ ...state, marked: new Set() });
    const rows = list === '*' ? everyRow(page, state) : rowsNamed(page, state, list);
    if (rows === undefined || rows.length === 0) return say('m 2-5,9 marks rows; m * all; m - none.');
    return on({ ...state, marked: new Set([...state.marked, ...rows]) });
  }
  const found = page.keys.find((one) => one.key === key);
  if (found === undefined) return say(`"${text}" means nothing here. ${ASK}`);
  const marked = list === '' ? [...state.marked].sort((a, b) => a - b) : rowsNamed(page, state, list);
  if (marked === undefined) return say(`"${list}" is not a list of rows, as in 2-5,9.`);
  if (page.marks === true && marked.length === 0 && found.command !== undefined)
    return say(`Which rows? ${key} 2-5,9, or mark them first with m.`);
  return done({ kind: 'act', value: found.value, marked, filter: state.filter });
}

function rowOf<A>(page: Page<A>, state: ListState, number: number): number | undefined {
  const count = countShown(page, state);
  if (page.marks === true) return number >= 1 && number <= count ? number - 1 : undefined;
  for (const [at, one] of numbered(page, state, 0, count)) if (one === number) return at;
  return undefined;
}

function everyRow<A>(page: Page<A>, state: ListState): readonly number[] {
  return [...(state.shown ?? Array.from({ length: page.rows.length }, (_, index) => index))];
}

/** Positions of the rows that `2-5,9` names; undefined where it names none. */
function rowsNamed<A>(page: Page<A>, state: ListState, text: string): readonly number[] | undefined {
  const count = countShown(page, state);
  const out: number[] = [];
  for (const piece of text.split(',')) {
    const found = /^(\d+)(?:-(\d+))?$/.exec(piece.trim());
    if (found === null) return undefined;
    const [from, to] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (from < 1 || to > count || from > to) return undefined;
    for (let at = from - 1; at < to; at += 1) out.push(rowAt(page, state, at).index);
  }
  return out;
}

/** Typed lines. One that comes while nobody asks is dropped: it was meant for something else. */
interface Lines {
  ask(question: string): Promise<string>;
  close(): void;
}

function openLines(input: NodeJS.ReadableStream, write: (text: string) => void, signal: AbortSignal): Lines {
  const reader = createInterface({ input, terminal: false });
  let waiting: PromiseWithResolvers<string> | undefined;
  let ended = false;
  const stop = (): void => {
    if (waiting !== undefined) write('\n');
    waiting?.reject(cancelled('cancelled; nothing more was written'));
  };
  reader.on('line', (line) => {
    const asked = waiting;
    waiting = undefined;
    asked?.resolve(line);
  });
  reader.on('close', () => {
    ended = true;
    stop();
  });
  signal.addEventListener('abort', stop);
  return {
    ask: async (question) => {
      // Lines that wait are read, and dropped, in the next turns of the loop.
      for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      write(`${question} `);
      if (ended || signal.aborted) throw cancelled('cancelled; nothing more was written');
      waiting = Promise.withResolvers<string>();
      return waiting.promise;
    },
    close: () => {
      signal.removeEventListener('abort', stop);
      reader.close();
    },
  };
}

export interface PlainIo {
  readonly input: NodeJS.ReadableStream;
  readonly write: (text: string) => void;
  readonly width: number;
  readonly signal: AbortSignal;
}

export function plainFront({ input, write, width, signal }: PlainIo): Front {
  const lines = openLines(input, write, signal);
  const print = (text: readonly string[]): void => write(`${text.join('\n')}\n`);
  return {
    show: async <A>(make: () => Page<A>, given: ListState, idle?: () => boolean) => {
      let state = given.mode === 'list' ? given : { ...given, mode: 'list' as const };
      // Nothing is drawn anew here: what can be known soon is worked out before.
      const until = performance.now() + SOON_MS;
      while (performance.now() < until && idle?.() === true);
      for (;;) {
        const page = make();
        state = settle(page, state, PART);
        print(plainPage(page, state, width));
        for (;;) {
          const answer = answerPlain(page, state, await lines.ask(ASK), width);
          if (answer.kind === 'say') {
            print(answer.lines);
            continue;
          }
          if (answer.kind === 'done') return { shown: answer.shown, state: answer.state };
          state = answer.state;
          break;
        }
      }
    },
    select: async <T>(message: string, choices: readonly Choice<T>[]): Promise<T> => {
      for (;;) {
        print([message, ...choices.map((choice, index) => wrap(`${index + 1}. ${choice.name}`, width, 4))]);
        const typed = (await lines.ask('A number:')).trim();
        const choice = /^\d+$/.test(typed) ? choices[Number(typed) - 1] : undefined;
        if (choice !== undefined) return choice.value;
        print([`There is no number "${oneLine(typed)}".`]);
      }
    },
    confirm: async (message, initial = false) => {
      const typed = (await lines.ask(`${message} Type yes or no:`)).trim().toLowerCase();
      return typed === '' ? initial : typed === 'yes';
    },
    text: async (message) => oneLine(await lines.ask(`${message}:`)).trim(),
    busy: (work) => work(),
    pause: () => Promise.resolve(),
    width: () => width,
    close: () => lines.close(),
  };
}

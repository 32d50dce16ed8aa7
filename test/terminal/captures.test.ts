// The captures in docs/session.md and docs/captures, taken from the running program on a real terminal: what the documents show is what
// people see. `CAPTURES=write` takes them anew: CAPTURES=write npx vitest run --project browser test/terminal/captures.test.ts -u
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/imports.ts';
import type { Place } from './place.ts';
import { FLAGS, PROGRAM, makeExample } from './place.ts';
import { screenToSvg } from './svg.ts';
import type { Terminal } from './tmux.ts';
import { openTerminal } from './tmux.ts';

const SIZE = { columns: 80, rows: 24 };
const PAGE = 'docs/session.md';
const PICTURES = join(ROOT, 'docs/captures');

let place: Place;
const shown = new Map<string, string>();
const pictures = new Map<string, string>();
let plain = '';
let recording = '';
let colourless = '';

/** What differs from one run to the next and from one machine to another. */
function still(text: string): string {
  return text
    .replaceAll(place.folder, '/tmp/fraud')
    .replaceAll(/read \d\d:\d\d:\d\d UTC/g, 'read 16:30:41 UTC')
    .replaceAll(/20\d\d-\d\d-\d\d \d\d:\d\d (?=(?:advance|rollback|test@))/g, '2026-11-23 16:29 ')
    .replaceAll(`@${hostname()}`, '@vm')
    .split('\n')
    .map((line) => (line.includes('@vm') ? line.replace(/^(.{60}).*…$/, '$1…') : line))
    .join('\n');
}

/** The way through the session on which the captures are taken. */
const WAY: readonly {
  readonly keys?: readonly string[];
  readonly type?: string;
  readonly until: RegExp;
  readonly capture?: string;
}[] = [
  { until: /UTC$[^]*training +next monitor +ready/m, capture: 'dashboard' },
  { keys: ['Enter'], until: /^feast: phase[^]*Blockers on the way/m, capture: 'namespace' },
  { keys: ['Down', 'Down', 'Down', 'Down', 'Down', 'Enter'], until: /^coverage feast/m, capture: 'gate' },
  { keys: ['b'], until: /^feast: phase/m },
  { keys: ['b'], until: /^Sallyport on/m },
  { keys: ['Down', 'Enter'], until: /^fraud-serving: phase/m },
  { keys: ['e'], until: /^Edges of fraud-serving/m },
  { keys: ['/'], type: 'debug', until: /\/debug_/m },
  { keys: ['Enter', ' ', ' '], until: /2 marked/, capture: 'edges' },
  { keys: ['?'], until: /^Help: Edges/m, capture: 'help' },
  { keys: ['x'], until: /^Edges of fraud-serving/m },
  { keys: ['Escape'], until: /^Edges[^]*of 80/m },
  { keys: ['b'], until: /^fraud-serving: phase/m },
  { keys: ['Home', 'Enter'], until: /^Plan for fraud-serving/m, capture: 'plan' },
  { keys: ['Enter'], until: /^Step 1 of/m },
  { keys: ['NPage', 'NPage', 'NPage'], until: /^52-\d+ of/m, capture: 'step' },
  { keys: ['b'], until: /^Plan for/m },
  { keys: ['b'], until: /^fraud-serving: phase/m },
  { keys: ['h'], until: /^History of fraud-serving/m, capture: 'history' },
  { keys: ['s'], until: /^Search/m },
  { type: 'triton', until: /^\/triton_/m, capture: 'search' },
];

/** Without what the session says at its start, which stands above its first page. */
function page(screen: string): string {
  const lines = screen.split('\n');
  return lines.slice(lines.findIndex((line) => !/^(?:Commands are shown| {2}--)/.test(line))).join('\n');
}

beforeAll(async () => {
  place = await makeExample();
  const env = { XDG_STATE_HOME: join(place.folder, 'xdg'), SALLYPORT_USER: 'maria' };
  const begin = (flags: string, size = SIZE): Terminal => {
    const terminal = openTerminal(place.folder, size, env);
    terminal.type(`clear; node ${PROGRAM} ${FLAGS} ${flags}`);
    terminal.keys('Enter');
    return terminal;
  };
  const whole = WAY[0]?.until ?? /./;
  const drab = begin('--no-color');
  try {
    await drab.until(whole);
    colourless = still(page(drab.screen().text));
  } finally {
    drab.end();
  }
  const terminal = begin('');
  try {
    for (const { keys = [], type = '', until, capture } of WAY) {
      if (keys.length > 0) terminal.keys(...keys.map((key) => (key === ' ' ? 'Space' : key)));
      if (type !== '') terminal.type(type);
      await terminal.until(until);
      if (capture === undefined) continue;
      const { text, coloured } = terminal.screen();
      shown.set(capture, still(page(text)));
      pictures.set(capture, still(page(coloured)));
    }
  } finally {
    terminal.end();
  }
  const read = begin('--plain', { columns: 80, rows: 150 });
  try {
    const answer = async (line: string, until: RegExp): Promise<readonly string[]> => {
      read.type(line);
      read.keys('Enter');
      return (await read.until(until)).split('\n');
    };
    await read.until(/\? for help:$/);
    await answer('e', /Edges of all[^]*\? for help:$/);
    await answer('/debug redis', /Filter: debug redis[^]*\? for help:$/);
    const asked = await answer('c 1-2', /decides nothing\):$/);
    plain = still(asked.slice(asked.findIndex((line) => line.startsWith('Filter: '))).join('\n'));
    const done = await answer('a forgotten toolbox', /Done: [^]*\? for help:$/);
    const last = await answer('q', /Nothing is lost[^]*READY$/);
    recording = still(
      [
        ...done.slice(
          done.findIndex((line) => line.startsWith('Filter: ')),
          done.findIndex((line) => line.startsWith('Done: ')) + 1,
        ),
        '...',
        ...last.slice(
          last.findLastIndex((line) => line.startsWith('Nothing is lost')),
          -1,
        ),
      ].join('\n'),
    );
  } finally {
    read.end();
  }
}, 300_000);
afterAll(() => place.end());

/** The block of a page that stands below `<!-- capture: NAME -->`. */
const blockOf = (name: string): RegExp => new RegExp(`(<!-- capture: ${name} -->\n\`\`\`text\n)([^]*?)(\n\`\`\`\n)`);

function compare(file: string, name: string, text: string): void {
  const path = join(ROOT, file);
  const content = readFileSync(path, 'utf8');
  const found = blockOf(name).exec(content);
  if (found === null) throw new Error(`${file} has no capture ${name}`);
  if (process.env['CAPTURES'] === 'write')
    writeFileSync(
      path,
      content.replace(blockOf(name), (_, head: string, __, tail: string) => `${head}${text}${tail}`),
    );
  else expect(found[2]).toBe(text);
}

describe('docs/session.md shows what the session shows', () => {
  it.each(WAY.flatMap(({ capture }) => capture ?? []))('at 80 columns: %s', (name) => {
    const text = shown.get(name) ?? '';
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThan(SIZE.columns);
    compare(PAGE, name, text);
  });

  it('in plain mode', () => {
    expect(Math.max(...plain.split('\n').map((line) => line.length))).toBeLessThanOrEqual(SIZE.columns);
    compare(PAGE, 'plain', plain);
  });

  it('without colours what it shows with them', () => {
    expect(colourless).toBe(shown.get('dashboard'));
  });

  it('in the README, as a recording', () => {
    compare('README.md', 'recording', recording);
  });

  it('shows every capture that it has', () => {
    const named = [...readFileSync(join(ROOT, PAGE), 'utf8').matchAll(/<!-- capture: (\w+) -->/g)].map(
      (found) => found[1],
    );
    expect(named.sort()).toEqual([...shown.keys(), 'plain'].sort());
  });
});

describe('docs/captures has the colours of a terminal', () => {
  it.each([
    ['dashboard', 'light'],
    ['dashboard', 'dark'],
    ['namespace', 'light'],
    ['namespace', 'dark'],
    ['edges', 'light'],
    ['edges', 'dark'],
    ['step', 'light'],
    ['step', 'dark'],
  ] as const)('%s on a %s background', async (name, theme) => {
    const svg = screenToSvg(pictures.get(name) ?? '', SIZE.columns, theme, `Sallyport's session: ${name}`);
    await expect(svg).toMatchFileSnapshot(join(PICTURES, `${name}-${theme}.svg`));
  });
});

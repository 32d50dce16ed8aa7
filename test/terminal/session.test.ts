// The session on a real terminal: whatever happens to it, the terminal is as it was, and what was said tells how to go on.
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { KubeManifest } from '../../src/model/object.ts';
import { isKubeManifest } from '../../src/model/object.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, EDGES, makeHome, sallyport } from '../cli/shop.ts';
import { FLAGS, PROGRAM } from './place.ts';
import type { Size, Terminal } from './tmux.ts';
import { openTerminal } from './tmux.ts';

const SMALL: Size = { columns: 80, rows: 24 };
const DECISIONS = `decisions:
  - {action: accept, query: "src=desk/*", reason: gone, by: me, at: "2026-10-10T00:00:00Z"}
  - {action: waive, query: "gate=unseen-workloads,subject=shop/*", reason: idle, by: me, at: "2026-10-10T00:00:00Z"}
`;

let home = '';
let terminal: Terminal | undefined;
const at = ['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml'];
beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES, 'decisions.yaml': DECISIONS });
  const ended = await sallyport(['observe', 'edges', 'edges.jsonl', ...at], { home });
  expect(ended.code, ended.stderr).toBe(0);
});
afterEach(() => {
  terminal?.end();
  terminal = undefined;
});

const FIRST = /\$ sallyport plan \w+$/;

async function open(flags = '', env: Readonly<Record<string, string>> = {}, size = SMALL): Promise<Terminal> {
  terminal = openTerminal(home, size, { XDG_STATE_HOME: join(home, 'xdg'), SALLYPORT_USER: 'tester', ...env });
  terminal.type(`node ${PROGRAM} ${FLAGS} ${flags}`);
  terminal.keys('Enter');
  if (!flags.includes('--plain')) await terminal.until(FIRST, 'first page');
  return terminal;
}

/** The shell has the terminal again: lines are edited and echoed, the cursor shows, a paste is plain text. */
async function isSane(at: Terminal): Promise<string> {
  const said = await at.until(/READY$/, 'prompt of the shell');
  expect(at.isCursorShown()).toBe(true);
  at.type('clear; stty -a | tr " " "\\n" | grep -E "^-?(icanon|echo|isig|icrnl|opost);?$" | tr "\\n" " "');
  at.keys('Enter');
  expect(await at.until(/icanon[^]*READY$/, 'answer of stty')).toMatch(
    /^(?!.*-(?:icanon|echo|isig|icrnl|opost)).*icanon/m,
  );
  at.type('clear; cat -v');
  at.keys('Enter');
  at.paste('pasted\n');
  expect(await at.until(/pasted\npasted$/, 'plain paste')).not.toContain('[200~');
  at.keys('C-c');
  return said.replaceAll(/\s+/g, ' ');
}

const LEFT =
  /the session was left; what was done is on record, and nothing more was written \(SP130\) next: sallyport opens the session again/;

/** From the first page on: keys, and what the page then shows. */
type Way = readonly (readonly [keys: readonly string[], shows: RegExp])[];
const SHOP: Way[number] = [['/', 's', 'h', 'o', 'p', 'Enter', 'Enter'], /^shop: phase/m];
const PAGES: readonly (readonly [name: string, way: Way])[] = [
  ['the first page', []],
  ['its filter', [[['/', 'd'], /^\/d_/m]]],
  ['its help', [[['?'], /^Help: /m]]],
  ['a namespace', [SHOP]],
  ['the plan', [SHOP, [['Enter'], /^Plan for shop/m]]],
  ['a step', [SHOP, [['Enter'], /^Plan for shop/m], [['Enter'], /^Step 1 of/m]]],
  ['a question about the phase', [SHOP, [['Down', 'Down', 'Enter'], /To which phase\?/]]],
  ['a confirmation', [SHOP, [['Down', 'Enter'], /Write this step .*\(y\/N\)/]]],
  ['the edges', [[['e'], /^Edges of all namespaces: 2/m]]],
  [
    'an edge',
    [
      [['e'], /^Edges of all namespaces: 2/m],
      [['Enter'], /^ {2}review: /m],
    ],
  ],
  [
    'a reason',
    [
      [['e'], /^Edges of all namespaces: 2/m],
      [['l'], /Why\?/],
    ],
  ],
  ['the history', [[['h'], /^History/m]]],
  ['the search', [[['s'], /^Search/m]]],
  ['a report', [[['v'], /^Verify/m]]],
];

describe('Ctrl-C', () => {
  it.each(PAGES)('leaves the terminal as it was, and says how to go on: at %s', async (_, way) => {
    const before = await readTree(join(home, 'cluster'));
    const session = await open();
    for (const [keys, shows] of way) {
      session.keys(...keys);
      await session.until(shows);
    }
    session.keys('C-c');
    expect(await isSane(session)).toMatch(LEFT);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
  });

  it('leaves plain mode', async () => {
    const session = await open('--plain');
    await session.until(/A number or a letter; \? for help:$/);
    session.keys('C-c');
    expect(await isSane(session)).toMatch(LEFT);
  });
});

describe('a terminal as people have it', () => {
  it('may change its size at any page: what is drawn fits, and the row under the cursor is the same', async () => {
    const session = await open();
    session.keys(...SHOP[0]);
    await session.until(SHOP[1]);
    session.keys('Down', 'Down');
    await session.until(/^> .*Advance further/m);
    for (const size of [{ columns: 50, rows: 12 }, { columns: 132, rows: 40 }, SMALL]) {
      session.resize(size);
      const text = await session.until(/^> .*Advance further[^]*\$ sallyport advance shop/m);
      const lines = text.split('\n');
      expect(lines[0]).toMatch(/^shop: phase/);
      expect(lines.length).toBeLessThan(size.rows);
      // One column is left free: a full line would wrap.
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(size.columns);
    }
  });

  it('may be narrower and lower than anybody wants, and is drawn anew when it grows', async () => {
    const session = await open('', {}, { columns: 40, rows: 9 });
    const page = (await session.until(FIRST)).split('\n');
    expect(page.slice(page.findIndex((line) => line.startsWith('Sallyport on'))).length).toBeLessThan(9);
    session.resize(SMALL);
    expect(await session.until(/shop +next monitor/)).toMatch(/^Sallyport on manifests/);
  });

  it('pastes lines into a filter and a reason as text, and never as keys or as a yes', async () => {
    const session = await open();
    session.paste('q\ny\n');
    expect(await session.until(/what was pasted is not taken as keys/)).toMatch(/^Sallyport on/m);
    session.keys('/');
    session.paste('sh\nop');
    await session.until(/^\/sh op_/m);
    session.keys('C-u');
    session.type('shop');
    session.keys('Enter', 'Enter');
    await session.until(SHOP[1]);
    session.keys('Down', 'Enter');
    await session.until(/Write this step .*\(y\/N\)/);
    expect(
      await session.answer(() => {
        session.paste('y\n');
      }, /pasted text is no answer/),
    ).not.toMatch(/Run \d/);
    session.keys('Escape');
    await session.until(/not confirmed; nothing was written[^]*Enter goes on/);
  });

  it('has its colours by SGR alone, and without them under NO_COLOR says the same', async () => {
    const coloured = await open();
    const [before, text] = [coloured.screen(), await coloured.until(/counting gates|read \d/)];
    expect(before.coloured).toMatch(/\u001b\[(?:\d+;)*7m/);
    expect(text).toMatch(/^Sallyport on/m);
    coloured.end();
    for (const [flags, env] of [
      ['', { NO_COLOR: '1' }],
      ['--no-color', {}],
    ] as const) {
      const plain = await open(flags, env);
      const page = await plain.until(/read \d[^]*ready; 2 workloads/);
      expect(plain.screen().coloured).not.toMatch(/\u001b\[[0-9;]*m/);
      expect(page).toMatch(/^> /m);
      plain.end();
    }
    terminal = undefined;
  });
});

describe('a live cluster', () => {
  let api: FakeApi;
  let live: string;
  beforeEach(async () => {
    const objects = Object.values(CLUSTER)
      .flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
      .filter(isKubeManifest)
      .filter(({ kind, metadata }: KubeManifest) => kind !== 'Namespace' || metadata.name !== 'kube-system');
    api = await startFakeApi({ objects, now: () => Date.now() });
    live = await makeHome({ 'config.yaml': WATCHED, 'edges.jsonl': recent(), 'signals/a.jsonl': '' });
    const flags = ['--kubeconfig', api.kubeconfig, '--config', 'config.yaml'];
    for (const args of [
      ['observe', 'edges', 'edges.jsonl'],
      ['accept', 'src=desk/*', '--reason', 'forgotten'],
    ])
      expect((await sallyport([...args, ...flags], { home: live })).code).toBe(0);
  });
  afterEach(() => api.close());

  async function start(): Promise<Terminal> {
    terminal = openTerminal(live, SMALL, { XDG_STATE_HOME: join(live, 'xdg'), SALLYPORT_USER: 'tester' });
    terminal.type(`node ${PROGRAM} --kubeconfig ${api.kubeconfig} --config config.yaml`);
    terminal.keys('Enter');
    await terminal.until(FIRST, 'first page');
    return terminal;
  }

  it('that is lost stays on the page as it was, with the way to try again', async () => {
    const session = await start();
    await api.close();
    session.keys('r');
    expect(await session.until(/SP4\d\d/)).toMatch(
      /shop +next monitor[^]*r tries again|r tries again[^]*shop +next monitor/,
    );
    session.keys('q');
    expect(await isSane(session)).toContain('Nothing is lost: sallyport opens the session again');
  });

  it('is left in the middle of a run by Ctrl-C once for the page, and twice for the shell; both say or show how to go on', async () => {
    const session = await start();
    session.keys(...SHOP[0]);
    await session.until(SHOP[1]);
    session.keys('Down', 'Down', 'Down', 'Enter');
    await session.until(/To which phase\?/);
    session.keys('Down', 'Enter');
    await session.until(/Write these \d+ steps .*\(y\/N\)/);
    await later(300);
    session.keys('y', 'Enter');
    await session.until(/soak: |watching/, 'watch', true);
    session.keys('C-c');
    const stopped = (await session.until(/Enter goes on/)).replaceAll(/\s+/g, ' ');
    expect(stopped).toMatch(/nothing is lost\. Next: sallyport resume, or sallyport rollback shop/);
    await session.answer(() => {
      session.keys('Enter');
    }, /^shop: phase allow-list/m);
    session.keys('Escape');
    await session.until(/^> Resume the advance of shop to allow-list that was interrupted/m);
    session.keys('Enter');
    await session.until(/soak: |watching/, 'watch', true);
    session.keys('C-c');
    session.keys('C-c');
    await isSane(session);
    const status = await sallyport(['status', '--kubeconfig', api.kubeconfig], { home: live });
    expect(status.stdout).toMatch(/sallyport\s+resume/);
  });
});

/** Nobody talks in the signal, so that the watch lasts until it is ended. */
const WATCHED = `gates: {window: off, coverage: off, unseen-workloads: off, corroboration: off}
soak: {minutes: 5, drainSeconds: 0, signals: [{source: edges, inputs: [signals/*.jsonl]}]}
cluster:
  cni: {name: cilium, ipBlockMatches: []}
  apiServer: [10.0.0.1/32]
`;

/** The same traffic as of the last nine days: a live cluster has the clock of the wall. */
function recent(): string {
  const days = new Set(EDGES.match(/2026-10-\d\d/g));
  return [...days].reduce(
    (text, day) =>
      text.replaceAll(day, new Date(Date.now() - (11 - Number(day.slice(-2))) * 86_400_000).toISOString().slice(0, 10)),
    EDGES,
  );
}

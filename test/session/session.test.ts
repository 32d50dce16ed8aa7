// The interactive session, answered from a script: what a person meets, from the list of namespaces to the way back.
import { cp, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openGrant } from '../../src/cli/commands/grant.ts';
import { observe } from '../../src/cli/commands/observe.ts';
import { plan } from '../../src/cli/commands/plan.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import { cancelled, openInterrupt } from '../../src/cli/interrupt.ts';
import type { Interrupt } from '../../src/cli/interrupt.ts';
import type { Output } from '../../src/cli/output.ts';
import type { Front } from '../../src/cli/prompts.ts';
import type { Act } from '../../src/cli/session/act.ts';
import { drawPage, press, settle } from '../../src/cli/session/list.ts';
import type { Press } from '../../src/cli/session/list.ts';
import { runSession } from '../../src/cli/session/session.ts';
import { reviewEdges } from '../../src/flows/decide.ts';
import { endpointKey } from '../../src/model/edge.ts';
import { EXIT, Failure, isFailure } from '../../src/shared/pure/errors.ts';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, EDGES, makeHome } from '../cli/shop.ts';

/** `> text` picks the one choice that holds the text, `yes` and `no` confirm, `= text` is typed, `^C` is Ctrl-C. */
type Script = readonly string[];

interface Played {
  readonly exit: number;
  readonly shown: string;
  readonly noted: string;
  /** Every question with its choices. */
  readonly asked: readonly string[];
}

let home = '';
beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
});

/** A copy of the cluster with its traffic imported. */
async function place(name: string): Promise<GlobalOptions> {
  await cp(join(home, 'cluster'), join(home, name, 'cluster'), { recursive: true });
  const options = {
    manifests: join(home, name, 'cluster'),
    state: join(home, name, 'state.sqlite'),
    config: join(home, 'config.yaml'),
  };
  await withApp(options, openInterrupt(), quiet().output, (app) =>
    observe(app, 'edges', [join(home, 'edges.jsonl')], { badRecords: 'abort' }),
  );
  return options;
}

async function withApp<T>(
  options: GlobalOptions,
  interrupt: Interrupt,
  output: Output,
  work: (app: App) => Promise<T>,
): Promise<T> {
  const app = openApp(options, output, { XDG_STATE_HOME: join(home, 'xdg'), SALLYPORT_USER: 'tester' }, interrupt);
  try {
    return await work(app);
  } finally {
    await app.close();
  }
}

function quiet(onNote: (text: string) => void = () => undefined): {
  readonly output: Output;
  readonly lines: string[];
  readonly notes: string[];
} {
  const lines: string[] = [];
  const notes: string[] = [];
  const output: Output = {
    json: false,
    color: false,
    width: 80,
    interactive: false,
    documented: false,
    line: (text = '') => void lines.push(text),
    document: () => undefined,
    raw: (text) => void lines.push(text),
    note: (text) => {
      notes.push(text);
      onNote(text);
    },
    progress: () => undefined,
    names: () => undefined,
    event: () => false,
  };
  return { output, lines, notes };
}

/** Answers pages and questions alike. What is asked is kept as a person would see it: pages as lines of 80 columns. */
function scripted(script: Script, asked: string[]): Front {
  const left = [...script];
  const next = (question: string): string => {
    const answer = left.shift();
    if (answer === undefined) throw new Error(`the script has no answer to: ${question}`);
    if (answer === '^C') throw cancelled();
    return answer;
  };
  const pick = <T>(answer: string, choices: readonly (readonly [string, T])[]): T => {
    const wanted = answer.replace(/^> /, '');
    const found = choices.filter(([name]) => name.includes(wanted));
    const [choice] = found;
    if (choice === undefined || found.length > 1)
      throw new Error(`"${wanted}" picks ${found.length} of:\n${choices.map(([name]) => name).join('\n')}`);
    return choice[1];
  };
  return {
    // eslint-disable-next-line @typescript-eslint/require-await -- answers come at once
    show: async (make, given, idle) => {
      while (idle?.() === true);
      let state = settle(make(), given, SIZE.rows);
      for (;;) {
        const page = make();
        const rows = Array.from({ length: page.rows.length }, (_, index) => page.rows.at(index));
        asked.push(
          [page.title, ...page.above, ...rows.map((row) => row.text)].join('\n'),
          drawPage(page, state, SIZE).join('\n'),
        );
        const answer = next(page.title);
        if (['back', 'leave', 'search', 'reload'].includes(answer))
          return { shown: { kind: answer as 'back' | 'leave' | 'search' | 'reload' }, state };
        if (answer.startsWith('/')) {
          const typed = Array.from(answer.slice(1)).map((text) => ({ name: text, text }));
          for (const key of [{ name: '/', text: '/' }, ...typed, { name: 'return', text: '' }]) {
            const pressed = press(page, state, key, SIZE);
            state = pressed.state;
          }
          continue;
        }
        if (answer.startsWith('key ')) {
          const pressed = press(page, state, { name: answer.slice(4), text: answer.slice(4) }, SIZE);
          if (pressed.kind === 'done') return { shown: pressed.shown, state: pressed.state };
          state = pressed.state;
          continue;
        }
        const shown = state.shown === undefined ? rows : [...state.shown].map((index) => page.rows.at(index));
        const chosen = pick<Press | Act>(answer, [
          ...shown.flatMap((row) => (row.pick === undefined ? [] : [[row.text, row.pick as Act] as const])),
          ...page.keys.map((key) => [key.label, { name: key.key, text: key.key }] as const),
        ]);
        if ('kind' in chosen)
          return { shown: { kind: 'act', value: chosen as never, marked: [], filter: state.filter }, state };
        const pressed = press(page, state, chosen, SIZE);
        if (pressed.kind === 'done') return { shown: pressed.shown, state: pressed.state };
        throw new Error(`the key "${chosen.text}" does nothing`);
      }
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- answers come at once
    select: async (message, choices) => {
      asked.push([message, ...choices.map((choice) => choice.name)].join('\n'));
      return pick(
        next(message),
        choices.map((choice) => [choice.name, choice.value] as const),
      );
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- answers come at once
    confirm: async (message) => {
      asked.push(message);
      return next(message) === 'yes';
    },
    // eslint-disable-next-line @typescript-eslint/require-await -- answers come at once
    text: async (message) => {
      asked.push(message);
      return next(message).replace(/^= /, '');
    },
    busy: (work) => work(),
    pause: () => Promise.resolve(),
    width: () => SIZE.columns,
    close: () => undefined,
  };
}

const SIZE = { columns: 80, rows: 24 };

async function play(
  options: GlobalOptions,
  script: Script,
  onNote?: (text: string, interrupt: Interrupt) => void,
  through: (app: App) => App = (app) => app,
): Promise<Played> {
  const interrupt = openInterrupt();
  const { output, lines, notes } = quiet((text) => onNote?.(text, interrupt));
  const asked: string[] = [];
  const exit = await withApp(options, interrupt, output, async (app) => {
    try {
      return await runSession(through(app), scripted(script, asked));
    } catch (error) {
      if (!isFailure(error)) throw error;
      return error.detail.exit;
    }
  });
  return { exit, shown: lines.join('\n'), noted: notes.join('\n'), asked };
}

const SHOP = '> shop ';
const ENTER_ALLOW_LIST: Script = [
  SHOP,
  '> Advance to monitor',
  'yes',
  '> Review 1 doubtful edge',
  'key *',
  '> may be cut',
  '= a forgotten toolbox',
  'back',
];

describe('the session', () => {
  it('lists namespaces by phase with their open gates, and leaves', async () => {
    const played = await play(await place('list'), ['leave']);
    expect(played.exit).toBe(0);
    expect(played.asked[0]).toMatch(/not begun \(2\)/);
    expect(played.asked[0]).toMatch(/shop +next monitor +ready; 2 workloads/);
    expect(played.asked[0]).toMatch(/desk +next monitor +ready; 1 workload/);
    expect(played.shown).toMatch(/Nothing is lost: sallyport opens the session again/);
  });

  it('writes the assessment report into the folder it was started in, and says by which command', async () => {
    const options = await place('report');
    const started = process.cwd();
    process.chdir(join(home, 'report'));
    try {
      const played = await play(options, ['> write report', 'leave']);
      expect(played.exit).toBe(0);
      expect(played.shown).toContain('$ sallyport assess -o report.html');
    } finally {
      process.chdir(started);
    }
    expect(await readFile(join(home, 'report', 'report.html'), 'utf8')).toMatch(/^<!doctype html>[^]*shop/i);
    expect((await stat(join(home, 'report', 'report.html'))).mode & 0o777).toBe(0o600);
  });

  it('shows access that ends by itself, until when and why, and ends it', async () => {
    const options = await place('granted');
    const closed =
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: shop}\nspec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}\n';
    await writeFile(join(home, 'granted', 'cluster', 'closed.yaml'), closed);
    const before = await readTree(options.manifests ?? '');
    const ends = '2126-10-20T12:30:00.000Z';
    const toolbox = {
      from: 'desk/Deployment/toolbox',
      to: 'shop/Deployment/db',
      port: '5432',
      until: ends,
      reason: 'incident 17',
    };
    const now = '2126-10-20T12:00:00.000Z';
    await withApp({ ...options, yes: true, now }, openInterrupt(), quiet().output, (app) => openGrant(app, toolbox));
    expect(await readTree(options.manifests ?? '')).not.toEqual(before);
    const played = await play(options, ['> 1 grant in force', '> End g', 'no', '> End g', 'yes', 'back', 'leave']);
    expect(played.exit).toBe(0);
    const page = played.asked.find((text) => text.startsWith('Access that ends by itself: 1 grant')) ?? '';
    expect(page).toMatch(/g[0-9a-f]{8} connection, [\d.]+ h to go/);
    expect(page).toContain('desk/Deployment/toolbox -> shop/Deployment/db 5432/TCP');
    expect(page).toContain('until 2126-10-20T12:30:00Z');
    expect(page).toContain('because: incident 17');
    expect(page).toMatch(/NetworkPolicy shop\/sallyport-grant-g[0-9a-f]{8}-ingress/);
    expect(played.shown).toMatch(/\$ sallyport grant revoke g[0-9a-f]{8}/);
    expect(played.asked.some((text) => text.includes('No access that ends by itself is open.'))).toBe(true);
    // Nothing of it is left on the first page, nor in the cluster.
    expect(played.asked.at(-1)).not.toContain('in force');
    expect(await readTree(options.manifests ?? '')).toEqual(before);
  });

  it('shows what stops a namespace, each with what would help', async () => {
    const played = await play(await place('ready'), [
      SHOP,
      '> Advance to monitor',
      'yes',
      '> no      review',
      'back',
      'back',
      'leave',
    ]);
    const page = played.asked.find((text) => text.includes('Blockers')) ?? '';
    expect(page).toMatch(/Blockers on the way to allow-list \(1\)/);
    expect(page).toMatch(/no +review .*desk\/Deployment\/toolbox -> shop\/Deployment\/db 5432\/TCP/);
    expect(page).toMatch(/fix: sallyport adopt\|accept/);
    // What stands behind $ can be run, on every page: a remedy in words is none.
    const behind = played.asked.flatMap((text) => text.match(/^\$ .*/gm) ?? []);
    expect(behind.length).toBeGreaterThan(0);
    expect(behind.filter((line) => !/^\$ sallyport [a-z]+(?: |$)/.test(line) || line.includes('|'))).toEqual([]);
    expect(played.asked.join('\n')).toMatch(/Facts\n.*toolbox[^]*seen on one day only/);
  });

  it('shows a refusal and goes on', async () => {
    const played = await play(await place('refused'), [
      SHOP,
      '> Advance further',
      '> allow-list',
      '> history',
      'back',
      'back',
      'leave',
    ]);
    expect(played.exit).toBe(0);
    expect(played.noted).toMatch(/cannot go from none to allow-list.*\(SP600\)/s);
  });

  it('plans step by step with diff, simulated effect and the hash that flags alone give', async () => {
    const options = await place('plan');
    const played = await play(options, [SHOP, '> Plan to monitor', '>   1. ', 'back', 'back', 'back', 'leave']);
    const pages = played.asked.join('\n');
    expect(pages).toMatch(/\+ sallyport\.dev\/monitored: "true"/);
    expect(pages).toMatch(/Simulated: \d+ edges? in 1 state; 0 denied/);
    expect(pages).toMatch(/Connectivity: no pair of workloads changes/);
    const { output, lines } = quiet();
    await withApp(options, openInterrupt(), output, (app) => plan(app, 'shop', {}));
    const hash = /Plan hash ([0-9a-f]{64})/.exec(lines.join('\n'))?.[1];
    expect(hash).toBeDefined();
    expect(pages).toContain(`Plan hash ${hash ?? '?'}`);
  });

  it('says which pairs of workloads a step closes', async () => {
    const played = await play(await place('closes'), [
      ...ENTER_ALLOW_LIST,
      '> Plan to allow-list',
      '> isolate ingress of shop/Deployment/db',
      'back',
      'back',
      'back',
      'leave',
    ]);
    const step = played.asked.find((text) => text.includes('Connectivity:')) ?? '';
    expect(step).toMatch(
      /Connectivity to shop\/Deployment\/db\n[^]*closes +desk\/Deployment\/toolbox: every port => none/,
    );
    expect(step).toMatch(/changes +shop\/Deployment\/web: every port => 5432\/TCP/);
  });

  it('writes nothing unless it is confirmed', async () => {
    const options = await place('unconfirmed');
    const before = await readTree(options.manifests ?? '');
    const played = await play(options, [SHOP, '> Advance to monitor', 'no', 'back', 'leave']);
    expect(played.noted).toMatch(/not confirmed; nothing was written/);
    expect(played.exit).toBe(0);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
  });

  it('takes a waiver with its reason, and takes it back', async () => {
    const played = await play(await place('waived'), [
      SHOP,
      '> Advance to monitor',
      'yes',
      '> no      review',
      '> Waive it',
      '= seen to be harmless',
      '> history',
      '> undo waive',
      '= it was not',
      'back',
      'back',
      'leave',
    ]);
    expect(played.shown).toMatch(/\$ sallyport waive gate=review,subject=\S+ --reason 'seen to\s+be\s+harmless'/);
    const pages = played.asked.filter((text) => text.startsWith('shop: phase monitor'));
    expect(pages.some((text) => text.includes('No gate stops the way to allow-list: ready.'))).toBe(true);
    expect(pages.at(-1)).toMatch(/Blockers on the way to allow-list \(1\)/);
    expect(played.asked.join('\n')).toMatch(/withdraw gate=review,subject=2a268d873a38: it was not/);
  });

  it('decides on marked edges, each decision with its command line, and takes the last one back', async () => {
    const options = await place('bulk');
    const played = await play(options, [
      '> edges',
      '/src=desk/*',
      'key *',
      '> legitimate',
      '= they are ours',
      '/src=desk/*',
      'key *',
      '> may be cut',
      '= they are not',
      '> undo accept of',
      '= a slip',
      'back',
      'leave',
    ]);
    expect(played.shown).toMatch(/\$ sallyport adopt 'src=desk\/\*' --reason 'TEXT'/);
    const { output, lines } = quiet();
    await withApp(options, openInterrupt(), output, async (app) => {
      const decisions = await app.decisions();
      lines.push(...decisions.map((one) => `${one.action} ${one.text}: ${one.reason}`));
      const edges = reviewEdges((await app.state()).reader.edges(), decisions);
      lines.push(...edges.filter((edge) => endpointKey(edge.src).startsWith('desk/')).map((edge) => edge.review));
    });
    // The adoption that stood before the slip stands again, as a decision of its own.
    expect(lines).toEqual([
      'adopt src=desk/*: they are ours',
      'accept src=desk/*: they are not',
      expect.stringMatching(/^adopt .*: a slip$/),
      'legitimate',
    ]);
  });

  it('searches namespaces, workloads, gates and edges', async () => {
    const played = await play(await place('search'), [
      'search',
      '/toolbox 5432',
      '> edge',
      'back',
      'back',
      'search',
      '/workload db',
      '> workload',
      'back',
      'back',
      'leave',
    ]);
    expect(played.asked.join('\n')).toMatch(
      /desk\/Deployment\/toolbox -> shop\/Deployment\/db 5432\/TCP\nreview: unreviewed/,
    );
    expect(played.asked.join('\n')).toMatch(/shop\/Deployment\/db\ncomponent [^]*Callers \(2\)/);
  });

  it('reviews, advances, verifies, tells the history, and goes all the way back', async () => {
    const options = await place('whole');
    const before = await readTree(options.manifests ?? '');
    const played = await play(options, [
      ...ENTER_ALLOW_LIST,
      '> Advance to allow-list',
      'yes',
      '> verify',
      'back',
      '> history',
      '> Go back to the start',
      'yes',
      'back',
      'back',
      'leave',
    ]);
    const pages = played.asked.join('\n');
    expect(played.noted).not.toMatch(/SP\d/);
    expect(played.shown).toMatch(/Phase:\s+allow-list/);
    expect(pages).toMatch(/No drift/);
    expect(pages).toMatch(/Deployment\/web +unknown; no mesh/);
    expect(played.shown).toMatch(/Phase:\s+none/);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
    // The reason given once stands beside the frozen list of what it was about.
    expect(pages).toMatch(/accept src=desk\/Deployment\/toolbox,.*\(1 edge.*a forgotten toolbox/);
  });

  it('ends a run by Ctrl-C between two steps, says how to go on, and is back on the page; the run is taken up there', async () => {
    const options = await place('interrupted');
    const before = await readTree(options.manifests ?? '');
    const script = [
      ...ENTER_ALLOW_LIST,
      '> Advance to allow-list',
      'yes',
      'back',
      '> Resume the advance of shop',
      'leave',
    ];
    const played = await play(options, script, (text, interrupt) => {
      if (text.startsWith('[2/') && !interrupt.stopping) interrupt.stop();
    });
    expect(played.noted).toMatch(
      /stopping after this step[^]*nothing is lost. Next: sallyport\s+resume, or sallyport\s+rollback\s+shop/,
    );
    expect(played.exit).toBe(0);
    expect(played.shown).toMatch(/cancelled; \d+ steps? done[^]*Phase:\s+allow-list/);
    expect(played.asked.at(-2)).toMatch(/allow-list \(1\)\n +shop/);
    // And nothing of it stays behind a way back.
    await play(options, [SHOP, '> history', '> Go back to the start', 'yes', 'back', 'back', 'leave']);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
  });

  it('is left as a whole by whoever ends the process, a run that writes included', async () => {
    const options = await place('ended');
    const script = [...ENTER_ALLOW_LIST, '> Advance to allow-list', 'yes'];
    const stopped = await play(options, script, (text, interrupt) => {
      if (text.startsWith('[2/')) interrupt.stop(true);
    });
    expect(stopped.exit).toBe(130);
    const resumed = await play(options, ['> Resume the advance of shop', 'leave']);
    expect(resumed.exit).toBe(0);
    expect(resumed.shown).toMatch(/Phase:\s+allow-list/);
  });

  it.each([
    ['the list', ['^C']],
    ['a namespace', [SHOP, '^C']],
    ['the phase', [SHOP, '> Advance further', '^C']],
    ['the confirmation', [SHOP, '> Advance to monitor', '^C']],
    ['the review', [SHOP, '> Review', '^C']],
    ['the reason', [SHOP, '> Review', 'key *', '> may be cut', '^C']],
  ])('is left by Ctrl-C with exit 130, nothing written: at %s', async (name, script) => {
    const options = await place(`left-${name.replaceAll(' ', '-')}`);
    const before = await readTree(options.manifests ?? '');
    expect((await play(options, script)).exit).toBe(130);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
  });

  it.each([
    ['from the first reading on', 0],
    ['after a while', 1],
  ])('stays when the cluster does not answer, %s, and goes on when it does', async (_, answered) => {
    let calls = 0;
    const failing = (app: App): App => ({
      ...app,
      target: () => {
        calls += 1;
        // Each reading asks twice: by name, and for what is there.
        return Math.floor((calls - 1) / 2) === answered ? Promise.reject(gone()) : app.target();
      },
    });
    const gone = (): Failure => {
      calls += calls % 2;
      return new Failure({ code: 'SP452', exit: EXIT.cluster, message: 'the connection was refused' });
    };
    const script = ['reload', ...(answered === 0 ? [] : [SHOP, 'back', 'reload']), SHOP, 'back', 'leave'];
    const played = await play(await place(`lost-${answered}`), script, undefined, failing);
    expect(played.exit).toBe(0);
    const pages = played.asked.join('\n');
    expect(pages).toMatch(/the connection was refused \(SP452\)\nr tries again; nothing is lost by it/);
    expect(pages.includes('The cluster could not be read (SP452): this is as it was before')).toBe(answered === 1);
    expect(played.asked.at(-2)).not.toContain('SP452');
  });

  it('decides nothing without a reason', async () => {
    const options = await place('reasonless');
    const played = await play(options, ['> edges', 'key *', '> legitimate', '= ', 'back', 'leave']);
    expect(played.shown).toMatch(/Nothing was decided: a reason is needed/);
    const { output } = quiet();
    await withApp(options, openInterrupt(), output, async (app) => expect(await app.decisions()).toEqual([]));
  });

  it('keeps to 80 columns', async () => {
    const played = await play(await place('narrow'), [
      SHOP,
      '> Plan to monitor',
      'back',
      '> Advance further',
      '> identity',
      '> edges',
      'back',
      '> history',
      'back',
      'back',
      'leave',
    ]);
    const drawn = played.asked.filter((text) => text.includes('\n$ sallyport'));
    expect(drawn.length).toBeGreaterThan(5);
    expect(drawn.flatMap((text) => text.split('\n')).filter((line) => line.length > 79)).toEqual([]);
    // A word to be copied, such as a query, stays whole.
    const wide = `${played.shown}\n${played.noted}`
      .split('\n')
      .filter((line) => line.length > 80 && line.trim().includes(' '));
    expect(wide).toEqual([]);
  });
});

// The interactive session, answered from a script: what a person meets, from the list of namespaces to the way back.
import { cp, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { observe } from '../../src/cli/commands/observe.ts';
import { plan } from '../../src/cli/commands/plan.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import { cancelled, openInterrupt } from '../../src/cli/interrupt.ts';
import type { Interrupt } from '../../src/cli/interrupt.ts';
import type { Output } from '../../src/cli/output.ts';
import type { Prompts } from '../../src/cli/prompts.ts';
import { runSession } from '../../src/cli/session/session.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
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

function scripted(script: Script, asked: string[]): Prompts {
  const left = [...script];
  const next = (question: string): string => {
    const answer = left.shift();
    if (answer === undefined) throw new Error(`the script has no answer to: ${question}`);
    if (answer === '^C') throw cancelled();
    return answer;
  };
  return {
    // eslint-disable-next-line @typescript-eslint/require-await -- answers come at once
    select: async (message, choices) => {
      const names = choices.map((choice) => choice.name);
      asked.push([message, ...names].join('\n'));
      const answer = next(message).replace(/^> /, '');
      const found = choices.filter((choice) => choice.name.includes(answer));
      const [choice] = found;
      if (choice === undefined || found.length > 1)
        throw new Error(`"${answer}" picks ${found.length} of: ${names.join(' | ')}`);
      return choice.value;
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
  };
}

async function play(
  options: GlobalOptions,
  script: Script,
  onNote?: (text: string, interrupt: Interrupt) => void,
): Promise<Played> {
  const interrupt = openInterrupt();
  const { output, lines, notes } = quiet((text) => onNote?.(text, interrupt));
  const asked: string[] = [];
  const exit = await withApp(options, interrupt, output, async (app) => {
    try {
      return await runSession(app, scripted(script, asked));
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
  '> It may be cut',
  '= a forgotten toolbox',
];

describe('the session', () => {
  it('lists namespaces with their phase, and leaves', async () => {
    const played = await play(await place('list'), ['> Leave']);
    expect(played.exit).toBe(0);
    expect(played.asked).toHaveLength(1);
    expect(played.asked[0]).toMatch(/shop +none +2 workloads/);
    expect(played.asked[0]).toMatch(/desk +none +1 workload/);
  });

  it('writes the assessment report into the folder it was started in, and says by which command', async () => {
    const options = await place('report');
    const started = process.cwd();
    process.chdir(join(home, 'report'));
    try {
      const played = await play(options, ['> Write the assessment report', '> Leave']);
      expect(played.exit).toBe(0);
      expect(played.shown).toContain('$ sallyport assess -o report.html');
    } finally {
      process.chdir(started);
    }
    expect(await readFile(join(home, 'report', 'report.html'), 'utf8')).toMatch(/^<!doctype html>[^]*shop/i);
    expect((await stat(join(home, 'report', 'report.html'))).mode & 0o777).toBe(0o600);
  });

  it('shows readiness with reasons and what would help', async () => {
    const played = await play(await place('ready'), [
      SHOP,
      '> Advance to monitor',
      'yes',
      '> Readiness for allow-list',
      '> Another namespace',
      '> Leave',
    ]);
    expect(played.shown).toMatch(/review .*\n.*desk\/Deployment\/toolbox -> shop\/Deployment\/db 5432\/TCP/);
    expect(played.shown).toMatch(/seen on one day only/);
    expect(played.shown).toMatch(/fix: sallyport adopt\|accept/);
    expect(played.shown).toMatch(/Not ready: \d+ gates? to answer first/);
  });

  it('shows a refusal and goes on', async () => {
    const played = await play(await place('refused'), [
      SHOP,
      '> Advance further',
      '> allow-list',
      '> History',
      '> Another namespace',
      '> Leave',
    ]);
    expect(played.exit).toBe(0);
    expect(played.noted).toMatch(/cannot go from none to allow-list.*\(SP600\)/s);
  });

  it('plans with diff, simulated effect and the hash that flags alone give', async () => {
    const options = await place('plan');
    const played = await play(options, [SHOP, '> Plan to monitor', '> Another namespace', '> Leave']);
    expect(played.shown).toMatch(/\+ sallyport\.dev\/monitored: "true"/);
    expect(played.shown).toMatch(/Simulated: \d+ edges? in 1 state; 0 denied/);
    const { output, lines } = quiet();
    await withApp(options, openInterrupt(), output, (app) => plan(app, 'shop', {}));
    const hash = /Plan hash ([0-9a-f]{64})/.exec(lines.join('\n'))?.[1];
    expect(hash).toBeDefined();
    expect(played.shown).toContain(`Plan hash ${hash ?? '?'}`);
  });

  it('writes nothing unless it is confirmed', async () => {
    const options = await place('unconfirmed');
    const before = await readTree(options.manifests ?? '');
    const played = await play(options, [SHOP, '> Advance to monitor', 'no', '> Another namespace', '> Leave']);
    expect(played.noted).toMatch(/not confirmed; nothing was written/);
    expect(played.exit).toBe(0);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
  });

  it('takes a waiver with its reason, and the gate is met', async () => {
    const played = await play(await place('waived'), [
      SHOP,
      '> Advance to monitor',
      'yes',
      '> Waive a gate',
      '> review ',
      '= seen to be harmless',
      '> Readiness for allow-list',
      '> Another namespace',
      '> Leave',
    ]);
    expect(played.shown).toMatch(/\$ sallyport waive gate=review,subject=\w+ --reason 'seen to\s+be\s+harmless'/);
    expect(played.shown).toMatch(/Waived \(1\):.*waived: seen to be harmless/s);
    expect(played.shown).toMatch(/Ready\.$/m);
  });

  it('reviews, advances, verifies, tells the history, and goes all the way back', async () => {
    const options = await place('whole');
    const before = await readTree(options.manifests ?? '');
    const played = await play(options, [
      ...ENTER_ALLOW_LIST,
      '> Advance to allow-list',
      'yes',
      '> Verify',
      '> Workloads',
      '> Go back to the start',
      'yes',
      '> History',
      '> Another namespace',
      '> Leave',
    ]);
    expect(played.noted).not.toMatch(/SP\d/);
    expect(played.shown).toMatch(/Phase:\s+allow-list/);
    expect(played.shown).toMatch(/No drift/);
    expect(played.shown).toMatch(/Deployment\/web +unknown; mesh: no sidecar/);
    expect(played.shown).toMatch(/Phase:\s+none/);
    expect(played.shown).toMatch(/accept .*a forgotten toolbox/s);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
    // The reason given once stands beside the frozen list of what it was about.
    expect(played.shown).toMatch(/accept: src=desk\/Deployment\/toolbox,ns=shop, 1 edge/);
  });

  it('takes up a run that was interrupted', async () => {
    const options = await place('interrupted');
    const stopped = await play(options, [...ENTER_ALLOW_LIST, '> Advance to allow-list', 'yes'], (text, interrupt) => {
      if (text.startsWith('[2/')) interrupt.stop();
    });
    expect(stopped.exit).toBe(130);
    expect(stopped.noted).toMatch(/sallyport\s+resume, or sallyport\s+rollback\s+shop/);
    const resumed = await play(options, ['> Resume the advance of shop', '> Leave']);
    expect(resumed.exit).toBe(0);
    expect(resumed.shown).toMatch(/Phase:\s+allow-list/);
    expect(resumed.asked[1]).toMatch(/shop +allow-list/);
  });

  it.each([
    ['the list', ['^C']],
    ['a namespace', [SHOP, '^C']],
    ['the phase', [SHOP, '> Advance further', '^C']],
    ['the confirmation', [SHOP, '> Advance to monitor', '^C']],
    ['the review', [SHOP, '> Review', '^C']],
    ['the reason', [SHOP, '> Review', '> It may be cut', '^C']],
  ])('is left by Ctrl-C with exit 130, nothing written: at %s', async (name, script) => {
    const options = await place(`left-${name.replaceAll(' ', '-')}`);
    const before = await readTree(options.manifests ?? '');
    expect((await play(options, script)).exit).toBe(130);
    expect(await readTree(options.manifests ?? '')).toEqual(before);
  });

  it('keeps to 80 columns', async () => {
    const played = await play(await place('narrow'), [
      SHOP,
      '> Readiness',
      '> Plan to monitor',
      '> Advance further',
      '> identity',
      '> Workloads',
      '> Another namespace',
      '> Leave',
    ]);
    // A word to be copied, such as a query, stays whole.
    const wide = `${played.shown}\n${played.noted}\n${played.asked.join('\n')}`
      .split('\n')
      .filter((line) => line.length > 80 && line.trim().includes(' '));
    expect(wide).toEqual([]);
  });
});

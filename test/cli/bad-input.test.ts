// What a user can get wrong: one clear message each, with where, the next command, the exit code of its class and its own code.
import { copyFile, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { beforeAll, describe, expect, it } from 'vitest';
import { CLUSTER, CONFIG, EDGES, KUBECONFIG, documentOf, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const HERE = ['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml'];
let home = '';
/** With a state of its own: the cases run beside each other, and one that imports holds the state for a moment. */
const ALONE = ['--manifests', 'cluster', '--state', 'alone.sqlite', '--config', 'config.yaml'];
const run = (args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended> =>
  sallyport(args, { home, ...(env === undefined ? {} : { env }) });

function decisionsFile(action: string, query: string, at = '2026-10-11T00:00:00Z'): string {
  return `decisions: [{action: ${action}, query: "${query}", reason: why, by: me, at: "${at}"}]\n`;
}

beforeAll(async () => {
  const zipped = gzipSync(EDGES);
  home = await makeHome({
    ...CLUSTER,
    'broken/ok.yaml': CLUSTER['cluster/shop.yaml'] ?? '',
    'broken/bad.yaml': 'a: [1\nb: }\n',
    'config.yaml': CONFIG,
    'edges.jsonl': EDGES,
    'cut.jsonl.gz': zipped.subarray(0, zipped.length - 20),
    'mixed.jsonl': `${EDGES}\nnot json\n`,
    kubeconfig: KUBECONFIG,
    'kubeconfig-torn': 'users: [{name: u, user: {token: "s3cr3t}}]',
    'garbage.sqlite': 'this is no database, and long enough to be looked at\n'.repeat(20),
    'empty.sqlite': '',
    'config-key.yaml': 'gates: {coverage: 0.05, reveiw: off}\n',
    'config-value.yaml': 'gates: {window: soon}\n',
    'config-torn.yaml': 'gates: {window: 1\n',
    'decisions-bad.yaml': 'decisions: [{action: allow, query: "src=x", reason: "", by: me, at: 2026-10-01}]\n',
    'decisions-waive-src.yaml': decisionsFile('waive', 'gate=soak,src=x'),
    'decisions-accept-gate.yaml': decisionsFile('accept', 'gate=soak'),
    'decisions-every.yaml': decisionsFile('waive', 'gate=*'),
    'decisions-future.yaml': decisionsFile('accept', 'src=shop/*', '9999-01-01T00:00:00Z'),
    'decisions-nothing.yaml': decisionsFile('accept', 'src=nobody/*'),
    'decisions-query.yaml':
      'decisions: [{action: accept, query: "source=x", reason: why, by: me, at: "2026-10-01T00:00:00Z"}]\n',
  });
  expect(await run(['observe', 'edges', 'edges.jsonl', ...HERE])).toMatchObject({
    code: 0,
    stderr: 'reading edges.jsonl\n',
  });
  await copyFile(join(home, 'state.sqlite'), join(home, 'newer.sqlite'));
  const database = new Database(join(home, 'newer.sqlite'));
  database.pragma('user_version = 99');
  database.close();
});

interface Case {
  readonly name: string;
  readonly args: readonly string[];
  readonly exit: number;
  readonly code: string;
  /** In the message. */
  readonly says: RegExp;
  readonly where?: RegExp;
  readonly hint: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

const KUBE: readonly Case[] = [
  {
    name: 'a kubeconfig that does not exist',
    args: ['inventory', '--kubeconfig', 'nowhere'],
    exit: 2,
    code: 'SP271',
    says: /does not exist/,
    where: /^nowhere$/,
    hint: /--kubeconfig/,
  },
  {
    name: 'a kubeconfig that cannot be read',
    args: ['inventory', '--kubeconfig', 'cluster'],
    exit: 2,
    code: 'SP271',
    says: /is a directory/,
    where: /^cluster$/,
    hint: /--kubeconfig/,
  },
  {
    name: 'no kubeconfig at all',
    args: ['status'],
    exit: 2,
    code: 'SP270',
    says: /no kubeconfig/,
    hint: /--manifests DIR/,
  },
  {
    name: 'a kubeconfig that is not YAML, without quoting the token in it',
    args: ['status', '--kubeconfig', 'kubeconfig-torn'],
    exit: 2,
    code: 'SP272',
    says: /not YAML at line 1/,
    where: /kubeconfig-torn/,
    hint: /kubectl config view/,
  },
  {
    name: 'an unknown context',
    args: ['inventory', '--kubeconfig', 'kubeconfig', '--context', 'two'],
    exit: 2,
    code: 'SP273',
    says: /two/,
    hint: /one/,
  },
  {
    name: 'a state home that cannot be written',
    args: ['status', '--manifests', 'cluster'],
    env: { XDG_STATE_HOME: '/dev/null' },
    exit: 5,
    code: 'SP506',
    says: /ENOTDIR|not a directory/,
    where: /\/dev\/null/,
    hint: /--state/,
  },
];

const FILES: readonly Case[] = [
  {
    name: 'a directory of manifests that does not exist',
    args: ['inventory', '--manifests', 'nowhere'],
    exit: 2,
    code: 'SP210',
    says: /no such directory/,
    where: /^nowhere$/,
    hint: /name a directory of Kubernetes manifests/,
  },
  {
    name: 'a directory of manifests that does not exist, where the state alone is asked',
    args: ['status', '--manifests', 'nowhere'],
    exit: 2,
    code: 'SP210',
    says: /no such directory/,
    where: /^nowhere$/,
    hint: /name a directory of Kubernetes manifests/,
  },
  {
    name: 'a file where a directory of manifests is meant',
    args: ['inventory', '--manifests', 'config.yaml'],
    exit: 2,
    code: 'SP210',
    says: /not a directory/,
    where: /^config\.yaml$/,
    hint: /name a directory of Kubernetes manifests/,
  },
  {
    name: 'a namespace that is not there',
    args: ['plan', 'shpo', ...HERE],
    exit: 2,
    code: 'SP215',
    says: /no namespace shpo/,
    where: /directory of manifests/,
    hint: /desk, kube-system, shop/,
  },
  {
    name: 'a namespace that is not there, going back',
    args: ['rollback', 'shpo', ...HERE],
    exit: 2,
    code: 'SP215',
    says: /no namespace shpo/,
    hint: /shop/,
  },
  {
    name: 'an input that does not exist, and one that is a directory, at once',
    args: ['observe', 'edges', 'nowhere.jsonl', 'cluster', ...HERE],
    exit: 2,
    code: 'SP219',
    says: /nowhere\.jsonl cannot be read: it does not exist; cluster cannot be read: it is a directory/,
    where: /nowhere\.jsonl, cluster/,
    hint: /standard input/,
  },
  {
    name: 'a source that there is not',
    args: ['observe', 'netflow', 'edges.jsonl', ...HERE],
    exit: 2,
    code: 'SP217',
    says: /netflow/,
    hint: /hubble, .*, edges/,
  },
  {
    name: 'a gzip that breaks off',
    args: ['observe', 'edges', 'cut.jsonl.gz', ...HERE],
    exit: 2,
    code: 'SP242',
    says: /break off/,
    where: /^cut\.jsonl\.gz:\d+$/,
    hint: /--bad-records skip/,
  },
  {
    name: 'a line that is not JSON',
    args: ['observe', 'edges', 'mixed.jsonl', ...ALONE],
    exit: 2,
    code: 'SP241',
    says: /not a JSON record/,
    where: /^mixed\.jsonl:11$/,
    hint: /--bad-records skip/,
  },
  {
    name: 'a state that is no state',
    args: ['status', '--manifests', 'cluster', '--state', 'garbage.sqlite'],
    exit: 5,
    code: 'SP502',
    says: /not a state file/,
    where: /garbage\.sqlite/,
    hint: /--state/,
  },
  {
    name: 'an empty file for a state',
    args: ['status', '--manifests', 'cluster', '--state', 'empty.sqlite'],
    exit: 5,
    code: 'SP502',
    says: /empty/,
    where: /empty\.sqlite/,
    hint: /copy/,
  },
  {
    name: 'a state of a newer version',
    args: ['status', '--manifests', 'cluster', '--state', 'newer.sqlite'],
    exit: 5,
    code: 'SP504',
    says: /version 99/,
    where: /newer\.sqlite/,
    hint: /newer sallyport/,
  },
  {
    name: 'the state of another cluster',
    args: ['plan', 'shop', '--manifests', 'broken', '--state', 'state.sqlite'],
    exit: 5,
    code: 'SP505',
    says: /belongs to directory .*cluster/,
    where: /state\.sqlite/,
    hint: /--manifests/,
  },
  {
    name: 'an unknown key of the configuration',
    args: ['plan', 'shop', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config-key.yaml'],
    exit: 2,
    code: 'SP212',
    says: /gates: .*reveiw/,
    where: /^config-key\.yaml:1:25$/,
    hint: /Configuration/,
  },
  {
    name: 'an impossible value of the configuration',
    args: ['plan', 'shop', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config-value.yaml'],
    exit: 2,
    code: 'SP212',
    says: /gates\.window/,
    where: /^config-value\.yaml:1:9$/,
    hint: /Configuration/,
  },
  {
    name: 'a configuration that is not YAML',
    args: ['plan', 'shop', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config-torn.yaml'],
    exit: 2,
    code: 'SP211',
    says: /not YAML/,
    where: /^config-torn\.yaml:\d+:\d+$/,
    hint: /line/,
  },
  {
    name: 'a configuration that does not exist',
    args: ['plan', 'shop', '--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'nowhere.yaml'],
    exit: 2,
    code: 'SP231',
    says: /it does not exist/,
    where: /^nowhere\.yaml$/,
    hint: /--config/,
  },
  {
    name: 'a decision that is none',
    args: ['plan', 'shop', ...HERE, '--decisions', 'decisions-bad.yaml'],
    exit: 2,
    code: 'SP212',
    says: /decisions\.0\.action.*decisions\.0\.reason/,
    where: /^decisions-bad\.yaml:1:14$/,
    hint: /README/,
  },
  {
    name: 'a decisions file that waives by edges',
    args: ['plan', 'shop', ...HERE, '--decisions', 'decisions-waive-src.yaml'],
    exit: 2,
    code: 'SP120',
    says: /unknown key "src"/,
    where: /decisions-waive-src\.yaml, decision 1/,
    hint: /./,
  },
  {
    name: 'a decisions file that accepts a gate',
    args: ['plan', 'shop', ...HERE, '--decisions', 'decisions-accept-gate.yaml'],
    exit: 2,
    code: 'SP120',
    says: /unknown key "gate"/,
    where: /decisions-accept-gate\.yaml, decision 1/,
    hint: /./,
  },
  {
    name: 'a decisions file that waives every gate',
    args: ['plan', 'shop', ...HERE, '--decisions', 'decisions-every.yaml'],
    exit: 2,
    code: 'SP232',
    says: /no gate "\*" to waive/,
    where: /decisions-every\.yaml, decision 1/,
    hint: /./,
  },
  {
    name: 'a decisions file from the future',
    args: ['plan', 'shop', ...HERE, '--decisions', 'decisions-future.yaml'],
    exit: 2,
    code: 'SP212',
    says: /lies in the future/,
    where: /decisions-future\.yaml, decision 1/,
    hint: /./,
  },
  {
    name: 'a decision with a query that is none',
    args: ['plan', 'shop', ...HERE, '--decisions', 'decisions-query.yaml'],
    exit: 2,
    code: 'SP120',
    says: /unknown key "source"/,
    where: /decisions-query\.yaml, decision 1/,
    hint: /src dst/,
  },
  {
    name: 'states that cannot be written',
    args: ['plan', 'shop', ...HERE, '--states', 'config.yaml'],
    exit: 2,
    code: 'SP228',
    says: /states cannot be written/,
    where: /^config\.yaml$/,
    hint: /--states/,
  },
];

const CALLS: readonly Case[] = [
  {
    name: 'an unknown command',
    args: ['pln', 'shop'],
    exit: 2,
    code: 'SP101',
    says: /did you mean plan\?/,
    where: /sallyport pln shop/,
    hint: /sallyport --help/,
  },
  {
    name: 'an unknown flag',
    args: ['plan', 'shop', '--sates', 'x'],
    exit: 2,
    code: 'SP102',
    says: /did you mean --state/,
    hint: /sallyport plan --help/,
  },
  {
    name: 'a flag without its value',
    args: ['plan', 'shop', '--to'],
    exit: 2,
    code: 'SP103',
    says: /--to needs a value/,
    hint: /plan --help/,
  },
  {
    name: 'a flag that swallows the next one',
    args: ['accept', 'src=x', '--reason', '--yes'],
    exit: 2,
    code: 'SP103',
    says: /--reason needs a value/,
    hint: /accept --help/,
  },
  {
    name: 'a value that is none of the choices',
    args: ['observe', 'edges', '--bad-records', 'maybe'],
    exit: 2,
    code: 'SP104',
    says: /abort, skip/,
    hint: /observe --help/,
  },
  { name: 'a missing argument', args: ['plan'], exit: 2, code: 'SP105', says: /ns \(namespace\)/, hint: /plan --help/ },
  {
    name: 'an argument too many',
    args: ['plan', 'shop', 'desk'],
    exit: 2,
    code: 'SP106',
    says: /2 arguments where 1 is taken/,
    hint: /plan --help/,
  },
  {
    name: 'a time that is none',
    args: ['plan', 'shop', '--now', 'yesterday'],
    exit: 2,
    code: 'SP213',
    says: /--now yesterday is not a time/,
    hint: /plan --help/,
  },
  {
    name: 'a phase that there is not',
    args: ['advance', 'shop', '--to', 'allowlist'],
    exit: 2,
    code: 'SP223',
    says: /did you mean allow-list\?.*monitor, allow-list/,
    hint: /advance --help/,
  },
  {
    name: 'several mistakes, all at once',
    args: ['plan', '--frob', '--now', 'soon', '--to', 'zero', '--config'],
    exit: 2,
    code: 'SP100',
    says: /^5 mistakes: .*--frob.*--now soon.*no phase zero.*--config needs.*missing: ns/,
    hint: /plan --help/,
  },
  {
    name: 'a phase that is not ahead',
    args: ['advance', 'shop', '--to', 'none', ...HERE],
    exit: 2,
    code: 'SP224',
    says: /in phase none, and none does not lie ahead/,
    hint: /verify shop/,
  },
  {
    name: 'nothing to go back from',
    args: ['rollback', 'shop', ...HERE],
    exit: 2,
    code: 'SP222',
    says: /nothing to take back/,
    hint: /status/,
  },
  {
    name: 'a decision without its reason',
    args: ['accept', 'src=desk/*', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /--reason is missing/,
    hint: /accept --help/,
  },
  {
    name: 'a bad query and no reason, both at once',
    args: ['adopt', 'from=desk/*', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /^2 mistakes: .*--reason.*unknown key "from"/,
    hint: /adopt --help/,
  },
  {
    name: 'a key that edges do not have',
    args: ['accept', 'gate=review', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP120',
    says: /unknown key "gate"/,
    hint: /ns src dst port verdict before/,
  },
  {
    name: 'a waiver of a denial',
    args: ['waive', 'gate=denies-observed', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /a denial is not waived/,
    hint: /waive --help/,
  },
  {
    name: 'a waiver of a whole namespace',
    args: ['waive', 'ns=shop', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /gate=\.\.\. or subject=/,
    hint: /waive --help/,
  },
  {
    name: 'a waiver of every gate',
    args: ['waive', 'gate=*', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /no gate "\*" to waive: it is one of window, coverage, .*selector, expressible, service-account/,
    hint: /waive --help/,
  },
  {
    name: 'a waiver of a gate that does not exist',
    args: ['waive', 'gate=typo,subject=shop/x', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /no gate "typo" to waive/,
    hint: /waive --help/,
  },
  {
    name: 'a waiver of every subject',
    args: ['waive', 'subject=*', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /one unreadable file/,
    hint: /waive --help/,
  },
  {
    name: 'a waiver of a file that can be read',
    args: ['waive', 'subject=shop.yaml', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /shop\.yaml is none/,
    hint: /gate=/,
  },
  {
    name: 'a waiver of a gate of workloads without a subject',
    args: ['waive', 'gate=plaintext,ns=shop', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /gate plaintext is waived for a subject/,
    hint: /waive --help/,
  },
  {
    name: 'a waiver across namespaces',
    args: ['waive', 'gate=unseen-workloads,subject=sh*/Deployment/web', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP220',
    says: /namespace of the subject .* is spelled out/,
    hint: /waive --help/,
  },
  {
    name: 'a query that matches nothing',
    args: ['accept', 'src=nobody/*', '--reason', 'why', ...HERE],
    exit: 2,
    code: 'SP221',
    says: /no edge on record matches/,
    hint: /sallyport flows/,
  },
  {
    name: 'the session without a terminal',
    args: [...HERE],
    exit: 2,
    code: 'SP227',
    says: /needs a terminal/,
    hint: /--help/,
  },
];

describe('refuses, with a message, a place and a next step:', () => {
  it.concurrent.each([...KUBE, ...FILES, ...CALLS])('$name', async (one) => {
    const ended = await run([...one.args, '--json'], one.env);
    const document = documentOf(ended);
    const error = document['error'] as Readonly<Record<'code' | 'message' | 'where' | 'hint', string>>;
    expect({ exit: ended.code, kind: document.kind, code: error.code }).toEqual({
      exit: one.exit,
      kind: 'Error',
      code: one.code,
    });
    expect(error.message).toMatch(one.says);
    if (one.where !== undefined) expect(error.where).toMatch(one.where);
    expect(error.hint).toMatch(one.hint);
    // People read the same on standard error, and never our insides.
    expect(ended.stderr).toContain(`(${one.code})`);
    expect(ended.stderr).toMatch(/^ {2}next: /m);
    expect(ended.stderr + ended.stdout).not.toMatch(/^\s+at .*\.[jt]s:\d+/m);
    expect(ended.stderr + ended.stdout).not.toContain('s3cr3t');
  });

  it.concurrent('on standard error alone where no document was asked for', async () => {
    const ended = await run(['plan', 'shpo', ...HERE]);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toMatch(/no namespace shpo \(SP215\)/);
  });
});

/** A state of its own, as after the import: a run locks it. */
async function fresh(name: string): Promise<readonly string[]> {
  await copyFile(join(home, 'state.sqlite'), join(home, `${name}.sqlite`));
  return ['--manifests', 'cluster', '--state', `${name}.sqlite`, '--config', 'config.yaml'];
}

describe('a run that may not begin', () => {
  const gatesOf = (ended: Ended): readonly string[] =>
    (documentOf(ended)['gates'] as readonly { id: string; answer: string }[])
      .filter((gate) => gate.answer !== 'yes')
      .map((gate) => gate.id);

  it.concurrent('is one document with its gates when a gate refuses, exit 3', async () => {
    const ended = await run(['advance', 'shop', '--to', 'allow-list', '--yes', '--json', ...(await fresh('refused'))]);
    expect(ended.code).toBe(3);
    expect(documentOf(ended)).toMatchObject({
      kind: 'Run',
      run: null,
      outcome: 'refused',
      phase: 'none',
      done: [],
      error: { code: 'SP600' },
    });
    expect(gatesOf(ended)).toContain('review');
  });

  it.concurrent('shows the gates to people before it refuses', async () => {
    const ended = await run(['advance', 'shop', '--to', 'allow-list', '--yes', ...(await fresh('shown'))]);
    expect(ended.code).toBe(3);
    expect(ended.stdout).toMatch(/Gates that stop it/);
    expect(ended.stdout).toContain('desk/Deployment/toolbox');
    expect(ended.stderr).toMatch(/SP600/);
  });

  it.concurrent('does not ask where nobody can answer: exit 2 once the gates are met', async () => {
    const ended = await run(['advance', 'shop', '--json', ...(await fresh('unasked'))]);
    expect(ended.code).toBe(2);
    expect(documentOf(ended)).toMatchObject({ kind: 'Run', outcome: 'refused', error: { code: 'SP225' } });
    expect(gatesOf(ended)).toEqual([]);
    expect(ended.stderr).toMatch(/--yes/);
  });

  it.concurrent('refuses a plan that is not the one confirmed, exit 3', async () => {
    const place = await fresh('stale');
    const ended = await run(['advance', 'shop', '--yes', '--plan-hash', '0123456789ab', '--json', ...place]);
    expect(ended.code).toBe(3);
    expect(documentOf(ended)).toMatchObject({ kind: 'Run', outcome: 'refused', error: { code: 'SP605' } });
    expect((await run(['status', '--json', ...place])).stdout).toContain('"namespaces": []');
  });
});

describe('a bad record', () => {
  it('imports nothing of the good ones either, unless it is skipped and counted', async () => {
    const place = ['--manifests', 'cluster', '--state', 'fresh.sqlite'];
    expect((await run(['observe', 'edges', 'mixed.jsonl', ...place])).code).toBe(2);
    expect(documentOf(await run(['flows', '--json', ...place]))['edges']).toEqual([]);
    const skipped = await run(['observe', 'edges', 'mixed.jsonl', '--bad-records', 'skip', '--json', ...place]);
    expect(skipped.code).toBe(0);
    expect(documentOf(skipped)).toMatchObject({ records: 10, bad: 1, edges: { added: 2 } });
  });
});

describe('a manifest that is not YAML', () => {
  const place = ['--manifests', 'broken', '--state', 'broken.sqlite', '--config', 'config.yaml'];

  it('is a finding of the inventory, stops the plan, and stops it no more once it is waived', async () => {
    const inventory = await run(['inventory', '--json', ...place]);
    expect(inventory.code).toBe(0);
    const document = documentOf(inventory) as unknown as {
      readonly workloads: readonly unknown[];
      readonly findings: readonly { readonly code: string; readonly where?: string }[];
    };
    expect(document.workloads).toHaveLength(2);
    expect(document.findings.find((one) => one.code === 'SP302')?.where).toMatch(/^bad\.yaml:\d+/);

    const refused = await run(['plan', 'shop', '--json', ...place]);
    expect(refused.code).toBe(2);
    expect(documentOf(refused)).toMatchObject({
      kind: 'Error',
      error: { code: 'SP216', hint: expect.stringContaining('sallyport waive subject=bad.yaml') as string },
    });

    expect((await run(['waive', 'subject=bad.yaml', '--reason', 'not ours', ...place])).code).toBe(0);
    const planned = await run(['plan', 'shop', '--json', ...place]);
    expect({ code: planned.code, kind: documentOf(planned).kind }).toEqual({ code: 0, kind: 'Plan' });
  });
});

describe('a decision of a file that is about no edge', () => {
  it('is remarked on, and the plan is made', async () => {
    const planned = await run(['plan', 'shop', '--json', ...HERE, '--decisions', 'decisions-nothing.yaml']);
    expect(planned).toMatchObject({ code: 0 });
    expect(planned.stderr).toBe('decisions-nothing.yaml: decision 1 matches nothing: src=nobody/*\n');
  });
});

describe('a decision on the audit trail', () => {
  it('names the edges that were frozen', async () => {
    const place = ['--manifests', 'cluster', '--state', 'trail.sqlite', '--config', 'config.yaml'];
    await run(['observe', 'edges', 'edges.jsonl', ...place]);
    expect((await run(['accept', 'src=desk/*', '--reason', 'gone', ...place])).code).toBe(0);
    const trail = documentOf(await run(['audit', '--json', ...place]))['entries'] as readonly Record<string, string>[];
    expect(trail.find((entry) => entry['what'] === 'accept')?.['object']).toMatch(
      /^src=desk\/\* \(1 edge: [0-9a-f]+ desk\/Deployment\/toolbox -> shop\/Deployment\/db 5432\/TCP\)$/,
    );
  });
});

describe('the states of a plan', () => {
  it('are for their owner alone', async () => {
    expect((await run(['plan', 'shop', ...HERE, '--states', 'states'])).code).toBe(0);
    const start = join(home, 'states', '000-start');
    for (const [path, mode] of [
      [start, 0o700],
      [join(start, 'shop.json'), 0o600],
    ] as const)
      expect((await stat(path)).mode & 0o777).toBe(mode);
  });
});

describe('text from files', () => {
  it('cannot speak to the terminal: escapes, line breaks and direction marks are neutralised', async () => {
    const evil = 'x\u001b[2J\u001b]0;owned\u0007\u202eevil\u009b31m';
    await writeFile(
      join(home, 'cluster', 'evil.json'),
      JSON.stringify({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: evil, namespace: 'desk', annotations: { note: evil } },
        spec: {
          selector: { matchLabels: { app: 'evil' } },
          template: {
            metadata: { labels: { app: 'evil' } },
            spec: { containers: [{ name: evil, image: `${evil}:1` }] },
          },
        },
      }),
    );

    const controls = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/u;
    for (const args of [['inventory'], ['inventory', '--json'], ['plan', evil], ['plan', evil, '--json']]) {
      const ended = await run([...args, '--manifests', 'cluster', '--state', 'state.sqlite']);
      expect(ended.stdout, args.join(' ')).not.toMatch(controls);
      expect(ended.stderr, args.join(' ')).not.toMatch(controls);
      expect(ended.stdout + ended.stderr, args.join(' ')).toContain('evil');
    }
  });
});

describe('a recording of namespaces that were not read', () => {
  const unnamed = (CLUSTER['cluster/shop.yaml'] ?? '').replaceAll(', namespace: shop', '');
  const observe = (...args: readonly string[]): Promise<Ended> => run(['observe', 'edges', 'edges.jsonl', ...args]);

  it('is imported, and says what it may be: manifests that name no namespace, or another cluster', async () => {
    await mkdir(join(home, 'unnamed'), { recursive: true });
    await writeFile(join(home, 'unnamed/all.yaml'), unnamed);
    const guessed = await observe('--manifests', 'unnamed', '--state', 'unnamed.sqlite');
    expect([guessed.code, guessed.stderr.replace(/\s+/g, ' ')]).toEqual([
      0,
      expect.stringMatching(/without a workload in the manifests: shop .*--default-namespace shop/),
    ]);
    const named = await observe('--manifests', 'unnamed', '--state', 'named.sqlite', '--default-namespace', 'shop');
    expect([named.code, named.stderr]).toEqual([0, 'reading edges.jsonl\n']);
    await mkdir(join(home, 'other'), { recursive: true });
    await writeFile(join(home, 'other/all.yaml'), (CLUSTER['cluster/desk.yaml'] ?? '').replaceAll('desk', 'lobby'));
    const other = await observe('--manifests', 'other', '--state', 'other.sqlite');
    expect(other.stderr).toMatch(/another cluster/);
  });
});

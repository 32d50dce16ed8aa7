// The program as a process: pipes that close, Ctrl-C, and what is loaded for a small question.
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import { CLUSTER, CONFIG, EDGES, KUBECONFIG, documentOf, makeHome, sallyport } from './shop.ts';

let home = '';
const at = (state: string): readonly string[] => [
  '--manifests',
  'cluster',
  '--state',
  `${state}.sqlite`,
  '--config',
  'config.yaml',
];

/** Writes the address of every module that is loaded; the program under it knows nothing of that. */
const SPY = `import { registerHooks } from 'node:module';
import { appendFileSync } from 'node:fs';
registerHooks({ load(url, context, next) { appendFileSync(process.env.SPY_FILE, url + '\\n'); return next(url, context); } });
`;

beforeAll(async () => {
  home = await makeHome({
    ...CLUSTER,
    'config.yaml': CONFIG,
    'edges.jsonl': EDGES,
    'spy.mjs': SPY,
    kubeconfig: KUBECONFIG,
    'decisions.yaml': `decisions:
  - {action: accept, query: "src=desk/*", reason: gone, by: me, at: "2026-10-10T00:00:00Z"}
  - {action: waive, query: "gate=unseen-workloads,subject=shop/*", reason: idle, by: me, at: "2026-10-10T00:00:00Z"}
  - {action: waive, query: "gate=unknown,subject=shop", reason: small sample, by: me, at: "2026-10-10T00:00:00Z"}
`,
  });
});

describe('a reader that closes the pipe', () => {
  it.each([
    ['the help', ['--help']],
    ['a long table', ['inventory', '--manifests', 'cluster', '--state', 'pipe.sqlite']],
    ['a document', ['inventory', '--manifests', 'cluster', '--state', 'pipe.sqlite', '--json']],
  ])('ends the output and nothing else: %s', async (_, args) => {
    const ended = await sallyport(args, {
      home,
      onStart: (child) => {
        child.stdout?.destroy();
      },
    });
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
  });
});

describe('Ctrl-C', () => {
  it('leaves an import that waits for input: exit 130, one document, nothing imported', async () => {
    let sent = false;
    const ended = await sallyport(['observe', 'edges', '-', '--json', ...at('observed')], {
      home,
      waiting: true,
      onStderr: (all, child) => {
        if (sent || !all.includes('reading standard input')) return;
        sent = true;
        child.kill('SIGINT');
      },
    });
    expect(ended.code).toBe(130);
    expect(documentOf(ended)).toMatchObject({ kind: 'Error', error: { code: 'SP130' } });
    expect(ended.stderr).toMatch(/nothing was imported/);
    const flows = await sallyport(['flows', '--json', ...at('observed')], { home });
    expect(documentOf(flows)['edges']).toEqual([]);
  });

  it('ends a run between two steps; resume goes on, and the way back is byte for byte', async () => {
    const start = await readTree(join(home, 'cluster'));
    const place = [...at('run'), '--decisions', 'decisions.yaml'];
    expect((await sallyport(['observe', 'edges', 'edges.jsonl', ...place], { home })).code).toBe(0);
    let sent = false;
    const ended = await sallyport(['advance', 'shop', '--to', 'identity', '--yes', '--json', ...place], {
      home,
      onStderr: (all, child) => {
        if (sent || !all.includes('[1/')) return;
        sent = true;
        child.kill('SIGINT');
      },
    });
    expect(ended.stderr).toMatch(/stopping after this step/);
    expect(ended.stderr).toMatch(/sallyport resume, or sallyport\s+rollback shop/);
    expect(ended.code).toBe(130);
    const run = documentOf(ended);
    expect(run).toMatchObject({ kind: 'Run', outcome: 'cancelled', failed: [] });
    expect(run['done']).not.toEqual([]);
    expect(run['notRun']).not.toEqual([]);

    const status = await sallyport(['status', ...at('run')], { home });
    expect(status.stdout).toMatch(/was interrupted/);
    expect((await sallyport(['advance', 'shop', '--yes', ...place], { home })).stderr).toMatch(/SP607/);

    const resumed = await sallyport(['resume', '--json', ...place], { home });
    expect({ code: resumed.code, document: documentOf(resumed) }).toMatchObject({
      code: 0,
      document: { kind: 'Run', outcome: 'done', phase: 'identity', notRun: [] },
    });
    const back = await sallyport(['rollback', 'shop', '--to', 'none', '--yes', '--json', ...place], { home });
    expect({ code: back.code, document: documentOf(back) }).toMatchObject({ code: 0, document: { phase: 'none' } });
    expect(await readTree(join(home, 'cluster'))).toEqual(start);
  });
});

describe('what is loaded', () => {
  async function loaded(args: readonly string[], name: string): Promise<readonly string[]> {
    const file = join(home, name);
    const ended = await sallyport(args, {
      home,
      env: { NODE_OPTIONS: `--import=${join(home, 'spy.mjs')}`, SPY_FILE: file },
    });
    expect(ended).toMatchObject({ code: 0 });
    return (await readFile(file, 'utf8')).split('\n');
  }
  const HEAVY = /node_modules\/(@kubernetes|@opentelemetry|inquirer|@inquirer|listr2|better-sqlite3|zod)\//;

  it('help needs the command table and nothing heavy', async () => {
    const urls = await loaded(['--help'], 'help.txt');
    expect(urls.filter((url) => HEAVY.test(url))).toEqual([]);
    expect(urls.filter((url) => url.includes('commander')).length).toBeGreaterThan(0);
  });

  it('status of a cluster whose identity is remembered needs neither the client nor the cluster', async () => {
    // As written by the first look at that cluster: context, server and the hash of no CA.
    const key = createHash('sha256').update(['one', 'https://127.0.0.1:1', ''].join('\n')).digest('hex');
    await mkdir(join(home, 'xdg', 'sallyport'), { recursive: true });
    await writeFile(join(home, 'xdg', 'sallyport', 'clusters.json'), JSON.stringify({ [key]: 'uid-1' }));
    const urls = await loaded(['status', '--kubeconfig', 'kubeconfig'], 'status.txt');
    expect(urls.some((url) => url.includes('better-sqlite3'))).toBe(true);
    expect(
      urls.filter((url) => /@kubernetes|@opentelemetry|inquirer|listr2|zod|src\/inventory|phases\//.test(url)),
    ).toEqual([]);
  });

  it('a directory of manifests needs no client of a cluster', async () => {
    const urls = await loaded(['inventory', '--manifests', 'cluster', '--state', 'loaded.sqlite'], 'inventory.txt');
    expect(urls.filter((url) => url.includes('@kubernetes'))).toEqual([]);
  });
});

// Every namespace in the order of waves, and one summary over several clusters.
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';

let home = '';
async function expected(code: number, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const ended = await sallyport([...args, '--json'], { home });
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return documentOf(ended);
}
const FLAGS = ['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml'];

beforeAll(async () => {
  home = await makeHome({
    ...CLUSTER,
    'config.yaml': CONFIG,
    'strict.yaml': CONFIG.replace(/gates: .*/u, 'gates: {window: 10000}'),
    'edges.jsonl': EDGES,
    'fleet.yaml': `clusters:
  - {name: one, manifests: cluster, state: state.sqlite, config: config.yaml}
  - {name: gone, manifests: nowhere}
`,
    'wrong.yaml': 'clusters: [{name: one, manifests: a, context: b}]\n',
  });
  await expected(0, ...FLAGS, 'observe', 'edges', 'edges.jsonl');
  await expected(0, ...FLAGS, 'adopt', 'src=desk/*', '--reason', 'it belongs there');
});

describe('advance --all', () => {
  it.each([
    ['no namespace', ['advance']],
    ['no phase', ['advance', '--all']],
    ['a namespace beside it', ['advance', 'shop', '--all', '--to', 'monitor']],
    ['the hash of one plan', ['advance', '--all', '--to', 'monitor', '--plan-hash', 'abcdefabcdef']],
  ])('is refused with %s', async (_, args) => {
    expect(await expected(2, ...FLAGS, ...args)).toMatchObject({ error: { code: 'SP279' } });
  });

  it('moves the namespaces of the waves, has nothing to do the second time, and stops at a gate', async () => {
    const first = await expected(0, ...FLAGS, 'advance', '--all', '--to', 'monitor', '--yes', '--pause', '1s');
    const moved = first['moved'] as readonly { readonly namespace: string; readonly outcome: string }[];
    expect(moved.map(({ namespace }) => namespace).sort()).toEqual(['desk', 'shop']);
    expect(new Set(moved.map(({ outcome }) => outcome))).toEqual(new Set(['done']));
    expect(await expected(0, ...FLAGS, 'advance', '--all', '--to', 'monitor', '--yes')).toMatchObject({
      moved: [],
      left: [],
    });
    const strict = ['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'strict.yaml'];
    const stopped = await expected(3, ...strict, 'advance', '--all', '--to', 'allow-list', '--yes');
    expect(stopped['moved']).toMatchObject([{ exit: 3, outcome: 'refused', error: { code: 'SP600' } }]);
    expect(await expected(0, ...FLAGS, 'advance', '--all', '--to', 'permissive-mtls', '--yes')).toMatchObject({
      left: [],
    });
  });
});

describe('a fleet', () => {
  it('is summed up over what was read, and says what was not', async () => {
    const fleet = await expected(7, 'assess', '--fleet', 'fleet.yaml');
    expect(fleet).toMatchObject({
      kind: 'Fleet',
      clusters: [
        { name: 'one', outcome: 'read', workloads: 3 },
        { name: 'gone', outcome: 'failed', error: { code: 'SP210' } },
      ],
      totals: { clusters: 2, failed: 1, workloads: 3 },
    });
  });

  it.each(['html', 'md', 'json'])(
    'writes one report over all, and each cluster’s own beside it: %s',
    async (format) => {
      const file = `fleet-${format}.${format}`;
      const { clusters } = (await expected(7, 'assess', '--fleet', 'fleet.yaml', '-o', file)) as unknown as {
        readonly clusters: readonly { readonly file?: string }[];
      };
      expect(clusters.map((one) => one.file)).toEqual([`fleet-${format}.one.${format}`, undefined]);
      const joint = await readFile(join(home, file), 'utf8');
      const own = await readFile(join(home, `fleet-${format}.one.${format}`), 'utf8');
      expect(own).toContain('shop/Deployment/web');
      expect(joint).toContain(`fleet-${format}.one.${format}`);
      expect(joint).toContain('SP210');
      expect(joint).not.toContain('shop/Deployment/web ->');
      expect((await stat(join(home, file))).mode & 0o777).toBe(0o600);
    },
  );

  it('names of clusters are text in it, and files of their own', async () => {
    const hostile = '../../<script>|`x`](http://evil.example)';
    await writeFile(
      join(home, 'odd.yaml'),
      `clusters: [{name: ${JSON.stringify(hostile)}, manifests: cluster, state: state.sqlite, config: config.yaml}]\n`,
    );
    for (const format of ['html', 'md']) {
      await expected(0, 'assess', '--fleet', 'odd.yaml', '-o', `odd.${format}`);
      const text = await readFile(join(home, `odd.${format}`), 'utf8');
      expect(text).not.toMatch(format === 'html' ? /<script/u : /(?<!\\)(?:<script|\]\(http)/u);
      expect((await readdir(home)).filter((name) => name.startsWith('odd.') && name.endsWith(format))).toHaveLength(2);
    }
  });

  it('is left at Ctrl-C: exit 130, no joint report, and nothing that says a cluster did not answer', async () => {
    const one = '{manifests: cluster, state: state.sqlite, config: config.yaml, name: ';
    await writeFile(
      join(home, 'many.yaml'),
      `clusters:\n${[1, 2, 3, 4, 5, 6].map((at) => `  - ${one}c${at}}\n`).join('')}`,
    );
    let sent = false;
    const ended = await sallyport(['assess', '--fleet', 'many.yaml', '-o', 'many.json', '--json'], {
      home,
      onStderr: (all, child) => {
        if (sent || !all.includes('c1: reading')) return;
        sent = true;
        child.kill('SIGINT');
      },
    });
    expect(ended.code, ended.stderr).toBe(130);
    expect(documentOf(ended)).toMatchObject({ kind: 'Error', error: { code: 'SP130' } });
    expect(ended.stderr).toMatch(/of 6 clusters were read, and no joint report was written|of 6 clusters was read/u);
    expect(ended.stderr).not.toContain('c6: reading');
    expect(await readdir(home)).not.toContain('many.json');
  });

  it.each([
    ['--compare', 'x.json'],
    ['--templates', 'x'],
  ])('refuses %s, which is of one report', async (...words) => {
    expect(await expected(2, 'assess', '--fleet', 'fleet.yaml', ...words)).toMatchObject({ error: { code: 'SP140' } });
  });

  it('whose inventory names a cluster twice over is refused', async () => {
    expect(await expected(2, 'assess', '--fleet', 'wrong.yaml')).toMatchObject({
      error: { code: 'SP212', hint: expect.stringContaining('docs/fleets.md') as string },
    });
  });
});

// A migration that goes through a Git repository from end to end: commits, a pull request that is judged, a controller that applies, a revert.
import { spawnSync } from 'node:child_process';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const GIT_ENV = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_COUNT: '0',
};
let home = '';

function git(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('git', ['-C', join(home, 'repo'), ...args], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], HOME: home, ...GIT_ENV },
  });
  expect(status, stderr).toBe(0);
  return stdout;
}

const run = (...args: readonly string[]): Promise<Ended> =>
  sallyport(['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', ...args], {
    home,
    env: GIT_ENV,
  });

async function expected(code: number, ...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  const ended = await run(...args, '--json');
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return documentOf(ended);
}

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(home, file)), { recursive: true });
    await writeFile(join(home, file), text);
  }
}

async function textsIn(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(join(home, folder), { recursive: true, withFileTypes: true })).filter((one) =>
    one.isFile(),
  );
  const texts: Record<string, string> = {};
  for (const one of names.sort((a, b) => (a.parentPath + a.name < b.parentPath + b.name ? -1 : 1))) {
    const path = join(one.parentPath, one.name);
    if (!path.includes('/.git/')) texts[path.slice(home.length + 1)] = await readFile(path, 'utf8');
  }
  return texts;
}

/** Somebody's hand-written repository: comments, quotes and order are theirs. */
const NAMESPACES = `# Who owns what: see the wiki.
apiVersion: v1
kind: Namespace
metadata:
  name: "shop"   # the shop
  labels: {kubernetes.io/metadata.name: shop}
`;
const ROOT = `# The order matters to nobody.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  # first
  - namespaces.yaml
  - shop.yaml   # the rest

commonAnnotations: {}
`;

const status = (revision: string, more = ''): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system, generation: 1}
spec: {interval: 10m, path: ./clusters/prod, prune: true, sourceRef: {kind: GitRepository, name: deploy}}
status:
  observedGeneration: 1
  lastAppliedRevision: ${revision}
  conditions: [{type: Ready, status: "True", reason: ReconciliationSucceeded, message: ok}]${more}
`;

/** What Flux does: the branch's objects are the cluster's, what went is pruned, and the status says which commit it was. */
async function reconcile(): Promise<void> {
  await rm(join(home, 'cluster/sallyport'), { recursive: true, force: true });
  await cp(join(home, 'repo/clusters/prod/namespaces.yaml'), join(home, 'cluster/00-shop.yaml'));
  const own = await textsIn('repo/clusters/prod');
  for (const [file, text] of Object.entries(own))
    if (file.includes('/sallyport/') && !file.endsWith('kustomization.yaml'))
      await write({ [`cluster/${file.slice('repo/clusters/prod/'.length)}`]: text });
  await write({ 'cluster/flux.yaml': status(`main@sha1:${git('rev-parse', 'HEAD').trim()}`) });
}

const repository = async (files: Readonly<Record<string, string>>): Promise<void> => {
  await write(Object.fromEntries(Object.entries(files).map(([file, text]) => [`repo/${file}`, text])));
  git('init', '--quiet', '--initial-branch=main');
  git('config', 'user.name', 'Ada');
  git('config', 'user.email', 'ada@example.com');
  git('add', '--all');
  git('commit', '--quiet', '--message', 'what was there');
};

beforeEach(async () => {
  const { 'cluster/00-namespaces.yaml': namespaces = '', ...rest } = CLUSTER;
  home = await makeHome({
    ...rest,
    'cluster/00-shop.yaml': NAMESPACES,
    'cluster/01-namespaces.yaml': namespaces
      .split('---\n')
      .filter((one) => !one.includes('name: shop'))
      .join('---\n'),
    'cluster/flux.yaml': status('main@sha1:0000000000000000000000000000000000000000'),
    'config.yaml': CONFIG,
    'edges.jsonl': EDGES,
  });
  await expected(0, 'observe', 'edges', 'edges.jsonl');
  await expected(0, 'accept', 'src=desk/*', '--reason', 'a toolbox');
  await repository({
    'clusters/prod/kustomization.yaml': ROOT,
    'clusters/prod/namespaces.yaml': NAMESPACES,
    'clusters/prod/shop.yaml': CLUSTER['cluster/shop.yaml'] ?? '',
  });
});

const PLACE = ['--git', 'repo/clusters/prod'];

describe('a namespace that is moved through Git', () => {
  it('gets commits that a controller applies, and goes back by a revert, to the byte', async () => {
    const start = await textsIn('repo');
    const first = (await expected(0, 'advance', 'shop', '--to', 'monitor', '--yes', ...PLACE)) as {
      readonly outcome: string;
      readonly commits: readonly { readonly commit: string; readonly pullRequest: string }[];
    };
    expect(first.outcome).toBe('proposed');
    expect(git('log', '-1', '--format=%H %an <%ae>').trim()).toBe(
      `${first.commits[0]?.commit ?? ''} Ada <ada@example.com>`,
    );
    // Only the field's bytes: the comments and the quotes are as they were.
    expect(git('show', '--format=', '--unified=0', 'HEAD').match(/^[-+][^-+].*$/gmu)).toEqual([
      expect.stringMatching(/^\+ {2}annotations:/u),
      ...(git('show', '--format=', '--unified=0', 'HEAD').match(/^[-+][^-+].*$/gmu) ?? []).slice(1),
    ]);
    expect(git('show', 'HEAD:clusters/prod/namespaces.yaml')).toContain('name: "shop"   # the shop');
    const comment = await readFile(first.commits[0]?.pullRequest ?? '', 'utf8');
    expect(comment).toMatch(/## What changes[\s\S]*## Effect[\s\S]*## Evidence[\s\S]*## Gates/u);
    // Not in force: nothing is claimed, and nothing else of the namespace begins.
    expect(await expected(3, 'resume')).toMatchObject({ error: { code: 'SP644' } });
    expect(await expected(3, 'advance', 'shop', '--yes', ...PLACE)).toMatchObject({ error: { code: 'SP649' } });
    await reconcile();
    expect(await expected(0, 'resume')).toMatchObject({ outcome: 'done', phase: 'monitor' });

    // The policies of the workloads may come in any order; the default of the namespace comes when they are in force.
    const second = await expected(0, 'advance', 'shop', '--to', 'allow-list', '--yes', ...PLACE);
    expect(second).toMatchObject({ outcome: 'proposed', phase: 'monitor', commitsLeft: 1 });
    expect(git('show', 'HEAD:clusters/prod/kustomization.yaml')).toBe(
      ROOT.replace('  - shop.yaml   # the rest\n', '  - shop.yaml   # the rest\n  - sallyport\n'),
    );
    const message = git('log', '-1', '--format=%B');
    expect(message).toMatch(/^Sallyport-Plan: [0-9a-f]{64}$/mu);
    expect(message).toMatch(/^Effect:\n- \d+ edges? on record judged/mu);
    await reconcile();
    expect(await expected(0, 'resume')).toMatchObject({ outcome: 'done', phase: 'monitor' });
    expect(await expected(0, 'advance', 'shop', '--to', 'allow-list', '--yes', ...PLACE)).toMatchObject({
      commitsLeft: 0,
    });
    await reconcile();
    expect(await expected(0, 'resume')).toMatchObject({ outcome: 'done', phase: 'allow-list' });
    expect(await expected(0, 'verify', 'shop')).toMatchObject({ drift: [] });

    for (let left = 1; left > 0;) {
      const back = await expected(0, 'rollback', 'shop', '--to', 'monitor', '--yes', ...PLACE);
      expect(git('log', '-1', '--format=%B')).toMatch(/^This reverts commit [0-9a-f]{40}\.$/mu);
      left = Number(back['commitsLeft']);
      await reconcile();
      expect(await expected(0, 'resume')).toMatchObject({ outcome: 'done', phase: 'monitor' });
    }
    await expected(0, 'rollback', 'shop', '--to', 'none', '--yes', ...PLACE);
    await reconcile();
    expect(await expected(0, 'resume')).toMatchObject({ outcome: 'done', phase: 'none' });
    expect(await textsIn('repo')).toEqual(start);
    expect(git('status', '--porcelain')).toBe('');
  });

  it('writes the same bytes for the same input', async () => {
    await expected(0, 'advance', 'shop', '--to', 'allow-list', '--yes', ...PLACE);
    const before = await textsIn('repo/clusters');
    expect(await expected(0, 'rollback', 'shop', '--yes', ...PLACE)).toMatchObject({ outcome: 'undone' });
    await run('advance', 'shop', '--to', 'allow-list', '--yes', ...PLACE);
    expect(await textsIn('repo/clusters')).toEqual(before);
  });
});

describe('a tree that is not fit', () => {
  it.each([
    [
      'has changes that nobody committed',
      'SP641',
      3,
      async () => write({ 'repo/clusters/prod/shop.yaml': '# mine\n' }),
    ],
    ['has files that nobody added', 'SP641', 3, async () => write({ 'repo/new.txt': 'mine' })],
    ['has no branch', 'SP203', 2, () => Promise.resolve(git('checkout', '--quiet', '--detach'))],
    ['has no author', 'SP205', 2, () => Promise.resolve(git('config', '--unset', 'user.email'))],
    ['is no repository', 'SP202', 2, () => rm(join(home, 'repo/.git'), { recursive: true })],
    [
      'has a hook that says no',
      'SP642',
      3,
      async () => {
        await mkdir(join(home, 'repo/.git/hooks'), { recursive: true });
        await writeFile(join(home, 'repo/.git/hooks/pre-commit'), '#!/bin/sh\necho "not today"; exit 1\n', {
          mode: 0o755,
        });
      },
    ],
  ] as const)('that %s is refused, and stays as it is', async (_, code, exit, spoil) => {
    await spoil();
    const before = await textsIn('repo');
    expect(await expected(exit, 'advance', 'shop', '--to', 'monitor', '--yes', ...PLACE)).toMatchObject({
      error: { code },
    });
    expect(await textsIn('repo')).toEqual(before);
  });

  it('that does not declare an object is refused by the gate, before anything is written', async () => {
    git('rm', '--quiet', 'clusters/prod/namespaces.yaml');
    git('commit', '--quiet', '--message', 'less');
    const { gates } = (await expected(3, 'advance', 'shop', '--to', 'monitor', '--yes', ...PLACE)) as unknown as {
      readonly gates: readonly { readonly id: string; readonly answer: string; readonly subject: string }[];
    };
    expect(gates).toContainEqual(expect.objectContaining({ id: 'gitops', answer: 'no', subject: 'Namespace shop' }));
  });
});

describe('a run that was interrupted between its record and its commit', () => {
  it('commits when it is resumed', async () => {
    await mkdir(join(home, 'repo/.git/hooks'), { recursive: true });
    const hook = join(home, 'repo/.git/hooks/pre-commit');
    await writeFile(hook, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    await expected(3, 'advance', 'shop', '--to', 'monitor', '--yes', ...PLACE);
    await rm(hook);
    expect(await expected(3, 'resume')).toMatchObject({ error: { code: 'SP644' } });
    expect(git('log', '-1', '--format=%s').trim()).toBe('shop: monitor, 1 step');
    await reconcile();
    expect(await expected(0, 'resume')).toMatchObject({ phase: 'monitor' });
  });
});

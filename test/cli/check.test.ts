// A proposal of policies judged against the traffic on record, as a job of CI runs it in a Git repository.
import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { CLUSTER, CONFIG, EDGES, documentOf, makeHome, sallyport } from './shop.ts';
import type { Ended } from './shop.ts';

const policy = (name: string, spec: string): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: "${name}", namespace: shop}\nspec: ${spec}\n`;
const ONLY_WEB = policy(
  'db',
  '{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]}',
);
const NOBODY = policy('db', '{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}');
const EVERYBODY = policy('all', '{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}');

let home = '';
beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES });
  await run('observe', 'edges', 'edges.jsonl');
  await write({ 'cluster/policies.yaml': ONLY_WEB });
  await run('accept', 'src=desk/*', '--reason', 'a toolbox');
});

const run = (...args: readonly string[]): Promise<Ended> =>
  sallyport(['--manifests', 'cluster', '--state', 'state.sqlite', '--config', 'config.yaml', ...args], { home });

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(home, file)), { recursive: true });
    await writeFile(join(home, file), text);
  }
}

interface Checked {
  readonly policies: {
    readonly added: readonly string[];
    readonly changed: readonly string[];
    readonly removed: readonly string[];
  };
  readonly denied: readonly {
    readonly src: string;
    readonly dst: string;
    readonly because: string;
    readonly where: string;
  }[];
  readonly opened: readonly { readonly src: string; readonly dst: string }[];
  readonly closed: number;
}

async function judged(code: number, ...args: readonly string[]): Promise<Checked> {
  const ended = await run('check', ...args, '--json');
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return documentOf(ended) as unknown as Checked;
}

describe('a proposal', () => {
  it('that changes nothing passes', async () => {
    await write({ 'same/p.yaml': ONLY_WEB });
    expect(await judged(0, 'same')).toMatchObject({
      policies: { added: [], changed: [], removed: [] },
      denied: [],
      opened: [],
      closed: 0,
    });
  });

  it('that denies an edge on record fails, with the rule, its file and line', async () => {
    await write({ 'deny/sub/p.yaml': `# a comment\n${NOBODY}` });
    const { denied, policies } = await judged(6, 'deny');
    expect(policies.changed).toEqual(['NetworkPolicy shop/db']);
    // The toolbox may be cut: a person said so.
    expect(denied).toMatchObject([
      { src: 'shop/Deployment/web', dst: 'shop/Deployment/db', where: 'deny/sub/p.yaml:2' },
    ]);
    expect(denied[0]?.because).toMatch(/shop\/db/);
    expect((await run('check', 'deny', '--fail-on', 'none')).code).toBe(0);
  });

  it('that opens is shown, and fails where that is asked for', async () => {
    await write({ 'open/p.yaml': EVERYBODY });
    const { opened } = await judged(0, 'open');
    // Web too, on every port but the one that it had.
    expect(opened.map(({ src, dst }) => `${src} ${dst}`)).toEqual([
      'desk/Deployment/toolbox shop/Deployment/db',
      'shop/Deployment/web shop/Deployment/db',
    ]);
    await judged(6, 'open', '--fail-on', 'opened');
  });

  it('that takes a policy away is judged by what it started from', async () => {
    await write({
      'main/p.yaml': ONLY_WEB,
      'gone/other.yaml': policy('web', '{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{}]}'),
    });
    const { policies, opened } = await judged(0, 'gone', '--base', 'main');
    expect(policies).toEqual({ added: ['NetworkPolicy shop/web'], changed: [], removed: ['NetworkPolicy shop/db'] });
    expect(new Set(opened.map(({ dst }) => dst))).toEqual(new Set(['shop/Deployment/db']));
    expect((await judged(0, 'gone')).opened).toEqual([]);
  });

  it('that no API server takes fails, whatever it does', async () => {
    await write({
      'bad/p.yaml': policy('db', '{podSelector: {matchLabels: {"-x": y}}, policyTypes: [Ingress], ingress: [{}]}'),
    });
    const ended = await run('check', 'bad', '--fail-on', 'none');
    expect(ended.code).toBe(6);
    expect(ended.stdout).toMatch(/bad\/p\.yaml:1/);
  });

  it.each([
    ['is no YAML', { 'broken/p.yaml': 'a: [\n' }, ['broken'], /broken|p\.yaml:2/],
    [
      'holds no policy',
      { 'empty/p.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n' },
      ['empty'],
      /SP254/,
    ],
    ['is not there', {}, ['nowhere'], /SP210/],
    ['is judged by unknown words', { 'same/p.yaml': ONLY_WEB }, ['same', '--fail-on', 'closed'], /SP255/],
  ])('that %s is refused with exit 2', async (_, files, args, wanted) => {
    await write(files);
    const ended = await run('check', ...args);
    expect([ended.code, ended.stdout]).toEqual([2, '']);
    expect(ended.stderr).toMatch(wanted);
  });

  it('as a comment holds no Markdown of others, and fits where comments do', async () => {
    const rules = Array.from({ length: 3000 }, (_, n) => policy(`p${n}`, '{podSelector: {matchLabels: {app: none}}}'));
    await write({
      'hostile/p.yaml': [
        NOBODY,
        // No API server takes such a name; what a file holds is anybody's all the same.
        policy('x](http://evil.example)<script>|`@all\\u001b[31m', '{podSelector: {}}'),
        ...rules,
      ].join('---\n'),
    });
    await write({ 'cluster/policies.yaml': '' });
    const { code, stdout } = await run('check', 'hostile', '-o', 'md');
    await write({ 'cluster/policies.yaml': ONLY_WEB });
    expect(code).toBe(6);
    expect(stdout.length).toBeLessThan(65_536);
    expect(stdout).toMatch(/^### Policies: /);
    expect(stdout).toContain('hostile/p.yaml');
    expect(stdout).not.toMatch(/<script|\u001b|\]\(http/);
  });
});

describe('a pull request', () => {
  it('in a real repository is judged by its two work trees', async () => {
    const git = (...args: readonly string[]): string => {
      const env = { PATH: process.env['PATH'], HOME: home, GIT_CONFIG_NOSYSTEM: '1' };
      const who = ['-c', 'user.name=ci', '-c', 'user.email=ci@example.com', '-c', 'init.defaultBranch=main'];
      const done = spawnSync('git', [...who, ...args], { cwd: join(home, 'repo'), env, encoding: 'utf8' });
      expect(done.status, done.stderr).toBe(0);
      return done.stdout;
    };
    await write({ 'repo/policies/db.yaml': ONLY_WEB });
    git('init', '--quiet');
    git('add', '.');
    git('commit', '--quiet', '-m', 'policies');
    git('checkout', '--quiet', '-b', 'proposal');
    await write({ 'repo/policies/db.yaml': NOBODY, 'repo/policies/all.yaml': EVERYBODY });
    git('add', '.');
    git('commit', '--quiet', '-m', 'tidy up');
    git('worktree', 'add', '--quiet', '../base', 'main');
    const { denied, opened, policies } = await judged(0, 'repo/policies', '--base', 'base/policies');
    // Policies only add: whom one admits is admitted.
    expect(denied).toEqual([]);
    expect(policies).toEqual({ added: ['NetworkPolicy shop/all'], changed: ['NetworkPolicy shop/db'], removed: [] });
    expect(opened.map(({ src }) => src)).toEqual(['desk/Deployment/toolbox', 'shop/Deployment/web']);
    git('checkout', '--quiet', '--detach', 'main');
    expect((await judged(0, 'repo/policies', '--base', 'base/policies')).opened).toEqual([]);
  });
});

// A namespace that is moved through Git on an API server: commits are pushed to a real repository, a controller applies them and says so as
// Flux or Argo CD does, and the run waits for it. What goes wrong on the way ends as the documents say.
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { advance, resume, rollback } from '../../src/cli/commands/run.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import { isKubeManifest } from '../../src/model/object.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Done } from '../support/command.ts';
import { runCommand } from '../support/command.ts';
import type { FakeKind } from '../support/fake-api/kinds.ts';
import { CILIUM_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import type { Controller, ControllerOptions } from '../support/gitops.ts';
import { controllerOf, gitIn } from '../support/gitops.ts';
import type { Ended } from './shop.ts';
import { CLUSTER, documentOf, makeHome, sallyport } from './shop.ts';

const GITOPS_KINDS: readonly FakeKind[] = [
  { apiVersion: 'kustomize.toolkit.fluxcd.io/v1', kind: 'Kustomization', plural: 'kustomizations', namespaced: true },
  { apiVersion: 'helm.toolkit.fluxcd.io/v2', kind: 'HelmRelease', plural: 'helmreleases', namespaced: true },
  { apiVersion: 'source.toolkit.fluxcd.io/v1', kind: 'GitRepository', plural: 'gitrepositories', namespaced: true },
  { apiVersion: 'argoproj.io/v1alpha1', kind: 'Application', plural: 'applications', namespaced: true },
];
const CONFIG = `gates: {window: off, coverage: off, unseen-workloads: off, soak: off}
cluster:
  cni: {name: cilium, ipBlockMatches: []}
  apiServer: [10.0.0.1/32]
`;
const GIT_ENV = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
const FOLDER = 'clusters/prod';
const NAMESPACES = 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: "shop" # the shop\n';
const PLAIN = {
  [`${FOLDER}/namespaces.yaml`]: NAMESPACES,
  [`${FOLDER}/shop.yaml`]: CLUSTER['cluster/shop.yaml'] ?? '',
};

const day = (ago: number): string => new Date(Date.now() - ago * 86_400_000).toISOString();
const contact = (src: string, ago: number): string =>
  JSON.stringify({
    first: day(ago),
    last: day(ago),
    src: { workload: src },
    dst: { workload: 'shop/Deployment/db' },
    protocol: 'TCP',
    port: 5432,
    count: 3,
    verdict: 'allowed',
  });
const HISTORY = [9, 8, 7, 6, 5, 4, 3, 2, 1].map((ago) => contact('shop/Deployment/web', ago)).join('\n');

let api: FakeApi;
let home = '';
let bare = '';
let clone = '';
let controller: Controller;
/** What happens while the run waits, one a look; then nothing. */
let meanwhile: (() => unknown)[] = [];
let said: string[] = [];

const git = (...args: readonly string[]): string => gitIn(clone, ...args);
const head = (of = bare): string => gitIn(of, 'rev-parse', 'main').trim();

async function run(work: (app: App) => Promise<number>, more: GlobalOptions = {}): Promise<Done> {
  const done = await runCommand(work, {
    options: {
      kubeconfig: api.kubeconfig,
      state: join(home, 'state.sqlite'),
      config: join(home, 'config.yaml'),
      yes: true,
      ...more,
    },
    env: {
      PATH: process.env['PATH'],
      HOME: home,
      XDG_STATE_HOME: join(home, 'xdg'),
      SALLYPORT_USER: 'ada',
      ...GIT_ENV,
    },
    onSleep: () => meanwhile.shift()?.(),
  });
  said.push(...done.said);
  return done;
}

const through = (more: GlobalOptions = {}): GlobalOptions => ({
  git: join(clone, FOLDER),
  push: true,
  wait: '20m',
  ...more,
});
const up = (to: string, more: GlobalOptions = {}): Promise<Done> =>
  run((app) => advance(app, 'shop', { to }), through(more));
const down = (to: string, more: GlobalOptions = {}): Promise<Done> =>
  run((app) => rollback(app, 'shop', { to }), through(more));
const again = (more: GlobalOptions = {}): Promise<Done> => run((app) => resume(app), { wait: '20m', ...more });
const policies = (): readonly string[] =>
  api
    .objects()
    .filter(({ kind }) => kind === 'NetworkPolicy' || kind === 'CiliumNetworkPolicy')
    .map(({ metadata }) => metadata.name);
const applies = (outcome?: Parameters<Controller['reconcile']>[0]) => (): Promise<void> =>
  controller.reconcile(outcome);

/** Files of somebody's repository, pushed; a controller that applies them; a clone of it. */
async function start(
  files: Readonly<Record<string, string>>,
  kind: ControllerOptions['kind'],
  spec: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(clone, file)), { recursive: true });
    await writeFile(join(clone, file), text);
  }
  gitIn(home, 'init', '--quiet', '--bare', '--initial-branch=main', bare);
  git('init', '--quiet', '--initial-branch=main');
  git('config', 'user.name', 'Ada');
  git('config', 'user.email', 'ada@example.com');
  git('remote', 'add', 'origin', bare);
  git('add', '--all');
  git('commit', '--quiet', '--message', 'what was there');
  git('push', '--quiet', '--set-upstream', 'origin', 'main');
  controller = controllerOf({ kind, cluster: api, bare, folder: FOLDER, spec });
  for (const object of controller.objects) api.put(object);
  await controller.reconcile();
}

beforeEach(async () => {
  const objects = Object.values(CLUSTER)
    .flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
    .filter(isKubeManifest)
    .filter(({ kind, metadata }: KubeManifest) => kind !== 'Namespace' || metadata.name !== 'kube-system');
  api = await startFakeApi({ objects, kinds: [...GITOPS_KINDS, ...CILIUM_KINDS], now: () => Date.now() });
  home = await makeHome({ 'config.yaml': CONFIG, 'history.jsonl': HISTORY });
  bare = join(home, 'deploy.git');
  clone = join(home, 'clone');
  await mkdir(clone);
  meanwhile = [];
  said = [];
  const { observe } = await import('../../src/cli/commands/observe.ts');
  expect(await run((app) => observe(app, 'edges', [join(home, 'history.jsonl')], {}))).toMatchObject({ code: 0 });
});
afterEach(() => api.close());

async function texts(): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(clone, { recursive: true })).sort())
    if (!name.startsWith('.git') && (await stat(join(clone, name))).isFile())
      found[name] = await readFile(join(clone, name), 'utf8');
  return found;
}

const KUSTOMIZE = {
  ...PLAIN,
  [`${FOLDER}/kustomization.yaml`]: '# theirs\nresources:\n  - namespaces.yaml\n  - shop.yaml # the rest\n',
};
const CHART = {
  [`${FOLDER}/Chart.yaml`]: 'apiVersion: v2\nname: deploy\nversion: 1.0.0\n',
  [`${FOLDER}/values.yaml`]: `# theirs\nimage: "x" # pinned\nextraObjects:\n  - apiVersion: v1\n    kind: Namespace\n    metadata: {name: shop}\n`,
};

describe('a namespace of a cluster that Git is applied to', () => {
  it.each<readonly [string, Readonly<Record<string, string>>, ControllerOptions['kind'], GlobalOptions]>([
    ['Flux, plain files', PLAIN, 'flux', {}],
    ['Flux, Kustomize', KUSTOMIZE, 'flux', {}],
    ['Argo CD, Kustomize', KUSTOMIZE, 'argo-cd', {}],
    ['Flux, values of a chart', CHART, 'flux-helm', { layout: 'helm' }],
  ])('is moved and taken back: %s', async (_, files, kind, more) => {
    await start(files, kind);
    const before = await texts();
    meanwhile = [applies()];
    expect(await up('monitor', more)).toMatchObject({ code: 0, document: { outcome: 'done', phase: 'monitor' } });
    expect(said.join('\n')).toContain('without the commit');
    expect(controller.applied()).toBe(head());
    // The policies of the workloads, and then the default of the namespace: two commits, one after the other.
    meanwhile = [applies(), applies()];
    const allowed = await up('allow-list', more);
    expect(allowed).toMatchObject({ code: 0, document: { phase: 'allow-list', commitsLeft: 0 } });
    expect(allowed.document['commits']).toHaveLength(2);
    expect(policies()).toContain('sallyport-db-ingress');
    expect(
      await run(async (app) => (await import('../../src/cli/commands/verify.ts')).verify(app, 'shop', {})),
    ).toMatchObject({ code: 0, document: { drift: [] } });
    // Whatever the values of a release hold, nothing of them is kept.
    expect((await readFile(join(home, 'state.sqlite'))).includes('hunter2')).toBe(false);
    meanwhile = [applies(), applies()];
    expect(await down('monitor', more)).toMatchObject({ code: 0, document: { phase: 'monitor' } });
    expect(gitIn(bare, 'log', '-1', '--format=%B', 'main')).toMatch(/^This reverts commit [0-9a-f]{40}\.$/mu);
    expect(policies()).toEqual([]);
    meanwhile = [applies()];
    expect(await down('none', more)).toMatchObject({ code: 0, document: { phase: 'none' } });
    expect(await texts()).toEqual(before);
    expect(head(clone)).toBe(head());
    expect(git('status', '--porcelain')).toBe('');
  });
});

describe('a commit that is on its way', () => {
  beforeEach(() => start(KUSTOMIZE, 'flux'));

  it('is in force with a later commit that holds it', async () => {
    meanwhile = [
      async () => {
        await writeFile(join(clone, 'README'), 'somebody else went on\n');
        git('add', '--all');
        git('commit', '--quiet', '--message', 'later');
        git('push', '--quiet');
        await controller.reconcile();
      },
    ];
    expect(await up('monitor')).toMatchObject({ code: 0, document: { phase: 'monitor' } });
  });

  it('is in force though the revision is not in the clone, where its objects say so', async () => {
    meanwhile = [
      async () => {
        gitIn(home, 'clone', '--quiet', bare, 'other');
        const other = join(home, 'other');
        gitIn(other, 'config', 'user.name', 'Bo');
        gitIn(other, 'config', 'user.email', 'bo@example.com');
        await writeFile(join(other, 'README'), 'merged elsewhere\n');
        gitIn(other, 'add', '--all');
        gitIn(other, 'commit', '--quiet', '--message', 'later');
        gitIn(other, 'push', '--quiet');
        await controller.reconcile();
      },
    ];
    expect(await up('monitor')).toMatchObject({ code: 0, document: { phase: 'monitor' } });
  });

  it('that is refused in the cluster ends with what the controller says, and a mended one goes on', async () => {
    meanwhile = [applies('failed')];
    expect(await up('monitor')).toMatchObject({ code: 4, error: 'SP644', document: { phase: 'none' } });
    expect(await again({ wait: '1m' })).toMatchObject({ code: 4, error: 'SP644' });
    await controller.reconcile();
    expect(await again()).toMatchObject({ code: 0, document: { phase: 'monitor' } });
  });

  it('that is applied and not healthy is waited for, and said; the way back needs no health', async () => {
    meanwhile = [applies('degraded'), applies()];
    expect(await up('monitor')).toMatchObject({ code: 0 });
    expect(said.join('\n')).toContain('HealthCheckFailed');
    meanwhile = [applies('degraded')];
    const ill = await up('allow-list', { wait: '1m' });
    expect(ill).toMatchObject({ code: 4, error: 'SP692', document: { phase: 'monitor' } });
    expect(policies()).not.toEqual([]);
    // What is in force is on record first, so that it goes back as any run does.
    meanwhile = [applies()];
    expect(await down('monitor')).toMatchObject({ code: 0, document: { phase: 'monitor' } });
    expect(policies()).toEqual([]);
  });

  it('counts as in force when it is applied, where the configuration leaves health out', async () => {
    await writeFile(join(home, 'config.yaml'), `${CONFIG}git: {health: ignore}\n`);
    meanwhile = [applies('degraded')];
    expect(await up('monitor')).toMatchObject({ code: 0, document: { phase: 'monitor' } });
  });

  it('that nobody applies in time stays on record, and is taken back by a commit', async () => {
    expect(await up('monitor', { wait: '1m' })).toMatchObject({ code: 3, error: 'SP644' });
    expect(await up('monitor')).toMatchObject({ code: 3, error: 'SP649' });
    const proposed = head();
    expect(await down('none')).toMatchObject({ code: 0, document: { outcome: 'undone' } });
    expect(head()).not.toBe(proposed);
    expect(gitIn(bare, 'diff', '--stat', `${proposed}~1`, 'main')).toBe('');
    await controller.reconcile();
    meanwhile = [applies()];
    expect(await up('monitor')).toMatchObject({ code: 0 });
  });

  it('of which a part is in force is taken back whole', async () => {
    meanwhile = [applies()];
    expect(await up('monitor')).toMatchObject({ code: 0 });
    meanwhile = [applies('half')];
    expect(await up('allow-list', { wait: '1m' })).toMatchObject({ code: 3, error: 'SP644' });
    expect(policies()).toHaveLength(1);
    expect(await down('monitor')).toMatchObject({ code: 0, document: { outcome: 'undone' } });
    expect(said.join('\n')).toContain(`In force in part: NetworkPolicy shop/${policies()[0] ?? ''}`);
    await controller.reconcile();
    expect(policies()).toEqual([]);
    meanwhile = [applies(), applies()];
    expect(await up('allow-list')).toMatchObject({ code: 0, document: { phase: 'allow-list' } });
  });

  it('is not followed by the next where somebody changed what that was judged on', async () => {
    meanwhile = [applies()];
    expect(await up('monitor')).toMatchObject({ code: 0 });
    let first = '';
    meanwhile = [
      async () => {
        await controller.reconcile();
        first = head();
        api.put({
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { name: 'theirs', namespace: 'shop' },
          spec: { podSelector: {}, policyTypes: ['Ingress'] },
        });
      },
    ];
    expect(await up('allow-list')).toMatchObject({ code: 3, error: 'SP654' });
    expect(head()).toBe(first);
  });

  it('is not followed by the next where that cannot be judged, and says how to go on from there', async () => {
    meanwhile = [applies()];
    expect(await up('monitor')).toMatchObject({ code: 0 });
    let first = '';
    meanwhile = [
      async () => {
        await controller.reconcile();
        first = head();
        api.failNext({
          method: 'GET',
          path: /\/namespaces\/shop\/services$/u,
          times: 9,
          fault: { kind: 'status', status: 403 },
        });
      },
    ];
    const before = said.length;
    expect(await up('allow-list')).toMatchObject({ code: 4, error: 'SP403' });
    expect(head()).toBe(first);
    const hint = said.slice(before).join('\n');
    expect(hint).toContain('sallyport advance shop then goes on from there; what was committed before stays');
    expect(hint).not.toContain('judges what is there now');
  });

  it('that nobody looked at since it is in force goes back as any run, simulated', async () => {
    expect(await up('monitor', { wait: '1s' })).toMatchObject({ code: 3, error: 'SP644' });
    await controller.reconcile();
    meanwhile = [applies()];
    expect(await down('none')).toMatchObject({ code: 0, document: { phase: 'none', commits: [{}] } });
    expect(
      JSON.stringify(api.objects().find(({ kind, metadata }) => kind === 'Namespace' && metadata.name === 'shop')),
    ).not.toContain('sallyport.dev');
  });

  it('is not in force where the cluster differs, whatever the controller says', async () => {
    meanwhile = [
      async () => {
        await controller.reconcile();
        api.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }, 'an overlay');
      },
    ];
    expect(await up('monitor')).toMatchObject({ code: 6, error: 'SP645', document: { phase: 'none' } });
  });
});

describe('a controller that does nothing', () => {
  it.each([
    ['Flux that is suspended', 'flux', { suspend: true }, /is suspended: flux resume kustomization apps/u],
    ['Argo CD that syncs by hand', 'argo-cd', { syncPolicy: {} }, /syncs by hand: argocd app sync apps/u],
  ] as const)('is named as what is waited for: %s', async (_, kind, spec, words) => {
    await start(PLAIN, kind, spec);
    meanwhile = [
      () => {
        const found = api.objects().find((one) => one.kind === 'Application');
        if (found !== undefined)
          api.put({
            ...found,
            status: { sync: { status: 'OutOfSync', revision: head() }, health: { status: 'Healthy' } },
          });
      },
    ];
    expect(await up('monitor', { wait: '1m' })).toMatchObject({ code: 3, error: 'SP644' });
    expect(JSON.stringify(said)).toMatch(words);
  });
});

describe('a push', () => {
  beforeEach(() => start(PLAIN, 'flux'));

  async function somebodyPushes(file: string, text: string): Promise<void> {
    const other = join(home, 'other');
    gitIn(home, 'clone', '--quiet', bare, 'other');
    gitIn(other, 'config', 'user.name', 'Bo');
    gitIn(other, 'config', 'user.email', 'bo@example.com');
    await writeFile(join(other, file), text);
    gitIn(other, 'add', '--all');
    gitIn(other, 'commit', '--quiet', '--message', 'meanwhile');
    gitIn(other, 'push', '--quiet');
  }

  it('onto a branch that has moved is refused, never forced, and goes on after a rebase', async () => {
    await somebodyPushes('README', 'mine\n');
    const theirs = head();
    expect(await up('monitor')).toMatchObject({ code: 3, error: 'SP691' });
    expect(head()).toBe(theirs);
    expect(said.join('\n')).toContain('pull --rebase');
    expect(await again()).toMatchObject({ code: 3, error: 'SP691' });
    git('pull', '--quiet', '--rebase');
    meanwhile = [applies()];
    expect(await again()).toMatchObject({ code: 0, document: { phase: 'monitor' } });
    expect(gitIn(bare, 'log', '--format=%s', 'main').trim().split('\n')).toEqual([
      'shop: monitor, 1 step',
      'meanwhile',
      'what was there',
    ]);
  });

  it('that the remote does not take is told from one that failed', async () => {
    await mkdir(join(bare, 'hooks'), { recursive: true });
    await writeFile(join(bare, 'hooks/pre-receive'), '#!/bin/sh\necho "main takes pull requests alone" >&2; exit 1\n', {
      mode: 0o755,
    });
    expect(await up('monitor')).toMatchObject({ code: 3, error: 'SP693' });
    expect(said.join('\n')).toContain('pull requests alone');
    git('remote', 'set-url', 'origin', join(home, 'nowhere.git'));
    expect(await again()).toMatchObject({ code: 4, error: 'SP643' });
  });
});

describe('a process that is killed', { timeout: 240_000 }, () => {
  beforeEach(() => start(PLAIN, 'flux'));
  const outside = (args: readonly string[], onStart?: (kill: () => void) => void): Promise<Ended> =>
    sallyport(
      [
        ...args,
        '--kubeconfig',
        api.kubeconfig,
        '--state',
        join(home, 'state.sqlite'),
        '--config',
        'config.yaml',
        '--json',
      ],
      {
        home,
        env: GIT_ENV,
        ...(onStart === undefined ? {} : { onStart: (child) => onStart(() => child.kill('SIGKILL')) }),
      },
    );
  const killedWhen = async (is: () => boolean, ...args: readonly string[]): Promise<void> => {
    let timer: ReturnType<typeof setInterval> | undefined;
    const ended = await outside(args, (kill) => {
      timer = setInterval(() => {
        if (is()) kill();
      }, 10);
    });
    clearInterval(timer);
    expect(ended.signal).toBe('SIGKILL');
  };
  const WORDS = ['advance', 'shop', '--to', 'monitor', '--yes', '--git', `clone/${FOLDER}`, '--push', '--wait', '20m'];

  it('between the commit and the push pushes when it is resumed, and waits', async () => {
    // Held before anything is sent, until the process is gone.
    await mkdir(join(clone, '.git/hooks'), { recursive: true });
    await writeFile(join(clone, '.git/hooks/pre-push'), '#!/bin/sh\nsleep 5\nexit 1\n', { mode: 0o755 });
    const old = head();
    await killedWhen(() => head(clone) !== old, ...WORDS);
    expect(head()).toBe(old);
    await writeFile(join(clone, '.git/hooks/pre-push'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    const looked = await outside(['resume']);
    expect(looked.code, looked.stderr).toBe(3);
    expect(head()).toBe(head(clone));
    await controller.reconcile();
    const over = await outside(['resume', '--wait', '1m']);
    expect({ code: over.code, document: documentOf(over) }).toMatchObject({ code: 0, document: { phase: 'monitor' } });
    expect(gitIn(bare, 'log', '--format=%s', 'main').trim().split('\n')).toHaveLength(2);
  });

  it('between the push and the wait waits when it is resumed', async () => {
    const old = head();
    await killedWhen(() => head() !== old, ...WORDS);
    await controller.reconcile();
    const over = await outside(['resume', '--wait', '1m']);
    expect({ code: over.code, document: documentOf(over) }).toMatchObject({ code: 0, document: { phase: 'monitor' } });
    expect(gitIn(bare, 'log', '--format=%s', 'main').trim().split('\n')).toHaveLength(2);
  });
});

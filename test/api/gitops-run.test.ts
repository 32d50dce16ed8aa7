// A namespace moved through Git on a real API server: a stand-in for Flux applies the branch by server-side apply, as kustomize-controller does.
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { installDefinitions } from '../support/apiserver/crds.ts';
import type { Controller } from '../support/gitops.ts';
import { controllerOf, gitIn } from '../support/gitops.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended } from '../support/sallyport.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const namespace = `git-${randomBytes(4).toString('hex')}`;
const FLUX = 'flux-system';
const FOLDER = 'clusters/prod';
let home = '';
let clone = '';
let bare = '';
let controller: Controller;

const definition = (group: string, version: string, kind: string): { readonly name: string; readonly yaml: string } => {
  const plural = kind === 'GitRepository' ? 'gitrepositories' : `${kind.toLowerCase()}s`;
  return {
    name: `${plural}.${group}`,
    yaml: JSON.stringify({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.${group}` },
      spec: {
        group,
        scope: 'Namespaced',
        names: { plural, singular: kind.toLowerCase(), kind },
        versions: [
          {
            name: version,
            served: true,
            storage: true,
            // As theirs: what the controller says of an object is no new generation of it.
            subresources: { status: {} },
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          },
        ],
      },
    }),
  };
};
const DEFINITIONS = [
  definition('kustomize.toolkit.fluxcd.io', 'v1', 'Kustomization'),
  definition('source.toolkit.fluxcd.io', 'v1', 'GitRepository'),
];

const PLURALS: Readonly<Record<string, string>> = {
  Namespace: 'namespaces',
  Deployment: 'deployments',
  NetworkPolicy: 'networkpolicies',
  Kustomization: 'kustomizations',
  GitRepository: 'gitrepositories',
};

function pathTo({ apiVersion, kind, metadata }: KubeManifest): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const within = typeof metadata['namespace'] === 'string' ? `/namespaces/${metadata['namespace']}` : '';
  const plural = PLURALS[kind];
  if (plural === undefined) throw new Error(`no path for ${kind}`);
  return `${root}${within}/${plural}/${metadata.name}`;
}

const cluster = {
  put: async ({ metadata, status, ...object }: KubeManifest): Promise<void> => {
    const own = Object.fromEntries(Object.entries(metadata).filter(([key]) => key !== 'generation'));
    const path = pathTo({ ...object, metadata });
    await admin.must(
      'PATCH',
      `${path}?fieldManager=kustomize-controller&force=true`,
      { ...object, metadata: own },
      'application/apply-patch+yaml',
    );
    if (object.kind === 'Kustomization')
      await admin.must('PATCH', `${path}/status?fieldManager=kustomize-controller`, { status });
  },
  remove: async (object: KubeManifest): Promise<void> => {
    await admin.must('DELETE', pathTo(object));
  },
};

const deployment = (name: string, port: number): string =>
  JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: 'main', image: 'example.com/x:1', ports: [{ containerPort: port }] }] },
      },
    },
  });

const git = (...args: readonly string[]): string => gitIn(clone, ...args);
const head = (): string => gitIn(bare, 'rev-parse', 'main').trim();
const run = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', shared.kubeconfig, '--config', join(home, 'config.yaml')], { home });

/** The command, while the controller applies whatever is pushed. */
async function followed(...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  let over = false;
  const follow = (async () => {
    while (!over) {
      if (head() !== controller.applied()) await controller.reconcile();
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  })();
  const ended = await run(...args);
  over = true;
  await follow;
  expect(ended.code, ended.stderr + ended.stdout).toBe(0);
  return JSON.parse(ended.stdout) as Readonly<Record<string, unknown>>;
}

async function live(): Promise<unknown> {
  const policies = await admin.must('GET', `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`);
  const own = await admin.must('GET', `/api/v1/namespaces/${namespace}`);
  const { metadata } = own.body as { readonly metadata: Readonly<Record<string, unknown>> };
  return {
    labels: metadata['labels'],
    annotations: metadata['annotations'] ?? {},
    policies: (
      policies.body as { readonly items: readonly { readonly metadata: { readonly name: string } }[] }
    ).items.map((one) => one.metadata.name),
  };
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-gitops-'));
  clone = join(home, 'clone');
  bare = join(home, 'deploy.git');
  await installDefinitions(admin, DEFINITIONS);
  await admin.request('POST', '/api/v1/namespaces', { metadata: { name: FLUX } });
  const day = (ago: number): string => new Date(Date.now() - ago * 86_400_000).toISOString();
  const edges = [9, 8, 7, 6, 5, 4, 3, 2, 1].map((ago) =>
    JSON.stringify({
      first: day(ago),
      last: day(ago),
      src: { workload: `${namespace}/Deployment/web` },
      dst: { workload: `${namespace}/Deployment/db` },
      protocol: 'TCP',
      port: 5432,
      count: 3,
      verdict: 'allowed',
    }),
  );
  await writeFile(join(home, 'edges.jsonl'), edges.join('\n'));
  await writeFile(
    join(home, 'config.yaml'),
    'gates: {window: off, coverage: off, unseen-workloads: off, soak: off}\ncluster: {cni: {name: calico, ipBlockMatches: []}, apiServer: [10.0.0.1/32]}\n',
  );
  const files = {
    'kustomization.yaml': '# theirs\nresources:\n  - namespaces.yaml\n  - shop.yaml # the rest\n',
    'namespaces.yaml': `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: "${namespace}" # the shop\n`,
    'shop.yaml': `${deployment('web', 8080)}\n---\n${deployment('db', 5432)}\n`,
  };
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(clone, FOLDER, file)), { recursive: true });
    await writeFile(join(clone, FOLDER, file), text);
  }
  gitIn(home, 'init', '--quiet', '--bare', '--initial-branch=main', bare);
  git('init', '--quiet', '--initial-branch=main');
  git('config', 'user.name', 'Ada');
  git('config', 'user.email', 'ada@example.com');
  git('remote', 'add', 'origin', bare);
  git('add', '--all');
  git('commit', '--quiet', '--message', 'what was there');
  git('push', '--quiet', '--set-upstream', 'origin', 'main');
  controller = controllerOf({ kind: 'flux', cluster, bare, folder: FOLDER });
  for (const object of controller.objects) await cluster.put(object);
  await controller.reconcile();
  const observed = await run('observe', 'edges', join(home, 'edges.jsonl'));
  expect(observed.code, observed.stderr).toBe(0);
});

afterAll(async () => {
  await deleteNamespace(admin, namespace);
  await deleteNamespace(admin, FLUX);
  for (const { name } of DEFINITIONS)
    await admin.request('DELETE', `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`);
  admin.close();
  await rm(home, { recursive: true, force: true });
});

describe('through Git on a real API server', () => {
  it('a namespace is moved, waited for, and taken back by reverts to what was there', async () => {
    const place = ['--yes', '--git', join(clone, FOLDER), '--push', '--wait', '2m'];
    const start = await live();
    const text = await readFile(join(clone, FOLDER, 'namespaces.yaml'), 'utf8');
    expect(await followed('advance', namespace, '--to', 'monitor', ...place)).toMatchObject({ phase: 'monitor' });
    const allowed = await followed('advance', namespace, '--to', 'allow-list', ...place);
    expect(allowed).toMatchObject({ outcome: 'done', phase: 'allow-list', commitsLeft: 0 });
    expect(JSON.stringify(await live())).toContain('sallyport-db-ingress');
    const verified = await run('verify', namespace);
    expect(JSON.parse(verified.stdout)).toMatchObject({ drift: [] });
    expect(await followed('rollback', namespace, '--to', 'none', ...place)).toMatchObject({ phase: 'none' });
    expect(gitIn(bare, 'log', '-1', '--format=%B', 'main')).toMatch(/^This reverts commit [0-9a-f]{40}\.$/mu);
    expect(await live()).toEqual(start);
    expect(await readFile(join(clone, FOLDER, 'namespaces.yaml'), 'utf8')).toBe(text);
    expect(git('status', '--porcelain')).toBe('');
  });
});

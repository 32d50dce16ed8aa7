// What the pages of the phases say under "Undo by hand", typed into a real kubectl against a real API server, last phase first.
import { randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import {
  buildAuthorizationPolicy,
  buildBinding,
  buildDefaultDeny,
  buildNetworkPolicy,
  buildPeerAuthentication,
  buildServiceAccount,
} from '../../src/objects/build.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { connect } from '../support/apiserver/client.ts';
import { PAGES, blocksOf, commandsOf, readPage } from '../support/docs.ts';
import { findOrBuildKubectl } from '../support/kubectl/build.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const NS = `by-hand-${randomBytes(4).toString('hex')}`;
const BINDING = `sallyport-view-${NS}-web`;
const kubectl = join(findOrBuildKubectl(), 'kubectl');

const own = (name: string): { readonly name: string; readonly namespace: string; readonly workload: string } => ({
  name,
  namespace: NS,
  workload: `${NS}/Deployment/web`,
});
const LABELS = { app: 'web' };
const viewer = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' };

/** A workload and its namespace as all five phases leave them. */
const WORLD: readonly (readonly [path: string, object: KubeManifest])[] = [
  [
    '/api/v1/namespaces',
    {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: NS,
        labels: { 'istio-injection': 'enabled', team: 'shop' },
        annotations: { 'sallyport.dev/monitored': 'true', 'example.com/owner': 'shop' },
      },
    },
  ],
  [
    `/apis/apps/v1/namespaces/${NS}/deployments`,
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: NS },
      spec: {
        replicas: 0,
        selector: { matchLabels: LABELS },
        template: {
          metadata: { labels: { ...LABELS, 'sidecar.istio.io/inject': 'true' } },
          spec: { serviceAccountName: 'web', containers: [{ name: 'web', image: 'example.com/web:1' }] },
        },
      },
    },
  ],
  ...['ingress', 'egress'].map(
    (direction) =>
      [
        `/apis/networking.k8s.io/v1/namespaces/${NS}/networkpolicies`,
        buildNetworkPolicy(own(`sallyport-web-${direction}`), LABELS, direction as 'ingress', []),
      ] as const,
  ),
  [
    `/apis/networking.k8s.io/v1/namespaces/${NS}/networkpolicies`,
    buildDefaultDeny({ name: 'sallyport-default-deny', namespace: NS }),
  ],
  [
    `/apis/security.istio.io/v1/namespaces/${NS}/peerauthentications`,
    buildPeerAuthentication({ name: 'sallyport-default', namespace: NS }, 'STRICT'),
  ],
  [
    `/apis/security.istio.io/v1/namespaces/${NS}/peerauthentications`,
    buildPeerAuthentication(own('sallyport-web'), 'STRICT', LABELS),
  ],
  [`/api/v1/namespaces/${NS}/serviceaccounts`, buildServiceAccount(own('web'), [])],
  [
    `/apis/rbac.authorization.k8s.io/v1/namespaces/${NS}/rolebindings`,
    buildBinding('RoleBinding', own('sallyport-view-web'), viewer, { name: 'web', namespace: NS }),
  ],
  [
    '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
    buildBinding('ClusterRoleBinding', { name: BINDING }, viewer, { name: 'web', namespace: NS }),
  ],
  [
    `/apis/security.istio.io/v1/namespaces/${NS}/authorizationpolicies`,
    buildAuthorizationPolicy(own('sallyport-web'), LABELS, [{}]),
  ],
  [
    `/apis/security.istio.io/v1/namespaces/${NS}/authorizationpolicies`,
    buildAuthorizationPolicy({ name: 'sallyport-default-deny', namespace: NS }, undefined, []),
  ],
];

/** What others wrote, and stays. */
const OTHERS: readonly (readonly [string, KubeManifest])[] = [
  [
    `/apis/networking.k8s.io/v1/namespaces/${NS}/networkpolicies`,
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'theirs', namespace: NS },
      spec: { podSelector: { matchLabels: { app: 'db' } }, policyTypes: ['Ingress'] },
    },
  ],
];

const FILLED: Readonly<Record<string, string>> = { NS, NAME: 'web', OLD: 'default' };

/** The commands of the section, as somebody on a cluster without Cilium types them. */
function undoOf(page: string): readonly (readonly string[])[] {
  const from = readPage(page)
    .split('\n')
    .findIndex((line) => line.startsWith('**Undo by hand**'));
  const block = blocksOf(page).find(({ line }) => line > from);
  if (from < 0 || block === undefined) throw new Error(`${page} does not say how to undo it by hand`);
  return commandsOf(block, new Map()).map(({ words }) =>
    words.map((word) =>
      word
        .replace('sallyport-NAME-NS-ACCOUNT', BINDING)
        .replace(',ciliumnetworkpolicy', '')
        .replaceAll(/\b(?:NS|NAME|OLD)\b/g, (name) => FILLED[name] ?? name),
    ),
  );
}

beforeAll(async () => {
  for (const [path, object] of [...WORLD, ...OTHERS]) await admin.must('POST', path, object);
});
afterAll(async () => {
  await deleteNamespace(admin, NS);
  await admin.request('DELETE', `/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/${BINDING}`);
  admin.close();
});

describe('undo by hand', () => {
  const pages = PAGES.filter((page) => page.startsWith('phases/')).toReversed();

  it.each(pages)('is typed as it stands: %s', (page) => {
    const commands = undoOf(page);
    expect(commands.length).toBeGreaterThan(0);
    for (const [program, ...args] of commands) {
      expect(program).toBe('kubectl');
      const ended = spawnSync(kubectl, ['--kubeconfig', shared.kubeconfig, ...args], {
        encoding: 'utf8',
        timeout: 60_000,
      });
      expect({ args, status: ended.status, stderr: ended.stderr }).toMatchObject({ status: 0 });
    }
  });

  it('leaves nothing of Sallyport, and everything of others', async () => {
    const names: string[] = [];
    for (const path of new Set([...WORLD, ...OTHERS].map(([one]) => one))) {
      const { items } = (await admin.must('GET', path)).body as { items: KubeManifest[] };
      const managed = items.filter(({ metadata }) => metadata.namespace === NS || metadata.name === BINDING);
      names.push(...managed.map(({ metadata }) => metadata.name));
    }
    expect(names.filter((name) => name !== 'default').sort()).toEqual(['theirs', 'web']);
    const namespace = (await admin.must('GET', `/api/v1/namespaces/${NS}`)).body as KubeManifest;
    expect(namespace.metadata).toMatchObject({
      labels: { 'kubernetes.io/metadata.name': NS, team: 'shop' },
      annotations: { 'example.com/owner': 'shop' },
    });
    expect(namespace.metadata).not.toHaveProperty('labels.istio-injection');
    expect(namespace.metadata.annotations).not.toHaveProperty(['sallyport.dev/monitored']);
    const web = (await admin.must('GET', `/apis/apps/v1/namespaces/${NS}/deployments/web`)).body as {
      spec: { template: { metadata: { labels: object }; spec: { serviceAccountName: string } } };
    };
    expect(web.spec.template.metadata.labels).toEqual(LABELS);
    expect(web.spec.template.spec.serviceAccountName).toBe('default');
  });
});

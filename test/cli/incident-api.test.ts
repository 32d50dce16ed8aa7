// Incidents on an API server: carried out, killed half-way, finished, refused for want of a right, and taken back to what was there.
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { IncidentOptions } from '../../src/cli/commands/incident.ts';
import { incident } from '../../src/cli/commands/incident.ts';
import { observe } from '../../src/cli/commands/observe.ts';
import { resume } from '../../src/cli/commands/run.ts';
import type { App } from '../../src/cli/context.ts';
import { isKubeManifest, refKey, refOf } from '../../src/model/object.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { RESPONDER_RULES, buildClusterRole } from '../../src/sources/kube/rights.ts';
import type { Done } from '../support/command.ts';
import { runCommand } from '../support/command.ts';
import { CILIUM_KINDS, CLUSTER_POLICY_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { CLUSTER, EDGES, makeHome, sallyport } from './shop.ts';

const config = (cni: string): string => `gates: {window: off, coverage: off}
cluster:
  cni: {name: ${cni}, ipBlockMatches: []}
  apiServer: [10.0.0.1/32]
`;

/** Two pods of the database, as their ReplicaSet has them. */
const OWNED: readonly KubeManifest[] = [
  {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: 'db-1',
      namespace: 'shop',
      uid: 'rs',
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'db', uid: 'x', controller: true }],
    },
    spec: {
      selector: { matchLabels: { app: 'db', 'pod-template-hash': '1' } },
      template: { metadata: { labels: { app: 'db', 'pod-template-hash': '1' } }, spec: { containers: [] } },
    },
  },
  ...[1, 2].map((n): KubeManifest => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `db-1-${n}`,
      namespace: 'shop',
      labels: { app: 'db', 'pod-template-hash': '1', team: 'blue' },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'db-1', uid: 'rs', controller: true }],
    },
    spec: { serviceAccountName: 'db', nodeName: 'n1', containers: [{ name: 'main', image: 'example.com/db:1' }] },
    status: { phase: 'Running', podIP: `10.1.0.${n}` },
  })),
];
const EDGE_POLICY: KubeManifest = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'edge', namespace: 'shop', annotations: { team: 'theirs' } },
  spec: {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ podSelector: {} }, { namespaceSelector: {} }, { ipBlock: { cidr: '203.0.113.0/24' } }] }],
  },
};

/** The shipped roles of those who answer incidents, less some rights. */
function held(less: (group: string, resource: string, verb: string) => boolean = () => false): readonly KubeManifest[] {
  return [...buildClusterRole('operator').rules, ...RESPONDER_RULES].flatMap(
    ({ apiGroups, resources, verbs, ...more }, at): readonly KubeManifest[] => [
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRole',
        metadata: { name: `part-${at}` },
        rules: apiGroups.flatMap((group) =>
          resources.map((resource) => ({
            ...more,
            apiGroups: [group],
            resources: [resource],
            verbs: verbs.filter((verb) => !less(group, resource, verb)),
          })),
        ),
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: `part-${at}` },
        roleRef: { kind: 'ClusterRole', name: `part-${at}` },
        subjects: [{ kind: 'User', name: 'tester' }],
      },
    ],
  );
}
let grants: readonly KubeManifest[] = held();
let api: FakeApi;
let home = '';

async function start(cni: string, ...more: readonly KubeManifest[]): Promise<void> {
  const objects = Object.values(CLUSTER)
    .flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as unknown))
    .filter(isKubeManifest)
    .filter(({ kind, metadata }: KubeManifest) => kind !== 'Namespace' || metadata.name !== 'kube-system');
  api = await startFakeApi({
    objects: [...objects, ...OWNED, ...more],
    kinds: [...CILIUM_KINDS, ...CLUSTER_POLICY_KINDS],
    now: () => Date.now(),
    grants,
  });
  home = await makeHome({ 'config.yaml': config(cni), 'edges.jsonl': EDGES });
  expect(await run((app) => observe(app, 'edges', [join(home, 'edges.jsonl')], {}))).toMatchObject({ code: 0 });
}
afterEach(() => {
  grants = held();
  return api.close();
});

function run(work: (app: App) => Promise<number>): Promise<Done> {
  return runCommand(work, {
    options: {
      kubeconfig: api.kubeconfig,
      state: join(home, 'state.sqlite'),
      config: join(home, 'config.yaml'),
      yes: true,
    },
    env: { HOME: home, XDG_STATE_HOME: join(home, 'xdg'), SALLYPORT_USER: 'ada' },
  });
}
const carryOut = (action: string, subject: string, more: IncidentOptions = {}): Promise<Done> =>
  run((app) => incident(app, action, subject, { dryRun: false, reason: 'calls home', ...more }));
const idOf = ({ document }: Done): string => (document['incident'] as { readonly id: string }).id;
const undo = (id: string): Promise<Done> => run((app) => incident(app, 'undo', id, { dryRun: false }));
const states = async (): Promise<readonly unknown[]> =>
  ((await run((app) => incident(app, 'list', undefined, {}))).document['incidents'] as readonly JsonObject[]).map(
    ({ state }) => state,
  );

/** What anybody but a controller wrote: the ways back of runs and Leases are Sallyport's own. */
function world(): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    api
      .objects()
      .filter(({ kind }) => kind !== 'Lease' && kind !== 'ConfigMap')
      .map((object) => {
        const { labels, annotations } = object.metadata;
        const written = Object.entries(object).filter(([key]) => key !== 'metadata');
        return [refKey(refOf(object)), { ...Object.fromEntries(written), labels, annotations }];
      }),
  );
}
const podLabels = (name: string): unknown =>
  api.objects().find((one) => one.kind === 'Pod' && one.metadata.name === name)?.metadata['labels'];
const find = (kind: string): readonly KubeManifest[] => api.objects().filter((one) => one.kind === kind);

describe('an answer to an incident on an API server', () => {
  it.each<readonly [string, string, string, string, IncidentOptions, string]>([
    ['quarantine by Cilium', 'cilium', 'quarantine', 'shop/Deployment/db', {}, 'CiliumNetworkPolicy'],
    ['quarantine by labels', 'calico', 'quarantine', 'shop/Deployment/db', { with: 'labels' }, 'NetworkPolicy'],
    [
      'quarantine by an admin policy',
      'calico',
      'quarantine',
      'shop/Deployment/db',
      { with: 'admin' },
      'ClusterNetworkPolicy',
    ],
    ['block of an account', 'cilium', 'block', 'account:desk/toolbox', { namespace: 'shop' }, 'CiliumNetworkPolicy'],
    [
      'block of a namespace',
      'calico',
      'block',
      'namespace:desk',
      { namespace: 'shop', with: 'admin' },
      'ClusterNetworkPolicy',
    ],
    ['block of an address', 'calico', 'block', '203.0.113.9', { namespace: 'shop', with: 'exclude' }, 'NetworkPolicy'],
  ])(
    '%s is shown without a write, carried out, listed, and taken back to what was there',
    async (_, cni, action, subject, more, kind) => {
      const definition = {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: 'clusternetworkpolicies.policy.networking.k8s.io' },
      };
      await start(cni, definition, ...(more.with === 'exclude' ? [EDGE_POLICY] : []));
      const before = world();
      const written = (): number =>
        api.calls.filter(({ method, path }) => method !== 'GET' && !path.startsWith('/apis/authorization.k8s.io/'))
          .length;
      const writes = written();
      expect(await carryOut(action, subject, { ...more, dryRun: true })).toMatchObject({
        code: 0,
        document: { outcome: 'dry-run' },
      });
      expect(written()).toBe(writes);
      const done = await carryOut(action, subject, more);
      expect(done, done.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done' } });
      expect(find(kind).length).toBeGreaterThan(0);
      expect(world()).not.toEqual(before);
      expect(find('Lease')).toEqual([]);
      expect(await states()).toEqual(['in force']);
      if (more.with === 'labels')
        expect(podLabels('db-1-2')).toEqual({ team: 'blue', 'sallyport.dev/quarantine': idOf(done) });
      expect(await undo(idOf(done))).toMatchObject({ code: 0, document: { outcome: 'done' } });
      expect(world()).toEqual(before);
      expect(await states()).toEqual(['undone']);
    },
  );

  it('rotates: pods of the account go, no Secret is asked for, and nothing brings them back', async () => {
    await start('cilium');
    const before = find('Pod').length;
    expect(await carryOut('rotate', 'shop/db')).toMatchObject({ code: 2, error: 'SP496' });
    expect(find('Pod')).toHaveLength(before);
    const done = await carryOut('rotate', 'shop/db', { irreversible: true });
    expect(done, done.said.join('\n')).toMatchObject({ code: 0, document: { outcome: 'done', reversible: false } });
    expect(find('Pod')).toEqual([]);
    expect(find('ServiceAccount').map(({ metadata }) => metadata.name)).toContain('db');
    expect(await undo(idOf(done))).toMatchObject({ code: 2, error: 'SP498' });
  });

  it('leaves a field that somebody changed meanwhile, and asks', async () => {
    await start('calico');
    const done = await carryOut('quarantine', 'shop/Deployment/db', { with: 'labels' });
    const pod = find('Pod').find(({ metadata }) => metadata.name === 'db-1-1');
    if (pod === undefined) throw new Error('no pod');
    api.put({ ...pod, metadata: { ...pod.metadata, labels: { mine: 'now' } } });
    expect(await undo(idOf(done))).toMatchObject({ code: 3, error: 'SP606' });
    expect(podLabels('db-1-1')).toEqual({ mine: 'now' });
  });

  it('takes back what is left where pods have ended meanwhile', async () => {
    await start('calico');
    const done = await carryOut('quarantine', 'shop/Deployment/db', { with: 'labels' });
    for (const pod of find('Pod')) api.remove(pod);
    expect(await undo(idOf(done))).toMatchObject({ code: 0 });
    expect(find('NetworkPolicy')).toEqual([]);
    expect(await states()).toEqual(['undone']);
  });
});

describe('an answer that one right is missing for', () => {
  const forbidden = (method: string, path: string): void =>
    api.failNext({
      method,
      path,
      times: 100,
      fault: {
        kind: 'status',
        status: 403,
        body: {
          kind: 'Status',
          apiVersion: 'v1',
          metadata: {},
          status: 'Failure',
          reason: 'Forbidden',
          code: 403,
          message: `pods "db-1-2" is forbidden: User "ada" cannot ${method} resource`,
        },
      },
    });

  it.each([
    ['the first object', 'networking.k8s.io', 'networkpolicies', 'create'],
    ['a later one', '', 'pods', 'patch'],
    ['what must be read', '', 'pods', 'get'],
  ] as const)('of %s is found before the first write', async (_, group, resource, verb) => {
    grants = held((...right) => right.join() === [group, resource, verb].join());
    await start('calico');
    const before = world();
    const name = `${resource}${group === '' ? '' : `.${group}`}`;
    const asked = await carryOut('quarantine', 'shop/Deployment/db', { with: 'labels', dryRun: true });
    expect(asked.document).toMatchObject({
      outcome: 'dry-run',
      remarks: expect.arrayContaining([expect.stringContaining(`you may not ${verb} ${name} in shop`)]) as string[],
    });
    const done = await carryOut('quarantine', 'shop/Deployment/db', { with: 'labels' });
    expect(done).toMatchObject({ code: 4, error: 'SP485' });
    expect(done.said.join(' ')).toContain('templates/rbac/responder.yaml');
    expect(world()).toEqual(before);
    expect(await states()).toEqual([]);
  });

  it('to take it back is told, and holds nothing up; taking it back is refused before its first write', async () => {
    grants = held(
      (group, resource, verb) => group === 'networking.k8s.io' && resource === 'networkpolicies' && verb === 'delete',
    );
    await start('calico');
    const done = await carryOut('quarantine', 'shop/Deployment/db', { with: 'labels' });
    expect(done.document).toMatchObject({
      outcome: 'done',
      remarks: expect.arrayContaining([
        'you may not delete networkpolicies.networking.k8s.io in shop: somebody else has to take this back',
      ]) as string[],
    });
    const quarantined = world();
    expect(await undo(idOf(done))).toMatchObject({ code: 4, error: 'SP485' });
    expect(world()).toEqual(quarantined);
  });

  it('for its first object writes nothing', async () => {
    await start('cilium');
    const before = world();
    forbidden('POST', '/ciliumnetworkpolicies');
    expect(await carryOut('quarantine', 'shop/Deployment/db')).toMatchObject({ code: 4, error: 'SP403' });
    expect(world()).toEqual(before);
  });

  it('for a later one says what is in force, and that goes back', async () => {
    await start('calico');
    const before = world();
    forbidden('PATCH', '/pods/db-1-2');
    const done = await carryOut('quarantine', 'shop/Deployment/db', { with: 'labels' });
    expect(done.code).toBe(7);
    expect(done.document).toMatchObject({ outcome: 'partial', error: { code: 'SP403' } });
    expect(podLabels('db-1-1')).toMatchObject({ 'sallyport.dev/quarantine': idOf(done) });
    expect(await undo(idOf(done))).toMatchObject({ code: 0 });
    expect(world()).toEqual(before);
  });
});

describe('an answer that is killed half-way', { timeout: 240_000 }, () => {
  it('is finished by resume, and then taken back to what was there', async () => {
    await start('calico');
    const before = world();
    let kill: (() => void) | undefined;
    api.afterCall(({ method, path, query }) => {
      if (method === 'PATCH' && path.includes('/pods/db-1-1') && query['dryRun'] === undefined) kill?.();
    });
    const ended = await sallyport(
      [
        ...['incident', 'quarantine', 'shop/Deployment/db', '--with', 'labels', '--no-dry-run', '--yes'],
        ...['--reason', 'calls home', '--json', '--kubeconfig', api.kubeconfig],
        ...['--state', 'state.sqlite', '--config', 'config.yaml'],
      ],
      { home, onStart: (child) => (kill = () => void child.kill('SIGKILL')) },
    );
    expect(ended.signal).toBe('SIGKILL');
    expect(podLabels('db-1-1')).not.toHaveProperty('app');
    expect(podLabels('db-1-2')).toHaveProperty('app');
    expect(await states()).toEqual(['interrupted']);
    // Its hold ends by itself.
    for (const lease of find('Lease')) api.remove(lease);
    expect(await run(resume)).toMatchObject({ code: 0, document: { outcome: 'done' } });
    expect(podLabels('db-1-2')).not.toHaveProperty('app');
    expect(await states()).toEqual(['in force']);
    const listed = await run((app) => incident(app, 'list', undefined, {}));
    const [one] = listed.document['incidents'] as readonly { readonly id: string }[];
    expect(await undo(one?.id ?? '')).toMatchObject({ code: 0 });
    expect(world()).toEqual(before);
  });
});

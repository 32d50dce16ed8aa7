// What doctor says of rights, of kinds that are not served, and of what of Sallyport runs in the cluster.
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dialectsHere, kindsToWrite, readWritable } from '../../src/cli/commands/doctor-writes.ts';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import type { Pattern } from '../../src/candidates/patterns/pattern.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { groupOf, isKubeManifest } from '../../src/model/object.ts';
import type { AccessReport } from '../../src/sources/kube/access.ts';
import { actorPodRules, actorRules } from '../../src/sources/kube/actor-rights.ts';
import { BESIDE } from '../../src/sources/kube/access.ts';
import { openDiscovery, readAccess } from '../../src/sources/kube/index.ts';
import type { KubeApi } from '../../src/sources/kube/index.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import type { Piece } from '../../src/sources/kube/pieces.ts';
import { readPieces } from '../../src/sources/kube/pieces.ts';
import {
  EXPIRER_RULES,
  LEAD_RULES,
  OPT_IN_ROLES,
  RESPONDER_RULES,
  buildClusterRole,
  buildSideRole,
  isWritten,
} from '../../src/sources/kube/rights.ts';
import type { OptInRole, RbacRule } from '../../src/sources/kube/rights.ts';
import { directApi } from '../support/fake-api/direct.ts';
import type { FakeKind } from '../support/fake-api/kinds.ts';
import {
  ADMIN_KINDS,
  CALICO_KINDS,
  CILIUM_KINDS,
  CLUSTER_POLICY_KINDS,
  ISTIO_KINDS,
  ROLE_KINDS,
} from '../support/fake-api/kinds.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { makeFakeCluster, startFakeApi } from '../support/fake-api/server.ts';
import { makeFolder } from '../support/folder.ts';
import { edgeOf } from '../support/rig.ts';
import { sallyport } from '../support/sallyport.ts';
import { fixtureObjects } from '../engine/fault-driver.ts';

const documentOf = ({ stdout }: { readonly stdout: string }): Record<string, unknown> =>
  JSON.parse(stdout) as Record<string, unknown>;

const NOW = Date.UTC(2026, 10, 23, 22);
const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString();
const WAYPOINTS: readonly FakeKind[] = [
  { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', plural: 'gateways', namespaced: true },
];
const EVERY_KIND = [
  ...ROLE_KINDS,
  ...ISTIO_KINDS,
  ...WAYPOINTS,
  ...CILIUM_KINDS,
  ...CALICO_KINDS,
  ...ADMIN_KINDS,
  ...CLUSTER_POLICY_KINDS,
];

type Role = ReturnType<typeof buildClusterRole>;

function held(
  roles: readonly Role[],
  user = { kind: 'User', name: 'tester' } as Record<string, string>,
): readonly KubeManifest[] {
  return roles.flatMap((role): readonly KubeManifest[] => [
    role as unknown as KubeManifest,
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: `${role.metadata.name}-${user['name'] ?? ''}` },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role.metadata.name },
      subjects: [user],
    },
  ]);
}

function apiOf(objects: readonly KubeManifest[], kinds: readonly FakeKind[] = EVERY_KIND): KubeApi {
  const cluster = makeFakeCluster({ objects, kinds });
  return directApi({
    cluster,
    serverNow: () => NOW,
    clock: { sleep: () => Promise.resolve() },
    waitMs: () => undefined,
  });
}

async function access(objects: readonly KubeManifest[], kinds?: readonly FakeKind[]): Promise<AccessReport> {
  const api = apiOf(objects, kinds);
  return readAccess(api, openDiscovery(api), { now: () => NOW });
}

let patterns: readonly Pattern[] = [];
beforeAll(async () => {
  patterns = await readPatterns();
});

describe('the roles for patterns and dialects', () => {
  it('bring the right to write every kind that a pattern or a dialect writes, and operator alone does not bring those that act on all', async () => {
    for (const { apiVersion, kind } of kindsToWrite(patterns))
      for (const verb of ['create', 'patch', 'delete'] as const)
        expect([kind, apiVersion, verb, isWritten(groupOf(apiVersion), kind, verb)]).toEqual([
          kind,
          apiVersion,
          verb,
          true,
        ]);

    const all = apiOf(held([buildClusterRole('operator'), ...OPT_IN_ROLES.map(buildSideRole)]));
    const writable = await readWritable(all, openDiscovery(all), patterns, undefined);
    expect(writable.filter(({ served, rights }) => served === 'no' || rights !== 'yes')).toEqual([]);
    expect(dialectsHere(writable).map(({ dialect, answer }) => `${dialect} ${answer}`)).toEqual([
      'kubernetes yes',
      'cilium yes',
      'calico yes',
      'admin yes',
    ]);

    const one = apiOf(held([buildClusterRole('operator')]));
    const lacking = (await readWritable(one, openDiscovery(one), patterns, undefined)).filter(
      ({ rights }) => rights === 'no',
    );
    expect(lacking.map(({ kind, role }) => `${kind} ${role ?? ''}`)).toEqual([
      'CiliumClusterwideNetworkPolicy sallyport-cluster-policies',
      'Gateway sallyport-mesh-traffic',
      'Gateway sallyport-mesh-traffic',
      'ServiceEntry sallyport-mesh-traffic',
      'Sidecar sallyport-mesh-traffic',
      'VirtualService sallyport-mesh-traffic',
      'AdminNetworkPolicy sallyport-cluster-policies',
      'ClusterNetworkPolicy sallyport-cluster-policies',
      'GlobalNetworkPolicy sallyport-cluster-policies',
      'Tier sallyport-cluster-policies',
    ]);
  });

  it.each(OPT_IN_ROLES)(
    '%s: whole it is yes; one verb short doctor says no and names the verb',
    async (name: OptInRole) => {
      const role = buildSideRole(name);
      const of = (report: AccessReport) => report.beside.find((one) => one.role === name);
      expect(of(await access(held([role])))).toEqual({ role: name, answer: 'yes', missing: [] });
      for (const [at, rule] of role.rules.entries())
        for (const verb of rule.verbs) {
          const rules = role.rules.map((other, index) =>
            index === at ? { ...other, verbs: other.verbs.filter((one) => one !== verb) } : other,
          );
          const said = of(await access(held([{ ...role, rules }])));
          expect([said?.answer, said?.missing.map((one) => one.verb)]).toEqual(['no', rule.resources.map(() => verb)]);
        }
    },
  );

  it('are not asked about where the cluster has none of their kinds', async () => {
    const { beside } = await access([], ROLE_KINDS);
    expect(beside.map(({ role, answer }) => `${role} ${answer}`)).toEqual([
      'watcher no',
      'prober no',
      'drainer no',
      'cluster-policies not-served',
      'mesh-traffic not-served',
      'responder no',
      'actor no',
      'actor-pods no',
      'access no',
    ]);
  });

  it.each([
    ['actor', actorRules()],
    ['actor-pods', actorPodRules()],
    ['responder', RESPONDER_RULES],
  ] as const)('%s: whole it is yes; one verb short doctor says no and names the verb', async (name, rules) => {
    const roleOf = (own: readonly RbacRule[]): Role => ({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: `sallyport-${name}`, labels: {} },
      rules: own,
    });
    const of = (report: AccessReport) => report.beside.find((one) => one.role === name);
    expect(of(await access(held([roleOf(rules)])))).toEqual({ role: name, answer: 'yes', missing: [] });
    for (const [at, rule] of rules.entries())
      for (const verb of rule.verbs) {
        const short = rules.map((other, index) =>
          index === at ? { ...other, verbs: other.verbs.filter((one) => one !== verb) } : other,
        );
        const said = of(await access(held([roleOf(short)])));
        expect([said?.answer, [...new Set(said?.missing.map((one) => one.verb))]]).toEqual(['no', [verb]]);
      }
  });

  it('a role that is asked for by name is told of verb by verb; one that there is not is wrong use', async () => {
    const server = await startFakeApi({ kinds: EVERY_KIND, objects: held([buildClusterRole('operator')]) });
    const home = await makeFolder();
    const ask = (role: string) => sallyport(['doctor', '--role', role, '--kubeconfig', server.kubeconfig], { home });
    try {
      const pods = await ask('actor-pods');
      expect(pods.code, pods.stderr).toBe(0);
      expect(pods.stdout).toContain('Missing for actor-pods:\n  patch pods\n');
      expect(pods.stdout.replaceAll(/\s+/g, ' ')).toContain('no ClusterRoleBinding');
      // Whoever holds `operator` may do all that a watch that acts does.
      expect((await ask('actor')).stdout).toContain('Nothing is missing for actor.');
      const none = await ask('actors');
      expect(none.code).toBe(2);
      for (const role of BESIDE) expect(none.stderr).toContain(role);
    } finally {
      await server.close();
    }
  });

  it("hold what Calico's API server asks for beside RBAC: the tier", async () => {
    const operator = buildClusterRole('operator');
    const report = await access(
      held([
        {
          ...operator,
          rules: operator.rules.filter(({ resources }) => !resources.some((one) => one.startsWith('tier.'))),
        },
      ]),
    );
    const refused = report.access.filter(({ allowed, right }) => allowed === false && right.role !== 'identity');
    expect([...new Set(refused.map(({ resource }) => resource))]).toEqual([
      'tier.networkpolicies',
      'tier.globalnetworkpolicies',
      'tier.stagednetworkpolicies',
    ]);
    const whole = await access(held([operator]));
    expect(whole.access.filter(({ allowed, right }) => allowed === false && right.role !== 'identity')).toEqual([]);
  });
});

describe('kinds that are not served', () => {
  it('are named with the version and what they are for, and the dialect is not to be had', async () => {
    const api = apiOf(held([buildClusterRole('operator'), ...OPT_IN_ROLES.map(buildSideRole)]), [
      ...ROLE_KINDS,
      ...CLUSTER_POLICY_KINDS,
      { apiVersion: 'cilium.io/v3', kind: 'CiliumNetworkPolicy', plural: 'ciliumnetworkpolicies', namespaced: true },
    ]);
    const writable = await readWritable(api, openDiscovery(api), patterns, undefined);
    expect(writable.find(({ kind }) => kind === 'CiliumNetworkPolicy')).toMatchObject({
      served: 'no',
      servedVersions: ['cilium.io/v3'],
      for: expect.arrayContaining(['dialect cilium', 'pattern controlled-egress']) as string[],
    });
    expect(dialectsHere(writable).map(({ dialect, answer, why }) => `${dialect} ${answer} ${why}`.trim())).toEqual([
      'kubernetes yes',
      'cilium no CiliumNetworkPolicy of cilium.io/v2 is not served',
      'calico no NetworkPolicy of projectcalico.org/v3 is not served',
      'admin yes',
    ]);
  });

  describe('stop a plan before its first step', () => {
    let server: FakeApi;
    let home = '';
    const run = (...args: readonly string[]) =>
      sallyport([...args, '--json', '--kubeconfig', server.kubeconfig, '--config', `${home}/config.yaml`], { home });
    beforeAll(async () => {
      const crd = (name: string): KubeManifest => ({
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name },
      });
      server = await startFakeApi({
        kinds: [...ROLE_KINDS, ...ADMIN_KINDS],
        objects: [
          ...fixtureObjects(),
          // The definition of the newer kind is there, in a version that is not served.
          crd('clusternetworkpolicies.policy.networking.k8s.io'),
          ...held([buildClusterRole('operator')]),
        ],
      });
      home = await makeFolder({
        'config.yaml':
          'gates: {window: off, coverage: off, soak: off, schedules: off, unseen-workloads: off, review: off}\ncluster:\n  cni: {name: ovn-kubernetes, ipBlockMatches: []}\n',
        'edges.jsonl': ['front/Deployment/web', 'front/Deployment/worker']
          .map((src) => {
            const edge = edgeOf(`${src} -> back/Deployment/api 8080`);
            return JSON.stringify({
              first: new Date(edge.first).toISOString(),
              last: new Date(edge.last).toISOString(),
              src: { workload: src },
              dst: { workload: 'back/Deployment/api' },
              protocol: 'TCP',
              port: 8080,
              count: 9,
              verdict: 'allowed',
            });
          })
          .join('\n'),
      });
      const observed = await run('observe', 'edges', `${home}/edges.jsonl`);
      expect(observed.code, observed.stderr + observed.stdout).toBe(0);
    });
    afterAll(() => server.close());

    it('with the kind, the version, and what is served instead', async () => {
      const before = server.objects().length;
      for (const command of ['plan', 'advance']) {
        const ended = await run(
          command,
          'front',
          '--to',
          'allow-list',
          '--dialect',
          'admin',
          ...(command === 'plan' ? [] : ['--yes']),
        );
        expect([ended.code, documentOf(ended)['error']]).toMatchObject([4, { code: 'SP430' }]);
        const { message } = documentOf(ended)['error'] as { message: string };
        expect(message).toContain('ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2');
        expect(message).toContain('policy.networking.k8s.io/v1alpha1');
      }
      expect(server.objects().length).toBe(before);
    });

    it('and doctor names them, for people and for programs', async () => {
      const ended = await run('doctor');
      expect(ended.code, ended.stderr).toBe(0);
      const document = documentOf(ended) as unknown as {
        dialects: { dialect: string; answer: string; why: string }[];
        beside: { role: string; answer: string }[];
        pieces: Piece[];
      };
      expect(document.dialects.find(({ dialect }) => dialect === 'admin')).toMatchObject({
        answer: 'no',
        why: 'may not create, patch, delete AdminNetworkPolicy: bind sallyport-cluster-policies',
      });
      expect(document.beside.find(({ role }) => role === 'mesh-traffic')?.answer).toBe('not-served');
      const said = await sallyport(['doctor', '--kubeconfig', server.kubeconfig], { home });
      const text = said.stdout.replaceAll(/\s+/g, ' ');
      expect(text).toContain(
        'no admin: may not create, patch, delete AdminNetworkPolicy: bind sallyport-cluster-policies',
      );
      expect(text).toContain('ServiceEntry of networking.istio.io/v1 (pattern controlled-egress): is not served');
      expect(text).toContain('the expirer of grants: grants end with the next run of sallyport on any machine');
    });
  });
});

describe('what of Sallyport runs in the cluster', () => {
  const installed = (): readonly KubeManifest[] => {
    const text = readFileSync(new URL('../../templates/grants/expirer.yaml', import.meta.url), 'utf8');
    return parseAllDocuments(text).flatMap((one): readonly KubeManifest[] => {
      const value: unknown = one.toJS();
      return isKubeManifest(value) ? [value] : [];
    });
  };
  const withStatus = (objects: readonly KubeManifest[], status: object, spec: object = {}): readonly KubeManifest[] =>
    objects.map((object) =>
      object.kind === 'CronJob'
        ? ({ ...object, status, spec: { ...(object['spec'] as object), ...spec } } as unknown as KubeManifest)
        : object,
    );
  const piece = async (name: Piece['name'], objects: readonly KubeManifest[]): Promise<Piece | undefined> =>
    (await readPieces(apiOf(objects), NOW)).find((one) => one.name === name);

  it('the expirer: absent, running, late, suspended, never run', async () => {
    expect(await piece('expirer', [])).toMatchObject({ installed: 'no', rights: 'not-asked', problems: [] });
    const good = await piece('expirer', withStatus(installed(), { lastSuccessfulTime: ago(40) }));
    expect(good).toMatchObject({
      installed: 'yes',
      where: 'sallyport-system/sallyport-expirer',
      lastRun: ago(40),
      rights: 'yes',
      problems: [],
      facts: ['last success 40 s ago'],
    });
    const late = await piece('expirer', withStatus(installed(), { lastSuccessfulTime: ago(3600) }));
    expect(late?.problems[0]).toContain('its last success is 60 min ago');
    const off = await piece('expirer', withStatus(installed(), { lastSuccessfulTime: ago(40) }, { suspend: true }));
    expect(off?.problems[0]).toContain('suspended');
    expect((await piece('expirer', installed()))?.problems).toEqual(['no run of it has succeeded yet']);
  });

  it('the expirer one verb short: its account may not, and which', async () => {
    for (const [at, rule] of EXPIRER_RULES.entries())
      for (const verb of rule.verbs) {
        const short = withStatus(installed(), { lastSuccessfulTime: ago(40) }).map((object) =>
          object.kind === 'ClusterRole'
            ? ({
                ...object,
                rules: EXPIRER_RULES.map((other, index) =>
                  index === at ? { ...other, verbs: other.verbs.filter((one) => one !== verb) } : other,
                ),
              } as unknown as KubeManifest)
            : object,
        );
        const found = await piece('expirer', short);
        const [group = ''] = rule.apiGroups;
        expect(found).toMatchObject({
          rights: 'no',
          missing: rule.resources.map((one) => `${verb} ${one}${group === '' ? '' : `.${group}`}`),
        });
        expect(found?.problems.join()).toContain('templates/grants/expirer.yaml');
      }
  });

  it('the watch: its pods, who leads, and since when nobody does', async () => {
    const watch = (available: number): KubeManifest => ({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: {
        name: 'sallyport-watch',
        namespace: 'ops',
        labels: { 'app.kubernetes.io/name': 'sallyport-watch' },
      },
      spec: { template: { spec: { serviceAccountName: 'sallyport-watch' } } },
      status: { availableReplicas: available },
    });
    const lease = (renewTime: string): KubeManifest => ({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'sallyport-watch', namespace: 'ops' },
      spec: { holderIdentity: 'pod-1', renewTime },
    });
    const account = { kind: 'ServiceAccount', name: 'sallyport-watch', namespace: 'ops' };
    const rights = held([buildSideRole('watcher')], account);
    expect(await piece('watch', [])).toMatchObject({ installed: 'no' });
    expect(await piece('watch', [watch(1), lease(ago(5)), ...rights])).toMatchObject({
      installed: 'yes',
      where: 'ops/sallyport-watch',
      lastRun: ago(5),
      rights: 'yes',
      problems: [],
      facts: ['1 pod ready', 'pod-1 leads'],
    });
    // One that leads needs its Lease, there and nowhere else.
    const spec = { serviceAccountName: 'sallyport-watch', containers: [{ args: ['watch', '--lead', 'ops'] }] };
    const leading: KubeManifest = { ...watch(1), spec: { template: { spec } } };
    const roleIn = (namespace: string): readonly KubeManifest[] => [
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'Role',
        metadata: { name: 'lead', namespace },
        rules: JSON.parse(JSON.stringify(LEAD_RULES)) as Json,
      },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name: 'lead', namespace },
        roleRef: { kind: 'Role', name: 'lead' },
        subjects: [account],
      },
    ];
    expect(await piece('watch', [leading, lease(ago(5)), ...rights, ...roleIn('ops')])).toMatchObject({
      rights: 'yes',
      problems: [],
    });
    const elsewhere = await piece('watch', [leading, lease(ago(5)), ...rights, ...roleIn('shop')]);
    expect(elsewhere).toMatchObject({ rights: 'no' });
    expect(elsewhere?.problems.join()).toContain('templates/watch/watch.yaml');
    const stale = await piece('watch', [watch(0), lease(ago(600))]);
    expect(stale?.rights).toBe('no');
    expect(stale?.problems.map((one) => one.slice(0, 40))).toEqual([
      'none of its pods is ready: kubectl logs ',
      'the lead was last renewed 10 min ago: no',
      expect.stringContaining('its account may not') as string,
    ]);
  });

  it('probes that were left, and who holds the role for shells', async () => {
    const pod: KubeManifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'probe-1', namespace: 'shop', labels: { 'sallyport.dev/probe': 'run-1' } },
    };
    expect((await piece('prober', [pod]))?.problems[0]).toContain('1 probe left: shop/probe-1');
    const role = { ...buildClusterRole('observer'), metadata: { name: 'sallyport-access', labels: {} } };
    expect((await piece('access', held([role])))?.problems[0]).toContain('tester by sallyport-access-tester');
    expect((await piece('access', []))?.facts).toEqual(['nobody is bound to sallyport-access']);
  });

  it('what may not be read is unknown, and says so', async () => {
    const refusing: KubeApi = {
      ...apiOf([]),
      send: () =>
        Promise.resolve({
          ok: false,
          problem: { kind: 'refused', status: 403, reason: 'Forbidden', message: 'no', causes: [] },
        } as never),
    };
    const pieces = await readPieces(refusing, NOW);
    expect(pieces.map(({ installed }) => installed)).toEqual(['unknown', 'unknown', 'unknown', 'unknown']);
    expect(pieces.every(({ facts }) => facts[0]?.includes('may not be listed'))).toBe(true);
  });
});

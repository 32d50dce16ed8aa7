// Dialects on a real API server with the definitions that the projects publish: what is written is admitted, whatever the evidence; the way to
// the allow-list and back; and rights one verb short.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { guardRail, inDialect, portRules, stagedOf } from '../../src/candidates/dialect.ts';
import type { Target } from '../../src/engine/contract.ts';
import type { Config, Dialect } from '../../src/model/config.ts';
import type { Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { groupOf, namespaceOf, refKey, refOf } from '../../src/model/object.ts';
import { buildNetworkPolicy } from '../../src/objects/build.ts';
import { changeRef } from '../../src/plan/change.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { isWritten, pluralOf } from '../../src/sources/kube/rights.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace, startControllers } from '../support/apiserver/controllers.ts';
import { installDefinitions } from '../support/apiserver/crds.ts';
import { dialectDefinitions } from '../support/apiserver/dialect-crds.ts';
import fc from '../support/fast-check.ts';
import { makeFolder } from '../support/folder.ts';
import { CONFIG, edgesOf, openRig } from '../support/rig.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const tag = randomBytes(4).toString('hex');
const [front, back] = [`dialect-front-${tag}`, `dialect-back-${tag}`];
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
let installed: readonly string[] = [];

/** Two namespaces with a Deployment each. */
async function makeTeams(front: string, back: string): Promise<void> {
  for (const [namespace, name] of [
    [front, 'web'],
    [back, 'db'],
  ] as const) {
    await admin.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
    const labels = { app: name };
    // A sidecar calls with its identity where a Service leads.
    await admin.must('POST', `/api/v1/namespaces/${namespace}/services`, {
      metadata: { name },
      spec: { selector: labels, ports: [{ name: 'tcp', port: 8080, targetPort: 8080 }] },
    });
    await admin.must('POST', `/apis/apps/v1/namespaces/${namespace}/deployments`, {
      metadata: { name, labels },
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: { containers: [{ name: 'main', image: 'example.com/main:1', ports: [{ containerPort: 8080 }] }] },
        },
      },
    });
  }
}

beforeAll(async () => {
  installed = await installDefinitions(admin, Object.values(dialectDefinitions()).flat());
  await makeTeams(front, back);
});
afterAll(async () => {
  for (const name of [front, back]) await deleteNamespace(admin, name);
  for (const name of installed) {
    await admin.request('DELETE', `${DEFINITIONS}/${name}`);
    for (let tries = 0; tries < 100; tries += 1) {
      if ((await admin.request('GET', `${DEFINITIONS}/${name}`)).status === 404) break;
      await delay(100);
    }
  }
  admin.close();
});

const rootOf = ({ apiVersion, kind, metadata }: KubeManifest): string => {
  const { namespace } = metadata as { readonly namespace?: string };
  return `/apis/${apiVersion}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${pluralOf(kind)}`;
};

/** As the product asks it: unknown fields are refused, and nothing is written. */
async function admitted(object: KubeManifest): Promise<void> {
  const { status, text } = await admin.request('POST', `${rootOf(object)}?dryRun=All&fieldValidation=Strict`, object);
  expect(status, `${JSON.stringify(object)}\n${text}`).toBe(201);
}

const labelArb = fc.dictionary(
  fc.constantFrom('app', 'tier', 'app.kubernetes.io/name', 'example.com/part-of'),
  fc.constantFrom('a', 'B.c_d-e', '', 'x'.repeat(63), '0'),
  { minKeys: 1, maxKeys: 3 },
);
const portArb = fc.oneof(
  fc.integer({ min: 1, max: 65_535 }).map((port) => ({ port })),
  fc.integer({ min: 1, max: 60_000 }).map((port) => ({ port, endPort: port + 500 })),
);
const peerArb: fc.Arbitrary<JsonObject> = fc.oneof(
  labelArb.map((matchLabels) => ({ podSelector: { matchLabels } })),
  fc.tuple(fc.constantFrom(front, back, 'kube-system'), labelArb).map(([name, matchLabels]) => ({
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } },
    podSelector: { matchLabels },
  })),
  fc.constantFrom('203.0.113.7/32', '0.0.0.0/0', '2001:db8::/32', '10.0.0.0/8').map((cidr) => ({ ipBlock: { cidr } })),
);
/** Some rules have more ports than one entry of Cilium's holds. */
const rulesArb = fc.array(
  fc.record(
    {
      peers: fc.array(peerArb, { minLength: 1, maxLength: 4 }),
      ports: fc.array(fc.tuple(fc.constantFrom('TCP', 'UDP', 'SCTP'), portArb), { maxLength: 90, size: 'max' }),
    },
    { requiredKeys: ['ports'] },
  ),
  { maxLength: 4 },
);
const policyArb = fc
  .record({ labels: labelArb, direction: fc.constantFrom('ingress' as const, 'egress' as const), rules: rulesArb })
  .map(({ labels, direction, rules }) =>
    buildNetworkPolicy(
      { name: 'sallyport-some', namespace: front, workload: `${front}/Deployment/web` },
      labels,
      direction,
      rules.map(({ peers, ports }) => ({
        ...(peers === undefined ? {} : { [direction === 'ingress' ? 'from' : 'to']: peers }),
        ...(ports.length === 0 ? {} : { ports: ports.map(([protocol, port]) => ({ protocol, ...port })) }),
      })),
    ),
  );

describe('what dialects write is admitted by the definitions of the projects', () => {
  it.each(['cilium', 'calico'] as const)('%s: every translation of a policy', async (dialect) => {
    await fc.assert(
      fc.asyncProperty(policyArb, async (policy) => {
        await admitted(policy);
        const other = inDialect(policy, dialect);
        expect(other.kind === policy.kind && other.apiVersion === policy.apiVersion).toBe(false);
        await admitted(other);
        if (dialect === 'calico') await admitted(stagedOf(other));
      }),
      { numRuns: 120 },
    );
  });

  it.each([
    ['AdminNetworkPolicy', undefined],
    ['ClusterNetworkPolicy', new Set(['clusternetworkpolicies.policy.networking.k8s.io'])],
  ] as const)('admin: every guard rail as %s', async (kind, kinds) => {
    let seen = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(policyArb, { maxLength: 4 }), async (policies) => {
        const rail = guardRail(front, policies, kinds);
        if (rail === undefined) return;
        seen += 1;
        expect(rail.kind).toBe(kind);
        await admitted(rail);
      }),
      { numRuns: 120 },
    );
    expect(seen).toBeGreaterThan(10);
  });

  it('more ports than an entry of Cilium holds would be refused in one, and are admitted in several', async () => {
    const ports = Array.from({ length: 41 }, (_, index) => ({ port: String(1000 + index), protocol: 'TCP' }));
    const policy = (toPorts: unknown): KubeManifest =>
      ({
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNetworkPolicy',
        metadata: { name: 'many', namespace: front },
        spec: { endpointSelector: {}, ingress: [{ fromEntities: ['all'], toPorts }] },
      }) as unknown as KubeManifest;
    const whole = await admin.request('POST', `${rootOf(policy([]))}?dryRun=All`, policy([{ ports }]));
    expect(whole.status).toBe(422);
    await admitted(policy(portRules(ports)));
  });

  it('and the definitions refuse what is wrong, so that being admitted means something', async () => {
    const bad = (apiVersion: string, kind: string, spec: object, namespaced = true): KubeManifest => ({
      apiVersion,
      kind,
      metadata: { name: 'bad', ...(namespaced ? { namespace: front } : {}) },
      spec: spec as JsonObject,
    });
    for (const object of [
      bad('cilium.io/v2', 'CiliumNetworkPolicy', { endpointSelector: {}, ingress: [{ fromEntities: ['nobody'] }] }),
      bad('projectcalico.org/v3', 'NetworkPolicy', { selectors: 'all()' }),
      bad('projectcalico.org/v3', 'StagedNetworkPolicy', { stagedActions: 'Set' }),
      bad('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', { priority: 1001 }, false),
      bad('policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy', { tier: 'Nobody', priority: 1 }, false),
    ]) {
      const { status } = await admin.request('POST', `${rootOf(object)}?dryRun=All&fieldValidation=Strict`, object);
      expect([object.kind, status >= 400 && status < 500]).toEqual([object.kind, true]);
    }
  });
});

/** The server's platform is of Cilium: what tells of it is left out, so that the configuration states another CNI. */
function withoutCilium(target: Target): Target {
  const isCilium = ({ metadata }: KubeManifest): boolean => metadata.name.startsWith('cilium');
  return {
    ...target,
    readSnapshot: async (onProgress) => {
      const snapshot = await target.readSnapshot(onProgress);
      return {
        ...snapshot,
        objects: snapshot.objects.filter((one) => groupOf(one.apiVersion) === 'cilium.io' || !isCilium(one)),
      };
    },
  };
}

function isOf(object: KubeManifest, namespaces: readonly string[]): boolean {
  const { name } = object.metadata;
  return namespaces.some((one) => namespaceOf(object) === one || name === one || name === `sallyport-${one}`);
}

/** Controllers make these in their own time, before the first look or after it. */
const OF_CONTROLLERS = new Set(['ReplicaSet', 'EndpointSlice']);

function mine({ objects }: Snapshot, namespaces: readonly string[]): readonly string[] {
  return objects
    .filter((object) => isOf(object, namespaces) && !OF_CONTROLLERS.has(object.kind))
    .filter(({ kind, metadata }) => kind !== 'ServiceAccount' || metadata.name !== 'default')
    .map((object) => {
      const { metadata, spec } = object as unknown as { metadata: Record<string, unknown>; spec?: unknown };
      // What a controller writes of its own accord.
      const annotations = Object.entries(metadata['annotations'] ?? {}).filter(
        ([key]) => key !== 'deployment.kubernetes.io/revision',
      );
      return JSON.stringify([refKey(refOf(object)), metadata['labels'], annotations, spec]);
    })
    .sort();
}

/** The phases whose objects are of a dialect's kinds; those after them are run whole in test/engine/dialects.test.ts. */
const PHASES = ['monitor', 'allow-list'] as const;

describe('the way to the allow-list and back', () => {
  it.each([
    ['cilium', 'cilium', 'cilium.io/CiliumNetworkPolicy'],
    ['calico', 'calico', 'projectcalico.org/NetworkPolicy'],
    ['admin', 'ovn-kubernetes', 'policy.networking.k8s.io/ClusterNetworkPolicy'],
  ] as const)('in the dialect %s', async (dialect: Dialect, cni, own) => {
    const config: Config = {
      ...CONFIG,
      gates: { ...CONFIG.gates, soak: 'off' },
      dialect,
      cluster: { ...CONFIG.cluster, cni: { name: cni, ipBlockMatches: [] } },
    };
    const teams = [`team-${dialect}-front-${tag}`, `team-${dialect}-back-${tag}`] as const;
    const [front, back] = teams;
    await makeTeams(front, back);
    const played = connect(shared.controllers);
    const controllers = await startControllers(played, { namespaces: teams });
    const opened = await openClusterTarget({ kubeconfig: shared.kubeconfig, clock: systemClock });
    const rig = openRig({
      target: withoutCilium(opened),
      stateFile: join(await makeFolder(), 'state.sqlite'),
      clock: systemClock,
      facts: { edges: edgesOf(`${front}/Deployment/web -> ${back}/Deployment/db 8080`), config },
    });
    try {
      const start = mine(await rig.target.readSnapshot(), teams);
      for (const to of PHASES)
        for (const namespace of [front, back]) {
          const plan = await rig.planUp(namespace, to);
          for (const { change } of plan.steps) {
            const { apiVersion, kind } = changeRef(change);
            expect([
              kind,
              isWritten(groupOf(apiVersion), kind, change.kind === 'edit' ? 'patch' : change.kind),
            ]).toEqual([kind, true]);
          }
          const run = await rig.advance(namespace, to);
          expect([run.outcome, run.phase, run.failed]).toEqual(['done', to, []]);
          const { objects } = await rig.target.readSnapshot();
          expect(checkDrift(rig.journal.applied(), objects)).toEqual([]);
          // Defaults of the server are no difference: nothing is left to write.
          expect((await rig.planUp(namespace, to)).steps.map(({ id }) => id)).toEqual([]);
        }
      const { objects } = await rig.target.readSnapshot();
      const kinds = new Set(
        objects.filter((one) => isOf(one, teams)).map(({ apiVersion, kind }) => `${groupOf(apiVersion)}/${kind}`),
      );
      expect([...kinds]).toContain(own);
      expect([...kinds]).not.toContain('projectcalico.org/StagedNetworkPolicy');
      for (const namespace of [front, back])
        expect(await rig.rollback(namespace, 'none')).toMatchObject({ outcome: 'done', phase: 'none' });
      expect(mine(await rig.target.readSnapshot(), teams)).toEqual(start);
    } finally {
      await rig.close();
      await controllers.stop();
      played.close();
      for (const name of teams) await deleteNamespace(admin, name);
    }
  });
});

describe('rights one verb short', () => {
  const alice = shared.users['alice'];
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const name = `cluster-policies-${tag}`;
  const rail: KubeManifest = guardRail(
    front,
    [buildNetworkPolicy({ name: 'x', namespace: front }, { app: 'web' }, 'ingress', [])],
    undefined,
  ) as KubeManifest;

  async function hold(without: string | undefined): Promise<void> {
    await drop();
    const text = await readFile(new URL('../../templates/rbac/cluster-policies.yaml', import.meta.url), 'utf8');
    const { rules } = parse(text) as { rules: readonly { verbs: readonly string[] }[] };
    const short = rules.map((rule) => ({ ...rule, verbs: rule.verbs.filter((verb) => verb !== without) }));
    await admin.must('POST', `${rbac}/clusterroles`, { metadata: { name }, rules: short });
    await admin.must('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
    });
    // The authorizer learns of a binding a moment later.
    const client = connect(alice ?? shared.admin);
    const asked = async (verb: string): Promise<boolean> => {
      const { body } = await client.must('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
        spec: { resourceAttributes: { verb, group: 'policy.networking.k8s.io', resource: 'adminnetworkpolicies' } },
      });
      return (body as { status: { allowed: boolean } }).status.allowed;
    };
    for (const verb of ['get', 'create', 'patch', 'delete'])
      await expect.poll(() => asked(verb), { timeout: 20_000 }).toBe(verb !== without);
    client.close();
  }
  async function drop(): Promise<void> {
    await admin.request('DELETE', `${rbac}/clusterrolebindings/${name}`);
    await admin.request('DELETE', `${rbac}/clusterroles/${name}`);
  }
  afterAll(async () => {
    await drop();
    await admin.request('DELETE', `${rootOf(rail)}/${rail.metadata.name}`);
  });

  it('cluster-policies: whole it writes and takes back a guard rail; without create or delete it is refused, by name', async () => {
    // The cluster's identity is read from a namespace.
    const reader = `reader-${tag}`;
    await admin.must('POST', `${rbac}/clusterroles`, {
      metadata: { name: reader },
      rules: [{ apiGroups: [''], resources: ['namespaces'], verbs: ['get'] }],
    });
    await admin.must('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name: reader },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: reader },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
    });
    try {
      await hold(undefined);
      const target = await openClusterTarget({ kubeconfig: alice?.kubeconfig ?? '', clock: systemClock });
      const made = await target.apply({ kind: 'create', object: rail });
      expect(made.outcome).toBe('created');
      const live = made.live as KubeManifest;
      await hold('delete');
      const remove = { kind: 'delete', ref: refOf(live), before: live } as const;
      await expect(target.apply(remove)).rejects.toMatchObject({
        detail: { code: 'SP403', message: expect.stringContaining('adminnetworkpolicies') as string },
      });
      await hold('create');
      expect((await target.apply(remove)).outcome).toBe('deleted');
      await expect(target.apply({ kind: 'create', object: rail })).rejects.toMatchObject({
        detail: { code: 'SP403', message: expect.stringContaining('adminnetworkpolicies') as string },
      });
      await target.close();
    } finally {
      await admin.request('DELETE', `${rbac}/clusterrolebindings/${reader}`);
      await admin.request('DELETE', `${rbac}/clusterroles/${reader}`);
    }
  });
});

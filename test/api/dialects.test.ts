// Dialects on a real API server with the definitions that the projects publish: what is written is admitted, whatever the evidence; the way to
// identity and back; and rights one verb short.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { guardRail, inDialect, portRules, stagedOf } from '../../src/candidates/dialect.ts';
import type { Target } from '../../src/engine/contract.ts';
import type { Config, Dialect } from '../../src/model/config.ts';
import type { Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { groupOf, namespaceOf, refKey, refOf } from '../../src/model/object.ts';
import { buildNetworkPolicy } from '../../src/objects/build.ts';
import { executePlan } from '../../src/engine/run.ts';
import { assembleUp, openGates } from '../../src/plan/assemble.ts';
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
import { listAll, resources } from '../support/apiserver/objects.ts';
import type { Pod } from '../support/apiserver/objects.ts';
import { expectOneVerbShort, openHolder, shippedRules } from '../support/apiserver/roles.ts';
import fc from '../support/fast-check.ts';
import { makeFolder } from '../support/folder.ts';
import { CONFIG, edgesOf, openRig, plannerFor } from '../support/rig.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const tag = randomBytes(4).toString('hex');
const [front, back] = [`dialect-front-${tag}`, `dialect-back-${tag}`];
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
let installed: readonly string[] = [];

/** Two namespaces with their Deployments, which all run as `default`. */
async function makeTeams(workloads: readonly (readonly [string, string])[], replicas: number): Promise<void> {
  for (const namespace of new Set(workloads.map(([namespace]) => namespace)))
    await admin.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  for (const [namespace, name] of workloads) {
    const labels = { app: name };
    // A sidecar calls with its identity where a Service leads.
    await admin.must('POST', `/api/v1/namespaces/${namespace}/services`, {
      metadata: { name },
      spec: { selector: labels, ports: [{ name: 'tcp', port: 8080, targetPort: 8080 }] },
    });
    await admin.must('POST', `/apis/apps/v1/namespaces/${namespace}/deployments`, {
      metadata: { name, labels },
      spec: {
        replicas,
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
  await makeTeams(
    [
      [front, 'web'],
      [back, 'db'],
    ],
    0,
  );
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
const OF_CONTROLLERS = new Set(['ReplicaSet', 'EndpointSlice', 'Pod']);

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

const PHASES = ['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const;

/** What runs in a namespace: whether a proxy is beside it, and the account that it runs as. */
async function running(namespace: string): Promise<readonly string[]> {
  const pods = (await listAll<Pod>(admin, resources.pods)).filter((pod) => pod.metadata?.namespace === namespace);
  return pods
    .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
    .map(({ spec }) => {
      const names = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].map(({ name }) => name);
      return `${names.includes('istio-proxy') ? 'proxy' : 'plain'} as ${spec?.serviceAccountName ?? ''}`;
    })
    .sort();
}

describe('the way to identity and back', () => {
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
    await makeTeams(
      [
        [front, 'web'],
        [front, 'batch'],
        [back, 'db'],
      ],
      1,
    );
    const played = connect(shared.controllers);
    const controllers = await startControllers(played, { namespaces: teams });
    const opened = await openClusterTarget({ kubeconfig: shared.kubeconfig, clock: systemClock });
    const rig = openRig({
      target: withoutCilium(opened),
      stateFile: join(await makeFolder(), 'state.sqlite'),
      clock: systemClock,
      facts: {
        edges: edgesOf(`
          ${front}/Deployment/web -> ${back}/Deployment/db 8080
          ${front}/Deployment/batch -> ${back}/Deployment/db 8080
          ${front}/Deployment/batch -> ${front}/Deployment/web 8080`),
        config,
      },
    });
    try {
      const start = mine(await rig.target.readSnapshot(), teams);
      for (const to of PHASES)
        for (const namespace of [front, back]) {
          const plan = await rig.planUp(namespace, to);
          expect(openGates(plan)).toEqual([]);
          for (const { change } of plan.steps) {
            const { apiVersion, kind } = changeRef(change);
            expect([
              kind,
              isWritten(groupOf(apiVersion), kind, change.kind === 'edit' ? 'patch' : change.kind),
            ]).toEqual([kind, true]);
          }
          const run = await executePlan(plan, 'advance', rig.engine);
          expect([run.outcome, run.phase, run.failed]).toEqual(['done', to, []]);
          const view = await rig.view(namespace);
          expect(checkDrift(rig.journal.applied(), view.snapshot.objects)).toEqual([]);
          // Defaults of the server are no difference: nothing is left to write.
          expect(assembleUp(view, to, plannerFor('cluster')).steps.map(({ id }) => id)).toEqual([]);
        }
      const { objects } = await rig.target.readSnapshot();
      const kinds = new Set(
        objects.filter((one) => isOf(one, teams)).map(({ apiVersion, kind }) => `${groupOf(apiVersion)}/${kind}`),
      );
      expect([...kinds]).toEqual(
        expect.arrayContaining([own, 'security.istio.io/PeerAuthentication', 'security.istio.io/AuthorizationPolicy']),
      );
      expect([...kinds]).not.toContain('projectcalico.org/StagedNetworkPolicy');
      await controllers.settle();
      expect(await running(front)).toEqual(['proxy as batch', 'proxy as web']);
      // Nobody else runs as it, so `default` stays.
      expect(await running(back)).toEqual(['proxy as default']);

      // Back by the way of the allow-list, which stands as it did.
      expect(await rig.rollback(back, 'allow-list')).toMatchObject({ outcome: 'done', phase: 'allow-list' });
      for (const namespace of [front, back])
        expect(await rig.rollback(namespace, 'none')).toMatchObject({ outcome: 'done', phase: 'none' });
      await controllers.settle();
      expect(mine(await rig.target.readSnapshot(), teams)).toEqual(start);
      expect(await running(front)).toEqual(['plain as default', 'plain as default']);
      expect(await running(back)).toEqual(['plain as default']);
    } finally {
      await rig.close();
      await controllers.stop();
      played.close();
      for (const name of teams) await deleteNamespace(admin, name);
    }
  });
});

describe('rights one verb short', () => {
  const alice = shared.users['alice'] ?? { ...shared.admin, kubeconfig: '' };
  const holder = openHolder(admin, alice, `cluster-policies-${tag}`);
  const rail: KubeManifest = guardRail(
    front,
    [buildNetworkPolicy({ name: 'x', namespace: front }, { app: 'web' }, 'ingress', [])],
    undefined,
  ) as KubeManifest;
  afterAll(async () => {
    await holder.drop();
    await admin.request('DELETE', `${rootOf(rail)}/${rail.metadata.name}`);
  });

  it('cluster-policies: whole it writes and takes back a guard rail; without a verb it is refused, by name', async () => {
    await holder.begin();
    const target = await openClusterTarget({ kubeconfig: alice.kubeconfig, clock: systemClock });
    try {
      const rules = shippedRules('cluster-policies');
      await expectOneVerbShort({ admin, holder, target }, rules, rail, ['spec', 'priority'], 7);
    } finally {
      await target.close();
    }
  });
});

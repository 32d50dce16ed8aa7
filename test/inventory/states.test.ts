// A state of a plan is made from the one before it. It must be what the same objects amount to when all is made anew.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildInventory } from '../../src/inventory/build.ts';
import { inventoryStates } from '../../src/inventory/states.ts';
import type { Config } from '../../src/model/config.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Inventory, Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { namespaceOf, objectKey } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import { applyToObjects } from '../../src/plan/change.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { getPath, setPath } from '../../src/shared/pure/json.ts';
import { sortBy } from '../../src/shared/pure/order.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';
import fc from '../support/fast-check.ts';
import { CLUSTER_FACTS } from '../support/rig.ts';
import { readFixture, shippedSignatures } from './snapshots.ts';

const signatures = shippedSignatures();
const ROOT = join(import.meta.dirname, '../..');

/** Clusters with pods and without, with a control plane of a mesh and without; the last has two objects of one key. */
const CLUSTERS: readonly (readonly [string, () => Promise<Snapshot>, Partial<Config>])[] = [
  ['live', () => readFixture('live'), {}],
  ['platform', () => readFixture('platform', 'directory'), {}],
  ['bad-policies', () => readFixture('bad-policies', 'directory'), { cluster: CLUSTER_FACTS }],
  [
    'fraud-detection',
    () => readManifestDirectory(join(ROOT, 'examples/fraud-detection/cluster')),
    { cluster: CLUSTER_FACTS },
  ],
  [
    'twins',
    async () => {
      const snapshot = await readFixture('live');
      const again = snapshot.objects
        .filter(({ kind }) => ['NetworkPolicy', 'Deployment'].includes(kind))
        .map((object) => ({ ...object }));
      return { ...snapshot, objects: sortBy([...snapshot.objects, ...again], objectKey) };
    },
    {},
  ],
];

const POLICIES: readonly (readonly [string, string, Json])[] = [
  ['networking.k8s.io/v1', 'NetworkPolicy', { podSelector: {}, policyTypes: ['Ingress'] }],
  ['security.istio.io/v1', 'PeerAuthentication', { mtls: { mode: 'STRICT' } }],
  ['security.istio.io/v1', 'AuthorizationPolicy', { rules: [{}] }],
  ['security.istio.io/v1', 'RequestAuthentication', { jwtRules: [] }],
  ['networking.istio.io/v1', 'DestinationRule', { host: '*.local', trafficPolicy: { tls: { mode: 'DISABLE' } } }],
  ['networking.istio.io/v1', 'Sidecar', { egress: [{ hosts: ['./*'] }] }],
  ['networking.istio.io/v1', 'ServiceEntry', { hosts: ['x.example'], ports: [] }],
  ['cilium.io/v2', 'CiliumNetworkPolicy', { endpointSelector: {}, ingress: [{}] }],
  ['projectcalico.org/v3', 'NetworkPolicy', { selector: 'all()', types: ['Ingress'] }],
];
/** Kinds that others than the evaluator look at, or that nobody knows. */
const OTHERS: readonly (readonly [string, string, Readonly<Record<string, Json>>])[] = [
  ['networking.istio.io/v1', 'Gateway', { spec: { selector: { app: 'web' } } }],
  ['gateway.networking.k8s.io/v1', 'Gateway', { spec: { gatewayClassName: 'istio-waypoint' } }],
  ['example.com/v1', 'Widget', { spec: {} }],
  ['v1', 'ConfigMap', { data: { URL: 'http://web:8080' } }],
  ['v1', 'Service', { spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] } }],
  ['v1', 'Service', { spec: { ports: [{ port: 80 }] } }],
  ['rbac.authorization.k8s.io/v1', 'RoleBinding', { subjects: [] }],
  ['v1', 'ServiceAccount', {}],
  ['v1', 'ServiceAccount', { metadata: { annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/x' } } }],
  ['batch/v1', 'Job', { spec: { template: { metadata: { labels: { app: 'job' } }, spec: { containers: [] } } } }],
  [
    'v1',
    'Pod',
    {
      metadata: { labels: { app: 'web' } },
      spec: { containers: [{ name: 'istio-proxy', image: 'istio/proxyv2:1.29', args: ['proxy', 'sidecar'] }] },
      status: { phase: 'Running', podIP: '10.1.2.3' },
    },
  ],
];
const LABELS: readonly (readonly [string, string])[] = [
  ['sidecar.istio.io/inject', 'true'],
  ['sidecar.istio.io/inject', 'false'],
  ['istio.io/dataplane-mode', 'ambient'],
  ['istio-injection', 'enabled'],
  ['app', 'other'],
  ['azure.workload.identity/use', 'true'],
];
const IMAGES = ['docker.io/istio/pilot:1.29.0', 'prom/prometheus:v3', 'calico/node:v3', 'example.com/x:1'];

type Act =
  | { readonly kind: 'policy' | 'other'; readonly which: number; readonly where: number; readonly name: number }
  | { readonly kind: 'delete'; readonly which: number }
  | { readonly kind: 'delete-pods'; readonly which: number }
  | {
      readonly kind: 'label' | 'image' | 'account' | 'namespace' | 'spec';
      readonly which: number;
      readonly to: number;
    };

const number = fc.nat(10_000);
const anyAct: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('policy' as const), which: number, where: number, name: fc.nat(2) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('other' as const), which: number, where: number, name: fc.nat(2) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), which: number }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete-pods' as const), which: number }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom('label', 'label', 'image', 'account', 'account', 'namespace', 'spec'),
      which: number,
      to: number,
    }),
  },
);

const at = <T>(list: readonly T[], index: number): T | undefined => list[index % Math.max(1, list.length)];

/** The template of pods of an owner, where it has one. */
function templateOf(object: KubeManifest): readonly string[] | undefined {
  return [
    ['spec', 'template'],
    ['spec', 'jobTemplate', 'spec', 'template'],
  ].find((path) => getPath(object, path) !== undefined);
}

function edited(object: KubeManifest, path: readonly string[], after: Json): readonly Change[] {
  const { apiVersion, kind, metadata } = object;
  const namespace = namespaceOf(object);
  const ref = { apiVersion, kind, name: metadata.name, ...(namespace === undefined ? {} : { namespace }) };
  return [{ kind: 'edit', ref, fields: [{ path, before: getPath(object, path), after }], owner: 'other' }];
}

function deleted(object: KubeManifest): Change {
  const { apiVersion, kind, metadata } = object;
  const namespace = namespaceOf(object);
  const ref = { apiVersion, kind, name: metadata.name, ...(namespace === undefined ? {} : { namespace }) };
  return { kind: 'delete', ref, before: object };
}

function changesOf(act: Act, { objects }: Snapshot): readonly Change[] {
  const namespaces = [...new Set(objects.flatMap((object) => namespaceOf(object) ?? [])), 'new'];
  const owners = objects.filter((object) => templateOf(object) !== undefined);
  switch (act.kind) {
    case 'policy':
    case 'other': {
      const [apiVersion, kind, rest] =
        act.kind === 'policy'
          ? ((at(POLICIES, act.which) ?? []) as readonly [string, string, Json])
          : ((at(OTHERS, act.which) ?? []) as readonly [string, string, Readonly<Record<string, Json>>]);
      const body = act.kind === 'policy' ? { spec: rest } : (rest as Readonly<Record<string, Json>>);
      const metadata = {
        ...((body as Readonly<Record<string, object>>)['metadata'] ?? {}),
        name: `made-${act.name}`,
        namespace: at(namespaces, act.where) ?? 'x',
      };
      return [{ kind: 'create', object: { apiVersion, kind, ...body, metadata } }];
    }
    case 'delete': {
      const object = at(objects, act.which);
      return object === undefined ? [] : [deleted(object)];
    }
    case 'delete-pods': {
      const pods = objects.filter(({ kind }) => kind === 'Pod');
      const namespace = namespaceOf(at(pods, act.which) ?? { apiVersion: 'v1', kind: 'Pod', metadata: { name: '' } });
      return pods.filter((pod) => namespaceOf(pod) === namespace).map(deleted);
    }
    case 'namespace': {
      const object = at(
        objects.filter(({ kind }) => kind === 'Namespace'),
        act.which,
      );
      const [key, value] = at(LABELS, act.to) ?? ['a', 'b'];
      return object === undefined ? [] : edited(object, ['metadata', 'labels', key], value);
    }
    case 'label':
    case 'image':
    case 'account': {
      const owner = at(owners, act.which);
      const template = owner === undefined ? undefined : templateOf(owner);
      if (owner === undefined || template === undefined) return [];
      if (act.kind === 'label') {
        const [key, value] = at(LABELS, act.to) ?? ['a', 'b'];
        return edited(owner, [...template, 'metadata', 'labels', key], value);
      }
      if (act.kind === 'account')
        return edited(owner, [...template, 'spec', 'serviceAccountName'], `account-${act.to % 3}`);
      return edited(owner, [...template, 'spec', 'containers'], [{ name: 'main', image: at(IMAGES, act.to) ?? '' }]);
    }
    case 'spec': {
      const object = at(objects, act.which);
      if (object === undefined) return [];
      return edited(object, ['spec'], setPath({}, ['selector'], { app: 'web' }));
    }
  }
}

describe('the state after a change', () => {
  it.each(CLUSTERS)('of %s is what its objects amount to', async (_name, read, more) => {
    const first = await read();
    const options = { config: { ...DEFAULT_CONFIG, ...more }, signatures, now: 0 };
    const counts = { shared: 0, all: 0 };
    fc.assert(
      fc.property(
        fc.array(fc.array(anyAct, { minLength: 1, maxLength: 2 }), { minLength: 3, maxLength: 10 }),
        (steps) => {
          const states = inventoryStates(options);
          let snapshot = first;
          let before: Inventory = states.start(first);
          expect(before).toEqual(buildInventory(first, options));
          for (const acts of steps) {
            let { objects } = snapshot;
            for (const act of acts)
              for (const change of changesOf(act, { ...snapshot, objects })) objects = applyToObjects(objects, change);
            const next = { ...snapshot, objects };
            const after = states.rebuild(next, snapshot);
            expect(after).toEqual({ ...buildInventory(next, options), findings: [] });
            counts.all += 1;
            if (after.nodes === before.nodes && objects !== snapshot.objects) counts.shared += 1;
            snapshot = next;
            before = after;
          }
        },
      ),
      { numRuns: 40 },
    );
    // Otherwise nothing was made from the state before.
    expect(counts.shared).toBeGreaterThan(counts.all / 5);
  });

  it('shares what the change does not bear on', async () => {
    const first = await readFixture('live');
    const options = { config: DEFAULT_CONFIG, signatures, now: 0 };
    const states = inventoryStates(options);
    const before = states.start(first);
    const owner = first.objects.find(
      ({ kind, metadata }) => kind === 'Deployment' && metadata['ownerReferences'] === undefined,
    );
    if (owner === undefined) throw new Error('no Deployment');
    const isolating = applyToObjects(first.objects, {
      kind: 'create',
      object: {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'x', namespace: namespaceOf(owner) ?? '' },
        spec: { podSelector: {} },
      },
    });
    const isolated = states.rebuild({ ...first, objects: isolating }, first);
    expect(isolated.policies).toHaveLength(before.policies.length + 1);
    for (const part of ['workloads', 'services', 'namespaces', 'nodes', 'facts', 'declared'] as const)
      expect(isolated[part], part).toBe(before[part]);
    const [labelling] = edited(owner, ['spec', 'template', 'metadata', 'labels', 'x'], 'y');
    if (labelling === undefined) throw new Error('no change');
    const labelled = states.rebuild(
      { ...first, objects: applyToObjects(isolating, labelling) },
      { ...first, objects: isolating },
    );
    const differ = labelled.workloads.filter((workload, index) => workload !== before.workloads[index]);
    expect(differ.map(({ id }) => id)).toEqual([`${namespaceOf(owner) ?? ''}/Deployment/${owner.metadata.name}`]);
  });
});

// One meaning in several words: the candidates of generated namespaces, written in each dialect, give the same verdict on every pair and port.
import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { dialectFault, guardRail, stagedOf } from '../../src/candidates/dialect.ts';
import type { CandidateContext } from '../../src/candidates/network.ts';
import { deriveNetworkCandidate } from '../../src/candidates/network.ts';
import type { Dialect } from '../../src/model/config.ts';
import { connectivity } from '../../src/model/connectivity.ts';
import type { Edge } from '../../src/model/edge.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory, Labels } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { buildDefaultDeny, buildNetworkPolicy } from '../../src/objects/build.ts';
import { edgeOf } from '../support/rig.ts';
import { connection, inventoryOf } from '../support/world.ts';

const NAMESPACES = ['a', 'b', 'c'];
const PORTS = [80, 8080, 9000];
const OUTSIDE = ['external:203.0.113.7', 'external:198.51.100.20'];
const CNI: Readonly<Record<Dialect, string>> = {
  kubernetes: 'calico',
  cilium: 'cilium',
  calico: 'calico',
  admin: 'ovn-kubernetes',
};

interface Sketch {
  readonly id: string;
  readonly labels: Labels;
}

const sketchesArb: fc.Arbitrary<readonly Sketch[]> = fc
  .uniqueArray(
    fc.record({
      namespace: fc.constantFrom(...NAMESPACES),
      app: fc.constantFrom('x', 'y', 'z'),
      tier: fc.constantFrom('front', 'back'),
    }),
    { selector: ({ namespace, app, tier }) => `${namespace}/${app}/${tier}`, minLength: 2, maxLength: 7 },
  )
  .map((list) =>
    list.map(({ namespace, app, tier }) => ({
      id: `${namespace}/Deployment/${app}-${tier}`,
      labels: { 'app.kubernetes.io/name': app, tier },
    })),
  );

interface Sample {
  readonly workloads: readonly Sketch[];
  readonly edges: readonly Edge[];
  /** Namespaces that are isolated; the others are as they were. */
  readonly isolated: readonly string[];
}

const sampleArb: fc.Arbitrary<Sample> = sketchesArb.chain((workloads) => {
  const ids = workloads.map(({ id }) => id);
  return fc.record({
    workloads: fc.constant(workloads),
    isolated: fc.subarray(NAMESPACES, { minLength: 1 }),
    edges: fc
      .uniqueArray(
        fc.record({
          src: fc.constantFrom(...ids),
          dst: fc.constantFrom(...ids, ...ids, ...OUTSIDE),
          port: fc.constantFrom(...PORTS),
          protocol: fc.constantFrom('TCP', 'UDP'),
        }),
        { selector: (one) => JSON.stringify(one), maxLength: 12 },
      )
      .map((list) =>
        list
          .filter(({ src, dst }) => src !== dst)
          .map(({ src, dst, port, protocol }) => edgeOf(`${src} -> ${dst} ${port}/${protocol}`)),
      ),
  });
});

function inventoryFor({ workloads }: Sample, cni: string): Inventory {
  return inventoryOf({
    namespaces: {
      ...Object.fromEntries(NAMESPACES.map((name) => [name, { 'kubernetes.io/metadata.name': name }])),
      'kube-system': { 'kubernetes.io/metadata.name': 'kube-system' },
    },
    workloads: {
      ...Object.fromEntries(
        workloads.map(({ id, labels }, index) => [
          id,
          // Some pods have no address yet.
          { labels, ports: PORTS, pods: [index % 3 === 2 ? '@n1' : `10.0.0.${index + 1}@n1`] },
        ]),
      ),
      'kube-system/Deployment/coredns': { labels: { 'k8s-app': 'kube-dns' }, ports: ['dns=53/UDP', 'dns-tcp=53/TCP'] },
    },
    // As the inventory reads them of each (docs/policy-semantics.md).
    cni: { name: cni, enforces: 'yes', ipBlockMatches: cni === 'calico' ? ['pods', 'nodes', 'api-server'] : [] },
  });
}

function policiesIn(
  dialect: Dialect,
  sample: Sample,
  cni: string,
  kinds?: ReadonlySet<string>,
): { inventory: Inventory; policies: KubeManifest[] } {
  const inventory = inventoryFor(sample, cni);
  const context: CandidateContext = {
    inventory,
    edges: sample.edges,
    system: {
      dns: {
        namespace: 'kube-system',
        labels: { 'k8s-app': 'kube-dns' },
        workloads: ['kube-system/Deployment/coredns'],
        ports: [
          { port: 53, protocol: 'UDP' },
          { port: 53, protocol: 'TCP' },
        ],
        nodeAddresses: [],
        nodeLocal: false,
      },
    },
    waived: () => false,
    meshed: new Set(),
    plaintextExempt: () => false,
    dialect,
  };
  const policies = sample.isolated.flatMap((namespace) => {
    const own = inventory.workloads
      .filter((workload) => workload.namespace === namespace)
      .flatMap((workload) =>
        (['ingress', 'egress'] as const).flatMap((direction) => {
          const { object } = deriveNetworkCandidate(context, workload, direction);
          return object === undefined ? [] : [object];
        }),
      );
    const rail = dialect === 'admin' ? guardRail(namespace, own, kinds) : undefined;
    return [
      ...own,
      buildDefaultDeny({ name: 'sallyport-default-deny', namespace }),
      ...(rail === undefined ? [] : [rail]),
    ];
  });
  return { inventory, policies };
}

const answers = (inventory: Inventory, policies: readonly KubeManifest[], sample: Sample): readonly string[] => {
  const world = compileWorld({ ...inventory, policies });
  const pairs = [...connectivity(world)].map(
    ({ src, dst, allowed, unknown }) =>
      `${src} -> ${dst} ${JSON.stringify(allowed)} unknown ${JSON.stringify(unknown.map(({ protocol, from, to }) => [protocol, from, to]))}`,
  );
  const outside = sample.workloads.flatMap(({ id }) =>
    OUTSIDE.flatMap((other) =>
      PORTS.flatMap((port) =>
        [`${id} -> ${other}`, `${other} -> ${id}`].map((ends) => {
          const text = `${ends} ${port}/TCP`;
          return `${text} ${evaluateConnection(world, connection(text)).answer}`;
        }),
      ),
    ),
  );
  return [...pairs, ...outside];
};

const CLUSTER_KINDS = new Set(['clusternetworkpolicies.policy.networking.k8s.io']);

describe.each([
  ['cilium', undefined],
  ['calico', undefined],
  ['admin', undefined],
  ['admin', CLUSTER_KINDS],
] as const)('the dialect %s', (dialect, kinds) => {
  it('says the same as NetworkPolicy of every pair of workloads and every address outside', () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const plain = policiesIn('kubernetes', sample, CNI[dialect]);
        const other = policiesIn(dialect, sample, CNI[dialect], kinds);
        expect(answers(other.inventory, other.policies, sample)).toEqual(
          answers(plain.inventory, plain.policies, sample),
        );
      }),
      { numRuns: 60 },
    );
  });
});

const SAMPLE: Sample = {
  workloads: [
    { id: 'a/Deployment/web', labels: { app: 'web' } },
    { id: 'b/Deployment/db', labels: { app: 'db' } },
    { id: 'c/Deployment/other', labels: { app: 'other' } },
  ],
  edges: [edgeOf('a/Deployment/web -> b/Deployment/db 8080/TCP')],
  isolated: ['b'],
};
const ask = (inventory: Inventory, policies: readonly KubeManifest[], text: string): string =>
  evaluateConnection(compileWorld({ ...inventory, policies }), connection(text)).answer;

/** Where the words do not mean the same: each stands in docs/dialects.md. */
describe('what differs', () => {
  it('a guard rail holds against a NetworkPolicy that a team adds later; the policies alone do not', () => {
    const team = buildNetworkPolicy({ name: 'open', namespace: 'b' }, { app: 'db' }, 'ingress', [{}]);
    const intruder = 'c/Deployment/other -> b/Deployment/db 8080/TCP';
    const plain = policiesIn('kubernetes', SAMPLE, 'ovn-kubernetes');
    const admin = policiesIn('admin', SAMPLE, 'ovn-kubernetes');
    expect(ask(plain.inventory, [...plain.policies, team], intruder)).toBe('allowed');
    expect(ask(admin.inventory, [...admin.policies, team], intruder)).toBe('denied');
    expect(ask(admin.inventory, [...admin.policies, team], 'a/Deployment/web -> b/Deployment/db 8080/TCP')).toBe(
      'allowed',
    );
  });

  it('egress to the own node is admitted by NetworkPolicy, and under a CiliumNetworkPolicy only where it is named', () => {
    const sample: Sample = { ...SAMPLE, isolated: ['a'] };
    const node = 'a/Deployment/web -> node 10250/TCP';
    const plain = policiesIn('kubernetes', sample, 'cilium');
    const cilium = policiesIn('cilium', sample, 'cilium');
    expect(ask(plain.inventory, plain.policies, node)).toBe('allowed');
    expect(ask(cilium.inventory, cilium.policies, node)).not.toBe('allowed');
  });

  it('a direction that admits everybody or an address has no guard rail', () => {
    const open = buildNetworkPolicy({ name: 'hook', namespace: 'b' }, { app: 'db' }, 'ingress', [
      { ports: [{ port: 443 }] },
    ]);
    const block = buildNetworkPolicy({ name: 'out', namespace: 'b' }, { app: 'db' }, 'egress', [
      { to: [{ ipBlock: { cidr: '203.0.113.7/32' } }] },
    ]);
    expect(guardRail('b', [open, block], undefined)).toBeUndefined();
    expect(guardRail('b', [open], undefined)?.['spec']).not.toHaveProperty('ingress');
  });
});

describe('a rehearsed policy of Calico', () => {
  it('has the rules of the enforced one and denies nothing', () => {
    const { inventory, policies } = policiesIn('calico', SAMPLE, 'calico');
    const own = policies.filter(({ apiVersion }) => apiVersion === 'projectcalico.org/v3');
    expect(own.length).toBeGreaterThan(0);
    const staged = own.map(stagedOf);
    expect(staged.map(({ kind, spec }) => [kind, spec])).toEqual(
      own.map(({ spec }) => ['StagedNetworkPolicy', { stagedAction: 'Set', ...(spec as object) }]),
    );
    const intruder = 'c/Deployment/other -> b/Deployment/db 8080/TCP';
    expect(ask(inventory, own, intruder)).toBe('denied');
    expect(ask(inventory, staged, intruder)).toBe('allowed');
  });
});

describe('a cluster that does not take a dialect', () => {
  const facts = (name: string) => ({ cni: { name, enforces: 'yes' as const, ipBlockMatches: [], why: '' } }) as never;
  it.each([
    ['cilium', 'calico', undefined, false, 'does not enforce CiliumNetworkPolicy'],
    ['cilium', 'cilium', new Set<string>(), false, 'no CustomResourceDefinition ciliumnetworkpolicies'],
    ['calico', 'cilium', undefined, false, 'does not enforce policies of Calico'],
    ['calico', 'calico', new Set(['networkpolicies.crd.projectcalico.org']), false, 'API server is not installed'],
    ['admin', 'kindnet', undefined, false, 'it is not known whether kindnet'],
    ['admin', 'calico', new Set<string>(), true, 'no CustomResourceDefinition of policy.networking.k8s.io'],
  ] as const)('%s under %s', (dialect, cni, kinds, calicoApi, why) => {
    expect(dialectFault(dialect, { facts: facts(cni), kinds, calicoApi })).toContain(why);
  });
  it.each([
    ['kubernetes', 'kindnet', new Set<string>(), false],
    ['cilium', 'cilium', undefined, false],
    ['calico', 'calico', new Set<string>(), true],
    ['admin', 'ovn-kubernetes', new Set(['adminnetworkpolicies.policy.networking.k8s.io']), false],
  ] as const)('%s is taken under %s', (dialect, cni, kinds, calicoApi) => {
    expect(dialectFault(dialect, { facts: facts(cni), kinds, calicoApi })).toBeUndefined();
  });
});

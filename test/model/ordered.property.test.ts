import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { ConnectionQuery } from '../../src/model/verdict.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import type { CalicoMeaning } from '../support/naive-ordered.ts';
import { naiveAdmin, naiveCalico, naiveCilium } from '../support/naive-ordered.ts';
import { endpoint, inventoryOf, manifest, networkPolicy } from '../support/world.ts';

/* Few names, labels, ports and addresses, so that generated things meet. */

const NAMESPACES = ['n1', 'n2', 'n3'] as const;
const labels = fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y'), { maxKeys: 2 });
const smallPort = fc.integer({ min: 1, max: 6 });
const protocol = fc.constantFrom('TCP' as const, 'TCP' as const, 'UDP' as const);
const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom('a', 'b'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('x', 'y'), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ key: fc.constantFrom('a', 'b'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);
const selector: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: labels }),
  fc.record({ matchExpressions: fc.array(expression, { minLength: 1, maxLength: 2 }) }),
);
const NETWORKS = ['0.0.0.0/0', '10.0.0.0/29', '10.0.0.2/31', '8.8.8.8/32', '8.0.0.0/8'];
const network = fc.constantFrom(...NETWORKS);
const some = <Value>(one: fc.Arbitrary<Value>): fc.Arbitrary<Value[]> => fc.array(one, { minLength: 1, maxLength: 2 });
const plain = (value: object): JsonObject => JSON.parse(JSON.stringify(value)) as JsonObject;

const additivePolicy: fc.Arbitrary<KubeManifest> = fc
  .record({
    namespace: fc.constantFrom(...NAMESPACES),
    podSelector: selector,
    types: fc.subarray(['Ingress', 'Egress'], { minLength: 1 }),
    peers: fc.array(fc.record({ podSelector: selector, namespaceSelector: selector }), { maxLength: 2 }),
    ports: fc.array(fc.record({ port: smallPort, protocol }), { maxLength: 2 }),
    rules: fc.integer({ min: 0, max: 1 }),
  })
  .map(({ namespace, podSelector, types, peers, ports, rules }) =>
    networkPolicy(`${namespace}/np`, {
      podSelector,
      policyTypes: types,
      ingress: rules === 0 ? [] : [{ from: peers, ports }],
      egress: rules === 0 ? [] : [{ to: peers, ports }],
    }),
  );

interface Case {
  readonly inventory: Inventory;
  readonly query: ConnectionQuery;
}

function cases(cni: string, policies: fc.Arbitrary<readonly KubeManifest[]>): fc.Arbitrary<Case> {
  return fc
    .record({
      namespaces: fc.tuple(labels, labels, labels),
      workloads: fc.array(
        fc.record({
          namespace: fc.constantFrom(...NAMESPACES),
          labels,
          ports: fc.subarray(['p=1', 'q=2', '3', 'p=4/UDP']),
          pods: fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 2 }),
        }),
        { minLength: 2, maxLength: 3 },
      ),
      own: policies,
      kubernetes: fc.array(additivePolicy, { maxLength: 2 }),
      ends: fc.tuple(fc.nat(), fc.nat(), fc.constantFrom('both', 'both', 'both', 'src', 'dst')),
      outside: fc.constantFrom('external:8.8.8.8', 'external:1.1.1.1', 'external:10.0.0.1'),
      protocol,
      port: smallPort,
      more: fc.constantFrom(0, 0, 0, 1, 3),
    })
    .map(({ namespaces, workloads, own, kubernetes, ends, outside, protocol: asked, port, more }) => {
      const ids = workloads.map(({ namespace }, index) => `${namespace}/Deployment/w${index}`);
      const pick = (n: number): string => ids[n % ids.length] ?? '';
      return {
        inventory: inventoryOf({
          namespaces: Object.fromEntries(NAMESPACES.map((name, index) => [name, namespaces[index] ?? {}])),
          workloads: Object.fromEntries(
            workloads.map(({ pods, ...rest }, index) => [
              ids[index] ?? '',
              { ...rest, pods: pods.map((n) => `10.0.0.${n}@k1`) },
            ]),
          ),
          policies: [
            ...own.map((one, index) => renamed(one, `p${index}`)),
            ...kubernetes.map((one, index) => renamed(one, `np${index}`)),
          ],
          cni: { name: cni, ipBlockMatches: cni === 'cilium' ? [] : ['pods', 'nodes', 'api-server'] },
        }),
        query: {
          src: endpoint(ends[2] === 'dst' ? outside : pick(ends[0])),
          dst: endpoint(ends[2] === 'src' ? outside : pick(ends[1])),
          protocol: asked,
          port,
          ...(more === 0 ? {} : { endPort: port + more }),
        },
      };
    });
}

function renamed(policy: KubeManifest, name: string): KubeManifest {
  return policy.kind === 'Tier' || policy.metadata.name === 'default'
    ? policy
    : { ...policy, metadata: { ...policy.metadata, name } };
}

const RUNS = 4000;
const numRuns = Number(process.env['FC_RUNS'] ?? RUNS);
// One seed, so that a run repeats; with FC_RUNS every run looks elsewhere.
const seeded = process.env['FC_RUNS'] === undefined ? { seed: 20_260_106 } : {};

/** Everything is known: the answer is never unknown, and always what the reading aloud says. */
function agrees(generated: fc.Arbitrary<Case>, naive: (inventory: Inventory, query: ConnectionQuery) => boolean): void {
  const seen = { allowed: 0, denied: 0 };
  fc.assert(
    fc.property(generated, ({ inventory, query }) => {
      const { answer } = evaluateConnection(compileWorld(inventory), query);
      const expected = naive(inventory, query) ? 'allowed' : 'denied';
      seen[expected] += 1;
      expect(answer).toBe(expected);
    }),
    { numRuns, ...seeded },
  );
  // Generated cases are worth nothing if they all answer the same.
  expect(seen.allowed).toBeGreaterThan(numRuns / 10);
  expect(seen.denied).toBeGreaterThan(numRuns / 10);
}

/** What is not known may make an answer unknown, and never another one. */
function holdsOnLess(
  generated: fc.Arbitrary<Case>,
  naive: (inventory: Inventory, query: ConnectionQuery) => boolean,
): void {
  let sure = 0;
  const hidden = fc.tuple(
    fc.subarray([...NAMESPACES]),
    fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 3, maxLength: 3 }),
  );
  fc.assert(
    fc.property(generated, hidden, ({ inventory, query }, [undeclared, less]) => {
      const known: Inventory = {
        ...inventory,
        namespaces: inventory.namespaces.map((one) =>
          (undeclared as readonly string[]).includes(one.name) ? { ...one, labels: {}, declared: false } : one,
        ),
        workloads: inventory.workloads.map((one, index) => {
          if (less[index] === 0) return { ...one, podSets: [] };
          return less[index] === 1 ? { ...one, podSets: one.podSets.map((set) => ({ ...set, pods: [] })) } : one;
        }),
      };
      const { answer } = evaluateConnection(compileWorld(known), query);
      if (answer === 'unknown') return;
      sure += 1;
      expect(answer).toBe(naive(inventory, query) ? 'allowed' : 'denied');
    }),
    { numRuns, ...seeded },
  );
  expect(sure).toBeGreaterThan(numRuns / 3);
}

describe('a naive reading of admin policies', () => {
  const podPeer = fc.record({ pods: fc.record({ namespaceSelector: selector, podSelector: selector }) });
  const spacePeer = selector.map((namespaces) => ({ namespaces }));
  const networks = fc.record({ networks: some(network) });
  const port: fc.Arbitrary<Json> = fc.oneof(
    fc.record({ portNumber: fc.record({ protocol, port: smallPort }) }),
    fc
      .tuple(protocol, smallPort, smallPort)
      .map(([of, first, more]) => ({ portRange: { protocol: of, start: first, end: first + more } })),
    fc.record({ namedPort: fc.constantFrom('p', 'q') }),
  );
  const protocols: fc.Arbitrary<Json> = fc.oneof(
    smallPort.map((number) => ({ tcp: { destinationPort: { number } } })),
    fc
      .tuple(smallPort, smallPort)
      .map(([start, more]) => ({ udp: { destinationPort: { range: { start, end: start + more } } } })),
    fc.constantFrom<Json>({ tcp: {} }, { destinationNamedPort: 'p' }),
  );
  const rules = (way: 'ingress' | 'egress', actions: readonly string[], isCluster: boolean): fc.Arbitrary<Json[]> =>
    fc.array(
      fc
        .record({
          action: fc.constantFrom(...actions),
          peers: some(way === 'ingress' ? fc.oneof(podPeer, spacePeer) : fc.oneof(podPeer, spacePeer, networks)),
          ports: fc.option(some(isCluster ? protocols : port), { nil: undefined }),
        })
        .map(({ action, peers, ports }) =>
          plain({
            action,
            [way === 'ingress' ? 'from' : 'to']: peers,
            [isCluster ? 'protocols' : 'ports']: ports,
          }),
        ),
      { maxLength: 3 },
    );
  const specOf = (actions: readonly string[], isCluster: boolean): fc.Arbitrary<JsonObject> =>
    fc.record({
      subject: fc.oneof(podPeer, spacePeer),
      ingress: rules('ingress', actions, isCluster),
      egress: rules('egress', actions, isCluster),
    });
  const [v1, v2] = ['policy.networking.k8s.io/v1alpha1', 'policy.networking.k8s.io/v1alpha2'] as const;
  const admins = fc.array(specOf(['Allow', 'Deny', 'Pass'], false), { maxLength: 2 });
  const clusters = fc.array(fc.tuple(fc.constantFrom('Admin', 'Baseline'), specOf(['Accept', 'Deny', 'Pass'], true)), {
    maxLength: 2,
  });
  const baseline = fc.option(specOf(['Allow', 'Deny'], false), { nil: undefined });
  const priorities = fc.uniqueArray(fc.integer({ min: 1, max: 1000 }), { minLength: 4, maxLength: 4 });
  const policies = fc.tuple(admins, clusters, baseline, priorities).map(([one, two, three, order]) => [
    ...one.map((spec, index) => manifest(v1, 'AdminNetworkPolicy', 'p', { ...spec, priority: order[index] ?? 0 })),
    ...two.map(([tier, spec], index) =>
      manifest(v2, 'ClusterNetworkPolicy', 'p', { ...spec, tier, priority: order[index + 2] ?? 0 }),
    ),
    // The baseline without a priority comes before those that have one.
    ...(three === undefined ? [] : [manifest(v1, 'BaselineAdminNetworkPolicy', 'default', three)]),
  ]);

  it('agrees where everything is known', () => {
    agrees(cases('ovn-kubernetes', policies), naiveAdmin);
  });

  it('is never contradicted by an answer given on less knowledge', () => {
    holdsOnLess(cases('calico', policies), naiveAdmin);
  });
});

describe('a naive reading of Cilium', () => {
  const inNamespace = fc.constantFrom<JsonObject>(
    {},
    { 'k8s:io.kubernetes.pod.namespace': 'n1' },
    { 'k8s:io.kubernetes.pod.namespace': 'n2' },
    { 'k8s:io.cilium.k8s.namespace.labels.a': 'x' },
  );
  const endpoints = fc.oneof(
    selector,
    fc.tuple(labels, inNamespace).map(([own, more]) => ({ matchLabels: { ...own, ...more } })),
    fc.constant({ matchExpressions: [{ key: 'k8s:io.kubernetes.pod.namespace', operator: 'Exists' }] }),
  );
  const blocks = fc.constantFrom<Json>(
    { cidr: '0.0.0.0/0' },
    { cidr: '8.0.0.0/8', except: ['8.8.8.0/24'] },
    { cidr: '8.8.8.8/32' },
  );
  const port = fc.oneof(
    fc.record({ port: smallPort.map(String), protocol: fc.constantFrom('TCP', 'UDP', 'ANY') }),
    fc
      .tuple(smallPort, smallPort)
      .map(([first, more]) => ({ port: String(first), endPort: first + more, protocol: 'TCP' })),
    fc.record({ port: fc.constantFrom('p', 'q'), protocol: fc.constantFrom('TCP', 'UDP') }),
  );
  const rule = (at: string, deny: boolean): fc.Arbitrary<JsonObject> =>
    fc
      .record({
        peers: fc.oneof(
          fc.array(endpoints, { maxLength: 2 }).map((list) => ({ [`${at}Endpoints`]: list })),
          fc
            .subarray(['all', 'cluster', 'world', 'none'], { minLength: 1, maxLength: 2 })
            .map((list) => ({ [`${at}Entities`]: list })),
          some(blocks).map((list) => ({ [`${at}CIDRSet`]: list })),
          fc.constant({}),
        ),
        ports: fc.option(some(port), { nil: undefined }),
      })
      .map(({ peers, ports }) => {
        // A deny rule that says nothing is left open.
        const none = deny && Object.keys(peers).length === 0 && ports === undefined;
        const own = none ? [{ port: '1', protocol: 'TCP' }] : ports;
        return plain({ ...peers, ...(own === undefined ? {} : { toPorts: [{ ports: own }] }) });
      });
  const list = (at: string, deny: boolean): fc.Arbitrary<JsonObject[] | undefined> =>
    fc.option(fc.array(rule(at, deny), { maxLength: 2 }), { nil: undefined });
  const spec = fc
    .record({
      endpointSelector: selector,
      ingress: list('from', false),
      ingressDeny: list('from', true),
      egress: list('to', false),
      egressDeny: list('to', true),
      enableDefaultDeny: fc.constantFrom(undefined, undefined, { ingress: false }, { egress: false, ingress: false }),
    })
    .map(plain);
  const policies = fc.array(
    fc
      .tuple(fc.constantFrom('', ...NAMESPACES), spec, fc.option(spec, { nil: undefined }))
      .map(([namespace, one, two]) => {
        const own = namespace === '' ? 'p' : `${namespace}/p`;
        const kind = namespace === '' ? 'CiliumClusterwideNetworkPolicy' : 'CiliumNetworkPolicy';
        const base = manifest('cilium.io/v2', kind, own, one);
        return two === undefined ? base : { ...base, specs: [two] };
      }),
    { maxLength: 3 },
  );

  it('agrees where everything is known', () => {
    agrees(cases('cilium', policies), naiveCilium);
  });

  it('is never contradicted by an answer given on less knowledge', () => {
    holdsOnLess(cases('cilium', policies), naiveCilium);
  });
});

describe('a naive reading of Calico', () => {
  type Meaning = (of: Readonly<Record<string, string>>) => boolean;
  const meaning = new Map<string, Meaning>();
  const said = (text: string, means: Meaning): string => {
    meaning.set(text, means);
    return text;
  };
  const of: CalicoMeaning = meaning;
  const key = fc.constantFrom('a', 'b');
  const value = fc.constantFrom('x', 'y');
  const simple: fc.Arbitrary<string> = fc.oneof(
    fc.constant(said('all()', () => true)),
    fc.tuple(key, value).map(([k, v]) => said(`${k} == '${v}'`, (own) => own[k] === v)),
    fc.tuple(key, value).map(([k, v]) => said(`${k} != "${v}"`, (own) => own[k] !== v)),
    key.map((k) => said(`has(${k})`, (own) => own[k] !== undefined)),
    key.map((k) => said(`${k} in {'x', 'z'}`, (own) => own[k] === 'x')),
    key.map((k) => said(`${k} not in { "x" }`, (own) => own[k] !== 'x')),
    key.map((k) => said(`${k} starts with 'x'`, (own) => own[k]?.startsWith('x') === true)),
  );
  const calicoSelector: fc.Arbitrary<string> = fc.oneof(
    simple,
    simple,
    simple.map((one) => said(`!(${one})`, (own) => !(of.get(one)?.(own) ?? false))),
    fc
      .tuple(simple, simple)
      .map(([one, two]) =>
        said(`${one} || ${two}`, (own) => of.get(one)?.(own) === true || of.get(two)?.(own) === true),
      ),
    fc
      .tuple(simple, simple, simple)
      .map(([one, two, three]) =>
        said(
          `(${one} || ${two}) && ${three}`,
          (own) => (of.get(one)?.(own) === true || of.get(two)?.(own) === true) && of.get(three)?.(own) === true,
        ),
      ),
  );
  const maybe = <Value>(one: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
    fc.option(one, { nil: undefined, freq: 2 });
  const entity = fc.record({
    selector: maybe(calicoSelector),
    notSelector: fc.option(calicoSelector, { nil: undefined, freq: 1 }).map((one) => one),
    namespaceSelector: maybe(simple),
    nets: fc.option(some(network), { nil: undefined, freq: 1 }),
    notNets: fc.option(some(fc.constantFrom('10.0.0.2/31', '8.0.0.0/8')), { nil: undefined, freq: 1 }),
  });
  const ports = some(
    fc.oneof(
      smallPort,
      fc.tuple(smallPort, smallPort).map(([first, more]) => `${first}:${first + more}`),
      fc.constantFrom('p', 'q'),
    ),
  );
  const rule = fc
    .record({
      action: fc.constantFrom('Allow', 'Allow', 'Deny', 'Pass', 'Log'),
      source: maybe(entity),
      destination: maybe(entity),
      protocol: maybe(protocol),
      notProtocol: fc.constantFrom(undefined, undefined, 'TCP', 'UDP'),
      ports: maybe(ports),
      notPorts: maybe(ports),
    })
    .map(({ action, source, destination, protocol: own, notProtocol, ports: on, notPorts }) =>
      plain({
        action,
        source,
        protocol: own,
        notProtocol,
        destination: own === undefined ? destination : { ...destination, ports: on, notPorts },
      }),
    );
  const spec = fc.record({
    selector: maybe(calicoSelector),
    types: fc.subarray(['Ingress', 'Egress'], { minLength: 1 }),
    ingress: fc.array(rule, { maxLength: 3 }),
    egress: fc.array(rule, { maxLength: 3 }),
    tier: fc.constantFrom(undefined, undefined, 'early', 'late'),
  });
  const tiers = fc
    .tuple(fc.constantFrom('Deny', 'Pass'), fc.constantFrom(undefined, 'Deny', 'Pass'))
    .map(([early, late]) => [
      manifest('projectcalico.org/v3', 'Tier', 'early', { order: 10, defaultAction: early }),
      manifest('projectcalico.org/v3', 'Tier', 'late', plain({ defaultAction: late })),
    ]);
  const one = fc.tuple(fc.constantFrom('', ...NAMESPACES), spec, maybe(simple));
  const policies = fc
    .tuple(
      tiers,
      fc.array(one, { maxLength: 3 }),
      fc.uniqueArray(fc.constantFrom(1, 2, 999, 1001, 2000), { minLength: 3, maxLength: 3 }),
    )
    .map(([own, list, orders]) => [
      ...own,
      ...list.map(([namespace, body, namespaceSelector], index) => {
        const order = orders[index] ?? 0;
        return namespace === ''
          ? manifest('projectcalico.org/v3', 'GlobalNetworkPolicy', 'p', plain({ ...body, order, namespaceSelector }))
          : manifest('projectcalico.org/v3', 'NetworkPolicy', `${namespace}/p`, plain({ ...body, order }));
      }),
    ]);
  const naive = (inventory: Inventory, query: ConnectionQuery): boolean => naiveCalico(inventory, query, meaning);

  it('agrees where everything is known', () => {
    agrees(cases('calico', policies), naive);
  });

  it('is never contradicted by an answer given on less knowledge', () => {
    holdsOnLess(cases('calico', policies), naive);
  });
});

import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { changedConnections, connectivity } from '../../src/model/connectivity.ts';
import type { Connection, ConnectivityOptions } from '../../src/model/connectivity.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { World } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { naiveEvaluate } from '../support/naive-evaluate.ts';
import { inventoryOf, manifest, networkPolicy } from '../support/world.ts';

/* Few names, labels, ports and addresses, so that generated things meet; everything may be left out, hidden or broken. */

const NAMESPACES = ['n1', 'n2', 'n3'] as const;
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
/** Every port that a generated rule can end or start at, its neighbours, and both ends of the range. */
const PORTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 65_535];

const labels = fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y'), { maxKeys: 2 });
const expression: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.record({
    key: fc.constantFrom('a', 'b', 'pod-template-hash'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('x', 'y', 'z'), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ key: fc.constantFrom('a', 'b'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);
const selector: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: labels }),
  fc.record({ matchExpressions: fc.array(expression, { minLength: 1, maxLength: 2 }) }),
);
const namespaceSelector: fc.Arbitrary<JsonObject> = fc.oneof(
  selector,
  fc.constantFrom(...NAMESPACES).map((name) => ({ matchLabels: { 'kubernetes.io/metadata.name': name } })),
);
const peer: fc.Arbitrary<JsonObject> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ podSelector: selector }) },
  { weight: 2, arbitrary: fc.record({ namespaceSelector }) },
  { weight: 3, arbitrary: fc.record({ podSelector: selector, namespaceSelector }) },
  fc.constantFrom('0.0.0.0/0', '10.0.0.0/29', '10.0.0.2/31', '192.168.0.2/32').map((cidr) => ({ ipBlock: { cidr } })),
  fc.constant({ ipBlock: { cidr: '10.0.0.0/29', except: ['10.0.0.2/31'] } }),
);
const smallPort = fc.integer({ min: 1, max: 6 });
const protocol = fc.constantFrom(...PROTOCOLS);
const rulePort: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.record({ port: smallPort }),
  fc.record({ port: smallPort, protocol }),
  fc.record({ protocol }),
  fc.record({ port: fc.constantFrom('p', 'q'), protocol }),
  fc.tuple(smallPort, fc.integer({ min: 0, max: 3 })).map(([port, more]) => ({ port, endPort: port + more })),
);
const rule = (field: 'from' | 'to'): fc.Arbitrary<JsonObject> =>
  fc.record({ [field]: fc.array(peer, { maxLength: 2 }), ports: fc.array(rulePort, { maxLength: 2 }) });
const spec: fc.Arbitrary<JsonObject> = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.constantFrom(['Ingress'], ['Egress'], ['Ingress', 'Egress'], []),
    ingress: fc.array(rule('from'), { maxLength: 3 }),
    egress: fc.array(rule('to'), { maxLength: 3 }),
  },
  { requiredKeys: [] },
);
const validPolicy = fc.tuple(fc.constantFrom(...NAMESPACES), spec);

const podSet = fc.record({
  labels,
  ports: fc.subarray(['p=1', 'q=2', '3', 'p=4/UDP', 'q=5/TCP', '6/SCTP']),
  initPorts: fc.constantFrom<readonly string[]>([], [], [], ['p=2']),
  hostNetwork: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
  pods: fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.constantFrom('k1', 'k2', 'k3')), {
    minLength: 1,
    maxLength: 3,
  }),
});

/** Policies that are not valid, of kinds that are not evaluated, or of Cilium. */
const otherPolicy: fc.Arbitrary<(index: number) => KubeManifest> = fc.oneof(
  validPolicy.map(
    ([namespace, one]) =>
      (index: number) =>
        networkPolicy(`${namespace}/broken${index}`, { ...one, ingres: [] }),
  ),
  fc.tuple(fc.constantFrom(...NAMESPACES), selector).map(
    ([namespace]) =>
      (index: number) =>
        networkPolicy(`${namespace}/odd${index}`, { podSelector: { matchLabels: { a: 7 } } }),
  ),
  fc.tuple(selector, fc.boolean()).map(
    ([pods, ingress]) =>
      (index: number) =>
        manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', `admin${index}`, {
          priority: index,
          subject: { pods: { namespaceSelector: {}, podSelector: pods } },
          [ingress ? 'ingress' : 'egress']: [{ action: 'Deny' }],
        }),
  ),
  fc.constantFrom('a == "x"', 'all()').map(
    (text) => (index: number) =>
      manifest('projectcalico.org/v3', 'GlobalNetworkPolicy', `calico${index}`, {
        selector: text,
        types: ['Ingress'],
      }),
  ),
  fc.constant((index: number) => manifest('projectcalico.org/v3', 'HostEndpoint', `host${index}`, {})),
  fc.tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom('cluster', 'host', 'world')).map(
    ([namespace, entity]) =>
      (index: number) =>
        manifest('cilium.io/v2', 'CiliumNetworkPolicy', `${namespace}/cilium${index}`, {
          endpointSelector: { matchLabels: { a: 'x' } },
          egress: [{ toEntities: [entity] }, { toEndpoints: [{ matchLabels: { b: 'y' } }] }],
        }),
  ),
);

const NODES = { k1: ['192.168.0.1'], k2: ['192.168.0.2'], k3: ['192.168.0.3'] } as const;

const known: fc.Arbitrary<Inventory> = fc
  .record({
    namespaces: fc.tuple(labels, labels, labels),
    workloads: fc.array(fc.tuple(fc.constantFrom(...NAMESPACES), fc.array(podSet, { minLength: 1, maxLength: 2 })), {
      minLength: 2,
      maxLength: 5,
    }),
    policies: fc.array(validPolicy, { maxLength: 6 }),
    ipBlockMatches: fc.subarray(['pods', 'nodes'] as const),
  })
  .map(({ namespaces, workloads, policies, ipBlockMatches }) =>
    inventoryOf({
      namespaces: Object.fromEntries(NAMESPACES.map((name, index) => [name, namespaces[index] ?? {}])),
      workloads: Object.fromEntries(
        workloads.map(([namespace, sets], index) => [
          `${namespace}/Deployment/w${index}`,
          sets.map((set, role) => ({
            ...set,
            role: `r${role}`,
            pods: set.pods.map(([n, node]) => `${set.hostNetwork ? NODES[node][0] : `10.0.0.${n}`}@${node}`),
          })),
        ]),
      ),
      nodes: NODES,
      policies: policies.map(([namespace, one], index) => networkPolicy(`${namespace}/p${index}`, one)),
      cni: { ipBlockMatches },
    }),
  );

/** The same with much of it hidden, and with policies that cannot be judged. */
const partlyKnown: fc.Arbitrary<Inventory> = fc
  .record({
    inventory: known,
    others: fc.array(otherPolicy, { maxLength: 2 }),
    cni: fc.record({
      name: fc.constantFrom('test', 'cilium', 'calico', 'ovn-kubernetes'),
      enforces: fc.constantFrom('yes', 'yes', 'yes', 'no', 'unknown'),
      ipBlockMatches: fc.subarray(['pods', 'nodes'] as const),
      because: fc.constant('the test says so'),
    }),
    undeclared: fc.subarray([...NAMESPACES]),
    withoutPods: fc.nat({ max: 31 }),
    withoutPodSets: fc.integer({ min: 0, max: 15 }),
    nodes: fc.constantFrom(3, 3, 1, 0),
  })
  .map(({ inventory, others, cni, undeclared, withoutPods, withoutPodSets, nodes }) => ({
    ...inventory,
    facts: { ...inventory.facts, cni },
    nodes: inventory.nodes.slice(0, nodes),
    namespaces: inventory.namespaces.map((one) =>
      (undeclared as readonly string[]).includes(one.name) ? { ...one, labels: {}, declared: false } : one,
    ),
    workloads: inventory.workloads.map((one, index) => ({
      ...one,
      podSets:
        withoutPodSets === index
          ? []
          : one.podSets.map((set) => (((withoutPods >> index) & 1) === 1 ? { ...set, pods: [] } : set)),
    })),
    policies: [...inventory.policies, ...others.map((make, index) => make(index))],
  }));

/** The naive reading knows one kind of container. */
function withoutInitContainers(inventory: Inventory): Inventory {
  return {
    ...inventory,
    workloads: inventory.workloads.map((one) => ({
      ...one,
      podSets: one.podSets.map((set) => ({ ...set, containers: set.containers.filter(({ init }) => !init) })),
    })),
  };
}

type Answer = 'allowed' | 'denied' | 'unknown';

function answerIn(connection: Connection | undefined, asked: string, port: number): Answer {
  const holds = (one: { protocol: string; from: number; to: number }): boolean =>
    one.protocol === asked && one.from <= port && port <= one.to;
  if (connection?.allowed.some(holds) === true) {
    if (connection.unknown.some(holds)) throw new Error('a port that is both allowed and unknown');
    return 'allowed';
  }
  return connection?.unknown.some(holds) === true ? 'unknown' : 'denied';
}

function table(world: World, options: ConnectivityOptions = {}): ReadonlyMap<string, Connection> {
  const rows = [...connectivity(world, options)];
  const keys = rows.map(({ src, dst }) => `${src} -> ${dst}`);
  const order = rows.map(({ src, dst }) => `${src}\u0000${dst}`);
  expect(order).toEqual([...new Set(order)].sort());
  expect(rows.every(({ src, dst, allowed, unknown }) => src !== dst && allowed.length + unknown.length > 0)).toBe(true);
  return new Map(rows.map((row, index) => [keys[index] ?? '', row]));
}

function eachPair(inventory: Inventory, see: (src: string, dst: string) => void): void {
  for (const { id: src } of inventory.workloads)
    for (const { id: dst } of inventory.workloads) if (src !== dst) see(src, dst);
}

const ends = (src: string, dst: string) =>
  ({ src: { kind: 'workload', id: src }, dst: { kind: 'workload', id: dst } }) as const;

const numRuns = Number(process.env['FC_RUNS'] ?? 1500);
const seeded = process.env['FC_RUNS'] === undefined ? { seed: 20_260_210 } : {};

describe('connectivity', () => {
  it('gives for every pair, protocol and port the answer of a single question', () => {
    const seen = { allowed: 0, denied: 0, unknown: 0 };
    fc.assert(
      fc.property(partlyKnown, (inventory) => {
        const world = compileWorld(inventory);
        const found = table(world);
        eachPair(inventory, (src, dst) => {
          for (const asked of PROTOCOLS) {
            for (const port of PORTS) {
              const query = { ...ends(src, dst), protocol: asked, port };
              const { answer } = evaluateConnection(world, query, { mesh: false });
              seen[answer] += 1;
              const here = answerIn(found.get(`${src} -> ${dst}`), asked, port);
              if (here !== answer)
                expect({ src, dst, asked, port, answer: here }).toEqual({ src, dst, asked, port, answer });
            }
          }
        });
      }),
      { numRuns, ...seeded },
    );
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(numRuns);
  }, 300_000);

  it('agrees with a naive reading of NetworkPolicy where everything is known', () => {
    let sure = 0;
    fc.assert(
      fc.property(known, (all) => {
        const inventory = withoutInitContainers(all);
        const found = table(compileWorld(inventory));
        eachPair(inventory, (src, dst) => {
          for (const asked of PROTOCOLS) {
            for (const port of PORTS) {
              const here = answerIn(found.get(`${src} -> ${dst}`), asked, port);
              if (here === 'unknown') continue;
              sure += 1;
              const { allowed } = naiveEvaluate(inventory, { ...ends(src, dst), protocol: asked, port });
              if ((here === 'allowed') !== allowed) expect([src, dst, asked, port, here]).toEqual(allowed);
            }
          }
        });
      }),
      { numRuns: Math.ceil(numRuns / 4), ...seeded },
    );
    expect(sure).toBeGreaterThan(numRuns * 10);
  }, 300_000);

  it('answers for some workloads and ports as it does for all', () => {
    fc.assert(
      fc.property(
        partlyKnown,
        fc.constantFrom(...PORTS),
        fc.option(protocol, { nil: undefined }),
        (inventory, port, asked) => {
          const world = compileWorld(inventory);
          const all = table(world);
          const [first] = inventory.workloads;
          const from = (id: string): boolean => id === first?.id;
          const only = { first: port, last: port, ...(asked === undefined ? {} : { protocol: asked }) };
          const some = table(world, { from, port: only });
          const to = table(world, { to: from, port: only });
          eachPair(inventory, (src, dst) => {
            for (const one of PROTOCOLS) {
              const key = `${src} -> ${dst}`;
              const wanted = asked === undefined || asked === one ? answerIn(all.get(key), one, port) : 'denied';
              if (from(src)) expect(answerIn(some.get(key), one, port)).toBe(wanted);
              else expect(some.has(key)).toBe(false);
              if (from(dst)) expect(answerIn(to.get(key), one, port)).toBe(wanted);
            }
          });
        },
      ),
      { numRuns: Math.ceil(numRuns / 4), ...seeded },
    );
  }, 300_000);

  it('finds by looking at what a changed policy selects every difference that comparing everything finds', () => {
    let differences = 0;
    fc.assert(
      fc.property(partlyKnown, fc.array(validPolicy, { maxLength: 2 }), fc.nat(), (inventory, added, drop) => {
        const kept = inventory.policies.filter((_, index) => index !== drop % (inventory.policies.length + 1));
        const changed = {
          ...inventory,
          policies: [
            ...kept,
            ...added.map(([namespace, one], index) => networkPolicy(`${namespace}/new${index}`, one)),
          ],
        };
        const before = compileWorld(inventory);
        // Fresh workloads: nothing is taken over, so that each world is worked out whole.
        const [old, now] = [inventory, changed].map((one) =>
          table(compileWorld({ ...one, workloads: [...one.workloads] })),
        );
        expect(table(before).size).toBe(old?.size);
        const found = [...changedConnections(before, compileWorld(changed))];
        const expected: object[] = [];
        const plain = (one: Connection | undefined) => ({ allowed: one?.allowed ?? [], unknown: one?.unknown ?? [] });
        for (const key of [...new Set([...(old?.keys() ?? []), ...(now?.keys() ?? [])])]) {
          const [had, has] = [old?.get(key), now?.get(key)];
          if (JSON.stringify(plain(had)) === JSON.stringify(plain(has))) continue;
          const [src = '', dst = ''] = key.split(' -> ');
          expected.push({ src, dst, before: plain(had), after: plain(has) });
        }
        differences += expected.length;
        const order = (one: object): string => JSON.stringify(one);
        expect(found.map(order).sort()).toEqual(expected.map(order).sort());
        expect(found.map(({ src, dst }) => `${src}\u0000${dst}`)).toEqual(
          found.map(({ src, dst }) => `${src}\u0000${dst}`).sort(),
        );
      }),
      { numRuns: Math.ceil(numRuns / 3), ...seeded },
    );
    expect(differences).toBeGreaterThan(numRuns / 3);
  }, 300_000);
});

import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { ConnectionQuery } from '../../src/model/verdict.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { naiveEvaluate } from '../support/naive-evaluate.ts';
import { endpoint, inventoryOf, networkPolicy } from '../support/world.ts';

/* Few names, labels, ports and addresses, so that generated things meet. */

const NAMESPACES = ['n1', 'n2', 'n3'] as const;
const NODES = { k1: ['192.168.0.1'], k2: ['192.168.0.2'], k3: ['192.168.0.3'] } as const;
const labels = fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y'), { maxKeys: 2 });
const protocol = fc.constantFrom('TCP', 'TCP', 'TCP', 'UDP', 'SCTP');
const smallPort = fc.integer({ min: 1, max: 6 });

const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom('a', 'b'),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom('x', 'y', 'z'), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ key: fc.constantFrom('a', 'b'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
);
const selector: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: labels }),
  fc.record({ matchExpressions: fc.array(expression, { minLength: 1, maxLength: 2 }) }),
  fc.record({ matchLabels: labels, matchExpressions: fc.array(expression, { maxLength: 1 }) }),
);
const namespaceSelector: fc.Arbitrary<JsonObject> = fc.oneof(
  selector,
  fc.constantFrom(...NAMESPACES).map((name) => ({ matchLabels: { 'kubernetes.io/metadata.name': name } })),
);
const CIDRS = [
  '0.0.0.0/0',
  '10.0.0.0/29',
  '10.0.0.2/31',
  '10.0.0.1/32',
  '192.168.0.0/30',
  '192.168.0.2/32',
  '8.8.8.8/32',
];
const block = fc.oneof(
  fc.constantFrom(...CIDRS).map((cidr): JsonObject => ({ cidr })),
  fc
    .subarray(['10.0.0.0/30', '192.168.0.1/32', '8.0.0.0/8'], { minLength: 1 })
    .map((except) => ({ cidr: '0.0.0.0/0', except })),
  fc.constant({ cidr: '10.0.0.0/29', except: ['10.0.0.3/32'] }),
);
const peer: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector }),
  fc.record({ podSelector: selector, namespaceSelector }),
  fc.record({ ipBlock: block }),
);
const rulePort: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.record({ port: smallPort }),
  fc.record({ port: smallPort, protocol }),
  fc.record({ protocol }),
  fc.record({ port: fc.constantFrom('p', 'q'), protocol }),
  fc.tuple(smallPort, fc.integer({ min: 0, max: 3 })).map(([port, more]) => ({ port, endPort: port + more })),
);
const rule = (field: 'from' | 'to'): fc.Arbitrary<JsonObject> =>
  fc
    .record({
      peers: fc.array(peer, { maxLength: 2 }),
      ports: fc.array(rulePort, { maxLength: 2 }),
      bare: fc.boolean(),
    })
    .map(({ peers, ports, bare }): JsonObject =>
      // An empty list and an absent one mean the same.
      bare
        ? { ...(peers.length > 0 ? { [field]: peers } : {}), ...(ports.length > 0 ? { ports } : {}) }
        : { [field]: peers, ports },
    );
const spec: fc.Arbitrary<JsonObject> = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.constantFrom(['Ingress'], ['Egress'], ['Ingress', 'Egress'], []),
    ingress: fc.array(rule('from'), { maxLength: 3 }),
    egress: fc.array(rule('to'), { maxLength: 3 }),
  },
  { requiredKeys: [] },
);
const ports = fc.subarray(['p=1', 'q=2', '3', 'p=4/UDP', 'q=5/TCP', '6/SCTP']);
const podSetSketch = fc.record({
  labels,
  ports,
  hostNetwork: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  pods: fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.constantFrom('k1', 'k2', 'k3')), {
    minLength: 1,
    maxLength: 3,
  }),
});

interface Case {
  readonly inventory: Inventory;
  readonly query: ConnectionQuery;
}

const generated: fc.Arbitrary<Case> = fc
  .record({
    namespaces: fc.tuple(labels, labels, labels),
    workloads: fc.array(
      fc.tuple(fc.constantFrom(...NAMESPACES), fc.array(podSetSketch, { minLength: 1, maxLength: 2 })),
      { minLength: 2, maxLength: 4 },
    ),
    policies: fc.array(fc.tuple(fc.constantFrom(...NAMESPACES), spec), { maxLength: 5 }),
    ipBlockMatches: fc.subarray(['pods', 'nodes', 'api-server'] as const),
    others: fc.constantFrom(
      'node:k1',
      'node:k2',
      'api-server',
      'external:8.8.8.8',
      'external:10.0.0.1',
      'external:1.1.1.1',
    ),
    ends: fc.tuple(fc.nat(), fc.nat(), fc.constantFrom('both', 'both', 'both', 'src', 'dst')),
    protocol,
    port: smallPort,
    more: fc.constantFrom(0, 0, 0, 1, 3),
  })
  .map(({ namespaces, workloads, policies, ipBlockMatches, others, ends, protocol: asked, port, more }) => {
    const ids = workloads.map(([namespace], index) => `${namespace}/Deployment/w${index}`);
    const inventory = inventoryOf({
      namespaces: Object.fromEntries(NAMESPACES.map((name, index) => [name, namespaces[index] ?? {}])),
      workloads: Object.fromEntries(
        workloads.map(([, sets], index) => [
          ids[index] ?? '',
          sets.map((set, role) => ({
            ...set,
            role: `r${role}`,
            // A host-network pod has the address of its node.
            pods: set.pods.map(([n, node]) => `${set.hostNetwork ? NODES[node][0] : `10.0.0.${n}`}@${node}`),
          })),
        ]),
      ),
      nodes: NODES,
      policies: policies.map(([namespace, one], index) => networkPolicy(`${namespace}/p${index}`, one)),
      cni: { ipBlockMatches },
      apiServer: ['192.168.0.100/32', '10.0.0.1/32'],
    });
    const pick = (n: number): string => ids[n % ids.length] ?? '';
    const query: ConnectionQuery = {
      src: endpoint(ends[2] === 'dst' ? others : pick(ends[0])),
      dst: endpoint(ends[2] === 'src' ? others : pick(ends[1])),
      protocol: asked,
      port,
      ...(more === 0 ? {} : { endPort: port + more }),
    };
    return { inventory, query };
  });

const RUNS = 6000;
const numRuns = Number(process.env['FC_RUNS'] ?? RUNS);
// One seed, so that a run repeats; with FC_RUNS every run looks elsewhere.
const seeded = process.env['FC_RUNS'] === undefined ? { seed: 20_260_105 } : {};

describe('a naive reading of NetworkPolicy', () => {
  it('agrees on generated clusters where everything is known', () => {
    const seen = { allowed: 0, denied: 0, unknown: 0 };
    fc.assert(
      fc.property(generated, ({ inventory, query }) => {
        const { answer } = evaluateConnection(compileWorld(inventory), query);
        seen[answer] += 1;
        const naive = naiveEvaluate(inventory, query);
        // Which node a workload talks to may be its own for some pods and another's for others; named ports of host-network
        // pods are left open. Nothing else is unknown where everything is known.
        if (answer === 'unknown') {
          const host = [...inventory.workloads].some(
            ({ id, podSets }) => id === keyOf(query.dst) && podSets.some((set) => set.hostNetwork),
          );
          expect(naive.mixesOwnNode || host).toBe(true);
        } else expect(answer).toBe(naive.allowed ? 'allowed' : 'denied');
      }),
      { numRuns, ...seeded },
    );
    // Generated cases are worth nothing if they all answer the same.
    expect(seen.allowed).toBeGreaterThan(numRuns / 10);
    expect(seen.denied).toBeGreaterThan(numRuns / 10);
    expect(seen.unknown).toBeLessThan(numRuns / 20);
  });

  it('is never contradicted by an answer given on less knowledge', () => {
    const hidden = fc.record({
      undeclared: fc.subarray([...NAMESPACES]),
      withoutPods: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
      withoutPodSets: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 4, maxLength: 4 }),
    });
    let sure = 0;
    fc.assert(
      fc.property(generated, hidden, ({ inventory, query }, { undeclared, withoutPods, withoutPodSets }) => {
        const less: Inventory = {
          ...inventory,
          namespaces: inventory.namespaces.map((one) =>
            (undeclared as readonly string[]).includes(one.name) ? { ...one, labels: {}, declared: false } : one,
          ),
          workloads: inventory.workloads.map((one, index) => ({
            ...one,
            podSets:
              withoutPodSets[index] === 0 && one.podSets.every((set) => !set.hostNetwork)
                ? []
                : one.podSets.map((set) => (withoutPods[index] === true ? { ...set, pods: [] } : set)),
          })),
        };
        const { answer } = evaluateConnection(compileWorld(less), query);
        if (answer === 'unknown') return;
        sure += 1;
        expect(answer).toBe(naiveEvaluate(inventory, query).allowed ? 'allowed' : 'denied');
      }),
      { numRuns, ...seeded },
    );
    expect(sure).toBeGreaterThan(numRuns / 2);
  });

  it('is monotonous: a rule more never denies what was allowed', () => {
    fc.assert(
      fc.property(generated, rule('from'), rule('to'), ({ inventory, query }, from, to) => {
        const before = evaluateConnection(compileWorld(inventory), query).answer;
        const policies = inventory.policies.map((policy) => {
          const own = policy['spec'] as JsonObject;
          const types = own['policyTypes'] as readonly string[] | undefined;
          const isolatesEgress =
            types === undefined || types.length === 0
              ? ((own['egress'] as unknown[] | undefined)?.length ?? 0) > 0
              : types.includes('Egress');
          return {
            ...policy,
            spec: {
              ...own,
              ingress: [...((own['ingress'] as JsonObject[] | undefined) ?? []), from],
              ...(isolatesEgress ? { egress: [...((own['egress'] as JsonObject[] | undefined) ?? []), to] } : {}),
            },
          };
        });
        const after = evaluateConnection(compileWorld({ ...inventory, policies }), query).answer;
        if (before === 'allowed') expect(after).toBe('allowed');
        if (after === 'denied') expect(before).toBe('denied');
      }),
      { numRuns: Math.ceil(numRuns / 4), ...seeded },
    );
  });
});

function keyOf({ kind, ...rest }: ConnectionQuery['dst']): string | undefined {
  return kind === 'workload' ? (rest as { readonly id: string }).id : undefined;
}

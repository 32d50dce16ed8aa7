import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { deriveAuthorization } from '../../src/candidates/authorization.ts';
import type { CandidateContext } from '../../src/candidates/network.ts';
import { deriveNetworkCandidate } from '../../src/candidates/network.ts';
import type { Edge } from '../../src/model/edge.ts';
import { endpointKey } from '../../src/model/edge.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import { isDurableLabel } from '../../src/model/durable-labels.ts';
import type { Inventory, Labels } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { buildAuthorizationPolicy, buildDefaultDeny, buildPeerAuthentication } from '../../src/objects/build.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { isJsonObject } from '../../src/shared/pure/json.ts';
import { edgeOf } from '../support/rig.ts';
import { connection, inventoryOf } from '../support/world.ts';

const NAMESPACES = ['a', 'b'];
const PORTS = [80, 8080, 9000];
const PROTOCOLS = ['TCP', 'UDP'] as const;

interface Sketch {
  readonly id: string;
  readonly labels: Labels;
  readonly account: string;
}

/** Up to six workloads in two namespaces, told apart by one label or only by two together, with labels of one run on top. */
const workloadsArb: fc.Arbitrary<readonly Sketch[]> = fc
  .uniqueArray(
    fc.record({
      namespace: fc.constantFrom(...NAMESPACES),
      app: fc.constantFrom('x', 'y', 'z'),
      tier: fc.constantFrom('front', 'back'),
      team: fc.option(fc.constantFrom('red', 'blue'), { nil: undefined }),
      run: fc.option(
        fc.constantFrom('pod-template-hash', 'controller-uid', 'job-name', 'pipelines.kubeflow.org/run-id'),
        { nil: undefined },
      ),
      account: fc.constantFrom('default', 'own', 'other'),
    }),
    { selector: ({ namespace, app, tier }) => `${namespace}/${app}/${tier}`, minLength: 2, maxLength: 6 },
  )
  .map((list) =>
    list.map(({ namespace, app, tier, team, run, account }) => ({
      id: `${namespace}/Deployment/${app}-${tier}`,
      account,
      labels: { app, tier, ...(team === undefined ? {} : { team }), ...(run === undefined ? {} : { [run]: '5f6d' }) },
    })),
  );

interface Sample {
  readonly workloads: readonly Sketch[];
  readonly edges: readonly Edge[];
}

const sampleArb: fc.Arbitrary<Sample> = workloadsArb.chain((workloads) =>
  fc
    .uniqueArray(
      fc.record({
        src: fc.constantFrom(...workloads.map((one) => one.id)),
        dst: fc.constantFrom(...workloads.map((one) => one.id)),
        port: fc.constantFrom(...PORTS),
        protocol: fc.constantFrom(...PROTOCOLS),
        l7: fc.option(fc.constantFrom('GET /a', 'POST /v1/models/x:predict'), { nil: undefined }),
      }),
      { selector: (one) => JSON.stringify(one), maxLength: 10 },
    )
    .map((list) => ({
      workloads,
      edges: list
        .filter(({ src, dst }) => src !== dst)
        .map(({ src, dst, port, protocol, l7 }) =>
          edgeOf(`${src} -> ${dst} ${port}/${protocol}${l7 === undefined || protocol === 'UDP' ? '' : ` ${l7}`}`),
        )
        .filter((edge, index, all) => all.findIndex((other) => other.id === edge.id) === index),
    })),
);

function inventoryFor({ workloads }: Sample, meshed: boolean): Inventory {
  return inventoryOf({
    namespaces: Object.fromEntries(NAMESPACES.map((name) => [name, { 'kubernetes.io/metadata.name': name }])),
    workloads: Object.fromEntries(
      workloads.map(({ id, labels, account }) => [
        id,
        { labels, account, ports: PORTS, ...(meshed ? { mesh: 'sidecar' as const } : {}) },
      ]),
    ),
    services: workloads.map(({ id }) => {
      const [namespace = '', , name = ''] = id.split('/');
      return { name: `${namespace}/${name}`, selects: [id], ports: PORTS.map((port) => `http-${port}:${port}`) };
    }),
    ...(meshed ? { mesh: { kind: 'istio' as const } } : {}),
  });
}

function contextFor(inventory: Inventory, edges: readonly Edge[], waived = false): CandidateContext {
  return { inventory, edges, system: {}, waived: () => waived, meshed: new Set(), plaintextExempt: () => false };
}

function networkPolicies(inventory: Inventory, context: CandidateContext): readonly KubeManifest[] {
  return inventory.workloads.flatMap((workload) =>
    (['ingress', 'egress'] as const).flatMap((direction) => {
      const { object, problems } = deriveNetworkCandidate(context, workload, direction);
      expect(problems).toEqual([]);
      return object === undefined ? [] : [object];
    }),
  );
}

/** Every key of every matchLabels anywhere in the object. */
function selectorKeys(value: Json | undefined): readonly string[] {
  if (Array.isArray(value)) return (value as readonly Json[]).flatMap(selectorKeys);
  if (!isJsonObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) =>
    key === 'matchLabels' && isJsonObject(item) ? Object.keys(item) : selectorKeys(item),
  );
}

const pairs = (sample: Sample): readonly (readonly [string, string])[] =>
  sample.workloads.flatMap(({ id: src }) =>
    sample.workloads.flatMap(({ id: dst }) => (src === dst ? [] : [[src, dst] as const])),
  );

const asks = (edge: Edge, src: string, dst: string, port: number, protocol: string): boolean =>
  endpointKey(edge.src) === src && endpointKey(edge.dst) === dst && edge.port === port && edge.protocol === protocol;

describe('NetworkPolicies from edges, with every namespace isolated', () => {
  it('allow each edge and nothing else', () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const inventory = inventoryFor(sample, false);
        const policies = [
          ...networkPolicies(inventory, contextFor(inventory, sample.edges)),
          ...NAMESPACES.map((namespace) => buildDefaultDeny({ name: 'default-deny', namespace })),
        ];
        const world = compileWorld({ ...inventory, policies });
        for (const [src, dst] of pairs(sample))
          for (const port of PORTS)
            for (const protocol of PROTOCOLS) {
              const { answer } = evaluateConnection(world, connection(`${src} -> ${dst} ${port}/${protocol}`));
              const wanted = sample.edges.some((edge) => asks(edge, src, dst, port, protocol));
              expect(answer, `${src} -> ${dst} ${port}/${protocol}`).toBe(wanted ? 'allowed' : 'denied');
            }
      }),
      { numRuns: 300, seed: 20_260_310 },
    );
  });

  it('select by labels that outlive a rollout, and nobody else of the namespace', () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const inventory = inventoryFor(sample, false);
        for (const object of networkPolicies(inventory, contextFor(inventory, sample.edges)))
          for (const key of selectorKeys(object['spec']))
            expect(key === 'kubernetes.io/metadata.name' || isDurableLabel(key), key).toBe(true);
      }),
      { numRuns: 300, seed: 20_260_310 },
    );
  });

  it('are each enough by themselves: one object at a time, in any order, denies no edge', () => {
    fc.assert(
      fc.property(sampleArb, fc.infiniteStream(fc.nat()), (sample, order) => {
        const inventory = inventoryFor(sample, false);
        const left = [...networkPolicies(inventory, contextFor(inventory, sample.edges))];
        const policies: KubeManifest[] = [];
        while (left.length > 0) {
          const next = left.splice((order.next().value ?? 0) % left.length, 1);
          policies.push(...next);
          const world = compileWorld({ ...inventory, policies });
          for (const edge of sample.edges) expect(evaluateConnection(world, edge).answer).toBe('allowed');
        }
      }),
      { numRuns: 100, seed: 20_260_310 },
    );
  });

  it('deny no edge on the way where workloads share all their labels and a person has them selected together', () => {
    fc.assert(
      fc.property(sampleArb, fc.infiniteStream(fc.nat()), (sample, order) => {
        const alike = {
          ...sample,
          workloads: sample.workloads.map((one) => ({ ...one, labels: { app: one.labels['app'] ?? '' } })),
        };
        const inventory = inventoryFor(alike, false);
        const left = [...networkPolicies(inventory, contextFor(inventory, sample.edges, true))];
        const policies: KubeManifest[] = [];
        while (left.length > 0) {
          policies.push(...left.splice((order.next().value ?? 0) % left.length, 1));
          const world = compileWorld({ ...inventory, policies });
          for (const edge of sample.edges) expect(evaluateConnection(world, edge).answer).toBe('allowed');
        }
      }),
      { numRuns: 100, seed: 20_260_310 },
    );
  });
});

describe('AuthorizationPolicies from edges, under STRICT and with nobody admitted by default', () => {
  const enforced = (inventory: Inventory, context: CandidateContext): readonly KubeManifest[] => [
    ...inventory.workloads.flatMap((workload) => {
      const { object, problems } = deriveAuthorization(context, workload);
      expect(problems).toEqual([]);
      return object === undefined ? [] : [object];
    }),
    ...NAMESPACES.flatMap((namespace) => [
      buildAuthorizationPolicy({ name: 'default-deny', namespace }, undefined, []),
      buildPeerAuthentication({ name: 'default', namespace }, 'STRICT'),
    ]),
  ];

  it('admit each edge, and no caller of another account on any port', () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const inventory = inventoryFor(sample, true);
        const policies = enforced(inventory, contextFor(inventory, sample.edges));
        const world = compileWorld({ ...inventory, policies });
        const account = (id: string): string =>
          `${id.slice(0, 1)}/${sample.workloads.find((one) => one.id === id)?.account ?? ''}`;
        for (const edge of sample.edges)
          if (edge.protocol === 'TCP' && edge.l7 !== undefined)
            expect(evaluateConnection(world, edge).answer, endpointKey(edge.src)).toBe('allowed');
        for (const [src, dst] of pairs(sample))
          for (const port of PORTS) {
            const callers = sample.edges.filter(
              (edge) =>
                edge.protocol === 'TCP' &&
                edge.port === port &&
                endpointKey(edge.dst) === dst &&
                account(endpointKey(edge.src)) === account(src),
            );
            const bare = evaluateConnection(world, connection(`${src} -> ${dst} ${port}`)).answer;
            const other = evaluateConnection(world, connection(`${src} -> ${dst} ${port} DELETE /everything`)).answer;
            if (callers.length === 0) {
              expect(bare, `${src} -> ${dst} ${port}`).toBe('denied');
              expect(other).toBe('denied');
            } else if (callers.every((edge) => edge.l7 === undefined)) {
              // Admitted by port alone: no request was on record to name.
              expect(bare).toBe('allowed');
            }
          }
      }),
      { numRuns: 300, seed: 20_260_310 },
    );
  });
});

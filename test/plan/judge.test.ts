// Verdicts are carried from state to state where nothing between them can change them. The outcome is that of judging every edge in every state.
import { describe, expect, it } from 'vitest';
import { declaredEdges } from '../../src/flows/decide.ts';
import { inventoryStates } from '../../src/inventory/states.ts';
import type { Config } from '../../src/model/config.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Edge, Endpoint } from '../../src/model/edge.ts';
import { edgeId, endpointNamespace } from '../../src/model/edge.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory, Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { namespaceOf, refOf } from '../../src/model/object.ts';
import type { Change } from '../../src/plan/change.ts';
import { fieldChange } from '../../src/plan/change.ts';
import type { EdgeVerdict, Step } from '../../src/plan/plan.ts';
import { judgePolicyChange } from '../../src/plan/policy-check.ts';
import type { Bearing, Simulated, State } from '../../src/plan/simulate.ts';
import { bearingOf, describeVerdict, judgeEdges, simulate, stateAfter } from '../../src/plan/simulate.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import fc from '../support/fast-check.ts';
import { edgeOf } from '../support/rig.ts';
import { shippedSignatures, snapshotOf } from '../inventory/snapshots.ts';

const signatures = shippedSignatures();
const NAMESPACES = ['ant', 'bee', 'istio-system'];
const NAMES = ['web', 'db', 'job'];

function deployment(namespace: string, name: string): object {
  const labels = { app: name, tier: name === 'job' ? 'back' : 'front' };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: name,
          containers: [
            { name: 'main', image: `example.com/${name}:1`, ports: [{ name: 'http', containerPort: 8080 }] },
          ],
        },
      },
    },
  };
}

function service(namespace: string, name: string, selector: object, headless: boolean): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: {
      ...(headless ? { clusterIP: 'None' } : {}),
      selector,
      ports: [{ name: 'http', port: 8080, targetPort: 8080 }],
    },
  };
}

/** The headless Service leads to two workloads; those of bee have pods. */
const CLUSTER: readonly object[] = NAMESPACES.flatMap((namespace) => [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: {} } },
  ...NAMES.flatMap((name) => [
    deployment(namespace, name),
    service(namespace, name, { app: name }, false),
    ...(namespace === 'bee'
      ? [
          {
            apiVersion: 'v1',
            kind: 'Pod',
            metadata: {
              name: `${name}-1`,
              namespace,
              labels: { app: name, tier: name === 'job' ? 'back' : 'front' },
              ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name, controller: true }],
            },
            spec: { containers: [{ name: 'main', image: `example.com/${name}:1` }] },
            status: { phase: 'Running', podIP: `10.0.0.${name.length}` },
          },
        ]
      : []),
  ]),
  service(namespace, 'front', { tier: 'front' }, true),
]);

const MESHES: readonly (Config['cluster'] | undefined)[] = [
  {
    cni: { name: 'calico', ipBlockMatches: [] },
    mesh: {
      kind: 'istio',
      mode: 'sidecar',
      version: '1.29',
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
    },
  },
  {
    cni: { name: 'cilium', ipBlockMatches: [] },
    mesh: {
      kind: 'istio',
      mode: 'ambient',
      version: '1.29',
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
    },
  },
  undefined,
];

const workload = (namespace: string, name: string): Endpoint => ({
  kind: 'workload',
  id: `${namespace}/Deployment/${name}`,
});
const anyEnd: fc.Arbitrary<Endpoint> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...NAMES)).map(([a, b]) => workload(a, b)),
  },
  fc.constantFrom<Endpoint>(
    { kind: 'external', name: 'api.example' },
    { kind: 'external', ip: '198.51.100.7' },
    { kind: 'unknown', ip: '10.9.9.9', why: 'no such pod' },
    { kind: 'node' },
    { kind: 'api-server' },
    workload('ant', 'gone'),
    workload('elsewhere', 'gone'),
  ),
);
const anyEdge: fc.Arbitrary<Edge> = fc
  .record({
    src: anyEnd,
    dst: anyEnd,
    port: fc.constantFrom(8080, 8080, 9090),
    l7: fc.constantFrom(undefined, undefined, 'GET /a', 'POST /b'),
    protocol: fc.constantFrom<Edge['protocol']>('TCP', 'TCP', 'TCP', 'UDP'),
  })
  .map(({ src, dst, port, l7, protocol }) => {
    const key = { src, dst, protocol, port, ...(l7 === undefined ? {} : { l7 }) };
    return { ...edgeOf('a/Deployment/x -> a/Deployment/y 80'), ...key, id: edgeId(key) };
  });

const selectors: readonly Json[] = [
  {},
  { matchLabels: { app: 'web' } },
  { matchLabels: { tier: 'front' } },
  { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['db'] }] },
  { matchExpressions: [{ key: 'app', operator: 'Odd', values: ['db'] }] },
];
const anySelector = fc.constantFrom(...selectors);
const matchLabels = fc.constantFrom<Json | undefined>(
  undefined,
  { matchLabels: { app: 'db' } },
  { matchLabels: { tier: 'front' } },
);
const peer = fc.constantFrom<Json>(
  { podSelector: { matchLabels: { app: 'web' } } },
  { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'bee' } } },
  { namespaceSelector: { matchLabels: { 'istio-injection': 'enabled' } } },
  { ipBlock: { cidr: '0.0.0.0/0' } },
);

interface Piece {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: Json;
  /** The cluster's, and not a namespace's. */
  readonly wide?: true;
}
const anyPiece: fc.Arbitrary<Piece> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .record({
        podSelector: anySelector,
        ingress: fc.option(fc.array(peer, { maxLength: 2 })),
        egress: fc.option(fc.array(peer, { maxLength: 2 })),
      })
      .map(({ podSelector, ingress, egress }) => ({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        spec: {
          podSelector,
          policyTypes: [...(ingress === null ? [] : ['Ingress']), ...(egress === null ? [] : ['Egress'])],
          ...(ingress === null ? {} : { ingress: ingress.map((from) => ({ from: [from] })) }),
          ...(egress === null ? {} : { egress: egress.map((to) => ({ to: [to] })) }),
        },
      })),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({ selector: matchLabels, mode: fc.constantFrom('STRICT', 'PERMISSIVE', 'DISABLE', 'Odd') })
      .map(({ selector, mode }) => ({
        apiVersion: 'security.istio.io/v1',
        kind: 'PeerAuthentication',
        spec: { ...(selector === undefined ? {} : { selector }), mtls: { mode } },
      })),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({
        selector: matchLabels,
        action: fc.constantFrom('ALLOW', 'DENY', 'AUDIT', 'CUSTOM'),
        rules: fc.constantFrom<Json>(
          [{}],
          [],
          [{ to: [{ operation: { methods: ['GET'] } }] }],
          [{ from: [{ source: { principals: ['cluster.local/ns/ant/sa/web'] } }] }],
        ),
      })
      .map(({ selector, action, rules }) => ({
        apiVersion: 'security.istio.io/v1',
        kind: 'AuthorizationPolicy',
        spec: { ...(selector === undefined ? {} : { selector }), action, rules },
      })),
  },
  fc.constantFrom<Piece>(
    {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      spec: { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{ fromEndpoints: [{}] }] },
    },
    {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      spec: { endpointSelector: {}, ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: 'web' } }] }] },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      spec: { host: '*.bee.svc.cluster.local', trafficPolicy: { tls: { mode: 'DISABLE' } } },
    },
    { apiVersion: 'networking.istio.io/v1', kind: 'Sidecar', spec: { egress: [{ hosts: ['./*'] }] } },
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      spec: { gatewayClassName: 'istio-waypoint', listeners: [] },
    },
    {
      apiVersion: 'policy.networking.k8s.io/v1alpha1',
      kind: 'AdminNetworkPolicy',
      wide: true,
      spec: {
        priority: 1,
        subject: { namespaces: {} },
        ingress: [
          { action: 'Deny', from: [{ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'bee' } } }] },
        ],
      },
    },
  ),
);

type Act =
  | { readonly kind: 'piece'; readonly piece: Piece; readonly namespace: string; readonly name: number }
  | { readonly kind: 'take'; readonly which: number }
  | { readonly kind: 'label' | 'account'; readonly namespace: string; readonly name: string; readonly to: string }
  | { readonly kind: 'namespace'; readonly namespace: string; readonly to: string };
const anyAct: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('piece' as const),
      piece: anyPiece,
      namespace: fc.constantFrom('ant', 'ant', 'bee', 'istio-system'),
      name: fc.nat(3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('take' as const), which: fc.nat(100) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('label' as const, 'label' as const, 'account' as const),
      namespace: fc.constantFrom('ant', 'bee'),
      name: fc.constantFrom(...NAMES),
      to: fc.constantFrom('true', 'false', 'x'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('namespace' as const),
      namespace: fc.constantFrom('ant', 'bee'),
      to: fc.constantFrom('enabled', 'disabled'),
    }),
  },
);

function find(
  objects: readonly KubeManifest[],
  kind: string,
  namespace: string | undefined,
  name: string,
): KubeManifest | undefined {
  return objects.find((one) => one.kind === kind && namespaceOf(one) === namespace && one.metadata.name === name);
}

function editOf(object: KubeManifest, path: readonly string[], after: Json): Change {
  const field = fieldChange(object, path, after);
  return { kind: 'edit', ref: refOf(object), fields: field === undefined ? [] : [field], owner: 'other' };
}

function changeOf(act: Act, objects: readonly KubeManifest[]): Change | undefined {
  switch (act.kind) {
    case 'piece': {
      const { wide, ...piece } = act.piece;
      const metadata = { name: `p-${act.name}`, ...(wide === true ? {} : { namespace: act.namespace }) };
      const there = find(objects, piece.kind, wide === true ? undefined : act.namespace, metadata.name);
      return there === undefined
        ? { kind: 'create', object: { ...piece, metadata } }
        : editOf(there, ['spec'], piece.spec);
    }
    case 'take': {
      const own = objects.filter((one) => one.metadata.name.startsWith('p-'));
      const object = own[act.which % Math.max(1, own.length)];
      return object === undefined ? undefined : { kind: 'delete', ref: refOf(object), before: object };
    }
    case 'label':
    case 'account': {
      const object = find(objects, 'Deployment', act.namespace, act.name);
      if (object === undefined) return undefined;
      return act.kind === 'label'
        ? editOf(object, ['spec', 'template', 'metadata', 'labels', 'sidecar.istio.io/inject'], act.to)
        : editOf(object, ['spec', 'template', 'spec', 'serviceAccountName'], `account-${act.to}`);
    }
    case 'namespace': {
      const object = find(objects, 'Namespace', undefined, act.namespace);
      return object === undefined ? undefined : editOf(object, ['metadata', 'labels', 'istio-injection'], act.to);
    }
  }
}

/** The steps, each planned on the objects as the ones before leave them. */
function stepsOf(acts: readonly Act[], start: State, world: Simulated): readonly Step[] {
  const steps: Step[] = [];
  let state = start;
  for (const [index, act] of acts.entries()) {
    const change = changeOf(act, state.snapshot.objects);
    if (change === undefined) continue;
    const rolls = act.kind === 'label' || act.kind === 'account';
    const step: Step = {
      id: `step-${index}`,
      namespace: 'namespace' in act ? act.namespace : 'ant',
      phase: 'allow-list',
      operation: change.kind,
      title: '',
      change,
      effects: rolls ? [{ kind: 'rollout', workload: `${act.namespace}/Deployment/${act.name}` }] : [],
      risks: [],
    };
    steps.push(step);
    state = stateAfter(state, step, world.rebuild);
  }
  return steps;
}

/** Every edge that a step bears on, in every state, by nothing but the state itself. */
function naive(start: State, steps: readonly Step[], world: Simulated): object {
  const [denied, unknown] = [new Map<string, EdgeVerdict>(), new Map<string, EdgeVerdict>()];
  const judged = new Set<string>();
  const near = (edges: readonly Edge[], bearing: Bearing): readonly Edge[] =>
    edges.filter(
      (edge) =>
        bearing === 'everywhere' || [edge.src, edge.dst].some((end) => bearing.includes(endpointNamespace(end) ?? '-')),
    );
  const first = world.edgesIn(start.inventory);
  const before = judgeEdges(start.inventory, first);
  let state = start;
  for (const step of steps) {
    state = stateAfter(state, step, world.rebuild);
    const bearing = bearingOf(step, state.inventory.facts.mesh.rootNamespace);
    for (const { id } of near(first, bearing)) judged.add(id);
    const edges = near(world.edgesIn(state.inventory), bearing);
    const now = judgeEdges(state.inventory, edges);
    for (const edge of edges) {
      judged.add(edge.id);
      const verdict = now.get(edge.id);
      if (verdict === undefined || verdict.answer === 'allowed') continue;
      if (
        verdict.answer === 'denied' &&
        before.get(edge.id)?.answer === 'denied' &&
        near(first, bearing).some(({ id }) => id === edge.id)
      )
        continue;
      const list = verdict.answer === 'denied' ? denied : unknown;
      if (!list.has(edge.id)) list.set(edge.id, describeVerdict(step.id, edge, verdict));
    }
  }
  return { denied: [...denied.values()], unknown: [...unknown.values()], states: steps.length, edges: judged.size };
}

describe('judging many edges', () => {
  it.each([0, 1, 2])('says of each what asking about it alone says (mesh %i)', (mesh) => {
    const cluster = MESHES[mesh];
    const config: Config = { ...DEFAULT_CONFIG, ...(cluster === undefined ? {} : { cluster }) };
    const snapshot: Snapshot = snapshotOf(CLUSTER, 'directory');
    // Ends of one name that are not the same, and ranges of ports.
    const like = fc.record({
      ends: fc.constantFrom<Endpoint>(
        { kind: 'external', name: 'api.example' },
        { kind: 'external', name: 'api.example', ip: '198.51.100.7' },
        { kind: 'external', name: 'api.example', ip: '10.0.0.3' },
        { kind: 'unknown', ip: '10.9.9.9', why: 'no such pod' },
        { kind: 'unknown', ip: '10.9.9.9', why: 'two pods' },
      ),
      endPort: fc.constantFrom(undefined, 8081),
      outward: fc.boolean(),
      edge: anyEdge,
    });
    fc.assert(
      fc.property(
        fc.array(anyEdge, { minLength: 5, maxLength: 20 }),
        fc.array(like, { maxLength: 10 }),
        fc.array(anyAct, { maxLength: 6 }),
        (some, others, acts) => {
          const { start, rebuild } = inventoryStates({ config, signatures, now: 0 });
          const state: State = { snapshot, inventory: start(snapshot) };
          const steps = stepsOf(acts, state, { rebuild, edgesIn: () => [] });
          const { inventory } = steps.reduce((now, step) => stateAfter(now, step, rebuild), state);
          const edges = [
            ...some,
            ...others.map(({ ends, endPort, outward, edge }) => ({
              ...edge,
              ...(outward ? { dst: ends } : { src: ends }),
              ...(endPort === undefined ? {} : { endPort }),
            })),
          ].map((edge, index) => ({ ...edge, id: String(index) }));
          const verdicts = judgeEdges(inventory, edges);
          for (const edge of edges) {
            const [verdict, alone] = [verdicts.get(edge.id), evaluateConnection(compileWorld(inventory), edge)];
            // A bare connection may be judged through its requests.
            if (alone.answer !== 'unknown' || edge.l7 !== undefined) expect(verdict).toEqual(alone);
            else expect(verdict?.reasons).toEqual(alone.reasons);
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('a simulation', () => {
  it.each([0, 1, 2])('says what judging every edge in every state says (mesh %i)', (mesh) => {
    const cluster = MESHES[mesh];
    const config: Config = { ...DEFAULT_CONFIG, ...(cluster === undefined ? {} : { cluster }) };
    const snapshot: Snapshot = snapshotOf(CLUSTER, 'directory');
    const found = { denied: 0, unknown: 0 };
    fc.assert(
      fc.property(
        fc.array(anyEdge, { minLength: 5, maxLength: 30 }),
        fc.array(anyAct, { minLength: 2, maxLength: 12 }),
        (some, acts) => {
          const edges = [...new Map(some.map((edge) => [edge.id, edge])).values()];
          const { start, rebuild } = inventoryStates({ config, signatures, now: 0 });
          const declared = (inventory: Inventory): readonly Edge[] => [...edges, ...declaredEdges(inventory, edges)];
          const state: State = { snapshot, inventory: start(snapshot) };
          const world: Simulated = { rebuild, edgesIn: declared };
          const steps = stepsOf(acts, state, world);
          const { end, ...said } = simulate(state, steps, world);
          expect(said).toEqual(naive(state, steps, world));
          expect(end.inventory.policies.length).toBeGreaterThanOrEqual(0);
          if (said.denied.length > 0) found.denied += 1;
          if (said.unknown.length > 0) found.unknown += 1;
        },
      ),
      { numRuns: 150 },
    );
    expect(Math.min(found.denied, found.unknown)).toBeGreaterThan(5);
  });
});

describe('a change of policies', () => {
  it.each([0, 1, 2])('turns the edges that judging every edge before and after turns (mesh %i)', (mesh) => {
    const cluster = MESHES[mesh];
    const config: Config = { ...DEFAULT_CONFIG, ...(cluster === undefined ? {} : { cluster }) };
    const snapshot: Snapshot = snapshotOf(CLUSTER, 'directory');
    const policies = fc.array(
      anyAct.filter(({ kind }) => kind === 'piece' || kind === 'take'),
      { maxLength: 5 },
    );
    let turned = 0;
    fc.assert(
      fc.property(fc.array(anyEdge, { minLength: 5, maxLength: 30 }), policies, policies, (some, first, then) => {
        const edges = [...new Map(some.map((edge) => [edge.id, edge])).values()];
        const { start, rebuild } = inventoryStates({ config, signatures, now: 0 });
        const apply = (state: State, acts: readonly Act[]): State => {
          let now = state;
          const world: Simulated = { rebuild, edgesIn: () => edges };
          for (const step of stepsOf(acts, state, world)) now = stateAfter(now, step, rebuild);
          return now;
        };
        const before = apply({ snapshot, inventory: start(snapshot) }, first);
        const after = apply(before, then);
        const [was, is] = [judgeEdges(before.inventory, edges), judgeEdges(after.inventory, edges)];
        const wanted = edges.filter(({ id }) => was.get(id)?.answer !== is.get(id)?.answer);
        const found = judgePolicyChange(before.inventory, after.inventory, edges);
        const all = [...found.denied, ...found.unknown, ...found.mended];
        expect(new Set(all.map(({ edge }) => edge.id))).toEqual(new Set(wanted.map(({ id }) => id)));
        for (const one of all) expect(one.after).toEqual(is.get(one.edge.id));
        if (wanted.length > 0) turned += 1;
      }),
      { numRuns: 100 },
    );
    expect(turned).toBeGreaterThan(10);
  });
});

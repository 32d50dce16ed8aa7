// What is read of a large record for one namespace gives the answers that the whole record gives.
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildAccountTable } from '../../src/candidates/account-table.ts';
import { deriveAuthorization } from '../../src/candidates/authorization.ts';
import { deriveNetworkCandidate } from '../../src/candidates/network.ts';
import { rehearsalPlan } from '../../src/cli/commands/rehearse.ts';
import { advance } from '../../src/cli/commands/run.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App, GlobalOptions } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import type { Loaded } from '../../src/cli/load.ts';
import { loadAll, planWhole } from '../../src/cli/load.ts';
import type { Output } from '../../src/cli/output.ts';
import type { Scope } from '../../src/cli/scope.ts';
import { scopeOfQuery } from '../../src/cli/scope.ts';
import { matchEdges, parseQuery } from '../../src/flows/query.ts';
import type { Edge, Endpoint } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import { assembleUp } from '../../src/plan/assemble.ts';
import { deniedByOwn, judgeEdges } from '../../src/plan/simulate.ts';
import { recordGates } from '../../src/readiness/record-gates.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { candidateContext, keptEdges, touches, workloadsOf } from '../../src/readiness/view.ts';
import { openState } from '../../state/open.ts';
import { phases } from '../../phases/index.ts';
import fc from '../support/fast-check.ts';
import { makeHome } from './shop.ts';

const DAY = 86_400_000;
const END = Date.UTC(2026, 9, 20, 12);
const NAMESPACES = ['ant', 'bee', 'cat', 'dog', 'elk'];
/** The second holds data that somebody would break in for. */
const NAMES = ['web', 'db', 'job'];

const deployment = (namespace: string, name: string): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  replicas: 2
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}${name === 'web' && namespace > 'cat' ? ', annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090"}' : ''}}
    spec:
      serviceAccountName: ${name}
      containers: [{name: main, image: "${name === 'db' ? 'postgres:16' : `example.com/${name}:1`}", ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: ${namespace}}
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {selector: {app: ${name}}, ports: [{name: http, port: 8080, targetPort: 8080}]}
---
`;
const namespaceOf = (name: string): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: {kubernetes.io/metadata.name: ${name}}}\n---\n`;

/** In this order: a caller is in the mesh before whom it calls takes mTLS alone. In the one that is left out nothing is ours. */
const REACHED: readonly (readonly [string, string])[] = [
  ['elk', 'permissive-mtls'],
  ['bee', 'permissive-mtls'],
  ['ant', 'identity'],
  ['cat', 'identity'],
];
const CONFIG = `gates: {window: off, coverage: 0.5, review: on, schedules: off, unseen-workloads: off, losses: off, corroboration: 3}
cluster:
  cni: {name: calico, ipBlockMatches: []}
  mesh: {kind: istio, mode: sidecar, version: "1.29", rootNamespace: istio-system, trustDomain: cluster.local}
  apiServer: [10.0.0.1/32]
`;

const workload = (namespace: string, name: string): Endpoint => ({
  kind: 'workload',
  id: `${namespace}/Deployment/${name}`,
});

function edge(
  src: Endpoint,
  dst: Endpoint,
  port: number,
  more: Partial<Edge> & { ago?: number; length?: number } = {},
): Edge {
  const { ago = 0, length = 12, ...rest } = more;
  const last = END - ago * DAY;
  const first = last - (length - 1) * DAY;
  const key = { src, dst, protocol: 'TCP' as const, port, ...(rest.l7 === undefined ? {} : { l7: rest.l7 }) };
  return {
    ...key,
    id: edgeId(key),
    count: length * 5,
    first,
    last,
    verdicts: { allowed: length * 5 },
    days: Array.from({ length }, (_, one) => new Date(first + one * DAY).toISOString().slice(0, 10)),
    runs: [],
    sources: ['hubble'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
    ...rest,
  };
}

/** What works from the start: each calls its neighbour and the next namespace's web, every day. */
const SETTLED = NAMESPACES.flatMap((namespace, index) => [
  edge(workload(namespace, 'web'), workload(namespace, 'db'), 8080),
  edge(workload(namespace, 'job'), workload(namespace, 'db'), 8080),
  edge(workload(namespace, 'web'), workload(NAMESPACES[(index + 1) % NAMESPACES.length] ?? '', 'web'), 8080),
]);

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
    { kind: 'workload', id: 'istio-system/Deployment/istiod' },
    { kind: 'workload', id: 'watch/Prometheus/main' },
    { kind: 'workload', id: 'gone/Deployment/gone' },
  ),
);
const anyEdge: fc.Arbitrary<Edge> = fc
  .record({
    src: anyEnd,
    dst: anyEnd,
    port: fc.constantFrom(8080, 9090, 5432, 40_001, 40_002, 40_003, 40_004),
    length: fc.constantFrom(1, 1, 2, 5, 12),
    ago: fc.constantFrom(0, 1, 6),
    verdict: fc.constantFrom('allowed', 'allowed', 'allowed', 'denied', 'unknown'),
    l7: fc.constantFrom(undefined, undefined, 'GET /a'),
    mtls: fc.constantFrom<Edge['mtls']>('yes', 'no', 'unknown'),
  })
  .map(({ src, dst, port, length, ago, verdict, l7, mtls }) =>
    edge(src, dst, port, {
      length,
      ago,
      verdicts: { [verdict]: length * 5 },
      ...(verdict === 'denied' ? { days: [] } : {}),
      ...(l7 === undefined ? {} : { l7 }),
      mtls,
      ...(mtls === 'no' ? { lastPlaintext: END - ago * DAY } : {}),
    }),
  );
/** Somebody who reaches very many, or many but once: of which most lead elsewhere than to the namespace that is asked about. */
const anyCrowd: fc.Arbitrary<readonly Edge[]> = fc
  .record({
    src: fc.oneof(
      anyEnd,
      fc.constantFrom<Endpoint>(
        { kind: 'external', name: 'api.example' },
        { kind: 'workload', id: 'gone/Deployment/gone' },
        workload('dog', 'web'),
        workload('dog', 'job'),
      ),
    ),
    dst: anyEnd,
    width: fc.constantFrom(4, 9, 14, 70),
    length: fc.constantFrom(1, 6),
    ago: fc.constantFrom(0, 3),
  })
  .map(({ src, dst, width, length, ago }) =>
    Array.from({ length: width }, (_, one) =>
      edge(src, one % 5 === 0 ? dst : { kind: 'external', name: `host-${one}.example` }, 7000 + one, { length, ago }),
    ),
  );
const anyRecord: fc.Arbitrary<readonly Edge[]> = fc
  .tuple(fc.array(anyEdge, { minLength: 10, maxLength: 60 }), fc.array(anyCrowd, { minLength: 1, maxLength: 3 }))
  .map(([edges, crowds]) => [...new Map([...edges, ...crowds.flat()].map((one) => [one.id, one])).values()]);

const output: Output = {
  json: false,
  color: false,
  width: 100,
  interactive: false,
  documented: false,
  line: () => undefined,
  raw: () => undefined,
  note: () => undefined,
  progress: () => undefined,
  document: () => undefined,
  names: () => undefined,
  event: () => false,
};

let home = '';
let files = 0;
const options = (state: string, more: Partial<GlobalOptions> = {}): GlobalOptions => ({
  manifests: join(home, 'cluster'),
  state,
  config: join(home, 'config.yaml'),
  ...more,
});

async function withApp<T>(given: GlobalOptions, work: (app: App) => Promise<T>): Promise<T> {
  const app = openApp(given, output, { XDG_STATE_HOME: join(home, 'xdg'), SALLYPORT_USER: 'tester' }, openInterrupt());
  try {
    return await work(app);
  } finally {
    await app.close();
  }
}

async function record(state: string, edges: readonly Edge[]): Promise<void> {
  await withApp(options(state), async (app) => {
    const { writer } = await app.writableState();
    files += 1;
    writer.importEdges({
      inputs: [
        {
          sha256: String(files).padStart(64, '0'),
          source: 'hubble',
          name: `input ${files}`,
          at: END,
          first: END - 20 * DAY,
          last: END,
          records: 1000,
          lost: 0,
          bad: 0,
          ignored: 0,
          sampledOneIn: 1,
        },
      ],
      edges,
      evidence: {
        days: [...new Set(edges.flatMap(({ days }) => days))].sort(),
        unattributed: {},
        runs: {},
        seen: ['', ...NAMESPACES].map((namespace) => ({
          source: 'hubble',
          namespace,
          day: '2026-10-20',
          first: END - 9 * DAY,
          last: END,
        })),
      },
    });
  });
}

beforeAll(async () => {
  home = await makeHome({
    'cluster/apps.yaml': [
      ...[...NAMESPACES, 'istio-system', 'watch'].map(namespaceOf),
      ...NAMESPACES.flatMap((namespace) => NAMES.map((name) => deployment(namespace, name))),
      deployment('istio-system', 'istiod').replace('example.com/istiod:1', 'docker.io/istio/pilot:1.29.0'),
      `apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: main, namespace: watch}\nspec: {}\n---\n`,
    ].join(''),
    'config.yaml': CONFIG,
    'easy.yaml': CONFIG.replace(
      /gates:.*/,
      'gates: {window: off, coverage: off, review: off, schedules: off, unseen-workloads: off, losses: off, corroboration: off}',
    ),
  });
  const state = join(home, 'base.sqlite');
  await record(state, SETTLED);
  for (const [namespace, to] of REACHED) {
    const code = await withApp(options(state, { config: join(home, 'easy.yaml'), yes: true }), (app) =>
      advance(app, namespace, { to }),
    );
    expect(code, namespace).toBe(0);
  }
  openState(state, { target: undefined, mode: 'write' }).close();
}, 240_000);

/** All that a command says of a namespace, as the commands make it. */
function answers(read: { readonly plan: Loaded; readonly touching: Loaded }, namespace: string): unknown {
  const view = read.touching.view(namespace);
  const context = candidateContext(view);
  const edges = keptEdges(view.edges).filter((one) => touches(one, namespace));
  return {
    up: planWhole(read.plan, (now) => ({ plan: assembleUp(now.view(namespace), 'identity', now.planner) })).made.plan,
    back: planWhole(read.plan, (now) => planRollback(now.view(namespace), 'none', now.planner)).made,
    suggested: workloadsOf(view).map((one) => [
      deriveNetworkCandidate(context, one, 'ingress'),
      deriveNetworkCandidate(context, one, 'egress'),
      deriveAuthorization(context, one),
    ]),
    rehearsed: planWhole(read.plan, (now) => ({ plan: rehearsalPlan(now, namespace) })).made.plan,
    accounts: buildAccountTable({
      snapshot: read.touching.snapshot,
      inventory: view.inventory,
      edges: view.edges,
      namespace,
    }),
    verified: [
      ...phases.flatMap((phase) => phase.verify(view)),
      ...deniedByOwn(view.inventory, edges, judgeEdges(view.inventory, edges)).map(({ id }) => id),
      ...recordGates(view, []),
    ],
  };
}

/** Some name a namespace, some do not; times and states of review are told by the edges themselves. */
const QUERIES = [
  'ns=bee',
  'ns=b*',
  'src=cat/*',
  'src=cat/Deployment/web,port=8080',
  'dst=dog/Deployment/d*,verdict=allowed',
  'src=*/web,dst=ant/Deployment/db',
  'src=external:api.example',
  'dst=external:*',
  'src=watch/Prometheus/main',
  'ns=elk,before=2d',
  'ns=elk,before=2026-10-15',
  'port=40001',
  'src=gone/Deployment/gone,dst=*',
];

describe('what is read for one namespace', () => {
  it('gives the plan, the way back, the suggestions and the gates of the whole record', async () => {
    let parts = 0;
    await fc.assert(
      fc.asyncProperty(anyRecord, fc.constantFrom(...NAMESPACES), async (edges, namespace) => {
        const state = join(home, `state-${(files += 1)}.sqlite`);
        await copyFile(join(home, 'base.sqlite'), state);
        await record(state, edges);
        await withApp(options(state), async (app) => {
          const load = (scope: Scope): Promise<Loaded> => loadAll(app, scope);
          const whole = await load({ kind: 'all' });
          const part = await load({ kind: 'planning', namespace });
          const touching = await load({ kind: 'touching', namespaces: [namespace] });
          if (part.view(namespace).edges.length < whole.view(namespace).edges.length) parts += 1;
          for (const text of QUERIES) {
            const query = parseQuery(text, 'edges');
            const idsIn = (read: Loaded): readonly string[] =>
              matchEdges(query, read.view('').edges).map(({ id }) => id);
            const scoped = scopeOfQuery(query);
            const read = scoped.kind === 'all' ? whole : await load(scoped);
            expect(idsIn(read), text).toEqual(idsIn(whole));
          }
          expect(answers({ plan: part, touching }, namespace)).toEqual(
            answers({ plan: whole, touching: whole }, namespace),
          );
        });
      }),
      { numRuns: 10 },
    );
    // Otherwise the two would be the same reading.
    expect(parts).toBeGreaterThan(5);
  }, 240_000);
});

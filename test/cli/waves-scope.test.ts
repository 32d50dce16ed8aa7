// The order of namespaces is told from one edge of each pair of them, and is that which the whole record gives.
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { openApp } from '../../src/cli/context.ts';
import type { App } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import { loadAll } from '../../src/cli/load.ts';
import type { Output } from '../../src/cli/output.ts';
import { parseQuery } from '../../src/flows/query.ts';
import type { Decision } from '../../src/model/decision.ts';
import type { Edge, Endpoint } from '../../src/model/edge.ts';
import { edgeId, endpointKey } from '../../src/model/edge.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { proposeWaves } from '../../src/readiness/waves.ts';
import { openJournal } from '../../state/journal.ts';
import fc from '../support/fast-check.ts';
import { makeHome } from './shop.ts';

const DAY = 86_400_000;
const END = Date.UTC(2026, 9, 20, 12);
const NAMESPACES = ['ant', 'bee', 'cat', 'dog'];
const NAMES = ['web', 'db'];

const deployment = (namespace: string, name: string, image: string, env = ''): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${name}, k8s-app: ${name}}}
spec:
  selector: {matchLabels: {k8s-app: ${name}}}
  template:
    metadata: {labels: {app: ${name}, k8s-app: ${name}${namespace === 'cat' ? ', sidecar.istio.io/inject: "true"' : ''}}}
    spec:
      containers: [{name: main, image: "${image}", ports: [{containerPort: 8080}]${env}}]
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {selector: {k8s-app: ${name}}, ports: [{name: http, port: 8080, targetPort: 8080}]}
---
`;
const CONFIG = `cluster:
  cni: {name: calico, ipBlockMatches: []}
  mesh: {kind: istio, mode: sidecar, version: "1.29", rootNamespace: istio-system, trustDomain: cluster.local}
`;

const workload = (namespace: string, name: string): Endpoint => ({
  kind: 'workload',
  id: `${namespace}/Deployment/${name}`,
});
const anyEnd: fc.Arbitrary<Endpoint> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...NAMES)).map(([a, b]) => workload(a, b)),
  },
  fc.constantFrom<Endpoint>(
    { kind: 'external', name: 'api.example' },
    { kind: 'unknown', ip: '10.9.9.9', why: 'no such pod' },
    { kind: 'node' },
    workload('istio-system', 'istiod'),
    workload('kube-system', 'coredns'),
    workload('gone', 'gone'),
  ),
);
const anyEdge: fc.Arbitrary<Edge> = fc
  .record({
    src: anyEnd,
    dst: anyEnd,
    port: fc.constantFrom(8080, 8080, 53, 15_012, 40_001, 40_002, 40_003, 40_004),
    protocol: fc.constantFrom<Edge['protocol']>('TCP', 'TCP', 'TCP', 'UDP'),
    l7: fc.constantFrom(undefined, undefined, 'GET /a'),
    verdict: fc.constantFrom('allowed', 'allowed', 'audit', 'unknown', 'denied'),
    ago: fc.nat(5),
  })
  .map(({ l7, verdict, ago, ...ends }) => {
    const key = { ...ends, ...(l7 === undefined ? {} : { l7 }) };
    const at = END - ago * DAY;
    return {
      ...key,
      id: edgeId(key),
      count: 5,
      first: at,
      last: at,
      verdicts: { [verdict]: 5 },
      days: verdict === 'denied' ? [] : [new Date(at).toISOString().slice(0, 10)],
      runs: [],
      sources: ['hubble'],
      principals: [],
      mtls: 'unknown',
      origin: { kind: 'observed' },
      review: 'unreviewed',
    };
  });

interface Case {
  readonly edges: readonly Edge[];
  readonly decisions: readonly { readonly action: Decision['action']; readonly edges: readonly number[] }[];
  readonly granted: readonly number[];
  readonly exempt: readonly number[];
  readonly phases: readonly (readonly [string, PhaseName])[];
}
const anyCase: fc.Arbitrary<Case> = fc.record({
  edges: fc.array(anyEdge, { minLength: 3, maxLength: 40 }),
  decisions: fc.array(
    fc.record({
      action: fc.constantFrom<Decision['action']>('accept', 'accept', 'adopt', 'withdraw'),
      edges: fc.array(fc.nat(39), { minLength: 1, maxLength: 6 }),
    }),
    { maxLength: 4 },
  ),
  granted: fc.array(fc.nat(39), { maxLength: 2 }),
  exempt: fc.oneof(fc.constant([]), fc.array(fc.nat(39), { maxLength: 3 })),
  phases: fc.array(
    fc.tuple(
      fc.constantFrom(...NAMESPACES),
      fc.constantFrom<PhaseName>('monitor', 'permissive-mtls', 'strict-mtls', 'identity'),
    ),
    { maxLength: 2 },
  ),
});

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
beforeAll(async () => {
  home = await makeHome({
    'cluster/apps.yaml': [
      ...NAMESPACES.flatMap((namespace) =>
        NAMES.map((name) =>
          deployment(
            namespace,
            name,
            name === 'db' ? 'postgres:16' : 'example.com/web:1',
            // Configuration that names a peer of the next namespace.
            name === 'web'
              ? `, env: [{name: DB_URL, value: "http://db.${NAMESPACES[(NAMESPACES.indexOf(namespace) + 1) % 4] ?? ''}.svc:8080"}]`
              : '',
          ),
        ),
      ),
      deployment('istio-system', 'istiod', 'docker.io/istio/pilot:1.29.0'),
      deployment('kube-system', 'coredns', 'registry.k8s.io/coredns/coredns:v1.12.0').replace(
        'port: 8080, targetPort: 8080',
        'port: 53, targetPort: 53, protocol: UDP',
      ),
    ].join(''),
    'config.yaml': CONFIG,
  });
});

async function fill(app: App, { edges, decisions, granted, exempt, phases }: Case): Promise<void> {
  const { writer } = await app.writableState();
  const own = [...new Map(edges.map((edge) => [edge.id, edge])).values()];
  const at = (index: number): Edge => own[index % own.length] ?? (own[0] as Edge);
  writer.importEdges({
    inputs: [
      {
        sha256: '0'.repeat(64),
        source: 'hubble',
        name: 'x',
        at: END,
        first: END - 9 * DAY,
        last: END,
        records: 9,
        lost: 0,
        bad: 0,
        ignored: 0,
        sampledOneIn: 1,
      },
    ],
    edges: own,
    evidence: { days: [], unattributed: {}, runs: {} },
  });
  decisions.forEach(({ action, edges: chosen }, index) => {
    const matched = chosen.map((one) => at(one).id);
    const text = `id=${matched.join('+')}`;
    writer.addDecision({
      action,
      query: parseQuery(text),
      text,
      reason: 'so',
      by: 'ops',
      at: END + index,
      matched,
    });
  });
  exempt.forEach((one, index) => {
    const text = `gate=plaintext,subject=${endpointKey(at(one).dst)}:${at(one).port}`;
    writer.addDecision({
      action: 'waive',
      query: parseQuery(text),
      text,
      reason: 'so',
      by: 'ops',
      at: END + 100 + index,
      matched: [],
    });
  });
  const journal = openJournal(writer);
  const run = (kind: 'grant' | 'advance', namespace: string, to: PhaseName, of: readonly Edge[]): void => {
    const id = `run-${(files += 1)}`;
    const steps = of.map(({ src, dst, protocol, port }) => ({
      id: 'one',
      namespace,
      phase: 'allow-list' as const,
      operation: 'create' as const,
      title: '',
      change: {
        kind: 'create' as const,
        object: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', namespace } },
      },
      effects: [],
      risks: [],
      grant: {
        id,
        kind: 'connection' as const,
        text: '',
        reason: '',
        since: END - 2 * DAY,
        until: END,
        connection: { src: endpointKey(src), dst: endpointKey(dst), protocol, port },
      },
    }));
    const from = 'none' as const;
    const plan = { namespace, from, to, direction: 'up' as const, steps, gates: [], denied: [], unknown: [] };
    journal.openRun({
      id,
      kind,
      namespace,
      from,
      to,
      planHash: id,
      startedAt: END,
      by: 'ops',
      plan: { ...plan, findings: [], simulated: { edges: 0, states: 0 }, hash: id },
    });
    steps.forEach((_, index) => journal.stepSkipped(id, index, 'as it was', END));
    journal.closeRun(id, 'done', to, END);
  };
  for (const one of granted) run('grant', 'elsewhere', 'none', [at(one)]);
  for (const [namespace, to] of phases) run('advance', namespace, to, []);
}

it('is the same from the part as from the whole', async () => {
  let smaller = 0;
  await fc.assert(
    fc.asyncProperty(anyCase, async (one) => {
      const given = {
        manifests: join(home, 'cluster'),
        state: join(home, `state-${(files += 1)}.sqlite`),
        config: join(home, 'config.yaml'),
      };
      const app = openApp(given, output, { XDG_STATE_HOME: home, SALLYPORT_USER: 'tester' }, openInterrupt());
      try {
        await fill(app, one);
        const [part, whole] = [await loadAll(app, { kind: 'calls' }), await loadAll(app)];
        if (part.view('').edges.length < whole.view('').edges.length) smaller += 1;
        expect(proposeWaves(part.view(''))).toEqual(proposeWaves(whole.view('')));
      } finally {
        await app.close();
      }
    }),
    { numRuns: 60 },
  );
  // Otherwise the two would be the same reading.
  expect(smaller).toBeGreaterThan(20);
}, 120_000);

import { describe, expect, it } from 'vitest';
import { GATE_IDS } from '../../src/model/config.ts';
import type { Config } from '../../src/model/config.ts';
import type { Gate, GateAnswer } from '../../src/model/finding.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { openGates } from '../../src/plan/assemble.ts';
import { CONFIG, decisionsOf, edgeOf, evidenceOf, twoTeamsEdges } from '../support/rig.ts';
import type { Case } from './worlds.ts';
import { planFor } from './worlds.ts';

const edges = twoTeamsEdges();
const evidence = evidenceOf(edges);
const [source] = evidence.sources;
if (source === undefined) throw new Error('no source');
const clusterFacts = (key: 'cni' | 'mesh'): Config['cluster'] => {
  const fact = CONFIG.cluster[key];
  return fact === undefined ? {} : { [key]: fact };
};
const cni = (name: string): Case => ({
  config: { ...CONFIG, cluster: { ...CONFIG.cluster, cni: { name, ipBlockMatches: [] } } },
});
const deployment = (name: string, more = '', labels = `{app: ${name}}`): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: front${more}}
spec:
  replicas: 1
  selector: {matchLabels: ${labels}}
  template:
    metadata: {labels: ${labels}}
    spec: {serviceAccountName: ${name}, containers: [{name: main, image: registry.example/x:1}]}
`;
const nightly = (status: string): string => `
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: front}
spec:
  schedule: "0 2 * * *"
  jobTemplate: {spec: {template: {metadata: {labels: {app: nightly}}, spec: {serviceAccountName: nightly, containers: [{name: n, image: x}]}}}}
${status}
`;
const ANTREA = `
apiVersion: crd.antrea.io/v1beta1
kind: ClusterNetworkPolicy
metadata: {name: somebodys}
spec: {priority: 1, appliedTo: [{namespaceSelector: {}}], ingress: [{action: Drop}]}
`;
const STORE = deployment('store').replace('registry.example/x:1', 'docker.io/library/postgres:16');
const twoDays = { days: ['2026-03-09', '2026-03-10'], count: 2 };
const oneDay = { days: ['2026-03-09'], count: 1 };

/** Gate, answer, subject, and the world in which it is answered so. The base world answers yes to all but plaintext and denials. */
type Row = readonly [gate: string, GateAnswer, subject: string, why: string, Case, PhaseName?];
const CASES: readonly Row[] = [
  ['window', 'yes', 'front', 'ten whole days', {}],
  ['window', 'no', 'front', 'four days', { evidence: { ...evidence, first: (evidence.last ?? 0) - 4 * 86_400_000 } }],
  [
    'window',
    'no',
    'front',
    'a day without any record',
    { evidence: { ...evidence, days: evidence.days.filter((_, index) => index !== 4) } },
  ],
  ['window', 'no', 'front', 'nothing on record', { evidence: { sources: [], days: [], unattributed: {}, runs: {} } }],
  ['coverage', 'yes', 'front/egress', 'every edge on every day', {}],
  [
    'coverage',
    'no',
    'front/egress',
    'edges that showed once',
    {
      edges: [
        ...edges,
        ...[1, 2, 3, 4, 5, 6].map((port) => edgeOf(`front/Deployment/web -> back/Deployment/api ${port}`, oneDay)),
      ],
    },
  ],
  [
    'coverage',
    'unknown',
    'front/egress',
    'two days',
    { evidence: { ...evidence, days: evidence.days.slice(-2), runs: {} } },
  ],
  [
    'coverage',
    'unknown',
    'front/CronJob/nightly/egress',
    'a schedule seen twice',
    { evidence: { ...evidence, runs: { 'front/CronJob/nightly': ['a', 'b'] } } },
  ],
  ['schedules', 'yes', 'front/CronJob/nightly', 'succeeded last night', {}],
  [
    'schedules',
    'no',
    'front/CronJob/nightly',
    'succeeded last month',
    { with: nightly('status: {lastSuccessfulTime: "2026-02-01T02:00:00Z"}') },
  ],
  ['schedules', 'unknown', 'front/CronJob/nightly', 'no status', { with: nightly('') }],
  ['unseen-workloads', 'yes', 'front', 'all seen', {}],
  ['unseen-workloads', 'no', 'front/Deployment/silent', 'never seen', { with: deployment('silent') }],
  ['review', 'yes', 'front', 'nothing doubtful', {}],
  [
    'review',
    'no',
    edgeOf('front/Deployment/web -> back/StatefulSet/db 5432').id,
    'seen on one day',
    { edges: [...edges, edgeOf('front/Deployment/web -> back/StatefulSet/db 5432', oneDay)] },
  ],
  ['corroboration', 'yes', 'front', 'nothing that one pod alone could have written', {}],
  [
    'corroboration',
    'no',
    edgeOf('front/Deployment/web -> front/Deployment/store 5432').id,
    'two days into a database',
    { with: STORE, edges: [...edges, edgeOf('front/Deployment/web -> front/Deployment/store 5432', twoDays)] },
  ],
  ['losses', 'yes', 'front', 'none lost', {}],
  ['losses', 'no', 'front', 'a tenth lost', { evidence: { ...evidence, sources: [{ ...source, lost: 111 }] } }],
  ['losses', 'no', 'front', 'sampled', { evidence: { ...evidence, sources: [{ ...source, sampledOneIn: 100 }] } }],
  [
    'losses',
    'unknown',
    'front',
    'nothing on record',
    { evidence: { sources: [], days: [], unattributed: {}, runs: {} } },
  ],
  ['enforcement', 'yes', 'front', 'Calico', {}],
  ['enforcement', 'no', 'front', 'flannel', cni('flannel')],
  ['enforcement', 'unknown', 'front', 'no CNI known', { config: { ...CONFIG, cluster: clusterFacts('mesh') } }],
  ['mesh', 'yes', 'front', 'Istio with sidecars', {}],
  [
    'mesh',
    'no',
    'front',
    'no mesh',
    {
      config: { ...CONFIG, cluster: clusterFacts('cni') },
      source: 'cluster',
      without: ['Deployment/istiod', 'Namespace/istio-system'],
    },
  ],
  [
    'mesh',
    'unknown',
    'front',
    'ambient',
    {
      config: { ...CONFIG, cluster: { ...CONFIG.cluster, mesh: { kind: 'istio', mode: 'ambient' } } },
      without: ['Deployment/istiod'],
    },
  ],
  ['mesh', 'unknown', 'front/CronJob/nightly', 'native sidecars not known', { without: ['Node/n1'] }],
  [
    'mesh',
    'no',
    'front/Deployment/worker',
    'MySQL on a port without a name',
    {
      with: 'apiVersion: v1\nkind: Service\nmetadata: {name: worker, namespace: front}\nspec: {selector: {app: worker}, ports: [{port: 3306}]}',
    },
  ],
  ['plaintext', 'no', 'front/Deployment/web:8080', 'a caller outside the mesh', {}],
  [
    'plaintext',
    'yes',
    'front',
    'no caller from outside',
    { edges: edges.filter((edge) => !(edge.src.kind === 'workload' && edge.src.id.startsWith('back/'))) },
  ],
  ['soak', 'yes', 'front', 'a directory', {}],
  ['soak', 'unknown', 'front', 'a live cluster', { source: 'cluster' }],
  ['denies-observed', 'yes', 'front', 'up to the mesh', {}, 'permissive-mtls'],
  ['denies-observed', 'no', 'front', 'STRICT with a caller outside', {}],
  ['unknown', 'yes', 'front', 'everything can be judged', {}, 'permissive-mtls'],
  [
    'unknown',
    'unknown',
    edgeOf('front/Deployment/web -> front/Deployment/worker 9000').id,
    'a policy kind that is not modelled',
    { with: ANTREA },
    'allow-list',
  ],
  ['managed-by-others', 'yes', 'front', 'written by hand', {}],
  [
    'managed-by-others',
    'no',
    'Deployment front/worker',
    'Argo CD writes it',
    {
      with: deployment(
        'worker',
        ', annotations: {argocd.argoproj.io/tracking-id: "shop:apps/Deployment:front/worker"}',
      ),
    },
  ],
  [
    'selector',
    'no',
    'front/CronJob/nightly',
    'no label that outlives a run',
    { with: nightly('').replace('{labels: {app: nightly}}', '{}') },
  ],
  [
    'selector',
    'no',
    'front/Deployment/twin',
    'the labels of another workload',
    {
      with: deployment('twin', '', '{app: worker}'),
      edges: [...edges, edgeOf('front/Deployment/twin -> back/Deployment/api 8080')],
    },
  ],
  [
    'expressible',
    'no',
    'front/Deployment/web',
    'a host name outside, on Calico',
    { edges: [...edges, edgeOf('front/Deployment/web -> external:api.example.com 443')] },
  ],
  ['service-account', 'yes', 'front', 'shared, and can be split', {}],
  [
    'service-account',
    'no',
    'front/Deployment/web',
    'its account lists a token Secret',
    {
      with: 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: front}\nsecrets: [{name: token-x}]',
    },
  ],
  [
    'service-account',
    'no',
    'front/Deployment/web',
    'its account is bound to a cloud role',
    {
      with: 'apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: front, annotations: {eks.amazonaws.com/role-arn: x}}',
    },
  ],
];

function named(row: Row): { readonly name: string; readonly row: Row } {
  const [id, answer, subject, why] = row;
  return { name: `${id}: ${answer} for ${subject}, ${why}`, row };
}

function gatesOf(id: string, one: Case, to?: PhaseName): readonly Gate[] {
  return planFor(one, to).gates.filter((gate) => gate.id === id);
}

describe('each gate has its answers', () => {
  it.each(CASES.map(named))('$name', ({ row: [id, answer, subject, , one, to] }) => {
    const found = gatesOf(id, one, to);
    const gate = found.find((candidate) => candidate.subject === subject);
    expect(gate, JSON.stringify(found)).toMatchObject({ id, answer, subject });
    expect(gate?.facts.length).toBeGreaterThan(0);
    // What is not answered with yes says what would.
    expect(gate?.fix === '').toBe(answer === 'yes');
  });

  it('of the contract is in the table with yes and with another answer', () => {
    for (const id of GATE_IDS) {
      const answers = new Set(CASES.filter(([gate]) => gate === id).map(([, answer]) => answer));
      expect(answers.has('yes'), id).toBe(true);
      expect(answers.size, id).toBeGreaterThan(1);
    }
  });
});

describe('a gate that is not answered with yes', () => {
  const red = CASES.filter(([, answer]) => answer !== 'yes');

  it.each(red.filter(([id]) => id in CONFIG.gates).map(named))(
    'is passed when it is off: $name',
    ({ row: [id, , subject, , one, to] }) => {
      const config = { ...(one.config ?? CONFIG), gates: { ...CONFIG.gates, [id]: 'off' } };
      const gate = gatesOf(id, { ...one, config }, to).find((candidate) => candidate.subject === subject);
      expect(gate).toMatchObject({ answer: 'yes' });
      expect(gate?.waived).toBeUndefined();
      expect(gate?.facts.join()).toContain('switched off');
    },
  );

  it.each(red.filter(([id]) => !['denies-observed', 'selector', 'expressible', 'plaintext'].includes(id)).map(named))(
    'is passed when it is waived for its subject: $name',
    ({ row: [id, , subject, , one, to] }) => {
      const decisions = decisionsOf(`waive gate=${id},subject=${subject.replaceAll(' ', '*')}`);
      const gate = gatesOf(id, { ...one, decisions }, to).find((candidate) => candidate.subject === subject);
      expect(gate).toMatchObject({ answer: 'yes', waived: 'the test says so (tester)' });
      const other = decisionsOf(`waive gate=${id},subject=somebody-else`);
      expect(
        gatesOf(id, { ...one, decisions: other }, to).find((candidate) => candidate.subject === subject)?.answer,
      ).not.toBe('yes');
    },
  );

  it('is never passed by a waiver where it is a denial of a legitimate edge', () => {
    const decisions = decisionsOf('waive gate=denies-observed', 'waive gate=denies*,subject=front');
    expect(gatesOf('denies-observed', { decisions })).toMatchObject([{ answer: 'no' }]);
  });

  it('keeps the plan from running', () => {
    expect(openGates(planFor({})).map((gate) => gate.id)).toEqual(['plaintext', 'denies-observed']);
  });
});

describe('a waiver that shapes the policy', () => {
  const outside = { edges: [...edges, edgeOf('front/Deployment/web -> external:api.example.com 443')] };

  it('opens every address on the port of a name that NetworkPolicy cannot say', () => {
    const decisions = decisionsOf('waive gate=expressible,subject=front/Deployment/web');
    const plan = planFor({ ...outside, decisions }, 'allow-list');
    expect(openGates(plan)).toEqual([]);
    const egress = plan.steps.find((step) => step.id === 'allow-list/deployment-web-egress');
    expect(JSON.stringify(egress?.change)).toContain(
      '{"to":[{"ipBlock":{"cidr":"0.0.0.0/0"}}],"ports":[{"protocol":"TCP","port":443}]}',
    );
  });

  it('is not needed on Cilium, which knows names', () => {
    const plan = planFor({ ...outside, ...cni('cilium') }, 'allow-list');
    expect(openGates(plan)).toEqual([]);
    const egress = plan.steps.find((step) => step.id === 'allow-list/deployment-web-egress');
    expect(egress?.change).toMatchObject({ kind: 'create', object: { kind: 'CiliumNetworkPolicy' } });
    expect(JSON.stringify(egress?.change)).toContain('{"toFQDNs":[{"matchName":"api.example.com"}]');
  });

  it('keeps an exempted plaintext port PERMISSIVE beside STRICT', () => {
    const decisions = decisionsOf('waive gate=plaintext,subject=front/Deployment/web:8080');
    const plan = planFor({ decisions }, 'strict-mtls');
    expect(openGates(plan)).toEqual([]);
    expect(plan.steps.find((step) => step.id === 'strict-mtls/deployment-web')?.change).toMatchObject({
      object: { spec: { mtls: { mode: 'STRICT' }, portLevelMtls: { '8080': { mode: 'PERMISSIVE' } } } },
    });
  });

  it('selects workloads together that nothing tells apart', () => {
    const one: Case = {
      with: deployment('twin', '', '{app: worker}'),
      edges: [...edges, edgeOf('front/Deployment/twin -> back/Deployment/api 8080')],
      decisions: decisionsOf('waive gate=selector,subject=front/Deployment/*'),
    };
    expect(openGates(planFor(one, 'allow-list'))).toEqual([]);
  });
});

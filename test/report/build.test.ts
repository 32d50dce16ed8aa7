import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { phases } from '../../phases/index.ts';
import { compileWorld } from '../../src/model/evaluate.ts';
import { connectivity } from '../../src/model/connectivity.ts';
import { formatRef, refKey, refOf } from '../../src/model/object.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import type { Step } from '../../src/plan/plan.ts';
import { stateAfter } from '../../src/plan/simulate.ts';
import { buildReport } from '../../src/report/build.ts';
import { renderJson, reportFault } from '../../src/report/json.ts';
import { buildProgress } from '../../src/report/progress.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { renderMarkdown } from '../../src/report/markdown.ts';
import type { AssessmentReport } from '../../src/report/model.ts';
import { assumeStates } from '../../src/report/states.ts';
import { atPointer, figureValue } from '../../src/report/summary.ts';
import { countReach } from '../../src/report/surface.ts';
import { edgeOf, twoTeamsEdges } from '../support/rig.ts';
import { viewFor } from '../phases/worlds.ts';
import { inputOf, reportFor } from './worlds.ts';

const report = reportFor();

describe('the report of the two teams', () => {
  it('is as expected, in JSON', async () => {
    await expect(renderJson(report)).toMatchFileSnapshot(join(import.meta.dirname, '__snapshots__', 'two-teams.json'));
  });

  it('is as expected, in Markdown', async () => {
    await expect(renderMarkdown(report)).toMatchFileSnapshot(
      join(import.meta.dirname, '__snapshots__', 'two-teams.md'),
    );
  });

  it('is plain JSON: nothing is lost on the way through text', () => {
    const read = JSON.parse(renderJson(report)) as AssessmentReport;
    expect(read).toEqual(report);
    expect(reportFault(read)).toBeUndefined();
  });

  it('does not depend on the order of edges and objects', () => {
    const view = viewFor({});
    const turned = {
      ...view,
      edges: view.edges.toReversed(),
      snapshot: { ...view.snapshot, objects: view.snapshot.objects.toReversed() },
    };
    expect(buildReport(inputOf(turned)).map).toEqual(report.map);
    expect(buildReport(inputOf(turned)).risk).toEqual(report.risk);
    expect(buildReport(inputOf(turned)).summary).toEqual(report.summary);
  });
});

/** Reports of different kinds of clusters. */
const REPORTS: readonly (readonly [string, AssessmentReport])[] = [
  ['two teams', report],
  [
    'two teams without traffic',
    reportFor({ edges: [], evidence: { sources: [], days: [], unattributed: {}, runs: {} } }),
  ],
  ['two teams without a mesh', reportFor({ without: ['Deployment/istiod'], config: noMesh() })],
  [
    'nothing at all',
    reportFor({ objects: [], edges: [], evidence: { sources: [], days: [], unattributed: {}, runs: {} } }),
  ],
  [
    'a caller from outside',
    reportFor({ edges: [...twoTeamsEdges(), edgeOf('external:203.0.113.9 -> front/Deployment/web 8080')] }),
  ],
];

function noMesh(): ReturnType<typeof viewFor>['config'] {
  const { config } = viewFor({});
  const { mesh, ...cluster } = config.cluster;
  expect(mesh).toBeDefined();
  return { ...config, cluster };
}

describe.each(REPORTS)('every figure of the report of %s', (_, one) => {
  it('is the datum that it points to', () => {
    for (const figure of one.summary.figures) {
      expect(atPointer(one, figure.pointer), figure.id).toBeDefined();
      expect(figureValue(one, figure), figure.id).toBe(figure.value);
      expect(figure.value === null, figure.id).toBe(figure.unknownBecause !== null);
      expect(figure.source).not.toBe('');
    }
  });

  it('stands in the sentences as it is, and no sentence has a number of its own', () => {
    const values = new Map(one.summary.figures.map((figure) => [figure.id, figure.value]));
    for (const sentence of [one.summary.headline, ...one.summary.sentences]) {
      expect(sentence.parts.map((part) => part.text).join('')).toBe(sentence.text);
      for (const part of sentence.parts)
        if (part.kind === 'figure') {
          expect(values.has(part.figure), part.figure).toBe(true);
          const value = values.get(part.figure);
          expect(part.text.replaceAll(',', '')).toBe(value === null ? 'an unknown number of' : String(value));
        } else expect(part.text.replace('of 100', '').replaceAll(/\S*\/\S*/g, ''), sentence.id).not.toMatch(/\d/);
    }
  });

  it('has counts that equal what they count', () => {
    const { map, identities, plaintext, egress, cluster, inventory } = one;
    const columns = Object.values(map.edges) as readonly (readonly unknown[])[];
    expect(new Set(columns.map((column) => column.length))).toEqual(new Set([map.totals.edges]));
    const count = (column: readonly number[], ...codes: readonly number[]): number =>
      column.filter((code) => codes.includes(code)).length;
    expect(map.totals).toEqual({
      edges: map.edges.id.length,
      observed: count(map.edges.origin, 0),
      declared: count(map.edges.origin, 1, 2),
      connections: map.edges.count.reduce((sum, each) => sum + each, 0),
      unreviewed: count(map.edges.review, 0),
      toBeCut: count(map.edges.review, 2),
      mtls: count(map.edges.mtls, 0),
      plaintext: count(map.edges.mtls, 1, 2),
      mtlsUnknown: count(map.edges.mtls, 3),
      allowed: count(map.edges.verdict, 0),
      denied: count(map.edges.verdict, 1),
      unknown: count(map.edges.verdict, 2),
      toOutside: map.edges.dst.filter((at) => map.nodes[at]?.kind === 'external').length,
      fromOutside: map.edges.src.filter((at) => map.nodes[at]?.kind === 'external').length,
    });
    const used = identities.accounts.filter((account) => account.workloads.length > 0);
    const workloadsOf = (rows: typeof used): number => new Set(rows.flatMap((row) => row.workloads)).size;
    expect(identities.totals).toEqual({
      accounts: used.length,
      defaultAccounts: used.filter((account) => account.isDefault).length,
      workloadsOnDefault: workloadsOf(used.filter((account) => account.name === 'default')),
      sharedAccounts: used.filter((account) => account.workloads.length > 1).length,
      workloadsOnShared: workloadsOf(used.filter((account) => account.workloads.length > 1)),
      cloudBound: used.filter((account) => account.cloud.length > 0).length,
      powerful: used.filter((account) => account.powerful.length > 0).length,
      keys: identities.keys.length,
      literalKeys: identities.keys.filter((key) => key.reference === null).length,
    });
    expect(plaintext.total).toBe(plaintext.rows.length + plaintext.solved.length + plaintext.waiting.length);
    expect(plaintext.solvedByJoining).toBe(plaintext.solved.length);
    expect(plaintext.lasting + plaintext.outsideMesh).toBe(plaintext.rows.length);
    expect(egress.destinations).toBe(egress.groups.reduce((sum, group) => sum + group.destinations.length, 0));
    expect(cluster.workloads).toBe(inventory.workloads.length);
    expect(inventory.unrecognised).toBe(inventory.workloads.filter((row) => row.component === 'unknown').length);
  });

  it('has indexes that lead somewhere', () => {
    const { map, policies, inventory } = one;
    const within = (values: readonly number[], length: number, least = 0): void => {
      for (const value of values) {
        expect(value).toBeGreaterThanOrEqual(least);
        expect(value).toBeLessThan(Math.max(length, 0) || (least < 0 ? 0 : 1));
      }
    };
    const { edges } = map;
    within([...edges.src, ...edges.dst], map.nodes.length);
    within(edges.l7, map.operations.length, -1);
    within(edges.decides, map.reasons.length);
    within(edges.sources, map.sourceSets.length);
    within(
      [...edges.ingressCandidate, ...edges.egressCandidate, ...edges.authorizationCandidate],
      policies.candidates.length,
      -1,
    );
    for (const node of map.nodes) {
      within([node.stage], map.stages.length);
      within([node.plane], map.planes.length);
      within([node.tenant], map.tenants.length, -1);
      within([node.namespace], map.namespaces.length, -1);
      within(node.sensitivity, map.sensitivities.length);
    }
    inventory.workloads.forEach((row, index) => {
      expect(row.node).toBe(index);
      expect(map.nodes[index]?.id).toBe(row.id);
    });
    for (const candidate of policies.candidates)
      for (const rule of candidate.rules) within(rule.edges, edges.id.length);
  });
});

describe('the risk', () => {
  it('is what its formula gives, worked out anew from the rows', () => {
    const weights = new Map(report.risk.factors.map((factor) => [factor.id, factor.weight]));
    expect([...weights.values()].reduce((sum, weight) => sum + weight, 0)).toBe(100);
    for (const row of report.risk.rows) {
      expect(row.values.map((one) => one.factor)).toEqual([...weights.keys()]);
      const score = row.values.reduce((sum, one) => sum + (weights.get(one.factor) ?? 0) * (one.value ?? 0.5), 0);
      expect(Math.abs(row.score - score), row.workload).toBeLessThan(0.1);
      for (const one of row.values) {
        expect(one.value === null || (one.value >= 0 && one.value <= 1)).toBe(true);
        expect(one.because).not.toBe('');
      }
    }
    expect(report.risk.rows.map((row) => row.rank)).toEqual(report.risk.rows.map((_, index) => index + 1));
    expect(report.risk.rows.map((row) => row.workload).sort()).toEqual(report.inventory.workloads.map((one) => one.id));
    const scores = report.risk.rows.map((row) => row.score);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
  });

  it('rises with a literal credential, with a caller from outside and with the node’s network', () => {
    const of = (made: AssessmentReport, factor: string): number | null | undefined =>
      made.risk.rows
        .find((row) => row.workload === 'front/Deployment/worker')
        ?.values.find((one) => one.factor === factor)?.value;
    const worker = (spec: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: front}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      ${spec}
      containers:
        - {name: main, image: registry.example/worker, env: [{name: DB_PASSWORD, value: hunter2}]}
`;
    expect(of(report, 'identity')).toBe(0.3);
    expect(of(reportFor({ with: worker('serviceAccountName: own') }), 'identity')).toBe(0.4);
    expect(of(reportFor({ with: worker('hostNetwork: true') }), 'host')).toBe(0.7);
    expect(of(reportFor({ with: worker('hostPID: true') }), 'host')).toBe(1);
    const outside = [...twoTeamsEdges(), edgeOf('external:203.0.113.9 -> front/Deployment/worker 9000')];
    expect(of(report, 'outside')).toBe(0);
    expect(of(reportFor({ edges: outside }), 'outside')).toBe(1);
  });
});

describe('the states that are assumed', () => {
  const view = viewFor({ phases: {} });
  const moving = view.inventory.namespaces
    .filter(
      (one) => one.system === undefined && view.inventory.workloads.some((workload) => workload.namespace === one.name),
    )
    .map((one) => one.name);
  const assumed = assumeStates(view, moving);

  it('hold the policies that the phases themselves write', () => {
    // Every namespace through the real phase, step by step, one after another.
    let state = { snapshot: view.snapshot, inventory: view.inventory };
    const phase = phases.find((one) => one.name === 'allow-list');
    for (const namespace of moving)
      for (const step of phase?.up({ ...view, ...state, namespace }) ?? [])
        state = stateAfter(state, step, view.rebuild);
    const policies = (list: typeof view.inventory.policies): readonly unknown[] =>
      list
        .filter((policy) => policy.kind === 'NetworkPolicy')
        .map((policy) => ({ key: refKey(refOf(policy)), spec: policy['spec'] }))
        .sort((a, b) => (a.key < b.key ? -1 : 1));
    const made = assumed.states.get('allow-list')?.view.inventory.policies ?? [];
    expect(policies(made)).toEqual(policies(state.inventory.policies));
    expect(policies(made).length).toBeGreaterThan(4);
  });

  it('take the workloads into the mesh that the phases take', () => {
    let state = { snapshot: view.snapshot, inventory: view.inventory };
    let record = view.phases;
    for (const name of ['allow-list', 'permissive-mtls'] as const)
      for (const namespace of moving) {
        const phase = phases.find((one) => one.name === name);
        const at = { ...view, ...state, phases: record, namespace, edges: view.edgesIn(state.inventory) };
        for (const step of phase?.up(at) ?? []) state = stateAfter(state, step, view.rebuild);
        record = new Map([...record, [namespace, name]]);
      }
    const mesh = (inventory: typeof view.inventory): readonly unknown[] =>
      inventory.workloads.map((one) => [one.id, one.podSets.map((set) => set.mesh)]);
    expect(mesh(assumed.states.get('permissive-mtls')?.view.inventory ?? view.inventory)).toEqual(
      mesh(state.inventory),
    );
  });

  it('count the pairs that reach counts', () => {
    for (const [phase, state] of assumed.states) {
      const found = countReach(state.view.inventory);
      const pairs = [...connectivity(compileWorld(state.view.inventory), { mesh: true })];
      expect(found.kind === 'counted' ? found.reachable : undefined, phase).toBe(
        pairs.filter((pair) => pair.allowed.length > 0).length,
      );
      expect(found.kind === 'counted' ? found.unknown : undefined, phase).toBe(
        pairs.filter((pair) => pair.allowed.length === 0).length,
      );
    }
  });

  it('never widen the surface between now and the allow-list', () => {
    const reachable = report.surface.states.map((one) => one.reachable ?? -1);
    expect(reachable[2]).toBeLessThanOrEqual(reachable[0] ?? 0);
    expect(report.surface.pairs).toBe(report.cluster.workloads * (report.cluster.workloads - 1));
  });

  it('keep a port open whose caller cannot speak mTLS, as long as nobody has decided', () => {
    const legacy = reportFor({
      with: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: legacy, namespace: front}
spec:
  selector: {matchLabels: {app: legacy}}
  template:
    metadata: {labels: {app: legacy, sidecar.istio.io/inject: "false"}}
    spec: {serviceAccountName: legacy, containers: [{name: main, image: registry.example/legacy}]}
`,
      edges: [...twoTeamsEdges(), edgeOf('front/Deployment/legacy -> back/Deployment/api 8080')],
    });
    const back = legacy.readiness.namespaces.find((one) => one.namespace === 'back');
    const strict = back?.phases.find((one) => one.phase === 'strict-mtls');
    expect(strict?.state).toBe('blocked');
    expect(strict?.open.map((gate) => gate.subject)).toContain('back/Deployment/api:8080');
    expect(strict?.denied).toEqual([]);
    const row = legacy.plaintext.rows.find((one) => one.src === 'front/Deployment/legacy');
    expect(row).toMatchObject({
      dst: 'back/Deployment/api',
      port: 8080,
      now: 'no',
      afterJoin: 'no',
      blocksStrict: true,
    });
    expect(row?.fixes[0]).toBe('remove sidecar.istio.io/inject "false" from front/Deployment/legacy');
  });
});

describe('the map', () => {
  it('says of an edge which candidates would allow it', () => {
    const { map, policies } = report;
    const at = map.edges.id.findIndex(
      (_, index) =>
        map.nodes[map.edges.src[index] ?? -1]?.id === 'front/Deployment/web' &&
        map.nodes[map.edges.dst[index] ?? -1]?.id === 'back/Deployment/api' &&
        map.edges.l7[index] === -1,
    );
    const name = (index: number | undefined): string | undefined => policies.candidates[index ?? -1]?.name;
    expect(name(map.edges.ingressCandidate[at])).toBe('NetworkPolicy back/sallyport-api-ingress');
    expect(name(map.edges.egressCandidate[at])).toBe('NetworkPolicy front/sallyport-web-egress');
    expect(name(map.edges.authorizationCandidate[at])).toBe('AuthorizationPolicy back/sallyport-api');
    expect(map.reasons[map.edges.decides[at] ?? -1]).not.toBe('');
  });

  it('names only candidates whose rules have that edge', () => {
    const { map, policies } = report;
    map.edges.id.forEach((_, edge) => {
      for (const column of ['ingressCandidate', 'egressCandidate', 'authorizationCandidate'] as const) {
        const candidate = policies.candidates[map.edges[column][edge] ?? -1];
        if (candidate !== undefined) expect(candidate.rules.some((rule) => rule.edges.includes(edge))).toBe(true);
      }
    });
  });
});

describe('progress', () => {
  it('counts what the state has on record', () => {
    const at = Date.UTC(2026, 2, 9);
    const made = reportFor(
      { phases: { front: 'allow-list', back: 'monitor' } },
      {
        runs: [
          {
            id: 'r1',
            kind: 'advance',
            namespace: 'front',
            from: 'none',
            to: 'allow-list',
            planHash: 'x',
            startedAt: at,
            endedAt: at,
            outcome: 'done',
            by: 'ops',
          },
          {
            id: 'r2',
            kind: 'rollback',
            namespace: 'back',
            from: 'allow-list',
            to: 'monitor',
            planHash: 'x',
            startedAt: at,
            endedAt: at,
            outcome: 'undone',
            by: 'ops',
          },
        ],
        audit: [
          {
            at,
            who: 'ops',
            what: 'create: created',
            object: 'NetworkPolicy front/x',
            reason: 'password=hunter2',
            run: 'r1',
          },
        ],
        gates: new Map([['back', [{ id: 'coverage', answer: 'no', subject: 'back', facts: [], fix: '' }]]]),
      },
    );
    expect(made.progress.totals).toMatchObject({ runs: 2, phasesDone: 3, rollbacks: 1, undone: 1, refused: 1 });
    expect(made.progress.phases.find((one) => one.phase === 'allow-list')?.namespaces).toEqual(['front']);
    expect(made.progress.trail[0]?.reason).toBe('password=(masked)');
    expect(made.readiness.namespaces.find((one) => one.namespace === 'front')?.phases[1]?.state).toBe('reached');
  });

  it('counts no drift where a person decided that what others wrote stays, and counts it anew when they change it again', () => {
    const policy = (ingress: readonly JsonObject[]): KubeManifest => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: {
        name: 'sallyport-web-ingress',
        namespace: 'front',
        labels: { 'app.kubernetes.io/managed-by': 'sallyport' },
      },
      spec: { podSelector: {}, policyTypes: ['Ingress'], ingress },
    });
    const theirs = [{ ports: [{ port: 1 }] }];
    const specOf = (ingress: readonly JsonObject[]): Json => policy(ingress)['spec'] ?? null;
    const driftWith = (live: readonly JsonObject[], decided: boolean): number => {
      const view = viewFor({ with: JSON.stringify(policy(live)), phases: { front: 'allow-list' } });
      const object = policy([]);
      const step: Step = {
        id: 'allow-list/deployment-web-ingress',
        namespace: 'front',
        phase: 'allow-list',
        operation: 'create',
        title: '',
        change: { kind: 'create', object },
        effects: [],
        risks: [],
      };
      const drift = checkDrift(
        [{ seq: 1, run: 'r1', namespace: 'front', phase: 'allow-list', step, change: step.change, at: 1 }],
        view.snapshot.objects,
      );
      const [one] = drift;
      if (one === undefined) throw new Error('it differs');
      return buildProgress(
        inputOf({
          ...view,
          applied: [{ seq: 1, run: 'r1', namespace: 'front', phase: 'allow-list', step, change: step.change, at: 1 }],
          ...(decided
            ? {
                resolved: [
                  { object: one.object, path: one.field, theirs: specOf(theirs), keep: 'theirs', by: 'ops', at: 2 },
                ],
              }
            : {}),
        }),
        0,
      ).totals.drift;
    };
    expect(driftWith(theirs, false)).toBe(1);
    expect(driftWith(theirs, true)).toBe(0);
    expect(driftWith([{ ports: [{ port: 2 }] }], true)).toBe(1);
  });
});

describe('references', () => {
  it('of policies are those of the objects', () => {
    const view = viewFor({});
    const known = new Set(view.inventory.policies.map((policy) => formatRef(refOf(policy))));
    for (const one of report.policies.candidates) expect(one.operation === 'create').toBe(!known.has(one.name));
  });
});

// Proposals as steps: written to a directory and to what settings of others stand in, taken back to the byte, and measured again.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { proposeTuning } from '../../src/candidates/tuning/index.ts';
import type { Proposal } from '../../src/candidates/tuning/proposal.ts';
import { executePlan } from '../../src/engine/run.ts';
import type { TuningMetrics } from '../../src/model/tuning.ts';
import { openGates } from '../../src/plan/assemble.ts';
import { describeInForce, planTuning, tuningInForce, tuningInput } from '../../src/readiness/tuning-plan.ts';
import { formatMark, parseMark } from '../../src/readiness/tuning-in-force.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { groupOf } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { yamlValue } from '../../src/shared/io/yaml.ts';
import { isWritten } from '../../src/sources/kube/rights.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import { ISTIO_KINDS } from '../support/fake-api/kinds.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import fc from '../support/fast-check.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import type { Rig } from '../support/rig.ts';
import { CONFIG, NOW, edgesOf, openRig, plannerFor } from '../support/rig.ts';

const deployment = (namespace: string, name: string, port: number, portName: string): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  replicas: 2
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata:
      labels: {app: ${name}}
      annotations:
        sidecar.istio.io/proxyCPU: 100m # as the team wants it
        sidecar.istio.io/proxyCPULimit: 200m
    spec:
      serviceAccountName: ${name}
      containers:
        - {name: main, image: "example.com/${name}:1", ports: [{containerPort: ${port}}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: ${namespace}}
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {selector: {app: ${name}}, ports: [{name: ${portName}, port: ${port}, targetPort: ${port}}]}
`;
const FILES: Readonly<Record<string, string>> = {
  'namespaces.yaml': ['shop', 'desk']
    .map((name) => `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: {istio-injection: enabled}}\n`)
    .join('---\n'),
  'mesh.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: opa
      envoyExtAuthzGrpc: {service: opa.guards.svc.cluster.local, port: 9191}
`,
  'shop.yaml': `${deployment('shop', 'web', 8080, 'http')}---\n${deployment('shop', 'api', 9000, 'http')}`,
  'desk.yaml': deployment('desk', 'app', 8080, 'http'),
  'rule.yaml': `# made by the team of the API
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec:
  host: api
  trafficPolicy:
    connectionPool:
      http: {maxRequestsPerConnection: 1} # once upon a time
`,
};
const EDGES =
  'shop/Deployment/web -> shop/Deployment/api 9000\ndesk/Deployment/app -> shop/Deployment/web 8080\nshop/Deployment/api -> desk/Deployment/app 8080';

const METRICS: TuningMetrics = {
  window: { from: NOW - 86_400_000, to: NOW },
  source: 'test',
  controls: [],
  services: [
    {
      namespace: 'shop',
      service: 'web',
      port: 8080,
      requestsPerSec: 200,
      connectionsPerSec: 60,
      peakConnections: 40,
      peakRequests: 30,
      http1Share: 1,
    },
    { namespace: 'shop', service: 'api', port: 9000, requestsPerSec: 100, connectionsPerSec: 100 },
  ],
  proxies: [
    {
      workload: 'shop/Deployment/web',
      proxies: 2,
      throttledShare: 0.5,
      cpuPeakCores: 0.2,
      cpuRequest: 0.1,
      cpuLimit: 0.2,
      clusters: 900,
    },
  ],
  authorizers: [],
  missing: [],
};

async function withRig(work: (rig: Rig, dir: string) => Promise<void>): Promise<void> {
  const folder = await makeFolder();
  const dir = join(folder, 'cluster');
  await mkdir(dir);
  for (const [file, text] of Object.entries(FILES)) await writeFile(join(dir, file), text);
  const target = await openDirectoryTarget({ dir, clock: systemClock });
  const config = { ...CONFIG, gates: { ...CONFIG.gates, window: 'off' as const } };
  const rig = openRig({ target, stateFile: join(folder, 'state.sqlite'), facts: { edges: edgesOf(EDGES), config } });
  try {
    await work(rig, dir);
  } finally {
    await rig.close();
  }
}

const proposalsOf = async (rig: Rig, metrics = METRICS): Promise<readonly Proposal[]> =>
  proposeTuning(tuningInput(await rig.view('shop'), metrics, yamlValue));

describe('tuning as steps', () => {
  it('is planned with every verdict as it was, written, and taken back to the byte', async () => {
    await withRig(async (rig, dir) => {
      const before = await readTree(dir);
      const proposals = (await proposalsOf(rig)).filter(({ answer }) => answer === 'apply');
      expect(proposals.map(({ id }) => id)).toEqual([
        'connection-pool:shop/api:9000',
        'connection-pool:shop/web:8080',
        'http2:shop/web:8080',
        'proxy-resources:shop/Deployment/web',
        'sidecar-scope:shop',
      ]);
      const plan = planTuning(await rig.view('shop'), proposals, plannerFor('directory'));
      expect(openGates(plan)).toEqual([]);
      expect(plan).toMatchObject({ from: 'none', to: 'none', denied: [], unknown: [] });
      expect(plan.gates.find(({ id }) => id === 'tuning-neutral')?.answer).toBe('yes');
      const run = await executePlan(plan, 'advance', rig.engine);
      expect(run).toMatchObject({ outcome: 'done', phase: 'none' });
      const after = await readTree(dir);
      const written = Object.entries(after).filter(
        ([file, text]) => !file.endsWith('/') && !file.includes('.original') && before[file] !== text,
      );
      expect(written.map(([file]) => file).sort()).toEqual([
        'rule.yaml',
        'sallyport/shop/destinationrule-sallyport-tune-web.yaml',
        'sallyport/shop/sidecar-sallyport-tune-scope.yaml',
        'shop.yaml',
      ]);
      const text = Object.fromEntries(written);
      // Two proposals for one port stand in one rule.
      expect(text['sallyport/shop/destinationrule-sallyport-tune-web.yaml']).toMatch(/h2UpgradePolicy: UPGRADE/u);
      expect(text['sallyport/shop/destinationrule-sallyport-tune-web.yaml']).toMatch(/maxConnections: 160/u);
      expect(text['rule.yaml']).toContain('http: {maxRequestsPerConnection: 0} # once upon a time');
      expect(text['shop.yaml']).toContain('sidecar.istio.io/proxyCPULimit: "400m"');
      // What is there is what was asked for.
      expect((await proposalsOf(rig)).filter(({ answer }) => answer === 'apply').map(({ id }) => id)).not.toContain(
        'http2:shop/web:8080',
      );
      const back = await rig.rollback('shop', 'none');
      expect(back.outcome).toBe('done');
      expect(await readTree(dir)).toEqual(before);
    });
  });

  it('puts one proposal alone, and leaves the others', async () => {
    await withRig(async (rig, dir) => {
      const before = await readTree(dir);
      const chosen = (await proposalsOf(rig)).filter(({ id }) => id === 'sidecar-scope:shop');
      const plan = planTuning(await rig.view('shop'), chosen, plannerFor('directory'));
      expect(plan.steps.map(({ id }) => id)).toEqual(['permissive-mtls/tune/sidecar-scope/shop']);
      await executePlan(plan, 'advance', rig.engine);
      expect((await readTree(dir))['sallyport/shop/sidecar-sallyport-tune-scope.yaml']).toMatch(
        /desk\/\*[^]*guards\/\*/u,
      );
      await rig.rollback('shop', 'none');
      expect(await readTree(dir)).toEqual(before);
    });
  });

  it('asks before it edits what is somebody else’s', async () => {
    await withRig(async (rig) => {
      const chosen = (await proposalsOf(rig)).filter(({ id }) => id === 'connection-pool:shop/api:9000');
      const [step] = planTuning(await rig.view('shop'), chosen, plannerFor('directory')).steps;
      expect(step?.confirm).toContain('is not Sallyport');
      expect(step?.change).toMatchObject({ kind: 'edit', owner: 'other' });
    });
  });
});

describe('tuning on an API server', () => {
  it('edits what is somebody else’s field by field, makes its own objects, and leaves nothing behind', async () => {
    const folder = await makeFolder();
    const dir = join(folder, 'cluster');
    await mkdir(dir);
    for (const [file, text] of Object.entries(FILES)) await writeFile(join(dir, file), text);
    const manifests = await openDirectoryTarget({ dir, clock: systemClock });
    const { objects } = await manifests.readSnapshot();
    await manifests.close();
    const definitions = ISTIO_KINDS.map(({ plural, apiVersion }): KubeManifest => ({
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.${groupOf(apiVersion)}` },
    }));
    const api = await startFakeApi({ objects: [...objects, ...definitions], kinds: ISTIO_KINDS });
    api.afterCall(({ method, path, query }) => {
      if (method !== 'PATCH' || !path.includes('/deployments/') || query['dryRun'] !== undefined) return;
      for (const object of api.objects()) if (object.kind === 'Deployment') api.put(settled(object), 'controller');
    });
    const target = await openClusterTarget({ kubeconfig: api.kubeconfig, clock: simulatedClock() });
    const config = { ...CONFIG, gates: { ...CONFIG.gates, window: 'off' as const, soak: 'off' as const } };
    const rig = openRig({ target, stateFile: join(folder, 'api.sqlite'), facts: { edges: edgesOf(EDGES), config } });
    const texts = (): readonly unknown[] =>
      api
        .objects()
        .filter(({ kind }) => ['Deployment', 'DestinationRule', 'Sidecar'].includes(kind))
        .map(({ kind, metadata, spec }) => ({ kind, name: metadata.name, spec }));
    try {
      const before = texts();
      const proposals = (await proposalsOf(rig)).filter(({ answer }) => answer === 'apply');
      const plan = planTuning(await rig.view('shop'), proposals, plannerFor('cluster'));
      expect(openGates(plan)).toEqual([]);
      for (const { change } of plan.steps) {
        const { apiVersion, kind } = changeRef(change);
        expect(isWritten(groupOf(apiVersion), kind, change.kind === 'create' ? 'create' : 'patch'), kind).toBe(true);
      }
      const run = await executePlan(plan, 'advance', rig.engine);
      expect(run, JSON.stringify(run.failed)).toMatchObject({ outcome: 'done' });
      expect(JSON.stringify(texts())).toContain('"h2UpgradePolicy":"UPGRADE"');
      const back = await rig.rollback('shop', 'none');
      expect(back, JSON.stringify(back.failed)).toMatchObject({ outcome: 'done' });
      expect(texts()).toEqual(before);
    } finally {
      await rig.close();
      await api.close();
    }
  });
});

function settled(object: KubeManifest): KubeManifest {
  const generation = object.metadata['generation'] ?? 1;
  return {
    ...object,
    status: { replicas: 2, updatedReplicas: 2, availableReplicas: 2, readyReplicas: 2, observedGeneration: generation },
  };
}

describe('what came of it', () => {
  it.each([
    ['as-expected', 0.1],
    ['less-than-expected', 0.9],
    ['more-than-expected', 0],
  ] as const)('is %s', async (answer, perRequest) => {
    await withRig(async (rig) => {
      const chosen = (await proposalsOf(rig)).filter(({ id }) => id === 'connection-pool:shop/api:9000');
      // One connection a request is the limit's doing, all or half of it.
      expect(chosen[0]?.gain).toMatchObject({ before: 1, lowPercent: 50, highPercent: 100 });
      await executePlan(planTuning(await rig.view('shop'), chosen, plannerFor('directory')), 'advance', rig.engine);
      const view = await rig.view('shop');
      const mend = (gain: number): TuningMetrics => ({
        ...METRICS,
        window: { from: NOW + 3_600_000, to: NOW + 7_200_000 },
        services: [
          { namespace: 'shop', service: 'api', port: 9000, requestsPerSec: 100, connectionsPerSec: 100 * gain },
        ],
      });
      const applied = view.applied.map((one) =>
        answer === 'more-than-expected'
          ? { ...one, step: { ...one.step, title: one.step.title.replace('50-100 %', '20-35 %') } }
          : one,
      );
      const [now] = tuningInForce(applied, tuningInput(view, mend(perRequest), yamlValue));
      expect(now).toMatchObject({
        id: 'connection-pool:shop/api:9000',
        answer,
        measuredPercent: Math.round((1 - perRequest) * 100),
      });
      expect(now === undefined ? '' : describeInForce(now)).toContain(
        `measured ${Math.round((1 - perRequest) * 100)} % less`,
      );
      // Figures from before the step say nothing of it.
      expect(tuningInForce(view.applied, tuningInput(view, METRICS, yamlValue))[0]?.answer).toBe('unknown');
    });
  });

  it('stands in the title of the step, and is read back from there', () => {
    const amount = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true });
    const mark = fc.record({
      id: fc.constantFrom('http2:shop/web:8080', 'proxy-resources:shop/Deployment/web'),
      gain: fc.record({
        metric: fc.constantFrom('requests', 'new connections per request'),
        before: amount,
        unit: fc.constantFrom('', '/s', 'bytes', '%'),
        lowPercent: fc.integer({ min: 0, max: 100 }),
        highPercent: fc.integer({ min: 0, max: 100 }),
      }),
    });
    fc.assert(
      fc.property(fc.string(), mark, (title, one) => {
        expect(parseMark(`${title} ${formatMark(one)}`)).toEqual(one);
      }),
    );
    expect(parseMark(`x ${formatMark({ id: 'http2:shop/web:8080' })}`)).toEqual({ id: 'http2:shop/web:8080' });
    expect(parseMark('x')).toBeUndefined();
  });
});

// Patterns on a real API server: what they write is taken by it and by Istio's own definitions, and is gone again afterwards.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import type { Pattern } from '../../src/candidates/patterns/pattern.ts';
import type { Snapshot } from '../../src/model/inventory.ts';
import { namespaceOf, refKey, refOf } from '../../src/model/object.ts';
import { unservedKinds } from '../../src/readiness/pattern-plan.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import type { ApiClient } from '../support/apiserver/client.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { makeFolder } from '../support/folder.ts';
import { applyPattern, removePattern } from '../support/pattern-run.ts';
import type { Rig } from '../support/rig.ts';
import { openRig } from '../support/rig.ts';

const tag = randomBytes(4).toString('hex');
const [one, two] = [`pattern-a-${tag}`, `pattern-b-${tag}`];
const patterns = new Map<string, Pattern>();
let client: ApiClient;

beforeAll(async () => {
  for (const pattern of await readPatterns()) patterns.set(pattern.name, pattern);
  client = connect(inject('apiServer').admin);
  for (const name of [one, two]) {
    await client.must('POST', '/api/v1/namespaces', { metadata: { name, labels: { tenant: name } } });
    const labels = { app: 'web', 'security-tier': 'high' };
    await client.must('POST', `/apis/apps/v1/namespaces/${name}/deployments`, {
      metadata: { name: 'web' },
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: { containers: [{ name: 'main', image: 'example.com/web:1', ports: [{ containerPort: 8080 }] }] },
        },
      },
    });
  }
});
afterAll(async () => {
  for (const name of [one, two]) await deleteNamespace(client, name);
  client.close();
});

/** Objects of the two namespaces, and those without one, as far as an apply could change them. */
function mine({ objects }: Snapshot): readonly string[] {
  return objects
    .filter((object) => [one, two].includes(namespaceOf(object) ?? object.metadata.name))
    .map((object) => {
      const { metadata, spec } = object as unknown as { metadata: Record<string, unknown>; spec?: unknown };
      return JSON.stringify([refKey(refOf(object)), metadata['labels'], metadata['annotations'], spec]);
    });
}

async function withRig(work: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = await makeFolder();
  const target = await openClusterTarget({ kubeconfig: inject('apiServer').kubeconfig, clock: systemClock });
  const rig = openRig({ target, stateFile: join(folder, 'state.sqlite'), facts: { edges: [] } });
  try {
    await work(rig);
  } finally {
    await rig.close();
  }
}

describe('patterns on a real API server', () => {
  it.each([
    ['tenant-isolation', { tenants: `a=${one},b=${two}` }, 2],
    ['pipeline-stages', { stages: `a=${one},b=${two}`, ports: '8080,9000-9010,53/udp' }, 2],
    ['control-and-data-plane', { control: one, data: two, ports: '8080' }, 1],
    ['controlled-egress', { ranges: '151.101.0.0/16', internal: '10.0.0.0/8' }, 1],
    ['controlled-egress', { dialect: 'istio', hubs: 'pypi.org' }, 5],
    ['strict-mtls-tier', {}, 1],
    ['model-serving', { servers: one, callers: `${two}/default`, methods: 'POST', paths: '/v2/models/{*}/infer' }, 2],
    ['ambient-tunnels', { servers: `${one}/app=web`, callers: `${two}/default`, ports: '8080' }, 2],
    ['training-job', { jobs: 'bert' }, 1],
  ] as const)('%s is taken, and leaves nothing behind', async (name, given, steps) => {
    const pattern = patterns.get(name);
    if (pattern === undefined) throw new Error(name);
    await withRig(async (rig) => {
      const before = await rig.target.readSnapshot();
      const { planned, run } = await applyPattern(rig, one, pattern, given);
      expect(run.failed).toEqual([]);
      expect(planned.plan.steps.length).toBe(steps);
      expect(run).toMatchObject({ outcome: 'done', phase: 'none' });
      expect(mine(await rig.target.readSnapshot()).length).toBe(mine(before).length + steps);
      // What is there is what was asked for: a second plan has no steps, defaults of the server included.
      const again = await applyPattern(rig, one, pattern, given);
      expect(again.planned.plan.steps.map((step) => step.id)).toEqual([]);
      expect((await removePattern(rig, one, pattern)).run).toMatchObject({ outcome: 'done', phase: 'none' });
      expect(mine(await rig.target.readSnapshot())).toEqual(mine(before));
    });
  });

  it('knows which kinds the cluster does not serve, before anything is written', async () => {
    await withRig(async (rig) => {
      const view = await rig.view(one);
      const kind = (apiVersion: string, name: string) => ({ apiVersion, kind: name, metadata: { name: 'x' } });
      const objects = [
        kind('networking.k8s.io/v1', 'NetworkPolicy'),
        kind('security.istio.io/v1', 'AuthorizationPolicy'),
        kind('networking.istio.io/v1', 'ServiceEntry'),
        kind('cilium.io/v2', 'CiliumNetworkPolicy'),
        kind('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy'),
        kind('projectcalico.org/v3', 'GlobalNetworkPolicy'),
      ];
      expect(unservedKinds(view, objects)).toEqual([
        'CiliumNetworkPolicy of cilium.io/v2',
        'AdminNetworkPolicy of policy.networking.k8s.io/v1alpha1',
        'GlobalNetworkPolicy of projectcalico.org/v3',
      ]);
    });
  });
});

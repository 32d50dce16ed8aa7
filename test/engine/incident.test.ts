// A quarantine that is killed at every point: resume finishes it, undo takes it back, and nothing is left.
import { expect, it } from 'vitest';
import { join } from 'node:path';
import { executePlan, resumeRun } from '../../src/engine/run.ts';
import type { Target } from '../../src/engine/contract.ts';
import { planHash } from '../../src/plan/hash.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { planQuarantine } from '../../src/readiness/quarantine.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openDirectoryTarget } from '../../src/targets/directory.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import type { Rig } from '../support/rig.ts';
import { CONFIG, edgesOf, openRig, plannerFor } from '../support/rig.ts';

const pod = (n: number): string => `apiVersion: v1
kind: Pod
metadata:
  name: web-${n}   # by hand
  namespace: shop
  labels: {app: web, pod-template-hash: "1", team: blue}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: r, controller: true}]
spec: {containers: [{name: main, image: x}]}
status: {phase: Running, podIP: 10.1.0.${n}}
`;
const FILES = {
  'cluster/shop.yaml': `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web, namespace: shop, uid: r}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: x}]}}
---
${pod(1)}---
${pod(2)}`,
};

class Killed extends Error {}

async function open(folder: string, wrap: (target: Target) => Target = (target) => target): Promise<Rig> {
  const target = await openDirectoryTarget({ dir: join(folder, 'cluster'), clock: systemClock });
  return openRig({
    target: wrap(target),
    stateFile: join(folder, 'state.sqlite'),
    facts: {
      edges: edgesOf('shop/ReplicaSet/web -> shop/ReplicaSet/web 80'),
      config: { ...CONFIG, cluster: { cni: { name: 'calico', ipBlockMatches: [] } } },
    },
  });
}

async function planned(rig: Rig): Promise<Plan> {
  const view = await rig.view('shop');
  const workload = view.inventory.workloads.find(({ name }) => name === 'web');
  if (workload === undefined) throw new Error('no workload');
  const { steps, findings } = planQuarantine(view, { workload, kind: 'labels', connections: 'report', id: 'inc-1' });
  expect(findings).toEqual([]);
  return {
    namespace: 'shop',
    from: 'none',
    to: 'none',
    direction: 'up',
    steps,
    gates: [],
    denied: [],
    unknown: [],
    findings: [],
    simulated: { edges: 1, states: 1 },
    hash: planHash('shop', 'none', 'none', steps, [], []),
    incident: { id: 'inc-1', playbook: 'quarantine', subject: workload.id, reason: 'a test', at: 0 },
  };
}

const POINTS = [0, 1, 2].flatMap((step) => (['before', 'after'] as const).map((when) => [step, when] as const));

it.each(POINTS)('killed at step %i, %s its effect', async (step, when) => {
  const folder = await makeFolder(FILES);
  const start = await readTree(join(folder, 'cluster'));
  let calls = 0;
  const first = await open(folder, (target) => ({
    ...target,
    apply: async (change) => {
      const here = calls === step;
      calls += 1;
      if (here && when === 'before') throw new Killed();
      const applied = await target.apply(change);
      if (here) throw new Killed();
      return applied;
    },
  }));
  await expect(executePlan(await planned(first), 'advance', first.engine)).rejects.toThrow(Killed);
  await first.close();

  const second = await open(folder);
  const [run] = second.journal.openRuns();
  expect(run?.plan.incident).toMatchObject({ id: 'inc-1' });
  expect(await resumeRun(run?.id ?? '', second.engine)).toMatchObject({ outcome: 'done', phase: 'none', exit: 0 });
  const text = (await readTree(join(folder, 'cluster')))['shop.yaml'] ?? '';
  expect(text.match(/sallyport\.dev\/quarantine/gu)).toHaveLength(2);
  expect(text).not.toMatch(/labels: \{app: web, pod/u);

  const view = await second.view('shop');
  const mine = view.applied.toSorted((a, b) => b.seq - a.seq);
  const { plan, divergences } = planRollback(view, 'none', plannerFor('directory'), new Map(), mine);
  expect(divergences).toEqual([]);
  expect(await executePlan(plan, 'rollback', second.engine)).toMatchObject({ outcome: 'done', exit: 0 });
  expect(second.journal.applied()).toEqual([]);
  await second.close();
  expect(await readTree(join(folder, 'cluster'))).toEqual(start);
});

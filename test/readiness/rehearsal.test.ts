// Policies that are rehearsed before they are enforced: the counters read, and what the gate makes of them.
import { describe, expect, it } from 'vitest';
import { identity } from '../../phases/05-identity/index.ts';
import type { AppliedStep, View } from '../../src/engine/contract.ts';
import type { Rehearsal } from '../../src/model/rehearsal.ts';
import { applyToObjects } from '../../src/plan/change.ts';
import { rehearsableGates, rehearsalGates, rehearsalSteps } from '../../src/readiness/rehearsal.ts';
import { readRehearsals } from '../../src/sources/rehearsal.ts';
import { snapshotOf, viewFor } from '../phases/worlds.ts';
import { CONFIG, NOW } from '../support/rig.ts';

const bytes = (text: string) => ({
  name: 'metrics.json',
  open: async function* () {
    yield await Promise.resolve(new TextEncoder().encode(text));
  },
});
const read = (text: string): Promise<readonly Rehearsal[]> =>
  readRehearsals([bytes(text)], { badRecords: 'abort', now: NOW });

const series = (result: string, value: number, more: object = {}): object => ({
  metric: {
    __name__: 'envoy_http_inbound_0_0_0_0_8080_rbac',
    authz_dry_run_action: 'allow',
    authz_dry_run_result: result,
    namespace: 'back',
    pod: 'api-1',
    ...more,
  },
  value: [NOW / 1000, String(value)],
});
const answer = (...list: readonly object[]): string =>
  JSON.stringify({ status: 'success', data: { resultType: 'vector', result: list } });

describe('counters of rehearsed policies', () => {
  it('are added up by pod, over its listeners', async () => {
    const text = answer(
      series('allowed', 20),
      series('allowed', 5, { __name__: 'envoy_http_inbound_0_0_0_0_9000_rbac' }),
      series('denied', 2),
      series('allowed', 7, { pod: 'api-2' }),
    );
    expect(await read(text)).toEqual([
      { namespace: 'back', pod: 'api-1', allowed: 25, denied: 2, newest: NOW },
      { namespace: 'back', pod: 'api-2', allowed: 7, denied: 0, newest: NOW },
    ]);
  });

  it('are those of rehearsed ALLOW policies of named pods alone', async () => {
    const text = answer(
      series('allowed', 20, { authz_dry_run_action: 'deny' }),
      series('allowed', 20, { pod: '' }),
      series('allowed', 20, { __name__: 'envoy_http_outbound_x_rbac' }),
      series('maybe', 20),
    );
    expect(await read(text)).toEqual([]);
  });

  it('are read from a scrape too, and refused where they are no metrics', async () => {
    const line =
      'envoy_http_inbound_0_0_0_0_80_rbac{authz_dry_run_action="allow",authz_dry_run_result="denied",namespace="back",pod="p"} 3';
    expect(await read(`${line}\n`)).toEqual([{ namespace: 'back', pod: 'p', allowed: 0, denied: 3, newest: NOW }]);
    await expect(read('no metrics\n')).rejects.toThrow();
  });
});

/** The two teams' server side, in the mesh and under STRICT as the phases before leave it. */
function meshed(): View {
  const view = viewFor({ namespace: 'back', phases: { back: 'strict-mtls', front: 'strict-mtls' } });
  const workloads = view.inventory.workloads.map((workload) => ({
    ...workload,
    podSets: workload.podSets.map((podSet) => ({
      ...podSet,
      mesh: 'sidecar' as const,
      pods: [{ name: `${workload.name}-1`, ips: [], hostNetwork: false, phase: 'Running', ready: true, sidecar: true }],
    })),
  }));
  const config = { ...CONFIG, identity: { rehearsal: 'required' as const, metrics: [] } };
  return { ...view, config, inventory: { ...view.inventory, workloads } };
}

/** With the rehearsals written at a time. */
function rehearsed(at: number): View {
  const view = meshed();
  const steps = rehearsalSteps(view);
  let objects = view.snapshot.objects;
  for (const step of steps) objects = applyToObjects(objects, step.change);
  const applied = steps.map((step, seq): AppliedStep => ({
    seq,
    run: 'r',
    namespace: 'back',
    phase: 'identity',
    step,
    change: step.change,
    at,
  }));
  return { ...view, snapshot: snapshotOf(objects), applied };
}

const counts = (allowed: number, denied: number, newest: number): readonly Rehearsal[] =>
  meshed().inventory.workloads.flatMap(({ namespace, podSets }) =>
    podSets.flatMap(({ pods }) => pods.map(({ name }) => ({ namespace, pod: name, allowed, denied, newest }))),
  );
const answersOf = (view: View): readonly string[] => [...new Set(rehearsalGates(view).map(({ answer: one }) => one))];

describe('the gate on rehearsals', () => {
  // Every edge of the fixture was last seen a minute before now.
  const EARLIER = NOW - 3_600_000;

  it('is not there unless the configuration asks for it', () => {
    expect(rehearsalGates({ ...meshed(), config: CONFIG })).toEqual([]);
  });

  it('is red before anything was rehearsed, and says what to run', () => {
    const gates = rehearsalGates(meshed());
    expect(gates.length).toBeGreaterThan(0);
    for (const gate of gates)
      expect(gate).toMatchObject({ id: 'rehearsal', answer: 'no', fix: 'sallyport rehearse back' });
  });

  it.each([
    ['without counters', [], EARLIER, 'unknown'],
    ['with counters from before the rehearsal', counts(10, 0, EARLIER - 1), EARLIER, 'unknown'],
    ['with counters that let all through', counts(10, 0, NOW), EARLIER, 'yes'],
    ['with one that would refuse', counts(10, 1, NOW), EARLIER, 'no'],
    ['with counters, and callers not seen since', counts(10, 0, NOW), NOW - 1000, 'unknown'],
  ])('%s: %#', (_, rehearsals, at, wanted) => {
    expect(answersOf({ ...rehearsed(at), rehearsals })).toEqual([wanted]);
  });

  it('goes by the pods that are there now', () => {
    const gone = counts(10, 0, NOW).map((one) => ({ ...one, pod: `${one.pod}-gone` }));
    expect(answersOf({ ...rehearsed(EARLIER), rehearsals: gone })).toEqual(['unknown']);
  });
});

describe('a rehearsal in an ambient mesh', () => {
  it.each([
    ['1.28.3', 'no'],
    ['1.29.0', 'yes'],
    [undefined, 'unknown'],
  ] as const)('of %s: %s, since older ztunnels enforce it', (version, wanted) => {
    const view = meshed();
    const inventory = {
      ...view.inventory,
      facts: {
        ...view.inventory.facts,
        mesh: { ...withoutVersion(view), ...(version === undefined ? {} : { version }) },
      },
      workloads: view.inventory.workloads.map((workload) => ({
        ...workload,
        podSets: workload.podSets.map((podSet) => ({ ...podSet, mesh: 'ambient' as const })),
      })),
    };
    expect(rehearsableGates({ ...view, inventory }).map((gate) => gate.answer)).toEqual([wanted]);
    expect(rehearsableGates(view)).toEqual([]);
  });
});

function withoutVersion({ inventory }: View): Omit<View['inventory']['facts']['mesh'], 'version'> {
  const { version, ...rest } = inventory.facts.mesh;
  return version === undefined ? inventory.facts.mesh : rest;
}

describe('the steps of a rehearsal', () => {
  it('refuse nothing, are not written twice, and are enforced by the phase afterwards', () => {
    const view = rehearsed(NOW - 3_600_000);
    const objects = view.applied.map(({ change }) => JSON.stringify(change));
    expect(objects.length).toBeGreaterThan(0);
    for (const text of objects) expect(text).toContain('"istio.io/dry-run":"true"');
    expect(rehearsalSteps(view)).toEqual([]);
    const ids = identity.up(view).map(({ id }) => id);
    expect(ids.filter((id) => id.endsWith('-rehearse'))).toEqual([]);
    expect(ids.filter((id) => id.endsWith('-enforce')).length).toBe(objects.length);
  });
});

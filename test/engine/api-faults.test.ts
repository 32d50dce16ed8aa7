// The whole way on an API server that fails calls: whatever fails and whether or not the call had its effect, the next run
// converges to the same objects, and back.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { EXIT, isFailure } from '../../src/shared/pure/errors.ts';
import { asObject } from '../../src/shared/pure/json.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import type { SimulatedClock } from '../support/fake-api/clock.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import { ISTIO_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeApi, Fault } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import type { Rig } from '../support/rig.ts';
import { CONFIG, NOW, openRig, twoTeamsEdges } from '../support/rig.ts';
import { fixtureObjects, settled } from './fault-driver.ts';

let api: FakeApi;
let clock: SimulatedClock;
let rig: Rig;
let dir: string;
let start: unknown;
let end: unknown;
let calls: number;

/** Spec, labels and annotations of everything but Leases and the way back. */
function world(): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    api
      .objects()
      .filter(({ kind, metadata }) => kind !== 'Lease' && !metadata.name.startsWith('sallyport-undo-'))
      .map((object) => {
        const { labels, annotations } = object.metadata;
        const written = Object.entries(object).filter(([key]) => key !== 'metadata' && key !== 'status');
        return [refKey(refOf(object)), { ...Object.fromEntries(written), labels, annotations }];
      }),
  );
}

beforeAll(async () => {
  clock = simulatedClock(NOW);
  dir = mkdtempSync(join(tmpdir(), 'sallyport-faults-'));
  api = await startFakeApi({ objects: fixtureObjects(), kinds: ISTIO_KINDS, now: () => clock.now() });
  const settle = (): void => {
    for (const object of api.objects())
      if (object.kind === 'Deployment' || object.kind === 'StatefulSet') {
        const status = asObject(object['status']);
        if (status['observedGeneration'] !== object.metadata['generation']) api.put(settled(object), 'controller');
      }
  };
  settle();
  api.afterCall((call) => {
    if (call.method === 'PATCH') settle();
  });
  const target = await openClusterTarget({ kubeconfig: api.kubeconfig, clock, timeoutMs: 400 });
  rig = openRig({
    target,
    undo: target.undo === undefined ? [] : [target.undo],
    stateFile: join(dir, 'state.sqlite'),
    // Nothing follows denials here: with soak on a live cluster answers unknown.
    facts: { edges: twoTeamsEdges(), config: { ...CONFIG, gates: { ...CONFIG.gates, soak: 'off' } } },
    clock,
  });
  start = world();
  const plan = await rig.planUp('front', 'permissive-mtls');
  const before = api.calls.length;
  expect((await executePlan(plan, 'advance', rig.engine)).exit).toBe(EXIT.done);
  calls = api.calls.length - before;
  end = world();
  const kept = api.objects().filter(({ kind }) => kind === 'ConfigMap');
  expect(kept.flatMap((object) => Object.keys(asObject(object['data']))).toSorted()).toEqual(['front.md']);
  expect(end).not.toEqual(start);
  expect((await rig.rollback('front', 'none')).exit).toBe(EXIT.done);
  expect(world()).toEqual(start);
  const left = api.objects().filter(({ kind }) => kind === 'ConfigMap');
  expect(left.flatMap((object) => Object.keys(asObject(object['data'])))).toEqual([]);
});
afterAll(async () => {
  await rig.close();
  await api.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Runs, and does what the program tells an operator to do until it is done. Returns how often it took. */
async function converge(namespace: string, to: PhaseName): Promise<number> {
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    try {
      const [open] = rig.journal.openRuns();
      if (open !== undefined) await resumeRun(open.id, rig.engine);
      else await rig.advance(namespace, to);
    } catch (error) {
      if (!isFailure(error)) throw error;
    }
    if (rig.journal.openRuns().length === 0 && rig.journal.phases().get(namespace) === to) return attempt;
    // A Lease that could not be given back is over in a minute.
    clock.advance(61_000);
  }
  throw new Error('it does not converge');
}

async function restore(): Promise<void> {
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    try {
      for (const open of rig.journal.openRuns()) await settleOpenRun(open.id, rig.engine);
      await rig.rollback('front', 'none');
    } catch (error) {
      if (!isFailure(error)) throw error;
    }
    if (rig.journal.openRuns().length === 0 && rig.journal.applied().length === 0) return;
    clock.advance(61_000);
  }
  throw new Error('it does not come back');
}

const FAULTS: readonly (readonly [string, Fault['fault'], 'before' | 'after'])[] = [
  ['no answer, and nothing done', { kind: 'timeout' }, 'before'],
  ['no answer, but it was done', { kind: 'timeout' }, 'after'],
  ['the connection cut, but it was done', { kind: 'cut' }, 'after'],
  ['500, and nothing done', { kind: 'status', status: 500 }, 'before'],
  ['500, but it was done', { kind: 'status', status: 500 }, 'after'],
  ['429 with Retry-After', { kind: 'status', status: 429, headers: { 'retry-after': '1' } }, 'before'],
  ['409', { kind: 'status', status: 409 }, 'before'],
  ['403', { kind: 'status', status: 403 }, 'before'],
];
/** Every so many calls; each fault starts at another one, so that together they meet most calls. */
const STRIDE = 48;

describe('an API server that fails one call', () => {
  it.each(FAULTS.map((fault, index) => [...fault, index] as const))('%s', async (_name, fault, when, offset) => {
    let met = 0;
    for (let point = 1 + offset * 2; point <= calls; point += STRIDE) {
      const plan = await rig.planUp('front', 'permissive-mtls');
      const status = fault.kind === 'status' ? fault.status : 0;
      // A cluster that fails for longer than the client is patient.
      api.failNext({ point: api.calls.length + point, fault, when, times: 1 });
      const from = api.calls.length;
      await executePlan(plan, 'advance', rig.engine).catch((error: unknown) => {
        if (!isFailure(error)) throw error;
      });
      if (api.calls.slice(from).some((call) => call.point === from + point && call.status === status)) met += 1;
      clock.advance(61_000);
      if (rig.journal.phases().get('front') !== 'permissive-mtls' || rig.journal.openRuns().length > 0)
        await converge('front', 'permissive-mtls');
      expect(world(), `call ${point}`).toEqual(end);
      await restore();
      expect(world(), `back after call ${point}`).toEqual(start);
    }
    if (fault.kind !== 'cut') expect(met).toBeGreaterThan(2);
  });

  it('can be left half-way and taken back, with any call failing on the way back too', async () => {
    for (let point = 3; point <= calls; point += 2 * STRIDE) {
      const plan = await rig.planUp('front', 'permissive-mtls');
      api.failNext({ method: 'POST', point: api.calls.length + point, fault: { kind: 'timeout' }, when: 'after' });
      await executePlan(plan, 'advance', rig.engine).catch(() => undefined);
      clock.advance(61_000);
      api.failNext({ point: api.calls.length + point, fault: { kind: 'status', status: 500 }, when: 'after' });
      await restore();
      expect(world(), `call ${point}`).toEqual(start);
    }
  });
});

// Chaos of our own: only where it was allowed, only what opens, and back to the field wherever it is killed.
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chaos } from '../../src/cli/commands/chaos.ts';
import type { Lookout } from '../../src/cli/chaos-notice.ts';
import { resume, rollback } from '../../src/cli/commands/run.ts';
import { status } from '../../src/cli/commands/status.ts';
import { openApp } from '../../src/cli/context.ts';
import type { App } from '../../src/cli/context.ts';
import { openInterrupt } from '../../src/cli/interrupt.ts';
import type { Change } from '../../src/plan/change.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { executePlan } from '../../src/engine/run.ts';
import { planHash } from '../../src/plan/hash.ts';
import type { Step } from '../../src/plan/plan.ts';
import { planChaos } from '../../src/readiness/chaos.ts';
import { openPutBack, overdueExperiments } from '../../src/cli/watch-chaos.ts';
import { lookAtExperiments } from '../../src/cli/watcher.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Notice } from '../../src/watch/notice.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import { startWatch } from '../../src/watch/state.ts';
import type { OverdueExperiment } from '../../src/watch/state.ts';
import { openState } from '../../state/open.ts';
import { openJournal } from '../../state/journal.ts';
import { deploymentOf, generate, idOf, podOf } from '../watch/world.ts';
import { viewOf } from '../support/rig.ts';
import { makeFolder, readTree } from '../support/folder.ts';
import type { Place } from './watching.ts';
import { openPlace, silent } from './watching.ts';

const { objects, record } = generate(1);
const OURS = record.applied.filter(({ step }) => step.workload === idOf(0, 1));
const NAMES = OURS.map(({ step }) => (step.change.kind === 'create' ? step.change.object.metadata.name : ''));
const NS = objects.find(({ kind }) => kind === 'Namespace');

/** The two policies of one workload, or other steps, by a run of ours in ns-0. */
async function protect(app: App, steps: readonly Step[] = OURS.map(({ step }) => step), run = 'run-1'): Promise<void> {
  const state = await app.writableState();
  const target = await app.target();
  const result = await executePlan(
    {
      namespace: 'ns-0',
      from: 'none',
      to: 'allow-list',
      direction: 'up',
      steps,
      gates: [],
      denied: [],
      unknown: [],
      findings: [],
      simulated: { edges: 0, states: 0 },
      hash: planHash('ns-0', 'none', 'allow-list', steps, [], []),
    },
    'advance',
    {
      target,
      journal: openJournal(state.writer),
      clock: { now: () => Date.now(), sleep: () => Promise.resolve() },
      by: 'tester',
      signal: new AbortController().signal,
      emit: () => undefined,
      newRunId: () => run,
    },
  );
  expect(result).toMatchObject({ outcome: 'done' });
}

let place: Place;
beforeEach(async () => {
  // Two policies of one workload come from a run of ours, in ns-0; nothing isolates the others. A stranger is in ops.
  place = await openPlace({
    objects: objects.filter(({ kind }) => kind !== 'NetworkPolicy'),
    now: () => Date.now(),
  });
  place.server.put(deploymentOf('ops', 'stranger'));
  place.server.put(podOf('ops', 'stranger', 0, '10.9.9.9'));
  const app = place.app({ yes: true });
  await protect(app);
  await app.close();
});
afterEach(() => place.close());

const allow = (value = 'allowed'): void => {
  if (NS === undefined) throw new Error('no namespace');
  place.server.put({ ...NS, metadata: { ...NS.metadata, annotations: { 'sallyport.dev/chaos': value } } });
};
const policies = (): readonly KubeManifest[] => place.server.objects().filter(({ kind }) => kind === 'NetworkPolicy');
/** Without what the API server writes. */
const exact = (): readonly unknown[] =>
  policies()
    .map(({ apiVersion, kind, metadata, spec }) => ({
      apiVersion,
      kind,
      spec,
      name: metadata.name,
      labels: metadata['labels'],
      annotations: metadata['annotations'],
    }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
const applied = (): readonly string[] => {
  const state = openState(join(place.dir, 'one.sqlite'), { target: undefined, mode: 'read' });
  try {
    expect(state.reader.openHeads()).toEqual([]);
    return state.reader.applied().map(({ step }) => step.id);
  } finally {
    state.close();
  }
};
const eyes =
  (more: Partial<Lookout> = {}) =>
  (): Promise<Lookout> =>
    Promise.resolve({
      by: 'test',
      noticed: () => Promise.resolve({ at: Date.now(), as: 'seen' }),
      close: () => Promise.resolve(),
      ...more,
    });
const dropLeases = (): void => {
  for (const lease of place.server.objects()) if (lease.kind === 'Lease') place.server.remove(lease);
};

describe('an experiment', () => {
  it.each(['remove', 'loosen'] as const)(
    'by %s is noticed by a watch, timed, and put back to the field',
    async (how) => {
      allow();
      const before = exact();
      const app = place.app({ yes: true });
      expect(await chaos(app, 'ns-0', { how, within: '1m' })).toBe(0);
      expect(exact()).toEqual(before);
      await app.close();
      expect(applied()).toEqual(OURS.map(({ step }) => step.id));
    },
  );

  it('whose time does not read names the flag', async () => {
    await expect(chaos(place.app(), 'ns-0', { within: 'soon' }, eyes())).rejects.toMatchObject({
      detail: { code: 'SP296', where: '--within' },
    });
  });

  it('without --yes writes nothing', async () => {
    allow();
    const app = place.app();
    const from = place.server.calls.length;
    expect(await chaos(app, 'ns-0', {}, eyes())).toBe(0);
    expect(place.server.calls.slice(from).filter(({ method }) => method !== 'GET')).toEqual([]);
  });

  it('that nobody notices in time is put back as well, and ends with 6', async () => {
    allow();
    const before = exact();
    const app = place.app({ yes: true });
    let away = 0;
    const blind = eyes({
      noticed: async (signal) => {
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        away = policies().length;
        return undefined;
      },
    });
    expect(await chaos(app, 'ns-0', { how: 'remove', within: '1s' }, blind)).toBe(6);
    expect(away).toBe(NAMES.length - 1);
    expect(exact()).toEqual(before);
  });

  it('is over before the lookout closes: what does not listen, or fails to close, keeps nothing away', async () => {
    allow();
    const before = exact();
    const app = place.app({ yes: true });
    const notes: string[] = [];
    const heard: App = { ...app, output: { ...app.output, note: (text) => void notes.push(text) } };
    const atClose: (readonly unknown[])[] = [];
    const broken = (noticed?: Lookout['noticed']): ReturnType<typeof eyes> =>
      eyes({
        ...(noticed === undefined ? {} : { noticed }),
        close: () => {
          atClose.push(exact());
          throw new Error('the watch broke');
        },
      });
    expect(await chaos(heard, 'ns-0', { how: 'remove' }, broken())).toBe(0);
    // It does not even listen to the signal.
    const deaf = broken(() => new Promise(() => undefined));
    expect(await chaos(heard, 'ns-0', { how: 'remove', within: '1s' }, deaf)).toBe(6);
    const fails = broken(() => Promise.reject(new Error('blind')));
    await expect(chaos(heard, 'ns-0', { how: 'remove' }, fails)).rejects.toThrow('blind');
    expect(atClose).toEqual([before, before, before]);
    expect(notes.filter((text) => text.includes('the watch broke'))).toHaveLength(3);
    await app.close();
    expect(applied()).toEqual(OURS.map(({ step }) => step.id));
  });

  it('is back, and told, before a lookout that takes its time has closed', async () => {
    allow();
    const before = exact();
    const app = place.app({ yes: true });
    const said: unknown[] = [];
    const output: App['output'] = { ...app.output, document: (_, value) => void said.push(value) };
    let closed = (): void => undefined;
    let asked = (): void => undefined;
    const closing = new Promise<void>((resolve) => (asked = resolve));
    const slow = eyes({
      close: () => {
        asked();
        return new Promise((resolve) => (closed = resolve));
      },
    });
    const ending = chaos({ ...app, output }, 'ns-0', { how: 'remove' }, slow);
    await Promise.race([closing, ending]);
    expect(exact()).toEqual(before);
    expect(said).toMatchObject([{ outcome: 'noticed', putBack: [{ outcome: 'done' }] }]);
    closed();
    expect(await ending).toBe(0);
  });

  it('never acts in another namespace, whatever was applied for this one', async () => {
    allow();
    const [ours] = OURS;
    if (ours?.change.kind !== 'create') throw new Error('no step');
    const foreign: KubeManifest = {
      ...ours.change.object,
      metadata: { name: 'tenant-isolation', namespace: 'ops', labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
      spec: { podSelector: {}, policyTypes: ['Ingress'] },
    };
    const app = place.app({ yes: true });
    await protect(
      app,
      [{ ...ours.step, id: 'pattern/tenant-isolation/ops', change: { kind: 'create', object: foreign } }],
      'run-2',
    );
    const before = exact();
    expect(before).toHaveLength(NAMES.length + 1);
    const from = place.server.calls.length;
    for (const how of ['remove', 'loosen'])
      await expect(
        chaos(app, 'ns-0', { how, object: 'NetworkPolicy ops/tenant-isolation' }, eyes()),
      ).rejects.toMatchObject({ detail: { code: 'SP665' } });
    expect(place.server.calls.slice(from).filter(({ method }) => method !== 'GET')).toEqual([]);
    expect(exact()).toEqual(before);
  });

  it('never opens the way into another namespace', async () => {
    allow();
    const app = place.app({ yes: true });
    const before = exact();
    await expect(
      chaos(app, 'ns-0', { object: 'NetworkPolicy ns-0/sallyport-app-1-egress' }, eyes()),
    ).rejects.toMatchObject({
      detail: {
        code: 'SP665',
        message: expect.stringContaining(
          'would open ns-0/Deployment/app-1 -> ops/Deployment/stranger, into a namespace that was not asked',
        ) as string,
      },
    });
    expect(exact()).toEqual(before);
  });

  it.each([
    ['the namespace did not opt in', (): void => undefined, {}, 'SP662'],
    ['it says something else than allowed', (): void => allow('yes'), {}, 'SP662'],
    ['it is a protected namespace', (): void => undefined, {}, 'SP663'],
    ['the object is none of ours', (): void => allow(), { object: 'NetworkPolicy ns-0/other' }, 'SP665'],
    ['the watch does not answer', (): void => allow(), { watchUrl: 'http://127.0.0.1:9' }, 'SP666'],
  ] as const)('is refused where %s, and nothing is written', async (name, before, options, code) => {
    before();
    const app = place.app({ yes: true });
    const all = exact();
    await expect(chaos(app, name.includes('protected') ? 'kube-system' : 'ns-0', options)).rejects.toMatchObject({
      detail: { code },
    });
    expect(exact()).toEqual(all);
  });

  it.each(['16m', '1h'])('of %s is wrong use, and nothing is read', async (within) => {
    allow();
    const app = place.app({ yes: true });
    const from = place.server.calls.length;
    await expect(chaos(app, 'ns-0', { within })).rejects.toMatchObject({
      detail: { code: 'SP296', exit: 2, where: '--within', message: expect.stringContaining(within) as string },
    });
    expect(place.server.calls.length).toBe(from);
  });

  it('never takes away what allows where another policy isolates', async () => {
    allow();
    const [policy] = policies();
    if (policy === undefined) throw new Error('no policy');
    // All of the namespace is isolated, and who calls is let out: what our policy allows, nothing else does.
    place.server.put({
      ...policy,
      metadata: { name: 'deny-all', namespace: 'ns-0' },
      spec: { podSelector: {}, policyTypes: ['Ingress'] },
    });
    const app = place.app({ yes: true });
    await expect(
      chaos(app, 'ns-0', { how: 'remove', object: 'NetworkPolicy ns-0/sallyport-app-1-ingress' }, eyes()),
    ).rejects.toMatchObject({
      detail: { code: 'SP665', message: expect.stringContaining('close') as string },
    });
  });
});

it.each([
  ['of another namespace', { namespace: 'ns-1' }, []],
  ['of the whole cluster', {}, []],
  ['of the namespace', { namespace: 'ns-0' }, ['remove', 'loosen']],
] as const)('what a step of the namespace wrote counts by the object: %s', (_, where, hows) => {
  const two = generate(2);
  const [ours] = OURS;
  if (ours?.change.kind !== 'create') throw new Error('no step');
  const object: KubeManifest = { ...ours.change.object, metadata: { name: 'made', ...where } };
  const view = viewOf(
    {
      source: 'cluster',
      objects: [...two.objects.filter(({ kind }) => kind !== 'NetworkPolicy'), object],
      origins: new Map(),
      findings: [],
      unread: [],
    },
    'ns-0',
    { edges: [] },
    { phases: new Map(), applied: [{ ...ours, change: { kind: 'create', object } }] },
  );
  expect(planChaos(view).map(({ how }) => how)).toEqual(hows);
});

it('status and resume name an experiment that is overdue', async () => {
  allow();
  const before = exact();
  const app = place.app({ yes: true });
  const dies = dying(app, 'waiting');
  const look = eyes({
    noticed: async () => {
      while (policies().length === NAMES.length) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, 50));
      dies.kill();
      throw new Killed();
    },
  });
  const from = Date.now();
  await expect(chaos(dies, 'ns-0', { how: 'remove', within: '1m' }, look)).rejects.toThrow(Killed);
  await app.close();
  dropLeases();
  const told = async (now: number): Promise<readonly [unknown, string]> => {
    const one = place.app({ now: new Date(now).toISOString() });
    const lines: string[] = [];
    let said: unknown;
    const output: App['output'] = {
      ...one.output,
      line: (text = '') => void lines.push(text),
      document: (_, value) => void (said = value),
    };
    await status({ ...one, output }, {});
    await one.close();
    return [said, lines.join(' ').replaceAll(/\s+/g, ' ')];
  };
  const experiment = { namespace: 'ns-0', object: 'NetworkPolicy ns-0/sallyport-app-1-ingress', how: 'remove' };
  const [soon, soonText] = await told(from + 1000);
  expect(soon).toMatchObject({ experiments: [{ ...experiment, state: 'away' }] });
  expect(soonText).not.toContain('overdue');
  const [late, lateText] = await told(from + 3_600_000);
  expect(late).toMatchObject({ experiments: [{ ...experiment, state: 'overdue' }] });
  expect(lateText).toContain(
    'NetworkPolicy ns-0/sallyport-app-1-ingress in ns-0: taken away by an experiment, overdue',
  );
  expect(lateText).toContain('sallyport resume puts it back');
  const next = place.app({ yes: true });
  const notes: string[] = [];
  const clock = { ...next.clock(), now: () => from + 3_600_000 };
  const output: App['output'] = { ...next.output, note: (text) => void notes.push(text) };
  expect(await resume({ ...next, output, clock: () => clock })).toBe(0);
  expect(notes.join('\n')).toContain('was taken away by an experiment, was overdue since');
  await next.close();
  expect(exact()).toEqual(before);
  const [after] = await told(from + 3_600_000);
  expect(after).toMatchObject({ experiments: [] });
});

class Killed extends Error {}

/** An app that dies at a point: nothing it does afterwards reaches the cluster. */
function dying(app: App, point: string): App & { readonly kill: () => void } {
  let dead = false;
  let applies = 0;
  const alive = (): void => {
    if (dead) throw new Killed();
  };
  const die = (): never => {
    dead = true;
    throw new Killed();
  };
  return {
    ...app,
    kill: () => (dead = true),
    target: async () => {
      const target = await app.target();
      return {
        ...target,
        acquire: async (...all) => {
          alive();
          return target.acquire(...all);
        },
        readSnapshot: async (...all) => {
          alive();
          return target.readSnapshot(...all);
        },
        apply: async (change: Change) => {
          alive();
          applies += 1;
          const here = applies === 1 ? 'take' : 'put';
          if (point === `before ${here}`) die();
          const done = await target.apply(change);
          if (point === `after ${here}`) die();
          return done;
        },
      };
    },
  };
}

const POINTS = ['before take', 'after take', 'waiting', 'before put', 'after put'];
it.each(POINTS.flatMap((point) => (['resume', 'rollback'] as const).map((by) => [point, by] as const)))(
  'killed %s, %s puts it back to the field',
  async (point, by) => {
    allow();
    const before = exact();
    const app = place.app({ yes: true });
    const dies = dying(app, point);
    const look = eyes(
      point === 'waiting'
        ? {
            noticed: async () => {
              while (policies().length === NAMES.length) await new Promise((resolve) => setTimeout(resolve, 5));
              // Journaled as well.
              await new Promise((resolve) => setTimeout(resolve, 50));
              dies.kill();
              throw new Killed();
            },
          }
        : {},
    );
    await expect(chaos(dies, 'ns-0', { how: 'remove' }, look)).rejects.toThrow(Killed);
    await app.close();
    dropLeases();
    const next = place.app({ yes: true });
    if (by === 'resume') expect(await resume(next)).toBe(0);
    else {
      expect(await rollback(next, 'ns-0', { to: 'none' })).toBe(0);
      await next.close();
      expect(policies()).toEqual([]);
      expect(applied()).toEqual([]);
      return;
    }
    await next.close();
    expect(exact()).toEqual(before);
    expect(applied()).toEqual(OURS.map(({ step }) => step.id));
  },
);

it('that is overdue is put back by a watch, once it may, and told until it is', async () => {
  allow();
  const before = exact();
  const app = place.app({ yes: true });
  const dies = dying(app, 'waiting');
  const look = eyes({
    noticed: async () => {
      while (policies().length === NAMES.length) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, 50));
      dies.kill();
      throw new Killed();
    },
  });
  const from = Date.now();
  await expect(chaos(dies, 'ns-0', { how: 'remove', within: '1m' }, look)).rejects.toThrow(Killed);
  await app.close();
  dropLeases();

  let now = from;
  const overdue = async (): Promise<readonly OverdueExperiment[]> => {
    const one = place.app();
    try {
      return overdueExperiments((await one.state()).reader, now);
    } finally {
      await one.close();
    }
  };
  const putBack = openPutBack(
    () => place.app({ yes: true }),
    () => now,
  );
  // The watch's own loop, on this clock: one look in half a minute.
  const told: Notice[] = [];
  let state = startWatch(DEFAULT_CONFIG);
  const look30 = async (): Promise<void> => {
    now += 30_000;
    await lookAtExperiments(
      { overdue, putBack },
      () => state,
      (event) => {
        const reduced = reduceWatch(state, event, now);
        ({ state } = reduced);
        told.push(...reduced.notices);
      },
    );
  };
  const refuse = (times: number): void =>
    place.server.failNext({
      method: 'POST',
      path: '/networkpolicies',
      times,
      fault: { kind: 'status', status: 403 },
    });

  // In time, and a moment beyond it: whoever made it puts it back.
  for (let count = 0; count < 3; count += 1) await look30();
  expect(told).toEqual([]);
  refuse(1);
  for (let count = 0; count < 10; count += 1) await look30();
  expect(told.map(({ kind, state: of, severity }) => [kind, of, severity])).toEqual([
    ['experiment', 'raised', 'error'],
    ['experiment', 'changed', 'error'],
  ]);
  expect(told.at(-1)?.text).toContain('SP406');
  expect(policies()).toHaveLength(NAMES.length - 1);
  // Only a person changes a refusal: it is asked again after a quarter of an hour.
  for (let count = 0; count < 30; count += 1) await look30();
  expect(told.at(-1)).toMatchObject({ kind: 'experiment', state: 'cleared' });
  expect(exact()).toEqual(before);
  expect(applied()).toEqual(OURS.map(({ step }) => step.id));
  const trail = place.app();
  const { reader } = await trail.state();
  expect(reader.runs().at(-1)).toMatchObject({ kind: 'rollback', outcome: 'done' });
  expect(reader.audit().some(({ what, object }) => what.startsWith('create') && object.includes(NAMES[0] ?? '?'))).toBe(
    true,
  );
  await trail.close();
});

it('in a directory it is what verify says at once, and every byte is back', async () => {
  const allowed = { ...NS, metadata: { name: 'ns-0', annotations: { 'sallyport.dev/chaos': 'allowed' } } };
  const all = [
    allowed,
    ...objects.filter(({ kind }) => kind !== 'NetworkPolicy' && kind !== 'Namespace'),
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'ops' } },
    deploymentOf('ops', 'stranger'),
  ];
  const folder = await makeFolder({ 'cluster/all.yaml': all.map((one) => JSON.stringify(one)).join('\n---\n') });
  const dir = join(folder, 'cluster');
  const app = openApp(
    { manifests: dir, state: join(folder, 'state.sqlite'), yes: true },
    silent(),
    { XDG_STATE_HOME: folder },
    openInterrupt(),
  );
  await protect(app);
  const before = await readTree(dir);
  for (const how of ['remove', 'loosen']) expect(await chaos(app, 'ns-0', { how })).toBe(0);
  expect(await readTree(dir)).toEqual(before);
  await app.close();
});

import { readFileSync, writeFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RolloutResult, Target } from '../../src/engine/contract.ts';
import type { Engine } from '../../src/engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import type { KubeManifest, ObjectRef } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { checkDrift } from '../../src/plan/drift.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import { setPath } from '../../src/shared/pure/json.ts';
import { readTree } from '../support/folder.ts';
import type { Rig } from '../support/rig.ts';
import type { Image, Place } from './images.ts';
import { imaging, makePlace, openPlace, outcomeOf, restore } from './images.ts';

let place: Place;
const opened: Rig[] = [];
beforeEach(() => {
  place = makePlace();
});
afterEach(async () => {
  for (const rig of opened.splice(0)) await rig.close();
  place.dispose();
});

async function open(wrap?: (engine: Engine) => Engine): Promise<Rig> {
  for (const rig of opened.splice(0)) await rig.close();
  const rig = await openPlace(place, wrap === undefined ? {} : { wrap });
  opened.push(rig);
  return rig;
}

/** Somebody's editor. */
async function replaceIn(file: string, from: string, to: string): Promise<void> {
  const path = join(place.cluster, file);
  const text = await readFile(path, 'utf8');
  if (!text.includes(from)) throw new Error(`${file} has no ${from}: ${text}`);
  await writeFile(path, text.replace(from, to));
}

const withTarget =
  (change: (target: Target) => Partial<Target>) =>
  (engine: Engine): Engine => ({ ...engine, target: { ...engine.target, ...change(engine.target) } });

const OWN_DEFAULT = 'sallyport/front/peerauthentication-sallyport-default.yaml';

describe('a change of somebody else between plan and step', () => {
  it('stops with exit 3 before anything of that object is written, and keeps what was done', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'permissive-mtls');
    const path = join(place.cluster, 'front.yaml');
    const result = await executePlan(plan, 'advance', {
      ...rig.engine,
      emit: (event) => {
        if (event.kind !== 'step-started' || event.step.id !== 'permissive-mtls/deployment-web-join') return;
        const text = readFileSync(path, 'utf8');
        writeFileSync(path, text.replace('labels: {app: web}', 'labels: {app: web, sidecar.istio.io/inject: "false"}'));
      },
    });
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused, phase: 'allow-list' });
    expect(result.failure?.detail).toMatchObject({ code: 'SP601' });
    expect(result.failure?.detail.where).toContain('sidecar.istio.io/inject');
    expect(result.failed.map(({ step }) => step)).toEqual(['permissive-mtls/deployment-web-join']);
    expect(result.notRun).toContain('permissive-mtls/namespace-label');
    expect(await readFile(join(place.cluster, 'front.yaml'), 'utf8')).toContain('inject: "false"');
    expect(rig.journal.openRuns()).toEqual([]);
  });

  it('stops on an object of that name that somebody made meanwhile', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'allow-list');
    await writeFile(
      join(place.cluster, 'mine.yaml'),
      'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: sallyport-default-deny, namespace: front}\nspec: {podSelector: {}}\n',
    );
    const result = await executePlan(plan, 'advance', rig.engine);
    expect(result.failure?.detail).toMatchObject({ code: 'SP654', exit: EXIT.refused });
    expect(result.failure?.message).toContain('NetworkPolicy front/sallyport-default-deny was (absent) when the plan');
    expect(result.phase).toBe('monitor');
  });

  it('stops before the first step that rests on it, and is planned anew from there, with their change put back or not', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'permissive-mtls');
    await replaceIn('front.yaml', 'labels: {app: web}', 'labels: {app: web, sidecar.istio.io/inject: "false"}');
    const result = await executePlan(plan, 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused, phase: 'monitor', failed: [] });
    expect(result.failure?.detail).toMatchObject({
      code: 'SP654',
      hint: 'sallyport plan front judges what is there now, and sallyport advance goes on from there; sallyport rollback front takes back what was done',
    });
    expect(result.failure?.message).toContain('spec.template.metadata.labels was {"app":"web"} when the plan was made');
    expect(result.failure?.message).not.toContain('outcome');
    expect(result.notRun.length).toBeGreaterThan(0);
    // No run is left open, so nothing else has to wait for it: another namespace, an incident, the end of a grant.
    expect(rig.journal.openRuns()).toEqual([]);
    const states = new Set(rig.journal.stepsOf(result.run).map(({ state }) => state));
    expect(states).toEqual(new Set(['done', 'skipped']));
    await expect(rig.advance('back', 'monitor')).resolves.toMatchObject({ outcome: 'done' });
    await replaceIn('front.yaml', 'labels: {app: web, sidecar.istio.io/inject: "false"}', 'labels: {app: web}');
    await expect(rig.advance('front', 'permissive-mtls')).resolves.toMatchObject({
      outcome: 'done',
      phase: 'permissive-mtls',
    });
    const further = await rig.planUp('front', 'strict-mtls');
    await replaceIn('front.yaml', 'labels: {app: web', 'labels: {istio.io/rev: x, app: web');
    const refused = await executePlan(further, 'advance', rig.engine);
    expect(refused.failure?.detail).toMatchObject({
      code: 'SP654',
      hint: 'sallyport plan front judges what is there now',
    });
    expect(rig.journal.openRuns()).toEqual([]);
  });

  it('does not stop a way back, which checks alone what it writes itself', async () => {
    const rig = await open();
    await rig.advance('front', 'permissive-mtls');
    const { plan } = await rig.planDown('front', 'none');
    expect(plan.ground).toBeUndefined();
    await replaceIn('front.yaml', 'labels: {app: web', 'labels: {istio.io/rev: x, app: web');
    expect(await executePlan(plan, 'rollback', rig.engine)).toMatchObject({ outcome: 'done', phase: 'none' });
  });

  it.each([
    ['fails for a while', new Failure({ code: 'SP450', exit: EXIT.cluster, message: 'busy', nature: 'passes' }), 1],
    ['is forbidden', new Failure({ code: 'SP403', exit: EXIT.cluster, message: 'may not list' }), 0],
  ] as const)('leaves a step as not begun where reading again %s', async (_, failure, open_) => {
    const rig = await open();
    const plan = await rig.planUp('front', 'allow-list');
    let lists = 0;
    const result = await executePlan(
      plan,
      'advance',
      withTarget((target) => ({
        // The second look at the same step: the write before it was refused, since the object had moved.
        readKinds: (kinds) => ((lists += 1) > 1 ? Promise.reject(failure) : target.readKinds(kinds)),
        apply: (change, version) =>
          lists === 1 && version !== undefined
            ? Promise.reject(new Failure({ code: 'SP655', exit: EXIT.refused, message: 'moved', nature: 'moved' }))
            : target.apply(change, version),
      }))(rig.engine),
    );
    expect(result.failure?.detail).toMatchObject({ code: failure.detail.code });
    expect(result).toMatchObject({ outcome: 'partial', failed: [] });
    expect(rig.journal.openRuns()).toHaveLength(open_);
  });

  it('writes an object whose status others write all the time, without reading all the rest again', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'permissive-mtls');
    let version = 0;
    let lists = 0;
    const stamped = (object: KubeManifest): KubeManifest =>
      setPath(object, ['metadata', 'resourceVersion'], String((version += 1))) as KubeManifest;
    const moved = new Map<string, number>();
    const read: string[] = [];
    const result = await executePlan(
      plan,
      'advance',
      withTarget((target) => ({
        readKinds: async (kinds) => {
          lists += 1;
          return (await target.readKinds(kinds)).map(stamped);
        },
        readObject: async (ref) => {
          const live = await target.readObject(ref);
          if (live === undefined) return undefined;
          const now = stamped(live);
          read.push(String(version));
          return now;
        },
        apply: async (change, wanted) => {
          if (wanted === undefined) return target.apply(change);
          // What is to be found is what was read last, not what the lists had.
          expect(wanted).toBe(read.at(-1));
          const key = JSON.stringify(change);
          const times = (moved.get(key) ?? 0) + 1;
          moved.set(key, times);
          if (times < 6) throw new Failure({ code: 'SP655', exit: EXIT.refused, message: 'moved', nature: 'moved' });
          return target.apply(change);
        },
      }))(rig.engine),
    );
    expect(result).toMatchObject({ outcome: 'done' });
    expect(moved.size).toBeGreaterThan(0);
    expect(lists).toBeLessThanOrEqual(plan.steps.length);
  });

  it('gives an object up that is never still, and is over then: nobody has to wait for it', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'permissive-mtls');
    const pauses: number[] = [];
    const never = withTarget((target) => ({
      readKinds: async (kinds) =>
        (await target.readKinds(kinds)).map(
          (one) => setPath(one, ['metadata', 'resourceVersion'], '1') as KubeManifest,
        ),
      readObject: async (ref) => {
        const live = await target.readObject(ref);
        return live && (setPath(live, ['metadata', 'resourceVersion'], '1') as KubeManifest);
      },
      apply: (change, version) =>
        version === undefined
          ? target.apply(change)
          : Promise.reject(new Failure({ code: 'SP655', exit: EXIT.refused, message: 'it moved', nature: 'moved' })),
    }));
    const clock = {
      now: () => rig.engine.clock.now(),
      sleep: (ms: number) => (pauses.push(ms), Promise.resolve()),
    };
    const result = await executePlan(plan, 'advance', { ...never(rig.engine), clock });
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused, failed: [] });
    expect(result.failure?.detail.code).toBe('SP655');
    expect(result.failure?.message).toContain('8 times');
    expect(result.failure?.detail.hint).toContain('sallyport advance front goes on from there');
    expect(result.failure?.detail.hint).not.toContain('resume');
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 4000, 4000]);
    expect(rig.journal.openRuns()).toEqual([]);
    expect(new Set(rig.journal.stepsOf(result.run).map(({ state }) => state))).toEqual(new Set(['done', 'skipped']));
    // Once it is still.
    await expect(rig.advance('front', 'permissive-mtls')).resolves.toMatchObject({ outcome: 'done' });
  });

  it('leaves it in the middle where the operator does', async () => {
    const rig = await open();
    const plan = await rig.planUp('front', 'permissive-mtls');
    const leaving = new AbortController();
    const moving = withTarget((target) => ({
      readKinds: async (kinds) =>
        (await target.readKinds(kinds)).map(
          (one) => setPath(one, ['metadata', 'resourceVersion'], '1') as KubeManifest,
        ),
      apply: (change, version) =>
        version === undefined
          ? target.apply(change)
          : Promise.reject(new Failure({ code: 'SP655', exit: EXIT.refused, message: 'it moved', nature: 'moved' })),
    }));
    const clock = {
      now: () => rig.engine.clock.now(),
      sleep: () => (leaving.abort(new Error('Ctrl-C')), Promise.reject(new Error('Ctrl-C'))),
    };
    const stopped = await executePlan(plan, 'advance', { ...moving(rig.engine), clock, signal: leaving.signal });
    expect(stopped).toMatchObject({ outcome: 'cancelled' });
    expect(rig.journal.stepsOf(stopped.run).some(({ state }) => state === 'started')).toBe(false);
    await expect(resumeRun(stopped.run, rig.engine)).resolves.toMatchObject({ outcome: 'done' });
  });

  it('can be taken back from where it stopped', async () => {
    const start = await readTree(place.cluster);
    const rig = await open();
    const plan = await rig.planUp('front', 'permissive-mtls');
    await replaceIn('front.yaml', 'labels: {app: web}', 'labels: {app: web, sidecar.istio.io/inject: "false"}');
    await executePlan(plan, 'advance', rig.engine);
    expect((await rig.rollback('front', 'none')).exit).toBe(EXIT.done);
    await replaceIn('front.yaml', 'labels: {app: web, sidecar.istio.io/inject: "false"}', 'labels: {app: web}');
    expect(await readTree(place.cluster)).toEqual(start);
  });
});

describe('a change of somebody else after the step', () => {
  it('shows the three versions of a field of ours and plans no write to it', async () => {
    const rig = await open();
    await rig.advance('front', 'permissive-mtls');
    await replaceIn(OWN_DEFAULT, 'mode: PERMISSIVE', 'mode: DISABLE');
    const { divergences } = await rig.planDown('front', 'none');
    expect(divergences).toMatchObject([
      {
        object: 'PeerAuthentication front/sallyport-default',
        path: ['spec'],
        before: undefined,
        ours: { mtls: { mode: 'PERMISSIVE' } },
        theirs: { mtls: { mode: 'DISABLE' } },
      },
    ]);
  });

  it.each([
    [
      'a rule of ours gets a port besides',
      'sallyport/front/networkpolicy-sallyport-worker-ingress.yaml',
      /port: 9000/u,
      'port: 9001',
    ],
    [
      'all pods become some',
      'sallyport/front/networkpolicy-sallyport-default-deny.yaml',
      /podSelector: \{\}/u,
      'podSelector: {matchLabels: {a: b}}',
    ],
  ])('is drift where %s: less is admitted, or fewer isolated', async (_, file, from, to) => {
    const rig = await open();
    await rig.advance('front', 'allow-list');
    const path = join(place.cluster, file);
    const text = readFileSync(path, 'utf8');
    expect(text).toMatch(from);
    writeFileSync(path, text.replace(from, to));
    const { objects } = await rig.target.readSnapshot();
    expect(checkDrift(rig.journal.applied(), objects)).toMatchObject([{ path: 'spec' }]);
  });

  it('shows the three versions of an edited field', async () => {
    const rig = await open();
    await rig.advance('back', 'permissive-mtls');
    await replaceIn('back.yaml', 'istio-injection: enabled', 'istio-injection: disabled');
    expect((await rig.planDown('back', 'none')).divergences).toMatchObject([
      {
        object: 'Namespace back',
        path: ['metadata', 'labels', 'istio-injection'],
        before: undefined,
        ours: 'enabled',
        theirs: 'disabled',
      },
    ]);
  });

  it('leaves what others changed beside our fields as it is', async () => {
    const rig = await open();
    await rig.advance('front', 'permissive-mtls');
    await replaceIn('front.yaml', 'image: registry.example/web:3', 'image: registry.example/web:4');
    await replaceIn('front.yaml', 'replicas: 2', 'replicas: 5');
    await rig.rollback('front', 'none');
    const text = await readFile(join(place.cluster, 'front.yaml'), 'utf8');
    const pristine = await readFile(new URL('../fixtures/two-teams/cluster/front.yaml', import.meta.url), 'utf8');
    expect(text).toBe(
      pristine
        .replace('image: registry.example/web:3', 'image: registry.example/web:4')
        .replace('replicas: 2', 'replicas: 5'),
    );
  });

  it('takes only its own key out of a map that it made and others have filled since', async () => {
    const rig = await open();
    await rig.advance('front', 'monitor');
    await replaceIn('front.yaml', 'sallyport.dev/monitored', 'team: front\n    sallyport.dev/monitored');
    expect((await rig.rollback('front', 'none')).exit).toBe(EXIT.done);
    const namespace = await rig.target.readObject({ apiVersion: 'v1', kind: 'Namespace', name: 'front' });
    expect(namespace?.metadata['annotations']).toEqual({ team: 'front' });
    expect(rig.journal.applied()).toEqual([]);
  });

  it('counts an object of ours that somebody deleted as taken back, and the record says so', async () => {
    const start = await readTree(place.cluster);
    const rig = await open();
    await rig.advance('front', 'allow-list');
    await rm(join(place.cluster, 'sallyport/front/networkpolicy-sallyport-default-deny.yaml'));
    const { plan } = await rig.planDown('front', 'none');
    expect(plan.steps[0]).toMatchObject({ title: expect.stringContaining('nothing left to undo') as string });
    expect((await rig.rollback('front', 'none')).exit).toBe(EXIT.done);
    expect(await readTree(place.cluster)).toEqual(start);
    expect(rig.journal.applied()).toEqual([]);
  });

  it('counts a field that is back at its earlier value already as taken back, and no drift is left', async () => {
    const rig = await open();
    await rig.advance('back', 'permissive-mtls');
    await replaceIn('back.yaml', ', istio-injection: enabled', '');
    expect((await rig.rollback('back', 'none')).exit).toBe(EXIT.done);
    expect(rig.journal.applied()).toEqual([]);
    expect(checkDrift(rig.journal.applied(), (await rig.target.readSnapshot()).objects)).toEqual([]);
  });
});

describe('a change of somebody else while a run lies interrupted', () => {
  /** Killed just before or after the write of the first object that matches. */
  async function interrupted(when: 'before' | 'after', object: string): Promise<string> {
    const images: Image[] = [];
    const rig = await open((engine) => imaging(place, images)(engine));
    await rig.advance('front', 'permissive-mtls');
    await rig.close();
    opened.length = 0;
    const image = images.find(({ name }) => name.includes(`${when} the write`) && name.includes(object));
    if (image === undefined) throw new Error(images.map(({ name }) => name).join('\n'));
    restore(place, image);
    return (await open()).journal.openRuns()[0]?.id ?? '';
  }

  it.each(['before', 'after'] as const)('is not overwritten: killed %s an edit', async (when) => {
    const run = await interrupted(when, 'Deployment front/web');
    const web = await readFile(join(place.cluster, 'front.yaml'), 'utf8');
    const [from] = /labels: \{app: web[^}]*\}/u.exec(web) ?? [];
    await replaceIn('front.yaml', from ?? '', 'labels: {app: web, sidecar.istio.io/inject: "false"}');
    const [rig] = opened;
    if (rig === undefined) throw new Error('not open');
    await expect(resumeRun(run, rig.engine)).rejects.toMatchObject({
      detail: { code: 'SP603', exit: EXIT.refused },
    });
    await replaceIn('front.yaml', 'labels: {app: web, sidecar.istio.io/inject: "false"}', from ?? '');
    expect(await resumeRun(run, rig.engine)).toMatchObject({ outcome: 'done', exit: EXIT.done });
  });

  it('is not taken for ours: killed before a create, and an object of that name appeared', async () => {
    const run = await interrupted('before', 'PeerAuthentication front/sallyport-default');
    await writeFile(
      join(place.cluster, 'mine.yaml'),
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: sallyport-default, namespace: front}\nspec: {mtls: {mode: STRICT}}\n',
    );
    const [rig] = opened;
    if (rig === undefined) throw new Error('not open');
    await expect(resumeRun(run, rig.engine)).rejects.toMatchObject({ detail: { code: 'SP603' } });
  });
});

describe('pods that do not become ready', () => {
  const rollout =
    (outcome: RolloutResult['outcome']): ((target: Target) => Partial<Target>) =>
    (target) => ({
      awaitRollout: (workload, signal) =>
        workload.id === 'front/Deployment/web'
          ? Promise.resolve({ workload: workload.id, outcome, message: 'the image cannot be pulled' })
          : target.awaitRollout(workload, signal),
    });

  it.each(['failed', 'timed-out'] as const)('take the step back and stop the run with exit 7: %s', async (outcome) => {
    const pristine = await readFile(join(place.cluster, 'front.yaml'), 'utf8');
    const rig = await open(withTarget(rollout(outcome)));
    await rig.advance('front', 'allow-list');
    const plan = await rig.planUp('front', 'permissive-mtls');
    const result = await executePlan(plan, 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.partial, phase: 'allow-list' });
    expect(result.failure?.detail.code).toBe('SP602');
    expect(result.failed).toEqual([
      { step: 'permissive-mtls/deployment-web-join', error: 'the image cannot be pulled' },
    ]);
    expect(result.notRun).toContain('permissive-mtls/deployment-worker-join');
    const web = await rig.target.readObject(WEB);
    expect(JSON.stringify(web)).not.toContain('sidecar.istio.io/inject');
    expect(rig.journal.openRuns()).toEqual([]);

    const mended = await open();
    expect((await mended.advance('front', 'permissive-mtls')).exit).toBe(EXIT.done);
    expect((await mended.rollback('front', 'none')).exit).toBe(EXIT.done);
    expect(await readFile(join(place.cluster, 'front.yaml'), 'utf8')).toBe(pristine);
  });

  it('are waited for again after a kill in the middle of the wait', async () => {
    const images: Image[] = [];
    const first = await open(imaging(place, images));
    await first.advance('front', 'permissive-mtls');
    const image = images.find(({ name }) => name.includes('after the write') && name.includes('Deployment front/web'));
    if (image === undefined) throw new Error('no image');
    await first.close();
    opened.length = 0;
    restore(place, image);
    const rig = await open(withTarget(rollout('failed')));
    const result = await resumeRun(rig.journal.openRuns()[0]?.id ?? '', rig.engine);
    expect(result.failure?.detail.code).toBe('SP602');
    expect(JSON.stringify(await rig.target.readObject(WEB))).not.toContain('sidecar.istio.io/inject');
  });

  it('leave the run open when the operator goes, and resume waits on', async () => {
    const stop = new AbortController();
    const rig = await open((engine) => ({
      ...withTarget((target) => ({
        awaitRollout: (workload, signal) => {
          if (workload.id !== 'front/Deployment/web') return target.awaitRollout(workload, signal);
          stop.abort(new Error('cancelled'));
          return Promise.resolve({ workload: workload.id, outcome: 'timed-out', message: 'one of two' });
        },
      }))(engine),
      signal: stop.signal,
    }));
    const result = await executePlan(await rig.planUp('front', 'permissive-mtls'), 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'cancelled', exit: EXIT.cancelled });
    const next = await open();
    expect(await resumeRun(result.run, next.engine)).toMatchObject({ outcome: 'done', exit: EXIT.done });
  });

  it('keep their Leases renewed, and when one is lost nothing more is written', async () => {
    let asked = 0;
    const rig = await open(
      withTarget((target) => ({
        acquire: async (namespaces, holder) => {
          const hold = await target.acquire(namespaces, holder);
          return {
            ...hold,
            assertHeld: async () => {
              if (waiting) asked += 1;
              if (asked > 3)
                throw new Failure({ code: 'SP472', exit: EXIT.refused, message: 'the hold was lost to another' });
              await hold.assertHeld();
            },
          };
        },
        awaitRollout: (workload, signal) => {
          if (workload.id !== 'front/Deployment/web') return target.awaitRollout(workload, signal);
          waiting = true;
          return new Promise((resolve) => {
            signal.addEventListener('abort', () =>
              resolve({ workload: workload.id, outcome: 'timed-out', message: 'one of two' }),
            );
          });
        },
      })),
    );
    let waiting = false;
    const result = await executePlan(await rig.planUp('front', 'permissive-mtls'), 'advance', rig.engine);
    expect(asked).toBe(4);
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused });
    expect(result.failure?.detail.code).toBe('SP472');
    expect(JSON.stringify(await rig.target.readObject(WEB))).toContain('sidecar.istio.io/inject');
    const next = await open();
    expect(await resumeRun(result.run, next.engine)).toMatchObject({ outcome: 'done' });
  });
});

const WEB: ObjectRef = { apiVersion: 'apps/v1', kind: 'Deployment', namespace: 'front', name: 'web' };

describe('a call that fails', () => {
  const broken = (): Failure => new Failure({ code: 'SP420', exit: EXIT.cluster, message: 'no answer in time' });

  it.each(['before', 'after'] as const)(
    'leaves the run open, and resume finishes it: every step, %s its effect',
    async (when) => {
      const rig = await open();
      const plan = await rig.planUp('front', 'permissive-mtls');
      await executePlan(plan, 'advance', rig.engine);
      const end = await outcomeOf(place, rig);
      await rig.rollback('front', 'none');
      for (const failing of plan.steps.keys()) {
        let calls = 0;
        const faulty = await open(
          withTarget((target) => ({
            apply: async (change) => {
              if (calls++ !== failing) return target.apply(change);
              if (when === 'after') await target.apply(change);
              throw broken();
            },
          })),
        );
        const result = await executePlan(await faulty.planUp('front', 'permissive-mtls'), 'advance', faulty.engine);
        expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.cluster });
        const next = await open();
        expect(await resumeRun(result.run, next.engine)).toMatchObject({ outcome: 'done', exit: EXIT.done });
        expect(await outcomeOf(place, next)).toEqual(end);
        await next.rollback('front', 'none');
      }
    },
  );

  it('stops a rehearsal without a trace, and the run is over', async () => {
    const start = await readTree(place.cluster);
    const rig = await open(withTarget(() => ({ rehearse: () => Promise.reject(broken()) })));
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.cluster, phase: 'none', done: [] });
    expect(rig.journal.openRuns()).toEqual([]);
    expect(rig.journal.applied()).toEqual([]);
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('names what failed even when the Lease cannot be given back either', async () => {
    const rig = await open(
      withTarget((target) => ({
        apply: () => Promise.reject(broken()),
        acquire: async (namespaces, holder) => {
          const hold = await target.acquire(namespaces, holder);
          return { ...hold, release: () => Promise.reject(new Error('gone as well')) };
        },
      })),
    );
    const result = await executePlan(await rig.planUp('front', 'monitor'), 'advance', rig.engine);
    expect(result.failure?.detail.code).toBe('SP420');
  });
});

describe('a stop that is itself interrupted', () => {
  it('resumes what failed and what was passed over, from each record on the way', async () => {
    const images: Image[] = [];
    let calls = 0;
    const refusing = withTarget((target) => ({
      apply: (change) =>
        calls++ === 3
          ? Promise.reject(new Failure({ code: 'SP470', exit: EXIT.refused, message: 'changed meanwhile' }))
          : target.apply(change),
    }));
    const rig = await open((engine) => imaging(place, images)(refusing(engine)));
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'partial', exit: EXIT.refused });
    const stops = images.filter(({ name }) => /failure|passed over/u.test(name));
    expect(stops.length).toBeGreaterThan(2);
    await rig.close();
    opened.length = 0;
    for (const image of stops) {
      restore(place, image);
      const next = await open();
      expect(await resumeRun(result.run, next.engine), image.name).toMatchObject({
        outcome: 'done',
        phase: 'allow-list',
        notRun: [],
        failed: [],
      });
      await next.close();
      opened.length = 0;
    }
  });
});

describe('Ctrl-C', () => {
  it('stops between two steps with exit 130, and resume or rollback goes on from there', async () => {
    const start = await readTree(place.cluster);
    const stop = new AbortController();
    const rig = await open((engine) => ({
      ...engine,
      signal: stop.signal,
      emit: (event) => {
        if (event.kind === 'step-done' && event.index === 2) stop.abort(new Error('cancelled'));
      },
    }));
    const result = await executePlan(await rig.planUp('front', 'allow-list'), 'advance', rig.engine);
    expect(result).toMatchObject({ outcome: 'cancelled', exit: EXIT.cancelled, phase: 'monitor' });
    expect(result.done).toHaveLength(3);
    const next = await open();
    await settleOpenRun(result.run, next.engine);
    expect((await next.rollback('front', 'none')).exit).toBe(EXIT.done);
    expect(await readTree(place.cluster)).toEqual(start);
  });

  it('half-way back the namespace is in the phase that still holds whole', async () => {
    const rig = await open();
    await rig.advance('front', 'permissive-mtls');
    await rig.close();
    opened.length = 0;
    const stop = new AbortController();
    const going = await open((engine) => ({
      ...engine,
      signal: stop.signal,
      emit: (event) => {
        if (event.kind === 'step-done') stop.abort(new Error('cancelled'));
      },
    }));
    const { plan } = await going.planDown('front', 'none');
    const result = await executePlan(plan, 'rollback', going.engine);
    expect(result).toMatchObject({ outcome: 'cancelled', phase: 'allow-list' });
  });
});

describe('one pair of hands', () => {
  it('refuses a second run of the namespace with exit 3 while one is writing', async () => {
    const other = await openPlace(place, { stateFile: join(place.world, 'elsewhere', 'state.sqlite') });
    const theirs = await other.planUp('front', 'monitor');
    let second: Promise<unknown> | undefined;
    const rig = await open(
      withTarget((target) => ({
        apply: async (change) => {
          second = executePlan(theirs, 'advance', { ...other.engine, by: 'somebody else' });
          await expect(second).rejects.toMatchObject({ detail: { code: 'SP471', exit: EXIT.refused } });
          return target.apply(change);
        },
      })),
    );
    expect((await rig.advance('front', 'monitor')).exit).toBe(EXIT.done);
    expect(second).toBeDefined();
    expect(other.journal.openRuns()).toEqual([]);
    await other.close();
  });

  it('refuses it even where the plan writes nothing', async () => {
    const rig = await open();
    await rig.advance('front', 'monitor');
    const other = await openPlace(place, { stateFile: join(place.world, 'elsewhere', 'state.sqlite') });
    const theirs = await other.planUp('front', 'monitor');
    expect(theirs.steps).toEqual([]);
    const hold = await rig.target.acquire(['front'], 'tester run other');
    await expect(executePlan(theirs, 'advance', { ...other.engine, by: 'x' })).rejects.toMatchObject({
      detail: { exit: EXIT.refused },
    });
    await hold.release();
    expect(await executePlan(theirs, 'advance', other.engine)).toMatchObject({ outcome: 'done', phase: 'monitor' });
    await other.close();
  });

  it('holds every namespace that a step writes, and the one being moved', async () => {
    const rig = await open();
    await rig.advance('back', 'permissive-mtls');
    await rig.advance('front', 'identity');
    await rig.advance('back', 'identity');
    await rig.close();
    opened.length = 0;
    let asked: readonly string[] = [];
    const watched = await open(
      withTarget((target) => ({
        acquire: (namespaces, holder) => {
          asked = namespaces;
          return target.acquire(namespaces, holder);
        },
      })),
    );
    const { plan } = await watched.planDown('front', 'none');
    expect(new Set(plan.steps.map((step) => changeRef(step.change).namespace ?? 'front'))).toEqual(
      new Set(['front', 'back']),
    );
    await executePlan(plan, 'rollback', watched.engine);
    expect(asked).toEqual(['back', 'front']);
  });
});

describe('the hash of a plan', () => {
  it('is the same for the same input, and leaves out time and numbers of the record', async () => {
    const rig = await open();
    const first = await rig.planUp('front', 'identity');
    expect((await rig.planUp('front', 'identity')).hash).toBe(first.hash);
    await rig.advance('back', 'monitor');
    await rig.rollback('back', 'none');
    await rig.rollback('back', 'none');
    expect((await rig.planUp('front', 'identity')).hash).toBe(first.hash);
    await rig.advance('front', 'monitor');
    const down = await rig.planDown('front', 'none');
    await rig.rollback('front', 'none');
    await rig.advance('front', 'monitor');
    expect((await rig.planDown('front', 'none')).plan.hash).toBe(down.plan.hash);
  });

  it('is another when a step, its order or an object changes', async () => {
    const rig = await open();
    const first = await rig.planUp('front', 'identity');
    expect((await rig.planUp('front', 'strict-mtls')).hash).not.toBe(first.hash);
    await replaceIn('front.yaml', 'kind: Role, name: config-reader', 'kind: Role, name: config-writer');
    expect((await rig.planUp('front', 'identity')).hash).not.toBe(first.hash);
  });
});

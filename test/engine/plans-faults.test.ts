// Runs that move no phase, interrupted at any point: patterns, tuning, cloud identity, incidents and experiments, on and back, by the product's own
// planners. Each history is one fault, then `resume`, and separately the way back.
import { afterAll, describe, expect, it } from 'vitest';
import { buildAccountTable } from '../../src/candidates/account-table.ts';
import { planCloud } from '../../src/candidates/cloud-plan.ts';
import { proposeTuning } from '../../src/candidates/tuning/index.ts';
import { readPatterns } from '../../src/cli/pattern-files.ts';
import type { AppliedStep, View } from '../../src/engine/contract.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import { CHAOS_STEP } from '../../src/model/chaos.ts';
import { readCloud } from '../../src/model/cloud-identity.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { TuningMetrics } from '../../src/model/tuning.ts';
import { openGates } from '../../src/plan/assemble.ts';
import { planHash } from '../../src/plan/hash.ts';
import type { Plan, Step } from '../../src/plan/plan.ts';
import { planBlock } from '../../src/readiness/block.ts';
import { planChaos } from '../../src/readiness/chaos.ts';
import type { ChaosWay } from '../../src/readiness/chaos.ts';
import { CLOUD_GATE, cloudStepsInForce, planCloudSteps } from '../../src/readiness/cloud-identity-plan.ts';
import type { Playbook } from '../../src/readiness/incident-effect.ts';
import { stepsOfPattern } from '../../src/readiness/pattern-plan.ts';
import { planQuarantine } from '../../src/readiness/quarantine.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { planTuning, tuningInput } from '../../src/readiness/tuning-plan.ts';
import { TUNING_PREFIX } from '../../src/readiness/tuning-in-force.ts';
import { yamlValue } from '../../src/shared/io/yaml.ts';
import { CALICO_KINDS } from '../support/fake-api/kinds.ts';
import { planOf as patternPlanOf } from '../support/pattern-run.ts';
import { NOW, plannerFor } from '../support/rig.ts';
import type { FaultKind, Point, SavedWorld, Session, World, WorldOptions } from './fault-driver.ts';
import {
  auditProblems,
  makeWorld,
  messageFor,
  openSession,
  sameObjects,
  stateProblems,
  undoneByBundles,
} from './fault-driver.ts';
import type { Outcome, Recovery, Tally } from './matrix.ts';
import {
  OPERATOR,
  RECOVERIES,
  attempt,
  faultsAt,
  outcomeOf,
  picker,
  pointKind,
  randomOf,
  renderTallies,
  settings,
} from './matrix.ts';

const PLANNER = plannerFor('cluster');
const PATTERNS = new Map((await readPatterns()).map((one) => [one.name, one]));

/** What a command writes and takes back again. */
interface Family {
  readonly name: string;
  readonly namespace: string;
  readonly world?: WorldOptions;
  readonly before?: readonly (readonly [string, PhaseName])[];
  readonly plan: (view: View) => Plan;
  /** Steps of it in force, newest first. */
  readonly mine: (applied: readonly AppliedStep[]) => readonly AppliedStep[];
  /** Gates that are a person's to answer, here as in earnest. */
  readonly asked?: readonly string[];
  /** An incident cuts on purpose: what its plan says, and nothing else. */
  readonly cuts?: (view: View) => readonly string[];
  /** Of an experiment nothing is ever finished: `resume` puts back what it took away. */
  readonly neverFinished?: true;
  /** Pods that are deleted on purpose, by key: no way back brings them. */
  readonly loses?: RegExp;
}

const pattern = (
  name: string,
  given: Readonly<Record<string, string>>,
): Pick<Family, 'plan' | 'mine' | 'namespace'> => ({
  namespace: 'front',
  plan: (view) => {
    const found = PATTERNS.get(name);
    if (found === undefined) throw new Error(`no pattern ${name}`);
    const planned = patternPlanOf(view, found, given, 'cluster');
    if (!('plan' in planned)) throw new Error(planned.join('; '));
    return planned.plan;
  },
  mine: (applied) => stepsOfPattern(applied, 'front', name),
});

const METRICS: TuningMetrics = {
  window: { from: NOW - 86_400_000, to: NOW },
  source: 'test',
  controls: [],
  services: [
    {
      namespace: 'back',
      service: 'api',
      port: 80,
      requestsPerSec: 200,
      connectionsPerSec: 60,
      peakConnections: 40,
      peakRequests: 30,
      http1Share: 1,
    },
  ],
  proxies: [
    {
      workload: 'back/Deployment/api',
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

const IDENTITY = 'etl@one.iam.gserviceaccount.com';
const ETL: readonly KubeManifest[] = [
  {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n2', labels: { 'iam.gke.io/gke-metadata-server-enabled': 'true' } },
    spec: { providerID: 'gce://one/europe-west1-b/n2' },
  },
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'etl', namespace: 'back' } },
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'etl', namespace: 'back' },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: 'etl' } },
      template: {
        metadata: { labels: { app: 'etl' } },
        spec: {
          serviceAccountName: 'etl',
          containers: [
            {
              name: 'main',
              image: 'registry.example/etl:1',
              env: [{ name: 'GOOGLE_APPLICATION_CREDENTIALS', value: '/var/secrets/google/key.json' }],
              volumeMounts: [{ name: 'gcp-key', mountPath: '/var/secrets/google' }],
            },
          ],
          volumes: [{ name: 'gcp-key', secret: { secretName: 'cloud-key' } }],
        },
      },
    },
  },
];

const PODS: readonly KubeManifest[] = [
  {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: { name: 'batch', namespace: 'front' },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'batch' } },
      template: {
        metadata: { labels: { app: 'batch' } },
        spec: { containers: [{ name: 'main', image: 'registry.example/batch:1' }] },
      },
    },
  },
  ...[1, 2].map((n): KubeManifest => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `batch-${n}`,
      namespace: 'front',
      labels: { app: 'batch', team: 'blue' },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'batch', uid: 'r', controller: true }],
    },
    spec: { containers: [{ name: 'main', image: 'registry.example/batch:1' }] },
    status: { phase: 'Running', podIP: `10.1.0.${n}` },
  })),
];

/** As commands make a plan of steps that are of no phase. */
function planWithout({ phases }: View, namespace: string, steps: readonly Step[], more: Partial<Plan>): Plan {
  const now = phases.get(namespace) ?? 'none';
  return {
    namespace,
    from: now,
    to: now,
    direction: 'up',
    steps,
    gates: [],
    denied: [],
    unknown: [],
    findings: [],
    simulated: { edges: 0, states: 1 },
    hash: planHash(namespace, now, now, steps, [], []),
    ...more,
  };
}

function incident(
  playbook: 'quarantine' | 'block',
  subject: string,
  namespace: string,
  of: (view: View) => Playbook,
): Pick<Family, 'namespace' | 'plan' | 'mine' | 'cuts'> {
  const made = (view: View): Playbook => {
    const found = of(view);
    const wrong = found.findings.filter(({ severity }) => severity === 'error');
    if (wrong.length > 0) throw new Error(JSON.stringify(wrong));
    return found;
  };
  return {
    namespace,
    plan: (view) =>
      planWithout(view, namespace, made(view).steps, {
        incident: { id: 'inc-1', playbook, subject, reason: 'a test', at: NOW },
      }),
    mine: (applied) => applied.filter(({ step }) => step.id.startsWith('incident/')).toSorted((a, b) => b.seq - a.seq),
    cuts: (view) => made(view).effect.cut.map(({ edge }) => edge),
  };
}

function workload(view: View, id: string): View['inventory']['workloads'][number] {
  const found = view.inventory.workloads.find((one) => one.id === id);
  if (found === undefined) throw new Error(`no workload ${id}`);
  return found;
}

const chaos = (how: ChaosWay): Pick<Family, 'namespace' | 'plan' | 'mine' | 'neverFinished' | 'before'> => ({
  namespace: 'front',
  before: [['front', 'allow-list']],
  plan: (view) => {
    const all = planChaos(view, [how]);
    const found = all.find(({ refused }) => refused.length === 0);
    if (found === undefined) throw new Error(JSON.stringify(all.map(({ object, refused }) => [object, refused])));
    return planWithout(view, 'front', [found.step], { chaos: { object: found.object, how, until: NOW + 60_000 } });
  },
  mine: (applied) => applied.filter(({ step }) => step.id.startsWith(CHAOS_STEP)).toSorted((a, b) => b.seq - a.seq),
  neverFinished: true,
});

const FAMILIES: readonly Family[] = [
  {
    name: 'a pattern of NetworkPolicies',
    ...pattern('tenant-isolation', { tenants: 'ours=front+back,mesh=istio-system' }),
  },
  {
    name: 'a pattern for the whole cluster',
    world: { kinds: CALICO_KINDS },
    ...pattern('tenant-isolation', { tenants: 'ours=front+back,mesh=istio-system', dialect: 'calico' }),
  },
  {
    name: 'tuning',
    namespace: 'back',
    plan: (view) =>
      planTuning(
        view,
        proposeTuning(tuningInput(view, METRICS, yamlValue)).filter(({ answer }) => answer === 'apply'),
        PLANNER,
      ),
    mine: (applied) =>
      applied
        .filter(({ phase, step }) => step.id.startsWith(`${phase}/${TUNING_PREFIX}`))
        .toSorted((a, b) => b.seq - a.seq),
  },
  {
    name: 'cloud identity',
    namespace: 'back',
    world: { objects: ETL },
    asked: [CLOUD_GATE, 'cloud-token'],
    plan: (view) => {
      const { snapshot, inventory, edges } = view;
      const table = buildAccountTable({ snapshot, inventory, edges, namespace: 'back' });
      const cloud = planCloud(table, readCloud(snapshot.objects), inventory.facts.cni.name);
      return planCloudSteps(
        view,
        cloud,
        {
          namespace: 'back',
          workloads: [],
          identities: new Map([['back/Deployment/etl', IDENTITY]]),
          ways: new Set(),
          projectToken: false,
          keepKey: false,
          proofs: [],
        },
        PLANNER,
      ).plan;
    },
    mine: (applied) => cloudStepsInForce(applied, 'back'),
  },
  {
    name: 'a quarantine by a policy',
    world: { kinds: CALICO_KINDS },
    ...incident('quarantine', 'front/Deployment/worker', 'front', (view) =>
      planQuarantine(view, {
        workload: workload(view, 'front/Deployment/worker'),
        kind: 'calico',
        connections: 'report',
        id: 'inc-1',
      }),
    ),
  },
  {
    name: 'a quarantine by labels',
    world: { objects: PODS },
    ...incident('quarantine', 'front/ReplicaSet/batch', 'front', (view) =>
      planQuarantine(view, {
        workload: workload(view, 'front/ReplicaSet/batch'),
        kind: 'labels',
        connections: 'report',
        id: 'inc-1',
      }),
    ),
  },
  {
    name: 'a quarantine that ends its pods',
    world: { kinds: CALICO_KINDS, objects: PODS },
    loses: /^\/Pod\/front\/batch-\d$/u,
    ...incident('quarantine', 'front/ReplicaSet/batch', 'front', (view) =>
      planQuarantine(view, {
        workload: workload(view, 'front/ReplicaSet/batch'),
        kind: 'calico',
        connections: 'delete',
        id: 'inc-1',
      }),
    ),
  },
  {
    name: 'a block of a namespace',
    // Where nothing isolates yet, Calico's end of a tier would cut everybody, and it is refused (SP392).
    before: [['back', 'allow-list']],
    world: { kinds: CALICO_KINDS },
    ...incident('block', 'namespace front', 'back', (view) =>
      planBlock(view, {
        source: { kind: 'namespace', name: 'front' },
        namespace: 'back',
        kind: 'calico',
        id: 'inc-1',
      }),
    ),
  },
  { name: 'an experiment that takes away', ...chaos('remove') },
  { name: 'an experiment that loosens', ...chaos('loosen') },
];

const mineOf = (session: Session, family: Family): readonly AppliedStep[] => family.mine(session.rig.journal.applied());

/** The way back of the command: steps of its own, from the record. */
function planBack(session: Session, family: Family): Promise<Plan> {
  return session.planBy(`back ${family.name}`, family.namespace, (view) => {
    const mine = family.mine(view.applied);
    const now = view.phases.get(family.namespace) ?? 'none';
    const { plan, divergences } = planRollback(view, now, PLANNER, new Map(), mine);
    if (divergences.length > 0) throw new Error(JSON.stringify(divergences));
    return family.neverFinished === true
      ? {
          ...plan,
          gates: [],
          findings: [],
          chaos: { object: '', how: 'remove', undoes: mine[0]?.run ?? '' },
        }
      : family.cuts === undefined
        ? plan
        : { ...plan, gates: [], findings: [] };
  });
}

const planOn = (session: Session, family: Family): Promise<Plan> =>
  session.planBy(`on ${family.name}`, family.namespace, family.plan);

/** `rollback` of an interrupted run closes it where it stands; then what there is of it is taken back. An experiment's own way back is finished. */
async function takeBack(session: Session, family: Family): Promise<void> {
  const { journal, engine } = session.rig;
  for (const { id, plan } of journal.openRuns())
    if (plan.chaos?.undoes === undefined) await settleOpenRun(id, engine);
    else await resumeRun(id, engine);
  if (mineOf(session, family).length > 0) await executePlan(await planBack(session, family), 'rollback', engine);
}

type Direction = 'on' | 'back';

interface Prepared {
  readonly start: SavedWorld;
  readonly plan: Plan;
  readonly points: readonly Point[];
  readonly begun: Outcome;
  readonly ended: Outcome;
  /** Edges that it cuts, and means to. */
  readonly cuts: ReadonlySet<string>;
}

/** What went against a promise, but for what an incident is for. */
function broken(world: World, cuts: ReadonlySet<string>): readonly string[] {
  return world.broken.filter((one) => {
    const [, denied] = one.split(' denied: ');
    return denied === undefined || !denied.split(', ').every((edge) => cuts.has(edge));
  });
}

/** What a run leaves, but for pods that nothing brings back, and the record of their end. */
function leftOf(world: World, session: Session, { loses }: Family): Outcome {
  const outcome = outcomeOf(world, session);
  if (loses === undefined) return outcome;
  const isDelete = (step: unknown): boolean => (step as AppliedStep).change.kind === 'delete';
  return {
    ...outcome,
    objects: Object.fromEntries(Object.entries(outcome.objects as object).filter(([key]) => !loses.test(key))),
    inForce: (outcome.inForce as readonly unknown[]).filter((step) => !isDelete(step)),
  };
}

/** What the ways back that are kept would not bring to where it was. */
function notBrought(world: World, { loses }: Family): readonly string[] {
  const differs = sameObjects(undoneByBundles(world, OPERATOR), world.pristineObjects);
  return differs.filter((key) => loses?.test(key) !== true);
}

async function prepare(world: World, family: Family, direction: Direction): Promise<Prepared> {
  let session = await openSession(world, OPERATOR);
  const begun = leftOf(world, session, family);
  await session.close();
  const start = world.save();
  session = await openSession(world, OPERATOR);
  const plan = await (direction === 'on' ? planOn(session, family) : planBack(session, family));
  const asked = new Set(family.asked);
  expect(openGates(plan).filter(({ id }) => !asked.has(id))).toEqual([]);
  expect(plan.steps.length).toBeGreaterThan(0);
  const cuts =
    direction === 'on' && family.cuts !== undefined
      ? await session.planBy(`cuts ${family.name}`, family.namespace, family.cuts)
      : [];
  await session.close();
  session = await openSession(world, OPERATOR);
  session.arm();
  const kind = direction === 'on' ? 'advance' : 'rollback';
  expect(await executePlan(plan, kind, session.rig.engine)).toMatchObject({ outcome: 'done', exit: 0 });
  const ended = leftOf(world, session, family);
  const { points } = session;
  await session.close();
  expect(broken(world, new Set(cuts))).toEqual([]);
  return { start, plan, points, begun, ended, cuts: new Set(cuts) };
}

/** Is it in force as a whole? Pods that are gone already need no step any more. */
function isWhole(world: World, session: Session, family: Family, { steps }: Plan): boolean {
  const { loses } = family;
  const there = mineOf(session, family).length;
  if (loses === undefined) return there === steps.length;
  return there > 0 && world.cluster.objects().every((object) => !loses.test(refKey(refOf(object))));
}

/** To the end of the run that was interrupted; what it did in part and closed is planned anew from there. */
async function finish(
  world: World,
  session: Session,
  family: Family,
  direction: Direction,
  { plan }: Prepared,
): Promise<boolean> {
  const { engine } = session.rig;
  if (family.neverFinished === true || direction === 'back') {
    if (direction === 'back' && (await session.resume()) !== undefined) return false;
    await takeBack(session, family);
    return false;
  }
  if ((await session.resume()) !== undefined) return false;
  const there = mineOf(session, family).length;
  if (isWhole(world, session, family, plan)) return false;
  // A part of an answer is taken back, and the answer given again: each is one incident.
  const again = family.cuts !== undefined && there > 0;
  if (again) await takeBack(session, family);
  await executePlan(await planOn(session, family), 'advance', engine);
  return again;
}

interface History {
  readonly point: Point;
  readonly kind: FaultKind;
  readonly recovery: Recovery;
}

async function runHistory(
  world: World,
  family: Family,
  direction: Direction,
  prepared: Prepared,
  { point, kind, recovery }: History,
  tally: Tally,
): Promise<void> {
  world.restore(prepared.start);
  let session = await openSession(world, OPERATOR, {
    mischief: ({ number }) => {
      if (number !== point.number) return undefined;
      tally.faults += 1;
      return kind;
    },
  });
  session.arm();
  await attempt(() => executePlan(prepared.plan, direction === 'on' ? 'advance' : 'rollback', session.rig.engine));
  await session.close();
  tally.histories += 1;
  expect(stateProblems(world.stateFile(OPERATOR))).toEqual([]);
  expect(notBrought(world, family)).toEqual([]);

  const toEnd = direction === 'back' || (recovery === 'resume' && family.neverFinished !== true);
  const isThere = (): boolean =>
    direction === 'on' && toEnd ? isWhole(world, session, family, prepared.plan) : mineOf(session, family).length === 0;
  const said: string[] = [];
  const made = { twice: false };
  let tries = 0;
  for (;;) {
    tries += 1;
    if (tries > 6) throw new Error(`it does not converge: ${said.join('; ')}`);
    session = await openSession(world, OPERATOR);
    session.arm();
    const failure = await attempt(async () => {
      if (recovery === 'resume') made.twice = (await finish(world, session, family, direction, prepared)) || made.twice;
      else await takeBack(session, family);
    });
    if (failure !== undefined) said.push(messageFor(failure));
    if (session.rig.journal.openRuns().length === 0 && isThere()) break;
    await session.close();
    world.clock.advance(66_000);
  }
  tally.mostTries = Math.max(tally.mostTries, tries);
  const outcome = leftOf(world, session, family);
  await session.close();
  const { kept, ...wanted } = toEnd ? prepared.ended : prepared.begun;
  expect(outcome).toEqual({ ...wanted, kept: expect.anything() as unknown });
  expect(outcome.kept).toMatchObject({
    folder: expect.arrayContaining([...kept.folder]) as unknown,
    cluster: expect.arrayContaining([...kept.cluster]) as unknown,
  });
  expect(broken(world, prepared.cuts)).toEqual([]);
  expect(stateProblems(world.stateFile(OPERATOR))).toEqual([]);
  expect(auditProblems(world.stateFile(OPERATOR))).toEqual([]);
  const moves = world.written.map(({ object, before, after }) => `${object}\n${before}\n${after}`);
  if (!made.twice) expect(new Set(moves).size).toBe(moves.length);
  expect(notBrought(world, family)).toEqual([]);
}

/** One of so many by default, beside each fault at each kind of point once forward and once back in all of them; of short runs more. */
const SHARE = 240;
const SHORT = { points: 50, oneIn: 40 };

describe('runs that move no phase', () => {
  const { seed, every } = settings(SHARE);
  const tallies: Tally[] = [];
  const covered = new Set<string>();
  afterAll(() => {
    process.stdout.write(
      `\n${renderTallies('plans without a phase', tallies)}\nof ${tallies.reduce((sum, one) => sum + one.all, 0)} histories that there are; ${covered.size} pairs of a kind of point and a fault, each at least once\n`,
    );
  });
  it.each(FAMILIES.map((family, index) => ({ name: family.name, family, index })))(
    'whatever goes wrong at any point, resume and the way back converge: $name',
    async ({ family, index }) => {
      const world = makeWorld(family.world);
      try {
        for (const [namespace, to] of family.before ?? []) {
          const session = await openSession(world, OPERATOR);
          expect(await session.advance(namespace, to)).toMatchObject({ outcome: 'done', exit: 0 });
          await session.close();
        }
        world.disk(OPERATOR);
        const failures: string[] = [];
        for (const direction of ['on', 'back'] as const) {
          const prepared = await prepare(world, family, direction);
          const after = world.save();
          const all = prepared.points.flatMap((point) =>
            faultsAt(point).flatMap((kind) => RECOVERIES.map((recovery): History => ({ point, kind, recovery }))),
          );
          const isShort = prepared.points.length <= SHORT.points;
          const oneIn = isShort ? Math.min(every, SHORT.oneIn) : every;
          const random = randomOf(seed * 1000 + index * 2 + (direction === 'on' ? 0 : 1));
          const picks = picker(seed * 1000 + index * 2 + (direction === 'on' ? 300 : 301), oneIn);
          const first = new Set<History>();
          for (const [stratum, of] of Map.groupBy(
            all,
            ({ point, kind }) => `${direction} ${pointKind(point)}: ${kind}`,
          )) {
            const one = of[random(of.length)];
            if (one === undefined || covered.has(stratum)) continue;
            covered.add(stratum);
            first.add(one);
          }
          const tally: Tally = {
            scenario: `${family.name}, ${direction}`,
            points: prepared.points.length,
            all: all.length,
            histories: 0,
            foreign: 0,
            faults: 0,
            mostTries: 0,
          };
          tallies.push(tally);
          for (const one of all) {
            const isPicked = picks();
            if (!isPicked && !first.has(one)) continue;
            try {
              await runHistory(world, family, direction, prepared, one, tally);
            } catch (error) {
              const { point, kind, recovery } = one;
              failures.push(
                `${direction}: ${point.number} ${point.what} ${point.name}: ${kind}, then ${recovery}: ${messageFor(error)}`,
              );
              if (failures.length >= 6) throw new Error(failures.join('\n\n'), { cause: error });
            }
          }
          expect(tally.faults).toBe(tally.histories);
          world.restore(after);
        }
        expect(failures).toEqual([]);
      } finally {
        world.dispose();
      }
    },
  );
});

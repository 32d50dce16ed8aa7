// A cluster, the disks of its operators and a clock, in one process; and operators whose every write to their state, every keeping of a way
// back and every call to the cluster is a numbered point at which anything may go wrong. Nothing here waits: time is simulated.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { parseAllDocuments } from 'yaml';
import { takeOverRecords } from '../../src/cli/commands/state.ts';
import type { Journal, KeptUndo, UndoStore, View } from '../../src/engine/contract.ts';
import type { Engine, RunResult } from '../../src/engine/run.ts';
import { executePlan, resumeRun, settleOpenRun } from '../../src/engine/run.ts';
import type { Config } from '../../src/model/config.ts';
import type { Snapshot } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, isKubeManifest, namespaceOf, refKey, refOf } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import { phaseIndex } from '../../src/model/phase.ts';
import { assembleDown, assembleUp, openGates } from '../../src/plan/assemble.ts';
import type { Plan, Step } from '../../src/plan/plan.ts';
import { resolutionsOf } from '../../src/plan/rollback.ts';
import type { Divergence } from '../../src/plan/rollback.ts';
import { judgeEdges } from '../../src/plan/simulate.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { keptEdges } from '../../src/readiness/view.ts';
import { EXIT, Failure, isFailure } from '../../src/shared/pure/errors.ts';
import { asArray, asNumber, asObject, asString, equalJson } from '../../src/shared/pure/json.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { clusterTargetOf } from '../../src/targets/cluster.ts';
import type { WireFault, WireGuard } from '../support/fake-api/direct.ts';
import { directApi } from '../support/fake-api/direct.ts';
import type { EventClock } from '../support/fake-api/event-clock.ts';
import { eventClock } from '../support/fake-api/event-clock.ts';
import type { FakeKind } from '../support/fake-api/kinds.ts';
import { ISTIO_KINDS } from '../support/fake-api/kinds.ts';
import type { FakeCluster, LoggedCall, SavedCluster } from '../support/fake-api/server.ts';
import { makeFakeCluster } from '../support/fake-api/server.ts';
import { interpretUndo } from '../support/kubectl/interpret.ts';
import type { Facts, Rig } from '../support/rig.ts';
import { CONFIG, NOW, openRig, plannerFor, twoTeamsEdges, viewOf } from '../support/rig.ts';

const FIXTURE = new URL('../fixtures/two-teams/cluster/', import.meta.url);
/** Nothing follows denials here, so the gate of the watch is off. */
export const FAULT_CONFIG: Config = { ...CONFIG, gates: { ...CONFIG.gates, soak: 'off' } };
export const NAMESPACES = ['front', 'back'] as const;
export type MovedNamespace = (typeof NAMESPACES)[number];

export const FAULT_KINDS = [
  'killed before',
  'killed after',
  'failed before',
  'failed after',
  'time-out, not done',
  'time-out, done',
  '409',
  '429',
  '429 for good',
  '500',
  '500, done',
  'answer cut',
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];
/** What can happen to a write on this machine's disk. */
export const DISK_FAULTS: readonly FaultKind[] = ['killed before', 'killed after', 'failed before', 'failed after'];

export interface Point {
  readonly number: number;
  readonly what: 'state' | 'kept' | 'call';
  readonly name: string;
  /** False of calls that change nothing: reads and rehearsals. */
  readonly writes: boolean;
}

/** The process is gone: nothing that it does from now on reaches anything. */
export class Killed extends Error {}

/** One write to the cluster by an operator, that changed something other than Leases and kept ways back. */
export interface Written {
  readonly by: string;
  readonly object: string;
  readonly before: string;
  readonly after: string;
}

interface Disk {
  readonly dir: string;
  readonly kept: Map<string, KeptUndo>;
}

export interface SavedWorld {
  readonly cluster: SavedCluster;
  readonly now: number;
  readonly runs: number;
  readonly disks: ReadonlyMap<
    string,
    { readonly state: Buffer | undefined; readonly kept: ReadonlyMap<string, KeptUndo> }
  >;
}

export interface World {
  readonly cluster: FakeCluster;
  readonly clock: EventClock;
  /** By how much the server's clock is ahead of the operators'. */
  skewMs: number;
  /** Writes of operators since the last `restore`. */
  readonly written: Written[];
  /** What went against a promise; empty, or the test fails. */
  readonly broken: string[];
  readonly pristine: Readonly<Record<string, unknown>>;
  readonly pristineObjects: readonly KubeManifest[];
  readonly facts: Facts;
  disk(name: string): Disk;
  stateFile(name: string): string;
  save(): SavedWorld;
  restore(saved: SavedWorld): void;
  dispose(): void;
}

/** The two teams as they are before anything, in the order of their files. */
export function fixtureObjects(): readonly KubeManifest[] {
  return readdirSync(FIXTURE)
    .sort()
    .flatMap((name) =>
      parseAllDocuments(readFileSync(new URL(name, FIXTURE), 'utf8')).map((one) => one.toJS() as unknown),
    )
    .flatMap((one): readonly unknown[] =>
      isKubeManifest(one) && one.kind !== 'List' ? [one] : asArray((one as { items?: [] }).items),
    )
    .filter(isKubeManifest)
    .filter(({ kind, metadata }) => kind !== 'Namespace' || metadata.name !== 'kube-system');
}

/** What a controller would report of a Deployment or StatefulSet whose pods are all new and ready. */
export function settled(object: KubeManifest): KubeManifest {
  const replicas = asObject(object['spec'])['replicas'] ?? 1;
  const all = { replicas, updatedReplicas: replicas, availableReplicas: replicas, readyReplicas: replicas };
  const observedGeneration = object.metadata['generation'] ?? 1;
  const revision = `r-${JSON.stringify(observedGeneration)}`;
  return {
    ...object,
    status: { ...all, observedGeneration, currentRevision: revision, updateRevision: revision },
  };
}

function settle(cluster: FakeCluster): void {
  for (const object of cluster.objects())
    if (object.kind === 'Deployment' || object.kind === 'StatefulSet')
      if (asObject(object['status'])['observedGeneration'] !== object.metadata['generation'])
        cluster.put(settled(object), 'controller');
}

/** Fields of ours and of people; not what a server or a controller writes. */
function essenceOf(object: KubeManifest): Record<string, unknown> {
  const { labels, annotations } = object.metadata;
  const written = Object.entries(object).filter(([key]) => key !== 'metadata' && key !== 'status');
  return { ...Object.fromEntries(written), labels, annotations };
}

function isApart(object: KubeManifest): boolean {
  return object.kind === 'Lease' || object.metadata.name.startsWith('sallyport-undo-');
}

/** Everything but Leases and kept ways back, as people see it. */
export function objectsOf(cluster: FakeCluster): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    cluster
      .objects()
      .filter((object) => !isApart(object))
      .map((object) => [refKey(refOf(object)), essenceOf(object)]),
  );
}

/** What a world has beside the two teams: kinds that its server knows, objects, and what is configured. */
export interface WorldOptions {
  readonly kinds?: readonly FakeKind[];
  readonly objects?: readonly KubeManifest[];
  readonly config?: Config;
}

export function makeWorld(more: WorldOptions = {}): World {
  const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const root = mkdtempSync(join(base, 'sallyport-faults-'));
  const clock = eventClock(NOW);
  let skewMs = 0;
  const cluster = makeFakeCluster({
    objects: [...fixtureObjects(), ...(more.objects ?? [])],
    kinds: [...ISTIO_KINDS, ...(more.kinds ?? [])],
    now: () => clock.now() + skewMs,
  });
  settle(cluster);
  const disks = new Map<string, Disk>();
  const written: Written[] = [];
  const broken: string[] = [];
  const disk = (name: string): Disk => {
    let found = disks.get(name);
    if (found === undefined) disks.set(name, (found = { dir: join(root, name), kept: new Map() }));
    mkdirSync(found.dir, { recursive: true });
    return found;
  };
  const stateFile = (name: string): string => join(disk(name).dir, 'state.sqlite');
  return {
    cluster,
    clock,
    get skewMs() {
      return skewMs;
    },
    set skewMs(value) {
      skewMs = value;
    },
    written,
    broken,
    pristine: objectsOf(cluster),
    pristineObjects: cluster.objects().filter((object) => !isApart(object)),
    facts: { edges: twoTeamsEdges(), config: more.config ?? FAULT_CONFIG },
    disk,
    stateFile,
    save: () => ({
      cluster: cluster.save(),
      now: clock.now(),
      runs: runNumber,
      disks: new Map(
        [...disks].map(([name, { kept }]) => [
          name,
          {
            state: existsSync(stateFile(name)) ? readFileSync(stateFile(name)) : undefined,
            kept: new Map(kept),
          },
        ]),
      ),
    }),
    restore: (saved) => {
      cluster.restore(saved.cluster);
      clock.advance(saved.now - clock.now());
      skewMs = 0;
      for (const name of disks.keys()) {
        const { dir, kept } = disk(name);
        const then = saved.disks.get(name);
        for (const file of readdirSync(dir)) rmSync(join(dir, file), { force: true, recursive: true });
        if (then?.state !== undefined) writeFileSync(join(dir, 'state.sqlite'), then.state, { mode: 0o600 });
        kept.clear();
        for (const [key, value] of then?.kept ?? []) kept.set(key, value);
      }
      written.length = 0;
      broken.length = 0;
      runNumber = saved.runs;
    },
    dispose: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Decides at each point what goes wrong there. */
export type Mischief = (point: Point) => FaultKind | undefined;

export interface SessionOptions {
  readonly mischief?: Mischief;
  /** Runs at a point, before anything of it is done: the process stands still meanwhile. */
  readonly pause?: (point: Point) => Promise<void> | undefined;
  /** By how much this operator's clock is ahead, asked each time it is read. */
  readonly skewMs?: () => number;
  readonly edges?: Facts['edges'];
  /** Points count from the run on, and not while a plan is made. */
  readonly armLate?: boolean;
}

export interface Session {
  readonly rig: Rig;
  /** Passed since `arm`. */
  readonly points: readonly Point[];
  readonly dead: () => boolean;
  /** From here on points count and mischief is asked. */
  arm(): void;
  planUp(namespace: string, to: PhaseName): Promise<Plan>;
  planDown(
    namespace: string,
    to: PhaseName,
  ): Promise<{ readonly plan: Plan; readonly divergences: readonly Divergence[] }>;
  /** Fields of ours that others changed, whatever was decided of them. */
  disputes(namespace: string): Promise<readonly Divergence[]>;
  /** The plan of `resolve --keep ours`. */
  planRepair(steps: readonly Step[], namespace: string): Promise<Plan>;
  /** A plan that is no way to a phase, by its own planner, on what is there now; `what` names all else that it depends on. */
  planBy<T>(what: string, namespace: string, work: (view: View) => T): Promise<T>;
  execute(plan: Plan): Promise<RunResult>;
  /** As the commands of these names do it, without what they print. */
  advance(namespace: string, to: PhaseName): Promise<RunResult>;
  rollback(namespace: string, to: PhaseName): Promise<RunResult>;
  resume(): Promise<RunResult | undefined>;
  rebuild(): Promise<void>;
  close(): Promise<void>;
}

let runNumber = 0;

/** What of the configuration plans and verdicts depend on, among worlds of one process. */
function wordsOf({ facts: { config } }: World): string {
  return `${config?.dialect ?? ''} ${config?.cluster.cni?.name ?? ''}`;
}

/**
 * Planning is pure and takes longer than all the rest, and thousands of histories come to the same few states. Moments and versions of objects
 * are no part of a plan: what a step takes away is read again when it is done.
 */
const plans = new Map<string, unknown>();
function planned<T>(
  what: string,
  snapshot: Snapshot,
  record: Pick<View, 'phases' | 'applied' | 'resolved'>,
  work: () => T,
): T {
  const objects = snapshot.objects.map((object) => [essenceOf(object), object.metadata['uid'], object['status']]);
  const applied = record.applied.map((one) => ({ ...one, at: 0 }));
  const key = JSON.stringify([what, objects, applied, [...record.phases], record.resolved]);
  const known = plans.get(key) as T | undefined;
  if (known !== undefined) return known;
  const made = work();
  plans.set(key, made);
  return made;
}

/** One process of an operator: from the opening of the state to its end. */
export async function openSession(world: World, name: string, options: SessionOptions = {}): Promise<Session> {
  const { cluster } = world;
  // No two processes begin in one moment.
  world.clock.advance(1);
  const clock = {
    now: () => world.clock.now() + (options.skewMs?.() ?? 0),
    sleep: (ms: number, signal?: AbortSignal) => world.clock.sleep(ms, signal),
  };
  const points: Point[] = [];
  let armed = false;
  let dead = false;
  const die = (): never => {
    dead = true;
    throw new Killed('killed');
  };
  const enter = (what: Point['what'], label: string, writes: boolean): readonly [Point, FaultKind | undefined] => {
    if (dead) throw new Killed('this process is gone');
    const point: Point = { number: points.length + 1, what, name: label, writes };
    if (!armed) return [{ ...point, number: 0 }, undefined];
    points.push(point);
    return [point, options.mischief?.(point)];
  };

  const api = directApi({
    cluster,
    serverNow: () => world.clock.now() + world.skewMs,
    clock,
    waitMs: (milliseconds) => world.clock.advance(milliseconds),
    onCall: (call): WireGuard => {
      const dry = call.query?.['dryRun'] !== undefined || asArray(asObject(call.body)['dryRun']).length > 0;
      const writes = call.method !== 'GET' && !dry;
      const [point, fault] = enter('call', `${call.method}${dry ? ' (dry run)' : ''} ${call.path}`, writes);
      let version = 0;
      let before: readonly KubeManifest[] = [];
      return {
        before: async () => {
          if (dead) throw new Killed('this process is gone');
          if (point.number > 0) await options.pause?.(point);
          if (fault === 'killed before') die();
          version = cluster.version();
          if (writes) before = cluster.objects();
        },
        fault: (attempt) => wireFault(fault, attempt),
        after: (logged) => {
          if (cluster.version() !== version) {
            observe(world, name, clock.now(), logged, before);
            settle(cluster);
          }
          if (fault === 'killed after') die();
        },
      };
    },
  });
  const target = await clusterTargetOf(api, { clock, concurrency: 1 });

  const onDisk = <T>(what: 'state' | 'kept', label: string, work: () => T): T => {
    const [, fault] = enter(what, label, true);
    const failed = (): never => {
      throw new Failure({ code: 'SP507', exit: EXIT.state, message: `${label}: no space left (injected)` });
    };
    if (fault === 'killed before') die();
    if (fault === 'failed before') failed();
    const done = work();
    if (fault === 'killed after') die();
    if (fault === 'failed after') failed();
    return done;
  };
  const folder = memoryStore(`the folder of ${name}`, world.disk(name).kept, onDisk);
  const wrap = (engine: Engine): Engine => ({ ...engine, journal: pointed(engine.journal, onDisk) });
  const rig = openRig({
    target,
    stateFile: world.stateFile(name),
    facts: world.facts,
    clock,
    by: name,
    newRunId: () => `run-${(runNumber += 1)}`,
    undo: target.undo === undefined ? [folder] : [folder, target.undo],
    wrap,
  });
  const planner = plannerFor('cluster');
  const facts: Facts = { ...world.facts, ...(options.edges === undefined ? {} : { edges: options.edges }) };
  const edges = `${facts.edges.length} ${wordsOf(world)}`;
  const { journal, engine, state } = rig;

  const recordNow = (): Pick<View, 'phases' | 'applied' | 'resolved'> => ({
    phases: journal.phases(),
    applied: journal.applied(),
    resolved: state.reader.resolutions(),
  });
  const planUp = async (namespace: string, to: PhaseName): Promise<Plan> => {
    const [snapshot, record] = [await target.readSnapshot(), recordNow()];
    return planned(`up ${namespace} ${to} ${edges}`, snapshot, record, () =>
      assembleUp({ ...viewOf(snapshot, namespace, facts, record), ...record }, to, planner),
    );
  };
  const planDown: Session['planDown'] = async (namespace, to) => {
    const [snapshot, record] = [await target.readSnapshot(), recordNow()];
    return planned(`down ${namespace} ${to} ${edges}`, snapshot, record, () => {
      const seen = { ...viewOf(snapshot, namespace, facts, record), ...record };
      const first = planRollback(seen, to, planner);
      const decided = resolutionsOf(first.divergences, seen.resolved ?? []);
      return decided.size === 0 ? first : planRollback(seen, to, planner, decided);
    });
  };
  const disputes: Session['disputes'] = async (namespace) => {
    const [snapshot, record] = [await target.readSnapshot(), { ...recordNow(), resolved: [] }];
    return planned(`disputes ${namespace} ${edges}`, snapshot, record, () =>
      planRollback({ ...viewOf(snapshot, namespace, facts, record), ...record }, 'none', planner),
    ).divergences;
  };
  const refuse = (code: string, message: string): never => {
    throw new Failure({ code, exit: EXIT.refused, message });
  };
  const late = (on: boolean): void => {
    if (options.armLate === true) armed = on;
  };
  const execute = async (plan: Plan): Promise<RunResult> => {
    late(true);
    const open = openGates(plan);
    if (open.length > 0) refuse('SP600', open.map((gate) => `${gate.id} ${gate.subject}`).join(', '));
    return executePlan(plan, plan.direction === 'up' ? 'advance' : 'rollback', engine);
  };
  return {
    rig,
    points,
    dead: () => dead,
    arm: () => {
      armed = true;
    },
    planUp,
    planDown,
    disputes,
    planRepair: async (steps, namespace) => {
      const record = recordNow();
      const view = { ...viewOf(await target.readSnapshot(), namespace, facts, record), ...record };
      return assembleDown(view, record.phases.get(namespace) ?? 'none', steps, [], planner);
    },
    planBy: async (what, namespace, work) => {
      const [snapshot, record] = [await target.readSnapshot(), recordNow()];
      return planned(`${what} ${namespace} ${edges}`, snapshot, record, () =>
        work({ ...viewOf(snapshot, namespace, facts, record), ...record }),
      );
    },
    execute,
    advance: async (namespace, to) => {
      const [open] = journal.openRuns();
      if (open !== undefined) refuse('SP607', `run ${open.id} was interrupted`);
      return execute(await planUp(namespace, to));
    },
    rollback: async (namespace, to) => {
      late(true);
      for (const open of journal.openRuns()) if (open.namespace === namespace) await settleOpenRun(open.id, engine);
      late(false);
      const now = phaseIndex(journal.phases().get(namespace) ?? 'none');
      const above = journal.applied().filter((step) => step.namespace === namespace && phaseIndex(step.phase) > now);
      if (phaseIndex(to) > now || (phaseIndex(to) === now && above.length === 0))
        refuse('SP224', `${namespace} is not above ${to}`);
      const { plan, divergences } = await planDown(namespace, to);
      if (divergences.length > 0)
        refuse('SP606', divergences.map((one) => `${one.object} ${one.path.join('.')}`).join('; '));
      return execute(plan);
    },
    resume: async () => {
      late(true);
      const [open] = journal.openRuns();
      return open === undefined ? undefined : resumeRun(open.id, engine);
    },
    rebuild: async () => {
      await takeOverRecords(engine.undo ?? [], target, state, name, clock.now());
    },
    close: () => rig.close(),
  };
}

function wireFault(fault: FaultKind | undefined, attempt: number): WireFault | undefined {
  switch (fault) {
    case undefined:
    case 'killed before':
    case 'killed after':
      return undefined;
    // The rest lasts for as long as the client is patient, but for one 429 that ends when it says.
    case 'failed before':
      return { kind: 'silence', why: 'refused', done: false };
    case 'failed after':
      return { kind: 'status', status: 504, done: true };
    case 'time-out, not done':
      return { kind: 'silence', why: 'time-out', done: false };
    case 'time-out, done':
      return { kind: 'silence', why: 'time-out', done: true };
    case '409':
      return { kind: 'status', status: 409, done: false };
    case '429':
      return attempt === 1 ? { kind: 'status', status: 429, retryAfterSec: 30, done: false } : undefined;
    case '429 for good':
      return { kind: 'status', status: 429, retryAfterSec: 5, done: false };
    case '500':
      return { kind: 'status', status: 500, done: false };
    case '500, done':
      return { kind: 'status', status: 500, done: true };
    case 'answer cut':
      return { kind: 'silence', why: 'cut', done: true };
  }
}

type OnDisk = <T>(what: 'state' | 'kept', label: string, work: () => T) => T;

const WRITES = [
  'openRun',
  'stepStarted',
  'stepDone',
  'stepFailed',
  'stepSkipped',
  'stepReset',
  'closeRun',
  'saveSoak',
  'pullBack',
  'setPhase',
  'audit',
] as const satisfies readonly (keyof Journal)[];

function pointed(journal: Journal, onDisk: OnDisk): Journal {
  const all = journal as unknown as Readonly<Record<string, (...args: readonly unknown[]) => unknown>>;
  const writes = WRITES.map((name) => [
    name,
    (...args: readonly unknown[]) => onDisk('state', name, () => all[name]?.(...args)),
  ]);
  return { ...journal, ...Object.fromEntries(writes) } as Journal;
}

/** A folder beside the state, in memory. */
function memoryStore(place: string, kept: Map<string, KeptUndo>, onDisk: OnDisk): UndoStore {
  const json = (one: KeptUndo | undefined): Json | undefined =>
    one === undefined ? undefined : (JSON.parse(JSON.stringify(one.record)) as Json);
  return {
    place,
    exposed: false,
    stepwise: false,
    read: (namespace) => Promise.resolve(json(kept.get(namespace))),
    list: () => Promise.resolve([...kept].map(([namespace, one]) => ({ namespace, record: json(one) ?? null }))),
    write: async (one) => {
      onDisk('kept', `keep ${one.namespace}`, () => kept.set(one.namespace, one));
      await Promise.resolve();
    },
    remove: async (namespace) => {
      if (kept.has(namespace)) onDisk('kept', `remove ${namespace}`, () => kept.delete(namespace));
      await Promise.resolve();
    },
  };
}

const GRACE_MS = 65_000;

/** After each effective write: under whose hold it was made (P5), whether it is marked (P6), and whether an edge is cut now (P1). */
function observe(world: World, by: string, _now: number, call: LoggedCall, before: readonly KubeManifest[]): void {
  const { cluster, broken } = world;
  if (/\/(?:leases|configmaps)(?:\/|$)/u.test(call.path)) {
    if (call.path.includes('/configmaps') && liveHolders(world).every((holder) => !holder.startsWith(`${by} `)))
      broken.push(`${by} kept a way back without any hold`);
    return;
  }
  const after = new Map(cluster.objects().map((object) => [refKey(refOf(object)), object]));
  const old = new Map(before.map((object) => [refKey(refOf(object)), object]));
  for (const key of new Set([...after.keys(), ...old.keys()])) {
    const [was, is] = [old.get(key), after.get(key)];
    if (was === is) continue;
    const object = is ?? was;
    if (object === undefined) continue;
    const [beforeText, afterText] = [was, is].map((one) => (one === undefined ? '' : JSON.stringify(essenceOf(one))));
    const ref = formatRef(refOf(object));
    const scope = namespaceOf(object) ?? (object.kind === 'Namespace' ? object.metadata.name : '');
    const holder = holderOf(world, scope);
    if (holder?.startsWith(`${by} `) !== true)
      broken.push(`${by} wrote ${ref} (${call.method}) while ${holder ?? 'nobody'} held ${scope}`);
    // Ownership alone, nothing that people see.
    if (beforeText === afterText) continue;
    world.written.push({ by, object: ref, before: beforeText ?? '', after: afterText ?? '' });
    if (was === undefined && asObject(object.metadata['labels'])['app.kubernetes.io/managed-by'] !== 'sallyport')
      broken.push(`${ref} was made without a mark`);
  }
  // What somebody else has cut is not this write's doing.
  const cut = new Set(deniedIn(world, before));
  const denied = deniedIn(world, cluster.objects()).filter((edge) => !cut.has(edge));
  if (denied.length > 0) broken.push(`after ${call.method} ${call.path} denied: ${denied.join(', ')}`);
}

function holderOf(world: World, scope: string): string | undefined {
  const lease = world.cluster.get({
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata:
      scope === '' ? { name: 'sallyport-cluster', namespace: 'kube-system' } : { name: 'sallyport', namespace: scope },
  });
  return lease === undefined ? undefined : liveHolder(world, lease);
}

function liveHolder(world: World, lease: KubeManifest): string | undefined {
  const spec = asObject(lease['spec']);
  const renewed = Date.parse(asString(spec['renewTime']) ?? '');
  const now = world.clock.now() + world.skewMs;
  return now <= renewed + (asNumber(spec['leaseDurationSeconds']) ?? 0) * 1000 + (GRACE_MS - 60_000)
    ? asString(spec['holderIdentity'])
    : undefined;
}

function liveHolders(world: World): readonly string[] {
  return world.cluster
    .objects()
    .filter((object) => object.kind === 'Lease')
    .flatMap((lease) => liveHolder(world, lease) ?? []);
}

const judged = new Map<string, readonly string[]>();
/** How many different states of the cluster were judged edge by edge. */
export function statesJudged(): number {
  return judged.size;
}

/** Edges on record that a cluster of these objects denies. */
function deniedIn(world: World, all: readonly KubeManifest[]): readonly string[] {
  const objects = all.filter((object) => !isApart(object));
  const key = `${wordsOf(world)} ${JSON.stringify(objects.map((object) => [refKey(refOf(object)), essenceOf(object)]))}`;
  let found = judged.get(key);
  if (found === undefined) {
    const view = viewOf(
      { source: 'cluster', objects, origins: new Map(), findings: [], unread: [] },
      'front',
      world.facts,
    );
    const edges = keptEdges(view.edges);
    const verdicts = judgeEdges(view.inventory, edges);
    found = edges.filter((edge) => verdicts.get(edge.id)?.answer === 'denied').map((edge) => edge.id);
    judged.set(key, found);
  }
  return found;
}

/** The objects after every way back that is kept has been run, from the operator's folder or from the cluster. */
export function undoneByBundles(world: World, name: string): readonly KubeManifest[] {
  const { dir, kept } = world.disk(name);
  let now: readonly KubeManifest[] = world.cluster.objects().filter((object) => !isApart(object));
  for (const namespace of NAMESPACES) {
    const files = kept.get(namespace)?.files;
    if (files === undefined) continue;
    const folder = join(dir, `undo-${namespace}`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    for (const file of files) writeFileSync(join(folder, file.name), file.text);
    now = interpretUndo(folder, now).objects;
  }
  return now;
}

export function sameObjects(a: readonly KubeManifest[], b: readonly KubeManifest[]): readonly string[] {
  const [first, second] = [a, b].map(
    (all) => new Map(all.map((object) => [refKey(refOf(object)), essenceOf(object)] as const)),
  );
  return [...new Set([...(first?.keys() ?? []), ...(second?.keys() ?? [])])].filter(
    (key) => !equalJson(first?.get(key) as Json | undefined, second?.get(key) as Json | undefined),
  );
}

/** What is wrong inside a state file, by SQLite's own account and by ours. */
export function stateProblems(file: string): readonly string[] {
  const db = new Database(file, { readonly: true });
  try {
    const problems: string[] = [];
    const check = db.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') problems.push(String(check));
    if ((db.pragma('foreign_key_check') as unknown[]).length > 0)
      problems.push('a row names another that is not there');
    const count = (sql: string): number => Number(db.prepare(sql).pluck().get());
    // Of a step that is done or was, the before-image is there, and exactly one line of the trail is its own.
    if (count("SELECT count(*) FROM steps WHERE state IN ('started', 'done', 'undone') AND change IS NULL") > 0)
      problems.push('a step without its before-image');
    const seqs = count('SELECT count(*) FROM steps') - count('SELECT count(DISTINCT seq) FROM steps');
    if (seqs !== 0) problems.push('two steps with one number');
    if (
      count(
        "SELECT count(*) FROM steps JOIN runs ON runs.id = steps.run WHERE runs.outcome IS NOT NULL AND steps.state IN ('pending', 'started')",
      ) > 0
    )
      problems.push('a closed run with a step whose end is not known');
    return problems;
  } finally {
    db.close();
  }
}

/**
 * Lines of the trail that name a step's write, and steps that are done or were: they must be as many. A record that was taken over brings its
 * steps without the trail.
 */
export function auditProblems(file: string): readonly string[] {
  const db = new Database(file, { readonly: true });
  try {
    const rows = db
      .prepare<[], { run: string; steps: number; lines: number }>(
        `SELECT runs.id AS run,
           (SELECT count(*) FROM steps WHERE steps.run = runs.id AND state IN ('done', 'undone')) AS steps,
           (SELECT count(*) FROM audit WHERE audit.run = runs.id AND (what LIKE 'create:%' OR what LIKE 'edit:%' OR what LIKE 'delete:%')) AS lines
         FROM runs`,
      )
      .all();
    const taken = Number(db.prepare("SELECT count(*) FROM audit WHERE what = 'record taken over'").pluck().get()) > 0;
    return rows
      .filter(({ steps, lines }) => (taken ? lines > steps : steps !== lines))
      .map((row) => JSON.stringify(row));
  } finally {
    db.close();
  }
}

export function messageFor(error: unknown): string {
  if (isFailure(error)) return `${error.detail.code} ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

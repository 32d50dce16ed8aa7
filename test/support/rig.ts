// The whole pipeline in one process, from a target to the journal, without the command line: a view and a planner as the program
// makes them, and an engine on a real state file.
import { cpSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { phases } from '../../phases/index.ts';
import type { Clock, Journal, Target, UndoStore, View } from '../../src/engine/contract.ts';
import type { Engine, RunResult } from '../../src/engine/run.ts';
import { executePlan } from '../../src/engine/run.ts';
import { declaredEdges, reviewEdges } from '../../src/flows/decide.ts';
import { parseQuery } from '../../src/flows/query.ts';
import { buildInventory } from '../../src/inventory/build.ts';
import type { Signatures } from '../../src/inventory/signatures.ts';
import { mergeSignatures, parseSignatures } from '../../src/inventory/signatures.ts';
import type { Config } from '../../src/model/config.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import type { Decision } from '../../src/model/decision.ts';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import type { Inventory, Snapshot } from '../../src/model/inventory.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Planner } from '../../src/plan/assemble.ts';
import { assembleUp, openGates } from '../../src/plan/assemble.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { planRollback } from '../../src/readiness/rollback.ts';
import { managedGates } from '../../src/readiness/ownership-gates.ts';
import { withWaypoints } from '../../src/candidates/waypoints.ts';
import { gate, keptEdges, settleGate } from '../../src/readiness/view.ts';
import type { WritableState } from '../../state/open.ts';
import { openState } from '../../state/open.ts';
import { openJournal } from '../../state/journal.ts';
import { connection } from './world.ts';

export const NOW = Date.UTC(2026, 2, 10, 12);
const DAY = 86_400_000;
const DAYS = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map((ago) => new Date(NOW - ago * DAY).toISOString().slice(0, 10));

const FOLDER = new URL('../../templates/signatures/', import.meta.url);
let known: Signatures | undefined;
export function signatures(): Signatures {
  return (known ??= mergeSignatures(
    readdirSync(FOLDER)
      .filter((name) => name.endsWith('.json'))
      .sort()
      .map((name) => parseSignatures(JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8')) as unknown, name)),
  ));
}

/** `A -> B 8080 [GET /path]`, seen ten times on each of the last ten days. */
export function edgeOf(text: string, more: Partial<Edge> = {}): Edge {
  const key = connection(text);
  const runs = key.src.kind === 'workload' && key.src.id.includes('/CronJob/') ? DAYS.map((day) => `run-${day}`) : [];
  return {
    ...key,
    id: edgeId(key),
    count: 10 * DAYS.length,
    first: NOW - 9 * DAY,
    last: NOW - 60_000,
    verdicts: { allowed: 10 * DAYS.length },
    days: DAYS,
    runs,
    sources: ['edges'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
    ...more,
  };
}

export function edgesOf(text: string): readonly Edge[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => edgeOf(line.trim()));
}

export function evidenceOf(edges: readonly Edge[]): Evidence {
  const runs: Record<string, readonly string[]> = {};
  for (const edge of edges) if (edge.src.kind === 'workload' && edge.runs.length > 0) runs[edge.src.id] = edge.runs;
  return {
    sources: [
      {
        source: 'edges',
        first: NOW - 9 * DAY,
        last: NOW - 60_000,
        records: 1000,
        lost: 0,
        bad: 0,
        ignored: 0,
        sampledOneIn: 1,
      },
    ],
    days: DAYS,
    first: NOW - 9 * DAY,
    last: NOW - 60_000,
    unattributed: {},
    runs,
  };
}

/** `waive gate=soak,ns=front`; all taken before now, all for the same reason. */
export function decisionsOf(...texts: readonly string[]): readonly Decision[] {
  return texts.map((text) => {
    const space = text.indexOf(' ');
    const query = text.slice(space + 1);
    return {
      action: text.slice(0, space) as Decision['action'],
      query: parseQuery(query),
      text: query,
      reason: 'the test says so',
      by: 'tester',
      at: NOW,
      matched: [],
    };
  });
}

export const CLUSTER_FACTS: Config['cluster'] = {
  cni: { name: 'calico', ipBlockMatches: [] },
  mesh: {
    kind: 'istio',
    mode: 'sidecar',
    version: '1.29',
    rootNamespace: 'istio-system',
    trustDomain: 'cluster.local',
  },
};
export const CONFIG: Config = { ...DEFAULT_CONFIG, cluster: CLUSTER_FACTS };

export interface Facts {
  readonly edges: readonly Edge[];
  readonly decisions?: readonly Decision[];
  readonly config?: Config;
  readonly evidence?: Evidence;
}

export function plannerFor(kind: Target['kind']): Planner {
  return {
    phases,
    keep: keptEdges,
    withHops: withWaypoints,
    settle: settleGate,
    common: (view, steps) => [
      ...managedGates(view, steps),
      gate(
        'soak',
        kind === 'directory' ? 'yes' : 'unknown',
        view.namespace,
        ['as the program has it'],
        'switch it off',
      ),
    ],
  };
}

/** A view of a snapshot, as the program assembles it. */
export function viewOf(
  snapshot: Snapshot,
  namespace: string,
  facts: Facts,
  record: Pick<View, 'phases' | 'applied'> = { phases: new Map(), applied: [] },
): View {
  const { edges, decisions = [], config = CONFIG, evidence = evidenceOf(edges) } = facts;
  const rebuild = (from: Snapshot): Inventory => buildInventory(from, { config, signatures: signatures(), now: NOW });
  const inventory = rebuild(snapshot);
  const reviewed = reviewEdges(edges, decisions);
  const edgesIn = (state: Inventory): readonly Edge[] => [
    ...reviewed,
    ...reviewEdges(declaredEdges(state, edges), decisions),
  ];
  return {
    namespace,
    snapshot,
    inventory,
    edges: edgesIn(inventory),
    edgesIn,
    evidence,
    decisions,
    config,
    now: NOW,
    rebuild,
    ...record,
  };
}

export interface Rig {
  readonly target: Target;
  readonly state: WritableState;
  readonly journal: Journal;
  readonly engine: Engine;
  view(namespace: string): Promise<View>;
  planUp(namespace: string, to: PhaseName): Promise<Plan>;
  planDown(namespace: string, to: PhaseName): Promise<ReturnType<typeof planRollback>>;
  /** Plans, insists that every gate says yes, and runs. */
  advance(namespace: string, to: PhaseName): Promise<RunResult>;
  rollback(namespace: string, to: PhaseName): Promise<RunResult>;
  close(): Promise<void>;
}

export interface RigOptions {
  readonly target: Target;
  readonly stateFile: string;
  readonly facts: Facts;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
  /** Who runs it. Default `tester`. */
  readonly by?: string;
  readonly newRunId?: () => string;
  /** Where ways back are kept. */
  readonly undo?: readonly UndoStore[];
  /** Puts something between the engine and the world. */
  readonly wrap?: (engine: Engine) => Engine;
}

let runs = 0;

export function openRig(options: RigOptions): Rig {
  const { target, stateFile, facts } = options;
  const state = openState(stateFile, {
    target: { id: target.id, kind: target.kind, description: target.description },
    mode: 'write',
    create: true,
  });
  const journal = openJournal(state.writer);
  let time = NOW;
  const plain: Engine = {
    target,
    journal,
    clock: options.clock ?? { now: () => (time += 1), sleep: () => Promise.resolve() },
    by: options.by ?? 'tester',
    signal: options.signal ?? new AbortController().signal,
    emit: () => undefined,
    newRunId: options.newRunId ?? (() => `run-${(runs += 1)}`),
    ...(options.undo === undefined ? {} : { undo: options.undo }),
  };
  const engine = options.wrap?.(plain) ?? plain;
  const planner = plannerFor(target.kind);
  const view = async (namespace: string): Promise<View> =>
    viewOf(await target.readSnapshot(), namespace, facts, { phases: journal.phases(), applied: journal.applied() });
  const planUp = async (namespace: string, to: PhaseName): Promise<Plan> =>
    assembleUp(await view(namespace), to, planner);
  const planDown = async (namespace: string, to: PhaseName): Promise<ReturnType<typeof planRollback>> =>
    planRollback(await view(namespace), to, planner);
  const insist = (plan: Plan): Plan => {
    const open = openGates(plan);
    if (open.length > 0) throw new Error(`gates: ${JSON.stringify(open, undefined, 1)}`);
    return plan;
  };
  return {
    target,
    state,
    journal,
    engine,
    view,
    planUp,
    planDown,
    advance: async (namespace, to) => executePlan(insist(await planUp(namespace, to)), 'advance', engine),
    rollback: async (namespace, to) => {
      const { plan, divergences } = await planDown(namespace, to);
      if (divergences.length > 0) throw new Error(`divergences: ${JSON.stringify(divergences)}`);
      return executePlan(insist(plan), 'rollback', engine);
    },
    close: async () => {
      state.close();
      await target.close();
    },
  };
}

const TWO_TEAMS = new URL('../fixtures/two-teams/', import.meta.url);

/** The fixture of two teams: a copy of its manifests at `dir`, and its edges. */
export function copyTwoTeams(dir: string): string {
  const cluster = join(dir, 'cluster');
  cpSync(new URL('cluster/', TWO_TEAMS), cluster, { recursive: true });
  return cluster;
}

export function twoTeamsEdges(): readonly Edge[] {
  return edgesOf(readFileSync(new URL('edges.txt', TWO_TEAMS), 'utf8'));
}

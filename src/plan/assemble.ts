import type { Phase, View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import { endpointNamespace } from '../model/edge.ts';
import type { Finding, Gate } from '../model/finding.ts';
import type { Inventory } from '../model/inventory.ts';
import type { PhaseName } from '../model/phase.ts';
import { phasesBetween } from '../model/phase.ts';
import { refKey } from '../model/object.ts';
import { showValue } from '../shared/pure/mask.ts';
import { changeRef } from './change.ts';
import { checkDrift } from './drift.ts';
import { groundOf } from './ground.ts';
import { planHash } from './hash.ts';
import type { EdgeVerdict, Plan, Step } from './plan.ts';
import { openJudge } from './judge.ts';
import {
  bearingOfAll,
  deniedByOwn,
  describeVerdict,
  judgeEdges,
  judgePassage,
  passThrough,
  simulate,
} from './simulate.ts';
import type { Passage, Simulated, State } from './simulate.ts';

/** What the plan is made with; all of it pure. */
export interface Planner {
  readonly phases: readonly Phase[];
  /** Edges that must keep working. */
  readonly keep: (edges: readonly Edge[]) => readonly Edge[];
  /** With the hops of those that the mesh sends through waypoints. */
  readonly withHops: (inventory: Inventory, edges: readonly Edge[]) => readonly Edge[];
  /** Configuration's "off" and people's waivers. */
  readonly settle: (view: View, gate: Gate) => Gate;
  /** Gates of every change: who else writes the objects, who approved it (of a plan that is made), and the watch afterwards. */
  readonly common: (
    view: View,
    steps: readonly Step[],
    plan?: { readonly to: PhaseName; readonly hash: string },
  ) => readonly Gate[];
}

/** The steps of one phase, with the states that they lead through. */
interface PhaseDraft {
  readonly phase: Phase;
  /** As the phase finds it. */
  readonly at: View;
  readonly steps: readonly Step[];
  readonly passage: Passage;
}

/** Steps that nothing was judged of yet: judging changes none. */
export interface UpDraft {
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly phases: readonly PhaseDraft[];
  readonly steps: readonly Step[];
}

/** Steps from the namespace's present phase up to another, each phase planned on the state that the one before leaves. */
export function assembleUp(view: View, to: PhaseName, planner: Planner): Plan {
  return judgeUp(view, draftUp(view, to, planner), planner);
}

export function draftUp(view: View, to: PhaseName, planner: Planner): UpDraft {
  const from = view.phases.get(view.namespace) ?? 'none';
  const world = simulated(view, planner);
  const drafts: PhaseDraft[] = [];
  let now = view;
  for (const name of from === to ? refreshed(from) : phasesBetween(from, to)) {
    const phase = planner.phases.find((candidate) => candidate.name === name);
    if (phase === undefined) continue;
    const steps = phase.up(now);
    const passage = passThrough({ snapshot: now.snapshot, inventory: now.inventory }, steps, world);
    drafts.push({ phase, at: now, steps, passage });
    const { snapshot, inventory } = passage.end;
    const phases = new Map([...now.phases, [view.namespace, name]] as const);
    now = { ...now, snapshot, inventory, edges: view.edgesIn(inventory), phases };
  }
  return { from, to, phases: drafts, steps: drafts.flatMap((draft) => draft.steps) };
}

/** The plan of a draft that was made of this view. */
export function judgeUp(view: View, { from, to, phases, steps }: UpDraft, planner: Planner): Plan {
  const world = simulated(view, planner);
  const start = world.edgesIn(view.inventory);
  const bearing = bearingOfAll(phases);
  const within = bearing === 'everywhere' ? bearing : [...bearing, view.namespace];
  const judge = openJudge(view.inventory, start, within);
  judge.judge([view.namespace]);
  let edges = judge.before.size;
  const gates: Gate[] = [];
  const denied = new Map<string, EdgeVerdict>();
  const unknown = new Map<string, EdgeVerdict>();
  for (const { phase, at, steps: made, passage } of phases) {
    gates.push(...phase.requires(at).map((gate) => planner.settle(at, gate)));
    const result = judgePassage(passage, made, world, judge);
    edges = Math.max(edges, result.edges);
    for (const verdict of result.denied) if (!denied.has(verdict.edge)) denied.set(verdict.edge, verdict);
    for (const verdict of result.unknown) if (!unknown.has(verdict.edge)) unknown.set(verdict.edge, verdict);
  }
  // What a policy of our own denies already blocks as well, unless this plan puts it right.
  const mine = start.filter((edge) => [edge.src, edge.dst].some((end) => endpointNamespace(end) === view.namespace));
  const cut = deniedByOwn(view.inventory, mine, judge.before);
  const after = judgeEdges(phases.at(-1)?.passage.end.inventory ?? view.inventory, cut);
  for (const edge of cut) {
    const verdict = after.get(edge.id);
    if (verdict?.answer === 'denied') denied.set(edge.id, describeVerdict('now', edge, verdict));
  }
  return finish(view, planner, { from, to, direction: 'up', steps, gates: distinct(gates), denied, unknown, edges });
}

/**
 * The plan of given steps that leave the namespace in its phase, such as those of a pattern: simulated and gated like any other. `gates` are
 * asked of the state that the steps leave.
 */
export function assembleSteps(
  view: View,
  steps: readonly Step[],
  gates: (end: State) => readonly Gate[],
  planner: Planner,
): Plan {
  const from = view.phases.get(view.namespace) ?? 'none';
  const world = simulated(view, planner);
  const result = simulate({ snapshot: view.snapshot, inventory: view.inventory }, steps, world);
  return finish(view, planner, {
    from,
    to: from,
    direction: 'up',
    steps,
    gates: gates(result.end).map((gate) => planner.settle(view, gate)),
    denied: new Map(result.denied.map((verdict) => [verdict.edge, verdict])),
    unknown: new Map(result.unknown.map((verdict) => [verdict.edge, verdict])),
    edges: result.edges,
  });
}

/** Phases whose objects follow the evidence: what a plan to the present phase brings up to date. */
function refreshed(now: PhaseName): readonly PhaseName[] {
  // Of monitor the policies that are only rehearsed: once they are enforced there are none.
  if (now === 'monitor') return [now];
  return phasesBetween('none', now).filter((name) => ['allow-list', 'strict-mtls', 'identity'].includes(name));
}

/** Phases may ask the same question; it is answered once. */
function distinct(gates: readonly Gate[]): readonly Gate[] {
  return [...new Map(gates.map((gate) => [`${gate.id}\n${gate.subject}\n${gate.facts.join('\n')}`, gate])).values()];
}

/** A namespace that others stand on goes last, and only when a person says so outright. */
function systemGate(view: View): readonly Gate[] {
  const system = view.inventory.namespaces.find((one) => one.name === view.namespace)?.system;
  if (system === undefined) return [];
  return [
    {
      id: 'system-namespace',
      answer: 'no',
      subject: view.namespace,
      facts: [`${view.namespace}: ${system}`, 'what is cut here may be cut for the whole cluster'],
      fix: `move the other namespaces first, then sallyport waive gate=system-namespace,subject=${view.namespace} --reason "..."`,
    },
  ];
}

/** Objects of ours that are not as we left them: going on would overwrite what somebody else put there. */
export function driftGate(view: View, steps: readonly Step[]): readonly Gate[] {
  const touched = new Set(steps.map((step) => refKey(changeRef(step.change))));
  const mine = view.applied.filter(
    (applied) => applied.namespace === view.namespace || touched.has(refKey(changeRef(applied.change))),
  );
  const drift = checkDrift(mine, view.snapshot.objects, view.resolved);
  if (drift.length === 0) return [];
  return [
    {
      id: 'drift',
      answer: 'no',
      subject: view.namespace,
      facts: drift.map(
        (one) =>
          `${one.object} ${one.path}: ours ${showValue(one.field, one.ours)}, now ${showValue(one.field, one.now)} (${one.step})`,
      ),
      fix: `sallyport resolve OBJECT --keep ours puts back what Sallyport wrote, --keep theirs leaves it; or adopt the edges that the change was for and let sallyport write them; sallyport verify ${view.namespace} lists them`,
    },
  ];
}

/** The plan of a rollback: given steps, simulated and gated like any change, but for gates on evidence. */
export function assembleDown(
  view: View,
  to: PhaseName,
  steps: readonly Step[],
  findings: readonly Finding[],
  planner: Planner,
): Plan {
  const from = view.phases.get(view.namespace) ?? 'none';
  const result = simulate({ snapshot: view.snapshot, inventory: view.inventory }, steps, simulated(view, planner));
  const index = <T extends EdgeVerdict>(list: readonly T[]): ReadonlyMap<string, T> =>
    new Map(list.map((verdict) => [verdict.edge, verdict]));
  return finish(
    view,
    planner,
    {
      from,
      to,
      direction: 'down',
      steps,
      gates: [],
      denied: index(result.denied),
      unknown: index(result.unknown),
      edges: result.edges,
    },
    findings,
  );
}

/**
 * The plan of access that ends by itself, or of its end: the namespace stays in its phase. What it opens is judged by its own proof
 * (readiness/grant-connection.ts); `gates` are those that hold it up. Edges that it cuts are listed, and hold nothing up: access that is over ends.
 */
export function assembleGrant(
  view: View,
  direction: 'up' | 'down',
  steps: readonly Step[],
  gates: readonly Gate[],
  findings: readonly Finding[] = [],
): Plan {
  const phase = view.phases.get(view.namespace) ?? 'none';
  return {
    namespace: view.namespace,
    from: phase,
    to: phase,
    direction,
    steps,
    gates,
    denied: [],
    unknown: [],
    findings,
    simulated: { edges: 0, states: steps.length },
    hash: planHash(view.namespace, phase, phase, steps, [], []),
  };
}

function simulated(view: View, planner: Planner): Simulated {
  return { rebuild: view.rebuild, edgesIn: (inventory) => planner.keep(view.edgesIn(inventory)) };
}

interface Parts {
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly direction: 'up' | 'down';
  readonly steps: readonly Step[];
  readonly gates: readonly Gate[];
  readonly denied: ReadonlyMap<string, EdgeVerdict>;
  readonly unknown: ReadonlyMap<string, EdgeVerdict>;
  /** How many edges were judged. */
  readonly edges: number;
}

function finish(view: View, planner: Planner, parts: Parts, findings: readonly Finding[] = []): Plan {
  const denied = [...parts.denied.values()];
  const unknown = [...parts.unknown.values()];
  const hash = planHash(view.namespace, parts.from, parts.to, parts.steps, denied, unknown);
  const gates: Gate[] = [...parts.gates, deniesGate(view, parts, denied)];
  // Unknowns never block the way back.
  if (parts.direction === 'up') {
    const judged = [...unreadGates(view), ...unknownGates(view, unknown, parts.edges)];
    gates.push(...judged.map((gate) => planner.settle(view, gate)));
    gates.push(...systemGate(view).map((gate) => planner.settle(view, gate)), ...driftGate(view, parts.steps));
    gates.push(...planner.common(view, parts.steps, { to: parts.to, hash }).map((gate) => planner.settle(view, gate)));
  }
  // Nor does what others change while the way back goes on.
  const ground =
    parts.direction === 'up'
      ? groundOf(view, parts.steps, planner.withHops(view.inventory, planner.keep(view.edges)))
      : undefined;
  return {
    namespace: view.namespace,
    from: parts.from,
    to: parts.to,
    direction: parts.direction,
    steps: parts.steps,
    gates,
    denied,
    unknown,
    findings,
    simulated: { edges: parts.edges, states: parts.steps.length },
    ...(ground === undefined ? {} : { ground }),
    hash,
  };
}

function deniesGate(view: View, parts: Parts, denied: readonly EdgeVerdict[]): Gate {
  if (denied.length === 0)
    return {
      id: 'denies-observed',
      answer: 'yes',
      subject: view.namespace,
      facts: [`${parts.edges} edges judged in ${parts.steps.length} states, none denied`],
      fix: '',
    };
  return {
    id: 'denies-observed',
    answer: 'no',
    subject: view.namespace,
    facts: denied.map(
      (verdict) => `${verdict.text}: ${verdict.reasons.join('; ')} (${verdict.step}; ${verdict.evidence})`,
    ),
    fix: 'sallyport accept QUERY --reason "..." for edges that may be cut; adopt and observe for those that may not',
  };
}

const DEPLOYERS = new Set(['argoproj.io/Application', 'kustomize.toolkit.fluxcd.io/Kustomization']);

/** Kinds that could not be read: what they allow, deny or call for is not known. */
function unreadGates(view: View): readonly Gate[] {
  // Figures of load say nothing of connections, and their API is the one most often down.
  // What Argo CD and Flux manage is marked on the objects themselves as well: the gates on ownership say what could not be read.
  const bearing = view.snapshot.unread.filter(
    (kind) => !(kind.split('/')[0] ?? '').endsWith('metrics.k8s.io') && !DEPLOYERS.has(kind),
  );
  return bearing.map((kind) => ({
    id: 'unknown',
    answer: 'unknown' as const,
    subject: kind,
    facts: [`objects of ${kind} could not be read, so what they say of connections is not known`],
    fix: `grant list on ${kind}, or sallyport waive gate=unknown,subject=${kind} --reason "..."`,
  }));
}

function unknownGates(view: View, unknown: readonly EdgeVerdict[], judged: number): readonly Gate[] {
  if (unknown.length === 0)
    return [
      {
        id: 'unknown',
        answer: 'yes',
        subject: view.namespace,
        facts: [`every one of ${judged} edges can be judged`],
        fix: '',
      },
    ];
  return unknown.map((verdict) => ({
    id: 'unknown',
    answer: 'unknown' as const,
    subject: verdict.edge,
    facts: [verdict.text, ...verdict.reasons, verdict.step],
    fix: `sallyport waive gate=unknown,subject=${verdict.edge} --reason "..."`,
  }));
}

/** Gates that keep a plan from running. */
export function openGates(plan: Plan): readonly Gate[] {
  return plan.gates.filter((gate) => gate.answer !== 'yes');
}

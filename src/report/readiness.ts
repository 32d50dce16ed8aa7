import type { View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import { endpointKey, formatEdge } from '../model/edge.ts';
import type { ConnectionVerdict, World } from '../model/evaluate.ts';
import { isIsolated, mainReason } from '../model/evaluate.ts';
import type { Gate } from '../model/finding.ts';
import { isObject, namespaceOf, refKey, refOf } from '../model/object.ts';
import { isOwn } from '../objects/build.ts';
import type { PhaseName } from '../model/phase.ts';
import { PHASES, phaseIndex } from '../model/phase.ts';
import type { Planner } from '../plan/assemble.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { inMesh } from '../readiness/mesh-gates.ts';
import { compareText, groupBy } from '../shared/pure/order.ts';
import type { GateView, NamespaceRow, PhaseReadiness, ReadinessState } from './model.ts';
import { edgesByNamespace } from './input.ts';
import { wholeCommands } from './words.ts';
import { narrower, neighbourhoodOf } from './policies.ts';
import type { AssumedState, AssumedStates } from './states.ts';
import type { Tenancy } from './tenants.ts';

const ALL_PHASES = PHASES.filter((phase) => phase !== 'none');

export interface Judged {
  readonly verdicts: ReadonlyMap<string, ConnectionVerdict>;
}

export interface ReadinessInput {
  readonly planner: Planner;
  readonly assumed: AssumedStates;
  /** Verdicts on the kept edges in each state. */
  readonly judged: ReadonlyMap<PhaseName, Judged>;
  readonly world: World;
  readonly tenancy: Tenancy;
  readonly waveOf: ReadonlyMap<string, number>;
  readonly rank: ReadonlyMap<string, number>;
  /** Every edge, by namespace. */
  readonly edges: ReadonlyMap<string, readonly Edge[]>;
  readonly systemNamespaces: readonly string[];
}

/** Where each namespace stands and what each of the phases before it still wants. */
export function buildReadiness(input: ReadinessInput): readonly NamespaceRow[] {
  const now = input.assumed.states.get('none');
  if (now === undefined) return [];
  const { inventory, phases } = now.view;
  const byNamespace = groupBy(inventory.workloads, (workload) => workload.namespace);
  const narrowed = new Map<string, (namespace: string) => View>();
  for (const [phase, state] of input.assumed.states) narrowed.set(phase, viewOf(input, state));
  return inventory.namespaces
    .filter((one) => byNamespace.has(one.name) || (phases.get(one.name) ?? 'none') !== 'none')
    .sort((a, b) => compareText(a.name, b.name))
    .map(({ name, system }): NamespaceRow => {
      const mine = byNamespace.get(name) ?? [];
      const phase = phases.get(name) ?? 'none';
      const next = PHASES[phaseIndex(phase) + 1] ?? null;
      const isolated = (direction: 'ingress' | 'egress'): number =>
        mine.filter((workload) => isIsolated(input.world, workload.id, direction).isolated === 'yes').length;
      return {
        namespace: name,
        phase,
        system: system ?? null,
        tenant: input.tenancy.of.get(name) ?? null,
        workloads: mine.length,
        edges: input.edges.get(name)?.length ?? 0,
        inMesh: mine.filter(inMesh).length,
        isolatedIngress: isolated('ingress'),
        isolatedEgress: isolated('egress'),
        wave: input.waveOf.get(name) ?? null,
        next,
        phases: ALL_PHASES.map((one) => readinessOf(input, narrowed, name, system, phase, one)),
        command: next === null ? `sallyport verify ${name}` : `sallyport plan ${name} --to ${next}`,
      };
    });
}

/** A namespace with its neighbours, as the phases' own gates look at it. */
function viewOf(input: ReadinessInput, { view, kept }: AssumedState): (namespace: string) => View {
  const bySource = groupBy(view.edges, (edge) => endpointKey(edge.src));
  const isNow = view.edges === input.assumed.states.get('none')?.view.edges;
  const touching = isNow ? input.edges : edgesByNamespace(view.edges);
  const narrow = narrower(view.inventory);
  const objects = groupBy(view.snapshot.objects, (object) => namespaceOf(object) ?? '');
  // Policies of others may name accounts of any namespace.
  const naming = view.snapshot.objects.filter(
    (object) => isObject(object, 'security.istio.io', 'AuthorizationPolicy') && !isOwn(object),
  );
  const known = new Map<string, View>();
  return (namespace) => {
    const made = known.get(namespace);
    if (made !== undefined) return made;
    const mine = touching.get(namespace) ?? [];
    // Whether a source scans shows in all that it does.
    const edges = new Set(mine);
    for (const edge of mine) for (const other of bySource.get(endpointKey(edge.src)) ?? []) edges.add(other);
    const near = neighbourhoodOf(namespace, kept.get(namespace) ?? [], input.systemNamespaces);
    const own: View = {
      ...view,
      namespace,
      inventory: narrow(near),
      edges: [...edges],
      snapshot: {
        ...view.snapshot,
        objects: [...new Set([...(objects.get('') ?? []), ...naming, ...(objects.get(namespace) ?? [])])],
      },
    };
    known.set(namespace, own);
    return own;
  };
}

function readinessOf(
  input: ReadinessInput,
  views: ReadonlyMap<string, (namespace: string) => View>,
  namespace: string,
  system: string | undefined,
  present: PhaseName,
  phase: PhaseName,
): PhaseReadiness {
  const empty = { met: 0, open: [], steps: 0, denied: [], unknown: [] };
  if (phaseIndex(phase) <= phaseIndex(present)) return { phase, state: 'reached', because: 'it is there', ...empty };
  const before = PHASES[phaseIndex(phase) - 1] ?? 'none';
  const [from, to] = [input.assumed.states.get(before), input.assumed.states.get(phase)];
  const made = input.planner.phases.find((one) => one.name === phase);
  if (from === undefined || made === undefined)
    return {
      phase,
      state: 'not-judged',
      because: input.assumed.noMesh ?? 'the phase before it was not judged',
      ...empty,
    };
  // Ahead of all of its steps the namespace stands where the phase before leaves it.
  const view = views.get(before)?.(namespace) ?? from.view;
  const steps = to?.steps.get(namespace) ?? [];
  const gates = [
    ...made.requires(view),
    ...(steps.length === 0 ? [] : input.planner.common(ofSteps(view, steps), steps)),
    ...systemGate(namespace, system),
  ].map((gate) => input.planner.settle(view, gate));
  const cut = edgesCut(input, namespace, phase);
  const open = gates.filter((gate) => gate.answer !== 'yes').map(gateView);
  const no = open.some((gate) => gate.answer === 'no') || cut.denied.length > 0;
  const unknown = open.length > 0 || cut.unknown.length > 0;
  const state: ReadinessState = no ? 'blocked' : unknown ? 'unknown' : 'ready';
  return {
    phase,
    state,
    because:
      before === present
        ? 'judged as things are'
        : `judged as if every namespace that is no system namespace had reached ${before}`,
    met: gates.length - open.length,
    open: open.sort(
      (a, b) => compareText(a.answer, b.answer) || compareText(a.id, b.id) || compareText(a.subject, b.subject),
    ),
    steps: steps.length,
    ...cut,
  };
}

/** The objects that the steps edit are all that the gates of every change look at. */
function ofSteps(view: View, steps: readonly Step[]): View {
  const keys = new Set(steps.map((step) => refKey(changeRef(step.change))));
  const objects = view.snapshot.objects.filter((object) => keys.has(refKey(refOf(object))));
  return { ...view, snapshot: { ...view.snapshot, objects } };
}

/** Plans refuse a system namespace unless a person names it outright. */
function systemGate(namespace: string, system: string | undefined): readonly Gate[] {
  if (system === undefined) return [];
  return [
    {
      id: 'system-namespace',
      answer: 'no',
      subject: namespace,
      facts: [`${namespace}: ${system}`, 'what is cut here may be cut for the whole cluster'],
      fix: `move the other namespaces first, then sallyport waive gate=system-namespace,subject=${namespace} --reason "..."`,
    },
  ];
}

function edgesCut(
  input: ReadinessInput,
  namespace: string,
  phase: PhaseName,
): Pick<PhaseReadiness, 'denied' | 'unknown'> {
  const state = input.assumed.states.get(phase);
  const judged = input.judged.get(phase);
  const now = input.judged.get('none');
  const before = input.judged.get(PHASES[phaseIndex(phase) - 1] ?? 'none');
  const denied: PhaseReadiness['denied'][number][] = [];
  const unknown: PhaseReadiness['unknown'][number][] = [];
  // In a phase that writes nothing for it, nothing is cut.
  if (state === undefined || judged === undefined || phase === 'monitor') return { denied, unknown };
  for (const edge of state.kept.get(namespace) ?? []) {
    const verdict = judged.verdicts.get(edge.id);
    if (verdict === undefined || verdict.answer === 'allowed') continue;
    const row = { edge: input.rank.get(edge.id) ?? -1, text: formatEdge(edge), reason: mainReason(verdict) };
    if (verdict.answer === 'unknown') {
      if (before?.verdicts.get(edge.id)?.answer !== 'unknown') unknown.push(row);
      continue;
    }
    // Denied before any of this: not the phase's doing.
    if (now?.verdicts.get(edge.id)?.answer === 'denied' || before?.verdicts.get(edge.id)?.answer === 'denied') continue;
    denied.push(row);
  }
  return { denied, unknown };
}

export function gateView({ id, answer, subject, facts, fix, waived }: Gate): GateView {
  return { id, answer, subject, facts, fix: wholeCommands(fix), waived: waived ?? null };
}

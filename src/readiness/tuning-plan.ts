import { measureAgain } from '../candidates/tuning/measure.ts';
import type { Proposal, TuningInput, TuningWrite } from '../candidates/tuning/proposal.ts';
import { realisePool } from '../candidates/tuning/rule.ts';
import type { AppliedStep, View } from '../engine/contract.ts';
import { formatEdge } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import type { KubeManifest } from '../model/object.ts';
import { refKey, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { short } from '../model/tuning.ts';
import type { TuningMetrics } from '../model/tuning.ts';
import type { Planner } from '../plan/assemble.ts';
import { assembleSteps } from '../plan/assemble.ts';
import type { Plan, Step } from '../plan/plan.ts';
import type { Draft, StepBase } from '../plan/steps.ts';
import { draftSteps } from '../plan/steps.ts';
import { judgeEdges } from '../plan/simulate.ts';
import { plural } from '../shared/pure/text.ts';
import { describeExpected, formatMark, parseMark, TUNING_PREFIX } from './tuning-in-force.ts';
import type { TuningMark } from './tuning-in-force.ts';
import { gate, keptEdges } from './view.ts';

/** Filed under the phase in which proxies come: a rollback that takes the namespace out of the mesh takes their tuning back first. */
const PHASE: PhaseName = 'permissive-mtls';
const HOUR_MS = 3_600_000;

/** What proposals for the namespace of a view are made from; `parseText` reads YAML (TuningInput). */
export function tuningInput(view: View, metrics: TuningMetrics, parseText: TuningInput['parseText']): TuningInput {
  const edges = keptEdges(view.edges);
  const seen = edges.filter(({ origin }) => origin.kind === 'observed');
  const first = view.span?.first ?? seen.reduce((least, one) => Math.min(least, one.first), Number.POSITIVE_INFINITY);
  const last = view.span?.last ?? seen.reduce((most, one) => Math.max(most, one.last), 0);
  const { window } = view.config.gates;
  return {
    namespace: view.namespace,
    inventory: view.inventory,
    objects: view.snapshot.objects,
    edges,
    metrics,
    evidenceHours: last > first ? (last - first) / HOUR_MS : 0,
    neededHours: window === 'off' ? 0 : window,
    parseText,
  };
}

/** The objects that a write leaves, given those before it: whole ones that are made, and fields of others. Empty where it cannot be made any more. */
export interface RealWrite {
  readonly object: KubeManifest;
  /** Absent: the whole object. */
  readonly fields?: readonly { readonly path: readonly string[]; readonly after: unknown }[];
}

export function realise(objects: readonly KubeManifest[], write: TuningWrite): RealWrite | undefined {
  switch (write.kind) {
    case 'object':
      return { object: write.object };
    case 'pool': {
      const real = realisePool(objects, write);
      if (real === undefined) return undefined;
      return real.kind === 'object' ? { object: real.object } : { object: real.object, fields: real.fields };
    }
    case 'fields': {
      const object = objects.find((one) => refKey(write.ref) === refKey(refOf(one)));
      return object === undefined ? undefined : { object, fields: write.fields };
    }
  }
}

/** The steps of proposals, in their order; settings of one rule add up. */
export function tuningSteps(view: View, proposals: readonly Proposal[]): readonly Step[] {
  const draft = draftSteps(view.snapshot.objects);
  for (const proposal of proposals)
    proposal.writes.forEach((write, index) => {
      const step: StepBase = {
        namespace: view.namespace,
        phase: PHASE,
        id: `${TUNING_PREFIX}${proposal.kind}/${slug(proposal.subject)}${index === 0 ? '' : `-${index + 1}`}`,
        title: `${proposal.title} ${formatMark(markOf(proposal))}`,
        risks: proposal.risks,
        ...(write.kind === 'fields'
          ? { workload: write.workload, effects: [{ kind: 'rollout', workload: write.workload }] }
          : {}),
      };
      makeStep(draft, view.snapshot.objects, write, step);
    });
  return draft.steps;
}

function makeStep(draft: Draft, start: readonly KubeManifest[], write: TuningWrite, step: StepBase): void {
  switch (write.kind) {
    case 'object':
      draft.ensure(write.object, step);
      return;
    case 'fields': {
      const live = draft.byKey(refKey(write.ref));
      if (live !== undefined) draft.edit(live, write.fields, step);
      return;
    }
    case 'pool': {
      // The objects as the steps before leave them: a rule that was made for one port is the one that the next port goes into.
      const now = start.map((one) => draft.get(one) ?? one);
      const made = draft.steps.flatMap(({ change }) =>
        change.kind === 'create' ? [draft.get(change.object) ?? change.object] : [],
      );
      const real = realisePool([...now, ...made], write);
      if (real === undefined) return;
      if (real.kind === 'object') draft.ensure(real.object, step);
      else draft.edit(real.object, real.fields, step);
    }
  }
}

function slug(subject: string): string {
  return subject.toLowerCase().replaceAll(/[^a-z0-9]+/gu, '-');
}

/** The plan of proposals: an ordinary run of steps that leaves the namespace in its phase, simulated, and changing no verdict on record. */
export function planTuning(view: View, proposals: readonly Proposal[], planner: Planner): Plan {
  return assembleSteps(view, tuningSteps(view, proposals), ({ inventory }) => [neutralGate(view, inventory)], planner);
}

const MOST_EDGES = 10;

/** Tuning is about speed: an edge that is denied stays denied, one that is allowed stays allowed. */
function neutralGate(view: View, after: View['inventory']): Gate {
  const edges = keptEdges(view.edgesIn(after));
  const [was, is] = [judgeEdges(view.inventory, edges), judgeEdges(after, edges)];
  const changed = edges.filter(({ id }) => was.get(id)?.answer !== is.get(id)?.answer);
  return gate(
    'tuning-neutral',
    changed.length === 0 ? 'yes' : 'no',
    view.namespace,
    changed.length === 0
      ? [`no verdict of ${plural(edges.length, 'edge')} changes`]
      : changed
          .slice(0, MOST_EDGES)
          .map(
            (edge) => `${formatEdge(edge)}: ${was.get(edge.id)?.answer ?? ''}, then ${is.get(edge.id)?.answer ?? ''}`,
          ),
    'leave the proposal out; sallyport tune says what each rests on',
  );
}

function markOf({ id, gain }: Proposal): TuningMark {
  return gain === undefined ? { id } : { id, gain };
}

export interface TuningInForce extends TuningMark {
  readonly since: number;
  /** The figure as it is now; undefined where it was not measured since. */
  readonly now?: number;
  /** How much less it is than before, in percent; negative where it grew. */
  readonly measuredPercent?: number;
  readonly answer: 'as-expected' | 'less-than-expected' | 'more-than-expected' | 'unknown';
}

/** Steps of tuning in force for the namespace, oldest first, with what was expected and what is measured now. */
export function tuningInForce(applied: readonly AppliedStep[], input: TuningInput): readonly TuningInForce[] {
  return applied.flatMap(({ namespace, phase, step, at }): readonly TuningInForce[] => {
    if (namespace !== input.namespace || !step.id.startsWith(`${phase}/${TUNING_PREFIX}`)) return [];
    const mark = parseMark(step.title);
    if (mark === undefined) return [];
    // Figures from before the step say nothing of it.
    const { gain } = mark;
    const after = input.metrics.window.from >= at;
    const now =
      gain === undefined || !after
        ? undefined
        : measureAgain(input, { subject: mark.id.slice(mark.id.indexOf(':') + 1) }, gain.metric);
    if (gain === undefined || now === undefined || gain.before === 0)
      return [{ ...mark, since: at, answer: 'unknown' }];
    const measuredPercent = Math.round((1 - now / gain.before) * 100);
    const answer =
      measuredPercent < gain.lowPercent
        ? 'less-than-expected'
        : measuredPercent > gain.highPercent
          ? 'more-than-expected'
          : 'as-expected';
    return [{ ...mark, since: at, now, measuredPercent, answer }];
  });
}

/** `expected 20-35 %, measured 28 %`. */
export function describeInForce({ gain, measuredPercent, now }: TuningInForce): string {
  if (gain === undefined) return describeExpected(gain);
  const expected = describeExpected(gain);
  if (measuredPercent === undefined || now === undefined) return `${expected}, not measured since`;
  return `${expected}, measured ${measuredPercent} % less (${short(now)})`;
}

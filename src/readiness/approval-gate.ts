import type { View } from '../engine/contract.ts';
import type { Actor, Approval } from '../model/approval.ts';
import { formatActor } from '../model/approval.ts';
import type { Gate } from '../model/finding.ts';
import { matchText } from '../model/glob.ts';
import { phasesBetween } from '../model/phase.ts';
import type { PhaseName } from '../model/phase.ts';
import { plural } from '../shared/pure/text.ts';
import { gate } from './view.ts';

/** What the gate must know beside the view. */
export interface ApprovalFacts {
  readonly target: string;
  readonly approvals: readonly Approval[];
  /** Who is about to carry the plan out; undefined where the cluster does not say. */
  readonly actor: Actor | undefined;
  /** Of the wall clock, ms: the moment for windows and schedules may be another. */
  readonly now: number;
  /** Those that were read from a file, and which. */
  readonly files: ReadonlyMap<Approval, string>;
  /** When a run of each plan began last, ms, by the plan's hash. */
  readonly ranAt: ReadonlyMap<string, number>;
}

/** Two machines' clocks may differ by this much. */
const CLOCK_SKEW_MS = 5 * 60_000;
const HOUR_MS = 3_600_000;

export interface PlanId {
  readonly to: PhaseName;
  readonly hash: string;
}

/** Whether the configuration asks for approvals of a plan of this namespace to this phase, or through it. */
function concerns(view: View, to: PhaseName): boolean {
  const rule = view.config.changes?.approvals;
  if (rule === undefined) return false;
  const from = view.phases.get(view.namespace) ?? 'none';
  const phases = [...phasesBetween(from, to), to];
  return (
    rule.namespaces.some((pattern) => matchText(pattern, view.namespace)) &&
    (rule.phases === undefined || rule.phases.some((phase) => phases.includes(phase)))
  );
}

/** Why an approval does not count for this plan; undefined where it does. */
function voidedBy(view: View, plan: PlanId, one: Approval, facts: ApprovalFacts): string | undefined {
  const rule = view.config.changes?.approvals;
  if (one.target !== facts.target) return `is for another cluster or directory (${one.target})`;
  if (one.plan !== plan.hash) return `is of plan ${one.plan.slice(0, 12)}, and the plan is now another`;
  if (one.at > facts.now + CLOCK_SKEW_MS) return `is dated ${new Date(one.at).toISOString()}, which lies ahead`;
  const until = one.at + (rule?.hours ?? 0) * HOUR_MS;
  if (facts.now >= until) return `ended at ${new Date(until).toISOString()}`;
  const ran = facts.ranAt.get(plan.hash);
  if (ran !== undefined && ran >= one.at) return `was used by the run of ${new Date(ran).toISOString()}`;
  if (rule?.approvers !== undefined && !rule.approvers.some((pattern) => matchText(pattern, one.by.name)))
    return 'is of somebody whom the configuration does not name among the approvers';
  // A name says nothing across two ways of naming: neither is it another person's for certain.
  if (facts.actor !== undefined && one.by.kind !== facts.actor.kind)
    return `names its author another way than ${formatActor(facts.actor)} is named`;
  if (one.by.name === facts.actor?.name) return 'is of the one who would carry the plan out';
  return undefined;
}

/** The approvals that count for a plan: one of each person, the newest. */
export function countingApprovals(view: View, plan: PlanId, facts: ApprovalFacts): readonly Approval[] {
  const counting = facts.approvals.filter(
    (one) => one.namespace === view.namespace && voidedBy(view, plan, one, facts) === undefined,
  );
  return [...new Map(counting.map((one) => [one.by.name, one])).values()];
}

/**
 * Whether enough people other than the one who carries a plan out have approved it. Asked only where the configuration says so, never of a
 * way back, and waived by nobody.
 */
export function approvalGates(view: View, plan: PlanId, facts: ApprovalFacts): readonly Gate[] {
  const rule = view.config.changes?.approvals;
  if (rule === undefined || !concerns(view, plan.to)) return [];
  const { namespace } = view;
  const short = plan.hash.slice(0, 12);
  if (facts.actor === undefined)
    return [
      gate(
        'approval',
        'unknown',
        namespace,
        ['the API server does not say who this is (SelfSubjectReview), so nobody can be told from the approvers'],
        'sallyport doctor; the API is part of Kubernetes 1.28 and later, and every authenticated user may call it',
      ),
    ];
  const counting = countingApprovals(view, plan, facts);
  const approved = counting.map(
    ({ by, at, reason }) => `${formatActor(by)} approved at ${new Date(at).toISOString()}: ${reason}`,
  );
  if (counting.length >= rule.required) return [gate('approval', 'yes', namespace, approved, '')];
  const others = facts.approvals
    .filter((one) => one.namespace === namespace)
    .flatMap((one) => {
      const why = voidedBy(view, plan, one, facts);
      return why === undefined ? [] : [`the approval of ${formatActor(one.by)} does not count: it ${why}`];
    });
  return [
    gate(
      'approval',
      'no',
      namespace,
      [
        `${counting.length} of ${plural(rule.required, 'approval')} of plan ${short} by others than ${formatActor(facts.actor)}`,
        ...approved,
        // The newest tell why an approval that somebody counts on is not there.
        ...others.slice(-5),
      ],
      `somebody else: sallyport approve ${namespace} --to ${plan.to} --plan ${short} --reason "..."`,
    ),
  ];
}

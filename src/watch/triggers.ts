import { parseAddress } from '../model/cidr-set.ts';
import { matchText } from '../model/glob.ts';
import type { Notice, NoticeKind } from './notice.ts';

/** What a rule asks for. Rotation is not among them: it is asked of a person each time. */
export const TRIGGERED = ['quarantine', 'block', 'escalate'] as const;
export type Triggered = (typeof TRIGGERED)[number];

/** A rule over notices, as the configuration has it. */
export interface TriggerRule {
  readonly name: string;
  readonly notice: NoticeKind;
  /** Of `denied`: how it looks. */
  readonly class?: string;
  readonly severity?: 'info' | 'warning' | 'error';
  /** Connections denied, at least. */
  readonly count?: number;
  /** Targets, at least. */
  readonly targets?: number;
  /** Namespaces of the notice, patterns with `*`; all where absent. */
  readonly namespaces?: readonly string[];
  readonly does: Triggered;
  /** `ask`: a proposal that a person carries out. `run`: by itself, within the limits. */
  readonly how: 'ask' | 'run';
}

/** What holds whatever the rules say. */
export interface TriggerLimits {
  /** Runs in any hour, over all rules; escalations do not count. */
  readonly perHour: number;
  /** Workloads and sources in force at a time that nobody confirmed. */
  readonly most: number;
  /** Share of the workloads of one namespace in quarantine by itself, at most; at least one workload must stay. */
  readonly share: number;
  /** Namespaces that nothing happens to by itself: patterns with `*`. */
  readonly protected: readonly string[];
  /** After a notice of the same matter, so long nothing more, ms. */
  readonly cooldownMs: number;
}

export const DEFAULT_LIMITS: TriggerLimits = {
  perHour: 2,
  most: 3,
  share: 0.1,
  protected: ['kube-system', 'kube-public', 'kube-node-lease', 'istio-system'],
  cooldownMs: 3_600_000,
};

/** What was done by itself, oldest first. */
export interface Fired {
  readonly at: number;
  readonly rule: string;
  readonly does: Triggered;
  readonly subject: string;
  readonly how: 'ask' | 'run';
  /** False once it was undone. */
  readonly inForce: boolean;
}

export interface TriggerWorld {
  readonly now: number;
  /** Set where the kill switch is thrown: nothing runs by itself. */
  readonly killed: string | undefined;
  /** How many workloads each namespace has. */
  readonly workloads: ReadonlyMap<string, number>;
  /** Of a workload: whether others than itself depend on it so that its loss is an outage (it is called by several namespaces). */
  readonly isShared: (workload: string) => boolean;
}

export type TriggerDecision =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'run' | 'ask';
      readonly rule: string;
      readonly does: Triggered;
      readonly subject: string;
      readonly why: readonly string[];
    };

const HOUR_MS = 3_600_000;

/**
 * What a notice sets off. Pure, and safe whatever notices come: an attacker writes the traffic that they are made of. The subject is who sent, never who
 * was called, so that nobody has another quarantined by calling it; a name that is not a workload of the cluster is never quarantined; and beyond any limit the answer
 * is a proposal to a person. Escalations are told once in the cool-down.
 */
export function decideTrigger(
  rules: readonly TriggerRule[],
  limits: TriggerLimits,
  fired: readonly Fired[],
  notice: Notice,
  world: TriggerWorld,
): TriggerDecision {
  if (notice.state !== 'raised') return { kind: 'none' };
  const rule = rules.find((one) => matches(one, notice));
  if (rule === undefined) return { kind: 'none' };
  const subject = subjectOf(rule, notice);
  if (subject === undefined) return { kind: 'none' };
  const again = fired.some(
    (one) =>
      one.does === rule.does && one.subject === subject && (one.inForce || world.now - one.at < limits.cooldownMs),
  );
  if (again) return { kind: 'none' };
  const base = { rule: rule.name, does: rule.does, subject };
  if (rule.does === 'escalate') {
    const lately = fired.filter((one) => one.does === 'escalate' && world.now - one.at < HOUR_MS).length;
    return lately < MOST_ESCALATIONS ? { kind: 'run', ...base, why: [notice.text] } : { kind: 'none' };
  }
  if (rule.how === 'ask') return { kind: 'ask', ...base, why: [notice.text] };
  const why = held(limits, fired, rule.does, subject, world);
  return why.length === 0 ? { kind: 'run', ...base, why: [notice.text] } : { kind: 'ask', ...base, why };
}

/** Told to people in an hour, at most: more would hide what matters. */
const MOST_ESCALATIONS = 20;

/** Why something may not run by itself. */
function held(
  limits: TriggerLimits,
  fired: readonly Fired[],
  does: Triggered,
  subject: string,
  world: TriggerWorld,
): readonly string[] {
  const why: string[] = [];
  const mine = fired.filter((one) => one.how === 'run' && one.does !== 'escalate');
  if (world.killed !== undefined) why.push(`the kill switch is thrown: ${world.killed}`);
  // A clock that was set back must not open a new hour.
  if (mine.filter((one) => world.now - one.at < HOUR_MS).length >= limits.perHour)
    why.push(`${limits.perHour} an hour run by themselves, and they did`);
  if (mine.filter((one) => one.inForce).length >= limits.most)
    why.push(`${limits.most} are in force that nobody confirmed`);
  if (does === 'quarantine') {
    const namespace = subject.split('/')[0] ?? '';
    if (limits.protected.some((pattern) => matchText(pattern, namespace))) why.push(`${namespace} is protected`);
    const all = world.workloads.get(namespace) ?? 0;
    const inside = mine.filter(
      (one) => one.inForce && one.does === 'quarantine' && one.subject.startsWith(`${namespace}/`),
    ).length;
    if (all === 0) why.push(`${subject} is not known`);
    else if (inside + 1 > Math.floor(all * limits.share) && (inside > 0 || all < 2))
      why.push(`${inside + 1} of ${all} workloads of ${namespace} are more than ${limits.share * 100} %`);
    if (world.isShared(subject)) why.push(`${subject} serves several namespaces`);
  } else if (parseAddress(subject) === undefined) why.push(`${subject} is no single address`);
  return why;
}

function matches(rule: TriggerRule, notice: Notice): boolean {
  if (rule.notice !== notice.kind) return false;
  if (rule.severity !== undefined && rule.severity !== notice.severity) return false;
  if (rule.namespaces !== undefined && !rule.namespaces.some((one) => matchText(one, notice.namespace ?? '')))
    return false;
  if (rule.class !== undefined && (notice.kind !== 'denied' || notice.class !== rule.class)) return false;
  if (rule.count !== undefined && (!('count' in notice) || notice.count < rule.count)) return false;
  return rule.targets === undefined || (notice.kind === 'denied' && notice.targetCount >= rule.targets);
}

/** Who did it: the sender. A drift, a gate or a policy has none, and can only be told. */
function subjectOf(rule: TriggerRule, notice: Notice): string | undefined {
  if (rule.does === 'escalate') return notice.key;
  const source = notice.kind === 'denied' || notice.kind === 'new-caller' ? notice.source : undefined;
  if (source === undefined) return undefined;
  if (rule.does === 'quarantine') return /^[^/:]+\/[^/]+\/[^/]+$/u.test(source) ? source : undefined;
  const ip = /^external:(.+)$/u.exec(source)?.[1];
  return ip;
}

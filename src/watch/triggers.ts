import { parseAddress } from '../model/cidr-set.ts';
import { matchText } from '../model/glob.ts';
import type { Triggered, TriggerLimits, TriggerRule } from '../model/trigger.ts';
import { plural } from '../shared/pure/text.ts';
import type { Notice } from './notice.ts';

/** What was set off before, by rules and by people, oldest first. */
export interface Fired {
  readonly at: number;
  readonly does: Triggered;
  readonly subject: string;
  readonly namespace: string;
  /** `run`: by itself. `ask`: it was proposed, or a person did it. */
  readonly how: 'ask' | 'run';
  /** The rule that set it off; absent where a person did, or an object says so. */
  readonly rule?: string;
  /** False once it was undone, or where nothing of it was written. What may be under way is in force. */
  readonly inForce: boolean;
  /** A person stands behind it. */
  readonly confirmed: boolean;
  /** No record here has it: an object in the cluster says so. */
  readonly claim?: Claim;
}

/** The object that says so. `ofCluster`: it has no namespace, and whoever rules over one namespace alone cannot have written it. */
export interface Claim {
  readonly object: string;
  readonly ofCluster: boolean;
}

/** What a decision is taken on. */
export interface TriggerWorld {
  readonly now: number;
  /** Why nothing may run by itself: the kill switch, or a watch that was not told to act. */
  readonly killed: string | undefined;
  /** How many workloads each namespace has. */
  readonly workloads: ReadonlyMap<string, number>;
  readonly isKnown: (workload: string) => boolean;
  /** Of a workload: callers of several namespaces, or from outside, depend on it, so that its loss is an outage. */
  readonly isShared: (workload: string) => boolean;
  /** Of an address: edges on record that must work come from it, or it is one of the cluster's own. */
  readonly isOnRecord: (address: string) => boolean;
  /** Beside the limits: namespaces of webhooks and of API services, and the watch's own. */
  readonly isProtected: (namespace: string) => boolean;
}

export type TriggerDecision =
  | { readonly kind: 'none' }
  /** More proposals or messages than a person can read: the notice alone stands. */
  | { readonly kind: 'dropped'; readonly rule: string }
  | {
      readonly kind: 'run' | 'ask';
      readonly rule: string;
      readonly does: Triggered;
      readonly subject: string;
      readonly namespace: string;
      /** Of `ask`: what holds it back; of both nothing where the rule itself asks. */
      readonly why: readonly string[];
      /** How the limits stood. */
      readonly limits: readonly string[];
    };

const HOUR_MS = 3_600_000;
/** Told to people in an hour, at most: more would hide what matters. */
export const MOST_ESCALATIONS = 20;
/** Proposals in an hour, at most: whoever invents names could fill the record. */
export const MOST_PROPOSALS = 20;

/** Is there a rule for it at all? Cheap: asked of every notice. */
export function isTriggering(rules: readonly TriggerRule[], notice: Notice): boolean {
  return notice.state !== 'cleared' && rules.some((one) => matches(one, notice));
}

/**
 * What a notice sets off. Pure, and safe whatever notices come: an attacker writes the traffic that they are made of. The subject is who sent, never who
 * was called, so that nobody has another quarantined by calling it; a name that is not a workload of the cluster is never quarantined; an address
 * that is on record is not blocked; and beyond any limit the answer is a proposal to a person, of which there are so many in an hour. A matter that changes (a scan
 * shows itself with its tenth target) is judged again. Objects that no record has never silence a rule: they make it ask, and those of a namespace in that
 * namespace alone.
 */
export function decideTrigger(
  rules: readonly TriggerRule[],
  limits: TriggerLimits,
  fired: readonly Fired[],
  notice: Notice,
  world: TriggerWorld,
): TriggerDecision {
  if (notice.state === 'cleared') return { kind: 'none' };
  // The first that fits and has somebody to act on: a rule for workloads leaves addresses to the next.
  const found = rules
    .filter((one) => matches(one, notice))
    .map((rule) => ({ rule, subject: subjectOf(rule, notice) }))
    .find(({ subject: one }) => one !== undefined);
  if (found?.subject === undefined) return { kind: 'none' };
  const { rule, subject } = found;
  const namespace = rule.does === 'quarantine' ? (subject.split('/')[0] ?? '') : (notice.namespace ?? '');
  const again = fired.some(
    (one) =>
      one.claim === undefined &&
      one.does === rule.does &&
      one.subject === subject &&
      (rule.does !== 'block' || one.namespace === namespace) &&
      (one.inForce || world.now - one.at < limits.cooldownMs),
  );
  if (again) return { kind: 'none' };
  // A clock that was set back must not open a new hour.
  const lately = fired.filter(({ at }) => world.now - at < HOUR_MS);
  const asks = lately.filter(({ how }) => how === 'ask').length;
  const base = { rule: rule.name, does: rule.does, subject, namespace };
  // What names and addresses that cost nothing may have proposed is half of it: the rest is left to workloads of the cluster.
  const isCheap = (one: { readonly does: Triggered; readonly subject: string }): boolean =>
    one.does === 'block' ||
    (one.does === 'quarantine' && !world.isKnown(one.subject)) ||
    (one.does === 'escalate' && isAboutTraffic(one.subject) && !world.isKnown(senderOf(one.subject)));
  const cheap = lately.filter((one) => one.how === 'ask' && isCheap(one)).length;
  const isFull = asks >= MOST_PROPOSALS || (isCheap({ does: rule.does, subject }) && cheap >= MOST_PROPOSALS / 2);
  const ask = (why: readonly string[], stood: readonly string[]): TriggerDecision =>
    isFull ? { kind: 'dropped', rule: rule.name } : { kind: 'ask', ...base, why, limits: stood };
  if (rule.does === 'escalate') {
    const messages = lately.filter(({ does }) => does === 'escalate');
    const told = messages.length;
    // Who can make one rule speak at will must not silence the others.
    const others = rules.some((one) => one.does === 'escalate' && one.name !== rule.name);
    const mine = messages.filter((one) => one.rule === rule.name).length;
    if (told >= MOST_ESCALATIONS || (others && mine >= MOST_ESCALATIONS / 2))
      return { kind: 'dropped', rule: rule.name };
    const stood = [`${told} of ${MOST_ESCALATIONS} messages in this hour`];
    if (rule.how === 'ask') return ask([], stood);
    return world.killed === undefined ? { kind: 'run', ...base, why: [], limits: stood } : ask([world.killed], stood);
  }
  const { why, stood } = held(limits, fired, rule.does, subject, namespace, world);
  if (rule.how === 'ask') return ask([], stood);
  return why.length === 0 ? { kind: 'run', ...base, why, limits: stood } : ask(why, stood);
}

/** Of an escalation the subject is the key of its notice; those about traffic are made by whoever sends. */
function isAboutTraffic(key: string): boolean {
  return /^(?:denied|new-caller)\s/u.test(key);
}

/** Of a denied sender itself; of a new caller the id of an edge, which is no workload. */
function senderOf(key: string): string {
  return key.replace(/^\S+\s/u, '');
}

/** Why something may not run by itself, and how the limits stand. */
function held(
  limits: TriggerLimits,
  fired: readonly Fired[],
  does: Triggered,
  subject: string,
  namespace: string,
  world: TriggerWorld,
): { readonly why: readonly string[]; readonly stood: readonly string[] } {
  const why: string[] = [];
  // What an object of a namespace claims counts there and nowhere else: whoever may write policies in one namespace shall not use up what others have.
  const counted = fired.filter(
    ({ claim, namespace: own }) => claim === undefined || claim.ofCluster || own === namespace,
  );
  const mine = counted.filter((one) => one.how === 'run' && one.does !== 'escalate');
  const lately = mine.filter((one) => world.now - one.at < HOUR_MS).length;
  const open = mine.filter((one) => one.inForce && !one.confirmed).length;
  const stood = [`${lately} of ${limits.perHour} in this hour`, `${open} of ${limits.most} in force`];
  if (world.killed !== undefined) why.push(world.killed);
  const claimed = counted.flatMap((one) =>
    one.claim !== undefined && one.does === does && one.subject === subject ? [one.claim.object] : [],
  );
  if (claimed.length > 0)
    why.push(`${named(claimed)} ${claimed.length === 1 ? 'says' : 'say'} that it is done, and no record here has it`);
  if (lately >= limits.perHour) why.push(`${limits.perHour} an hour run by themselves, and they did`);
  else
    why.push(
      ...reserved(
        mine.filter((one) => world.now - one.at < HOUR_MS),
        limits.perHour,
        'an hour',
        does,
        namespace,
      ),
    );
  if (open >= limits.most) why.push(`${limits.most} are in force that nobody confirmed`);
  else
    why.push(
      ...reserved(
        mine.filter((one) => one.inForce && !one.confirmed),
        limits.most,
        'in force',
        does,
        namespace,
      ),
    );
  // Whoever is asked shall see what stands in the way, where no record shows it.
  const counting = mine.flatMap(({ claim }) => (claim === undefined ? [] : [claim.object]));
  if (counting.length > 0 && (lately >= limits.perHour || open >= limits.most))
    why.push(`among them, on no record here: ${named(counting)}`);
  if (namespace === '') why.push('it is about no namespace');
  else if (limits.protected.some((pattern) => matchText(pattern, namespace)) || world.isProtected(namespace))
    why.push(`${namespace} is protected`);
  if (does === 'block') {
    if (parseAddress(subject) === undefined) why.push(`${subject} is no single address`);
    else if (world.isOnRecord(subject))
      why.push(`${subject} is on record, or the cluster's own: whoever sends as it is not known`);
    return { why, stood };
  }
  const all = world.workloads.get(namespace) ?? 0;
  // By whomever: what a person cut off is gone as well.
  const inside = new Set(
    counted
      .filter((one) => one.inForce && one.does === 'quarantine' && one.namespace === namespace)
      .map((one) => one.subject),
  ).size;
  stood.push(`${inside} of ${plural(all, 'workload')} of ${namespace} in quarantine, at most ${limits.share * 100} %`);
  if (!world.isKnown(subject)) why.push(`${subject} is not known`);
  else if (all < 2 || (inside > 0 && inside + 1 > Math.floor(all * limits.share)))
    why.push(`${inside + 1} of ${all} workloads of ${namespace} are more than ${limits.share * 100} %`);
  if (world.isShared(subject)) why.push(`${subject} serves several namespaces, or the outside`);
  return { why, stood };
}

/**
 * The last one of what may run is left to what is of another kind, and of another namespace: addresses cost an attacker nothing, so that decoys outside would else use up
 * what he fears inside; and one tenant would use up what protects the others.
 */
function reserved(
  counted: readonly Fired[],
  most: number,
  of: string,
  does: Triggered,
  namespace: string,
): readonly string[] {
  if (most < 2) return [];
  const alike = counted.filter((one) => one.does === does).length;
  const here = counted.filter((one) => one.namespace === namespace).length;
  return [
    ...(does === 'block' && alike >= most - 1 ? [`the last of ${most} ${of} is left to quarantines`] : []),
    ...(here >= most - 1 ? [`the last of ${most} ${of} is left to other namespaces than ${namespace}`] : []),
  ];
}

/** The first few of them. */
function named(objects: readonly string[]): string {
  const rest = objects.length - 3;
  return `${objects.slice(0, 3).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
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
  // Not what stands in the key: that may be a name, and whoever invents names may have one like an address.
  return source.startsWith('external:') && 'address' in notice ? notice.address : undefined;
}

import type { Clock, Target } from '../engine/contract.ts';
import { matchText } from '../model/glob.ts';
import type { Inventory } from '../model/inventory.ts';
import type { Right } from '../model/rbac.ts';
import { formatRight } from '../model/rbac.ts';
import type { TriggerConfig, TriggerRule } from '../model/trigger.ts';
import { blockKind } from '../readiness/block.ts';
import { quarantineKind } from '../readiness/quarantine.ts';
import { isFailure } from '../shared/pure/errors.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { WatchEvent } from '../watch/state.ts';

/** Somebody may bind a role, or unbind it, while the watch runs. */
const AGAIN_MS = 10 * 60_000;
/** Where a right is not held in all namespaces, so many are asked about: a question each. */
const MOST_NAMESPACES = 50;
const MOST_NAMED = 3;

type Asked = Pick<Right, 'verb' | 'group' | 'resource'>;

const verbs = (group: string, resource: string, ...all: readonly string[]): readonly Asked[] =>
  all.map((verb) => ({ verb, group, resource }));
const POLICIES = ['networking.k8s.io', 'networkpolicies'] as const;
const DENIALS = {
  cilium: verbs('cilium.io', 'ciliumnetworkpolicies', 'get', 'create'),
  calico: verbs('projectcalico.org', 'networkpolicies', 'get', 'create'),
} as const;

/** What a rule writes by in this cluster: by the kind that its playbook would take, as the command asks before its first write. */
export function rightsOfRule(does: TriggerRule['does'], inventory: Pick<Inventory, 'facts'>): readonly Asked[] {
  const view = { inventory: inventory as Inventory };
  if (does === 'escalate') return [];
  const kind = does === 'quarantine' ? quarantineKind(view) : blockKind(view);
  if (kind === 'cilium' || kind === 'calico') return DENIALS[kind];
  return does === 'quarantine'
    ? [...verbs(...POLICIES, 'get', 'create'), ...verbs('', 'pods', 'get', 'patch')]
    : verbs(...POLICIES, 'get', 'patch');
}

export interface RightsPorts {
  readonly config: TriggerConfig;
  /** The namespace that the watch runs in, to which no rule does anything. */
  readonly own: string | undefined;
  readonly clock: Pick<Clock, 'now'>;
  readonly inventory: () => Promise<Inventory>;
  readonly target: () => Promise<Pick<Target, 'refused'>>;
  readonly take: (event: WatchEvent) => void;
}

/**
 * Asks the API server, at the first turn and each ten minutes, whether the rules that run by themselves could be carried out, and tells of each
 * that could not be (`blind`, `what: rights`). It holds nothing up: a rule without its rights is refused before its first write, as ever.
 */
export function openRightsCheck(ports: RightsPorts): () => Promise<void> {
  const { config, clock } = ports;
  let askedAt: number | undefined;
  let inventory: Inventory | undefined;
  return async () => {
    if (askedAt !== undefined && clock.now() - askedAt < AGAIN_MS) return;
    askedAt = clock.now();
    for (const rule of config.rules.filter(({ how }) => how === 'run')) {
      const of = `the rule ${safeText(rule.name)}`;
      try {
        inventory ??= await ports.inventory();
        const why = await missing(await ports.target(), rule, namespacesOf(ports, rule, inventory), inventory);
        ports.take(
          why === undefined ? { kind: 'back', what: 'rights', of } : { kind: 'away', what: 'rights', of, why },
        );
      } catch (error) {
        if (!isFailure(error)) throw error;
        ports.take({ kind: 'away', what: 'rights', of, why: `whether it may could not be asked: ${error.message}` });
      }
    }
  };
}

/** Where the rule may act by its own words and by the limits. */
function namespacesOf({ config, own }: RightsPorts, rule: TriggerRule, { workloads }: Inventory): readonly string[] {
  const isNamed = (patterns: readonly string[], namespace: string): boolean =>
    patterns.some((pattern) => matchText(pattern, namespace));
  return uniqueSorted(workloads.map(({ namespace }) => namespace)).filter(
    (namespace) =>
      namespace !== own &&
      !isNamed(config.limits.protected, namespace) &&
      (rule.namespaces === undefined || isNamed(rule.namespaces, namespace)),
  );
}

/** In words; undefined where nothing is. */
async function missing(
  target: Pick<Target, 'refused'>,
  rule: TriggerRule,
  namespaces: readonly string[],
  inventory: Inventory,
): Promise<string | undefined> {
  if (target.refused === undefined || namespaces.length === 0) return undefined;
  // One question each where a ClusterRoleBinding gives it.
  const nowhere = await target.refused(rightsOfRule(rule.does, inventory));
  const asked = namespaces.slice(0, MOST_NAMESPACES);
  const refused = await target.refused(nowhere.flatMap((right) => asked.map((namespace) => ({ ...right, namespace }))));
  if (refused.length === 0) return undefined;
  const shown = refused.slice(0, MOST_NAMED).map(formatRight);
  const more = refused.length - shown.length;
  const unasked = namespaces.length - asked.length;
  return [
    `this watch may not ${shown.join(', ')}${more > 0 ? ` and ${plural(more, 'more right')}` : ''}`,
    ...(unasked > 0 ? [`${unasked} namespaces were not asked about`] : []),
    `sallyport doctor --role actor${refused.some(({ resource }) => resource === 'pods') ? '-pods' : ''} names what is missing`,
  ].join('; ');
}

import type { Target } from '../engine/contract.ts';
import { groupOf } from '../model/object.ts';
import type { Right } from '../model/rbac.ts';
import { formatRight } from '../model/rbac.ts';
import type { Change } from '../plan/change.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import { pluralOf } from '../sources/kube/index.ts';

const VERBS: Readonly<Record<Change['kind'], string>> = { create: 'create', edit: 'patch', delete: 'delete' };
/** How a step is taken back. */
const BACK: Readonly<Record<Change['kind'], string>> = { create: 'delete', edit: 'patch', delete: 'create' };
const MOST_NAMED = 3;

function rightsFor(
  steps: readonly Step[],
  verbs: readonly Readonly<Record<Change['kind'], string>>[],
): readonly Right[] {
  return steps.flatMap(({ change }) => {
    const { apiVersion, kind, name, namespace } = changeRef(change);
    const about = {
      group: groupOf(apiVersion),
      resource: pluralOf(kind),
      ...(namespace === undefined ? {} : { namespace }),
    };
    if (change.kind === 'delete' && kind === 'Pod') {
      // No way back makes a pod: its controller does.
      if (!verbs.includes(VERBS)) return [];
      const going: Right =
        change.evicts === true
          ? { ...about, resource: 'pods/eviction', verb: 'create' }
          : { ...about, verb: 'delete', name };
      return [{ ...about, verb: 'get', name }, going];
    }
    // Each write reads the object before and after. RBAC cannot name what is made.
    return verbs
      .flatMap((of) => ['get', of[change.kind]])
      .map((verb): Right => (verb === 'create' ? { ...about, verb } : { ...about, verb, name }));
  });
}

/** One of a kind stands for all of them. */
function summed(refused: readonly Right[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { verb, group, resource, namespace } of refused) {
    const text = formatRight({ verb, group, resource, ...(namespace === undefined ? {} : { namespace }) });
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts.keys()];
}

function listed(texts: readonly string[]): string {
  const more = texts.length - MOST_NAMED;
  return `${texts.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${plural(more, 'more right')}` : ''}`;
}

/** What reaching proxies takes (templates/rbac/drainer.yaml): a WebSocket begins with GET, and newer API servers ask for `create` of it as well. */
function rightsToDrain(namespace: string): readonly Right[] {
  return ['get', 'create'].map((verb): Right => ({ group: '', resource: 'pods/portforward', verb, namespace }));
}

/** What the caller may not do of what ending proxies takes. */
export async function readUndrainable(target: Target, namespace: string): Promise<readonly string[]> {
  return target.refused === undefined ? [] : summed(await target.refused(rightsToDrain(namespace)));
}

/** Errors: SP485 (exit 4) where proxies of a namespace may not be reached; nothing was written. */
export async function assertMayDrain(target: Target, namespace: string): Promise<void> {
  refuse(await readUndrainable(target, namespace), namespace, 'drainer');
}

/** What the caller may not do of what these steps write, as the authorizer says now: `patch pods in shop`. Empty where it gives no word. */
export async function readRefused(target: Target, steps: readonly Step[]): Promise<readonly string[]> {
  return target.refused === undefined ? [] : summed(await target.refused(rightsFor(steps, [VERBS])));
}

/** What the caller could not take back of these steps. */
export async function readOneWay(target: Target, steps: readonly Step[]): Promise<readonly string[]> {
  return target.refused === undefined ? [] : summed(await target.refused(rightsFor(steps, [BACK])));
}

/**
 * Asks the authorizer before the first write whether all of it may be written, so that nothing stops half-way for want of a right. `role`: of
 * templates/rbac, which brings them. Errors: SP485 (exit 4), nothing was written.
 */
export async function assertMayWrite(
  target: Target,
  steps: readonly Step[],
  namespace: string,
  role: string,
): Promise<void> {
  refuse(await readRefused(target, steps), namespace, role);
}

function refuse(refused: readonly string[], namespace: string, role: string): void {
  if (refused.length === 0) return;
  throw new Failure({
    code: 'SP485',
    exit: EXIT.cluster,
    message: safeText(`you may not ${listed(refused)}; nothing was written`),
    where: safeText(namespace),
    hint: `bind sallyport-${role} (templates/rbac/${role}.yaml); sallyport doctor --role ${role} --namespace ${safeText(namespace)} names all that is missing`,
  });
}

/** Of steps that could be written and not taken back: a remark for people; undefined where there are none. */
export async function oneWayRemark(target: Target, steps: readonly Step[]): Promise<string | undefined> {
  const refused = await readOneWay(target, steps);
  return refused.length === 0 ? undefined : `you may not ${listed(refused)}: somebody else has to take this back`;
}

import { buildConnectionInventory } from '../inventory/build.ts';
import { changedConnections, portsWithout } from '../model/connectivity.ts';
import type { Edge } from '../model/edge.ts';
import { endpointNamespace, formatEdge } from '../model/edge.ts';
import { compileWorld, evaluateConnection, isIsolated } from '../model/evaluate.ts';
import type { Snapshot, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, isObject, refKey, refOf } from '../model/object.ts';
import { phaseIndex } from '../model/phase.ts';
import type { World } from '../model/world.ts';
import { isOwn } from '../objects/build.ts';
import { driftOf } from '../plan/drift.ts';
import { showValue } from '../shared/pure/mask.ts';
import { groupBy } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';
import { isOtherPolicy } from './objects.ts';
import type { Change, WatchRecord, WatchState } from './state.ts';
import { clear, openUnder, raise, tell } from './state.ts';

/** Pairs and edges that are named; the rest is counted. */
const MOST_NAMED = 10;
/** Pairs that are looked at before counting ends. */
const MOST_PAIRS = 100_000;

export function isEnforced(state: WatchState, namespace: string): boolean {
  return phaseIndex(state.record.phases.get(namespace) ?? 'none') >= phaseIndex('allow-list');
}

export function enforcedNamespaces(state: WatchState): readonly string[] {
  return [...state.record.phases.keys()].filter((namespace) => isEnforced(state, namespace)).sort();
}

/** Is one object as it was left? `object` is undefined where it is not there. */
export function judgeDrift(change: Change, key: string, object: KubeManifest | undefined): void {
  const fields = change.state.expected.get(key);
  if (fields === undefined) return;
  const all = driftOf(fields, object, change.state.record.resolved);
  // Of an object that is gone every field is: that is one matter.
  const found = new Map(
    (object === undefined ? all.slice(0, 1) : all).map((one) => [
      `drift\n${key}\n${object === undefined ? '' : one.path}`,
      one,
    ]),
  );
  for (const { key: open } of openUnder(change.state, `drift\n${key}\n`))
    if (!found.has(open)) clear(change, open, 'as Sallyport left it again');
  const [first] = fields;
  for (const [name, one] of found) {
    const isGone = object === undefined;
    const [ours, now] = isGone ? ['there', 'gone'] : [showValue(one.field, one.ours), showValue(one.field, one.now)];
    raise(change, {
      kind: 'drift',
      key: name,
      severity: 'error',
      since: change.now,
      ...(first === undefined ? {} : { namespace: first.step.namespace }),
      subject: one.object,
      text: isGone
        ? `${one.object} is gone (since step ${one.step})`
        : `${one.object} ${one.path}: ours ${ours}, now ${now} (since step ${one.step})`,
      object: one.object,
      path: isGone ? '' : one.path,
      step: one.step,
      ours,
      now,
    });
  }
}

export function judgeAllDrift(change: Change): void {
  const { expected, objects } = change.state;
  for (const { key } of openUnder(change.state, 'drift\n'))
    if (!expected.has(key.split('\n')[1] ?? '')) clear(change, key, 'not ours any more');
  for (const key of expected.keys()) {
    // `group/Kind/namespace/name`, of which neither the group nor a name holds a slash.
    const namespace = key.split('/')[2] ?? '';
    judgeDrift(change, key, objects.get(namespace)?.get(key));
  }
}

/** Which workloads of a namespace no policy isolates, from the objects of that namespace and of the cluster alone. */
export function judgeProtection(change: Change, namespace: string): void {
  const { state } = change;
  const prefix = `unprotected\n${namespace}/`;
  if (!isEnforced(state, namespace) || !state.objects.has(namespace)) {
    for (const { key } of openUnder(state, prefix)) clear(change, key, 'not enforced here any more');
    return;
  }
  judgeWorkloads(change, namespace, namespaceWorld(state, namespace));
}

function judgeWorkloads(
  change: Change,
  namespace: string,
  world: World,
  workloads: readonly Workload[] = world.inventory.workloads.filter((one) => one.namespace === namespace),
): void {
  const prefix = `unprotected\n${namespace}/`;
  const found = new Map<string, ('ingress' | 'egress')[]>();
  const directions = enforcedDirections(change.state, namespace);
  for (const workload of workloads) {
    // No policy reaches what runs in the network of its node.
    if (workload.podSets.length > 0 && workload.podSets.every(({ hostNetwork }) => hostNetwork)) continue;
    const open = directions.filter((direction) => isIsolated(world, workload.id, direction).isolated === 'no');
    if (open.length > 0) found.set(`unprotected\n${workload.id}`, open);
  }
  for (const { key } of openUnder(change.state, prefix)) if (!found.has(key)) clear(change, key, 'isolated, or gone');
  for (const [key, open] of found) {
    const workload = key.slice('unprotected\n'.length);
    raise(change, {
      kind: 'unprotected',
      key,
      severity: 'error',
      since: change.now,
      namespace,
      subject: workload,
      text: `${workload} is isolated by no policy: ${open.join(' and ')}`,
      workload,
      directions: open,
    });
  }
}

/** The directions that Sallyport's own policies of the namespace close: what it never closed is not missed. */
function enforcedDirections(state: WatchState, namespace: string): readonly ('ingress' | 'egress')[] {
  const closed = closedDirections(state.record).get(namespace);
  return (['ingress', 'egress'] as const).filter((direction) => closed === undefined || closed.has(direction));
}

const closedOf = new WeakMap<WatchRecord, ReadonlyMap<string, ReadonlySet<string>>>();

function closedDirections(record: WatchRecord): ReadonlyMap<string, ReadonlySet<string>> {
  const known = closedOf.get(record);
  if (known !== undefined) return known;
  const out = new Map<string, Set<string>>();
  for (const { namespace, step } of record.applied) {
    if (step.phase !== 'allow-list' || step.direction === undefined) continue;
    const own = out.get(namespace);
    if (own === undefined) out.set(namespace, new Set([step.direction]));
    else own.add(step.direction);
  }
  closedOf.set(record, out);
  return out;
}

function namespaceWorld(state: WatchState, namespace: string): World {
  const shared = [...(state.objects.get('')?.values() ?? [])].filter(
    (object) => isOtherPolicy(object) || (isObject(object, '', 'Namespace') && object.metadata.name === namespace),
  );
  const snapshot: Snapshot = {
    source: 'cluster',
    objects: [...shared, ...(state.objects.get(namespace)?.values() ?? [])],
    origins: new Map(),
    findings: [],
    unread: [],
  };
  const own = buildConnectionInventory(snapshot, { config: state.config });
  // What the CNI is and does is a fact of the whole cluster.
  return compileWorld(state.world === undefined ? own : { ...own, facts: state.world.inventory.facts });
}

export function judgeAllProtection(change: Change): void {
  const { world, stale } = change.state;
  const enforced = new Set(enforcedNamespaces(change.state));
  for (const { key, namespace } of openUnder(change.state, 'unprotected\n'))
    if (namespace !== undefined && !enforced.has(namespace)) clear(change, key, 'not enforced here any more');
  // Before there is a world the first one is awaited: it comes with the record.
  if (world === undefined) return;
  if (stale) {
    for (const namespace of enforced) judgeProtection(change, namespace);
    return;
  }
  const workloads = groupBy(world.inventory.workloads, ({ namespace }) => namespace);
  for (const namespace of enforced) judgeWorkloads(change, namespace, world, workloads.get(namespace) ?? []);
}

/** Edges that must work and that only the second world denies. */
function newlyDenied(before: World, after: World, edges: readonly Edge[]): readonly string[] {
  return edges
    .filter(
      (edge) =>
        evaluateConnection(after, edge).answer === 'denied' && evaluateConnection(before, edge).answer !== 'denied',
    )
    .map(formatEdge);
}

/** What somebody's change of NetworkPolicies of one namespace opened and closed. */
export function judgePolicyChange(
  change: Change,
  namespace: string,
  objects: readonly KubeManifest[],
  before: World,
  after: World,
): void {
  let opened = 0;
  let closed = 0;
  const examples: string[] = [];
  for (const one of changedConnections(before, after)) {
    const more = portsWithout(one.after.allowed, one.before.allowed);
    const less = portsWithout(one.before.allowed, one.after.allowed);
    if (less.length > 0) closed += 1;
    if (more.length > 0) {
      opened += 1;
      const [port] = more;
      if (examples.length < MOST_NAMED && port !== undefined)
        examples.push(
          `${one.src} -> ${one.dst} ${port.from}${port.to === port.from ? '' : `-${port.to}`}/${port.protocol}${more.length > 1 ? ', ...' : ''}`,
        );
    }
    if (opened + closed >= MOST_PAIRS) break;
  }
  const denies = newlyDenied(before, after, change.state.keptByNamespace.get(namespace) ?? []);
  if (opened + closed + denies.length === 0) return;
  tellPolicies(change, namespace, objects, { opened, closed, examples, denies });
}

/** Policies that are not compared pair by pair: what they deny of the edges on record. */
export function judgeOtherPolicies(change: Change, objects: readonly string[], before: World, after: World): void {
  const denies = newlyDenied(before, after, change.state.record.kept);
  tell(change, {
    kind: 'policy-changed',
    key: `policy-changed\n${objects.join(' ')}\n${change.now}`,
    severity: denies.length > 0 ? 'error' : 'warning',
    since: change.now,
    subject: objects[0] ?? '',
    text: `${few(objects)} changed${denies.length === 0 ? '' : `: ${plural(denies.length, 'edge')} on record denied`}`,
    object: objects[0] ?? '',
    opened: null,
    closed: null,
    examples: [],
    denies: denies.slice(0, MOST_NAMED),
  });
}

function tellPolicies(
  change: Change,
  namespace: string,
  objects: readonly KubeManifest[],
  found: {
    readonly opened: number;
    readonly closed: number;
    readonly examples: readonly string[];
    readonly denies: readonly string[];
  },
): void {
  const names = objects.map((object) => formatRef(refOf(object)));
  const isEnforcedHere = isEnforced(change.state, namespace);
  // A run writes before its record is read again; what of ours is not as recorded is drift, and told as that.
  const isOurs = objects.every((object) => isOwn(object));
  const severity =
    found.denies.length > 0 ? 'error' : found.opened > 0 && isEnforcedHere && !isOurs ? 'warning' : 'info';
  const many = (count: number): string => `${count >= MOST_PAIRS ? 'at least ' : ''}${plural(count, 'pair')}`;
  tell(change, {
    kind: 'policy-changed',
    key: `policy-changed\n${names.join(' ')}\n${change.now}`,
    severity,
    since: change.now,
    namespace,
    subject: names[0] ?? '',
    text: `${few(names)} changed: opens ${many(found.opened)}, closes ${many(found.closed)}${found.denies.length === 0 ? '' : `, denies ${plural(found.denies.length, 'edge')} on record`}`,
    object: names[0] ?? '',
    opened: found.opened,
    closed: found.closed,
    examples: found.examples,
    denies: found.denies.slice(0, MOST_NAMED),
  });
}

function few(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`;
}

/** Edges by the namespaces of their ends. */
export function byNamespace(edges: readonly Edge[]): ReadonlyMap<string, readonly Edge[]> {
  const out = new Map<string, Edge[]>();
  for (const edge of edges)
    for (const namespace of new Set([endpointNamespace(edge.src), endpointNamespace(edge.dst)])) {
      if (namespace === undefined) continue;
      const list = out.get(namespace);
      if (list === undefined) out.set(namespace, [edge]);
      else list.push(edge);
    }
  return out;
}

/** `refKey` of what an event is about. */
export function keyOf(object: KubeManifest): string {
  return refKey(refOf(object));
}

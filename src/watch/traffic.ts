import type { EdgeKey, Endpoint } from '../model/edge.ts';
import { endpointKey, endpointNamespace, formatEdge, formatPort } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { declaredPorts } from '../flows/attribute.ts';
import type { Sighting } from '../plan/soak.ts';
import { edgesMeant } from '../plan/soak.ts';
import { plural } from '../shared/pure/text.ts';
import type { DeniedAttempt } from './denied.ts';
import { classifyDenied } from './denied.ts';
import type { Change, Draft, Suspect, WatchState } from './state.ts';
import {
  FORGET_MS,
  MOST_ATTEMPTS,
  MOST_INVENTED,
  MOST_OPEN,
  MOST_SUSPECTS,
  QUIET_MS,
  clear,
  openUnder,
  raise,
} from './state.ts';

/** Targets that are named; the rest is counted. */
const MOST_NAMED = 5;

/** Takes what flows showed: new callers, and connections that were denied. */
export function takeSightings(change: Change, sightings: readonly Sighting[]): void {
  const touched = new Set<string>();
  for (const sighting of sightings) {
    if (sighting.verdict === 'denied') takeDenied(change, sighting, touched);
    else if (sighting.opens && sighting.verdict !== 'unknown') takePassed(change, sighting);
  }
  for (const key of touched) judgeSuspect(change, key);
}

function takePassed(change: Change, sighting: Sighting): void {
  const { state } = change;
  const { key } = sighting;
  if (key.src.kind === 'unknown' || key.dst.kind === 'unknown' || key.port === 0) return;
  if (state.edgeIds.has(sighting.id) || edgesMeant(state.known, sighting, false).length > 0) return;
  // Anybody outside may come to a door that is open to the outside.
  if (key.src.kind === 'external' && state.known.outside.has(`${endpointKey(key.dst)}\n${key.protocol}\n${key.port}`))
    return;
  const name = `new-caller\n${sighting.id}`;
  // One more connection of it is no news.
  if (state.open.has(name)) return;
  const namespace = endpointNamespace(key.dst) ?? endpointNamespace(key.src);
  const notice: Draft = {
    kind: 'new-caller',
    key: name,
    severity: 'warning',
    since: sighting.at,
    ...(namespace === undefined ? {} : { namespace }),
    subject: sighting.id,
    text: `${formatEdge(key)} is on no record`,
    edge: sighting.id,
    source: endpointKey(key.src),
    ...withAddress(addressOf(key.src)),
    destination: endpointKey(key.dst),
    port: formatPort(key),
    count: sighting.count,
  };
  raise(change, notice, isOfCluster(state, endpointKey(key.src)) ? MOST_OPEN : MOST_INVENTED);
}

const ids = new WeakMap<Inventory, ReadonlySet<string>>();

/** Is the source a workload of the cluster? Whatever else it is called costs whoever sends nothing to invent. */
function isOfCluster(state: WatchState, source: string): boolean {
  const inventory = state.world?.inventory;
  if (inventory === undefined) return false;
  let known = ids.get(inventory);
  if (known === undefined) ids.set(inventory, (known = new Set(inventory.workloads.map(({ id }) => id))));
  return known.has(source);
}

/** The address of somebody outside whom no record names: a name may be anything, also what looks like an address. */
function addressOf(end: Endpoint): string | undefined {
  return end.kind === 'external' && end.name === undefined ? end.ip : undefined;
}

function withAddress(address: string | undefined): { readonly address?: string } {
  return address === undefined ? {} : { address };
}

function takeDenied(change: Change, sighting: Sighting, touched: Set<string>): void {
  const { state } = change;
  const { key } = sighting;
  // Of a source that cannot be told only its address is left to tell it from others.
  const source = endpointKey(key.src);
  const target = `${endpointKey(key.dst)} ${formatPort(key)}`;
  const before = state.suspects.get(source);
  const known = before?.attempts.get(target);
  const attempt: DeniedAttempt =
    known === undefined
      ? {
          ...factsOf(state, key, sighting),
          count: sighting.count,
          first: sighting.at,
          last: sighting.at,
        }
      : {
          ...known,
          count: known.count + sighting.count,
          first: Math.min(known.first, sighting.at),
          last: Math.max(known.last, sighting.at),
        };
  const isFull = known === undefined && (before?.attempts.size ?? 0) >= MOST_ATTEMPTS;
  const attempts = isFull ? (before?.attempts ?? new Map()) : new Map(before?.attempts).set(target, attempt);
  const suspect: Suspect = {
    key: source,
    sourceKind: key.src.kind,
    address: before !== undefined && before.address === undefined ? undefined : addressOf(key.src),
    namespace: endpointNamespace(key.src) ?? endpointNamespace(key.dst),
    first: Math.min(before?.first ?? Infinity, sighting.at),
    last: Math.max(before?.last ?? 0, sighting.at),
    count: (before?.count ?? 0) + sighting.count,
    attempts,
    more: (before?.more ?? 0) + (isFull ? sighting.count : 0),
  };
  const suspects = new Map(state.suspects);
  // The newest stand last, so that the one to be forgotten is the first.
  suspects.delete(source);
  suspects.set(source, suspect);
  if (suspects.size > MOST_SUSPECTS) {
    // A flood of invented sources must not have a slow scan of a real one forgotten.
    let oldest: string | undefined;
    for (const one of suspects.keys()) {
      oldest ??= one;
      if (isOfCluster(state, one)) continue;
      oldest = one;
      break;
    }
    if (oldest !== undefined) suspects.delete(oldest);
  }
  change.state = { ...state, suspects };
  touched.add(source);
}

function factsOf(state: WatchState, key: EdgeKey, sighting: Sighting): Omit<DeniedAttempt, 'count' | 'first' | 'last'> {
  const target = endpointKey(key.dst);
  const source = endpointKey(key.src);
  const of = bySource(state).get(source) ?? [];
  const same = (edge: EdgeKey): boolean => edge.port === key.port && edge.protocol === key.protocol;
  return {
    target,
    targetKind: key.dst.kind,
    protocol: key.protocol,
    port: key.port,
    onRecord: edgesMeant(state.known, sighting, false).length > 0,
    declared: declares(state.world?.inventory, key.dst, key),
    otherPortOnRecord: of.some((edge) => endpointKey(edge.dst) === target && !same(edge)),
    samePortElsewhere: new Set(of.filter((edge) => same(edge)).map((edge) => endpointKey(edge.dst))).size,
  };
}

const sources = new WeakMap<WatchState['known'], ReadonlyMap<string, readonly EdgeKey[]>>();

/** Edges on record by their source; made once for a record. */
function bySource({ known }: WatchState): ReadonlyMap<string, readonly EdgeKey[]> {
  const made = sources.get(known);
  if (made !== undefined) return made;
  const out = new Map<string, EdgeKey[]>();
  for (const { edge } of known.all) {
    const key = endpointKey(edge.src);
    const list = out.get(key);
    if (list === undefined) out.set(key, [edge]);
    else list.push(edge);
  }
  sources.set(known, out);
  return out;
}

const ports = new WeakMap<Inventory, Map<string, ReadonlySet<string>>>();

function declares(inventory: Inventory | undefined, dst: Endpoint, key: EdgeKey): DeniedAttempt['declared'] {
  if (inventory === undefined || dst.kind !== 'workload' || key.port === 0) return 'unknown';
  let known = ports.get(inventory);
  if (known === undefined) ports.set(inventory, (known = new Map<string, ReadonlySet<string>>()));
  let own = known.get(dst.id);
  if (own === undefined) {
    const workload = inventory.workloads.find(({ id }) => id === dst.id);
    if (workload === undefined) return 'unknown';
    known.set(dst.id, (own = declaredPorts(workload, inventory.services)));
  }
  // Nothing obliges a container to declare what it listens at.
  return own.size === 0 ? 'unknown' : own.has(`${key.port}/${key.protocol}`) ? 'yes' : 'no';
}

function judgeSuspect(change: Change, key: string): void {
  const suspect = change.state.suspects.get(key);
  if (suspect === undefined) return;
  const attempts = [...suspect.attempts.values()];
  const judged = classifyDenied({ kind: suspect.sourceKind, attempts, more: suspect.more });
  const targets = [...new Set(attempts.map(({ target }) => target))].sort();
  const portCount = new Set(attempts.map(({ port, protocol }) => `${port}/${protocol}`)).size;
  const name = `denied\n${key}`;
  const before = change.state.open.get(name);
  // Told again when it looks like something else, or is twice as wide: not with every packet.
  if (
    before?.kind === 'denied' &&
    before.class === judged.class &&
    targets.length < before.targetCount * 2 &&
    portCount < before.portCount * 2
  )
    return;
  const namespace = mostTried(suspect) ?? suspect.namespace;
  const notice: Draft = {
    kind: 'denied',
    key: name,
    severity: judged.class === 'attack-like' ? 'error' : judged.class === 'unclear' ? 'info' : 'warning',
    since: suspect.first,
    ...(namespace === undefined ? {} : { namespace }),
    subject: key,
    text: `${key} was denied at ${plural(targets.length, 'target')}, ${plural(portCount, 'port')}: ${judged.class}${judged.reasons.length === 0 ? '' : ` (${judged.reasons.join('; ')})`}`,
    class: judged.class,
    reasons: judged.reasons,
    source: key,
    ...withAddress(suspect.address),
    targets: targets.slice(0, MOST_NAMED),
    targetCount: targets.length,
    portCount,
    count: suspect.count,
  };
  raise(change, notice, isOfCluster(change.state, key) ? MOST_OPEN : MOST_INVENTED);
}

/**
 * Of a source of no namespace: the one in which it tried most. Not that of its last packet, by which whoever sends it would choose where he is answered: away
 * from what he is after, or in a namespace where nothing runs by itself.
 */
function mostTried({ sourceKind, attempts }: Suspect): string | undefined {
  if (sourceKind === 'workload') return undefined;
  const counts = new Map<string, number>();
  for (const { target, targetKind } of attempts.values()) {
    const [namespace = ''] = targetKind === 'workload' ? target.split('/') : [];
    if (namespace !== '') counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
  }
  let found: string | undefined;
  for (const [namespace, count] of counts) if (count > (counts.get(found ?? '') ?? 0)) found = namespace;
  return found;
}

/** Sources that are quiet, and those that are forgotten. */
export function agePassed(change: Change): void {
  const { now } = change;
  const isOld = [...change.state.suspects.values()].filter(({ last }) => now - last > FORGET_MS);
  if (isOld.length > 0) {
    const suspects = new Map(change.state.suspects);
    for (const { key } of isOld) suspects.delete(key);
    change.state = { ...change.state, suspects };
  }
  for (const { key, subject } of openUnder(change.state, 'denied\n')) {
    const suspect = change.state.suspects.get(subject);
    if (suspect === undefined || now - suspect.last > QUIET_MS) clear(change, key, 'quiet');
  }
}

/** New callers that a person has judged, or that are on no record any more. */
export function settleCallers(change: Change): void {
  const review = new Map(change.state.record.edges.map((edge) => [edge.id, edge.review]));
  for (const notice of openUnder(change.state, 'new-caller\n')) {
    const now = review.get(notice.subject);
    if (now !== undefined && now !== 'unreviewed') clear(change, notice.key, `reviewed as ${now}`);
  }
}

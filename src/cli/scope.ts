import { chooseSelector } from '../candidates/selector.ts';
import { findSystemPeers } from '../candidates/system.ts';
import { MAX_UNREVIEWED_TARGETS, isSensitive, newestPartOf } from '../flows/corroborate.ts';
import { EPHEMERAL_FIRST, EPHEMERAL_LAST, foldEdges } from '../flows/fold.ts';
import { LEAST_SCAN } from '../flows/review.ts';
import { sidecarServers } from '../flows/sidecar.ts';
import type { Decision, Query } from '../model/decision.ts';
import type { Edge, Endpoint } from '../model/edge.ts';
import { endpointKey, endpointNamespace } from '../model/edge.ts';
import type { PastGrant } from '../model/grant.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import { namespaceOf } from '../model/object.ts';
import { isOwn } from '../objects/build.ts';
import type { Plan } from '../plan/plan.ts';
import { bearingOf } from '../plan/simulate.ts';
import { compareText } from '../shared/pure/order.ts';
import type { Reader } from '../../state/reader.ts';

/**
 * Which edges a command speaks of. `touching`: those that begin or end in the namespaces, for what is judged edge by edge. `planning`: what a
 * plan of the namespace, its gates and its way back rest on. `calls`: what tells which namespaces call which, for their order; no plan.
 */
export type Scope =
  | { readonly kind: 'all' }
  | { readonly kind: 'none' }
  | { readonly kind: 'calls' }
  | { readonly kind: 'touching'; readonly namespaces: readonly string[] }
  | { readonly kind: 'planning'; readonly namespace: string };

/**
 * The part of the record in which all edges are that a query selects: those of a namespace, where it spells one out for either end. An age is
 * reckoned from the newest edge on record, wherever that is.
 */
export function scopeOfQuery({ ns, src, dst, before }: Query): Scope {
  const named = [ns, namespaceOfPattern(src), namespaceOfPattern(dst)].find((one) => one?.includes('*') === false);
  const ofAge = before !== undefined && !before.includes('-');
  return named === undefined || ofAge ? { kind: 'all' } : { kind: 'touching', namespaces: [named] };
}

/** `shop/Deployment/*` is about workloads of shop; an endpoint of another kind has no slash before its name. */
function namespaceOfPattern(pattern: string | undefined): string | undefined {
  const slash = pattern?.indexOf('/') ?? -1;
  const text = pattern?.slice(0, Math.max(0, slash)) ?? '';
  return text === '' || text.includes(':') ? undefined : text;
}

/** Namespaces whose edges are looked up one by one. */
const MANY = 20;

/** A part of the record: every answer about what it was asked for is the one that the whole record gives. */
export interface EdgePart {
  /** By id, ephemeral ports folded. */
  readonly observed: readonly Edge[];
  /** Is an edge that configuration declares a matter of this part? Of others it is not known whether they were seen. */
  readonly holds: (declared: Edge) => boolean;
  /** To be called with the declared edges of each state that is looked at. */
  readonly note: (declared: readonly Edge[]) => void;
  /** The part that a plan made from this one turns out to need; undefined where this one is enough. */
  readonly beyond: (plan: Pick<Plan, 'steps'>) => EdgePart | undefined;
}

interface World {
  readonly inventory: Inventory;
  readonly snapshot: Snapshot;
  readonly decisions: readonly Decision[];
  readonly granted: readonly PastGrant[];
}

interface Asked {
  /** Namespaces of which every edge is there. */
  readonly whole: ReadonlySet<string>;
  /** Workloads of other namespaces of which every edge is there. */
  readonly peers: ReadonlySet<string>;
}

/**
 * Reads the part. What of the record a plan of one namespace rests on, beside the edges that touch the namespace:
 * - of peers with objects of ours in their namespace all edges, since a plan opens their policies, and a policy names every caller;
 * - of sources outside that reach very many, or many rarely, all edges: whether they scan is told by all that they reach (flows/review.ts,
 *   flows/corroborate.ts); the state counts without reading which these are;
 * - of sensitive workloads that it calls anew, all edges: whether the caller or the workload is new (flows/corroborate.ts);
 * - of every namespace in which a step of the plan writes, all edges: the simulation judges them. Which these are the plan itself shows, so it
 *   is made again with them (`beyond`). A step that acts on the whole cluster wants the whole record.
 */
export function readPart(reader: Reader, world: World, scope: Scope): EdgePart {
  switch (scope.kind) {
    case 'all':
      return wholeRecord(reader, world.inventory);
    case 'none':
      return { observed: [], holds: () => false, note: () => undefined, beyond: () => undefined };
    case 'calls':
      return callsPart(reader, world);
    case 'touching': {
      const whole = new Set(scope.namespaces);
      // Of many namespaces most of the record: it is read once from end to end.
      const recorded =
        scope.namespaces.length > MANY
          ? reader.edges().filter((edge) => ends(edge).some((end) => isIn(end, whole)))
          : reader.edgesOf({ namespaces: scope.namespaces });
      const observed = foldEdges(recorded, world.inventory);
      return {
        observed,
        holds: (edge) => ends(edge).some((end) => isIn(end, whole)),
        note: () => undefined,
        beyond: () => wholeRecord(reader, world.inventory),
      };
    }
    case 'planning':
      return planningPart(reader, world, { whole: new Set([scope.namespace]), peers: new Set() });
  }
}

function wholeRecord(reader: Reader, inventory: Inventory): EdgePart {
  return {
    observed: foldEdges(reader.edges(), inventory),
    holds: () => true,
    note: () => undefined,
    beyond: () => undefined,
  };
}

/**
 * What `readiness/waves.ts` asks of edges: for two namespaces whether any edge between them must keep working, and of those over TCP the one with
 * the least id. An edge of which nothing is special stands for all others of its pair of namespaces. Special, and read whole, are those that may
 * turn out to be cut (accepted, or passed under a grant), that are folded, that only a sidecar makes, or that configuration declares as well.
 */
function callsPart(reader: Reader, { inventory, decisions, granted }: World): EdgePart {
  const between = ({ src, dst }: Pick<Edge, 'src' | 'dst'>): boolean => {
    const [from, to] = [endpointNamespace(src), endpointNamespace(dst)];
    return from !== undefined && to !== undefined && from !== to;
  };
  const observed = reader.calls({
    ids: decisions.flatMap(({ action, matched }) => (action === 'accept' ? matched : [])),
    to: sidecarServers(inventory),
    pairs: [
      ...inventory.declared.filter(between).map(({ src, dst }) => [endpointKey(src), endpointKey(dst)] as const),
      ...granted.flatMap(({ mark: { connection } }) =>
        connection === undefined ? [] : [[connection.src, connection.dst] as const],
      ),
    ],
    ephemeral: [EPHEMERAL_FIRST, EPHEMERAL_LAST],
    byPort: decisions.some(({ action, query }) => action === 'waive' && query.gate === 'plaintext'),
  });
  return {
    observed: foldEdges(observed, inventory),
    holds: between,
    note: () => undefined,
    beyond: () => wholeRecord(reader, inventory),
  };
}

function planningPart(reader: Reader, world: World, asked: Asked): EdgePart {
  const { inventory } = world;
  const { whole } = asked;
  const opened = openedNamespaces(world.snapshot);
  const found = new Map<string, Edge>();
  const take = (edges: readonly Edge[]): void => {
    for (const edge of edges) found.set(edge.id, edge);
  };
  take(reader.edgesOf({ namespaces: [...whole] }));
  const touching = [...found.values()];

  const workloads = new Map(inventory.workloads.map((workload) => [workload.id, workload]));
  const sharing = world.decisions.some(({ action, query }) => action === 'waive' && query.gate === 'selector');
  /** The peer, and those that a person wants to be selected together with it. */
  const withTwins = (id: string): readonly string[] => {
    const workload = sharing ? workloads.get(id) : undefined;
    const choice = workload === undefined ? undefined : chooseSelector(workload, inventory);
    return choice?.kind === 'shared' ? [id, ...choice.also] : [id];
  };
  const isPeer = (end: Endpoint): end is Extract<Endpoint, { readonly kind: 'workload' }> =>
    end.kind === 'workload' && !isIn(end, whole) && opened.has(endpointNamespace(end) ?? '');
  const span = reader.span();
  const newSince = span === undefined ? undefined : newestPartOf(span);
  const peers = new Set(asked.peers);
  for (const edge of touching) {
    for (const end of ends(edge)) if (isPeer(end)) for (const id of withTwins(end.id)) peers.add(id);
    const { dst } = edge;
    if (newSince === undefined || edge.first < newSince || dst.kind !== 'workload' || isIn(dst, whole)) continue;
    if (isSensitive(workloads.get(dst.id))) peers.add(dst.id);
  }
  const istiod = findSystemPeers(inventory).istiod?.workload;
  if (istiod !== undefined && isPeer({ kind: 'workload', id: istiod }))
    for (const id of withTwins(istiod)) peers.add(id);
  if (peers.size > 0) take(reader.edgesOf({ workloads: [...peers] }));

  const sources = new Map<string, Endpoint>();
  for (const { src } of touching) {
    if (src.kind === 'node' || src.kind === 'api-server' || isIn(src, whole)) continue;
    if (src.kind !== 'workload' || !peers.has(src.id)) sources.set(endpointKey(src), src);
  }
  const wide = reader.wideSources([...sources.values()], { targets: MAX_UNREVIEWED_TARGETS + 1, ...LEAST_SCAN });
  if (wide.length > 0) take(reader.edgesOf({ sources: wide.flatMap((key) => sources.get(key) ?? []) }));

  const declaredPeers = new Set<string>();
  return {
    observed: foldEdges(
      [...found.values()].sort((a, b) => compareText(a.id, b.id)),
      inventory,
    ),
    holds: (edge) => ends(edge).some((end) => isIn(end, whole) || (end.kind === 'workload' && peers.has(end.id))),
    note: (declared) => {
      for (const edge of declared) {
        if (!ends(edge).some((end) => isIn(end, whole))) continue;
        for (const end of ends(edge))
          if (isPeer(end)) for (const id of withTwins(end.id)) if (!peers.has(id)) declaredPeers.add(id);
      }
    },
    beyond: (plan) => {
      const bearings = plan.steps.map((step) => bearingOf(step, inventory.facts.mesh.rootNamespace));
      if (bearings.includes('everywhere')) return wholeRecord(reader, inventory);
      const more = bearings.flat().filter((namespace) => !whole.has(namespace));
      if (more.length === 0 && declaredPeers.size === 0) return undefined;
      return planningPart(reader, world, {
        whole: new Set([...whole, ...more]),
        peers: new Set([...asked.peers, ...declaredPeers]),
      });
    },
  };
}

/** Namespaces with an object that a plan of another namespace may open: ours by its mark, or by the names that ours have. */
function openedNamespaces(snapshot: Snapshot): ReadonlySet<string> {
  const found = new Set<string>();
  for (const object of snapshot.objects)
    if (isOwn(object) || object.metadata.name.startsWith('sallyport-')) found.add(namespaceOf(object) ?? '');
  return found;
}

function ends({ src, dst }: Edge): readonly [Endpoint, Endpoint] {
  return [src, dst];
}

function isIn(end: Endpoint, namespaces: ReadonlySet<string>): boolean {
  const namespace = endpointNamespace(end);
  return namespace !== undefined && namespaces.has(namespace);
}

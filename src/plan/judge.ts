import type { ConnectionVerdict, World } from '../model/evaluate.ts';
import { compileWorld, evaluateConnection, worldOf } from '../model/evaluate.ts';
import type { Edge, Endpoint } from '../model/edge.ts';
import { endpointKey, endpointNamespace, namespaceOfWorkload } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { touchBetween, touchesWorkload } from '../model/world-touch.ts';

export type Verdicts = ReadonlyMap<string, ConnectionVerdict>;

/** Namespaces whose edges a step can change. */
export type Bearing = 'everywhere' | readonly string[];

function pairKey(edge: Edge): string {
  return `${endpointKey(edge.src)}\n${endpointKey(edge.dst)}\n${edge.protocol}\n${edge.port}`;
}

/** Edges with a request on record for the same pair and port: the bare connection is judged through them where only a request can be. */
function withRequests(edges: readonly Edge[]): ReadonlySet<string> {
  const found = new Set<string>();
  for (const edge of edges) if (edge.l7 !== undefined) found.add(pairKey(edge));
  return found;
}

/** Judges every edge in one state. What differs in nothing that the evaluator looks at is evaluated once. */
export function judgeEdges(inventory: Inventory, edges: readonly Edge[]): Verdicts {
  const world = worldOf(inventory);
  const requests = withRequests(edges);
  const known = new Map<string, ConnectionVerdict>();
  const evaluate: Evaluate = (edge) => {
    const key = evaluatedKey(world, edge);
    const before = known.get(key);
    if (before !== undefined) return before;
    const verdict = evaluateConnection(world, edge);
    known.set(key, verdict);
    return verdict;
  };
  const verdicts = new Map<string, ConnectionVerdict>();
  for (const edge of edges) verdicts.set(edge.id, judgeEdge(evaluate, edge, requests));
  return verdicts;
}

/** All of a connection that `evaluateConnection` looks at. Requests are for the mesh alone, and the mesh is for TCP (`judgeMesh`). */
function evaluatedKey({ inventory }: World, { src, dst, protocol, port, endPort, l7 }: Edge): string {
  const request = protocol !== 'TCP' || inventory.facts.mesh.kind === 'none' ? '' : (l7 ?? '');
  return `${wholeEnd(src)}\n${wholeEnd(dst)}\n${protocol}\n${port}\n${endPort ?? ''}\n${request}`;
}

/** The key of an endpoint is its name; an address beside the name, and why an end is not known, matter to the evaluator too. */
function wholeEnd(end: Endpoint): string {
  return end.kind === 'workload' ? end.id : JSON.stringify(end);
}

type Evaluate = (edge: Edge) => ConnectionVerdict;

function evaluatorOf(world: World): Evaluate {
  return (edge) => evaluateConnection(world, edge);
}

function judgeEdge(evaluate: Evaluate, edge: Edge, requests: ReadonlySet<string>): ConnectionVerdict {
  const verdict = evaluate(edge);
  const throughRequests =
    verdict.answer === 'unknown' &&
    edge.l7 === undefined &&
    requests.has(pairKey(edge)) &&
    verdict.reasons.every((reason) => reason.decision !== 'unknown' || reason.layer === 'authorization');
  return throughRequests ? { ...verdict, answer: 'allowed' } : verdict;
}

/** An edge that is looked at anew in a state. */
export interface Judged {
  readonly edge: Edge;
  readonly verdict: ConnectionVerdict;
}

/**
 * The edges of states that follow each other. Each is judged when a step first bears on it, and again where what differs between two states can
 * change its verdict (model/world-touch.ts); a verdict that stands is not told again.
 */
export interface Judge {
  /** Verdicts in the state that it was opened with, of the edges that were asked for. */
  readonly before: Verdicts;
  /** Asks for them. */
  judge(bearing: Bearing): void;
  /** Begins a row of states of which `near` tells. */
  begin(): void;
  /** The next state, and what a step bears on there: edges that were not told before, or whose verdict may differ. In no order. */
  next(inventory: Inventory, edges: readonly Edge[], bearing: Bearing): readonly Judged[];
  /** Ids of all edges that steps of this row bore on. */
  readonly near: ReadonlySet<string>;
}

/** Edges by what they are looked up by. */
interface Book {
  readonly byNamespace: Map<string, Set<Edge>>;
  readonly byWorkload: Map<string, Set<Edge>>;
  /** Those with an end that is not attributed. */
  readonly unattributed: Set<Edge>;
}

const NONE: ReadonlySet<Edge> = new Set();

/** `within`: namespaces beyond which no step will bear; edges elsewhere are left aside. */
export function openJudge(inventory: Inventory, whole: readonly Edge[], within: Bearing = 'everywhere'): Judge {
  const edges = edgesWithin(whole, within);
  const before = new Map<string, ConnectionVerdict>();
  const asked = new Set<string>();
  let compiled: World | undefined;
  const first = (): World => (compiled ??= compileWorld(inventory));
  let near = new Set<string>();
  let nearNamespaces = new Set<string>();

  let [now, listed] = [inventory, edges];
  let listedWhole = whole;
  let world: World | undefined;
  const book: Book = { byNamespace: new Map(), byWorkload: new Map(), unattributed: new Set() };
  let requests: ReadonlySet<string> = new Set();
  const verdicts = new Map<Edge, ConnectionVerdict>();
  /** To be told, by namespace; edges without one are told of everywhere alone. */
  const open = new Map<string, Set<Edge>>();
  const openAll = new Set<Edge>();
  /** Edges whose verdict may have changed since the first state. */
  const moved = new Set<Edge>();
  let isOpened = false;

  const startEdges = { list: edges, requests: undefined as ReadonlySet<string> | undefined };
  const namespacesOf = (edge: Edge): readonly string[] => {
    const [src, dst] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
    return src === undefined ? (dst === undefined ? [] : [dst]) : dst === undefined || dst === src ? [src] : [src, dst];
  };

  const enter = (edge: Edge): void => {
    for (const namespace of namespacesOf(edge)) put(book.byNamespace, namespace, edge);
    for (const end of [edge.src, edge.dst]) {
      if (end.kind === 'workload') put(book.byWorkload, end.id, edge);
      if (end.kind === 'unknown') book.unattributed.add(edge);
    }
    if (namespacesOf(edge).some((namespace) => nearNamespaces.has(namespace)) || nearNamespaces.has(EVERYWHERE))
      near.add(edge.id);
    reopen(edge);
  };
  const leave = (edge: Edge): void => {
    for (const namespace of namespacesOf(edge)) {
      book.byNamespace.get(namespace)?.delete(edge);
      open.get(namespace)?.delete(edge);
    }
    for (const end of [edge.src, edge.dst]) if (end.kind === 'workload') book.byWorkload.get(end.id)?.delete(edge);
    book.unattributed.delete(edge);
    openAll.delete(edge);
    verdicts.delete(edge);
  };
  const reopen = (edge: Edge): void => {
    verdicts.delete(edge);
    moved.add(edge);
    for (const namespace of namespacesOf(edge)) put(open, namespace, edge);
    openAll.add(edge);
  };
  const close = (edge: Edge): void => {
    for (const namespace of namespacesOf(edge)) open.get(namespace)?.delete(edge);
    openAll.delete(edge);
  };

  return {
    before,
    get near() {
      return near;
    },
    judge(bearing) {
      const fresh = bearing === 'everywhere' ? [EVERYWHERE] : bearing.filter((one) => !asked.has(one));
      if (asked.has(EVERYWHERE) || fresh.every((one) => asked.has(one))) return;
      startEdges.requests ??= withRequests(startEdges.list);
      for (const edge of startEdges.list) {
        if (before.has(edge.id)) continue;
        if (bearing !== 'everywhere' && !namespacesOf(edge).some((one) => fresh.includes(one))) continue;
        const verdict = judgeEdge(evaluatorOf(first()), edge, startEdges.requests);
        before.set(edge.id, verdict);
        if (!isOpened || !moved.has(edge)) verdicts.set(edge, verdict);
      }
      for (const one of fresh) asked.add(one);
    },
    begin() {
      near = new Set();
      nearNamespaces = new Set();
    },
    next(inventory, all, bearing) {
      const edges = all === listedWhole ? listed : edgesWithin(all, within);
      listedWhole = all;
      if (!isOpened) {
        isOpened = true;
        const known = new Map(verdicts);
        for (const edge of listed) enter(edge);
        moved.clear();
        for (const [edge, verdict] of known) verdicts.set(edge, verdict);
        requests = withRequests(listed);
        world = first();
      }
      if (inventory !== now) {
        const after = compileWorld(inventory);
        touch(world ?? first(), after);
        world = after;
        now = inventory;
      }
      if (edges !== listed) {
        replaceEdges(edges);
        listed = edges;
      }
      const out: Judged[] = [];
      for (const namespace of bearing === 'everywhere' ? [EVERYWHERE] : bearing) {
        if (!nearNamespaces.has(namespace)) {
          nearNamespaces.add(namespace);
          for (const edge of namespace === EVERYWHERE ? listed : (book.byNamespace.get(namespace) ?? NONE))
            near.add(edge.id);
        }
        for (const edge of [...(namespace === EVERYWHERE ? openAll : (open.get(namespace) ?? NONE))]) {
          const verdict = verdicts.get(edge) ?? judgeEdge(evaluatorOf(world ?? first()), edge, requests);
          verdicts.set(edge, verdict);
          close(edge);
          out.push({ edge, verdict });
        }
      }
      return out;
    },
  };

  function touch(old: World, after: World): void {
    const touched = touchBetween(old, after);
    if (touched.kind === 'everything') {
      for (const edge of listed) reopen(edge);
      return;
    }
    const around = new Set(touched.selected.map(({ namespace }) => namespace));
    for (const edge of book.unattributed) reopen(edge);
    for (const namespace of touched.namespaces)
      for (const edge of book.byNamespace.get(namespace) ?? NONE) reopen(edge);
    for (const id of touched.workloads) for (const edge of book.byWorkload.get(id) ?? NONE) reopen(edge);
    if (around.size === 0) return;
    for (const [id, own] of book.byWorkload) {
      const namespace = namespaceOfWorkload(id);
      if (!around.has(namespace) || own.size === 0) continue;
      if (touchesWorkload(touched, id, namespace, [old, after])) for (const edge of own) reopen(edge);
    }
  }

  function replaceEdges(edges: readonly Edge[]): void {
    const [old, fresh] = [new Set(listed), new Set(edges)];
    const asking = new Set<string>();
    for (const edge of old)
      if (!fresh.has(edge)) {
        leave(edge);
        if (edge.l7 !== undefined) asking.add(pairKey(edge));
      }
    for (const edge of fresh)
      if (!old.has(edge)) {
        enter(edge);
        if (edge.l7 !== undefined) asking.add(pairKey(edge));
      }
    if (asking.size === 0) return;
    // Whether a bare connection is judged through its requests.
    requests = withRequests(edges);
    for (const edge of edges) if (edge.l7 === undefined && asking.has(pairKey(edge))) reopen(edge);
  }
}

function edgesWithin(edges: readonly Edge[], within: Bearing): readonly Edge[] {
  if (within === 'everywhere') return edges;
  const names = new Set(within);
  return edges.filter(({ src, dst }) =>
    [src, dst].some((end) => end.kind === 'workload' && names.has(namespaceOfWorkload(end.id))),
  );
}

/** No namespace has this name. */
const EVERYWHERE = '*';

function put(map: Map<string, Set<Edge>>, key: string, edge: Edge): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, new Set([edge]));
  else known.add(edge);
}

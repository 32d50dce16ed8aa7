import type { Edge } from './edge.ts';
import { endpointKey, endpointNamespace } from './edge.ts';

interface EdgeIndex {
  readonly src: ReadonlyMap<string, readonly Edge[]>;
  readonly dst: ReadonlyMap<string, readonly Edge[]>;
}

const indexes = new WeakMap<readonly Edge[], EdgeIndex>();

function indexOf(edges: readonly Edge[]): EdgeIndex {
  const known = indexes.get(edges);
  if (known !== undefined) return known;
  const [src, dst] = [new Map<string, Edge[]>(), new Map<string, Edge[]>()];
  for (const edge of edges) {
    push(src, endpointKey(edge.src), edge);
    push(dst, endpointKey(edge.dst), edge);
  }
  const index = { src, dst };
  indexes.set(edges, index);
  return index;
}

function push(map: Map<string, Edge[]>, key: string, edge: Edge): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [edge]);
  else list.push(edge);
}

/** Edges that begin or end at an endpoint, by its key, in the order of the list. The list is read once, however many ask. */
export function edgesAt(edges: readonly Edge[], side: 'src' | 'dst', key: string): readonly Edge[] {
  return indexOf(edges)[side].get(key) ?? [];
}

/** The same for several endpoints. */
export function edgesAtAny(edges: readonly Edge[], side: 'src' | 'dst', keys: readonly string[]): readonly Edge[] {
  const [only] = keys;
  if (only !== undefined && keys.length === 1) return edgesAt(edges, side, only);
  const found = new Set(keys.flatMap((key) => edgesAt(edges, side, key)));
  return found.size === 0 ? [] : edges.filter((edge) => found.has(edge));
}

const byNamespace = new WeakMap<readonly Edge[], ReadonlyMap<string, readonly Edge[]>>();

/** Edges that begin or end in a namespace, in the order of the list. The list is read once, however many namespaces ask. */
export function edgesTouching(edges: readonly Edge[], namespace: string): readonly Edge[] {
  let index = byNamespace.get(edges);
  if (index === undefined) {
    const made = new Map<string, Edge[]>();
    for (const edge of edges) {
      const [from, to] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
      if (from !== undefined) push(made, from, edge);
      if (to !== undefined && to !== from) push(made, to, edge);
    }
    byNamespace.set(edges, (index = made));
  }
  return index.get(namespace) ?? [];
}

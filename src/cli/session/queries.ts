// The command lines that select exactly the edges somebody marked.
import type { Edge } from '../../model/edge.ts';
import { endpointKey } from '../../model/edge.ts';

/** Ids that one query may name: a command line has an end. */
const MOST_IDS = 200;

/** What a shell or the query's own grammar would read as something else. */
const AMBIGUOUS = /[,*=\s]/;

/** A query, and the edges that it is about. */
export interface Named {
  readonly query: string;
  readonly edges: readonly Edge[];
}

/**
 * Queries that together select the marked edges of a record and no other, broad ones first: a source or a destination all of whose edges are
 * marked, then a pair, then a pair with its port; what is left by id. `given` is tried first: the filter that the edges were found by.
 */
export function queriesFor(marked: readonly Edge[], record: readonly Edge[], given?: Named): readonly Named[] {
  if (marked.length === 0) return [];
  if (given?.edges.length === marked.length) {
    const ids = new Set(marked.map((edge) => edge.id));
    if (given.edges.every((edge) => ids.has(edge.id))) return [given];
  }
  let left = marked;
  const named: Named[] = [];
  for (const { name, of } of LEVELS) {
    const all = countBy(record, of);
    const mine = countBy(left, of);
    const groups = new Map<string, Edge[]>();
    const rest: Edge[] = [];
    for (const edge of left) {
      const query = of(edge);
      const count = query === undefined ? 0 : (mine.get(query) ?? 0);
      // A broad query for one edge says more than was meant.
      if (query === undefined || count !== all.get(query) || (count === 1 && name !== 'port')) rest.push(edge);
      else {
        const group = groups.get(query);
        if (group === undefined) groups.set(query, [edge]);
        else group.push(edge);
      }
    }
    named.push(
      ...[...groups].toSorted(([one], [two]) => (one < two ? -1 : 1)).map(([query, edges]) => ({ query, edges })),
    );
    left = rest;
  }
  const byId = left.toSorted((one, two) => (one.id < two.id ? -1 : 1));
  for (let at = 0; at < byId.length; at += MOST_IDS) {
    const edges = byId.slice(at, at + MOST_IDS);
    named.push({ query: `id=${edges.map((edge) => edge.id).join('+')}`, edges });
  }
  return named;
}

const end = (name: 'src' | 'dst', edge: Edge): string | undefined => {
  const key = endpointKey(edge[name]);
  return AMBIGUOUS.test(key) ? undefined : `${name}=${key}`;
};

const both = (edge: Edge): string | undefined => {
  const [src, dst] = [end('src', edge), end('dst', edge)];
  return src === undefined || dst === undefined ? undefined : `${src},${dst}`;
};

const LEVELS: readonly { readonly name: string; readonly of: (edge: Edge) => string | undefined }[] = [
  { name: 'src', of: (edge) => end('src', edge) },
  { name: 'dst', of: (edge) => end('dst', edge) },
  { name: 'pair', of: both },
  {
    name: 'port',
    of: (edge) => {
      const pair = both(edge);
      // A folded range answers to its first port as well.
      return pair === undefined ? undefined : `${pair},port=${edge.port}/${edge.protocol}`;
    },
  },
];

function countBy(edges: readonly Edge[], of: (edge: Edge) => string | undefined): Map<string, number> {
  const counts = new Map<string, number>();
  for (const edge of edges) {
    const key = of(edge);
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** As a shell takes it, whatever is in it. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** An argument of a command line, quoted where a shell would read it otherwise. */
export function argument(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : quote(text);
}

import type { Decision } from '../model/decision.ts';
import type { Edge } from '../model/edge.ts';
import { edgeId, endpointKey } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { matchEdges } from './query.ts';

/**
 * Edges with the review that people gave them: the newest decision whose frozen list names an edge decides. A decision from a file
 * without a list takes the edges that its query matches and that were first seen before it was taken.
 */
export function reviewEdges(edges: readonly Edge[], decisions: readonly Decision[]): readonly Edge[] {
  const review = new Map<string, Edge['review']>();
  for (const decision of decisions) {
    if (decision.action === 'waive') continue;
    for (const id of matchedBy(decision, edges))
      review.set(id, decision.action === 'adopt' ? 'legitimate' : 'to-be-cut');
  }
  return edges.map((edge) => {
    const given = review.get(edge.id);
    return given === undefined || given === edge.review ? edge : { ...edge, review: given };
  });
}

/** The edges that a decision is about. */
export function matchedBy(decision: Decision, edges: readonly Edge[]): readonly string[] {
  if (decision.matched.length > 0) return decision.matched;
  return matchEdges(decision.query, edges)
    .filter((edge) => edge.first <= decision.at)
    .map((edge) => edge.id);
}

/** What configuration states and no record shows yet, as edges of their own. Strong ones are adopted by themselves. */
export function declaredEdges(inventory: Inventory, observed: readonly Edge[]): readonly Edge[] {
  const seen = new Set(
    observed.map((edge) => `${endpointKey(edge.src)}\n${endpointKey(edge.dst)}\n${edge.protocol}\n${edge.port}`),
  );
  const out = new Map<string, Edge>();
  for (const one of inventory.declared) {
    const key = `${endpointKey(one.src)}\n${endpointKey(one.dst)}\n${one.protocol}\n${one.port}`;
    if (seen.has(key)) continue;
    const id = edgeId(one);
    const known = out.get(id);
    if (known?.origin.kind === 'declared' && known.origin.strength === 'strong') continue;
    out.set(id, {
      id,
      src: one.src,
      dst: one.dst,
      protocol: one.protocol,
      port: one.port,
      count: 0,
      first: 0,
      last: 0,
      verdicts: {},
      days: [],
      runs: [],
      sources: [],
      principals: [],
      mtls: 'unknown',
      origin: { kind: 'declared', strength: one.strength, by: one.by },
      review: one.strength === 'strong' ? 'legitimate' : 'unreviewed',
    });
  }
  return [...out.values()];
}

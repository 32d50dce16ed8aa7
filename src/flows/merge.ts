import type { Edge, EdgeOrigin, Mtls, Verdict3 } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import { declaredPorts } from './attribute.ts';
import { foldEphemeralPorts } from './fold.ts';

/**
 * Edges on record and edges of another import as one set, sorted by id. Counts add up, so the caller must not merge one input
 * twice (InputReport.sha256 tells). Reviews on record stay.
 */
export function mergeEdges(old: readonly Edge[], fresh: readonly Edge[], inventory: Inventory): readonly Edge[] {
  const byId = new Map(old.map((edge) => [edge.id, edge]));
  for (const edge of fresh) {
    const known = byId.get(edge.id);
    byId.set(edge.id, known === undefined ? edge : combineEdges(known, edge));
  }
  const ports = new Map<string, ReadonlySet<string>>();
  const workloads = new Map(inventory.workloads.map((workload) => [workload.id, workload]));
  const merged = foldEphemeralPorts([...byId.values()], (id, protocol, port) => {
    let declared = ports.get(id);
    if (declared === undefined) {
      declared = declaredPorts(workloads.get(id), inventory.services);
      ports.set(id, declared);
    }
    return declared.has(`${port}/${protocol}`);
  });
  return sortBy(merged, (edge) => edge.id);
}

/** Two records of one edge as one; key and review are those of `a`. */
export function combineEdges(a: Edge, b: Edge): Edge {
  const verdicts: Partial<Record<Verdict3, number>> = { ...a.verdicts };
  for (const verdict of ['allowed', 'denied', 'audit', 'unknown'] as const) {
    const count = b.verdicts[verdict];
    if (count !== undefined) verdicts[verdict] = (verdicts[verdict] ?? 0) + count;
  }
  const { lastPlaintext: plainA, guessedDirection: guessA, ...rest } = a;
  const plaintext = Math.max(plainA ?? -Infinity, b.lastPlaintext ?? -Infinity);
  // A declared edge without records has no direction to guess; what was seen firmly once is firm.
  const guessed = (guessA ?? a.count === 0) && (b.guessedDirection ?? b.count === 0);
  return {
    ...rest,
    count: a.count + b.count,
    first: a.count === 0 ? b.first : b.count === 0 ? a.first : Math.min(a.first, b.first),
    last: a.count === 0 ? b.last : b.count === 0 ? a.last : Math.max(a.last, b.last),
    verdicts,
    days: uniqueSorted([...a.days, ...b.days]),
    runs: uniqueSorted([...a.runs, ...b.runs]),
    sources: uniqueSorted([...a.sources, ...b.sources]),
    principals: uniqueSorted([...a.principals, ...b.principals]),
    mtls: combineMtls(a.mtls, b.mtls),
    ...(plaintext === -Infinity ? {} : { lastPlaintext: plaintext }),
    ...(guessed && a.count + b.count > 0 ? { guessedDirection: true } : {}),
    origin: combineOrigin(a.origin, b.origin),
    review: a.review === 'unreviewed' ? b.review : a.review,
  };
}

function combineMtls(a: Mtls, b: Mtls): Mtls {
  if (a === b || b === 'unknown') return a;
  return a === 'unknown' ? b : 'mixed';
}

/** A declaration outlasts the record that confirms it, the strong one the weak. */
function combineOrigin(a: EdgeOrigin, b: EdgeOrigin): EdgeOrigin {
  if (a.kind === 'observed') return b;
  if (b.kind === 'observed' || a.strength === 'strong') return a;
  return b;
}

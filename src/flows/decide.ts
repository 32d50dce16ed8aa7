import type { Decision, Query } from '../model/decision.ts';
import { isAboutGates } from '../model/decision.ts';
import type { Edge } from '../model/edge.ts';
import { edgeId, endpointKey } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { matchText } from '../model/glob.ts';
import { sha256 } from '../shared/pure/hash.ts';
import { safeText } from '../shared/pure/text.ts';
import { matchEdges } from './query.ts';

/**
 * Edges with the review that people gave them: the newest decision whose frozen list names an edge decides. A decision from a file
 * without a list takes the edges that its query matches and that were first seen before it was taken. After a withdrawal an edge is as
 * if nobody had decided about it: an earlier decision does not come back by itself, least of all one that lets it be cut.
 */
export function reviewEdges(edges: readonly Edge[], decisions: readonly Decision[]): readonly Edge[] {
  const review = new Map<string, Edge['review']>();
  for (const decision of decisions) {
    if (isAboutGates(decision.query)) continue;
    for (const id of matchedBy(decision, edges))
      if (decision.action === 'withdraw') review.delete(id);
      else review.set(id, decision.action === 'adopt' ? 'legitimate' : 'to-be-cut');
  }
  return edges.map((edge) => {
    const given = review.get(edge.id);
    return given === undefined || given === edge.review ? edge : { ...edge, review: given };
  });
}

/** The decision that stands on each edge: the newest about it, unless that is a withdrawal. */
export function standingDecisions(
  decisions: readonly Decision[],
  edges: readonly Edge[],
): ReadonlyMap<string, Decision> {
  const standing = new Map<string, Decision>();
  for (const decision of decisions) {
    if (isAboutGates(decision.query)) continue;
    for (const id of matchedBy(decision, edges))
      if (decision.action === 'withdraw') standing.delete(id);
      else standing.set(id, decision);
  }
  return standing;
}

/** The edges that a decision is about. */
export function matchedBy(decision: Decision, edges: readonly Edge[]): readonly string[] {
  if (decision.matched.length > 0) return decision.matched;
  return matchEdges(decision.query, edges)
    .filter((edge) => edge.first <= decision.at)
    .map((edge) => edge.id);
}

/** Gates that a person may waive, and whether only for a subject within one namespace. Denials are accepted edge by edge instead. */
const WAIVABLE: Readonly<Record<string, 'any' | 'by subject'>> = {
  window: 'any',
  coverage: 'by subject',
  schedules: 'any',
  'unseen-workloads': 'by subject',
  review: 'any',
  corroboration: 'by subject',
  losses: 'any',
  enforcement: 'any',
  mesh: 'by subject',
  plaintext: 'by subject',
  soak: 'any',
  unknown: 'by subject',
  'managed-by-others': 'by subject',
  selector: 'by subject',
  expressible: 'by subject',
  'service-account': 'by subject',
  'account-trust': 'by subject',
  'system-namespace': 'by subject',
  gitops: 'by subject',
  freeze: 'by subject',
  'pattern-holds': 'by subject',
  'pattern-opens': 'by subject',
  interrupts: 'by subject',
  'cloud-side': 'by subject',
  'cloud-account': 'by subject',
  'cloud-nodes': 'by subject',
  'cloud-token': 'by subject',
  'key-reference': 'by subject',
  'metadata-path': 'by subject',
  tunnels: 'by subject',
  rehearsal: 'by subject',
};

/** A gate's subject may be an object, `Deployment shop/web`; a shell is spared the space by `Deployment*shop/web`. */
const OBJECT = /^([A-Z][A-Za-z]*)\*(?=[^*/]+(?:\/|$))/;

/**
 * What is wrong with a waiver; undefined where it may stand. A gate is named in full; one that concerns single workloads or edges is
 * waived for a subject, whose namespace (all before the first `/`) is spelled out. Without a gate it names one unreadable file.
 */
export function waiverFault(query: Query): string | undefined {
  const { gate, subject } = query;
  if (gate === undefined) {
    if (subject === undefined) return 'waive takes gate=... or subject=..., or both: a namespace alone is not waived';
    return subject.includes('*') ? 'without gate=... the subject is one unreadable file, spelled out' : undefined;
  }
  if (gate === 'denies-observed') return 'a denial is not waived: accept the edges that may be cut';
  if (!Object.hasOwn(WAIVABLE, gate))
    return `there is no gate "${safeText(gate)}" to waive: it is one of ${Object.keys(WAIVABLE).join(', ')}`;
  if (WAIVABLE[gate] === 'any') return undefined;
  if (subject === undefined) return `the gate ${gate} is waived for a subject: gate=${gate},subject=...`;
  const [namespace = ''] = subject.replace(OBJECT, '$1 ').split('/');
  return namespace.includes('*')
    ? `the namespace of the subject "${safeText(subject)}" is spelled out for the gate ${gate}: * comes after the first /`
    : undefined;
}

/** Whether a decision waives a gate for a subject in a namespace. One that may not stand waives nothing. */
export function waives(decision: Decision, gate: string, subject: string, namespace: string): boolean {
  const { query } = decision;
  return (
    decision.action === 'waive' &&
    query.gate === gate &&
    waiverFault(query) === undefined &&
    (query.subject === undefined || matchText(query.subject.replace(OBJECT, '$1 '), subject)) &&
    (query.ns === undefined || matchText(query.ns, namespace))
  );
}

/**
 * Decisions of the state and of a file, oldest first. One that the state holds already counts with the list frozen there, and the
 * file's copy is left out; an empty frozen list is about no edge. Waivers that were withdrawn are left out.
 */
export function mergeDecisions(stored: readonly Decision[], given: readonly Decision[]): readonly Decision[] {
  const frozen = new Set(stored.map(decisionKey));
  const all = [
    ...stored.filter((decision) => decision.action === 'waive' || decision.matched.length > 0),
    ...given.filter((decision) => !frozen.has(decisionKey(decision))),
  ].toSorted((a, b) => a.at - b.at);
  const waivers = all.filter((decision) => decision.action === 'waive');
  const withdrawn = new Set<string>();
  const counted = all.map((decision) => {
    if (decision.action !== 'withdraw' || !isAboutGates(decision.query)) return decision;
    const matched =
      decision.matched.length > 0
        ? decision.matched
        : waiversMatching(
            decision.query,
            waivers.filter(({ at }) => at <= decision.at),
          ).map(decisionId);
    for (const id of matched) withdrawn.add(id);
    // From a file: frozen here, since what it is about is left out of the list.
    return matched === decision.matched ? decision : { ...decision, matched };
  });
  return withdrawn.size === 0
    ? counted
    : counted.filter((decision) => decision.action !== 'waive' || !withdrawn.has(decisionId(decision)));
}

/** The waivers that a query for gates names by what they were given for: gate, subject and namespace as they were written. */
export function waiversMatching(query: Query, decisions: readonly Decision[]): readonly Decision[] {
  const holds = (pattern: string | undefined, given: string | undefined): boolean =>
    pattern === undefined || (given !== undefined && (pattern === given || matchText(pattern, given)));
  return decisions.filter(
    ({ action, query: of }) =>
      action === 'waive' && holds(query.gate, of.gate) && holds(query.subject, of.subject) && holds(query.ns, of.ns),
  );
}

/** Names a decision among all others, in 12 hex digits; the same in a file and in the state. */
export function decisionId(decision: Decision): string {
  return sha256(decisionKey(decision)).slice(0, 12);
}

function decisionKey({ action, query, by, at }: Decision): string {
  return JSON.stringify([action, Object.entries(query).toSorted(([a], [b]) => (a < b ? -1 : 1)), by, at]);
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

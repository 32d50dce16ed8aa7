// Decisions taken in the session: what is written down for marked edges, and for taking the last one back.
import type { App } from '../context.ts';
import { decisionId, standingDecisions, waiversMatching } from '../../flows/decide.ts';
import { parseQuery } from '../../flows/query.ts';
import type { Decision } from '../../model/decision.ts';
import type { Edge } from '../../model/edge.ts';
import { plural } from '../../shared/pure/text.ts';
import type { Named } from './queries.ts';
import { argument, queriesFor, quote } from './queries.ts';

/** A decision that is about to be written down. */
export interface Verdict {
  readonly action: Decision['action'];
  /** The query that selects the same on a command line. */
  readonly text: string;
  /** Ids of edges; of waivers that are withdrawn, their decisionIds. */
  readonly matched: readonly string[];
}

/** What is written down about marked edges; one verdict for each query that it takes to name them. */
export function verdictsOn(
  action: 'accept' | 'adopt' | 'withdraw',
  marked: readonly Edge[],
  record: readonly Edge[],
  given?: Named,
): readonly Verdict[] {
  return queriesFor(marked, record, given).map(({ query, edges }) => ({
    action,
    text: query,
    matched: edges.map((edge) => edge.id),
  }));
}

/** The newest decision that still stands, of edges alone or of any kind, with those that were taken in the same moment; empty where none does. */
export function lastStanding(
  about: 'edges' | 'any',
  decisions: readonly Decision[],
  edges: readonly Edge[],
): readonly Decision[] {
  const standing = new Set(standingDecisions(decisions, edges).values());
  const stands = decisions.filter((one) => (about === 'any' && one.action === 'waive') || standing.has(one));
  const last = stands.at(-1);
  if (last === undefined) return [];
  return stands.filter((one) => one.action === last.action && one.by === last.by && one.at === last.at);
}

/** `accept of 3 edges`, `waive`: what an undo would take back. */
export function describeLast(last: readonly Decision[]): string | undefined {
  const [first] = last;
  if (first === undefined) return undefined;
  if (first.action === 'waive') return 'waive';
  const count = last.reduce((sum, one) => sum + one.matched.length, 0);
  return `${first.action} of ${plural(count, 'edge')}`;
}

/**
 * What takes the last decision back: its edges are as they were before it. Where an earlier decision stood on some of them it is taken
 * again, as a decision of now; the others are withdrawn. A waiver is withdrawn.
 */
export function undoOf(
  last: readonly Decision[],
  decisions: readonly Decision[],
  edges: readonly Edge[],
): readonly Verdict[] {
  const undone = new Set(last);
  const waivers = last.filter((one) => one.action === 'waive');
  const now = standingDecisions(decisions, edges);
  const before = standingDecisions(
    decisions.filter((one) => !undone.has(one)),
    edges,
  );
  const groups = new Map<'withdraw' | 'accept' | 'adopt', Edge[]>();
  for (const edge of edges) {
    const decision = now.get(edge.id);
    if (decision === undefined || !undone.has(decision)) continue;
    const earlier = before.get(edge.id)?.action;
    const action = earlier === 'accept' || earlier === 'adopt' ? earlier : 'withdraw';
    const group = groups.get(action);
    if (group === undefined) groups.set(action, [edge]);
    else group.push(edge);
  }
  return [
    ...waivers.map((one): Verdict => ({
      action: 'withdraw',
      text: one.text,
      matched: waiversMatching(one.query, decisions).map(decisionId),
    })),
    ...[...groups].flatMap(([action, some]) => verdictsOn(action, some, edges)),
  ];
}

/** Writes them down, each with its line on the audit trail and all of one moment. */
export async function record(app: App, verdicts: readonly Verdict[], reason: string): Promise<void> {
  const { writer } = await app.writableState();
  const at = Date.now();
  for (const { action, text, matched } of verdicts)
    writer.addDecision({ action, query: parseQuery(text), text, reason, by: app.by, at, matched });
}

/** The command lines that do the same; of very many the first ones. */
export function commandsOf(verdicts: readonly Verdict[], reason: string): readonly string[] {
  const most = 5;
  const lines = verdicts
    .slice(0, most)
    .map(({ action, text }) => `sallyport ${action} ${argument(text)} --reason ${quote(reason)}`);
  return verdicts.length > most ? [...lines, `and ${plural(verdicts.length - most, 'command')} more`] : lines;
}

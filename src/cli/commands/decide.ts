import type { App } from '../context.ts';
import { loadAll } from '../load.ts';
import { scopeOfQuery } from '../scope.ts';
import { decisionId, standingDecisions, waiverFault, waiversMatching } from '../../flows/decide.ts';
import { matchEdges, parseQuery } from '../../flows/query.ts';
import type { Decision, Query } from '../../model/decision.ts';
import { isAboutGates } from '../../model/decision.ts';
import { formatEdge } from '../../model/edge.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { wrap } from '../output.ts';

/** accept, waive, adopt, withdraw: a person's word, with the reason and the list it is about, frozen. */
export async function decide(
  app: App,
  action: Decision['action'],
  text: string,
  options: { readonly reason?: string },
): Promise<void> {
  const query = checkDecision(action, text, options.reason);
  const reason = (options.reason ?? '').trim();
  if (action === 'withdraw') {
    await withdraw(app, query, text, reason);
    return;
  }
  if (action === 'waive' && query.gate === undefined) await requireUnreadable(app, query.subject ?? '', text);
  const edges = action === 'waive' ? [] : (await loadAll(app, scopeOfQuery(query))).view('').edges;
  const matched = action === 'waive' ? [] : matchEdges(query, edges);
  if (action !== 'waive' && matched.length === 0)
    throw new Failure({
      code: 'SP221',
      exit: EXIT.usage,
      message: `no edge on record matches ${text}`,
      where: 'QUERY',
      hint: 'sallyport flows lists them',
    });
  const decision: Decision = {
    action,
    query,
    text,
    reason,
    by: app.by,
    at: Date.now(),
    matched: matched.map((edge) => edge.id),
  };
  // Opened last: what is refused keeps no other command waiting for the state.
  const { writer } = await app.writableState();
  writer.addDecision(decision);
  const { output } = app;
  output.document('Decision', { decision: { ...decision, query: text, at: new Date(decision.at).toISOString() } });
  output.line(`${action}: ${safeText(text)}${action === 'waive' ? '' : `, ${plural(matched.length, 'edge')}`}`);
  for (const edge of matched.slice(0, 20)) output.line(wrap(safeText(formatEdge(edge)), output.width, 4, 2));
  if (matched.length > 20) output.line(`  and ${matched.length - 20} more`);
}

/**
 * Takes back what was decided: waivers where the query names a gate or a subject, and of edges otherwise. What was decided stays on the
 * trail, and so does this.
 */
async function withdraw(app: App, query: Query, text: string, reason: string): Promise<void> {
  const decisions = await app.decisions();
  const nothing = (message: string, hint: string): Failure =>
    new Failure({ code: 'SP221', exit: EXIT.usage, message, where: 'QUERY', hint });
  const common = { action: 'withdraw', query, text, reason, by: app.by, at: Date.now() } as const;
  let decision: Decision;
  let lines: readonly string[];
  let what: string;
  if (isAboutGates(query)) {
    const waivers = waiversMatching(query, decisions);
    const given = decisions.filter((one) => one.action === 'waive').map((one) => one.text);
    if (waivers.length === 0)
      throw nothing(
        `no waiver that stands was given for ${text}`,
        given.length === 0 ? 'sallyport audit shows what was decided' : `one of: ${given.slice(0, 20).join('; ')}`,
      );
    decision = { ...common, matched: waivers.map(decisionId) };
    lines = waivers.map((one) => `waive ${one.text} (${one.by}): ${one.reason}`);
    what = plural(waivers.length, 'waiver');
  } else {
    const { edges } = (await loadAll(app, scopeOfQuery(query))).view('');
    const decided = new Set(standingDecisions(decisions, edges).keys());
    const matched = matchEdges(query, edges).filter((edge) => decided.has(edge.id));
    if (matched.length === 0)
      throw nothing(
        `nobody's decision stands on an edge that matches ${text}`,
        'sallyport audit shows what was decided',
      );
    decision = { ...common, matched: matched.map((edge) => edge.id) };
    lines = matched.map(formatEdge);
    what = plural(matched.length, 'edge');
  }
  const { writer } = await app.writableState();
  writer.addDecision(decision);
  const { output } = app;
  output.document('Decision', { decision: { ...decision, query: text, at: new Date(decision.at).toISOString() } });
  output.line(`withdraw: ${safeText(text)}, ${what}`);
  for (const line of lines.slice(0, 20)) output.line(wrap(safeText(line), output.width, 4, 2));
  if (lines.length > 20) output.line(`  and ${lines.length - 20} more`);
}

/** Without a gate, a waiver is about a file that cannot be read. */
async function requireUnreadable(app: App, file: string, text: string): Promise<void> {
  const { findings } = await (await app.target()).readSnapshot(() => undefined);
  const broken = findings.filter((finding) => finding.code === 'SP302').map((finding) => finding.subject);
  if (broken.includes(file)) return;
  throw new Failure({
    code: 'SP220',
    exit: EXIT.usage,
    message: `without gate=... the subject is a file that cannot be read, and ${safeText(file)} is none`,
    where: `waive ${text}`,
    hint: broken.length === 0 ? 'name the gate: gate=...,subject=...' : `one of: ${broken.slice(0, 20).join(', ')}`,
  });
}

const OF_EDGES = ['src', 'dst', 'port', 'verdict', 'before', 'id'] as const;

/** The query, or a Failure with everything that is wrong with the decision. */
function checkDecision(action: Decision['action'], text: string, reason: string | undefined): Query {
  const problems: Failure[] = [];
  const problem = (message: string, where: string): void => {
    problems.push(new Failure({ code: 'SP220', exit: EXIT.usage, message, where, hint: `sallyport ${action} --help` }));
  };
  if (reason === undefined || reason.trim() === '')
    problem('--reason is missing: it stands on the audit trail', `sallyport ${action}`);
  let query: Query = {};
  try {
    query = parseQuery(text, action === 'waive' ? 'gates' : action === 'withdraw' ? 'any' : 'edges');
  } catch (error) {
    if (!isFailure(error)) throw error;
    problems.push(error);
  }
  const given = Object.keys(query).length > 0;
  const fault = given && action === 'waive' ? waiverFault(query) : undefined;
  if (fault !== undefined) problem(fault, `waive ${text}`);
  if (action === 'withdraw' && isAboutGates(query) && OF_EDGES.some((key) => query[key] !== undefined))
    problem('a query is about gates (gate ns subject) or about edges, not both', `withdraw ${text}`);
  const [first] = problems;
  if (first === undefined) return query;
  if (problems.length === 1) throw first;
  throw new Failure({
    ...first.detail,
    message: `${problems.length} mistakes: ${problems.map((one, index) => `(${index + 1}) ${one.message}`).join('; ')}`,
    where: `sallyport ${action} ${text}`,
  });
}

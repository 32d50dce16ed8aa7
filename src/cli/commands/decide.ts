import type { App } from '../context.ts';
import { loadAll } from '../load.ts';
import { waiverFault } from '../../flows/decide.ts';
import { matchEdges, parseQuery } from '../../flows/query.ts';
import type { Decision, Query } from '../../model/decision.ts';
import { formatEdge } from '../../model/edge.ts';
import { EXIT, Failure, isFailure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { wrap } from '../output.ts';

/** accept, waive, adopt: a person's word, with the reason and the list it is about, frozen. */
export async function decide(
  app: App,
  action: Decision['action'],
  text: string,
  options: { readonly reason?: string },
): Promise<void> {
  const query = checkDecision(action, text, options.reason);
  const reason = (options.reason ?? '').trim();
  if (action === 'waive' && query.gate === undefined) await requireUnreadable(app, query.subject ?? '', text);
  const edges = action === 'waive' ? [] : (await loadAll(app)).view('').edges;
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
    query = parseQuery(text, action === 'waive' ? 'gates' : 'edges');
  } catch (error) {
    if (!isFailure(error)) throw error;
    problems.push(error);
  }
  const given = Object.keys(query).length > 0;
  const fault = given && action === 'waive' ? waiverFault(query) : undefined;
  if (fault !== undefined) problem(fault, `waive ${text}`);
  const [first] = problems;
  if (first === undefined) return query;
  if (problems.length === 1) throw first;
  throw new Failure({
    ...first.detail,
    message: `${problems.length} mistakes: ${problems.map((one, index) => `(${index + 1}) ${one.message}`).join('; ')}`,
    where: `sallyport ${action} ${text}`,
  });
}

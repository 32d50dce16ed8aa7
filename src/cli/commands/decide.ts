import type { App } from '../context.ts';
import { loadAll } from '../load.ts';
import { matchEdges, parseQuery } from '../../flows/query.ts';
import type { Decision } from '../../model/decision.ts';
import { formatEdge } from '../../model/edge.ts';
import { EXIT, Failure } from '../../shared/pure/errors.ts';
import { plural, safeText } from '../../shared/pure/text.ts';
import { wrap } from '../output.ts';

/** accept, waive, adopt: a person's word, with the reason and the list it is about, frozen. */
export async function decide(
  app: App,
  action: Decision['action'],
  text: string,
  options: { readonly reason?: string },
): Promise<void> {
  const problems: string[] = [];
  if (options.reason === undefined || options.reason.trim() === '')
    problems.push('--reason is missing: it stands on the audit trail');
  const query = parseQuery(text);
  const keys = Object.keys(query);
  const gateKeys = keys.filter((key) => key === 'gate' || key === 'subject');
  if (action === 'waive' && gateKeys.length === 0)
    problems.push('waive takes gate=... or subject=...; edges are accepted or adopted');
  if (action !== 'waive' && gateKeys.length > 0)
    problems.push(`${action} is about edges; gate and subject belong to waive`);
  if (query.gate === 'denies-observed') problems.push('a denial is not waived: accept the edges that may be cut');
  if (problems.length > 0)
    throw new Failure({
      code: 'SP220',
      exit: EXIT.usage,
      message: problems.join('; '),
      where: `${action} ${text}`,
      hint: `sallyport ${action} --help`,
    });
  const reason = (options.reason ?? '').trim();
  const { writer } = await app.writableState();
  const edges = action === 'waive' ? [] : (await loadAll(app)).view('').edges;
  const matched = action === 'waive' ? [] : matchEdges(query, edges);
  if (action !== 'waive' && matched.length === 0)
    throw new Failure({
      code: 'SP221',
      exit: EXIT.usage,
      message: `no edge on record matches ${text}`,
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
  writer.addDecision(decision);
  const { output } = app;
  output.document('Decision', { decision: { ...decision, query: text, at: new Date(decision.at).toISOString() } });
  output.line(`${action}: ${safeText(text)}${action === 'waive' ? '' : `, ${plural(matched.length, 'edge')}`}`);
  for (const edge of matched.slice(0, 20)) output.line(wrap(safeText(formatEdge(edge)), output.width, 4, 2));
  if (matched.length > 20) output.line(`  and ${matched.length - 20} more`);
}

import type { AssessmentReport, Sentence } from '../report/model.ts';
import { percent } from '../report/summary.ts';
import { grouped, humanTimes } from '../report/words.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { beside, cut, few, paint, wrap } from './output.ts';

const MARK = { good: '+', bad: '!', neutral: '-', unknown: '?' } as const satisfies Record<Sentence['tone'], string>;
const GUTTER = 26;
const TOP = 8;

/** The report on a terminal: the minute's reading, and where the rest is. */
export function renderAssessment(report: AssessmentReport, output: Output): string {
  const { width } = output;
  const lines: string[] = [];
  const title = (text: string): void => {
    lines.push('', paint(output, 'bold', text));
  };
  const pair = (left: string, right: string): void => {
    lines.push(...beside(`  ${cut(safeText(left), GUTTER - 3)}`, safeText(right), GUTTER, width));
  };
  lines.push(paint(output, 'bold', wrap(safeText(report.summary.headline.text), width)));
  lines.push(wrap(safeText(`${report.cluster.description}, as of ${humanTimes(report.at)}`), width));
  lines.push('');
  for (const one of report.summary.sentences) lines.push(wrap(`${MARK[one.tone]} ${safeText(one.text)}`, width, 2));
  lines.push('', 'good +, bad !, not known ?');

  if (report.summary.actions.length > 0) {
    title('What to do first');
    for (const one of report.summary.actions) {
      lines.push(wrap(safeText(`- ${one.text}`), width, 4, 2));
      for (const command of one.commands) lines.push(`    ${safeText(command)}`);
    }
  }
  title('Highest risk (score of 100)');
  for (const row of report.risk.rows.slice(0, TOP))
    lines.push(
      wrap(
        safeText(
          `${row.score.toFixed(1).padStart(5)} ${row.workload}: ${row.values
            .filter((one) => one.points > 0)
            .sort((a, b) => b.points - a.points)
            .slice(0, 2)
            .map((one) => one.because)
            .join('; ')}`,
        ),
        width,
        8,
        2,
      ),
    );
  title('Attack surface (pairs of workloads that can connect)');
  for (const one of report.surface.states)
    pair(
      one.state === 'now' ? 'now' : `after ${one.state}`,
      one.reachable === null
        ? `not known: ${one.because}`
        : `${grouped(one.reachable)} of ${grouped(report.surface.pairs)} (${percent(one.share)})${one.unknown === null || one.unknown === 0 ? '' : `, ${grouped(one.unknown)} not to be judged`}`,
    );
  title('Order of waves');
  const { shown, more } = few(report.waves, TOP);
  for (const wave of shown) pair(`wave ${wave.wave}`, wave.namespaces.join(', '));
  if (more !== '') lines.push(`  ${more}`);
  title('Next phase of each namespace');
  const namespaces = few(report.readiness.namespaces, 3 * TOP);
  for (const one of namespaces.shown) {
    const next = one.phases.find((phase) => phase.phase === one.next);
    const gates =
      next === undefined ? '' : next.open.length === 0 ? '' : `: ${countOpen(next.open.map((gate) => gate.id))}`;
    pair(one.namespace, next === undefined ? `${one.phase}, the last phase` : `${next.phase} ${next.state}${gates}`);
  }
  if (namespaces.more !== '') lines.push(`  ${namespaces.more}`);
  title('Stays unprotected whatever is done');
  for (const one of report.residual)
    lines.push(
      wrap(
        safeText(
          `- ${one.title}${one.subjects.length === 0 ? '' : ` (${plural(one.subjects.length, 'workload or object', 'workloads or objects')})`}`,
        ),
        width,
        4,
        2,
      ),
    );
  if (report.comparison !== null) {
    const { comparison } = report;
    title(`Since ${comparison.before.at}`);
    for (const one of comparison.figures.filter((figure) => figure.better !== 'same' && figure.before !== figure.after))
      pair(
        one.label,
        `${one.before ?? 'not known'} -> ${one.after ?? 'not known'}${one.better === 'yes' ? ' (better)' : one.better === 'no' ? ' (worse)' : ''}`,
      );
    for (const note of comparison.notes) lines.push(wrap(safeText(note), width, 4, 2));
  }
  lines.push('', wrap('The whole report: sallyport assess -o report.html (or .md, .json)', width));
  return lines.join('\n');
}

function countOpen(ids: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].map(([id, count]) => (count === 1 ? id : `${id} ${count}x`)).join(', ');
}

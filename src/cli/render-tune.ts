import type { BudgetRow } from '../candidates/tuning/budget.ts';
import type { Proposal } from '../candidates/tuning/proposal.ts';
import type { TuningMetrics } from '../model/tuning.ts';
import { describeInForce } from '../readiness/tuning-plan.ts';
import { short } from '../model/tuning.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { NamespaceTuning } from './commands/tune.ts';
import type { Output } from './output.ts';
import { paint, wrap } from './output.ts';

const ANSWERS = {
  apply: ['can be applied', 'green'],
  instruct: ['by hand', 'dim'],
  refused: ['refused', 'red'],
  unknown: ['cannot be told', 'yellow'],
} as const;

const ROWS = {
  within: ['within', 'green'],
  over: ['over', 'red'],
  unknown: ['unknown', 'yellow'],
  'no-budget': ['no budget', 'dim'],
} as const;

/** What was measured against the budget, what is proposed and what came of earlier proposals, a namespace after the other. */
export function renderTuning(all: readonly NamespaceTuning[], metrics: TuningMetrics, output: Output): string {
  const { width } = output;
  const { from, to } = metrics.window;
  return [
    wrap(
      safeText(`Figures of ${metrics.source}, from ${new Date(from).toISOString()} to ${new Date(to).toISOString()}.`),
      width,
      2,
    ),
    ...metrics.missing.map((text) => wrap(safeText(`Not there: ${text}`), width, 4, 2)),
    '',
    ...all.flatMap((one) => renderNamespace(one, output)),
    ...summary(all).map((text) => wrap(text, width, 2)),
  ].join('\n');
}

function renderNamespace(
  { namespace, controls, proposals, inForce }: NamespaceTuning,
  output: Output,
): readonly string[] {
  const { width } = output;
  return [
    paint(output, 'bold', safeText(namespace)),
    ...controls.map((row) => renderRow(row, output)),
    ...(inForce.length === 0
      ? []
      : ['  In force:', ...inForce.map((one) => wrap(safeText(`${one.id}: ${describeInForce(one)}`), width, 6, 4))]),
    '',
    ...(proposals.length === 0
      ? ['  Nothing is proposed: no figure calls for it.', '']
      : proposals.flatMap((one) => renderProposal(one, output))),
  ];
}

const MEASURES = {
  'latency-p99': 'p99',
  'cpu-per-1000-rps': 'CPU for 1000 requests a second',
  'memory-per-proxy': 'memory of a proxy',
} as const;

function renderRow(row: BudgetRow, output: Output): string {
  const [word, colour] = ROWS[row.answer];
  const amount = (value: number): string =>
    row.unit === 'bytes' ? `${short(value / (1024 * 1024))} MiB` : `${short(value)} ${row.unit}`;
  const figures = [
    row.measured === undefined ? 'not measured' : amount(row.measured),
    ...(row.budget === undefined ? [] : [`of ${amount(row.budget)}`]),
  ].join(' ');
  return wrap(
    `${row.control}, ${MEASURES[row.measure]}: ${paint(output, colour, word)}, ${figures} (${safeText(row.how)})`,
    output.width,
    6,
    2,
  );
}

function renderProposal(one: Proposal, output: Output): readonly string[] {
  const { width } = output;
  const [word, colour] = ANSWERS[one.answer];
  const line = (text: string): string => wrap(safeText(text), width, 6, 4);
  return [
    `  ${paint(output, 'bold', safeText(one.id))}: ${paint(output, colour, word)}`,
    line(one.title),
    line(
      `evidence: ${one.evidence.map(({ metric, value, unit }) => `${metric} ${unit === 'bytes' ? `${short(value / (1024 * 1024))} MiB` : `${short(value)}${unit === '' ? '' : ` ${unit}`}`}`).join(', ')}`,
    ),
    ...(one.gain === undefined
      ? [line('gain: cannot be told from these figures')]
      : [
          line(
            `gain: ${one.gain.lowPercent === one.gain.highPercent ? '' : `${one.gain.lowPercent}-`}${one.gain.highPercent} % less ${one.gain.metric}: ${one.gain.derivation}`,
          ),
        ]),
    ...one.because.map((text) => line(`${one.answer === 'unknown' ? 'not known' : 'against it'}: ${text}`)),
    ...one.risks.map((text) => line(`risk: ${text}`)),
    ...(one.answer === 'apply' ? [] : one.instruction.map((text) => line(`to do: ${text}`))),
    line(`after: ${one.sources.join('; ')}`),
    '',
  ];
}

function summary(all: readonly NamespaceTuning[]): readonly string[] {
  const proposals = all.flatMap((one) => one.proposals);
  const count = (answer: Proposal['answer']): number => proposals.filter((one) => one.answer === answer).length;
  const over = all.flatMap(({ controls }) => controls).filter(({ answer }) => answer === 'over').length;
  const next = proposals.find(({ answer }) => answer === 'apply');
  return [
    `${plural(over, 'figure')} over budget; ${plural(proposals.length, 'proposal')}: ${count('apply')} can be applied, ${count('instruct')} by hand, ${count('refused')} refused, ${count('unknown')} cannot be told`,
    ...(next === undefined
      ? []
      : [`Next: the same command with --apply ${safeText(next.id)} shows the plan; --no-dry-run writes it`]),
  ];
}

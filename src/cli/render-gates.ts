import type { Gate } from '../model/finding.ts';
import { groupBy } from '../shared/pure/order.ts';
import { safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { few, paint, wrap } from './output.ts';

const MARK = { yes: 'yes    ', no: 'NO     ', unknown: 'UNKNOWN' } as const;
const COLOR = { yes: 'green', no: 'red', unknown: 'yellow' } as const;
/** Facts of one gate, and gates of one id, that are shown whole; --json has all of them. */
const MOST_FACTS = 6;
const MOST_WHOLE = 3;
const MOST_NAMED = 6;

export function renderGate(gate: Gate, output: Output): string {
  return renderOne(gate, output, `${safeText(gate.id)} `).join('\n');
}

function renderOne(gate: Gate, output: Output, id: string): readonly string[] {
  const { width } = output;
  const head = wrap(`${id}${safeText(gate.subject)}`, width - 10, 2);
  const { shown, more } = few(gate.facts, MOST_FACTS);
  return [
    `  ${paint(output, COLOR[gate.answer], MARK[gate.answer])} ${head.replaceAll('\n', `\n${' '.repeat(10)}`)}`,
    ...shown.map((fact) => wrap(safeText(fact), width, 14, 12)),
    ...(more === '' ? [] : [`            ${more}`]),
    ...(gate.waived === undefined ? [] : [wrap(`waived: ${safeText(gate.waived)}`, width, 14, 12)]),
    ...(gate.fix === '' ? [] : [wrap(`fix: ${safeText(gate.fix)}`, width, 17, 12, true)]),
  ];
}

/** Gates of one id: the first ones whole, of the others the subject. */
function renderGroup(id: string, gates: readonly Gate[], output: Output): readonly string[] {
  if (gates.length === 1) return gates.flatMap((gate) => renderOne(gate, output, `${safeText(id)} `));
  // To save one gate its facts costs a line that says so.
  const whole = gates.length <= MOST_WHOLE + 1 ? gates : gates.slice(0, MOST_WHOLE);
  const named = few(gates.slice(whole.length), MOST_NAMED);
  return [
    `  ${safeText(id)} (${gates.length}):`,
    ...whole.flatMap((gate) => renderOne(gate, output, '')),
    ...named.shown.map((gate) => wrap(`${gate.answer}: ${safeText(gate.subject)}`, output.width, 14, 12)),
    ...(named.more === '' ? [] : [`            ${named.more}`]),
  ];
}

function groups(gates: readonly Gate[], output: Output): readonly string[] {
  return [...groupBy(gates, (gate) => gate.id)].flatMap(([id, mine]) => renderGroup(id, mine, output));
}

/** Gates by answer: those that stop are shown with their facts, those that are met by name. */
export function renderGates(gates: readonly Gate[], output: Output): string {
  const open = gates.filter((gate) => gate.answer !== 'yes');
  const met = gates.filter((gate) => gate.answer === 'yes');
  const waived = met.filter((gate) => gate.waived !== undefined);
  const names = [...new Set(met.map((gate) => gate.id))].filter((id) => !open.some((gate) => gate.id === id));
  return [
    ...(open.length === 0 ? [] : [`Gates that stop it (${open.length}):`, ...groups(open, output)]),
    ...(waived.length === 0 ? [] : [`Waived (${waived.length}):`, ...groups(waived, output)]),
    ...(names.length === 0 ? [] : [wrap(`Gates met: ${names.join(', ')}`, output.width, 2)]),
  ].join('\n');
}

/** `review (12), plaintext`: ids with how often they stand there. */
export function countGates(gates: readonly Gate[]): string {
  return [...groupBy(gates, (gate) => gate.id)]
    .map(([id, mine]) => (mine.length === 1 ? id : `${id} (${mine.length})`))
    .join(', ');
}

import type { Gate } from '../model/finding.ts';
import { formatRef } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Change } from '../plan/change.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { openGates } from '../plan/assemble.ts';
import { renderYaml } from '../shared/io/yaml.ts';
import { groupBy } from '../shared/pure/order.ts';
import { plural, safeText } from '../shared/pure/text.ts';
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

/** What a change writes, in lines. */
export function renderChange(change: Change): readonly string[] {
  switch (change.kind) {
    case 'create':
      return renderYaml(change.object)
        .trimEnd()
        .split('\n')
        .map((line) => `+ ${line}`);
    case 'delete':
      return [`- ${formatRef(change.ref)}, whole`];
    case 'edit':
      return change.fields.flatMap((field) => [
        `  ${field.path.join('.')}:`,
        ...(field.before === undefined
          ? ['- (absent)']
          : renderYaml(field.before)
              .trimEnd()
              .split('\n')
              .map((line) => `- ${line}`)),
        ...(field.after === undefined
          ? ['+ (absent)']
          : renderYaml(field.after)
              .trimEnd()
              .split('\n')
              .map((line) => `+ ${line}`)),
      ]);
  }
}

/** Steps with their diffs, then the gates; what it comes to stands last, where the eye is when the scrolling stops. */
export function renderPlan(plan: Plan, output: Output, diffs = true): string {
  const { width } = output;
  const title = `${plan.direction === 'up' ? 'Plan' : 'Way back'} for ${safeText(plan.namespace)}: ${plan.from} -> ${plan.to}, ${plural(plan.steps.length, 'step')}`;
  const lines: string[] = [paint(output, 'bold', title), ''];
  for (const [index, step] of plan.steps.entries()) lines.push(...renderStep(step, index, output, diffs));
  if (plan.steps.length > 0) lines.push('');
  for (const finding of plan.findings)
    lines.push(wrap(safeText(`${finding.code} ${finding.subject}: ${finding.message}`), width, 4, 2));
  lines.push(renderGates(plan.gates, output), '');

  lines.push(paint(output, 'bold', title));
  for (const [phase, steps] of groupBy(plan.steps, (step) => step.phase)) {
    const rollouts = steps.flatMap((step) => step.effects.filter((effect) => effect.kind === 'rollout')).length;
    const foreign = steps.filter((step) => step.confirm !== undefined).length;
    const remarks = [
      plural(steps.length, 'step'),
      ...(rollouts === 0 ? [] : [`${plural(rollouts, 'workload')} restarted`]),
      ...(foreign === 0 ? [] : [`${plural(foreign, 'edit')} to objects of others`]),
    ];
    lines.push(`  ${phase.padEnd(17)}${remarks.join(', ')}`);
  }
  lines.push(
    wrap(
      `Simulated: ${plural(plan.simulated.edges, 'edge')} in ${plan.simulated.states === 1 ? '1 state' : `each of ${plan.simulated.states} states`}; ${plan.denied.length} denied, ${plan.unknown.length} that cannot be judged.`,
      width,
    ),
    `Plan hash ${plan.hash}`,
  );
  const open = openGates(plan);
  const command = `sallyport ${plan.direction === 'up' ? 'advance' : 'rollback'} ${safeText(plan.namespace)} --to ${plan.to}`;
  if (open.length > 0)
    lines.push(
      wrap(
        `It cannot run yet: ${plural(open.length, 'gate')} to answer first: ${safeText(countGates(open))}.`,
        width,
        2,
      ),
    );
  // Without diffs it is about to be confirmed.
  else if (diffs) lines.push(`Next: ${command}`);
  return lines.join('\n');
}

function renderStep(step: Step, index: number, output: Output, diffs: boolean): readonly string[] {
  const { width } = output;
  return [
    wrap(`${String(index + 1).padStart(3)}. ${safeText(step.title)}`, width, 5),
    wrap(`${step.operation} ${safeText(formatRef(changeRef(step.change)))}`, width, 7, 5),
    ...(step.confirm === undefined
      ? []
      : [wrap(paint(output, 'yellow', `confirm: ${safeText(step.confirm)}`), width, 7, 5)]),
    ...step.effects.map((effect) =>
      wrap(
        effect.kind === 'rollout'
          ? `replaces the pods of ${safeText(effect.workload)}`
          : `takes effect on the next run of ${safeText(effect.workload)}`,
        width,
        7,
        5,
      ),
    ),
    ...step.risks.map((risk) => wrap(`not simulated: ${safeText(risk)}`, width, 7, 5)),
    ...(diffs ? renderChange(step.change).map((line) => `       ${safeText(line)}`) : []),
  ];
}

import type { Gate } from '../model/finding.ts';
import { formatRef } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Change } from '../plan/change.ts';
import type { Plan } from '../plan/plan.ts';
import { openGates } from '../plan/assemble.ts';
import { renderYaml } from '../shared/io/yaml.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { paint, wrap } from './output.ts';

const MARK = { yes: 'yes    ', no: 'NO     ', unknown: 'UNKNOWN' } as const;

export function renderGate(gate: Gate, output: Output): string {
  const color = gate.answer === 'yes' ? 'green' : gate.answer === 'no' ? 'red' : 'yellow';
  const waived = gate.waived === undefined ? '' : ` [waived: ${gate.waived}]`;
  const head = `  ${paint(output, color, MARK[gate.answer])} ${safeText(gate.id)} ${safeText(gate.subject)}`;
  const facts = gate.facts.map((fact) =>
    wrap(safeText(fact) + (fact === gate.facts[0] ? safeText(waived) : ''), output.width, 12, 10),
  );
  const fix = gate.fix === '' ? [] : [wrap(`fix: ${safeText(gate.fix)}`, output.width, 15, 10)];
  return [head, ...facts, ...fix].join('\n');
}

/** Gates by answer: those that stop are shown whole, those that are met by name. */
export function renderGates(gates: readonly Gate[], output: Output): string {
  const open = gates.filter((gate) => gate.answer !== 'yes');
  const met = gates.filter((gate) => gate.answer === 'yes');
  const waived = met.filter((gate) => gate.waived !== undefined);
  const names = [...new Set(met.map((gate) => gate.id))];
  return [
    ...(open.length === 0
      ? []
      : [`Gates that stop it (${open.length}):`, ...open.map((gate) => renderGate(gate, output))]),
    ...(waived.length === 0 ? [] : [`Waived (${waived.length}):`, ...waived.map((gate) => renderGate(gate, output))]),
    ...(met.length === 0 ? [] : [wrap(`Gates met: ${names.join(', ')}`, output.width, 2)]),
  ].join('\n');
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

export function renderPlan(plan: Plan, output: Output, diffs = true): string {
  const lines: string[] = [];
  lines.push(
    wrap(
      paint(
        output,
        'bold',
        `${plan.direction === 'up' ? 'Plan' : 'Way back'} for ${safeText(plan.namespace)}: ${plan.from} -> ${plan.to}, ${plural(plan.steps.length, 'step')}`,
      ),
      output.width,
    ),
    '',
  );
  for (const [index, step] of plan.steps.entries()) {
    lines.push(wrap(`${String(index + 1).padStart(3)}. ${safeText(step.title)}`, output.width, 5));
    lines.push(`     ${step.operation} ${safeText(formatRef(changeRef(step.change)))}`);
    if (step.confirm !== undefined)
      lines.push(wrap(paint(output, 'yellow', `confirm: ${safeText(step.confirm)}`), output.width, 7, 5));
    for (const effect of step.effects)
      lines.push(
        wrap(
          effect.kind === 'rollout'
            ? `replaces the pods of ${safeText(effect.workload)}`
            : `takes effect on the next run of ${safeText(effect.workload)}`,
          output.width,
          7,
          5,
        ),
      );
    for (const risk of step.risks) lines.push(wrap(`not simulated: ${safeText(risk)}`, output.width, 7, 5));
    if (diffs) for (const line of renderChange(step.change)) lines.push(`       ${safeText(line)}`);
  }
  lines.push('');
  lines.push(
    wrap(
      `Simulated: ${plural(plan.simulated.edges, 'edge')} in ${plural(plan.simulated.states, 'state')}; ${plan.denied.length} denied, ${plan.unknown.length} that cannot be judged.`,
      output.width,
    ),
  );
  if (plan.denied.length > 0) {
    lines.push('Denied on the way:');
    for (const verdict of plan.denied)
      lines.push(
        wrap(
          safeText(`${verdict.text}: ${verdict.reasons.join('; ')} (${verdict.step}; ${verdict.evidence})`),
          output.width,
          4,
          2,
        ),
      );
  }
  for (const finding of plan.findings)
    lines.push(wrap(safeText(`${finding.code} ${finding.subject}: ${finding.message}`), output.width, 4, 2));
  lines.push(renderGates(plan.gates, output));
  lines.push('');
  lines.push(`Plan hash ${plan.hash}`);
  const stopped = openGates(plan).length;
  lines.push(
    stopped === 0
      ? plan.direction === 'up'
        ? `Next: sallyport advance ${safeText(plan.namespace)} --to ${plan.to}`
        : `Next: sallyport rollback ${safeText(plan.namespace)} --to ${plan.to}`
      : `It cannot run yet: ${plural(stopped, 'gate')} to answer first.`,
  );
  return lines.join('\n');
}

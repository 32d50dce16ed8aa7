import { formatRef } from '../model/object.ts';
import { changeRef, maskChange } from '../plan/change.ts';
import type { Change } from '../plan/change.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { openGates } from '../plan/assemble.ts';
import { renderYaml } from '../shared/io/yaml.ts';
import { groupBy } from '../shared/pure/order.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { paint, wrap } from './output.ts';
import { countGates, renderGates } from './render-gates.ts';

/** What a change writes, in lines; values that look like credentials are masked. */
export function renderChange(given: Change): readonly string[] {
  const change = maskChange(given);
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
export function renderPlan(plan: Plan, output: Output, diffs = true, next?: string): string {
  const { width } = output;
  const way = plan.from === plan.to ? `stays in ${plan.from}` : `${plan.from} -> ${plan.to}`;
  const title = `${plan.direction === 'up' ? 'Plan' : 'Way back'} for ${safeText(plan.namespace)}: ${way}, ${plural(plan.steps.length, 'step')}`;
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
  const command =
    next ?? `sallyport ${plan.direction === 'up' ? 'advance' : 'rollback'} ${safeText(plan.namespace)} --to ${plan.to}`;
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

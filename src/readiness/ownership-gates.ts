import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { managerOf } from '../inventory/manager.ts';
import { gate } from './view.ts';

/** Objects of others that somebody's automation would write back: one red gate each, with what to do instead. */
export function managedGates(view: View, steps: readonly Step[]): readonly Gate[] {
  const gates: Gate[] = [];
  const objects = new Map(view.snapshot.objects.map((object) => [refKey(refOf(object)), object]));
  const seen = new Set<string>();
  for (const step of steps) {
    if (step.change.kind !== 'edit' || step.change.owner !== 'other') continue;
    const ref = changeRef(step.change);
    const key = refKey(ref);
    if (seen.has(key)) continue;
    seen.add(key);
    const object = objects.get(key);
    const manager = object === undefined ? undefined : managerOf(object);
    if (manager === undefined) continue;
    const patch = step.change.fields
      .map((field) => `${field.path.join('.')}=${JSON.stringify(field.after ?? null)}`)
      .join(', ');
    gates.push(
      gate(
        'managed-by-others',
        'no',
        formatRef(ref),
        [`written by ${manager.kind} ${manager.name} (${manager.because}), which would take the edit back`],
        `put ${patch} into its source, or sallyport waive gate=managed-by-others,subject=${formatRef(ref).replace(' ', '*')} --reason "..."`,
      ),
    );
  }
  return gates.length > 0
    ? gates
    : [
        gate(
          'managed-by-others',
          'yes',
          view.namespace,
          ['no edited object is written by Git, Helm or an operator'],
          '',
        ),
      ];
}

import type { View } from '../engine/contract.ts';
import type { Gate } from '../model/finding.ts';
import type { Manager } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import type { FieldChange } from '../plan/change.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { managerOf } from '../inventory/manager.ts';
import { adviceOf, keyOfRef, ownerOfField } from './gitops.ts';
import type { Deployer } from './gitops.ts';
import { gate } from './view.ts';

/** Objects of others that somebody's automation would write back: one red gate each, with what to do instead. */
export function managedGates(
  view: View,
  steps: readonly Step[],
  lists: ReadonlyMap<string, Deployer> = new Map(),
): readonly Gate[] {
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
    if (object === undefined || manager === undefined) continue;
    const listed = lists.get(keyOfRef(ref));
    const patch = step.change.fields
      .map((field) => `${field.path.join('.')}=${JSON.stringify(field.after ?? null)}`)
      .join(', ');
    gates.push(
      gate(
        'managed-by-others',
        'no',
        formatRef(ref),
        [
          `written by ${manager.kind} ${manager.name} (${manager.because}), which would take the edit back`,
          ...(listed === undefined ? [] : [`${listed.object}: ${listed.manner}`]),
          ...fieldFacts(object, step.change.fields, manager),
        ],
        `put ${patch} into its source: ${adviceOf(
          manager,
          ref,
          step.change.fields.map((field) => field.path),
        )}; or sallyport waive gate=managed-by-others,subject=${formatRef(ref).replace(' ', '*')} --reason "..."`,
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

/** Which of the fields to be written the manager owns: those are taken back, the others only where it puts whole objects back. */
function fieldFacts(object: KubeManifest, fields: readonly FieldChange[], manager: Manager): readonly string[] {
  if (manager.kind === 'operator') return [];
  const owned: string[] = [];
  const free: string[] = [];
  for (const { path } of fields) {
    const owner = ownerOfField(object, path, manager.kind);
    if (owner === 'unknown') return [];
    if (owner === 'nobody') free.push(path.join('.'));
    else owned.push(`${path.join('.')} (field manager ${owner.manager})`);
  }
  return [
    ...(owned.length === 0 ? [] : [`it owns ${owned.join(', ')}`]),
    ...(free.length === 0
      ? []
      : [
          `it does not own ${free.join(', ')}: taken back only where it puts whole objects back, or once Git declares it`,
        ]),
  ];
}

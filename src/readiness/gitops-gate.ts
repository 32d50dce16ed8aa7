import type { View } from '../engine/contract.ts';
import { managerOf } from '../inventory/manager.ts';
import type { Manager } from '../model/inventory.ts';
import type { Gate } from '../model/finding.ts';
import type { ObjectRef } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import type { FieldPath } from '../shared/pure/json.ts';
import { plural } from '../shared/pure/text.ts';
import { adviceOf, keyOfRef } from './gitops.ts';
import type { Deployer } from './gitops.ts';
import { gate } from './view.ts';

const LISTS = ['argoproj.io/Application', 'kustomize.toolkit.fluxcd.io/Kustomization'];

function isDeployer(manager: Manager | undefined): manager is Manager {
  return manager !== undefined && manager.kind !== 'operator' && manager.kind !== 'helm';
}

/**
 * What a GitOps controller would revert or prune of what the steps write, beyond the objects that carry its mark and are edited (those are
 * gate `managed-by-others`): objects to be created that carry a mark or whose name Git declares already, objects that only a list names, and
 * objects of Sallyport's that were taken into Git since. An object without a mark and on no list is left alone by these controllers: they
 * prune what they track. `lists`: of `readDeployers`, for the whole cluster.
 */
export function gitopsGates(view: View, steps: readonly Step[], lists: ReadonlyMap<string, Deployer>): readonly Gate[] {
  const gates: Gate[] = [];
  const live = new Map(view.snapshot.objects.map((object) => [refKey(refOf(object)), object]));
  const seen = new Set<string>();
  let created = 0;
  const red = (ref: ObjectRef, facts: readonly string[], fix: string): void => {
    const subject = formatRef(ref);
    const waive = `sallyport waive gate=gitops,subject=${subject.replace(' ', '*')} --reason "..."`;
    gates.push(gate('gitops', 'no', subject, facts, `${fix}; or ${waive}`));
  };
  for (const { change } of steps) {
    const ref = changeRef(change);
    if (seen.has(refKey(ref))) continue;
    seen.add(refKey(ref));
    const listed = lists.get(keyOfRef(ref));
    if (change.kind === 'create') {
      created += 1;
      const manager = managerOf(change.object);
      if (isDeployer(manager))
        red(
          ref,
          [
            `would be created with the ${manager.because}, so ${said(manager)} takes it for its own, and prunes what Git does not declare`,
          ],
          `take the mark off what it is copied from, or commit the object to Git`,
        );
      else if (listed !== undefined)
        red(
          ref,
          [`is declared by ${listed.object} already, which would write its own version over it; ${listed.manner}`],
          `take that object out of Git, or rename it there`,
        );
      continue;
    }
    const object = live.get(refKey(ref));
    const manager = object === undefined ? undefined : managerOf(object);
    const ours = change.kind === 'delete' || change.owner === 'sallyport';
    const paths: readonly FieldPath[] = change.kind === 'edit' ? change.fields.map(({ path }) => path) : [];
    if (ours ? isDeployer(manager) : listed !== undefined && manager === undefined) {
      const who = isDeployer(manager) ? manager : listedAs(listed);
      if (who === undefined) continue;
      red(
        ref,
        [
          `${ours ? 'is of Sallyport, and was taken over by' : 'carries no mark, and is listed by'} ${listed?.object ?? said(who)} (${who.because})`,
          ...(listed === undefined ? [] : [listed.manner]),
          ...(paths.length === 0 ? [] : [`to be written: ${paths.map((path) => path.join('.')).join(', ')}`]),
        ],
        adviceOf(who, ref, paths),
      );
    }
  }
  if (gates.length > 0) return gates;
  const unread = LISTS.filter((kind) => view.snapshot.unread.includes(kind));
  return [
    gate(
      'gitops',
      'yes',
      view.namespace,
      [
        created === 0
          ? 'nothing is created that a GitOps controller could prune'
          : `${plural(created, 'object')} to be created ${created === 1 ? 'carries' : 'carry'} no mark of a GitOps controller, and no list names ${created === 1 ? 'it' : 'them'}: what these controllers do not track they do not prune`,
        ...(unread.length === 0
          ? []
          : [`judged by the marks on objects alone: ${unread.join(', ')} could not be read`]),
      ],
      '',
    ),
  ];
}

function listedAs(deployer: Deployer | undefined): Manager | undefined {
  return deployer === undefined
    ? undefined
    : { kind: deployer.kind, name: deployer.name, because: `on the list of ${deployer.object}` };
}

function said(manager: Manager): string {
  return manager.name === '' ? manager.kind : `${manager.kind} ${manager.name}`;
}

import type { TriggerRecord } from '../model/trigger.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, formatRef, isObject, labelsOf, namespaceOf, refOf } from '../model/object.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../objects/build.ts';
import { QUARANTINE_LABEL } from '../readiness/quarantine.ts';
import { asString } from '../shared/pure/json.ts';
import type { IncidentMark } from '../plan/plan.ts';
import type { Stranger } from '../watch/state.ts';
import type { Fired } from '../watch/triggers.ts';
import type { Reader } from '../../state/reader.ts';
import type { RunSummary } from '../../state/rows.ts';

const BLOCK_LABEL = 'sallyport.dev/block';

/** A run that answered an incident. */
export interface Answered {
  readonly run: RunSummary;
  readonly mark: IncidentMark;
  readonly state: 'in force' | 'undone' | 'done' | 'interrupted';
}

/** Runs on record that answered incidents, oldest first. */
export function readAnswered(reader: Pick<Reader, 'runs' | 'run' | 'applied'>): readonly Answered[] {
  const inForce = new Set(reader.applied().map(({ run }) => run));
  return reader.runs().flatMap((run): readonly Answered[] => {
    if (run.from !== run.to) return [];
    const mark = reader.run(run.id)?.plan.incident;
    if (mark === undefined || mark.undoes !== undefined) return [];
    const state =
      run.outcome === undefined
        ? 'interrupted'
        : mark.playbook === 'rotate'
          ? 'done'
          : inForce.has(run.id)
            ? 'in force'
            : 'undone';
    return [{ run, mark, state }];
  });
}

/** On the trail of a run, once: the proxies of its quarantine were told, whatever came of it. */
export const DRAIN_OVER = 'incident drain over';

/** Quarantines in force whose connections were to be ended, and whose proxies were not all told: the process was killed, or cancelled. */
export function readOwed(reader: Pick<Reader, 'runs' | 'run' | 'applied' | 'audit'>): readonly Answered[] {
  const owing = readAnswered(reader).filter(({ mark, state }) => mark.connections === 'drain' && state === 'in force');
  if (owing.length === 0) return [];
  const over = new Set(
    reader.audit().flatMap(({ what, run }) => (what === DRAIN_OVER && run !== undefined ? [run] : [])),
  );
  return owing.filter(({ run }) => run.outcome === 'done' && !over.has(run.id));
}

/** What the playbooks write with a label of theirs (src/readiness/quarantine.ts and block.ts), by API group. Pods of a quarantine bear it as well, and say nothing more. */
const WRITTEN: Readonly<Record<'quarantine' | 'block', readonly (readonly [group: string, kind: string])[]>> = {
  quarantine: [
    ['networking.k8s.io', 'NetworkPolicy'],
    ['cilium.io', 'CiliumNetworkPolicy'],
    ['projectcalico.org', 'NetworkPolicy'],
    ['policy.networking.k8s.io', 'AdminNetworkPolicy'],
    ['policy.networking.k8s.io', 'ClusterNetworkPolicy'],
  ],
  block: [
    ['cilium.io', 'CiliumNetworkPolicy'],
    ['projectcalico.org', 'NetworkPolicy'],
    ['policy.networking.k8s.io', 'AdminNetworkPolicy'],
    ['policy.networking.k8s.io', 'ClusterNetworkPolicy'],
    ['security.istio.io', 'AuthorizationPolicy'],
  ],
};

/** An object with the label of a quarantine or a block that no record here has. */
export interface Unrecorded {
  /** `NetworkPolicy shop/x`, as it stands in the cluster. */
  readonly object: string;
  readonly namespace: string | undefined;
  readonly does: 'quarantine' | 'block';
  /** Undefined where it does not count, since no playbook writes such a thing there. */
  readonly fired: Fired | undefined;
}

/**
 * Objects of quarantines and blocks that this state knows nothing of: another state's watch made them, or somebody who wants rules to hold back. Labels
 * and annotations are whatever their writer likes, so one counts only as the kind that a playbook writes, with the label of ours, and, where it
 * has a namespace, for a workload of that namespace.
 */
export function readUnrecorded(
  reader: Pick<Reader, 'runs' | 'run' | 'applied'>,
  objects: Iterable<KubeManifest>,
): readonly Unrecorded[] {
  return unrecorded(new Set(readAnswered(reader).map(({ mark }) => mark.id)), objects);
}

function unrecorded(known: ReadonlySet<string>, objects: Iterable<KubeManifest>): readonly Unrecorded[] {
  const found = new Map<string, Unrecorded>();
  for (const object of objects) {
    if (object.kind === 'Pod') continue;
    const labels = labelsOf(object);
    const [quarantine, block] = [labels[QUARANTINE_LABEL], labels[BLOCK_LABEL]];
    const id = quarantine ?? block;
    if (id === undefined || known.has(id)) continue;
    const does = quarantine === undefined ? 'block' : 'quarantine';
    const fired = claimOf(object, does);
    // One quarantine may be several objects. By namespace: whoever takes the id of another's object must not stand in for it.
    const key = `${namespaceOf(object) ?? ''}\n${fired === undefined ? formatRef(refOf(object)) : `\n${does}\n${id}`}`;
    if (!found.has(key))
      found.set(key, { object: formatRef(refOf(object)), namespace: namespaceOf(object), does, fired });
  }
  return [...found.values()];
}

function claimOf(object: KubeManifest, does: 'quarantine' | 'block'): Fired | undefined {
  if (!WRITTEN[does].some(([group, kind]) => isObject(object, group, kind))) return undefined;
  if (labelsOf(object)[MANAGED_BY_LABEL] !== MANAGED_BY) return undefined;
  const namespace = namespaceOf(object);
  const ofCluster = object.kind === 'AdminNetworkPolicy' || object.kind === 'ClusterNetworkPolicy';
  if (ofCluster !== (namespace === undefined)) return undefined;
  // A block says nowhere whom it keeps out but in its rules: it counts, and answers for nobody.
  const subject =
    does === 'block' ? `(${object.metadata.name})` : annotationsOf(object)['sallyport.dev/workload']?.trim();
  if (subject === undefined || subject === '') return undefined;
  const about = does === 'quarantine' ? subject.split('/')[0] : undefined;
  if (!ofCluster && about !== undefined && about !== namespace) return undefined;
  return {
    at: Date.parse(asString(object.metadata['creationTimestamp']) ?? '') || 0,
    does,
    subject,
    namespace: namespace ?? about ?? '',
    how: 'run',
    inForce: true,
    confirmed: false,
    claim: { object: formatRef(refOf(object)), ofCluster },
  };
}

/**
 * Everything that counts for the limits: what rules set off and people did, from the state; and what objects in the cluster claim that this
 * state knows nothing of. What was begun and may have been written counts as in force.
 */
export function readFired(
  reader: Pick<Reader, 'runs' | 'run' | 'applied' | 'triggered'>,
  objects: Iterable<KubeManifest>,
): readonly Fired[] {
  const answered = new Map(readAnswered(reader).map((one) => [one.mark.id, one]));
  const isOpen = (one: Answered | undefined): boolean => one?.state === 'in force' || one?.state === 'interrupted';
  const records = reader.triggered();
  const byRule = records.map((record): Fired => ({
    at: record.at,
    does: record.does,
    subject: record.subject,
    namespace: record.namespace,
    how: record.how,
    rule: record.rule,
    inForce: isOpen(answered.get(record.id)),
    confirmed: record.confirmedBy !== undefined,
  }));
  const known = new Set(records.map(({ id }) => id));
  const byPeople = [...answered.values()].flatMap((one): readonly Fired[] => {
    const { id, playbook, subject, at } = one.mark;
    if (known.has(id) || playbook === 'rotate') return [];
    const { namespace } = one.run;
    // A block by hand names a range; of one address it is the same as a rule's.
    const single = playbook === 'block' ? subject.replace(/(?<=\.\d+)\/32$|(?<=:[\da-f]*)\/128$/u, '') : subject;
    return [{ at, does: playbook, subject: single, namespace, how: 'ask', inForce: isOpen(one), confirmed: true }];
  });
  const claimed = unrecorded(new Set(answered.keys()), objects).flatMap(({ fired }) =>
    fired === undefined ? [] : [fired],
  );
  return [...byRule, ...byPeople, ...claimed].toSorted((a, b) => a.at - b.at);
}

/** As a watch is told of them. What counts comes first: a heap of what does not count shall not hide it. */
export function strangersOf(found: readonly Unrecorded[]): readonly Stranger[] {
  const strangers = found.map(({ object, namespace, does, fired }): Stranger => ({
    object,
    namespace,
    claims: does,
    counts:
      fired === undefined
        ? 'nowhere'
        : fired.claim?.ofCluster === true || fired.namespace === ''
          ? 'in the cluster'
          : 'in its namespace',
  }));
  return [
    ...strangers.filter(({ counts }) => counts !== 'nowhere'),
    ...strangers.filter(({ counts }) => counts === 'nowhere'),
  ];
}

/** How a record of a rule stands, in the words of `incident list`. */
export function stateOfRecord(record: TriggerRecord, answered: Answered | undefined): string {
  return answered?.state ?? (record.outcome === 'begun' ? 'not begun' : record.outcome);
}

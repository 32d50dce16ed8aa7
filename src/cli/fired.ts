import type { TriggerRecord } from '../model/trigger.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, labelsOf, namespaceOf } from '../model/object.ts';
import { QUARANTINE_LABEL } from '../readiness/quarantine.ts';
import { asString } from '../shared/pure/json.ts';
import type { IncidentMark } from '../plan/plan.ts';
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

/**
 * Everything that counts for the limits: what rules set off and people did, from the state; and objects of quarantines and blocks in the cluster that this
 * state knows nothing of, which another state's watch made. What was begun and may have been written counts as in force.
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
  const elsewhere = new Map<string, Fired>();
  for (const object of objects) {
    if (object.kind === 'Pod') continue;
    const labels = labelsOf(object);
    const [quarantine, block] = [labels[QUARANTINE_LABEL], labels[BLOCK_LABEL]];
    const id = quarantine ?? block;
    if (id === undefined || answered.has(id)) continue;
    elsewhere.set(id, {
      at: Date.parse(asString(object.metadata['creationTimestamp']) ?? '') || 0,
      does: quarantine === undefined ? 'block' : 'quarantine',
      subject: annotationsOf(object)['sallyport.dev/workload'] ?? `(${object.metadata.name})`,
      namespace: namespaceOf(object) ?? '',
      how: 'run',
      inForce: true,
      confirmed: false,
    });
  }
  return [...byRule, ...byPeople, ...elsewhere.values()].toSorted((a, b) => a.at - b.at);
}

/** How a record of a rule stands, in the words of `incident list`. */
export function stateOfRecord(record: TriggerRecord, answered: Answered | undefined): string {
  return answered?.state ?? (record.outcome === 'begun' ? 'not begun' : record.outcome);
}

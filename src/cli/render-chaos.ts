import type { ChaosMark } from '../plan/plan.ts';
import { CHAOS_STEP } from '../model/chaos.ts';
import { safeText } from '../shared/pure/text.ts';
import type { Reader } from '../../state/reader.ts';

/** An experiment whose object is not back. */
export interface ChaosLeft {
  /** The run that took it away. */
  readonly run: string;
  readonly namespace: string;
  readonly mark: ChaosMark;
}

/** Experiments on record that have not ended, by run: what is in force of them, and what was killed on the way there or back. */
export function readChaos(reader: Pick<Reader, 'applied' | 'openHeads' | 'run'>): readonly ChaosLeft[] {
  const found = new Map<string, ChaosLeft>();
  const add = (run: string, namespace: string): void => {
    const mark = reader.run(run)?.plan.chaos;
    if (mark !== undefined) found.set(mark.undoes ?? run, { run: mark.undoes ?? run, namespace, mark });
  };
  for (const { step, run, namespace } of reader.applied()) if (step.id.startsWith(CHAOS_STEP)) add(run, namespace);
  for (const { id, namespace } of reader.openHeads()) add(id, namespace);
  return [...found.values()];
}

/** Should it be back by `now`, ms since the epoch? One without a time on record should. */
export function isOverdue({ mark }: Pick<ChaosLeft, 'mark'>, now: number): boolean {
  return mark.until === undefined || mark.until <= now;
}

/** As documents have it. */
export function chaosDocument(one: ChaosLeft, now: number): object {
  const { namespace, mark } = one;
  return {
    namespace,
    object: mark.object,
    how: mark.how,
    until: mark.until === undefined ? null : new Date(mark.until).toISOString(),
    state: isOverdue(one, now) ? 'overdue' : 'away',
  };
}

/** For people, as long as it lasts. */
export function leftText(one: ChaosLeft, now: number): string {
  const { namespace, mark } = one;
  const until = mark.until === undefined ? undefined : new Date(mark.until).toISOString();
  const how = mark.how === 'remove' ? 'taken away' : 'loosened';
  return safeText(
    `${mark.object} in ${namespace}: ${how} by an experiment, ${
      isOverdue(one, now)
        ? `${until === undefined ? 'for how long is not on record' : `overdue since ${until}`}. Next: sallyport resume puts it back`
        : `until ${until ?? ''}`
    }`,
  );
}

/** For people, when it was ended by another command than its own. */
export function endedText(one: Omit<ChaosLeft, 'run'>, now: number): string {
  const { namespace, mark } = one;
  const how = mark.how === 'remove' ? 'taken away' : 'loosened';
  const late =
    mark.until !== undefined && isOverdue(one, now) ? `, was overdue since ${new Date(mark.until).toISOString()}` : '';
  return safeText(`${mark.object} in ${namespace} was ${how} by an experiment${late}`);
}

import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf, textFilter } from '../page.ts';
import { wrap } from '../../output.ts';
import type { AuditEntry } from '../../../engine/contract.ts';
import { PHASES, phaseIndex } from '../../../model/phase.ts';
import type { PhaseName } from '../../../model/phase.ts';
import { maskText } from '../../../shared/pure/mask.ts';
import { safeText } from '../../../shared/pure/text.ts';
import type { RunSummary } from '../../../../state/rows.ts';

/** What was done, newest first, and the phases that one can go back to. */
export function historyPage(
  namespace: string | undefined,
  now: PhaseName,
  runs: readonly RunSummary[],
  trail: readonly AuditEntry[],
  last: string | undefined,
  width: number,
): Page<Act> {
  const name = safeText(namespace ?? '');
  const command = `sallyport audit${namespace === undefined ? '' : ` --namespace ${name}`}`;
  const mine = runs.filter((run) => namespace === undefined || run.namespace === namespace);
  const back = namespace === undefined ? [] : PHASES.slice(0, phaseIndex(now));
  const rows: Row<Act>[] = [
    ...[...back].reverse().map((to): Row<Act> => ({
      text: to === 'none' ? 'Go back to the start (none)' : `Go back to ${to}`,
      pick: { kind: 'rollback', namespace: namespace ?? '', to },
      command: `sallyport rollback ${name} --to ${to}`,
    })),
    { text: `Runs (${mine.length})`, tone: 'head' },
    ...[...mine].reverse().map((run): Row<Act> => ({
      text: `  ${at(run.startedAt)} ${run.kind} ${safeText(run.namespace)} ${run.from} -> ${run.to}: ${run.outcome ?? 'open'}, by ${safeText(run.by)}`,
      ...(run.outcome === undefined ? { tone: 'doubt' } : run.outcome === 'done' ? {} : { tone: 'bad' }),
    })),
    { text: `Trail (${trail.length})`, tone: 'head' },
    ...[...trail].reverse().map((entry): Row<Act> => {
      const text = `${at(entry.at)} ${safeText(`${entry.who} ${entry.what} ${entry.object}: ${maskText(entry.reason)}`)}`;
      return {
        text: `  ${text}`,
        pick: {
          kind: 'open',
          screen: {
            kind: 'report',
            title: safeText(`${entry.what} on ${new Date(entry.at).toISOString()}`),
            lines: [
              `who: ${safeText(entry.who)}`,
              ...wrap(`why: ${safeText(maskText(entry.reason))}`, width - 4, 5).split('\n'),
              ...(entry.run === undefined ? [] : [`run: ${safeText(entry.run)}`]),
              ...wrap(safeText(entry.object), width - 4, 2).split('\n'),
            ],
            command,
          },
        },
        command,
      };
    }),
  ];
  const list = rowsOf(rows);
  return {
    title: `History${namespace === undefined ? '' : ` of ${name}`}`,
    above: [],
    rows: list,
    filter: textFilter(list),
    detail: true,
    keys: [
      {
        key: 'u',
        label: last === undefined ? 'undo the last decision' : `undo ${last}`,
        value: { kind: 'undo', about: 'any' },
      },
    ],
    help: [
      'Runs and the audit trail, newest first. Going back is a run of its own: planned from the record, simulated and confirmed. Nothing on record is ever deleted.',
    ],
    command,
  };
}

const at = (time: number): string => new Date(time).toISOString().slice(0, 16).replace('T', ' ');

import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf } from '../page.ts';
import type { OpenRun } from '../world.ts';
import type { SoakRecord } from '../../../engine/contract.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

/** How a watch stands, in a few words. */
export function soakLine(soak: SoakRecord, now: number): string {
  const parts = [`${soak.awaited.length} not seen since`];
  if (soak.memory.callers.length > 0) parts.push(plural(soak.memory.callers.length, 'new caller'));
  if (soak.memory.denials.length > 0) parts.push(`${soak.memory.denials.length} denied`);
  return `${remaining(soak, now)}; ${parts.join(', ')}`;
}

function remaining(soak: SoakRecord, now: number): string {
  if (soak.until === 0) return 'until its steps are done';
  const left = Math.ceil((soak.until - now) / 1000);
  if (left <= 0) return 'its time is over';
  if (left < 120) return `${left} s to go`;
  return left < 7200 ? `${Math.ceil(left / 60)} min to go` : `${(left / 3600).toFixed(1)} h to go`;
}

/** What soaks, as it is on record now: what is awaited, who is new, what was denied. */
export function soakPage(open: readonly OpenRun[], now: number): Page<Act> {
  const watched = open.filter(({ soak }) => soak !== undefined);
  const rows: Row<Act>[] = watched.flatMap(({ run, soak }): readonly Row<Act>[] =>
    soak === undefined
      ? []
      : [
          {
            text: `${safeText(run.namespace)} in ${run.to}, run ${safeText(run.id)}: ${remaining(soak, now)}`,
            tone: 'head',
          },
          { text: `  since ${iso(soak.since)}${soak.until === 0 ? '' : `, until ${iso(soak.until)}`}` },
          { text: `  looked at ${iso(soak.lookedAt)}${soak.left ? '; nobody waits for its end' : ''}` },
          ...soak.memory.denials.map((one): Row<Act> => ({
            text: `  DENIED ${safeText(one.text)} at ${iso(one.at)} (${safeText(one.where)})`,
            tone: 'bad',
            pick: { kind: 'open', screen: { kind: 'edge', id: one.edge } },
            command: `sallyport accept id=${safeText(one.edge)} --reason TEXT`,
          })),
          ...soak.memory.callers.map((one): Row<Act> => ({
            text: `  new caller ${safeText(one.text)}${one.denied > 0 ? ', denied' : ''}`,
            tone: 'doubt',
            pick: { kind: 'open', screen: { kind: 'edge', id: one.id } },
            command: `sallyport adopt id=${safeText(one.id)} --reason TEXT`,
          })),
          ...soak.awaited.map(({ edge, text, due }): Row<Act> => ({
            text: `  awaited ${safeText(text)}${due === undefined ? '' : `, expected by ${iso(due)}`}`,
            pick: { kind: 'open', screen: { kind: 'edge', id: edge } },
            command: 'sallyport status',
          })),
          {
            text: `  Take ${safeText(run.namespace)} back to ${run.from}`,
            pick: { kind: 'rollback', namespace: run.namespace, to: run.from },
            command: `sallyport rollback ${safeText(run.namespace)} --to ${run.from}`,
          },
        ],
  );
  if (rows.length === 0) rows.push({ text: 'Nothing soaks.' });
  return {
    title: `Soak: ${plural(watched.length, 'watch', 'watches')}`,
    above: [],
    rows: rowsOf(rows),
    detail: true,
    keys:
      watched.length === 0
        ? []
        : [
            {
              key: 'f',
              label: 'look now, and finish what is over',
              value: { kind: 'resume' },
              command: 'sallyport resume',
            },
          ],
    help: [
      'The watch after a step: each edge that the step touched must be seen anew. The page follows the state every two seconds; f reads the signals and ends a watch that is over.',
    ],
    command: 'sallyport status',
    everyMs: 2000,
  };
}

const iso = (time: number): string => `${new Date(time).toISOString().slice(0, 19)}Z`;

import type { Act } from '../act.ts';
import type { Page, Row } from '../page.ts';
import { rowsOf } from '../page.ts';
import { wrap } from '../../output.ts';
import type { RecordedGrant } from '../../../readiness/recorded-grants.ts';
import { plural, safeText } from '../../../shared/pure/text.ts';

/** What is open, until when and why; one is ended by choosing it. From the record alone, as it is at this moment. */
export function grantsPage(grants: readonly RecordedGrant[], now: number, width: number): Page<Act> {
  const over = grants.filter(({ until }) => until <= now);
  const rows = grants.flatMap((one): readonly Row<Act>[] => {
    const isOver = one.until <= now;
    const read = (text: string): readonly Row<Act>[] =>
      wrap(safeText(text), width - 1, 4, 2)
        .split('\n')
        .map((line) => ({ text: line }));
    return [
      {
        text: `${safeText(one.id)} ${one.kind}, ${remaining(one, now)}`,
        tone: isOver ? 'bad' : 'head',
      },
      ...read(one.text),
      ...read(`until ${iso(one.until)}, since ${iso(one.since)}, by ${one.by}`),
      ...read(`because: ${one.reason}`),
      ...read(`objects: ${one.objects.join(', ')}`),
      {
        text: `  End ${safeText(one.id)} now`,
        tone: isOver ? 'bad' : 'doubt',
        pick: { kind: 'end-grant', id: one.id },
        command: `sallyport grant revoke ${safeText(one.id)}`,
      },
    ];
  });
  if (rows.length === 0) rows.push({ text: 'No access that ends by itself is open.' });
  return {
    title: `Access that ends by itself: ${plural(grants.length, 'grant')}`,
    above: [],
    rows: rowsOf(rows),
    detail: true,
    keys:
      over.length === 0
        ? []
        : [
            {
              key: 'x',
              label: `end the ${over.length} that ${over.length === 1 ? 'is' : 'are'} over`,
              value: { kind: 'expire-grants' },
              command: 'sallyport grant expire',
            },
          ],
    help: [
      'Grants and break-glass in force, as the record has them. Each ends at its time; a run, the CronJob of templates/grants, or a choice here takes its objects away. Sessions and connections that are open then may live on.',
    ],
    command: 'sallyport grant list',
    everyMs: 2000,
  };
}

/** The line of the first page; undefined where nothing is open. */
export function grantsLine(grants: readonly RecordedGrant[], now: number): Row<Act> | undefined {
  if (grants.length === 0) return undefined;
  const over = grants.filter(({ until }) => until <= now).length;
  const [next] = grants.filter(({ until }) => until > now).toSorted((a, b) => a.until - b.until);
  const parts = [
    `${plural(grants.length, 'grant')} in force`,
    ...(over > 0 ? [`${over} over and not taken away`] : []),
    ...(next === undefined ? [] : [`the next ends in ${span(next.until - now)}`]),
  ];
  return {
    text: `Access that ends by itself: ${parts.join('; ')}`,
    tone: over > 0 ? 'bad' : 'doubt',
    pick: { kind: 'open', screen: { kind: 'grants' } },
    command: 'sallyport grant list',
  };
}

function remaining({ until }: RecordedGrant, now: number): string {
  return until <= now ? 'over, and not taken away yet' : `${span(until - now)} to go`;
}

function span(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const iso = (time: number): string => `${new Date(time).toISOString().slice(0, 19)}Z`;

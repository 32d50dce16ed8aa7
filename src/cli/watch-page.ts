import { groupBy } from '../shared/pure/order.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { TriggerRecord } from '../model/trigger.ts';
import type { Notice } from '../watch/notice.ts';
import type { WatchState } from '../watch/state.ts';
import type { Output } from './output.ts';
import { API_VERSION, cut, paint } from './output.ts';
import { escapeJson } from '../shared/pure/text.ts';
import type { WatcherHealth } from './watcher.ts';

const iso = (time: number): string => new Date(time).toISOString();

/** A notice as one line of JSON, times in ISO 8601: what programs read. */
export function noticeLine(notice: Notice): string {
  const { at, since, ...rest } = notice;
  const body = { apiVersion: API_VERSION, event: 'notice', at: iso(at), since: iso(since), ...rest };
  return escapeJson(JSON.stringify(notice.kind === 'grant' ? { ...body, expires: iso(notice.expires) } : body));
}

/** What a rule set off, as one line of JSON: the evidence, and how the limits stood. */
export function triggerLine(record: TriggerRecord): string {
  const { at, notice, ...rest } = record;
  return watchLine(at, 'trigger', { ...rest, notice: { ...notice, at: iso(notice.at) }, text: triggerText(record) });
}

/** The same for people. */
export function triggerText({ id, rule, does, subject, outcome, why }: TriggerRecord): string {
  const what = does === 'escalate' ? does : `${does} ${subject}`;
  const said = why.length === 0 ? '' : `: ${why.join('; ')}`;
  switch (outcome) {
    case 'proposed':
      return `rule ${rule} would ${what}${said} (sallyport incident run ${id})`;
    case 'refused':
      return `rule ${rule} could not ${what}${said} (sallyport incident run ${id})`;
    default:
      return `rule ${rule}: ${what}${said} (sallyport incident undo ${id})`;
  }
}

/** What happened to the watch itself, as a line of JSON. */
export function watchLine(at: number, event: string, body: object): string {
  return escapeJson(JSON.stringify({ apiVersion: API_VERSION, event, at: iso(at), ...body }));
}

const RANK = { error: 0, warning: 1, info: 2 } as const;
const COLOR = { error: 'red', warning: 'yellow', info: 'dim' } as const;
/** Lines of the page that are no list. */
const HEAD_LINES = 5;

export interface Page {
  readonly state: WatchState;
  readonly health: WatcherHealth;
  readonly latest: readonly Notice[];
  /** What rules set off, newest last. */
  readonly triggered?: readonly string[];
  readonly now: number;
  readonly rows: number;
  readonly description: string;
}

/** The page of a terminal: where the watch stands, what is open, and what was told last. */
export function renderPage(output: Output, page: Page): readonly string[] {
  const { state, health, latest, now } = page;
  const line = (text: string): string => cut(safeText(text), output.width);
  let objects = 0;
  for (const own of state.objects.values()) objects += own.size;
  const phases = [...groupBy(state.record.phases.values(), (phase) => phase)].map(
    ([phase, list]) => `${list.length} in ${phase}`,
  );
  const open = [...state.open.values()].sort((a, b) => RANK[a.severity] - RANK[b.severity] || b.at - a.at);
  const room = Math.max(4, page.rows - HEAD_LINES - 2 - (page.triggered ?? []).length);
  const forOpen = Math.max(2, Math.ceil(room * 0.6));
  const shown = open.slice(0, forOpen);
  return [
    line(`sallyport watch  ${page.description}  ${iso(now)}`),
    line(
      health.ready
        ? `${plural(objects, 'object')}, ${plural(state.record.edges.length, 'edge')} on record; ${phases.length === 0 ? 'no namespace is under way' : phases.join(', ')}`
        : state.awaited.size > 0
          ? `reading the cluster: ${plural(state.awaited.size, 'kind')} to go`
          : 'judging for the first time',
    ),
    ...(page.triggered ?? []).map((text) => paint(output, 'yellow', line(text))),
    '',
    paint(output, 'bold', open.length === 0 ? 'Nothing is open.' : `Open: ${open.length}`),
    ...shown.map((one) =>
      paint(output, COLOR[one.severity], line(`${one.severity.padEnd(7)} ${one.kind}: ${one.text}`)),
    ),
    ...(open.length > shown.length ? [line(`and ${open.length - shown.length} more (-o jsonl tells all)`)] : []),
    '',
    paint(output, 'bold', latest.length === 0 ? 'Nothing was told yet.' : 'Latest'),
    ...latest
      .slice(-Math.max(1, room - shown.length))
      .toReversed()
      .map((one) => line(`${iso(one.at).slice(11, 19)} ${one.state.padEnd(7)} ${one.kind}: ${one.text}`)),
  ];
}

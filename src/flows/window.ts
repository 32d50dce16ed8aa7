import type { DaySeen, Evidence } from '../model/evidence.ts';
import { groupBy, sortBy } from '../shared/pure/order.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** For how long one source recorded one namespace. Times are milliseconds since the epoch. */
export interface SourceWindow {
  readonly source: string;
  readonly from: number;
  readonly to: number;
  readonly hours: number;
  /** UTC days inside on which the source recorded nothing at all. */
  readonly gapDays: number;
  /** UTC days on which it recorded anything. */
  readonly days: ReadonlySet<string>;
  /** Records of the source were folded before days were kept by namespace: the window is that of all namespaces and sources. */
  readonly overall: boolean;
}

/**
 * The windows of a namespace, one for each source that recorded traffic of it, the longest first. A source that records others alone
 * says nothing of it. Silence of the namespace at either end counts as recorded where the source went on recording others, for as long
 * as the namespace was silent in between, or a day: longer silence may as well be a source that was pointed elsewhere.
 */
export function windowsOf(namespace: string, evidence: Evidence): readonly SourceWindow[] {
  const seen = evidence.seen ?? [];
  if (seen.length === 0) return overallWindow(evidence);
  const all = groupBy(
    seen.filter((one) => one.namespace === ''),
    (one) => one.source,
  );
  const own = groupBy(
    seen.filter((one) => one.namespace === namespace),
    (one) => one.source,
  );
  const windows: SourceWindow[] = [];
  for (const [source, days] of own) {
    const recorded = all.get(source) ?? days;
    const silence = longestSilence(days);
    const ownFirst = firstOf(days);
    const ownLast = lastOf(days);
    const from = ownFirst - firstOf(recorded) <= silence ? firstOf(recorded) : ownFirst;
    const to = lastOf(recorded) - ownLast <= silence ? lastOf(recorded) : ownLast;
    windows.push(windowFrom(source, from, to, new Set(recorded.map((one) => one.day)), false));
  }
  return sortBy(windows, (one) => one.source).toSorted((a, b) => a.gapDays - b.gapDays || b.hours - a.hours);
}

function overallWindow(evidence: Evidence): readonly SourceWindow[] {
  const { first, last, days, sources } = evidence;
  if (first === undefined || last === undefined) return [];
  const names = sources.map((one) => one.source).join(', ');
  return [windowFrom(names, first, last, new Set(days), true)];
}

function windowFrom(
  source: string,
  from: number,
  to: number,
  days: ReadonlySet<string>,
  overall: boolean,
): SourceWindow {
  // Counted from the days that are there: between two times that somebody wrote there may be any number of others.
  const [firstDay, lastDay] = [Math.floor(from / DAY_MS), Math.floor(to / DAY_MS)];
  let recorded = 0;
  for (const day of days) {
    const number = Math.floor(Date.parse(`${day}T00:00:00Z`) / DAY_MS);
    if (number >= firstDay && number <= lastDay) recorded += 1;
  }
  const gapDays = Math.max(0, lastDay - firstDay + 1 - recorded);
  return { source, from, to, hours: (to - from) / HOUR_MS, gapDays, days, overall };
}

function longestSilence(days: readonly DaySeen[]): number {
  const sorted = sortBy(days, (one) => one.day);
  let longest = DAY_MS;
  for (const [index, one] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before !== undefined) longest = Math.max(longest, one.first - before.last);
  }
  return longest;
}

function firstOf(days: readonly DaySeen[]): number {
  return days.reduce((least, one) => Math.min(least, one.first), Infinity);
}

function lastOf(days: readonly DaySeen[]): number {
  return days.reduce((most, one) => Math.max(most, one.last), -Infinity);
}

/**
 * The window inside which every schedule of a namespace must have succeeded: `hours` back from `now` (ms since the epoch), or the whole of a longer
 * record, since what ran before the last week still ran while somebody watched. `days` where it is known on which days anything was recorded.
 */
export function scheduleWindow(
  namespace: string,
  evidence: Evidence,
  hours: number,
  now: number,
): { readonly from: number; readonly to: number; readonly days?: ReadonlySet<string> } {
  const windows = windowsOf(namespace, evidence);
  return {
    from: Math.min(now - hours * HOUR_MS, ...windows.map((one) => one.from)),
    to: now,
    ...(windows.some((one) => one.overall) ? {} : { days: new Set(windows.flatMap((one) => [...one.days])) }),
  };
}

// A day with drift, attacks and outages, in seconds: all of it is told, in time, and nothing else is. A longer one, and a larger cluster:
// npm run bench -- watch --days 3 --workloads 5000
import { expect, it } from 'vitest';
import { runDay } from './day.ts';

it('in a day everything that happens is told in time, and nothing that does not', async () => {
  const report = await runDay({ namespaces: 6, days: 1, stepSec: 60 });
  const late = report.told.filter(
    ({ afterMs, within }) => afterMs === undefined || afterMs > Math.max(within, 60_000) + 60_000,
  );
  expect(
    late.map(({ name, afterMs }) => `${name}: ${afterMs === undefined ? 'never' : `${afterMs / 1000} s`}`),
  ).toEqual([]);
  expect(report.wrong.map(({ kind, text }) => `${kind}: ${text}`)).toEqual([]);
  // What was put right, reviewed or went quiet is not open any more: the last caller of the day nobody has judged yet.
  expect(report.open.map(({ kind }) => kind).filter((kind) => kind !== 'new-caller')).toEqual([]);
  expect(report.sightings).toBeGreaterThan(7000);
});

// A day of attacks and outages with rules that act: everybody who attacked is answered, in time, and nobody else.
import { expect, it } from 'vitest';
import { runSiege } from './siege.ts';

it('in a day under attack rules answer those who attacked, within the limits, and nobody else', async () => {
  const report = await runSiege(6, 30);
  expect(report.answers.filter(({ afterMs }) => afterMs === undefined).map(({ name }) => name)).toEqual([]);
  expect(report.answers.filter(({ afterMs = 0 }) => afterMs > 11 * 60_000).map(({ name }) => name)).toEqual([]);
  expect(report.wrong).toEqual([]);
  // Everything of the ordinary day is told all the same.
  expect(report.day.told.filter(({ afterMs }) => afterMs === undefined).map(({ name }) => name)).toEqual([]);
  expect(report.day.wrong.map(({ kind, text }) => `${kind}: ${text}`)).toEqual([]);
  // Of the flood half of what an hour may propose (ten); the second workload, the partner's address and the one while it was stopped.
  expect(report.proposals).toBe(13);
  expect(report.dropped.join()).toContain('more was proposed or told');
});

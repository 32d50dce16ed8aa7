import { describe, expect, it } from 'vitest';
import { checkSchedules, dueTimes } from '../../src/flows/schedules.ts';
import { NO_EVIDENCE } from '../../src/model/evidence.ts';
import type { Schedule } from '../../src/model/inventory.ts';
import { DAY, HOUR, MONDAY, emptyInventory, workload } from './build.ts';

const window = { from: MONDAY, to: MONDAY + 7 * DAY };

function check(schedule: Partial<Schedule>, runs: readonly string[] = []) {
  const id = 'batch/CronJob/report';
  const inventory = emptyInventory({
    workloads: [
      workload(id, { schedule: { cron: '0 3 * * *', suspended: false, by: 'CronJob', ...schedule } }),
      workload('batch/Deployment/web'),
      workload('other/CronJob/report', { schedule: { cron: '0 3 * * *', suspended: false, by: 'CronJob' } }),
    ],
  });
  const checks = checkSchedules('batch', inventory, { ...NO_EVIDENCE, runs: { [id]: runs } }, window);
  expect(checks).toHaveLength(1);
  return checks[0];
}

describe('a schedule', () => {
  it.each<[string, Partial<Schedule>, readonly string[], string, string]>([
    ['succeeded inside the window', { lastSuccess: MONDAY + DAY }, [], 'yes', ''],
    ['succeeded at the edge of the window', { lastSuccess: MONDAY }, [], 'yes', ''],
    ['succeeded inside and is suspended since', { lastSuccess: MONDAY + DAY, suspended: true }, [], 'yes', ''],
    ['succeeded before the window', { lastSuccess: MONDAY - 1 }, [], 'no', 'before the window'],
    ['succeeded after the window', { lastSuccess: window.to + 1 }, [], 'unknown', 'after the window'],
    ['never succeeded', { lastSchedule: MONDAY + DAY }, ['report-1'], 'no', 'never succeeded'],
    ['ran, with what outcome nobody knows', {}, ['report-1'], 'unknown', 'whether it succeeded is not known'],
    ['has no status', {}, [], 'unknown', 'whether it ever succeeded'],
    ['is suspended', { suspended: true }, [], 'no', 'suspended'],
  ])('%s', (_, schedule, runs, answer, fact) => {
    const result = check(schedule, runs);
    expect(result?.answer).toBe(answer);
    expect(result?.facts[0]).toContain(fact);
    if (answer === 'yes') expect(result?.fix).toBe('');
    else expect(result?.fix).toContain('waive gate=schedules,subject=batch/CronJob/report');
  });

  it('that comes once a year is to be triggered, not waited for', () => {
    const result = check({ cron: '0 0 1 1 *', lastSuccess: MONDAY - 200 * DAY });
    expect(result?.fix).toContain('kubectl create job --from=cronjob/report');
    expect(result?.cadenceMs).toBeGreaterThanOrEqual(365 * DAY);
  });

  it('that comes soon is to be waited for', () => {
    expect(check({ lastSuccess: MONDAY - DAY })?.fix).toContain('let the run of 2026-10-12T03:00:00.000Z succeed');
  });

  it.each(['61 * * * *', 'whenever', '', '0 0 31 2 *', 'H * * * *', '@every', '@every 0s', '* * * *'])(
    'that does not read is said: %s',
    (cron) => {
      const result = check({ cron });
      expect(result?.cadenceMs).toBeUndefined();
      expect(result?.facts).toContain('its schedule does not read');
    },
  );
});

describe('due times', () => {
  it.each([
    ['0 3 * * *', undefined, MONDAY - 21 * HOUR, MONDAY + 3 * HOUR, DAY],
    ['0 3 * * *', 'America/New_York', MONDAY - 17 * HOUR, MONDAY + 7 * HOUR, 25 * HOUR],
    ['TZ=America/New_York 0 3 * * *', undefined, MONDAY - 17 * HOUR, MONDAY + 7 * HOUR, 25 * HOUR],
    ['@hourly', undefined, MONDAY, MONDAY + HOUR, HOUR],
    ['0 9 * * 1-5', undefined, MONDAY - 63 * HOUR, MONDAY + 9 * HOUR, 72 * HOUR],
    ['@every 1h30m', undefined, MONDAY - 1.5 * HOUR, MONDAY + 1.5 * HOUR, 1.5 * HOUR],
  ])('%s in %s', (cron, timeZone, previous, next, cadenceMs) => {
    expect(dueTimes({ cron, ...(timeZone === undefined ? {} : { timeZone }) }, MONDAY)).toEqual({
      previous,
      next,
      cadenceMs,
    });
  });
});

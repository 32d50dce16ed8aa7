// Probes on a schedule: at their times, one run after the other, told as notices and numbers, and never in the way of the watch.
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../src/engine/contract.ts';
import type { Probed } from '../../src/cli/probe.ts';
import { openTelemetry } from '../../src/cli/telemetry.ts';
import type { ProbeSchedule } from '../../src/cli/watch-probes.ts';
import { probeOnSchedule, probeSchedule } from '../../src/cli/watch-probes.ts';
import type { Gate } from '../../src/model/finding.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import { reduceWatch } from '../../src/watch/reduce.ts';
import type { Notice } from '../../src/watch/notice.ts';
import { startWatch } from '../../src/watch/state.ts';
import { CONFIG } from '../support/rig.ts';

const START = Date.UTC(2026, 0, 1, 10, 10);
const IMAGE = `registry.example/sallyport@sha256:${'a'.repeat(64)}`;
const gate = (answer: Gate['answer'], subject = 'shop/Deployment/web -> shop/Deployment/db 5432/TCP'): Gate => ({
  id: 'probe',
  answer,
  subject,
  facts: [`must pass: ${answer}`],
  fix: 'look',
});

/** Runs the schedule until `until`; what each run of the probes answers comes from `answers`. */
async function play(
  until: number,
  answers: readonly (readonly Gate[] | Error)[],
  more: Partial<ProbeSchedule> = {},
): Promise<{ readonly at: readonly string[]; readonly notices: readonly Notice[]; readonly metrics: string }> {
  let now = START;
  const stop = new AbortController();
  const clock: Clock = {
    now: () => now,
    sleep: (ms) => {
      now += ms;
      if (now >= until) stop.abort(new Error('over'));
      return Promise.resolve();
    },
  };
  const at: string[] = [];
  const notices: Notice[] = [];
  const telemetry = openTelemetry();
  let state = startWatch(CONFIG);
  await probeOnSchedule({
    schedule: { cron: '*/30 * * * *', file: 'probes.yaml' },
    clock,
    signal: stop.signal,
    isReady: () => true,
    probe: () => {
      at.push(new Date(now).toISOString().slice(11, 16));
      const answer = answers[Math.min(at.length, answers.length) - 1] ?? [];
      // A run takes its time: a minute.
      now += 60_000;
      return answer instanceof Error
        ? Promise.reject(answer)
        : Promise.resolve<readonly Probed[]>([{ namespace: 'shop', gates: answer }]);
    },
    take: (event) => {
      const reduced = reduceWatch(state, event, now);
      state = reduced.state;
      notices.push(...reduced.notices);
    },
    probed: telemetry.probed,
    note: () => undefined,
    ...more,
  });
  return { at, notices, metrics: await telemetry.render() };
}
const HOUR = 3_600_000;

describe('probes on a schedule', () => {
  it('are tried at their times, told once, and cleared when they are as they must be', async () => {
    const { at, notices, metrics } = await play(START + 2 * HOUR, [
      [gate('yes')],
      [gate('no')],
      [gate('no')],
      [gate('yes')],
    ]);
    expect(at).toEqual(['10:30', '11:00', '11:30', '12:00']);
    expect(notices.map(({ kind, state, severity }) => [kind, state, severity])).toEqual([
      ['probe', 'raised', 'error'],
      ['probe', 'cleared', 'info'],
    ]);
    expect(metrics).toContain('sallyport_probes{answer="yes"} 1');
    expect(metrics).toContain('sallyport_probes{answer="no"} 0');
    expect(metrics).toMatch(/^sallyport_probe_last_timestamp_seconds \d+/mu);
  });

  it('that cannot be told are warnings, and a pair that left the file is over', async () => {
    const { notices } = await play(START + HOUR + HOUR / 2, [[gate('unknown')], [gate('yes', 'another')]]);
    expect(notices.map(({ state, severity }) => [state, severity])).toEqual([
      ['raised', 'warning'],
      ['cleared', 'info'],
    ]);
  });

  it('that could not be tried are said to be unseen, and the watch goes on', async () => {
    const failure = new Failure({ code: 'SP206', exit: EXIT.usage, message: 'the file is gone', hint: 'bring it' });
    const { at, notices } = await play(START + HOUR + HOUR / 2, [failure, [gate('yes')]]);
    expect(at).toHaveLength(3);
    expect(notices.map(({ kind, state }) => [kind, state])).toEqual([
      ['blind', 'raised'],
      ['blind', 'cleared'],
    ]);
  });

  it('wait until the watch knows the cluster', async () => {
    expect((await play(START + HOUR, [], { isReady: () => false })).at).toEqual([]);
  });

  it.each([
    [{ image: IMAGE, cron: 'whenever' }, 'no schedule'],
    [{ image: IMAGE, cron: '0 0 30 2 *' }, 'no schedule'],
    [{ image: 'registry.example/sallyport:latest', cron: '* * * * *' }, 'not pinned'],
  ])('%j is refused at the start', ({ image, cron }, why) => {
    expect(() => probeSchedule({ probe: { image, namespaces: ['*'], schedule: { cron, file: 'f' } } }, START)).toThrow(
      why,
    );
  });
});

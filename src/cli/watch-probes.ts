import { dueTimes } from '../flows/schedules.ts';
import type { Clock } from '../engine/contract.ts';
import type { Config } from '../model/config.ts';
import { isPinned } from '../model/probe.ts';
import { isFailure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';
import type { WatchEvent } from '../watch/state.ts';
import type { Probed } from './probe.ts';
import { wrongWatch } from './watch-serve.ts';

/** A sleep is at most this long: clocks of machines are moved, and a laptop sleeps. */
const LONGEST_SLEEP_MS = 60_000;

export interface ProbeSchedule {
  readonly schedule: NonNullable<NonNullable<Config['probe']>['schedule']>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Everything is known: before that a probe would be told nothing. */
  readonly isReady: () => boolean;
  /** Tries every pair of the file once. Failures pass: it is tried again at the next time. */
  readonly probe: () => Promise<readonly Probed[]>;
  readonly take: (event: WatchEvent) => void;
  readonly probed: (namespaces: readonly Probed[], at: number) => void;
  readonly note: (text: string) => void;
}

/** The schedule of the configuration, if there is one. Errors (SP249): fields that are no cron, an image that is not pinned. */
export function probeSchedule({ probe }: Pick<Config, 'probe'>, now: number): ProbeSchedule['schedule'] | undefined {
  const schedule = probe?.schedule;
  if (probe === undefined || schedule === undefined) return undefined;
  if (!isPinned(probe.image))
    throw wrongWatch(
      `probe.image ${safeText(probe.image)} is not pinned`,
      'probe.schedule',
      'name it by its digest: REPOSITORY@sha256:...',
    );
  if (nextOf(schedule, now) === undefined)
    throw wrongWatch(
      `${safeText(schedule.cron)} is no schedule that comes`,
      'probe.schedule',
      'five fields of cron: "*/30 * * * *"; timeZone is a name like Europe/Berlin',
    );
  return schedule;
}

function nextOf({ cron, timeZone }: ProbeSchedule['schedule'], at: number): number | undefined {
  return dueTimes({ cron, ...(timeZone === undefined ? {} : { timeZone }) }, at)?.next;
}

/**
 * Tries the pairs at their times until the signal, one run after the other: a time that comes while one is under way is passed over. What came of it is
 * told as notices; that it could not be tried at all is, too.
 */
export async function probeOnSchedule(ports: ProbeSchedule): Promise<void> {
  const { clock, signal, schedule } = ports;
  let due = nextOf(schedule, clock.now());
  while (!signal.aborted && due !== undefined) {
    const left = due - clock.now();
    if (left > 0) {
      await clock.sleep(Math.min(left, LONGEST_SLEEP_MS), signal).catch(() => undefined);
      continue;
    }
    if (ports.isReady()) await probeOnce(ports);
    due = nextOf(schedule, clock.now());
  }
}

async function probeOnce(ports: ProbeSchedule): Promise<void> {
  const of = 'the file of probes';
  try {
    const found = await ports.probe();
    // A run that was cut short has unknowns that mean nothing.
    if (ports.signal.aborted) return;
    ports.take({ kind: 'probed', namespaces: found });
    ports.take({ kind: 'back', what: 'probes', of });
    ports.probed(found, ports.clock.now());
  } catch (error) {
    if (!isFailure(error)) throw error;
    ports.take({ kind: 'away', what: 'probes', of, why: error.message });
    ports.note(`probes were not tried: ${error.message}`);
  }
}

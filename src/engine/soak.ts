import type { Gate } from '../model/finding.ts';
import type { Plan } from '../plan/plan.ts';
import type { Denial, KnownEdges, SoakView, WatchedStep } from '../plan/soak.ts';
import { NO_MEMORY, addSightings, bearsOnTraffic, indexKnown, pullsBack, soakGates, viewSoak } from '../plan/soak.ts';
import { plural } from '../shared/pure/text.ts';
import type { Clock, Journal, LeaseHold, SignalReport, Signals, SoakRecord, SoakWorld } from './contract.ts';
import type { Emit } from './events.ts';

/** Between two looks. A denial is told within this and the time that its record takes to be written. */
const LOOK_MS = 1_000;
/** Between two looks while a step has only just been written. */
const SHORT_LOOK_MS = 250;
/**
 * What a write needs to act everywhere: a policy engine or a proxy takes part of a second to be told and to act, and a recorder writes
 * its records every second or so. A record from beyond that moment shows the new state.
 */
const SETTLE_MS = 1_500;
/** A signal that stays silent so long after a write is not waited for: where nobody speaks, nobody is denied. */
const SHORT_LIMIT_MS = 4_000;
/** What was seen is kept on disk so often; whatever a crash takes is read again from the signals. */
const SAVE_MS = 5_000;
/** A Lease lasts a minute. */
const RENEW_MS = 15_000;

/** What the watch needs of the engine. */
interface Watchman {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly emit: Emit;
}

/** What a run under watch has to tell. */
export interface SoakReport {
  readonly since: number;
  /** When the watch is over; undefined while steps were still to be performed. */
  readonly until: number | undefined;
  /** Nobody waits: `resume` ends it. */
  readonly left: boolean;
  readonly view: SoakView;
  readonly gates: readonly Gate[];
  readonly signals: readonly SignalReport[];
  readonly gaps: readonly string[];
}

export interface Watch {
  /** Looks until what was just written must have shown itself. The denial that pulls the run back, if there is one. */
  afterStep(): Promise<Denial | undefined>;
  /** One look at all that came since the last one. */
  look(): Promise<Denial | undefined>;
  /** Watches for the time that is set after the last step; `undefined` when that is over without a denial. */
  wait(hold: LeaseHold): Promise<Denial | 'cancelled' | undefined>;
  /** Starts the time to wait, unless it runs already. */
  settle(): void;
  /** The next phase begins: it has a watch of its own at its end. */
  next(): void;
  /** Leaves the rest to `resume`. */
  leave(): void;
  isOver(): boolean;
  isLeft(): boolean;
  report(): Promise<SoakReport>;
  refresh(): void;
  /** Keeps what was seen. */
  save(): void;
}

/** Does a plan need a watch: does any of its steps bear on traffic? */
export function needsWatch(plan: Plan): boolean {
  return plan.direction === 'up' && plan.steps.some((step) => bearsOnTraffic(step.change));
}

/** The first record of a watch: how far the signals have come before the first write. */
export function firstSoak(
  run: string,
  startedAt: number,
  signals: Signals,
  deniedBefore: readonly string[],
): SoakRecord {
  return {
    run,
    since: startedAt,
    until: 0,
    left: false,
    lookedAt: startedAt,
    position: signals.position(),
    memory: { ...NO_MEMORY, deniedBefore },
    awaited: [],
  };
}

/** Takes up the watch of a run where its record stands. */
export async function openWatch(
  plan: Plan,
  startedAt: number,
  start: SoakRecord,
  signals: Signals,
  world: SoakWorld,
  man: Watchman,
): Promise<Watch> {
  const { journal, clock, emit } = man;
  const { run } = start;
  let record = start;
  let known: KnownEdges = indexKnown(await world.known(plan));
  let reports: readonly SignalReport[] = [];
  const gaps: string[] = [];
  let savedAt = clock.now();
  const told = new Map(start.memory.callers.map((caller) => [caller.id, caller.denied > 0]));
  const length = Math.max(world.minutes * 60_000, world.drainSeconds * 1000 + LOOK_MS);

  const readSteps = (): readonly WatchedStep[] => {
    const doneAt = new Map(journal.applied().map((applied) => [applied.seq, applied.at]));
    return journal.stepsOf(run).flatMap(({ seq, state, step }) => {
      const at = doneAt.get(seq);
      if (state === 'done' && at !== undefined) return [{ step, at }];
      return state === 'started' ? [{ step, at: startedAt }] : [];
    });
  };
  // Read again only where a step may have moved: the record of many runs is long, and a watch looks each second.
  let steps = readSteps();
  const view = (): SoakView => viewSoak(record.memory, known, steps, record.since);
  const save = (): void => {
    const awaited = view().awaited.map(({ edge, text, due }) => ({
      edge,
      text,
      ...(due === undefined ? {} : { due }),
    }));
    record = { ...record, awaited };
    journal.saveSoak(record);
    savedAt = clock.now();
  };

  /** What came since the last look, all of it. */
  const look = async (): Promise<Denial | undefined> => {
    for (;;) {
      const looked = await signals.look();
      reports = looked.signals;
      record = {
        ...record,
        lookedAt: clock.now(),
        position: signals.position(),
        memory: addSightings(record.memory, looked.sightings, known, steps, startedAt),
      };
      if (looked.gaps.length > 0) {
        gaps.push(...looked.gaps);
        // What was missed may have been a denial: the watch that counts begins anew.
        const now = clock.now();
        record = { ...record, since: now, until: record.until === 0 ? 0 : now + length };
      }
      const now = view();
      for (const caller of now.callers) {
        const denied = caller.denied > 0;
        if (told.get(caller.id) === denied || told.get(caller.id) === true) continue;
        told.set(caller.id, denied);
        emit({ kind: 'new-caller', text: caller.text, denied });
      }
      const denial = pullsBack(now);
      if (denial !== undefined) {
        save();
        return denial;
      }
      if (!looked.more) break;
    }
    if (clock.now() - savedAt >= SAVE_MS) save();
    return undefined;
  };

  const pause = async (milliseconds: number): Promise<void> => {
    try {
      await clock.sleep(milliseconds, man.signal);
    } catch (error) {
      if (!man.signal.aborted) throw error;
    }
  };

  const tell = (): void => {
    const { seen, awaited, callers } = view();
    const left = Math.max(0, record.until - clock.now());
    const next = awaited[0];
    emit({
      kind: 'soak',
      until: record.until,
      text: [
        `watching ${plural(reports.length, 'signal')}: ${seen.length} of ${plural(seen.length + awaited.length, 'edge')} seen anew`,
        ...(next === undefined
          ? []
          : [`awaiting ${next.text}${awaited.length > 1 ? ` and ${awaited.length - 1} more` : ''}`]),
        ...(callers.length === 0 ? [] : [plural(callers.length, 'new caller')]),
        `${formatSpan(left)} left`,
      ].join('; '),
    });
  };

  return {
    look: () => {
      steps = readSteps();
      return look();
    },
    save,
    refresh: () => signals.refresh(),
    async afterStep() {
      steps = readSteps();
      const written = clock.now();
      // A signal that has said nothing so far is not expected to speak just now.
      const speaks = (): readonly SignalReport[] => reports.filter(({ newest }) => newest !== undefined);
      for (;;) {
        const denial = await look();
        if (denial !== undefined) return denial;
        const now = clock.now();
        const past =
          speaks().length > 0 && speaks().every(({ newest }) => newest !== undefined && newest >= written + SETTLE_MS);
        if ((past && now >= written + SETTLE_MS) || now >= written + SHORT_LIMIT_MS || man.signal.aborted)
          return undefined;
        await pause(SHORT_LOOK_MS);
      }
    },
    settle() {
      if (record.until !== 0) return;
      steps = readSteps();
      const last = Math.max(record.since, ...steps.map(({ at }) => at));
      record = { ...record, until: last + length };
      save();
    },
    async wait(hold) {
      let renewed = clock.now();
      for (;;) {
        const denial = await look();
        if (denial !== undefined) return denial;
        tell();
        const now = clock.now();
        if (now >= record.until) {
          save();
          return undefined;
        }
        if (man.signal.aborted) {
          save();
          return 'cancelled';
        }
        if (now - renewed >= RENEW_MS) {
          await hold.assertHeld();
          renewed = now;
        }
        await pause(Math.min(LOOK_MS, record.until - now));
      }
    },
    next() {
      record = { ...record, until: 0 };
      save();
    },
    leave() {
      record = { ...record, left: true };
      save();
    },
    isOver: () => record.until !== 0 && clock.now() >= record.until,
    isLeft: () => record.left,
    async report() {
      known = indexKnown(await world.known(plan));
      const now = view();
      const gates = soakGates(plan.namespace, now).map((gate) => world.settle(gate));
      const waived = new Set(gates.filter((gate) => gate.answer === 'yes').map((gate) => gate.subject));
      return {
        since: record.since,
        until: record.until === 0 ? undefined : record.until,
        left: record.left,
        view: { ...now, awaited: now.awaited.filter(({ edge }) => !waived.has(edge)) },
        gates,
        signals: reports,
        gaps,
      };
    },
  };
}

/** `1 h 5 min`, `4 min 10 s`, `12 s`. */
export function formatSpan(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

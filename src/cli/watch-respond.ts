import type { TriggerConfig, TriggerRecord } from '../model/trigger.ts';
import { isFailure } from '../shared/pure/errors.ts';
import type { Notice } from '../watch/notice.ts';
import type { WatchState } from '../watch/state.ts';
import type { TriggerDecision, Fired, TriggerWorld } from '../watch/triggers.ts';
import { decideTrigger, isTriggering } from '../watch/triggers.ts';
import { triggerWorld } from '../watch/trigger-world.ts';

/** Notices that wait to be judged: beyond it the newest are not, and it is said. */
const MOST_WAITING = 1000;
/** Judged in one turn, so that a flood does not hold the watch up. */
const MOST_A_TURN = 100;
/** What could not be judged or put down by then is let go: its matter is old. */
const PATIENCE_MS = 15 * 60_000;

/** What became of carrying something out. */
export interface Carried {
  readonly outcome: 'done' | 'refused';
  readonly why: readonly string[];
}

/** What of the world a responder needs. Each may fail with a Failure: then nothing is done, and it is tried again. */
export interface RespondPorts {
  readonly config: TriggerConfig;
  readonly now: () => number;
  /** Was the watch told to act? */
  readonly acts: boolean;
  /** The namespace that the watch runs in. */
  readonly own: string | undefined;
  /** What was set off before, from the state: never from memory, so that a restart forgets nothing. */
  readonly fired: () => Promise<readonly Fired[]>;
  /** Why nothing may run by itself, asked anew each time. */
  readonly killed: () => Promise<string | undefined>;
  /** Durable when it returns. */
  readonly save: (record: TriggerRecord, what: string) => Promise<void>;
  /** Does this process lead, surely, and for long enough? */
  readonly leads: () => boolean;
  readonly newId: () => string;
  /** The same code path as the command. */
  readonly carryOut: (record: TriggerRecord) => Promise<Carried>;
  readonly tell: (record: TriggerRecord) => void;
  readonly note: (text: string) => void;
}

export interface Responder {
  /** Hears of a notice; judged in `turn`. */
  notice(notice: Notice): void;
  turn(state: WatchState): Promise<void>;
  readonly waiting: () => number;
}

/**
 * Carries rules over notices out, within limits. Before anything is done it is on record as `begun`, and counts; what the record does not
 * take is not done. One thing at a time.
 */
export function openResponder(ports: RespondPorts): Responder {
  const { config } = ports;
  let waiting: { readonly notice: Notice; readonly since: number }[] = [];
  let lost = 0;
  let dropped = 0;
  let trouble: string | undefined;

  const judge = async (notice: Notice, state: WatchState): Promise<void> => {
    const fired = await ports.fired();
    const killed = config.stop ?? (ports.acts ? await ports.killed() : 'the watch was not told to act (--act)');
    const decided = decideTrigger(config.rules, config.limits, fired, notice, worldOf(state, killed));
    if (decided.kind === 'none') return;
    if (decided.kind === 'dropped') {
      dropped += 1;
      return;
    }
    const record = recordOf(decided, notice);
    if (decided.kind === 'ask') {
      await ports.save({ ...record, outcome: 'proposed' }, 'trigger proposes');
      ports.tell({ ...record, outcome: 'proposed' });
      return;
    }
    await ports.save(record, 'trigger begins');
    // Between the decision and the deed: somebody may have thrown the switch, or taken the lead.
    const late = ports.leads() ? await killedNow() : 'another watch leads by now';
    const carried: Carried = late === undefined ? await ports.carryOut(record) : { outcome: 'refused', why: [late] };
    const ended: TriggerRecord = { ...record, outcome: carried.outcome, why: carried.why };
    await ports.save(ended, `trigger ends: ${carried.outcome}`);
    ports.tell(ended);
  };
  // It is on record as begun: whether it may cannot be asked again later.
  const killedNow = async (): Promise<string | undefined> => {
    try {
      return await ports.killed();
    } catch (error) {
      if (!isFailure(error)) throw error;
      return `whether the kill switch is thrown could not be asked: ${error.message}`;
    }
  };
  const worldOf = (state: WatchState, killed: string | undefined): TriggerWorld =>
    triggerWorld(state, ports.now(), killed, ports.own);
  const recordOf = (
    decided: Exclude<TriggerDecision, { readonly kind: 'none' | 'dropped' }>,
    { kind, key, text, severity, at }: Notice,
  ): TriggerRecord => ({
    id: ports.newId(),
    at: ports.now(),
    rule: decided.rule,
    does: decided.does,
    subject: decided.subject,
    namespace: decided.namespace,
    how: decided.kind,
    outcome: 'begun',
    why: decided.why,
    limits: decided.limits,
    notice: { kind, key, text, severity, at },
  });

  return {
    notice(notice) {
      if (!isTriggering(config.rules, notice)) return;
      // The newest word on a matter stands for those before it.
      waiting = waiting.filter((one) => one.notice.key !== notice.key);
      if (waiting.length >= MOST_WAITING) lost += 1;
      else waiting.push({ notice, since: ports.now() });
    },
    async turn(state) {
      // Without a world nobody can be told apart.
      if (!state.ready || state.world === undefined || !ports.leads()) return;
      if (lost > 0) ports.note(`${lost} notices came faster than rules could be asked, and set off nothing`);
      lost = 0;
      for (let count = 0; count < MOST_A_TURN; count += 1) {
        const [next] = waiting;
        if (next === undefined) break;
        try {
          await judge(next.notice, state);
          if (trouble !== undefined) ports.note('rules are carried out again');
          trouble = undefined;
        } catch (error) {
          if (!isFailure(error)) throw error;
          // The state is held or cannot be written, or the cluster is away: nothing is done, and it is tried again.
          if (trouble !== error.message) ports.note(`a rule could not be carried out: ${error.message}`);
          trouble = error.message;
          if (ports.now() - next.since > PATIENCE_MS) waiting = waiting.filter((one) => one !== next);
          break;
        }
        waiting = waiting.filter((one) => one !== next);
      }
      if (dropped > 0)
        ports.note(`${dropped} notices set off nothing: more was proposed or told in this hour than a person reads`);
      dropped = 0;
    },
    waiting: () => waiting.length,
  };
}

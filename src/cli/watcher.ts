import type { Clock, Signals } from '../engine/contract.ts';
import type { Config } from '../model/config.ts';
import type { Gate } from '../model/finding.ts';
import type { Inventory } from '../model/inventory.ts';
import type { PhaseName } from '../model/phase.ts';
import type { Sighting } from '../plan/soak.ts';
import { traced } from '../shared/io/trace.ts';
import type { Span } from '../shared/io/trace.ts';
import { isFailure } from '../shared/pure/errors.ts';
import type { Notice, SoakNotice } from '../watch/notice.ts';
import { reduceWatch } from '../watch/reduce.ts';
import type { OverdueExperiment, WatchedGrant, WatchEvent, WatchRecord, WatchState } from '../watch/state.ts';
import { startWatch } from '../watch/state.ts';

/** How often the state file is looked at for what others wrote. */
const RECORD_MS = 5_000;
/** The whole is built anew at most so often, and takes at most this share of the time. */
const LOAD_MS = 5_000;
const LOAD_SHARE = 20;
/** Gates are judged again so long after something changed, and so often where nothing did. */
const JUDGE_SOON_MS = 10_000;
const JUDGE_MS = 300_000;
const TICK_MS = 10_000;
/** A run that soaks is asked so often whether its watch is over. */
const SOAK_MS = 30_000;
/** Records that are kept for the gates: beyond it the oldest go. */
const MOST_RECORDS = 20_000;
/** How long a record bears on a gate. */
const RECORD_AGE_MS = 3_600_000;

/** Everything as of now, worked out of a snapshot and of the state file. */
export interface WatchLoad {
  readonly inventory: Inventory;
  readonly record: WatchRecord;
  readonly grants: readonly WatchedGrant[];
  readonly judge: (
    records: readonly Sighting[],
  ) => readonly { readonly namespace: string; readonly gates: readonly Gate[] }[];
}

/** How asking a run that soaks came out. `soaking`: it goes on. */
export interface SoakEnd {
  readonly outcome: SoakNotice['outcome'] | 'soaking';
  readonly phase: PhaseName;
  readonly text: string;
}

/** What a watcher needs of the world. */
export interface WatcherPorts {
  readonly config: Config;
  readonly clock: Clock;
  /** Changes when somebody wrote to the state. Cheap. */
  readonly recordVersion: () => string;
  readonly load: (state: WatchState) => Promise<WatchLoad>;
  /** Flows; absent where none are followed. */
  readonly signals?: Pick<Signals, 'look'>;
  /** Runs that soak and that nobody waits for. */
  readonly soaking: () => Promise<readonly { readonly run: string; readonly namespace: string }[]>;
  readonly endSoak: (run: string) => Promise<SoakEnd>;
  /** Experiments that should be over and are not. */
  readonly overdue?: () => Promise<readonly OverdueExperiment[]>;
  /** Takes them back, and says which are still away, and why. */
  readonly putBack?: (overdue: readonly OverdueExperiment[]) => Promise<readonly OverdueExperiment[]>;
  readonly tell: (notice: Notice) => void;
  /** Hears of every record of flows, for counters. */
  readonly sighted?: (sightings: readonly Sighting[]) => void;
}

/** What can be asked of a watcher from beside it. */
export interface WatcherHealth {
  /** Everything was listed and judged once. */
  readonly ready: boolean;
  readonly lastTurn: number;
  /** Milliseconds that building everything anew took last. */
  readonly loadMs: number;
  readonly loads: number;
  readonly events: number;
}

export interface Watcher {
  /** An event from the cluster. Notices are told before it returns. */
  readonly take: (event: WatchEvent) => void;
  /** Does what is due: reads flows and the record, builds anew, judges, ends soaks. */
  turn(): Promise<void>;
  readonly state: () => WatchState;
  readonly health: () => WatcherHealth;
  readonly gates: () => readonly { readonly namespace: string; readonly gates: readonly Gate[] }[];
}

/** The watch without its surroundings: what it knows is in the reducer's state, what it does in `turn`. */
export function openWatcher(ports: WatcherPorts): Watcher {
  const { clock } = ports;
  let state = startWatch(ports.config);
  let loaded: WatchLoad | undefined;
  let version = '';
  let versionAt = -Infinity;
  let loadedAt = -Infinity;
  let loadMs = 0;
  let loads = 0;
  let events = 0;
  let judgedAt = -Infinity;
  let changedAt: number | undefined;
  let tickAt = -Infinity;
  let soakAt = -Infinity;
  let lastTurn = clock.now();
  let judged: readonly { readonly namespace: string; readonly gates: readonly Gate[] }[] = [];
  let records: Sighting[] = [];
  let isLost = false;

  const take = (event: WatchEvent): void => {
    events += 1;
    const before = state;
    const reduced = reduceWatch(state, event, clock.now());
    state = reduced.state;
    if (state.world !== before.world || state.stale !== before.stale) changedAt ??= clock.now();
    for (const notice of reduced.notices) ports.tell(notice);
  };

  const look = async (): Promise<void> => {
    if (ports.signals === undefined) return;
    for (;;) {
      const { more, sightings, gaps } = await ports.signals.look();
      for (const gap of gaps) {
        take({ kind: 'away', what: 'flows', of: 'flows', why: gap });
        take({ kind: 'back', what: 'flows', of: 'flows' });
      }
      if (sightings.length > 0) {
        ports.sighted?.(sightings);
        take({ kind: 'sightings', sightings });
        records.push(...sightings);
        if (sightings.some(({ verdict }) => verdict === 'denied')) changedAt ??= clock.now();
      }
      const oldest = clock.now() - RECORD_AGE_MS;
      if (records.length > MOST_RECORDS || (records[0]?.at ?? Infinity) < oldest)
        records = records.slice(-MOST_RECORDS).filter(({ at }) => at >= oldest);
      if (!more) return;
    }
  };

  const load = async (span: Span): Promise<void> => {
    const begun = clock.now();
    const seen = ports.recordVersion();
    try {
      loaded = await ports.load(state);
    } catch (error) {
      if (!isFailure(error)) throw error;
      // What is known stays; that it grows old is said.
      if (!isLost) take({ kind: 'away', what: 'record', of: 'the state', why: error.message });
      isLost = true;
      loadedAt = clock.now();
      span.fail(error.detail.code);
      return;
    }
    if (isLost) take({ kind: 'back', what: 'record', of: 'the state' });
    isLost = false;
    version = seen;
    loadedAt = clock.now();
    loadMs = loadedAt - begun;
    loads += 1;
    take({ kind: 'record', record: loaded.record });
    take({ kind: 'inventory', inventory: loaded.inventory });
    take({ kind: 'grants', grants: loaded.grants });
    changedAt ??= clock.now();
    span.set({
      'sallyport.workloads': loaded.inventory.workloads.length,
      'sallyport.edges': loaded.record.edges.length,
    });
  };

  const judge = async (by: WatchLoad): Promise<void> => {
    judgedAt = clock.now();
    changedAt = undefined;
    await traced(
      'watch judge',
      () => ({ 'sallyport.records': records.length }),
      (span) => {
        judged = by.judge(records);
        take({ kind: 'judged', namespaces: judged });
        const gates = judged.flatMap((one) => one.gates);
        span.set({
          'sallyport.namespaces': judged.length,
          'sallyport.gates.no': gates.filter(({ answer }) => answer === 'no').length,
          'sallyport.gates.unknown': gates.filter(({ answer }) => answer === 'unknown').length,
        });
        return Promise.resolve();
      },
    );
  };

  const endSoaks = async (): Promise<void> => {
    for (const { run, namespace } of await ports.soaking()) {
      const end = await ports.endSoak(run);
      if (end.outcome === 'soaking') continue;
      take({ kind: 'soaked', run, namespace, phase: end.phase, outcome: end.outcome, text: end.text });
    }
  };

  return {
    take,
    async turn() {
      const now = clock.now();
      lastTurn = now;
      await look();
      if (!state.ready) return;
      if (now - versionAt >= RECORD_MS) {
        versionAt = now;
        const isDue = now - loadedAt >= Math.max(LOAD_MS, LOAD_SHARE * loadMs);
        if (isDue && (state.stale || loaded === undefined || ports.recordVersion() !== version))
          await traced('watch load', () => ({ 'sallyport.objects_changed': state.stale }), load);
      }
      const isSoon = changedAt !== undefined && now - changedAt >= JUDGE_SOON_MS;
      if (loaded !== undefined && !state.stale && (isSoon || now - judgedAt >= JUDGE_MS)) await judge(loaded);
      if (now - soakAt >= SOAK_MS) {
        soakAt = now;
        await endSoaks();
        await lookAtExperiments(ports, () => state, take);
      }
      if (now - tickAt >= TICK_MS) {
        tickAt = now;
        take({ kind: 'tick' });
      }
    },
    state: () => state,
    health: () => ({ ready: state.ready && loaded !== undefined, lastTurn, loadMs, loads, events }),
    gates: () => judged,
  };
}

/** Tells of experiments that are overdue, and has them put back where that is this watch's to do. */
export async function lookAtExperiments(
  { overdue, putBack }: Pick<WatcherPorts, 'overdue' | 'putBack'>,
  state: () => Pick<WatchState, 'open'>,
  take: (event: WatchEvent) => void,
): Promise<void> {
  const found = (await overdue?.()) ?? [];
  // What is told already is told again only with what came of it.
  if (putBack === undefined || found.length === 0 || found.some(({ run }) => !state().open.has(`experiment\n${run}`)))
    take({ kind: 'experiments', found });
  if (putBack !== undefined && found.length > 0) take({ kind: 'experiments', found: await putBack(found) });
}

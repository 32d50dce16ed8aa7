import { createSighter } from '../flows/sight.ts';
import type { Sighter } from '../flows/sight.ts';
import type { Clock, SignalLook, SignalReport, Signals } from '../engine/contract.ts';
import type { SignalConfig } from '../model/config.ts';
import type { Flow, RawEnd } from '../model/flow.ts';
import type { Inventory } from '../model/inventory.ts';
import type { Sighting } from '../plan/soak.ts';
import type { FlowSource } from '../sources/flow-source.ts';
import type { Follow, FollowPosition, FollowedLines } from '../sources/follow.ts';
import { expand, openFollow, parseFollowPosition } from '../sources/follow.ts';
import { findSource, FLOW_SOURCES } from '../sources/registry.ts';
import { EXIT, Failure, isFailure } from '../shared/pure/errors.ts';
import type { Json } from '../shared/pure/json.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';

/** How often the cluster may be read again for pods that are newer than what is known of it: at most, and by the time that it takes. */
const REREAD_MS = 5_000;
const REREAD_SHARE = 2;
/** How long a record waits for its pods to be known, likewise. */
const PENDING_MS = 15_000;
const PENDING_SHARE = 4;
/** How far a recorder's clock may be ahead: a record from beyond that is none. */
const MOST_LEAD_MS = 10 * 60_000;
/** Records that wait: beyond it the oldest are judged as they are. */
const MAX_PENDING = 10_000;

interface Signal {
  readonly source: FlowSource;
  readonly inputs: readonly string[];
  readonly follow: Follow;
  records: number;
  bad: number;
  firstBad: string | undefined;
  lost: number;
  newest: number | undefined;
  files: number;
}

/** A record whose ends are not sure yet. */
interface Waiting {
  readonly flow: Flow;
  readonly where: string;
  readonly since: number;
}

export interface SignalOptions {
  readonly configs: readonly SignalConfig[];
  /** From an earlier watch; undefined: what the files hold by now is passed over. */
  readonly position: Json | undefined;
  /** Without a position: their ends are read as well. */
  readonly tail?: boolean;
  readonly inventory: Inventory;
  /** The cluster as it is now, for addresses of pods that are newer. */
  readonly reread: () => Promise<Inventory>;
  readonly clock: Clock;
  /** False: no record waits for a pod that is not known yet. Default: true. */
  readonly patient?: boolean;
  /** Records that come another way, handed over once; looked up like those of the files. */
  readonly inbox?: () => readonly { readonly flow: Flow; readonly where: string }[];
}

/** The source of a signal; exit 2 with the names there are for one that does not exist. */
function sourceOf(config: SignalConfig): FlowSource {
  const source = findSource(config.source);
  if (source !== undefined) return source;
  throw new Failure({
    code: 'SP233',
    exit: EXIT.usage,
    message: `there is no source of flows called ${safeText(config.source)}`,
    where: 'soak.signals',
    hint: `one of: ${FLOW_SOURCES.map((one) => one.name).join(', ')}`,
  });
}

/** Files that the signals stand for now, by signal. */
export async function findSignalFiles(configs: readonly SignalConfig[]): Promise<readonly (readonly string[])[]> {
  return Promise.all(
    configs.map((config) => {
      sourceOf(config);
      return expand(config.inputs);
    }),
  );
}

/**
 * Follows the signals of a watch. A line that is no record is counted and never ends it. Records are resolved against the cluster as it was
 * read last; where an end is not known it may be newer, and the cluster is read again, now and then.
 */
export async function openSignals(options: SignalOptions): Promise<Signals> {
  const { configs, clock } = options;
  const isNew = options.position === undefined;
  const start = options.tail === true ? 'tail' : 'end';
  const before = parsePositions(options.position);
  const signals: Signal[] = [];
  for (const [index, config] of configs.entries()) {
    const source = sourceOf(config);
    const kept = before[index];
    const known = isNew || kept?.source !== source.name ? undefined : kept;
    signals.push({
      source,
      inputs: config.inputs,
      follow: await openFollow(config.inputs, known ?? start),
      records: 0,
      bad: 0,
      firstBad: undefined,
      lost: 0,
      newest: undefined,
      files: 0,
    });
  }
  let sighter: Sighter = createSighter(options.inventory);
  /** When the cluster was read, before the reading began. */
  let readAt = -Infinity;
  let rereadTook = 0;
  const pending: Waiting[] = [];
  const positions: { readonly at: number; readonly position: Json }[] = [];
  const unnamed: string[] =
    !isNew && configs.some((config, index) => before[index]?.source !== config.source)
      ? ['the signals of the configuration are not those that the watch began with']
      : [];
  /** How far a recorder's clock is ahead of this one: its records would prove what has not happened yet. */
  let leadMs = 0;

  const reread = async (): Promise<void> => {
    readAt = clock.now();
    sighter = createSighter(await options.reread());
    rereadTook = clock.now() - readAt;
  };

  /**
   * Is it sure who this was? An end that nobody is known to be may be a pod that is newer than what was read; and an address alone may
   * have gone to another pod since, which matters where somebody is denied.
   */
  const isDoubtful = (flow: Flow): boolean => {
    if (sighter.sight(flow)?.stale === true) return true;
    return flow.verdict === 'denied' && flow.first > readAt && [flow.src, flow.dst].some(isAddressAlone);
  };

  const positionNow = (): Json =>
    signals.map(({ source, follow }) => ({ source: source.name, ...follow.position() })) as unknown as Json;

  positions.push({ at: -Infinity, position: positionNow() });
  const remember = (at: number): void => {
    const oldest = pending[0]?.since ?? Infinity;
    positions.push({ at, position: positionNow() });
    // The newest from before the oldest that waits, and all after it.
    const keep = Math.max(
      0,
      positions.findLastIndex((one) => one.at < oldest),
    );
    positions.splice(0, keep);
  };

  const lookAt = async (
    signal: Signal,
    out: { readonly flow: Flow; readonly where: string }[],
  ): Promise<{ readonly more: boolean; readonly gaps: readonly string[] }> => {
    const look = await signal.follow.look(async (lines) => {
      const read = await readLines(signal, lines, (flow) => {
        const ahead = flow.first - clock.now();
        if (ahead > MOST_LEAD_MS) {
          signal.bad += 1;
          signal.firstBad ??= `${lines.path}: a record of ${new Date(flow.first).toISOString()}, which is yet to come`;
          return;
        }
        leadMs = Math.max(leadMs, ahead);
        out.push({ flow, where: `${lines.path} (from byte ${lines.offset})` });
      });
      for (const [ip, name] of read.names) sighter.addName(ip, name);
      if (read.newest !== undefined)
        signal.newest = Math.max(signal.newest ?? 0, Math.min(read.newest - leadMs, clock.now()));
    });
    signal.files = look.files;
    return look;
  };

  return {
    async look(): Promise<SignalLook> {
      const now = clock.now();
      const flows: { readonly flow: Flow; readonly where: string }[] = [];
      const gaps = unnamed.splice(0);
      let more = false;
      for (const signal of signals) {
        const looked = await lookAt(signal, flows);
        more ||= looked.more;
        gaps.push(...looked.gaps);
      }
      flows.push(...(options.inbox?.() ?? []));
      const waiting: Waiting[] = [...pending.splice(0), ...flows.map((one) => ({ ...one, since: now }))];
      if (
        waiting.some(({ flow }) => isDoubtful(flow)) &&
        now - readAt >= Math.max(REREAD_MS, REREAD_SHARE * rereadTook)
      )
        await reread();
      const patience = options.patient === false ? 0 : Math.max(PENDING_MS, PENDING_SHARE * rereadTook);
      const sightings: Sighting[] = [];
      for (const one of waiting) {
        if (now - one.since < patience && pending.length < MAX_PENDING && isDoubtful(one.flow)) {
          pending.push(one);
          continue;
        }
        const sighted = sighter.sight(one.flow);
        if (sighted === undefined) continue;
        const { key, id, at, verdict, view, opens, count, mtls, source } = sighted;
        sightings.push({ key, id, at: at - leadMs, verdict, view, opens, count, mtls, source, where: one.where });
      }
      remember(now);
      return { more, sightings, gaps, signals: signals.map(reportOf) };
    },
    // What waits was read and not told: another process has to read it again.
    position: () => {
      const oldest = pending[0]?.since ?? Infinity;
      return (positions.findLast(({ at }) => at < oldest) ?? positions[0])?.position ?? positionNow();
    },
    refresh: () => {
      readAt = -Infinity;
    },
    async close() {
      for (const { follow } of signals) await follow.close();
    },
  };
}

function isAddressAlone(end: RawEnd): boolean {
  return end.pod === undefined && end.workload === undefined && end.service === undefined && end.ip !== undefined;
}

function reportOf(signal: Signal): SignalReport {
  return {
    source: signal.source.name,
    inputs: signal.inputs,
    files: signal.files,
    records: signal.records,
    bad: signal.bad,
    ...(signal.firstBad === undefined ? {} : { firstBad: signal.firstBad }),
    lost: signal.lost,
    ...(signal.newest === undefined ? {} : { newest: signal.newest }),
  };
}

/** Whole lines through the source's own reader. What none of them is a record of is so many bad lines. */
async function readLines(
  signal: Signal,
  lines: FollowedLines,
  onFlow: (flow: Flow) => void,
): Promise<{ readonly newest?: number; readonly names: readonly (readonly [string, string])[] }> {
  const names: (readonly [string, string])[] = [];
  try {
    const report = await signal.source.read(
      {
        name: lines.path,
        async *open() {
          yield await Promise.resolve(lines.bytes);
        },
      },
      { flow: onFlow, name: (ip, name) => names.push([ip, name]) },
      { badRecords: 'skip' },
    );
    signal.records += report.records;
    signal.bad += report.bad;
    signal.lost += report.lost;
    signal.firstBad ??= report.firstBad;
    return { names, ...(report.last === undefined ? {} : { newest: report.last }) };
  } catch (error) {
    if (!isFailure(error)) throw error;
    signal.bad += Buffer.from(lines.bytes)
      .toString('latin1')
      .split('\n')
      .filter((line) => line.trim() !== '').length;
    signal.firstBad ??= error.message;
    return { names };
  }
}

/** Positions as an earlier watch kept them; what does not read as one begins anew, as a gap would. */
function parsePositions(value: Json | undefined): readonly (FollowPosition & { readonly source: string })[] {
  return asArray(value).map((one) => ({
    source: asString(asObject(one)['source']) ?? '',
    ...parseFollowPosition(one),
  }));
}

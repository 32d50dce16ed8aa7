// What the pods wrote down, counted: every connection that was tried, by who should get through, and by the step it met.
import type { LabWorkload, Scenario } from './scenario.ts';
import { workloadOfPod } from './scenario.ts';

/** One connection tried, as labpod writes it. */
export interface Attempt {
  /** When it began: RFC 3339, milliseconds, UTC. */
  readonly t: string;
  readonly client: string;
  readonly kind: string;
  readonly dst: string;
  readonly ip?: string;
  readonly port: number;
  readonly expect: 'pass' | 'blocked';
  readonly ok: boolean;
  readonly err?: string;
  readonly status?: number;
  readonly text?: string;
  readonly latencyUs: number;
  readonly connectUs?: number;
  readonly retransmits: number;
  readonly by?: string;
  readonly principal?: string;
  readonly newConnection: boolean;
}

/** Lines of a container's log that are attempts; anything else it wrote is passed over. */
export function* parseAttempts(text: string): Generator<Attempt> {
  for (const line of text.split('\n')) {
    if (!line.startsWith('{"t":')) continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      // The last line of a container that was killed.
      continue;
    }
    const attempt = value as Omit<Attempt, 'retransmits'> & { readonly retransmits?: number };
    yield { ...attempt, retransmits: attempt.retransmits ?? 0 };
  }
}

/** A moment from which something else is under way: a phase, and in it a step of a namespace. Times in ms since the epoch. */
export interface Mark {
  readonly at: number;
  readonly phase: string;
  readonly step: string;
}

/** Who may fail: `legitimate` never, `single` while its one replica is replaced, `forbidden` should. */
export type Kind = 'legitimate' | 'single' | 'forbidden';

export interface Count {
  tried: number;
  failed: number;
}

/** What happened between a mark and the next of another phase or step. */
export interface Row {
  readonly phase: string;
  readonly step: string;
  readonly from: number;
  readonly legitimate: Count;
  readonly single: Count;
  /** All of them; and those of pairs that an allow-list holds at that moment. `failed` is what should be: blocked. */
  readonly forbidden: Count;
  readonly held: Count;
  /** Legitimate ones that got through late: at a second SYN, or after 900 ms. */
  late: number;
}

/** An attempt that ended as it must not. */
export interface Surprise {
  readonly kind: 'legitimate-failed' | 'forbidden-passed';
  readonly src: string;
  readonly dst: string;
  readonly pod: string;
  readonly mark: Mark;
  readonly attempt: Attempt;
}

export interface Ledger {
  /** Counts an attempt of a pod. Marks at or before its begin must be set. */
  add(namespace: string, pod: string, attempt: Attempt): void;
  mark(mark: Mark): void;
  /** From now on (ms) the allow-list of a namespace holds in both directions, or no longer does. */
  hold(namespace: string, at: number, holds: boolean): void;
  rows(): readonly Row[];
  /** Rows of one phase as one. */
  byPhase(): readonly Row[];
  surprises(): readonly Surprise[];
  /** Failures that a single replica explains. */
  singleFailures(): readonly Surprise[];
}

const LATE_US = 900_000;
const KEPT = 2000;

/** An empty ledger of a scenario. */
export function createLedger(scenario: Scenario): Ledger {
  const marks: Mark[] = [];
  const rows: Row[] = [];
  const holds = new Map<string, { readonly at: number; readonly holds: boolean }[]>();
  const surprises: Surprise[] = [];
  const single: Surprise[] = [];
  const pods = new Map<string, LabWorkload | undefined>();
  const targets = new Map<string, readonly LabWorkload[]>();
  const byId = new Map(scenario.workloads.map((one) => [one.id, one]));

  const podOf = (namespace: string, pod: string): LabWorkload | undefined => {
    const key = `${namespace}/${pod}`;
    if (!pods.has(key)) pods.set(key, workloadOfPod(scenario, namespace, pod));
    return pods.get(key);
  };
  const serversOf = (host: string, port: number): readonly LabWorkload[] => {
    const key = `${host}:${port}`;
    const known = targets.get(key);
    if (known !== undefined) return known;
    let found: readonly LabWorkload[] = [];
    try {
      found = scenario.resolve(host, port).flatMap((end) => byId.get(end.workload) ?? []);
    } catch {
      // An address (a training worker's ring), or a name server: no Service of the scenario.
    }
    targets.set(key, found);
    return found;
  };
  const holdsAt = (namespace: string, at: number): boolean =>
    holds.get(namespace)?.findLast((one) => one.at <= at)?.holds ?? false;
  const rowAt = (at: number): { readonly mark: Mark; readonly row: Row } | undefined => {
    const index = marks.findLastIndex((mark) => mark.at <= at);
    const [mark, row] = [marks[index], rows[index]];
    return mark === undefined || row === undefined ? undefined : { mark, row };
  };

  return {
    mark: (mark) => {
      const last = marks.at(-1);
      if (last !== undefined && last.at > mark.at) throw new Error('marks are set in the order of time');
      marks.push(mark);
      rows.push(emptyRow(mark));
    },
    hold: (namespace, at, now) => {
      const list = holds.get(namespace) ?? [];
      list.push({ at, holds: now });
      holds.set(namespace, list);
    },
    add: (namespace, pod, attempt) => {
      const at = Date.parse(attempt.t);
      const place = rowAt(at);
      if (place === undefined) return;
      const { row, mark } = place;
      const src = podOf(namespace, pod);
      const servers = serversOf(attempt.dst, attempt.port);
      const surprise = (kind: Surprise['kind']): Surprise => ({
        kind,
        src: src?.id ?? `${namespace}/Pod/${pod}`,
        dst: servers.length === 1 ? (servers[0]?.id ?? attempt.dst) : attempt.dst,
        pod: `${namespace}/${pod}`,
        mark,
        attempt,
      });
      if (attempt.expect === 'blocked') {
        // Nothing was tried where the name did not resolve.
        if (attempt.err === 'resolve') return;
        count(row.forbidden, !attempt.ok);
        const end = at + attempt.latencyUs / 1000;
        const isHeld = [namespace, ...servers.map((one) => one.namespace)].some(
          (one) => holdsAt(one, at) && holdsAt(one, end),
        );
        if (!isHeld) return;
        count(row.held, !attempt.ok);
        if (attempt.ok) keep(surprises, surprise('forbidden-passed'));
        return;
      }
      const alone = servers.length > 0 && servers.every((one) => one.replicas < 2);
      // Whoever is not of the scenario has one replica, and is not restarted.
      count(alone || src === undefined ? row.single : row.legitimate, !attempt.ok);
      if (!attempt.ok) keep(alone ? single : surprises, surprise('legitimate-failed'));
      else if (!alone && (attempt.retransmits > 0 || attempt.latencyUs > LATE_US)) row.late += 1;
    },
    rows: () => rows,
    byPhase: () => {
      const phases: Row[] = [];
      for (const row of rows) {
        let into = phases.find((one) => one.phase === row.phase);
        if (into === undefined) phases.push((into = emptyRow({ at: row.from, phase: row.phase, step: '' })));
        for (const key of ['legitimate', 'single', 'forbidden', 'held'] as const) {
          into[key].tried += row[key].tried;
          into[key].failed += row[key].failed;
        }
        into.late += row.late;
      }
      return phases;
    },
    surprises: () => surprises,
    singleFailures: () => single,
  };
}

function emptyRow(mark: Mark): Row {
  const zero = (): Count => ({ tried: 0, failed: 0 });
  return {
    phase: mark.phase,
    step: mark.step,
    from: mark.at,
    legitimate: zero(),
    single: zero(),
    forbidden: zero(),
    held: zero(),
    late: 0,
  };
}

function count(into: Count, failed: boolean): void {
  into.tried += 1;
  if (failed) into.failed += 1;
}

function keep(list: Surprise[], one: Surprise): void {
  if (list.length < KEPT) list.push(one);
}

/** A line for each pair that surprised, with how often, by which error and at which steps. */
export function summarise(surprises: readonly Surprise[]): readonly string[] {
  const groups = new Map<string, Surprise[]>();
  for (const one of surprises) {
    const key = `${one.src} -> ${one.dst}:${one.attempt.port} ${one.kind}${one.attempt.err === undefined ? '' : `, ${one.attempt.err}`}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups].map(([key, list]) => {
    const steps = [...new Set(list.map((one) => `${one.mark.phase}: ${one.mark.step}`))];
    const [first] = list;
    return (
      `${list.length} x ${key}; first at ${first?.attempt.t ?? ''} by ${first?.pod ?? ''}` +
      `${first?.attempt.text === undefined ? '' : ` (${first.attempt.text})`}; during ${steps.slice(0, 3).join(' | ')}${steps.length > 3 ? ` and ${steps.length - 3} more` : ''}`
    );
  });
}

/** `p` of a list of numbers that need not be sorted; NaN of none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))] ?? Number.NaN;
}

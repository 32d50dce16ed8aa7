import type { AppliedStep, AuditEntry, JournalStep, RunRecord, SoakRecord } from '../src/engine/contract.ts';
import type { AddressHistory } from '../src/model/address-hold.ts';
import type { Approval } from '../src/model/approval.ts';
import type { Decision } from '../src/model/decision.ts';
import type { Edge, Endpoint } from '../src/model/edge.ts';
import { endpointKey, endpointNamespace } from '../src/model/edge.ts';
import { mergeSources, sortGaps } from '../src/model/edge-merge.ts';
import type { DaySeen, Evidence, Gap } from '../src/model/evidence.ts';
import type { Gate } from '../src/model/finding.ts';
import type { PhaseName } from '../src/model/phase.ts';
import type { TriggerRecord } from '../src/model/trigger.ts';
import type { Resolved } from '../src/plan/rollback.ts';
import { equalJson } from '../src/shared/pure/json.ts';
import { readAddressHistory } from './addresses.ts';
import { compareText, uniqueSorted } from '../src/shared/pure/order.ts';
import { readAudit } from './audit.ts';
import type { CallsApart } from './calls.ts';
import { readCalls } from './calls.ts';
import { EDGE_COLUMN_LIST, edgeReader } from './edge-rows.ts';
import type { Check, Place } from './checks.ts';
import { number, text } from './checks.ts';
import type { Handle } from './handle.ts';
import { read } from './handle.ts';
import { parseTriggeredRow } from './triggered.ts';
import type { FollowRecord, ImportRecord, Row, RunSummary } from './rows.ts';
import {
  column,
  parseAppliedRow,
  parseApprovalRow,
  parseDecisionRow,
  parseFollowRow,
  parseGatesRow,
  parseImportRow,
  parsePhaseRow,
  parseResolutionRow,
  parseRunRow,
  parseRunSummaryRow,
  parseSoakRow,
  parseStepRow,
} from './rows.ts';

/** Which edges are wanted; an edge is in if any of the three names it. */
export interface EdgeParts {
  /** Every edge that starts or ends in one of them. */
  readonly namespaces?: readonly string[];
  /** Every edge that starts or ends at one of them (ids). */
  readonly workloads?: readonly string[];
  /** Every edge that starts at one of them. */
  readonly sources?: readonly Endpoint[];
}

export interface Reach {
  /** Distinct destinations and ports. */
  readonly targets: number;
  /** The same, of edges seen on fewer than `days` days and in fewer than `runs` runs of a schedule. */
  readonly rare: number;
  readonly days: number;
  readonly runs: number;
}

/** What may be known of the state. Holding one gives no way to write. Every function may throw a Failure with exit 5. */
export interface Reader {
  /** Edges by id; with a namespace, those that start or end there. As recorded: decisions are applied by the caller. */
  edges(filter?: { readonly namespace?: string }): readonly Edge[];
  /** Edges of parts of the record, by id, each once: see EdgeParts. */
  edgesOf(parts: EdgeParts): readonly Edge[];
  /** Which namespaces call which, by one edge each: see readCalls. */
  calls(apart: CallsApart): readonly Edge[];
  /** How many edges are on record. */
  edgeCount(): number;
  /** Of these sources those that reach as many as said by either count, as endpoint keys. What passed and what did not is counted alike. */
  wideSources(sources: readonly Endpoint[], least: Reach): readonly string[];
  /** With namespaces, what was seen of them and what was seen of all together, and the runs of their schedules alone. */
  evidence(filter?: { readonly namespaces: readonly string[] }): Evidence;
  /** What of the evidence fits on a page: without its days, its schedules' runs and what was seen when. */
  evidenceSummary(): Pick<Evidence, 'sources' | 'first' | 'last' | 'unattributed' | 'gaps'>;
  /** When the edges on record were first and last seen; undefined where there is none. */
  span(): { readonly first: number; readonly last: number } | undefined;
  /** Workloads that edges begin or end at, sorted. */
  workloads(): readonly string[];
  /** Who held which address when; asked address by address. */
  addresses(): AddressHistory;
  /** In the order they were taken down. */
  decisions(): readonly Decision[];
  /** A namespace that is absent is in phase none. */
  phases(): ReadonlyMap<string, PhaseName>;
  /** Every run, oldest first. */
  runs(): readonly RunSummary[];
  /** Runs without an outcome, oldest first, without their plans. */
  openHeads(): readonly RunSummary[];
  /** The gates of a namespace as the newest attempt to advance found them; empty before the first. */
  gates(namespace: string): readonly Gate[];
  /** One run without its plan. */
  headOf(id: string): RunSummary | undefined;
  /** One run with its plan. */
  run(id: string): RunRecord | undefined;
  /** Runs without an outcome, oldest first: running now, or left behind by a crash. */
  openRuns(): readonly RunRecord[];
  /** The watch of a run, as far as it came; undefined for a run without one. */
  soakOf(run: string): SoakRecord | undefined;
  /** What was decided of fields that others changed, oldest first. */
  resolutions(): readonly Resolved[];
  /** Approvals of plans, oldest first; those that have ended or were used are among them. */
  approvals(): readonly Approval[];
  /** Steps of a run in the order of its plan. */
  stepsOf(run: string): readonly JournalStep[];
  /** Steps in force that changed something, oldest first; undone steps and the steps that undid them are left out. */
  applied(): readonly AppliedStep[];
  /** Those of them that open access which ends by itself. */
  granted(): readonly AppliedStep[];
  /** What rules over notices set off, oldest first. */
  triggered(): readonly TriggerRecord[];
  /** Oldest first; with a namespace, the lines that concern it. */
  audit(filter?: { readonly namespace?: string }): readonly AuditEntry[];
  /** Inputs read, oldest first. */
  imports(): readonly ImportRecord[];
  /** How far what this key names was followed; undefined before the first time. */
  follow(key: string): FollowRecord | undefined;
  /** Everything of this source that was ever followed, sorted by key. */
  follows(source: string): readonly FollowRecord[];
  /** Imports of a source by their length in bytes: what a longer file may begin with. */
  importSizes(source: string): ReadonlyMap<number, ReadonlySet<string>>;
  /** Whether these bytes of this source were imported: to be asked before reading an input again. */
  hasImport(sha256: string, source: string): boolean;
  /** Time of the newest record of traffic; undefined where there is none. */
  newestRecord(): number | undefined;
  /** Runs several reads on one state of the file, whatever a writer does meanwhile. */
  consistently<T>(work: () => T): T;
}

export function openReader(handle: Handle): Reader {
  const { db, file } = handle;
  const all = <T>(attempt: string, sql: string, parse: (row: Row, file: string) => T, ...values: string[]): T[] =>
    read(handle, attempt, () =>
      db
        .prepare<string[], Row>(sql)
        .all(...values)
        .map((row) => parse(row, file)),
    );

  /** Row by row: of a large table no more than one is held beside what is made of them. */
  const edgesBy = (sql: string, values: Readonly<Record<string, string>> = {}): Edge[] =>
    read(handle, 'reading edges', () => {
      const [out, parse]: [Edge[], (row: readonly unknown[]) => Edge] = [[], edgeReader(file)];
      const rows = db.prepare<[Readonly<Record<string, string>>], readonly unknown[]>(sql).raw(true);
      for (const row of rows.iterate(values)) out.push(parse(row));
      return out;
    });

  const stepsOf = (run: string): readonly JournalStep[] =>
    all('reading the steps of a run', 'SELECT * FROM steps WHERE run = ? ORDER BY position', parseStepRow, run);

  const toRun = (row: Row): RunRecord => {
    const { id } = parseRunSummaryRow(row, file);
    return parseRunRow(
      row,
      stepsOf(id).map(({ step }) => step),
      file,
    );
  };

  const reader: Reader = {
    edges: ({ namespace } = {}) =>
      namespace === undefined
        ? // In the order of the file, which is read once from end to end; by the index of ids each row would be looked up by itself.
          edgesBy(`SELECT ${EDGE_COLUMN_LIST} FROM edges`).sort((a, b) => compareText(a.id, b.id))
        : edgesBy(
            `SELECT ${EDGE_COLUMN_LIST} FROM edges WHERE src_ns = @namespace OR dst_ns = @namespace ORDER BY id`,
            { namespace },
          ),
    edgesOf: ({ namespaces = [], workloads = [], sources = [] }) =>
      edgesBy(EDGES_OF, {
        namespaces: JSON.stringify(namespaces),
        workloads: JSON.stringify(workloads),
        sources: JSON.stringify(sources.map(columnsOf)),
      }),
    calls: (apart) => readCalls(handle, apart),
    edgeCount: () =>
      read(handle, 'counting edges', () => Number(db.prepare('SELECT count(*) FROM edges').pluck().get())),
    wideSources: (sources, least) =>
      read(handle, 'looking for sources that reach many', () =>
        db
          .prepare<[Readonly<Record<string, string | number>>], string>(WIDE_SOURCES)
          .pluck()
          .all({ sources: JSON.stringify(sources.map(columnsOf)), ...least }),
      ),
    evidence: (filter) => reader.consistently(() => readEvidence(handle, reader.imports(), filter?.namespaces)),
    evidenceSummary: () => reader.consistently(() => readSummary(handle, reader.imports())),
    span: () =>
      read(handle, 'reading how long edges were seen', () => {
        const end = (order: string): unknown => db.prepare(`SELECT ${order} LIMIT 1`).pluck().get();
        const first = end('first FROM edges WHERE count > 0 ORDER BY first');
        const last = end('last FROM edges WHERE count > 0 ORDER BY last DESC');
        return typeof first === 'number' && typeof last === 'number' ? { first, last } : undefined;
      }),
    workloads: () =>
      read(handle, 'reading the workloads on record', () => {
        const ends = (side: 'src' | 'dst'): readonly string[] =>
          db.prepare<[], string>(`SELECT DISTINCT ${side} FROM edges WHERE ${side}_ns IS NOT NULL`).pluck().all();
        return uniqueSorted([...ends('src'), ...ends('dst')]);
      }),
    addresses: () => readAddressHistory(handle),
    decisions: () => all('reading decisions', 'SELECT * FROM decisions ORDER BY id', parseDecisionRow),
    phases: () =>
      new Map(all('reading phases', "SELECT * FROM namespaces WHERE phase <> 'none' ORDER BY name", parsePhaseRow)),
    gates: (namespace) =>
      all('reading gates', 'SELECT * FROM gates WHERE namespace = ?', parseGatesRow, namespace)[0] ?? [],
    runs: () => all('reading runs', 'SELECT * FROM runs ORDER BY number', parseRunSummaryRow),
    openHeads: () =>
      all('reading open runs', 'SELECT * FROM runs WHERE outcome IS NULL ORDER BY number', parseRunSummaryRow),
    headOf: (id) => all('reading a run', 'SELECT * FROM runs WHERE id = ?', parseRunSummaryRow, id)[0],
    run: (id) => reader.consistently(() => all('reading a run', 'SELECT * FROM runs WHERE id = ?', toRun, id)[0]),
    openRuns: () =>
      reader.consistently(() =>
        all('reading open runs', 'SELECT * FROM runs WHERE outcome IS NULL ORDER BY number', toRun),
      ),
    soakOf: (run) => all('reading the watch of a run', 'SELECT * FROM soaks WHERE run = ?', parseSoakRow, run)[0],
    resolutions: () => all('reading resolutions', 'SELECT * FROM resolutions ORDER BY id', parseResolutionRow),
    approvals: () => all('reading approvals', 'SELECT * FROM approvals ORDER BY id', parseApprovalRow),
    stepsOf,
    applied: () =>
      all('reading applied steps', "SELECT * FROM steps WHERE state = 'done' ORDER BY seq", parseAppliedRow).filter(
        (applied) => applied.step.undoes === undefined && changesSomething(applied),
      ),
    granted: () =>
      all(
        'reading grants',
        `SELECT steps.* FROM runs CROSS JOIN steps ON steps.run = runs.id
         WHERE runs.kind = 'grant' AND steps.state = 'done' ORDER BY steps.seq`,
        parseAppliedRow,
      ).filter((applied) => applied.step.undoes === undefined && changesSomething(applied)),
    triggered: () => all('reading what rules set off', 'SELECT * FROM triggered ORDER BY at, id', parseTriggeredRow),
    audit: (filter = {}) => read(handle, 'reading the audit trail', () => readAudit(handle, filter.namespace)),
    imports: () => all('reading imports', 'SELECT * FROM imports ORDER BY id', parseImportRow),
    follow: (key) => all('reading how far was followed', 'SELECT * FROM follows WHERE key = ?', parseFollowRow, key)[0],
    follows: (source) =>
      all('reading what was followed', 'SELECT * FROM follows WHERE source = ? ORDER BY key', parseFollowRow, source),
    importSizes: (source) =>
      read(handle, 'looking up imports', () => {
        const sizes = new Map<number, Set<string>>();
        const rows = db.prepare<[string], Row>('SELECT bytes, sha256 FROM import_sizes WHERE source = ?').all(source);
        for (const row of rows) {
          const place: Place = { file, table: 'import_sizes', row: String(row['sha256']) };
          const bytes = column(row, 'bytes', number, place);
          const known = sizes.get(bytes) ?? new Set();
          sizes.set(bytes, known.add(column(row, 'sha256', text, place)));
        }
        return sizes;
      }),
    hasImport: (sha256, source) =>
      read(
        handle,
        'looking up an import',
        () => db.prepare('SELECT 1 FROM imports WHERE sha256 = ? AND source = ?').get(sha256, source) !== undefined,
      ),
    newestRecord: () =>
      read(handle, 'looking up the newest record', () => {
        const found = db
          .prepare(
            'SELECT max(last) FROM (SELECT max(last) AS last FROM edges UNION ALL SELECT max(last) FROM imports)',
          )
          .pluck()
          .get();
        return typeof found === 'number' ? found : undefined;
      }),
    consistently: (work) => read(handle, 'reading the state', () => db.transaction(work).deferred()),
  };
  return reader;
}

/** Workloads of a list, with their namespaces, as the indices want them. */
const NAMED = "SELECT substr(value, 1, instr(value, '/') - 1) AS ns, value AS id FROM json_each(@workloads)";

/** Each part by its own index; rows that several name are read once. */
const EDGES_OF = `
  SELECT ${EDGE_COLUMN_LIST} FROM edges WHERE rowid IN (
    SELECT rowid FROM edges WHERE src_ns IN (SELECT value FROM json_each(@namespaces))
    UNION SELECT rowid FROM edges WHERE dst_ns IN (SELECT value FROM json_each(@namespaces))
    UNION SELECT edges.rowid FROM (${NAMED}) AS one CROSS JOIN edges ON src_ns = one.ns AND src = one.id
    UNION SELECT edges.rowid FROM (${NAMED}) AS one CROSS JOIN edges ON dst_ns = one.ns AND dst = one.id
    UNION SELECT edges.rowid FROM json_each(@sources) AS one CROSS JOIN edges
      ON src_ns = one.value ->> 0 AND src = one.value ->> 1
    UNION SELECT edges.rowid FROM json_each(@sources) AS one CROSS JOIN edges
      ON one.value ->> 0 IS NULL AND src_ns IS NULL AND src = one.value ->> 1
  ) ORDER BY id`;

const TARGET = "dst || ' ' || port || '-' || ifnull(end_port, '') || protocol";
const WIDE_SOURCES = `
  WITH one AS (SELECT value ->> 0 AS ns, value ->> 1 AS src FROM json_each(@sources)),
  of AS (
    SELECT edges.* FROM one CROSS JOIN edges ON edges.src_ns = one.ns AND edges.src = one.src
    UNION ALL
    SELECT edges.* FROM one CROSS JOIN edges ON one.ns IS NULL AND edges.src_ns IS NULL AND edges.src = one.src
  )
  SELECT src FROM of GROUP BY src
  HAVING count(DISTINCT ${TARGET}) >= @targets
    OR count(DISTINCT CASE WHEN json_array_length(data, '$.days') < @days AND json_array_length(data, '$.runs') < @runs THEN ${TARGET} END) >= @rare
  ORDER BY src`;

/** The columns by which an end is found. */
function columnsOf(end: Endpoint): readonly [string | null, string] {
  return [endpointNamespace(end) ?? null, endpointKey(end)];
}

function changesSomething({ change }: AppliedStep): boolean {
  return change.kind !== 'edit' || change.fields.some((field) => !equalJson(field.before, field.after));
}

function readEvidence(
  handle: Handle,
  imports: readonly ImportRecord[],
  namespaces: readonly string[] | undefined,
): Evidence {
  const { db, file } = handle;
  const named = namespaces === undefined ? [] : [JSON.stringify(namespaces)];
  const pairs = <A, B>(
    table: string,
    sql: string,
    a: readonly [string, Check<A>],
    b: readonly [string, Check<B>],
    ...values: readonly string[]
  ) =>
    db
      .prepare<string[], Row>(sql)
      .all(...values)
      .map((row): readonly [A, B] => {
        const place: Place = { file, table, row: String(row[a[0]]) };
        return [column(row, a[0], a[1], place), column(row, b[0], b[1], place)];
      });

  const days = pairs('evidence_days', 'SELECT day FROM evidence_days ORDER BY day', ['day', text], ['day', text]);
  const runs = new Map<string, string[]>();
  for (const [workload, run] of pairs(
    'schedule_runs',
    namespaces === undefined
      ? 'SELECT workload, run FROM schedule_runs ORDER BY workload, run'
      : // 0 is the character after /: all that begins with the namespace and a slash.
        "SELECT workload, run FROM json_each(?) AS one CROSS JOIN schedule_runs ON workload > one.value || '/' AND workload < one.value || '0' ORDER BY workload, run",
    ['workload', text],
    ['run', text],
    ...named,
  )) {
    const known = runs.get(workload);
    if (known === undefined) runs.set(workload, [run]);
    else known.push(run);
  }
  const seen = db
    .prepare<string[], Row>(
      `SELECT source, namespace, day, first, last FROM days_seen ${namespaces === undefined ? '' : "WHERE namespace = '' OR namespace IN (SELECT value FROM json_each(?))"} ORDER BY source, namespace, day`,
    )
    .all(...named)
    .map((row): DaySeen => {
      const place: Place = { file, table: 'days_seen', row: String(row['day']) };
      return {
        source: column(row, 'source', text, place),
        namespace: column(row, 'namespace', text, place),
        day: column(row, 'day', text, place),
        first: column(row, 'first', number, place),
        last: column(row, 'last', number, place),
      };
    });
  const { sources, first, last, unattributed, gaps } = readSummary(handle, imports);
  return {
    sources,
    days: days.map(([day]) => day),
    ...(first === undefined || last === undefined ? {} : { first, last }),
    unattributed,
    runs: Object.fromEntries(runs),
    ...(seen.length === 0 ? {} : { seen }),
    ...(gaps === undefined ? {} : { gaps }),
  };
}

function readSummary(
  { db, file }: Handle,
  imports: readonly ImportRecord[],
): Pick<Evidence, 'sources' | 'first' | 'last' | 'unattributed' | 'gaps'> {
  const unattributed = db
    .prepare<[], Row>('SELECT reason, count FROM unattributed ORDER BY reason')
    .all()
    .map((row): readonly [string, number] => {
      const place: Place = { file, table: 'unattributed', row: String(row['reason']) };
      return [column(row, 'reason', text, place), column(row, 'count', number, place)];
    });
  const gaps = db
    .prepare<[], Row>('SELECT id, source, first, last, why FROM gaps')
    .all()
    .map((row): Gap => {
      const place: Place = { file, table: 'gaps', row: String(row['id']) };
      return {
        source: column(row, 'source', text, place),
        from: column(row, 'first', number, place),
        to: column(row, 'last', number, place),
        why: column(row, 'why', text, place),
      };
    });
  // An input without a single record has no times, but its lost and bad records count.
  const sources = mergeSources(
    imports.map(({ source, first = Infinity, last = -Infinity, records, lost, bad, ignored, sampledOneIn }) => ({
      source,
      first,
      last,
      records,
      lost,
      bad,
      ignored,
      sampledOneIn,
    })),
  ).filter((source) => Number.isFinite(source.first));
  return {
    sources,
    ...(sources.length === 0
      ? {}
      : {
          first: Math.min(...sources.map(({ first }) => first)),
          last: Math.max(...sources.map(({ last }) => last)),
        }),
    unattributed: Object.fromEntries(unattributed),
    ...(gaps.length === 0 ? {} : { gaps: sortGaps(gaps) }),
  };
}

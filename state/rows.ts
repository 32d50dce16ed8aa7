import type {
  AppliedStep,
  AuditEntry,
  JournalStep,
  NamespaceRecord,
  PullBack,
  RecordedStep,
  RunHead,
  RunKind,
  RunRecord,
  SoakRecord,
  StepState,
} from '../src/engine/contract.ts';
import type { PatternMark } from '../src/model/applied-pattern.ts';
import type { Approval } from '../src/model/approval.ts';
import type { Decision, Query } from '../src/model/decision.ts';
import type { Edge, EdgeKey, EdgeOrigin, Endpoint, Verdict3 } from '../src/model/edge.ts';
import { endpointKey, endpointNamespace } from '../src/model/edge.ts';
import type { SourceRecord } from '../src/model/evidence.ts';
import type { Finding, Gate } from '../src/model/finding.ts';
import type { GrantMark } from '../src/model/grant.ts';
import { GRANT_KINDS } from '../src/model/grant.ts';
import type { KubeManifest, ObjectRef } from '../src/model/object.ts';
import { isKubeManifest } from '../src/model/object.ts';
import { PHASES } from '../src/model/phase.ts';
import type { Right } from '../src/model/rbac.ts';
import type { Change, FieldChange } from '../src/plan/change.ts';
import type { Ground, GroundList } from '../src/plan/ground.ts';
import type {
  EdgeVerdict,
  AccountMoved,
  Effect,
  Plan,
  Step,
  StepRights,
  ThroughGit,
  IncidentMark,
  RecordedPod,
  ChaosMark,
} from '../src/plan/plan.ts';
import { PLAYBOOKS } from '../src/plan/plan.ts';
import type { Resolved } from '../src/plan/rollback.ts';
import type { Denial, NewCaller, SoakMemory } from '../src/plan/soak.ts';
import type { Json } from '../src/shared/pure/json.ts';
import type { Check, Place } from './checks.ts';
import {
  badRow,
  boolean,
  json,
  jsonColumn,
  list,
  nullable,
  number,
  object,
  oneOf,
  plainObject,
  text,
} from './checks.ts';

/** A row as the database gives it: nothing is known of it. */
export type Row = Readonly<Record<string, unknown>>;

/** One input that was read: a file, a stream, a query. */
export interface ImportRecord extends Omit<SourceRecord, 'first' | 'last'> {
  /** Of the input's bytes: the same bytes of the same source are counted once. */
  readonly sha256: string;
  /** The file, or `stdin`. */
  readonly name: string;
  /** When it was imported. */
  readonly at: number;
  /** Of a file that can be read again; absent where it came in pieces. */
  readonly bytes?: number;
  /** Times of the first and last record; absent when there was none. */
  readonly first?: number;
  readonly last?: number;
}

/** How far something was followed. */
export interface FollowRecord {
  readonly key: string;
  readonly source: string;
  readonly at: number;
  readonly position: Json;
}

export type RunSummary = RunHead;

const phase = oneOf(PHASES);

const objectRef = object<ObjectRef>({ apiVersion: text, kind: text, name: text }, { namespace: text });

const manifest: Check<KubeManifest> = (value, place, path) => {
  if (!isKubeManifest(value)) throw badRow(place, path, 'a Kubernetes object expected');
  return value;
};

/** JSON has no undefined: a value that is not there stands for a field that is absent. */
const fieldChange: Check<FieldChange> = (value, place, path) => {
  const raw = plainObject(value, place, path);
  for (const key of Object.keys(raw))
    if (!['path', 'before', 'after'].includes(key)) throw badRow(place, `${path}.${key}`, 'unknown field');
  return {
    path: list(text)(raw['path'], place, `${path}.path`),
    before: raw['before'] === undefined ? undefined : json(raw['before'], place, `${path}.before`),
    after: raw['after'] === undefined ? undefined : json(raw['after'], place, `${path}.after`),
  };
};

function variant<T>(checks: Readonly<Record<string, Check<T>>>): Check<T> {
  const kinds = new Map(Object.entries(checks));
  return (value, place, path) => {
    const kind = text(plainObject(value, place, path)['kind'], place, `${path}.kind`);
    const check = kinds.get(kind);
    if (check === undefined) throw badRow(place, `${path}.kind`, `one of ${[...kinds.keys()].join(', ')} expected`);
    return check(value, place, path);
  };
}

/** A mark that is there or not. */
const yes: Check<true> = (value, place, path) => {
  if (value !== true) throw badRow(place, path, 'true expected');
  return value;
};

type Kind<T, K> = Extract<T, { readonly kind: K }>;

const change = variant<Change>({
  create: object<Kind<Change, 'create'>>({ kind: oneOf(['create']), object: manifest }, {}),
  edit: object<Kind<Change, 'edit'>>(
    { kind: oneOf(['edit']), ref: objectRef, fields: list(fieldChange), owner: oneOf(['sallyport', 'other']) },
    { uid: text },
  ),
  delete: object<Kind<Change, 'delete'>>(
    { kind: oneOf(['delete']), ref: objectRef, before: manifest },
    { uid: text, evicts: yes, graceSeconds: number },
  ),
});

const effect = variant<Effect>({
  rollout: object<Kind<Effect, 'rollout'>>(
    { kind: oneOf(['rollout']), workload: text },
    { accounts: object<AccountMoved>({ from: text, to: text }, {}) },
  ),
  'next-run': object<Kind<Effect, 'next-run'>>({ kind: oneOf(['next-run']), workload: text }, {}),
});

const runKinds: readonly RunKind[] = ['advance', 'rollback', 'grant', 'expire'];

const grantMark = object<GrantMark>(
  { id: text, kind: oneOf(GRANT_KINDS), text, reason: text, since: number, until: number },
  {
    connection: object<NonNullable<GrantMark['connection']>>(
      { src: text, dst: text, protocol: oneOf(['TCP', 'UDP', 'SCTP']), port: number },
      {},
    ),
    pods: list(text),
  },
);

const right = object<Right>({ verb: text, group: text, resource: text }, { name: text, path: text, namespace: text });

const stepRights = object<StepRights>({ namespace: text, account: text, rights: list(right) }, {});

const step = object<Step>(
  {
    id: text,
    namespace: text,
    phase,
    operation: oneOf(['create', 'edit', 'delete']),
    title: text,
    change,
    effects: list(effect),
    risks: list(text),
  },
  {
    workload: text,
    direction: oneOf(['ingress', 'egress']),
    confirm: text,
    undoes: list(number),
    grant: grantMark,
    pattern: object<PatternMark>({ name: text, set: list(text) }, { templates: text }),
    rights: stepRights,
  },
);

const gate = object<Gate>(
  { id: text, answer: oneOf(['yes', 'no', 'unknown']), subject: text, facts: list(text), fix: text },
  { waived: text },
);

const edgeVerdict = object<EdgeVerdict>(
  { step: text, edge: text, text, answer: oneOf(['denied', 'unknown']), reasons: list(text), evidence: text },
  {},
);

const finding = object<Finding>(
  { code: text, severity: oneOf(['info', 'warning', 'error']), subject: text, message: text },
  { where: text, hint: text },
);

const groundList = object<GroundList>(
  {
    group: text,
    kind: text,
    namespaces: list(text),
    layer: oneOf(['network', 'mesh', 'both']),
    counts: oneOf(['all', 'known', 'written']),
  },
  {},
);

type PlanRest = Omit<Plan, 'steps'>;
const planRest = object<PlanRest>(
  {
    namespace: text,
    from: phase,
    to: phase,
    direction: oneOf(['up', 'down']),
    gates: list(gate),
    denied: list(edgeVerdict),
    unknown: list(edgeVerdict),
    findings: list(finding),
    simulated: object<Plan['simulated']>({ edges: number, states: number }, {}),
    hash: text,
  },
  {
    ground: object<Ground>(
      {
        lists: list(groundList),
        objects: list(manifest),
      },
      { wide: list(groundList), root: text },
    ),
    git: object<ThroughGit>({ dir: text, layout: text, deployers: list(text) }, { push: boolean }),
    incident: object<IncidentMark>(
      { id: text, playbook: oneOf(PLAYBOOKS), subject: text, reason: text, at: number },
      {
        rule: text,
        undoes: text,
        connections: oneOf(['drain']),
        pods: list(object<RecordedPod>({ name: text }, { uid: text })),
      },
    ),
    chaos: object<ChaosMark>({ object: text, how: oneOf(['remove', 'loosen']) }, { until: number, undoes: text }),
  },
);

const endpoint = variant<Endpoint>({
  workload: object<Kind<Endpoint, 'workload'>>({ kind: oneOf(['workload']), id: text }, {}),
  node: object<Kind<Endpoint, 'node'>>({ kind: oneOf(['node']) }, { name: text }),
  'api-server': object<Kind<Endpoint, 'api-server'>>({ kind: oneOf(['api-server']) }, {}),
  external: object<Kind<Endpoint, 'external'>>({ kind: oneOf(['external']) }, { name: text, ip: text }),
  unknown: object<Kind<Endpoint, 'unknown'>>({ kind: oneOf(['unknown']), why: text }, { ip: text }),
});

const origin = variant<EdgeOrigin>({
  observed: object<Kind<EdgeOrigin, 'observed'>>({ kind: oneOf(['observed']) }, {}),
  declared: object<Kind<EdgeOrigin, 'declared'>>(
    { kind: oneOf(['declared']), strength: oneOf(['strong', 'weak']), by: text },
    {},
  ),
});

/** What of an edge has no column. */
type EdgeData = Pick<
  Edge,
  'src' | 'dst' | 'verdicts' | 'days' | 'runs' | 'sources' | 'principals' | 'origin' | 'views'
>;
const edgeData = jsonColumn(
  object<EdgeData>(
    {
      src: endpoint,
      dst: endpoint,
      verdicts: object<Partial<Record<Verdict3, number>>>(
        {},
        { allowed: number, denied: number, audit: number, unknown: number },
      ),
      days: list(text),
      runs: list(text),
      sources: list(text),
      principals: list(text),
      origin,
    },
    { views: list(oneOf(['egress', 'ingress'])) },
  ),
);

const query = object<Query>(
  {},
  { ns: text, src: text, dst: text, port: text, verdict: text, before: text, id: text, gate: text, subject: text },
);

const protocol = oneOf(['TCP', 'UDP', 'SCTP']);
const mtls = oneOf(['yes', 'no', 'mixed', 'unknown']);

const denial = object<Denial>(
  { edge: text, text, query: text, at: number, source: text, where: text },
  { step: text, spared: text },
);
const pullBack = object<PullBack>({ run: text, denial }, {});
const edgeKey = object<EdgeKey>(
  { src: endpoint, dst: endpoint, protocol, port: number },
  { endPort: number, l7: text },
);
const newCaller = object<NewCaller>(
  {
    id: text,
    key: edgeKey,
    text,
    query: text,
    first: number,
    last: number,
    count: number,
    deniedCount: number,
    source: text,
    where: text,
    in: number,
    out: number,
    denied: number,
  },
  {},
);
const seenTimes = object<SoakMemory['seen'][string]>({ in: number, out: number, denied: number }, {});
const seenByEdge: Check<SoakMemory['seen']> = (value, place, path) =>
  Object.fromEntries(
    Object.entries(plainObject(value, place, path)).map(([id, one]) => [id, seenTimes(one, place, `${path}.${id}`)]),
  );
const soakMemory = object<SoakMemory>(
  { deniedBefore: list(text), seen: seenByEdge, callers: list(newCaller), denials: list(denial), unattributed: number },
  {},
);
const awaitedEdge = object<SoakRecord['awaited'][number]>({ edge: text, text }, { due: number });

export function parseSoakRow(row: Row, file: string): SoakRecord {
  const place: Place = { file, table: 'soaks', row: rowName(row['run']) };
  return {
    run: column(row, 'run', text, place),
    since: column(row, 'since', number, place),
    until: column(row, 'until', number, place),
    left: column(row, 'left_to_resume', number, place) === 1,
    lookedAt: column(row, 'looked_at', number, place),
    position: column(row, 'position', jsonColumn(json), place),
    memory: column(row, 'memory', jsonColumn(soakMemory), place),
    awaited: column(row, 'awaited', jsonColumn(list(awaitedEdge)), place),
  };
}

export function parseFollowRow(row: Row, file: string): FollowRecord {
  const place: Place = { file, table: 'follows', row: rowName(row['key']) };
  return {
    key: column(row, 'key', text, place),
    source: column(row, 'source', text, place),
    at: column(row, 'at', number, place),
    position: column(row, 'position', jsonColumn(json), place),
  };
}

/** Values of the columns of `soaks`, in the order of the table. */
export function soakColumns(soak: SoakRecord): readonly (string | number)[] {
  return [
    soak.run,
    soak.since,
    soak.until,
    soak.left ? 1 : 0,
    soak.lookedAt,
    JSON.stringify(soak.position),
    JSON.stringify(soak.memory),
    JSON.stringify(soak.awaited),
  ];
}

export function parseEdgeRow(row: Row, file: string): Edge {
  const place: Place = { file, table: 'edges', row: rowName(row['id']) };
  const data = edgeData(row['data'], place, 'data');
  const endPort = optional(row, 'end_port', number, place);
  const l7 = optional(row, 'l7', text, place);
  const lastPlaintext = optional(row, 'last_plaintext', number, place);
  return {
    id: column(row, 'id', text, place),
    src: data.src,
    dst: data.dst,
    protocol: column(row, 'protocol', protocol, place),
    port: column(row, 'port', number, place),
    ...(endPort === undefined ? {} : { endPort }),
    ...(l7 === undefined ? {} : { l7 }),
    count: column(row, 'count', number, place),
    first: column(row, 'first', number, place),
    last: column(row, 'last', number, place),
    verdicts: data.verdicts,
    days: data.days,
    runs: data.runs,
    sources: data.sources,
    principals: data.principals,
    mtls: column(row, 'mtls', mtls, place),
    ...(lastPlaintext === undefined ? {} : { lastPlaintext }),
    ...(column(row, 'guessed_direction', number, place) === 1 ? { guessedDirection: true } : {}),
    ...(data.views === undefined ? {} : { views: data.views }),
    origin: data.origin,
    review: 'unreviewed',
  };
}

/** How many columns `edges` has, and how many of them, the first ones, are the edge's key. */
export const EDGE_COLUMNS = 16;
export const EDGE_KEY_COLUMNS = 9;

/** Values of the columns of `edges`, in the order of the table: the key's first. */
export function edgeColumns(edge: Edge): readonly (string | number | null)[] {
  const data: EdgeData = {
    src: edge.src,
    dst: edge.dst,
    verdicts: edge.verdicts,
    days: edge.days,
    runs: edge.runs,
    sources: edge.sources,
    principals: edge.principals,
    origin: edge.origin,
    ...(edge.views === undefined ? {} : { views: edge.views }),
  };
  return [
    edge.id,
    endpointKey(edge.src),
    endpointKey(edge.dst),
    endpointNamespace(edge.src) ?? null,
    endpointNamespace(edge.dst) ?? null,
    edge.protocol,
    edge.port,
    edge.endPort ?? null,
    edge.l7 ?? null,
    edge.count,
    edge.first,
    edge.last,
    edge.mtls,
    edge.lastPlaintext ?? null,
    edge.guessedDirection === true ? 1 : 0,
    JSON.stringify(data),
  ];
}

export function parseImportRow(row: Row, file: string): ImportRecord {
  const place: Place = { file, table: 'imports', row: rowName(row['id']) };
  const first = optional(row, 'first', number, place);
  const last = optional(row, 'last', number, place);
  return {
    sha256: column(row, 'sha256', text, place),
    source: column(row, 'source', text, place),
    name: column(row, 'name', text, place),
    at: column(row, 'at', number, place),
    ...(first === undefined ? {} : { first }),
    ...(last === undefined ? {} : { last }),
    records: column(row, 'records', number, place),
    lost: column(row, 'lost', number, place),
    bad: column(row, 'bad', number, place),
    ignored: column(row, 'ignored', number, place),
    sampledOneIn: column(row, 'sampled_one_in', number, place),
  };
}

export function parseDecisionRow(row: Row, file: string): Decision {
  const place: Place = { file, table: 'decisions', row: rowName(row['id']) };
  return {
    action: column(row, 'action', oneOf(['accept', 'waive', 'adopt', 'withdraw']), place),
    query: column(row, 'query', jsonColumn(query), place),
    text: column(row, 'text', text, place),
    reason: column(row, 'reason', text, place),
    by: column(row, 'decided_by', text, place),
    at: column(row, 'at', number, place),
    matched: column(row, 'matched', jsonColumn(list(text)), place),
  };
}

export function parseRunSummaryRow(row: Row, file: string): RunSummary {
  const place: Place = { file, table: 'runs', row: rowName(row['id']) };
  const outcome = optional(row, 'outcome', oneOf(['done', 'failed', 'undone', 'cancelled', 'partial']), place);
  const endedAt = optional(row, 'ended_at', number, place);
  const pulls = optional(row, 'pulls_back', jsonColumn(pullBack), place);
  return {
    id: column(row, 'id', text, place),
    kind: column(row, 'kind', oneOf(runKinds), place),
    namespace: column(row, 'namespace', text, place),
    from: column(row, 'from_phase', phase, place),
    to: column(row, 'to_phase', phase, place),
    planHash: column(row, 'plan_hash', text, place),
    startedAt: column(row, 'started_at', number, place),
    by: column(row, 'started_by', text, place),
    ...(pulls === undefined ? {} : { pullsBack: pulls }),
    ...(outcome === undefined ? {} : { outcome }),
    ...(endedAt === undefined ? {} : { endedAt }),
  };
}

export function parseRunRow(row: Row, steps: readonly Step[], file: string): RunRecord {
  const summary = parseRunSummaryRow(row, file);
  const rest = jsonColumn(planRest)(row['plan'], { file, table: 'runs', row: summary.id }, 'plan');
  return {
    id: summary.id,
    kind: summary.kind,
    namespace: summary.namespace,
    from: summary.from,
    to: summary.to,
    planHash: summary.planHash,
    startedAt: summary.startedAt,
    by: summary.by,
    ...(summary.pullsBack === undefined ? {} : { pullsBack: summary.pullsBack }),
    plan: { ...rest, steps },
  };
}

/** The plan as `runs` stores it: its steps are rows of their own. */
export function planColumn(plan: Plan): string {
  const rest: PlanRest & { steps: undefined } = { ...plan, steps: undefined };
  return JSON.stringify(rest);
}

const stepStates: readonly StepState[] = ['pending', 'started', 'done', 'failed', 'undone', 'skipped'];

export function parseStepRow(row: Row, file: string): JournalStep {
  const place = stepPlace(row, file);
  const written = optional(row, 'change', jsonColumn(change), place);
  const uid = optional(row, 'uid', text, place);
  const error = optional(row, 'error', text, place);
  const state = column(row, 'state', oneOf(stepStates), place);
  const ended = state === 'done' || state === 'undone' ? optional(row, 'ended_at', number, place) : undefined;
  return {
    seq: column(row, 'seq', number, place),
    run: column(row, 'run', text, place),
    index: column(row, 'position', number, place),
    step: column(row, 'step', jsonColumn(step), place),
    state,
    ...(ended === undefined ? {} : { at: ended }),
    ...(written === undefined ? {} : { change: written }),
    ...(uid === undefined ? {} : { uid }),
    ...(error === undefined ? {} : { error }),
  };
}

/** A row of `steps` in state done. */
export function parseAppliedRow(row: Row, file: string): AppliedStep {
  const place = stepPlace(row, file);
  const planned = column(row, 'step', jsonColumn(step), place);
  const uid = optional(row, 'uid', text, place);
  return {
    seq: column(row, 'seq', number, place),
    run: column(row, 'run', text, place),
    namespace: planned.namespace,
    phase: planned.phase,
    step: planned,
    change: column(row, 'change', jsonColumn(change), place),
    ...(uid === undefined ? {} : { uid }),
    at: column(row, 'ended_at', number, place),
  };
}

const stepState = oneOf(stepStates);
const recordedStep = object<RecordedStep>(
  { seq: number, run: text, index: number, step, state: stepState },
  { change, uid: text, error: text, at: number },
);
const runHead = object<RunHead>(
  {
    id: text,
    kind: oneOf(runKinds),
    namespace: text,
    from: phase,
    to: phase,
    planHash: text,
    startedAt: number,
    by: text,
  },
  { pullsBack: pullBack, outcome: oneOf(['done', 'failed', 'undone', 'cancelled', 'partial']), endedAt: number },
);
const namespaceRecord = object<NamespaceRecord>(
  {
    apiVersion: oneOf(['sallyport.dev/v1']),
    kind: oneOf(['Record']),
    target: text,
    namespace: text,
    phase,
    run: text,
    settled: number,
    by: text,
    at: number,
    runs: list(runHead),
    steps: list(recordedStep),
    leftOut: list(text),
  },
  {},
);

/** A record from outside the state. `file`: where it was read, for messages. */
export function parseNamespaceRecord(value: unknown, file: string): NamespaceRecord {
  return namespaceRecord(value, { file, table: 'record', row: 1 }, 'record');
}

export function parseResolutionRow(row: Row, file: string): Resolved {
  const place: Place = { file, table: 'resolutions', row: rowName(row['id']) };
  const theirs = optional(row, 'theirs', jsonColumn(json), place);
  return {
    at: column(row, 'at', number, place),
    by: column(row, 'decided_by', text, place),
    object: column(row, 'object', text, place),
    path: column(row, 'path', jsonColumn(list(text)), place),
    ...(theirs === undefined ? {} : { theirs }),
    keep: column(row, 'keep', oneOf(['theirs', 'before']), place),
  };
}

export function parseApprovalRow(row: Row, file: string): Approval {
  const place: Place = { file, table: 'approvals', row: rowName(row['id']) };
  return {
    target: column(row, 'target', text, place),
    namespace: column(row, 'namespace', text, place),
    from: column(row, 'from_phase', phase, place),
    to: column(row, 'to_phase', phase, place),
    plan: column(row, 'plan', text, place),
    by: {
      kind: column(row, 'actor_kind', oneOf(['kubernetes', 'system']), place),
      name: column(row, 'actor', text, place),
    },
    at: column(row, 'at', number, place),
    reason: column(row, 'reason', text, place),
  };
}

export function parsePhaseRow(row: Row, file: string): readonly [string, (typeof PHASES)[number]] {
  const place: Place = { file, table: 'namespaces', row: rowName(row['name']) };
  return [column(row, 'name', text, place), column(row, 'phase', phase, place)];
}

export function parseGatesRow(row: Row, file: string): readonly Gate[] {
  const place: Place = { file, table: 'gates', row: rowName(row['namespace']) };
  return column(row, 'gates', jsonColumn(list(gate)), place);
}

export function parseAuditRow(row: Row, file: string): AuditEntry {
  const place: Place = { file, table: 'audit', row: rowName(row['id']) };
  const run = optional(row, 'run', text, place);
  return {
    at: column(row, 'at', number, place),
    who: column(row, 'who', text, place),
    what: column(row, 'what', text, place),
    object: column(row, 'object', text, place),
    reason: column(row, 'reason', text, place),
    ...(run === undefined ? {} : { run }),
  };
}

/** One column of any row. */
export function column<T>(row: Row, name: string, check: Check<T>, place: Place): T {
  return check(row[name], place, name);
}

function optional<T>(row: Row, name: string, check: Check<T>, place: Place): T | undefined {
  return nullable(check)(row[name], place, name);
}

function stepPlace(row: Row, file: string): Place {
  return { file, table: 'steps', row: `${rowName(row['run'])}/${rowName(row['position'])}` };
}

function rowName(value: unknown): string | number {
  return typeof value === 'string' || typeof value === 'number' ? value : '?';
}

import type { AuditEntry } from '../src/engine/contract.ts';
import type { AddressHold, Watched } from '../src/model/address-hold.ts';
import type { Approval } from '../src/model/approval.ts';
import { formatActor } from '../src/model/approval.ts';
import type { Decision } from '../src/model/decision.ts';
import { isAboutGates } from '../src/model/decision.ts';
import type { Edge } from '../src/model/edge.ts';
import { formatEdge } from '../src/model/edge.ts';
import { mergeEdge } from '../src/model/edge-merge.ts';
import type { Gate } from '../src/model/finding.ts';
import type { TriggerRecord } from '../src/model/trigger.ts';
import type { Resolved } from '../src/plan/rollback.ts';
import type { Evidence, Gap } from '../src/model/evidence.ts';
import { sha256 } from '../src/shared/pure/hash.ts';
import type { Json } from '../src/shared/pure/json.ts';
import { equalJson } from '../src/shared/pure/json.ts';
import { maskText } from '../src/shared/pure/mask.ts';
import { sortBy } from '../src/shared/pure/order.ts';
import { plural, safeText } from '../src/shared/pure/text.ts';
import { forgetAddresses, recordAddresses } from './addresses.ts';
import { appendAudit } from './audit.ts';
import { STATE_CODE, stateFailure } from './failure.ts';
import type { Handle } from './handle.ts';
import { HANDLE, write } from './handle.ts';
import type { LineMarksRecord } from './line-marks.ts';
import { countForgotten, readLineMarks, recordLineMarks } from './line-marks.ts';
import type { Reader } from './reader.ts';
import { openReader } from './reader.ts';
import { saveTriggered } from './triggered.ts';
import type { ImportRecord, Row } from './rows.ts';
import { EDGE_COLUMNS, EDGE_KEY_COLUMNS, edgeColumns, parseEdgeRow, parseFollowRow } from './rows.ts';

/** Edges folded from some inputs, with what the inputs say of themselves. */
export interface EdgeImport {
  readonly inputs: readonly ImportRecord[];
  /** When, where neither inputs nor what is followed say it. */
  readonly at?: number;
  readonly edges: Iterable<Edge>;
  /** Figures per source and the window come from `inputs`; the rest is taken from here. */
  readonly evidence: Pick<Evidence, 'days' | 'unattributed' | 'runs' | 'seen' | 'gaps'>;
  /** Of what is followed: how far it was read with these inputs, of which there may then be none. */
  readonly follow?: FollowStep;
  /** Who was seen at which address meanwhile. */
  readonly addresses?: readonly AddressHold[];
  /** The marks of the inputs' lines, where they have lines. */
  readonly lines?: readonly LineMarksRecord[];
}

export interface FollowStep {
  readonly key: string;
  readonly source: string;
  readonly at: number;
  readonly position: Json;
  /** The position that this one goes on from, as it was read; undefined for the first. */
  readonly before: Json | undefined;
}

export interface ImportResult {
  readonly added: number;
  readonly updated: number;
  /** Inputs that were imported before: all of them, and nothing was imported, or those without a record beside others. */
  readonly skippedInputs: readonly ImportRecord[];
}

/** A Reader that may also write. Only one process holds one at a time. */
export interface Writer extends Reader {
  readonly [HANDLE]: Handle;
  /**
   * Adds edges to those on record, in one transaction. Inputs that were all imported before are skipped, so that repeating an
   * import changes nothing. With `follow` the position moves in the same transaction: SP514 where another process moved it. Where only some were, their share of the edges cannot be told apart: a Failure (SP511) names them, but for
   * those that hold nothing.
   */
  importEdges(batch: EdgeImport): ImportResult;
  /** What is remembered of the lines of a source's inputs, one input after the other. */
  lineMarks(source: string): Iterable<LineMarksRecord>;
  /** Inputs of a source with records between two times (ms) of whose lines nothing is remembered. */
  forgottenInputs(source: string, first: number, last: number): number;
  /** Adds to the history of addresses. Returns how many pods were not known at their address. */
  recordAddresses(holds: Iterable<AddressHold>, watched: Iterable<Watched>): { readonly added: number };
  /** Lets go what ended before a time (ms), for all that is known. Returns how many pods at addresses went. */
  forgetAddresses(before: number): number;
  /**
   * Takes down a decision and its audit line together. The very same decision is kept once, so that a decisions file may be read
   * on every run. Returns whether it was new.
   */
  addDecision(decision: Decision): boolean;
  /**
   * Takes down an approval and its audit line together. `file`: where it was brought from; `at`: when it was taken down. The very same approval is kept once. Returns
   * whether it was new.
   */
  addApproval(
    approval: Approval,
    taken: { readonly who: string; readonly file?: string; readonly at: number },
  ): boolean;
  /** Keeps the gates that an attempt to advance met, in place of the ones before. */
  saveGates(namespace: string, gates: readonly Gate[], at: number): void;
  /** Takes down what was decided of fields that others changed, with a line on the trail for each. */
  addResolutions(resolved: readonly Resolved[], reason: string, namespace: string): void;
  /** Puts down what a rule set off, or what became of it, with its line on the trail. */
  saveTriggered(record: TriggerRecord, audit: AuditEntry): void;
  /** One line on the audit trail. */
  appendAudit(entry: AuditEntry): void;
}

export function openWriter(handle: Handle): Writer {
  return {
    ...openReader(handle),
    [HANDLE]: handle,
    importEdges: (batch) => write(handle, 'recording edges', () => importEdges(handle, batch)),
    lineMarks: (source) => readLineMarks(handle, source),
    forgottenInputs: (source, first, last) => countForgotten(handle, source, first, last),
    recordAddresses: (holds, watched) =>
      write(handle, 'recording who held which address', () => recordAddresses(handle, holds, watched)),
    forgetAddresses: (before) =>
      write(handle, 'forgetting who held which address', () => forgetAddresses(handle, before)),
    addDecision: (decision) => write(handle, 'recording a decision', () => addDecision(handle, decision)),
    addApproval: (approval, taken) =>
      write(handle, 'recording an approval', () => addApproval(handle, approval, taken)),
    saveGates: (namespace, gates, at) =>
      write(handle, 'recording gates', () => {
        handle.db
          .prepare(
            'INSERT INTO gates (namespace, at, gates) VALUES (?, ?, ?) ON CONFLICT (namespace) DO UPDATE SET at = excluded.at, gates = excluded.gates',
          )
          .run(namespace, at, JSON.stringify(gates));
      }),
    addResolutions: (resolved, reason, namespace) =>
      write(handle, 'recording a resolution', () => {
        const add = handle.db.prepare(
          'INSERT INTO resolutions (at, decided_by, object, path, theirs, keep) VALUES (?, ?, ?, ?, ?, ?)',
        );
        for (const { at, by, object, path, theirs, keep } of resolved) {
          add.run(at, by, object, JSON.stringify(path), theirs === undefined ? null : JSON.stringify(theirs), keep);
          const what = `resolve: keep ${keep}`;
          appendAudit(handle, { at, who: by, what, object: `${object} ${path.join('.')}`, reason, namespace });
        }
      }),
    saveTriggered: (record, audit) =>
      write(handle, 'recording what a rule set off', () => saveTriggered(handle, record, audit)),
    appendAudit: (entry) => write(handle, 'recording an audit line', () => appendAudit(handle, entry)),
  };
}

function importEdges(handle: Handle, batch: EdgeImport): ImportResult {
  const { db, file } = handle;
  if (batch.inputs.length === 0 && batch.follow === undefined && (batch.evidence.gaps ?? []).length === 0)
    throw new Error('an import names the inputs it came from');
  if (batch.follow !== undefined) moveOn(handle, batch.follow);
  const known = db.prepare('SELECT 1 FROM imports WHERE sha256 = ? AND source = ?');
  const seen = new Set<string>();
  const repeated = batch.inputs.filter((input) => {
    const key = `${input.source}\n${input.sha256}`;
    const again = seen.has(key) || known.get(input.sha256, input.source) !== undefined;
    seen.add(key);
    return again;
  });
  addGaps(handle, batch.evidence.gaps ?? [], batch.follow?.at ?? batch.inputs[0]?.at ?? batch.at ?? 0);
  if (repeated.length > 0 && repeated.length === batch.inputs.length)
    return { added: 0, updated: 0, skippedInputs: repeated };
  // A log of somebody silent is like the log of anybody else who is: nothing of it could be counted twice.
  const twice = repeated.filter(({ records, lost, bad, ignored }) => records + lost + bad + ignored > 0);
  if (twice.length > 0)
    throw stateFailure(
      STATE_CODE.importedAlready,
      file,
      `${plural(twice.length, 'input')} of ${batch.inputs.length} imported before or given twice: ${twice
        .map(({ name }) => safeText(name))
        .join(', ')}; nothing was imported`,
      'leave these inputs out and import the others',
    );

  const addInput = db.prepare(
    `INSERT INTO imports (sha256, source, name, at, first, last, records, lost, bad, ignored, sampled_one_in)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const addSize = db.prepare(
    'INSERT INTO import_sizes (source, bytes, sha256) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
  );
  const skipped = new Set(repeated);
  for (const input of batch.inputs) {
    if (skipped.has(input)) continue;
    addInput.run(
      input.sha256,
      input.source,
      input.name,
      input.at,
      input.first ?? null,
      input.last ?? null,
      input.records,
      input.lost,
      input.bad,
      input.ignored,
      input.sampledOneIn,
    );
    if (input.bytes !== undefined && input.bytes > 0) addSize.run(input.source, input.bytes, input.sha256);
  }

  const left = new Set(repeated.map(({ sha256 }) => sha256));
  recordLineMarks(
    handle,
    (batch.lines ?? []).filter(({ sha256 }) => !left.has(sha256)),
  );

  const find = db.prepare<[string], Row>('SELECT * FROM edges WHERE id = ?');
  const add = db.prepare(`INSERT INTO edges VALUES (${Array(EDGE_COLUMNS).fill('?').join(', ')})`);
  // The columns of the key stay as they are, and with them all indexes but one.
  const update = db.prepare(
    `UPDATE edges SET count = ?, first = ?, last = ?, mtls = ?, last_plaintext = ?, guessed_direction = ?, data = ?
     WHERE id = ?`,
  );
  const added = new Set<string>();
  const updated = new Set<string>();
  for (const edge of batch.edges) {
    const row = find.get(edge.id);
    if (row === undefined) {
      add.run(...edgeColumns(edge));
      added.add(edge.id);
    } else {
      update.run(...edgeColumns(mergeEdge(parseEdgeRow(row, file), edge)).slice(EDGE_KEY_COLUMNS), edge.id);
      if (!added.has(edge.id)) updated.add(edge.id);
    }
  }
  addEvidence(handle, batch.evidence);
  if (batch.addresses !== undefined) recordAddresses(handle, batch.addresses, []);
  return { added: added.size, updated: updated.size, skippedInputs: repeated };
}

function addEvidence({ db }: Handle, evidence: EdgeImport['evidence']): void {
  const addDay = db.prepare('INSERT INTO evidence_days (day) VALUES (?) ON CONFLICT DO NOTHING');
  for (const day of evidence.days) addDay.run(day);
  const addSeen = db.prepare(
    `INSERT INTO days_seen (source, namespace, day, first, last) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (source, namespace, day) DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)`,
  );
  for (const { source, namespace, day, first, last } of evidence.seen ?? [])
    addSeen.run(source, namespace, day, first, last);
  const addUnattributed = db.prepare(
    'INSERT INTO unattributed (reason, count) VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count',
  );
  for (const [reason, count] of Object.entries(evidence.unattributed)) addUnattributed.run(reason, count);
  const addRun = db.prepare('INSERT INTO schedule_runs (workload, run) VALUES (?, ?) ON CONFLICT DO NOTHING');
  for (const [workload, runs] of Object.entries(evidence.runs)) for (const run of runs) addRun.run(workload, run);
}

/** A gap that is on record is not taken down again: an engine is asked for the same hours more than once. */
function addGaps({ db }: Handle, gaps: readonly Gap[], at: number): void {
  const known = db.prepare('SELECT 1 FROM gaps WHERE source = ? AND first = ? AND last = ? AND why = ?');
  const add = db.prepare('INSERT INTO gaps (source, first, last, why, at) VALUES (?, ?, ?, ?, ?)');
  for (const { source, from, to, why } of gaps) {
    const reason = maskText(why);
    if (known.get(source, from, to, reason) === undefined) add.run(source, from, to, reason, at);
  }
}

/** Two that follow the same would each count what the other counts. */
function moveOn({ db, file }: Handle, { key, source, at, position, before }: FollowStep): void {
  const row = db.prepare<[string], Row>('SELECT * FROM follows WHERE key = ?').get(key);
  if (!equalJson(row === undefined ? undefined : parseFollowRow(row, file).position, before))
    throw stateFailure(
      STATE_CODE.followedTwice,
      file,
      `${safeText(key)} is followed by another process, which has recorded what this one read; nothing of it was recorded twice`,
      'leave one of the two running',
    );
  db.prepare(
    `INSERT INTO follows (key, source, at, position) VALUES (?, ?, ?, ?)
     ON CONFLICT (key) DO UPDATE SET at = excluded.at, position = excluded.position`,
  ).run(key, source, at, JSON.stringify(position));
}

function addDecision(handle: Handle, decision: Decision): boolean {
  const { db } = handle;
  const { action, text, reason, by, at, matched } = decision;
  const query = sortBy(Object.entries(decision.query), ([key]) => key);
  const digest = sha256(JSON.stringify([action, query, text, reason, by, at, matched]));
  if (db.prepare('SELECT 1 FROM decisions WHERE digest = ?').get(digest) !== undefined) return false;
  db.prepare(
    'INSERT INTO decisions (digest, action, query, text, reason, decided_by, at, matched) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  ).run(digest, action, JSON.stringify(Object.fromEntries(query)), text, reason, by, at, JSON.stringify(matched));

  const namespaces = new Set<string>();
  const { ns } = decision.query;
  if (ns !== undefined && !ns.includes('*')) namespaces.add(ns);
  // What was frozen stands on the trail: each edge by its id and, where it is on record, in words.
  const listed: string[] = [];
  const find = db.prepare<[string], Row>('SELECT * FROM edges WHERE id = ?');
  for (const id of matched) {
    const row = find.get(id);
    listed.push(row === undefined ? id : `${id} ${formatEdge(parseEdgeRow(row, handle.file))}`);
    for (const namespace of [row?.['src_ns'], row?.['dst_ns']])
      if (typeof namespace === 'string') namespaces.add(namespace);
  }
  const count = isAboutGates(decision.query)
    ? ''
    : ` (${[plural(matched.length, 'edge'), listed.join(', ')].filter((part) => part !== '').join(': ')})`;
  appendAudit(handle, { at, who: by, what: action, object: `${text}${count}`, reason }, namespaces);
  return true;
}

function addApproval(
  handle: Handle,
  approval: Approval,
  taken: { readonly who: string; readonly file?: string; readonly at: number },
): boolean {
  const { db } = handle;
  const { who, file } = taken;
  const { target, namespace, from, to, plan, by, at, reason } = approval;
  const digest = sha256(JSON.stringify([target, namespace, from, to, plan, by.kind, by.name, at, reason]));
  if (db.prepare('SELECT 1 FROM approvals WHERE digest = ?').get(digest) !== undefined) return false;
  db.prepare(
    `INSERT INTO approvals (digest, target, namespace, from_phase, to_phase, plan, actor_kind, actor, at, reason)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(digest, target, namespace, from, to, plan, by.kind, by.name, at, maskText(reason));
  appendAudit(handle, {
    at: taken.at,
    who,
    what: 'approve',
    object: `namespace ${namespace} ${from} -> ${to}, plan ${plan}`,
    reason: `${reason} (${formatActor(by)}${file === undefined ? '' : `, ${new Date(at).toISOString()}, from ${file}`})`,
    namespace,
  });
  return true;
}

import { formatEdge } from '../../src/model/edge.ts';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { Decision } from '../../src/model/decision.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { Gap } from '../../src/model/evidence.ts';
import type { Gate } from '../../src/model/finding.ts';
import { openJournal } from '../../state/journal.ts';
import { openState } from '../../state/open.ts';
import {
  failureOf,
  makeAudit,
  makeCreate,
  makeEdge,
  makeEmptyInput,
  makeInput,
  makeRun,
  makeState,
  makeStep,
  NO_MORE,
  TARGET,
} from './samples.ts';
import './clean-up.ts';

describe('edges', () => {
  const FULL: readonly Edge[] = [
    makeEdge(
      { endPort: 8090, l7: "POST /v1'); DROP TABLE edges;--" },
      {
        runs: ['nightly-1'],
        principals: ['spiffe://x/ns/shop/sa/web'],
        mtls: 'mixed',
        lastPlaintext: 1_500,
        guessedDirection: true,
        views: ['egress', 'ingress'],
        verdicts: { allowed: 1, denied: 2, audit: 3, unknown: 4 },
      },
    ),
    makeEdge({ src: { kind: 'external', name: 'pypi.org', ip: '192.0.2.1' } }),
    makeEdge({ src: { kind: 'node', name: 'n1' }, protocol: 'UDP' }),
    makeEdge({ src: { kind: 'api-server' }, dst: { kind: 'node' }, protocol: 'SCTP' }),
    makeEdge({ dst: { kind: 'unknown', ip: '10.9.9.9', why: 'no such pod \u001b[31m' } }),
    makeEdge({ port: 443 }, { origin: { kind: 'declared', strength: 'weak', by: 'env' }, verdicts: {}, count: 0 }),
  ];

  it('come back as they were given', () => {
    const { writer, reader } = makeState();
    writer.importEdges({ inputs: [makeInput('one')], edges: FULL, evidence: NO_MORE });
    const byId = new Map(reader.edges().map((edge) => [edge.id, edge]));
    for (const edge of FULL) expect(byId.get(edge.id)).toStrictEqual(edge);
    expect(byId.size).toBe(FULL.length);
  });

  it('may be none: the hours of which an engine has nothing are kept, each once', () => {
    const { writer, reader } = makeState();
    const gap = (hour: number): Gap => ({ source: 'istio', from: hour, to: hour + 1, why: 'nothing of this hour' });
    const gaps = (...hours: number[]): void => {
      writer.importEdges({ inputs: [], edges: [], evidence: { ...NO_MORE, gaps: hours.map(gap) }, at: 1 });
    };
    gaps(1, 2);
    gaps(2, 3);
    expect(reader.evidence().gaps).toEqual([1, 2, 3].map(gap));
    writer.importEdges({ inputs: [makeInput('one')], edges: FULL, evidence: NO_MORE });
    // Beside what was imported before, too.
    writer.importEdges({ inputs: [makeInput('one')], edges: FULL, evidence: { ...NO_MORE, gaps: [gap(4)] } });
    expect(reader.evidence().gaps).toHaveLength(4);
  });

  it('are found by a namespace at either end', () => {
    const { writer, reader } = makeState();
    writer.importEdges({ inputs: [makeInput('one')], edges: FULL, evidence: NO_MORE });
    expect(reader.edges({ namespace: 'shop' })).toHaveLength(3);
    expect(reader.edges({ namespace: 'models' })).toHaveLength(4);
    expect(reader.edges({ namespace: "shop' OR '1'='1" })).toEqual([]);
  });

  it('of a later import are added to those on record', () => {
    const { writer, reader } = makeState();
    writer.importEdges({ inputs: [makeInput('one')], edges: [makeEdge()], evidence: NO_MORE });
    const later = makeEdge({}, { count: 4, first: 500, last: 9_000, verdicts: { denied: 4 }, days: ['2026-10-06'] });
    expect(
      writer.importEdges({ inputs: [makeInput('two')], edges: [later, makeEdge({ port: 1 })], evidence: NO_MORE }),
    ).toEqual({ added: 1, updated: 1, skippedInputs: [] });
    expect(reader.edges().find(({ id }) => id === later.id)).toMatchObject({
      count: 7,
      first: 500,
      last: 9_000,
      verdicts: { allowed: 3, denied: 4 },
      days: ['2026-10-05', '2026-10-06'],
    });
    expect(reader.newestRecord()).toBe(9_000);
  });

  it('of the same input are counted once', () => {
    const { writer, reader } = makeState();
    const batch = { inputs: [makeInput('one')], edges: [makeEdge()], evidence: { ...NO_MORE, unattributed: { x: 1 } } };
    writer.importEdges(batch);
    const before = [reader.edges(), reader.evidence(), reader.imports()];
    expect(writer.importEdges({ ...batch, inputs: [makeInput('one', { name: 'copy', at: 9_999 })] })).toMatchObject({
      added: 0,
      updated: 0,
      skippedInputs: [{ name: 'copy' }],
    });
    expect([reader.edges(), reader.evidence(), reader.imports()]).toEqual(before);
    expect(reader.hasImport('one', 'hubble')).toBe(true);
    expect(reader.hasImport('one', 'edges')).toBe(false);
  });

  it.each([
    ['was imported before', ['one', 'two']],
    ['is given twice', ['two', 'two']],
  ])('are refused whole when one input of several %s', (_name, hashes) => {
    const { writer, reader } = makeState();
    writer.importEdges({ inputs: [makeInput('one')], edges: [makeEdge()], evidence: NO_MORE });
    const inputs = hashes.map((hash) => makeInput(hash));
    const failure = failureOf(() => writer.importEdges({ inputs, edges: [makeEdge()], evidence: NO_MORE }));
    expect(failure).toMatchObject({ code: 'SP511', exit: 5 });
    expect(failure.message).toContain(`${hashes[0] ?? ''}.jsonl`);
    expect(reader.imports()).toHaveLength(1);
    expect(reader.edges()[0]?.count).toBe(3);
  });

  it('are imported beside logs without a record, which are all alike', () => {
    const { writer, reader } = makeState();
    const silent = (name: string): ReturnType<typeof makeInput> =>
      makeInput('nothing', { name, records: 0, lost: 0, bad: 0, ignored: 0 });
    writer.importEdges({ inputs: [silent('monday'), silent('tuesday')], edges: [], evidence: NO_MORE });
    const result = writer.importEdges({
      inputs: [silent('wednesday'), makeInput('one')],
      edges: [makeEdge()],
      evidence: NO_MORE,
    });
    expect(result).toMatchObject({ added: 1, skippedInputs: [{ name: 'wednesday' }] });
    expect(reader.imports()).toHaveLength(2);
  });

  it('are all recorded or none', () => {
    const { writer, reader } = makeState();
    function* cutShort(): Generator<Edge> {
      yield makeEdge();
      throw new Error('line 7 is not JSON');
    }
    expect(() => writer.importEdges({ inputs: [makeInput('one')], edges: cutShort(), evidence: NO_MORE })).toThrow(
      'line 7',
    );
    expect([reader.edges(), reader.imports()]).toEqual([[], []]);
  });

  it('are right when there are 100,000 of them, imported and then imported again from another input', () => {
    const { writer, reader } = makeState();
    const edges = Array.from({ length: 100_000 }, (_, index) =>
      makeEdge(
        { src: { kind: 'workload', id: `ns-${index % 50}/Deployment/d-${index}` }, port: 1 + (index % 60_000) },
        { count: index + 1, verdicts: { allowed: index + 1 } },
      ),
    );
    expect(writer.importEdges({ inputs: [makeInput('one')], edges, evidence: NO_MORE }).added).toBe(100_000);
    expect(writer.importEdges({ inputs: [makeInput('two')], edges, evidence: NO_MORE }).updated).toBe(100_000);
    const stored = new Map(reader.edges().map((edge) => [edge.id, edge]));
    expect(stored.size).toBe(100_000);
    for (const edge of edges) {
      const found = stored.get(edge.id);
      if (found?.count !== 2 * edge.count || found.verdicts.allowed !== 2 * edge.count || found.port !== edge.port)
        throw new Error(`edge ${edge.id} is wrong: ${JSON.stringify(found)}`);
    }
    expect(reader.edges({ namespace: 'ns-7' })).toHaveLength(2_000);
  });
});

describe('evidence', () => {
  it('adds up over imports, by source', () => {
    const { writer, reader } = makeState();
    expect(reader.evidence()).toEqual({ sources: [], days: [], unattributed: {}, runs: {} });
    expect(reader.newestRecord()).toBeUndefined();
    writer.importEdges({
      inputs: [makeInput('one'), makeInput('two', { first: 500, last: 700, sampledOneIn: 4 })],
      edges: [],
      evidence: {
        days: ['2026-10-06'],
        unattributed: { 'no such pod': 2 },
        runs: { 'shop/CronJob/n': ['n-2', 'n-1'] },
      },
    });
    writer.importEdges({
      inputs: [makeEmptyInput('three'), makeInput('four', { source: 'edges' })],
      edges: [],
      evidence: {
        days: ['2026-10-05', '2026-10-06'],
        unattributed: { 'no such pod': 1, ...Object.fromEntries([['__proto__', 1]]) },
        runs: { 'shop/CronJob/n': ['n-2', 'n-3'] },
      },
    });
    const evidence = reader.evidence();
    expect(evidence).toMatchObject({
      sources: [
        { source: 'edges', first: 1_000, last: 2_000, records: 10, lost: 1, bad: 2, ignored: 3, sampledOneIn: 1 },
        { source: 'hubble', first: 500, last: 2_000, records: 20, lost: 3, bad: 6, ignored: 9, sampledOneIn: 4 },
      ],
      days: ['2026-10-05', '2026-10-06'],
      first: 500,
      last: 2_000,
      runs: { 'shop/CronJob/n': ['n-1', 'n-2', 'n-3'] },
    });
    expect(Object.entries(evidence.unattributed)).toEqual([
      ['__proto__', 1],
      ['no such pod', 3],
    ]);
    expect(reader.imports().map(({ name }) => name)).toEqual(['one.jsonl', 'two.jsonl', 'three.jsonl', 'four.jsonl']);
  });
});

describe('decisions', () => {
  const decision: Decision = {
    action: 'accept',
    query: { src: 'shop/*', port: '23' },
    text: "src=shop/*,port=23'--",
    reason: 'a debug pod',
    by: 'maria',
    at: 4_000,
    matched: ['0123456789ab'],
  };

  it('come back as they were given, in order, each once', () => {
    const { writer, reader } = makeState();
    const waiver: Decision = { ...decision, action: 'waive', query: { gate: 'coverage', ns: 'shop' }, matched: [] };
    expect([decision, waiver, decision].map((one) => writer.addDecision(one))).toEqual([true, true, false]);
    expect(reader.decisions()).toStrictEqual([decision, waiver]);
    expect(reader.audit().map(({ what }) => what)).toEqual(['accept', 'waive']);
  });

  it('are on the trail of the namespaces whose edges they matched', () => {
    const { writer, reader } = makeState();
    const edge = makeEdge();
    writer.importEdges({ inputs: [makeInput('one')], edges: [edge], evidence: NO_MORE });
    writer.addDecision({ ...decision, matched: [edge.id] });
    for (const namespace of ['shop', 'models'])
      expect(reader.audit({ namespace })).toEqual([
        {
          at: 4_000,
          who: 'maria',
          what: 'accept',
          object: `${decision.text} (1 edge: ${edge.id} ${formatEdge(edge)})`,
          reason: 'a debug pod',
        },
      ]);
    expect(reader.audit({ namespace: 'other' })).toEqual([]);
  });
});

describe('the audit trail', () => {
  it('files a line under its run, its object and its own namespace, and under all when it has none', () => {
    const { writer, reader } = makeState();
    const journal = openJournal(writer);
    const peer = { ...makeStep('peer', makeCreate('p')), namespace: 'shop' };
    journal.openRun(makeRun('r1', [peer]));
    journal.audit(makeAudit('advance', { run: 'r1' }));
    journal.audit(makeAudit('verify', { namespace: 'models' }));
    journal.audit(makeAudit('gate off'));
    const change = makeCreate('p');
    if (change.kind !== 'create') throw new Error('not a create');
    const elsewhere = { ...change.object, metadata: { name: 'p', namespace: 'feast' } };
    journal.stepStarted('r1', 0, { kind: 'create', object: elsewhere }, 1);
    journal.stepDone('r1', 0, { at: 2, audit: makeAudit('created', { run: 'r1' }) });
    const whats = (namespace: string) => reader.audit({ namespace }).map(({ what }) => what);
    expect(reader.audit().map(({ what }) => what)).toEqual(['advance', 'verify', 'gate off', 'created']);
    expect(whats('shop')).toEqual(['advance', 'gate off', 'created']);
    expect(whats('feast')).toEqual(['gate off', 'created']);
    expect(whats('models')).toEqual(['verify', 'gate off']);
  });

  const TAMPER: readonly string[] = [
    "UPDATE audit SET who = 'nobody'",
    'DELETE FROM audit',
    "INSERT OR REPLACE INTO audit (id, at, who, what, object, reason) VALUES (1, 1, 'x', 'x', 'x', 'x')",
    "UPDATE audit_namespaces SET namespace = 'x'",
    'DELETE FROM audit_namespaces',
    "UPDATE decisions SET reason = 'x'",
    'DELETE FROM decisions',
    'INSERT OR REPLACE INTO decisions SELECT * FROM decisions',
    'DELETE FROM runs',
    'INSERT OR REPLACE INTO runs SELECT * FROM runs',
    "UPDATE runs SET plan = '{}'",
    'DELETE FROM steps',
    'INSERT OR REPLACE INTO steps SELECT * FROM steps',
    "UPDATE steps SET step = '{}'",
    "UPDATE steps SET change = '{}' WHERE state = 'done'",
    'DELETE FROM imports',
    "UPDATE imports SET sha256 = 'x'",
  ];
  it.each(TAMPER)('and the record refuse: %s', (sql) => {
    const state = makeState();
    const journal = openJournal(state.writer);
    state.writer.importEdges({ inputs: [makeInput('one')], edges: [], evidence: NO_MORE });
    state.writer.addDecision({ action: 'waive', query: {}, text: '', reason: '', by: '', at: 1, matched: [] });
    journal.openRun(makeRun('r1', [makeStep('a', makeCreate('a'))]));
    journal.stepStarted('r1', 0, makeCreate('a'), 1);
    journal.stepDone('r1', 0, { at: 2, audit: makeAudit('created', { run: 'r1' }) });
    state.close();
    const db = new Database(state.file);
    expect(() => db.exec(sql)).toThrow(/append-only|never (deleted|replaced|overwritten)|keeps its plan/);
    db.close();
    const again = openState(state.file, { target: TARGET, mode: 'read' });
    expect(again.reader.audit()).toHaveLength(2);
    again.close();
  });
});

describe('runs', () => {
  it('are listed with what became of them, and one can be read with its plan', () => {
    const { writer, reader } = makeState();
    const journal = openJournal(writer);
    const run = makeRun('r1', [makeStep('a', makeCreate('a'))]);
    journal.openRun(run);
    journal.closeRun('r1', 'partial', 'monitor', 8_000);
    journal.openRun(makeRun('r2', [], { kind: 'rollback' }));
    const summary = {
      namespace: 'shop',
      from: 'monitor',
      to: 'allow-list',
      planHash: 'abc',
      startedAt: 5_000,
      by: 'maria',
    };
    expect(reader.runs()).toStrictEqual([
      { ...summary, id: 'r1', kind: 'advance', outcome: 'partial', endedAt: 8_000 },
      { ...summary, id: 'r2', kind: 'rollback' },
    ]);
    expect(reader.run('r1')).toStrictEqual(run);
    expect(reader.run('r3')).toBeUndefined();
  });
});

describe('gates', () => {
  it('are those of the newest attempt, by namespace', () => {
    const { writer, reader } = makeState();
    const gate: Gate = { id: 'window', answer: 'no', subject: 'shop', facts: ['3 h'], fix: 'wait' };
    writer.saveGates('shop', [gate, { ...gate, id: 'mesh' }], 1);
    writer.saveGates('shop', [{ ...gate, answer: 'yes', fix: '', waived: 'lab' }], 2);
    expect(reader.gates('shop')).toStrictEqual([{ ...gate, answer: 'yes', fix: '', waived: 'lab' }]);
    expect(reader.gates('models')).toEqual([]);
  });
});

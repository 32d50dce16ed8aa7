import { describe, expect, it } from 'vitest';
import type { Journal, RunRecord, SoakRecord, StepState } from '../../src/engine/contract.ts';
import type { Change } from '../../src/plan/change.ts';
import type { Denial } from '../../src/plan/soak.ts';
import { openJournal } from '../../state/journal.ts';
import { openState } from '../../state/open.ts';
import { makeAudit, makeCreate, makeEdit, makeRun, makeState, makeStep, TARGET } from './samples.ts';
import './clean-up.ts';

function makeJournal(): { readonly journal: Journal; readonly file: string; readonly reopen: () => Journal } {
  const state = makeState();
  return {
    journal: openJournal(state.writer),
    file: state.file,
    reopen: () => {
      state.close();
      return openJournal(openState(state.file, { target: TARGET, mode: 'write' }).writer);
    },
  };
}

function perform(journal: Journal, run: string, index: number, change: Change): void {
  journal.stepStarted(run, index, change, 7_000);
  journal.stepDone(run, index, { uid: `uid-${index}`, at: 7_001 + index, audit: makeAudit(`step ${index}`, { run }) });
}

const [a, b, c] = ['a', 'b', 'c'].map((id) => makeStep(id, makeCreate(id)));
if (a === undefined || b === undefined || c === undefined) throw new Error('no steps');

describe('a run', () => {
  it('comes back from the file as it was given', () => {
    const { journal, reopen } = makeJournal();
    const run = makeRun('r1', [
      makeStep('a', makeCreate('a'), { workload: 'shop/Deployment/web', direction: 'egress', confirm: 'Helm' }),
      makeStep('b', makeEdit(undefined, 'monitor')),
      makeStep('c', { kind: 'delete', ref: { apiVersion: 'v1', kind: 'ServiceAccount', name: 'x' }, before: A_POLICY }),
    ]);
    journal.openRun(run);
    const again = reopen();
    expect(again.openRuns()).toEqual([run]);
    expect(again.stepsOf('r1').map(({ index, state, step }) => ({ index, state, step }))).toEqual(
      run.plan.steps.map((step, index) => ({ index, state: 'pending', step })),
    );
  });

  it('is open until it is closed, and closing sets the phase', () => {
    const { journal, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    journal.setPhase('shop', 'monitor', 1);
    expect(journal.phases()).toEqual(new Map([['shop', 'monitor']]));
    journal.closeRun('r1', 'done', 'allow-list', 8_000);
    const again = reopen();
    expect(again.openRuns()).toEqual([]);
    expect(again.phases()).toEqual(new Map([['shop', 'allow-list']]));
  });

  it('that ends in none leaves the namespace out', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    journal.closeRun('r1', 'undone', 'none', 8_000);
    expect(journal.phases()).toEqual(new Map());
  });

  it('is refused under the number of another', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    expect(() => journal.openRun(makeRun('r1', [b]))).toThrow(/never replaced/);
    expect(journal.stepsOf('r1')).toHaveLength(1);
  });

  it('takes nothing more once it is closed', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    journal.closeRun('r1', 'failed', 'none', 8_000);
    expect(() => journal.stepStarted('r1', 0, makeCreate('a'), 1)).toThrow(/run r1 is closed/);
    expect(() => journal.closeRun('r1', 'done', 'none', 1)).toThrow(/run r1 is closed/);
    expect(() => journal.closeRun('r2', 'done', 'none', 1)).toThrow(/run r2 is not on record/);
  });
});

describe('a step', () => {
  type Call = 'start' | 'done' | 'fail' | 'skip' | 'reset';
  const CALLS: Readonly<Record<Call, (journal: Journal) => void>> = {
    start: (journal) => journal.stepStarted('r1', 0, makeCreate('a'), 1),
    done: (journal) => journal.stepDone('r1', 0, { at: 2, audit: makeAudit('apply', { run: 'r1' }) }),
    fail: (journal) => journal.stepFailed('r1', 0, 'timed out', 3),
    skip: (journal) => journal.stepSkipped('r1', 0, 'kept theirs', 4),
    reset: (journal) => journal.stepReset('r1', 0),
  };
  const LEADS_TO: readonly (readonly [readonly Call[], StepState])[] = [
    [[], 'pending'],
    [['start'], 'started'],
    [['start', 'done'], 'done'],
    [['start', 'fail'], 'failed'],
    [['fail'], 'failed'],
    [['start', 'fail', 'done'], 'done'],
    [['start', 'fail', 'reset'], 'pending'],
    [['start', 'reset', 'start', 'done'], 'done'],
    [['skip'], 'skipped'],
    [['start', 'skip'], 'skipped'],
    [['skip', 'reset', 'start'], 'started'],
  ];
  it.each(LEADS_TO)('after %j is %s', (calls, state) => {
    const { journal, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    for (const call of calls) CALLS[call](journal);
    expect(reopen().stepsOf('r1')[0]?.state).toBe(state);
  });

  const NEVER: readonly (readonly [readonly Call[], Call])[] = [
    [[], 'done'],
    [['fail'], 'done'],
    [['start'], 'start'],
    [['start', 'fail'], 'start'],
    [['start', 'done'], 'start'],
    [['start', 'done'], 'reset'],
    [['start', 'done'], 'fail'],
    [['start', 'done'], 'done'],
    [['skip'], 'done'],
  ];
  it.each(NEVER)('after %j refuses %s and stays as it was', (calls, last) => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    for (const call of calls) CALLS[call](journal);
    const before = journal.stepsOf('r1');
    expect(() => CALLS[last](journal)).toThrow(/step 0 \(allow-list\/a\) of run r1 is/);
    expect(journal.stepsOf('r1')).toEqual(before);
  });

  it('keeps the image read before the write, which a second reading cannot overwrite', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [makeStep('a', makeEdit('planned', 'x'))]));
    journal.stepStarted('r1', 0, makeEdit('as read', 'x'), 1);
    expect(() => journal.stepStarted('r1', 0, makeEdit('x', 'x'), 2)).toThrow();
    journal.stepFailed('r1', 0, 'timed out', 3);
    expect(journal.stepsOf('r1')[0]).toMatchObject({ change: makeEdit('as read', 'x'), error: 'timed out' });
    journal.stepDone('r1', 0, { uid: 'u', at: 4, audit: makeAudit('apply') });
    expect(journal.stepsOf('r1')[0]).toMatchObject({ change: makeEdit('as read', 'x'), uid: 'u' });
    expect(journal.stepsOf('r1')[0]).not.toHaveProperty('error');
  });

  it('forgets the image when nothing was written', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    journal.stepStarted('r1', 0, makeCreate('a'), 1);
    journal.stepReset('r1', 0);
    expect(journal.stepsOf('r1')[0]).not.toHaveProperty('change');
  });

  it('is done together with its audit line, or not at all', () => {
    const state = makeState();
    const journal = openJournal(state.writer);
    journal.openRun(makeRun('r1', [a]));
    journal.stepStarted('r1', 0, makeCreate('a'), 1);
    const audit = { ...makeAudit('apply'), who: null as unknown as string };
    expect(() => journal.stepDone('r1', 0, { at: 2, audit })).toThrow(/NOT NULL/);
    expect(state.reader.stepsOf('r1')[0]?.state).toBe('started');
    expect(state.reader.audit()).toEqual([]);
  });

  it('tells a field that was absent from one that was null', () => {
    const { journal, reopen } = makeJournal();
    const change: Change = {
      kind: 'edit',
      ref: { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name: 'web' },
      fields: [
        { path: ['spec', 'a'], before: undefined, after: null },
        { path: ['spec', 'b'], before: null, after: undefined },
      ],
      owner: 'other',
    };
    journal.openRun(makeRun('r1', [a]));
    journal.stepStarted('r1', 0, change, 1);
    expect(reopen().stepsOf('r1')[0]?.change).toStrictEqual(change);
  });
});

describe('a watch', () => {
  const denial: Denial = {
    edge: 'e1',
    text: 'a -> b 1/TCP',
    query: 'src=a,dst=b,port=1/TCP',
    at: 7_500,
    source: 'hubble',
    where: 'one.jsonl (from byte 9)',
    step: 'allow-list/a',
  };
  const soak: SoakRecord = {
    run: 'r1',
    since: 7_000,
    until: 9_000,
    left: true,
    lookedAt: 8_000,
    position: [{ source: 'hubble', files: [{ path: '/x', file: '1:2', offset: 3, head: 'h', headBytes: 4 }] }],
    memory: {
      deniedBefore: ['e9'],
      seen: { e1: { in: 1, out: 2, denied: 3 } },
      callers: [
        {
          id: 'e2',
          key: {
            src: { kind: 'unknown', why: 'nobody', ip: '10.0.0.9' },
            dst: { kind: 'workload', id: 'shop/Deployment/web' },
            protocol: 'TCP',
            port: 80,
            l7: 'GET /',
          },
          text: 't',
          query: 'q',
          first: 1,
          last: 2,
          count: 3,
          deniedCount: 1,
          source: 'hubble',
          where: 'w',
          in: 0,
          out: 1,
          denied: 2,
        },
      ],
      denials: [denial, { ...denial, edge: 'e3', spared: 'accepted to be cut' }],
      unattributed: 2,
    },
    awaited: [
      { edge: 'e1', text: 't', due: 10_000 },
      { edge: 'e4', text: 'u' },
    ],
  };
  const back: RunRecord = {
    ...makeRun('r2', [makeStep('undo-a', makeCreate('x'), { undoes: [1] })]),
    kind: 'rollback',
    startedAt: 8_000,
    pullsBack: { run: 'r1', denial },
  };

  it('comes back from the file as it was kept last', () => {
    const { journal, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    expect(journal.soakOf('r1')).toBeUndefined();
    journal.saveSoak({ ...soak, until: 0, left: false });
    journal.saveSoak(soak);
    expect(reopen().soakOf('r1')).toEqual(soak);
  });

  it('is kept of open runs alone', () => {
    const { journal } = makeJournal();
    expect(() => journal.saveSoak(soak)).toThrow(/not on record/);
    journal.openRun(makeRun('r1', [a]));
    journal.closeRun('r1', 'done', 'allow-list', 8_000);
    expect(() => journal.saveSoak(soak)).toThrow(/closed/);
  });

  it('that pulls its run back closes the one run and opens the other, together with the line on the trail', () => {
    const { journal, file, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a, b]));
    perform(journal, 'r1', 0, makeCreate('a'));
    journal.pullBack(back, makeAudit('pulled back in soak', { run: 'r1' }));
    const again = reopen();
    expect(again.openRuns()).toEqual([back]);
    expect(again.stepsOf('r1').map(({ state }) => state)).toEqual(['done', 'skipped']);
    const { reader } = openState(file, { target: TARGET, mode: 'read' });
    expect(reader.runs().map(({ id, outcome }) => [id, outcome])).toEqual([
      ['r1', 'undone'],
      ['r2', undefined],
    ]);
    expect(reader.audit({ namespace: 'shop' }).at(-1)?.what).toBe('pulled back in soak');
  });

  it('pulls nothing back while a step is under way, nor a run that is closed: nothing of it is kept', () => {
    const { journal, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a, b]));
    perform(journal, 'r1', 0, makeCreate('a'));
    journal.stepStarted('r1', 1, makeCreate('b'), 7_100);
    expect(() => journal.pullBack(back, makeAudit('pulled back'))).toThrow(/not known/);
    expect(journal.openRuns().map(({ id }) => id)).toEqual(['r1']);
    journal.stepReset('r1', 1);
    journal.closeRun('r1', 'partial', 'monitor', 8_000);
    expect(() => journal.pullBack(back, makeAudit('pulled back'))).toThrow(/closed/);
    expect(reopen().openRuns()).toEqual([]);
  });
});

describe('steps in force', () => {
  it('are those done, oldest first, as written and with their time', () => {
    const { journal, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a, b, c]));
    perform(journal, 'r1', 0, makeCreate('a'));
    journal.stepSkipped('r1', 1, 'there already', 1);
    perform(journal, 'r1', 2, makeCreate('c-as-written'));
    expect(reopen().applied()).toStrictEqual([
      { ...A_DONE, seq: 1, step: a, change: makeCreate('a'), uid: 'uid-0', at: 7_001 },
      { ...A_DONE, seq: 3, step: c, change: makeCreate('c-as-written'), uid: 'uid-2', at: 7_003 },
    ]);
  });

  it('leave out what was undone and what undid it', () => {
    const { journal, reopen } = makeJournal();
    journal.openRun(makeRun('r1', [a, b]));
    perform(journal, 'r1', 0, makeCreate('a'));
    perform(journal, 'r1', 1, makeCreate('b'));
    journal.closeRun('r1', 'done', 'allow-list', 8_000);
    const undo = makeStep('undo-b', { kind: 'delete', ref: B_REF, before: A_POLICY }, { undoes: [2] });
    const loosen = makeStep('loosen', makeEdit('x', 'y'));
    journal.openRun(makeRun('r2', [loosen, undo], { kind: 'rollback' }));
    perform(journal, 'r2', 0, loosen.change);
    expect(journal.applied().map(({ seq }) => seq)).toEqual([1, 2, 3]);
    perform(journal, 'r2', 1, undo.change);
    const again = reopen();
    expect(again.applied().map(({ seq, step }) => [seq, step.id])).toEqual([
      [1, 'allow-list/a'],
      [3, 'allow-list/loosen'],
    ]);
    expect(again.stepsOf('r1').map(({ state }) => state)).toEqual(['done', 'undone']);
    expect(again.stepsOf('r2').map(({ state }) => state)).toEqual(['done', 'done']);
  });

  it('leave out an edit that changed nothing', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [makeStep('a', makeEdit('x', 'y'))]));
    perform(journal, 'r1', 0, makeEdit('y', 'y'));
    expect(journal.stepsOf('r1')[0]?.state).toBe('done');
    expect(journal.applied()).toEqual([]);
  });

  it('are in the order they were started, also when an older run is taken up again', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('old', [a, b, c]));
    perform(journal, 'old', 0, makeCreate('a'));
    journal.openRun(makeRun('new', [makeStep('n', makeCreate('n'))], { namespace: 'other' }));
    perform(journal, 'new', 0, makeCreate('n'));
    perform(journal, 'old', 1, makeCreate('b'));
    perform(journal, 'old', 2, makeCreate('c'));
    const applied = journal.applied();
    expect(applied.map(({ step }) => step.id)).toEqual(['a', 'n', 'b', 'c'].map((id) => `allow-list/${id}`));
    expect(applied.map(({ seq }) => seq)).toEqual([...applied.map(({ seq }) => seq)].sort((x, y) => x - y));
    expect(journal.stepsOf('old').map(({ index }) => index)).toEqual([0, 1, 2]);
  });

  it('cannot be undone by a run that names a step which is not in force', () => {
    const { journal } = makeJournal();
    journal.openRun(makeRun('r1', [a]));
    for (const undoes of [[1], [99]])
      expect(() => journal.openRun(makeRun('r2', [makeStep('undo', makeCreate('x'), { undoes })]))).toThrow(/not done/);
    expect(journal.openRuns().map(({ id }) => id)).toEqual(['r1']);
  });
});

const A_DONE = { run: 'r1', namespace: 'shop', phase: 'allow-list' } as const;
const A_POLICY = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'x', namespace: 'shop' } };
const B_REF = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace: 'shop', name: 'b' };

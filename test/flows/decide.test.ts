import { describe, expect, it } from 'vitest';
import { decisionId, mergeDecisions, reviewEdges, waiverFault, waives } from '../../src/flows/decide.ts';
import { parseQuery } from '../../src/flows/query.ts';
import type { Decision } from '../../src/model/decision.ts';
import type { Edge } from '../../src/model/edge.ts';

const decision = (action: Decision['action'], text: string, more: Partial<Decision> = {}): Decision => ({
  action,
  query: parseQuery(text),
  text,
  reason: 'why',
  by: 'maria',
  at: 1_000,
  matched: [],
  ...more,
});

describe('a waiver', () => {
  it.each([
    'gate=soak',
    'gate=window,ns=shop',
    'gate=coverage,subject=shop/CronJob/report*',
    'gate=mesh,subject=shop',
    'gate=plaintext,subject=shop/*:9102,ns=shop',
    'gate=managed-by-others,subject=Deployment shop/web',
    'gate=managed-by-others,subject=Deployment*shop/web',
    'gate=unknown,subject=0123456789ab',
    'subject=bad.yaml',
  ])('may stand: %s', (text) => {
    expect(waiverFault(parseQuery(text))).toBeUndefined();
  });

  it.each([
    ['ns=shop', /a namespace alone/],
    ['subject=*', /one unreadable file/],
    ['subject=sho*/Deployment/web', /one unreadable file/],
    ['gate=*', /no gate "\*"/],
    ['gate=plain*,subject=shop/a:1', /no gate/],
    ['gate=toString', /no gate/],
    ['gate=denies-observed,subject=shop', /a denial is not waived/],
    ['gate=coverage', /for a subject/],
    ['gate=expressible,ns=shop', /for a subject/],
    ['gate=selector,subject=*', /spelled out/],
    ['gate=mesh,subject=sh*', /spelled out/],
    ['gate=unseen-workloads,subject=*/Deployment/web', /spelled out/],
    ['gate=managed-by-others,subject=Deployment*', /spelled out/],
    ['gate=managed-by-others,subject=Deployment**/web', /spelled out/],
  ])('may not stand, and waives nothing: %s', (text, why) => {
    expect(waiverFault(parseQuery(text))).toMatch(why);
    for (const gate of ['plaintext', 'coverage', 'selector', 'mesh', 'denies-observed', 'expressible'])
      for (const subject of ['shop', 'shop/a:1', 'shop/Deployment/web'])
        expect(waives(decision('waive', text), gate, subject, 'shop')).toBe(false);
  });

  it('of an object reaches that namespace alone', () => {
    const given = decision('waive', 'gate=managed-by-others,subject=Deployment*shop/web');
    expect(waives(given, 'managed-by-others', 'Deployment shop/web', 'shop')).toBe(true);
    expect(waives(given, 'managed-by-others', 'Deployment other-shop/web', 'other-shop')).toBe(false);
  });
});

describe('decisions of the state and of a file', () => {
  it('count once, with the list frozen in the state', () => {
    const stored = decision('accept', 'port=23,src=shop/*', { matched: ['a'] });
    const copy = { ...decision('accept', 'src=shop/*,port=23'), matched: ['a', 'b'] };
    expect(mergeDecisions([stored], [copy])).toEqual([stored]);
  });

  it('stay about nothing where nothing was frozen', () => {
    const stored = decision('accept', 'src=shop/*');
    expect(mergeDecisions([stored], [decision('accept', 'src=shop/*', { matched: ['b'] })])).toEqual([]);
  });

  it('are apart where action, query, person or time differ, oldest first', () => {
    const stored = decision('accept', 'src=shop/*', { matched: ['a'] });
    const others = [
      decision('adopt', 'src=shop/*'),
      decision('accept', 'src=shop/web'),
      decision('accept', 'src=shop/*', { by: 'otto' }),
      decision('accept', 'src=shop/*', { at: 500 }),
    ];
    const merged = mergeDecisions([stored], others);
    expect(merged).toHaveLength(5);
    expect(merged[0]?.at).toBe(500);
  });
});

describe('a withdrawal', () => {
  const edgeOf = (id: string): Edge => ({
    id,
    src: { kind: 'workload', id: 'shop/Deployment/web' },
    dst: { kind: 'workload', id: 'shop/Deployment/db' },
    protocol: 'TCP',
    port: 5432,
    count: 1,
    first: 1,
    last: 1,
    verdicts: { allowed: 1 },
    days: [],
    runs: [],
    sources: [],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
  });
  const edges = [edgeOf('aaaaaaaaaaaa'), edgeOf('bbbbbbbbbbbb')];
  const reviews = (...decisions: readonly Decision[]): readonly string[] =>
    reviewEdges(edges, mergeDecisions(decisions, [])).map((edge) => edge.review);
  const about = (action: Decision['action'], at: number, ...matched: readonly string[]): Decision =>
    decision(action, 'ns=shop', { at, matched });

  it('leaves an edge as if nobody had decided, and no earlier acceptance comes back', () => {
    const accepted = about('accept', 1, 'aaaaaaaaaaaa', 'bbbbbbbbbbbb');
    const adopted = about('adopt', 2, 'aaaaaaaaaaaa');
    expect(reviews(accepted, adopted)).toEqual(['legitimate', 'to-be-cut']);
    expect(reviews(accepted, adopted, about('withdraw', 3, 'aaaaaaaaaaaa'))).toEqual(['unreviewed', 'to-be-cut']);
  });

  it('is overtaken by a later decision', () => {
    const back = about('withdraw', 3, 'aaaaaaaaaaaa');
    expect(reviews(about('adopt', 1, 'aaaaaaaaaaaa'), back, about('accept', 4, 'aaaaaaaaaaaa'))[0]).toBe('to-be-cut');
  });

  const waiver = (text: string, at: number): Decision => decision('waive', text, { at });
  const counted = (stored: readonly Decision[], given: readonly Decision[] = []): readonly string[] =>
    mergeDecisions(stored, given)
      .filter((one) => one.action === 'waive')
      .map((one) => `${one.text} ${one.at}`);

  it('takes the frozen waivers back, and none that was given later', () => {
    const first = waiver('gate=review,subject=shop', 1);
    const other = waiver('gate=window', 1);
    const back = decision('withdraw', 'gate=review,subject=shop', { at: 2, matched: [decisionId(first)] });
    expect(counted([first, other, back])).toEqual(['gate=window 1']);
    expect(counted([first, other, back, waiver('gate=review,subject=shop', 3)])).toEqual([
      'gate=window 1',
      'gate=review,subject=shop 3',
    ]);
  });

  it('from a file takes back what it names and was given before, in the file and in the state', () => {
    const file = [waiver('gate=review,subject=shop', 1), decision('withdraw', 'gate=review', { at: 5 })];
    expect(counted([waiver('gate=review,subject=desk', 4), waiver('gate=review,subject=late', 6)], file)).toEqual([
      'gate=review,subject=late 6',
    ]);
  });

  it('of a waiver from a file holds as long as the file brings it', () => {
    const given = waiver('gate=soak', 1);
    const back = decision('withdraw', 'gate=soak', { at: 2, matched: [decisionId(given)] });
    expect(counted([back], [given])).toEqual([]);
  });
});

import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import type { Aggregate } from '../../src/flows/aggregate.ts';
import { MAX_OPERATIONS, createAggregator } from '../../src/flows/aggregate.ts';
import { foldEdges } from '../../src/flows/fold.ts';
import type { Edge } from '../../src/model/edge.ts';
import { formatEdge, hasPassed } from '../../src/model/edge.ts';
import type { Flow, InputReport } from '../../src/model/flow.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import { DAY, HOUR, MONDAY, edge, emptyInventory, end, flow, pod, stamped, workload } from './build.ts';

const web = stamped('shop/Deployment/web', { ip: '10.0.0.1', pod: 'web-6d4cf56db6-aaaaa' });
const db = stamped('data/StatefulSet/db', { ip: '10.0.0.2', pod: 'db-0' });
const cron = (run: number) => stamped(`batch/Job/nightly-${run}`, { ip: '10.0.0.3', pod: `nightly-${run}-abcde` });

const inventory: Inventory = emptyInventory({
  workloads: [
    workload('shop/Deployment/web', { ports: [{ port: 8080, protocol: 'TCP' }] }),
    workload('data/StatefulSet/db', {
      ports: [
        { port: 5432, protocol: 'TCP' },
        { port: 40_001, protocol: 'TCP' },
      ],
    }),
    workload('batch/CronJob/nightly', {
      batch: true,
      schedule: { cron: '0 1 * * *', suspended: false, by: 'CronJob' },
    }),
  ],
});

function fold(flows: readonly Flow[], names: readonly (readonly [string, string])[] = []): Aggregate {
  const aggregator = createAggregator(inventory);
  for (const one of flows) aggregator.add(one);
  for (const [ip, name] of names) aggregator.addName(ip, name);
  return aggregator.finish([]);
}

function only(flows: readonly Flow[]): Edge {
  const { edges } = fold(flows);
  const [first, ...others] = edges;
  if (first === undefined || others.length > 0)
    throw new Error(`${edges.map(formatEdge).join('; ')} instead of one edge`);
  return first;
}

const open = (parts: Partial<Flow> = {}): Flow => flow({ src: web, dst: db, port: 5432, ...parts });

describe('one connection', () => {
  const bothEnds = [
    open(),
    open({ tap: 'TO_STACK' }),
    open({ view: 'ingress' }),
    open({ view: 'ingress', tap: 'TO_ENDPOINT' }),
  ];

  it('counts once though both ends report it, at several points', () => {
    expect(only(bothEnds)).toMatchObject({ count: 1, verdicts: { allowed: 1 }, days: ['2026-10-05'] });
  });

  it('counts once whatever its later packets', () => {
    const later = { stage: 'ongoing', first: MONDAY + 60_000, last: MONDAY + 60_000 } as const;
    expect(
      only([...bothEnds, open(later), open({ ...later, reply: true }), open({ ...later, view: 'ingress' })]),
    ).toMatchObject({
      count: 1,
      last: MONDAY + 60_000,
    });
  });

  it('counts as one on each day when it was open before the record began', () => {
    const packets = [0, 1, 2].map((day) =>
      open({ stage: 'ongoing', first: MONDAY + day * DAY, last: MONDAY + day * DAY }),
    );
    expect(only(packets)).toMatchObject({ count: 3, days: ['2026-10-05', '2026-10-06', '2026-10-07'] });
  });

  it('was denied when its opener let it out and the destination did not let it in', () => {
    const edge = only([open(), open({ tap: 'TO_STACK' }), open({ view: 'ingress', verdict: 'denied' }), open({ view: 'ingress', verdict: 'denied', tap: 'drop' })]); // prettier-ignore
    expect(edge).toMatchObject({ count: 1, verdicts: { denied: 1 }, days: [] });
    expect(hasPassed(edge)).toBe(false);
  });

  it('was denied though a proxy beside the opener answered for the destination', () => {
    const edge = only([
      open({ proxied: true }),
      open({ stage: 'ongoing', reply: true }),
      open({ stage: 'ongoing', proxied: true, tap: 'TO_PROXY' }),
      open({ view: 'ingress', verdict: 'denied' }),
    ]);
    expect(edge.verdicts).toEqual({ denied: 1 });
  });

  it('passed when some of them did', () => {
    const edge = only([open(), open(), open({ view: 'ingress', verdict: 'denied' }), open({ view: 'ingress' })]);
    expect(edge.verdicts).toEqual({ allowed: 1, denied: 1 });
  });

  it('is a rehearsed denial and not an allowed one beside it', () => {
    const edge = only([
      open(),
      open({ view: 'ingress', verdict: 'audit' }),
      open({ view: 'ingress', tap: 'TO_ENDPOINT' }),
    ]);
    expect(edge).toMatchObject({ count: 1, verdicts: { audit: 1 }, days: ['2026-10-05'] });
  });

  it('of unknown verdict stays unknown', () => {
    expect(only([open({ verdict: 'unknown' })]).verdicts).toEqual({ unknown: 1 });
  });
});

describe('an edge', () => {
  it('keeps days, sources, principals and plaintext', () => {
    const edge = only([
      open({ mtls: 'yes', principal: 'b' }),
      open({ first: MONDAY + DAY, last: MONDAY + DAY, mtls: 'no', principal: 'a', source: 'zeek' }),
    ]);
    expect(edge).toMatchObject({
      days: ['2026-10-05', '2026-10-06'],
      sources: ['hubble', 'zeek'],
      principals: ['a', 'b'],
      mtls: 'mixed',
      lastPlaintext: MONDAY + DAY,
      origin: { kind: 'observed' },
      review: 'unreviewed',
    });
  });

  it('of a folded record is sure of its first and last day alone, and counts exactly', () => {
    const record = open({
      first: MONDAY,
      last: MONDAY + 5 * DAY,
      count: 100,
      view: 'unknown',
      tap: 'edge',
      source: 'edges',
    });
    expect(only([record])).toMatchObject({ count: 100, days: ['2026-10-05', '2026-10-10'] });
    expect(only([{ ...record, verdict: 'denied' }])).toMatchObject({ count: 100, verdicts: { denied: 100 }, days: [] });
  });

  it('names the runs of a schedule in which it passed', () => {
    const { edges, evidence } = fold([
      open({ src: cron(29852700) }),
      open({ src: cron(29854140), first: MONDAY + DAY, last: MONDAY + DAY }),
      open({ src: cron(29855580), view: 'ingress', verdict: 'denied' }),
    ]);
    expect(edges).toMatchObject([{ runs: ['nightly-29852700', 'nightly-29854140'] }]);
    expect(evidence.runs).toEqual({
      'batch/CronJob/nightly': ['nightly-29852700', 'nightly-29854140', 'nightly-29855580'],
    });
  });

  it('is turned by the declared port, then by the well-known, then by the lower one, and marked as a guess', () => {
    const guess = { initiatorKnown: false, stage: 'ongoing' } as const;
    const turned = only([open({ ...guess, src: db, dst: web, srcPort: 40_001, port: 33_000 })]);
    expect(formatEdge(turned)).toBe('shop/Deployment/web -> data/StatefulSet/db 40001/TCP');
    expect(turned.guessedDirection).toBe(true);
    const outside = end({ reserved: ['world'], ip: '203.0.113.1' });
    expect(formatEdge(only([open({ ...guess, src: outside, dst: web, srcPort: 443, port: 40_000 })]))).toBe(
      'shop/Deployment/web -> external:203.0.113.1 443/TCP',
    );
    expect(formatEdge(only([open({ ...guess, src: outside, dst: web, srcPort: 50_000, port: 40_000 })]))).toBe(
      'external:203.0.113.1 -> shop/Deployment/web 40000/TCP',
    );
    expect(only([open({ ...guess }), open()])).not.toHaveProperty('guessedDirection');
    const even = fold([open({ ...guess, srcPort: 9000, port: 9000 })]);
    expect(even.edges).toEqual([]);
    expect(Object.values(even.evidence.unattributed)).toEqual([1]);
  });

  it('to an address with a DNS name seen later has the name', () => {
    const { edges } = fold(
      [open({ dst: end({ reserved: ['world'], ip: '203.0.113.1' }), port: 443 })],
      [['203.0.113.1', 'pypi.example']],
    );
    expect(edges.map(formatEdge)).toEqual(['shop/Deployment/web -> external:pypi.example 443/TCP']);
  });

  it.each([
    ['the kubelet of the own node, which the API server shares', '192.168.1.1', '10.0.0.9', 'node'],
    ['the API server, to a pod on another node', '192.168.1.1', '10.0.1.9', 'api-server'],
    ['the API server, where no node has its address', '172.16.0.10', '10.0.0.9', 'api-server'],
  ])('from the address of the control plane is %s', (_, from, to, kind) => {
    const pods = [
      pod('web-1', '10.0.0.9', { node: 'one', startedAt: MONDAY - DAY }),
      pod('web-2', '10.0.1.9', { node: 'two', startedAt: MONDAY - DAY }),
    ];
    const aggregator = createAggregator(
      emptyInventory({
        workloads: [workload('shop/Deployment/web', { pods })],
        nodes: [
          { name: 'one', addresses: ['192.168.1.1'], podCIDRs: ['10.0.0.0/24'] },
          { name: 'two', addresses: ['192.168.1.2'], podCIDRs: ['10.0.1.0/24'] },
        ],
        facts: { ...emptyInventory().facts, apiServer: ['192.168.1.1/32', '172.16.0.10/32'] },
      }),
    );
    aggregator.add(flow({ src: end({ ip: from }), dst: end({ ip: to }), port: 8080 }));
    expect(aggregator.finish([]).edges.map(({ src, dst }) => [src.kind, dst.kind])).toEqual([[kind, 'workload']]);
  });

  it('of nobody known is counted with its reason', () => {
    const { edges, evidence } = fold([open({ src: end() }), open({ src: end() })]);
    expect(edges).toMatchObject([{ src: { kind: 'unknown' } }]);
    expect(evidence.unattributed).toEqual({ 'the record names neither a pod nor an address': 2 });
  });
});

describe('operations', () => {
  const request = (path: string): Flow => open({ l7: `GET ${path}`, tap: 'L7', proxied: true });

  it('are edges of their own', () => {
    expect(fold([request('/a'), request('/b'), open()]).edges.map((edge) => edge.l7)).toEqual(
      expect.arrayContaining(['GET /a', 'GET /b', undefined]),
    );
  });

  it('become the connection itself when paths carry identifiers', () => {
    const { edges } = fold(Array.from({ length: MAX_OPERATIONS + 1 }, (_, index) => request(`/users/${index}`)));
    expect(edges).toHaveLength(1);
    expect(edges[0]).not.toHaveProperty('l7');
    expect(edges[0]?.count).toBe(MAX_OPERATIONS + 1);
  });
});

describe('ephemeral ports', () => {
  const at = (...ports: readonly number[]): readonly Flow[] => ports.map((port) => open({ port }));
  const text = (flows: readonly Flow[]): readonly string[] =>
    fold(flows).edges.map((edge) => formatEdge(edge).replace(/^.* /, '')).sort(); // prettier-ignore

  it('fold into a range when three or more are seen between two ends', () => {
    expect(text(at(33_000, 41_000, 59_000))).toEqual(['32768-60999/TCP']);
    expect(fold(at(33_000, 41_000, 59_000)).edges[0]?.count).toBe(3);
  });

  it('stay when fewer', () => {
    expect(text(at(33_000, 41_000))).toEqual(['33000/TCP', '41000/TCP']);
  });

  it('leave declared ports, low ports and denied attempts alone', () => {
    const denied = open({ port: 45_000, view: 'ingress', verdict: 'denied' });
    expect(text([...at(33_000, 41_000, 59_000, 40_001, 8080), denied])).toEqual([
      '32768-60999/TCP',
      '40001/TCP',
      '45000/TCP',
      '8080/TCP',
    ]);
  });

  it('are not ports of an address outside', () => {
    const outside = end({ reserved: ['world'], ip: '203.0.113.1' });
    expect(fold([33_000, 41_000, 59_000].map((port) => open({ dst: outside, port }))).edges).toHaveLength(3);
  });

  it('fold over imports, and leave what a person has judged', () => {
    const one = (port: number, parts = {}): Edge =>
      edge('shop/Deployment/web', 'data/StatefulSet/db', { port, ...parts });
    const range = one(32_768, { endPort: 60_999, count: 5, review: 'legitimate' });
    expect(foldEdges([range, one(35_000)], inventory)).toMatchObject([
      { endPort: 60_999, count: 6, review: 'legitimate' },
    ]);
    expect(foldEdges([one(35_000), one(36_000, { review: 'to-be-cut' }), one(37_000)], inventory)).toHaveLength(3);
  });
});

describe('evidence', () => {
  it('holds what the inputs reported', () => {
    const report: InputReport = {
      source: 'hubble', input: 'a', sha256: '', bytes: 1, lines: 1, records: 10, lost: 2, bad: 1, ignored: { ICMP: 3, x: 1 }, first: MONDAY, last: MONDAY + HOUR,
    }; // prettier-ignore
    const aggregator = createAggregator(inventory);
    aggregator.add(open());
    const { evidence } = aggregator.finish([report, { ...report, input: 'b', first: MONDAY - DAY, last: MONDAY }]);
    expect(evidence).toMatchObject({
      sources: [
        { source: 'hubble', records: 20, lost: 4, bad: 2, ignored: 8, first: MONDAY - DAY, last: MONDAY + HOUR },
      ],
      first: MONDAY - DAY,
      last: MONDAY + HOUR,
      days: ['2026-10-05'],
    });
  });

  it('does not lose the losses of an input without records', () => {
    const silent: InputReport = { source: 'hubble', input: 'a', sha256: '', bytes: 0, lines: 0, records: 0, lost: 9, bad: 0, ignored: {} }; // prettier-ignore
    const { evidence } = createAggregator(inventory).finish([silent]);
    expect(evidence.sources).toMatchObject([{ lost: 9 }]);
    expect(evidence).not.toHaveProperty('first');
  });
});

describe('folding', () => {
  const ends = [
    web,
    db,
    cron(29852700),
    cron(29854140),
    end({ reserved: ['world'], ip: '203.0.113.1' }),
    end({ reserved: ['host'] }),
    end({ ip: '10.0.0.1' }),
    end({ ip: '10.0.0.99' }),
    end({ ip: '10.0.0.99', namespace: 'shop', labels: { app: 'mystery' } }),
    end({ ip: '::ffff:203.0.113.1' }),
    end(),
  ];
  const anyFlow: fc.Arbitrary<Flow> = fc
    .record({
      src: fc.constantFrom(...ends),
      dst: fc.constantFrom(...ends),
      hour: fc.integer({ min: 0, max: 80 }),
      port: fc.constantFrom(443, 5432, 8080, 33_000, 41_000, 45_000, 50_000),
      srcPort: fc.constantFrom(443, 40_000, 5432),
      verdict: fc.constantFrom('allowed' as const, 'denied' as const, 'audit' as const, 'unknown' as const),
      view: fc.constantFrom('egress' as const, 'ingress' as const, 'unknown' as const),
      tap: fc.constantFrom('verdict', 'TO_STACK', 'TO_ENDPOINT', 'drop'),
      initiatorKnown: fc.boolean(),
      reply: fc.boolean(),
      stage: fc.constantFrom('open' as const, 'ongoing' as const),
      proxied: fc.boolean(),
      count: fc.integer({ min: 1, max: 3 }),
      mtls: fc.constantFrom('yes' as const, 'no' as const, 'unknown' as const),
      l7: fc.constantFrom(undefined, undefined, 'GET /a', 'GET /b'),
      principal: fc.constantFrom(undefined, 'a', 'b'),
    })
    .map(({ hour, l7, principal, ...parts }) =>
      flow({
        ...parts,
        first: MONDAY + hour * HOUR,
        last: MONDAY + hour * HOUR,
        ...(l7 === undefined ? {} : { l7 }),
        ...(principal === undefined ? {} : { principal }),
      }),
    );

  it('gives the same edges and evidence in whatever order the flows come', () => {
    fc.assert(
      fc.property(
        fc
          .array(anyFlow, { maxLength: 40 })
          .chain((flows) => fc.tuple(fc.constant(flows), fc.shuffledSubarray(flows, { minLength: flows.length }))),
        ([flows, shuffled]) => {
          expect(fold(shuffled)).toEqual(fold(flows));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('never makes a denied record an edge that passed', () => {
    fc.assert(
      fc.property(
        fc.array(
          anyFlow.map((one): Flow => ({ ...one, verdict: 'denied' })),
          { maxLength: 30 },
        ),
        (flows) => {
          expect(fold(flows).edges.filter(hasPassed)).toEqual([]);
        },
      ),
    );
  });

  it('loses no opener and destination that were seen to pass at the destination', () => {
    fc.assert(
      fc.property(fc.array(anyFlow, { maxLength: 30 }), (noise) => {
        const { edges } = fold([...noise, open({ view: 'ingress' })]);
        expect(edges.filter(hasPassed).map(formatEdge)).toContain(
          'shop/Deployment/web -> data/StatefulSet/db 5432/TCP',
        );
      }),
    );
  });
});

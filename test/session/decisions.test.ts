// What is written down for marked edges, and what takes it back.
import { describe, expect, it } from 'vitest';
import { lastStanding, undoOf, verdictsOn } from '../../src/cli/session/decisions.ts';
import { argument } from '../../src/cli/session/queries.ts';
import { reviewEdges } from '../../src/flows/decide.ts';
import { matchEdges, parseQuery } from '../../src/flows/query.ts';
import type { Decision } from '../../src/model/decision.ts';
import type { Edge, EdgeKey, Endpoint } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import fc from '../support/fast-check.ts';

function edge(key: EdgeKey): Edge {
  return {
    ...key,
    id: edgeId(key),
    count: 3,
    first: 1,
    last: 2,
    verdicts: { allowed: 3 },
    days: ['2026-10-05'],
    runs: [],
    sources: ['edges'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
  };
}

const endpoint: fc.Arbitrary<Endpoint> = fc.oneof(
  fc
    .constantFrom('shop/Deployment/web', 'shop/Deployment/db', 'desk/Pod/x')
    .map((id) => ({ kind: 'workload' as const, id })),
  fc.constantFrom('*.example.com', 'a.example.com').map((name) => ({ kind: 'external' as const, name })),
  fc.constant({ kind: 'api-server' as const }),
);
const anyEdge = fc
  .record({
    src: endpoint,
    dst: endpoint,
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
    port: fc.constantFrom(80, 8080),
    endPort: fc.option(fc.constant(9000), { nil: undefined }),
    l7: fc.option(fc.constantFrom('GET /a', 'POST /b'), { nil: undefined }),
  })
  .map(({ endPort, l7, ...key }) =>
    edge({ ...key, ...(endPort === undefined ? {} : { endPort }), ...(l7 === undefined ? {} : { l7 }) }),
  );
const record = fc.uniqueArray(anyEdge, { selector: (one) => one.id, maxLength: 40 });

const decided = (verdicts: ReturnType<typeof verdictsOn>, at: number): readonly Decision[] =>
  verdicts.map(({ action, text, matched }) => ({
    action,
    query: parseQuery(text),
    text,
    matched,
    reason: 'why',
    by: 'maria',
    at,
  }));

describe('decisions on marked edges', () => {
  it('name exactly the marked edges, by their command lines as well as by their lists', () => {
    fc.assert(
      fc.property(record, fc.infiniteStream(fc.boolean()), (edges, marks) => {
        const marked = edges.filter(() => marks.next().value as boolean);
        const verdicts = verdictsOn('adopt', marked, edges);
        const ids = verdicts.flatMap(({ matched }) => matched);
        expect([...ids].sort()).toEqual(marked.map((one) => one.id).sort());
        for (const { text, matched } of verdicts)
          expect(
            matchEdges(parseQuery(text, 'edges'), edges)
              .map((one) => one.id)
              .sort(),
          ).toEqual([...matched].sort());
      }),
    );
  });

  it('say a source whose every edge is marked in one word, and the filter that found them in its own', () => {
    const web: Endpoint = { kind: 'workload', id: 'shop/Deployment/web' };
    const db: Endpoint = { kind: 'workload', id: 'shop/Deployment/db' };
    const edges = [80, 81, 82].map((port) => edge({ src: web, dst: db, protocol: 'TCP', port }));
    expect(verdictsOn('accept', edges, edges).map(({ text }) => text)).toEqual(['src=shop/Deployment/web']);
    expect(verdictsOn('accept', edges.slice(0, 1), edges).map(({ text }) => text)).toEqual([
      'src=shop/Deployment/web,dst=shop/Deployment/db,port=80/TCP',
    ]);
    const given = { query: 'port=8*', edges };
    expect(verdictsOn('accept', edges, edges, given).map(({ text }) => text)).toEqual(['port=8*']);
  });

  it('are taken back to what stood before them, and the trail keeps all of it', () => {
    const steps = fc.array(
      fc.tuple(
        fc.constantFrom('accept' as const, 'adopt' as const, 'withdraw' as const),
        fc.infiniteStream(fc.boolean()),
      ),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    fc.assert(
      fc.property(record, steps, (edges, taken) => {
        const trail: Decision[] = [];
        for (const [at, [action, marks]] of taken.entries())
          trail.push(
            ...decided(
              verdictsOn(
                action,
                edges.filter(() => marks.next().value as boolean),
                edges,
              ),
              at,
            ),
          );
        const last = lastStanding('edges', trail, edges);
        const undone = new Set(last);
        const undo = decided(undoOf(last, trail, edges), taken.length);
        const reviews = (decisions: readonly Decision[]): readonly string[] =>
          reviewEdges(edges, decisions).map((one) => one.review);
        const later = new Set(
          trail.slice(trail.findLastIndex((one) => undone.has(one)) + 1).flatMap((one) => one.matched),
        );
        const before = reviews(trail.filter((one) => !undone.has(one)));
        for (const [index, review] of reviews([...trail, ...undo]).entries())
          if (!later.has(edges[index]?.id ?? '')) expect(review).toBe(before[index]);
        // What was not decided by it is left alone.
        const touched = new Set(last.flatMap((one) => one.matched));
        const now = reviews(trail);
        for (const [index, review] of reviews([...trail, ...undo]).entries())
          if (!touched.has(edges[index]?.id ?? '')) expect(review).toBe(now[index]);
      }),
    );
  });
});

describe('an argument', () => {
  it.each([
    ['src=shop/Deployment/web,port=80', 'src=shop/Deployment/web,port=80'],
    ['src=shop/*', "'src=shop/*'"],
    ["it's", `'it'\\''s'`],
  ])('is quoted where a shell would read it otherwise: %s', (text, quoted) => {
    expect(argument(text)).toBe(quoted);
  });
});

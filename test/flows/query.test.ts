import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { edgeVerdict, matchEdges, parseQuery } from '../../src/flows/query.ts';
import { endpointKey } from '../../src/model/edge.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { DAY, MONDAY, edge } from './build.ts';

const edges = [
  edge('shop/Deployment/web', 'data/StatefulSet/db', { port: 5432, last: MONDAY + 8 * DAY }),
  edge('shop/Pod/debug', 'data/StatefulSet/db', { port: 22, verdicts: { denied: 2 }, days: [] }),
  edge('ml/RayJob/tune', 'ml/RayJob/tune', { port: 32_768, endPort: 60_999, last: MONDAY + 8 * DAY }),
  edge('node', 'shop/Deployment/web', { port: 8080, last: MONDAY + 8 * DAY }),
  edge('shop/Deployment/web', 'external:pypi.example', { port: 53, protocol: 'UDP', verdicts: { audit: 1 } }),
];

function select(query: string, now?: number): readonly string[] {
  return matchEdges(parseQuery(query, 'edges'), edges, now).map((one) => `${endpointKey(one.src)}:${one.port}`);
}

describe('a query of edges', () => {
  it.each([
    ['ns=data', ['shop/Deployment/web:5432', 'shop/Pod/debug:22']],
    ['ns=shop,dst=data/*', ['shop/Deployment/web:5432', 'shop/Pod/debug:22']],
    ['src=shop/*/web', ['shop/Deployment/web:5432', 'shop/Deployment/web:53']],
    ['src=shop/Deployment/we', []],
    ['src=node', ['node:8080']],
    ['dst=external:*.example', ['shop/Deployment/web:53']],
    ['port=5432', ['shop/Deployment/web:5432']],
    ['port=5432/TCP', ['shop/Deployment/web:5432']],
    ['port=5432/UDP', []],
    ['port=53/*', ['shop/Deployment/web:53']],
    ['port=32768-60999', ['ml/RayJob/tune:32768']],
    ['port=40000', []],
    ['verdict=denied', ['shop/Pod/debug:22']],
    ['verdict=audit', ['shop/Deployment/web:53']],
    [
      'ns=*',
      ['shop/Deployment/web:5432', 'shop/Pod/debug:22', 'ml/RayJob/tune:32768', 'node:8080', 'shop/Deployment/web:53'],
    ],
    ['before=2026-10-06', ['shop/Pod/debug:22', 'shop/Deployment/web:53']],
    ['before=7d', ['shop/Pod/debug:22', 'shop/Deployment/web:53']],
    ['before=2026-10-05T00:00:00Z', []],
    [' ns = data , port = 22 ', ['shop/Pod/debug:22']],
  ])('%s', (query, expected) => {
    expect(select(query)).toEqual(expected);
  });

  it('reckons an age from the given moment', () => {
    expect(select('before=1h', MONDAY + 30 * 60_000)).toEqual([]);
    expect(select('before=1h', MONDAY + 61 * 60_000)).toHaveLength(2);
  });

  it('for denied edges never takes one that also works', () => {
    const mixed = edge('a/Deployment/x', 'b/Deployment/y', { verdicts: { allowed: 1, denied: 99 } });
    expect(edgeVerdict(mixed)).toBe('allowed');
    expect(matchEdges({ verdict: 'denied' }, [mixed])).toEqual([]);
  });

  it('that is for gates, or empty, selects no edge', () => {
    expect(matchEdges({ gate: 'review' }, edges)).toEqual([]);
    expect(matchEdges({ ns: 'shop', subject: 'x' }, edges)).toEqual([]);
    expect(matchEdges({}, edges)).toEqual([]);
  });
});

describe('the text of a query', () => {
  it.each([
    ['', 'empty'],
    ['   ', 'empty'],
    ['shop', 'not key=value'],
    ['namespace=shop', 'unknown key "namespace"'],
    ['gate=review', 'unknown key "gate"'],
    ['__proto__=x', 'unknown key "__proto__"'],
    ['ns=shop,', 'not key=value'],
    ['ns=', 'no value'],
    ['ns=a,ns=b', 'given twice'],
    ['verdict=dropped', 'none of allowed, denied, audit, unknown'],
    ['port=http', 'not a port'],
    ['port=80/ICMP', 'not a port'],
    ['before=soon', 'neither an age'],
    ['before=2026-13-40', 'neither an age'],
  ])('is refused: %j', (text, message) => {
    let thrown: unknown;
    try {
      parseQuery(text, 'edges');
    } catch (error) {
      thrown = error;
    }
    if (!isFailure(thrown)) throw new Error('it was not refused');
    expect(thrown.detail).toMatchObject({ code: 'SP120', exit: 2 });
    expect(thrown.message).toContain(message);
    expect(thrown.detail.hint).toContain('ns src dst port verdict before');
  });

  it('for gates has the keys of gates', () => {
    expect(parseQuery('gate=coverage,subject=shop/*,ns=shop', 'gates')).toEqual({
      gate: 'coverage',
      subject: 'shop/*',
      ns: 'shop',
    });
    expect(() => parseQuery('src=a', 'gates')).toThrow('unknown key');
    expect(parseQuery('gate=x,port=80')).toEqual({ gate: 'x', port: '80' });
  });

  it('never throws anything but a Failure', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `port=${text}`),
          fc.string().map((text) => `before=${text}`),
        ),
        (text) => {
          try {
            matchEdges(parseQuery(text), edges);
          } catch (error) {
            expect(isFailure(error)).toBe(true);
          }
        },
      ),
    );
  });
});

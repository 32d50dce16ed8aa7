import { describe, expect, it } from 'vitest';
import type { RawEnd } from '../../src/model/flow.ts';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { findSource } from '../../src/sources/registry.ts';
import { flow, end } from '../flows/build.ts';
import { NOW, cluster, describeEdges, fixtures } from './cluster.ts';
import { failureOf, input } from './flow-input.ts';

describe('a malformed record in the middle of a file', () => {
  // One record a line, so that what breaks is one record.
  const lines = fixtures.filter((one) => !/^[[{]\n/.test(one.text) && one.text.trim().includes('\n'));

  it.each(lines.map((one) => [`${one.source}/${one.file}`, one] as const))(
    'aborts the import with its line, or is skipped and counted: %s',
    async (_, one) => {
      const source = findSource(one.source);
      if (source === undefined) throw new Error(`there is no source ${one.source}`);
      const all = one.text.trimEnd().split('\n');
      const text = [...all, '\u001b[31m~~ no record ~~', all.at(-1)].join('\n');
      const read = (badRecords: 'abort' | 'skip') =>
        source.read(
          input(text, 'flows', 4096),
          { flow: () => undefined, name: () => undefined },
          { badRecords, now: NOW },
        );
      const failure = await failureOf(read('abort'));
      expect(failure).toMatchObject({ code: 'SP241', exit: 2, where: `flows:${all.length + 1}` });
      expect(failure.message).not.toContain('\u001b');
      expect(await read('skip')).toMatchObject({ bad: 1 });
    },
  );
});

/** The edge of one flow on the cluster of the fixtures, or why there is none. */
function edgeOf(src: RawEnd, dst: RawEnd, port: number): string {
  const aggregator = createAggregator(cluster);
  aggregator.add(flow({ src, dst, port, srcPort: 40_000 }));
  const { edges, evidence } = aggregator.finish([]);
  return edges.length > 0 ? describeEdges(edges).trim() : Object.keys(evidence.unattributed).join();
}

describe('ends that a source names in part', () => {
  const api = end({ namespace: 'shop', workload: { kind: '', name: 'api' } });
  const web = end({ namespace: 'shop', workload: { kind: '', name: 'web' } });
  const to = 'shop/Deployment/web -> shop/Deployment/api';

  it.each([
    ['a workload by its bare name, its only port', web, api, 0, `${to} 8080/TCP | allowed 1`],
    [
      'the port of the Service that was called',
      web,
      { ...api, service: { namespace: 'shop', name: 'api' } },
      80,
      `${to} 8080/TCP | allowed 1`,
    ],
    [
      'the only port of the Service',
      web,
      end({ service: { namespace: 'shop', name: 'api' } }),
      0,
      `${to} 8080/TCP | allowed 1`,
    ],
    [
      'an account that one workload runs under',
      end({ namespace: 'shop', serviceAccount: 'web' }),
      api,
      8080,
      `${to} 8080/TCP | allowed 1`,
    ],
    [
      'no port where several are open',
      web,
      end({ namespace: 'kube-system', workload: { kind: '', name: 'other' } }),
      0,
      'the record names no port, and the inventory leaves several open',
    ],
    [
      'nobody for an account that no workload has',
      end({ namespace: 'shop', serviceAccount: 'ghost' }),
      api,
      8080,
      'unknown: (no workload of the inventory runs under its account) -> shop/Deployment/api 8080/TCP | allowed 1',
    ],
    [
      'nobody for a name that no workload has',
      end({ namespace: 'shop', workload: { kind: '', name: 'ghost' } }),
      api,
      8080,
      'unknown: (no workload of the inventory has its name) -> shop/Deployment/api 8080/TCP | allowed 1',
    ],
  ])('become %s', (_, src, dst, port, expected) => {
    expect(edgeOf(src, dst, port)).toBe(expected);
  });
});

describe('a connection that one point does not judge', () => {
  const ends = { src: end({ ip: '10.244.1.10' }), dst: end({ ip: '10.244.1.11' }) };

  it.each([
    [
      'is allowed where its answer was seen',
      [
        ['unknown', 'packet'],
        ['allowed', 'answer'],
      ],
      'allowed 1',
    ],
    [
      'stays unknown beside others that were allowed',
      [
        ['unknown', 'packet'],
        ['unknown', 'packet'],
        ['allowed', 'answer'],
      ],
      'allowed 1, unknown 1',
    ],
    [
      'stays unknown at the same point as an allowed one',
      [
        ['unknown', 'packet'],
        ['allowed', 'packet'],
      ],
      'allowed 1, unknown 1',
    ],
    ['stays unknown alone', [['unknown', 'packet']], 'unknown 1'],
  ] as const)('%s', (_, records, expected) => {
    const aggregator = createAggregator(cluster);
    for (const [verdict, tap] of records) aggregator.add(flow({ ...ends, verdict, tap, view: 'unknown' }));
    expect(describeEdges(aggregator.finish([]).edges)).toContain(`| ${expected}\n`);
  });
});

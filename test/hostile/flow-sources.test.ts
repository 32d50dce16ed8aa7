import { describe, expect, it } from 'vitest';
import { gzipSync } from 'node:zlib';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { scheduleWindow, windowsOf } from '../../src/flows/window.ts';
import { rhythmOf } from '../../src/flows/sight.ts';
import { findDoubtful } from '../../src/flows/review.ts';
import { coverageOf } from '../../src/flows/coverage.ts';
import { endpointKey, formatEdge } from '../../src/model/edge.ts';
import { mergeEdge } from '../../src/model/edge-merge.ts';
import type { FlowSource } from '../../src/sources/flow-source.ts';
import { FLOW_SOURCES } from '../../src/sources/registry.ts';
import { NOW, cluster, fixtures } from '../sources/cluster.ts';
import { input } from '../sources/flow-input.ts';
import fc from '../support/fast-check.ts';
import type { JsonMutation } from './mutate.ts';
import { HOSTILE_TEXTS, HOSTILE_VALUES, deepJson, jsonMutation, mutate, mutateJson, mutation, runs } from './mutate.ts';
import { outcomeOf } from './outcome.ts';
import type { Outcome } from './outcome.ts';

/** Everything that observing makes of one input, as text, so that two readings can be held together. */
async function observed(
  source: FlowSource,
  bytes: Buffer,
  badRecords: 'abort' | 'skip',
  chunk: number,
): Promise<Outcome<string>> {
  return outcomeOf(async () => {
    const aggregator = createAggregator(cluster);
    let flows = 0;
    const report = await source.read(
      input(bytes, 'in', chunk),
      {
        flow: (flow) => {
          flows += 1;
          aggregator.add(flow);
        },
        name: (ip, name) => aggregator.addName(ip, name),
      },
      { badRecords, now: NOW },
    );
    // A record takes a few bytes at least, so work is bounded by what somebody sent.
    expect(flows).toBeLessThanOrEqual(bytes.length);
    const { edges, evidence } = aggregator.finish([report]);
    const latest = 2100;
    for (const edge of edges) {
      if (edge.port < 1 || edge.port > 65_535 || !Number.isInteger(edge.port)) throw new Error(`port ${edge.port}`);
      const numbers = [edge.count, edge.first, edge.last, ...Object.values(edge.verdicts)];
      if (numbers.some((number) => !Number.isSafeInteger(number) || number < 0))
        throw new Error(`${formatEdge(edge)}: ${numbers.join()}`);
      if (edge.last < edge.first) throw new Error(`${formatEdge(edge)} ends before it begins`);
      if (new Date(edge.last).getUTCFullYear() > latest) throw new Error(`year of ${edge.last}`);
      // As the state keeps them, and as every report prints them.
      if (edge.days.some((day) => !/^\d{4}-\d\d-\d\d$/.test(day))) throw new Error(`days ${edge.days.join()}`);
      rhythmOf(edge, cluster);
    }
    const numbers = [report.records, report.lost, report.bad, report.lines, report.sampledOneIn ?? 1];
    if (numbers.some((number) => !Number.isSafeInteger(number) || number < 0)) throw new Error(numbers.join());
    for (const namespace of ['shop', 'data']) {
      windowsOf(namespace, evidence);
      scheduleWindow(namespace, evidence, 168, NOW);
      coverageOf(namespace, 'ingress', edges, evidence, cluster);
    }
    findDoubtful(edges, cluster);
    return JSON.stringify({ edges, evidence, report });
  });
}

async function checkAll(source: FlowSource, bytes: Buffer): Promise<void> {
  for (const badRecords of ['abort', 'skip'] as const) {
    const first = await observed(source, bytes, badRecords, 4096);
    // Read again, in other pieces: the same.
    const again = await observed(source, bytes, badRecords, 61);
    expect(again).toEqual(first);
  }
}

function sourceOf(name: string): FlowSource {
  const source = FLOW_SOURCES.find((one) => one.name === name);
  if (source === undefined) throw new Error(name);
  return source;
}

/** The same damage inside every JSON value of a text: one document, or one a line. */
function mutateJsonText(text: string, by: readonly JsonMutation[]): Buffer {
  const change = (value: unknown): string => JSON.stringify(by.reduce(mutateJson, value));
  try {
    return Buffer.from(change(JSON.parse(text)));
  } catch {
    const lines = text.split('\n').map((line) => {
      try {
        return change(JSON.parse(line));
      } catch {
        return line;
      }
    });
    return Buffer.from(lines.join('\n'));
  }
}

const json = fixtures.filter((one) => /^\s*[[{]/.test(one.text));

describe('sources of traffic on hostile records', () => {
  it.each(fixtures.map((one) => [`${one.source}/${one.file}`, one] as const))(
    'damaged bytes are a result or a Failure, twice the same: %s',
    async (_, one) => {
      await fc.assert(
        fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (damages) => {
          await checkAll(sourceOf(one.source), damages.reduce(mutate, Buffer.from(one.text)));
        }),
        { numRuns: runs(8) },
      );
    },
  );

  it.each(json.map((one) => [`${one.source}/${one.file}`, one] as const))(
    'records with other values in them are a result or a Failure, twice the same: %s',
    async (_, one) => {
      await fc.assert(
        fc.asyncProperty(fc.array(jsonMutation, { minLength: 1, maxLength: 3 }), async (changes) => {
          await checkAll(sourceOf(one.source), mutateJsonText(one.text, changes));
        }),
        { numRuns: runs(10) },
      );
    },
  );

  it('each takes any text and any value for what it is', async () => {
    const texts = [
      ...HOSTILE_TEXTS,
      ...HOSTILE_VALUES.map((value) => JSON.stringify(value)),
      deepJson(100_000),
      deepJson(100_000, 'object'),
      '['.repeat(100_000),
      '{"a":'.repeat(100_000),
      `{"flow":${deepJson(20_000, 'object')}}`,
      '\n'.repeat(100_000),
      ',\n'.repeat(3_000),
    ];
    for (const source of FLOW_SOURCES)
      for (const text of texts)
        for (const bytes of [Buffer.from(text), ...(text.length < 1_000 ? [Buffer.from(`${text}\n`, 'utf16le')] : [])])
          await outcomeOf(() => observed(source, bytes, 'skip', 65_536));
  });

  const neutral = (over: object): string =>
    JSON.stringify({
      first: '2026-10-05T00:00:00Z',
      last: '2026-10-05T00:00:01Z',
      src: { workload: 'shop/Deployment/web' },
      dst: { workload: 'shop/Deployment/api' },
      protocol: 'TCP',
      port: 8080,
      count: 1,
      verdict: 'allowed',
      ...over,
    });
  const fold = async (...lines: readonly string[]) => {
    const aggregator = createAggregator(cluster);
    const sink = { flow: aggregator.add.bind(aggregator), name: aggregator.addName.bind(aggregator) };
    const report = await sourceOf('edges').read(input(lines.join('\n')), sink, { badRecords: 'skip' });
    return { ...aggregator.finish([report]), report };
  };

  it('counts that nothing can count stay at the greatest that can be', async () => {
    const most = neutral({ count: Number.MAX_SAFE_INTEGER });
    const { edges } = await fold(most, most, neutral({ count: 7, last: '2026-10-07T00:00:00Z' }));
    expect(edges.map((edge) => edge.count)).toEqual([Number.MAX_SAFE_INTEGER]);
    expect([edges[0], edges[0]].reduce((a, b) => (a && b ? mergeEdge(a, b) : b))?.count).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('records of no time that a cluster can have stretch no window', async () => {
    const { edges, evidence, report } = await fold(
      neutral({}),
      neutral({ first: '0000-01-01T00:00:00Z', last: '0000-01-01T00:00:00Z' }),
      neutral({ first: '9999-12-31T00:00:00Z', last: '9999-12-31T00:00:00Z' }),
      neutral({ first: '1999-12-31T00:00:00Z', last: '2026-10-06T00:00:00Z' }),
    );
    expect(edges.map(({ count, days }) => ({ count, days }))).toEqual([{ count: 1, days: ['2026-10-05'] }]);
    expect([report.records, report.bad, report.firstBad]).toEqual([
      1,
      3,
      expect.stringContaining('flows.jsonl:2: its time is before 2000 or after 2100'),
    ]);
    expect(windowsOf('shop', evidence).map((one) => [one.hours < 1, one.gapDays])).toEqual([[true, 0]]);
  });

  it('a window is told from the days on record, however far apart somebody put its ends', () => {
    const day = { source: 's', namespace: '', day: '2026-10-05', first: -8.64e15, last: 8.64e15 };
    const evidence = { sources: [], days: [], unattributed: {}, runs: {}, seen: [day, { ...day, namespace: 'shop' }] };
    expect(windowsOf('shop', evidence)).toMatchObject([{ gapDays: 200_000_000 }]);
  });

  it('what can be no name of a workload or of the DNS is attributed to nobody', async () => {
    const { edges } = await fold(
      neutral({ src: { workload: 'shop/$(:>PWNED)/web' } }),
      neutral({ src: { pod: 'a;b', namespace: 'shop' } }),
      neutral({ src: { pod: 'web', namespace: '../..' } }),
      neutral({ dst: { name: '*' } }),
      neutral({ dst: { name: 'a,dst=*' } }),
      neutral({ dst: { name: '$(:>PWNED).example' } }),
      neutral({ dst: { name: 'api.example.com' } }),
    );
    const ends = new Set(edges.flatMap((edge) => [endpointKey(edge.src), endpointKey(edge.dst)]));
    expect([...ends].sort()).toEqual([
      'external:api.example.com',
      'shop/Deployment/api',
      'shop/Deployment/web',
      'unknown:',
    ]);
  });

  it('a small compressed file that unpacks without end is refused by its lines, not by the memory', async () => {
    const bomb = gzipSync(Buffer.alloc(40 * 1024 * 1024, 32));
    expect(bomb.length).toBeLessThan(100_000);
    for (const name of ['hubble', 'edges']) {
      const outcome = await observed(sourceOf(name), bomb, 'abort', 65_536);
      expect(outcome).toMatchObject({ kind: 'failure', detail: { code: 'SP243' } });
    }
  });
});

// What goes wrong with files of records, for every source: cut short, mixed, given twice, of wrong clocks, of no text at all. Nothing is lost
// without a word, and what is sound counts as if the rest had not been there.
import { gzipSync } from 'node:zlib';
import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { createAggregator } from '../../src/flows/aggregate.ts';
import type { InputReport } from '../../src/model/flow.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { findSource } from '../../src/sources/registry.ts';
import type { ReadOptions } from '../../src/sources/flow-source.ts';
import type { Fixture } from './cluster.ts';
import { NOW, cluster, describeEdges, fixtures } from './cluster.ts';
import { input } from './flow-input.ts';
import { takeApart } from './take-apart.ts';

interface Read {
  readonly edges: string;
  readonly report: InputReport;
}

/** Reads files as `sallyport observe` does; a Failure by its code and place. */
async function read(
  source: string,
  files: readonly (string | Uint8Array)[],
  options: Partial<ReadOptions> = {},
): Promise<Read | { readonly code: string; readonly where: string; readonly message: string }> {
  const found = findSource(source);
  if (found === undefined) throw new Error(`there is no source ${source}`);
  const aggregator = createAggregator(cluster);
  const reports: InputReport[] = [];
  try {
    for (const [index, file] of files.entries())
      reports.push(
        await found.read(
          input(file, `part-${index}`, 4096),
          { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
          { badRecords: 'abort', now: NOW, ...options },
        ),
      );
  } catch (error) {
    if (!isFailure(error)) throw error;
    return { code: error.detail.code, where: error.detail.where ?? '', message: error.detail.message };
  }
  const [report] = reports;
  if (report === undefined) throw new Error('no file');
  return { edges: describeEdges(aggregator.finish(reports).edges), report };
}

async function sound(
  source: string,
  files: readonly (string | Uint8Array)[],
  options?: Partial<ReadOptions>,
): Promise<Read> {
  const done = await read(source, files, options);
  if ('code' in done) throw new Error(`${done.code} ${done.message}`);
  return done;
}

const named = fixtures.map((one) => [`${one.source}/${one.file}`, one] as const);
/** Files of which a part is a file as well. */
const inLines = named.filter(([, one]) => {
  const { records, join } = takeApart(one);
  return records.length > 1 && !/^[[{]\s*\n/.test(one.text) && join(records).includes('\n');
});

describe('a compressed file that breaks off', () => {
  it.each(inLines)('is refused, or gives what stands before the break and says so: %s', async (_, one) => {
    const whole = gzipSync(one.text);
    const cut = whole.subarray(0, whole.length - 9);
    const refused = await read(one.source, [cut]);
    expect(refused).toHaveProperty('code');
    const skipped = await read(one.source, [cut], { badRecords: 'skip' });
    if ('code' in skipped) expect(skipped.code).toBe('SP244');
    else {
      expect(skipped.report.bad).toBeGreaterThanOrEqual(1);
      expect(skipped.report.firstBad).toBeDefined();
    }
  });
});

describe('a file cut anywhere', () => {
  it.each(inLines)('never passes for a whole one that it is not: %s', async (_, one) => {
    const text = one.text.trimEnd();
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: text.length - 1 }), async (at) => {
        const part = text.slice(0, at);
        const done = await read(one.source, [part], { badRecords: 'skip' });
        if ('code' in done) return;
        // Every line is either a record, or was counted as something else.
        const lines = part.split('\n').filter((line) => line.trim() !== '').length;
        const { report } = done;
        const counted =
          report.records + report.bad + Object.values(report.ignored).reduce((sum, count) => sum + count, 0);
        expect(counted).toBeGreaterThanOrEqual(
          /^[[{]/.test(part) && one.source !== 'hubble' ? 0 : lines - headsOf(one),
        );
      }),
      { numRuns: 8 },
    );
  });
});

/** Lines that are part of the format and no record; parts of a line that a runtime split count once, with the last. */
function headsOf(one: Fixture): number {
  return one.text.split('\n').filter((line) => /^#|srcaddr|^\S+ stdout P |flow entries have been shown/.test(line))
    .length;
}

describe('lines that are no records among those that are', () => {
  const NOISE = ['{"half": ', '\u0000\u0001', 'not a record at all', '[]', '"text"', '{}'];
  it.each(inLines)('are refused by their line, or skipped and counted, and change nothing: %s', async (_, one) => {
    const { records, join } = takeApart(one);
    const whole = await sound(one.source, [join(records)]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(records.length), fc.constantFrom(...NOISE.slice(0, 3))), {
          minLength: 1,
          maxLength: 3,
        }),
        async (noise) => {
          const mixed = [...records];
          for (const [at, line] of noise) mixed.splice(at, 0, line);
          const done = await sound(one.source, [join(mixed)], { badRecords: 'skip' });
          expect(done.edges).toBe(whole.edges);
          const kept = done.report.bad + Object.values(done.report.ignored).reduce((sum, count) => sum + count, 0);
          const before = Object.values(whole.report.ignored).reduce((sum, count) => sum + count, 0);
          expect(kept).toBeGreaterThanOrEqual(before + 1);
        },
      ),
      { numRuns: 8 },
    );
  });

  it.each(inLines)('of another encoding, and of a hundred megabytes, as well: %s', async (_, one) => {
    const { records, join } = takeApart(one);
    const whole = await sound(one.source, [join(records)]);
    const text = Buffer.from(join(records));
    const latin1 = Buffer.concat([text, Buffer.from('\n{"name":"caf\u00e9"}\n', 'latin1')]);
    const refused = await read(one.source, [latin1]);
    expect(refused).toMatchObject({ code: 'SP247', where: expect.stringMatching(/^part-0:\d+$/) as string });
    const skipped = await sound(one.source, [latin1], { badRecords: 'skip' });
    expect([skipped.edges, skipped.report.bad]).toEqual([whole.edges, 1]);
  });
});

describe('a record of a wrong clock', () => {
  /** Every time in a fixture with a date in it, moved to another year. */
  const moved = (text: string, year: string): string => text.replaceAll(/2026-(?=\d\d-\d\d[T ])/g, `${year}-`);
  // Inspektor Gadget gives each time a second time, as a number.
  const dated = inLines.filter(
    ([, one]) => moved(one.text, '2027') !== one.text && !one.text.includes('timestamp_raw'),
  );

  it.each(dated)('from the future is refused by file and line: %s', async (_, one) => {
    const done = await read(one.source, [moved(one.text, '2051')], { latest: NOW });
    expect(done).toMatchObject({ code: 'SP248', where: expect.stringMatching(/^part-0:\d+$/) as string });
  });

  it.each(dated)('is left out and counted where it is skipped, and moves no window: %s', async (_, one) => {
    const { records, join } = takeApart(one);
    const whole = await sound(one.source, [join(records)], { latest: NOW + 86_400_000 });
    for (const year of ['1970', '2051']) {
      const more = records.map((record) => moved(record, year)).filter((record, index) => record !== records[index]);
      const done = await sound(one.source, [join([...records, ...more])], {
        badRecords: 'skip',
        latest: NOW + 86_400_000,
      });
      expect(done.edges).toBe(whole.edges);
      expect([done.report.first, done.report.last]).toEqual([whole.report.first, whole.report.last]);
      expect(done.report.bad).toBeGreaterThanOrEqual(1);
    }
  });
});

describe('a hundred megabytes in one line', () => {
  it('are passed over without filling the memory, and the lines around them are read', async () => {
    const one = fixtures.find((fixture) => fixture.source === 'edges');
    if (one === undefined) throw new Error('no fixture');
    const source = findSource('edges');
    const piece = Buffer.alloc(1 << 20, 'x');
    const aggregator = createAggregator(cluster);
    const report = await source?.read(
      {
        name: 'big.jsonl',
        async *open() {
          yield await Promise.resolve(Buffer.from(`${one.text.trimEnd()}\n`));
          for (let count = 0; count < 100; count += 1) yield piece;
          yield Buffer.from(`\n${one.text.trimEnd()}\n`);
        },
      },
      { flow: (flow) => aggregator.add(flow), name: () => undefined },
      { badRecords: 'skip' },
    );
    const lines = one.text.trimEnd().split('\n').length;
    expect(report).toMatchObject({ bad: 1, lines: 2 * lines + 1 });
    expect(report?.firstBad).toMatch(new RegExp(`^big\\.jsonl:${lines + 1}: .*longer than`));
  });
});

describe('the records of a file given twice', () => {
  it.each(inLines)('are the same edges, on the same days: %s', async (_, one) => {
    const { records, join } = takeApart(one);
    const once = await sound(one.source, [join(records)]);
    const keys = (text: string): readonly string[] => text.split('\n').map((line) => line.split(' | ')[0] ?? '');
    await fc.assert(
      fc.asyncProperty(fc.subarray([...records.keys()], { minLength: 1 }), async (again) => {
        const twice = await sound(one.source, [join(records), join(again.map((index) => records[index] ?? ''))]);
        expect(keys(twice.edges)).toEqual(keys(once.edges));
      }),
      { numRuns: 5 },
    );
  });
});

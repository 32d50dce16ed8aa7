import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { findSource } from '../../src/sources/registry.ts';
import type { Fixture } from './cluster.ts';
import { NOW, describeEdges, fixtures, fold } from './cluster.ts';
import { input } from './flow-input.ts';
import { takeApart } from './take-apart.ts';

async function edgesOf(one: Fixture, files: readonly string[]): Promise<string> {
  const source = findSource(one.source);
  if (source === undefined) throw new Error(`there is no source ${one.source}`);
  const { edges } = await fold(
    source,
    files.filter((text) => text !== '').map((text, index) => input(text, `part-${index}`, 4096)),
    { now: NOW },
  );
  return describeEdges(edges);
}

const named = fixtures.map((one) => [`${one.source}/${one.file}`, one] as const);

describe('the edges of a source', () => {
  it.each(named)('do not depend on the order of its records: %s', async (_, one) => {
    const { records, join } = takeApart(one);
    const whole = await edgesOf(one, [join(records)]);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...records], { minLength: records.length }), async (shuffled) => {
        expect(await edgesOf(one, [join(shuffled)])).toBe(whole);
      }),
      { numRuns: 15 },
    );
  });

  it.each(named)(
    'do not depend on how its records are cut into files, nor on how those interleave: %s',
    async (_, one) => {
      const { records, join } = takeApart(one);
      if (records.length < 2) return;
      const whole = await edgesOf(one, [join(records)]);
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.integer({ min: 0, max: 2 }), { minLength: records.length, maxLength: records.length }),
          async (places) => {
            const files = [0, 1, 2].map((place) => records.filter((__, index) => places[index] === place));
            expect(
              await edgesOf(
                one,
                files.filter((file) => file.length > 0).map((file) => join(file)),
              ),
            ).toBe(whole);
          },
        ),
        { numRuns: 15 },
      );
    },
  );
});

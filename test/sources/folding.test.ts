import fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { findSource } from '../../src/sources/registry.ts';
import type { Fixture } from './cluster.ts';
import { NOW, describeEdges, fixtures, fold } from './cluster.ts';
import { input } from './flow-input.ts';

/** A fixture taken apart into records that may stand in any order, and how to make a file of some of them. */
interface Parts {
  readonly records: readonly string[];
  readonly join: (records: readonly string[]) => string;
}

type Json = Readonly<Record<string, unknown>>;

function takeApart(one: Fixture): Parts {
  const { text } = one;
  const documents = text.split(/\n(?=\{\n)/);
  if (documents.length > 1) return { records: documents, join: (chosen) => chosen.join('\n') };
  if (/^[[{]\s*\n/.test(text) || (text.startsWith('{') && text.trim().indexOf('\n') < 0)) {
    const value = JSON.parse(text) as unknown;
    const path = Array.isArray(value)
      ? []
      : (ARRAYS.find((keys) => Array.isArray(at(value as Json, keys))) ?? undefined);
    if (path === undefined) return { records: [text.trim()], join: (records) => records.join('\n') };
    const records = (at(value as Json, path) as readonly unknown[]).map((record) => JSON.stringify(record));
    return {
      records,
      join: (chosen) =>
        JSON.stringify(
          put(
            value,
            path,
            chosen.map((record) => JSON.parse(record) as unknown),
          ),
        ),
    };
  }
  const lines = text.split('\n').filter((line) => line !== '');
  const isHead = HEADS[one.source];
  const head = isHead === undefined ? [] : lines.filter((line) => isHead.test(line));
  // Parts of one line stay together.
  const records = lines
    .filter((line) => !head.includes(line))
    .reduce<string[]>((all, line) => {
      const previous = all.at(-1);
      if (previous !== undefined && /^\S+ stdout P /.test(previous) && !previous.includes('\n'))
        return [...all.slice(0, -1), `${previous}\n${line}`];
      return [...all, line];
    }, []);
  return { records, join: (chosen) => [...head, ...chosen, ''].join('\n') };
}

const ARRAYS = [['data', 'result'], ['records'], ['items'], ['events']];
const HEADS: Readonly<Record<string, RegExp>> = { zeek: /^#/, 'aws-vpc': /srcaddr/, linkerd: /^#/ };

function at(value: Json, keys: readonly string[]): unknown {
  return keys.reduce<unknown>((inner, key) => (inner as Json | undefined)?.[key], value);
}

function put(value: unknown, keys: readonly string[], to: unknown): unknown {
  const [key, ...rest] = keys;
  if (key === undefined) return to;
  return { ...(value as Json), [key]: put((value as Json)[key], rest, to) };
}

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

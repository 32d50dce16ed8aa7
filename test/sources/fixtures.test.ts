import { describe, expect, it } from 'vitest';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { FLOW_SOURCES, findSource } from '../../src/sources/registry.ts';
import { NOW, describeEdges, fixtureInput, fixtures, fold } from './cluster.ts';
import { failureOf, readAll } from './flow-input.ts';

function sourceOf(name: string) {
  const source = findSource(name);
  if (source === undefined) throw new Error(`there is no source ${name}`);
  return source;
}

const LINES_ALONE = new Set(['hubble', 'edges']);
const named = fixtures.map((one) => [`${one.source}/${one.file}`, one] as const);

describe('fixtures of the sources', () => {
  it.each(named)('give the edges they must: %s', async (_, one) => {
    const { report, edges, evidence } = await fold(sourceOf(one.source), [fixtureInput(one)], { now: NOW });
    const counted = [
      `records ${report.records}, lost ${report.lost}`,
      ...Object.entries(report.ignored).map(([why, count]) => `ignored ${count}: ${why}`),
      ...Object.entries(evidence.unattributed).map(([why, count]) => `unattributed ${count}: ${why}`),
    ];
    await expect(`${describeEdges(edges)}\n${counted.join('\n')}\n`).toMatchFileSnapshot(`${one.path}.edges`);
    expect(report.bad).toBe(0);
  });

  it.each(named)('are refused by every other source, with the name of the right one: %s', async (_, one) => {
    for (const other of FLOW_SOURCES) {
      if (other.name === one.source) continue;
      const failure = await failureOf(readAll(other, fixtureInput(one))).catch((error: unknown) => {
        throw new Error(`${other.name} took ${one.file}: ${String(error)}`);
      });
      expect(failure.exit).toBe(2);
      // Sources of JSON Lines see the first line of a document alone.
      if (/^[[{]\n/.test(one.text) && LINES_ALONE.has(other.name))
        expect(failure.message).toContain('JSON spread over several lines');
      else
        expect(failure.hint, `${other.name}: ${failure.message}`).toBe(`sallyport observe ${one.source} ${one.file}`);
      expect(failure.message, other.name).toMatch(/this is /);
      const skipping = await readAll(other, fixtureInput(one), 'skip').catch((error: unknown) => error);
      expect(isFailure(skipping) && skipping.detail).toMatchObject({ code: 'SP244', exit: 2 });
    }
  });

  it('are there for every source', () => {
    const with_ = new Set(fixtures.map((one) => one.source));
    expect(FLOW_SOURCES.map((one) => one.name).filter((name) => !with_.has(name))).toEqual([]);
  });
});

describe('the list of sources', () => {
  it('has each source once, with a line of help and one example', () => {
    const names = FLOW_SOURCES.map((source) => source.name);
    expect(new Set(names).size).toBe(names.length);
    for (const source of FLOW_SOURCES) {
      expect(source.summary.length, source.name).toBeGreaterThan(20);
      expect(source.example, source.name).toContain(`sallyport observe ${source.name}`);
    }
  });
});

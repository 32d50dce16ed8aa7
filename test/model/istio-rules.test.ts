import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import { formatRef, refOf } from '../../src/model/object.ts';
import { castInventory, createdInOrder, formatRow, queryOf, readRuleCases, RULES_DIR } from '../support/istio-rules.ts';

const CASES = readRuleCases();

describe('the rules of Istio, one by one', () => {
  let cast: Inventory;
  beforeAll(async () => {
    cast = await castInventory();
  });

  it('have a cast that is in the mesh or out of it as the README says', () => {
    const membership = cast.workloads.map(({ name, podSets }) => [name, podSets[0]?.mesh]);
    expect(Object.fromEntries(membership)).toEqual({
      api: 'sidecar',
      store: 'sidecar',
      web: 'sidecar',
      opted: 'none',
      train: 'sidecar',
      old: 'none',
      host: 'none',
    });
  });

  it('are many, each with its own page of the documentation', () => {
    expect(CASES.length).toBeGreaterThanOrEqual(45);
    expect(CASES.flatMap(({ rows }) => rows).length).toBeGreaterThanOrEqual(100);
    for (const { name } of CASES) {
      expect(readFileSync(join(RULES_DIR, name, 'README.md'), 'utf8'), name).toMatch(/Istio's documentation: \S+/);
    }
    const folders = readdirSync(RULES_DIR, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(
      folders.filter(({ name }) => !existsSync(join(RULES_DIR, name, 'expected.yaml'))).map(({ name }) => name),
    ).toEqual(['cast']);
  });

  it.each(CASES.map((one) => [one.name, one] as const))('%s', (_, { policies, rows }) => {
    const world = compileWorld({ ...cast, policies: createdInOrder(policies) });
    const names = new Set(policies.map((policy) => formatRef(refOf(policy))));
    const found = rows.map((row) => {
      const { answer, reasons } = evaluateConnection(world, queryOf(row));
      const [decisive] = reasons;
      if (answer === 'denied') {
        expect(decisive?.decision, formatRow(row)).toBe('denies');
        expect(names, formatRow(row)).toContain(decisive?.object);
        expect(decisive?.remedy, formatRow(row)).toMatch(/\S/);
      }
      if (answer === 'unknown') expect(decisive?.decision, formatRow(row)).toBe('unknown');
      return `${formatRow(row)}: ${answer}`;
    });
    expect(found).toEqual(rows.map((row) => `${formatRow(row)}: ${row.expect}`));
  });
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { WORLDS, calibrateAll, renderCalibration } from './calibrate.ts';

describe('the bound of unseen edges, on generated traffic of which everything is known', () => {
  const rows = calibrateAll();
  const where = (names: readonly string[]) => rows.filter((row) => names.includes(row.world));
  const share = (list: readonly { readonly holdsForAll: number }[]): number =>
    list.reduce((sum, row) => sum + row.holdsForAll, 0) / list.length;

  it('holds in more than nineteen of twenty records where edges are alike, as the method assumes', () => {
    const alike = where(WORLDS.slice(0, 3).map((world) => world.name));
    expect(alike).toHaveLength(18);
    for (const row of alike) expect(row.holdsForAll, JSON.stringify(row)).toBeGreaterThanOrEqual(0.95);
  });

  it('holds for what one more day shows, whatever the edges are like', () => {
    for (const row of rows) expect(row.holdsForNextDay, JSON.stringify(row)).toBeGreaterThanOrEqual(0.88);
  });

  it('does not hold for all edges where many are rarer than the record is long', () => {
    expect(share(where(['daily, and one of ten quarterly']))).toBeLessThan(0.9);
  });

  it('stands in the documentation as it is', () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/evidence.md'), 'utf8');
    expect(page).toContain(renderCalibration(rows));
  });
});

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../support/imports.ts';

const TEXT = readFileSync(join(ROOT, 'docs/threat-model.md'), 'utf8');
const rows = TEXT.split('\n')
  .filter((line) => line.startsWith('| **'))
  .map((line) => line.split('|').map((cell) => cell.trim()));

describe('the threat model', () => {
  it('has its threats, each with a control, a test and what is left over', () => {
    expect(rows.length).toBeGreaterThan(12);
    for (const [, threat = '', control = '', tests = '', left = '', end] of rows) {
      expect(end, threat).toBe('');
      expect(control.length, threat).toBeGreaterThan(20);
      expect(left.length, threat).toBeGreaterThan(10);
      expect(tests, threat).toMatch(/`test\//);
    }
  });

  it.each(
    rows.flatMap(([, threat = '', , tests = '']) =>
      [...tests.matchAll(/`([^`]+)`/g)].map(([, file = '']) => [file, threat]),
    ),
  )('names a test that is there and tests: %s (%s)', (file) => {
    expect(existsSync(join(ROOT, file))).toBe(true);
    expect(readFileSync(join(ROOT, file), 'utf8')).toMatch(/\b(?:it|test)(?:\.each|\.runIf|\.skipIf)?\b[\s\S]*expect/);
  });

  it('is one page, and every file of hostile input stands in it', () => {
    expect(TEXT.split('\n').length).toBeLessThan(60);
    for (const name of ['flow-sources', 'documents', 'kept', 'output', 'regular-expressions', 'invented-flows'])
      expect(TEXT).toContain(`test/hostile/${name}.test.ts`);
  });
});

import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compareReports } from '../../src/report/compare.ts';
import { renderJson } from '../../src/report/json.ts';
import { ROOT } from '../support/imports.ts';
import { readReportSchema } from '../support/report-schema.ts';
import { sampleReport } from './sample.ts';
import { reportFor } from './worlds.ts';

const { schema, markdown, unexplained } = readReportSchema();
const validator = z.fromJSONSchema(schema);

/** What the published schema has against a document; nothing where it agrees. */
function faults(document: unknown): readonly string[] {
  const found = validator.safeParse(document);
  return found.success ? [] : found.error.issues.map((issue) => `/${issue.path.join('/')}: ${issue.message}`);
}

const HEAD = `# The fields of the assessment report

Made from the types in \`src/report/model.ts\` and the comments above their fields; \`report.schema.json\` says the same as a JSON Schema.
\`docs/report.md\` says how to read it. Every field is always there; what is absent is \`null\`. Times are ISO 8601 in UTC.

`;

describe('the documented form of the report', () => {
  it('explains every field', () => {
    expect(unexplained).toEqual([]);
  });

  it('is published as it is compiled', async () => {
    await expect(`${JSON.stringify(schema, null, 1)}\n`).toMatchFileSnapshot(join(ROOT, 'docs/report.schema.json'));
    await expect(`${HEAD}${markdown}\n`).toMatchFileSnapshot(join(ROOT, 'docs/report-fields.md'));
  });

  it.each([
    ['two teams, before anything was done', () => reportFor()],
    ['two teams, half way', () => reportFor({ phases: { front: 'allow-list' } })],
    ['one with something in every section', () => sampleReport()],
    [
      'one that is compared with an earlier one',
      () => ({ ...sampleReport(), comparison: compareReports(reportFor(), sampleReport()) }),
    ],
  ])('is kept by the JSON of %s', (_, make) => {
    expect(faults(JSON.parse(renderJson(make())))).toEqual([]);
  });

  it.each<[string, (report: Record<string, unknown>) => unknown, string]>([
    ['a field too many', (report) => ({ ...report, extra: 1 }), 'extra'],
    [
      'a section too few',
      (report) => Object.fromEntries(Object.entries(report).filter(([key]) => key !== 'risk')),
      '/risk',
    ],
    ['a number where a text belongs', (report) => ({ ...report, at: 5 }), '/at'],
    [
      'a word that is none of those listed',
      (report) => ({ ...report, waves: [{ wave: 'first', namespaces: [], why: [] }] }),
      '/waves/0/wave',
    ],
    [
      'a column of the map with a text in it',
      (report) => ({ ...report, map: { ...(report['map'] as object), namespaces: [1] } }),
      '/map/namespaces/0',
    ],
  ])('is not kept by %s', (_, spoil, where) => {
    const found = faults(spoil(JSON.parse(renderJson(sampleReport())) as Record<string, unknown>));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(where);
  });
});

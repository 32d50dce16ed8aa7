// What servers of CI are told by verify: JUnit and SARIF, of texts that anybody may have written.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderJunit, renderSarif } from '../../src/cli/render-verify.ts';
import type { Suite } from '../../src/cli/render-verify.ts';
import fc from '../support/fast-check.ts';
import { CLUSTER, CONFIG, makeHome, sallyport } from './shop.ts';

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(']]>', '<!--', '&lt;', '"\'', '\u0000\u001b[31m', '</testsuite>', 'a\nb', '\ud800', '\ufffe'),
);
const suite: fc.Arbitrary<Suite> = fc.record({
  namespace: anyText,
  drift: fc.array(fc.record({ object: anyText, path: anyText, step: anyText, text: anyText }), { maxLength: 3 }),
  gates: fc.array(
    fc.record({
      id: anyText,
      subject: anyText,
      answer: fc.constantFrom('yes' as const, 'no' as const, 'unknown' as const),
      facts: fc.array(anyText, { maxLength: 3 }),
      fix: anyText,
    }),
    { maxLength: 3 },
  ),
});

const open = ({ drift, gates }: Suite): number => drift.length + gates.filter(({ answer }) => answer !== 'yes').length;

describe('JUnit', () => {
  it('is XML 1.0 whatever the texts are, and counts what fails', () => {
    fc.assert(
      fc.property(fc.array(suite, { maxLength: 3 }), (suites) => {
        const text = renderJunit(suites);
        // Characters that XML 1.0 has (section 2.2), tags that we write, and text in which no tag and no entity begins but ours.
        expect(text).not.toMatch(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u);
        const tag = /<\/?(?:testsuites|testsuite|testcase|failure)(?: [a-z]+="[^"<]*")*\/?>|<\?xml [^<>]*\?>/g;
        const rest = text.replace(tag, '');
        expect(rest).not.toMatch(/[<>]/);
        expect(text.replace(/&(?:amp|lt|gt|quot);/g, '')).not.toContain('&');
        expect(text.match(/<failure /g)?.length ?? 0).toBe(suites.reduce((sum, one) => sum + open(one), 0));
        expect(text.match(/<testsuite /g)?.length ?? 0).toBe(suites.length);
      }),
      { numRuns: 400 },
    );
  });
});

describe('SARIF', () => {
  it('holds one result for each thing that is off, each with its rule', () => {
    fc.assert(
      fc.property(fc.array(suite, { maxLength: 3 }), (suites) => {
        const log = JSON.parse(renderSarif(suites, '1.0.0')) as {
          readonly version: string;
          readonly runs: readonly {
            readonly tool: { readonly driver: { readonly rules: readonly { readonly id: string }[] } };
            readonly results: readonly {
              readonly ruleId: string;
              readonly level: string;
              readonly message: { readonly text: string };
            }[];
          }[];
        };
        const [run] = log.runs;
        expect(run?.results.length).toBe(suites.reduce((sum, one) => sum + open(one), 0));
        const rules = new Set(run?.tool.driver.rules.map(({ id }) => id));
        for (const { ruleId, level } of run?.results ?? []) {
          expect(rules.has(ruleId)).toBe(true);
          expect(['error', 'warning']).toContain(level);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('verify in CI', () => {
  it('names the field that drifted, and ends with 6', async () => {
    const home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG });
    const run = (...args: readonly string[]): ReturnType<typeof sallyport> =>
      sallyport(['--manifests', 'cluster', '--state', 's.sqlite', '--config', 'config.yaml', ...args], { home });
    expect((await run('advance', 'desk', '--to', 'monitor', '--yes')).code).toBe(0);
    const clean = await run('verify', '-o', 'junit');
    expect([clean.code, clean.stdout]).toEqual([0, expect.stringMatching(/failures="0"/)]);
    const file = join(home, 'cluster/00-namespaces.yaml');
    await writeFile(file, (await readFile(file, 'utf8')).replace(/(sallyport.dev\/monitored: )"?true"?/, '$1"no"'));
    const junit = await run('verify', '-o', 'junit');
    expect(junit.code, junit.stderr).toBe(6);
    expect(junit.stdout).toMatch(/<testsuite name="desk" tests="\d+" failures="1">/);
    expect(junit.stdout).toMatch(/<failure type="drift" message="Namespace desk metadata\.annotations[^"]*now/);
    const sarif = await run('verify', 'desk', '-o', 'sarif');
    expect(sarif.code).toBe(6);
    expect(sarif.stdout).toMatch(/"ruleId": "drift"/);
    expect((await run('verify', '--json', '-o', 'sarif')).code).toBe(2);
  });
});

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { allCodes, explain, FAILURES, fileOf, RETIRED } from '../../src/cli/codes/catalogue.ts';
import type { CodeTable } from '../../src/cli/codes/entry.ts';
import { CLUSTER_CODES } from '../../src/cli/codes/cluster.ts';
import { RUN_CODES } from '../../src/cli/codes/run.ts';
import { STATE_CODES } from '../../src/cli/codes/state.ts';
import { USE_CODES } from '../../src/cli/codes/use.ts';
import { FINDINGS } from '../../src/model/finding-catalogue.ts';
import { EXIT } from '../../src/shared/pure/errors.ts';
import { ROOT, readSource, sourceFiles } from '../support/imports.ts';
import { makeFolder } from '../support/folder.ts';
import { sallyport } from '../support/sallyport.ts';

const CATALOGUES = ['src/cli/codes/', 'src/model/finding-catalogue.ts'];
const FILES = [
  ...sourceFiles('src', 'state', 'phases'),
  ...readdirSync(join(ROOT, 'bin')).map((file) => `bin/${file}`),
].filter((file) => !CATALOGUES.some((own) => file.startsWith(own)));

interface Mention {
  readonly code: string;
  readonly file: string;
  /** The whole literal is the code, or a text ends with it in brackets: it is raised there, or compared with. */
  readonly exact: boolean;
  /** `exit: EXIT.refused` beside `code: 'SP600'`. */
  readonly exit: number | undefined;
}

/** Codes in literals and templates; comments do not count. */
function mentionsOf(file: string): readonly Mention[] {
  const found: Mention[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node))
      for (const [code] of node.text.matchAll(/\bSP\d{3}\b/g)) {
        const exact = node.text === code || node.text.includes(`(${code})`);
        found.push({ code, file, exact, exit: exitBeside(node) });
      }
    ts.forEachChild(node, visit);
  };
  visit(readSource(file));
  return found;
}

function exitBeside(literal: ts.Node): number | undefined {
  const property = literal.parent;
  if (!ts.isPropertyAssignment(property) || property.name.getText() !== 'code') return undefined;
  for (const other of property.parent.properties) {
    if (!ts.isPropertyAssignment(other) || other.name.getText() !== 'exit') continue;
    const text = other.initializer.getText();
    if (/^\d+$/.test(text)) return Number(text);
    const name = /^EXIT\.(\w+)$/.exec(text)?.[1];
    if (name !== undefined && Object.hasOwn(EXIT, name)) return EXIT[name as keyof typeof EXIT];
  }
  return undefined;
}

const MENTIONS = FILES.flatMap(mentionsOf);

describe('the catalogue of codes', () => {
  it('has every code that the sources name', () => {
    const missing = MENTIONS.filter(({ code }) => explain(code) === undefined);
    expect(
      missing.map(({ code, file }) => `${code} of ${file} is not in the catalogue: add it to ${fileOf(code)}`),
    ).toEqual([]);
  });

  it('has no code that nothing raises, unless it is retired', () => {
    const raised = new Set(MENTIONS.filter((one) => one.exact).map((one) => one.code));
    const idle = [...Object.keys(FAILURES), ...Object.keys(FINDINGS)].filter((code) => !raised.has(code));
    expect(
      idle.map(
        (code) => `${code} is raised nowhere: move it from ${fileOf(code)} to RETIRED in src/cli/codes/catalogue.ts`,
      ),
    ).toEqual([]);
    expect(Object.keys(RETIRED).filter((code) => raised.has(code))).toEqual([]);
  });

  it('has each code once, in the file of its class', () => {
    const tables: readonly CodeTable[] = [USE_CODES, CLUSTER_CODES, STATE_CODES, RUN_CODES, FINDINGS as never];
    const all = [...tables.flatMap((table) => Object.keys(table)), ...Object.keys(RETIRED)];
    expect(all.filter((code, index) => all.indexOf(code) !== index)).toEqual([]);
    const files = ['use', 'cluster', 'state', 'run'];
    for (const [index, name] of files.entries())
      expect(
        Object.keys(tables[index] ?? {}).filter((code) => fileOf(code) !== `src/cli/codes/${name}.ts`),
        name,
      ).toEqual([]);
  });

  it('says of each what it means, why it comes about, and what to do', () => {
    for (const code of allCodes()) {
      const found = explain(code);
      if (found === undefined || found.kind === 'retired') continue;
      const texts = [found.title, found.means, ...found.causes, ...found.fix];
      expect(
        found.causes.length * found.fix.length,
        `${code} in ${fileOf(code)}: causes and what to do`,
      ).toBeGreaterThan(0);
      expect(
        texts.filter((text) => text.trim() === ''),
        code,
      ).toEqual([]);
      expect(found.title.endsWith('.'), `${code}: a title is no sentence`).toBe(false);
    }
  });

  it('gives the exit codes that the sources give', () => {
    const wrong = MENTIONS.flatMap(({ code, file, exit }) => {
      const entry = FAILURES[code];
      if (exit === undefined || entry === undefined) return [];
      const exits: readonly number[] = [entry.exit].flat();
      return exits.includes(exit)
        ? []
        : [`${code} ends with ${exit} in ${file}, and ${fileOf(code)} says ${exits.join()}`];
    });
    expect(wrong).toEqual([]);
  });
});

describe('the page of codes', () => {
  it('is what the catalogue says', async () => {
    await expect(renderPage()).toMatchFileSnapshot(join(ROOT, 'docs/troubleshooting.md'));
  });
});

describe('sallyport explain', () => {
  it.each([
    [['explain', 'SP403'], 0, 'SP403 You may not do that'],
    [['explain', '600'], 0, 'SP600 A gate does not answer yes'],
    [['explain', 'sp322'], 0, 'A finding: something true of your cluster.'],
    [['explain', 'SP214'], 0, 'SP214 is retired.'],
    [['explain', 'SP6O0'], 2, 'there is no code SP6O0 (did you mean SP600?)'],
    [['explain'], 2, 'missing: code'],
  ])('%j', async (args, code, said) => {
    const { stdout, stderr, ...ended } = await sallyport(args, { home: await makeFolder() });
    expect(ended.code).toBe(code);
    expect(stdout + stderr).toContain(said);
  });

  it('answers with one document', async () => {
    const { stdout } = await sallyport(['explain', 'SP601', '--json'], { home: await makeFolder() });
    expect(JSON.parse(stdout)).toMatchObject({
      apiVersion: 'sallyport.dev/v1',
      kind: 'Explanation',
      code: 'SP601',
      class: 'failure',
      exit: [EXIT.refused],
    });
  });
});

function renderPage(): string {
  const lines = [
    '# Troubleshooting by code',
    '',
    'Every message ends with a code, every finding begins with one. `sallyport explain SP403` prints what stands here. Made from',
    '`src/cli/codes` and `src/model/finding-catalogue.ts` by `test/cli/codes.test.ts`; `npx vitest run --project unit test/cli/codes.test.ts -u`',
    'writes it again. Where a message has a line `next:`, that is more exact than what stands here: it knows your objects and files.',
    '',
  ];
  for (const [title, about, starts] of [
    ['Bugs and wrong use', 'The command line, files and what stands in them.', ['0', '1', '2']],
    [
      'Findings',
      'Something true of your cluster. `sallyport inventory` and `sallyport assess` list them; they end no command.',
      ['3'],
    ],
    ['The cluster and the directory', 'What was done before the failure is on record.', ['4']],
    ['The state file', 'Whatever happened, the file is left as it was.', ['5']],
    ['Plans, runs and ways back', 'What was done before is on record; `sallyport status` shows it.', ['6']],
  ] as const) {
    lines.push(`## ${title}`, '', about, '');
    for (const code of allCodes().filter((one) => (starts as readonly string[]).includes(one[2] ?? '')))
      lines.push(...renderEntry(code));
  }
  lines.push('## Retired', '', ...Object.entries(RETIRED).map(([code, means]) => `- **${code}** ${means}`), '');
  return lines.join('\n');
}

function renderEntry(code: string): readonly string[] {
  const found = explain(code);
  if (found === undefined || found.kind === 'retired') return [];
  const exit = found.kind === 'failure' ? ` (exit ${[found.exit].flat().join(' or ')})` : '';
  const link = (text: string): string => text.replaceAll(/\bdocs\/([\w-]+\.md)/g, '[$1]($1)');
  return [
    `### ${code}: ${found.title}${exit}`,
    '',
    link(found.means),
    '',
    ...found.causes.map((cause) => `- Cause: ${link(cause)}`),
    ...found.fix.map((what) => `- Do: ${link(what)}`),
    '',
  ];
}

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { phases } from '../phases/index.ts';
import { FINDINGS } from '../src/model/finding-catalogue.ts';
import { ROOT, bareCode, importsOf, readSource, sourceFiles } from './support/imports.ts';
import type { Import } from './support/imports.ts';

const FILES = sourceFiles('src', 'phases', 'state').map(readSource);
const IMPORTS = FILES.flatMap(importsOf);

/** `src/shared/pure/json.ts` -> `shared/pure`, `phases/index.ts` -> `phases`. */
function areaOf(file: string): string {
  const parts = file.split('/');
  if (parts[0] !== 'src') return parts[0] ?? '';
  return parts[1] === 'shared' ? `shared/${parts[2] ?? ''}` : (parts[1] ?? '');
}

const isFile = (to: string): boolean => to.endsWith('.ts');

/**
 * Who may import whom, as src/README.md has it. An entry is an area, or one file of it; `type ` before it admits types alone. An area may
 * always import itself.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'shared/pure': [],
  'shared/io': ['shared/pure', 'type src/engine/contract.ts'],
  model: ['shared/pure'],
  inventory: ['model', 'shared/pure'],
  flows: ['model', 'shared/pure', 'inventory'],
  objects: ['model', 'shared/pure'],
  candidates: ['objects', 'model', 'src/inventory/system-traffic.ts', 'shared/pure'],
  plan: ['objects', 'model', 'shared/pure', 'type src/engine/contract.ts'],
  readiness: [
    'plan',
    'candidates',
    'flows',
    'inventory',
    'objects',
    'model',
    'shared/pure',
    'type src/engine/contract.ts',
  ],
  report: [
    'readiness',
    'candidates',
    'plan',
    'flows',
    'inventory',
    'objects',
    'model',
    'shared/pure',
    'type src/engine/contract.ts',
    'type state',
  ],
  watch: ['readiness', 'plan', 'flows', 'inventory', 'objects', 'model', 'shared/pure', 'type src/engine/contract.ts'],
  engine: ['plan', 'model', 'shared/pure', 'shared/io'],
  phases: ['readiness', 'candidates', 'plan', 'objects', 'model', 'shared/pure', 'type src/engine/contract.ts'],
  sources: ['model', 'shared/pure', 'shared/io'],
  targets: [
    'src/engine/contract.ts',
    'src/plan/change.ts',
    'type src/plan/plan.ts',
    'src/sources/kube/index.ts',
    'src/sources/manifests/index.ts',
    'src/sources/manifests/schema.ts',
    'model',
    'shared/pure',
    'shared/io',
  ],
  state: ['type src/engine/contract.ts', 'plan', 'model', 'shared/pure', 'shared/io'],
};
/** These compose. */
const FREE = ['cli', 'main.ts'];

/** Functions of their arguments: no I/O, no clock, no randomness, no environment. */
const PURE = [
  'shared/pure',
  'model',
  'inventory',
  'flows',
  'objects',
  'candidates',
  'plan',
  'readiness',
  'report',
  'watch',
  'phases',
] as const;

/** Packages whose files are read, not imported, and the one place that reads them. */
const READ: Readonly<Record<string, string>> = { cytoscape: 'src/cli/report-assets.ts' };

/** Packages that a user installs who needs them, and the one place that loads them. */
const OPTIONAL: Readonly<Record<string, string>> = { '@duckdb/node-api': 'src/sources/duckdb.ts' };

/** Packages, and the only files (or folders) that may import them. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  inquirer: ['src/cli/prompts.ts'],
  '@inquirer/core': ['src/cli/prompts.ts'],
  listr2: ['src/cli/tasks.ts'],
  'better-sqlite3': ['state/'],
  yaml: ['src/shared/io/yaml.ts'],
  commander: ['src/cli/program.ts'],
  '@kubernetes/client-node': ['src/sources/kube/', 'src/targets/'],
  'cron-parser': ['src/flows/schedules.ts'],
  'prom-client': ['src/cli/telemetry.ts'],
  '@opentelemetry/api': ['src/cli/tracing.ts'],
  '@opentelemetry/core': ['src/cli/tracing.ts'],
  '@opentelemetry/exporter-trace-otlp-http': ['src/cli/tracing.ts'],
  '@opentelemetry/resources': ['src/cli/tracing.ts'],
  '@opentelemetry/sdk-trace': ['src/cli/tracing.ts'],
  'ipaddr.js': ['src/model/address.ts', 'src/model/cidr-set.ts'],
  zod: [
    'src/cli/approvals.ts',
    'src/cli/config.ts',
    'src/cli/pattern-files.ts',
    'src/inventory/signatures.ts',
    'src/sources/',
  ],
};

function mayImport(one: Import): boolean {
  const [from, to] = [areaOf(one.from), areaOf(one.to)];
  if (from === to || FREE.includes(from)) return true;
  return (MAY_IMPORT[from] ?? []).some((entry) => {
    const [typeOnly, what] = entry.startsWith('type ') ? [true, entry.slice(5)] : [false, entry];
    return (what === to || what === one.to) && (!typeOnly || one.typeOnly);
  });
}

const shown = (found: readonly Import[]): readonly string[] =>
  found.map(({ from, to, typeOnly }) => `${from} imports ${typeOnly ? 'types of ' : ''}${to}`);

describe('imports', () => {
  it('are followed in every folder of the sources', () => {
    expect(IMPORTS.length).toBeGreaterThan(500);
    const areas = new Set(FILES.map((file) => areaOf(file.fileName)));
    expect([...areas].filter((area) => !FREE.includes(area)).sort()).toEqual(Object.keys(MAY_IMPORT).sort());
  });

  it('keep to the table of who may import whom', () => {
    expect(shown(IMPORTS.filter((one) => isFile(one.to) && !mayImport(one)))).toEqual([]);
  });

  it.each([
    ['the engine a phase', 'src/engine/run.ts', 'phases/index.ts', false],
    ['the model the inventory', 'src/model/evaluate.ts', 'src/inventory/build.ts', true],
    ['a phase the engine’s code', 'phases/01-monitor/index.ts', 'src/engine/contract.ts', false],
    ['a source the state', 'src/sources/input.ts', 'state/open.ts', false],
    ['the state a command', 'state/open.ts', 'src/cli/context.ts', true],
  ])('would be refused: %s', (_, from, to, typeOnly) => {
    expect(mayImport({ from, to, typeOnly, names: [] })).toBe(false);
  });

  it('take of the engine’s contract nothing but the clock in shared/io', () => {
    const found = IMPORTS.filter((one) => one.from.startsWith('src/shared/io/') && one.to.startsWith('src/engine/'));
    expect(found.map(({ from, names }) => [from, names])).toEqual([['src/shared/io/clock.ts', ['Clock']]]);
  });

  it('reach each package from its own place alone', () => {
    const packages = IMPORTS.filter((one) => !isFile(one.to) && !one.to.startsWith('node:'));
    expect(
      shown(packages.filter((one) => !(PACKAGES[one.to] ?? []).some((place) => one.from.startsWith(place)))),
    ).toEqual([]);
    const facts = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      readonly dependencies: Readonly<Record<string, string>>;
      readonly peerDependencies: Readonly<Record<string, string>>;
      readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>;
    };
    expect(Object.keys(facts.peerDependencies)).toEqual(Object.keys(OPTIONAL));
    for (const [name, place] of Object.entries(OPTIONAL)) {
      expect(facts.peerDependenciesMeta[name]).toEqual({ optional: true });
      expect(FILES.filter((file) => file.text.includes(`'${name}'`)).map((file) => file.fileName)).toEqual([place]);
    }
    expect(Object.keys(facts.dependencies).sort()).toEqual(
      [...new Set([...packages.map((one) => one.to), ...Object.keys(READ)])].sort(),
    );
    for (const [name, place] of Object.entries(READ))
      expect(readFileSync(join(ROOT, place), 'utf8')).toContain(`'${name}/`);
  });

  it('never enter the tests', () => {
    expect(shown(IMPORTS.filter((one) => /^(?:test|scripts|bin)\//.test(one.to)))).toEqual([]);
  });

  it('of the example are its generator’s own, and the truth about its traffic is read by tests alone', () => {
    const generator = importsOf(readSource('examples/fraud-detection/generate.ts'));
    expect(generator.map((one) => one.to).filter((to) => !to.startsWith('node:'))).toEqual([]);
    expect(shown(IMPORTS.filter((one) => one.to.startsWith('examples/')))).toEqual([
      'src/cli/commands/demo.ts imports examples/fraud-detection/generate.ts',
    ]);
    expect(FILES.filter((file) => file.text.includes('truth.json')).map((file) => file.fileName)).toEqual([]);
  });
});

describe('purity', () => {
  const isPure = (file: string): boolean => PURE.some((area) => area === areaOf(file));

  it('of the core: no module of Node but the hash', () => {
    const found = IMPORTS.filter((one) => isPure(one.from) && one.to.startsWith('node:'));
    expect(shown(found)).toEqual(['src/shared/pure/hash.ts imports node:crypto']);
  });

  it('of the core: no clock, no randomness, no environment, no output', () => {
    const impure =
      /\bDate\.now\b|\bnewDate\(\)|\bMath\.random\b|\bperformance\.|\bprocess\.|\bconsole\.|\bfetch\(|\bset(?:Timeout|Interval|Immediate)\(|\brandomUUID\b/;
    const found = FILES.filter((file) => isPure(file.fileName) && impure.test(bareCode(file)));
    expect(found.map((file) => file.fileName)).toEqual([]);
  });

  it.each([
    ['the clock', /\bDate\.now\b|\bnewDate\(\)/, ['src/cli/', 'src/shared/io/clock.ts']],
    ['the environment', /\bprocess\.env\b/, ['src/cli/', 'src/main.ts']],
    ['chance', /\bMath\.random\b/, []],
  ])('of the rest: %s is asked at the edge alone', (_, pattern, places) => {
    const found = FILES.filter((file) => pattern.test(bareCode(file))).map((file) => file.fileName);
    expect(found.filter((file) => !places.some((place) => file.startsWith(place)))).toEqual([]);
  });
});

describe('phases', () => {
  const folders = readdirSync(join(ROOT, 'phases'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();

  it('are registered as their folders are numbered', () => {
    expect(phases.map((phase, index) => `${String(index + 1).padStart(2, '0')}-${phase.name}`)).toEqual(folders);
  });

  it.each(folders)('%s has its code and its document', (folder) => {
    for (const file of ['index.ts', 'README.md'])
      expect(existsSync(join(ROOT, 'phases', folder, file)), `phases/${folder}/${file}`).toBe(true);
  });
});

describe('codes', () => {
  /** Every string literal of the sources that is a code. */
  const literals = FILES.flatMap((file) => {
    const found: { readonly code: string; readonly file: string }[] = [];
    const visit = (node: ts.Node): void => {
      // Raised, not compared with.
      const isCompared = ts.isBinaryExpression(node.parent) && node.parent.right === node;
      if (ts.isStringLiteralLike(node) && /^SP\d{3}$/.test(node.text) && !isCompared)
        found.push({ code: node.text, file: file.fileName });
      ts.forEachChild(node, visit);
    };
    ts.forEachChild(file, visit);
    return found;
  });
  const raised = new Set(literals.map((one) => one.code).filter((code) => code.startsWith('SP3')));

  it('of findings stand in the catalogue, and each of those is raised somewhere', () => {
    expect([...raised].sort()).toEqual(Object.keys(FINDINGS).sort());
  });

  it('of findings are each looked for by a test', () => {
    const folders = readdirSync(join(ROOT, 'test'), { recursive: true, withFileTypes: true });
    const text = folders
      .filter((entry) => entry.isFile() && /\.(?:ts|json|md|ya?ml|txt|snap)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((file) => !file.endsWith('architecture.test.ts'))
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');
    expect(Object.keys(FINDINGS).filter((code) => !text.includes(code))).toEqual([]);
  });

  /** Where one meaning is met in more than one file. */
  const SHARED: Readonly<Record<string, string>> = {
    SP130: 'cancelled by a person',
    SP216: 'files of a directory that do not parse',
    SP223: 'a phase that does not exist',
    SP250: 'two forms of output at once',
    SP293: 'following that cannot be done like this',
    SP413: 'a kind that the cluster does not have',
    SP600: 'a gate does not answer yes',
    SP457: 'an answer that no Kubernetes API server gives',
    SP476: 'a file of the directory of manifests that the system does not let be written',
    SP477: 'something else in the place of a file or folder of ours',
  };

  it('of failures have one meaning each', () => {
    const places = new Map<string, Set<string>>();
    for (const { code, file } of literals.filter((one) => !raised.has(one.code)))
      places.set(code, (places.get(code) ?? new Set()).add(file));
    const several = [...places].filter(([code, files]) => files.size > 1 && SHARED[code] === undefined);
    expect(several.map(([code, files]) => `${code}: ${[...files].join(', ')}`)).toEqual([]);
  });
});

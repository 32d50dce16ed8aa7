import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT, importsOf, readSource, sourceFiles } from '../support/imports.ts';

const facts = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
};

let dir = '';
let files: readonly string[] = [];

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment of a person's shell: what npm and vitest tell their children is left out, and no state of this machine is met. */
function environment(first: readonly string[] = []): NodeJS.ProcessEnv {
  const told =
    /^(?:npm_(?:lifecycle|package|command|config_(?:local_)?prefix)|INIT_CWD$|VITEST|NODE_(?:ENV|OPTIONS)$|KUBECONFIG$)/i;
  const own = Object.entries(process.env).filter(([name]) => !told.test(name));
  const path = [...first, process.env['PATH'] ?? ''].join(delimiter);
  return { ...Object.fromEntries(own), PATH: path, XDG_STATE_HOME: join(dir, 'state'), NO_COLOR: '1' };
}

function run(command: string, args: readonly string[], cwd: string, first: readonly string[] = []): Outcome {
  const done = spawnSync(command, args, {
    cwd,
    env: environment(first),
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (done.error !== undefined) throw done.error;
  return { code: done.status, stdout: done.stdout, stderr: done.stderr };
}

function mustRun(command: string, args: readonly string[], cwd: string): string {
  const { code, stdout, stderr } = run(command, args, cwd);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code ?? '?'}:\n${stderr}${stdout}`);
  return stdout;
}

const installed = (...parts: readonly string[]): string => join(dir, 'there/node_modules', ...parts);

/** The installed program, with the Node that was installed beside it. */
function sallyport(...args: readonly string[]): Outcome {
  return run(installed('.bin/sallyport'), args, join(dir, 'there'), [installed('.bin')]);
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-pack-'));
  mustRun('npm', ['run', 'build'], ROOT);
  const packed = mustRun('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', dir], ROOT);
  const [tarball] = JSON.parse(packed) as readonly {
    readonly filename: string;
    readonly files: readonly { readonly path: string }[];
  }[];
  if (tarball === undefined) throw new Error(`npm pack made nothing: ${packed}`);
  files = tarball.files.map((file) => file.path).sort();
  mkdirSync(join(dir, 'there'));
  writeFileSync(join(dir, 'there/package.json'), '{"name": "there", "version": "1.0.0", "private": true}\n');
  const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', join(dir, tarball.filename), 'node@24'];
  mustRun('npm', install, join(dir, 'there'));
}, 600_000);

afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('the tarball', () => {
  it('holds the program, its data and its documents, and nothing else', () => {
    const expected =
      /^(?:package\.json|README\.md|CHANGELOG\.md|LICENSE|bin\/[a-z_-]+\.js|dist\/man\/sallyport\.1|dist\/(?:src|phases|state)\/.+\.js|dist\/examples\/fraud-detection\/generate\.js|templates\/.+|docs\/(?:platforms\/)?[A-Za-z.-]+|docs\/captures\/[a-z-]+\.svg|(?:src|test\/lab|phases\/[\w-]+)\/README\.md|examples\/fraud-detection\/(?:cluster\/.+|config\.yaml|decisions\.yaml|README\.md)|examples\/cloud-batch\/(?:cluster\/.+|edges\.txt|job\.py|README\.md))$/;
    expect(files.filter((file) => !expected.test(file))).toEqual([]);
    for (const wanted of [
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'bin/sallyport.js',
      'bin/runtime.js',
      'dist/src/main.js',
      'dist/phases/05-identity/index.js',
      'dist/state/schema/001-initial.js',
      'dist/examples/fraud-detection/generate.js',
      'templates/signatures/serving.json',
      'docs/report.schema.json',
      'phases/02-allow-list/README.md',
      'docs/captures/dashboard-dark.svg',
      'dist/src/sources/hubble/worker.js',
      'dist/src/sources/hubble/read-thread.js',
      'examples/fraud-detection/cluster/40-fraud-serving.yaml',
      'examples/fraud-detection/decisions.yaml',
    ])
      expect(files).toContain(wanted);
  });

  it('holds one compiled file for each source, and imports that lead to one', () => {
    const sources = [...sourceFiles('src', 'phases', 'state'), 'examples/fraud-detection/generate.ts'];
    const compiled = files.filter((file) => file.startsWith('dist/') && !file.startsWith('dist/man/'));
    expect(compiled).toEqual(sources.map((file) => `dist/${file.replace(/\.ts$/, '.js')}`).sort());
    const known = new Set(compiled);
    const missing = compiled
      .flatMap((file) => importsOf(readSource(file)))
      .filter(({ to }) => to.startsWith('dist/') && !known.has(to));
    expect(missing.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it('asks for no script to be run on installation', () => {
    const hooks = ['preinstall', 'install', 'postinstall', 'prepare'];
    expect(Object.keys(facts.scripts).filter((name) => hooks.includes(name))).toEqual([]);
    // The database comes with its binaries: nothing was compiled.
    expect(existsSync(installed('better-sqlite3/package.json'))).toBe(true);
    expect(existsSync(installed('better-sqlite3/build'))).toBe(false);
  });
});

describe('the installed program', () => {
  it('runs its sources nowhere', () => {
    // Its map, which the README links to.
    expect(readdirSync(installed('sallyport/src'))).toEqual(['README.md']);
  });

  it('runs the demo, forward and back, and says so in one document', () => {
    const { code, stdout, stderr } = sallyport('demo', '--json');
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      apiVersion: 'sallyport.dev/v1',
      kind: 'Demo',
      advance: { outcome: 'done', phase: 'identity' },
      rollback: { outcome: 'done', phase: 'none' },
      byteEqual: true,
    });
  });

  it('tells its version and its commands', () => {
    expect(sallyport('--version')).toEqual({ code: 0, stdout: `${facts.version}\n`, stderr: '' });
    const help = sallyport('--help');
    expect(help.code).toBe(0);
    for (const command of ['demo', 'inventory', 'observe', 'plan', 'advance', 'rollback', 'resume', 'verify'])
      expect(help.stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'));
  });

  it.each([
    ['inventory', 'Inventory'],
    ['flows', 'Flows'],
    ['status', 'Status'],
    ['audit', 'Audit'],
    ['verify', 'Verify'],
    ['suggest fraud-serving', 'List'],
    ['plan fraud-serving', 'Plan'],
  ])('finds its data in %s', (command, kind) => {
    const cluster = join(dir, 'cluster');
    cpSync(installed('sallyport/examples/fraud-detection/cluster'), cluster, { recursive: true });
    const { code, stdout, stderr } = sallyport(...command.split(' '), '--manifests', cluster, '--json');
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind });
  });

  it('says what is wrong on a Node that is too old, before it loads anything', () => {
    // The same Node under an older name: no other need be installed.
    const older =
      'data:text/javascript,Object.defineProperty(process.versions, "node", { value: "20.11.1", enumerable: true })';
    const program = installed('sallyport/bin/sallyport.js');
    const { code, stdout, stderr } = run(
      installed('.bin/node'),
      ['--import', older, program, 'demo', '--json'],
      join(dir, 'there'),
    );
    expect(code).toBe(2);
    expect(stderr).toContain('Node 20.11.1 is too old; 22.19 or newer is needed');
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'Error', error: { code: 'SP201' } });
  });
});

// The same sources give the same package, whoever packs them, where and when; and a package runs nothing when it is installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ROOT } from '../support/imports.ts';

let dir = '';
const tarballs: string[] = [];

/** What a clone has, as it stands in this folder. */
const SOURCES = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)));

/** A copy with times and modes of its own. */
function copy(from: string, name: string, at: Date, mode: number): string {
  const to = join(dir, name);
  for (const file of SOURCES) {
    const path = join(to, file);
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(join(from, file), path);
    chmodSync(path, mode);
    utimesSync(path, at, at);
  }
  symlinkSync(join(ROOT, 'node_modules'), join(to, 'node_modules'));
  return to;
}

/** As `npm pack` does it, build included. */
function pack(from: string, out: string): string {
  mkdirSync(join(dir, out));
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--json', '--pack-destination', join(dir, out)], {
    cwd: from,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`npm pack ended with ${status ?? '?'}:\n${stderr}${stdout}`);
  const [made] = JSON.parse(stdout.slice(stdout.indexOf('['))) as readonly { readonly filename: string }[];
  return join(dir, out, made?.filename ?? '');
}

/** What a tarball holds, each file with its mode and the hash of its content. */
function contentsOf(tarball: string): readonly string[] {
  const to = mkdtempSync(join(dir, 'unpacked-'));
  execFileSync('tar', ['xzf', tarball, '-C', to]);
  return readdirSync(to, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const hash = createHash('sha256').update(readFileSync(path)).digest('hex');
      return `${path.slice(to.length)} ${(statSync(path).mode & 0o777).toString(8)} ${hash}`;
    })
    .sort();
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-repro-'));
  // The second from the first: somebody may be writing in this folder.
  const one = copy(ROOT, 'a', new Date('2020-01-01T00:00:00Z'), 0o644);
  const two = copy(one, 'another/place with a space', new Date('2026-06-01T12:34:56Z'), 0o664);
  tarballs.push(pack(one, 'one'), pack(two, 'two'));
}, 600_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it('packs byte for byte the same from two copies at two places with other times and modes', () => {
  const [first = '', second = ''] = tarballs;
  // What differs is told by name.
  expect(contentsOf(second)).toEqual(contentsOf(first));
  const [one = '', two = ''] = tarballs.map((file) => createHash('sha256').update(readFileSync(file)).digest('hex'));
  expect(one).toMatch(/^[0-9a-f]{64}$/);
  expect(two).toBe(one);
});

it('runs nothing on installation that a shell would have to be there for', () => {
  // A scripts shell that only leaves a mark: npm runs every script of every package through it.
  const shell = join(dir, 'shell.sh');
  const mark = join(dir, 'a-script-ran');
  writeFileSync(shell, `#!/bin/sh\necho "$PWD $*" >> '${mark}'\nexit 1\n`, { mode: 0o755 });
  const there = join(dir, 'there');
  mkdirSync(there);
  writeFileSync(join(there, 'package.json'), '{"name": "there", "version": "1.0.0", "private": true}\n');
  const { status, stderr } = spawnSync(
    'npm',
    ['install', '--no-audit', '--no-fund', '--prefer-offline', '--script-shell', shell, tarballs[0] ?? ''],
    { cwd: there, encoding: 'utf8' },
  );
  expect(status, stderr).toBe(0);
  expect(existsSync(mark) ? readFileSync(mark, 'utf8') : '').toBe('');
  const installed = JSON.parse(readFileSync(join(there, 'package-lock.json'), 'utf8')) as { packages: object };
  expect(Object.keys(installed.packages).length).toBeGreaterThan(50);
}, 300_000);

it('installs from a lock file without scripts, and opens its state then', () => {
  // npm that reads a lock file takes the sources beside the binaries of better-sqlite3 for something to be built.
  const there = join(dir, 'there');
  rmSync(join(there, 'node_modules'), { recursive: true, force: true });
  const ci = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  const { status, stderr } = spawnSync('npm', ci, { cwd: there, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  const program = join(there, 'node_modules/sallyport/bin/sallyport.js');
  const cluster = join(there, 'node_modules/sallyport/examples/fraud-detection/cluster');
  const asked = spawnSync(
    process.execPath,
    [program, 'status', '--json', '--manifests', cluster, '--state', 's.sqlite'],
    {
      cwd: there,
      encoding: 'utf8',
    },
  );
  expect(asked.status, asked.stderr).toBe(0);
  expect(JSON.parse(asked.stdout)).toMatchObject({ kind: 'Status' });
}, 300_000);

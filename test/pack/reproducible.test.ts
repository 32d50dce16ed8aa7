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
  rmSync,
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

/** A copy with other times and modes, packed as `npm pack` does it, build included. */
function pack(name: string, at: Date, mode: number): string {
  const copy = join(dir, name);
  for (const file of SOURCES) {
    const to = join(copy, file);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(join(ROOT, file), to);
    chmodSync(to, mode);
    utimesSync(to, at, at);
  }
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const out = join(dir, `${name.replaceAll('/', '-')}-out`);
  mkdirSync(out);
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--json', '--pack-destination', out], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`npm pack ended with ${status ?? '?'}:\n${stderr}${stdout}`);
  const [made] = JSON.parse(stdout.slice(stdout.indexOf('['))) as readonly { readonly filename: string }[];
  return join(out, made?.filename ?? '');
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-repro-'));
  tarballs.push(pack('a', new Date('2020-01-01T00:00:00Z'), 0o644));
  tarballs.push(pack('another/place with a space', new Date('2026-06-01T12:34:56Z'), 0o664));
}, 600_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it('packs byte for byte the same from two copies at two places with other times and modes', () => {
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

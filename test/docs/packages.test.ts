// What an installation brings: counted, named, under licences that ask for no more than that.
import { spawnSync } from 'node:child_process';
import type { SpawnSyncReturns } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/imports.ts';

interface Entry {
  readonly version: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
}
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const lock = JSON.parse(read('package-lock.json')) as { readonly packages: Readonly<Record<string, Entry>> };
const places = Object.entries(lock.packages).filter(([place]) => place !== '');
const brought = places.filter(([, { dev }]) => dev !== true);

const folder = mkdtempSync(join(tmpdir(), 'sallyport-sbom-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function sbom(args: readonly string[], env: Readonly<Record<string, string>> = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [join(ROOT, 'scripts/sbom.js'), ...args], {
    cwd: folder,
    env: { PATH: process.env['PATH'], ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
}

interface Bom {
  readonly specVersion: string;
  readonly metadata: { readonly timestamp?: string };
  readonly components: readonly { readonly purl: string; readonly name: string; readonly hashes: readonly unknown[] }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

describe('npm run sbom', () => {
  const { stdout } = sbom([]);
  const bom = JSON.parse(stdout) as Bom;

  it('names every package that npm would install, with its checksum and what asks for it', () => {
    const purls = brought.map(
      ([place, { version }]) => `pkg:npm/${place.replace(/^.*node_modules\//, '').replace('@', '%40')}@${version}`,
    );
    expect(bom.components.map(({ purl }) => purl)).toEqual([...new Set(purls)].sort());
    expect(bom.components.filter(({ hashes }) => hashes.length === 0)).toEqual([]);
    const direct = bom.dependencies.find(({ ref }) => ref.startsWith('pkg:npm/sallyport@'))?.dependsOn ?? [];
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: object };
    expect(direct).toHaveLength(Object.keys(dependencies).length);
    const reached = new Set(direct);
    for (const ref of reached)
      for (const on of bom.dependencies.find((one) => one.ref === ref)?.dependsOn ?? []) reached.add(on);
    expect([...reached].sort()).toEqual(bom.components.map(({ purl }) => purl));
  });

  it('is CycloneDX 1.6, byte for byte the same each time, and dated only where the build says', () => {
    expect(bom).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6', version: 1 });
    expect(stdout).not.toMatch(/"(?:timestamp|serialNumber)"/);
    expect(stdout).not.toContain(ROOT);
    expect(sbom([]).stdout).toBe(stdout);
    const dated = JSON.parse(sbom([], { SOURCE_DATE_EPOCH: '1700000000' }).stdout) as Bom;
    expect(dated.metadata.timestamp).toBe('2023-11-14T22:13:20.000Z');
  });

  it.each([
    ['another licence', { license: 'AGPL-3.0-only' }, 'zod@', 'AGPL-3.0-only, which is not among the licences allowed'],
    ['no licence', { license: undefined }, 'zod', 'its version, licence or checksum is not in the lock file'],
  ])('ends with 1 for a package of %s', (_name, change, who, why) => {
    const zod = { ...lock.packages['node_modules/zod'], ...change };
    const file = join(folder, 'lock.json');
    writeFileSync(file, JSON.stringify({ ...lock, packages: { ...lock.packages, 'node_modules/zod': zod } }));
    const { status, stderr } = sbom(['--lock', file, '--licences']);
    expect(status).toBe(1);
    expect(stderr).toContain(who);
    expect(stderr).toContain(why);
  });
});

it('docs/licences.md is what the lock file gives: npm run licences', () => {
  expect(read('docs/licences.md')).toBe(sbom(['--licences']).stdout);
});

it('no package that is brought runs a script on installation', () => {
  expect(brought.filter(([, { hasInstallScript }]) => hasInstallScript === true)).toEqual([]);
});

it('the README counts the packages', () => {
  const [, installed, checkout] =
    /Installing the package brings (\d+) packages, transitive ones included; a\s+checkout has (\d+)/.exec(
      read('README.md'),
    ) ?? [];
  expect(Number(installed)).toBe(brought.length);
  // Of optional ones each platform takes its own few.
  expect(Number(checkout)).toBeGreaterThanOrEqual(places.filter(([, { optional }]) => optional !== true).length);
  expect(Number(checkout)).toBeLessThanOrEqual(places.length);
});

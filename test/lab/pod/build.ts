// Finds or builds the one program that every container of the lab runs. Nothing is built inside the checkout.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

const moduleDir = path.join(import.meta.dirname, 'gomod');
const buildArguments = ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w'];

/**
 * The path of labpod, built if the cache (`$XDG_CACHE_HOME/sallyport-test/<hash of sources and Go version>`) lacks it: seconds. Readable
 * by every user only where the cache is: a stage that runs pods as others copies it. Errors: no `go`, a failed build.
 */
export function buildLabPod(): string {
  const version = spawnSync('go', ['version'], { encoding: 'utf8', cwd: moduleDir });
  if (version.error !== undefined || version.status !== 0)
    throw new Error(`the lab needs Go 1.24 or newer on PATH: ${version.error?.message ?? version.stderr.trim()}`);
  const hash = createHash('sha256').update(version.stdout.trim()).update(buildArguments.join('\0'));
  for (const file of readdirSync(moduleDir)
    .filter((name) => /\.(go|mod|sum)$/.test(name))
    .sort())
    hash.update(`\0${file}\0`).update(readFileSync(path.join(moduleDir, file)));
  const cacheHome = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const outDir = path.join(cacheHome, 'sallyport-test', hash.digest('hex').slice(0, 16));
  const program = path.join(outDir, 'labpod');
  if (existsSync(program)) return program;
  mkdirSync(outDir, { recursive: true });
  // Two that build at once build the same, and the last one's file replaces the other's whole.
  const unfinished = `${program}.${process.pid}`;
  const built = spawnSync('go', [...buildArguments, '-o', unfinished, '.'], {
    cwd: moduleDir,
    encoding: 'utf8',
    env: { ...process.env, CGO_ENABLED: '0' },
  });
  if (built.status !== 0)
    throw new Error(
      `building labpod in ${moduleDir} failed (go build: ${built.status}):\n${built.stderr.slice(-4000)}`,
    );
  renameSync(unfinished, program);
  return program;
}

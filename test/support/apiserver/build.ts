// Finds or builds the two programs of the real API server tier. Nothing is built inside the checkout.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Paths of the two programs, and how they came to be there. */
export interface Binaries {
  readonly apiServer: string;
  readonly etcd: string;
  readonly origin: 'KUBEBUILDER_ASSETS' | 'cache' | 'built';
  readonly buildSec: number;
}

const moduleDir = path.join(import.meta.dirname, 'gomod');
const kubernetesVersion = '1.34.0';
const versionPackage = 'k8s.io/component-base/version';
const [major = '', minor = ''] = kubernetesVersion.split('.');
// Without these the server reports v0.0.0-master, and clients that look at its version would be misled.
const linkerFlags = [
  '-s',
  '-w',
  `-X ${versionPackage}.gitVersion=v${kubernetesVersion}`,
  `-X ${versionPackage}.gitMajor=${major}`,
  `-X ${versionPackage}.gitMinor=${minor}`,
].join(' ');
const buildArguments = ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', linkerFlags];
const programs = ['etcd', 'kube-apiserver'] as const;

/**
 * Returns kube-apiserver and etcd: those in `$KUBEBUILDER_ASSETS` if that is set (then nothing is ever built), else those
 * built from the Go module beside this file, kept under `$XDG_CACHE_HOME/sallyport-test/<hash of sources and Go version>`.
 * A cold build takes five to ten minutes. Errors: a program missing in `$KUBEBUILDER_ASSETS`, no `go`, a failed build.
 */
export async function findOrBuildBinaries(): Promise<Binaries> {
  const assets = process.env['KUBEBUILDER_ASSETS'];
  if (assets !== undefined && assets !== '')
    return { ...binariesOf(assets), origin: 'KUBEBUILDER_ASSETS', buildSec: 0 };

  const goVersion = readGoVersion();
  const cacheHome = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const outDir = path.join(cacheHome, 'sallyport-test', sourceHash(goVersion));
  if (isComplete(outDir)) return { ...binariesOf(outDir), origin: 'cache', buildSec: 0 };

  mkdirSync(outDir, { recursive: true });
  const release = await takeLock(path.join(outDir, 'build.lock'));
  try {
    if (isComplete(outDir)) return { ...binariesOf(outDir), origin: 'cache', buildSec: 0 };
    const startedAt = Date.now();
    process.stderr.write('building kube-apiserver and etcd for the API server tests (once; five to ten minutes) ...\n');
    for (const program of programs) await buildProgram(program, outDir);
    return { ...binariesOf(outDir), origin: 'built', buildSec: (Date.now() - startedAt) / 1000 };
  } finally {
    release();
  }
}

function isComplete(dir: string): boolean {
  return programs.every((program) => existsSync(path.join(dir, program)));
}

function binariesOf(dir: string): { apiServer: string; etcd: string } {
  for (const program of programs) {
    if (!existsSync(path.join(dir, program))) {
      throw new Error(
        `${path.join(dir, program)} does not exist: KUBEBUILDER_ASSETS must name a directory with kube-apiserver and etcd`,
      );
    }
  }
  return { apiServer: path.join(dir, 'kube-apiserver'), etcd: path.join(dir, 'etcd') };
}

function readGoVersion(): string {
  const result = spawnSync('go', ['version'], { encoding: 'utf8', cwd: moduleDir });
  if (result.error !== undefined || result.status !== 0) {
    throw new Error(
      'the API server tests need kube-apiserver and etcd: put `go` (1.24 or newer) on PATH so that they can be built, ' +
        `or set KUBEBUILDER_ASSETS to a directory that holds both (go version: ${result.error?.message ?? result.stderr.trim()})`,
    );
  }
  return result.stdout.trim();
}

function sourceHash(goVersion: string): string {
  const hash = createHash('sha256').update(goVersion).update(buildArguments.join('\0'));
  const files = readdirSync(moduleDir, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(go|mod|sum)$/.test(file),
  );
  for (const file of files.sort()) hash.update(`\0${file}\0`).update(readFileSync(path.join(moduleDir, file)));
  return hash.digest('hex').slice(0, 16);
}

/** Waits until no living process holds the lock, then holds it; the returned function lets go. */
export async function takeLock(file: string): Promise<() => void> {
  for (;;) {
    try {
      const descriptor = openSync(file, 'wx');
      writeSync(descriptor, String(process.pid));
      closeSync(descriptor);
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      if (!isHeld(file)) rmSync(file, { force: true });
      else await delay(500);
    }
  }
}

function isHeld(file: string): boolean {
  let holder: number;
  try {
    holder = Number(readFileSync(file, 'utf8'));
  } catch {
    return true;
  }
  // An empty file belongs to a process between creating and writing it.
  if (holder === 0) return true;
  try {
    process.kill(holder, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function buildProgram(program: string, outDir: string): Promise<void> {
  const target = path.join(outDir, program);
  const unfinished = `${target}.${process.pid}`;
  const child = spawn('go', [...buildArguments, '-o', unfinished, `./${program}`], {
    cwd: moduleDir,
    env: { ...process.env, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  if (status !== 0) {
    rmSync(unfinished, { force: true });
    throw new Error(`building ${program} in ${moduleDir} failed (go build: ${status}):\n${output.slice(-4000)}`);
  }
  renameSync(unfinished, target);
}

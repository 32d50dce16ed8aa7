/**
 * Who can reach whom, on generated clusters of YAML files (20 workloads and 26 policies a namespace). Of the whole process: wall time
 * and peak memory; of its parts, in a process of their own: reading, evaluating, printing. Then one question, cyclonus beside it on the
 * same policies in the same run, and a policy changed.
 *
 *     node test/bench/reach.ts [WORKLOADS ...]        default: 100 1000 5000
 *     node test/bench/reach.ts --query 20000          one question and one changed policy at this size
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readConfig } from '../../src/cli/config.ts';
import { inChunks, renderReachJson } from '../../src/cli/render-reach.ts';
import { buildConnectionInventory } from '../../src/inventory/build.ts';
import { changedConnections, connectivity } from '../../src/model/connectivity.ts';
import { compileWorld } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { asObject } from '../../src/shared/pure/json.ts';
import { readManifestDirectory } from '../../src/sources/manifests/index.ts';
import { buildCyclonus } from '../engines/cyclonus.ts';
import type { Generated } from './generate-cluster.ts';
import { generateCluster } from './generate-cluster.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));
const SELF = fileURLToPath(import.meta.url);
const SIZES = [100, 1000, 5000];
const LARGE = 20_000;
const ROUNDS = 3;
/** Says on its end what it took at most, and of the processor; `/usr/bin/time` is not everywhere. */
const PEAK = `data:text/javascript,${encodeURIComponent(
  "process.on('exit',()=>{const r=process.resourceUsage();process.stderr.write('\\npeak '+r.maxRSS+' cpu '+(r.userCPUTime+r.systemCPUTime)+'\\n')})",
)}`;

interface Run {
  readonly ms: number;
  /** User and system: what a loaded machine leaves alone, more or less. */
  readonly cpuMs: number;
  readonly peakMiB: number;
  readonly bytes: number;
}

/** The program as its users start it, its output into a file. The best of several rounds: what the machine does beside is noise. */
function runWhole(dir: string, args: readonly string[]): Run {
  let best: Run | undefined;
  for (let round = 0; round < ROUNDS; round += 1) {
    const file = join(dir, '..', 'out');
    const out = openSync(file, 'w');
    const started = performance.now();
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--import', PEAK, PROGRAM, 'reach', '--manifests', dir, ...args],
      { stdio: ['ignore', out, 'pipe'], encoding: 'utf8' },
    );
    const ms = performance.now() - started;
    closeSync(out);
    if (status !== 0) throw new Error(stderr);
    const [, peak, cpu] = /peak (\d+) cpu (\d+)/u.exec(stderr) ?? [];
    const [peakMiB, cpuMs] = [Number(peak ?? NaN) / 1024, Number(cpu ?? NaN) / 1000];
    if (best === undefined || ms < best.ms) best = { ms, cpuMs, peakMiB, bytes: statSync(file).size };
  }
  return best ?? { ms: NaN, cpuMs: NaN, peakMiB: NaN, bytes: 0 };
}

async function laps(dir: string, isLarge: boolean): Promise<Readonly<Record<string, number>>> {
  const out: Record<string, number> = {};
  let last = performance.now();
  const lap = (name: string): void => {
    const now = performance.now();
    out[name] = now - last;
    last = now;
  };
  const config = await readConfig(undefined);
  lap('start');
  const snapshot = await readManifestDirectory(dir);
  lap('read');
  const inventory = buildConnectionInventory(snapshot, { config });
  lap('inventory');
  const world = compileWorld(inventory);
  let connections = 0;
  const found = [...connectivity(world)];
  connections = found.length;
  lap('evaluate');
  let characters = 0;
  for (const chunk of inChunks(renderReachJson({ scope: ['NetworkPolicy'], notEvaluated: [], notRead: [] }, found)))
    characters += chunk.length;
  lap('print');
  out['connections'] = connections;
  out['characters'] = characters;
  if (!isLarge) return out;
  const ports = [{ port: 9999 }];
  const narrow: JsonObject = { from: [{ podSelector: { matchLabels: { app: 'app-3' } } }], ports };
  for (const [name, rule] of [
    ['rule', narrow],
    ['wide', {}],
  ] as const) {
    const times: number[] = [];
    for (let round = 0; round < 20; round += 1) {
      const at = (round * 1009) % inventory.policies.length;
      const policies = inventory.policies.map((policy, index): KubeManifest => {
        if (index !== at) return policy;
        const spec = asObject(policy['spec']);
        return { ...policy, spec: { ...spec, policyTypes: ['Ingress', 'Egress'], ingress: [rule] } };
      });
      const started = performance.now();
      let changes = 0;
      for (const { src } of changedConnections(world, compileWorld({ ...inventory, policies })))
        changes += src.length > 0 ? 1 : 0;
      times.push(performance.now() - started);
      out[`${name} changes`] = Math.max(out[`${name} changes`] ?? 0, changes);
    }
    times.sort((a, b) => a - b);
    out[`${name} median`] = times[10] ?? NaN;
    out[`${name} worst`] = times.at(-1) ?? NaN;
  }
  return out;
}

function lapsOf(dir: string, isLarge: boolean): Readonly<Record<string, number>> {
  const { stdout, status, stderr } = spawnSync(process.execPath, [SELF, '--laps', dir, String(isLarge)], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Readonly<Record<string, number>>;
}

function line(...cells: readonly (string | number)[]): void {
  process.stdout.write(`${cells.map((cell) => String(cell).padStart(11)).join('')}\n`);
}

function withCluster(workloads: number, use: (dir: string, made: Generated) => void): void {
  const root = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  try {
    const dir = join(root, 'cluster');
    use(dir, generateCluster(workloads, dir));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const seconds = (ms: number | undefined): string => ((ms ?? NaN) / 1000).toFixed(2);

const [mode, ...rest] = process.argv.slice(2);
if (mode === '--laps') {
  process.stdout.write(JSON.stringify(await laps(rest[0] ?? '.', rest[1] === 'true')));
} else if (mode === '--query') {
  large(Number(rest[0] ?? LARGE));
} else {
  const sizes = [mode, ...rest].flatMap((text) => (text === undefined ? [] : [Number(text)]));
  process.stdout.write('All pairs, JSON, seconds (whole process: best of 3; the parts: one process of their own)\n');
  line(
    'workloads',
    'policies',
    'YAML MB',
    'pairs',
    'whole',
    'of it CPU',
    'peak MiB',
    'read',
    'inventory',
    'evaluate',
    'print',
  );
  for (const size of sizes.length > 0 ? sizes : SIZES) {
    withCluster(size, (dir, made) => {
      const whole = runWhole(dir, ['--json']);
      const parts = lapsOf(dir, false);
      const times = ['read', 'inventory', 'evaluate', 'print'].map((name) => seconds(parts[name]));
      const megabytes = (made.bytes / 1e6).toFixed(1);
      line(
        ...[made.workloads, made.policies, megabytes, parts['connections'] ?? NaN],
        ...[seconds(whole.ms), seconds(whole.cpuMs), Math.round(whole.peakMiB), ...times],
      );
    });
  }
  if (sizes.length === 0) large(LARGE);
  process.stdout.write(`${machine()}\n`);
}

function large(size: number): void {
  withCluster(size, (dir, made) => {
    const asked = ['--from', 'ns-1/Deployment/app-6', '--to', 'ns-1/Deployment/app-5', '--port', '8080', '--json'];
    const one = runWhole(dir, asked);
    process.stdout.write(
      `One question at ${made.workloads} workloads and ${made.policies} policies: ${seconds(one.ms)} s (${seconds(one.cpuMs)} s CPU), ${Math.round(one.peakMiB)} MiB\n`,
    );
    besideCyclonus(dir, one);
    const parts = lapsOf(dir, true);
    process.stdout.write(
      `  all pairs there: read ${seconds(parts['read'])} s, inventory ${seconds(parts['inventory'])} s, evaluate ${seconds(parts['evaluate'])} s, print ${seconds(parts['print'])} s, ${parts['connections'] ?? NaN} pairs\n` +
        (['rule', 'wide'] as const)
          .map(
            (name) =>
              `  one policy changed (${name === 'rule' ? 'its ingress is one rule' : 'its ingress is open to all'}), in process: median ${(parts[`${name} median`] ?? NaN).toFixed(1)} ms, worst of 20 ${(parts[`${name} worst`] ?? NaN).toFixed(1)} ms, up to ${parts[`${name} changes`] ?? NaN} pairs differ\n`,
          )
          .join(''),
    );
  });
}

/**
 * The same question to cyclonus' own reader, simplifier and matcher, in turns with nothing between, on the same policies: its reader takes
 * no file of several objects, so that it gets them as one list a file. It reads the policies alone, and is told who the pods are.
 */
function besideCyclonus(dir: string, ours: Run): void {
  if (spawnSync('go', ['version']).status !== 0) {
    process.stdout.write('  cyclonus beside it: not run, Go is not on the PATH\n');
    return;
  }
  const program = buildCyclonus();
  const lists = join(dir, '..', 'lists');
  mkdirSync(lists);
  for (const file of readdirSync(dir))
    writeFileSync(join(lists, file), policyListOf(readFileSync(join(dir, file), 'utf8')));
  const question = join(dir, '..', 'question.json');
  const pod = (app: string, ip: string): object => ({
    Internal: {
      Namespace: 'ns-1',
      NamespaceLabels: { team: 'team-1', purpose: 'work', 'kubernetes.io/metadata.name': 'ns-1' },
      PodLabels: { app, tier: 'middle', team: 'team-1' },
    },
    IP: ip,
  });
  const traffic = { ResolvedPort: 8080, ResolvedPortName: 'http', Protocol: 'TCP' };
  const ends = { Source: pod('app-6', '10.0.0.6'), Destination: pod('app-5', '10.0.0.5') };
  writeFileSync(question, JSON.stringify({ ...ends, ...traffic }));
  let best = { ms: Infinity, cpuMs: NaN };
  for (let round = 0; round < ROUNDS; round += 1) {
    const started = performance.now();
    const { status, stdout, stderr } = spawnSync(program, ['query', lists, question], { encoding: 'utf8' });
    const ms = performance.now() - started;
    const cpu = Number(/cpu (\d+)/u.exec(stderr)?.[1] ?? NaN) / 1000;
    if (status !== 0) throw new Error(stderr);
    if (stdout.trim() === '') throw new Error('cyclonus said nothing');
    if (ms < best.ms) best = { ms, cpuMs: cpu };
  }
  process.stdout.write(
    `  cyclonus beside it: ${seconds(best.ms)} s (${seconds(best.cpuMs)} s CPU): ours takes ${(ours.ms / best.ms).toFixed(2)} of its time, ${(ours.cpuMs / best.cpuMs).toFixed(2)} of its CPU\n`,
  );
}

/** The policies of a file as one NetworkPolicyList, indented as they are. */
function policyListOf(text: string): string {
  const items = text
    .split('---\n')
    .filter((document) => document.includes('\nkind: NetworkPolicy\n'))
    .map((document) => `- ${document.trimEnd().replaceAll('\n', '\n  ')}\n`);
  return `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n${items.join('')}`;
}

function machine(): string {
  const model = /model name\s*: (.*)/u.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown processor';
  return `${process.version}, ${model}`;
}

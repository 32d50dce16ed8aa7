// cyclonus (its packages, from its own module) as a program of our own beside the tests: built once into the cache, never into the
// checkout. What it generates is kept there too; nothing of it stands in this repository.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { Protocol } from '../../src/model/edge.ts';
import type { Inventory, IpBlockTarget } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { inventoryOf } from '../support/world.ts';

const MODULE = path.join(import.meta.dirname, 'gomod');
const BUILD = ['build', '-mod=readonly', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w'];
const HINT = 'put Go 1.24 or newer on the PATH: the other engines are built from their modules';

/** Path of the program. It is built where its sources or the version of Go have changed: two to three minutes from nothing. */
export function buildCyclonus(): string {
  const version = spawnSync('go', ['version'], { encoding: 'utf8', cwd: MODULE });
  if (version.error !== undefined || version.status !== 0)
    throw new Error(`${HINT} (go version: ${version.error?.message ?? version.stderr.trim()})`);
  const hash = createHash('sha256').update(version.stdout.trim()).update(BUILD.join('\0'));
  const sources = readdirSync(MODULE, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(?:go|mod|sum)$/u.test(file),
  );
  for (const file of sources.sort()) hash.update(`\0${file}\0`).update(readFileSync(path.join(MODULE, file)));
  const cacheHome = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const dir = path.join(cacheHome, 'sallyport-test', `engines-${hash.digest('hex').slice(0, 16)}`);
  const program = path.join(dir, 'cyclonus');
  if (existsSync(program)) return program;
  mkdirSync(dir, { recursive: true });
  process.stderr.write('building cyclonus for the tests beside it (once; two to three minutes) ...\n');
  // Whoever else builds at the same time makes the same file: the rename decides nothing.
  const unfinished = `${program}.${process.pid}`;
  const built = spawnSync('go', [...BUILD, '-o', unfinished, './cyclonus'], {
    cwd: MODULE,
    env: { ...process.env, CGO_ENABLED: '0' },
    encoding: 'utf8',
  });
  if (built.status !== 0) {
    rmSync(unfinished, { force: true });
    throw new Error(`building cyclonus in ${MODULE} failed (go build: ${built.status}):\n${built.stderr.slice(-4000)}`);
  }
  renameSync(unfinished, program);
  return program;
}

const PortShape = z.object({
  name: z.string().optional(),
  port: z.number(),
  protocol: z.enum(['TCP', 'UDP', 'SCTP']),
});
const PodShape = z.object({
  namespace: z.string(),
  name: z.string(),
  labels: z.record(z.string(), z.string()).nullable(),
  ip: z.string(),
  ports: z.array(PortShape),
});
const StepShape = z.object({
  case: z.string(),
  step: z.number(),
  namespaces: z.record(z.string(), z.record(z.string(), z.string()).nullable()),
  pods: z.array(PodShape),
  policies: z.array(z.custom<KubeManifest>()).nullable(),
  rows: z.array(z.string()),
});
const AnswersShape = z.object({ answers: z.array(z.string()).optional(), error: z.string().optional() });

export interface OtherPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>> | null;
  readonly ip: string;
  readonly ports: readonly { readonly name?: string | undefined; readonly port: number; readonly protocol: Protocol }[];
}

export interface OtherCluster {
  readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>> | null>>;
  readonly pods: readonly OtherPod[];
  readonly policies: readonly KubeManifest[];
}

export interface Step extends OtherCluster {
  readonly case: string;
  readonly step: number;
  /** `0 1 TCP 80 allowed blocked blocked`: from and to as places in `pods`, then ingress, egress and both. */
  readonly rows: readonly string[];
}

/** Its generated test cases, each step with the table that it expects. Made once, kept beside the program. */
export function readCases(program: string): readonly Step[] {
  const file = path.join(path.dirname(program), 'cases.jsonl');
  if (!existsSync(file)) {
    const made = spawnSync(program, ['cases'], { encoding: 'utf8', maxBuffer: 1 << 28 });
    if (made.status !== 0) throw new Error(`cyclonus cases: ${made.stderr}`);
    const unfinished = `${file}.${process.pid}`;
    writeFileSync(unfinished, made.stdout);
    renameSync(unfinished, file);
  }
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const step = StepShape.parse(JSON.parse(line));
    return { ...step, policies: (step.policies ?? []).map(withType) };
  });
}

// Its objects are Go values, which carry neither kind nor version.
function withType(policy: KubeManifest): KubeManifest {
  return { ...policy, apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' };
}

export interface Question {
  /** Places in `pods`; -1 for the address outside. */
  readonly from: number;
  readonly to: number;
  readonly ip?: string;
  readonly port: number;
  readonly protocol: Protocol;
}

export interface OtherAnswer {
  readonly ingress: boolean;
  readonly egress: boolean;
}

export interface Cyclonus {
  /** What it says to questions about a cluster; its refusal where it does not take the policies. */
  ask(
    cluster: OtherCluster & { readonly questions: readonly Question[] },
  ): Promise<readonly OtherAnswer[] | { readonly error: string }>;
  close(): Promise<void>;
}

/** Starts the program, which answers line by line. */
export function startCyclonus(program: string): Cyclonus {
  const child = spawn(program, ['judge'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject).once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`cyclonus judge ended with ${code}`));
    });
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(cluster) {
      child.stdin.write(`${JSON.stringify(cluster)}\n`);
      const next = await lines.next();
      if (next.done === true) throw new Error('cyclonus judge gives no more answers');
      const { answers, error } = AnswersShape.parse(JSON.parse(next.value));
      if (error !== undefined) return { error };
      return (answers ?? []).map((text) => {
        const [ingress, egress] = text.split(' ');
        return { ingress: ingress === 'true', egress: egress === 'true' };
      });
    },
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}

export function idOf({ namespace, name }: OtherPod): string {
  return `${namespace}/Pod/${name}`;
}

/** The same cluster as ours: each pod a workload of its own. */
export function inventoryOfOther(cluster: OtherCluster, ipBlockMatches: readonly IpBlockTarget[]): Inventory {
  return inventoryOf({
    namespaces: Object.fromEntries(Object.entries(cluster.namespaces).map(([name, labels]) => [name, labels ?? {}])),
    workloads: Object.fromEntries(
      cluster.pods.map((pod) => [
        idOf(pod),
        {
          labels: pod.labels ?? {},
          ports: pod.ports.map(
            ({ name, port, protocol }) => `${name === undefined ? '' : `${name}=`}${port}/${protocol}`,
          ),
          pods: [pod.ip],
        },
      ]),
    ),
    policies: cluster.policies,
    cni: { ipBlockMatches },
  });
}

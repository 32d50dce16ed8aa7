// A small cluster of two teams' namespaces with its traffic, and the program as a process of its own on it.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import { CACHE_HOME } from '../support/sallyport.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));

const deployment = (namespace: string, name: string, port: number): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${name}}}
spec:
  replicas: 1
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec:
      serviceAccountName: ${name}
      containers:
        - {name: main, image: "example.com/${name}:1", ports: [{containerPort: ${port}}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: ${name}, namespace: ${namespace}}
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {selector: {app: ${name}}, ports: [{name: tcp, port: ${port}, targetPort: ${port}}]}
`;

const namespaces = ['shop', 'desk', 'kube-system']
  .map(
    (name) =>
      `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: {kubernetes.io/metadata.name: ${name}}}\n`,
  )
  .join('---\n');

export const CLUSTER: Readonly<Record<string, string>> = {
  'cluster/00-namespaces.yaml': namespaces,
  'cluster/shop.yaml': `${deployment('shop', 'web', 8080)}---\n${deployment('shop', 'db', 5432)}`,
  'cluster/desk.yaml': deployment('desk', 'toolbox', 22),
};

const edge = (src: string, dst: string, port: number, day: number): string => {
  const at = `2026-10-${String(day).padStart(2, '0')}T10:00:0`;
  return JSON.stringify({
    first: `${at}0Z`,
    last: `${at}9Z`,
    src: { workload: src },
    dst: { workload: dst },
    protocol: 'TCP',
    port,
    count: 3,
    verdict: 'allowed',
  });
};

/** Web calls its database every day; the toolbox of the desk was there once. */
export const EDGES = [
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((day) => edge('shop/Deployment/web', 'shop/Deployment/db', 5432, day)),
  edge('desk/Deployment/toolbox', 'shop/Deployment/db', 5432, 4),
].join('\n');

/** A sample this small proves no coverage, and what declares no DNS has none: those gates are off, review and the rest stay on. */
export const CONFIG = `gates: {window: off, coverage: off}
cluster:
  cni: {name: cilium, ipBlockMatches: []}
  mesh: {kind: istio, mode: sidecar, version: "1.29", rootNamespace: istio-system, trustDomain: cluster.local}
  apiServer: [10.0.0.1/32]
`;

export const KUBECONFIG = `apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: s3cr3t}}]
contexts: [{name: one, context: {cluster: c, user: u}}]
`;

const made: string[] = [];
afterAll(async () => {
  for (const folder of made.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** A folder that stays until the file's tests are over. */
export async function makeHome(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'sallyport-cli-'));
  made.push(home);
  for (const [file, content] of Object.entries(files)) {
    await mkdir(dirname(join(home, file)), { recursive: true });
    await writeFile(join(home, file), content);
  }
  return home;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Start {
  readonly home: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input stays open without a byte. */
  readonly waiting?: boolean;
  /** Called whenever standard error gained text, with all of it. */
  readonly onStderr?: (all: string, child: ChildProcess) => void;
  readonly onStart?: (child: ChildProcess) => void;
}

/** The program without a terminal, with a state home of its own. */
export function sallyport(args: readonly string[], start: Start): Promise<Ended> {
  const env = {
    PATH: process.env['PATH'],
    HOME: start.home,
    XDG_STATE_HOME: join(start.home, 'xdg'),
    XDG_CACHE_HOME: CACHE_HOME,
    SALLYPORT_USER: 'tester',
    ...start.env,
  };
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env,
    cwd: start.home,
    stdio: [start.waiting === true ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    start.onStderr?.(stderr, child);
  });
  start.onStart?.(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The one document of a --json run; anything else on standard output fails. */
export function documentOf({ stdout }: Ended): Readonly<Record<string, unknown>> & { readonly kind: string } {
  return JSON.parse(stdout) as Readonly<Record<string, unknown>> & { readonly kind: string };
}

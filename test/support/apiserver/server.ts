// A real kube-apiserver with its own etcd, on loopback, for the tests of one run.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { findOrBuildBinaries } from './build.ts';
import type { Binaries } from './build.ts';
import { connect } from './client.ts';
import type { ApiClient } from './client.ts';

/** A static-token user; `groups` decide with RBAC what the user may do. */
export interface ApiUser {
  readonly token: string;
  readonly name: string;
  readonly uid: string;
  readonly groups: readonly string[];
}

/** The group that the harness' own requests carry besides `system:masters`; webhooks may exempt it. */
export const harnessGroup = 'sallyport.test:controllers';
export const adminName = 'admin';
/** The user that plays the controllers: an administrator whom the seeded injection webhook exempts. */
export const controllersName = 'controllers';

export interface ApiServer extends ApiClient {
  readonly binaries: Binaries;
  readonly caFile: string;
  readonly caPem: string;
  /** Every user that may log in, the administrator and the controllers' user included. */
  readonly users: readonly ApiUser[];
  readonly pids: { readonly apiServer: number | undefined; readonly etcd: number | undefined };
  /** A client that is logged in as the named user. */
  login(userName: string): ApiClient;
  /** Writes (mode 0600) and returns a kubeconfig of the named user, whose context has the user's name. */
  kubeconfigFile(userName: string): string;
  /** The last lines that the API server logged. */
  logTail(): string;
  /** Ends the API server at once, as a crash would; its data stay. */
  kill(): Promise<void>;
  /** Ends the API server if it runs, starts it anew on the same address and data, and waits until it is ready. */
  restart(): Promise<void>;
  /** Ends both processes and removes every file. */
  stop(): Promise<void>;
}

const startupSec = 120;
const startAttempts = 3;

/**
 * Starts etcd and kube-apiserver on free loopback ports and waits until /readyz answers 200 (two minutes at most). RBAC is
 * on; users are added to the administrator (`system:masters`) and the controllers' user. Files live in a fresh
 * directory under the system's temporary directory. Errors: no binaries, or no readiness, with the end of the logs.
 */
export async function startApiServer(options: { readonly users?: readonly ApiUser[] } = {}): Promise<ApiServer> {
  const binaries = await findOrBuildBinaries();
  for (let attempt = 1; ; attempt += 1) {
    const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-apiserver-'));
    const remains: Remains = { children: new Set(), dir };
    guard(remains);
    try {
      return await startIn(dir, remains, binaries, options.users ?? []);
    } catch (error) {
      cleanUp(remains);
      // Ports are found free and then bound by others: somebody may be faster.
      const portTaken = error instanceof Error && error.message.includes('address already in use');
      if (!portTaken || attempt === startAttempts) throw error;
    }
  }
}

async function startIn(
  dir: string,
  remains: Remains,
  binaries: Binaries,
  extraUsers: readonly ApiUser[],
): Promise<ApiServer> {
  const [etcdPort, peerPort, port] = await findFreePorts();
  const url = `https://127.0.0.1:${port}`;
  const users = [
    { token: randomToken(), name: adminName, uid: adminName, groups: ['system:masters'] },
    { token: randomToken(), name: controllersName, uid: controllersName, groups: ['system:masters', harnessGroup] },
    ...extraUsers,
  ];
  const file = (name: string): string => path.join(dir, name);
  writeFileSync(file('tokens.csv'), users.map(renderTokenLine).join(''), { mode: 0o600 });
  writeSigningKey(file('sa.key'));

  const startEtcd = (): Child =>
    startChild(remains, binaries.etcd, file('etcd.log'), [
      `--data-dir=${file('etcd')}`,
      `--listen-client-urls=http://127.0.0.1:${etcdPort}`,
      `--advertise-client-urls=http://127.0.0.1:${etcdPort}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
      '--log-level=warn',
      // The data are thrown away with the test run.
      '--unsafe-no-fsync',
    ]);
  const startServer = (): Child =>
    startChild(remains, binaries.apiServer, file('kube-apiserver.log'), [
      `--etcd-servers=http://127.0.0.1:${etcdPort}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      // Only written to the `kubernetes` Endpoints; loopback addresses are not allowed there.
      `--advertise-address=${advertiseAddress}`,
      `--cert-dir=${file('certs')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--anonymous-auth=false',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${file('sa.key')}`,
      `--service-account-signing-key-file=${file('sa.key')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      '--allow-privileged=true',
      // Without its controller this admission plugin would refuse every pod.
      '--disable-admission-plugins=ServiceAccount',
    ]);

  const etcd = startEtcd();
  let server = startServer();
  const caFile = file('certs/apiserver.crt');
  await waitUntil(`${caFile} exists`, [etcd, server], () => {
    try {
      return readFileSync(caFile, 'utf8').includes('END CERTIFICATE');
    } catch {
      return false;
    }
  });
  const caPem = readFileSync(caFile, 'utf8');
  const client = connect({ url, caPem, token: users[0]?.token ?? '' });
  const waitReady = (): Promise<void> =>
    waitUntil(`${url}/readyz answers 200`, [etcd, server], async () => {
      try {
        return (await client.request('GET', '/readyz')).status === 200;
      } catch {
        return false;
      }
    });
  await waitReady();

  const userNamed = (name: string): ApiUser => {
    const user = users.find((candidate) => candidate.name === name);
    if (user === undefined)
      throw new Error(`no user ${name} on the test API server: ${users.map((u) => u.name).join(', ')}`);
    return user;
  };
  const kill = async (): Promise<void> => {
    await endChild(server);
  };
  return {
    ...client,
    binaries,
    caFile,
    caPem,
    users,
    get pids() {
      return { apiServer: pidOf(server), etcd: pidOf(etcd) };
    },
    login: (name) => client.as(userNamed(name).token),
    kubeconfigFile: (name) => {
      const kubeconfig = file(`kubeconfig-${encodeURIComponent(name)}`);
      writeFileSync(kubeconfig, renderKubeconfig(url, caPem, userNamed(name)), { mode: 0o600 });
      return kubeconfig;
    },
    logTail: () => server.tail(),
    kill,
    restart: async () => {
      await kill();
      server = startServer();
      await waitReady();
    },
    stop: async () => {
      client.close();
      await Promise.all([endChild(server), endChild(etcd)]);
      cleanUp(remains);
    },
  };
}

/** The address of the API server as the cluster's own objects name it; nothing listens there. */
export const advertiseAddress = '192.168.100.10';

function randomToken(): string {
  return randomBytes(24).toString('hex');
}

function renderTokenLine(user: ApiUser): string {
  return `${[user.token, user.name, user.uid, user.groups.join(',')].map((field) => `"${field.replaceAll('"', '""')}"`).join(',')}\n`;
}

function writeSigningKey(file: string): void {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  writeFileSync(file, privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
}

/** JSON is YAML: every client reads this kubeconfig. */
function renderKubeconfig(url: string, caPem: string, user: ApiUser): string {
  const name = 'sallyport-test';
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: url, 'certificate-authority-data': Buffer.from(caPem).toString('base64') } }],
    users: [{ name: user.name, user: { token: user.token } }],
    contexts: [{ name: user.name, context: { cluster: name, user: user.name } }],
    'current-context': user.name,
  });
}

async function findFreePorts(): Promise<readonly [number, number, number]> {
  const listeners = [createServer(), createServer(), createServer()];
  const ports: number[] = [];
  for (const listener of listeners) {
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    const address = listener.address();
    if (typeof address === 'object' && address !== null) ports.push(address.port);
  }
  for (const listener of listeners) await new Promise((resolve) => listener.close(resolve));
  const [first = 0, second = 0, third = 0] = ports;
  return [first, second, third];
}

interface Child {
  readonly process: ChildProcess;
  readonly ended: Promise<void>;
  tail(): string;
}

function startChild(remains: Remains, program: string, logFile: string, args: readonly string[]): Child {
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(program, args, {
    // The pipe ends programs built here when this process is gone, however it went.
    stdio: ['pipe', log, log],
    env: { ...process.env, EXIT_WITH_STDIN: '1' },
  });
  closeSync(log);
  remains.children.add(child);
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      remains.children.delete(child);
      resolve();
    };
    child.once('exit', end).once('error', end);
  });
  child.stdin?.on('error', () => undefined);
  const tail = (): string => {
    try {
      return readFileSync(logFile, 'utf8').split('\n').slice(-40).join('\n');
    } catch (error) {
      return String(error);
    }
  };
  return { process: child, ended, tail };
}

function hasEnded(child: Child): boolean {
  return child.process.pid === undefined || child.process.exitCode !== null || child.process.signalCode !== null;
}

function pidOf(child: Child): number | undefined {
  return hasEnded(child) ? undefined : child.process.pid;
}

async function endChild(child: Child): Promise<void> {
  if (!hasEnded(child)) child.process.kill('SIGKILL');
  await child.ended;
}

async function waitUntil(
  what: string,
  children: readonly Child[],
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + startupSec * 1000;
  for (;;) {
    if (await holds()) return;
    const dead = children.some(hasEnded);
    if (dead || Date.now() > deadline) {
      const logs = children.map((child) => `--- ${child.process.spawnfile}\n${child.tail()}`).join('\n');
      throw new Error(
        `the test API server did not start: ${dead ? 'a process ended' : `not within ${startupSec} s`} before ${what}\n${logs}`,
      );
    }
    await delay(50);
  }
}

/** What must not outlive this process. */
interface Remains {
  readonly children: Set<ChildProcess>;
  readonly dir: string;
}

const guarded = new Set<Remains>();

function guard(remains: Remains): void {
  if (guarded.size === 0) {
    process.on('exit', cleanUpAll);
    for (const signal of endingSignals) process.on(signal, endBySignal);
  }
  guarded.add(remains);
}

const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function endBySignal(signal: NodeJS.Signals): void {
  cleanUpAll();
  // Without another listener the signal must still do what it does by default.
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}

function cleanUpAll(): void {
  for (const remains of [...guarded]) cleanUp(remains);
}

function cleanUp(remains: Remains): void {
  for (const child of remains.children) child.kill('SIGKILL');
  rmSync(remains.dir, { recursive: true, force: true, maxRetries: 5 });
  guarded.delete(remains);
  if (guarded.size > 0) return;
  process.off('exit', cleanUpAll);
  for (const signal of endingSignals) process.off(signal, endBySignal);
}

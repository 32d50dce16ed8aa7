// A cluster of plain processes on this machine: real control plane, real packets, real mesh. See test/lab/README.md.
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../support/apiserver/client.ts';
import type { ApiClient } from '../../support/apiserver/client.ts';
import { applyManifests, readManifests } from './apply.ts';
import { buildLab } from './build.ts';
import type { LabPrograms } from './build.ts';
import { makeStageFolder, removeLeftovers } from './leftovers.ts';
import { nameService } from './platform.ts';
import { launcher, runToEnd, tailOf } from './processes.ts';
import type { Launcher, Process } from './processes.ts';
import { isRolledOut, lackOf } from './rollout.ts';
import type { PodName, Stage, StageOptions } from './types.ts';

export type { ExecResult, PodName, Stage, StageOptions } from './types.ts';

const nodeIp = '10.244.0.1';
const innerUrl = `https://${nodeIp}:6443`;
const meshNamespace = 'istio-system';

/**
 * Builds what is lacking and starts a stage: less than a minute once built. Needs root. Errors: not Linux or not root, a failed build, a
 * part that does not start (with the end of its log); nothing is left behind then.
 */
export async function startStage(options: StageOptions = {}): Promise<Stage> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    throw new Error('the lab makes network namespaces: run it as root on Linux');
  const progress = options.progress ?? ((line) => process.stderr.write(`lab: ${line}\n`));
  // Where ip, iptables-restore and conntrack are, which not every shell of root's looks into.
  const paths = (process.env['PATH'] ?? '').split(':');
  process.env['PATH'] = [...paths, ...['/usr/sbin', '/sbin'].filter((one) => !paths.includes(one))].join(':');
  removeLeftovers();
  const programs = await buildLab(progress);
  const startedAt = Date.now();
  const dir = makeStageFolder();
  for (const name of ['logs', 'lab', 'access', 'pods', 'pki', 'state']) mkdirSync(path.join(dir, name));
  const launch = launcher(path.join(dir, 'logs'));
  const removeFiles = (): void => rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  const onExit = (): void => {
    for (const one of launch.running) one.child.kill('SIGKILL');
    removeFiles();
  };
  process.once('exit', onExit);
  try {
    const parts = await startParts(dir, launch, programs, options.podProgram ?? programs.labPod);
    const stage = stageOf(dir, launch, parts, programs, startedAt, async (keep) => {
      parts.client.close();
      await Promise.all([...launch.running].map((one) => one.kill()));
      await goneFrom(parts.agentChildren);
      process.off('exit', onExit);
      if (!keep) removeFiles();
    });
    progress(`control plane up after ${sinceSec(startedAt)} s`);
    await stage.apply(nameService);
    if (options.mesh ?? true) {
      const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: meshNamespace } };
      await stage.apply([namespace, ...readManifests(programs.istioManifests)]);
    }
    await stage.settle(120);
    progress(`platform up after ${sinceSec(startedAt)} s`);
    if (options.manifests !== undefined) {
      await stage.apply(options.manifests);
      await stage.settle(180);
      progress(`scenario up after ${sinceSec(startedAt)} s`);
    }
    return { ...stage, startSec: (Date.now() - startedAt) / 1000 };
  } catch (error) {
    const logs = [...launch.running].map((one) => `--- ${one.name}\n${tailOf(one.logFile, 8)}`).join('\n');
    await Promise.all([...launch.running].map((one) => one.kill()));
    process.off('exit', onExit);
    removeFiles();
    throw new Error(`the stage did not come up: ${error instanceof Error ? error.message : String(error)}\n${logs}`, {
      cause: error,
    });
  }
}

function sinceSec(startedAt: number): string {
  return ((Date.now() - startedAt) / 1000).toFixed(1);
}

interface Parts {
  readonly netns: string;
  readonly client: ApiClient;
  readonly kubeconfig: string;
  /** Of the machine's PIDs: the first process of the node's PID namespace. */
  readonly agentChildren: readonly number[];
  readonly verdict: Process;
  restartApiServer(downSec: number): Promise<void>;
}

async function startParts(dir: string, launch: Launcher, programs: LabPrograms, labPod: string): Promise<Parts> {
  const file = (...names: string[]): string => path.join(dir, ...names);
  const { labNode } = programs;
  const holder = launch.start('netns', ['unshare', '--net', labNode, 'pause', '--router']);
  await launch.firstLine(holder);
  const netns = `/proc/${holder.pid}/ns/net`;
  const pki = await runToEnd([labNode, 'pki', file('pki')]);
  if (pki.status !== 0) throw new Error(`making certificates: ${pki.stderr}`);
  const token = randomBytes(24).toString('hex');
  writeFileSync(file('tokens.csv'), `"${token}","admin","admin","system:masters"\n`, { mode: 0o600 });

  launch.start('etcd', etcdArguments(programs, file('etcd')), { netns });
  const startApiServer = (): Process => launch.start('kube-apiserver', apiServerArguments(programs, dir), { netns });
  let apiServer = startApiServer();
  const forward = launch.start('forward', [labNode, 'forward', '--netns', netns, '--dial', `${nodeIp}:6443`]);
  const url = `https://127.0.0.1:${await launch.firstLine(forward)}`;
  const caPem = readFileSync(file('pki', 'ca.crt'), 'utf8');
  writeFileSync(file('kubeconfig'), renderKubeconfig(url, caPem, token), { mode: 0o600 });
  writeFileSync(file('kubeconfig-inside'), renderKubeconfig(innerUrl, caPem, token), { mode: 0o600 });
  const client = connect({ url, caPem, token });
  const waitReady = async (): Promise<void> => {
    const deadline = Date.now() + 90_000;
    for (;;) {
      const answer = await client.request('GET', '/readyz').catch(() => undefined);
      if (answer?.status === 200) return;
      if (apiServer.hasEnded() || Date.now() > deadline)
        throw new Error(`the API server is not ready:\n${tailOf(apiServer.logFile)}`);
      await delay(50);
    }
  };
  await waitReady();

  launch.start('kube-controller-manager', controllerArguments(programs, dir), { netns });
  const settings = nodeSettings(dir, programs, labPod);
  writeFileSync(file('node.json'), JSON.stringify(settings), { mode: 0o600 });
  const isolated = ['unshare', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'];
  const agent = launch.start('node', [...isolated, labNode, 'init', 'agent', '--settings', file('node.json')], {
    netns,
  });
  const verdict = launch.start(
    'verdict',
    [labNode, 'verdict', '--kubeconfig', file('kubeconfig-inside'), '--log', file('verdicts.jsonl')],
    { netns },
  );
  const tracker = ['conntrack', '-E', '-f', 'ipv4', '-b', '16777216', '-o', 'timestamp,extended'];
  launch.start('conntrack', ['sh', '-c', `exec "$@" >${file('conntrack.log')}`, 'sh', ...tracker], { netns });
  await Promise.all([launch.firstLine(agent), launch.firstLine(verdict)]);
  return {
    netns,
    client,
    kubeconfig: file('kubeconfig'),
    agentChildren: childrenOf(agent.pid),
    verdict,
    restartApiServer: async (downSec) => {
      await apiServer.kill();
      await delay(downSec * 1000);
      apiServer = startApiServer();
      await waitReady();
    },
  };
}

function etcdArguments({ etcd }: LabPrograms, data: string): readonly string[] {
  return [
    etcd,
    `--data-dir=${data}`,
    '--listen-client-urls=http://127.0.0.1:2379',
    '--advertise-client-urls=http://127.0.0.1:2379',
    '--listen-peer-urls=http://127.0.0.1:2380',
    '--initial-advertise-peer-urls=http://127.0.0.1:2380',
    '--initial-cluster=default=http://127.0.0.1:2380',
    '--log-level=warn',
    // The data are thrown away with the stage.
    '--unsafe-no-fsync',
  ];
}

function apiServerArguments({ apiServer }: LabPrograms, dir: string): readonly string[] {
  const pki = (name: string): string => path.join(dir, 'pki', name);
  return [
    apiServer,
    '--etcd-servers=http://127.0.0.1:2379',
    '--bind-address=0.0.0.0',
    '--secure-port=6443',
    `--advertise-address=${nodeIp}`,
    `--tls-cert-file=${pki('apiserver.crt')}`,
    `--tls-private-key-file=${pki('apiserver.key')}`,
    `--client-ca-file=${pki('ca.crt')}`,
    `--token-auth-file=${path.join(dir, 'tokens.csv')}`,
    '--authorization-mode=RBAC',
    '--anonymous-auth=false',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${pki('sa.key')}`,
    `--service-account-signing-key-file=${pki('sa.key')}`,
    '--api-audiences=https://kubernetes.default.svc,istio-ca',
    '--service-cluster-ip-range=10.96.0.0/16',
    '--allow-privileged=true',
    '--enable-priority-and-fairness=false',
    // A controller that the lab leaves out would take the taint away again.
    '--disable-admission-plugins=TaintNodesByCondition',
  ];
}

function controllerArguments({ controllerManager }: LabPrograms, dir: string): readonly string[] {
  const pki = (name: string): string => path.join(dir, 'pki', name);
  // Nobody renews the node's lease, nothing measures pods, and no cloud stands behind.
  const without = ['node-lifecycle-controller', 'node-ipam-controller', 'horizontal-pod-autoscaler-controller'];
  return [
    controllerManager,
    `--kubeconfig=${path.join(dir, 'kubeconfig-inside')}`,
    '--leader-elect=false',
    `--controllers=*,${without.map((name) => `-${name}`).join(',')}`,
    `--root-ca-file=${pki('ca.crt')}`,
    `--service-account-private-key-file=${pki('sa.key')}`,
    '--use-service-account-credentials=false',
    '--kube-api-qps=300',
    '--kube-api-burst=600',
    '--concurrent-deployment-syncs=10',
    '--concurrent-replicaset-syncs=10',
    '--concurrent-service-endpoint-syncs=10',
    '--authorization-always-allow-paths=/healthz',
    '--secure-port=0',
  ];
}

function nodeSettings(dir: string, programs: LabPrograms, labPod: string): unknown {
  const proxy = {
    program: '/usr/local/bin/pilot-agent',
    user: 1337,
    files: { '/var/lib/istio/envoy/envoy_bootstrap_tmpl.json': programs.envoyBootstrap },
    folders: ['/etc/istio/proxy', '/var/lib/istio/data'],
  };
  return {
    kubeconfig: path.join(dir, 'kubeconfig-inside'),
    dir,
    programs: {
      labpod: labPod,
      'pilot-agent': programs.pilotAgent,
      'pilot-discovery': programs.pilotDiscovery,
      envoy: programs.envoy,
    },
    images: [
      { match: 'lab/pod', program: '/usr/local/bin/labpod' },
      { match: '/proxyv2', ...proxy },
      { match: '/pilot', program: '/usr/local/bin/pilot-discovery', user: 1337 },
      { match: 'lab/envoy', program: '/usr/local/bin/envoy' },
    ],
  };
}

function renderKubeconfig(url: string, caPem: string, token: string): string {
  const name = 'sallyport-lab';
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: url, 'certificate-authority-data': Buffer.from(caPem).toString('base64') } }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name, context: { cluster: name, user: 'admin' } }],
    'current-context': name,
  });
}

function childrenOf(pid: number): readonly number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
}

/** Waits until processes that were killed together with their namespace are gone. */
async function goneFrom(pids: readonly number[]): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    const left = pids.filter((pid) => {
      try {
        return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z');
      } catch {
        return false;
      }
    });
    if (left.length === 0) return;
    await delay(20);
  }
  throw new Error(`processes of the stage are still there: ${pids.join(' ')}`);
}

interface PodReport {
  readonly namespace: string;
  readonly name: string;
  readonly ip: string;
  readonly holder: number;
  readonly root: string;
  /** What the node adds to the number of a user other than root. */
  readonly users: number;
}

function stageOf(
  dir: string,
  launch: Launcher,
  parts: Parts,
  programs: LabPrograms,
  startedAt: number,
  takeDown: (keep: boolean) => Promise<void>,
): Stage {
  const { client, netns } = parts;
  const file = (...names: string[]): string => path.join(dir, ...names);
  const [init = 0] = parts.agentChildren;
  writeWrapper(file('sallyport'), parts.kubeconfig, file('state'));

  const reportOf = async ({ namespace, name }: PodName): Promise<PodReport> => {
    const reports = (await askNode(file('node.sock'), 'GET', '/pods')) as readonly PodReport[];
    const found = reports.find((one) => one.namespace === namespace && one.name === name);
    if (found === undefined) throw new Error(`no pod ${namespace}/${name} runs on the stage`);
    return found;
  };
  const nodeExec: Stage['nodeExec'] = (argv, options = {}) => runToEnd(['nsenter', `--net=${netns}`, ...argv], options);
  const mustNode = async (argv: readonly string[]): Promise<string> => {
    const result = await nodeExec(argv);
    if (result.status !== 0) throw new Error(`${argv.join(' ')}: ${result.stderr}`);
    return result.stdout;
  };
  const istiodPods = async (): Promise<number> => {
    const path = `/apis/apps/v1/namespaces/${meshNamespace}/deployments/istiod`;
    const { status } = (await client.must('GET', path)).body as { status?: { readyReplicas?: number } };
    return status?.readyReplicas ?? 0;
  };
  const waitIstiod = async (ready: boolean): Promise<void> => {
    const deadline = Date.now() + 60_000;
    while ((await istiodPods()) > 0 !== ready) {
      if (Date.now() > deadline) throw new Error(`istiod did not become ${ready ? 'ready' : 'unready'} within 60 s`);
      await delay(100);
    }
  };
  const exec: Stage['exec'] = async (pod, argv, options = {}) => {
    const { holder, root, users } = await reportOf(pod);
    const mapped = (options.user ?? 0) === 0 ? 0 : (options.user ?? 0) + users;
    const user = mapped === 0 ? [] : [`--userspec=${mapped}:${mapped}`];
    return runToEnd(
      [
        'nsenter',
        `--mount=/proc/${init}/ns/mnt`,
        `--pid=/proc/${init}/ns/pid`,
        'nsenter',
        `--net=/proc/${holder}/ns/net`,
        'chroot',
        ...user,
        root,
        ...argv,
      ],
      options,
    );
  };
  const stage: Stage = {
    kubeconfig: parts.kubeconfig,
    apiUrl: client.url,
    client,
    dir,
    verdictLog: file('verdicts.jsonl'),
    conntrackLog: file('conntrack.log'),
    accessLogs: file('access'),
    podLogs: file('pods'),
    buildSec: programs.buildSec,
    startSec: (Date.now() - startedAt) / 1000,
    apply: (manifests) => applyManifests(client, typeof manifests === 'string' ? readManifests(manifests) : manifests),
    settle: async (timeoutSec = 120, namespaces) => {
      const deadline = Date.now() + timeoutSec * 1000;
      for (;;) {
        const lack = await lackOf(client, namespaces);
        if (isRolledOut(lack)) return;
        if (Date.now() > deadline)
          throw new Error(
            `not settled within ${timeoutSec} s:\n${lack.slice(0, 20).join('\n')}\n${tailOf(file('logs', 'node.log'), 15)}`,
          );
        await delay(200);
      }
    },
    readyPods: async (namespace, labels = {}) => {
      const selector = Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(',');
      const path = `/api/v1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(selector)}`;
      const { items } = (await client.must('GET', path)).body as { items: readonly PodObject[] };
      return items.filter(isReady).map(({ metadata }) => metadata.name);
    },
    netnsOf: async (pod) => `/proc/${init}/root/proc/${(await reportOf(pod)).holder}/ns/net`,
    exec,
    nodeExec,
    podLog: ({ namespace, name }, container) => readFileSync(file('pods', namespace, name, `${container}.log`), 'utf8'),
    restartApiServer: (downSec = 0) => parts.restartApiServer(downSec),
    stopIstiod: async () => {
      await askNode(file('node.sock'), 'POST', `/hold?prefix=${meshNamespace}/istiod-`);
      await waitIstiod(false);
    },
    startIstiod: async () => {
      await askNode(file('node.sock'), 'POST', `/release?prefix=${meshNamespace}/istiod-`);
      await waitIstiod(true);
    },
    pauseVerdicts: () => signalAndWait(parts.verdict, 'SIGUSR1', 'frozen true'),
    resumeVerdicts: () => signalAndWait(parts.verdict, 'SIGUSR2', 'frozen false'),
    breakProxyConfig: async (pod) =>
      breakProxyConfig(client, pod, () =>
        readFileSync(file('pods', pod.namespace, pod.name, 'istio-proxy.log'), 'utf8'),
      ),
    proxySync: async () => {
      const [name = ''] = await stage.readyPods(meshNamespace, { app: 'istiod' });
      // istiod answers without credentials on its own loopback only.
      const ask = ['curl', '-sS', '--fail', '--max-time', '5', 'http://127.0.0.1:8080/debug/syncz'];
      const answer = await exec({ namespace: meshNamespace, name }, ask);
      if (answer.status !== 0) throw new Error(`asking istiod for /debug/syncz: ${answer.stderr}`);
      return JSON.parse(answer.stdout) as unknown;
    },
    verdictDrops: async () => {
      const table = await mustNode(['cat', '/proc/net/netfilter/nfnetlink_queue']);
      // queue number, port, waiting, copy mode, copy range, queue dropped, user dropped, id, 1
      return table
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/).map(Number))
        .reduce((sum, fields) => sum + (fields[5] ?? 0) + (fields[6] ?? 0), 0);
    },
    flushConntrack: async () => {
      await mustNode(['conntrack', '-F']);
    },
    down: ({ keep = false } = {}) => takeDown(keep),
  };
  return stage;
}

interface PodObject {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

function isReady({ metadata, status }: PodObject): boolean {
  return (
    metadata.deletionTimestamp === undefined &&
    (status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True')
  );
}

function writeWrapper(target: string, kubeconfig: string, state: string): void {
  const checkout = path.join(import.meta.dirname, '../../..');
  const local = path.join(checkout, 'node_modules/.bin');
  const text = `#!/bin/sh
export KUBECONFIG='${kubeconfig}' XDG_STATE_HOME='${state}' PATH='${local}':"$PATH"
exec node '${path.join(checkout, 'bin/sallyport.js')}' "$@"
`;
  writeFileSync(target, text, { mode: 0o755 });
}

function askNode(socketPath: string, method: string, target: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest({ socketPath, method, path: target, timeout: 10_000 }, (incoming) => {
      let text = '';
      incoming.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      incoming.on('error', reject);
      incoming.on('end', () => resolve(text === '' ? undefined : (JSON.parse(text) as unknown)));
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${target}: the node does not answer`)));
    outgoing.on('error', reject).end();
  });
}

async function signalAndWait(to: Process, signal: NodeJS.Signals, line: string): Promise<void> {
  const count = (): number => readFileSync(to.logFile, 'utf8').split(line).length;
  const before = count();
  to.child.kill(signal);
  for (let tries = 0; count() === before; tries += 1) {
    if (tries > 500) throw new Error(`the policy engine did not answer ${signal}:\n${tailOf(to.logFile)}`);
    await delay(10);
  }
}

/**
 * An EnvoyFilter for the pod's workload that asks Envoy for a filter it does not have: every listener update from now on is rejected as a
 * whole, and the old listeners stay.
 */
async function breakProxyConfig(client: ApiClient, pod: PodName, proxyLog: () => string): Promise<() => Promise<void>> {
  // What Envoy says of an update that it does not take (source/extensions/config_subscription/grpc: "rejected").
  const rejected = (): number => proxyLog().split('listener.v3.Listener rejected').length;
  const before = rejected();
  const podPath = `/api/v1/namespaces/${pod.namespace}/pods/${pod.name}`;
  const { metadata } = (await client.must('GET', podPath)).body as {
    metadata: { labels: Readonly<Record<string, string>> };
  };
  const own = Object.entries(metadata.labels).filter(
    ([key]) => key !== 'pod-template-hash' && !key.includes('istio.io/'),
  );
  const name = 'lab-unknown-filter';
  const base = `/apis/networking.istio.io/v1alpha3/namespaces/${pod.namespace}/envoyfilters`;
  await client.must('POST', base, {
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'EnvoyFilter',
    metadata: { name, namespace: pod.namespace },
    spec: {
      workloadSelector: { labels: Object.fromEntries(own) },
      configPatches: [
        {
          applyTo: 'HTTP_FILTER',
          match: {
            context: 'SIDECAR_INBOUND',
            listener: { filterChain: { filter: { name: 'envoy.filters.network.http_connection_manager' } } },
          },
          patch: {
            operation: 'INSERT_FIRST',
            value: {
              name: 'lab.unknown',
              typed_config: {
                '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct',
                type_url: 'type.googleapis.com/lab.unknown.Filter',
                value: {},
              },
            },
          },
        },
      ],
    },
  });
  const begun = Date.now();
  while (rejected() === before) {
    if (Date.now() - begun > 60_000)
      throw new Error(`the proxy of ${pod.name} rejects nothing:\n${proxyLog().split('\n').slice(-15).join('\n')}`);
    await delay(50);
  }
  return async () => {
    await client.must('DELETE', `${base}/${name}`);
  };
}

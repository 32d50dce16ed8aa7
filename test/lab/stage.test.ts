// The stage by itself: what it claims about packets, pods and mesh holds before anything is built on it.
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseNeutralEdge } from '../../src/sources/edges/schema.ts';
import { parseAttempts } from './ledger.ts';
import type { Attempt } from './ledger.ts';
import { removeLeftovers } from './stage/leftovers.ts';
import { runToEnd } from './stage/processes.ts';
import { startStage } from './stage/index.ts';
import type { PodName, Stage } from './stage/index.ts';

const everyMs = 40;

function workload(namespace: string, name: string, replicas: number, play: object, extra: object = {}): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      replicas,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          terminationGracePeriodSeconds: 15,
          containers: [
            {
              name: 'main',
              image: 'lab/pod:1',
              env: [{ name: 'LABPOD', value: JSON.stringify(play) }],
              ports: [{ name: 'http', containerPort: 8080 }],
              lifecycle: { preStop: { sleep: { seconds: 3 } } },
              ...extra,
            },
          ],
        },
      },
    },
  };
}

const served = { readinessProbe: { httpGet: { path: '/healthz', port: 8080 }, periodSeconds: 1 } };
const caller = (expected: 'pass' | 'blocked'): object => ({
  clients: [{ name: 'call', to: 'server.smoke', port: 8080, everyMs, expect: expected, timeoutMs: 2000 }],
});

const scene: readonly unknown[] = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'smoke' } },
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'outside' } },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'server', namespace: 'smoke' },
    spec: { selector: { app: 'server' }, ports: [{ name: 'http', port: 8080 }] },
  },
  workload('smoke', 'server', 2, { servers: [{ kind: 'http', port: 8080 }] }, served),
  workload('smoke', 'client', 1, caller('pass')),
  // Never gets a sidecar, is refused where the policy or STRICT says so.
  workload('outside', 'client', 1, caller('blocked')),
];

const isolate = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'own-only', namespace: 'smoke' },
  spec: { podSelector: { matchLabels: { app: 'server' } }, ingress: [{ from: [{ podSelector: {} }] }] },
};

const strict = {
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'default', namespace: 'smoke' },
  spec: { mtls: { mode: 'STRICT' } },
};

/** Command lines that name the folder. */
async function processesOf(dir: string): Promise<string> {
  const { stdout } = await runToEnd(['ps', '-eo', 'args']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(dir))
    .join('\n');
}

let stage: Stage;

beforeAll(async () => {
  stage = await startStage({ manifests: scene });
});
afterAll(async () => {
  // Unset if the stage did not come up.
  await (stage as Stage | undefined)?.down();
});

function attempts(namespace: string, since: number): readonly Attempt[] {
  const base = path.join(stage.podLogs, namespace);
  return readdirSync(base)
    .filter((name) => name.startsWith('client-'))
    .flatMap((name) => [...parseAttempts(readFileSync(path.join(base, name, 'main.log'), 'utf8'))])
    .filter((one) => one.client === 'call' && Date.parse(one.t) >= since);
}

/** Waits until the last three attempts of the namespace's client ended as said; returns when that was. */
async function untilCalls(namespace: string, ok: boolean, patienceSec = 30): Promise<number> {
  const begun = Date.now();
  for (;;) {
    const last = attempts(namespace, begun).slice(-3);
    if (last.length === 3 && last.every((one) => one.ok === ok)) return Date.now();
    if (Date.now() - begun > patienceSec * 1000)
      throw new Error(`calls from ${namespace} do not become ${ok ? 'answered' : 'refused'}: ${JSON.stringify(last)}`);
    await delay(50);
  }
}

/** Runs a program in a pod until it ends well. */
async function untilExec(pod: PodName, argv: readonly string[], patienceSec = 60): Promise<void> {
  const begun = Date.now();
  for (;;) {
    const { status, stdout, stderr } = await stage.exec(pod, argv);
    if (status === 0) return;
    if (Date.now() - begun > patienceSec * 1000)
      throw new Error(`${argv.join(' ')} in ${pod.name} does not end well: ${stdout}${stderr}`);
    await delay(200);
  }
}

function verdicts(since: number): readonly { src: object; verdict: string; at: number }[] {
  return readFileSync(stage.verdictLog, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { src: object; verdict: string; first: string })
    .map((line) => ({ src: line.src, verdict: line.verdict, at: Date.parse(line.first) }))
    .filter(({ at }) => at >= since);
}

function accessLines(pod: PodName): readonly Readonly<Record<string, unknown>>[] {
  const file = path.join(stage.accessLogs, pod.namespace, pod.name, 'access.jsonl');
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function remove(manifest: typeof isolate | typeof strict, plural: string): Promise<void> {
  const { apiVersion, metadata } = manifest;
  await stage.client.must('DELETE', `/apis/${apiVersion}/namespaces/${metadata.namespace}/${plural}/${metadata.name}`);
}

async function rollout(): Promise<void> {
  const target = '/apis/apps/v1/namespaces/smoke/deployments/';
  const stamp = { spec: { template: { metadata: { annotations: { 'lab/at': String(Date.now()) } } } } };
  await Promise.all(['server', 'client'].map((name) => stage.client.must('PATCH', target + name, stamp)));
  await stage.settle(60, ['smoke']);
}

describe('pods and NetworkPolicies', () => {
  it('comes up in less than a minute once built', () => {
    expect(stage.startSec).toBeLessThan(60);
  });

  it('answers through a Service, from both replicas', async () => {
    const since = Date.now();
    await untilCalls('smoke', true);
    await untilCalls('outside', true);
    await delay(1000);
    expect(new Set(attempts('smoke', since).map(({ by }) => by)).size).toBe(2);
  });

  it('blocks what a policy does not allow and opens again, and says so', async () => {
    const since = Date.now();
    await stage.apply([isolate]);
    const blocked = await untilCalls('outside', false);
    await untilCalls('smoke', true);
    const [outside] = await stage.readyPods('outside');
    const denied = (from: number): number =>
      verdicts(from).filter(({ src, verdict }) => 'pod' in src && src.pod === outside && verdict === 'denied').length;
    expect(denied(since)).toBeGreaterThanOrEqual(3);
    await remove(isolate, 'networkpolicies');
    const opened = await untilCalls('outside', true);
    expect(attempts('outside', blocked).filter(({ ok, t }) => ok && Date.parse(t) < opened - 2500)).toEqual([]);
    await delay(500);
    expect(denied(opened)).toBe(0);
    expect(attempts('smoke', since).filter(({ ok }) => !ok)).toEqual([]);
    expect(await stage.verdictDrops()).toBe(0);
  });

  it('goes on by the old policies while the engine is paused', async () => {
    await stage.pauseVerdicts();
    await stage.apply([isolate]);
    await delay(1000);
    const since = Date.now();
    await untilCalls('outside', true);
    expect(attempts('outside', since).filter(({ ok }) => !ok)).toEqual([]);
    await stage.resumeVerdicts();
    await untilCalls('outside', false);
    await remove(isolate, 'networkpolicies');
    await untilCalls('outside', true);
  });

  it('writes verdicts that the product reads, and tracks connections', () => {
    const lines = readFileSync(stage.verdictLog, 'utf8').trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(50);
    expect(lines.map((line) => parseNeutralEdge(JSON.parse(line))).filter((edge) => 'fault' in edge)).toEqual([]);
    expect(readFileSync(stage.conntrackLog, 'utf8')).toMatch(/\[NEW\] ipv4 +2 tcp +6 .*dport=8080/);
  });

  it('replaces pods one by one without a failed request', async () => {
    const before = await stage.readyPods('smoke', { app: 'server' });
    const since = Date.now();
    await rollout();
    await untilCalls('smoke', true);
    expect((await stage.readyPods('smoke', { app: 'server' })).filter((name) => before.includes(name))).toEqual([]);
    const during = attempts('smoke', since);
    expect(during.length).toBeGreaterThan(50);
    expect(during.filter(({ ok }) => !ok)).toEqual([]);
  });

  it('goes on serving while the API server is away', async () => {
    const since = Date.now();
    await stage.restartApiServer(2);
    await stage.settle(60);
    expect(attempts('smoke', since).filter(({ ok }) => !ok)).toEqual([]);
    await stage.apply([isolate]);
    await untilCalls('outside', false);
    await remove(isolate, 'networkpolicies');
    await untilCalls('outside', true);
  });

  it('runs programs inside a pod, as its root and its network are', async () => {
    const [name = ''] = await stage.readyPods('smoke', { app: 'server' });
    const { stdout } = await stage.exec({ namespace: 'smoke', name }, ['cat', '/etc/hostname']);
    expect(stdout).toBe(`${name}\n`);
    const { stdout: addresses } = await stage.exec({ namespace: 'smoke', name }, ['ip', '-br', '-4', 'address']);
    expect(addresses).toMatch(/eth0@\S+ +UP +10\.244\./);
  });
});

describe('kinds of workloads', () => {
  it('knows StatefulSets by name, DaemonSets on the network of the node, and Jobs that end', async () => {
    const play = (servers: object): object => ({ env: [{ name: 'LABPOD', value: JSON.stringify(servers) }] });
    const template = (name: string, container: object, spec: object = {}): object => ({
      metadata: { labels: { app: name } },
      spec: { containers: [{ name: 'main', image: 'lab/pod:1', ...container }], ...spec },
    });
    const probed = { readinessProbe: { tcpSocket: { port: 5432 } } };
    const asks = {
      clients: [{ name: 'ask', kind: 'tcp', to: 'db-1.db.smoke', port: 5432, count: 3, everyMs: 20 }],
      exit: true,
    };
    await stage.apply([
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'db', namespace: 'smoke' },
        spec: { clusterIP: 'None', selector: { app: 'db' }, ports: [{ name: 'tcp', port: 5432 }] },
      },
      {
        apiVersion: 'apps/v1',
        kind: 'StatefulSet',
        metadata: { name: 'db', namespace: 'smoke' },
        spec: {
          serviceName: 'db',
          replicas: 2,
          selector: { matchLabels: { app: 'db' } },
          template: template('db', { ...play({ servers: [{ kind: 'tcp', port: 5432 }] }), ...probed }),
        },
      },
      {
        apiVersion: 'apps/v1',
        kind: 'DaemonSet',
        metadata: { name: 'agent', namespace: 'outside' },
        spec: {
          selector: { matchLabels: { app: 'agent' } },
          template: template('agent', play({ servers: [{ kind: 'http', port: 9100 }] }), { hostNetwork: true }),
        },
      },
    ]);
    await stage.settle(60);
    // After the restart of the API server above, whoever watches it comes back in his own time, and the DNS by what they write: ready is not named yet.
    await untilExec({ namespace: 'smoke', name: 'db-0' }, ['/usr/local/bin/labpod', '--config', JSON.stringify(asks)]);
    await stage.apply([
      {
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: { name: 'ask', namespace: 'smoke' },
        spec: { template: template('ask', play(asks), { restartPolicy: 'Never' }) },
      },
    ]);
    const jobPath = '/apis/batch/v1/namespaces/smoke/jobs/ask';
    for (let tries = 0; ; tries += 1) {
      const { status } = (await stage.client.must('GET', jobPath)).body as {
        status?: { succeeded?: number; failed?: number };
      };
      if (status?.succeeded === 1) break;
      if (tries > 200) throw new Error(`the Job did not succeed: ${JSON.stringify(status)}`);
      await delay(100);
    }
    const { stdout } = await stage.nodeExec(['curl', '-sS', 'http://10.244.0.1:9100/healthz']);
    expect(stdout).not.toBe('');
  });
});

describe('the mesh', () => {
  const server = async (): Promise<PodName> => {
    const [name = ''] = await stage.readyPods('smoke', { app: 'server' });
    return { namespace: 'smoke', name };
  };

  it('injects sidecars in a rollout without a failed request', async () => {
    const since = Date.now();
    const label = { metadata: { labels: { 'istio-injection': 'enabled' } } };
    await stage.client.must('PATCH', '/api/v1/namespaces/smoke', label);
    await rollout();
    await untilCalls('smoke', true);
    expect(attempts('smoke', since).filter(({ ok }) => !ok)).toEqual([]);
  });

  it('speaks mTLS between sidecars and takes plaintext from others', async () => {
    await delay(1500);
    const inbound = accessLines(await server()).filter((line) =>
      String(line['upstream_cluster']).startsWith('inbound|'),
    );
    const peers = new Set(inbound.map((line) => line['downstream_peer_uri_san']));
    expect(peers).toEqual(new Set(['spiffe://cluster.local/ns/smoke/sa/default', null]));
  });

  it('refuses plaintext under STRICT, and nothing else', async () => {
    await stage.apply([strict]);
    const from = await untilCalls('outside', false);
    await delay(3000);
    expect(attempts('outside', from).filter(({ ok }) => ok)).toEqual([]);
    expect(attempts('smoke', from).filter(({ ok }) => !ok)).toEqual([]);
    const refused = accessLines(await server()).filter((line) => line['response_flags'] === 'NR');
    expect(refused.at(-1)).toMatchObject({ response_code_details: 'filter_chain_not_found', response_code: 0 });
    await remove(strict, 'peerauthentications');
    await untilCalls('outside', true);
  });

  it('keeps plaintext open in a proxy that rejects its configuration, though the API says STRICT', async () => {
    const mend = await stage.breakProxyConfig(await server());
    await delay(1500);
    await stage.apply([strict]);
    await delay(1500);
    const since = Date.now();
    await untilCalls('outside', true);
    expect(attempts('outside', since).filter(({ ok }) => !ok)).toEqual([]);
    await mend();
    await untilCalls('outside', false);
    await remove(strict, 'peerauthentications');
    await untilCalls('outside', true);
  });

  it('goes on as it was while istiod is away, and refuses objects of Istio', async () => {
    await stage.stopIstiod();
    const since = Date.now();
    const created = await stage.client.request(
      'POST',
      '/apis/security.istio.io/v1/namespaces/smoke/peerauthentications',
      strict,
    );
    expect(created.status).toBe(500);
    expect(created.text).toContain('failed calling webhook');
    await delay(1500);
    expect(attempts('smoke', since).filter(({ ok }) => !ok)).toEqual([]);
    expect(attempts('outside', since).filter(({ ok }) => !ok)).toEqual([]);
    await stage.startIstiod();
    await stage.apply([strict]);
    // Proxies come back to istiod at their own pace.
    await untilCalls('outside', false, 90);
    await remove(strict, 'peerauthentications');
    expect(await stage.proxySync()).toBeInstanceOf(Array);
  });
});

describe('down', () => {
  it('dies with its owner, and the next start removes what a killed one left', async () => {
    const owner = spawn(process.execPath, [path.join(import.meta.dirname, 'up.ts'), '--bare', '--no-mesh'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let said = '';
    owner.stdout.setEncoding('utf8').on('data', (chunk: string) => (said += chunk));
    for (let tries = 0; !said.includes('KUBECONFIG='); tries += 1) {
      if (tries > 600 || owner.exitCode !== null) throw new Error(`npm run lab said only: ${said}`);
      await delay(100);
    }
    const dir = /KUBECONFIG=(.+)\/kubeconfig/.exec(said)?.[1] ?? '';
    expect(await processesOf(dir)).toContain('kube-apiserver');
    const ended = once(owner, 'exit');
    owner.kill('SIGKILL');
    await ended;
    for (let tries = 0; tries < 100 && (await processesOf(dir)) !== ''; tries += 1) await delay(50);
    expect(await processesOf(dir)).toBe('');
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(dir);
    expect(existsSync(dir)).toBe(true);
    expect(removeLeftovers()).toContain(dir);
    expect(existsSync(dir)).toBe(false);
    expect(existsSync(stage.dir)).toBe(true);
  });

  it('leaves no process, network namespace, mount, rule or folder', async () => {
    const rulesBefore = (await runToEnd(['iptables-save'])).stdout.replace(/^#.*$/gm, '');
    const [name = ''] = await stage.readyPods('smoke');
    const netns = await stage.netnsOf({ namespace: 'smoke', name });
    expect(existsSync(netns)).toBe(true);
    await stage.down();
    expect(existsSync(netns)).toBe(false);
    expect(existsSync(stage.dir)).toBe(false);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(stage.dir);
    expect(await processesOf(stage.dir)).toBe('');
    expect((await runToEnd(['iptables-save'])).stdout.replace(/^#.*$/gm, '')).toBe(rulesBefore);
  });
});

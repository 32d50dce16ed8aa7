// Probes: the file of pairs, the pod that tries them, and that nothing of it stays behind. The API server is a fake one, the kubelet a line.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readProbes, runProbes } from '../../src/cli/probe.ts';
import type { Probed, ProbePorts } from '../../src/cli/probe.ts';
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import {
  NEVER_READY,
  PROBE_LABEL,
  PROBE_SCRIPT,
  buildProbePod,
  isPinned,
  judgeProbe,
  parseProbeMessage,
  parseProbes,
} from '../../src/model/probe.ts';
import type { ProbePair } from '../../src/model/probe.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { asArray, asObject } from '../../src/shared/pure/json.ts';
import { connectKube } from '../../src/sources/kube/index.ts';
import type { KubeApi } from '../../src/sources/kube/index.ts';
import type { FakeApi } from '../support/fake-api/server.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { makeFolder } from '../support/folder.ts';
import { inventoryOf } from '../support/world.ts';

const IMAGE = `registry.example/sallyport@sha256:${'a'.repeat(64)}`;
const WEB = 'shop/Deployment/web';
const DB = 'shop/Deployment/db';
const head = { apiVersion: 'sallyport.dev/v1', kind: 'Probes' };

describe('the file of pairs', () => {
  it('is read strictly', () => {
    expect(
      parseProbes({
        ...head,
        mustPass: [{ from: WEB, to: DB, port: 5432, why: 'orders' }],
        mustFail: [{ from: WEB, to: 'example.com', port: 443, protocol: 'TCP' }],
      }),
    ).toEqual({
      problems: [],
      pairs: [
        { must: 'pass', from: WEB, to: DB, port: 5432, why: 'orders' },
        { must: 'fail', from: WEB, to: 'example.com', port: 443 },
      ],
    });
  });

  it.each([
    [null, 'the document is not a mapping'],
    [{ ...head }, 'it names no pair'],
    [{ ...head, kind: 'Probe', mustPass: [] }, 'kind is not Probes'],
    [{ ...head, mustpass: [] }, 'mustpass is no key of it'],
    [{ ...head, mustPass: {} }, 'mustPass is not a list'],
    [
      { ...head, mustPass: [{ from: 'web', to: DB, port: 1 }] },
      'mustPass[0].from is no workload (namespace/Kind/name)',
    ],
    [{ ...head, mustPass: [{ from: WEB, to: 'a b', port: 1 }] }, 'mustPass[0].to is no workload, name or address'],
    [{ ...head, mustPass: [{ from: WEB, to: DB, port: 0 }] }, 'mustPass[0].port is no port'],
    [{ ...head, mustPass: [{ from: WEB, to: DB, port: '80' }] }, 'mustPass[0].port is no port'],
    [
      { ...head, mustFail: [{ from: WEB, to: DB, port: 53, protocol: 'UDP' }] },
      'mustFail[0].protocol: only TCP can be proven by a connection',
    ],
    [{ ...head, mustPass: [{ from: WEB, to: DB, port: 1, extra: 1 }] }, 'mustPass[0].extra is no key of a pair'],
    [
      { ...head, mustPass: [{ from: WEB, to: DB, port: 1 }], mustFail: [{ from: WEB, to: DB, port: 1 }] },
      `${WEB} -> ${DB} 1 must both pass and fail`,
    ],
  ] as const)('%j is refused', (value, problem) => {
    expect(parseProbes(value as Json).problems).toContain(problem);
  });

  it('that is not to be read is a failure with its place', async () => {
    const dir = await makeFolder({ 'bad.yaml': 'kind: [', 'empty.yaml': 'kind: Probes\n' });
    for (const file of ['bad.yaml', 'empty.yaml', 'none.yaml'])
      await expect(readProbes(`${dir}/${file}`)).rejects.toMatchObject({ detail: { code: 'SP206' } });
  });
});

it.each([
  ['pass', 'open', false, 'yes'],
  ['fail', 'open', false, 'no'],
  ['pass', 'timeout', false, 'no'],
  ['fail', 'timeout', false, 'yes'],
  ['pass', 'unreachable', false, 'no'],
  ['pass', 'refused', false, 'unknown'],
  ['fail', 'refused', false, 'unknown'],
  ['fail', 'closed', false, 'unknown'],
  ['pass', 'name', false, 'unknown'],
  ['fail', 'error', false, 'unknown'],
  // Beside a sidecar every connection stands at first.
  ['pass', 'open', true, 'unknown'],
  ['fail', 'open', true, 'unknown'],
  ['pass', 'timeout', true, 'no'],
] as const)('must %s, and it is %s (proxy: %s): %s', (must, outcome, proxy, answer) => {
  expect(judgeProbe(must, outcome, proxy).answer).toBe(answer);
});

it.each([
  [IMAGE, true],
  ['sallyport:1.0', false],
  ['sallyport', false],
  [`sallyport@sha256:${'a'.repeat(63)}`, false],
  [`sallyport@sha256:${'A'.repeat(64)}`, false],
])('%s is pinned: %s', (image, pinned) => {
  expect(isPinned(image)).toBe(pinned);
});

describe('the pod of a probe', () => {
  const pod = buildProbePod({
    run: 'p1',
    name: 'sallyport-p1-0',
    namespace: 'shop',
    namespaceUid: 'u1',
    labels: { app: 'web', 'pod-template-hash': 'abc' },
    serviceAccount: 'web',
    image: IMAGE,
    targets: [{ host: '10.0.0.1', port: 80 }],
  });
  const spec = asObject(pod['spec']);

  it('is selected as the workload’s pods are, adopted by nobody, and never ready', () => {
    expect(pod.metadata['labels']).toEqual({ app: 'web', [PROBE_LABEL]: 'p1' });
    expect(asArray(pod.metadata['ownerReferences'])).toMatchObject([
      { kind: 'Namespace', uid: 'u1', controller: true },
    ]);
    expect(spec['readinessGates']).toEqual([{ conditionType: NEVER_READY }]);
  });

  it('fits the Pod Security level "restricted", has no token, and ends by itself', () => {
    expect(spec).toMatchObject({
      automountServiceAccountToken: false,
      restartPolicy: 'Never',
      activeDeadlineSeconds: 120,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          image: IMAGE,
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
    });
    for (const key of ['hostNetwork', 'hostPID', 'hostIPC', 'volumes']) expect(spec[key]).toBeUndefined();
  });
});

it('the script in it tells what is open from what nobody listens at', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const dir = await makeFolder({});
  const script = PROBE_SCRIPT.replace('/dev/termination-log', `${dir}/log`).replace(
    'process.exit(0)',
    'console.log(require("fs").readFileSync(`' + dir + '/log`,"utf8"));process.exit(0)',
  );
  // In a process of its own, as the server answers from this one.
  const child = spawn(process.execPath, [
    '-e',
    script,
    JSON.stringify([
      ['127.0.0.1', port],
      ['127.0.0.1', 1],
      ['no.such.name.invalid', 80],
    ]),
  ]);
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  await new Promise((resolve) => child.on('close', resolve));
  server.close();
  expect(parseProbeMessage(out, 3)?.map(({ outcome }) => outcome)).toEqual(['open', 'refused', 'name']);
});

describe('a run', () => {
  let server: FakeApi;
  let api: KubeApi;
  let journal: string[];
  let notes: string[];
  /** What the kubelet of this test says of a pod. */
  let kubelet: (pod: KubeManifest) => Json;
  const inventory: Inventory = inventoryOf({
    workloads: {
      [WEB]: { labels: { app: 'web' }, account: 'web', pods: ['10.0.0.1@n1'] },
      [DB]: { labels: { app: 'db' }, ports: [5432], pods: ['10.0.0.2@n1'] },
      'shop/Deployment/agent': { hostNetwork: true },
      'shop/Deployment/idle': { labels: { app: 'idle' } },
    },
  });
  const pair = (must: 'pass' | 'fail', from: string, to: string, port: number): ProbePair => ({ must, from, to, port });
  const pods = (): readonly KubeManifest[] => server.objects().filter(({ kind }) => kind === 'Pod');
  const terminated = (message: string, exitCode = 0): Json => ({
    phase: exitCode === 0 ? 'Succeeded' : 'Failed',
    containerStatuses: [{ name: 'probe', state: { terminated: { exitCode, message, reason: 'Completed' } } }],
  });
  const run = (pairs: readonly ProbePair[], more: Partial<ProbePorts> = {}): Promise<readonly Probed[]> =>
    runProbes(pairs, inventory, () => undefined, {
      api,
      clock: { now: () => now, sleep: (ms) => ((now += ms), Promise.resolve()) },
      image: IMAGE,
      run: 'p1',
      signal: new AbortController().signal,
      note: (text) => notes.push(text),
      journal: (pod) => {
        // On record before it is there.
        expect(pods().map(({ metadata }) => `shop/${metadata.name}`)).not.toContain(pod);
        journal.push(pod);
      },
      ...more,
    });
  let now = Date.UTC(2026, 0, 1);

  beforeEach(async () => {
    journal = [];
    notes = [];
    now = Date.UTC(2026, 0, 1);
    kubelet = () => terminated('o');
    server = await startFakeApi({ now: () => now });
    server.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
    server.afterCall((call) => {
      if (call.method !== 'POST') return;
      for (const pod of pods()) if (pod['status'] === undefined) server.put({ ...pod, status: kubelet(pod) });
    });
    api = await connectKube({ kubeconfig: server.kubeconfig, clock: { sleep: () => Promise.resolve() } });
  });
  afterEach(async () => {
    api.close();
    await server.close();
  });

  it('tries every pair, answers for each, and leaves nothing', async () => {
    kubelet = () => terminated('ot');
    const [found] = await run(
      [pair('pass', WEB, DB, 5432), pair('fail', WEB, DB, 5433), pair('fail', DB, WEB, 80)].slice(0, 2),
    );
    expect(found).toMatchObject({
      namespace: 'shop',
      gates: [
        { id: 'probe', answer: 'yes', subject: `${WEB} -> ${DB} 5432/TCP` },
        { id: 'probe', answer: 'yes', subject: `${WEB} -> ${DB} 5433/TCP` },
      ],
    });
    // Silence alone does not prove that a policy made it.
    expect(found?.gates[1]?.facts.join()).toContain('no other pair shows that anybody answers there');
    expect(pods()).toEqual([]);
    expect(journal).toEqual(['shop/sallyport-p1-0']);
  });

  it('says what is violated', async () => {
    kubelet = () => terminated('to');
    const [found] = await run([pair('pass', WEB, DB, 5432), pair('fail', WEB, DB, 22)]);
    expect(found?.gates.map(({ answer }) => answer)).toEqual(['no', 'no']);
  });

  it('does not call what stands through a sidecar proven', async () => {
    kubelet = () => terminated('o');
    server.afterCall((call) => {
      if (call.method !== 'POST') return;
      for (const pod of pods())
        server.put({
          ...pod,
          spec: { ...asObject(pod['spec']), initContainers: [{ name: 'istio-proxy' }] },
        });
    });
    const [found] = await run([pair('pass', WEB, DB, 5432)]);
    expect(found?.gates[0]).toMatchObject({ answer: 'unknown' });
  });

  it.each([
    ['no such workload', pair('pass', 'shop/Deployment/nobody', DB, 1), 'there is no workload'],
    ['a source in the host network', pair('pass', 'shop/Deployment/agent', DB, 1), 'no policy is about it'],
    ['a target without a pod', pair('pass', WEB, 'shop/Deployment/idle', 1), 'no pod of shop/Deployment/idle is ready'],
  ] as const)('%s is unknown, and starts nothing', async (_, one, why) => {
    const [found] = await run([one]);
    expect(found?.gates[0]).toMatchObject({ answer: 'unknown' });
    expect(found?.gates[0]?.facts[0]).toContain(why);
    expect(journal).toEqual([]);
  });

  it('starts nothing where a Service would send requests to what is not ready', async () => {
    const [found] = await runProbes([pair('pass', WEB, DB, 1)], inventory, () => 'web-headless', {
      api,
      clock: { now: () => now, sleep: () => Promise.resolve() },
      image: IMAGE,
      run: 'p1',
      signal: new AbortController().signal,
      note: () => undefined,
      journal: (pod) => journal.push(pod),
    });
    expect(found?.gates[0]?.facts[0]).toContain('publishNotReadyAddresses');
    expect(journal).toEqual([]);
  });

  it('removes its pods also where they never end, fail, answer nonsense, or somebody stops it', async () => {
    for (const [status, why] of [
      [{ phase: 'Pending' }, 'did not end within'],
      [terminated('', 1), 'ended with 1'],
      [terminated('zz zz zz'), 'something else'],
      [{ phase: 'Failed', reason: 'DeadlineExceeded' }, 'DeadlineExceeded'],
    ] as const) {
      kubelet = () => status;
      const [found] = await run([pair('pass', WEB, DB, 5432)]);
      expect(found?.gates[0]).toMatchObject({ answer: 'unknown' });
      expect(found?.gates[0]?.facts[0]).toContain(why);
      expect(pods()).toEqual([]);
    }
    const stop = new AbortController();
    kubelet = () => {
      stop.abort(new Error('stopped'));
      return { phase: 'Pending' };
    };
    const [found] = await run([pair('pass', WEB, DB, 5432)], { signal: stop.signal });
    expect(found?.gates[0]).toMatchObject({ answer: 'unknown' });
    expect(pods()).toEqual([]);
  });

  it('takes away what a crash left, and nothing that is young or not its own', async () => {
    const left = (name: string, labels: Record<string, string>): void =>
      void server.put({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'shop', labels },
        status: { phase: 'Failed' },
      });
    left('sallyport-p0000-0', { [PROBE_LABEL]: 'p0000' });
    left('theirs', { [PROBE_LABEL]: 'p0000' });
    left('sallyport-p0002-0', {});
    now += 60 * 60_000;
    left('sallyport-p0001-0', { [PROBE_LABEL]: 'p0001' });
    await run([pair('pass', WEB, DB, 5432)]);
    expect(
      pods()
        .map(({ metadata }) => metadata.name)
        .sort(),
    ).toEqual(['sallyport-p0001-0', 'sallyport-p0002-0', 'theirs']);
    expect(notes.join()).toContain('shop/sallyport-p0000-0 was left behind');
  });
});

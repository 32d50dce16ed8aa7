// Proves the test harness itself: what the other tests of this tier take for granted about the API server and its controllers.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace, startControllers } from '../support/apiserver/controllers.ts';
import type { Controllers } from '../support/apiserver/controllers.ts';
import { isReady } from '../support/apiserver/pods.ts';
import { listAll, nameOf, namespaceOf, pathOf, resources } from '../support/apiserver/objects.ts';
import type {
  CronJob,
  DaemonSet,
  Deployment,
  Draft,
  EndpointSlice,
  Job,
  KubeObject,
  Pod,
  PodDisruptionBudget,
  ReplicaSet,
  Resource,
  StatefulSet,
} from '../support/apiserver/objects.ts';
import { startApiServer } from '../support/apiserver/server.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const asControllers = connect(shared.controllers);
const used = [
  'rollout',
  'failing',
  'meshed',
  'opted-in',
  'by-revision',
  'opted-out',
  'plain',
  'owners',
  'training',
  'leaving',
  'access',
].map((name) => `harness-${name}`);
let controllers: Controllers;

beforeAll(async () => {
  controllers = await startControllers(asControllers, { namespaces: used });
});

afterAll(async () => {
  await controllers.stop();
  await Promise.all(used.map((namespace) => deleteNamespace(admin, namespace)));
  admin.close();
  asControllers.close();
});

async function createNamespace(name: string, labels: Record<string, string> = {}): Promise<string> {
  await admin.must('POST', '/api/v1/namespaces', { metadata: { name: `harness-${name}`, labels } });
  return `harness-${name}`;
}

async function create(resource: Resource, draft: Draft): Promise<void> {
  const { apiVersion, kind } = resource;
  await admin.must('POST', pathOf(resource, draft.metadata?.namespace), { apiVersion, kind, ...draft });
}

async function get<T>(resource: Resource, namespace: string, name: string): Promise<T> {
  return (await admin.must('GET', pathOf(resource, namespace, name))).body as T;
}

async function list<T extends KubeObject>(resource: Resource, namespace: string): Promise<T[]> {
  return (await listAll<T>(admin, resource)).filter((object) => namespaceOf(object) === namespace);
}

const podNames = async (namespace: string): Promise<string[]> =>
  (await list<Pod>(resources.pods, namespace)).map(nameOf).sort();

function templateOf(app: string, image = 'example/app:1', labels: Record<string, string> = {}): object {
  const containers = [{ name: 'app', image, ports: [{ name: 'http', containerPort: 8080 }] }];
  return { metadata: { labels: { app, ...labels } }, spec: { containers } };
}

function deploymentOf(namespace: string, name: string, replicas = 2, labels: Record<string, string> = {}): Draft {
  const spec = {
    replicas,
    selector: { matchLabels: { app: name } },
    template: templateOf(name, 'example/app:1', labels),
  };
  return { metadata: { namespace, name }, spec };
}

const setImage = (namespace: string, name: string, image: string) =>
  admin.must(
    'PATCH',
    pathOf(resources.deployments, namespace, name),
    [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: image }],
    'application/json-patch+json',
  );

const conditionOf = (
  object: { status?: { conditions?: readonly { type: string; status: string; reason?: string }[] } },
  type: string,
) => {
  const { status, reason } = object.status?.conditions?.find((condition) => condition.type === type) ?? {};
  return { status, reason };
};

describe('the API server', () => {
  it('refuses a request without a valid token', async () => {
    expect((await admin.as('wrong').request('GET', '/api/v1/namespaces')).status).toBe(401);
  });

  it('lets a user do only what a role allows', async () => {
    const namespace = await createNamespace('access');
    const alice = admin.as(shared.users['alice']?.token ?? '');
    const pods = pathOf(resources.pods, namespace);
    expect((await alice.request('GET', pods)).status).toBe(403);
    await admin.must('POST', `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`, {
      metadata: { name: 'alice-views' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
    });
    // The authorizer learns of the binding by a watch.
    await expect.poll(async () => (await alice.request('GET', pods)).status).toBe(200);
    expect((await alice.request('DELETE', `${pods}/any`)).status).toBe(403);
  });

  it('validates Istio objects by the schema of their definition', async () => {
    const path = '/apis/security.istio.io/v1/namespaces/default/peerauthentications?dryRun=All';
    const draft = (mode: string): object => ({
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 'default' },
      spec: { mtls: { mode } },
    });
    expect((await admin.request('POST', path, draft('STRICT'))).status).toBe(201);
    expect((await admin.request('POST', path, draft('SOMETIMES'))).status).toBe(422);
  });

  it('carries a control plane, a CNI and DNS that a tool can detect', async () => {
    const istiod = await get<Deployment>(resources.deployments, 'istio-system', 'istiod');
    expect(conditionOf(istiod, 'Available').status).toBe('True');
    expect(istiod.spec?.template.spec?.containers[0]?.image).toMatch(/:1\.29\.0$/);
    const cilium = await get<DaemonSet>(resources.daemonSets, 'kube-system', 'cilium');
    expect(cilium.status).toMatchObject({ desiredNumberScheduled: 2, numberReady: 2 });
    const slices = await list<EndpointSlice>(resources.endpointSlices, 'kube-system');
    expect(
      slices.flatMap((slice) => slice.ports?.map(({ port, protocol }) => `${String(port)}/${String(protocol)}`) ?? []),
    ).toEqual(expect.arrayContaining(['53/UDP', '53/TCP']));
  });
});

describe('Deployments', () => {
  it('get ready pods with unique addresses, and Services their endpoints', async () => {
    const namespace = await createNamespace('rollout');
    await create(resources.deployments, deploymentOf(namespace, 'api', 3));
    await create(resources.services, {
      metadata: { namespace, name: 'api' },
      spec: { selector: { app: 'api' }, ports: [{ port: 80, targetPort: 'http' }] },
    });
    await controllers.settle();

    const deployment = await get<Deployment>(resources.deployments, namespace, 'api');
    expect(deployment.status).toMatchObject({
      observedGeneration: deployment.metadata?.generation,
      replicas: 3,
      updatedReplicas: 3,
      availableReplicas: 3,
    });
    expect(conditionOf(deployment, 'Progressing')).toEqual({ status: 'True', reason: 'NewReplicaSetAvailable' });
    const pods = await list<Pod>(resources.pods, namespace);
    expect(pods.every(isReady)).toBe(true);
    expect(
      new Set(
        (await listAll<Pod>(admin, resources.pods))
          .filter(({ spec }) => spec?.hostNetwork !== true)
          .map(({ status }) => status?.podIP),
      ).size,
    ).toBe((await listAll<Pod>(admin, resources.pods)).filter(({ spec }) => spec?.hostNetwork !== true).length);
    expect(pods.map(({ metadata }) => metadata?.ownerReferences?.[0]?.kind)).toEqual([
      'ReplicaSet',
      'ReplicaSet',
      'ReplicaSet',
    ]);
    const [slice] = await list<EndpointSlice>(resources.endpointSlices, namespace);
    expect(slice?.ports).toMatchObject([{ port: 8080, protocol: 'TCP' }]);
    expect(slice?.endpoints?.flatMap(({ addresses }) => addresses).sort()).toEqual(
      pods.map(({ status }) => status?.podIP ?? '').sort(),
    );
    expect((await list(resources.serviceAccounts, namespace)).map(nameOf)).toEqual(['default']);
  });

  it('replace their pods when the template changes, and keep the old ReplicaSet for the way back', async () => {
    const namespace = 'harness-rollout';
    const before = await podNames(namespace);
    await setImage(namespace, 'api', 'example/app:2');
    await controllers.settle();
    const after = await list<Pod>(resources.pods, namespace);
    expect(after).toHaveLength(3);
    expect(after.map(nameOf).filter((name) => before.includes(name))).toEqual([]);
    expect(after.map(({ spec }) => spec?.containers[0]?.image)).toEqual([
      'example/app:2',
      'example/app:2',
      'example/app:2',
    ]);
    const deployment = await get<Deployment>(resources.deployments, namespace, 'api');
    expect(deployment.metadata?.annotations?.['deployment.kubernetes.io/revision']).toBe('2');
    expect(deployment.status?.observedGeneration).toBe(deployment.metadata?.generation);

    await setImage(namespace, 'api', 'example/app:1');
    await controllers.settle();
    const sets = await list<ReplicaSet>(resources.replicaSets, namespace);
    expect(sets.map(({ spec }) => spec?.replicas).sort()).toEqual([0, 3]);
    const again = await get<Deployment>(resources.deployments, namespace, 'api');
    expect(again.metadata?.annotations?.['deployment.kubernetes.io/revision']).toBe('3');
  });

  it('take their ReplicaSets and pods with them when deleted', async () => {
    const namespace = 'harness-rollout';
    await admin.must('DELETE', pathOf(resources.deployments, namespace, 'api'));
    await controllers.settle();
    expect(await podNames(namespace)).toEqual([]);
    expect(await list(resources.replicaSets, namespace)).toEqual([]);
  });

  it('show a failed rollout, keep serving from the old pods, and heal when the change is undone', async () => {
    const namespace = await createNamespace('failing');
    await create(resources.deployments, deploymentOf(namespace, 'api', 2));
    await controllers.settle();
    const serving = await podNames(namespace);
    await controllers.failRollouts([`${namespace}/Deployment/api`]);
    await setImage(namespace, 'api', 'example/broken:1');
    await controllers.settle();

    const failed = await get<Deployment>(resources.deployments, namespace, 'api');
    expect(conditionOf(failed, 'Progressing')).toEqual({ status: 'False', reason: 'ProgressDeadlineExceeded' });
    expect(conditionOf(failed, 'Available').status).toBe('True');
    expect(failed.status).toMatchObject({
      observedGeneration: failed.metadata?.generation,
      replicas: 3,
      updatedReplicas: 1,
      availableReplicas: 2,
      unavailableReplicas: 1,
    });
    const pods = await list<Pod>(resources.pods, namespace);
    expect(pods.filter(isReady).map(nameOf).sort()).toEqual(serving);

    await setImage(namespace, 'api', 'example/app:1');
    await controllers.settle();
    const healed = await get<Deployment>(resources.deployments, namespace, 'api');
    expect(conditionOf(healed, 'Progressing')).toEqual({ status: 'True', reason: 'NewReplicaSetAvailable' });
    expect(await podNames(namespace)).toEqual(serving);
    controllers.healRollouts([`${namespace}/Deployment/api`]);
  });
});

describe('sidecar injection', () => {
  // Namespace labels, then pod label `sidecar.istio.io/inject` -> sidecar?
  const meshed = { 'istio-injection': 'enabled' };
  const table: readonly (readonly [string, Record<string, string>, Record<string, string>, boolean])[] = [
    ['meshed', meshed, {}, true],
    ['meshed', meshed, { 'sidecar.istio.io/inject': 'false' }, false],
    ['by-revision', { 'istio.io/rev': 'default' }, {}, true],
    ['plain', {}, {}, false],
    ['plain', {}, { 'sidecar.istio.io/inject': 'true' }, true],
    ['plain', {}, { 'istio.io/rev': 'default' }, true],
    ['plain', {}, { 'istio.io/rev': 'unknown' }, false],
    ['opted-out', { 'istio-injection': 'disabled' }, { 'sidecar.istio.io/inject': 'true' }, false],
  ];

  it.each(table.map((row, index) => [index, ...row] as const))(
    'case %i: a pod in namespace %s %j with labels %j gets a sidecar: %s',
    async (index, name, namespaceLabels, podLabels, expected) => {
      const namespace = `harness-${name}`;
      if ((await admin.request('GET', pathOf(resources.namespaces, undefined, namespace))).status === 404) {
        await createNamespace(name, namespaceLabels);
      }
      const app = `app-${String(index)}`;
      await create(resources.deployments, deploymentOf(namespace, app, 1, podLabels));
      await controllers.settle();
      const pod = (await list<Pod>(resources.pods, namespace)).find(
        ({ metadata }) => metadata?.labels?.['app'] === app,
      );
      const sidecar = pod?.spec?.initContainers?.find(({ name: container }) => container === 'istio-proxy');
      expect(pod === undefined ? undefined : isReady(pod)).toBe(true);
      expect(sidecar?.restartPolicy).toBe(expected ? 'Always' : undefined);
      expect(pod?.metadata?.labels?.['security.istio.io/tlsMode']).toBe(expected ? 'istio' : undefined);
      expect(pod?.metadata?.annotations?.['sidecar.istio.io/status'] === undefined).toBe(!expected);
    },
  );

  it('reaches running pods only when they are replaced', async () => {
    const namespace = await createNamespace('opted-in');
    await create(resources.deployments, deploymentOf(namespace, 'api', 1));
    await controllers.settle();
    await admin.must('PATCH', pathOf(resources.namespaces, undefined, namespace), { metadata: { labels: meshed } });
    await controllers.settle();
    const proxies = async (): Promise<number> =>
      (await list<Pod>(resources.pods, namespace)).filter(({ spec }) =>
        spec?.initContainers?.some(({ name }) => name === 'istio-proxy'),
      ).length;
    expect(await proxies()).toBe(0);
    const template = { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': '2026-01-01T00:00:00Z' } } };
    await admin.must('PATCH', pathOf(resources.deployments, namespace, 'api'), { spec: { template } });
    await controllers.settle();
    expect(await proxies()).toBe(1);
  });
});

describe('other owners', () => {
  const namespace = 'harness-owners';
  beforeAll(async () => {
    await createNamespace('owners');
  });

  it('StatefulSets have ordinal pods with claims, and roll them', async () => {
    const volumeClaimTemplates = [
      {
        metadata: { name: 'data' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ];
    await create(resources.statefulSets, {
      metadata: { namespace, name: 'store' },
      spec: {
        replicas: 2,
        serviceName: 'store',
        selector: { matchLabels: { app: 'store' } },
        template: templateOf('store'),
        volumeClaimTemplates,
      },
    });
    await create(resources.disruptionBudgets, {
      metadata: { namespace, name: 'store' },
      spec: { maxUnavailable: 1, selector: { matchLabels: { app: 'store' } } },
    });
    await controllers.settle();
    expect(await podNames(namespace)).toEqual(['store-0', 'store-1']);
    expect((await list(resources.claims, namespace)).map(nameOf).sort()).toEqual(['data-store-0', 'data-store-1']);
    const budget = await get<PodDisruptionBudget>(resources.disruptionBudgets, namespace, 'store');
    expect(budget.status).toMatchObject({ currentHealthy: 2, desiredHealthy: 1, disruptionsAllowed: 1 });

    const uids = async (): Promise<(string | undefined)[]> =>
      (await list<Pod>(resources.pods, namespace)).map(({ metadata }) => metadata?.uid);
    const before = await uids();
    await admin.must('PATCH', pathOf(resources.statefulSets, namespace, 'store'), {
      spec: { template: { metadata: { labels: { tier: 'data' } } } },
    });
    await controllers.settle();
    expect((await uids()).filter((uid) => before.includes(uid))).toEqual([]);
    const set = await get<StatefulSet>(resources.statefulSets, namespace, 'store');
    expect(set.status).toMatchObject({ observedGeneration: 2, readyReplicas: 2, updatedReplicas: 2 });
    expect(set.status?.currentRevision).toBe(set.status?.updateRevision);
  });

  it('DaemonSets have one pod on each node', async () => {
    const spec = { selector: { matchLabels: { app: 'agent' } }, template: templateOf('agent') };
    await create(resources.daemonSets, { metadata: { namespace, name: 'agent' }, spec });
    await controllers.settle();
    const pods = (await list<Pod>(resources.pods, namespace)).filter(
      ({ metadata }) => metadata?.labels?.['app'] === 'agent',
    );
    expect(pods.map(({ spec: podSpec }) => podSpec?.nodeName).sort()).toEqual(['node-a', 'node-b']);
  });

  it('a CronJob that is triggered starts a Job, which runs until it is completed', async () => {
    const template = { spec: { restartPolicy: 'Never', containers: [{ name: 'train', image: 'example/train:1' }] } };
    await create(resources.cronJobs, {
      metadata: { namespace, name: 'nightly' },
      spec: { schedule: '0 2 * * *', jobTemplate: { spec: { template } } },
    });
    const name = await controllers.triggerCronJob(namespace, 'nightly', new Date('2026-01-01T02:00:00Z'));
    await controllers.settle();
    expect((await get<Job>(resources.jobs, namespace, name)).status).toMatchObject({ active: 1, ready: 1 });

    controllers.completeJob(namespace, name);
    await controllers.settle();
    const job = await get<Job>(resources.jobs, namespace, name);
    expect(conditionOf(job, 'Complete').status).toBe('True');
    expect(job.status?.succeeded).toBe(1);
    const { status } = await get<CronJob>(resources.cronJobs, namespace, 'nightly');
    expect(status?.lastScheduleTime).toBe('2026-01-01T02:00:00Z');
    expect(status?.lastSuccessfulTime).toBeDefined();
    expect(status?.active ?? []).toEqual([]);
  });

  it('a PyTorchJob has a master and workers that it owns itself', async () => {
    const training = await createNamespace('training');
    const replica = (replicas: number): object => ({
      replicas,
      restartPolicy: 'OnFailure',
      template: { spec: { containers: [{ name: 'pytorch', image: 'example/train:1' }] } },
    });
    await create(resources.pyTorchJobs, {
      metadata: { namespace: training, name: 'fraud' },
      spec: { pytorchReplicaSpecs: { Master: replica(1), Worker: replica(2) } },
    });
    await controllers.settle();
    const pods = await list<Pod>(resources.pods, training);
    expect(pods.map(nameOf).sort()).toEqual(['fraud-master-0', 'fraud-worker-0', 'fraud-worker-1']);
    expect(pods.every(isReady)).toBe(true);
    expect(pods.map(({ metadata }) => metadata?.ownerReferences?.[0]?.kind)).toEqual([
      'PyTorchJob',
      'PyTorchJob',
      'PyTorchJob',
    ]);
  });

  it('a deleted namespace goes away with what it holds', async () => {
    const leaving = await createNamespace('leaving');
    await create(resources.deployments, deploymentOf(leaving, 'api', 1));
    await controllers.settle();
    await admin.must('DELETE', pathOf(resources.namespaces, undefined, leaving));
    await controllers.settle();
    expect((await admin.request('GET', pathOf(resources.namespaces, undefined, leaving))).status).toBe(404);
    expect(await podNames(leaving)).toEqual([]);
  });
});

describe('a server of its own', () => {
  const isRunning = (pid: number | undefined): boolean => {
    // A process that ended but has no parent left to ask for it is a zombie, not a server.
    const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' });
    return stdout.trim() !== '' && !stdout.trim().startsWith('Z');
  };

  it('keeps its data over a crash, and leaves neither process nor file when stopped', async () => {
    const server = await startApiServer();
    const { apiServer, etcd } = server.pids;
    const directory = path.dirname(server.kubeconfigFile('admin'));
    await server.must('POST', '/api/v1/namespaces', { metadata: { name: 'kept' } });
    await server.kill();
    expect(isRunning(apiServer)).toBe(false);
    await expect(server.request('GET', '/readyz')).rejects.toThrow();
    await server.restart();
    expect((await server.request('GET', '/api/v1/namespaces/kept')).status).toBe(200);
    const restarted = server.pids.apiServer;
    expect([restarted, etcd].map(isRunning)).toEqual([true, true]);
    await server.stop();
    expect([restarted, etcd].map(isRunning)).toEqual([false, false]);
    expect(existsSync(directory)).toBe(false);
  });

  // Programs of others do not watch their standard input: only those built here end with a killed test run.
  it.skipIf(process.env['KUBEBUILDER_ASSETS'] !== undefined)(
    'ends with the process that started it, even if that is killed',
    async () => {
      const module = path.resolve(import.meta.dirname, '../support/apiserver/server.ts');
      const script = `const { startApiServer } = await import(${JSON.stringify(module)});
      const { pids, caFile } = await startApiServer();
      process.stdout.write(JSON.stringify({ pids: [pids.apiServer, pids.etcd], caFile }) + '\\n');`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const first = await Promise.race([
        once(createInterface({ input: child.stdout }), 'line'),
        once(child, 'exit').then(() => ['']),
      ]);
      const [line] = first as [string];
      expect(line, 'the process ended before its server was ready').not.toBe('');
      const { pids, caFile } = JSON.parse(line) as { pids: number[]; caFile: string };
      expect(pids.map(isRunning)).toEqual([true, true]);
      child.kill('SIGKILL');
      const deadline = Date.now() + 20_000;
      while (pids.some(isRunning) && Date.now() < deadline) await delay(50);
      expect(pids.map(isRunning)).toEqual([false, false]);
      // Nobody is left to remove the files of a run that was killed.
      rmSync(path.resolve(caFile, '../..'), { recursive: true });
    },
  );
});

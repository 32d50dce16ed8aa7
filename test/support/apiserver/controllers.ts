// The controllers of a cluster, played for tests on an API server that has none. The product never does any of this.
import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient } from './client.ts';
import { buildScheduledJob } from './controllers/jobs.ts';
import { templateHashOf } from './controllers/owned-pods.ts';
import { holds, listAll, matchesSelector, nameOf, namespaceOf, pathOf, resources } from './objects.ts';
import type { CronJob, KubeObject, Namespace, Node, Pod, PodTemplate, Resource } from './objects.ts';
import { injectSidecar, isInjected } from './pods.ts';
import { reconcileOnce } from './reconcile.ts';
import type { Rules } from './world.ts';

export { deleteNamespace, finalizeNamespace } from './namespaces.ts';

export interface ControllersOptions {
  /** The namespaces to look after; without it, all. Two sets of controllers must not share one. */
  readonly namespaces?: readonly string[] | ((namespace: string) => boolean);
  /** Workloads (`namespace/Kind/name`) whose next rollout fails; see failRollouts. */
  readonly failing?: readonly string[];
  /** Do Jobs end by themselves? By default they run until completeJob. */
  readonly completeJobs?: boolean;
  /** Revisions of the injector that exist (`istio.io/rev`); by default `default`. */
  readonly revisions?: readonly string[];
  /** The clock of every status written; by default the machine's. */
  readonly now?: () => Date;
}

export interface Controllers {
  /**
   * Waits until a look at the whole cluster finds nothing left to do: owners observed, pods there, statuses written. Errors:
   * no rest within timeoutSec (60), with the last error or the last writes.
   */
  settle(timeoutSec?: number): Promise<void>;
  /**
   * From now on pods of these workloads (`namespace/Kind/name`) never become ready, except those of the template that the
   * workload has now: a change of the template fails, its undoing heals. A workload that does not exist yet fails wholly.
   */
  failRollouts(workloads: readonly string[]): Promise<void>;
  healRollouts(workloads: readonly string[]): void;
  /** Lets the pods of a Job end well, and the Job with them. */
  completeJob(namespace: string, name: string): void;
  /** Starts a CronJob's Job as its schedule would have at the given time (default: now), and returns the Job's name. */
  triggerCronJob(namespace: string, name: string, at?: Date): Promise<string>;
  /** Creates a pod that has no controller, with a sidecar if the injector would give it one. */
  createPod(pod: Pod): Promise<void>;
  /** Ends the controllers after the pass under way; what they made stays. */
  stop(): Promise<void>;
}

// How often one small request asks whether anything changed at all.
const pollMs = 100;

/**
 * Starts the controllers: ServiceAccounts and root certificates of namespaces, namespace deletion, garbage collection,
 * Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs (when triggered), PyTorchJobs, EndpointSlices,
 * PodDisruptionBudgets, scheduler, kubelets and Istio's sidecar injection. At the start only, the two Nodes are created and
 * the rules of aggregated ClusterRoles (view, edit, admin) filled in. Give it a
 * client of the `controllers` user. They run in
 * this process: whoever waits for them must not block it (spawn, never spawnSync). Not played: ControllerRevisions, quotas, autoscalers, volumes, gradual rollouts.
 */
export async function startControllers(client: ApiClient, options: ControllersOptions = {}): Promise<Controllers> {
  const { namespaces, revisions = ['default'], now = () => new Date() } = options;
  /** Workload -> hash of the template that still works, if any does. */
  const failing = new Map<string, string | undefined>();
  const completed = new Set<string>();
  const rules: Rules = {
    looksAfter:
      namespaces === undefined
        ? () => true
        : typeof namespaces === 'function'
          ? namespaces
          : (namespace) => namespaces.includes(namespace),
    revisions,
    isFailing: (workload, templateHash) => failing.has(workload) && failing.get(workload) !== templateHash,
    isComplete: (job) => options.completeJobs === true || completed.has(job),
    now: () => `${now().toISOString().slice(0, 19)}Z`,
  };

  const waiting = new Set<() => void>();
  let wake = new AbortController();
  let stopped = false;
  let quietAt: string | undefined;
  let lastPass: readonly string[] = [];
  let lastError: string | undefined;
  const hurry = (): void => {
    quietAt = undefined;
    wake.abort();
  };

  const step = async (): Promise<boolean> => {
    const waiters = [...waiting];
    const revision = await readRevision(client);
    if (revision !== quietAt) {
      // Cleared first: what is asked for during the pass must lead to another one.
      quietAt = revision;
      lastPass = await reconcileOnce(client, rules);
      if (lastPass.length > 0) quietAt = undefined;
      if (quietAt === undefined) return false;
    }
    for (const resolve of waiters) {
      waiting.delete(resolve);
      resolve();
    }
    return true;
  };
  const loop = async (): Promise<void> => {
    while (!stopped) {
      try {
        const quiet = await step();
        lastError = undefined;
        if (!quiet) continue;
      } catch (error) {
        // The server may be down on purpose; settle tells if it stays so.
        quietAt = undefined;
        lastError = error instanceof Error ? error.message : String(error);
      }
      if (waiting.size > 0 && lastError === undefined) continue;
      wake = new AbortController();
      await delay(pollMs, undefined, { signal: wake.signal }).catch(() => undefined);
    }
  };

  const failRollouts = async (workloads: readonly string[]): Promise<void> => {
    for (const workload of workloads) failing.set(workload, await readTemplateHash(client, workload));
    hurry();
  };
  await createNodes(client);
  await aggregateClusterRoles(client);
  await failRollouts(options.failing ?? []);
  const running = loop();

  return {
    settle: (timeoutSec = 60) =>
      new Promise((resolve, reject) => {
        if (stopped) {
          reject(new Error('the played controllers are stopped'));
          return;
        }
        const done = (): void => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(() => {
          waiting.delete(done);
          const reason = lastError === undefined ? `last writes:\n${lastPass.slice(-20).join('\n')}` : lastError;
          reject(new Error(`the played controllers did not come to rest within ${timeoutSec} s; ${reason}`));
        }, timeoutSec * 1000);
        waiting.add(done);
        wake.abort();
      }),
    failRollouts,
    healRollouts: (workloads) => {
      for (const workload of workloads) failing.delete(workload);
      hurry();
    },
    completeJob: (namespace, name) => {
      completed.add(`${namespace}/${name}`);
      hurry();
    },
    triggerCronJob: async (namespace, name, at = now()) => {
      const cronJob = (await client.must('GET', pathOf(resources.cronJobs, namespace, name))).body as CronJob;
      const job = buildScheduledJob(cronJob, `${at.toISOString().slice(0, 19)}Z`);
      await client.must('POST', pathOf(resources.jobs, namespace), job);
      return job.metadata.name;
    },
    createPod: async (pod) => {
      const path = pathOf(resources.namespaces, undefined, namespaceOf(pod));
      const namespace = (await client.must('GET', path)).body as Namespace;
      const injected = isInjected(pod, namespace, revisions) ? injectSidecar(pod) : pod;
      await client.must('POST', pathOf(resources.pods, namespaceOf(pod)), injected);
    },
    stop: async () => {
      stopped = true;
      wake.abort();
      await running;
    },
  };
}

/** The revision of the whole store: it moves with every write of anybody. */
async function readRevision(client: ApiClient): Promise<string> {
  const { body } = await client.must('GET', `${pathOf(resources.namespaces)}?limit=1`);
  return (body as { metadata: { resourceVersion: string } }).metadata.resourceVersion;
}

async function readTemplateHash(client: ApiClient, workload: string): Promise<string | undefined> {
  const [namespace = '', kind = '', name = ''] = workload.split('/');
  const resource = Object.values<Resource>(resources).find((candidate) => candidate.kind === kind);
  if (resource === undefined || name === '') throw new Error(`${workload} is not a workload: say namespace/Kind/name`);
  const response = await client.request('GET', pathOf(resource, namespace, name));
  if (response.status !== 200) return undefined;
  return templateHashOf((response.body as KubeObject & { spec?: { template?: PodTemplate } }).spec?.template);
}

/** The two nodes of the played cluster: name, address, pod addresses. */
export const playedNodes = [
  { name: 'node-a', address: '192.168.100.11', podCIDR: '10.244.0.0/17' },
  { name: 'node-b', address: '192.168.100.12', podCIDR: '10.244.128.0/17' },
] as const;

async function createNodes(client: ApiClient): Promise<void> {
  for (const { name, address, podCIDR } of playedNodes) {
    const labels = { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64' };
    const node: Node = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels },
      spec: { podCIDR, podCIDRs: [podCIDR] },
    };
    const created = await client.request('POST', pathOf(resources.nodes), node);
    if (created.status === 409) continue;
    if (created.status >= 400) throw new Error(`creating node ${name}: ${created.status} ${created.text}`);
    const path = pathOf(resources.nodes, undefined, name);
    const at = new Date().toISOString();
    await client.must('PATCH', `${path}/status?fieldManager=kubelet`, {
      status: {
        addresses: [
          { type: 'InternalIP', address },
          { type: 'Hostname', address: name },
        ],
        capacity: { cpu: '64', memory: '256Gi', pods: '1000', 'nvidia.com/gpu': '8' },
        allocatable: { cpu: '64', memory: '256Gi', pods: '1000', 'nvidia.com/gpu': '8' },
        conditions: [
          { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime: at, lastTransitionTime: at },
        ],
      },
    });
    // The API server taints new nodes as not ready; the node controller would take that away.
    await client.must('PATCH', path, { spec: { taints: null } });
  }
}

interface ClusterRole extends KubeObject {
  readonly aggregationRule?: { readonly clusterRoleSelectors?: readonly Parameters<typeof matchesSelector>[1][] };
  readonly rules?: readonly object[] | null;
}

const clusterRoles: Resource = {
  root: '/apis/rbac.authorization.k8s.io/v1',
  plural: 'clusterroles',
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRole',
};

async function aggregateClusterRoles(client: ApiClient): Promise<void> {
  for (;;) {
    const roles = await listAll<ClusterRole>(client, clusterRoles);
    let changed = false;
    for (const role of roles) {
      const selectors = role.aggregationRule?.clusterRoleSelectors;
      if (selectors === undefined) continue;
      const parts = roles.filter(
        (part) => part !== role && selectors.some((one) => matchesSelector(part.metadata?.labels, one)),
      );
      const rules = parts.flatMap((part) => part.rules ?? []);
      if (holds(role.rules, rules)) continue;
      await client.must('PATCH', pathOf(clusterRoles, undefined, nameOf(role)), { rules });
      changed = true;
    }
    // Aggregated roles are parts of others: admin of edit, edit of view.
    if (!changed) return;
  }
}

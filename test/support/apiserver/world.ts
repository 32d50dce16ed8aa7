// What a reconcile pass sees and how it writes.
import type { ApiClient, ApiResponse } from './client.ts';
import { ApiError } from './client.ts';
import { listAll, nameOf, namespaceOf, pathOf, resources, uidOf } from './objects.ts';
import type {
  CronJob,
  DaemonSet,
  Deployment,
  EndpointSlice,
  Job,
  KubeObject,
  Namespace,
  Node,
  Pod,
  PodDisruptionBudget,
  PyTorchJob,
  ReplicaSet,
  Resource,
  Service,
  StatefulSet,
} from './objects.ts';

/** The cluster as one pass lists it, cut to the namespaces that the controllers look after. */
export interface World {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly nodes: readonly Node[];
  readonly pods: readonly Pod[];
  readonly podsByController: ReadonlyMap<string, readonly Pod[]>;
  readonly endpointSlices: readonly EndpointSlice[];
  readonly replicaSets: readonly ReplicaSet[];
  readonly jobs: readonly Job[];
  readonly services: readonly Service[];
  readonly serviceAccounts: readonly KubeObject[];
  readonly configMaps: readonly KubeObject[];
  readonly claims: readonly KubeObject[];
  readonly deployments: readonly Deployment[];
  readonly statefulSets: readonly StatefulSet[];
  readonly daemonSets: readonly DaemonSet[];
  readonly cronJobs: readonly CronJob[];
  readonly pyTorchJobs: readonly PyTorchJob[];
  readonly disruptionBudgets: readonly PodDisruptionBudget[];
  /** Addresses of all pods of the cluster, others' included; grows as the pass gives out more. */
  readonly takenIps: Set<string>;
}

export async function readWorld(client: ApiClient, looksAfter: (namespace: string) => boolean): Promise<World> {
  const listed = async <T extends KubeObject>(resource: Resource): Promise<T[]> =>
    (await listAll<T>(client, resource)).filter((object) => looksAfter(namespaceOf(object)));
  // Dependents before their owners: an owner that is missing from the later list is really gone.
  const [allPods, endpointSlices, claims, serviceAccounts, configMaps] = await Promise.all([
    listAll<Pod>(client, resources.pods),
    listed<EndpointSlice>(resources.endpointSlices),
    listed(resources.claims),
    listed(resources.serviceAccounts),
    listed(resources.configMaps),
  ]);
  const [replicaSets, jobs, services] = await Promise.all([
    listed<ReplicaSet>(resources.replicaSets),
    listed<Job>(resources.jobs),
    listed<Service>(resources.services),
  ]);
  const [deployments, statefulSets, daemonSets, cronJobs, pyTorchJobs, disruptionBudgets, namespaces, nodes] =
    await Promise.all([
      listed<Deployment>(resources.deployments),
      listed<StatefulSet>(resources.statefulSets),
      listed<DaemonSet>(resources.daemonSets),
      listed<CronJob>(resources.cronJobs),
      listed<PyTorchJob>(resources.pyTorchJobs),
      listed<PodDisruptionBudget>(resources.disruptionBudgets),
      listAll<Namespace>(client, resources.namespaces),
      listAll<Node>(client, resources.nodes),
    ]);
  const pods = allPods.filter((pod) => looksAfter(namespaceOf(pod)));
  return {
    namespaces: new Map(namespaces.filter((item) => looksAfter(nameOf(item))).map((item) => [nameOf(item), item])),
    nodes: nodes.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)),
    pods,
    podsByController: groupByController(pods),
    endpointSlices,
    replicaSets,
    jobs,
    services,
    serviceAccounts,
    configMaps,
    claims,
    deployments,
    statefulSets,
    daemonSets,
    cronJobs,
    pyTorchJobs,
    disruptionBudgets,
    takenIps: new Set(allPods.flatMap((pod) => pod.status?.podIP ?? [])),
  };
}

function groupByController(pods: readonly Pod[]): Map<string, Pod[]> {
  const groups = new Map<string, Pod[]>();
  for (const pod of pods) {
    const uid = pod.metadata?.ownerReferences?.find(({ controller }) => controller === true)?.uid;
    if (uid === undefined) continue;
    groups.set(uid, [...(groups.get(uid) ?? []), pod]);
  }
  return groups;
}

/** Writes as a named component of a cluster. A write that comes too late is no error: the next pass sees why. */
export interface Writer {
  /** The requests sent so far, for the report on a cluster that does not come to rest. */
  readonly sent: readonly string[];
  create(resource: Resource, object: KubeObject, manager?: Manager): Promise<void>;
  patch(resource: Resource, object: KubeObject, body: object, manager?: Manager): Promise<void>;
  patchStatus(resource: Resource, object: KubeObject, status: object, manager?: Manager): Promise<void>;
  post(path: string, body: object): Promise<void>;
  remove(resource: Resource, object: KubeObject): Promise<void>;
}

type Manager = 'kube-controller-manager' | 'kubelet';

export function createWriter(client: ApiClient): Writer {
  const sent: string[] = [];
  const send = async (method: string, path: string, body: object): Promise<void> => {
    const response = await client.request(method, path, body);
    sent.push(`${method} ${path}: ${response.status}`);
    if (response.status >= 400 && !isLate(response)) {
      throw new ApiError(response.status, `${method} ${path}: ${response.status} ${response.text.slice(0, 1000)}`);
    }
  };
  const objectPath = (resource: Resource, object: KubeObject): string =>
    pathOf(resource, object.metadata?.namespace, nameOf(object));
  return {
    sent,
    create: (resource, object, manager = 'kube-controller-manager') =>
      send('POST', `${pathOf(resource, object.metadata?.namespace)}?fieldManager=${manager}`, object),
    patch: (resource, object, body, manager = 'kube-controller-manager') =>
      send('PATCH', `${objectPath(resource, object)}?fieldManager=${manager}`, body),
    patchStatus: (resource, object, status, manager = 'kube-controller-manager') =>
      send('PATCH', `${objectPath(resource, object)}/status?fieldManager=${manager}`, { status }),
    post: (path, body) => send('POST', path, body),
    // Grace 0 and the uid: what a kubelet does once the containers of exactly this pod have ended.
    remove: (resource, object) =>
      send('DELETE', objectPath(resource, object), {
        gracePeriodSeconds: 0,
        propagationPolicy: 'Background',
        preconditions: { uid: uidOf(object) },
      }),
  };
}

function isLate({ status, text }: ApiResponse): boolean {
  return status === 404 || status === 409 || (status === 403 && text.includes('because it is being terminated'));
}

/** What a test may decide about the played cluster. */
export interface Rules {
  /** Namespaces that these controllers look after. */
  readonly looksAfter: (namespace: string) => boolean;
  readonly revisions: readonly string[];
  /** Do pods of this workload (`namespace/Kind/name`) and template never become ready? */
  readonly isFailing: (workload: string, templateHash: string) => boolean;
  /** Has this Job (`namespace/name`) done its work? */
  readonly isComplete: (job: string) => boolean;
  readonly now: () => string;
}

/** What every step of a pass works with. */
export interface Pass extends Rules {
  readonly client: ApiClient;
  readonly world: World;
  readonly writer: Writer;
}

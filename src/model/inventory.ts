import type { FieldPath } from '../shared/pure/json.ts';
import type { Endpoint, Protocol } from './edge.ts';
import type { Finding } from './finding.ts';
import type { KubeManifest, ObjectRef } from './object.ts';

export type Labels = Readonly<Record<string, string>>;

/** Where an object of a directory was read. Lines count from 1, documents from 1. */
export interface Origin {
  readonly file: string;
  readonly document: number;
  readonly line: number;
}

/** Everything read at one moment. The unit on which plans are made, simulated and compared. */
export interface Snapshot {
  readonly source: 'cluster' | 'directory';
  /** Sorted by refKey; no key twice. */
  readonly objects: readonly KubeManifest[];
  /** Directory only: refKey -> place. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** Files that do not parse, kinds that may not be listed, duplicates. */
  readonly findings: readonly Finding[];
  /** Kinds (`group/Kind`) that could not be read: facts that depend on them are unknown. */
  readonly unread: readonly string[];
}

export interface ContainerPort {
  readonly name?: string;
  readonly port: number;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
}

export interface ContainerInfo {
  readonly name: string;
  readonly image: string;
  readonly init: boolean;
  readonly ports: readonly ContainerPort[];
  /** Ports (numbers, names resolved) on which the kubelet probes over the network. */
  readonly probePorts: readonly number[];
  readonly envNames: readonly string[];
}

export type MeshMembership = 'sidecar' | 'ambient' | 'none' | 'mixed' | 'unknown';

/** Pods of one workload that no selector in force can tell apart: a replica type, or all of a Deployment. */
export interface PodSet {
  /** `""` for a plain workload; `Master`, `Worker`, `driver`, `head` ... of a custom owner. */
  readonly role: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly serviceAccount: string;
  /** Accounts beside that one, where there are any: of pods that have not ended and run as another than new ones will. Sorted. */
  readonly otherAccounts?: readonly string[];
  readonly hostNetwork: boolean;
  readonly containers: readonly ContainerInfo[];
  readonly mesh: MeshMembership;
  /** Where the pod template stands in the owner; undefined when pods are known only by themselves. */
  readonly templatePath?: FieldPath;
  /** Names of running pods, with their addresses; empty in a directory without Pod objects. */
  readonly pods: readonly PodInfo[];
}

/** Every account that pods of the set run as, and that new ones will. */
export function accountsOfPodSet({ serviceAccount, otherAccounts }: PodSet): readonly string[] {
  return [serviceAccount, ...(otherAccounts ?? [])];
}

export interface PodInfo {
  readonly name: string;
  readonly uid?: string;
  readonly ips: readonly string[];
  readonly node?: string;
  readonly hostNetwork: boolean;
  readonly phase: string;
  readonly ready: boolean;
  readonly sidecar: boolean;
  /** Milliseconds since the epoch. */
  readonly startedAt?: number;
  /** Since when its sandbox has its addresses, where that is later than the start: a sandbox made anew has others. */
  readonly addressSince?: number;
  readonly finishedAt?: number;
  /** The Job or other direct owner; names a schedule run. */
  readonly owner?: string;
}

export interface Schedule {
  readonly cron: string;
  readonly timeZone?: string;
  readonly suspended: boolean;
  readonly lastSuccess?: number;
  readonly lastSchedule?: number;
  /** `CronJob`, `ScheduledWorkflow`, `CronWorkflow`, `ScheduledSparkApplication`, `RayCronJob`. */
  readonly by: string;
}

/** Who else writes an object: Git, Helm or an operator. */
export interface Manager {
  readonly kind: 'argo-cd' | 'flux' | 'helm' | 'operator' | 'other';
  readonly name: string;
  /** The label, annotation or owner that says so. */
  readonly because: string;
}

export interface Classification {
  readonly component: string;
  readonly stage: string;
  readonly plane: string;
  readonly sensitivity: readonly string[];
  readonly confidence: 'strong' | 'weak';
  readonly why: readonly string[];
  readonly alternatives: readonly string[];
}

/** What owns pods: the top of the owner chain that a person would name. */
export interface Workload {
  /** `namespace/Kind/name`. */
  readonly id: string;
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly ref: ObjectRef;
  /** Plain kinds are changed in their template; custom ones through their operator's field or not at all. */
  readonly custom: boolean;
  readonly podSets: readonly PodSet[];
  readonly replicas?: number;
  /** True for Job-like workloads: pods that end, and are never restarted by us. */
  readonly batch: boolean;
  readonly schedule?: Schedule;
  readonly manager?: Manager;
  readonly classification: Classification;
}

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly targetPort: number | string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly appProtocol?: string;
  readonly nodePort?: number;
}

export interface ServiceInfo {
  readonly namespace: string;
  readonly name: string;
  readonly type: string;
  readonly headless: boolean;
  readonly selector?: Labels;
  readonly ports: readonly ServicePort[];
  readonly clusterIPs: readonly string[];
  /** Addresses besides that nodes themselves answer for: external ones, and those of load balancers that do not proxy. */
  readonly virtualIPs?: readonly string[];
  /** Milliseconds since the epoch. */
  readonly createdAt?: number;
  /** Workload ids selected. */
  readonly workloads: readonly string[];
  /** The waypoint that its labels name, `namespace/name`; `none` where they want none. */
  readonly useWaypoint?: string;
}

export interface NamespaceInfo {
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  /** Why it is refused unless named outright: "runs the CNI", "hosts an admission webhook" ... */
  readonly system?: string;
  /** False when only implied by an object in it (a directory without the Namespace object). */
  readonly declared: boolean;
}

export interface NodeInfo {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCIDRs: readonly string[];
  /** Milliseconds since the epoch. */
  readonly createdAt?: number;
}

export type IpBlockTarget = 'pods' | 'nodes' | 'api-server';

export interface CniFacts {
  readonly name: string;
  /** Does it enforce NetworkPolicy for these pods? */
  readonly enforces: 'yes' | 'no' | 'unknown';
  readonly ipBlockMatches: readonly IpBlockTarget[];
  /** Where this comes from, for people. */
  readonly because: string;
}

export interface MeshFacts {
  readonly kind: 'istio' | 'none' | 'unknown';
  readonly mode: 'sidecar' | 'ambient' | 'unknown';
  readonly version?: string;
  readonly rootNamespace: string;
  readonly trustDomain: string;
  /** Further trust domains whose principals count as the mesh's own. Absent: none is known. */
  readonly trustDomainAliases?: readonly string[];
  /** Revision label value where not the default revision. */
  readonly revision?: string;
  /** Values of `istio.io/rev` that some webhook serves, tags too; `default` for `istio-injection=enabled`. Absent: not known. */
  readonly revisions?: readonly string[];
  /** `enableAutoMtls` of the mesh configuration; on where it says nothing. Absent: not read. */
  readonly autoMtls?: boolean;
  readonly nativeSidecars: 'yes' | 'no' | 'unknown';
  readonly because: string;
}

export interface ClusterFacts {
  readonly cni: CniFacts;
  readonly mesh: MeshFacts;
  /** CIDRs at which pods reach the API server, after NAT. */
  readonly apiServer: readonly string[];
  readonly kubernetesVersion?: string;
}

/** A connection that configuration states. */
export interface Declared {
  readonly src: Endpoint;
  readonly dst: Endpoint;
  readonly protocol: Protocol;
  readonly port: number;
  readonly strength: 'strong' | 'weak';
  /** `ValidatingWebhookConfiguration x`, `readiness probe`, `Ingress shop/web`, `env MLFLOW_URL` ... */
  readonly by: string;
}

/** What the cluster is, as far as it could be read. */
export interface Inventory {
  readonly namespaces: readonly NamespaceInfo[];
  readonly workloads: readonly Workload[];
  readonly services: readonly ServiceInfo[];
  readonly nodes: readonly NodeInfo[];
  readonly facts: ClusterFacts;
  readonly declared: readonly Declared[];
  /** Policy objects of every kind known or suspected to act on connections, raw: the evaluator parses them. */
  readonly policies: readonly KubeManifest[];
  readonly findings: readonly Finding[];
}

/**
 * Kinds whose pods follow their template. A Job's template cannot be changed (k8s.io/kubernetes pkg/apis/batch/validation,
 * ValidateJobSpecUpdate), and the controllers of ReplicaSets and ReplicationControllers leave the pods they have alone.
 */
const FOLLOWS_TEMPLATE: ReadonlySet<string> = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'CronJob']);

/** Do its pods, now or from the next run on, become what its pod template says? */
export function followsTemplate(workload: Pick<Workload, 'kind' | 'custom'>): boolean {
  return !workload.custom && FOLLOWS_TEMPLATE.has(workload.kind);
}

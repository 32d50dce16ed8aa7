import { uniqueSorted } from '../shared/pure/order.ts';
import type { Inventory, Labels, Workload } from '../model/inventory.ts';

/** The address on which NodeLocal DNSCache answers unless it was told otherwise. */
export const NODE_LOCAL_DNS = '169.254.20.10';

/** How pods reach the cluster's name servers. */
export interface DnsFacts {
  readonly workloadIds: readonly string[];
  /** Ports of the pods, after NAT: 53, or 5353 on OpenShift. */
  readonly ports: readonly { readonly port: number; readonly protocol: 'TCP' | 'UDP' }[];
  /** True where a cache on every node answers at NODE_LOCAL_DNS, which no pod selector matches. */
  readonly nodeLocal: boolean;
  /**
   * Addresses at which the cache on every node answers: the well-known one and those of the DNS Service, on which it listens too
   * where kube-proxy uses iptables (Kubernetes, "Using NodeLocal DNSCache in Kubernetes Clusters"). Empty where there is no cache.
   */
  readonly nodeAddresses: readonly string[];
  readonly namespace: string;
  /** The selector of the DNS Service; empty where no Service was read. */
  readonly selector: Labels;
}

const BOTH = [
  { port: 53, protocol: 'TCP' },
  { port: 53, protocol: 'UDP' },
] as const;

const DNS_SERVICES: readonly (readonly [string, string])[] = [
  ['kube-system', 'kube-dns'],
  ['openshift-dns', 'dns-default'],
  ['kube-system', 'coredns'],
  ['kube-system', 'rke2-coredns-rke2-coredns'],
];

/** The cluster's DNS as read; undefined where neither Service nor workload is there (a directory of one application). */
export function findDns(inventory: Inventory): DnsFacts | undefined {
  const byId = new Map(inventory.workloads.map((workload) => [workload.id, workload]));
  const nodeLocal = inventory.workloads.some(isNodeLocal);
  for (const [namespace, name] of DNS_SERVICES) {
    const service = inventory.services.find((item) => item.namespace === namespace && item.name === name);
    if (service === undefined) continue;
    const ports = new Map<string, DnsFacts['ports'][number]>();
    for (const item of service.ports) {
      if (item.protocol === 'SCTP' || (item.port !== 53 && item.targetPort !== 53)) continue;
      const port =
        typeof item.targetPort === 'number'
          ? item.targetPort
          : containerPort(
              service.workloads.flatMap((id) => byId.get(id) ?? []),
              item.targetPort,
            );
      const answer = port ?? (namespace === 'openshift-dns' ? 5353 : 53);
      ports.set(`${answer}/${item.protocol}`, { port: answer, protocol: item.protocol });
    }
    return {
      workloadIds: service.workloads,
      ports: ports.size > 0 ? [...ports.values()] : BOTH,
      nodeLocal,
      nodeAddresses: nodeLocal ? uniqueSorted([NODE_LOCAL_DNS, ...service.clusterIPs]) : [],
      namespace,
      selector: service.selector ?? {},
    };
  }
  const servers = inventory.workloads.filter(isDnsServer);
  const [first] = servers;
  if (first === undefined) return undefined;
  return {
    workloadIds: uniqueSorted(servers.map((workload) => workload.id)),
    ports: BOTH,
    nodeLocal,
    nodeAddresses: nodeLocal ? [NODE_LOCAL_DNS] : [],
    namespace: first.namespace,
    selector:
      first.podSets[0]?.labels['k8s-app'] === undefined ? {} : { 'k8s-app': first.podSets[0].labels['k8s-app'] },
  };
}

function containerPort(workloads: readonly Workload[], name: string): number | undefined {
  for (const workload of workloads) {
    for (const set of workload.podSets) {
      for (const container of set.containers) {
        const port = container.ports.find((item) => item.name === name);
        if (port !== undefined) return port.port;
      }
    }
  }
  return undefined;
}

function hasImage(workload: Workload, test: (repository: string) => boolean): boolean {
  return workload.podSets.some((set) => set.containers.some((container) => test(repositoryOf(container.image))));
}

/** An image without digest and tag. */
function repositoryOf(image: string): string {
  const name = image.split('@')[0] ?? image;
  const colon = name.lastIndexOf(':');
  return colon > name.lastIndexOf('/') ? name.slice(0, colon) : name;
}

function isNodeLocal(workload: Workload): boolean {
  return workload.kind === 'DaemonSet' && hasImage(workload, (name) => name.endsWith('k8s-dns-node-cache'));
}

function isDnsServer(workload: Workload): boolean {
  return (
    (workload.namespace === 'kube-system' || workload.namespace === 'openshift-dns') &&
    hasImage(workload, (name) => /(?:^|\/)(?:coredns|k8s-dns-kube-dns)$/.test(name))
  );
}

/** Ids of the workloads that are a Prometheus server (or an agent of it), sorted. */
export function findPrometheus(workloads: readonly Workload[]): readonly string[] {
  return uniqueSorted(workloads.filter(isPrometheus).map((workload) => workload.id));
}

function isPrometheus(workload: Workload): boolean {
  if (workload.kind === 'Prometheus' || workload.kind === 'PrometheusAgent') return true;
  return hasImage(workload, (name) => /(?:^|\/)prometheus$/.test(name));
}

/** An address at which clouds answer for a node or a pod; link-local unless noted. */
export interface MetadataServer {
  readonly cidr: string;
  readonly ports: readonly number[];
  readonly name: string;
}

/** Metadata servers of clouds, from their public documentation. */
export const METADATA_SERVERS: readonly MetadataServer[] = [
  { cidr: '169.254.169.254/32', ports: [80, 988], name: 'instance metadata (AWS, Azure, GCP, OpenStack, OCI)' },
  { cidr: '169.254.169.252/32', ports: [987, 988], name: 'GKE metadata server' },
  { cidr: '169.254.170.2/32', ports: [80], name: 'AWS task credentials' },
  { cidr: '169.254.170.23/32', ports: [80], name: 'EKS Pod Identity agent' },
  { cidr: 'fd00:ec2::254/128', ports: [80], name: 'AWS instance metadata over IPv6' },
  { cidr: 'fd00:ec2::23/128', ports: [80], name: 'EKS Pod Identity agent over IPv6' },
  { cidr: '168.63.129.16/32', ports: [80, 32526], name: 'Azure host agent' },
  { cidr: '100.100.100.200/32', ports: [80], name: 'Alibaba Cloud instance metadata' },
];

/** The metadata server at an address; undefined for every other address. */
export function metadataServerAt(ip: string): MetadataServer | undefined {
  return METADATA_SERVERS.find((server) => server.cidr.slice(0, server.cidr.indexOf('/')) === ip);
}

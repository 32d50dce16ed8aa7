import type { Edge, EdgeKey, Endpoint, Verdict3 } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { Flow, RawEnd } from '../../src/model/flow.ts';
import type {
  ContainerPort,
  Inventory,
  Labels,
  PodInfo,
  Schedule,
  ServiceInfo,
  Workload,
} from '../../src/model/inventory.ts';

export const DAY = 86_400_000;
export const HOUR = 3_600_000;
/** A Monday, at midnight. */
export const MONDAY = Date.UTC(2026, 9, 5);

export function emptyInventory(parts: Partial<Inventory> = {}): Inventory {
  return {
    namespaces: [],
    workloads: [],
    services: [],
    nodes: [],
    facts: {
      cni: { name: 'cilium', enforces: 'yes', ipBlockMatches: [], because: 'a test' },
      mesh: {
        kind: 'none',
        mode: 'unknown',
        rootNamespace: 'istio-system',
        trustDomain: 'cluster.local',
        nativeSidecars: 'unknown',
        because: 'a test',
      },
      apiServer: [],
    },
    declared: [],
    policies: [],
    findings: [],
    ...parts,
  };
}

export interface WorkloadParts {
  readonly labels?: Labels;
  readonly serviceAccount?: string;
  readonly hostNetwork?: boolean;
  readonly ports?: readonly ContainerPort[];
  readonly pods?: readonly PodInfo[];
  readonly custom?: boolean;
  readonly batch?: boolean;
  readonly schedule?: Schedule;
}

/** `ns/Kind/name`. */
export function workload(id: string, parts: WorkloadParts = {}): Workload {
  const [namespace = '', kind = '', name = ''] = id.split('/');
  return {
    id,
    namespace,
    kind,
    name,
    ref: { apiVersion: 'apps/v1', kind, namespace, name },
    custom: parts.custom ?? false,
    podSets: [
      {
        role: '',
        labels: parts.labels ?? { app: name },
        annotations: {},
        serviceAccount: parts.serviceAccount ?? '',
        hostNetwork: parts.hostNetwork ?? false,
        containers: [
          {
            name: 'main',
            image: 'registry.example/main',
            init: false,
            ports: parts.ports ?? [],
            probePorts: [],
            envNames: [],
          },
        ],
        mesh: 'none',
        pods: parts.pods ?? [],
      },
    ],
    batch: parts.batch ?? false,
    ...(parts.schedule === undefined ? {} : { schedule: parts.schedule }),
    classification: {
      component: 'unknown',
      stage: 'unknown',
      plane: 'unknown',
      sensitivity: [],
      confidence: 'weak',
      why: [],
      alternatives: [],
    },
  };
}

export function pod(name: string, ip: string, parts: Partial<PodInfo> = {}): PodInfo {
  return { name, ips: [ip], hostNetwork: false, phase: 'Running', ready: true, sidecar: false, ...parts };
}

export function service(path: string, parts: Partial<ServiceInfo>): ServiceInfo {
  const [namespace = '', name = ''] = path.split('/');
  return { namespace, name, type: 'ClusterIP', headless: false, ports: [], clusterIPs: [], workloads: [], ...parts };
}

export function end(parts: Partial<RawEnd> = {}): RawEnd {
  return { labels: {}, reserved: [], names: [], ...parts };
}

/** A stamped end: `ns/Kind/name` with a pod of that name. */
export function stamped(id: string, parts: Partial<RawEnd> = {}): RawEnd {
  const [namespace = '', kind = '', name = ''] = id.split('/');
  return end({ namespace, workload: { kind, name }, ...parts });
}

export function flow(parts: Partial<Flow> & Pick<Flow, 'src' | 'dst'>): Flow {
  const first = parts.first ?? MONDAY;
  return {
    first,
    last: first,
    protocol: 'TCP',
    srcPort: 40_000,
    port: 8080,
    verdict: 'allowed',
    view: 'egress',
    tap: 'verdict',
    initiatorKnown: true,
    reply: false,
    stage: 'open',
    count: 1,
    proxied: false,
    mtls: 'unknown',
    source: 'hubble',
    ...parts,
  };
}

/** `ns/Kind/name`, `node`, `api-server` or `external:x`. */
export function endpoint(text: string): Endpoint {
  if (text === 'node' || text === 'api-server') return { kind: text };
  if (text.startsWith('external:')) return { kind: 'external', name: text.slice(9) };
  if (text.startsWith('unknown:')) return { kind: 'unknown', ip: text.slice(8), why: 'a test' };
  return { kind: 'workload', id: text };
}

export interface EdgeParts extends Partial<Omit<Edge, 'src' | 'dst' | 'id' | 'verdicts'>> {
  readonly verdicts?: Readonly<Partial<Record<Verdict3, number>>>;
}

export function edge(src: string, dst: string, parts: EdgeParts = {}): Edge {
  const key: EdgeKey = {
    src: endpoint(src),
    dst: endpoint(dst),
    protocol: parts.protocol ?? 'TCP',
    port: parts.port ?? 8080,
    ...(parts.endPort === undefined ? {} : { endPort: parts.endPort }),
    ...(parts.l7 === undefined ? {} : { l7: parts.l7 }),
  };
  return {
    count: 1,
    first: MONDAY,
    last: MONDAY,
    verdicts: { allowed: parts.count ?? 1 },
    days: ['2026-10-05'],
    runs: [],
    sources: ['hubble'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
    ...parts,
    ...key,
    id: edgeId(key),
  };
}

/** UTC days from the Monday on. */
export function days(count: number, from = 0): readonly string[] {
  return Array.from({ length: count }, (_, index) =>
    new Date(MONDAY + (from + index) * DAY).toISOString().slice(0, 10),
  );
}

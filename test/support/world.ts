import type { Endpoint, Protocol } from '../../src/model/edge.ts';
import type {
  CniFacts,
  ContainerInfo,
  ContainerPort,
  Inventory,
  Labels,
  MeshFacts,
  MeshMembership,
  NamespaceInfo,
  NodeInfo,
  PodInfo,
  PodSet,
  ServiceInfo,
  Workload,
} from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { evaluateConnection } from '../../src/model/evaluate.ts';
import type { World } from '../../src/model/evaluate.ts';
import type { ConnectionQuery, ConnectionVerdict } from '../../src/model/verdict.ts';

/** `8080`, `http=8080`, `dns=53/UDP`, `9000/SCTP` */
export type PortText = string | number;

export interface PodSetSketch {
  readonly role?: string;
  readonly labels?: Labels;
  readonly annotations?: Labels;
  readonly account?: string;
  readonly hostNetwork?: boolean;
  readonly ports?: readonly PortText[];
  readonly initPorts?: readonly PortText[];
  readonly probes?: readonly number[];
  readonly mesh?: MeshMembership;
  /** `10.0.0.1@n1`: address and node; `@n1` has no address yet; several addresses are joined by `,`. */
  readonly pods?: readonly string[];
}

export interface InventorySketch {
  /** Labels by namespace; null for one that no object declares. Namespaces of workloads are added by themselves. */
  readonly namespaces?: Readonly<Record<string, Labels | null>>;
  /** By id: one pod set, or several. */
  readonly workloads?: Readonly<Record<string, PodSetSketch | readonly PodSetSketch[]>>;
  readonly services?: readonly ServiceSketch[];
  readonly nodes?: Readonly<Record<string, readonly string[]>>;
  readonly policies?: readonly KubeManifest[];
  readonly cni?: Partial<CniFacts>;
  readonly mesh?: Partial<MeshFacts>;
  readonly apiServer?: readonly string[];
}

export interface ServiceSketch {
  /** `shop/web` */
  readonly name: string;
  readonly selects: readonly string[];
  readonly selector?: Labels;
  /** `http:80->8080`, `80->web` (a named target), `tcp-x:80` */
  readonly ports: readonly string[];
  readonly appProtocol?: string;
}

function parsePort(text: PortText): ContainerPort {
  const match = /^(?:([^=]+)=)?(\d+)(?:\/(TCP|UDP|SCTP))?$/u.exec(String(text));
  if (match === null) throw new Error(`not a port: ${text}`);
  const base = { port: Number(match[2]), protocol: (match[3] ?? 'TCP') as Protocol };
  return match[1] === undefined ? base : { ...base, name: match[1] };
}

function podInfo(text: string, index: number, hostNetwork: boolean): PodInfo {
  const [ips = '', node] = text.split('@');
  return {
    name: `pod-${index}`,
    ips: ips === '' ? [] : ips.split(','),
    ...(node === undefined ? {} : { node }),
    hostNetwork,
    phase: 'Running',
    ready: true,
    sidecar: false,
  };
}

export function podSet(sketch: PodSetSketch): PodSet {
  const container = (name: string, init: boolean, ports: readonly PortText[]): ContainerInfo => ({
    name,
    image: 'registry.example/app:1',
    init,
    ports: ports.map(parsePort),
    probePorts: init ? [] : (sketch.probes ?? []),
    envNames: [],
  });
  const hostNetwork = sketch.hostNetwork ?? false;
  return {
    role: sketch.role ?? '',
    labels: sketch.labels ?? {},
    annotations: sketch.annotations ?? {},
    serviceAccount: sketch.account ?? 'default',
    hostNetwork,
    containers: [
      container('main', false, sketch.ports ?? []),
      ...(sketch.initPorts === undefined ? [] : [container('early', true, sketch.initPorts)]),
    ],
    mesh: sketch.mesh ?? 'none',
    pods: (sketch.pods ?? []).map((text, index) => podInfo(text, index, hostNetwork)),
  };
}

export function workload(id: string, sketch: PodSetSketch | readonly PodSetSketch[]): Workload {
  const [namespace = '', kind = '', name = ''] = id.split('/');
  const sketches = 'length' in sketch ? sketch : [sketch];
  return {
    id,
    namespace,
    kind,
    name,
    ref: { apiVersion: 'apps/v1', kind, namespace, name },
    custom: false,
    podSets: sketches.map(podSet),
    batch: false,
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

function service({ name, selects, selector, ports, appProtocol }: ServiceSketch): ServiceInfo {
  const [namespace = '', short = ''] = name.split('/');
  return {
    namespace,
    name: short,
    type: 'ClusterIP',
    headless: false,
    ...(selector === undefined ? {} : { selector }),
    ports: ports.map((text) => {
      const match = /^(?:([^:]+):)?(\d+)(?:->(.+))?$/u.exec(text);
      if (match === null) throw new Error(`not a service port: ${text}`);
      const [, portName, port, target] = match;
      const targetPort = target === undefined ? Number(port) : /^\d+$/u.test(target) ? Number(target) : target;
      return {
        port: Number(port),
        targetPort,
        protocol: 'TCP' as const,
        ...(portName === undefined ? {} : { name: portName }),
        ...(appProtocol === undefined ? {} : { appProtocol }),
      };
    }),
    clusterIPs: [],
    workloads: selects,
  };
}

/** An inventory in a few lines. The CNI enforces, ipBlock matches nothing inside the cluster, there is no mesh. */
export function inventoryOf(sketch: InventorySketch): Inventory {
  const workloads = Object.entries(sketch.workloads ?? {}).map(([id, one]) => workload(id, one));
  const labels = new Map<string, Labels | null>(Object.entries(sketch.namespaces ?? {}));
  for (const { namespace } of workloads) if (!labels.has(namespace)) labels.set(namespace, {});
  const namespaces = [...labels].map(([name, own]): NamespaceInfo => ({
    name,
    labels: own ?? {},
    annotations: {},
    declared: own !== null,
  }));
  const nodes = Object.entries(sketch.nodes ?? {}).map(([name, addresses]): NodeInfo => ({
    name,
    addresses,
    podCIDRs: [],
  }));
  return {
    namespaces,
    workloads,
    services: (sketch.services ?? []).map(service),
    nodes,
    facts: {
      cni: { name: 'test', enforces: 'yes', ipBlockMatches: [], because: 'the test says so', ...sketch.cni },
      mesh: {
        kind: 'none',
        mode: 'sidecar',
        rootNamespace: 'istio-system',
        trustDomain: 'cluster.local',
        nativeSidecars: 'unknown',
        because: 'the test says so',
        ...sketch.mesh,
      },
      apiServer: sketch.apiServer ?? [],
    },
    declared: [],
    policies: sketch.policies ?? [],
    findings: [],
  };
}

/** `manifest('security.istio.io/v1', 'PeerAuthentication', 'shop/default', spec)`; a name without `/` is cluster-scoped. */
export function manifest(
  apiVersion: string,
  kind: string,
  name: string,
  spec: JsonObject,
  metadata: JsonObject = {},
): KubeManifest {
  const [first = '', second] = name.split('/');
  const own = second === undefined ? { name: first } : { namespace: first, name: second };
  return { apiVersion, kind, metadata: { ...metadata, ...own }, spec };
}

export function networkPolicy(name: string, spec: JsonObject): KubeManifest {
  return manifest('networking.k8s.io/v1', 'NetworkPolicy', name, spec);
}

/** `node`, `node:n1`, `api-server`, `external:1.2.3.4`, `external:name`, `unknown`, or a workload id. */
export function endpoint(text: string): Endpoint {
  if (text === 'node') return { kind: 'node' };
  if (text.startsWith('node:')) return { kind: 'node', name: text.slice(5) };
  if (text === 'api-server') return { kind: 'api-server' };
  if (text === 'unknown') return { kind: 'unknown', why: 'the test says so' };
  if (!text.startsWith('external:')) return { kind: 'workload', id: text };
  const rest = text.slice(9);
  return /^[\d.]+$|:/u.test(rest) ? { kind: 'external', ip: rest } : { kind: 'external', name: rest };
}

/** `A -> B 8080`, `A -> B 53/UDP`, `A -> B 8000-8010`, `A -> B 80 GET /path` */
export function connection(text: string): ConnectionQuery {
  const match = /^(\S+) -> (\S+) (\d+)(?:-(\d+))?(?:\/(TCP|UDP|SCTP))?(?: (\S+ \S+))?$/u.exec(text);
  if (match === null) throw new Error(`not a connection: ${text}`);
  const [, src = '', dst = '', port, endPort, protocol, l7] = match;
  return {
    src: endpoint(src),
    dst: endpoint(dst),
    protocol: (protocol ?? 'TCP') as Protocol,
    port: Number(port),
    ...(endPort === undefined ? {} : { endPort: Number(endPort) }),
    ...(l7 === undefined ? {} : { l7 }),
  };
}

/** The answer, after a check that the reasons given bear it out. */
export function answerOf(world: World, text: string): ConnectionVerdict['answer'] {
  const { answer, reasons } = evaluateConnection(world, connection(text));
  const decisions = new Set(reasons.map(({ decision }) => decision));
  const bears =
    answer === 'denied'
      ? reasons[0]?.decision === 'denies'
      : answer === 'unknown'
        ? reasons[0]?.decision === 'unknown'
        : !decisions.has('denies') && !decisions.has('unknown');
  if (!bears) throw new Error(`${answer}, but: ${JSON.stringify(reasons)}`);
  return answer;
}

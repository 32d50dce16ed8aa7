// Pods as their controllers, the sidecar injector and the kubelet would make them. Nothing here talks to a server.
import { digestOf, nameOf, stampConditions } from './objects.ts';
import type { Container, KubeObject, Meta, Node, Pod, PodTemplate } from './objects.ts';

export const proxyImage = 'docker.io/istio/proxyv2:1.29.0';
const sidecarName = 'istio-proxy';
// Namespaces that Istio's injector leaves alone.
const neverInjected = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage']);

/**
 * Would Istio's injector (its default webhooks and revisions) add a sidecar to this pod? The pod's label decides over
 * its annotation, and both only where a webhook selects the pod: namespace label `istio-injection` or `istio.io/rev`, else
 * the pod's own `sidecar.istio.io/inject` or `istio.io/rev`. Pods on the host network never get one.
 */
export function isInjected(pod: Pod, namespace: KubeObject, revisions: readonly string[]): boolean {
  if (pod.spec?.hostNetwork === true || neverInjected.has(nameOf(namespace))) return false;
  const labels = pod.metadata?.labels ?? {};
  const inject = labels['sidecar.istio.io/inject'];
  if (inject === 'false') return false;
  const namespaceLabels = namespace.metadata?.labels ?? {};
  const injection = namespaceLabels['istio-injection'];
  const namespaceRevision = namespaceLabels['istio.io/rev'];
  const podRevision = labels['istio.io/rev'];
  const selected =
    injection !== undefined
      ? injection === 'enabled'
      : namespaceRevision !== undefined
        ? revisions.includes(namespaceRevision)
        : podRevision !== undefined
          ? revisions.includes(podRevision)
          : inject === 'true';
  return selected && (inject === 'true' || pod.metadata?.annotations?.['sidecar.istio.io/inject'] !== 'false');
}

/** The pod with Istio's proxy as a native sidecar, and the marks that the injector leaves. */
export function injectSidecar(pod: Pod): Pod {
  const spec = pod.spec ?? { containers: [] };
  const probePort = 15021;
  const proxy: Container = {
    name: sidecarName,
    image: proxyImage,
    args: ['proxy', 'sidecar', '--domain', '$(POD_NAMESPACE).svc.cluster.local'],
    env: [{ name: 'POD_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }],
    ports: [{ name: 'http-envoy-prom', containerPort: 15090, protocol: 'TCP' }],
    readinessProbe: { httpGet: { path: '/healthz/ready', port: probePort } },
    startupProbe: { httpGet: { path: '/healthz/ready', port: probePort }, failureThreshold: 600, periodSeconds: 1 },
    restartPolicy: 'Always',
    securityContext: { runAsUser: 1337, runAsGroup: 1337, runAsNonRoot: true },
  };
  const init: Container = {
    name: 'istio-init',
    image: proxyImage,
    args: ['istio-iptables', '-p', '15001', '-z', '15006', '-u', '1337'],
    securityContext: {
      capabilities: { add: ['NET_ADMIN', 'NET_RAW'], drop: ['ALL'] },
      runAsUser: 0,
      runAsNonRoot: false,
    },
  };
  const status = { initContainers: [init.name, proxy.name], containers: null, volumes: [], revision: 'default' };
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      labels: {
        ...pod.metadata?.labels,
        'security.istio.io/tlsMode': 'istio',
        'service.istio.io/canonical-name': canonicalNameOf(pod),
        'service.istio.io/canonical-revision': pod.metadata?.labels?.['version'] ?? 'latest',
      },
      annotations: {
        ...pod.metadata?.annotations,
        'istio.io/rev': 'default',
        'sidecar.istio.io/status': JSON.stringify(status),
      },
    },
    spec: { ...spec, initContainers: [init, proxy, ...(spec.initContainers ?? [])] },
  };
}

function canonicalNameOf(pod: Pod): string {
  const labels = pod.metadata?.labels ?? {};
  return labels['app.kubernetes.io/name'] ?? labels['app'] ?? nameOf(pod).slice(0, 63);
}

/** A pod of its owner's template: not yet on the server, on the given node. */
export function buildPod(
  template: PodTemplate,
  identity: {
    readonly name: string;
    readonly namespace: string;
    readonly nodeName: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly owner: NonNullable<Meta['ownerReferences']>[number];
  },
): Pod {
  const account = template.spec?.serviceAccountName ?? 'default';
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: identity.name,
      namespace: identity.namespace,
      labels: { ...template.metadata?.labels, ...identity.labels },
      ...(template.metadata?.annotations === undefined ? {} : { annotations: template.metadata.annotations }),
      ownerReferences: [identity.owner],
    },
    spec: {
      ...(template.spec ?? { containers: [] }),
      serviceAccountName: account,
      serviceAccount: account,
      nodeName: identity.nodeName,
    },
  };
}

export type PodPhase = 'ready' | 'not-ready' | 'succeeded';

/** The status that the kubelet would report; times that the pod already has are kept. */
export function buildPodStatus(pod: Pod, phase: PodPhase, hostIp: string, podIp: string, now: string): object {
  const startTime = pod.status?.startTime ?? now;
  const ready = phase === 'ready';
  const done = phase === 'succeeded';
  const conditions = stampConditions(
    pod.status?.conditions,
    [
      { type: 'PodScheduled', status: 'True' },
      { type: 'Initialized', status: 'True', ...(done ? { reason: 'PodCompleted' } : {}) },
      ...['ContainersReady', 'Ready'].map((type) => ({
        type,
        status: ready ? 'True' : 'False',
        ...(ready ? {} : { reason: done ? 'PodCompleted' : 'ContainersNotReady' }),
      })),
    ],
    now,
  );
  const exited = { terminated: { exitCode: 0, reason: 'Completed', startedAt: startTime, finishedAt: startTime } };
  const crashing = { waiting: { reason: 'CrashLoopBackOff', message: 'back-off restarting failed container' } };
  const running = { running: { startedAt: startTime } };
  const statusOf = (container: Container, state: 'running' | 'exited' | 'crashing'): object => ({
    name: container.name,
    image: container.image ?? '',
    imageID: `${container.image ?? ''}@sha256:${digestOf(container.image ?? '').toString('hex')}`,
    ready: state === 'running',
    started: state === 'running',
    restartCount: state === 'crashing' ? 3 : 0,
    state: state === 'running' ? running : state === 'exited' ? exited : crashing,
  });
  return {
    phase: done ? 'Succeeded' : 'Running',
    hostIP: hostIp,
    hostIPs: [{ ip: hostIp }],
    podIP: podIp,
    podIPs: [{ ip: podIp }],
    startTime,
    conditions,
    initContainerStatuses: (pod.spec?.initContainers ?? []).map((container) =>
      statusOf(container, container.restartPolicy === 'Always' && !done ? 'running' : 'exited'),
    ),
    containerStatuses: (pod.spec?.containers ?? []).map((container) =>
      statusOf(container, done ? 'exited' : ready ? 'running' : 'crashing'),
    ),
  };
}

export function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}

export function internalIpOf(node: Node): string {
  return node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? '';
}

/** The address of the node's pod range that the name hashes to, or the next one there that nobody has. */
export function choosePodIp(name: string, node: Node, taken: ReadonlySet<string>): string {
  const { first, size } = parsePodRange(node);
  const start = digestOf(name).readUInt32BE() % size;
  for (let step = 0; step < size; step += 1) {
    const index = first + ((start + step) % size);
    const low = index & 255;
    const ip = `10.244.${index >> 8}.${low}`;
    if (low !== 0 && low !== 255 && !taken.has(ip)) return ip;
  }
  throw new Error(`no free pod address in ${node.spec?.podCIDR ?? 'no range'} of node ${nameOf(node)}`);
}

/** Where the node's range lies in 10.244.0.0/16; the whole of it for a node that a test made without one. */
function parsePodRange(node: Node): { readonly first: number; readonly size: number } {
  const match = /^10\.244\.(\d+)\.(\d+)\/(\d+)$/.exec(node.spec?.podCIDR ?? '10.244.0.0/16');
  if (match === null)
    throw new Error(`node ${nameOf(node)}: podCIDR ${String(node.spec?.podCIDR)} is not in 10.244.0.0/16`);
  return { first: Number(match[1]) * 256 + Number(match[2]), size: 2 ** (32 - Number(match[3])) };
}

// What the manifests of `cluster/` say about who calls whom: the truth that the lab's figures are measured against. It is read from what the
// pods are told to do, never from what the product made of their traffic.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export const CLUSTER = join(import.meta.dirname, 'cluster');

interface Client {
  readonly name?: string;
  readonly to?: string;
  readonly port?: number;
  readonly targets?: readonly string[];
  readonly kind?: string;
  readonly expect?: 'pass' | 'blocked';
  readonly when?: string;
}

interface LabPod {
  readonly servers?: readonly { readonly kind: string; readonly port: number; readonly forward?: readonly Client[] }[];
  readonly clients?: readonly Client[];
  readonly peers?: { readonly rendezvous: string; readonly port: number };
}

interface Template {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly {
      readonly env?: readonly { readonly name: string; readonly value?: string }[];
    }[];
  };
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: {
    readonly replicas?: number;
    readonly parallelism?: number;
    readonly clusterIP?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly ports?: readonly { readonly port: number; readonly targetPort: number; readonly protocol?: string }[];
    readonly template?: Template;
    readonly jobTemplate?: { readonly spec: { readonly template: Template } };
  };
}

export interface LabWorkload {
  /** `namespace/Kind/name` */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly replicas: number;
  /** Does its template say that it takes no sidecar? */
  readonly optedOut: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly play: LabPod;
}

/** One pair that talks, or must not. */
export interface LabEdge {
  readonly src: string;
  readonly dst: string;
  readonly protocol: 'TCP' | 'UDP';
  /** The pod's; 0 where the kernel chooses. */
  readonly port: number;
  readonly expect: 'pass' | 'blocked';
}

export interface Scenario {
  readonly namespaces: readonly string[];
  readonly workloads: readonly LabWorkload[];
  readonly edges: readonly LabEdge[];
  /** The workloads behind `name.namespace`, and the pod's port for a Service's. */
  resolve(host: string, port: number): readonly { readonly workload: string; readonly port: number }[];
}

/** Reads the scenario from its manifests. */
export function readScenario(folder: string = CLUSTER): Scenario {
  const manifests = readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .sort()
    .flatMap((file) => parseAllDocuments(readFileSync(join(folder, file), 'utf8')))
    .map((document) => document.toJS() as Manifest);
  const workloads = manifests.flatMap(workloadOf);
  const services = manifests.filter((one) => one.kind === 'Service');
  const resolve: Scenario['resolve'] = (host, port) => {
    const [name, namespace] = host.split('.');
    const service = services.find((one) => one.metadata.name === name && one.metadata.namespace === namespace);
    const entry = service?.spec?.ports?.find((one) => one.port === port);
    if (service === undefined || entry === undefined) throw new Error(`no Service port ${host}:${port} in ${folder}`);
    const selector = Object.entries(service.spec?.selector ?? {});
    return workloads
      .filter((one) => one.namespace === namespace && selector.every(([key, value]) => one.labels[key] === value))
      .map((one) => ({ workload: one.id, port: entry.targetPort }));
  };
  const edges = new Map<string, LabEdge>();
  const add = (edge: LabEdge): void => {
    if (edge.src === edge.dst && edge.port !== 0 && edge.expect === 'blocked') return;
    edges.set(JSON.stringify(edge), edge);
  };
  for (const workload of workloads) {
    const clients = [
      ...(workload.play.clients ?? []),
      ...(workload.play.servers ?? []).flatMap((server) => server.forward ?? []),
    ];
    for (const client of clients)
      for (const target of client.targets ?? [`${client.to ?? ''}:${client.port ?? 0}`]) {
        const [host = '', port = ''] = target.split(':');
        for (const end of resolve(host, Number(port)))
          add({
            src: workload.id,
            dst: end.workload,
            protocol: client.kind === 'udp' ? 'UDP' : 'TCP',
            port: end.port,
            expect: client.expect ?? 'pass',
          });
      }
    if (workload.play.peers !== undefined)
      for (const port of [workload.play.peers.port, 0])
        add({ src: workload.id, dst: workload.id, protocol: 'TCP', port, expect: 'pass' });
  }
  return {
    namespaces: manifests.filter((one) => one.kind === 'Namespace').map((one) => one.metadata.name),
    workloads,
    edges: [...edges.values()],
    resolve,
  };
}

function workloadOf(manifest: Manifest): readonly LabWorkload[] {
  const { kind, metadata, spec } = manifest;
  const template = spec?.template ?? spec?.jobTemplate?.spec.template;
  if (template === undefined || metadata.namespace === undefined) return [];
  const text = template.spec.containers[0]?.env?.find((one) => one.name === 'LABPOD')?.value ?? '{}';
  const labels = template.metadata?.labels ?? {};
  return [
    {
      id: `${metadata.namespace}/${kind}/${metadata.name}`,
      namespace: metadata.namespace,
      name: metadata.name,
      replicas: spec?.replicas ?? spec?.parallelism ?? 1,
      optedOut: labels['sidecar.istio.io/inject'] === 'false',
      labels,
      play: JSON.parse(text) as LabPod,
    },
  ];
}

/** The workload that a pod belongs to, by its name: a Deployment's ReplicaSet and a CronJob's Job add to it. */
export function workloadOfPod(scenario: Scenario, namespace: string, pod: string): LabWorkload | undefined {
  const mine = scenario.workloads.filter((one) => one.namespace === namespace && pod.startsWith(`${one.name}-`));
  return mine.sort((a, b) => b.name.length - a.name.length)[0];
}

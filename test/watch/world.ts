// A generated cluster as a watch hears of it: namespaces of workloads, each behind policies that Sallyport wrote and has on record.
import type { AppliedStep } from '../../src/engine/contract.ts';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { PhaseName } from '../../src/model/phase.ts';
import type { Sighting } from '../../src/plan/soak.ts';
import { keptEdges } from '../../src/readiness/view.ts';
import type { WatchRecord } from '../../src/watch/state.ts';
import { connection } from '../support/world.ts';

export const START = Date.UTC(2026, 10, 2);
export const A_NAMESPACE = 10;

export interface Generated {
  readonly objects: readonly KubeManifest[];
  readonly record: WatchRecord;
}

export const nameOf = (index: number): string => `app-${index}`;
export const namespaceOf = (at: number): string => `ns-${at}`;
export const idOf = (at: number, index: number): string => `${namespaceOf(at)}/Deployment/${nameOf(index)}`;

export function deploymentOf(namespace: string, name: string): KubeManifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, uid: `d-${namespace}-${name}`, resourceVersion: '1' },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: 'main', image: 'example.com/app:1', ports: [{ containerPort: 8080 }] }] },
      },
    },
  };
}

export function podOf(namespace: string, name: string, revision: number, ip: string): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${name}-7d9f-${revision}`,
      namespace,
      uid: `p-${namespace}-${name}-${revision}`,
      resourceVersion: String(revision + 1),
      labels: { app: name, 'pod-template-hash': '7d9f' },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `${name}-7d9f`, controller: true }],
    },
    spec: { containers: [{ name: 'main', image: 'example.com/app:1', ports: [{ containerPort: 8080 }] }] },
    status: { phase: 'Running', podIPs: [{ ip }] },
  };
}

function replicaSetOf(namespace: string, name: string): KubeManifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${name}-7d9f`,
      namespace,
      resourceVersion: '1',
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name, controller: true }],
    },
  };
}

/** Admits the workload before it in the row, and may call the one behind it. */
export function policyOf(namespace: string, index: number, direction: 'ingress' | 'egress'): KubeManifest {
  const peer = (index + (direction === 'ingress' ? A_NAMESPACE - 1 : 1)) % A_NAMESPACE;
  const rule = {
    [direction === 'ingress' ? 'from' : 'to']: [{ podSelector: { matchLabels: { app: nameOf(peer) } } }],
    ports: [{ protocol: 'TCP', port: 8080 }],
  };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name: `sallyport-${nameOf(index)}-${direction}`,
      namespace,
      resourceVersion: '1',
      labels: { 'app.kubernetes.io/managed-by': 'sallyport' },
    },
    spec: {
      podSelector: { matchLabels: { app: nameOf(index) } },
      policyTypes: [direction === 'ingress' ? 'Ingress' : 'Egress'],
      [direction]: [rule],
    },
  };
}

export function edgeOf(src: string, dst: string, port = 8080, more: Partial<Edge> = {}): Edge {
  const key = connection(`${src} -> ${dst} ${port}`);
  return {
    ...key,
    id: edgeId(key),
    count: 100,
    first: START - 864_000_000,
    last: START - 60_000,
    verdicts: { allowed: 100 },
    days: ['2026-10-30', '2026-10-31', '2026-11-01'],
    runs: [],
    sources: ['edges'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'legitimate',
    ...more,
  };
}

export function sightingOf(src: string, dst: string, port: number, at: number, more: Partial<Sighting> = {}): Sighting {
  const { id, ...edge } = edgeOf(src, dst, port);
  return {
    key: { src: edge.src, dst: edge.dst, protocol: edge.protocol, port: edge.port },
    id,
    at,
    verdict: 'allowed',
    view: 'ingress',
    opens: true,
    count: 1,
    mtls: 'unknown',
    source: 'hubble',
    where: 'test',
    ...more,
  };
}

export const ipOf = (at: number, index: number, revision = 0): string =>
  `10.${Math.floor(at / 200) + 1}.${at % 200}.${(index * 20 + (revision % 20)) % 250}`;

/** `namespaces` times A_NAMESPACE workloads, all in allow-list, each calling the next one of its namespace. */
export function generate(namespaces: number): Generated {
  const objects: KubeManifest[] = [];
  const applied: AppliedStep[] = [];
  const edges: Edge[] = [];
  const phases = new Map<string, PhaseName>();
  for (let at = 0; at < namespaces; at += 1) {
    const namespace = namespaceOf(at);
    phases.set(namespace, 'allow-list');
    objects.push({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels: { 'kubernetes.io/metadata.name': namespace } },
    });
    for (let index = 0; index < A_NAMESPACE; index += 1) {
      const name = nameOf(index);
      objects.push(
        deploymentOf(namespace, name),
        replicaSetOf(namespace, name),
        podOf(namespace, name, 0, ipOf(at, index)),
      );
      edges.push(edgeOf(idOf(at, index), idOf(at, (index + 1) % A_NAMESPACE)));
      for (const direction of ['ingress', 'egress'] as const) {
        const object = policyOf(namespace, index, direction);
        objects.push(object);
        applied.push({
          seq: applied.length + 1,
          run: `run-${namespace}`,
          namespace,
          phase: 'allow-list',
          step: {
            id: `allow-list/${namespace}-${name}-${direction}`,
            namespace,
            phase: 'allow-list',
            operation: 'create',
            title: '',
            workload: idOf(at, index),
            direction,
            change: { kind: 'create', object: withoutServer(object) },
            effects: [],
            risks: [],
          },
          change: { kind: 'create', object: withoutServer(object) },
          at: START - 86_400_000,
        });
      }
    }
  }
  return { objects, record: { phases, applied, resolved: [], edges, kept: keptEdges(edges) } };
}

function withoutServer(object: KubeManifest): KubeManifest {
  const metadata = Object.fromEntries(
    Object.entries(object.metadata).filter(([key]) => key !== 'resourceVersion'),
  ) as KubeManifest['metadata'];
  return { ...object, metadata };
}

/** Objects by `apiVersion Kind`, as lists come. */
export function byKind(objects: readonly KubeManifest[]): ReadonlyMap<string, readonly KubeManifest[]> {
  return Map.groupBy(objects, (object) => `${object.apiVersion} ${object.kind}`);
}

import type { AuditEntry, RunOutcome, RunRecord, View } from '../engine/contract.ts';
import type { Edge } from '../model/edge.ts';
import { endpointNamespace } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { refKey, refOf } from '../model/object.ts';
import type { Planner } from '../plan/assemble.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, getPath } from '../shared/pure/json.ts';

/** A measurement of what a control costs, as a person or a tool took it. */
export interface LatencyMeasurement {
  readonly control: string;
  readonly unit: 'ms';
  readonly p50: number;
  readonly p99: number;
  /** Samples. */
  readonly n: number;
  readonly source: string;
  /** Milliseconds since the epoch. */
  readonly measuredAt: number;
}

export type RunView = Omit<RunRecord, 'plan'> & { readonly outcome?: RunOutcome; readonly endedAt?: number };

/** All that a report is made of. The caller reads it; from here on everything is pure. */
export interface ReportInput {
  readonly version: string;
  readonly cluster: { readonly id: string; readonly description: string };
  /** Of no namespace in particular. */
  readonly view: View;
  readonly planner: Planner;
  /** Oldest first. */
  readonly runs: readonly RunView[];
  readonly audit: readonly AuditEntry[];
  /** The gates of each namespace as the newest attempt to advance it found them; absent before the first. */
  readonly gates: ReadonlyMap<string, readonly Gate[]>;
  readonly latency: readonly LatencyMeasurement[];
}

/** Text to its place in a list that grows. */
export interface Interner {
  readonly list: readonly string[];
  readonly of: (text: string) => number;
}

export function makeInterner(first: readonly string[] = []): Interner {
  const list = [...first];
  const known = new Map(list.map((text, index) => [text, index]));
  return {
    list,
    of: (text) => {
      const found = known.get(text);
      if (found !== undefined) return found;
      known.set(text, list.length);
      list.push(text);
      return list.length - 1;
    },
  };
}

/** Edges by the namespaces of their ends; an edge between two stands in both. */
export function edgesByNamespace(edges: readonly Edge[]): ReadonlyMap<string, readonly Edge[]> {
  const out = new Map<string, Edge[]>();
  const add = (namespace: string | undefined, edge: Edge): void => {
    if (namespace === undefined) return;
    const list = out.get(namespace);
    if (list === undefined) out.set(namespace, [edge]);
    else list.push(edge);
  };
  for (const edge of edges) {
    const [src, dst] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
    add(src, edge);
    if (dst !== src) add(dst, edge);
  }
  return out;
}

export function iso(time: number): string {
  return new Date(time).toISOString();
}

/** Digits behind the point, as a number. */
export function round(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}

export function indexObjects(objects: readonly KubeManifest[]): ReadonlyMap<string, KubeManifest> {
  return new Map(objects.map((object) => [refKey(refOf(object)), object]));
}

/** A pod spec of a workload: that of a template, or of a running pod where no template is known. */
export interface SpecOf {
  readonly workload: Workload;
  readonly spec: JsonObject;
}

/** Every pod spec that the workloads' objects hold, one a pod set. */
export function podSpecs(inventory: Inventory, byKey: ReadonlyMap<string, KubeManifest>): readonly SpecOf[] {
  const out: SpecOf[] = [];
  for (const workload of inventory.workloads) {
    const object = byKey.get(refKey(workload.ref));
    for (const podSet of workload.podSets) {
      const [pod] = podSet.pods;
      const live =
        podSet.templatePath !== undefined && object !== undefined
          ? asObject(getPath(object, [...podSet.templatePath, 'spec']))
          : workload.kind === 'Pod' && object !== undefined
            ? asObject(object['spec'])
            : pod === undefined
              ? {}
              : asObject(byKey.get(`/Pod/${workload.namespace}/${pod.name}`)?.['spec']);
      if (Object.keys(live).length > 0) out.push({ workload, spec: live });
    }
  }
  return out;
}

export function containersOf(spec: JsonObject): readonly JsonObject[] {
  return [...asArray(spec['containers']), ...asArray(spec['initContainers'])].map(asObject);
}

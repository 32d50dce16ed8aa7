import type { Declared, NamespaceInfo, ServiceInfo, Workload } from '../../model/inventory.ts';
import type { Endpoint, Protocol } from '../../model/edge.ts';
import type { Finding } from '../../model/finding.ts';
import type { FindingCode } from '../../model/finding-catalogue.ts';
import { FINDINGS } from '../../model/finding-catalogue.ts';
import type { ObjectIndex } from '../object-index.ts';
import type { LabelIndex } from '../services.ts';
import { namedPort } from '../services.ts';
import type { WorkloadDraft } from '../workloads.ts';

/** What an analyzer looks at. */
export interface AnalyzerContext {
  readonly index: ObjectIndex;
  readonly labels: LabelIndex;
  readonly drafts: readonly WorkloadDraft[];
  readonly workloads: readonly Workload[];
  readonly byId: ReadonlyMap<string, Workload>;
  readonly services: readonly ServiceInfo[];
  /** By `namespace/name`. */
  readonly serviceByName: ReadonlyMap<string, ServiceInfo>;
  readonly namespaces: readonly NamespaceInfo[];
}

/** What an analyzer finds. */
export interface Analysis {
  readonly declared: readonly Declared[];
  readonly findings: readonly Finding[];
}

export const API_SERVER: Endpoint = { kind: 'api-server' };
export const NODE: Endpoint = { kind: 'node' };

export function workloadEndpoint(id: string): Endpoint {
  return { kind: 'workload', id };
}

/** A finding of the catalogue; the hint is the catalogue's unless a better one is given. */
export function finding(
  code: FindingCode,
  severity: Finding['severity'],
  subject: string,
  message: string,
  more: { readonly hint?: string; readonly where?: string } = {},
): Finding {
  return {
    code,
    severity,
    subject,
    message,
    ...(more.where === undefined ? {} : { where: more.where }),
    hint: more.hint ?? FINDINGS[code].hint,
  };
}

/** A workload behind a Service, with the port of its pods. */
export interface Backend {
  readonly workload: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/**
 * Where a Service's port leads: the port is given by number or name, or left out where the Service has only one. A named
 * target port is looked up in each workload; one that no container has leads nowhere.
 */
export function backendsOf(
  context: AnalyzerContext,
  service: ServiceInfo,
  port: number | string | undefined,
): readonly Backend[] {
  const [only] = service.ports;
  const found =
    port === undefined
      ? service.ports.length === 1
        ? only
        : undefined
      : service.ports.find((item) => (typeof port === 'number' ? item.port === port : item.name === port));
  if (found === undefined) {
    // Clients of a headless Service reach the pods themselves, on any port.
    return service.headless && typeof port === 'number'
      ? service.workloads.map((workload) => ({ workload, port, protocol: 'TCP' }))
      : [];
  }
  return service.workloads.flatMap((id): readonly Backend[] => {
    const workload = context.byId.get(id);
    if (workload === undefined) return [];
    const ports = new Map<number, Backend>();
    // A headless Service translates nothing: clients dial the pod at the Service's port.
    if (service.headless && service.clusterIPs.length === 0 && typeof port === 'number') {
      const target = typeof found.targetPort === 'number' ? found.targetPort : port;
      ports.set(target, { workload: id, port: target, protocol: found.protocol });
    } else if (typeof found.targetPort === 'number') {
      ports.set(found.targetPort, { workload: id, port: found.targetPort, protocol: found.protocol });
    } else {
      for (const set of workload.podSets) {
        const named = namedPort(set.containers, found.targetPort);
        if (named !== undefined) ports.set(named.port, { workload: id, port: named.port, protocol: found.protocol });
      }
    }
    return [...ports.values()];
  });
}

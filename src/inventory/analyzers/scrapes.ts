import type { JsonObject } from '../../shared/pure/json.ts';
import { asArray, asBoolean, asNumber, asObject, asString, getPath, isJsonObject } from '../../shared/pure/json.ts';
import type { Declared, Labels, ServiceInfo, Workload } from '../../model/inventory.ts';
import type { Finding } from '../../model/finding.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, namespaceOf, refOf } from '../../model/object.ts';
import { matchesSelector, metaLabels, objectsOf } from '../object-index.ts';
import { namedPort } from '../services.ts';
import { findPrometheus } from '../system-traffic.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { backendsOf, finding, workloadEndpoint } from './context.ts';

const MERGED_METRICS = 15020;

interface ScrapeTarget {
  readonly workload: string;
  readonly port: number;
}

/**
 * Prometheus connects to what monitors and annotations name. Strong where there is one Prometheus; where there are several,
 * annotations are weak edges from each and monitors are a finding, because nothing says which one is meant.
 */
export function analyzeScrapes(context: AnalyzerContext): Analysis {
  const declared: Declared[] = [];
  const findings: Finding[] = [];
  const scrapers = findPrometheus(context.workloads);
  const [first] = scrapers;
  const single = scrapers.length === 1 ? first : undefined;
  const custom = single === undefined ? undefined : prometheusObject(context, single);
  const scrape = (from: string, target: ScrapeTarget, strength: 'strong' | 'weak', by: string): void => {
    if (from === target.workload) return;
    const [src, dst] = [workloadEndpoint(from), workloadEndpoint(target.workload)];
    declared.push({ src, dst, protocol: 'TCP', port: target.port, strength, by });
  };

  const orphans: string[] = [];
  for (const kind of ['ServiceMonitor', 'PodMonitor'] as const) {
    for (const monitor of objectsOf(context.index, 'monitoring.coreos.com', kind)) {
      const by = formatRef(refOf(monitor));
      if (single === undefined) {
        orphans.push(by);
        continue;
      }
      if (custom !== undefined && !selectsMonitor(context, custom, monitor)) continue;
      const targets = kind === 'ServiceMonitor' ? serviceTargets(context, monitor) : podTargets(context, monitor);
      if (targets === undefined) findings.push(finding('SP325', 'info', by, `${by} selects nothing that was read`));
      for (const target of targets ?? []) scrape(single, target, 'strong', by);
    }
  }
  if (orphans.length > 0) {
    const why = scrapers.length === 0 ? 'there is no Prometheus' : `there are ${scrapers.length} Prometheus workloads`;
    findings.push(
      finding('SP319', 'info', orphans[0] ?? '', `${orphans.length} monitors have no sure scraper: ${why}`),
    );
  }

  const annotated = annotatedTargets(context);
  for (const { target, by } of annotated) {
    for (const from of scrapers.slice(0, 3)) scrape(from, target, single === undefined ? 'weak' : 'strong', by);
  }
  if (annotated.length > 0 && scrapers.length === 0) {
    const text = `${annotated.length} ports are annotated prometheus.io/scrape, and there is no Prometheus`;
    findings.push(finding('SP319', 'info', annotated[0]?.target.workload ?? '', text));
  }
  return { declared, findings };
}

/** The Prometheus resource of a workload that the operator made. */
function prometheusObject(context: AnalyzerContext, id: string): KubeManifest | undefined {
  return context.drafts.find((draft) => draft.id === id && draft.kind === 'Prometheus')?.manifest;
}

/** Does the operator's resource take this monitor? An absent selector takes none, an empty one all. */
function selectsMonitor(context: AnalyzerContext, prometheus: KubeManifest, monitor: KubeManifest): boolean {
  const prefix = monitor.kind === 'ServiceMonitor' ? 'serviceMonitor' : 'podMonitor';
  const spec = asObject(prometheus['spec']);
  const selector = spec[`${prefix}Selector`];
  if (!isJsonObject(selector) || !matchesSelector(selector, metaLabels(monitor))) return false;
  const namespace = namespaceOf(monitor) ?? '';
  const namespaces = spec[`${prefix}NamespaceSelector`];
  if (!isJsonObject(namespaces)) return namespace === namespaceOf(prometheus);
  const info = context.namespaces.find((item) => item.name === namespace);
  return matchesSelector(namespaces, info?.labels ?? {});
}

function monitoredNamespaces(context: AnalyzerContext, monitor: KubeManifest): ReadonlySet<string> {
  const selector = asObject(getPath(monitor, ['spec', 'namespaceSelector']));
  if (asBoolean(selector['any']) === true) return new Set(context.namespaces.map((item) => item.name));
  const names = asArray(selector['matchNames']).flatMap((item) => asString(item) ?? []);
  return new Set(names.length > 0 ? names : [namespaceOf(monitor) ?? '']);
}

/** Undefined where no Service matches. */
function serviceTargets(context: AnalyzerContext, monitor: KubeManifest): readonly ScrapeTarget[] | undefined {
  const namespaces = monitoredNamespaces(context, monitor);
  const selector = asObject(getPath(monitor, ['spec', 'selector']));
  const endpoints = asArray(getPath(monitor, ['spec', 'endpoints'])).map(asObject);
  const matched = context.services.filter(
    (service) => namespaces.has(service.namespace) && matchesSelector(selector, serviceLabels(context, service)),
  );
  if (matched.length === 0) return undefined;
  return matched.flatMap((service) =>
    endpoints.flatMap((endpoint): readonly ScrapeTarget[] => {
      const port = asString(endpoint['port']);
      if (port !== undefined) return backendsOf(context, service, port);
      return service.workloads.flatMap((id) => targetPorts(context.byId.get(id), endpoint['targetPort']));
    }),
  );
}

function serviceLabels(context: AnalyzerContext, service: ServiceInfo): Labels {
  const manifest = context.index.byKey.get(`/Service/${service.namespace}/${service.name}`);
  return manifest === undefined ? {} : metaLabels(manifest);
}

function targetPorts(workload: Workload | undefined, port: unknown): readonly ScrapeTarget[] {
  if (workload === undefined) return [];
  if (typeof port === 'number') return [{ workload: workload.id, port }];
  if (typeof port !== 'string') return [];
  return workload.podSets.flatMap((set) => {
    const named = namedPort(set.containers, port);
    return named === undefined ? [] : [{ workload: workload.id, port: named.port }];
  });
}

function podTargets(context: AnalyzerContext, monitor: KubeManifest): readonly ScrapeTarget[] | undefined {
  const selector = asObject(getPath(monitor, ['spec', 'selector']));
  const endpoints = asArray(getPath(monitor, ['spec', 'podMetricsEndpoints'])).map(asObject);
  const members = [...monitoredNamespaces(context, monitor)]
    .flatMap((namespace) => context.labels.all(namespace))
    .filter(({ set }) => set.variants.some((labels) => matchesSelector(selector, labels)));
  if (members.length === 0) return undefined;
  return members.flatMap(({ draft, set }) =>
    endpoints.flatMap((endpoint): readonly ScrapeTarget[] => {
      const port = podPort(endpoint, set.set.containers);
      return port === undefined ? [] : [{ workload: draft.id, port }];
    }),
  );
}

function podPort(endpoint: JsonObject, containers: Parameters<typeof namedPort>[0]): number | undefined {
  const name = asString(endpoint['port']) ?? asString(endpoint['targetPort']);
  if (name !== undefined) return namedPort(containers, name)?.port;
  return asNumber(endpoint['portNumber']) ?? asNumber(endpoint['targetPort']);
}

/** Ports that the annotations `prometheus.io/scrape` and `prometheus.io/port` of pods and Services name. */
function annotatedTargets(context: AnalyzerContext): readonly { readonly target: ScrapeTarget; readonly by: string }[] {
  const pods = context.workloads.flatMap((workload) =>
    workload.podSets.flatMap((set) => {
      if (set.annotations['prometheus.io/scrape'] !== 'true') return [];
      const stated = Number(set.annotations['prometheus.io/port']);
      const [only, ...others] = set.containers.flatMap((container) => container.ports);
      const port = Number.isInteger(stated) && stated > 0 ? stated : others.length === 0 ? only?.port : undefined;
      if (port === undefined) return [];
      const by = 'annotation prometheus.io/scrape';
      const own = [{ target: { workload: workload.id, port }, by }];
      // Istio's agent answers for the application where metrics are merged, which is the default.
      return set.mesh === 'sidecar' || set.mesh === 'mixed'
        ? [...own, { target: { workload: workload.id, port: MERGED_METRICS }, by: `${by}, merged by Istio's agent` }]
        : own;
    }),
  );
  const services = context.services.flatMap((service) => {
    const manifest = context.index.byKey.get(`/Service/${service.namespace}/${service.name}`);
    const annotations = manifest === undefined ? {} : asObject(manifest.metadata['annotations']);
    if (annotations['prometheus.io/scrape'] !== 'true') return [];
    const stated = Number(annotations['prometheus.io/port']);
    const by = `annotation prometheus.io/scrape of Service ${service.namespace}/${service.name}`;
    const targets: readonly ScrapeTarget[] =
      Number.isInteger(stated) && stated > 0
        ? service.workloads.map((workload) => ({ workload, port: stated }))
        : backendsOf(context, service, undefined);
    return targets.map((target) => ({ target, by }));
  });
  return [...pods, ...services];
}

import { asArray, asNumber, asObject, asString, asStringMap, getPath } from '../../shared/pure/json.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import type { Endpoint } from '../../model/edge.ts';
import type { Declared } from '../../model/inventory.ts';
import type { Finding } from '../../model/finding.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, namespaceOf, refOf } from '../../model/object.ts';
import { serviceOfHost } from '../host-names.ts';
import { objectsOf } from '../object-index.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { backendsOf, finding, workloadEndpoint } from './context.ts';

const ROUTE_KINDS = ['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute'] as const;

/** Gateways connect to what their routes name: strong edges, for Istio's own kinds and for the Gateway API. */
export function analyzeGateways(context: AnalyzerContext): Analysis {
  const declared: Declared[] = [];
  const findings: Finding[] = [];
  const known = new Map<KubeManifest, readonly string[]>();
  const workloadsOf = (gateway: KubeManifest): readonly string[] => {
    const hit = known.get(gateway);
    if (hit !== undefined) return hit;
    const ids = gatewayWorkloads(context, gateway);
    known.set(gateway, ids);
    if (ids.length === 0) {
      const name = formatRef(refOf(gateway));
      findings.push(finding('SP326', 'info', name, `no workload serves ${name}`));
    }
    return ids;
  };
  // Somebody comes through a gateway that was not read: who cannot be told, and a policy that shuts them out must not pass unasked.
  const sourcesOf = (gateways: readonly KubeManifest[]): readonly Endpoint[] => {
    const ids = uniqueSorted(gateways.flatMap(workloadsOf));
    const unserved = gateways
      .filter((gateway) => workloadsOf(gateway).length === 0)
      .map((one) => formatRef(refOf(one)));
    return [
      ...ids.map(workloadEndpoint),
      ...(unserved.length === 0
        ? []
        : [{ kind: 'unknown' as const, why: `no workload serves ${uniqueSorted(unserved).join(', ')}` }]),
    ];
  };
  const route = (manifest: KubeManifest, sources: readonly Endpoint[], target: Target): void => {
    const by = formatRef(refOf(manifest));
    const service = context.serviceByName.get(`${target.namespace}/${target.name}`);
    if (service === undefined) {
      const text = `${by} names ${target.namespace}/${target.name}, which does not exist`;
      findings.push(finding('SP327', 'warning', by, text));
      return;
    }
    for (const backend of backendsOf(context, service, target.port)) {
      for (const src of sources) {
        if (src.kind === 'workload' && src.id === backend.workload) continue;
        declared.push({
          src,
          dst: workloadEndpoint(backend.workload),
          protocol: backend.protocol,
          port: backend.port,
          strength: 'strong',
          by,
        });
      }
    }
  };
  // Each gateway is looked at once, so that one without routes is reported too.
  for (const [group, kind] of [
    ['networking.istio.io', 'Gateway'],
    ['gateway.networking.k8s.io', 'Gateway'],
  ] as const) {
    for (const gateway of objectsOf(context.index, group, kind)) workloadsOf(gateway);
  }
  for (const service of objectsOf(context.index, 'networking.istio.io', 'VirtualService')) {
    const sources = sourcesOf(virtualServiceGateways(context, service));
    if (sources.length === 0) continue;
    for (const target of virtualServiceTargets(context, service)) route(service, sources, target);
  }
  for (const kind of ROUTE_KINDS) {
    for (const manifest of objectsOf(context.index, 'gateway.networking.k8s.io', kind)) {
      const sources = sourcesOf(parentGateways(context, manifest));
      if (sources.length === 0) continue;
      for (const target of routeTargets(manifest)) route(manifest, sources, target);
    }
  }
  return { declared, findings };
}

interface Target {
  readonly namespace: string;
  readonly name: string;
  readonly port: number | undefined;
}

function gatewayWorkloads(context: AnalyzerContext, gateway: KubeManifest): readonly string[] {
  const namespace = namespaceOf(gateway) ?? '';
  if (gateway.apiVersion.startsWith('networking.istio.io/')) {
    const selector = asStringMap(getPath(gateway, ['spec', 'selector']));
    if (Object.keys(selector).length === 0) return [];
    // Istio matches a Gateway's selector in every namespace unless it was told otherwise.
    const members = context.namespaces.flatMap((item) => context.labels.select(item.name, selector));
    return uniqueSorted(members.map(({ draft }) => draft.id));
  }
  const labels = { 'gateway.networking.k8s.io/gateway-name': gateway.metadata.name };
  return uniqueSorted(context.labels.select(namespace, labels).map(({ draft }) => draft.id));
}

function virtualServiceGateways(context: AnalyzerContext, service: KubeManifest): readonly KubeManifest[] {
  const own = namespaceOf(service) ?? '';
  return asArray(getPath(service, ['spec', 'gateways'])).flatMap((item) => {
    const text = asString(item);
    if (text === undefined || text === 'mesh') return [];
    const [namespace, name] = text.includes('/') ? text.split('/') : [own, text];
    return context.index.byKey.get(`networking.istio.io/Gateway/${namespace ?? own}/${name ?? ''}`) ?? [];
  });
}

function virtualServiceTargets(context: AnalyzerContext, service: KubeManifest): readonly Target[] {
  const own = namespaceOf(service) ?? '';
  const routes = ['http', 'tls', 'tcp'].flatMap((kind) => asArray(getPath(service, ['spec', kind])));
  const targets = routes
    .flatMap((item) => asArray(asObject(item)['route']))
    .flatMap((item): readonly Target[] => {
      const destination = asObject(asObject(item)['destination']);
      const host = asString(destination['host']);
      if (host === undefined) return [];
      const exists = (namespace: string, name: string): boolean => context.serviceByName.has(`${namespace}/${name}`);
      // A short name is of the VirtualService's own namespace; other hosts may be ServiceEntries and are left alone.
      const found =
        serviceOfHost(host, own, exists) ?? (host.includes('.') ? undefined : { namespace: own, name: host });
      return found === undefined ? [] : [{ ...found, port: asNumber(getPath(destination, ['port', 'number'])) }];
    });
  return distinct(targets);
}

function parentGateways(context: AnalyzerContext, route: KubeManifest): readonly KubeManifest[] {
  const own = namespaceOf(route) ?? '';
  return asArray(getPath(route, ['spec', 'parentRefs'])).flatMap((item) => {
    const parent = asObject(item);
    if ((asString(parent['kind']) ?? 'Gateway') !== 'Gateway') return [];
    const namespace = asString(parent['namespace']) ?? own;
    const key = `gateway.networking.k8s.io/Gateway/${namespace}/${asString(parent['name']) ?? ''}`;
    return context.index.byKey.get(key) ?? [];
  });
}

function routeTargets(route: KubeManifest): readonly Target[] {
  const own = namespaceOf(route) ?? '';
  const references = asArray(getPath(route, ['spec', 'rules'])).flatMap((rule) =>
    asArray(asObject(rule)['backendRefs']),
  );
  return distinct(
    references.flatMap((item) => {
      const reference = asObject(item);
      const name = asString(reference['name']);
      if (name === undefined || (asString(reference['kind']) ?? 'Service') !== 'Service') return [];
      return [{ namespace: asString(reference['namespace']) ?? own, name, port: asNumber(reference['port']) }];
    }),
  );
}

function distinct(targets: readonly Target[]): readonly Target[] {
  return [...new Map(targets.map((item) => [`${item.namespace}/${item.name}:${item.port ?? ''}`, item])).values()];
}

import type { Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asNumber, asObject, asString, getPath } from '../../shared/pure/json.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import type { Declared, Workload } from '../../model/inventory.ts';
import type { Endpoint } from '../../model/edge.ts';
import type { Finding } from '../../model/finding.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, namespaceOf, refOf } from '../../model/object.ts';
import { metaAnnotations, objectsOf } from '../object-index.ts';
import type { Analysis, AnalyzerContext } from './context.ts';
import { backendsOf, finding, workloadEndpoint } from './context.ts';

interface Controller {
  /** Values of IngressClass `spec.controller`. */
  readonly controllers: readonly string[];
  /** Names of classes where there is no IngressClass object. */
  readonly classes: readonly string[];
  /** Parts of the image's repository, any of them. */
  readonly images: readonly string[];
  /** A cloud's load balancer: no workload of the cluster. */
  readonly cloud?: boolean;
}

const CONTROLLERS: readonly Controller[] = [
  { controllers: ['k8s.io/ingress-nginx'], classes: ['nginx'], images: ['ingress-nginx/controller'] },
  { controllers: ['nginx.org/ingress-controller'], classes: ['nginx-plus'], images: ['nginx/nginx-ingress'] },
  { controllers: ['traefik.io/ingress-controller'], classes: ['traefik'], images: ['traefik'] },
  {
    controllers: ['haproxy.org/ingress-controller', 'haproxy-ingress.github.io/controller'],
    classes: ['haproxy'],
    images: ['haproxytech/kubernetes-ingress', 'haproxy-ingress'],
  },
  { controllers: ['ingress-controllers.konghq.com/kong'], classes: ['kong'], images: ['kong/kong', 'library/kong'] },
  { controllers: ['istio.io/ingress-controller'], classes: ['istio'], images: [] },
  {
    controllers: ['ingress.k8s.aws/alb', 'k8s.io/ingress-gce', 'azure/application-gateway'],
    classes: ['alb', 'gce', 'gce-internal', 'azure-application-gateway'],
    images: [],
    cloud: true,
  },
];

/** Ingress controllers connect to the workloads behind an Ingress: strong edges where the controller is identified. */
export function analyzeIngress(context: AnalyzerContext): Analysis {
  const declared: Declared[] = [];
  const findings: Finding[] = [];
  const found = new Map<Controller, readonly Endpoint[]>();
  const sourcesOf = (controller: Controller): readonly Endpoint[] => {
    const hit = found.get(controller);
    if (hit !== undefined) return hit;
    const sources = controllerWorkloads(context, controller);
    found.set(controller, sources);
    return sources;
  };
  const route = (manifest: KubeManifest, sources: readonly Endpoint[], service: string, port: Port): void => {
    const namespace = namespaceOf(manifest) ?? '';
    const by = formatRef(refOf(manifest));
    const info = context.serviceByName.get(`${namespace}/${service}`);
    if (info === undefined) {
      findings.push(
        finding('SP327', 'warning', by, `${by} names Service ${namespace}/${service}, which does not exist`),
      );
      return;
    }
    for (const backend of backendsOf(context, info, port)) {
      for (const src of sources) {
        const dst = workloadEndpoint(backend.workload);
        declared.push({ src, dst, protocol: backend.protocol, port: backend.port, strength: 'strong', by });
      }
    }
  };
  // Somebody comes through an Ingress all the same: a policy that shuts them out must not pass unasked.
  const unidentified = (ingress: KubeManifest, controller: Controller | undefined): readonly Endpoint[] => {
    const why = whyUnidentified(ingress, controller);
    findings.push(finding('SP318', 'warning', formatRef(refOf(ingress)), why));
    return [{ kind: 'unknown', why }];
  };
  for (const ingress of objectsOf(context.index, 'networking.k8s.io', 'Ingress')) {
    const controller = controllerOf(context, ingress);
    const known = controller === undefined ? [] : sourcesOf(controller);
    const sources = known.length > 0 ? known : unidentified(ingress, controller);
    for (const { service, port } of ingressBackends(ingress)) route(ingress, sources, service, port);
  }
  for (const group of ['traefik.io', 'traefik.containo.us']) {
    for (const kind of ['IngressRoute', 'IngressRouteTCP']) {
      for (const ingress of objectsOf(context.index, group, kind)) {
        const traefik = CONTROLLERS.find((item) => item.classes.includes('traefik'));
        const known = traefik === undefined ? [] : sourcesOf(traefik);
        const sources = known.length > 0 ? known : unidentified(ingress, traefik);
        for (const { service, port } of traefikBackends(ingress)) route(ingress, sources, service, port);
      }
    }
  }
  return { declared, findings };
}

type Port = number | string | undefined;

function whyUnidentified(ingress: KubeManifest, controller: Controller | undefined): string {
  const why =
    controller === undefined
      ? 'no class names a controller that is known'
      : 'its controller has no workload in what was read';
  return `who serves ${formatRef(refOf(ingress))} is not known: ${why}`;
}

function controllerOf(context: AnalyzerContext, ingress: KubeManifest): Controller | undefined {
  const name =
    asString(getPath(ingress, ['spec', 'ingressClassName'])) ?? metaAnnotations(ingress)['kubernetes.io/ingress.class'];
  const classes = objectsOf(context.index, 'networking.k8s.io', 'IngressClass');
  const chosen =
    name === undefined
      ? classes.find((item) => metaAnnotations(item)['ingressclass.kubernetes.io/is-default-class'] === 'true')
      : classes.find((item) => item.metadata.name === name);
  if (chosen !== undefined) {
    const controller = asString(getPath(chosen, ['spec', 'controller'])) ?? '';
    return CONTROLLERS.find((item) => item.controllers.includes(controller));
  }
  if (name !== undefined) return CONTROLLERS.find((item) => item.classes.includes(name));
  // No class at all: every controller that watches classless objects may take it, so only a single one is sure.
  const present = CONTROLLERS.filter((item) => item.cloud !== true && controllerWorkloads(context, item).length > 0);
  return present.length === 1 ? present[0] : undefined;
}

function controllerWorkloads(context: AnalyzerContext, controller: Controller): readonly Endpoint[] {
  if (controller.cloud === true) return [{ kind: 'external', name: 'load balancer of the cloud' }];
  const isIstio = controller.classes.includes('istio');
  const ids = context.workloads.filter((workload) =>
    isIstio
      ? workload.podSets.some((set) => set.labels['istio'] === 'ingressgateway')
      : hasImagePart(workload, controller.images),
  );
  return uniqueSorted(ids.map((workload) => workload.id)).map(workloadEndpoint);
}

function hasImagePart(workload: Workload, parts: readonly string[]): boolean {
  return workload.podSets.some((set) =>
    set.containers.some((container) => {
      const repository = container.image.split('@')[0]?.replace(/:[^/]*$/, '') ?? '';
      return parts.some((part) =>
        part.includes('/') ? repository.endsWith(part) : repository.split('/').at(-1) === part,
      );
    }),
  );
}

interface RouteTarget {
  readonly service: string;
  readonly port: Port;
}

function ingressBackends(ingress: KubeManifest): readonly RouteTarget[] {
  const rules = asArray(getPath(ingress, ['spec', 'rules']));
  const paths = rules.flatMap((rule) => asArray(getPath(rule, ['http', 'paths'])));
  const backends = [
    ...paths.map((path) => asObject(asObject(path)['backend'])),
    asObject(getPath(ingress, ['spec', 'defaultBackend'])),
  ];
  return distinct(backends.flatMap(parseBackend));
}

function parseBackend(backend: JsonObject): readonly RouteTarget[] {
  const service = asObject(backend['service']);
  const name = asString(service['name']);
  if (name === undefined) return [];
  return [{ service: name, port: portOf(getPath(service, ['port', 'number']) ?? getPath(service, ['port', 'name'])) }];
}

function traefikBackends(route: KubeManifest): readonly RouteTarget[] {
  return distinct(
    asArray(getPath(route, ['spec', 'routes'])).flatMap((item) =>
      asArray(asObject(item)['services']).flatMap((entry) => {
        const service = asObject(entry);
        const name = asString(service['name']);
        const kind = asString(service['kind']) ?? 'Service';
        return name === undefined || kind !== 'Service' ? [] : [{ service: name, port: portOf(service['port']) }];
      }),
    ),
  );
}

function portOf(value: Json | undefined): Port {
  return asNumber(value) ?? asString(value);
}

function distinct(targets: readonly RouteTarget[]): readonly RouteTarget[] {
  return [...new Map(targets.map((target) => [`${target.service}:${target.port ?? ''}`, target])).values()];
}

import type { Json } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import { parseAuthorizationPolicy } from './istio-parse-authorization.ts';
import { baseOf, checkFields, hasValue, parseLabels, parseTargets } from './istio-parse.ts';
import type {
  ClientTlsMode,
  ClientTlsPolicy,
  DestinationRule,
  IstioObject,
  PeerAuthentication,
  ProxyExtension,
  RequestAuthentication,
  ServiceEntry,
  SidecarResource,
  Waypoint,
} from './istio-types.ts';
import type { KubeManifest } from './object.ts';
import { groupOf, labelsOf } from './object.ts';
import type { Problem } from './problem.ts';
import { refused } from './problem.ts';
import { EVERYTHING } from './selector.ts';

export type * from './istio-types.ts';

/** Reads an Istio object that decides about connections. Undefined for the others. */
export function parseIstioObject(manifest: KubeManifest): IstioObject | undefined {
  switch (`${groupOf(manifest.apiVersion)}/${manifest.kind}`) {
    case 'security.istio.io/PeerAuthentication':
      return parsePeerAuthentication(manifest);
    case 'security.istio.io/AuthorizationPolicy':
      return parseAuthorizationPolicy(manifest);
    case 'security.istio.io/RequestAuthentication':
      return parseRequestAuthentication(manifest);
    case 'networking.istio.io/ServiceEntry':
      return parseServiceEntry(manifest);
    case 'networking.istio.io/DestinationRule':
      return parseDestinationRule(manifest);
    case 'networking.istio.io/Sidecar':
      return parseSidecar(manifest);
    case 'networking.istio.io/EnvoyFilter':
      return parseExtension(manifest, 'workloadSelector', 'labels');
    case 'extensions.istio.io/WasmPlugin':
      return parseExtension(manifest, 'selector', 'matchLabels');
    case 'gateway.networking.k8s.io/Gateway':
      return parseWaypoint(manifest);
    default:
      return undefined;
  }
}

/** Undefined for a Gateway that is no waypoint. */
function parseWaypoint(manifest: KubeManifest): Waypoint | undefined {
  if (asObject(manifest['spec'])['gatewayClassName'] !== 'istio-waypoint') return undefined;
  const problems: Problem[] = [];
  const stated = labelsOf(manifest)['istio.io/waypoint-for'] ?? 'service';
  const takes = (['service', 'workload', 'all', 'none'] as const).find((one) => one === stated);
  return { ...baseOf(manifest, problems), kind: 'waypoint', gateway: manifest.metadata.name, takes: takes ?? 'none' };
}

const MODES = new Set(['STRICT', 'PERMISSIVE', 'DISABLE', 'UNSET']);

function parseMode(value: Json | undefined, field: string, problems: Problem[]): PeerAuthentication['mode'] {
  if (value === undefined || value === null) return 'UNSET';
  const mode = isJsonObject(value) ? (value['mode'] ?? 'UNSET') : value;
  if (isJsonObject(value)) checkFields(value, field, ['mode'], problems);
  if (typeof mode === 'string' && MODES.has(mode)) return mode as PeerAuthentication['mode'];
  problems.push(refused(`${field}.mode`, `${JSON.stringify(mode)} is none of STRICT, PERMISSIVE, DISABLE, UNSET`));
  return 'unknown';
}

function parsePeerAuthentication(manifest: KubeManifest): PeerAuthentication {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  checkFields(spec, 'spec', ['selector', 'mtls', 'portLevelMtls'], problems);
  const selector = parseLabels(spec['selector'], 'spec.selector', 'matchLabels', problems);
  const mode = parseMode(spec['mtls'], 'spec.mtls', problems);
  const ports = new Map<number, PeerAuthentication['mode']>();
  for (const [port, value] of Object.entries(asObject(spec['portLevelMtls']))) {
    ports.set(Number(port), parseMode(value, `spec.portLevelMtls.${port}`, problems));
  }
  const base = { ...baseOf(manifest, problems), kind: 'PeerAuthentication', mode, ports } as const;
  return selector === undefined ? base : { ...base, selector };
}

function parseClientTls(value: Json | undefined, field: string, problems: Problem[]): ClientTlsMode | undefined {
  if (value === undefined || value === null) return undefined;
  // The first value of the enumeration is DISABLE: client TLS without a mode is none.
  const mode = asObject(value)['mode'] ?? 'DISABLE';
  if (mode === 'DISABLE' || mode === 'SIMPLE' || mode === 'MUTUAL' || mode === 'ISTIO_MUTUAL') return mode;
  problems.push(refused(`${field}.mode`, `${JSON.stringify(mode)} is none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL`));
  return 'unknown';
}

function parseDestinationRule(manifest: KubeManifest): DestinationRule {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  const base = baseOf(manifest, problems);
  const host = asString(spec['host']) ?? '';
  const selector = parseLabels(spec['workloadSelector'], 'spec.workloadSelector', 'matchLabels', problems);
  return {
    ...base,
    kind: 'DestinationRule',
    // A name without a dot is one of the rule's namespace; with a dot it is taken as it stands.
    host:
      host.includes('.') || host.includes(':') || host === '*' ? host : `${host}.${base.namespace}.svc.cluster.local`,
    // A rule for some pods is never seen outside its namespace. (istio/istio pilot/pkg/model, setDestinationRules)
    exportTo: hasValue(spec['workloadSelector']) ? new Set(['.']) : parseExportTo(spec['exportTo'], problems),
    ...(hasValue(spec['workloadSelector']) ? { selector: selector ?? EVERYTHING } : {}),
    ...(hasValue(spec['trafficPolicy'])
      ? { policy: parseTlsPolicy(spec['trafficPolicy'], 'spec.trafficPolicy', problems) }
      : {}),
    subsetTls: asArray(spec['subsets']).some((subset) => {
      const own = asObject(asObject(subset)['trafficPolicy']);
      return (
        hasValue(own['tls']) || asArray(own['portLevelSettings']).some((setting) => hasValue(asObject(setting)['tls']))
      );
    }),
  };
}

function parseTlsPolicy(value: Json | undefined, field: string, problems: Problem[]): ClientTlsPolicy {
  const policy = asObject(value);
  const tls = parseClientTls(policy['tls'], `${field}.tls`, problems);
  const ports = new Map<number, ClientTlsMode | undefined>();
  asArray(policy['portLevelSettings']).forEach((item, index) => {
    const setting = asObject(item);
    const port = asObject(setting['port'])['number'];
    if (typeof port !== 'number') return;
    ports.set(port, parseClientTls(setting['tls'], `${field}.portLevelSettings[${index}].tls`, problems));
  });
  return { ...(tls === undefined ? {} : { tls }), ports };
}

function parseExportTo(value: Json | undefined, problems: Problem[]): ReadonlySet<string> | undefined {
  const names = asArray(value);
  const plain = names.filter(
    (name): name is string => typeof name === 'string' && /^(?:[a-z0-9-]+|[.*~])$/u.test(name),
  );
  if (plain.length === names.length) return new Set(plain);
  problems.push(refused('spec.exportTo', 'names neither a namespace nor `.`, `*` or `~`'));
  return undefined;
}

function parseServiceEntry(manifest: KubeManifest): ServiceEntry {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  return {
    ...baseOf(manifest, problems),
    kind: 'ServiceEntry',
    hosts: asArray(spec['hosts']).filter((host) => typeof host === 'string'),
    ports: asArray(spec['ports'])
      .flatMap((port) => asObject(port)['number'] ?? [])
      .filter((one) => typeof one === 'number'),
    exportTo: parseExportTo(spec['exportTo'], problems),
  };
}

function parseSidecar(manifest: KubeManifest): SidecarResource {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  const selector = parseLabels(spec['workloadSelector'], 'spec.workloadSelector', 'labels', problems);
  const egress = asArray(spec['egress']);
  const hosts = egress.flatMap((item) => asArray(asObject(item)['hosts'])).filter((host) => typeof host === 'string');
  const mode = asObject(spec['outboundTrafficPolicy'])['mode'];
  return {
    ...baseOf(manifest, problems),
    kind: 'Sidecar',
    ...(selector === undefined ? {} : { selector }),
    ...(egress.length === 0 ? {} : { egressHosts: hosts }),
    ingress: asArray(spec['ingress']).length > 0,
    // REGISTRY_ONLY is the first value of the enumeration: what a policy without a mode means.
    registryOnly:
      hasValue(spec['outboundTrafficPolicy']) && (mode === undefined || mode === null || mode === 'REGISTRY_ONLY'),
  };
}

function parseExtension(manifest: KubeManifest, field: string, name: string): ProxyExtension {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  const selector = parseLabels(spec[field], `spec.${field}`, name, problems);
  return {
    ...baseOf(manifest, problems),
    kind: 'extension',
    selector: selector ?? { requirements: [] },
    targeted: parseTargets(spec).length > 0,
  };
}

function parseRequestAuthentication(manifest: KubeManifest): RequestAuthentication {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  checkFields(spec, 'spec', ['selector', 'targetRef', 'targetRefs', 'jwtRules'], problems);
  const selector = parseLabels(spec['selector'], 'spec.selector', 'matchLabels', problems);
  const places = ['fromHeaders', 'fromParams', 'fromCookies'];
  return {
    ...baseOf(manifest, problems),
    kind: 'RequestAuthentication',
    selector: selector ?? EVERYTHING,
    targets: parseTargets(spec),
    elsewhere: asArray(spec['jwtRules']).some((rule) => places.some((place) => hasValue(asObject(rule)[place]))),
  };
}

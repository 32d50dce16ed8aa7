import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { AddressRange } from './cidr-set.ts';
import { parseAddressOrCidr } from './cidr-set.ts';
import type { KubeManifest } from './object.ts';
import { annotationsOf, formatRef, groupOf, namespaceOf, refOf } from './object.ts';
import type { Requirement, Selector } from './selector.ts';
import { parseMatchLabels } from './selector.ts';
import type { Problem } from './problem.ts';
import { refused } from './problem.ts';

interface Base {
  readonly name: string;
  readonly namespace: string;
  /** Milliseconds since the epoch; infinite where it has not been created yet. */
  readonly created: number;
  /** What keeps its effect from being known. */
  readonly problems: readonly Problem[];
}

export type MtlsMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE';

export interface PeerAuthentication extends Base {
  readonly kind: 'PeerAuthentication';
  /** Undefined without a selector, or with an empty one: it speaks for its namespace. */
  readonly selector?: Selector;
  readonly mode: MtlsMode | 'UNSET' | 'unknown';
  readonly ports: ReadonlyMap<number, MtlsMode | 'UNSET' | 'unknown'>;
}

export type ClientTlsMode = 'DISABLE' | 'SIMPLE' | 'MUTUAL' | 'ISTIO_MUTUAL' | 'unknown';

export interface DestinationRule extends Base {
  readonly kind: 'DestinationRule';
  /** As a fully qualified name, or a wildcard. */
  readonly host: string;
  readonly exportTo: 'all' | 'own' | 'unknown' | ReadonlySet<string>;
  /** Undefined where client TLS is left to auto mTLS. */
  readonly tls?: ClientTlsMode;
  /** By port of the Service. An undefined mode means auto mTLS: a port's settings replace the others whole. */
  readonly ports: ReadonlyMap<number, ClientTlsMode | undefined>;
  /** True where only some clients follow it, or a subset has client TLS of its own. */
  readonly partial: boolean;
}

export type TextMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix'; readonly text: string }
  | { readonly kind: 'present' }
  /** Path templates. */
  | { readonly kind: 'unknown' };

export type SourceField =
  'principals' | 'namespaces' | 'serviceAccounts' | 'ipBlocks' | 'requestPrincipals' | 'remoteIpBlocks';
export type OperationField = 'ports' | 'methods' | 'paths' | 'hosts';

/** One condition: some value must match, or, negated, none may. */
export interface Condition<Field extends string> {
  readonly field: Field;
  readonly negated: boolean;
  readonly values: readonly TextMatch[];
  /** For addresses: undefined where a value is none. */
  readonly ranges: readonly (AddressRange | undefined)[];
  /** For ports; NaN where a value is none. */
  readonly numbers: readonly number[];
}

export interface AuthorizationRule {
  readonly index: number;
  /** Alternatives, each of conditions that must all hold. Empty means any. */
  readonly from: readonly (readonly Condition<SourceField>[])[];
  readonly to: readonly (readonly Condition<OperationField>[])[];
  /** All must hold; `unknown` for keys that are not evaluated. */
  readonly when: readonly (
    Condition<SourceField | OperationField> | { readonly field: 'unknown'; readonly http: boolean }
  )[];
  /** True where any field speaks of HTTP: on a TCP port an ALLOW rule is dropped whole. */
  readonly http: boolean;
}

export interface AuthorizationPolicy extends Base {
  readonly kind: 'AuthorizationPolicy';
  readonly selector: Selector;
  /** True where targetRefs say whom it is for. */
  readonly targeted: boolean;
  readonly action: 'ALLOW' | 'DENY' | 'CUSTOM';
  readonly rules: readonly AuthorizationRule[];
}

export interface SidecarResource extends Base {
  readonly kind: 'Sidecar';
  readonly selector?: Selector;
  /** `namespace/host`; undefined where it leaves the defaults. */
  readonly egressHosts?: readonly string[];
  readonly ingress: boolean;
  readonly registryOnly: boolean;
}

/** EnvoyFilter, WasmPlugin: may do anything to the proxies that they select. */
export interface ProxyExtension extends Base {
  readonly kind: 'extension';
  readonly selector: Selector;
  readonly targeted: boolean;
}

export type IstioObject = PeerAuthentication | DestinationRule | AuthorizationPolicy | SidecarResource | ProxyExtension;

/**
 * Reads an Istio object that decides about connections. Undefined for the others, and for an AuthorizationPolicy that only
 * audits or rehearses (`istio.io/dry-run`).
 */
export function parseIstioObject(manifest: KubeManifest): IstioObject | undefined {
  switch (`${groupOf(manifest.apiVersion)}/${manifest.kind}`) {
    case 'security.istio.io/PeerAuthentication':
      return parsePeerAuthentication(manifest);
    case 'security.istio.io/AuthorizationPolicy':
      return parseAuthorizationPolicy(manifest);
    case 'networking.istio.io/DestinationRule':
      return parseDestinationRule(manifest);
    case 'networking.istio.io/Sidecar':
      return parseSidecar(manifest);
    case 'networking.istio.io/EnvoyFilter':
      return parseExtension(manifest, 'workloadSelector', 'labels');
    case 'extensions.istio.io/WasmPlugin':
      return parseExtension(manifest, 'selector', 'matchLabels');
    default:
      return undefined;
  }
}

function baseOf(manifest: KubeManifest, problems: readonly Problem[]): Base {
  const created = asString(manifest.metadata['creationTimestamp']);
  const at = created === undefined ? Number.NaN : Date.parse(created);
  return {
    name: formatRef(refOf(manifest)),
    namespace: namespaceOf(manifest) ?? 'default',
    // What a plan is going to create is younger than all that stands.
    created: Number.isNaN(at) ? Number.POSITIVE_INFINITY : at,
    problems,
  };
}

/** Fields that are not in the schema read here have an effect that is not known. */
function checkFields(object: JsonObject, field: string, known: readonly string[], problems: Problem[]): void {
  for (const [key, value] of Object.entries(object)) {
    if (value !== null && !known.includes(key)) {
      problems.push({ field: `${field}.${key}`, message: 'is not a field that is known', kind: 'unknown-field' });
    }
  }
}

function parseLabels(value: Json | undefined, field: string, name: string, problems: Problem[]): Selector | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isJsonObject(value)) {
    problems.push(refused(field, 'is not an object'));
    return undefined;
  }
  checkFields(value, field, [name], problems);
  const requirements: Requirement[] = [];
  parseMatchLabels(value[name], `${field}.${name}`, requirements, problems);
  return requirements.length === 0 ? undefined : { requirements };
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
  const policy = asObject(spec['trafficPolicy']);
  const tls = parseClientTls(policy['tls'], 'spec.trafficPolicy.tls', problems);
  const ports = new Map<number, ClientTlsMode | undefined>();
  asArray(policy['portLevelSettings']).forEach((item, index) => {
    const setting = asObject(item);
    const port = asObject(setting['port'])['number'];
    if (typeof port !== 'number') return;
    ports.set(port, parseClientTls(setting['tls'], `spec.trafficPolicy.portLevelSettings[${index}].tls`, problems));
  });
  const subsetTls = asArray(spec['subsets']).some((subset) => {
    const own = asObject(asObject(subset)['trafficPolicy']);
    const settings = asArray(own['portLevelSettings']);
    return hasValue(own['tls']) || settings.some((setting) => hasValue(asObject(setting)['tls']));
  });
  return {
    ...base,
    kind: 'DestinationRule',
    // A name without a dot is one of the rule's namespace; with a dot it is taken as it stands.
    host: host.includes('.') || host === '*' ? host : `${host}.${base.namespace}.svc.cluster.local`,
    exportTo: parseExportTo(spec['exportTo']),
    ...(tls === undefined ? {} : { tls }),
    ports,
    partial: hasValue(spec['workloadSelector']) || subsetTls,
  };
}

function hasValue(value: Json | undefined): boolean {
  return value !== undefined && value !== null;
}

function parseExportTo(value: Json | undefined): DestinationRule['exportTo'] {
  const names = asArray(value);
  if (names.length === 0 || names.includes('*')) return 'all';
  if (names.length === 1 && names[0] === '.') return 'own';
  const plain = names.filter((name): name is string => typeof name === 'string' && /^[a-z0-9-]+$/u.test(name));
  return plain.length === names.length ? new Set(plain) : 'unknown';
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
    targeted: hasValue(spec['targetRef']) || asArray(spec['targetRefs']).length > 0,
  };
}

function parseAuthorizationPolicy(manifest: KubeManifest): AuthorizationPolicy | undefined {
  const problems: Problem[] = [];
  const spec = asObject(manifest['spec']);
  checkFields(spec, 'spec', ['selector', 'targetRef', 'targetRefs', 'rules', 'action', 'provider'], problems);
  const action = spec['action'] ?? 'ALLOW';
  if (action === 'AUDIT' || annotationsOf(manifest)['istio.io/dry-run'] === 'true') return undefined;
  const known = action === 'ALLOW' || action === 'DENY' || action === 'CUSTOM';
  if (!known) {
    problems.push(refused('spec.action', `${JSON.stringify(action)} is none of ALLOW, DENY, CUSTOM, AUDIT`));
  }
  const selector = parseLabels(spec['selector'], 'spec.selector', 'matchLabels', problems);
  const rules = asArray(spec['rules']).map((rule, index) => parseRule(rule, index, problems));
  return {
    ...baseOf(manifest, problems),
    kind: 'AuthorizationPolicy',
    selector: selector ?? { requirements: [] },
    targeted: hasValue(spec['targetRef']) || asArray(spec['targetRefs']).length > 0,
    action: known ? action : 'CUSTOM',
    rules,
  };
}

const SOURCES: readonly SourceField[] = [
  'principals',
  'namespaces',
  'serviceAccounts',
  'ipBlocks',
  'requestPrincipals',
  'remoteIpBlocks',
];
const OPERATIONS: readonly OperationField[] = ['ports', 'methods', 'paths', 'hosts'];
const HTTP_FIELDS: ReadonlySet<string> = new Set(['requestPrincipals', 'methods', 'paths', 'hosts']);

/** True of a field that means nothing on a TCP port. Addresses that a header states count as HTTP as well. */
export function isHttpField(field: string): boolean {
  return HTTP_FIELDS.has(field);
}

function parseRule(value: Json, index: number, problems: Problem[]): AuthorizationRule {
  const at = `spec.rules[${index}]`;
  if (!isJsonObject(value)) problems.push(refused(at, 'is not an object'));
  const rule = asObject(value);
  checkFields(rule, at, ['from', 'to', 'when'], problems);
  const from = parseAlternatives(rule['from'], `${at}.from`, 'source', SOURCES, problems);
  const to = parseAlternatives(rule['to'], `${at}.to`, 'operation', OPERATIONS, problems);
  const when = asArray(rule['when']).flatMap((item) => parseWhen(asObject(item)));
  const isHttp = (condition: { readonly field: string; readonly http?: boolean }): boolean =>
    condition.http ?? isHttpField(condition.field);
  const http = [...from.flat(), ...to.flat(), ...when].some(isHttp);
  return { index, from, to, when, http };
}

function parseAlternatives<Field extends string>(
  value: Json | undefined,
  field: string,
  wrapper: string,
  fields: readonly Field[],
  problems: Problem[],
): readonly (readonly Condition<Field>[])[] {
  return asArray(value).map((item, index) => {
    const at = `${field}[${index}].${wrapper}`;
    const inner = asObject(item)[wrapper];
    const object = asObject(inner);
    const conditions: Condition<Field>[] = [];
    for (const [key, list] of Object.entries(object)) {
      const known = fields.find((one) => one === key || negation(one) === key);
      if (known === undefined) {
        if (list !== null)
          problems.push({ field: `${at}.${key}`, message: 'is not a field that is known', kind: 'unknown-field' });
        continue;
      }
      const values = asArray(list).filter((one): one is string => typeof one === 'string');
      // An empty list counts as absent.
      if (values.length > 0) conditions.push(conditionOf(known, known !== key, values));
    }
    if (conditions.length === 0) problems.push(refused(at, 'has no condition'));
    return conditions;
  });
}

// `ports` -> `notPorts`
function negation(field: string): string {
  return `not${field.slice(0, 1).toUpperCase()}${field.slice(1)}`;
}

function conditionOf<Field extends string>(
  field: Field,
  negated: boolean,
  values: readonly string[],
): Condition<Field> {
  return {
    field,
    negated,
    values: values.map((text) => parseTextMatch(text, field === 'paths')),
    ranges: field === 'ipBlocks' ? values.map(parseAddressOrCidr) : [],
    numbers: field === 'ports' ? values.map((text) => (/^\d+$/u.test(text) ? Number(text) : Number.NaN)) : [],
  };
}

function parseTextMatch(text: string, isPath: boolean): TextMatch {
  if (text === '*') return { kind: 'present' };
  if (isPath && text.includes('{')) return { kind: 'unknown' };
  if (text.startsWith('*')) return { kind: 'suffix', text: text.slice(1) };
  if (text.endsWith('*')) return { kind: 'prefix', text: text.slice(0, -1) };
  return { kind: 'exact', text };
}

const WHEN: Readonly<Record<string, SourceField | OperationField>> = {
  'source.principal': 'principals',
  'source.namespace': 'namespaces',
  'source.ip': 'ipBlocks',
  'destination.port': 'ports',
};

function parseWhen(item: JsonObject): AuthorizationRule['when'] {
  const key = asString(item['key']) ?? '';
  const field = Object.hasOwn(WHEN, key) ? WHEN[key] : undefined;
  if (field === undefined) return [{ field: 'unknown', http: key.startsWith('request.') }];
  const values = asArray(item['values']).filter((one): one is string => typeof one === 'string');
  const notValues = asArray(item['notValues']).filter((one): one is string => typeof one === 'string');
  return [
    ...(values.length > 0 ? [conditionOf(field, false, values)] : []),
    ...(notValues.length > 0 ? [conditionOf(field, true, notValues)] : []),
  ];
}

import { hostFit } from '../../model/istio-destination-rule.ts';
import { parseIstioObject } from '../../model/istio-objects.ts';
import { speaksHttp } from '../../model/istio-protocol.ts';
import type { ServiceInfo, ServicePort } from '../../model/inventory.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, namespaceOf, refOf } from '../../model/object.ts';
import { isOwn } from '../../objects/build.ts';
import type { PortSettings } from '../../objects/istio-traffic.ts';
import { buildPoolRule } from '../../objects/istio-traffic.ts';
import type { FieldPath, Json, JsonObject } from '../../shared/pure/json.ts';
import { asArray, asObject, getPath, isJsonObject } from '../../shared/pure/json.ts';
import type { TuningInput, TuningWrite } from './proposal.ts';
import { hostOf } from './proposal.ts';

type PoolWrite = Extract<TuningWrite, { readonly kind: 'pool' }>;

/** The DestinationRule that clients of a Service follow, as far as settings of a pool may be put into it. */
export type RuleChoice =
  | { readonly kind: 'none' }
  | { readonly kind: 'one'; readonly object: KubeManifest }
  | { readonly kind: 'refused'; readonly why: string };

/**
 * Of rules whose hosts fit a Service only the most exact one is followed, whole, and a client's own namespace comes before the Service's
 * (istio/istio pilot/pkg/model, destination_rule.go). So settings go into the one rule that is there; a rule beside it would be passed over, or would take the other's place.
 */
export function ruleOf(
  objects: readonly KubeManifest[],
  service: { readonly namespace: string; readonly name: string },
): RuleChoice {
  const host = hostOf(service);
  const fitting = objects.flatMap((object) => {
    const parsed = object.kind === 'DestinationRule' ? parseIstioObject(object) : undefined;
    if (parsed?.kind !== 'DestinationRule' || hostFit(parsed.host, host) === undefined) return [];
    return [{ object, parsed }];
  });
  const [first] = fitting;
  if (first === undefined) return { kind: 'none' };
  const names = fitting.map(({ object }) => formatRef(refOf(object))).join(', ');
  if (fitting.length > 1)
    return {
      kind: 'refused',
      why: `several rules are for ${host} (${names}), and which one a client follows depends on the client`,
    };
  const { object, parsed } = first;
  if (parsed.host !== host)
    return {
      kind: 'refused',
      why: `${names} is for ${parsed.host}, and a rule for ${host} alone would take its place`,
    };
  if (namespaceOf(object) !== service.namespace)
    return { kind: 'refused', why: `${names} lies in another namespace than the Service` };
  if (parsed.selector !== undefined)
    return { kind: 'refused', why: `${names} is for some clients alone (workloadSelector)` };
  if (parsed.problems.length > 0) return { kind: 'refused', why: `${names} cannot be read whole` };
  const subset = asArray(asObject(object['spec'])['subsets']).some(
    (one) => Object.keys(asObject(asObject(one)['trafficPolicy'])).length > 0,
  );
  if (subset) return { kind: 'refused', why: `${names} has subsets with a traffic policy of their own` };
  return { kind: 'one', object };
}

/** The pool that a port follows in a rule: its own settings where it has some, else those of the whole rule. */
export function poolAt(rule: KubeManifest, port: number): JsonObject {
  return asObject(policyAt(rule, port)['connectionPool']);
}

/** Settings of a port inherit nothing of the rule's own (istio.io, DestinationRule, portLevelSettings). */
function policyAt(rule: KubeManifest, port: number): JsonObject {
  const policy = asObject(getPath(rule, ['spec', 'trafficPolicy']));
  const own = asArray(policy['portLevelSettings'])
    .map(asObject)
    .find((one) => asObject(one['port'])['number'] === port);
  return own ?? policy;
}

/** The client TLS that a rule sets for a port where it is not mTLS of the mesh; undefined where it is, or is left to automatic mTLS. */
export function otherTls(rule: KubeManifest, port: number): string | undefined {
  const tls = policyAt(rule, port)['tls'];
  if (tls === undefined || tls === null) return undefined;
  // DISABLE is the first value of the enumeration: what settings without a mode mean.
  const mode = asObject(tls)['mode'] ?? 'DISABLE';
  return mode === 'ISTIO_MUTUAL' ? undefined : JSON.stringify(mode);
}

/** Where settings of one port would go into a rule's own pool: the other TCP ports of the Service that follow it. Empty: the port's settings are its own. */
export function sharedWith(
  input: Pick<TuningInput, 'objects'>,
  service: ServiceInfo,
  port: number,
): readonly ServicePort[] {
  const rule = ruleOf(input.objects, service);
  if (rule.kind !== 'one' || isTuned(rule.object, service.name) || hasOwnSettings(rule.object, port)) return [];
  return service.ports.filter(
    (one) => one.port !== port && one.protocol === 'TCP' && !hasOwnSettings(rule.object, one.port),
  );
}

/** What stands against settings of one port in a rule of the Service; empty where nothing does. */
export function againstPool(
  input: Pick<TuningInput, 'objects'>,
  service: ServiceInfo,
  port: number,
): readonly string[] {
  const rule = ruleOf(input.objects, service);
  if (rule.kind === 'refused') return [rule.why];
  if (rule.kind === 'none' || isTuned(rule.object, service.name) || hasOwnSettings(rule.object, port)) return [];
  // Settings of a port would replace all others of the rule for it, so they go into the rule's own, which hold for every port.
  const others = service.ports.filter((one) => one.port !== port && one.protocol === 'TCP');
  return others.every((one) => speaksHttp(one.appProtocol, one.name, one.port) === true)
    ? []
    : [
        `${formatRef(refOf(rule.object))} speaks for every port of the Service, and ${others.map((one) => one.port).join(', ')} is not declared HTTP`,
      ];
}

function hasOwnSettings(rule: KubeManifest, port: number): boolean {
  return asArray(getPath(rule, ['spec', 'trafficPolicy', 'portLevelSettings'])).some(
    (one) => asObject(asObject(one)['port'])['number'] === port,
  );
}

/** A rule that holds settings of pools alone, since tune made it. Others of ours (a pattern's) are edited field by field like anybody's. */
export function isTuned(rule: KubeManifest, service: string): boolean {
  return isOwn(rule) && rule.metadata.name === ownRuleName(service);
}

/** What a write of a pool amounts to, given the objects as they are when it is made. Exact: nothing else of a rule is touched. */
export type RealPool =
  | { readonly kind: 'object'; readonly object: KubeManifest }
  | {
      readonly kind: 'fields';
      readonly object: KubeManifest;
      readonly fields: readonly { readonly path: FieldPath; readonly after: Json }[];
    };

function ownRuleName(service: string): string {
  return `sallyport-tune-${service}`.slice(0, 253);
}

/** Undefined where a rule has come between that settings cannot be put into. */
export function realisePool(objects: readonly KubeManifest[], write: PoolWrite): RealPool | undefined {
  const rule = ruleOf(objects, write.service);
  if (rule.kind === 'refused') return undefined;
  const settings = (before: JsonObject): JsonObject => ({
    ...before,
    ...(write.http === undefined ? {} : { http: { ...asObject(before['http']), ...write.http } }),
    ...(write.tcp === undefined ? {} : { tcp: { ...asObject(before['tcp']), ...write.tcp } }),
  });
  if (rule.kind === 'none' || isTuned(rule.object, write.service.name)) {
    const known = rule.kind === 'none' ? [] : ownPorts(rule.object);
    const before = known.find(({ port }) => port === write.port)?.connectionPool ?? {};
    const ports = [
      ...known.filter(({ port }) => port !== write.port),
      { port: write.port, connectionPool: settings(before) },
    ];
    const { namespace, name } = write.service;
    const ownName = rule.kind === 'none' ? ownRuleName(name) : rule.object.metadata.name;
    return { kind: 'object', object: buildPoolRule({ name: ownName, namespace }, hostOf(write.service), ports) };
  }
  const { object } = rule;
  if (hasOwnSettings(object, write.port)) {
    const path = ['spec', 'trafficPolicy', 'portLevelSettings'];
    const after = asArray(getPath(object, path)).map((one): Json => {
      const setting = asObject(one);
      return asObject(setting['port'])['number'] === write.port
        ? { ...setting, connectionPool: settings(asObject(setting['connectionPool'])) }
        : one;
    });
    return { kind: 'fields', object, fields: [{ path, after }] };
  }
  // At the highest parent that is absent: two fields below one would each make it.
  const path = ['spec', 'trafficPolicy', 'connectionPool'];
  const pool = getPath(object, path);
  if (!isJsonObject(pool)) return { kind: 'fields', object, fields: [{ path, after: settings({}) }] };
  const fields = (['http', 'tcp'] as const).flatMap((part) => {
    const wanted = write[part];
    if (wanted === undefined) return [];
    if (!isJsonObject(pool[part])) return [{ path: [...path, part], after: wanted }];
    return Object.entries(wanted).map(([key, after]) => ({ path: [...path, part, key], after }));
  });
  return { kind: 'fields', object, fields };
}

function ownPorts(rule: KubeManifest): readonly PortSettings[] {
  return asArray(getPath(rule, ['spec', 'trafficPolicy', 'portLevelSettings'])).flatMap((one) => {
    const setting = asObject(one);
    const port = asObject(setting['port'])['number'];
    return typeof port === 'number' ? [{ port, connectionPool: asObject(setting['connectionPool']) }] : [];
  });
}

import type { KubeManifest } from '../../model/object.ts';
import { groupOf, namespaceOf } from '../../model/object.ts';
import type { Json } from '../../shared/pure/json.ts';
import { asArray, asObject, asString, getPath, isJsonObject } from '../../shared/pure/json.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { providersOf } from './ext-authz-cache.ts';
import type { TuningInput } from './proposal.ts';

/** What proxies call of their own accord (decisions, traces, logs), as the mesh configuration names it. */
export interface MeshProviders {
  /** `[NAMESPACE/]HOST` of each provider with a service (istio.io, MeshConfig.ExtensionProvider). */
  readonly services: readonly string[];
  /** Those of them that decide about requests (`envoyExtAuthzGrpc`, `envoyExtAuthzHttp`), by the name that policies ask them by. */
  readonly authorizers: readonly { readonly name: string; readonly service: string }[];
  /** What calls to hosts that a proxy is not shown come to: refused (REGISTRY_ONLY), or passed on as they are. Absent: not told. */
  readonly outbound?: 'REGISTRY_ONLY' | 'ALLOW_ANY';
  /** Why it is not known which there are; empty where it is. */
  readonly unread: readonly string[];
}

/**
 * Providers from `extensionProviders` of the ConfigMaps of the mesh: `istio`, and those of its revisions, where istiod is. A text that
 * cannot be parsed is said.
 */
export function meshProviders(
  input: Pick<TuningInput, 'objects' | 'namespace' | 'inventory' | 'parseText'>,
): MeshProviders {
  const { objects, inventory } = input;
  const where = new Set([
    inventory.facts.mesh.rootNamespace,
    'istio-system',
    ...objects.flatMap((one) =>
      one.kind === 'Deployment' && asObject(one.metadata.labels)['app'] === 'istiod'
        ? [namespaceOf(one) ?? 'default']
        : [],
    ),
  ]);
  const texts = objects.flatMap((one) => {
    const text = isMeshMap(one, where) ? asString(getPath(one, ['data', 'mesh'])) : undefined;
    return text === undefined ? [] : [{ name: `ConfigMap ${namespaceOf(one) ?? ''}/${one.metadata.name}`, text }];
  });
  if (texts.length === 0)
    return {
      services: [],
      authorizers: [],
      unread: [
        `the mesh configuration (ConfigMap istio, data.mesh) was not read: which extensionProviders the proxies call is not known`,
      ],
    };
  const read = texts.map(({ name, text }) => ({ name, ...providersIn(input.parseText(text)) }));
  const named = new Set(read.flatMap(({ names }) => names));
  const lost = providersOf(input).filter((one) => !named.has(one));
  const modes = new Set(read.map(({ outbound }) => outbound));
  const [outbound] = modes;
  return {
    services: uniqueSorted(read.flatMap(({ services }) => services)),
    authorizers: read.flatMap(({ authorizers }) => authorizers),
    ...(modes.size === 1 && outbound !== undefined ? { outbound } : {}),
    unread: [
      ...read.flatMap(({ name, problem }) =>
        problem ? [`extensionProviders of ${name} cannot be read whole: what the proxies call is not known`] : [],
      ),
      ...lost.map((one) => `a policy with action CUSTOM asks ${one}, which no extensionProviders that were read name`),
    ],
  };
}

function isMeshMap(object: KubeManifest, where: ReadonlySet<string>): boolean {
  return (
    object.kind === 'ConfigMap' &&
    groupOf(object.apiVersion) === '' &&
    /^istio(?:-.+)?$/u.test(object.metadata.name) &&
    where.has(namespaceOf(object) ?? 'default')
  );
}

interface Read {
  readonly names: readonly string[];
  readonly services: readonly string[];
  readonly authorizers: MeshProviders['authorizers'];
  readonly outbound?: 'REGISTRY_ONLY' | 'ALLOW_ANY';
  readonly problem: boolean;
}

function providersIn(config: Json | undefined): Read {
  const listed = asObject(config)['extensionProviders'];
  // An empty text is an empty configuration.
  const problem = (config !== null && !isJsonObject(config)) || (listed !== undefined && !Array.isArray(listed));
  if (problem) return { names: [], services: [], authorizers: [], problem };
  const providers = asArray(listed).map(asObject);
  // ALLOW_ANY where nothing is said (istio.io, MeshConfig.outboundTrafficPolicy).
  const mode = asObject(asObject(config)['outboundTrafficPolicy'])['mode'] ?? 'ALLOW_ANY';
  return {
    names: providers.flatMap(({ name }) => asString(name) ?? []),
    services: providers.flatMap((one) =>
      Object.values(one).flatMap((kind) => asString(asObject(kind)['service']) ?? []),
    ),
    authorizers: providers.flatMap((one) => {
      const name = asString(one['name']);
      const service = asString(asObject(one['envoyExtAuthzGrpc'] ?? one['envoyExtAuthzHttp'])['service']);
      return name === undefined || service === undefined ? [] : [{ name, service }];
    }),
    ...(mode === 'ALLOW_ANY' || mode === 'REGISTRY_ONLY' ? { outbound: mode } : {}),
    problem,
  };
}

/** Where a provider's service lies: a namespace, outside (a name of a ServiceEntry, or of nothing), or it cannot be told. */
export type ProviderPlace =
  { readonly kind: 'namespace'; readonly name: string } | { readonly kind: 'outside' } | { readonly kind: 'unknown' };

export function placeOfProvider(service: string): ProviderPlace {
  const stroke = service.indexOf('/');
  if (stroke >= 0) return { kind: 'namespace', name: service.slice(0, stroke) };
  const kube = /^[^.*]+\.([^.*]+)(?:\.svc(?:\..*)?)?$/u.exec(service)?.[1];
  if (kube !== undefined) return { kind: 'namespace', name: kube };
  return !service.includes('.') || service.includes('*') ? { kind: 'unknown' } : { kind: 'outside' };
}

/** The Services that decide about requests to the namespace, as policies with action CUSTOM ask them; those outside of the cluster are left out. */
export function authorizersAsked(
  input: Pick<TuningInput, 'objects' | 'namespace' | 'inventory' | 'parseText'>,
): readonly { readonly namespace: string; readonly service: string }[] {
  const names = providersOf(input);
  if (names.length === 0) return [];
  return meshProviders(input).authorizers.flatMap(({ name, service }) => {
    const place = placeOfProvider(service);
    const [first = ''] = service.slice(service.indexOf('/') + 1).split('.');
    return names.includes(name) && place.kind === 'namespace' ? [{ namespace: place.name, service: first }] : [];
  });
}

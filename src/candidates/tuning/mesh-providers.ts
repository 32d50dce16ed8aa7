import type { KubeManifest } from '../../model/object.ts';
import { groupOf, namespaceOf } from '../../model/object.ts';
import { asObject, asString, getPath } from '../../shared/pure/json.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { providersOf } from './ext-authz-cache.ts';
import type { TuningInput } from './proposal.ts';

/** What proxies call of their own accord (decisions, traces, logs), as the mesh configuration names it. */
export interface MeshProviders {
  /** `[NAMESPACE/]HOST` of each provider with a service (istio.io, MeshConfig.ExtensionProvider). */
  readonly services: readonly string[];
  /** What calls to hosts that a proxy is not shown come to: refused (REGISTRY_ONLY), or passed on as they are. Absent: not told. */
  readonly outbound?: 'REGISTRY_ONLY' | 'ALLOW_ANY';
  /** Why it is not known which there are; empty where it is. */
  readonly unread: readonly string[];
}

/**
 * Providers from `extensionProviders` of the ConfigMaps of the mesh: `istio`, and those of its revisions, where istiod is. The text is scanned, not parsed:
 * what is taken for a service and is none shows a namespace too many, and what the scan does not understand is said.
 */
export function meshProviders(input: Pick<TuningInput, 'objects' | 'namespace' | 'inventory'>): MeshProviders {
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
      unread: [
        `the mesh configuration (ConfigMap istio, data.mesh) was not read: which extensionProviders the proxies call is not known`,
      ],
    };
  const read = texts.map(({ name, text }) => ({ name, ...scan(text) }));
  const named = new Set(read.flatMap(({ names }) => names));
  const lost = providersOf(input).filter((one) => !named.has(one));
  const modes = new Set(read.map(({ outbound }) => outbound));
  const [outbound] = modes;
  return {
    services: uniqueSorted(read.flatMap(({ services }) => services)),
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

interface Scanned {
  readonly names: readonly string[];
  readonly services: readonly string[];
  readonly outbound?: 'REGISTRY_ONLY' | 'ALLOW_ANY';
  readonly problem: boolean;
}

function scan(text: string): Scanned {
  const plain = text.replaceAll('\r\n', '\n').replaceAll(/(?:^|[ \t])#.*$/gmu, '');
  // Up to the next key at the start of a line; a list may stand there too.
  const block = /^extensionProviders[ \t]*:([^\n]*(?:\n(?:[ \t-][^\n]*)?)*)/mu.exec(plain)?.[1];
  const outbound = outboundOf(plain);
  const base = outbound === undefined ? {} : { outbound };
  // Named, and not as a key at the start of a line: JSON, quotes, a merge.
  if (block === undefined)
    return { ...base, names: [], services: [], problem: /extensionProviders|^[ \t]*[{&*<]/mu.test(plain) };
  const of = (key: string): readonly string[] =>
    [...block.matchAll(new RegExp(`(?:^|[\\s{,"'-])${key}["']?[ \\t]*:[ \\t]*([^\\s,}]*)`, 'gu'))].map(
      ([, value = '']) => value.replaceAll(/^["']|["']$/gu, ''),
    );
  const services = of('service');
  const strange = services.some((one) => !/^(?:[a-z0-9.-]+\/)?[A-Za-z0-9*][A-Za-z0-9.*-]*$/u.test(one));
  const merged = /(?:^|[\s:,[-])(?:<<[ \t]*:|[&*!][A-Za-z])|\?[ \t]/mu.test(block);
  return { ...base, names: of('name'), services: strange ? [] : services, problem: strange || merged };
}

/** ALLOW_ANY where nothing is said (istio.io, MeshConfig.outboundTrafficPolicy). */
function outboundOf(text: string): Scanned['outbound'] {
  if (!text.includes('outboundTrafficPolicy')) return /^[ \t]*[{&*<]/mu.test(text) ? undefined : 'ALLOW_ANY';
  const found = /^outboundTrafficPolicy[ \t]*:[ \t]*(?:\{[ \t]*|\n[ \t]+)mode[ \t]*:[ \t]*["']?(\w+)/mu.exec(text)?.[1];
  return found === 'REGISTRY_ONLY' || found === 'ALLOW_ANY' ? found : undefined;
}

/** The namespace that a provider's service lies in. `outside`: a name of a ServiceEntry, or of nothing. Undefined where it cannot be told. */
export function namespaceOfProvider(service: string): string | 'outside' | undefined {
  const [before, host] = service.includes('/') ? service.split('/') : [undefined, service];
  if (before !== undefined) return before;
  const kube = /^[^.*]+\.([^.*]+)(?:\.svc(?:\..*)?)?$/u.exec(host ?? '')?.[1];
  if (kube !== undefined) return kube;
  return host === undefined || !host.includes('.') || host.includes('*') ? undefined : 'outside';
}

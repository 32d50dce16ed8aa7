import type { Edge } from '../../model/edge.ts';
import { formatEdge, namespaceOfWorkload } from '../../model/edge.ts';
import { compileWorld, evaluateConnection } from '../../model/evaluate.ts';
import type { Inventory } from '../../model/inventory.ts';
import { hostFit } from '../../model/istio-destination-rule.ts';
import { parseIstioObject } from '../../model/istio-objects.ts';
import type { KubeManifest } from '../../model/object.ts';
import { formatRef, groupOf, namespaceOf, refKey, refOf } from '../../model/object.ts';
import { isOwn } from '../../objects/build.ts';
import { buildScope } from '../../objects/istio-traffic.ts';
import { asArray, asObject, asString } from '../../shared/pure/json.ts';
import { uniqueSorted } from '../../shared/pure/order.ts';
import { meshProviders, placeOfProvider } from './mesh-providers.ts';
import type { Proposal, TuningInput } from './proposal.ts';
import { evidenceOf, makeProposal, percentRange, workloadsIn } from './proposal.ts';

export const SCOPE_NAME = 'sallyport-tune-scope';
/** A configuration smaller than this is not worth a resource that hides things. */
const LEAST_CLUSTERS = 100;
/** Clusters that every proxy has: itself, istiod, what is passed through and what is refused. */
const ALWAYS = 10;
/** Subsets and ports that are named twice: how much more than its Services' ports a namespace may show. */
const MORE = 1.5;

/** Is shown whatever the record says: istiod's namespace, and the API server's. */
function always({ facts }: Inventory): readonly string[] {
  return [facts.mesh.rootNamespace, 'default'];
}

export interface Shown {
  readonly namespaces: readonly string[];
  /** Edges of which it cannot be told what they need. */
  readonly open: readonly Edge[];
  /** What the proxies themselves call, or configuration declares, and cannot be told. */
  readonly unread: readonly string[];
}

/**
 * The namespaces that the proxies of a namespace must be shown so that nothing on record is hidden from them: of every workload called or declared by
 * configuration to be, of the providers that proxies themselves call (a CUSTOM policy whose authorizer is hidden refuses every request), of the
 * ServiceEntries of names outside, and, since routes lead on, of VirtualServices for what is shown and of what they lead to.
 */
export function namespacesShown(
  input: Pick<TuningInput, 'namespace' | 'inventory' | 'objects' | 'edges' | 'parseText'>,
): Shown {
  const { namespace, inventory, objects } = input;
  const shown = new Set<string>([...always(inventory)]);
  const open: Edge[] = [];
  const unread: string[] = [];
  const known = new Set(inventory.namespaces.map(({ name }) => name));
  for (const edge of input.edges) {
    if (edge.src.kind !== 'workload' || namespaceOfWorkload(edge.src.id) !== namespace) continue;
    const { dst } = edge;
    if (dst.kind === 'workload') shown.add(namespaceOfWorkload(dst.id));
    else if (dst.kind === 'unknown') open.push(edge);
  }
  // Declared, and not on record: a job that has not run yet, an address in the environment. Whether anybody adopted it does not matter here.
  for (const { src, dst, strength, by, port } of inventory.declared) {
    if (src.kind !== 'workload' || namespaceOfWorkload(src.id) !== namespace) continue;
    if (dst.kind === 'workload') shown.add(namespaceOfWorkload(dst.id));
    else if (dst.kind === 'unknown' && strength === 'strong')
      unread.push(`where ${by} of ${src.id} leads (port ${port}) is not known`);
  }
  const providers = meshProviders(input);
  unread.push(...providers.unread);
  for (const service of providers.services) {
    const place = placeOfProvider(service);
    if (place.kind === 'unknown') unread.push(`in which namespace the provider ${service} lies is not known`);
    else if (place.kind === 'namespace') shown.add(place.name);
  }
  // Names outside may be reached by address, which a record without a name does not tell apart.
  for (const object of objects)
    if (object.kind === 'ServiceEntry' && groupOf(object.apiVersion) === 'networking.istio.io')
      shown.add(namespaceOf(object) ?? 'default');
  for (let before = -1; before !== shown.size;) {
    before = shown.size;
    for (const object of objects) {
      if (object.kind === 'VirtualService') followRoute(object, namespace, known, shown);
      else if (groupOf(object.apiVersion) === 'gateway.networking.k8s.io')
        followBackends(object, namespace, known, shown);
    }
  }
  shown.delete(namespace);
  return { namespaces: uniqueSorted(shown), open, unread };
}

/** A route for what is shown must be shown too, and so must all that it leads to. */
function followRoute(object: KubeManifest, client: string, known: ReadonlySet<string>, shown: Set<string>): void {
  const own = namespaceOf(object) ?? 'default';
  const spec = asObject(object['spec']);
  const of = (host: string): string | undefined => {
    if (!host.includes('.')) return own;
    return /^[^.]+\.([^.]+)(?:\.svc(?:\..*)?)?$/u.exec(host)?.[1];
  };
  const hosts = asArray(spec['hosts']).flatMap((one) => asString(one) ?? []);
  // A name outside, or one with stars, may be asked for by anybody.
  const concerns = hosts.some((host) => {
    const where = host.includes('*') ? undefined : of(host);
    return where === undefined || where === client || shown.has(where);
  });
  if (!concerns) return;
  shown.add(own);
  for (const part of ['http', 'tcp', 'tls'] as const)
    for (const route of asArray(spec[part]).map(asObject)) {
      const targets = [
        ...asArray(route['route']).map((one) => asObject(one)['destination'] ?? null),
        route['mirror'] ?? null,
        ...asArray(route['mirrors']).map((one) => asObject(one)['destination'] ?? null),
      ];
      for (const target of targets) {
        const host = asString(asObject(target)['host']);
        const where = host === undefined ? undefined : of(host);
        if (where !== undefined && known.has(where)) shown.add(where);
      }
      const delegate = asString(asObject(route['delegate'])['namespace']);
      if (delegate !== undefined) shown.add(delegate);
    }
}

/** A route of the Gateway API in a namespace that is shown leads to backends that may lie in others (its rules, `backendRefs`). */
function followBackends(object: KubeManifest, client: string, known: ReadonlySet<string>, shown: Set<string>): void {
  const own = namespaceOf(object) ?? 'default';
  if (own !== client && !shown.has(own)) return;
  for (const rule of asArray(asObject(object['spec'])['rules']))
    for (const ref of asArray(asObject(rule)['backendRefs'])) {
      const where = asString(asObject(ref)['namespace']);
      if (where !== undefined && known.has(where)) shown.add(where);
    }
}

/** Edges of the namespace whose verdict differs once the scope is there. Both are judged by the same evaluator. */
export function changedByScope(input: TuningInput, scope: KubeManifest): readonly Edge[] {
  const key = refKey(refOf(scope));
  const before = compileWorld(input.inventory);
  const after = compileWorld({
    ...input.inventory,
    policies: [...input.inventory.policies.filter((one) => refKey(refOf(one)) !== key), scope],
  });
  return input.edges.filter(
    (edge) =>
      edge.src.kind === 'workload' &&
      namespaceOfWorkload(edge.src.id) === input.namespace &&
      evaluateConnection(before, edge).answer !== evaluateConnection(after, edge).answer,
  );
}

/** A Sidecar that shows the proxies of the namespace what they call, and what that rests on, and nothing else. */
export function proposeSidecarScope(input: TuningInput): readonly Proposal[] {
  const { namespace, inventory, objects, metrics } = input;
  const meshed = workloadsIn(input).filter((one) => one.podSets.some(({ mesh }) => mesh === 'sidecar'));
  const largest = Math.max(
    -1,
    ...metrics.proxies.flatMap((one) => (meshed.some(({ id }) => id === one.workload) ? [one.clusters ?? -1] : [])),
  );
  const { namespaces, open, unread } = namespacesShown(input);
  const scope = buildScope({ name: SCOPE_NAME, namespace }, namespaces);
  const sidecars = objects.filter((one) => one.kind === 'Sidecar' && groupOf(one.apiVersion) === 'networking.istio.io');
  const ours = sidecars.find((one) => refKey(refOf(one)) === refKey(refOf(scope)));
  const widens = ours !== undefined && missingIn(ours, namespaces);
  if (meshed.length === 0 || (largest < LEAST_CLUSTERS && !widens) || (ours !== undefined && !widens)) return [];
  const left = ALWAYS + portsIn(inventory, new Set([namespace, ...namespaces]));
  if (!widens && left * MORE >= largest) return [];
  const others = sidecars.filter(
    (one) =>
      one !== ours &&
      asObject(one['spec'])['workloadSelector'] === undefined &&
      [namespace, inventory.facts.mesh.rootNamespace].includes(namespaceOf(one) ?? 'default'),
  );
  const changed = changedByScope(input, scope);
  return [
    makeProposal({
      kind: 'sidecar-scope',
      namespace,
      subject: namespace,
      title: widens
        ? `the scope of ${namespace} shows what is called since`
        : `proxies of ${namespace} are shown ${namespaces.length + 1} of ${inventory.namespaces.length} namespaces`,
      evidence: evidenceOf(
        ['clusters in the largest configuration', largest < 0 ? undefined : largest, ''],
        ['ports of Services shown', left - ALWAYS, ''],
        ['hours on record', input.evidenceHours, 'h'],
      ),
      gain:
        largest < 0
          ? undefined
          : {
              metric: 'clusters in the largest configuration',
              before: largest,
              unit: '',
              ...percentRange(1 - (left * MORE) / largest, 1 - left / largest),
              derivation: `1 - (${left - ALWAYS} ports of Services shown + ${ALWAYS})/${largest}; up to ${MORE} times as many where subsets have clusters of their own. Memory of a proxy follows its configuration`,
            },
      risks: [
        `what nothing on record calls yet is hidden: ${hiddenCalls(input, ours)}, until tune is run again`,
        'a name reached through a namespace that no edge and no route on record tells of is hidden',
      ],
      refused: [
        ...(inventory.facts.mesh.mode === 'ambient' ? ['ztunnel does not follow Sidecar resources'] : []),
        ...others.map(
          (one) =>
            `${formatRef(refOf(one))} speaks for these proxies already, and only one Sidecar without a selector does in a namespace`,
        ),
        ...(open.length === 0
          ? []
          : [
              `of ${open.length} edges it is not known where they lead: ${open.slice(0, 3).map(formatEdge).join('; ')}`,
            ]),
        ...(input.evidenceHours < input.neededHours
          ? [
              `the record spans ${Math.floor(input.evidenceHours)} h of the ${input.neededHours} h that the gate window asks for: what is called more rarely would be hidden`,
            ]
          : []),
        ...(changed.length === 0
          ? []
          : [
              `the verdict of ${changed.length} edges on record would change: ${changed.slice(0, 3).map(formatEdge).join('; ')}`,
            ]),
        ...hiddenTargets(input, namespaces),
      ],
      unknown: unread,
      writes: [{ kind: 'object', object: scope }],
      sources: [
        'istio.io/latest/docs/reference/config/networking/sidecar',
        'istio.io/latest/docs/ops/configuration/mesh/configuration-scoping',
        'istio.io/latest/docs/ops/deployment/performance-and-scalability (memory follows the configuration)',
      ],
    }),
  ];
}

/** What becomes of a call to a Service that is hidden: BlackHoleCluster or PassthroughCluster (istio.io, Sidecar, outboundTrafficPolicy). */
function hiddenCalls(input: TuningInput, ours: KubeManifest | undefined): string {
  const refused = 'a new call is refused by the proxy of the caller (outboundTrafficPolicy REGISTRY_ONLY)';
  const plain = 'a new call goes out as plaintext, past routes and mTLS (a STRICT server refuses it)';
  const parsed = ours === undefined ? undefined : parseIstioObject(ours);
  if (parsed?.kind === 'Sidecar' && parsed.registryOnly) return refused;
  const { outbound } = meshProviders(input);
  if (outbound === undefined) return `${plain}, or, where the mesh says REGISTRY_ONLY, which was not read, is refused`;
  return outbound === 'REGISTRY_ONLY' ? refused : plain;
}

/** Names outside on record for which the mesh has an entry that the scope does not show. None, by the way the scope is made: said if it ever is not so. */
function hiddenTargets({ namespace, edges, objects }: TuningInput, namespaces: readonly string[]): readonly string[] {
  const shown = new Set([namespace, ...namespaces]);
  const entries = objects.flatMap((one) => {
    const parsed = one.kind === 'ServiceEntry' ? parseIstioObject(one) : undefined;
    return parsed?.kind === 'ServiceEntry' ? [parsed] : [];
  });
  return edges.flatMap(({ src, dst }) => {
    if (src.kind !== 'workload' || namespaceOfWorkload(src.id) !== namespace) return [];
    if (dst.kind === 'workload') return shown.has(namespaceOfWorkload(dst.id)) ? [] : [`${dst.id} would be hidden`];
    if (dst.kind !== 'external' || dst.name === undefined) return [];
    const { name } = dst;
    const hidden = entries.find(
      (one) => !shown.has(one.namespace) && one.hosts.some((host) => hostFit(host, name) !== undefined),
    );
    return hidden === undefined ? [] : [`${hidden.name}, which ${name} is reached by, would be hidden`];
  });
}

function missingIn(scope: KubeManifest, namespaces: readonly string[]): boolean {
  const hosts = new Set(
    asArray(asObject(scope['spec'])['egress']).flatMap((one) =>
      asArray(asObject(one)['hosts']).flatMap((host) => asString(host) ?? []),
    ),
  );
  return isOwn(scope) && !hosts.has('*/*') && namespaces.some((name) => !hosts.has(`${name}/*`));
}

function portsIn({ services }: Inventory, namespaces: ReadonlySet<string>): number {
  return services.reduce((sum, one) => sum + (namespaces.has(one.namespace) ? one.ports.length : 0), 0);
}

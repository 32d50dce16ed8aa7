import type { Reason } from './verdict.ts';
import { followedBy, hostFit, tlsAt } from './istio-destination-rule.ts';
import type { MeshAnswer, MeshQuery, Target } from './istio-party.ts';
import {
  INTERCEPTION_MODE,
  annotationOf,
  formatPorts,
  istioOf,
  labelOf,
  membershipOf,
  targetOf,
  textOf,
  waysOf,
} from './istio-party.ts';
import { namespaceMode } from './istio-peer-authentication.ts';
import { protocolsOf } from './istio-protocol.ts';
import type { ServiceEntry, SidecarResource } from './istio-types.ts';
import type { Party, Pod, World } from './world.ts';
import { cached, exposuresOf, partiesOf, selectsPod } from './world.ts';

/**
 * How a client's proxy, or the client itself, speaks. `auto` adapts to each server; `simple` is TLS without a certificate of the
 * client, `custom` one with certificates of its own.
 */
export type ClientTls = 'auto' | 'plaintext' | 'mutual' | 'simple' | 'custom';

export interface ClientChoice {
  readonly kinds: ReadonlySet<ClientTls>;
  readonly because: string;
  /** The object that keeps the client from automatic mTLS, where one does. */
  readonly blame?: Blame;
}

export interface Blame {
  readonly object: string;
  /** What to do about it, as the beginning of a sentence. */
  readonly remedy: string;
}

/** The Services by which a client may name the destination; empty where it can only use an address. */
export function targetsOf(world: World, dst: Party, query: MeshQuery): readonly Target[] {
  if (dst.pod !== undefined) {
    return exposuresOf(world, dst.pod)
      .filter(({ targetPort }) => targetPort >= query.first && targetPort <= query.last)
      .map(targetOf);
  }
  const base = { service: '', headless: false };
  if (dst.kind === 'api-server')
    return [{ ...base, host: 'kubernetes.default.svc.cluster.local', namespace: 'default', port: 443 }];
  if (dst.kind === 'external' && dst.endpoint.kind === 'external' && dst.endpoint.name !== undefined) {
    return [{ ...base, host: dst.endpoint.name, namespace: '', port: query.first }];
  }
  return [];
}

// ---------------------------------------------------------------- The Sidecar resource

/** The Sidecar resource of a pod set: by selector, of the namespace, of the root. More than one where that is not known. */
export function sidecarsOf(world: World, pod: Pod): readonly (SidecarResource | undefined)[] {
  return cached(world, 'sidecar', pod, () => {
    const own = istioOf(world, pod.namespace.name).sidecars;
    const root = istioOf(world, world.inventory.facts.mesh.rootNamespace).sidecars;
    const out: (SidecarResource | undefined)[] = [];
    for (const resource of own) {
      const selected = resource.selector === undefined ? 'no' : selectsPod(resource.selector, pod);
      if (selected !== 'no') out.push(resource);
      if (selected === 'yes') return out;
    }
    const general = ({ selector }: SidecarResource): boolean => selector === undefined;
    return [...out, own.find(general) ?? root.find(general)];
  });
}

function showsHost(resource: SidecarResource, client: string, target: Target): boolean {
  if (resource.egressHosts === undefined) return true;
  return resource.egressHosts.some((entry) => {
    const slash = entry.indexOf('/');
    const [namespace, host] = [entry.slice(0, slash), entry.slice(slash + 1)];
    const inNamespace =
      namespace === '*' || namespace === target.namespace || (namespace === '.' && client === target.namespace);
    return slash > 0 && inNamespace && (host === '*' || hostFit(host, target.host) !== undefined);
  });
}

/** Names outside that the mesh knows, as one namespace sees them. */
function entriesFor(world: World, host: string | undefined, client: string): readonly ServiceEntry[] {
  return [...world.istio.values()].flatMap(({ entries }) =>
    entries.filter(({ hosts, exportTo, namespace }) => {
      const shown =
        exportTo === undefined ||
        exportTo.size === 0 ||
        exportTo.has('*') ||
        exportTo.has(client) ||
        (exportTo.has('.') && namespace === client);
      return shown && (host === undefined || hosts.some((one) => hostFit(one, host) !== undefined));
    }),
  );
}

/**
 * A Sidecar that lets its pods out to what the mesh knows alone (REGISTRY_ONLY): what it knows is a Service that it shows, or a name of a
 * ServiceEntry. Undefined where none is in the way.
 */
export function registryOnly(world: World, src: Party, dst: Party, query: MeshQuery): MeshAnswer | undefined {
  if (src.kind !== 'pod' || src.pod === undefined || !waysOf(world, src).includes('sidecar')) return undefined;
  const client = src.pod.namespace.name;
  const outside = dst.kind === 'external' || dst.pod === undefined;
  const targets = dst.kind === 'external' ? [] : targetsOf(world, dst, query);
  const resources = sidecarsOf(world, src.pod);
  const strict = resources.filter((resource) => resource?.registryOnly === true);
  for (const resource of strict) {
    if (resource === undefined) continue;
    const reason = (decision: Reason['decision'], text: string): MeshAnswer => ({
      answer: decision === 'denies' ? 'no' : 'unknown',
      reasons: [
        {
          layer: 'mtls',
          decision,
          object: resource.name,
          text,
          ...(decision === 'denies'
            ? {
                remedy: `Let ${resource.name} show the destination (egress hosts, or a ServiceEntry), or set its outboundTrafficPolicy.mode to ALLOW_ANY.`,
              }
            : {}),
        },
      ],
    });
    const shown = targets.filter((target) => showsHost(resource, client, target));
    if (shown.length > 0 && shown.length === targets.length) continue;
    const head = `${resource.name} lets ${textOf(src)} out only to what the mesh knows (REGISTRY_ONLY)`;
    const name = dst.endpoint.kind === 'external' ? dst.endpoint.name : undefined;
    const entries = outside ? entriesFor(world, name, client) : [];
    const sure =
      strict.length === resources.length &&
      membershipOf(src) === 'sidecar' &&
      bypassOf(src.pod) === undefined &&
      resource.problems.length === 0 &&
      query.first === query.last;
    if (sure && dst.kind === 'external' && entries.length === 0)
      return reason('denies', `${head}, and no ServiceEntry shows it ${textOf(dst)}.`);
    const unseen = dst.kind === 'pod' && dst.pod !== undefined && shown.length === 0;
    if (sure && unseen && !targets.some(({ headless }) => headless) && !mayBeNamed(world, dst.pod, query))
      return reason(
        'denies',
        `${head}, and it is shown no Service that leads to ${formatPorts(query)} of ${textOf(dst)}.`,
      );
    const knows = entries.some(
      ({ ports, hosts, namespace }) =>
        name !== undefined &&
        hosts.includes(name) &&
        query.first === query.last &&
        ports.includes(query.first) &&
        showsHost(resource, client, { host: name, namespace, service: '', port: query.first, headless: false }),
    );
    if (knows) continue;
    return reason('unknown', `${head}; whether it knows ${textOf(dst)} cannot be told.`);
  }
  return undefined;
}

// ---------------------------------------------------------------- Client TLS

const NO_RANGES = 'traffic.sidecar.istio.io/includeOutboundIPRanges';
const OUTBOUND_SWITCHES = [
  'traffic.sidecar.istio.io/excludeOutboundPorts',
  'traffic.sidecar.istio.io/excludeOutboundIPRanges',
  NO_RANGES,
  'traffic.sidecar.istio.io/includeOutboundPorts',
  'traffic.sidecar.istio.io/excludeInterfaces',
  INTERCEPTION_MODE,
];

/** The annotation by which a pod takes some of its traffic past its proxy, if any. Ranges to include that are none take in nothing (istio.io, resource annotations). */
function bypassOf(pod: Pod): string | undefined {
  return OUTBOUND_SWITCHES.find(
    (key) =>
      (key === INTERCEPTION_MODE ? annotationOf(pod, key)?.trim() === 'NONE' : annotationOf(pod, key) !== undefined) ||
      (key === NO_RANGES && labelOf(pod.podSet?.annotations ?? {}, key)?.trim() === ''),
  );
}

interface Draft {
  readonly kinds: Set<ClientTls>;
  readonly notes: string[];
  blame: Blame | undefined;
}

/** All the ways in which a client may speak to a destination, as far as membership and DestinationRules say. */
export function clientTls(world: World, src: Party, dst: Party, query: MeshQuery): ClientChoice {
  const name = textOf(src);
  if (src.kind === 'unknown') {
    return { kinds: new Set(['auto', 'plaintext']), because: `Whether ${name} has a sidecar is not known.` };
  }
  const ways = waysOf(world, src);
  if (src.pod === undefined || !ways.includes('sidecar')) {
    return { kinds: new Set(['plaintext']), because: `${name} has no sidecar, so it sends plaintext.` };
  }
  const draft: Draft = { kinds: new Set(), notes: [], blame: undefined };
  if (ways.length > 1) {
    draft.kinds.add('plaintext');
    draft.notes.push(`Whether all pods of ${name} have a sidecar is not known.`);
  }
  const targets = targetsOf(world, dst, query);
  const client = src.pod.namespace.name;
  const resources = sidecarsOf(world, src.pod);
  for (const target of targets) {
    const [hiding] = resources.filter((resource) => resource !== undefined && !showsHost(resource, client, target));
    const named = nameOf(world, target, client, dst, query);
    if (hiding === undefined && named !== 'own') {
      draft.kinds.add('plaintext');
      draft.notes.push(
        `${query.request?.host ?? ''} is no name of ${target.host}, so the proxy of ${name} passes the request through.`,
      );
      if (named === 'unknown') towards(world, draft, name, src.pod, dst, target);
    } else if (hiding === undefined) towards(world, draft, name, src.pod, dst, target);
    else hidden(world, draft, name, src.pod, dst, target, hiding, resources.length === 1);
  }
  if (targets.length === 0 || query.first !== query.last) {
    // The proxy passes a connection to an address that no Service stands for through as it is.
    draft.kinds.add('plaintext');
    if (dst.pod !== undefined || dst.kind === 'unknown') {
      if (targets.length > 0 || dst.pod === undefined || mayBeNamed(world, dst.pod, query)) draft.kinds.add('auto');
      draft.notes.push(
        `No Service leads to ${formatPorts(query)} of ${textOf(dst)}; a client that dials the pod sends plaintext.`,
      );
    }
  }
  const { pod } = src;
  const excluded = bypassOf(pod);
  if (excluded !== undefined) {
    draft.kinds.add('plaintext');
    draft.notes.push(`${name} takes some traffic past its proxy (${excluded}).`);
  }
  const because = [...new Set(draft.notes)].join(' ');
  return { kinds: draft.kinds, because, ...(draft.blame === undefined ? {} : { blame: draft.blame }) };
}

/** Is the Host header of a request, where it is known, a name of the Service? Another one's name, or a route's, leads elsewhere. */
function nameOf(
  world: World,
  target: Target,
  client: string,
  dst: Party,
  query: MeshQuery,
): 'own' | 'other' | 'unknown' {
  const host = query.request?.host?.toLowerCase().replace(/:\d+$/u, '');
  const http = dst.pod === undefined ? [] : protocolsOf(world, dst.pod, query);
  if (host === undefined || dst.pod === undefined || http.includes(false)) return 'own';
  const names = ({ name, namespace }: { readonly name: string; readonly namespace: string }): readonly string[] => [
    ...(namespace === client ? [name] : []),
    ...['', '.svc', '.svc.cluster.local'].map((end) => `${name}.${namespace}${end}`),
  ];
  const own = world.inventory.services.find(
    (service) => service.name === target.service && service.namespace === target.namespace,
  );
  if (names({ name: target.service, namespace: target.namespace }).includes(host)) return 'own';
  if (own?.clusterIPs.includes(host) === true) return 'own';
  const elsewhere = world.inventory.services.some((service) => names(service).includes(host));
  return elsewhere || isEntry(world, host) ? 'unknown' : 'other';
}

function isEntry(world: World, host: string): boolean {
  return [...world.istio.values()].some(({ entries }) =>
    entries.some(({ hosts }) => hosts.some((one) => hostFit(one, host) !== undefined)),
  );
}

/** May something else than a Service with a selector name a port of these pods to the proxies of clients? */
function mayBeNamed(world: World, pod: Pod, { first, last }: MeshQuery): boolean {
  const isAsked = (port: number): boolean => port >= first && port <= last;
  const byHand = world.inventory.services.some(
    ({ namespace, selector, ports }) =>
      namespace === pod.namespace.name &&
      selector === undefined &&
      ports.some(({ targetPort, port }) => isAsked(typeof targetPort === 'number' ? targetPort : port)),
  );
  return byHand || [...world.istio.values()].some(({ entries }) => entries.some(({ ports }) => ports.some(isAsked)));
}

/** The address of a Service that a Sidecar does not show is passed through as it comes. */
function hidden(
  world: World,
  draft: Draft,
  name: string,
  client: Pod,
  dst: Party,
  target: Target,
  hiding: SidecarResource,
  sure: boolean,
): void {
  // The address of a pod behind a headless Service may be shown by another.
  if (!sure || target.headless || hiding.problems.length > 0) towards(world, draft, name, client, dst, target);
  else draft.blame ??= { object: hiding.name, remedy: `Let ${hiding.name} show ${target.host} (spec.egress, hosts)` };
  draft.kinds.add('plaintext');
  draft.notes.push(`${hiding.name} hides ${target.host} from the proxy of ${name}, which then sends plaintext.`);
}

function towards(world: World, draft: Draft, name: string, client: Pod, dst: Party, target: Target): void {
  const followed = followedBy(world, client, target);
  const { kinds, notes } = draft;
  const mode =
    followed.kind === 'rule' ? tlsAt(followed.policy, target.port) : followed.kind === 'none' ? 'auto' : 'unknown';
  if (mode !== 'auto' && followed.kind !== 'none')
    draft.blame ??= {
      object: followed.name,
      remedy: `Leave client TLS for ${target.host} to automatic mTLS: take tls out of ${followed.name}`,
    };
  const by = followed.kind === 'none' ? '' : followed.name;
  switch (mode) {
    case 'auto':
      automatic(world, draft, name, dst, target);
      return;
    case 'DISABLE':
      kinds.add('plaintext');
      notes.push(`${by} switches client TLS off for ${target.host}.`);
      return;
    case 'ISTIO_MUTUAL':
      kinds.add('mutual');
      // Outside the cluster it is followed only where the mesh has an entry for the name.
      if (dst.kind === 'external') kinds.add('auto');
      notes.push(`${by} sets mTLS for ${target.host}.`);
      return;
    case 'unknown': {
      for (const kind of ['auto', 'plaintext', 'mutual', 'simple', 'custom'] as const) kinds.add(kind);
      const why = followed.kind === 'unknown' ? `: ${followed.why}` : '';
      notes.push(`Which client TLS ${by} sets for ${target.host} cannot be told${why}.`);
      return;
    }
    default:
      kinds.add(mode === 'SIMPLE' ? 'simple' : 'custom');
      notes.push(`${by} sets client TLS ${mode} for ${target.host}.`);
  }
}

/** Automatic mTLS: off for a namespace that PeerAuthentication disables as a whole, and for a headless Service unless all have a sidecar. */
function automatic(world: World, draft: Draft, name: string, dst: Party, target: Target): void {
  const { kinds, notes } = draft;
  if (world.inventory.facts.mesh.autoMtls === false) {
    kinds.add('plaintext');
    notes.push(
      `Automatic mTLS is off in the mesh (enableAutoMtls), and no DestinationRule sets client TLS for ${target.host}.`,
    );
    return;
  }
  if (dst.pod === undefined) {
    kinds.add('auto');
    notes.push(`${name} has a sidecar and automatic mTLS.`);
    return;
  }
  const whole = namespaceMode(world, target.namespace);
  if (whole.mode === 'DISABLE' || whole.mode === 'unknown') {
    kinds.add('plaintext');
    if (whole.mode === 'unknown') kinds.add('auto');
    else if (whole.object !== undefined)
      draft.blame ??= { object: whole.object, remedy: `Set ${whole.object} to PERMISSIVE` };
    notes.push(`${whole.by} is ${whole.mode} for namespace ${target.namespace}, so ${name} sends plaintext there.`);
    if (whole.mode === 'DISABLE') return;
  }
  if (target.headless) {
    const members = backendsOf(world, target).map((party) => waysOf(world, party));
    if (members.every((ways) => ways.length === 1 && ways[0] === 'sidecar')) kinds.add('mutual');
    else if (members.some((ways) => ways.length === 1 && ways[0] !== 'sidecar')) kinds.add('plaintext');
    else kinds.add('mutual').add('plaintext');
    notes.push(`${target.host} is headless: ${name} sends mTLS only if all behind it have a sidecar.`);
    return;
  }
  kinds.add('auto');
  notes.push(`${name} has a sidecar and automatic mTLS.`);
}

/** The pod sets behind a Service. */
function backendsOf(world: World, target: Target): readonly Party[] {
  const service = world.inventory.services.find(
    (one) => one.namespace === target.namespace && one.name === target.service,
  );
  return (service?.workloads ?? []).flatMap((id) =>
    partiesOf(world, { kind: 'workload', id }).filter(
      ({ pod }) =>
        pod !== undefined &&
        exposuresOf(world, pod).some(
          (exposure) => exposure.service === target.service && exposure.namespace === target.namespace,
        ),
    ),
  );
}

import { endpointKey } from './edge.ts';
import type { Protocol } from './edge.ts';
import type { Labels, MeshMembership } from './inventory.ts';
import type { AuthorizationPolicy } from './istio-types.ts';
import { and } from './tri.ts';
import type { Tri } from './tri.ts';
import type { Reason, RequestFacts } from './verdict.ts';
import type { Exposure, IstioNamespace, Party, Pod, World } from './world.ts';

/** What is asked of the mesh about one pair of parties. */
export interface MeshQuery {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
  /** `METHOD /path` */
  readonly l7?: string;
  readonly request?: RequestFacts;
}

export interface MeshAnswer {
  readonly answer: Tri;
  readonly reasons: readonly Reason[];
}

/** Ports that the agent and the proxy serve themselves: never redirected into the proxy. */
export const UNREDIRECTED_PORTS: ReadonlySet<number> = new Set([15_020, 15_021, 15_090]);

/** How connections come to the proxy of a pod: with the value `NONE` by its own listeners alone (istio.io, resource annotations). */
export const INTERCEPTION_MODE = 'sidecar.istio.io/interceptionMode';

/** The port of tunnels between ztunnels, waypoints and proxies. */
export const HBONE_PORT = 15_008;

/** The mark of what is said of ambient mode: read from documentation and sources, not seen on a network. */
export const NOT_PROVEN = 'not proven on packets';

export const FINE: MeshAnswer = { answer: 'yes', reasons: [] };

const NOTHING: IstioNamespace = {
  peers: [],
  rules: [],
  authorization: [],
  requests: [],
  sidecars: [],
  entries: [],
  extensions: [],
  waypoints: [],
};

export function istioOf(world: World, namespace: string): IstioNamespace {
  return world.istio.get(namespace) ?? NOTHING;
}

/** Membership of a party. A host-network pod never has a sidecar; a party that cannot be told may be anything. */
export function membershipOf(party: Party): MeshMembership {
  if (party.kind === 'unknown') return 'unknown';
  if (party.pod === undefined || party.pod.hostNetwork) return 'none';
  return party.pod.podSet?.mesh ?? 'unknown';
}

/** How a pod is in the mesh, or that it is not. */
export type Way = 'sidecar' | 'ambient' | 'none';

/** The ways in which the pods of a party may be in the mesh: more than one where that is not known or differs from pod to pod. */
export function waysOf(world: World, party: Party): readonly Way[] {
  const mesh = membershipOf(party);
  if (mesh === 'sidecar' || mesh === 'ambient' || mesh === 'none') return [mesh];
  // Some pods have joined and some have not: in which mode is what the mesh runs in.
  const { mode } = world.inventory.facts.mesh;
  if (mode === 'sidecar') return ['sidecar', 'none'];
  return mesh === 'mixed' && mode === 'ambient' ? ['ambient', 'none'] : ['sidecar', 'ambient', 'none'];
}

export function textOf(party: Party): string {
  const role = party.pod?.role ?? '';
  return role === '' ? endpointKey(party.endpoint) : `${endpointKey(party.endpoint)} (${role})`;
}

export function formatPorts({ first, last }: MeshQuery): string {
  return first === last ? `port ${first}` : `ports ${first}-${last}`;
}

/** The annotation of a pod; undefined where it is empty or a star, which leave the default. */
export function annotationOf(pod: Pod, key: string): string | undefined {
  const value = labelOf(pod.podSet?.annotations ?? {}, key);
  return value === undefined || value.trim() === '' || value.trim() === '*' ? undefined : value;
}

/**
 * Do the annotations of a pod leave a port of it out of its proxy (istio.io, resource annotations: `traffic.sidecar.istio.io/...InboundPorts`)? An
 * empty list of ports to include takes in none, and what is excluded counts beside the star alone (istio/istio,
 * tools/istio-iptables/pkg/capture/run.go, handleInboundPortsInclude).
 */
export function isLeftOut(annotations: Labels, port: number): boolean {
  const list = (name: string): string | undefined => labelOf(annotations, `traffic.sidecar.istio.io/${name}`)?.trim();
  const names = (text: string): boolean => text.split(',').some((one) => one.trim() !== '' && Number(one) === port);
  const included = list('includeInboundPorts') ?? '*';
  return included === '*' ? names(list('excludeInboundPorts') ?? '') : !names(included);
}

export function labelOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

/** The account of a pod set; undefined where its pods are not known. */
export function accountOf(pod: Pod): string | undefined {
  const account = pod.podSet?.serviceAccount;
  return account === '' ? 'default' : account;
}

/** `cluster.local/ns/shop/sa/web`; undefined where the account is not known. */
export function principalText(trustDomain: string, pod: Pod): string | undefined {
  const account = accountOf(pod);
  return account === undefined ? undefined : `${trustDomain}/ns/${pod.namespace.name}/sa/${account}`;
}

/** A Service port by which a client may name a destination. */
export interface Target {
  readonly host: string;
  readonly namespace: string;
  readonly service: string;
  readonly port: number;
  /** True for a Service without an address of its own. */
  readonly headless: boolean;
}

export function targetOf({ service, namespace, servicePort, headless }: Exposure): Target {
  return {
    host: `${service}.${namespace}.svc.cluster.local`,
    namespace,
    service,
    port: servicePort,
    headless: headless === true,
  };
}

export function reasonOf(
  decision: Reason['decision'],
  text: string,
  policy?: AuthorizationPolicy,
  rule?: number,
  layer: Reason['layer'] = 'authorization',
): Reason {
  return {
    layer,
    decision,
    ...(policy === undefined ? {} : { object: policy.name }),
    ...(rule === undefined ? {} : { rule, field: `spec.rules[${rule}]` }),
    text,
  };
}

export function unknownMtls(text: string, object?: string): MeshAnswer {
  const reason: Reason = { layer: 'mtls', decision: 'unknown', ...(object === undefined ? {} : { object }), text };
  return { answer: 'unknown', reasons: [reason] };
}

/** Both must allow; what is said of either is kept. */
export function both(a: MeshAnswer, b: MeshAnswer): MeshAnswer {
  return { answer: and(a.answer, b.answer), reasons: [...a.reasons, ...b.reasons] };
}

export function uniqueReasons(reasons: readonly Reason[]): readonly Reason[] {
  return [...new Map(reasons.map((reason) => [reason.text, reason])).values()];
}

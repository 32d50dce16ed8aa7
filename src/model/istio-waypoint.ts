import type { Acting, Enforcer } from './istio-authorization.ts';
import { appearance, authorizeAs, isTarget, settle } from './istio-authorization.ts';
import { targetsOf } from './istio-client.ts';
import { protocolsOf } from './istio-protocol.ts';
import type { MeshAnswer, MeshQuery, Target } from './istio-party.ts';
import { istioOf, labelOf, textOf, waysOf } from './istio-party.ts';
import { waypointNamed } from './istio-parse.ts';
import type { AuthorizationPolicy, TargetRef, Waypoint } from './istio-types.ts';
import { agreed } from './tri.ts';
import type { Party, Pod, World } from './world.ts';
import { partiesOf } from './world.ts';

/** One way that a client in ambient mode may take to a destination. */
export type WayTo =
  | { readonly kind: 'direct' }
  | { readonly kind: 'unknown'; readonly why: string }
  | {
      readonly kind: 'waypoint';
      readonly waypoint: Waypoint;
      /** Its pods. */
      readonly party: Party;
      /** The Service by which the client calls; undefined where it calls the pod by its address. */
      readonly target?: Target;
    };

/** On the pods of a Gateway that istiod made. */
export const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name';
/** The class of Gateways that are waypoints. */
export const WAYPOINT_CLASS = 'istio-waypoint';

function find(world: World, key: string): Waypoint | undefined {
  const slash = key.indexOf('/');
  return istioOf(world, key.slice(0, slash)).waypoints.find(({ gateway }) => gateway === key.slice(slash + 1));
}

/** Is this party a waypoint? It is in no mode of the mesh, and tunnels with its own account to whatever stands behind it. */
export function isWaypointOf(world: World, { pod }: Party): boolean {
  const gateway = pod === undefined ? undefined : labelOf(pod.labels, GATEWAY_NAME);
  return (
    pod !== undefined &&
    gateway !== undefined &&
    istioOf(world, pod.namespace.name).waypoints.some((one) => one.gateway === gateway)
  );
}

/** The waypoint named for a Service or for pods, if it takes such traffic. */
function wayBy(
  world: World,
  own: string | undefined,
  namespace: string,
  use: 'service' | 'workload',
  target?: Target,
): WayTo {
  const view = world.cluster.namespaces.get(namespace);
  if (own === undefined && view?.complete === false)
    return {
      kind: 'unknown',
      why: `The labels of namespace ${namespace} are not known, so whether a waypoint stands before it is not either.`,
    };
  const key = own ?? waypointNamed(view?.labels ?? {}, namespace);
  if (key === undefined || key === 'none') return { kind: 'direct' };
  const waypoint = find(world, key);
  if (waypoint === undefined)
    return {
      kind: 'unknown',
      why: `Waypoint ${key} is named for namespace ${namespace}, and its Gateway is not among what was read.`,
    };
  const { takes } = waypoint;
  if (takes !== 'all' && takes !== use) return { kind: 'direct' };
  const base = { kind: 'waypoint', waypoint, party: partyOf(world, waypoint) } as const;
  return target === undefined ? base : { ...base, target };
}

/**
 * The ways of a client in ambient mode to a destination, in whichever mode that is: by each Service that leads to the port, and by the address of the
 * pod. ztunnel asks for the waypoint of a Service only where the address that is dialled is the Service's, and before it looks at what stands behind
 * (istio/ztunnel, src/proxy/outbound.rs, build_request). Which of the two a client dials is not on record: ports of edges are those behind NAT.
 * Empty where no waypoint stands before it.
 */
export function waypointsOf(world: World, dst: Party, query: MeshQuery): readonly WayTo[] {
  const { pod } = dst;
  if (pod === undefined || isWaypointOf(world, dst)) return [];
  const targets = targetsOf(world, dst, query);
  const ways = targets.map((target) => {
    const service = world.inventory.services.find(
      (one) => one.namespace === target.namespace && one.name === target.service,
    );
    return wayBy(world, service?.useWaypoint, target.namespace, 'service', target);
  });
  const byAddress = wayBy(world, waypointNamed(pod.labels, pod.namespace.name), pod.namespace.name, 'workload');
  ways.push(byAddress);
  // Whether a waypoint for pods takes what goes to one outside the mesh is not proven.
  if (byAddress.kind !== 'direct' && waysOf(world, dst).includes('none')) ways.push({ kind: 'direct' });
  return ways.every(({ kind }) => kind === 'direct') ? [] : ways;
}

const parties = new WeakMap<World, Map<Waypoint, Party>>();

/** The pods of a waypoint; where there are none yet, as istiod will make them: with an account of the Gateway's name. */
function partyOf(world: World, waypoint: Waypoint): Party {
  const known = parties.get(world) ?? new Map<Waypoint, Party>();
  parties.set(world, known);
  const party = known.get(waypoint) ?? makeParty(world, waypoint);
  known.set(waypoint, party);
  return party;
}

function makeParty(world: World, { gateway, namespace }: Waypoint): Party {
  const running = (world.cluster.podsOfNamespace.get(namespace) ?? []).find(
    (pod) => labelOf(pod.labels, GATEWAY_NAME) === gateway,
  );
  if (running !== undefined) {
    const found = partiesOf(world, { kind: 'workload', id: running.workload }).find(({ pod }) => pod === running);
    if (found !== undefined) return found;
  }
  const labels = { [GATEWAY_NAME]: gateway };
  const id = `${namespace}/Deployment/${gateway}`;
  const pod: Pod = {
    index: -1,
    workload: id,
    kind: 'Deployment',
    role: '',
    namespace: world.cluster.namespaces.get(namespace) ?? { name: namespace, labels: {}, complete: false },
    podSet: {
      role: '',
      labels,
      annotations: {},
      serviceAccount: gateway,
      hostNetwork: false,
      containers: [],
      mesh: 'none',
      pods: [],
    },
    labels,
    hostNetwork: false,
    ports: [],
  };
  return { kind: 'pod', endpoint: { kind: 'workload', id }, pod, nodes: [], ownNode: false, addresses: [] };
}

function acts(
  world: World,
  policy: AuthorizationPolicy,
  ref: TargetRef,
  party: Party,
  target: Target | undefined,
): boolean {
  const root = world.inventory.facts.mesh.rootNamespace;
  if (party.pod !== undefined && isTarget(ref, party.pod, policy.namespace)) return true;
  if (ref.kind === 'GatewayClass') return policy.namespace === root && ref.name === WAYPOINT_CLASS;
  const core = ref.group === '' || ref.group === 'core';
  return (
    core &&
    ref.kind === 'Service' &&
    target !== undefined &&
    policy.namespace === target.namespace &&
    ref.name === target.service &&
    (ref.namespace === undefined || ref.namespace === policy.namespace)
  );
}

/** The policies that name the waypoint, its class or the Service, for a request of a client in the mesh. Selectors mean nothing there. */
export function throughWaypoint(
  world: World,
  src: Party,
  dst: Party,
  way: Extract<WayTo, { kind: 'waypoint' }>,
  query: MeshQuery,
): MeshAnswer {
  const { party, target, waypoint } = way;
  const root = world.inventory.facts.mesh.rootNamespace;
  const namespaces = new Set([waypoint.namespace, root, ...(target === undefined ? [] : [target.namespace])]);
  const acting = [...namespaces].flatMap((namespace): readonly Acting[] =>
    istioOf(world, namespace)
      .authorization.filter((policy) => policy.targets.some((ref) => acts(world, policy, ref, party, target)))
      .map((policy) => ({ policy, selected: 'yes' })),
  );
  const name = `waypoint ${waypoint.namespace}/${waypoint.gateway}`;
  if (acting.length === 0 || dst.pod === undefined)
    return {
      answer: 'yes',
      reasons: [{ layer: 'authorization', decision: 'allows', text: `No policy of ${name} speaks of ${textOf(dst)}.` }],
    };
  const enforcer: Enforcer = { ztunnel: false, rehearsals: 'no' };
  const { pod } = dst;
  // Whether a policy's port is there that of the Service or that of the pod: both are asked.
  const ports = target === undefined ? [query.first] : [...new Set([query.first, target.port])];
  const answers = ports.flatMap((port) =>
    protocolsOf(world, pod, query).map((http) => {
      const asked = query.first === query.last ? { ...query, first: port, last: port } : query;
      // A RequestAuthentication for a waypoint is attached to it as well: whether a token is checked is left open.
      const seen = { ...appearance(world, src, dst, pod, query, true, http), query: asked, token: 'unknown' } as const;
      return authorizeAs(world, dst, acting, seen, enforcer);
    }),
  );
  const answer = agreed(answers.map((one) => one.answer));
  const settled = settle(answer, answers, 'its port there is the one of the Service, and the port speaks HTTP');
  return { answer, reasons: settled.reasons.map((reason) => ({ ...reason, text: `At ${name}: ${reason.text}` })) };
}

import { PROBE_ADDRESS, clientWays, isAmbient, takesTunnels } from './istio-ambient.ts';
import type { MeshQuery, Way } from './istio-party.ts';
import { HBONE_PORT, NOT_PROVEN, waysOf } from './istio-party.ts';
import { isWaypointOf, waypointsOf } from './istio-waypoint.ts';
import { parseAddress } from './cidr-set.ts';
import type { Party, World } from './world.ts';

/** A connection that the network sees. */
export interface Hop {
  readonly src: Party;
  readonly dst: Party;
  readonly first: number;
  readonly last: number;
}

/** One way in which what a client asks for may travel: each of its hops must be let through. */
export interface Route {
  readonly hops: readonly Hop[];
  /** For people, of what differs from the plain connection. */
  readonly note?: string;
  /** Set where the hops cannot be told. */
  readonly unknown?: string;
}

/** The address as policies of the network see it that stands for the node of a pod in ambient mode. */
function probeParty(party: Party): Party {
  const address = parseAddress(PROBE_ADDRESS);
  return {
    kind: 'external',
    endpoint: { kind: 'external', ip: PROBE_ADDRESS },
    nodes: [],
    ownNode: false,
    addresses: address === undefined ? party.addresses : [[address]],
  };
}

/**
 * The ways in which a TCP connection may travel where one side is or may be in ambient mode: NetworkPolicy sees the tunnels, to
 * port 15008, and the hops over a waypoint. Undefined where it travels as it is.
 */
export function routesOf(world: World, src: Party, dst: Party, query: MeshQuery): readonly Route[] | undefined {
  if (world.inventory.facts.mesh.kind === 'none' || query.protocol !== 'TCP' || !isAmbient(world, src, dst))
    return undefined;
  const { first, last } = query;
  const plain: Route = { hops: [{ src, dst, first, last }] };
  if (dst.kind === 'unknown' || dst.pod === undefined) return undefined;
  const routes = new Set<Route>();
  const tunnel: Route = {
    hops: [{ src, dst, first: HBONE_PORT, last: HBONE_PORT }],
    note: `tunnelled to port ${HBONE_PORT}; ${NOT_PROVEN}`,
  };
  for (const from of clientWays(world, src))
    for (const to of waysOf(world, dst))
      for (const route of routesBetween(world, src, from, dst, to, query, plain, tunnel)) routes.add(route);
  return routes.size === 1 && routes.has(plain) ? undefined : [...routes];
}

function routesBetween(
  world: World,
  src: Party,
  from: Way,
  dst: Party,
  to: Way,
  query: MeshQuery,
  plain: Route,
  tunnel: Route,
): readonly Route[] {
  if (to === 'ambient' && src.kind === 'node' && src.pod === undefined && src.ownNode) {
    const probe = { ...plain, hops: plain.hops.map((hop) => ({ ...hop, src: probeParty(src) })) };
    const note = `the node's own traffic comes from ${PROBE_ADDRESS} there, which networks treat differently; ${NOT_PROVEN}`;
    return [plain, { ...probe, note }];
  }
  if (from === 'none') return [plain];
  if (from === 'sidecar') return to === 'ambient' ? [tunnel] : [plain];
  const takes = to === 'ambient' ? 'yes' : to === 'none' ? 'no' : takesTunnels(dst);
  const arrivals = takes === 'unknown' ? [tunnel, plain] : [takes === 'yes' ? tunnel : plain];
  const ways = isWaypointOf(world, src) ? [] : waypointsOf(world, dst, query);
  if (ways.length === 0) return arrivals;
  return ways.flatMap((way): readonly Route[] => {
    if (way.kind === 'direct') return arrivals;
    if (way.kind === 'unknown') return [{ hops: [], unknown: `${way.why} (${NOT_PROVEN})` }];
    const toIt: Hop = { src, dst: way.party, first: HBONE_PORT, last: HBONE_PORT };
    const note = `through waypoint ${way.waypoint.namespace}/${way.waypoint.gateway}, tunnelled to port ${HBONE_PORT}; ${NOT_PROVEN}`;
    // What stands behind a Service need not be in the mesh: the waypoint sends on to its plain port then.
    return arrivals.map(({ hops }) => ({ hops: [toIt, ...hops.map((hop) => ({ ...hop, src: way.party }))], note }));
  });
}

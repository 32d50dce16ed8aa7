import type { Edge, EdgeKey } from '../model/edge.ts';
import { edgeId } from '../model/edge.ts';
import { compileWorld } from '../model/evaluate.ts';
import type { World } from '../model/evaluate.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import { HBONE_PORT, waysOf } from '../model/istio-party.ts';
import type { Target } from '../model/istio-party.ts';
import { GATEWAY_NAME, isWaypointOf, WAYPOINT_CLASS, waypointsOf } from '../model/istio-waypoint.ts';
import { groupOf, namespaceOf } from '../model/object.ts';
import { partiesOf } from '../model/world.ts';
import { asObject } from '../shared/pure/json.ts';

/** A waypoint on the way of a connection. */
export interface WaypointHop {
  /** `namespace/name` of its Gateway. */
  readonly gateway: string;
  /** The workload of its pods. */
  readonly workload: string;
  /** The Service that it stands before; undefined where it stands before the pods themselves. */
  readonly target?: Target;
}

/** How a connection comes to a server in ambient mode. */
export interface Crossing {
  /**
   * Past every waypoint, so that the server sees the caller: where none stands before the Service, where a client may dial the address of the pod
   * instead, and where it is not known what stands between.
   */
  readonly direct: boolean;
  /** Also through these, so that the server sees their accounts (istio.io, "Ambient", waypoints and layer 4 policies). */
  readonly hops: readonly WaypointHop[];
}

const DIRECT: Crossing = { direct: true, hops: [] };

const gateways = new WeakMap<Inventory, ReadonlySet<string>>();
const worlds = new WeakMap<Inventory, World>();

/** `namespace/name` of every Gateway that is a waypoint. */
function waypointGateways(inventory: Inventory): ReadonlySet<string> {
  const known = gateways.get(inventory);
  if (known !== undefined) return known;
  const found = new Set(
    inventory.facts.mesh.kind === 'none' || inventory.facts.mesh.mode === 'sidecar'
      ? []
      : inventory.policies
          .filter(
            (one) =>
              one.kind === 'Gateway' &&
              groupOf(one.apiVersion) === 'gateway.networking.k8s.io' &&
              asObject(one['spec'])['gatewayClassName'] === WAYPOINT_CLASS,
          )
          .map((one) => `${namespaceOf(one) ?? ''}/${one.metadata.name}`),
  );
  gateways.set(inventory, found);
  return found;
}

/** Are its pods those of a waypoint? They tunnel by themselves, and are in no mode of the mesh. */
export function isWaypoint(inventory: Inventory, workload: Workload | undefined): boolean {
  const names = waypointGateways(inventory);
  if (workload === undefined || names.size === 0) return false;
  return workload.podSets.some(({ labels }) => names.has(`${workload.namespace}/${labels[GATEWAY_NAME] ?? ''}`));
}

function worldOf(inventory: Inventory): World {
  const world = worlds.get(inventory) ?? compileWorld(inventory);
  worlds.set(inventory, world);
  return world;
}

/**
 * The ways of a connection as the evaluator has them. Of a waypoint whose pods were not read nothing can be named, so that it counts as direct;
 * the simulation then says that it is refused. Sidecars may go either way (model/istio-ambient.ts).
 */
export function crossingOf(inventory: Inventory, edge: EdgeKey): Crossing {
  if (edge.protocol !== 'TCP' || edge.src.kind !== 'workload' || edge.dst.kind !== 'workload') return DIRECT;
  if (waypointGateways(inventory).size === 0) return DIRECT;
  const world = worldOf(inventory);
  const query = { protocol: edge.protocol, first: edge.port, last: edge.endPort ?? edge.port };
  const from = new Set(
    partiesOf(world, edge.src).flatMap((party) => (isWaypointOf(world, party) ? [] : waysOf(world, party))),
  );
  if (!from.has('ambient') && !from.has('sidecar')) return DIRECT;
  let direct = from.has('none') || from.has('sidecar');
  const hops = new Map<string, WaypointHop>();
  for (const party of partiesOf(world, edge.dst)) {
    // Clients in ambient mode are sent through the waypoint of a Service whatever stands behind it; sidecars only where that takes tunnels.
    const asked = from.has('ambient') || waysOf(world, party).includes('ambient');
    const ways = asked ? waypointsOf(world, party, query) : [];
    if (ways.length === 0) direct = true;
    for (const way of ways) {
      const id = way.kind === 'waypoint' && way.party.endpoint.kind === 'workload' ? way.party.endpoint.id : undefined;
      if (way.kind !== 'waypoint' || id === undefined || !inventory.workloads.some((one) => one.id === id)) {
        direct = true;
        continue;
      }
      const gateway = `${way.waypoint.namespace}/${way.waypoint.gateway}`;
      const { target } = way;
      hops.set(`${gateway} ${target?.namespace ?? ''}/${target?.service ?? ''}:${target?.port ?? ''}`, {
        gateway,
        workload: id,
        ...(target === undefined ? {} : { target }),
      });
    }
  }
  return { direct, hops: [...hops.values()] };
}

const expanded = new WeakMap<readonly Edge[], { readonly inventory: Inventory; readonly edges: readonly Edge[] }>();

/**
 * Edges with those that the network sees beside them: where a waypoint stands between, one to its tunnel port and one from it to the server. They
 * are stated by the configuration of the mesh, whether or not a source recorded them.
 */
export function withWaypoints(inventory: Inventory, edges: readonly Edge[]): readonly Edge[] {
  if (waypointGateways(inventory).size === 0) return edges;
  const known = expanded.get(edges);
  if (known?.inventory === inventory) return known.edges;
  const ids = new Set(edges.map(({ id }) => id));
  const more: Edge[] = [];
  for (const edge of edges)
    for (const { gateway, workload } of crossingOf(inventory, edge).hops) {
      const { l7, endPort, ...bare } = edge;
      const end = { kind: 'workload', id: workload } as const;
      const onward = endPort === undefined ? {} : { endPort };
      const request = l7 === undefined ? '' : ', as its requests do';
      for (const part of [
        { ...bare, dst: end, port: HBONE_PORT },
        { ...bare, src: end, ...onward },
      ]) {
        const id = edgeId(part);
        if (ids.has(id)) continue;
        ids.add(id);
        const by = `the waypoint ${gateway}, through which the mesh sends ${edge.id}${request}`;
        more.push({ ...part, id, origin: { kind: 'declared', strength: 'strong', by }, review: 'legitimate' });
      }
    }
  const all = more.length === 0 ? edges : [...edges, ...more];
  expanded.set(edges, { inventory, edges: all });
  return all;
}

import { findDns } from '../inventory/system-traffic.ts';
import type { Edge } from '../model/edge.ts';
import { edgesAt } from '../model/edge-index.ts';
import type { Inventory, Workload } from '../model/inventory.ts';

/** Where sidecars reach istiod (Istio, "Ports used by Istio"). */
const XDS_PORT = 15012;

function idsOf(inventory: Inventory, test: (one: Workload) => boolean): ReadonlySet<string> {
  return new Set(inventory.workloads.filter(test).map((one) => one.id));
}

/** Edges to the port at which istiod serves sidecars, of sources that may have one. */
export function sidecarTraffic(inventory: Inventory): (edge: Edge) => boolean {
  const meshed = idsOf(inventory, (one) => one.podSets.some((set) => set.mesh !== 'none'));
  const toIstiod = istiodEdges(inventory);
  return (edge) => toIstiod(edge) && edge.src.kind === 'workload' && meshed.has(edge.src.id);
}

function istiodEdges(inventory: Inventory): (edge: Edge) => boolean {
  const istiod = idsOf(inventory, (one) => one.classification.component === 'istiod');
  return ({ dst, port, protocol }) =>
    port === XDS_PORT && protocol === 'TCP' && dst.kind === 'workload' && istiod.has(dst.id);
}

/** What a program asks of the name servers, by the state's own. */
function asksNames(inventory: Inventory): (edge: Edge) => boolean {
  const dns = findDns(inventory);
  const names = new Set(dns?.workloadIds ?? []);
  const ports = new Set((dns?.ports ?? []).map(({ port, protocol }) => `${port}/${protocol}`));
  return ({ dst, port, protocol }) => dst.kind === 'workload' && names.has(dst.id) && ports.has(`${port}/${protocol}`);
}

/**
 * Edges that only a sidecar makes: to istiod, and to the name servers where the first was seen after the source joined (`joinedAt`, ms), since
 * its own program had asked for none. Both are made when a proxy starts, and the one to istiod is held open from then on.
 */
export function madeBySidecars(inventory: Inventory, joinedAt: ReadonlyMap<string, number>): (edge: Edge) => boolean {
  const toIstiod = sidecarTraffic(inventory);
  const asks = asksNames(inventory);
  return (edge) => toIstiod(edge) || (asks(edge) && isSince(edge, joinedAt));
}

function isSince({ src, first }: Edge, joinedAt: ReadonlyMap<string, number>): boolean {
  const joined = src.kind === 'workload' ? joinedAt.get(src.id) : undefined;
  return joined !== undefined && first >= joined;
}

/** Workloads that sidecars connect to by themselves: all edges that only a sidecar makes end there. */
export function sidecarServers(inventory: Inventory): readonly string[] {
  return [
    ...idsOf(inventory, (one) => one.classification.component === 'istiod'),
    ...(findDns(inventory)?.workloadIds ?? []),
  ];
}

/**
 * The edges that there can be in a state: those that only a sidecar makes are left out where the source has none. To istiod that is all
 * of them; to the name servers, those first seen after the source joined (`joinedAt`, ms), since its own program had asked for none.
 */
export function withoutGoneSidecars(
  edges: readonly Edge[],
  state: Inventory,
  joinedAt: ReadonlyMap<string, number>,
): readonly Edge[] {
  const bare = idsOf(state, (one) => one.podSets.length > 0 && one.podSets.every((set) => set.mesh === 'none'));
  const toIstiod = istiodEdges(state);
  const asks = asksNames(state);
  const gone = new Set(
    sidecarServers(state)
      .flatMap((id) => edgesAt(edges, 'dst', id))
      .filter((edge) => {
        const { src } = edge;
        if (edge.origin.kind !== 'observed' || src.kind !== 'workload' || !bare.has(src.id)) return false;
        return toIstiod(edge) || (asks(edge) && isSince(edge, joinedAt));
      }),
  );
  return gone.size === 0 ? edges : edges.filter((edge) => !gone.has(edge));
}

import type { Edge, Endpoint } from '../model/edge.ts';
import type { Inventory, PodSet, Workload } from '../model/inventory.ts';
import { workloadById } from '../model/inventory-index.ts';
import { HBONE_PORT } from '../model/istio-party.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';

/** Ways into the mesh that tunnel to a server in ambient mode: ztunnel, and sidecars too (model/istio-routes.ts). */
const TUNNELS: ReadonlySet<PodSet['mesh']> = new Set(['ambient', 'mixed', 'sidecar']);
const IN_AMBIENT: ReadonlySet<PodSet['mesh']> = new Set(['ambient', 'mixed']);

/** More ports than this of a range are not listed one by one. */
const MOST_OF_RANGE = 64;

/** Is it, or is some of it, in ambient mode? */
export function isInAmbient(workload: Workload | undefined): boolean {
  return workload?.podSets.some(({ mesh }) => IN_AMBIENT.has(mesh)) === true;
}

/** Does this connection travel in a tunnel to port 15008 of a server in ambient mode, so that NetworkPolicy sees that port alone? */
export function isTunnelled(inventory: Inventory, edge: Pick<Edge, 'src' | 'dst' | 'protocol'>): boolean {
  if (edge.protocol !== 'TCP') return false;
  const of = (end: Endpoint): Workload | undefined =>
    end.kind === 'workload' ? workloadById(inventory, end.id) : undefined;
  return isInAmbient(of(edge.dst)) && of(edge.src)?.podSets.some(({ mesh }) => TUNNELS.has(mesh)) === true;
}

/** The port that tunnels go to, where one of these connections is tunnelled. */
export function tunnelPort(inventory: Inventory, edges: readonly Edge[]): readonly Pick<Edge, 'protocol' | 'port'>[] {
  return edges.some((edge) => isTunnelled(inventory, edge)) ? [{ protocol: 'TCP', port: HBONE_PORT }] : [];
}

export interface TunnelRules {
  /** Of an AuthorizationPolicy; none where nothing is tunnelled to it. */
  readonly rules: readonly JsonObject[];
  /** Why they cannot be as narrow as the allow-list, in words. */
  readonly wider: readonly string[];
}

/**
 * What gives back at layer 4 what an open port 15008 takes from NetworkPolicy: each account in the mesh on the ports on which its workloads are on
 * record, by ALLOW, so that nothing else comes through a tunnel. Whoever has no identity comes in no tunnel: NetworkPolicy sees their ports, and
 * the last rule leaves them to it. ztunnel enforces all of it: principals and ports alone (istio.io, "Ambient", layer 4 policies).
 */
export function deriveTunnelRules(inventory: Inventory, edges: readonly Edge[]): TunnelRules {
  const tunnelled = edges.filter((edge) => isTunnelled(inventory, edge));
  if (tunnelled.length === 0) return { rules: [], wider: [] };
  const wider = new Set<string>();
  const byPrincipal = new Map<string, Map<string, Set<number>>>();
  for (const edge of tunnelled) {
    if (edge.src.kind !== 'workload') continue;
    const { id } = edge.src;
    const workload = workloadById(inventory, id);
    const last = edge.endPort ?? edge.port;
    if (last - edge.port >= MOST_OF_RANGE)
      wider.add(`${id} calls a range of ${last - edge.port + 1} ports, and AuthorizationPolicy knows no ranges`);
    for (const { mesh, serviceAccount } of workload?.podSets ?? []) {
      if (!TUNNELS.has(mesh)) continue;
      const name = `${inventory.facts.mesh.trustDomain}/ns/${workload?.namespace ?? ''}/sa/${serviceAccount}`;
      const callers = byPrincipal.get(name) ?? new Map<string, Set<number>>();
      const ports = callers.get(id) ?? new Set<number>();
      for (let port = edge.port; port <= Math.min(last, edge.port + MOST_OF_RANGE - 1); port += 1) ports.add(port);
      byPrincipal.set(name, callers.set(id, ports));
    }
  }
  const admitted = [...byPrincipal].map(([name, callers]) => {
    const lists = [...callers.values()].map((ports) => [...ports].sort((a, b) => a - b).join());
    if (new Set(lists).size > 1)
      wider.add(
        `${[...callers.keys()].sort().join(' and ')} share the account ${name} and are on record on different ports: in a tunnel the account is all that is seen`,
      );
    const ports = [...new Set([...callers.values()].flatMap((one) => [...one]))].sort((a, b) => a - b);
    return { name, ports: ports.map(String) };
  });
  const rules = sortBy([...groupBy(admitted, ({ ports }) => ports.join()).values()], ([one]) => one?.name ?? '').map(
    (alike): JsonObject => ({
      from: [{ source: { principals: uniqueSorted(alike.map(({ name }) => name)) } }],
      to: [{ operation: { ports: alike[0]?.ports ?? [] } }],
    }),
  );
  return { rules: [...rules, { from: [{ source: { notPrincipals: ['*'] } }] }], wider: [...wider].sort() };
}

import type { Edge, Endpoint } from '../model/edge.ts';
import type { Inventory, PodSet, Workload } from '../model/inventory.ts';
import { edgesAtAny } from '../model/edge-index.ts';
import { accountsOfPodSet } from '../model/inventory.ts';
import { workloadById } from '../model/inventory-index.ts';
import { HBONE_PORT } from '../model/istio-party.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import { crossingOf, isWaypoint } from './waypoints.ts';

/** Ways into the mesh that tunnel to a server in ambient mode: ztunnel, and sidecars too (model/istio-routes.ts). */
const TUNNELS: ReadonlySet<PodSet['mesh']> = new Set(['ambient', 'mixed', 'sidecar']);
const IN_AMBIENT: ReadonlySet<PodSet['mesh']> = new Set(['ambient', 'mixed']);

/** More ports than this of a range are not listed one by one. */
const MOST_OF_RANGE = 64;

/** AuthorizationPolicy knows no ranges: of one this long no port is named, since a part of them would cut the rest. A person is asked first. */
export function isLongRange({ port, endPort }: Pick<Edge, 'port' | 'endPort'>): boolean {
  return (endPort ?? port) - port >= MOST_OF_RANGE;
}

/** Each port of an edge that is no long range. */
export function portsOfRange({ port, endPort }: Pick<Edge, 'port' | 'endPort'>): readonly number[] {
  return Array.from({ length: (endPort ?? port) - port + 1 }, (_, index) => port + index);
}

/** Is it, or is some of it, in ambient mode? */
export function isInAmbient(workload: Workload | undefined): boolean {
  return workload?.podSets.some(({ mesh }) => IN_AMBIENT.has(mesh)) === true;
}

/** Does this connection travel in a tunnel to port 15008 of a server in ambient mode, so that NetworkPolicy sees that port alone? */
export function isTunnelled(inventory: Inventory, edge: Pick<Edge, 'src' | 'dst' | 'protocol'>): boolean {
  if (edge.protocol !== 'TCP') return false;
  const of = (end: Endpoint): Workload | undefined =>
    end.kind === 'workload' ? workloadById(inventory, end.id) : undefined;
  return isInAmbient(of(edge.dst)) && tunnels(inventory, of(edge.src));
}

function tunnels(inventory: Inventory, workload: Workload | undefined): boolean {
  return workload?.podSets.some(({ mesh }) => TUNNELS.has(mesh)) === true || isWaypoint(inventory, workload);
}

/** The port that tunnels go to, where one of these connections is tunnelled to the server itself and not to a waypoint before it. */
export function tunnelPort(inventory: Inventory, edges: readonly Edge[]): readonly Pick<Edge, 'protocol' | 'port'>[] {
  return edges.some((edge) => isTunnelled(inventory, edge) && crossingOf(inventory, edge).direct)
    ? [{ protocol: 'TCP', port: HBONE_PORT }]
    : [];
}

export interface TunnelRules {
  /** Of an AuthorizationPolicy; none where nothing is tunnelled to it. */
  readonly rules: readonly JsonObject[];
  /** Why they cannot be as narrow as the allow-list, in words. */
  readonly wider: readonly string[];
}

/** Further principals of a workload, by its id: of an account that it is moved to, or from. */
export type FurtherPrincipals = ReadonlyMap<string, readonly string[]>;

/**
 * What gives back at layer 4 what an open port 15008 takes from NetworkPolicy: each account in the mesh on the ports on which its workloads are on
 * record, by ALLOW, so that nothing else comes through a tunnel. Where a waypoint stands between, the account is the waypoint's, and who may come
 * through that is what `waypointPolicies` say. Whoever has no identity comes in no tunnel: NetworkPolicy sees their ports, and
 * the last rule leaves them to it. ztunnel enforces all of it: principals and ports alone (istio.io, "Ambient", layer 4 policies).
 */
export function deriveTunnelRules(
  inventory: Inventory,
  edges: readonly Edge[],
  further: FurtherPrincipals = new Map(),
): TunnelRules {
  const tunnelled = edges.filter((edge) => isTunnelled(inventory, edge));
  if (tunnelled.length === 0) return { rules: [], wider: [] };
  const direct = tunnelled.filter((edge) => crossingOf(inventory, edge).direct);
  const { rules, wider } = admitAccounts(
    inventory,
    direct.map((edge) => ({ edge, ports: [] })),
    further,
  );
  return {
    rules: [...rules, { from: [{ source: { notPrincipals: ['*'] } }] }],
    wider: uniqueSorted([...wider, ...beforePods(inventory, tunnelled)]),
  };
}

/** Waypoints that take calls to the addresses of pods, in words: what we write at a waypoint names Services alone. */
export function beforePods(inventory: Inventory, edges: readonly Edge[]): readonly string[] {
  return uniqueSorted(
    edges.flatMap((edge) =>
      crossingOf(inventory, edge).hops.flatMap(({ gateway, target }) =>
        target === undefined
          ? [
              `waypoint ${gateway} stands before pods and not before a Service: a policy there speaks of all that is behind it`,
            ]
          : [],
      ),
    ),
  );
}

/** One caller, and ports beside that of the edge by which the enforcing proxy may know it. */
interface Call {
  readonly edge: Edge;
  readonly ports: readonly number[];
}

/** The accounts of callers with their ports, alike ones together, and why that is wider than what is on record. */
function admitAccounts(inventory: Inventory, calls: readonly Call[], further: FurtherPrincipals): TunnelRules {
  const wider = new Set<string>();
  const byPrincipal = new Map<string, Map<string, Set<number | 'every'>>>();
  for (const { edge, ports: others } of calls) {
    if (edge.src.kind !== 'workload') continue;
    const { id } = edge.src;
    const long = isLongRange(edge);
    if (long)
      wider.add(
        `${id} calls a range of ${(edge.endPort ?? edge.port) - edge.port + 1} ports, and AuthorizationPolicy knows no ranges: every port would be admitted`,
      );
    for (const name of [...accountsThatTunnel(inventory, id), ...(further.get(id) ?? [])]) {
      const callers = byPrincipal.get(name) ?? new Map<string, Set<number>>();
      const ports = callers.get(id) ?? new Set<number | 'every'>();
      for (const port of long ? (['every'] as const) : [...portsOfRange(edge), ...others]) ports.add(port);
      byPrincipal.set(name, callers.set(id, ports));
    }
  }
  const admitted = [...byPrincipal].map(([name, callers]) => {
    const lists = [...callers.values()].map((ports) => portTexts(ports).join());
    if (new Set(lists).size > 1)
      wider.add(
        `${[...callers.keys()].sort().join(' and ')} share the account ${name} and are on record on different ports: in a tunnel the account is all that is seen`,
      );
    return { name, ports: portTexts([...callers.values()].flatMap((one) => [...one])) };
  });
  const rules = sortBy([...groupBy(admitted, ({ ports }) => ports.join()).values()], ([one]) => one?.name ?? '').map(
    (alike): JsonObject => ({
      from: [{ source: { principals: uniqueSorted(alike.map(({ name }) => name)) } }],
      ...(alike[0]?.ports.length === 0 ? {} : { to: [{ operation: { ports: alike[0]?.ports ?? [] } }] }),
    }),
  );
  return { rules, wider: [...wider].sort() };
}

/** As a policy writes them, in order; none where every port is meant. */
function portTexts(ports: Iterable<number | 'every'>): readonly string[] {
  const numbers: number[] = [];
  for (const port of new Set(ports)) {
    if (port === 'every') return [];
    numbers.push(port);
  }
  return uniqueNumbers(numbers).map(String);
}

/** The principals that a workload's tunnels carry, those of runs under way too. */
export function accountsThatTunnel(inventory: Inventory, id: string): readonly string[] {
  const workload = workloadById(inventory, id);
  if (workload === undefined) return [];
  const all = isWaypoint(inventory, workload);
  return uniqueSorted(
    workload.podSets
      .filter(({ mesh }) => all || TUNNELS.has(mesh))
      .flatMap(accountsOfPodSet)
      .map(
        (account) =>
          `${inventory.facts.mesh.trustDomain}/ns/${workload.namespace}/sa/${account === '' ? 'default' : account}`,
      ),
  );
}

/** A Service before which a waypoint stands, with the calls on record that come through it. */
export interface ServiceBehind extends TunnelRules {
  readonly namespace: string;
  readonly service: string;
  readonly edges: readonly Edge[];
  /** The port of the Service for each port of its pods: which of the two a waypoint compares is not proven here, so both are named. */
  readonly servicePorts: ReadonlyMap<number, readonly number[]>;
}

/**
 * Who may come through a waypoint to each Service of a workload: the accounts on record on their ports. Without it an account of the waypoint's that
 * ztunnel admits would let through whoever may open a tunnel to the waypoint.
 */
export function servicesBehind(
  inventory: Inventory,
  edges: readonly Edge[],
  workload: Workload,
  further: FurtherPrincipals = new Map(),
): readonly ServiceBehind[] {
  const crossings = (list: readonly Edge[]) =>
    list.flatMap((edge) =>
      crossingOf(inventory, edge).hops.flatMap(({ gateway, target }) =>
        target?.namespace === workload.namespace ? [{ edge, gateway, target }] : [],
      ),
    );
  const names = uniqueSorted(crossings(edgesAtAny(edges, 'dst', [workload.id])).map(({ target }) => target.service));
  return names.map((service) => {
    const found = inventory.services.find((one) => one.namespace === workload.namespace && one.name === service);
    const backends = found?.workloads ?? [workload.id];
    const calls = crossings(edgesAtAny(edges, 'dst', backends)).filter(({ target }) => target.service === service);
    const servicePorts = new Map<number, readonly number[]>();
    for (const { edge, target } of calls)
      servicePorts.set(edge.port, uniqueNumbers([...(servicePorts.get(edge.port) ?? []), target.port]));
    const { rules, wider } = admitAccounts(
      inventory,
      calls.map(({ edge, target }) => ({ edge, ports: [target.port] })),
      further,
    );
    return {
      namespace: workload.namespace,
      service,
      edges: [...new Set(calls.map(({ edge }) => edge))],
      servicePorts,
      rules,
      wider: [
        ...wider,
        ...mixedPorts(service, servicePorts),
        ...unlikeBackends(service, backends, calls),
        ...sharedAtWaypoint(inventory, edges, service, calls),
      ],
    };
  });
}

const through = new WeakMap<readonly Edge[], ReadonlyMap<string, ReadonlySet<string>>>();

/** Workloads that are on record through each waypoint, to whatever stands behind it. */
function callersThrough(inventory: Inventory, edges: readonly Edge[]): ReadonlyMap<string, ReadonlySet<string>> {
  const known = through.get(edges);
  if (known !== undefined) return known;
  const found = new Map<string, Set<string>>();
  for (const edge of edges) {
    if (edge.src.kind !== 'workload') continue;
    for (const { gateway } of crossingOf(inventory, edge).hops)
      found.set(gateway, (found.get(gateway) ?? new Set()).add(edge.src.id));
  }
  through.set(edges, found);
  return found;
}

/** NetworkPolicy lets whoever is on record to anything behind a waypoint come to it: of those the waypoint sees the account alone. */
function sharedAtWaypoint(
  inventory: Inventory,
  edges: readonly Edge[],
  service: string,
  calls: readonly { readonly edge: Edge; readonly gateway: string }[],
): readonly string[] {
  const callers = new Set(calls.flatMap(({ edge: { src } }) => (src.kind === 'workload' ? [src.id] : [])));
  const owners = new Map([...callers].flatMap((id) => accountsThatTunnel(inventory, id).map((name) => [name, id])));
  const others = new Set(
    calls
      .flatMap(({ gateway }) => [...(callersThrough(inventory, edges).get(gateway) ?? [])])
      .filter((id) => !callers.has(id)),
  );
  return [...others].sort().flatMap((id) =>
    accountsThatTunnel(inventory, id).flatMap((name) => {
      const owner = owners.get(name);
      return owner === undefined
        ? []
        : [
            `${id} shares the account ${name} with ${owner} and comes to the same waypoint, and is on no record to Service ${service}`,
          ];
    }),
  );
}

function uniqueNumbers(values: readonly number[]): readonly number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

/** A number that is one port of the Service and another one of its pods admits both. */
function mixedPorts(service: string, ports: ReadonlyMap<number, readonly number[]>): readonly string[] {
  return [...ports].flatMap(([pod, own]) =>
    own.some((port) => port !== pod && ports.has(port))
      ? [`${own.join(', ')} is a port of Service ${service} for ${pod} and one of its pods as well`]
      : [],
  );
}

/** Behind one Service a waypoint tells its workloads not apart. */
function unlikeBackends(
  service: string,
  backends: readonly string[],
  calls: readonly { readonly edge: Edge }[],
): readonly string[] {
  const callers = backends.map((id) =>
    uniqueSorted(
      calls.flatMap(({ edge }) =>
        edge.dst.kind === 'workload' && edge.dst.id === id && edge.src.kind === 'workload'
          ? [`${edge.src.id} ${edge.port}`]
          : [],
      ),
    ).join('\n'),
  );
  return new Set(callers).size > 1
    ? [`Service ${service} leads to ${[...backends].sort().join(' and ')}, which are on record with different callers`]
    : [];
}

import { endpointKey } from '../model/edge.ts';
import type { Workload } from '../model/inventory.ts';
import { workloadById } from '../model/inventory-index.ts';
import type { KubeManifest } from '../model/object.ts';
import { buildServicePolicy } from '../objects/build.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { groupBy, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import { operations } from './authorization.ts';
import type { CandidateContext, CandidateProblem } from './network.ts';
import { waypointPolicyName } from './network.ts';
import { accountsThatTunnel, isLongRange, portsOfRange, servicesBehind } from './tunnels.ts';
import type { FurtherPrincipals } from './tunnels.ts';
import { crossingOf } from './waypoints.ts';

/**
 * For each Service of a workload before which a waypoint stands: who may come through, on which methods and paths where requests are on record. A
 * waypoint reads requests and enforces what names it or the Service by targetRefs (istio.io, Authorization Policy; "Ambient", layer 7). The object
 * of the phase allow-list, narrower: ALLOW policies add up, so that a second one beside it would narrow nothing. Not proven on packets.
 */
export function deriveWaypointRequests(
  context: CandidateContext,
  workload: Workload,
  further: FurtherPrincipals = new Map(),
): readonly KubeManifest[] {
  const { inventory } = context;
  return servicesBehind(inventory, context.edges, workload, further).flatMap((behind) => {
    if (behind.wider.length > 0 && !context.waived('expressible', workload.id)) return [];
    const pairs = groupBy(behind.edges, ({ src, dst }) => `${endpointKey(src)}\n${endpointKey(dst)}`);
    const rules = sortBy(pairs.entries(), ([key]) => key).flatMap(([, edges]): readonly JsonObject[] => {
      const [{ src, dst } = {}] = edges;
      const server = dst?.kind === 'workload' ? workloadById(inventory, dst.id) : undefined;
      if (src?.kind !== 'workload' || server === undefined) return [];
      const principals = uniqueSorted([...accountsThatTunnel(inventory, src.id), ...(further.get(src.id) ?? [])]);
      if (principals.length === 0) return [];
      const from = [{ source: { principals } }];
      if (edges.some(isLongRange)) return [{ from }];
      const single = edges.filter(({ endPort }) => endPort === undefined);
      const ranges = edges.filter(({ endPort }) => endPort !== undefined);
      const to = [
        ...operations(inventory, server, single).list,
        ...ranges.map((edge) => ({ ports: portsOfRange(edge).map(String) })),
      ].map(({ ports, ...request }) => ({ operation: { ports: bothPorts(ports, behind.servicePorts), ...request } }));
      return [{ from, to }];
    });
    if (rules.length === 0) return [];
    const meta = { name: waypointPolicyName(behind.service), namespace: behind.namespace, workload: workload.id };
    return [buildServicePolicy(meta, behind.service, rules)];
  });
}

/**
 * Requests that `deriveWaypointRequests` would narrow to methods and paths, of callers who may go past the waypoint: one that dials the address of a
 * pod is admitted there as itself, by port alone, since the record does not say which address was dialled.
 */
export function pastWaypoints(context: CandidateContext, workload: Workload): readonly CandidateProblem[] {
  const { inventory } = context;
  return servicesBehind(inventory, context.edges, workload).flatMap((behind) => {
    const callers = behind.edges.flatMap((edge) => {
      const server = edge.dst.kind === 'workload' ? workloadById(inventory, edge.dst.id) : undefined;
      if (server === undefined || !crossingOf(inventory, edge).direct) return [];
      const same = behind.edges.filter(
        ({ src, dst }) => endpointKey(src) === endpointKey(edge.src) && endpointKey(dst) === endpointKey(edge.dst),
      );
      return operations(inventory, server, same).list.some(({ methods }) => methods !== undefined)
        ? [endpointKey(edge.src)]
        : [];
    });
    if (callers.length === 0) return [];
    const who = uniqueSorted(callers).join(', ');
    return [
      {
        gate: 'expressible' as const,
        subject: workload.id,
        text: `the waypoint before Service ${behind.service} holds ${who} to methods and paths on record only where the Service is called: whoever dials the address of a pod goes past it, and is admitted there by account and port`,
        fix: `see that its callers dial the Service, then sallyport waive gate=expressible,subject=${workload.id} --reason "..."`,
      },
    ];
  });
}

/** The ports of pods with those of the Service that lead there. */
function bothPorts(ports: readonly string[], own: ReadonlyMap<number, readonly number[]>): readonly string[] {
  const all = new Set(ports.flatMap((port) => [Number(port), ...(own.get(Number(port)) ?? [])]));
  return [...all].sort((a, b) => a - b).map(String);
}

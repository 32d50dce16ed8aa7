import type { Edge, Endpoint, Protocol } from '../model/edge.ts';
import { mergeEdge } from '../model/edge-merge.ts';
import { edgeId, endpointKey, hasPassed } from '../model/edge.ts';
import type { Inventory } from '../model/inventory.ts';
import { groupBy } from '../shared/pure/order.ts';
import { declaredPorts } from './attribute.ts';

/** The range from which Linux hands out local ports by default (net.ipv4.ip_local_port_range). */
export const EPHEMERAL_FIRST = 32_768;
export const EPHEMERAL_LAST = 60_999;
/** Fewer than this many distinct ports may each be somebody's choice. */
export const EPHEMERAL_PORTS = 3;

export type DeclaresPort = (workload: string, protocol: Protocol, port: number) => boolean;

/**
 * Ports that the kernel chose make no rule: a listener of a Spark driver, a Ray worker or an NCCL ring has another one next
 * time. Where connections passed from one source to at least three undeclared ports of that range on one workload, they become
 * one edge to the whole range. Declared ports, denied attempts, L7 operations and edges that a person has judged stay as
 * they are.
 */
export function foldEphemeralPorts(edges: readonly Edge[], declares: DeclaresPort): readonly Edge[] {
  const kept: Edge[] = [];
  const foldable: Edge[] = [];
  for (const edge of edges) (isFoldable(edge, declares) ? foldable : kept).push(edge);
  for (const group of groupBy(foldable, groupKey).values()) {
    const hasRange = group.some((edge) => edge.endPort !== undefined);
    const [first] = group;
    if (first === undefined) continue;
    if (group.length < (hasRange ? 2 : EPHEMERAL_PORTS)) {
      kept.push(...group);
      continue;
    }
    const key = {
      src: first.src,
      dst: first.dst,
      protocol: first.protocol,
      port: EPHEMERAL_FIRST,
      endPort: EPHEMERAL_LAST,
    };
    const id = edgeId(key);
    const ranged = group.map((edge): Edge => ({ ...edge, ...key, id }));
    kept.push(ranged.reduce(mergeEdge));
  }
  return kept;
}

function isFoldable(edge: Edge, declares: DeclaresPort): boolean {
  if (edge.dst.kind !== 'workload' || edge.l7 !== undefined || edge.origin.kind !== 'observed') return false;
  if (edge.endPort !== undefined) return edge.port === EPHEMERAL_FIRST && edge.endPort === EPHEMERAL_LAST;
  if (edge.port < EPHEMERAL_FIRST || edge.port > EPHEMERAL_LAST || edge.review !== 'unreviewed') return false;
  return hasPassed(edge) && !declares(edge.dst.id, edge.protocol, edge.port);
}

function groupKey(edge: Edge): string {
  const end = (one: Endpoint): string => endpointKey(one);
  return `${end(edge.src)}\n${end(edge.dst)}\n${edge.protocol}`;
}

/** foldEphemeralPorts over edges of several imports, each of which may have been too small to fold by itself. */
export function foldEdges(edges: readonly Edge[], inventory: Inventory): readonly Edge[] {
  const workloads = new Map(inventory.workloads.map((workload) => [workload.id, workload]));
  const ports = new Map<string, ReadonlySet<string>>();
  return foldEphemeralPorts(edges, (id, protocol, port) => {
    let declared = ports.get(id);
    if (declared === undefined) ports.set(id, (declared = declaredPorts(workloads.get(id), inventory.services)));
    return declared.has(`${port}/${protocol}`);
  });
}

import type { Edge } from '../model/edge.ts';
import { endpointKey } from '../model/edge.ts';
import type { World } from '../model/evaluate.ts';
import { UNREDIRECTED_PORTS, transportOf } from '../model/evaluate.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import { optedOut } from '../readiness/mesh-gates.ts';
import type { Answer, PlaintextRow, PlaintextSection } from './model.ts';

/** Where sidecars reach istiod, by TLS of their own. */
const XDS_PORT = 15_012;

const SPEAKS = { mtls: 'yes', plaintext: 'no', unknown: 'unknown' } as const satisfies Record<string, Answer>;

/**
 * Who speaks plaintext to a workload, and what to do about each: judged by what the caller can do now, and once everybody who can has
 * joined the mesh. One row a pair and port. Probes, ports that the proxies never take over and istiod's own port, which is TLS by itself,
 * are left out. `after` is undefined where there is no mesh to join. `doubtful` are ids of edges that look like a scan or came once.
 */
export function buildPlaintext(
  edges: readonly Edge[],
  rank: ReadonlyMap<string, number>,
  now: World,
  after: World | undefined,
  noMesh: string | undefined,
  doubtful: ReadonlySet<string>,
): PlaintextSection {
  const workloads = new Map(now.inventory.workloads.map((workload) => [workload.id, workload]));
  const later = new Map((after?.inventory.workloads ?? []).map((workload) => [workload.id, workload]));
  const rows: PlaintextRow[] = [];
  const solved: number[] = [];
  const waiting: number[] = [];
  const seen = new Set<string>();
  for (const edge of edges) {
    const dst = edge.dst.kind === 'workload' ? workloads.get(edge.dst.id) : undefined;
    if (dst === undefined || edge.protocol !== 'TCP' || UNREDIRECTED_PORTS.has(edge.port)) continue;
    if (edge.src.kind === 'node' && isProbed(dst, edge.port)) continue;
    if (edge.port === XDS_PORT && dst.classification.component === 'istiod') continue;
    const key = `${endpointKey(edge.src)}\n${dst.id}\n${edge.port}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const today = transportOf(now, edge.src, edge.dst, edge.port);
    if (today.kind === 'mtls') continue;
    const at = rank.get(edge.id) ?? -1;
    if (after === undefined) {
      waiting.push(at);
      continue;
    }
    const then = transportOf(after, edge.src, edge.dst, edge.port);
    if (then.kind === 'mtls') {
      solved.push(at);
      continue;
    }
    const src = edge.src.kind === 'workload' ? workloads.get(edge.src.id) : undefined;
    // STRICT refuses nobody at a workload without a sidecar.
    const receiver = later.get(dst.id);
    const blocksStrict = receiver === undefined || receiver.podSets.some((podSet) => podSet.mesh === 'sidecar');
    const fixes = fixesFor(edge, src, dst, blocksStrict, now.inventory);
    rows.push({
      edge: at,
      src: endpointKey(edge.src),
      dst: dst.id,
      port: edge.port,
      now: SPEAKS[today.kind],
      afterJoin: SPEAKS[then.kind],
      blocksStrict,
      because: then.because,
      // What nobody vouches for is cut first.
      fixes: doubtful.has(edge.id) && fixes.length > 1 ? [fixes.at(-1) ?? '', ...fixes.slice(0, -1)] : fixes,
    });
  }
  rows.sort((a, b) => a.edge - b.edge);
  const lasting = rows.filter((row) => row.blocksStrict).length;
  return {
    total: rows.length + solved.length + waiting.length,
    rows,
    solved: solved.sort((a, b) => a - b),
    solvedByJoining: solved.length,
    lasting,
    outsideMesh: rows.length - lasting,
    waiting: waiting.sort((a, b) => a - b),
    noMesh: noMesh ?? null,
  };
}

function isProbed(workload: Workload, port: number): boolean {
  return workload.podSets.some((set) => set.containers.some((container) => container.probePorts.includes(port)));
}

function fixesFor(
  edge: Edge,
  src: Workload | undefined,
  dst: Workload,
  blocksStrict: boolean,
  inventory: Inventory,
): readonly string[] {
  const from = endpointKey(edge.src);
  const exempt = `sallyport waive gate=plaintext,subject=${dst.id}:${edge.port} --reason "..." keeps this port PERMISSIVE`;
  const cut = `sallyport accept src=${from},dst=${dst.id},port=${edge.port} --reason "..." cuts it`;
  if (!blocksStrict)
    return [
      `${dst.id} takes no sidecar, so no mTLS mode acts on it: protect it by its own TLS and by NetworkPolicy`,
      cut,
    ];
  if (src === undefined) return [`${whoIs(edge)}; ${exempt}`, cut];
  if (optedOut(src)) return [`remove sidecar.istio.io/inject "false" from ${src.id}`, exempt, cut];
  if (src.podSets.some((podSet) => podSet.hostNetwork)) return [`${exempt} (host-network pods take no sidecar)`, cut];
  if (isSystem(inventory, src.namespace)) return [`${src.namespace} goes last: ${exempt} until then`, cut];
  return [`give port ${edge.port} a Service through which ${src.id} can reach it`, exempt, cut];
}

function isSystem(inventory: Inventory, namespace: string): boolean {
  return inventory.namespaces.some((one) => one.name === namespace && one.system !== undefined);
}

function whoIs({ src }: Edge): string {
  switch (src.kind) {
    case 'api-server':
      return 'the API server never joins a mesh (webhooks, aggregated APIs)';
    case 'node':
      return 'a node has no sidecar (kubelet, host-network pods, node ports)';
    case 'external':
      return 'a caller from outside: let it come through a gateway of the mesh';
    default:
      return 'the caller is not attributed: find out who it is';
  }
}

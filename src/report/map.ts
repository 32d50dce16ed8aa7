import type { Edge, Endpoint } from '../model/edge.ts';
import { endpointKey } from '../model/edge.ts';
import type { ConnectionVerdict } from '../model/evaluate.ts';
import { mainReason } from '../model/evaluate.ts';
import type { Inventory, MeshMembership, Workload } from '../model/inventory.ts';
import { compareText } from '../shared/pure/order.ts';
import type { Interner } from './input.ts';
import { makeInterner } from './input.ts';
import type { FlowMap, MapEdges, MapNode } from './model.ts';
import { MAP_CODES } from './model.ts';
import type { Tenancy } from './tenants.ts';

/** Stages in the order of a pipeline; others follow by name, the unknown last. */
export const STAGE_ORDER = [
  'data-ingestion',
  'data-labelling',
  'data-validation',
  'data-processing',
  'feature-store',
  'experimentation',
  'training',
  'registry',
  'serving',
  'monitoring',
  'orchestration',
  'scheduling',
  'storage',
  'platform-ui',
  'platform',
];
export const PLANE_ORDER = ['control', 'data', 'monitoring', 'platform'];

/** The first of "training|serving": where it stands on the map. */
export function firstOf(text: string): string {
  return text.split('|')[0] ?? text;
}

export function ordered(names: Iterable<string>, order: readonly string[]): readonly string[] {
  const place = (name: string): number => {
    if (name === 'unknown') return order.length + 1;
    const at = order.indexOf(firstOf(name));
    return at < 0 ? order.length : at;
  };
  return [...new Set(names)].sort((a, b) => place(a) - place(b) || compareText(a, b));
}

export function meshOf({ podSets }: Pick<Workload, 'podSets'>): MeshMembership {
  const all = new Set(podSets.map((podSet) => podSet.mesh));
  const [only] = all;
  if (all.size === 1 && only !== undefined) return only;
  return all.size === 0 ? 'unknown' : 'mixed';
}

/** Which candidate would allow an edge, by direction. */
export interface CandidatesOfEdge {
  readonly ingress: ReadonlyMap<string, number>;
  readonly egress: ReadonlyMap<string, number>;
  readonly principals: ReadonlyMap<string, number>;
}

export interface Mapped {
  readonly map: FlowMap;
  /** The edges in the order of the map's columns. */
  readonly edges: readonly Edge[];
  /** Edge id -> place. */
  readonly rank: ReadonlyMap<string, number>;
  /** Endpoint key -> node. */
  readonly node: ReadonlyMap<string, number>;
}

/** Nodes and edges in order, without what is judged of them. */
export function placeEdges(inventory: Inventory, given: readonly Edge[], tenancy: Tenancy): Placed {
  const workloads = [...inventory.workloads].sort((a, b) => compareText(a.id, b.id));
  const stages = makeInterner(
    ordered(
      workloads.map(({ classification }) => firstOf(classification.stage)),
      STAGE_ORDER,
    ),
  );
  const planes = makeInterner(
    ordered(
      workloads.map(({ classification }) => firstOf(classification.plane)),
      PLANE_ORDER,
    ),
  );
  const namespaces = makeInterner(inventory.namespaces.map((one) => one.name).sort(compareText));
  const tenants = makeInterner(tenancy.tenants.map((one) => one.name));
  const sensitivities = makeInterner();
  const nodes: MapNode[] = [];
  const node = new Map<string, number>();
  const add = (id: string, made: Omit<MapNode, 'id'>): number => {
    node.set(id, nodes.length);
    nodes.push({ id, ...made });
    return nodes.length - 1;
  };
  for (const workload of workloads) {
    const tenant = tenancy.of.get(workload.namespace);
    add(workload.id, {
      kind: 'workload',
      label: workload.name,
      namespace: namespaces.of(workload.namespace),
      stage: stages.of(firstOf(workload.classification.stage)),
      plane: planes.of(firstOf(workload.classification.plane)),
      tenant: tenant === undefined ? -1 : tenants.of(tenant),
      sensitivity: workload.classification.sensitivity.map(sensitivities.of),
      mesh: meshOf(workload),
    });
  }
  const endpoint = (end: Endpoint): number => {
    const id = nodeId(end);
    const known = node.get(id);
    if (known !== undefined) return known;
    const namespace = end.kind === 'workload' ? end.id.slice(0, Math.max(0, end.id.indexOf('/'))) : undefined;
    return add(id, {
      kind: end.kind,
      label: labelOf(end),
      namespace: namespace === undefined ? -1 : namespaces.of(namespace),
      stage: stages.of('unknown'),
      plane: planes.of('unknown'),
      tenant: -1,
      sensitivity: [],
      mesh: end.kind === 'workload' ? 'unknown' : 'none',
    });
  };
  // Outside ends in an order that does not depend on that of the edges.
  const outside = new Map<string, Endpoint>();
  for (const edge of given)
    for (const end of [edge.src, edge.dst]) if (!node.has(nodeId(end))) outside.set(nodeId(end), end);
  for (const id of [...outside.keys()].sort(compareText)) endpoint(outside.get(id) ?? { kind: 'api-server' });
  const rows = given
    .map((edge) => ({ edge, src: endpoint(edge.src), dst: endpoint(edge.dst) }))
    .sort(
      (a, b) =>
        a.src - b.src ||
        a.dst - b.dst ||
        compareText(a.edge.protocol, b.edge.protocol) ||
        a.edge.port - b.edge.port ||
        compareText(a.edge.l7 ?? '', b.edge.l7 ?? '') ||
        compareText(a.edge.id, b.edge.id),
    );
  return {
    workloads,
    nodes,
    node,
    rows,
    rank: new Map(rows.map(({ edge }, index) => [edge.id, index])),
    names: { stages, planes, namespaces, tenants, sensitivities },
  };
}

export interface Placed {
  readonly workloads: readonly Workload[];
  readonly nodes: readonly MapNode[];
  readonly node: ReadonlyMap<string, number>;
  readonly rows: readonly { readonly edge: Edge; readonly src: number; readonly dst: number }[];
  readonly rank: ReadonlyMap<string, number>;
  readonly names: Readonly<Record<'stages' | 'planes' | 'namespaces' | 'tenants' | 'sensitivities', Interner>>;
}

/** Unknown ends without an address differ by why they are unknown. */
function nodeId(end: Endpoint): string {
  return end.kind === 'unknown' && end.ip === undefined ? `unknown: (${end.why})` : endpointKey(end);
}

function labelOf(end: Endpoint): string {
  switch (end.kind) {
    case 'workload':
      return end.id.slice(end.id.lastIndexOf('/') + 1);
    case 'node':
      return end.name === undefined ? "the pod's own node" : `node ${end.name}`;
    case 'api-server':
      return 'API server';
    case 'external':
      return end.name ?? end.ip ?? 'outside';
    case 'unknown':
      return end.ip ?? `unknown: ${end.why}`;
  }
}

/** The map with what the simulator says of every edge, and what would allow it. */
export function buildMap(
  placed: Placed,
  verdicts: ReadonlyMap<string, ConnectionVerdict>,
  candidates: CandidatesOfEdge,
): FlowMap {
  const { rows, nodes, names } = placed;
  const operations = makeInterner();
  const reasons = makeInterner();
  const sourceSets = makeInterner();
  const deniedCount = rows.map(({ edge }) => edge.verdicts.denied ?? 0);
  const columns: MapEdges = {
    id: rows.map(({ edge }) => edge.id),
    src: rows.map(({ src }) => src),
    dst: rows.map(({ dst }) => dst),
    protocol: rows.map(({ edge }) => MAP_CODES.protocol.indexOf(edge.protocol)),
    port: rows.map(({ edge }) => edge.port),
    endPort: rows.map(({ edge }) => edge.endPort ?? 0),
    l7: rows.map(({ edge }) => (edge.l7 === undefined ? -1 : operations.of(edge.l7))),
    mtls: rows.map(({ edge }) => MAP_CODES.mtls.indexOf(edge.mtls)),
    verdict: rows.map(({ edge }) => MAP_CODES.verdict.indexOf(verdicts.get(edge.id)?.answer ?? 'unknown')),
    decides: rows.map(({ edge }) => {
      const verdict = verdicts.get(edge.id);
      return reasons.of(verdict === undefined ? 'not judged' : mainReason(verdict));
    }),
    count: rows.map(({ edge }) => edge.count),
    deniedCount,
    days: rows.map(({ edge }) => edge.days.length),
    first: rows.map(({ edge }) => (edge.count === 0 ? 0 : Math.round(edge.first / 1000))),
    last: rows.map(({ edge }) => (edge.count === 0 ? 0 : Math.round(edge.last / 1000))),
    sources: rows.map(({ edge }) =>
      sourceSets.of(edge.origin.kind === 'declared' ? `declared by ${edge.origin.by}` : edge.sources.join(', ')),
    ),
    review: rows.map(({ edge }) => MAP_CODES.review.indexOf(edge.review)),
    origin: rows.map(({ edge }) => {
      if (edge.origin.kind === 'observed') return 0;
      return edge.origin.strength === 'strong' ? 1 : 2;
    }),
    ingressCandidate: rows.map(({ edge }) => candidates.ingress.get(edge.id) ?? -1),
    egressCandidate: rows.map(({ edge }) => candidates.egress.get(edge.id) ?? -1),
    authorizationCandidate: rows.map(({ edge }) => candidates.principals.get(edge.id) ?? -1),
  };
  const count = (column: readonly number[], ...codes: readonly number[]): number =>
    column.reduce((sum, code) => sum + (codes.includes(code) ? 1 : 0), 0);
  const outward = (column: readonly number[]): number =>
    column.reduce((sum, at) => sum + (nodes[at]?.kind === 'external' ? 1 : 0), 0);
  return {
    namespaces: names.namespaces.list,
    stages: names.stages.list,
    planes: names.planes.list,
    tenants: names.tenants.list,
    sensitivities: names.sensitivities.list,
    operations: operations.list,
    reasons: reasons.list,
    sourceSets: sourceSets.list,
    nodes,
    edges: columns,
    totals: {
      edges: rows.length,
      observed: count(columns.origin, 0),
      declared: count(columns.origin, 1, 2),
      connections: columns.count.reduce((sum, one) => sum + one, 0),
      unreviewed: count(columns.review, 0),
      toBeCut: count(columns.review, 2),
      mtls: count(columns.mtls, 0),
      plaintext: count(columns.mtls, 1, 2),
      mtlsUnknown: count(columns.mtls, 3),
      allowed: count(columns.verdict, 0),
      denied: count(columns.verdict, 1),
      unknown: count(columns.verdict, 2),
      toOutside: outward(columns.dst),
      fromOutside: outward(columns.src),
    },
  };
}

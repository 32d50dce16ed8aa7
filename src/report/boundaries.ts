import { metadataServerAt } from '../inventory/system-traffic.ts';
import { createCidrTest, isPrivateAddress } from '../model/address.ts';
import type { BoundaryFact, Config, VpcFact } from '../model/config.ts';
import { matchText } from '../model/glob.ts';
import type { Workload } from '../model/inventory.ts';
import { compareText, uniqueSorted } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';
import { firstOf } from './map.ts';
import type { Placed } from './map.ts';
import type { BoundariesSection, Boundary, BoundaryKind, Crossing, FlowMap, PlanesSection } from './model.ts';
import type { Tenancy } from './tenants.ts';

/** What a workload handles that most others must not reach, as one boundary each. */
const GUARDED = ['credentials', 'private-keys', 'personal-data', 'training-data', 'models'];

interface Drawn {
  readonly kind: BoundaryKind;
  /** The side that a node is on; undefined for one that this kind does not speak of. */
  readonly sideOf: (node: number) => string | undefined;
  /** Only what leaves the cluster crosses it. */
  readonly outward?: boolean;
}

/** Trust boundaries as drawn from the inventory and as declared, and the traffic across each. */
export function buildBoundaries(
  placed: Placed,
  map: FlowMap,
  tenancy: Tenancy,
  config: Config,
  isOpen: (edge: number) => boolean,
): BoundariesSection {
  const facts = config.boundaries ?? [];
  const vpcs = facts.filter((fact) => fact.kind === 'vpc');
  const nats = facts.filter((fact) => fact.kind === 'nat');
  const iam = facts.filter((fact) => fact.kind === 'iam');
  const ends = outsideEnds(placed);
  const drawn: readonly Drawn[] = [
    { kind: 'cluster', sideOf: (node) => clusterSide(map, node) },
    { kind: 'tenant', sideOf: (node) => nameAt(map.tenants, map.nodes[node]?.tenant) },
    { kind: 'plane', sideOf: (node) => ofWorkload(map, node, (one) => nameAt(map.planes, one.plane)) },
    { kind: 'stage', sideOf: (node) => ofWorkload(map, node, (one) => nameAt(map.stages, one.stage)) },
    ...(vpcs.length === 0 ? [] : [{ kind: 'vpc' as const, sideOf: vpcSide(map, ends, config) }]),
    ...(nats.length === 0 ? [] : [{ kind: 'nat' as const, sideOf: natSide(map, ends, config, nats), outward: true }]),
    ...(iam.length === 0
      ? []
      : [
          {
            kind: 'iam' as const,
            sideOf: (node: number) =>
              ofWorkload(map, node, (one) => {
                const stage = nameAt(map.stages, one.stage);
                return iam.find((fact) => stage !== undefined && fact.stages.includes(stage))?.name ?? 'no boundary';
              }),
          },
        ]),
  ];
  const crossings = drawn
    .flatMap((one) => crossingsOf(map, one, isOpen))
    .sort(
      (a, b) =>
        b.edges.length - a.edges.length ||
        compareText(a.kind, b.kind) ||
        compareText(a.from, b.from) ||
        compareText(a.to, b.to),
    );
  return {
    boundaries: [...computed(placed.workloads, map, tenancy), ...facts.map((fact) => declared(fact, placed.workloads))],
    crossings,
    undeclared: [
      ...(vpcs.length === 0
        ? [
            'VPCs: none is declared (boundaries: [{kind: vpc, name, cidrs}]), so private addresses outside the cluster are of unknown belonging',
          ]
        : []),
      ...(nats.length === 0
        ? [
            'NAT: none is declared (boundaries: [{kind: nat, name, addresses}]), so the addresses under which the outside sees this cluster are not known',
          ]
        : []),
      ...(iam.length === 0
        ? [
            'Cloud IAM: no boundary is declared per stage (boundaries: [{kind: iam, name, stages}]); what the cloud lets a workload do is not read from the cloud',
          ]
        : []),
    ],
  };
}

function nameAt(list: readonly string[], index: number | undefined): string | undefined {
  return index === undefined || index < 0 ? undefined : list[index];
}

function ofWorkload(
  map: FlowMap,
  node: number,
  side: (node: FlowMap['nodes'][number]) => string | undefined,
): string | undefined {
  const one = map.nodes[node];
  return one?.kind === 'workload' ? side(one) : undefined;
}

function clusterSide(map: FlowMap, node: number): string {
  const kind = map.nodes[node]?.kind;
  if (kind === 'external') return 'outside';
  return kind === 'unknown' ? 'not attributed' : 'the cluster';
}

type Ends = ReadonlyMap<number, { readonly name?: string; readonly ip?: string }>;

/** Names and addresses of the ends outside, by node. */
function outsideEnds({ rows }: Placed): Ends {
  const ends = new Map<number, { readonly name?: string; readonly ip?: string }>();
  for (const { edge, src, dst } of rows) {
    if (edge.src.kind === 'external') ends.set(src, edge.src);
    if (edge.dst.kind === 'external') ends.set(dst, edge.dst);
  }
  return ends;
}

/** The declared VPC that a destination lies in, by its address or by a name that is declared. */
export function findVpc(config: Config, name: string | undefined, ip: string | undefined): VpcFact | undefined {
  const plain = name?.toLowerCase().replace(/\.$/, '');
  return (config.boundaries ?? [])
    .filter((fact) => fact.kind === 'vpc')
    .find(
      (fact) =>
        (ip !== undefined && createCidrTest(fact.cidrs)(ip)) ||
        (plain !== undefined && (fact.names ?? []).some((one) => matchText(one.toLowerCase(), plain))),
    );
}

/** It answers on the node itself. */
function isMetadataServer(name: string | undefined, ip: string | undefined): boolean {
  return name === 'metadata-server' || (ip !== undefined && metadataServerAt(ip) !== undefined);
}

function vpcSide(map: FlowMap, ends: Ends, config: Config): (node: number) => string | undefined {
  return (node) => {
    const one = map.nodes[node];
    if (one === undefined || one.kind === 'unknown') return undefined;
    if (one.kind !== 'external') return 'the cluster';
    const { name, ip } = ends.get(node) ?? {};
    if (isMetadataServer(name, ip)) return undefined;
    const inside = findVpc(config, name, ip);
    if (inside !== undefined) return `VPC ${inside.name}`;
    // A name alone does not tell where it lives.
    return ip === undefined ? 'outside, VPC not known (a name alone)' : 'outside every VPC declared';
  };
}

/** From behind a NAT to what is in no VPC declared: there it is seen under the addresses of the NAT. */
function natSide(
  map: FlowMap,
  ends: Ends,
  config: Config,
  nats: readonly Extract<BoundaryFact, { readonly kind: 'nat' }>[],
): (node: number) => string | undefined {
  const behind = nats.map((fact) => `${fact.name} (${fact.addresses.join(', ')})`).join(' or ');
  return (node) => {
    const one = map.nodes[node];
    if (one === undefined || one.kind === 'unknown') return undefined;
    if (one.kind !== 'external') return `the cluster, seen as ${behind}`;
    const { name, ip } = ends.get(node) ?? {};
    if (isMetadataServer(name, ip) || (ip !== undefined && isPrivateAddress(ip))) return undefined;
    return findVpc(config, name, ip) === undefined ? 'outside' : undefined;
  };
}

function crossingsOf(
  map: FlowMap,
  { kind, sideOf, outward }: Drawn,
  isOpen: (edge: number) => boolean,
): readonly Crossing[] {
  const sides = map.nodes.map((_, node) => sideOf(node));
  const found = new Map<string, { from: string; to: string; edges: number[] }>();
  const { src, dst } = map.edges;
  for (let edge = 0; edge < src.length; edge += 1) {
    const [from, to] = [sides[src[edge] ?? -1], sides[dst[edge] ?? -1]];
    if (from === undefined || to === undefined || from === to) continue;
    if (outward === true && map.nodes[src[edge] ?? -1]?.kind === 'external') continue;
    const key = `${from}\n${to}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, { from, to, edges: [edge] });
    else known.edges.push(edge);
  }
  return [...found.values()].map(({ from, to, edges }) => ({
    kind,
    from,
    to,
    edges,
    connections: edges.reduce((sum, edge) => sum + (map.edges.count[edge] ?? 0), 0),
    mtls: edges.filter((edge) => map.edges.mtls[edge] === 0).length,
    open: edges.filter(isOpen).length,
    sensitivity: uniqueSorted(
      edges.flatMap((edge) =>
        (map.nodes[map.edges.dst[edge] ?? -1]?.sensitivity ?? []).flatMap((one) => map.sensitivities[one] ?? []),
      ),
    ).filter((one) => one !== 'unknown'),
  }));
}

function computed(workloads: readonly Workload[], map: FlowMap, tenancy: Tenancy): readonly Boundary[] {
  const base = { basis: 'computed' as const, scope: [] };
  const of = (kind: BoundaryKind, name: string, because: string, mine: (one: Workload) => boolean): Boundary => ({
    id: `${kind}:${name}`,
    kind,
    name,
    because,
    workloads: workloads.filter(mine).length,
    ...base,
  });
  return [
    of('cluster', 'the cluster', 'what was read', () => true),
    ...tenancy.tenants.map((tenant) =>
      of('tenant', tenant.name, tenant.because[0] ?? '', (one) => tenancy.of.get(one.namespace) === tenant.name),
    ),
    ...map.planes.map((plane) =>
      of('plane', plane, 'what the workloads are', (one) => firstOf(one.classification.plane) === plane),
    ),
    ...map.stages.map((stage) =>
      of('stage', stage, 'what the workloads are', (one) => firstOf(one.classification.stage) === stage),
    ),
    ...GUARDED.map((sort) =>
      of('sensitivity', sort, 'what the workloads handle', (one) => one.classification.sensitivity.includes(sort)),
    ).filter((one) => one.workloads !== 0),
  ];
}

function declared(fact: BoundaryFact, workloads: readonly Workload[]): Boundary {
  const base = { id: `${fact.kind}:${fact.name}`, kind: fact.kind, name: fact.name, basis: 'declared' as const };
  switch (fact.kind) {
    case 'vpc':
      return {
        ...base,
        because: 'declared in the configuration',
        workloads: null,
        scope: [...fact.cidrs, ...(fact.names ?? [])],
      };
    case 'nat':
      return {
        ...base,
        because:
          fact.vpc === undefined
            ? 'declared in the configuration'
            : `declared in the configuration, of VPC ${fact.vpc}`,
        workloads: null,
        scope: fact.addresses,
      };
    case 'iam': {
      const allows = fact.allows ?? [];
      return {
        ...base,
        because: `declared in the configuration${fact.identity === undefined ? '' : `: ${fact.identity}`}${allows.length === 0 ? '' : `, allows ${allows.join(', ')}`}`,
        workloads: workloads.filter((one) => fact.stages.includes(firstOf(one.classification.stage))).length,
        scope: fact.stages,
      };
    }
  }
}

/** Control plane against data plane, from the map. */
export function buildPlanes(map: FlowMap): PlanesSection {
  const { src, dst, count } = map.edges;
  const matrix = new Map<string, { from: string; to: string; edges: number; connections: number }>();
  const dataToControl: number[] = [];
  const callers = new Map<number, number[]>();
  const planeOf = (node: number | undefined): string | undefined => {
    const one = map.nodes[node ?? -1];
    return one?.kind === 'workload' ? nameAt(map.planes, one.plane) : undefined;
  };
  for (let edge = 0; edge < src.length; edge += 1) {
    const [from, to] = [planeOf(src[edge]), planeOf(dst[edge])];
    if (map.nodes[dst[edge] ?? -1]?.kind === 'api-server' && from !== undefined) {
      const list = callers.get(src[edge] ?? -1);
      if (list === undefined) callers.set(src[edge] ?? -1, [edge]);
      else list.push(edge);
    }
    if (from === undefined || to === undefined) continue;
    const key = `${from}\n${to}`;
    const row = matrix.get(key) ?? { from, to, edges: 0, connections: 0 };
    row.edges += 1;
    row.connections += count[edge] ?? 0;
    matrix.set(key, row);
    if (from === 'data' && to === 'control') dataToControl.push(edge);
  }
  return {
    matrix: [...matrix.values()].sort((a, b) => compareText(a.from, b.from) || compareText(a.to, b.to)),
    dataToControl,
    apiServerCallers: [...callers]
      .map(([node, edges]) => ({ workload: map.nodes[node]?.id ?? '', plane: planeOf(node) ?? 'unknown', edges }))
      .sort((a, b) => compareText(a.workload, b.workload)),
  };
}

/** "3 crossings" and the like, for lists. */
export function crossingText(crossing: Crossing): string {
  return `${crossing.from} -> ${crossing.to}: ${plural(crossing.edges.length, 'edge')}`;
}

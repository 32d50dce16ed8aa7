import type { Edge } from '../model/edge.ts';
import type { Workload } from '../model/inventory.ts';
import type { PhaseName } from '../model/phase.ts';
import { compareText, groupBy, uniqueSorted } from '../shared/pure/order.ts';
import type { LatencyMeasurement } from './input.ts';
import { iso, round } from './input.ts';
import type { Entrance, LatencyPath, LatencyRow, LatencySection } from './model.ts';

const RULE = 'rule of thumb of the field, not measured here';

/** What each control adds where nothing was measured. */
const ESTIMATES: readonly Omit<LatencyRow, 'basis' | 'n' | 'measuredAt' | 'source' | 'p99'>[] = [
  {
    control: 'network-policy',
    title: 'NetworkPolicy, each hop',
    unit: 'ms',
    p50: 0.1,
    low: null,
    high: null,
    perConnection: false,
  },
  {
    control: 'mtls-handshake',
    title: 'mTLS handshake, once a connection',
    unit: 'ms',
    p50: null,
    low: 2,
    high: 5,
    perConnection: true,
  },
  {
    control: 'mesh-hop',
    title: 'Proxies of the mesh, each hop',
    unit: 'ms',
    p50: 0.8,
    low: null,
    high: null,
    perConnection: false,
  },
  {
    control: 'api-gateway',
    title: 'API gateway, once a request from outside',
    unit: 'ms',
    p50: 1.5,
    low: null,
    high: null,
    perConnection: false,
  },
  {
    control: 'pipeline',
    title: 'A whole pipeline, from end to end',
    unit: 'percent',
    p50: 13,
    low: null,
    high: null,
    perConnection: false,
  },
];

const MOST_PATHS = 12;
const LONGEST = 8;

/** The price of each control: measured where a measurement was given, else the field's rule of thumb, and labelled which. */
export function buildLatency(
  measurements: readonly LatencyMeasurement[],
  edges: readonly Edge[],
  workloads: readonly Workload[],
  entrances: readonly Entrance[],
): LatencySection {
  const newest = new Map<string, LatencyMeasurement>();
  for (const one of [...measurements].sort((a, b) => a.measuredAt - b.measuredAt)) newest.set(one.control, one);
  const measured = (one: LatencyMeasurement, title: string, perConnection: boolean): LatencyRow => ({
    control: one.control,
    title,
    basis: 'measured',
    unit: 'ms',
    p50: one.p50,
    p99: one.p99,
    low: null,
    high: null,
    n: one.n,
    source: one.source,
    measuredAt: iso(one.measuredAt),
    perConnection,
  });
  const controls = [
    ...ESTIMATES.map((row): LatencyRow => {
      const found = newest.get(row.control);
      return found === undefined
        ? { ...row, basis: 'estimate', p99: null, n: null, source: RULE, measuredAt: null }
        : measured(found, row.title, row.perConnection);
    }),
    ...[...newest.values()]
      .filter((one) => ESTIMATES.every((row) => row.control !== one.control))
      .sort((a, b) => compareText(a.control, b.control))
      .map((one) => measured(one, one.control, false)),
  ];
  const of = (control: string): LatencyRow | undefined => controls.find((row) => row.control === control);
  return {
    controls,
    paths: findPaths(edges, workloads, entrances).map((hops) => pathOf(hops, of)),
    notes: [
      'Estimates are rules of thumb of the field; put measurements of your own into the file that assess.latency of the configuration names.',
      'A control that stands already (a gateway, a mesh that was joined before) costs what it costs today: what is added is for the hops that gain it.',
      'Policies on principals are asked inside the proxies and are counted with the mesh hop.',
      ...(measurements.length === 0 ? ['Nothing was measured: every figure here is an estimate.'] : []),
    ],
  };
}

const SERVING = new Set(['serving', 'feature-store', 'storage', 'registry']);

/** From each workload that the outside reaches, along the busiest edges through serving and its stores. */
function findPaths(
  edges: readonly Edge[],
  workloads: readonly Workload[],
  entrances: readonly Entrance[],
): readonly (readonly string[])[] {
  const stages = new Map(workloads.map((one) => [one.id, one.classification.stage.split('|')]));
  const out = groupBy(
    edges.filter(
      (edge) =>
        edge.src.kind === 'workload' &&
        edge.dst.kind === 'workload' &&
        edge.protocol === 'TCP' &&
        edge.l7 === undefined,
    ),
    (edge) => (edge.src.kind === 'workload' ? edge.src.id : ''),
  );
  const starts = new Map<string, number>();
  for (const edge of edges)
    if (edge.src.kind === 'external' && edge.dst.kind === 'workload')
      starts.set(edge.dst.id, (starts.get(edge.dst.id) ?? 0) + edge.count);
  for (const id of uniqueSorted(entrances.flatMap((one) => one.leadsTo))) if (!starts.has(id)) starts.set(id, 0);
  const found: (readonly string[])[] = [];
  for (const [start] of [...starts].sort(([a, x], [b, y]) => y - x || compareText(a, b))) {
    const hops = [start];
    for (let at: string | undefined = start; at !== undefined && hops.length < LONGEST;) {
      const next: string | undefined = (out.get(at) ?? [])
        .flatMap((edge) => (edge.dst.kind === 'workload' ? [{ id: edge.dst.id, count: edge.count }] : []))
        .filter(({ id }) => !hops.includes(id) && (stages.get(id) ?? []).some((stage) => SERVING.has(stage)))
        .sort((a, b) => b.count - a.count || compareText(a.id, b.id))[0]?.id;
      if (next !== undefined) hops.push(next);
      at = next;
    }
    if (hops.length > 1) found.push(hops);
    if (found.length === MOST_PATHS) break;
  }
  return found;
}

function pathOf(workloads: readonly string[], of: (control: string) => LatencyRow | undefined): LatencyPath {
  const hops = workloads.length - 1;
  const [policy, mesh, handshake] = [of('network-policy'), of('mesh-hop'), of('mtls-handshake')];
  const [perPolicy, perMesh] = [policy?.p50 ?? 0, mesh?.p50 ?? 0];
  const basis = (...rows: readonly (LatencyRow | undefined)[]): 'measured' | 'estimate' =>
    rows.every((row) => row?.basis === 'measured') ? 'measured' : 'estimate';
  const added = (phase: PhaseName, ms: number, ...rows: readonly (LatencyRow | undefined)[]) => ({
    phase,
    ms: round(ms, 3),
    basis: basis(...rows),
  });
  const both = hops * (perPolicy + perMesh);
  return {
    name: `from ${workloads[0] ?? ''}`,
    hops: workloads,
    added: [
      added('allow-list', hops * perPolicy, policy),
      added('permissive-mtls', both, policy, mesh),
      added('strict-mtls', both, policy, mesh),
      added('identity', both, policy, mesh),
    ],
    handshakeMs: {
      low: round(hops * (handshake?.low ?? handshake?.p50 ?? 0), 3),
      high: round(hops * (handshake?.high ?? handshake?.p99 ?? 0), 3),
      basis: basis(handshake),
    },
  };
}

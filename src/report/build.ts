import { coverageOf } from '../flows/coverage.ts';
import { findDoubtful } from '../flows/review.ts';
import { checkSchedules } from '../flows/schedules.ts';
import { scheduleWindow } from '../flows/window.ts';
import type { Edge } from '../model/edge.ts';
import type { ConnectionVerdict, World } from '../model/evaluate.ts';
import { compileWorld, isIsolated } from '../model/evaluate.ts';
import { FINDINGS } from '../model/finding-catalogue.ts';
import type { Workload } from '../model/inventory.ts';
import { isOwn } from '../objects/build.ts';
import { formatRef, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { PHASES, phaseIndex } from '../model/phase.ts';
import { judgeEdges } from '../plan/simulate.ts';
import { keptEdges } from '../readiness/view.ts';
import { proposeWaves } from '../readiness/waves.ts';
import { findSystemPeers } from '../candidates/system.ts';
import { maskText } from '../shared/pure/mask.ts';
import { compareText, groupBy, uniqueSorted } from '../shared/pure/order.ts';
import { plural } from '../shared/pure/text.ts';
import { buildBoundaries, buildPlanes } from './boundaries.ts';
import { buildEgress } from './egress.ts';
import { buildIdentities } from './identities.ts';
import type { ReportInput } from './input.ts';
import { edgesByNamespace, indexObjects, iso, podSpecs, round } from './input.ts';
import { buildLatency } from './latency.ts';
import { PLANE_ORDER, STAGE_ORDER, buildMap, meshOf, ordered, placeEdges } from './map.ts';
import type { Placed } from './map.ts';
import type {
  AssessmentReport,
  EvidenceSection,
  FindingGroup,
  GroupCount,
  InventorySection,
  SurfaceSection,
  SurfaceState,
  TenantLeak,
  TenantsSection,
} from './model.ts';
import { ASSESSMENT_API_VERSION } from './model.ts';
import { buildPlaintext } from './plaintext.ts';
import { candidateRows, candidatesOfEdges, presentPolicies, systemNamespaces } from './policies.ts';
import { buildProgress } from './progress.ts';
import { buildReadiness } from './readiness.ts';
import { buildResidual } from './residual.ts';
import { buildRisk } from './risk.ts';
import { buildStandards } from './standards.ts';
import type { AssumedStates } from './states.ts';
import { assumeStates } from './states.ts';
import type { ReportBody } from './summary.ts';
import { buildSummary } from './summary.ts';
import type { NotCounted, Reach } from './surface.ts';
import { countBetween, countReach } from './surface.ts';
import type { Tenancy } from './tenants.ts';
import { findTenants } from './tenants.ts';
import { counted, grouped } from './words.ts';

const HOUR = 3_600_000;

/** The whole report, from what was read and recorded. Pure; `onProgress` is told which part comes next. */
export function buildReport(
  input: ReportInput,
  onProgress: (text: string) => void = () => undefined,
): AssessmentReport {
  const { view } = input;
  const { inventory, snapshot, config } = view;
  onProgress('tenants, accounts and keys');
  const edges = view.edges.map(masked);
  const byKey = indexObjects(snapshot.objects);
  const specs = podSpecs(inventory, byKey);
  const world = compileWorld(inventory);
  const tenancy = findTenants(inventory, snapshot.objects, config);
  const identities = buildIdentities(inventory, snapshot.objects, specs, world);
  const placed = placeEdges(inventory, edges, tenancy);
  const { rank } = placed;

  onProgress('the cluster after each phase');
  const moving = inventory.namespaces
    .filter(
      (one) => one.system === undefined && inventory.workloads.some((workload) => workload.namespace === one.name),
    )
    .map((one) => one.name);
  const assumed = assumeStates({ ...view, edges, edgesIn: (state) => view.edgesIn(state).map(masked) }, moving);
  const candidates = candidateRows(assumed.candidates, byKey, rank);

  onProgress(`judging ${counted(edges.length, 'edge')} in each state`);
  const all = judgeEdges(inventory, edges);
  const judged = new Map<PhaseName, { readonly verdicts: ReadonlyMap<string, ConnectionVerdict> }>();
  for (const [phase, state] of assumed.states)
    judged.set(
      phase,
      phase === 'none' || phase === 'monitor'
        ? { verdicts: all }
        : { verdicts: judgeEdges(state.view.inventory, keptEdges(state.view.edges)) },
    );
  const map = buildMap(placed, all, candidatesOfEdges(assumed.candidates));

  onProgress('who can reach whom in each state');
  const reach = reachOfStates(assumed);
  const surface = surfaceSection(view, reach, assumed);
  const nowReach = reach.get('none') ?? { kind: 'not-counted', because: 'not computed' };

  const isolation = isolationOf(
    placed.workloads,
    (id, direction) => isIsolated(world, id, direction).isolated === 'yes',
  );
  const isOpen = (edge: number): boolean => {
    const row = placed.rows[edge];
    return (
      row !== undefined &&
      !(row.edge.src.kind === 'workload' && isolation.egress.has(row.edge.src.id)) &&
      !(row.edge.dst.kind === 'workload' && isolation.ingress.has(row.edge.dst.id))
    );
  };

  onProgress('waves, gates and blockers');
  const kept = keptEdges(edges);
  const waves = proposeWaves(view);
  const rows = buildReadiness({
    planner: input.planner,
    assumed,
    judged,
    world,
    tenancy,
    waveOf: new Map(waves.flatMap((wave) => wave.namespaces.map((name) => [name, wave.wave] as const))),
    rank,
    edges: edgesByNamespace(edges),
    systemNamespaces: systemNamespaces({ system: findSystemPeers(inventory) }),
  });
  const joined = assumed.states.get('permissive-mtls');
  const plaintext = buildPlaintext(
    kept,
    rank,
    world,
    joined === undefined ? undefined : compileWorld(joined.view.inventory),
    assumed.noMesh,
    new Set(findDoubtful(edges, inventory).map((one) => one.edge.id)),
  );

  onProgress('boundaries, risk and the rest');
  const partial: Omit<ReportBody, 'standards'> = {
    apiVersion: ASSESSMENT_API_VERSION,
    kind: 'Assessment',
    version: input.version,
    at: iso(view.now),
    cluster: clusterView(input),
    evidence: evidenceSection(input, edges),
    inventory: inventorySection(placed, inventory.findings),
    map,
    boundaries: buildBoundaries(placed, map, tenancy, config, isOpen),
    planes: buildPlanes(map),
    tenants: tenantsSection(placed, tenancy, world, isolation),
    egress: buildEgress(placed, map, config, inventory.workloads.length - isolation.egress.size),
    identities,
    risk: buildRisk({
      workloads: placed.workloads,
      node: placed.node,
      edges: kept,
      world,
      reach: nowReach,
      identities,
      specs,
    }),
    readiness: { namespaces: rows, method: methodOf(assumed) },
    plaintext,
    policies: {
      candidates,
      problems: assumed.candidates.problems,
      textsLeftOut: false,
      present: presentPolicies(inventory),
    },
    waves,
    surface,
    residual: buildResidual(inventory, specs, assumed.candidates.problems),
    latency: buildLatency(input.latency, kept, placed.workloads, identities.entrances),
    progress: buildProgress(
      input,
      prevented(
        inventory.policies.filter(isOwn).map((policy) => formatRef(refOf(policy))),
        edges,
        all,
      ),
    ),
  };
  const body: ReportBody = { ...partial, standards: buildStandards(partial) };
  return { ...inOrder(body), summary: buildSummary(body), comparison: null };
}

/** Keys in the order in which a person reads them. */
function inOrder(body: ReportBody): ReportBody & { summary: AssessmentReport['summary'] } {
  const { apiVersion, kind, version, at, cluster, ...rest } = body;
  return { apiVersion, kind, version, at, cluster, summary: EMPTY_SUMMARY, ...rest };
}

const EMPTY_SUMMARY: AssessmentReport['summary'] = {
  headline: { id: 'headline', tone: 'unknown', text: '', parts: [], section: '' },
  sentences: [],
  actions: [],
  figures: [],
};

/** Paths that were requested and what declares an edge are free text: whatever looks like a credential goes. */
function masked(edge: Edge): Edge {
  const l7 = edge.l7 === undefined ? undefined : maskText(edge.l7);
  const by = edge.origin.kind === 'declared' ? maskText(edge.origin.by) : undefined;
  if (l7 === edge.l7 && (edge.origin.kind === 'observed' || by === edge.origin.by)) return edge;
  return {
    ...edge,
    ...(l7 === undefined ? {} : { l7 }),
    ...(edge.origin.kind === 'declared' && by !== undefined ? { origin: { ...edge.origin, by } } : {}),
  };
}

function clusterView({ cluster, view }: ReportInput): AssessmentReport['cluster'] {
  const { inventory, snapshot } = view;
  const { cni, mesh, kubernetesVersion } = inventory.facts;
  return {
    source: snapshot.source,
    id: cluster.id,
    description: maskText(cluster.description),
    kubernetesVersion: kubernetesVersion ?? null,
    cni: { name: cni.name, enforces: cni.enforces, because: cni.because },
    mesh: {
      kind: mesh.kind,
      mode: mesh.mode,
      version: mesh.version ?? null,
      trustDomain: mesh.trustDomain,
      because: mesh.because,
    },
    objects: snapshot.objects.length,
    namespaces: inventory.namespaces.length,
    workloads: inventory.workloads.length,
    services: inventory.services.length,
    nodes: inventory.nodes.length,
    unread: snapshot.unread,
  };
}

function evidenceSection({ view }: ReportInput, edges: readonly Edge[]): EvidenceSection {
  const { evidence, inventory, config, now } = view;
  const { first, last } = evidence;
  const sum = (of: (one: (typeof evidence.sources)[number]) => number): number =>
    evidence.sources.reduce((total, one) => total + of(one), 0);
  const [records, lost] = [sum((one) => one.records), sum((one) => one.lost)];
  const seen = new Set<string>();
  for (const edge of edges)
    if (edge.count > 0) for (const end of [edge.src, edge.dst]) if (end.kind === 'workload') seen.add(end.id);
  const unseen = inventory.workloads.map((one) => one.id).filter((id) => !seen.has(id));
  const byNamespace = edgesByNamespace(edges);
  const withWorkloads = uniqueSorted(inventory.workloads.map((one) => one.namespace));
  const hours = config.gates.window === 'off' ? 168 : config.gates.window;
  const scheduled = uniqueSorted(
    inventory.workloads.flatMap((one) => (one.schedule === undefined ? [] : [one.namespace])),
  );
  const schedules = scheduled.flatMap((namespace) =>
    checkSchedules(namespace, inventory, evidence, scheduleWindow(namespace, evidence, hours, now)).map(
      ({ workload, cron, answer, facts, fix }) => ({
        workload,
        cron,
        answer,
        facts,
        fix,
      }),
    ),
  );
  return {
    window: first === undefined || last === undefined ? null : { from: iso(first), to: iso(last) },
    hours: first === undefined || last === undefined ? null : round((last - first) / HOUR, 1),
    days: evidence.days.length,
    sources: evidence.sources.map((one) => ({ ...one, first: iso(one.first), last: iso(one.last) })),
    records,
    lost,
    lostShare: records === 0 ? null : round(lost / (records + lost), 6),
    unattributed: Object.entries(evidence.unattributed)
      .map(([reason, count]) => ({ reason, count }))
      .sort((a, b) => b.count - a.count || compareText(a.reason, b.reason)),
    coverage:
      first === undefined
        ? []
        : withWorkloads.flatMap((namespace) =>
            (['ingress', 'egress'] as const).map((direction) => {
              const own = { ...inventory, workloads: inventory.workloads.filter((one) => one.namespace === namespace) };
              const found = coverageOf(namespace, direction, byNamespace.get(namespace) ?? [], evidence, own);
              return {
                namespace,
                direction,
                observed: found.observed,
                unseenUpper: round(found.unseenUpper, 2),
                shareUpper: found.shareUpper === undefined ? null : round(found.shareUpper, 4),
                tooFew: found.workloads.filter((one) => one.answer === 'too-few').map((one) => one.id),
              };
            }),
          ),
    schedules,
    unseenWorkloads: first === undefined ? [] : unseen,
    limits: limitsOf(view, records, lost, unseen.length),
  };
}

function limitsOf(
  { evidence, inventory, snapshot }: ReportInput['view'],
  records: number,
  lost: number,
  unseen: number,
): readonly string[] {
  const { first, last } = evidence;
  const out: string[] = [];
  if (first === undefined || last === undefined)
    out.push(
      'No traffic is on record: everything about who talks to whom comes from configuration, and what configuration does not state is missing.',
    );
  else {
    const days = evidence.days.length;
    out.push(
      `Traffic was seen on ${counted(days, 'day')}: what happens more rarely than that was most likely not seen.`,
    );
    out.push(
      lost === 0
        ? `The sources report no loss in ${counted(records, 'record')}; a source that does not count its losses reports none.`
        : `The sources lost ${counted(lost, 'record')} of ${grouped(records + lost)}: edges that were in none of the others are missing.`,
    );
    if (unseen > 0)
      out.push(
        `${counted(unseen, 'workload')} never appeared in the traffic: that nothing is known of them does not say that they need nothing.`,
      );
  }
  const unattributed = Object.values(evidence.unattributed).reduce((sum, count) => sum + count, 0);
  if (unattributed > 0)
    out.push(`${counted(unattributed, 'record')} could not be attributed to anybody, and are on no edge.`);
  for (const source of evidence.sources)
    if (source.sampledOneIn > 1)
      out.push(`${source.source} keeps one record in ${source.sampledOneIn}: rare edges are missing.`);
  if (snapshot.unread.length > 0)
    out.push(`Objects of ${snapshot.unread.join(', ')} could not be read: what they say is not in here.`);
  if (snapshot.source === 'directory')
    out.push(
      'Read from manifests: what runs in a cluster may differ, and facts that manifests lack come from the configuration.',
    );
  const unknown = inventory.workloads.filter((one) => one.podSets.length === 0).length;
  if (unknown > 0)
    out.push(
      `The pods of ${counted(unknown, 'workload')} cannot be foreseen from their objects: policies about them are judged as unknown.`,
    );
  out.push(
    'mTLS is what the sources say and what membership in the mesh implies; bytes on the wire were not looked at.',
  );
  return out;
}

function inventorySection(
  { workloads, node }: Placed,
  findings: ReportInput['view']['inventory']['findings'],
): InventorySection {
  const group = (order: readonly string[], of: (one: Workload) => readonly string[]): readonly GroupCount[] =>
    ordered(workloads.flatMap(of), order).map((name) => {
      const mine = workloads.filter((one) => of(one).includes(name));
      return { name, workloads: mine.length, namespaces: uniqueSorted(mine.map((one) => one.namespace)) };
    });
  return {
    workloads: workloads.map((one) => ({
      node: node.get(one.id) ?? -1,
      id: one.id,
      component: one.classification.component,
      stage: one.classification.stage,
      plane: one.classification.plane,
      sensitivity: one.classification.sensitivity,
      confidence: one.classification.confidence,
      why: one.classification.why.map(maskText),
      alternatives: one.classification.alternatives,
      mesh: meshOf(one),
      serviceAccounts: uniqueSorted(one.podSets.map((podSet) => podSet.serviceAccount)),
      schedule: one.schedule?.cron ?? null,
      manager: one.manager === undefined ? null : `${one.manager.kind} ${one.manager.name}`,
    })),
    byStage: group(STAGE_ORDER, (one) => [one.classification.stage]),
    byPlane: group(PLANE_ORDER, (one) => [one.classification.plane]),
    bySensitivity: group([], (one) => one.classification.sensitivity),
    unrecognised: workloads.filter((one) => one.classification.component === 'unknown').length,
    findings: findingGroups(findings),
  };
}

const EXAMPLES = 5;

function findingGroups(findings: ReportInput['view']['inventory']['findings']): readonly FindingGroup[] {
  const severity = { error: 0, warning: 1, info: 2 } as const;
  return [...groupBy(findings, (finding) => finding.code)]
    .map(([code, same]): FindingGroup => ({
      code,
      severity: same[0]?.severity ?? 'info',
      title: Object.hasOwn(FINDINGS, code) ? FINDINGS[code as keyof typeof FINDINGS].title : (same[0]?.message ?? ''),
      count: same.length,
      examples: same
        .slice(0, EXAMPLES)
        .map((one) => ({ subject: one.subject, message: maskText(one.message), where: one.where ?? null })),
    }))
    .sort((a, b) => severity[a.severity] - severity[b.severity] || compareText(a.code, b.code));
}

interface Isolation {
  readonly ingress: ReadonlySet<string>;
  readonly egress: ReadonlySet<string>;
}

function isolationOf(
  workloads: readonly Workload[],
  is: (id: string, direction: 'ingress' | 'egress') => boolean,
): Isolation {
  const of = (direction: 'ingress' | 'egress'): ReadonlySet<string> =>
    new Set(workloads.map((one) => one.id).filter((id) => is(id, direction)));
  return { ingress: of('ingress'), egress: of('egress') };
}

function reachOfStates({ states }: AssumedStates): ReadonlyMap<PhaseName, Reach | NotCounted> {
  const out = new Map<PhaseName, Reach | NotCounted>();
  for (const [phase, state] of states) {
    const now = out.get('none');
    out.set(phase, phase === 'monitor' && now !== undefined ? now : countReach(state.view.inventory));
  }
  return out;
}

const SAID: Readonly<Record<PhaseName, string>> = {
  none: 'as the policies now stand',
  monitor: 'nothing is blocked in this phase',
  'allow-list': 'with the candidates and a default of nothing in every namespace that is no system namespace',
  'permissive-mtls': 'the same, once every workload that can has joined the mesh; plaintext is still taken',
  'strict-mtls':
    'the same, with mTLS alone, but for ports whose callers on record cannot speak it: as long as nobody has decided about them they stay PERMISSIVE',
  identity: 'the same, with callers admitted by their principal',
};
const MOST_EXPOSED = 20;
const MOST_GROWN = 3;

/** A state that lets more pairs through than the one before, which nobody expects, says to where. */
function grownSince(before: Reach | NotCounted | undefined, now: Reach): string {
  if (before?.kind !== 'counted' || now.reachable <= before.reachable) return '';
  const had = new Map(before.exposed.map((one) => [one.workload, one.from]));
  const grown = now.exposed
    .map(({ workload, from }) => ({ workload, by: from - (had.get(workload) ?? 0) }))
    .filter(({ by }) => by > 0)
    .sort((a, b) => b.by - a.by || compareText(a.workload, b.workload));
  const named = grown.slice(0, MOST_GROWN).map(({ workload, by }) => `${workload} (${by} more)`);
  const more = grown.length > MOST_GROWN ? ` and ${plural(grown.length - MOST_GROWN, 'workload')} besides` : '';
  return named.length === 0 ? '' : `; more pairs than before, into ${named.join(', ')}${more}`;
}

function surfaceSection(
  view: ReportInput['view'],
  reach: ReadonlyMap<PhaseName, Reach | NotCounted>,
  assumed: AssumedStates,
): SurfaceSection {
  const workloads = view.inventory.workloads.length;
  const pairs = workloads * Math.max(0, workloads - 1);
  const now = reach.get('none');
  const { cni } = view.inventory.facts;
  const doubtful = cni.enforces === 'unknown' ? ', if the CNI enforces policies, which is not known' : '';
  return {
    pairs,
    method:
      'ordered pairs of different workloads of which the source may open some port of the destination, by every policy that is evaluated, the mesh included; connections of nodes, of the API server and of the outside are not pairs of workloads',
    states: PHASES.map((phase): SurfaceState => {
      const found = reach.get(phase);
      const state = phase === 'none' ? ('now' as const) : phase;
      // Candidates made of nothing would close everything, and look like safety.
      const blind = view.evidence.first === undefined && phaseIndex(phase) > phaseIndex('monitor');
      if (found?.kind !== 'counted' || blind)
        return {
          state,
          reachable: null,
          unknown: null,
          share: null,
          because: blind
            ? 'no traffic is on record, so what the phase would have to leave open is not known'
            : found?.kind === 'not-counted'
              ? found.because
              : (assumed.noMesh ?? 'not computed'),
        };
      return {
        state,
        reachable: found.reachable,
        unknown: found.unknown,
        share: pairs === 0 ? null : round(found.reachable / pairs, 6),
        because: `${SAID[phase]}${grownSince(reach.get(PHASES[phaseIndex(phase) - 1] ?? 'none'), found)}${doubtful}${found.doubt === undefined ? '' : `; what is not judged is so most often for this reason: ${found.doubt}`}`,
      };
    }),
    mostExposed: now?.kind === 'counted' ? now.exposed.slice(0, MOST_EXPOSED) : [],
  };
}

function tenantsSection(placed: Placed, tenancy: Tenancy, world: World, isolation: Isolation): TenantsSection {
  const between = new Map<string, { from: string; to: string; edges: number[] }>();
  const tenantOf = (id: string): string | undefined => tenancy.of.get(id.slice(0, Math.max(0, id.indexOf('/'))));
  placed.rows.forEach(({ edge }, index) => {
    if (edge.src.kind !== 'workload' || edge.dst.kind !== 'workload') return;
    const [from, to] = [tenantOf(edge.src.id), tenantOf(edge.dst.id)];
    if (from === undefined || to === undefined || from === to) return;
    const key = `${from}\n${to}`;
    const known = between.get(key);
    if (known === undefined) between.set(key, { from, to, edges: [index] });
    else known.edges.push(index);
  });
  const counted = tenancy.tenants.length < 2 ? undefined : countBetween(world, tenantOf);
  // Without traffic there may still be a way: nothing isolates a workload of either.
  const open = (name: string, side: ReadonlySet<string>): number =>
    placed.workloads.filter((one) => tenancy.of.get(one.namespace) === name && !side.has(one.id)).length;
  const leaks: TenantLeak[] = [];
  for (const from of tenancy.tenants)
    for (const to of tenancy.tenants) {
      if (from.name === to.name) continue;
      const edges = between.get(`${from.name}\n${to.name}`)?.edges ?? [];
      const exact = counted?.get(`${from.name}\n${to.name}`) ?? (counted === undefined ? null : 0);
      const ways = exact ?? open(from.name, isolation.egress) * open(to.name, isolation.ingress);
      if (edges.length === 0 && ways === 0) continue;
      leaks.push({ from: from.name, to: to.name, edges, reachablePairs: exact, pairs: from.workloads * to.workloads });
    }
  leaks.sort((a, b) => b.edges.length - a.edges.length || compareText(a.from, b.from) || compareText(a.to, b.to));
  const { tenants, unassigned, shared, because } = tenancy;
  return { tenants, leaks, unassigned, shared, because };
}

function methodOf(assumed: AssumedStates): readonly string[] {
  return [
    'The gates of a phase are those that sallyport plan asks, answered in the state that the phase before would leave if every namespace that is no system namespace had reached it; the next phase of a namespace is judged as things are.',
    'The edges of each phase are judged at its end. The steps on the way are simulated one by one by sallyport plan NAMESPACE, whose answer counts.',
    'Pods that run without a sidecar are taken to be replaced when their workload joins.',
    ...(assumed.noMesh === undefined ? [] : [`Phases of the mesh were not judged: ${assumed.noMesh}.`]),
  ];
}

/** Connections that a source saw denied, of edges that an object of Sallyport's denies now. */
function prevented(
  own: readonly string[],
  edges: readonly Edge[],
  verdicts: ReadonlyMap<string, ConnectionVerdict>,
): number {
  const mine = new Set(own);
  return edges.reduce((sum, edge) => {
    const verdict = verdicts.get(edge.id);
    const by =
      verdict?.answer === 'denied' &&
      verdict.reasons.some((one) => one.decision === 'denies' && one.object !== undefined && mine.has(one.object));
    return by ? sum + (edge.verdicts.denied ?? 0) : sum;
  }, 0);
}

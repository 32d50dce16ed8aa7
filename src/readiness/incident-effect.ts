import type { View } from '../engine/contract.ts';
import type { Edge, Endpoint } from '../model/edge.ts';
import { endpointKey, formatEdge } from '../model/edge.ts';
import { changedConnections } from '../model/connectivity.ts';
import { compileWorld } from '../model/evaluate.ts';
import type { Finding } from '../model/finding.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { refKey, refOf } from '../model/object.ts';
import { applyToObjects } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { judgeEdges } from '../plan/simulate.ts';

/** An edge on record that a playbook cuts. */
export interface CutEdge {
  readonly edge: string;
  readonly text: string;
  readonly count: number;
  readonly last: number;
}

/** What a playbook does to who can connect to whom, by the evaluator, before it is done. */
export interface IncidentEffect {
  /** Edges on record of what the incident is about that are denied afterwards, and were not. */
  readonly cut: readonly CutEdge[];
  /** Edges on record of others that are denied afterwards, and were not. A playbook with any is refused. */
  readonly beyond: readonly CutEdge[];
  /** Edges of what the incident is about that are not denied afterwards. */
  readonly open: readonly CutEdge[];
  /** Pairs of workloads, neither of them what the incident is about, that lose a port, whatever they gain besides. */
  readonly pairsBeyond: readonly string[];
  /** Pairs that gain a port, whatever they lose besides. */
  readonly pairsOpened: readonly string[];
}

/** A playbook, ready to be shown or carried out. */
export interface Playbook {
  readonly steps: readonly Step[];
  /** Errors forbid it. */
  readonly findings: readonly Finding[];
  readonly effect: IncidentEffect;
  /** For people: what follows from it, and what it does not do. */
  readonly remarks: readonly string[];
  /** What a person does besides, as commands. */
  readonly byHand: readonly string[];
}

export const NO_EFFECT: IncidentEffect = { cut: [], beyond: [], open: [], pairsBeyond: [], pairsOpened: [] };

/** The snapshot after steps; pods whose labels no longer match their owner stand for themselves, as their controller lets go of them. */
export function snapshotAfter(
  snapshot: Snapshot,
  steps: readonly Step[],
  orphans: ReadonlySet<string> = new Set(),
): Snapshot {
  let objects: readonly KubeManifest[] = snapshot.objects;
  for (const { change } of steps) objects = applyToObjects(objects, change);
  if (orphans.size > 0)
    objects = objects.map((object) => {
      if (!orphans.has(refKey(refOf(object)))) return object;
      const metadata = Object.fromEntries(Object.entries(object.metadata).filter(([key]) => key !== 'ownerReferences'));
      return { ...object, metadata: metadata as KubeManifest['metadata'] };
    });
  return { ...snapshot, objects };
}

/**
 * Judges every edge on record, and every pair of workloads, before and after. `isAbout` says whether an edge is of what the incident is about;
 * `moved` maps an endpoint of the record to the one that stands for it afterwards (a pod taken out of its workload).
 */
export function effectOf(
  view: View,
  after: Inventory,
  isAbout: (src: Endpoint, dst: Endpoint) => boolean,
  moved: (edge: Edge) => readonly Edge[] = (edge) => [edge],
): IncidentEffect {
  const before = judgeEdges(view.inventory, view.edges);
  const now = view.edges.flatMap((edge) => moved(edge).map((one) => ({ edge, one })));
  // Ids tell verdicts apart: an edge that stands for several pods gets one each.
  const judged = judgeEdges(
    after,
    now.map(({ one }, index) => ({ ...one, id: String(index) })),
  );
  const cut = new Map<string, CutEdge>();
  const beyond = new Map<string, CutEdge>();
  const open = new Map<string, CutEdge>();
  for (const [index, { edge, one }] of now.entries()) {
    const was = before.get(edge.id)?.answer;
    const is = judged.get(String(index))?.answer;
    const said: CutEdge = { edge: edge.id, text: formatEdge(edge), count: edge.count, last: edge.last };
    const about = isAbout(one.src, one.dst);
    if (about && is !== 'denied') open.set(edge.id, said);
    if (is === 'denied' && was !== 'denied') (about ? cut : beyond).set(edge.id, said);
  }
  const pairsBeyond: string[] = [];
  const pairsOpened: string[] = [];
  const known = new Set(view.inventory.workloads.map(({ id }) => id));
  const workload = (id: string): Endpoint => ({ kind: 'workload', id });
  for (const { src, dst, before: was, after: is } of changedConnections(
    compileWorld(view.inventory),
    compileWorld(after),
    {
      mesh: view.inventory.facts.mesh.kind === 'istio',
    },
  )) {
    if (!known.has(src) || !known.has(dst)) continue;
    // Told apart: a pair whose ports change from some to others both gains and loses.
    if (!covers(was.allowed, is.allowed)) pairsOpened.push(`${src} -> ${dst}`);
    if (!covers(is.allowed, was.allowed) && !isAbout(workload(src), workload(dst)))
      pairsBeyond.push(`${src} -> ${dst}`);
  }
  return { cut: sorted(cut), beyond: sorted(beyond), open: sorted(open), pairsBeyond, pairsOpened };
}

interface Ports {
  readonly protocol: string;
  readonly from: number;
  readonly to: number;
}

/** Is every port of `some` one of `all`? Ranges of one side are never adjacent (model/port-set.ts), so one range holds another or they differ. */
function covers(all: readonly Ports[], some: readonly Ports[]): boolean {
  return some.every((one) =>
    all.some(({ protocol, from, to }) => protocol === one.protocol && from <= one.from && one.to <= to),
  );
}

function sorted(edges: ReadonlyMap<string, CutEdge>): readonly CutEdge[] {
  return [...edges.values()].sort((a, b) => b.count - a.count || (a.text < b.text ? -1 : 1));
}

export function isEndpoint(endpoint: Endpoint, workload: string): boolean {
  return endpointKey(endpoint) === endpointKey({ kind: 'workload', id: workload });
}

/** What forbids any playbook: it reaches beyond what it is about, or opens something. */
export function effectFindings(subject: string, effect: IncidentEffect): readonly Finding[] {
  const beyond = [...effect.beyond.map(({ text }) => text), ...effect.pairsBeyond];
  return [
    ...(beyond.length === 0
      ? []
      : [
          {
            code: 'SP392',
            severity: 'error' as const,
            subject,
            message: `It would cut others as well: ${beyond.slice(0, 5).join('; ')}${beyond.length > 5 ? ` and ${beyond.length - 5} more` : ''}`,
            hint: 'Name another kind of policy with --with.',
          },
        ]),
    ...(effect.pairsOpened.length === 0
      ? []
      : [
          {
            code: 'SP392',
            severity: 'error' as const,
            subject,
            message: `It would open connections: ${effect.pairsOpened.slice(0, 5).join('; ')}`,
            hint: 'Name another kind of policy with --with.',
          },
        ]),
  ];
}

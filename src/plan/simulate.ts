import { compileWorld, evaluateConnection } from '../model/evaluate.ts';
import type { ConnectionVerdict } from '../model/evaluate.ts';
import type { Edge } from '../model/edge.ts';
import { endpointKey, endpointNamespace, formatEdge } from '../model/edge.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import { formatRef, groupOf, isObject, namespaceOf, refOf } from '../model/object.ts';
import { isOwn } from '../objects/build.ts';
import { plural } from '../shared/pure/text.ts';
import { applyToObjects, changeRef } from './change.ts';
import type { EdgeVerdict, Step } from './plan.ts';

/** A state on the way: the objects, and what they amount to. */
export interface State {
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
}

export type Rebuild = (snapshot: Snapshot) => Inventory;

/**
 * The state after a step. Where pods are replaced, the old ones are taken out, so that the new ones are judged by their template and
 * the mesh's rules of injection.
 */
export function stateAfter(state: State, step: Step, rebuild: Rebuild): State {
  let objects = applyToObjects(state.snapshot.objects, step.change);
  const replaced = new Set(step.effects.filter((effect) => effect.kind === 'rollout').map((effect) => effect.workload));
  if (replaced.size > 0) {
    const gone = new Set(
      state.inventory.workloads
        .filter((workload) => replaced.has(workload.id))
        .flatMap((workload) =>
          workload.podSets.flatMap((podSet) => podSet.pods.map((pod) => `${workload.namespace}/${pod.name}`)),
        ),
    );
    objects = objects.filter(
      (object) => !(isObject(object, '', 'Pod') && gone.has(`${namespaceOf(object) ?? ''}/${object.metadata.name}`)),
    );
  }
  const snapshot: Snapshot = { ...state.snapshot, objects };
  return { snapshot, inventory: rebuild(snapshot) };
}

export type Verdicts = ReadonlyMap<string, ConnectionVerdict>;

/** Edges with a request on record for the same pair and port: the bare connection is judged through them where only a request can be. */
function withRequests(edges: readonly Edge[]): ReadonlySet<string> {
  return new Set(edges.filter((edge) => edge.l7 !== undefined).map(pairKey));
}

function pairKey(edge: Edge): string {
  return `${endpointKey(edge.src)}\n${endpointKey(edge.dst)}\n${edge.protocol}\n${edge.port}`;
}

/** Judges every edge in one state. */
export function judgeEdges(inventory: Inventory, edges: readonly Edge[]): Verdicts {
  const world = compileWorld(inventory);
  const requests = withRequests(edges);
  const verdicts = new Map<string, ConnectionVerdict>();
  for (const edge of edges) {
    const verdict = evaluateConnection(world, edge);
    const throughRequests =
      verdict.answer === 'unknown' &&
      edge.l7 === undefined &&
      requests.has(pairKey(edge)) &&
      verdict.reasons.every((reason) => reason.decision !== 'unknown' || reason.layer === 'authorization');
    verdicts.set(edge.id, throughRequests ? { ...verdict, answer: 'allowed' } : verdict);
  }
  return verdicts;
}

/** How states are read: what their objects amount to, and which edges must then work. */
export interface Simulated {
  readonly rebuild: Rebuild;
  readonly edgesIn: (inventory: Inventory) => readonly Edge[];
}

export interface Simulation {
  readonly denied: readonly EdgeVerdict[];
  readonly unknown: readonly EdgeVerdict[];
  readonly states: number;
  readonly edges: number;
  readonly end: State;
}

/** Namespaces whose edges a step can change. */
export type Bearing = 'everywhere' | readonly string[];

/**
 * Where a step bears on connections: in the namespace being moved and that of the object written; everywhere where the object acts on the
 * whole cluster (policies without a namespace, Istio's objects in the mesh's root namespace).
 */
export function bearingOf(step: Pick<Step, 'namespace' | 'change'>, rootNamespace: string): Bearing {
  const { namespace, apiVersion, kind } = changeRef(step.change);
  const isMesh = groupOf(apiVersion).endsWith('istio.io');
  const everywhere =
    (namespace === undefined && kind !== 'Namespace' && groupOf(apiVersion) !== 'rbac.authorization.k8s.io') ||
    (namespace === rootNamespace && isMesh);
  return everywhere ? 'everywhere' : [step.namespace, ...(namespace === undefined ? [] : [namespace])];
}

/** Edges whose verdict can change there. */
function affected(edges: readonly Edge[], bearing: Bearing): readonly Edge[] {
  if (bearing === 'everywhere') return edges;
  const near = new Set(bearing);
  return edges.filter((edge) => {
    const [src, dst] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
    return (src !== undefined && near.has(src)) || (dst !== undefined && near.has(dst));
  });
}

/** Verdicts in the state before the first step, of the edges that the steps bear on; each is judged once, when it is first asked for. */
export interface Before {
  /** Judges the edges there. */
  judge(bearing: Bearing): void;
  readonly verdicts: Verdicts;
}

export function judgeBefore(inventory: Inventory, edges: readonly Edge[]): Before {
  const verdicts = new Map<string, ConnectionVerdict>();
  const done = new Set<string>();
  return {
    verdicts,
    judge(bearing) {
      const fresh = bearing === 'everywhere' ? [bearing] : bearing.filter((one) => !done.has(one));
      if (done.has('everywhere') || fresh.every((one) => done.has(one))) return;
      // An edge and its requests have the same ends: they are all there, or none is.
      const near = affected(edges, bearing === 'everywhere' ? bearing : fresh).filter(({ id }) => !verdicts.has(id));
      for (const [id, verdict] of judgeEdges(inventory, near)) verdicts.set(id, verdict);
      for (const one of fresh) done.add(one);
    },
  };
}

/**
 * Passes through every intermediate state and judges the edges in each. An edge that was denied before the first step is not this
 * plan's doing; one that becomes denied anywhere on the way is, and is reported with the step that does it. What cannot be judged is
 * reported once, whether or not it could be before. Edges that no step bears on are not judged, and not counted.
 */
export function simulate(
  start: State,
  steps: readonly Step[],
  world: Simulated,
  before: Before = judgeBefore(start.inventory, world.edgesIn(start.inventory)),
): Simulation {
  const denied = new Map<string, EdgeVerdict>();
  const unknown = new Map<string, EdgeVerdict>();
  const judged = new Set<string>();
  let state = start;
  for (const step of steps) {
    state = stateAfter(state, step, world.rebuild);
    const bearing = bearingOf(step, state.inventory.facts.mesh.rootNamespace);
    before.judge(bearing);
    const near = affected(world.edgesIn(state.inventory), bearing);
    for (const edge of near) judged.add(edge.id);
    const now = judgeEdges(state.inventory, near);
    for (const edge of near) {
      const verdict = now.get(edge.id);
      if (verdict === undefined || verdict.answer === 'allowed') continue;
      if (verdict.answer === 'denied' && before.verdicts.get(edge.id)?.answer === 'denied') continue;
      const list = verdict.answer === 'denied' ? denied : unknown;
      if (!list.has(edge.id)) list.set(edge.id, describeVerdict(step.id, edge, verdict));
    }
  }
  for (const id of before.verdicts.keys()) judged.add(id);
  return {
    denied: [...denied.values()],
    unknown: [...unknown.values()],
    states: steps.length,
    edges: judged.size,
    end: state,
  };
}

/** Edges that an object of Sallyport's own denies in a state. */
export function deniedByOwn(inventory: Inventory, edges: readonly Edge[], verdicts: Verdicts): readonly Edge[] {
  const own = new Set(inventory.policies.filter(isOwn).map((policy) => formatRef(refOf(policy))));
  return edges.filter((edge) => {
    const verdict = verdicts.get(edge.id);
    return (
      verdict?.answer === 'denied' &&
      verdict.reasons.some(
        (reason) => reason.decision === 'denies' && reason.object !== undefined && own.has(reason.object),
      )
    );
  });
}

export function describeVerdict(step: string, edge: Edge, verdict: ConnectionVerdict): EdgeVerdict {
  const decisive = verdict.reasons.filter((reason) =>
    verdict.answer === 'denied' ? reason.decision === 'denies' : reason.decision === 'unknown',
  );
  return {
    step,
    edge: edge.id,
    text: formatEdge(edge),
    answer: verdict.answer === 'denied' ? 'denied' : 'unknown',
    reasons: decisive.map((reason) => reason.text),
    evidence:
      edge.origin.kind === 'declared'
        ? `declared by ${edge.origin.by}`
        : `seen ${edge.count}x on ${plural(edge.days.length, 'day')}, last ${new Date(edge.last).toISOString()}, by ${edge.sources.join(', ')}`,
  };
}

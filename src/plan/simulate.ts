import type { ConnectionVerdict } from '../model/evaluate.ts';
import type { Edge } from '../model/edge.ts';
import { formatEdge } from '../model/edge.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import { formatRef, groupOf, isObject, namespaceOf, refOf } from '../model/object.ts';
import { isOwn } from '../objects/build.ts';
import { plural } from '../shared/pure/text.ts';
import { applyToObjects, changeRef } from './change.ts';
import type { Bearing, Judge, Judged, Verdicts } from './judge.ts';
import { openJudge } from './judge.ts';
import type { EdgeVerdict, Step } from './plan.ts';

export type { Bearing, Verdicts } from './judge.ts';
export { judgeEdges } from './judge.ts';

/** A state on the way: the objects, and what they amount to. */
export interface State {
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
}

export type Rebuild = (snapshot: Snapshot, from?: Snapshot) => Inventory;

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
    if (gone.size > 0)
      objects = objects.filter(
        (object) => !(isObject(object, '', 'Pod') && gone.has(`${namespaceOf(object) ?? ''}/${object.metadata.name}`)),
      );
  }
  const snapshot: Snapshot = { ...state.snapshot, objects };
  return { snapshot, inventory: rebuild(snapshot, state.snapshot) };
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

/** The states that steps lead through, without the objects of those between: what is judged, and where they end. */
export interface Passage {
  /** One a step. */
  readonly inventories: readonly Inventory[];
  readonly end: State;
}

/** Passes through every intermediate state. */
export function passThrough(start: State, steps: readonly Step[], world: Simulated): Passage {
  const inventories: Inventory[] = [];
  let state = start;
  for (const step of steps) {
    state = stateAfter(state, step, world.rebuild);
    // What a state declares may be a matter of more of the record.
    world.edgesIn(state.inventory);
    inventories.push(state.inventory);
  }
  return { inventories, end: state };
}

/**
 * Passes through every intermediate state and judges the edges in each. An edge that was denied before the first step is not this
 * plan's doing; one that becomes denied anywhere on the way is, and is reported with the step that does it. What cannot be judged is
 * reported once, whether or not it could be before. Edges that no step bears on are not judged, and not counted.
 */
export function simulate(start: State, steps: readonly Step[], world: Simulated): Simulation {
  const passage = passThrough(start, steps, world);
  const within = bearingOfAll([{ steps, passage }]);
  return judgePassage(passage, steps, world, openJudge(start.inventory, world.edgesIn(start.inventory), within));
}

/** Where any of these steps bears. */
export function bearingOfAll(
  parts: readonly { readonly steps: readonly Step[]; readonly passage: Passage }[],
): Bearing {
  const found = parts.flatMap(({ steps, passage }) =>
    steps.map((step, at) => bearingOf(step, passage.inventories[at]?.facts.mesh.rootNamespace ?? '')),
  );
  return found.includes('everywhere') ? 'everywhere' : [...new Set(found.flat())];
}

/** The same of states that were passed through before. With a judge that has seen earlier states, what stands from there is not reported again. */
export function judgePassage(
  { inventories, end }: Passage,
  steps: readonly Step[],
  world: Pick<Simulated, 'edgesIn'>,
  judge: Judge,
): Simulation {
  const denied = new Map<string, EdgeVerdict>();
  const unknown = new Map<string, EdgeVerdict>();
  judge.begin();
  for (const [at, step] of steps.entries()) {
    const inventory = inventories[at];
    if (inventory === undefined) break;
    const bearing = bearingOf(step, inventory.facts.mesh.rootNamespace);
    judge.judge(bearing);
    const edges = world.edgesIn(inventory);
    const found = judge.next(inventory, edges, bearing).filter(({ edge, verdict }) => {
      if (verdict.answer === 'allowed') return false;
      if (verdict.answer === 'denied' && judge.before.get(edge.id)?.answer === 'denied') return false;
      return !(verdict.answer === 'denied' ? denied : unknown).has(edge.id);
    });
    for (const { edge, verdict } of inOrderOf(edges, found))
      (verdict.answer === 'denied' ? denied : unknown).set(edge.id, describeVerdict(step.id, edge, verdict));
  }
  return {
    denied: [...denied.values()],
    unknown: [...unknown.values()],
    states: steps.length,
    edges: new Set([...judge.near, ...judge.before.keys()]).size,
    end,
  };
}

/** What was judged in the order of the edges. */
function inOrderOf(edges: readonly Edge[], found: readonly Judged[]): readonly Judged[] {
  if (found.length < 2) return found;
  const byEdge = new Map(found.map((one) => [one.edge, one]));
  return edges.flatMap((edge) => byEdge.get(edge) ?? []);
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

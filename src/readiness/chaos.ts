import type { AppliedStep, View } from '../engine/contract.ts';
import { CHAOS_STEP } from '../model/chaos.ts';
import { formatEdge } from '../model/edge.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, formatRef, isObject, labelsOf, namespaceOf, refKey, refOf } from '../model/object.ts';
import { workloadById } from '../model/inventory-index.ts';
import { checkDrift } from '../plan/drift.ts';
import type { Change } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { judgeEdges } from '../plan/simulate.ts';
import { asArray, asString, getPath } from '../shared/pure/json.ts';
import type { FieldPath, Json } from '../shared/pure/json.ts';
import { effectOf, snapshotAfter } from './incident-effect.ts';
import { keptEdges } from './view.ts';

/** On a Namespace, as annotation or label, with the value `allowed`: experiments may be made in it. */
export const CHAOS_KEY = 'sallyport.dev/chaos';

const ARROW = ' -> ';

/** `remove`: the object is gone for a while. `loosen`: it is there, and lets everybody. */
export const CHAOS_WAYS = ['remove', 'loosen'] as const;
export type ChaosWay = (typeof CHAOS_WAYS)[number];

/** One experiment, simulated. */
export interface Experiment {
  readonly object: string;
  readonly how: ChaosWay;
  readonly step: Step;
  /** Pairs that can connect on more ports meanwhile. */
  readonly opens: readonly string[];
  /** Why it must not be made: what it would close or leave untold. Empty where it only opens. */
  readonly refused: readonly string[];
}

/** Did the owner of the namespace opt in? */
export function allowsChaos(namespace: KubeManifest | undefined): boolean {
  if (namespace === undefined) return false;
  return annotationsOf(namespace)[CHAOS_KEY] === 'allowed' || labelsOf(namespace)[CHAOS_KEY] === 'allowed';
}

/**
 * Every experiment there is in the view's namespace: objects that Sallyport made, that are in force and as it left them. Judged on every edge on record
 * and every pair of workloads: a removal that closes anything (the policy of an isolated pod that allows) is refused, so is one that opens nothing,
 * since nothing would be learnt, and so is one that opens the way into another namespace, whose owners were not asked.
 */
export function planChaos(view: View, hows: readonly ChaosWay[] = CHAOS_WAYS): readonly Experiment[] {
  const live = new Map(view.snapshot.objects.map((object) => [refKey(refOf(object)), object]));
  return hows.flatMap((how) =>
    made(view).flatMap((applied): readonly Experiment[] => {
      const object = applied.change.kind === 'create' ? live.get(refKey(refOf(applied.change.object))) : undefined;
      const change = object === undefined ? undefined : changeOf(object, how);
      if (object === undefined || change === undefined) return [];
      const name = formatRef(refOf(object));
      const step: Step = {
        id: `${CHAOS_STEP}${how}-${object.kind.toLowerCase()}-${object.metadata.name}`,
        namespace: view.namespace,
        // Of no phase: what is taken away comes back by itself, and no phase is left.
        phase: 'none',
        operation: change.kind,
        title: how === 'remove' ? `take ${name} away for a while` : `let ${name} allow everybody for a while`,
        change,
        effects: [],
        risks: ['what connects meanwhile stays open as long as it lives'],
      };
      const drift = checkDrift(
        view.applied.filter(({ change: one }) => one.kind !== 'delete' && refKeyOf(one) === refKey(refOf(object))),
        [object],
        view.resolved,
      );
      return [{ object: name, how, step, ...judge(view, step, drift.length) }];
    }),
  );
}

/**
 * Steps in force that made an object of the namespace, the newest of each object. It is the object's own namespace that counts: the step of a pattern is
 * recorded under the namespace it was asked for, and writes into others and for the whole cluster.
 */
function made(view: View): readonly AppliedStep[] {
  const found = new Map<string, AppliedStep>();
  for (const applied of view.applied)
    if (
      applied.namespace === view.namespace &&
      applied.step.grant === undefined &&
      applied.step.phase !== 'none' &&
      applied.change.kind === 'create' &&
      namespaceOf(applied.change.object) === view.namespace
    )
      found.set(refKey(refOf(applied.change.object)), applied);
  return [...found.values()];
}

function refKeyOf(change: Change): string {
  return refKey(change.kind === 'create' ? refOf(change.object) : change.ref);
}

/** The write, or undefined where the kind knows no such thing. */
function changeOf(object: KubeManifest, how: ChaosWay): Change | undefined {
  const uid = asString(object.metadata['uid']);
  const ref = refOf(object);
  if (how === 'remove') return { kind: 'delete', ref, ...(uid === undefined ? {} : { uid }), before: object };
  const field = looser(object);
  if (field === undefined) return undefined;
  const [path, after] = field;
  return {
    kind: 'edit',
    ref,
    ...(uid === undefined ? {} : { uid }),
    fields: [{ path, before: getPath(object, path), after }],
    owner: 'sallyport',
  };
}

/** The field by which an object lets everybody: a rule without peers and ports (NetworkPolicy), mTLS that is not asked for (PeerAuthentication). */
function looser(object: KubeManifest): readonly [FieldPath, Json] | undefined {
  if (isObject(object, 'networking.k8s.io', 'NetworkPolicy')) {
    const types = asArray(getPath(object, ['spec', 'policyTypes']));
    const [only] = types;
    return types.length === 1 ? [['spec', only === 'Egress' ? 'egress' : 'ingress'], [{}]] : undefined;
  }
  if (
    isObject(object, 'security.istio.io', 'PeerAuthentication') &&
    getPath(object, ['spec', 'mtls', 'mode']) === 'STRICT'
  )
    return [['spec', 'mtls', 'mode'], 'PERMISSIVE'];
  return undefined;
}

function judge(view: View, step: Step, drifted: number): Pick<Experiment, 'opens' | 'refused'> {
  const after = view.rebuild(snapshotAfter(view.snapshot, [step]));
  const effect = effectOf(view, after, () => false);
  const kept = keptEdges(view.edges);
  const [was, is] = [judgeEdges(view.inventory, kept), judgeEdges(after, kept)];
  const untold = kept.filter((edge) => is.get(edge.id)?.answer === 'unknown' && was.get(edge.id)?.answer !== 'unknown');
  const refused = [
    ...(drifted === 0 ? [] : ['it is not as Sallyport left it']),
    ...effect.beyond.map(({ text }) => `it would deny ${text}, which is on record`),
    ...effect.pairsBeyond.map((pair) => `it would close ${pair}`),
    ...effect.pairsOpened
      .filter((pair) => !leadsInto(view, pair))
      .map((pair) => `it would open ${pair}, into a namespace that was not asked`),
    ...untold.map((edge) => `of ${formatEdge(edge)} could not be told whether it passes`),
    ...(effect.pairsOpened.length === 0 ? ['it opens nothing, so nobody could notice by traffic what is missing'] : []),
  ];
  return { opens: effect.pairsOpened, refused };
}

/** Does a pair, as the effect names it, end in the view's namespace? What cannot be told does not. */
function leadsInto(view: View, pair: string): boolean {
  const id = pair.slice(pair.lastIndexOf(ARROW) + ARROW.length);
  return workloadById(view.inventory, id)?.namespace === view.namespace;
}

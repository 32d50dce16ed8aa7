import type { Edge } from '../model/edge.ts';
import type { ConnectionVerdict } from '../model/evaluate.ts';
import { worldOf } from '../model/evaluate.ts';
import type { Inventory } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { refKey, refOf } from '../model/object.ts';
import { touchedConnections } from '../model/world-touch.ts';
import { compareText } from '../shared/pure/order.ts';
import { judgeEdges } from './judge.ts';

/** An edge on record whose answer a change of policies turns. */
export interface TurnedEdge {
  readonly edge: Edge;
  readonly before: ConnectionVerdict;
  readonly after: ConnectionVerdict;
}

/** What a change of policies does to the traffic on record. */
export interface PolicyChange {
  /** Denied afterwards, and not before. */
  readonly denied: readonly TurnedEdge[];
  /** Cannot be judged afterwards, and could be before. */
  readonly unknown: readonly TurnedEdge[];
  /** Allowed afterwards, and denied or not judged before. */
  readonly mended: readonly TurnedEdge[];
  /** Denied before and after: not this change's doing. */
  readonly deniedAnyway: number;
  readonly judged: number;
}

/** Judges edges in two states of a cluster that differ in their policies. Of each list the most frequent first. */
export function judgePolicyChange(before: Inventory, after: Inventory, edges: readonly Edge[]): PolicyChange {
  const then = judgeEdges(before, edges);
  // An edge and its requests have the same ends: they are touched together.
  const touched = touchedConnections(worldOf(before), worldOf(after), edges);
  const turnedTo = judgeEdges(after, touched);
  const turned = touched.flatMap((edge): readonly TurnedEdge[] => {
    const [was, is] = [then.get(edge.id), turnedTo.get(edge.id)];
    return was === undefined || is === undefined || was.answer === is.answer ? [] : [{ edge, before: was, after: is }];
  });
  const byCount = turned.toSorted((a, b) => b.edge.count - a.edge.count || compareText(a.edge.id, b.edge.id));
  const to = (answer: ConnectionVerdict['answer']): readonly TurnedEdge[] =>
    byCount.filter(({ after: { answer: is } }) => is === answer);
  return {
    denied: to('denied'),
    unknown: to('unknown'),
    mended: to('allowed'),
    deniedAnyway: edges.filter(
      ({ id }) => then.get(id)?.answer === 'denied' && (turnedTo.get(id) ?? then.get(id))?.answer === 'denied',
    ).length,
    judged: edges.length,
  };
}

/**
 * The policies of the cluster once a proposal is in force: those that it holds take the place of what has their name, and those that its
 * base held and it no longer does are gone. Without a base nothing goes.
 */
export function proposedPolicies(
  cluster: readonly KubeManifest[],
  proposed: readonly KubeManifest[],
  base: readonly KubeManifest[] = [],
): { readonly policies: readonly KubeManifest[]; readonly removed: readonly KubeManifest[] } {
  const key = (one: KubeManifest): string => refKey(refOf(one));
  const kept = new Set(proposed.map(key));
  const removed = base.filter((one) => !kept.has(key(one)));
  const gone = new Set(removed.map(key));
  const all = new Map(cluster.filter((one) => !gone.has(key(one))).map((one) => [key(one), one]));
  for (const one of proposed) all.set(key(one), one);
  return {
    policies: [...all].sort(([a], [b]) => compareText(a, b)).map(([, one]) => one),
    removed,
  };
}

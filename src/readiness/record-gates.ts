import type { View } from '../engine/contract.ts';
import type { EdgeKey } from '../model/edge.ts';
import { formatEdge } from '../model/edge.ts';
import { edgesTouching } from '../model/edge-index.ts';
import { UNREDIRECTED_PORTS, evaluateConnection, mtlsModeOf, worldOf } from '../model/evaluate.ts';
import type { ConnectionVerdict, World } from '../model/evaluate.ts';
import type { Gate } from '../model/finding.ts';
import { phaseIndex } from '../model/phase.ts';
import type { Sighting, WatchedStep } from '../plan/soak.ts';
import { edgeQuery, edgesMeant, indexKnown, judgesRequests, lastTouch } from '../plan/soak.ts';
import { gate, keptEdges, touches } from './view.ts';

/** What the record shows of one edge that it should not show. */
interface Contradiction {
  readonly kind: 'passes' | 'plaintext' | 'denied';
  readonly key: EdgeKey;
  readonly edge: string;
  readonly because: string;
  readonly count: number;
  readonly last: number;
  readonly where: string;
}

/**
 * What was recorded after the steps in force had time to act, and is not what they promise: a connection passes that the policies deny
 * (nobody enforces them, or late), plaintext passes to a workload that takes mTLS alone (a proxy kept its old configuration), or an edge
 * that must work is denied. `sightings` are records of signals; imports count where all that is known of an edge is newer.
 */
export function recordGates(view: View, sightings: readonly Sighting[]): readonly Gate[] {
  const phase = view.phases.get(view.namespace) ?? 'none';
  if (phaseIndex(phase) < phaseIndex('allow-list')) return [];
  const steps: readonly WatchedStep[] = view.applied
    .filter((applied) => applied.namespace === view.namespace)
    .map(({ step, at }) => ({ step, at }));
  const drainMs = view.config.soak.drainSeconds * 1000;
  const world = worldOf(view.inventory);
  // What a record can be about has its ends.
  const known = indexKnown(edgesTouching(keptEdges(view.edges), view.namespace).map((edge) => ({ edge })));
  const requestsJudged = judgesRequests(steps);
  const found = new Map<string, Contradiction>();
  const add = (one: Contradiction): void => {
    const id = `${one.kind} ${one.edge}`;
    const before = found.get(id);
    if (before === undefined) found.set(id, one);
    else {
      const newer = one.last >= before.last ? one : before;
      found.set(id, { ...newer, count: before.count + one.count });
    }
  };
  const verdicts = new Map<string, ConnectionVerdict>();
  const judge = (id: string, key: EdgeKey): ConnectionVerdict => {
    const before = verdicts.get(id);
    if (before !== undefined) return before;
    const made = evaluateConnection(world, key);
    verdicts.set(id, made);
    return made;
  };

  for (const sighting of [...sightings, ...importedSince(view, steps, drainMs)]) {
    const { key, id, count, where } = sighting;
    if (!touches(key, view.namespace)) continue;
    const touch = lastTouch(steps, key);
    if (touch === undefined || sighting.at <= touch.at + drainMs) continue;
    const base = { key, edge: id, count, last: sighting.at, where };
    if (sighting.verdict === 'denied') {
      for (const { edge } of edgesMeant(known, sighting, requestsJudged))
        add({ ...base, kind: 'denied', key: edge, edge: edge.id, because: `its last step was ${touch.step.id}` });
      continue;
    }
    if (sighting.verdict === 'unknown') continue;
    if (sighting.mtls === 'no' && takesMtlsAlone(world, view, key))
      add({
        ...base,
        kind: 'plaintext',
        because: 'the workload takes mTLS alone, by its configuration in the cluster',
      });
    if (!sighting.opens) continue;
    const because = deniedFor(judge(id, key), sighting);
    if (because !== undefined) add({ ...base, kind: 'passes', because });
  }
  return [...found.values()].map((one) => gateOf(view, one));
}

/**
 * The reason for which the connection should not have passed; undefined where this record does not contradict it. What leaves a pod may be
 * dropped on arrival; a connection that a proxy accepted is no request that it let through; and whether it spoke mTLS is for proxies to say.
 */
function deniedFor(verdict: ConnectionVerdict, sighting: Sighting): string | undefined {
  if (verdict.answer !== 'denied') return undefined;
  const byProxy = sighting.mtls !== 'unknown' || sighting.key.l7 !== undefined;
  return verdict.reasons.find(
    (reason) =>
      reason.decision === 'denies' &&
      (reason.layer === 'network-policy'
        ? sighting.view !== 'egress' || reason.direction === 'egress'
        : byProxy && sighting.view !== 'egress' && (reason.layer !== 'mtls' || sighting.mtls === 'no')),
  )?.text;
}

function takesMtlsAlone(world: World, view: View, { dst, port }: EdgeKey): boolean {
  if (dst.kind !== 'workload' || UNREDIRECTED_PORTS.has(port)) return false;
  const workload = view.inventory.workloads.find(({ id }) => id === dst.id);
  if (workload === undefined || !workload.podSets.every(({ mesh }) => mesh === 'sidecar')) return false;
  return mtlsModeOf(world, dst.id, port).mode === 'STRICT';
}

/** Imported edges of the namespace of which everything is newer than the steps that touch them: of others it is not known what of them is. */
function importedSince(view: View, steps: readonly WatchedStep[], drainMs: number): readonly Sighting[] {
  return edgesTouching(view.edges, view.namespace).flatMap((edge): readonly Sighting[] => {
    if (edge.origin.kind !== 'observed' || edge.count === 0) return [];
    const touch = lastTouch(steps, edge);
    if (touch === undefined) return [];
    const base = {
      key: edge,
      id: edge.id,
      view: 'unknown' as const,
      opens: true,
      source: edge.sources.join(', '),
      where: `on record, ${edge.sources.join(', ')}`,
    };
    const since = touch.at + drainMs;
    const passed = (edge.verdicts.allowed ?? 0) + (edge.verdicts.audit ?? 0);
    if (edge.first > since && passed > 0)
      return [{ ...base, at: edge.last, verdict: 'allowed', mtls: edge.mtls, count: passed }];
    if (edge.lastPlaintext === undefined || edge.lastPlaintext <= since) return [];
    return [{ ...base, opens: false, at: edge.lastPlaintext, verdict: 'allowed', mtls: 'no', count: 1 }];
  });
}

function gateOf(view: View, { kind, key, edge, because, count, last, where }: Contradiction): Gate {
  const seen = `seen ${count}x since, last ${new Date(last).toISOString()} (${where})`;
  switch (kind) {
    case 'passes':
      return gate(
        'enforcement',
        'no',
        edge,
        [formatEdge(key), 'it passes, and the policies in the cluster deny it', because, seen],
        'the policy engine or the proxy of that pod has not taken the policy: look at its agent on that node, or istioctl proxy-status; then sallyport verify again',
      );
    case 'plaintext':
      return gate(
        'plaintext',
        'no',
        edge,
        [formatEdge(key), 'plaintext passes', because, seen],
        'the proxy has kept an older configuration: istioctl proxy-status shows it as STALE or rejected; restart the pod or mend what it rejects, then sallyport verify again',
      );
    case 'denied':
      return gate(
        'denies-observed',
        'no',
        edge,
        [formatEdge(key), 'an edge that must work is denied', because, seen],
        `sallyport accept ${edgeQuery(key)} --reason "..." if it may be cut; otherwise sallyport rollback ${view.namespace}`,
      );
  }
}

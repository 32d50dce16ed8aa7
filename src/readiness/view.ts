import { isWaypoint, withWaypoints } from '../candidates/waypoints.ts';
import type { CandidateContext } from '../candidates/network.ts';
import { findSystemPeers } from '../candidates/system.ts';
import type { View } from '../engine/contract.ts';
import { waives } from '../flows/decide.ts';
import type { Decision } from '../model/decision.ts';
import type { Edge } from '../model/edge.ts';
import { endpointNamespace, hasPassed } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import type { Workload } from '../model/inventory.ts';
import { workloadsIn } from '../model/inventory-index.ts';
import { isObject } from '../model/object.ts';
import { groupBy } from '../shared/pure/order.ts';

/**
 * The edges that must keep working: seen to pass, stated by configuration beyond doubt, or adopted; and not accepted to be cut.
 * Unreviewed ones count: nobody has said that they may go.
 */
export function keptEdges(edges: readonly Edge[]): readonly Edge[] {
  const known = kept.get(edges);
  if (known !== undefined) return known;
  const found = edges.filter(
    (edge) =>
      edge.review !== 'to-be-cut' &&
      hasPassed(edge) &&
      (edge.origin.kind === 'observed' || edge.origin.strength === 'strong' || edge.review === 'legitimate'),
  );
  kept.set(edges, found);
  return found;
}

/** By the list that was asked about: it is the same in most states of a plan. */
const kept = new WeakMap<readonly Edge[], readonly Edge[]>();

export function touches(edge: Pick<Edge, 'src' | 'dst'>, namespace: string): boolean {
  return endpointNamespace(edge.src) === namespace || endpointNamespace(edge.dst) === namespace;
}

export function workloadsOf(view: View): readonly Workload[] {
  return workloadsIn(view.inventory, view.namespace);
}

/** The waiver of a gate for a subject, if a person gave one: the newest. */
export function waiverFor(view: View, gate: string, subject: string): string | undefined {
  const found = waiversOf(view.decisions)
    .get(gate)
    ?.findLast((one) => waives(one, gate, subject, view.namespace));
  return found === undefined ? undefined : `${found.reason} (${found.by})`;
}

const waivers = new WeakMap<readonly Decision[], ReadonlyMap<string, readonly Decision[]>>();

/** Waivers by their gate: nearly all decisions are about edges, and each candidate asks of each of its ports. */
function waiversOf(decisions: readonly Decision[]): ReadonlyMap<string, readonly Decision[]> {
  const known = waivers.get(decisions);
  if (known !== undefined) return known;
  const found = groupBy(
    decisions.filter(({ action, query }) => action === 'waive' && query.gate !== undefined),
    ({ query }) => query.gate ?? '',
  );
  waivers.set(decisions, found);
  return found;
}

/** The gate with the configuration's "off" and the waivers taken into account. */
export function settleGate(view: View, gate: Gate): Gate {
  if (gate.answer === 'yes') return gate;
  const settings: Readonly<Record<string, unknown>> = view.config.gates;
  if (Object.hasOwn(settings, gate.id) && settings[gate.id] === 'off')
    return { ...gate, answer: 'yes', facts: [...gate.facts, 'switched off in the configuration'], fix: '' };
  const reason = waiverFor(view, gate.id, gate.subject);
  return reason === undefined ? gate : { ...gate, answer: 'yes', waived: reason, fix: '' };
}

/** What the candidates are derived from, in the state of `view`. `joining` are workloads whose proxies are about to start. */
export function candidateContext(view: View, joining: ReadonlySet<string> = new Set()): CandidateContext {
  const meshed = new Set(joining);
  for (const workload of view.inventory.workloads)
    if (workload.podSets.some((podSet) => podSet.mesh === 'sidecar') && !isWaypoint(view.inventory, workload))
      meshed.add(workload.id);
  const kinds = servedKinds(view);
  return {
    inventory: view.inventory,
    edges: withWaypoints(view.inventory, keptEdges(view.edges)),
    system: findSystemPeers(view.inventory),
    waived: (gate, subject) => waiverFor(view, gate, subject) !== undefined,
    meshed,
    plaintextExempt: (workload, port) => waiverFor(view, 'plaintext', plaintextSubject(workload, port)) !== undefined,
    ...(view.config.dialect === undefined ? {} : { dialect: view.config.dialect }),
    ...(kinds === undefined ? {} : { kinds }),
  };
}

/** The subject under which a plaintext port is exempted. */
export function plaintextSubject(workloadId: string, port: number): string {
  return `${workloadId}:${port}`;
}

/** Names of the cluster's CustomResourceDefinitions (`plural.group`); undefined for a directory, which takes every kind. */
export function servedKinds(view: View): ReadonlySet<string> | undefined {
  if (view.snapshot.source === 'directory') return undefined;
  // Their metadata alone is read, and the name is what the API server holds to.
  return new Set(
    view.snapshot.objects
      .filter((object) => isObject(object, 'apiextensions.k8s.io', 'CustomResourceDefinition'))
      .map((object) => object.metadata.name),
  );
}

export function gate(id: string, answer: Gate['answer'], subject: string, facts: readonly string[], fix: string): Gate {
  return { id, answer, subject, facts, fix: answer === 'yes' ? '' : fix };
}

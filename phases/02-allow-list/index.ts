import { deriveNetworkCandidate, deriveTunnelAccess } from '../../src/candidates/network.ts';
import type { Candidate, CandidateContext } from '../../src/candidates/network.ts';
import { deriveWaypointRequests } from '../../src/candidates/waypoint-requests.ts';
import type { Phase, View } from '../../src/engine/contract.ts';
import { endpointKey, endpointNamespace } from '../../src/model/edge.ts';
import { workloadById } from '../../src/model/inventory-index.ts';
import type { Workload } from '../../src/model/inventory.ts';
import { buildDefaultDeny } from '../../src/objects/build.ts';
import type { Direction } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import type { Draft } from '../../src/plan/steps.ts';
import { candidateGates } from '../../src/readiness/candidate-gates.ts';
import { corroborationGates } from '../../src/readiness/corroboration-gates.ts';
import { evidenceGates } from '../../src/readiness/evidence-gates.ts';
import { canBeSelected, ensureGuardRail } from '../../src/readiness/guard-rail.ts';
import { byRisk } from '../../src/readiness/risk.ts';
import { endRehearsals } from '../../src/readiness/staged.ts';
import { tunnelGates } from '../../src/readiness/tunnel-gates.ts';
import { candidateContext, workloadsOf } from '../../src/readiness/view.ts';

const DEFAULT_DENY = 'sallyport-default-deny';
const OPEN_CONNECTIONS = 'connections already open keep passing until they close: what a CNI does with them is its own';

/** NetworkPolicies from evidence: a peer that is enforced already is opened first, then one workload and direction at a time. */
export const allowList: Phase = {
  name: 'allow-list',
  requires: (view) => [...evidenceGates(view), ...corroborationGates(view), ...candidateGates(view)],
  up(view) {
    const draft = draftSteps(view.snapshot.objects);
    const context = candidateContext(view);
    openPeers(view, draft);
    const workloads = byRisk(view, workloadsOf(view)).filter(canBeSelected);
    for (const workload of workloads) {
      for (const direction of ['ingress', 'egress'] as const) {
        const candidate = deriveNetworkCandidate(context, workload, direction);
        if (candidate.object === undefined) continue;
        if (direction === 'ingress') admitTunnels(view, context, draft, workload);
        draft.ensure(candidate.object, {
          namespace: view.namespace,
          phase: 'allow-list',
          id: `${workload.kind.toLowerCase()}-${workload.name}-${direction}`,
          title: `isolate ${direction} of ${workload.id}: ${describe(candidate)}`,
          workload: workload.id,
          direction,
          risks: [OPEN_CONNECTIONS],
        });
      }
    }
    draft.ensure(buildDefaultDeny({ name: DEFAULT_DENY, namespace: view.namespace }), {
      namespace: view.namespace,
      phase: 'allow-list',
      id: 'default-deny',
      title: `isolate every other pod of ${view.namespace} in both directions`,
      risks: [OPEN_CONNECTIONS, 'pods that start later and match no policy reach nobody'],
    });
    ensureGuardRail(view, draft, view.namespace, { phase: 'allow-list', risks: [OPEN_CONNECTIONS] });
    endRehearsals(view, draft, 'allow-list');
    return draft.steps;
  },
  // What an open tunnel port of an ambient mesh takes from NetworkPolicy is given back in the same phase.
  verify: tunnelGates,
  down: () => [],
};

/**
 * Of a workload in ambient mode, before a NetworkPolicy opens port 15008 of it: an AuthorizationPolicy at layer 4, which admits into the tunnels
 * what the allow-list admits. Recorded under the workload's namespace.
 */
function admitTunnels(view: View, context: CandidateContext, draft: Draft, workload: Workload): void {
  const { object, atWaypoints } = deriveTunnelAccess(context, workload);
  if (object === undefined && atWaypoints.length === 0) return;
  // What the phase identity made narrower stays so.
  const narrow = view.phases.get(workload.namespace) === 'identity';
  for (const policy of narrow ? deriveWaypointRequests(context, workload) : atWaypoints)
    draft.ensure(policy, {
      namespace: workload.namespace,
      phase: 'allow-list',
      id: `waypoint-${workload.namespace}-${policy.metadata.name}`,
      title: `admit through the waypoint of ${workload.id} who is on record, by account and port (not proven on packets)`,
      workload: workload.id,
      direction: 'ingress',
      risks: ['callers in the mesh that are on no record are refused by the waypoint from here on'],
    });
  // Of what is outside the mesh there is no tunnel: only the waypoint before its Service is asked.
  if (object === undefined) return;
  draft.ensure(object, {
    namespace: workload.namespace,
    phase: 'allow-list',
    id: `tunnels-${workload.namespace}-${workload.kind.toLowerCase()}-${workload.name}`,
    title: `admit into the tunnels of ${workload.id} what its allow-list admits, by account and port (not proven on packets)`,
    workload: workload.id,
    direction: 'ingress',
    risks: ['callers in the mesh that are on no record are refused by ztunnel from here on', OPEN_CONNECTIONS],
  });
}

function describe(candidate: Candidate): string {
  const peers = candidate.rules.filter((rule) => Object.keys(rule.rule).length > 0).map((rule) => rule.peer);
  return `${peers.length} ${peers.length === 1 ? 'peer' : 'peers'} (${peers.slice(0, 3).join(', ')}${peers.length > 3 ? ', ...' : ''})`;
}

/** Own objects in other namespaces that lack a rule for an edge of this one: they are opened before anything is isolated here. */
function openPeers(view: View, draft: Draft): void {
  const context = candidateContext(view);
  const peers = new Map<string, { readonly workload: string; readonly direction: Direction }>();
  for (const edge of context.edges) {
    const [from, to] = [endpointNamespace(edge.src), endpointNamespace(edge.dst)];
    if (from === view.namespace && to !== undefined && to !== view.namespace)
      peers.set(`${endpointKey(edge.dst)} ingress`, { workload: endpointKey(edge.dst), direction: 'ingress' });
    if (to === view.namespace && from !== undefined && from !== view.namespace)
      peers.set(`${endpointKey(edge.src)} egress`, { workload: endpointKey(edge.src), direction: 'egress' });
  }
  const opened = new Set<string>();
  for (const [, peer] of [...peers].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const workload = workloadById(view.inventory, peer.workload);
    if (workload === undefined) continue;
    const candidate = deriveNetworkCandidate(context, workload, peer.direction);
    if (candidate.object === undefined) continue;
    // Only what Sallyport enforces there already; a namespace that is not under way is not begun from here.
    const enforced = draft.byKey(`networking.k8s.io/NetworkPolicy/${workload.namespace}/${DEFAULT_DENY}`) !== undefined;
    if (draft.get(candidate.object) === undefined && !enforced) continue;
    if (peer.direction === 'ingress') admitTunnels(view, context, draft, workload);
    // Recorded under the peer's namespace: it goes when that one is rolled back, not when this one is and still needs it.
    draft.ensure(candidate.object, {
      namespace: workload.namespace,
      phase: 'allow-list',
      id: `open-${workload.namespace}-${workload.name}-${peer.direction}`,
      title: `open ${peer.direction} of ${workload.id} for its peers in ${view.namespace}`,
      workload: workload.id,
      direction: peer.direction,
    });
    opened.add(workload.namespace);
  }
  for (const namespace of [...opened].sort())
    ensureGuardRail(view, draft, namespace, { phase: 'allow-list', risks: [OPEN_CONNECTIONS] });
}

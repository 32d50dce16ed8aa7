import { deriveMeshEgress, deriveNetworkCandidate } from '../../src/candidates/network.ts';
import { isWaypoint } from '../../src/candidates/waypoints.ts';
import type { Phase, View } from '../../src/engine/contract.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { Workload } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { isObject, namespaceOf, refKey } from '../../src/model/object.ts';
import { buildPeerAuthentication } from '../../src/objects/build.ts';
import type { Step } from '../../src/plan/plan.ts';
import { stateAfter } from '../../src/plan/simulate.ts';
import type { State } from '../../src/plan/simulate.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import type { Draft } from '../../src/plan/steps.ts';
import {
  canJoin,
  inMesh,
  joinLabels,
  joinedGates,
  joinsByNamespace,
  meshGates,
  meshRevision,
} from '../../src/readiness/mesh-gates.ts';
import { ensureGuardRail } from '../../src/readiness/guard-rail.ts';
import { byRisk } from '../../src/readiness/risk.ts';
import { candidateContext, workloadsOf } from '../../src/readiness/view.ts';
import { asObject, asString, getPath, isJsonObject } from '../../src/shared/pure/json.ts';
import { compareText } from '../../src/shared/pure/order.ts';

/** PERMISSIVE first, since the mesh's default may be STRICT; then each workload by its pod label; the namespace label last. */
export const permissiveMtls: Phase = {
  name: 'permissive-mtls',
  requires: (view) => meshGates(view),
  up(view) {
    const joining = byRisk(
      view,
      workloadsOf(view).filter(
        (workload) =>
          canJoin(workload) && !inMesh(workload) && !isAllAmbient(workload) && !isWaypoint(view.inventory, workload),
      ),
    );
    const joinedView = afterJoin(view, build(view, joining, view.edges));
    return build(view, joining, withNew(view.edges, joinedView));
  },
  verify: (view) => joinedGates(view),
  down: () => [],
};

/** The steps, for the edges that there will be. */
function build(view: View, joining: readonly Workload[], edges: readonly Edge[]): readonly Step[] {
  const draft = draftSteps(view.snapshot.objects);
  const ahead = { ...view, edges };
  permissiveDefault(view, draft);
  const byNamespace = byRisk(
    view,
    workloadsOf(view).filter((one) => joinsByNamespace(one) && !isAllAmbient(one)),
  );
  const all = new Set([...joining, ...byNamespace].map((workload) => workload.id));
  // Whatever a policy opens below, a guard rail must pass on to it first.
  ensureGuardRail(ahead, draft, view.namespace, { phase: 'permissive-mtls', joining: all, standing: true });
  openControlPlane(ahead, draft, all);
  const joined = new Set<string>();
  for (const workload of joining) {
    joined.add(workload.id);
    join(ahead, draft, workload, joined);
  }
  for (const workload of byNamespace) {
    joined.add(workload.id);
    open(ahead, draft, workload, joined);
  }
  // Who is in ambient mode is in the mesh, and a label for injection would take it out of there.
  if (
    workloadsOf(view).length === 0 ||
    !workloadsOf(view).every((one) => isAllAmbient(one) || isWaypoint(view.inventory, one))
  )
    namespaceLabel(view, draft);
  return draft.steps;
}

/** Is every pod in the mesh already, in ambient mode, where it takes no sidecar? */
function isAllAmbient({ podSets }: Workload): boolean {
  return podSets.length > 0 && podSets.every(({ mesh }) => mesh === 'ambient');
}

/** Edges that only exist once the namespace has joined: Istio's agent takes over scrapes and probes on ports of its own. */
function afterJoin(view: View, steps: readonly Step[]): readonly Edge[] {
  let state: State = { snapshot: view.snapshot, inventory: view.inventory };
  for (const step of steps) state = stateAfter(state, step, view.rebuild);
  return view.edgesIn(state.inventory);
}

function withNew(edges: readonly Edge[], later: readonly Edge[]): readonly Edge[] {
  const known = new Set(edges.map((edge) => edge.id));
  return [...edges, ...later.filter((edge) => !known.has(edge.id))];
}

/** PeerAuthentication objects for a whole namespace (no selector), oldest first: Istio lets the oldest decide. */
export function namespaceWide(view: View): readonly KubeManifest[] {
  return view.snapshot.objects
    .filter(
      (object) =>
        isObject(object, 'security.istio.io', 'PeerAuthentication') &&
        namespaceOf(object) === view.namespace &&
        asObject(object['spec'])['selector'] === undefined,
    )
    .toSorted((a, b) => compareText(createdAt(a), createdAt(b)));
}

/** One that has not been written yet is the youngest. */
function createdAt(object: KubeManifest): string {
  return asString(object.metadata['creationTimestamp']) ?? '~';
}

function permissiveDefault(view: View, draft: Draft): void {
  const step = {
    namespace: view.namespace,
    phase: 'permissive-mtls' as const,
    id: 'permissive',
    title: `accept both plaintext and mTLS in ${view.namespace}`,
    risks: [
      'workloads already in the mesh whose callers rely on a stricter mesh default accept plaintext from here on',
    ],
  };
  const [decides] = namespaceWide(view);
  if (decides === undefined) {
    draft.ensure(buildPeerAuthentication({ name: 'sallyport-default', namespace: view.namespace }, 'PERMISSIVE'), step);
    return;
  }
  const mode = asString(asObject(asObject(decides['spec'])['mtls'])['mode']);
  // Somebody's STRICT protects a meshed workload today: only where some workload is still outside is it loosened.
  if (mode === 'PERMISSIVE' || workloadsOf(view).every((workload) => inMesh(workload))) return;
  draft.edit(decides, [{ path: ['spec', 'mtls', 'mode'], after: 'PERMISSIVE' }], step);
}

/** Opens what the proxy needs: out to istiod and DNS, in on the ports that it takes over. */
function open(view: View, draft: Draft, workload: Workload, joined: ReadonlySet<string>): void {
  const context = candidateContext(view, joined);
  const candidate = deriveNetworkCandidate(context, workload, 'egress');
  const inward = deriveNetworkCandidate(context, workload, 'ingress').object;
  const name = stepName(workload);
  const isolated =
    draft.byKey(`networking.k8s.io/NetworkPolicy/${view.namespace}/sallyport-default-deny`) !== undefined;
  // Where it sends nothing on record, the namespace default holds it, and its proxy must reach istiod all the same.
  const outward = candidate.object ?? (isolated ? deriveMeshEgress(context, workload) : undefined);
  if (outward !== undefined && (isolated || draft.get(outward) !== undefined))
    draft.ensure(outward, {
      namespace: view.namespace,
      phase: 'permissive-mtls',
      id: `${name}-open`,
      title: `let the sidecar of ${workload.id} reach istiod`,
      workload: workload.id,
      direction: 'egress',
    });
  if (inward !== undefined && (isolated || draft.get(inward) !== undefined))
    draft.ensure(inward, {
      namespace: view.namespace,
      phase: 'permissive-mtls',
      id: `${name}-open-ingress`,
      title: `let ${workload.id} be reached on the ports of its sidecar`,
      workload: workload.id,
      direction: 'ingress',
    });
}

/** Where istiod has an allow-list of ours, it names its callers: the sidecars that are about to start too. */
function openControlPlane(view: View, draft: Draft, joined: ReadonlySet<string>): void {
  const context = candidateContext(view, joined);
  const istiod = view.inventory.workloads.find((workload) => workload.id === context.system.istiod?.workload);
  if (istiod === undefined || istiod.namespace === view.namespace) return;
  const inward = deriveNetworkCandidate(context, istiod, 'ingress').object;
  if (inward === undefined || draft.get(inward) === undefined) return;
  ensureGuardRail(view, draft, istiod.namespace, { phase: 'permissive-mtls', joining: joined, standing: true });
  draft.ensure(inward, {
    namespace: istiod.namespace,
    phase: 'permissive-mtls',
    id: 'control-plane-open',
    title: `let ${istiod.id} be reached by the sidecars of ${view.namespace}`,
    workload: istiod.id,
    direction: 'ingress',
  });
}

function stepName(workload: Workload): string {
  return `${workload.kind.toLowerCase()}-${workload.name}`;
}

/** Opens what the proxy needs, then labels the pod template. */
function join(view: View, draft: Draft, workload: Workload, joined: ReadonlySet<string>): void {
  open(view, draft, workload, joined);
  const live = draft.byKey(refKey(workload.ref));
  const template = workload.podSets[0]?.templatePath;
  if (live === undefined || template === undefined) return;
  const path = [...template, 'metadata', 'labels'];
  const labels = joinLabels(view, workload);
  const fields = isJsonObject(getPath(live, path))
    ? Object.entries(labels).map(([key, after]) => ({ path: [...path, key], after }))
    : [{ path, after: labels }];
  draft.edit(live, fields, {
    namespace: view.namespace,
    phase: 'permissive-mtls',
    id: `${stepName(workload)}-join`,
    title: `${workload.id} joins the mesh by its pod label${workload.batch ? ', from its next run on' : ''}`,
    workload: workload.id,
    effects: [
      workload.batch ? { kind: 'next-run', workload: workload.id } : { kind: 'rollout', workload: workload.id },
    ],
    risks: workload.batch
      ? ['running Jobs are not touched']
      : [
          (workload.replicas ?? 1) < 2
            ? 'its single replica is replaced: a rollout like any other, with the pause that brings'
            : 'its pods are replaced one after another',
          ...(workload.podSets.some((set) => set.containers.some((container) => container.init))
            ? [
                'its init containers run before or beside the proxy: those that need the network may need native sidecars',
              ]
            : []),
        ],
  });
}

function namespaceLabel(view: View, draft: Draft): void {
  const live = draft.byKey(`/Namespace//${view.namespace}`);
  if (live === undefined) return;
  const labels = asObject(live.metadata['labels']);
  const revision = meshRevision(view.inventory.facts.mesh);
  const key = revision === undefined ? 'istio-injection' : 'istio.io/rev';
  if (labels['istio-injection'] === 'enabled' || labels['istio.io/rev'] !== undefined) return;
  const waiting = workloadsOf(view).filter((workload) => joinsByNamespace(workload) && !inMesh(workload));
  draft.edit(live, [{ path: ['metadata', 'labels', key], after: revision ?? 'enabled' }], {
    namespace: view.namespace,
    phase: 'permissive-mtls',
    id: 'namespace-label',
    title: `new pods of ${view.namespace} join the mesh`,
    effects: waiting.map((workload) => ({ kind: 'next-run', workload: workload.id })),
    risks: waiting.length > 0 ? ['runs that are under way stay outside until they end'] : [],
  });
}

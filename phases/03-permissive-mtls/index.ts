import { deriveMeshEgress, deriveNetworkCandidate } from '../../src/candidates/network.ts';
import type { Phase, View } from '../../src/engine/contract.ts';
import type { Workload } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { isObject, namespaceOf, refKey } from '../../src/model/object.ts';
import { buildPeerAuthentication } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import type { Draft } from '../../src/plan/steps.ts';
import { canJoin, inMesh, joinedGates, meshGates } from '../../src/readiness/mesh-gates.ts';
import { byRisk } from '../../src/readiness/risk.ts';
import { candidateContext, workloadsOf } from '../../src/readiness/view.ts';
import { asObject, asString } from '../../src/shared/pure/json.ts';

/** PERMISSIVE first, since the mesh's default may be STRICT; then each workload by its pod label; the namespace label last. */
export const permissiveMtls: Phase = {
  name: 'permissive-mtls',
  requires: (view) => meshGates(view),
  up(view) {
    const draft = draftSteps(view.snapshot.objects);
    permissiveDefault(view, draft);
    const joining = byRisk(
      view,
      workloadsOf(view).filter((workload) => canJoin(workload) && !inMesh(workload)),
    );
    const joined = new Set<string>();
    for (const workload of joining) {
      joined.add(workload.id);
      join(view, draft, workload, joined);
    }
    namespaceLabel(view, draft);
    return draft.steps;
  },
  verify: (view) => joinedGates(view),
  down: () => [],
};

/** PeerAuthentication objects for a whole namespace (no selector), oldest first: Istio lets the oldest decide. */
export function namespaceWide(view: View): readonly KubeManifest[] {
  return view.snapshot.objects
    .filter(
      (object) =>
        isObject(object, 'security.istio.io', 'PeerAuthentication') &&
        namespaceOf(object) === view.namespace &&
        asObject(object['spec'])['selector'] === undefined,
    )
    .toSorted((a, b) =>
      String(a.metadata['creationTimestamp'] ?? '~').localeCompare(
        String(b.metadata['creationTimestamp'] ?? '~'),
        'en',
      ),
    );
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

/** Opens what the proxy needs, then labels the pod template. */
function join(view: View, draft: Draft, workload: Workload, joined: ReadonlySet<string>): void {
  const candidate = deriveNetworkCandidate(candidateContext(view, joined), workload, 'egress');
  const name = `${workload.kind.toLowerCase()}-${workload.name}`;
  if (candidate.object !== undefined && draft.get(candidate.object) !== undefined)
    draft.ensure(candidate.object, {
      namespace: view.namespace,
      phase: 'permissive-mtls',
      id: `${name}-open`,
      title: `let the sidecar of ${workload.id} reach istiod`,
      workload: workload.id,
      direction: 'egress',
    });
  const isolated =
    draft.byKey(`networking.k8s.io/NetworkPolicy/${view.namespace}/sallyport-default-deny`) !== undefined;
  if (candidate.object === undefined && isolated) {
    // It sends nothing on record, so the namespace default holds it; its proxy must reach istiod all the same.
    const opened = deriveMeshEgress(candidateContext(view, joined), workload);
    if (opened !== undefined)
      draft.ensure(opened, {
        namespace: view.namespace,
        phase: 'permissive-mtls',
        id: `${name}-open`,
        title: `let the sidecar of ${workload.id} reach istiod and DNS`,
        workload: workload.id,
        direction: 'egress',
      });
  }
  const live = draft.byKey(refKey(workload.ref));
  const template = workload.podSets[0]?.templatePath;
  if (live === undefined || template === undefined) return;
  draft.edit(live, [{ path: [...template, 'metadata', 'labels', 'sidecar.istio.io/inject'], after: 'true' }], {
    namespace: view.namespace,
    phase: 'permissive-mtls',
    id: `${name}-join`,
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
  const revision = view.inventory.facts.mesh.revision;
  const key = revision === undefined ? 'istio-injection' : 'istio.io/rev';
  if (labels['istio-injection'] === 'enabled' || labels['istio.io/rev'] !== undefined) return;
  const waiting = workloadsOf(view).filter((workload) => workload.custom && !inMesh(workload));
  draft.edit(live, [{ path: ['metadata', 'labels', key], after: revision ?? 'enabled' }], {
    namespace: view.namespace,
    phase: 'permissive-mtls',
    id: 'namespace-label',
    title: `new pods of ${view.namespace} join the mesh`,
    effects: waiting.map((workload) => ({ kind: 'next-run', workload: workload.id })),
    risks: waiting.length > 0 ? ['runs that are under way stay outside until they end'] : [],
  });
}

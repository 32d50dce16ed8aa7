import { deriveAuthorization } from '../candidates/authorization.ts';
import type { AppliedStep, View } from '../engine/contract.ts';
import { endpointKey } from '../model/edge.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, namespaceOf, refKey, refOf } from '../model/object.ts';
import type { PhaseName } from '../model/phase.ts';
import { buildAuthorizationPolicy, isOwn } from '../objects/build.ts';
import { assembleDown } from '../plan/assemble.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Plan, Step } from '../plan/plan.ts';
import { deriveUndo, olderOnSameObject, stepsToUndo } from '../plan/rollback.ts';
import type { Divergence, Resolution } from '../plan/rollback.ts';
import { simulate } from '../plan/simulate.ts';
import { draftSteps } from '../plan/steps.ts';
import type { Draft } from '../plan/steps.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { candidateContext } from './view.ts';

/**
 * The way back to a phase, from the record. Where undoing a step would cut a caller at a peer of another namespace that Sallyport
 * hardened (a caller that leaves the mesh while the peer takes mTLS alone), the peer is loosened first; those steps are recorded under
 * the peer's namespace, whose own way back takes them along. There, undoing such a step by itself would tighten: it goes with the step
 * before it on the same object. `undo`: the recorded steps to take back, newest first, where it is not all above the phase.
 */
export function planRollback(
  view: View,
  to: PhaseName,
  planner: Planner,
  resolutions: ReadonlyMap<string, Resolution> = new Map(),
  undo: readonly AppliedStep[] = stepsToUndo(view.applied, view.namespace, to),
): { readonly plan: Plan; readonly divergences: readonly Divergence[] } {
  const deferred = new Set<number>();
  for (;;) {
    const all = deriveUndo(undo, view.applied, view.snapshot.objects, resolutions, deferred);
    const loosening = looseningSteps(view, all.steps, planner);
    const steps = loosening.length === 0 ? all.steps : [...loosening, ...all.steps];
    const plan = assembleDown(view, to, steps, [], planner);
    const more = tightening(plan, undo).filter((seq) => !deferred.has(seq));
    if (more.length === 0) return { plan, divergences: all.divergences };
    for (const seq of more) deferred.add(seq);
  }
}

/** Edits whose undoing by itself cuts somebody, and which can wait for an older step on the same object. */
function tightening(plan: Plan, undo: readonly AppliedStep[]): readonly number[] {
  const cutting = new Set(plan.denied.map((verdict) => verdict.step));
  const bySeq = new Map(undo.map((applied, index) => [applied.seq, index]));
  return plan.steps
    .filter((step) => cutting.has(step.id) && step.change.kind === 'edit' && step.effects.length === 0)
    .flatMap((step) => step.undoes ?? [])
    .filter((seq) => {
      const index = bySeq.get(seq);
      const applied = index === undefined ? undefined : undo[index];
      return applied !== undefined && olderOnSameObject(applied, undo.slice((index ?? 0) + 1)) !== undefined;
    });
}

function looseningSteps(view: View, undo: readonly Step[], planner: Planner): readonly Step[] {
  const keep = planner.keep(view.edges);
  const start = { snapshot: view.snapshot, inventory: view.inventory };
  const result = simulate(start, undo, {
    rebuild: view.rebuild,
    edgesIn: (inventory) => planner.keep(view.edgesIn(inventory)),
  });
  if (result.denied.length === 0) return [];
  const denied = new Set(result.denied.map((verdict) => verdict.edge));
  const draft = draftSteps(view.snapshot.objects);
  const atEnd: View = { ...view, snapshot: result.end.snapshot, inventory: result.end.inventory };
  const servers = new Set(
    keep.filter((edge) => denied.has(edge.id) && edge.dst.kind === 'workload').map((edge) => endpointKey(edge.dst)),
  );
  for (const id of [...servers].sort()) {
    const server = view.inventory.workloads.find((workload) => workload.id === id);
    if (server === undefined || server.namespace === view.namespace) continue;
    loosenMtls(draft, view, server.id, server.namespace);
    const wanted = deriveAuthorization(candidateContext(atEnd), server).object;
    const live = wanted === undefined ? undefined : draft.get(wanted);
    if (wanted === undefined || live === undefined || !isOwn(live)) continue;
    draft.ensure(withRules(live, wanted), {
      namespace: server.namespace,
      phase: 'identity',
      id: `loosen-${server.namespace}-${server.name}-callers`,
      title: `${server.id} admits its callers as they will be after the way back`,
      workload: server.id,
    });
  }
  return draft.steps;
}

/** Own PeerAuthentications that make the server refuse plaintext: its own one, and the namespace's. */
function loosenMtls(draft: Draft, view: View, server: string, namespace: string): void {
  for (const object of view.snapshot.objects) {
    if (!isObject(object, 'security.istio.io', 'PeerAuthentication') || namespaceOf(object) !== namespace) continue;
    if (!isOwn(object) && !hardenedByUs(view, object)) continue;
    const spec = asObject(object['spec']);
    const ofServer = asString(asObject(object.metadata['annotations'])['sallyport.dev/workload']) === server;
    if (!ofServer && spec['selector'] !== undefined) continue;
    if (asString(asObject(spec['mtls'])['mode']) !== 'STRICT') continue;
    // The namespace default decides only where the workload has none of its own.
    if (!ofServer && hasOwnMode(view, server, namespace)) continue;
    draft.edit(object, [{ path: ['spec', 'mtls', 'mode'], after: 'PERMISSIVE' }], {
      namespace,
      phase: 'strict-mtls',
      id: `loosen-${namespace}-${object.metadata.name}`,
      title: `${server} takes plaintext again, for callers that leave the mesh`,
      workload: server,
    });
  }
}

/** An object of somebody else that took mTLS alone only since Sallyport was told to make it so. */
function hardenedByUs(view: View, object: KubeManifest): boolean {
  const key = refKey(refOf(object));
  return view.applied.some(
    ({ change }) =>
      change.kind === 'edit' &&
      refKey(change.ref) === key &&
      change.fields.some((field) => field.path.join('.') === 'spec.mtls.mode' && field.after === 'STRICT'),
  );
}

function hasOwnMode(view: View, server: string, namespace: string): boolean {
  return view.snapshot.objects.some(
    (object) =>
      isObject(object, 'security.istio.io', 'PeerAuthentication') &&
      namespaceOf(object) === namespace &&
      asString(asObject(object.metadata['annotations'])['sallyport.dev/workload']) === server,
  );
}

/** The rules of both policies. */
function withRules(live: KubeManifest, wanted: KubeManifest): KubeManifest {
  const spec = asObject(live['spec']);
  const rules = [...asArray(spec['rules'])];
  const texts = new Set(rules.map((rule) => JSON.stringify(rule)));
  for (const rule of asArray(asObject(wanted['spec'])['rules'])) if (!texts.has(JSON.stringify(rule))) rules.push(rule);
  const labels = asObject(asObject(spec['selector'])['matchLabels']) as Readonly<Record<string, string>>;
  const built = buildAuthorizationPolicy(
    { name: live.metadata.name, namespace: namespaceOf(live) ?? '' },
    labels,
    rules as readonly JsonObject[],
  );
  return { ...live, spec: built['spec'] ?? {} };
}

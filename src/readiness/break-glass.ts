import type { View } from '../engine/contract.ts';
import { changedConnections } from '../model/connectivity.ts';
import { compileWorld } from '../model/evaluate.ts';
import type { GrantMark } from '../model/grant.ts';
import { asGranted, GRANT_LABEL, lentAnnotations } from '../model/grant.ts';
import type { Inventory, Snapshot } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { isObject, namespaceOf } from '../model/object.ts';
import { phaseIndex } from '../model/phase.ts';
import { buildAuthorizationPolicy, buildNetworkPolicy } from '../objects/build.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Step } from '../plan/plan.ts';
import { stateAfter } from '../plan/simulate.ts';
import { draftSteps } from '../plan/steps.ts';
import { asObject, asString } from '../shared/pure/json.ts';
import { difference, formatPorts } from './grant-difference.ts';
import { breakGlassPlan } from './grant-plan.ts';
import { grantId } from './grant-terms.ts';
import type { Granted, GrantTerms } from './grant-terms.ts';

/**
 * Suspends what the namespace's phase enforces, without taking it away: a NetworkPolicy that allows all beside those that are there, an
 * AuthorizationPolicy that admits all, and PeerAuthentications that take plaintext again. The phase stays on record. What others enforce
 * (peers' own policies, administrators' denials, Istio's DENY) stands as it is.
 */
export function planBreakGlass(view: View, terms: GrantTerms, planner: Planner): Granted {
  const { namespace } = view;
  const phase = view.phases.get(namespace) ?? 'none';
  if (phaseIndex(phase) < phaseIndex('allow-list'))
    return { kind: 'allowed', why: [`${namespace} is in phase ${phase}, which refuses nobody`] };
  const mark: GrantMark = {
    id: grantId({ breakGlass: namespace }, terms),
    kind: 'break-glass',
    text: `namespace ${namespace}: what phase ${phase} enforces is suspended`,
    reason: terms.reason,
    since: terms.since,
    until: terms.until,
  };
  const draft = draftSteps(view.snapshot.objects);
  const until = new Date(mark.until).toISOString();
  const name = `sallyport-grant-${mark.id}`;
  // Loosened before anything else: a caller may need both.
  if (phaseIndex(phase) >= phaseIndex('strict-mtls'))
    for (const object of view.snapshot.objects) {
      if (!isObject(object, 'security.istio.io', 'PeerAuthentication') || namespaceOf(object) !== namespace) continue;
      const mode = asString(asObject(asObject(object['spec'])['mtls'])['mode']);
      if (mode !== 'STRICT') continue;
      const annotations = lentAnnotations(mark, terms.by, mode);
      const annotate =
        object.metadata['annotations'] === undefined
          ? [{ path: ['metadata', 'annotations'], after: annotations }]
          : Object.entries(annotations).map(([key, after]) => ({ path: ['metadata', 'annotations', key], after }));
      draft.edit(
        object,
        [
          { path: ['metadata', 'labels', GRANT_LABEL], after: mark.id },
          ...annotate,
          { path: ['spec', 'mtls', 'mode'], after: 'PERMISSIVE' },
        ],
        {
          namespace,
          phase: 'strict-mtls',
          id: `grant-${mark.id}-mtls-${object.metadata.name}`,
          title: `PeerAuthentication ${object.metadata.name} takes plaintext again until ${until}`,
        },
      );
    }
  if (phaseIndex(phase) >= phaseIndex('identity'))
    draft.ensure(asGranted(buildAuthorizationPolicy({ name, namespace }, undefined, [{}]), mark, terms.by), {
      namespace,
      phase: 'identity',
      id: `grant-${mark.id}-authorization`,
      title: `every caller is admitted in ${namespace} until ${until}`,
    });
  const open: KubeManifest = {
    ...buildNetworkPolicy({ name, namespace }, {}, 'ingress', [{}]),
    spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{}], egress: [{}] },
  };
  draft.ensure(asGranted(open, mark, terms.by), {
    namespace,
    phase: 'allow-list',
    id: `grant-${mark.id}-network`,
    title: `every connection from and to pods of ${namespace} is let through until ${until}`,
    risks: ['what passes meanwhile is seen like any other traffic: look at it before it is taken as evidence'],
  });
  const steps = draft.steps.map(({ confirm, ...step }): Step => ({
    ...step,
    ...(confirm === undefined ? {} : { confirm }),
    grant: mark,
  }));
  let end: { readonly snapshot: Snapshot; readonly inventory: Inventory } = {
    snapshot: view.snapshot,
    inventory: view.inventory,
  };
  for (const step of steps) end = stateAfter(end, step, view.rebuild);
  const changed = changedConnections(compileWorld(view.inventory), compileWorld(end.inventory), { mesh: true });
  const opens = [...changed].map(difference);
  const closing = opens.filter(({ closed }) => closed.length > 0);
  if (closing.length > 0)
    return {
      kind: 'refused',
      why: closing.map(
        ({ src, dst, closed }) => `it would close ${src} -> ${dst} ${closed.map(formatPorts).join(', ')}`,
      ),
      fix: `sallyport rollback ${namespace} takes the phase back`,
    };
  return {
    kind: 'plan',
    mark,
    plan: breakGlassPlan(view, steps, planner),
    opens,
    compared: view.inventory.workloads.length * Math.max(0, view.inventory.workloads.length - 1),
    notes: [
      'policies of other namespaces, of administrators and DENY policies of the mesh stand as they are: a caller whose own namespace holds it back is held back still',
    ],
  };
}

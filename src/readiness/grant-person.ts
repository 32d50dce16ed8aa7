import type { View } from '../engine/contract.ts';
import type { GrantMark } from '../model/grant.ts';
import { asGranted } from '../model/grant.ts';
import type { Snapshot } from '../model/inventory.ts';
import { isObject, namespaceOf } from '../model/object.ts';
import { buildNamedPodsRole, buildPersonBinding } from '../objects/build.ts';
import type { Planner } from '../plan/assemble.ts';
import type { Step } from '../plan/plan.ts';
import { draftSteps } from '../plan/steps.ts';
import { asArray, asObject } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { grantPlan } from './grant-plan.ts';
import { grantId } from './grant-terms.ts';
import type { Granted, GrantRequest, GrantTerms } from './grant-terms.ts';

/**
 * Lets a person open a shell in, or forward ports of, pods that are named: a Role with their names and a binding to it. The verbs are
 * `create` (SPDY, and from Kubernetes 1.35 on every way) and `get` (WebSockets), and `get` on the pods themselves, which kubectl asks for
 * first.
 */
export function planPerson(
  view: View,
  request: Extract<GrantRequest, { readonly kind: 'person' }>,
  terms: GrantTerms,
  planner: Planner,
): Granted {
  const { subject, namespace } = request;
  const pods = uniqueSorted([...request.exec, ...request.portForward]);
  const rights = [
    { verb: 'exec', subresource: 'pods/exec', pods: request.exec },
    { verb: 'port-forward', subresource: 'pods/portforward', pods: request.portForward },
  ].filter((one) => one.pods.length > 0);
  const mark: GrantMark = {
    id: grantId(request, terms),
    kind: 'person',
    text: `${subject.kind} ${subject.name} may ${rights.map((one) => `${one.verb} in ${one.pods.map((pod) => `${namespace}/${pod}`).join(', ')}`).join(' and ')}`,
    reason: terms.reason,
    since: terms.since,
    until: terms.until,
    pods: pods.map((pod) => `${namespace}/${pod}`),
  };
  const own = { name: `sallyport-grant-${mark.id}`, namespace };
  const role = asGranted(buildNamedPodsRole(own, pods, rights), mark, terms.by);
  const binding = asGranted(buildPersonBinding(own, subject), mark, terms.by);
  const draft = draftSteps(view.snapshot.objects);
  const step = { namespace, phase: 'none' as const };
  const until = new Date(mark.until).toISOString();
  draft.ensure(role, {
    ...step,
    id: `grant-${mark.id}-role`,
    title: `the right itself, on ${pods.length === 1 ? 'this pod' : 'these pods'} alone: ${mark.text}`,
  });
  draft.ensure(binding, {
    ...step,
    id: `grant-${mark.id}-binding`,
    title: `${mark.text}, until ${until}`,
    risks: [
      'a session that is open when the grant ends goes on: the API server asks for the right once, when it begins',
    ],
  });
  const steps = draft.steps.map((one): Step => ({ ...one, grant: mark }));
  const notes = pods
    .filter((pod) => ownedByStatefulSet(view.snapshot, namespace, pod))
    .map(
      (pod) =>
        `${namespace}/${pod} is of a StatefulSet: the pod that takes its place has the same name, and the right holds for it too`,
    );
  return {
    kind: 'plan',
    mark,
    plan: grantPlan({ ...view, namespace }, steps, planner),
    opens: [],
    compared: 0,
    notes,
  };
}

function ownedByStatefulSet(snapshot: Snapshot, namespace: string, pod: string): boolean {
  return snapshot.objects.some(
    (object) =>
      isObject(object, '', 'Pod') &&
      namespaceOf(object) === namespace &&
      object.metadata.name === pod &&
      asArray(object.metadata['ownerReferences']).some((owner) => asObject(owner)['kind'] === 'StatefulSet'),
  );
}

import { deriveAuthorization } from '../candidates/authorization.ts';
import type { View } from '../engine/contract.ts';
import { endpointKey, formatEdge } from '../model/edge.ts';
import type { Gate } from '../model/finding.ts';
import type { Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, refKey, refOf } from '../model/object.ts';
import { DRY_RUN_ANNOTATION, isOwn } from '../objects/build.ts';
import { changeRef } from '../plan/change.ts';
import type { Step } from '../plan/plan.ts';
import { draftSteps } from '../plan/steps.ts';
import { plural } from '../shared/pure/text.ts';
import { withSidecars } from './mesh-gates.ts';
import { byRisk } from './risk.ts';
import { candidateContext, gate, keptEdges, workloadsOf } from './view.ts';

/** Is an object of ours there to be rehearsed only? */
export function isRehearsal(object: KubeManifest): boolean {
  return isOwn(object) && annotationsOf(object)[DRY_RUN_ANNOTATION] === 'true';
}

/** The policy as a rehearsal: evaluated by the proxies, and enforced by none. (istio.io, "Dry Run") */
export function asRehearsal(policy: KubeManifest): KubeManifest {
  const annotations = { ...annotationsOf(policy), [DRY_RUN_ANNOTATION]: 'true' };
  return { ...policy, metadata: { ...policy.metadata, annotations } };
}

interface Wanted {
  readonly workload: Workload;
  readonly policy: KubeManifest;
  /** As it is in the cluster. */
  readonly live: KubeManifest | undefined;
}

function wantedPolicies(view: View): readonly Wanted[] {
  const context = candidateContext(view);
  const draft = draftSteps(view.snapshot.objects);
  return byRisk(view, withSidecars(view)).flatMap((workload) => {
    const policy = deriveAuthorization(context, workload).object;
    return policy === undefined ? [] : [{ workload, policy, live: draft.get(policy) }];
  });
}

/** The steps that put the policies of the phase identity there as rehearsals, for callers as they call now. Nothing is refused by them. */
export function rehearsalSteps(view: View): readonly Step[] {
  const draft = draftSteps(view.snapshot.objects);
  for (const { workload, policy, live } of wantedPolicies(view)) {
    if (live !== undefined && !isRehearsal(live)) continue;
    draft.ensure(asRehearsal(policy), {
      namespace: view.namespace,
      phase: 'identity',
      workload: workload.id,
      id: `${workload.kind.toLowerCase()}-${workload.name}-rehearse`,
      title: `rehearse who may call ${workload.id}; nothing is refused`,
    });
  }
  return draft.steps;
}

/** ztunnel leaves rehearsed policies alone since this version. (istio/istio release notes, 1.29) */
const ZTUNNEL_REHEARSES = [1, 29] as const;

/** Where some proxy would enforce what is meant as a rehearsal, none is written: ztunnel before 1.29, or of a version that is not known. */
export function rehearsableGates(view: View): readonly Gate[] {
  const ambient = workloadsOf(view).filter(({ podSets }) => podSets.some(({ mesh }) => mesh === 'ambient'));
  if (ambient.length === 0) return [];
  const { version } = view.inventory.facts.mesh;
  const match = /^v?(\d+)\.(\d+)/u.exec(version ?? '');
  const [major, minor] = [Number(match?.[1]), Number(match?.[2])];
  const [first, second] = ZTUNNEL_REHEARSES;
  const isNew = match !== null && (major > first || (major === first && minor >= second));
  return [
    gate(
      'rehearsal',
      isNew ? 'yes' : match === null ? 'unknown' : 'no',
      view.namespace,
      [
        `ztunnel ${version ?? 'of a version that is not known'}: ${isNew ? 'it leaves rehearsed policies alone' : 'before 1.29 it enforces what is meant as a rehearsal'}`,
      ],
      'upgrade the mesh, or state its version in the configuration (cluster.mesh.version)',
    ),
  ];
}

/** Edges that a gate names. */
const MOST_EDGES = 6;

/**
 * Where the configuration asks for it (identity.rehearsal): each policy about to be enforced stood as a rehearsal, the proxies counted what it
 * would have let through, and none that it would have refused. Without such counters the answer is unknown, and for callers that were not seen since
 * the rehearsal began as well.
 */
export function rehearsalGates(view: View): readonly Gate[] {
  if (view.config.identity?.rehearsal !== 'required') return [];
  return wantedPolicies(view).flatMap(({ workload, policy, live }) => {
    // What is enforced already was rehearsed, or is none of ours.
    if (live !== undefined && !isRehearsal(live)) return [];
    return [live === undefined ? notBegun(view, workload) : judgeRehearsal(view, workload, policy)];
  });
}

function notBegun(view: View, { id }: Workload): Gate {
  return gate('rehearsal', 'no', id, ['its policy was not rehearsed'], `sallyport rehearse ${view.namespace}`);
}

function judgeRehearsal(view: View, workload: Workload, policy: KubeManifest): Gate {
  const key = refKey(refOf(policy));
  const since = view.applied.findLast(({ change }) => refKey(changeRef(change)) === key)?.at;
  const pods = new Set(workload.podSets.flatMap((podSet) => podSet.pods.map(({ name }) => name)));
  const counted = (view.rehearsals ?? []).filter(
    (one) => one.namespace === workload.namespace && pods.has(one.pod) && (since === undefined || one.newest > since),
  );
  const denied = counted.reduce((sum, one) => sum + one.denied, 0);
  const allowed = counted.reduce((sum, one) => sum + one.allowed, 0);
  const facts = [
    `rehearsed since ${since === undefined ? 'before the record' : new Date(since).toISOString()}`,
    `${plural(counted.length, 'proxy', 'proxies')} of ${plural(pods.size, 'pod')} counted: ${allowed} let through, ${denied} would be refused`,
  ];
  const fix = `look at what is refused (istio.io, "Dry Run"), or sallyport waive gate=rehearsal,subject=${workload.id} --reason "..."`;
  if (denied > 0) return gate('rehearsal', 'no', workload.id, facts, fix);
  const unseen = keptEdges(view.edges).filter(
    (edge) =>
      edge.protocol === 'TCP' &&
      endpointKey(edge.dst) === workload.id &&
      edge.origin.kind === 'observed' &&
      since !== undefined &&
      edge.last <= since,
  );
  if (allowed === 0)
    return gate(
      'rehearsal',
      'unknown',
      workload.id,
      [...facts, 'no counter shows a request that the rehearsed policy was asked about'],
      `name the counters under identity.metrics in the configuration, as docs/patterns.md has the query, or ${fix}`,
    );
  if (unseen.length === 0) return gate('rehearsal', 'yes', workload.id, facts, '');
  const more = unseen.length > MOST_EDGES ? [`and ${unseen.length - MOST_EDGES} more`] : [];
  return gate(
    'rehearsal',
    'unknown',
    workload.id,
    [...facts, ...unseen.slice(0, MOST_EDGES).map((edge) => `not seen since: ${formatEdge(edge)}`), ...more],
    `import newer traffic, or ${fix}`,
  );
}

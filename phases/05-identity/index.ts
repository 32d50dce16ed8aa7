import { splitAccount } from '../../src/candidates/accounts.ts';
import type { AccountSplit } from '../../src/candidates/accounts.ts';
import { deriveAuthorization, principal } from '../../src/candidates/authorization.ts';
import type { Phase, View } from '../../src/engine/contract.ts';
import { endpointKey } from '../../src/model/edge.ts';
import type { Workload } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { annotationsOf, formatRef, isObject, refKey, refOf } from '../../src/model/object.ts';
import { DRY_RUN_ANNOTATION, buildAuthorizationPolicy, isOwn } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import type { Draft } from '../../src/plan/steps.ts';
import { corroborationGates } from '../../src/readiness/corroboration-gates.ts';
import { coverageGates, reviewGates } from '../../src/readiness/evidence-gates.ts';
import { notJoinedGates } from '../../src/readiness/joined.ts';
import { inMesh } from '../../src/readiness/mesh-gates.ts';
import { byRisk } from '../../src/readiness/risk.ts';
import { candidateContext, gate, keptEdges, workloadsOf } from '../../src/readiness/view.ts';
import { canonicalJson, getPath } from '../../src/shared/pure/json.ts';
import type { Gate } from '../../src/model/finding.ts';

/** An account per workload, moved by expand, migrate, contract; then policies on principals, rehearsed before they are enforced. */
export const identity: Phase = {
  name: 'identity',
  requires: (view) => [
    ...notJoinedGates(view),
    ...reviewGates(view),
    ...corroborationGates(view),
    ...coverageGates(view),
    ...accountGates(view),
  ],
  up(view) {
    const draft = draftSteps(view.snapshot.objects);
    const splits = plannedSplits(view);
    for (const split of splits) moveAccount(view, draft, split, splits);
    authorize(view, draft, splits);
    return draft.steps;
  },
  verify: () => [],
  down: () => [],
};

/** Splits that a plan may make: none with an obstacle. Every sharer but the last one moves; the last keeps the old account. */
function plannedSplits(view: View): readonly AccountSplit[] {
  return allSplits(view).filter((split) => split.obstacles.length === 0);
}

function allSplits(view: View): readonly AccountSplit[] {
  return byRisk(view, workloadsOf(view))
    .map((workload) => splitAccount(workload, view.inventory, view.snapshot.objects))
    .filter((split) => split !== undefined);
}

function accountGates(view: View): readonly Gate[] {
  const stuck = allSplits(view).filter((split) => split.obstacles.length > 0);
  const gates: Gate[] = [];
  for (const split of stuck) {
    const still = stuck.filter((other) => other.from === split.from);
    // When every other sharer moves away, the one that cannot move is left with an account of its own.
    if (still.length === 1) continue;
    gates.push(
      gate(
        'service-account',
        'no',
        split.workload.id,
        [`shares account ${split.from}`, ...split.obstacles],
        `give it an account of its own by hand, or sallyport waive gate=service-account,subject=${split.workload.id} --reason "..." to leave it shared`,
      ),
    );
  }
  gates.push(...namedByOthers(view));
  return gates.length > 0
    ? gates
    : [gate('service-account', 'yes', view.namespace, ['every shared account can be split'], '')];
}

/** Policies of others that name an account about to be left: only their owner can admit the new one. */
function namedByOthers(view: View): readonly Gate[] {
  const gates: Gate[] = [];
  const trustDomain = view.inventory.facts.mesh.trustDomain;
  for (const split of plannedSplits(view)) {
    const old = principal(trustDomain, view.namespace, split.from);
    for (const object of view.snapshot.objects) {
      if (!isObject(object, 'security.istio.io', 'AuthorizationPolicy') || isOwn(object)) continue;
      if (!canonicalJson(object['spec'] ?? {}).includes(JSON.stringify(old))) continue;
      gates.push(
        gate(
          'service-account',
          'no',
          formatRef(refOf(object)),
          [`names ${old}, which ${split.workload.id} would leave for ${split.to}`],
          `admit ${principal(trustDomain, view.namespace, split.to)} there as well, then sallyport waive gate=service-account,subject=${formatRef(refOf(object)).replace(' ', '*')}`,
        ),
      );
    }
  }
  return gates;
}

function shortName(workload: Workload): string {
  return `${workload.kind.toLowerCase()}-${workload.name}`;
}

/** Expand: account, bindings, and peers' policies that admit both. Migrate: the workload. Contract: the peers forget the old one. */
function moveAccount(view: View, draft: Draft, split: AccountSplit, all: readonly AccountSplit[]): void {
  const { workload } = split;
  const step = (id: string, title: string) => ({
    namespace: view.namespace,
    phase: 'identity' as const,
    id: `${shortName(workload)}-${id}`,
    title,
    workload: workload.id,
  });
  for (const object of split.objects) {
    if (draft.get(object) !== undefined) continue;
    const title = `${object.kind} ${object.metadata.name} for ${workload.id}, as ${split.from} has it`;
    draft.ensure(object, step(`${object.kind.toLowerCase()}-${object.metadata.name}`, title));
  }
  const done = all.slice(0, all.indexOf(split));
  const before = afterMove(candidateContext(view), done);
  const added = new Map([[workload.id, [principal(view.inventory.facts.mesh.trustDomain, view.namespace, split.to)]]]);
  const peers = ownPeerPolicies(view, draft, workload);
  for (const server of peers) {
    const both = deriveAuthorization(before, server, added).object;
    if (both === undefined) continue;
    draft.ensure(both, {
      ...step(`expand-${server.namespace}-${server.name}`, `${server.id} admits both accounts of ${workload.id}`),
      namespace: server.namespace,
    });
  }
  const object = draft.byKey(refKey(workload.ref));
  const template = workload.podSets[0]?.templatePath;
  if (object === undefined || template === undefined) return;
  // The API server keeps the deprecated `serviceAccount` equal to `serviceAccountName` and falls back to it: only both together can be
  // taken away again. (k8s.io/kubernetes pkg/apis/core/v1/conversion.go, PodSpec)
  const mirror = [...template, 'spec', 'serviceAccount'];
  const mirrored = view.snapshot.source === 'cluster' || getPath(object, mirror) !== undefined;
  const fields = [
    { path: [...template, 'spec', 'serviceAccountName'], after: split.to },
    ...(mirrored ? [{ path: mirror, after: split.to }] : []),
  ];
  draft.edit(object, fields, {
    ...step('migrate', `${workload.id} runs as ${split.to} instead of ${split.from}`),
    effects: [
      workload.batch ? { kind: 'next-run', workload: workload.id } : { kind: 'rollout', workload: workload.id },
    ],
    risks: [
      'an API call that an unseen binding allowed is refused under the new account',
      ...(workload.batch ? [] : ['its pods are replaced one after another']),
    ],
  });
  const after = afterMove(candidateContext(view), [...done, split]);
  for (const server of peers) {
    const contracted = deriveAuthorization(after, server).object;
    if (contracted === undefined) continue;
    draft.ensure(contracted, {
      ...step(`contract-${server.namespace}-${server.name}`, `${server.id} forgets the old account of ${workload.id}`),
      namespace: server.namespace,
    });
  }
}

/** The workloads that this one calls and that have a policy of ours already. */
function ownPeerPolicies(view: View, draft: Draft, workload: Workload): readonly Workload[] {
  const context = candidateContext(view);
  const called = new Set(
    keptEdges(view.edges)
      .filter((edge) => endpointKey(edge.src) === workload.id && edge.protocol === 'TCP')
      .map((edge) => endpointKey(edge.dst)),
  );
  return view.inventory.workloads.filter((server) => {
    if (!called.has(server.id)) return false;
    const wanted = deriveAuthorization(context, server).object;
    return wanted !== undefined && draft.get(wanted) !== undefined;
  });
}

/** Policies for the callers as they will be: each first as a rehearsal, then enforced; the namespace default last. */
function authorize(view: View, draft: Draft, splits: readonly AccountSplit[]): void {
  const after = afterMove(candidateContext(view), splits);
  const meshed = byRisk(view, workloadsOf(view).filter(inMesh));
  const rehearsed: { readonly workload: Workload; readonly object: KubeManifest }[] = [];
  for (const workload of meshed) {
    const candidate = deriveAuthorization(after, workload).object;
    if (candidate === undefined) continue;
    const step = { namespace: view.namespace, phase: 'identity' as const, workload: workload.id };
    if (draft.get(candidate) === undefined) {
      const annotations = { ...annotationsOf(candidate), [DRY_RUN_ANNOTATION]: 'true' };
      const rehearsal: KubeManifest = { ...candidate, metadata: { ...candidate.metadata, annotations } };
      draft.ensure(rehearsal, {
        ...step,
        id: `${shortName(workload)}-rehearse`,
        title: `rehearse who may call ${workload.id}; nothing is refused`,
      });
      rehearsed.push({ workload, object: rehearsal });
    } else {
      draft.ensure(candidate, {
        ...step,
        id: `${shortName(workload)}-update`,
        title: `${workload.id} admits the callers now on record`,
      });
    }
  }
  for (const { workload, object } of rehearsed)
    draft.edit(object, [{ path: ['metadata', 'annotations', DRY_RUN_ANNOTATION], after: undefined }], {
      namespace: view.namespace,
      phase: 'identity',
      workload: workload.id,
      id: `${shortName(workload)}-enforce`,
      title: `${workload.id} admits the callers on record alone`,
      risks: [
        'callers without a mesh identity are admitted by port where the policy says so',
        'nothing here reads what the rehearsal would have refused: look at the access logs, or stop before this step',
      ],
    });
  if (meshed.length > 0)
    draft.ensure(
      buildAuthorizationPolicy({ name: 'sallyport-default-deny', namespace: view.namespace }, undefined, []),
      {
        namespace: view.namespace,
        phase: 'identity',
        id: 'default-deny',
        title: `workloads of ${view.namespace} without a policy of their own admit nobody`,
      },
    );
}

/** The context with the new accounts in place, so that the policies written name who will be calling. */
function afterMove(
  context: ReturnType<typeof candidateContext>,
  splits: readonly AccountSplit[],
): ReturnType<typeof candidateContext> {
  const accounts = new Map(splits.map((split) => [split.workload.id, split.to]));
  return {
    ...context,
    inventory: {
      ...context.inventory,
      workloads: context.inventory.workloads.map((workload) => {
        const account = accounts.get(workload.id);
        return account === undefined
          ? workload
          : { ...workload, podSets: workload.podSets.map((podSet) => ({ ...podSet, serviceAccount: account })) };
      }),
    },
  };
}

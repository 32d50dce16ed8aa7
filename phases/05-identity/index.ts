import { mentionText, mentionsOf, principalOf } from '../../src/candidates/account-mentions.ts';
import type { AccountName, ManualMention, Mode } from '../../src/candidates/account-mentions.ts';
import { TRUST_GATE, splitAccounts } from '../../src/candidates/accounts.ts';
import type { AccountSplit } from '../../src/candidates/accounts.ts';
import { deriveAuthorization } from '../../src/candidates/authorization.ts';
import { deriveTunnelAccess, policyName } from '../../src/candidates/network.ts';
import { deriveWaypointRequests, pastWaypoints } from '../../src/candidates/waypoint-requests.ts';
import type { Phase, View } from '../../src/engine/contract.ts';
import { endpointKey } from '../../src/model/edge.ts';
import { edgesAt } from '../../src/model/edge-index.ts';
import type { Workload } from '../../src/model/inventory.ts';
import { accountsOfPodSet } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { formatRef, refKey, refOf } from '../../src/model/object.ts';
import { grantsOf, readRbac, rightsOf } from '../../src/model/rbac.ts';
import type { Right } from '../../src/model/rbac.ts';
import { DRY_RUN_ANNOTATION, buildAuthorizationPolicy, isOwn } from '../../src/objects/build.ts';
import { draftSteps } from '../../src/plan/steps.ts';
import type { Draft } from '../../src/plan/steps.ts';
import { corroborationGates } from '../../src/readiness/corroboration-gates.ts';
import { coverageGates, reviewGates } from '../../src/readiness/evidence-gates.ts';
import { notJoinedGates } from '../../src/readiness/joined.ts';
import { withSidecars } from '../../src/readiness/mesh-gates.ts';
import { byRisk } from '../../src/readiness/risk.ts';
import { asRehearsal, isRehearsal, rehearsalGates } from '../../src/readiness/rehearsal.ts';
import { tunnelGates } from '../../src/readiness/tunnel-gates.ts';
import { candidateContext, gate, keptEdges, waiverFor, workloadsOf } from '../../src/readiness/view.ts';
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
    ...rehearsalGates(view),
    ...waypointGates(view),
  ],
  up(view) {
    const draft = draftSteps(view.snapshot.objects);
    const splits = plannedSplits(view);
    for (const split of splits) moveAccount(view, draft, split, splits);
    forgetAccounts(view, draft, splits);
    authorize(view, draft, splits);
    return draft.steps;
  },
  // What an open tunnel port took from NetworkPolicy must be given back by then.
  verify: tunnelGates,
  down: () => [],
};

/** Where methods and paths at a waypoint hold only those who call the Service. */
function waypointGates(view: View): readonly Gate[] {
  const context = candidateContext(view);
  return workloadsOf(view)
    .flatMap((workload) => pastWaypoints(context, workload))
    .map((problem) => gate(problem.gate, 'no', problem.subject, [problem.text], problem.fix));
}

/** Splits that a plan may make: none with an obstacle. */
function plannedSplits(view: View): readonly AccountSplit[] {
  return allSplits(view).filter((split) => split.obstacles.length === 0);
}

function allSplits(view: View): readonly AccountSplit[] {
  const { objects } = view.snapshot;
  const rbac = readRbac(view.snapshot);
  return byRisk(view, workloadsOf(view)).flatMap((workload) =>
    splitAccounts(workload, view.inventory, objects, {
      edges: view.edges,
      trusted: waiverFor(view, TRUST_GATE, workload.id) !== undefined,
      rbac,
    }),
  );
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
        [
          ...split.outside.map((how) => `have ${split.to} trusted: ${how}`),
          ...(split.outside.length === 0
            ? ['give it an account of its own by hand']
            : [`say so: sallyport waive gate=${TRUST_GATE},subject=${split.workload.id} --reason "..."`]),
          `or sallyport waive gate=service-account,subject=${split.workload.id} --reason "..." to leave it shared`,
        ].join('; '),
      ),
    );
  }
  gates.push(...namedByOthers(view), ...interruptions(view));
  return gates.length > 0
    ? gates
    : [gate('service-account', 'yes', view.namespace, ['every shared account can be split'], '')];
}

/** Kinds whose pods hold what somebody works at: kernels of a notebook, groups of processes that fail together. */
const INTERRUPTED: ReadonlySet<string> = new Set(['Notebook', 'LeaderWorkerSet']);

/** A new account replaces the pods that are there: where these train or hold a session, a person says that they may be interrupted. */
function interruptions(view: View): readonly Gate[] {
  return plannedSplits(view)
    .filter(({ takes }) => takes === 'rolls')
    .filter(({ workload }) => INTERRUPTED.has(workload.kind) || workload.classification.stage === 'training')
    .flatMap(({ workload }) => {
      const running = workload.podSets.flatMap(({ pods }) => pods.filter(({ phase }) => phase === 'Running')).length;
      if (running === 0) return [];
      return [
        gate(
          'interrupts',
          'no',
          workload.id,
          [
            `${running} of its pods run now and would be replaced: what they are at (a training run, a session) is lost`,
          ],
          `wait until they are done, or sallyport waive gate=interrupts,subject=${workload.id} --reason "..."`,
        ),
      ];
    });
}

function names(view: View, split: AccountSplit): { readonly from: AccountName; readonly to: AccountName } {
  const { trustDomain } = view.inventory.facts.mesh;
  const base = { namespace: view.namespace, trustDomain };
  return { from: { ...base, name: split.from }, to: { ...base, name: split.to } };
}

/** What names an account about to be left in a way that is not edited: only its owner can admit the new one. */
function namedByOthers(view: View): readonly Gate[] {
  const found = new Map<string, { readonly mention: ManualMention; readonly split: AccountSplit }>();
  for (const split of plannedSplits(view)) {
    const { from, to } = names(view, split);
    for (const mention of mentionsOf(view.snapshot.objects, from, to, isOwn).manual)
      found.set(`${mentionText(mention)}\n${split.to}`, { mention, split });
  }
  return [...found.values()].map(({ mention, split }) => {
    const subject = formatRef(refOf(mention.object));
    return gate(
      'service-account',
      'no',
      subject,
      [`${mention.place} names ${split.from}, which ${split.workload.id} would leave for ${split.to}`],
      `${mention.what}; then sallyport waive gate=service-account,subject=${subject.replace(' ', '*')} --reason "..."`,
    );
  });
}

function shortName(workload: Workload): string {
  return `${workload.kind.toLowerCase()}-${workload.name}`;
}

/** Expand: account, bindings, and all that admits or refuses the old account; then migrate the workload; then the old one is forgotten. */
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
  const staying = lingering(view, done);
  const both = withPrincipals(staying, workload.id, [principalOf(names(view, split).to)]);
  const peers = ownPeerPolicies(view, draft, workload);
  admitAccounts(view, before, draft, workload, both, (server, policy) => ({
    ...step(
      `expand-${server.namespace}-${policy.metadata.name}`,
      `${server.id} admits both accounts of ${workload.id} into its tunnels`,
    ),
    namespace: server.namespace,
  }));
  for (const server of peers) {
    const wanted = deriveAuthorization(before, server, both).object;
    if (wanted === undefined) continue;
    draft.ensure(wanted, {
      ...step(`expand-${server.namespace}-${server.name}`, `${server.id} admits both accounts of ${workload.id}`),
      namespace: server.namespace,
    });
  }
  editMentions(view, draft, split, 'both', (what) => step('expand', `${what} names both accounts of ${workload.id}`));
  const object = draft.byKey(refKey(workload.ref));
  if (object === undefined) return;
  const rights = rightsToAsk(view, split);
  const moved = { from: split.from, to: split.to };
  draft.edit(object, split.fields, {
    ...step('migrate', `${workload.id} runs as ${split.to} instead of ${split.from}`),
    effects: [
      split.takes === 'rolls'
        ? { kind: 'rollout', workload: workload.id, ...(workload.custom ? { accounts: moved } : {}) }
        : { kind: 'next-run', workload: workload.id },
    ],
    risks: [
      'an API call that an unseen binding allowed is refused under the new account',
      ...riskOf(split),
      ...(split.token.answer === 'unused' ? [`no token is put into its pods: ${split.token.why.join('; ')}`] : []),
    ],
    ...(rights.length === 0 ? {} : { rights: { namespace: view.namespace, account: split.to, rights } }),
  });
  const after = afterMove(candidateContext(view), [...done, split]);
  const left = lingering(view, [...done, split]);
  if (!split.lingers)
    admitAccounts(view, after, draft, workload, left, (server, policy) => ({
      ...step(
        `contract-${server.namespace}-${policy.metadata.name}`,
        `the tunnels of ${server.id} forget the old account of ${workload.id}`,
      ),
      namespace: server.namespace,
    }));
  for (const server of split.lingers ? [] : peers) {
    const contracted = deriveAuthorization(after, server, left).object;
    if (contracted === undefined) continue;
    draft.ensure(contracted, {
      ...step(`contract-${server.namespace}-${server.name}`, `${server.id} forgets the old account of ${workload.id}`),
      namespace: server.namespace,
    });
  }
}

/**
 * Of a caller that tunnels: what admits its account into the tunnels of whom it calls, and through waypoints. Written anew where it stands; what
 * is not there yet the phase allow-list writes.
 */
function admitAccounts(
  view: View,
  context: ReturnType<typeof candidateContext>,
  draft: Draft,
  workload: Workload,
  further: Extra,
  step: (server: Workload, policy: KubeManifest) => Parameters<Draft['ensure']>[1],
): void {
  const called = new Set(edgesAt(context.edges, 'src', workload.id).map((edge) => endpointKey(edge.dst)));
  for (const server of context.inventory.workloads) {
    if (!called.has(server.id)) continue;
    const { object, atWaypoints } = deriveTunnelAccess(context, server, further);
    const narrow = view.phases.get(server.namespace) === 'identity';
    const through = narrow ? deriveWaypointRequests(context, server, further) : atWaypoints;
    for (const policy of [...through, ...(object === undefined ? [] : [object])])
      if (draft.get(policy) !== undefined) draft.ensure(policy, step(server, policy));
  }
}

/** Asked at most; of more rights each binding is asked about in equal parts. */
const MOST_RIGHTS = 200;

/** What bindings that name the old account let it do: the API server is asked whether the new one may do it too, before anything moves. */
function rightsToAsk(view: View, split: AccountSplit): readonly Right[] {
  const grants = grantsOf(readRbac(view.snapshot), view.namespace, split.from).filter(({ via }) => via === 'account');
  const all = rightsOf(grants);
  if (all.length <= MOST_RIGHTS) return all;
  const share = Math.max(1, Math.floor(MOST_RIGHTS / grants.length));
  return grants.flatMap((grant) => rightsOf([grant]).slice(0, share)).slice(0, MOST_RIGHTS);
}

function riskOf(split: AccountSplit): readonly string[] {
  const kind = split.workload.kind;
  switch (split.takes) {
    case 'rolls':
      return split.workload.custom
        ? [`the operator of ${kind} replaces its pods in its own time; both accounts are admitted until then`]
        : ['its pods are replaced one after another'];
    case 'stays':
      return [`pods that are there keep ${split.from} until they are made anew; both accounts are admitted until then`];
    case 'next-run':
    case 'once':
    case 'fixed':
      return [];
  }
}

/** Policies of others that name the old account: each field is changed after confirmation, and by nobody's leave taken back. */
function editMentions(
  view: View,
  draft: Draft,
  split: AccountSplit,
  mode: Mode,
  step: (what: string) => Omit<Parameters<Draft['edit']>[2], 'id'> & { readonly id: string },
): void {
  const { from, to } = names(view, split);
  const now = view.snapshot.objects.map((object) => draft.get(object) ?? object);
  for (const { object, field, after } of mentionsOf(now, from, to, isOwn, mode).edits) {
    const ref = refOf(object);
    const base = step(formatRef(ref));
    draft.edit(object, [{ path: [field], after }], {
      ...base,
      id: `${base.id}-${object.kind.toLowerCase()}-${object.metadata.name}`,
      ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
    });
  }
}

/** Once nobody is left on an account, what others wrote of it names the new ones alone. */
function forgetAccounts(view: View, draft: Draft, splits: readonly AccountSplit[]): void {
  for (const split of splits) {
    // Runs that are under way count: those that began before their owner moved still have it.
    const users = workloadsOf(view).filter(({ podSets }) => podSets.flatMap(accountsOfPodSet).includes(split.from));
    const gone = users.every((user) =>
      splits.some((other) => other.workload.id === user.id && other.from === split.from && !other.lingers),
    );
    if (!gone) continue;
    editMentions(view, draft, split, 'forget', (what) => ({
      namespace: view.namespace,
      phase: 'identity',
      workload: split.workload.id,
      id: `${shortName(split.workload)}-contract`,
      title: `${what} forgets ${split.from}, which nobody runs as any more`,
    }));
  }
}

type Extra = ReadonlyMap<string, readonly string[]>;

function withPrincipals(extra: Extra, workload: string, principals: readonly string[]): Extra {
  return new Map([...extra, [workload, [...(extra.get(workload) ?? []), ...principals]]]);
}

/** Old principals of workloads that moved and whose pods have not been replaced yet: these call on as before. */
function lingering(view: View, splits: readonly AccountSplit[]): Extra {
  let extra: Extra = new Map();
  for (const split of splits)
    if (
      split.lingers &&
      split.workload.podSets.some(({ mesh }) => mesh === 'sidecar' || mesh === 'ambient' || mesh === 'mixed')
    )
      extra = withPrincipals(extra, split.workload.id, [principalOf(names(view, split).from)]);
  return extra;
}

/** The workloads that this one calls and that have a policy of ours already. */
function ownPeerPolicies(view: View, draft: Draft, workload: Workload): readonly Workload[] {
  const context = candidateContext(view);
  const called = new Set(
    edgesAt(keptEdges(view.edges), 'src', workload.id)
      .filter((edge) => edge.protocol === 'TCP')
      .map((edge) => endpointKey(edge.dst)),
  );
  return view.inventory.workloads.filter((server) => {
    if (!called.has(server.id)) return false;
    const name = policyName(server, view.inventory, '');
    if (draft.byKey(`security.istio.io/AuthorizationPolicy/${server.namespace}/${name}`) === undefined) return false;
    const wanted = deriveAuthorization(context, server).object;
    return wanted !== undefined && draft.get(wanted) !== undefined;
  });
}

/** Policies for the callers as they will be: each first as a rehearsal, then enforced; the namespace default last. */
function authorize(view: View, draft: Draft, splits: readonly AccountSplit[]): void {
  const after = afterMove(candidateContext(view), splits);
  const left = lingering(view, splits);
  const meshed = byRisk(view, withSidecars(view));
  const rehearsed: { readonly workload: Workload; readonly object: KubeManifest }[] = [];
  for (const workload of meshed) {
    const candidate = deriveAuthorization(after, workload, left).object;
    if (candidate === undefined) continue;
    const step = { namespace: view.namespace, phase: 'identity' as const, workload: workload.id };
    const live = draft.get(candidate);
    // A rehearsal of an earlier run, that nobody has enforced yet.
    if (live !== undefined && isRehearsal(live)) rehearsed.push({ workload, object: live });
    if (live === undefined) {
      const rehearsal = asRehearsal(candidate);
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
        ...(view.config.identity?.rehearsal === 'required'
          ? []
          : [
              'nothing here reads what the rehearsal would have refused: sallyport rehearse, and identity.rehearsal in the configuration',
            ]),
      ],
    });
  for (const workload of byRisk(view, workloadsOf(view)))
    for (const policy of deriveWaypointRequests(after, workload, left))
      draft.ensure(policy, {
        namespace: view.namespace,
        phase: 'identity',
        workload: workload.id,
        id: `${shortName(workload)}-${policy.metadata.name}`,
        title: `the waypoint of ${workload.id} admits the callers on record alone, by method and path where these are on record (not proven on packets)`,
        risks: [
          'a request on no record is refused by the waypoint with 403, and was not rehearsed: a second ALLOW beside the one in force would refuse nothing',
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
  if (splits.length === 0) return context;
  return {
    ...context,
    inventory: {
      ...context.inventory,
      workloads: context.inventory.workloads.map((workload) => {
        const mine = splits.filter((split) => split.workload.id === workload.id);
        if (mine.length === 0) return workload;
        const now = (account: string): string => mine.find((split) => split.from === account)?.to ?? account;
        return {
          ...workload,
          podSets: workload.podSets.map((podSet) => ({ ...podSet, serviceAccount: now(podSet.serviceAccount) })),
        };
      }),
    },
  };
}

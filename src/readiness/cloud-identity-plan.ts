import type { CloudMove, CloudPlan } from '../candidates/cloud-plan.ts';
import { proofCommand, provenTrust } from '../candidates/cloud-proof.ts';
import type { CloudProof, WantedTrust } from '../candidates/cloud-proof.ts';
import { accountsOf } from '../candidates/accounts.ts';
import { deriveNetworkCandidate } from '../candidates/network.ts';
import type { AppliedStep, View } from '../engine/contract.ts';
import { accountKindOf, podSpecEdit, podSpecsOf, podTemplateEdit } from '../model/account-places.ts';
import type { FieldEdit } from '../model/account-places.ts';
import {
  AZURE_ANNOTATION,
  AZURE_LABEL,
  GKE_ANNOTATION,
  IRSA_ANNOTATION,
  WAY_ANNOTATION,
  cloudKeysIn,
} from '../model/cloud-identity.ts';
import type { BindingWay, Cloud, CloudFacts } from '../model/cloud-identity.ts';
import { clusterNames } from '../model/cloud-cluster.ts';
import type { ClusterNames } from '../model/cloud-cluster.ts';
import { secretsNamedIn, withAwsToken, withoutKeys } from '../model/cloud-key-removal.ts';
import type { Gate } from '../model/finding.ts';
import { followsTemplate } from '../model/inventory.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, namespaceOf, refKey, refOf } from '../model/object.ts';
import { accountUser } from '../model/rbac.ts';
import { isOwn } from '../objects/build.ts';
import { assembleSteps } from '../plan/assemble.ts';
import type { Planner } from '../plan/assemble.ts';
import { applyToObjects } from '../plan/change.ts';
import type { Effect, Plan } from '../plan/plan.ts';
import { draftSteps } from '../plan/steps.ts';
import type { Draft } from '../plan/steps.ts';
import { equalJson, setPath } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import { tokenGate } from './cloud-token.ts';
import { byRisk } from './risk.ts';
import { candidateContext, gate } from './view.ts';

/** By its subject a person says that the cloud trusts the account: nothing in the cluster shows it. */
export const CLOUD_GATE = 'cloud-side';
const PREFIX = 'cloud/';

export interface CloudRequest {
  readonly namespace: string;
  /** These alone, by id; all that hold a key where it is empty. */
  readonly workloads: readonly string[];
  /** The identity that each is to have: e-mail, ARN or client id. By workload id. */
  readonly identities: ReadonlyMap<string, string>;
  /** The way for each cloud, where it has several; GKE's and IRSA's annotations by default. */
  readonly ways: ReadonlySet<BindingWay>;
  /** Write a token for AWS's STS into the pods, for clusters whose webhook does not. */
  readonly projectToken: boolean;
  /** Expand alone: the key stays. */
  readonly keepKey: boolean;
  readonly proofs: readonly CloudProof[];
  /** What the cloud knows this cluster by, as stated: it comes before what is seen. */
  readonly cluster?: ClusterNames;
}

/** One workload on its way from a key to an identity. */
interface Migration {
  readonly move: CloudMove;
  readonly workload: Workload;
  readonly way: BindingWay;
  /** Stated already by an object of the cluster. */
  readonly bound: boolean;
  readonly identity?: string;
  readonly account: KubeManifest | undefined;
  readonly owner: KubeManifest | undefined;
}

const IDENTITIES: Readonly<Record<Cloud, { readonly form: RegExp; readonly what: string }>> = {
  gcp: {
    form: /^[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com$/u,
    what: 'the e-mail of a Google service account',
  },
  aws: { form: /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]+$/u, what: 'the ARN of an IAM role' },
  azure: {
    form: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/iu,
    what: 'the client id (a UUID) of a managed identity',
  },
};

/** Ways whose identity stands on the account. */
const ANNOTATION_OF: Readonly<Partial<Record<BindingWay, string>>> = {
  'gke-annotation': GKE_ANNOTATION,
  irsa: IRSA_ANNOTATION,
  'azure-workload-identity': AZURE_ANNOTATION,
};

/** The way that is asked for, of those that a cloud has. */
function wayOf(cloud: Cloud, asked: ReadonlySet<BindingWay>): BindingWay {
  switch (cloud) {
    case 'gcp':
      return asked.has('gke-principal') ? 'gke-principal' : 'gke-annotation';
    case 'aws':
      return asked.has('eks-pod-identity') ? 'eks-pod-identity' : 'irsa';
    case 'azure':
      return 'azure-workload-identity';
  }
}

/** What is wrong with a request, all at once; nothing is planned then. */
export function cloudRequestProblems(view: View, plan: CloudPlan, request: CloudRequest): readonly string[] {
  const mine = migrationsOf(view, plan, request);
  const problems: string[] = [];
  for (const id of [...request.workloads, ...request.identities.keys()])
    if (!mine.some(({ workload }) => workload.id === id))
      problems.push(`${id} holds no long-lived key of a cloud in ${request.namespace}`);
  for (const { move, way, bound, identity, workload } of mine) {
    const { form, what } = IDENTITIES[move.cloud];
    const needed = ANNOTATION_OF[way] !== undefined && !bound;
    const asked = request.identities.get(workload.id);
    const standing = move.bindings.find((binding) => binding.identity !== undefined)?.identity;
    if (asked !== undefined && !form.test(asked)) problems.push(`${asked} for ${workload.id} is not ${what}`);
    else if (asked !== undefined && standing !== undefined && asked !== standing)
      problems.push(`${workload.id} has the identity ${standing} already: leave out --identity, or change that first`);
    else if (needed && identity === undefined)
      problems.push(`which identity ${workload.id} is to have is not said: --identity ${workload.id}=..., ${what}`);
  }
  return uniqueSorted(problems);
}

function migrationsOf(view: View, plan: CloudPlan, request: CloudRequest): readonly Migration[] {
  const workloads = byRisk(
    view,
    view.inventory.workloads.filter(({ namespace }) => namespace === request.namespace),
  );
  const byKey = new Map(view.snapshot.objects.map((object) => [refKey(refOf(object)), object]));
  return workloads.flatMap((workload) =>
    plan.moves
      .filter((move) => move.workload === workload.id && move.keys.length > 0)
      .filter(() => request.workloads.length === 0 || request.workloads.includes(workload.id))
      .map((move): Migration => {
        const [binding] = move.bindings;
        const identity = request.identities.get(workload.id) ?? binding?.identity;
        const now = accountsOf(workload);
        const account = byKey.get(`/ServiceAccount/${workload.namespace}/${now[0] ?? ''}`);
        return {
          move,
          workload,
          way: binding?.way ?? wayOf(move.cloud, request.ways),
          bound: binding !== undefined,
          ...(identity === undefined ? {} : { identity }),
          account,
          owner: byKey.get(refKey(workload.ref)),
        };
      }),
  );
}

/** Secrets that nothing in the namespace refers to once the plan is through: what is left to be done by their owners. */
export interface LeftSecret {
  readonly secret: string;
  readonly stillNamedBy: readonly string[];
}

export interface CloudSteps {
  readonly plan: Plan;
  readonly left: readonly LeftSecret[];
}

/**
 * From keys to identities as ordinary steps, one workload after the other: the path to the metadata server, where the workload is isolated;
 * the account's annotation, and what the cloud's webhook asks of the pods (expand: the key is there still); then the pods without the key
 * (migrate). What the cloud itself has to do is a gate. Secrets are named, and neither read nor written.
 */
export function planCloudSteps(view: View, cloud: CloudPlan, request: CloudRequest, planner: Planner): CloudSteps {
  const migrations = migrationsOf(view, cloud, request);
  const draft = draftSteps(view.snapshot.objects);
  const gates: Gate[] = [...nodeGates(view, cloud.cloud, migrations)];
  const cluster: ClusterNames = {
    ...view.config.cloud,
    ...clusterNames(view.snapshot.objects),
    ...request.cluster,
  };
  for (const one of migrations) {
    gates.push(...accountGates(one), ...expand(view, draft, one, request));
    if (request.keepKey) continue;
    const { workload, way, owner } = one;
    const beside = owner === undefined ? undefined : (draft.get(owner) ?? owner);
    gates.push(
      trustGate(one, cloud.cloud, request.proofs, cluster),
      tokenGate(workload, way, beside, view.snapshot.objects),
      ...migrate(draft, one),
    );
  }
  let end: readonly KubeManifest[] = view.snapshot.objects;
  const plan = assembleSteps(
    view,
    draft.steps,
    ({ snapshot }) => {
      end = snapshot.objects;
      return gates;
    },
    planner,
  );
  return { plan, left: request.keepKey ? [] : leftSecrets(migrations, end) };
}

/** The steps in force that took keys away for a namespace, newest first. */
export function cloudStepsInForce(applied: readonly AppliedStep[], namespace: string): readonly AppliedStep[] {
  return applied
    .filter((one) => one.namespace === namespace && one.step.id.startsWith(`identity/${PREFIX}`))
    .toSorted((a, b) => b.seq - a.seq);
}

// ---- expand

function expand(view: View, draft: Draft, one: Migration, request: CloudRequest): readonly Gate[] {
  const { workload, way, bound, identity, account, owner } = one;
  const gates: Gate[] = [];
  const annotation = ANNOTATION_OF[way];
  const fields: FieldEdit[] = [];
  if (!bound && account !== undefined) {
    if (annotation !== undefined && identity !== undefined)
      fields.push({ path: ['metadata', 'annotations', annotation], after: identity });
    if (annotation === undefined) fields.push({ path: ['metadata', 'annotations', WAY_ANNOTATION], after: way });
  }
  if (account !== undefined && fields.length > 0) {
    gates.push(...openPath(view, draft, one, account, fields));
    draft.edit(account, fields, {
      ...stepOf(one, 'annotate'),
      title:
        annotation === undefined
          ? `account ${account.metadata.name} states that it is trusted by ${way}`
          : `account ${account.metadata.name} names the identity that ${workload.id} is to have`,
      risks: ['pods that are there have what they were made with: the cloud puts credentials into new ones alone'],
    });
  }
  if (owner === undefined) return gates;
  if (way === 'azure-workload-identity') gates.push(...labelPods(draft, one, owner));
  if (way === 'irsa' && request.projectToken && identity !== undefined)
    editPods(
      draft,
      one,
      podSpecEdit(owner, (spec) => withAwsToken(spec, identity)),
      'token',
      `the pods of ${workload.id} are given a token for sts.amazonaws.com, beside the key`,
      [],
    );
  return gates;
}

function labelPods(draft: Draft, one: Migration, owner: KubeManifest): readonly Gate[] {
  const { workload } = one;
  if (workload.podSets.every(({ labels }) => labels[AZURE_LABEL] === 'true')) return [];
  const edit = podTemplateEdit(owner, (template) => setPath(template, ['metadata', 'labels', AZURE_LABEL], 'true'));
  if (edit === undefined || edit.length === 0)
    return [
      gate(
        'key-reference',
        'no',
        workload.id,
        [`a ${workload.kind} has no pod template that could carry ${AZURE_LABEL}`],
        `have its operator label its pods with ${AZURE_LABEL}=true, then plan anew`,
      ),
    ];
  editPods(
    draft,
    one,
    edit,
    'label',
    `the pods of ${workload.id} are given a token by Azure's webhook, beside the key`,
    ['the webhook acts on new pods alone, and where it does not run they are given nothing'],
  );
  return [];
}

/**
 * The path that the identity needs is opened before anything names it, where an egress policy of ours isolates the workload. The rule is what the
 * allow-list would derive once the account is annotated, and nothing else may come with it.
 */
function openPath(
  view: View,
  draft: Draft,
  one: Migration,
  account: KubeManifest,
  fields: readonly FieldEdit[],
): readonly Gate[] {
  const { workload } = one;
  const before = deriveNetworkCandidate(candidateContext(view), workload, 'egress').object;
  const then = annotated(view, account, fields);
  const after = deriveNetworkCandidate(candidateContext(then), workload, 'egress').object;
  if (after === undefined) return [];
  const live = draft.get(after) ?? (before === undefined ? undefined : draft.get(before));
  // Not isolated by us: what others wrote is judged by the simulation.
  if (live === undefined || !isOwn(live)) return [];
  if (equalJson(live['spec'], after['spec'])) return [];
  const sameKind = before !== undefined && refKey(refOf(before)) === refKey(refOf(after));
  if (!sameKind || !equalJson(live['spec'], before['spec']))
    return [
      gate(
        'metadata-path',
        'no',
        workload.id,
        [
          `${formatRef(refOf(live))} is not what the allow-list would write now: more than the path would be opened with it`,
        ],
        `bring the allow-list up to date first: sallyport advance ${view.namespace}`,
      ),
    ];
  draft.ensure(after, {
    ...stepOf(one, 'open'),
    direction: 'egress',
    title: `${workload.id} may reach ${pathText(then, view, workload)}`,
  });
  return [];
}

function annotated(view: View, account: KubeManifest, fields: readonly FieldEdit[]): View {
  const objects = applyToObjects(view.snapshot.objects, {
    kind: 'edit',
    ref: refOf(account),
    fields: fields.map(({ path, after }) => ({ path, before: undefined, after })),
    owner: 'other',
  });
  const snapshot = { ...view.snapshot, objects };
  const inventory = view.rebuild(snapshot);
  return { ...view, snapshot, inventory, edges: view.edgesIn(inventory) };
}

/** What the workload is stated to need, that it was not before. */
function pathText(then: View, now: View, workload: Workload): string {
  const paths = (inventory: Inventory): readonly string[] =>
    inventory.declared
      .filter(({ src }) => src.kind === 'workload' && src.id === workload.id)
      .map(({ dst, port }) => `${dst.kind === 'external' ? (dst.ip ?? dst.name ?? '') : 'its node'}:${port}`);
  const old = new Set(paths(now.inventory));
  return uniqueSorted(paths(then.inventory).filter((path) => !old.has(path))).join(', ');
}

// ---- migrate

function migrate(draft: Draft, one: Migration): readonly Gate[] {
  const { workload, move, owner } = one;
  if (owner === undefined) return [referenceGate(workload, [`the text of ${workload.id} was not read`])];
  const obstacle = cannotEdit(one, owner);
  if (obstacle !== undefined) return [referenceGate(workload, [obstacle])];
  const now = draft.get(owner) ?? owner;
  const removals = podSpecsOf(now).map(({ spec }) => withoutKeys(spec, workload.namespace, move.cloud));
  const edit = podSpecEdit(now, (spec) => withoutKeys(spec, workload.namespace, move.cloud).spec);
  const stay = removals.flatMap(({ spec }) =>
    cloudKeysIn(spec, workload.namespace).filter(({ cloud }) => cloud === move.cloud),
  );
  if (edit.length === 0 || stay.length > 0)
    return [
      referenceGate(
        workload,
        stay.length > 0
          ? stay.map(({ place, reference }) => `${place}${reference === undefined ? '' : `, ${reference}`} would stay`)
          : [`nothing in the text of ${workload.id} refers to the key: its pods come to it in another way`],
      ),
    ];
  const removed = uniqueSorted(removals.flatMap((removal) => removal.removed));
  editPods(draft, one, edit, 'migrate', `${workload.id} runs without its key: ${removed.join(', ')}`, [
    'the program must find its credentials by the default chain of the cloud’s library: one that reads the variable or the file by name does not start',
    ...uniqueSorted(removals.flatMap(({ left }) => left)),
    'taking this back needs the key to be there and valid still: delete it in the cloud when this has soaked',
  ]);
  return [];
}

function cannotEdit({ workload }: Migration, owner: KubeManifest): string | undefined {
  const kind = accountKindOf(owner);
  if (kind === undefined) return `where a ${owner.kind} holds the specs of its pods is not known`;
  if (kind.takes === 'fixed') return `a ${owner.kind} cannot be changed: it must be created anew`;
  const begun = owner['status'] !== undefined || workload.podSets.some(({ pods }) => pods.length > 0);
  if (kind.takes === 'once' && begun) return `this ${owner.kind} has begun and is not changed`;
  return undefined;
}

function referenceGate(workload: Workload, facts: readonly string[]): Gate {
  return gate(
    'key-reference',
    'no',
    workload.id,
    facts,
    `take the reference out by hand, or leave ${workload.id} out: --workload names those to be moved`,
  );
}

function editPods(
  draft: Draft,
  one: Migration,
  fields: readonly FieldEdit[],
  id: string,
  title: string,
  risks: readonly string[],
): void {
  const { workload, owner } = one;
  if (owner === undefined || fields.length === 0) return;
  const rolls = accountKindOf(owner)?.takes === 'rolls';
  const waits: Effect[] = [
    rolls && followsTemplate(workload)
      ? { kind: 'rollout', workload: workload.id }
      : { kind: 'next-run', workload: workload.id },
  ];
  draft.edit(owner, fields, {
    ...stepOf(one, id),
    title,
    effects: waits,
    risks: [
      ...risks,
      ...(rolls
        ? [
            workload.custom
              ? `the operator of ${workload.kind} replaces its pods in its own time`
              : 'its pods are replaced one after another',
          ]
        : []),
    ],
  });
}

function stepOf(
  { workload }: Migration,
  id: string,
): {
  readonly namespace: string;
  readonly phase: 'identity';
  readonly id: string;
  readonly workload: string;
} {
  return {
    namespace: workload.namespace,
    phase: 'identity',
    id: `${PREFIX}${workload.kind.toLowerCase()}-${workload.name}-${id}`,
    workload: workload.id,
  };
}

// ---- gates

/** The account must be the workload's own, and there: whatever runs as it is trusted by the cloud from then on. */
function accountGates({ move, workload, account }: Migration): readonly Gate[] {
  const now = accountsOf(workload);
  const facts = [
    ...(now.length > 1 ? [`its pods run as several accounts: ${now.join(', ')}`] : []),
    ...(account === undefined ? [`account ${now[0] ?? ''} was not read`] : []),
    ...(move.shared || move.account !== now[0]
      ? [`others run as ${now[0] ?? ''} too, or may: the cloud would trust them all`]
      : []),
  ];
  return facts.length === 0
    ? []
    : [
        gate(
          'cloud-account',
          'no',
          workload.id,
          facts,
          `give it an account of its own first: sallyport plan ${workload.namespace} --to identity; or sallyport waive gate=cloud-account,subject=${workload.id} --reason "..."`,
        ),
      ];
}

/** Do the nodes belong to the cloud whose webhook or metadata server is to hand out credentials? */
function nodeGates(view: View, facts: CloudFacts, migrations: readonly Migration[]): readonly Gate[] {
  const clouds = uniqueSorted(migrations.map(({ move }) => move.cloud));
  return clouds.flatMap((cloud): readonly Gate[] => {
    const subject = `${view.namespace}/${cloud}`;
    if (facts.cloud !== cloud)
      return [
        gate(
          'cloud-nodes',
          facts.cloud === 'unknown' ? 'unknown' : 'no',
          subject,
          [
            facts.cloud === 'unknown'
              ? `whether the nodes are of ${cloud} is not known: ${facts.because}`
              : `the nodes are of ${facts.cloud} (${facts.because}), and nothing there hands out credentials of ${cloud}`,
          ],
          `sallyport waive gate=cloud-nodes,subject=${subject} --reason "..." where you know that it does`,
        ),
      ];
    if (cloud === 'gcp' && facts.gkeMetadata === false)
      return [
        gate(
          'cloud-nodes',
          'no',
          subject,
          ['no node runs the GKE metadata server: pods would be given the identity of their node'],
          'gcloud container node-pools update POOL --cluster CLUSTER --workload-metadata GKE_METADATA',
        ),
      ];
    return [gate('cloud-nodes', 'yes', subject, [facts.because], '')];
  });
}

function trustGate(one: Migration, facts: CloudFacts, proofs: readonly CloudProof[], cluster: ClusterNames): Gate {
  const { workload, way, identity, move } = one;
  const wanted: WantedTrust = {
    way,
    namespace: workload.namespace,
    account: accountsOf(workload)[0] ?? '',
    ...(identity === undefined ? {} : { identity }),
    ...(facts.project === undefined ? {} : { project: facts.project }),
    cluster,
  };
  const { answer, facts: told } = provenTrust(wanted, proofs);
  return gate(
    CLOUD_GATE,
    answer,
    workload.id,
    [
      `${accountUser(wanted.namespace, wanted.account)} by ${way}${identity === undefined ? '' : ` as ${identity}`}`,
      ...told,
    ],
    [
      ...(move.commands.length === 0
        ? []
        : [`in the cloud: sallyport cloud-identity -n ${workload.namespace} has the commands`]),
      `show it: ${proofCommand(wanted)}`,
      `or say that it is done: sallyport waive gate=${CLOUD_GATE},subject=${workload.id} --reason "..."`,
    ].join('; '),
  );
}

// ---- what is left

function leftSecrets(migrations: readonly Migration[], end: readonly KubeManifest[]): readonly LeftSecret[] {
  const gone = uniqueSorted(
    migrations.flatMap(({ move }) =>
      move.keys.flatMap(({ reference }) => /^Secret ([^ ]+)/u.exec(reference ?? '')?.[1] ?? []),
    ),
  );
  return gone.map((secret) => {
    const [namespace, name] = secret.split('/');
    const users = end.filter(
      (object) =>
        namespaceOf(object) === namespace &&
        podSpecsOf(object).some(({ spec }) => secretsNamedIn(spec).has(name ?? '')),
    );
    return { secret, stillNamedBy: uniqueSorted(users.map((object) => formatRef(refOf(object)))) };
  });
}

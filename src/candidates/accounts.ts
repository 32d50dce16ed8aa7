import { accountEdit, accountKindOf, podSpecsOf } from '../model/account-places.ts';
import type { AccountEdit, Takes } from '../model/account-places.ts';
import type { Edge } from '../model/edge.ts';
import { followsTemplate } from '../model/inventory.ts';
import type { Inventory, PodSet, Workload } from '../model/inventory.ts';
import { workloadsIn } from '../model/inventory-index.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, isObject, labelsOf, namespaceOf, objectKey, refKey } from '../model/object.ts';
import { grantsOf, readRbac, rightsOf, subjectApplies } from '../model/rbac.ts';
import type { Rbac } from '../model/rbac.ts';
import { buildAccount } from '../objects/account.ts';
import { WORKLOAD_ANNOTATION, buildBinding, isOwn } from '../objects/build.ts';
import { asArray, asBoolean, asObject, asString } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { AccountName } from './account-mentions.ts';
import { isNamedAlready, selectedAccountLabels, vaultAnnotations } from './account-mentions.ts';
import { podTemplateOfAirflow } from './airflow.ts';
import { trustCommand } from './cloud-trust.ts';
import { tokenUse } from './token-use.ts';
import type { TokenUse } from './token-use.ts';

/** The accounts of a workload's pods; more than one where its roles differ. */
export function accountsOf(workload: Workload): readonly string[] {
  return uniqueSorted(workload.podSets.map((podSet) => podSet.serviceAccount));
}

/** Other workloads of the namespace that run as the account, or as any of the workload's accounts. */
export function sharesWith(workload: Workload, inventory: Inventory, account?: string): readonly Workload[] {
  const mine = new Set(account === undefined ? accountsOf(workload) : [account]);
  return workloadsIn(inventory, workload.namespace).filter(
    (other) => other.id !== workload.id && accountsOf(other).some((one) => mine.has(one)),
  );
}

/** Annotations by which a cloud trusts an account: moving a workload off it would cut the workload from the cloud. */
export const CLOUD_ANNOTATIONS: readonly string[] = [
  'eks.amazonaws.com/role-arn',
  'iam.gke.io/gcp-service-account',
  'azure.workload.identity/client-id',
];

/** Settings beside those annotations, which go with them. */
const CLOUD_SETTINGS: readonly string[] = [
  'eks.amazonaws.com/audience',
  'eks.amazonaws.com/sts-regional-endpoints',
  'eks.amazonaws.com/token-expiration',
  'azure.workload.identity/tenant-id',
  'azure.workload.identity/service-account-token-expiration',
];

/** The gate by which a person says that whoever trusts the old account from outside the cluster trusts the new one. */
export const TRUST_GATE = 'account-trust';

export interface AccountSplit {
  readonly workload: Workload;
  readonly from: string;
  readonly to: string;
  /** The account, then its bindings, in the order to create them. */
  readonly objects: readonly KubeManifest[];
  /** Why it cannot be done by itself. */
  readonly obstacles: readonly string[];
  /** The fields of the owner that name the account. Empty where there are obstacles. */
  readonly fields: Extract<AccountEdit, { kind: 'fields' }>['fields'];
  /** For people: where they stand. */
  readonly places: readonly string[];
  readonly takes: Takes;
  /** Pods that go on as the old account after the move: peers admit both until they are gone. */
  readonly lingers: boolean;
  /** Whether the token is put into the pods by itself, and why. */
  readonly token: TokenUse;
  /** What trusts the old account from outside: to be done by hand, then said with the gate `account-trust`. */
  readonly outside: readonly string[];
}

export interface SplitOptions {
  /** Connections on record; without them nothing is known of the use of tokens. */
  readonly edges?: readonly Edge[];
  /** Has a person said that what stands outside trusts the new account? */
  readonly trusted?: boolean;
  readonly rbac?: Rbac;
}

/** A free name for the workload's own account: one that no binding and no policy names, so that it comes into no rights. */
function accountName(
  workload: Workload,
  role: string,
  inventory: Inventory,
  objects: readonly KubeManifest[],
): string | undefined {
  const base = role === '' ? workload.name : `${workload.name}-${role.toLowerCase()}`;
  const { trustDomain } = inventory.facts.mesh;
  const taken = (name: string): boolean => {
    const own = objects.find(
      (object) =>
        isObject(object, '', 'ServiceAccount') &&
        namespaceOf(object) === workload.namespace &&
        object.metadata.name === name,
    );
    // Made by an earlier run of ours for this very workload.
    if (own !== undefined) return !isOwn(own) || annotationsOf(own)[WORKLOAD_ANNOTATION] !== workload.id;
    return isNamedAlready(
      objects.filter((object) => !isOwn(object)),
      { namespace: workload.namespace, name, trustDomain },
    );
  };
  const kind = workload.kind.toLowerCase();
  return [base, `${base}-${kind}`, `sallyport-${base}`, `sallyport-${base}-${kind}`].find((name) => !taken(name));
}

/** `<account>-dockercfg-x1y2z` and `-token-`: made by the cluster for that account, and for every new one. */
function isGenerated(secret: string, account: string, what: string): boolean {
  const prefix = `${account}-${what}-`;
  return secret.startsWith(prefix) && /^[a-z0-9]{5}$/u.test(secret.slice(prefix.length));
}

function namesIn(object: KubeManifest | undefined, field: string): readonly string[] {
  return asArray(object?.[field]).flatMap((item) => asString(asObject(item)['name']) ?? []);
}

/**
 * What gives a workload that shares its account one of its own; see `splitAccounts`. The first of its accounts that is shared: kinds with one
 * account have no other.
 */
export function splitAccount(
  workload: Workload,
  inventory: Inventory,
  objects: readonly KubeManifest[],
  options: SplitOptions = {},
): AccountSplit | undefined {
  return splitAccounts(workload, inventory, objects, options)[0];
}

/**
 * For each account that the workload shares with others: the account with the same imagePullSecrets, a copy of each binding that names the old
 * one, with the same role, and the fields of the owner that name it. A binding to a group is not copied: the new account is in the group
 * already. Secrets are never read: an account that lists token Secrets, is trusted from outside, or belongs to an owner whose text does not
 * name it, is an obstacle that a person resolves.
 */
export function splitAccounts(
  workload: Workload,
  inventory: Inventory,
  objects: readonly KubeManifest[],
  options: SplitOptions = {},
): readonly AccountSplit[] {
  const accounts = accountsOf(workload);
  const shared = accounts.filter((account) => sharesWith(workload, inventory, account).length > 0);
  // The others moved away before the run stopped: what was begun for this one is finished.
  if (shared.length === 0 && accounts.length === 1 && hasOwnAccount(workload, objects)) shared.push(...accounts);
  return shared.map((from) => splitOne(workload, from, roleOf(workload, from, shared), inventory, objects, options));
}

/** Is there an account that a run of ours made for the workload, and that it does not run as? */
function hasOwnAccount(workload: Workload, objects: readonly KubeManifest[]): boolean {
  const runsAs = accountsOf(workload);
  return objects.some(
    (object) =>
      isObject(object, '', 'ServiceAccount') &&
      isOwn(object) &&
      namespaceOf(object) === workload.namespace &&
      annotationsOf(object)[WORKLOAD_ANNOTATION] === workload.id &&
      !runsAs.includes(object.metadata.name),
  );
}

/** Where roles differ in their accounts each new account is named after the role as well. */
function roleOf(workload: Workload, account: string, accounts: readonly string[]): string {
  if (accounts.length < 2) return '';
  return workload.podSets.find((podSet) => podSet.serviceAccount === account)?.role ?? '';
}

function splitOne(
  workload: Workload,
  from: string,
  role: string,
  inventory: Inventory,
  objects: readonly KubeManifest[],
  options: SplitOptions,
): AccountSplit {
  const { namespace } = workload;
  const old = objects.find(
    (object) =>
      isObject(object, '', 'ServiceAccount') && namespaceOf(object) === namespace && object.metadata.name === from,
  );
  const key = refKey(workload.ref);
  const owner = objects.find((object) => objectKey(object) === key);
  const free = accountName(workload, role, inventory, objects);
  const to = free ?? workload.name;
  const name: AccountName = { namespace, name: to, trustDomain: inventory.facts.mesh.trustDomain };
  const sets = workload.podSets.filter((podSet) => podSet.serviceAccount === from);
  const edit = editOf(workload, owner, sets, from, to, objects);
  const outside = outsideTrust(old, sets, name);
  const secrets = namesIn(old, 'secrets').filter((secret) => !isGenerated(secret, from, 'dockercfg'));
  const obstacles = [
    ...(free === undefined ? ['every name for an account of its own is named by a binding or a policy already'] : []),
    ...(edit.kind === 'refused' ? [edit.reason] : []),
    ...(secrets.length > 0 ? [`account ${from} lists token Secrets that something may use`] : []),
    ...(options.trusted === true ? [] : outside.map(({ why }) => why)),
  ];
  const rbac = options.rbac ?? readRbac({ objects, unread: [] });
  const direct = grantsOf(rbac, namespace, from).filter((grant) => grant.via === 'account');
  const specs = owner === undefined ? [] : podSpecsOf(owner).map(({ spec }) => spec);
  const token = tokenUse(workload, specs, options.edges, rbac.complete ? direct.length > 0 : undefined);
  const labels = old === undefined ? {} : labelsOf(old);
  const carried = selectedAccountLabels(objects, labels);
  const annotations = old === undefined ? {} : annotationsOf(old);
  const kept = [...CLOUD_ANNOTATIONS, ...CLOUD_SETTINGS].filter((key) => annotations[key] !== undefined);
  const made: KubeManifest[] = [
    buildAccount(
      {
        name: to,
        namespace,
        workload: workload.id,
        annotations: Object.fromEntries(kept.map((key) => [key, annotations[key] ?? ''])),
      },
      namesIn(old, 'imagePullSecrets').filter((secret) => !isGenerated(secret, from, 'dockercfg')),
      {
        labels: Object.fromEntries(carried.map((key) => [key, labels[key] ?? ''])),
        // Off where it was off, or where nothing uses it; never on where it was off.
        ...(token.answer === 'unused' || asBoolean(old?.['automountServiceAccountToken']) === false
          ? { automount: false }
          : {}),
      },
    ),
    ...copiedBindings(workload, from, to, objects),
  ];
  return {
    workload,
    from,
    to,
    objects: made,
    obstacles,
    fields: edit.kind === 'fields' ? edit.fields : [],
    places: edit.kind === 'fields' ? edit.places : [],
    takes: (owner === undefined ? undefined : accountKindOf(owner)?.takes) ?? 'fixed',
    lingers: lingers(workload, sets),
    token,
    outside: outside.map(({ how }) => how),
  };
}

/** Pods that nobody replaces for the new template, or that an operator replaces in its own time. */
function lingers(workload: Workload, sets: readonly PodSet[]): boolean {
  const waitedFor = followsTemplate(workload) && !workload.batch;
  return (
    !waitedFor &&
    sets.some((podSet) => podSet.pods.some((pod) => pod.finishedAt === undefined && !FINISHED.has(pod.phase)))
  );
}

const FINISHED: ReadonlySet<string> = new Set(['Succeeded', 'Failed', 'Unknown']);

/** How the owner's text is changed, or why it is not. */
function editOf(
  workload: Workload,
  owner: KubeManifest | undefined,
  sets: readonly PodSet[],
  from: string,
  to: string,
  objects: readonly KubeManifest[],
): AccountEdit {
  const refused = (reason: string): AccountEdit => ({ kind: 'refused', reason });
  const airflow = podTemplateOfAirflow(workload, objects);
  if (airflow !== undefined) return refused(airflow);
  if (!workload.custom && !followsTemplate(workload))
    return refused(`a ${workload.kind} cannot change the account of its pods: it must be created anew`);
  if (owner === undefined)
    return refused(
      workload.custom
        ? `${workload.kind} is a custom owner whose text was not read: its account is set through its operator`
        : `${workload.id} was not read`,
    );
  const kind = accountKindOf(owner);
  if (kind?.takes === 'once' && hasBegun(owner, sets))
    return refused(
      `this ${workload.kind} has begun and is not changed: name ${to} in ${kind.places[0]?.holder.join('.').replaceAll('.*', '[*]').replaceAll('.%', '.ROLE') ?? 'spec'} of what submits the next one`,
    );
  const live = owner.metadata['uid'] !== undefined;
  return accountEdit(owner, from, to, live && !workload.custom);
}

function hasBegun(owner: KubeManifest, sets: readonly PodSet[]): boolean {
  return Object.keys(asObject(owner['status'])).length > 0 || sets.some((podSet) => podSet.pods.length > 0);
}

interface OutsideTrust {
  readonly why: string;
  readonly how: string;
}

/** Clouds and Vault know the account by its name: nothing inside of the cluster makes them admit another. */
function outsideTrust(
  old: KubeManifest | undefined,
  sets: readonly PodSet[],
  to: AccountName,
): readonly OutsideTrust[] {
  const annotations = old === undefined ? {} : annotationsOf(old);
  const cloud = CLOUD_ANNOTATIONS.flatMap((key): readonly OutsideTrust[] => {
    const identity = annotations[key];
    if (identity === undefined) return [];
    return [
      {
        why: `account ${old?.metadata.name ?? ''} carries the cloud annotation ${key}`,
        how: trustCommand(key, identity, to),
      },
    ];
  });
  const vault = uniqueSorted(sets.flatMap((podSet) => vaultAnnotations(podSet.annotations, to)));
  return [...cloud, ...vault.map((how) => ({ why: 'its pods log in to Vault by the name of their account', how }))];
}

function copiedBindings(
  workload: Workload,
  from: string,
  to: string,
  objects: readonly KubeManifest[],
): readonly KubeManifest[] {
  const account = { name: to, namespace: workload.namespace };
  return (['RoleBinding', 'ClusterRoleBinding'] as const).flatMap((kind) =>
    objects
      .filter(
        (binding) =>
          isObject(binding, 'rbac.authorization.k8s.io', kind) &&
          asArray(binding['subjects']).some(
            (item) => subjectApplies(binding, asObject(item), workload.namespace, from) === 'account',
          ),
      )
      .map((binding) => {
        const namespace = namespaceOf(binding);
        const name =
          kind === 'RoleBinding'
            ? `sallyport-${binding.metadata.name}-${to}`
            : `sallyport-${binding.metadata.name}-${workload.namespace}-${to}`;
        return buildBinding(
          kind,
          { name: name.slice(0, 253), ...(namespace === undefined ? {} : { namespace }), workload: workload.id },
          asObject(binding['roleRef']),
          account,
        );
      }),
  );
}

/** Do the bindings of a split give its account exactly what those that name the old one give? For tests and for the table. */
export function givesTheSame(split: AccountSplit, objects: readonly KubeManifest[]): boolean {
  const after = readRbac({ objects: [...objects, ...split.objects], unread: [] });
  const direct = (account: string): string =>
    JSON.stringify(
      rightsOf(grantsOf(after, split.workload.namespace, account).filter((grant) => grant.via === 'account')),
    );
  return direct(split.from) === direct(split.to);
}

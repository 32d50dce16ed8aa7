import { podSpecsOf } from '../model/account-places.ts';
import type { CloudBinding, CloudKey } from '../model/cloud-identity.ts';
import { CONTAINER_FIELDS, cloudBindings, cloudKeysIn, isWide } from '../model/cloud-identity.ts';
import type { Edge } from '../model/edge.ts';
import { matchStringLike } from '../model/glob.ts';
import type { Inventory, Snapshot, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, formatRef, isObject, namespaceOf, refKey, refOf } from '../model/object.ts';
import type { Grant, Right, UsedRight } from '../model/rbac.ts';
import { grantsOf, isPowerful, readRbac, rightAllows, rightsOf } from '../model/rbac.ts';
import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asBoolean, asObject, asString } from '../shared/pure/json.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { AccountSplit } from './accounts.ts';
import { accountsOf, splitAccounts } from './accounts.ts';
import type { ProjectedToken } from './token-use.ts';
import { projectedTokens } from './token-use.ts';

/** Does Kubernetes put a token into the pods of a workload? */
export type Automount = 'yes' | 'no' | 'unknown';

export interface AccountView {
  /** `namespace/name`. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** False for one that workloads or bindings name and that was not read. */
  readonly exists: boolean;
  readonly workloads: readonly string[];
  readonly isDefault: boolean;
  readonly shared: boolean;
  readonly grants: readonly GrantView[];
  /** Rights by bindings that name the account, each once; those of its groups, which every account has, are not among them. */
  readonly direct: readonly Right[];
  readonly byGroups: readonly Right[];
  /** Roles that were not read: there may be more rights. */
  readonly unknownRoles: readonly string[];
  readonly powerful: readonly Right[];
  /** Of `direct`, in the audit log given; absent without one. */
  readonly unused?: readonly Right[];
  readonly automount: readonly { readonly workload: string; readonly answer: Automount }[];
  readonly projected: readonly (ProjectedToken & { readonly workload: string })[];
  /** Secrets with a token that does not end, by reference. */
  readonly legacyTokens: readonly string[];
  readonly imagePullSecrets: readonly string[];
  readonly cloud: readonly CloudBinding[];
  readonly keys: readonly (CloudKey & { readonly workload: string })[];
}

export interface GrantView {
  readonly binding: string;
  readonly role: string;
  /** The namespace that it holds in; null for all. */
  readonly scope: string | null;
  readonly via: Grant['via'];
  readonly subject: string;
  /** Null where the role was not read. */
  readonly rights: number | null;
}

/** What the phase identity would make of one workload on one account. */
export interface AccountMove {
  readonly workload: string;
  readonly from: string;
  /** The account afterwards: the same one where it stays. */
  readonly to: string;
  readonly places: readonly string[];
  readonly takes: AccountSplit['takes'];
  readonly token: 'off' | 'as before';
  readonly tokenWhy: readonly string[];
  readonly obstacles: readonly string[];
  readonly outside: readonly string[];
}

export interface Totals {
  /** Accounts that workloads run as. */
  readonly accounts: number;
  readonly shared: number;
  readonly onDefault: number;
  /** Workloads that share an account with another one. */
  readonly sharing: number;
  /** Rights by name that the workloads hold, summed over workloads. */
  readonly rights: number;
  /** Workloads into whose pods the API server's token is put; those of which it is not known count. */
  readonly withToken: number;
  readonly longLivedKeys: number;
  /** References by `envFrom` to Secrets of which nobody here may know whether they hold a key. */
  readonly unknownKeys: number;
}

export interface AccountTable {
  readonly accounts: readonly AccountView[];
  readonly moves: readonly AccountMove[];
  readonly before: Totals;
  readonly after: Totals;
}

export interface TableInput {
  readonly snapshot: Snapshot;
  readonly inventory: Inventory;
  readonly edges: readonly Edge[];
  /** This namespace alone. */
  readonly namespace?: string;
  /** By `namespace/name`; every account that the log names is in it. */
  readonly used?: ReadonlyMap<string, readonly UsedRight[]>;
  readonly trusted?: (workload: string) => boolean;
}

/** The pod specs that a workload's own text holds, or those of its pods where it holds none. */
export function specsOf(workload: Workload, byKey: ReadonlyMap<string, KubeManifest>): readonly JsonObject[] {
  const owner = byKey.get(refKey(workload.ref));
  const own = owner === undefined ? [] : podSpecsOf(owner).map(({ spec }) => spec);
  if (own.length > 0) return own;
  return workload.podSets.flatMap(({ pods: [pod] }) => {
    const live = pod === undefined ? undefined : byKey.get(`/Pod/${workload.namespace}/${pod.name}`);
    return live === undefined ? [] : [asObject(live['spec'])];
  });
}

/** Accounts as they are and as the phase identity would leave them. Values of Secrets play no part. */
export function buildAccountTable(input: TableInput): AccountTable {
  const { snapshot, inventory } = input;
  const { objects } = snapshot;
  const byKey = new Map(objects.map((object) => [refKey(refOf(object)), object]));
  const wanted = (namespace: string): boolean => input.namespace === undefined || input.namespace === namespace;
  const workloads = inventory.workloads.filter((workload) => wanted(workload.namespace));
  const rbac = readRbac(snapshot);
  const bindings = cloudBindings(objects);
  const known = new Map(
    objects
      .filter((object) => isObject(object, '', 'ServiceAccount') && wanted(namespaceOf(object) ?? ''))
      .map((object) => [`${namespaceOf(object) ?? ''}/${object.metadata.name}`, object]),
  );
  const users = new Map<string, Workload[]>();
  for (const workload of workloads)
    for (const account of accountsOf(workload)) {
      const id = `${workload.namespace}/${account}`;
      users.set(id, [...(users.get(id) ?? []), workload]);
    }
  const accounts = uniqueSorted([...known.keys(), ...users.keys()]).map((id) =>
    viewOf(id, known.get(id), users.get(id) ?? [], { input, byKey, rbac, bindings }),
  );
  const splits = workloads.flatMap((workload) =>
    splitAccounts(workload, inventory, objects, {
      edges: input.edges,
      rbac,
      trusted: input.trusted?.(workload.id) === true,
    }),
  );
  const moves = sortBy(
    workloads.flatMap((workload) =>
      accountsOf(workload).map((from) =>
        moveOf(
          workload,
          from,
          splits.find((split) => split.workload.id === workload.id && split.from === from),
        ),
      ),
    ),
    (move) => `${move.workload} ${move.from}`,
  );
  return { accounts, moves, before: totals(accounts, moves, 'before'), after: totals(accounts, moves, 'after') };
}

interface Facts {
  readonly input: TableInput;
  readonly byKey: ReadonlyMap<string, KubeManifest>;
  readonly rbac: ReturnType<typeof readRbac>;
  readonly bindings: readonly CloudBinding[];
}

function viewOf(
  id: string,
  object: KubeManifest | undefined,
  workloads: readonly Workload[],
  facts: Facts,
): AccountView {
  const slash = id.indexOf('/');
  const [namespace, name] = [id.slice(0, slash), id.slice(slash + 1)];
  const grants = grantsOf(facts.rbac, namespace, name);
  const direct = rightsOf(grants.filter(({ via }) => via === 'account'));
  const byGroups = rightsOf(grants.filter(({ via }) => via === 'group'));
  const used = facts.input.used === undefined ? undefined : (facts.input.used.get(id) ?? []);
  const specs = workloads.map((workload) => ({
    workload,
    specs: specsOf(workload, facts.byKey).filter((spec) => accountIn(spec) === name),
  }));
  return {
    id,
    namespace,
    name,
    exists: object !== undefined,
    workloads: workloads.map((workload) => workload.id),
    isDefault: name === 'default',
    shared: workloads.length > 1,
    grants: grants.map((grant) => ({
      binding: formatRef(refOf(grant.binding)),
      role: `${grant.roleKind} ${grant.roleName}`,
      scope: grant.scope ?? null,
      via: grant.via,
      subject: grant.subject,
      rights: grant.rules === undefined ? null : rightsOf([grant]).length,
    })),
    direct,
    byGroups,
    unknownRoles: uniqueSorted(
      grants.filter(({ rules }) => rules === undefined).map((grant) => `${grant.roleKind} ${grant.roleName}`),
    ),
    powerful: direct.filter(isPowerful),
    ...(used === undefined ? {} : { unused: direct.filter((right) => !used.some((call) => rightAllows(right, call))) }),
    automount: specs.map((one) => ({ workload: one.workload.id, answer: automountOf(object, one.specs) })),
    projected: specs.flatMap((one) =>
      one.specs.flatMap((spec) =>
        projectedTokens(spec)
          .filter((token) => !token.volume.startsWith('kube-api-access-'))
          .map((token) => ({ ...token, workload: one.workload.id })),
      ),
    ),
    legacyTokens: legacyTokens(namespace, name, object, facts.input.snapshot.objects),
    imagePullSecrets: asArray(object?.['imagePullSecrets']).flatMap((item) => asString(asObject(item)['name']) ?? []),
    cloud: facts.bindings.filter(
      (binding) =>
        (binding.namespace === namespace && binding.account === name) || coversByPattern(binding, namespace, name),
    ),
    keys: specs.flatMap((one) =>
      [
        ...one.specs.flatMap((spec) => cloudKeysIn(spec, namespace)),
        ...keysOfPodsAlone(one.workload, name, one.specs, facts.byKey),
      ].map((key) => ({ ...key, workload: one.workload.id })),
    ),
  };
}

function coversByPattern(binding: CloudBinding, namespace: string, account: string): boolean {
  if (!isWide(binding)) return false;
  return matchStringLike(binding.namespace, namespace) && matchStringLike(binding.account ?? '*', account);
}

/**
 * Keys in containers that running pods have and the owner's text has not: what webhooks put in, and ephemeral ones. Pods as they are stand in the
 * snapshot of a live cluster alone.
 */
function keysOfPodsAlone(
  workload: Workload,
  account: string,
  specs: readonly JsonObject[],
  byKey: ReadonlyMap<string, KubeManifest>,
): readonly CloudKey[] {
  const named = new Set(specs.flatMap((spec) => containersIn(spec).map(nameOf)));
  const found = new Map<string, CloudKey>();
  for (const { pods } of workload.podSets)
    for (const { name } of pods) {
      const spec = asObject(byKey.get(`/Pod/${workload.namespace}/${name}`)?.['spec']);
      if (accountIn(spec) !== account || containersIn(spec).every((one) => named.has(nameOf(one)))) continue;
      const more = Object.fromEntries(
        CONTAINER_FIELDS.map((field) => [
          field,
          asArray(spec[field]).filter((one) => !named.has(nameOf(asObject(one)))),
        ]),
      );
      for (const key of cloudKeysIn({ ...spec, ...more }, workload.namespace)) {
        const place = `${key.place}, which its pods have and its own text has not`;
        found.set(`${key.cloud} ${place}`, { ...key, place });
      }
    }
  return [...found.values()];
}

function containersIn(spec: JsonObject): readonly JsonObject[] {
  return CONTAINER_FIELDS.flatMap((field) => asArray(spec[field]).map(asObject));
}

function nameOf(container: JsonObject): string {
  return asString(container['name']) ?? '';
}

function accountIn(spec: JsonObject): string {
  return asString(spec['serviceAccountName']) ?? asString(spec['serviceAccount']) ?? 'default';
}

/** A token goes into every pod unless the pod, or else its account, says no (core/v1 automountServiceAccountToken). */
function automountOf(account: KubeManifest | undefined, specs: readonly JsonObject[]): Automount {
  const answers = new Set(
    specs.map((spec): Automount => {
      const own = asBoolean(spec['automountServiceAccountToken']);
      if (own !== undefined) return own ? 'yes' : 'no';
      if (account === undefined) return 'unknown';
      return asBoolean(account['automountServiceAccountToken']) === false ? 'no' : 'yes';
    }),
  );
  if (answers.has('yes')) return 'yes';
  return answers.size === 0 || answers.has('unknown') ? 'unknown' : 'no';
}

/** Those that the account lists, and Secrets of the type that name it; their content is never read. */
function legacyTokens(
  namespace: string,
  name: string,
  account: KubeManifest | undefined,
  objects: readonly KubeManifest[],
): readonly string[] {
  const listed = asArray(account?.['secrets']).flatMap((item) => asString(asObject(item)['name']) ?? []);
  const typed = objects
    .filter(
      (object) =>
        isObject(object, '', 'Secret') &&
        namespaceOf(object) === namespace &&
        object['type'] === 'kubernetes.io/service-account-token' &&
        annotationsOf(object)['kubernetes.io/service-account.name'] === name,
    )
    .map((object) => object.metadata.name);
  return uniqueSorted([...listed.filter((secret) => !/-dockercfg-[a-z0-9]{5}$/.test(secret)), ...typed]).map(
    (secret) => `Secret ${namespace}/${secret}`,
  );
}

function moveOf(workload: Workload, from: string, split: AccountSplit | undefined): AccountMove {
  const goes = split !== undefined && split.obstacles.length === 0;
  return {
    workload: workload.id,
    from,
    to: goes ? split.to : from,
    places: goes ? split.places : [],
    takes: split?.takes ?? 'fixed',
    token: goes && split.token.answer === 'unused' ? 'off' : 'as before',
    tokenWhy: split?.token.why ?? [],
    obstacles: split?.obstacles ?? [],
    outside: split?.outside ?? [],
  };
}

function totals(accounts: readonly AccountView[], moves: readonly AccountMove[], when: 'before' | 'after'): Totals {
  const byId = new Map(accounts.map((account) => [account.id, account]));
  const namespaceOfMove = (move: AccountMove): string => move.workload.slice(0, move.workload.indexOf('/'));
  const users = new Map<string, AccountMove[]>();
  for (const move of moves) {
    const id = `${namespaceOfMove(move)}/${when === 'before' ? move.from : move.to}`;
    users.set(id, [...(users.get(id) ?? []), move]);
  }
  const shared = [...users.values()].filter((list) => new Set(list.map((move) => move.workload)).size > 1);
  return {
    accounts: users.size,
    shared: shared.length,
    onDefault: new Set(
      [...users].filter(([id]) => id.endsWith('/default')).flatMap(([, list]) => list.map((one) => one.workload)),
    ).size,
    sharing: new Set(shared.flatMap((list) => list.map((move) => move.workload))).size,
    rights: moves.reduce(
      (sum, move) => sum + (byId.get(`${namespaceOfMove(move)}/${move.from}`)?.direct.length ?? 0),
      0,
    ),
    withToken: new Set(
      moves
        .filter((move) => {
          const view = byId.get(`${namespaceOfMove(move)}/${move.from}`);
          const answer = view?.automount.find((one) => one.workload === move.workload)?.answer ?? 'unknown';
          return answer !== 'no' && !(when === 'after' && move.token === 'off');
        })
        .map((move) => move.workload),
    ).size,
    longLivedKeys: accounts.reduce((sum, { keys }) => sum + keys.filter(({ cloud }) => cloud !== 'unknown').length, 0),
    unknownKeys: accounts.reduce((sum, { keys }) => sum + keys.filter(({ cloud }) => cloud === 'unknown').length, 0),
  };
}

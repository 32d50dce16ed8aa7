import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { compareText, sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Snapshot } from './inventory.ts';
import type { KubeManifest } from './object.ts';
import { isObject, labelsOf, namespaceOf } from './object.ts';
import { matchSelector, parseSelector } from './selector.ts';

/**
 * Who holds which rights under RBAC. Rules after k8s.io/kubernetes pkg/registry/rbac/validation/rule.go (appliesToUser,
 * VisitRulesFor) and plugin/pkg/auth/authorizer/rbac; aggregation after pkg/controller/clusterroleaggregation.
 */
const GROUP = 'rbac.authorization.k8s.io';

/** A PolicyRule with its lists sorted; absent ones are empty. */
export interface RbacRule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames: readonly string[];
  readonly nonResourceURLs: readonly string[];
}

/** One binding that gives an account a role. */
export interface Grant {
  readonly binding: KubeManifest;
  /** `Role`, `ClusterRole`. */
  readonly roleKind: string;
  readonly roleName: string;
  /** The namespace that it holds in; absent for the whole cluster. */
  readonly scope?: string;
  /** `account`: the binding names it. Otherwise the group of which every account, or every one of its namespace, is a member. */
  readonly via: 'account' | 'group';
  readonly subject: string;
  /** Absent where the role was not read, or does not exist. */
  readonly rules?: readonly RbacRule[];
}

/** One right: a verb on a resource, or on a path of the API server. */
export interface Right {
  readonly verb: string;
  readonly group: string;
  /** `pods`, `pods/log`, `*`; empty for a path. */
  readonly resource: string;
  readonly name?: string;
  readonly path?: string;
  /** Absent: in every namespace. */
  readonly namespace?: string;
}

export function accountUser(namespace: string, account: string): string {
  return `system:serviceaccount:${namespace}:${account}`;
}

/** The groups of every service account's token (k8s.io/apiserver pkg/authentication/serviceaccount MakeGroupNames), and of everybody known. */
export function accountGroups(namespace: string): readonly string[] {
  return ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'];
}

/** How a subject of a binding names the account: itself, or a group that it is in. */
export function subjectApplies(
  binding: KubeManifest,
  subject: JsonObject,
  namespace: string,
  account: string,
): Grant['via'] | undefined {
  const name = asString(subject['name']) ?? '';
  switch (subject['kind']) {
    case 'ServiceAccount': {
      const given = asString(subject['namespace']);
      const where = given === undefined || given === '' ? namespaceOf(binding) : given;
      return name === account && where === namespace ? 'account' : undefined;
    }
    case 'User':
      return name === accountUser(namespace, account) ? 'account' : undefined;
    case 'Group':
      return accountGroups(namespace).includes(name) ? 'group' : undefined;
    default:
      return undefined;
  }
}

function parseRule(value: JsonObject): RbacRule {
  const list = (key: string): readonly string[] =>
    uniqueSorted(asArray(value[key]).flatMap((item) => asString(item) ?? []));
  return {
    verbs: list('verbs'),
    apiGroups: list('apiGroups'),
    resources: list('resources'),
    resourceNames: list('resourceNames'),
    nonResourceURLs: list('nonResourceURLs'),
  };
}

export interface Rbac {
  readonly bindings: readonly KubeManifest[];
  /** The rules of a role; undefined where it was not read. */
  readonly rules: (kind: string, namespace: string | undefined, name: string) => readonly RbacRule[] | undefined;
  /** False where bindings could not be read: then rights are not known at all. */
  readonly complete: boolean;
}

const EVERYTHING: readonly RbacRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'], resourceNames: [], nonResourceURLs: [] },
  { verbs: ['*'], apiGroups: [], resources: [], resourceNames: [], nonResourceURLs: ['*'] },
];

/** Reads the roles and bindings of a snapshot. A directory rarely holds the roles that every cluster has: only cluster-admin is known then. */
export function readRbac(snapshot: Pick<Snapshot, 'objects' | 'unread'>): Rbac {
  const objects = snapshot.objects.filter((object) => object.apiVersion.startsWith(`${GROUP}/`));
  const roles = new Map<string, KubeManifest>();
  for (const object of objects) {
    if (isObject(object, GROUP, 'ClusterRole')) roles.set(`/${object.metadata.name}`, object);
    if (isObject(object, GROUP, 'Role')) roles.set(`${namespaceOf(object) ?? ''}/${object.metadata.name}`, object);
  }
  const clusterRoles = objects.filter((object) => isObject(object, GROUP, 'ClusterRole'));
  const known = new Map<KubeManifest, readonly RbacRule[]>();
  const rulesOf = (role: KubeManifest, seen: ReadonlySet<KubeManifest>): readonly RbacRule[] => {
    const hit = known.get(role);
    if (hit !== undefined) return hit;
    const own = asArray(role['rules']).map((rule) => parseRule(asObject(rule)));
    const selectors = asArray(asObject(role['aggregationRule'])['clusterRoleSelectors'])
      .map((one) => parseSelector(one, 'aggregationRule.clusterRoleSelectors'))
      .flatMap(({ selector, problems }) => (problems.length === 0 ? [selector] : []));
    const added = selectors.flatMap((selector) =>
      clusterRoles
        .filter((other) => other !== role && !seen.has(other) && matchSelector(selector, labelsOf(other)))
        .flatMap((other) => rulesOf(other, new Set([...seen, role]))),
    );
    const rules = distinctRules([...own, ...added]);
    // Inside a circle of aggregation the answer is a part of the whole.
    if (seen.size === 0) known.set(role, rules);
    return rules;
  };
  return {
    bindings: objects.filter(
      (object) => isObject(object, GROUP, 'RoleBinding') || isObject(object, GROUP, 'ClusterRoleBinding'),
    ),
    rules: (kind, namespace, name) => {
      const role = roles.get(kind === 'ClusterRole' ? `/${name}` : `${namespace ?? ''}/${name}`);
      if (role !== undefined) return rulesOf(role, new Set());
      return kind === 'ClusterRole' && name === 'cluster-admin' ? EVERYTHING : undefined;
    },
    complete: !snapshot.unread.some(
      (kind) => kind === `${GROUP}/RoleBinding` || kind === `${GROUP}/ClusterRoleBinding`,
    ),
  };
}

function distinctRules(rules: readonly RbacRule[]): readonly RbacRule[] {
  return [...new Map(sortBy(rules, ruleKey).map((rule) => [ruleKey(rule), rule])).values()];
}

function ruleKey(rule: RbacRule): string {
  return [rule.apiGroups, rule.resources, rule.resourceNames, rule.nonResourceURLs, rule.verbs]
    .map((list) => list.join(','))
    .join('|');
}

/** Every binding that gives the account something, sorted: those that name it, then those of its groups. */
export function grantsOf(rbac: Rbac, namespace: string, account: string): readonly Grant[] {
  const found: Grant[] = [];
  for (const binding of rbac.bindings) {
    const scope = binding.kind === 'RoleBinding' ? namespaceOf(binding) : undefined;
    const vias = asArray(binding['subjects']).flatMap((item) => {
      const subject = asObject(item);
      const via = subjectApplies(binding, subject, namespace, account);
      return via === undefined
        ? []
        : [{ via, subject: `${asString(subject['kind']) ?? ''} ${asString(subject['name']) ?? ''}` }];
    });
    const best = vias.find(({ via }) => via === 'account') ?? vias[0];
    if (best === undefined) continue;
    const roleRef = asObject(binding['roleRef']);
    const roleKind = asString(roleRef['kind']) ?? '';
    const roleName = asString(roleRef['name']) ?? '';
    // A ClusterRoleBinding cannot refer to a Role (ValidateClusterRoleBinding).
    const rules =
      binding.kind === 'ClusterRoleBinding' && roleKind === 'Role' ? undefined : rbac.rules(roleKind, scope, roleName);
    found.push({
      binding,
      roleKind,
      roleName,
      ...best,
      ...(scope === undefined ? {} : { scope }),
      ...(rules === undefined ? {} : { rules }),
    });
  }
  return found.sort(
    (a, b) =>
      compareText(a.via, b.via) ||
      compareText(a.binding.kind, b.binding.kind) ||
      compareText(`${a.scope ?? ''}/${a.binding.metadata.name}`, `${b.scope ?? ''}/${b.binding.metadata.name}`),
  );
}

/** The single rights of grants, sorted, without repeats. Rights on paths hold only through ClusterRoleBindings. */
export function rightsOf(grants: readonly Grant[]): readonly Right[] {
  const all = new Map<string, Right>();
  const add = (right: Right): void => {
    all.set(rightKey(right), right);
  };
  for (const { scope, rules } of grants)
    for (const rule of rules ?? [])
      for (const verb of rule.verbs) {
        if (scope === undefined) for (const path of rule.nonResourceURLs) add({ verb, group: '', resource: '', path });
        for (const group of rule.apiGroups)
          for (const resource of rule.resources)
            for (const name of rule.resourceNames.length === 0 ? [undefined] : rule.resourceNames)
              add({
                verb,
                group,
                resource,
                ...(name === undefined ? {} : { name }),
                ...(scope === undefined ? {} : { namespace: scope }),
              });
      }
  return sortBy(all.entries(), ([key]) => key).map(([, right]) => right);
}

export function rightKey(right: Right): string {
  return [right.namespace ?? '', right.group, right.resource, right.name ?? '', right.path ?? '', right.verb].join('|');
}

/** `get pods/log in shop`, `list secrets "x" everywhere`, `get /healthz`. */
export function formatRight(right: Right): string {
  if (right.path !== undefined) return `${right.verb} ${right.path}`;
  const resource = right.group === '' ? right.resource : `${right.resource}.${right.group}`;
  const what = right.name === undefined ? resource : `${resource} "${right.name}"`;
  return `${right.verb} ${what} ${right.namespace === undefined ? 'everywhere' : `in ${right.namespace}`}`;
}

/** One call to the API server as its audit log has it. */
export interface UsedRight {
  readonly verb: string;
  readonly group: string;
  /** With the subresource: `pods/log`. */
  readonly resource: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly path?: string;
}

/** Does the right allow the call? As VerbMatches, APIGroupMatches, ResourceMatches, ResourceNameMatches and NonResourceURLMatches have it. */
export function rightAllows(right: Right, call: UsedRight): boolean {
  if (right.verb !== '*' && right.verb !== call.verb) return false;
  if (call.path !== undefined || right.path !== undefined) {
    if (call.path === undefined || right.path === undefined) return false;
    if (right.path === '*' || right.path === call.path) return true;
    return right.path.endsWith('*') && call.path.startsWith(right.path.slice(0, -1));
  }
  if (right.namespace !== undefined && right.namespace !== call.namespace) return false;
  if (right.group !== '*' && right.group !== call.group) return false;
  const slash = call.resource.indexOf('/');
  const anySub = slash >= 0 && right.resource === `*/${call.resource.slice(slash + 1)}`;
  if (right.resource !== '*' && right.resource !== call.resource && !anySub) return false;
  return right.name === undefined || right.name === call.name;
}

/** Rights that let their holder become or make more than it is (Kubernetes, "RBAC good practices": privilege escalation risks). */
export function isPowerful(right: Right): boolean {
  if (right.path !== undefined) return false;
  const verb = (...names: readonly string[]): boolean => right.verb === '*' || names.includes(right.verb);
  const resource = (group: string, ...names: readonly string[]): boolean =>
    (right.group === '*' || right.group === group) && (right.resource === '*' || names.includes(right.resource));
  return (
    (resource('', 'secrets') && verb('get', 'list', 'watch')) ||
    (resource('', 'serviceaccounts/token', 'pods', 'pods/exec', 'pods/attach', 'nodes/proxy') && verb('create')) ||
    (resource('', 'users', 'groups', 'serviceaccounts') && verb('impersonate')) ||
    (resource(GROUP, 'roles', 'clusterroles') && verb('bind', 'escalate')) ||
    (resource(GROUP, 'rolebindings', 'clusterrolebindings') && verb('create', 'update', 'patch'))
  );
}

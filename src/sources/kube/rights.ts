// The one table of what Sallyport asks of an API server. The reader takes its lists from the same data (kinds.ts), tests hold every step of
// the phases to it, and the roles in templates/rbac and the answers of `doctor` are made from it.
import { ACCOUNT_KINDS } from '../../model/account-places.ts';
import { SNAPSHOT_CONFIG_MAPS, SNAPSHOT_GROUPS, UNDO_CONFIG_MAPS, UNDO_NAMESPACE } from './kinds.ts';

/**
 * `observer`: inventory, flows, reach. `planner`: whatever a plan must know as well; without it parts of a plan are unknown.
 * `operator`: advance and rollback up to strict mTLS. `identity`: the last phase, which makes accounts and copies their bindings.
 * Each holds what the ones before it hold.
 */
export const ROLES = ['observer', 'planner', 'operator', 'identity'] as const;
export type Role = (typeof ROLES)[number];

/**
 * Roles that nobody needs for the phases alone, bound beside `operator` where a pattern or a dialect asks for them. `cluster-policies`: kinds that
 * deny or admit in every namespace. `mesh-traffic`: kinds that say where the mesh sends traffic.
 */
export const OPT_IN_ROLES = ['cluster-policies', 'mesh-traffic'] as const;
export type OptInRole = (typeof OPT_IN_ROLES)[number];

/** Names of the Leases that runs hold: of a namespace, and, in kube-system, of what has none (src/targets/lease.ts). */
export const RUN_LEASES = ['sallyport', 'sallyport-cluster'] as const;

/** The Lease by which one of several watches leads. */
export const WATCH_LEASE = 'sallyport-watch';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'bind';

export interface Right {
  readonly role: Role;
  readonly group: string;
  /** Plural names as RBAC has them, or all of the group. */
  readonly resources: readonly string[] | 'all';
  readonly verbs: readonly Verb[];
  /** These objects alone. */
  readonly names?: readonly string[];
  /** Needed there, whatever namespaces are moved. */
  readonly namespace?: string;
  readonly why: string;
}

/** What a phase may write of a kind. */
interface WrittenKind {
  readonly role: 'operator' | 'identity' | OptInRole;
  readonly group: string;
  readonly kinds: readonly string[];
  readonly verbs: readonly ('create' | 'patch' | 'delete')[];
  readonly why: string;
}

const WHOLE = ['create', 'patch', 'delete'] as const;

export const WRITTEN_KINDS: readonly WrittenKind[] = [
  { role: 'operator', group: '', kinds: ['Namespace'], verbs: ['patch'], why: 'the mark of monitor, the mesh label' },
  { role: 'operator', group: 'networking.k8s.io', kinds: ['NetworkPolicy'], verbs: WHOLE, why: 'allow-list' },
  { role: 'operator', group: 'cilium.io', kinds: ['CiliumNetworkPolicy'], verbs: WHOLE, why: 'allow-list on Cilium' },
  {
    role: 'operator',
    group: 'projectcalico.org',
    kinds: ['NetworkPolicy', 'StagedNetworkPolicy'],
    verbs: WHOLE,
    why: 'monitor and allow-list in the dialect calico',
  },
  {
    role: 'operator',
    group: 'security.istio.io',
    kinds: ['PeerAuthentication', 'AuthorizationPolicy'],
    verbs: WHOLE,
    why: 'mTLS, rehearsal and enforcement of who may call',
  },
  {
    role: 'operator',
    group: 'apps',
    kinds: ['Deployment', 'StatefulSet', 'DaemonSet'],
    verbs: ['patch'],
    why: 'pod labels that join the mesh, service accounts',
  },
  { role: 'operator', group: 'batch', kinds: ['CronJob'], verbs: ['patch'], why: 'the same for runs to come' },
  { role: 'identity', group: '', kinds: ['ServiceAccount'], verbs: WHOLE, why: 'an account per workload' },
  {
    role: 'identity',
    group: 'rbac.authorization.k8s.io',
    kinds: ['RoleBinding', 'ClusterRoleBinding'],
    verbs: WHOLE,
    why: 'the bindings of the account before, copied',
  },
  ...accountOwners(),
  {
    role: 'identity',
    group: 'cilium.io',
    kinds: ['CiliumClusterwideNetworkPolicy'],
    verbs: ['patch'],
    why: 'policies that name an account, which name both while its workloads move',
  },
  {
    role: 'identity',
    group: 'projectcalico.org',
    kinds: ['NetworkPolicy', 'GlobalNetworkPolicy'],
    verbs: ['patch'],
    why: 'the same',
  },
  {
    role: 'identity',
    group: 'crd.projectcalico.org',
    kinds: ['NetworkPolicy', 'GlobalNetworkPolicy'],
    verbs: ['patch'],
    why: 'the same, without the API server of Calico',
  },
  {
    role: 'identity',
    group: 'security.openshift.io',
    kinds: ['SecurityContextConstraints'],
    verbs: ['patch'],
    why: 'the users that it names',
  },
  {
    role: 'identity',
    group: 'policy.linkerd.io',
    kinds: ['ServerAuthorization', 'MeshTLSAuthentication'],
    verbs: ['patch'],
    why: 'policies that name an account',
  },
  {
    role: 'cluster-policies',
    group: 'policy.networking.k8s.io',
    kinds: ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy', 'ClusterNetworkPolicy'],
    verbs: WHOLE,
    why: 'guard rails: the dialect admin, tenant-isolation',
  },
  {
    role: 'cluster-policies',
    group: 'projectcalico.org',
    kinds: ['GlobalNetworkPolicy', 'Tier'],
    verbs: WHOLE,
    why: 'patterns in the dialect calico',
  },
  {
    role: 'cluster-policies',
    group: 'cilium.io',
    kinds: ['CiliumClusterwideNetworkPolicy'],
    verbs: WHOLE,
    why: 'patterns in the dialect cilium',
  },
  {
    role: 'mesh-traffic',
    group: 'networking.istio.io',
    kinds: ['ServiceEntry', 'Sidecar', 'Gateway', 'VirtualService', 'DestinationRule'],
    verbs: WHOLE,
    why: 'controlled-egress through the mesh',
  },
  {
    role: 'mesh-traffic',
    group: 'gateway.networking.k8s.io',
    kinds: ['Gateway'],
    verbs: WHOLE,
    why: 'waypoints of model-serving',
  },
];

/**
 * Calico's API server asks its own question beside RBAC's: for a policy of a tier the verb on `tier.RESOURCE`, by the name `TIER.*` or the
 * policy's own, and `get` on the Tier; a list leaves out the tiers that one may not see (projectcalico/calico, apiserver, authorizer: "tiered
 * policy"). These names are in no discovery.
 */
const TIERED = 'projectcalico.org';
const tiered = (kinds: readonly string[]): readonly string[] => kinds.map((kind) => `tier.${pluralOf(kind)}`);

const TIER_RIGHTS: readonly (Omit<Right, 'role'> & { readonly role: Role | OptInRole })[] = [
  {
    role: 'observer',
    group: TIERED,
    resources: tiered(['NetworkPolicy', 'GlobalNetworkPolicy', 'StagedNetworkPolicy', 'StagedGlobalNetworkPolicy']),
    verbs: ['get', 'list'],
    why: 'policies of every tier: those of a tier that one may not see are left out of a list without a word',
  },
  {
    role: 'operator',
    group: TIERED,
    resources: tiered(['NetworkPolicy', 'StagedNetworkPolicy']),
    verbs: WHOLE,
    names: ['default.*'],
    why: 'the tier of what the dialect calico writes',
  },
  {
    role: 'identity',
    group: TIERED,
    resources: tiered(['NetworkPolicy', 'GlobalNetworkPolicy']),
    verbs: ['patch'],
    why: 'policies that name an account, in whatever tier they are',
  },
  {
    role: 'cluster-policies',
    group: TIERED,
    resources: tiered(['GlobalNetworkPolicy']),
    verbs: WHOLE,
    names: ['sallyport-guard.*'],
    why: 'the tier that tenant-isolation makes for itself',
  },
];

/** Custom owners whose text names the account of their pods. */
function accountOwners(): readonly WrittenKind[] {
  const groups = new Map<string, string[]>();
  for (const { group, kind, takes } of ACCOUNT_KINDS) {
    if (['', 'apps', 'batch'].includes(group) || takes === 'fixed') continue;
    groups.set(group, [...(groups.get(group) ?? []), kind]);
  }
  return [...groups].map(([group, kinds]) => ({
    role: 'identity',
    group,
    kinds,
    verbs: ['patch'],
    why: 'service accounts of custom owners',
  }));
}

/** The plural of a kind, as RBAC and paths have it. Holds for every kind named in this table. */
export function pluralOf(kind: string): string {
  const name = kind.toLowerCase();
  if (name === 'securitycontextconstraints') return name;
  if (/[^aeiou]y$/.test(name)) return `${name.slice(0, -1)}ies`;
  return /(?:s|x|ch|sh)$/.test(name) ? `${name}es` : `${name}s`;
}

function resourcesOf(kinds: readonly string[] | 'all'): readonly string[] | 'all' {
  return kinds === 'all' ? 'all' : kinds.map(pluralOf);
}

/** Groups without which traffic cannot be told apart or policies not be judged: an observer reads these too. */
const OBSERVED = new Set([
  'policy.networking.k8s.io',
  'security.istio.io',
  'networking.istio.io',
  'extensions.istio.io',
  'cilium.io',
  'projectcalico.org',
  'crd.projectcalico.org',
]);

/** Every right there is, by role. */
export function allRights(): readonly Right[] {
  const reads = SNAPSHOT_GROUPS.map((spec): Right => ({
    role: spec.need === 'required' || OBSERVED.has(spec.group) ? 'observer' : 'planner',
    group: spec.group,
    resources: resourcesOf(spec.kinds),
    verbs: ['get', 'list'],
    why:
      spec.need === 'required'
        ? 'inventory'
        : OBSERVED.has(spec.group)
          ? 'policies in force'
          : 'facts that a plan rests on',
  }));
  const configMaps: Right = {
    role: 'observer',
    group: '',
    resources: ['configmaps'],
    verbs: ['get'],
    names: [...new Set(SNAPSHOT_CONFIG_MAPS.map(({ name }) => name))].sort(),
    why: 'settings of the network and the mesh; by name, no others',
  };
  const addresses: Right = {
    role: 'observer',
    group: '',
    resources: ['pods'],
    verbs: ['watch'],
    why: 'observe addresses --follow: who holds which address, as it changes',
  };
  const leases: readonly Right[] = [
    {
      role: 'operator',
      group: 'coordination.k8s.io',
      resources: ['leases'],
      verbs: ['get', 'update', 'delete'],
      names: RUN_LEASES,
      why: 'one pair of hands at a time',
    },
    // RBAC cannot name what does not exist yet.
    {
      role: 'operator',
      group: 'coordination.k8s.io',
      resources: ['leases'],
      verbs: ['create'],
      why: 'the same, the first time',
    },
    {
      role: 'operator',
      group: 'coordination.k8s.io',
      resources: ['leases'],
      verbs: ['get'],
      names: [WATCH_LEASE],
      why: 'doctor: which watch leads',
    },
  ];
  const undo: readonly Right[] = [
    {
      role: 'operator',
      group: '',
      resources: ['configmaps'],
      verbs: ['get', 'update', 'delete'],
      names: UNDO_CONFIG_MAPS,
      namespace: UNDO_NAMESPACE,
      why: 'the way back, kept in kube-system',
    },
    // RBAC cannot name what does not exist yet.
    {
      role: 'operator',
      group: '',
      resources: ['configmaps'],
      verbs: ['create'],
      namespace: UNDO_NAMESPACE,
      why: 'the same, the first time',
    },
  ];
  const writes = WRITTEN_KINDS.flatMap(({ role, group, kinds, verbs, why }): readonly Right[] =>
    isOptIn(role) ? [] : [{ role, group, resources: resourcesOf(kinds), verbs, why }],
  );
  const tiers = TIER_RIGHTS.flatMap(({ role, ...right }): readonly Right[] =>
    isOptIn(role) ? [] : [{ role, ...right }],
  );
  const bind: Right = {
    role: 'identity',
    group: 'rbac.authorization.k8s.io',
    resources: ['roles', 'clusterroles'],
    verbs: ['bind'],
    why: 'without it the API server refuses to copy a binding of a role whose rights one does not hold oneself',
  };
  const reviews: Right = {
    role: 'identity',
    group: 'authorization.k8s.io',
    resources: ['subjectaccessreviews'],
    verbs: ['create'],
    why: 'no workload moves to an account that may not do what the one before may',
  };
  return [...reads, configMaps, addresses, ...leases, ...undo, ...writes, ...tiers, bind, reviews];
}

function isOptIn(role: Role | OptInRole): role is OptInRole {
  return (OPT_IN_ROLES as readonly string[]).includes(role);
}

/** The role that brings the right to write a kind; undefined where the program writes no such kind. */
export function roleForKind(group: string, kind: string): Role | OptInRole | undefined {
  return WRITTEN_KINDS.find((one) => one.group === group && one.kinds.includes(kind) && one.verbs.includes('create'))
    ?.role;
}

/** What a role holds: its own rights and those of the roles before it. */
export function rightsOf(role: Role): readonly Right[] {
  const upTo = ROLES.indexOf(role);
  return allRights().filter((right) => ROLES.indexOf(right.role) <= upTo);
}

/** May the program write this kind in this way at all? */
export function isWritten(group: string, kind: string, verb: 'create' | 'patch' | 'delete'): boolean {
  return WRITTEN_KINDS.some((one) => one.group === group && one.kinds.includes(kind) && one.verbs.includes(verb));
}

export interface RbacRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

/** The ClusterRole of a role: its own rights and those before it, so that one binding is enough. */
export function buildClusterRole(role: Role): {
  readonly apiVersion: 'rbac.authorization.k8s.io/v1';
  readonly kind: 'ClusterRole';
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly rules: readonly RbacRule[];
} {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: `sallyport-${role}`, labels: { 'app.kubernetes.io/part-of': 'sallyport' } },
    rules: rightsOf(role).map(({ group, resources, verbs, names }) => ({
      apiGroups: [group],
      resources: resources === 'all' ? ['*'] : [...resources],
      ...(names === undefined ? {} : { resourceNames: [...names] }),
      verbs: [...verbs],
    })),
  };
}

/** Kinds that access which ends by itself is made of, and what ends it: `patch` gives back what was lent. */
export const GRANT_WRITES: readonly {
  readonly apiVersion: string;
  readonly kind: string;
  readonly end: 'delete' | 'patch';
}[] = [
  { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', end: 'delete' },
  { apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', end: 'delete' },
  { apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', end: 'patch' },
  // The binding first: what it binds means nothing without it.
  { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'RoleBinding', end: 'delete' },
  { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', end: 'delete' },
];

/** What `sallyport grant expire --in-cluster` asks of an API server, and nothing else. RBAC knows no labels: it is on all of a kind. */
export const EXPIRER_RULES: readonly RbacRule[] = [
  ...GRANT_WRITES.map(({ apiVersion, kind, end }) => ({
    apiGroups: [apiVersion.slice(0, apiVersion.indexOf('/'))],
    resources: [pluralOf(kind)],
    verbs: ['get', 'list', end],
  })),
  // Its UID names the cluster.
  { apiGroups: [''], resources: ['namespaces'], resourceNames: ['kube-system'], verbs: ['get'] },
];

/**
 * What grants to persons need beside the role `operator`: the API server lets nobody hand out a right that they do not hold themselves
 * (Kubernetes, "Using RBAC": privilege escalation prevention). Whoever holds this may open a shell anywhere.
 */
export const ACCESS_RULES: readonly RbacRule[] = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
  { apiGroups: [''], resources: ['pods/exec', 'pods/portforward'], verbs: ['create', 'get'] },
  {
    apiGroups: ['rbac.authorization.k8s.io'],
    resources: ['roles', 'rolebindings'],
    verbs: ['get', 'list', 'create', 'delete'],
  },
];

/**
 * Roles beside the row: what a watch that runs for days, and probes, need, each enough by itself; and those that are bound beside `operator`
 * for patterns and dialects.
 */
export const SIDE_ROLES = ['watcher', 'prober', 'drainer', ...OPT_IN_ROLES] as const;
export type SideRole = (typeof SIDE_ROLES)[number];

export type SideRight = Omit<Right, 'role'>;

/**
 * `watcher`: reads and follows what a planner reads, and writes nothing; the Lease is `LEAD_RULES`. `prober`: starts and removes pods, wherever it is bound.
 * `drainer`: reaches what listens on the loopback of pods, wherever it is bound; RBAC knows no ports.
 */
export function sideRights(role: SideRole): readonly SideRight[] {
  if (role === 'cluster-policies' || role === 'mesh-traffic')
    return [
      ...WRITTEN_KINDS.filter((one) => one.role === role).map(({ group, kinds, verbs, why }): SideRight => ({
        group,
        resources: resourcesOf(kinds),
        // A write reads the object before and after.
        verbs: ['get', ...verbs],
        why,
      })),
      ...TIER_RIGHTS.filter((one) => one.role === role).map(({ group, resources, verbs, names, why }): SideRight => ({
        group,
        resources,
        verbs: ['get', ...verbs],
        ...(names === undefined ? {} : { names }),
        why,
      })),
    ];
  if (role === 'prober')
    return [
      {
        group: '',
        resources: ['pods'],
        verbs: ['get', 'list', 'create', 'delete'],
        why: 'pods that try connections, and are gone afterwards; those that a crash left are found by their label',
      },
      { group: '', resources: ['namespaces'], verbs: ['get'], why: 'the owner of such a pod' },
    ];
  if (role === 'drainer')
    return [
      {
        group: '',
        resources: ['pods/portforward'],
        // A WebSocket begins with GET, SPDY with POST; newer API servers ask for `create` of both (kubernetes.io, feature gate AuthorizePodWebsocketUpgradeCreatePermission).
        verbs: ['get', 'create'],
        why: 'connections that a proxy of a pod has open, and their end',
      },
      { group: '', resources: ['pods'], verbs: ['get'], why: 'whether the kubelet started the proxy anew' },
    ];
  return [
    ...rightsOf('planner')
      .filter(({ verbs }) => verbs.includes('list'))
      .map(({ group, resources, why }): SideRight => ({ group, resources, verbs: ['get', 'list', 'watch'], why })),
    ...rightsOf('planner').filter(({ verbs, names }) => names !== undefined && verbs.every((verb) => verb === 'get')),
  ];
}

/** What a watch needs of Leases, in the namespace of `--lead` alone: the Role in templates/watch/watch.yaml. RBAC cannot name what does not exist yet. */
export const LEAD_RULES: readonly RbacRule[] = [
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
  {
    apiGroups: ['coordination.k8s.io'],
    resources: ['leases'],
    resourceNames: [WATCH_LEASE],
    verbs: ['get', 'update', 'delete'],
  },
];

/** The ClusterRole of a side role. */
export function buildSideRole(role: SideRole): ReturnType<typeof buildClusterRole> {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: `sallyport-${role}`, labels: { 'app.kubernetes.io/part-of': 'sallyport' } },
    rules: sideRights(role).map(({ group, resources, verbs, names }) => ({
      apiGroups: [group],
      resources: resources === 'all' ? ['*'] : [...resources],
      ...(names === undefined ? {} : { resourceNames: [...names] }),
      verbs: [...verbs],
    })),
  };
}

/**
 * What answers to incidents write beside what the role `operator` does: labels of pods and their deletion, accounts as a last resort, and
 * the kinds that can deny. Secrets are not among them: they are only named.
 */
export const RESPONDER_RULES: readonly RbacRule[] = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'patch', 'delete'] },
  { apiGroups: [''], resources: ['pods/eviction'], verbs: ['create'] },
  { apiGroups: [''], resources: ['serviceaccounts'], verbs: ['get', 'delete'] },
  { apiGroups: ['projectcalico.org'], resources: ['networkpolicies'], verbs: ['get', 'create', 'patch', 'delete'] },
  {
    apiGroups: ['policy.networking.k8s.io'],
    resources: ['adminnetworkpolicies', 'clusternetworkpolicies'],
    verbs: ['get', 'create', 'patch', 'delete'],
  },
];

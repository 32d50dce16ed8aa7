// What the fake API server serves by itself: group, version, kind, plural, namespaced or not.
export interface FakeKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

const table = (apiVersion: string, namespaced: boolean, kinds: readonly string[]): readonly FakeKind[] =>
  kinds.map((kind) => ({ apiVersion, kind, plural: pluralOf(kind), namespaced }));

function pluralOf(kind: string): string {
  const lower = kind.toLowerCase();
  if (lower.endsWith('s')) return `${lower}es`;
  return lower.endsWith('y') && !lower.endsWith('ay') ? `${lower.slice(0, -1)}ies` : `${lower}s`;
}

export const BUILT_IN_KINDS: readonly FakeKind[] = [
  ...table('v1', false, ['Namespace', 'Node']),
  ...table('v1', true, ['Pod', 'Service', 'ServiceAccount', 'ConfigMap', 'Secret']),
  ...table('apps/v1', true, ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet']),
  ...table('batch/v1', true, ['Job', 'CronJob']),
  ...table('discovery.k8s.io/v1', true, ['EndpointSlice']),
  ...table('networking.k8s.io/v1', true, ['NetworkPolicy', 'Ingress']),
  ...table('rbac.authorization.k8s.io/v1', true, ['Role', 'RoleBinding']),
  ...table('rbac.authorization.k8s.io/v1', false, ['ClusterRoleBinding']),
  ...table('policy/v1', true, ['PodDisruptionBudget']),
  ...table('coordination.k8s.io/v1', true, ['Lease']),
  ...table('admissionregistration.k8s.io/v1', false, [
    'MutatingWebhookConfiguration',
    'ValidatingWebhookConfiguration',
  ]),
  ...table('apiregistration.k8s.io/v1', false, ['APIService']),
  ...table('apiextensions.k8s.io/v1', false, ['CustomResourceDefinition']),
];

export const ISTIO_KINDS: readonly FakeKind[] = [
  ...table('security.istio.io/v1', true, ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication']),
  ...table('networking.istio.io/v1', true, ['DestinationRule', 'Sidecar', 'ServiceEntry', 'VirtualService', 'Gateway']),
];

export const CILIUM_KINDS: readonly FakeKind[] = [
  ...table('cilium.io/v2', true, ['CiliumNetworkPolicy']),
  ...table('cilium.io/v2', false, ['CiliumClusterwideNetworkPolicy']),
];
export const CALICO_KINDS: readonly FakeKind[] = [
  ...table('projectcalico.org/v3', true, ['NetworkPolicy', 'StagedNetworkPolicy']),
  ...table('projectcalico.org/v3', false, ['GlobalNetworkPolicy', 'Tier']),
];
export const ADMIN_KINDS: readonly FakeKind[] = table('policy.networking.k8s.io/v1alpha1', false, [
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
]);
export const CLUSTER_POLICY_KINDS: readonly FakeKind[] = table('policy.networking.k8s.io/v1alpha2', false, [
  'ClusterNetworkPolicy',
]);
/** Roles, for tests about rights: `isAllowed` reads them. */
export const ROLE_KINDS: readonly FakeKind[] = table('rbac.authorization.k8s.io/v1', false, ['ClusterRole']);

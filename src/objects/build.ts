import type { Json, JsonObject } from '../shared/pure/json.ts';
import type { Labels } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';

/** The mark on every object that Sallyport creates. */
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const MANAGED_BY = 'sallyport';
export const WORKLOAD_ANNOTATION = 'sallyport.dev/workload';
export const MONITOR_ANNOTATION = 'sallyport.dev/monitored';
/** Proposed for pod templates whose own labels do not outlive a rollout or do not tell the workload from others. */
export const WORKLOAD_LABEL = 'sallyport.dev/workload';
export const DRY_RUN_ANNOTATION = 'istio.io/dry-run';

export function isOwn(manifest: KubeManifest): boolean {
  const labels = manifest.metadata['labels'];
  return (
    typeof labels === 'object' &&
    labels !== null &&
    !Array.isArray(labels) &&
    (labels as JsonObject)[MANAGED_BY_LABEL] === MANAGED_BY
  );
}

export interface OwnMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly workload?: string;
  readonly annotations?: Labels;
}

/** Name, mark and annotations of an object of ours. */
export function metadata(own: OwnMeta): KubeManifest['metadata'] {
  const annotations: Record<string, string> = { ...own.annotations };
  if (own.workload !== undefined) annotations[WORKLOAD_ANNOTATION] = own.workload;
  return {
    name: own.name,
    ...(own.namespace === undefined ? {} : { namespace: own.namespace }),
    labels: { [MANAGED_BY_LABEL]: MANAGED_BY },
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

export type Direction = 'ingress' | 'egress';

/** networking.k8s.io/v1 NetworkPolicy that isolates one direction of the pods selected. */
export function buildNetworkPolicy(
  own: OwnMeta,
  podLabels: Labels,
  direction: Direction,
  rules: readonly JsonObject[],
): KubeManifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadata(own),
    spec: {
      podSelector: Object.keys(podLabels).length === 0 ? {} : { matchLabels: podLabels },
      policyTypes: [direction === 'ingress' ? 'Ingress' : 'Egress'],
      [direction]: rules,
    },
  };
}

/** The namespace default: every pod isolated in both directions, nothing allowed. */
export function buildDefaultDeny(own: OwnMeta): KubeManifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadata(own),
    spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
  };
}

export function buildCiliumPolicy(own: OwnMeta, podLabels: Labels, egress: readonly JsonObject[]): KubeManifest {
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: metadata(own),
    spec: { endpointSelector: { matchLabels: podLabels }, egress },
  };
}

export type MtlsMode = 'PERMISSIVE' | 'STRICT';

/** security.istio.io/v1 PeerAuthentication for a namespace, or for the pods that `podLabels` select. */
export function buildPeerAuthentication(
  own: OwnMeta,
  mode: MtlsMode,
  podLabels?: Labels,
  permissivePorts: readonly number[] = [],
): KubeManifest {
  const portLevel: Record<string, Json> = {};
  for (const port of [...permissivePorts].sort((a, b) => a - b)) portLevel[String(port)] = { mode: 'PERMISSIVE' };
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: metadata(own),
    spec: {
      ...(podLabels === undefined ? {} : { selector: { matchLabels: podLabels } }),
      mtls: { mode },
      ...(permissivePorts.length === 0 ? {} : { portLevelMtls: portLevel }),
    },
  };
}

/** security.istio.io/v1 AuthorizationPolicy, ALLOW. No rules and no selector: nothing is allowed in the namespace. */
export function buildAuthorizationPolicy(
  own: OwnMeta,
  podLabels: Labels | undefined,
  rules: readonly JsonObject[],
): KubeManifest {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(own),
    spec:
      podLabels === undefined && rules.length === 0
        ? {}
        : {
            ...(podLabels === undefined ? {} : { selector: { matchLabels: podLabels } }),
            action: 'ALLOW',
            rules,
          },
  };
}

/** The same for what a waypoint lets through to a Service of its namespace (istio.io, Authorization Policy, "targetRefs"). */
export function buildServicePolicy(own: OwnMeta, service: string, rules: readonly JsonObject[]): KubeManifest {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: metadata(own),
    spec: { targetRefs: [{ group: '', kind: 'Service', name: service }], action: 'ALLOW', rules },
  };
}

export function buildServiceAccount(own: OwnMeta, imagePullSecrets: readonly string[]): KubeManifest {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadata(own),
    ...(imagePullSecrets.length === 0 ? {} : { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) }),
  };
}

/** A binding of the same role to another account of the namespace. Never widens: roleRef is taken over as it stands. */
export function buildBinding(
  kind: 'RoleBinding' | 'ClusterRoleBinding',
  own: OwnMeta,
  roleRef: JsonObject,
  account: { readonly name: string; readonly namespace: string },
): KubeManifest {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind,
    metadata: metadata(own),
    roleRef,
    subjects: [{ kind: 'ServiceAccount', name: account.name, namespace: account.namespace }],
  };
}

export function buildNamespace(own: OwnMeta): KubeManifest {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: metadata(own) };
}

/** A Role on pods that are named: to look at them, and subresources such as pods/exec of some. */
export function buildNamedPodsRole(
  own: OwnMeta,
  pods: readonly string[],
  rights: readonly { readonly subresource: string; readonly pods: readonly string[] }[],
): KubeManifest {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: metadata(own),
    rules: [
      { apiGroups: [''], resources: ['pods'], resourceNames: [...pods], verbs: ['get'] },
      ...rights.map((one) => ({
        apiGroups: [''],
        resources: [one.subresource],
        resourceNames: [...one.pods].sort(),
        verbs: ['create', 'get'],
      })),
    ],
  };
}

/** Binds the Role of the same name to a person or a group of them. */
export function buildPersonBinding(
  own: OwnMeta,
  subject: { readonly kind: 'User' | 'Group'; readonly name: string },
): KubeManifest {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: metadata(own),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: own.name },
    subjects: [{ kind: subject.kind, name: subject.name, apiGroup: 'rbac.authorization.k8s.io' }],
  };
}

/** cilium.io/v2 CiliumNetworkPolicy with any spec. */
export function buildCiliumWhole(own: OwnMeta, spec: JsonObject): KubeManifest {
  return { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: metadata(own), spec };
}

/** projectcalico.org/v3 NetworkPolicy. */
export function buildCalicoPolicy(own: OwnMeta, spec: JsonObject): KubeManifest {
  return { apiVersion: 'projectcalico.org/v3', kind: 'NetworkPolicy', metadata: metadata(own), spec };
}

/** Namespaces whose pods are passed on to NetworkPolicy; all others are denied. A direction that is absent is left alone. */
export interface GuardRail {
  readonly ingress?: readonly string[];
  readonly egress?: readonly string[];
}

const GUARD_RAIL_PRIORITY = 500;

function guardRailSpec(namespace: string, { ingress, egress }: GuardRail): JsonObject {
  const name = 'kubernetes.io/metadata.name';
  const rules = (side: 'from' | 'to', names: readonly string[]): Json => [
    {
      name: 'named',
      action: 'Pass',
      [side]: [{ namespaces: { matchExpressions: [{ key: name, operator: 'In', values: [...names] }] } }],
    },
    { name: 'others', action: 'Deny', [side]: [{ namespaces: {} }] },
  ];
  return {
    priority: GUARD_RAIL_PRIORITY,
    subject: { namespaces: { matchLabels: { [name]: namespace } } },
    ...(ingress === undefined ? {} : { ingress: rules('from', ingress) }),
    ...(egress === undefined ? {} : { egress: rules('to', egress) }),
  };
}

/** policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy. */
export function buildAdminGuardRail(own: OwnMeta, namespace: string, rail: GuardRail): KubeManifest {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    kind: 'AdminNetworkPolicy',
    metadata: metadata(own),
    spec: guardRailSpec(namespace, rail),
  };
}

/** policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy of the tier Admin. */
export function buildClusterGuardRail(own: OwnMeta, namespace: string, rail: GuardRail): KubeManifest {
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: metadata(own),
    spec: { tier: 'Admin', ...guardRailSpec(namespace, rail) },
  };
}

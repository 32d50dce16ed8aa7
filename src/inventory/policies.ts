import { sortBy } from '../shared/pure/order.ts';
import type { KubeManifest } from '../model/object.ts';
import { objectKey } from '../model/object.ts';
import type { ObjectIndex } from './object-index.ts';

/** Kinds of policy groups that are known not to decide about connections. */
const BESIDE_POLICY: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  Object.entries({
    'cilium.io': new Set([
      'CiliumNode',
      'CiliumEndpoint',
      'CiliumEndpointSlice',
      'CiliumIdentity',
      'CiliumLoadBalancerIPPool',
      'CiliumL2AnnouncementPolicy',
      'CiliumBGPPeeringPolicy',
      'CiliumBGPClusterConfig',
      'CiliumBGPPeerConfig',
      'CiliumBGPAdvertisement',
      'CiliumBGPNodeConfig',
      'CiliumPodIPPool',
      'CiliumNodeConfig',
      'CiliumGatewayClassConfig',
    ]),
    'projectcalico.org': new Set([
      'BGPConfiguration',
      'BGPPeer',
      'BGPFilter',
      'BlockAffinity',
      'ClusterInformation',
      'FelixConfiguration',
      'IPAMBlock',
      'IPAMConfig',
      'IPAMHandle',
      'IPPool',
      'IPReservation',
      'KubeControllersConfiguration',
      'CalicoNodeStatus',
    ]),
    'networking.istio.io': new Set(['Gateway', 'VirtualService', 'WorkloadEntry', 'WorkloadGroup', 'ProxyConfig']),
    'policy.networking.k8s.io': new Set<string>(),
    'security.istio.io': new Set<string>(),
  }),
);

/** Groups in which an unknown kind may act on connections: it is handed on, and its verdict is unknown. */
const POLICY_GROUPS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'policy.networking.k8s.io': 'policy.networking.k8s.io',
    'cilium.io': 'cilium.io',
    'crd.projectcalico.org': 'projectcalico.org',
    'projectcalico.org': 'projectcalico.org',
    'security.istio.io': 'security.istio.io',
    'networking.istio.io': 'networking.istio.io',
  }),
);

/** Groups of policies by name, where only some kinds are policies. */
const POLICY_KINDS: ReadonlySet<string> = new Set([
  'networking.k8s.io/NetworkPolicy',
  'crd.antrea.io/NetworkPolicy',
  'crd.antrea.io/ClusterNetworkPolicy',
  'policy.linkerd.io/Server',
  'policy.linkerd.io/AuthorizationPolicy',
  'policy.linkerd.io/ServerAuthorization',
  'kuma.io/MeshTrafficPermission',
  'k8s.ovn.org/EgressFirewall',
  'networking.k8s.aws/PolicyEndpoint',
  'networking.k8s.aws/ClusterNetworkPolicy',
  'networking.gke.io/FQDNNetworkPolicy',
  'extensions.istio.io/WasmPlugin',
  // Waypoints are Gateways.
  'gateway.networking.k8s.io/Gateway',
]);

/** True for a kind that is known or suspected to act on connections. */
export function isPolicyKind(group: string, kind: string): boolean {
  if (POLICY_KINDS.has(`${group}/${kind}`)) return true;
  return POLICY_GROUPS.has(group) && !isBesidePolicy(group, kind);
}

/** Every object of such a kind, in the snapshot's order. */
export function policiesOf(index: ObjectIndex): readonly KubeManifest[] {
  const found = [...index.byKind].flatMap(([key, objects]) => {
    const slash = key.indexOf('/');
    return isPolicyKind(key.slice(0, slash), key.slice(slash + 1)) ? objects : [];
  });
  return sortBy(found, objectKey);
}

/** True for a kind of a policy group that is known not to decide about connections. */
export function isBesidePolicy(group: string, kind: string): boolean {
  const family = POLICY_GROUPS.get(group);
  return family !== undefined && BESIDE_POLICY.get(family)?.has(kind) === true;
}

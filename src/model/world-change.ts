import type { NetworkPolicy } from './network-policy.ts';
import type { KubeManifest } from './object.ts';
import { namespaceOf } from './object.ts';
import type { World } from './world.ts';
import { isNetworkPolicy, readNetworkPolicy } from './world.ts';

/**
 * The world in which these are all the NetworkPolicies (networking.k8s.io) of a namespace: as `compileWorld` would make it, at the cost of
 * that namespace and of one pass over the list of policies. The cluster is the same object, so that `changedConnections` looks at what the
 * change can touch alone.
 */
export function replaceNetworkPolicies(world: World, namespace: string, manifests: readonly KubeManifest[]): World {
  const list: readonly NetworkPolicy[] = [
    // Those that Cilium's kinds amount to stay.
    ...(world.networkPolicies.get(namespace) ?? []).filter((policy) => policy.cilium === true),
    ...manifests.map((manifest) => readNetworkPolicy(manifest).policy),
  ];
  const networkPolicies = new Map(world.networkPolicies);
  if (list.length === 0) networkPolicies.delete(namespace);
  else networkPolicies.set(namespace, list);
  const policies = [
    ...world.inventory.policies.filter((one) => namespaceOf(one) !== namespace || !isNetworkPolicy(one)),
    ...manifests,
  ];
  const isolates = (direction: 'ingress' | 'egress'): boolean => {
    for (const own of networkPolicies.values()) if (own.some((policy) => policy[direction] !== undefined)) return true;
    return (
      world.clusterPolicies.some((policy) => policy[direction] !== undefined) ||
      world.ordered.some((policy) => policy[direction] !== undefined) ||
      world.foreign.some((policy) => policy.subjects.some((subject) => subject[direction]))
    );
  };
  return {
    ...world,
    inventory: { ...world.inventory, policies },
    networkPolicies,
    anyIsolation: { ingress: isolates('ingress'), egress: isolates('egress') },
    caches: new Map(),
  };
}

import type { RbacRule } from './rights.ts';
import { RUN_LEASES, rightsOf } from './rights.ts';

/**
 * What `watch --act` writes beside what the watcher reads: the kinds that deny, and what every run needs (a Lease, the way back).
 * From the table of rights, and smaller than the role `responder`: no rule ends a pod or an account, and pods are another role's.
 */
export function actorRules(): readonly RbacRule[] {
  const kinds = [
    ['networking.k8s.io', 'networkpolicies'],
    ['cilium.io', 'ciliumnetworkpolicies'],
    ['projectcalico.org', 'networkpolicies'],
  ] as const;
  return [
    ...kinds.map(([group, resource]) => ({
      apiGroups: [group],
      resources: [resource],
      verbs: ['get', 'create', 'patch', 'delete'],
    })),
    // Calico's own API server asks for the tier beside RBAC (docs.tigera.io, Configure RBAC for tiered policies).
    {
      apiGroups: ['projectcalico.org'],
      resources: ['tier.networkpolicies'],
      resourceNames: ['default.*'],
      verbs: ['create', 'patch', 'delete'],
    },
    // A run holds the Lease of its namespace. RBAC cannot name what does not exist yet, so that `create` names none.
    { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
    {
      apiGroups: ['coordination.k8s.io'],
      resources: ['leases'],
      resourceNames: [...RUN_LEASES],
      verbs: ['get', 'update', 'delete'],
    },
    ...rightsOf('operator')
      .filter(({ role, group, resources }) => role === 'operator' && group === '' && String(resources) === 'configmaps')
      .map(({ group, resources, verbs, names }) => ({
        apiGroups: [group],
        resources: resources === 'all' ? ['*'] : [...resources],
        ...(names === undefined ? {} : { resourceNames: [...names] }),
        verbs: [...verbs],
      })),
  ];
}

/**
 * What the quarantine by labels needs besides, where nothing denies: a pod is taken out of what selects it. RBAC knows no fields: whoever may patch a pod may
 * change its image. So it is a role of its own, bound by RoleBindings in the namespaces where rules shall do that.
 */
export function actorPodRules(): readonly RbacRule[] {
  return [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'patch'] }];
}

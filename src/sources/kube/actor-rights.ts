import type { RbacRule } from './rights.ts';
import { rightsOf } from './rights.ts';

/**
 * What `watch --act` writes beside what the watcher reads: the kinds that deny and labels of pods, and what every run needs (a Lease, the way back).
 * From the table of rights, and smaller than the role `responder`: no rule ends a pod or an account.
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
    // Where nothing denies, a pod is taken out of what selects it.
    { apiGroups: [''], resources: ['pods'], verbs: ['get', 'patch'] },
    ...rightsOf('operator')
      .filter(
        ({ role, group, resources }) =>
          role === 'operator' &&
          ((group === '' && String(resources) === 'configmaps') || group === 'coordination.k8s.io'),
      )
      .map(({ group, resources, verbs, names }) => ({
        apiGroups: [group],
        resources: resources === 'all' ? ['*'] : [...resources],
        ...(names === undefined ? {} : { resourceNames: [...names] }),
        verbs: [...verbs],
      })),
  ];
}

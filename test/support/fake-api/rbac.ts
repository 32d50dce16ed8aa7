// What the RBAC authorizer says, read off the words of the documentation and not off the product's own resolution of rights.
import type { KubeManifest } from '../../../src/model/object.ts';

interface Attributes {
  readonly verb?: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly path?: string;
}
interface Subject {
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
}
interface Rule {
  readonly verbs?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

const has = (list: readonly string[] | undefined, value: string): boolean =>
  list !== undefined && (list.includes('*') || list.includes(value));

/** `status.allowed` of a SubjectAccessReview, by the bindings and roles among the objects. */
export function isAllowed(objects: readonly KubeManifest[], spec: unknown): boolean {
  const { user, groups, resourceAttributes, nonResourceAttributes } = spec as {
    readonly user: string;
    readonly groups?: readonly string[];
    readonly resourceAttributes?: Attributes;
    readonly nonResourceAttributes?: Attributes;
  };
  for (const binding of objects) {
    if (binding.kind !== 'RoleBinding' && binding.kind !== 'ClusterRoleBinding') continue;
    const { namespace } = binding.metadata as { readonly namespace?: string };
    const isSubject = ((binding['subjects'] ?? []) as readonly Subject[]).some((subject) => {
      if (subject.kind === 'User') return subject.name === user;
      if (subject.kind === 'Group') return groups?.includes(subject.name ?? '') === true;
      return user === `system:serviceaccount:${subject.namespace ?? namespace ?? ''}:${subject.name ?? ''}`;
    });
    if (!isSubject) continue;
    const ref = binding['roleRef'] as { readonly kind: string; readonly name: string };
    const role = objects.find(
      (object) =>
        object.kind === ref.kind &&
        object.metadata.name === ref.name &&
        (ref.kind === 'ClusterRole' || object.metadata['namespace'] === namespace),
    );
    for (const rule of (role?.['rules'] ?? []) as readonly Rule[]) {
      if (nonResourceAttributes !== undefined) {
        if (
          namespace === undefined &&
          has(rule.verbs, nonResourceAttributes.verb ?? '') &&
          has(rule.nonResourceURLs, nonResourceAttributes.path ?? '')
        )
          return true;
        continue;
      }
      const wanted = resourceAttributes ?? {};
      if (binding.kind === 'RoleBinding' && wanted.namespace !== namespace) continue;
      const resource =
        wanted.subresource === undefined ? wanted.resource : `${wanted.resource ?? ''}/${wanted.subresource}`;
      if (
        has(rule.verbs, wanted.verb ?? '') &&
        has(rule.apiGroups, wanted.group ?? '') &&
        has(rule.resources, resource ?? '') &&
        (rule.resourceNames === undefined ||
          rule.resourceNames.length === 0 ||
          rule.resourceNames.includes(wanted.name ?? ''))
      )
        return true;
    }
  }
  return false;
}

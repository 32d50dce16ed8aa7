import { followsTemplate } from '../model/inventory.ts';
import type { Inventory, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { annotationsOf, isObject, namespaceOf } from '../model/object.ts';
import { buildBinding, buildServiceAccount } from '../objects/build.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';

/** The accounts of a workload's pods; more than one where its roles differ. */
export function accountsOf(workload: Workload): readonly string[] {
  return uniqueSorted(workload.podSets.map((podSet) => podSet.serviceAccount));
}

/** Other workloads of the namespace that run as the same account. */
export function sharesWith(workload: Workload, inventory: Inventory): readonly Workload[] {
  const mine = new Set(accountsOf(workload));
  return inventory.workloads.filter(
    (other) =>
      other.namespace === workload.namespace &&
      other.id !== workload.id &&
      accountsOf(other).some((account) => mine.has(account)),
  );
}

/** Annotations by which a cloud trusts an account: moving a workload off it would cut the workload from the cloud. */
const CLOUD_ANNOTATIONS = [
  'eks.amazonaws.com/role-arn',
  'iam.gke.io/gcp-service-account',
  'azure.workload.identity/client-id',
];

export interface AccountSplit {
  readonly workload: Workload;
  readonly from: string;
  readonly to: string;
  /** The account, then its bindings, in the order to create them. */
  readonly objects: readonly KubeManifest[];
  /** Why it cannot be done by itself. */
  readonly obstacles: readonly string[];
}

/** A free name for the workload's own account. */
function accountName(workload: Workload, objects: readonly KubeManifest[]): string {
  const taken = new Set(
    objects
      .filter((object) => isObject(object, '', 'ServiceAccount') && namespaceOf(object) === workload.namespace)
      .map((object) => object.metadata.name),
  );
  return taken.has(workload.name) ? `${workload.name}-${workload.kind.toLowerCase()}` : workload.name;
}

function isSubject(binding: KubeManifest, account: string, namespace: string): boolean {
  return asArray(binding['subjects']).some((item) => {
    const subject = asObject(item);
    return (
      subject['kind'] === 'ServiceAccount' &&
      subject['name'] === account &&
      (asString(subject['namespace']) ?? namespaceOf(binding)) === namespace
    );
  });
}

/**
 * What gives a workload that shares its account one of its own: the account with the same imagePullSecrets, and a copy of each
 * binding that names the old one, with the same role. Secrets are never read: an account that lists token Secrets, a cloud annotation
 * or a custom owner is an obstacle that a person resolves.
 */
export function splitAccount(
  workload: Workload,
  inventory: Inventory,
  objects: readonly KubeManifest[],
): AccountSplit | undefined {
  const [from, ...more] = accountsOf(workload);
  if (from === undefined || sharesWith(workload, inventory).length === 0) return undefined;
  const old = objects.find(
    (object) =>
      isObject(object, '', 'ServiceAccount') &&
      namespaceOf(object) === workload.namespace &&
      object.metadata.name === from,
  );
  const obstacles: string[] = [];
  if (workload.custom) obstacles.push(`${workload.kind} is a custom owner: its account is set through its operator`);
  else if (!followsTemplate(workload))
    obstacles.push(`a ${workload.kind} cannot change the account of its pods: it must be created anew`);
  if (more.length > 0) obstacles.push(`its roles run as several accounts: ${[from, ...more].join(', ')}`);
  if (old !== undefined) {
    if (asArray(old['secrets']).length > 0)
      obstacles.push(`account ${from} lists token Secrets that something may use`);
    const annotations = annotationsOf(old);
    for (const key of CLOUD_ANNOTATIONS)
      if (annotations[key] !== undefined) obstacles.push(`account ${from} carries the cloud annotation ${key}`);
  }
  const to = accountName(workload, objects);
  const account = { name: to, namespace: workload.namespace };
  const pullSecrets = asArray(old?.['imagePullSecrets'])
    .map((item) => asString(asObject(item)['name']))
    .filter((name) => name !== undefined);
  const made: KubeManifest[] = [
    buildServiceAccount({ name: to, namespace: workload.namespace, workload: workload.id }, pullSecrets),
  ];
  for (const kind of ['RoleBinding', 'ClusterRoleBinding'] as const) {
    for (const binding of objects) {
      if (!isObject(binding, 'rbac.authorization.k8s.io', kind)) continue;
      if (!isSubject(binding, from, workload.namespace)) continue;
      const namespace = namespaceOf(binding);
      const name =
        kind === 'RoleBinding'
          ? `sallyport-${binding.metadata.name}-${to}`
          : `sallyport-${binding.metadata.name}-${workload.namespace}-${to}`;
      made.push(
        buildBinding(
          kind,
          { name: name.slice(0, 253), ...(namespace === undefined ? {} : { namespace }), workload: workload.id },
          asObject(binding['roleRef']),
          account,
        ),
      );
    }
  }
  return { workload, from, to, objects: made, obstacles };
}

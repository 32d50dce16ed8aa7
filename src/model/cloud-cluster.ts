import { asArray, asObject, asString, getPath } from '../shared/pure/json.ts';
import { uniqueSorted } from '../shared/pure/order.ts';
import type { KubeManifest } from './object.ts';
import { isObject, labelsOf, namespaceOf } from './object.ts';

/** What a cloud knows this cluster by. Absent: neither stated nor to be seen from the cluster. */
export interface ClusterNames {
  /** The `iss` of its accounts' tokens, a URL. */
  readonly issuer?: string;
  /** Of EKS: the name that associations are made for. */
  readonly eksCluster?: string;
}

/** An issuer as it is stated: https, without a query or a fragment (OpenID Connect Discovery 1.0, "issuer"). */
export const CLOUD_ISSUER = /^https:\/\/[^\s/?#][^\s?#]*$/u;

const FLAG = '--service-account-issuer=';

/**
 * What the cluster itself shows: the issuer of API servers that are pods of kube-system (managed ones are not; of several issuers the first
 * signs, kubernetes.io "kube-apiserver", `--service-account-issuer`), and the name that eksctl writes onto nodes. Nothing where objects disagree.
 */
export function clusterNames(objects: readonly KubeManifest[]): ClusterNames {
  const servers = objects.filter(
    (object) =>
      isObject(object, '', 'Pod') &&
      namespaceOf(object) === 'kube-system' &&
      labelsOf(object)['component'] === 'kube-apiserver',
  );
  const issuer = only(servers.map(issuerOf));
  const nodes = objects.filter((object) => isObject(object, '', 'Node'));
  const eksCluster = only(nodes.map((node) => labelsOf(node)['alpha.eksctl.io/cluster-name']));
  return { ...(issuer === undefined ? {} : { issuer }), ...(eksCluster === undefined ? {} : { eksCluster }) };
}

function issuerOf(pod: KubeManifest): string | undefined {
  return asArray(getPath(pod, ['spec', 'containers']))
    .map(asObject)
    .flatMap((container) => [...asArray(container['command']), ...asArray(container['args'])])
    .map((word) => asString(word) ?? '')
    .find((word) => word.startsWith(FLAG))
    ?.slice(FLAG.length);
}

/** The one value that all have. */
function only(values: readonly (string | undefined)[]): string | undefined {
  if (values.some((value) => value === undefined || value === '')) return undefined;
  const distinct = uniqueSorted(values.flatMap((value) => value ?? []));
  return distinct.length === 1 ? distinct[0] : undefined;
}

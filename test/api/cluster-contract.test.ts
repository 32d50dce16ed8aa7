import { inject } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import { isKubeManifest, refKey, refOf } from '../../src/model/object.ts';
import { asArray, asObject } from '../../src/shared/pure/json.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { connect } from '../support/apiserver/client.ts';

import type { TargetUnderTest } from '../targets/target-contract.ts';
import { describeTargetContract } from '../targets/target-contract.ts';

/** Where the kinds of the suite stand on an API server. */
const COLLECTIONS = [
  { kind: 'Namespace', apiVersion: 'v1', root: '/api/v1', plural: 'namespaces' },
  { kind: 'ServiceAccount', apiVersion: 'v1', root: '/api/v1', plural: 'serviceaccounts' },
  { kind: 'Service', apiVersion: 'v1', root: '/api/v1', plural: 'services' },
  { kind: 'Deployment', apiVersion: 'apps/v1', root: '/apis/apps/v1', plural: 'deployments' },
  {
    kind: 'NetworkPolicy',
    apiVersion: 'networking.k8s.io/v1',
    root: '/apis/networking.k8s.io/v1',
    plural: 'networkpolicies',
  },
  { kind: 'Lease', apiVersion: 'coordination.k8s.io/v1', root: '/apis/coordination.k8s.io/v1', plural: 'leases' },
] as const;

describeTargetContract('cluster, against a real API server', makeTarget);

async function makeTarget(objects: readonly KubeManifest[]): Promise<TargetUnderTest> {
  const server = inject('apiServer');
  const client = connect(server.admin);
  const pathOf = (object: KubeManifest, name?: string): string => {
    const collection = COLLECTIONS.find(({ kind }) => kind === object.kind);
    if (collection === undefined) throw new Error(`no collection of ${object.kind}`);
    const { namespace } = refOf(object);
    const within = namespace === undefined ? '' : `/namespaces/${namespace}`;
    return `${collection.root}${within}/${collection.plural}${name === undefined ? '' : `/${name}`}`;
  };
  for (const object of objects) {
    const metadata = Object.fromEntries(Object.entries(object.metadata).filter(([key]) => key !== 'uid'));
    await client.must('POST', pathOf(object), { ...object, metadata });
  }
  const target = await openClusterTarget({ kubeconfig: server.kubeconfig, clock: systemClock });
  const readAll = async (): Promise<readonly KubeManifest[]> => {
    const found: KubeManifest[] = [];
    for (const { root, plural, kind, apiVersion } of COLLECTIONS) {
      const { body } = await client.must('GET', `${root}/${plural}`);
      for (const item of asArray(asObject(body as Json)['items'])) {
        const object: Json = { ...asObject(item), kind, apiVersion };
        if (isKubeManifest(object)) found.push(object);
      }
    }
    return found;
  };
  return {
    target,
    readAll,
    stealLease: async (namespace, holder) => {
      const [home, name] = namespace === '' ? ['kube-system', 'sallyport-cluster'] : [namespace, 'sallyport'];
      const at = `/apis/coordination.k8s.io/v1/namespaces/${home}/leases/${name}`;
      await client.must('PATCH', at, { spec: { holderIdentity: holder } });
    },
    dispose: async () => {
      await target.close();
      for (const object of await readAll())
        if (object.kind === 'Namespace' && objects.some((one) => refKey(refOf(object)).startsWith(refKey(refOf(one)))))
          await client.request('DELETE', pathOf(object, object.metadata.name));
      client.close();
    },
  };
}

import type { KubeManifest } from '../../src/model/object.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { startFakeApi } from '../support/fake-api/server.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { TargetUnderTest } from './target-contract.ts';
import { describeTargetContract } from './target-contract.ts';

describeTargetContract('cluster, against the strict API server in this process', makeTarget);

async function makeTarget(objects: readonly KubeManifest[]): Promise<TargetUnderTest> {
  const clock = simulatedClock();
  const api = await startFakeApi({ objects, now: () => clock.now() });
  const target = await openClusterTarget({ kubeconfig: api.kubeconfig, clock });
  return {
    target,
    readAll: () => Promise.resolve(api.objects()),
    stealLease: (namespace, holder) => {
      const lease: KubeManifest = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata:
          namespace === '' ? { name: 'sallyport-cluster', namespace: 'kube-system' } : { name: 'sallyport', namespace },
      };
      const live = api.get(lease) ?? lease;
      const renewTime = new Date(clock.now()).toISOString();
      api.put({
        ...live,
        spec: { holderIdentity: holder, leaseDurationSeconds: 60, renewTime, acquireTime: renewTime },
      });
      return Promise.resolve();
    },
    dispose: async () => {
      await target.close();
      await api.close();
    },
  };
}

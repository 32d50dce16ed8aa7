import { compileWorld } from '../../src/model/evaluate.ts';
import type { World } from '../../src/model/evaluate.ts';
import type { CniFacts } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { InventorySketch } from './world.ts';
import { inventoryOf } from './world.ts';

/** A small cluster that tables of policies ask about. */
export const WEB = 'shop/Deployment/web';
export const DB = 'shop/Deployment/db';
export const JOB = 'batch/CronJob/train';
export const AGENT = 'infra/DaemonSet/agent';

export const CLUSTER: InventorySketch = {
  namespaces: { shop: { team: 'shop' }, batch: { team: 'ml' }, infra: {} },
  workloads: {
    [WEB]: { labels: { app: 'web', tier: 'front' }, account: 'web', ports: ['http=8080'], pods: ['10.0.1.1@n1'] },
    [DB]: { labels: { app: 'db' }, account: 'db', ports: ['sql=5432', 'dns=53/UDP'], pods: ['10.0.1.2@n2'] },
    [JOB]: { labels: { app: 'train' }, account: 'train', pods: ['10.0.2.1@n1'] },
    [AGENT]: { labels: { app: 'agent' }, hostNetwork: true, pods: ['192.168.0.3@n3'] },
  },
  nodes: { n1: ['192.168.0.1'], n2: ['192.168.0.2'], n3: ['192.168.0.3'] },
  apiServer: ['192.168.0.100/32'],
};

/** What networks of each CNI match, as the facts of a cluster have it. */
const MATCHES: Readonly<Record<string, CniFacts['ipBlockMatches']>> = {
  cilium: [],
  calico: ['pods', 'nodes', 'api-server'],
  'ovn-kubernetes': ['pods', 'nodes', 'api-server'],
};

export function clusterWith(cni: string, policies: readonly KubeManifest[], sketch: InventorySketch = {}): World {
  return compileWorld(
    inventoryOf({ ...CLUSTER, cni: { name: cni, ipBlockMatches: MATCHES[cni] ?? [] }, policies, ...sketch }),
  );
}

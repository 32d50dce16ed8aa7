import type { Inventory, Labels } from '../model/inventory.ts';
import { findDns } from '../inventory/system-traffic.ts';
import { chooseSelector } from './selector.ts';

/** The peers that nearly every pod needs, and how a policy names them. */
export interface SystemPeers {
  readonly dns?: {
    readonly workloads: readonly string[];
    readonly namespace: string;
    readonly labels: Labels;
    /** Ports of the pods: 53, or 5353 on OpenShift. */
    readonly ports: readonly { readonly port: number; readonly protocol: 'TCP' | 'UDP' }[];
    readonly nodeLocal: boolean;
    /** Where the cache of a node answers; empty where there is none. */
    readonly nodeAddresses: readonly string[];
  };
  /** Without labels where a mesh is stated and its control plane was not read: then its namespace is all that is known. */
  readonly istiod?: { readonly workload?: string; readonly namespace: string; readonly labels: Labels };
}

export function findSystemPeers(inventory: Inventory): SystemPeers {
  const known = peersOf.get(inventory);
  if (known !== undefined) return known;
  const found = lookForPeers(inventory);
  peersOf.set(inventory, found);
  return found;
}

/** Asked for every candidate of a state. */
const peersOf = new WeakMap<Inventory, SystemPeers>();

function lookForPeers(inventory: Inventory): SystemPeers {
  const dns = findDns(inventory);
  const istiod = inventory.workloads.find((workload) => workload.classification.component === 'istiod');
  const istiodSelector = istiod === undefined ? undefined : chooseSelector(istiod, inventory);
  const { mesh } = inventory.facts;
  return {
    ...(dns === undefined
      ? {}
      : {
          dns: {
            workloads: dns.workloadIds,
            namespace: dns.namespace,
            labels: dns.selector,
            ports: dns.ports,
            nodeLocal: dns.nodeLocal,
            nodeAddresses: dns.nodeAddresses,
          },
        }),
    ...(istiod !== undefined && istiodSelector !== undefined && istiodSelector.kind !== 'none'
      ? { istiod: { workload: istiod.id, namespace: istiod.namespace, labels: istiodSelector.labels } }
      : mesh.kind === 'istio' && mesh.mode === 'sidecar'
        ? { istiod: { namespace: mesh.rootNamespace, labels: {} } }
        : {}),
  };
}

import { describe, expect, it } from 'vitest';
import { findingLines, inventoryOf, readFixture, snapshotOf, withObjects } from './snapshots.ts';

const platform = await readFixture('platform');

function workloadOf(kind: 'DaemonSet' | 'Deployment', name: string, namespace: string, image: string): unknown {
  const metadata = { name, namespace, labels: { app: name } };
  const template = { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'discovery', image }] } };
  return { apiVersion: 'apps/v1', kind, metadata, spec: { template } };
}

const ISTIO = 'networking.istio.io/v1';
const gateway = {
  apiVersion: ISTIO,
  kind: 'Gateway',
  metadata: { name: 'edge', namespace: 'shop' },
  spec: { selector: { gateway: 'nobody' }, servers: [] },
};
const route = {
  apiVersion: ISTIO,
  kind: 'VirtualService',
  metadata: { name: 'edge', namespace: 'shop' },
  spec: { hosts: ['edge.example'], gateways: ['edge'], http: [{ route: [{ destination: { host: 'nowhere' } }] }] },
};
const monitor = {
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'ServiceMonitor',
  metadata: { name: 'ghost', namespace: 'monitoring' },
  spec: { selector: { matchLabels: { app: 'ghost' } }, endpoints: [{ port: 'metrics' }] },
};

describe('findings of the inventory', () => {
  it.each([
    ['SP321', 'a cluster without a known network plugin', snapshotOf([]), 'no network plugin that is known was found'],
    [
      'SP322',
      'a network plugin that enforces nothing',
      snapshotOf([workloadOf('DaemonSet', 'kube-flannel-ds', 'kube-flannel', 'flannel/flannel:v0.26')]),
      'flannel does not enforce NetworkPolicy here (DaemonSet kube-flannel/kube-flannel-ds)',
    ],
    [
      'SP323',
      'an istiod whose image has no version',
      withObjects(platform, workloadOf('Deployment', 'istiod', 'istio-system', 'registry.example/istio/pilot')),
      'the image of istiod tells no version',
    ],
    [
      'SP325',
      'a monitor that selects nothing',
      withObjects(platform, monitor),
      'ServiceMonitor monitoring/ghost selects nothing that was read',
    ],
    ['SP326', 'a gateway without pods', withObjects(platform, gateway, route), 'no workload serves Gateway shop/edge'],
    [
      'SP327',
      'a route to nowhere',
      withObjects(platform, gateway, route),
      'VirtualService shop/edge names shop/nowhere, which does not exist',
    ],
  ])('%s names %s', (code, _, snapshot, message) => {
    expect(findingLines(inventoryOf(snapshot), code)).toEqual([message]);
    if (code !== 'SP321') expect(findingLines(inventoryOf(platform), code)).toEqual([]);
  });
});

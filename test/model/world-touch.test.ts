import { describe, expect, it } from 'vitest';
import { inventoryStates } from '../../src/inventory/states.ts';
import { DEFAULT_CONFIG } from '../../src/model/config.ts';
import { compileWorld } from '../../src/model/evaluate.ts';
import type { World } from '../../src/model/evaluate.ts';
import type { Touch } from '../../src/model/world-touch.ts';
import { touchBetween, touchedConnections } from '../../src/model/world-touch.ts';
import { CLUSTER_FACTS, edgesOf } from '../support/rig.ts';
import { shippedSignatures, snapshotOf, withObjects } from '../inventory/snapshots.ts';

const options = { config: { ...DEFAULT_CONFIG, cluster: CLUSTER_FACTS }, signatures: shippedSignatures(), now: 0 };

const deployment = (namespace: string, name: string, labels: object = {}, address?: string): readonly object[] => [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: {
      template: {
        metadata: { labels: { app: name, ...labels } },
        spec: { containers: [{ name: 'main', image: `example.com/${name}:1`, ports: [{ containerPort: 8080 }] }] },
      },
    },
  },
  ...(address === undefined
    ? []
    : [
        {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: {
            name: `${name}-1`,
            namespace,
            labels: { app: name },
            ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name, controller: true }],
          },
          spec: { containers: [{ name: 'main', image: `example.com/${name}:1` }] },
          status: { phase: 'Running', podIP: address },
        },
      ]),
];
const namespace = (name: string, labels: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});
const piece = (apiVersion: string, kind: string, where: string, spec: object): object => ({
  apiVersion,
  kind,
  metadata: { name: 'x', ...(where === '' ? {} : { namespace: where }) },
  spec,
});
const CLUSTER = snapshotOf([
  ...['shop', 'desk', 'istio-system'].map((name) => namespace(name)),
  ...['web', 'db', 'job'].flatMap((name) => deployment('shop', name)),
  ...deployment('desk', 'web'),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'all', namespace: 'shop' },
    spec: { clusterIP: 'None', selector: { group: 'two' }, ports: [{ port: 8080 }] },
  },
]);
const two = { group: 'two' };
/** Two workloads of shop stand behind its headless Service. */
const SHARED = withObjects(CLUSTER, ...deployment('shop', 'web', two), ...deployment('shop', 'db', two));

/** What lies between a cluster and the same with these objects. */
function worlds(base: typeof CLUSTER, ...more: readonly object[]): readonly [World, World] {
  const { start, rebuild } = inventoryStates(options);
  return [compileWorld(start(base)), compileWorld(rebuild(withObjects(base, ...more), base))];
}
function ends(touch: Touch): object | string {
  if (touch.kind === 'everything') return 'everything';
  return {
    namespaces: [...touch.namespaces],
    workloads: [...touch.workloads],
    selected: touch.selected.map((one) => one.namespace),
  };
}

const NETWORK = 'networking.k8s.io/v1';
const SECURITY = 'security.istio.io/v1';
const nothing = { namespaces: [], workloads: [], selected: [] };

describe('what a change can touch', () => {
  it.each<readonly [string, readonly object[], object | string]>([
    ['nothing', [], nothing],
    [
      'a NetworkPolicy: the pods that it selects',
      [piece(NETWORK, 'NetworkPolicy', 'shop', { podSelector: { matchLabels: { app: 'db' } } })],
      { ...nothing, selected: ['shop'] },
    ],
    [
      'a NetworkPolicy whose selector cannot be read: its namespace',
      [piece(NETWORK, 'NetworkPolicy', 'shop', { podSelector: { matchExpressions: [{ key: 'a', operator: 'Odd' }] } })],
      { ...nothing, namespaces: ['shop'] },
    ],
    [
      'the mode of a namespace: all of it',
      [piece(SECURITY, 'PeerAuthentication', 'desk', { mtls: { mode: 'STRICT' } })],
      { ...nothing, namespaces: ['desk'] },
    ],
    [
      'the mode of a workload',
      [piece(SECURITY, 'PeerAuthentication', 'desk', { selector: { matchLabels: { app: 'web' } } })],
      { ...nothing, selected: ['desk'] },
    ],
    ['the mode of the mesh', [piece(SECURITY, 'PeerAuthentication', 'istio-system', {})], 'everything'],
    ['a rule for clients', [piece('networking.istio.io/v1', 'DestinationRule', 'desk', { host: 'a' })], 'everything'],
    [
      'a policy of the cluster',
      [piece('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', '', { priority: 1, subject: {} })],
      'everything',
    ],
    [
      'a policy for a gateway',
      [
        piece(SECURITY, 'AuthorizationPolicy', 'desk', {
          targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'g' }],
        }),
      ],
      'everything',
    ],
    [
      'a waypoint',
      [piece('gateway.networking.k8s.io/v1', 'Gateway', 'desk', { gatewayClassName: 'istio-waypoint' })],
      'everything',
    ],
    [
      'labels of a namespace: its workloads as well',
      [namespace('desk', { a: 'b' })],
      { ...nothing, namespaces: ['desk'], workloads: ['desk/Deployment/web'] },
    ],
    [
      'a pod template: the workload',
      deployment('desk', 'web', { 'sidecar.istio.io/inject': 'true' }),
      { ...nothing, workloads: ['desk/Deployment/web'] },
    ],
    ['a pod with the only IPv6 address', deployment('desk', 'web', {}, 'fd00::1'), 'everything'],
  ])('%s', (_name, more, touched) => {
    expect(ends(touchBetween(...worlds(CLUSTER, ...more)))).toEqual(touched);
  });

  it('reaches whoever stands behind a headless Service together with the workload', () => {
    const joined = deployment('shop', 'db', { ...two, 'sidecar.istio.io/inject': 'true' });
    expect(ends(touchBetween(...worlds(SHARED, ...joined)))).toEqual({
      ...nothing,
      workloads: ['shop/Deployment/db', 'shop/Deployment/web'],
    });
  });

  it('takes connections of what is selected, and those with an end that nobody knows', () => {
    const policy = piece(NETWORK, 'NetworkPolicy', 'shop', { podSelector: { matchLabels: { app: 'db' } } });
    const edges = edgesOf(`desk/Deployment/web -> shop/Deployment/db 8080
      shop/Deployment/db -> shop/Deployment/job 8080
      desk/Deployment/web -> shop/Deployment/web 8080
      shop/Deployment/gone -> desk/Deployment/web 8080`);
    const unknown = edges
      .slice(2, 3)
      .map((edge) => ({ ...edge, src: { kind: 'unknown' as const, why: 'no such pod' } }));
    const touched = touchedConnections(...worlds(CLUSTER, policy), [...edges, ...unknown]);
    // What was never read may carry the label.
    expect(touched).toEqual([edges[0], edges[1], edges[3], unknown[0]]);
  });
});

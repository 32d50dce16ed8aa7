// In ambient mode packets go where the mesh sends them: what a step on packets rests on then, and what stands between two ends of a connection.
import { describe, expect, it } from 'vitest';
import type { Config } from '../../src/model/config.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { compareGround, listsFor } from '../../src/plan/ground.ts';
import type { Step } from '../../src/plan/plan.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { setPath } from '../../src/shared/pure/json.ts';
import { planFor, viewFor } from '../phases/worlds.ts';
import { CONFIG, edgesOf } from '../support/rig.ts';

const labels = (name: string, more = ''): string =>
  `{apiVersion: v1, kind: Namespace, metadata: {name: ${name}, labels: {kubernetes.io/metadata.name: ${name}${more}}}}`;
/** Whatever is called in namespace back is called through a waypoint of another namespace. */
const WORLD = `
${labels('front', ', istio.io/dataplane-mode: ambient')}
---
${labels('back', ', istio.io/dataplane-mode: ambient, istio.io/use-waypoint: door, istio.io/use-waypoint-namespace: gates')}
---
${labels('gates')}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: gates, labels: {istio.io/waypoint-for: service}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: door, namespace: gates}
spec:
  selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: door}}
  template:
    metadata: {labels: {gateway.networking.k8s.io/gateway-name: door, istio.io/dataplane-mode: none}}
    spec:
      serviceAccountName: door
      containers: [{name: istio-proxy, image: "docker.io/istio/proxyv2:1.29.1", ports: [{containerPort: 15008}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: gates}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: door}], action: AUDIT, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: back}
spec: {selector: {matchLabels: {app: api}}, action: AUDIT, rules: [{}]}
`;
const ZTUNNEL = `
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ztunnel, namespace: istio-system, labels: {app: ztunnel}}
spec:
  selector: {matchLabels: {app: ztunnel}}
  template:
    metadata: {labels: {app: ztunnel, sidecar.istio.io/inject: "false"}}
    spec: {serviceAccountName: ztunnel, containers: [{name: istio-proxy, image: "docker.io/istio/ztunnel:1.29.1"}]}
`;
const mesh = (mode: 'ambient' | 'sidecar'): Config => ({
  ...CONFIG,
  cluster: { ...CONFIG.cluster, mesh: { ...CONFIG.cluster.mesh, mode } as NonNullable<Config['cluster']['mesh']> },
});
const EDGES = edgesOf('front/Deployment/web -> back/Deployment/api 8080');

function judged(mode: 'ambient' | 'sidecar') {
  const given = {
    namespace: 'back',
    with: mode === 'ambient' ? WORLD + ZTUNNEL : WORLD,
    edges: EDGES,
    config: mesh(mode),
  };
  const plan = planFor(given, 'allow-list');
  const { ground } = plan;
  if (ground === undefined) throw new Error('no ground');
  const step = plan.steps.find(
    ({ id, change }) => id.endsWith('-ingress') && change.kind === 'create' && change.object.kind === 'NetworkPolicy',
  );
  if (step === undefined) throw new Error('no step on packets');
  const { objects } = viewFor(given).snapshot;
  const found = (live: readonly KubeManifest[], of: Pick<Step, 'change' | 'effects'> = step): readonly string[] =>
    compareGround(ground, listsFor(ground, of), [], live, [], plan.steps).map(({ object }) => object);
  const without = (kind: string, namespace: string): readonly KubeManifest[] =>
    objects.filter((one) => one.kind !== kind || one.metadata.namespace !== namespace);
  const changed = (kind: string, namespace: string, path: readonly string[], value: Json): readonly KubeManifest[] =>
    objects.map((one) =>
      one.kind === kind && one.metadata.namespace === namespace ? (setPath(one, path, value) as KubeManifest) : one,
    );
  return { objects, found, without, changed };
}

describe('a step on packets in ambient mode', () => {
  const { objects, found, without, changed } = judged('ambient');

  it('is taken where nothing has changed', () => {
    expect(found(objects)).toEqual([]);
  });

  it.each<readonly [string, readonly KubeManifest[], string]>([
    ['the waypoint is gone', without('Gateway', 'gates'), 'Gateway gates/door'],
    [
      'it takes no calls to Services any more',
      changed('Gateway', 'gates', ['metadata', 'labels', 'istio.io/waypoint-for'], 'none'),
      'Gateway gates/door',
    ],
    [
      'a policy that guards the tunnel port is gone',
      without('AuthorizationPolicy', 'back'),
      'AuthorizationPolicy back/theirs',
    ],
    ['one of the waypoint is gone', without('AuthorizationPolicy', 'gates'), 'AuthorizationPolicy gates/theirs'],
    [
      'the waypoint runs as another account',
      changed('Deployment', 'gates', ['spec', 'template', 'spec', 'serviceAccountName'], 'other'),
      'Deployment gates/door',
    ],
    [
      'the waypoint has other labels',
      changed(
        'Deployment',
        'gates',
        ['spec', 'template', 'metadata', 'labels', 'gateway.networking.k8s.io/gateway-name'],
        'x',
      ),
      'Deployment gates/door',
    ],
  ])('is not taken where %s', (_, live, expected) => {
    expect(found(live)).toEqual([expected]);
  });
});

describe('a step on packets where every proxy is a sidecar', () => {
  it('does not rest on what the mesh allows', () => {
    const { found, without } = judged('sidecar');
    expect(found(without('Gateway', 'gates'))).toEqual([]);
    expect(found(without('AuthorizationPolicy', 'back'))).toEqual([]);
  });
});

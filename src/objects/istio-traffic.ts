import type { KubeManifest } from '../model/object.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import type { OwnMeta } from './build.ts';
import { metadata } from './build.ts';

/** Settings of one port of a Service. They replace those of the whole rule for that port; client TLS is left to automatic mTLS. */
export interface PortSettings {
  readonly port: number;
  /** `http` and `tcp` as Istio's ConnectionPoolSettings have them. */
  readonly connectionPool: JsonObject;
}

/** networking.istio.io/v1 DestinationRule with connection pools by port, and nothing else. */
export function buildPoolRule(own: OwnMeta, host: string, ports: readonly PortSettings[]): KubeManifest {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: metadata(own),
    spec: { host, trafficPolicy: { portLevelSettings: portLevel(ports) } },
  };
}

function portLevel(ports: readonly PortSettings[]): readonly Json[] {
  return [...ports]
    .sort((a, b) => a.port - b.port)
    .map(({ port, connectionPool }) => ({ port: { number: port }, connectionPool }));
}

/** networking.istio.io/v1 Sidecar of a namespace that shows its proxies these namespaces alone; everything else stays as it is. */
export function buildScope(own: OwnMeta, namespaces: readonly string[]): KubeManifest {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'Sidecar',
    metadata: metadata(own),
    spec: { egress: [{ hosts: ['./*', ...namespaces.map((name) => `${name}/*`)] }] },
  };
}

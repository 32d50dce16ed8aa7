import { describe, expect, it } from 'vitest';
import { maskManifest } from '../../../src/shared/pure/mask.ts';

const pod = (container: object): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web' },
  spec: { template: { spec: { containers: [container] } } },
});
const annotated = (key: string, value: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', annotations: { [key]: value } },
});
const config = (key: string, value: string): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'web' },
  data: { [key]: value },
});

describe('a credential is masked in a manifest', () => {
  it.each<[string, object]>([
    ['a value of the environment', pod({ env: [{ name: 'PLAIN', value: 'hunter2' }] })],
    ['an argument that assigns', pod({ args: ['--db-password=hunter2'] })],
    ['an argument behind its flag', pod({ args: ['--token', 'hunter2'] })],
    ['a line of a shell', pod({ command: ['sh', '-c', 'export API_KEY="hunter2"; run'] })],
    [
      'a command of a probe',
      pod({ livenessProbe: { exec: { command: ['curl', '-H', 'Authorization: Bearer hunter2'] } } }),
    ],
    [
      'a header of a probe',
      pod({ livenessProbe: { httpGet: { port: 80, httpHeaders: [{ name: 'X-Api-Key', value: 'hunter2' }] } } }),
    ],
    ['the user part of an address in an argument', pod({ args: ['postgres://app:hunter2@db/x'] })],
    ['the user part of an address, password with an @', pod({ args: ['postgres://app:p@hunter2@db/x'] })],
    [
      'the user part of an address anywhere',
      { kind: 'Probe', metadata: { name: 'a' }, spec: { url: 'https://u:hunter2@host/' } },
    ],
    ['a field of another kind', { kind: 'Broker', metadata: { name: 'a' }, spec: { adminPassword: 'hunter2' } }],
    ['an annotation by its key', annotated('vendor.io/api-token', 'hunter2')],
    ['an annotation by its text', annotated('vendor.io/config', '{"password": "hunter2"}')],
    [
      'the object as it was last applied',
      annotated('kubectl.kubernetes.io/last-applied-configuration', '{"env":"hunter2"}'),
    ],
    ['an address in an annotation of the mesh', annotated('proxy.istio.io/config', 'tracing: http://u:hunter2@host')],
    ['an entry of a ConfigMap by its key', config('DB_PASSWORD', 'hunter2')],
    ['an entry of a ConfigMap that is a file', config('app.ini', '[db]\nuser = app\npass = hunter2\n')],
    ['a Secret', { kind: 'Secret', metadata: { name: 'a' }, data: { x: 'hunter2' }, stringData: { y: 'hunter2' } }],
  ])('%s', (_, manifest) => {
    const text = JSON.stringify(maskManifest(manifest));
    expect(text).not.toContain('hunter2');
    expect(text).toContain('(masked)');
  });
});

describe('what policies, selectors and probes need stays', () => {
  it.each<[string, object]>([
    [
      'ports, probes, names and labels',
      {
        ...pod({
          name: 'web',
          args: ['serve', '--port=8080'],
          env: [{ name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'db', key: 'password' } } }],
          ports: [{ name: 'http', containerPort: 8080 }],
          readinessProbe: { httpGet: { path: '/ready', port: 'http' } },
        }),
        metadata: { name: 'web', namespace: 'shop', labels: { token: 'a', app: 'web' } },
      },
    ],
    [
      'selectors by expression',
      {
        kind: 'NetworkPolicy',
        metadata: { name: 'a' },
        spec: { podSelector: { matchExpressions: [{ key: 'token', operator: 'In', values: ['x'] }] } },
      },
    ],
    ['the names of Secrets', { kind: 'Gateway', metadata: { name: 'a' }, spec: { tls: { credentialName: 'cert' } } }],
    ['annotations of the mesh', annotated('traffic.sidecar.istio.io/excludeInboundPorts', '9102')],
    ['annotations of the scrape', annotated('prometheus.io/port', '9102')],
    ['a plain entry of a ConfigMap', config('enable-policy', 'default')],
    ['an address without a user', pod({ args: ['http://db.shop:5432/a?x=y@z'] })],
  ])('%s', (_, manifest) => {
    expect(maskManifest(manifest)).toEqual(manifest);
  });
});

// What tune writes is taken by Istio's own definitions on a real API server; what they refuse shows that they look.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { realisePool } from '../../src/candidates/tuning/rule.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { buildScope } from '../../src/objects/istio-traffic.ts';
import type { ApiClient } from '../support/apiserver/client.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';

const namespace = `tuning-${randomBytes(4).toString('hex')}`;
let client: ApiClient;

beforeAll(async () => {
  client = connect(inject('apiServer').admin);
  await client.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
});
afterAll(async () => {
  await deleteNamespace(client, namespace);
  client.close();
});

const post = (plural: string, object: KubeManifest): Promise<unknown> =>
  client.must('POST', `/apis/networking.istio.io/v1/namespaces/${namespace}/${plural}?dryRun=All`, object);

const pool = (http: Record<string, string | number>, maxConnections = 64): KubeManifest => {
  const real = realisePool([], {
    kind: 'pool',
    service: { namespace, name: 'web' },
    port: 8080,
    http,
    tcp: { maxConnections, tcpKeepalive: { time: '300s', interval: '60s' } },
  });
  if (real === undefined) throw new Error('no rule is in the way, and none is made');
  return real.object;
};

describe('on a real API server', () => {
  it('settings of a pool and a scope are taken', async () => {
    await post(
      'destinationrules',
      pool({ idleTimeout: '3600s', maxRequestsPerConnection: 0, h2UpgradePolicy: 'UPGRADE' }),
    );
    await post('sidecars', buildScope({ name: 'sallyport-tune-scope', namespace }, ['default', 'istio-system']));
  });

  it('a policy that there is not, and an idle time without a unit, are not', async () => {
    await expect(post('destinationrules', pool({ h2UpgradePolicy: 'MAYBE' }))).rejects.toThrow();
    await expect(post('destinationrules', pool({ idleTimeout: '3600' }))).rejects.toThrow();
  });
});

// The roles that are bound beside others, on a real API server: whole each writes and takes back what it is for; one verb short is refused by name; and
// Leases are held by their names alone.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Target } from '../../src/engine/contract.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { MANAGED_BY, MANAGED_BY_LABEL } from '../../src/objects/build.ts';
import { systemClock } from '../../src/shared/io/clock.ts';
import { openClusterTarget } from '../../src/targets/cluster.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import type { About, Holder } from '../support/apiserver/roles.ts';
import { expectOneVerbShort, openHolder, shippedRules, without } from '../support/apiserver/roles.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const alice = shared.users['alice'] ?? { ...shared.admin, kubeconfig: '' };
const namespace = `roles-${randomBytes(4).toString('hex')}`;
const LEASES = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
let target: Target;
let holder: Holder;

beforeAll(async () => {
  await admin.must('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  holder = openHolder(admin, alice, namespace);
  await holder.begin();
  target = await openClusterTarget({ kubeconfig: alice.kubeconfig, clock: systemClock });
});
afterAll(async () => {
  await target.close();
  await holder.drop();
  await deleteNamespace(admin, namespace);
  admin.close();
});

const metadata = { name: 'sallyport-some', namespace, labels: { [MANAGED_BY_LABEL]: MANAGED_BY } };
const ENTRY: KubeManifest = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'ServiceEntry',
  metadata,
  spec: {
    hosts: ['pypi.example'],
    ports: [{ number: 443, name: 'tls', protocol: 'TLS' }],
    resolution: 'DNS',
    location: 'MESH_EXTERNAL',
  },
};
const DENIAL: KubeManifest = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata,
  spec: { podSelector: { matchLabels: { app: 'web' } }, policyTypes: ['Ingress', 'Egress'] },
};

it('mesh-traffic writes what the mesh routes', async () => {
  await expectOneVerbShort(
    { admin, holder, target },
    shippedRules('mesh-traffic'),
    ENTRY,
    ['spec', 'hosts'],
    ['pypi.example', 'mirror.example'],
  );
});

it('actor writes policies that deny', async () => {
  await expectOneVerbShort({ admin, holder, target }, shippedRules('actor'), DENIAL, ['spec', 'podSelector'], {
    matchLabels: { app: 'db' },
  });
});

/** A Lease that somebody held long ago: it is taken over, which is an update. */
async function leaveOver(): Promise<void> {
  await admin.request('DELETE', `${LEASES}/sallyport`);
  const long = '2020-01-01T00:00:00.000000Z';
  await admin.must('POST', LEASES, {
    metadata: { name: 'sallyport' },
    spec: { holderIdentity: 'somebody', leaseDurationSeconds: 60, acquireTime: long, renewTime: long },
  });
}

describe.each(['operator', 'actor'])('the Leases of runs, with the role %s', (role) => {
  const rules = shippedRules(role);
  const about = (verb: string, name = 'sallyport'): About => ({
    group: 'coordination.k8s.io',
    resource: 'leases',
    verb,
    namespace,
    ...(verb === 'create' ? {} : { name }),
  });
  const hold = async (): Promise<void> => {
    const held = await target.acquire([namespace], 'a test');
    await held.assertHeld();
    await held.release();
  };

  it('are taken, taken over, and given back', async () => {
    await holder.hold(rules, about('update'), true);
    await hold();
    await leaveOver();
    await hold();
    expect((await admin.request('GET', `${LEASES}/sallyport`)).status).toBe(404);
  });

  it.each(['get', 'create', 'update', 'delete'])('without %s the hold is refused, by name', async (verb) => {
    if (verb === 'update') await leaveOver();
    else await admin.request('DELETE', `${LEASES}/sallyport`);
    await holder.hold(without(rules, about(verb)), about(verb), false);
    await expect(hold()).rejects.toMatchObject({
      detail: { code: 'SP403', message: expect.stringContaining('leases') as string },
    });
  });

  it('are the only ones that it reads, writes or ends', async () => {
    await holder.hold(rules, about('update'), true);
    await admin.request('DELETE', `${LEASES}/other`);
    await admin.must('POST', LEASES, { metadata: { name: 'other' }, spec: { holderIdentity: 'a controller' } });
    const client = connect(alice);
    try {
      const { body } = await admin.must('GET', `${LEASES}/other`);
      expect((await client.request('GET', `${LEASES}/other`)).status).toBe(403);
      expect((await client.request('PUT', `${LEASES}/other`, body)).status).toBe(403);
      expect((await client.request('DELETE', `${LEASES}/other`)).status).toBe(403);
      expect((await client.request('GET', LEASES)).status).toBe(403);
      expect((await admin.must('GET', `${LEASES}/other`)).body).toEqual(body);
    } finally {
      client.close();
    }
  });
});

// Access that ends by itself on a real API server: a person's right on named pods, and what ends it in the cluster with the rights that are shipped.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { EXPIRE_SCRIPT } from '../../src/objects/expirer.ts';
import { EXPIRER_RULES } from '../../src/sources/kube/rights.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { pathOf, resources } from '../support/apiserver/objects.ts';
import { findOrBuildKubectl } from '../support/kubectl/build.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended } from '../support/sallyport.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const namespace = `grant-${randomBytes(4).toString('hex')}`;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const NETWORK = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`;
let home = '';

const asAdmin = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', shared.kubeconfig], { home });
const asBob = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', shared.users['bob']?.kubeconfig ?? ''], { home: join(home, 'bob') });
const document = ({ stdout, stderr, code }: Ended): Record<string, unknown> => {
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
};

/** May bob do this with that pod? Asked of the API server. */
async function may(verb: string, subresource: string, name: string): Promise<boolean> {
  const review = await admin.must('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user: 'bob', resourceAttributes: { namespace, verb, resource: 'pods', subresource, name } },
  });
  return (JSON.parse(review.text) as { status: { allowed: boolean } }).status.allowed;
}

const policy = (name: string, end: string | undefined, own = true): object => ({
  metadata: {
    name,
    labels: { 'sallyport.dev/grant': name, ...(own ? { 'app.kubernetes.io/managed-by': 'sallyport' } : {}) },
    annotations: end === undefined ? {} : { 'sallyport.dev/expires-at': end },
  },
  spec: { podSelector: { matchLabels: { app: 'none' } }, policyTypes: ['Ingress'] },
});
const PAST = '2020-01-01T00:00:00.000Z';
const FAR = '2099-01-01T00:00:00.000Z';

async function makePolicies(): Promise<void> {
  await admin.must('POST', NETWORK, policy('over', PAST));
  await admin.must('POST', NETWORK, policy('no-deadline', undefined));
  await admin.must('POST', NETWORK, policy('open', FAR));
  await admin.must('POST', NETWORK, policy('of-somebody', PAST, false));
}

const names = async (): Promise<readonly string[]> =>
  (JSON.parse((await admin.must('GET', NETWORK)).text) as { items: { metadata: { name: string } }[] }).items
    .map(({ metadata }) => metadata.name)
    .sort();

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-grants-'));
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: namespace } });
  for (const name of ['web-0', 'db-0'])
    await admin.must('POST', pathOf(resources.pods, namespace), {
      metadata: { name, labels: { app: name } },
      spec: { automountServiceAccountToken: false, containers: [{ name: 'main', image: 'example/main:1' }] },
    });
});

afterAll(async () => {
  await admin.request('DELETE', `${RBAC}/clusterroles/${namespace}`);
  await admin.request('DELETE', `${RBAC}/clusterrolebindings/${namespace}`);
  await deleteNamespace(admin, namespace);
  admin.close();
  await rm(home, { recursive: true, force: true });
});

describe('a grant to a person', () => {
  it('is a right on that pod alone, and is gone when it ends; a session is named', async () => {
    const granted = document(
      await asAdmin(
        'grant',
        '--user',
        'bob',
        '--exec',
        `${namespace}/web-0`,
        '--for',
        '30m',
        '--reason',
        'incident 17',
        '--yes',
      ),
    ) as { grant: { id: string }; notes: string[]; outcome: string };
    expect(granted.outcome).toBe('opened');
    expect(granted.notes.join()).toContain('SP383');
    await expect.poll(() => may('create', 'exec', 'web-0'), { timeout: 20_000 }).toBe(true);
    expect(await may('get', 'exec', 'web-0')).toBe(true);
    expect(await may('create', 'exec', 'db-0')).toBe(false);
    expect(await may('create', 'portforward', 'web-0')).toBe(false);
    const ended = document(await asAdmin('grant', 'revoke', granted.grant.id)) as { ended: { leftOpen: string[] }[] };
    expect(ended.ended[0]?.leftOpen.join()).toContain('SP384');
    expect(ended.ended[0]?.leftOpen.join()).toContain(`kubectl delete pod -n ${namespace} web-0`);
    await expect.poll(() => may('create', 'exec', 'web-0'), { timeout: 20_000 }).toBe(false);
  });

  it('says where the clock here is ahead of the cluster (SP382)', async () => {
    const late = new Date(Date.now() + 3_600_000).toISOString();
    const granted = document(
      await asAdmin(
        'grant',
        '--user',
        'bob',
        '--exec',
        `${namespace}/web-0`,
        '--for',
        '30m',
        '--reason',
        'r',
        '--now',
        late,
        '--yes',
      ),
    ) as { grant: { id: string }; notes: string[] };
    expect(granted.notes.join()).toContain('SP382');
    document(await asAdmin('grant', 'revoke', granted.grant.id));
  });
});

describe('what ends grants in the cluster', () => {
  it('with the rights that are shipped, takes away what is over and marked as ours, and nothing else', async () => {
    await admin.must('POST', `${RBAC}/clusterroles`, { metadata: { name: namespace }, rules: EXPIRER_RULES });
    await admin.must('POST', `${RBAC}/clusterrolebindings`, {
      metadata: { name: namespace },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: namespace },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'bob' }],
    });
    await makePolicies();
    await expect.poll(async () => (await asBob('grant', 'expire', '--in-cluster')).code, { timeout: 30_000 }).toBe(0);
    expect(await names()).toEqual(['of-somebody', 'open']);
  });

  it('on another record is ended too, and stands on the trail', async () => {
    await admin.must('POST', NETWORK, policy('over', PAST));
    const ended = document(await asAdmin('grant', 'expire')) as { beside: { object: string; outcome: string }[] };
    expect(ended.beside).toEqual([{ grant: 'over', object: `NetworkPolicy ${namespace}/over`, outcome: 'deleted' }]);
    const trail = document(await asAdmin('audit')) as { entries: { what: string }[] };
    expect(trail.entries.map(({ what }) => what)).toContain('access ended: deleted');
  });

  it('with kubectl and a shell alone, does the same', async () => {
    await admin.request('DELETE', `${NETWORK}/of-somebody`);
    await admin.request('DELETE', `${NETWORK}/open`);
    await makePolicies();
    const child = spawn('/bin/sh', ['-c', EXPIRE_SCRIPT], {
      env: { PATH: `${findOrBuildKubectl()}:${process.env['PATH'] ?? ''}`, KUBECONFIG: shared.kubeconfig, HOME: home },
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.stdout.resume();
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(code, said).toBe(0);
    expect(await names()).toEqual(['of-somebody', 'open']);
  });
});

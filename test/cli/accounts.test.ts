// The two commands about identity, as processes, on a namespace where one account runs two workloads and a key lies about.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import { documentOf, makeHome, sallyport } from './shop.ts';

const CLUSTER = {
  'cluster/ml.yaml': `apiVersion: v1
kind: Namespace
metadata: {name: ml}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: team, namespace: ml}
imagePullSecrets: [{name: registry}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: runs, namespace: ml}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: runs, namespace: ml}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: runs}
subjects: [{kind: ServiceAccount, name: team, namespace: ml}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ml}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: team, containers: [{name: main, image: web:1}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: ml}
spec:
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      serviceAccountName: team
      containers: [{name: main, image: worker:1, env: [{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: s3, key: secret}}}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: s3, namespace: ml}
stringData: {secret: hunter2}
`,
};

const event = (more: object): string =>
  JSON.stringify({
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    stage: 'ResponseComplete',
    verb: 'get',
    user: { username: 'system:serviceaccount:ml:team' },
    objectRef: { resource: 'pods', namespace: 'ml', name: 'a', apiVersion: 'v1' },
    annotations: { 'authorization.k8s.io/decision': 'allow' },
    requestReceivedTimestamp: '2026-03-01T10:00:00.000000Z',
    ...more,
  });

const run = async (files: Readonly<Record<string, string>>, ...args: readonly string[]) => {
  const home = await makeHome({ ...CLUSTER, ...files });
  return sallyport(['--manifests', 'cluster', '--state', 's.sqlite', ...args], { home });
};

interface Document {
  readonly before: object;
  readonly after: object;
  readonly audit: object;
  readonly accounts: readonly { readonly id: string; readonly unused: readonly object[] | null }[];
}

describe('accounts', () => {
  it('shows who shares one, what it may do, and what becomes of it; never what a Secret holds', async () => {
    const ended = await run({}, 'accounts', '-n', 'ml');
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toContain('team (shared by 2 workloads)');
    expect(ended.stdout).toContain('rights (2): delete pods in ml; get pods in ml');
    expect(ended.stdout).toContain('pulls images with: registry');
    expect(ended.stdout).toMatch(/afterwards: ml\/Deployment\/web as web;\s+ml\/Deployment\/worker as worker/);
    expect(ended.stdout).toContain('Secret ml/s3 key secret');
    expect(ended.stdout + ended.stderr).not.toContain('hunter2');
  });

  it('says which rights an audit log does not show in use, and what of the log was not read', async () => {
    const lines = [
      event({}),
      // Refused, before it was decided, of somebody else, and made as somebody else.
      event({ verb: 'delete', annotations: { 'authorization.k8s.io/decision': 'forbid' } }),
      event({ verb: 'delete', stage: 'RequestReceived' }),
      event({ verb: 'delete', user: { username: 'system:serviceaccount:ml:other' } }),
      event({ verb: 'delete', impersonatedUser: { username: 'alice' } }),
      'not json',
      JSON.stringify({ kind: 'Event', apiVersion: 'audit.k8s.io/v1beta1' }),
    ];
    const ended = await run({ 'audit.log': `${lines.join('\n')}\n` }, 'accounts', '--audit-log', 'audit.log', '--json');
    expect(ended.code, ended.stderr).toBe(0);
    const found = documentOf(ended) as unknown as Document;
    expect(found.audit).toMatchObject({ events: 5, bad: 2, first: '2026-03-01T10:00:00.000Z' });
    expect(found.accounts.find(({ id }) => id === 'ml/team')?.unused).toEqual([
      { verb: 'delete', group: '', resource: 'pods', namespace: 'ml' },
    ]);
    expect(found.before).toMatchObject({ accounts: 1, shared: 1, sharing: 2 });
    expect(found.after).toMatchObject({ accounts: 2, shared: 0, sharing: 0 });
  });

  it('reads lists of events as a webhook sends them', async () => {
    const list = JSON.stringify({
      kind: 'EventList',
      apiVersion: 'audit.k8s.io/v1',
      items: [JSON.parse(event({ verb: 'delete' })) as object, JSON.parse(event({})) as object],
    });
    const ended = await run({ 'audit.log': list }, 'accounts', '--audit-log', 'audit.log', '--json');
    expect((documentOf(ended) as unknown as Document).accounts.find(({ id }) => id === 'ml/team')?.unused).toEqual([]);
  });

  it('refuses a file that is no audit log', async () => {
    const ended = await run({ 'audit.log': '{"flow":{}}\n' }, 'accounts', '--audit-log', 'audit.log');
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain('SP260');
  });
});

describe('cloud-identity', () => {
  it('says plainly that the cloud is unknown, and trusts no shared account', async () => {
    const ended = await run({}, 'cloud-identity');
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toContain('Cloud: unknown (no node was read)');
    expect(ended.stdout).toContain('system:serviceaccount:ml:worker');
    expect(ended.stdout).not.toContain('system:serviceaccount:ml:team');
    expect(ended.stdout + ended.stderr).not.toContain('hunter2');
  });

  it('prints Terraform alone', async () => {
    const ended = await run({}, 'cloud-identity', '--terraform');
    expect(ended.stdout).toContain('values   = ["system:serviceaccount:ml:worker"]');
    expect(ended.stdout.split('\n').filter((line) => line.startsWith('Cloud:'))).toEqual([]);
    expect((await run({}, 'cloud-identity', '--terraform', '--json')).stdout).toContain('SP261');
  });

  it('replaces the key by a run of its own, and takes that back to the byte; never what a Secret holds', async () => {
    const files = {
      'cluster/node.yaml':
        'apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nspec: {providerID: "aws:///eu-central-1a/i-0"}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: worker, namespace: ml}\n---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: eks-pod-identity-agent, namespace: kube-system}\nspec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: agent, image: a}]}}}\n',
      'cluster/ml.yaml': CLUSTER['cluster/ml.yaml'].replace(
        'serviceAccountName: team\n',
        'serviceAccountName: worker\n',
      ),
      'config.yaml': 'gates: {soak: off}\n',
      'trust.json': JSON.stringify({
        associations: [{ namespace: 'ml', serviceAccount: 'worker', clusterName: 'one' }],
      }),
    };
    const home = await makeHome({ ...CLUSTER, ...files });
    const go = (...args: readonly string[]) =>
      sallyport(
        ['--manifests', 'cluster', '--state', 's.sqlite', '--config', 'config.yaml', 'cloud-identity', ...args],
        {
          home,
        },
      );
    const bare = await go('apply', '-n', 'ml', '--json');
    expect(documentOf(bare)).toMatchObject({ error: { code: 'SP132' } });
    expect((await go('apply', '--json')).stdout).toContain('SP132');
    expect(documentOf(await go('remove', '-n', 'ml', '--json'))).toMatchObject({
      error: { code: 'SP685', hint: expect.stringContaining('sallyport audit --namespace ml ') as string },
    });
    expect((await go('apply', '-n', 'ml', '--proof', 'config.yaml', '--json')).stdout).toContain('SP133');

    const before = await readTree(join(home, 'cluster'));
    const how = ['apply', '-n', 'ml', '--way', 'eks-pod-identity'];
    const waits = await go(...how);
    expect(waits.code, waits.stderr).toBe(0);
    expect(waits.stdout).toContain('cloud-side');
    expect(waits.stderr).toMatch(/delete the\s+key behind it in the cloud/);
    expect((await go(...how, '--no-dry-run', '--yes')).code).toBe(3);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    expect((await go(...how, '--issuer', 'x', '--json')).stdout).toContain('is no https URL');
    const unnamed = await go(...how, '--proof', 'trust.json', '--no-dry-run', '--yes');
    expect(unnamed.code, unnamed.stdout).toBe(3);
    const done = await go(...how, '--proof', 'trust.json', '--eks-cluster', 'one', '--no-dry-run', '--yes', '--json');
    expect(done.code, done.stderr + done.stdout).toBe(0);
    expect(await readFile(join(home, 'cluster/ml.yaml'), 'utf8')).not.toContain('AWS_SECRET_ACCESS_KEY');
    const back = await go('remove', '-n', 'ml', '--no-dry-run', '--yes');
    const waived = await sallyport(
      [
        '--manifests',
        'cluster',
        '--state',
        's.sqlite',
        'waive',
        'gate=cloud-side,subject=ml/Deployment/worker',
        '--reason',
        'done',
      ],
      { home },
    );
    expect(waived.code, waived.stderr).toBe(0);
    const { gates } = documentOf(await go(...how, '--json')) as unknown as {
      readonly gates: readonly { readonly id: string; readonly waived?: string }[];
    };
    expect(gates.find(({ id }) => id === 'cloud-side')?.waived).toContain('done');
    expect(back.code, back.stderr + back.stdout).toBe(0);
    expect(await readTree(join(home, 'cluster'))).toEqual(before);
    for (const { stdout, stderr } of [waits, done, back]) expect(stdout + stderr).not.toContain('hunter2');
  });
});

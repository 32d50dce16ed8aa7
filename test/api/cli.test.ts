// The program against a real API server, with rights and state that are not as they should be.
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { pathOf, resources } from '../support/apiserver/objects.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended } from '../support/sallyport.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const namespace = `cli-${randomBytes(4).toString('hex')}`;
const bindings = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
const binding = `${namespace}-bob-views`;
const bob = shared.users['bob'];
let home = '';

const json = ({ stdout }: Ended): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;
const asAdmin = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', shared.kubeconfig], { home });
const asBob = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', bob?.kubeconfig ?? ''], { home: join(home, 'bob') });

interface Told {
  readonly error: { readonly code: string; readonly message: string; readonly hint: string };
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-cli-'));
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: namespace } });
  const labels = { app: 'web' };
  await admin.must('POST', pathOf(resources.deployments, namespace), {
    metadata: { name: 'web', labels },
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'web', image: 'example/web:1' }] } },
    },
  });
});

afterAll(async () => {
  await admin.request('DELETE', `${bindings}/${binding}`);
  await deleteNamespace(admin, namespace);
  admin.close();
  await rm(home, { recursive: true, force: true });
});

describe('a person who may only look', () => {
  it('cannot even do that without a role, and hears which right to ask for', async () => {
    const ended = await asBob('inventory');
    expect(ended.code).toBe(4);
    const { error } = json(ended) as unknown as Told;
    expect(error.code).toBe('SP403');
    expect(error.message).toContain('you may not get namespaces');
    expect(error.hint).toContain('kubectl auth can-i');
  });

  it('inventories and plans with the role view, what it hides being unknown, and is stopped before the first write', async () => {
    await admin.must('POST', bindings, {
      metadata: { name: binding },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'bob' }],
    });
    // The authorizer learns of the binding by a watch.
    await expect.poll(async () => (await asBob('inventory')).code, { timeout: 20_000 }).toBe(0);
    const { workloads, findings } = json(await asBob('inventory', '--namespace', namespace)) as {
      workloads: { id: string }[];
      findings: { code: string; subject: string; message: string }[];
    };
    expect(workloads.map((workload) => workload.id)).toEqual([`${namespace}/Deployment/web`]);
    // The role does not reach nodes: said, not guessed.
    expect(JSON.stringify(findings)).toMatch(/[Nn]ode/);
    const plan = await asBob('plan', namespace, '--to', 'monitor');
    expect(plan.code, plan.stderr).toBe(0);
    const before = (await admin.must('GET', pathOf(resources.namespaces, undefined, namespace))).body;
    const advance = ['advance', namespace, '--to', 'monitor', '--yes', '--config', await soakOff()];
    const refused = await asBob(...advance);
    expect(refused.code, refused.stderr).toBe(3);
    const { gates } = json(refused) as unknown as { gates: { id: string; answer: string; subject: string }[] };
    const open = gates.filter((gate) => gate.answer !== 'yes');
    expect(open.length).toBeGreaterThan(0);
    expect(open.filter((gate) => gate.id !== 'unknown')).toEqual([]);
    const ended = await asBob(...advance, '--decisions', await waiving(open.map((gate) => gate.subject)));
    expect(ended.code, ended.stderr).toBe(4);
    const { error } = json(ended) as unknown as Told;
    expect(error.code).toBe('SP403');
    expect(error.message).toMatch(/you may not (get|create|update) leases\.coordination\.k8s\.io in namespace/);
    expect((await admin.must('GET', pathOf(resources.namespaces, undefined, namespace))).body).toEqual(before);
    const status = json(await asBob('status')) as { namespaces: { phase: string; openRun?: object }[] };
    expect(status.namespaces.filter((one) => one.phase !== 'none' || one.openRun !== undefined)).toEqual([]);
  });
});

async function waiving(subjects: readonly string[]): Promise<string> {
  const file = join(home, 'waivers.json');
  const decisions = subjects.map((subject) => ({
    action: 'waive',
    query: `gate=unknown,subject=${subject}`,
    reason: 'bob may not list them, and marking a namespace rests on none',
    by: 'bob',
    at: '2026-01-01T00:00:00Z',
  }));
  await writeFile(file, JSON.stringify({ decisions }));
  return file;
}

async function soakOff(): Promise<string> {
  const file = join(home, 'config.yaml');
  await writeFile(file, 'gates: {soak: off}\n');
  return file;
}

describe('wrong use', () => {
  it('does not take one cluster’s state for another’s', async () => {
    const dir = join(home, 'offline');
    await mkdir(dir);
    await writeFile(join(dir, 'a.yaml'), 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n');
    const state = join(home, 'offline.sqlite');
    const made = await sallyport(['advance', 'shop', '--yes', '--json', '--manifests', dir, '--state', state], {
      home,
    });
    expect(made.code, made.stderr).toBe(0);
    const ended = await asAdmin('advance', namespace, '--yes', '--state', state);
    expect(ended.code, ended.stderr).toBe(5);
    expect((json(ended) as unknown as Told).error.message).toContain(dir);
  });

  it.each([
    [['plan', 'no-such-namespace'], 2, /no namespace no-such-namespace/],
    [['advance', namespace, '--to', 'fortress', '--yes'], 2, /no phase fortress/],
    [['inventory', '--context', 'nowhere'], 2, /nowhere/],
    [['rollback', namespace, '--yes'], 2, /nothing to take back/],
  ] as const)('%j ends with one document and exit %i', async (args, code, message) => {
    const ended = await asAdmin(...args);
    expect(ended.code, ended.stderr).toBe(code);
    expect((json(ended) as unknown as Told).error.message).toMatch(message);
  });
});

// Incidents on a real API server, by somebody who holds the shipped roles and nothing else.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { pathOf, resources } from '../support/apiserver/objects.ts';
import type { Rule } from '../support/apiserver/roles.ts';
import { shippedRules } from '../support/apiserver/roles.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended, RunOptions } from '../support/sallyport.ts';

const shared = inject('apiServer');
const admin = connect(shared.admin);
const alice = shared.users['alice'];
const suffix = randomBytes(4).toString('hex');
const namespace = `incident-${suffix}`;
const roleName = `incident-${suffix}`;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const POLICIES = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies`;
const SUBJECT = `${namespace}/ReplicaSet/db`;
let home = '';

const asAlice = (args: readonly string[], more: Partial<RunOptions> = {}): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', alice?.kubeconfig ?? '', '--config', join(home, 'config.yaml')], {
    home,
    ...more,
  });
const documentOf = (ended: Ended, code = 0): Record<string, unknown> => {
  expect(ended.code, ended.stderr + ended.stdout).toBe(code);
  return JSON.parse(ended.stdout) as Record<string, unknown>;
};

/** Gives alice these rules and no others, and waits until the authorizer knows of one. */
async function hold(rules: readonly Rule[], may: May): Promise<void> {
  await admin.request('DELETE', `${RBAC}/clusterroles/${roleName}`);
  await admin.must('POST', `${RBAC}/clusterroles`, { metadata: { name: roleName }, rules });
  await admin.request('POST', `${RBAC}/clusterrolebindings`, {
    metadata: { name: roleName },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: roleName },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
  });
  await knows(may);
}

interface May {
  readonly group?: string;
  readonly verb: string;
  readonly resource: string;
  readonly allowed: boolean;
}

async function knows(may: May): Promise<void> {
  const client = connect(alice ?? shared.admin);
  const { allowed, ...attributes } = may;
  try {
    // The authorizer learns of it by a watch.
    const limit = Date.now() + 20_000;
    for (;;) {
      const answer = await client.must('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
        spec: { resourceAttributes: { namespace, group: '', ...attributes } },
      });
      if ((answer.body as { status: { allowed: boolean } }).status.allowed === allowed) return;
      if (Date.now() > limit) throw new Error(`the authorizer does not say ${String(allowed)} to ${may.verb}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  } finally {
    client.close();
  }
}

let rules: readonly Rule[] = [];
const lacking = (verb: string, resource: string): readonly Rule[] =>
  rules.map((rule) =>
    rule.apiGroups.includes('') && rule.resources.includes(resource)
      ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) }
      : rule,
  );

const lackingOf = (group: string, verb: string): readonly Rule[] =>
  rules.map((rule) =>
    rule.apiGroups.includes(group) ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) } : rule,
  );

interface Listed {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec: unknown;
}

/** What people write: labels of pods, and policies. */
async function world(): Promise<unknown> {
  const items = async (path: string): Promise<readonly Listed[]> =>
    ((await admin.must('GET', path)).body as { readonly items: readonly Listed[] }).items;
  const pods = await items(pathOf(resources.pods, namespace));
  return {
    pods: pods.map(({ metadata: { name, labels, annotations } }) => ({ name, labels, annotations })),
    policies: (await items(POLICIES)).map(({ spec }) => spec),
  };
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-incident-'));
  await writeFile(join(home, 'config.yaml'), 'cluster: {cni: {name: calico, ipBlockMatches: []}}\n');
  rules = ['operator', 'responder'].flatMap(shippedRules);
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: namespace } });
  await admin.must('POST', pathOf(resources.serviceAccounts, namespace), { metadata: { name: 'db' } });
  const labels = { app: 'db', rev: '1' };
  const made = await admin.must('POST', pathOf(resources.replicaSets, namespace), {
    metadata: { name: 'db' },
    spec: {
      replicas: 0,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'example/db:1' }] } },
    },
  });
  const { uid } = (made.body as { readonly metadata: { readonly uid: string } }).metadata;
  for (const n of [1, 2])
    await admin.must('POST', pathOf(resources.pods, namespace), {
      metadata: {
        name: `db-${n}`,
        labels: { ...labels, team: 'blue' },
        ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'db', uid, controller: true }],
      },
      spec: {
        serviceAccountName: 'db',
        automountServiceAccountToken: false,
        containers: [{ name: 'main', image: 'example/db:1' }],
      },
    });
  await hold(rules, { verb: 'patch', resource: 'pods', allowed: true });
});

afterAll(async () => {
  await admin.request('DELETE', `${RBAC}/clusterrolebindings/${roleName}`);
  await admin.request('DELETE', `${RBAC}/clusterroles/${roleName}`);
  await deleteNamespace(admin, namespace);
  admin.close();
  await rm(home, { recursive: true, force: true });
});

const QUARANTINE = [
  ...['incident', 'quarantine', SUBJECT, '--with', 'labels'],
  ...['--no-dry-run', '--yes', '--reason', 'calls home'],
];
const undo = (id: string): Promise<Ended> => asAlice(['incident', 'undo', id, '--no-dry-run', '--yes']);
const newest = async (): Promise<{ readonly id: string; readonly state: string }> => {
  const { incidents } = documentOf(await asAlice(['incident', 'list'])) as {
    incidents: { id: string; state: string; at: number }[];
  };
  const [first] = incidents.toSorted((a, b) => b.at - a.at);
  if (first === undefined) throw new Error('none on record');
  return first;
};

describe('an incident, with the roles operator and responder', () => {
  it('is answered and taken back to what was there', async () => {
    const before = await world();
    const done = documentOf(await asAlice(QUARANTINE));
    expect(done).toMatchObject({ outcome: 'done' });
    expect(await world()).toMatchObject({
      pods: [1, 2].map((n) => ({
        name: `db-${n}`,
        labels: { team: 'blue', 'sallyport.dev/quarantine': expect.any(String) as string },
      })),
      policies: [{ policyTypes: ['Ingress', 'Egress'] }],
    });
    expect(documentOf(await undo((await newest()).id))).toMatchObject({ outcome: 'done' });
    expect(await world()).toEqual(before);
  });

  it('that is killed half-way is finished by resume, and taken back', async () => {
    const before = await world();
    const killed = await asAlice(QUARANTINE, {
      onStderr: (text, kill) => {
        if (text.includes('[3/')) kill();
      },
    });
    expect(killed.code).toBeNull();
    expect(await newest()).toMatchObject({ state: 'interrupted' });
    documentOf(await asAlice(['resume']));
    expect(JSON.stringify(await world())).not.toContain('"app":"db"');
    documentOf(await undo((await newest()).id));
    expect(await world()).toEqual(before);
  });

  it.each([
    ['patch', 'pods', lacking],
    ['create', 'networkpolicies', (verb: string): readonly Rule[] => lackingOf('networking.k8s.io', verb)],
  ] as const)('without the right to %s %s is refused before its first write', async (verb, resource, less) => {
    const before = [await world(), await newest()];
    const group = resource === 'pods' ? '' : 'networking.k8s.io';
    await hold(less(verb, resource), { group, verb, resource, allowed: false });
    const { error } = documentOf(await asAlice(QUARANTINE), 4) as { error: { code: string; message: string } };
    expect(error.code).toBe('SP485');
    expect(error.message).toContain(`${verb} ${resource}`);
    expect([await world(), await newest()]).toEqual(before);
    await hold(rules, { group, verb, resource, allowed: true });
  });

  it('with the roles of a watch that acts needs the one for pods, which a RoleBinding brings', async () => {
    const before = await world();
    await hold([...shippedRules('watcher'), ...shippedRules('actor')], {
      verb: 'patch',
      resource: 'pods',
      allowed: false,
    });
    const refused = documentOf(await asAlice(QUARANTINE), 4) as { error: { code: string; message: string } };
    expect(refused.error).toMatchObject({ code: 'SP485', message: expect.stringContaining('patch pods') as string });
    expect(await world()).toEqual(before);
    const told = await asAlice(['doctor', '--role', 'actor-pods', '--namespace', namespace]);
    const { beside } = documentOf(told) as { beside: { role: string; answer: string; missing: unknown }[] };
    expect(beside.find(({ role }) => role === 'actor')).toEqual({ role: 'actor', answer: 'yes', missing: [] });
    expect(beside.find(({ role }) => role === 'actor-pods')).toEqual({
      role: 'actor-pods',
      answer: 'no',
      missing: [{ verb: 'patch', resource: 'pods' }],
    });

    const local = `${RBAC}/namespaces/${namespace}`;
    await admin.must('POST', `${local}/roles`, {
      metadata: { name: 'actor-pods' },
      rules: shippedRules('actor-pods'),
    });
    await admin.must('POST', `${local}/rolebindings`, {
      metadata: { name: 'actor-pods' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'actor-pods' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
    });
    await knows({ verb: 'patch', resource: 'pods', allowed: true });
    expect(documentOf(await asAlice(QUARANTINE))).toMatchObject({ outcome: 'done' });
    expect(documentOf(await undo((await newest()).id))).toMatchObject({ outcome: 'done' });
    expect(await world()).toEqual(before);
    await admin.must('DELETE', `${local}/rolebindings/actor-pods`);
    await hold(rules, { verb: 'delete', resource: 'pods', allowed: true });
  });

  it('rotates what the account’s tokens are bound to, and needs no right on Secrets', async () => {
    const rotated = documentOf(
      await asAlice([
        ...['incident', 'rotate', `${namespace}/db`, '--no-dry-run', '--yes', '--irreversible'],
        ...['--reason', 'read by somebody'],
      ]),
    );
    expect(rotated).toMatchObject({ outcome: 'done', reversible: false });
    const pods = (await admin.must('GET', pathOf(resources.pods, namespace))).body as {
      readonly items: readonly { readonly metadata: { readonly deletionTimestamp?: string } }[];
    };
    expect(pods.items.filter(({ metadata }) => metadata.deletionTimestamp === undefined)).toEqual([]);
  });
});

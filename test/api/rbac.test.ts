// The shipped roles on a real API server: each is enough for what it is for, and one right short ends cleanly.
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { ROLES } from '../../src/sources/kube/rights.ts';
import type { Role } from '../../src/sources/kube/rights.ts';
import { connect } from '../support/apiserver/client.ts';
import { deleteNamespace } from '../support/apiserver/controllers.ts';
import { pathOf, resources } from '../support/apiserver/objects.ts';
import { sallyport } from '../support/sallyport.ts';
import type { Ended } from '../support/sallyport.ts';

interface ClusterRole {
  readonly metadata: { readonly name: string };
  readonly rules: readonly { apiGroups: string[]; resources: string[]; verbs: string[]; resourceNames?: string[] }[];
}

const shared = inject('apiServer');
const admin = connect(shared.admin);
const alice = shared.users['alice'];
const suffix = randomBytes(4).toString('hex');
const namespace = `rbac-${suffix}`;
const roles = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const bindings = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
let home = '';
let config = '';

const asAlice = (...args: readonly string[]): Promise<Ended> =>
  sallyport([...args, '--json', '--kubeconfig', alice?.kubeconfig ?? ''], { home });
const body = (ended: Ended): Record<string, unknown> => JSON.parse(ended.stdout) as Record<string, unknown>;
const roleOf = async (role: Role): Promise<ClusterRole> =>
  parse(await readFile(new URL(`../../templates/rbac/${role}.yaml`, import.meta.url), 'utf8')) as ClusterRole;

/** Gives alice this role and no other, and waits until the authorizer knows. */
async function hold(role: ClusterRole, probe: { verb: string; group: string; resource: string; allowed: boolean }) {
  const name = `${role.metadata.name}-${suffix}`;
  await admin.request('DELETE', `${bindings}/${name}`);
  await admin.request('DELETE', `${roles}/${name}`);
  await admin.must('POST', roles, { ...role, metadata: { name } });
  await admin.must('POST', bindings, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'alice' }],
  });
  const { allowed, ...resourceAttributes } = probe;
  const client = connect(alice ?? shared.admin);
  try {
    await expect
      .poll(
        async () => {
          const answer = await client.must('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
            spec: { resourceAttributes },
          });
          return (answer.body as { status: { allowed: boolean } }).status.allowed;
        },
        { timeout: 20_000 },
      )
      .toBe(allowed);
  } finally {
    client.close();
  }
}

async function drop(): Promise<void> {
  for (const role of ROLES) {
    await admin.request('DELETE', `${bindings}/sallyport-${role}-${suffix}`);
    await admin.request('DELETE', `${roles}/sallyport-${role}-${suffix}`);
  }
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'sallyport-rbac-'));
  config = join(home, 'config.yaml');
  // No signal of denials is there to soak on: rights are what is tested here.
  await writeFile(config, 'gates: {soak: off}\n');
  await admin.must('POST', pathOf(resources.namespaces), { metadata: { name: namespace } });
  await drop();
});

afterAll(async () => {
  await drop();
  await deleteNamespace(admin, namespace);
  admin.close();
  await rm(home, { recursive: true, force: true });
});

const answers = async (): Promise<Readonly<Record<string, string>>> => {
  const ended = await asAlice('doctor');
  expect(ended.code, ended.stderr).toBe(0);
  const { roles: found } = body(ended) as { roles: { role: string; answer: string }[] };
  return Object.fromEntries(found.map(({ role, answer }) => [role, answer]));
};

describe('an account without any role', () => {
  it('hears from doctor what each role lacks', async () => {
    expect(await answers()).toEqual({ observer: 'no', planner: 'no', operator: 'no', identity: 'no' });
    const ended = await asAlice('doctor');
    const { user, missing, readsSecrets } = body(ended) as {
      user: string;
      readsSecrets: boolean;
      missing: { role: string; verb: string; resource: string }[];
    };
    expect(user).toBe('alice');
    expect(readsSecrets).toBe(false);
    expect(missing).toContainEqual(expect.objectContaining({ role: 'observer', verb: 'list', resource: 'pods' }));
    expect(missing).toContainEqual(
      expect.objectContaining({ role: 'operator', verb: 'create', resource: 'networkpolicies.networking.k8s.io' }),
    );
  });
});

describe('the shipped roles', () => {
  it('observer: sees the inventory and who reaches whom, and plans are beyond it in doctor’s words', async () => {
    await hold(await roleOf('observer'), { verb: 'list', group: '', resource: 'pods', allowed: true });
    expect(await answers()).toEqual({ observer: 'yes', planner: 'no', operator: 'no', identity: 'no' });
    for (const command of [['inventory'], ['reach'], ['flows'], ['status'], ['audit']]) {
      const ended = await asAlice(...command);
      expect(ended.code, `${command.join(' ')}: ${ended.stderr}`).toBe(0);
    }
  });

  it('planner: plans with nothing unread', async () => {
    await hold(await roleOf('planner'), { verb: 'list', group: '', resource: 'nodes', allowed: true });
    expect(await answers()).toEqual({ observer: 'yes', planner: 'yes', operator: 'no', identity: 'no' });
    const ended = await asAlice('inventory');
    const { findings } = body(ended) as { findings: { code: string; subject: string }[] };
    expect(findings.filter(({ code }) => code === 'SP301')).toEqual([]);
    expect((await asAlice('plan', namespace, '--to', 'monitor')).code).toBe(0);
  });

  it('operator: advances and rolls back; one right short it stops before the first write', async () => {
    const whole = await roleOf('operator');
    const advance = ['advance', namespace, '--to', 'monitor', '--yes', '--config', config];
    const before = (await admin.must('GET', pathOf(resources.namespaces, undefined, namespace))).body;
    const short = (group: string, resource: string, verb: string): ClusterRole => ({
      ...whole,
      rules: whole.rules
        .map((rule) =>
          rule.apiGroups.includes(group) && rule.resources.includes(resource)
            ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) }
            : rule,
        )
        .filter((rule) => rule.verbs.length > 0),
    });
    for (const [group, resource, verb] of [
      ['coordination.k8s.io', 'leases', 'create'],
      ['', 'namespaces', 'patch'],
    ] as const) {
      await hold(short(group, resource, verb), { verb, group, resource, allowed: false });
      expect((await answers())['operator']).toBe('no');
      const ended = await asAlice(...advance);
      expect([4, 7], ended.stdout).toContain(ended.code);
      expect(ended.stdout).toContain('SP403');
      expect(ended.stdout).toContain(resource);
      const now = (await admin.must('GET', pathOf(resources.namespaces, undefined, namespace))).body;
      expect(now).toEqual(before);
    }
    await hold(whole, { verb: 'patch', group: '', resource: 'namespaces', allowed: true });
    expect(await answers()).toEqual({ observer: 'yes', planner: 'yes', operator: 'yes', identity: 'no' });
    const ended = await asAlice(...advance);
    expect(ended.code, ended.stdout).toBe(0);
    const back = await asAlice('rollback', namespace, '--to', 'none', '--yes');
    expect(back.code, back.stdout).toBe(0);
  });

  it('identity: all of it', async () => {
    await hold(await roleOf('identity'), {
      verb: 'create',
      group: '',
      resource: 'serviceaccounts',
      allowed: true,
    });
    expect(await answers()).toEqual({ observer: 'yes', planner: 'yes', operator: 'yes', identity: 'yes' });
  });
});

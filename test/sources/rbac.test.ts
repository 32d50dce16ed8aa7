// The roles that are shipped, made from the table of what the program asks of an API server.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseYamlDocuments, renderYaml } from '../../src/shared/io/yaml.ts';
import { SNAPSHOT_GROUPS } from '../../src/sources/kube/kinds.ts';
import { ROLES, RUN_LEASES, buildClusterRole, isWritten, pluralOf, rightsOf } from '../../src/sources/kube/rights.ts';
import type { Role } from '../../src/sources/kube/rights.ts';
import { groupOf } from '../../src/model/object.ts';
import { changeRef } from '../../src/plan/change.ts';
import { leaseName } from '../../src/targets/lease.ts';
import { planFor } from '../phases/worlds.ts';

const NAMELESS =
  'Leases and ConfigMaps are read, written and ended by their names. RBAC cannot hold `create` to names: of these two kinds any may be made.';
const HEADS: Readonly<Record<Role, string>> = {
  observer:
    'Reads workloads, Services and policies: inventory, observe, flows, suggest, reach, assess, status, verify.',
  planner: 'Reads, besides, what a plan must know: nodes, bindings, webhooks, the objects of operators.',
  operator: ['Writes policies, pod labels and Leases: advance and rollback up to strict-mtls.', NAMELESS].join('\n# '),
  identity: [
    'Makes service accounts and copies bindings: the last phase. `bind` is a strong right: hold it for as long as that phase takes.',
    NAMELESS,
  ].join('\n# '),
};

describe.each(ROLES)('the role %s', (role) => {
  it('is shipped as the table has it', async () => {
    const text = `# ${HEADS[role]}\n# Made from src/sources/kube/rights.ts: sallyport doctor asks for exactly this.\n${renderYaml(buildClusterRole(role) as never)}`;
    expect(parseYamlDocuments(text).map(({ problem }) => problem)).toEqual([undefined]);
    await expect(text).toMatchFileSnapshot(`../../templates/rbac/${role}.yaml`);
  });

  it('never reaches Secrets, pods’ shells or anything by a wildcard verb', () => {
    for (const right of rightsOf(role)) {
      expect(right.verbs).not.toContain('*');
      // The core group is never taken whole: Secrets are in it.
      if (right.group === '') expect(right.resources).not.toBe('all');
      if (right.resources !== 'all')
        for (const resource of right.resources) expect(resource).not.toMatch(/^(secrets|pods\/.*|nodes\/.*|\*)$/);
    }
    // Of two operators that fetch Secrets: how they log in, and nothing that they fetch.
    const text = readFileSync(new URL(`../../templates/rbac/${role}.yaml`, import.meta.url), 'utf8').replaceAll(
      /secrets\.hashicorp\.com|external-secrets\.io|(?:cluster)?secretstores$/gm,
      '',
    );
    expect(text).not.toMatch(/secret|exec|portforward|impersonate|escalate/);
  });

  it('holds what the roles before it hold', () => {
    const before = ROLES[ROLES.indexOf(role) - 1];
    const keys = (of: Role): readonly string[] => rightsOf(of).map((right) => JSON.stringify(right));
    if (before !== undefined) expect(keys(role)).toEqual(expect.arrayContaining([...keys(before)]));
    expect(
      rightsOf('observer').every((right) => right.verbs.every((verb) => ['get', 'list', 'watch'].includes(verb))),
    ).toBe(true);
  });
});

it.each(['operator', 'identity'] as const)('%s reads, renews and ends the Leases of runs, and no others', (role) => {
  const leases = buildClusterRole(role).rules.filter(({ resources }) => resources.includes('leases'));
  expect(leases.map(({ verbs, resourceNames }) => [verbs, resourceNames])).toEqual([
    [
      ['get', 'update', 'delete'],
      ['sallyport', 'sallyport-cluster'],
    ],
    [['create'], undefined],
    [['get'], ['sallyport-watch']],
  ]);
  expect([leaseName('shop').name, leaseName('').name]).toEqual([...RUN_LEASES]);
});

it('reads nothing that the planner may not read', () => {
  const readable = new Set(
    rightsOf('planner').flatMap(({ group, resources, verbs }) =>
      verbs.includes('list') ? (resources === 'all' ? [`${group}/*`] : resources.map((one) => `${group}/${one}`)) : [],
    ),
  );
  const wanted = SNAPSHOT_GROUPS.flatMap(({ group, kinds }) =>
    kinds === 'all' ? [`${group}/*`] : kinds.map((kind) => `${group}/${pluralOf(kind)}`),
  );
  expect(wanted.filter((one) => !readable.has(one))).toEqual([]);
});

it.each([
  ['', 'Secret', 'create'],
  ['', 'Pod', 'delete'],
  ['', 'Namespace', 'delete'],
  ['apps', 'Deployment', 'delete'],
  ['rbac.authorization.k8s.io', 'ClusterRole', 'create'],
] as const)('no phase may write %s %s by %s', (group, kind, verb) => {
  expect(isWritten(group, kind, verb)).toBe(false);
});

const SHARED_ACCOUNT = `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: front}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: default, namespace: front}]
`;

it.each(['monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const)(
  'every step to %s, and its undoing, is in the table',
  (phase) => {
    const { steps } = planFor({ with: SHARED_ACCOUNT }, phase);
    expect(steps.length).toBeGreaterThan(0);
    for (const { change } of steps) {
      const { apiVersion, kind } = changeRef(change);
      const verbs = { create: ['create', 'delete'], edit: ['patch'], delete: ['delete', 'create'] } as const;
      for (const verb of verbs[change.kind])
        expect(isWritten(groupOf(apiVersion), kind, verb), `${verb} ${apiVersion} ${kind}`).toBe(true);
    }
  },
);

// The roles beside the row, as they are shipped: a watch, and probes.
import { describe, expect, it } from 'vitest';
import { renderYaml } from '../../src/shared/io/yaml.ts';
import type { SideRole } from '../../src/sources/kube/rights.ts';
import { SIDE_ROLES, buildSideRole, rightsOf, sideRights } from '../../src/sources/kube/rights.ts';

const HEADS: Readonly<Record<SideRole, string>> = {
  watcher:
    'Follows what a planner reads, and writes nothing: watch. The Lease by which it leads is a Role of templates/watch/watch.yaml. To end runs that soak it needs the operator as well.',
  prober:
    'Starts pods that try connections, and removes them: verify --probe. Whoever may start pods may act as any account of the namespace: bind it by RoleBindings, in the namespaces that are probed from.',
  drainer:
    'Reads what proxies of pods have open, and ends it: incident connections. Whoever holds it reaches whatever listens on the loopback of a pod, with or without a password: bind it by RoleBindings, for an incident or where one is likely.',
  'cluster-policies':
    'Beside operator, where the dialect admin or a pattern writes kinds that act in every namespace. Whoever holds it may cut or open any of them.',
  'mesh-traffic':
    'Beside operator, where a pattern writes what the mesh routes: controlled-egress and waypoints. Whoever holds it may send traffic of the namespace elsewhere.',
};

describe.each(SIDE_ROLES)('the role %s', (role) => {
  it('is shipped as the table has it', async () => {
    const text = `# ${HEADS[role]}\n# Made from src/sources/kube/rights.ts.\n${renderYaml(buildSideRole(role) as never)}`;
    await expect(text).toMatchFileSnapshot(`../../templates/rbac/${role}.yaml`);
  });

  it('never reaches Secrets, shells of pods or anything by a wildcard verb', () => {
    for (const { group, resources, verbs } of sideRights(role)) {
      expect(verbs).not.toContain('*');
      if (group === '') expect(resources).not.toBe('all');
      if (resources !== 'all')
        for (const resource of resources)
          if (role !== 'drainer' || resource !== 'pods/portforward')
            expect(resource).not.toMatch(/^(secrets|pods\/.*|nodes\/.*|\*)$/);
    }
  });
});

it('a watcher may follow whatever a planner may list, and writes nothing', () => {
  const key = ({ group, resources }: { group: string; resources: unknown }): string => `${group} ${String(resources)}`;
  const watched = new Set(
    sideRights('watcher')
      .filter(({ verbs }) => verbs.includes('watch'))
      .map(key),
  );
  expect(
    rightsOf('planner')
      .filter(({ verbs }) => verbs.includes('list'))
      .map(key)
      .filter((one) => !watched.has(one)),
  ).toEqual([]);
  expect(
    sideRights('watcher')
      .filter(({ verbs }) => verbs.some((verb) => !['get', 'list', 'watch'].includes(verb)))
      .map(({ group, resources }) => [group, resources]),
  ).toEqual([]);
});

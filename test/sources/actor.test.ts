// The role of a watch that acts, made from the table of rights.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { renderYaml } from '../../src/shared/io/yaml.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import type { RbacRule } from '../../src/sources/kube/rights.ts';
import { actorPodRules, actorRules } from '../../src/sources/kube/actor-rights.ts';

const shipped = (name: string, head: readonly string[], rules: readonly RbacRule[]): string =>
  `${[...head, 'Made from src/sources/kube/actor-rights.ts.'].map((line) => `# ${line}\n`).join('')}${renderYaml({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name, labels: { 'app.kubernetes.io/part-of': 'sallyport' } },
    rules,
  } as unknown as Json)}`;

it('is shipped as its rules are, and reaches no pod and no account', async () => {
  const text = shipped(
    'sallyport-actor',
    [
      'Beside the role watcher, for watch --act alone: what rules carry out by themselves within their limits, and its undoing. Without it nothing can be',
      'carried out by itself, whatever a configuration says.',
    ],
    actorRules(),
  );
  expect(text).not.toMatch(/secrets|exec|pods|serviceaccounts|namespaces|"[*]"/u);
  await expect(text).toMatchFileSnapshot('../../templates/rbac/actor.yaml');
});

it('has pods in a role of its own, which no shipped manifest binds everywhere', async () => {
  expect(actorPodRules()).toEqual([{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'patch'] }]);
  const text = shipped(
    'sallyport-actor-pods',
    [
      'Beside the role actor, only where rules shall quarantine by labels (plain NetworkPolicy, which cannot deny). Whoever may patch a pod may change its image:',
      'bind it by RoleBindings, in the namespaces where that shall be done, and by no ClusterRoleBinding.',
    ],
    actorPodRules(),
  );
  await expect(text).toMatchFileSnapshot('../../templates/rbac/actor-pods.yaml');
  for (const name of ['act.yaml', 'watch.yaml'])
    expect(readFileSync(new URL(`../../templates/watch/${name}`, import.meta.url), 'utf8')).not.toMatch(
      /^ *name: sallyport-actor-pods$/mu,
    );
});

it('takes over, renews and ends the Leases of runs, and no others', () => {
  const leases = actorRules().filter(({ resources }) => resources.includes('leases'));
  expect(leases.map(({ verbs, resourceNames }) => [verbs, resourceNames])).toEqual([
    [['create'], undefined],
    [
      ['get', 'update', 'delete'],
      ['sallyport', 'sallyport-cluster'],
    ],
  ]);
});

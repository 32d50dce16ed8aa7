// The role of a watch that acts, made from the table of rights.
import { expect, it } from 'vitest';
import { renderYaml } from '../../src/shared/io/yaml.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { actorRules } from '../../src/sources/kube/actor-rights.ts';

it('is shipped as its rules are, and ends no pod and no account', async () => {
  const role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'sallyport-actor', labels: { 'app.kubernetes.io/part-of': 'sallyport' } },
    rules: actorRules(),
  } as unknown as Json;
  const text = `# Beside the role watcher, for watch --act alone: what rules carry out by themselves within their limits, and its undoing. Without it nothing can be\n# carried out by itself, whatever a configuration says.\n# Made from src/sources/kube/actor-rights.ts.\n${renderYaml(role)}`;
  expect(text).not.toMatch(/secrets|exec|serviceaccounts|namespaces|"[*]"/u);
  for (const rule of actorRules()) if (rule.resources.includes('pods')) expect(rule.verbs).toEqual(['get', 'patch']);
  await expect(text).toMatchFileSnapshot('../../templates/rbac/actor.yaml');
});

// The role of those who answer incidents, made from the rules beside the table of rights.
import { expect, it } from 'vitest';
import { renderYaml } from '../../src/shared/io/yaml.ts';
import type { Json } from '../../src/shared/pure/json.ts';
import { RESPONDER_RULES } from '../../src/sources/kube/rights.ts';

it('is shipped as its rules are, and reads no Secret', async () => {
  const role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'sallyport-responder', labels: { 'app.kubernetes.io/part-of': 'sallyport' } },
    rules: RESPONDER_RULES,
  } as unknown as Json;
  const text = `# Beside the role operator: what sallyport incident writes. Bind it to few: it may end any pod and any account.\n# Made from src/sources/kube/rights.ts.\n${renderYaml(role)}`;
  expect(text).not.toMatch(/secrets|exec|\*/u);
  await expect(text).toMatchFileSnapshot('../../templates/rbac/responder.yaml');
});

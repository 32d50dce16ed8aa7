// What is shipped to end grants in the cluster, made from the table of rights.
import { describe, expect, it } from 'vitest';
import { buildExpirer, EXPIRE_SCRIPT } from '../../src/objects/expirer.ts';
import { renderYaml, parseYamlDocuments } from '../../src/shared/io/yaml.ts';
import { ACCESS_RULES, EXPIRER_RULES } from '../../src/sources/kube/rights.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';

const RULES = EXPIRER_RULES as unknown as readonly JsonObject[];
const FILES = {
  expirer: {
    head: 'Ends grants when nobody else does: every minute. Put the image of Sallyport (Containerfile) in place of the one named here.',
    run: { kind: 'sallyport', image: 'registry.example.com/sallyport:0.1.0' },
  },
  'expirer-kubectl': {
    head: 'The same without an image of Sallyport: any image with kubectl, a POSIX shell, sort, head and grep, in place of the one named here.',
    run: { kind: 'kubectl', image: 'registry.example.com/kubectl:1.34', script: EXPIRE_SCRIPT },
  },
} as const;

describe.each(Object.entries(FILES))('templates/grants/%s.yaml', (name, { head, run }) => {
  it('is what the table of rights makes', async () => {
    const text = `# ${head}\n# Made from src/objects/expirer.ts and src/sources/kube/rights.ts; see docs/grants.md.\n${buildExpirer(
      run,
      RULES,
    )
      .map((object) => renderYaml(object))
      .join('---\n')}`;
    expect(parseYamlDocuments(text).map(({ problem }) => problem)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    await expect(text).toMatchFileSnapshot(`../../templates/grants/${name}.yaml`);
  });
});

it('may end what grants are made of, and do nothing else', () => {
  expect(
    EXPIRER_RULES.map(({ apiGroups, resources, verbs, resourceNames }) => [
      apiGroups.join(),
      resources.join(),
      verbs.join(),
      resourceNames?.join(),
    ]),
  ).toEqual([
    ['networking.k8s.io', 'networkpolicies', 'get,list,delete', undefined],
    ['security.istio.io', 'authorizationpolicies', 'get,list,delete', undefined],
    ['security.istio.io', 'peerauthentications', 'get,list,patch', undefined],
    ['rbac.authorization.k8s.io', 'rolebindings', 'get,list,delete', undefined],
    ['rbac.authorization.k8s.io', 'roles', 'get,list,delete', undefined],
    ['', 'namespaces', 'get', 'kube-system'],
  ]);
});

it('ships the rights that grants to persons need as a role of their own', async () => {
  const role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'sallyport-access', labels: { 'app.kubernetes.io/part-of': 'sallyport' } },
    rules: ACCESS_RULES as unknown as JsonObject[],
  };
  await expect(
    `# Beside sallyport-operator, for grants to persons alone: whoever holds it may open a shell anywhere. Bind it for as long as that takes.\n# Made from src/sources/kube/rights.ts; see docs/grants.md.\n${renderYaml(role)}`,
  ).toMatchFileSnapshot('../../templates/grants/access.yaml');
});

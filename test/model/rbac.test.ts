// Rights as RBAC gives them, against an authorizer written apart from the product.
import { describe, expect, it } from 'vitest';
import type { Right, UsedRight } from '../../src/model/rbac.ts';
import { grantsOf, isPowerful, readRbac, rightAllows, rightsOf } from '../../src/model/rbac.ts';
import fc from '../support/fast-check.ts';
import { isAllowed } from '../support/fake-api/rbac.ts';
import { objectsOf } from '../phases/worlds.ts';

const RBAC = 'rbac.authorization.k8s.io';

const role = (kind: string, name: string, rules: string, more = ''): string =>
  `apiVersion: ${RBAC}/v1\nkind: ${kind}\nmetadata: {name: ${name}${kind === 'Role' ? ', namespace: ml' : ''}${more}}\nrules: ${rules}\n---\n`;
const binding = (kind: string, name: string, ref: string, subjects: string, namespace = 'ml'): string =>
  `apiVersion: ${RBAC}/v1\nkind: ${kind}\nmetadata: {name: ${name}${kind === 'RoleBinding' ? `, namespace: ${namespace}` : ''}}\nroleRef: {apiGroup: ${RBAC}, ${ref}}\nsubjects: ${subjects}\n---\n`;

const rbacOf = (text: string) => readRbac({ objects: objectsOf(text), unread: [] });

describe('grants', () => {
  it('are by the account itself, by the User of its name, and by the groups that it is in', () => {
    const text =
      binding('RoleBinding', 'a', 'kind: Role, name: r', '[{kind: ServiceAccount, name: team}]') +
      binding('ClusterRoleBinding', 'b', 'kind: ClusterRole, name: c', '[{kind: ServiceAccount, name: team}]') +
      binding(
        'ClusterRoleBinding',
        'c',
        'kind: ClusterRole, name: c',
        '[{kind: ServiceAccount, name: team, namespace: ml}]',
      ) +
      binding(
        'RoleBinding',
        'd',
        'kind: ClusterRole, name: c',
        '[{kind: User, name: "system:serviceaccount:ml:team"}]',
        'other',
      ) +
      binding('RoleBinding', 'e', 'kind: Role, name: r', '[{kind: Group, name: "system:serviceaccounts:ml"}]') +
      binding('RoleBinding', 'f', 'kind: Role, name: r', '[{kind: Group, name: "system:serviceaccounts:other"}]') +
      binding('RoleBinding', 'g', 'kind: Role, name: r', '[{kind: User, name: team}]');
    expect(
      grantsOf(rbacOf(text), 'ml', 'team').map((one) => `${one.binding.metadata.name} ${one.via} ${one.scope ?? '*'}`),
    ).toEqual([
      // A subject without a namespace means none in a ClusterRoleBinding.
      'c account *',
      'a account ml',
      'd account other',
      'e group ml',
    ]);
  });

  it('take in what aggregation collects, circles too, and leave unread roles unknown', () => {
    const text =
      `apiVersion: ${RBAC}/v1\nkind: ClusterRole\nmetadata: {name: sum, labels: {add: "yes"}}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {add: "yes"}}]}\n---\n` +
      role('ClusterRole', 'part', '[{apiGroups: [""], resources: [pods], verbs: [get]}]', ', labels: {add: "yes"}') +
      role('ClusterRole', 'apart', '[{apiGroups: [""], resources: [secrets], verbs: [get]}]') +
      binding('RoleBinding', 'a', 'kind: ClusterRole, name: sum', '[{kind: ServiceAccount, name: team}]') +
      binding('RoleBinding', 'b', 'kind: ClusterRole, name: nowhere', '[{kind: ServiceAccount, name: team}]');
    const grants = grantsOf(rbacOf(text), 'ml', 'team');
    expect(rightsOf(grants)).toEqual([{ verb: 'get', group: '', resource: 'pods', namespace: 'ml' }]);
    expect(grants[1]?.rules).toBeUndefined();
  });

  it('are not known where bindings could not be listed', () => {
    expect(readRbac({ objects: [], unread: [`${RBAC}/RoleBinding`] }).complete).toBe(false);
  });
});

describe('a right and a call', () => {
  const right = (more: Partial<Right>): Right => ({
    verb: 'get',
    group: '',
    resource: 'pods',
    namespace: 'ml',
    ...more,
  });
  const call = (more: Partial<UsedRight> = {}): UsedRight => ({
    verb: 'get',
    group: '',
    resource: 'pods',
    namespace: 'ml',
    name: 'a',
    ...more,
  });
  it.each([
    ['the same', right({}), call(), true],
    ['another verb', right({ verb: 'list' }), call(), false],
    ['every verb', right({ verb: '*' }), call(), true],
    ['another namespace', right({}), call({ namespace: 'other' }), false],
    ['a subresource is another resource', right({}), call({ resource: 'pods/log' }), false],
    ['every resource takes subresources in', right({ resource: '*' }), call({ resource: 'pods/log' }), true],
    ['one subresource of all', right({ resource: '*/scale' }), call({ resource: 'deployments/scale' }), true],
    ['one object', right({ name: 'a' }), call(), true],
    ['another object', right({ name: 'b' }), call(), false],
    [
      'a path by its beginning',
      { verb: 'get', group: '', resource: '', path: '/healthz/*' },
      { verb: 'get', group: '', resource: '', path: '/healthz/etcd' },
      true,
    ],
    [
      'a path is no resource',
      { verb: '*', group: '*', resource: '*' },
      { verb: 'get', group: '', resource: '', path: '/healthz' },
      false,
    ],
  ])('%s', (_, one, other, allowed) => {
    expect(rightAllows(one, other)).toBe(allowed);
  });

  it('agree with an authorizer that knows nothing of either', () => {
    const pick = (...values: readonly string[]) => fc.constantFrom(...values);
    const list = (...values: readonly string[]) => fc.uniqueArray(pick(...values), { minLength: 1, maxLength: 2 });
    const rule = fc.record({
      verbs: list('get', 'list', '*'),
      apiGroups: list('', 'apps', '*'),
      resources: list('pods', 'pods/log', '*'),
      resourceNames: fc.oneof(fc.constant([]), list('a', 'b')),
    });
    const asked = fc.record({
      verb: pick('get', 'list'),
      group: pick('', 'apps'),
      resource: pick('pods', 'pods/log'),
      namespace: pick('ml', 'other'),
      name: pick('a', 'b'),
    });
    fc.assert(
      fc.property(
        fc.array(rule, { maxLength: 3 }),
        fc.boolean(),
        pick('team', 'other'),
        asked,
        (rules, everywhere, account, want) => {
          const objects = objectsOf(
            role('ClusterRole', 'r', JSON.stringify(rules)) +
              binding(
                everywhere ? 'ClusterRoleBinding' : 'RoleBinding',
                'b',
                'kind: ClusterRole, name: r',
                `[{kind: ServiceAccount, name: ${account}, namespace: ml}]`,
              ),
          );
          const rights = rightsOf(grantsOf(readRbac({ objects, unread: [] }), 'ml', 'team'));
          const [resource, subresource] = want.resource.split('/');
          const { namespace, name, verb, group } = want;
          const spec = {
            user: 'system:serviceaccount:ml:team',
            resourceAttributes: {
              verb,
              group,
              namespace,
              name,
              resource,
              ...(subresource === undefined ? {} : { subresource }),
            },
          };
          expect(rights.some((one) => rightAllows(one, want))).toBe(isAllowed(objects, spec));
        },
      ),
      { numRuns: 300 },
    );
  });
});

it.each([
  [{ verb: 'list', group: '', resource: 'secrets' }, true],
  [{ verb: 'create', group: '', resource: 'pods' }, true],
  [{ verb: 'impersonate', group: '', resource: 'users' }, true],
  [{ verb: 'bind', group: RBAC, resource: 'clusterroles' }, true],
  [{ verb: '*', group: '*', resource: '*' }, true],
  [{ verb: 'get', group: '', resource: 'pods' }, false],
  [{ verb: 'create', group: '', resource: 'configmaps' }, false],
])('%o is a strong right: %s', (right, strong) => {
  expect(isPowerful(right)).toBe(strong);
});

import { describe, expect, it } from 'vitest';
import { answerQuery } from '../../src/cli/explain-reach.ts';
import { compileWorld } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { clusterWith, DB, JOB, WEB } from '../support/policy-table.ts';
import { inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const admin = (kind: string, name: string, spec: JsonObject): KubeManifest =>
  manifest(`policy.networking.k8s.io/${kind === 'ClusterNetworkPolicy' ? 'v1alpha2' : 'v1alpha1'}`, kind, name, spec);
const calico = (name: string, spec: JsonObject): KubeManifest =>
  manifest('projectcalico.org/v3', name.includes('/') ? 'NetworkPolicy' : 'GlobalNetworkPolicy', name, spec);
const cilium = (name: string, spec: JsonObject): KubeManifest =>
  manifest('cilium.io/v2', name.includes('/') ? 'CiliumNetworkPolicy' : 'CiliumClusterwideNetworkPolicy', name, spec);

const everyone = { namespaces: {} };
const db = { matchLabels: { app: 'db' } };
const denyAll = networkPolicy('shop/deny', { podSelector: {}, policyTypes: ['Ingress'] });

function flipFor(cni: string, policies: readonly KubeManifest[], from: string, to: string, port: number) {
  const world = clusterWith(cni, policies);
  const workload = (id: string) => {
    const found = world.inventory.workloads.find((one) => one.id === id);
    if (found === undefined) throw new Error(`no ${id}`);
    return found;
  };
  const asked = { src: workload(from), dst: workload(to), protocol: 'TCP', port } as const;
  return answerQuery(compileWorld(world.inventory), asked, false, true, new Map());
}

describe('the smallest change that turns a denial over', () => {
  const cases: readonly (readonly [string, string, readonly KubeManifest[], readonly string[]])[] = [
    [
      'an AdminNetworkPolicy that denies: a rule before it',
      'ovn-kubernetes',
      [
        admin('AdminNetworkPolicy', 'fence', {
          subject: everyone,
          priority: 5,
          ingress: [
            { action: 'Pass', from: [{ namespaces: { matchLabels: { team: 'none' } } }] },
            { action: 'Deny', from: [everyone] },
          ],
        }),
      ],
      ['insert-rule spec.ingress[1] of AdminNetworkPolicy fence'],
    ],
    [
      'a ClusterNetworkPolicy that denies, and a NetworkPolicy behind it: a change to each',
      'ovn-kubernetes',
      [
        admin('ClusterNetworkPolicy', 'fence', {
          tier: 'Admin',
          subject: everyone,
          priority: 5,
          egress: [{ action: 'Deny', to: [everyone], protocols: [{ tcp: {} }] }],
        }),
        denyAll,
      ],
      ['insert-rule spec.egress[0] of ClusterNetworkPolicy fence', 'add-rule spec.ingress of NetworkPolicy shop/deny'],
    ],
    [
      'a BaselineAdminNetworkPolicy: a rule before it',
      'ovn-kubernetes',
      [
        admin('BaselineAdminNetworkPolicy', 'default', {
          subject: everyone,
          ingress: [{ action: 'Deny', from: [everyone] }],
        }),
      ],
      ['insert-rule spec.ingress[0] of BaselineAdminNetworkPolicy default'],
    ],
    [
      'a NetworkPolicy of Calico without a rule for it: a rule more',
      'calico',
      [calico('shop/db', { selector: "app == 'db'", types: ['Ingress'] })],
      ['add-rule spec.ingress of NetworkPolicy shop/db'],
    ],
    [
      'a GlobalNetworkPolicy that denies: a rule before it',
      'calico',
      [calico('fence', { selector: 'all()', order: 5, types: ['Egress'], egress: [{ action: 'Deny' }] })],
      ['insert-rule spec.egress[0] of GlobalNetworkPolicy fence'],
    ],
    [
      'a CiliumNetworkPolicy without a rule for it: a rule more',
      'cilium',
      [cilium('shop/db', { endpointSelector: db, ingress: [{}] })],
      ['add-rule spec.ingress of CiliumNetworkPolicy shop/db'],
    ],
    [
      'one of its specs: a rule more there',
      'cilium',
      [
        {
          ...cilium('shop/db', {}),
          spec: null,
          specs: [
            { endpointSelector: db, egress: [{}] },
            { endpointSelector: db, ingress: [{}] },
          ],
        },
      ],
      ['add-rule specs[1].ingress of CiliumNetworkPolicy shop/db'],
    ],
    [
      'a CiliumClusterwideNetworkPolicy that denies: without that rule',
      'cilium',
      [
        cilium('fence', {
          endpointSelector: {},
          ingress: [{ fromEntities: ['all'] }],
          ingressDeny: [{ fromEndpoints: [{}], toPorts: [{ ports: [{ port: '5432' }] }] }],
        }),
      ],
      ['remove-rule spec.ingressDeny[0] of CiliumClusterwideNetworkPolicy fence'],
    ],
  ];

  it.each(cases)('is found and simulated: %s', (_title, cni, policies, expected) => {
    for (const from of [WEB, JOB]) {
      const { answer, flip } = flipFor(cni, policies, from, DB, 5432);
      expect(answer).toBe('denied');
      expect(flip?.text).toMatch(/allows? it \(simulated\)\.$/u);
      expect(flip?.changes.map(({ action, field, object }) => `${action} ${field} of ${object}`)).toEqual(expected);
    }
  });

  it('names the other workload and the port alone', () => {
    const policies = [calico('shop/db', { selector: "app == 'db'", types: ['Ingress'] })];
    expect(flipFor('calico', policies, JOB, DB, 5432).flip?.changes[0]?.rule).toEqual({
      action: 'Allow',
      protocol: 'TCP',
      source: { selector: "app == 'train'", namespaceSelector: "projectcalico.org/name == 'batch'" },
      destination: { ports: [5432] },
    });
  });

  it('is not looked for where a rule cannot name the other side', () => {
    const { flip } = flipFor('test', [denyAll], 'infra/DaemonSet/agent', DB, 5432);
    expect(flip?.changes).toEqual([]);
    expect(flip?.text).toContain('uses the host network');
  });
});

describe('the rule without which it would be denied', () => {
  it.each([
    [
      'of an AdminNetworkPolicy',
      'ovn-kubernetes',
      [
        admin('AdminNetworkPolicy', 'open', {
          subject: everyone,
          priority: 1,
          ingress: [{ action: 'Allow', from: [everyone] }],
        }),
        denyAll,
      ],
      'remove-rule spec.ingress[0] of AdminNetworkPolicy open',
    ],
    [
      'of a CiliumNetworkPolicy',
      'cilium',
      [cilium('shop/db', { endpointSelector: db, ingress: [{}, { fromEndpoints: [{}] }] })],
      'remove-rule spec.ingress[1] of CiliumNetworkPolicy shop/db',
    ],
  ] as const)('is found %s', (_title, cni, policies, expected) => {
    const { answer, flip } = flipFor(cni, policies, WEB, DB, 5432);
    expect(answer).toBe('allowed');
    expect(flip?.changes.map(({ action, field, object }) => `${action} ${field} of ${object}`)).toEqual([expected]);
  });
});

describe('the smallest change to the mesh', () => {
  const SERVER = 'shop/Deployment/server';
  const CALLER = 'batch/Deployment/caller';
  const OUTSIDE = 'legacy/Deployment/old';
  const flipInMesh = (policies: readonly KubeManifest[], from: string) => {
    const world = compileWorld(
      inventoryOf({
        mesh: { kind: 'istio' },
        workloads: {
          [SERVER]: { labels: { app: 'server' }, mesh: 'sidecar', ports: ['http=8080'] },
          [CALLER]: { labels: { app: 'caller' }, mesh: 'sidecar', account: 'caller' },
          [OUTSIDE]: { labels: { app: 'old' } },
        },
        services: [{ name: 'shop/server', selects: [SERVER], ports: ['http:8080'] }],
        policies,
      }),
    );
    const workload = (id: string) => {
      const found = world.inventory.workloads.find((one) => one.id === id);
      if (found === undefined) throw new Error(`no ${id}`);
      return found;
    };
    const asked = { src: workload(from), dst: workload(SERVER), protocol: 'TCP', port: 8080 } as const;
    return answerQuery(world, asked, true, true, new Map()).flip;
  };
  const nobody = manifest('security.istio.io/v1', 'AuthorizationPolicy', 'shop/nobody', {});
  const strict = manifest('security.istio.io/v1', 'PeerAuthentication', 'shop/default', { mtls: { mode: 'STRICT' } });

  it('is a rule for the principal of the caller, simulated', () => {
    const flip = flipInMesh([nobody], CALLER);
    expect(flip).toEqual({
      text: 'one rule more allows it (simulated).',
      changes: [
        {
          action: 'add-rule',
          object: 'AuthorizationPolicy shop/nobody',
          where: null,
          field: 'spec.rules',
          rule: {
            from: [{ source: { principals: ['cluster.local/ns/batch/sa/caller'] } }],
            to: [{ operation: { ports: ['8080'] } }],
          },
        },
      ],
    });
  });

  it('is a rule on each layer where both are in the way', () => {
    const isolated = networkPolicy('shop/deny', { podSelector: {}, policyTypes: ['Ingress'] });
    const flip = flipInMesh([nobody, isolated], CALLER);
    expect(flip?.changes.map(({ object, field }) => `${field} of ${object}`)).toEqual([
      'spec.ingress of NetworkPolicy shop/deny',
      'spec.rules of AuthorizationPolicy shop/nobody',
    ]);
    expect(flip?.text).toContain('(simulated)');
  });

  it('is to join, or a port that takes plaintext, for a caller outside', () => {
    const flip = flipInMesh([strict], OUTSIDE);
    expect(flip?.changes).toEqual([]);
    expect(flip?.text).toContain(`Let ${OUTSIDE} join the mesh, or set portLevelMtls 8080: PERMISSIVE`);
  });

  it('is the one rule that admits, where the answer is yes', () => {
    const one = manifest('security.istio.io/v1', 'AuthorizationPolicy', 'shop/one', {
      rules: [{ from: [{ source: { namespaces: ['batch'] } }] }],
    });
    expect(flipInMesh([one], CALLER)?.changes).toMatchObject([{ action: 'remove-rule', field: 'spec.rules[0]' }]);
  });
});

import { describe, expect, it } from 'vitest';
import { checkPolicies, evaluateConnection } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, JOB, WEB, clusterWith } from '../support/policy-table.ts';
import { answerOf, connection, inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const V1 = 'policy.networking.k8s.io/v1alpha1';
const V2 = 'policy.networking.k8s.io/v1alpha2';
const SHOP: JsonObject = { namespaces: { matchLabels: { team: 'shop' } } };
const pods = (app: string): JsonObject => ({
  pods: { namespaceSelector: {}, podSelector: { matchLabels: { app } } },
});

function anp(priority: number, spec: JsonObject, name = `p${priority}`): KubeManifest {
  return manifest(V1, 'AdminNetworkPolicy', name, { priority, subject: SHOP, ...spec });
}
function banp(spec: JsonObject, name = 'default'): KubeManifest {
  return manifest(V1, 'BaselineAdminNetworkPolicy', name, { subject: SHOP, ...spec });
}
function cnp(tier: string, priority: number, spec: JsonObject, name = `c${priority}`): KubeManifest {
  return manifest(V2, 'ClusterNetworkPolicy', name, { tier, priority, subject: SHOP, ...spec });
}
const rule = (action: string, from: readonly Json[], ports?: readonly Json[]): JsonObject => ({
  action,
  from,
  ...(ports === undefined ? {} : { ports }),
});
const out = (action: string, to: readonly Json[], ports?: readonly Json[]): JsonObject => ({
  action,
  to,
  ...(ports === undefined ? {} : { ports }),
});
const ANYONE: JsonObject = { namespaces: {} };
const port = (number: number, protocol = 'TCP'): JsonObject => ({ portNumber: { protocol, port: number } });
const IN = `${WEB} -> ${DB} 5432`;
const FROM_JOB = `${JOB} -> ${DB} 5432`;
const NOBODY = networkPolicy('shop/np', { podSelector: {} });
const EVERYBODY = networkPolicy('shop/np', { podSelector: {}, ingress: [{}] });

function answer(policies: readonly KubeManifest[], text: string, cni = 'ovn-kubernetes'): string {
  return answerOf(clusterWith(cni, policies), text);
}

describe('the order of admin policies', () => {
  const deny = anp(10, { ingress: [rule('Deny', [pods('train')])] });
  const allow = anp(10, { ingress: [rule('Allow', [pods('train')])] });
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['what no rule matches goes on', [deny], IN, 'allowed'],
    ['Deny denies', [deny], FROM_JOB, 'denied'],
    ['Deny denies what a NetworkPolicy admits', [deny, EVERYBODY], FROM_JOB, 'denied'],
    ['Allow admits what a NetworkPolicy denies', [allow, NOBODY], FROM_JOB, 'allowed'],
    ['what it does not match, the NetworkPolicy denies', [allow, NOBODY], IN, 'denied'],
    ['the lower number comes first', [allow, anp(20, { ingress: [rule('Deny', [ANYONE])] })], FROM_JOB, 'allowed'],
    [
      'whatever the order they are read in',
      [anp(20, { ingress: [rule('Deny', [ANYONE])] }), allow],
      FROM_JOB,
      'allowed',
    ],
    ['the higher number decides on the rest', [allow, anp(20, { ingress: [rule('Deny', [ANYONE])] })], IN, 'denied'],
    [
      'the first rule of a policy that matches decides',
      [anp(1, { ingress: [rule('Allow', [pods('web')]), rule('Deny', [ANYONE])] })],
      IN,
      'allowed',
    ],
    [
      'Pass leaves later rules and policies of the tier out',
      [
        anp(1, { ingress: [rule('Pass', [pods('web')]), rule('Deny', [ANYONE])] }),
        anp(2, { ingress: [rule('Deny', [ANYONE])] }),
      ],
      IN,
      'allowed',
    ],
    ['Pass hands over to NetworkPolicy', [anp(1, { ingress: [rule('Pass', [ANYONE])] }), NOBODY], IN, 'denied'],
    [
      'Pass goes past NetworkPolicy to the baseline where none isolates',
      [anp(1, { ingress: [rule('Pass', [ANYONE])] }), banp({ ingress: [rule('Deny', [ANYONE])] })],
      IN,
      'denied',
    ],
    ['the baseline denies what nobody decided', [banp({ ingress: [rule('Deny', [ANYONE])] })], IN, 'denied'],
    [
      'a NetworkPolicy that isolates comes before it',
      [banp({ ingress: [rule('Deny', [ANYONE])] }), EVERYBODY],
      IN,
      'allowed',
    ],
    [
      'and what that leaves out is denied, whatever the baseline allows',
      [banp({ ingress: [rule('Allow', [ANYONE])] }), NOBODY],
      IN,
      'denied',
    ],
    [
      'an admin Allow comes before the baseline',
      [allow, banp({ ingress: [rule('Deny', [ANYONE])] })],
      FROM_JOB,
      'allowed',
    ],
    [
      'two of one priority that agree',
      [anp(5, { ingress: [rule('Deny', [pods('train')])] }, 'a'), anp(5, { ingress: [rule('Deny', [ANYONE])] }, 'b')],
      FROM_JOB,
      'denied',
    ],
    [
      'two of one priority that do not',
      [anp(5, { ingress: [rule('Deny', [pods('train')])] }, 'a'), anp(5, { ingress: [rule('Allow', [ANYONE])] }, 'b')],
      FROM_JOB,
      'unknown',
    ],
    [
      'two of one priority of which one matches',
      [
        anp(5, { ingress: [rule('Deny', [pods('train')])] }, 'a'),
        anp(5, { ingress: [rule('Allow', [pods('x')])] }, 'b'),
      ],
      FROM_JOB,
      'denied',
    ],
    [
      'two of one priority behind one that decides',
      [
        anp(1, { ingress: [rule('Allow', [ANYONE])] }),
        anp(5, { ingress: [rule('Deny', [pods('train')])] }, 'a'),
        anp(5, { ingress: [rule('Allow', [ANYONE])] }, 'b'),
      ],
      FROM_JOB,
      'allowed',
    ],
    ['a subject by pod', [anp(1, { subject: pods('db'), ingress: [rule('Deny', [ANYONE])] })], IN, 'denied'],
    [
      'and another pod',
      [anp(1, { subject: pods('db'), ingress: [rule('Deny', [ANYONE])] })],
      `${DB} -> ${WEB} 1`,
      'allowed',
    ],
    ['another direction', [anp(1, { egress: [out('Deny', [ANYONE])] })], FROM_JOB, 'allowed'],
    ['egress of the subject', [anp(1, { egress: [out('Deny', [ANYONE])] })], `${WEB} -> ${JOB} 80`, 'denied'],
    [
      'ClusterNetworkPolicy: Accept before NetworkPolicy',
      [cnp('Admin', 1, { ingress: [rule('Accept', [ANYONE])] }), NOBODY],
      IN,
      'allowed',
    ],
    [
      'ClusterNetworkPolicy: the Baseline tier by priority',
      [
        cnp('Baseline', 2, { ingress: [rule('Deny', [ANYONE])] }),
        cnp('Baseline', 1, { ingress: [rule('Accept', [pods('web')])] }),
      ],
      IN,
      'allowed',
    ],
    [
      'ClusterNetworkPolicy: Pass in the Baseline tier ends in the default',
      [cnp('Baseline', 1, { ingress: [rule('Pass', [ANYONE]), rule('Deny', [ANYONE])] })],
      IN,
      'allowed',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(answer(policies, text)).toBe(expected);
    // Calico puts the same policies into tiers of its own.
    expect(answer(policies, text, 'calico')).toBe(expected);
  });
});

describe('peers and ports of admin policies', () => {
  const into = (peer: Json, ports?: readonly Json[]): readonly KubeManifest[] => [
    anp(1, { ingress: [rule('Deny', [peer], ports)] }),
  ];
  const outOf = (peer: Json, ports?: readonly Json[]): readonly KubeManifest[] => [
    anp(1, { egress: [out('Deny', [peer], ports)] }),
  ];
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['namespaces by label', into({ namespaces: { matchLabels: { team: 'ml' } } }), FROM_JOB, 'denied'],
    ['other namespaces', into({ namespaces: { matchLabels: { team: 'ml' } } }), IN, 'allowed'],
    ['pods', into(pods('web')), IN, 'denied'],
    ['host-network pods are no pods here', into(ANYONE), `${AGENT} -> ${DB} 1`, 'allowed'],
    [
      'nor subjects',
      [anp(1, { subject: { namespaces: {} }, ingress: [rule('Deny', [ANYONE])] })],
      `${WEB} -> ${AGENT} 1`,
      'allowed',
    ],
    ['the world is no pod', into(ANYONE), `external:9.9.9.9 -> ${DB} 1`, 'allowed'],
    ['networks', outOf({ networks: ['9.0.0.0/8'] }), `${WEB} -> external:9.9.9.9 443`, 'denied'],
    ['other networks', outOf({ networks: ['9.0.0.0/8'] }), `${WEB} -> external:8.9.9.9 443`, 'allowed'],
    ['networks match pods too', outOf({ networks: ['10.0.0.0/8'] }), `${WEB} -> ${JOB} 443`, 'denied'],
    ['nodes', outOf({ nodes: {} }), `${WEB} -> node:n3 443`, 'denied'],
    ['nodes are host-network pods', outOf({ nodes: {} }), `${WEB} -> ${AGENT} 443`, 'denied'],
    ['nodes are no pods', outOf({ nodes: {} }), `${WEB} -> ${JOB} 443`, 'allowed'],
    ['nodes by label', outOf({ nodes: { matchLabels: { a: 'b' } } }), `${WEB} -> node:n3 443`, 'unknown'],
    ['names that match', outOf({ domainNames: ['*.test'] }), `${WEB} -> external:a.test 443`, 'unknown'],
    ['names that do not', outOf({ domainNames: ['*.test'] }), `${WEB} -> external:a.other 443`, 'allowed'],
    ['an address without its name', outOf({ domainNames: ['*.test'] }), `${WEB} -> external:9.9.9.9 443`, 'unknown'],
    ['a port', into(ANYONE, [port(5432)]), IN, 'denied'],
    ['another port', into(ANYONE, [port(5433)]), IN, 'allowed'],
    ['another protocol', into(ANYONE, [port(5432, 'UDP')]), IN, 'allowed'],
    ['a range', into(ANYONE, [{ portRange: { protocol: 'TCP', start: 5000, end: 6000 } }]), IN, 'denied'],
    ['a range asked about in part', into(ANYONE, [port(5432)]), `${WEB} -> ${DB} 5400-5500`, 'denied'],
    ['a port by name', into(ANYONE, [{ namedPort: 'sql' }]), IN, 'denied'],
    ['a name of UDP', into(ANYONE, [{ namedPort: 'dns' }]), `${WEB} -> ${DB} 53/UDP`, 'denied'],
    ['the name of no port', into(ANYONE, [{ namedPort: 'http' }]), IN, 'allowed'],
    [
      'protocols of ClusterNetworkPolicy',
      [
        cnp('Admin', 1, {
          ingress: [{ action: 'Deny', from: [ANYONE], protocols: [{ tcp: { destinationPort: { number: 5432 } } }] }],
        }),
      ],
      IN,
      'denied',
    ],
    [
      'a whole protocol of it',
      [cnp('Admin', 1, { ingress: [{ action: 'Deny', from: [ANYONE], protocols: [{ udp: {} }] }] })],
      `${WEB} -> ${DB} 53/UDP`,
      'denied',
    ],
    [
      'a range of it',
      [
        cnp('Admin', 1, {
          ingress: [
            {
              action: 'Deny',
              from: [ANYONE],
              protocols: [{ tcp: { destinationPort: { range: { start: 1, end: 9 } } } }],
            },
          ],
        }),
      ],
      IN,
      'allowed',
    ],
    [
      'a name of it',
      [
        cnp('Admin', 1, {
          ingress: [{ action: 'Deny', from: [ANYONE], protocols: [{ destinationNamedPort: 'sql' }] }],
        }),
      ],
      IN,
      'denied',
    ],
    ['an endpoint that is not known', into(pods('web')), `unknown -> ${DB} 5432`, 'unknown'],
    ['the own node under a NetworkPolicy', [...into(pods('web')), NOBODY], `node:n2 -> ${DB} 5432`, 'allowed'],
    ['another node under a NetworkPolicy', [...into(pods('web')), NOBODY], `node:n3 -> ${DB} 5432`, 'denied'],
  ])('%s', (_, policies, text, expected) => {
    expect(answer(policies, text)).toBe(expected);
  });

  it('counts a NetworkPolicy that only may select the pods as open where it admits what it would isolate', () => {
    const NEW = 'shop/Deployment/new';
    const workloads = { ...CLUSTER.workloads, [NEW]: [] };
    const deny = anp(1, { ingress: [rule('Deny', [pods('train')])] });
    const may = (ingress: readonly Json[]): KubeManifest =>
      networkPolicy('shop/np', { podSelector: { matchLabels: { app: 'x' } }, ingress });
    const ask = (ingress: readonly Json[]): string =>
      answerOf(clusterWith('ovn-kubernetes', [deny, may(ingress)], { workloads }), `${WEB} -> ${NEW} 1`);
    expect(ask([{}])).toBe('allowed');
    expect(ask([])).toBe('unknown');
  });

  it('names the rule', () => {
    const world = clusterWith('ovn-kubernetes', into(pods('web')));
    expect(evaluateConnection(world, connection(IN)).reasons[0]).toEqual({
      layer: 'network-policy',
      direction: 'ingress',
      decision: 'denies',
      object: 'AdminNetworkPolicy p1',
      rule: 0,
      field: 'spec.ingress[0]',
      text: `spec.ingress[0] of AdminNetworkPolicy p1 denies 5432/TCP from ${WEB} to ${DB}.`,
    });
  });

  it('names those whose order is not known', () => {
    const policies = [
      anp(5, { ingress: [rule('Deny', [ANYONE])] }, 'a'),
      anp(5, { ingress: [rule('Allow', [ANYONE])] }, 'b'),
    ];
    expect(evaluateConnection(clusterWith('ovn-kubernetes', policies), connection(IN)).reasons[0]?.text).toContain(
      'AdminNetworkPolicy a and AdminNetworkPolicy b have the same place in the order and do not agree',
    );
  });
});

describe('a CNI that may not enforce admin policies', () => {
  const deny = anp(1, { ingress: [rule('Deny', [pods('web')])] });
  it('answers where they make no difference', () => {
    expect(answer([deny], FROM_JOB, 'cilium')).toBe('allowed');
    expect(answer([deny, NOBODY], IN, 'cilium')).toBe('denied');
  });

  it('does not where they do', () => {
    const world = clusterWith('cilium', [deny]);
    const { answer: said, reasons } = evaluateConnection(world, connection(IN));
    expect(said).toBe('unknown');
    expect(reasons[0]).toMatchObject({
      object: 'AdminNetworkPolicy p1',
      text: `Whether cilium enforces AdminNetworkPolicy is not known, and AdminNetworkPolicy p1 makes a difference to ingress of ${DB}.`,
    });
  });
});

describe('what is not as the API has it', () => {
  const ok = { subject: SHOP, ingress: [rule('Deny', [ANYONE])] };
  it.each<[string, KubeManifest]>([
    ['no priority', manifest(V1, 'AdminNetworkPolicy', 'p', ok)],
    ['a priority beyond 1000', anp(1001, {}, 'p')],
    ['an action of the other version', anp(1, { ingress: [rule('Accept', [ANYONE])] }, 'p')],
    ['Pass in the baseline', banp({ ingress: [rule('Pass', [ANYONE])] }, 'default')],
    ['a baseline of another name', banp({ ingress: [rule('Deny', [ANYONE])] }, 'p')],
    ['no peers', anp(1, { ingress: [rule('Deny', [])] }, 'p')],
    ['a peer that says two things', anp(1, { ingress: [rule('Deny', [{ namespaces: {}, ...pods('x') }])] }, 'p')],
    ['an older form of a peer', anp(1, { ingress: [rule('Deny', [{ namespaces: { sameLabels: ['a'] } }])] }, 'p')],
    ['networks of ingress', anp(1, { ingress: [rule('Deny', [{ networks: ['1.0.0.0/8'] }])] }, 'p')],
    [
      'a network that is none',
      anp(1, { egress: [out('Deny', [{ networks: ['x'] }])], ingress: [rule('Deny', [ANYONE])] }, 'p'),
    ],
    ['an empty list of ports', anp(1, { ingress: [rule('Deny', [ANYONE], [])] }, 'p')],
    ['a tier that is none', cnp('Other', 1, { ingress: [rule('Deny', [ANYONE])] }, 'p')],
    ['a kind of another version', manifest(V2, 'AdminNetworkPolicy', 'p', { priority: 1, ...ok })],
    ['a subject of nothing', anp(1, { subject: {}, ingress: [rule('Deny', [ANYONE])] }, 'p')],
  ])('%s: unknown, and found', (_, policy) => {
    const { answer: said, reasons } = evaluateConnection(clusterWith('ovn-kubernetes', [policy]), connection(IN));
    const hasRules = (policy['spec'] as JsonObject)['ingress'] !== undefined;
    expect(said).toBe(hasRules ? 'unknown' : 'allowed');
    if (hasRules) expect(reasons[0]?.object).toBe(`${policy.kind} ${policy.metadata.name}`);
    const inventory = inventoryOf({ ...CLUSTER, policies: [policy] });
    expect(checkPolicies(inventory).map(({ code }) => code)).toEqual(['SP344']);
  });
});

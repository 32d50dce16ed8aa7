import { describe, expect, it } from 'vitest';
import { matchCalicoSelector, readCalicoSelector } from '../../src/model/calico-selector.ts';
import { checkPolicies, evaluateConnection } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, JOB, WEB, clusterWith } from '../support/policy-table.ts';
import { answerOf, connection, inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const V3 = 'projectcalico.org/v3';
function np(spec: JsonObject, name = 'shop/p'): KubeManifest {
  return manifest(V3, 'NetworkPolicy', name, spec);
}
function gnp(spec: JsonObject, name = 'p'): KubeManifest {
  return manifest(V3, 'GlobalNetworkPolicy', name, spec);
}
const tier = (name: string, spec: JsonObject): KubeManifest => manifest(V3, 'Tier', name, spec);
const ON_DB = "app == 'db'";
const rule = (action: string, rest: JsonObject = {}): JsonObject => ({ action, ...rest });
const fromApp = (action: string, app: string, rest: JsonObject = {}): JsonObject =>
  rule(action, { source: { selector: `app == '${app}'` }, ...rest });
const IN = `${WEB} -> ${DB} 5432`;
const FROM_JOB = `${JOB} -> ${DB} 5432`;
const OUT = `${WEB} -> ${DB} 5432`;
const NOBODY = networkPolicy('shop/np', { podSelector: {} });
const EVERYBODY = networkPolicy('shop/np', { podSelector: {}, ingress: [{}] });

function answer(policies: readonly KubeManifest[], text: string): string {
  return answerOf(clusterWith('calico', policies), text);
}

describe('the order of policies of Calico', () => {
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['a policy without rules isolates', [np({ selector: ON_DB })], IN, 'denied'],
    ['pods that it selects alone', [np({ selector: ON_DB })], `${DB} -> ${WEB} 1`, 'allowed'],
    ['no selector selects the namespace', [np({})], `${JOB} -> ${WEB} 1`, 'denied'],
    ['and no other', [np({})], `${WEB} -> ${JOB} 1`, 'allowed'],
    ['a global one selects everywhere', [gnp({})], `${WEB} -> ${JOB} 1`, 'denied'],
    ['types default to ingress', [np({ selector: 'all()' })], `${WEB} -> ${JOB} 1`, 'allowed'],
    ['egress rules alone make it egress', [np({ egress: [rule('Deny')] })], `${JOB} -> ${DB} 1`, 'allowed'],
    [
      'and that isolates',
      [np({ egress: [fromApp('Allow', 'web', { destination: { selector: ON_DB } })] })],
      `${WEB} -> ${JOB} 1`,
      'denied',
    ],
    ['rules of both make it both', [np({ ingress: [rule('Allow')], egress: [rule('Deny')] })], OUT, 'denied'],
    ['types say more than rules', [np({ types: ['Egress'], ingress: [rule('Deny')] })], FROM_JOB, 'allowed'],
    ['Allow admits', [np({ ingress: [rule('Allow')] })], IN, 'allowed'],
    ['the first rule that matches decides', [np({ ingress: [fromApp('Deny', 'web'), rule('Allow')] })], IN, 'denied'],
    ['the rest by the next', [np({ ingress: [fromApp('Deny', 'web'), rule('Allow')] })], FROM_JOB, 'allowed'],
    ['Log decides nothing', [np({ ingress: [rule('Log'), rule('Allow')] })], IN, 'allowed'],
    [
      'the lower order comes first',
      [np({ order: 20, ingress: [rule('Allow')] }, 'shop/a'), np({ order: 10, ingress: [rule('Deny')] }, 'shop/b')],
      IN,
      'denied',
    ],
    [
      'no order comes last',
      [np({ ingress: [rule('Deny')] }, 'shop/a'), np({ order: 9999, ingress: [rule('Allow')] }, 'shop/b')],
      IN,
      'allowed',
    ],
    [
      'of one order the name decides',
      [np({ order: 1, ingress: [rule('Allow')] }, 'shop/b'), np({ order: 1, ingress: [rule('Deny')] }, 'shop/a')],
      IN,
      'denied',
    ],
    [
      'with the prefix of the tier or without',
      [
        np({ order: 1, ingress: [rule('Allow')] }, 'shop/b'),
        np({ order: 1, ingress: [rule('Deny')] }, 'shop/default.a'),
      ],
      IN,
      'denied',
    ],
    [
      'of one order and two kinds it is not known',
      [np({ order: 1, ingress: [rule('Allow')] }, 'shop/b'), gnp({ order: 1, ingress: [rule('Deny')] }, 'a')],
      IN,
      'unknown',
    ],
    [
      'a policy of the default tier before a NetworkPolicy',
      [np({ order: 999, ingress: [rule('Deny')] }), EVERYBODY],
      IN,
      'denied',
    ],
    ['and after it', [np({ order: 1001, ingress: [rule('Deny')] }), EVERYBODY], IN, 'allowed'],
    ['admits what a NetworkPolicy leaves open', [np({ order: 1001, ingress: [rule('Allow')] }), NOBODY], IN, 'allowed'],
    [
      'of the order of a NetworkPolicy it is not known',
      [np({ order: 1000, ingress: [rule('Deny')] }), EVERYBODY],
      IN,
      'unknown',
    ],
    ['unless they agree', [np({ order: 1000, ingress: [fromApp('Deny', 'x')] }), EVERYBODY], IN, 'allowed'],
    [
      'what no rule of the tier matches is denied',
      [
        np({ order: 1, ingress: [fromApp('Allow', 'web')] }),
        networkPolicy('shop/np', { podSelector: {}, ingress: [{ ports: [{ port: 1 }] }] }),
      ],
      FROM_JOB,
      'denied',
    ],
    [
      'a tier before the default one',
      [tier('sec', { order: 10 }), gnp({ tier: 'sec', ingress: [fromApp('Deny', 'web'), rule('Pass')] }), EVERYBODY],
      IN,
      'denied',
    ],
    [
      'Pass goes to the next tier',
      [tier('sec', { order: 10 }), gnp({ tier: 'sec', ingress: [rule('Pass')] }), NOBODY],
      IN,
      'denied',
    ],
    [
      'and from the last to what is allowed by default',
      [tier('sec', { order: 10 }), gnp({ tier: 'sec', ingress: [rule('Pass')] })],
      IN,
      'allowed',
    ],
    [
      'Pass skips later policies of its tier',
      [
        tier('sec', { order: 10 }),
        gnp({ tier: 'sec', order: 1, ingress: [rule('Pass')] }, 'a'),
        gnp({ tier: 'sec', order: 2, ingress: [rule('Deny')] }, 'b'),
      ],
      IN,
      'allowed',
    ],
    [
      'a tier that leaves it open denies',
      [tier('sec', { order: 10 }), gnp({ tier: 'sec', ingress: [fromApp('Allow', 'x')] }), EVERYBODY],
      IN,
      'denied',
    ],
    [
      'unless its default is to pass',
      [
        tier('sec', { order: 10, defaultAction: 'Pass' }),
        gnp({ tier: 'sec', ingress: [fromApp('Allow', 'x')] }),
        EVERYBODY,
      ],
      IN,
      'allowed',
    ],
    [
      'a tier that does not select the pods passes by',
      [tier('sec', { order: 10 }), gnp({ tier: 'sec', selector: "app == 'x'", ingress: [rule('Deny')] }), EVERYBODY],
      IN,
      'allowed',
    ],
    [
      'tiers by order',
      [
        tier('b', { order: 10 }),
        tier('a', { order: 20 }),
        gnp({ tier: 'a', ingress: [rule('Deny')] }, 'x'),
        gnp({ tier: 'b', ingress: [rule('Allow')] }, 'y'),
      ],
      IN,
      'allowed',
    ],
    [
      'a tier without an order comes after the default one',
      [tier('late', {}), gnp({ tier: 'late', ingress: [rule('Allow')] }), NOBODY],
      IN,
      'denied',
    ],
    [
      'staged policies do not act',
      [manifest(V3, 'StagedNetworkPolicy', 'shop/p', { ingress: [rule('Deny')] })],
      IN,
      'allowed',
    ],
    [
      'nor do staged global ones',
      [manifest(V3, 'StagedGlobalNetworkPolicy', 'p', { ingress: [rule('Deny')] })],
      IN,
      'allowed',
    ],
    [
      'policies as they are stored',
      [
        manifest('crd.projectcalico.org/v1', 'NetworkPolicy', 'shop/default.p', {
          types: ['Ingress'],
          ingress: [rule('Deny')],
        }),
      ],
      IN,
      'denied',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(answer(policies, text)).toBe(expected);
  });
});

describe('what a rule of Calico asks for', () => {
  const into = (rest: JsonObject): readonly KubeManifest[] => [np({ selector: ON_DB, ingress: [rule('Allow', rest)] })];
  const intoGlobal = (rest: JsonObject): readonly KubeManifest[] => [
    gnp({ selector: ON_DB, ingress: [rule('Allow', rest)] }),
  ];
  const outOf = (rest: JsonObject): readonly KubeManifest[] => [
    np({ selector: "app == 'web'", egress: [rule('Allow', rest)] }),
  ];
  const set = manifest(V3, 'GlobalNetworkSet', 'dbs', { nets: ['9.0.0.0/8'] }, { labels: { kind: 'outside' } });
  const ownSet = manifest(V3, 'NetworkSet', 'shop/dbs', { nets: ['9.0.0.0/8'] }, { labels: { kind: 'outside' } });
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['a selector', into({ source: { selector: "app == 'web'" } }), IN, 'allowed'],
    ['picks in its own namespace', into({ source: { selector: "app == 'train'" } }), FROM_JOB, 'denied'],
    ['a global one in every namespace', intoGlobal({ source: { selector: "app == 'train'" } }), FROM_JOB, 'allowed'],
    ['a selector picks no node', into({ source: { selector: 'all()' } }), `node:n3 -> ${DB} 1`, 'denied'],
    ['nor the world', intoGlobal({ source: { selector: 'all()' } }), `external:9.9.9.9 -> ${DB} 1`, 'denied'],
    [
      'a global notSelector lets the world in',
      intoGlobal({ source: { notSelector: "app == 'web'" } }),
      `external:9.9.9.9 -> ${DB} 1`,
      'allowed',
    ],
    ['and not whom it names', into({ source: { notSelector: "app == 'web'" } }), IN, 'denied'],
    ['it keeps to the namespace of its policy', into({ source: { notSelector: "app == 'x'" } }), FROM_JOB, 'denied'],
    [
      'and leaves the world out there',
      into({ source: { notSelector: "app == 'x'" } }),
      `external:9.9.9.9 -> ${DB} 1`,
      'denied',
    ],
    ['a global one does not', intoGlobal({ source: { notSelector: "app == 'x'" } }), FROM_JOB, 'allowed'],
    [
      'a namespaceSelector that asks for no label may pick a global set',
      [set, ...outOf({ destination: { selector: "kind == 'outside'", namespaceSelector: '!has(x)' } })],
      `${WEB} -> external:9.9.9.9 443`,
      'unknown',
    ],
    [
      'all() picks none',
      [set, ...outOf({ destination: { selector: "kind == 'outside'", namespaceSelector: 'all()' } })],
      `${WEB} -> external:9.9.9.9 443`,
      'denied',
    ],
    ['a namespaceSelector', into({ source: { namespaceSelector: "team == 'ml'" } }), FROM_JOB, 'allowed'],
    ['of other namespaces', into({ source: { namespaceSelector: "team == 'ml'" } }), IN, 'denied'],
    [
      'with a selector',
      into({ source: { namespaceSelector: "team == 'ml'", selector: "app == 'x'" } }),
      FROM_JOB,
      'denied',
    ],
    [
      'by the name of the namespace',
      into({ source: { namespaceSelector: "projectcalico.org/name == 'batch'" } }),
      FROM_JOB,
      'allowed',
    ],
    ['global() is no pod', intoGlobal({ source: { namespaceSelector: 'global()' } }), IN, 'denied'],
    [
      'the namespace as a label',
      intoGlobal({ source: { selector: "projectcalico.org/namespace == 'batch'" } }),
      FROM_JOB,
      'allowed',
    ],
    ['accounts by name', into({ source: { serviceAccounts: { names: ['web'] } } }), IN, 'allowed'],
    ['other accounts', into({ source: { serviceAccounts: { names: ['x'] } } }), IN, 'denied'],
    ['accounts by label', into({ source: { serviceAccounts: { selector: 'all()' } } }), IN, 'unknown'],
    ['nets', into({ source: { nets: ['10.0.1.0/24'] } }), IN, 'allowed'],
    ['nets and not those', into({ source: { nets: ['10.0.0.0/8'], notNets: ['10.0.1.0/24'] } }), IN, 'denied'],
    ['nets of the world', outOf({ destination: { nets: ['9.0.0.0/8'] } }), `${WEB} -> external:9.9.9.9 443`, 'allowed'],
    [
      'nets of an address that is not known',
      outOf({ destination: { nets: ['9.0.0.0/8'] } }),
      `${WEB} -> external:a.test 443`,
      'unknown',
    ],
    [
      'a set of networks by label',
      [set, ...outOf({ destination: { selector: "kind == 'outside'", namespaceSelector: 'global()' } })],
      `${WEB} -> external:9.9.9.9 443`,
      'allowed',
    ],
    [
      'of the own namespace',
      [ownSet, ...outOf({ destination: { selector: "kind == 'outside'" } })],
      `${WEB} -> external:9.9.9.9 443`,
      'allowed',
    ],
    [
      'a global one is not of the own namespace',
      [set, ...outOf({ destination: { selector: "kind == 'outside'" } })],
      `${WEB} -> external:9.9.9.9 443`,
      'denied',
    ],
    [
      'an address outside of the set',
      [ownSet, ...outOf({ destination: { selector: "kind == 'outside'" } })],
      `${WEB} -> external:8.9.9.9 443`,
      'denied',
    ],
    ['the destination of ingress is the pod itself', into({ destination: { selector: ON_DB } }), IN, 'allowed'],
    ['and no other', into({ destination: { selector: "app == 'web'" } }), IN, 'denied'],
    ['its nets are its own addresses', into({ destination: { nets: ['10.0.1.2/32'] } }), IN, 'allowed'],
    ['ports', into({ protocol: 'TCP', destination: { ports: [5432] } }), IN, 'allowed'],
    ['other ports', into({ protocol: 'TCP', destination: { ports: [5433] } }), IN, 'denied'],
    [
      'a range of ports',
      into({ protocol: 'TCP', destination: { ports: ['5000:6000'] } }),
      `${WEB} -> ${DB} 5001-5999`,
      'allowed',
    ],
    [
      'beyond it',
      into({ protocol: 'TCP', destination: { ports: ['5000:6000'] } }),
      `${WEB} -> ${DB} 5001-6001`,
      'denied',
    ],
    [
      'two ranges that meet',
      into({ protocol: 'TCP', destination: { ports: ['1:5', '6:9'] } }),
      `${WEB} -> ${DB} 1-9`,
      'allowed',
    ],
    ['a port by name', into({ protocol: 'TCP', destination: { ports: ['sql'] } }), IN, 'allowed'],
    ['notPorts', into({ protocol: 'TCP', destination: { notPorts: [5432] } }), IN, 'denied'],
    ['other than notPorts', into({ protocol: 'TCP', destination: { notPorts: [1] } }), IN, 'allowed'],
    ['a protocol', into({ protocol: 'UDP' }), IN, 'denied'],
    ['a protocol by number', into({ protocol: 6 }), IN, 'allowed'],
    ['notProtocol', into({ notProtocol: 'TCP' }), IN, 'denied'],
    ['another notProtocol', into({ notProtocol: 'UDP' }), IN, 'allowed'],
    ['ICMP is no connection', into({ protocol: 'ICMP', icmp: { type: 8 } }), IN, 'denied'],
    ['ports of the source', into({ protocol: 'TCP', source: { ports: [1] } }), IN, 'unknown'],
    [
      'ports of a source that is another',
      into({ protocol: 'TCP', source: { ports: [1], selector: "app == 'x'" } }),
      IN,
      'denied',
    ],
    ['HTTP', into({ http: { methods: ['GET'] } }), IN, 'unknown'],
    [
      'HTTP on another port',
      into({ protocol: 'TCP', destination: { ports: [80] }, http: { methods: ['GET'] } }),
      IN,
      'denied',
    ],
    ['Services', outOf({ destination: { services: { name: 'db' } } }), OUT, 'unknown'],
    ['an IP version', into({ ipVersion: 4 }), IN, 'unknown'],
    ['a selector that is not read', into({ source: { selector: 'app = web' } }), IN, 'unknown'],
    ['a caller that is not known', into({ source: { selector: "app == 'web'" } }), `unknown -> ${DB} 1`, 'unknown'],
    ['the own node is let in', into({ source: { selector: "app == 'web'" } }), `node:n2 -> ${DB} 1`, 'allowed'],
    ['another node is not', into({ source: { selector: "app == 'web'" } }), `node:n3 -> ${DB} 1`, 'denied'],
    [
      'towards the own node it is not known',
      outOf({ destination: { selector: 'all()' } }),
      `${WEB} -> node:n1 1`,
      'unknown',
    ],
    [
      'a host-network pod is a node',
      intoGlobal({ source: { selector: "app == 'agent'" } }),
      `${AGENT} -> ${DB} 1`,
      'denied',
    ],
    [
      'which a host endpoint may make more of',
      [
        manifest(V3, 'HostEndpoint', 'h', {}),
        gnp({ selector: ON_DB, ingress: [rule('Allow', { source: { selector: 'all()' } })] }),
      ],
      `external:9.9.9.9 -> ${DB} 1`,
      'unknown',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(answer(policies, text)).toBe(expected);
  });

  it('names the rule, the tier that ends, and what is in doubt', () => {
    const said = (policies: readonly KubeManifest[]): unknown =>
      evaluateConnection(clusterWith('calico', policies), connection(IN)).reasons[0];
    expect(said([np({ ingress: [fromApp('Deny', 'web')] })])).toMatchObject({
      object: 'NetworkPolicy shop/p',
      rule: 0,
      text: `spec.ingress[0] of NetworkPolicy shop/p denies 5432/TCP from ${WEB} to ${DB}.`,
    });
    expect(said([np({ selector: ON_DB, ingress: [fromApp('Allow', 'x')] })])).toMatchObject({
      decision: 'denies',
      object: 'NetworkPolicy shop/p',
      text: `NetworkPolicy shop/p isolates ${DB} for ingress, and no rule decides on 5432/TCP from ${WEB} to ${DB}.`,
    });
    expect(said([np({ selector: ON_DB, ingress: [rule('Allow', { http: { methods: ['GET'] } })] })])).toMatchObject({
      object: 'NetworkPolicy shop/p',
      text: `Whether spec.ingress[0] of NetworkPolicy shop/p decides on 5432/TCP from ${WEB} to ${DB} cannot be told: what it says in http is not evaluated.`,
    });
  });
});

describe('the selector language of Calico', () => {
  const labels: Readonly<Record<string, string>> = { app: 'web', tier: 'front', 'a.b/c': 'x' };
  const holds = (text: string): string => {
    const selector = readCalicoSelector(text);
    if (selector === undefined) return 'unreadable';
    return matchCalicoSelector(selector, (key) => {
      if (key === 'hidden') return { kind: 'unknown' };
      return Object.hasOwn(labels, key) ? { kind: 'value', value: labels[key] ?? '' } : { kind: 'absent' };
    });
  };
  it.each<[string, string]>([
    ['', 'yes'],
    ['all()', 'yes'],
    ['!all()', 'no'],
    ["app == 'web'", 'yes'],
    ['app == "web"', 'yes'],
    ["app != 'web'", 'no'],
    ["other != 'x'", 'yes'],
    ['has(app)', 'yes'],
    ['!has(app)', 'no'],
    ['has( a.b/c )', 'yes'],
    ["app in {'x', 'web'}", 'yes'],
    ["app not in {'x','web'}", 'no'],
    ["other not in {'x'}", 'yes'],
    ['app in {}', 'no'],
    ["app contains 'e'", 'yes'],
    ["app starts with 'we'", 'yes'],
    ["app ends with 'we'", 'no'],
    ["other contains ''", 'no'],
    ["app == 'x' || tier == 'front'", 'yes'],
    ["app == 'x' && tier == 'front' || has(app)", 'yes'],
    ["app == 'web' || tier == 'x' && has(other)", 'yes'],
    ["(app == 'web' || tier == 'x') && has(other)", 'no'],
    ["!(app == 'web')", 'no'],
    ["!!(app == 'web')", 'yes'],
    ["hidden == 'x'", 'unknown'],
    ["hidden == 'x' || app == 'web'", 'yes'],
    ["hidden == 'x' && app == 'x'", 'no'],
    ['!has(hidden)', 'unknown'],
    ["constructor == 'x'", 'no'],
    ['app = web', 'unreadable'],
    ['app == web', 'unreadable'],
    ["app == 'web", 'unreadable'],
    ["app == 'web' &&", 'unreadable'],
    ["(app == 'web'", 'unreadable'],
    ['surprise()', 'unreadable'],
    ['!'.repeat(1000) + 'all()', 'unreadable'],
  ])('%s: %s', (text, expected) => {
    expect(holds(text)).toBe(expected);
  });
});

describe('what is not plain in a policy of Calico', () => {
  it.each<[string, KubeManifest, string]>([
    ['a tier that is not there', gnp({ tier: 'x', ingress: [rule('Allow')] }), IN],
    ['a tier of admin policies', gnp({ tier: 'kube-admin', ingress: [rule('Allow')] }), IN],
    ['a selector that is not read', gnp({ selector: 'app = db', ingress: [rule('Allow')] }), IN],
    [
      'a namespaceSelector of a policy of a namespace',
      np({ namespaceSelector: 'all()', ingress: [rule('Allow')] }),
      IN,
    ],
    ['an action that is none', np({ ingress: [rule('Maybe')] }), IN],
    ['types that are none', np({ types: ['Both'], ingress: [rule('Allow')] }), IN],
    ['an order that is none', np({ order: 'first', ingress: [rule('Allow')] }), IN],
    [
      'host endpoints before NAT',
      gnp({ preDNAT: true, types: ['Ingress'], ingress: [rule('Allow')] }),
      `${WEB} -> node:n1 1`,
    ],
    ['forwarded traffic', gnp({ applyOnForward: true, ingress: [rule('Allow')] }), `${WEB} -> node:n1 1`],
    ['untracked traffic', gnp({ doNotTrack: true, ingress: [rule('Allow')] }), `${WEB} -> node:n1 1`],
  ])('%s: unknown, and found', (_, policy, text) => {
    const { answer: said, reasons } = evaluateConnection(clusterWith('calico', [policy]), connection(text));
    expect(said).toBe('unknown');
    expect(reasons[0]?.object).toBe(`${policy.kind} ${policy.kind === 'NetworkPolicy' ? 'shop/' : ''}p`);
    const inventory = inventoryOf({ ...CLUSTER, policies: [policy], cni: { name: 'calico' } });
    expect(checkPolicies(inventory).map(({ code }) => code)).toEqual(['SP344']);
  });

  it('leaves a doubt about whom it selects where accounts are asked for by label', () => {
    const policy = np({ serviceAccountSelector: "role == 'x'", ingress: [rule('Deny')] });
    const { answer: said, reasons } = evaluateConnection(clusterWith('calico', [policy]), connection(IN));
    expect(said).toBe('unknown');
    expect(reasons[0]?.text).toContain('labels of service accounts');
    expect(answer([np({ serviceAccountSelector: "role == 'x'", ingress: [rule('Allow')] })], IN)).toBe('allowed');
  });

  it('is not evaluated under another CNI', () => {
    expect(answerOf(clusterWith('cilium', [np({ ingress: [rule('Allow')] })]), IN)).toBe('unknown');
    const inventory = inventoryOf({ ...CLUSTER, policies: [np({})], cni: { name: 'calico' } });
    expect(checkPolicies(inventory)).toEqual([]);
  });
});

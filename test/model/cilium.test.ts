import { describe, expect, it } from 'vitest';
import { changedConnections } from '../../src/model/connectivity.ts';
import { checkPolicies, evaluateConnection, isIsolated } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, JOB, WEB, clusterWith } from '../support/policy-table.ts';
import type { InventorySketch } from '../support/world.ts';
import { answerOf, connection, inventoryOf, manifest, networkPolicy } from '../support/world.ts';

function cilium(name: string, spec: JsonObject): KubeManifest {
  const kind = name.includes('/') ? 'CiliumNetworkPolicy' : 'CiliumClusterwideNetworkPolicy';
  return manifest('cilium.io/v2', kind, name, spec);
}

const app = (name: string): JsonObject => ({ matchLabels: { app: name } });
const onDb = (rest: JsonObject): KubeManifest => cilium('shop/p', { endpointSelector: app('db'), ...rest });
const onWeb = (rest: JsonObject): KubeManifest => cilium('shop/p', { endpointSelector: app('web'), ...rest });
const tcp = (port: string, endPort?: number): JsonObject => ({
  ports: [{ port, protocol: 'TCP', ...(endPort === undefined ? {} : { endPort }) }],
});
const IN = `${WEB} -> ${DB} 5432`;
const FROM_JOB = `${JOB} -> ${DB} 5432`;
const OUT = `${WEB} -> ${DB} 5432`;

function answer(policies: KubeManifest | readonly KubeManifest[], text: string, sketch = {}): string {
  const list = Array.isArray(policies) ? (policies as readonly KubeManifest[]) : [policies as KubeManifest];
  return answerOf(clusterWith('cilium', list, sketch), text);
}

describe('an account', () => {
  const ACCOUNT = 'io.cilium.k8s.policy.serviceaccount';
  const runsAs = (account: string, labels: Readonly<Record<string, string>> = {}): InventorySketch => ({
    workloads: {
      ...CLUSTER.workloads,
      [WEB]: { labels: { app: 'web', ...labels }, account, ports: ['http=8080'], pods: ['10.0.1.1@n1'] },
    },
  });
  const from = (matchLabels: JsonObject): JsonObject => ({ fromEndpoints: [{ matchLabels }] });

  it.each<[string, KubeManifest, InventorySketch, string]>([
    ['is what the pod runs as', onDb({ ingress: [from({ [ACCOUNT]: 'web' })] }), runsAs('web'), 'allowed'],
    [
      'with the source of the label',
      onDb({ ingress: [from({ [`k8s:${ACCOUNT}`]: 'web' })] }),
      runsAs('web'),
      'allowed',
    ],
    ['and no other', onDb({ ingress: [from({ [ACCOUNT]: 'web' })] }), runsAs('other'), 'denied'],
    [
      'whatever the pod says of itself',
      onDb({ ingress: [from({ [ACCOUNT]: 'web' })] }),
      runsAs('other', { [ACCOUNT]: 'web' }),
      'denied',
    ],
    [
      'of its namespace',
      onDb({ ingress: [from({ [ACCOUNT]: 'web', 'k8s:io.kubernetes.pod.namespace': 'shop' })] }),
      runsAs('web'),
      'allowed',
    ],
    ['beside a label', onDb({ ingress: [from({ [ACCOUNT]: 'web', app: 'other' })] }), runsAs('web'), 'denied'],
    [
      'that is selected',
      cilium('shop/p', { endpointSelector: { matchLabels: { [ACCOUNT]: 'db' } }, ingress: [{}] }),
      runsAs('web'),
      'denied',
    ],
    [
      'that is denied goes before an allow',
      onDb({ ingress: [from({})], ingressDeny: [from({ [ACCOUNT]: 'web' })] }),
      runsAs('web'),
      'denied',
    ],
    [
      'by an expression',
      onDb({
        ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: ACCOUNT, operator: 'NotIn', values: ['web'] }] }] }],
      }),
      runsAs('web'),
      'denied',
    ],
  ])('%s', (_, policy, sketch, expected) => {
    expect(answer(policy, IN, sketch)).toBe(expected);
  });

  it('counts for all pairs at once as for one', () => {
    const policy = cilium('p', {
      endpointSelector: app('db'),
      ingress: [from({ [ACCOUNT]: 'web', 'io.kubernetes.pod.namespace': 'shop' }), from({ [ACCOUNT]: 'train' })],
    });
    const changed = changedConnections(
      clusterWith('cilium', [policy], runsAs('other')),
      clusterWith('cilium', [policy], runsAs('web')),
      {},
    );
    expect([...changed].map(({ src, dst }) => `${src} -> ${dst}`)).toEqual([`${WEB} -> ${DB}`]);
  });
});

describe('isolation by CiliumNetworkPolicy', () => {
  it.each<[string, KubeManifest, string, string]>([
    ['an empty rule isolates and admits nothing', onDb({ ingress: [{}] }), IN, 'denied'],
    ['an empty section is none', onDb({ ingress: [] }), IN, 'allowed'],
    ['so is null', onDb({ ingress: null, egress: null }), IN, 'allowed'],
    ['a section isolates its direction alone', onDb({ ingress: [{}] }), `${DB} -> ${WEB} 8080`, 'allowed'],
    ['an egress section isolates egress', onWeb({ egress: [{}] }), OUT, 'denied'],
    ['an empty egress section is none', onWeb({ egress: [] }), OUT, 'allowed'],
    ['pods that are not selected are left alone', onDb({ ingress: [{}] }), `${DB} -> ${WEB} 8080`, 'allowed'],
    [
      'an empty selector selects the namespace',
      cilium('shop/p', { endpointSelector: {}, ingress: [{}] }),
      IN,
      'denied',
    ],
    ['and no other', cilium('shop/p', { endpointSelector: {}, ingress: [{}] }), `${WEB} -> ${JOB} 80`, 'allowed'],
    [
      'enableDefaultDeny false admits without isolating',
      onDb({ enableDefaultDeny: { ingress: false }, ingress: [{ fromEndpoints: [app('x')] }] }),
      IN,
      'allowed',
    ],
    [
      'enableDefaultDeny of the other direction changes nothing',
      onDb({ enableDefaultDeny: { egress: false }, ingress: [{}] }),
      IN,
      'denied',
    ],
    [
      'enableDefaultDeny true is what a section does anyway',
      onDb({ enableDefaultDeny: { ingress: true }, ingress: [{}] }),
      IN,
      'denied',
    ],
    ['a direction isolated without rules', onDb({ enableDefaultDeny: { ingress: true }, ingress: [] }), IN, 'unknown'],
    [
      'a policy of the cluster selects in every namespace',
      cilium('p', { endpointSelector: {}, ingress: [{}] }),
      `${WEB} -> ${JOB} 80`,
      'denied',
    ],
    [
      'a policy of the cluster by the name of a namespace',
      cilium('p', {
        endpointSelector: { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'batch' } },
        ingress: [{}],
      }),
      IN,
      'allowed',
    ],
    [
      'a policy of the cluster but for some namespaces',
      cilium('p', {
        endpointSelector: {
          matchExpressions: [{ key: 'io.kubernetes.pod.namespace', operator: 'NotIn', values: ['batch'] }],
        },
        ingress: [{}],
      }),
      IN,
      'denied',
    ],
    [
      'a policy of the cluster by labels of the namespace',
      cilium('p', {
        endpointSelector: { matchLabels: { 'io.cilium.k8s.namespace.labels.team': 'ml' } },
        ingress: [{}],
      }),
      `${WEB} -> ${JOB} 80`,
      'denied',
    ],
    [
      'an expression selects',
      cilium('shop/p', {
        endpointSelector: { matchExpressions: [{ key: 'any:app', operator: 'NotIn', values: ['db'] }] },
        ingress: [{}],
      }),
      `${JOB} -> ${WEB} 8080`,
      'denied',
    ],
    [
      'several specs each act',
      {
        ...cilium('shop/p', {}),
        spec: null,
        specs: [
          { endpointSelector: app('web'), ingress: [{}] },
          { endpointSelector: app('db'), ingress: [{ fromEndpoints: [app('web')] }] },
        ],
      },
      IN,
      'allowed',
    ],
    [
      'and deny what none of them admits',
      {
        ...cilium('shop/p', {}),
        specs: [{ endpointSelector: app('db'), ingress: [{ fromEndpoints: [app('x')] }] }],
        spec: { endpointSelector: app('web'), ingress: [{}] },
      },
      IN,
      'denied',
    ],
  ])('%s', (_, policy, text, expected) => {
    expect(answer(policy, text)).toBe(expected);
  });

  it('adds up with NetworkPolicies', () => {
    const np = networkPolicy('shop/np', { podSelector: app('db'), ingress: [{ from: [{ podSelector: app('web') }] }] });
    const open = onDb({ enableDefaultDeny: { ingress: false }, ingress: [{ fromEntities: ['all'] }] });
    expect(answer([np, onDb({ ingress: [{}] })], IN)).toBe('allowed');
    expect(answer([np, onDb({ ingress: [{}] })], FROM_JOB)).toBe('denied');
    expect(answer([np, open], FROM_JOB)).toBe('allowed');
    expect(answer([np, open], IN)).toBe('allowed');
  });

  it('is known of each direction', () => {
    const world = clusterWith('cilium', [onDb({ ingress: [{}] })]);
    expect(isIsolated(world, DB, 'ingress')).toEqual({ isolated: 'yes', by: ['CiliumNetworkPolicy shop/p'] });
    expect(isIsolated(world, DB, 'egress').isolated).toBe('no');
  });

  it('is nothing where Cilium is told not to enforce policies', () => {
    const policies = [
      onDb({ ingress: [{}], ingressDeny: [{ fromEntities: ['all'] }] }),
      cilium('shop/q', { endpointSelector: app('db'), enableDefaultDeny: { ingress: false }, ingress: [{}] }),
    ];
    expect(answer(policies, IN)).toBe('denied');
    expect(answer(policies, IN, { cni: { name: 'cilium', enforces: 'no' } })).toBe('allowed');
  });

  it('leaves the policies of another CNI unread', () => {
    const policy = onDb({ ingress: [{ fromEndpoints: [app('web')] }] });
    expect(answerOf(clusterWith('calico', [policy]), IN)).toBe('unknown');
    expect(answerOf(clusterWith('cilium', [policy]), IN)).toBe('allowed');
  });
});

describe('peers and ports of CiliumNetworkPolicy', () => {
  const from = (rule: JsonObject): KubeManifest => onDb({ ingress: [rule] });
  const to = (rule: JsonObject): KubeManifest => onWeb({ egress: [rule] });
  it.each<[string, KubeManifest, string, string]>([
    ['endpoints of the own namespace', from({ fromEndpoints: [app('web')] }), IN, 'allowed'],
    ['are of that namespace alone', from({ fromEndpoints: [app('train')] }), FROM_JOB, 'denied'],
    ['an empty endpoint is the own namespace', from({ fromEndpoints: [{}] }), IN, 'allowed'],
    ['and no other', from({ fromEndpoints: [{}] }), FROM_JOB, 'denied'],
    [
      'an empty endpoint of a policy of the cluster is every pod',
      cilium('p', { endpointSelector: app('db'), ingress: [{ fromEndpoints: [{}] }] }),
      FROM_JOB,
      'allowed',
    ],
    [
      'which a node is not',
      cilium('p', { endpointSelector: app('db'), ingress: [{ fromEndpoints: [{}] }] }),
      `node:n3 -> ${DB} 5432`,
      'denied',
    ],
    [
      'endpoints of a namespace by name',
      from({ fromEndpoints: [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'batch', app: 'train' } }] }),
      FROM_JOB,
      'allowed',
    ],
    [
      'endpoints of namespaces by expression',
      from({
        fromEndpoints: [
          { matchExpressions: [{ key: 'k8s:io.kubernetes.pod.namespace', operator: 'In', values: ['x', 'batch'] }] },
        ],
      }),
      FROM_JOB,
      'allowed',
    ],
    [
      'endpoints of every namespace',
      from({ fromEndpoints: [{ matchExpressions: [{ key: 'io.kubernetes.pod.namespace', operator: 'Exists' }] }] }),
      FROM_JOB,
      'allowed',
    ],
    [
      'endpoints by labels of their namespace',
      from({ fromEndpoints: [{ matchLabels: { 'k8s:io.cilium.k8s.namespace.labels.team': 'ml' } }] }),
      FROM_JOB,
      'allowed',
    ],
    ['a list without endpoints selects nobody', from({ fromEndpoints: [] }), IN, 'denied'],
    ['entity all', from({ fromEntities: ['all'] }), `external:9.9.9.9 -> ${DB} 1`, 'allowed'],
    ['entity cluster is pods', from({ fromEntities: ['cluster'] }), FROM_JOB, 'allowed'],
    ['entity cluster is nodes', from({ fromEntities: ['cluster'] }), `${AGENT} -> ${DB} 1`, 'allowed'],
    ['entity cluster is not the world', from({ fromEntities: ['cluster'] }), `external:9.9.9.9 -> ${DB} 1`, 'denied'],
    ['entity world', from({ fromEntities: ['world'] }), `external:9.9.9.9 -> ${DB} 1`, 'allowed'],
    ['entity world is no pod', from({ fromEntities: ['world'] }), IN, 'denied'],
    ['an API server outside may be the world', to({ toEntities: ['world'] }), `${WEB} -> api-server 6443`, 'unknown'],
    ['entity kube-apiserver', to({ toEntities: ['kube-apiserver'] }), `${WEB} -> api-server 6443`, 'allowed'],
    ['entity kube-apiserver is no node', to({ toEntities: ['kube-apiserver'] }), `${WEB} -> node:n3 6443`, 'denied'],
    [
      'host and remote-node are every node',
      to({ toEntities: ['host', 'remote-node'] }),
      `${WEB} -> node:n3 1`,
      'allowed',
    ],
    ['host alone may be this node', to({ toEntities: ['host'] }), `${WEB} -> node:n3 1`, 'unknown'],
    ['entity none is nobody', from({ fromEntities: ['none'] }), IN, 'denied'],
    ['entity health is no pod', from({ fromEntities: ['health'] }), IN, 'denied'],
    ['a node may be where health comes from', from({ fromEntities: ['health'] }), `node:n3 -> ${DB} 4240`, 'unknown'],
    ['entity unmanaged is no known pod', from({ fromEntities: ['unmanaged', 'init', 'ingress'] }), IN, 'denied'],
    ['the own node is always let in', from({}), `node:n2 -> ${DB} 5432`, 'allowed'],
    ['another node is not', from({}), `node:n3 -> ${DB} 5432`, 'denied'],
    ['the own node is a destination like any other', to({}), `${WEB} -> node:n1 1`, 'denied'],
    ['a CIDR of the world', from({ fromCIDR: ['9.9.0.0/16'] }), `external:9.9.9.9 -> ${DB} 1`, 'allowed'],
    ['another address', from({ fromCIDR: ['9.9.0.0/16'] }), `external:9.8.9.9 -> ${DB} 1`, 'denied'],
    ['a CIDR matches no pod', from({ fromCIDR: ['0.0.0.0/0'] }), IN, 'denied'],
    [
      'a CIDR but for an exception',
      to({ toCIDRSet: [{ cidr: '9.0.0.0/8', except: ['9.9.0.0/16'] }] }),
      `${WEB} -> external:9.9.9.9 1`,
      'denied',
    ],
    [
      'and outside of it',
      to({ toCIDRSet: [{ cidr: '9.0.0.0/8', except: ['9.9.0.0/16'] }] }),
      `${WEB} -> external:9.1.9.9 1`,
      'allowed',
    ],
    ['a group of CIDRs', to({ toCIDRSet: [{ cidrGroupRef: 'g' }] }), `${WEB} -> external:9.1.9.9 1`, 'unknown'],
    ['a name', to({ toFQDNs: [{ matchName: 'a.test' }] }), `${WEB} -> external:a.test 443`, 'allowed'],
    ['another name', to({ toFQDNs: [{ matchName: 'a.test' }] }), `${WEB} -> external:b.test 443`, 'denied'],
    ['a pattern', to({ toFQDNs: [{ matchPattern: '*.test' }] }), `${WEB} -> external:a.test 443`, 'allowed'],
    [
      'an address without its name',
      to({ toFQDNs: [{ matchName: 'a.test' }] }),
      `${WEB} -> external:9.9.9.9 443`,
      'unknown',
    ],
    ['ports alone are ports of everyone', from({ toPorts: [tcp('5432')] }), FROM_JOB, 'allowed'],
    ['and no other port', from({ toPorts: [tcp('5432')] }), `${JOB} -> ${DB} 5433`, 'denied'],
    ['an empty list of ports is every port', from({ fromEndpoints: [app('web')], toPorts: [] }), IN, 'allowed'],
    ['a range of ports', from({ toPorts: [tcp('5000', 6000)] }), `${JOB} -> ${DB} 5432-5999`, 'allowed'],
    ['beyond the range', from({ toPorts: [tcp('5000', 6000)] }), `${JOB} -> ${DB} 5432-6001`, 'denied'],
    ['TCP is not UDP', from({ toPorts: [tcp('53')] }), `${JOB} -> ${DB} 53/UDP`, 'denied'],
    ['ANY is all three', from({ toPorts: [{ ports: [{ port: '53' }] }] }), `${JOB} -> ${DB} 53/UDP`, 'allowed'],
    ['a port by name', from({ toPorts: [tcp('sql')] }), IN, 'allowed'],
    ['the name of another port', from({ toPorts: [tcp('http')] }), IN, 'denied'],
    [
      'a DNS rule that takes every name',
      to({ toEndpoints: [app('db')], toPorts: [{ ports: [{ port: '53' }], rules: { dns: [{ matchPattern: '*' }] } }] }),
      `${WEB} -> ${DB} 53/UDP`,
      'allowed',
    ],
    [
      'a DNS rule that takes some',
      to({ toEndpoints: [app('db')], toPorts: [{ ports: [{ port: '53' }], rules: { dns: [{ matchName: 'a' }] } }] }),
      `${WEB} -> ${DB} 53/UDP`,
      'unknown',
    ],
    ['an HTTP rule', from({ toPorts: [{ ...tcp('5432'), rules: { http: [{ method: 'GET' }] } }] }), IN, 'unknown'],
    ['an HTTP rule on another port', from({ toPorts: [{ ...tcp('80'), rules: { http: [{}] } }] }), IN, 'denied'],
    [
      'an HTTP rule beside a port without one',
      from({ toPorts: [{ ...tcp('80'), rules: { http: [{}] } }, tcp('5432')] }),
      IN,
      'allowed',
    ],
    ['authentication', from({ fromEndpoints: [app('web')], authentication: { mode: 'required' } }), IN, 'unknown'],
    [
      'authentication of another peer',
      from({ fromEndpoints: [app('x')], authentication: { mode: 'required' } }),
      IN,
      'denied',
    ],
    ['Services as peers', to({ toServices: [{ k8sService: { serviceName: 'db' } }] }), OUT, 'unknown'],
    ['groups as peers, another port', to({ toGroups: [{}], toPorts: [tcp('80')] }), OUT, 'denied'],
    ['nodes by label as peers', from({ fromNodes: [{}] }), `node:n3 -> ${DB} 1`, 'unknown'],
    ['rules for ICMP admit no connection', from({ icmps: [{ fields: [{ type: 8 }] }] }), IN, 'denied'],
  ])('%s', (_, policy, text, expected) => {
    expect(answer(policy, text)).toBe(expected);
  });
});

describe('entities of Cilium', () => {
  const NEW = 'shop/Deployment/new';
  const sketch = { workloads: { ...CLUSTER.workloads, [NEW]: [] } };
  const onNode = { ...sketch, apiServer: ['192.168.0.3/32'] };
  // A pod, pods that are not known, the own node, another by name, any other, a host-network pod, the API server outside and on a
  // node, the world: y for allowed, n for denied, ? for unknown.
  const ends: readonly (readonly [string, object])[] = [
    [JOB, sketch],
    [NEW, sketch],
    ['node', sketch],
    ['node:n3', sketch],
    ['node:remote', sketch],
    [AGENT, sketch],
    ['api-server', sketch],
    ['api-server', onNode],
    ['external:9.9.9.9', sketch],
  ];
  const LETTERS: Readonly<Record<string, string>> = { allowed: 'y', denied: 'n', unknown: '?' };
  it.each<[readonly string[], string]>([
    [['all'], 'yyyyyyyyy'],
    [['none'], 'nnnnnnnnn'],
    [['cluster'], 'yyyyyyyyn'],
    [['world'], 'nnnnnn?ny'],
    [['kube-apiserver'], 'nnnnnnyyn'],
    [['host'], 'nny???n?n'],
    [['remote-node'], 'nnn???n?n'],
    [['host', 'remote-node'], 'nnyyyynyn'],
    [['health'], 'nn???nnnn'],
    [['ingress'], 'nn???nnnn'],
    [['init'], 'n?nnnnnnn'],
    [['unmanaged'], 'n?nnnnnnn'],
    [['world', 'cluster'], 'yyyyyyyyy'],
  ])('%j', (toEntities, expected) => {
    const policy = onWeb({ egress: [{ toEntities }] });
    const said = ends.map(([end, of]) => LETTERS[answer(policy, `${WEB} -> ${end} 1`, of)] ?? '');
    expect(said.join('')).toBe(expected);
  });

  // The identity is of the address: whatever runs on a node of the control plane has it, on any port.
  it.each<[string, object, string]>([
    ['node:n3', onNode, 'allowed'],
    ['node:n1', onNode, 'denied'],
    ['node', onNode, 'unknown'],
    ['node:remote', onNode, 'unknown'],
    ['node:remote', { ...sketch, apiServer: ['192.168.0.0/24'] }, 'allowed'],
    ['node:n3', { ...sketch, apiServer: [] }, 'unknown'],
    ['node:n9', onNode, 'unknown'],
  ])('kube-apiserver and %s where %j', (end, of, expected) => {
    const policy = onWeb({ egress: [{ toEntities: ['kube-apiserver'] }] });
    expect(answer(policy, `${WEB} -> ${end} 1`, of)).toBe(expected);
  });

  it('kube-apiserver admits calls from the node that it runs on, and from no other', () => {
    const policy = onWeb({ ingress: [{ fromEntities: ['kube-apiserver'] }] });
    expect(answer(policy, `node:n3 -> ${WEB} 1`, onNode)).toBe('allowed');
    expect(answer(policy, `node:n3 -> ${WEB} 1`, sketch)).toBe('denied');
  });
});

describe('deny rules of Cilium', () => {
  const admits = onDb({ ingress: [{ fromEntities: ['all'] }] });
  const denies = (rule: Json, more: JsonObject = {}): KubeManifest =>
    cilium('shop/d', { endpointSelector: app('db'), ingressDeny: [rule], ...more });
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['win over what is admitted', [admits, denies({ fromEndpoints: [app('web')] })], IN, 'denied'],
    ['leave others alone', [admits, denies({ fromEndpoints: [app('web')] })], FROM_JOB, 'allowed'],
    ['isolate like any section', [denies({ fromEndpoints: [app('web')] })], FROM_JOB, 'denied'],
    [
      'unless that is switched off',
      [denies({ fromEndpoints: [app('web')] }, { enableDefaultDeny: { ingress: false } })],
      FROM_JOB,
      'allowed',
    ],
    [
      'but still deny',
      [denies({ fromEndpoints: [app('web')] }, { enableDefaultDeny: { ingress: false } })],
      IN,
      'denied',
    ],
    ['by port', [admits, denies({ toPorts: [tcp('5432')] })], FROM_JOB, 'denied'],
    ['by another port', [admits, denies({ toPorts: [tcp('5433')] })], FROM_JOB, 'allowed'],
    [
      'a range is allowed only if all of it is',
      [admits, denies({ toPorts: [tcp('5433')] })],
      `${JOB} -> ${DB} 5432-5440`,
      'denied',
    ],
    ['a rule that says nothing', [admits, denies({})], IN, 'unknown'],
    ['by entity', [admits, denies({ fromEntities: ['world'] })], `external:9.9.9.9 -> ${DB} 1`, 'denied'],
    ['of a group that is not known', [admits, denies({ fromGroups: [{}] })], IN, 'unknown'],
    ['against the own node', [admits, denies({ fromEntities: ['host'] })], `node:n2 -> ${DB} 1`, 'unknown'],
    [
      'win over a NetworkPolicy',
      [networkPolicy('shop/np', { podSelector: {}, ingress: [{}] }), denies({ fromEndpoints: [app('web')] })],
      IN,
      'denied',
    ],
    [
      'of the cluster',
      [
        admits,
        cilium('d', {
          endpointSelector: app('db'),
          ingressDeny: [{ fromEndpoints: [{ matchLabels: { 'io.kubernetes.pod.namespace': 'batch' } }] }],
        }),
      ],
      FROM_JOB,
      'denied',
    ],
    [
      'of egress',
      [
        cilium('shop/d', {
          endpointSelector: app('web'),
          enableDefaultDeny: { egress: false },
          egressDeny: [{ toCIDR: ['9.0.0.0/8'] }],
        }),
      ],
      `${WEB} -> external:9.9.9.9 443`,
      'denied',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(answer(policies, text)).toBe(expected);
  });

  it('name the rule that denies, or what is in doubt', () => {
    const world = clusterWith('cilium', [admits, denies({ fromEndpoints: [app('web')] })]);
    expect(evaluateConnection(world, connection(IN)).reasons[0]).toEqual({
      layer: 'network-policy',
      direction: 'ingress',
      decision: 'denies',
      object: 'CiliumNetworkPolicy shop/d',
      rule: 0,
      field: 'spec.ingressDeny[0]',
      text: `spec.ingressDeny[0] of CiliumNetworkPolicy shop/d denies 5432/TCP from ${WEB} to ${DB}.`,
    });
    const http = clusterWith('cilium', [
      onDb({ ingress: [{ toPorts: [{ ...tcp('5432'), rules: { http: [{ method: 'GET' }] } }] }] }),
    ]);
    expect(evaluateConnection(http, connection(IN)).reasons[0]).toMatchObject({
      decision: 'unknown',
      object: 'CiliumNetworkPolicy shop/p',
      text: `Whether spec.ingress[0] of CiliumNetworkPolicy shop/p decides on 5432/TCP from ${WEB} to ${DB} cannot be told: what it says in toPorts.rules is not evaluated.`,
    });
  });
});

describe('what is not plain in a policy of Cilium', () => {
  it.each<[string, JsonObject]>([
    ['nodes', { nodeSelector: {}, ingress: [{}] }],
    [
      'two kinds of peers in a rule',
      { endpointSelector: {}, ingress: [{ fromEndpoints: [{}], fromCIDR: ['1.0.0.0/8'] }] },
    ],
    ['what every peer must be besides', { endpointSelector: {}, ingress: [{ fromRequires: [app('x')] }] }],
    ['an entity that is not known', { endpointSelector: {}, ingress: [{ fromEntities: ['sun'] }] }],
    ['a port that is none', { endpointSelector: {}, ingress: [{ toPorts: [tcp('70000')] }] }],
    ['every port by 0', { endpointSelector: {}, ingress: [{ toPorts: [tcp('0')] }] }],
    ['a reserved label', { endpointSelector: { matchLabels: { 'reserved:host': '' } }, ingress: [{}] }],
    [
      'a label that is no part of identities',
      { endpointSelector: { matchLabels: { 'pod-template-hash': 'x' } }, ingress: [{}] },
    ],
    ['a field that is not known', { endpointSelector: {}, ingress: [{}], surprise: true }],
    [
      'another namespace than its own',
      { endpointSelector: { matchLabels: { 'io.kubernetes.pod.namespace': 'x' } }, ingress: [{}] },
    ],
    ['ICMP beside ports', { endpointSelector: {}, ingress: [{ icmps: [{}], toPorts: [tcp('1')] }] }],
  ])('%s: unknown, and found', (_, spec) => {
    const policy = cilium('shop/p', spec);
    const world = clusterWith('cilium', [policy]);
    const text = spec['nodeSelector'] === undefined ? IN : `${IN.split(' ')[0]} -> ${AGENT} 1`;
    const selectsUnread = evaluateConnection(world, connection(text));
    const inventory = inventoryOf({ ...CLUSTER, policies: [policy], cni: { name: 'cilium' } });
    expect(checkPolicies(inventory).map(({ code, subject }) => [code, subject])).toEqual([
      ['SP344', 'CiliumNetworkPolicy shop/p'],
    ]);
    expect(selectsUnread.answer).toBe('unknown');
    expect(selectsUnread.reasons[0]?.object).toBe('CiliumNetworkPolicy shop/p');
  });

  it('finds nothing in what it evaluates', () => {
    const inventory = inventoryOf({
      ...CLUSTER,
      policies: [onDb({ ingress: [{}], ingressDeny: [{ fromEntities: ['world'] }] })],
      cni: { name: 'cilium' },
    });
    expect(checkPolicies(inventory)).toEqual([]);
  });
});

describe('an ipBlock under Cilium', () => {
  const policy = networkPolicy('shop/p', {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [{ to: [{ ipBlock: { cidr: '192.168.0.0/16' } }] }],
  });

  it.each([
    ['is not for an API server on nodes of the cluster', ['192.168.0.1/32'], 'denied'],
    // Some versions give it the labels of its address, others do not.
    ['may be for one outside', ['192.168.0.100/32'], 'unknown'],
    ['is not for one outside at another address', ['10.9.9.9/32'], 'denied'],
  ] as const)('%s', (_title, apiServer, answer) => {
    const nodes = { n1: ['192.168.0.1'], n2: ['192.168.0.2'] };
    const world = clusterWith('cilium', [policy], { apiServer, nodes });
    expect(answerOf(world, `${DB} -> api-server 443`)).toBe(answer);
  });
});

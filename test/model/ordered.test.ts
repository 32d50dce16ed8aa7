import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, JOB, WEB, clusterWith } from '../support/policy-table.ts';
import type { InventorySketch } from '../support/world.ts';
import { answerOf, manifest, networkPolicy } from '../support/world.ts';

const LETTERS: Readonly<Record<string, string>> = { allowed: 'y', denied: 'n', unknown: '?' };
const SHOP = { namespaces: { matchLabels: { team: 'shop' } } };
const PERHAPS = { matchLabels: { 'pod-template-hash': 'x' } };

/** `Deny 3-4`, `Pass 1-5/UDP`, `Allow sql`, `Deny ?3-4` (of peers of which some pods may be one). */
function rule(text: string): JsonObject {
  const [, action = '', some, first = '', last, name, protocol = 'TCP'] =
    /^(\w+) (\?)?(?:(\d+)(?:-(\d+))?|([a-z]+))?(?:\/(\w+))?$/u.exec(text) ?? [];
  const port =
    name !== undefined
      ? [{ namedPort: name }]
      : first === ''
        ? undefined
        : [
            last === undefined
              ? { portNumber: { protocol, port: Number(first) } }
              : { portRange: { protocol, start: Number(first), end: Number(last) } },
          ];
  const peer = some === undefined ? { namespaces: {} } : { pods: { namespaceSelector: {}, podSelector: PERHAPS } };
  return { action, from: [peer], ...(port === undefined ? {} : { ports: port }) };
}

function admin(...rules: readonly string[]): KubeManifest {
  const spec = { priority: 1, subject: SHOP, ingress: rules.map(rule) };
  return manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', 'a', spec);
}

function plain(...ports: readonly (readonly [number, number])[]): KubeManifest {
  const ingress = ports.map(([port, endPort]) => ({ ports: [{ port, endPort }] }));
  return networkPolicy('shop/np', { podSelector: { matchLabels: { app: 'db' } }, ingress });
}

describe('ranges of ports under policies with an order', () => {
  const asked = ['1', '3', '4', '5', '9', '1-2', '1-3', '3-4', '2-5', '5-9', '1-9'];
  it.each<[string, readonly KubeManifest[], string]>([
    //                                                    1 3 4 5 9, then the ranges 1-2 1-3 3-4 2-5 5-9 1-9
    ['Deny 3-4', [admin('Deny 3-4')], 'ynnyyynnnyn'],
    ['Deny 3-4 of UDP', [admin('Deny 3-4/UDP')], 'yyyyyyyyyyy'],
    ['Allow 3-4, Deny all', [admin('Allow 3-4', 'Deny ')], 'nyynnnnynnn'],
    ['Allow 1-3, Allow 4-9, Deny all', [admin('Allow 1-3', 'Allow 4-9', 'Deny ')], 'yyyyyyyyyyy'],
    ['Deny 3-4 before a policy that admits', [admin('Deny 3-4'), plain([1, 9])], 'ynnyyynnnyn'],
    ['Allow 1-4 before a policy that admits the rest', [admin('Allow 1-4'), plain([5, 9])], 'yyyyyyyyyyy'],
    ['Allow 1-3 before a policy that leaves 4 out', [admin('Allow 1-3'), plain([5, 9])], 'yynyyyynnyn'],
    ['Pass 1-4, Deny all, before a policy', [admin('Pass 1-4', 'Deny '), plain([1, 3])], 'yynnnyynnnn'],
    ['perhaps Deny 3-4', [admin('Deny ?3-4')], 'y??yyy???y?'],
    ['perhaps Deny 3-4, surely Deny 4', [admin('Deny ?3-4', 'Deny 4')], 'y?nyyy?nnyn'],
    ['perhaps Allow 3-4 before a policy', [admin('Allow ?3-4'), plain([4, 5])], 'n?yynnn?nnn'],
    ['perhaps Pass 3-4, Deny 3-4', [admin('Pass ?3-4', 'Deny 3-4')], 'y??yyy???y?'],
    ['nothing of an admin policy', [admin(), plain([3, 4])], 'nyynnnnynnn'],
  ])('%s', (_, policies, expected) => {
    const world = clusterWith('ovn-kubernetes', policies);
    const said = asked.map((ports) => LETTERS[answerOf(world, `${WEB} -> ${DB} ${ports}`)] ?? '');
    expect(said.join('')).toBe(expected);
  });

  it.each([
    ['5431', 'denied'],
    ['5432', 'allowed'],
    ['5433', 'denied'],
    ['5431-5432', 'denied'],
    ['5432-5433', 'denied'],
    ['5431-5433', 'denied'],
  ])('a name stands for its port: %s is %s', (ports, expected) => {
    const world = clusterWith('ovn-kubernetes', [admin('Allow sql', 'Deny ')]);
    expect(answerOf(world, `${WEB} -> ${DB} ${ports}`)).toBe(expected);
  });

  it('cuts by the ports of the destination', () => {
    const out = manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', 'a', {
      priority: 1,
      subject: SHOP,
      egress: [
        { action: 'Allow', to: [{ namespaces: {} }], ports: [{ namedPort: 'sql' }] },
        { action: 'Allow', to: [{ namespaces: {} }], ports: [{ portNumber: { protocol: 'TCP', port: 5433 } }] },
        { action: 'Deny', to: [{ namespaces: {} }] },
      ],
    });
    const world = clusterWith('ovn-kubernetes', [out]);
    expect(answerOf(world, `${WEB} -> ${DB} 5432-5433`)).toBe('allowed');
    expect(answerOf(world, `${DB} -> ${WEB} 5432-5433`)).toBe('denied');
    expect(answerOf(world, `${WEB} -> ${DB} 5431-5433`)).toBe('denied');
  });
});

describe('addresses under policies with an order', () => {
  const out = (...rules: readonly Json[]): KubeManifest =>
    manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', 'a', {
      priority: 1,
      subject: SHOP,
      egress: rules,
    });
  const nets = (action: string, ...networks: readonly string[]): JsonObject => ({ action, to: [{ networks }] });
  const jobs = (...pods: readonly string[]): InventorySketch => ({
    workloads: { ...CLUSTER.workloads, [JOB]: { labels: { app: 'train' }, pods } },
  });
  it.each<[string, KubeManifest, string, InventorySketch, string]>([
    ['of one pod', out(nets('Deny', '10.0.2.1/32')), JOB, {}, 'denied'],
    ['of another', out(nets('Deny', '10.0.2.2/32')), JOB, {}, 'allowed'],
    ['of some pod', out(nets('Deny', '10.0.2.2/32')), JOB, jobs('10.0.2.1@n1', '10.0.2.2@n1'), 'denied'],
    ['of one family of a pod', out(nets('Deny', '10.0.2.1/32')), JOB, jobs('10.0.2.1,fd00::1@n1'), 'unknown'],
    [
      'of one family of a pod, denied for another',
      out(nets('Deny', '10.0.2.1/32', '10.0.2.2/32')),
      JOB,
      jobs('10.0.2.1,fd00::1@n1', '10.0.2.2@n1'),
      'denied',
    ],
    ['of both', out(nets('Deny', '10.0.2.1/32', 'fd00::/8')), JOB, jobs('10.0.2.1,fd00::1@n1'), 'denied'],
    ['of a pod that has none yet', out(nets('Deny', '10.0.2.1/32')), JOB, jobs('@n1'), 'unknown'],
    ['of a name', out(nets('Deny', '9.0.0.0/8')), 'external:a.test', {}, 'unknown'],
    ['of a name that may be anywhere', out(nets('Deny', '0.0.0.0/0')), 'external:a.test', {}, 'denied'],
    ['of a node', out(nets('Deny', '192.168.0.3/32')), 'node:n3', {}, 'denied'],
    ['of an API server', out(nets('Deny', '192.168.0.100/32')), 'api-server', {}, 'denied'],
    ['of an endpoint that is not known', out(nets('Deny', '0.0.0.0/0')), 'unknown', {}, 'unknown'],
  ])('%s', (_, policy, dst, sketch, expected) => {
    expect(answerOf(clusterWith('ovn-kubernetes', [policy], sketch), `${WEB} -> ${dst} 1`)).toBe(expected);
  });

  it('are compared by Calico whatever an ipBlock of Kubernetes matches', () => {
    const policy = manifest('projectcalico.org/v3', 'NetworkPolicy', 'shop/c', {
      selector: "app == 'db'",
      ingress: [{ action: 'Allow', source: { nets: ['10.0.1.1/32'] } }],
    });
    for (const matches of [[], ['pods']] as const) {
      const world = clusterWith('calico', [admin('Deny 9'), policy], {
        cni: { name: 'calico', ipBlockMatches: matches },
      });
      expect(answerOf(world, `${WEB} -> ${DB} 1`)).toBe('allowed');
      expect(answerOf(world, `${JOB} -> ${DB} 1`)).toBe('denied');
    }
  });
});

describe('rules of Calico with and without addresses', () => {
  const calico = (name: string, ...ingress: readonly JsonObject[]): KubeManifest =>
    manifest('projectcalico.org/v3', 'NetworkPolicy', `shop/${name}`, { selector: "app == 'db'", ingress });
  const nets = (net: string): JsonObject => ({ action: 'Allow', source: { nets: [net] } });
  const udp = { action: 'Allow', protocol: 'UDP' };
  it.each<[string, readonly KubeManifest[]]>([
    ['in one policy', [calico('a', nets('9.0.0.0/8'), udp)]],
    ['the other way round', [calico('a', udp, nets('9.0.0.0/8'))]],
    ['in two policies', [calico('a', udp), calico('b', nets('9.0.0.0/8'))]],
    ['in one beside a NetworkPolicy', [calico('a', udp, nets('9.0.0.0/8')), plain()]],
  ])('%s', (_, policies) => {
    const world = clusterWith('calico', policies);
    expect(answerOf(world, `external:9.9.9.9 -> ${DB} 1`)).toBe('allowed');
    expect(answerOf(world, `external:8.8.8.8 -> ${DB} 1`)).toBe('denied');
  });

  it('are compared with the address of the node of a host-network pod', () => {
    const workloads = { ...CLUSTER.workloads, [AGENT]: { hostNetwork: true, pods: ['@n3'] } };
    const world = clusterWith('calico', [calico('a', nets('192.168.0.3/32'))], { workloads });
    expect(answerOf(world, `${AGENT} -> ${DB} 1`)).toBe('allowed');
  });
});

describe('the own node under policies with an order', () => {
  const cilium = (spec: JsonObject): KubeManifest =>
    manifest('cilium.io/v2', 'CiliumNetworkPolicy', 'shop/c', { endpointSelector: {}, ...spec });
  const calico = (spec: JsonObject): KubeManifest => manifest('projectcalico.org/v3', 'GlobalNetworkPolicy', 'g', spec);
  const both: InventorySketch = {
    workloads: { ...CLUSTER.workloads, [DB]: { labels: { app: 'db' }, pods: ['10.0.1.2@n1', '10.0.1.3@n2'] } },
  };
  const NOBODY = networkPolicy('shop/np', { policyTypes: ['Ingress', 'Egress'] });
  const denyWorld = cilium({ egressDeny: [{ toEntities: ['world'] }] });
  const denyWeb = admin('Deny ');
  it.each<[string, string, readonly KubeManifest[], string, InventorySketch, string]>([
    ['Cilium: from it, denied', 'cilium', [cilium({ ingressDeny: [{}] })], `node -> ${DB} 1`, {}, 'unknown'],
    [
      'Cilium: from it, isolated',
      'cilium',
      [cilium({ ingressDeny: [{ fromEntities: ['world'] }] })],
      `node -> ${DB} 1`,
      {},
      'allowed',
    ],
    ['Cilium: to it, isolated', 'cilium', [denyWorld], `${DB} -> node 1`, {}, 'denied'],
    ['Cilium: to it, admitted', 'cilium', [denyWorld, cilium({ egress: [{ toEntities: ['host'] }] })], `${DB} -> node 1`, {}, 'allowed'], // prettier-ignore
    ['Calico: from it', 'calico', [calico({})], `node -> ${DB} 1`, {}, 'allowed'],
    ['Calico: to it', 'calico', [calico({ types: ['Egress'] })], `${DB} -> node 1`, {}, 'unknown'],
    ['Calico: from what may be it', 'calico', [calico({})], `node:n1 -> ${DB} 1`, both, 'unknown'],
    [
      'Calico: from what may be it, admitted before it is denied',
      'calico',
      [calico({ order: 1001, ingress: [{ action: 'Deny' }] }), networkPolicy('shop/np', { ingress: [{}] })],
      `node:n1 -> ${DB} 1`,
      both,
      'allowed',
    ],
    ['Calico: from another', 'calico', [calico({})], `node:n3 -> ${DB} 1`, both, 'denied'],
    ['admin: from it', 'ovn-kubernetes', [denyWeb], `node -> ${DB} 1`, {}, 'allowed'],
    ['admin: from it under a NetworkPolicy', 'ovn-kubernetes', [denyWeb, NOBODY], `node -> ${DB} 1`, {}, 'allowed'],
    ['admin: from what may be it', 'ovn-kubernetes', [denyWeb, NOBODY], `node:n1 -> ${DB} 1`, both, 'unknown'],
    ['admin: from another', 'ovn-kubernetes', [denyWeb, NOBODY], `node:n3 -> ${DB} 1`, both, 'denied'],
    ['admin: from what is not known', 'ovn-kubernetes', [denyWeb, NOBODY], `unknown -> ${DB} 1`, both, 'unknown'],
  ])('%s', (_, cni, policies, text, sketch, expected) => {
    expect(answerOf(clusterWith(cni, policies, sketch), text)).toBe(expected);
  });
});

describe('policies that only may select the pods, among those with an order', () => {
  const may = (...ports: readonly (readonly [number, number])[]): KubeManifest =>
    networkPolicy('shop/np', {
      podSelector: PERHAPS,
      ingress: ports.map(([port, endPort]) => ({ ports: [{ port, endPort }] })),
    });
  const end = manifest('projectcalico.org/v3', 'NetworkPolicy', 'shop/c', { selector: "app == 'db'" });
  const baseline = manifest('policy.networking.k8s.io/v1alpha1', 'BaselineAdminNetworkPolicy', 'default', {
    subject: SHOP,
    ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
  });
  it.each<[string, string, readonly KubeManifest[], string]>([
    // Ports 1, 5, 1-3, 1-9.
    ['nothing, and the end of a tier', 'calico', [may(), end], 'nnnn'],
    ['1-4, and the end of a tier', 'calico', [may([1, 4]), end], '?n?n'],
    ['nothing, and a baseline', 'ovn-kubernetes', [may(), baseline], 'nnnn'],
    ['1-4, and a baseline', 'ovn-kubernetes', [may([1, 4]), baseline], '?n?n'],
    ['1-4, and nothing of an admin policy', 'ovn-kubernetes', [may([1, 4]), admin()], 'y?y?'],
  ])('%s', (_, cni, policies, expected) => {
    const world = clusterWith(cni, policies);
    const said = ['1', '5', '1-3', '1-9'].map((ports) => LETTERS[answerOf(world, `${WEB} -> ${DB} ${ports}`)] ?? '');
    expect(said.join('')).toBe(expected);
  });
});

describe('a destination that is not known', () => {
  const antrea = manifest('crd.antrea.io/v1beta1', 'NetworkPolicy', 'shop/f', {});
  it.each<[string, readonly KubeManifest[], 'yes' | 'no', string]>([
    ['where something isolates', [plain()], 'yes', 'unknown'],
    ['where nothing isolates', [], 'yes', 'allowed'],
    ['where NetworkPolicies are not enforced', [plain()], 'no', 'allowed'],
    ['where they are not, and a kind is not evaluated', [plain(), antrea], 'no', 'unknown'],
    ['where they are not, and an admin policy acts', [plain(), admin('Deny ')], 'no', 'unknown'],
    ['where they are not, and both are there', [plain(), admin('Deny '), antrea], 'no', 'unknown'],
  ])('%s', (_, policies, enforces, expected) => {
    const world = clusterWith('x', policies, { cni: { enforces } });
    expect(answerOf(world, `${JOB} -> unknown 1`)).toBe(expected);
  });
});

describe('where nothing is enforced', () => {
  it.each<[string, string, readonly KubeManifest[], string]>([
    ['Calico', 'calico', [manifest('projectcalico.org/v3', 'GlobalNetworkPolicy', 'g', {})], 'allowed'],
    ['an admin policy', 'x', [admin('Deny ')], 'unknown'],
    ['an admin policy beside a NetworkPolicy', 'x', [admin('Allow '), plain()], 'allowed'],
  ])('%s', (_, name, policies, expected) => {
    const world = clusterWith(name, policies, { cni: { name, enforces: 'no' } });
    expect(answerOf(world, `${WEB} -> ${DB} 1`)).toBe(expected);
  });
});

import { describe, expect, it } from 'vitest';
import type { KubeManifest } from '../../src/model/object.ts';
import type { JsonObject } from '../../src/shared/pure/json.ts';
import { AGENT, CLUSTER, DB, JOB, WEB, clusterWith } from '../support/policy-table.ts';
import type { InventorySketch } from '../support/world.ts';
import { answerOf, inventoryOf, networkPolicy } from '../support/world.ts';
import { compileWorld } from '../../src/model/evaluate.ts';

const LETTERS: Readonly<Record<string, string>> = { allowed: 'y', denied: 'n', unknown: '?' };

/** `1-5` as ports of a rule. */
function portsOf(text: string): JsonObject {
  if (text === '') return {};
  const [first = '', last] = text.split('-');
  return { ports: [{ port: Number(first), ...(last === undefined ? {} : { endPort: Number(last) }) }] };
}

// Rules of policies that select the database surely, or perhaps; `?1-5` names a peer of which some pods may be.
const SURELY: JsonObject = { matchLabels: { app: 'db' } };
const PERHAPS: JsonObject = { matchLabels: { 'pod-template-hash': 'x' } };
function rule(text: string): JsonObject {
  return text.startsWith('?')
    ? { ...portsOf(text.slice(1)), from: [{ podSelector: PERHAPS }] }
    : { ...portsOf(text), from: [{ podSelector: {} }] };
}
const surely = (...rules: readonly string[]): JsonObject => ({ podSelector: SURELY, ingress: rules.map(rule) });
const perhaps = (...rules: readonly string[]): JsonObject => ({ podSelector: PERHAPS, ingress: rules.map(rule) });
const invalid = (...rules: readonly string[]): JsonObject => ({ ...surely(...rules), x: 1 });
const perhapsInvalid = (...rules: readonly string[]): JsonObject => ({ ...perhaps(...rules), x: 1 });

describe('policies add up, port by port', () => {
  const asked = ['1', '5', '6', '9', '10', '1-5', '2-4', '5-6', '6-9', '1-9', '9-10', '1-10'];
  it.each<[string, readonly JsonObject[], string]>([
    //                                                  1 5 6 9 10, then the ranges 1-5 2-4 5-6 6-9 1-9 9-10 1-10
    ['none', [], 'yyyyyyyyyyyy'],
    ['nothing', [surely()], 'nnnnnnnnnnnn'],
    ['1-5', [surely('1-5')], 'yynnnyynnnnn'],
    ['1-5 in two rules that overlap', [surely('1-3', '2-5')], 'yynnnyynnnnn'],
    ['1-5 and 6-9 of two policies', [surely('1-5'), surely('6-9')], 'yyyynyyyyynn'],
    ['1-5 and 7-9', [surely('1-5', '7-9')], 'yynynyynnnnn'],
    ['all', [surely('')], 'yyyyyyyyyyyy'],
    ['nothing, perhaps', [perhaps()], '????????????'],
    ['all, perhaps', [perhaps('')], 'yyyyyyyyyyyy'],
    ['1-5, perhaps', [perhaps('1-5')], 'yy???yy?????'],
    ['1-5 and all, both perhaps', [perhaps('1-5'), perhaps('')], 'yy???yy?????'],
    ['1-5 and 5-9, both perhaps', [perhaps('1-5'), perhaps('5-9')], '?y??????????'],
    ['1-5, and 6-9 perhaps', [surely('1-5'), perhaps('6-9')], 'yy??nyy???nn'],
    ['1-5, and nothing perhaps', [surely('1-5'), perhaps()], 'yynnnyynnnnn'],
    ['nothing, and all perhaps', [surely(), perhaps('')], '????????????'],
    ['1-5 of some', [surely('?1-5')], '??nnn??nnnnn'],
    ['1-5 of some, 6-9 of all', [surely('?1-5', '6-9')], '??yyn???y?nn'],
    ['1-5 of some, 3-9 of all', [surely('?1-5', '3-9')], '?yyyn??yy?nn'],
    ['1-5 of some, perhaps', [perhaps('?1-5')], '????????????'],
    ['1-5 of some, perhaps, beside nothing', [surely(), perhaps('?1-5')], '??nnn??nnnnn'],
    ['what is not valid', [invalid()], '????????????'],
    ['1-5, not valid', [invalid('1-5')], '????????????'],
    ['1-5 beside what is not valid', [surely('1-5'), invalid()], 'yy???yy?????'],
    ['1-5, and what is not valid perhaps', [surely('1-5'), perhapsInvalid()], 'yy???yy?????'],
    ['all, not valid, perhaps', [perhapsInvalid('')], '????????????'],
    ['all perhaps beside what is not valid', [perhaps(''), perhapsInvalid('')], '????????????'],
  ])('%s', (_, specs, expected) => {
    const policies = specs.map((spec, index) => networkPolicy(`shop/p${index}`, spec));
    const world = clusterWith('x', policies);
    const said = asked.map((ports) => LETTERS[answerOf(world, `${WEB} -> ${DB} ${ports}`)] ?? '');
    expect(said.join('')).toBe(expected);
  });
});

describe('rules with and without addresses', () => {
  const block = { ipBlock: { cidr: '9.0.0.0/8' } };
  const pods = { podSelector: {} };
  const np = (...ingress: readonly JsonObject[]): JsonObject => ({ podSelector: SURELY, ingress });
  it.each<[string, readonly JsonObject[]]>([
    ['in one list of peers', [np({ from: [block, pods] })]],
    ['the other way round', [np({ from: [pods, block] })]],
    ['in two rules', [np({ from: [block] }, { from: [pods] })]],
    ['in two rules, one for all', [np({ from: [block] }, { ports: [{ port: 9 }] })]],
    ['in two policies', [np({ from: [block] }), np({ from: [pods] })]],
    ['the last of two policies', [np({ from: [pods] }), np({ from: [block] })]],
  ])('%s', (_, specs) => {
    const policies = specs.map((spec, index) => networkPolicy(`shop/p${index}`, spec));
    const world = clusterWith('x', policies);
    expect(answerOf(world, `external:9.9.9.9 -> ${DB} 1`)).toBe('allowed');
    expect(answerOf(world, `external:8.8.8.8 -> ${DB} 1`)).toBe('denied');
  });

  it('are compared with the address of the node of a host-network pod', () => {
    const policies = [networkPolicy('shop/p', np({ from: [{ ipBlock: { cidr: '192.168.0.3/32' } }] }))];
    const workloads = { ...CLUSTER.workloads, [AGENT]: { hostNetwork: true, pods: ['@n3'] } };
    const world = clusterWith('x', policies, { workloads, cni: { ipBlockMatches: ['nodes'] } });
    expect(answerOf(world, `${AGENT} -> ${DB} 1`)).toBe('allowed');
  });
});

describe('who listens', () => {
  const TF = 'shop/PyTorchJob/t';
  const sets = (...ports: readonly (readonly string[])[]): InventorySketch => ({
    workloads: {
      ...CLUSTER.workloads,
      [TF]: ports.map((list, index) => ({ role: `r${index}`, labels: { role: `r${index}` }, ports: list })),
    },
  });
  // The second pod set takes nothing.
  const policies = [networkPolicy('shop/p', { podSelector: { matchLabels: { role: 'r1' } } })];
  it.each<[string, InventorySketch, string, string]>([
    ['both where neither declares the port', sets([], []), '80', 'denied'],
    ['the one that declares it', sets(['80'], []), '80', 'allowed'],
    ['the other', sets([], ['80']), '80', 'denied'],
    ['both where both do', sets(['80'], ['80']), '80', 'denied'],
    ['both at another port', sets(['80'], []), '81', 'denied'],
    ['both at another protocol', sets(['80/UDP'], []), '80', 'denied'],
    ['the one that declares it of UDP', sets(['80/UDP'], []), '80/UDP', 'allowed'],
    ['the one that declares the first of a range', sets(['80'], []), '80-90', 'allowed'],
    ['the one that declares the last of a range', sets(['90'], []), '80-90', 'allowed'],
    ['both where the range ends before', sets(['91'], []), '80-90', 'denied'],
    ['both where the range begins after', sets(['79'], []), '80-90', 'denied'],
  ])('%s', (_, sketch, port, expected) => {
    expect(answerOf(clusterWith('x', policies, sketch), `${WEB} -> ${TF} ${port}`)).toBe(expected);
  });

  it('is not asked of the one that connects', () => {
    const out = [networkPolicy('shop/p', { podSelector: { matchLabels: { role: 'r1' } }, policyTypes: ['Egress'] })];
    expect(answerOf(clusterWith('x', out, sets(['80'], [])), `${TF} -> ${WEB} 80`)).toBe('denied');
  });
});

describe('the own node of pods on several nodes', () => {
  const closed = (spec: JsonObject = {}): readonly KubeManifest[] => [
    networkPolicy('shop/p', { podSelector: SURELY, policyTypes: ['Ingress', 'Egress'], ...spec }),
  ];
  const two: InventorySketch = {
    workloads: {
      ...CLUSTER.workloads,
      [DB]: { labels: { app: 'db' }, pods: ['10.0.1.2@n1', '10.0.1.3@n2'], probes: [9000] },
      [AGENT]: { hostNetwork: true, pods: ['192.168.0.1@n1'] },
    },
  };
  const withInit: InventorySketch = {
    workloads: {
      ...CLUSTER.workloads,
      [DB]: { labels: { app: 'db' }, pods: ['10.0.1.2@n1', '10.0.1.3@n2'], probes: [9000], initPorts: [1] },
    },
  };
  const agents = (...pods: readonly string[]): InventorySketch => ({
    workloads: { ...CLUSTER.workloads, [AGENT]: { hostNetwork: true, pods } },
  });
  it.each<[string, string, InventorySketch, string]>([
    ['the kubelet at a probe port', `node:n1 -> ${DB} 9000`, two, 'allowed'],
    ['the kubelet at a probe port of one container', `node:n1 -> ${DB} 9000`, withInit, 'allowed'],
    ['at another port', `node:n1 -> ${DB} 9001`, two, 'unknown'],
    ['at a range of ports', `node:n1 -> ${DB} 9000-9000`, two, 'unknown'],
    ['a host-network pod is no kubelet', `${AGENT} -> ${DB} 9000`, two, 'unknown'],
    ['an API server is none', `api-server -> ${DB} 9000`, { ...two, apiServer: ['192.168.0.1/32'] }, 'unknown'],
    ['a node that is connected to is none', `${DB} -> node:n1 9000`, two, 'unknown'],
    ['another node', `node:n3 -> ${DB} 9000`, two, 'denied'],
    ['any other node', `node:remote -> ${DB} 9000`, two, 'denied'],
    ['any other node as destination', `${DB} -> node:remote 9000`, two, 'denied'],
    ['the node of each', `node -> ${DB} 1`, two, 'allowed'],
    ['a host-network pod on the one node', `${AGENT} -> ${DB} 1`, agents('192.168.0.2@n2'), 'allowed'],
    ['on another', `${AGENT} -> ${DB} 1`, agents('192.168.0.1@n1'), 'denied'],
    ['on that and another', `${AGENT} -> ${DB} 1`, agents('192.168.0.1@n1', '192.168.0.2@n2'), 'unknown'],
    ['on a node that is not known', `${AGENT} -> ${DB} 1`, agents('192.168.0.9'), 'unknown'],
    ['without pods', `${AGENT} -> ${DB} 1`, agents(), 'unknown'],
    ['an API server that runs on no node', `api-server -> ${DB} 1`, {}, 'denied'],
    ['a cluster of one node', `node:n1 -> ${DB} 1`, { nodes: { n1: ['192.168.0.1'] } }, 'allowed'],
    ['and no other', `node:remote -> ${DB} 1`, { nodes: { n1: ['192.168.0.1'] } }, 'denied'],
    ['an address outside is no node', `external:192.168.0.2 -> ${DB} 1`, {}, 'denied'],
  ])('%s', (_, text, sketch, expected) => {
    expect(answerOf(clusterWith('x', closed(), sketch), text)).toBe(expected);
  });
});

describe('names of ports', () => {
  const named = (name: string, protocol = 'TCP'): readonly KubeManifest[] => [
    networkPolicy('shop/p', { podSelector: SURELY, ingress: [{ ports: [{ port: name, protocol }] }] }),
  ];
  const db = (sketch: object): InventorySketch => ({
    workloads: { ...CLUSTER.workloads, [DB]: { labels: { app: 'db' }, ...sketch } },
  });
  it.each<[string, readonly KubeManifest[], InventorySketch, string, string]>([
    ['of a container', named('sql'), db({ ports: ['sql=5432'] }), '5432', 'allowed'],
    ['of another protocol', named('sql', 'UDP'), db({ ports: ['sql=5432'] }), '5432/UDP', 'denied'],
    ['of two containers', named('sql'), db({ ports: ['sql=5432', 'sql=5433'] }), '5433', 'allowed'],
    ['of a range of two', named('sql'), db({ ports: ['sql=5432', 'sql=5433'] }), '5432-5433', 'allowed'],
    ['of an init container', named('sql'), db({ initPorts: ['sql=5432'] }), '5432', 'unknown'],
    ['of an init container, at another port', named('sql'), db({ initPorts: ['sql=5432'] }), '5433', 'denied'],
    ['of an init container, of another protocol', named('sql'), db({ initPorts: ['sql=5432/UDP'] }), '5432', 'denied'],
    [
      'of a container before an init container',
      named('sql'),
      db({ ports: ['sql=5432'], initPorts: ['sql=9'] }),
      '9',
      'denied',
    ],
  ])('%s', (_, policies, sketch, port, expected) => {
    expect(answerOf(clusterWith('x', policies, sketch), `${WEB} -> ${DB} ${port}`)).toBe(expected);
  });

  it('of pods without a container that is known', () => {
    const inventory = inventoryOf({ ...CLUSTER, policies: named('sql') });
    const workloads = inventory.workloads.map((one) => ({
      ...one,
      podSets: one.podSets.map((set) => ({ ...set, containers: [] })),
    }));
    const world = compileWorld({ ...inventory, workloads });
    expect(answerOf(world, `${WEB} -> ${DB} 5432`)).toBe('unknown');
    expect(answerOf(world, `${WEB} -> ${DB} 1-9`)).toBe('unknown');
  });

  it.each<[string, string, string]>([
    ['of a destination outside', 'external:9.9.9.9', 'denied'],
    ['of a node', 'node:n3', 'denied'],
    ['of an endpoint that is not known', 'unknown', 'unknown'],
    ['of pods that are not known', 'shop/Deployment/gone', 'unknown'],
    ['of pods', DB, 'allowed'],
    ['of pods that do not have it', JOB, 'denied'],
  ])('%s', (_, dst, expected) => {
    const policies = [
      networkPolicy('shop/p', {
        podSelector: { matchLabels: { app: 'web' } },
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 'sql' }] }],
      }),
    ];
    expect(answerOf(clusterWith('x', policies), `${WEB} -> ${dst} 5432`)).toBe(expected);
  });
});

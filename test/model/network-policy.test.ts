import { describe, expect, it } from 'vitest';
import {
  checkPolicies,
  compileWorld,
  evaluateConnection,
  isIsolated,
  workloadsSelected,
} from '../../src/model/evaluate.ts';
import type { InventorySketch } from '../support/world.ts';
import { answerOf, connection, inventoryOf, manifest, networkPolicy } from '../support/world.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';

const WEB = 'shop/Deployment/web';
const DB = 'shop/Deployment/db';
const JOB = 'batch/CronJob/train';
const AGENT = 'infra/DaemonSet/agent';

const BASE: InventorySketch = {
  namespaces: { shop: { team: 'shop' }, batch: { team: 'ml' }, infra: {} },
  workloads: {
    [WEB]: { labels: { app: 'web', tier: 'front' }, ports: ['http=8080'], pods: ['10.0.1.1@n1'] },
    [DB]: {
      labels: { app: 'db' },
      ports: ['sql=5432', 'repl=5433', 'dns=53/UDP'],
      pods: ['10.0.1.2@n2'],
      probes: [9000],
    },
    [JOB]: { labels: { app: 'train' }, pods: ['10.0.2.1@n1'] },
    [AGENT]: { labels: { app: 'agent' }, hostNetwork: true, ports: ['metrics=9100'], pods: ['192.168.0.3@n3'] },
  },
  nodes: { n1: ['192.168.0.1'], n2: ['192.168.0.2'], n3: ['192.168.0.3'] },
  apiServer: ['192.168.0.100/32'],
};

function answer(spec: JsonObject | readonly JsonObject[], text: string, sketch: InventorySketch = {}): string {
  const specs = Array.isArray(spec) ? (spec as readonly JsonObject[]) : [spec as JsonObject];
  const policies = specs.map((one, index) => networkPolicy(`shop/p${index}`, one));
  return answerOf(compileWorld(inventoryOf({ ...BASE, policies, ...sketch })), text);
}

const onDb = (...ingress: readonly Json[]): JsonObject => ({ podSelector: { matchLabels: { app: 'db' } }, ingress });
const outOfWeb = (...egress: readonly Json[]): JsonObject => ({
  podSelector: { matchLabels: { app: 'web' } },
  policyTypes: ['Egress'],
  egress,
});
const fromPods = (podSelector: JsonObject): JsonObject => ({ from: [{ podSelector }] });

describe('isolation', () => {
  it.each<[string, JsonObject, string, string]>([
    ['a pod that no policy selects takes everything', onDb(), `${DB} -> ${WEB} 8080`, 'allowed'],
    ['a policy without rules takes nothing', onDb(), `${WEB} -> ${DB} 5432`, 'denied'],
    ['an empty rule takes everything', onDb({}), `${WEB} -> ${DB} 5432`, 'allowed'],
    ['an empty list of peers means all', onDb({ from: [], ports: [] }), `external:9.9.9.9 -> ${DB} 1`, 'allowed'],
    ['an absent podSelector selects all pods of the namespace', {}, `${WEB} -> ${DB} 5432`, 'denied'],
    ['an absent spec field isolates no other namespace', {}, `${WEB} -> ${JOB} 5432`, 'allowed'],
    ['ingress isolation leaves egress alone', onDb(), `${DB} -> ${WEB} 8080`, 'allowed'],
    ['policyTypes default to ingress', { podSelector: {} }, `${WEB} -> ${JOB} 80`, 'allowed'],
    [
      'egress rules add egress to the default',
      { podSelector: {}, egress: [{ ports: [{ port: 53 }] }] },
      `${WEB} -> ${JOB} 80`,
      'denied',
    ],
    ['an empty egress list does not', { podSelector: {}, egress: [] }, `${WEB} -> ${JOB} 80`, 'allowed'],
    [
      'egress rules count for nothing where policyTypes is Ingress',
      { policyTypes: ['Ingress'], ingress: [{}], egress: [{ ports: [{ port: 53 }] }] },
      `${WEB} -> ${JOB} 80`,
      'allowed',
    ],
    ['policyTypes Egress without rules lets nothing out', outOfWeb(), `${WEB} -> ${JOB} 80`, 'denied'],
    ['policyTypes Egress leaves ingress alone', outOfWeb(), `${JOB} -> ${WEB} 80`, 'allowed'],
    [
      'null is the same as absent',
      { podSelector: null, ingress: null, policyTypes: null },
      `${WEB} -> ${DB} 5432`,
      'denied',
    ],
    ['a null list of peers means all', onDb({ from: null }), `${WEB} -> ${DB} 5432`, 'allowed'],
  ])('%s', (_, spec, text, expected) => {
    expect(answer(spec, text)).toBe(expected);
  });

  it('adds policies up: what one admits, another does not take away', () => {
    const admits = onDb(fromPods({ matchLabels: { app: 'web' } }));
    expect(answer([onDb(), admits], `${WEB} -> ${DB} 5432`)).toBe('allowed');
    expect(answer([onDb(), admits], `${JOB} -> ${DB} 5432`)).toBe('denied');
  });

  it('needs both directions', () => {
    expect(answer([outOfWeb({ ports: [{ port: 5432 }] }), onDb()], `${WEB} -> ${DB} 5432`)).toBe('denied');
    expect(answer([outOfWeb({ ports: [{ port: 5432 }] }), onDb({})], `${WEB} -> ${DB} 5432`)).toBe('allowed');
  });

  it('names the policies that isolate a workload', () => {
    const world = compileWorld(
      inventoryOf({ ...BASE, policies: [networkPolicy('shop/a', onDb()), networkPolicy('shop/b', {})] }),
    );
    expect(isIsolated(world, DB, 'ingress')).toEqual({
      isolated: 'yes',
      by: ['NetworkPolicy shop/a', 'NetworkPolicy shop/b'],
    });
    expect(isIsolated(world, WEB, 'ingress')).toEqual({ isolated: 'yes', by: ['NetworkPolicy shop/b'] });
    expect(isIsolated(world, WEB, 'egress')).toEqual({ isolated: 'no', by: [] });
    expect(isIsolated(world, AGENT, 'ingress')).toEqual({ isolated: 'no', by: [] });
  });

  it('gives the rule that admits, and what isolates where none does', () => {
    const policies = [networkPolicy('shop/a', onDb(fromPods({ matchLabels: { app: 'x' } }), fromPods({})))];
    const world = compileWorld(inventoryOf({ ...BASE, policies }));
    const [first] = evaluateConnection(world, connection(`${WEB} -> ${DB} 5432`)).reasons.filter(
      ({ direction }) => direction === 'ingress',
    );
    expect(first).toEqual({
      layer: 'network-policy',
      direction: 'ingress',
      decision: 'allows',
      object: 'NetworkPolicy shop/a',
      rule: 1,
      field: 'spec.ingress[1]',
      text: `spec.ingress[1] of NetworkPolicy shop/a admits 5432/TCP from ${WEB} to ${DB}.`,
    });
    expect(evaluateConnection(world, connection(`${JOB} -> ${DB} 5432`)).reasons[0]).toEqual({
      layer: 'network-policy',
      direction: 'ingress',
      decision: 'denies',
      object: 'NetworkPolicy shop/a',
      text: `NetworkPolicy shop/a isolates ${DB} for ingress, and no rule admits 5432/TCP from ${JOB} to ${DB}.`,
    });
  });

  it('leaves NetworkPolicy out on request', () => {
    const world = compileWorld(inventoryOf({ ...BASE, policies: [networkPolicy('shop/a', onDb())] }));
    expect(evaluateConnection(world, connection(`${WEB} -> ${DB} 1`), { networkPolicy: false })).toEqual({
      answer: 'allowed',
      reasons: [],
    });
  });
});

describe('peers', () => {
  const expression = (key: string, operator: string, values?: readonly string[]): JsonObject => ({
    matchExpressions: [{ key, operator, ...(values === undefined ? {} : { values }) }],
  });
  it.each<[string, JsonObject, string, string]>([
    ['a podSelector stays in the namespace of the policy', fromPods({}), JOB, 'denied'],
    ['a podSelector picks by label', fromPods({ matchLabels: { app: 'web' } }), WEB, 'allowed'],
    ['all labels must be equal', fromPods({ matchLabels: { app: 'web', tier: 'back' } }), WEB, 'denied'],
    ['In', fromPods(expression('app', 'In', ['x', 'web'])), WEB, 'allowed'],
    ['In does not hold without the label', fromPods(expression('none', 'In', ['x'])), WEB, 'denied'],
    ['NotIn', fromPods(expression('app', 'NotIn', ['web'])), WEB, 'denied'],
    ['NotIn holds without the label', fromPods(expression('none', 'NotIn', ['x'])), WEB, 'allowed'],
    ['Exists', fromPods(expression('tier', 'Exists')), WEB, 'allowed'],
    ['Exists without the label', fromPods(expression('none', 'Exists')), WEB, 'denied'],
    ['DoesNotExist', fromPods(expression('tier', 'DoesNotExist')), WEB, 'denied'],
    ['DoesNotExist without the label', fromPods(expression('none', 'DoesNotExist')), WEB, 'allowed'],
    ['a key that every object inherits is absent', fromPods(expression('constructor', 'Exists')), WEB, 'denied'],
    [
      'labels and expressions are joined',
      fromPods({ matchLabels: { app: 'web' }, ...expression('tier', 'DoesNotExist') }),
      WEB,
      'denied',
    ],
    ['an empty namespaceSelector picks every namespace', { from: [{ namespaceSelector: {} }] }, JOB, 'allowed'],
    [
      'a namespaceSelector picks by label',
      { from: [{ namespaceSelector: { matchLabels: { team: 'ml' } } }] },
      JOB,
      'allowed',
    ],
    [
      'and leaves others out, its own namespace too',
      { from: [{ namespaceSelector: { matchLabels: { team: 'ml' } } }] },
      WEB,
      'denied',
    ],
    [
      'the name of a namespace is a label of it',
      { from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'batch' } } }] },
      JOB,
      'allowed',
    ],
    [
      'both selectors in one peer must hold',
      { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } }] },
      JOB,
      'denied',
    ],
    [
      'in two peers either may',
      { from: [{ namespaceSelector: {} }, { podSelector: { matchLabels: { app: 'web' } } }] },
      JOB,
      'allowed',
    ],
    ['a host-network pod is not picked by its labels', { from: [{ namespaceSelector: {} }] }, AGENT, 'denied'],
    ['a node is not picked by any selector', { from: [{ namespaceSelector: {} }] }, 'node:n3', 'denied'],
    ['the outside is not picked by any selector', { from: [{ namespaceSelector: {} }] }, 'external:8.8.8.8', 'denied'],
  ])('%s', (_, rule, src, expected) => {
    expect(answer(onDb(rule), `${src} -> ${DB} 5432`)).toBe(expected);
  });

  it('does not select host-network pods', () => {
    const policies = [networkPolicy('infra/all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] })];
    const world = compileWorld(inventoryOf({ ...BASE, policies }));
    expect(evaluateConnection(world, connection(`${WEB} -> ${AGENT} 9100`)).answer).toBe('allowed');
    expect(evaluateConnection(world, connection(`${AGENT} -> ${WEB} 8080`)).answer).toBe('allowed');
  });

  it.each<[string, JsonObject, string]>([
    ['a namespace without a Namespace object may have any label', { matchLabels: { team: 'ml' } }, 'unknown'],
    ['but its name is known', { matchLabels: { 'kubernetes.io/metadata.name': 'batch' } }, 'allowed'],
    ['and a name that differs is', { matchLabels: { team: 'ml', 'kubernetes.io/metadata.name': 'x' } }, 'denied'],
  ])('%s', (_, namespaceSelector, expected) => {
    const namespaces = { shop: {}, batch: null };
    expect(answer(onDb({ from: [{ namespaceSelector }] }), `${JOB} -> ${DB} 5432`, { namespaces })).toBe(expected);
  });

  it('does not know the pods of a workload whose pods are not known', () => {
    const sketch = { workloads: { ...BASE.workloads, 'shop/PyTorchJob/x': [] } };
    const ask = (spec: JsonObject, text: string): string => answer(spec, text, sketch);
    expect(ask(onDb(fromPods({ matchLabels: { a: 'b' } })), `shop/PyTorchJob/x -> ${DB} 1`)).toBe('unknown');
    expect(ask(onDb(fromPods({})), `shop/PyTorchJob/x -> ${DB} 1`)).toBe('allowed');
    expect(ask(onDb(), `shop/PyTorchJob/x -> ${DB} 1`)).toBe('denied');
    expect(ask(onDb(), `${DB} -> shop/PyTorchJob/x 1`)).toBe('unknown');
    expect(ask(onDb({}), `${DB} -> shop/PyTorchJob/x 1`)).toBe('allowed');
    expect(ask({ podSelector: {} }, `${DB} -> shop/PyTorchJob/x 1`)).toBe('denied');
  });

  it('does not know who carries a label of one run', () => {
    const spec = onDb(fromPods({ matchLabels: { 'job-name': 'train-1' } }));
    expect(answer(spec, `shop/Deployment/web -> ${DB} 1`)).toBe('unknown');
    expect(answer({ ...spec, podSelector: { matchLabels: { 'pod-template-hash': 'abc' } } }, `${JOB} -> ${DB} 1`)).toBe(
      'unknown',
    );
  });
});

describe('addresses', () => {
  const block = (cidr: string, ...except: readonly string[]): JsonObject => ({
    from: [{ ipBlock: { cidr, ...(except.length > 0 ? { except } : {}) } }],
  });
  const pods = { cni: { ipBlockMatches: ['pods'] } } as const;
  const nodes = { cni: { ipBlockMatches: ['nodes'] } } as const;
  const api = { cni: { ipBlockMatches: ['api-server'] } } as const;
  const noPods = { workloads: { ...BASE.workloads, [WEB]: { labels: { app: 'web' } } } };
  it.each<[string, JsonObject, string, InventorySketch, string]>([
    ['an outside address in the block', block('8.8.0.0/16'), 'external:8.8.8.8', {}, 'allowed'],
    ['an outside address beyond it', block('8.8.0.0/16'), 'external:8.9.0.0', {}, 'denied'],
    ['the last address of it', block('8.8.0.0/16'), 'external:8.8.255.255', {}, 'allowed'],
    ['an exception', block('8.8.0.0/16', '8.8.8.0/24'), 'external:8.8.8.8', {}, 'denied'],
    ['beside an exception', block('8.8.0.0/16', '8.8.8.0/24'), 'external:8.8.9.1', {}, 'allowed'],
    ['IPv6', block('2001:db8::/32'), 'external:2001:db8::1', {}, 'allowed'],
    ['IPv4 blocks do not match IPv6', block('0.0.0.0/0'), 'external:2001:db8::1', {}, 'denied'],
    ['a name outside is anywhere', block('0.0.0.0/0'), 'external:pypi.example', {}, 'allowed'],
    ['a name outside may be in an exception', block('0.0.0.0/0', '10.0.0.0/8'), 'external:pypi.example', {}, 'unknown'],
    ['a name outside may be in a narrower block', block('8.0.0.0/8'), 'external:pypi.example', {}, 'unknown'],
    ['a name outside is no pod', fromPods({}), 'external:pypi.example', {}, 'denied'],
    ['a block does not match pods by default', block('10.0.0.0/8'), WEB, {}, 'denied'],
    ['where it does, it matches their address', block('10.0.1.1/32'), WEB, pods, 'allowed'],
    ['and not another', block('10.0.1.9/32'), WEB, pods, 'denied'],
    ['a pod without a known address may be in it', block('10.0.1.1/32'), WEB, { ...pods, ...noPods }, 'unknown'],
    ['and surely is in all addresses', block('0.0.0.0/0'), WEB, { ...pods, ...noPods }, 'allowed'],
    ['unknown addresses do not matter where blocks do not match pods', block('10.0.1.1/32'), WEB, noPods, 'denied'],
    ['an unknown CNI may match pods', block('10.0.1.1/32'), WEB, { cni: { enforces: 'unknown' } }, 'unknown'],
    ['but not at another address', block('10.0.1.9/32'), WEB, { cni: { enforces: 'unknown' } }, 'denied'],
    ['a block does not match nodes by default', block('192.168.0.3/32'), 'node:n3', {}, 'denied'],
    ['where it does, it matches their address', block('192.168.0.3/32'), 'node:n3', nodes, 'allowed'],
    ['a host-network pod is at the address of its node', block('192.168.0.3/32'), AGENT, nodes, 'allowed'],
    ['and at no other', block('192.168.0.1/32'), AGENT, nodes, 'denied'],
    ['a block does not match the API server by default', block('192.168.0.100/32'), 'api-server', {}, 'denied'],
    ['where it does, it matches its address', block('192.168.0.100/32'), 'api-server', api, 'allowed'],
    [
      'every address of the API server must be in it',
      block('192.168.0.100/32'),
      'api-server',
      { ...api, apiServer: ['192.168.0.100/32', '192.168.0.101/32'] },
      'denied',
    ],
    [
      'an API server without a known address may be',
      block('192.168.0.100/32'),
      'api-server',
      { ...api, apiServer: [] },
      'unknown',
    ],
    [
      'a range that is partly in it',
      block('192.168.0.100/32'),
      'api-server',
      { ...api, apiServer: ['192.168.0.0/24'] },
      'unknown',
    ],
  ])('%s', (_, rule, src, sketch, expected) => {
    expect(answer(onDb(rule), `${src} -> ${DB} 5432`, sketch)).toBe(expected);
  });

  it('holds for every pod of a workload', () => {
    const workloads = { ...BASE.workloads, [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1@n1', '10.0.1.3@n1'] } };
    expect(answer(onDb(block('10.0.1.1/32')), `${WEB} -> ${DB} 1`, { ...pods, workloads })).toBe('denied');
    expect(answer(onDb(block('10.0.1.1/32'), block('10.0.1.3/32')), `${WEB} -> ${DB} 1`, { ...pods, workloads })).toBe(
      'allowed',
    );
  });

  it('does not know which of its addresses a dual-stack pod uses', () => {
    const workloads = { ...BASE.workloads, [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1,fd00::1@n1'] } };
    expect(answer(onDb(block('10.0.0.0/8')), `${WEB} -> ${DB} 1`, { ...pods, workloads })).toBe('unknown');
    expect(answer(onDb(block('10.0.0.0/8'), block('fd00::/8')), `${WEB} -> ${DB} 1`, { ...pods, workloads })).toBe(
      'allowed',
    );
  });

  it('asks both families of a name outside where the cluster has both', () => {
    const workloads = { ...BASE.workloads, [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1,fd00::1@n1'] } };
    expect(answer(onDb(block('0.0.0.0/0')), `external:x.example -> ${DB} 1`, { workloads })).toBe('denied');
    expect(answer(onDb(block('0.0.0.0/0'), block('::/0')), `external:x.example -> ${DB} 1`, { workloads })).toBe(
      'allowed',
    );
  });
});

describe('nodes', () => {
  it.each<[string, string, JsonObject, InventorySketch, string]>([
    ['the own node is always admitted', `node -> ${DB} 9000`, onDb(), {}, 'allowed'],
    ['by its name too', `node:n2 -> ${DB} 1234`, onDb(), {}, 'allowed'],
    ['another node is not', `node:n1 -> ${DB} 9000`, onDb(), {}, 'denied'],
    ['the own node is always reached', `${WEB} -> node 10250`, outOfWeb(), {}, 'allowed'],
    ['another node is not', `${WEB} -> node:n2 10250`, outOfWeb(), {}, 'denied'],
    [
      'a host-network pod on the same node is that node',
      `${AGENT} -> ${DB} 1`,
      onDb(),
      { workloads: { ...BASE.workloads, [AGENT]: { hostNetwork: true, pods: ['192.168.0.2@n2'] } } },
      'allowed',
    ],
    ['one on some other node is not', `${AGENT} -> ${DB} 1`, onDb(), {}, 'denied'],
    [
      'one on every node is the own node for some',
      `${AGENT} -> ${DB} 1`,
      onDb(),
      { workloads: { ...BASE.workloads, [AGENT]: { hostNetwork: true, pods: ['192.168.0.1@n1', '192.168.0.2@n2'] } } },
      'unknown',
    ],
    [
      'where pods have no known node, any may be the own one',
      `node:n1 -> ${DB} 1`,
      onDb(),
      { workloads: { ...BASE.workloads, [DB]: { labels: { app: 'db' } } } },
      'unknown',
    ],
    ['a cluster of one node has no other', `${AGENT} -> ${DB} 1`, onDb(), { nodes: { n1: [] } }, 'allowed'],
  ])('%s: %s', (_, text, spec, sketch, expected) => {
    expect(answer(spec, text, sketch)).toBe(expected);
  });

  it.each<[string, readonly string[], string]>([
    ['on another node', ['192.168.0.1/32'], 'denied'],
    ['on the node of the pod', ['192.168.0.2/32'], 'allowed'],
    ['on that node and another', ['192.168.0.1/32', '192.168.0.2/32'], 'unknown'],
    ['on no node of the cluster', ['192.168.0.100/32'], 'denied'],
  ])('an API server %s', (_, apiServer, expected) => {
    expect(answer(onDb(), `api-server -> ${DB} 9000`, { apiServer })).toBe(expected);
  });

  it('takes a named node at a probe port for the kubelet of the pods that it runs', () => {
    const workloads = {
      ...BASE.workloads,
      [DB]: { labels: { app: 'db' }, pods: ['10.0.1.2@n2', '10.0.1.3@n1'], probes: [9000] },
    };
    expect(answer(onDb(), `node:n1 -> ${DB} 9000`, { workloads })).toBe('allowed');
    expect(answer(onDb(), `node:n1 -> ${DB} 5432`, { workloads })).toBe('unknown');
    expect(answer(onDb(), `node:n3 -> ${DB} 9000`, { workloads })).toBe('denied');
  });
});

describe('ports', () => {
  it.each<[string, readonly JsonObject[], string, string]>([
    ['a number', [{ port: 5432 }], '5432', 'allowed'],
    ['another number', [{ port: 5432 }], '5433', 'denied'],
    ['protocol defaults to TCP', [{ port: 5432 }], '5432/UDP', 'denied'],
    ['UDP', [{ port: 53, protocol: 'UDP' }], '53/UDP', 'allowed'],
    ['SCTP', [{ port: 9, protocol: 'SCTP' }], '9/SCTP', 'allowed'],
    ['a protocol alone means all its ports', [{ protocol: 'UDP' }], '4000/UDP', 'allowed'],
    ['and no other protocol', [{ protocol: 'UDP' }], '4000', 'denied'],
    ['an empty port means all of TCP', [{}], '4000', 'allowed'],
    ['a range has its first port', [{ port: 100, endPort: 200 }], '100', 'allowed'],
    ['and its last', [{ port: 100, endPort: 200 }], '200', 'allowed'],
    ['and not the next', [{ port: 100, endPort: 200 }], '201', 'denied'],
    ['a name is the port of the destination', [{ port: 'sql' }], '5432', 'allowed'],
    ['and no other port', [{ port: 'sql' }], '5433', 'denied'],
    ['a name has a protocol', [{ port: 'dns' }], '53/UDP', 'denied'],
    ['its own', [{ port: 'dns', protocol: 'UDP' }], '53/UDP', 'allowed'],
    ['a name that nobody declares is nothing', [{ port: 'nope' }], '5432', 'denied'],
    ['several ports add up', [{ port: 1 }, { port: 'repl' }], '5433', 'allowed'],
    ['a range of ports needs all of them', [{ port: 100, endPort: 200 }], '150-200', 'allowed'],
    ['and is denied for one that is missing', [{ port: 100, endPort: 200 }], '150-201', 'denied'],
    [
      'ranges that touch add up',
      [
        { port: 100, endPort: 150 },
        { port: 151, endPort: 200 },
      ],
      '100-200',
      'allowed',
    ],
    [
      'with a gap they do not',
      [
        { port: 100, endPort: 149 },
        { port: 151, endPort: 200 },
      ],
      '100-200',
      'denied',
    ],
  ])('%s', (_, ports, port, expected) => {
    expect(answer(onDb({ ports }), `${WEB} -> ${DB} ${port}`)).toBe(expected);
  });

  it('adds ranges of several policies up', () => {
    const specs = [onDb({ ports: [{ port: 1, endPort: 10 }] }), onDb({ ports: [{ port: 11, endPort: 20 }] })];
    expect(answer(specs, `${WEB} -> ${DB} 5-15`)).toBe('allowed');
    expect(answer(specs, `${WEB} -> ${DB} 5-21`)).toBe('denied');
  });

  it('resolves a name at the destination for egress too', () => {
    expect(answer(outOfWeb({ ports: [{ port: 'sql' }] }), `${WEB} -> ${DB} 5432`)).toBe('allowed');
    expect(answer(outOfWeb({ ports: [{ port: 'http' }] }), `${WEB} -> ${DB} 8080`)).toBe('denied');
    expect(answer(outOfWeb({ ports: [{ port: 'sql' }] }), `${WEB} -> external:1.1.1.1 5432`)).toBe('denied');
  });

  it('does not know a name that only an init container declares, nor one of a host-network pod', () => {
    const workloads = { ...BASE.workloads, [DB]: { labels: { app: 'db' }, initPorts: ['side=9'] } };
    expect(answer(onDb({ ports: [{ port: 'side' }] }), `${WEB} -> ${DB} 9`, { workloads })).toBe('unknown');
    const toAgent = outOfWeb({ ports: [{ port: 'metrics' }] });
    expect(answer(toAgent, `${WEB} -> ${AGENT} 9100`)).toBe('unknown');
    expect(answer(toAgent, `${WEB} -> ${AGENT} 9101`)).toBe('denied');
  });
});

describe('pod sets', () => {
  const MASTER = { role: 'Master', labels: { role: 'm' }, ports: ['23456'] };
  const WORKER = { role: 'Worker', labels: { role: 'w' } };
  const workloads = { ...BASE.workloads, 'shop/PyTorchJob/t': [MASTER, WORKER] };
  const onWorker: JsonObject = { podSelector: { matchLabels: { role: 'w' } } };
  it.each<[string, string, string]>([
    ['every pod set must be admitted', `${WEB} -> shop/PyTorchJob/t 80`, 'denied'],
    ['but those that do not declare a port which another declares', `${WEB} -> shop/PyTorchJob/t 23456`, 'allowed'],
  ])('%s', (_, text, expected) => {
    expect(answer(onWorker, text, { workloads })).toBe(expected);
  });

  it('asks every pod set of the source', () => {
    const spec = onDb(fromPods({ matchLabels: { role: 'm' } }));
    expect(answer(spec, `shop/PyTorchJob/t -> ${DB} 1`, { workloads })).toBe('denied');
  });

  it('answers unknown for isolation of a part, and selects by part', () => {
    const world = compileWorld(inventoryOf({ ...BASE, workloads, policies: [networkPolicy('shop/p', onWorker)] }));
    expect(isIsolated(world, 'shop/PyTorchJob/t', 'ingress').isolated).toBe('unknown');
    expect(workloadsSelected(world, { matchLabels: { role: 'w' } }, 'shop')).toEqual(['shop/PyTorchJob/t']);
    expect(workloadsSelected(world, undefined, 'batch')).toEqual([JOB]);
    expect(workloadsSelected(world, { matchExpressions: [{ key: 'a', operator: 'Nope' }] }, 'shop')).toEqual([]);
  });
});

describe('endpoints that are not known', () => {
  it.each<[string, JsonObject, string, string]>([
    ['an unknown source of a pod that nothing isolates', onDb(), `unknown -> ${WEB} 80`, 'allowed'],
    ['an unknown source of an isolated pod', onDb(), `unknown -> ${DB} 80`, 'unknown'],
    ['an unknown source where all are admitted', onDb({}), `unknown -> ${DB} 80`, 'allowed'],
    ['an unknown source where pods are admitted', onDb(fromPods({})), `unknown -> ${DB} 80`, 'unknown'],
    ['an unknown destination while some pod is isolated', onDb(), `${WEB} -> unknown 80`, 'unknown'],
    ['an unknown destination while none is isolated for ingress', outOfWeb({}), `${WEB} -> unknown 80`, 'allowed'],
  ])('%s', (_, spec, text, expected) => {
    expect(answer(spec, text)).toBe(expected);
  });
});

describe('enforcement', () => {
  it('lets policies do nothing where the CNI does not enforce them, and says so', () => {
    const world = compileWorld(
      inventoryOf({
        ...BASE,
        policies: [networkPolicy('shop/p', onDb())],
        cni: { name: 'flannel', enforces: 'no', because: 'it has no policy engine' },
      }),
    );
    const verdict = evaluateConnection(world, connection(`${WEB} -> ${DB} 1`));
    expect(verdict.answer).toBe('allowed');
    expect(verdict.reasons.map(({ text }) => text)).toContain(
      `flannel does not enforce NetworkPolicy (it has no policy engine), so none acts on ${DB}.`,
    );
    expect(isIsolated(world, DB, 'ingress').isolated).toBe('no');
  });

  it('judges as if enforced where that is not known', () => {
    expect(answer(onDb(), `${WEB} -> ${DB} 1`, { cni: { enforces: 'unknown' } })).toBe('denied');
  });
});

describe('policies that the API server refuses', () => {
  const cases: readonly [string, JsonObject, string, string][] = [
    [
      'an invalid operator',
      { podSelector: { matchExpressions: [{ key: 'a', operator: 'in', values: ['b'] }] } },
      'SP340',
      'spec.podSelector.matchExpressions[0].operator',
    ],
    [
      'In without values',
      { podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } },
      'SP340',
      'spec.podSelector.matchExpressions[0].values',
    ],
    [
      'Exists with values',
      { podSelector: { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] } },
      'SP340',
      'spec.podSelector.matchExpressions[0].values',
    ],
    [
      'a label key that is none',
      { podSelector: { matchLabels: { 'a b': 'c' } } },
      'SP340',
      'spec.podSelector.matchLabels',
    ],
    [
      'a label value that is none',
      { podSelector: { matchLabels: { a: 'c d' } } },
      'SP340',
      'spec.podSelector.matchLabels.a',
    ],
    [
      'a label value that is a number',
      { podSelector: { matchLabels: { a: 1 } } },
      'SP340',
      'spec.podSelector.matchLabels.a',
    ],
    ['a peer without anything', onDb({ from: [{}] }), 'SP340', 'spec.ingress[0].from[0]'],
    [
      'ipBlock beside a selector',
      onDb({ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] }),
      'SP340',
      'spec.ingress[0].from[0]',
    ],
    ['no CIDR', onDb({ from: [{ ipBlock: { cidr: '10.0.0.1' } }] }), 'SP340', 'spec.ingress[0].from[0].ipBlock.cidr'],
    [
      'an octal CIDR',
      onDb({ from: [{ ipBlock: { cidr: '010.0.0.0/8' } }] }),
      'SP342',
      'spec.ingress[0].from[0].ipBlock.cidr',
    ],
    [
      'a prefix with a leading zero',
      onDb({ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/016'] } }] }),
      'SP342',
      'spec.ingress[0].from[0].ipBlock.except[0]',
    ],
    [
      'an IPv4 CIDR mapped into IPv6',
      onDb({ from: [{ ipBlock: { cidr: '::ffff:10.0.0.0/104' } }] }),
      'SP342',
      'spec.ingress[0].from[0].ipBlock.cidr',
    ],
    [
      'an exception outside',
      onDb({ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }] }),
      'SP340',
      'spec.ingress[0].from[0].ipBlock.except[0]',
    ],
    [
      'an exception of all',
      onDb({ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] } }] }),
      'SP340',
      'spec.ingress[0].from[0].ipBlock.except[0]',
    ],
    [
      'a protocol that is none',
      onDb({ ports: [{ protocol: 'tcp', port: 1 }] }),
      'SP340',
      'spec.ingress[0].ports[0].protocol',
    ],
    ['port 0', onDb({ ports: [{ port: 0 }] }), 'SP340', 'spec.ingress[0].ports[0].port'],
    [
      'a port name that is too long',
      onDb({ ports: [{ port: 'sixteen-letters-' }] }),
      'SP340',
      'spec.ingress[0].ports[0].port',
    ],
    ['a port number as text', onDb({ ports: [{ port: '80' }] }), 'SP340', 'spec.ingress[0].ports[0].port'],
    ['endPort below port', onDb({ ports: [{ port: 10, endPort: 9 }] }), 'SP340', 'spec.ingress[0].ports[0].endPort'],
    ['endPort without port', onDb({ ports: [{ endPort: 9 }] }), 'SP340', 'spec.ingress[0].ports[0].endPort'],
    [
      'endPort with a name',
      onDb({ ports: [{ port: 'sql', endPort: 9 }] }),
      'SP340',
      'spec.ingress[0].ports[0].endPort',
    ],
    ['a policy type that is none', { ...onDb(), policyTypes: ['ingress'] }, 'SP340', 'spec.policyTypes[0]'],
    ['a misspelt field', { ...onDb({ form: [{ podSelector: {} }] }) }, 'SP341', 'spec.ingress[0].form'],
  ];
  it.each(cases)('%s is a finding, and makes the answer unknown', (_, spec, code, where) => {
    const policies = [networkPolicy('shop/p', spec)];
    const found = checkPolicies(inventoryOf({ policies }));
    expect(found.map((one) => [one.code, one.where])).toEqual([[code, where]]);
    expect(found[0]?.subject).toBe('NetworkPolicy shop/p');
    expect(answer(spec, `${WEB} -> ${DB} 5432`)).toBe('unknown');
    // Another namespace is none of its business.
    expect(answer(spec, `${JOB} -> ${AGENT} 5432`)).toBe('allowed');
  });

  it('does not take away what a valid policy admits', () => {
    const broken = onDb({ ports: [{ port: 0 }] });
    expect(answer([broken, onDb({})], `${WEB} -> ${DB} 1`)).toBe('allowed');
    expect(answer([broken, onDb()], `${WEB} -> ${DB} 1`)).toBe('unknown');
  });

  it.each([
    ['a name', { name: 'P' }, 'metadata.name'],
    ['a label key', { labels: { 'a b': 'c' } }, 'metadata.labels'],
    ['a label value', { labels: { a: 'c d' } }, 'metadata.labels.a'],
    ['an annotation', { annotations: { a: 1 } }, 'metadata.annotations.a'],
  ])('%s that the API server refuses is a finding, and makes the answer unknown', (_, metadata, where) => {
    const policy = networkPolicy('shop/p', onDb());
    const policies = [{ ...policy, metadata: { ...policy.metadata, ...metadata } }];
    expect(checkPolicies(inventoryOf({ policies })).map((one) => [one.code, one.where])).toEqual([['SP340', where]]);
    expect(answerOf(compileWorld(inventoryOf({ ...BASE, policies })), `${WEB} -> ${DB} 5432`)).toBe('unknown');
  });

  it('reads an IPv6 CIDR that is not in its short form, and says so', () => {
    const spec = onDb({ from: [{ ipBlock: { cidr: '2001:DB8:0:0::/32' } }] });
    expect(checkPolicies(inventoryOf({ policies: [networkPolicy('shop/p', spec)] })).map(({ code }) => code)).toEqual([
      'SP342',
    ]);
    expect(answer(spec, `external:2001:db8::1 -> ${DB} 1`)).toBe('allowed');
  });

  it('reads a CIDR with bits beyond its prefix as its block, and says so', () => {
    const spec = onDb({ from: [{ ipBlock: { cidr: '8.8.8.8/16' } }] });
    expect(checkPolicies(inventoryOf({ policies: [networkPolicy('shop/p', spec)] })).map(({ code }) => code)).toEqual([
      'SP342',
    ]);
    expect(answer(spec, `external:8.8.1.1 -> ${DB} 1`)).toBe('allowed');
  });
});

describe('what is known changes with the inventory', () => {
  it('reads the cluster again where anything but policies changed', () => {
    const inventory = inventoryOf({
      ...BASE,
      policies: [networkPolicy('shop/p', onDb({ from: [{ ipBlock: { cidr: '192.168.0.7/32' } }] }))],
      cni: { ipBlockMatches: ['nodes', 'api-server'] },
    });
    const answers = (changed: Partial<typeof inventory>): readonly string[] => {
      const world = compileWorld({ ...inventory, ...changed });
      return [answerOf(world, `node:n3 -> ${DB} 1`), answerOf(world, `api-server -> ${DB} 1`)];
    };
    expect(answers({})).toEqual(['denied', 'denied']);
    const nodes = inventory.nodes.map((node) => (node.name === 'n3' ? { ...node, addresses: ['192.168.0.7'] } : node));
    expect(answers({ nodes })).toEqual(['allowed', 'denied']);
    expect(answers({ facts: { ...inventory.facts, apiServer: ['192.168.0.7/32'] } })).toEqual(['denied', 'allowed']);
    expect(answers({})).toEqual(['denied', 'denied']);
  });

  it('does not know the labels of a namespace that is not in it, nor a workload', () => {
    const rule = { from: [{ namespaceSelector: { matchLabels: { team: 'ml' } } }] };
    const inventory = inventoryOf({ ...BASE, policies: [networkPolicy('shop/p', onDb(rule))] });
    const world = compileWorld({ ...inventory, namespaces: [] });
    expect(answerOf(world, `${JOB} -> ${DB} 1`)).toBe('unknown');
    expect(answerOf(compileWorld(inventory), `${DB} -> batch/Job/gone 1`)).toBe('allowed');
    expect(answerOf(compileWorld(inventory), `${WEB} -> shop/Job/gone 1`)).toBe('unknown');
  });

  it('knows a label that an upgrade rewrites, and not one that a run does', () => {
    const spec = (key: string): JsonObject => onDb({ from: [{ podSelector: { matchLabels: { [key]: 'x' } } }] });
    expect(answer(spec('app.kubernetes.io/version'), `${WEB} -> ${DB} 1`)).toBe('denied');
    expect(answer(spec('sidecar.istio.io/inject'), `${WEB} -> ${DB} 1`)).toBe('denied');
    expect(answer(spec('istio.io/rev'), `${WEB} -> ${DB} 1`)).toBe('unknown');
    expect(answer(spec('pod-template-hash'), `${WEB} -> ${DB} 1`)).toBe('unknown');
  });

  it('leaves the address of a finished pod out', () => {
    const inventory = inventoryOf({
      ...BASE,
      workloads: { ...BASE.workloads, [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1@n1', '10.0.1.3@n1'] } },
      policies: [networkPolicy('shop/p', onDb({ from: [{ ipBlock: { cidr: '10.0.1.1/32' } }] }))],
      cni: { ipBlockMatches: ['pods'] },
    });
    const workloads = inventory.workloads.map((one) => ({
      ...one,
      podSets: one.podSets.map((set) => ({
        ...set,
        pods: set.pods.map((pod) => ({ ...pod, phase: pod.ips[0] === '10.0.1.3' ? 'Succeeded' : 'Running' })),
      })),
    }));
    expect(answerOf(compileWorld(inventory), `${WEB} -> ${DB} 1`)).toBe('denied');
    expect(answerOf(compileWorld({ ...inventory, workloads }), `${WEB} -> ${DB} 1`)).toBe('allowed');
  });

  it('does not know the address of a pod that has none yet', () => {
    const workloads = { ...BASE.workloads, [WEB]: { labels: { app: 'web' }, pods: ['10.0.1.1@n1', '@n1'] } };
    const spec = onDb({ from: [{ ipBlock: { cidr: '10.0.1.1/32' } }] });
    expect(answer(spec, `${WEB} -> ${DB} 1`, { workloads, cni: { ipBlockMatches: ['pods'] } })).toBe('unknown');
  });
});

describe('policies of kinds that are not evaluated', () => {
  const cilium = (name: string, spec: JsonObject): ReturnType<typeof manifest> =>
    manifest('cilium.io/v2', name.includes('/') ? 'CiliumNetworkPolicy' : 'CiliumClusterwideNetworkPolicy', name, spec);
  const calico = (kind: string, name: string, spec: JsonObject): ReturnType<typeof manifest> =>
    manifest('projectcalico.org/v3', kind, name, spec);
  const admin = (spec: JsonObject): ReturnType<typeof manifest> =>
    manifest('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', 'p', spec);
  const [toDb, toWeb] = [`${WEB} -> ${DB} 1`, `${DB} -> ${WEB} 1`];
  it.each<[string, ReturnType<typeof manifest>, string, string]>([
    [
      'Cilium, selected',
      cilium('shop/p', { endpointSelector: { matchLabels: { 'k8s:app': 'db' } }, ingress: [{}] }),
      toDb,
      'unknown',
    ],
    [
      'Cilium, another direction',
      cilium('shop/p', { endpointSelector: { matchLabels: { app: 'db' } }, egress: [{}] }),
      toDb,
      'allowed',
    ],
    [
      'Cilium, not selected',
      cilium('shop/p', { endpointSelector: { matchLabels: { 'any:app': 'db' } }, ingress: [{}] }),
      toWeb,
      'allowed',
    ],
    [
      'Cilium, a selector of its own labels',
      cilium('shop/p', { endpointSelector: { matchLabels: { 'reserved:x': '' } }, ingress: [{}] }),
      toDb,
      'unknown',
    ],
    [
      'Cilium, several specs',
      { ...cilium('shop/p', {}), spec: null, specs: [{ endpointSelector: {}, ingress: [] }] },
      toDb,
      'unknown',
    ],
    ['Cilium, for the whole cluster', cilium('p', { endpointSelector: {}, ingressDeny: [{}] }), toDb, 'unknown'],
    [
      'Cilium, for the cluster, one namespace',
      cilium('p', { endpointSelector: { matchLabels: { 'io.kubernetes.pod.namespace': 'batch' } }, ingress: [{}] }),
      toDb,
      'allowed',
    ],
    [
      'Cilium, for nodes',
      cilium('p', { nodeSelector: { matchLabels: { a: 'b' } }, ingress: [{}] }),
      `${WEB} -> node:n1 1`,
      'unknown',
    ],
    ['Calico, selected', calico('NetworkPolicy', 'shop/p', { selector: "app == 'db'", ingress: [] }), toDb, 'unknown'],
    [
      'Calico, not selected',
      calico('NetworkPolicy', 'shop/p', { selector: "app == 'db' && has(app)", ingress: [] }),
      toWeb,
      'allowed',
    ],
    ['Calico, all', calico('GlobalNetworkPolicy', 'p', { selector: 'all()', types: ['Ingress'] }), toDb, 'unknown'],
    [
      'Calico, a selector that is not read',
      calico('GlobalNetworkPolicy', 'p', { selector: "app == 'x' || app == 'y'", types: ['Ingress'] }),
      toDb,
      'unknown',
    ],
    [
      'Calico, by namespace',
      calico('GlobalNetworkPolicy', 'p', { namespaceSelector: "team in {'ml','x'}", types: ['Ingress'] }),
      toDb,
      'allowed',
    ],
    [
      'Calico, staged',
      calico('StagedGlobalNetworkPolicy', 'p', { selector: 'all()', types: ['Ingress'] }),
      toDb,
      'allowed',
    ],
    [
      'Calico, without blanks',
      calico('NetworkPolicy', 'shop/p', { selector: "has(tier)&&app=='web'" }),
      toDb,
      'allowed',
    ],
    [
      'Calico, without blanks, selected',
      calico('NetworkPolicy', 'shop/p', { selector: "has(tier)&&app=='web'" }),
      toWeb,
      'unknown',
    ],
    ['Calico, without a label', calico('NetworkPolicy', 'shop/p', { selector: '!has(tier)' }), toWeb, 'allowed'],
    ['Calico, other than', calico('NetworkPolicy', 'shop/p', { selector: 'app != "web"' }), toWeb, 'allowed'],
    ['Calico, not in', calico('NetworkPolicy', 'shop/p', { selector: "app not in {'web', 'x'}" }), toWeb, 'allowed'],
    [
      'Calico, by account',
      calico('NetworkPolicy', 'shop/p', { selector: "app == 'x'", serviceAccountSelector: "a == 'b'" }),
      toDb,
      'unknown',
    ],
    [
      'Calico, egress rules alone',
      calico('NetworkPolicy', 'shop/p', { selector: "app == 'db'", egress: [{}] }),
      toDb,
      'allowed',
    ],
    [
      'Calico, before NAT',
      calico('GlobalNetworkPolicy', 'p', { selector: "app == 'x'", preDNAT: true }),
      `${WEB} -> node:n1 1`,
      'unknown',
    ],
    ['Calico, of host endpoints', calico('HostEndpoint', 'p', {}), `${WEB} -> node:n1 1`, 'unknown'],
    ['Calico, a kind that is not known', calico('NewPolicy', 'p', {}), `external:1.1.1.1 -> ${DB} 1`, 'unknown'],
    [
      'Cilium, an expression on its namespace key',
      cilium('p', {
        endpointSelector: {
          matchExpressions: [{ key: 'k8s:io.kubernetes.pod.namespace', operator: 'In', values: ['x'] }],
        },
        ingress: [{}],
      }),
      toDb,
      'unknown',
    ],
    [
      'Cilium, an expression',
      cilium('p', {
        endpointSelector: { matchExpressions: [{ key: 'k8s:app', operator: 'In', values: ['x'] }] },
        ingress: [{}],
      }),
      toDb,
      'allowed',
    ],
    [
      'what a CNI derives from NetworkPolicies',
      manifest('networking.k8s.aws/v1alpha1', 'PolicyEndpoint', 'shop/p', {}),
      toDb,
      'allowed',
    ],
    ['Calico, a set of networks', calico('GlobalNetworkSet', 'p', { nets: ['10.0.0.0/8'] }), toDb, 'allowed'],
    [
      'an admin policy, by namespace',
      admin({ subject: { namespaces: { matchLabels: { team: 'shop' } } }, ingress: [{}] }),
      toDb,
      'unknown',
    ],
    [
      'an admin policy, another namespace',
      admin({ subject: { namespaces: { matchLabels: { team: 'ml' } } }, ingress: [{}] }),
      toDb,
      'allowed',
    ],
    [
      'an admin policy, by pod',
      admin({
        subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: 'db' } } } },
        egress: [{}],
      }),
      toWeb,
      'unknown',
    ],
    ['an admin policy, another direction', admin({ subject: { namespaces: {} }, egress: [] }), toDb, 'allowed'],
    ['some other kind', manifest('crd.antrea.io/v1beta1', 'NetworkPolicy', 'shop/p', {}), toDb, 'unknown'],
    ['some other kind elsewhere', manifest('crd.antrea.io/v1beta1', 'NetworkPolicy', 'batch/p', {}), toDb, 'allowed'],
  ])('%s', (_, policy, text, expected) => {
    const world = compileWorld(inventoryOf({ ...BASE, policies: [policy] }));
    const verdict = evaluateConnection(world, connection(text));
    expect(answerOf(world, text)).toBe(expected);
    if (expected === 'unknown')
      expect(verdict.reasons[0]?.object).toBe(
        `${policy.kind} ${policy.metadata['namespace'] === undefined ? '' : 'shop/'}p`,
      );
  });

  it('may isolate an endpoint that is not known, and makes isolation unknown', () => {
    const spec = { endpointSelector: {}, ingress: [{}], ingressDeny: [{}] };
    const world = compileWorld(inventoryOf({ ...BASE, policies: [cilium('shop/p', spec)] }));
    expect(answerOf(world, `${JOB} -> unknown 1`)).toBe('unknown');
    expect(answerOf(world, `unknown -> ${JOB} 1`)).toBe('allowed');
    expect(isIsolated(world, DB, 'ingress')).toEqual({ isolated: 'unknown', by: ['CiliumNetworkPolicy shop/p'] });
    expect(isIsolated(world, DB, 'egress')).toEqual({ isolated: 'no', by: [] });
    expect(isIsolated(world, JOB, 'ingress').isolated).toBe('no');
  });

  it('does not undo a sure denial of the other direction', () => {
    const policies = [cilium('shop/p', { endpointSelector: {}, ingress: [{}] }), networkPolicy('shop/q', outOfWeb())];
    const world = compileWorld(inventoryOf({ ...BASE, policies }));
    expect(evaluateConnection(world, connection(toDb)).answer).toBe('denied');
  });
});

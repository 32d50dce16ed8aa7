import { describe, expect, it } from 'vitest';
import { connectivity } from '../../src/model/connectivity.ts';
import { compileWorld, evaluateConnection, mtlsModeOf, NOT_PROVEN, transportOf } from '../../src/model/evaluate.ts';
import type { World } from '../../src/model/evaluate.ts';
import type { Labels } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import type { InventorySketch } from '../support/world.ts';
import { answerOf, connection, endpoint, inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const WEB = 'shop/Deployment/web';
const API = 'shop/Deployment/api';
const TRAIN = 'batch/Deployment/train';
const OLD = 'legacy/Deployment/old';
const SIDE = 'side/Deployment/side';
const HOST = 'legacy/DaemonSet/agent';

const AMBIENT: InventorySketch = {
  mesh: { kind: 'istio', mode: 'ambient', version: '1.29.0' },
  workloads: {
    [WEB]: { labels: { app: 'web' }, mesh: 'ambient', account: 'web', pods: ['10.0.0.1@n1'] },
    [API]: {
      labels: { app: 'api' },
      mesh: 'ambient',
      account: 'api',
      ports: ['http=8080', 'sql=5432'],
      probes: [8081],
      pods: ['10.0.0.2@n1'],
    },
    [TRAIN]: { labels: { app: 'train' }, mesh: 'ambient', account: 'train', pods: ['10.0.0.3@n2'] },
    [OLD]: { labels: { app: 'old' }, ports: [9000], pods: ['10.0.0.4@n1'] },
    [SIDE]: { labels: { app: 'side' }, mesh: 'sidecar', account: 'side', ports: [8080], pods: ['10.0.0.5@n1'] },
    [HOST]: { labels: { app: 'agent' }, hostNetwork: true, pods: ['192.168.0.1@n1'] },
  },
  services: [
    { name: 'shop/api', selects: [API], ports: ['http:80->http', 'tcp-sql:5432->sql'] },
    { name: 'side/side', selects: [SIDE], ports: ['http:8080'] },
    { name: 'legacy/old', selects: [OLD], ports: ['http:9000'] },
  ],
  nodes: { n1: ['192.168.0.1'], n2: ['192.168.0.2'] },
};

interface Waypoints {
  readonly shop?: Labels;
  /** Of Service shop/api. */
  readonly service?: string;
}

function worldOf(
  policies: readonly KubeManifest[],
  { shop, service }: Waypoints = {},
  sketch: InventorySketch = {},
): World {
  const inventory = inventoryOf({
    ...AMBIENT,
    ...(shop === undefined ? {} : { namespaces: { shop } }),
    policies,
    ...sketch,
  });
  const services = inventory.services.map((one) =>
    service !== undefined && one.name === 'api' ? { ...one, useWaypoint: service } : one,
  );
  return compileWorld({ ...inventory, services });
}

const ask = (
  policies: readonly KubeManifest[],
  text: string,
  waypoints?: Waypoints,
  sketch?: InventorySketch,
): string => answerOf(worldOf(policies, waypoints, sketch), text);

const peers = (name: string, spec: JsonObject): KubeManifest =>
  manifest('security.istio.io/v1', 'PeerAuthentication', name, spec);
const mode = (value: string): JsonObject => ({ mtls: { mode: value } });
const select: JsonObject = { selector: { matchLabels: { app: 'api' } } };
const policy = (spec: JsonObject, name = 'shop/p', annotations: JsonObject = {}): KubeManifest =>
  manifest('security.istio.io/v1', 'AuthorizationPolicy', name, spec, { annotations });
const allow = (...rules: readonly Json[]): KubeManifest => policy({ ...select, rules });
const deny = (...rules: readonly Json[]): KubeManifest => policy({ ...select, action: 'DENY', rules });
const source = (fields: JsonObject): Json => ({ from: [{ source: fields }] });
const operation = (fields: JsonObject): Json => ({ to: [{ operation: fields }] });
const STRICT = peers('shop/default', mode('STRICT'));
const IN = `${WEB} -> ${API} 8080`;

describe('PeerAuthentication in ambient mode', () => {
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['members reach each other', [], IN, 'allowed'],
    ['STRICT takes members', [STRICT], IN, 'allowed'],
    ['STRICT refuses who is outside', [STRICT], `${OLD} -> ${API} 8080`, 'denied'],
    ['and the outside', [STRICT], `external:8.8.8.8 -> ${API} 8080`, 'denied'],
    ['PERMISSIVE takes plaintext', [], `${OLD} -> ${API} 8080`, 'allowed'],
    ['the outside is reached as it is', [STRICT], `${WEB} -> ${OLD} 9000`, 'allowed'],
    ['DISABLE is PERMISSIVE', [peers('shop/default', mode('DISABLE'))], `${OLD} -> ${API} 8080`, 'allowed'],
    ['and takes the mesh', [peers('shop/default', mode('DISABLE'))], IN, 'allowed'],
    [
      'a port that takes plaintext',
      [peers('shop/api', { ...select, ...mode('STRICT'), portLevelMtls: { '8080': { mode: 'PERMISSIVE' } } })],
      `${OLD} -> ${API} 8080`,
      'allowed',
    ],
    [
      'a STRICT port',
      [peers('shop/api', { ...select, portLevelMtls: { '8080': { mode: 'STRICT' } } })],
      `${OLD} -> ${API} 8080`,
      'denied',
    ],
    [
      'a port with DISABLE under a STRICT that it inherits',
      [STRICT, peers('shop/api', { ...select, portLevelMtls: { '8080': { mode: 'DISABLE' } } })],
      `${OLD} -> ${API} 8080`,
      'unknown',
    ],
    ['the pod’s own node goes past ztunnel', [STRICT], `node -> ${API} 8080`, 'allowed'],
    ['probes too', [STRICT], `node:n1 -> ${API} 8081`, 'allowed'],
    ['another node does not', [STRICT], `node:n2 -> ${API} 8080`, 'denied'],
    ['a node of which other traffic may come', [STRICT], `node:n1 -> ${API} 8080`, 'unknown'],
    ['host-network pods beside it', [STRICT], `${HOST} -> ${API} 8080`, 'unknown'],
    ['they need nothing under PERMISSIVE', [], `${HOST} -> ${API} 8080`, 'allowed'],
    ['sidecars tunnel', [STRICT], `${SIDE} -> ${API} 8080`, 'allowed'],
    ['an unknown server', [], `${WEB} -> unknown 80`, 'unknown'],
    ['UDP is not the mesh’s', [STRICT], `${OLD} -> ${API} 53/UDP`, 'allowed'],
    ['the tunnel itself', [STRICT, deny({})], `${WEB} -> ${API} 15008`, 'allowed'],
  ])('%s', (_, policies, text, expected) => {
    expect(ask(policies, text)).toBe(expected);
  });

  it('has a mode without DISABLE', () => {
    expect(mtlsModeOf(worldOf([STRICT]), API, 8080)).toEqual({
      mode: 'STRICT',
      by: 'PeerAuthentication shop/default',
    });
    expect(mtlsModeOf(worldOf([peers('shop/default', mode('DISABLE'))]), API, 8080).mode).toBe('PERMISSIVE');
  });

  it.each([
    [WEB, API, 'mtls'],
    [SIDE, API, 'mtls'],
    [OLD, API, 'plaintext'],
    [WEB, OLD, 'plaintext'],
    [WEB, SIDE, 'unknown'],
  ])('carries what %s sends to %s', (src, dst, expected) => {
    const { kind, because } = transportOf(worldOf([]), endpoint(src), endpoint(dst), 8080);
    expect([kind, because.includes(NOT_PROVEN)]).toEqual([expected, true]);
  });

  it('does not know of a sidecar whether it takes tunnels, unless its pods say so', () => {
    const strict = [peers('side/default', mode('STRICT'))];
    expect(ask(strict, `${WEB} -> ${SIDE} 8080`)).toBe('unknown');
    expect(ask([], `${WEB} -> ${SIDE} 8080`)).toBe('allowed');
    const labelled = (labels: Labels): InventorySketch => ({
      workloads: { ...AMBIENT.workloads, [SIDE]: { ...(AMBIENT.workloads?.[SIDE] as object), labels } },
    });
    const tunnels = labelled({ app: 'side', 'networking.istio.io/tunnel': 'http' });
    expect(ask(strict, `${WEB} -> ${SIDE} 8080`, {}, tunnels)).toBe('allowed');
    expect(transportOf(worldOf([], {}, tunnels), endpoint(WEB), endpoint(SIDE), 8080).kind).toBe('mtls');
  });

  it('does not know what becomes of traffic that some pods take past ztunnel', () => {
    const annotations = { 'ambient.istio.io/bypass-inbound-capture': 'true' };
    const workloads = { ...AMBIENT.workloads, [API]: { ...(AMBIENT.workloads?.[API] as object), annotations } };
    expect(ask([], IN, {}, { workloads })).toBe('unknown');
  });

  it('says of everything that it was not proven on packets', () => {
    for (const text of [IN, `${OLD} -> ${API} 8080`, `${WEB} -> ${OLD} 9000`, `node -> ${API} 8080`]) {
      const reasons = evaluateConnection(worldOf([STRICT, allow({})]), connection(text)).reasons;
      const mesh = reasons.filter(({ layer }) => layer !== 'network-policy');
      expect(mesh.length, text).toBeGreaterThan(0);
      for (const reason of mesh) expect(reason.text).toContain(NOT_PROVEN);
    }
  });

  it('tells how a caller outside gets in', () => {
    const [first] = evaluateConnection(worldOf([STRICT]), connection(`${OLD} -> ${API} 8080`)).reasons;
    expect(first).toMatchObject({
      layer: 'mtls',
      decision: 'denies',
      object: 'PeerAuthentication shop/default',
      remedy: `Let ${OLD} join the mesh, or set PERMISSIVE for the port in a PeerAuthentication that selects ${API}.`,
    });
  });
});

describe('AuthorizationPolicy at ztunnel', () => {
  const web: Json = source({ principals: ['cluster.local/ns/shop/sa/web'] });
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['a principal', [allow(web)], IN, 'allowed'],
    ['another', [allow(web)], `${TRAIN} -> ${API} 8080`, 'denied'],
    ['plaintext has none', [allow(web)], `${OLD} -> ${API} 8080`, 'denied'],
    ['a sidecar has one', [allow(source({ namespaces: ['side'] }))], `${SIDE} -> ${API} 8080`, 'allowed'],
    ['no rules let nobody in', [policy({})], IN, 'denied'],
    ['of the root namespace', [policy({}, 'istio-system/p')], IN, 'denied'],
    ['DENY', [deny(source({ namespaces: ['shop'] }))], IN, 'denied'],
    ['a namespace is compared by itself', [allow(source({ namespaces: ['s*p'] }))], IN, 'denied'],
    ['a prefix of one', [allow(source({ namespaces: ['sh*'] }))], IN, 'allowed'],
    ['a port', [allow(operation({ ports: ['8080'] }))], IN, 'allowed'],
    ['an account', [allow(source({ serviceAccounts: ['web'] }))], IN, 'allowed'],
    ['an address', [allow(source({ ipBlocks: ['10.0.0.0/24'] }))], IN, 'allowed'],
    ['destination.ip', [allow({ when: [{ key: 'destination.ip', values: ['10.0.0.2'] }] })], IN, 'allowed'],
    ['ALLOW with HTTP fields never matches', [allow(operation({ methods: ['GET'] }))], `${IN} GET /`, 'denied'],
    [
      'nor does a rule with a part that would',
      [allow({ ...(web as JsonObject), ...(operation({ paths: ['/'] }) as JsonObject) })],
      `${IN} GET /`,
      'denied',
    ],
    ['nor with an address that a header states', [allow(source({ remoteIpBlocks: ['10.0.0.0/8'] }))], IN, 'denied'],
    [
      'nor with a key of layer 7',
      [allow({ when: [{ key: 'source.serviceAccount', values: ['shop/web'] }] })],
      IN,
      'denied',
    ],
    ['DENY with HTTP fields denies more', [deny(operation({ methods: ['DELETE'] }))], `${IN} GET /`, 'denied'],
    ['and keeps the rest', [deny(operation({ methods: ['DELETE'], ports: ['5432'] }))], `${IN} GET /`, 'allowed'],
    ['a trust domain', [allow(source({ trustDomains: ['cluster.local'] }))], IN, 'unknown'],
    ['CUSTOM is not handed on', [policy({ ...select, action: 'CUSTOM', rules: [{}] })], IN, 'allowed'],
    ['AUDIT decides nothing', [policy({ ...select, action: 'AUDIT', rules: [{}] })], IN, 'allowed'],
    [
      'targetRefs are for waypoints',
      [policy({ targetRefs: [{ group: '', kind: 'Service', name: 'api' }] })],
      IN,
      'allowed',
    ],
    ['the node goes past it', [policy({})], `node -> ${API} 8080`, 'allowed'],
  ])('%s', (_, policies, text, expected) => {
    expect(ask(policies, text)).toBe(expected);
  });

  it('rehearses where ztunnel is new enough', () => {
    const rehearsed = policy(select, 'shop/p', { 'istio.io/dry-run': 'true' });
    const versions = ['1.29.0', '1.28.3', '2.0.0'].map((version) =>
      ask([rehearsed], IN, {}, { mesh: { ...AMBIENT.mesh, version } }),
    );
    expect(versions).toEqual(['allowed', 'unknown', 'allowed']);
  });
});

describe('waypoints', () => {
  const gateway = (name = 'shop/waypoint', labels: Labels = {}): KubeManifest =>
    manifest('gateway.networking.k8s.io/v1', 'Gateway', name, { gatewayClassName: 'istio-waypoint' }, { labels });
  const ref = (kind: string, name: string): JsonObject => ({
    group: kind === 'Service' ? '' : 'gateway.networking.k8s.io',
    kind,
    name,
  });
  const at = (target: JsonObject, spec: JsonObject, name = 'shop/w'): KubeManifest =>
    policy({ targetRefs: [target], ...spec }, name);
  const get: Json = operation({ methods: ['GET'] });
  const ofNamespace: Waypoints = { shop: { 'istio.io/use-waypoint': 'waypoint' } };
  it.each<[string, readonly KubeManifest[], string, Waypoints, string]>([
    [
      'requests are judged for the Service',
      [gateway(), at(ref('Service', 'api'), { rules: [get] })],
      `${IN} GET /`,
      ofNamespace,
      'allowed',
    ],
    [
      'and refused for the Service: whoever dials the address of the pod goes past it',
      [gateway(), at(ref('Service', 'api'), { rules: [get] })],
      `${IN} POST /`,
      ofNamespace,
      'unknown',
    ],
    [
      'refused for the Service by the waypoint, and at the pod by ztunnel',
      [gateway(), at(ref('Service', 'api'), { rules: [get] }), allow(source({ principals: ['*/sa/waypoint'] }))],
      `${IN} POST /`,
      ofNamespace,
      'denied',
    ],
    [
      'refused by a waypoint that takes calls to addresses as well',
      [gateway('shop/waypoint', { 'istio.io/waypoint-for': 'all' }), at(ref('Gateway', 'waypoint'), { rules: [get] })],
      `${IN} POST /`,
      ofNamespace,
      'denied',
    ],
    [
      'for the Gateway',
      [gateway(), at(ref('Gateway', 'waypoint'), { rules: [get] })],
      `${IN} POST /`,
      ofNamespace,
      'unknown',
    ],
    [
      'for the class, in the root namespace',
      [gateway(), at(ref('GatewayClass', 'istio-waypoint'), {}, 'istio-system/w')],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'for the class elsewhere',
      [gateway(), at(ref('GatewayClass', 'istio-waypoint'), {})],
      `${IN} GET /`,
      ofNamespace,
      'allowed',
    ],
    ['for another Service', [gateway(), at(ref('Service', 'web'), {})], `${IN} GET /`, ofNamespace, 'allowed'],
    [
      'the Service may name it itself',
      [gateway(), at(ref('Service', 'api'), {})],
      `${IN} GET /`,
      { service: 'shop/waypoint' },
      'unknown',
    ],
    [
      'or want none',
      [gateway(), at(ref('Service', 'api'), {})],
      `${IN} GET /`,
      { ...ofNamespace, service: 'none' },
      'allowed',
    ],
    [
      'one in another namespace',
      [gateway('infra/wp'), at(ref('Gateway', 'wp'), {}, 'infra/w')],
      `${IN} GET /`,
      { service: 'infra/wp' },
      'unknown',
    ],
    ['a Gateway that was not read', [at(ref('Service', 'api'), {})], `${IN} GET /`, ofNamespace, 'unknown'],
    [
      'one for workloads is none for a Service',
      [gateway('shop/waypoint', { 'istio.io/waypoint-for': 'workload' }), at(ref('Gateway', 'waypoint'), {})],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'and is one for a pod called by its address',
      [gateway('shop/waypoint', { 'istio.io/waypoint-for': 'all' }), at(ref('Gateway', 'waypoint'), {})],
      `${WEB} -> ${API} 9999`,
      ofNamespace,
      'denied',
    ],
    [
      'ztunnel then sees the waypoint',
      [gateway(), allow(source({ principals: ['cluster.local/ns/shop/sa/web'] }))],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'whose account must be let in',
      [gateway(), allow(source({ principals: ['cluster.local/ns/shop/sa/waypoint'] }))],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'beside that of who dials the address of the pod',
      [gateway(), allow(source({ principals: ['cluster.local/ns/shop/sa/waypoint', 'cluster.local/ns/shop/sa/web'] }))],
      `${IN} GET /`,
      ofNamespace,
      'allowed',
    ],
    [
      'neither of them',
      [gateway(), allow(source({ principals: ['cluster.local/ns/shop/sa/other'] }))],
      `${IN} GET /`,
      ofNamespace,
      'denied',
    ],
    [
      'selectors mean nothing to it',
      [gateway(), allow(get, source({ principals: ['*/sa/waypoint', '*/sa/web'] }))],
      `${IN} POST /`,
      ofNamespace,
      'allowed',
    ],
    [
      'who is outside goes past it',
      [gateway(), at(ref('Service', 'api'), {})],
      `${OLD} -> ${API} 8080 GET /`,
      ofNamespace,
      'allowed',
    ],
    [
      'a sidecar may',
      [gateway(), at(ref('Service', 'api'), {})],
      `${SIDE} -> ${API} 8080 GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'a token there',
      [gateway(), at(ref('Service', 'api'), { rules: [source({ requestPrincipals: ['*'] })] })],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'a port that is not the same',
      [gateway(), at(ref('Service', 'api'), { rules: [operation({ ports: ['80'] })] })],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
    [
      'a port that is',
      [gateway(), at(ref('Service', 'api'), { rules: [operation({ ports: ['5432'] })] })],
      `${WEB} -> ${API} 5432`,
      ofNamespace,
      'allowed',
    ],
    [
      'a Gateway of another class',
      [manifest('gateway.networking.k8s.io/v1', 'Gateway', 'shop/waypoint', { gatewayClassName: 'istio' })],
      `${IN} GET /`,
      ofNamespace,
      'unknown',
    ],
  ])('%s', (_, policies, text, waypoints, expected) => {
    expect(ask(policies, text, waypoints)).toBe(expected);
  });

  it('says where it is refused', () => {
    const world = worldOf([gateway(), at(ref('Service', 'api'), { rules: [get] })], ofNamespace);
    const [first] = evaluateConnection(world, connection(`${IN} POST /`)).reasons;
    expect(first?.text).toContain('At waypoint shop/waypoint: AuthorizationPolicy shop/w selects');
    expect(first?.text).toContain(`${WEB} calls ${API} by a Service or by its address`);
    expect(first?.text).toContain(NOT_PROVEN);
  });

  it.each<[string, string, readonly KubeManifest[], string]>([
    [
      'is asked for the Service',
      'legacy/wp',
      [gateway('legacy/wp'), at(ref('Service', 'old'), {}, 'legacy/w')],
      'unknown',
    ],
    [
      'that wants none is not asked',
      'none',
      [gateway('legacy/wp'), at(ref('Service', 'old'), {}, 'legacy/w')],
      'allowed',
    ],
    ['lets through what nothing refuses', 'legacy/wp', [gateway('legacy/wp')], 'allowed'],
    ['that was not read is not known', 'legacy/wp', [], 'unknown'],
  ])('before a Service whose pods are outside the mesh %s', (_, useWaypoint, policies, expected) => {
    const inventory = inventoryOf({ ...AMBIENT, policies });
    const services = inventory.services.map((one) => (one.name === 'old' ? { ...one, useWaypoint } : one));
    const world = compileWorld({ ...inventory, services });
    expect(answerOf(world, `${WEB} -> ${OLD} 9000 GET /`)).toBe(expected);
    expect(answerOf(world, `${HOST} -> ${OLD} 9000 GET /`)).toBe('allowed');
    expect(answerOf(world, `${SIDE} -> ${OLD} 9000 GET /`)).toBe('allowed');
  });
});

describe('NetworkPolicy and tunnels', () => {
  const ports = (...list: readonly number[]): KubeManifest =>
    networkPolicy('shop/api', {
      podSelector: { matchLabels: { app: 'api' } },
      ingress: [{ ports: list.map((port) => ({ port })) }],
    });
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['the port of the server is not seen', [ports(8080)], IN, 'denied'],
    ['the tunnel’s is', [ports(15_008)], IN, 'allowed'],
    ['and lets every port through', [ports(15_008)], `${WEB} -> ${API} 5432`, 'allowed'],
    ['who is outside comes to the port', [ports(8080)], `${OLD} -> ${API} 8080`, 'allowed'],
    ['and not through the tunnel', [ports(15_008)], `${OLD} -> ${API} 8080`, 'denied'],
    ['a sidecar tunnels too', [ports(15_008)], `${SIDE} -> ${API} 8080`, 'allowed'],
    ['probes come from an address that networks treat differently', [ports(9999)], `node -> ${API} 8081`, 'unknown'],
    ['and are let in by their port', [ports(8081)], `node -> ${API} 8081`, 'allowed'],
    [
      'or by that address',
      [
        networkPolicy('shop/api', {
          podSelector: {},
          ingress: [{ from: [{ ipBlock: { cidr: '169.254.7.127/32' } }] }],
        }),
      ],
      `node -> ${API} 8081`,
      'allowed',
    ],
    [
      'egress sees the tunnel as well',
      [
        networkPolicy('shop/web', {
          podSelector: { matchLabels: { app: 'web' } },
          policyTypes: ['Egress'],
          egress: [{ ports: [{ port: 8080 }] }],
        }),
      ],
      IN,
      'denied',
    ],
    [
      'a sidecar that may take tunnels',
      [networkPolicy('side/p', { podSelector: {}, ingress: [{ ports: [{ port: 8080 }] }] })],
      `${WEB} -> ${SIDE} 8080`,
      'unknown',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(ask(policies, text)).toBe(expected);
  });

  it('sees the hops over a waypoint', () => {
    const gateway = manifest('gateway.networking.k8s.io/v1', 'Gateway', 'shop/waypoint', {
      gatewayClassName: 'istio-waypoint',
    });
    const waypoint: InventorySketch = {
      workloads: {
        ...AMBIENT.workloads,
        'shop/Deployment/waypoint': {
          labels: { 'gateway.networking.k8s.io/gateway-name': 'waypoint' },
          account: 'waypoint',
          pods: ['10.0.0.9@n1'],
        },
      },
    };
    const from = (label: Labels): KubeManifest =>
      networkPolicy('shop/api', {
        podSelector: { matchLabels: { app: 'api' } },
        ingress: [{ from: [{ podSelector: { matchLabels: label } }], ports: [{ port: 15_008 }] }],
      });
    const named = { shop: { 'istio.io/use-waypoint': 'waypoint' } };
    const its = { 'gateway.networking.k8s.io/gateway-name': 'waypoint' };
    // One of the two ways is cut: by the Service, or by the address of the pod.
    expect(ask([gateway, from({ app: 'web' })], IN, named, waypoint)).toBe('unknown');
    expect(ask([gateway, from(its)], IN, named, waypoint)).toBe('unknown');
    expect(
      ask(
        [gateway, from({ app: 'web' }), { ...from(its), metadata: { name: 'too', namespace: 'shop' } }],
        IN,
        named,
        waypoint,
      ),
    ).toBe('allowed');
    expect(ask([gateway, from({ app: 'other' })], IN, named, waypoint)).toBe('denied');
  });

  it('sees the hops over a waypoint to what is outside the mesh', () => {
    const its: Labels = { 'gateway.networking.k8s.io/gateway-name': 'wp' };
    const only = (label: Labels, port: number): KubeManifest =>
      networkPolicy('legacy/old', {
        podSelector: { matchLabels: { app: 'old' } },
        ingress: [
          { from: [{ podSelector: { matchLabels: label } }], ports: [{ port }] },
          { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 9000 }] },
        ],
      });
    const answer = (...policies: readonly KubeManifest[]): string => {
      const inventory = inventoryOf({
        ...AMBIENT,
        workloads: {
          ...AMBIENT.workloads,
          'legacy/Deployment/wp': { labels: its, account: 'wp', pods: ['10.0.0.9@n1'] },
        },
        policies: [
          manifest('gateway.networking.k8s.io/v1', 'Gateway', 'legacy/wp', { gatewayClassName: 'istio-waypoint' }),
          ...policies,
        ],
      });
      const services = inventory.services.map((one) =>
        one.name === 'old' ? { ...one, useWaypoint: 'legacy/wp' } : one,
      );
      return answerOf(compileWorld({ ...inventory, services }), `${WEB} -> ${OLD} 9000`);
    };
    const closed = networkPolicy('legacy/wp', { podSelector: { matchLabels: its }, ingress: [] });
    const open = networkPolicy('legacy/wp', {
      podSelector: { matchLabels: its },
      ingress: [{ ports: [{ port: 15_008 }] }],
    });
    expect(answer(only(its, 9000), open)).toBe('allowed');
    expect(answer(only(its, 9000), closed)).toBe('unknown');
    expect(answer(only(its, 15_008), open)).toBe('unknown');
    expect(answer(only({ app: 'other' }, 9000), open)).toBe('unknown');
  });

  it('is the same in the table of all pairs', () => {
    const world = worldOf([ports(15_008), STRICT]);
    const found = [...connectivity(world, { mesh: true, to: (id) => id === API })];
    for (const src of [WEB, TRAIN, OLD, SIDE, HOST]) {
      for (const port of [1, 5432, 8080, 15_008]) {
        const one = found.find((pair) => pair.src === src);
        const holds = (run: { protocol: string; from: number; to: number }): boolean =>
          run.protocol === 'TCP' && run.from <= port && port <= run.to;
        const here =
          one?.allowed.some(holds) === true ? 'allowed' : one?.unknown.some(holds) === true ? 'unknown' : 'denied';
        const query = connection(`${src} -> ${API} ${port}`);
        expect([src, port, here]).toEqual([src, port, evaluateConnection(world, query).answer]);
      }
    }
  });
});

describe('a mesh of several kinds', () => {
  it('does not know how pods are in it that nobody has seen', () => {
    const workloads = { ...AMBIENT.workloads, [WEB]: { labels: { app: 'web' }, mesh: 'unknown' as const } };
    expect(ask([], IN, {}, { workloads })).toBe('allowed');
    expect(ask([STRICT], IN, {}, { workloads })).toBe('unknown');
    const mixed = { ...AMBIENT.workloads, [API]: { ...(AMBIENT.workloads?.[API] as object), mesh: 'mixed' as const } };
    expect(ask([policy({})], IN, {}, { workloads: mixed })).toBe('unknown');
    expect(ask([], IN, {}, { workloads: mixed })).toBe('allowed');
  });

  it('leaves pairs of sidecars as they are', () => {
    const strict = [peers('side/default', mode('STRICT'))];
    expect(ask(strict, `${OLD} -> ${SIDE} 8080`)).toBe('denied');
    const [first] = evaluateConnection(worldOf(strict), connection(`${OLD} -> ${SIDE} 8080`)).reasons;
    expect(first?.text).not.toContain(NOT_PROVEN);
  });

  it('has no ambient mode where Istio runs in sidecar mode', () => {
    const workloads = { ...AMBIENT.workloads, [WEB]: { labels: { app: 'web' }, mesh: 'mixed' as const } };
    const sketch = { workloads, mesh: { ...AMBIENT.mesh, mode: 'sidecar' as const } };
    const { reasons } = evaluateConnection(worldOf([], {}, sketch), connection(`${WEB} -> ${SIDE} 8080`));
    for (const { text } of reasons) expect(text).not.toContain(NOT_PROVEN);
  });
});

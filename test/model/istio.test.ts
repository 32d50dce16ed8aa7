import { describe, expect, it } from 'vitest';
import {
  checkPolicies,
  compileWorld,
  evaluateConnection,
  mtlsModeOf,
  principalOf,
  transportOf,
} from '../../src/model/evaluate.ts';
import type { World } from '../../src/model/evaluate.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import type { InventorySketch } from '../support/world.ts';
import { answerOf, connection, endpoint, inventoryOf, manifest } from '../support/world.ts';

const WEB = 'shop/Deployment/web';
const API = 'shop/Deployment/api';
const JOB = 'batch/CronJob/train';
const OLD = 'legacy/Deployment/old';
const MIXED = 'shop/Deployment/mixed';

const MESH: InventorySketch = {
  mesh: { kind: 'istio', mode: 'sidecar' },
  workloads: {
    [WEB]: { labels: { app: 'web' }, mesh: 'sidecar', account: 'web', pods: ['10.0.0.1@n1'] },
    [API]: {
      labels: { app: 'api', version: 'v1' },
      mesh: 'sidecar',
      account: 'api',
      ports: ['http=8080', 'sql=5432', 'auto=7000'],
      probes: [8081],
      pods: ['10.0.0.2@n1'],
    },
    [JOB]: { labels: { app: 'train' }, mesh: 'sidecar', account: 'train', pods: ['10.0.0.3@n1'] },
    [OLD]: { labels: { app: 'old' }, ports: ['9000'], pods: ['10.0.0.4@n1'] },
    [MIXED]: { labels: { app: 'mixed' }, mesh: 'mixed', ports: ['8080'] },
  },
  services: [
    { name: 'shop/api', selects: [API], ports: ['http-main:80->http', 'tcp-sql:5432->sql', '7000->auto'] },
    { name: 'legacy/old', selects: [OLD], ports: ['http:9000'] },
    { name: 'shop/mixed', selects: [MIXED], ports: ['http:8080'] },
  ],
};

function worldOf(policies: readonly KubeManifest[], sketch: InventorySketch = {}): World {
  return compileWorld(inventoryOf({ ...MESH, policies, ...sketch }));
}

function ask(policies: readonly KubeManifest[], text: string, sketch: InventorySketch = {}): string {
  return answerOf(worldOf(policies, sketch), text);
}

function peerAuthentication(name: string, spec: JsonObject, created?: string): KubeManifest {
  const metadata = created === undefined ? {} : { creationTimestamp: created };
  return manifest('security.istio.io/v1', 'PeerAuthentication', name, spec, metadata);
}
const mode = (value: string): JsonObject => ({ mtls: { mode: value } });
const select = (app: string): JsonObject => ({ selector: { matchLabels: { app } } });
const STRICT = peerAuthentication('istio-system/default', mode('STRICT'));

function destinationRule(name: string, host: string, spec: JsonObject = {}): KubeManifest {
  return manifest('networking.istio.io/v1', 'DestinationRule', name, { host, ...spec });
}
const tls = (value: string): JsonObject => ({ trafficPolicy: { tls: { mode: value } } });

function authorization(name: string, spec: JsonObject, annotations: JsonObject = {}): KubeManifest {
  return manifest('security.istio.io/v1', 'AuthorizationPolicy', name, spec, { annotations });
}

describe('PeerAuthentication precedence', () => {
  const [root, namespace] = ['istio-system/default', 'shop/default'];
  const [early, late] = ['2025-01-01T00:00:00Z', '2025-06-01T00:00:00Z'];
  it.each<[string, readonly KubeManifest[], number, string, string]>([
    ['nothing means PERMISSIVE', [], 8080, 'PERMISSIVE', 'the default, as no PeerAuthentication says otherwise'],
    [
      'the root namespace speaks for the mesh',
      [peerAuthentication(root, mode('STRICT'))],
      8080,
      'STRICT',
      'PeerAuthentication istio-system/default',
    ],
    [
      'the namespace goes before the mesh',
      [peerAuthentication(root, mode('STRICT')), peerAuthentication(namespace, mode('PERMISSIVE'))],
      8080,
      'PERMISSIVE',
      'PeerAuthentication shop/default',
    ],
    [
      'the workload goes before the namespace',
      [
        peerAuthentication(namespace, mode('STRICT')),
        peerAuthentication('shop/api', { ...select('api'), ...mode('DISABLE') }),
      ],
      8080,
      'DISABLE',
      'PeerAuthentication shop/api',
    ],
    [
      "another workload's does not count",
      [
        peerAuthentication(namespace, mode('STRICT')),
        peerAuthentication('shop/web', { ...select('web'), ...mode('DISABLE') }),
      ],
      8080,
      'STRICT',
      'PeerAuthentication shop/default',
    ],
    [
      "another namespace's does not count",
      [peerAuthentication('batch/default', mode('STRICT'))],
      8080,
      'PERMISSIVE',
      'the default, as no PeerAuthentication says otherwise',
    ],
    [
      'UNSET inherits',
      [peerAuthentication(root, mode('STRICT')), peerAuthentication(namespace, mode('UNSET'))],
      8080,
      'STRICT',
      'PeerAuthentication istio-system/default',
    ],
    [
      'an absent mode inherits',
      [peerAuthentication(root, mode('STRICT')), peerAuthentication('shop/api', select('api'))],
      8080,
      'STRICT',
      'PeerAuthentication istio-system/default',
    ],
    [
      'an empty selector speaks for the namespace',
      [peerAuthentication(namespace, { selector: { matchLabels: {} }, ...mode('STRICT') })],
      8080,
      'STRICT',
      'PeerAuthentication shop/default',
    ],
    [
      'a port goes before its workload',
      [
        peerAuthentication('shop/api', {
          ...select('api'),
          ...mode('STRICT'),
          portLevelMtls: { '8080': { mode: 'DISABLE' } },
        }),
      ],
      8080,
      'DISABLE',
      'PeerAuthentication shop/api, port 8080',
    ],
    [
      'another port has the mode of the workload',
      [
        peerAuthentication('shop/api', {
          ...select('api'),
          ...mode('STRICT'),
          portLevelMtls: { '8080': { mode: 'DISABLE' } },
        }),
      ],
      5432,
      'STRICT',
      'PeerAuthentication shop/api',
    ],
    [
      'a port that is UNSET inherits',
      [
        peerAuthentication('shop/api', {
          ...select('api'),
          ...mode('STRICT'),
          portLevelMtls: { '8080': { mode: 'UNSET' } },
        }),
      ],
      8080,
      'STRICT',
      'PeerAuthentication shop/api',
    ],
    [
      'ports count for nothing without a selector',
      [peerAuthentication(namespace, { ...mode('STRICT'), portLevelMtls: { '8080': { mode: 'DISABLE' } } })],
      8080,
      'STRICT',
      'PeerAuthentication shop/default',
    ],
    [
      'a selector in the root namespace selects nothing',
      [peerAuthentication('istio-system/api', { ...select('api'), ...mode('STRICT') })],
      8080,
      'PERMISSIVE',
      'the default, as no PeerAuthentication says otherwise',
    ],
    [
      'the oldest of a namespace wins',
      [peerAuthentication('shop/a', mode('STRICT'), late), peerAuthentication('shop/b', mode('DISABLE'), early)],
      8080,
      'DISABLE',
      'PeerAuthentication shop/b',
    ],
    [
      'the oldest of a workload wins',
      [
        peerAuthentication('shop/a', { ...select('api'), ...mode('STRICT') }, late),
        peerAuthentication('shop/b', { ...select('api'), ...mode('DISABLE') }, early),
      ],
      8080,
      'DISABLE',
      'PeerAuthentication shop/b',
    ],
    [
      'the oldest of the mesh wins',
      [
        peerAuthentication('istio-system/a', mode('STRICT'), late),
        peerAuthentication('istio-system/b', mode('DISABLE'), early),
      ],
      8080,
      'DISABLE',
      'PeerAuthentication istio-system/b',
    ],
    [
      'at one time the first name wins',
      [peerAuthentication('shop/b', mode('DISABLE'), early), peerAuthentication('shop/a', mode('STRICT'), early)],
      8080,
      'STRICT',
      'PeerAuthentication shop/a',
    ],
    [
      'one not created yet is the youngest',
      [peerAuthentication('shop/a', mode('STRICT')), peerAuthentication('shop/b', mode('DISABLE'), late)],
      8080,
      'DISABLE',
      'PeerAuthentication shop/b',
    ],
    [
      'a mode that is none is not known',
      [peerAuthentication(namespace, mode('strict'))],
      8080,
      'unknown',
      'PeerAuthentication shop/default',
    ],
    [
      'a selector that is not read leaves the mode open',
      [peerAuthentication(namespace, { ...mode('STRICT'), selectr: {} })],
      8080,
      'unknown',
      'PeerAuthentication shop/default',
    ],
  ])('%s', (_, policies, port, expected, by) => {
    expect(mtlsModeOf(worldOf(policies), API, port)).toEqual({ mode: expected, by });
  });

  it('has no namespace level in the root namespace', () => {
    const workloads = { 'istio-system/Deployment/gw': { labels: { app: 'gw' }, mesh: 'sidecar' as const } };
    const policies = [STRICT, peerAuthentication('istio-system/gw', { ...select('gw'), ...mode('DISABLE') })];
    expect(mtlsModeOf(worldOf(policies, { workloads }), 'istio-system/Deployment/gw', 80).mode).toBe('STRICT');
  });

  it('uses the root namespace of the mesh', () => {
    const sketch = { mesh: { ...MESH.mesh, rootNamespace: 'mesh-root' } };
    expect(mtlsModeOf(worldOf([STRICT], sketch), API, 1).mode).toBe('PERMISSIVE');
    expect(mtlsModeOf(worldOf([peerAuthentication('mesh-root/x', mode('STRICT'))], sketch), API, 1).mode).toBe(
      'STRICT',
    );
  });
});

describe('mTLS between two sides', () => {
  const permissive = peerAuthentication('shop/default', mode('PERMISSIVE'));
  const disabled = peerAuthentication('shop/default', mode('DISABLE'));
  const offAtClient = destinationRule('shop/off', 'api', tls('DISABLE'));
  const mutualAtClient = destinationRule('shop/on', 'api', tls('ISTIO_MUTUAL'));
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['STRICT takes a client with a sidecar', [STRICT], `${WEB} -> ${API} 8080`, 'allowed'],
    ['STRICT refuses a client without', [STRICT], `${OLD} -> ${API} 8080`, 'denied'],
    ['STRICT refuses the outside', [STRICT], `external:8.8.8.8 -> ${API} 8080`, 'denied'],
    ['STRICT refuses the API server', [STRICT], `api-server -> ${API} 8080`, 'denied'],
    ['PERMISSIVE takes plaintext', [STRICT, permissive], `${OLD} -> ${API} 8080`, 'allowed'],
    ['STRICT does nothing to a server without a sidecar', [STRICT], `${WEB} -> ${OLD} 9000`, 'allowed'],
    ['nor between two outside the mesh', [STRICT], `external:8.8.8.8 -> ${OLD} 9000`, 'allowed'],
    ['STRICT does nothing to UDP', [STRICT], `${OLD} -> ${API} 53/UDP`, 'allowed'],
    ['a client that may have no sidecar', [STRICT], `${MIXED} -> ${API} 8080`, 'unknown'],
    ['it does not matter under PERMISSIVE', [permissive], `${MIXED} -> ${API} 8080`, 'allowed'],
    ['a server that may have no sidecar, called in plaintext', [STRICT], `${OLD} -> ${MIXED} 8080`, 'unknown'],
    ['it does not matter to automatic mTLS', [STRICT], `${WEB} -> ${MIXED} 8080`, 'allowed'],
    ['an unknown client of a STRICT server', [STRICT], `unknown -> ${API} 8080`, 'unknown'],
    ['an unknown client of a PERMISSIVE server', [], `unknown -> ${API} 8080`, 'allowed'],
    ['an unknown server while some policy stands', [STRICT], `${WEB} -> unknown 8080`, 'unknown'],
    ['an unknown server while none does', [], `${WEB} -> unknown 8080`, 'allowed'],
    ['a client whose rule switches TLS off', [STRICT, offAtClient], `${WEB} -> ${API} 8080`, 'denied'],
    ['it may under PERMISSIVE', [offAtClient], `${WEB} -> ${API} 8080`, 'allowed'],
    ['a client whose rule demands mTLS', [STRICT, mutualAtClient], `${WEB} -> ${API} 8080`, 'allowed'],
    ['of a server that takes none', [disabled, mutualAtClient], `${WEB} -> ${API} 8080`, 'denied'],
    [
      'of a server without a sidecar',
      [destinationRule('shop/on', 'old.legacy.svc.cluster.local', tls('ISTIO_MUTUAL'))],
      `${WEB} -> ${OLD} 9000`,
      'denied',
    ],
    [
      'TLS of another kind to a server in the mesh',
      [destinationRule('shop/x', 'api', tls('SIMPLE'))],
      `${WEB} -> ${API} 8080`,
      'unknown',
    ],
    [
      'TLS of another kind to a server outside it',
      [destinationRule('shop/x', 'old.legacy.svc.cluster.local', tls('MUTUAL'))],
      `${WEB} -> ${OLD} 9000`,
      'allowed',
    ],
    ['automatic mTLS follows a server that takes none', [disabled], `${WEB} -> ${API} 8080`, 'allowed'],
    ['a port that no Service leads to is dialled by address', [STRICT], `${WEB} -> ${API} 9999`, 'denied'],
    ['it does not matter under PERMISSIVE', [], `${WEB} -> ${API} 9999`, 'allowed'],
    ['a mode that is none', [peerAuthentication('shop/default', mode('x'))], `${OLD} -> ${API} 8080`, 'unknown'],
    [
      'a range with one STRICT port',
      [
        peerAuthentication('shop/api', {
          ...select('api'),
          ...mode('PERMISSIVE'),
          portLevelMtls: { '8082': { mode: 'STRICT' } },
        }),
      ],
      `${OLD} -> ${API} 8080-8085`,
      'denied',
    ],
    [
      'a range beside it',
      [
        peerAuthentication('shop/api', {
          ...select('api'),
          ...mode('PERMISSIVE'),
          portLevelMtls: { '8082': { mode: 'STRICT' } },
        }),
      ],
      `${OLD} -> ${API} 8083-8085`,
      'allowed',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(ask(policies, text)).toBe(expected);
  });

  it('judges every port of a range', () => {
    const ports = (value: JsonObject): readonly KubeManifest[] => [
      peerAuthentication('shop/api', { ...select('api'), ...mode('STRICT'), portLevelMtls: value }),
    ];
    const open = { mode: 'PERMISSIVE' };
    expect(ask(ports({ '8080': open }), `${OLD} -> ${API} 8080-8081`)).toBe('denied');
    expect(ask(ports({ '8081': open }), `${OLD} -> ${API} 8080-8081`)).toBe('denied');
    expect(ask(ports({ '8080': open, '8081': open }), `${OLD} -> ${API} 8080-8081`)).toBe('allowed');
    expect(ask([], `${OLD} -> ${API} 8080-8081`)).toBe('allowed');
  });

  it('does not mind an unknown server where every policy is permissive', () => {
    expect(ask([permissive], `${WEB} -> unknown 8080`)).toBe('allowed');
    expect(ask([authorization('shop/p', {})], `${WEB} -> unknown 8080`)).toBe('unknown');
  });

  it('does not know the mode of pod sets that differ', () => {
    const workloads = {
      'shop/PyTorchJob/t': [
        { role: 'Master', labels: { r: 'm' }, mesh: 'sidecar' as const },
        { role: 'Worker', labels: { r: 'w' }, mesh: 'sidecar' as const },
      ],
    };
    const world = worldOf(
      [peerAuthentication('shop/m', { selector: { matchLabels: { r: 'm' } }, ...mode('STRICT') })],
      { workloads },
    );
    expect(mtlsModeOf(world, 'shop/PyTorchJob/t', 1).mode).toBe('unknown');
  });

  it('says which object refuses plaintext', () => {
    expect(evaluateConnection(worldOf([STRICT]), connection(`${OLD} -> ${API} 8080`)).reasons[0]).toEqual({
      layer: 'mtls',
      decision: 'denies',
      object: 'PeerAuthentication istio-system/default',
      text: `${API} is STRICT (PeerAuthentication istio-system/default). ${OLD} has no sidecar, so it sends plaintext. The connection fails.`,
      remedy: `Let ${OLD} join the mesh, or set portLevelMtls 8080: PERMISSIVE in a PeerAuthentication that selects ${API}.`,
    });
  });

  it('leaves the mesh out on request, and where there is none', () => {
    const query = connection(`${OLD} -> ${API} 8080`);
    expect(evaluateConnection(worldOf([STRICT]), query, { mesh: false }).answer).toBe('allowed');
    expect(ask([STRICT], `${OLD} -> ${API} 8080`, { mesh: { kind: 'none' } })).toBe('allowed');
  });
});

describe('traffic past the proxy', () => {
  const annotated = (annotations: Readonly<Record<string, string>>, id = API): InventorySketch => {
    const own = MESH.workloads?.[id];
    return { workloads: { ...MESH.workloads, [id]: { ...(own as object), annotations } } };
  };
  it.each<[string, string, InventorySketch, string]>([
    ['probes are rewritten', `node -> ${API} 8081`, {}, 'allowed'],
    [
      'unless that is switched off',
      `node -> ${API} 8081`,
      annotated({ 'sidecar.istio.io/rewriteAppHTTPProbers': 'false' }),
      'denied',
    ],
    ['other traffic of a node is plaintext', `node -> ${API} 8080`, {}, 'denied'],
    ['the health port of the proxy is open', `${OLD} -> ${API} 15021`, {}, 'allowed'],
    ['its merged metrics too', `${OLD} -> ${API} 15020`, {}, 'allowed'],
    ['its own metrics too', `${OLD} -> ${API} 15090`, {}, 'allowed'],
    [
      'an excluded port is not STRICT',
      `${OLD} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/excludeInboundPorts': '22, 8080' }),
      'allowed',
    ],
    [
      'clients in the mesh may send mTLS there',
      `${WEB} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/excludeInboundPorts': '8080' }),
      'unknown',
    ],
    [
      'a port that is not included is excluded',
      `${OLD} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/includeInboundPorts': '80' }),
      'allowed',
    ],
    [
      'all ports included',
      `${OLD} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/includeInboundPorts': '*' }),
      'denied',
    ],
    [
      'no ports included: the proxy takes in nothing',
      `${OLD} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/includeInboundPorts': '' }),
      'allowed',
    ],
    [
      'a port that is included is not excluded: that counts beside the star alone',
      `${OLD} -> ${API} 8080`,
      annotated({
        'traffic.sidecar.istio.io/includeInboundPorts': '8080',
        'traffic.sidecar.istio.io/excludeInboundPorts': '8080',
      }),
      'denied',
    ],
    [
      'beside the star it is excluded',
      `${OLD} -> ${API} 8080`,
      annotated({
        'traffic.sidecar.istio.io/includeInboundPorts': ' * ',
        'traffic.sidecar.istio.io/excludeInboundPorts': '8080,',
      }),
      'allowed',
    ],
    [
      'nothing excluded',
      `${OLD} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/excludeInboundPorts': '' }),
      'denied',
    ],
    [
      'a proxy that nothing is redirected into',
      `${OLD} -> ${API} 8080`,
      annotated({ 'sidecar.istio.io/interceptionMode': 'NONE' }),
      'unknown',
    ],
    [
      'a client whose traffic is not redirected',
      `${WEB} -> ${API} 8080`,
      annotated({ 'sidecar.istio.io/interceptionMode': 'NONE' }, WEB),
      'unknown',
    ],
    [
      'redirection as it is by default',
      `${WEB} -> ${API} 8080`,
      annotated({ 'sidecar.istio.io/interceptionMode': 'TPROXY' }, WEB),
      'allowed',
    ],
    [
      'a client whose proxy takes no ranges',
      `${WEB} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/includeOutboundIPRanges': '' }, WEB),
      'unknown',
    ],
    [
      'a client that takes ports past its proxy',
      `${WEB} -> ${API} 8080`,
      annotated({ 'traffic.sidecar.istio.io/excludeOutboundPorts': '80' }, WEB),
      'unknown',
    ],
  ])('%s', (_, text, sketch, expected) => {
    expect(ask([STRICT], text, sketch)).toBe(expected);
  });

  it('does not take a host-network pod for the kubelet', () => {
    const workloads = { ...MESH.workloads, [OLD]: { hostNetwork: true } };
    expect(ask([STRICT], `${OLD} -> ${API} 8081`, { workloads })).toBe('denied');
  });

  it('does not count host-network pods as members', () => {
    const workloads = { ...MESH.workloads, [OLD]: { hostNetwork: true, mesh: 'sidecar' as const } };
    expect(ask([STRICT], `${OLD} -> ${API} 8080`, { workloads })).toBe('denied');
  });
});

describe('DestinationRule in force', () => {
  const HOST = 'api.shop.svc.cluster.local';
  const client = (name: string, host: string, value: string, more: JsonObject = {}): KubeManifest =>
    destinationRule(name, host, { ...tls(value), ...more });
  const port = (number: number, setting: JsonObject, policy: JsonObject = {}): JsonObject => ({
    trafficPolicy: { ...policy, portLevelSettings: [{ port: { number }, ...setting }] },
  });
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['none means automatic mTLS', [], WEB, 'mtls'],
    ["a short name is of the rule's namespace", [client('shop/a', 'api', 'DISABLE')], WEB, 'plaintext'],
    ['a short name elsewhere is another host', [client('batch/a', 'api', 'DISABLE')], JOB, 'mtls'],
    ['a name of two parts is no full name', [client('shop/a', 'api.shop', 'DISABLE')], WEB, 'mtls'],
    ["a full name in the client's namespace", [client('batch/a', HOST, 'DISABLE')], JOB, 'plaintext'],
    ["the Service's namespace", [client('shop/a', HOST, 'DISABLE')], JOB, 'plaintext'],
    ['the root namespace', [client('istio-system/a', HOST, 'DISABLE')], JOB, 'plaintext'],
    ['a third namespace does not count', [client('legacy/a', HOST, 'DISABLE')], JOB, 'mtls'],
    [
      "the client's namespace goes first",
      [client('batch/a', HOST, 'DISABLE'), client('shop/a', HOST, 'ISTIO_MUTUAL')],
      JOB,
      'plaintext',
    ],
    [
      'even with a wildcard',
      [client('batch/a', '*.local', 'DISABLE'), client('shop/a', HOST, 'ISTIO_MUTUAL')],
      JOB,
      'plaintext',
    ],
    [
      "the Service's namespace goes before the root",
      [client('istio-system/a', HOST, 'DISABLE'), client('shop/a', HOST, 'ISTIO_MUTUAL')],
      JOB,
      'mtls',
    ],
    [
      'the exact host goes before a wildcard',
      [client('shop/w', '*.shop.svc.cluster.local', 'DISABLE'), client('shop/a', HOST, 'ISTIO_MUTUAL')],
      WEB,
      'mtls',
    ],
    [
      'the longer wildcard goes first',
      [client('shop/w', '*.shop.svc.cluster.local', 'DISABLE'), client('shop/a', '*.local', 'ISTIO_MUTUAL')],
      WEB,
      'plaintext',
    ],
    ['a wildcard for all', [client('istio-system/a', '*', 'DISABLE')], WEB, 'plaintext'],
    [
      'a wildcard of another namespace',
      [client('istio-system/a', '*.batch.svc.cluster.local', 'DISABLE')],
      WEB,
      'mtls',
    ],
    [
      'a rule without client TLS leaves it automatic',
      [destinationRule('shop/a', 'api', { trafficPolicy: { loadBalancer: {} } })],
      WEB,
      'mtls',
    ],
    [
      "and hides the root's",
      [client('istio-system/a', HOST, 'DISABLE'), destinationRule('shop/a', 'api')],
      WEB,
      'mtls',
    ],
    [
      'client TLS without a mode is none',
      [destinationRule('shop/a', 'api', { trafficPolicy: { tls: {} } })],
      WEB,
      'plaintext',
    ],
    [
      "a Service port's settings",
      [destinationRule('shop/a', 'api', port(80, { tls: { mode: 'DISABLE' } }))],
      WEB,
      'plaintext',
    ],
    [
      "the port is not the pod's",
      [destinationRule('shop/a', 'api', port(8080, { tls: { mode: 'DISABLE' } }))],
      WEB,
      'mtls',
    ],
    [
      'a port without client TLS: its endpoints are marked by that of the others',
      [destinationRule('shop/a', 'api', port(80, {}, { tls: { mode: 'DISABLE' } }))],
      WEB,
      'plaintext',
    ],
    ['by mTLS too', [destinationRule('shop/a', 'api', port(80, {}, { tls: { mode: 'ISTIO_MUTUAL' } }))], WEB, 'mtls'],
    ['a rule kept to its namespace', [client('shop/a', HOST, 'DISABLE', { exportTo: ['.'] })], JOB, 'mtls'],
    ['counts in it', [client('shop/a', HOST, 'DISABLE', { exportTo: ['.'] })], WEB, 'plaintext'],
    ['a rule shown to one namespace', [client('shop/a', HOST, 'DISABLE', { exportTo: ['batch'] })], JOB, 'plaintext'],
    ['a rule shown to nobody', [client('shop/a', HOST, 'DISABLE', { exportTo: ['~'] })], WEB, 'mtls'],
    [
      'a rule shown in a way that is not read',
      [client('shop/a', HOST, 'DISABLE', { exportTo: ['Batch!'] })],
      JOB,
      'unknown',
    ],
    [
      'a rule for other clients',
      [client('shop/a', 'api', 'DISABLE', { workloadSelector: { matchLabels: { a: 'b' } } })],
      WEB,
      'mtls',
    ],
    [
      'a rule for this client',
      [client('shop/a', 'api', 'DISABLE', { workloadSelector: { matchLabels: { app: 'web' } } })],
      WEB,
      'plaintext',
    ],
    [
      'a rule for clients by a label of one pod',
      [client('shop/a', 'api', 'DISABLE', { workloadSelector: { matchLabels: { 'pod-template-hash': 'x' } } })],
      WEB,
      'unknown',
    ],
    [
      'one for some beside one of its namespace alone',
      [
        client('shop/a', 'api', 'DISABLE', { workloadSelector: { matchLabels: { app: 'web' } } }),
        client('shop/b', 'api', 'ISTIO_MUTUAL', { exportTo: ['.'] }),
      ],
      WEB,
      'unknown',
    ],
    [
      'a rule that hides those that are less exact though it is not shown here',
      [
        client('shop/a', HOST, 'DISABLE', { exportTo: ['legacy'] }),
        client('shop/b', '*.shop.svc.cluster.local', 'DISABLE'),
      ],
      JOB,
      'mtls',
    ],
    [
      'the last of those shown differently',
      [client('shop/a', HOST, 'DISABLE', { exportTo: ['*'] }), client('shop/b', HOST, 'ISTIO_MUTUAL')],
      JOB,
      'mtls',
    ],
    [
      'a subset with client TLS',
      [destinationRule('shop/a', 'api', { subsets: [{ name: 'v1', ...tls('DISABLE') }] })],
      WEB,
      'unknown',
    ],
    ['a subset without', [destinationRule('shop/a', 'api', { subsets: [{ name: 'v1', labels: {} }] })], WEB, 'mtls'],
    [
      'of two rules for one host the first',
      [client('shop/a', 'api', 'DISABLE'), client('shop/b', HOST, 'ISTIO_MUTUAL')],
      WEB,
      'plaintext',
    ],
    ['two that agree', [client('shop/a', 'api', 'DISABLE'), client('shop/b', HOST, 'DISABLE')], WEB, 'plaintext'],
    ['a server that takes no mTLS', [peerAuthentication('shop/default', mode('DISABLE'))], WEB, 'plaintext'],
    ['a client without a sidecar', [], OLD, 'plaintext'],
    ['a client of which some have one', [], MIXED, 'unknown'],
    ['the outside', [], 'external:1.1.1.1', 'plaintext'],
  ])('%s', (_, policies, src, expected) => {
    expect(transportOf(worldOf(policies), endpoint(src), endpoint(API), 8080).kind).toBe(expected);
  });

  it('is plaintext without a rule where the mesh switches automatic mTLS off', () => {
    const sketch = { mesh: { ...MESH.mesh, autoMtls: false } };
    const kind = (...policies: readonly KubeManifest[]): string =>
      transportOf(worldOf(policies, sketch), endpoint(WEB), endpoint(API), 8080).kind;
    expect(kind()).toBe('plaintext');
    expect(kind(client('shop/a', 'api', 'ISTIO_MUTUAL'))).toBe('mtls');
    expect(ask([STRICT], `${WEB} -> ${API} 8080`, sketch)).toBe('denied');
  });

  it('goes by all pods behind a headless Service', () => {
    const kindWith = (selects: readonly string[], selector: Readonly<Record<string, string>>): string => {
      const inventory = inventoryOf({
        ...MESH,
        workloads: {
          ...MESH.workloads,
          'shop/Deployment/plain': { labels: { app: 'plain' }, ports: ['http=8080'] },
        },
        services: [{ name: 'shop/all', selects, selector, ports: ['http:8080->http'] }],
      });
      const services = inventory.services.map((service) => ({ ...service, headless: true }));
      return transportOf(compileWorld({ ...inventory, services }), endpoint(WEB), endpoint(API), 8080).kind;
    };
    expect(kindWith([API], { app: 'api' })).toBe('mtls');
    expect(kindWith([API, 'shop/Deployment/plain'], {})).toBe('plaintext');
  });

  it('is not known where the mode of the server is not', () => {
    const world = worldOf([peerAuthentication('shop/default', mode('x'))]);
    expect(transportOf(world, endpoint(WEB), endpoint(API), 8080).kind).toBe('unknown');
  });

  it("asks the Service's namespace first for clients in the root namespace", () => {
    const gateway = 'istio-system/Deployment/gw';
    const sketch = { workloads: { ...MESH.workloads, [gateway]: { mesh: 'sidecar' as const } } };
    const kind = (...policies: readonly KubeManifest[]): string =>
      transportOf(worldOf(policies, sketch), endpoint(gateway), endpoint(API), 8080).kind;
    const root = client('istio-system/a', HOST, 'DISABLE');
    expect(kind(root)).toBe('plaintext');
    expect(kind(root, client('shop/a', HOST, 'ISTIO_MUTUAL'))).toBe('mtls');
    expect(
      kind(client('istio-system/a', HOST, 'DISABLE', { exportTo: ['.'] }), client('shop/a', HOST, 'ISTIO_MUTUAL')),
    ).toBe('plaintext');
  });

  it('is plaintext towards a server without a sidecar and without a mesh', () => {
    expect(transportOf(worldOf([]), endpoint(WEB), endpoint(OLD), 9000).kind).toBe('plaintext');
    expect(transportOf(worldOf([], { mesh: { kind: 'none' } }), endpoint(WEB), endpoint(API), 8080)).toEqual({
      kind: 'plaintext',
      because: 'There is no service mesh.',
    });
  });

  it('names the rule that switches TLS off', () => {
    const { because } = transportOf(worldOf([client('shop/a', 'api', 'DISABLE')]), endpoint(WEB), endpoint(API), 8080);
    expect(because).toBe(`DestinationRule shop/a switches client TLS off for ${HOST}.`);
  });
});

describe('Sidecar, EnvoyFilter, WasmPlugin', () => {
  const sidecar = (name: string, spec: JsonObject): KubeManifest =>
    manifest('networking.istio.io/v1', 'Sidecar', name, spec);
  const REGISTRY: JsonObject = { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } };
  const entry = (name: string, hosts: readonly string[], number = 443, more: JsonObject = {}): KubeManifest =>
    manifest('networking.istio.io/v1', 'ServiceEntry', name, {
      hosts: [...hosts],
      ports: [{ number, name: 'tls', protocol: 'TLS' }],
      ...more,
    });
  const out = `${WEB} -> external:pypi.example 443`;
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['the outside is open by default', [], out, 'allowed'],
    ['REGISTRY_ONLY', [sidecar('shop/default', REGISTRY)], out, 'denied'],
    [
      'REGISTRY_ONLY is what an empty policy means',
      [sidecar('shop/default', { outboundTrafficPolicy: {} })],
      out,
      'denied',
    ],
    ['a name of the mesh', [sidecar('shop/default', REGISTRY), entry('shop/pypi', ['pypi.example'])], out, 'allowed'],
    ['another port', [sidecar('shop/default', REGISTRY), entry('shop/pypi', ['pypi.example'], 80)], out, 'unknown'],
    ['a wildcard name', [sidecar('shop/default', REGISTRY), entry('shop/pypi', ['*.example'])], out, 'unknown'],
    [
      'a name of another namespace alone',
      [sidecar('shop/default', REGISTRY), entry('batch/pypi', ['pypi.example'], 443, { exportTo: ['.'] })],
      out,
      'denied',
    ],
    [
      'an address while the mesh knows some',
      [sidecar('shop/default', REGISTRY), entry('shop/pypi', ['pypi.example'])],
      `${WEB} -> external:8.8.8.8 443`,
      'unknown',
    ],
    [
      'REGISTRY_ONLY for pods that are not known',
      [sidecar('shop/x', { workloadSelector: { labels: { 'pod-template-hash': 'x' } }, ...REGISTRY })],
      out,
      'unknown',
    ],
    ['ALLOW_ANY', [sidecar('shop/default', { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } })], out, 'allowed'],
    ['of the root namespace', [sidecar('istio-system/default', REGISTRY)], out, 'denied'],
    [
      'hidden by one of the namespace',
      [sidecar('istio-system/default', REGISTRY), sidecar('shop/default', {})],
      out,
      'allowed',
    ],
    [
      'for other workloads',
      [sidecar('shop/x', { workloadSelector: { labels: { app: 'api' } }, ...REGISTRY })],
      out,
      'allowed',
    ],
    ['Services stay reachable', [sidecar('shop/default', REGISTRY)], `${WEB} -> ${API} 8080`, 'allowed'],
    [
      'a Service that is not shown is called in plaintext',
      [STRICT, sidecar('shop/default', { egress: [{ hosts: ['istio-system/*'] }] })],
      `${WEB} -> ${API} 8080`,
      'denied',
    ],
    [
      'a Service that is shown',
      [STRICT, sidecar('shop/default', { egress: [{ hosts: ['./*'] }] })],
      `${WEB} -> ${API} 8080`,
      'allowed',
    ],
    [
      'a Service shown by name',
      [STRICT, sidecar('batch/default', { egress: [{ hosts: ['*/api.shop.svc.cluster.local'] }] })],
      `${JOB} -> ${API} 8080`,
      'allowed',
    ],
    [
      'listeners of its own',
      [sidecar('shop/x', { workloadSelector: { labels: { app: 'api' } }, ingress: [{ port: { number: 1 } }] })],
      `${WEB} -> ${API} 8080`,
      'unknown',
    ],
    [
      'an EnvoyFilter on the server',
      [
        manifest('networking.istio.io/v1alpha3', 'EnvoyFilter', 'shop/f', {
          workloadSelector: { labels: { app: 'api' } },
        }),
      ],
      `${OLD} -> ${API} 8080`,
      'unknown',
    ],
    [
      'an EnvoyFilter on another',
      [
        manifest('networking.istio.io/v1alpha3', 'EnvoyFilter', 'shop/f', {
          workloadSelector: { labels: { app: 'x' } },
        }),
      ],
      `${OLD} -> ${API} 8080`,
      'allowed',
    ],
    [
      'a WasmPlugin on all',
      [manifest('extensions.istio.io/v1alpha1', 'WasmPlugin', 'istio-system/f', {})],
      `${WEB} -> ${API} 8080`,
      'unknown',
    ],
    [
      'a VirtualService decides nothing',
      [manifest('networking.istio.io/v1', 'VirtualService', 'shop/v', { hosts: ['api'] })],
      `${WEB} -> ${API} 8080`,
      'allowed',
    ],
    [
      'a RequestAuthentication refuses no request without a token',
      [manifest('security.istio.io/v1', 'RequestAuthentication', 'shop/r', {})],
      `${WEB} -> ${API} 8080`,
      'allowed',
    ],
  ])('%s', (_, policies, text, expected) => {
    expect(ask(policies, text)).toBe(expected);
  });
});

const FROM_WEB: Json = { source: { principals: ['cluster.local/ns/shop/sa/web'] } };
const allow = (...rules: readonly Json[]): JsonObject => ({ ...select('api'), rules });
const deny = (...rules: readonly Json[]): JsonObject => ({ ...select('api'), action: 'DENY', rules });
const one = (spec: JsonObject): readonly KubeManifest[] => [authorization('shop/p', spec)];
const HTTP = `${WEB} -> ${API} 8080`;
const TCP = `${WEB} -> ${API} 5432`;
const AUTO = `${WEB} -> ${API} 7000`;

describe('AuthorizationPolicy: actions', () => {
  it.each<[string, readonly KubeManifest[], string, string]>([
    ['none allows', [], HTTP, 'allowed'],
    ['an empty spec allows nothing in its namespace', [authorization('shop/p', {})], HTTP, 'denied'],
    ['and says nothing of another', [authorization('batch/p', {})], HTTP, 'allowed'],
    ['in the root namespace it speaks for all', [authorization('istio-system/p', {})], HTTP, 'denied'],
    ['with a selector too', [authorization('istio-system/p', { ...select('web') })], HTTP, 'allowed'],
    ['an empty rule allows all', one(allow({})), HTTP, 'allowed'],
    ['no rules with a selector allow nothing', one(select('api')), HTTP, 'denied'],
    ['the action is ALLOW by default', one(allow({ from: [FROM_WEB] })), HTTP, 'allowed'],
    ['ALLOW denies the others', one(allow({ from: [FROM_WEB] })), `${JOB} -> ${API} 8080`, 'denied'],
    ['DENY denies what it matches', one(deny({ from: [FROM_WEB] })), HTTP, 'denied'],
    ['and nothing else', one(deny({ from: [FROM_WEB] })), `${JOB} -> ${API} 8080`, 'allowed'],
    ['DENY without rules denies nothing', one(deny()), HTTP, 'allowed'],
    ['DENY with an empty rule denies all', one(deny({})), HTTP, 'denied'],
    [
      'DENY goes before ALLOW',
      [authorization('shop/a', allow({})), authorization('shop/b', deny({ from: [FROM_WEB] }))],
      HTTP,
      'denied',
    ],
    [
      'of several ALLOW any may admit',
      [authorization('shop/a', allow()), authorization('shop/b', allow({}))],
      HTTP,
      'allowed',
    ],
    [
      'CUSTOM is unknown',
      one({ ...select('api'), action: 'CUSTOM', provider: { name: 'x' }, rules: [{}] }),
      HTTP,
      'unknown',
    ],
    [
      'CUSTOM that does not match is not',
      one({ ...select('api'), action: 'CUSTOM', rules: [{ to: [{ operation: { ports: ['1'] } }] }] }),
      HTTP,
      'allowed',
    ],
    [
      'DENY is sure whatever CUSTOM says',
      [authorization('shop/a', { ...select('api'), action: 'CUSTOM', rules: [{}] }), authorization('shop/b', deny({}))],
      HTTP,
      'denied',
    ],
    ['AUDIT decides nothing', one({ ...select('api'), action: 'AUDIT', rules: [] }), HTTP, 'allowed'],
    ['a rehearsal decides nothing', [authorization('shop/p', {}, { 'istio.io/dry-run': 'true' })], HTTP, 'allowed'],
    ['a rehearsal that is off decides', [authorization('shop/p', {}, { 'istio.io/dry-run': 'false' })], HTTP, 'denied'],
    ['it acts on sidecars only', [authorization('legacy/p', {})], `${WEB} -> ${OLD} 9000`, 'allowed'],
    ['a server of which some pods have one', [authorization('shop/p', {})], `${WEB} -> ${MIXED} 8080`, 'unknown'],
    ['it does nothing to UDP', one(select('api')), `${WEB} -> ${API} 53/UDP`, 'allowed'],
    ['targetRefs are no matter of sidecars', one({ targetRefs: [{ kind: 'Service', name: 'api' }] }), HTTP, 'allowed'],
    ['one targetRef neither', one({ targetRef: { kind: 'Service', name: 'api' } }), HTTP, 'allowed'],
    [
      'targetRefs beside a selector',
      one({ ...select('api'), targetRefs: [{ kind: 'Service', name: 'api' }] }),
      HTTP,
      'unknown',
    ],
    ['rules that are no list', one({ ...select('api'), rules: {} }), HTTP, 'unknown'],
    ['a from without a source', one(allow({ from: [] })), HTTP, 'unknown'],
    ['an action that is none', one({ ...select('api'), action: 'DENI', rules: [{}] }), HTTP, 'unknown'],
    ['a field that is not known', one(allow({ from: [{ source: { principal: ['x'] } }] })), HTTP, 'unknown'],
    ['a source without anything', one(allow({ from: [{ source: {} }] })), HTTP, 'unknown'],
  ])('%s', (_, policies, text, expected) => {
    expect(ask(policies, text)).toBe(expected);
  });

  it('names the policy and rule that deny, and the policies that admit nothing', () => {
    const reasonsOf = (policies: readonly KubeManifest[]): unknown =>
      evaluateConnection(worldOf(policies), connection(HTTP)).reasons.find(({ decision }) => decision === 'denies');
    expect(reasonsOf(one(deny({ from: [{ source: { namespaces: ['x'] } }] }, {})))).toEqual({
      layer: 'authorization',
      decision: 'denies',
      object: 'AuthorizationPolicy shop/p',
      rule: 1,
      field: 'spec.rules[1]',
      text: `spec.rules[1] of AuthorizationPolicy shop/p denies ${WEB} to ${API} on port 8080.`,
      remedy: `Take ${WEB} out of spec.rules[1] of AuthorizationPolicy shop/p: name it in notPrincipals or notNamespaces of each source, or drop the rule.`,
    });
    expect(reasonsOf(one(allow()))).toEqual({
      layer: 'authorization',
      decision: 'denies',
      object: 'AuthorizationPolicy shop/p',
      text: `AuthorizationPolicy shop/p selects ${API}, and no rule admits ${WEB} on port 8080.`,
      remedy:
        'Add this rule to spec.rules of AuthorizationPolicy shop/p: {"from":[{"source":{"principals":["cluster.local/ns/shop/sa/web"]}}],"to":[{"operation":{"ports":["8080"]}}]}.',
      admits: {
        from: [{ source: { principals: ['cluster.local/ns/shop/sa/web'] } }],
        to: [{ operation: { ports: ['8080'] } }],
      },
    });
  });
});

describe('AuthorizationPolicy: sources', () => {
  const source = (fields: JsonObject): JsonObject => allow({ from: [{ source: fields }] });
  it.each<[string, JsonObject, string, string]>([
    ['a principal', source({ principals: ['cluster.local/ns/shop/sa/web'] }), WEB, 'allowed'],
    ['another principal', source({ principals: ['cluster.local/ns/shop/sa/x'] }), WEB, 'denied'],
    ['a prefix', source({ principals: ['cluster.local/ns/shop/*'] }), WEB, 'allowed'],
    ['a suffix', source({ principals: ['*/sa/web'] }), WEB, 'allowed'],
    ['presence', source({ principals: ['*'] }), JOB, 'allowed'],
    ['a star in the middle is a letter', source({ principals: ['cluster.local/*/sa/web'] }), WEB, 'denied'],
    ['plaintext has no principal', source({ principals: ['*'] }), OLD, 'denied'],
    ['nor a namespace', source({ namespaces: ['legacy'] }), OLD, 'denied'],
    ['nor an account', source({ serviceAccounts: ['legacy/default'] }), OLD, 'denied'],
    ['so a negation holds', source({ notPrincipals: ['*'] }), OLD, 'allowed'],
    ['and does not with mTLS', source({ notPrincipals: ['*'] }), WEB, 'denied'],
    ['a namespace', source({ namespaces: ['shop'] }), WEB, 'allowed'],
    ['a namespace by prefix', source({ namespaces: ['sh*'] }), WEB, 'allowed'],
    ['another namespace', source({ namespaces: ['shop'] }), JOB, 'denied'],
    ['another prefix', source({ namespaces: ['sh*'] }), JOB, 'denied'],
    ['another suffix', source({ principals: ['*/sa/web'] }), JOB, 'denied'],
    ['not a namespace', source({ notNamespaces: ['shop'] }), JOB, 'allowed'],
    ["an account of the policy's namespace", source({ serviceAccounts: ['web'] }), WEB, 'allowed'],
    ['an account of another namespace', source({ serviceAccounts: ['batch/train'] }), JOB, 'allowed'],
    ['fields of a source must all hold', source({ principals: ['*'], namespaces: ['batch'] }), WEB, 'denied'],
    ['of several sources any may', allow({ from: [{ source: { namespaces: ['x'] } }, FROM_WEB] }), WEB, 'allowed'],
    [
      'of several rules any may',
      allow({ from: [{ source: { namespaces: ['x'] } }] }, { from: [FROM_WEB] }),
      WEB,
      'allowed',
    ],
    ['an empty list counts as absent', source({ principals: [], namespaces: ['shop'] }), WEB, 'allowed'],
    ['an address of the outside', source({ ipBlocks: ['8.8.8.0/24'] }), 'external:8.8.8.8', 'allowed'],
    ['another address', source({ ipBlocks: ['8.8.8.8'] }), 'external:8.8.8.9', 'denied'],
    ['not an address', source({ notIpBlocks: ['8.8.8.8'] }), 'external:8.8.8.9', 'allowed'],
    ['the address of a pod', source({ ipBlocks: ['10.0.0.1'] }), WEB, 'allowed'],
    ['a pod without a known address', source({ ipBlocks: ['10.0.0.1'] }), MIXED, 'unknown'],
    ['a name outside', source({ ipBlocks: ['10.0.0.1'] }), 'external:x.example', 'unknown'],
    ['a token that nobody checks', source({ requestPrincipals: ['*'] }), WEB, 'denied'],
    ['no token', source({ notRequestPrincipals: ['*'] }), WEB, 'allowed'],
    ['an address that a header states', source({ remoteIpBlocks: ['10.0.0.1'] }), WEB, 'unknown'],
    ['an unknown source by address', source({ ipBlocks: ['10.0.0.1'] }), 'unknown', 'unknown'],
    ['a node by address', source({ ipBlocks: ['10.0.0.1'] }), 'node', 'unknown'],
    ['an address that is none', source({ ipBlocks: ['x'] }), WEB, 'unknown'],
    ['a workload of which only the namespace is known', source({ namespaces: ['shop'] }), 'shop/Job/gone', 'unknown'],
    ['an unknown source', source({ principals: ['cluster.local/ns/shop/sa/web'] }), 'unknown', 'unknown'],
    ['a client that may have no sidecar', source({ principals: ['*'] }), MIXED, 'unknown'],
    ['where it does not matter', allow({}), MIXED, 'allowed'],
  ])('%s', (_, spec, src, expected) => {
    expect(ask(one(spec), `${src} -> ${API} 8080`)).toBe(expected);
  });

  it('takes cluster.local for the trust domain of the mesh', () => {
    const sketch = { mesh: { ...MESH.mesh, trustDomain: 'bank.example' } };
    expect(ask(one(source({ principals: ['cluster.local/ns/shop/sa/web'] })), HTTP, sketch)).toBe('allowed');
    expect(ask(one(source({ principals: ['bank.example/ns/shop/sa/web'] })), HTTP, sketch)).toBe('allowed');
    expect(ask(one(source({ principals: ['bank.example/ns/shop/sa/web'] })), HTTP)).toBe('denied');
  });

  it('compares a pattern that is no whole principal as it stands, whatever the trust domain', () => {
    const sketch = { mesh: { ...MESH.mesh, trustDomain: 'bank.example' } };
    expect(ask(one(source({ principals: ['cluster.local/ns/shop/*'] })), HTTP, sketch)).toBe('denied');
    expect(ask(one(source({ principals: ['cluster.local/ns/shop/sa/*'] })), HTTP, sketch)).toBe('allowed');
    expect(ask(one(source({ principals: ['bank.example/ns/shop/*'] })), HTTP, sketch)).toBe('allowed');
    expect(ask(one(source({ principals: ['*.example/ns/shop/sa/web'] })), HTTP, sketch)).toBe('allowed');
  });

  it('takes an alias of the trust domain for it', () => {
    const sketch = { mesh: { ...MESH.mesh, trustDomain: 'bank.example', trustDomainAliases: ['old.example'] } };
    expect(ask(one(source({ principals: ['old.example/ns/shop/sa/web'] })), HTTP, sketch)).toBe('allowed');
    expect(ask(one(source({ principals: ['older.example/ns/shop/sa/web'] })), HTTP, sketch)).toBe('denied');
    expect(ask(one(source({ trustDomains: ['old.example'] })), HTTP, sketch)).toBe('allowed');
    expect(ask(one(source({ trustDomains: ['cluster.local'] })), HTTP, sketch)).toBe('denied');
    expect(ask(one(source({ notTrustDomains: ['bank.*'] })), HTTP, sketch)).toBe('denied');
  });

  it('tells by what is known of a workload whose account is not', () => {
    const gone = `shop/Job/gone -> ${API} 8080`;
    expect(ask(one(source({ principals: ['cluster.local/ns/batch/*'] })), gone)).toBe('denied');
    expect(ask(one(source({ principals: ['cluster.local/ns/shop/sa/web'] })), gone)).toBe('unknown');
    expect(ask(one(deny({ from: [{ source: { principals: ['cluster.local/ns/batch/sa/*'] } }] })), gone)).toBe(
      'allowed',
    );
  });

  it('gives no identity to a client whose rule switches TLS off', () => {
    const policies = [...one(source({ principals: ['*'] })), destinationRule('shop/off', 'api', tls('DISABLE'))];
    expect(ask(policies, HTTP)).toBe('denied');
  });

  it('gives one to a client whose rule demands mTLS, and may to one of which nothing is known', () => {
    const spec = one(source({ principals: ['*'] }));
    expect(ask([...spec, destinationRule('shop/on', 'api', tls('ISTIO_MUTUAL'))], HTTP)).toBe('allowed');
    expect(ask([...spec, peerAuthentication('shop/default', mode('x'))], HTTP)).toBe('unknown');
  });

  it('says what an answer depends on', () => {
    const reasonsOf = (src: string, spec: JsonObject): string | undefined =>
      evaluateConnection(worldOf(one(spec)), connection(src)).reasons[0]?.text;
    expect(reasonsOf(`${MIXED} -> ${API} 8080`, source({ principals: ['*'] }))).toBe(
      `It depends on whether the client presents an identity, which is not known: AuthorizationPolicy shop/p selects ${API}, and no rule admits ${MIXED} (which has no identity here, as it sends plaintext) on port 8080.`,
    );
    expect(reasonsOf(HTTP, allow({ to: [{ operation: { methods: ['GET'] } }] }))).toBe(
      `Whether AuthorizationPolicy shop/p admits ${WEB} to ${API} cannot be told: its rule looks at methods, which is not all known of this connection.`,
    );
  });

  it('gives none on a server that takes no mTLS', () => {
    const policies = [...one(source({ principals: ['*'] })), peerAuthentication('shop/default', mode('DISABLE'))];
    expect(ask(policies, HTTP)).toBe('denied');
  });
});

describe('AuthorizationPolicy: operations', () => {
  const to = (fields: JsonObject): JsonObject => allow({ to: [{ operation: fields }] });
  it.each<[string, JsonObject, string, string]>([
    ['the port of the pod', to({ ports: ['8080'] }), HTTP, 'allowed'],
    ['not the port of the Service', to({ ports: ['80'] }), HTTP, 'denied'],
    ['not a port', to({ notPorts: ['8080'] }), HTTP, 'denied'],
    ['a range of ports of which one is named', to({ ports: ['8081'] }), `${WEB} -> ${API} 8080-8082`, 'unknown'],
    ['a port that is none', to({ ports: ['http'] }), HTTP, 'unknown'],
    ['a method', to({ methods: ['GET'] }), `${HTTP} GET /a`, 'allowed'],
    ['another method', to({ methods: ['GET'] }), `${HTTP} POST /a`, 'denied'],
    ['not a method', to({ notMethods: ['GET'] }), `${HTTP} POST /a`, 'allowed'],
    ['a path', to({ paths: ['/a'] }), `${HTTP} GET /a`, 'allowed'],
    ['a path is not a prefix', to({ paths: ['/a'] }), `${HTTP} GET /a/b`, 'denied'],
    ['a prefix', to({ paths: ['/a/*'] }), `${HTTP} GET /a/b`, 'allowed'],
    ['a suffix', to({ paths: ['*/b'] }), `${HTTP} GET /a/b`, 'allowed'],
    ['presence', to({ paths: ['*'] }), `${HTTP} GET /a/b`, 'allowed'],
    ['a query is no part of the path', to({ paths: ['/a'] }), `${HTTP} GET /a?b=c`, 'allowed'],
    ['a template', to({ paths: ['/a/{*}'] }), `${HTTP} GET /a/b`, 'allowed'],
    ['a template of something else', to({ paths: ['/a/{*}'] }), `${HTTP} GET /a/b/c`, 'denied'],
    ['a template that is none', to({ paths: ['/a/{*}x'] }), `${HTTP} GET /a/b`, 'unknown'],
    ['an escape that means the same', to({ paths: ['/a/*'] }), `${HTTP} GET /a/%20`, 'allowed'],
    ['an escape of a plain letter', to({ paths: ['/a/b'] }), `${HTTP} GET /a/%62`, 'allowed'],
    ['another escape stays', to({ paths: ['/a/b'] }), `${HTTP} GET /a%2fb`, 'denied'],
    ['dots that lead up', to({ paths: ['/b'] }), `${HTTP} GET /a/../b`, 'allowed'],
    ['a folded path', to({ paths: ['/a/b'] }), `${HTTP} GET /a/{id}`, 'unknown'],
    ['method and path must both hold', to({ methods: ['GET'], paths: ['/b'] }), `${HTTP} GET /a`, 'denied'],
    ['an operation that is not recorded', to({ methods: ['GET'] }), HTTP, 'unknown'],
    ['a host', to({ hosts: ['x'] }), `${HTTP} GET /a`, 'unknown'],
    ['rules without HTTP do not mind', to({ ports: ['8080'] }), `${HTTP} GET /a`, 'allowed'],
    ['ALLOW with HTTP fields on a TCP port never matches', to({ methods: ['GET'] }), TCP, 'denied'],
    [
      'nor with a part that would',
      allow({ to: [{ operation: { ports: ['5432'] } }, { operation: { methods: ['GET'] } }] }),
      TCP,
      'denied',
    ],
    [
      'another rule still may',
      allow({ to: [{ operation: { methods: ['GET'] } }] }, { to: [{ operation: { ports: ['5432'] } }] }),
      TCP,
      'allowed',
    ],
    ['nor with a token', allow({ from: [{ source: { requestPrincipals: ['*'] } }] }), TCP, 'denied'],
    [
      'DENY on a TCP port loses its HTTP part',
      deny({ to: [{ operation: { methods: ['GET'], ports: ['5432'] } }] }),
      TCP,
      'denied',
    ],
    ['and keeps the rest', deny({ to: [{ operation: { methods: ['GET'], ports: ['1'] } }] }), TCP, 'allowed'],
    ['a negated HTTP field is lost as well', deny({ to: [{ operation: { notMethods: ['GET'] } }] }), TCP, 'denied'],
    ['an undeclared port may be either', to({ methods: ['GET'] }), AUTO, 'unknown'],
    ['with an operation on record it speaks HTTP', to({ methods: ['GET'] }), `${AUTO} GET /a`, 'allowed'],
    ['where nothing asks for HTTP it does not matter', to({ ports: ['7000'] }), AUTO, 'allowed'],
    ['a DENY of either kind denies', deny({ to: [{ operation: { ports: ['7000'] } }] }), AUTO, 'denied'],
  ])('%s', (_, spec, text, expected) => {
    expect(ask(one(spec), text)).toBe(expected);
  });

  it.each<[string, string | undefined, string]>([
    ['http', undefined, 'allowed'],
    ['http2-x', undefined, 'allowed'],
    ['grpc', undefined, 'allowed'],
    ['grpc-web-x', undefined, 'allowed'],
    ['https', undefined, 'denied'],
    ['tcp', undefined, 'denied'],
    ['mongo', undefined, 'denied'],
    ['tcp', 'http', 'allowed'],
    ['http', 'tcp', 'denied'],
    ['x', 'kubernetes.io/h2c', 'allowed'],
  ])('knows HTTP by the port name %s and appProtocol %s', (name, appProtocol, expected) => {
    const services = [
      {
        name: 'shop/api',
        selects: [API],
        ports: [`${name}:80->8080`],
        ...(appProtocol === undefined ? {} : { appProtocol }),
      },
    ];
    expect(ask(one(to({ methods: ['GET'] })), `${HTTP} GET /a`, { services })).toBe(expected);
  });

  it.each<[string, JsonObject, string]>([
    ['source.namespace', { key: 'source.namespace', values: ['shop'] }, 'allowed'],
    ['source.principal', { key: 'source.principal', notValues: ['*/sa/web'] }, 'denied'],
    ['not a namespace', { key: 'source.namespace', notValues: ['x'] }, 'allowed'],
    ['source.ip', { key: 'source.ip', values: ['10.0.0.0/24'] }, 'allowed'],
    ['destination.port', { key: 'destination.port', values: ['1'] }, 'denied'],
    ['a header', { key: 'request.headers[x]', values: ['y'] }, 'unknown'],
    ['the SNI', { key: 'connection.sni', values: ['y'] }, 'denied'],
    ['metadata of a filter', { key: 'experimental.envoy.filters.x[y]', values: ['z'] }, 'unknown'],
    ['a key that is none', { key: 'request.header[x]', values: ['y'] }, 'unknown'],
    ['a key without values', { key: 'source.ip' }, 'unknown'],
    ['source.trustDomain', { key: 'source.trustDomain', values: ['cluster.*'] }, 'allowed'],
    ['source.serviceAccount', { key: 'source.serviceAccount', values: ['shop/web'] }, 'allowed'],
    ['a claim that nobody checks', { key: 'request.auth.claims[a][b]', values: ['*'] }, 'denied'],
  ])('when: %s', (_, when, expected) => {
    expect(ask(one(allow({ when: [when] })), HTTP)).toBe(expected);
  });

  it('does not know a condition that is not evaluated on a TCP port either', () => {
    const when = [{ key: 'experimental.envoy.filters.x[y]', values: ['z'] }];
    expect(ask(one(allow({ when })), TCP)).toBe('unknown');
  });

  it('lets a condition on a header match nothing for ALLOW on a TCP port, and everything for DENY', () => {
    const when = [{ key: 'request.headers[x]', values: ['y'] }];
    expect(ask(one(allow({ when })), TCP)).toBe('denied');
    expect(ask(one(deny({ when })), TCP)).toBe('denied');
  });
});

describe('the mesh as a whole', () => {
  it('asks NetworkPolicy and the mesh', () => {
    const netpol = manifest('networking.k8s.io/v1', 'NetworkPolicy', 'shop/p', {
      podSelector: {},
      ingress: [{ ports: [{ port: 8080 }] }],
    });
    expect(ask([netpol], HTTP)).toBe('allowed');
    expect(ask([netpol], TCP)).toBe('denied');
    expect(ask([netpol, STRICT], `${OLD} -> ${API} 8080`)).toBe('denied');
  });

  it('gives the principals of those in the mesh', () => {
    const sketch: InventorySketch = {
      mesh: { ...MESH.mesh, trustDomain: 'bank.example' },
      workloads: {
        ...MESH.workloads,
        'ml/PyTorchJob/t': [
          { role: 'Master', mesh: 'sidecar', account: 'm' },
          { role: 'Worker', mesh: 'sidecar', account: 'w' },
        ],
      },
    };
    const world = worldOf([], sketch);
    expect(principalOf(world, endpoint(WEB))).toEqual(['bank.example/ns/shop/sa/web']);
    expect(principalOf(world, endpoint('ml/PyTorchJob/t'))).toEqual([
      'bank.example/ns/ml/sa/m',
      'bank.example/ns/ml/sa/w',
    ]);
    expect(principalOf(world, endpoint(OLD))).toEqual([]);
    expect(principalOf(world, endpoint('node'))).toEqual([]);
  });

  it('reports what cannot be judged', () => {
    const policies = [
      peerAuthentication('shop/a', mode('strict')),
      authorization('shop/b', allow({ form: [] })),
      manifest('networking.istio.io/v1alpha3', 'EnvoyFilter', 'shop/c', {}),
      manifest('cilium.io/v2', 'CiliumNetworkPolicy', 'shop/d', {}),
      STRICT,
    ];
    expect(checkPolicies(inventoryOf({ policies })).map(({ code, subject }) => [code, subject])).toEqual([
      ['SP343', 'PeerAuthentication shop/a'],
      ['SP343', 'AuthorizationPolicy shop/b'],
      ['SP344', 'EnvoyFilter shop/c'],
      ['SP344', 'CiliumNetworkPolicy shop/d'],
    ]);
  });
});

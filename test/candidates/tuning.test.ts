// What each kind of proposal takes to be made, what stands against it, and what it would write.
import { describe, expect, it } from 'vitest';
import { measureControls } from '../../src/candidates/tuning/budget.ts';
import { connectionBound } from '../../src/candidates/tuning/connection-pool.ts';
import { LONGEST_TTL_SEC, ttlFor } from '../../src/candidates/tuning/ext-authz-cache.ts';
import { proposeTuning } from '../../src/candidates/tuning/index.ts';
import { authorizersAsked } from '../../src/candidates/tuning/mesh-providers.ts';
import { measureAgain } from '../../src/candidates/tuning/measure.ts';
import type { Proposal, TuningInput } from '../../src/candidates/tuning/proposal.ts';
import { TUNING_KINDS } from '../../src/candidates/tuning/proposal.ts';
import { realisePool } from '../../src/candidates/tuning/rule.ts';
import { parseQuantity } from '../../src/candidates/tuning/proxy-resources.ts';
import { changedByScope, namespacesShown } from '../../src/candidates/tuning/sidecar-scope.ts';
import type { Edge } from '../../src/model/edge.ts';
import { namespaceOfWorkload } from '../../src/model/edge.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import type { KubeManifest } from '../../src/model/object.ts';
import { refKey, refOf } from '../../src/model/object.ts';
import type { TuningMetrics } from '../../src/model/tuning.ts';
import { buildPeerAuthentication } from '../../src/objects/build.ts';
import { buildScope } from '../../src/objects/istio-traffic.ts';
import { editObject } from '../../src/plan/change.ts';
import { yamlValue } from '../../src/shared/io/yaml.ts';
import fc from '../support/fast-check.ts';
import { edgeOf } from '../support/rig.ts';
import type { InventorySketch } from '../support/world.ts';
import { inventoryOf, manifest } from '../support/world.ts';

const MiB = 1024 * 1024;
const NONE: TuningMetrics = {
  window: { from: 0, to: 86_400_000 },
  source: 'test',
  controls: [],
  services: [],
  proxies: [],
  authorizers: [],
  missing: [],
};
const MESH = { kind: 'istio', mode: 'sidecar' } as const;
const meshed = (app: string) => ({ mesh: 'sidecar', labels: { app }, ports: [8080], pods: ['10.0.0.1'] }) as const;
const SHOP: InventorySketch = {
  mesh: MESH,
  workloads: {
    'shop/Deployment/web': meshed('web'),
    'shop/Deployment/db': meshed('db'),
    'desk/Deployment/app': meshed('app'),
  },
  services: [
    { name: 'shop/web', selects: ['shop/Deployment/web'], selector: { app: 'web' }, ports: ['http:8080'] },
    { name: 'shop/db', selects: ['shop/Deployment/db'], selector: { app: 'db' }, ports: ['tcp:5432'] },
    { name: 'desk/app', selects: ['desk/Deployment/app'], selector: { app: 'app' }, ports: ['http:8080'] },
  ],
};

interface Given extends Partial<Omit<TuningInput, 'inventory' | 'metrics' | 'edges' | 'objects'>> {
  readonly sketch?: InventorySketch;
  readonly inventory?: Inventory;
  readonly metrics?: Partial<TuningMetrics>;
  readonly edges?: readonly string[];
  readonly objects?: readonly KubeManifest[];
  /** `data.mesh` of the ConfigMap `istio`, which says nothing where it is left out; false: not read. */
  readonly mesh?: string | false;
}

const meshMap = (mesh: string, name = 'istio-system/istio'): KubeManifest => ({
  ...manifest('v1', 'ConfigMap', name, {}),
  data: { mesh },
});

function inputOf({
  sketch = SHOP,
  inventory,
  metrics = {},
  edges = [],
  objects: given = [],
  mesh = '',
  ...rest
}: Given): TuningInput {
  const objects = mesh === false ? given : [...given, meshMap(mesh)];
  return {
    namespace: 'shop',
    inventory: inventory ?? inventoryOf({ ...sketch, policies: [...(sketch.policies ?? []), ...given] }),
    objects,
    edges: edges.map((text) => edgeOf(text)),
    metrics: { ...NONE, ...metrics },
    evidenceHours: 200,
    neededHours: 168,
    parseText: yamlValue,
    ...rest,
  };
}

const WEB = { namespace: 'shop', service: 'web', port: 8080 } as const;
const BUSY = {
  ...WEB,
  requestsPerSec: 200,
  connectionsPerSec: 60,
  peakConnections: 40,
  peakRequests: 50,
  http1Share: 1,
};
const rule = (spec: Record<string, unknown>, name = 'shop/web'): KubeManifest =>
  manifest('networking.istio.io/v1', 'DestinationRule', name, spec as never);
const HOST = 'web.shop.svc.cluster.local';
const CUSTOM = manifest('security.istio.io/v1', 'AuthorizationPolicy', 'shop/ask', {
  action: 'CUSTOM',
  provider: { name: 'opa' },
  rules: [{}],
});
const sensitive = (inventory: Inventory, sorts: readonly string[], stage = 'unknown'): Inventory => ({
  ...inventory,
  workloads: inventory.workloads.map((one) => ({
    ...one,
    classification: { ...one.classification, sensitivity: sorts, stage },
  })),
});
const many = (count: number): InventorySketch => ({
  ...SHOP,
  namespaces: Object.fromEntries(Array.from({ length: count }, (_, index) => [`other-${index}`, {}])),
});
const TWO_PORTS: InventorySketch = {
  ...SHOP,
  services: [{ name: 'shop/web', selects: ['shop/Deployment/web'], ports: ['http:8080', 'http-admin:8081'] }],
};
const BIG = {
  proxies: [{ workload: 'shop/Deployment/web', proxies: 3, clusters: 900, memoryBytes: 200 * MiB, cpuCores: 0.4 }],
};
const TALK = ['shop/Deployment/web -> shop/Deployment/db 5432', 'shop/Deployment/web -> desk/Deployment/app 8080'];
const RESOURCES = {
  workload: 'shop/Deployment/web',
  proxies: 2,
  cpuRequest: 0.1,
  cpuLimit: 0.2,
  memoryRequest: 128 * MiB,
  memoryLimit: 256 * MiB,
};
const templated = (inventory: Inventory): Inventory => ({
  ...inventory,
  workloads: inventory.workloads.map((one) => ({
    ...one,
    podSets: one.podSets.map((set) => ({ ...set, templatePath: ['spec', 'template'] })),
  })),
});

/** id, what is given, the answer wanted (undefined: nothing is proposed), and what its reason says. */
type Case = readonly [string, string, Given, Proposal['answer'] | undefined, (RegExp | undefined)?];

const CASES: readonly Case[] = [
  ['connection-pool:shop/web:8080', 'one connection in three requests', { metrics: { services: [BUSY] } }, 'apply'],
  [
    'connection-pool:shop/web:8080',
    'few connections',
    { metrics: { services: [{ ...BUSY, connectionsPerSec: 2 }] } },
    undefined,
  ],
  [
    'connection-pool:shop/web:8080',
    'hardly any traffic',
    { metrics: { services: [{ ...BUSY, requestsPerSec: 0.5, connectionsPerSec: 0.5 }] } },
    undefined,
  ],
  [
    'connection-pool:shop/web:8080',
    'rates not measured',
    { metrics: { services: [{ ...WEB, peakConnections: 9 }] } },
    undefined,
  ],
  [
    'connection-pool:shop/web:8080',
    'no concurrency measured',
    { metrics: { services: [{ ...WEB, requestsPerSec: 200, connectionsPerSec: 60 }] } },
    'unknown',
    /upstream_cx_active/,
  ],
  [
    'connection-pool:shop/web:8080',
    'a rule that ends each connection',
    {
      metrics: { services: [BUSY] },
      objects: [rule({ host: 'web', trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } } })],
    },
    'apply',
  ],
  [
    'connection-pool:shop/web:8080',
    'a wildcard rule that would be hidden',
    {
      metrics: { services: [BUSY] },
      objects: [rule({ host: '*.shop.svc.cluster.local', trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL' } } })],
    },
    'refused',
    /would take its place/,
  ],
  [
    'connection-pool:shop/web:8080',
    'a rule in a client’s namespace',
    { metrics: { services: [BUSY] }, objects: [rule({ host: HOST }, 'desk/mine')] },
    'refused',
    /another namespace/,
  ],
  [
    'connection-pool:shop/web:8080',
    'two rules',
    { metrics: { services: [BUSY] }, objects: [rule({ host: HOST }), rule({ host: HOST }, 'desk/mine')] },
    'refused',
    /several/,
  ],
  [
    'connection-pool:shop/web:8080',
    'subsets with policies of their own',
    {
      metrics: { services: [BUSY] },
      objects: [rule({ host: HOST, subsets: [{ name: 'v1', trafficPolicy: { connectionPool: {} } }] })],
    },
    'refused',
    /subsets/,
  ],
  [
    'connection-pool:shop/db:5432',
    'a TCP port: the application must pool',
    { metrics: { services: [{ namespace: 'shop', service: 'db', port: 5432, connectionsPerSec: 20 }] } },
    'instruct',
  ],
  ['http2:shop/web:8080', 'HTTP/1.1 with many connections', { metrics: { services: [BUSY] } }, 'apply'],
  [
    'http2:shop/web:8080',
    'mostly HTTP/2 already',
    { metrics: { services: [{ ...BUSY, http1Share: 0.2 }] } },
    undefined,
  ],
  [
    'http2:shop/web:8080',
    'no more connections than are needed',
    { metrics: { services: [{ ...BUSY, peakConnections: 2 }] } },
    undefined,
  ],
  [
    'http2:shop/db:5432',
    'a TCP port, whatever was measured',
    { metrics: { services: [{ ...BUSY, service: 'db', port: 5432 }] } },
    undefined,
  ],
  [
    'http2:shop/web:8080',
    'a port that declares nothing',
    {
      sketch: { ...SHOP, services: [{ name: 'shop/web', selects: ['shop/Deployment/web'], ports: ['8080'] }] },
      metrics: { services: [BUSY] },
    },
    'refused',
    /declares no protocol/,
  ],
  [
    'http2:shop/web:8080',
    'a pod without a sidecar behind it',
    {
      sketch: {
        ...SHOP,
        workloads: {
          ...SHOP.workloads,
          'shop/Deployment/web': { labels: { app: 'web' }, mesh: 'mixed', ports: [8080] },
        },
      },
      metrics: { services: [BUSY] },
    },
    'refused',
    /not every pod behind it has a sidecar/,
  ],
  [
    'connection-pool:shop/web:8080',
    'a rule whose own pool holds for another HTTP port',
    { sketch: TWO_PORTS, metrics: { services: [BUSY] }, objects: [rule({ host: HOST })] },
    'refused',
    /holds for 8081 as well.*figures of 8080 alone/,
  ],
  [
    'connection-pool:shop/web:8080',
    'a rule with settings for the other port alone',
    {
      sketch: TWO_PORTS,
      metrics: { services: [BUSY] },
      objects: [rule({ host: HOST, trafficPolicy: { portLevelSettings: [{ port: { number: 8081 } }] } })],
    },
    'apply',
  ],
  [
    'connection-pool:shop/web:8080',
    'a rule with settings for the port',
    {
      sketch: TWO_PORTS,
      metrics: { services: [BUSY] },
      objects: [rule({ host: HOST, trafficPolicy: { portLevelSettings: [{ port: { number: 8080 } }] } })],
    },
    'apply',
  ],
  [
    'connection-pool:shop/web:8080',
    'two ports and no rule',
    { sketch: TWO_PORTS, metrics: { services: [BUSY] } },
    'apply',
  ],
  ...(
    [
      [{ tcp: { maxConnections: 1000 } }, 'refused', /maxConnections: 1000, which would be lowered to 200/],
      [{ tcp: { maxConnections: 30 } }, 'refused', /maxConnections: 30, which would be raised to 200/],
      [{ tcp: { maxConnections: 200 } }, 'apply', undefined],
      [{ http: { idleTimeout: '30s' } }, 'refused', /idleTimeout: 30s, which would be lengthened to 3600s/],
      [{ http: { idleTimeout: '59m59s' } }, 'refused', /idleTimeout: 59m59s/],
      [{ http: { idleTimeout: 'soon' } }, 'refused', /idleTimeout: soon/],
      [{ http: { idleTimeout: '2h' } }, 'apply', undefined],
      [{ http: { idleTimeout: '0s' } }, 'apply', undefined],
    ] as const
  ).flatMap(([connectionPool, answer, why]) =>
    [{ connectionPool }, { portLevelSettings: [{ port: { number: 8080 }, connectionPool }] }].map(
      (trafficPolicy): Case => [
        'connection-pool:shop/web:8080',
        `a rule that says ${JSON.stringify(trafficPolicy)}`,
        { metrics: { services: [BUSY] }, objects: [rule({ host: HOST, trafficPolicy })] },
        answer,
        why,
      ],
    ),
  ),
  ...(
    [
      ['8080', 'traffic.sidecar.istio.io/excludeInboundPorts', '9, 8080', 'refused'],
      ['8080', 'traffic.sidecar.istio.io/excludeInboundPorts', '9090', 'apply'],
      ['8080', 'traffic.sidecar.istio.io/includeInboundPorts', '9090', 'refused'],
      ['8080', 'traffic.sidecar.istio.io/includeInboundPorts', '', 'refused'],
      ['8080', 'traffic.sidecar.istio.io/includeInboundPorts', '*', 'apply'],
      ['8080', 'sidecar.istio.io/interceptionMode', 'NONE', 'refused'],
      ['80->8080', 'traffic.sidecar.istio.io/excludeInboundPorts', '8080', 'refused'],
      ['80->8080', 'traffic.sidecar.istio.io/excludeInboundPorts', '80', 'apply'],
      ['80->web', 'traffic.sidecar.istio.io/excludeInboundPorts', '8080', 'refused'],
      ['80->gone', 'traffic.sidecar.istio.io/excludeInboundPorts', '9', 'refused'],
      ['80->15020', 'unrelated', '', 'refused'],
    ] as const
  ).map(([port, key, value, answer]): Case => {
    const number = Number(port.split('->')[0]);
    return [
      `http2:shop/web:${number}`,
      `pods with ${key}: "${value}" behind ${port}`,
      {
        sketch: {
          ...SHOP,
          workloads: {
            ...SHOP.workloads,
            'shop/Deployment/web': { ...meshed('web'), ports: ['web=8080'], annotations: { [key]: value } },
          },
          services: [{ name: 'shop/web', selects: ['shop/Deployment/web'], ports: [`http:${port}`] }],
        },
        metrics: { services: [{ ...BUSY, port: number }] },
      },
      answer,
      answer === 'refused' ? /left out of the proxy of shop\/Deployment\/web/ : undefined,
    ];
  }),
  [
    'http2:shop/web:8080',
    'a rule for a second port that pods leave out of their proxy',
    {
      sketch: {
        ...TWO_PORTS,
        workloads: {
          ...SHOP.workloads,
          'shop/Deployment/web': {
            ...meshed('web'),
            annotations: { 'traffic.sidecar.istio.io/excludeInboundPorts': '8081' },
          },
        },
      },
      metrics: { services: [BUSY] },
      objects: [rule({ host: HOST })],
    },
    'refused',
    /port 8081 is left out/,
  ],
  ...(
    [
      [{ tls: { mode: 'ISTIO_MUTUAL' } }, 'apply'],
      [{ tls: { mode: 'SIMPLE' } }, 'refused'],
      [{ tls: { mode: 'DISABLE' } }, 'refused'],
      [{ tls: { sni: 'web' } }, 'refused'],
      [{ portLevelSettings: [{ port: { number: 8080 }, tls: { mode: 'MUTUAL' } }] }, 'refused'],
      // Settings of a port inherit nothing: automatic mTLS.
      [{ tls: { mode: 'SIMPLE' }, portLevelSettings: [{ port: { number: 8080 } }] }, 'apply'],
      [{ portLevelSettings: [{ port: { number: 9 }, tls: { mode: 'SIMPLE' } }] }, 'apply'],
    ] as const
  ).map(([trafficPolicy, answer]): Case => [
    'http2:shop/web:8080',
    `a rule that says ${JSON.stringify(trafficPolicy)}`,
    { metrics: { services: [BUSY] }, objects: [rule({ host: HOST, trafficPolicy })] },
    answer,
    answer === 'refused' ? /sets client TLS/ : undefined,
  ]),
  [
    'http2:shop/web:8080',
    'a Sidecar with listeners of its own',
    {
      metrics: { services: [BUSY] },
      objects: [
        manifest('networking.istio.io/v1', 'Sidecar', 'shop/own', {
          ingress: [{ port: { number: 9, protocol: 'TCP' } }],
        }),
      ],
    },
    'refused',
    /listeners of their own/,
  ],
  [
    'http2:shop/web:8080',
    'somebody said DO_NOT_UPGRADE',
    {
      metrics: { services: [BUSY] },
      objects: [
        rule({ host: HOST, trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: 'DO_NOT_UPGRADE' } } } }),
      ],
    },
    'refused',
    /decided against it/,
  ],
  [
    'http2:shop/web:8080',
    'a rule for every port of a Service with a TCP port',
    {
      sketch: {
        ...SHOP,
        services: [{ name: 'shop/web', selects: ['shop/Deployment/web'], ports: ['http:8080', 'tcp:9000'] }],
      },
      metrics: { services: [BUSY] },
      objects: [rule({ host: HOST, trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL' } } })],
    },
    'refused',
    /9000 is not declared HTTP/,
  ],
  [
    'tls-resumption:shop/web:8080',
    'full handshakes alone',
    { metrics: { services: [{ ...WEB, handshakesPerSec: 30, resumedPerSec: 0 }] } },
    'instruct',
  ],
  [
    'tls-resumption:shop/web:8080',
    'half of them resumed',
    { metrics: { services: [{ ...WEB, handshakesPerSec: 30, resumedPerSec: 15 }] } },
    undefined,
  ],
  [
    'tls-resumption:shop/web:8080',
    'resumption not measured',
    { metrics: { services: [{ ...WEB, handshakesPerSec: 30 }] } },
    undefined,
  ],
  [
    'ext-authz-cache:shop/Deployment/web',
    'many checks, nothing sensitive',
    {
      metrics: { authorizers: [{ workload: 'shop/Deployment/web', checksPerSec: 100 }] },
      objects: [CUSTOM],
      edges: ['desk/Deployment/app -> shop/Deployment/web 8080'],
    },
    'instruct',
  ],
  [
    'ext-authz-cache:shop/Deployment/web',
    'training data',
    {
      inventory: sensitive(inventoryOf({ ...SHOP, policies: [CUSTOM] }), ['training-data']),
      metrics: { authorizers: [{ workload: 'shop/Deployment/web', checksPerSec: 100 }] },
      objects: [CUSTOM],
    },
    'refused',
    /withdrawn right must hold at once/,
  ],
  [
    'ext-authz-cache:shop/Deployment/web',
    'nobody knows what it holds',
    {
      inventory: sensitive(inventoryOf({ ...SHOP, policies: [CUSTOM] }), ['unknown']),
      metrics: { authorizers: [{ workload: 'shop/Deployment/web', checksPerSec: 100 }] },
      objects: [CUSTOM],
    },
    'unknown',
    /is not known/,
  ],
  [
    'ext-authz-cache:shop/Deployment/web',
    'no policy that asks',
    { metrics: { authorizers: [{ workload: 'shop/Deployment/web', checksPerSec: 100 }] } },
    'refused',
    /CUSTOM/,
  ],
  [
    'ext-authz-cache:shop/Deployment/web',
    'hardly any checks',
    { metrics: { authorizers: [{ workload: 'shop/Deployment/web', checksPerSec: 0.1 }] }, objects: [CUSTOM] },
    undefined,
  ],
  [
    'batching:shop/web:8080',
    'small requests to a model server',
    {
      inventory: sensitive(inventoryOf(SHOP), [], 'serving'),
      metrics: { services: [{ ...WEB, requestsPerSec: 500, requestBytes: 800 }] },
    },
    'instruct',
  ],
  [
    'batching:shop/web:8080',
    'no model server',
    { metrics: { services: [{ ...WEB, requestsPerSec: 500, requestBytes: 800 }] } },
    undefined,
  ],
  [
    'batching:shop/web:8080',
    'large requests',
    {
      inventory: sensitive(inventoryOf(SHOP), [], 'serving'),
      metrics: { services: [{ ...WEB, requestsPerSec: 500, requestBytes: 4 * MiB }] },
    },
    undefined,
  ],
  [
    'proxy-resources:shop/Deployment/web',
    'held back by its limit',
    {
      inventory: templated(inventoryOf(SHOP)),
      metrics: { proxies: [{ ...RESOURCES, throttledShare: 0.4, cpuPeakCores: 0.2 }] },
    },
    'apply',
  ],
  [
    'proxy-resources:shop/Deployment/web',
    'far more reserved than used',
    {
      inventory: templated(inventoryOf(SHOP)),
      metrics: { proxies: [{ ...RESOURCES, cpuRequest: 1, cpuLimit: 2, cpuPeakCores: 0.02 }] },
    },
    'apply',
  ],
  [
    'proxy-resources:shop/Deployment/web',
    'as it should be',
    {
      inventory: templated(inventoryOf(SHOP)),
      metrics: { proxies: [{ ...RESOURCES, cpuPeakCores: 0.06, memoryBytes: 100 * MiB }] },
    },
    undefined,
  ],
  [
    'proxy-resources:shop/Deployment/web',
    'a workload that ends by itself',
    {
      inventory: {
        ...inventoryOf(SHOP),
        workloads: templated(inventoryOf(SHOP)).workloads.map((one) => ({ ...one, batch: true })),
      },
      metrics: { proxies: [{ ...RESOURCES, throttledShare: 0.4 }] },
    },
    'refused',
    /never restarted/,
  ],
  [
    'proxy-resources:shop/Deployment/web',
    'no template to edit',
    { metrics: { proxies: [{ ...RESOURCES, throttledShare: 0.4 }] } },
    'refused',
    /template/,
  ],
  ['sidecar-scope:shop', 'a large configuration', { sketch: many(50), metrics: BIG, edges: TALK }, 'apply'],
  [
    'sidecar-scope:shop',
    'a small configuration',
    { sketch: many(50), metrics: { proxies: [{ workload: 'shop/Deployment/web', clusters: 40 }] }, edges: TALK },
    undefined,
  ],
  [
    'sidecar-scope:shop',
    'a mesh configuration that was not read',
    { sketch: many(50), metrics: BIG, edges: TALK, mesh: false },
    'unknown',
    /extensionProviders the proxies call is not known/,
  ],
  ...(
    [
      ['in a text that does not parse', 'extensionProviders: [', /cannot be read whole/],
      ['as no list', 'extensionProviders: {name: opa}', /cannot be read whole/],
      ['by a merge', 'extensionProviders:\n- name: opa\n  envoyExtAuthzGrpc:\n    <<: *opa\n', /cannot be read whole/],
      [
        'without a namespace',
        'extensionProviders:\n- name: a\n  zipkin: {service: zipkin, port: 1}\n',
        /provider zipkin lies/,
      ],
    ] as const
  ).map(([what, mesh, why]): Case => [
    'sidecar-scope:shop',
    `providers given ${what}`,
    { sketch: many(50), metrics: BIG, edges: TALK, mesh },
    'unknown',
    why,
  ]),
  [
    'sidecar-scope:shop',
    'a policy that asks a provider which nothing names',
    { sketch: many(50), metrics: BIG, edges: TALK, objects: [CUSTOM], mesh: 'extensionProviders: []\n' },
    'unknown',
    /asks opa/,
  ],
  ['sidecar-scope:shop', 'configuration not measured', { sketch: many(50), edges: TALK }, undefined],
  [
    'sidecar-scope:shop',
    'an edge that leads nobody knows where',
    { sketch: many(50), metrics: BIG, edges: [...TALK, 'shop/Deployment/web -> unknown 9000'] },
    'refused',
    /not known where they lead/,
  ],
  [
    'sidecar-scope:shop',
    'a short record',
    { sketch: many(50), metrics: BIG, edges: TALK, evidenceHours: 20 },
    'refused',
    /20 h of the 168 h/,
  ],
  [
    'sidecar-scope:shop',
    'a Sidecar of somebody else',
    {
      sketch: many(50),
      metrics: BIG,
      edges: TALK,
      objects: [manifest('networking.istio.io/v1', 'Sidecar', 'shop/default', { egress: [{ hosts: ['*/*'] }] })],
    },
    'refused',
    /only one Sidecar/,
  ],
  [
    'sidecar-scope:shop',
    'a Sidecar of the whole mesh',
    {
      sketch: many(50),
      metrics: BIG,
      edges: TALK,
      objects: [
        manifest('networking.istio.io/v1', 'Sidecar', 'istio-system/default', {
          outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
        }),
      ],
    },
    'refused',
    /istio-system\/default/,
  ],
  [
    'ambient:shop',
    'many sidecars',
    { metrics: { proxies: [{ workload: 'shop/Deployment/web', proxies: 40, memoryBytes: 60 * MiB }] } },
    'instruct',
  ],
  [
    'ambient:shop',
    'few sidecars',
    { metrics: { proxies: [{ workload: 'shop/Deployment/web', proxies: 4, memoryBytes: 60 * MiB }] } },
    undefined,
  ],
  [
    'hardware-offload:shop/web:8080',
    'hundreds of handshakes',
    {
      metrics: {
        services: [{ ...WEB, handshakesPerSec: 400 }],
        proxies: [{ workload: 'shop/Deployment/web', cpuCores: 2 }],
      },
    },
    'instruct',
  ],
  [
    'hardware-offload:shop/web:8080',
    'most of them resumed',
    { metrics: { services: [{ ...WEB, handshakesPerSec: 400, resumedPerSec: 390 }] } },
    undefined,
  ],
];

const find = (input: TuningInput, id: string): Proposal | undefined =>
  proposeTuning(input).find((one) => one.id === id);

describe('a proposal', () => {
  it.each(CASES.map(([id, what, given, answer, reason]) => ({ id, what, given, answer, reason })))(
    '$id, with $what',
    ({ id, given, answer, reason }) => {
      const found = find(inputOf(given), id);
      expect(found?.answer).toBe(answer);
      if (reason !== undefined) expect(found?.because.join('\n')).toMatch(reason);
      if (found === undefined) return;
      // Whatever is refused or not known writes nothing, and every proposal says what it rests on.
      if (answer !== 'apply') expect(found.writes).toEqual([]);
      if (answer === 'instruct') expect(found.instruction.length).toBeGreaterThan(0);
      expect(found.evidence.length).toBeGreaterThan(0);
      expect(found.sources.length).toBeGreaterThan(0);
      expect(found.risks.length + found.instruction.length).toBeGreaterThan(0);
    },
  );

  it('of each kind is made, held back and left out by some case', () => {
    for (const kind of TUNING_KINDS) {
      const mine = CASES.filter(([id]) => id.startsWith(`${kind}:`));
      expect(
        mine.some((one) => one[3] === 'apply' || one[3] === 'instruct'),
        kind,
      ).toBe(true);
      expect(
        mine.some((one) => one[3] === undefined),
        kind,
      ).toBe(true);
    }
  });

  it('names a metric that can be measured again', () => {
    const gains = CASES.flatMap(([id, , given]) => {
      const input = inputOf(given);
      const found = find(input, id);
      return found?.gain === undefined || ['ambient', 'hardware-offload'].includes(found.kind)
        ? []
        : [{ input, found, gain: found.gain }];
    });
    expect(gains.length).toBeGreaterThan(10);
    for (const { input, found, gain } of gains) {
      expect(gain.lowPercent).toBeLessThanOrEqual(gain.highPercent);
      if (gain.before > 0)
        expect(measureAgain(input, found, gain.metric), `${found.id} ${gain.metric}`).toBeCloseTo(gain.before, 6);
    }
  });
});

describe('what is written', () => {
  const writesOf = (given: Given, id: string): Proposal['writes'] => find(inputOf(given), id)?.writes ?? [];

  it('bounds connections over everything observed', () => {
    const [write] = writesOf({ metrics: { services: [BUSY] } }, 'connection-pool:shop/web:8080');
    expect(write).toMatchObject({ kind: 'pool', port: 8080, tcp: { maxConnections: 200 } });
  });

  it('leaves what somebody chose to keep connections alive', () => {
    const pool = { http: { idleTimeout: '2h' }, tcp: { tcpKeepalive: { time: '60s' }, connectTimeout: '1s' } };
    const [write] = writesOf(
      { metrics: { services: [BUSY] }, objects: [rule({ host: HOST, trafficPolicy: { connectionPool: pool } })] },
      'connection-pool:shop/web:8080',
    );
    expect(write).toMatchObject({ http: { maxRequestsPerConnection: 0 }, tcp: { maxConnections: 200 } });
    expect(JSON.stringify(write)).not.toMatch(/idleTimeout|tcpKeepalive/u);
  });

  it('never lowers a bound of its own', () => {
    const [first] = writesOf({ metrics: { services: [BUSY] } }, 'connection-pool:shop/web:8080');
    const made = first?.kind === 'pool' ? realisePool([], first) : undefined;
    const quiet = { ...BUSY, peakConnections: 20, peakRequests: 20 };
    const given: Given = { metrics: { services: [quiet] }, objects: made === undefined ? [] : [made.object] };
    const [again] = writesOf(given, 'connection-pool:shop/web:8080');
    expect(again).toMatchObject({ tcp: { maxConnections: 200 } });
  });

  it('names the other ports that lose a limit', () => {
    const given: Given = {
      sketch: TWO_PORTS,
      metrics: { services: [BUSY] },
      objects: [rule({ host: HOST, trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 2 } } } })],
    };
    expect(find(inputOf(given), 'connection-pool:shop/web:8080')?.risks.join()).toContain(
      'connections to 8081 lose it',
    );
  });

  it('lifts a limit and nothing else', () => {
    const [write] = writesOf(
      {
        metrics: { services: [BUSY] },
        objects: [rule({ host: 'web', trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 2 } } } })],
      },
      'connection-pool:shop/web:8080',
    );
    expect(write).toEqual({
      kind: 'pool',
      service: { namespace: 'shop', name: 'web' },
      port: 8080,
      http: { maxRequestsPerConnection: 0 },
    });
  });

  it('leaves what a pattern of ours put into a rule', () => {
    const object = {
      ...rule({ host: HOST, trafficPolicy: { tls: { mode: 'ISTIO_MUTUAL' } } }, 'shop/sallyport-egress'),
    };
    const ours = {
      ...object,
      metadata: { ...object.metadata, labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
    };
    const given: Given = { metrics: { services: [BUSY] }, objects: [ours] };
    const [write] = writesOf(given, 'connection-pool:shop/web:8080');
    expect(write?.kind === 'pool' ? realisePool([ours], write) : undefined).toMatchObject({
      kind: 'fields',
      fields: [{ path: ['spec', 'trafficPolicy', 'connectionPool'] }],
    });
  });

  it('sets all four annotations of a proxy, since one takes the defaults of all away', () => {
    const [write] = writesOf(
      {
        inventory: templated(inventoryOf(SHOP)),
        metrics: { proxies: [{ ...RESOURCES, throttledShare: 0.4, cpuPeakCores: 0.2 }] },
      },
      'proxy-resources:shop/Deployment/web',
    );
    expect(write).toMatchObject({
      kind: 'fields',
      fields: [
        {
          path: ['spec', 'template', 'metadata', 'annotations'],
          after: {
            'sidecar.istio.io/proxyCPU': '200m',
            'sidecar.istio.io/proxyCPULimit': '400m',
            'sidecar.istio.io/proxyMemory': '128Mi',
            'sidecar.istio.io/proxyMemoryLimit': '256Mi',
          },
        },
      ],
    });
  });

  it('shows the namespaces that are called, those of entries and routes, and never asks for less than before', () => {
    const objects = [
      manifest('networking.istio.io/v1', 'ServiceEntry', 'outside/hub', { hosts: ['hub.example.com'], ports: [] }),
      manifest('networking.istio.io/v1', 'VirtualService', 'routes/app', {
        hosts: ['app.desk.svc.cluster.local'],
        http: [{ route: [{ destination: { host: 'app.canary.svc.cluster.local' } }] }],
      }),
      manifest('networking.istio.io/v1', 'VirtualService', 'canary/more', {
        hosts: ['app.canary.svc.cluster.local'],
        tcp: [{ route: [{ destination: { host: 'app.far.svc.cluster.local' } }] }],
      }),
      manifest('networking.istio.io/v1', 'VirtualService', 'unrelated/x', {
        hosts: ['x.unrelated.svc.cluster.local'],
        http: [{ route: [{ destination: { host: 'x' } }] }],
      }),
    ];
    const sketch = { ...SHOP, namespaces: { routes: {}, canary: {}, far: {}, outside: {}, unrelated: {} } };
    const input = inputOf({ sketch, objects, edges: TALK });
    expect(namespacesShown(input).namespaces).toEqual([
      'canary',
      'default',
      'desk',
      'far',
      'istio-system',
      'outside',
      'routes',
    ]);
  });
});

const PROVIDERS = `# of the mesh
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
extensionProviders:
- name: opa
  envoyExtAuthzGrpc:
    service: opa.guards.svc.corp.example # decides
    port: "9191"
    includeRequestHeadersInCheck:
    - authorization
- envoyOtelAls: {service: "collector.logs.svc.cluster.local", port: 4317}
  name: als
- name: traces
  zipkin:
    port: 9411
    service: tracing/zipkin.example.com
- name: far
  envoyExtAuthzHttp:
    service: authz.example.com
    port: 443
- name: files
  envoyFileAccessLog: {path: /dev/stdout}
rootNamespace: istio-system
service: not.this-one
`;

describe('the authorizers that a namespace asks', () => {
  const asks = (mesh: string, ...objects: readonly KubeManifest[]) =>
    authorizersAsked(inputOf({ objects: [CUSTOM, ...objects], mesh })).map((one) => `${one.namespace}/${one.service}`);
  const opa = (where: string): string =>
    `extensionProviders:\n- name: opa\n  envoyExtAuthzGrpc: {service: ${where}, port: 9191}\n`;

  it.each([
    ['among others', PROVIDERS, ['guards/opa']],
    ['behind a namespace', opa('guards/opa.example.com'), ['guards/opa']],
    ['outside of the cluster', opa('opa.example.com.'), []],
    ['by another kind', PROVIDERS.replace('envoyExtAuthzGrpc', 'zipkin'), []],
    ['in a text that is none', 'extensionProviders: [', []],
  ])('are found %s', (_, mesh, expected) => {
    expect(asks(mesh)).toEqual(expected);
  });

  it('are those of revisions as well, and never those of a ConfigMap that a tenant calls istio', () => {
    expect(asks('', meshMap(opa('opa.guards.svc'), 'istio-system/istio-canary'))).toEqual(['guards/opa']);
    expect(asks('', meshMap(opa('opa.trap.svc'), 'tenant/istio'))).toEqual([]);
  });
});

describe('the scope of a namespace also', () => {
  it('shows what the proxies call of their own accord, in block and in flow style', () => {
    const { namespaces, unread } = namespacesShown(inputOf({ edges: TALK, objects: [CUSTOM], mesh: PROVIDERS }));
    expect(unread).toEqual([]);
    expect(namespaces).toEqual(['default', 'desk', 'guards', 'istio-system', 'logs', 'tracing']);
  });

  it('shows those of every revision, and takes no word for it from another namespace', () => {
    const text = (where: string): string => `extensionProviders:\n- name: a\n  zipkin: {service: z.${where}.svc}\n`;
    const { namespaces } = namespacesShown(
      inputOf({
        objects: [meshMap(text('canary'), 'istio-system/istio-canary'), meshMap(text('trap'), 'tenant/istio')],
        mesh: text('stable'),
      }),
    );
    expect(namespaces).toEqual(['canary', 'default', 'istio-system', 'stable']);
    expect(namespacesShown(inputOf({ objects: [meshMap('', 'tenant/istio')], mesh: false })).unread).toHaveLength(1);
  });

  it('shows what configuration declares and nobody has called yet', () => {
    const inventory = inventoryOf(SHOP);
    const declared = [
      ['weak', { kind: 'workload', id: 'desk/Deployment/app' }],
      ['strong', { kind: 'unknown', why: 'no name' }],
      ['weak', { kind: 'unknown', why: 'no name' }],
    ] as const;
    const { namespaces, unread } = namespacesShown(
      inputOf({
        inventory: {
          ...inventory,
          declared: declared.map(([strength, dst]) => ({
            src: { kind: 'workload', id: 'shop/Deployment/web' },
            dst,
            protocol: 'TCP',
            port: 8080,
            strength,
            by: 'env APP_URL',
          })),
        },
      }),
    );
    expect(namespaces).toContain('desk');
    expect(unread).toEqual(['where env APP_URL of shop/Deployment/web leads (port 8080) is not known']);
  });

  it.each([
    ['', 'goes out as plaintext', 'REGISTRY_ONLY'],
    ['outboundTrafficPolicy:\n  mode: ALLOW_ANY\n', 'goes out as plaintext', 'REGISTRY_ONLY'],
    ['outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n', 'is refused by the proxy', 'plaintext'],
    ['outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n', 'is refused by the proxy', 'plaintext'],
  ])('says what becomes of a hidden call where the mesh says %j', (mesh, said, unsaid) => {
    const risks = find(inputOf({ sketch: many(50), metrics: BIG, edges: TALK, mesh }), 'sidecar-scope:shop')?.risks;
    expect(risks?.[0]).toContain(said);
    expect(risks?.[0]).not.toContain(unsaid);
  });

  it('says both where that was not read', () => {
    const given = { sketch: many(50), metrics: BIG, edges: TALK, mesh: 'outboundTrafficPolicy: *policy\n' };
    expect(find(inputOf(given), 'sidecar-scope:shop')?.risks[0]).toMatch(/plaintext.*REGISTRY_ONLY.*refused/u);
  });
});

describe('figures', () => {
  it('of a pool never fall where any figure rises', () => {
    const amount = fc.double({ min: 0, max: 1e5, noNaN: true });
    const figures = fc.record({ peakConnections: amount, peakRequests: amount, requestsPerSec: amount, p99: amount });
    fc.assert(
      fc.property(figures, figures, (a, b) => {
        const higher = Object.fromEntries(
          Object.entries(a).map(([key, one]) => [key, Math.max(one, b[key as keyof typeof b])]),
        );
        const [low, high] = [connectionBound(a) ?? 0, connectionBound(higher) ?? 0];
        expect(low).toBeLessThanOrEqual(high);
        expect(low).toBeGreaterThan(Math.max(a.peakConnections, a.peakRequests));
      }),
    );
    expect(connectionBound({ requestsPerSec: 100, p99: 10 })).toBeUndefined();
  });

  it('of a kept answer: a minute at most', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e6, noNaN: true }), fc.integer({ min: 0, max: 1e6 }), (rate, keys) => {
        expect(ttlFor(rate, keys)).toBeGreaterThanOrEqual(1);
        expect(ttlFor(rate, keys)).toBeLessThanOrEqual(LONGEST_TTL_SEC);
      }),
    );
  });

  it.each([
    ['100m', 0.1],
    ['2', 2],
    ['128Mi', 128 * MiB],
    ['1.5G', 1.5e9],
    ['1 Gi', undefined],
    ['-1', undefined],
    ['1e3', undefined],
  ])('reads the quantity %s', (text, wanted) => {
    expect(parseQuantity(text)).toEqual(wanted);
  });

  it('are held against the budget, a mean never against a percentile, and what is absent is unknown', () => {
    const metrics: TuningMetrics = {
      ...NONE,
      controls: [
        { control: 'mtls', namespace: 'shop', added: { p99: 4 }, metric: 'a' },
        { control: 'mtls', namespace: 'shop', added: { p99: 2 }, metric: 'b' },
        {
          control: 'authorization',
          namespace: 'shop',
          with: { p50: 5, p99: 9 },
          without: { p50: 4, p99: 8.5 },
          metric: 'c',
        },
        { control: 'ext-authz', namespace: 'shop', added: { mean: 50 }, metric: 'd' },
        { control: 'network-policy', namespace: 'desk', added: { p99: 50 }, metric: 'e' },
      ],
      proxies: [
        { workload: 'shop/Deployment/web', cpuCores: 0.3, requestsPerSec: 500, memoryBytes: 90 * MiB },
        { workload: 'shop/Deployment/db', cpuCores: 5, memoryBytes: 70 * MiB },
      ],
    };
    const rows = measureControls('shop', metrics, {
      latency: { mtls: 3, authorization: 1, 'ext-authz': 10 },
      memoryPerProxy: 100 * MiB,
    });
    expect(rows.map(({ control, answer, measured }) => [control, answer, measured])).toEqual([
      ['network-policy', 'unknown', undefined],
      ['mtls', 'over', 4],
      ['authorization', 'within', 0.5],
      ['ext-authz', 'unknown', undefined],
      ['egress-gateway', 'unknown', undefined],
      ['proxies', 'no-budget', 0.6],
      ['proxies', 'within', 90 * MiB],
    ]);
  });
});

/** Four namespaces of one workload each behind a Service, some with sidecars, some STRICT, and calls between them. */
const cluster = fc.record({
  mesh: fc.array(fc.constantFrom('sidecar' as const, 'none' as const), { minLength: 4, maxLength: 4 }),
  strict: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  calls: fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })), { minLength: 1, maxLength: 10 }),
});

describe('the scope of a namespace', () => {
  const NAMES = ['shop', 'a', 'b', 'c'];
  const build = ({
    mesh,
    strict,
    calls,
  }: {
    mesh: readonly ('sidecar' | 'none')[];
    strict: readonly boolean[];
    calls: readonly (readonly [number, number])[];
  }) => {
    const policies = NAMES.flatMap((namespace, index) =>
      strict[index] === true ? [buildPeerAuthentication({ name: 'strict', namespace }, 'STRICT')] : [],
    );
    const inventory = inventoryOf({
      mesh: MESH,
      workloads: Object.fromEntries(
        NAMES.map((name, index) => [
          `${name}/Deployment/x`,
          { mesh: mesh[index] ?? 'none', labels: { app: name }, ports: [8080], pods: ['10.0.0.1'] },
        ]),
      ),
      services: NAMES.map((name) => ({
        name: `${name}/x`,
        selects: [`${name}/Deployment/x`],
        selector: { app: name },
        ports: ['http:8080'],
      })),
      policies,
    });
    const edges = [
      ...new Set(
        calls.map(([from, to]) => `${NAMES[from] ?? ''}/Deployment/x -> ${NAMES[to] ?? ''}/Deployment/x 8080`),
      ),
    ];
    return inputOf({ inventory, objects: policies, edges });
  };

  it('hides no edge on record, and changes no verdict', () => {
    fc.assert(
      fc.property(cluster, (drawn) => {
        const input = build(drawn);
        const { namespaces } = namespacesShown(input);
        for (const { src, dst } of input.edges)
          if (src.kind === 'workload' && dst.kind === 'workload' && namespaceOfWorkload(src.id) === 'shop')
            expect([...namespaces, 'shop']).toContain(namespaceOfWorkload(dst.id));
        expect(changedByScope(input, buildScope({ name: 'x', namespace: 'shop' }, namespaces))).toEqual([]);
      }),
    );
  });

  it('would change one where a namespace that is called were left out: the proof can fail', () => {
    const input = build({
      mesh: ['sidecar', 'sidecar', 'none', 'none'],
      strict: [false, true, false, false],
      calls: [[0, 1]],
    });
    expect(changedByScope(input, buildScope({ name: 'x', namespace: 'shop' }, [])).length).toBe(1);
    const world = compileWorld(input.inventory);
    expect(input.edges.map((edge: Edge) => evaluateConnection(world, edge).answer)).toEqual(['allowed']);
  });
});

/** A rule that somebody else made for the Service, with or without client TLS, for all ports or for one. */
const foreignRule = fc.option(
  fc.record({
    mode: fc.constantFrom(undefined, 'ISTIO_MUTUAL', 'DISABLE', 'SIMPLE'),
    onPort: fc.boolean(),
    limit: fc.constantFrom(undefined, 1, 50),
    host: fc.constantFrom('x', 'x.shop.svc.cluster.local', '*.shop.svc.cluster.local'),
    namespace: fc.constantFrom('shop', 'a', 'istio-system'),
  }),
  { nil: undefined },
);

describe('settings of a pool', () => {
  const NAMES = ['shop', 'a', 'b', 'c'];

  it('change no verdict, whatever rule is there, and leave everything else of it as it was', () => {
    let written = 0;
    fc.assert(
      fc.property(cluster, foreignRule, ({ mesh, strict, calls }, given) => {
        const settings =
          given === undefined
            ? {}
            : {
                ...(given.mode === undefined ? {} : { tls: { mode: given.mode } }),
                ...(given.limit === undefined
                  ? {}
                  : { connectionPool: { http: { maxRequestsPerConnection: given.limit, maxRetries: 3 } } }),
              };
        const foreign =
          given === undefined
            ? []
            : [
                rule(
                  {
                    host: given.host,
                    trafficPolicy: given.onPort
                      ? { portLevelSettings: [{ port: { number: 8080 }, ...settings }] }
                      : { ...settings, outlierDetection: { baseEjectionTime: '30s' } },
                  },
                  `${given.namespace}/theirs`,
                ),
              ];
        const policies = [
          ...NAMES.flatMap((namespace, index) =>
            strict[index] === true ? [buildPeerAuthentication({ name: 'strict', namespace }, 'STRICT')] : [],
          ),
          ...foreign,
        ];
        const inventory = inventoryOf({
          mesh: MESH,
          workloads: Object.fromEntries(
            NAMES.map((name, index) => [
              `${name}/Deployment/x`,
              { mesh: mesh[index] ?? 'none', labels: { app: name }, ports: [8080], pods: ['10.0.0.1'] },
            ]),
          ),
          services: NAMES.map((name) => ({
            name: `${name}/x`,
            selects: [`${name}/Deployment/x`],
            selector: { app: name },
            ports: ['http:8080'],
          })),
          policies,
        });
        const edges = [
          ...new Set(
            calls.map(([from, to]) => `${NAMES[from] ?? ''}/Deployment/x -> ${NAMES[to] ?? ''}/Deployment/x 8080`),
          ),
        ];
        const input = inputOf({
          inventory,
          objects: policies,
          edges,
          metrics: { services: [{ ...BUSY, service: 'x' }] },
        });
        for (const proposal of proposeTuning(input).filter(({ answer }) => answer === 'apply'))
          for (const write of proposal.writes) {
            if (write.kind !== 'pool') continue;
            const real = realisePool(input.objects, write);
            if (real === undefined) throw new Error('it can be applied, and is not made');
            written += 1;
            const object =
              real.kind === 'object'
                ? real.object
                : editObject(
                    real.object,
                    real.fields.map(({ path, after }) => ({ path, before: undefined, after })),
                  );
            const key = refKey(refOf(object));
            const [before, after] = [
              compileWorld(inventory),
              compileWorld({
                ...inventory,
                policies: [...policies.filter((one) => refKey(refOf(one)) !== key), object],
              }),
            ];
            for (const edge of input.edges)
              expect(evaluateConnection(after, edge).answer).toBe(evaluateConnection(before, edge).answer);
            if (real.kind === 'fields') {
              const text = JSON.stringify(object);
              if (given?.mode !== undefined) expect(text).toContain(given.mode);
              if (given?.onPort === false) expect(text).toContain('baseEjectionTime');
              if (given?.limit !== undefined) expect(text).toContain('"maxRetries":3');
            }
          }
      }),
    );
    expect(written).toBeGreaterThan(20);
  });
});

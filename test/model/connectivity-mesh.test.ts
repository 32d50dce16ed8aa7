import { describe, expect, it } from 'vitest';
import { connectivity } from '../../src/model/connectivity.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import { inventoryOf, manifest, networkPolicy } from '../support/world.ts';

const inventory = inventoryOf({
  mesh: { kind: 'istio' },
  workloads: {
    'shop/Deployment/web': { labels: { app: 'web' }, mesh: 'sidecar', ports: [8080], account: 'web' },
    'shop/Deployment/db': { labels: { app: 'db' }, mesh: 'sidecar', ports: ['sql=5432', 9000], account: 'db' },
    'shop/Deployment/old': { labels: { app: 'old' }, mesh: 'none', ports: [7000] },
    'lab/Deployment/probe': { labels: { app: 'probe' }, mesh: 'unknown', ports: [80, '53/UDP'] },
  },
  policies: [
    networkPolicy('shop/db', {
      podSelector: { matchLabels: { app: 'db' } },
      ingress: [{ from: [{ namespaceSelector: {} }], ports: [{ port: 5000, endPort: 6000 }, { port: 9000 }] }],
    }),
    manifest('security.istio.io/v1', 'PeerAuthentication', 'shop/db', {
      selector: { matchLabels: { app: 'db' } },
      mtls: { mode: 'STRICT' },
      portLevelMtls: { '9000': { mode: 'PERMISSIVE' }, '5501': { mode: 'PERMISSIVE' } },
    }),
    manifest('security.istio.io/v1', 'AuthorizationPolicy', 'shop/db', {
      selector: { matchLabels: { app: 'db' } },
      action: 'DENY',
      rules: [
        { to: [{ operation: { ports: ['5500'] } }] },
        { to: [{ operation: { ports: ['5501'], paths: ['/x'] } }] },
      ],
    }),
  ],
});
const world = compileWorld(inventory);
const PORTS = [
  1, 80, 4999, 5000, 5431, 5432, 5433, 5499, 5500, 5501, 6000, 6001, 7000, 8080, 8999, 9000, 9001, 15_020, 65_535,
];
const ids = inventory.workloads.map(({ id }) => id);

describe('connectivity with the mesh', () => {
  it('gives for every pair and port the answer of a single question', () => {
    const found = new Map([...connectivity(world, { mesh: true })].map((one) => [`${one.src} ${one.dst}`, one]));
    const seen = new Set<string>();
    for (const src of ids) {
      for (const dst of ids) {
        if (src === dst) continue;
        const one = found.get(`${src} ${dst}`);
        for (const protocol of ['TCP', 'UDP'] as const) {
          for (const port of PORTS) {
            const ends = { src: { kind: 'workload', id: src }, dst: { kind: 'workload', id: dst } } as const;
            const holds = (run: { protocol: string; from: number; to: number }): boolean =>
              run.protocol === protocol && run.from <= port && port <= run.to;
            const isUnknown = one?.unknown.some(holds) === true;
            const here = one?.allowed.some(holds) === true ? 'allowed' : isUnknown ? 'unknown' : 'denied';
            seen.add(here);
            expect([src, dst, protocol, port, here]).toEqual([
              ...[src, dst, protocol, port],
              evaluateConnection(world, { ...ends, protocol, port }).answer,
            ]);
          }
        }
      }
    }
    expect([...seen].sort()).toEqual(['allowed', 'denied', 'unknown']);
  });

  it('leaves out what only the mesh denies, which stays without it', () => {
    const ports = (mesh: boolean): readonly string[] =>
      [...connectivity(world, { mesh, from: (id) => id.endsWith('/old'), to: (id) => id.endsWith('/db') })].flatMap(
        ({ allowed }) => allowed.map(({ protocol, from, to }) => `${from}-${to}/${protocol}`),
      );
    expect(ports(false)).toEqual(['5000-6000/TCP', '9000-9000/TCP']);
    expect(ports(true)).toEqual(['9000-9000/TCP']);
  });
});

import { describe, expect, it } from 'vitest';
import { deriveAuthorization } from '../../src/candidates/authorization.ts';
import { deriveNetworkCandidate } from '../../src/candidates/network.ts';
import type { Candidate, CandidateContext } from '../../src/candidates/network.ts';
import type { SystemPeers } from '../../src/candidates/system.ts';
import type { Edge } from '../../src/model/edge.ts';
import { edgeId } from '../../src/model/edge.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import { asArray, asObject } from '../../src/shared/pure/json.ts';
import { inventoryOf } from '../support/world.ts';

const PROMETHEUS = 'monitoring/Deployment/prometheus';
const COREDNS = 'kube-system/Deployment/coredns';
const ISTIOD = 'istio-system/Deployment/istiod';
const WEB = 'shop/Deployment/web';

const DNS = {
  workloads: [COREDNS],
  namespace: 'kube-system',
  labels: { 'k8s-app': 'kube-dns' },
  ports: [
    { port: 53, protocol: 'UDP' as const },
    { port: 53, protocol: 'TCP' as const },
  ],
  nodeLocal: false,
  nodeAddresses: [],
};

interface Seen {
  readonly src: string;
  readonly dst: string;
  readonly port: number;
  readonly protocol?: 'TCP' | 'UDP';
  readonly l7?: string;
  readonly count?: number;
}

function seen({ src, dst, port, protocol = 'TCP', l7, count = 9 }: Seen): Edge {
  const key = {
    src: { kind: 'workload', id: src } as const,
    dst: { kind: 'workload', id: dst } as const,
    protocol,
    port,
    ...(l7 === undefined ? {} : { l7 }),
  };
  return {
    ...key,
    id: edgeId(key),
    count,
    first: 0,
    last: 1,
    verdicts: { allowed: count },
    days: ['2026-10-05'],
    runs: [],
    sources: ['hubble'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
  };
}

function inventory(cni: string): Inventory {
  return inventoryOf({
    workloads: {
      [PROMETHEUS]: { labels: { app: 'prometheus' }, mesh: 'sidecar' },
      [COREDNS]: { labels: { 'k8s-app': 'kube-dns' }, ports: [53, 9153] },
      [ISTIOD]: { labels: { app: 'istiod' }, ports: [15012] },
      [WEB]: { labels: { app: 'web' }, ports: ['http=8080'], mesh: 'sidecar' },
    },
    services: [{ name: 'shop/web', selects: [WEB], ports: ['http:80->8080'] }],
    cni: { name: cni },
  });
}

function context(edges: readonly Edge[], system: SystemPeers, cni = 'calico'): CandidateContext {
  return {
    inventory: inventory(cni),
    edges,
    system,
    waived: () => false,
    meshed: new Set([PROMETHEUS, WEB]),
    plaintextExempt: () => false,
  };
}

function egress(edges: readonly Edge[], system: SystemPeers, cni = 'calico'): Candidate {
  const made = context(edges, system, cni);
  const workload = made.inventory.workloads.find((one) => one.id === PROMETHEUS);
  if (workload === undefined) throw new Error('the sketch has it');
  return deriveNetworkCandidate(made, workload, 'egress');
}

const scrape = seen({ src: PROMETHEUS, dst: COREDNS, port: 9153 });
const lookup = seen({ src: PROMETHEUS, dst: COREDNS, port: 53, protocol: 'UDP' });

describe('a name server as a peer', () => {
  it.each([
    ['calico', false, { protocol: 'TCP', port: 9153 }],
    ['cilium', true, { ports: [{ port: '9153', protocol: 'TCP' }] }],
  ])('is reached on its other ports by a rule of its own under %s', (cni, nodeLocal, ports) => {
    const { rules } = egress([scrape, lookup], { dns: { ...DNS, nodeLocal } }, cni);
    const own = rules.filter((rule) => rule.peer === COREDNS);
    expect(own.map((rule) => rule.rule['ports'] ?? rule.rule['toPorts'])).toEqual([[ports]]);
    expect(own.flatMap((rule) => rule.edges)).toEqual([scrape]);
    expect(rules.find((rule) => rule.peer === 'cluster DNS')?.edges).toEqual([lookup]);
  });

  it('needs no rule besides that of DNS where only names were asked for', () => {
    expect(egress([lookup], { dns: DNS }).rules.map((rule) => rule.peer)).toEqual(['cluster DNS']);
  });
});

describe('the cache of names on every node', () => {
  it('is let through at each of its addresses, those of the DNS Service too', () => {
    const { rules } = egress([scrape], {
      dns: { ...DNS, nodeLocal: true, nodeAddresses: ['10.96.0.10', '169.254.20.10', 'fd00::a'] },
    });
    const to = asArray(asObject(rules.find((rule) => rule.peer === 'cluster DNS')?.rule)['to']);
    expect(to.slice(1)).toEqual([
      { ipBlock: { cidr: '10.96.0.10/32' } },
      { ipBlock: { cidr: '169.254.20.10/32' } },
      { ipBlock: { cidr: 'fd00::a/128' } },
    ]);
  });
});

function operationsFor(edges: readonly Edge[]): readonly unknown[] {
  const made = context(edges, {});
  const web = made.inventory.workloads.find((one) => one.id === WEB);
  if (web === undefined) throw new Error('the sketch has it');
  return deriveAuthorization(made, web).rules.flatMap((rule) => asArray(rule.rule['to']));
}

describe('requests in a policy', () => {
  const call = { src: PROMETHEUS, dst: WEB, port: 8080 };
  const portOnly = [{ operation: { ports: ['8080'] } }];

  it('are named where nearly every connection has one on record', () => {
    expect(operationsFor([seen({ ...call, count: 10 }), seen({ ...call, l7: 'GET /a', count: 8 })])).toEqual([
      { operation: { ports: ['8080'], methods: ['GET'], paths: ['/a'] } },
    ]);
  });

  it('are not named where too many connections have none, though every day has some', () => {
    expect(operationsFor([seen({ ...call, count: 10 }), seen({ ...call, l7: 'GET /a', count: 7 })])).toEqual(portOnly);
  });

  it.each(['/*', '*', '/static/*', '*/admin', '/a*b', '/{*}/x'])(
    'are not named where a path on record would be a pattern: %s',
    (path) => {
      expect(operationsFor([seen({ ...call, l7: `GET ${path}` }), seen({ ...call, l7: 'GET /a' })])).toEqual(portOnly);
    },
  );
});

describe('the control plane of the mesh', () => {
  const istiod = { workload: ISTIOD, namespace: 'istio-system', labels: { app: 'istiod' } };
  const xds = seen({ src: PROMETHEUS, dst: ISTIOD, port: 15012 });

  it.each(['calico', 'cilium'])(
    'is named once, for a sidecar that is there and one that is about to be, under %s',
    (cni) => {
      const dns = { ...DNS, nodeLocal: true };
      const before = egress([scrape], { dns, istiod }, cni);
      const after = egress([scrape, xds], { dns, istiod }, cni);
      expect(after.object).toEqual(before.object);
      expect(JSON.stringify(after.object).split('15012')).toHaveLength(2);
      expect(after.rules.find((rule) => rule.peer === 'mesh control plane')?.edges).toEqual([xds]);
    },
  );

  it('is reached on its other ports by a rule of its own', () => {
    const { rules } = egress([xds, seen({ src: PROMETHEUS, dst: ISTIOD, port: 15014 })], { dns: DNS, istiod });
    expect(rules.find((rule) => rule.peer === ISTIOD)?.rule['ports']).toEqual([{ protocol: 'TCP', port: 15014 }]);
  });

  it('admits the sidecars in its own allow-list', () => {
    const made = context([xds], { istiod });
    const server = made.inventory.workloads.find((one) => one.id === ISTIOD);
    if (server === undefined) throw new Error('the sketch has it');
    expect(
      deriveNetworkCandidate(made, server, 'ingress').rules.map((rule) => [rule.peer, rule.rule['ports']]),
    ).toEqual([[PROMETHEUS, [{ protocol: 'TCP', port: 15012 }]]]);
  });
});

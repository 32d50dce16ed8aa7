import { describe, expect, it } from 'vitest';
import { deriveNetworkCandidate } from '../../src/candidates/network.ts';
import type { Candidate, CandidateContext } from '../../src/candidates/network.ts';
import type { Edge, Endpoint } from '../../src/model/edge.ts';
import { REMOTE_NODE, edgeId } from '../../src/model/edge.ts';
import { compileWorld, evaluateConnection } from '../../src/model/evaluate.ts';
import type { CniFacts, Inventory, ServiceInfo } from '../../src/model/inventory.ts';
import { inventoryOf } from '../support/world.ts';

const WEB = 'shop/Deployment/web';
const REMOTE: Endpoint = { kind: 'node', name: REMOTE_NODE };
const CLIENT: Endpoint = { kind: 'external', ip: '203.0.113.7' };
const OTHER_CLIENT: Endpoint = { kind: 'external', ip: '198.51.100.1' };

function seen(src: Endpoint): Edge {
  const key = { src, dst: { kind: 'workload', id: WEB } as const, protocol: 'TCP' as const, port: 8080 };
  return {
    ...key,
    id: edgeId(key),
    count: 9,
    first: 0,
    last: 1,
    verdicts: { allowed: 9 },
    days: ['2026-10-05'],
    runs: [],
    sources: ['hubble'],
    principals: [],
    mtls: 'unknown',
    origin: { kind: 'observed' },
    review: 'unreviewed',
  };
}

function derive(
  edges: readonly Edge[],
  cni: Partial<CniFacts>,
  service: Partial<ServiceInfo> = {},
  waived = false,
): { readonly candidate: Candidate; readonly enforced: Inventory } {
  const made = inventoryOf({
    workloads: { [WEB]: { labels: { app: 'web' }, ports: [8080] } },
    services: [{ name: 'shop/web', selects: [WEB], ports: ['80->8080'] }],
    nodes: { n1: ['10.0.0.1'], n2: ['10.0.0.2'] },
    cni,
  });
  const inventory = { ...made, services: made.services.map((one) => ({ ...one, ...service })) };
  const context: CandidateContext = {
    inventory,
    edges,
    system: {},
    waived: () => waived,
    meshed: new Set(),
    plaintextExempt: () => false,
  };
  const workload = inventory.workloads[0];
  if (workload === undefined) throw new Error('the sketch has a workload');
  const candidate = deriveNetworkCandidate(context, workload, 'ingress');
  return {
    candidate,
    enforced: { ...inventory, policies: candidate.object === undefined ? [] : [candidate.object] },
  };
}

function verdict(enforced: Inventory, src: Endpoint, port = 8080): string {
  const dst = { kind: 'workload', id: WEB } as const;
  return evaluateConnection(compileWorld(enforced), { src, dst, protocol: 'TCP', port }).answer;
}

describe('traffic from another node', () => {
  it('is named by the addresses of the nodes where the CNI matches them', () => {
    const { candidate, enforced } = derive([seen(REMOTE)], { name: 'calico', ipBlockMatches: ['nodes'] });
    expect(candidate.problems).toEqual([]);
    expect(verdict(enforced, REMOTE)).toBe('allowed');
    expect(verdict(enforced, REMOTE, 9090)).toBe('denied');
  });

  it('makes the gate red where the CNI cannot name it, and is never taken for the kubelet', () => {
    const { candidate } = derive([seen(REMOTE)], { name: 'cilium', ipBlockMatches: [] });
    expect(candidate.problems.map((problem) => problem.gate)).toEqual(['expressible']);
  });

  it('is admitted by port alone once a person waives that', () => {
    const { enforced } = derive([seen(REMOTE)], { name: 'cilium', ipBlockMatches: [] }, {}, true);
    expect(verdict(enforced, REMOTE)).toBe('allowed');
    expect(verdict(enforced, REMOTE, 9090)).toBe('denied');
  });

  it('is cut by a policy that lets the own node through', () => {
    const { enforced } = derive([seen(CLIENT)], { name: 'cilium', ipBlockMatches: [] });
    expect(verdict(enforced, REMOTE)).toBe('denied');
    expect(verdict(enforced, { kind: 'node' })).toBe('allowed');
  });
});

describe('clients outside', () => {
  it('are those seen, address by address, of a workload that is not offered to the outside', () => {
    const { enforced } = derive([seen(CLIENT)], { name: 'calico', ipBlockMatches: ['pods'] });
    expect(verdict(enforced, CLIENT)).toBe('allowed');
    expect(verdict(enforced, OTHER_CLIENT)).toBe('denied');
  });

  it('are all of them behind a load balancer, on the ports seen', () => {
    const { enforced } = derive([seen(CLIENT)], { name: 'calico', ipBlockMatches: ['pods'] }, { type: 'LoadBalancer' });
    expect(verdict(enforced, OTHER_CLIENT)).toBe('allowed');
    expect(verdict(enforced, OTHER_CLIENT, 9090)).toBe('denied');
  });
});

import { describe, expect, it } from 'vitest';
import { madeBySidecars, withoutGoneSidecars } from '../../src/flows/sidecar.ts';
import type { Edge } from '../../src/model/edge.ts';
import { endpointKey } from '../../src/model/edge.ts';
import type { Inventory, Workload } from '../../src/model/inventory.ts';
import { MONDAY, edge, emptyInventory, workload } from './build.ts';

const JOINED = MONDAY + 60_000;
const withMesh = (one: Workload, mesh: 'sidecar' | 'none' | 'mixed'): Workload => ({
  ...one,
  podSets: one.podSets.map((set) => ({ ...set, mesh })),
});
const istiod = workload('istio-system/Deployment/istiod');
const dns = workload('kube-system/Deployment/coredns');
const state = (mesh: 'sidecar' | 'none' | 'mixed'): Inventory =>
  emptyInventory({
    workloads: [
      withMesh(workload('a/Deployment/x'), mesh),
      { ...istiod, classification: { ...istiod.classification, component: 'istiod' } },
      {
        ...dns,
        podSets: dns.podSets.map((set) => ({
          ...set,
          containers: set.containers.map((one) => ({ ...one, image: 'registry.example/coredns:1' })),
        })),
      },
    ],
  });
const xds = edge('a/Deployment/x', 'istio-system/Deployment/istiod', { port: 15012, first: JOINED + 1000 });
const asked = (first: number): Edge =>
  edge('a/Deployment/x', 'kube-system/Deployment/coredns', { port: 53, protocol: 'UDP', first });
const left = (edges: readonly Edge[], mesh: 'sidecar' | 'none' | 'mixed', joined = true): readonly string[] =>
  withoutGoneSidecars(edges, state(mesh), new Map(joined ? [['a/Deployment/x', JOINED]] : [])).map(
    (one) => `${endpointKey(one.dst)} ${one.port}`,
  );
const XDS = 'istio-system/Deployment/istiod 15012';
const DNS = 'kube-system/Deployment/coredns 53';

describe('what a sidecar did', () => {
  it('counts while the workload has one, or some of its pods have', () => {
    expect(left([xds, asked(JOINED + 1)], 'sidecar')).toEqual([XDS, DNS]);
    expect(left([xds, asked(JOINED + 1)], 'mixed')).toEqual([XDS, DNS]);
  });

  it('is no edge of a state in which the workload has none', () => {
    expect(left([xds, asked(JOINED + 1)], 'none')).toEqual([]);
  });

  it('is not what the workload asked of the name servers before it joined, or ever where it never did', () => {
    expect(left([xds, asked(JOINED - 1)], 'none')).toEqual([DNS]);
    expect(left([asked(JOINED + 1)], 'none', false)).toEqual([DNS]);
  });

  it('is nothing else', () => {
    const others = [
      edge('a/Deployment/x', 'istio-system/Deployment/istiod', { port: 8080, first: JOINED + 1 }),
      edge('a/Deployment/x', 'b/Deployment/y', { port: 15012, first: JOINED + 1 }),
      edge('a/Deployment/x', 'kube-system/Deployment/coredns', { port: 9153, first: JOINED + 1 }),
    ];
    expect(left(others, 'none')).toHaveLength(3);
  });
});

describe('a sidecar alone makes', () => {
  const made = (one: Edge, mesh: 'sidecar' | 'none' = 'sidecar', joined = true): boolean =>
    madeBySidecars(state(mesh), new Map(joined ? [['a/Deployment/x', JOINED]] : []))(one);

  it.each([
    ['its connection to istiod', made(xds), true],
    ['what is asked for the first time after the join', made(asked(JOINED + 1)), true],
    ['not what the program asked before it', made(asked(JOINED - 1)), false],
    ['not what is asked where nobody knows of a join', made(asked(JOINED + 1), 'sidecar', false), false],
    ['not the connection to istiod of a workload without one', made(xds, 'none'), false],
    ['no call of the program', made(edge('a/Deployment/x', 'b/Deployment/y', { port: 80, first: JOINED + 1 })), false],
  ])('%s', (_name, is, wanted) => {
    expect(is).toBe(wanted);
  });
});

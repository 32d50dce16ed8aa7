// What a record of each kind of connection becomes: the edge that a policy must know, whatever view of it the source had.
import { describe, expect, it } from 'vitest';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { formatEdge } from '../../src/model/edge.ts';
import type { Edge } from '../../src/model/edge.ts';
import type { Flow, RawEnd } from '../../src/model/flow.ts';
import type { Inventory } from '../../src/model/inventory.ts';
import { findSource } from '../../src/sources/registry.ts';
import { cluster, fold as foldInputs } from '../sources/cluster.ts';
import { input } from '../sources/flow-input.ts';
import { HOUR, MONDAY, emptyInventory, end, flow, pod, service, workload } from './build.ts';

const inventory: Inventory = emptyInventory({
  workloads: [
    workload('shop/Deployment/web', {
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      pods: [pod('web-6d4cf56db6-x2x9k', '10.0.0.5', { startedAt: MONDAY - HOUR })],
    }),
    workload('data/StatefulSet/db', {
      ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }],
      pods: [pod('db-0', '10.0.0.9', { startedAt: MONDAY - HOUR })],
    }),
    workload('kube-system/DaemonSet/agent', {
      hostNetwork: true,
      pods: [pod('agent-b7k2p', '192.168.1.1', { hostNetwork: true, startedAt: MONDAY - HOUR })],
    }),
  ],
  services: [
    service('shop/web', {
      clusterIPs: ['10.96.0.10'],
      virtualIPs: ['203.0.113.80'],
      ports: [{ port: 80, targetPort: 'http', protocol: 'TCP', nodePort: 30_080 }],
      workloads: ['shop/Deployment/web'],
    }),
    service('data/db', {
      clusterIPs: ['10.96.0.20'],
      createdAt: MONDAY,
      ports: [{ port: 15_432, targetPort: 'sql', protocol: 'TCP' }],
      workloads: ['data/StatefulSet/db'],
    }),
    service('default/kubernetes', {
      clusterIPs: ['10.96.0.1'],
      ports: [{ port: 443, targetPort: 6443, protocol: 'TCP' }],
    }),
  ],
  nodes: [
    { name: 'n1', addresses: ['192.168.1.1'], podCIDRs: ['10.0.0.0/16'] },
    { name: 'n2', addresses: ['192.168.1.2'], podCIDRs: [], createdAt: MONDAY },
  ],
  facts: { ...emptyInventory().facts, apiServer: ['172.16.0.10/32'] },
});

const ip = (address: string, parts: Partial<RawEnd> = {}): RawEnd => end({ ip: address, ...parts });
const web = ip('10.0.0.5');
const db = ip('10.0.0.9');

function fold(flows: readonly Flow[], names: readonly (readonly [string, string])[] = []): readonly Edge[] {
  const aggregator = createAggregator(inventory);
  for (const one of flows) aggregator.add(one);
  for (const [address, name] of names) aggregator.addName(address, name);
  return aggregator.finish([]).edges;
}

function describeEdge(edge: Edge): string {
  const why = [edge.src, edge.dst].flatMap((one) => (one.kind === 'unknown' ? [one.why] : []));
  const views = edge.views?.join('+') ?? 'no view';
  return [
    `${formatEdge(edge)} x${edge.count} ${views}`,
    ...why,
    ...(edge.guessedDirection === true ? ['direction guessed'] : []),
  ].join(' | ');
}

const WEB_TO_DB = 'shop/Deployment/web -> data/StatefulSet/db 5432/TCP';
const TO_WEB = 'shop/Deployment/web 8080/TCP';
const seen = (src: RawEnd, dst: RawEnd, port: number, parts: Partial<Flow> = {}): Flow =>
  flow({ src, dst, port, view: 'unknown', ...parts });

describe('a connection', () => {
  it.each<[string, readonly Flow[], readonly string[]]>([
    ['by pod addresses', [seen(web, db, 5432)], [`${WEB_TO_DB} x1 no view`]],
    ['by the Service: its pods, and their port', [seen(web, ip('10.96.0.20'), 15_432)], [`${WEB_TO_DB} x1 no view`]],
    [
      'by the Service’s name alone',
      [seen(web, end({ service: { namespace: 'data', name: 'db' } }), 15_432)],
      [`${WEB_TO_DB} x1 no view`],
    ],
    [
      'by the Service, before it was made',
      [seen(web, ip('10.96.0.20'), 15_432, { first: MONDAY - 60_000, last: MONDAY - 60_000 })],
      [
        'shop/Deployment/web -> unknown:10.96.0.20 15432/TCP x1 no view | Service data/db was made later than the record',
      ],
    ],
    [
      'before and after NAT, in two records at one point: one edge',
      [seen(web, ip('10.96.0.20'), 15_432, { tap: 'pre' }), seen(web, db, 5432, { tap: 'post' })],
      [`${WEB_TO_DB} x1 no view`],
    ],
    [
      'by both ends: one connection, both views',
      [seen(web, db, 5432, { view: 'egress' }), seen(web, db, 5432, { view: 'ingress' })],
      [`${WEB_TO_DB} x1 egress+ingress`],
    ],
    ['by one end: its view alone', [seen(web, db, 5432, { view: 'ingress' })], [`${WEB_TO_DB} x1 ingress`]],
    [
      'in the middle of it, of which nobody saw the beginning',
      [
        seen(web, db, 5432, { stage: 'ongoing', view: 'egress' }),
        seen(web, db, 5432, { stage: 'ongoing', reply: true, view: 'egress' }),
      ],
      [`${WEB_TO_DB} x1 egress`],
    ],
    [
      'by a packet of which side is not said: the declared port is the server’s, marked as a guess',
      [seen(db, web, 40_000, { srcPort: 5432, initiatorKnown: false })],
      [`${WEB_TO_DB} x1 no view | direction guessed`],
    ],
    [
      'first guessed, then seen: no guess any more',
      [seen(db, web, 40_000, { srcPort: 5432, initiatorKnown: false, tap: 'a' }), seen(web, db, 5432, { tap: 'b' })],
      [`${WEB_TO_DB} x1 no view`],
    ],
    [
      'between two equal ports of which side is not said: none',
      [seen(db, web, 9999, { srcPort: 9999, initiatorKnown: false })],
      [],
    ],
  ])('%s', (_, flows, edges) => {
    expect(fold(flows).map(describeEdge)).toEqual(edges);
  });
});

describe('an endpoint of its own', () => {
  it.each<[string, Flow, string]>([
    ['a node', seen(web, ip('192.168.1.1'), 10_250), 'shop/Deployment/web -> node 10250/TCP'],
    ['a node that calls', seen(ip('192.168.1.1'), web, 8080), `node -> ${TO_WEB}`],
    ['the host network', seen(end({ namespace: 'kube-system', pod: 'agent-b7k2p' }), web, 8080), `node -> ${TO_WEB}`],
    ['another node', seen(end({ reserved: ['remote-node'] }), web, 8080), `node:remote -> ${TO_WEB}`],
    [
      'not a node before there was one',
      seen(ip('192.168.1.2'), web, 8080, { first: MONDAY - 1, last: MONDAY - 1 }),
      `unknown:192.168.1.2 -> ${TO_WEB}`,
    ],
    ['a node once there is one', seen(ip('192.168.1.2'), web, 8080), `node -> ${TO_WEB}`],
    ['the API server', seen(web, ip('172.16.0.10'), 6443), 'shop/Deployment/web -> api-server 6443/TCP'],
    ['the API server by its Service', seen(web, ip('10.96.0.1'), 443), 'shop/Deployment/web -> api-server 443/TCP'],
    ['a load balancer that nodes answer for', seen(db, ip('203.0.113.80'), 80), `data/StatefulSet/db -> ${TO_WEB}`],
    ['a node port', seen(ip('198.51.100.7'), ip('192.168.1.1'), 30_080), `external:198.51.100.7 -> ${TO_WEB}`],
    ['NodeLocal DNS', seen(web, ip('169.254.20.10'), 53), 'shop/Deployment/web -> node 53/TCP'],
    [
      'the metadata server',
      seen(web, ip('169.254.169.254'), 80),
      'shop/Deployment/web -> external:metadata-server 80/TCP',
    ],
    [
      'the metadata server over IPv6, which is another rule',
      seen(web, ip('fd00:ec2::254'), 80),
      'shop/Deployment/web -> external:fd00:ec2::254 80/TCP',
    ],
    [
      'EKS Pod Identity’s agent',
      seen(web, ip('169.254.170.23'), 80),
      'shop/Deployment/web -> external:169.254.170.23 80/TCP',
    ],
    ['an address outside', seen(web, ip('203.0.113.9'), 443), 'shop/Deployment/web -> external:203.0.113.9 443/TCP'],
    [
      'a name outside, by the source',
      seen(web, ip('203.0.113.9', { reserved: ['world'], names: ['pypi.example'] }), 443),
      'shop/Deployment/web -> external:pypi.example 443/TCP',
    ],
    [
      'nobody known, inside the range of pods',
      seen(web, ip('10.0.7.7'), 443),
      'shop/Deployment/web -> unknown:10.0.7.7 443/TCP',
    ],
  ])('%s', (_, record, edge) => {
    expect(fold([record]).map(formatEdge)).toEqual([edge]);
  });

  it('takes its name from DNS answers in the record, before or after the connection', () => {
    const record = seen(web, ip('203.0.113.9'), 443);
    expect(fold([record], [['203.0.113.9', 'pypi.example']]).map(formatEdge)).toEqual([
      'shop/Deployment/web -> external:pypi.example 443/TCP',
    ]);
  });

  it('is neither multicast nor loopback', () => {
    expect(fold([seen(web, ip('224.0.0.251'), 5353), seen(web, ip('127.0.0.1'), 80)])).toEqual([]);
  });
});

/** One connection of web to db through the Service 10.96.0.20, as sources write it that see addresses before and after NAT. */
describe('Service and NAT views of a source', () => {
  const stamp = 1_791_201_600;
  const lines: readonly (readonly [string, string])[] = [
    [
      'conntrack',
      `[${stamp}.000001]\t [UPDATE] tcp      6 60 SYN_RECV src=10.244.1.10 dst=10.96.0.20 sport=40000 dport=5432 src=10.244.2.20 dst=10.244.1.10 sport=5432 dport=40000`,
    ],
    [
      'netobserv',
      JSON.stringify({
        TimeFlowStartMs: stamp * 1000,
        TimeFlowEndMs: stamp * 1000 + 5,
        SrcAddr: '10.244.1.10',
        DstAddr: '10.244.2.20',
        SrcPort: 40_000,
        DstPort: 5432,
        Proto: 6,
        Flags: 2,
        FlowDirection: 1,
        Packets: 3,
        Bytes: 200,
        SrcK8S_Name: 'web-6d4cf56db6-x2x90',
        SrcK8S_Namespace: 'shop',
        SrcK8S_OwnerName: 'web',
        SrcK8S_OwnerType: 'Deployment',
        DstK8S_Name: 'db-0',
        DstK8S_Namespace: 'data',
        DstK8S_OwnerName: 'db',
        DstK8S_OwnerType: 'StatefulSet',
      }),
    ],
  ];
  it.each(lines)('%s gives the pods and their port', async (name, line) => {
    const source = findSource(name);
    if (source === undefined) throw new Error(name);
    const { edges } = await foldInputs(source, [input(`${line}\n`)], { inventory: cluster });
    expect(edges.map(formatEdge)).toEqual(['shop/Deployment/web -> data/StatefulSet/db 5432/TCP']);
  });
});

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createAggregator } from '../../src/flows/aggregate.ts';
import type { Edge } from '../../src/model/edge.ts';
import { formatEdge } from '../../src/model/edge.ts';
import type { Evidence } from '../../src/model/evidence.ts';
import type { InputReport } from '../../src/model/flow.ts';
import type { Inventory, Workload } from '../../src/model/inventory.ts';
import type { FlowInput, FlowSource } from '../../src/sources/flow-source.ts';
import { MONDAY, emptyInventory, pod, service, workload } from '../flows/build.ts';
import { input } from './flow-input.ts';

export const FIXTURES = join(import.meta.dirname, '../fixtures/sources');
/** When snapshots without times were taken. */
export const NOW = MONDAY + 12 * 3_600_000;

function deployment(
  id: string,
  ips: readonly string[],
  serviceAccount: string,
  port?: number,
  name = 'http',
): Workload {
  const [, kind, own = ''] = id.split('/');
  return workload(id, {
    labels: { app: own },
    serviceAccount,
    ports: port === undefined ? [] : [{ name, port, protocol: 'TCP' }],
    pods: ips.map((ip, index) =>
      pod(kind === 'StatefulSet' ? `${own}-${index}` : `${own}-6d4cf56db6-x2x9${index}`, ip, { startedAt: MONDAY - 1 }),
    ),
  });
}

/** The cluster that the fixtures of the sources were recorded on. */
export const cluster: Inventory = emptyInventory({
  workloads: [
    deployment('istio-system/Deployment/gateway', ['10.244.0.5'], 'gateway', 8443),
    deployment('shop/Deployment/web', ['10.244.1.10', 'fd00:244:1::10'], 'web', 8080),
    deployment('shop/Deployment/api', ['10.244.1.11', '10.244.2.11'], 'api', 8080),
    deployment('data/StatefulSet/db', ['10.244.2.20', 'fd00:244:2::20'], 'db', 5432, 'tcp-db'),
    workload('kube-system/Deployment/coredns', {
      labels: { 'k8s-app': 'kube-dns' },
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
      pods: [pod('coredns-6d4cf56db6-x2x90', '10.244.0.2', { startedAt: MONDAY - 1 })],
    }),
  ],
  services: [
    service('shop/web', {
      clusterIPs: ['10.96.0.10'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 8080 }],
      workloads: ['shop/Deployment/web'],
    }),
    service('shop/api', {
      clusterIPs: ['10.96.0.11'],
      ports: [{ name: 'http', port: 80, protocol: 'TCP', targetPort: 'http' }],
      workloads: ['shop/Deployment/api'],
    }),
    service('data/db', {
      clusterIPs: ['10.96.0.20'],
      ports: [{ name: 'tcp-db', port: 5432, protocol: 'TCP', targetPort: 5432 }],
      workloads: ['data/StatefulSet/db'],
    }),
    service('kube-system/kube-dns', {
      clusterIPs: ['10.96.0.2'],
      ports: [{ name: 'dns', port: 53, protocol: 'UDP', targetPort: 53 }],
      workloads: ['kube-system/Deployment/coredns'],
    }),
    service('default/kubernetes', {
      clusterIPs: ['10.96.0.1'],
      ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: 6443 }],
    }),
  ],
  facts: { ...emptyInventory().facts, apiServer: ['10.0.0.2/32'] },
  nodes: [{ name: 'node-1', addresses: ['10.0.0.1'], podCIDRs: ['10.244.0.0/16', 'fd00:244::/32'] }],
});

export interface Folded {
  readonly report: InputReport;
  readonly reports: readonly InputReport[];
  readonly edges: readonly Edge[];
  readonly evidence: Evidence;
}

/** Reads inputs as `sallyport observe` does, and folds them on the cluster of the fixtures. */
export async function fold(
  source: FlowSource,
  inputs: readonly FlowInput[],
  options: { readonly badRecords?: 'abort' | 'skip'; readonly now?: number; readonly inventory?: Inventory } = {},
): Promise<Folded> {
  const aggregator = createAggregator(options.inventory ?? cluster);
  const reports: InputReport[] = [];
  for (const one of inputs)
    reports.push(
      await source.read(
        one,
        { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
        { badRecords: options.badRecords ?? 'abort', ...(options.now === undefined ? {} : { now: options.now }) },
      ),
    );
  const [report] = reports;
  if (report === undefined) throw new Error('no input');
  return { report, reports, ...aggregator.finish(reports) };
}

/** One line an edge, with everything that a source has a say in. */
export function describeEdges(edges: readonly Edge[]): string {
  return edges
    .map((edge) => {
      const verdicts = Object.entries(edge.verdicts)
        .filter(([, count]) => count > 0)
        .map(([verdict, count]) => `${verdict} ${count}`)
        .sort();
      const rest = [
        ...(edge.mtls === 'unknown' ? [] : [`mtls ${edge.mtls}`]),
        ...edge.principals,
        ...(edge.guessedDirection === true ? ['direction guessed'] : []),
      ];
      return `${[formatEdge(edge), verdicts.join(', '), ...rest].join(' | ')}\n`;
    })
    .sort()
    .join('');
}

/** A file beside which `<file>.edges` says what it must give. */
export interface Fixture {
  readonly source: string;
  readonly file: string;
  readonly path: string;
  readonly text: string;
}

export const fixtures: readonly Fixture[] = readdirSync(FIXTURES, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .flatMap(({ name: source }) =>
    readdirSync(join(FIXTURES, source))
      .filter((file) => !file.endsWith('.edges') && !file.endsWith('.md'))
      .sort()
      .map((file) => {
        const path = join(FIXTURES, source, file);
        return { source, file, path, text: readFileSync(path, 'utf8') };
      }),
  );

export function fixtureInput(fixture: Fixture): FlowInput {
  return input(fixture.text, fixture.file, 1024);
}

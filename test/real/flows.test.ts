import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { coverageOf } from '../../src/flows/coverage.ts';
import { findDoubtful } from '../../src/flows/review.ts';
import { formatEdge, hasPassed } from '../../src/model/edge.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { openInput } from '../../src/sources/input.ts';
import { FLOW_SOURCES } from '../../src/sources/registry.ts';
import { emptyInventory, workload } from '../flows/build.ts';

const DATA = join(import.meta.dirname, '../../../shared/data/flows');

// The workloads of Istio's bookinfo sample, as its manifest names them.
const inventory = emptyInventory({
  workloads: ['productpage-v1', 'details-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3'].map((name) => {
    const [app = '', version = ''] = name.split('-');
    return workload(`bookinfo/Deployment/${name}`, { labels: { app, version }, serviceAccount: `bookinfo-${app}` });
  }),
});

async function fold(path: string) {
  const aggregator = createAggregator(inventory);
  const report = await hubbleSource.read(
    openInput(join(DATA, path), () => {
      throw new Error('no standard input here');
    }),
    { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
    { badRecords: 'abort' },
  );
  return { report, ...aggregator.finish([report]) };
}

describe('recorded flows of Hubble', () => {
  it('four seconds of bookinfo fold into its calls, each connection once', async () => {
    const { report, edges, evidence } = await fold('hubble/basic-sample-400-tcp-flows.json');
    expect(report).toMatchObject({ records: 400, bad: 0, lost: 0 });
    expect(evidence.unattributed).toEqual({});
    const inside = edges
      .filter((edge) => edge.src.kind === 'workload' && edge.src.id.startsWith('bookinfo/') && edge.l7 === undefined)
      .map((edge) => `${formatEdge(edge).replaceAll('bookinfo/Deployment/', '')} ${edge.count}`)
      .sort();
    expect(inside).toEqual([
      'productpage-v1 -> details-v1 9080/TCP 9',
      'productpage-v1 -> reviews-v1 9080/TCP 2',
      'productpage-v1 -> reviews-v2 9080/TCP 4',
      'productpage-v1 -> reviews-v3 9080/TCP 3',
      'ratings-v1 -> productpage-v1 9080/TCP 9',
      'reviews-v3 -> ratings-v1 9080/TCP 1',
    ]);
    expect(edges.flatMap((edge) => edge.l7 ?? []).sort()).toEqual([
      'GET /details/0',
      'GET /productpage',
      'GET /ratings/0',
      'GET /reviews/0',
      'GET /reviews/0',
      'GET /reviews/0',
    ]);
    expect(edges.filter((edge) => edge.dst.kind === 'node').map(formatEdge)).toEqual([
      'kube-system/Pod/otelcol-hubble-collector-fwc6m -> node 4244/TCP',
    ]);
    // One day is too little for an estimate, and every edge of it waits for a person.
    expect(coverageOf('bookinfo', 'ingress', edges, evidence, inventory).shareUpper).toBeUndefined();
    expect(findDoubtful(edges, inventory)).toHaveLength(edges.filter(hasPassed).length);
  });

  it('queries and answers of DNS are connections to the DNS server', async () => {
    const { report, edges } = await fold('hubble/basic-sample-330-dns-flows.json');
    expect(report.records).toBe(330);
    expect(edges.map((edge) => formatEdge(edge).replace(/-[a-z0-9]{5} /, ' '))).toHaveLength(8);
    expect(edges.every((edge) => edge.port === 53 && edge.l7 === undefined && hasPassed(edge))).toBe(true);
  });

  it('old records without is_reply are turned by reply', async () => {
    const { edges } = await fold('hubble/basic-sample-10-flows.json');
    expect(edges.map((edge) => edge.port).sort((a, b) => a - b)).toEqual([443, 9901, 10054, 15020, 15090]);
  });

  it('requests of a scraper name their operation', async () => {
    const { edges } = await fold('hubble/basic-sample-5-http-flows.json');
    expect(edges).toHaveLength(4);
    expect(edges.every((edge) => edge.l7 === 'GET /metrics' && edge.mtls === 'no')).toBe(true);
  });

  it('a masked export keeps what is left: a denial by policy, and no ICMP', async () => {
    const { report, edges } = await fold('hubble-export/exporter-fieldmask-dropped.jsonl');
    expect(report.ignored).toEqual({ ICMP: 1 });
    expect(edges.map((edge) => `${formatEdge(edge)} ${JSON.stringify(edge.verdicts)}`)).toEqual([
      'default/Pod/xwing -> default/Pod/deathstar-7848d6c4d5-th9v2 80/TCP {"denied":1}',
    ]);
  });
});

describe('recordings of other tools', () => {
  const files = readdirSync(DATA, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('hubble'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

  it.each(files)('are refused as what they are not: %s', async (path) => {
    for (const source of FLOW_SOURCES) {
      const flows: unknown[] = [];
      const sink = { flow: (flow: unknown) => flows.push(flow), name: () => undefined };
      const input = openInput(path, () => {
        throw new Error('no standard input here');
      });
      const failure = await source.read(input, sink, { badRecords: 'abort' }).catch((error: unknown) => error);
      expect(isFailure(failure) && failure.detail).toMatchObject({ exit: 2 });
      expect(flows).toEqual([]);
    }
  });
});

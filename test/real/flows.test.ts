import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createAggregator } from '../../src/flows/aggregate.ts';
import { coverageOf } from '../../src/flows/coverage.ts';
import { findDoubtful } from '../../src/flows/review.ts';
import type { Verdict3 } from '../../src/model/edge.ts';
import { formatEdge, formatPort, hasPassed } from '../../src/model/edge.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import { uniqueSorted } from '../../src/shared/pure/order.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { openInput } from '../../src/sources/input.ts';
import { FLOW_SOURCES, findSource } from '../../src/sources/registry.ts';
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

/** Recordings by the source that reads them; what no source reads is named for what it is. */
const OTHERS: Readonly<Record<string, string | undefined>> = {
  antrea: 'antrea',
  'aws-vpc-flow': 'aws-vpc',
  'calico-flowlog': 'calico',
  caretta: 'caretta',
  conntrack: 'conntrack',
  'gcp-vpc-flow': 'gcp',
  'kiali-graph': 'kiali',
  'kubescape-networkneighborhood': 'kubescape',
  linkerd: 'linkerd',
  'netobserv-loki': 'netobserv',
  otterize: 'otterize',
  'ovn-acl-audit': 'ovn',
  zeek: 'zeek',
  ztunnel: 'ztunnel',
};
/** Not records: templates, sums without ports, and times that the recording masked. */
const UNREADABLE = /\.tmpl$|SOURCE\.txt$|flow_metrics_|^zeek\//;

function noStdin(): never {
  throw new Error('no standard input here');
}

describe('recordings of other tools', () => {
  const files = readdirSync(DATA, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('hubble'))
    .map((entry) => relative(DATA, join(entry.parentPath, entry.name)))
    .sort();
  const readable = files.filter((path) => OTHERS[path.split('/')[0] ?? ''] !== undefined && !UNREADABLE.test(path));

  it.each(files)('are refused by every source that is not theirs: %s', async (path) => {
    for (const source of FLOW_SOURCES) {
      if (source.name === OTHERS[path.split('/')[0] ?? ''] && !UNREADABLE.test(path)) continue;
      const flows: unknown[] = [];
      const sink = { flow: (flow: unknown) => flows.push(flow), name: () => undefined };
      const failure = await source
        .read(openInput(join(DATA, path), noStdin), sink, { badRecords: 'abort', now: Date.UTC(2026, 9, 5) })
        .catch((error: unknown) => error);
      expect(isFailure(failure) && failure.detail, source.name).toMatchObject({ exit: 2 });
      expect(flows, source.name).toEqual([]);
    }
  });

  it.each(readable)('are read by their own source: %s', async (path) => {
    const source = findSource(OTHERS[path.split('/')[0] ?? ''] ?? '');
    if (source === undefined) throw new Error(`no source for ${path}`);
    const aggregator = createAggregator(inventory);
    const report = await source.read(
      openInput(join(DATA, path), noStdin),
      { flow: (flow) => aggregator.add(flow), name: (ip, name) => aggregator.addName(ip, name) },
      // One recording ends in a line that its own test calls bogus.
      { badRecords: path.endsWith('v5_file.log') ? 'skip' : 'abort', now: Date.UTC(2026, 9, 5) },
    );
    expect(report.bad).toBe(path.endsWith('v5_file.log') ? 1 : 0);
    const { edges, evidence } = aggregator.finish([report]);
    const sum = (verdict: Verdict3): number => edges.reduce((all, edge) => all + (edge.verdicts[verdict] ?? 0), 0);
    // Figures alone: the recordings are others'.
    const figures = {
      records: report.records,
      lost: report.lost,
      ignored: report.ignored,
      edges: edges.length,
      ports: uniqueSorted(edges.map(formatPort)),
      verdicts: { allowed: sum('allowed'), denied: sum('denied'), audit: sum('audit'), unknown: sum('unknown') },
      encrypted: edges.filter((edge) => edge.mtls === 'yes').length,
      plaintext: edges.filter((edge) => edge.mtls === 'no').length,
      guessed: edges.filter((edge) => edge.guessedDirection === true).length,
      principals: new Set(edges.flatMap((edge) => edge.principals)).size,
      unattributed: evidence.unattributed,
    };
    await expect(`${JSON.stringify(figures, null, 2)}\n`).toMatchFileSnapshot(
      join(import.meta.dirname, 'flows', `${path.replaceAll('/', '-')}.json`),
    );
  });
});

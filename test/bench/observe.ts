/**
 * Lines per second of `observe hubble`, reading to edges, on records of the usual size.
 *
 *     node test/bench/observe.ts [LINES]
 */
import { createAggregator } from '../../src/flows/aggregate.ts';
import type { FlowSink } from '../../src/sources/flow-source.ts';
import { hubbleSource } from '../../src/sources/hubble/index.ts';
import { emptyInventory } from '../flows/build.ts';

const wanted = Number(process.argv[2] ?? 300_000);
const WORKLOADS = 200;

function endpoint(index: number, run: number): object {
  const name = `service-${index}`;
  return {
    ID: 1000 + index,
    identity: 20_000 + index,
    cluster_name: 'bench',
    namespace: `team-${index % 20}`,
    labels: [
      `k8s:app.kubernetes.io/name=${name}`,
      'k8s:app.kubernetes.io/part-of=bench',
      `k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=team-${index % 20}`,
      'k8s:io.cilium.k8s.policy.cluster=bench',
      `k8s:io.cilium.k8s.policy.serviceaccount=${name}`,
      `k8s:io.kubernetes.pod.namespace=team-${index % 20}`,
    ],
    pod_name: `${name}-5d4f6b7c8d-${'bcdfg'[run % 5] ?? 'b'}wxyz`,
    workloads: [{ name, kind: 'Deployment' }],
  };
}

function line(number: number): string {
  const src = number % WORKLOADS;
  const dst = (number * 7 + 3) % WORKLOADS;
  const time = new Date(Date.UTC(2026, 9, 5) + number * 40).toISOString().replace('Z', '456789Z');
  return JSON.stringify({
    flow: {
      time,
      uuid: '2f6f1d0e-1f3f-4c57-a6ad-3e0d4f1f2a11',
      verdict: 'FORWARDED',
      ethernet: { source: 'd2:d9:76:de:f4:90', destination: '6e:3c:ce:d3:9e:a6' },
      IP: { source: `10.0.1.${src}`, destination: `10.0.2.${dst}`, ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 32768 + (number % 20_000), destination_port: 8080, flags: { SYN: true } } },
      source: endpoint(src, number % 3),
      destination: endpoint(dst, number % 3),
      Type: 'L3_L4',
      node_name: 'bench/node-1',
      event_type: { type: 5, sub_type: 0 },
      traffic_direction: number % 2 === 0 ? 'EGRESS' : 'INGRESS',
      policy_match_type: 2,
      is_reply: false,
      Summary: 'TCP Flags: SYN',
    },
    node_name: 'bench/node-1',
    time,
  });
}

const lines = Array.from({ length: 10_000 }, (_, number) => line(number)).join('\n');
const chunk = Buffer.from(`${lines}\n`);
const rounds = Math.ceil(wanted / 10_000);

async function* bytes(): AsyncIterable<Uint8Array> {
  for (let round = 0; round < rounds; round += 1)
    for (let at = 0; at < chunk.byteLength; at += 1 << 20) {
      await Promise.resolve();
      yield chunk.subarray(at, at + (1 << 20));
    }
}

const aggregator = createAggregator(emptyInventory());
const sink: FlowSink = {
  flow: (flow) => aggregator.add(flow),
  name: (ip, name) => aggregator.addName(ip, name),
};
const started = performance.now();
const report = await hubbleSource.read({ name: 'bench', open: bytes }, sink, { badRecords: 'abort' });
const { edges } = aggregator.finish([report]);
const seconds = (performance.now() - started) / 1000;
const megabytes = report.bytes / 1_000_000;
process.stdout.write(
  `${report.lines} lines of ${Math.round(report.bytes / report.lines)} bytes in ${seconds.toFixed(2)} s: ` +
    `${Math.round(report.lines / seconds)} lines/s, ${Math.round(megabytes / seconds)} MB/s, ${edges.length} edges, ` +
    `${Math.round(process.memoryUsage().rss / 1_048_576)} MiB resident\n`,
);

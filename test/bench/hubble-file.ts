import { closeSync, openSync, writeSync } from 'node:fs';

/**
 * A file of Hubble records as an exporter writes them: a cluster of 300 workloads in 30 namespaces with up to four pods each, 1,200 edges,
 * policy verdicts, packets and answers, DNS, requests, denials and a few losses. The same for the same number of lines.
 */
export function writeHubbleFile(path: string, lines: number): number {
  const file = openSync(path, 'w');
  const random = createRandom(7);
  const pick = (below: number): number => Math.floor(random() * below);
  const ends = Array.from({ length: WORKLOADS }, (_, index) =>
    Array.from({ length: 1 + (index % 4) }, (__, pod) => endText(index, pod)),
  );
  const edges = Array.from({ length: EDGES }, () => ({
    src: pick(WORKLOADS),
    dst: pick(WORKLOADS),
    port: PORTS[pick(PORTS.length)] ?? 80,
  }));
  let bytes = 0;
  let part: string[] = [];
  const flush = (): void => {
    if (part.length > 0) bytes += writeSync(file, `${part.join('\n')}\n`);
    part = [];
  };
  for (let number = 0; number < lines; number += 1) {
    const edge = edges[Math.floor(random() ** 2 * EDGES)] ?? edges[0];
    if (edge === undefined) throw new Error('there are edges');
    const src = one(ends[edge.src], pick(4));
    const dst = one(ends[edge.dst], pick(4));
    const time = new Date(START + Math.floor((number * SPAN_MS) / lines))
      .toISOString()
      .replace('Z', `${String(pick(1e6)).padStart(6, '0')}Z`);
    part.push(recordText(random(), time, src, dst, edge.port, 32768 + pick(28000)));
    if (part.length === 4096) flush();
  }
  flush();
  closeSync(file);
  return bytes;
}

interface End {
  readonly text: string;
  readonly ip: string;
}

const WORKLOADS = 300;
const EDGES = 1200;
const PORTS = [80, 443, 5000, 5432, 6379, 8080, 8443, 9000, 9090];
const START = Date.UTC(2026, 9, 5);
const SPAN_MS = 7 * 86_400_000;

function one<T>(list: readonly T[] | undefined, index: number): T {
  const item = list?.[index % list.length];
  if (item === undefined) throw new Error('nothing to choose from');
  return item;
}

function endText(index: number, pod: number): End {
  const name = `service-${index}`;
  const namespace = `team-${index % 30}`;
  const text = JSON.stringify({
    ID: 1000 + index * 4 + pod,
    identity: 20_000 + index,
    cluster_name: 'bench',
    namespace,
    labels: [
      `k8s:app.kubernetes.io/name=${name}`,
      'k8s:app.kubernetes.io/part-of=bench',
      `k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=${namespace}`,
      'k8s:io.cilium.k8s.policy.cluster=bench',
      `k8s:io.cilium.k8s.policy.serviceaccount=${name}`,
      `k8s:io.kubernetes.pod.namespace=${namespace}`,
    ],
    pod_name: `${name}-5d4f6b7c8d-${'bcdf'[pod] ?? 'b'}wxyz`,
    workloads: [{ name, kind: 'Deployment' }],
  });
  return { text, ip: `10.${index >> 6}.${index & 63}.${10 + pod}` };
}

/** The fields in the order in which the exporter writes them. */
function recordText(kind: number, time: string, src: End, dst: End, port: number, srcPort: number): string {
  const ethernet = '"ethernet":{"source":"d2:d9:76:de:f4:90","destination":"6e:3c:ce:d3:9e:a6"}';
  const build = (verdict: string, from: End, to: End, l4: string, rest: string): string =>
    `{"flow":{"time":"${time}","uuid":"2f6f1d0e-1f3f-4c57-a6ad-3e0d4f1f2a11","verdict":"${verdict}",${ethernet},"IP":{"source":"${from.ip}","destination":"${to.ip}","ipVersion":"IPv4"},"l4":${l4},"source":${from.text},"destination":${to.text},${rest}},"node_name":"bench/node-1","time":"${time}"}`;
  const tcp = (from: number, to: number, flags: string): string =>
    `{"TCP":{"source_port":${from},"destination_port":${to},"flags":{${flags}}}}`;
  const node = '"node_name":"bench/node-1"';
  if (kind < 0.5)
    return build(
      'FORWARDED',
      src,
      dst,
      tcp(srcPort, port, '"SYN":true'),
      `"Type":"L3_L4",${node},"event_type":{"type":5},"traffic_direction":"${kind < 0.25 ? 'EGRESS' : 'INGRESS'}","policy_match_type":2,"is_reply":false,"Summary":"TCP Flags: SYN"`,
    );
  if (kind < 0.7)
    return build(
      'FORWARDED',
      src,
      dst,
      tcp(srcPort, port, '"PSH":true,"ACK":true'),
      `"Type":"L3_L4",${node},"event_type":{"type":4},"traffic_direction":"INGRESS","trace_observation_point":"TO_ENDPOINT","is_reply":false,"Summary":"TCP Flags: ACK, PSH"`,
    );
  if (kind < 0.85)
    return build(
      'FORWARDED',
      dst,
      src,
      tcp(port, srcPort, '"ACK":true'),
      `"Type":"L3_L4",${node},"event_type":{"type":4,"sub_type":3},"traffic_direction":"EGRESS","trace_observation_point":"TO_STACK","is_reply":true,"Summary":"TCP Flags: ACK"`,
    );
  if (kind < 0.95)
    return build(
      'FORWARDED',
      src,
      dst,
      `{"UDP":{"source_port":${srcPort},"destination_port":53}}`,
      `"Type":"L3_L4",${node},"event_type":{"type":4},"traffic_direction":"EGRESS","trace_observation_point":"TO_ENDPOINT","is_reply":false,"Summary":"UDP"`,
    );
  if (kind < 0.98)
    return build(
      'FORWARDED',
      src,
      dst,
      tcp(srcPort, port, ''),
      `"Type":"L7",${node},"l7":{"type":"REQUEST","http":{"method":"GET","url":"http://service/api/v1/items?page=${srcPort}","protocol":"HTTP/1.1","headers":[{"key":"X-Request-Id","value":"2d7f"}]}},"event_type":{"type":129},"traffic_direction":"INGRESS","is_reply":false,"Summary":"HTTP/1.1 GET http://service/api/v1/items"`,
    );
  if (kind < 0.999)
    return build(
      'DROPPED',
      src,
      dst,
      tcp(srcPort, port, '"SYN":true'),
      `"Type":"L3_L4",${node},"event_type":{"type":5},"traffic_direction":"INGRESS","drop_reason_desc":"POLICY_DENIED","is_reply":false,"Summary":"TCP Flags: SYN"`,
    );
  return `{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"3"},"node_name":"bench/node-1","time":"${time}"}`;
}

function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4_294_967_296;
  };
}

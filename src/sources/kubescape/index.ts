import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { createEnds, isRaw, labelsOfRecord, parseProtocol, portAt, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';
import { parseTime } from '../time.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('kubescape', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: 'not a JSON object' };
    // What kubectl prints for several.
    const items = Array.isArray(value['items']) ? (value['items'] as readonly unknown[]) : [value];
    for (const item of items) {
      if (!isRaw(item) || item['kind'] !== 'NetworkNeighborhood') return { message: 'not a NetworkNeighborhood' };
      const metadata = isRaw(item['metadata']) ? item['metadata'] : {};
      const spec = isRaw(item['spec']) ? item['spec'] : {};
      const labels = isRaw(metadata['labels']) ? metadata['labels'] : {};
      const kind = textAt(labels, 'kubescape.io/workload-kind');
      const name = textAt(labels, 'kubescape.io/workload-name');
      const namespace = textAt(labels, 'kubescape.io/workload-namespace') ?? textAt(metadata, 'namespace');
      const created = textAt(metadata, 'creationTimestamp');
      const time = options.now ?? (created === undefined ? undefined : parseTime(created));
      if (kind === undefined || name === undefined || namespace === undefined || time === undefined)
        return { message: 'no labels kubescape.io/workload-kind and -name, or no "creationTimestamp"' };
      const own = ends({ namespace, workload: { kind, name } });
      for (const container of ['containers', 'initContainers', 'ephemeralContainers'].flatMap((key) => list(spec[key])))
        for (const direction of ['egress', 'ingress'] as const)
          for (const neighbour of list(container[direction])) {
            counter.seen(time);
            const ports = list(neighbour['ports']);
            const peer = peerEnd(neighbour, namespace, ends);
            if (ports.length === 0) counter.ignored('no ports');
            for (const entry of ports) {
              const port = portAt(entry, 'port');
              const protocol = parseProtocol(entry['protocol']);
              if (port === undefined || protocol === undefined) {
                counter.ignored('no ports');
                continue;
              }
              sink.flow(
                flowOf({
                  first: time,
                  src: direction === 'egress' ? own : peer,
                  dst: direction === 'egress' ? peer : own,
                  protocol,
                  port,
                  view: direction,
                  // A learned set: that there was one, not how many, nor a verdict.
                  stage: 'ongoing',
                  verdict: 'unknown',
                  source: 'kubescape',
                }),
              );
            }
          }
    }
    return undefined;
  });
}

function list(value: unknown): readonly Raw[] {
  return Array.isArray(value) ? (value as readonly unknown[]).filter(isRaw) : [];
}

function peerEnd(neighbour: Raw, namespace: string, ends: Ends): RawEnd {
  const ip = textAt(neighbour, 'ipAddress');
  const selector = isRaw(neighbour['podSelector']) ? neighbour['podSelector'] : undefined;
  const labels = labelsOfRecord(selector?.['matchLabels']);
  if (labels !== undefined) {
    const inside = isRaw(neighbour['namespaceSelector']) ? neighbour['namespaceSelector']['matchLabels'] : undefined;
    const named = isRaw(inside) ? textAt(inside, 'kubernetes.io/metadata.name') : namespace;
    if (named !== undefined) return ends({ namespace: named, labels });
  }
  const dns = [
    textAt(neighbour, 'dns'),
    ...(Array.isArray(neighbour['dnsNames']) ? (neighbour['dnsNames'] as readonly unknown[]) : []),
  ];
  const names = [...new Set(dns.filter((one): one is string => typeof one === 'string' && one !== ''))].map((one) =>
    one.replace(/\.$/, '').toLowerCase(),
  );
  return ends({
    ...(ip === undefined ? {} : { ip }),
    names,
    ...(neighbour['type'] === 'external' && names.length > 0 ? { reserved: ['world'] } : {}),
  });
}

/** Kubescape's network neighbourhoods. */
export const kubescapeSource: FlowSource = {
  name: 'kubescape',
  summary: "Kubescape's NetworkNeighborhoods, as kubectl prints them in JSON",
  example: 'kubectl get networkneighborhoods -A -o json | sallyport observe kubescape -',
  read,
};

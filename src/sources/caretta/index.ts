import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { createEnds } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import type { Labels } from '../prometheus.ts';
import { readSeries, seenSeries } from '../prometheus.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readSeries(
    'caretta',
    input,
    options,
    (name) => name === 'caretta_links_observed',
    (series, counter) => {
      const { labels } = series;
      const port = Number(labels['server_port']);
      if (
        labels['client_name'] === undefined ||
        labels['server_name'] === undefined ||
        !Number.isInteger(port) ||
        port < 0 ||
        port > 65_535
      )
        return { message: 'a series without "client_name", "server_name" and "server_port"' };
      seenSeries(series, counter);
      if (port === 0) {
        counter.ignored('no port of the destination');
        return undefined;
      }
      for (const amount of series.amounts)
        // The value is bytes: it says that there was a connection, not how many.
        sink.flow(
          flowOf({
            first: amount.time,
            src: endOf(labels, 'client', ends),
            dst: endOf(labels, 'server', ends),
            port,
            view: labels['role'] === '2' ? 'ingress' : 'egress',
            stage: 'ongoing',
            source: 'caretta',
          }),
        );
      return undefined;
    },
  );
}

/** `external` and `node` stand for namespaces of what is in none. */
function endOf(labels: Labels, side: 'client' | 'server', ends: Ends): RawEnd {
  const name = labels[`${side}_name`] ?? '';
  const namespace = labels[`${side}_namespace`] ?? '';
  const kind = labels[`${side}_kind`] ?? '';
  if (namespace === 'node' || kind.toLowerCase() === 'node') return ends({ reserved: ['host'] });
  if (namespace === 'external' || namespace === '') {
    if (/^[\d.]+$|:/.test(name)) return ends({ ip: name });
    return ends({
      reserved: ['world'],
      ...(name.includes('.') ? { names: [name.replace(/\.$/, '').toLowerCase()] } : {}),
    });
  }
  if (kind === 'Service') return ends({ service: { namespace, name } });
  if (kind === 'Pod') return ends({ namespace, pod: name });
  return ends({ namespace, workload: { kind, name } });
}

const LABELS = [
  'role',
  ...['client', 'server'].flatMap((side) => ['name', 'namespace', 'kind'].map((one) => `${side}_${one}`)),
  'server_port',
];

/** Caretta's links. */
export const carettaSource: FlowSource = {
  name: 'caretta',
  summary:
    "Caretta's links (caretta_links_observed): a Prometheus by its address, answers of its HTTP API, or a scrape with --now",
  example: 'sallyport observe caretta http://caretta-vm.caretta:8428 --since 7d',
  remote: {
    kind: 'prometheus',
    queries: [`sum by (${LABELS.join(', ')}) (last_over_time(caretta_links_observed[1h])) > 0`],
  },
  read,
};

import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends } from '../ends.ts';
import { createEnds, parseAddress } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readSeries, seenSeries } from '../prometheus.ts';
import { grownByHour, presentInHour } from '../remote.ts';
import type { BadRecord } from '../records.ts';

const CONNECTS = 'container_net_tcp_successful_connects_total';
const FAILED = 'container_net_tcp_failed_connects_total';
const ACTIVE = 'container_net_tcp_active_connections';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readSeries(
    'coroot',
    input,
    options,
    (name) => name === CONNECTS || name === ACTIVE || name === FAILED,
    (series, counter) => {
      const { name, labels } = series;
      const ignored = (reason: string): BadRecord | undefined => {
        seenSeries(series, counter);
        counter.ignored(reason);
        return undefined;
      };
      if (name === FAILED) return ignored('connections that failed');
      const container = labels['container_id'];
      const target = labels['actual_destination'] ?? labels['destination'];
      if (container === undefined || target === undefined)
        return { message: 'a series without "container_id" and "destination"' };
      const dst = destination(target, ends);
      if (dst === undefined) return ignored('no port of the destination');
      seenSeries(series, counter);
      const src = containerEnd(container, ends);
      for (const amount of series.amounts)
        sink.flow(
          flowOf({
            first: amount.time,
            src,
            dst: dst.end,
            port: dst.port,
            view: 'egress',
            ...(amount.ongoing || name === ACTIVE ? { stage: 'ongoing', count: 1 } : { count: amount.count }),
            source: 'coroot',
          }),
        );
      return undefined;
    },
  );
}

/** `/k8s/<namespace>/<pod>/<container>`, `/k8s-cronjob/<namespace>/<cron job>/<container>`; anything else runs beside Kubernetes. */
function containerEnd(id: string, ends: Ends): RawEnd {
  const [, kind, namespace, name] = id.split('/');
  if (namespace === undefined || name === undefined) return ends({ reserved: ['host'] });
  if (kind === 'k8s') return ends({ namespace, pod: name });
  if (kind === 'k8s-cronjob') return ends({ namespace, workload: { kind: 'CronJob', name } });
  return ends({ reserved: ['host'] });
}

function destination(text: string, ends: Ends): { readonly end: RawEnd; readonly port: number } | undefined {
  const address = parseAddress(text) ?? parseAddress(text.replace(/^([0-9a-f:]+):(\d+)$/i, '[$1]:$2'));
  if (address !== undefined)
    return address.port === 0 ? undefined : { end: ends({ ip: address.ip }), port: address.port };
  const name = /^([a-z0-9.*-]+):(\d{1,5})$/i.exec(text);
  const port = Number(name?.[2] ?? 0);
  if (name?.[1] === undefined || port < 1 || port > 65_535) return undefined;
  return { end: ends({ reserved: ['world'], names: [name[1].toLowerCase()] }), port };
}

/** Metrics of Coroot's node agent. */
export const corootSource: FlowSource = {
  name: 'coroot',
  summary:
    "metrics of Coroot's node agent: a Prometheus by its address, answers of its HTTP API, or a scrape with --now",
  example: 'sallyport observe coroot http://prometheus.coroot:9090 --since 7d',
  remote: {
    kind: 'prometheus',
    queries: [grownByHour(CONNECTS, ['container_id', 'destination', 'actual_destination'])],
    present: presentInHour(CONNECTS),
  },
  read,
};

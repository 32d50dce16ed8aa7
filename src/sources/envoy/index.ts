import type { InputReport } from '../../model/flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { readPayloads } from '../records.ts';
import { createEnvoyParser } from './schema.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const parse = createEnvoyParser();
  return readPayloads('envoy', input, options, (payload, counter) => {
    const record = parse(payload);
    switch (record.kind) {
      case 'flows':
        counter.seen(record.time);
        for (const flow of record.flows) sink.flow(flow);
        return undefined;
      case 'ignored':
        if (record.time !== undefined) counter.seen(record.time);
        counter.ignored(record.reason);
        return undefined;
      case 'message':
        counter.aside('a log message', payload.text);
        return undefined;
      case 'bad':
        return { message: record.message };
    }
  });
}

/** Access logs of Envoy, as Istio configures its sidecars, gateways and waypoints. */
export const envoySource: FlowSource = {
  name: 'envoy',
  summary: "access logs of Envoy and Istio's proxies: JSON (Istio's field names) or Istio's default text",
  example: 'kubectl logs -n shop deploy/web -c istio-proxy | sallyport observe envoy -',
  remote: { kind: 'loki', queries: [], lines: false },
  grows: true,
  read,
};

import type { InputReport, RawEnd } from '../../model/flow.ts';
import type { Ends, Raw } from '../ends.ts';
import { createEnds, isRaw, textAt } from '../ends.ts';
import { flowOf } from '../flow.ts';
import type { FlowInput, FlowSink, FlowSource, ReadOptions } from '../flow-source.ts';
import { missingTime, readPayloads } from '../records.ts';

async function read(input: FlowInput, sink: FlowSink, options: ReadOptions): Promise<InputReport> {
  const ends = createEnds();
  return readPayloads('otterize', input, options, ({ value }, counter) => {
    if (!isRaw(value)) return { message: 'not a JSON object' };
    if (value['kind'] !== 'ClientIntents') return { message: 'not ClientIntents' };
    const metadata = isRaw(value['metadata']) ? value['metadata'] : {};
    const spec = isRaw(value['spec']) ? value['spec'] : {};
    const namespace = textAt(metadata, 'namespace');
    const client = isRaw(spec['workload']) ? spec['workload'] : isRaw(spec['service']) ? spec['service'] : undefined;
    const name = client === undefined ? undefined : textAt(client, 'name');
    const targets = spec['targets'] ?? spec['calls'];
    if (namespace === undefined || client === undefined || name === undefined || !Array.isArray(targets))
      return { message: 'no "metadata.namespace", "spec.workload" and "spec.targets"' };
    const { now } = options;
    if (now === undefined)
      throw missingTime(
        input,
        'intents carry no time, and nothing says when they were exported',
        'say when: --now 2026-10-14T08:00:00Z',
      );
    const src = ends({ namespace, workload: { kind: textAt(client, 'kind') ?? '', name } });
    for (const target of targets as readonly unknown[]) {
      counter.seen(now);
      const found = isRaw(target) ? targetsOf(target, namespace, ends) : undefined;
      if (found === undefined) counter.ignored('a target that is no connection in or out of the cluster');
      else
        for (const { end, port } of found)
          // The mapper saw it since it was started: that there was one, not how many or when.
          sink.flow(
            flowOf({ first: now, src, dst: end, port, stage: 'ongoing', verdict: 'unknown', source: 'otterize' }),
          );
    }
    return undefined;
  });
}

interface Found {
  readonly end: RawEnd;
  readonly port: number;
}

function targetsOf(target: Raw, namespace: string, ends: Ends): readonly Found[] | undefined {
  const { internet } = target;
  if (isRaw(internet)) {
    const texts = (key: string): readonly string[] =>
      Array.isArray(internet[key])
        ? (internet[key] as readonly unknown[]).filter((one): one is string => typeof one === 'string')
        : [];
    const given = internet['ports'];
    const ports =
      Array.isArray(given) && given.length > 0 ? given.map(Number).filter((port) => port >= 1 && port <= 65_535) : [0];
    const outside = [
      ...texts('domains').map((name) => ends({ reserved: ['world'], names: [name.toLowerCase()] })),
      ...texts('ips').map((ip) => ends({ ip })),
    ];
    return outside.flatMap((end) => ports.map((port) => ({ end, port })));
  }
  // Older exports name the target, and its type, beside one another.
  const inner =
    ['kubernetes', 'service', 'kafka'].map((key) => target[key]).find(isRaw) ?? ('name' in target ? target : undefined);
  const given = inner === undefined ? undefined : textAt(inner, 'name');
  if (inner === undefined || given === undefined || ['aws', 's3', 'database'].includes(textAt(target, 'type') ?? ''))
    return undefined;
  if (given.startsWith('svc:')) return [{ end: ends({ service: serviceOf(given.slice(4), namespace) }), port: 0 }];
  const { name, namespace: inside } = serviceOf(given, namespace);
  const kind = textAt(inner, 'kind') ?? '';
  if (kind === 'Service') return [{ end: ends({ service: { name, namespace: inside } }), port: 0 }];
  return [{ end: ends({ namespace: inside, workload: { kind, name } }), port: 0 }];
}

/** `server`, or `server.namespace`. */
function serviceOf(text: string, namespace: string): { readonly name: string; readonly namespace: string } {
  const dot = text.indexOf('.');
  return dot < 0 ? { name: text, namespace } : { name: text.slice(0, dot), namespace: text.slice(dot + 1) };
}

/** Otterize's network mapper. */
export const otterizeSource: FlowSource = {
  name: 'otterize',
  summary: "the export of Otterize's network mapper (ClientIntents as JSON), with --now",
  example: 'otterize network-mapper export --format json | sallyport observe otterize - --now 2026-10-14T08:00:00Z',
  read,
};

import type { Labels } from '../model/inventory.ts';
import type { Raw } from './ends.ts';
import { isRaw, labelsOfRecord, textAt } from './ends.ts';

/** Whose log it is, where the shipper of the log says so. */
export interface Reporter {
  readonly namespace?: string;
  readonly pod?: string;
  readonly labels?: Labels;
}

/** One record out of its wrapping. */
export interface Payload {
  readonly text: string;
  /** The text as JSON, where it is JSON. */
  readonly value?: unknown;
  readonly reporter?: Reporter;
  /** Of a part of a longer line. */
  readonly partial?: boolean;
}

/** What a container runtime writes before a line: `2026-10-05T00:00:00.0Z stdout F `. `P` marks a part of a longer line. */
const CRI = /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) ([FP])[^ ]* /;

/**
 * Takes a line or a JSON document out of what shippers wrap around it: CRI, Docker, Fluent Bit, Vector, Loki (query_range and
 * logcli), Cloud Logging's textPayload and CloudWatch's envelopes. What is not wrapped comes back as it is.
 */
export function unwrap(text: string, parsed?: unknown): readonly Payload[] {
  const value = parsed ?? parseJson(text);
  if (isRaw(value)) return unwrapValue(value) ?? [{ text, value }];
  if (value !== undefined) return [{ text, value }];
  const wrapper = CRI.exec(text);
  if (wrapper === null) return [{ text }];
  const inner = text.slice(wrapper[0].length);
  if (wrapper[1] === 'P') return [{ text: inner, partial: true }];
  return [payload(inner, undefined)];
}

function payload(text: string, reporter: Reporter | undefined): Payload {
  const bare = text.replace(/\r?\n$/, '');
  const value = parseJson(bare);
  return { text: bare, ...(value === undefined ? {} : { value }), ...(reporter === undefined ? {} : { reporter }) };
}

function unwrapValue(value: Raw): readonly Payload[] | undefined {
  const { log, line, message, kubernetes } = value;
  if (log !== undefined && !('flow' in value)) {
    if (typeof log === 'string') return [payload(log, reporterOf(kubernetes))];
    if (isRaw(log)) return [{ text: '', value: log, ...reporter(kubernetes) }];
  }
  if (typeof line === 'string' && ('labels' in value || 'timestamp' in value))
    return [payload(line, reporterOf(value['labels']))];
  if (typeof message === 'string' && isRaw(kubernetes)) return [payload(message, reporterOf(kubernetes))];
  if (typeof value['textPayload'] === 'string' && 'logName' in value) {
    const resource = value['resource'];
    return [payload(value['textPayload'], isRaw(resource) ? reporterOf(resource['labels']) : undefined)];
  }
  const data = value['data'];
  if (isRaw(data) && data['resultType'] === 'streams' && Array.isArray(data['result'])) return streams(data['result']);
  const events = value['messageType'] === undefined ? value['events'] : value['logEvents'];
  if (value['messageType'] === 'CONTROL_MESSAGE') return [];
  if (Array.isArray(events) && events.every((event) => isRaw(event) && typeof event['message'] === 'string'))
    return (events as readonly Raw[]).map((event) => payload(event['message'] as string, undefined));
  return undefined;
}

/** Loki's answer to query_range: the labels of a stream belong to each of its lines, which do not repeat them. */
function streams(result: readonly unknown[]): readonly Payload[] {
  return result.flatMap((one): readonly Payload[] => {
    if (!isRaw(one) || !Array.isArray(one['values'])) return [];
    const from = reporterOf(one['stream']);
    return (one['values'] as readonly unknown[]).flatMap((entry): readonly Payload[] => {
      const line: unknown = Array.isArray(entry) ? entry[1] : undefined;
      if (typeof line !== 'string') return [];
      const inner = payload(line, from);
      const stream = one['stream'];
      // NetObserv takes the fields that are labels out of the line.
      if (isRaw(inner.value) && isRaw(stream) && !('log' in inner.value))
        return [{ ...inner, value: { ...stream, ...inner.value } }];
      return [inner];
    });
  });
}

function reporter(value: unknown): { readonly reporter?: Reporter } {
  const found = reporterOf(value);
  return found === undefined ? {} : { reporter: found };
}

/** Fluent Bit's `namespace_name`, Vector's `pod_namespace`, Promtail's `namespace`; the names of pods alike. */
function reporterOf(value: unknown): Reporter | undefined {
  if (!isRaw(value)) return undefined;
  const namespace = textAt(value, 'namespace_name') ?? textAt(value, 'pod_namespace') ?? textAt(value, 'namespace');
  const pod = textAt(value, 'pod_name') ?? textAt(value, 'pod');
  const labels = labelsOfRecord(value['pod_labels'] ?? value['labels']);
  if (namespace === undefined || pod === undefined) return undefined;
  return { namespace, pod, ...(labels === undefined ? {} : { labels }) };
}

export function parseJson(text: string): unknown {
  let at = 0;
  while (at < text.length && text.charCodeAt(at) <= 32) at += 1;
  const first = text.charCodeAt(at);
  if (first !== 123 && first !== 91) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

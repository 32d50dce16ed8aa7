import { safeText } from '../shared/pure/text.ts';
import type { InputReport } from '../model/flow.ts';
import type { Raw } from './ends.ts';
import { isRaw, plainNumber, plainText } from './ends.ts';
import type { FlowInput, ReadOptions } from './flow-source.ts';
import type { BadRecord, RecordCounter } from './records.ts';
import { missingTime, readPayloads } from './records.ts';

export type Labels = Readonly<Record<string, string>>;

/** One series of a metric. */
export interface Series {
  readonly name: string;
  readonly labels: Labels;
  readonly amounts: readonly Amount[];
}

/** What a series says happened up to `time` (milliseconds); `ongoing` where it says that, but not how much was new. */
export interface Amount {
  readonly time: number;
  readonly count: number;
  readonly ongoing: boolean;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+(-?\d+))?$/;
const LABEL = /\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?/y;

/**
 * Reads metrics: answers of the Prometheus HTTP API (vector or matrix; Thanos and VictoriaMetrics alike), VictoriaMetrics' JSON Lines
 * export, or the exposition text of a scrape. Metrics that are not `isOwn` are passed over. `onSeries` returns what is wrong with one, or undefined; it is given nothing whose
 * value never was above zero.
 */
export async function readSeries(
  source: string,
  input: FlowInput,
  options: ReadOptions,
  isOwn: (name: string) => boolean,
  onSeries: (series: Series, counter: RecordCounter) => BadRecord | undefined,
): Promise<InputReport> {
  return readPayloads(source, input, options, ({ text, value }, counter) => {
    if (value === undefined) {
      if (/^#(?: |$)/.test(text)) return undefined;
      const sample = parseSample(text);
      if (sample === undefined) return { message: 'not a sample of Prometheus text' };
      if (!isOwn(sample.name)) {
        counter.aside('another metric', text);
        return undefined;
      }
      const time = sample.time ?? options.now;
      if (time === undefined)
        throw missingTime(
          input,
          'a scrape carries no time, and nothing says when it was taken',
          'ask the Prometheus HTTP API instead, or say when: --now 2026-10-14T08:00:00Z',
        );
      if (!(sample.value > 0)) {
        counter.seen(time);
        counter.ignored('a counter at zero');
        return undefined;
      }
      // A process counts from its start, which may lie before everything else that is on record.
      return onSeries(
        { name: sample.name, labels: sample.labels, amounts: [{ time, count: whole(sample.value), ongoing: false }] },
        counter,
      );
    }
    if (!isRaw(value)) return { message: 'not a JSON object' };
    if (value['status'] === 'error')
      return {
        message: `the query failed: ${typeof value['error'] === 'string' ? safeText(value['error'].slice(0, 200)) : 'no reason is given'}`,
      };
    const { warnings } = value;
    // Thanos and others answer with what they reached.
    if (Array.isArray(warnings) && warnings.length > 0)
      return { message: `the answer is not whole: ${safeText(plainText(warnings[0]).slice(0, 200))}` };
    const series = seriesOf(value);
    if (series === undefined) return { message: 'no answer of the Prometheus HTTP API' };
    for (const one of series) {
      const parsed = parseSeries(one);
      if (typeof parsed === 'string') return { message: parsed };
      if (parsed.name !== '' && !isOwn(parsed.name)) {
        counter.aside('another metric', `${parsed.name}{a=""} 1`, parsed.time);
        continue;
      }
      if (parsed.amounts.length === 0) {
        counter.seen(parsed.time);
        counter.ignored('a counter at zero, or that did not grow');
        continue;
      }
      const fault = onSeries(parsed, counter);
      if (fault !== undefined) return fault;
    }
    return undefined;
  });
}

/** Counts every sample as one record, at its times. */
export function seenSeries(series: Series, counter: RecordCounter): void {
  counter.seen(series.amounts[0]?.time, series.amounts.at(-1)?.time);
}

function seriesOf(value: Raw): readonly unknown[] | undefined {
  const data = value['data'];
  if (isRaw(data) && Array.isArray(data['result'])) return data['result'] as readonly unknown[];
  // One line of VictoriaMetrics' export, or one element of a result by itself.
  if (isRaw(value['metric'])) return [value];
  return undefined;
}

function parseSeries(value: unknown): (Series & { readonly time?: number }) | string {
  if (!isRaw(value) || !isRaw(value['metric'])) return 'a series without "metric"';
  const labels = Object.create(null) as Record<string, string>;
  for (const [key, one] of Object.entries(value['metric'])) if (typeof one === 'string') labels[key] = one;
  const points: (readonly [number, number])[] = [];
  const times = value['timestamps'];
  if (Array.isArray(times) && Array.isArray(value['values'])) {
    // VictoriaMetrics: times in milliseconds beside the values.
    const values = value['values'] as readonly unknown[];
    for (const [index, time] of (times as readonly unknown[]).entries()) {
      const amount = plainNumber(values[index]);
      if (typeof time !== 'number' || Number.isNaN(amount)) return 'a point that is no time and number';
      points.push([time, amount]);
    }
  } else {
    const given: unknown = value['values'] ?? (value['value'] === undefined ? undefined : [value['value']]);
    if (!Array.isArray(given)) return 'a series without "value" and "values"';
    for (const pair of given as readonly unknown[]) {
      if (!Array.isArray(pair) || typeof pair[0] !== 'number') return 'a point that is no time and number';
      const amount = plainNumber(pair[1]);
      // Prometheus answers NaN where it divides nothing by nothing.
      if (!Number.isNaN(amount)) points.push([pair[0] * 1000, amount]);
    }
  }
  points.sort(([a], [b]) => a - b);
  const name = labels['__name__'] ?? '';
  return {
    name,
    labels,
    amounts: amountsOf(points, name !== ''),
    ...(points[0] === undefined ? {} : { time: points[0][0] }),
  };
}

/**
 * A series with its name is the counter itself: what it grew by counts, and what it had when first seen was there already. Functions
 * and sums take the name away: their values are amounts.
 */
function amountsOf(points: readonly (readonly [number, number])[], isCounter: boolean): readonly Amount[] {
  const amounts: Amount[] = [];
  let previous: number | undefined;
  for (const [time, value] of points) {
    const at = Math.floor(time);
    if (!isCounter || points.length === 1) {
      if (value > 0) amounts.push({ time: at, count: whole(value), ongoing: false });
    } else if (previous === undefined) {
      if (value > 0) amounts.push({ time: at, count: 1, ongoing: true });
    } else {
      // A restart begins at zero again.
      const grown = value < previous ? value : value - previous;
      if (grown > 0) amounts.push({ time: at, count: whole(grown), ongoing: false });
    }
    previous = value;
  }
  return amounts;
}

function whole(value: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(1, Math.round(value)));
}

function parseSample(
  line: string,
): { readonly name: string; readonly labels: Labels; readonly value: number; readonly time?: number } | undefined {
  const match = LINE.exec(line.trim());
  if (match === null) return undefined;
  const [, name = '', inside = '', number = '', stamp] = match;
  const value = Number(number.replace(/^[+-]?Inf$/i, 'NaN'));
  if (Number.isNaN(value) && !/^(?:NaN|[+-]?Inf)$/i.test(number)) return undefined;
  const labels = Object.create(null) as Record<string, string>;
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < inside.length) {
    const label = LABEL.exec(inside);
    if (label?.[1] === undefined) return undefined;
    labels[label[1]] = (label[2] ?? '').replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one));
  }
  return { name, labels, value, ...(stamp === undefined ? {} : { time: Number(stamp) }) };
}

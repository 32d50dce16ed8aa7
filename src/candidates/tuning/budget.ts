import type { ControlFigures, Percentiles, TunedControl, TuningBudget, TuningMetrics } from '../../model/tuning.ts';
import { TUNED_CONTROLS } from '../../model/tuning.ts';
import { namespaceOfWorkload } from '../../model/edge.ts';
import { short } from '../../model/tuning.ts';
import { plural } from '../../shared/pure/text.ts';

export interface BudgetRow {
  readonly control: TunedControl | 'proxies';
  readonly measure: 'latency-p99' | 'cpu-per-1000-rps' | 'memory-per-proxy';
  readonly unit: 'ms' | 'cores' | 'bytes';
  /** Undefined: not measured. */
  readonly measured?: number;
  readonly budget?: number;
  /** `no-budget`: measured, and nothing says how much is too much. */
  readonly answer: 'within' | 'over' | 'unknown' | 'no-budget';
  /** The metric, or why it is not known. */
  readonly how: string;
  readonly p50?: number;
  readonly p95?: number;
  readonly mean?: number;
}

const NOT_MEASURED: Readonly<Record<TunedControl, string>> = {
  'network-policy':
    'no metric of a proxy shows it: measure a path with and without, and give the figures (controls of --metrics)',
  mtls: 'no connections with istio_request_duration_milliseconds of both sides or envoy_cluster_upstream_cx_connect_ms',
  authorization:
    'the filter is part of the proxy, and has no metric of its own: measure with and without (controls of --metrics)',
  'ext-authz': 'no latency of an external authorizer',
  'egress-gateway': 'no requests that travel through an egress gateway',
};

/** What each control adds in a namespace, against the budget. A mean is shown, and never held against a 99th percentile. */
export function measureControls(namespace: string, metrics: TuningMetrics, budget: TuningBudget): readonly BudgetRow[] {
  const rows = TUNED_CONTROLS.map((control): BudgetRow => {
    const figures = metrics.controls.filter((one) => one.namespace === namespace && one.control === control);
    const told = figures.map((one) => ({ ...one, added: addedBy(one) }));
    // The worst where there are several paths.
    const [worst] = told.toSorted((a, b) => (b.added.p99 ?? -1) - (a.added.p99 ?? -1));
    const most = budget.latency?.[control];
    const base = {
      control,
      measure: 'latency-p99',
      unit: 'ms',
      ...(most === undefined ? {} : { budget: most }),
    } as const;
    if (worst === undefined) return { ...base, answer: 'unknown', how: NOT_MEASURED[control] };
    const { p99, p50, p95, mean } = worst.added;
    const more = {
      ...(p50 === undefined ? {} : { p50 }),
      ...(p95 === undefined ? {} : { p95 }),
      ...(mean === undefined ? {} : { mean }),
    };
    const how = `${worst.metric}${worst.perConnection === true ? ', once a connection' : ''}`;
    if (p99 === undefined)
      return {
        ...base,
        ...more,
        answer: 'unknown',
        how: `only the mean is known${mean === undefined ? '' : ` (${short(mean)} ms)`}: ${how}`,
      };
    return { ...base, ...more, measured: p99, answer: answerOf(p99, most), how };
  });
  return [...rows, cpuRow(namespace, metrics, budget), memoryRow(namespace, metrics, budget)];
}

/** Percentiles do not subtract: the difference of two is what the 99th of a hundred requests waits longer for, not the 99th of the differences. */
function addedBy({ added, with: on, without: off }: ControlFigures): Percentiles {
  if (added !== undefined) return added;
  const keys = ['mean', 'p50', 'p95', 'p99'] as const;
  return Object.fromEntries(
    keys.flatMap((key) => {
      const [a, b] = [on?.[key], off?.[key]];
      return a === undefined || b === undefined ? [] : [[key, Math.max(0, a - b)]];
    }),
  );
}

function answerOf(measured: number, budget: number | undefined): BudgetRow['answer'] {
  if (budget === undefined) return 'no-budget';
  return measured > budget ? 'over' : 'within';
}

function cpuRow(namespace: string, metrics: TuningMetrics, { cpuPer1000Rps }: TuningBudget): BudgetRow {
  const base = {
    control: 'proxies',
    measure: 'cpu-per-1000-rps',
    unit: 'cores',
    ...(cpuPer1000Rps === undefined ? {} : { budget: cpuPer1000Rps }),
  } as const;
  // Only proxies of which both are known: else the quotient is of two different things.
  const both = metrics.proxies.filter(
    (one) =>
      namespaceOfWorkload(one.workload) === namespace && one.cpuCores !== undefined && (one.requestsPerSec ?? 0) > 0,
  );
  if (both.length === 0)
    return {
      ...base,
      answer: 'unknown',
      how: 'no CPU of proxies (container_cpu_usage_seconds_total) with requests beside it',
    };
  const cores = both.reduce((sum, one) => sum + (one.cpuCores ?? 0), 0);
  const rate = both.reduce((sum, one) => sum + (one.requestsPerSec ?? 0), 0);
  const measured = (cores / rate) * 1000;
  return {
    ...base,
    measured,
    answer: answerOf(measured, cpuPer1000Rps),
    how: `${short(cores)} cores of istio-proxy for ${short(rate)} requests a second in and out, ${plural(both.length, 'workload')}; mTLS, authorization and telemetry together`,
  };
}

function memoryRow(namespace: string, metrics: TuningMetrics, { memoryPerProxy }: TuningBudget): BudgetRow {
  const base = {
    control: 'proxies',
    measure: 'memory-per-proxy',
    unit: 'bytes',
    ...(memoryPerProxy === undefined ? {} : { budget: memoryPerProxy }),
  } as const;
  const known = metrics.proxies.flatMap((one) =>
    namespaceOfWorkload(one.workload) === namespace && one.memoryBytes !== undefined
      ? [{ workload: one.workload, bytes: one.memoryBytes }]
      : [],
  );
  const [largest] = known.toSorted((a, b) => b.bytes - a.bytes);
  if (largest === undefined)
    return { ...base, answer: 'unknown', how: 'no memory of proxies (container_memory_working_set_bytes)' };
  return {
    ...base,
    measured: largest.bytes,
    answer: answerOf(largest.bytes, memoryPerProxy),
    how: `the largest proxy, of ${largest.workload}`,
  };
}

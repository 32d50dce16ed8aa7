/** Controls that a budget is set for. */
export const TUNED_CONTROLS = ['network-policy', 'mtls', 'authorization', 'ext-authz', 'egress-gateway'] as const;
export type TunedControl = (typeof TUNED_CONTROLS)[number];

/** What the controls may cost. What is not set is not judged. */
export interface TuningBudget {
  /** Latency that a control may add, 99th percentile, in milliseconds. */
  readonly latency?: Readonly<Partial<Record<TunedControl, number>>>;
  /** Cores that the proxies of a namespace may take for 1000 requests a second. */
  readonly cpuPer1000Rps?: number;
  /** Bytes of the largest proxy. */
  readonly memoryPerProxy?: number;
}

/** Milliseconds; what is absent was not measured. */
export interface Percentiles {
  readonly mean?: number;
  readonly p50?: number;
  readonly p95?: number;
  readonly p99?: number;
}

/** What a control adds, however it was measured. */
export interface ControlFigures {
  readonly control: TunedControl;
  readonly namespace: string;
  /** What it adds. */
  readonly added?: Percentiles;
  /** Or the same path with the control and without it. */
  readonly with?: Percentiles;
  readonly without?: Percentiles;
  /** Paid once a connection, not once a request. */
  readonly perConnection?: boolean;
  /** The metric or measurement, and what else is in it. */
  readonly metric: string;
}

/** Traffic to one port of a Service; `port` is absent where the metric does not tell ports apart. */
export interface ServiceFigures {
  readonly namespace: string;
  readonly service: string;
  readonly port?: number;
  readonly requestsPerSec?: number;
  /** New connections that callers' proxies open. */
  readonly connectionsPerSec?: number;
  readonly handshakesPerSec?: number;
  /** Of these, resumed without a full handshake. */
  readonly resumedPerSec?: number;
  /** Of connections opened, those in HTTP/1.1: 0 to 1. */
  readonly http1Share?: number;
  /** Open at one moment in the busiest calling proxy. */
  readonly peakConnections?: number;
  /** Requests under way at one moment in the busiest calling proxy. */
  readonly peakRequests?: number;
  /** Calling proxies with a connection. */
  readonly clients?: number;
  readonly latency?: Percentiles;
  /** To establish a connection, TLS included. */
  readonly connect?: Percentiles;
  /** Mean size. */
  readonly requestBytes?: number;
}

/** The proxies of one workload. */
export interface ProxyFigures {
  /** `namespace/Kind/name`. */
  readonly workload: string;
  readonly proxies?: number;
  /** Requests that its proxies carry, in and out. */
  readonly requestsPerSec?: number;
  /** Cores, of all of its proxies, and of the busiest one. */
  readonly cpuCores?: number;
  readonly cpuPeakCores?: number;
  readonly cpuRequest?: number;
  readonly cpuLimit?: number;
  /** Bytes, of the largest proxy. */
  readonly memoryBytes?: number;
  readonly memoryRequest?: number;
  readonly memoryLimit?: number;
  /** Of periods of the scheduler, those in which a proxy was held back by its CPU limit: 0 to 1. */
  readonly throttledShare?: number;
  /** Clusters (in Envoy's sense) in the largest configuration. */
  readonly clusters?: number;
}

/** Calls that the proxies of a workload make to an external authorizer. */
export interface AuthorizerFigures {
  readonly workload: string;
  readonly checksPerSec?: number;
  readonly latency?: Percentiles;
  /** Different questions (caller, method, path) within the window. */
  readonly distinctKeys?: number;
}

/** All that was measured. */
export interface TuningMetrics {
  /** Milliseconds since the epoch. */
  readonly window: { readonly from: number; readonly to: number };
  /** The engine that was asked, or the file. */
  readonly source: string;
  readonly controls: readonly ControlFigures[];
  readonly services: readonly ServiceFigures[];
  readonly proxies: readonly ProxyFigures[];
  readonly authorizers: readonly AuthorizerFigures[];
  /** What was asked for and is not there, and what would bring it. */
  readonly missing: readonly string[];
}

/** Digits that a person reads. */
export function short(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 2 : 4;
  return String(Number(value.toFixed(digits)));
}

import type { IpBlockTarget } from './inventory.ts';

export const GATE_IDS = [
  'window',
  'coverage',
  'schedules',
  'unseen-workloads',
  'review',
  'losses',
  'enforcement',
  'mesh',
  'plaintext',
  'soak',
  'denies-observed',
  'unknown',
  'managed-by-others',
] as const;
export type ConfigGate = (typeof GATE_IDS)[number];

export interface Config {
  readonly gates: {
    /** Hours observed, at least. */
    readonly window: number | 'off';
    /** Upper bound of the unseen share, at most. */
    readonly coverage: number | 'off';
    readonly schedules: 'on' | 'off';
    readonly 'unseen-workloads': 'on' | 'off';
    readonly review: 'on' | 'off';
    /** Share of records lost, at most. */
    readonly losses: number | 'off';
    readonly enforcement: 'on' | 'off';
    readonly mesh: 'on' | 'off';
    readonly plaintext: 'on' | 'off';
    readonly soak: 'on' | 'off';
  };
  readonly soak: { readonly minutes: number };
  /** Facts that a directory of manifests lacks. Observed facts win; a conflict is a finding. */
  readonly cluster: {
    readonly cni?: { readonly name: string; readonly ipBlockMatches: readonly IpBlockTarget[] };
    readonly mesh?: {
      readonly kind: 'istio';
      readonly mode: 'sidecar' | 'ambient';
      readonly version?: string;
      readonly rootNamespace?: string;
      readonly trustDomain?: string;
    };
    readonly apiServer?: readonly string[];
  };
}

export const DEFAULT_CONFIG: Config = {
  gates: {
    window: 168,
    coverage: 0.05,
    schedules: 'on',
    'unseen-workloads': 'on',
    review: 'on',
    losses: 0.01,
    enforcement: 'on',
    mesh: 'on',
    plaintext: 'on',
    soak: 'on',
  },
  soak: { minutes: 30 },
  cluster: {},
};

import type { ClusterNames } from './cloud-cluster.ts';
import type { IpBlockTarget } from './inventory.ts';
import type { PhaseName } from './phase.ts';
import type { TuningBudget } from './tuning.ts';
import type { TriggerConfig } from './trigger.ts';

/** In which words policies of the network are written. */
export const DIALECTS = ['kubernetes', 'cilium', 'calico', 'admin'] as const;
export type Dialect = (typeof DIALECTS)[number];

export const GATE_IDS = [
  'window',
  'coverage',
  'schedules',
  'unseen-workloads',
  'review',
  'corroboration',
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

/** Growing files that a source of flows can read. */
export interface SignalConfig {
  readonly source: string;
  /** Paths; `*` matches within one segment. */
  readonly inputs: readonly string[];
}

/** Namespaces that belong to one team or customer, as a person states it. */
export interface TenantFact {
  readonly name: string;
  /** Names, or labels of namespaces (all of them must match). */
  readonly namespaces?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
}

/** Boundaries outside the cluster, which nothing in it tells. */
export type BoundaryFact =
  | {
      readonly kind: 'vpc';
      readonly name: string;
      readonly cidrs: readonly string[];
      /** Names that live in it (`*` matches), for traffic of which no address is on record. */
      readonly names?: readonly string[];
    }
  /** Addresses under which the outside sees connections from here. */
  | { readonly kind: 'nat'; readonly name: string; readonly addresses: readonly string[]; readonly vpc?: string }
  /** What the cloud lets the workloads of these stages do. */
  | {
      readonly kind: 'iam';
      readonly name: string;
      readonly stages: readonly string[];
      readonly identity?: string;
      readonly allows?: readonly string[];
    };

export type VpcFact = Extract<BoundaryFact, { readonly kind: 'vpc' }>;

/** Somebody who is told of an incident. */
export interface Escalation {
  readonly kind: 'alertmanager' | 'slack' | 'pagerduty';
  readonly name?: string;
  /** Of Slack the address itself may be secret: it then stands in the file. */
  readonly url?: string;
  /** A bearer token, the address of a webhook, or a routing key; read when something is sent. */
  readonly secretFile?: string;
}

export interface Config {
  readonly gates: {
    /** Hours observed, at least. */
    readonly window: number | 'off';
    /** Upper bound of the unseen share, at most. */
    readonly coverage: number | 'off';
    readonly schedules: 'on' | 'off';
    readonly 'unseen-workloads': 'on' | 'off';
    readonly review: 'on' | 'off';
    /** Days on record, at least, of an edge to or from a sensitive workload that nobody reviewed and no configuration names. */
    readonly corroboration: number | 'off';
    /** Share of records lost, at most. */
    readonly losses: number | 'off';
    readonly enforcement: 'on' | 'off';
    readonly mesh: 'on' | 'off';
    readonly plaintext: 'on' | 'off';
    readonly soak: 'on' | 'off';
  };
  readonly soak: {
    /** How long the last step of a phase is watched, at least. */
    readonly minutes: number;
    /** How long proxies let open connections drain: the watch lasts longer. */
    readonly drainSeconds: number;
    /** What shows denied and new connections while a run goes. Without any, the `soak` gate is unknown on a live cluster. */
    readonly signals: readonly SignalConfig[];
  };
  /** How many days who held which address is remembered: records older than that are attributed by what they say themselves. */
  readonly addresses: { readonly days: number | 'off' };
  /** Where ways back are kept outside the state. */
  readonly undo: {
    /** A folder; beside the state where there is none. */
    readonly path?: string;
    /** In the cluster as well. */
    readonly cluster: 'on' | 'off';
  };
  /** Of the phase identity. */
  readonly identity?: {
    /** `required`: no policy is enforced before the proxies counted what its rehearsal would let through. */
    readonly rehearsal: 'required' | 'optional';
    /** Files of what they counted, as Prometheus answers. */
    readonly metrics: readonly string[];
  };
  /** When and with what a namespace may be moved forward. The way back is always open. */
  readonly changes?: {
    /** `required`: advance takes --ticket. */
    readonly ticket: 'required' | 'optional';
    /** Windows without changes; times in ms. */
    readonly freeze: readonly { readonly from: number; readonly to: number; readonly reason: string }[];
    /** Who else must have said yes to a plan before it is carried out. */
    readonly approvals?: {
      /** Of so many people other than the one who advances. */
      readonly required: number;
      /** An approval counts so long. */
      readonly hours: number;
      /** Patterns: `*` matches. */
      readonly namespaces: readonly string[];
      /** Plans that enter one of these; all where absent. */
      readonly phases?: readonly PhaseName[];
      /** Patterns of names that may approve; anybody where absent. */
      readonly approvers?: readonly string[];
    };
  };
  /** Of policies of the network; NetworkPolicy where absent. */
  readonly dialect?: Dialect;
  /** Access that ends by itself: how long it may last at most. */
  readonly grants?: { readonly maxMinutes: number; readonly breakGlassMinutes: number };
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
  /** What a cloud knows this cluster by, where the cluster does not show it. Observed facts win. */
  readonly cloud?: ClusterNames;
  /** How incidents are answered. */
  readonly incidents?: {
    /** `run`: without being asked; `ask` is the default. A rotation is always asked. */
    readonly quarantine: 'ask' | 'run';
    readonly block: 'ask' | 'run';
    readonly rotate: 'ask';
    /** Edges on record that one answer may cut. */
    readonly cap?: number;
    readonly escalate: readonly Escalation[];
  };
  /** What notices of `watch` set off. */
  readonly triggers?: TriggerConfig;
  /** Changes are written into a Git working tree, and others apply them. */
  readonly git?: {
    /** A folder in the tree; absent where only a flag names one. */
    readonly dir?: string;
    /** `plain`, `kustomize`, `helm` or `helm:FILE:KEY`; found out where absent. */
    readonly layout?: string;
    /** Objects of Flux or Argo CD that apply it, `Kind/namespace/name`; found by their paths where absent. */
    readonly deployers?: readonly string[];
    /** Push each commit. */
    readonly push: boolean;
    /** `ignore`: a commit is in force when it is applied, whatever Flux and Argo CD say of health. Default wait. */
    readonly health?: 'wait' | 'ignore';
  };
  readonly tenants?: readonly TenantFact[];
  readonly boundaries?: readonly BoundaryFact[];
  /** Probes by real connections: naming an image is what allows them. */
  readonly probe?: {
    /** By its digest. It has `node` on its PATH. */
    readonly image: string;
    /** Patterns of namespaces from which may be probed (`*` matches). */
    readonly namespaces: readonly string[];
    /** Tried by `watch` by itself. */
    readonly schedule?: {
      /** Five fields of cron. */
      readonly cron: string;
      readonly timeZone?: string;
      /** The file of pairs. */
      readonly file: string;
    };
  };
  /** What the controls may cost: what tune measures is held against it. */
  readonly budget?: TuningBudget;
  readonly assess?: {
    /** A file of measurements of latency. */
    readonly latency?: string;
    /** Outside destinations by name (`*` matches) and the group they belong to. */
    readonly egress?: readonly { readonly match: string; readonly group: string }[];
  };
}

/** Where the configuration says nothing of grants. */
export const DEFAULT_GRANTS: NonNullable<Config['grants']> = { maxMinutes: 480, breakGlassMinutes: 240 };

export const DEFAULT_CONFIG: Config = {
  gates: {
    window: 168,
    coverage: 0.05,
    schedules: 'on',
    'unseen-workloads': 'on',
    review: 'on',
    corroboration: 3,
    losses: 0.01,
    enforcement: 'on',
    mesh: 'on',
    plaintext: 'on',
    soak: 'on',
  },
  soak: { minutes: 30, drainSeconds: 45, signals: [] },
  addresses: { days: 100 },
  undo: { cluster: 'on' },
  cluster: {},
};

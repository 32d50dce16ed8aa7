/** What a rule asks for. Rotation is not among them: it is asked of a person each time. */
export const TRIGGERED = ['quarantine', 'block', 'escalate'] as const;
export type Triggered = (typeof TRIGGERED)[number];

/** A rule over notices, as the configuration has it. */
export interface TriggerRule {
  readonly name: string;
  /** A kind of notice (src/watch/notice.ts). */
  readonly notice: string;
  /** Of `denied`: how it looks. */
  readonly class?: string;
  readonly severity?: 'info' | 'warning' | 'error';
  /** Connections denied, at least. */
  readonly count?: number;
  /** Targets, at least. */
  readonly targets?: number;
  /** Namespaces of the notice, patterns with `*`; all where absent. */
  readonly namespaces?: readonly string[];
  readonly does: Triggered;
  /** `ask`: a proposal that a person carries out. `run`: by itself, within the limits. */
  readonly how: 'ask' | 'run';
}

/** What holds whatever the rules say. */
export interface TriggerLimits {
  /** Runs in any hour, over all rules; escalations do not count. */
  readonly perHour: number;
  /** Workloads and sources in force at a time that nobody confirmed. */
  readonly most: number;
  /** Share of the workloads of one namespace in quarantine, at most; one is always possible where there are two or more. */
  readonly share: number;
  /** Namespaces that nothing happens to by itself: patterns with `*`. */
  readonly protected: readonly string[];
  /** After a notice of the same matter, so long nothing more, ms. */
  readonly cooldownMs: number;
  /** Edges on record that an answer may cut by itself. */
  readonly cut: number;
}

/** Never taken out of the limits by a configuration: what others stand on. */
export const ALWAYS_PROTECTED: readonly string[] = [
  'kube-system',
  'kube-public',
  'kube-node-lease',
  'istio-system',
  'cilium*',
  'calico-*',
  'tigera-*',
];

export const DEFAULT_LIMITS: TriggerLimits = {
  perHour: 2,
  most: 3,
  share: 0.1,
  protected: ALWAYS_PROTECTED,
  cooldownMs: 3_600_000,
  cut: 20,
};

/** `triggers` of the configuration. */
export interface TriggerConfig {
  /** Without it the watch proposes and does nothing. */
  readonly act: boolean;
  /** The kill switch by configuration: why nothing may run by itself. */
  readonly stop?: string;
  /** The first that fits decides. */
  readonly rules: readonly TriggerRule[];
  readonly limits: TriggerLimits;
}

export const TRIGGER_OUTCOMES = ['proposed', 'begun', 'done', 'refused', 'dismissed'] as const;
/**
 * `proposed`: waits for a person. `begun`: about to be carried out, or interrupted there. `done`. `refused`: the playbook would not hold, would reach others,
 * or could not be carried out; a person may. `dismissed` by a person.
 */
export type TriggerOutcome = (typeof TRIGGER_OUTCOMES)[number];

/** What a rule set off, as it is on record. Its id is that of the incident that it becomes. */
export interface TriggerRecord {
  readonly id: string;
  readonly at: number;
  readonly rule: string;
  readonly does: Triggered;
  /** A workload, an address, or of an escalation the key of the notice. */
  readonly subject: string;
  /** Where it acts: the workload's namespace, or the one that an address is kept out of. Empty where it is about none. */
  readonly namespace: string;
  /** `run`: by itself. `ask`: proposed to a person. */
  readonly how: 'ask' | 'run';
  readonly outcome: TriggerOutcome;
  /** Why it was proposed and not done, or what refused it. */
  readonly why: readonly string[];
  /** How the limits stood, in words. */
  readonly limits: readonly string[];
  /** The notice that set it off: its kind, key and text. */
  readonly notice: {
    readonly kind: string;
    readonly key: string;
    readonly text: string;
    readonly severity: string;
    readonly at: number;
  };
  /** A person stands behind what ran by itself: it counts no more as something that nobody confirmed. */
  readonly confirmedBy?: string;
}

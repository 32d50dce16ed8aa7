import type { GateAnswer } from '../model/finding.ts';
import type { PhaseName } from '../model/phase.ts';

/** How a stream of denied connections looks; `unclear` where nothing decides. It judges nothing: a person or a playbook does. */
export type DeniedClass = 'attack-like' | 'misconfigured' | 'new-legitimate' | 'unclear';

/** What every notice carries. Times are milliseconds since the epoch; texts come from the cluster and are escaped where they are shown. */
interface About {
  /** One matter, one key: `raised` once, `changed` when what is said of it changes, `cleared` when it is over. */
  readonly key: string;
  readonly state: 'raised' | 'changed' | 'cleared';
  readonly severity: 'info' | 'warning' | 'error';
  /** When it was noticed. */
  readonly at: number;
  /** When it came about, as far as that is known; for `cleared`, when it was raised. */
  readonly since: number;
  /** The namespace that it concerns; absent where it concerns the cluster or the watch itself. */
  readonly namespace?: string;
  /** Workload id, object, edge id, kind of object or source: what it is about. */
  readonly subject: string;
  /** One line for people. */
  readonly text: string;
}

/** A field of ours is not as Sallyport left it. Values that look like credentials are masked. */
export interface DriftNotice extends About {
  readonly kind: 'drift';
  readonly object: string;
  /** Empty where the object is gone. */
  readonly path: string;
  readonly step: string;
  readonly ours: string;
  readonly now: string;
}

/** A workload in an enforced namespace that no policy isolates in these directions. */
export interface UnprotectedNotice extends About {
  readonly kind: 'unprotected';
  readonly workload: string;
  readonly directions: readonly ('ingress' | 'egress')[];
}

/** A connection passed that is on no record. `edge` is the id under which the record has it from now on. */
export interface NewCallerNotice extends About {
  readonly kind: 'new-caller';
  readonly edge: string;
  readonly source: string;
  /** Of a source outside the cluster that no record gave a name: its address. */
  readonly address?: string;
  readonly destination: string;
  readonly port: string;
  readonly count: number;
}

/** Connections of one source that were denied, and what they look like. */
export interface DeniedNotice extends About {
  readonly kind: 'denied';
  readonly class: DeniedClass;
  readonly reasons: readonly string[];
  /** Workload id, `external:1.2.3.4`, `node:x` or `unknown:...`. */
  readonly source: string;
  /** Of a source outside the cluster that no record gave a name: its address. */
  readonly address?: string;
  /** The first few; `targetCount` has how many there were. */
  readonly targets: readonly string[];
  readonly targetCount: number;
  readonly portCount: number;
  readonly count: number;
}

/** Somebody changed policies: what that opened and closed, in pairs of workloads. */
export interface PolicyChangedNotice extends About {
  readonly kind: 'policy-changed';
  readonly object: string;
  /** Pairs that can connect now and could not before; null where the kind of policy is not compared pair by pair. */
  readonly opened: number | null;
  readonly closed: number | null;
  /** The first few pairs that can connect now and could not before. */
  readonly examples: readonly string[];
  /** Edges on record that must work and are denied from now on. */
  readonly denies: readonly string[];
}

/** A gate of the phase that the namespace is in does not answer yes any more. */
export interface GateNotice extends About {
  readonly kind: 'gate';
  readonly gate: string;
  readonly answer: GateAnswer;
  readonly facts: readonly string[];
  readonly fix: string;
}

/** The record contradicts the configuration: a policy agent or a proxy did not take what the cluster holds. */
export interface ProxyNotice extends About {
  readonly kind: 'proxy';
  readonly edge: string;
  readonly what: 'passes' | 'plaintext';
  readonly facts: readonly string[];
}

/** A temporary grant that runs out, or ran out and is still open. */
export interface GrantNotice extends About {
  readonly kind: 'grant';
  readonly grant: string;
  readonly what: 'expiring' | 'expired';
  readonly expires: number;
}

/** A watch after a run is over: it held, was taken back, or could not be ended. */
export interface SoakNotice extends About {
  readonly kind: 'soak';
  readonly run: string;
  readonly outcome: 'held' | 'pulled-back' | 'failed';
  readonly phase: PhaseName;
}

/** Something is not seen: a kind of object or a source of flows. What happens meanwhile may go unnoticed. */
export interface BlindNotice extends About {
  readonly kind: 'blind';
  /** `rights`: a rule that the watch may not carry out. */
  readonly what: 'objects' | 'flows' | 'record' | 'probes' | 'rights';
  readonly why: string;
}

/** A pair of the file of probes did not come out as it must, or could not be told, when it was tried last. */
export interface ProbeNotice extends About {
  readonly kind: 'probe';
  readonly answer: GateAnswer;
  readonly facts: readonly string[];
  readonly fix: string;
}

/** An object bears the label of a quarantine or a block, and no record here has it: another state's, or somebody's who wants rules to hold back. */
export interface UnrecordedNotice extends About {
  readonly kind: 'unrecorded';
  readonly object: string;
  readonly claims: 'quarantine' | 'block';
  /** Where rules ask a person for its sake; `nowhere` where no playbook writes such a thing. */
  readonly counts: 'in the cluster' | 'in its namespace' | 'nowhere';
}

/** What an experiment took away is not back, and its time is over: whoever made it is gone. Cleared when it is back. */
export interface ExperimentNotice extends About {
  readonly kind: 'experiment';
  readonly run: string;
  readonly object: string;
  /** When it should have been back, ms since the epoch; null where that is not on record. */
  readonly until: number | null;
}

/** So many notices of a kind that only their number is told from here on. */
export interface FoldedNotice extends About {
  readonly kind: 'folded';
  readonly of: string;
  readonly count: number;
}

/** What `watch` tells. The names of the kinds and of their fields are stable: triggers and receivers hang on them. */
export type Notice =
  | DriftNotice
  | UnprotectedNotice
  | NewCallerNotice
  | DeniedNotice
  | PolicyChangedNotice
  | GateNotice
  | ProxyNotice
  | GrantNotice
  | SoakNotice
  | BlindNotice
  | ProbeNotice
  | UnrecordedNotice
  | ExperimentNotice
  | FoldedNotice;

export type NoticeKind = Notice['kind'];

export const NOTICE_KINDS: readonly NoticeKind[] = [
  'drift',
  'unprotected',
  'new-caller',
  'denied',
  'policy-changed',
  'gate',
  'proxy',
  'grant',
  'soak',
  'blind',
  'probe',
  'unrecorded',
  'experiment',
  'folded',
];

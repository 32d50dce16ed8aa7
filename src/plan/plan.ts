import type { PatternMark } from '../model/applied-pattern.ts';
import type { Finding, Gate } from '../model/finding.ts';
import type { GrantMark } from '../model/grant.ts';
import type { PhaseName } from '../model/phase.ts';
import type { Right } from '../model/rbac.ts';
import type { Change } from './change.ts';
import type { Ground } from './ground.ts';

/** What a step sets off that is not an object of ours. */
export type Effect =
  /** The workload's pods are replaced. Waits for readiness; undone if it fails. */
  | {
      readonly kind: 'rollout';
      readonly workload: string;
      /**
       * Of an owner whose operator replaces the pods: from which account to which. Such pods are waited for within bounds; where nobody can tell,
       * the step stands and both accounts stay admitted.
       */
      readonly accounts?: AccountMoved;
    }
  /** The next run takes it: running Jobs are never restarted. */
  | { readonly kind: 'next-run'; readonly workload: string };

export interface AccountMoved {
  readonly from: string;
  readonly to: string;
}

export type Operation = 'create' | 'edit' | 'delete';

/** One write of a plan, with why and what follows from it. */
export interface Step {
  /** `<phase>/<short name>`, unique in the plan and stable for equal input. */
  readonly id: string;
  /** The namespace that is being moved; the object may stand in another (a peer opened first). */
  readonly namespace: string;
  readonly phase: PhaseName;
  readonly operation: Operation;
  readonly title: string;
  readonly workload?: string;
  readonly direction?: 'ingress' | 'egress';
  readonly change: Change;
  readonly effects: readonly Effect[];
  /** What simulation cannot see: restarts, protocol effects, open connections. */
  readonly risks: readonly string[];
  /** Set where the object belongs to somebody else: who, and so what is being confirmed. */
  readonly confirm?: string;
  /** Asked of the API server before the step is taken. */
  readonly rights?: StepRights;
  /** Rollback only: the sequence numbers of the recorded steps that this step undoes. */
  readonly undoes?: readonly number[];
  /** Set on the steps of access that ends by itself, and on those that end it. */
  readonly grant?: GrantMark;
  /** Set on the steps of a pattern: with what it was applied. */
  readonly pattern?: PatternMark;
}

/** What an account must be allowed before a workload runs as it: what the one before is. */
export interface StepRights {
  readonly namespace: string;
  readonly account: string;
  readonly rights: readonly Right[];
}

/** An edge that a step would cut, or that cannot be judged. */
export interface EdgeVerdict {
  readonly step: string;
  readonly edge: string;
  /** `src -> dst port`. */
  readonly text: string;
  readonly answer: 'denied' | 'unknown';
  readonly reasons: readonly string[];
  readonly evidence: string;
}

/** A plan that is written into a Git working tree: others apply it, and the run waits for them. */
export interface ThroughGit {
  /** The folder of the tree. */
  readonly dir: string;
  /** `plain`, `kustomize`, or `helm:FILE:KEY`. */
  readonly layout: string;
  /** Objects of Flux or Argo CD that apply it, `Kind namespace/name`; empty where none is known. */
  readonly deployers: readonly string[];
  /** Its commits are pushed. */
  readonly push?: boolean;
}

export const PLAYBOOKS = ['quarantine', 'block', 'rotate'] as const;
export type PlaybookName = (typeof PLAYBOOKS)[number];

/** A plan that answers an incident, or takes such an answer back. Its steps are of no phase. */
export interface IncidentMark {
  readonly id: string;
  readonly playbook: PlaybookName;
  /** Workload, source or account. */
  readonly subject: string;
  readonly reason: string;
  readonly at: number;
  /** The rule that set it off; absent where a person did. */
  readonly rule?: string;
  /** The run that this one takes back. */
  readonly undoes?: string;
  /** Of a quarantine: what proxies of its pods have open is to be ended as well, once it is in force. */
  readonly connections?: 'drain';
  /** Of a quarantine: the pods that it is about, as they were when it was planned. Labels and owners may change; these are known. */
  readonly pods?: readonly RecordedPod[];
}

export interface RecordedPod {
  readonly name: string;
  readonly uid?: string;
}

/** A plan that takes something of ours away to see whether it is noticed, or puts it back. Its steps are of no phase. */
export interface ChaosMark {
  readonly object: string;
  readonly how: 'remove' | 'loosen';
  /** When it is back at the latest, ms since the epoch. */
  readonly until?: number;
  /** The run that this one takes back. */
  readonly undoes?: string;
}

/** The ordered steps from now to the phase wanted. */
export interface Plan {
  readonly namespace: string;
  readonly from: PhaseName;
  readonly to: PhaseName;
  readonly direction: 'up' | 'down';
  readonly steps: readonly Step[];
  readonly gates: readonly Gate[];
  /** Legitimate edges that some state on the way would deny. Empty in a plan that may run. */
  readonly denied: readonly EdgeVerdict[];
  readonly unknown: readonly EdgeVerdict[];
  readonly findings: readonly Finding[];
  /** Counts of connections judged, for the record. */
  readonly simulated: { readonly edges: number; readonly states: number };
  /** What is read again before each step that may take a connection away; not part of the hash. Absent where no step does. */
  readonly ground?: Ground;
  /** Of steps and verdicts; leaves out time and row ids. */
  readonly hash: string;
  /** Set where the steps are written into Git; not part of the hash. */
  readonly git?: ThroughGit;
  /** Set on the answer to an incident; not part of the hash. */
  readonly incident?: IncidentMark;
  /** Set on an experiment; not part of the hash. */
  readonly chaos?: ChaosMark;
}

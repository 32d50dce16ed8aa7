/** Something true of the user's cluster or input: data, collected, never thrown. */
export interface Finding {
  /** Stable code `SP3xx`; the catalogue is `FINDINGS` in finding-catalogue.ts. */
  readonly code: string;
  readonly severity: 'info' | 'warning' | 'error';
  /** An object, a workload id, a file, a namespace. */
  readonly subject: string;
  readonly message: string;
  /** Where it was seen: file, line, document, field. */
  readonly where?: string;
  readonly hint?: string;
}

export type GateAnswer = 'yes' | 'no' | 'unknown';

/** A condition with its answer, the facts behind it, and what would turn it to yes. */
export interface Gate {
  readonly id: string;
  readonly answer: GateAnswer;
  /** What it speaks of: a namespace, `namespace/direction`, a workload id, an edge. */
  readonly subject: string;
  readonly facts: readonly string[];
  /** A command or an action; empty when the answer is yes. */
  readonly fix: string;
  /** Set when a person's decision turned a no or unknown into a yes; the reason is theirs. */
  readonly waived?: string;
}

/** Exit codes of the program; `src/README.md` has the same table. */
export const EXIT = {
  done: 0,
  bug: 1,
  usage: 2,
  refused: 3,
  cluster: 4,
  state: 5,
  drift: 6,
  partial: 7,
  pulledBack: 8,
  cancelled: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface FailureDetail {
  /** Stable code, `SP` and three digits: 1xx and 2xx use and input, 4xx cluster, 5xx state, 6xx engine. Findings are 3xx. */
  readonly code: string;
  readonly exit: ExitCode;
  readonly message: string;
  /** File, line, document, field, or the object and the call that were being attempted. */
  readonly where?: string;
  /** The next command to type, or what to change. */
  readonly hint?: string;
  readonly cause?: unknown;
  /**
   * What a run makes of it. `passes`: by itself, or once somebody has seen to the cluster or the disk, and the plan is as good afterwards.
   * `hold-lost`: somebody else may be at work by now. `moved`: what it was judged on is to be looked at again, and it may be tried once more.
   * Absent: none of these.
   */
  readonly nature?: 'passes' | 'hold-lost' | 'moved';
}

/** An expected failure: the user or the cluster did something the program has words for. Anything else thrown is a bug. */
export class Failure extends Error {
  readonly detail: FailureDetail;
  constructor(detail: FailureDetail) {
    super(detail.message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = 'Failure';
    this.detail = detail;
  }
}

export function isFailure(error: unknown): error is Failure {
  return error instanceof Failure;
}

/** The text of anything thrown, for use inside a Failure's message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

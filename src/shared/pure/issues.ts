/** One thing that a schema found wrong, as zod tells it. */
export interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** Of a value that is none of those: what it may be. */
  readonly values?: readonly unknown[];
}

/** `gates.window: ...; (top): ...`. What a value may be is told in words that a line can be broken between. */
export function describeIssues(issues: readonly Issue[]): string {
  return issues.map((issue) => `${issue.path.map(String).join('.') || '(top)'}: ${messageOf(issue)}`).join('; ');
}

function messageOf({ message, values = [] }: Issue): string {
  return values.length > 1 ? `expected one of ${values.map(String).join(', ')}` : message;
}

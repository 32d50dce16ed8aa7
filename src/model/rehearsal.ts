/** What one pod's proxy counted of AuthorizationPolicies that are only rehearsed (`istio.io/dry-run`). */
export interface Rehearsal {
  readonly namespace: string;
  readonly pod: string;
  /** Requests that the rehearsed policies would have let through, and those that they would have refused. */
  readonly allowed: number;
  readonly denied: number;
  /** Of the newest sample, ms. */
  readonly newest: number;
}

/** `ns src dst port verdict before id` select edges; `gate ns subject` select gates. All given keys must hold. */
export type QueryKey = 'ns' | 'src' | 'dst' | 'port' | 'verdict' | 'before' | 'id' | 'gate' | 'subject';
export type Query = Readonly<Partial<Record<QueryKey, string>>>;

/** Whether a query names gates; of edges otherwise. */
export function isAboutGates(query: Query): boolean {
  return query.gate !== undefined || query.subject !== undefined;
}

export interface Decision {
  /** `withdraw` takes back what was decided of edges, or waivers, before it. */
  readonly action: 'accept' | 'waive' | 'adopt' | 'withdraw';
  readonly query: Query;
  /** The query as it was typed. */
  readonly text: string;
  readonly reason: string;
  readonly by: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Edge ids matched when it was taken; frozen. Empty for waive; of a withdrawn waiver its decisionId. */
  readonly matched: readonly string[];
}

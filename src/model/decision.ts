/** `ns src dst port verdict before` select edges; `gate ns subject` select gates. All given keys must hold. */
export type QueryKey = 'ns' | 'src' | 'dst' | 'port' | 'verdict' | 'before' | 'gate' | 'subject';
export type Query = Readonly<Partial<Record<QueryKey, string>>>;

export interface Decision {
  readonly action: 'accept' | 'waive' | 'adopt';
  readonly query: Query;
  /** The query as it was typed. */
  readonly text: string;
  readonly reason: string;
  readonly by: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Edge ids matched when it was taken; frozen. Empty for waive. */
  readonly matched: readonly string[];
}

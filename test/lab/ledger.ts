// What the pods wrote down, counted: every connection that was tried, by who should get through and when.

/** One connection tried, as labpod writes it. */
export interface Attempt {
  /** When it began: RFC 3339, milliseconds, UTC. */
  readonly t: string;
  readonly client: string;
  readonly kind: string;
  readonly dst: string;
  readonly ip?: string;
  readonly port: number;
  readonly expect: 'pass' | 'blocked';
  readonly ok: boolean;
  readonly err?: string;
  readonly status?: number;
  readonly text?: string;
  readonly latencyUs: number;
  readonly connectUs?: number;
  readonly retransmits: number;
  readonly by?: string;
  readonly principal?: string;
  readonly newConnection: boolean;
}

/** Lines of a container's log that are attempts; anything else it wrote is passed over. */
export function* parseAttempts(text: string): Generator<Attempt> {
  for (const line of text.split('\n')) {
    if (!line.startsWith('{"t":')) continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      // The last line of a container that was killed.
      continue;
    }
    const attempt = value as Omit<Attempt, 'retransmits'> & { readonly retransmits?: number };
    yield { ...attempt, retransmits: attempt.retransmits ?? 0 };
  }
}

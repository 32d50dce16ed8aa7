/** What the sources of traffic say of themselves. Times are milliseconds since the epoch. */
export interface SourceRecord {
  /** `hubble`, `edges`. */
  readonly source: string;
  readonly first: number;
  readonly last: number;
  readonly records: number;
  /** Records the source says it lost. */
  readonly lost: number;
  /** Malformed records skipped on request. */
  readonly bad: number;
  /** Records that carried no connection (ICMP, agent events, drops without ports ...). */
  readonly ignored: number;
  /** One record stands for this many; 1 when nothing is sampled. */
  readonly sampledOneIn: number;
}

/** When a source recorded traffic of a namespace on one UTC day (`2026-10-05`). Times are milliseconds since the epoch. */
export interface DaySeen {
  readonly source: string;
  /** Of a workload at either end; empty for all that the source recorded on that day, whoever's. */
  readonly namespace: string;
  readonly day: string;
  readonly first: number;
  readonly last: number;
}

/** A time that a source that was followed did not record: nobody read it, or it lost its place. Milliseconds since the epoch. */
export interface Gap {
  readonly source: string;
  readonly from: number;
  readonly to: number;
  readonly why: string;
}

/** What backs the edges as a whole. */
export interface Evidence {
  readonly sources: readonly SourceRecord[];
  /** UTC days on which any record was seen, sorted. */
  readonly days: readonly string[];
  readonly first?: number;
  readonly last?: number;
  /** Records whose source or destination could not be attributed, by reason. */
  readonly unattributed: Readonly<Record<string, number>>;
  /** Schedule runs seen per workload id: names of Jobs, sorted. */
  readonly runs: Readonly<Record<string, readonly string[]>>;
  /** Sorted by source, namespace and day. Absent, or without a namespace, where records were folded before this was kept. */
  readonly seen?: readonly DaySeen[];
  /** Sorted by source and time. Absent where there are none. */
  readonly gaps?: readonly Gap[];
}

export const NO_EVIDENCE: Evidence = { sources: [], days: [], unattributed: {}, runs: {} };

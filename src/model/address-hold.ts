import type { Labels } from './inventory.ts';

/** A pod as the API or a record names it: enough to tell whose it is, also when it is long gone. */
export interface Holder {
  readonly namespace: string;
  readonly pod: string;
  /** Absent where a record alone speaks of it. */
  readonly uid?: string;
  /** What the API, or the record, says owns the pod. An empty kind: the record gives the name alone. */
  readonly owner?: { readonly kind: string; readonly name: string };
  readonly labels: Labels;
  readonly serviceAccount?: string;
  readonly node?: string;
}

/** Who says so: pods as they were watched, or as they stood at one moment; EndpointSlices; records of traffic. */
export type HoldSource = 'watch' | 'snapshot' | 'endpoints' | 'records';

/**
 * A pod at an address: it held it at `from`, at `to` and in between (milliseconds since the epoch). Pods of the host network hold none: their
 * address is the node's.
 */
export interface AddressHold {
  /** As `normaliseIp` spells it. */
  readonly ip: string;
  readonly holder: Holder;
  readonly from: number;
  /** When it is known to have held it for the last time. */
  readonly to: number;
  /** It was seen to end at `to`. Else it may have held the address for longer. */
  readonly ended: boolean;
  /** The API lost sight of it at `to`, and nobody saw it end: deleted by force, it may run on. */
  readonly lost?: true;
  readonly by: readonly HoldSource[];
}

/** A time during which no pod came or went unseen. */
export interface Watched {
  readonly from: number;
  readonly to: number;
}

/** What is on record of addresses. */
export interface AddressHistory {
  /** Every pod known at an address, in no particular order. */
  holdsOf(ip: string): readonly AddressHold[];
  /** In order, without overlaps. */
  readonly watched: readonly Watched[];
}

export const NO_HISTORY: AddressHistory = { holdsOf: () => [], watched: [] };

/** Do pods themselves, and not what others recorded of them, say so? */
export function isSure(hold: Pick<AddressHold, 'by'>): boolean {
  return hold.by.includes('watch') || hold.by.includes('snapshot');
}

const DAY_MS = 86_400_000;

/**
 * What a hold is kept under, beside its address: the pod's UID; where that is not known its name and the UTC day, since a StatefulSet gives a
 * name, and a network an address, to one after the other.
 */
export function holdKey({ holder, from }: Pick<AddressHold, 'holder' | 'from'>): string {
  return holder.uid ?? `${holder.namespace}/${holder.pod}@${Math.floor(from / DAY_MS)}`;
}

/** Two accounts of one hold (same address, same key). Pods are believed before records. Does not depend on the order. */
export function mergeHold(a: AddressHold, b: AddressHold): AddressHold {
  const [surer, other] = isSure(a) || !isSure(b) ? [a, b] : [b, a];
  // Whoever knows of an end knows more than whoever saw it alive before; a pod seen later than its end had not ended.
  const to = Math.max(a.to, b.to);
  const last = [a, b].filter((one) => one.to === to);
  const ended = last.some((one) => one.ended);
  return {
    ip: surer.ip,
    holder: surer.holder.labels === other.holder.labels ? surer.holder : fuller(surer.holder, other.holder),
    from: Math.min(a.from, b.from),
    to,
    ended,
    ...(!ended && last.some((one) => one.lost === true) ? { lost: true as const } : {}),
    by: [...new Set([...a.by, ...b.by])].sort(),
  };
}

function fuller(a: Holder, b: Holder): Holder {
  const [most, least] = Object.keys(b.labels).length > Object.keys(a.labels).length ? [b, a] : [a, b];
  return { ...least, ...most };
}

import type { PhaseName } from './phase.ts';

/** Who acts: as the API server names the caller of a cluster, or the account of this machine for a directory. */
export interface Actor {
  readonly kind: 'kubernetes' | 'system';
  readonly name: string;
}

/** One person's word that one plan may be carried out on one cluster. */
export interface Approval {
  /** Id of the cluster or directory. */
  readonly target: string;
  readonly namespace: string;
  readonly from: PhaseName;
  readonly to: PhaseName;
  /** The whole hash of the plan. */
  readonly plan: string;
  readonly by: Actor;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly reason: string;
}

/** `bob@example.com (kubernetes)`. */
export function formatActor({ kind, name }: Actor): string {
  return `${name} (${kind})`;
}

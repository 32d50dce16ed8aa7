import type { Protocol } from '../model/edge.ts';
import type { AllowedPorts } from '../model/connectivity.ts';
import type { GrantMark } from '../model/grant.ts';
import type { Plan } from '../plan/plan.ts';
import { sha256 } from '../shared/pure/hash.ts';

/** Who grants, why, and from when to when (ms since the epoch). */
export interface GrantTerms {
  readonly reason: string;
  readonly by: string;
  readonly since: number;
  readonly until: number;
}

/** What a grant may ask for. */
export type GrantRequest =
  | {
      readonly kind: 'connection';
      /** Workload ids. */
      readonly from: string;
      readonly to: string;
      readonly protocol: Protocol;
      readonly port: number;
    }
  | {
      readonly kind: 'person';
      readonly subject: { readonly kind: 'User' | 'Group'; readonly name: string };
      readonly namespace: string;
      /** Names of pods of that namespace. */
      readonly exec: readonly string[];
      readonly portForward: readonly string[];
    };

/** A pair of workloads whose connections a plan changes. */
export interface Opened {
  readonly src: string;
  readonly dst: string;
  readonly opened: readonly AllowedPorts[];
  readonly closed: readonly AllowedPorts[];
}

export type Granted =
  | {
      readonly kind: 'plan';
      readonly mark: GrantMark;
      readonly plan: Plan;
      /** Every pair of workloads whose connections differ afterwards, by the evaluator; of a person's grant none. */
      readonly opens: readonly Opened[];
      /** How many pairs were compared. */
      readonly compared: number;
      readonly notes: readonly string[];
    }
  | { readonly kind: 'allowed'; readonly why: readonly string[] }
  | { readonly kind: 'refused'; readonly why: readonly string[]; readonly fix: string };

/** Names a grant: 8 hex digits of what was asked for, why and until when, so that the same request has the same plan. */
export function grantId(request: object, { reason, until }: GrantTerms): string {
  return `g${sha256(JSON.stringify([request, reason, until])).slice(0, 8)}`;
}

// What a person can do in the session.
import type { PhaseName } from '../../model/phase.ts';

/** A place in the session. */
export type Screen =
  | { readonly kind: 'dashboard' }
  | { readonly kind: 'namespace'; readonly namespace: string }
  | { readonly kind: 'workload'; readonly id: string }
  | { readonly kind: 'gate'; readonly namespace: string; readonly to: PhaseName | undefined; readonly index: number }
  | { readonly kind: 'edges'; readonly namespace: string | undefined; readonly filter?: string }
  | { readonly kind: 'edge'; readonly id: string }
  | { readonly kind: 'plan'; readonly namespace: string; readonly to: PhaseName | undefined }
  | { readonly kind: 'step'; readonly namespace: string; readonly to: PhaseName | undefined; readonly index: number }
  | { readonly kind: 'soak' }
  | { readonly kind: 'grants' }
  | { readonly kind: 'drift' }
  | { readonly kind: 'history'; readonly namespace: string | undefined }
  | { readonly kind: 'search' }
  | { readonly kind: 'report'; readonly title: string; readonly lines: readonly string[]; readonly command: string };

export type Act =
  | { readonly kind: 'open'; readonly screen: Screen }
  | {
      readonly kind: 'advance';
      readonly namespace: string;
      readonly to: PhaseName | undefined;
      readonly detach?: boolean;
      /** Of the plan that was looked at: another one is refused. */
      readonly planHash?: string;
    }
  | { readonly kind: 'plan-to'; readonly namespace: string }
  | { readonly kind: 'advance-far'; readonly namespace: string; readonly now: PhaseName }
  | { readonly kind: 'rollback'; readonly namespace: string; readonly to: PhaseName }
  | { readonly kind: 'rollback-to'; readonly namespace: string; readonly now: PhaseName }
  | { readonly kind: 'resume' }
  | { readonly kind: 'end-grant'; readonly id: string }
  | { readonly kind: 'expire-grants' }
  | { readonly kind: 'assess' }
  | { readonly kind: 'verify'; readonly namespace: string | undefined }
  | { readonly kind: 'waive'; readonly gate: string; readonly subject: string }
  | { readonly kind: 'decide'; readonly action: 'accept' | 'adopt' | 'withdraw' }
  | { readonly kind: 'decide-edge'; readonly action: 'accept' | 'adopt' | 'withdraw'; readonly id: string }
  | { readonly kind: 'undo'; readonly about: 'edges' | 'any' }
  | { readonly kind: 'doubtful-only' }
  | { readonly kind: 'back' };

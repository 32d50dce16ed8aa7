import type { Step } from '../plan/plan.ts';

/** What a run tells while it goes. The engine never prints. */
export type RunEvent =
  | { readonly kind: 'step-started'; readonly step: Step; readonly index: number; readonly total: number }
  | { readonly kind: 'step-waiting'; readonly step: Step; readonly text: string }
  | { readonly kind: 'step-done'; readonly step: Step; readonly index: number; readonly outcome: string }
  | { readonly kind: 'step-failed'; readonly step: Step; readonly index: number; readonly error: string }
  | { readonly kind: 'step-undone'; readonly step: Step; readonly index: number }
  | { readonly kind: 'soak'; readonly until: number; readonly text: string }
  | { readonly kind: 'new-caller'; readonly text: string; readonly denied: boolean }
  /** The way back is kept as it was before: whole, but with more in it than is in force. */
  | { readonly kind: 'undo-not-kept'; readonly place: string; readonly error: string }
  | { readonly kind: 'pulling-back'; readonly text: string; readonly steps: number }
  | { readonly kind: 'phase-reached'; readonly namespace: string; readonly phase: string };

export type Emit = (event: RunEvent) => void;

/** The phases in order; `none` is the state before Sallyport. */
export const PHASES = ['none', 'monitor', 'allow-list', 'permissive-mtls', 'strict-mtls', 'identity'] as const;
export type PhaseName = (typeof PHASES)[number];

export function isPhaseName(text: string): text is PhaseName {
  return (PHASES as readonly string[]).includes(text);
}

export function phaseIndex(phase: PhaseName): number {
  return PHASES.indexOf(phase);
}

/** Phases passed on the way from one to another, nearest first: up excludes `from`, down excludes `to`. */
export function phasesBetween(from: PhaseName, to: PhaseName): readonly PhaseName[] {
  const [a, b] = [phaseIndex(from), phaseIndex(to)];
  return a <= b ? PHASES.slice(a + 1, b + 1) : PHASES.slice(b + 1, a + 1).toReversed();
}

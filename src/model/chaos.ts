/** What the ids of an experiment's steps begin with. They are no expectation: what they take away is drift (plan/drift.ts). */
export const CHAOS_STEP = 'chaos/';

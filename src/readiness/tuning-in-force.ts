import type { ExpectedGain } from '../candidates/tuning/proposal.ts';
import type { AppliedStep } from '../engine/contract.ts';
import { short } from '../model/tuning.ts';

/** Of steps of tuning, after their phase. */
export const TUNING_PREFIX = 'tune/';

/** What stands on record of a proposal that was applied: in the title of its step, so that it travels with the record. */
export interface TuningMark {
  readonly id: string;
  readonly gain?: Pick<ExpectedGain, 'metric' | 'before' | 'unit' | 'lowPercent' | 'highPercent'>;
}

export function formatMark({ id, gain }: TuningMark): string {
  return gain === undefined
    ? `[tune ${id}]`
    : `[tune ${id}: ${gain.metric} = ${gain.before}${gain.unit === '' ? '' : ` ${gain.unit}`}, expected ${gain.lowPercent}-${gain.highPercent} % less]`;
}

const MARK = /\[tune (\S+?)(?:: (.+) = ([-\d.e+]+)(?: (\S+))?, expected (\d+)-(\d+) % less)?\]$/u;

export function parseMark(title: string): TuningMark | undefined {
  const match = MARK.exec(title);
  if (match?.[1] === undefined) return undefined;
  const [, id, metric, before, unit, low, high] = match;
  if (metric === undefined) return { id };
  return {
    id,
    gain: { metric, before: Number(before), unit: unit ?? '', lowPercent: Number(low), highPercent: Number(high) },
  };
}

export interface AppliedTuning extends TuningMark {
  readonly namespace: string;
  /** When its newest step was written, and by which run. */
  readonly since: number;
  readonly run: string;
}

/** Proposals of tuning in force, oldest first: those whose steps are on record and were not taken back. */
export function appliedTuning(applied: readonly AppliedStep[]): readonly AppliedTuning[] {
  const found = new Map<string, AppliedTuning>();
  for (const { namespace, phase, step, at, run } of applied) {
    if (!step.id.startsWith(`${phase}/${TUNING_PREFIX}`)) continue;
    const mark = parseMark(step.title);
    // A proposal may have several steps, and may have been applied again: the newest says what is expected.
    if (mark !== undefined) found.set(`${namespace} ${mark.id}`, { ...mark, namespace, since: at, run });
  }
  return [...found.values()];
}

/** `new connections per request: expected 50-100 % less than 1`. */
export function describeExpected(gain: TuningMark['gain']): string {
  if (gain === undefined) return 'no figure was expected';
  return `${gain.metric}: expected ${gain.lowPercent}-${gain.highPercent} % less than ${short(gain.before)}${gain.unit === '' ? '' : ` ${gain.unit}`}`;
}

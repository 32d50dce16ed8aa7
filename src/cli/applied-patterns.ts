import type { Pattern } from '../candidates/patterns/pattern.ts';
import type { AppliedStep } from '../engine/contract.ts';
import type { AppliedPattern } from '../model/applied-pattern.ts';
import type { Gate } from '../model/finding.ts';
import { appliedPatternGate } from '../readiness/pattern-plan.ts';
import { appliedPatterns } from '../readiness/patterns-in-force.ts';
import { isFailure } from '../shared/pure/errors.ts';
import type { Loaded } from './load.ts';
import { readPatterns } from './pattern-files.ts';

/** Patterns in force with what they are made of; without it where that cannot be read any more, and why. */
export type AppliedWithTemplates = readonly {
  readonly applied: AppliedPattern;
  readonly pattern: Pattern | undefined;
  readonly why?: string;
}[];

/** Reads the folders that the patterns in force came from, each once. A folder that is gone is said with its patterns and fails nothing else. */
export async function readAppliedPatterns(steps: readonly AppliedStep[]): Promise<AppliedWithTemplates> {
  const folders = new Map<string, readonly Pattern[] | string>();
  const out: AppliedWithTemplates[number][] = [];
  for (const applied of appliedPatterns(steps)) {
    const folder = applied.mark?.templates ?? '';
    const known = folders.get(folder) ?? (await patternsIn(folder));
    folders.set(folder, known);
    if (typeof known === 'string') out.push({ applied, pattern: undefined, why: known });
    else out.push({ applied, pattern: known.find(({ name }) => name === applied.name) });
  }
  return out;
}

async function patternsIn(folder: string): Promise<readonly Pattern[] | string> {
  try {
    return await readPatterns(folder === '' ? undefined : folder);
  } catch (error) {
    if (!isFailure(error)) throw error;
    return error.detail.message;
  }
}

/** Does each pattern that is applied for a namespace still hold? */
export function patternGates(loaded: Loaded, namespace: string, patterns: AppliedWithTemplates): readonly Gate[] {
  const judged = { inventory: loaded.inventory, tenants: loaded.config.tenants ?? [] };
  return patterns
    .filter(({ applied }) => applied.namespace === namespace)
    .map(({ applied, pattern, why }) => {
      const gate = appliedPatternGate(applied, pattern, judged);
      return why === undefined ? gate : { ...gate, facts: [...gate.facts, why] };
    });
}

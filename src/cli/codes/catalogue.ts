import { FINDINGS, findingEntry } from '../../model/finding-catalogue.ts';
import { CLUSTER_CODES } from './cluster.ts';
import type { CodeEntry, CodeTable } from './entry.ts';
import { RUN_CODES } from './run.ts';
import { STATE_CODES } from './state.ts';
import { USE_CODES } from './use.ts';

/** Codes of failures with what they mean. Findings stand in `model/finding-catalogue.ts`. */
export const FAILURES: CodeTable = { ...USE_CODES, ...CLUSTER_CODES, ...STATE_CODES, ...RUN_CODES };

/** Codes that no version raises any more, and what took their place. They are not used again. */
export const RETIRED: Readonly<Record<string, string>> = {
  SP214: 'Before 0.1.0: a directory of manifests that is not there. Now SP210.',
  SP218: 'Before 0.1.0: a value of --bad-records that there is not. Now SP104.',
};

/** Where the entry of a code belongs: named by the test that finds one missing. */
export function fileOf(code: string): string {
  const group = code[2];
  if (group === '3') return 'src/model/finding-catalogue.ts';
  return `src/cli/codes/${group === '4' ? 'cluster' : group === '5' ? 'state' : group === '6' ? 'run' : 'use'}.ts`;
}

export type Explanation =
  | ({ readonly kind: 'failure'; readonly code: string } & CodeEntry)
  | ({ readonly kind: 'finding'; readonly code: string } & Omit<CodeEntry, 'exit'>)
  | { readonly kind: 'retired'; readonly code: string; readonly means: string };

/** What the catalogues say of a code; undefined for a code that there never was. */
export function explain(code: string): Explanation | undefined {
  const failure = Object.hasOwn(FAILURES, code) ? FAILURES[code] : undefined;
  if (failure !== undefined) return { kind: 'failure', code, ...failure };
  const finding = findingEntry(code);
  if (finding !== undefined) {
    const { title, hint, means, causes } = finding;
    return { kind: 'finding', code, title, means, causes, fix: [hint] };
  }
  const retired = Object.hasOwn(RETIRED, code) ? RETIRED[code] : undefined;
  return retired === undefined ? undefined : { kind: 'retired', code, means: retired };
}

/** Every code that there is or was, in order. */
export function allCodes(): readonly string[] {
  return [...Object.keys(FAILURES), ...Object.keys(FINDINGS), ...Object.keys(RETIRED)].sort();
}

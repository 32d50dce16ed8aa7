import type { ExitCode } from '../../shared/pure/errors.ts';

/** What stands in the catalogue of one failure code. Plain text; commands between backquotes. */
export interface CodeEntry {
  /** Names the situation in a few words. */
  readonly title: string;
  /** Exit codes of the process that ends with it. */
  readonly exit: ExitCode | readonly ExitCode[];
  /** What is the case, and what was or was not done. */
  readonly means: string;
  /** Most likely first. */
  readonly causes: readonly string[];
  /** What to do, in the order of trying. The hint of the failure itself names the objects and files. */
  readonly fix: readonly string[];
}

export type CodeTable = Readonly<Record<string, CodeEntry>>;

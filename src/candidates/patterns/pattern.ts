import type { PhaseName } from '../../model/phase.ts';
import type { Json } from '../../shared/pure/json.ts';

/** What the text of a parameter must be; see parameters.ts for the grammar of each. */
export const PARAMETER_TYPES = [
  'accounts',
  'cidrs',
  'choice',
  'date',
  'group',
  'groups',
  'label',
  'methods',
  'names',
  'number',
  'paths',
  'ports',
  'word',
  'words',
] as const;
export type ParameterType = (typeof PARAMETER_TYPES)[number];

export interface ParameterSpec {
  readonly type: ParameterType;
  readonly help: string;
  /** As it would be typed; `@namespace` stands for the namespace of -n, `@namespaces` for it or for all, `@jobs` for the jobs there that carry the label `job-label`. */
  readonly default?: string;
  /** It may be left out, and is an empty list then. */
  readonly optional?: boolean;
  /** Of a choice. */
  readonly choices?: readonly string[];
}

/** A pattern as its folder has it. Templates hold placeholders and no logic but `$each` and `$when`; see fill.ts. */
export interface Pattern {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  /** The phase under which what it writes is filed, and above which a rollback takes it back. */
  readonly phase: PhaseName;
  readonly parameters: Readonly<Record<string, ParameterSpec>>;
  readonly objects: Json;
  readonly invariants: Json;
  /** What is not proven, and sources. */
  readonly notes: readonly string[];
  /** The doc text, Markdown. */
  readonly doc: string;
  /** The folder, for messages. */
  readonly folder: string;
}

/** Names the pattern that wrote an object. */
export const PATTERN_ANNOTATION = 'sallyport.dev/pattern';

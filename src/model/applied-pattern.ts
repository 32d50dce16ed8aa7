/** What a step of a pattern says of it: every step that one application wrote says the same. */
export interface PatternMark {
  readonly name: string;
  /** What was typed, `key=value`, in the order of keys. Groups by label are resolved anew whenever the promise is judged. */
  readonly set: readonly string[];
  /** The folder of patterns of one's own, where it came from one. */
  readonly templates?: string;
}

/** A pattern in force for a namespace, as the newest application has it. */
export interface AppliedPattern {
  readonly namespace: string;
  readonly name: string;
  /** Undefined: it was applied before parameters were on record. */
  readonly mark: PatternMark | undefined;
}

/** The parameters of a mark as they were typed. */
export function parametersOf({ set }: PatternMark): ReadonlyMap<string, string> {
  return new Map(
    set.map((text) => {
      const at = text.indexOf('=');
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

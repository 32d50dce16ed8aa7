/** What is wrong with a field, in the words of a person. */
export interface Problem {
  /** `spec.ingress[0].ports[1].endPort` */
  readonly field: string;
  readonly message: string;
  /**
   * `refused`: the API server takes no object with it. `unknown-field`: not in the schema that is modelled, so its effect is
   * not known. `doubtful`: accepted by API servers up to a version, with a meaning that is known. `ambiguous`: accepted by them too, and
   * read differently by whoever enforces it.
   */
  readonly kind: 'refused' | 'unknown-field' | 'doubtful' | 'ambiguous';
}

export function refused(field: string, message: string): Problem {
  return { field, message, kind: 'refused' };
}

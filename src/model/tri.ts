/** A truth value that may be unknown: what the facts at hand do not decide. */
export type Tri = 'yes' | 'no' | 'unknown';

/** True of both: a sure `no` wins over an unknown. */
export function and(a: Tri, b: Tri): Tri {
  if (a === 'no' || b === 'no') return 'no';
  return a === 'yes' && b === 'yes' ? 'yes' : 'unknown';
}

/** True of either: a sure `yes` wins over an unknown. */
export function or(a: Tri, b: Tri): Tri {
  if (a === 'yes' || b === 'yes') return 'yes';
  return a === 'no' && b === 'no' ? 'no' : 'unknown';
}

export function not(a: Tri): Tri {
  if (a === 'unknown') return a;
  return a === 'yes' ? 'no' : 'yes';
}

export function triOf(value: boolean): Tri {
  return value ? 'yes' : 'no';
}

/** The value that all possibilities agree on; unknown where they differ, or where there is none. */
export function agreed(values: Iterable<Tri>): Tri {
  let common: Tri | undefined;
  for (const value of values) {
    if (common === undefined) common = value;
    else if (common !== value) return 'unknown';
  }
  return common ?? 'unknown';
}

/**
 * A function of one object that answers again what it answered before for the same object. Snapshots of simulated states
 * share the objects that a step leaves alone, so only what changed is parsed again. Pure as long as objects are immutable.
 */
export function memoByObject<Key extends object, Value>(compute: (key: Key) => Value): (key: Key) => Value {
  const known = new WeakMap<Key, { readonly value: Value }>();
  return (key) => {
    const hit = known.get(key);
    if (hit !== undefined) return hit.value;
    const value = compute(key);
    known.set(key, { value });
    return value;
  };
}

/** The same, for a result that also depends on other values: kept for the last ones only, compared by identity. */
export function memoWithInputs<Value>(): (key: object, inputs: readonly unknown[], compute: () => Value) => Value {
  const known = new WeakMap<object, { readonly inputs: readonly unknown[]; readonly value: Value }>();
  return (key, inputs, compute) => {
    const hit = known.get(key);
    if (hit !== undefined && sameItems(hit.inputs, inputs)) return hit.value;
    const value = compute();
    known.set(key, { inputs, value });
    return value;
  };
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => Object.is(item, b[index]));
}

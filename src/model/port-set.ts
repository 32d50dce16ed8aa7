export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Ports as ranges: sorted, apart from each other, never adjacent. */
export type PortSet = readonly PortRange[];

export const ALL_PORTS: PortRange = { first: 1, last: 65_535 };

/** The union of ranges; one whose last port is below its first is empty. */
export function portSet(ranges: Iterable<PortRange>): PortSet {
  const sorted = [...ranges].filter(({ first, last }) => first <= last).sort((a, b) => a.first - b.first);
  const out: PortRange[] = [];
  for (const range of sorted) {
    const previous = out.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      out[out.length - 1] = { first: previous.first, last: Math.max(previous.last, range.last) };
    } else out.push(range);
  }
  return out;
}

/** True when every port of the range is in the set. */
export function coversPorts(set: PortSet, range: PortRange): boolean {
  return set.some(({ first, last }) => first <= range.first && range.last <= last);
}

/** `80`, `32768-60999`. */
export function formatPortRange({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

/** `80, 443, 8000-8100`; `none` for the empty set. */
export function formatPortSet(set: PortSet): string {
  return set.length === 0 ? 'none' : set.map(formatPortRange).join(', ');
}

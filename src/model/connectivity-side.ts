import type { Protocol } from './edge.ts';
import type { PortRange, PortSet } from './port-set.ts';
import { ALL_PORTS, portSet } from './port-set.ts';

export const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const satisfies readonly Protocol[];

/** One value for each of PROTOCOLS. */
export type PerProtocol<Value> = readonly [Value, Value, Value];

export interface UnknownRange extends PortRange {
  readonly reason: string;
}

/** What is said of all ports at once: those allowed, those not known with the reason, the rest denied. Sorted, apart. */
export interface Side {
  /** The same for equal contents within one SideTable. */
  readonly id: number;
  readonly yes: PerProtocol<PortSet>;
  readonly unknown: PerProtocol<readonly UnknownRange[]>;
}

export const EVERY_PORT: PortSet = [ALL_PORTS];
export const NO_PORT: PortSet = [];

export function perProtocol<Value>(make: (protocol: Protocol) => Value): PerProtocol<Value> {
  return [make('TCP'), make('UDP'), make('SCTP')];
}

function isEvery(set: PortSet): boolean {
  const [first] = set;
  return first !== undefined && first.first <= ALL_PORTS.first && first.last >= ALL_PORTS.last;
}

/** Ports in both. */
export function intersectPorts(a: PortSet, b: PortSet): PortSet {
  if (isEvery(a)) return b;
  if (isEvery(b)) return a;
  const out: PortRange[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [left, right] = [a[i], b[j]];
    if (left === undefined || right === undefined) break;
    const first = Math.max(left.first, right.first);
    const last = Math.min(left.last, right.last);
    if (first <= last) out.push({ first, last });
    if (left.last < right.last) i += 1;
    else j += 1;
  }
  return out;
}

/** Ports of `a` that are not in `b`. */
export function subtractPorts(a: PortSet, b: PortSet): PortSet {
  if (b.length === 0 || a.length === 0) return a;
  const out: PortRange[] = [];
  for (const { first, last } of a) {
    let from = first;
    for (const cut of b) {
      if (cut.last < from || cut.first > last) continue;
      if (cut.first > from) out.push({ first: from, last: cut.first - 1 });
      from = cut.last + 1;
    }
    if (from <= last) out.push({ first: from, last });
  }
  return out;
}

/** Ports in either. */
export function unitePorts(a: PortSet, b: PortSet): PortSet {
  if (a.length === 0 || isEvery(b)) return b;
  if (b.length === 0 || isEvery(a)) return a;
  return portSet([...a, ...b]);
}

/** The ports of both, those of the reasons kept. */
function clipUnknown(ranges: readonly UnknownRange[], ports: PortSet): readonly UnknownRange[] {
  if (ranges.length === 0 || isEvery(ports)) return ranges;
  return ranges.flatMap(({ first, last, reason }) =>
    intersectPorts([{ first, last }], ports).map((range) => ({ ...range, reason })),
  );
}

/** Sorted; ranges that touch and have the same reason become one. They must not overlap. */
export function tidyUnknown(ranges: readonly UnknownRange[]): readonly UnknownRange[] {
  const out: UnknownRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const previous = out.at(-1);
    if (previous?.reason === range.reason && range.first === previous.last + 1) {
      out[out.length - 1] = { ...previous, last: range.last };
    } else out.push(range);
  }
  return out;
}

/** Equal contents are one object here, and what follows from two of them is worked out once. */
export interface SideTable {
  readonly everything: Side;
  readonly nothing: Side;
  /** The side with these contents. `yes` and `unknown` must not overlap. */
  of(yes: PerProtocol<PortSet>, unknown: PerProtocol<readonly UnknownRange[]>): Side;
  /** Every port unknown for this reason. */
  unknown(reason: string): Side;
  /** What both allow; a port that neither denies and one does not know is unknown. */
  both(a: Side, b: Side): Side;
  /** Only these ports of one protocol, or of each. */
  clip(side: Side, ports: PortSet, protocol: Protocol | undefined): Side;
  isNothing(side: Side): boolean;
}

function keyOf(yes: PerProtocol<PortSet>, unknown: PerProtocol<readonly UnknownRange[]>): string {
  let key = '';
  for (const set of yes) {
    for (const { first, last } of set) key += `${first}-${last},`;
    key += ';';
  }
  for (const ranges of unknown) {
    for (const { first, last, reason } of ranges) key += `${first}-${last} ${JSON.stringify(reason)},`;
    key += ';';
  }
  return key;
}

export function makeSideTable(): SideTable {
  const known = new Map<string, Side>();
  const pairs = new Map<number, Map<number, Side>>();
  const of: SideTable['of'] = (yes, unknown) => {
    const key = keyOf(yes, unknown);
    const same = known.get(key);
    if (same !== undefined) return same;
    const side: Side = { id: known.size, yes, unknown };
    known.set(key, side);
    return side;
  };
  const none = (): PerProtocol<readonly UnknownRange[]> => [[], [], []];
  const everything = of(
    perProtocol(() => EVERY_PORT),
    none(),
  );
  const nothing = of(
    perProtocol(() => NO_PORT),
    none(),
  );
  const join = (a: Side, b: Side): Side => {
    const at = (index: 0 | 1 | 2): { yes: PortSet; unknown: readonly UnknownRange[] } => {
      const [yesA, yesB] = [a.yes[index], b.yes[index]];
      const [unknownA, unknownB] = [a.unknown[index], b.unknown[index]];
      const yes = intersectPorts(yesA, yesB);
      if (unknownA.length === 0 && unknownB.length === 0) return { yes, unknown: [] };
      const notDeniedByB = unitePorts(yesB, portSet(unknownB));
      return { yes, unknown: tidyUnknown([...clipUnknown(unknownA, notDeniedByB), ...clipUnknown(unknownB, yesA)]) };
    };
    const [tcp, udp, sctp] = [at(0), at(1), at(2)];
    return of([tcp.yes, udp.yes, sctp.yes], [tcp.unknown, udp.unknown, sctp.unknown]);
  };
  return {
    everything,
    nothing,
    of,
    unknown: (reason) =>
      of(
        perProtocol(() => NO_PORT),
        perProtocol(() => [{ ...ALL_PORTS, reason }]),
      ),
    both: (a, b) => {
      if (a === b || b === everything || a === nothing) return a;
      if (a === everything || b === nothing) return b;
      let row = pairs.get(a.id);
      if (row === undefined) {
        row = new Map();
        pairs.set(a.id, row);
      }
      const done = row.get(b.id);
      if (done !== undefined) return done;
      const side = join(a, b);
      row.set(b.id, side);
      return side;
    },
    clip: (side, ports, protocol) => {
      const kept = (index: 0 | 1 | 2): PortSet =>
        protocol === undefined || PROTOCOLS[index] === protocol ? ports : NO_PORT;
      const yes = (index: 0 | 1 | 2): PortSet => intersectPorts(side.yes[index], kept(index));
      const unknown = (index: 0 | 1 | 2): readonly UnknownRange[] => clipUnknown(side.unknown[index], kept(index));
      return of([yes(0), yes(1), yes(2)], [unknown(0), unknown(1), unknown(2)]);
    },
    isNothing: (side) => side === nothing,
  };
}

/** What a side says of one port. */
export function answerAt(side: Side, protocol: Protocol, port: number): 'yes' | 'no' | 'unknown' {
  const index = PROTOCOLS.indexOf(protocol) as 0 | 1 | 2;
  const holds = ({ first, last }: PortRange): boolean => first <= port && port <= last;
  if (side.yes[index].some(holds)) return 'yes';
  return side.unknown[index].some(holds) ? 'unknown' : 'no';
}

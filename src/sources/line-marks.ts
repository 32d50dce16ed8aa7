import { createHash } from 'node:crypto';

/**
 * One number for each line of an input, by which lines that are in another input too are found. A mark is made of the line's length and bytes:
 * all of a line of up to 256, of a longer one the first 128, the last 64 and some between. Two lines of one mark are not proven to be one; two
 * runs of lines are, for what a count is worth.
 */
export interface LineMarks {
  /** The newest of them, in order. */
  readonly marks: Int32Array;
  /** Lines before those, of which there were too many. */
  readonly dropped: number;
  /**
   * SHA-256 of the first line and of the last, without their line breaks; empty where there is none. The last is empty as well where no line
   * break follows it: it may be half a line.
   */
  readonly first: string;
  readonly last: string;
}

/** Whole lines, from the first to before the last, counted from 0. */
export interface LineRange {
  readonly from: number;
  readonly to: number;
}

/** 8 MiB. */
export const MAX_MARKS = 1 << 21;
/** So much of a line is what it is marked by. */
const MAX_CARRIED = 1 << 20;

export interface LineMarker {
  push(chunk: Uint8Array): void;
  /** Takes what another marker made of all of the input. */
  adopt(marks: LineMarks): void;
  finish(): LineMarks;
}

export function createLineMarker(limit = MAX_MARKS): LineMarker {
  let marks = new Int32Array(Math.min(limit, 4096));
  let count = 0;
  let first: string | undefined;
  let carried: Uint8Array[] = [];
  let carriedBytes = 0;
  let passed = 0;
  /** The last line as it was, until it is known to be the last. */
  let newest: Uint8Array | undefined;
  let adopted: LineMarks | undefined;
  const two: [number, number] = [0, 0];

  const add = (mark: number): void => {
    if (count === marks.length && marks.length < limit) {
      const larger = new Int32Array(Math.min(limit, marks.length * 2));
      larger.set(marks);
      marks = larger;
    }
    marks[count % marks.length] = mark;
    count += 1;
  };
  const carry = (bytes: Uint8Array): void => {
    const room = Math.max(0, MAX_CARRIED - carriedBytes);
    // A Buffer's own slice is no copy, and whoever reads a file fills its memory again.
    if (room > 0) carried.push(new Uint8Array(bytes.subarray(0, room)));
    carriedBytes += Math.min(room, bytes.byteLength);
    passed += bytes.byteLength;
  };
  const close = (): void => {
    const line = Buffer.concat(carried);
    first ??= digest(line);
    newest = line;
    add(markOf(new DataView(line.buffer, line.byteOffset, line.byteLength), 0, line.byteLength, passed));
    carried = [];
    carriedBytes = 0;
    passed = 0;
  };

  return {
    push(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      let at = 0;
      if (passed > 0) {
        const end = bytes.indexOf(10);
        carry(bytes.subarray(0, end < 0 ? bytes.length : end));
        if (end < 0) return;
        close();
        at = end + 1;
      }
      let begin = -1;
      /** Where a line begins and ends that is marked together with the next one. */
      let [held, heldEnd] = [-1, -1];
      const addHeld = (): void => {
        if (held >= 0) add(markOf(view, held, heldEnd, heldEnd - held));
        held = -1;
      };
      for (let end = bytes.indexOf(10, at); end >= 0; end = bytes.indexOf(10, at)) {
        // As much of it as is kept of one that comes in pieces.
        const kept = Math.min(end, at + MAX_CARRIED);
        if (end - at <= WHOLE || kept < end) {
          addHeld();
          add(markOf(view, at, kept, end - at));
        } else if (held < 0) {
          held = at;
          heldEnd = end;
        } else {
          markTwo(view, held, heldEnd, at, end, two);
          add(two[0]);
          add(two[1]);
          held = -1;
        }
        first ??= digest(bytes.subarray(at, kept));
        begin = at;
        at = end + 1;
      }
      addHeld();
      if (begin >= 0) newest = new Uint8Array(bytes.subarray(begin, Math.min(at - 1, begin + MAX_CARRIED)));
      if (at < bytes.length) carry(bytes.subarray(at));
    },
    adopt(given) {
      adopted = given;
    },
    finish() {
      if (adopted !== undefined) return adopted;
      const isOpen = passed > 0;
      if (isOpen) close();
      const from = count > marks.length ? count % marks.length : 0;
      const kept = new Int32Array(Math.min(count, marks.length));
      kept.set(marks.subarray(from, kept.length));
      kept.set(marks.subarray(0, from), kept.length - from);
      return {
        marks: kept,
        dropped: count - kept.length,
        first: first ?? '',
        last: newest === undefined || isOpen ? '' : digest(newest),
      };
    },
  };
}

function digest(line: Uint8Array): string {
  return createHash('sha256').update(line).digest('hex');
}

/** Lines up to this length are marked by all of their bytes; of longer ones these are taken, and between them one word in each step. */
const WHOLE = 256;
const HEAD = 128;
const TAIL = 64;

function stepOf(length: number): number {
  return Math.max(4, ((length - HEAD - TAIL) / 16) | 0);
}

/** Of the bytes from `from` to before `to`, which may be the beginning of a line of `length`. */
function markOf(view: DataView, from: number, to: number, length: number): number {
  let hash = length | 0;
  let at = from;
  if (to - from > WHOLE) {
    for (; at < from + HEAD; at += 4) hash = mix(hash, view.getInt32(at, true));
    const step = stepOf(to - from);
    for (; at + 4 <= to - TAIL; at += step) hash = mix(hash, view.getInt32(at, true));
    at = to - TAIL;
  }
  for (; at + 4 <= to; at += 4) hash = mix(hash, view.getInt32(at, true));
  for (; at < to; at += 1) hash = mix(hash, view.getUint8(at));
  return finish(hash);
}

/**
 * The marks of two lines of more than WHOLE bytes, as markOf makes them one by one. Each word waits for the one before; those of the other line
 * fill the time, so that two take hardly longer than one.
 */
function markTwo(view: DataView, from: number, to: number, from2: number, to2: number, into: [number, number]): void {
  let hash = (to - from) | 0;
  let hash2 = (to2 - from2) | 0;
  for (let at = 0; at < HEAD; at += 4) {
    hash = mix(hash, view.getInt32(from + at, true));
    hash2 = mix(hash2, view.getInt32(from2 + at, true));
  }
  const [step, step2] = [stepOf(to - from), stepOf(to2 - from2)];
  const [last, last2] = [to - TAIL - 4, to2 - TAIL - 4];
  let [at, at2] = [from + HEAD, from2 + HEAD];
  for (; at <= last && at2 <= last2; at += step, at2 += step2) {
    hash = mix(hash, view.getInt32(at, true));
    hash2 = mix(hash2, view.getInt32(at2, true));
  }
  for (; at <= last; at += step) hash = mix(hash, view.getInt32(at, true));
  for (; at2 <= last2; at2 += step2) hash2 = mix(hash2, view.getInt32(at2, true));
  for (let left = TAIL; left > 0; left -= 4) {
    hash = mix(hash, view.getInt32(to - left, true));
    hash2 = mix(hash2, view.getInt32(to2 - left, true));
  }
  into[0] = finish(hash);
  into[1] = finish(hash2);
}

function finish(mixed: number): number {
  let hash = mixed;
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return hash ^ (hash >>> 16);
}

function mix(hash: number, word: number): number {
  const mixed = Math.imul(hash ^ word, 0x21f0aaad);
  return mixed ^ (mixed >>> 15);
}

/** How often one line is looked for in an input in which it stands many times. */
const MAX_PLACES = 64;

/**
 * The lines of an input that stand in another one as well, where the two overlap as pieces of one record do: the common run begins where one of
 * them begins and ends where one of them ends. Of a single line its whole hash has to agree.
 */
export function findRepeats(own: LineMarks, others: Iterable<LineMarks>): readonly LineRange[] {
  const found: LineRange[] = [];
  const { marks, dropped } = own;
  const sure = (ownAt: number, other: LineMarks, otherAt: number, length: number): boolean => {
    if (length > 1) return true;
    const end = (at: number, of: LineMarks): readonly string[] => [
      ...(at === 0 && of.dropped === 0 ? [of.first] : []),
      ...(at === of.marks.length - 1 ? [of.last] : []),
    ];
    const there = end(otherAt, other);
    return end(ownAt, own).some((hash) => there.includes(hash));
  };
  const from = (ownAt: number, other: LineMarks, otherAt: number): void => {
    const most = Math.min(marks.length - ownAt, other.marks.length - otherAt);
    let length = 0;
    while (length < most && marks[ownAt + length] === other.marks[otherAt + length]) length += 1;
    // All of it, but for half a line at the end of one of them.
    const isHalf = (of: LineMarks, at: number): boolean => of.last === '' && at + length === of.marks.length - 1;
    const isWhole = length === most || isHalf(other, otherAt) || isHalf(own, ownAt);
    if (length > 0 && isWhole && sure(ownAt, other, otherAt, length))
      found.push({ from: dropped + ownAt, to: dropped + ownAt + length });
  };
  const places = (list: Int32Array, mark: number | undefined, each: (at: number) => void): void => {
    if (mark === undefined) return;
    let at = list.indexOf(mark);
    for (let tries = 0; at >= 0 && tries < MAX_PLACES; tries += 1) {
      each(at);
      at = list.indexOf(mark, at + 1);
    }
  };
  for (const other of others) {
    if (dropped === 0) places(other.marks, marks[0], (at) => from(0, other, at));
    if (other.dropped === 0) places(marks, other.marks[0], (at) => from(at, other, 0));
  }
  return joinRanges(found);
}

export function joinRanges(ranges: Iterable<LineRange>): readonly LineRange[] {
  const joined: { from: number; to: number }[] = [];
  for (const { from, to } of [...ranges].sort((a, b) => a.from - b.from)) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else joined.push({ from, to });
  }
  return joined;
}

/** Marks looked for one by one; of more, one in so many that no more are left. */
const MAX_SCATTERED = 1 << 16;

/** About how many lines outside of `ranges` stand in one of the others too, here and there: whether they are the same records is not known. */
export function countScattered(own: LineMarks, ranges: readonly LineRange[], others: Iterable<LineMarks>): number {
  let mask = 0;
  while (own.marks.length / (mask + 1) > MAX_SCATTERED) mask = mask * 2 + 1;
  const wanted = new Map<number, number>();
  let next = 0;
  for (const [index, mark] of own.marks.entries()) {
    const line = own.dropped + index;
    while ((ranges[next]?.to ?? Infinity) <= line) next += 1;
    if ((ranges[next]?.from ?? Infinity) <= line || (mark & mask) !== 0) continue;
    wanted.set(mark, (wanted.get(mark) ?? 0) + 1);
  }
  let count = 0;
  for (const { marks } of others)
    for (const mark of marks) {
      if ((mark & mask) !== 0) continue;
      const times = wanted.get(mark);
      if (times === undefined) continue;
      count += times;
      wanted.delete(mark);
    }
  return count * (mask + 1);
}

/** Hands bytes over without the lines of `ranges`, of which an empty line is left each, so that the others keep their numbers. */
export function createLineCutter(ranges: readonly LineRange[]): (chunk: Uint8Array) => Uint8Array {
  let line = 0;
  let next = 0;
  return (chunk) => {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const parts: Uint8Array[] = [];
    let at = 0;
    while (at < bytes.length) {
      while ((ranges[next]?.to ?? Infinity) <= line) next += 1;
      const range = ranges[next];
      if (range === undefined) {
        if (parts.length === 0) return chunk;
        parts.push(bytes.subarray(at));
        break;
      }
      const isCut = range.from <= line;
      const stop = isCut ? range.to : range.from;
      const begin = at;
      let breaks = 0;
      while (line < stop) {
        const end = bytes.indexOf(10, at);
        if (end < 0) {
          at = bytes.length;
          break;
        }
        at = end + 1;
        line += 1;
        breaks += 1;
      }
      parts.push(isCut ? Buffer.alloc(breaks, 10) : bytes.subarray(begin, at));
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
  };
}

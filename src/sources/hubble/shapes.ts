/**
 * Shapes of lines. Records of one exporter differ in times, ports, addresses and names, and in few other bytes; so a line that was
 * read in full once teaches a shape: constant bytes with slots between them. Shapes form a tree by what they have in common. A line that
 * goes down the tree to its end has the keys, the nesting and the fields of the one that taught it, and means the same.
 */

/** Fields whose values decide what a record means, in the order of their places in its number. They are constant in a shape. */
export const FIELDS = [
  'verdict',
  'Type',
  'event_type',
  'traffic_direction',
  'trace_observation_point',
  'is_reply',
  'reply',
  'drop_reason_desc',
  'drop_reason',
] as const;

/** What stands behind the constant bytes of a step. */
export const SLOT = {
  /** Nothing: the line is at its end. */
  end: 0,
  /** A text without escapes, up to its quote, and a whole number: neither has a part in the meaning. */
  text: 1,
  number: 2,
  time: 3,
  sourceIp: 4,
  destinationIp: 5,
  sourcePort: 6,
  destinationPort: 7,
  /** Whole objects. */
  source: 8,
  destination: 9,
  l7: 10,
} as const;

/** Constant bytes, then a slot. */
export interface Step {
  readonly words: Words;
  readonly slot: number;
  /** What may follow, most likely first. */
  readonly next: Step[];
  /** At the end: the number of the meaning, or where there is a slot for `l7` of what the line says beside it. */
  readonly meaning: number;
  /** A text that stood in the slot, and how often another one may still take its place. */
  usual: Words | undefined;
  lessons: number;
}

/** ASCII to compare with eight bytes at a time. */
export interface Words {
  readonly length: number;
  /** Whole words, and one more that ends where the bytes end and overlaps the one before; none where there are fewer than eight bytes. */
  readonly words: Float64Array;
  readonly bytes: Uint8Array;
}

/** A text that is another one each time is not worth remembering. */
const MAX_USUAL = 64;
const MAX_STEPS = 4096;
const MAX_NEXT = 64;
/** A file of nothing but new shapes is not worth learning from. */
const MAX_LESSONS = 20_000;

/** `bytes` are ASCII: as numbers of 64 bits they are then neither NaN nor zero, so that equal numbers are equal bytes. */
export function wordsOf(bytes: Uint8Array): Words {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { length } = bytes;
  const words = new Float64Array(length < 8 ? 0 : (length >> 3) + 1);
  for (let index = 0; index < words.length - 1; index += 1) words[index] = view.getFloat64(index * 8, true);
  if (words.length > 0) words[words.length - 1] = view.getFloat64(length - 8, true);
  return { length, words, bytes };
}

/** Do these bytes stand at `at` of `view`, which ends at `end`? (To ask the view for its end is a call each time.) */
export function standsAt(view: DataView, end: number, at: number, { length, words, bytes }: Words): boolean {
  if (at + length > end) return false;
  if (length < 8) {
    for (let index = 0; index < length; index += 1) if (view.getUint8(at + index) !== bytes[index]) return false;
    return true;
  }
  return equalWords(view, at, length, words, 0);
}

/** Do the words from `start`, which wordsOf made of `length` bytes, eight at least, stand at `from`? */
export function equalWords(view: DataView, from: number, length: number, words: Float64Array, start: number): boolean {
  const end = start + (length >> 3);
  if (view.getFloat64(from + length - 8, true) !== words[end]) return false;
  let at = from;
  let index = start;
  for (; index + 4 <= end; index += 4) {
    if (
      view.getFloat64(at, true) !== words[index] ||
      view.getFloat64(at + 8, true) !== words[index + 1] ||
      view.getFloat64(at + 16, true) !== words[index + 2] ||
      view.getFloat64(at + 24, true) !== words[index + 3]
    )
      return false;
    at += 32;
  }
  for (; index < end; index += 1) {
    if (view.getFloat64(at, true) !== words[index]) return false;
    at += 8;
  }
  return true;
}

export interface Shapes {
  readonly first: Step[];
  /** `line` was read in full, is plain, and means `meaning`. It ends with its line break. */
  learn(line: string, meaning: number): void;
}

export function createShapes(): Shapes {
  const first: Step[] = [];
  let steps = 0;
  let lessons = 0;
  return {
    first,
    learn(line, meaning) {
      if (lessons >= MAX_LESSONS || steps >= MAX_STEPS) return;
      lessons += 1;
      let list = first;
      for (const { constant, slot } of takeApart(line)) {
        const bytes = Uint8Array.from(constant, (char) => char.charCodeAt(0));
        let step = list.find((one) => one.slot === slot && equalBytes(one.words.bytes, bytes));
        if (step === undefined) {
          if (list.length >= MAX_NEXT) return;
          step = {
            words: wordsOf(bytes),
            slot,
            next: [],
            meaning: slot === SLOT.end ? meaning : -1,
            usual: undefined,
            lessons: MAX_USUAL,
          };
          list.push(step);
          steps += 1;
        }
        list = step.next;
      }
    },
  };
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

interface Piece {
  readonly constant: string;
  readonly slot: number;
}

/** The constants and slots of a line of plain JSON without white space: `{"flow":{...},...}`. */
function takeApart(line: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  const slot = (kind: number, start: number, end: number): void => {
    pieces.push({ constant: line.slice(from, start), slot: kind });
    from = end;
  };
  /** Calls `each` with the name and place of every value of an object; returns the place behind it. */
  const members = (at: number, each: (name: string, value: number) => number): number => {
    let place = at + 1;
    while (line[place] === '"' || line[place] === ',') {
      if (line[place] === ',') place += 1;
      const end = line.indexOf('"', place + 1);
      place = each(line.slice(place + 1, end), end + 2);
    }
    return place + 1;
  };
  const textSlot = (kind: number, at: number): number => {
    const end = line.indexOf('"', at + 1);
    slot(kind, at + 1, end);
    return end + 1;
  };
  const numberSlot = (kind: number, at: number): number => {
    let end = at;
    while (isDigit(line.charCodeAt(end))) end += 1;
    slot(kind, at, end);
    return end;
  };
  /** A value that decides nothing. */
  const free = (at: number): number => {
    switch (line[at]) {
      case '"':
        return textSlot(SLOT.text, at);
      case '{':
        return members(at, (_, value) => free(value));
      case '[': {
        let place = at + 1;
        while (line[place] !== ']') place = free(line[place] === ',' ? place + 1 : place);
        return place + 1;
      }
      case 't':
      case 'n':
        return at + 4;
      case 'f':
        return at + 5;
      default:
        return numberSlot(SLOT.number, at);
    }
  };
  const behind = (at: number): number => {
    const quiet = [...pieces];
    const place = from;
    const end = free(at);
    pieces.splice(0, pieces.length, ...quiet);
    from = place;
    return end;
  };
  const object = (kind: number, at: number): number => {
    const end = behind(at);
    slot(kind, at, end);
    return end;
  };
  const inFlow = (name: string, at: number): number => {
    switch (name) {
      case 'time':
        return textSlot(SLOT.time, at);
      case 'source':
        return object(SLOT.source, at);
      case 'destination':
        return object(SLOT.destination, at);
      case 'l7':
        return object(SLOT.l7, at);
      case 'IP':
        return members(at, (key, value) =>
          key === 'source'
            ? textSlot(SLOT.sourceIp, value)
            : key === 'destination'
              ? textSlot(SLOT.destinationIp, value)
              : free(value),
        );
      case 'l4':
        return members(at, (_, protocol) =>
          members(protocol, (key, value) =>
            key === 'source_port'
              ? numberSlot(SLOT.sourcePort, value)
              : key === 'destination_port'
                ? numberSlot(SLOT.destinationPort, value)
                : key === 'flags'
                  ? behind(value)
                  : free(value),
          ),
        );
      default:
        return DECIDING.has(name) ? behind(at) : free(at);
    }
  };
  members(0, (name, at) => (name === 'flow' ? members(at, inFlow) : free(at)));
  slot(SLOT.end, line.length, line.length);
  return pieces;
}

const DECIDING: ReadonlySet<string> = new Set(FIELDS);

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

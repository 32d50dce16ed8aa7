import type { Flow, RawEnd } from '../../model/flow.ts';
import { isPlausibleTime } from '../../model/flow.ts';
import { parseTime } from '../time.ts';
import { createHubbleParser, parseEnd } from './schema.ts';
import { createRows } from './rows.ts';
import type { Step } from './shapes.ts';
import { FIELDS, SLOT, createShapes, equalWords, standsAt, wordsOf } from './shapes.ts';

/**
 * Reads whole lines of Hubble's JSON from bytes and folds them while it does. It takes only what it understands completely: ASCII without
 * escapes, no white space between tokens, one record of TCP, UDP or SCTP that says who opened the connection. Of a request that a proxy
 * saw, `l7` is parsed as the other reader does, and nothing else of the line. Everything else it leaves
 * to the reader that takes all, line by line; so the two give the same, which tests hold them to. What fields mean is not known here: each
 * new combination of them is put to that reader's parser once.
 */
export interface Scanner {
  /** Takes `bytes`, which end with a line break. Rows are kept until `take`. */
  scan(bytes: Uint8Array): Scanned;
  /** What was folded since the last time. Ends and meanings are numbered on from those given before. */
  take(): Folded;
  /** Rows waiting to be taken. */
  readonly rows: number;
}

/** One batch of lines. */
export interface Scanned {
  readonly lines: number;
  /** Start, end and number from 1 of each line that was left over. */
  readonly rest: Int32Array;
}

export interface Folded {
  /** Records taken, and when they were; `first` is Infinity where there are none. */
  readonly records: number;
  readonly first: number;
  readonly last: number;
  /** True where ends are numbered from 0 again. */
  readonly afresh: boolean;
  readonly ends: readonly RawEnd[];
  readonly meanings: readonly Meaning[];
  /** Records that carry no connection, by reason. */
  readonly ignored: readonly (readonly [reason: string, count: number])[];
  /** For readRows. */
  readonly rows: ArrayBuffer;
}

/** A flow without its ends, port and times. */
export type Meaning = Omit<Flow, 'src' | 'dst' | 'port' | 'srcPort' | 'first' | 'last' | 'principal' | 'records'>;

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const OPEN = 123;
const CLOSE = 125;
/** Beyond these the memory starts afresh. */
const MAX_OBJECTS = 50_000;
const MAX_IPS = 200_000;
const MAX_ENDS = 400_000;
const MAX_VALUES = 31;
/** Requests of more kinds than these are left to the other reader: paths may carry identifiers. */
const MAX_REQUESTS = 8192;
/** Above every IPv4 address. */
const OTHER_IPS = 2 ** 32;
const MAX_CHAIN = 8;
const OBJECT_TABLE = 1 << 16;
/** Ends remembered by their address, a power of two. */
const MEMO_BITS = 15;
/** Neither an address nor what stands for a missing one. */
const NO_IP = -2;

/** 1: may stand in a text as it is. */
const PLAIN = new Uint8Array(256).fill(1, 0x20, 0x7f);
PLAIN[QUOTE] = 0;
PLAIN[92] = 0;

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));
const HEAD = bytesOf('{"flow":{');
const TRUE = bytesOf('true');
const FALSE = bytesOf('false');
const NULL = bytesOf('null');

/** Fields that only the other reader takes. */
const LEFT_OVER: ReadonlySet<string> = new Set(['aggregate', 'source_names', 'destination_names']);
const [K_SKIP, K_TIME, K_IP, K_L4, K_L7, K_SOURCE, K_DESTINATION, K_FIELD] = [0, 1, 2, 3, 4, 5, 6, 7];
const K_REST = -1;

interface Key {
  readonly bytes: Uint8Array;
  readonly kind: number;
}

/** By their length and second character, which tell them apart. */
const KEYS: readonly (Key | undefined)[] = (() => {
  const known: [string, number][] = [
    ['time', K_TIME],
    ['IP', K_IP],
    ['l4', K_L4],
    ['l7', K_L7],
    ['source', K_SOURCE],
    ['destination', K_DESTINATION],
    ...FIELDS.map((field, index): [string, number] => [field, K_FIELD + index]),
    ...[...LEFT_OVER].map((field): [string, number] => [field, K_REST]),
  ];
  const table: (Key | undefined)[] = Array.from({ length: 32 << 8 });
  for (const [text, kind] of known) {
    const place = (text.length << 8) | text.charCodeAt(1);
    if (table[place] !== undefined) throw new Error(`two fields of one length look alike: ${text}`);
    table[place] = { bytes: bytesOf(text), kind };
  }
  return table;
})();
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
const PROTOCOL_NAMES = PROTOCOLS.map(bytesOf);
const SOURCE_PORT = bytesOf('source_port');
const DESTINATION_PORT = bytesOf('destination_port');
const FLAGS = bytesOf('flags');
const SOURCE = bytesOf('source');
const DESTINATION = bytesOf('destination');
const OUTER_FLOW = bytesOf('flow');

/** A text met before, for one field. */
interface Value {
  readonly bytes: Uint8Array;
}

/** Records later than `latest` (milliseconds) are left, as any other that is not plain. */
export function createScanner(latest = Infinity): Scanner {
  let bytes: Buffer = Buffer.alloc(0);
  let view: DataView = new DataView(new ArrayBuffer(0));
  let size = 0;
  const parse = createHubbleParser();

  // ---- memory of texts
  const values: Value[][] = [];
  const objectSlots = new Int32Array(OBJECT_TABLE);
  /** Their bytes as `wordsOf` makes them, one behind the other, where each begins, and how long each is. */
  let objectWords = new Float64Array(1 << 13);
  let objectWordCount = 0;
  let objectStart: number[] = [];
  let objectLength: number[] = [];
  let objectsByText = new Map<string, number>();
  let objectValues: unknown[] = [];
  /** The end that an object was with the address it had last, which most keep. */
  let lastIp: number[] = [];
  let lastEnd: number[] = [];
  let ipByText = new Map<string, number>();
  let ipTexts: string[] = [];
  let endByKey = new Map<number, number>();
  let stamped: boolean[] = [];
  const meaningByKey = new Map<number, number>();
  /** Of each meaning: is it turned round, does it carry a connection. */
  const turned: boolean[] = [];
  const reasons: (string | undefined)[] = [];
  /** Of records with `l7`: what they say beside it, and the meanings of both together. */
  const requestBases: Readonly<Record<string, unknown>>[] = [];
  const requestBaseByKey = new Map<number, number>();
  const requestMeanings = new Map<string, number>();
  let lastMeaningKey = -1;
  let lastMeaning = -1;
  const shapes = createShapes();
  /** By a hash of an address: the address, and the object and the end that were seen with it last. */
  const memoIp = new Float64Array(1 << MEMO_BITS).fill(NO_IP);
  const memoObject = new Int32Array(1 << MEMO_BITS);
  const memoEnd = new Int32Array(1 << MEMO_BITS);

  // ---- what was folded
  let newEnds: RawEnd[] = [];
  let newMeanings: Meaning[] = [];
  let records = 0;
  let first = Infinity;
  let last = -Infinity;
  let ignored = new Map<string, number>();
  const rows = createRows();
  let minute = wordsOf(new Uint8Array(17));
  let minuteBase = NaN;
  let forget = false;
  let afresh = false;

  const equalAt = (at: number, text: Uint8Array): boolean => {
    for (let index = 0; index < text.length; index += 1) if (bytes[at + index] !== text[index]) return false;
    return true;
  };

  /** From the first character of a text to its closing quote; -1 for what is not plain. */
  const endOfText = (from: number): number => {
    let at = from;
    while (PLAIN[bytes[at] ?? 0] === 1) at += 1;
    return bytes[at] === QUOTE ? at : -1;
  };

  /** The place behind a value; -1 for what is no plain JSON. */
  const skip = (from: number, depth: number): number => {
    const code = bytes[from] ?? 0;
    if (code === QUOTE) {
      const end = endOfText(from + 1);
      return end < 0 ? -1 : end + 1;
    }
    if (code === OPEN) {
      if (depth > 16) return -1;
      let at = from + 1;
      if (bytes[at] === CLOSE) return at + 1;
      for (;;) {
        if (bytes[at] !== QUOTE) return -1;
        at = endOfText(at + 1);
        if (at < 0 || bytes[at + 1] !== COLON) return -1;
        at = skip(at + 2, depth + 1);
        if (at < 0) return -1;
        if (bytes[at] === CLOSE) return at + 1;
        if (bytes[at] !== COMMA) return -1;
        at += 1;
      }
    }
    if (code === 91) {
      if (depth > 16) return -1;
      let at = from + 1;
      if (bytes[at] === 93) return at + 1;
      for (;;) {
        at = skip(at, depth + 1);
        if (at < 0) return -1;
        if (bytes[at] === 93) return at + 1;
        if (bytes[at] !== COMMA) return -1;
        at += 1;
      }
    }
    if (code === 116) return equalAt(from, TRUE) ? from + 4 : -1;
    if (code === 102) return equalAt(from, FALSE) ? from + 5 : -1;
    if (code === 110) return equalAt(from, NULL) ? from + 4 : -1;
    // Whole numbers alone; a leading zero stands by itself.
    if (code < 48 || code > 57) return -1;
    let at = from + 1;
    while ((bytes[at] ?? 0) >= 48 && (bytes[at] ?? 0) <= 57) at += 1;
    if (code === 48 && at > from + 1) return -1;
    const next = bytes[at];
    return next === COMMA || next === CLOSE || next === 93 ? at : -1;
  };

  const keyKind = (from: number, end: number): number => {
    const key = KEYS[((end - from) << 8) | (bytes[from + 1] ?? 0)];
    return key !== undefined && equalAt(from, key.bytes) ? key.kind : K_SKIP;
  };

  /** The number of a value among those met for its field, from 1; 0 where there are too many. */
  const valueNumber = (field: number, from: number, end: number): number => {
    const list = (values[field] ??= []);
    const length = end - from;
    for (let index = 0; index < list.length; index += 1) {
      const known = list[index]?.bytes;
      if (known?.length === length && equalAt(from, known)) return index + 1;
    }
    if (list.length >= MAX_VALUES) return 0;
    list.push({ bytes: Uint8Array.prototype.slice.call(bytes, from, end) });
    return list.length;
  };

  /** An IPv4 address as a number, which tells it back; others are numbered beyond those. -1 is no address. */
  const ipNumber = (from: number, end: number): number => {
    let number = 0;
    let part = -1;
    let parts = 0;
    for (let at = from; at <= end; at += 1) {
      const code = at === end ? 46 : (bytes[at] ?? 0);
      if (code === 46) {
        if (part < 0 || part > 255) return otherIp(from, end);
        number = number * 256 + part;
        parts += 1;
        part = -1;
      } else {
        const digit = code - 48;
        // A leading zero would not come back.
        if (digit < 0 || digit > 9 || part === 0) return otherIp(from, end);
        part = part < 0 ? digit : part * 10 + digit;
      }
    }
    return parts === 4 ? number : otherIp(from, end);
  };

  const otherIp = (from: number, end: number): number => {
    const text = bytes.toString('latin1', from, end);
    let id = ipByText.get(text);
    if (id === undefined) {
      id = OTHER_IPS + ipTexts.length;
      ipByText.set(text, id);
      ipTexts.push(text);
      if (ipTexts.length > MAX_IPS) forget = true;
    }
    return id;
  };

  const ipText = (ip: number): string =>
    ip < OTHER_IPS
      ? `${Math.floor(ip / 0x1000000)}.${Math.floor(ip / 0x10000) & 255}.${Math.floor(ip / 256) & 255}.${ip & 255}`
      : (ipTexts[ip - OTHER_IPS] ?? '');

  /** Does object `id` stand at `from`? Of fewer than eight bytes, which none with a name is, only the full text tells. */
  const isObject = (id: number, from: number): boolean => {
    const length = objectLength[id] ?? 0;
    if (length < 8 || from + length > size) return false;
    return equalWords(view, from, length, objectWords, objectStart[id] ?? 0);
  };
  const keepObject = (from: number, end: number): void => {
    const { length, words } = wordsOf(bytes.subarray(from, end));
    while (objectWords.length < objectWordCount + words.length) {
      const larger = new Float64Array(objectWords.length * 2);
      larger.set(objectWords);
      objectWords = larger;
    }
    objectWords.set(words, objectWordCount);
    objectStart.push(objectWordCount);
    objectLength.push(length);
    objectWordCount += words.length;
  };

  let objectEnd = 0;
  /** The number of the object that begins at `from`, whose end is left in objectEnd; -1 for what is no plain JSON. */
  const objectNumber = (from: number): number => {
    // Up to the first brace: nothing behind the object may have a part in it.
    let hash = 0;
    for (let at = from + 1; at < from + 40; at += 1) {
      const code = bytes[at] ?? 0;
      if (code === CLOSE) break;
      hash = (Math.imul(hash, 0x01000193) ^ code) | 0;
    }
    let slot = (hash ^ (hash >>> 15)) & (OBJECT_TABLE - 1);
    let tries = 0;
    for (; tries < MAX_CHAIN; tries += 1) {
      const id = (objectSlots[slot] ?? 0) - 1;
      if (id < 0) break;
      if (isObject(id, from)) {
        objectEnd = from + (objectLength[id] ?? 0);
        return id;
      }
      slot = (slot + 1) & (OBJECT_TABLE - 1);
    }
    const end = bytes[from] === OPEN ? skip(from, 0) : -1;
    if (end < 0) return -1;
    objectEnd = end;
    const text = bytes.toString('latin1', from, end);
    let id = objectsByText.get(text);
    if (id === undefined) {
      id = objectValues.length;
      objectsByText.set(text, id);
      objectValues.push(JSON.parse(text) as unknown);
      lastIp.push(NO_IP);
      lastEnd.push(-1);
      keepObject(from, end);
      if (objectValues.length > MAX_OBJECTS) forget = true;
      // Many that begin alike are found by their whole text.
      if (tries < MAX_CHAIN) objectSlots[slot] = id + 1;
    }
    return id;
  };

  const endNumber = (object: number, ip: number): number => {
    if (lastIp[object] === ip && (lastEnd[object] ?? -1) >= 0) return lastEnd[object] ?? 0;
    const key = object * (OTHER_IPS + MAX_IPS + 2) + ip + 1;
    let id = endByKey.get(key);
    if (id === undefined) {
      const end = parseEnd(objectValues[object], ip < 0 ? undefined : ipText(ip));
      id = stamped.length;
      stamped.push(end.pod !== undefined && end.namespace !== undefined);
      newEnds.push(end);
      endByKey.set(key, id);
      if (stamped.length > MAX_ENDS) forget = true;
    }
    lastIp[object] = ip;
    lastEnd[object] = id;
    return id;
  };

  /** Milliseconds since the epoch of the text from `from` to its quote at `end`; NaN for what is no plain time. */
  const timeAt = (from: number, end: number): number => {
    const length = end - from;
    if (length < 20 || bytes[end - 1] !== 90) return NaN;
    if (Number.isNaN(minuteBase) || !standsAt(view, size, from, minute)) {
      const time = parseTime(`${bytes.toString('latin1', from, from + 17)}00Z`);
      if (time === undefined) return NaN;
      minute = wordsOf(Uint8Array.prototype.slice.call(bytes, from, from + 17));
      minuteBase = time;
    }
    const tens = (bytes[from + 17] ?? 0) - 48;
    const ones = (bytes[from + 18] ?? 0) - 48;
    if (tens < 0 || tens > 5 || ones < 0 || ones > 9) return NaN;
    const second = minuteBase + (tens * 10 + ones) * 1000;
    if (length === 20) return second;
    if (bytes[from + 19] !== 46 || length === 21) return NaN;
    let millisecond = 0;
    let digits = 0;
    for (let at = from + 20; at < end - 1; at += 1) {
      const digit = (bytes[at] ?? 0) - 48;
      if (digit < 0 || digit > 9) return NaN;
      if (digits < 3) millisecond = millisecond * 10 + digit;
      digits += 1;
    }
    return second + (digits >= 3 ? millisecond : digits === 2 ? millisecond * 10 : millisecond * 100);
  };

  const portAt = (from: number, end: number): number => {
    if (end - from > 5) return -1;
    let port = 0;
    for (let at = from; at < end; at += 1) {
      const digit = (bytes[at] ?? 0) - 48;
      if (digit < 0 || digit > 9) return -1;
      port = port * 10 + digit;
    }
    return port > 65_535 ? -1 : port;
  };

  // ---- one line
  let sourcePort = 0;
  let destinationPort = 0;
  let protocol = 0;
  let flags = 0;
  let flagsFrom = 0;
  let flagsEnd = 0;

  const protocolAt = (from: number, end: number): number => {
    for (let index = 0; index < PROTOCOL_NAMES.length; index += 1) {
      const name = PROTOCOL_NAMES[index];
      if (name?.length === end - from && equalAt(from, name)) return index;
    }
    return -1;
  };

  /** `{"TCP":{"source_port":1,"destination_port":2,"flags":{...}}}`; the place behind it, or -1. */
  const layer4 = (from: number): number => {
    if (bytes[from] !== OPEN || bytes[from + 1] !== QUOTE) return -1;
    const nameEnd = endOfText(from + 2);
    if (nameEnd < 0) return -1;
    protocol = protocolAt(from + 2, nameEnd);
    if (protocol < 0 || bytes[nameEnd + 1] !== COLON || bytes[nameEnd + 2] !== OPEN) return -1;
    sourcePort = -1;
    destinationPort = -1;
    flags = 0;
    let at = nameEnd + 3;
    for (;;) {
      if (bytes[at] !== QUOTE) return -1;
      const keyEnd = endOfText(at + 1);
      if (keyEnd < 0 || bytes[keyEnd + 1] !== COLON) return -1;
      const value = keyEnd + 2;
      const end = skip(value, 1);
      if (end < 0) return -1;
      const length = keyEnd - at - 1;
      if (length === SOURCE_PORT.length && equalAt(at + 1, SOURCE_PORT)) {
        if (sourcePort >= 0) return -1;
        sourcePort = portAt(value, end);
        if (sourcePort < 0) return -1;
      } else if (length === DESTINATION_PORT.length && equalAt(at + 1, DESTINATION_PORT)) {
        if (destinationPort >= 0) return -1;
        destinationPort = portAt(value, end);
        if (destinationPort < 0) return -1;
      } else if (length === FLAGS.length && equalAt(at + 1, FLAGS)) {
        if (flags > 0) return -1;
        flags = valueNumber(FIELDS.length, value, end);
        flagsFrom = value;
        flagsEnd = end;
        if (flags === 0) return -1;
      }
      at = end;
      if (bytes[at] === CLOSE) break;
      if (bytes[at] !== COMMA) return -1;
      at += 1;
    }
    // A second protocol in one record is left to the other reader.
    return bytes[at + 1] === CLOSE ? at + 2 : -1;
  };

  let sourceIp = -1;
  let destinationIp = -1;
  const addresses = (from: number): number => {
    if (bytes[from] !== OPEN) return -1;
    sourceIp = -1;
    destinationIp = -1;
    let at = from + 1;
    if (bytes[at] === CLOSE) return at + 1;
    for (;;) {
      if (bytes[at] !== QUOTE) return -1;
      const keyEnd = endOfText(at + 1);
      if (keyEnd < 0 || bytes[keyEnd + 1] !== COLON) return -1;
      const value = keyEnd + 2;
      const end = skip(value, 1);
      if (end < 0) return -1;
      const length = keyEnd - at - 1;
      const isSource = length === SOURCE.length && equalAt(at + 1, SOURCE);
      if (isSource || (length === DESTINATION.length && equalAt(at + 1, DESTINATION))) {
        if (bytes[value] !== QUOTE || (isSource ? sourceIp : destinationIp) >= 0) return -1;
        const ip = ipNumber(value + 1, end - 1);
        if (isSource) sourceIp = ip;
        else destinationIp = ip;
      }
      at = end;
      if (bytes[at] === CLOSE) return at + 1;
      if (bytes[at] !== COMMA) return -1;
      at += 1;
    }
  };

  const fieldFrom = new Int32Array(FIELDS.length);
  const fieldEnd = new Int32Array(FIELDS.length);

  /** What the line says but for its ends, ports and time. */
  const withoutEnds = (present: number): Record<string, unknown> => {
    const flow: Record<string, unknown> = { time: '2026-01-01T00:00:00Z', source: {}, destination: {} };
    for (const [index, field] of FIELDS.entries())
      if ((present & (1 << index)) !== 0)
        flow[field] = JSON.parse(bytes.toString('latin1', fieldFrom[index] ?? 0, fieldEnd[index] ?? 0)) as unknown;
    flow['l4'] = {
      [PROTOCOLS[protocol] ?? 'TCP']: {
        source_port: 1,
        destination_port: 2,
        ...(flags === 0 ? {} : { flags: JSON.parse(bytes.toString('latin1', flagsFrom, flagsEnd)) as unknown }),
      },
    };
    return flow;
  };

  const requestBase = (key: number, present: number): number => {
    let base = requestBaseByKey.get(key);
    if (base === undefined) {
      base = requestBases.length;
      requestBases.push(withoutEnds(present));
      requestBaseByKey.set(key, base);
    }
    return base;
  };

  /** The number of what the base says with the `l7` from `from` to `end`, plain JSON; -1 for what is no request of a known opener. */
  const requestMeaning = (base: number, from: number, end: number): number => {
    const l7 = JSON.parse(bytes.toString('latin1', from, end)) as unknown;
    const record = parse({ flow: { ...requestBases[base], l7 } });
    if (record.kind !== 'flow' || !record.flow.initiatorKnown) return -1;
    const { l7: operation = '', verdict, reply, stage, mtls } = record.flow;
    const text = `${base} ${verdict} ${reply ? 1 : 0} ${stage} ${mtls} ${operation}`;
    let meaning = requestMeanings.get(text);
    if (meaning === undefined) {
      if (requestMeanings.size >= MAX_REQUESTS) return -1;
      meaning = reasons.length;
      reasons.push(undefined);
      turned.push(record.flow.port === 1);
      newMeanings.push(meaningIn(record.flow));
      requestMeanings.set(text, meaning);
    }
    return meaning;
  };

  const meaningOf = (key: number, present: number): number => {
    if (key === lastMeaningKey) return lastMeaning;
    let meaning = meaningByKey.get(key);
    if (meaning === undefined) {
      const flow = withoutEnds(present);
      const record = parse({ flow });
      meaning = -1;
      if (record.kind === 'ignored') {
        meaning = reasons.length;
        reasons.push(record.reason);
        turned.push(false);
        newMeanings.push(NOTHING);
      } else if (record.kind === 'flow' && record.flow.initiatorKnown) {
        meaning = reasons.length;
        reasons.push(undefined);
        turned.push(record.flow.port === 1);
        newMeanings.push(meaningIn(record.flow));
      }
      meaningByKey.set(key, meaning);
    }
    lastMeaningKey = key;
    lastMeaning = meaning;
    return meaning;
  };

  /** The place of the line break behind a record that was taken, or -1. */
  const line = (from: number): number => {
    if (!equalAt(from, HEAD)) return -1;
    let at = from + HEAD.length;
    let time = NaN;
    let source = -1;
    let destination = -1;
    let hasL4 = false;
    let hasIp = false;
    let present = 0;
    let key = 0;
    let l7From = -1;
    let l7End = -1;
    sourceIp = -1;
    destinationIp = -1;
    for (;;) {
      if (bytes[at] !== QUOTE) return -1;
      const keyEnd = endOfText(at + 1);
      if (keyEnd < 0 || bytes[keyEnd + 1] !== COLON) return -1;
      const value = keyEnd + 2;
      const kind = keyKind(at + 1, keyEnd);
      if (kind === K_SKIP) at = skip(value, 1);
      else if (kind === K_SOURCE || kind === K_DESTINATION) {
        const object = objectNumber(value);
        if (object < 0 || (kind === K_SOURCE ? source : destination) >= 0) return -1;
        if (kind === K_SOURCE) source = object;
        else destination = object;
        at = objectEnd;
      } else if (kind === K_TIME) {
        at = skip(value, 1);
        if (at < 0 || bytes[value] !== QUOTE || !Number.isNaN(time)) return -1;
        time = timeAt(value + 1, at - 1);
        if (Number.isNaN(time)) return -1;
      } else if (kind === K_IP) {
        if (hasIp) return -1;
        hasIp = true;
        at = addresses(value);
      } else if (kind === K_L4) {
        if (hasL4) return -1;
        hasL4 = true;
        at = layer4(value);
      } else if (kind === K_L7) {
        at = bytes[value] === OPEN ? skip(value, 1) : -1;
        if (at < 0 || l7From >= 0) return -1;
        l7From = value;
        l7End = at;
      } else if (kind === K_REST) return -1;
      else {
        const field = kind - K_FIELD;
        at = skip(value, 1);
        if (at < 0 || (present & (1 << field)) !== 0) return -1;
        const number = valueNumber(field, value, at);
        if (number === 0) return -1;
        fieldFrom[field] = value;
        fieldEnd[field] = at;
        present |= 1 << field;
        key += number * (PLACES[field] ?? 0);
      }
      if (at < 0) return -1;
      if (bytes[at] === CLOSE) break;
      if (bytes[at] !== COMMA) return -1;
      at += 1;
    }
    at += 1;
    while (bytes[at] === COMMA) {
      if (bytes[at + 1] !== QUOTE) return -1;
      const keyEnd = endOfText(at + 2);
      if (keyEnd < 0 || bytes[keyEnd + 1] !== COLON) return -1;
      if (keyEnd - at - 2 === OUTER_FLOW.length && equalAt(at + 2, OUTER_FLOW)) return -1;
      at = skip(keyEnd + 2, 1);
      if (at < 0) return -1;
    }
    if (bytes[at] !== CLOSE) return -1;
    at += 1;
    if (bytes[at] === 13) at += 1;
    if (bytes[at] !== 10 || Number.isNaN(time) || !hasL4) return -1;
    if (time > latest || !isPlausibleTime(time)) return -1;
    if (sourcePort < 1 || destinationPort < 1) return -1;
    key += flags * FLAGS_PLACE + protocol * PROTOCOL_PLACE;
    const base = l7From < 0 ? -1 : requestBase(key, present);
    const meaning = base < 0 ? meaningOf(key, present) : requestMeaning(base, l7From, l7End);
    if (meaning < 0) return -1;

    shapes.learn(bytes.toString('latin1', from, at + 1), base < 0 ? meaning : base);
    count(
      meaning,
      endNumber(source < 0 ? EMPTY() : source, sourceIp),
      endNumber(destination < 0 ? EMPTY() : destination, destinationIp),
      time,
    );
    return at;
  };

  const count = (meaning: number, here: number, there: number, time: number): void => {
    records += 1;
    if (time < first) first = time;
    if (time > last) last = time;
    const reason = reasons[meaning];
    if (reason !== undefined) {
      ignored.set(reason, (ignored.get(reason) ?? 0) + 1);
      return;
    }
    // A pod's name says who it was; an address alone has to be looked up at its very time.
    const exact = stamped[here] !== true || stamped[there] !== true;
    if (turned[meaning] === true) rows.add(there, here, sourcePort, meaning, time, exact);
    else rows.add(here, there, destinationPort, meaning, time, exact);
  };

  // ---- one line of a shape that is known
  /** The object and the end of it, of which mostly its address tells; the end is left in memoised. */
  let memoised = -1;
  const endAt = (from: number, ip: number): number => {
    memoised = -1;
    const place = Math.imul(ip | 0, 0x9e3779b1) >>> (32 - MEMO_BITS);
    if (memoIp[place] === ip) {
      const object = memoObject[place] ?? 0;
      if (isObject(object, from)) {
        objectEnd = from + (objectLength[object] ?? 0);
        memoised = memoEnd[place] ?? 0;
        return object;
      }
    }
    const object = objectNumber(from);
    if (object >= 0 && ip >= 0) {
      memoised = endNumber(object, ip);
      memoIp[place] = ip;
      memoObject[place] = object;
      memoEnd[place] = memoised;
    }
    return object;
  };

  let portEnd = 0;
  /** A port above zero, whose end is left in portEnd; -1 for what is none, or is written in another way. */
  const portFrom = (from: number): number => {
    let at = from;
    let port = 0;
    let digit = (bytes[at] ?? 0) - 48;
    if (digit === 0) return -1;
    while (digit >= 0 && digit <= 9) {
      port = port * 10 + digit;
      if (port > 65_535) return -1;
      at += 1;
      digit = (bytes[at] ?? 0) - 48;
    }
    portEnd = at;
    return port === 0 ? -1 : port;
  };

  /** The place behind the plain characters from `from`: mostly a text that stood here before. */
  const textEnd = (from: number, step: Step): number => {
    const { usual } = step;
    if (usual !== undefined && bytes[from + usual.length] === QUOTE && standsAt(view, size, from, usual))
      return from + usual.length;
    let at = from;
    while (PLAIN[bytes[at] ?? 0] === 1) at += 1;
    if (step.lessons > 0 && at - from >= 8) {
      step.lessons -= 1;
      step.usual = wordsOf(Uint8Array.prototype.slice.call(bytes, from, at));
    }
    return at;
  };

  /** The place behind the line break of a record of a known shape, or -1: then nothing was counted. */
  const lineOfShape = (from: number): number => {
    let list = shapes.first;
    let at = from;
    let time = NaN;
    let source = -1;
    let destination = -1;
    let sourceEnd = -1;
    let destinationEnd = -1;
    let l7From = -1;
    let l7End = -1;
    sourceIp = -1;
    destinationIp = -1;
    for (;;) {
      let step: Step | undefined;
      let before: Step | undefined;
      for (let index = 0; index < list.length; index += 1) {
        step = list[index];
        if (step !== undefined && standsAt(view, size, at, step.words)) {
          if (before !== undefined) {
            // What comes often moves to the front.
            list[index] = before;
            list[index - 1] = step;
          }
          break;
        }
        before = step;
        step = undefined;
      }
      if (step === undefined) return -1;
      at += step.words.length;
      switch (step.slot) {
        case SLOT.text:
          at = textEnd(at, step);
          break;
        case SLOT.number: {
          const begin = at;
          while ((bytes[at] ?? 0) >= 48 && (bytes[at] ?? 0) <= 57) at += 1;
          if (at === begin || (bytes[begin] === 48 && at > begin + 1)) return -1;
          break;
        }
        case SLOT.time: {
          const end = endOfText(at);
          time = timeAt(at, end);
          if (!(time <= latest) || !isPlausibleTime(time)) return -1;
          at = end;
          break;
        }
        case SLOT.sourceIp:
        case SLOT.destinationIp: {
          const end = endOfText(at);
          if (end < 0) return -1;
          if (step.slot === SLOT.sourceIp) sourceIp = ipNumber(at, end);
          else destinationIp = ipNumber(at, end);
          at = end;
          break;
        }
        case SLOT.sourcePort:
          sourcePort = portFrom(at);
          if (sourcePort < 0) return -1;
          at = portEnd;
          break;
        case SLOT.destinationPort:
          destinationPort = portFrom(at);
          if (destinationPort < 0) return -1;
          at = portEnd;
          break;
        case SLOT.source:
          source = endAt(at, sourceIp);
          if (source < 0) return -1;
          sourceEnd = memoised;
          at = objectEnd;
          break;
        case SLOT.destination:
          destination = endAt(at, destinationIp);
          if (destination < 0) return -1;
          destinationEnd = memoised;
          at = objectEnd;
          break;
        case SLOT.l7:
          l7From = at;
          l7End = bytes[at] === OPEN ? skip(at, 1) : -1;
          if (l7End < 0) return -1;
          at = l7End;
          break;
        default: {
          const meaning = l7From < 0 ? step.meaning : requestMeaning(step.meaning, l7From, l7End);
          if (meaning < 0) return -1;
          count(
            meaning,
            sourceEnd >= 0 ? sourceEnd : endNumber(source < 0 ? EMPTY() : source, sourceIp),
            destinationEnd >= 0 ? destinationEnd : endNumber(destination < 0 ? EMPTY() : destination, destinationIp),
            time,
          );
          return at;
        }
      }
      list = step.next;
    }
  };

  /** A record without the object has an end of which nothing is said. */
  let emptyObject = -1;
  const EMPTY = (): number => {
    if (emptyObject < 0) {
      emptyObject = objectValues.length;
      objectValues.push({});
      objectStart.push(objectWordCount);
      objectLength.push(0);
      lastIp.push(NO_IP);
      lastEnd.push(-1);
    }
    return emptyObject;
  };

  const scanner: Scanner = {
    get rows() {
      return rows.count;
    },
    scan(batch) {
      bytes = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
      view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
      size = batch.byteLength;
      const rest: number[] = [];
      let at = 0;
      let number = 0;
      while (at < bytes.length) {
        number += 1;
        const next = lineOfShape(at);
        if (next >= 0) {
          at = next;
          continue;
        }
        const end = line(at);
        if (end >= 0) {
          at = end + 1;
          continue;
        }
        let stop = bytes.indexOf(10, at);
        if (stop < 0) stop = bytes.length;
        if (stop > at) rest.push(at, stop, number);
        at = stop + 1;
      }
      return { lines: number, rest: Int32Array.from(rest) };
    },
    take() {
      const folded: Folded = {
        records,
        first,
        last,
        afresh,
        ends: newEnds,
        meanings: newMeanings,
        ignored: [...ignored],
        rows: rows.take(),
      };
      newEnds = [];
      newMeanings = [];
      records = 0;
      first = Infinity;
      last = -Infinity;
      ignored = new Map();
      afresh = forget;
      if (forget) {
        forget = false;
        stamped = [];
        objectSlots.fill(0);
        objectStart = [];
        objectLength = [];
        objectWordCount = 0;
        memoIp.fill(NO_IP);
        objectsByText = new Map();
        objectValues = [];
        lastIp = [];
        lastEnd = [];
        ipByText = new Map();
        ipTexts = [];
        endByKey = new Map();
        emptyObject = -1;
      }
      return folded;
    },
  };
  return scanner;
}

function meaningIn({
  protocol,
  verdict,
  view,
  tap,
  initiatorKnown,
  reply,
  stage,
  count,
  proxied,
  mtls,
  source,
  l7,
}: Flow): Meaning {
  const meaning = { protocol, verdict, view, tap, initiatorKnown, reply, stage, count, proxied, mtls, source };
  return l7 === undefined ? meaning : { ...meaning, l7 };
}

const PLACES = FIELDS.map((_, index) => 32 ** index);
const FLAGS_PLACE = 32 ** FIELDS.length;
const PROTOCOL_PLACE = 32 ** (FIELDS.length + 1);
const NOTHING: Meaning = {
  protocol: 'TCP',
  verdict: 'unknown',
  view: 'unknown',
  tap: '',
  initiatorKnown: true,
  reply: false,
  stage: 'ongoing',
  count: 0,
  proxied: false,
  mtls: 'unknown',
  source: 'hubble',
};
